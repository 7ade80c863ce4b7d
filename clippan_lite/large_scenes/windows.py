"""Classical methods on a scene in windows: means and covariances of the whole are gathered first, then used in each.

All that a method asks of a whole image are `moments`. The first pass runs it on every window and adds up what it asks
for, without the windows' margins; the second one answers with the sums of the whole scene.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from clippan_lite.classical.common import INSTEAD, Sums, sums
from clippan_lite.data import Pair

Tensor = torch.Tensor
Core = tuple[slice, slice]
Method = Callable[..., Tensor]


def gather(method: Method, pair: Pair, core: Core) -> list[Sums]:
    """What a method asks of a window, one entry per question.

    Args:
        method: a value of `clippan_lite.classical.METHODS`.
        pair: a window of a scene with a margin.
        core: the window without the margin, PAN pixels, multiples of the ratio.

    Returns:
        Sums to be added to those of other windows; empty for a window of nodata only.
    """
    asked: list[Sums] = []

    def instead(*images: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        step = pair.pan.shape[-1] // images[0].shape[-1]  # the ratio for questions on MS's grid
        part = tuple(slice(s.start // step, s.stop // step) for s in core)
        asked.append(
            sums(
                *(image[:, *part] for image in images), valid=None if valid is None else valid[part]
            )
        )
        mean, cov = asked[-1].moments()
        return mean, cov + 1e-9 * torch.eye(len(mean)).to(
            cov
        )  # the method goes on; its result is not used

    _run(instead, method, pair)
    return asked


def fuse(method: Method, pair: Pair, moments: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Fuse a window with the means and covariances of the whole scene, one entry per question of the method."""
    left = iter(moments)
    return _run(lambda *_, **__: next(left), method, pair)


def _run(instead: Callable[..., tuple[Tensor, Tensor]], method: Method, pair: Pair) -> Tensor:
    token = INSTEAD.set(instead)
    try:
        return method(pair.ms, pair.pan, pair.sensor, pair.convention, pair.mask)
    finally:
        INSTEAD.reset(token)
