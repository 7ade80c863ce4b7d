"""Fuse a pair in memory with a trained network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from clippan_lite import backbones, classical
from clippan_lite.data import Pair
from clippan_lite.data.pair import crop
from clippan_lite.metrics import d_s
from clippan_lite.physics.back_projection import back_project
from clippan_lite.physics.windows import any_valid, fill

FAR = 6  # MS pixels that interpolation looks away; weights beyond are below a thousandth
TILE = 320  # PAN pixels: side of what a network sees at once, overlaps left out
SHARES = (0.0, 0.25, 0.5)  # of the correction that may follow PAN
LEAST_PIXELS = 256 * 256  # of PAN: with fewer, D_s says little
MIDDLE = 128  # MS pixels: side of the part by which the share is chosen


@torch.no_grad()
def fuse(
    pair: Pair,
    network: backbones.Fusion,
    tile: int = TILE,
    scale: float | None = None,
    area: tuple[slice, slice] | None = None,
    results: torch.Tensor | None = None,
    along: float | None = None,
) -> torch.Tensor:
    """Fuse a pair, or a part of it.

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
        results: of the classical methods that the network mends, as `classical_results` returns
            them; None makes them.
        along: share of back-projection that follows PAN; None lets `share_along_pan` choose. It
            only matters for a network whose last layer is back-projection.

    Returns:
        ``(C, H, W)`` float32 in DN on the CPU, clipped to [0, 2^bits - 1], and 0 where the pair is
        nodata.

    Raises:
        ValueError: the network takes other bands, another ratio or convention.
    """
    network = network.to(memory_format=torch.channels_last)
    pair = without_holes(pair)
    check_network(network, pair.name, pair.bands, pair.ratio, pair.convention)
    scale = scale or pair.scale
    height, width = pair.pan.shape[-2:]
    whole = slice(0, height), slice(0, width)
    if network.methods:
        out = _mended(pair, network, scale, results)
    elif network.rounds:
        out = _in_tiles(pair, network, tile, scale, whole)
    else:
        out = _in_tiles(pair, network, tile, scale, area or whole)
    if network.rounds:
        share = share_along_pan(out, pair, network.rounds) if along is None else along
        out = project(out, pair, network.rounds, share)
    if network.rounds or network.methods:
        out = out[:, *(area or whole)]
    out = out.clamp_(0, pair.peak)
    return out if pair.valid is None else out.mul_(pair.valid[area or whole])


def without_holes(pair: Pair) -> Pair:
    """The pair with nodata replaced by values from nearby, so that no filter sees a black hole."""
    if pair.mask is None or not pair.mask.any():
        return pair
    ms = fill(pair.ms, any_valid(pair.mask, pair.ratio))
    return replace(pair, ms=ms, pan=fill(pair.pan, pair.mask))


def classical_results(pair: Pair, methods: Sequence[str]) -> torch.Tensor:
    """Results of several classical methods, one after the other along the bands: DN."""
    return torch.cat([classical.fuse(name, pair) for name in methods])


def project(fused: torch.Tensor, pair: Pair, rounds: int = 3, along: float = 0.0) -> torch.Tensor:
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


def share_along_pan(fused: torch.Tensor, pair: Pair, rounds: int) -> float:
    """The share of back-projection that should follow PAN: the one with the least D_s.

    A smooth correction lets D_s overshoot on some scenes: bands are then less like PAN than MS is
    like PAN one scale down. There, a share along PAN brings it back. At most half may follow PAN,
    because every share costs agreement with MS. A scene of less than 256 x 256 pixels tells too
    little, and gets 0. Of a large scene, the middle is looked at.

    Args:
        fused: ``(C, H, W)`` in DN, before back-projection.
        pair: images in DN.
        rounds: of back-projection.
    """
    height, width = (side // pair.ratio for side in fused.shape[-2:])
    if height * width * pair.ratio**2 < LEAST_PIXELS:
        return 0.0
    middle = [
        slice(max(side // 2 - MIDDLE // 2, 0), min(side // 2 + MIDDLE // 2, side))
        for side in (height, width)
    ]
    part = crop(pair, *middle)
    fused = fused[:, *(slice(m.start * pair.ratio, m.stop * pair.ratio) for m in middle)]
    plain = project(fused, part, rounds)
    followed = project(fused, part, rounds, along=1.0)

    def distortion(share: float) -> float:
        mixed = ((1 - share) * plain + share * followed).clamp(0, pair.peak)
        return float(d_s(mixed, part.ms, part.pan, part.ratio, part.convention, mask=part.mask))

    try:
        return min(SHARES, key=distortion)
    except ValueError:  # nodata leaves no block for D_s
        return 0.0


def _mended(
    pair: Pair, network: backbones.Fusion, scale: float, results: torch.Tensor | None
) -> torch.Tensor:
    """Classical results that a network mends, in DN and without back-projection."""
    if results is None:
        results = classical_results(pair, network.methods)
    if pair.mask is not None and pair.mask.any():
        results = fill(results, pair.mask)
    device = next(network.parameters()).device
    inputs = [image[None].to(device) / scale for image in (pair.ms, pair.pan, results)]
    return network.sharpen(inputs[0], inputs[1], pair.sensor, inputs[2])[0].cpu() * scale


def _in_tiles(
    pair: Pair,
    network: backbones.Fusion,
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
