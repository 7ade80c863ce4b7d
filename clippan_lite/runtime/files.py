"""Where files go, how they are written as a whole or not at all, and products that are kept."""

from __future__ import annotations

import contextlib
import csv
import errno
import glob
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
DAY = 86400  # seconds
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def home() -> Path:
    """Folder of what is kept between runs: ``CLIPPAN_HOME``, else ``~/.cache/clippan-lite``."""
    return Path(os.environ.get("CLIPPAN_HOME") or "~/.cache/clippan-lite").expanduser()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file name in the same folder.

    The file takes the name ``path`` when the block ends well, and is removed when the block raises.
    Those of the same name that calls killed a day ago or earlier left are removed, too.

    Raises:
        OSError: the disk is full.
    """
    remove_unfinished(path.parent, path.stem, DAY)
    part = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        before = "the one before it is kept" if path.is_file() else "none is kept"
        raise OSError(f"the disk is full: {path} was not written, {before}; make room") from None
    finally:
        part.unlink(missing_ok=True)


def remove_unfinished(folder: Path, stem: str = "*", age: float = 0) -> None:
    """Remove what killed calls left half-written in a folder; nobody may be writing there.

    Args:
        folder: where :func:`replacing` wrote.
        stem: of the file that was to be written; ``"*"`` are all.
        age: seconds since the last byte, at least.
    """
    name = stem if stem == "*" else glob.escape(stem)
    for part in folder.glob(f".{name}-????????.part*"):
        with contextlib.suppress(OSError):  # another call removed it, or it is not ours to remove
            if time.time() - part.stat().st_mtime >= age:
                part.unlink()


def write_json(path: Path, content: object) -> None:
    """Write a JSON file as a whole or not at all."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_csv(
    path: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()
) -> None:
    """Write rows as a CSV file, as a whole or not at all. Columns are the first row's, or given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns or list(*rows[:1]), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def load_or_make(
    path: Path | None,
    what: str,
    load: Callable[[Path], T],
    make: Callable[[], T],
    save: Callable[[Path, T], object] | None = None,
    why: str = "none kept for these settings",
) -> T:
    """Load a product that is kept in a file, or make it.

    One printed line says which of the two happens.

    Args:
        path: the file; where others belong to it, the one that is written last. None makes the
            product and does not keep it.
        what: name of the product, which begins the printed line.
        load: reads the product.
        make: makes the product.
        save: writes the file. None: ``make`` wrote it.
        why: reason why the product must be made, for the printed line.

    Returns:
        The product.
    """
    if path is not None and path.is_file():
        print(f"{what}: loaded {path.name}")
        return load(path)
    print(f"{what}: {why}, making it now")
    product = make()
    if path is not None and save is not None:
        save(path, product)
    return product
