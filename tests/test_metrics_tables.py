"""Flavours, sliding and registration-aware metrics, masks, tables; against loops and numpy."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from clippan_lite import metrics
from clippan_lite.metrics import aligned, sums
from clippan_lite.physics.degrade import degrade, mtf_filter, upsample
from clippan_lite.physics.imresize import imresize
from clippan_lite.physics.sensors import get
from clippan_lite.physics.windows import window_sum

SENSOR = get("VHR4")


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth(c, h, w, seed=0):
    """Correlated bands in DN with detail of every size."""
    base = sum(upsample(rand(1, h // s, w // s, seed=seed + s), s) for s in (2, 4, 8))
    return (
        300 + 250 * base + 40 * rand(c, h, w, seed=seed + 1) + 100 * torch.arange(c)[:, None, None]
    )


def uqi(x, y):
    cov = np.cov(np.ravel(x), np.ravel(y))
    mx, my = np.mean(x), np.mean(y)
    return 4 * cov[0, 1] * mx * my / ((cov[0, 0] + cov[1, 1]) * (mx**2 + my**2))


def block_mean(x, y, n):
    h, w = x.shape
    return np.mean(
        [
            uqi(x[i : i + n, j : j + n], y[i : i + n, j : j + n])
            for i in range(0, h, n)
            for j in range(0, w, n)
        ]
    )


@pytest.fixture(scope="module")
def scene():
    truth, pan = smooth(4, 128, 128), smooth(1, 128, 128, seed=0)
    return truth, degrade(truth, SENSOR.mtf_ms, 4), pan


def test_paper_flavour_against_loops(scene):
    fused, ms, pan = scene[0] + 30 * rand(4, 128, 128, seed=7), scene[1], scene[2]
    f, m, p, low = fused.numpy(), ms.numpy(), pan.numpy()[0], imresize(pan, 0.25).numpy()[0]
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    lam = np.mean([abs(block_mean(f[i], f[j], 32) - block_mean(m[i], m[j], 8)) for i, j in pairs])
    spatial = np.mean([abs(block_mean(f[b], p, 32) - block_mean(m[b], low, 8)) for b in range(4)])
    assert float(metrics.d_lambda(fused, ms, 4, flavour="paper")) == pytest.approx(lam, abs=1e-12)
    assert float(metrics.d_s(fused, ms, pan, 4, flavour="paper")) == pytest.approx(
        spatial, abs=1e-12
    )
    quality = float(metrics.qnr(fused, ms, pan, 4, flavour="paper"))
    assert quality == pytest.approx((1 - lam) * (1 - spatial), abs=1e-12)
    assert abs(quality - float(metrics.qnr(fused, ms, pan, 4))) > 1e-4  # the flavours do differ


def test_paper_flavour_finds_a_distortion_in_interpolation(scene):
    exp = upsample(scene[1], 4)
    assert float(metrics.d_lambda(exp, scene[1], 4)) == 0
    assert float(metrics.d_lambda(exp, scene[1], 4, flavour="paper")) > 1e-5


def test_q_against_every_window():
    x, y = smooth(2, 16, 16).numpy()[:, :12, :11], smooth(2, 16, 16, seed=5).numpy()[:, :12, :11]
    want = np.mean(
        [uqi(a[i : i + 5, j : j + 5], b[i : i + 5, j : j + 5]) for a, b in zip(x, y, strict=True)
         for i in range(8) for j in range(7)]
    )  # fmt: skip
    assert float(metrics.q(torch.tensor(x), torch.tensor(y), 5)) == pytest.approx(want, abs=1e-10)
    assert float(metrics.q(torch.tensor(x), torch.tensor(x), 5)) == pytest.approx(1, abs=1e-12)


def test_q_of_flat_windows():
    flat = torch.full((1, 40, 40), 5.0)
    assert float(metrics.q(flat, flat)) == 1
    assert float(metrics.q(2 * flat, flat)) == pytest.approx(0.8)
    assert float(metrics.q(0 * flat, 0 * flat)) == 1


def test_scc_against_scipy():
    x, y = smooth(3, 24, 32), smooth(3, 24, 32, seed=9)

    def edges(image):
        out = []
        for band in image.numpy():
            inner = band[1:-1, 1:-1]
            out.append(np.hypot(*(ndimage.sobel(inner, axis, mode="constant") for axis in (0, 1))))
        return np.stack(out)

    a, b = edges(x), edges(y)
    want = (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())
    assert float(metrics.scc(x, y)) == pytest.approx(want, abs=1e-12)
    assert float(metrics.scc(x, x)) == pytest.approx(1, abs=1e-12)
    zero = torch.zeros(1, 8, 8)
    assert float(metrics.scc(zero, zero)) == 1 and float(metrics.scc(zero, torch.eye(8)[None])) == 0


def test_regression_distortion_against_lstsq(scene):
    fused, _, pan = scene
    a, b = fused.flatten(1).T.numpy(), pan.flatten().numpy()
    rest = b - a @ np.linalg.lstsq(a, b, rcond=None)[0]
    assert float(metrics.d_s_regression(fused, pan)) == pytest.approx(
        rest.var() / b.var(), abs=1e-9
    )
    combined = (fused * torch.tensor([0.1, 0.2, 0.3, 0.4])[:, None, None]).sum(0, keepdim=True)
    assert float(metrics.d_s_regression(fused, combined)) < 1e-12
    assert float(metrics.d_s_regression(fused[:1].repeat(4, 1, 1), pan)) == pytest.approx(
        float(metrics.d_s_regression(fused[:1], pan)), abs=1e-9
    )
    assert float(metrics.d_s_regression(fused, 0 * pan + 7)) == 0


@pytest.mark.parametrize("n", range(1, 11))
def test_window_sums_against_loops(n):
    x = rand(2, 11, 13)
    want = np.array(
        [
            [[b[i : i + n, j : j + n].sum() for j in range(14 - n)] for i in range(12 - n)]
            for b in x.numpy()
        ]
    )
    np.testing.assert_allclose(window_sum(x, n).numpy(), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("phase", [(2, 2), (0, 3), (5, -1)])
def test_degrade_at_a_phase_samples_the_filtered_image(phase):
    x = smooth(2, 64, 48)
    seen = mtf_filter(x, (0.3, 0.2), 4)
    rows, cols = (
        np.clip(np.arange(0, n, 4) + p, 0, n - 1) for n, p in zip((64, 48), phase, strict=True)
    )
    got = degrade(x, (0.3, 0.2), 4, phase)
    want = seen[:, rows][:, :, cols]
    torch.testing.assert_close(got[:, 1:-1, 1:-1], want[:, 1:-1, 1:-1], rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match="phase: expected two of -20 to 20"):
        degrade(x, 0.3, 4, (0, 21))


@pytest.mark.parametrize("phase", [(2, 2), (4, 1), (0, 5)])
def test_reprojection_finds_the_phase_of_each_band(phase):
    truth = smooth(4, 256, 256)
    pan = truth.mean(0, keepdim=True)
    ms = degrade(truth, SENSOR.mtf_ms, 4, phase)
    ms[3:] = degrade(truth[3:], SENSOR.mtf_ms[3:], 4, (phase[0] + 1, phase[1]))
    found = aligned.phases(ms[None], pan[None], SENSOR.mtf_ms, 4)
    assert found == [phase] * 3 + [(phase[0] + 1, phase[1])]
    table = metrics.reprojected(truth, ms, pan, SENSOR)
    assert (
        float(table["D_lambda_align"]) < 1e-6
        and float(table["R_ERGAS"]) < 1e-6
        and float(table["R_SAM"]) < 1e-4
    )
    assert float(table["R_Q"]) == pytest.approx(1, abs=1e-9)
    assert (
        float(metrics.d_lambda_khan(truth, ms, SENSOR)) > 0.005
    )  # what the fixed phase makes of the truth


def test_reprojected_family_against_numpy(scene):
    truth, ms, pan = scene
    fused = truth + 60 * rand(4, 128, 128, seed=3)
    table = {k: float(v) for k, v in metrics.reprojected(fused, ms, pan, SENSOR).items()}
    low, ref = (
        degrade(fused, SENSOR.mtf_ms, 4).numpy(),
        ms.numpy(),
    )  # made at the toolbox's phase, so found there
    angle = np.arccos(
        (low * ref).sum(0) / np.linalg.norm(low, axis=0) / np.linalg.norm(ref, axis=0)
    )
    ergas = 25 * math.sqrt(
        np.mean([((a - b) ** 2).mean() / b.mean() ** 2 for a, b in zip(low, ref, strict=True)])
    )
    assert table["R_SAM"] == pytest.approx(np.degrees(angle.mean()), abs=1e-6)
    assert table["R_ERGAS"] == pytest.approx(ergas, rel=1e-9)
    assert table["R_Q"] == pytest.approx(
        np.mean([uqi(a, b) for a, b in zip(low, ref, strict=True)]), abs=1e-9
    )
    assert table["D_lambda_align"] == pytest.approx(
        float(metrics.d_lambda_khan(fused, ms, SENSOR)), abs=1e-9
    )


@pytest.mark.parametrize("convention", ["benchmark", "geo"])
@pytest.mark.parametrize("size", [(192, 256), (208, 272), (128, 268)])
@pytest.mark.parametrize("holes", [False, True])
def test_tiles_do_not_change_the_table(monkeypatch, convention, size, holes):
    fused, pan = (
        smooth(4, 208, 272)[:, : size[0], : size[1]],
        smooth(1, 208, 272, seed=4)[:, : size[0], : size[1]],
    )
    ms = degrade(fused, SENSOR.mtf_ms, 4, convention) + 9 * rand(4, size[0] // 4, size[1] // 4)
    mask = None
    if holes:
        mask = torch.ones(size, dtype=torch.bool)
        mask[3, 130] = mask[100, 200] = False
    args = (fused, ms, pan, SENSOR, convention, mask)
    whole = metrics.full(*args)
    monkeypatch.setattr(sums, "TILE", 32)
    assert metrics.full(*args) == pytest.approx(whole, abs=1e-11)
    single = {
        "D_lambda": metrics.d_lambda(fused, ms, 4, convention, mask=mask),
        "D_s": metrics.d_s(fused, ms, pan, 4, convention, mask=mask),
        "D_lambda_K": metrics.d_lambda_khan(fused, ms, SENSOR, "decimated", convention, mask=mask),
        "D_lambda_K_und": metrics.d_lambda_khan(
            fused, ms, SENSOR, "undecimated", convention, mask=mask
        ),
        "D_rho": metrics.d_rho(fused, pan, 4, mask=mask),
        "D_s_R": metrics.d_s_regression(fused, pan, mask=mask),
    }
    assert {name: whole[name] for name in single} == pytest.approx(
        {k: float(v) for k, v in single.items()}, abs=1e-11
    )


def test_reduced_with_a_mask_sees_valid_pixels_only():
    ref = smooth(4, 96, 64)
    x = ref + 40 * rand(4, 96, 64, seed=3)
    mask = torch.ones(96, 64, dtype=torch.bool)
    mask[32:] = False
    inside = metrics.reduced(x[:, :32], ref[:, :32], 4, 2047)
    masked = metrics.reduced(x, ref, 4, 2047, mask)
    assert set(masked) == set(inside)
    for name in set(inside) - {"SCC"}:  # its black ground is left out under a mask
        assert masked[name] == pytest.approx(inside[name], abs=1e-9), name
    a, b = (
        np.stack(
            [
                np.hypot(*(ndimage.sobel(band[:32], i)[1:-1, 1:-1] for i in (0, 1)))
                for band in t.numpy()
            ]
        )
        for t in (x, ref)
    )
    assert masked["SCC"] == pytest.approx(
        (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()), abs=1e-9
    )
    damaged = x.clone()
    damaged[:, 40:] = 0
    assert metrics.reduced(damaged, ref, 4, 2047, mask) == pytest.approx(masked, abs=1e-9)


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(4)))
def test_order_of_bands_does_not_matter(scene, order):
    truth, ms, pan = scene
    fused = truth + 40 * rand(4, 128, 128, seed=6)
    order = list(order)
    names = (
        "D_lambda",
        "D_s",
        "D_rho",
        "D_s_R",
        "R_SAM",
        "R_ERGAS",
        "R_Q",
    )  # Q2n's algebra is not commutative
    a = metrics.full(fused, ms, pan, SENSOR)
    b = metrics.full(fused[order], ms[order], pan, SENSOR)  # VHR4's gains are equal
    assert {n: a[n] for n in names} == pytest.approx({n: b[n] for n in names}, abs=1e-9)
    c, d = (
        metrics.reduced(fused, truth, 4, 2047),
        metrics.reduced(fused[order], truth[order], 4, 2047),
    )
    assert {n: c[n] for n in c if n != "Q2n"} == pytest.approx(
        {n: d[n] for n in d if n != "Q2n"}, abs=1e-9
    )


@settings(max_examples=4, deadline=None)
@given(factor=st.sampled_from([1 / 2047, 1 / 10000, 1 / 255, 3.0]))
def test_unit_does_not_matter(scene, factor):
    truth, ms, pan = scene
    fused = truth + 40 * rand(4, 128, 128, seed=6)
    a, b = (metrics.full(*(t * f for t in (fused, ms, pan)), SENSOR) for f in (1.0, factor))
    assert a == pytest.approx(b, rel=1e-8, abs=1e-9)
    c, d = (metrics.reduced(fused * f, truth * f, 4, 2047 * f) for f in (1.0, factor))
    assert c == pytest.approx(d, rel=1e-8)


BETTER_WHEN_LARGER = {"PSNR", "Q", "Q2n", "SCC", "SSIM", "R_Q"}


def worsens(tables, names):
    """Each table is worse than the one before it."""
    return {
        n: all(
            (a[n] > b[n]) if n in BETTER_WHEN_LARGER else (a[n] < b[n])
            for a, b in itertools.pairwise(tables)
        )
        for n in names
    }


def test_more_blur_is_worse(scene):
    truth, ms, pan = scene
    pan = truth.mean(0, keepdim=True)
    blurred = [
        torch.tensor(ndimage.gaussian_filter(truth.numpy(), (0, s, s)))
        for s in (0.4, 0.8, 1.6, 3.0)
    ]
    reference = [metrics.reduced(x, truth, 4, 2047) for x in blurred]
    names = ("PSNR", "ERGAS", "SAM", "Q", "Q2n", "SCC", "SSIM")
    assert all(worsens(reference, names).values()), worsens(reference, names)
    full = [metrics.full(x, ms, pan, SENSOR) for x in blurred]
    names = ("D_lambda_K", "D_rho", "D_s_R", "D_lambda_align", "R_Q", "R_ERGAS")
    assert all(worsens(full, names).values()), worsens(full, names)


def test_more_spectral_shift_is_worse(scene):
    truth, ms, pan = scene
    tilt = torch.linspace(-1, 1, 4)[:, None, None]
    shifted = [truth * (1 + s * tilt) for s in (0.05, 0.1, 0.2, 0.4)]
    reference = [metrics.reduced(x, truth, 4, 2047) for x in shifted]
    names = ("PSNR", "ERGAS", "SAM", "Q", "Q2n", "SSIM")
    assert all(worsens(reference, names).values()), worsens(reference, names)
    full = [metrics.full(x, ms, pan, SENSOR) for x in shifted]
    names = ("D_lambda", "D_lambda_K", "D_lambda_align", "R_Q", "R_SAM", "R_ERGAS")
    assert all(worsens(full, names).values()), worsens(full, names)


@pytest.mark.parametrize("value", [0.0, 2047.0])
def test_zero_and_saturated_areas_are_finite(scene, value):
    truth, ms, pan = (t.clone() for t in scene)
    truth[:, :50, :70], ms[:, :13, :18], pan[:, :50, :70] = value, value, value
    full = metrics.full(truth, ms, pan, SENSOR)
    reduced = metrics.reduced(truth + 0, truth, 4, 2047)
    assert all(math.isfinite(v) for v in full.values())
    assert all(0 <= full[n] <= 1 for n in ("D_lambda", "D_s", "D_lambda_K", "D_rho", "D_s_R"))
    assert reduced.pop("PSNR") == math.inf
    assert reduced == pytest.approx(
        {"ERGAS": 0, "SAM": 0, "Q": 1, "Q2n": 1, "SCC": 1, "SSIM": 1}, abs=1e-9
    )


def test_what_lies_under_the_mask_changes_nothing(scene):
    truth, ms, pan = scene
    fused = truth + 40 * rand(4, 128, 128, seed=6)
    wide = [torch.cat([t, t.flip(-1)], -1) for t in (fused, ms, pan)]
    mask = torch.ones(128, 256, dtype=torch.bool)
    mask[:, 180:] = False
    junk = [t.clone() for t in wide]
    junk[0][:, ~mask], junk[2][:, ~mask], junk[1][:, :, 45:] = math.nan, 12345.0, -7.0
    assert metrics.full(*junk, SENSOR, mask=mask) == metrics.full(*wide, SENSOR, mask=mask)
    assert metrics.reduced(junk[0], wide[0] + 1, 4, 2047, mask) == metrics.reduced(
        wide[0], wide[0] + 1, 4, 2047, mask
    )
    for images in (junk, wide):
        images.append(
            metrics.qnr(*images, 4, mask=mask) + metrics.d_rho(images[0], images[2], 4, mask=mask)
        )
        images.append(metrics.hqnr(*images[:3], SENSOR, "undecimated", mask=mask))
    assert junk[3:] == wide[3:]


def test_dead_bands_and_black_images_leave_the_rest_of_the_table(scene):
    truth, ms, pan = (t.clone() for t in scene)
    truth[1], ms[1] = 0, 0
    assert all(math.isfinite(v) for v in metrics.full(truth, ms, pan, SENSOR).values())
    assert all(
        math.isfinite(v) for n, v in metrics.reduced(truth, truth, 4, 2047).items() if n != "PSNR"
    )
    rest = metrics.ergas(truth[[0, 2, 3]] * 1.1, truth[[0, 2, 3]], 4)
    assert float(metrics.ergas(truth * 1.1, truth, 4)) == pytest.approx(float(rest))
    black = metrics.full(0 * truth, 0 * ms, pan, SENSOR)
    assert {n for n, v in black.items() if not math.isfinite(v)} == {"R_SAM", "R_ERGAS"}
    blue = {"bands": ("B",), "wavelengths_nm": (485.0,), "widths_nm": (70.0,), "mtf_ms": (0.3,)}
    one = metrics.full(truth[:1], ms[:1], pan, replace(SENSOR, **blue, rgb=(0, 0, 0)))
    assert {n for n, v in one.items() if not math.isfinite(v)} == {"D_lambda", "QNR"}
    x = truth.clone().requires_grad_()
    (grad,) = torch.autograd.grad(metrics.d_s_regression(x, pan), x)
    assert torch.isfinite(grad).all()


def test_gradcheck_of_what_is_new():
    x, ref, pan = (1 + rand(2, 8, 8, seed=i) for i in (1, 2, 3))
    ms = 1 + rand(2, 4, 4, seed=4)
    x.requires_grad_()
    for f in (
        lambda t: metrics.q(t, ref, 4),
        lambda t: metrics.scc(t, ref),
        lambda t: metrics.d_s_regression(t, pan[:1], block=4),
        lambda t: metrics.d_lambda(t, ms, 2, block=4, flavour="paper"),
        lambda t: metrics.d_s(t, ms, pan[:1], 2, block=4, flavour="paper"),
    ):
        assert torch.autograd.gradcheck(f, x, fast_mode=True)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda t, m, p: metrics.d_lambda(t, m, 4, flavour="vivone"),
            "flavour: expected 'toolbox' or 'paper'",
        ),
        (
            lambda t, m, p: metrics.d_s(t, m, p, 4, block=30, flavour="paper"),
            "block: expected a multiple of 4",
        ),
        (lambda t, m, p: metrics.q(m, m, 33), "x: expected at least 33 x 33 pixels for Q"),
        (lambda t, m, p: metrics.q(m, m, 1), "block: expected a whole number of 2 or more"),
        (lambda t, m, p: metrics.scc(m[:, :2], m[:, :2]), "at least 3 x 3"),
        (
            lambda t, m, p: metrics.d_s_regression(t, p[:, :64]),
            r"pan: expected \(..., 1, 128, 128\)",
        ),
        (
            lambda t, m, p: metrics.reprojected(t[:, :64], m, p, SENSOR),
            r"fused: expected \(..., 4, 128, 128\)",
        ),
        (
            lambda t, m, p: metrics.full(t[None], m[None], p[None], SENSOR),
            r"ms: expected a floating tensor \(4, H, W\), found",
        ),
        (
            lambda t, m, p: metrics.reduced(t[None], t[None], 4, 2047),
            r"fused: expected a floating tensor \(C, H, W\), found",
        ),
        (
            lambda t, m, p: metrics.reduced(t, t, 4, 2047, torch.ones(9, 9)),
            "mask: expected a bool tensor",
        ),
        (
            lambda t, m, p: metrics.reduced(t, t, 4, 2047, torch.zeros(128, 128).bool()),
            "at least one valid block",
        ),
        (
            lambda t, m, p: metrics.full(t, m, p * math.nan, SENSOR),
            "pan: expected finite values, found 16384 NaN",
        ),
        (lambda t, m, p: metrics.full(t / 2047, m, p, SENSOR), "fused: expected the unit of ms"),
        (lambda t, m, p: metrics.full(t, m, p / 2047, SENSOR), "pan: expected the unit of ms"),
        (
            lambda t, m, p: metrics.full(t[:, :16, :16], m[:, :4, :4], p[:, :16, :16], SENSOR),
            "at least 32 x 32 pixels",
        ),
        (
            lambda t, m, p: metrics.full(t, m, p, "VHR4"),
            r"sensor: expected a sensors.Sensor, found 'VHR4'",
        ),
        (
            lambda t, m, p: metrics.reduced(t, t, 4, 1.0),
            "peak: expected the largest possible value, found 1.0",
        ),
        (lambda t, m, p: metrics.reduced(t[:, :8], t[:, :8], 4, 2047), "at least 11 x 11 pixels"),
        (
            lambda t, m, p: metrics.q2n(t, t, 16.5),
            "block: expected a whole number of 2 or more, found 16.5",
        ),
        (lambda t, m, p: metrics.full(t.long(), m, p, SENSOR), "fused: expected a floating tensor"),
        (
            lambda t, m, p: metrics.full(t.numpy(), m, p, SENSOR),
            "fused: expected a floating tensor .* found ndarray",
        ),
    ],
)
def test_mistakes_get_one_line(scene, call, text):
    with pytest.raises(ValueError, match=text) as error:
        call(*scene)
    assert "\n" not in str(error.value)
