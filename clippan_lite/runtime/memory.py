"""Memory that a training step, or a tile, frees and the next one takes again."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Any  # a C library has any attributes

# Of <malloc.h>: how much may lie free, and the size from which a block has pages of its own.
TRIM, OWN_PAGES = -1, -3
SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")

_inside: list[None] = []


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Inside, freed memory stays with this process; afterwards it is given back to the system.

    Tensors of tens of MB come and go in each step, and fetching their pages anew takes a CPU up to
    a quarter longer. Afterwards the thresholds are 64 and 32 MiB, the most that glibc's own rule
    reaches. Nothing is changed without glibc, or where its variables are set, as in our workers.
    """
    library: Any = None
    with contextlib.suppress(OSError, TypeError):  # TypeError: on Windows
        library = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim") or any(name in os.environ for name in SET_BY_USER):
        yield
        return
    _inside.append(None)
    # An older glibc refuses a GiB, and must be asked before the rest is fixed.
    library.mallopt(OWN_PAGES, 2**30) or library.mallopt(OWN_PAGES, 2**25)
    library.mallopt(TRIM, 2**31 - 1)
    try:
        yield
    finally:
        _inside.pop()
        if not _inside:  # the outermost, of all threads
            library.mallopt(OWN_PAGES, 2**25)
            library.mallopt(TRIM, 2**26)
            library.malloc_trim(0)
