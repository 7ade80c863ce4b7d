"""Means over seeds, paired effects, agreement with the truth, and Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from clippan_lite.metrics.evaluation import arrow, best, side

Figures = Mapping[str, float]  # figure by name

#: Differences up to this size do not matter. Chosen before any test for equality was made.
MARGINS = {"PSNR": 0.1, "SAM": 0.1, "Q2n": 0.005, "QNR": 0.005, "HQNR": 0.005, "D_lambda": 0.005}
FEWEST = 5  # pairs for a verdict
LEVEL = 0.05


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
        ``better`` (the mean is an improvement) and ``clear`` (both intervals leave out 0). ``p`` is
        that of Student's test for a difference. ``p_equal`` is that of two one-sided tests for a
        difference within :data:`MARGINS` (Schuirmann 1987; None where no margin is set). One pair
        has no interval (None), and neither have pairs that all say the same: they show no spread.
    """
    change, n = np.array(differences), len(differences)
    mean = float(change.mean())
    better = mean * side(metric) > 0
    found: dict[str, Any] = {"difference": mean, "n": n, "better": better}  # Any: also intervals
    if n == 1 or np.ptp(change) <= 1e-9 * np.abs(change).max():
        nothing = dict.fromkeys(("bootstrap95", "t95", "p", "p_equal"))
        return {**found, **nothing, "clear": False}
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
    different = float(stats.ttest_1samp(change, 0.0).pvalue)
    tests = {"p": different, "p_equal": _equal(change, MARGINS.get(metric))}
    return {**found, "bootstrap95": bootstrap, "t95": student, **tests, "clear": clear}


def _equal(change: np.ndarray, margin: float | None) -> float | None:
    """The larger p of two one-sided tests: is the mean above -margin, and is it below margin?"""
    if margin is None:
        return None
    above = stats.ttest_1samp(change, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(change, margin, alternative="less").pvalue
    return float(max(above, below))


def outcomes(cells: Sequence[Mapping[str, Any]], rises: bool) -> list[str]:
    """What each of several differences says, at 5 % over all of them together.

    Args:
        cells: from :func:`effect`, all of one metric.
        rises: whether a rise counts as help.

    Returns:
        For each cell ``"helps"``, ``"harms"``, ``"equal"`` (within :data:`MARGINS`), ``"open"``
        (neither a difference nor equality is shown), or ``"too few"`` (fewer than five pairs). The
        tests are corrected for their number by Holm's method. A difference that is clear and yet
        within the margin counts as equal: it is too small to matter.
    """
    judged = [index for index, cell in enumerate(cells) if cell["n"] >= FEWEST]
    different = _holm([cells[index]["p"] for index in judged])
    equal = _holm([cells[index]["p_equal"] for index in judged])
    said = ["too few"] * len(cells)
    for place, index in enumerate(judged):
        helps = (cells[index]["difference"] > 0) == rises
        if equal[place]:
            said[index] = "equal"
        elif different[place]:
            said[index] = "helps" if helps else "harms"
        else:
            said[index] = "open"
    return said


def _holm(values: Sequence[float | None]) -> list[bool]:
    """Which of several tests hold at 5 % together (Holm 1979); None never does."""
    known = [1.0 if value is None else value for value in values]
    holds, left = [False] * len(known), len(known)
    for index in np.argsort(known, kind="stable"):
        if known[index] * left > LEVEL:
            break
        holds[index], left = True, left - 1
    return holds


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
        same_way = (side(name) > 0) == (side(judge) > 0)
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

    Arrows say which way is better, bold marks the best of each column. D_rho has neither.

    Args:
        methods: method -> figures.
        columns: metrics to show.
        spread: method -> standard deviations, where they are known.
    """
    cells = {name: [name] for name in methods}
    head = ["method"]
    for metric in columns:
        digits = 2 if metric in ("PSNR", "ERGAS", "SAM") else 4
        head.append(arrow(metric))
        chosen = best(metric, [figures[metric] for figures in methods.values()])
        shown = None if chosen is None else f"{chosen:.{digits}f}"
        for name, figures in methods.items():
            text = f"{figures[metric]:.{digits}f}"
            text = f"**{text}**" if text == shown else text  # all that look equally good
            deviation = (spread or {}).get(name, {}).get(metric)
            cells[name].append(text + (f" ± {deviation:.{digits}f}" if deviation else ""))
    return markdown(head, cells.values())
