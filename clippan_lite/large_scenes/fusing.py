"""Fuse a whole scene on disk, window by window, in constant memory.

A scene is read twice. The survey checks all values and gathers what counts for the whole scene: PAN's brightness, the
statistics of a classical method. Then each window is fused with a margin and kept as a file of its own, so that a
killed run goes on where it was and several processes work side by side; the parts become one Cloud-Optimised GeoTIFF.
"""

from __future__ import annotations

import copy
import glob
import itertools
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from clippan_lite import __version__, backbones, classical
from clippan_lite.checkpoints import fingerprint
from clippan_lite.classical.common import Sums
from clippan_lite.config import digest
from clippan_lite.data import Pair, geotiff, grids, pair_checks, registration
from clippan_lite.fuse import FAR, check_network, fuse_pair, halo_of
from clippan_lite.large_scenes import mosaic, windows
from clippan_lite.physics import sensors
from clippan_lite.runtime.workers import Run, processes

GRID = 64  # PAN pixels: windows are read from multiples of it, so that holes up to that size are filled alike
NOTE = "windows.txt"  # the file by which a folder of windows is known


@dataclass(frozen=True)
class Job:
    """All that a process needs to work on windows of a scene."""

    grid: grids.Grid
    folder: Path  # where finished windows go
    network: backbones.Fusion | None
    method: str | None
    device: str
    window: int  # side, PAN pixels
    margin: int  # around it, PAN pixels
    shift: registration.Shift | None  # PAN is moved by it
    scale: float = 1.0  # DN that the network sees as 1
    nodata: float | None = None
    key: str = ""  # hash of all that decides the windows
    moments: tuple[
        tuple[torch.Tensor, torch.Tensor], ...
    ] = ()  # of the whole scene, what the method asks for

    @property
    def places(self) -> list[tuple[int, int]]:
        """Top left corners of all windows."""
        return list(
            itertools.product(
                *(range(0, n, self.window) for n in (self.grid.height, self.grid.width))
            )
        )

    def area(self, place: tuple[int, int]) -> int:
        """PAN pixels of a window."""
        return math.prod(
            min(self.window, n - p)
            for n, p in zip((self.grid.height, self.grid.width), place, strict=True)
        )

    def part(self, place: tuple[int, int]) -> Path:
        """File of a finished window."""
        return (
            self.folder / f"{self.key}_{place[0]}_{place[1]}.tif"
        )  # so that two jobs at once do not mix


@dataclass
class Survey:
    """What a window tells about the scene; ``a + b`` is what both do."""

    values: pair_checks.Values
    pan: np.ndarray  # 65536 counts of PAN pixels, in bins of one DN or of `_step`
    sums: list[Sums]

    def __add__(self, other: Survey) -> Survey:
        both = self.sums and other.sums
        sums = (
            [a + b for a, b in zip(self.sums, other.sums, strict=True)]
            if both
            else self.sums or other.sums
        )
        return Survey(self.values + other.values, self.pan + other.pan, sums)

    def percentile(self, share: float) -> float:
        """Bin below which a share of valid PAN lies, as NumPy's linear interpolation says."""
        total = self.pan.cumsum()
        at = share * (total[-1] - 1)
        low, high = (int(np.searchsorted(total, math.floor(at) + k, "right")) for k in (0, 1))
        return low + (at - math.floor(at)) * (min(high, len(total) - 1) - low)


