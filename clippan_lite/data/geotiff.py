"""GeoTIFF pairs in, georeferenced results out.

Everything that can be wrong with a pair is found here, before any training starts, and told in one line:
what was expected, what was found and what to do.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from clippan_lite.data import Pair, grids, pair_checks, registration
from clippan_lite.physics import sensors
from clippan_lite.runtime import files

BLOCK = 256  # tile size of written files, and the height of the strips they are written in


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
        register: shift PAN onto MS by the estimated fraction, see :func:`clippan_lite.data.registration.correct`.

    Returns:
        The pair in float32 DN. Pixels that are nodata in either image are False in ``valid`` (None if there are
        none) and 0 in the images. Nodata is what the files say it is, and every place where PAN and all bands are 0.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the files are no rasters, do not fit together or the sensor, or hold unusable values; with
            ``register``, also images that do not tell their shift.
    """
    grid = grids.inspect(Path(pan_path), Path(ms_path), sensors.get(sensor_name), convention)
    pair = _whole(grid, name, placed=not register)
    shift = pair_checks.shift_of(pair, advise=not register)
    if not register:
        return pair
    pair = registration.correct(pair, shift)
    print(
        f"Registration: PAN shifted {registration.Shift(*pair.pan_shift, shift.correlation)} onto MS"
    )
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
    grid = grids.inspect(Path(pan_path), Path(ms_path), sensors.get(sensor_name), convention)
    if max(grid.height, grid.width) <= side * count:
        pairs = [_whole(grid, None, placed=not register)]
    else:
        pairs, seen = grids.parts(grid, side, count)
        if not pairs:
            raise ValueError(
                f"{grid.pan_path} is mostly nodata in all parts of {side} PAN pixels seen: crop it first"
            )
        pair_checks.values(seen, grid.sensor, (grid.pan_path, grid.ms_path))
        print(
            f"{grid.name}: PAN {grid.height} x {grid.width}, {len(pairs)} parts of {side} x {side} stand for it"
        )
        if grid.offset is not None and not register:
            pairs = [registration.correct(pair, grid.offset) for pair in pairs]
    shift = pair_checks.shift_of(grids.most_detailed(pairs), advise=not register)
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
        raise ValueError(
            f'{path} cannot be used ({error!r}): expected an object with "sensor" and "bits"'
        ) from None
    if bits != sensor.bits:
        sensor = sensors.with_bits(sensor, bits)
    name, convention = facts.get("name", folder.name), facts.get("convention", "benchmark")
    pair = _whole(grids.inspect(folder / "pan.tif", folder / "ms.tif", sensor, convention), name)
    pair.pan_shift = (pair.pan_shift[0] + down, pair.pan_shift[1] + right)
    print(pair_checks.alignment(pair, registration.estimate(pair)))
    if (folder / "truth.tif").is_file():
        with grids.opened(folder / "truth.tif", "the truth") as source:
            pair.truth = torch.from_numpy(grids.pixels(source, "the truth"))
        expected = (pair.bands, *pair.pan.shape[1:])
        if tuple(pair.truth.shape) != expected:
            raise ValueError(
                f"{folder / 'truth.tif'} is {tuple(pair.truth.shape)}, expected {expected}: write it anew"
            )
    return pair


