"""A run folder as one self-contained page: tables, pictures, failures, parameters and provenance.

Everything the page shows is inside the file, so it can be mailed or opened without a network. The
page names what a run folder lacks instead of leaving it out. Its text is in ``report.html.j2``.
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

from clippan_lite.experiments import claims
from clippan_lite.metrics.evaluation import LARGER_IS_BETTER
from clippan_lite.runtime import files

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
DIGITS = {"PSNR": 2, "ERGAS": 3, "SAM": 3, "seconds": 1, "minutes": 1}  # else 4
UNITS = {"PSNR": "dB", "SAM": "degrees"}

# What a JSON file holds may have any type, hence Any here and below.
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
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # everything but the template itself comes from outside
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "number": _number,
        "dotted": _dotted,
        "reading": _reading,
        "figures": _figures,
    }
    page = templates.get_template("report.html.j2").render(_content(run_dir))
    path = run_dir / "report.html"
    with files.replacing(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def _content(run_dir: Path) -> Json:
    """What the template shows, by the names it uses."""
    run, results = _load(run_dir / "run.json"), _load(run_dir / "results.json")
    folder = run_dir / "figures"
    captions = _load(folder / "captions.json")
    pictures = {
        path.name: _data_uri(path)
        for path in sorted(folder.glob("*"))
        if path.suffix.lower() in IMAGE_TYPES
    }
    failures = results.get("failures") or []
    result_pictures = [name for name in pictures if Path(name).stem == "03_fused"]
    shown_elsewhere = set(result_pictures).union(*map(_figures, failures))
    tables = {part: _table(part, results.get("methods", {})) for part in TABLES}
    if not tables["truth"]["methods"]:
        del tables["truth"]
    effects = results.get("l_d_effect") or {}
    parameters: Json = {}
    for given in run.get("parameters", {}).values():
        parameters |= given
    scenes = [_load(path).get("name") for path in sorted(run_dir.glob("scene*/scene.json"))]
    names = [results.get("scene"), *scenes, run_dir.name]
    seconds = [entry.get("seconds", 0) for entry in run.get("notebooks", {}).values()]
    return {
        "scene": next(name for name in names if name),
        "minutes": sum(seconds) / 60,
        "fused": (run_dir / "fused.tif").is_file(),
        "pictures": pictures,
        "captions": captions,
        "result_pictures": result_pictures,
        # In the order of their captions, then the rest by name.
        "other_pictures": [
            name for name in {**captions, **pictures} if name not in shown_elsewhere
        ],
        "titles": {part: title for part, (title, _) in TABLES.items()},
        "explanations": {part: explanation for part, (_, explanation) in TABLES.items()},
        "units": UNITS,
        "larger_is_better": LARGER_IS_BETTER,
        "tables": tables,
        "effects": effects if any(effects.values()) else {},
        "failures": failures,
        "claims_head": claims.HEAD,
        "claims": claims.table(),
        "run": run,
        "parameters": parameters,
        "results": results,
        "provenance": results.get("provenance") or {},
    }


def _load(path: Path) -> Json:
    """A JSON object; empty if the run has not written it, or if it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _data_uri(path: Path) -> str:
    """A picture as text that can stand in the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f"data:{IMAGE_TYPES[path.suffix.lower()]};base64,{data}"


def _figures(failure: Json) -> list[str]:
    """File names of a failure's pictures; its entry names one or lists several."""
    named = failure.get("figure") or []
    listed = named if isinstance(named, list) else [named]
    return [Path(str(name)).name for name in listed]


def _table(part: str, methods: dict[str, Json]) -> Json:
    """The methods that have a part of the results, EXP first, and each metric's best value."""
    names = [name for name, values in methods.items() if values.get(part)]
    names.sort(key=lambda name: name != "EXP")
    best = {}
    for metric in dict.fromkeys(metric for name in names for metric in methods[name][part]):
        values = [methods[name][part].get(metric) for name in names]
        finite = [value for value in values if _is_finite(value)]
        choose = max if metric in LARGER_IS_BETTER else min
        # As printed, because methods whose values look the same are equally good.
        best[metric] = _number(choose(finite), metric) if finite else None
    return {
        "methods": {name: methods[name] for name in names},
        "best": best,
        "has_spread": any(methods[name].get(f"{part}_std") for name in names),
    }


def _reading(effect: Json, metric: str) -> str:
    """What a difference and its interval say, in words."""
    numbers = [effect.get("difference"), *(effect.get("t95") or [None])]
    if not all(map(_is_finite, numbers)):
        return "no interval: too few seeds to tell"
    difference, low, high = numbers
    if low <= 0 <= high:
        return "interval contains 0: no measurable effect"
    better = (difference > 0) == (metric in LARGER_IS_BETTER)
    return "better with L_d" if better else "worse with L_d"


def _dotted(values: Json, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of an object; what is in an object inside it gets a dotted name."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{prefix}{name}", text


def _number(value: Any, name: str = "", sign: str = "") -> str:
    """A number with its name's decimals; a dash where none is. ``sign="+"`` shows all signs."""
    if isinstance(value, int):
        return f"{value:{sign}d}"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:{sign}.{DIGITS.get(name, 4)}f}"
    return value if isinstance(value, str) else "–"


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
