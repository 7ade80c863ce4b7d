"""JSON that people or earlier calls wrote: each value is asked for with its type and bounds."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

LARGEST = 64 << 20  # bytes of such a file; those of ours have a few kB
DEEPEST = 30  # tables within tables
MISSING: Any = object()  # as a default: the value must be there


def read(path: Path) -> Facts:
    """The JSON object of a file.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is too large, not UTF-8, no JSON, or no object.
    """
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{path}: expected a small JSON file, found {size} bytes")
    return parse(path.read_bytes(), str(path))


def parse(text: str | bytes, where: str) -> Facts:
    """The object that a JSON text holds.

    Raises:
        ValueError: it holds something else, or tables that are nested so deep that other code would
            fail on them.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: expected JSON, found something else ({error})") from None
    layer = [content]
    for _ in range(DEEPEST):
        layer = list(itertools.chain.from_iterable(map(_inner, layer)))
    if layer:
        raise ValueError(f"{where}: expected at most {DEEPEST} tables within tables, found more")
    return Facts(content, where)


def _inner(value: object) -> list[Any]:
    if isinstance(value, dict):
        return [*value.values()]
    return value if isinstance(value, list) else []


class Facts:
    """A table of a JSON file.

    What is not as expected raises a ValueError of one line that names ``where`` and the value.
    """

    def __init__(self, values: object, where: str):
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            raise ValueError(f"{where}: expected a table, found {shortened(values)}")
        self.values: dict[str, Any] = values
        self.where = where

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def get(self, name: str, kind: Any, wanted: str, default: Any = MISSING) -> Any:
        """A value of a type; truth values count as no numbers."""
        value = self.values.get(name, default)
        if value is MISSING:
            raise ValueError(f"{self.where}: expected {name}, {wanted}, found none")
        is_good = isinstance(value, kind) and isinstance(value, bool) is (kind is bool)
        self.need(is_good or name not in self.values, name, wanted)
        return value

    def need(self, good: bool, name: str, wanted: str) -> None:
        """Refuse a value unless it is good."""
        if not good:
            found = shortened(self.values[name])
            raise ValueError(f"{self.where}: {name} must be {wanted}, found {found}")

    def whole(self, name: str, least: int, most: int, default: Any = MISSING) -> int:
        """A whole number."""
        wanted = f"a whole number from {least} to {most}"
        value = self.get(name, int, wanted, default)
        self.need(least <= value <= most, name, wanted)
        return value

    def number(self, name: str, default: Any = MISSING) -> float:
        """A finite number."""
        value = self.get(name, int | float, "a finite number", default)
        self.need(is_finite(value), name, "a finite number")
        return value

    def text(self, name: str, default: Any = MISSING) -> str:
        """A text."""
        return self.get(name, str, "a text", default)

    def items(self, name: str, count: int, kind: Any, default: Any = MISSING) -> list[Any]:
        """A list of so many values of one type."""
        wanted = f"a list of {count}"
        values = self.get(name, list, wanted, default)
        good = len(values) == count and all(type(value) in kind for value in values)
        self.need(good and all(map(is_finite, values)), name, wanted)
        return values

    def pairs(self, name: str) -> list[tuple[str, str]]:
        """A list of pairs of texts."""
        wanted = "a list of pairs of texts"
        values = self.get(name, list, wanted)
        for pair in values:
            good = isinstance(pair, list) and [type(each) for each in pair] == [str, str]
            self.need(good, name, wanted)
        return [(first, second) for first, second in values]

    def rows(self, name: str, count: int) -> list[dict[str, float]]:
        """So many tables of finite numbers."""
        found = self.get(name, list, f"{count} rows")
        self.need(len(found) == count, name, f"{count} rows")
        tables = [Facts(row, f"{self.where}, {name}") for row in found]
        return [{key: table.number(key) for key in table} for table in tables]

    def table(self, name: str, default: Any = MISSING) -> Facts:
        """A table within it."""
        return Facts(self.get(name, dict, "a table", default), f"{self.where}, {name}")

    def tables(self, name: str) -> list[tuple[str, Facts]]:
        """The tables within a table, each with its name."""
        outer = self.table(name)
        return [(inner, outer.table(inner)) for inner in outer]


def is_finite(value: object) -> bool:
    """Whether a value is no number, or one that a float can hold; NaN is none."""
    return not isinstance(value, int | float) or abs(value) < 1e300
