"""A network that begins at EXP, applied to a pair tile by tile."""

from __future__ import annotations

import math

import torch

from clippan_lite.backbones.common import Fusion
from clippan_lite.data import Pair

FAR = 6  # MS pixels that interpolation looks away; weights beyond are below a thousandth
TILE = 512  # PAN pixels: side of what a network sees at once, overlaps left out


def in_tiles(
    pair: Pair,
    network: Fusion,
    tile: int,
    scale: float,
    area: tuple[slice, slice],
) -> torch.Tensor:
    """What a network without back-projection makes of an area, tile by tile, in DN."""
    device = next(network.parameters()).device
    (height, width), ratio = pair.pan.shape[-2:], pair.ratio
    rows, cols = area
    step, halo = halo_of(network)
    side, far = -(-tile // step) * step, FAR * ratio
    out = torch.empty(pair.bands, rows.stop - rows.start, cols.stop - cols.start)
    for top in range(rows.start, rows.stop, side):
        bottom = min(top + side, rows.stop)
        r0, r1, e0, e1 = _around(top, bottom, height, halo, far)
        # EXP of a whole row of tiles at once: interpolation looks further than most networks.
        _, _, first, last = _around(cols.start, cols.stop, width, halo, far)
        ms = pair.ms[None, :, e0 // ratio : e1 // ratio, first // ratio : last // ratio]
        exp = network.interpolate(ms.to(device) / scale)[:, :, r0 - e0 : r1 - e0]
        for left in range(cols.start, cols.stop, side):
            right = min(left + side, cols.stop)
            c0, c1, _, _ = _around(left, right, width, halo, far)
            exp_tile = exp[..., c0 - first : c1 - first]
            pan_tile = pair.pan[None, :, r0:r1, c0:c1].to(device) / scale
            hrms = exp_tile + network.residual(exp_tile, pan_tile)
            y, x = top - rows.start, left - cols.start
            core = hrms[0, :, top - r0 : bottom - r0, left - c0 : right - c0]
            out[:, y : y + bottom - top, x : x + right - left] = core.cpu()
    return out.mul_(scale)


def _around(first: int, last: int, size: int, halo: int, far: int) -> tuple[int, int, int, int]:
    """What a network sees of a span of pixels, and what interpolation looks at for that."""
    near = max(first - halo, 0), min(last + halo, size)
    return *near, max(near[0] - far, 0), min(near[1] + far, size)


def halo_of(network: Fusion) -> tuple[int, int]:
    """Multiples that tiles begin at, and how far a network looks beyond them, in PAN pixels."""
    step = math.lcm(network.ratio, network.grid)
    return step, -(-network.reach // step) * step
