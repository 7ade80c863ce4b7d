"""Interpolation and resizing between the PAN and the MS grid, and checks of their input.

The two conventions are described in `clippan_lite.physics.degrade`. All functions take
``(B, C, H, W)`` or ``(C, H, W)`` tensors of any floating dtype and device, in any unit, keep both,
and are differentiable.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from clippan_lite.physics import matrices

CONVENTIONS = ("benchmark", "geo")

# Odd taps of interp23 on one side, doubled for the zeros stuffed in between; even taps are 0, the
# centre is 1.
_INTERP23 = (
    0.610668182370,
    -0.145397186478,
    0.043619155884,
    -0.010385513306,
    0.001615524292,
    -0.000120162964,
)


def check_image(
    name: str, x: torch.Tensor, channels: int | None = None, batch: bool = True
) -> None:
    """Refuse anything but a floating ``(C, H, W)`` or (with ``batch``) ``(B, C, H, W)`` tensor.

    Raises:
        ValueError: one line with what was expected and what was found.
    """
    dims = (3, 4) if batch else (3,)
    if not isinstance(x, torch.Tensor) or x.dim() not in dims or not x.is_floating_point():
        c = "C" if channels is None else channels
        shapes = " or ".join([f"({c}, H, W)", f"(B, {c}, H, W)"][: len(dims)])
        raise ValueError(f"{name}: expected a floating tensor {shapes}, found {_found(x)}")
    if channels is not None and x.shape[-3] != channels:
        raise ValueError(
            f"{name}: expected {channels} bands in (..., {channels}, H, W), found {tuple(x.shape)}"
        )
    if 0 in x.shape:
        raise ValueError(f"{name}: expected a tensor that is not empty, found {tuple(x.shape)}")


def check_mask(mask: torch.Tensor | None, size: Sequence[int]) -> None:
    """Refuse anything but a bool mask of that height and width, or None.

    Raises:
        ValueError: one line with what was expected and what was found.
    """
    if mask is None:
        return
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool or mask.shape != (*size,):
        raise ValueError(
            f"mask: expected a bool tensor {(*size,)} on PAN's grid, found {_found(mask)}"
        )


def check_finite(name: str, x: torch.Tensor, mask: str = "mask") -> None:
    """Refuse NaN and infinite values; ``mask`` is the argument that would mark them.

    Raises:
        ValueError: one line with how many were found.
    """
    # The sum of an image is NaN or infinite if a pixel is, and costs a fifth of looking at each.
    if not math.isfinite(x.detach().sum()) and not torch.isfinite(x).all():
        bad = int((~torch.isfinite(x)).sum())
        raise ValueError(
            f"{name}: expected finite values, found {bad} NaN or infinite: mark them in {mask}"
        )


def _found(x: object) -> str:
    return f"{tuple(x.shape)} {x.dtype}" if isinstance(x, torch.Tensor) else type(x).__name__


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Refuse a value that is not one of the known words.

    Raises:
        ValueError: one line with the known words and what was found.
    """
    if value not in known:
        raise ValueError(f"{name}: expected {' or '.join(map(repr, known))}, found {value!r}")


def check_whole(name: str, value: object, least: int = 2) -> None:
    """Refuse anything but whole numbers of ``least`` or more.

    Raises:
        ValueError: one line with what was expected and what was found.
    """
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name}: expected a whole number of {least} or more, found {value!r}")


