"""Memory that a training step, or a tile, frees and the next one takes again."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

TRIM, OWN_PAGES = -1, -3  # of <malloc.h>: sizes above which freed memory goes back to the system
#: What is set inside, and after: 64 and 32 MiB are where glibc's own rule ends.
KEEP, USUAL = ((TRIM, 2**31 - 1), (OWN_PAGES, 2**30)), ((TRIM, 2**26), (OWN_PAGES, 2**25))

_inside: list[None] = []


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Inside, freed memory stays with this process, to be used again; afterwards it is given back.

    Tensors of tens of MB come and go in each step. If the system has to bring their pages anew, a
    training on a CPU takes up to a quarter longer. Without glibc, nothing is changed.
    """
    try:
        library = ctypes.CDLL(None)
        mallopt, trim = library.mallopt, library.malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, another system
        yield
        return
    _inside.append(None)
    for option, value in KEEP:
        mallopt(option, value)
    try:
        yield
    finally:
        _inside.pop()
        if not _inside:  # the last to leave, of several threads or one in another
            for option, value in USUAL:
                mallopt(option, value)
            trim(0)
