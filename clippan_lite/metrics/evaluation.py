"""The figures that tables show: at full resolution, and against the truth."""

from __future__ import annotations

import torch

from clippan_lite import metrics
from clippan_lite.data import Pair

FULL = ("D_lambda", "D_s", "QNR", "D_lambda_K", "HQNR", "D_rho")
REDUCED = ("PSNR", "ERGAS", "SAM", "Q2n")
#: Metrics that are better when they are larger; all others are errors.
LARGER_IS_BETTER = frozenset({"QNR", "HQNR", "HQNR_und", "R_Q", "PSNR", "Q", "Q2n", "SCC", "SSIM"})


def at_full_resolution(fused: torch.Tensor, pair: Pair) -> dict[str, float]:
    """No-reference metrics of a fused image ``(C, H, W)`` in DN, toolbox definitions, in the pair's convention."""
    table = metrics.full(fused, pair.ms, pair.pan, pair.sensor, pair.convention, pair.mask)
    return {name: table[name] for name in FULL}


def against_truth(fused: torch.Tensor, pair: Pair) -> dict[str, float]:
    """Reference metrics of a fused image against the pair's truth, both in DN; nodata does not count."""
    table = metrics.reduced(fused, pair.truth, pair.ratio, pair.peak, pair.mask)
    return {name: table[name] for name in REDUCED}
