"""Back-projection: what MS says that a fused image lacks is added to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from clippan_lite.physics.degrade import degrade
from clippan_lite.physics.resample import (
    CONVENTIONS,
    check_choice,
    check_finite,
    check_image,
    check_mask,
    check_whole,
    interpolate,
)
from clippan_lite.physics.windows import all_valid, any_valid, box_mean, fill

if TYPE_CHECKING:
    from clippan_lite.physics.sensors import Sensor

WINDOW = 3  # MS pixels: side of the windows in which the residual is fitted to PAN
FLAT = 0.03  # a window counts as flat when PAN deviates by a smaller share of its mean


def back_project(
    fused: torch.Tensor,
    ms: torch.Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    rounds: int = 1,
    pan: torch.Tensor | None = None,
    along: float = 0.0,
    valid: torch.Tensor | None = None,
) -> torch.Tensor:
    """Bring a fused image into agreement with MS: ``x + upsample(MS - degrade(x))``, repeated.

    ``degrade`` blurs with the sensor's MTF and decimates. Each round removes most of what is left
    of the difference between the degraded image and MS. One round is safe with any camera. More
    rounds gain more where the sensor's MTF is right, and lose where it is not (notebook 05).

    The plain residual is smooth. With ``along`` above 0, a share of it follows PAN instead. On MS's
    grid, the residual is fitted as an affine function of degraded PAN in windows of 3 x 3 pixels.
    The interpolated coefficients are applied to PAN, and what the fit does not explain is dropped.
    The result keeps more of PAN's shapes and agrees less with MS.

    Args:
        fused: ``(C, H, W)`` or ``(B, C, H, W)``, any unit and range.
        ms: ``(..., C, H / ratio, W / ratio)``, same unit.
        sensor: gives ratio and MTF gains.
        convention: ``"benchmark"`` or ``"geo"``.
        rounds: how often the step is taken, 0 or more.
        pan: ``(..., 1, H, W)``, same unit. It is needed when ``along`` is above 0.
        along: share of the correction that follows PAN, 0 to 1.
        valid: ``(H, W)`` bool, True where the images are valid. Holes are filled before a filter
            sees them. MS pixels that touch a hole correct nothing.

    Returns:
        As ``fused``, differentiable, and not clipped. Values in holes mean nothing.

    Raises:
        ValueError: shapes that do not fit each other, a share out of range, no PAN to follow, or
            values outside the holes that are NaN or infinite (not looked for while training).

    Source:
        Irani and Peleg 1991 (iterative back-projection); the guided filter of He et al. 2013 for
        the form along PAN.
    """
    _check(fused, ms, sensor, convention, rounds, pan, along, valid)
    if valid is not None and not valid.all():
        if not valid.any():
            raise ValueError("valid: expected some valid pixels, found none")
        fused, ms = fill(fused, valid), fill(ms, any_valid(valid, sensor.ratio))
        pan = None if pan is None else fill(pan, valid)
        trusted = all_valid(valid, sensor.ratio)
    else:
        trusted = None
    if not fused.requires_grad:  # a look at all pixels in each step would make a GPU wait
        for name, image in (("fused", fused), ("ms", ms), ("pan", pan if along else None)):
            if image is not None:
                check_finite(name, image, "valid")

    def repeated(x: torch.Tensor, follow: torch.Tensor | None) -> torch.Tensor:
        for _ in range(rounds):
            low = degrade(x, sensor.mtf_ms, sensor.ratio, convention)
            residual = ms - low if trusted is None else (ms - low) * trusted
            if follow is None:
                x = x + interpolate(residual, sensor.ratio, convention)
            else:
                x = x + _along_pan(residual, follow, sensor, convention)
        return x

    if along == 0:
        return repeated(fused, None)
    plain = repeated(fused, None) if along < 1 else 0.0
    return (1 - along) * plain + along * repeated(fused, pan)


def _along_pan(
    residual: torch.Tensor, pan: torch.Tensor, sensor: Sensor, convention: str
) -> torch.Tensor:
    """The residual, upsampled as a local affine function of PAN."""
    wide = pan.expand(*pan.shape[:-3], residual.shape[-3], -1, -1)
    low = degrade(wide, sensor.mtf_ms, sensor.ratio, convention)
    mean, of_residual = box_mean(low, WINDOW), box_mean(residual, WINDOW)
    floor = (FLAT * mean).square() + torch.finfo(low.dtype).tiny
    variance = box_mean(low * low, WINDOW) - mean * mean
    slope = (box_mean(low * residual, WINDOW) - mean * of_residual) / (variance + floor)
    offset = of_residual - slope * mean
    slope, offset = box_mean(slope, WINDOW), box_mean(offset, WINDOW)
    slope, offset = (interpolate(x, sensor.ratio, convention) for x in (slope, offset))
    return slope * pan + offset


def _check(
    fused: torch.Tensor,
    ms: torch.Tensor,
    sensor: Sensor,
    convention: str,
    rounds: int,
    pan: torch.Tensor | None,
    along: float,
    valid: torch.Tensor | None,
) -> None:
    """Refuse what cannot be, in one line (ValueError)."""
    check_image("fused", fused, len(sensor.bands))
    check_image("ms", ms, len(sensor.bands))
    check_choice("convention", convention, CONVENTIONS)
    height, width = fused.shape[-2:]
    expected = (*fused.shape[:-2], height // sensor.ratio, width // sensor.ratio)
    if tuple(ms.shape) != expected:
        raise ValueError(
            f"ms: expected {expected}, {sensor.name}'s ratio {sensor.ratio} smaller than the "
            f"fused image {tuple(fused.shape)}, found {tuple(ms.shape)}"
        )
    check_whole("rounds of back-projection", rounds, 0)
    if not 0 <= along <= 1:
        raise ValueError(f"along: expected a share between 0 and 1, found {along}")
    if along and (pan is None or pan.shape[-3:] != (1, height, width)):
        found = None if pan is None else tuple(pan.shape)
        raise ValueError(f"pan: expected (..., 1, {height}, {width}) to follow, found {found}")
    check_mask(valid, (height, width))
