"""Means over seeds, paired effects with intervals, rank agreement with the truth, and tables of methods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from clippan_lite.metrics.evaluation import LARGER_IS_BETTER


def over_seeds(
    tables: Sequence[dict[str, float]],
) -> tuple[dict[str, float], dict[str, float | None]]:
    """Mean and standard deviation (n - 1) of tables with the same names; one table has no deviation (None)."""
    names = tables[0]
    mean = {name: float(np.mean([t[name] for t in tables])) for name in names}
    std = {
        name: float(np.std([t[name] for t in tables], ddof=1)) if len(tables) > 1 else None
        for name in names
    }
    return mean, std


def student95(values: np.ndarray) -> list[float]:
    """Student's 95 % interval ``[low, high]`` of the mean of two values or more."""
    mean, n = float(values.mean()), len(values)
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return [mean - half, mean + half]


def paired_effect(
    with_it: Sequence[dict[str, float]], without: Sequence[dict[str, float]]
) -> dict[str, dict]:
    """Mean difference (with minus without) per metric, paired by seed, with Student's 95 % interval.

    Returns:
        name -> ``{"difference", "ci95": [low, high] or None for one seed, "n", "better"}``; ``better`` is True when the
        difference is an improvement, whatever the sign that means for the metric.
    """
    effects = {}
    for name in with_it[0]:
        change = np.array([a[name] - b[name] for a, b in zip(with_it, without, strict=True)])
        mean, n = float(change.mean()), len(change)
        interval = None
        if n > 1:
            interval = student95(change)
        better = mean > 0 if name in LARGER_IS_BETTER else mean < 0
        effects[name] = {"difference": mean, "ci95": interval, "n": n, "better": bool(better)}
    return effects


def agreement(
    without: dict[str, dict[str, float]], truth: dict[str, dict[str, float]], judge: str = "ERGAS"
) -> dict[str, float]:
    """How far metrics without a reference rank methods as the truth does.

    Args:
        without: method -> its figures without a reference.
        truth: the same methods -> their figures against the truth.
        judge: the figure against the truth that counts.

    Returns:
        Metric -> Spearman's rank correlation over the methods, 1 for the truth's ranking, -1 for its reverse.

    Raises:
        ValueError: fewer than three methods.
    """
    if len(without) < 3:
        raise ValueError(f"a ranking needs three methods or more, found {len(without)}")

    def good(table: dict[str, float], name: str) -> float:
        return table[name] if name in LARGER_IS_BETTER else -table[name]

    true = [good(truth[method], judge) for method in without]
    names = next(iter(without.values()))
    return {
        n: float(stats.spearmanr([good(t, n) for t in without.values()], true).statistic)
        for n in names
    }


def markdown(
    rows: dict[str, dict[str, float]], columns: Sequence[str], spread: dict[str, dict] | None = None
) -> str:
    """A Markdown table of methods by metrics; arrows say which way is better, bold marks the best of each column."""
    arrow = {name: "↑" if name in LARGER_IS_BETTER else "↓" for name in columns}
    lines = [
        "| method | " + " | ".join(f"{c} {arrow[c]}" for c in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    best = {
        c: (max if c in LARGER_IS_BETTER else min)(row[c] for row in rows.values()) for c in columns
    }
    for name, row in rows.items():
        cells = []
        for c in columns:
            digits = 2 if c in ("PSNR", "ERGAS", "SAM") else 4
            text = f"{row[c]:.{digits}f}"
            text = f"**{text}**" if row[c] == best[c] else text
            deviation = (spread or {}).get(name, {}).get(c)
            cells.append(text + (f" ± {deviation:.{digits}f}" if deviation else ""))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
