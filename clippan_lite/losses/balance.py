"""Weights that are pulls: scaled by how hard each term pulled lately."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def balanced(
    weights: Mapping[str, float], history: Sequence[Mapping[str, float]], span: int = 20
) -> dict[str, float]:
    """Weights by which each term pulls its weight times as hard as the first one does.

    Args:
        weights: name -> weight.
        history: rows so far. The mean gradient norms of the last ``span`` rows count, and the first
            term is theirs. Without a row the weights stay as they are.
        span: rows.
    """
    rows = history[-span:]
    columns = rows[0] if rows else {}
    names = [name.removeprefix("grad ") for name in columns if name.startswith("grad ")]
    norms = {name: sum(row[f"grad {name}"] for row in rows) for name in names}
    first = next((norm for norm in norms.values() if norm > 0), 1.0)
    scale = {name: first / norm for name, norm in norms.items() if norm > 0}
    return {name: weight * scale.get(name, 1.0) for name, weight in weights.items()}
