"""Image quality with and without a reference, by the definitions of the MATLAB toolboxes of the field.

Every function takes ``(C, H, W)`` or ``(B, C, H, W)`` tensors on any device, computes in float64 and returns a scalar
float64 tensor, the mean over the batch. Results do not change when all images are multiplied by one factor (PSNR: and
its peak too), so DN and [0, 1] both serve. All are differentiable, with finite gradients also for equal images and
flat blocks. Wrong shapes, ratios or non-finite values raise a one-line ValueError with what was expected and found.

``convention`` says where MS pixels sit on PAN's grid, see `clippan_lite.degrade`. ``mask`` is ``(H, W)`` bool on PAN's
grid; blocks that touch a False pixel are dropped. What does not fill a block is cropped at the bottom and right.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from clippan_lite import blocks
from clippan_lite.degrade import (
    CONVENTIONS,
    check_choice,
    check_image,
    degrade,
    imresize,
    mirror,
    mtf_filter,
    upsample,
)
from clippan_lite.sensors import Sensor

Tensor = torch.Tensor


def _load(name: str, x: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """``(B, C, H, W)`` in float64; ``shape`` is the one expected of the last axes."""
    check_image(name, x)
    if shape is not None and tuple(x.shape[-len(shape) :]) != shape:
        raise ValueError(f"{name}: expected (..., {', '.join(map(str, shape))}), found {tuple(x.shape)}")
    if not torch.isfinite(x).all():
        raise ValueError(f"{name}: expected finite values, found {int((~torch.isfinite(x)).sum())} NaN or infinite")
    return (x if x.dim() == 4 else x.unsqueeze(0)).double()


def _two(x: Tensor, ref: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(ref, Tensor) and isinstance(x, Tensor) and x.shape != ref.shape:
        raise ValueError(f"x: expected the shape of ref {tuple(ref.shape)}, found {tuple(x.shape)}")
    return _load("x", x), _load("ref", ref)


def _images(fused: Tensor, ms: Tensor, ratio: int, pan: Tensor | None = None) -> tuple[Tensor, ...]:
    if not isinstance(ratio, int) or ratio < 2:
        raise ValueError(f"ratio: expected a whole number of 2 or more, found {ratio!r}")
    ms = _load("ms", ms)
    b, c, h, w = ms.shape
    fused = _load("fused", fused, (c, h * ratio, w * ratio))
    out = (fused, ms) if pan is None else (fused, ms, _load("pan", pan, (1, h * ratio, w * ratio)))
    if any(t.shape[0] != b for t in out):
        raise ValueError(f"batch: expected {b} images as in ms, found {[t.shape[0] for t in out]}")
    return out


def psnr(x: Tensor, ref: Tensor, peak: float) -> Tensor:
    """Peak signal-to-noise ratio in dB over all bands together, infinite for equal images.

    Args:
        x: image, ``(..., C, H, W)``.
        ref: reference of the same shape.
        peak: largest possible value, e.g. 2047 for 11-bit DN.

    Raises:
        ValueError: shapes that differ, values that are not finite, peak not above 0.
    """
    x, ref = _two(x, ref)
    if not peak > 0:
        raise ValueError(f"peak: expected a number above 0, found {peak!r}")
    mse = (x - ref).square().mean((1, 2, 3))
    equal = mse == 0
    return torch.where(equal, math.inf, 10 * torch.log10(peak**2 / torch.where(equal, 1.0, mse))).mean()


def ssim(x: Tensor, ref: Tensor, data_range: float | None = None) -> Tensor:
    """Structural similarity, mean over bands, in [-1, 1]: Gaussian 11 x 11 window, sigma 1.5, only whole windows.

    Args:
        x: image, ``(..., C, H, W)``, at least 11 x 11 pixels.
        ref: reference of the same shape.
        data_range: span of the values; None takes max - min of ref over the batch. Never assumed to be 255 or 1.

    Raises:
        ValueError: shapes that differ or are too small, values that are not finite, data_range not above 0.

    Source:
        Wang et al. 2004.
    """
    x, ref = _two(x, ref)
    if min(x.shape[-2:]) < 11:
        raise ValueError(f"x: expected at least 11 x 11 pixels for SSIM, found {tuple(x.shape)}")
    if data_range is None:
        data_range = float((ref.detach().max() - ref.detach().min()) or ref.detach().abs().max() or 1.0)
    if not data_range > 0:
        raise ValueError(f"data_range: expected a number above 0, found {data_range!r}")
    t = torch.arange(-5, 6, dtype=x.dtype, device=x.device)
    k = torch.exp(-0.5 * (t / 1.5) ** 2)
    k = k / k.sum()

    def local(z: Tensor) -> Tensor:
        z = F.conv2d(z.flatten(0, 1).unsqueeze(1), k.view(1, 1, 11, 1))
        return F.conv2d(z, k.view(1, 1, 1, 11))

    mx, my = local(x), local(ref)
    vx, vy, cov = local(x * x) - mx * mx, local(ref * ref) - my * my, local(x * ref) - mx * my
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    return ((2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))).mean()


def sam(x: Tensor, ref: Tensor) -> Tensor:
    """Mean spectral angle in degrees, 0 to 180; pixels where either spectrum is all zero are dropped.

    Raises:
        ValueError: shapes that differ, values that are not finite, no pixel left.

    Source:
        Yuhas et al. 1992; the angle by Kahan's formula, exact also for nearly equal spectra.
    """
    x, ref = _two(x, ref)
    nx, nr = (torch.linalg.vector_norm(t, dim=1, keepdim=True) for t in (x, ref))
    ok = (nx > 0) & (nr > 0)
    if not ok.flatten(1).any(1).all():
        raise ValueError("sam: expected at least one pixel with non-zero spectra in every image, found none")
    u, v = x / torch.where(ok, nx, 1.0), ref / torch.where(ok, nr, 1.0)
    far = torch.linalg.vector_norm(u - v, dim=1, keepdim=True)
    near = torch.where(ok, torch.linalg.vector_norm(u + v, dim=1, keepdim=True), 1.0)
    angle = torch.where(ok, 2 * torch.atan2(far, near), 0.0)
    return torch.rad2deg(angle.sum((1, 2, 3)) / ok.sum((1, 2, 3))).mean()


def ergas(x: Tensor, ref: Tensor, ratio: int) -> Tensor:
    """Relative global error in synthesis, 0 or more: ``100 / ratio * sqrt(mean_b(MSE_b / mean(ref_b)^2))``.

    Args:
        x: image, ``(..., C, H, W)``.
        ref: reference of the same shape; no band with mean 0.
        ratio: PAN pixels per MS pixel (4, not 1/4).

    Raises:
        ValueError: shapes that differ, values that are not finite, ratio below 1, a reference band with mean 0.

    Source:
        Wald 2000.
    """
    x, ref = _two(x, ref)
    if not ratio >= 1:
        raise ValueError(f"ratio: expected PAN pixels per MS pixel, 1 or more, found {ratio!r}")
    mean = ref.mean((2, 3))
    if (mean == 0).any():
        raise ValueError("ref: expected bands with a mean other than 0 for ERGAS, found a band with mean 0")
    return (100 / ratio * blocks.root(((x - ref).square().mean((2, 3)) / mean.square()).mean(1))).mean()


def q2n(x: Tensor, ref: Tensor, block: int = 32) -> Tensor:
    """Hypercomplex quality index of all bands together, 0 to 1 (Q4 for 4 bands, Q8 for 8).

    Sizes that are no multiple of the block are mirrored at the bottom and right, bands padded to a power of two.

    Args:
        x: image, ``(..., C, H, W)``.
        ref: reference of the same shape; its blocks give the normalisation.
        block: block size and step, pixels.

    Raises:
        ValueError: shapes that differ, values that are not finite, block below 2.

    Source:
        Garzelli and Nencini 2009.
    """
    x, ref = _two(x, ref)
    if block < 2:
        raise ValueError(f"block: expected 2 or more, found {block!r}")
    for dim in (2, 3):
        n = x.shape[dim]
        index = mirror(torch.arange(-(-n // block) * block, device=x.device), n)
        x, ref = x.index_select(dim, index), ref.index_select(dim, index)
    return blocks.q2n(x, ref, block)


def _d_lambda(fused: Tensor, up: Tensor, block: int, keep: Tensor | None) -> Tensor:
    pairs = [blocks.band_pairs(blocks.split(t, block), keep) for t in (fused, up)]
    return (pairs[0] - pairs[1]).abs().mean()


def _d_s(
    fused: Tensor, up: Tensor, pan: Tensor, ratio: int, convention: str, block: int, keep: Tensor | None
) -> Tensor:
    low = upsample(imresize(pan, 1 / ratio), ratio, convention)
    f, m, p, q = (blocks.split(t, block) for t in (fused, up, pan, low))
    return (blocks.mean_blocks(blocks.uqi(f, p), keep) - blocks.mean_blocks(blocks.uqi(m, q), keep)).abs().mean()


def d_lambda(
    fused: Tensor, ms: Tensor, ratio: int, convention: str = "benchmark", block: int = 32, mask: Tensor | None = None
) -> Tensor:
    """Spectral distortion of QNR against the interpolated MS, 0 (best) to 2; 0 for plain interpolation by definition.

    Args:
        fused: ``(..., C, H, W)``, 2 bands or more.
        ms: ``(..., C, H / ratio, W / ratio)``.
        ratio: PAN pixels per MS pixel.
        convention: ``"benchmark"`` or ``"geo"``.
        block: block size, PAN pixels.
        mask: valid pixels, see the module's description.

    Raises:
        ValueError: shapes or ratio that do not fit, values that are not finite, one band, no block left.

    Source:
        Alparone et al. 2008, p = 1, as in the DLPan toolbox.
    """
    fused, ms = _images(fused, ms, ratio)
    if ms.shape[1] < 2:
        raise ValueError(f"ms: expected 2 bands or more for D_lambda, found {tuple(ms.shape)}")
    return _d_lambda(fused, upsample(ms, ratio, convention), block, blocks.valid_blocks(mask, fused.shape[-2:], block))


def d_s(
    fused: Tensor,
    ms: Tensor,
    pan: Tensor,
    ratio: int,
    convention: str = "benchmark",
    block: int = 32,
    mask: Tensor | None = None,
) -> Tensor:
    """Spatial distortion of QNR and HQNR against PAN, 0 (best) to 2; takes ``pan (..., 1, H, W)``, else as d_lambda.

    Raises:
        ValueError: shapes or ratio that do not fit, values that are not finite, no block left.

    Source:
        Alparone et al. 2008, q = 1, PAN reduced by bicubic with antialiasing and interpolated back (DLPan toolbox).
    """
    fused, ms, pan = _images(fused, ms, ratio, pan)
    keep = blocks.valid_blocks(mask, fused.shape[-2:], block)
    return _d_s(fused, upsample(ms, ratio, convention), pan, ratio, convention, block, keep)


def qnr(
    fused: Tensor,
    ms: Tensor,
    pan: Tensor,
    ratio: int,
    convention: str = "benchmark",
    block: int = 32,
    mask: Tensor | None = None,
) -> Tensor:
    """Quality without reference, ``(1 - D_lambda)(1 - D_s)``, 1 at best; arguments and Raises as in d_s.

    Source:
        Alparone et al. 2008. It favours plain interpolation: never read it alone.
    """
    lam = d_lambda(fused, ms, ratio, convention, block, mask)
    return (1 - lam) * (1 - d_s(fused, ms, pan, ratio, convention, block, mask))


def d_lambda_khan(
    fused: Tensor,
    ms: Tensor,
    sensor: Sensor,
    variant: str = "decimated",
    convention: str = "benchmark",
    block: int = 32,
    mask: Tensor | None = None,
) -> Tensor:
    """Spectral distortion ``1 - Q2n`` of the fused image seen through the MS camera, 0 (best) to 1.

    Args:
        fused: ``(..., C, H, W)``.
        ms: ``(..., C, H / ratio, W / ratio)``.
        sensor: gives ratio and MTF gains.
        variant: ``"decimated"`` compares with MS on its own grid (MS smaller than a block is mirrored to one),
            ``"undecimated"`` with the interpolated MS on PAN's grid. The two differ by a factor of about 2.
        convention: ``"benchmark"`` or ``"geo"``.
        block: block size in pixels of the grid of comparison.
        mask: valid pixels, see the module's description.

    Raises:
        ValueError: shapes that do not fit each other or the sensor, unknown variant, no block left.

    Source:
        Khan et al. 2009; Vivone et al. 2021.
    """
    check_choice("variant", variant, ("decimated", "undecimated"))
    check_choice("convention", convention, CONVENTIONS)
    check_image("ms", ms, len(sensor.bands))
    r = sensor.ratio
    fused, ms = _images(fused, ms, r)
    if variant == "decimated":
        return 1 - _khan_ms(degrade(fused, sensor.mtf_ms, r, convention), ms, r, block, mask)
    keep = blocks.valid_blocks(mask, fused.shape[-2:], block)
    return 1 - blocks.q2n(mtf_filter(fused, sensor.mtf_ms, r), upsample(ms, r, convention), block, keep)


def _khan_ms(low: Tensor, ms: Tensor, ratio: int, block: int, mask: Tensor | None) -> Tensor:
    if min(ms.shape[-2:]) < block and (mask is None or bool(mask.all())):
        return q2n(low, ms, block)
    return blocks.q2n(low, ms, block, blocks.valid_blocks(mask, ms.shape[-2:], block, ratio))


def hqnr(
    fused: Tensor,
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    variant: str = "decimated",
    convention: str = "benchmark",
    block: int = 32,
    mask: Tensor | None = None,
) -> Tensor:
    """Hybrid quality without reference, ``(1 - D_lambda_K)(1 - D_s)``, 1 at best; see d_lambda_khan and d_s.

    Raises:
        ValueError: as in d_lambda_khan and d_s.

    Source:
        Aiazzi et al. 2014; Vivone et al. 2021.
    """
    lam = d_lambda_khan(fused, ms, sensor, variant, convention, block, mask)
    return (1 - lam) * (1 - d_s(fused, ms, pan, sensor.ratio, convention, block, mask))


def _d_rho(fused: Tensor, pan: Tensor, ratio: int, block: int, mask: Tensor | None) -> Tensor:
    w = math.ceil(ratio / 2)

    def box(z: Tensor) -> Tensor:  # mean over rows and columns i - w + 1 to i + w, zeros outside
        return F.avg_pool2d(z, 2 * w, 1, w)[..., 1:, 1:]

    mf, mp = box(fused), box(pan)
    f, p = fused - mf, pan - mp
    vf, vp = box(f * f), box(p * p)
    flat = (vf <= blocks.FLAT * mf.square()) | (vp <= blocks.FLAT * mp.square())  # no detail, no correlation: 0
    rho = torch.where(flat, 0.0, box(f * p) / torch.where(flat, 1.0, vf * vp).sqrt())
    if min(rho.shape[-2:]) < block and (mask is None or bool(mask.all())):
        return 1 - rho.mean()
    keep = blocks.valid_blocks(mask, rho.shape[-2:], block)
    return 1 - blocks.mean_blocks(blocks.split(rho, block).mean(-1), keep).mean()


def d_rho(fused: Tensor, pan: Tensor, ratio: int, block: int = 32, mask: Tensor | None = None) -> Tensor:
    """Spatial distortion ``1 - mean local correlation`` of each fused band with PAN, 0 (best) to 2.

    Deviations from the local mean are correlated in windows of the same size, ``2 * ceil(ratio / 2)`` pixels.

    Args:
        fused: ``(..., C, H, W)``.
        pan: ``(..., 1, H, W)``.
        ratio: PAN pixels per MS pixel.
        block: the image is cropped to a multiple of it, and blocks that touch the mask are dropped.
        mask: valid pixels, see the module's description.

    Raises:
        ValueError: shapes or ratio that do not fit, values that are not finite, no block left.

    Source:
        Scarpa and Ciotola 2022.
    """
    if not isinstance(ratio, int) or ratio < 1:
        raise ValueError(f"ratio: expected a whole number of 1 or more, found {ratio!r}")
    fused = _load("fused", fused)
    return _d_rho(fused, _load("pan", pan, (1, *fused.shape[-2:])), ratio, block, mask)


@torch.no_grad()
def full(
    fused: Tensor, ms: Tensor, pan: Tensor, sensor: Sensor, convention: str = "benchmark", mask: Tensor | None = None
) -> dict[str, float]:
    """Every figure that needs no reference, blocks of 32 x 32.

    Args:
        fused: ``(C, H, W)``, C 2 or more.
        ms: ``(C, H / ratio, W / ratio)``.
        pan: ``(1, H, W)``.
        sensor: gives ratio and MTF gains.
        convention: ``"benchmark"`` or ``"geo"``.
        mask: valid pixels, see the module's description.

    Returns:
        D_lambda, D_s, QNR, D_lambda_K and HQNR (decimated), D_lambda_K_und and HQNR_und (undecimated), D_rho.

    Raises:
        ValueError: shapes that do not fit each other or the sensor, values that are not finite, no block left.
    """
    check_choice("convention", convention, CONVENTIONS)
    check_image("ms", ms, len(sensor.bands))
    r = sensor.ratio
    fused, ms, pan = _images(fused, ms, r, pan)
    if ms.shape[1] < 2:
        raise ValueError(f"ms: expected 2 bands or more for D_lambda, found {tuple(ms.shape)}")
    keep = blocks.valid_blocks(mask, fused.shape[-2:], 32)
    up = upsample(ms, r, convention)
    seen = mtf_filter(fused, sensor.mtf_ms, r)
    phase = slice(r // 2, None, r)  # saves filtering twice
    low = seen[..., phase, phase] if convention == "benchmark" else degrade(fused, sensor.mtf_ms, r, convention)
    lam = float(_d_lambda(fused, up, 32, keep))
    spatial = float(_d_s(fused, up, pan, r, convention, 32, keep))
    khan = float(1 - _khan_ms(low, ms, r, 32, mask))
    khan_und = float(1 - blocks.q2n(seen, up, 32, keep))
    return {
        "D_lambda": lam,
        "D_s": spatial,
        "QNR": (1 - lam) * (1 - spatial),
        "D_lambda_K": khan,
        "HQNR": (1 - khan) * (1 - spatial),
        "D_lambda_K_und": khan_und,
        "HQNR_und": (1 - khan_und) * (1 - spatial),
        "D_rho": float(_d_rho(fused, pan, r, 32, mask)),
    }


@torch.no_grad()
def reduced(fused: Tensor, ref: Tensor, ratio: int, peak: float, mask: Tensor | None = None) -> dict[str, float]:
    """Every figure against a reference, on the image cropped top left to a multiple of 32 (if it is that large).

    Args:
        fused: ``(C, H, W)``.
        ref: reference of the same shape, same unit.
        ratio: PAN pixels per MS pixel.
        peak: largest possible value, e.g. 2047 for 11-bit DN; the data range of SSIM too.
        mask: ``(H, W)`` bool, True where valid. PSNR, ERGAS and SAM then take valid pixels, Q2n wholly valid blocks.

    Returns:
        PSNR (dB), ERGAS, SAM (degrees), Q2n and, without a mask, SSIM (its windows would reach into the holes).

    Raises:
        ValueError: shapes that differ, values that are not finite, ratio or peak out of range, no valid block.
    """
    _two(fused, ref)
    h, w = (n // 32 * 32 or n for n in ref.shape[-2:])
    x, y = fused[..., :h, :w], ref[..., :h, :w]
    if mask is not None:
        inside = mask[:h, :w]
        keep = blocks.valid_blocks(inside, (h, w), 32)
        q = blocks.q2n(x[None].double(), y[None].double(), 32, keep)
        x, y = x[:, inside][:, None], y[:, inside][:, None]
        values = {"PSNR": psnr(x, y, peak), "ERGAS": ergas(x, y, ratio), "SAM": sam(x, y), "Q2n": q}
        return {key: float(value) for key, value in values.items()}
    values = {
        "PSNR": psnr(x, y, peak),
        "ERGAS": ergas(x, y, ratio),
        "SAM": sam(x, y),
        "Q2n": q2n(x, y),
        "SSIM": ssim(x, y, peak),
    }
    return {key: float(value) for key, value in values.items()}
