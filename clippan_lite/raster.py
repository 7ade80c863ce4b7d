"""GeoTIFF pairs in, georeferenced results out.

Everything that can be wrong with a pair is found here, before any training starts, and told in one line:
what was expected, what was found and what to do.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.enums import MaskFlags
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from clippan_lite import files, pair_checks, registration, sensors
from clippan_lite.data import Pair
from clippan_lite.degrade import CONVENTIONS

# Read errors are told by our own exceptions; without this the library's copy of them would precede ours on stderr.
logging.getLogger("rasterio").addHandler(logging.NullHandler())

BLOCK = 256  # tile size of written files, and the height of the strips they are written in
GENERIC_NAMES = ("pan", "ms", "mul", "image", "panchromatic")  # file names that say nothing about the scene


def read_pair(
    pan_path: str | os.PathLike[str],
    ms_path: str | os.PathLike[str],
    sensor_name: str,
    name: str | None = None,
    convention: str = "benchmark",
    register: bool = False,
) -> Pair:
    """Read and check a PAN / MS pair of GeoTIFFs, and print how far MS lies off PAN.

    Args:
        pan_path: one-band raster of ``(h * ratio, w * ratio)`` pixels, DN.
        ms_path: raster of ``(C, h, w)`` pixels, DN, bands in the sensor's order.
        sensor_name: name in the sensor table, for example ``"WV2"``, or a sensor file of your own.
        name: short name of the scene; by default PAN's file name, or its folder's when the file is just ``pan.tif``.
        convention: ``"benchmark"`` or ``"geo"``, where MS samples sit on PAN's grid.
        register: shift PAN onto MS by the estimated fraction, see :func:`clippan_lite.registration.correct`.

    Returns:
        The pair in float32 DN. Pixels that are nodata in either image are False in ``valid`` (None if there are
        none) and 0 in the images. Nodata is what the files say it is, and every place where PAN and all bands are 0.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the files are no rasters, do not fit together or the sensor, or hold unusable values; with
            ``register``, also images that do not tell their shift.
    """
    pair = _read(Path(pan_path), Path(ms_path), sensors.get(sensor_name), name, convention)
    shift = registration.estimate(pair)
    pair_checks.same_place(pair, shift)
    print(pair_checks.alignment(pair, shift, advise=not register))
    if not register:
        return pair
    pair = registration.correct(pair, shift)
    print(f"Registration: PAN shifted {registration.Shift(*pair.pan_shift, shift.correlation)} onto MS")
    return pair


def read_parts(
    pan_path: str | os.PathLike[str],
    ms_path: str | os.PathLike[str],
    sensor_name: str,
    convention: str = "benchmark",
    register: bool = False,
    side: int = 1024,
    count: int = 3,
) -> list[Pair]:
    """A pair as :func:`read_pair` gives it, or, of one too large for that, parts to train on.

    Args:
        pan_path: as in `read_pair`, as are the next four.
        ms_path: MS.
        sensor_name: sensor.
        convention: resampling convention.
        register: shift PAN onto MS, by what the most detailed part tells.
        side: of a part, PAN pixels.
        count: parts each way; pairs of at most ``side * count`` PAN pixels each way are read whole.

    Returns:
        One pair, or up to ``count`` squared parts, evenly spread; parts that are mostly nodata are left out.

    Raises:
        FileNotFoundError, ValueError: as `read_pair`.
    """
    grid = inspect(Path(pan_path), Path(ms_path), sensors.get(sensor_name), convention)
    if max(grid.height, grid.width) <= side * count:
        return [read_pair(pan_path, ms_path, sensor_name, convention=convention, register=register)]
    r, pairs, seen, axes = grid.sensor.ratio, [], None, []
    for size in (grid.height, grid.width):
        length = min(size, side // r * r)
        starts = {int(start) // r * r for start in np.linspace(0, size - length, count)}  # one where it all fits
        axes.append([(start, start + length) for start in sorted(starts)])
    for spans in itertools.product(*axes):
        pair, *ok = read_window(grid, *spans)
        values = pair_checks.Values(pair, *ok)
        seen = values if seen is None else seen + values
        clear_nodata(pair, *ok)
        if pair.valid.double().mean() > 0.5:
            pairs.append(pair)
    pair_checks.values(seen, grid.sensor, (grid.pan_path, grid.ms_path))
    if not pairs:
        raise ValueError(f"{grid.pan_path} is mostly nodata in all parts of {side} PAN pixels seen: crop it first")
    shift = registration.estimate(max(pairs, key=lambda pair: float(pair.pan.std())))
    pair_checks.same_place(pairs[0], shift)
    print(pair_checks.alignment(pairs[0], shift, advise=not register))
    print(f"{grid.name}: PAN {grid.height} x {grid.width}, {len(pairs)} parts of {side} x {side} stand for it")
    return [registration.correct(pair, shift) for pair in pairs] if register else pairs


def read_scene(folder: str | os.PathLike[str]) -> Pair:
    """Read what `write_pair` wrote, or any folder with ``pan.tif``, ``ms.tif`` and a ``scene.json`` naming the sensor.

    How far MS lies off PAN is printed; PAN is read as it is, never shifted anew.

    Args:
        folder: the scene folder, for example ``run_dir / "scene"``.

    Returns:
        The pair, with ``truth`` ``(C, H, W)`` in float32 DN if the folder holds ``truth.tif``.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: as `read_pair`, and for a ``scene.json`` that cannot be used.
    """
    folder = Path(folder)
    path = folder / "scene.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: expected a scene folder as notebook 01 writes it; read_pair reads plain files"
        )
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        sensor = _sensor(facts, path)
        bits = int(facts.get("bits", facts.get("bit_depth", sensor.bits)))
        down, right = (float(shift) for shift in facts.get("pan_shift", (0, 0)))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} cannot be used ({error!r}): expected an object with "sensor" and "bits"') from None
    if bits != sensor.bits:
        sensor = sensors.with_bits(sensor, bits)
    name, convention = facts.get("name", folder.name), facts.get("convention", "benchmark")
    pair = _read(folder / "pan.tif", folder / "ms.tif", sensor, name, convention)
    pair.pan_shift = (down, right)
    print(pair_checks.alignment(pair, registration.estimate(pair)))
    if (folder / "truth.tif").is_file():
        with _opened(folder / "truth.tif", "the truth") as source:
            pair.truth = torch.from_numpy(_pixels(source, "the truth"))
        expected = (pair.bands, *pair.pan.shape[1:])
        if tuple(pair.truth.shape) != expected:
            raise ValueError(f"{folder / 'truth.tif'} is {tuple(pair.truth.shape)}, expected {expected}: write it anew")
    return pair


def write_pair(folder: str | os.PathLike[str], pair: Pair, source: str = "", licence: str = "") -> Path:
    """Write ``pan.tif``, ``ms.tif``, ``truth.tif`` (if known) and, last, ``scene.json`` into a folder.

    Args:
        folder: the scene folder, made if missing, for example ``run_dir / "scene"``.
        pair: images in DN; they are rounded and clipped to ``pair.dtype``.
        source: where the imagery comes from, for ``scene.json``.
        licence: under which licence it may be used, for ``scene.json``.

    Returns:
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    transform = pair.georef.get("transform")
    ms_transform = pair.georef.get("ms_transform")
    if ms_transform is None and transform is not None:
        a, b, c, d, e, f = tuple(transform)[:6]
        r = pair.ratio
        ms_transform = rasterio.Affine(a * r, b * r, c, d * r, e * r, f)
    facts = {
        "name": pair.name,
        "sensor": pair.sensor.name,
        "ratio": pair.ratio,
        "bits": pair.sensor.bits,
        "bands": list(pair.sensor.bands),
        "convention": pair.convention,
        "pan_shift": list(pair.pan_shift),
        "source": source,
        "licence": licence,
    }
    if not sensors.is_built_in(pair.sensor):
        facts["sensor_definition"] = sensors.to_table(pair.sensor)
    (folder / "scene.json").unlink(missing_ok=True)  # its presence means that the images beside it are complete
    _write(folder / "pan.tif", pair.pan, pair, transform, pair.valid, ("PAN",), {})
    _write(folder / "ms.tif", pair.ms, pair, ms_transform, None, pair.sensor.bands, {})
    if pair.truth is not None:
        _write(folder / "truth.tif", pair.truth, pair, transform, None, pair.sensor.bands, {})
    files.write_json(folder / "scene.json", facts)
    return folder


