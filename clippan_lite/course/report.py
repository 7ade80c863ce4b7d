"""A run folder as one self-contained page: tables, pictures, failures, parameters and provenance.

Everything the page shows is inside the file, so it can be mailed or opened without network. What a run folder lacks
is named on the page instead of being left out.
"""

from __future__ import annotations

import json
import math
import os
from html import escape
from pathlib import Path
from typing import Any

from clippan_lite.course import html_parts
from clippan_lite.experiments import claims
from clippan_lite.runtime import files

# +1: higher is better, -1: lower is better
DIRECTIONS = {
    **dict.fromkeys(("D_lambda", "D_s", "D_lambda_K", "D_rho", "ERGAS", "SAM"), -1),
    **dict.fromkeys(("QNR", "HQNR", "PSNR", "Q2n", "SSIM", "SCC"), 1),
}
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
ABOUT_EXP = (
    "EXP is MS interpolated to PAN's grid, with no detail added. It is printed first because it beats many methods on "
    "QNR and HQNR, and its D_lambda is 0 by construction: these indices alone do not show that an image is sharp."
)
DIGITS = {"PSNR": 2, "ERGAS": 3, "SAM": 3}  # else 4
UNITS = {"PSNR": "dB", "SAM": "degrees"}


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
    run, results = _load(run_dir / "run.json"), _load(run_dir / "results.json")
    captions = _load(run_dir / "figures" / "captions.json") or {}
    pictures = {
        p.name: p
        for p in sorted((run_dir / "figures").glob("*"))
        if p.suffix.lower() in html_parts.TYPES
    }
    failures = (results or {}).get("failures") or []
    shown_there = {name for failure in failures for name in _figures_of(failure)}
    first = [
        name for name in pictures if Path(name).stem == "03_fused"
    ]  # the result itself, before any table
    parts = [
        _summary(run, results, run_dir),
        *(html_parts.picture(pictures[name], str(captions.get(name, ""))) for name in first),
        *(_table(key, results) for key in TABLES if key != "truth" or _has(results, "truth")),
        _effect(results),
        _pictures(pictures, captions, shown_there | set(first)),
        _failures(failures, pictures, captions),
        _claims(),
        _provenance(run, results),
    ]
    scene = _scene_name(run_dir, results)
    path = run_dir / "report.html"
    with files.replacing(path) as part:
        part.write_text(
            html_parts.page(f"clippan-lite: {scene}", "\n".join(parts)), encoding="utf-8"
        )
    return path


