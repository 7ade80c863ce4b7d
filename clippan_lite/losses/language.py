"""What language asks of a fused image: L_d and L_words (METHOD: arXiv 2511.10896)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from clippan_lite.physics import degrade
from clippan_lite.physics.sensors import Sensor
from clippan_lite.prompts import OF_BANDS

KINDS = ("ms", "pan", "hrms")


def direction(images: dict[str, torch.Tensor], texts: dict[str, torch.Tensor]) -> torch.Tensor:
    """L_d = 1 - 1/2 (cos(F_out - F_MS, T_wald - T_MS) + cos(F_out - F_PAN, T_wald - T_PAN)), in [0, 2].

    The displacement of the image feature caused by fusion must point where the text displacement points.

    Args:
        images: ``"hrms"`` (the output, carries the gradient), ``"ms"``, ``"pan"``: unit features ``(B, d)``.
        texts: the same kinds, ``(1, d)``.
    """
    cosines = [
        F.cosine_similarity(
            images["hrms"] - images[kind], texts["hrms"] - texts[kind], dim=-1, eps=1e-6
        )
        for kind in ("ms", "pan")
    ]
    return 1 - (cosines[0] + cosines[1]).mean() / 2


def language(
    supervisor: nn.Module,
    fused: torch.Tensor,
    exp: torch.Tensor,
    pan: torch.Tensor,
    texts: dict[str, torch.Tensor],
    tokens: bool = False,
    crops: slice = slice(None),
    places: torch.Tensor | None = None,
    known: dict | None = None,
) -> torch.Tensor:
    """L_d of images, in [0, 2]: :func:`direction` of their features in native crops.

    Args:
        supervisor: the adapted CLIP.
        fused: ``(B, C, H, W)``, carries the gradient.
        exp: MS interpolated ``(B, C, H, W)``; its features are constants.
        pan: ``(B, 1, H, W)``; its features are constants.
        texts: the sentences' features.
        tokens: on CLIP's patches instead of whole crops.
        crops: which of all crops to look at.
        places: top left corner of each image in its scene, ``(B, 2)``; needed with ``known``.
        known: features of MS and PAN by place, filled here, so that each crop is encoded once; None forgets them.
    """
    ms, pan, fused = (supervisor.tiles(image)[crops] for image in (exp, pan, fused))
    if known is None:
        known, corners = {}, list(range(len(fused)))
    else:
        corners = list(map(tuple, supervisor.tile_corners(places, exp.shape[-2:])[crops].tolist()))
    new = [i for i, corner in enumerate(corners) if corner not in known]
    if new:
        with torch.no_grad():
            pairs = [
                supervisor.encode(kind, x[new], tokens).chunk(len(new))
                for kind, x in (("ms", ms), ("pan", pan))
            ]
        known |= zip((corners[i] for i in new), zip(*pairs, strict=True), strict=True)
    ms, pan = (torch.cat(part) for part in zip(*(known[corner] for corner in corners), strict=True))
    return direction(
        {"hrms": supervisor.encode("hrms", fused, tokens), "ms": ms, "pan": pan}, texts
    )


def words(
    supervisor: nn.Module,
    fused: torch.Tensor,
    crops: slice = slice(None),
    band: int = 0,
    temperature: float = 0.1,
) -> torch.Tensor:
    """L_words: how far un-adapted CLIP is from calling native crops by the wanted word of each antonym pair.

    Mean of softplus((cos(F, T_unwanted) - cos(F, T_wanted)) / temperature). Crops are shown in true colour and as one
    band in grey, without stems and adapters, which would learn to mean anything by the words. The idea of antonyms is
    CLIP-IQA's (Wang et al. 2023); single bands and native crops are ours, and so is the use beside L_spec: alone, the
    words are content with PAN repeated in every band.

    Args:
        supervisor: brings CLIP, the stretch of each band, and the pairs (:data:`clippan_lite.prompts.ANTONYMS`).
        fused: ``(B, C, H, W)``, carries the gradient.
        crops: which of all crops to look at.
        band: the one shown in grey, for the pairs that suit a grey picture.
        temperature: divides the cosines; CLIP's margin between sharp and blurred ground is about 0.4.
    """
    pairs = supervisor.prompts.antonyms
    texts = supervisor.clip.encode_text([text for pair in pairs for text in pair])
    wish = texts[1::2] - texts[0::2]  # unwanted minus wanted
    tiles = supervisor.tiles(fused)[crops] * supervisor.band_gain
    views = torch.cat([tiles[:, list(supervisor.rgb)], tiles[:, [band]].expand(-1, 3, -1, -1)])
    colour, grey = (supervisor.clip.encode_image(views) @ wish.T / temperature).chunk(2)
    return F.softplus(torch.cat([colour, grey[:, :OF_BANDS]], 1)).mean()


def details_only(fused: torch.Tensor, sensor: Sensor) -> torch.Tensor:
    """The same image, whose gradient keeps what MS's MTF filter removes: the spectrum is left to L_spec."""
    coarse = degrade.mtf_filter(fused, sensor.mtf_ms, sensor.ratio)
    return fused - coarse + coarse.detach()
