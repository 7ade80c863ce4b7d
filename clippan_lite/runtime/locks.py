"""One writer at a time for a file, or a folder."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from clippan_lite.runtime.files import remove_unfinished


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the name of a file that is being made. A killed process lets go of it.

    Raises:
        ValueError: another call holds it; the message says which.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, note = (path.with_name(f".{path.name}.{ending}") for ending in ("lock", "holder"))
    try:
        holding = FileLock(lock).acquire(blocking=False)
    except Timeout:
        if not lock.exists():
            raise ValueError(
                f"{path} cannot be written: {path.parent} takes no files; choose another folder"
            ) from None
        holder = "another process"
        with contextlib.suppress(OSError):
            holder = note.read_text(encoding="utf-8") or holder
        raise ValueError(
            f"{path} is being written by {holder}: wait until it is done, or choose another name"
        ) from None
    with holding:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        host = socket.gethostname()
        note.write_text(f"process {os.getpid()} on {host} since {since}", encoding="utf-8")
        try:
            yield
        finally:
            for file in (note, lock):
                with contextlib.suppress(OSError):  # Windows keeps a file that is open
                    file.unlink()


@contextlib.contextmanager
def only_one(folder: Path, what: str, advice: str) -> Iterator[None]:
    """Keep a folder for one call at a time, and remove what killed ones left half-written there.

    The system frees the lock when the process dies, however it dies.

    Args:
        folder: made if missing.
        what: of what there is only one, such as ``"chain"``.
        advice: what to do else than wait.

    Raises:
        ValueError: another call works in the folder, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder} cannot be made ({error.strerror}): {advice}") from error
    try:
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"another {what} is running in {folder}: wait for it, or {advice}"
        ) from None
    with lock:
        remove_unfinished(folder)
        yield
