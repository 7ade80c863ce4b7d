"""GeoTIFF pairs in, georeferenced results out.

Everything that can be wrong with a pair is found here, before any training starts, and reported in
one line: what was expected, what was found and what to do.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.dtypes import in_dtype_range
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from clippan_lite.data import Pair, grids, pair_checks, registration
from clippan_lite.physics import sensors
from clippan_lite.runtime import facts as facts_of
from clippan_lite.runtime import files
from clippan_lite.runtime.settings import expect, in_kind

#: What GDAL adds to a raster's name for files that describe it.
SIDECARS = (".aux.xml", ".ovr", ".ovr.aux.xml", ".msk", ".msk.ovr", ".msk.aux.xml")
BLOCK = 256  # tile size of written files, and the height of the strips they are written in


def read_pair(
    pan_path: str | os.PathLike[str],
    ms_path: str | os.PathLike[str],
    sensor_name: str,
    name: str | None = None,
    convention: str = "benchmark",
    register: bool = False,
    bands: str | None = None,
) -> Pair:
    """Read and check a PAN / MS pair of GeoTIFFs, and print how far MS lies off PAN.

    Args:
        pan_path: one-band raster of ``(h * ratio, w * ratio)`` pixels, DN.
        ms_path: raster of ``(C, h, w)`` pixels, DN, bands in the sensor's order.
        sensor_name: name in the sensor table, for example ``"WV2"``, or a sensor file of your own.
        name: short name of the scene; by default PAN's file name, or its folder's when the file is
            just ``pan.tif``.
        convention: ``"benchmark"`` or ``"geo"``, where MS samples sit on PAN's grid.
        register: shift PAN onto MS by the estimated fraction, see
            :func:`clippan_lite.data.registration.correct`.
        bands: which of MS's bands are the sensor's: numbers of the file's bands in the sensor's
            order, ``"3,2,1,4"``, or names in the file's order, ``"R,G,B,NIR"``. None takes what
            the file says of its bands, and the sensor's order where it says nothing.

    Returns:
        The pair in float32 DN. Pixels that are nodata in PAN, or in all bands of MS, are False in
        ``valid`` (None if there are none) and 0 in the images. Nodata is what the files say it is
        (nodata values, masks, alpha), NaN, and every place where PAN and all bands are 0. Where
        single bands are nodata, see ``band_holes``.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the files are no rasters, do not fit together or the sensor, or hold unusable
            values; with ``register``, also images that do not tell their shift.
    """
    sensor, register = sensors.get(sensor_name), in_kind("register", register, bool)
    grid = grids.inspect(Path(pan_path), Path(ms_path), sensor, convention, bands)
    pair = grids.read_whole(grid, name, placed=not register)
    return _aligned({(0, 0): pair}, pair.pan.shape[1:], register)[0]


def read_parts(
    pan_path: str | os.PathLike[str],
    ms_path: str | os.PathLike[str],
    sensor_name: str,
    convention: str = "benchmark",
    register: bool = False,
    side: int = 1024,
    count: int = 3,
    bands: str | None = None,
) -> list[Pair]:
    """A pair as :func:`read_pair` gives it, or parts to train on where it is too large for that.

    Args:
        pan_path: as in `read_pair`, as are the next four.
        ms_path: MS.
        sensor_name: sensor.
        convention: resampling convention.
        register: shift PAN onto MS, by what the most detailed part tells.
        side: of a part, PAN pixels.
        bands: as in `read_pair`.
        count: parts each way; pairs of at most ``side * count`` PAN pixels each way are read whole.

    Returns:
        One pair, or up to ``count`` squared parts, evenly spread; parts that are mostly nodata are
        left out.

    Raises:
        FileNotFoundError, ValueError: as `read_pair`.
    """
    sensor, register = sensors.get(sensor_name), in_kind("register", register, bool)
    grid = grids.inspect(Path(pan_path), Path(ms_path), sensor, convention, bands)
    if max(grid.height, grid.width) <= side * count:
        whole = grids.read_whole(grid, placed=not register)
        return _aligned({(0, 0): whole}, whole.pan.shape[1:], register)
    pairs, found = grids.parts(grid, side, count)
    if not pairs:
        raise ValueError(
            f"{grid.pan_path} is mostly nodata in all parts of {side} PAN pixels that were read: "
            "crop it first"
        )
    pair_checks.values(found, grid.sensor)
    print(
        f"{grid.name}: PAN {grid.height} x {grid.width}, {len(pairs)} parts of {side} x {side} "
        "stand for it"
    )
    if grid.offset is not None and not register:
        pairs = {at: registration.correct(pair, grid.offset) for at, pair in pairs.items()}
    return _aligned(pairs, (grid.height, grid.width), register)


def _aligned(
    pairs: Mapping[tuple[int, int], Pair], size: Sequence[int], register: bool
) -> list[Pair]:
    """Print how far MS lies off PAN in the parts of a scene; move PAN onto it if asked to."""
    shift = registration.report_shift(pairs, size, advise=not register)
    if not register:
        return list(pairs.values())
    moved = [registration.correct(pair, shift, at) for at, pair in pairs.items()]
    down, right = moved[0].pan_shift
    print(f"Registration: PAN {replace(shift, down=down, right=right).done} onto MS")
    return moved


def read_scene(folder: str | os.PathLike[str]) -> Pair:
    """Read a folder with ``pan.tif``, ``ms.tif`` and ``scene.json``, as `write_pair` writes it.

    A ``scene.json`` of your own needs no more than the sensor's name. How far MS lies off PAN is
    printed; PAN is read as it is, never shifted anew.

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
            f"{path} does not exist: expected a scene folder as notebook 01 writes it; "
            "read_pair reads plain files"
        )
    facts = facts_of.read(path)
    if "sensor_definition" in facts:  # not a built-in one
        definition = facts.table("sensor_definition").values
        sensor = sensors.from_table(facts.text("sensor"), definition, str(path))
    else:
        sensor = sensors.get(facts.text("sensor"))
    bits = facts.whole("bits", 1, 32, facts.whole("bit_depth", 1, 32, sensor.bits))
    down, right = facts.items("pan_shift", 2, (int, float), [0, 0])
    sensor = sensors.with_bits(sensor, bits)
    name, convention = facts.text("name", folder.name), facts.text("convention", "benchmark")
    grid = grids.inspect(folder / "pan.tif", folder / "ms.tif", sensor, convention)
    pair = grids.read_whole(grid, name)
    pair.pan_shift = (pair.pan_shift[0] + down, pair.pan_shift[1] + right)
    print(registration.alignment(pair, registration.estimate(pair)))
    path = folder / "truth.tif"
    if path.is_file():
        pair.truth, known = grids.read_raster(path, "the truth")
        pair_checks.truth(str(path), pair)
        unknown = pair.valid_pixels & ~known.all(0)
        if unknown.any():
            print(f"Note: the truth is not known in {int(unknown.sum())} pixels: they do not count")
            pair.valid = pair.valid_pixels & ~unknown
    return pair


