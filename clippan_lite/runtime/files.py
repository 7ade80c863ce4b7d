"""Where files go, how they are written as a whole or not at all, and products that are kept."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def home() -> Path:
    """Folder of what is kept between runs: ``CLIPPAN_HOME``, else ``~/.cache/clippan-lite``."""
    return Path(os.environ.get("CLIPPAN_HOME") or "~/.cache/clippan-lite").expanduser()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file name in the same folder.

    The file takes the name ``path`` when the block ends well, and is removed when the block raises.
    """
    part = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file as a whole or not at all."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_or_make(
    path: Path | None,
    what: str,
    load: Callable[[Path], T],
    make: Callable[[], T],
    save: Callable[[Path, T], object],
    why: str = "none kept for these settings",
) -> T:
    """Load a product that is kept as a ``.safetensors`` with a ``.json`` beside it, or make it.

    One printed line says which of the two happens.

    Args:
        path: the ``.safetensors``. None makes the product and does not keep it.
        what: name of the product, which begins the printed line.
        load: reads the product.
        make: makes the product.
        save: writes both files.
        why: reason why the product must be made, for the printed line.

    Returns:
        The product.
    """
    if path is not None and path.is_file() and path.with_suffix(".json").is_file():
        print(f"{what}: loaded {path.name}")
        return load(path)
    print(f"{what}: {why}, making it now")
    product = make()
    if path is not None:
        save(path, product)
    return product
