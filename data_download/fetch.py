"""Download, check and unpack one file, so that a broken or hostile one leaves nothing behind."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import shutil
import stat
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

CHUNK = 1 << 20
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
    raise ValueError(f"{url} is not an https address: use https, so that nobody can change the file on its way")


def download(url: str, target: Path, md5: str | None = None, timeout: float = 60.0) -> Path:
    """Download to ``target``, which appears only when it is complete and its checksum fits.

    Args:
        url: https address.
        target: file to write.
        md5: expected hex digest; None skips the check.
        timeout: seconds to wait for the server's next bytes.

    Returns:
        ``target``.

    Raises:
        ValueError: not an https address, or another checksum.
        OSError: the server cannot be reached, answers with an error or breaks off.
    """
    check_url(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}.part")
    request = urllib.request.Request(url, headers={"User-Agent": "clippan-lite data_download"})
    try:
        with urllib.request.build_opener(_HttpsOnly).open(request, timeout=timeout) as answer, part.open("wb") as file:
            found = _copy(answer, file, target.name)
        if md5 and found != md5:
            raise ValueError(f"{target.name} has MD5 {found}, expected {md5}: damaged or changed, try again later")
        os.replace(part, target)
    except (urllib.error.URLError, http.client.HTTPException) as error:
        raise OSError(f"{url} cannot be downloaded ({error}): check the network, or try later") from None
    finally:
        part.unlink(missing_ok=True)
    return target


def _copy(answer: IO[bytes], file: IO[bytes], name: str) -> str:
    """Copy the body with a progress bar; returns its MD5."""
    announced = answer.headers.get("Content-Length")  # type: ignore[attr-defined]
    total = int(announced) if announced else None
    digest, size = hashlib.md5(usedforsecurity=False), 0
    with tqdm(total=total, unit="B", unit_scale=True, desc=name, disable=None) as bar:
        while block := answer.read(CHUNK):
            file.write(block)
            digest.update(block)
            size += len(block)
            bar.update(len(block))
    if total is not None and size != total:
        raise OSError(f"{name}: the server sent {size} of {total} bytes: try again")
    return digest.hexdigest()


def md5_of(path: Path) -> str:
    """MD5 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a zip or tar archive into a new folder, which appears only when all of it is there.

    Args:
        archive: file to read.
        folder: folder to make; must not exist.

    Returns:
        ``folder``.

    Raises:
        FileExistsError: ``folder`` exists.
        ValueError: no archive, a damaged one, or one with members outside the folder, links or devices.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} exists: remove it first, or choose another --out")
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, is_folder, source in _members(archive):
            place = scratch / _safe(name, archive)
            if is_folder:
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with source as read, place.open("xb") as write:
                shutil.copyfileobj(read, write, CHUNK)
        os.replace(scratch, folder)
        folder.chmod(0o755)  # mkdtemp makes it private
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{archive} cannot be unpacked ({error}): download it again") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _members(archive: Path) -> Iterator[tuple[str, bool, contextlib.AbstractContextManager[IO[bytes]]]]:
    """Name, whether it is a folder, and content of each member; refuses everything that is not a plain file."""
    empty: contextlib.AbstractContextManager = contextlib.nullcontext()
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for info in file.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise ValueError(f"{archive} holds a link ({info.filename}), expected plain files: do not use it")
                yield info.filename, info.is_dir(), empty if info.is_dir() else file.open(info)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as file:
            for member in file:
                if not (member.isfile() or member.isdir()):
                    raise ValueError(f"{archive} holds a link or device ({member.name}), expected plain files")
                content = None if member.isdir() else file.extractfile(member)
                yield member.name, member.isdir(), content or empty
    else:
        raise ValueError(f"{archive} is neither a zip nor a tar archive: download it again")


def _safe(name: str, archive: Path) -> Path:
    """A member's name as a relative path below the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts[0] if path.parts else ""):
        raise ValueError(f"{archive} holds a member outside its folder ({name}): do not use this archive")
    return Path(*path.parts)
