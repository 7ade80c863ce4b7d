"""What each step of Stage II looks at."""

import dataclasses

import pytest
import torch

from clippan_lite import training
from clippan_lite.batches import Batches, fit_to_pan
from clippan_lite.config import TrainConfig
from clippan_lite.data.synthetic import make_scene

PLAIN = TrainConfig(batch=4, patch=64).changed(direction=0.0)


def batches_of(pairs, config=PLAIN, supervisor=None, part=slice(None)):
    return Batches(pairs, config, supervisor, None, "cpu", part)


def test_the_same_seed_draws_the_same_batches(small_pair):
    one, two, other = (
        batches_of([small_pair], PLAIN.changed(seed=seed)).draw(0)["full"] for seed in (0, 0, 1)
    )
    assert torch.equal(one.places, two.places) and torch.equal(one.pan, two.pan)
    assert not torch.equal(one.places, other.places)


def test_parts_of_processes_make_up_the_batch_of_one(small_pair):
    whole = batches_of([small_pair]).draw(0)["full"]
    for index in range(2):
        part = slice(index, None, 2)
        own = batches_of([small_pair], part=part).draw(0)["full"]
        assert torch.equal(own.ms, whole.ms[part]) and torch.equal(own.places, whole.places[part])


@pytest.mark.parametrize(
    ("weights", "scales"),
    [
        ({"spec": 1.0}, ["full"]),
        ({"reduced": 1.0}, ["reduced"]),
        ({"reduced": 1.0, "rho": 1.0}, ["full", "reduced"]),
    ],
)
def test_only_scales_that_a_term_looks_at_are_drawn(weights, scales, small_pair):
    drawn = batches_of([small_pair], PLAIN.changed(weights=weights)).draw(0)
    assert list(drawn) == scales
    if "reduced" in scales:
        low = drawn["reduced"]
        assert low.pan.shape == (4, 1, 32, 32) and low.truth.shape == (4, 8, 32, 32)
    if "full" in scales:
        assert drawn["full"].pan.shape == (4, 1, 64, 64) and drawn["full"].truth is None


def test_several_scenes_are_drawn_in_turn_by_chance(small_pair):
    other = make_scene(seed=9, size=256, sensor="WV3")
    batches = batches_of([small_pair, other])
    sensors = {batches.draw(step)["full"].sensor.name for step in range(20)}
    assert sensors == {small_pair.sensor.name, other.sensor.name}


def test_each_band_is_shown_in_grey_in_turn(small_pair):
    batches = batches_of([small_pair])
    assert [batches.draw(step)["full"].grey_band for step in range(10)] == [*range(8), 0, 1]


def test_crops_are_never_smaller_than_what_clip_looks_at(small_pair, adapted):
    with pytest.raises(ValueError, match=r"gives crops of 48 here, but .* looks at 64 native"):
        batches_of([small_pair], TrainConfig(patch=48), adapted)
    with pytest.raises(ValueError, match="gives crops of 48 here"):
        training.train(small_pair, TrainConfig(steps=1, patch=48), adapted, progress=False)


@pytest.mark.parametrize(("stride", "remembered"), [(1, None), (32, {})])
def test_features_are_remembered_where_places_return(stride, remembered, small_pair, adapted):
    batches = batches_of([small_pair], TrainConfig(stride=stride), adapted)
    assert batches.draw(0)["full"].guide.remembered == remembered


def test_the_supervisor_is_brought_to_the_device(small_pair, adapted, monkeypatch):
    moved = []
    monkeypatch.setattr(type(adapted), "to", lambda self, device: moved.append(device))
    batches_of([small_pair], TrainConfig(), adapted)
    assert moved == ["cpu"]


def test_phi_is_fitted_where_both_images_are_valid(small_pair):
    plain = fit_to_pan(small_pair)
    holed = dataclasses.replace(
        small_pair,
        ms=small_pair.ms.clone(),
        pan=small_pair.pan.clone(),
        valid=torch.ones(256, 256, dtype=torch.bool),
    )
    holed.valid[:64] = False
    holed.ms[:, :16] = 0
    fitted = fit_to_pan(holed)
    torch.testing.assert_close(fitted.weight, plain.weight, atol=0.2, rtol=0)
    ms, pan = small_pair.ms[None] / small_pair.scale, small_pair.pan.mean() / small_pair.scale
    assert fitted(ms).mean().item() == pytest.approx(pan.item(), rel=0.05)


def test_a_scene_too_small_for_one_scale_down_says_what_to_do():
    small = make_scene(0, 128)
    cut = dataclasses.replace(
        small, ms=small.ms[:, :15, :15], pan=small.pan[:, :60, :60], truth=None
    )
    with pytest.raises(ValueError, match=r"one scale down, .*; or set the weight reduced to 0"):
        batches_of([cut], TrainConfig({"reduced": 1.0}, patch=60))
