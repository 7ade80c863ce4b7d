"""Execute the notebooks' sources in quick mode and write the products (.ipynb with outputs).

    python notebooks/build.py                       all chapters and solutions
    python notebooks/build.py 02_clip_adaptation    one chapter
    python notebooks/build.py --check               only name products older than their source
    python notebooks/build.py --front-page          the picture of the README

Two builds of the same source give the same cells, ids and metadata. Nothing in a product depends on
when or where it was made, and a hash of the source inside it tells whether it is up to date.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from clippan_lite.runtime import files, notebooks

HERE = Path(__file__).resolve().parent
LANGUAGE = {
    "name": "python",
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "pygments_lexer": "ipython3",
}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
PROGRESS = re.compile(r"\r|\d+%\|")  # how tqdm and its relatives draw
CAMERAS = {"landsat7": "Landsat-7", "rotterdam": "WorldView-2"}
FRONT_PAGE = {"landsat7": (180, 240, 200), "rotterdam": (180, 190, 200)}  # row, column, side
WIDGET = "application/vnd.jupyter.widget-view+json"


def main() -> int:
    """Build or check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NN_name", help="default: all, solutions too")
    parser.add_argument("--check", action="store_true", help="verify the stamps only")
    parser.add_argument(
        "--parameters",
        action="store_true",
        help="print the table of parameters, as in README.md here",
    )
    parser.add_argument(
        "--claims", action="store_true", help="print the table of claims, as in studies/README.md"
    )
    parser.add_argument(
        "--settings", action="store_true", help="print the table of settings of studies/README.md"
    )
    parser.add_argument("--front-page", action="store_true", help="make the README's picture")
    arguments = parser.parse_args()
    if arguments.front_page:
        draw_front_page(HERE / "front_page.jpg")
        return 0
    chapters = {
        p.stem: p
        for p in [*sorted(HERE.glob(notebooks.PATTERN)), *sorted((HERE / "solutions").glob("*.py"))]
    }
    wanted = [name.removesuffix(".py").removesuffix(".ipynb") for name in arguments.names] or list(
        chapters
    )
    for name in wanted:
        if name not in chapters:
            print(f"unknown notebook {name}: known are {', '.join(chapters)}", file=sys.stderr)
            return 2
    if arguments.check:
        stale = [name for name in wanted if not is_current(chapters[name])]
        for name in stale:
            print(f"{name}: stale or missing product: run python notebooks/build.py {name}")
        return 1 if stale else 0
    if arguments.parameters:
        print(notebooks.parameter_table(sorted(HERE.glob(notebooks.PATTERN))))
        return 0
    if arguments.settings:
        print(settings_table())
        return 0
    if arguments.claims:
        from clippan_lite.experiments import claims

        print(claims.markdown())
        return 0
    os.environ.pop("CLIPPAN_TEST_DATA", None)  # 00 prints it; products hold nothing of the machine
    # One home for all chapters of a call, so that each finds the previous one's quick product.
    with tempfile.TemporaryDirectory() as home, notebooks.python_kernel():
        for name in wanted:
            start = time.monotonic()
            try:
                build(chapters[name], Path(home))
            except CellExecutionError as error:
                print(
                    f"{name} failed: {error.ename}: {error.evalue}\n{error.traceback}",
                    file=sys.stderr,
                )
                return 1
            size = chapters[name].with_suffix(".ipynb").stat().st_size
            print(f"{name}: {time.monotonic() - start:.0f} s, {size / 1000:.0f} kB")
    return 0


def settings_table() -> str:
    """Every setting that a study can use, with its default and its meaning."""
    from dataclasses import fields

    from clippan_lite.config import AdaptConfig, TrainConfig
    from clippan_lite.experiments import statistics
    from clippan_lite.experiments.experiment import Experiment

    rows = []
    for kind, prefix in ((Experiment, ""), (TrainConfig, ""), (AdaptConfig, "adapt_")):
        for rule in fields(kind):
            if "meaning" in rule.metadata:
                default = json.dumps(rule.default)
                rows.append((f"`{prefix}{rule.name}`", f"`{default}`", rule.metadata["meaning"]))
    for kind, prefix, stage in ((TrainConfig, "", "II"), (AdaptConfig, "adapt_", "I")):
        names = ", ".join(f"`{prefix}{term}`" for term in kind.terms)
        rows.append((names, "the recipe's", f"weights of the terms of Stage {stage}"))
    recipes = "named settings of Stage II and I; the others change single ones"
    rows.append(("`recipe`, `adapt_recipe`", '`"quick"`, `"ours"`', recipes))
    rows.append(("`options`", "the recipe's", "options of the backbone, such as `{ width = 16 }`"))
    return statistics.markdown(("setting", "default", "meaning"), rows)


