"""Fuse a whole scene on disk, window by window, in constant memory.

A scene is read twice. The survey checks all values and gathers what counts for the whole scene:
PAN's brightness, and the statistics of a classical method. Then each window is fused with a margin
and kept as a file of its own. So a killed run goes on where it was, and several processes work side
by side. The parts become one Cloud-Optimised GeoTIFF.
"""

from __future__ import annotations

import copy
import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from clippan_lite import backbones, classical
from clippan_lite.backbones.tiles import FAR, halo_of
from clippan_lite.data import geotiff, grids, registration
from clippan_lite.fusion import INSTEAD, INSTEAD_ROUNDS, best_network, check_network
from clippan_lite.large_scenes import mosaic, survey, windows
from clippan_lite.physics import sensors
from clippan_lite.physics.resample import check_whole
from clippan_lite.runtime import locks, memory
from clippan_lite.runtime.console import tell_if_busy
from clippan_lite.runtime.package import VERSION
from clippan_lite.runtime.settings import in_kind
from clippan_lite.runtime.workers import processes

MOST_ROUNDS = 20  # of back-projection: each looks 36 PAN pixels further at ratio 4


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
    rounds: int = 0,
    dtype: str | None = None,
    device: str = "cpu",
    progress: bool = True,
    tags: dict[str, object] | None = None,
    bands: str | None = None,
    dry_run: bool = False,
) -> Path:
    """Fuse a pair of GeoTIFFs of any size into a Cloud-Optimised GeoTIFF, in constant memory.

    Finished windows lie in ``<out>.parts`` until the end. After a kill, the same call goes on from
    them.

    Args:
        pan: one-band raster, DN.
        ms: raster with the sensor's bands, DN.
        out: GeoTIFF to write: PAN's grid; MS's bands, data type, nodata and CRS.
        sensor: name in the sensor table, or a sensor file.
        network: a fusion network.
        method: a classical method, :data:`clippan_lite.classical.METHODS`. Without a network and a
            method, the best way that needs no training is taken, and a line says which.
        convention: ``"benchmark"`` or ``"geo"``, where MS samples sit on PAN's grid.
        register: shift PAN onto MS, by what the most detailed of nine places tells; or warp it, if
            the places differ and an affine warp explains how.
        window: side in PAN pixels, rounded up to a multiple of 64 (and of the network's grid).
            Memory grows with its square.
        workers: processes; above 1 they are a local cluster of dask.distributed.
        scheduler: address of a running dask scheduler, whose workers see the same files.
        rounds: of back-projection after a classical method.
        dtype: data type of the GeoTIFF, such as ``"float32"``, which keeps fractions of a DN. None
            takes MS's.
        device: ``"cpu"`` or a CUDA device.
        progress: show progress in MPix/s of PAN.
        tags: further tags of the GeoTIFF.
        bands: which of MS's bands are the sensor's, as in :func:`clippan_lite.data.grids.inspect`.
        dry_run: check the files' headers and all settings, print what would be done, and stop.

    Returns:
        ``out``.

    Raises:
        ValueError: files that do not fit together or the sensor, pixels that cannot be, both a
            network and a method, a network of other bands, settings that cannot be, or another
            call that writes ``out``.
        FileNotFoundError: a file is missing.
        ImportError: several workers, or a scheduler, without dask.distributed.
        OSError: a window or the result could not be written, or the scheduler does not answer.
    """
    out = Path(out).resolve()  # workers may run in another folder
    register = in_kind("register", register, bool)
    scene = (pan, ms, out, sensor, network, method, convention, window, rounds, dtype, bands)
    grid = check_scene(*scene)
    if network is None and method is None:
        network = best_network(len(grid.sensor.bands), grid.sensor.ratio, grid.convention)
        if network is None:
            method, rounds = INSTEAD, INSTEAD_ROUNDS
        else:
            print("method: the included network, which mends " + ", ".join(network.methods))
    settings = (grid, out, network, method, window, rounds, dtype, device)
    job = _job(*settings)
    if dry_run:
        print("\n".join(_plan(job, out, method, register)))
        return out
    tell_if_busy()
    with locks.held(out), memory.kept():
        job = _job(*settings, shift=_shift(grid, register))
        with processes(workers, scheduler) as run:
            job = windows.with_share(survey.complete(job, run, progress))
            job = replace(job, key=mosaic.key(job))
            mosaic.begin(job)
            left = [place for place in job.places if not job.part(place).is_file()]
            finished = len(job.places) - len(left)
            if finished:
                print(f"{finished} of {len(job.places)} windows are there, going on")
            results = run(windows.fuse_window, job, left)
            for _ in windows.with_bar(results, left, "fusing", progress):
                pass
        mosaic.join(job, out, _facts(job, method) | (tags or {}))
    return out


