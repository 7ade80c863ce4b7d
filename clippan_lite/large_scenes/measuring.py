"""Every figure of a fused image on disk, whoever made it, beside rows to compare with."""

from __future__ import annotations

import csv
import functools
import io
import itertools
import json
import math
import operator
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rasterio.windows import Window
from tqdm import tqdm

from clippan_lite import classical
from clippan_lite.data import declared, fused_checks, geotiff, grids, registration
from clippan_lite.data.parts import middle_of
from clippan_lite.large_scenes import survey
from clippan_lite.large_scenes.fusing import fuse_scene
from clippan_lite.metrics import evaluation
from clippan_lite.metrics.sums import BLOCK, Errors, Sums, of_errors, of_scene
from clippan_lite.physics import sensors

#: Rows beside the image: name -> classical method and rounds of back-projection. EXP comes first,
#: because it scores well in HQNR and QNR without any detail of PAN.
BESIDE = {
    "EXP": ("EXP", 0),
    "BDSD-PC": ("BDSD-PC", 0),
    "BDSD-PC + 3 rounds": ("BDSD-PC", 3),
    "MTF-GLP-HPM + 3 rounds": ("MTF-GLP-HPM", 3),
}
LARGE = 4096  # PAN pixels: larger scenes are handled in windows
SIDE = 2048  # of a window, PAN pixels
MEASURED = "the image to be measured"
Rows = dict[str, dict[str, float]]


def measure(
    fused: str | Path,
    pan: str | Path,
    ms: str | Path,
    sensor: str,
    truth: str | Path | None = None,
    convention: str = "benchmark",
    beside: bool = True,
    register: bool = False,
    bands: str | None = None,
) -> Rows:
    """Figures of a fused GeoTIFF, and of the rows `BESIDE` on the same pair.

    Args:
        fused: GeoTIFF on PAN's grid, MS's bands, DN.
        pan: panchromatic GeoTIFF.
        ms: multispectral GeoTIFF.
        sensor: name in the sensor table, or a sensor file.
        truth: GeoTIFF of the true image on PAN's grid, where it is known.
        convention: ``"benchmark"`` or ``"geo"``.
        beside: whether the rows to compare with are made, which takes a second per megapixel. Of a
            scene of more than 4096 PAN pixels each way they pass through a temporary file.

        register: shift PAN onto MS first, as `fuse_scene` did for the image.
        bands: which of MS's bands are the sensor's, as in `geotiff.read_pair`.

    Returns:
        Row -> figure -> value, the image's row first, named after its file.

    Raises:
        ValueError: images that do not fit each other.
    """
    grid = grids.inspect(Path(pan), Path(ms), sensors.get(sensor), convention, bands)
    name = Path(fused).name + (" (file)" if Path(fused).name in BESIDE else "")
    if max(grid.height, grid.width) > LARGE:
        if register:
            raise ValueError(
                f"register: expected at most {LARGE} PAN pixels each way, found {grid.height} x "
                f"{grid.width}: measure a part"
            )
        true_file = None if truth is None else Path(truth)
        return _measure_large(name, Path(fused), grid, sensor, true_file, beside)
    pair = geotiff.read_pair(pan, ms, sensor, convention=convention, register=register, bands=bands)
    grid = replace(grid, georef=pair.georef)
    image, valid = read_like(fused, bands_like(fused, grid))
    _tell_what_tags_say(Path(fused), grid)
    fused_checks.tell(name, image, replace(pair, valid=pair.valid_pixels & valid))
    missing = int((pair.valid_pixels & ~valid).sum())
    if missing:
        share = missing / int(pair.valid_pixels.sum())
        print(
            f"Note: {name} holds no data at {missing} pixels ({share:.1%}) where PAN and MS do: "
            "they do not count"
        )
    if truth is not None:
        pair.truth, known = read_like(truth, bands_like(truth, grid))
        valid &= known
        fused_checks.tell(Path(truth).name, pair.truth, replace(pair, valid=valid))
    if not valid.all():
        pair.valid = pair.valid_pixels & valid
    rows = {name: evaluation.evaluate(image, pair)}
    for name, (method, rounds) in BESIDE.items() if beside else ():
        rows[name] = evaluation.evaluate(classical.fuse(method, pair, rounds), pair)
    return rows