def write_pair(
    folder: str | os.PathLike[str], pair: Pair, source: str = "", licence: str = ""
) -> Path:
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
    (folder / "scene.json").unlink(
        missing_ok=True
    )  # its presence means that the images beside it are complete
    _write(folder / "pan.tif", pair.pan, pair, transform, valid=True, names=("PAN",))
    _write(folder / "ms.tif", pair.ms, pair, ms_transform, names=pair.sensor.bands)
    if pair.truth is not None:
        _write(folder / "truth.tif", pair.truth, pair, transform, names=pair.sensor.bands)
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
        tags: further GeoTIFF tags, for example the method's name.

    Returns:
        The path.

    Raises:
        ValueError: another shape than PAN's grid and MS's bands, or pixels that are NaN or infinite.
    """
    expected = (pair.bands, *pair.pan.shape[-2:])
    if tuple(fused.shape) != expected:
        raise ValueError(
            f"fused image is {tuple(fused.shape)}, expected (bands, PAN height, PAN width) = {expected}"
        )
    finite = torch.isfinite(fused)
    bad = ~finite.all(0) if pair.valid is None else ~finite.all(0) & pair.valid.to(fused.device)
    if bad.any():
        raise ValueError(
            f"fused image has {int(bad.sum())} NaN or infinite pixels: training diverged, lower its rate"
        )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(
        path,
        fused,
        pair,
        pair.georef.get("transform"),
        valid=True,
        names=pair.sensor.bands,
        tags=tags or {},
    )
    return path


def _sensor(facts: dict[str, Any], path: Path) -> sensors.Sensor:
    """The sensor that a ``scene.json`` names, or, where it is not a built-in one, describes."""
    table = facts.get("sensor_definition")
    return (
        sensors.get(facts["sensor"])
        if table is None
        else sensors.from_table(facts["sensor"], table, str(path))
    )


def _whole(grid: grids.Grid, name: str | None = None, placed: bool = True) -> Pair:
    """Read and check a whole pair; ``placed``, PAN is moved to where the geotransforms put MS."""
    pair, pan_ok, ms_ok = grids.read_window(grid, (0, grid.height), (0, grid.width))
    seen = pair_checks.Values(pair, pan_ok, ms_ok)
    pair_checks.values(seen, grid.sensor, (grid.pan_path, grid.ms_path))
    grids.clear_nodata(pair, pan_ok, ms_ok)
    pair.name = name or grid.name
    all_valid = bool(pair.valid.all())
    share = (
        "all pixels valid"
        if all_valid
        else f"{100 * pair.valid.double().mean():.1f} % of pixels valid"
    )
    (_, height, width), (bands, h, w) = pair.pan.shape, pair.ms.shape
    print(
        f"Read {pair.name}: {pair.sensor.name}, PAN {height} x {width}, MS {h} x {w} with {bands} bands, "
        f"ratio {pair.ratio}, {pair.dtype}, {pair.sensor.bits} bit, {grid.where}, {share}"
    )
    if all_valid:
        pair.valid = None
    if grid.offset is None or not placed:
        return pair
    return replace(registration.correct(pair, grid.offset), name=pair.name)


def fill_value(nodata: float | None, dtype: str, holes: bool) -> float | None:
    """Nodata for files made from a pair: MS's own, or 0 where there are holes without a value for them."""
    kind = np.dtype(dtype)
    if nodata is not None and kind.kind in "iu":
        limits = np.iinfo(kind)
        if math.isnan(nodata) or not limits.min <= nodata <= limits.max:
            nodata = None  # GDAL lets files name a value that their type cannot hold; writing it would fail
    return 0 if nodata is None and holes else nodata


def write_image(
    path: Path,
    image: torch.Tensor,
    dtype: str,
    nodata: float | None = None,
    valid: torch.Tensor | None = None,
    compress: bool = True,
    **profile: Any,
) -> None:
    """Write a GeoTIFF strip by strip, so that only the strip is held a second time in memory.

    Args:
        path: the file to write; it appears only when it is complete.
        image: ``(C, H, W)`` in DN; rounded and clipped to ``dtype``.
        dtype: NumPy's name.
        nodata: what pixels that are not ``valid`` become.
        valid: ``(H, W)`` bool.
        compress: with DEFLATE.
        profile: ``transform`` and ``crs``; ``names`` and ``scaling`` (scales, offsets) of the bands; ``tags``.

    Raises:
        OSError: it could not be written.
    """
    kind, names, tags = np.dtype(dtype), profile.pop("names", ()), profile.pop("tags", {})
    scaling = profile.pop("scaling", None)
    profile |= {
        "driver": "GTiff",
        "count": image.shape[0],
        "height": image.shape[1],
        "width": image.shape[2],
    }
    profile |= {
        "dtype": dtype,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
    }
    profile |= {
        "photometric": "minisblack",
        "alpha": "no",
    }  # or viewers take NIR of four 8-bit bands for transparency
    profile |= {"BIGTIFF": "IF_SAFER"}
    packed = {"compress": "deflate", "predictor": 2 if kind.kind in "iu" else 3}
    profile |= (
        packed if compress else {"interleave": "band"}
    )  # read band by band, other orders are read C times
    exact = torch.float32 if kind.itemsize <= 2 else torch.float64
    try:
        with files.replacing(path) as part, warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", NotGeoreferencedWarning
            )  # pairs without georeference are allowed
            with rasterio.open(part, "w", **profile) as target:
                target.descriptions = tuple(names) or (None,) * len(image)
                if scaling:
                    target.scales, target.offsets = scaling
                target.update_tags(**{key: str(value) for key, value in tags.items()})
                for top in range(0, image.shape[1], BLOCK):
                    strip = image[:, top : top + BLOCK].detach().to("cpu", exact, copy=True).numpy()
                    holes = None if valid is None else ~valid[top : top + BLOCK].cpu().numpy()
                    strip = _as_dtype(strip, kind, nodata, holes)
                    target.write(strip, window=Window(0, top, strip.shape[2], strip.shape[1]))
    except RasterioError as error:
        raise OSError(f"{path} could not be written ({error}): is the disk full?") from error


def _write(
    path: Path,
    image: torch.Tensor,
    pair: Pair,
    transform: rasterio.Affine | None,
    valid: bool = False,
    **told: Any,
) -> None:
    """Write an image that belongs to a pair."""
    nodata = fill_value(pair.georef.get("nodata"), pair.dtype, pair.valid is not None)
    if transform is not None:
        told |= {"transform": transform, "crs": pair.georef.get("crs")}
    if len(image) == pair.bands:
        told["scaling"] = pair.georef.get("scaling")
    write_image(path, image, pair.dtype, nodata, pair.valid if valid else None, **told)


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
        strip[:, holes] = 0 if nodata is None else nodata
    return strip.astype(dtype)
