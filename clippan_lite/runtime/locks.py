"""One writer at a time for a file."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout


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
