import numpy as np
import pytest
import torch

from clippan_lite import classical, metrics
from clippan_lite.data import Pair
from clippan_lite.degrade import degrade, upsample, wald
from clippan_lite.sensors import get, with_bits


def textured(c, h, w, seed=0):
    g = torch.Generator().manual_seed(seed)
    coarse = upsample(torch.rand(1, h // 8, w // 8, generator=g), 8)
    fine = upsample(torch.rand(1, h // 2, w // 2, generator=g), 2)
    slope = torch.linspace(0.5, 1.5, c)[:, None, None]
    return 200 + 400 * slope * (coarse + 0.5 * fine) + 100 * slope.flip(0) * coarse


@pytest.fixture(scope="module")
def pair():
    """A pair whose PAN is exactly a weighted sum of the true bands."""
    sensor = get("VHR4")
    truth = textured(4, 128, 128)
    pan = torch.einsum("c,chw->hw", torch.tensor([0.1, 0.3, 0.4, 0.2]), truth)[None]
    return Pair(ms=degrade(truth, sensor.mtf_ms, 4), pan=pan, sensor=sensor, truth=truth)


@pytest.mark.parametrize("name", classical.METHODS)
@pytest.mark.parametrize("convention", ["benchmark", "geo"])
def test_shape_type_and_range(pair, name, convention):
    fused = classical.METHODS[name](pair.ms, pair.pan, pair.sensor, convention)
    assert fused.shape == (4, 128, 128) and fused.dtype == torch.float32
    assert torch.isfinite(fused).all() and fused.min() >= 0 and fused.max() <= 2047


@pytest.mark.parametrize("name", [n for n in classical.METHODS if n != "EXP"])
def test_methods_come_closer_to_the_truth_than_interpolation(pair, name):
    error = float(metrics.ergas(classical.fuse(name, pair), pair.truth, 4))
    assert error < 0.8 * float(metrics.ergas(classical.fuse("EXP", pair), pair.truth, 4))


def test_exp_is_interpolation(pair):
    torch.testing.assert_close(classical.exp(pair.ms, pair.pan, pair.sensor), upsample(pair.ms, 4).clip(0, 2047))


def test_gsa_against_numpy(pair):
    ms, pan = pair.ms.double().numpy(), pair.pan.double().numpy()[0]
    small = degrade(pair.pan.double(), 0.30, 4).numpy()[0]
    a = np.stack([*(b.ravel() for b in ms), np.ones(small.size)], 1)
    w = np.linalg.lstsq(a, small.ravel(), rcond=None)[0]
    up = upsample(pair.ms.double(), 4).numpy()
    intensity = sum(w[b] * up[b] for b in range(4))
    detail = (pan - pan.mean()) - (intensity - intensity.mean())
    for b in range(4):
        c = np.cov(intensity.ravel(), up[b].ravel())
        want = np.clip(up[b] + c[0, 1] / c[0, 0] * detail, 0, 2047)
        np.testing.assert_allclose(classical.gsa(pair.ms, pair.pan, pair.sensor)[b].numpy(), want, atol=0.2)


def test_brovey_keeps_the_spectral_angle(pair):
    assert float(metrics.sam(classical.fuse("Brovey", pair), upsample(pair.ms, 4))) < 1e-3


def test_copied_bands_do_not_break_the_regressions(pair):
    ms = pair.ms[:1].repeat(4, 1, 1)
    for name in ("GSA", "BDSD"):
        fused = classical.METHODS[name](ms, pair.pan, pair.sensor)
        assert torch.isfinite(fused).all()
        torch.testing.assert_close(fused[0], fused[3], rtol=0, atol=0.05)


@pytest.mark.parametrize("name", classical.METHODS)
def test_flat_images_stay_flat(name):
    sensor = get("VHR4")
    for value in (0.0, 500.0):
        ms, pan = torch.full((4, 16, 16), value), torch.full((1, 64, 64), value)
        fused = classical.METHODS[name](ms, pan, sensor)
        torch.testing.assert_close(fused, torch.full((4, 64, 64), value), rtol=0, atol=0.05 + 0.002 * value)


def test_range_follows_the_bits(pair):
    bright = Pair(ms=pair.ms / 8, pan=pair.pan / 8 * 3, sensor=with_bits(pair.sensor, 8))
    assert classical.fuse("Brovey", bright).max() <= 255
    over = Pair(ms=pair.ms * 10, pan=pair.pan * 10, sensor=pair.sensor)
    assert classical.fuse("EXP", over).max() == over.ms.max()


def test_fuse_uses_the_pairs_convention_and_knows_its_methods(pair):
    geo = Pair(ms=pair.ms, pan=pair.pan, sensor=pair.sensor, convention="geo")
    torch.testing.assert_close(classical.fuse("exp", geo), upsample(pair.ms, 4, "geo").clip(0, 2047))
    torch.testing.assert_close(classical.fuse("mtf_glp_hpm", pair), classical.fuse("MTF-GLP-HPM", pair))
    with pytest.raises(ValueError, match="unknown method 'PCA': expected one of EXP, Brovey, GSA, BDSD, MTF-GLP-HPM"):
        classical.fuse("PCA", pair)


@pytest.mark.parametrize("name", classical.METHODS)
def test_shapes_are_checked(pair, name):
    method = classical.METHODS[name]
    with pytest.raises(ValueError, match=r"ms: expected 8 bands .* found \(4, 32, 32\)"):
        method(pair.ms, pair.pan, get("WV2"))
    with pytest.raises(ValueError, match=r"pan: expected .* found \(4, 32, 32\), \(1, 64, 128\)"):
        method(pair.ms, pair.pan[:, :64], pair.sensor)


def load(folder, scene):
    import rasterio

    read = []
    for kind in ("ms", "pan"):
        with rasterio.open(folder / scene / f"{kind}.tif") as file:
            read.append(torch.from_numpy(file.read().astype("float32")))
    return read


# Figures of an independent judge. For EXP all of them, for GSA and BDSD: HQNR (decimated), ERGAS at reduced resolution.
EXP = {
    ("wv2_urban", "WV2"): (0.0936, 0.9064, 0.0251, 0.8836, 0.0447, 0.8659, 0.7996, 23.86, 7.652, 7.444, 0.6708, 0.5580),
    ("ikonos_town", "IKONOS"): (
        *(0.1262, 0.8738, 0.0440, 0.8353, 0.0555, 0.8253, 0.8077),
        *(28.13, 4.315, 3.995, 0.5497, 0.6433),
    ),
    ("vhr_housing", "VHR4"): (
        *(0.0634, 0.9366, 0.0161, 0.9215, 0.0226, 0.9154, 0.6400),
        *(28.54, 5.047, 2.859, 0.6251, 0.6488),
    ),
}
OTHERS = {
    ("wv2_urban", "WV2"): {"GSA": (0.8777, 5.437), "BDSD": (0.8002, 5.393), "MTF-GLP-HPM": (0.9315, 5.003)},
    ("ikonos_town", "IKONOS"): {"GSA": (0.8028, 2.621), "BDSD": (0.8842, 2.602), "MTF-GLP-HPM": (0.8413, 2.489)},
    ("vhr_housing", "VHR4"): {"GSA": (0.8317, 2.802), "BDSD": (0.8565, 2.831), "MTF-GLP-HPM": (0.9436, 2.562)},
}


@pytest.mark.real
@pytest.mark.parametrize(("scene", "sensor"), EXP)
def test_exp_has_the_judges_figures(real_data, scene, sensor):
    want = EXP[scene, sensor]
    sensor = get(sensor)
    ms, pan = load(real_data, scene)
    full = metrics.full(classical.exp(ms, pan, sensor), ms, pan, sensor)
    keys = ("D_s", "QNR", "D_lambda_K", "HQNR", "D_lambda_K_und", "HQNR_und", "D_rho")
    assert [full[k] for k in keys] == pytest.approx(want[:7], abs=2e-4)
    assert full["D_lambda"] == pytest.approx(0, abs=1e-4)
    red = metrics.reduced(classical.exp(*wald(ms, pan, sensor), sensor), ms, 4, 2047)
    assert red["PSNR"] == pytest.approx(want[7], abs=6e-3)
    assert [red[k] for k in ("ERGAS", "SAM", "Q2n", "SSIM")] == pytest.approx(want[8:], abs=1e-3)


@pytest.mark.real
@pytest.mark.parametrize(("scene", "sensor"), OTHERS)
def test_methods_are_not_worse_than_the_judges(real_data, scene, sensor):
    sensor_ = get(sensor)
    ms, pan = load(real_data, scene)
    low = wald(ms, pan, sensor_)
    for name, (hqnr, ergas) in OTHERS[scene, sensor].items():
        method = classical.METHODS[name]
        fused = method(ms, pan, sensor_)
        assert float(metrics.hqnr(fused, ms, pan, sensor_)) > 0.99 * hqnr, name
        h, w = (n // 32 * 32 for n in ms.shape[1:])
        assert float(metrics.ergas(method(*low, sensor_)[:, :h, :w], ms[:, :h, :w], 4)) < 1.005 * ergas, name
