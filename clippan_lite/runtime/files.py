"""Where files go, and writing them so that a half-written one never bears the final name."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def home() -> Path:
    """Folder for what the package keeps between runs: ``CLIPPAN_HOME``, else ``~/.cache/clippan-lite``."""
    return Path(os.environ.get("CLIPPAN_HOME") or "~/.cache/clippan-lite").expanduser()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file name in the same folder; it takes ``path``'s name when all went well, else it goes."""
    part = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file as a whole or not at all."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
