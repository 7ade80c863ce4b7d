"""A PAN / MS pair of GeoTIFFs as one grid: checked without reading pixels, then read in windows."""

from __future__ import annotations

import contextlib
import functools
import glob
import itertools
import logging
import math
import operator
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio import Affine
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from clippan_lite.data import Pair, declared, pair_checks, places, registration, sources
from clippan_lite.physics import sensors
from clippan_lite.physics.resample import CONVENTIONS, check_choice
from clippan_lite.physics.windows import fill
from clippan_lite.runtime import facts as facts_of

# Our own exceptions report read errors; without this the library would print them to stderr, too.
logging.getLogger("rasterio").addHandler(logging.NullHandler())

# Bytes of blocks that GDAL keeps. Its default is a twentieth of the memory, more than all the rest.
CACHE = 64 << 20
# File names that say nothing about the scene.
GENERIC_NAMES = ("pan", "ms", "mul", "image", "panchromatic")
# CLIP's crops in pixels: they must fit into PAN after Wald's protocol has divided it by the ratio.
SMALLEST_CROP = 64
MOST_DRIFT = 0.5  # PAN pixels by which MS may drift off PAN over the scene
RESAMPLED = 0.02  # relative difference in pixel size up to which a file has just been resampled
ROUNDING = 1e-3  # PAN pixels that geotransforms are rounded by
#: Names of files that GDAL finds in archives and on servers, and rasterio's for the same.
VIRTUAL = re.compile(r"(^|[/\\])vsi\w+[/\\]|(^|[/\\])[a-z][a-z0-9+]+:([/\\]|$)", re.IGNORECASE)


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
    pan_band: tuple[int]  # numbers of the bands in the files, from 1
    ms_bands: tuple[int, ...]  # in the sensor's order
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
        if self.georef["transform"]:
            return places.crs_name(self.georef["crs"])
        return "no georeference but RPCs" if "rpcs" in self.georef else "no georeference"


