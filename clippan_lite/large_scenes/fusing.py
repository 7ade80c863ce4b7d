"""Fuse a whole scene on disk, window by window, in constant memory.

A scene is read twice. The survey checks all values and gathers what counts for the whole scene:
PAN's brightness, and the statistics of a classical method. Then each window is fused with a margin
and kept as a file of its own. So a killed run goes on where it was, and several processes work side
by side. The parts become one Cloud-Optimised GeoTIFF.
"""

from __future__ import annotations

import copy
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from clippan_lite import backbones, classical
from clippan_lite.backbones.tiles import FAR, halo_of
from clippan_lite.data import grids, registration
from clippan_lite.fusion import INSTEAD, INSTEAD_ROUNDS, best_network, check_network
from clippan_lite.large_scenes import mosaic, survey, windows
from clippan_lite.physics import sensors
from clippan_lite.physics.resample import check_whole
from clippan_lite.runtime.package import VERSION
from clippan_lite.runtime.workers import processes

MOST_ROUNDS = 20  # of back-projection: each looks 36 PAN pixels further at ratio 4
GRID = 64  # PAN pixels: windows begin at multiples of it, so that holes up to it are filled alike


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
        register: shift PAN onto MS, by what the most detailed of nine places tells.
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

    Returns:
        ``out``.

    Raises:
        ValueError: files that do not fit together or the sensor, pixels that cannot be, PAN and MS
            of different places, both a network and a method, a network of other bands, settings
            that cannot be.
        FileNotFoundError: a file is missing.
        ImportError: several workers, or a scheduler, without dask.distributed.
        OSError: a window or the result could not be written, or the scheduler does not answer.
    """
    out = Path(out).resolve()  # workers may run in another folder
    grid = check_scene(pan, ms, out, sensor, network, method, convention, window, rounds, dtype)
    dtype = dtype or grid.dtype
    ratio = grid.sensor.ratio
    if network is None and method is None:
        network = best_network(len(grid.sensor.bands), ratio, grid.convention)
        if network is None:
            method, rounds = INSTEAD, INSTEAD_ROUNDS
        else:
            print("method: the network on board, which mends " + ", ".join(network.methods))
    step, reach = ratio, 0
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
    shift = _shift(grid, register)
    if shift is not None:
        reach += registration.SEARCH + registration.HALF
        place = registration.ms_place(grid.georef, ratio, grid.convention)
        grid = replace(grid, georef=grid.georef | place)
    unit = math.lcm(GRID, step)
    side, margin = (math.ceil(length / unit) * unit for length in (window, reach))
    folder = out.with_name(out.name + ".parts")
    job = windows.Job(
        grid, folder, network, methods, device, side, margin, shift, dtype, rounds=rounds
    )
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
    facts = {
        "METHOD": method or type(network).__name__,
        "BACK_PROJECTION": f"{rounds} rounds, {job.along:.3f} along PAN",
        "SENSOR": grid.sensor.name,
        "CONVENTION": grid.convention,
        "SOFTWARE": f"clippan-lite {VERSION}",
    }
    mosaic.join(job, out, facts | (tags or {}))
    return out


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
) -> grids.Grid:
    """Refuse what cannot be, before any pixel is read; arguments and Raises as `fuse_scene`.

    Returns:
        What the files' headers say.
    """
    grid = grids.inspect(Path(pan).resolve(), Path(ms).resolve(), sensors.get(sensor), convention)
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
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise ValueError(f"{out} must end in .tif: the result is a GeoTIFF")
    parent = next(folder for folder in out.parents if folder.exists())
    if out.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ValueError(
            f"{out} cannot be written: it is a folder, or {parent} is a file or not yours"
        )
    if window < GRID:
        raise ValueError(f"expected a window of {GRID} PAN pixels or more, found {window}")
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
    if out in (grid.pan_path, grid.ms_path):
        raise ValueError(f"{out} is one of the files to be fused: choose another name")
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
    pair = grids.most_detailed(pairs)
    if grid.offset is not None and not register:
        pair = registration.correct(pair, grid.offset)
    shift = registration.report_shift(pair, advise=not register)
    if not register:
        return grid.offset
    registration.check(shift, grid.name)
    return shift
