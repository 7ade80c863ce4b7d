"""The package's code as a hash: what was made with other code is made anew."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from clippan_lite.runtime.package import FOLDER

#: Wings and modules that decide no figure.
ASIDE = (
    *("cli.py", "__main__.py", "course", "pretraining", "large_scenes", "_notebooks"),
    *("runtime/notebooks.py", "runtime/workers.py", "runtime/lazy.py"),
    *("experiments/study.py", "experiments/sweep.py"),
    *("experiments/tables.py", "experiments/statistics.py", "experiments/claims.py"),
)


@lru_cache(maxsize=1)
def source_hash() -> str:
    """Hash of the package's code and weights that decide figures: a change makes new points."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*")):
        name = path.relative_to(FOLDER).as_posix()
        decides = not name.startswith(ASIDE) and path.suffix in (".py", ".toml", ".safetensors")
        if decides:
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]
