"""A PAN / MS pair of GeoTIFFs as one grid: checked without reading pixels, then read in windows."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import operator
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio import Affine
from rasterio.enums import MaskFlags
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from clippan_lite.data import Pair, pair_checks, registration, sources
from clippan_lite.physics import sensors
from clippan_lite.physics.degrade import CONVENTIONS, check_choice
from clippan_lite.runtime import facts as facts_of
from clippan_lite.runtime import files

# Our own exceptions report read errors; without this the library would print them to stderr, too.
logging.getLogger("rasterio").addHandler(logging.NullHandler())

# Bytes of blocks that GDAL keeps. Its default is a twentieth of the memory, more than all the rest.
CACHE = 64 << 20
# File names that say nothing about the scene.
GENERIC_NAMES = ("pan", "ms", "mul", "image", "panchromatic")
# CLIP's crops in pixels: they must fit into PAN after Wald's protocol has divided it by the ratio.
SMALLEST_CROP = 64


@dataclass(frozen=True)
class Grid:
    """What is known about two files before their pixels are read; :func:`inspect` makes it."""

    pan_path: Path
    ms_path: Path
    sensor: sensors.Sensor  # with the bit depth of the files
    convention: str
    pan_start: tuple[int, int]  # row and column of the common area in PAN
    ms_start: tuple[int, int]  # and in MS
    height: int  # of the common area, PAN pixels
    width: int
    dtype: str  # of MS
    georef: dict[str, Any]  # of the common area, as rasterio takes it
    # Where the geotransforms put MS, if they and not the convention decide.
    offset: registration.Shift | None = None

    @property
    def name(self) -> str:
        """PAN's file name, or its folder's where that says nothing about the scene."""
        path = self.pan_path
        return path.parent.resolve().name if path.stem.lower() in GENERIC_NAMES else path.stem

    @property
    def where(self) -> str:
        """The CRS in words."""
        return (
            str(self.georef["crs"] or "no CRS") if self.georef["transform"] else "no georeference"
        )


def inspect(
    pan_path: Path, ms_path: Path, sensor: sensors.Sensor, convention: str = "benchmark"
) -> Grid:
    """Check everything about two files that needs no pixels; notes are printed.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the files are no rasters, or do not fit together or the sensor.
    """
    check_choice("convention", convention, CONVENTIONS)
    with opened(pan_path, "PAN") as pan, opened(ms_path, "MS") as ms:
        pair_checks.bands(pan.count, ms.count, sensor)
        start = _start_of_ms(pan, ms, sensor)
        if start is None:
            pair_checks.sizes(pan.shape, ms.shape, sensor)
        rows, cols = _common_area(pan, ms, sensor.ratio, start or (0.0, 0.0))
        (top, ms_top, height, down), (left, ms_left, width, right) = rows, cols
        with_bits = _with_bits_of_scene(sensor, pan_path, ms_path)
        grid = Grid(
            pan_path=pan_path,
            ms_path=ms_path,
            sensor=pair_checks.numbers(pan.dtypes[0], ms.dtypes[0], with_bits),
            convention=convention,
            pan_start=(top, left),
            ms_start=(ms_top, ms_left),
            height=height * sensor.ratio,
            width=width * sensor.ratio,
            dtype=ms.dtypes[0],
            georef={"crs": None, "transform": None, "ms_transform": None, "nodata": ms.nodata},
        )
        if start is None:
            print(
                "Neither file has a georeference: both are taken to cover the same area, "
                "the result will have none."
            )
        else:
            grid.georef["crs"] = ms.crs
            grid.georef["transform"] = pan.transform @ Affine.translation(left, top)
            grid.georef["ms_transform"] = ms.transform @ Affine.translation(ms_left, ms_top)
        if any(scale != 1 for scale in ms.scales) or any(ms.offsets):
            grid.georef["scaling"] = (ms.scales, ms.offsets)
        if (grid.height, grid.width) != pan.shape:
            print(
                "PAN and MS do not cover the same area: what they have in common is used, "
                f"PAN {grid.height} x {grid.width} from row {top}, column {left}."
            )
    if "mtf" in grid.sensor.assumed:
        gains = ", ".join(f"{gain:.2g}" for gain in sorted(set(sensor.mtf_ms)))
        print(f"Note: {sensor.name} has no published MTF: gains of {gains} are assumed")
    if grid.sensor.bits != with_bits.bits:
        print(
            f"The files are uint8, {sensor.name} gives {with_bits.bits} bit: using it with 8 bits."
        )
    if max(abs(down), abs(right)) <= 0.01:
        return grid
    line = f"MS starts ({right:.2f}, {down:.2f}) PAN pixels (right, down) off PAN"
    if convention != "geo":
        print(f"{line}: taken as aligned; convention geo uses it.")
        return grid
    print(f"{line}: PAN is shifted onto it.")
    return replace(grid, offset=registration.Shift(-down, -right, 1.0))


def _start_of_ms(
    pan: rasterio.DatasetReader, ms: rasterio.DatasetReader, sensor: sensors.Sensor
) -> tuple[float, float] | None:
    """How far below and right of PAN's corner MS starts, PAN pixels; None without georeference.

    Raises:
        ValueError: the grids differ in more than their start and the sensor's ratio.
    """
    has = [source.crs is not None or not source.transform.is_identity for source in (pan, ms)]
    if not any(has):
        return None
    if not all(has):
        raise ValueError(
            f"only {'PAN' if has[0] else 'MS'} has a georeference: "
            "give it to both files or to neither"
        )
    if pan.crs != ms.crs:
        raise ValueError(
            f"PAN is in {pan.crs}, MS in {ms.crs}: reproject neither, "
            "take both from one product or grid"
        )
    p, m = pan.transform, ms.transform
    for what, t in (("PAN", p), ("MS", m)):
        turned = max(abs(t.b), abs(t.d)) > 1e-6 * max(abs(t.a), abs(t.e))
        if turned or 0 in (t.a, t.e) or not all(map(math.isfinite, t)):
            raise ValueError(
                f"{what} has a geotransform of no north-up grid ({t.a:.6g}, {t.b:.3g}, {t.d:.3g}, "
                f"{t.e:.6g} per pixel): mend the file, or gdalwarp both to a north-up grid"
            )
    found = (m.a / p.a, m.e / p.e)
    if any(abs(r / sensor.ratio - 1) > 1e-3 for r in found):
        raise ValueError(
            f"MS pixels are {found[0]:.4g} x {found[1]:.4g} PAN pixels large, expected "
            f"{sensor.ratio} for {sensor.name}: check the geotransforms (PAN {p.a:.6g}, "
            f"MS {m.a:.6g} per pixel) or choose another sensor"
        )
    return (m.f - p.f) / p.e, (m.c - p.c) / p.a


def _common_area(
    pan: rasterio.DatasetReader,
    ms: rasterio.DatasetReader,
    ratio: int,
    start: tuple[float, float],
) -> list[tuple[int, int, int, float]]:
    """Rows and columns that both files cover, in whole MS pixels.

    Returns:
        Of rows, then of columns: the first one in PAN and in MS, their number in MS pixels, and by
        how many PAN pixels MS still starts behind PAN.

    Raises:
        ValueError: too few of them for the test at reduced resolution.
    """
    firsts = [_first_common(pixels, ratio) for pixels in start]
    if pan.shape == (ms.height * ratio, ms.width * ratio) and max(map(abs, start)) <= ratio:
        firsts = [(0, 0, pixels) for pixels in start]  # one area, cut alike
    common = []
    for fine, coarse, (in_pan, in_ms, offset) in zip(pan.shape, ms.shape, firsts, strict=True):
        size = max(0, min((fine - in_pan) // ratio, coarse - in_ms))
        common.append((in_pan, in_ms, size, offset))
    height, width = (size * ratio for _, _, size, _ in common)
    if min(height, width) < SMALLEST_CROP * ratio:
        raise ValueError(
            f"MS starts {start[1]:.1f} right of and {start[0]:.1f} below PAN; in common are "
            f"{height} x {width} pixels, expected at least {SMALLEST_CROP * ratio} each way, so "
            f"that {SMALLEST_CROP} remain in the {ratio} times reduced test: give files of one "
            "place and a larger area"
        )
    return common


def _first_common(start: float, ratio: int) -> tuple[int, int, float]:
    """The first index of both files in PAN and in MS, and PAN pixels that MS still starts behind.

    Along one axis, where MS starts ``start`` PAN pixels behind PAN.
    """
    in_ms = max(0, math.ceil((-start - 0.5) / ratio))
    in_pan = max(0, round(start + ratio * in_ms))
    return in_pan, in_ms, start + ratio * in_ms - in_pan


def _with_bits_of_scene(sensor: sensors.Sensor, pan: Path, ms: Path) -> sensors.Sensor:
    """The sensor, with the bit depth from a ``scene.json`` beside both files that names it.

    Products in reflectance times 10000, as Maxar's open ones, have other numbers than the camera.
    """
    if pan.parent != ms.parent:
        return sensor
    # Here a file that is missing, or not ours, does no harm; `geotiff.read_scene` reports it.
    with contextlib.suppress(OSError, ValueError):
        facts = facts_of.read(pan.parent / "scene.json")
        bits = facts.whole("bits", 1, 32)
        if facts.text("sensor") == sensor.name and bits != sensor.bits:
            print(
                f"scene.json beside the files says {bits} bit, {sensor.name} gives "
                f"{sensor.bits}: using {bits}."
            )
            return sensors.with_bits(sensor, bits)
    return sensor


def read_window(
    grid: Grid, rows: tuple[int, int], cols: tuple[int, int]
) -> tuple[Pair, torch.Tensor, torch.Tensor]:
    """Read a part of a pair.

    Args:
        grid: the files.
        rows: first and behind the last, PAN pixels, multiples of the ratio.
        cols: the same for columns.

    Returns:
        The pair, with a ``valid`` even where all is valid, and 0 where a file has nodata; and the
        pixels that are not nodata in PAN ``(H, W)`` and in MS ``(h, w)``, bool.

    Raises:
        ValueError: a file is damaged.
    """
    r = grid.sensor.ratio
    (top, left), (row, col) = grid.pan_start, grid.ms_start
    fine = Window(left + cols[0], top + rows[0], cols[1] - cols[0], rows[1] - rows[0])
    coarse = Window(col + cols[0] // r, row + rows[0] // r, fine.width // r, fine.height // r)
    pan, pan_has_data = read_raster(grid.pan_path, "PAN", fine)
    ms, ms_has_data = read_raster(grid.ms_path, "MS", coarse)
    coarse_masks = torch.stack([ms_has_data, (ms != 0).any(0)])
    ms_valid, ms_bright = coarse_masks.repeat_interleave(r, 1).repeat_interleave(r, 2)
    pair = Pair(
        ms=ms,
        pan=pan,
        sensor=grid.sensor,
        name=grid.name,
        convention=grid.convention,
        valid=pan_has_data & ms_valid & ((pan[0] != 0) | ms_bright),
        dtype=grid.dtype,
        georef=grid.georef,
    )
    return pair, pan_has_data, ms_has_data


def read_whole(grid: Grid, name: str | None = None, placed: bool = True) -> Pair:
    """Read and check a whole pair, and print what it is.

    Args:
        grid: the files.
        name: of the pair; by default the grid's.
        placed: move PAN to where the geotransforms put MS.

    Raises:
        ValueError: values that are no digital numbers of the sensor, or a file is damaged.
    """
    pair, *has_data = read_window(grid, (0, grid.height), (0, grid.width))
    pair_checks.values(pair_checks.Values.of(pair, *has_data), grid.sensor)
    pair.name = name or grid.name
    valid = "all pixels valid"
    if pair.mask is not None:
        valid = f"{100 * pair.mask.double().mean():.1f} % of pixels valid"
    (_, height, width), (bands, h, w) = pair.pan.shape, pair.ms.shape
    print(
        f"Read {pair.name}: {pair.sensor.name}, PAN {height} x {width}, MS {h} x {w} with {bands} "
        f"bands, ratio {pair.ratio}, {pair.dtype}, {pair.sensor.bits} bit, {grid.where}, {valid}"
    )
    pair.valid = pair.mask
    if grid.offset is None or not placed:
        return pair
    return replace(registration.correct(pair, grid.offset), name=pair.name)


def parts(grid: Grid, side: int = 1024, count: int = 3) -> tuple[list[Pair], pair_checks.Values]:
    """Parts of a scene, evenly spread and without overlap, to look at or to train on.

    Args:
        grid: the files.
        side: of a part, PAN pixels.
        count: parts each way; fewer where a scene has no room for them.

    Returns:
        Up to ``count`` squared pairs, without those that are mostly nodata (nodata is 0 in them);
        and what all of them hold, for :func:`clippan_lite.data.pair_checks.values`.

    Raises:
        ValueError: NaN or infinite pixels, or a file is damaged.
    """
    axes = []
    for size in (grid.height, grid.width):
        ratio = grid.sensor.ratio
        length = min(size, side // ratio * ratio)
        first = np.linspace(0, size - length, min(count, size // length)).astype(int)
        axes.append([(start, start + length) for start in (first // ratio * ratio).tolist()])
    pairs, values = [], []
    for rows, cols in itertools.product(*axes):
        pair, *has_data = read_window(grid, rows, cols)
        values.append(pair_checks.Values.of(pair, *has_data))
        if pair.valid_pixels.double().mean() > 0.5:
            pairs.append(pair)
    found = functools.reduce(operator.add, values)
    if found.pan.bad or found.ms.bad:
        pair_checks.values(found, grid.sensor)
    return pairs, found


def most_detailed(pairs: list[Pair]) -> Pair:
    """The pair whose PAN varies most: it tells most about a shift."""
    return max(pairs, key=lambda pair: float(pair.pan[0][pair.valid_pixels].std()))


@contextlib.contextmanager
def opened(path: Path, what: str) -> Iterator[rasterio.DatasetReader]:
    """Open a raster for reading; errors, those of reading it included, name the file's role."""
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{what}: {path} {found}: give the path of a GeoTIFF")
    with warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=CACHE):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # `inspect` says it in our words
        warnings.simplefilter("ignore", NodataShadowWarning)  # see `read_raster`
        try:
            source = rasterio.open(path, driver=sources.driver(path))
        except files.Refused as error:
            raise ValueError(f"{what}: {error}") from None
        except RasterioError:
            raise ValueError(
                f"{what}: {path} is not a raster that GDAL can read: give a GeoTIFF"
            ) from None
        try:
            with source:
                yield source
        except RasterioError:
            raise ValueError(
                f"{what}: {path} cannot be read to its end, it is truncated or damaged: "
                "copy or download it again"
            ) from None


def read_raster(
    path: Path, what: str, window: Window | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """All bands ``(C, H, W)`` as float32, nodata set to 0; and where no band is nodata ``(H, W)``.

    Raises:
        FileNotFoundError, ValueError: as :func:`opened`; they name the role of the file, ``what``.
    """
    with opened(path, what) as source:
        height, width = (window.height, window.width) if window else source.shape
        files.check_size(4 * source.count * height * width, f"{what}: {path}")
        pixels = source.read(out_dtype="float32", window=window)
        has_data = np.ones(pixels.shape[1:], bool)
        # GDAL takes the fourth of four 8-bit bands for transparency. Here it is a band (NIR).
        if not any(MaskFlags.alpha in flags for flags in source.mask_flag_enums):
            has_data = (source.read_masks(window=window) > 0).all(0)
    pixels[:, ~has_data] = 0  # fill values (NaN, -9999, 65535) would spread through every filter
    return torch.from_numpy(pixels), torch.from_numpy(has_data)
