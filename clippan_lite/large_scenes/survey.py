"""What is gathered of the whole scene before any window is fused."""

from __future__ import annotations

import functools
import itertools
import math
import operator
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from rasterio.windows import Window

from clippan_lite.classical import common
from clippan_lite.data import Pair, geotiff, pair_checks
from clippan_lite.large_scenes import windows
from clippan_lite.large_scenes.windows import Core, Job, Moments, Tensor
from clippan_lite.runtime.workers import Run

BINS = 65536  # of PAN's histogram


@dataclass
class Survey:
    """What a window tells about the scene. ``a + b`` is what two windows tell."""

    values: pair_checks.Values
    pan: np.ndarray  # histogram of valid PAN pixels, in bins of `bin_width` DN
    sums: list[common.Sums]  # one entry per question of the method; none where nothing is valid
    checksums: tuple[int, int] = (0, 0)  # of PAN's and MS's pixels

    def __add__(self, other: Survey) -> Survey:
        sums = self.sums or other.sums
        if self.sums and other.sums:
            sums = [a + b for a, b in zip(self.sums, other.sums, strict=True)]
        pan, ms = ((a + b) % 2**64 for a, b in zip(self.checksums, other.checksums, strict=True))
        return Survey(self.values + other.values, self.pan + other.pan, sums, (pan, ms))

    def percentile(self, fraction: float) -> float:
        """Bin below which a fraction of valid PAN lies, interpolated as NumPy does."""
        ranks = self.pan.cumsum()
        rank = fraction * (ranks[-1] - 1)
        below, above = np.searchsorted(ranks, [math.floor(rank), math.floor(rank) + 1], "right")
        return below + (rank - math.floor(rank)) * (min(above, BINS - 1) - below)


def complete(job: Job, run: Run, progress: bool) -> Job:
    """Read the whole scene once, and add to the job what the scene tells.

    Raises:
        ValueError: pixels that cannot be, or too few for the method.
    """
    results = run(survey_window, job, job.places)
    found = functools.reduce(
        operator.add, windows.with_bar(results, job.places, "survey", progress)
    )
    grid = job.grid
    pair_checks.values(found.values, grid.sensor)
    for sums in found.sums:
        least = 2 * len(sums.total)
        if sums.count < least:
            raise ValueError(
                f"nodata leaves {sums.count} pixels for {job.methods[0]}, expected {least}: "
                "give another area"
            )
    # PAN that is moved leaves a border that it does not reach.
    holes = job.shift is not None or found.values.valid < grid.height * grid.width
    holes |= found.values.in_some_bands > 0
    return replace(
        job,
        scale=found.percentile(0.999) * bin_width(job) or 1.0,
        nodata=geotiff.fill_value(grid.georef["nodata"], job.dtype, holes),
        moments=tuple(sums.moments() for sums in found.sums),
        checksums=found.checksums,
    )


def survey_window(job: Job, place: Window) -> Survey:
    """What one window tells about the scene; its margin is left out."""
    pair, core, measured = windows.read(job, place, job.margin if job.methods else 0)
    rows, cols = (slice(part.start // pair.ratio, part.stop // pair.ratio) for part in core)
    pan_ok, ms_ok = measured
    inner = replace(
        pair,
        ms=pair.ms[:, rows, cols],
        pan=pair.pan[:, *core],
        valid=pair.valid_pixels[core],
        band_holes=None if pair.band_holes is None else pair.band_holes[:, rows, cols],
    )
    values = pair_checks.Values.of(inner, pan_ok[core], ms_ok[rows, cols])
    light = np.nan_to_num(inner.pan[0][inner.valid_pixels].numpy()) / bin_width(job)
    light = np.rint(light).clip(0, BINS - 1).astype(np.int64)
    survey = Survey(values, np.bincount(light, minlength=BINS), [], checksums(inner, place))
    finite = torch.isfinite(pair.pan[:, pan_ok]).all() and torch.isfinite(pair.ms[:, ms_ok]).all()
    if job.methods and values.valid and finite:
        pair = windows.moved(job, place, pair, core)
        if pair.valid_pixels[core].any():
            survey.sums = sums_of_window(job.methods, pair, core)
    return survey


def checksums(pair: Pair, place: Window) -> tuple[int, int]:
    """Checksums of PAN and MS, sums over cells, so that parts of a scene can be added.

    A file that has changed is known by it even if its size and time have not.
    """
    holes, cell = pair.band_holes, math.lcm(windows.GRID, pair.ratio)
    ms = pair.ms if holes is None else pair.ms.masked_fill(holes, 0.0)
    found = []
    for image, side in ((pair.pan, cell), (ms, cell // pair.ratio)):
        total, (_, height, width) = 0, image.shape
        for top, left in itertools.product(range(0, height, side), range(0, width, side)):
            step = cell // side
            corner = f"{place.row_off + top * step} {place.col_off + left * step}".encode()
            part = image[:, top : top + side, left : left + side].numpy().tobytes()
            total += zlib.crc32(part, zlib.crc32(corner)) + (zlib.adler32(part) << 32)
        found.append(total % 2**64)
    return found[0], found[1]


def sums_of_window(methods: Sequence[str], pair: Pair, core: Core) -> list[common.Sums]:
    """What classical methods ask of a window, one entry per question.

    Args:
        methods: their names.
        pair: a window of a scene with a margin.
        core: the window without the margin, PAN pixels, multiples of the ratio.

    Returns:
        Sums that can be added to those of other windows.
    """
    asked: list[common.Sums] = []

    def answer(*images: Tensor, valid: Tensor | None = None) -> Moments:
        step = pair.pan.shape[-1] // images[0].shape[-1]  # the ratio for questions on MS's grid
        rows, cols = (slice(part.start // step, part.stop // step) for part in core)
        inner = None if valid is None else valid[rows, cols]
        asked.append(common.sums(*(image[:, rows, cols] for image in images), valid=inner))
        mean, cov = asked[-1].moments()
        # The methods go on, and may divide. What they fuse here is not used.
        return mean, cov + 1e-9 * torch.eye(len(mean)).to(cov)

    windows.fuse_classical(methods, pair, answer)
    return asked


def bin_width(job: Job) -> float:
    """Width in DN of the histogram's bins: 1 where integers fit into the bins, else finer."""
    peak = 2.0**job.grid.sensor.bits - 1
    whole = np.dtype(job.grid.dtype).kind in "iu" and peak < BINS
    return 1.0 if whole else peak / (BINS - 1)
