import numpy as np
import pytest
import torch
from scipy import ndimage, optimize

from clippan_lite import classical, metrics
from clippan_lite.classical import common
from clippan_lite.data import Pair
from clippan_lite.physics import windows
from clippan_lite.physics.degrade import degrade, mtf_filter, upsample
from clippan_lite.physics.sensors import get, with_bits

ADDING = ("HPF", "MTF-GLP", "MTF-GLP-FS", "MTF-GLP-CBD")
MULTIPLYING = ("SFIM", "MTF-GLP-HPM")
CONVENTIONS = ("benchmark", "geo")


def textured(c, h, w, seed=0):
    g = torch.Generator().manual_seed(seed)
    coarse = upsample(torch.rand(1, h // 8, w // 8, generator=g), 8)
    fine = upsample(torch.rand(1, h // 2, w // 2, generator=g), 2)
    slope = torch.linspace(0.5, 1.5, c)[:, None, None]
    return 200 + 400 * slope * (coarse + 0.5 * fine) + 100 * slope.flip(0) * coarse


def make(sensor, h=128, w=128, convention="benchmark"):
    """A pair whose PAN is exactly a weighted sum of the true bands."""
    truth = textured(len(sensor.bands), h, w)
    weights = torch.tensor([0.1, 0.3, 0.4, 0.2])[: len(truth)]
    pan = torch.einsum("c,chw->hw", weights, truth[: len(weights)])[None]
    ms = degrade(truth, sensor.mtf_ms, sensor.ratio, convention)
    return Pair(ms=ms, pan=pan, sensor=sensor, truth=truth, convention=convention)


@pytest.fixture(scope="module")
def pair():
    return make(get("VHR4"))


@pytest.mark.parametrize("name", classical.METHODS)
@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("sensor", ["VHR4", "LANDSAT8"])
def test_closer_to_the_truth_than_interpolation(name, convention, sensor):
    pair = make(get(sensor), convention=convention)
    fused = classical.fuse(name, pair)
    assert fused.shape == pair.truth.shape and fused.dtype == torch.float32
    assert torch.isfinite(fused).all() and fused.min() >= 0 and fused.max() <= pair.peak
    error, plain = (
        float(metrics.ergas(x, pair.truth, pair.ratio))
        for x in (fused, classical.fuse("EXP", pair))
    )
    assert name == "EXP" or error < 0.85 * plain


def test_exp_is_interpolation(pair):
    torch.testing.assert_close(
        classical.exp(pair.ms, pair.pan, pair.sensor), upsample(pair.ms, 4).clip(0, 2047)
    )


# References: numpy in float64, one band at a time, each method as its paper tells it. They share
# the filters of clippan_lite.physics.degrade with the code under test, and no statistics.


def spread_like(x, like, spread):
    return (x - x.mean()) * like.std() / spread.std() + like.mean()


def brovey(ms, pan, up, low, small, sensor, convention):
    intensity = up.mean(0)
    return up * spread_like(pan, intensity, pan) / intensity


def gihs(ms, pan, up, low, small, sensor, convention):
    """The transform of Tu et al. as a matrix: an orthonormal basis whose first axis is I."""
    n = len(up)
    basis = np.linalg.qr(np.concatenate([np.ones((n, 1)), np.eye(n)[:, 1:]], 1))[0]
    parts = basis.T @ up.reshape(n, -1)
    parts[0] = spread_like(pan.ravel() * np.sign(basis[0, 0]), parts[0], pan)
    return (basis @ parts).reshape(up.shape)


def pca(ms, pan, up, low, small, sensor, convention):
    flat = up.reshape(len(up), -1)
    mean = flat.mean(1, keepdims=True)
    u, s, v = np.linalg.svd(flat - mean, full_matrices=False)
    parts = s[:, None] * v
    sign = np.sign(np.corrcoef(parts[0], pan.ravel())[0, 1])
    parts[0] = spread_like(pan.ravel() * sign, parts[0], pan)
    return (u @ parts + mean).reshape(up.shape)


def gs(ms, pan, up, low, small, sensor, convention):
    """Forward transform, exchange of the first vector, backward transform, as in the patent."""
    centred = up - up.mean((1, 2), keepdims=True)
    vectors, shares = [up.mean(0) - up.mean()], []
    for band in centred:
        shares.append([(band * v).sum() / max((v * v).sum(), 1e-9) for v in vectors])
        vectors.append(band - sum(a * v for a, v in zip(shares[-1], vectors, strict=True)))
    vectors[0] = (pan - pan.mean()) / pan.std() * vectors[0].std()
    return np.stack(
        [
            vectors[b + 1]
            + sum(a * v for a, v in zip(shares[b], vectors, strict=False))
            + up[b].mean()
            for b in range(len(up))
        ]
    )


def gsa(ms, pan, up, low, small, sensor, convention):
    reduced = degrade(torch.from_numpy(pan)[None], 0.30, sensor.ratio, convention, "exact").numpy()[
        0
    ]
    a = np.stack([*(b.ravel() for b in ms), np.ones(reduced.size)], 1)
    w = np.linalg.lstsq(a, reduced.ravel(), rcond=None)[0]
    intensity = sum(w[b] * up[b] for b in range(len(up)))
    detail = (pan - pan.mean()) - (intensity - intensity.mean())
    c = [np.cov(intensity.ravel(), band.ravel()) for band in up]
    return np.stack([band + m[0, 1] / m[0, 0] * detail for band, m in zip(up, c, strict=True)])


def box(pan, sensor):
    return ndimage.uniform_filter(pan, 2 * sensor.ratio + 1, mode="nearest")


def matched(pan, up, sensor):
    blurred = mtf_filter(torch.from_numpy(pan)[None], 0.30, sensor.ratio, "exact").numpy()[0]
    return np.stack([spread_like(pan, band, blurred) for band in up])


def hpf(ms, pan, up, low, small, sensor, convention):
    return np.stack(
        [band + p - box(p, sensor) for band, p in zip(up, matched(pan, up, sensor), strict=True)]
    )


def sfim(ms, pan, up, low, small, sensor, convention):
    return up * pan / box(pan, sensor)


def seen(p, pan, sensor, convention):
    """Matched PAN as each camera sees it; the kernels, of DC gain 0.9988, keep its offset."""
    offset = np.array([[[q.mean() - q.std() / pan.std() * pan.mean()]] for q in p])
    small = degrade(torch.from_numpy(p - offset), sensor.mtf_ms, sensor.ratio, convention)
    return upsample(small, sensor.ratio, convention).numpy() + offset


def mtf_glp(ms, pan, up, low, small, sensor, convention):
    p = matched(pan, up, sensor)
    return up + p - seen(p, pan, sensor, convention)


def mtf_glp_hpm(ms, pan, up, low, small, sensor, convention):
    p = matched(pan, up, sensor)
    return up * p / seen(p, pan, sensor, convention)


def mtf_glp_fs(ms, pan, up, low, small, sensor, convention):
    gains = [
        np.cov(b.ravel(), pan.ravel())[0, 1] / np.cov(k.ravel(), pan.ravel())[0, 1]
        for b, k in zip(up, low, strict=True)
    ]
    return np.stack([b + g * (pan - k) for b, g, k in zip(up, gains, low, strict=True)])


def mtf_glp_cbd(ms, pan, up, low, small, sensor, convention):
    gains = np.zeros_like(ms)
    for b in range(len(ms)):
        x, p = (np.pad(z, 3, mode="edge") for z in (ms[b], small[b]))
        for i in range(ms.shape[1]):
            for j in range(ms.shape[2]):
                c = np.cov(x[i : i + 7, j : j + 7].ravel(), p[i : i + 7, j : j + 7].ravel())
                if c[0, 1] > 0.3 * np.sqrt(c[0, 0] * c[1, 1]):
                    gains[b, i, j] = c[0, 1] / c[1, 1]
    gains = upsample(torch.from_numpy(gains), sensor.ratio, convention).numpy().clip(0)
    return up + gains * (pan - low)


def bdsd(ms, pan, up, low, small, sensor, convention):
    """One design row per MS pixel, one solution per band."""
    blurred = mtf_filter(torch.from_numpy(ms), float(np.mean(sensor.mtf_ms)), sensor.ratio).numpy()
    reduced = degrade(torch.from_numpy(pan)[None], 0.30, sensor.ratio, convention).numpy()[0]
    a = np.stack([*(b.ravel() for b in blurred), reduced.ravel()], 1)
    full = np.stack([*(b.ravel() for b in up), pan.ravel()], 1)
    w = [
        np.linalg.lstsq(a, (m - b).ravel(), rcond=None)[0] for m, b in zip(ms, blurred, strict=True)
    ]
    return np.stack([band + (full @ x).reshape(pan.shape) for band, x in zip(up, w, strict=True)])


def bdsd_pc(ms, pan, up, low, small, sensor, convention):
    blurred = mtf_filter(torch.from_numpy(ms), sensor.mtf_ms, sensor.ratio).numpy()
    reduced = degrade(
        torch.from_numpy(pan)[None], min(0.3, 2 * sensor.mtf_pan), sensor.ratio, convention
    ).numpy()[0]
    a = np.stack([*(b.ravel() for b in blurred), reduced.ravel()], 1)
    full = np.stack([*(b.ravel() for b in up), pan.ravel()], 1)
    n = len(up)
    bounds = ([-np.inf] * n + [0], [0] * n + [np.inf])
    out = []
    for b in range(n):
        d = (ms[b] - blurred[b]).ravel()
        w = optimize.lsq_linear(a - a.mean(0), d - d.mean(), bounds, method="bvls", tol=1e-14).x
        assert (w[:n] < -1e-6).any() and w[n] > 0
        out.append(up[b] + ((full - full.mean(0)) @ w).reshape(pan.shape))
    return np.stack(out)


REFERENCES = {
    "Brovey": brovey,
    "GIHS": gihs,
    "PCA": pca,
    "GS": gs,
    "GSA": gsa,
    "HPF": hpf,
    "SFIM": sfim,
    "MTF-GLP": mtf_glp,
    "MTF-GLP-HPM": mtf_glp_hpm,
    "MTF-GLP-FS": mtf_glp_fs,
    "MTF-GLP-CBD": mtf_glp_cbd,
    "BDSD": bdsd,
    "BDSD-PC": bdsd_pc,
}


def test_every_method_has_a_reference():
    assert {"EXP", *REFERENCES} == set(classical.METHODS)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_against_numpy(name, convention):
    sensor = get("WV2_4" if name != "BDSD" else "QB")  # QB: MTF gains that differ between bands
    pair = make(sensor, 96, 128, convention)
    # Noise of its own in every image: a PAN that follows from the bands leaves least squares
    # without a single answer.
    noise = torch.Generator().manual_seed(1)
    ms = pair.ms + 20 * torch.randn(pair.ms.shape, generator=noise)
    pan = pair.pan + 20 * torch.randn(pair.pan.shape, generator=noise)
    x, p = ms.double(), pan.double()
    small = degrade(p.expand(4, -1, -1), sensor.mtf_ms, 4, convention)
    up, low = upsample(x, 4, convention), upsample(small, 4, convention)
    images = (t.numpy() for t in (x, p[0], up, low, small))
    want = REFERENCES[name](*images, sensor, convention).clip(0, 2047)
    got = classical.METHODS[name](ms, pan, sensor, convention)
    np.testing.assert_allclose(got.numpy(), want, atol=0.05)


def test_signs_of_bdsd_pc():
    g = torch.Generator().manual_seed(2)
    a = torch.randn(400, 5, generator=g, dtype=torch.float64)
    right = (
        torch.randn(400, 3, generator=g, dtype=torch.float64) - a[:, 4:] + a[:, :1]
    )  # all the wrong way round
    weights = classical.detail._signed(a.T @ a, a.T @ right)
    bounds = ([-np.inf] * 4 + [0], [0] * 4 + [np.inf])
    for b in range(3):
        want = optimize.lsq_linear(
            a.numpy(), right[:, b].numpy(), bounds, method="bvls", tol=1e-14
        ).x
        np.testing.assert_allclose(weights[:, b].numpy(), want, atol=1e-9)
    assert (weights[:4] <= 0).all() and (weights[4] >= 0).all()


@pytest.mark.parametrize("name", ["Brovey", "SFIM"])
def test_one_factor_for_all_bands_keeps_the_spectral_angle(pair, name):
    assert float(metrics.sam(classical.fuse(name, pair), upsample(pair.ms, 4))) < 1e-3
    assert (
        float(metrics.sam(classical.fuse("HPF", pair), upsample(pair.ms, 4))) > 1e-2
    )  # the test can tell


@pytest.mark.parametrize("name", ["Brovey", "GIHS", "GS", "PCA"])
def test_pan_equal_to_the_intensity_gives_interpolation(pair, name):
    up = upsample(pair.ms, 4)
    pan = up.mean(0, keepdim=True)
    if name == "PCA":
        centred = (up - up.mean((1, 2), keepdim=True)).flatten(1).double()
        first = torch.linalg.svd(centred, full_matrices=False)[0][:, 0]
        pan = torch.einsum("c,chw->hw", first.float() * first.sum().sign(), up)[None]
    # Whatever PAN's unit and offset: it is matched.
    fused = classical.METHODS[name](pair.ms, 3 * pan + 50, pair.sensor)
    torch.testing.assert_close(fused, up.clip(0, 2047), rtol=0, atol=0.02)


@pytest.mark.parametrize("name", [*ADDING, *MULTIPLYING, "GSA"])
def test_a_flat_pan_adds_nothing(pair, name):
    fused = classical.METHODS[name](pair.ms, torch.full_like(pair.pan, 700.0), pair.sensor)
    # 0.0012 is what the toolbox's kernel lacks of a DC gain of 1.
    torch.testing.assert_close(fused, upsample(pair.ms, 4).clip(0, 2047), rtol=0.0013, atol=0.05)


@pytest.mark.parametrize("name", classical.METHODS)
def test_copied_bands_stay_copies(pair, name):
    ms = pair.ms[:1].repeat(4, 1, 1)
    fused = classical.METHODS[name](ms, pair.pan, pair.sensor)
    assert torch.isfinite(fused).all()
    torch.testing.assert_close(fused[0], fused[3], rtol=0, atol=0.05)
    one = classical.METHODS["MTF-GLP"](pair.ms, pair.pan, pair.sensor)
    assert (one[0] - one[3]).abs().max() > 10  # of bands that are no copies


@pytest.mark.parametrize("name", classical.METHODS)
def test_flat_images_stay_flat(name):
    sensor = get("VHR4")
    for value in (0.0, 500.0):
        ms, pan = torch.full((4, 16, 16), value), torch.full((1, 64, 64), value)
        fused = classical.METHODS[name](ms, pan, sensor)
        torch.testing.assert_close(
            fused, torch.full((4, 64, 64), value), rtol=0, atol=0.05 + 0.002 * value
        )


def test_range_follows_the_bits(pair):
    bright = Pair(ms=pair.ms / 8, pan=pair.pan / 8 * 3, sensor=with_bits(pair.sensor, 8))
    assert classical.fuse("Brovey", bright).max() <= 255
    over = Pair(ms=pair.ms * 10, pan=pair.pan * 10, sensor=pair.sensor)
    assert classical.fuse("EXP", over).max() == over.ms.max()


def test_fuse_uses_the_pairs_convention_and_knows_its_methods(pair):
    geo = Pair(ms=pair.ms, pan=pair.pan, sensor=pair.sensor, convention="geo")
    torch.testing.assert_close(
        classical.fuse("exp", geo), upsample(pair.ms, 4, "geo").clip(0, 2047)
    )
    torch.testing.assert_close(
        classical.fuse("mtf_glp_hpm", pair), classical.fuse("MTF-GLP-HPM", pair)
    )
    with pytest.raises(
        ValueError,
        match="unknown method 'IHS': expected one of EXP, Brovey, GIHS, PCA, GS, GSA, HPF",
    ):
        classical.fuse("IHS", pair)


def test_methods_are_also_functions_of_the_package():
    for name, method in classical.METHODS.items():
        assert getattr(classical, name.lower().replace("-", "_")) is method


# Nodata


def holes(shape=(128, 128)):
    """A corner, a block off MS's grid and single pixels, about a sixth of the image."""
    mask = torch.ones(shape, dtype=torch.bool)
    mask[:40, :50] = False
    mask[70:81, 90:103] = False
    mask[100, 20] = mask[101, 60] = False
    return mask


@pytest.mark.parametrize("name", classical.METHODS)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_what_lies_under_the_mask_changes_nothing(name, convention):
    pair, mask = make(get("VHR4"), convention=convention), holes()
    nowhere = (
        torch.nn.functional.max_pool2d(mask[None].float(), 4)[0] == 0
    )  # MS pixels without a valid PAN pixel
    fused = []
    for value in (0.0, 65535.0, float("nan")):
        ms, pan = torch.where(nowhere, value, pair.ms), torch.where(mask, pair.pan, value)
        fused.append(classical.METHODS[name](ms, pan, pair.sensor, convention, mask))
    assert torch.equal(fused[0], fused[1]) and torch.equal(fused[0], fused[2])
    assert (fused[0][:, ~mask] == 0).all() and torch.isfinite(fused[0]).all()
    # As good as a whole pair, also beside the holes.
    error = (fused[0] - pair.truth)[:, mask].square().mean().sqrt()
    whole = classical.METHODS[name](pair.ms, pair.pan, pair.sensor, convention)
    assert error < 1.2 * (whole - pair.truth)[:, mask].square().mean().sqrt()


@pytest.mark.parametrize("name", classical.METHODS)
def test_a_mask_without_holes_is_no_mask(pair, name):
    method = classical.METHODS[name]
    full = torch.ones(128, 128, dtype=torch.bool)
    assert torch.equal(
        method(pair.ms, pair.pan, pair.sensor, mask=full), method(pair.ms, pair.pan, pair.sensor)
    )


STATISTICAL = [n for n in classical.METHODS if n not in ("EXP", "SFIM", "MTF-GLP-CBD")]


@pytest.mark.parametrize("name", STATISTICAL)
def test_statistics_take_valid_pixels_only(name):
    """Half a scene beside as much nodata is fused as it is alone; without the mask it is not."""
    sensor = get("VHR4")
    pair = make(sensor, 192, 192)
    method = classical.METHODS[name]
    alone = method(pair.ms, pair.pan, sensor)
    ms, pan = torch.zeros(4, 48, 96), torch.zeros(1, 192, 384)
    ms[:, :, :48], pan[:, :, :192] = pair.ms, pair.pan
    mask = torch.arange(384).expand(192, -1) < 192
    inner = (
        slice(None),
        slice(24, -24),
        slice(24, 168),
    )  # beyond the reach of filters and circular borders

    def difference(mask):
        fused = method(ms, pan, sensor, mask=mask)[:, :, :192]
        return float((fused - alone)[inner].square().mean().sqrt())

    detail = float((alone - classical.exp(pair.ms, pair.pan, sensor))[inner].square().mean().sqrt())
    assert difference(mask) < 0.05 * detail
    assert difference(mask) < 0.5 * difference(None)


def test_fuse_passes_the_mask(pair):
    masked = Pair(ms=pair.ms, pan=pair.pan, sensor=pair.sensor, valid=holes())
    for name in ("EXP", "GSA"):
        want = classical.METHODS[name](pair.ms, pair.pan, pair.sensor, mask=holes())
        assert torch.equal(classical.fuse(name, masked), want) and (want[:, :40, :50] == 0).all()


def test_ms_under_a_hole_of_pan_alone_is_kept(pair):
    mask = torch.ones(128, 128, dtype=torch.bool)
    mask[64:66, 64:66] = False  # a quarter of one MS pixel
    got = classical.exp(pair.ms, pair.pan, pair.sensor, mask=mask)
    torch.testing.assert_close(got[:, mask], upsample(pair.ms, 4).clip(0, 2047)[:, mask])


def test_fill_takes_the_nearest_block():
    x = torch.arange(32.0).reshape(1, 4, 8)
    valid = torch.ones(4, 8, dtype=torch.bool)
    valid[0, 1] = valid[2:, 4:] = False
    got = windows.fill(x, valid)
    assert torch.equal(got[:, valid], x[:, valid])
    assert got[0, 0, 1] == pytest.approx((0 + 8 + 9) / 3)
    # No valid pixel in its blocks of 1 and 2, so the block of 4 x 4 gives the mean of its two
    # blocks of 2 x 2.
    assert (got[0, 2:, 4:] == (8.5 + 10.5) / 2).all()
    x[:, ~valid] = torch.nan
    assert torch.equal(windows.fill(x, valid), got)


def test_moments_against_numpy():
    g = torch.Generator().manual_seed(0)
    a, b = 60000 + torch.rand(3, 700, 300, generator=g), torch.rand(1, 700, 300, generator=g)
    valid = torch.rand(700, 300, generator=g) < 0.3
    both = torch.cat([a, b]).double().numpy()
    for mask, flat in ((None, both.reshape(4, -1)), (valid, both[:, valid.numpy()])):
        mean, cov = common.moments(a, b, valid=mask)
        np.testing.assert_allclose(mean.numpy(), flat.mean(1), rtol=1e-12)
        np.testing.assert_allclose(cov.numpy(), np.cov(flat, ddof=0), atol=1e-12)


def test_pixels_for_regressions_keep_their_distance():
    valid = torch.ones(80, 80, dtype=torch.bool)
    valid[0, 0] = False
    usable = common.valid_ms(valid, 4, 3, 5)
    want = torch.ones(20, 20, dtype=torch.bool)
    want[:4, :4] = False
    assert torch.equal(usable, want)
    valid[::32, ::32] = (
        False  # holes in every eighth MS pixel: the distance shrinks from 8 to 4 to 2
    )
    shrunk = common.valid_ms(valid, 4, 8, 5)
    assert (
        torch.equal(shrunk, common.valid_ms(valid, 4, 2, 5))
        and not shrunk[:3, :3].any()
        and shrunk[3, 3]
    )
    assert common.valid_ms(None, 4, 8, 5) is None


@pytest.mark.parametrize("name", classical.METHODS)
def test_shapes_are_checked(pair, name):
    method = classical.METHODS[name]
    with pytest.raises(ValueError, match=r"ms: expected 8 bands .* found \(4, 32, 32\)"):
        method(pair.ms, pair.pan, get("WV2"))
    with pytest.raises(ValueError, match=r"pan: expected .* found \(4, 32, 32\), \(1, 64, 128\)"):
        method(pair.ms, pair.pan[:, :64], pair.sensor)
    with pytest.raises(
        ValueError, match="convention: expected 'benchmark' or 'geo', found 'centre'"
    ):
        method(pair.ms, pair.pan, pair.sensor, "centre")


@pytest.mark.parametrize("name", classical.METHODS)
def test_bad_masks_and_values_are_told_in_one_line(pair, name):
    def message(mask, pan=pair.pan):
        with pytest.raises(ValueError) as caught:
            classical.METHODS[name](pair.ms, pan, pair.sensor, mask=mask)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    expected = "mask: expected a bool tensor (128, 128) on PAN's grid, found "
    assert message(torch.ones(32, 32, dtype=torch.bool)) == expected + "(32, 32) torch.bool"
    assert message(torch.ones(128, 128)) == expected + "(128, 128) torch.float32"
    assert message(np.ones((128, 128), bool)) == expected + "ndarray"
    assert message(torch.zeros(128, 128, dtype=torch.bool)) == (
        "mask: expected valid pixels (True), found none in (128, 128)"
    )
    pan = pair.pan.clone()
    pan[0, 3, 3:5] = torch.nan
    assert (
        message(None, pan)
        == "pan: expected finite values, found 2 NaN or infinite: mark them in mask"
    )


@pytest.mark.parametrize(
    ("name", "least"), [("GSA", 10), ("BDSD", 10), ("BDSD-PC", 10), ("MTF-GLP-CBD", 14)]
)
def test_regressions_need_whole_ms_pixels(pair, name, least):
    mask = torch.ones(128, 128, dtype=torch.bool)
    mask[::4] = False  # a stripe through every MS pixel
    with pytest.raises(
        ValueError,
        match=f"mask: expected {least} MS pixels whose PAN pixels are all valid, found 0",
    ):
        classical.METHODS[name](pair.ms, pair.pan, pair.sensor, mask=mask)
    mask[:4] = True
    fused = classical.METHODS[name](pair.ms, pair.pan, pair.sensor, mask=mask)
    assert torch.isfinite(fused).all() and (fused[:, mask] > 0).all()


def test_results_repeat_the_border_where_fuse_wraps_around():
    """A bright right edge must not show at the left one."""
    ms = torch.full((4, 32, 32), 100.0)
    ms[..., -1] = 900.0
    pan = ms.mean(0, keepdim=True).repeat_interleave(4, 1).repeat_interleave(4, 2)
    pair = Pair(ms, pan, get("IKONOS"))
    wrapped, repeated = classical.fuse("EXP", pair), classical.results(["EXP"], pair)
    assert (wrapped[..., 0] - 100).abs().max() > 50
    assert (repeated[..., :64] - 100).abs().max() < 1e-3
    assert (wrapped - repeated)[..., 50:78, 50:78].abs().max() < 1e-3