def inspect(
    pan_path: Path,
    ms_path: Path,
    sensor: sensors.Sensor,
    convention: str = "benchmark",
    bands: str | None = None,
) -> Grid:
    """Check everything about two files that needs no pixels; notes are printed.

    Args:
        pan_path: PAN.
        ms_path: MS.
        sensor: whose pair it is.
        convention: resampling convention.
        bands: which of MS's bands are the sensor's, see `clippan_lite.data.declared`; None takes
            what the file says of them.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the files are no rasters, or do not fit together or the sensor.
    """
    check_choice("convention", convention, CONVENTIONS)
    if convention == "benchmark" and sensor.ratio & (sensor.ratio - 1):
        raise ValueError(
            f"{sensor.name} has the ratio {sensor.ratio}; convention benchmark takes powers of two "
            "only: take --convention geo (in Python convention='geo')"
        )
    with opened(pan_path, "PAN") as pan, opened(ms_path, "MS") as ms:
        pan_band = declared.band_of_pan(pan, sensor, ms)
        ms_bands = declared.bands_of_ms(ms, sensor, bands)
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
            pan_band=pan_band,
            ms_bands=ms_bands,
            height=height * sensor.ratio,
            width=width * sensor.ratio,
            dtype=ms.dtypes[0],
            georef={"crs": None, "transform": None, "ms_transform": None, "nodata": ms.nodata},
        )
        grid.georef.update(places.of_pan(pan, top, left))
        carried = [name for name in ("rpcs", "gcps") if name in grid.georef]
        if start is None:
            words = " and ".join(name.upper().replace("S", "s") for name in carried)
            result = f"PAN's {words}" if carried else "none"
            print(
                "Neither file has a georeference: both are taken to cover the same area, "
                f"the result will have {result}."
            )
        else:
            grid.georef["crs"] = ms.crs
            grid.georef["transform"] = pan.transform @ Affine.translation(left, top)
            grid.georef["ms_transform"] = ms.transform @ Affine.translation(ms_left, ms_top)
        scales, offsets = (tuple(x[n - 1] for n in ms_bands) for x in (ms.scales, ms.offsets))
        if any(scale != 1 for scale in scales) or any(offsets):
            grid.georef["scaling"] = (scales, offsets)
        _tell_what_differs(pan, ms, grid)
        if (grid.height, grid.width) != pan.shape:
            print(
                "PAN and MS do not cover the same area: what they have in common is used, "
                f"PAN {grid.height} x {grid.width} from row {top}, column {left}."
            )
    if "mtf" in grid.sensor.assumed:
        gains = ", ".join(f"{gain:.2g}" for gain in sorted(set(sensor.mtf_ms)))
        print(f"Note: {sensor.name} has no published MTF: gains of {gains} are assumed")
    unseen = declared.outside_pan(sensor)
    if unseen:
        print(
            f"Note: PAN of {sensor.name} sees hardly any light of {', '.join(unseen)}: fine detail "
            "there is that of other bands"
        )
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
    if not places.same_crs(pan.crs, ms.crs):
        names = [places.crs_name(source.crs) for source in (pan, ms)]
        advice = "reproject neither, take both from one product or grid"
        if None in (pan.crs, ms.crs):
            advice = "name it in both (gdal_edit -a_srs)"
        raise ValueError(f"PAN is in {names[0]}, MS in {names[1]}: {advice}")
    p, m = pan.transform, ms.transform
    for what, t in (("PAN", p), ("MS", m)):
        turned = max(abs(t.b), abs(t.d)) > 1e-6 * max(abs(t.a), abs(t.e))
        if turned or 0 in (t.a, t.e) or not all(map(math.isfinite, t)):
            raise ValueError(
                f"{what} has a geotransform of no north-up grid ({t.a:.6g}, {t.b:.3g}, {t.d:.3g}, "
                f"{t.e:.6g} per pixel): mend the file, or gdalwarp both to a north-up grid"
            )
    found = (float(m.a / p.a), float(m.e / p.e))
    if min(found) < 0:
        raise ValueError(
            f"PAN and MS are mirrored against each other (PAN {p.a:.6g}, {p.e:.6g}, MS {m.a:.6g}, "
            f"{m.e:.6g} per pixel): gdalwarp the south-up one to a north-up grid"
        )
    start = places.apart(p, m)
    drifts = [abs(r / sensor.ratio - 1) * n for r, n in zip(found, pan.shape[::-1], strict=True)]
    nested = pan.shape == (ms.height * sensor.ratio, ms.width * sensor.ratio)
    if "NITF" in (pan.driver, ms.driver) and nested and max(*drifts, *map(abs, start)) > MOST_DRIFT:
        print(
            "Note: corner coordinates of a NITF are rounded, and these put MS "
            f"{max(*drifts, *map(abs, start)):.1f} PAN pixels off PAN: the files have the same "
            "shape and are taken to cover the same area"
        )
        return 0.0, 0.0
    if max(drifts) > MOST_DRIFT:
        advice = "check the geotransforms or choose another sensor"
        if all(abs(r / sensor.ratio - 1) < RESAMPLED for r in found):
            advice = (
                f"MS drifts off PAN by {max(drifts):.1f} PAN pixels over the scene; put it on "
                f"PAN's grid: {_warp_command(pan, ms, sensor.ratio)}"
            )
        raise ValueError(
            f"MS pixels are {found[0]:.7g} x {found[1]:.7g} PAN pixels large, expected "
            f"{sensor.ratio} for {sensor.name} (PAN {p.a:.9g}, MS {m.a:.9g} per pixel): {advice}"
        )
    return start


