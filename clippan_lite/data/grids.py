"""A PAN / MS pair of GeoTIFFs as one grid: checked without reading pixels, then read window by window."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio import Affine
from rasterio.enums import MaskFlags
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from clippan_lite.data import Pair, pair_checks, registration
from clippan_lite.physics import sensors
from clippan_lite.physics.degrade import CONVENTIONS, check_choice

# Read errors are told by our own exceptions; without this the library's copy of them would precede ours on stderr.
logging.getLogger("rasterio").addHandler(logging.NullHandler())

CACHE = (
    64 << 20
)  # bytes of blocks that GDAL keeps; its default, a twentieth of the memory, is most of what is used
GENERIC_NAMES = (
    "pan",
    "ms",
    "mul",
    "image",
    "panchromatic",
)  # file names that say nothing about the scene


@dataclass(frozen=True)
class Grid:
    """What is known of two files before their pixels are read; :func:`inspect` makes it."""

    pan_path: Path
    ms_path: Path
    sensor: sensors.Sensor  # with the bit depth of the files
    convention: str
    pan_start: tuple[int, int]  # row and column of the common area in PAN
    ms_start: tuple[int, int]  # and in MS
    height: int  # of the common area, PAN pixels
    width: int
    dtype: str  # of MS
    georef: dict[str, Any]  # of the common area
    where: str  # its CRS, or that there is none
    offset: (
        registration.Shift | None
    )  # where the geotransforms put MS, if not where the convention does

    @property
    def name(self) -> str:
        """PAN's file name, or its folder's where that says nothing about the scene."""
        path = self.pan_path
        return path.parent.resolve().name if path.stem.lower() in GENERIC_NAMES else path.stem


def inspect(
    pan_path: Path, ms_path: Path, sensor: sensors.Sensor, convention: str = "benchmark"
) -> Grid:
    """Check all of two files that can be checked without reading pixels; notes are printed.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the files are no rasters, or do not fit together or the sensor.
    """
    check_choice("convention", convention, CONVENTIONS)
    with opened(pan_path, "PAN") as pan_file, opened(ms_path, "MS") as ms_file:
        pair_checks.bands(pan_file, ms_file, sensor)
        where, apart = pair_checks.grids(pan_file, ms_file, sensor)
        area = pair_checks.common(pan_file, ms_file, sensor, apart)
        sensor, bits_note = pair_checks.dtypes(
            pan_file, ms_file, _with_bits_of_scene(sensor, pan_path, ms_path)
        )
        georef: dict[str, Any] = {
            "crs": None,
            "transform": None,
            "ms_transform": None,
            "nodata": ms_file.nodata,
        }
        if apart is None:
            print(
                "Neither file has a georeference: both are taken to cover the same area, the result will have none."
            )
        else:
            transforms = (
                file.transform @ Affine.translation(*reversed(start))
                for file, start in ((pan_file, area.pan), (ms_file, area.ms))
            )
            georef |= dict(
                zip(("transform", "ms_transform"), transforms, strict=True), crs=ms_file.crs
            )
        if any(scale != 1 for scale in ms_file.scales) or any(ms_file.offsets):
            georef["scaling"] = (ms_file.scales, ms_file.offsets)
        height, width = (n * sensor.ratio for n in area.size)
        if (height, width) != pan_file.shape:
            place = f"PAN {height} x {width} from row {area.pan[0]}, column {area.pan[1]}"
            print(
                f"PAN and MS do not cover the same area: what they have in common is used, {place}."
            )
        dtype = ms_file.dtypes[0]
    offset = None
    if max(map(abs, area.apart)) > 0.01:
        line = (
            f"MS starts ({area.apart[0]:.2f}, {area.apart[1]:.2f}) PAN pixels (right, down) off PAN"
        )
        if convention == "geo":
            offset = registration.Shift(-area.apart[1], -area.apart[0], 1.0)
            print(f"{line}: PAN is shifted onto it.")
        else:
            print(f"{line}: taken as aligned; convention geo uses it.")
    if bits_note:
        print(bits_note)
    return Grid(
        pan_path,
        ms_path,
        sensor,
        convention,
        area.pan,
        area.ms,
        height,
        width,
        dtype,
        georef,
        where,
        offset,
    )


def _with_bits_of_scene(sensor: sensors.Sensor, pan: Path, ms: Path) -> sensors.Sensor:
    """The sensor with the bit depth that a ``scene.json`` beside both files tells, where it names this sensor.

    Products in reflectance times 10000, as Maxar's open ones, have other numbers than the camera.
    """
    try:
        facts = (
            json.loads((pan.parent / "scene.json").read_text(encoding="utf-8"))
            if pan.parent == ms.parent
            else {}
        )
        bits = int(facts["bits"]) if facts["sensor"] == sensor.name else sensor.bits
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):  # none, or not ours: `geotiff.read_scene` tells what is wrong
        return sensor
    if bits == sensor.bits:
        return sensor
    print(
        f"scene.json beside the files says {bits} bit, {sensor.name} gives {sensor.bits}: using {bits}."
    )
    return sensors.with_bits(sensor, bits)


def read_window(
    grid: Grid, rows: tuple[int, int], cols: tuple[int, int]
) -> tuple[Pair, torch.Tensor, torch.Tensor]:
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
    (top, left), (row, col) = grid.pan_start, grid.ms_start
    fine = Window(left + cols[0], top + rows[0], cols[1] - cols[0], rows[1] - rows[0])
    coarse = Window(col + cols[0] // r, row + rows[0] // r, fine.width // r, fine.height // r)
    with opened(grid.pan_path, "PAN") as pan_file, opened(grid.ms_path, "MS") as ms_file:
        pan, pan_ok = pixels(pan_file, "PAN", fine), _mask(pan_file, "PAN", fine)
        ms, ms_ok = pixels(ms_file, "MS", coarse), _mask(ms_file, "MS", coarse)
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


def parts(grid: Grid, side: int = 1024, count: int = 3) -> tuple[list[Pair], pair_checks.Values]:
    """Parts of a scene, evenly spread, to be looked at or trained on; they do not overlap.

    Args:
        grid: the files.
        side: of a part, PAN pixels.
        count: parts each way; fewer where a scene has no room for them.

    Returns:
        Up to ``count`` squared pairs, without those that are mostly nodata (nodata is 0 in them); and what was seen of
        the values, for :func:`clippan_lite.data.pair_checks.values`.

    Raises:
        ValueError: NaN or infinite pixels, or a file is damaged.
    """
    r, pairs, seen, axes = grid.sensor.ratio, [], None, []
    for size in (grid.height, grid.width):
        length = min(size, side // r * r)
        starts = np.linspace(0, size - length, min(count, size // length)).astype(int) // r * r
        axes.append([(int(start), int(start) + length) for start in starts])
    for spans in itertools.product(*axes):
        pair, *ok = read_window(grid, *spans)
        values = pair_checks.Values(pair, *ok)
        seen = values if seen is None else seen + values
        clear_nodata(pair, *ok)
        if pair.valid.double().mean() > 0.5:
            pairs.append(pair)
    if any(seen.bad.values()):
        pair_checks.values(seen, grid.sensor, (grid.pan_path, grid.ms_path))
    return pairs, seen


def most_detailed(pairs: list[Pair]) -> Pair:
    """The pair whose PAN tells most about a shift."""
    return max(
        pairs,
        key=lambda pair: float(
            (pair.pan[0] if pair.valid is None else pair.pan[0][pair.valid]).std()
        ),
    )


def clear_nodata(pair: Pair, pan_ok: torch.Tensor, ms_ok: torch.Tensor) -> None:
    """Set nodata to 0, in place: fill values (often NaN, -9999 or 65535) would spread through every filter."""
    pair.pan[:, ~pan_ok] = 0
    pair.ms[:, ~ms_ok] = 0


@contextlib.contextmanager
def opened(path: Path, what: str) -> Iterator[rasterio.DatasetReader]:
    """Open a raster for reading; errors name the role of the file."""
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{what}: {path} {found}: give the path of a GeoTIFF")
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", NotGeoreferencedWarning
        )  # told in our own words by _check_grids
        try:
            source = rasterio.open(path)
        except RasterioError:
            raise ValueError(
                f"{what}: {path} is not a raster that GDAL can read: give a GeoTIFF"
            ) from None
    with source, rasterio.Env(GDAL_CACHEMAX=CACHE):
        yield source


def pixels(source: rasterio.DatasetReader, what: str, window: Window | None = None) -> np.ndarray:
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
            warnings.simplefilter(
                "ignore", NodataShadowWarning
            )  # the same misreading, with a nodata value that wins
            return (source.read_masks(window=window) > 0).all(0)
    except RasterioError:
        raise ValueError(
            f"{what}: the mask of {source.name} cannot be read: copy or download it again"
        ) from None


def _enlarged(mask: np.ndarray, ratio: int) -> np.ndarray:
    """MS's mask on PAN's grid."""
    return mask.repeat(ratio, axis=0).repeat(ratio, axis=1)