def write_fused(
    path: str | os.PathLike[str], fused: torch.Tensor, pair: Pair, tags: dict[str, Any] | None = None
) -> Path:
    """Write a fused image as GeoTIFF on PAN's grid with MS's bands and data type.

    Args:
        path: the file to write; it appears only when it is complete.
        fused: ``(C, H, W)`` in DN, H and W as PAN.
        pair: the pair it was made from; gives transform, CRS, nodata, band names and data type.
        tags: further GeoTIFF tags, for example the method's name.

    Returns:
        The path.

    Raises:
        ValueError: another shape than PAN's grid and MS's bands, or pixels that are NaN or infinite.
    """
    expected = (pair.bands, *pair.pan.shape[-2:])
    if tuple(fused.shape) != expected:
        raise ValueError(f"fused image is {tuple(fused.shape)}, expected (bands, PAN height, PAN width) = {expected}")
    finite = torch.isfinite(fused)
    bad = ~finite.all(0) if pair.valid is None else ~finite.all(0) & pair.valid.to(fused.device)
    if bad.any():
        raise ValueError(f"fused image has {int(bad.sum())} NaN or infinite pixels: training diverged, lower its rate")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, fused, pair, pair.georef.get("transform"), pair.valid, pair.sensor.bands, tags or {})
    return path


