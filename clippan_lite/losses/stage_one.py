"""The losses of Stage I, each a function (METHOD: arXiv 2511.10896)."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from clippan_lite.losses.language import KINDS, direction


def inter_mcl(
    images: dict[str, torch.Tensor], texts: dict[str, torch.Tensor], temperature: float = 0.07
) -> torch.Tensor:
    """InterMCL: each image type against the three sentences, both ways, by type.

    All images of a type share one sentence, so targets by batch index (as for captions) would make the loss ln B for
    any image. Here the classes are the types, and a sentence has all images of its type as positives.

    Args:
        images: kind -> unit features ``(B, d)``.
        texts: kind -> unit feature ``(1, d)``.
        temperature: divides the cosines.

    Returns:
        Scalar; ln B, the floor of the text-to-image half, is subtracted, so the floor is 0.
    """
    features = torch.cat([images[kind] for kind in KINDS])
    logits = features @ torch.cat([texts[kind] for kind in KINDS]).T / temperature
    count = len(images["ms"])
    types = torch.arange(3, device=logits.device).repeat_interleave(count)
    to_text = F.cross_entropy(logits, types)
    positive = F.one_hot(types, 3).T.bool()
    to_image = -(logits.T.log_softmax(1)[positive].mean()) - math.log(count)
    return (to_text + to_image) / 2


def intra_mcl(images: dict[str, torch.Tensor], temperature: float = 0.07) -> torch.Tensor:
    """IntraMCL: MS, PAN and HRMS of one place are positives, other places negatives (supervised contrast).

    Args:
        images: kind -> unit features ``(B, d)``, row i of each kind showing the same place.
        temperature: divides the cosines.

    Returns:
        Scalar; ln 2, the floor with two positives per anchor, is subtracted.
    """
    features = torch.cat([images[kind] for kind in KINDS])
    count = len(images["ms"])
    if count < 2:
        raise ValueError(
            f"IntraMCL contrasts places: expected at least 2 in a batch, found {count}"
        )
    place = torch.arange(count, device=features.device).repeat(3)
    self_pair = torch.eye(3 * count, dtype=torch.bool, device=features.device)
    logits = (features @ features.T / temperature).masked_fill(self_pair, -1e4)
    positive = (place[:, None] == place[None]) & ~self_pair
    return -(logits.log_softmax(1)[positive].mean()) - math.log(2)


def fusion_aware(
    supervisor: nn.Module, images: dict[str, torch.Tensor], texts: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Fusion-aware L1: |TFA(t_MS, t_PAN) - t_Wald|_1 + |IFA(f_MS, f_PAN) - f_HRMS|_1.

    L1 norms are divided by sqrt(d), which bounds each by 2 for unit features of any length.
    """
    text = supervisor.text_fusion(texts["ms"], texts["pan"]) - texts["hrms"]
    image = supervisor.image_fusion(images["ms"], images["pan"]) - images["hrms"]
    root = math.sqrt(image.shape[-1])
    return text.abs().sum(-1).mean() / root + image.abs().sum(-1).mean() / root


def drift(supervisor: nn.Module, texts: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean of 1 - cos between the adapted MS and PAN sentences and CLIP's own features of them, in [0, 2]."""
    raw = supervisor.clip.encode_text([supervisor.prompts.ms, supervisor.prompts.pan])
    return 1 - (torch.cat([texts["ms"], texts["pan"]]) * raw).sum(-1).mean()


def stage_one(
    supervisor: nn.Module,
    images: dict[str, torch.Tensor],
    texts: dict[str, torch.Tensor],
    temperature: float,
) -> dict[str, torch.Tensor]:
    """All Stage-I terms by name, unweighted: ``inter``, ``intra``, ``fusion``, ``direction``, ``drift``."""
    return {
        "inter": inter_mcl(images, texts, temperature),
        "intra": intra_mcl(images, temperature),
        "fusion": fusion_aware(supervisor, images, texts),
        "direction": direction(images, texts),
        "drift": drift(supervisor, texts),
    }