def write_pair(
    folder: str | os.PathLike[str], pair: Pair, source: str = "", licence: str = ""
) -> Path:
    """Write ``pan.tif``, ``ms.tif``, ``truth.tif`` (if known) and, last, ``scene.json``.

    Args:
        folder: the scene folder, made if missing, for example ``run_dir / "scene"``.
        pair: images in DN; they are rounded and clipped to ``pair.dtype``.
        source: where the imagery comes from, for ``scene.json``.
        licence: under which licence it may be used, for ``scene.json``.

    Returns:
        The folder.

    Raises:
        ValueError: something else than a pair.
    """
    expect("the pair", pair, Pair, "write_pair(folder, pair)")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    transform = pair.georef.get("transform")
    ms_transform = pair.georef.get("ms_transform")
    if ms_transform is None and transform is not None:
        ms_transform = transform @ rasterio.Affine.scale(pair.ratio)
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
    # Its presence means that the images beside it are complete.
    (folder / "scene.json").unlink(missing_ok=True)
    holes = pair.band_holes
    _write(folder / "pan.tif", pair.pan, pair, transform, valid=pair.valid)
    _write(folder / "ms.tif", pair.ms, pair, ms_transform, valid=None if holes is None else ~holes)
    if pair.truth is not None:
        _write(folder / "truth.tif", pair.truth, pair, transform)
    files.write_json(folder / "scene.json", facts)
    return folder