def _sensor(facts: dict[str, Any], path: Path) -> sensors.Sensor:
    """The sensor that a ``scene.json`` names, or, where it is not a built-in one, describes."""
    table = facts.get("sensor_definition")
    return sensors.get(facts["sensor"]) if table is None else sensors.from_table(facts["sensor"], table, str(path))


@dataclass(frozen=True)
class Grid:
    """What is known of two files before their pixels are read; :func:`inspect` makes it."""

    pan_path: Path
    ms_path: Path
    sensor: sensors.Sensor  # with the bit depth of the files
    convention: str
    height: int  # PAN pixels
    width: int
    dtype: str  # of MS
    georef: dict[str, Any]
    where: str  # its CRS, or that there is none

    @property
    def name(self) -> str:
        """PAN's file name, or its folder's where that says nothing about the scene."""
        path = self.pan_path
        return path.parent.resolve().name if path.stem.lower() in GENERIC_NAMES else path.stem


def inspect(pan_path: Path, ms_path: Path, sensor: sensors.Sensor, convention: str = "benchmark") -> Grid:
    """Check all of two files that can be checked without reading pixels; notes are printed.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the files are no rasters, or do not fit together or the sensor.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention {convention!r} is unknown: choose one of {', '.join(CONVENTIONS)}")
    with _opened(pan_path, "PAN") as pan_file, _opened(ms_path, "MS") as ms_file:
        pair_checks.bands(pan_file, ms_file, sensor)
        pair_checks.sizes(pan_file, ms_file, sensor)
        where, note = pair_checks.grids(pan_file, ms_file, sensor)
        sensor, bits_note = pair_checks.dtypes(pan_file, ms_file, sensor)
        georef = {"crs": ms_file.crs, "transform": pan_file.transform, "nodata": ms_file.nodata}
        georef["ms_transform"] = ms_file.transform
        if where == "no georeference":
            georef.update(crs=None, transform=None, ms_transform=None)
        grid = Grid(pan_path, ms_path, sensor, convention, *pan_file.shape, ms_file.dtypes[0], georef, where)
    for line in filter(None, (note, bits_note)):
        print(line)
    return grid


def read_window(grid: Grid, rows: tuple[int, int], cols: tuple[int, int]) -> tuple[Pair, torch.Tensor, torch.Tensor]:
    """Read a part of a pair.

    Args:
        grid: the files.
        rows: first and behind the last, PAN pixels, multiples of the ratio.
        cols: the same for columns.

    Returns:
        The pair, with a ``valid`` even where all is valid, and 0 where either file has nodata; and the pixels that
        are not nodata in PAN ``(H, W)`` and in MS ``(h, w)``, bool.

    Raises:
        ValueError: a file is damaged.
    """
    r = grid.sensor.ratio
    fine = Window(cols[0], rows[0], cols[1] - cols[0], rows[1] - rows[0])
    coarse = Window(cols[0] // r, rows[0] // r, fine.width // r, fine.height // r)
    with _opened(grid.pan_path, "PAN") as pan_file, _opened(grid.ms_path, "MS") as ms_file:
        pan, pan_ok = _pixels(pan_file, "PAN", fine), _mask(pan_file, "PAN", fine)
        ms, ms_ok = _pixels(ms_file, "MS", coarse), _mask(ms_file, "MS", coarse)
    valid = pan_ok & _enlarged(ms_ok, r) & ~((pan[0] == 0) & _enlarged((ms == 0).all(0), r))
    pair = Pair(
        ms=torch.from_numpy(ms),
        pan=torch.from_numpy(pan),
        sensor=grid.sensor,
        name=grid.name,
        convention=grid.convention,
        valid=torch.from_numpy(valid),
        dtype=grid.dtype,
        georef=grid.georef,
    )
    return pair, torch.from_numpy(pan_ok), torch.from_numpy(ms_ok)


def clear_nodata(pair: Pair, pan_ok: torch.Tensor, ms_ok: torch.Tensor) -> None:
    """Set nodata to 0, in place: fill values (often NaN, -9999 or 65535) would spread through every filter."""
    pair.pan[:, ~pan_ok] = 0
    pair.ms[:, ~ms_ok] = 0


def _read(pan_path: Path, ms_path: Path, sensor: sensors.Sensor, name: str | None, convention: str) -> Pair:
    """Read and check a pair of a known sensor."""
    grid = inspect(pan_path, ms_path, sensor, convention)
    pair, pan_ok, ms_ok = read_window(grid, (0, grid.height), (0, grid.width))
    seen = pair_checks.Values(pair, pan_ok, ms_ok)
    pair_checks.values(seen, grid.sensor, (pan_path, ms_path))
    clear_nodata(pair, pan_ok, ms_ok)
    pair.name = name or grid.name
    all_valid = bool(pair.valid.all())
    share = "all pixels valid" if all_valid else f"{100 * pair.valid.double().mean():.1f} % of pixels valid"
    (_, height, width), (bands, h, w) = pair.pan.shape, pair.ms.shape
    print(
        f"Read {pair.name}: {pair.sensor.name}, PAN {height} x {width}, MS {h} x {w} with {bands} bands, "
        f"ratio {pair.ratio}, {pair.dtype}, {pair.sensor.bits} bit, {grid.where}, {share}"
    )
    if all_valid:
        pair.valid = None
    return pair


@contextlib.contextmanager
def _opened(path: Path, what: str) -> Iterator[rasterio.DatasetReader]:
    """Open a raster for reading; errors name the role of the file."""
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{what}: {path} {found}: give the path of a GeoTIFF")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # told in our own words by _check_grids
        try:
            source = rasterio.open(path)
        except RasterioError:
            raise ValueError(f"{what}: {path} is not a raster that GDAL can read: give a GeoTIFF") from None
    with source:
        yield source


def _pixels(source: rasterio.DatasetReader, what: str, window: Window | None = None) -> np.ndarray:
    """All bands as float32, ``(C, H, W)``."""
    try:
        return source.read(out_dtype="float32", window=window)
    except RasterioError:
        message = "cannot be read to its end, it is truncated or damaged: copy or download it again"
        raise ValueError(f"{what}: {source.name} {message}") from None


def _mask(source: rasterio.DatasetReader, what: str, window: Window | None = None) -> np.ndarray:
    """True where no band is nodata, ``(H, W)``; knows nodata values and mask bands."""
    # GDAL takes the fourth of four 8-bit bands for transparency. Here it is a band (NIR): the count was checked.
    if any(MaskFlags.alpha in flags for flags in source.mask_flag_enums):
        return np.ones(source.shape if window is None else (window.height, window.width), bool)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NodataShadowWarning)  # the same misreading, with a nodata value that wins
            return (source.read_masks(window=window) > 0).all(0)
    except RasterioError:
        raise ValueError(f"{what}: the mask of {source.name} cannot be read: copy or download it again") from None


def _enlarged(mask: np.ndarray, ratio: int) -> np.ndarray:
    """MS's mask on PAN's grid."""
    return mask.repeat(ratio, axis=0).repeat(ratio, axis=1)


def fill_value(nodata: float | None, dtype: str, holes: bool) -> float | None:
    """Nodata for files made from a pair: MS's own, or 0 where there are holes without a value for them."""
    kind = np.dtype(dtype)
    if nodata is not None and kind.kind in "iu":
        limits = np.iinfo(kind)
        if math.isnan(nodata) or not limits.min <= nodata <= limits.max:
            nodata = None  # GDAL lets files name a value that their type cannot hold; writing it would fail
    return 0 if nodata is None and holes else nodata


