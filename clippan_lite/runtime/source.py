"""The code of a function or a class, to notice when it changes."""

from __future__ import annotations

import functools
import inspect
from types import CodeType


def of(thing: object) -> str:
    """Source of a function or a class, else its name and bytecode; of an object, its class's.

    What the code reads elsewhere, such as a global variable, is not in it.
    """
    if isinstance(thing, functools.partial):
        return f"{of(thing.func)} {thing.args} {thing.keywords}"
    if not isinstance(thing, type) and not inspect.isroutine(thing):
        return of(type(thing))
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):  # typed into an interpreter; a notebook keeps functions only
        pass
    if isinstance(thing, type):
        own = {name: value for name, value in vars(thing).items() if name != "__firstlineno__"}
        parts = [f"{name} {_part(value)}" for name, value in own.items()]
        return " ".join([thing.__qualname__, *parts])
    code = getattr(thing, "__code__", None)
    return _bytecode(code) if code else str(getattr(thing, "__qualname__", type(thing)))


def _part(value: object) -> str:
    """What is in a class: the code of a function, and plain values."""
    if inspect.isroutine(value):
        return of(value)
    return repr(value) if isinstance(value, int | float | str | tuple | None) else ""


def _bytecode(code: CodeType) -> str:
    constants = [_bytecode(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_qualname} {code.co_code.hex()} {code.co_names} {' '.join(constants)}"
