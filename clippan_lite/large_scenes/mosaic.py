"""Finished windows on disk: the folder they are kept in, and the one GeoTIFF they become."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning

from clippan_lite.checkpoints import fingerprint
from clippan_lite.config import digest
from clippan_lite.data import geotiff, grids
from clippan_lite.data.grids import CACHE
from clippan_lite.large_scenes.windows import Job
from clippan_lite.physics import sensors
from clippan_lite.runtime.package import VERSION

NOTE = "windows.txt"  # the file by which a folder of windows is recognised
SMALLEST = 512  # pixels: an overview that is no larger is the last
GDAL_TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32",
    "int32": "Int32", "float32": "Float32", "float64": "Float64",
}  # fmt: skip
SOURCE = """
  <SimpleSource>
   <SourceFilename relativeToVRT="1">{file}</SourceFilename>
   <SourceBand>{band}</SourceBand>
   <SrcRect xOff="0" yOff="0" xSize="{place.width}" ySize="{place.height}"/>
   <DstRect xOff="{place.col_off}" yOff="{place.row_off}"
            xSize="{place.width}" ySize="{place.height}"/>
  </SimpleSource>"""


def key(job: Job) -> str:
    """Hash of all that decides the windows."""
    grid = job.grid
    files = sorted(grids.files_behind(grid.pan_path) | grids.files_behind(grid.ms_path))
    stamps = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    network = None
    if job.network is not None:  # its weights, and the settings that it was made with
        attributes = vars(job.network).items()
        plain = {name: v for name, v in attributes if isinstance(v, int | float | str | tuple)}
        weights = fingerprint(job.network.state_dict().values())
        network = (type(job.network).__name__, plain, weights)
    projection = (job.rounds, job.along)
    result = (job.scale, job.nodata, job.dtype, projection)
    settings = (job.methods, network, job.side, repr(job.shift), result)
    return digest(
        stamps, job.checksums, sensors.to_table(grid.sensor), str(grid), settings, VERSION
    )


def begin(job: Job) -> None:
    """Make the job's folder. Windows of another job in it are thrown away, and a line says so.

    Raises:
        ValueError: the folder holds something else.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    note = job.folder / NOTE
    if not note.is_file() and any(job.folder.iterdir()):
        raise ValueError(
            f"{job.folder} is not a folder of windows: move it away, or choose another name for OUT"
        )
    strange = [f for f in job.folder.glob("[!.]*_*_*.tif") if not f.name.startswith(job.key)]
    if strange:
        print(f"{job.folder} holds windows of other files or settings: they are thrown away")
    for file in strange:
        file.unlink(missing_ok=True)
    note.write_text("Finished windows of a scene; the call that made them goes on from here.\n")


def join(job: Job, out: Path, tags: dict[str, object]) -> None:
    """Write one Cloud-Optimised GeoTIFF with overviews, and remove the windows.

    The file is written beside the windows first, and takes its name when it is complete.

    Args:
        job: its windows are all finished.
        out: file to write.
        tags: of the file.

    Raises:
        OSError: it could not be written.
    """
    grid, virtual, part = job.grid, job.folder / "scene.vrt", job.folder / "scene.tif"
    # GDAL would take the overviews of a killed call as they are.
    virtual.with_suffix(".vrt.ovr").unlink(missing_ok=True)
    virtual.write_text(_vrt(job))
    settings = {
        "GDAL_CACHEMAX": CACHE,
        "INTERLEAVE_OVERVIEW": "BAND",
        "BIGTIFF_OVERVIEW": "IF_SAFER",
    }
    options = {
        "COMPRESS": "DEFLATE",
        "LEVEL": "1",
        "PREDICTOR": "STANDARD" if np.dtype(job.dtype).kind in "iu" else "FLOATING_POINT",
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": "ALL_CPUS",
    }
    # Overviews made here, band by band, cost a tenth of those that the COG driver makes.
    largest = 2 * max(grid.height, grid.width) // SMALLEST
    levels = [2**n for n in range(1, 17) if 2**n < largest]
    try:
        with warnings.catch_warnings(), rasterio.Env(**settings):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(virtual, "r+") as scene:
                geotiff.describe(scene, grid.sensor, grid.georef, tags)
                if job.nodata is not None:
                    scene.nodata = job.nodata
                scene.build_overviews(levels, Resampling.average)
            rasterio.shutil.copy(virtual, part, driver="COG", **options)
        geotiff.remove_sidecars(out)
        os.replace(part, out)
    except Exception as error:  # GDAL raises SystemError and its own kinds when the disk is full
        raise OSError(
            f"{out} could not be written ({error}); the windows are kept, the same call goes on"
        ) from error
    # The note goes last, so that a killed call leaves no folder that it would not know again.
    for file in job.folder.glob("[!w]*"):
        file.unlink()
    shutil.rmtree(job.folder)


def _vrt(job: Job) -> str:
    """GDAL's virtual raster of all windows, pixels only."""
    kind, bands = GDAL_TYPES[job.dtype], ""
    for band in range(1, len(job.grid.sensor.bands) + 1):
        sources = [
            SOURCE.format(file=job.part(place).name, band=band, place=place) for place in job.places
        ]
        bands += f'\n <VRTRasterBand dataType="{kind}" band="{band}">{"".join(sources)}'
        bands += "\n </VRTRasterBand>"
    size = f'rasterXSize="{job.grid.width}" rasterYSize="{job.grid.height}"'
    return f"<VRTDataset {size}>{bands}\n</VRTDataset>\n"