def _job(
    grid: grids.Grid,
    out: Path,
    network: backbones.Fusion | None,
    method: str | None,
    window: int,
    rounds: int,
    dtype: str | None,
    device: str,
    shift: registration.Shift | None = None,
) -> windows.Job:
    """What the windows need to know, as far as it is known before the whole scene is read."""
    ratio, step, reach = grid.sensor.ratio, grid.sensor.ratio, 0
    methods: tuple[str, ...] = () if method is None else (method,)
    if network is not None:
        check_network(network, grid.name, len(grid.sensor.bands), ratio, grid.convention)
        network = copy.deepcopy(network).to("cpu").eval()  # the caller's stays where it is
        step, halo = halo_of(network)
        reach = halo + FAR * ratio
        methods, rounds = network.methods, network.rounds
    for name in methods:
        classical.find(name)
    if methods:
        reach += 20 + 16 * ratio  # MTF filter, interpolation twice, 7 MS pixels
    reach += rounds * (12 + FAR * ratio)  # the MTF filter's outer taps do not matter
    if shift is not None:
        reach += registration.SEARCH + registration.HALF
        moves = (shift.down, shift.right)
        place = registration.moved_georef(grid.georef, ratio, grid.convention, moves)
        grid = replace(grid, georef=place)
    unit = math.lcm(windows.GRID, step)
    side, margin = (math.ceil(length / unit) * unit for length in (window, reach))
    return windows.Job(
        grid=grid,
        folder=out.with_name(out.name + ".parts"),
        network=network,
        methods=methods,
        device=device,
        side=side,
        margin=margin,
        shift=shift,
        dtype=dtype or grid.dtype,
        rounds=rounds,
    )


def _plan(job: windows.Job, out: Path, method: str | None, register: bool) -> list[str]:
    """What a call would do, in lines."""
    grid, count = job.grid, len(job.grid.sensor.bands)
    size = count * grid.height * grid.width * np.dtype(job.dtype).itemsize / 1e6
    way = method or type(job.network).__name__
    place = "is moved onto MS" if register else "stays where the files put it"
    return [
        f"PAN: {grid.pan_path}, {grid.height} x {grid.width} pixels from {grid.pan_start}",
        f"MS: {grid.ms_path}, bands {', '.join(map(str, grid.ms_bands))} as "
        f"{', '.join(grid.sensor.bands)}",
        f"sensor: {grid.sensor.name}, ratio {grid.sensor.ratio}, {grid.sensor.bits} bit, "
        f"convention {grid.convention}, {grid.where}",
        f"method: {way}, {job.rounds} rounds of back-projection; PAN {place}",
        f"windows: {len(job.places)} of {job.side} PAN pixels with a margin of {job.margin}, kept "
        f"in {job.folder.name} until the end",
        f"would write: {out}, {job.dtype}, {size:.0f} MB before compression"
        + (", in place of the file there" if out.exists() else ""),
        "dry run: nothing was read but the headers, nothing was written",
    ]


