"""The notebooks' percent ``.py`` sources: finding them, reading their parameters, running them."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from clippan_lite.runtime.package import FOLDER

if TYPE_CHECKING:
    from nbformat import NotebookNode

PATTERN = "[0-9][0-9]_*.py"
#: Environment variables that hold the number of threads of numerical libraries.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class NotebookFailed(RuntimeError):
    """A notebook raised. The message names the notebook and its last error line."""


def notebooks_folder() -> Path:
    """Folder of the notebooks' sources: the copy in an installed wheel, or the repository's.

    Raises:
        FileNotFoundError: there is neither.
    """
    for folder in (FOLDER / "_notebooks", FOLDER.parent / "notebooks"):
        if any(folder.glob(PATTERN)):
            return folder
    raise FileNotFoundError(
        f"no notebooks beside {FOLDER}: install the package again, or run from a full checkout"
    )


def read_source(path: Path) -> NotebookNode:
    """A percent ``.py`` as a notebook object with the source text as its only content.

    Raises:
        ImportError: jupytext is not installed.
    """
    try:
        import jupytext
    except ImportError:
        raise ImportError('jupytext is missing: pip install "clippan-lite[notebooks]"') from None
    return jupytext.read(path)


def source_hash(notebook: NotebookNode) -> str:
    """SHA-256 of the cells' types, sources and tags.

    A source and the product that is built from it have the same hash.
    """
    cells = [
        [c.cell_type, c.source.strip(), sorted(c.metadata.get("tags", []))] for c in notebook.cells
    ]
    return hashlib.sha256(json.dumps(cells, ensure_ascii=False).encode()).hexdigest()


def declared(notebook: NotebookNode, name: str) -> dict[str, Any]:
    """Parameters of a notebook: the literals that its cell tagged ``parameters`` assigns.

    Papermill's own inspection does not do: it skips a line whose text or comment holds ``=``, and
    cuts a text at ``#``.

    Args:
        notebook: from `read_source`.
        name: for messages.

    Returns:
        Default by parameter name. A default is a literal of any type.

    Raises:
        ValueError: no or several such cells, or something in the cell that is not a literal.
    """
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(
            f"{name} has {len(cells)} cells tagged 'parameters', expected 1: mend the notebook"
        )
    found = {}
    for statement in ast.parse(cells[0].source).body:
        try:
            match statement:
                case ast.Assign([ast.Name(parameter)], value):
                    found[parameter] = ast.literal_eval(value)
                case ast.AnnAssign(ast.Name(parameter), _, ast.expr() as value):
                    found[parameter] = ast.literal_eval(value)
                case _:
                    raise ValueError("no assignment")
        except ValueError:
            raise ValueError(
                f"{name}: line {statement.lineno} of its parameters cell is not 'name = literal': "
                "move it to the next cell"
            ) from None
    return found


def parameter_table(paths: Iterable[Path]) -> str:
    """Markdown table of all parameters: default, meaning (its comment), notebooks that have it."""
    rows: dict[str, str] = {}
    for path in paths:
        notebook = read_source(path)
        (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
        meanings = dict(re.findall(r"(?ms)^(\w+) = .*?  # ([^\n]*)$", cell.source))
        for name, default in declared(notebook, path.stem).items():
            start = f"| `{name}` | `{json.dumps(default)}` | {meanings[name]} |"
            rows[name] = f"{rows.get(name, start)} {path.stem[:2]}"
    lines = ["| parameter | default | meaning | chapters |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"{row} |" for row in rows.values())])


def coerce(name: str, value: Any, default: Any) -> Any:
    """A given value in the type of a parameter's default.

    Args:
        name: the parameter, for messages.
        value: any value from Python, or the text that the command line gives.
        default: any literal of the notebook. None takes every value.

    Returns:
        The value. Where the default is a float, an int becomes one. Where it is text, text stays.

    Raises:
        ValueError: another type.
    """
    if isinstance(value, str) and not isinstance(default, str):
        literal = {"true": "True", "false": "False", "none": "None"}.get(value.lower(), value)
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(literal)
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if isinstance(default, list | tuple) and isinstance(value, list | tuple):
        return list(value)
    expected = type(default).__name__
    if isinstance(value, float) and not math.isfinite(value):
        expected = "a finite number"
    elif default is None or type(value) is type(default):
        return value
    raise ValueError(
        f"parameter {name} is {value!r}, expected {expected}: give a value like {default!r}"
    )


def execute(
    notebook: NotebookNode,
    target: Path,
    given: dict[str, Any],
    name: str,
    cwd: Path | None = None,
    progress: bool = False,
) -> None:
    """Run one notebook in a kernel of its own. The executed copy is saved after every cell.

    Args:
        notebook: from `read_source`; run inside `python_kernel`.
        target: the executed copy, ``.ipynb``.
        given: values of parameters by name; any literals.
        name: for messages.
        cwd: where the kernel runs; None is the target's folder.
        progress: show a bar of the cells.

    Raises:
        NotebookFailed: the notebook raised, or its kernel died. The message is one line.
    """
    import nbformat
    import papermill

    cells = {"desc": "  cells", "leave": False, "position": 1, "disable": None}
    path = str(target).replace("{", "{{").replace("}", "}}")  # papermill formats its paths
    try:
        nbformat.write(notebook, target)
        papermill.execute_notebook(
            path,
            path,
            given,
            kernel_name="python3",
            language="python",
            progress_bar=cells if progress else False,
            cwd=str(cwd or target.parent),
        )
    except Exception as error:  # of a cell; or of a dead kernel or a full disk, of many kinds
        kind = getattr(error, "ename", type(error).__name__)
        message = (str(getattr(error, "evalue", error)).strip().splitlines() or [""])[0]
        of_the_pair = "read_pair" in "".join(getattr(error, "traceback", []))
        if of_the_pair and kind in ("ValueError", "FileNotFoundError"):
            raise NotebookFailed(message) from None
        raise NotebookFailed(f"{name} failed: {kind}: {message} (see {target})") from error


@contextlib.contextmanager
def python_kernel(threads: int | None = None) -> Iterator[None]:
    """Make "python3" mean this interpreter and this copy of the package.

    It does so whatever kernels are installed.

    Args:
        threads: of a kernel's numerical libraries; None leaves the choice to them.
    """
    variables = {} if threads is None else dict.fromkeys(THREADS, str(threads))
    if (FOLDER.parent / "pyproject.toml").is_file():  # an installed package is found anyway
        paths = [str(FOLDER.parent), os.environ.get("PYTHONPATH")]
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    # The log level hides two notices that would look like problems: that the kernel listens on
    # this computer only, and that an idle kernel was interrupted. Errors of cells are still told.
    program = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = {
        "display_name": "Python 3",
        "language": "python",
        "argv": [*program, "--log-level=CRITICAL"],
        "env": variables,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "kernels" / "python3"
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps(kernel), encoding="utf-8")
        paths = [scratch, os.environ.get("JUPYTER_PATH")]
        with mock.patch.dict(os.environ, JUPYTER_PATH=os.pathsep.join(filter(None, paths))):
            yield