def write_fused(
    path: str | os.PathLike[str],
    fused: torch.Tensor,
    pair: Pair,
    tags: dict[str, Any] | None = None,
) -> Path:
    """Write a fused image as GeoTIFF on PAN's grid with MS's bands and data type.

    Args:
        path: the file to write; it appears only when it is complete.
        fused: ``(C, H, W)`` in DN, H and W as PAN.
        pair: the pair it was made from; gives transform, CRS, nodata, band names and data type.
        tags: further GeoTIFF tags, for example the method's name; values as text.

    Returns:
        The path.

    Raises:
        ValueError: another shape than PAN's grid and MS's bands, pixels that are NaN or infinite,
            another unit, or a path that is one of the pair's files or no .tif.
    """
    expect("the fused image", fused, torch.Tensor, "torch.from_numpy makes one of an array")
    expect("the pair", pair, Pair, "write_fused(path, fused, pair)")
    pair_checks.full_size("fused image", fused, pair)
    bad = ~torch.isfinite(fused)
    if pair.valid_results is not None:
        bad &= pair.valid_results.to(fused.device)
    bad = bad.any(0)
    if bad.any():
        raise ValueError(
            f"fused image has {int(bad.sum())} NaN or infinite pixels: "
            "training diverged, lower its rate"
        )
    path = Path(path)
    check_target(path, pair.files)
    if np.dtype(pair.dtype).kind in "iu":
        highest = float(fused.nan_to_num(0.0).max())
        expected = float(pair.ms.max())
        if 0 < highest <= 1 < expected / 10:
            raise ValueError(
                f"fused image: expected digital numbers, as MS's of up to {expected:g}, "
                f"found values of up to {highest:.3g}, which {pair.dtype} would round to nothing"
            )
        holds = np.iinfo(pair.dtype)
        outside = int(((fused < holds.min - 0.5) | (fused > holds.max + 0.5)).sum())
        if outside:
            print(
                f"Note: {outside} values lie outside of what {pair.dtype} holds, {holds.min} to "
                f"{holds.max}: they are clipped (pair.dtype = 'float32' keeps them)"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, fused, pair, pair.georef.get("transform"), valid=pair.valid_results, tags=tags)
    return path


def check_target(path: Path, inputs: Iterable[Path]) -> None:
    """Refuse a result that is no GeoTIFF, or that would be written over an input (ValueError)."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise ValueError(f"{path} must end in .tif: the result is a GeoTIFF")
    if path.resolve() in set().union(*map(grids.files_behind, inputs)):
        raise ValueError(
            f"{path} is one of the files to be fused, or behind one: choose another name"
        )


def fill_value(nodata: float | None, dtype: str, holes: bool) -> float | None:
    """Nodata for files made from a pair: MS's own, or 0 where there are holes without a value."""
    # GDAL lets files name a value that their type cannot hold; writing it would fail.
    if nodata is not None and in_dtype_range(nodata, dtype):
        return nodata
    return 0 if holes else None


def _write(
    path: Path,
    image: torch.Tensor,
    pair: Pair,
    transform: rasterio.Affine | None,
    valid: torch.Tensor | None = None,
    tags: dict[str, Any] | None = None,
) -> None:
    """Write an image that belongs to a pair."""
    has_holes = pair.valid is not None or valid is not None
    nodata = fill_value(pair.georef.get("nodata"), pair.dtype, has_holes)
    georef = pair.georef | {"transform": transform}
    if image.shape[-2:] != pair.pan.shape[-2:]:  # MS itself
        georef = {name: georef.get(name) for name in ("transform", "crs", "scaling")}
    sensor = pair.sensor if len(image) == pair.bands else None

    def describe_file(target: rasterio.io.DatasetWriter) -> None:
        describe(target, sensor, georef, tags or {})

    write_image(path, image, pair.dtype, nodata, valid, describe=describe_file)


