"""Fuse a pair in memory with a trained network."""

from __future__ import annotations

import torch

from clippan_lite import backbones, checkpoints, classical
from clippan_lite.backbones.tiles import TILE, in_tiles
from clippan_lite.data import Pair, pair_checks, without_holes
from clippan_lite.metrics.inputs import check_unit
from clippan_lite.physics.windows import fill
from clippan_lite.runtime import memory
from clippan_lite.runtime.settings import check_bounds, expect, in_kind

TRAINED_RATIOS = (2, 4)  # of the included network
TAKE_FIRST = "cl.train returns (network, history), so write network, _ = cl.train(pair)"
INSTEAD, INSTEAD_ROUNDS = "BDSD-PC", 2  # for other ratios


@memory.kept()
@torch.no_grad()
def fuse(
    pair: Pair,
    network: backbones.Fusion | None = None,
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
            order. None takes the best way that needs no training, :func:`best_network`.
        tile: side of a tile in PAN pixels. Tiles overlap by the network's reach.
        scale: DN that the network sees as 1; None takes the pair's. For a part of a scene, give the
            whole scene's.
        area: rows and columns to fuse, PAN pixels, beginning at multiples of the ratio and of the
            network's grid. The network looks at what lies around them. None fuses all.
        results: of the classical methods that the network mends, as
            :func:`clippan_lite.classical.results` returns them; None makes them.
        along: share that follows PAN in a network's back-projection; None lets
            :func:`clippan_lite.classical.share_along_pan` choose.

    Returns:
        ``(C, H, W)`` float32 in DN on the CPU, clipped to [0, 2^bits - 1], and 0 where the pair is
        nodata.

    Raises:
        ValueError: the network takes other bands, another ratio or convention; or PAN or MS holds
            one value only.
    """
    expect("the pair", pair, Pair, "cl.read_pair reads files")
    expect("the network", network, backbones.Fusion, TAKE_FIRST, optional=True)
    check_unit("pan", pair.pan, pair.ms)
    if scale is not None:
        check_bounds("scale", in_kind("scale", scale, float), 1e-9)
    if area is None:  # a part may well be flat
        pair_checks.not_flat(pair)
    network = network or best_network(pair.bands, pair.ratio, pair.convention)
    if network is None:
        return classical.fuse(INSTEAD, pair, rounds=INSTEAD_ROUNDS)[
            :, *(area or (slice(None),) * 2)
        ]
    check_network(network, pair.name, pair.bands, pair.ratio, pair.convention)
    whole = tuple(slice(0, side) for side in pair.pan.shape[-2:])
    rows, cols = area or whole
    if network.rounds or network.methods:
        out = before_projection(pair, network, tile, scale, results)
        share = along
        if share is None:
            share = classical.share_along_pan(out, pair, network.rounds)
        out = classical.project(out, pair, network.rounds, share)[:, rows, cols]
    else:
        out = before_projection(pair, network, tile, scale, area=(rows, cols))
    out = out.clamp_(pair.least, pair.peak)
    valid = pair.valid_results
    return out if valid is None else out.masked_fill_(~valid[..., rows, cols], 0.0)


@torch.no_grad()
def before_projection(
    pair: Pair,
    network: backbones.Fusion,
    tile: int = TILE,
    scale: float | None = None,
    results: torch.Tensor | None = None,
    area: tuple[slice, slice] | None = None,
) -> torch.Tensor:
    """What a network makes of a pair before its last layer: DN, not clipped.

    Arguments are those of `fuse`. Only a network that begins at EXP looks at ``area``.
    """
    network = network.to(memory_format=torch.channels_last)
    pair, scale = without_holes(pair), scale or pair.scale
    if network.methods:
        return _mended(pair, network, scale, results)
    height, width = pair.pan.shape[-2:]
    return in_tiles(pair, network, tile, scale, area or (slice(0, height), slice(0, width)))


def best_network(bands: int, ratio: int, convention: str) -> backbones.Fusion | None:
    """The included network, or None, said in a line, where it has not learned the ratio."""
    if ratio in TRAINED_RATIOS:
        return checkpoints.bundled(bands, ratio, convention)
    print(f"the included network knows ratios 2 and 4, not {ratio}: {INSTEAD}, back-projected")
    return None


def _mended(
    pair: Pair, network: backbones.Fusion, scale: float, results: torch.Tensor | None
) -> torch.Tensor:
    """Classical results that a network mends, in DN and without back-projection."""
    if results is None:
        results = classical.results(network.methods, pair)
    if pair.mask is not None and pair.mask.any():
        results = fill(results, pair.mask)
    device = next(network.parameters()).device
    inputs = [image[None].to(device) / scale for image in (pair.ms, pair.pan, results)]
    return network.sharpen(inputs[0], inputs[1], pair.sensor, inputs[2])[0].cpu() * scale


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
