"""Crops of a pair, and a pair one scale down."""

import dataclasses

import pytest
import torch

from clippan_lite import data
from clippan_lite.data.synthetic import make_scene


@pytest.fixture(scope="module")
def ikonos():
    return make_scene(seed=1, size=256, sensor="IKONOS")


def valid(*nodata):
    """A mask of 256 x 256 pixels without some columns or rows."""
    mask = torch.ones(256, 256, dtype=torch.bool)
    for index in nodata:
        mask[index] = False
    return mask


def test_reduced_pair_follows_wald(small_pair):
    low = data.reduced(small_pair)
    assert low.ms.shape == (8, 16, 16)
    assert low.pan.shape == (1, 64, 64)
    assert torch.equal(low.truth, small_pair.ms)


def test_patches_agree_across_images_and_avoid_nodata(ikonos):
    holed = dataclasses.replace(ikonos, valid=valid((slice(None), slice(100, 140))))
    position = torch.arange(256.0)[None, None] * ikonos.scale * torch.ones(1, 256, 1)
    patches = data.Patches(holed, 64, extra={"column": position})
    batch = patches.sample(40, torch.Generator().manual_seed(0))
    columns = batch["column"] * patches.pair.scale / ikonos.scale
    assert not ((columns >= 100) & (columns < 140)).any()
    assert batch["ms"].shape == (40, 4, 16, 16)
    left = columns[0, 0, 0, 0].long()
    pan = (batch["pan"][0, 0] * patches.pair.scale).round()
    rows = [
        row
        for row in range(0, 193, 4)
        if torch.allclose(ikonos.pan[0, row : row + 64, left : left + 64], pan)
    ]
    assert rows, "PAN crop is not where the column says"
    top, first = rows[0] // 4, left // 4
    low = ikonos.ms[:, top : top + 16, first : first + 16]
    torch.testing.assert_close(batch["ms"][0] * patches.pair.scale, low, atol=1e-2, rtol=1e-5)


def test_patches_of_nodata_alone_are_refused(ikonos):
    with pytest.raises(ValueError, match="holds nodata only"):
        data.Patches(dataclasses.replace(ikonos, valid=~valid()), 64)


def test_patches_shrink_out_loud_between_holes(ikonos, capsys):
    patches = data.Patches(dataclasses.replace(ikonos, valid=valid(slice(None, None, 64))), 128)
    assert patches.size == 32 and "cut down to 32 PAN pixels" in capsys.readouterr().out


def test_no_patch_between_holes_is_refused(ikonos):
    with pytest.raises(ValueError, match="free of nodata"):
        data.Patches(dataclasses.replace(ikonos, valid=valid(slice(None, None, 16))), 128)


def test_splits_do_not_overlap(ikonos):
    train, held = data.Patches(ikonos, 64, "train"), data.Patches(ikonos, 64, "held-out")
    assert int(train.corners[:, 1].max()) + train.size <= int(held.corners[:, 1].min()) - 32


@pytest.mark.parametrize("size", [16, 66])
def test_a_size_that_cannot_be_is_blamed(ikonos, size):
    message = f"patches of {size} PAN pixels: expected at least 32, and a multiple of the ratio 4"
    with pytest.raises(ValueError, match=message):
        data.Patches(ikonos, size)


def test_patches_larger_than_the_scene_are_cut_down_out_loud(ikonos, capsys):
    assert data.Patches(ikonos, 512).size == 256
    assert "patches cut down from 512 to 256 PAN pixels" in capsys.readouterr().out
