"""Checks for the learner's own lines: one sentence that says right, or what is wrong.

A chapter prints what these functions return. They compare with the library's own version, and name
the usual slips: the shape, the sign, a factor, an offset, a gradient that does not arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

RIGHT = "Right."
EMPTY = "Nothing here yet: write your lines where the cell says # your code."
NOTHING_BACK = (
    "Nothing comes back yet: write your lines where the cell says # your code, and return the "
    "result."
)


def verdict(mine: Any, expected: Any, tolerance: float = 1e-3, name: str = "it") -> str:
    """Compare an answer with the expected one.

    Args:
        mine: a number, text, tensor, or a dictionary of them; None or an empty dictionary where
            nothing was written yet.
        expected: the same kind, from the library; a list, such as a shape, must be the same.
        tolerance: largest difference that counts as right, relative to the largest expected value.
        name: what the sentence calls the answer.

    Returns:
        ``RIGHT``, ``EMPTY``, or one sentence that says what differs.
    """
    if isinstance(mine, Exception):
        return f"Not yet: your function stops with {type(mine).__name__}: {mine}"
    if mine is None or (isinstance(mine, Mapping) and not mine):
        return EMPTY
    if isinstance(expected, Mapping):
        return _of_mapping(mine, expected, tolerance)
    if isinstance(expected, list) and isinstance(mine, Sequence):
        mine = list(mine)  # a tuple or a torch.Size may stand for it
    if isinstance(expected, str | bool | list):
        return RIGHT if mine == expected else f"Not yet: {name} is {mine!r}, not {expected!r}."
    try:
        found = torch.as_tensor(mine).detach()
    except (TypeError, ValueError, RuntimeError):
        return f"Not yet: {name} is a {type(mine).__name__}, expected numbers."
    if found.is_complex():
        return f"Not yet: {name} is complex, expected a real number: take its absolute value."
    truth = torch.as_tensor(expected).detach()
    return _of_numbers(found.double(), truth.double(), tolerance, name)


def verdict_of(
    mine: Callable,
    expected: Callable,
    *inputs: Any,
    tolerance: float = 1e-3,
    gradient: bool = True,
) -> str:
    """Compare a function with the library's on the same inputs, and its gradient too.

    Args:
        mine: the learner's function; it returns None, or raises NotImplementedError, as long as
            nothing is written.
        expected: the library's function of the same inputs.
        inputs: arguments of both; the gradient is taken for the first, a tensor of floats.
        tolerance: as for ``verdict``.
        gradient: whether to compare the gradient of the sum of the results.

    Returns:
        As ``verdict``; ``NOTHING_BACK`` instead of ``EMPTY``.
    """
    first, *others = inputs
    x, y = (first.clone().requires_grad_(gradient) for _ in range(2))
    answer = tried(mine, x, *others)
    if answer is None or isinstance(answer, NotImplementedError):
        return NOTHING_BACK
    truth = expected(y, *others)
    said = verdict(answer, truth, tolerance, "the result")
    if said != RIGHT or not gradient:
        return said
    if not torch.is_tensor(answer) or not answer.requires_grad:
        return "Not yet: the values are right, but no gradient reaches the input (detach or item?)."
    answer.sum().backward()
    truth.sum().backward()
    return verdict(x.grad, y.grad, tolerance, "the gradient")


def tried(function: Callable, *inputs: Any) -> Any:
    """What a learner's function returns, or the error with which it stops, for `verdict`."""
    try:
        return function(*inputs)
    except Exception as error:
        return error


def _of_mapping(mine: Any, expected: Mapping, tolerance: float) -> str:
    if not isinstance(mine, Mapping):
        return f"Not yet: expected a dictionary with the keys {', '.join(map(str, expected))}."
    missing = [str(key) for key in expected if key not in mine]
    if missing:
        return f"Not yet: {', '.join(missing)} missing."
    for key, value in expected.items():
        said = verdict(mine[key], value, tolerance, str(key))
        if said != RIGHT:
            return said
    return RIGHT


def _of_numbers(found: torch.Tensor, wanted: torch.Tensor, tolerance: float, name: str) -> str:
    if found.shape != wanted.shape:
        return (
            f"Not yet: {name} has the shape {tuple(found.shape)}, expected {tuple(wanted.shape)}."
        )
    if not found.isfinite().all():
        return f"Not yet: {name} holds values that are not finite (a division by 0?)."
    scale = float(wanted.abs().max()) or 1.0

    def close(values: torch.Tensor) -> bool:
        return float((values - wanted).abs().max()) <= tolerance * scale

    if close(found):
        return RIGHT
    if found.numel() > 1 and not found.any():
        return f"Not yet: {name} is 0 everywhere."
    if close(-found):
        return f"Not yet: {name} has the wrong sign."
    factor = float((found * wanted).sum() / (wanted * wanted).sum().clamp_min(1e-30))
    if found.numel() > 1 and factor and close(found / factor):
        return f"Not yet: {name} is {factor:.4g} times what it should be."
    offset = float((found - wanted).mean())
    if found.numel() > 1 and close(found - offset):
        return f"Not yet: {name} is too large by {offset:.4g} everywhere."
    if found.numel() == 1:
        return f"Not yet: {name} is {float(found):.4g}, expected about {float(wanted):.4g}."
    worst = float((found - wanted).abs().max())
    return f"Not yet: {name} differs by up to {worst:.4g}, where the values reach {scale:.4g}."
