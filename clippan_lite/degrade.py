"""Blur, decimation and interpolation between the PAN and the MS grid, in two named conventions.

``"benchmark"``: MS pixel i sits at PAN index ``ratio * i + ratio // 2`` (interp23 and phase-ratio/2 decimation of the
MATLAB toolboxes; benchmark data sets are made this way).
``"geo"``: MS pixel i covers PAN pixels ``ratio * i`` to ``ratio * i + ratio - 1``, so its centre is the PAN coordinate
``ratio * i + (ratio - 1) / 2`` (area-aligned GeoTIFFs). Between the two lies half a PAN pixel for even ratios, and
no shift by whole pixels removes it.

All functions take ``(B, C, H, W)`` or ``(C, H, W)`` tensors of any floating dtype and device, in any unit, keep both,
and are differentiable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from clippan_lite.sensors import Sensor

CONVENTIONS = ("benchmark", "geo")
KINDS = ("toolbox", "exact")

# Odd taps of interp23 on one side, doubled for the zeros stuffed in between; even taps are 0, the centre is 1.
_INTERP23 = (0.610668182370, -0.145397186478, 0.043619155884, -0.010385513306, 0.001615524292, -0.000120162964)


def check_image(name: str, x: torch.Tensor, channels: int | None = None) -> None:
    """Refuse anything but a floating ``(C, H, W)`` or ``(B, C, H, W)`` tensor.

    Raises:
        ValueError: one line with what was expected and what was found.
    """
    c = "C" if channels is None else channels
    if not isinstance(x, torch.Tensor) or x.dim() not in (3, 4) or not x.is_floating_point():
        found = f"{tuple(x.shape)} {x.dtype}" if isinstance(x, torch.Tensor) else type(x).__name__
        raise ValueError(f"{name}: expected a floating tensor ({c}, H, W) or (B, {c}, H, W), found {found}")
    if channels is not None and x.shape[-3] != channels:
        raise ValueError(f"{name}: expected {channels} bands in (..., {channels}, H, W), found {tuple(x.shape)}")
    if 0 in x.shape:
        raise ValueError(f"{name}: expected a tensor that is not empty, found {tuple(x.shape)}")


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Refuse a value that is not one of the known words.

    Raises:
        ValueError: one line with the known words and what was found.
    """
    if value not in known:
        raise ValueError(f"{name}: expected {' or '.join(map(repr, known))}, found {value!r}")


def _check_ratio(ratio: int) -> None:
    if not isinstance(ratio, int) or ratio < 2:
        raise ValueError(f"ratio: expected a whole number of 2 or more, found {ratio!r}")


def _check_multiple(x: torch.Tensor, ratio: int) -> None:
    if x.shape[-2] % ratio or x.shape[-1] % ratio:
        raise ValueError(f"x: expected height and width that are multiples of {ratio}, found {tuple(x.shape)}")


@lru_cache(maxsize=256)
def _taps(gain: float, ratio: int, kind: str, size: int) -> torch.Tensor:
    t = np.arange(size) - (size - 1) / 2  # whole numbers for odd sizes, halves for even ones
    spread = math.sqrt(-2 * math.log(gain))
    if kind == "exact":
        sigma = ratio * spread / math.pi
        k = np.exp(-0.5 * (t / sigma) ** 2)
        return torch.from_numpy(k / k.sum())
    # The toolbox samples the frequency response on n points but scales it with n - 1, and does not normalise after
    # the window; both are kept. Its response is separable, only its round Kaiser window is not (to 2e-5).
    n = size if size % 2 else size + 1
    alpha = (n - 1) / (2 * ratio) / spread
    f = np.arange(n) - (n - 1) // 2
    k = np.cos(2 * math.pi * np.outer(t, f) / n) @ np.exp(-0.5 * (f / alpha) ** 2) / n
    window = np.i0(0.5 * np.sqrt(np.maximum(0, 1 - (t / ((n - 1) / 2)) ** 2))) / np.i0(0.5)
    return torch.from_numpy(k * window)


