"""Which files are opened when a user names one: GDAL alone would follow a file's content anywhere.

GDAL chooses a driver by what a file holds, whatever its name. A ``pan.tif`` could then be a virtual
raster, and name other files of this computer or addresses on the network as its pixels. Here the
ending of the name decides. A mosaic (a virtual raster, or ``.TIL``, the tile map of a Maxar
product) may name files in or below its folder.
``CLIPPAN_SOURCES=anywhere`` lifts that: set it where you trust the file.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

LARGEST_GIB = 1.0  # of an image: eight bands of 4096 x 4096 pixels in double precision
#: GDAL's drivers by the endings of names; every other file must be a GeoTIFF.
DRIVERS = {".jp2": "JP2OpenJPEG", ".img": "HFA", ".ntf": "NITF", ".nitf": "NITF"}
MOSAICS = {".vrt": "VRT", ".til": "TIL"}
#: How files of each driver begin; TIFF in either order of bytes, and BigTIFF.
BEGINNINGS = {
    "GTiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "JP2OpenJPEG": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "HFA": (b"EHFA_HEADER_TAG",),
    "NITF": (b"NITF", b"NSIF"),
}
TILE = re.compile(r'^\s*filename\s*=\s*"([^"\n]*)"\s*;\s*$', re.IGNORECASE | re.MULTILINE)
LARGEST_MOSAIC = 16 << 20  # bytes
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
    """The driver that may open a file; what lies behind a mosaic is checked and printed.

    Raises:
        Refused: it names what is no file, or files outside its folder.
    """
    for beside in (f"{path}.ovr", f"{path}.msk"):  # GDAL opens these with any driver
        _check_beginning(Path(beside), "GTiff")
    ending = path.suffix.lower()
    if ending in MOSAICS:
        _check_mosaic(path, path.stat().st_mtime_ns)
        return MOSAICS[ending]
    return DRIVERS.get(ending, "GTiff")


@functools.cache  # each window of a scene opens its files anew
def _check_mosaic(path: Path, changed: int) -> None:
    found = sorted({str(file) for file in _behind(path, path.resolve().parent, 1)})
    names = ", ".join(found[:3])
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    print(f"{path.name} is a virtual raster of {len(found)} files: {names}{more}")


def _check_beginning(path: Path, driver: str) -> None:
    """Refuse a file that another driver would open than its name says."""
    if path.is_file():
        with path.open("rb") as file:
            if not file.read(16).startswith(BEGINNINGS[driver]):
                kind = "TIFF" if driver == "GTiff" else f"{driver} file"
                raise Refused(f"{path} is no {kind}, expected one by its name: remove it")


def _behind(path: Path, folder: Path, depth: int) -> Iterator[Path]:
    """The files behind a mosaic, each of them checked."""
    if depth > DEEPEST:
        raise Refused(f"{path} lies in {DEEPEST} other virtual rasters, expected fewer: build one")
    for name, relative in _tiles(path) if path.suffix.lower() == ".til" else _sources(path):
        source = path.parent / name if relative else Path(name)
        is_file = _is_file(source)
        inside = is_file and folder in source.resolve().parents
        if not (_trusted() or inside):
            raise Refused(f"{path} names {name[:80]!r}, no file in or below its folder: {TRUST}")
        yield source
        if not is_file:
            continue
        ending = source.suffix.lower()
        if ending in MOSAICS:
            yield from _behind(source, folder, depth + 1)
        else:
            _check_beginning(source, DRIVERS.get(ending, "GTiff"))


def _trusted() -> bool:
    return os.environ.get("CLIPPAN_SOURCES") == "anywhere"


def _tiles(path: Path) -> Iterator[tuple[str, bool]]:
    """Names in the tile map of a Maxar product; all are relative to it."""
    text = _content(path).decode("latin-1")
    names = TILE.findall(text)
    if not names or len(names) != text.lower().count("filename"):
        raise Refused(f"{path} is no tile map that names its files plainly: give a GeoTIFF")
    return ((name, True) for name in names)


def _sources(path: Path) -> Iterator[tuple[str, bool]]:
    """Names in a virtual raster, and whether they are relative to it."""
    for element in _elements(path):
        names = {name.lower(): value for name, value in element.attrib.items()}
        tag = element.tag.lower()
        is_plain = names.get("subclass", "VRTSourcedRasterBand") == "VRTSourcedRasterBand"
        if not (_trusted() or is_plain):
            raise Refused(f"{path} is more than a mosaic ({names['subclass'][:40]}): {TRUST}")
        if tag not in ("sourcefilename", "sourcedataset"):
            continue
        relative = names.get("relativetovrt", "0")
        if len(element) or relative not in ("0", "1"):
            raise Refused(f"{path} names a file in an unusual way: build it with gdalbuildvrt")
        yield "".join(element.itertext()), relative == "1"


def _elements(path: Path) -> Iterator[ElementTree.Element]:
    content = _content(path)
    try:
        root = ElementTree.fromstring(content)
        if root.tag.lower() != "vrtdataset":
            raise ValueError("its root is no VRTDataset")
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Refused(f"{path} is no virtual raster ({error}): give a GeoTIFF") from None
    return root.iter()


def _content(path: Path) -> bytes:
    if path.stat().st_size > LARGEST_MOSAIC:
        raise Refused(f"{path} is larger than {LARGEST_MOSAIC} bytes: give a GeoTIFF")
    return path.read_bytes()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
