"""Fuse a pair in memory with a trained network, tile by tile."""

from __future__ import annotations

import math

import torch

from clippan_lite import backbones
from clippan_lite.data import Pair

FAR = 6  # MS pixels that interpolation looks away, but for weights of less than a thousandth
TILE = 320  # PAN pixels: what a network sees at once, without what overlaps


@torch.no_grad()
def fuse_pair(
    network: backbones.Fusion,
    pair: Pair,
    tile: int = TILE,
    scale: float | None = None,
    area: tuple[slice, slice] | None = None,
) -> torch.Tensor:
    """Fuse a pair, or a part of it, tile by tile.

    Args:
        network: from :func:`clippan_lite.training.train`; its weights are put in channels-last order.
        pair: any pair with the network's bands, ratio and convention.
        tile: side of a tile in PAN pixels; tiles overlap by the network's reach. Larger ones are slower on a CPU, where
            images of more than 32 MB are mapped anew by every layer.
        scale: DN that the network sees as 1; None takes the pair's, which a part of a scene must not do.
        area: rows and columns to fuse, PAN pixels, beginning at multiples of the ratio and of the network's grid; what
            lies around them is looked at. None fuses all.

    Returns:
        ``(C, H, W)`` float32 in DN on the CPU, clipped to [0, 2^bits - 1]; 0 where the pair is nodata.

    Raises:
        ValueError: the network takes other bands, another ratio or convention.
    """
    network = network.to(memory_format=torch.channels_last)
    device = next(network.parameters()).device
    check_network(network, pair.name, pair.bands, pair.ratio, pair.convention)
    (height, width), r, scale = pair.pan.shape[-2:], pair.ratio, scale or pair.scale
    rows, cols = area or (slice(0, height), slice(0, width))
    step, halo = halo_of(network)
    tile, far = -(-tile // step) * step, FAR * r
    out = torch.empty(pair.bands, rows.stop - rows.start, cols.stop - cols.start)
    for top in range(rows.start, rows.stop, tile):
        bottom = min(top + tile, rows.stop)
        r0, r1, e0, e1 = _around(top, bottom, height, halo, far)
        # EXP of a whole row of tiles at once: interpolation looks further away than most networks do.
        _, _, first, last = _around(cols.start, cols.stop, width, halo, far)
        ms = pair.ms[None, :, e0 // r : e1 // r, first // r : last // r].to(device) / scale
        exp = network.interpolate(ms)[:, :, r0 - e0 : r1 - e0]
        for left in range(cols.start, cols.stop, tile):
            right = min(left + tile, cols.stop)
            c0, c1, _, _ = _around(left, right, width, halo, far)
            part = exp[..., c0 - first : c1 - first]
            part = part + network.residual(part, pair.pan[None, :, r0:r1, c0:c1].to(device) / scale)
            place = (
                slice(top - rows.start, bottom - rows.start),
                slice(left - cols.start, right - cols.start),
            )
            out[:, *place] = part[0, :, top - r0 : bottom - r0, left - c0 : right - c0].cpu()
    out.mul_(scale).clamp_(0, pair.peak)
    return out if pair.valid is None else out.mul_(pair.valid[rows, cols])


def _around(first: int, last: int, size: int, halo: int, far: int) -> tuple[int, int, int, int]:
    """What a network sees of a span of pixels, and what interpolation looks at for that, inside the image."""
    near = max(first - halo, 0), min(last + halo, size)
    return *near, max(near[0] - far, 0), min(near[1] + far, size)


def check_network(
    network: backbones.Fusion, name: str, bands: int, ratio: int, convention: str
) -> None:
    """Refuse data of other bands, ratio or convention than the network's, in one line (ValueError)."""
    if (network.bands, network.ratio, network.convention) != (bands, ratio, convention):
        raise ValueError(
            f"the network takes {network.bands} bands, ratio {network.ratio}, {network.convention!r}; "
            f"{name} has {bands}, {ratio}, {convention!r}: read the pair alike, or train a network on such a pair"
        )


def halo_of(network: backbones.Fusion) -> tuple[int, int]:
    """Multiples that tiles begin at, and how far beyond them a network looks at EXP and PAN, in PAN pixels."""
    step = math.lcm(network.ratio, network.grid)
    return step, -(-network.reach // step) * step
