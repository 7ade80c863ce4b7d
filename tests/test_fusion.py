"""Fusing a pair in memory."""

import dataclasses

import pytest
import torch

from clippan_lite import backbones, fusion


def test_fuse_refuses_another_sensor(small_pair):
    with pytest.raises(ValueError, match="the network takes 4 bands"):
        fusion.fuse(small_pair, backbones.create("fusionnet", 4))


def test_fuse_keeps_nodata(small_pair):
    holed = dataclasses.replace(small_pair, valid=torch.ones(256, 256, dtype=torch.bool))
    holed.valid[:64] = False
    fused = fusion.fuse(holed, backbones.create("fusionnet", 8))
    assert fused[:, :64].abs().max() == 0
    assert fused[:, 64:].min() >= 0


@pytest.mark.parametrize("what", ["pan", "ms"])
def test_an_image_of_one_value_is_refused(small_pair, what):
    flat = dataclasses.replace(small_pair, **{what: torch.zeros_like(getattr(small_pair, what))})
    with pytest.raises(ValueError, match=f"{what.upper()} holds one value only \\(0\\): nothing"):
        fusion.fuse(flat)


@pytest.mark.parametrize("scale", [-5.0, 0, float("nan"), "2047"])
def test_a_scale_that_cannot_be_is_refused(small_pair, scale):
    with pytest.raises(ValueError, match="scale must be"):
        fusion.fuse(small_pair, scale=scale)