def draw_front_page(target: Path) -> None:
    """PAN, MS and the fused image of the included real scenes, a window of each."""
    from matplotlib import pyplot as plt

    import clippan_lite as cl
    from clippan_lite.course import figures, imagery
    from clippan_lite.data import registration

    figures.use_style()
    pictures = {}
    for name, (row, column, side) in FRONT_PAGE.items():
        pair = cl.example(name)
        pair = registration.correct(pair, registration.estimate(pair))
        rgb, ratio, fused = pair.sensor.rgb, pair.ratio, cl.fuse(pair)
        bounds = imagery.limits(pair.ms, rgb)
        grey = imagery.picture(pair.pan, [0], imagery.limits(pair.pan, [0]))
        views = {"PAN": grey, "MS": imagery.picture(pair.ms, rgb, bounds)}
        views["fused"] = imagery.picture(fused, rgb, bounds)
        for title, view in views.items():
            n = ratio if title == "MS" else 1
            rows, cols = (slice(start // n, (start + side) // n) for start in (row, column))
            pictures[f"{CAMERAS[name]}: {title}"] = view[rows, cols]
    figure = imagery.panels(pictures, columns=3, side=2.9)
    figure.savefig(target, dpi=150, pil_kwargs={"quality": 82})
    plt.close(figure)


def is_current(source: Path) -> bool:
    """Whether the product's stamp is the hash of the source."""
    product = source.with_suffix(".ipynb")
    if not product.is_file():
        return False
    stamp = nbformat.read(product, as_version=4).metadata.get("clippan", {}).get("source_sha256")
    return stamp == notebooks.source_hash(notebooks.read_source(source))


def build(source: Path, home: Path) -> None:
    """Execute one source in an empty working folder and write its product."""
    notebook = notebooks.read_source(source)
    digest = notebooks.source_hash(notebook)
    before = os.environ.get("CLIPPAN_HOME")
    os.environ["CLIPPAN_HOME"] = str(home)
    try:
        with tempfile.TemporaryDirectory() as cwd:
            NotebookClient(
                notebook,
                timeout=None,
                kernel_name="python3",
                resources={"metadata": {"path": cwd}},
                record_timing=False,
            ).execute()
            places = {
                str(Path(cwd).resolve()): ".",
                cwd: ".",
                str(home.resolve()): "~/.cache/clippan-lite",
                str(home): "~/.cache/clippan-lite",
            }
            places[str(HERE.parent)] = "<repository>"
    finally:
        if before is None:
            del os.environ["CLIPPAN_HOME"]
        else:
            os.environ["CLIPPAN_HOME"] = before
    clean(notebook, places)
    notebook.metadata["clippan"] = {"source_sha256": digest}
    nbformat.validate(notebook)
    with files.replacing(source.with_suffix(".ipynb")) as part:
        nbformat.write(notebook, part)


def clean(notebook: nbformat.NotebookNode, places: dict[str, str]) -> None:
    """Take out of an executed notebook what depends on when, where and on which machine it ran."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5  # 4.5: cells have ids
    # State of widgets without "state" makes some viewers refuse the notebook.
    notebook.metadata.pop("widgets", None)
    notebook.metadata.update(language_info=LANGUAGE, kernelspec=KERNEL)
    for index, cell in enumerate(notebook.cells):
        cell["id"] = hashlib.sha256(str(index).encode()).hexdigest()[:8]
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = _outputs(cell.outputs, places)


def _outputs(
    outputs: list[nbformat.NotebookNode], places: dict[str, str]
) -> list[nbformat.NotebookNode]:
    """Outputs without progress bars and widget views, with neutral paths, streams in one piece."""
    kept: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            previous = kept[-1] if kept else None
            if (
                previous is not None
                and previous.output_type == "stream"
                and previous.name == output.name
            ):
                previous.text += output.text  # where a stream is cut depends on timing
                continue
        elif "data" in output and output.data.pop(WIDGET, None):
            if PROGRESS.search(output.data.get("text/plain", "")):
                continue
            output.data["text/plain"] = "(controls: they appear when this cell is run)"
        kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            if output.name == "stderr":
                output.text = "\n".join(
                    line for line in output.text.split("\n") if not PROGRESS.search(line)
                )
            output.text = _neutral(output.text, places)
        for kind, value in output.get("data", {}).items():
            if kind.startswith("text/") and isinstance(value, str):
                # A product has no controls, so that their still pictures are shown at once.
                value = re.sub("^<details><summary>Still", "<details open><summary>Still", value)
                output.data[kind] = _neutral(value, places)
    return [output for output in kept if output.output_type != "stream" or output.text.strip()]


def _neutral(text: str, places: dict[str, str]) -> str:
    for place, name in places.items():
        text = text.replace(place, name)
    return text


if __name__ == "__main__":
    sys.exit(main())
