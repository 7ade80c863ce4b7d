"""The figures that tables show: at full resolution, and against the truth."""

from collections.abc import Sequence

import torch

from clippan_lite.data import Pair
from clippan_lite.metrics.tables import full, reduced
from clippan_lite.runtime.settings import expect

FULL = ("D_lambda", "D_s", "QNR", "D_lambda_K", "HQNR", "D_rho")
REDUCED = ("PSNR", "ERGAS", "SAM", "Q2n")
#: Figures that are better when they are larger, Stage I's included; all others are errors.
LARGER_IS_BETTER = frozenset(
    [
        *("QNR", "HQNR", "HQNR_und", "R_Q", "PSNR", "Q", "Q2n", "SCC", "SSIM"),
        *("type accuracy", "same place", "cos(IFA, HRMS)", "direction cosine"),
    ]
)
#: Figures of which neither end is best.
NO_BEST = frozenset(["D_rho"])


def side(name: str) -> int:
    """Where better values of a figure lie: 1 larger, -1 smaller, 0 neither."""
    return 0 if name in NO_BEST else 1 if name in LARGER_IS_BETTER else -1


def best(name: str, values: Sequence[float]) -> float | None:
    """The best of a figure's values; None where there are none, or neither end is best."""
    return max(values, key=lambda value: value * side(name)) if values and side(name) else None


def arrow(name: str) -> str:
    """A figure's name with an arrow to where better values lie."""
    return name + {1: " ↑", -1: " ↓", 0: ""}[side(name)]


def change_in_words(name: str, change: float) -> str:
    """Whether a figure that changed by so much became better; of D_rho only, what it did."""
    if side(name):
        return "better" if change * side(name) > 0 else "worse"
    return "larger" if change > 0 else "smaller"


def evaluate(fused: torch.Tensor, pair: Pair) -> dict[str, float]:
    """All figures of a fused image: at full resolution, and against the truth where it is known.

    Args:
        fused: ``(C, H, W)``, DN.
        pair: images in DN, with or without truth.

    Returns:
        Figure by name, `FULL` and perhaps `REDUCED`.

    Raises:
        ValueError: a fused image that does not fit the pair, values that are not finite, no block
            of 32 x 32 valid pixels.
    """
    expect("the fused image", fused, torch.Tensor, "evaluate(fused, pair)")
    expect("the pair", pair, Pair, "evaluate(fused, pair)")
    figures = at_full_resolution(fused, pair)
    if pair.truth is not None:
        figures |= against_truth(fused, pair)
    return figures


def at_full_resolution(fused: torch.Tensor, pair: Pair) -> dict[str, float]:
    """Figures that need no reference, toolbox definitions, in the pair's convention.

    Args:
        fused: ``(C, H, W)``, DN.
        pair: images in DN.
    """
    table = full(fused, pair.ms, pair.pan, pair.sensor, pair.convention, pair.with_all_bands)
    return {name: table[name] for name in FULL}


def against_truth(fused: torch.Tensor, pair: Pair) -> dict[str, float]:
    """Figures against the pair's truth; nodata does not count.

    Args:
        fused: ``(C, H, W)``, DN.
        pair: images in DN.

    Raises:
        ValueError: a pair without truth.
    """
    if pair.truth is None:
        raise ValueError(
            f"{pair.name}: expected a pair with its truth, found none: take at_full_resolution, "
            "or reduce the pair first (data.reduced)"
        )
    table = reduced(fused, pair.truth, pair.ratio, pair.peak, pair.with_all_bands)
    return {name: table[name] for name in REDUCED}
