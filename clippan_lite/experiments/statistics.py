"""Means over seeds, paired effects, agreement with the truth, and Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from clippan_lite.metrics.evaluation import LARGER_IS_BETTER

Figures = Mapping[str, float]  # figure by name


def over_seeds(tables: Sequence[Figures]) -> tuple[dict[str, float], dict[str, float | None]]:
    """Mean and standard deviation (n - 1) of tables with the same names.

    One table has no deviation (None).
    """
    values = {name: [table[name] for table in tables] for name in tables[0]}
    mean = {name: float(np.mean(column)) for name, column in values.items()}
    if len(tables) == 1:
        return mean, dict.fromkeys(mean)
    return mean, {name: float(np.std(column, ddof=1)) for name, column in values.items()}


def effect(differences: Sequence[float], metric: str) -> dict[str, Any]:
    """What paired differences of one metric say.

    The percentile bootstrap of few pairs is too narrow, so Student's interval stands beside it.

    Args:
        differences: with minus without, one per pair.
        metric: decides whether a rise is an improvement.

    Returns:
        ``difference`` (the mean), ``bootstrap95`` and ``t95`` (``[low, high]``), ``n`` pairs,
        ``better`` (the mean is an improvement) and ``clear`` (both intervals leave out 0). One pair
        has no interval (None), and neither have pairs that all say the same: they show no spread.
    """
    change, n = np.array(differences), len(differences)
    mean = float(change.mean())
    better = mean > 0 if metric in LARGER_IS_BETTER else mean < 0
    found: dict[str, Any] = {"difference": mean, "n": n, "better": better}  # Any: also intervals
    if n == 1 or np.ptp(change) <= 1e-9 * np.abs(change).max():
        return {**found, "bootstrap95": None, "t95": None, "clear": False}
    half = float(stats.t.ppf(0.975, n - 1) * stats.sem(change))
    student = [mean - half, mean + half]
    resampled = stats.bootstrap(
        (change,),
        np.mean,
        n_resamples=10_000,
        method="percentile",
        random_state=np.random.default_rng(0),
    )
    bootstrap = [float(end) for end in resampled.confidence_interval]
    clear = all(low > 0 or high < 0 for low, high in (bootstrap, student))
    return {**found, "bootstrap95": bootstrap, "t95": student, "clear": clear}


def paired_effects(with_it: Sequence[Figures], without: Sequence[Figures]) -> dict[str, dict]:
    """:func:`effect` of every metric: with minus without, paired by seed."""
    return {
        name: effect([a[name] - b[name] for a, b in zip(with_it, without, strict=True)], name)
        for name in with_it[0]
    }


def agreement(
    without: Mapping[str, Figures], truth: Mapping[str, Figures], judge: str = "ERGAS"
) -> dict[str, float]:
    """How far metrics without a reference rank methods as the truth does.

    Args:
        without: method -> its figures without a reference.
        truth: the same methods -> their figures against the truth.
        judge: the figure against the truth that counts.

    Returns:
        Metric -> Spearman's rank correlation over the methods: 1 for the truth's ranking, -1 for
        its reverse.

    Raises:
        ValueError: fewer than three methods.
    """
    if len(without) < 3:
        raise ValueError(f"a ranking needs three methods or more, found {len(without)}")

    def correlation(name: str) -> float:
        ours = [table[name] for table in without.values()]
        true = [truth[method][judge] for method in without]
        same_way = (name in LARGER_IS_BETTER) == (judge in LARGER_IS_BETTER)
        found = float(stats.spearmanr(ours, true).statistic)
        return found if same_way else -found

    return {name: correlation(name) for name in next(iter(without.values()))}


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    first, *others = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([first, "|---" * len(head) + "|", *others])


def compared(
    methods: Mapping[str, Figures],
    columns: Sequence[str],
    spread: Mapping[str, Mapping[str, float | None]] | None = None,
) -> str:
    """A Markdown table of methods by metrics.

    Arrows say which way is better, bold marks the best of each column.

    Args:
        methods: method -> figures.
        columns: metrics to show.
        spread: method -> standard deviations, where they are known.
    """
    cells = {name: [name] for name in methods}
    head = ["method"]
    for metric in columns:
        larger = metric in LARGER_IS_BETTER
        best = (max if larger else min)(figures[metric] for figures in methods.values())
        digits = 2 if metric in ("PSNR", "ERGAS", "SAM") else 4
        head.append(f"{metric} {'↑' if larger else '↓'}")
        for name, figures in methods.items():
            text = f"{figures[metric]:.{digits}f}"
            text = f"**{text}**" if figures[metric] == best else text
            deviation = (spread or {}).get(name, {}).get(metric)
            cells[name].append(text + (f" ± {deviation:.{digits}f}" if deviation else ""))
    return markdown(head, cells.values())
