"""The notebooks' percent ``.py`` sources: where they are, what parameters they declare, and running them."""

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
from typing import Any

import clippan_lite

PATTERN = "[0-9][0-9]_*.py"
#: Environment variables that hold the number of threads of numerical libraries.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class NotebookFailed(RuntimeError):
    """A notebook that was run raised; the message names it and its last error line."""


def notebooks_folder() -> Path:
    """Folder of the notebooks' sources: the repository's, or the copy inside an installed wheel.

    Raises:
        FileNotFoundError: neither is there.
    """
    package = Path(clippan_lite.__file__).resolve().parent
    # pyproject.toml tells a checkout from a site-packages folder that holds somebody else's "notebooks"
    if (package.parent / "pyproject.toml").is_file() and list(
        (package.parent / "notebooks").glob(PATTERN)
    ):
        return package.parent / "notebooks"
    if list((package / "_notebooks").glob(PATTERN)):
        return package / "_notebooks"
    raise FileNotFoundError(
        f"no notebooks beside {package}: install the package again, or run from a full checkout"
    )


def read_source(path: Path) -> Any:
    """A percent ``.py`` as a notebook object with the source text as its only content.

    Raises:
        ImportError: jupytext is not installed.
    """
    try:
        import jupytext
    except ImportError:
        raise ImportError('jupytext is missing: pip install "clippan-lite[notebooks]"') from None
    return jupytext.read(path)


def source_hash(notebook: Any) -> str:
    """SHA-256 of the cells' types, sources and tags; the same for a source and the product built from it."""
    cells = [
        [c.cell_type, c.source.strip(), sorted(c.metadata.get("tags", []))] for c in notebook.cells
    ]
    return hashlib.sha256(json.dumps(cells, ensure_ascii=False).encode()).hexdigest()


def stub(solution: str) -> str:
    """What a learner gets of a solution's cell: the lines between its two marks replaced by ``# your code``."""
    return re.sub(r"(?ms)^( *)# begin solution\n.*?^ *# end solution$", r"\1# your code", solution)


def declared(notebook: Any, name: str) -> dict[str, Any]:
    """Parameters and defaults of a notebook: the literals assigned in its cell tagged ``parameters``.

    Args:
        notebook: from `read_source`.
        name: for messages.

    Returns:
        Default by parameter name.

    Raises:
        ValueError: no or several such cells, or something in it that is not a literal.
    """
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(
            f"{name} has {len(cells)} cells tagged 'parameters', expected 1: mend the notebook"
        )
    found = {}
    for statement in ast.parse(cells[0].source).body:
        target = (
            statement.targets[0]
            if isinstance(statement, ast.Assign)
            else getattr(statement, "target", None)
        )
        try:
            found[target.id] = ast.literal_eval(statement.value)
        except (AttributeError, ValueError):
            line = f"line {statement.lineno} of its parameters cell"
            raise ValueError(
                f"{name}: {line} is not 'name = literal': move it to the next cell"
            ) from None
    return found


