"""Metrics against a reference."""

import math

import torch
import torch.nn.functional as F

from clippan_lite.metrics import blocks, inputs
from clippan_lite.physics.resample import check_whole, mirror
from clippan_lite.physics.windows import window_sum

Tensor = torch.Tensor


def psnr(x: Tensor, ref: Tensor, peak: float) -> Tensor:
    """Peak signal-to-noise ratio in dB over all bands together, infinite for equal images.

    Args:
        x: image, ``(..., C, H, W)``.
        ref: reference of the same shape.
        peak: largest possible value, e.g. 2047 for 11-bit DN.

    Raises:
        ValueError: shapes that differ, values that are not finite, peak not above 0.
    """
    x, ref = inputs.two(x, ref)
    if not peak > 0:
        raise ValueError(f"peak: expected a number above 0, found {peak!r}")
    mse = (x - ref).square().mean((1, 2, 3))
    equal = mse == 0
    return torch.where(
        equal, math.inf, 10 * torch.log10(peak**2 / torch.where(equal, 1.0, mse))
    ).mean()


def ssim(x: Tensor, ref: Tensor, data_range: float | None = None) -> Tensor:
    """Structural similarity, mean over bands, in [-1, 1].

    The window is a Gaussian of 11 x 11 pixels, sigma 1.5; only whole windows count.

    Args:
        x: image, ``(..., C, H, W)``, at least 11 x 11 pixels.
        ref: reference of the same shape.
        data_range: span of the values; None takes max - min of ref over the batch. Never assumed to
            be 255 or 1.

    Raises:
        ValueError: shapes that differ or are too small, values that are not finite, data_range not
            above 0.

    Source:
        Wang et al. 2004.
    """
    x, ref = inputs.two(x, ref, 11, "SSIM")
    if data_range is None:
        low, high = float(ref.detach().min()), float(ref.detach().max())
        data_range = high - low or abs(high) or 1.0
    if not data_range > 0:
        raise ValueError(f"data_range: expected a number above 0, found {data_range!r}")
    return blocks.ssim_map(x, ref, data_range).mean()


def sam(x: Tensor, ref: Tensor) -> Tensor:
    """Mean spectral angle in degrees, 0 to 180; pixels with a spectrum of zeros are dropped.

    Raises:
        ValueError: shapes that differ, values that are not finite, no pixel left.

    Source:
        Yuhas et al. 1992; the angle by Kahan's formula, exact also for nearly equal spectra.
    """
    x, ref = inputs.two(x, ref)
    angles, ok = spectral_angles(x, ref)
    if not ok.flatten(1).any(1).all():
        raise ValueError(
            "sam: expected at least one pixel with non-zero spectra in every image, found none"
        )
    return (angles.flatten(1).sum(1) / ok.flatten(1).sum(1)).mean()


def spectral_angles(x: Tensor, ref: Tensor) -> tuple[Tensor, Tensor]:
    """Angles between spectra, degrees, and which pixels have one; elsewhere 0.

    Args:
        x: ``(..., C, H, W)``.
        ref: the same shape.

    Returns:
        ``(..., H, W)`` each.
    """
    norms = [torch.linalg.vector_norm(t, dim=-3) for t in (x, ref)]
    ok = (norms[0] > 0) & (norms[1] > 0)
    u, v = (
        t / torch.where(ok, n, 1.0)[..., None, :, :] for t, n in zip((x, ref), norms, strict=True)
    )
    far = torch.linalg.vector_norm(u - v, dim=-3)
    near = torch.where(ok, torch.linalg.vector_norm(u + v, dim=-3), 1.0)
    return torch.rad2deg(torch.where(ok, 2 * torch.atan2(far, near), 0.0)), ok


def ergas(x: Tensor, ref: Tensor, ratio: int) -> Tensor:
    """Relative global error in synthesis, 0 or more.

    ``100 / ratio * sqrt(mean_b(MSE_b / mean(ref_b)^2))``

    Args:
        x: image, ``(..., C, H, W)``.
        ref: reference of the same shape; bands with mean 0, which have no relative error, are left
            out.
        ratio: PAN pixels per MS pixel (4, not 1/4).

    Raises:
        ValueError: shapes that differ, values that are not finite, ratio below 1, a reference with
            means of 0 only.

    Source:
        Wald 2000.
    """
    x, ref = inputs.two(x, ref)
    if not ratio >= 1:
        raise ValueError(f"ratio: expected PAN pixels per MS pixel, 1 or more, found {ratio!r}")
    mean = ref.mean((2, 3))
    dark = mean == 0
    if dark.all(1).any():
        raise ValueError(
            "ref: expected a band with a mean other than 0 for ERGAS, found means of 0 only"
        )
    share = (x - ref).square().mean((2, 3)) / torch.where(dark, 1.0, mean).square()
    return (100 / ratio * blocks.root(torch.where(dark, 0.0, share).sum(1) / (~dark).sum(1))).mean()