def _write(
    path: Path,
    image: torch.Tensor,
    pair: Pair,
    transform: rasterio.Affine | None,
    valid: torch.Tensor | None,
    names: tuple[str, ...],
    tags: dict[str, Any],
) -> None:
    """Write ``(C, H, W)`` strip by strip, so that only the strip is held a second time in memory."""
    nodata = fill_value(pair.georef.get("nodata"), pair.dtype, pair.valid is not None)
    dtype = np.dtype(pair.dtype)
    profile: dict[str, Any] = {"driver": "GTiff", "count": image.shape[0], "dtype": dtype.name, "nodata": nodata}
    profile.update(height=image.shape[1], width=image.shape[2], tiled=True, blockxsize=BLOCK, blockysize=BLOCK)
    profile.update(compress="deflate", predictor=2 if dtype.kind in "iu" else 3, BIGTIFF="IF_SAFER")
    profile.update(photometric="minisblack", alpha="no")  # or viewers take NIR of four 8-bit bands for transparency
    if transform is not None:
        profile.update(transform=transform, crs=pair.georef.get("crs"))
    with files.replacing(path) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # pairs without georeference are allowed
        with rasterio.open(part, "w", **profile) as target:
            target.descriptions = tuple(names)
            target.update_tags(**{key: str(value) for key, value in tags.items()})
            for top in range(0, image.shape[1], BLOCK):
                strip = image[:, top : top + BLOCK].detach().cpu().double().numpy()
                holes = None if valid is None else ~valid[top : top + BLOCK].cpu().numpy()
                strip = as_dtype(strip, dtype, nodata, holes)
                target.write(strip, window=Window(0, top, strip.shape[2], strip.shape[1]))


def as_dtype(strip: np.ndarray, dtype: np.dtype, nodata: float | None, holes: np.ndarray | None) -> np.ndarray:
    """Round, clip and cast ``(C, h, W)``; holes become nodata, and nothing else does."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        strip = np.clip(np.rint(np.nan_to_num(strip)), limits.min, limits.max)
        if nodata is not None:  # a measured 0 must not turn into a hole
            strip[strip == nodata] = nodata + 1 if nodata < limits.max else nodata - 1
    elif nodata is not None:
        strip[strip == nodata] = np.nextafter(dtype.type(nodata), dtype.type(np.inf))
    if holes is not None:
        strip[:, holes] = 0 if nodata is None else nodata
    return strip.astype(dtype)
