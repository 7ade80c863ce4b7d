"""Tables of a sweep: written, read again, and what the arms of the study change in them."""

from __future__ import annotations

import contextlib
import csv
import itertools
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

from clippan_lite.experiments import statistics
from clippan_lite.experiments.experiment import Experiment
from clippan_lite.experiments.study import Study, shown
from clippan_lite.runtime import devices, files
from clippan_lite.runtime import facts as facts_of

Row = dict[str, Any]  # arm, values of the axes, figures: texts and numbers


def write(
    out: Path,
    study: Study,
    keys: Sequence[str],
    failures: Mapping[str, str],
    code: str,
    data: Mapping[str, str],
) -> dict[str, Any]:
    """Write ``table.csv`` and ``table.json`` of what is finished; returns the latter."""
    rows, devices_used, failed = [], set(), 0
    for (arm, settings), key in zip(study.points, keys, strict=True):
        point = kept(out / "points", key)
        if point is not None:
            axes = {axis: shown(settings[axis]) for axis in study.axes}
            rows.append({"arm": arm, **axes, **point["row"]})
            devices_used.add(point["device"])
        elif key in failures or (out / "points" / f"{key}.failed.json").is_file():
            failed += 1
    columns = list(dict.fromkeys(["arm", *study.axes, *itertools.chain(*rows)]))
    if "minutes" in columns:
        columns.append(columns.pop(columns.index("minutes")))
    missing = len(keys) - len(rows) - failed
    facts = {
        "study": study.name,
        "title": study.title,
        "question": study.question,
        "form": study.form,
        "fixed": shown(study.fixed),
        "axes": shown(study.axes),
        "arms": shown(study.arms),
        "against": study.against,
        "points": {"finished": len(rows), "failed": failed, "missing": missing},
        "provenance": {
            "code": code,
            "data": dict(data),
            "versions": devices.versions(),
            "device": ", ".join(sorted(devices_used)),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "minutes": round(sum(row.get("minutes", 0.0) for row in rows), 2),
        },
    }
    for row in rows:
        figures = row.keys() - study.axes.keys()
        row |= {name: f"{row[name]:.6g}" for name in figures if isinstance(row[name], float)}
    files.write_csv(out / "table.csv", rows, columns)
    files.write_json(out / "table.json", facts)
    return facts


def kept(folder: Path, key: str) -> dict[str, Any] | None:
    """A finished point, or None where there is none or it is damaged."""
    try:
        found = facts_of.read(folder / f"{key}.json")
        row, device = found.table("row").values, found.text("device")
        is_row = row and all(isinstance(value, str | int | float) for value in row.values())
        timed = isinstance(row.get("minutes", 0.0), int | float)
        return found.values if is_row and timed and device else None
    except (OSError, ValueError):
        return None


def load(place: str | os.PathLike[str]) -> tuple[list[Row], dict[str, Any]]:
    """Read a table of a sweep.

    Args:
        place: the folder of a run, or a ``NAME.csv`` with its ``NAME.json`` beside it.

    Returns:
        Rows, with metrics as floats, axes in the types of the study, and without metrics that a
        point has not. And the facts of the JSON.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: they are no table of a sweep.
    """
    path = Path(place).expanduser()
    path = path / "table.csv" if path.is_dir() else path
    for file in (path, path.with_suffix(".json")):
        if not file.is_file():
            raise FileNotFoundError(
                f"{file} is not there: expected a sweep's table, a CSV with a JSON beside it"
            )
    try:
        found = facts_of.read(path.with_suffix(".json"))
        facts, against = found.values, found.table("against")
        _ = found.table("points"), found.tables("arms"), [against.text(arm) for arm in against]
        for axis, values in found.table("axes").values.items():
            if not all(isinstance(value, str | int | float) for value in values):
                raise ValueError(f"{axis} in axes is no list of texts and numbers")
        with path.open(encoding="utf-8", newline="") as lines:
            rows = [_read_row(texts, facts["axes"]) for texts in csv.DictReader(lines)]
        places = [tuple(row[name] for name in ("arm", *facts["axes"])) for row in rows]
        twice = [place for place in places if places.count(place) > 1]
        if twice:
            raise ValueError(f"a point is there twice: {twice[0]}")
        return rows, facts
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise ValueError(
            f"{path} is no table of a sweep, or not that of the JSON beside it ({error!r})"
        ) from None