def q2n(x: Tensor, ref: Tensor, block: int = 32) -> Tensor:
    """Hypercomplex quality index of all bands together, 0 to 1 (Q4 for 4 bands, Q8 for 8).

    Sizes that are no multiple of the block are mirrored at the bottom and right, bands padded to a
    power of two.

    Args:
        x: image, ``(..., C, H, W)``.
        ref: reference of the same shape; its blocks give the normalisation.
        block: block size and step, pixels.

    Raises:
        ValueError: shapes that differ, values that are not finite, block below 2.

    Source:
        Garzelli and Nencini 2009.
    """
    check_whole("block", block)
    x, ref = inputs.two(x, ref)
    for dim in (2, 3):
        n = x.shape[dim]
        if n % block:
            index = mirror(torch.arange(-(-n // block) * block, device=x.device), n)
            x, ref = x.index_select(dim, index), ref.index_select(dim, index)
    return blocks.q2n(x, ref, block)


def q(x: Tensor, ref: Tensor, block: int = 32) -> Tensor:
    """Universal quality index of each band, mean over bands and sliding windows, in [-1, 1].

    Args:
        x: image, ``(..., C, H, W)``.
        ref: reference of the same shape.
        block: side of the sliding window, pixels.

    Raises:
        ValueError: shapes that differ, values that are not finite, block below 2 or larger than the
            image.

    Source:
        Wang and Bovik 2002, with the window that papers of the field call Q or UQI by.
    """
    check_whole("block", block)
    x, ref = inputs.two(x, ref, block, "Q")
    return q_map(x, ref, block).mean()


def scc(x: Tensor, ref: Tensor) -> Tensor:
    """Spatial correlation coefficient, 0 to 1: normalised product of all Sobel magnitudes.

    No mean is removed, and the image, less a frame of one pixel, stands on a black ground whose
    edges count, all as in the toolbox: plain interpolation of a real pair gets 0.88 where its
    inside alone gets 0.79. Other packages correlate Laplacians in local windows, another quantity.

    Raises:
        ValueError: shapes that differ or are below 3 x 3, values that are not finite.

    Source:
        SCC of the DLPan toolbox (Vivone et al. 2021), after Zhou et al. 1998.
    """
    x, ref = inputs.two(x, ref, 3, "SCC")
    framed, framed_ref = (F.pad(z[..., 1:-1, 1:-1], (1, 1, 1, 1)) for z in (x, ref))
    return scc_of(sobel(framed), sobel(framed_ref))


def consistency(
    x: Tensor, ref: Tensor, ratio: int, block: int = 32, mask: Tensor | None = None
) -> dict[str, Tensor]:
    """ERGAS, SAM and Q of valid pixels and windows, Q2n of valid blocks; ``(1, C, H, W)`` float64.

    Images smaller than a block get windows of their own size, and one mirrored block; what is
    undefined is NaN.
    """
    h, w = x.shape[-2:]
    side = min(block, h, w)
    of_windows = q_map(x, ref, side)
    if mask is None:
        of_blocks, of_windows = q2n(x, ref, block), of_windows.mean()
    else:
        of_blocks = blocks.q2n(x, ref, block, blocks.valid_blocks(mask, (h, w), block))
        of_windows = of_windows[..., windows_inside(mask, side)].mean()
        x, ref = x[..., mask][..., None, :], ref[..., mask][..., None, :]
    undefined = torch.full_like(of_blocks, math.nan)
    lit = bool((ref.mean((2, 3)) != 0).any())
    coloured = bool(((x != 0).any(1) & (ref != 0).any(1)).any())
    return {
        "ERGAS": ergas(x, ref, ratio) if lit else undefined,
        "SAM": sam(x, ref) if coloured else undefined,
        "Q": of_windows,
        "Q2n": of_blocks,
    }


def windows_inside(mask: Tensor, n: int) -> Tensor:
    """Which n x n windows of a mask ``(H, W)`` are wholly valid: ``(H - n + 1, W - n + 1)``."""
    return window_sum((~mask).double(), n) == 0


def q_map(x: Tensor, ref: Tensor, n: int) -> Tensor:
    """UQI of every n x n window of ``(B, C, H, W)``: ``(B, C, H - n + 1, W - n + 1)``."""
    dims, count = (2, 3), n * n
    # Sums of squares about the image's mean: about 0 they would lose half of the digits.
    level_x, level_ref = x.mean(dims, keepdim=True), ref.mean(dims, keepdim=True)
    a, b = x - level_x, ref - level_ref
    ma, mb = window_sum(a, n) / count, window_sum(b, n) / count
    part = count / (count - 1)
    cov = (window_sum(a * b, n) / count - ma * mb) * part
    var = (window_sum(a * a + b * b, n) / count - ma * ma - mb * mb) * part
    mx, my = ma + level_x, mb + level_ref
    return blocks.uqi_of(cov, var, mx * my, mx.square() + my.square())


def sobel(x: Tensor) -> Tensor:
    """Sobel magnitude ``(B, C, H - 2, W - 2)``, inside the image only."""
    down, right = x[..., 2:, :] - x[..., :-2, :], x[..., 2:] - x[..., :-2]
    down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    right = right[..., :-2, :] + 2 * right[..., 1:-1, :] + right[..., 2:, :]
    return blocks.root(down.square() + right.square())


def scc_of(edges: Tensor, ref_edges: Tensor) -> Tensor:
    """SCC of Sobel magnitudes ``(B, ...)``; without any edge 1 if both images have none, else 0."""
    a, b = edges.flatten(1), ref_edges.flatten(1)
    power_a, power_b = a.square().sum(1), b.square().sum(1)
    none = (power_a == 0) | (power_b == 0)
    same = ((power_a == 0) & (power_b == 0)).to(a)
    power = torch.where(none, 1.0, power_a * power_b).sqrt()
    return torch.where(none, same, (a * b).sum(1) / power).mean()
