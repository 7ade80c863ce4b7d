"""Whole tables of figures by name."""

from __future__ import annotations

import math

import torch

from clippan_lite import blocks
from clippan_lite.degrade import CONVENTIONS, check_choice, check_image, degrade, imresize, mirror, mtf_filter, upsample
from clippan_lite.metrics import inputs
from clippan_lite.metrics.no_reference import check_bands, q2n_on_ms_grid, unexplained
from clippan_lite.metrics.reference import consistency, psnr, scc, scc_of, sobel, ssim_map, windows_inside
from clippan_lite.metrics.reprojected import reprojected
from clippan_lite.sensors import Sensor

Tensor = torch.Tensor
BLOCK = 32
STRIP_PIXELS = 2**18  # of a strip that `full` handles at once: large enough for speed, small enough for the caches
REACH = 24  # PAN rows that the MTF filter (20) and the local correlation look beyond a strip
LOW_REACH = 12  # MS rows that interp23 (6 + 3 + ...) and bicubic interpolation look beyond a strip


@torch.no_grad()
def reduced(fused: Tensor, ref: Tensor, ratio: int, peak: float, mask: Tensor | None = None) -> dict[str, float]:
    """Every figure against a reference, on the image cropped top left to a multiple of 32 (if it is that large).

    Args:
        fused: ``(C, H, W)``.
        ref: reference of the same shape, same unit.
        ratio: PAN pixels per MS pixel.
        peak: largest possible value, e.g. 2047 for 11-bit DN; the data range of SSIM too.
        mask: ``(H, W)`` bool, True where valid; only wholly valid blocks and windows count
            (and SCC leaves out the black ground, see `scc`).

    Returns:
        PSNR (dB), ERGAS, SAM (degrees), Q, Q2n, SCC and SSIM.

    Raises:
        ValueError: shapes that differ, values that are not finite, ratio or peak out of range, no valid block.
    """
    inputs.two(fused, ref)
    if fused.dim() != 3:
        raise ValueError(f"fused: expected one image (C, H, W), found {tuple(fused.shape)}")
    if mask is not None:
        blocks.check_mask(mask, ref.shape[-2:])
    h, w = (n // BLOCK * BLOCK or n for n in ref.shape[-2:])
    x, y = fused[None, :, :h, :w].double(), ref[None, :, :h, :w].double()
    mask = None if mask is None else mask[:h, :w]
    values = consistency(x, y, ratio, BLOCK, mask)
    structure = ssim_map(x, y, peak)
    if mask is None:
        values["SCC"] = scc(x, y)
    else:
        structure, edges = structure[..., windows_inside(mask, 11)], windows_inside(mask, 3)
        values["SCC"] = scc_of(sobel(x)[..., edges], sobel(y)[..., edges])
        x, y = x[..., mask][..., None, :], y[..., mask][..., None, :]
    values |= {"PSNR": psnr(x, y, peak), "SSIM": structure.mean()}
    return {name: float(values[name]) for name in ("PSNR", "ERGAS", "SAM", "Q", "Q2n", "SCC", "SSIM")}


@torch.no_grad()
def full(
    fused: Tensor, ms: Tensor, pan: Tensor, sensor: Sensor, convention: str = "benchmark", mask: Tensor | None = None
) -> dict[str, float]:
    """Every figure that needs no reference, toolbox flavour, blocks of 32 x 32.

    The image is handled in strips: time grows with the pixels, memory (about 20 bytes per value beyond the arguments,
    at most) does not with the strips' intermediate results.

    Args:
        fused: ``(C, H, W)``, C 2 or more.
        ms: ``(C, H / ratio, W / ratio)``.
        pan: ``(1, H, W)``.
        sensor: gives ratio and MTF gains.
        convention: ``"benchmark"`` or ``"geo"``.
        mask: valid pixels, see the package's description.

    Returns:
        D_lambda, D_s, QNR, D_lambda_K and HQNR (decimated), D_lambda_K_und and HQNR_und (undecimated), D_rho, D_s_R
        (regression) and the registration-aware D_lambda_align, R_Q, R_SAM and R_ERGAS.

    Raises:
        ValueError: shapes that do not fit each other or the sensor, values that are not finite, no block left.
    """
    check_choice("convention", convention, CONVENTIONS)
    check_image("ms", ms, len(sensor.bands))
    r = sensor.ratio
    inputs.check_sizes(fused, ms, r, pan)
    check_bands(ms)
    if fused.dim() != 3:
        raise ValueError(f"fused: expected one image (C, H, W), found {tuple(fused.shape)}")
    c, height, width = fused.shape
    keep = blocks.valid_blocks(mask, (height, width), BLOCK)
    keep = torch.ones(height // BLOCK * (width // BLOCK), dtype=torch.bool) if keep is None else keep.cpu()
    keep = keep.view(height // BLOCK, width // BLOCK)
    low = torch.cat([inputs.load("ms", ms), imresize(inputs.load("pan", pan), 1 / r)], 1)
    seen_low = torch.empty_like(low[:, :c])
    sums: dict[str, Tensor] = {}
    step = math.lcm(BLOCK, r)
    rows = max(1, STRIP_PIXELS // (width * step)) * step
    reach = -(-REACH // r) * r
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first = max(0, top - reach)
        strip = torch.cat([x[:, first : bottom + reach].double() for x in (fused, pan)])[None]
        strip = inputs.load("fused", strip)
        inner = slice(top - first, bottom - first)
        image = strip[:, :c]
        seen = mtf_filter(image, sensor.mtf_ms, r)[..., inner, :]
        if convention == "benchmark":
            at_ms = seen[..., r // 2 :: r, r // 2 :: r]  # saves filtering twice
        else:
            at_ms = degrade(image, sensor.mtf_ms, r, convention)[..., inner.start // r : inner.stop // r, :]
        seen_low[..., top // r : bottom // r, :] = at_ms
        whole = (bottom - top) // BLOCK
        if whole == 0:
            continue  # the last rows, which fill no block
        for name, values in _of_blocks(
            strip, seen, _enlarged(low, top // r, bottom // r, r, convention), inner, r
        ).items():
            kept = values[0][keep[top // BLOCK :][:whole].flatten().to(values.device)]
            sums[name] = sums.get(name, 0) + kept.sum(0)
    count = int(keep.sum())
    mean = {name: total / count for name, total in sums.items()}

    lam = float((mean["bands"] - mean["low_bands"]).abs().mean())
    spatial = float((mean["pan"] - mean["low_pan"]).abs().mean())
    khan = float(1 - q2n_on_ms_grid(seen_low, low[:, :c], r, BLOCK, mask))
    khan_und = float(1 - mean["khan"])
    aligned = reprojected(fused, ms, pan, sensor, mask)
    return {
        "D_lambda": lam,
        "D_s": spatial,
        "QNR": (1 - lam) * (1 - spatial),
        "D_lambda_K": khan,
        "HQNR": (1 - khan) * (1 - spatial),
        "D_lambda_K_und": khan_und,
        "HQNR_und": (1 - khan_und) * (1 - spatial),
        "D_rho": float(1 - mean["rho"].mean()),
        "D_s_R": float(unexplained(mean["products"], mean["levels"])),
        **{name: float(value) for name, value in aligned.items()},
    }


def _enlarged(low: Tensor, first: int, last: int, ratio: int, convention: str) -> Tensor:
    """Rows ``first`` to ``last`` of ``(1, C, h, w)`` on PAN's grid, as if the whole image had been interpolated."""
    h = low.shape[-2]
    index = torch.arange(first - LOW_REACH, last + LOW_REACH, device=low.device)
    index = index % h if convention == "benchmark" else mirror(index, h)
    return upsample(low[..., index, :], ratio, convention)[..., LOW_REACH * ratio : -LOW_REACH * ratio, :]


def _of_blocks(strip: Tensor, seen: Tensor, up: Tensor, inner: slice, ratio: int) -> dict[str, Tensor]:
    """Everything that `full` averages over blocks, ``(1, blocks, ...)`` by name.

    Args:
        strip: fused bands and PAN, with rows above and below.
        seen: fused bands through the MTF filter.
        up: interpolated MS bands and interpolated reduced PAN.
        inner: rows of the strip itself.
        ratio: PAN pixels per MS pixel.
    """
    c = seen.shape[1]
    mean, cov = blocks.moments([strip[..., inner, :]], BLOCK)
    low_mean, low_cov = blocks.moments([up[:, :c], seen, up[:, c:]], BLOCK)
    khan = blocks.q2n_of(low_mean[..., :-1], low_cov[..., :-1, :-1])
    ms_pan = [*range(c), 2 * c]
    low_mean, low_cov = low_mean[..., ms_pan], low_cov[..., ms_pan, :][..., ms_pan]
    rho = blocks.local_correlation(strip[:, :-1], strip[:, -1:], math.ceil(ratio / 2))[..., inner, :]
    n = BLOCK * BLOCK
    return {
        "bands": blocks.between_bands(mean[..., :-1], cov[..., :-1, :-1]),
        "low_bands": blocks.between_bands(low_mean[..., :-1], low_cov[..., :-1, :-1]),
        "pan": blocks.with_last(mean, cov),
        "low_pan": blocks.with_last(low_mean, low_cov),
        "khan": khan,
        "rho": blocks.split(rho, BLOCK).mean(-1),
        "levels": mean,
        "products": cov * ((n - 1) / n) + mean[..., :, None] * mean[..., None, :],
    }