def mtf_kernel(gain: float, ratio: int, kind: str = "toolbox", size: int = 41) -> torch.Tensor:
    """One axis of the separable, Gaussian-shaped MTF filter.

    Args:
        gain: MTF at the Nyquist frequency of the MS grid, 1 / (2 * ratio) cycles per PAN pixel, in (0, 1).
        ratio: PAN pixels per MS pixel, 2 or more.
        kind: ``"toolbox"`` for the kernel of the MATLAB toolboxes (its real gain is gain^1.05 and its DC gain on an
            image about 0.9988), ``"exact"`` for the nominal gain and a DC gain of 1.
        size: taps; an even size samples the same filter half-way between pixels.

    Returns:
        ``(size,)`` float64 tensor on the CPU.

    Raises:
        ValueError: gain outside (0, 1), ratio below 2, unknown kind or fewer than 3 taps.

    Source:
        genMTF / fwind1 of the DLPan toolbox (Vivone et al. 2021).
    """
    _check_ratio(ratio)
    check_choice("kind", kind, KINDS)
    if not 0 < gain < 1:
        raise ValueError(f"gain: expected a number between 0 and 1, found {gain!r}")
    if size < 3:
        raise ValueError(f"size: expected 3 taps or more, found {size!r}")
    return _taps(float(gain), ratio, kind, int(size)).clone()


def _gains(gains: float | Sequence[float], channels: int) -> tuple[float, ...]:
    values = (float(gains),) if isinstance(gains, (int, float)) else tuple(float(g) for g in gains)
    if len(values) not in (1, channels):
        raise ValueError(f"gains: expected 1 or {channels} (one per band), found {len(values)}")
    return values if len(values) == channels else values * channels


