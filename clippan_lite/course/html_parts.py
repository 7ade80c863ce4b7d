"""Building blocks of the report page: plain functions that return HTML, everything from outside escaped."""

from __future__ import annotations

import base64
import json
import math
from html import escape
from pathlib import Path
from typing import Any

TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}

STYLE = """
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #1a1a1a; background: #fff;
  margin: 0 auto; padding: 1rem; max-width: 77rem; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #bbb; padding-bottom: .2rem; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
p, figcaption, li { max-width: 48rem; }
.box { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .55rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #888; vertical-align: bottom; }
td.best { font-weight: 700; background: #e3f1e3; }
th.text, td.text { text-align: left; white-space: normal; min-width: 12rem; }
small { color: #555; }
th[scope=row] small { display: block; font-weight: 400; }
.missing { background: #fff4d6; border-left: 4px solid #b87900; padding: .5rem .8rem; }
figure { margin: 1.2rem 0; }
img { max-width: 100%; height: auto; border: 1px solid #ddd; }
figcaption { color: #333; }
"""


def page(title: str, body: str) -> str:
    """A whole HTML document; ``title`` is plain text, ``body`` is HTML."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'  # or browsers ask the server for favicon.ico
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def missing(what: str, where: str) -> str:
    """A box that names what a run folder lacks, and who would have written it."""
    return f'<p class="missing">Missing: {escape(what)} ({escape(where)}).</p>'


def number(value: Any, digits: int = 4) -> str:
    """A number with fixed decimals; a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, int):
        return str(value)
    return f"{value:.{digits}f}" if isinstance(value, float) else escape(str(value))


def table(
    rows: list[list[str]], head: list[str], classes: dict[tuple[int, int], str] | None = None
) -> str:
    """A table in its own scrolling box; cells are HTML, ``classes`` by (row, column)."""
    classes = classes or {}

    def cell(i: int, j: int, text: str) -> str:
        mark = f' class="{classes[i, j]}"' if (i, j) in classes else ""
        return f'<th scope="row"{mark}>{text}</th>' if j == 0 else f"<td{mark}>{text}</td>"

    lined_up = [' class="text"' if classes.get((0, j)) == "text" else "" for j in range(len(head))]
    top = "".join(
        f'<th scope="col"{mark}>{text}</th>' for mark, text in zip(lined_up, head, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(cell(i, j, t) for j, t in enumerate(row)) + "</tr>\n"
        for i, row in enumerate(rows)
    )
    # tabindex: a scrolling box must be reachable with the keyboard
    return f'<div class="box" tabindex="0"><table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}</tbody></table></div>'


def pairs(facts: dict[str, Any]) -> str:
    """Two columns, name and value; nested objects become dotted names."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), inner)
        else:
            flat[prefix] = value

    walk("", facts)
    rows = [
        [escape(k), escape(v if isinstance(v, str) else json.dumps(v, ensure_ascii=False))]
        for k, v in flat.items()
    ]
    return table(rows, ["what", "value"], {(i, 1): "text" for i in range(len(rows))})


def picture(path: Path, caption: str) -> str:
    """An image inside the page, with its caption as alternative text too."""
    data = base64.b64encode(path.read_bytes()).decode()
    text = escape(caption or path.stem.replace("_", " "))
    image = f'<img src="data:{TYPES[path.suffix.lower()]};base64,{data}" alt="{text}">'
    return f"<figure>\n{image}\n<figcaption>{text}</figcaption>\n</figure>"
