"""A term of your own: a function that a notebook adds to Stage II under a name."""

from __future__ import annotations

import keyword
from collections.abc import Callable

from clippan_lite.losses import BUILT_IN, TERMS
from clippan_lite.losses.terms import Tensor, Term

Function = Callable[..., Tensor]
#: Names of settings and of columns of the history, which a term cannot have.
RESERVED = {
    "adapt", "backbone", "balance", "bands", "batch", "clip", "clip_pretrained", "clip_random",
    "convention", "crops_in_turn", "device", "ds_floor", "examples", "fault", "guard",
    "image_share", "loss", "lr", "method", "ms", "name", "options", "pan", "patch", "prompt",
    "recipe", "register", "scale", "scene", "seed", "self", "sensor", "size", "start", "stem",
    "step", "steps", "stride", "swap", "temperature", "test_scene", "text_share", "tokens",
    "train", "weights",
}  # fmt: skip


def register(name: str, *, needs: str = "", scale: str = "full") -> Callable[[Function], Function]:
    """Add a term of your own to Stage II, as a decorator of its function.

    ``@losses.register("name")`` stands before ``def term(fused, batch)``. With
    ``needs="supervisor"`` there is ``batch.guide``, with ``"teacher"`` ``batch.teacher``, with
    ``"truth"`` ``batch.truth``. ``scale="reduced"`` shows the result one scale down, where
    ``batch.truth`` is MS. A cell that runs again replaces its own term.

    Args:
        name: of the term, and of the setting that is its weight.
        needs: see :class:`Term`.
        scale: see :class:`Term`.

    Raises:
        ValueError: a name that is taken, reserved or no identifier, something that is no function,
            or an unknown need or scale.
    """
    if not isinstance(name, str):
        raise ValueError(f'expected @losses.register("name") with a name, found {name!r}')
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"loss {name!r}: expected letters, digits and _, as in a variable's name")
    if name in RESERVED or name.startswith(("grad", "adapt_")):
        raise ValueError(f"loss {name!r}: a setting or a column has this name; choose another one")

    def add(function: Function) -> Function:
        if not callable(function):
            raise ValueError(f"loss {name!r} must be a function, found {function!r}")
        term = Term(function, scale, needs)
        before = TERMS.get(name, term).function
        if name in BUILT_IN or _place(before) != _place(function):
            raise ValueError(f"loss {name!r} exists already: choose another name")
        TERMS[name] = term
        return function

    return add


def _place(function: Function) -> tuple[object, ...]:
    """Where a function, or an object's class, is defined: the same when its cell runs again."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return named.__module__, named.__qualname__