def fuse_scene(
    pan: str | os.PathLike[str],
    ms: str | os.PathLike[str],
    out: str | os.PathLike[str],
    sensor: str,
    network: backbones.Fusion | None = None,
    method: str | None = None,
    convention: str = "benchmark",
    register: bool = False,
    window: int = 2048,
    workers: int = 1,
    scheduler: str | None = None,
    device: str = "cpu",
    progress: bool = True,
    tags: dict[str, Any] | None = None,
) -> Path:
    """Fuse a pair of GeoTIFFs of any size into a Cloud-Optimised GeoTIFF, in constant memory.

    Finished windows lie in ``<out>.parts`` until the end; after a kill, the same call goes on from them.

    Args:
        pan: one-band raster, DN.
        ms: raster with the sensor's bands, DN.
        out: GeoTIFF to write: PAN's grid, MS's bands, data type, nodata and CRS.
        sensor: name in the sensor table, or a sensor file.
        network: a fusion network; either this or ``method``.
        method: a classical method, :data:`clippan_lite.classical.METHODS`.
        convention: ``"benchmark"`` or ``"geo"``, where MS samples sit on PAN's grid.
        register: shift PAN onto MS, by what the most detailed of nine places tells.
        window: side in PAN pixels, rounded up to a multiple of 64 (and of the network's grid); memory grows with its
            square.
        workers: processes; above 1 they are a local cluster of dask.distributed.
        scheduler: address of a running dask scheduler, whose workers see the same files.
        device: ``"cpu"`` or a CUDA device.
        progress: show progress in MPix/s of PAN.
        tags: further tags of the GeoTIFF.

    Returns:
        ``out``.

    Raises:
        ValueError: files that do not fit together or the sensor, pixels that cannot be, PAN and MS of different places,
            neither or both of network and method, a network of other bands, settings that cannot be.
        FileNotFoundError: a file is missing.
        ImportError: several workers, or a scheduler, without dask.distributed.
        OSError: a window or the result could not be written, or the scheduler does not answer.
    """
    out = Path(out).resolve()  # workers may run in another folder
    if (network is None) == (method is None):
        raise ValueError("expected a network or a method, one of the two")
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise ValueError(f"{out} must end in .tif: the result is a GeoTIFF")
    home = next(parent for parent in out.parents if parent.exists())
    if out.is_dir() or not home.is_dir() or not os.access(home, os.W_OK):
        raise ValueError(
            f"{out} cannot be written: it is a folder, or {home} is a file or not yours"
        )
    if scheduler and workers > 1:
        raise ValueError(
            f"{workers} workers and a scheduler are both given: a scheduler has its own workers"
        )
    if window < GRID or workers < 1:
        raise ValueError(
            f"expected a window of {GRID} PAN pixels or more and 1 worker or more, found {window}, {workers}"
        )
    grid = grids.inspect(Path(pan).resolve(), Path(ms).resolve(), sensors.get(sensor), convention)
    if grid.dtype not in mosaic.GDAL_TYPES:
        raise ValueError(
            f"MS holds {grid.dtype}, expected one of {', '.join(mosaic.GDAL_TYPES)}: convert it"
        )
    if out in (grid.pan_path, grid.ms_path):
        raise ValueError(f"{out} is one of the files to be fused: choose another name")
    shift = _shift(grid, register)
    if shift is not None:
        place = registration.ms_place(grid.georef, grid.sensor.ratio, grid.convention)
        grid = replace(grid, georef=grid.georef | place)
    if method is not None:
        classical.find(method)
        step, reach = (
            grid.sensor.ratio,
            20 + 16 * grid.sensor.ratio,
        )  # MTF filter, interpolation twice, 7 MS pixels
    else:
        check_network(
            network, grid.name, len(grid.sensor.bands), grid.sensor.ratio, grid.convention
        )
        network = copy.deepcopy(network).to("cpu").eval()  # the caller's stays where it is
        step, reach = halo_of(network)
        reach += FAR * grid.sensor.ratio
    unit = math.lcm(GRID, step)
    margin = reach + (registration.SEARCH + registration.HALF if shift is not None else 0)
    window, margin = (-(-n // unit) * unit for n in (window, margin))
    folder = out.with_name(out.name + ".parts")
    job = Job(grid, folder, network, method, device, window, margin, shift)
    with processes(workers, scheduler) as run:
        job = _surveyed(job, run, progress)
        job = replace(job, key=_key(job))
        _begin(job)
        left = [place for place in job.places if not job.part(place).is_file()]
        if len(left) < len(job.places):
            print(f"{len(job.places) - len(left)} of {len(job.places)} windows are there, going on")
        for _ in _watched(run(fuse_window, job, left), job, left, "fusing", progress):
            pass
    told = {
        "METHOD": method or type(network).__name__,
        "SENSOR": grid.sensor.name,
        "CONVENTION": grid.convention,
    }
    told |= {"SOFTWARE": f"clippan-lite {__version__}"} | (tags or {})
    mosaic.join(
        grid, {place: job.part(place) for place in job.places}, window, out, job.nodata, told
    )
    _clear(folder)
    return out


def _shift(grid: grids.Grid, register: bool) -> registration.Shift | None:
    """How far PAN is to be moved: not at all, by what the geotransforms say, or by what the images tell.

    Raises:
        ValueError: PAN and MS show different places, or do not tell their shift.
    """
    pairs, _ = grids.parts(grid)
    if not pairs:
        if register:
            raise ValueError(
                f"{grid.name} is mostly nodata at all places seen: crop it, or leave register off"
            )
        print(
            f"{grid.name} is mostly nodata at all places seen: whether PAN and MS fit is not checked"
        )
        return grid.offset
    pair = grids.most_detailed(pairs)
    if grid.offset is not None and not register:
        pair = registration.correct(pair, grid.offset)
    shift = pair_checks.shift_of(pair, advise=not register)
    if not register:
        return grid.offset
    registration.check(shift, grid.name)
    return shift


def _surveyed(job: Job, run: Run, progress: bool) -> Job:
    """The job with what counts for the whole scene; values are checked."""
    found = None
    for one in _watched(run(survey_window, job, job.places), job, job.places, "survey", progress):
        found = one if found is None else found + one
    pair_checks.values(found.values, job.grid.sensor, (job.grid.pan_path, job.grid.ms_path))
    # PAN that is moved leaves a border that it does not reach.
    holes = job.shift is not None or found.values.valid < job.grid.height * job.grid.width
    nodata = geotiff.fill_value(job.grid.georef["nodata"], job.grid.dtype, holes)
    for sums in found.sums:
        least = 2 * len(sums.total)
        if sums.count < least:
            raise ValueError(
                f"nodata leaves {sums.count} pixels for {job.method}, expected {least}: give another area"
            )
    moments = tuple(sums.moments() for sums in found.sums)
    return replace(
        job, scale=found.percentile(0.999) * _step(job) or 1.0, nodata=nodata, moments=moments
    )


def _window(
    job: Job, place: tuple[int, int], margin: int
) -> tuple[Pair, tuple[slice, slice], tuple[torch.Tensor, torch.Tensor]]:
    """A window with its margin; where in it the window lies; pixels that are not nodata in PAN and in MS."""
    spans, core = [], []
    for start, size in zip(place, (job.grid.height, job.grid.width), strict=True):
        first, last, end = (
            max(start - margin, 0),
            min(start + job.window + margin, size),
            min(start + job.window, size),
        )
        spans.append((first, last))
        core.append(slice(start - first, end - first))
    pair, *ok = grids.read_window(job.grid, *spans)
    return pair, tuple(core), tuple(ok)


def _ready(
    job: Job, pair: Pair, core: tuple[slice, slice], ok: tuple[torch.Tensor, torch.Tensor]
) -> tuple[Pair, tuple[slice, slice]]:
    """A window as methods take it, and where in it the window lies: nodata is 0, PAN moved onto MS.

    At the scene's border classical methods see its edge repeated: their interpolation would wrap around the window.
    """
    grids.clear_nodata(pair, *ok)
    pair = pair if job.shift is None else registration.correct(pair, job.shift)
    if not job.method:
        return pair, core
    before = [job.margin - part.start for part in core]
    after = [
        part.stop + job.margin - size for part, size in zip(core, pair.pan.shape[1:], strict=True)
    ]
    sides = (before[1], after[1], before[0], after[0])

    def pad(image: torch.Tensor, step: int = 1) -> torch.Tensor:
        return F.pad(image, [side // step for side in sides], mode="replicate")

    valid = None if pair.valid is None else pad(pair.valid[None].float())[0] > 0
    pair = replace(pair, ms=pad(pair.ms, pair.ratio), pan=pad(pair.pan), valid=valid, truth=None)
    return pair, tuple(
        slice(part.start + n, part.stop + n) for part, n in zip(core, before, strict=True)
    )


def _step(job: Job) -> float:
    """Width in DN of the bins that PAN is counted in: whole DN, or finer where numbers are none or more than 65536."""
    peak = 2.0**job.grid.sensor.bits - 1
    return 1.0 if np.dtype(job.grid.dtype).kind in "iu" and peak <= 65535 else peak / 65535


def survey_window(job: Job, place: tuple[int, int]) -> Survey:
    """What one window tells about the scene, its margin left out."""
    pair, core, ok = _window(job, place, job.margin if job.method else 0)
    r = pair.ratio
    small = tuple(slice(s.start // r, s.stop // r) for s in core)
    inner = replace(pair, ms=pair.ms[:, *small], pan=pair.pan[:, *core], valid=pair.valid[core])
    values = pair_checks.Values(inner, ok[0][core], ok[1][small])
    light = np.nan_to_num(inner.pan[0][inner.valid].numpy()) / _step(job)
    light = np.rint(light).clip(0, 65535).astype(np.int64)
    survey = Survey(values, np.bincount(light, minlength=65536), [])
    seen = ((pair.pan, ok[0]), (pair.ms, ok[1]))
    if (
        job.method
        and values.valid
        and all(torch.isfinite(image[:, good]).all() for image, good in seen)
    ):
        pair, core = _ready(job, pair, core, ok)
        if pair.valid is None or pair.valid[core].any():
            survey.sums = windows.gather(classical.find(job.method), pair, core)
    return survey


def fuse_window(job: Job, place: tuple[int, int]) -> tuple[int, int]:
    """Fuse one window and keep it as a file; returns its place."""
    pair, core, ok = _window(job, place, job.margin)
    pair, core = _ready(job, pair, core, ok)
    valid = torch.ones(pair.pan.shape[1:], dtype=torch.bool) if pair.valid is None else pair.valid
    if not valid[core].any():
        fused = torch.zeros(pair.bands, *valid[core].shape)
    elif job.method:
        fused = windows.fuse(classical.find(job.method), pair, list(job.moments))[:, *core]
    else:
        fused = fuse_pair(job.network.to(job.device), pair, scale=job.scale, area=core)
    if not torch.isfinite(fused).all():
        raise ValueError(
            f"the window at row {place[0]}, column {place[1]} has NaN or infinite pixels: nothing is written"
        )
    geotiff.write_image(
        job.part(place), fused, job.grid.dtype, job.nodata, valid[core], compress=False
    )
    return place


def _watched(results: Iterable, job: Job, places: list, what: str, shown: bool) -> Iterator:
    """Pass results on and show the progress in MPix of PAN."""
    total = sum(map(job.area, places)) / 1e6
    form = "{desc}: {percentage:3.0f} %|{bar}| {n:.1f}/{total:.1f} MPix [{elapsed}<{remaining}, {rate_noinv_fmt}]"
    with tqdm(
        total=total, desc=what, unit="MPix", mininterval=1.0, disable=not shown, bar_format=form
    ) as bar:
        for result in results:
            bar.update(min(total / len(places), total - bar.n))  # not beyond the end by rounding
            yield result
        bar.update(total - bar.n)


def _key(job: Job) -> str:
    """Hash of all that decides the windows."""
    grid, stamps = job.grid, []
    for path in (grid.pan_path, grid.ms_path):
        beside = [
            path,
            path.with_suffix(".tfw"),
            *sorted(path.parent.glob(f"{glob.escape(path.name)}.*")),
        ]
        stamps += [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in beside if p.is_file()]
    network = None
    if job.network is not None:  # its weights, and what else it was made with
        plain = {
            k: v for k, v in vars(job.network).items() if isinstance(v, int | float | str | tuple)
        }
        network = (
            type(job.network).__name__,
            plain,
            fingerprint(job.network.state_dict().values()),
        )
    facts = (
        stamps,
        sensors.to_table(grid.sensor),
        str(grid),
        job.method,
        network,
        job.window,
        repr(job.shift),
    )
    return digest(facts, job.scale, job.nodata, __version__)


def _begin(job: Job) -> None:
    """Make the folder for finished windows; windows of another job in it are thrown away, and that is printed."""
    if job.folder.exists():
        if not (job.folder / NOTE).is_file() and any(job.folder.iterdir()):
            raise ValueError(
                f"{job.folder} is not a folder of windows: move it away, or choose another name for OUT"
            )
        strange = [f for f in job.folder.glob("[!.]*_*_*.tif") if not f.name.startswith(job.key)]
        if strange:
            print(f"{job.folder} holds windows of other files or settings: they are thrown away")
        for file in strange:
            file.unlink(missing_ok=True)
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / NOTE).write_text(
        "Finished windows of a scene; the call that made them goes on from here.\n"
    )


def _clear(folder: Path) -> None:
    """Remove the finished windows; the note that says what they are, last."""
    for file in folder.iterdir():
        if file.name != NOTE:
            file.unlink()
    shutil.rmtree(folder)