def _warp_command(pan: rasterio.DatasetReader, ms: rasterio.DatasetReader, ratio: int) -> str:
    """The command that puts MS on PAN's grid, in pixels that are exactly ``ratio`` times larger."""
    t, (height, width) = pan.transform, (side // ratio * ratio for side in pan.shape)
    x, y = sorted((t.c, t.c + t.a * width)), sorted((t.f, t.f + t.e * height))
    size = " ".join(f"{abs(side) * ratio:.12g}" for side in (t.a, t.e))
    extent = " ".join(f"{value:.12g}" for value in (x[0], y[0], x[1], y[1]))
    name = Path(ms.name)
    return f"gdalwarp -r cubic -tr {size} -te {extent} {name.name} {name.stem}_on_pan.tif"


def _tell_what_differs(pan: rasterio.DatasetReader, ms: rasterio.DatasetReader, grid: Grid) -> None:
    """Print what the files say differently of themselves, where that may be a mistake."""
    scalings = [
        {(s.scales[n - 1], s.offsets[n - 1]) for n in bands}
        for s, bands in ((pan, grid.pan_band), (ms, grid.ms_bands))
    ]
    if scalings[0] != scalings[1]:
        words = [", ".join(f"{a:.6g} * DN + {b:.6g}" for a, b in sorted(s)) for s in scalings]
        print(
            f"Note: PAN is scaled by {words[0]} and MS by {words[1]}; digital numbers are fused "
            "as they are, and MS's scaling goes into the result"
        )
    kinds = [source.tags().get("AREA_OR_POINT", "Area") for source in (pan, ms)]
    if kinds[0] != kinds[1] and grid.georef["transform"] is not None:
        print(
            f"Note: PAN's geotransform is for a pixel's {kinds[0].lower()}, MS's for its "
            f"{kinds[1].lower()} (AREA_OR_POINT); GDAL has allowed for half a pixel"
        )
    if ms.rpcs is not None and pan.rpcs is None:
        print("Note: MS has RPCs and PAN has none: the result will have none")
    if ms.crs != pan.crs and grid.georef["transform"] is not None:
        print(
            f"Note: PAN is in {places.crs_name(pan.crs)}, MS in {places.crs_name(ms.crs)}: "
            "horizontally one, the result is in MS's"
        )


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
    common = []
    for fine, coarse, (in_pan, in_ms, offset) in zip(pan.shape, ms.shape, firsts, strict=True):
        size = max(0, min((fine - in_pan) // ratio, coarse - in_ms))
        common.append((in_pan, in_ms, size, offset))
    height, width = (size * ratio for _, _, size, _ in common)
    if min(height, width) < SMALLEST_CROP * ratio:
        away = ""
        if max(map(abs, start)) >= 0.05:
            away = f"MS starts {start[1]:.1f} right of and {start[0]:.1f} below PAN; "
        raise ValueError(
            f"{away}PAN and MS have {height} x {width} PAN pixels in common, expected at least "
            f"{SMALLEST_CROP * ratio} each way, so that {SMALLEST_CROP} remain in the "
            f"{ratio} times reduced test: give files of one place and a larger area"
        )
    return common


def _first_common(start: float, ratio: int) -> tuple[int, int, float]:
    """The first index of both files in PAN and in MS, and PAN pixels that MS still starts behind.

    Along one axis, where MS starts ``start`` PAN pixels behind PAN.
    """
    # Half a pixel is what files have whose pixels are points, but for the last digits.
    in_ms = max(0, math.ceil((-start - 0.5 - ROUNDING) / ratio))
    in_pan = max(0, math.ceil(start + ratio * in_ms - 0.5 - ROUNDING))
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
        pixels that are not nodata in PAN ``(H, W)`` and in any band of MS ``(h, w)``, bool.

    Raises:
        ValueError: a file is damaged.
    """
    r = grid.sensor.ratio
    (top, left), (row, col) = grid.pan_start, grid.ms_start
    fine = Window(left + cols[0], top + rows[0], cols[1] - cols[0], rows[1] - rows[0])
    coarse = Window(col + cols[0] // r, row + rows[0] // r, fine.width // r, fine.height // r)
    pan, pan_has_bands = read_raster(grid.pan_path, "PAN", fine, grid.pan_band)
    ms, ms_has_bands = read_raster(grid.ms_path, "MS", coarse, grid.ms_bands)
    pan_has_data, ms_has_data = pan_has_bands[0], ms_has_bands.any(0)
    band_holes = ms_has_data & ~ms_has_bands
    # Where all is 0, both images hold nothing, whatever the files say; the edge of such a hole
    # may cut an MS pixel.
    cells = (pan[0] == 0).view(ms.shape[1], r, ms.shape[2], r)
    nothing = (ms == 0).all(0) & cells.any(3).any(1)
    ms_valid = (ms_has_data & ~nothing).repeat_interleave(r, 0).repeat_interleave(r, 1)
    pair = Pair(
        ms=ms,
        pan=pan,
        sensor=grid.sensor,
        name=grid.name,
        convention=grid.convention,
        valid=pan_has_data & ms_valid,
        dtype=grid.dtype,
        georef=grid.georef,
        band_holes=band_holes if band_holes.any() else None,
        files=(grid.pan_path, grid.ms_path),
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


def parts(
    grid: Grid, side: int = 1024, count: int = 3
) -> tuple[dict[tuple[int, int], Pair], pair_checks.Values]:
    """Parts of a scene, evenly spread and without overlap, to look at or to train on.

    Args:
        grid: the files.
        side: of a part, PAN pixels.
        count: parts each way; fewer where a scene has no room for them.

    Returns:
        Up to ``count`` squared pairs by the PAN row and column that they begin at, without those
        that are mostly nodata (nodata is 0 in them); and what all of them hold, for
        :func:`clippan_lite.data.pair_checks.values`.

    Raises:
        ValueError: NaN or infinite pixels, or a file is damaged.
    """
    axes = []
    for size in (grid.height, grid.width):
        ratio = grid.sensor.ratio
        length = min(size, side // ratio * ratio)
        first = np.linspace(0, size - length, min(count, size // length)).astype(int)
        axes.append([(start, start + length) for start in (first // ratio * ratio).tolist()])
    pairs, values = {}, []
    for rows, cols in itertools.product(*axes):
        pair, *has_data = read_window(grid, rows, cols)
        values.append(pair_checks.Values.of(pair, *has_data))
        if pair.valid_pixels.double().mean() > 0.5:
            pairs[rows[0], cols[0]] = pair
    found = functools.reduce(operator.add, values)
    if found.pan.bad or found.ms.bad:
        pair_checks.values(found, grid.sensor)
    return pairs, found


@contextlib.contextmanager
def opened(path: Path, what: str) -> Iterator[rasterio.DatasetReader]:
    """Open a raster for reading; errors, those of reading it included, name the file's role."""
    if VIRTUAL.search(str(path)):
        raise ValueError(
            f"{what}: {path} lies in an archive or on a server, which is not read here: "
            "unpack it, or fetch it with gdal_translate, and give that file"
        )
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{what}: {path} {found}: give the path of a GeoTIFF")
    with warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=CACHE):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # `inspect` says it in our words
        warnings.simplefilter("ignore", NodataShadowWarning)  # see `read_raster`
        try:
            source = rasterio.open(path, driver=sources.driver(path))
        except sources.Refused as error:
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


def whole_path(path: str | os.PathLike[str]) -> Path:
    """The absolute path of a file; names of GDAL's own file systems stay as they are."""
    return Path(path) if VIRTUAL.search(str(path)) else Path(path).resolve()


def files_behind(path: Path) -> set[Path]:
    """All files that a raster is read from: itself, its sidecars, and those that a VRT names."""
    beside = [path.with_suffix(".tfw"), *path.parent.glob(f"{glob.escape(path.name)}.*")]
    found: set[Path] = set()
    left = [path, *beside]
    while left:
        file = left.pop().resolve()
        if file in found or not file.is_file():
            continue
        found.add(file)
        with contextlib.suppress(ValueError, OSError), opened(file, "input") as source:
            left += map(Path, source.files)
    return found


def read_raster(
    path: Path, what: str, window: Window | None = None, bands: Sequence[int] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bands ``(C, H, W)`` as float32, and where each of them holds data, ``(C, H, W)`` bool.

    A band holds no data where the file says so (nodata, alpha, mask) and where it is NaN. Where all
    bands hold none, they are 0. Where single bands hold none, they get values from nearby, because
    fill values (NaN, -9999, 65535) would spread through every filter.

    Args:
        path: of the raster.
        what: its role, for messages.
        window: to read; None reads all.
        bands: numbers of the bands, from 1; None reads all of them.

    Raises:
        FileNotFoundError, ValueError: as :func:`opened`; they name the role of the file, ``what``.
    """
    with opened(path, what) as source:
        bands = list(bands or source.indexes)
        height, width = (window.height, window.width) if window else source.shape
        sources.check_size(4 * len(bands) * height * width, f"{what}: {path}")
        pixels = source.read(bands, out_dtype="float32", window=window)
        has_data = ~np.isnan(pixels)
        # GDAL takes the fourth of four 8-bit bands for transparency. Here it is a band (NIR).
        is_alpha = [source.colorinterp[band - 1] is ColorInterp.alpha for band in bands]
        flags = [MaskFlags.alpha in source.mask_flag_enums[band - 1] for band in bands]
        if not (any(is_alpha) and any(flags)):
            has_data &= source.read_masks(bands, window=window) > 0
        for band in source.indexes:  # GDAL's masks heed it in files of 2 or 4 bands only
            if band not in bands and source.colorinterp[band - 1] is ColorInterp.alpha:
                has_data &= source.read(band, window=window) > 0
    anywhere = has_data.any(0)
    for band, known in zip(pixels, has_data, strict=True):
        if (anywhere & ~known).any():
            _fill_band(band, known)
    pixels[:, ~anywhere] = 0
    return torch.from_numpy(pixels), torch.from_numpy(has_data)


def _fill_band(band: np.ndarray, known: np.ndarray) -> None:
    """Fill what is not known of a band ``(H, W)``, in place, from nearby; 0 where nothing is."""
    if not known.any():
        band[:] = 0
        return
    filled = fill(torch.from_numpy(band)[None], torch.from_numpy(known))
    band[:] = filled[0].numpy()