def filter_last(x: torch.Tensor, k: torch.Tensor, stride: int = 1) -> torch.Tensor:
    """Correlate the last axis of ``(B, C, H, W)`` with kernels ``(C or 1, taps)``, inside only.

    A matrix product over overlapping windows: torch's grouped convolution is 10 times slower in
    float64 on CPU, and rounds to TF32 on GPU by default.
    """
    taps, many = k.shape[-1], 32 if stride == 1 else 16  # outputs per window, by measurement
    n = (x.shape[-1] - taps) // stride + 1
    windows = -(-n // many)
    size = (many - 1) * stride + taps
    x = F.pad(x, (0, max(0, (windows - 1) * many * stride + size - x.shape[-1])))
    reach = (many - 1) * stride
    matrix = (
        F.pad(k, (reach, reach)).unfold(-1, size, stride).flip(1).mT
    )  # column i: the taps, i strides further down
    y = x.unfold(-1, size, many * stride)[..., :windows, :].flatten(2, 3) @ matrix
    return y.view(*x.shape[:-1], windows * many)[..., :n]


def planes(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Large bands of ``(B, C, H, W)`` one by one: each stays in the caches, twice as fast."""
    return x.split(1 if x[:, 0].numel() > 2**16 else x.shape[1], 1)


def _double(x: torch.Tensor, first: bool) -> torch.Tensor:
    """Double the last axis by interp23 with circular borders."""
    n = x.shape[-1]
    side = torch.tensor(_INTERP23, dtype=x.dtype, device=x.device)
    start = (
        -6 if first else -5
    )  # value between samples i - 1 and i (first stage), i and i + 1 (later ones)
    index = torch.arange(start, start + n + 11, device=x.device) % n
    between = filter_last(x.index_select(-1, index), torch.cat([side.flip(0), side])[None])
    return torch.stack((between, x) if first else (x, between), -1).flatten(-2)


@lru_cache(maxsize=64)
def _cubic_phases(ratio: int) -> torch.Tensor:
    """Weights ``(ratio, 5)`` of centre-true bicubic interpolation, of samples i - 2 to i + 2."""
    u = (np.arange(ratio) + 0.5) / ratio - 0.5
    return torch.from_numpy(cubic(u[:, None] - np.arange(-2, 3)[None, :]))


def _enlarge(x: torch.Tensor, ratio: int) -> torch.Tensor:
    """Centre-true bicubic enlargement of the last axis with symmetric borders."""
    n = x.shape[-1]
    index = mirror(torch.arange(-2, n + 2, device=x.device), n)
    return (x.index_select(-1, index).unfold(-1, 5, 1) @ _cubic_phases(ratio).to(x).T).flatten(-2)


def _upsample_last(x: torch.Tensor, ratio: int, convention: str) -> torch.Tensor:
    """`upsample` of the last axis alone."""
    if convention == "geo":
        return _enlarge(x, ratio)
    for stage in range(ratio.bit_length() - 1):
        x = _double(x, stage == 0)
    return x


def upsample(ms: torch.Tensor, ratio: int, convention: str = "benchmark") -> torch.Tensor:
    """Interpolate MS to the PAN grid ("EXP").

    Args:
        ms: ``(C, h, w)`` or ``(B, C, h, w)``, any unit.
        ratio: PAN pixels per MS pixel; a power of two for ``"benchmark"``.
        convention: ``"benchmark"`` for interp23 (23 taps, circular borders, samples kept at
            ``ratio * i + ratio / 2``), ``"geo"`` for centre-true bicubic (a = -0.5, symmetric
            borders).

    Returns:
        ``(..., C, h * ratio, w * ratio)``.

    Raises:
        ValueError: wrong shape, ratio or convention.

    Source:
        Aiazzi et al. 2002 (interp23tap of the DLPan toolbox); Keys 1981 for bicubic.
    """
    _check_upsampling(ms, ratio, convention)
    (h, w), how = ms.shape[-2:], (ratio, convention)
    if matrices.serve(ms):
        return matrices.both_axes(ms, _upsample_last, how, how)
    parts = planes(ms.reshape(1, -1, h, w))
    done = [_upsample_last(_upsample_last(x.mT, *how).mT, *how) for x in parts]
    return torch.cat(done, 1).reshape(*ms.shape[:-2], h * ratio, w * ratio)


def _check_upsampling(ms: torch.Tensor, ratio: int, convention: str) -> None:
    """Refuse what `upsample` cannot enlarge (ValueError)."""
    check_image("ms", ms)
    check_whole("ratio", ratio)
    check_choice("convention", convention, CONVENTIONS)
    if convention == "benchmark" and ratio & (ratio - 1):
        raise ValueError(
            "ratio: expected a power of two for the benchmark convention (or use 'geo'), "
            f"found {ratio}"
        )


FAR = 8  # MS pixels: interp23's weights further away do not matter


def _interpolate_last(x: torch.Tensor, ratio: int, convention: str) -> torch.Tensor:
    """`interpolate` of the last axis alone."""
    padded, edge = F.pad(x, (FAR, FAR, 0, 0), mode="replicate"), FAR * ratio
    return _upsample_last(padded, ratio, convention)[..., edge:-edge]


def interpolate(ms: torch.Tensor, ratio: int, convention: str) -> torch.Tensor:
    """EXP with replicated borders, where `upsample` wraps around the image.

    Args:
        ms: ``(C, h, w)`` or ``(B, C, h, w)``, any unit.
        ratio: PAN pixels per MS pixel.
        convention: ``"benchmark"`` or ``"geo"``.

    Returns:
        ``(..., C, h * ratio, w * ratio)``.
    """
    _check_upsampling(ms, ratio, convention)
    if matrices.serve(ms):
        return matrices.both_axes(ms, _interpolate_last, (ratio, convention), (ratio, convention))
    padded = F.pad(ms, (FAR,) * 4, mode="replicate")
    edge = FAR * ratio
    return upsample(padded, ratio, convention)[..., edge:-edge, edge:-edge]


def cubic(t: np.ndarray) -> np.ndarray:
    """Keys' cubic kernel with a = -0.5."""
    t = np.abs(t)
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, near, np.where(t <= 2, far, 0.0))


def mirror(index, n: int):
    """Whole-sample indices reflected about the image's edges (the edge pixel is repeated)."""
    index = index % (2 * n)
    return index + (index >= n) * (2 * n - 1 - 2 * index)