def _read_row(texts: Mapping[str, str], axes: Mapping[str, Sequence[Any]]) -> Row:
    row: Row = {"arm": texts["arm"]}
    for axis, values in axes.items():
        row[axis] = {str(value): value for value in values}[texts[axis]]
    for name, text in texts.items():
        if name not in row and text != "":
            row[name] = text
            with contextlib.suppress(ValueError):
                row[name] = float(text)
    return row


def effects(
    rows: Sequence[Row], study: Study | Mapping[str, Any], by: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """What each arm changes against the one that it is compared with.

    Points are paired over the axes that are not in ``by``.

    Args:
        rows: from :func:`load`.
        study: from `study.read`, or the facts of :func:`load`.
        by: axes whose values are kept apart. Those that the study has not are left out. None: all
            but ``seed``, because only seeds are repetitions.

    Returns:
        One entry per arm, value of ``by`` and metric: ``arm``, ``against``, the values of ``by``,
        ``metric``, and what `statistics.effect` says of arm minus against. Two classical methods,
        which have no seed, count as one pair.

    Raises:
        ValueError: ``by`` holds what is no setting.
    """
    facts = vars(study) if isinstance(study, Study) else study
    for name in by or ():
        if name not in Experiment().flat():
            raise ValueError(f"by holds {name!r}, expected settings, such as scene or seed")
    axes, against = list(facts["axes"]), facts["against"]
    by = [axis for axis in axes if (axis != "seed" if by is None else axis in by)]
    names = dict.fromkeys(itertools.chain(*rows))
    metrics = [name for name in names if name not in ("arm", "minutes", *axes)]
    table = {(row["arm"], *(row[axis] for axis in axes)): row for row in rows}
    differences: dict[tuple, list[float]] = {}
    for (arm, *place), row in table.items():
        partner = table.get((against.get(arm), *place), {})
        for metric in metrics:
            ours, theirs = row.get(metric), partner.get(metric)
            if isinstance(ours, float) and isinstance(theirs, float) and isfinite(ours - theirs):
                group = (arm, *(row[axis] for axis in by), metric)
                differences.setdefault(group, []).append(ours - theirs)
    classical = {arm for arm, more in facts.get("arms", {}).items() if more.get("method")}
    found = []
    groups = dict.fromkeys(tuple(row[axis] for axis in by) for row in rows)
    for arm, place, metric in itertools.product(against, groups, metrics):
        changes = differences.get((arm, *place, metric), [])
        if {arm, against[arm]} <= classical:
            changes = changes[:1]
        if changes:
            cell = {"arm": arm, "against": against[arm], **dict(zip(by, place, strict=True))}
            found.append({**cell, "metric": metric, **statistics.effect(changes, metric)})
    return found


def summary(
    found: Sequence[Mapping[str, Any]], metrics: Sequence[str] = ("PSNR", "QNR")
) -> list[str]:
    """Some of what :func:`effects` found, a line each, and what the marks mean."""
    lines = [
        "arm against the arm that it is compared with: mean difference, 95 % interval, pairs n"
    ]
    for cell in found:
        if cell["metric"] not in metrics:
            continue
        names = list(cell)
        axes = names[names.index("against") + 1 : names.index("metric")]
        place = " ".join(_place(axis, cell[axis]) for axis in axes if cell[axis] != "")
        interval = "no interval"
        if cell["t95"]:
            interval = "[{:+.3f}, {:+.3f}]".format(*cell["t95"])
        verdict = ""
        if cell["n"] < statistics.FEWEST:
            verdict = f": fewer than {statistics.FEWEST} pairs, no verdict"
        elif cell["clear"]:
            verdict = ": clear of 0"
        change = f"{cell['metric']} {cell['difference']:+.3f} {interval}, n = {cell['n']}{verdict}"
        lines.append(f"{place}: {cell['arm']} against {cell['against']}: {change}")
    return lines


def _place(axis: str, value: object) -> str:
    """A value of an axis in words: a scene says what it is, a number needs the axis's name."""
    return str(value) if axis in ("scene", "test_scene") else f"{axis} {value}"
