"""A study's TOML file as points: arms by grid, in a quick and a full form."""

from __future__ import annotations

import itertools
import os
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clippan_lite.runtime import notebooks

FORMS = ("quick", "full")


@dataclass(frozen=True)
class Study:
    """One form of a study, every point written out."""

    name: str  # the file's, without .toml
    title: str
    question: str
    form: str  # "quick" or "full"
    fixed: dict[str, Any]  # parameters of all points
    axes: dict[str, list]  # parameters of the grid and their values
    arms: dict[str, dict[str, Any]]  # parameters by arm; the one arm "" where the file names none
    against: dict[str, str]  # arm -> the arm that it is compared with
    points: list[tuple[str, dict[str, Any]]]  # (arm, its parameters), the last axis before the arms


def read(path: str | os.PathLike[str], full: bool = False) -> Study:
    """Read a study's TOML file and write its points out.

    Args:
        path: the file, or the name of one of ours, such as "A_losses".
        full: its ``[full]`` form instead of ``[quick]``. Both are checked.

    Returns:
        The study in one form.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not TOML, or something in it that a study has not; one line that names it.
    """
    path, ours = Path(path), notebooks.notebooks_folder() / "studies"
    if not path.is_file() and (ours / f"{path}.toml").is_file():
        path = ours / f"{path}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in ours.glob("*.toml")))
        raise FileNotFoundError(
            f"{path} is not there: expected the TOML file of a study, or one of ours ({known})"
        )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        _only(content, ("title", "question", "fixed", *FORMS, "arms"), "the file")
        for name in ("title", "question"):
            if not isinstance(content.get(name), str) or not content[name]:
                raise ValueError(f"{name} is {content.get(name)!r}, expected a text")
        found = {form: _expanded(path.stem, content, form) for form in FORMS}
    except ValueError as error:
        kind = (
            "no TOML: " if isinstance(error, tomllib.TOMLDecodeError | UnicodeDecodeError) else ""
        )
        raise ValueError(f"{path.name}: {kind}{one_line(error)}") from None
    return found[FORMS[full]]


def _expanded(name: str, content: dict[str, Any], form: str) -> Study:
    """One form of a study from what the file holds."""
    from clippan_lite.experiments import study

    if form not in content:
        raise ValueError(f"[{form}] is missing: a study has both forms, [quick] and [full]")
    own = _only(_table(content, form), ("fixed", "grid"), f"[{form}]")
    fixed = _typed(_table(content, "fixed"), "[fixed]") | _typed(
        _table(own, "fixed", form), f"[{form}.fixed]"
    )
    axes, where = {}, f"[{form}.grid]"
    for key, values in _table(own, "grid", form).items():
        if not isinstance(values, list) or not values:
            raise ValueError(
                f"{key} in {where} is {values!r}, expected a list of one value or more"
            )
        axes[key] = [_typed({key: value}, where)[key] for value in values]
        if len({str(shown(value)) for value in axes[key]}) < len(values):
            raise ValueError(
                f"{key} in {where} holds a value twice, or two folders of one name: expected different ones"
            )
    arms, against = {}, {}
    for arm, entry in _table(content, "arms").items():
        entry = dict(_table(content["arms"], arm, "arms"))
        if "against" in entry:
            against[arm] = entry.pop("against")
        arms[arm] = _typed(entry, f"[arms.{arm!r}]")
        for key in arms[arm].keys() & axes:
            raise ValueError(f"{key} is in {where} and in [arms.{arm!r}]: expected in one of them")
    for key in fixed.keys() & axes:
        raise ValueError(f"{key} is fixed and in {where}: expected in one of them")
    for arm, other in against.items():
        if not isinstance(other, str) or other not in arms or other == arm:
            raise ValueError(
                f"against of [arms.{arm!r}] is {other!r}, expected another arm: {', '.join(arms)}"
            )
    arms = arms or {"": {}}
    places = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    points = [(arm, fixed | place | more) for place in places for arm, more in arms.items()]
    seen: dict[study.Point, str] = {}
    for number, (arm, parameters) in enumerate(points):
        point = study.Point(**parameters)
        study.check(point)
        if number % len(arms) == 0:  # another place on the axes
            doing: dict[study.Point, str] = {}
        does = study.effective(point)
        if point in seen or does in doing:
            raise ValueError(
                f"arms {seen.get(point) or doing[does]!r} and {arm!r} are the same point in {form} form: expected a "
                "difference that counts (language needs a weight above 0, Stage I adapt_steps above 0)"
            )
        seen[point] = doing[does] = arm
    return Study(
        name, content["title"], content["question"], form, fixed, axes, arms, against, points
    )


def _only(table: dict[str, Any], known: Sequence[str], where: str) -> dict[str, Any]:
    for key in table:
        if key not in known:
            raise ValueError(f"{where} has an unknown key {key!r}: expected {', '.join(known)}")
    return table


def _table(content: dict[str, Any], key: str, parent: str = "") -> dict[str, Any]:
    table = content.get(key, {})
    if not isinstance(table, dict):
        name = f"{parent}.{key}" if parent else key
        raise ValueError(f"{name} is {table!r}, expected a table: [{name}]")
    return table


def _typed(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Parameters in the types of `study.Point`."""
    from clippan_lite.experiments import study

    defaults = asdict(study.Point())
    _only(values, tuple(defaults), where)
    try:
        return {key: notebooks.coerce(key, value, defaults[key]) for key, value in values.items()}
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def shown(value: Any) -> Any:
    """A parameter as a table shows it: a folder by its name, since the way there is this machine's alone."""
    path = isinstance(value, str) and (value.startswith("~") or Path(value).is_absolute())
    return Path(value).name if path else value


def label(study: Study, arm: str, parameters: dict[str, Any]) -> str:
    """A point's name in messages: its arm and its place on the axes."""
    return (
        ", ".join(
            [*filter(None, [arm]), *(f"{axis} {shown(parameters[axis])}" for axis in study.axes)]
        )
        or "the point"
    )


def one_line(error: BaseException) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
