"""Any fused image, brought into agreement with the pair's MS."""

from __future__ import annotations

import torch

from clippan_lite.data import Pair
from clippan_lite.data.pair import crop
from clippan_lite.data.parts import middle_of as middle_up_to
from clippan_lite.metrics import d_s
from clippan_lite.physics.back_projection import back_project

SHARES = (0.0, 0.125, 0.25)  # of the correction that may follow PAN
LEAST_PIXELS = 256 * 256  # of PAN: with fewer, D_s says little
MIDDLE = 128  # MS pixels: side of the part by which the share is chosen


def project(fused: torch.Tensor, pair: Pair, rounds: int = 1, along: float = 0.0) -> torch.Tensor:
    """Back-project onto the pair's MS, see :func:`clippan_lite.physics.back_projection`.

    Args:
        fused: ``(C, H, W)`` in DN.
        pair: images in DN.
        rounds: how often.
        along: share of the correction that follows PAN.
    """
    return back_project(
        fused, pair.ms, pair.sensor, pair.convention, rounds, pair.pan, along, pair.mask
    )


def middle_of(side: int) -> slice:
    """The middle of a side, MS pixels: where the share along PAN is chosen."""
    return middle_up_to(side, MIDDLE)


def share_along_pan(fused: torch.Tensor, pair: Pair, rounds: int) -> float:
    """The share of back-projection that should follow PAN: the one with the least D_s.

    A smooth correction lets D_s overshoot on some scenes: bands are then less like PAN than MS is
    like PAN one scale down. There, a share along PAN brings it back. At most a quarter may follow
    PAN, because every share costs agreement with MS. A scene of less than 256 x 256 pixels tells
    too little, and gets 0. Of a large scene, the middle is looked at.

    Args:
        fused: ``(C, H, W)`` in DN, before back-projection.
        pair: images in DN.
        rounds: of back-projection.
    """
    rows, cols = (middle_of(side) for side in pair.ms.shape[-2:])
    part = crop(pair, rows, cols)
    if part.pan.numel() < LEAST_PIXELS:
        return 0.0
    fused = fused[:, *(slice(m.start * pair.ratio, m.stop * pair.ratio) for m in (rows, cols))]
    plain = project(fused, part, rounds)
    followed = project(fused, part, rounds, along=1.0)

    def distortion(share: float) -> float:
        mixed = ((1 - share) * plain + share * followed).clamp(0, pair.peak)
        return float(d_s(mixed, part.ms, part.pan, part.ratio, part.convention, mask=part.mask))

    try:
        return min(SHARES, key=distortion)
    except ValueError:  # nodata leaves no block for D_s
        return 0.0
