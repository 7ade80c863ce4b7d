"""A study's TOML file as points: arms by grid, in a quick and a full form."""

from __future__ import annotations

import itertools
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clippan_lite.experiments.experiment import Experiment, typed
from clippan_lite.runtime import notebooks

Flat = dict[str, Any]  # flat settings of an experiment: texts, numbers and truth values
FORMS = ("quick", "full")


@dataclass(frozen=True)
class Study:
    """One form of a study, every point written out.

    Attributes:
        name: the file's, without .toml.
        title: of its table.
        question: what it asks.
        form: ``"quick"`` or ``"full"``.
        fixed: settings of all points.
        axes: settings of the grid, and their values.
        arms: settings by arm; the one arm ``""`` where the file names none.
        against: arm -> the arm that it is compared with.
        points: arm and settings of each point, the last axis before the arms.
    """

    name: str
    title: str
    question: str
    form: str
    fixed: Flat
    axes: dict[str, list[Any]]
    arms: dict[str, Flat]
    against: dict[str, str]
    points: list[tuple[str, Flat]]


def read(path: str | os.PathLike[str], full: bool = False) -> Study:
    """Read a study's TOML file and write its points out.

    Args:
        path: the file, or the name of one of ours, such as "A_losses".
        full: its ``[full]`` form instead of ``[quick]``. Both are checked, if both are there.

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
        _check_names(content, ("title", "question", "fixed", *FORMS, "arms"), "the file")
        wanted = "full" if full else "quick"
        forms = [form for form in FORMS if form in content or form == wanted]
        found = {form: _written_out(path.stem, content, form) for form in forms}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path.name}: no TOML: {one_line(error)}") from None
    except ValueError as error:
        raise ValueError(f"{path.name}: {one_line(error)}") from None
    return found[wanted]


def _written_out(name: str, content: Mapping[str, Any], form: str) -> Study:
    """One form of a study from what its file holds."""
    for key in ("title", "question"):
        if not isinstance(content.get(key), str) or not content[key]:
            raise ValueError(f"{key} is {content.get(key)!r}, expected a text")
    if form not in content:
        other = "quick (leave out --full)" if form == "full" else "full (add --full)"
        raise ValueError(f"[{form}] is missing: add it, or take the form {other}")
    own = _table(content, form)
    _check_names(own, ("fixed", "grid"), f"[{form}]")
    fixed = _settings(_table(content, "fixed"), "[fixed]")
    fixed |= _settings(_table(own, "fixed", f"{form}."), f"[{form}.fixed]")
    grid = f"[{form}.grid]"
    axes = {axis: _axis(axis, v, grid) for axis, v in _table(own, "grid", f"{form}.").items()}
    arms, against = {}, {}
    places = {"fixed": fixed}
    for arm in _table(content, "arms"):
        settings = dict(_table(content["arms"], arm, "arms."))
        if "against" in settings:
            against[arm] = settings.pop("against")
        arms[arm] = places[f"in [arms.{arm!r}]"] = _settings(settings, f"[arms.{arm!r}]")
    for where, settings in places.items():
        for axis in settings.keys() & axes:
            raise ValueError(f"{axis} is {where} and in {grid}: expected in one of them")
    for arm, other in against.items():
        if not isinstance(other, str) or other not in arms or other == arm:
            known = ", ".join(arms)
            raise ValueError(
                f"against of [arms.{arm!r}] is {other!r}, expected another arm: {known}"
            )
    arms = arms or {"": {}}
    points = []
    for values in itertools.product(*axes.values()):
        place = fixed | dict(zip(axes, values, strict=True))
        points += [(arm, place | more) for arm, more in arms.items()]
    _check_points(points, len(arms), form)
    facts = (content["title"], content["question"], form)
    return Study(name, *facts, fixed, axes, arms, against, points)


def _axis(axis: str, values: Any, grid: str) -> list[Any]:
    """The values of an axis in the type of the setting."""
    if not isinstance(values, list) or not values:
        raise ValueError(f"{axis} in {grid} is {values!r}, expected a list of one value or more")
    settings = [_settings({axis: value}, grid) for value in values]
    found = [each[axis] for each in settings]
    if len({str(shown(value)) for value in found}) < len(found):
        raise ValueError(
            f"{axis} in {grid} holds a value twice, or two folders of one name: expected different "
            "ones"
        )
    return found


def _check_points(points: Sequence[tuple[str, Flat]], arms: int, form: str) -> None:
    """Refuse points that would fail later, and two arms that do the same."""
    seen: dict[str, str] = {}
    for number, (arm, settings) in enumerate(points):
        experiment = Experiment.of(settings)
        experiment.check()
        read_here = f"place {number // arms}: {experiment.effective()}"
        for key in (read_here, str(experiment)):
            if key in seen:
                raise ValueError(
                    f"arms {seen[key]!r} and {arm!r} are the same point in {form} form: expected a "
                    "difference that counts (language, and a setting of a term, need a weight "
                    "above 0, Stage I adapt_steps above 0)"
                )
            seen[key] = arm


def _check_names(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"{where} has an unknown key {key!r}: expected {', '.join(known)}")


def _table(content: Mapping[str, Any], key: str, parent: str = "") -> Mapping[str, Any]:
    table = content.get(key, {})
    if not isinstance(table, dict):
        name = f"{parent}{key}"
        raise ValueError(f"{name} is {table!r}, expected a table: [{name}]")
    return table


def _settings(values: Mapping[str, Any], where: str) -> Flat:
    """Flat settings in the types of an experiment's."""
    try:
        return typed(values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def shown(value: Any) -> Any:
    """Settings as a table shows them: a folder by its name, because its path is this machine's."""
    if isinstance(value, dict):
        return {name: shown(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shown(each) for each in value]
    path = isinstance(value, str) and (value.startswith("~") or Path(value).is_absolute())
    return Path(value).name if path else value


def label(study: Study, arm: str, settings: Flat) -> str:
    """A point's name in messages: its arm and its place on the axes."""
    axes = [f"{axis} {shown(settings[axis])}" for axis in study.axes]
    return ", ".join([arm, *axes] if arm else axes) or "the point"


def one_line(error: BaseException) -> str:
    """An error's message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