def parameter_table(paths: Iterable[Path]) -> str:
    """Markdown table of all parameters: default, meaning (the comment beside it), and the notebooks that have it."""
    found: dict[str, list] = {}
    for path in paths:
        notebook = read_source(path)
        (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
        said = dict(re.findall(r"(?m)^(\w+) = .*?  # (.*)$", cell.source))
        for name, default in declared(notebook, path.stem).items():
            found.setdefault(name, [default, said[name], []])[2].append(path.stem[:2])
    lines = ["| parameter | default | meaning | chapters |", "|---|---|---|---|"]
    for name, (default, meaning, chapters) in found.items():
        lines.append(f"| `{name}` | `{json.dumps(default)}` | {meaning} | {' '.join(chapters)} |")
    return "\n".join(lines)


def coerce(name: str, value: Any, default: Any) -> Any:
    """A given value in the type of a parameter's default.

    Args:
        name: the parameter, for messages.
        value: from Python, or the text given on the command line.
        default: literal in the notebook; None takes anything.

    Returns:
        The value; an int for a float default becomes a float, text stays text where the default is text.

    Raises:
        ValueError: another type.
    """
    if isinstance(value, str) and not isinstance(default, str):
        text = {"true": "True", "false": "False", "none": "None"}.get(value.lower(), value)
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(text)
    if default is None:
        return value
    if type(default) is float and type(value) is int:
        return float(value)
    if isinstance(default, list | tuple) and isinstance(value, list | tuple):
        return list(value)
    if type(value) is not type(default):
        kind = type(default).__name__
        raise ValueError(
            f"parameter {name} is {value!r}, expected {kind}: give a value like {default!r}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(
            f"parameter {name} is {value!r}, expected a finite number: give a value like {default!r}"
        )
    return value


def execute(
    notebook: Any,
    target: Path,
    parameters: dict[str, Any],
    name: str,
    cwd: Path | None = None,
    progress: bool = False,
) -> None:
    """Run one notebook in a kernel of its own; the executed copy is saved after every cell.

    Args:
        notebook: from `read_source`; run inside `python_kernel`.
        target: the executed copy, ``.ipynb``.
        parameters: values by name.
        name: for messages.
        cwd: where the kernel runs; None is the target's folder.
        progress: show a bar of the cells.

    Raises:
        NotebookFailed: it raised, or its kernel died; one line.
    """
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    cells = {"desc": "  cells", "leave": False, "position": 1, "disable": None}
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / target.name
        nbformat.write(notebook, source)
        try:
            papermill.execute_notebook(
                str(source),
                str(target)
                .replace("{", "{{")
                .replace("}", "}}"),  # papermill takes paths for format strings
                parameters,
                kernel_name="python3",
                language="python",
                progress_bar=cells if progress else False,
                cwd=str(cwd or target.parent),
            )
        except PapermillExecutionError as error:
            value = (str(error.evalue).strip().splitlines() or [""])[0]
            if error.ename in ("ValueError", "FileNotFoundError") and "read_pair" in "".join(
                error.traceback
            ):
                raise NotebookFailed(value) from None
            raise NotebookFailed(f"{name} failed: {error.ename}: {value} (see {target})") from None
        except (
            Exception
        ) as error:  # a dead kernel, a full disk: whatever nbclient and papermill raise
            last = (str(error).strip().splitlines() or [""])[-1]
            raise NotebookFailed(
                f"{name} failed: {type(error).__name__}: {last} (see {target})"
            ) from error


@contextlib.contextmanager
def python_kernel(threads: int | None = None) -> Iterator[None]:
    """Make "python3" mean this interpreter and this copy of the package, whatever kernels are installed.

    Args:
        threads: of a kernel's numerical libraries; None leaves the choice to them.
    """
    package = Path(clippan_lite.__file__).resolve().parent.parent
    spec: dict[str, Any] = {"display_name": "Python 3", "language": "python"}
    # log level: kernels started here listen on this computer only, and their notice about it would look like a problem,
    # as would that of the interrupt by which idle kernels are ended; errors of cells come by another way
    spec["argv"] = [
        sys.executable,
        "-m",
        "ipykernel_launcher",
        "-f",
        "{connection_file}",
        "--log-level=CRITICAL",
    ]
    spec["env"] = {} if threads is None else dict.fromkeys(THREADS, str(threads))
    if (
        package / "pyproject.toml"
    ).is_file():  # a checkout; an installed package is found without help
        spec["env"]["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(package), os.environ.get("PYTHONPATH")])
        )
    before = os.environ.get("JUPYTER_PATH")
    with tempfile.TemporaryDirectory() as scratch:
        kernel = Path(scratch) / "kernels" / "python3"
        kernel.mkdir(parents=True)
        (kernel / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [scratch, before]))
        try:
            yield
        finally:
            if before is None:
                del os.environ["JUPYTER_PATH"]
            else:
                os.environ["JUPYTER_PATH"] = before
