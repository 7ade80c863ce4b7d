"""Fuse a pair in memory with a trained network, tile by tile."""

from __future__ import annotations

import math

import torch

from clippan_lite import backbones
from clippan_lite.data import Pair

FAR = 6  # MS pixels that interpolation looks away; weights beyond are below a thousandth
TILE = 320  # PAN pixels: side of what a network sees at once, overlaps left out


@torch.no_grad()
def fuse(
    pair: Pair,
    network: backbones.Fusion,
    tile: int = TILE,
    scale: float | None = None,
    area: tuple[slice, slice] | None = None,
) -> torch.Tensor:
    """Fuse a pair, or a part of it, tile by tile.

    Args:
        pair: any pair with the network's bands, ratio and convention.
        network: from :func:`clippan_lite.training.train`. Its weights are put in channels-last
            order.
        tile: side of a tile in PAN pixels. Tiles overlap by the network's reach. Larger ones are
            slower on a CPU, because every layer maps images of more than 32 MB anew.
        scale: DN that the network sees as 1; None takes the pair's. For a part of a scene, give the
            whole scene's.
        area: rows and columns to fuse, PAN pixels, beginning at multiples of the ratio and of the
            network's grid. The network looks at what lies around them. None fuses all.

    Returns:
        ``(C, H, W)`` float32 in DN on the CPU, clipped to [0, 2^bits - 1], and 0 where the pair is
        nodata.

    Raises:
        ValueError: the network takes other bands, another ratio or convention.
    """
    network = network.to(memory_format=torch.channels_last)
    device = next(network.parameters()).device
    check_network(network, pair.name, pair.bands, pair.ratio, pair.convention)
    (height, width), ratio, scale = pair.pan.shape[-2:], pair.ratio, scale or pair.scale
    rows, cols = area or (slice(0, height), slice(0, width))
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
    out.mul_(scale).clamp_(0, pair.peak)
    return out if pair.valid is None else out.mul_(pair.valid[rows, cols])


def _around(first: int, last: int, size: int, halo: int, far: int) -> tuple[int, int, int, int]:
    """What a network sees of a span of pixels, and what interpolation looks at for that."""
    near = max(first - halo, 0), min(last + halo, size)
    return *near, max(near[0] - far, 0), min(near[1] + far, size)


def check_network(
    network: backbones.Fusion, name: str, bands: int, ratio: int, convention: str
) -> None:
    """Refuse data of other bands, ratio or convention than the network's (ValueError)."""
    if (network.bands, network.ratio, network.convention) != (bands, ratio, convention):
        raise ValueError(
            f"the network takes {network.bands} bands, ratio {network.ratio}, "
            f"{network.convention!r}; {name} has {bands}, {ratio}, {convention!r}: "
            "read the pair alike, or train a network on such a pair"
        )


def halo_of(network: backbones.Fusion) -> tuple[int, int]:
    """Multiples that tiles begin at, and how far a network looks beyond them, in PAN pixels."""
    step = math.lcm(network.ratio, network.grid)
    return step, -(-network.reach // step) * step
