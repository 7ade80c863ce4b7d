import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from clippan_lite.data import registration, synthetic
from clippan_lite.metrics import faults
from clippan_lite.physics import degrade


@pytest.fixture(scope="module")
def image():
    return 200 + 800 * torch.rand(4, 48, 40, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", faults.FAULTS)
def test_every_fault_changes_the_image_and_nothing_else(image, name):
    before = image.clone()
    spoilt = faults.spoil(name, image)
    assert (
        spoilt.shape == image.shape and spoilt.dtype == image.dtype and torch.isfinite(spoilt).all()
    )
    assert torch.equal(image, before) and float((spoilt - image).abs().max()) > 5
    assert torch.equal(spoilt, faults.spoil(name, image))


def test_blur_and_sharpening_against_scipy(image):
    want = ndimage.gaussian_filter(image.numpy(), (0, 0.9879, 0.9879), mode="nearest", truncate=20)
    np.testing.assert_allclose(faults.blurred(image).numpy(), want, atol=0.5)
    np.testing.assert_allclose(
        faults.oversharpened(image).numpy(), 2 * image.numpy() - want, atol=0.5
    )


def test_displacement_is_one_pixel_down_and_right(image):
    assert torch.equal(faults.displaced(image)[:, 1:, 1:], image[:, :-1, :-1])
    one = faults.band_displaced(image)
    assert torch.equal(one[:3], image[:3]) and torch.equal(one[3, 1:, 1:], image[3, :-1, :-1])


def test_colour_faults_keep_what_they_should(image):
    mean = image.mean((1, 2))
    torch.testing.assert_close(faults.greyed(image).mean((1, 2)), mean)
    torch.testing.assert_close(faults.hazy(image).mean((1, 2)), 1.1 * mean)
    torch.testing.assert_close(
        faults.tilted(image).mean((1, 2)) / mean, torch.linspace(0.9, 1.1, 4)
    )
    spread = (faults.noisy(image) - image).std((1, 2)) / image.std((1, 2))
    torch.testing.assert_close(spread, torch.full((4,), 0.1), atol=0.01, rtol=0)


def test_unknown_fault_is_one_line(image):
    with pytest.raises(ValueError, match="unknown fault 'rain': expected one of blurred, "):
        faults.spoil("rain", image)


def test_faults_of_a_pair_do_what_they_say(small_pair):
    plain = faults.spoiled(small_pair)
    assert torch.equal(plain.ms, small_pair.ms) and torch.equal(plain.pan, small_pair.pan)
    moved = faults.spoiled(small_pair, shift=2)
    assert torch.equal(moved.pan[:, 2:, 2:], small_pair.pan[:, :-2, :-2]) and torch.equal(
        moved.ms, small_pair.ms
    )
    noisy = faults.spoiled(small_pair, noise=0.1)
    share = (noisy.pan - small_pair.pan).std() / small_pair.pan.std()
    assert float(share) == pytest.approx(0.1, abs=0.01)
    topped = faults.spoiled(small_pair, saturated=0.1)
    assert float((topped.pan == topped.pan.max()).float().mean()) == pytest.approx(0.1, abs=0.02)
    hazy = faults.spoiled(small_pair, haze=0.4)
    assert float(hazy.ms[0].std() / small_pair.ms[0].std()) == pytest.approx(0.6, abs=1e-3)
    assert float(hazy.ms[0].mean() / small_pair.ms[0].mean()) == pytest.approx(1.2, abs=1e-3)
    assert all(torch.equal(x.truth, small_pair.truth) for x in (moved, noisy, topped, hazy))


def test_another_camera_makes_ms_anew_and_keeps_truth_and_sensor(small_pair):
    believed = faults.by_another_camera(small_pair)
    gains = small_pair.sensor.mtf_ms
    low = degrade.degrade(small_pair.truth, gains, small_pair.ratio, small_pair.convention)
    assert torch.equal(believed.ms, low) and torch.equal(believed.truth, small_pair.truth)
    assert torch.allclose(believed.pan, small_pair.pan, atol=1e-3)
    by_name = {
        name: faults.by_another_camera(small_pair, **camera)
        for name, camera in faults.CAMERAS.items()
    }
    assert all(seen.sensor == small_pair.sensor for seen in by_name.values())
    sharpness = {name: float(seen.ms.diff(dim=2).abs().mean()) for name, seen in by_name.items()}
    assert sharpness["MTF gains x 0.6"] < sharpness["as believed"] < sharpness["MTF gains x 1.4"]
    noise = (by_name["noise 2 %"].ms - low).std((1, 2)) / low.mean((1, 2))
    assert torch.allclose(noise, torch.tensor(0.02), rtol=0.1)
    for shift in (0.5, 2.0):
        found = registration.estimate(by_name[f"PAN {shift:g} px off"])
        assert found.down == pytest.approx(-shift, abs=0.15)
        assert found.right == pytest.approx(-shift, abs=0.15)


@pytest.mark.parametrize("convention", ["benchmark", "geo"])
def test_a_box_camera_looks_where_a_gaussian_one_does(convention):
    pair = synthetic.make_scene(4, 256, "IKONOS", convention)
    boxed = faults.by_another_camera(pair, motion=1)
    found = registration.estimate(boxed)
    assert abs(found.down) < 0.15 and abs(found.right) < 0.15
    assert not torch.allclose(boxed.ms, pair.ms, rtol=0.02)


def test_another_camera_needs_the_truth(small_pair):
    with pytest.raises(ValueError, match="expected a pair with truth, found none"):
        faults.by_another_camera(dataclasses.replace(small_pair, truth=None))