def _facts(job: windows.Job, method: str | None) -> dict[str, object]:
    """Tags of the result: how it was made, and from what."""
    grid = job.grid
    inputs = zip(("PAN", "MS"), (grid.pan_path, grid.ms_path), job.checksums, strict=True)
    return {
        "METHOD": method or type(job.network).__name__,
        "OPTIONS": json.dumps({} if job.network is None else job.network.options),
        "BACK_PROJECTION": f"{job.rounds} rounds, {job.along:.3f} along PAN",
        "SENSOR": grid.sensor.name,
        "CONVENTION": grid.convention,
        "REGISTRATION": f"PAN {job.shift.done} PAN pixels" if job.shift else "none",
        "INPUTS": ", ".join(f"{what} {path.name} {check:016x}" for what, path, check in inputs),
        "MS_BANDS": ",".join(map(str, grid.ms_bands)),
        "SOFTWARE": f"clippan-lite {VERSION}",
    }


def check_scene(
    pan: str | os.PathLike[str],
    ms: str | os.PathLike[str],
    out: str | os.PathLike[str],
    sensor: str,
    network: backbones.Fusion | None = None,
    method: str | None = None,
    convention: str = "benchmark",
    window: int = 2048,
    rounds: int = 0,
    dtype: str | None = None,
    bands: str | None = None,
) -> grids.Grid:
    """Refuse what cannot be, before any pixel is read; arguments and Raises as `fuse_scene`.

    Returns:
        What the files' headers say.
    """
    pan_path, ms_path = (grids.whole_path(path) for path in (pan, ms))
    grid = grids.inspect(pan_path, ms_path, sensors.get(sensor), convention, bands)
    out = Path(out).resolve()
    if network is not None and method is not None:
        raise ValueError("expected a network or a method, found both: give one of the two")
    check_whole("rounds of back-projection", rounds, 0)
    if rounds > MOST_ROUNDS:
        raise ValueError(
            f"rounds of back-projection: expected at most {MOST_ROUNDS}, found {rounds}"
        )
    if rounds and method is None:
        raise ValueError(
            f"{rounds} rounds of back-projection without a method: give one, a network has its own"
        )
    geotiff.check_target(out, (grid.pan_path, grid.ms_path))
    parent = next(folder for folder in out.parents if folder.exists())
    if out.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ValueError(
            f"{out} cannot be written: it is a folder, or {parent} takes no files (a file itself, "
            "read-only, or not yours)"
        )
    check_whole("window", window, 1)
    if window < windows.GRID:
        raise ValueError(f"expected a window of {windows.GRID} PAN pixels or more, found {window}")
    known = ", ".join(mosaic.GDAL_TYPES)
    if dtype is not None and dtype not in mosaic.GDAL_TYPES:
        raise ValueError(f"dtype: expected one of {known}, found {dtype!r}")
    kind, peak = np.dtype(dtype or grid.dtype), 2**grid.sensor.bits - 1
    if dtype is not None and kind.kind in "iu" and np.iinfo(kind).max < peak:
        raise ValueError(
            f"dtype {dtype} cannot hold {grid.sensor.bits} bit, up to {peak}: take another"
        )
    if dtype is None and grid.dtype not in mosaic.GDAL_TYPES:
        raise ValueError(f"MS holds {grid.dtype}, expected one of {known}: convert it")
    return grid


def _shift(grid: grids.Grid, register: bool) -> registration.Shift | None:
    """By how much PAN has to be moved: what the geotransforms say, or what the images tell.

    None leaves PAN where it is.

    Raises:
        ValueError: PAN and MS show different places, or do not tell their shift.
    """
    pairs, _ = grids.parts(grid)
    if not pairs:
        problem = f"{grid.name} is mostly nodata at all places seen"
        if register:
            raise ValueError(f"{problem}: crop it, or leave register off")
        print(f"{problem}: whether PAN and MS fit is not checked")
        return grid.offset
    if grid.offset is not None and not register:
        pairs = {at: registration.correct(pair, grid.offset) for at, pair in pairs.items()}
    shift = registration.report_shift(pairs, (grid.height, grid.width), advise=not register)
    if not register:
        return grid.offset
    registration.check(shift, grid.name)
    return shift
