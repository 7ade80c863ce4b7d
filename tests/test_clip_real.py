"""What the bundled CLIP sees in real crops, before anything is adapted: the figures its model card claims."""

import clip_zero_shot
import pytest

from clippan_lite.clip import load_clip


@pytest.fixture(scope="module")
def bundled():
    return {"trained": load_clip()}


@pytest.mark.real
@pytest.mark.parametrize("scene", clip_zero_shot.SCENES)
def test_faults_in_real_crops_are_seen(scene, real_data, bundled):
    rows = clip_zero_shot.quality_on(scene, real_data, bundled)
    missed = [f"{r['source']} {r['what']}: {r['accuracy']:.3f}, {r['auc']:.3f}" for r in rows
              if not clip_zero_shot.reached(r)]  # fmt: skip
    assert missed == []


@pytest.mark.real
def test_content_of_landsat_crops_is_told_at_two_and_a_half_times_chance(real_data, bundled):
    figures = clip_zero_shot.content_on_landsat(bundled, real_data)["trained"]
    assert figures["mean over classes"] >= 2.5 / len(clip_zero_shot.CONTENT)
