"""Download, check and unpack one file, so that a broken or hostile one leaves nothing behind."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import lzma
import os
import shutil
import stat
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from tqdm import tqdm

CHUNK = 1 << 20
MOST_TIMES = 50  # an archive's size: what it may hold, unpacked; images rarely shrink to a fifth
FREE_SIZE = 1 << 30  # bytes that any archive may hold
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
UNREACHABLE = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)
DAMAGED: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    RasterioError,
    RuntimeError,
)
LOCAL = ("localhost", "127.0.0.1", "::1")


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but never from https to something unencrypted."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_url(url: str) -> None:
    """Allow https, and http for this computer only.

    Raises:
        ValueError: any other address.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL):
        return
    raise ValueError(
        f"{url} is not an https address: use https, so that nobody can change the file on its way"
    )


def download(
    url: str, target: Path, checksum: str | None = None, timeout: float = 60.0, tries: int = 3
) -> Path:
    """Download to ``target``, which appears only when it is complete and its checksum fits.

    Where no checksum is published, :func:`verify` must find nothing wrong with the file. What comes
    before the connection breaks is kept beside it, under a hidden name. The next try or the next
    call goes on from there, if the server says that the file is still the same.

    Args:
        url: https address.
        target: file to write.
        checksum: expected MD5 or SHA-256 in hex digits; None reads the file to its end instead.
        timeout: seconds to wait for the server's next bytes.
        tries: connections made before giving up.

    Returns:
        ``target``.

    Raises:
        ValueError: not an https address, another checksum, or a file that is not what its name
            says.
        OSError: the server cannot be reached, answers with an error or breaks off, or the disk is
            full.
    """
    check_url(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        _receive_whole(url, part, target.name, timeout, tries)
        _check(part, target.name, checksum)
        os.replace(part, target)
    except OSError as error:
        if error.errno not in FULL:
            raise
        _remove(part)
        raise OSError(
            f"the disk is full: {target.name} was not kept; make room and call again"
        ) from None
    _remove(part)
    return target


def _check(part: Path, name: str, checksum: str | None) -> None:
    """Refuse what came, and remove it, unless it is what was expected (ValueError)."""
    try:
        if checksum is None:
            verify(part, name)
        elif hash_of(part, checksum) != checksum:
            raise ValueError(
                f"{name} has another checksum, expected {checksum}: damaged or changed, try again"
            )
    except ValueError:
        _remove(part)
        raise


def _receive_whole(url: str, part: Path, name: str, timeout: float, tries: int) -> None:
    for attempt in range(1, tries + 1):
        try:
            _receive(url, part, name, timeout)
            return
        except urllib.error.HTTPError as error:
            raise OSError(
                f"{url} cannot be downloaded ({error}): it may have moved, or try later"
            ) from None
        except UNREACHABLE as error:
            if attempt == tries:
                kept = ", what came is kept: the same command goes on" if part.exists() else ""
                raise OSError(
                    f"{url} cannot be downloaded ({error}){kept}; check the network"
                ) from None


def read(url: str, timeout: float = 60.0, most: int = 1 << 24) -> bytes:
    """A small answer, such as a listing, into memory.

    Raises:
        ValueError: not an https address.
        OSError: no answer, or more than ``most`` bytes.
    """
    check_url(url)
    try:
        with _open(url, timeout) as answer:
            content = answer.read(most + 1)
    except UNREACHABLE as error:
        raise OSError(f"{url} does not answer ({error}): check the network, or try later") from None
    if len(content) > most:
        raise OSError(f"{url} answers with more than {most} bytes: it is not what was expected")
    return content


def head(url: str, timeout: float = 60.0) -> None:
    """Make sure that a file is there, without reading it.

    Raises:
        OSError: it is not, or the server cannot be reached.
    """
    try:
        with _open(url, timeout, "HEAD"):
            pass
    except urllib.error.HTTPError as error:
        raise OSError(
            f"{url} is not there ({error}): this acquisition lacks it, choose another data set"
        ) from None
    except UNREACHABLE as error:
        raise OSError(
            f"{url} cannot be reached ({error}): check the network, or try later"
        ) from None


def _open(
    url: str, timeout: float, method: str = "GET", **headers: str
) -> http.client.HTTPResponse:
    headers = {"User-Agent": "clippan-lite data_download", **headers}
    request = urllib.request.Request(url, headers=headers, method=method)
    return urllib.request.build_opener(_HttpsOnly).open(request, timeout=timeout)


def _remove(part: Path) -> None:
    """Remove an unfinished file and the note beside it."""
    for file in (part, part.with_suffix(".json")):
        file.unlink(missing_ok=True)


def _receive(url: str, part: Path, name: str, timeout: float) -> None:
    """Write a file's bytes to ``part``.

    If the server still has the same file, this goes on from what ``part`` holds.
    """
    note = part.with_suffix(".json")
    stamp_before = _stamp_of(note, url) if part.is_file() else None
    headers = {}
    if stamp_before:
        headers = {"Range": f"bytes={part.stat().st_size}-", "If-Range": stamp_before}
    try:
        answer = _open(url, timeout, **headers)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: we asked for what lies behind the end, so we begin anew
            raise
        _remove(part)
        answer = _open(url, timeout)
    with answer:
        resumed = answer.status == 206
        stamp = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if resumed and stamp and stamp != stamp_before:  # this server ignores If-Range
            _remove(part)
            raise ConnectionError("the file has changed since the download began")
        start = part.stat().st_size if resumed else 0
        announced = answer.headers.get("Content-Length")
        total = start + int(announced) if announced else None
        if stamp and not stamp.startswith("W/"):  # a weak tag does not promise the same bytes
            note.write_text(json.dumps({"url": url, "stamp": stamp}))
        size = start
        try:
            with (
                part.open("ab" if resumed else "wb") as file,
                tqdm(
                    total=total, initial=start, unit="B", unit_scale=True, desc=name, disable=None
                ) as bar,
            ):
                while block := answer.read(CHUNK):
                    file.write(block)
                    size += len(block)
                    bar.update(len(block))
            if total is not None and size != total:
                raise ConnectionError(f"the server sent {size} of {total} bytes")
        except BaseException:
            if not note.is_file():  # nothing would tell later whether the file is the same
                _remove(part)
            raise


def _stamp_of(note: Path, url: str) -> str | None:
    """By what the server knew the file that an earlier call began; None if nothing is known."""
    try:
        before = json.loads(note.read_bytes())
        stamp = before["stamp"] if before["url"] == url else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # none, or half-written
        return None
    # It becomes a line of the request.
    return stamp if isinstance(stamp, str) and stamp.isascii() and stamp.isprintable() else None


def verify(path: Path, name: str | None = None) -> None:
    """Read a file to its end, where no checksum is known.

    This finds a login page that came instead of an archive, and half an image.

    Args:
        path: the file.
        name: its name, which tells its format; None takes the path's. Formats other than TIFF,
            HDF5, zip and tar pass.

    Raises:
        ValueError: it is not what its name says, or damaged.
    """
    name = (name or path.name).lower()
    try:
        if name.endswith((".tif", ".tiff")):
            with warnings.catch_warnings(), rasterio.open(path, driver="GTiff") as file:
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                _check_room(path, file.width * file.height * file.count)
                for _, window in file.block_windows(1):
                    file.read(window=window)
        elif name.endswith((".h5", ".hdf5")):
            import h5py

            with h5py.File(path) as file:
                file.visit(lambda _: None)
        elif name.endswith((".zip", ".tar", ".tgz", ".gz")):
            size = 0
            for member, _, source in _members(path):
                _safe_path(member, path)
                with source as content:
                    while content is not None and (block := content.read(CHUNK)):
                        size += len(block)
                        _check_room(path, size)
    except DAMAGED as error:
        reason = " ".join(str(error).replace(str(path), name).split())
        raise ValueError(
            f"{name} is damaged, or no {Path(name).suffix[1:]} file at all ({reason})"
        ) from None


def hash_of(path: Path, like: str) -> str:
    """MD5 or SHA-256 of a file, as hex digits as many as ``like`` has."""
    kind = "md5" if len(like) == 32 else "sha256"
    with path.open("rb") as file:
        made = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False))
    return made.hexdigest()


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a zip or tar archive into a new folder, which appears only when all of it is there.

    Args:
        archive: file to read.
        folder: folder to make; must not exist.

    Returns:
        ``folder``.

    Raises:
        FileExistsError: ``folder`` exists.
        ValueError: no archive, a damaged one, one with members outside the folder, links or
            devices, or one that becomes more than :data:`MOST_TIMES` times as large.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists: remove it first, or choose another --out")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Always the same name, so that killed runs leave no more than one such folder.
    scratch = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    size = 0
    try:
        for name, is_folder, source in _members(archive):
            place = scratch / _safe_path(name, archive)
            if is_folder:
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with source as read, place.open("xb") as write:
                while block := read.read(CHUNK):
                    size += len(block)
                    _check_room(archive, size)
                    write.write(block)
        os.replace(scratch, folder)
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise OSError(
                f"the disk is full: {archive} was not unpacked; make room and call again"
            ) from None
        raise ValueError(f"{archive} cannot be unpacked ({error}): download it again") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _check_room(path: Path, size: int) -> None:
    """Refuse a file that becomes far too large (ValueError)."""
    if size > max(FREE_SIZE, MOST_TIMES * path.stat().st_size):
        raise ValueError(
            f"{path.name} becomes more than {MOST_TIMES} times as large unpacked: do not use it, "
            "or unpack it by hand"
        )


def _members(
    archive: Path,
) -> Iterator[tuple[str, bool, contextlib.AbstractContextManager[IO[bytes]]]]:
    """Each member's name, whether it is a folder, and its content.

    Members that are neither a folder nor a plain file are refused (ValueError).
    """
    empty: contextlib.AbstractContextManager = contextlib.nullcontext()
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for info in file.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise ValueError(
                        f"{archive} holds a link ({info.filename}), expected plain files: "
                        "do not use this archive"
                    )
                yield info.filename, info.is_dir(), empty if info.is_dir() else file.open(info)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as file:
            for member in file:
                if not (member.isfile() or member.isdir()):
                    raise ValueError(
                        f"{archive} holds a link or device ({member.name}), expected plain files: "
                        "do not use this archive"
                    )
                content = None if member.isdir() else file.extractfile(member)
                yield member.name, member.isdir(), content or empty
    else:
        raise ValueError(f"{archive} is neither a zip nor a tar archive: download it again")


def _safe_path(name: str, archive: Path) -> Path:
    """A member's name as a relative path below the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts[0] if path.parts else ""):
        raise ValueError(
            f"{archive} holds a member outside its folder ({name}): do not use this archive"
        )
    return Path(*path.parts)