def _filter_last(x: torch.Tensor, k: torch.Tensor, stride: int = 1) -> torch.Tensor:
    """Correlate the last axis of ``(B, C, H, W)`` with kernels ``(C or 1, taps)``, whole windows only.

    A matrix product over overlapping windows: torch's grouped convolution is 10 times slower in float64 on CPU, and
    rounds to TF32 on GPU by default.
    """
    taps, many = k.shape[-1], 32 if stride == 1 else 16  # outputs per window, by measurement
    n = (x.shape[-1] - taps) // stride + 1
    windows = -(-n // many)
    size = (many - 1) * stride + taps
    x = F.pad(x, (0, max(0, (windows - 1) * many * stride + size - x.shape[-1])))
    matrix = torch.stack([F.pad(k, (i * stride, size - taps - i * stride)) for i in range(many)], -1)
    y = x.unfold(-1, size, many * stride)[..., :windows, :].flatten(2, 3) @ matrix
    return y.view(*x.shape[:-1], windows * many)[..., :n]


def _planes(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Bands of ``(B, C, H, W)`` one by one if they are large: alone they stay in the caches (twice as fast)."""
    return x.split(1 if x[:, 0].numel() > 2**16 else x.shape[1], 1)


def _blur(
    x: torch.Tensor,
    gains: float | Sequence[float],
    ratio: int,
    kind: str,
    size: int,
    stride: int,
    phase: Sequence[float],
):
    """Separable blur with replicated borders, kept only at ``stride * i + phase`` (rows, columns)."""
    k = torch.stack([mtf_kernel(g, ratio, kind, size) for g in _gains(gains, x.shape[-3])]).to(x)
    rows, cols = ((round((size - 1) / 2 - p), round((size - 1) / 2 + p) - stride + 1) for p in phase)
    parts = _planes(x if x.dim() == 4 else x.unsqueeze(0))
    y = []
    for part, taps in zip(parts, k.split(parts[0].shape[1]), strict=True):
        part = _filter_last(F.pad(part, (*cols, *rows), mode="replicate"), taps, stride)
        y.append(_filter_last(part.transpose(2, 3), taps, stride).transpose(2, 3))
    y = torch.cat(y, 1)
    return y if x.dim() == 4 else y.squeeze(0)


def mtf_filter(x: torch.Tensor, gains: float | Sequence[float], ratio: int, kind: str = "toolbox") -> torch.Tensor:
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
    check_image("x", x)
    return _blur(x, gains, ratio, kind, 41, 1, (0, 0))


def degrade(
    x: torch.Tensor, gains: float | Sequence[float], ratio: int, convention: str = "benchmark", kind: str = "toolbox"
) -> torch.Tensor:
    """Blur with the MTF filter and decimate to the MS grid, in one strided filter.

    Args:
        x: ``(C, H, W)`` or ``(B, C, H, W)``, any unit; H and W multiples of ratio.
        gains: MTF gain at Nyquist, one for all bands or one per band, in (0, 1).
        ratio: PAN pixels per MS pixel.
        convention: ``"benchmark"`` or ``"geo"``, see the module's description.
        kind: see `mtf_kernel`.

    Returns:
        ``(..., C, H / ratio, W / ratio)``.

    Raises:
        ValueError: wrong shape, gains, ratio, convention or kind.

    Source:
        Wald et al. 1997; phases as in DLPan ("benchmark") and GDAL ("geo").
    """
    check_image("x", x)
    _check_ratio(ratio)
    check_choice("convention", convention, CONVENTIONS)
    _check_multiple(x, ratio)
    if convention == "geo" and ratio % 2 == 0:
        phase = (ratio - 1) / 2
        return _blur(x, gains, ratio, kind, 40, ratio, (phase, phase))
    return _blur(x, gains, ratio, kind, 41, ratio, (ratio // 2, ratio // 2))


def degrade_at(
    x: torch.Tensor, gains: float | Sequence[float], ratio: int, phase: tuple[int, int], kind: str = "toolbox"
) -> torch.Tensor:
    """As `degrade`, but decimated at PAN row ``ratio * i + phase[0]`` and column ``ratio * j + phase[1]``.

    Args:
        x: ``(C, H, W)`` or ``(B, C, H, W)``, any unit; H and W multiples of ratio.
        gains: MTF gain at Nyquist, one for all bands or one per band, in (0, 1).
        ratio: PAN pixels per MS pixel.
        phase: whole PAN pixels, -20 to 20; what lies outside the image is replicated.
        kind: see `mtf_kernel`.

    Returns:
        ``(..., C, H / ratio, W / ratio)``.

    Raises:
        ValueError: wrong shape, gains, ratio, phase or kind.
    """
    check_image("x", x)
    _check_ratio(ratio)
    _check_multiple(x, ratio)
    if max(map(abs, phase)) > 20:
        raise ValueError(f"phase: expected -20 to 20 PAN pixels, found {phase}")
    return _blur(x, gains, ratio, kind, 41, ratio, phase)


def _double(x: torch.Tensor, first: bool) -> torch.Tensor:
    """Double the last axis by interp23 with circular borders."""
    n = x.shape[-1]
    side = torch.tensor(_INTERP23, dtype=x.dtype, device=x.device)
    start = -6 if first else -5  # value between samples i - 1 and i (first stage), i and i + 1 (later ones)
    index = torch.arange(start, start + n + 11, device=x.device) % n
    between = _filter_last(x.index_select(-1, index), torch.cat([side.flip(0), side])[None])
    return torch.stack((between, x) if first else (x, between), -1).flatten(-2)


@lru_cache(maxsize=64)
def _cubic_phases(ratio: int) -> torch.Tensor:
    """``(ratio, 5)`` weights of centre-true bicubic interpolation, for the samples i - 2 to i + 2."""
    u = (np.arange(ratio) + 0.5) / ratio - 0.5
    return torch.from_numpy(_cubic(u[:, None] - np.arange(-2, 3)[None, :]))


def _enlarge(x: torch.Tensor, ratio: int) -> torch.Tensor:
    """Centre-true bicubic enlargement of the last axis with symmetric borders."""
    n = x.shape[-1]
    index = mirror(torch.arange(-2, n + 2, device=x.device), n)
    return (x.index_select(-1, index).unfold(-1, 5, 1) @ _cubic_phases(ratio).to(x).T).flatten(-2)


def upsample(ms: torch.Tensor, ratio: int, convention: str = "benchmark") -> torch.Tensor:
    """Interpolate MS to the PAN grid ("EXP").

    Args:
        ms: ``(C, h, w)`` or ``(B, C, h, w)``, any unit.
        ratio: PAN pixels per MS pixel; a power of two for ``"benchmark"``.
        convention: ``"benchmark"`` for interp23 (23 taps, circular borders, samples kept at ``ratio * i + ratio / 2``),
            ``"geo"`` for centre-true bicubic (a = -0.5, symmetric borders).

    Returns:
        ``(..., C, h * ratio, w * ratio)``.

    Raises:
        ValueError: wrong shape, ratio or convention.

    Source:
        Aiazzi et al. 2002 (interp23tap of the DLPan toolbox); Keys 1981 for bicubic.
    """
    check_image("ms", ms)
    _check_ratio(ratio)
    check_choice("convention", convention, CONVENTIONS)
    h, w = ms.shape[-2:]
    if convention == "benchmark" and ratio & (ratio - 1):
        raise ValueError(f"ratio: expected a power of two for the benchmark convention (or use 'geo'), found {ratio}")

    def along_last(x: torch.Tensor) -> torch.Tensor:
        if convention == "geo":
            return _enlarge(x, ratio)
        for stage in range(ratio.bit_length() - 1):
            x = _double(x, stage == 0)
        return x

    parts = _planes(ms.reshape(1, -1, h, w))
    return torch.cat([along_last(along_last(x.mT).mT) for x in parts], 1).reshape(*ms.shape[:-2], h * ratio, w * ratio)


def _cubic(t: np.ndarray) -> np.ndarray:
    """Keys' cubic kernel with a = -0.5."""
    t = np.abs(t)
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, near, np.where(t <= 2, far, 0.0))


def mirror(index, n: int):
    """Whole-sample indices reflected about the image's edges (the edge pixel is repeated)."""
    index = index % (2 * n)
    return index + (index >= n) * (2 * n - 1 - 2 * index)


@lru_cache(maxsize=64)
def _resize_taps(n: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Input indices and weights ``(taps, m)`` of MATLAB's antialiased bicubic resize of n samples."""
    m = math.ceil(round(n * scale, 9))  # 1/3 and the like must not add a pixel
    shrink = min(scale, 1.0)
    width = 4 / shrink
    centre = (np.arange(m) + 0.5) / scale - 0.5
    left = np.floor(centre - width / 2).astype(int)
    index = left[None, :] + np.arange(math.ceil(width) + 2)[:, None]
    weight = shrink * _cubic(shrink * (centre[None, :] - index))
    weight /= weight.sum(0)
    used = np.abs(weight).max(1) > 0
    return torch.from_numpy(mirror(index, n)[used]), torch.from_numpy(weight[used])


def _resize(x: torch.Tensor, dim: int, scale: float) -> torch.Tensor:
    """Resize along one axis."""
    index, weight = (t.to(x.device) for t in _resize_taps(x.shape[dim], scale))
    shape = [1] * x.dim()
    shape[dim] = -1
    return sum(x.index_select(dim, i) * w.to(x).view(shape) for i, w in zip(index, weight, strict=True))


def imresize(x: torch.Tensor, scale: float) -> torch.Tensor:
    """Bicubic resize with antialiasing and symmetric borders, as MATLAB's imresize does it.

    Args:
        x: ``(C, H, W)`` or ``(B, C, H, W)``, any unit.
        scale: output pixels per input pixel, above 0; both directions.

    Returns:
        ``(..., C, ceil(H * scale), ceil(W * scale))``.

    Raises:
        ValueError: wrong shape or scale.

    Source:
        Keys 1981, a = -0.5; the kernel is widened by 1 / scale when shrinking.
    """
    check_image("x", x)
    if not scale > 0:
        raise ValueError(f"scale: expected a number above 0, found {scale!r}")
    return _resize(_resize(x, -2, float(scale)), -1, float(scale))


def wald(
    ms: torch.Tensor, pan: torch.Tensor, sensor: Sensor, convention: str = "benchmark"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Degrade a pair by its own ratio, so that the original MS is the reference (Wald's protocol).

    Both images pass their MTF filter and are decimated at the same phase. What does not fill a whole reduced MS pixel
    is cropped at the bottom and right: compare with ``ms[..., :h2, :w2]``, where ``h2, w2`` is the size of ``pan_low``.

    Args:
        ms: ``(C, h, w)`` or ``(B, C, h, w)``, DN or any unit.
        pan: ``(1, h * ratio, w * ratio)`` or with a batch axis, same unit.
        sensor: gives ratio and MTF gains; as many bands as ms.
        convention: ``"benchmark"`` or ``"geo"``.

    Returns:
        ``ms_low`` ``(..., C, h2 / ratio, w2 / ratio)`` and ``pan_low`` ``(..., 1, h2, w2)``.

    Raises:
        ValueError: shapes that do not fit each other or the sensor, or an image smaller than ratio x ratio MS pixels.

    Source:
        Wald et al. 1997.
    """
    check_image("ms", ms, len(sensor.bands))
    check_image("pan", pan, 1)
    r = sensor.ratio
    h, w = ms.shape[-2:]
    if pan.shape[-2:] != (h * r, w * r):
        raise ValueError(
            f"pan: expected (1, {h * r}, {w * r}), {r} times the MS size {tuple(ms.shape)}, found {tuple(pan.shape)}"
        )
    h, w = h // r * r, w // r * r
    if h == 0 or w == 0:
        raise ValueError(f"ms: expected at least {r} x {r} pixels to reduce by {r}, found {tuple(ms.shape)}")
    ms_low = degrade(ms[..., :h, :w], sensor.mtf_ms, r, convention)
    pan_low = degrade(pan[..., : h * r, : w * r], sensor.mtf_pan, r, convention)
    return ms_low, pan_low
