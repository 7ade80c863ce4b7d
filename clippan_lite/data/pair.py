"""A PAN / MS pair in memory, and what can be made of it: its valid part, itself one scale down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from clippan_lite.physics import degrade
from clippan_lite.physics.sensors import Sensor


@dataclass
class Pair:
    """One PAN / MS pair in digital numbers (DN), with what is known about it.

    Attributes:
        ms: multispectral image, ``(C, h, w)`` float32, DN.
        pan: panchromatic image, ``(1, h * ratio, w * ratio)`` float32, DN.
        sensor: bands, ratio, bit depth and MTF gains.
        name: short name used in file names and titles.
        convention: where MS samples sit on PAN's grid, ``"benchmark"`` (phase ratio/2) or ``"geo"`` (centre-true).
        valid: ``(H, W)`` bool on PAN's grid, False where either image is nodata. None means all valid.
        truth: full-resolution MS ``(C, H, W)`` in DN where it is known (synthetic scenes), else None.
        dtype: numpy name of the data type on disk, for writing results alike.
        georef: rasterio ``crs`` and ``transform`` of PAN, and ``nodata`` of MS; empty when unknown.
        pan_shift: PAN pixels (down, right) that PAN was shifted by to fit MS, see :mod:`clippan_lite.data.registration`.
    """

    ms: torch.Tensor
    pan: torch.Tensor
    sensor: Sensor
    name: str = "pair"
    convention: str = "benchmark"
    valid: torch.Tensor | None = None
    truth: torch.Tensor | None = None
    dtype: str = "uint16"
    georef: dict[str, Any] = field(default_factory=dict)
    pan_shift: tuple[float, float] = (0.0, 0.0)

    @property
    def mask(self) -> torch.Tensor | None:
        """``valid`` where it says anything: None when all pixels are valid."""
        return None if self.valid is None or bool(self.valid.all()) else self.valid

    @property
    def ratio(self) -> int:
        """PAN pixels per MS pixel, the same in both directions."""
        return self.sensor.ratio

    @property
    def bands(self) -> int:
        """Number of MS bands."""
        return self.ms.shape[0]

    @property
    def peak(self) -> float:
        """Largest DN the sensor can give, 2^bits - 1."""
        return float(2**self.sensor.bits - 1)

    @property
    def scale(self) -> float:
        """DN that networks see as 1: the 99.9th percentile of valid PAN, found on the image and not on the sensor.

        16-bit products often fill a tenth of their range, which would leave SSIM's constants larger than the signal.
        """
        pan = self.pan[0] if self.valid is None else self.pan[0][self.valid]
        if not pan.numel():
            raise ValueError(
                f"{self.name} holds nodata only: expected some pixels where PAN and MS are both valid"
            )
        if not (torch.isfinite(pan).all() and torch.isfinite(self.ms).all()):
            raise ValueError(f"{self.name} holds NaN or infinite pixels: mark them as nodata first")
        return float(np.percentile(pan.numpy(), 99.9)) or 1.0


def split_scenes(
    pairs: Sequence[Pair], held_out: float = 0.25, gap: int = 0
) -> tuple[Sequence[Pair], Sequence[Pair]]:
    """Scenes to train on, and scenes to be judged on, which no training saw; nothing is read.

    Benchmark files hold neighbouring patches of a few images side by side, so the last ones are held out, not random
    ones, which would overlap what was trained on. Within one scene, `Patches` splits by block.

    Args:
        pairs: a list, or :class:`clippan_lite.data.readers.Samples`, which stay unread.
        held_out: share of the scenes, rounded up.
        gap: scenes between the two parts that neither gets.

    Raises:
        ValueError: a share that cannot be, or too few scenes.
    """
    if not 0 < held_out < 1 or gap < 0:
        raise ValueError(
            f"held_out must lie between 0 and 1 and gap be 0 or more, found {held_out}, {gap}"
        )
    first = len(pairs) - math.ceil(len(pairs) * held_out)
    if first - gap < 1:
        raise ValueError(
            f"{len(pairs)} scenes cannot be split with {held_out} held out and a gap of {gap}: give more"
        )
    return pairs[: first - gap], pairs[first:]


def largest_valid(pair: Pair) -> Pair:
    """The largest rectangle of a pair that holds no nodata, in whole MS pixels, as a pair without georeference."""
    if pair.mask is None:
        return pair
    r = pair.ratio
    good = (F.max_pool2d((~pair.mask)[None].float(), r)[0] == 0).numpy()
    best, heights = (0, 0, 0, 0, 0), np.zeros(good.shape[1] + 1, int)
    for bottom, row in enumerate(good, 1):
        heights[:-1] = (
            heights[:-1] + 1
        ) * row  # valid pixels above each column; the last one, 0, ends every run
        open_runs: list[tuple[int, int]] = []  # (first column, height), heights growing
        for column, height in enumerate(heights):
            first = column
            while open_runs and open_runs[-1][1] >= height:
                first, tall = open_runs.pop()
                best = max(best, (tall * (column - first), bottom - tall, bottom, first, column))
            open_runs.append((first, height))
    _, top, bottom, left, right = (int(n) for n in best)
    fine = (slice(None), slice(top * r, bottom * r), slice(left * r, right * r))
    truth = None if pair.truth is None else pair.truth[fine]
    ms = pair.ms[:, top:bottom, left:right]
    return replace(
        pair,
        ms=ms,
        pan=pair.pan[fine],
        truth=truth,
        valid=None,
        name=f"{pair.name}_valid",
        georef={},
    )


def with_bands(pair: Pair, names: Sequence[str]) -> Pair:
    """The pair with some of its bands, in the order named; "NIR" also finds "NIR1", and the reverse.

    Raises:
        ValueError: a band that the sensor lacks, a band named twice, or fewer than three bands.
    """
    sensor = pair.sensor
    known = list(sensor.bands)
    other_name = {"NIR": "NIR1", "NIR1": "NIR"}
    found = [name if name in known else other_name.get(name, name) for name in names]
    if not set(found) <= set(known) or len(set(found)) < max(3, len(found)):
        raise ValueError(
            f"bands {','.join(names)}: expected three or more different ones of "
            f"{', '.join(known)} ({pair.name})"
        )
    chosen = [known.index(name) for name in found]
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
    return replace(pair, ms=pair.ms[chosen], truth=truth, sensor=sensor)


def reduced(pair: Pair) -> Pair:
    """The pair one scale down by Wald's protocol: MS and PAN degraded by the ratio, the original MS as truth."""
    ms, pan = degrade.wald(pair.ms, pair.pan, pair.sensor, pair.convention)
    truth = pair.ms[:, : ms.shape[-2] * pair.ratio, : ms.shape[-1] * pair.ratio]
    valid = None
    if pair.mask is not None:
        # Nodata spreads by the filter's reach: a pixel one scale down counts only where its whole surrounding is valid.
        holes = (~pair.mask)[None, None].float()
        reach = 2 * pair.ratio
        holes = F.max_pool2d(holes, 2 * reach + 1, stride=1, padding=reach)
        valid = F.max_pool2d(holes, pair.ratio)[0, 0, : truth.shape[-2], : truth.shape[-1]] == 0
    return replace(
        pair, ms=ms, pan=pan, truth=truth, valid=valid, name=f"{pair.name}_reduced", georef={}
    )
