"""Parts of a pair, and pairs with some of their bands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch.nn import functional as F

from clippan_lite.data.pair import Pair, crop
from clippan_lite.physics.sensors import Sensor


def split_scenes(
    pairs: Sequence[Pair], held_out: float = 0.25, gap: int = 0
) -> tuple[Sequence[Pair], Sequence[Pair]]:
    """Split scenes into some to train on and some to judge on; nothing is read.

    Benchmark files hold neighbouring patches of a few images side by side. The last ones are held
    out: random ones would overlap the patches that were trained on. Within one scene, `Patches`
    splits by block.

    Args:
        pairs: a list, or :class:`clippan_lite.data.readers.Samples`, which stay unread.
        held_out: fraction of the scenes to judge on, rounded up.
        gap: scenes between the two parts that belong to neither.

    Raises:
        ValueError: a fraction out of range, or too few scenes.
    """
    if not 0 < held_out < 1 or gap < 0:
        raise ValueError(
            "expected held_out between 0 and 1 and a gap of 0 or more, "
            f"found {held_out} and {gap}: change them"
        )
    first = len(pairs) - math.ceil(len(pairs) * held_out)
    if first - gap < 1:
        raise ValueError(
            f"{len(pairs)} scenes cannot be split with {held_out} held out and a gap of {gap}: "
            "give more scenes"
        )
    return pairs[: first - gap], pairs[first:]


def largest_valid(pair: Pair) -> Pair:
    """The largest rectangle of a pair without nodata, in whole MS pixels."""
    mask = pair.with_all_bands
    if mask is None:
        return pair
    good = (F.max_pool2d((~mask)[None].float(), pair.ratio)[0] == 0).numpy()
    best = (0, 0, 0, 0, 0)  # size, top, bottom, left, right
    # Valid pixels at and above each column; the last entry stays 0 and ends every run.
    heights = np.zeros(good.shape[1] + 1, int)
    for bottom, row in enumerate(good, 1):
        heights[:-1] = (heights[:-1] + 1) * row
        open_runs: list[tuple[int, int]] = []  # (first column, height), heights growing
        for column, height in enumerate(heights.tolist()):
            first = column
            while open_runs and open_runs[-1][1] >= height:
                first, tall = open_runs.pop()
                size = tall * (column - first)
                best = max(best, (size, bottom - tall, bottom, first, column))
            open_runs.append((first, height))
    _, top, bottom, left, right = best
    part = crop(pair, slice(top, bottom), slice(left, right))
    return replace(part, valid=None, band_holes=None, name=f"{pair.name}_valid")


def choose_bands(sensor: Sensor, names: Sequence[str]) -> list[int]:
    """Places of named bands in a sensor's order; see :func:`with_bands`."""
    known = list(sensor.bands)
    other_name = {"NIR": "NIR1", "NIR1": "NIR"}
    found = [name if name in known else other_name.get(name, name) for name in names]
    if not set(found) <= set(known) or len(set(found)) < max(3, len(found)):
        raise ValueError(
            f"bands {','.join(names)}: expected three or more different ones of "
            f"{', '.join(known)} ({sensor.name})"
        )
    return [known.index(name) for name in found]


def with_bands(pair: Pair, names: Sequence[str]) -> Pair:
    """The pair with some of its bands, in the order named; "NIR" also finds "NIR1", and vice versa.

    Raises:
        ValueError: a band that the sensor lacks, a band named twice, or fewer than three bands.
    """
    sensor = pair.sensor
    chosen = choose_bands(sensor, names)
    red, green, blue = (
        chosen.index(band) if band in chosen else place for place, band in enumerate(sensor.rgb)
    )
    sensor = replace(
        sensor,
        bands=tuple(names),
        rgb=(red, green, blue),
        mtf_ms=tuple(sensor.mtf_ms[i] for i in chosen),
        wavelengths_nm=tuple(sensor.wavelengths_nm[i] for i in chosen),
        widths_nm=tuple(sensor.widths_nm[i] for i in chosen),
    )
    truth = None if pair.truth is None else pair.truth[chosen]
    holes = None if pair.band_holes is None else pair.band_holes[chosen]
    return replace(pair, ms=pair.ms[chosen], truth=truth, sensor=sensor, band_holes=holes)


def middle_of(side: int, length: int) -> slice:
    """The middle of a side, of at most that length."""
    return slice(max(side // 2 - length // 2, 0), min(side // 2 + length // 2, side))
