"""The code of a function or a class, to notice when it changes."""

from __future__ import annotations

import functools
import inspect
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

PLAIN = (bool, int, float, str, tuple, type(None))


def of(thing: object) -> str:
    """Source of a function or a class, else its name and bytecode; of an object, its class's.

    What the code reads elsewhere, such as a global variable, is not in it: see
    `with_what_it_reads`.
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


def with_what_it_reads(thing: object) -> str:
    """`of` a function or a class, and of what it reads elsewhere.

    That is: its global names for numbers and texts, functions and classes of the user's own, and
    the whole file of a module of the user's own. Installed libraries are left out.
    """
    parts: dict[str, str] = {}
    left = [("", thing)]
    while left:
        name, value = left.pop()
        if name in parts:
            continue
        if isinstance(value, ModuleType):
            parts[name] = Path(str(value.__file__)).read_text(encoding="utf-8", errors="replace")
            continue
        parts[name] = repr(value) if isinstance(value, PLAIN) else of(value)
        left += _read_by(value)
    return " ".join(f"{name} {parts[name]}" for name in sorted(parts))


def _read_by(thing: object) -> Iterator[tuple[str, object]]:
    """Global names that code reads, and their values, if those are the user's own."""
    if isinstance(thing, type):
        yield from (
            (f"{base.__module__}.{base.__name__}", base)
            for base in thing.__mro__[1:-1]
            if _is_own(base)
        )
        for value in vars(thing).values():
            yield from _read_by(value)
    if not isinstance(thing, FunctionType):
        return
    codes = [thing.__code__]
    for code in codes:
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    for name in {name for code in codes for name in code.co_names}:
        value = thing.__globals__.get(name, inspect)
        if isinstance(value, PLAIN) or _is_own(value):
            yield f"{thing.__module__}.{name}", value


def _is_own(thing: object) -> bool:
    """Whether a function, class or module is neither ours nor an installed library's."""
    name = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None)
    if not isinstance(thing, ModuleType | FunctionType | type) or not isinstance(name, str):
        return False
    if name == "__main__":  # a notebook's cells, or the script that runs
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    if isinstance(thing, ModuleType) and not str(file).endswith(".py"):
        return False
    installed = {sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")}
    folders = [*installed, str(Path(__file__).parents[1])]
    return name != "builtins" and not any(str(file).startswith(folder) for folder in folders)


def _part(value: object) -> str:
    """What is in a class: the code of a function, and plain values."""
    if inspect.isroutine(value):
        return of(value)
    return repr(value) if isinstance(value, PLAIN) else ""


def _bytecode(code: CodeType) -> str:
    constants = [_bytecode(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_qualname} {code.co_code.hex()} {code.co_names} {' '.join(constants)}"
