"""Whole tables of figures by name."""

import itertools
import math

import torch

from clippan_lite.metrics import blocks, inputs
from clippan_lite.metrics.aligned import reprojected
from clippan_lite.metrics.no_reference import q2n_on_ms_grid, unexplained
from clippan_lite.metrics.reference import (
    consistency,
    psnr,
    scc,
    scc_of,
    sobel,
    windows_inside,
)
from clippan_lite.physics.degrade import (
    CONVENTIONS,
    check_choice,
    check_image,
    check_mask,
    degrade,
    imresize,
    mirror,
    mtf_filter,
    upsample,
)
from clippan_lite.physics.sensors import Sensor

Tensor = torch.Tensor
Part = tuple[slice, slice]  # rows and columns
BLOCK = 32
# Side of what `full` handles at once, pixels: it fits into the caches, and is large against REACH.
TILE = 512
# PAN pixels that the MTF filter (20) and the local correlation look beyond a tile.
REACH = 24
# MS pixels that interp23 (6 + 3 + ...) and bicubic interpolation look beyond a tile.
LOW_REACH = 12


@torch.no_grad()
def reduced(
    fused: Tensor, ref: Tensor, ratio: int, peak: float, mask: Tensor | None = None
) -> dict[str, float]:
    """Every figure against a reference.

    An image of 32 x 32 pixels or more is cropped to a multiple of 32 at the bottom and right.

    Args:
        fused: ``(C, H, W)``.
        ref: reference of the same shape, same unit.
        ratio: PAN pixels per MS pixel.
        peak: largest possible value, e.g. 2047 for 11-bit DN; the data range of SSIM too.
        mask: ``(H, W)`` bool, True where valid; only wholly valid blocks and windows count
            (and SCC leaves out the black ground, see `scc`).

    Returns:
        PSNR (dB), ERGAS, SAM (degrees), Q, Q2n, SCC and SSIM; NaN for ERGAS and SAM of a black
        image.

    Raises:
        ValueError: shapes that differ, values that are not finite, ratio or peak out of range, no
            valid block.
    """
    check_image("fused", fused, batch=False)
    check_image("ref", ref, batch=False)
    if fused.shape != ref.shape:
        raise ValueError(
            f"fused: expected the shape of ref {tuple(ref.shape)}, found {tuple(fused.shape)}"
        )
    check_mask(mask, ref.shape[-2:])
    h, w = (n // BLOCK * BLOCK or n for n in ref.shape[-2:])
    if min(h, w) < 11:
        raise ValueError(f"fused: expected at least 11 x 11 pixels, SSIM's window, found {h} x {w}")
    x = inputs.load("fused", fused, mask=mask)[..., :h, :w]
    y = inputs.load("ref", ref, mask=mask)[..., :h, :w]
    highest = float(y.max())
    if highest > 2 * peak:
        raise ValueError(
            f"peak: expected the largest possible value, found {peak!r} and a reference up to "
            f"{highest:.6g}"
        )
    mask = None if mask is None else mask[:h, :w]
    values = consistency(x, y, ratio, BLOCK, mask)
    structure = blocks.ssim_map(x, y, peak)
    if mask is None:
        values["SCC"] = scc(x, y)
    else:
        structure, edges = structure[..., windows_inside(mask, 11)], windows_inside(mask, 3)
        values["SCC"] = scc_of(sobel(x)[..., edges], sobel(y)[..., edges])
        x, y = x[..., mask][..., None, :], y[..., mask][..., None, :]
    values |= {"PSNR": psnr(x, y, peak), "SSIM": structure.mean()}
    return {
        name: float(values[name]) for name in ("PSNR", "ERGAS", "SAM", "Q", "Q2n", "SCC", "SSIM")
    }


@torch.no_grad()
def full(
    fused: Tensor,
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> dict[str, float]:
    """Every figure that needs no reference, toolbox flavour, blocks of 32 x 32.

    The image is handled in tiles: time grows with its pixels, memory beyond the arguments with
    those of PAN (about 40 bytes each).

    Args:
        fused: ``(C, H, W)``, 32 x 32 pixels or more.
        ms: ``(C, H / ratio, W / ratio)``.
        pan: ``(1, H, W)``.
        sensor: gives ratio and MTF gains.
        convention: ``"benchmark"`` or ``"geo"``.
        mask: valid pixels, see the package's description.

    Returns:
        D_lambda, D_s, QNR, D_lambda_K and HQNR (decimated), D_lambda_K_und and HQNR_und
        (undecimated), D_rho, D_s_R (regression) and the registration-aware D_lambda_align, R_Q,
        R_SAM and R_ERGAS. NaN where a figure is not
        defined: D_lambda and QNR of one band, R_SAM and R_ERGAS of a black image.

    Raises:
        ValueError: shapes that do not fit each other or the sensor, values that are not finite, no
            block left.
    """
    check_choice("convention", convention, CONVENTIONS)
    inputs.check_scene(fused, ms, pan, sensor, mask)
    r = sensor.ratio
    c, height, width = fused.shape
    if min(height, width) < BLOCK:
        raise ValueError(
            f"fused: expected at least {BLOCK} x {BLOCK} pixels, found {height} x {width}"
        )
    keep = torch.ones(height // BLOCK, width // BLOCK, dtype=torch.bool)
    valid = blocks.valid_blocks(mask, (height, width), BLOCK)
    if valid is not None:
        keep = valid.cpu().view_as(keep)
    low_pan = imresize(inputs.load("pan", pan, mask=mask), 1 / r)
    low = torch.cat([inputs.load("ms", ms, mask=inputs.on_ms(mask, r)), low_pan], 1)
    blurred_low = torch.empty_like(low[:, :c])
    sums: dict[str, Tensor] = {}
    step, reach = math.lcm(BLOCK, r), -(-REACH // r) * r
    for rows, cols in itertools.product(_tiles(height, step, reach), _tiles(width, step, reach)):
        part, around, inner = zip(rows, cols, strict=True)
        tile = torch.cat([x[:, *around].double() for x in (fused, pan)])
        tile = inputs.load("fused", tile, mask=None if mask is None else mask[*around])
        blurred = mtf_filter(tile[:, :c], sensor.mtf_ms, r)[..., *inner]
        if convention == "benchmark":
            at_ms = blurred[..., r // 2 :: r, r // 2 :: r]  # saves filtering twice
        else:
            at_ms = degrade(tile[:, :c], sensor.mtf_ms, r, convention)[..., *_divided(inner, r)]
        blurred_low[..., *_divided(part, r)] = at_ms
        kept = keep[*_divided(part, BLOCK)].flatten().to(tile.device)
        if kept.numel() == 0:
            continue  # the last rows or columns, which fill no block
        up = _enlarged(low, _divided(part, r), r, convention)
        for name, values in _of_blocks(tile, blurred, up, inner, r).items():
            sums[name] = sums.get(name, 0) + values[0][kept].sum(0)
    count = int(keep.sum())
    mean = {name: total / count for name, total in sums.items()}
    inputs.check_unit("fused", mean["levels"][:-1], low[:, :c])
    inputs.check_unit("pan", mean["levels"][-1:], low[:, :c])

    lam = float((mean["bands"] - mean["low_bands"]).abs().mean())
    spatial = float((mean["pan"] - mean["low_pan"]).abs().mean())
    khan = float(1 - q2n_on_ms_grid(blurred_low, low[:, :c], r, BLOCK, mask))
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


def _tiles(size: int, step: int, reach: int) -> list[tuple[slice, slice, slice]]:
    """Cut an axis into tiles that begin at multiples of the step.

    Returns:
        Each tile, the tile with what is around it, and where in the latter the tile lies.
    """
    side = max(1, TILE // step) * step
    tiles = []
    for start in range(0, size, side):
        stop, first = min(start + side, size), max(0, start - reach)
        around, inner = slice(first, stop + reach), slice(start - first, stop - first)
        tiles.append((slice(start, stop), around, inner))
    return tiles


def _divided(part: Part, n: int) -> Part:
    """The same part of an image that is n times coarser."""
    rows, cols = (slice(span.start // n, span.stop // n) for span in part)
    return rows, cols


def _enlarged(low: Tensor, part: Part, ratio: int, convention: str) -> Tensor:
    """Part of ``(1, C, h, w)`` on PAN's grid, as if the whole image had been interpolated."""
    for dim, span in zip((2, 3), part, strict=True):
        n = low.shape[dim]
        index = torch.arange(span.start - LOW_REACH, span.stop + LOW_REACH, device=low.device)
        low = low.index_select(dim, index % n if convention == "benchmark" else mirror(index, n))
    inner = slice(LOW_REACH * ratio, -LOW_REACH * ratio)
    return upsample(low, ratio, convention)[..., inner, inner]


def _of_blocks(
    tile: Tensor, blurred: Tensor, up: Tensor, inner: Part, ratio: int
) -> dict[str, Tensor]:
    """Everything that `full` averages over blocks, ``(1, blocks, ...)`` by name.

    Args:
        tile: fused bands and PAN, with what is around them.
        blurred: fused bands through the MTF filter.
        up: interpolated MS bands and interpolated reduced PAN.
        inner: rows and columns of the tile itself.
        ratio: PAN pixels per MS pixel.
    """
    c = blurred.shape[1]
    mean, cov = blocks.moments([tile[..., *inner]], BLOCK)
    low_mean, low_cov = blocks.moments([up[:, :c], blurred, up[:, c:]], BLOCK)
    khan = blocks.q2n_of(low_mean[..., :-1], low_cov[..., :-1, :-1])
    ms_pan = [*range(c), 2 * c]
    low_mean, low_cov = low_mean[..., ms_pan], low_cov[..., ms_pan, :][..., ms_pan]
    rho = blocks.local_correlation(tile[:, :-1], tile[:, -1:], ratio)[..., *inner]
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
