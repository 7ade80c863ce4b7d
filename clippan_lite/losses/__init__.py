"""The losses of both stages, each a function; a stage's sum comes as named terms (METHOD: arXiv 2511.10896)."""

from __future__ import annotations

import torch

from clippan_lite.losses.language import KINDS, details_only, direction, language, words
from clippan_lite.losses.stage_one import drift, fusion_aware, inter_mcl, intra_mcl, stage_one
from clippan_lite.losses.stage_two import (
    band_to_pan,
    correlation,
    mse_ssim,
    pseudo,
    quality,
    relation_to_pan,
    spatial,
    spectral,
    stage_two,
)

__all__ = [
    "KINDS",
    "band_to_pan",
    "correlation",
    "details_only",
    "direction",
    "drift",
    "fusion_aware",
    "inter_mcl",
    "intra_mcl",
    "language",
    "mse_ssim",
    "pseudo",
    "quality",
    "relation_to_pan",
    "spatial",
    "spectral",
    "stage_one",
    "stage_two",
    "weighted_sum",
    "words",
]


def weighted_sum(
    terms: dict[str, torch.Tensor], weights: dict[str, float], step: int
) -> torch.Tensor:
    """Weighted sum of named terms; a term that is not a number is named."""
    for name, value in terms.items():
        if not torch.isfinite(value):
            raise FloatingPointError(
                f"loss term {name!r} became {value.item()} at step {step}; lower the learning rate"
            )
    return sum(weights[name] * value for name, value in terms.items())
