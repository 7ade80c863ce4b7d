"""A run folder as one self-contained page: the result, tables, pictures, failures, provenance.

Everything the page shows is inside the file, so it can be mailed or opened without a network. The
page names what a run folder lacks instead of leaving it out. Its text is in ``report.html.j2``.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import markupsafe  # jinja2 brings it
import PIL.Image
import rasterio
import torch

from clippan_lite import classical, data
from clippan_lite.course import figures, imagery
from clippan_lite.data import Pair, geotiff
from clippan_lite.experiments import claims
from clippan_lite.experiments.statistics import FEWEST
from clippan_lite.metrics import evaluation, faults
from clippan_lite.runtime import facts, files

IMAGE_TYPES = (".png", ".jpg", ".jpeg")
SWIPE_SIDE = 640  # PAN pixels of the window that the page begins with
SWIPE_BYTES = 150_000  # of each of its pictures
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
MEANINGS = {
    "D_lambda": "how far the likeness of the bands to each other has changed since MS; 0 is best",
    "D_s": "how far the likeness of the bands to PAN has changed since MS; 0 is best",
    "QNR": "both at once, (1 - D_lambda)(1 - D_s); 1 is best",
    "D_lambda_K": "how unlike MS the fused image is after the camera's blur; 0 is best",
    "HQNR": "as QNR, with D_lambda_K in place of D_lambda; 1 is best",
    "D_rho": "how little the details follow PAN nearby; the truth itself is not at 0",
    "PSNR": "the error against the brightest value; 3 dB more is half the squared error",
    "ERGAS": "the error of all bands, each against its own mean; 0 is best",
    "SAM": "the angle between a pixel's colour and the true one; 0 is the true colour",
    "Q2n": "likeness of all bands together to the truth, block by block; 1 is best",
}

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
    templates = figures.templates()
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
        path.name: found
        for path in sorted(folder.glob("*"))
        if path.suffix.lower() in IMAGE_TYPES and (found := _picture(path))
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
    try:
        swipe, reason = _swipe(run_dir, results, parameters), ""
    except (OSError, ValueError, rasterio.errors.RasterioError) as error:
        swipe, reason = "", str(error)
    return {
        "swipe": swipe,
        "no_swipe": reason,
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
        "meanings": MEANINGS,
        "arrow": evaluation.arrow,
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
        return facts.read(path).values
    except (OSError, ValueError):
        return {}


def _picture(path: Path) -> Json:
    """A picture as text that can stand in the page, and its width there; empty if it is damaged."""
    content = path.read_bytes()
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            inches = image.width / figures.DPI
    except PIL.UnidentifiedImageError:
        return {}
    width = max(1, round(inches * figures.PIXELS_PER_INCH))
    return {"uri": figures.data_uri(content), "width": width}


def _swipe(run_dir: Path, results: Json, parameters: Json) -> str:
    """The fused image beside EXP, the best classical method, PAN and the truth if it is known.

    Raises:
        OSError, ValueError, rasterio.errors.RasterioError: the run lacks what that takes.
    """
    with rasterio.open(run_dir / "fused.tif") as file:
        fused = torch.from_numpy(file.read().astype("float32"))
    with contextlib.redirect_stdout(io.StringIO()):  # the chapters have told about the pair
        pair = _pair(run_dir, results, parameters)
    if fused.shape != (pair.bands, *pair.pan.shape[1:]):
        raise ValueError("fused.tif is not of the run's scene")
    images = {"EXP": classical.fuse("EXP", pair), "fused.tif": fused}
    best = best_classical(results.get("methods") or {})
    if best:
        name, rounds = best
        title = f"{name} + {rounds} rounds" if rounds else name
        images[title] = classical.fuse(name, pair, rounds=rounds)
    if pair.truth is not None:
        images["truth"] = pair.truth
    _, area = imagery.detailed_part(pair, SWIPE_SIDE)
    rgb = pair.sensor.rgb
    bounds = imagery.limits(images["EXP"], rgb, pair.mask)
    grey = imagery.limits(pair.pan, [0], pair.mask)
    views = {name: imagery.picture(image[:, *area], rgb, bounds) for name, image in images.items()}
    views["PAN"] = imagery.picture(pair.pan[:, *area], [0], grey)
    height, width = views["PAN"].shape[:2]
    caption = f"{width} x {height} PAN pixels, one stretch for all colours."
    if best:
        caption += (
            f" {title} has the lowest ERGAS of this run's classical methods by Wald's protocol."
        )
    page = imagery.swipe_page(views, caption, most=SWIPE_BYTES)
    return markupsafe.Markup(page)  # its own template has escaped titles and caption


def _pair(run_dir: Path, results: Json, parameters: Json) -> Pair:
    """The run's scene as its chapters saw it, from the run folder or the user's own files.

    Raises:
        OSError, ValueError: it is not there any more, or cannot be used.
    """
    if parameters.get("pan"):
        pair = geotiff.read_pair(
            parameters["pan"],
            parameters["ms"],
            parameters["sensor"],
            convention=parameters.get("convention", "benchmark"),
            register=parameters.get("register", False),
        )
    else:
        kept = sorted(run_dir.glob("scene*/scene.json"))
        kept.sort(key=lambda path: _load(path).get("name") != results.get("scene"))
        if not kept:
            raise FileNotFoundError("the run folder holds no scene")
        pair = geotiff.read_scene(kept[0].parent)
    if parameters.get("bands"):
        pair = data.with_bands(pair, parameters["bands"].split(","))
    return faults.spoiled(pair, **faults.parse(parameters.get("fault", "")))


def best_classical(methods: dict[str, Json]) -> tuple[str, int] | None:
    """The classical method with the lowest ERGAS by Wald's protocol, EXP aside.

    Args:
        methods: of ``results.json``, by titles such as ``"GSA"`` or ``"GSA + 3 rounds"``.

    Returns:
        Its name and its rounds of back-projection; None if there is no such method.
    """
    found = []
    for title, values in methods.items():
        name, _, rest = title.partition(" + ")
        rounds = re.fullmatch(r"(\d+) rounds?", rest)
        error = (values.get("reduced") or {}).get("ERGAS")
        if name in set(classical.METHODS) - {"EXP"} and _is_finite(error):
            found.append((error, name, int(rounds[1]) if rounds else 0))
    return min(found)[1:] if found else None


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
        # As printed, because methods whose values look the same are equally good.
        chosen = evaluation.best(metric, finite)
        best[metric] = _number(chosen, metric) if chosen is not None else None
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
    if effect.get("n", 0) < FEWEST:
        return f"fewer than {FEWEST} seeds: no verdict"
    if low <= 0 <= high:
        return "interval holds 0: no effect is shown"
    return f"{evaluation.change_in_words(metric, difference)} with L_d"


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
