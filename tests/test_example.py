"""Included scenes: whole, credited, and found by name."""

import pytest
import torch

from clippan_lite.data import example, registration
from clippan_lite.data.example import FOLDER
from clippan_lite.experiments import scenes


@pytest.mark.parametrize(
    ("name", "bands", "ratio", "shape"),
    [("landsat7", 6, 2, (512, 512)), ("rotterdam", 4, 4, (404, 600))],
)
def test_real_scenes_are_whole_and_credited(name, bands, ratio, shape):
    pair = example.example(name)
    assert (pair.bands, pair.ratio, tuple(pair.pan.shape[1:])) == (bands, ratio, shape)
    assert pair.mask is None and pair.truth is None
    assert pair.georef["crs"] is not None and pair.pan.std() > 10
    facts = (FOLDER / name / "scene.json").read_text(encoding="utf-8")
    assert '"licence"' in facts and f"`{name}`" in (FOLDER / "CREDITS.md").read_text("utf-8")


@pytest.mark.slow
def test_registration_is_what_the_credits_say():
    aligned = registration.estimate(example.example("landsat7"))
    assert max(abs(aligned.down), abs(aligned.right)) < 0.2
    assert registration.estimate(example.example("rotterdam")).down == pytest.approx(1.4, abs=0.2)


def test_the_synthetic_one_has_its_truth():
    pair = example.example("synthetic")
    assert pair.truth is not None and pair.truth.shape == (8, 512, 512)


def test_an_unknown_one_is_one_line():
    message = "unknown example 'paris': expected landsat7, rotterdam or synthetic"
    with pytest.raises(ValueError, match=message):
        example.example("paris")


@pytest.mark.slow
def test_chapters_find_them_by_name():
    pair = scenes.read("landsat7", 0, "", "", False)
    assert torch.equal(pair.ms, example.example("landsat7").ms) and not scenes.has_truth("landsat7")


def test_an_example_can_be_registered():
    moved = example.example("rotterdam", register=True)
    assert max(map(abs, moved.pan_shift)) > 1 and moved.name.endswith("registered")
    left = registration.estimate(moved)
    assert max(abs(left.down), abs(left.right)) < 0.2
