import math

import numpy as np
import pytest
import sewar
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.image import (
    error_relative_global_dimensionless_synthesis,
    spectral_angle_mapper,
    structural_similarity_index_measure,
)

from clippan_lite import metrics
from clippan_lite.metrics import blocks
from clippan_lite.physics.degrade import degrade, mtf_filter, upsample
from clippan_lite.physics.imresize import imresize
from clippan_lite.physics.sensors import get


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth(c, h, w, seed=0):
    """Correlated bands in DN, so that quality indices are far from 0."""
    base = upsample(rand(1, h // 4, w // 4, seed=seed), 4)
    return (
        300 + 800 * base + 60 * rand(c, h, w, seed=seed + 1) + 100 * torch.arange(c)[:, None, None]
    )


def uqi(x, y):
    """UQI of two blocks by the formula, sums by numpy's cov (N - 1)."""
    cov = np.cov(x.ravel(), y.ravel())
    mx, my = x.mean(), y.mean()
    return 4 * cov[0, 1] * mx * my / ((cov[0, 0] + cov[1, 1]) * (mx**2 + my**2))


def mean_uqi(x, y, n):
    h, w = x.shape
    return np.mean(
        [
            uqi(x[i : i + n, j : j + n], y[i : i + n, j : j + n])
            for i in range(0, h, n)
            for j in range(0, w, n)
        ]
    )


def one_block(x, y):
    return float(blocks.with_last(*blocks.moments([torch.stack([x, y])[None]], len(x))))


@pytest.fixture(scope="module")
def scene():
    sensor = get("VHR4")
    fused, pan = smooth(4, 128, 128), smooth(1, 128, 128, seed=5)
    ms = degrade(smooth(4, 128, 128, seed=9), sensor.mtf_ms, 4)
    return fused, ms, pan, sensor


def test_uqi_golden_values():
    x = 0.5 + rand(32, 32)
    assert one_block(x, x) == pytest.approx(1, abs=1e-12)
    assert one_block(x, 2 * x.mean() - x) == pytest.approx(-1, abs=1e-12)
    big = (
        torch.randn(2, 512, 512, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        + 3
    )
    assert abs(one_block(big[0], big[1])) < 0.01
    flat = torch.full((32, 32), 3.0, dtype=torch.float64)
    assert one_block(flat, flat) == 1
    assert one_block(flat, 2 * flat) == pytest.approx(2 * 3 * 6 / (9 + 36))
    assert one_block(0 * flat, 0 * flat) == 1
    assert one_block(flat, x) == 0


def test_d_lambda_and_d_s_against_loops(scene):
    fused, ms, pan, _ = scene
    up, low = upsample(ms, 4).numpy(), upsample(imresize(pan, 0.25), 4).numpy()[0]
    f, p = fused.numpy(), pan.numpy()[0]
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    want = np.mean([abs(mean_uqi(f[i], f[j], 32) - mean_uqi(up[i], up[j], 32)) for i, j in pairs])
    assert float(metrics.d_lambda(fused, ms, 4)) == pytest.approx(want, abs=1e-12)
    want_s = np.mean([abs(mean_uqi(f[b], p, 32) - mean_uqi(up[b], low, 32)) for b in range(4)])
    assert float(metrics.d_s(fused, ms, pan, 4)) == pytest.approx(want_s, abs=1e-12)
    assert float(metrics.qnr(fused, ms, pan, 4)) == pytest.approx(
        (1 - want) * (1 - want_s), abs=1e-12
    )
    assert want > 1e-3 and want_s > 1e-3


@pytest.mark.parametrize("convention", ["benchmark", "geo"])
def test_interpolation_has_no_d_lambda(scene, convention):
    _, ms, _, _ = scene
    assert float(metrics.d_lambda(upsample(ms, 4, convention), ms, 4, convention)) == 0


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 6, 8])
def test_q2n_equals_sewar(bands):
    ref = smooth(bands, 72, 64)
    x = ref + 40 * rand(bands, 72, 64, seed=7)
    want = sewar.q2n(ref.permute(1, 2, 0).numpy(), x.permute(1, 2, 0).numpy())
    assert float(metrics.q2n(x, ref)) == pytest.approx(want, abs=1e-10)
    assert float(metrics.q2n(ref, ref)) == pytest.approx(1, abs=1e-12)


def test_q2n_of_flat_blocks():
    flat = torch.full((4, 32, 32), 7.0, dtype=torch.float64)
    assert float(metrics.q2n(flat, flat)) == pytest.approx(1)
    assert float(metrics.q2n(2 * flat, flat)) == pytest.approx(0.8)  # 2 m 2m / (m^2 + 4 m^2)
    zero = torch.zeros(4, 32, 32, dtype=torch.float64)
    assert float(metrics.q2n(zero, zero)) == pytest.approx(1)
    assert 0 <= float(metrics.q2n(flat + rand(4, 32, 32), flat)) < 0.01
    one = smooth(4, 32, 32)
    one[2] = 5
    assert float(metrics.q2n(one, one)) == pytest.approx(1)


def test_khan_variants(scene):
    fused, ms, pan, sensor = scene
    seen = mtf_filter(fused, sensor.mtf_ms, 4)
    dec = 1 - sewar.q2n(ms.permute(1, 2, 0).numpy(), seen[:, 2::4, 2::4].permute(1, 2, 0).numpy())
    und = 1 - sewar.q2n(upsample(ms, 4).permute(1, 2, 0).numpy(), seen.permute(1, 2, 0).numpy())
    assert float(metrics.d_lambda_khan(fused, ms, sensor)) == pytest.approx(dec, abs=1e-10)
    assert float(metrics.d_lambda_khan(fused, ms, sensor, "undecimated")) == pytest.approx(
        und, abs=1e-10
    )
    want = (1 - und) * (1 - float(metrics.d_s(fused, ms, pan, 4)))
    assert float(metrics.hqnr(fused, ms, pan, sensor, "undecimated")) == pytest.approx(
        want, abs=1e-10
    )


def test_ms_smaller_than_a_block_is_mirrored():
    sensor = get("VHR4")
    ms = smooth(4, 24, 20)
    fused = upsample(ms, 4) * 1.1
    seen = degrade(fused, sensor.mtf_ms, 4)
    want = 1 - sewar.q2n(ms.permute(1, 2, 0).numpy(), seen.permute(1, 2, 0).numpy())
    assert float(metrics.d_lambda_khan(fused, ms, sensor)) == pytest.approx(want, abs=1e-10)
    mask = torch.ones(96, 80, dtype=torch.bool)
    assert float(metrics.d_lambda_khan(fused, ms, sensor, mask=mask)) == pytest.approx(
        want, abs=1e-10
    )


def test_d_rho_against_loops():
    f, p = smooth(2, 16, 20), smooth(1, 16, 20, seed=4)

    def box(z):
        padded = np.pad(z, 2)
        # window of output pixel i: i - 1 to i + 2
        return np.array(
            [[padded[i + 1 : i + 5, j + 1 : j + 5].mean() for j in range(20)] for i in range(16)]
        )

    dp = p[0].numpy() - box(p[0].numpy())
    rho = []
    for band in f.numpy():
        df = band - box(band)
        rho.append(np.mean(box(df * dp) / np.sqrt(box(df**2) * box(dp**2))))
    assert float(metrics.d_rho(f, p, 4)) == pytest.approx(1 - np.mean(rho), abs=1e-10)
    assert (
        float(metrics.d_rho(p * 3 + 5, p, 4))
        < 0.2
        < float(metrics.d_rho(rand(1, 16, 20, seed=8), p, 4))
    )


def test_sam_and_ergas_against_torchmetrics():
    ref = smooth(4, 40, 40)
    x = ref + 50 * rand(4, 40, 40, seed=3)
    sam = float(spectral_angle_mapper(x[None], ref[None])) * 180 / math.pi
    assert float(metrics.sam(x, ref)) == pytest.approx(sam, abs=1e-4)
    ergas = float(error_relative_global_dimensionless_synthesis(x[None], ref[None], ratio=4))
    assert float(metrics.ergas(x, ref, 4)) == pytest.approx(ergas, rel=1e-4)
    assert float(metrics.ergas(x, ref, 4)) * 4 == pytest.approx(float(metrics.ergas(x, ref, 1)))


def test_ssim_against_torchmetrics_on_the_inner_part():
    ref = smooth(3, 48, 48)
    x = ref + 100 * rand(3, 48, 48, seed=3)
    # torchmetrics averages over reflected borders too
    _, image = structural_similarity_index_measure(
        x[None], ref[None], data_range=1000.0, return_full_image=True
    )
    assert float(metrics.ssim(x, ref, 1000.0)) == pytest.approx(
        float(image[..., 5:-5, 5:-5].mean()), abs=1e-9
    )
    span = float(ref.max() - ref.min())
    assert float(metrics.ssim(x, ref)) == float(metrics.ssim(x, ref, span))
    assert float(metrics.ssim(x / 2047, ref / 2047)) == pytest.approx(
        float(metrics.ssim(x, ref)), abs=1e-9
    )


def test_sam_golden_values():
    e1 = torch.tensor([1.0, 0.0])[:, None, None].repeat(1, 2, 2).double()
    both = torch.tensor([1.0, 1.0])[:, None, None].repeat(1, 2, 2).double()
    assert float(metrics.sam(e1, both)) == pytest.approx(45, abs=1e-10)
    assert float(metrics.sam(e1, -e1)) == pytest.approx(180, abs=1e-10)
    hole = both.clone()
    hole[:, 0, 0] = 0
    assert float(metrics.sam(e1, hole)) == pytest.approx(45, abs=1e-10)
    with pytest.raises(ValueError, match="at least one pixel"):
        metrics.sam(e1, 0 * e1)


def test_psnr():
    ref = smooth(3, 16, 16)
    assert float(metrics.psnr(ref + 2, ref, 200)) == pytest.approx(40)
    assert float(metrics.psnr(ref, ref, 200)) == math.inf


@settings(max_examples=6, deadline=None)
@given(scale=st.floats(1e-5, 1e3))
def test_scale_does_not_matter(scene, scale):
    fused, ms, pan, sensor = scene
    a, b = (
        metrics.full(fused, ms, pan, sensor),
        metrics.full(fused * scale, ms * scale, pan * scale, sensor),
    )
    assert a == pytest.approx(b, rel=1e-7, abs=1e-9)
    x, y = fused[:, :64, :64], fused[:, 64:, 64:]
    c, d = metrics.reduced(x, y, 4, 2047), metrics.reduced(x * scale, y * scale, 4, 2047 * scale)
    assert c == pytest.approx(d, rel=1e-7)


def test_full_holds_the_single_functions(scene):
    fused, ms, pan, sensor = scene
    for convention in ("benchmark", "geo"):
        d = metrics.full(fused, ms, pan, sensor, convention)
        want = {
            "D_lambda": metrics.d_lambda(fused, ms, 4, convention),
            "D_s": metrics.d_s(fused, ms, pan, 4, convention),
            "QNR": metrics.qnr(fused, ms, pan, 4, convention),
            "D_lambda_K": metrics.d_lambda_khan(fused, ms, sensor, "decimated", convention),
            "HQNR": metrics.hqnr(fused, ms, pan, sensor, "decimated", convention),
            "D_lambda_K_und": metrics.d_lambda_khan(fused, ms, sensor, "undecimated", convention),
            "HQNR_und": metrics.hqnr(fused, ms, pan, sensor, "undecimated", convention),
            "D_rho": metrics.d_rho(fused, pan, 4),
            "D_s_R": metrics.d_s_regression(fused, pan),
            **metrics.reprojected(fused, ms, pan, sensor),
        }
        assert d == pytest.approx({k: float(v) for k, v in want.items()}, abs=1e-12)


def test_reduced_crops_to_blocks():
    ref = smooth(4, 72, 40)
    x = ref + 30 * rand(4, 72, 40, seed=2)
    d = metrics.reduced(x, ref, 4, 2047)
    assert set(d) == {"PSNR", "ERGAS", "SAM", "Q", "Q2n", "SCC", "SSIM"}
    assert d == metrics.reduced(x[:, :64, :32], ref[:, :64, :32], 4, 2047)


def test_batch_is_the_mean_and_dtype_does_not_matter(scene):
    fused, ms, pan, sensor = scene
    two = [torch.stack([t, t.flip(-1) * 1.3]) for t in (fused, ms, pan)]
    for f in (
        lambda f, m, p: metrics.d_lambda(f, m, 4),
        lambda f, m, p: metrics.d_s(f, m, p, 4),
        lambda f, m, p: metrics.d_lambda_khan(f, m, sensor),
        lambda f, m, p: metrics.d_rho(f, p, 4),
        lambda f, m, p: metrics.q2n(f, f.flip(-2)),
        lambda f, m, p: metrics.ergas(f, f.flip(-2), 4),
        lambda f, m, p: metrics.sam(f, f.flip(-2)),
        lambda f, m, p: metrics.psnr(f, f.flip(-2), 2047),
    ):
        each = [float(f(*(t[i] for t in two))) for i in range(2)]
        assert float(f(*two)) == pytest.approx(np.mean(each), abs=1e-12)
        assert f(*two).dtype == torch.float64
        assert float(f(*(t.float() for t in two))) == pytest.approx(np.mean(each), abs=1e-4)


def test_mask_drops_blocks(scene):
    fused, ms, pan, sensor = scene
    mask = torch.ones(128, 128, dtype=torch.bool)
    assert float(metrics.d_lambda(fused, ms, 4, mask=mask)) == float(metrics.d_lambda(fused, ms, 4))
    mask[:, 64:] = False
    mask[3, 3] = False
    filled = ms.clone()  # what is wholly masked becomes the mean of the block of 32 x 32 around it
    filled[:, :, 16:] = ms[:, :, :16].mean((1, 2), keepdim=True)
    up = upsample(filled, 4)
    keep = [(i, j) for i in range(4) for j in range(2) if (i, j) != (0, 0)]
    q = [
        [
            np.mean(
                [
                    uqi(
                        x[a, 32 * i :, 32 * j :][:32, :32].numpy(),
                        x[b, 32 * i :, 32 * j :][:32, :32].numpy(),
                    )
                    for i, j in keep
                ]
            )
            for x in (fused, up)
        ]
        for a in range(4)
        for b in range(a + 1, 4)
    ]
    want = np.mean([abs(f - m) for f, m in q])
    assert float(metrics.d_lambda(fused, ms, 4, mask=mask)) == pytest.approx(want, abs=1e-12)
    damaged = fused.clone()
    damaged[:, :, 64:] = 0
    for f in (
        lambda t: metrics.d_s(t, ms, pan, 4, mask=mask),
        lambda t: metrics.d_lambda(t, ms, 4, mask=mask),
    ):
        assert float(f(damaged)) == float(f(fused))
    with pytest.raises(ValueError, match="at least one valid block of 128 x 128"):
        metrics.full(fused, ms, pan, sensor, mask=mask)
    with pytest.raises(ValueError, match="at least one valid block of 32 x 32"):
        metrics.d_s(fused, ms, pan, 4, mask=torch.zeros_like(mask))


def test_khan_mask_keeps_the_valid_blocks():
    sensor = get("VHR4")
    ms, fused = smooth(4, 32, 64), smooth(4, 128, 256, seed=4)
    mask = torch.ones(128, 256, dtype=torch.bool)
    mask[0, 200] = False
    low = degrade(fused, sensor.mtf_ms, 4)
    want = 1 - float(metrics.q2n(low[:, :, :32], ms[:, :, :32]))
    assert float(metrics.d_lambda_khan(fused, ms, sensor, mask=mask)) == pytest.approx(
        want, abs=1e-12
    )


def test_gradcheck():
    x, ref, pan = (1 + rand(2, 8, 8, seed=i) for i in (1, 2, 3))
    ms = 1 + rand(2, 4, 4, seed=4)
    x.requires_grad_()
    for f in (
        lambda t: metrics.q2n(t, ref, 4),
        lambda t: metrics.q2n(ref, t, 4),
        lambda t: metrics.d_lambda(t, ms, 2, block=4),
        lambda t: metrics.d_s(t, ms, pan[:1], 2, block=4),
        lambda t: metrics.d_rho(t, pan[:1], 2, block=4),
        lambda t: metrics.sam(t, ref),
        lambda t: metrics.ergas(t, ref, 2),
        lambda t: metrics.psnr(t, ref, 2.0),
    ):
        assert torch.autograd.gradcheck(f, x, fast_mode=True)
    y = (1 + rand(1, 12, 12, seed=5)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda t: metrics.ssim(t, 1 + rand(1, 12, 12, seed=6)), y, fast_mode=True
    )


@pytest.mark.parametrize("kind", ["same", "flat", "zero", "one flat block"])
def test_gradients_are_finite_where_roots_and_ratios_break(kind):
    sensor = get("VHR4")
    ms, pan = smooth(4, 32, 32), smooth(1, 128, 128, seed=3)
    x = upsample(ms, 4)
    if kind == "flat":
        x, ms, pan = torch.full_like(x, 9.0), torch.full_like(ms, 9.0), torch.full_like(pan, 9.0)
    elif kind == "zero":
        x, ms, pan = 0 * x, 0 * ms, 0 * pan
    elif kind == "one flat block":
        x[:, :40, :40] = 2047
    x = x.clone().requires_grad_()
    ref = x.detach().clone()
    terms = [
        metrics.d_lambda(x, ms, 4),
        metrics.d_s(x, ms, pan, 4),
        metrics.d_lambda_khan(x, ms, sensor),
        metrics.d_lambda_khan(x, ms, sensor, "undecimated"),
        metrics.d_rho(x, pan, 4),
        metrics.q2n(x, ref),
        metrics.ssim(x, ref),
        metrics.psnr(x, ref, 2047),
    ]
    if kind != "zero":
        terms += [metrics.sam(x, ref), metrics.ergas(x, ref, 4)]
    assert all(
        torch.isfinite(t) for i, t in enumerate(terms) if i != 7
    )  # PSNR of equal images is infinite
    for term in terms:
        (grad,) = torch.autograd.grad(term, x, retain_graph=True)
        assert torch.isfinite(grad).all()


def test_d_lambda_pulls_on_the_fused_image(scene):
    fused, ms, _, _ = scene
    x = fused.clone().requires_grad_()
    (grad,) = torch.autograd.grad(metrics.d_lambda(x, ms, 4), x)
    assert float(grad.abs().max()) > 0


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda f, m, p, s: metrics.d_lambda(f[:, :-1], m, 4),
            r"fused: expected \(..., 4, 128, 128\), found \(4, 127",
        ),
        (lambda f, m, p, s: metrics.d_lambda(f, m, 2), r"fused: expected \(..., 4, 64, 64\)"),
        (
            lambda f, m, p, s: metrics.d_s(f, m, p[:, :64], 4),
            r"pan: expected \(..., 1, 128, 128\), found \(1, 64, 128",
        ),
        (lambda f, m, p, s: metrics.d_s(f, m, f, 4), r"pan: expected .* found \(4, 128, 128\)"),
        (lambda f, m, p, s: metrics.d_lambda(f[:1], m[:1], 4), "2 bands or more"),
        (
            lambda f, m, p, s: metrics.full(f * math.nan, m, p, s),
            "fused: expected finite values, found 65536 NaN",
        ),
        (
            lambda f, m, p, s: metrics.full(f, m, p, get("WV2")),
            r"ms: expected 8 bands .* found \(4, 32, 32\)",
        ),
        (lambda f, m, p, s: metrics.full(f, m, p, s, "gdal"), "convention: expected"),
        (lambda f, m, p, s: metrics.d_lambda_khan(f, m, s, "dec"), "variant: expected"),
        (
            lambda f, m, p, s: metrics.d_s(f, m, p, 4, mask=torch.ones(3, 3)),
            r"mask: expected a bool tensor",
        ),
        (
            lambda f, m, p, s: metrics.d_s(f, m, p, 4, block=256),
            "block: expected .* at most the image size 128 x 128",
        ),
        (
            lambda f, m, p, s: metrics.d_lambda(f[None].repeat(2, 1, 1, 1), m, 4),
            "fused: expected as many images as in ms",
        ),
        (
            lambda f, m, p, s: metrics.q2n(f, m),
            r"x: expected the shape of ref \(4, 32, 32\), found \(4, 128, 128\)",
        ),
        (lambda f, m, p, s: metrics.psnr(m, m, 0), "peak: expected a number above 0"),
        (lambda f, m, p, s: metrics.ergas(m, m * 0, 4), "means of 0 only"),
        (lambda f, m, p, s: metrics.ergas(m, m, 0.25), "ratio: expected PAN pixels per MS pixel"),
        (lambda f, m, p, s: metrics.ssim(m[:, :9], m[:, :9]), "at least 11 x 11"),
        (lambda f, m, p, s: metrics.ssim(m, m, 0.0), "data_range: expected"),
    ],
)
def test_mistakes_get_one_line(scene, call, text):
    with pytest.raises(ValueError, match=text) as error:
        call(*scene)
    assert "\n" not in str(error.value)
