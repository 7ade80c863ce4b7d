"""Frozen dataclasses of settings: each field has a meaning, a type and bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from numbers import Integral, Real
from typing import Any, NoReturn

TYPE_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}


def setting(
    default: Any,
    meaning: str,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare a setting: a dataclass field with its default, its meaning and its bounds.

    Args:
        default: also says which type is expected.
        meaning: one line, shown as help and in tables of parameters.
        least: smallest number allowed.
        most: largest number allowed.
        choices: the texts allowed; empty allows any.
    """
    bounds = {"meaning": meaning, "least": least, "most": most, "choices": choices}
    return field(default=default, metadata=bounds)


def check(name: str, value: Any, rule: Field[Any]) -> Any:
    """Compare a value with the declaration of its setting.

    Returns:
        The value in the declared type: numpy's numbers, for example, become Python's.

    Raises:
        ValueError: another type, a number out of bounds or not finite, or a text that is no choice.
    """
    kind: Any = type(rule.default)
    value = in_kind(name, value, kind)
    choices = rule.metadata["choices"]
    if choices and value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, found {value!r}")
    if kind in (int, float):
        check_bounds(name, value, rule.metadata["least"], rule.metadata["most"])
    return value


def in_kind(name: str, value: Any, kind: Any) -> Any:
    """A value as truth value, number or text (ValueError: it is of another type)."""
    accepted = {int: Integral, float: Real}.get(kind, kind)
    # Python counts True as a whole number. Here only a setting of truth values takes one.
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, accepted):
        raise ValueError(f"{name} must be {TYPE_NAMES[kind]}, found {value!r}")
    return kind(value)


def check_bounds(name: str, value: float, least: float, most: float = math.inf) -> None:
    """Refuse a number that is out of bounds or not finite (ValueError)."""
    if not least <= value <= most or not math.isfinite(value):
        upper = "" if math.isinf(most) else f" and at most {most:g}"
        finite = "" if math.isfinite(value) else " and finite"
        raise ValueError(f"{name} must be at least {least:g}{upper}{finite}, found {value!r}")


def expect(what: str, value: object, kind: type, hint: str, optional: bool = False) -> None:
    """Refuse an argument of another type (ValueError); None is one of an optional argument."""
    if not isinstance(value, kind) and not (optional and value is None):
        found = f"found {value!r}" if isinstance(value, str) else f"found {type(value).__name__}"
        raise ValueError(f"expected {what} of type {kind.__name__}, {found}: {hint}")


TABLES = ("weights", "options")  # settings that are tables


class Frozen(dict[str, Any]):
    """A table that cannot be changed: settings that were checked stay as they are."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("settings cannot be changed in place: settings.changed(...) makes new ones")

    __setitem__ = __delitem__ = __ior__ = update = pop = popitem = clear = setdefault = _refuse

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        """Pickle and copy as a whole, because items cannot be set one by one."""
        return Frozen, (dict(self),)


@dataclass(frozen=True)
class Settings:
    """Base of all settings: fields made by :func:`setting` are checked when an object is made."""

    def __post_init__(self) -> None:
        """Check every declared field, and freeze tables."""
        for rule in fields(self):
            value = getattr(self, rule.name)
            if "meaning" in rule.metadata:
                object.__setattr__(self, rule.name, check(rule.name, value, rule))
            elif rule.name in TABLES:
                if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
                    raise ValueError(f"{rule.name} must be a table, name to value, found {value!r}")
                object.__setattr__(self, rule.name, Frozen(value))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of all settings."""
        return tuple(rule.name for rule in fields(cls))
