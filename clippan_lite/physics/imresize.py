"""MATLAB's bicubic resize, which some metrics need."""

import math
from functools import lru_cache

import numpy as np
import torch

from clippan_lite.physics import matrices
from clippan_lite.physics.resample import check_image, cubic, mirror


@lru_cache(maxsize=64)
def _resize_taps(n: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices and weights ``(taps, m)`` of MATLAB's antialiased bicubic resize of n samples."""
    m = math.ceil(round(n * scale, 9))  # 1/3 and the like must not add a pixel
    shrink = min(scale, 1.0)
    width = 4 / shrink
    centre = (np.arange(m) + 0.5) / scale - 0.5
    left = np.floor(centre - width / 2).astype(int)
    index = left[None, :] + np.arange(math.ceil(width) + 2)[:, None]
    weight = shrink * cubic(shrink * (centre[None, :] - index))
    weight /= weight.sum(0)
    used = np.abs(weight).max(1) > 0
    return torch.from_numpy(mirror(index, n)[used]), torch.from_numpy(weight[used])


def _resize(x: torch.Tensor, dim: int, scale: float) -> torch.Tensor:
    """Resize along one axis."""
    index, weight = (t.to(x.device) for t in _resize_taps(x.shape[dim], scale))
    shape = [1] * x.dim()
    shape[dim] = -1
    return sum(
        x.index_select(dim, i) * w.to(x).view(shape) for i, w in zip(index, weight, strict=True)
    )


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
    if matrices.serve(x):
        return matrices.both_axes(x, _resize, (-1, float(scale)), (-1, float(scale)))
    return _resize(_resize(x, -2, float(scale)), -1, float(scale))
