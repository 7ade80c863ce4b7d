"""Back-projection: alone, along PAN, beside nodata, on classical results and on whole scenes."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from clippan_lite import classical, fusion
from clippan_lite.data import synthetic
from clippan_lite.metrics import evaluation, faults
from clippan_lite.physics import sensors
from clippan_lite.physics.back_projection import back_project
from clippan_lite.physics.degrade import degrade, mtf_kernel
from clippan_lite.physics.resample import interpolate

IKONOS = sensors.get("IKONOS")


def images(side=96, bands=4, dtype=torch.float64, ratio=4):
    """Smooth random fused image, MS and PAN."""
    random = np.random.default_rng(0)
    fused = ndimage.gaussian_filter(random.random((bands, side, side)), (0, 2, 2)) * 1000
    ms = ndimage.gaussian_filter(random.random((bands, side // ratio, side // ratio)), (0, 1, 1))
    pan = ndimage.gaussian_filter(random.random((1, side, side)), (0, 1, 1)) * 1000
    return [torch.from_numpy(image).to(dtype) for image in (fused, ms * 1000, pan)]


def degraded_by_hand(image, gain, ratio=4):
    """Blur with scipy and decimate at phase ratio / 2: what `degrade` does, written anew."""
    taps = mtf_kernel(gain, ratio).numpy()
    rows = ndimage.convolve1d(image, taps, axis=0, mode="nearest")
    both = ndimage.convolve1d(rows, taps, axis=1, mode="nearest")
    return both[ratio // 2 :: ratio, ratio // 2 :: ratio]


def test_one_round_is_the_formula():
    fused, ms, _ = images()
    result = back_project(fused, ms, IKONOS, rounds=1)
    for band, gain in enumerate(IKONOS.mtf_ms):
        residual = ms[band].numpy() - degraded_by_hand(fused[band].numpy(), gain)
        step = interpolate(torch.from_numpy(residual)[None], 4, "benchmark")[0]
        torch.testing.assert_close(result[band], fused[band] + step, atol=1e-8, rtol=0)


@pytest.mark.parametrize("convention", ["benchmark", "geo"])
def test_rounds_reproduce_ms(convention):
    fused, ms, _ = images()
    ms = degrade(images(dtype=torch.float64)[2].expand(4, -1, -1), IKONOS.mtf_ms, 4, convention)

    def gap(rounds):
        result = back_project(fused, ms, IKONOS, convention, rounds)
        low = degrade(result, IKONOS.mtf_ms, 4, convention)
        return float((low - ms)[:, 3:-3, 3:-3].abs().max())

    assert gap(0) > 50
    assert gap(3) < 0.5 * gap(1) < 0.5 * gap(0)
    assert gap(200) < 0.5, "MS comes back to a digital number"


def test_a_consistent_image_is_left_alone():
    fused, _, pan = images()
    ms = degrade(fused, IKONOS.mtf_ms, 4)
    for along in (0.0, 0.5, 1.0):
        result = back_project(fused, ms, IKONOS, rounds=5, pan=pan, along=along)
        assert (result - fused).abs().max() < 1e-6


def test_gradients_are_right():
    fused, ms, pan = (image[..., :12, :12] for image in images(side=24, bands=4))
    fused, ms = fused.clone().requires_grad_(), ms[:, :3, :3].clone().requires_grad_()

    def project(x, y):
        return back_project(x, y, IKONOS, rounds=2, pan=pan, along=0.5)

    assert torch.autograd.gradcheck(project, (fused, ms), fast_mode=True)


def test_degrade_and_its_gradient_are_adjoint():
    x, y = torch.rand(4, 48, 48, dtype=torch.float64), torch.rand(4, 12, 12, dtype=torch.float64)
    x.requires_grad_()
    low = degrade(x, IKONOS.mtf_ms, 4)
    (adjoint,) = torch.autograd.grad((low * y).sum(), x)
    assert float((low * y).detach().sum()) == pytest.approx(
        float((x * adjoint).detach().sum()), rel=1e-10
    )


def test_a_share_along_pan_keeps_more_of_its_shapes(small_pair):
    start = classical.fuse("MTF-GLP-HPM", small_pair)

    def figures(along):
        fused = classical.projected(start, small_pair, 3, along)
        return evaluation.at_full_resolution(fused, small_pair)

    plain, half, follows = figures(0.0), figures(0.5), figures(1.0)
    assert follows["D_rho"] < half["D_rho"] < plain["D_rho"]
    assert follows["D_lambda_K"] > plain["D_lambda_K"]


def test_batches_and_ratio_two():
    sensor = sensors.get("LANDSAT7")
    fused, ms = torch.rand(2, 6, 64, 64), torch.rand(2, 6, 32, 32)
    both = back_project(fused, ms, sensor, rounds=2)
    alone = torch.stack(
        [back_project(*pair, sensor, rounds=2) for pair in zip(fused, ms, strict=True)]
    )
    torch.testing.assert_close(both, alone)


def test_what_lies_under_the_mask_changes_nothing():
    fused, ms, pan = images()
    valid = torch.ones(96, 96, dtype=torch.bool)
    valid[32:56, 40:64] = False
    results = []
    for value in (0.0, 5e4, float("nan")):
        spoiled = [torch.where(valid, image, value) for image in (fused, pan)]
        low = ms.clone()
        low[:, 8:14, 10:16] = value
        result = back_project(spoiled[0], low, IKONOS, pan=spoiled[1], along=0.5, valid=valid)
        results.append(result[:, valid])
    assert torch.isfinite(results[0]).all()
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_beside_a_hole_the_result_stays_near_that_without_one(small_pair):
    whole = classical.fuse("BDSD-PC", small_pair, rounds=3)
    valid = torch.ones(256, 256, dtype=torch.bool)
    valid[100:140, 100:140] = False
    holed = dataclasses.replace(small_pair, valid=valid)
    fused = classical.projected(torch.where(valid, whole, 0.0), holed, rounds=3)
    beside = torch.zeros_like(valid)
    beside[92:148, 92:148] = True
    difference = (fused - whole)[:, beside & valid].abs().mean()
    exp = classical.fuse("EXP", small_pair)
    assert difference < 0.25 * (exp - whole)[:, beside & valid].abs().mean()


@pytest.mark.parametrize("method", ["EXP", "GSA", "MTF-GLP-FS", "BDSD-PC"])
def test_back_projection_improves_every_method(method, small_pair):
    before, after = (
        evaluation.evaluate(classical.fuse(method, small_pair, rounds), small_pair)
        for rounds in (0, 3)
    )
    for name in ("PSNR", "Q2n"):
        assert after[name] > before[name]
    for name in ("ERGAS", "SAM", "D_lambda_K"):
        assert after[name] < before[name]


@pytest.mark.slow
@pytest.mark.parametrize("sensor", ["WV2", "IKONOS", "LANDSAT7"])
def test_the_instant_result_beats_every_classical_one(sensor):
    """Against the truth by at least 1 dB, back-projected or not, on a scene it has not seen."""
    pair = synthetic.make_scene(seed=31, size=384, sensor=sensor)
    best = max(
        evaluation.against_truth(classical.fuse(name, pair, rounds), pair)["PSNR"]
        for name in classical.METHODS
        for rounds in (0, 3)
    )
    margin = 1.0 if pair.ratio == 4 else 0.0
    assert evaluation.against_truth(fusion.fuse(pair), pair)["PSNR"] > best + margin


def test_a_ratio_that_the_network_has_not_learned_falls_back_and_says_so(capsys):
    sensor = dataclasses.replace(sensors.get("VHR4"), ratio=8)
    pair = synthetic.make_scene(seed=3, size=256, sensor=sensor)
    fused = fusion.fuse(pair)
    assert "knows ratios 2 and 4, not 8: BDSD-PC, back-projected" in capsys.readouterr().out
    assert torch.equal(fused, classical.fuse("BDSD-PC", pair, rounds=2))


def test_a_brighter_scene_gives_a_brighter_result(small_pair):
    """The included network has no bias: no brightness is built into it."""
    bright = dataclasses.replace(
        small_pair,
        ms=small_pair.ms * 2,
        pan=small_pair.pan * 2,
        sensor=sensors.with_bits(small_pair.sensor, small_pair.sensor.bits + 1),
    )
    once, twice = fusion.fuse(small_pair, along=0.0), fusion.fuse(bright, along=0.0)
    assert (twice / 2 - once).abs().max() < 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rounds": -1}, "expected a whole number of 0 or more"),
        ({"rounds": "2"}, "expected a whole number of 0 or more, found '2'"),
        (
            {"valid": torch.zeros(96, 96, dtype=torch.bool)},
            "expected some valid pixels, found none",
        ),
        ({"along": 1.5}, "along: expected a share between 0 and 1"),
        ({"along": 0.5}, r"pan: expected \(..., 1, 96, 96\) to follow, found None"),
        ({"ms": torch.rand(4, 12, 12)}, r"ms: expected \(4, 24, 24\), IKONOS's ratio 4"),
        ({"fused": torch.rand(3, 96, 96)}, "fused: expected 4 bands"),
        ({"convention": "other"}, "convention"),
    ],
)
def test_wrong_input_is_one_line(change, message):
    fused, ms, _ = images(dtype=torch.float32)
    arguments = {"fused": fused, "ms": ms, "sensor": IKONOS, **change}
    with pytest.raises(ValueError, match=message):
        back_project(**arguments)


def gains(method, pair, rounds):
    """PSNR after back-projection less that before, dB, by camera."""
    inner = (..., slice(16, -16), slice(16, -16))

    def error(image, seen):
        return 10 * torch.log10((image - seen.truth)[inner].square().mean())

    found = {}
    for name, camera in faults.CAMERAS.items():
        seen = faults.by_another_camera(pair, **camera)
        start = classical.fuse(method, seen)
        after = classical.projected(start, seen, rounds)
        found[name] = float(error(start, seen) - error(after, seen))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "sensor"), [(0, "WV2"), (1, "IKONOS"), (4, "QB")])
def test_one_round_never_ends_below_the_start_and_two_not_after_bdsd_pc(seed, sensor):
    """The inverse crime undone: MS made by another operator than the one processing believes in."""
    pair = synthetic.make_scene(seed, 256, sensor)
    for method, rounds in (("BDSD-PC", 2), ("BDSD-PC", 1), ("MTF-GLP-HPM", 1), ("GSA", 1)):
        found = gains(method, pair, rounds)
        assert min(found.values()) > -0.1, (method, rounds, found)
        assert found["as believed"] > 0.5


@pytest.mark.slow
def test_three_rounds_lose_where_the_camera_is_another_one():
    """Why three rounds are not the default."""
    assert gains("GSA", synthetic.make_scene(4, 256, "QB"), 3)["box x optics"] < -1
