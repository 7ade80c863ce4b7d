"""Whole tables of figures by name."""

import torch

from clippan_lite.metrics import blocks, inputs, sums
from clippan_lite.metrics.aligned import reprojected
from clippan_lite.metrics.reference import (
    consistency,
    psnr,
    scc,
    scc_of,
    sobel,
    windows_inside,
)
from clippan_lite.metrics.sums import BLOCK
from clippan_lite.physics.resample import CONVENTIONS, check_choice, check_image, check_mask
from clippan_lite.physics.sensors import Sensor

Tensor = torch.Tensor


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
    height, width = fused.shape[1:]
    if min(height, width) < BLOCK:
        raise ValueError(
            f"fused: expected at least {BLOCK} x {BLOCK} pixels, found {height} x {width}"
        )
    figures = sums.of_scene(fused, ms, pan, sensor, convention, mask).figures(sensor.ratio)
    aligned = reprojected(fused, ms, pan, sensor, mask)
    return {**figures, **{name: float(value) for name, value in aligned.items()}}
