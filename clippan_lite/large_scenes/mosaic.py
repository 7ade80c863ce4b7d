"""Windows of a scene, each a GeoTIFF, made into one Cloud-Optimised GeoTIFF."""

from __future__ import annotations

import itertools
import os
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning

from clippan_lite.data.grids import CACHE, Grid

SMALLEST = 512  # pixels: an overview that is no larger is the last
POWERS = [2**n for n in range(1, 17)]
GDAL_TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
    "float32": "Float32", "float64": "Float64",
}  # fmt: skip


def join(
    grid: Grid,
    windows: dict[tuple[int, int], Path],
    side: int,
    out: Path,
    nodata: float | None,
    tags: dict[str, Any],
) -> None:
    """Write one Cloud-Optimised GeoTIFF, with overviews, beside the windows first, then to where it belongs.

    Args:
        grid: the scene.
        windows: file of each window by its top left corner, PAN pixels; all in one folder.
        side: of a window; those at the right and lower border may be smaller.
        out: file to write.
        nodata: of all bands.
        tags: of the file.

    Raises:
        OSError: it could not be written.
    """
    virtual = ElementTree.Element(
        "VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height)
    )
    if grid.georef["transform"] is not None:
        if grid.georef["crs"] is not None:
            ElementTree.SubElement(virtual, "SRS").text = grid.georef["crs"].to_wkt()
        numbers = ", ".join(repr(float(v)) for v in grid.georef["transform"].to_gdal())
        ElementTree.SubElement(virtual, "GeoTransform").text = numbers
    told = ElementTree.SubElement(virtual, "Metadata")
    for name, value in tags.items():
        ElementTree.SubElement(told, "MDI", key=name).text = str(value)
    for i, name in enumerate(grid.sensor.bands, 1):
        band = ElementTree.SubElement(
            virtual, "VRTRasterBand", dataType=GDAL_TYPES[grid.dtype], band=str(i)
        )
        ElementTree.SubElement(band, "Description").text = name
        if nodata is not None:
            ElementTree.SubElement(band, "NoDataValue").text = repr(float(nodata))
        for tag, values in zip(("Scale", "Offset"), grid.georef.get("scaling", ()), strict=False):
            ElementTree.SubElement(band, tag).text = repr(float(values[i - 1]))
        ElementTree.SubElement(band, "ColorInterp").text = "Gray" if i == 1 else "Undefined"
        for (top, left), file in windows.items():
            source = ElementTree.SubElement(band, "SimpleSource")
            ElementTree.SubElement(source, "SourceFilename", relativeToVRT="1").text = file.name
            ElementTree.SubElement(source, "SourceBand").text = str(i)
            size = {"xSize": min(side, grid.width - left), "ySize": min(side, grid.height - top)}
            for what, x, y in (("SrcRect", 0, 0), ("DstRect", left, top)):
                ElementTree.SubElement(
                    source, what, {k: str(v) for k, v in {"xOff": x, "yOff": y, **size}.items()}
                )
    folder = next(iter(windows.values())).parent
    path, part = folder / "scene.vrt", folder / "scene.tif"
    path.with_suffix(".vrt.ovr").unlink(
        missing_ok=True
    )  # of a killed call: GDAL would take it as it is
    ElementTree.ElementTree(virtual).write(path)
    kind = np.dtype(grid.dtype).kind
    options = {
        "COMPRESS": "DEFLATE",
        "LEVEL": "1",
        "PREDICTOR": "STANDARD" if kind in "iu" else "FLOATING_POINT",
    }
    options |= {"BIGTIFF": "IF_SAFER", "NUM_THREADS": "ALL_CPUS"}
    # Overviews made here, band by band, cost a tenth of those that the COG driver makes.
    levels = list(
        itertools.takewhile(lambda n: n < 2 * max(grid.height, grid.width) // SMALLEST, POWERS)
    )
    settings = {
        "GDAL_CACHEMAX": CACHE,
        "INTERLEAVE_OVERVIEW": "BAND",
        "BIGTIFF_OVERVIEW": "IF_SAFER",
    }
    try:
        with warnings.catch_warnings(), rasterio.Env(**settings):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, "r+") as scene:
                scene.build_overviews(levels, Resampling.average)
            rasterio.shutil.copy(path, part, driver="COG", **options)
        os.replace(part, out)
    except Exception as error:  # GDAL raises SystemError and its own kinds when the disk is full
        raise OSError(
            f"{out} could not be written ({error}); the windows are kept, the same call goes on"
        ) from error
