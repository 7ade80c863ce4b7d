"""EXP's figures on real pairs, against those of an independent judge (numpy, scipy, own code)."""

import pytest
import rasterio
import torch

from clippan_lite import metrics
from clippan_lite.physics import windows
from clippan_lite.physics.degrade import upsample, wald
from clippan_lite.physics.sensors import get, with_bits

FULL = (
    "QNR",
    "D_lambda",
    "D_s",
    "D_lambda_K",
    "HQNR",
    "D_lambda_K_und",
    "HQNR_und",
    "D_rho",
    "D_s_R",
)
REDUCED = ("PSNR", "ERGAS", "SAM", "Q2n", "SCC", "SSIM")
JUDGE = {
    "wv2_urban": (
        "WV2",
        "0.9064 0.0000 0.0936 0.0251 0.8836 0.0447 0.8659 0.7996 0.1314",
        "23.86 7.652 7.444 0.6708 0.7401 0.5580",
    ),
    "ikonos_town": (
        "IKONOS",
        "0.8738 0.0000 0.1262 0.0440 0.8353 0.0555 0.8253 0.8077 0.2678",
        "28.13 4.315 3.995 0.5497 0.6846 0.6433",
    ),
    "ge1_fields_8bit": (
        "GE1",
        "0.9053 0.0000 0.0947 0.0107 0.8956 0.0346 0.8740 0.8964 0.1825",
        "34.72 1.702 2.221 0.8243 0.8831 0.8826",
    ),
    "vhr_housing": (
        "VHR4",
        "0.9366 0.0000 0.0634 0.0161 0.9215 0.0226 0.9154 0.6400 0.1950",
        "28.54 5.047 2.859 0.6251 0.7613 0.6488",
    ),
    "gf2_train_0": (
        "GF2",
        "0.8383 0.0000 0.1617 0.0061 0.8332 0.0155 0.8253 0.7424 0.3327",
        "32.64 3.612 2.478 0.7497 0.8801 0.7699",
    ),
    "gf2_train_1": (
        "GF2",
        "0.8417 0.0000 0.1583 0.0060 0.8366 0.0115 0.8320 0.7478 0.2846",
        "31.88 2.960 1.798 0.7542 0.9138 0.7962",
    ),
    "gf2_train_2": (
        "GF2",
        "0.8319 0.0000 0.1681 0.0061 0.8269 0.0222 0.8135 0.7205 0.2407",
        "30.92 3.371 1.961 0.7396 0.8911 0.7562",
    ),
    "gf2_train_3": (
        "GF2",
        "0.8212 0.0000 0.1788 0.0060 0.8163 0.0186 0.8060 0.6750 0.2660",
        "31.31 2.961 1.853 0.8103 0.9042 0.7484",
    ),
    "gf2_train_4": (
        "GF2",
        "0.8249 0.0000 0.1751 0.0060 0.8199 0.0114 0.8155 0.7968 0.3990",
        "31.59 3.091 1.967 0.7688 0.9048 0.7584",
    ),
    "spacenet6_rotterdam_2": (
        "WV2_4",
        "0.9417 0.0001 0.0582 0.0992 0.8484 0.1377 0.8121 0.9116 0.1269",
        "29.78 24.770 5.637 0.4639 0.6888 0.8928",
    ),
    "spacenet6_rotterdam_3": (
        "WV2_4",
        "0.9215 0.0001 0.0784 0.0276 0.8961 0.0409 0.8839 0.7959 0.0688",
        "26.69 17.836 8.916 0.6191 0.7310 0.7353",
    ),
    "wv3_tiny": (
        "WV3",
        "0.7230 0.0004 0.2767 0.0984 0.6522 0.0805 0.6651 0.8041 0.5996",
        "",
    ),
}
# The judge takes nodata for dark ground. Its filters look into the hole; ours see it filled. One of
# the scenes has bright ground beside the hole, so that its D_s was too large.
DIFFER_WITH_NODATA = {"D_rho": 4e-3, "D_s_R": 2e-3}
DARK_BESIDE = {
    "spacenet6_rotterdam_2": {
        "D_lambda": 0.004,
        "D_s": 0.018,
        "QNR": 0.017,
        "HQNR": 0.016,
        "HQNR_und": 0.016,
        "D_lambda_K_und": 0.007,
    }
}


def load(folder, sensor):
    images = []
    for kind in ("ms", "pan"):
        with rasterio.open(folder / f"{kind}.tif") as file:
            images.append(torch.from_numpy(file.read().astype("float32")))
            bits = 8 if file.dtypes[0] == "uint8" else sensor.bits
    return *images, with_bits(sensor, bits)


@pytest.mark.real
@pytest.mark.parametrize("scene", JUDGE)
@pytest.mark.slow
def test_exp_has_the_judges_figures(real_data, scene):
    name, full, reduced = JUDGE[scene]
    ms, pan, sensor = load(real_data / scene, get(name))
    peak = 2.0**sensor.bits - 1
    dark = (
        ((pan[0] == 0) & (ms == 0).all(0).repeat_interleave(4, 0).repeat_interleave(4, 1))
        if scene[0] == "s"
        else None
    )
    filled = ms if dark is None else windows.fill(ms, ~dark[::4, ::4])
    got = metrics.full(
        upsample(filled, 4).clip(0, peak), ms, pan, sensor, mask=None if dark is None else ~dark
    )
    for key, want in zip(FULL, map(float, full.split()), strict=True):
        known = DIFFER_WITH_NODATA | DARK_BESIDE.get(scene, {})
        allowed = 2e-4 if dark is None else known.get(key, 2e-4)
        assert got[key] == pytest.approx(want, abs=allowed), key
    if reduced and dark is None:
        exp = upsample(wald(ms, pan, sensor)[0], 4).clip(0, peak)
        got = metrics.reduced(exp, ms[:, : exp.shape[1], : exp.shape[2]], 4, peak)
        for key, want in zip(REDUCED, map(float, reduced.split()), strict=True):
            assert got[key] == pytest.approx(want, abs=6e-3 if key == "PSNR" else 1e-3), key