def _measure_large(
    name: str, fused: Path, grid: grids.Grid, sensor: str, truth: Path | None, beside: bool
) -> Rows:
    """The rows of a scene that is handled in windows. Rows to compare with are fused on disk."""
    ratio = grid.sensor.ratio
    parts = (middle_of(side // ratio, fused_checks.SIDE) for side in (grid.height, grid.width))
    down, right = (slice(part.start * ratio, part.stop * ratio) for part in parts)
    middle = (down, right)
    pair, _, _ = grids.read_window(grid, *((part.start, part.stop) for part in middle))
    for path in filter(None, (fused, truth)):
        image, valid = read_like(path, bands_like(path, grid), middle)
        fused_checks.tell(path.name, image, replace(pair, valid=pair.valid_pixels & valid))
    _tell_what_tags_say(fused, grid)
    rows = {name: in_windows(fused, grid, truth)}
    scene = (grid.pan_path, grid.ms_path)
    with tempfile.TemporaryDirectory() as folder:
        for name, (method, rounds) in BESIDE.items() if beside else ():
            out = fuse_scene(
                *scene,
                Path(folder) / "row.tif",
                sensor,
                method=method,
                convention=grid.convention,
                rounds=rounds,
                dtype="float32",
                bands=",".join(map(str, grid.ms_bands)),
            )
            rows[name] = in_windows(out, grid, truth, name)
    return rows


def in_windows(
    fused: Path, grid: grids.Grid, truth: Path | None = None, name: str = ""
) -> dict[str, float]:
    """Figures of a fused GeoTIFF of any size, in constant memory.

    The sums are those of the whole, but for blocks at the scene's edge: there, interpolation wraps
    around the window instead of the scene.

    Args:
        fused: GeoTIFF on PAN's grid.
        grid: the pair's files.
        truth: GeoTIFF of the true image.
        name: for the progress bar; the file's by default.

    Raises:
        ValueError: images that do not fit each other.
    """
    unit = BLOCK * grid.sensor.ratio
    spans = [_spans(side, unit) for side in (grid.height, grid.width)]
    bands = bands_like(fused, grid)
    true_bands = () if truth is None else bands_like(truth, grid)
    places = list(itertools.product(*spans))
    found: list[Sums] = []
    errors: list[Errors] = []
    for (rows, tall), (cols, wide) in tqdm(places, name or fused.name, unit="window"):
        pair, _, _ = grids.read_window(grid, (tall.start, tall.stop), (wide.start, wide.stop))
        if grid.offset is not None:
            pair = registration.correct(pair, grid.offset)
        image, valid = read_like(fused, bands, (tall, wide))
        if truth is not None:
            true_image, known = read_like(truth, true_bands, (tall, wide))
            valid &= known
        valid &= pair.valid_pixels if pair.with_all_bands is None else pair.with_all_bands
        inside = (_within(rows, tall), _within(cols, wide))
        scene = (image, pair.ms, pair.pan, pair.sensor, pair.convention)
        found.append(of_scene(*scene, valid, inside))
        if truth is not None:
            errors.append(of_errors(image, true_image, valid, inside))
    figures = functools.reduce(operator.add, found).figures(grid.sensor.ratio)
    figures = {key: figures[key] for key in evaluation.FULL}
    if errors:
        peak = 2.0**grid.sensor.bits - 1
        figures |= functools.reduce(operator.add, errors).figures(grid.sensor.ratio, peak)
    return figures


def _tell_what_tags_say(path: Path, grid: grids.Grid) -> None:
    """Print what the tags that `fuse_scene` writes say of other inputs or settings.

    The pixels of large scenes are not compared.
    """
    with grids.opened(path, MEASURED) as file:
        tags = file.tags()
    if "CONVENTION" in tags and tags["CONVENTION"] != grid.convention:
        print(
            f"Note: {path.name} was fused with --convention {tags['CONVENTION']}, and is measured "
            f"with {grid.convention}: give the same"
        )
    if "SENSOR" in tags and tags["SENSOR"] != grid.sensor.name:
        print(
            f"Note: {path.name} was fused with --sensor {tags['SENSOR']}, and is measured with "
            f"{grid.sensor.name}: give the same"
        )
    found = re.findall(r"\b[0-9a-f]{16}\b", tags.get("INPUTS", ""))
    if len(found) == 2 and max(grid.height, grid.width) <= LARGE:
        pair, _, _ = grids.read_window(grid, (0, grid.height), (0, grid.width))
        checksums = survey.checksums(pair, Window(0, 0, grid.width, grid.height))
        if found != [f"{check:016x}" for check in checksums]:
            print(
                f"Note: {path.name} was fused from files with other pixels than these: give the "
                "pair that it was made from"
            )


def _spans(size: int, unit: int) -> list[tuple[slice, slice]]:
    """Parts of an axis that begin at multiples of a unit, and each with a unit around it.

    What does not fill a block of 32 pixels at the end is left out.
    """
    whole, step = size // BLOCK * BLOCK, max(SIDE // unit, 1) * unit
    starts = range(0, whole, step)
    parts = [slice(start, min(start + step, whole)) for start in starts]
    return [(p, slice(max(p.start - unit, 0), min(p.stop + unit, size))) for p in parts]


def _within(part: slice, around: slice) -> slice:
    """Where a part lies in what is around it."""
    return slice(part.start - around.start, part.stop - around.start)


def bands_like(path: str | Path, grid: grids.Grid) -> tuple[int, ...]:
    """Check that an image lies on a pair's PAN grid, and find its bands in the sensor's order.

    Args:
        path: of the GeoTIFF.
        grid: the pair's files.

    Returns:
        Numbers of its bands, from 1, see :func:`clippan_lite.data.declared.bands_of_fused`.

    Raises:
        ValueError: another size, other bands, or another place.
    """
    name = Path(path).name
    with grids.opened(Path(path), MEASURED) as file:
        found = (file.count, file.height, file.width)
        expected = (len(grid.sensor.bands), grid.height, grid.width)
        if found != expected:
            raise ValueError(
                f"{name}: expected {expected[0]} bands of {expected[1]} x {expected[2]} "
                f"pixels, MS's bands on the grid that PAN and MS share, found {found[0]} of "
                f"{found[1]} x {found[2]}: fuse or crop it to that grid"
            )
        here, crs = grid.georef.get("transform"), grid.georef.get("crs")
        if file.crs and crs and file.crs != crs:
            raise ValueError(f"{name} has the CRS {file.crs}, PAN has {crs}: warp one to the other")
        placed = here is not None and not file.transform.is_identity
        if here and placed and not file.transform.almost_equals(here, 0.5 * abs(here.a)):
            raise ValueError(
                f"{name} lies elsewhere than PAN: its transform is "
                f"{tuple(file.transform)[:6]}, expected {tuple(here)[:6]}: crop it to PAN's grid, "
                "or give --register if it was fused with it, and leave it out if not"
            )
        return declared.bands_of_fused(file, name, grid.sensor, grid.ms_bands)


def read_like(
    path: str | Path, bands: Sequence[int], part: tuple[slice, slice] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """An image ``(C, H, W)`` float32 in DN, and where it holds data, ``(H, W)`` bool.

    Args:
        path: of the GeoTIFF.
        bands: to read, from `bands_like`.
        part: rows and columns to read; None reads all.
    """
    window = None if part is None else Window.from_slices(*part)
    image, has_bands = grids.read_raster(Path(path), MEASURED, window, bands)
    return image, has_bands.any(0)


def written(rows: Rows, form: str = "table") -> str:
    """The rows as a text.

    Args:
        rows: from `measure`.
        form: ``"table"``, ``"json"`` or ``"csv"``.
    """
    names = list(next(iter(rows.values())))
    if form == "json":
        finite = {
            row: {name: value if math.isfinite(value) else None for name, value in figures.items()}
            for row, figures in rows.items()
        }
        return json.dumps(finite, indent=1)
    if form == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, ["image", *names])
        writer.writeheader()
        writer.writerows({"image": row, **figures} for row, figures in rows.items())
        return text.getvalue().rstrip()
    width = max(len(row) for row in rows)
    lines = [" ".join([" " * width, *(f"{name:>10}" for name in names)])]
    for row, figures in rows.items():
        lines.append(" ".join([f"{row:<{width}}", *(f"{figures[n]:>10.4f}" for n in names)]))
    return "\n".join(lines)
