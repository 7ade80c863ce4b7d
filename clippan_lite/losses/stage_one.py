"""The losses of Stage I: what stems and adapters learn (METHOD: arXiv 2511.10896).

Every term takes the features of a batch by kind, each ``(B, d)`` of unit length, and a
:class:`Guide` with the sentences' features. Row i of each kind shows the same place.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from clippan_lite.losses.terms import Features, Guide, Tensor

KINDS = ("ms", "pan", "hrms")


def inter_mcl(features: Features, guide: Guide, *, temperature: float = 0.07) -> Tensor:
    """InterMCL: each image type against the three sentences, both ways, by type.

    All images of a type share one sentence, so targets by batch index, as for captions, would make
    the loss ln B for any image. Here the classes are the types. A sentence has all images of its
    type as positives.

    Args:
        features: kind -> unit features ``(B, d)``.
        guide: the sentences.
        temperature: divides the cosines.

    Returns:
        Scalar. ln B, the floor of the text-to-image half, is subtracted, so the floor is 0.
    """
    images = torch.cat([features[kind] for kind in KINDS])
    texts = torch.cat([guide.texts[kind] for kind in KINDS])
    logits = images @ texts.T / temperature
    count = len(features["ms"])
    kinds = torch.arange(3, device=logits.device)
    types = kinds.repeat_interleave(count)
    to_text = F.cross_entropy(logits, types)
    positive = kinds[:, None] == types[None]
    to_image = -(logits.T.log_softmax(1)[positive].mean()) - math.log(count)
    return (to_text + to_image) / 2


def intra_mcl(features: Features, guide: Guide, *, temperature: float = 0.07) -> Tensor:
    """IntraMCL: MS, PAN and HRMS of one place are positives, other places negatives.

    Args:
        features: kind -> unit features ``(B, d)``, two places or more.
        guide: is not looked at.
        temperature: divides the cosines.

    Returns:
        Scalar. ln 2, the floor with two positives per anchor, is subtracted.

    Raises:
        ValueError: a single place.

    Source:
        Supervised contrast, Khosla et al. 2020.
    """
    images = torch.cat([features[kind] for kind in KINDS])
    count = len(features["ms"])
    if count < 2:
        raise ValueError(
            f"IntraMCL contrasts places: expected at least 2 in a batch, found {count}"
        )
    place = torch.arange(count, device=images.device).repeat(3)
    itself = torch.eye(3 * count, dtype=torch.bool, device=images.device)
    logits = (images @ images.T / temperature).masked_fill(itself, -1e4)
    positive = (place[:, None] == place[None]) & ~itself
    return -(logits.log_softmax(1)[positive].mean()) - math.log(2)


def fusion_aware(features: Features, guide: Guide) -> Tensor:
    """Fusion-aware L1: |TFA(t_MS, t_PAN) - t_Wald|_1 + |IFA(f_MS, f_PAN) - f_HRMS|_1.

    L1 norms are divided by sqrt(d), which bounds each by 2 for unit features of any length.
    """
    texts, supervisor = guide.texts, guide.supervisor
    text = supervisor.text_fusion(texts["ms"], texts["pan"]) - texts["hrms"]
    image = supervisor.image_fusion(features["ms"], features["pan"]) - features["hrms"]
    root = math.sqrt(image.shape[-1])
    return text.abs().sum(-1).mean() / root + image.abs().sum(-1).mean() / root


def direction_of_features(features: Features, guide: Guide) -> Tensor:
    """L_d, in [0, 2]: the displacement of the image feature must point where the text's does.

    L_d = 1 - 1/2 (cos(F_out - F_MS, T_wald - T_MS) + cos(F_out - F_PAN, T_wald - T_PAN)).

    The displacement of the image feature caused by fusion must point where the text displacement
    points. Stage I asks it of HRMS examples (our addition), Stage II of the network's output.

    Args:
        features: ``"hrms"`` is the output and carries the gradient; ``"ms"``, ``"pan"``.
        guide: the sentences.
    """
    image, text = features["hrms"], guide.texts["hrms"]
    from_ms, from_pan = (
        F.cosine_similarity(image - features[kind], text - guide.texts[kind], dim=-1, eps=1e-6)
        for kind in ("ms", "pan")
    )
    return 1 - (from_ms + from_pan).mean() / 2


def drift(features: Features, guide: Guide) -> Tensor:
    """Mean of 1 - cos between adapted and raw features of the MS and PAN sentences, in [0, 2]."""
    supervisor, texts = guide.supervisor, guide.texts
    raw = supervisor.clip.encode_text([supervisor.prompts.ms, supervisor.prompts.pan])
    return 1 - (torch.cat([texts["ms"], texts["pan"]]) * raw).sum(-1).mean()
