"""Filters of small images as matrix products, for training: a few operations instead of dozens.

A linear filter of the last axis is a matrix: what the filter makes of an identity matrix.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache

import torch

LARGEST = 256  # pixels: longest side that is filtered so; beyond, the filters' own code is faster


_switch = threading.local()


@contextlib.contextmanager
def small_images() -> Iterator[None]:
    """Inside, filters of images up to 256 x 256 are matrix products, in this thread."""
    before = getattr(_switch, "on", False)
    _switch.on = True
    try:
        yield
    finally:
        _switch.on = before


def serve(x: torch.Tensor) -> bool:
    """Whether an image is small, and `small_images` entered.

    Elsewhere a window must give the same bits as the whole image, as only a filter's own code does.
    A compiler would trace how the matrices are made.
    """
    small = getattr(_switch, "on", False) and max(x.shape[-2:]) <= LARGEST
    return small and not torch.compiler.is_compiling()


def both_axes(
    x: torch.Tensor,
    along_last: Callable[..., torch.Tensor],
    rows: tuple[object, ...],
    columns: tuple[object, ...],
) -> torch.Tensor:
    """Filter an image ``(..., C, H, W)`` along both axes, by one matrix each.

    A pixel that is NaN makes its whole row and column NaN.

    Args:
        x: the image.
        along_last: linear filter of the last axis, ``(1, 1, n, n) -> (1, 1 or C, n, m)``.
        rows: what else ``along_last`` takes where it runs down the image; hashable.
        columns: the same where it runs along the rows.
    """
    of_rows = _matrix(along_last, x.shape[-2], rows, x.dtype, x.device)
    of_columns = _matrix(along_last, x.shape[-1], columns, x.dtype, x.device)
    return of_rows.mT @ (x @ of_columns)


@lru_cache(maxsize=128)
def _matrix(
    along_last: Callable[..., torch.Tensor],
    n: int,
    arguments: tuple[object, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> torch.Tensor:
    """The matrix of a filter: ``(n, m)``, or ``(C, n, m)`` where each band has its own."""
    with torch.inference_mode(False), torch.no_grad():  # it is kept, whoever asks for it first
        identity = torch.eye(n, dtype=torch.float64)[None, None]
        return along_last(identity, *arguments)[0].squeeze(0).to(dtype).to(device)
