"""A run folder as one self-contained page: tables, pictures, failures, parameters and provenance.

Everything the page shows is inside the file, so it can be mailed or opened without a network. The
page names what a run folder lacks instead of leaving it out. Its layout is ``report.html.j2``.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from clippan_lite.experiments import claims
from clippan_lite.metrics.evaluation import LARGER_IS_BETTER
from clippan_lite.runtime import files

#: File names' suffix -> media type of the pictures that a page can hold.
IMAGE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
#: part of the results -> title and explanation of its table
TABLES = {
    "full": (
        "Full resolution, without reference",
        "Measured on the fused image itself, against PAN and MS.",
    ),
    "reduced": (
        "Reduced resolution, by Wald's protocol",
        "Both images degraded by the ratio, the given MS is the truth.",
    ),
    "truth": ("Full resolution, against the known truth", "Only synthetic scenes have it."),
}
DIGITS = {"PSNR": 2, "ERGAS": 3, "SAM": 3}  # else 4
UNITS = {"PSNR": "dB", "SAM": "degrees"}

# The content of a JSON file may be anything, so its values are Any.
Json = dict[str, Any]


def build(run_dir: str | os.PathLike[str]) -> Path:
    """Write ``report.html`` into a run folder.

    Args:
        run_dir: holds ``run.json``, ``results.json`` and ``figures/`` as far as the run came.

    Returns:
        Path of the page.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise FileNotFoundError(
            f"{run_dir} is no run folder: give the folder that clippan-lite chain printed"
        )
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,  # everything but the template itself comes from outside
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["dotted"] = _dotted
    page = environment.get_template("report.html.j2").render(_content(run_dir))
    path = run_dir / "report.html"
    with files.replacing(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def _content(run_dir: Path) -> Json:
    """Everything that the template shows, by the template's names."""
    run, results = _load(run_dir / "run.json"), _load(run_dir / "results.json")
    captions = _load(run_dir / "figures" / "captions.json")
    pictures = {
        path.name: _data_uri(path)
        for path in sorted((run_dir / "figures").glob("*"))
        if path.suffix.lower() in IMAGE_TYPES
    }
    failures = [_failure(entry) for entry in results.get("failures") or []]
    result_pictures = [name for name in pictures if Path(name).stem == "03_fused"]
    shown_elsewhere = set(result_pictures).union(*(failure["figures"] for failure in failures))
    methods = results.get("methods", {})
    tables = [_table(part, methods) for part in TABLES]
    given: Json = {}
    for values in run.get("parameters", {}).values():
        given |= values
    return {
        "scene": _scene_name(run_dir, results),
        "summary": _summary(run_dir, run, results),
        "fused": (run_dir / "fused.tif").is_file(),
        "pictures": pictures,
        "captions": captions,
        # The result itself comes before any table.
        "result_pictures": result_pictures,
        # Pictures in the order of their captions, then the rest by name.
        "other_pictures": [
            name for name in {**captions, **pictures} if name not in shown_elsewhere
        ],
        "tables": [table for table in tables if table["rows"] or table["part"] != "truth"],
        "effects": _effects(results),
        "failures": failures,
        "claims_head": claims.HEAD,
        "claims": claims.table(),
        "run": run,
        "parameters": given,
        "times": [
            [name, _number(entry.get("seconds"), 1), entry.get("status")]
            for name, entry in run.get("notebooks", {}).items()
        ],
        "versions": {"started": run.get("started"), **run.get("versions", {})},
        "provenance": results.get("provenance"),
    }


def _load(path: Path) -> Json:
    """A JSON object; empty if the run has not written it, or if it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _data_uri(path: Path) -> str:
    """A picture as text, to be put into the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f"data:{IMAGE_TYPES[path.suffix.lower()]};base64,{data}"


def _scene_name(run_dir: Path, results: Json) -> str:
    """The scene's name, or the folder's where none is recorded."""
    names = [results.get("scene")]
    names += [_load(path).get("name") for path in sorted(run_dir.glob("scene*/scene.json"))]
    names += [run_dir.name]
    return next(str(name) for name in names if name)


def _summary(run_dir: Path, run: Json, results: Json) -> Json:
    """What a reader wants to know first."""
    provenance = results.get("provenance") or {}
    seconds = sum(entry.get("seconds", 0) for entry in run.get("notebooks", {}).values())
    facts = {
        "Scene": _scene_name(run_dir, results),
        "Sensor": results.get("sensor"),
        "Bands": results.get("bands"),
        "Ratio": results.get("ratio"),
        "Resampling convention": results.get("convention"),
        "Device": run.get("device") or provenance.get("device"),
        "Minutes": f"{seconds / 60:.1f}" if run else None,
        "CLIP": provenance.get("clip"),
        "Status": run.get("status"),
    }
    return {name: "missing" if value is None else value for name, value in facts.items()}


def _table(part: str, methods: dict[str, Json]) -> Json:
    """Methods x metrics of one part of the results, EXP first, with the best values of each metric."""
    title, about = TABLES[part]
    names = [name for name, values in methods.items() if values.get(part)]
    names.sort(key=lambda name: name != "EXP")
    measured = [methods[name] for name in names]
    metrics = list(dict.fromkeys(metric for values in measured for metric in values[part]))
    rows = [[_method(name, methods[name].get("seeds"))] for name in names]
    best = []
    for column, metric in enumerate(metrics, start=1):
        digits = DIGITS.get(metric, 4)
        best_value = _best([values[part].get(metric) for values in measured], metric, digits)
        for index, values in enumerate(measured):
            value = values[part].get(metric)
            spread = (values.get(f"{part}_std") or {}).get(metric)
            text = _number(value, digits)
            rows[index].append(text if spread is None else f"{text} ± {_number(spread, digits)}")
            if _is_finite(value) and round(value, digits) == best_value:
                best.append((index, column))
    return {
        "part": part,
        "title": title,
        "about": about,
        "head": ["method", *map(_heading, metrics)],
        "rows": rows,
        "best": best,
        "has_exp": "EXP" in names,
        "has_spread": any(values.get(f"{part}_std") for values in measured),
    }


def _method(name: str, seeds: list[int] | None) -> str:
    """A method's name, with the number of its seeds in small print."""
    if not seeds:
        return name
    plural = "" if len(seeds) == 1 else "s"
    return Markup("{} <small>({} seed{})</small>").format(name, len(seeds), plural)


def _heading(metric: str) -> str:
    """A metric's name, which way is better, and its unit in small print."""
    name = f"{metric} ↑" if metric in LARGER_IS_BETTER else f"{metric} ↓"
    if metric not in UNITS:
        return name
    return Markup("{} <small>{}</small>").format(name, UNITS[metric])


def _best(values: list[Any], metric: str, digits: int) -> float | None:
    """The best value as printed; several methods may share it."""
    printed = [round(value, digits) for value in values if _is_finite(value)]
    if not printed:
        return None
    return max(printed) if metric in LARGER_IS_BETTER else min(printed)


def _effects(results: Json) -> dict[str, list[list[str]]]:
    """Rows by table title: what the language loss changed, metric by metric."""
    effects = {}
    for part, metrics in (results.get("l_d_effect") or {}).items():
        rows = []
        for metric, values in metrics.items():
            difference = values.get("difference")
            low, high = (values.get("ci95") or [None, None])[:2]
            interval = f"{_number(low, sign='+')} to {_number(high, sign='+')}"
            rows.append(
                [
                    _heading(metric),
                    _number(difference, sign="+"),
                    "–" if low is None or high is None else interval,
                    _number(values.get("n")),
                    _reading(metric, difference, low, high),
                ]
            )
        title, _ = TABLES.get(part, (part, ""))
        effects[title] = rows
    return effects if any(effects.values()) else {}


def _reading(metric: str, difference: Any, low: Any, high: Any) -> str:
    """What a difference and its interval say, in words."""
    if not (_is_finite(difference) and _is_finite(low) and _is_finite(high)):
        return "no interval: too few seeds to tell"
    if low <= 0 <= high:
        return "interval contains 0: no measurable effect"
    better = (difference > 0) == (metric in LARGER_IS_BETTER)
    return "better with L_d" if better else "worse with L_d"


def _failure(entry: Json) -> Json:
    """A failure with the file names of its pictures; the entry names one picture or lists several."""
    figures = entry.get("figure") or []
    if not isinstance(figures, list):
        figures = [figures]
    return {
        "case": str(entry.get("case", "case without a name")),
        "what": str(entry.get("what", "")),
        "figures": [Path(str(name)).name for name in figures],
        "facts": {k: v for k, v in entry.items() if k not in ("case", "what", "figure")},
    }


def _dotted(values: Json, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of an object; those of an object inside it get a dotted name."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{prefix}{name}", text


def _number(value: Any, digits: int = 4, sign: str = "") -> str:
    """A number with fixed decimals, with ``sign="+"`` always with its sign; a dash where none is."""
    if isinstance(value, int):
        return f"{value:{sign}d}"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:{sign}.{digits}f}"
    return value if isinstance(value, str) else "–"


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
