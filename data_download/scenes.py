"""Scene folders ``pan.tif, ms.tif, scene.json``: chips from a bucket, windows of large images."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import urllib.parse
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import rasterio
from filelock import FileLock, Timeout
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as Pixels

from data_download import fetch
from data_download.registry import Chips, Window

FILES = ("pan.tif", "ms.tif")
SCRATCH = ".part"
MOST_PAGES = 1000  # of a listing, each of a thousand keys
REMOTE = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif,.TIF",
    "GDAL_HTTP_TIMEOUT": "60", "GDAL_HTTP_CONNECTTIMEOUT": "20", "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
}  # fmt: skip


def keys(bucket: str, prefix: str, timeout: float = 60.0) -> Iterator[str]:
    """Keys in a bucket that begin with a prefix (S3's ListObjectsV2, page by page).

    Raises:
        OSError: the server cannot be reached, or its answer is no listing, or one without end.
    """
    token = None
    for _ in range(MOST_PAGES):
        query = {"list-type": "2", "prefix": prefix} | (
            {"continuation-token": token} if token else {}
        )
        url = f"{bucket}/?{urllib.parse.urlencode(query)}"
        try:
            page = ElementTree.fromstring(fetch.read(url, timeout))
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            raise OSError(
                f"{url} did not answer with a listing ({error}): it may have moved"
            ) from None
        space = page.tag.partition("}")[0] + "}" if page.tag.startswith("{") else ""
        for item in page.iter(f"{space}Contents"):
            yield item.findtext(f"{space}Key", "")
        token = page.findtext(f"{space}NextContinuationToken")
        if not token:
            return
    raise OSError(f"{bucket} lists more than {MOST_PAGES} pages of {prefix}: it is no data set")


def chips(entry: Chips) -> dict[int, tuple[str, str]]:
    """Chips with both PAN and MS: number -> their addresses.

    Raises:
        OSError: as in :func:`keys`, or no chip has both.
    """
    found: list[dict[int, str]] = []
    for prefix in (entry.pan, entry.ms):
        numbers = {}
        for key in keys(entry.bucket, prefix):
            tail = key.removeprefix(prefix).removesuffix(".tif")
            if tail.isdigit():
                numbers[int(tail)] = f"{entry.bucket}/{urllib.parse.quote(key)}"
        found.append(numbers)
    pan, ms = found
    both = {number: (pan[number], ms[number]) for number in sorted(pan.keys() & ms.keys())}
    if not both:
        raise OSError(
            f"{entry.bucket} lists no chips under {entry.pan} and {entry.ms}: they may have moved"
        )
    return both


@contextlib.contextmanager
def scratch(out: Path) -> Iterator[Path]:
    """Yield a hidden folder in ``out`` in which new files become complete; one call at a time.

    While it is there, an earlier call did not come to its end: images in ``out`` without a
    ``scene.json`` are then ours. Hidden files in it are unfinished downloads, from which the next
    call goes on. What else a failed call leaves is removed.

    Raises:
        ValueError: another call gets something into ``out``.
    """
    folder = out / SCRATCH
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"another call gets something into {out}: wait for it, or give another --out"
        ) from None
    unfinished = True
    try:
        with lock:
            yield folder
            unfinished = False
    finally:
        for path in folder.iterdir():
            if unfinished and path.name.startswith(".") and path.name != ".lock":
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        # Where some images have come already, the folder stays to tell that they are ours.
        if not _are_alone(out):
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


def clear(out: Path) -> None:
    """Remove what a call left that was killed when all was done."""
    if (out / SCRATCH).is_dir():
        with scratch(out):
            pass


def get_chip(name: str, entry: Chips, out: Path, number: int | None = None) -> None:
    """Download one chip as a scene folder.

    Args:
        name: the entry's name, for ``scene.json``.
        entry: where to look.
        out: folder to write to, see :func:`scratch`.
        number: of the chip; None takes the first.

    Raises:
        ValueError: there is no such chip.
        OSError: the download failed.
    """
    offered = chips(entry)
    chosen = {} if number is None else {"chip": number}
    chip = next(iter(offered)) if number is None else number
    if chip not in offered:
        near = sorted(offered, key=lambda other: abs(other - chip))[:5]
        numbers = ", ".join(str(other) for other in sorted(near))
        raise ValueError(f"{name} has no chip {chip}: of {len(offered)}, the nearest are {numbers}")
    urls = offered[chip]
    # The chip's number keeps a download of another chip from being used.
    files = [out / f".{chip}-{file}" for file in FILES]
    for url, file in zip(urls, files, strict=True):
        if not file.is_file():
            fetch.download(url, file)
    with warnings.catch_warnings(), rasterio.open(files[1], driver="GTiff") as image:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        _check_bands(name, entry, image.count)
    for name_of_file, file in zip(FILES, files, strict=True):
        os.replace(file, out / name_of_file)
    _write_facts(out, f"{name}-{chip}", entry, urls, chosen)


def get_window(name: str, entry: Window, out: Path, options: dict[str, int]) -> None:
    """Read a window of PAN, and of MS what lies on the same ground, into a scene folder.

    Args:
        name: the entry's name, for ``scene.json``.
        entry: where the images are.
        out: folder to write to, see :func:`scratch`.
        options: ``row``, ``col`` and ``size`` of the window in PAN pixels. The size is a multiple
            of the ratio. The entry gives what is left out.

    Raises:
        ValueError: a window outside the image or of nodata only, or images that do not fit
            together.
        OSError: an image is not there, or the server broke off.
    """
    row, col, size = (options.get(what, getattr(entry, what)) for what in ("row", "col", "size"))
    for url in (entry.pan, *entry.ms):
        fetch.check_url(url)
        fetch.head(url)
    with contextlib.ExitStack() as stack:
        stack.enter_context(rasterio.Env(**REMOTE))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            pan, *bands = [
                stack.enter_context(rasterio.open(url, driver="GTiff"))
                for url in (entry.pan, *entry.ms)
            ]
            windows = _windows(pan, bands[0], row, col, size)
            images = {
                "pan.tif": (pan, pan.read(window=windows[0])),
                "ms.tif": (bands[0], _stack(bands, windows[1])),
            }
        except RasterioError as error:
            raise OSError(
                f"{entry.pan} cannot be read ({error}): check the network, or try later"
            ) from None
        _check_bands(name, entry, sum(band.count for band in bands))
        if not all((image != (source.nodata or 0)).any() for source, image in images.values()):
            raise ValueError(
                f"the window at row {row}, column {col} of {name} holds nodata only: choose another"
            )
        for (file, (source, image)), window in zip(images.items(), windows, strict=True):
            profile = {
                "driver": "GTiff",
                "count": len(image),
                "height": image.shape[1],
                "width": image.shape[2],
                "dtype": image.dtype,
                "crs": source.crs,
                "transform": source.window_transform(window),
                "nodata": source.nodata,
                "compress": "deflate",
                "photometric": "minisblack",
                "alpha": "no",
            }
            try:
                with rasterio.open(out / file, "w", **profile) as target:
                    target.write(image)
                fetch.verify(out / file)  # GDAL says nothing if the disk is full at the end
            except (RasterioError, ValueError) as error:
                raise OSError(
                    f"{out / file} could not be written ({error}): is the disk full?"
                ) from None
    _write_facts(out, f"{name}-{row}-{col}", entry, (entry.pan, *entry.ms), options)


def _check_bands(name: str, entry: Chips | Window, found: int) -> None:
    """Refuse MS of other bands than the sensor's (ValueError)."""
    from clippan_lite.physics import sensors

    bands = sensors.get(entry.sensor).bands
    if found != len(bands):
        raise ValueError(
            f"MS of {name} has {found} bands, expected {len(bands)} ({', '.join(bands)}): "
            "the data set has changed, choose another"
        )


def _windows(
    pan: rasterio.DatasetReader, ms: rasterio.DatasetReader, row: int, col: int, size: int
) -> list[Pixels]:
    """The window on PAN's and on MS's grid, by the geotransforms.

    The two windows' corners lie within half an MS pixel.
    """
    ratio = round(ms.transform.a / pan.transform.a)
    if pan.crs != ms.crs or ratio < 1 or abs(ms.transform.a / pan.transform.a - ratio) > 1e-3:
        raise ValueError(
            f"PAN ({pan.crs}) and MS ({ms.crs}) lie on grids that do not fit: "
            "choose another data set"
        )
    if size < 64 * ratio or size % ratio:
        raise ValueError(
            f"size must be a multiple of the ratio {ratio} and at least {64 * ratio}, found {size}"
        )
    if not (0 <= row <= pan.height - size and 0 <= col <= pan.width - size):
        raise ValueError(
            f"a window of {size} at row {row}, column {col} leaves the image of {pan.height} x "
            f"{pan.width} PAN pixels: choose one inside"
        )
    x, y = ~ms.transform * (pan.transform * (col, row))
    left, top = round(x), round(y)
    low = size // ratio
    if not (0 <= top <= ms.height - low and 0 <= left <= ms.width - low):
        raise ValueError(
            f"MS does not reach to row {row}, column {col}: choose a window further inside"
        )
    # PAN follows MS's pixels, so that both begin at the same place as nearly as their grids allow.
    x, y = ~pan.transform * (ms.transform * (left, top))
    col, row = min(max(round(x), 0), pan.width - size), min(max(round(y), 0), pan.height - size)
    return [Pixels(col, row, size, size), Pixels(left, top, low, low)]


def _stack(bands: list[rasterio.DatasetReader], window: Pixels) -> np.ndarray:
    return np.concatenate([band.read(window=window) for band in bands])


def check_folder(out: Path) -> None:
    """Refuse a folder with somebody else's images (ValueError).

    Ours have a ``scene.json``, or a call was killed while it put them there, see :func:`scratch`.
    """
    if _are_alone(out) and not (out / SCRATCH).is_dir():
        name = next(name for name in FILES if (out / name).exists())
        raise ValueError(
            f"{out} holds a {name} without scene.json: give another --out, or move it away"
        )


def _are_alone(out: Path) -> bool:
    """Whether there are images without a ``scene.json``."""
    has_images = any((out / name).exists() for name in FILES)
    return has_images and not (out / "scene.json").is_file()


def is_whole(out: Path) -> bool:
    """Whether a scene folder has all its files, and they can be read to their ends."""
    if not all((out / name).is_file() for name in (*FILES, "scene.json")):
        return False
    try:
        for name in FILES:
            fetch.verify(out / name)
        return isinstance(json.loads((out / "scene.json").read_text(encoding="utf-8")), dict)
    except (ValueError, RecursionError):
        return False


def put(made: Path, out: Path) -> None:
    """Move a finished scene into its folder; ``scene.json`` comes last: then it is whole."""
    (out / "scene.json").unlink(missing_ok=True)  # of damaged images
    for path in sorted(made.glob("[!.]*.tif")):
        os.replace(path, out / path.name)
    os.replace(made / "scene.json", out / "scene.json")


def _write_facts(
    out: Path, name: str, entry: Chips | Window, urls: Sequence[str], chosen: dict[str, int]
) -> None:
    facts = {
        "name": name, "sensor": entry.sensor, "bits": entry.bits, "convention": "geo",
        "source": urls, "licence": entry.licence, "citation": entry.citation, "chosen": chosen,
    }  # fmt: skip
    try:
        (out / "scene.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    except OSError as error:
        raise OSError(f"{out / 'scene.json'} could not be written ({error}): make room") from None
