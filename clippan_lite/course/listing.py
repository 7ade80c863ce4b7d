"""Source of the library, shown in a chapter: the method itself and no copy of it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from IPython.display import Markdown


def listing(
    function: Callable[..., Any], first: str = "", last: str = "", folded: bool = False
) -> Markdown:
    """The body of a function as it is installed, without its docstring.

    Args:
        function: any function of the package.
        first: the listing begins at the line that begins with this text; "" at the first.
        last: it ends before the line that begins with this text; "" at the end.
        folded: a click opens it, so that learners do not see it before they have tried.

    Raises:
        ValueError: no line begins so.
    """
    source = textwrap.dedent(inspect.getsource(function))
    definition = ast.parse(source).body[0]
    assert isinstance(definition, ast.FunctionDef)
    has_docstring = ast.get_docstring(definition) is not None
    body = definition.body[1:] if has_docstring else definition.body
    lines = source.splitlines()[body[0].lineno - 1 :]
    start, end = _line(lines, first) if first else 0, _line(lines, last) if last else len(lines)
    shown = textwrap.dedent("\n".join(lines[start:end])).rstrip()
    code = f"```python\n{shown}\n```"
    title = "<summary>The library's version: open it when you have tried</summary>"
    return Markdown(f"<details>{title}\n\n{code}\n\n</details>" if folded else code)


def _line(lines: list[str], text: str) -> int:
    for number, line in enumerate(lines):
        if line.strip().startswith(text):
            return number
    raise ValueError(f"expected a line that begins with {text!r}, found none")
