"""Blur, decimation and interpolation between the PAN and the MS grid, in two named conventions.

``"benchmark"``: MS pixel i sits at PAN index ``ratio * i + ratio // 2``. Benchmark data sets are
made this way, by interp23 and the decimation at phase ratio/2 of the MATLAB toolboxes.

``"geo"``: MS pixel i covers PAN pixels ``ratio * i`` to ``ratio * i + ratio - 1``, so its centre is
the PAN coordinate ``ratio * i + (ratio - 1) / 2``. GeoTIFFs whose areas are aligned lie this way.

Between the two lies half a PAN pixel for even ratios, and no shift by whole pixels removes it.

All functions take ``(B, C, H, W)`` or ``(C, H, W)`` tensors of any floating dtype and device, in
any unit, keep both, and are differentiable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from clippan_lite.physics import matrices
from clippan_lite.physics.resample import (
    CONVENTIONS,
    check_choice,
    check_image,
    check_whole,
    filter_last,
    mirror,
    planes,
    upsample,
)

if TYPE_CHECKING:
    from clippan_lite.physics.sensors import Sensor

__all__ = [
    "CONVENTIONS", "KINDS", "degrade", "mirror", "mtf_filter", "mtf_kernel", "upsample", "wald",
]  # fmt: skip

KINDS = ("toolbox", "exact")


@lru_cache(maxsize=256)
def _taps(gain: float, ratio: int, kind: str, size: int) -> torch.Tensor:
    t = np.arange(size) - (size - 1) / 2  # whole numbers for odd sizes, halves for even ones
    spread = math.sqrt(-2 * math.log(gain))
    if kind == "exact":
        sigma = ratio * spread / math.pi
        k = np.exp(-0.5 * (t / sigma) ** 2)
        return torch.from_numpy(k / k.sum())
    # The toolbox samples the frequency response on n points but scales it with n - 1, and does not
    # normalise after the window; both are kept. Its response is separable, only its round Kaiser
    # window is not (to 2e-5).
    n = size if size % 2 else size + 1
    alpha = (n - 1) / (2 * ratio) / spread
    f = np.arange(n) - (n - 1) // 2
    k = np.cos(2 * math.pi * np.outer(t, f) / n) @ np.exp(-0.5 * (f / alpha) ** 2) / n
    window = np.i0(0.5 * np.sqrt(np.maximum(0, 1 - (t / ((n - 1) / 2)) ** 2))) / np.i0(0.5)
    return torch.from_numpy(k * window)


def mtf_kernel(gain: float, ratio: int, kind: str = "toolbox", size: int = 41) -> torch.Tensor:
    """One axis of the separable, Gaussian-shaped MTF filter.

    Args:
        gain: MTF at the Nyquist frequency of the MS grid, 1 / (2 * ratio) cycles per PAN pixel, in
            (0, 1).
        ratio: PAN pixels per MS pixel, 2 or more.
        kind: ``"toolbox"`` for the kernel of the MATLAB toolboxes (its real gain is gain^1.05 and
            its DC gain on an image about 0.9988), ``"exact"`` for the nominal gain and a DC gain of
            1.
        size: taps; an even size samples the same filter half-way between pixels.

    Returns:
        ``(size,)`` float64 tensor on the CPU.

    Raises:
        ValueError: gain outside (0, 1), ratio below 2, unknown kind or fewer than 3 taps.

    Source:
        genMTF / fwind1 of the DLPan toolbox (Vivone et al. 2021).
    """
    check_whole("ratio", ratio)
    check_choice("kind", kind, KINDS)
    if not 0 < gain < 1:
        raise ValueError(f"gain: expected a number between 0 and 1, found {gain!r}")
    if size < 3:
        raise ValueError(f"size: expected 3 taps or more, found {size!r}")
    return _taps(float(gain), ratio, kind, int(size)).clone()


def _blur(
    x: torch.Tensor,
    gains: float | Sequence[float],
    ratio: int,
    kind: str,
    stride: int,
    phase: Sequence[float],
) -> torch.Tensor:
    """Separable blur, borders replicated, kept only at ``stride * i + phase`` (rows, columns)."""
    check_image("x", x)
    check_whole("ratio", ratio)
    if x.shape[-2] % stride or x.shape[-1] % stride:
        raise ValueError(
            f"x: expected height and width that are multiples of {stride}, found {tuple(x.shape)}"
        )
    values = np.ravel(gains).tolist()
    channels = x.shape[-3]
    if len(values) not in (1, channels):
        raise ValueError(f"gains: expected 1 or {channels} (one per band), found {len(values)}")
    if matrices.serve(x):
        every = (tuple(values), ratio, kind, stride)
        return matrices.both_axes(x, _blur_last, (*every, phase[0]), (*every, phase[1]))
    kernels = _kernels(values, ratio, kind, phase[0]).to(x).expand(channels, -1)
    rows, cols = (_padding(kernels.shape[-1], stride, p) for p in phase)
    blurred = []
    parts = planes(x.reshape(-1, *x.shape[-3:]))
    for part, taps in zip(parts, kernels.split(parts[0].shape[1]), strict=True):
        part = filter_last(F.pad(part, (*cols, *rows), mode="replicate"), taps, stride)
        blurred.append(filter_last(part.mT, taps, stride).mT)
    y = torch.cat(blurred, 1)
    return y.view(*x.shape[:-2], *y.shape[-2:])


def _blur_last(
    x: torch.Tensor, gains: tuple[float, ...], ratio: int, kind: str, stride: int, phase: float
) -> torch.Tensor:
    """`_blur` of the last axis of ``(B, 1, n, m)`` alone, once for each gain."""
    taps = _kernels(gains, ratio, kind, phase).to(x)
    padding = (*_padding(taps.shape[-1], stride, phase), 0, 0)
    padded = F.pad(x, padding, mode="replicate").expand(-1, len(gains), -1, -1)
    return filter_last(padded, taps, stride)


def _kernels(gains: Sequence[float], ratio: int, kind: str, phase: float) -> torch.Tensor:
    """Kernels ``(gains, taps)``: odd ones sample at whole pixels, even ones half-way between."""
    size = 41 if float(phase).is_integer() else 40
    return torch.stack([mtf_kernel(gain, ratio, kind, size) for gain in gains])


def _padding(size: int, stride: int, phase: float) -> tuple[int, int]:
    """Pixels to add before and after an axis for a kernel of ``size`` taps."""
    return round((size - 1) / 2 - phase), round((size - 1) / 2 + phase) - stride + 1


def mtf_filter(
    x: torch.Tensor, gains: float | Sequence[float], ratio: int, kind: str = "toolbox"
) -> torch.Tensor:
    """Blur each band with its MTF filter (41 taps, replicated borders), keeping the size.

    Args:
        x: ``(C, H, W)`` or ``(B, C, H, W)``, any unit.
        gains: MTF gain at Nyquist, one for all bands or one per band, in (0, 1).
        ratio: PAN pixels per MS pixel.
        kind: see `mtf_kernel`.

    Returns:
        Tensor of the same shape.

    Raises:
        ValueError: wrong shape, gains, ratio or kind.

    Source:
        MTF of the DLPan toolbox (Vivone et al. 2021).
    """
    return _blur(x, gains, ratio, kind, 1, (0, 0))


def degrade(
    x: torch.Tensor,
    gains: float | Sequence[float],
    ratio: int,
    convention: str | tuple[int, int] = "benchmark",
    kind: str = "toolbox",
) -> torch.Tensor:
    """Blur with the MTF filter and decimate to the MS grid, in one strided filter.

    Args:
        x: ``(C, H, W)`` or ``(B, C, H, W)``, any unit; H and W multiples of ratio.
        gains: MTF gain at Nyquist, one for all bands or one per band, in (0, 1).
        ratio: PAN pixels per MS pixel.
        convention: ``"benchmark"`` or ``"geo"``, see the module's description; or a phase of whole
            PAN pixels, -20 to 20: MS pixel (i, j) then lies at PAN row ``ratio * i + phase[0]``,
            column ``ratio * j + phase[1]``, and what lies outside the image is replicated.
        kind: see `mtf_kernel`.

    Returns:
        ``(..., C, H / ratio, W / ratio)``.

    Raises:
        ValueError: wrong shape, gains, ratio, convention, phase or kind.

    Source:
        Wald et al. 1997; phases as in DLPan ("benchmark") and GDAL ("geo").
    """
    check_whole("ratio", ratio)
    if isinstance(convention, tuple):
        if len(convention) != 2 or any(p not in range(-20, 21) for p in convention):
            raise ValueError(f"phase: expected two of -20 to 20 PAN pixels, found {convention}")
        return _blur(x, gains, ratio, kind, ratio, convention)
    check_choice("convention", convention, CONVENTIONS)
    phase = (ratio - 1) / 2 if convention == "geo" else ratio // 2
    return _blur(x, gains, ratio, kind, ratio, (phase, phase))


def wald(
    ms: torch.Tensor, pan: torch.Tensor, sensor: Sensor, convention: str = "benchmark"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Degrade a pair by its own ratio, so that the original MS is the reference (Wald's protocol).

    Both images pass their MTF filter and are decimated at the same phase. What does not fill a
    whole reduced MS pixel is cropped at the bottom and right: compare with ``ms[..., :h2, :w2]``,
    where ``h2, w2`` is the size of ``pan_low``.

    Args:
        ms: ``(C, h, w)`` or ``(B, C, h, w)``, DN or any unit.
        pan: ``(1, h * ratio, w * ratio)`` or with a batch axis, same unit.
        sensor: gives ratio and MTF gains; as many bands as ms.
        convention: ``"benchmark"`` or ``"geo"``.

    Returns:
        ``ms_low`` ``(..., C, h2 / ratio, w2 / ratio)`` and ``pan_low`` ``(..., 1, h2, w2)``.

    Raises:
        ValueError: shapes that do not fit each other or the sensor, or an image smaller than ratio
            x ratio MS pixels.

    Source:
        Wald et al. 1997.
    """
    check_image("ms", ms, len(sensor.bands))
    check_image("pan", pan, 1)
    r = sensor.ratio
    h, w = ms.shape[-2:]
    if pan.shape[-2:] != (h * r, w * r):
        raise ValueError(
            f"pan: expected (1, {h * r}, {w * r}), {r} times the MS size {tuple(ms.shape)}, "
            f"found {tuple(pan.shape)}"
        )
    h, w = h // r * r, w // r * r
    if h == 0 or w == 0:
        raise ValueError(
            f"ms: expected at least {r} x {r} pixels to reduce by {r}, found {tuple(ms.shape)}"
        )
    ms_low = degrade(ms[..., :h, :w], sensor.mtf_ms, r, convention)
    pan_low = degrade(pan[..., : h * r, : w * r], sensor.mtf_pan, r, convention)
    return ms_low, pan_low
