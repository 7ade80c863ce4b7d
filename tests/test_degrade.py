import math

import numpy as np
import pytest
import torch

from clippan_lite.physics import degrade as dg
from clippan_lite.physics.imresize import imresize
from clippan_lite.physics.sensors import get


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def fwind1_kernel(gain, ratio, n=41):
    """2-D kernel of the toolboxes: sampled Gaussian response, inverse DFT, round Kaiser window."""
    alpha = math.sqrt(((n - 1) / ratio / 2) ** 2 / (-2 * math.log(gain)))
    t = np.arange(n) - n // 2
    response = np.exp(-(t[:, None] ** 2 + t[None, :] ** 2) / (2 * alpha**2))
    kernel = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(response)).real)
    radius = np.hypot(*np.meshgrid(t, t)) / (n // 2)
    window = np.interp(radius, t[n // 2 :] / (n // 2), np.kaiser(n, 0.5)[n // 2 :], right=0)
    return kernel * window


@pytest.mark.parametrize("ratio", [2, 4])
@pytest.mark.parametrize("gain", [0.11, 0.22, 0.35])
def test_toolbox_kernel_is_fwind1s(gain, ratio):
    k = dg.mtf_kernel(gain, ratio).numpy()
    want = fwind1_kernel(gain, ratio)
    assert np.abs(np.outer(k, k) - want).max() < 2e-5
    assert abs(k.sum() ** 2 - want.sum()) < 2e-5


def test_toolbox_kernel_has_the_toolboxes_dc_and_nyquist_gain():
    k = dg.mtf_kernel(0.34, 4).numpy()
    assert 0.9984 < k.sum() ** 2 < 0.9989
    t = np.arange(-20, 21)
    assert (k * np.cos(2 * np.pi * t / 8)).sum() / k.sum() == pytest.approx(0.322, abs=1e-3)


@pytest.mark.parametrize("size", [40, 41])
@pytest.mark.parametrize("gain", [0.15, 0.34])
def test_exact_kernel_has_the_nominal_gain(gain, size):
    k = dg.mtf_kernel(gain, 4, "exact", size).numpy()
    t = np.arange(size) - (size - 1) / 2
    assert k.sum() == pytest.approx(1, abs=1e-12)
    assert (k * np.cos(2 * np.pi * t / 8)).sum() == pytest.approx(gain, abs=1e-6)


def test_kernel_is_not_shared():
    dg.mtf_kernel(0.3, 4).zero_()
    assert dg.mtf_kernel(0.3, 4).sum() > 0.9


def test_mtf_filter_against_loops():
    x = rand(2, 9, 11)
    gains = (0.34, 0.22)
    got = dg.mtf_filter(x, gains, 4).numpy()
    for b in range(2):
        k = dg.mtf_kernel(gains[b], 4).numpy()
        padded = np.pad(x[b].numpy(), 20, mode="edge")
        for i, j in ((0, 0), (4, 7), (8, 10)):
            assert got[b, i, j] == pytest.approx(k @ padded[i : i + 41, j : j + 41] @ k, abs=1e-12)


@pytest.mark.parametrize("ratio", [2, 3, 4, 8])
def test_benchmark_degrade_is_filter_then_phase(ratio):
    x = rand(2, 3, 4 * ratio, 5 * ratio)
    p = ratio // 2
    want = dg.mtf_filter(x, (0.3, 0.2, 0.35), ratio)[..., p::ratio, p::ratio]
    torch.testing.assert_close(dg.degrade(x, (0.3, 0.2, 0.35), ratio), want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("ratio", [2, 3, 4])
@pytest.mark.parametrize("convention", dg.CONVENTIONS)
def test_both_conventions_put_a_ramp_where_they_say(convention, ratio):
    n = 40 * ratio
    ramp = torch.arange(n, dtype=torch.float64).repeat(1, n, 1)
    offset = ratio // 2 if convention == "benchmark" else (ratio - 1) / 2
    want = ratio * torch.arange(n // ratio, dtype=torch.float64) + offset
    low = dg.degrade(ramp, 0.3, ratio, convention, "exact")
    inner = slice(14, -14)  # where the filter does not see the border
    torch.testing.assert_close(low[0, 20, inner], want[inner], rtol=0, atol=1e-9)
    if ratio != 3 or convention == "geo":
        up = dg.upsample(want.repeat(1, n // ratio, 1), ratio, convention)
        # interp23's taps are printed to 12 digits and sum to 2 only to 1e-6
        torch.testing.assert_close(up[0, 20, 60:-60], ramp[0, 20, 60:-60], rtol=0, atol=1e-3)


@pytest.mark.parametrize("ratio", [2, 4, 8])
def test_interp23_impulse_and_pass_through(ratio):
    x = torch.zeros(1, 12, 12, dtype=torch.float64)
    x[0, 3, 7] = 1
    up = dg.upsample(x, ratio)
    assert tuple(np.unravel_index(int(up.argmax()), (12 * ratio, 12 * ratio))) == (
        3 * ratio + ratio // 2,
        7 * ratio + ratio // 2,
    )
    y = rand(2, 6, 5)
    p = ratio // 2
    torch.testing.assert_close(dg.upsample(y, ratio)[:, p::ratio, p::ratio], y, rtol=0, atol=1e-12)


def test_interp23_against_zero_stuffing_and_23_taps():
    half = [
        0.5,
        0.305334091185,
        0,
        -0.072698593239,
        0,
        0.021809577942,
        0,
        -0.005192756653,
        0,
        0.000807762146,
        0,
    ]
    half += [-0.000060081482]
    taps = 2 * np.array(half[:0:-1] + half)
    x = rand(1, 3, 4).numpy()[0]
    want = x
    for stage in range(2):
        stuffed = np.zeros((2 * want.shape[0], 2 * want.shape[1]))
        start = 1 if stage == 0 else 0
        stuffed[start::2, start::2] = want
        for axis in (0, 1):
            stuffed = sum(taps[k] * np.roll(stuffed, k - 11, axis) for k in range(23))
        want = stuffed
    got = dg.upsample(torch.from_numpy(x)[None], 4)[0].numpy()
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


def cubic(t):
    t = abs(t)
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def resize_1d(row, scale):
    """Antialiased bicubic by loops, border pixels repeated by reflection."""
    n, out = len(row), []
    s = min(scale, 1)
    for i in range(math.ceil(n * scale)):
        centre = (i + 0.5) / scale - 0.5
        reach = math.ceil(2 / s) + 1
        total = weight = 0.0
        for j in range(math.floor(centre) - reach, math.floor(centre) + reach + 1):
            k = j % (2 * n)
            value = row[k if k < n else 2 * n - 1 - k]
            total += cubic(s * (centre - j)) * value
            weight += cubic(s * (centre - j))
        out.append(total / weight)
    return out


@pytest.mark.parametrize("scale", [0.25, 0.5, 1 / 3, 2.0, 4.0])
def test_imresize_against_loops(scale):
    x = rand(1, 12, 9)
    got = imresize(x, scale)[0].numpy()
    rows = np.array([resize_1d(r, scale) for r in x[0].numpy()])
    want = np.array([resize_1d(c, scale) for c in rows.T]).T
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_geo_upsample_is_bicubic_enlargement(ratio):
    x = rand(2, 3, 6, 7)
    torch.testing.assert_close(
        dg.upsample(x, ratio, "geo"), imresize(x, float(ratio)), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("convention", dg.CONVENTIONS)
def test_gradients(convention):
    x = rand(1, 2, 8, 8).requires_grad_()
    check = (
        torch.autograd.gradcheck
    )  # fast mode compares with one random projection of the numerical Jacobian
    assert check(lambda t: dg.degrade(t, (0.3, 0.2), 4, convention), x, fast_mode=True)
    assert check(lambda t: dg.upsample(t[..., :3, :4], 2, convention), x, fast_mode=True)
    assert check(lambda t: imresize(t, 0.5), x, fast_mode=True)


@pytest.mark.parametrize("convention", dg.CONVENTIONS)
def test_batch_and_dtype_are_kept(convention):
    x = rand(3, 2, 16, 20, dtype=torch.float32)
    for f in (
        lambda t: dg.degrade(t, (0.3, 0.2), 4, convention),
        lambda t: dg.upsample(t, 4, convention),
        lambda t: dg.mtf_filter(t, 0.3, 4),
        lambda t: imresize(t, 0.25),
    ):
        whole = f(x)
        assert whole.dtype == torch.float32
        torch.testing.assert_close(whole[1], f(x[1]), rtol=0, atol=1e-6)
        torch.testing.assert_close(whole.double(), f(x.double()), rtol=0, atol=2e-6)


@pytest.mark.parametrize("convention", dg.CONVENTIONS)
def test_wald_crops_and_fits(convention):
    sensor = get("VHR4")
    ms, pan = rand(4, 18, 23), rand(1, 72, 92)
    ms_low, pan_low = dg.wald(ms, pan, sensor, convention)
    assert ms_low.shape == (4, 4, 5) and pan_low.shape == (1, 16, 20)
    torch.testing.assert_close(ms_low, dg.degrade(ms[:, :16, :20], sensor.mtf_ms, 4, convention))
    torch.testing.assert_close(pan_low, dg.degrade(pan[:, :64, :80], 0.15, 4, convention))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: dg.degrade(rand(8, 8), 0.3, 4),
            r"x: expected a floating tensor .* found \(8, 8\)",
        ),
        (
            lambda: dg.degrade(torch.zeros(1, 8, 8, dtype=torch.int32), 0.3, 4),
            "found .* torch.int32",
        ),
        (lambda: dg.degrade(rand(1, 8, 9), 0.3, 4), r"multiples of 4, found \(1, 8, 9\)"),
        (lambda: dg.degrade(rand(3, 8, 8), (0.3, 0.2), 4), "gains: expected 1 or 3 .* found 2"),
        (
            lambda: dg.degrade(rand(1, 8, 8), 1.5, 4),
            "gain: expected a number between 0 and 1, found 1.5",
        ),
        (
            lambda: dg.degrade(rand(1, 8, 8), 0.3, 4, "gdal"),
            "convention: expected 'benchmark' or 'geo', found 'gdal'",
        ),
        (lambda: dg.upsample(rand(1, 8, 8), 3), "power of two .* found 3"),
        (lambda: dg.upsample(rand(1, 8, 8), 2.0), "whole number of 2 or more, found 2.0"),
        (
            lambda: dg.mtf_kernel(0.3, 4, "gauss"),
            "kind: expected 'toolbox' or 'exact', found 'gauss'",
        ),
        (lambda: imresize(rand(1, 8, 8), 0), "scale: expected a number above 0, found 0"),
        (
            lambda: dg.wald(rand(4, 8, 8), rand(1, 16, 16), get("VHR4")),
            r"pan: expected \(1, 32, 32\).*\(1, 16, 16\)",
        ),
        (
            lambda: dg.wald(rand(3, 8, 8), rand(1, 32, 32), get("VHR4")),
            r"ms: expected 4 bands .*\(3, 8, 8\)",
        ),
        (lambda: dg.wald(rand(4, 3, 8), rand(1, 12, 32), get("VHR4")), r"at least 4 x 4 pixels"),
    ],
)
def test_mistakes_get_one_line(call, text):
    with pytest.raises(ValueError, match=text) as error:
        call()
    assert "\n" not in str(error.value)
