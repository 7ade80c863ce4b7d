"""Which files are opened when a user names one: GDAL alone would follow a file's content anywhere.

GDAL chooses a driver by what a file holds, whatever its name. A ``pan.tif`` could then be a virtual
raster, and name other files of this computer or addresses on the network as its pixels. Here the
ending of the name decides, and a virtual raster may name files in or below its folder.
``CLIPPAN_SOURCES=anywhere`` lifts that: set it where you trust the file.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

LARGEST_GIB = 1.0  # of an image: eight bands of 4096 x 4096 pixels in double precision
#: GDAL's drivers by the endings of names; every other file must be a GeoTIFF.
DRIVERS = {".vrt": "VRT", ".jp2": "JP2OpenJPEG", ".img": "HFA", ".ntf": "NITF", ".nitf": "NITF"}
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # of either order of bytes, and BigTIFF
LARGEST_VRT = 16 << 20  # bytes
DEEPEST = 4  # virtual rasters within each other
TRUST = "set CLIPPAN_SOURCES=anywhere if you trust it"


class Refused(ValueError):
    """A file that could harm: it takes too much memory, or points to other files."""


def check_size(size: int, what: str) -> None:
    """Refuse an image before memory is taken for it (:class:`Refused`).

    A small file can declare a huge image. ``CLIPPAN_LARGEST_GIB`` raises the bound.

    Args:
        size: bytes of the image in memory.
        what: the image, for the message.
    """
    try:
        most = float(os.environ.get("CLIPPAN_LARGEST_GIB") or LARGEST_GIB)
    except ValueError:
        raise ValueError(
            f"CLIPPAN_LARGEST_GIB must be a number, found {os.environ['CLIPPAN_LARGEST_GIB']!r}"
        ) from None
    if not size <= most * 2**30:
        raise Refused(
            f"{what} would take {size / 2**30:.3g} GiB, expected at most {most:g}: is it damaged? "
            "if not, set CLIPPAN_LARGEST_GIB to a larger number"
        )


def driver(path: Path) -> str:
    """The driver that may open a file; what lies behind a virtual raster is checked and printed.

    Raises:
        Refused: it names what is no file, or files outside its folder.
    """
    for beside in (f"{path}.ovr", f"{path}.msk"):  # GDAL opens these with any driver
        _check_tiff(Path(beside))
    if path.suffix.lower() == ".vrt":
        _check_vrt(path, path.stat().st_mtime_ns)
    return DRIVERS.get(path.suffix.lower(), "GTiff")


@functools.cache  # each window of a scene opens its files anew
def _check_vrt(path: Path, changed: int) -> None:
    found = sorted({str(file) for file in _behind(path, path.resolve().parent, 1)})
    names = ", ".join(found[:3])
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    print(f"{path.name} is a virtual raster of {len(found)} files: {names}{more}")


def _check_tiff(path: Path) -> None:
    if path.is_file():
        with path.open("rb") as file:
            if file.read(4) not in TIFF:
                raise Refused(f"{path} is no TIFF, expected one by its name: remove it")


def _behind(path: Path, folder: Path, depth: int) -> Iterator[Path]:
    """The files behind a virtual raster, each of them checked."""
    if depth > DEEPEST:
        raise Refused(f"{path} lies in {DEEPEST} other virtual rasters, expected fewer: build one")
    trusted = os.environ.get("CLIPPAN_SOURCES") == "anywhere"
    for element in _elements(path):
        names = {name.lower(): value for name, value in element.attrib.items()}
        tag = element.tag.lower()
        is_plain = names.get("subclass", "VRTSourcedRasterBand") == "VRTSourcedRasterBand"
        if not (trusted or is_plain):
            raise Refused(f"{path} is more than a mosaic ({names['subclass'][:40]}): {TRUST}")
        if tag not in ("sourcefilename", "sourcedataset"):
            continue
        text, relative = "".join(element.itertext()), names.get("relativetovrt", "0")
        if len(element) or relative not in ("0", "1"):
            raise Refused(f"{path} names a file in an unusual way: build it with gdalbuildvrt")
        source = path.parent / text if relative == "1" else Path(text)
        is_file = _is_file(source)
        inside = is_file and folder in source.resolve().parents
        if not (trusted or inside):
            raise Refused(f"{path} names {text[:80]!r}, no file in or below its folder: {TRUST}")
        yield source
        if not is_file:
            continue
        if source.suffix.lower() == ".vrt":
            yield from _behind(source, folder, depth + 1)
        elif source.suffix.lower() not in DRIVERS:
            _check_tiff(source)


def _elements(path: Path) -> Iterator[ElementTree.Element]:
    try:
        if path.stat().st_size > LARGEST_VRT:
            raise ValueError(f"larger than {LARGEST_VRT} bytes")
        root = ElementTree.fromstring(path.read_bytes())
        if root.tag.lower() != "vrtdataset":
            raise ValueError("its root is no VRTDataset")
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Refused(f"{path} is no virtual raster ({error}): give a GeoTIFF") from None
    return root.iter()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