def describe(
    target: rasterio.io.DatasetWriter,
    sensor: sensors.Sensor | None,
    georef: dict[str, Any],
    tags: dict[str, Any],
) -> None:
    """Write into an open file where it lies, and what its bands are.

    Args:
        target: the file.
        sensor: whose bands they are; None for PAN.
        georef: as in ``Pair.georef``.
        tags: GeoTIFF tags, written as text.
    """
    target.update_tags(**georef.get("tags", {}), **tags)
    if sensor is None:
        target.descriptions = ("PAN",)
    else:
        colours = [ColorInterp.undefined] * len(sensor.bands)
        shown = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        for band, colour in zip(sensor.rgb, shown, strict=True):
            colours[band] = colour
        target.descriptions, target.colorinterp = sensor.bands, colours
        if georef.get("scaling"):
            target.scales, target.offsets = georef["scaling"]
    if georef.get("transform") is not None:
        target.transform = georef["transform"]
        if georef.get("crs") is not None:  # a virtual raster takes no None
            target.crs = georef["crs"]
    elif "gcps" in georef:  # GeoTIFF holds one of the two
        target.gcps = georef["gcps"]
    if "rpcs" in georef:
        target.rpcs = georef["rpcs"]


def write_image(
    path: Path,
    image: torch.Tensor,
    dtype: str,
    nodata: float | None = None,
    valid: torch.Tensor | None = None,
    compress: bool = True,
    describe: Callable[[rasterio.io.DatasetWriter], None] | None = None,
) -> None:
    """Write a GeoTIFF strip by strip, so that only the strip is held a second time in memory.

    Args:
        path: the file to write; it appears only when it is complete.
        image: ``(C, H, W)`` in DN; rounded and clipped to ``dtype``.
        dtype: NumPy's name.
        nodata: what pixels that are not ``valid`` become.
        valid: ``(H, W)`` bool, or ``(C, H, W)`` for each band.
        compress: with DEFLATE.
        describe: writes into the open file what its bands are and where it lies.

    Raises:
        OSError: it could not be written.
    """
    kind = np.dtype(dtype)
    count, height, width = image.shape
    # Windows of a scene are read again band by band; other orders would be read C times.
    packing: dict[str, str | int] = {"interleave": "band"}
    if compress:
        packing = {"compress": "deflate", "predictor": 2 if kind.kind in "iu" else 3}
    profile = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "dtype": dtype,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "BIGTIFF": "IF_SAFER",
        # Or viewers take NIR of four 8-bit bands for transparency.
        "photometric": "minisblack",
        "alpha": "no",
        **packing,
    }
    exact = torch.float32 if kind.itemsize <= 2 else torch.float64
    try:
        with replacing_raster(path) as part, warnings.catch_warnings():
            # Pairs without georeference are allowed.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(part, "w", **profile) as target:
                if describe:
                    describe(target)
                for top in range(0, height, BLOCK):
                    strip = image[:, top : top + BLOCK].detach().to("cpu", exact, copy=True).numpy()
                    holes = None
                    if valid is not None:
                        holes = ~valid[..., top : top + BLOCK, :].cpu().numpy()
                    strip = _as_dtype(strip, kind, nodata, holes)
                    target.write(strip, window=Window(0, top, width, strip.shape[1]))
            with rasterio.open(part, driver="GTiff") as written:
                # Where the disk becomes full at the end, GDAL closes the file without an error.
                for _, window in written.block_windows(1):
                    written.read(window=window)
    except RasterioError as error:
        raise OSError(f"{path} could not be written ({error}): is the disk full?") from error


@contextlib.contextmanager
def replacing_raster(path: Path) -> Iterator[Path]:
    """As :func:`clippan_lite.runtime.files.replacing`; sidecars of a replaced raster go with it.

    They would describe the new one: its statistics, its mask, its overviews, even its place.
    """
    with files.replacing(path) as part:
        yield part
        remove_sidecars(path)


def remove_sidecars(path: Path) -> None:
    """Remove the files beside a raster in which GDAL keeps what belongs to it."""
    for ending in SIDECARS:
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _as_dtype(
    strip: np.ndarray, dtype: np.dtype, nodata: float | None, holes: np.ndarray | None
) -> np.ndarray:
    """Round, clip (in place) and cast ``(C, h, W)``; holes become nodata, and nothing else does."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        strip = np.nan_to_num(strip, copy=False)
        strip = np.clip(np.rint(strip, out=strip), limits.min, limits.max, out=strip)
        if nodata is not None:  # a measured 0 must not turn into a hole
            strip[strip == nodata] = nodata + 1 if nodata < limits.max else nodata - 1
    elif nodata is not None:
        strip[strip == nodata] = np.nextafter(dtype.type(nodata), dtype.type(np.inf))
    if holes is not None:
        strip[np.broadcast_to(holes, strip.shape)] = 0 if nodata is None else nodata
    return strip.astype(dtype)
