"""Fusing with a trained network: a pair in memory, tile by tile."""

from __future__ import annotations

import math

import torch
from torch import nn

from clippan_lite.data import Pair


@torch.no_grad()
def fuse_pair(network: nn.Module, pair: Pair, tile: int = 512, scale: float | None = None) -> torch.Tensor:
    """Fuse a pair tile by tile.

    Args:
        network: from :func:`train`.
        pair: any pair with the network's bands, ratio and convention.
        tile: side of a tile in PAN pixels; tiles overlap by the network's reach.
        scale: DN that the network sees as 1; None takes the pair's, which a part of a scene must not do.

    Returns:
        ``(C, H, W)`` float32 in DN on the CPU, clipped to [0, 2^bits - 1]; 0 where the pair is nodata.
    """
    device = next(network.parameters()).device
    if (network.bands, network.ratio, network.convention) != (pair.bands, pair.ratio, pair.convention):
        raise ValueError(
            f"the network takes {network.bands} bands, ratio {network.ratio}, {network.convention!r}; "
            f"{pair.name} has {pair.bands}, {pair.ratio}, {pair.convention!r}"
        )
    (height, width), r, scale = pair.pan.shape[-2:], pair.ratio, scale or pair.scale
    # MS interpolation reaches 6 MS pixels beyond the convolutions' reach, but for weights of less than a thousandth.
    step = math.lcm(r, network.grid)
    halo, tile = -(-(network.reach + 6 * r) // step) * step, -(-tile // step) * step
    out = torch.empty(pair.bands, height, width)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            r0, r1, c0, c1 = top - halo, top + tile + halo, left - halo, left + tile + halo
            r0, r1, c0, c1 = max(r0, 0), min(r1, height), max(c0, 0), min(c1, width)
            ms = pair.ms[None, :, r0 // r : r1 // r, c0 // r : c1 // r].to(device) / scale
            pan = pair.pan[None, :, r0:r1, c0:c1].to(device) / scale
            part = network(ms, pan)[0].cpu()
            bottom, right = min(top + tile, height), min(left + tile, width)
            out[:, top:bottom, left:right] = part[:, top - r0 : bottom - r0, left - c0 : right - c0]
    out = (out * scale).clamp(0, pair.peak)
    return out if pair.valid is None else out * pair.valid
