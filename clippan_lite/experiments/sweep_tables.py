"""Tables of a sweep: written from its finished points, read again, and what the arms of a study change."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from clippan_lite.experiments import statistics
from clippan_lite.experiments.study import Point
from clippan_lite.experiments.sweep_points import Study, shown
from clippan_lite.metrics.evaluation import LARGER_IS_BETTER
from clippan_lite.runtime import devices, files

RESAMPLES = 10_000  # of the bootstrap


def write(
    out: Path,
    study: Study,
    keys: list[str],
    failures: dict[str, str],
    code: str,
    data: dict[str, str],
) -> dict[str, Any]:
    """Write ``table.csv`` and ``table.json`` of what is finished; returns the latter."""
    points = [kept(out / "points", key) for key in keys]
    rows = [
        {"arm": arm, **{axis: shown(parameters[axis]) for axis in study.axes}, **point["row"]}
        for (arm, parameters), point in zip(study.points, points, strict=True)
        if point is not None
    ]
    names = dict.fromkeys(name for row in rows for name in row) or dict.fromkeys(
        ("arm", *study.axes)
    )
    columns = [
        *(name for name in names if name != "minutes"),
        *(["minutes"] if "minutes" in names else []),
    ]
    failed = sum(
        point is None and (key in failures or (out / "points" / f"{key}.failed.json").is_file())
        for key, point in zip(keys, points, strict=True)
    )
    facts = {
        "study": study.name,
        **{name: getattr(study, name) for name in ("title", "question", "form")},
        "fixed": {name: shown(value) for name, value in study.fixed.items()},
        "axes": {name: [shown(value) for value in values] for name, values in study.axes.items()},
        "arms": {
            arm: {name: shown(value) for name, value in more.items()}
            for arm, more in study.arms.items()
        },
        "against": study.against,
        "points": {
            "finished": len(rows),
            "failed": failed,
            "missing": len(keys) - len(rows) - failed,
        },
        "provenance": {
            "code": code,
            "data": data,
            "versions": devices.versions(),
            "device": ", ".join(sorted({point["device"] for point in points if point})),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "minutes": round(sum(row.get("minutes", 0.0) for row in rows), 2),
        },
    }
    with (
        files.replacing(out / "table.csv") as part,
        part.open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(
            {
                n: f"{v:.6g}" if isinstance(v, float) and n not in study.axes else v
                for n, v in row.items()
            }
            for row in rows
        )
    files.write_json(out / "table.json", facts)
    return facts


def kept(folder: Path, key: str) -> dict[str, Any] | None:
    """A finished point, or None."""
    try:
        found = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
        return found if found["row"] and found["device"] else None
    except (OSError, ValueError, KeyError, TypeError):  # damaged: to be measured again
        return None


def load(place: str | os.PathLike[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Read a table that `run` wrote: a run's folder, or a ``NAME.csv`` with its ``NAME.json`` beside it.

    Args:
        place: the folder or the CSV.

    Returns:
        Rows, with metrics as floats, axes in the types of the study, and without metrics that a point has not; and the
        facts of the JSON.

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
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        _ = facts["against"], facts["points"]
        axes = {
            axis: {str(value): value for value in values} for axis, values in facts["axes"].items()
        }
        with path.open(encoding="utf-8", newline="") as file:
            rows = [_read_row(row, axes) for row in csv.DictReader(file)]
        places = [(row["arm"], *(row[axis] for axis in axes)) for row in rows]
        if len(set(places)) < len(places):
            raise ValueError(
                f"a point is there twice: {next(p for p in places if places.count(p) > 1)}"
            )
        return rows, facts
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no table of a sweep, or not that of the JSON beside it ({error!r})"
        ) from None


def _read_row(texts: dict[str, str], axes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "arm": texts["arm"],
        **{axis: values[texts[axis]] for axis, values in axes.items()},
    }
    for name, text in texts.items():
        if name not in row and text != "":
            row[name] = text
            with contextlib.suppress(ValueError):
                row[name] = float(text)
    return row


def effects(
    rows: Sequence[dict[str, Any]], study: Study | dict[str, Any], by: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """What each arm changes against the one that it is compared with, paired over the axes that are not in ``by``.

    The percentile bootstrap of few pairs is too narrow, so Student's interval stands beside it.

    Args:
        rows: from `load`.
        study: from `read`, or the facts of `load`.
        by: axes whose values are kept apart; those that the study has not are left out. None: all but ``seed``, for
            only seeds are repetitions.

    Returns:
        One entry per arm, value of ``by`` and metric: ``arm``, ``against``, the values of ``by``, ``metric``,
        ``difference`` (mean of arm minus against), ``bootstrap95`` and ``t95`` (``[low, high]``, None for one pair),
        ``n`` pairs (two classical methods, which have no seed, count as one), ``better`` (the difference is an
        improvement, whatever the sign that means for the metric), and
        ``clear`` (both intervals leave 0 out).

    Raises:
        ValueError: ``by`` holds what is no parameter of a point.
    """
    facts = vars(study) if isinstance(study, Study) else study
    for name in by or ():
        if name not in Point.__dataclass_fields__:
            raise ValueError(
                f"by holds {name!r}, expected parameters of a point, such as scene or seed"
            )
    axes, arms = list(facts["axes"]), facts.get("arms", {})
    by = [axis for axis in axes if (axis != "seed" if by is None else axis in by)]
    table = {(row["arm"], *(row[axis] for axis in axes)): row for row in rows}
    groups = dict.fromkeys(tuple(row[axis] for axis in by) for row in rows)
    metrics = dict.fromkeys(n for row in rows for n in row if n not in ("arm", "minutes", *axes))
    found = []
    for (arm, other), group, metric in itertools.product(facts["against"].items(), groups, metrics):
        changes = []
        for (name, *place), row in table.items():
            partner = table.get((other, *place))
            if name == arm and partner and tuple(row[axis] for axis in by) == group:
                pair = (row.get(metric), partner.get(metric))
                if all(isinstance(value, float) and np.isfinite(value) for value in pair):
                    changes.append(pair[0] - pair[1])
        if all(arms.get(name, {}).get("method") for name in (arm, other)):
            changes = changes[:1]
        if changes:
            place = dict(zip(by, group, strict=True))
            found.append(
                {
                    "arm": arm,
                    "against": other,
                    **place,
                    "metric": metric,
                    **_effect(changes, metric),
                }
            )
    return found


def summary(found: Sequence[dict[str, Any]], metrics: Sequence[str] = ("PSNR", "QNR")) -> list[str]:
    """Some of what `effects` found, a line each; ``*`` marks what is clear of 0."""
    lines = []
    for cell in found:
        if cell["metric"] in metrics:
            place = " ".join(str(v) for k, v in cell.items() if k not in _FACTS and v != "")
            interval = (
                "no interval" if cell["t95"] is None else "[{:+.3f}, {:+.3f}]".format(*cell["t95"])
            )
            change = f"{cell['metric']} {cell['difference']:+.3f} {interval}{'*' if cell['clear'] else ''}"
            lines.append(
                f"{place}: {cell['arm']} against {cell['against']}: {change}, n = {cell['n']}"
            )
    return lines


_FACTS = ("arm", "against", "metric", "difference", "bootstrap95", "t95", "n", "better", "clear")


def _effect(changes: list[float], metric: str) -> dict[str, Any]:
    """Mean of paired differences, its two intervals and what they say."""
    change, n = np.array(changes), len(changes)
    mean = float(change.mean())
    bootstrap = student = None
    if n > 1:
        drawn = np.random.default_rng(0).integers(0, n, (RESAMPLES, n))
        bootstrap = [float(end) for end in np.percentile(change[drawn].mean(1), [2.5, 97.5])]
        student = statistics.student95(change)
    return {
        "difference": mean,
        "bootstrap95": bootstrap,
        "t95": student,
        "n": n,
        "better": mean > 0 if metric in LARGER_IS_BETTER else mean < 0,
        "clear": n > 1 and all(low > 0 or high < 0 for low, high in (bootstrap, student)),
    }
