"""Public names of a package that load their module only when somebody asks for them (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any  # a public name can be anything


def attach(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the ``__getattr__`` and ``__dir__`` of a package whose names load on demand.

    In the package's ``__init__``, beside ``if TYPE_CHECKING:`` with the same names imported::

        __getattr__, __dir__ = lazy.attach(__name__, {"qnr": "clippan_lite.metrics.no_reference"})

    Args:
        package: ``__name__`` of the package.
        homes: full name of the module that defines each public name. No submodule of the package
            may have one of these names, because Python would put the module in its place.

    Returns:
        ``__getattr__`` and ``__dir__`` of the package. A name is looked up once and then kept.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return __getattr__, __dir__
