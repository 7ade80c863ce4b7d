"""A PAN / MS pair, and patches cut from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from clippan_lite import degrade
from clippan_lite.sensors import Sensor


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
        pan_shift: PAN pixels (down, right) that PAN was shifted by to fit MS, see :mod:`clippan_lite.registration`.
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
            raise ValueError(f"{self.name} holds nodata only: expected some pixels where PAN and MS are both valid")
        if not (torch.isfinite(pan).all() and torch.isfinite(self.ms).all()):
            raise ValueError(f"{self.name} holds NaN or infinite pixels: mark them as nodata first")
        return float(np.percentile(pan.numpy(), 99.9)) or 1.0


def valid_corners(pair: Pair, size: int, area: tuple[slice, slice], stride: int = 1) -> np.ndarray:
    """Top left corners ``(N, 2)`` of crops of ``size`` PAN pixels inside an area that hold no nodata.

    Whole MS pixels, and no nearer to each other than ``stride``; at the far edges of the area nearer, so that all of
    it is covered.
    """
    step, axes = math.lcm(stride, pair.ratio), []
    for part in area:
        last = (part.stop - size) // pair.ratio * pair.ratio
        axes.append(np.unique([*range(part.start, last, step), last]))
    rows, cols = axes
    corners = np.stack(np.meshgrid(rows, cols, indexing="ij"), -1).reshape(-1, 2)
    if pair.mask is None:
        return corners
    bad = np.pad((~pair.mask.numpy()).cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # summed-area table of nodata
    r, c = corners.T
    return corners[bad[r + size, c + size] - bad[r, c + size] - bad[r + size, c] + bad[r, c] == 0]


class Patches:
    """Random crops of a pair, scaled to about [0, 1], with everything that belongs to the same ground.

    Args:
        pair: the scene.
        size: side of a crop in PAN pixels; cut down to the scene (multiple of the ratio) when that is smaller, and
            halved, with a printed line, when every crop would hold nodata.
        split: ``"all"``, or ``"train"`` (left) and ``"held-out"`` (right, behind a gap), so that what is measured was
            not trained on. The held-out block is a quarter of the width, gap included, or one crop where that is wider
            and leaves one crop to train on. Splits are those of one ``size``: another size has another border.
        extra: other images ``(C, H, W)`` in DN on PAN's grid to cut alike, such as ``{"hrms": bdsd_result}``.
        device: where the images are held and the crops made.
        gap: columns left out between the two parts; 32 is as far as the MTF filter reaches.
        stride: PAN pixels between the corners of crops; 1 takes every whole MS pixel.
        least: smallest crop that will do.

    Raises:
        ValueError: no crop without nodata fits the split.
    """

    def __init__(
        self,
        pair: Pair,
        size: int,
        split: str = "all",
        extra: dict[str, torch.Tensor] | None = None,
        device: str = "cpu",
        gap: int = 32,
        stride: int = 1,
        least: int = 32,
    ):
        ratio, (height, width) = pair.ratio, pair.pan.shape[-2:]
        held = int(width * 0.75) + 32
        if width - held < size <= width - size - gap:
            held = width - size
        first, last = {"all": (0, width), "train": (0, held - gap), "held-out": (held, width)}[split]
        self.size = min(size, height // ratio * ratio, (last - first) // ratio * ratio)
        if self.size < least:
            raise ValueError(
                f"{pair.name} is {height} x {width} PAN pixels, too small for a {split} part of {least} x {least}: "
                "use a larger scene"
            )
        self.pair, self.ratio = pair, ratio
        exp = degrade.upsample(pair.ms, ratio, pair.convention)
        images = {"ms": pair.ms, "pan": pair.pan, "exp": exp, **(extra or {})}
        scale = pair.scale
        self.images = {name: (image / scale).to(device) for name, image in images.items()}
        area = (slice(0, height), slice(-(-first // ratio) * ratio, last))
        corners = valid_corners(pair, self.size, area, stride)
        if not len(corners):  # a footprint may hold crops, but none that begins on the lattice
            corners = valid_corners(pair, self.size, area)
        while not len(corners) and self.size // 2 >= least:
            self.size = self.size // 2 // ratio * ratio
            corners = valid_corners(pair, self.size, area)
            print(f"{pair.name}: nodata everywhere near, patches cut down to {self.size} PAN pixels")
        if not len(corners):
            raise ValueError(
                f"no {self.size}-pixel crop of {pair.name} ({split}) is free of nodata; use a larger scene"
            )
        self.corners = torch.from_numpy(corners)

    def sample(self, count: int, generator: torch.Generator, distinct: bool = False) -> dict[str, torch.Tensor]:
        """Cut ``count`` crops at random: name -> ``(count, C, size, size)``, MS on its own grid.

        ``place`` is their top left corners ``(count, 2)`` in PAN pixels. ``distinct`` takes no place twice (fewer crops
        where the scene has fewer places).
        """
        if distinct:
            indices = torch.randperm(len(self.corners), generator=generator)[:count]
        else:
            indices = torch.randint(len(self.corners), (count,), generator=generator)
        picks = self.corners[indices].tolist()
        batch = {"place": self.corners[indices]}
        for name, image in self.images.items():
            step, side = (self.ratio, self.size // self.ratio) if name == "ms" else (1, self.size)
            crops = [(r // step, c // step) for r, c in picks]
            batch[name] = torch.stack([image[:, r : r + side, c : c + side] for r, c in crops])
        return batch


def split_scenes(pairs: Sequence[Pair], held_out: float = 0.25, gap: int = 0) -> tuple[Sequence[Pair], Sequence[Pair]]:
    """Scenes to train on, and scenes to be judged on, which no training saw; nothing is read.

    Benchmark files hold neighbouring patches of a few images side by side, so the last ones are held out, not random
    ones, which would overlap what was trained on. Within one scene, `Patches` splits by block.

    Args:
        pairs: a list, or :class:`clippan_lite.readers.Samples`, which stay unread.
        held_out: share of the scenes, rounded up.
        gap: scenes between the two parts that neither gets.

    Raises:
        ValueError: a share that cannot be, or too few scenes.
    """
    if not 0 < held_out < 1 or gap < 0:
        raise ValueError(f"held_out must lie between 0 and 1 and gap be 0 or more, found {held_out}, {gap}")
    first = len(pairs) - math.ceil(len(pairs) * held_out)
    if first - gap < 1:
        raise ValueError(f"{len(pairs)} scenes cannot be split with {held_out} held out and a gap of {gap}: give more")
    return pairs[: first - gap], pairs[first:]


def largest_valid(pair: Pair) -> Pair:
    """The largest rectangle of a pair that holds no nodata, in whole MS pixels, as a pair without georeference."""
    if pair.mask is None:
        return pair
    r = pair.ratio
    good = (F.max_pool2d((~pair.mask)[None].float(), r)[0] == 0).numpy()
    best, heights = (0, 0, 0, 0, 0), np.zeros(good.shape[1] + 1, int)
    for bottom, row in enumerate(good, 1):
        heights[:-1] = (heights[:-1] + 1) * row  # valid pixels above each column; the last one, 0, ends every run
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
    return replace(pair, ms=ms, pan=pair.pan[fine], truth=truth, valid=None, name=f"{pair.name}_valid", georef={})


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
    return replace(pair, ms=ms, pan=pan, truth=truth, valid=valid, name=f"{pair.name}_reduced", georef={})