def _load(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None if the run has not written it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _scene_name(run_dir: Path, results: dict | None) -> str:
    return str(
        (results or {}).get("scene")
        or next(
            ((_load(path) or {}).get("name") for path in sorted(run_dir.glob("scene*/scene.json"))),
            None,
        )
        or run_dir.name
    )


def _has(results: dict | None, part: str) -> bool:
    return any(part in values for values in (results or {}).get("methods", {}).values())


def _summary(run: dict | None, results: dict | None, run_dir: Path) -> str:
    results = results or {}
    provenance = results.get("provenance") or {}
    minutes = sum(n.get("seconds", 0) for n in (run or {}).get("notebooks", {}).values()) / 60
    facts = {
        "Scene": _scene_name(run_dir, results),
        "Sensor": results.get("sensor"),
        "Bands": results.get("bands"),
        "Ratio": results.get("ratio"),
        "Resampling convention": results.get("convention"),
        "Device": (run or {}).get("device") or provenance.get("device"),
        "Minutes": f"{minutes:.1f}" if run else None,
        "CLIP": provenance.get("clip"),
        "Status": (run or {}).get("status"),
    }
    facts = {k: "missing" if v is None else v for k, v in facts.items()}
    fused = "<p>The fused image is <code>fused.tif</code> beside this page.</p>"
    if not (run_dir / "fused.tif").is_file():
        fused = html_parts.missing("the fused image", "fused.tif, written by the notebooks")
    return f"<h2>Summary</h2>\n{html_parts.pairs(facts)}\n{fused}"


def _table(key: str, results: dict | None) -> str:
    """Methods x metrics, with the best value of each column marked."""
    title, about = TABLES[key]
    head = f"<h2>{escape(title)}</h2>\n"
    methods = {
        name: values
        for name, values in (results or {}).get("methods", {}).items()
        if values.get(key)
    }
    if not methods:
        return head + html_parts.missing("this table", "results.json, written by notebook 04")
    methods = dict(
        sorted(methods.items(), key=lambda item: item[0] != "EXP")
    )  # EXP first, the rest in their order
    metrics = list(dict.fromkeys(m for values in methods.values() for m in values[key]))
    names = list(methods)
    rows, classes = [], {}
    for name, values in methods.items():
        seeds = values.get("seeds")
        note = (
            f" <small>({len(seeds)} seed{'s' if len(seeds) != 1 else ''})</small>" if seeds else ""
        )
        cells = [escape(name) + note]
        for metric in metrics:
            spread = (values.get(f"{key}_std") or {}).get(metric)
            digits = DIGITS.get(metric, 4)
            text = html_parts.number(values[key].get(metric), digits)
            cells.append(
                text if spread is None else f"{text} ± {html_parts.number(spread, digits)}"
            )
        rows.append(cells)
    for j, metric in enumerate(metrics, start=1):
        for i in _best([methods[name][key].get(metric) for name in names], metric):
            classes[i, j] = "best"
    about += " Bold on green: the best value of a column; ↑ higher is better, ↓ lower is better."
    if any(values.get(f"{key}_std") for values in methods.values()):
        about += " Networks: mean ± standard deviation over the seeds."
    if "EXP" not in methods:
        head += html_parts.missing("EXP, the baseline without any detail", "results.json")
    note = f"<p>{escape(ABOUT_EXP)}</p>\n" if key == "full" else ""
    return f"{head}<p>{escape(about)}</p>\n{html_parts.table(rows, ['method', *map(_heading, metrics)], classes)}\n{note}"


def _heading(metric: str) -> str:
    arrow = {1: " ↑", -1: " ↓"}.get(DIRECTIONS.get(metric, 0), "")
    unit = f" <small>{escape(UNITS[metric])}</small>" if metric in UNITS else ""
    return escape(metric) + arrow + unit


def _best(values: list[Any], metric: str) -> list[int]:
    """Indices of the best values as printed, ties included."""
    digits, direction = DIGITS.get(metric, 4), DIRECTIONS.get(metric)
    numbers = {
        i: round(v, digits)
        for i, v in enumerate(values)
        if isinstance(v, int | float) and math.isfinite(v)
    }
    if not numbers or direction is None:
        return []
    best = max(numbers.values()) if direction > 0 else min(numbers.values())
    return [i for i, v in numbers.items() if v == best]


def _effect(results: dict | None) -> str:
    """What the language loss changed, metric by metric."""
    head = "<h2>What the language loss L_d changed</h2>\n"
    effect = (results or {}).get("l_d_effect") or {}
    if not any(effect.values()):
        return head + html_parts.missing(
            "the comparison with and without L_d", "results.json, written by notebook 04"
        )
    about = "Difference: network with L_d minus network without, the same seeds on both sides, with a 95 % interval."
    out = [head, f"<p>{escape(about)}</p>"]
    for key, metrics in effect.items():
        rows = []
        for metric, values in metrics.items():
            low, high = (values.get("ci95") or [None, None])[:2]
            interval = "–" if low is None or high is None else f"{_signed(low)} to {_signed(high)}"
            reading = _reading(metric, values.get("difference"), low, high)
            rows.append(
                [
                    _heading(metric),
                    _signed(values.get("difference")),
                    interval,
                    html_parts.number(values.get("n")),
                    reading,
                ]
            )
        title = TABLES.get(key, (key, ""))[0]
        table = html_parts.table(
            rows,
            ["metric", "difference", "95 % interval", "seeds", "reading"],
            {(i, 4): "text" for i in range(len(rows))},
        )
        out.append(f"<h3>{escape(title)}</h3>\n{table}")
    return "\n".join(out)


def _signed(value: Any) -> str:
    return ("+" if isinstance(value, int | float) and value >= 0 else "") + html_parts.number(value)


def _reading(metric: str, difference: Any, low: Any, high: Any) -> str:
    numbers = [
        v for v in (difference, low, high) if isinstance(v, int | float) and math.isfinite(v)
    ]
    if len(numbers) < 3:
        return "no interval: too few seeds to tell"
    if low <= 0 <= high:
        return "interval contains 0: no measurable effect"
    direction = DIRECTIONS.get(metric)
    if direction is None:
        return "higher with L_d" if difference > 0 else "lower with L_d"
    return "better with L_d" if difference * direction > 0 else "worse with L_d"


def _pictures(pictures: dict[str, Path], captions: dict[str, str], elsewhere: set[str]) -> str:
    """Pictures in the order of their captions, then the rest by name; not those shown with a failure."""
    order = [*captions, *(name for name in pictures if name not in captions)]
    out = []
    for name in order:
        if name in elsewhere:
            continue
        if name in pictures:
            out.append(html_parts.picture(pictures[name], str(captions.get(name, ""))))
        else:
            out.append(html_parts.missing(name, "figures/captions.json names it"))
    return "<h2>Pictures and loss curves</h2>\n" + (
        "\n".join(out) or html_parts.missing("all pictures", "figures/, written by the notebooks")
    )


def _figures_of(failure: dict[str, Any]) -> list[str]:
    """File names of a failure's pictures; the entry may be one name or a list."""
    named = failure.get("figure") or []
    return [Path(str(name)).name for name in (named if isinstance(named, list) else [named])]


def _failures(
    failures: list[dict[str, Any]], pictures: dict[str, Path], captions: dict[str, str]
) -> str:
    out = ["<h2>Where it fails</h2>"]
    if not failures:
        out.append(html_parts.missing("the failure analysis", "results.json, notebook 05 adds it"))
    for failure in failures:
        case = str(failure.get("case", "case without a name"))
        out.append(f"<h3>{escape(case)}</h3>\n<p>{escape(str(failure.get('what', '')))}</p>")
        rest = {k: v for k, v in failure.items() if k not in ("case", "what", "figure")}
        if rest:
            out.append(html_parts.pairs(rest))
        for name in _figures_of(failure):
            if name in pictures:
                out.append(html_parts.picture(pictures[name], str(captions.get(name) or case)))
            else:
                out.append(html_parts.missing(name, "figures/"))
    return "\n".join(out)


def _claims() -> str:
    rows = [[escape(cell) for cell in row] for row in claims.table()]
    text = {(i, j): "text" for i in range(len(rows)) for j in range(1, len(claims.HEAD))}
    about = "From studies recorded with the package, not from this run: `notebooks/studies/results`, chapter 07."
    return f"<h2>The paper's claims</h2>\n<p>{about}</p>\n" + html_parts.table(
        rows, list(claims.HEAD), text
    )


def _provenance(run: dict | None, results: dict | None) -> str:
    out = ["<h2>Parameters and provenance</h2>"]
    if run is None:
        out.append(
            html_parts.missing(
                "parameters, versions and times", "run.json, written by clippan-lite chain"
            )
        )
    else:
        given = {k: v for share in run.get("parameters", {}).values() for k, v in share.items()}
        out.append("<h3>Parameters given</h3>")
        out.append(
            html_parts.pairs(given)
            if given
            else "<p>None: every notebook ran with its defaults.</p>"
        )
        times = [
            [escape(n), html_parts.number(e.get("seconds"), 1), escape(str(e.get("status")))]
            for n, e in run.get("notebooks", {}).items()
        ]
        out.append(
            "<h3>Notebooks</h3>\n" + html_parts.table(times, ["notebook", "seconds", "status"])
        )
        out.append(
            "<h3>Versions</h3>\n"
            + html_parts.pairs({"started": run.get("started"), **run.get("versions", {})})
        )
    provenance = (results or {}).get("provenance")
    out.append("<h3>Provenance</h3>")
    out.append(
        html_parts.pairs(provenance)
        if provenance
        else html_parts.missing("provenance", "results.json, written by notebook 04")
    )
    return "\n".join(out)
