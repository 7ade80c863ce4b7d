"""What language asks of a fused image: L_d and L_words (METHOD: arXiv 2511.10896)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from clippan_lite.losses.stage_one import direction_of_features
from clippan_lite.losses.terms import Batch, Guide, Tensor
from clippan_lite.physics import degrade

if TYPE_CHECKING:
    from clippan_lite.physics.sensors import Sensor

GREY_PAIRS = 3  # the first pairs of antonyms suit a single band, too


def direction_in_crops(
    fused: Tensor, batch: Batch, *, guard: bool = False, tokens: bool = False
) -> Tensor:
    """L_d of fused images, in [0, 2]: :func:`direction_of_features` of native crops.

    Args:
        fused: ``(B, C, H, W)``, carries the gradient. The features of MS and PAN are constants.
        batch: brings ``exp``, ``pan``, the guide and which crops to look at.
        guard: let the gradient move details only.
        tokens: compare CLIP's patches instead of whole crops.
    """
    guide: Guide = batch.need("guide")
    supervisor = guide.supervisor
    image = details_only(fused, batch.sensor) if guard else fused
    crops = supervisor.tiles(image)[batch.crops]
    ms, pan = _source_features(batch, guide, tokens)
    features = {"hrms": supervisor.encode("hrms", crops, tokens), "ms": ms, "pan": pan}
    return direction_of_features(features, guide)


def _source_features(batch: Batch, guide: Guide, tokens: bool) -> tuple[Tensor, Tensor]:
    """Features of the native crops of MS (interpolated) and PAN: remembered, or encoded now."""
    supervisor, remembered = guide.supervisor, guide.remembered
    ms, pan = (supervisor.tiles(image)[batch.crops] for image in (batch.exp, batch.pan))

    @torch.no_grad()
    def encoded(rows: slice | list[int]) -> tuple[Tensor, Tensor]:
        features = supervisor.encode_all({"ms": ms[rows], "pan": pan[rows]}, tokens)
        return features["ms"], features["pan"]

    if remembered is None:
        return encoded(slice(None))
    size = (batch.exp.shape[-2], batch.exp.shape[-1])
    found = supervisor.tile_corners(batch.need("places"), size)[batch.crops]
    corners = [tuple(corner) for corner in found.tolist()]
    new = [index for index, corner in enumerate(corners) if corner not in remembered]
    if new:
        of_ms, of_pan = (feature.chunk(len(new)) for feature in encoded(new))
        for index, ms_feature, pan_feature in zip(new, of_ms, of_pan, strict=True):
            remembered[corners[index]] = (ms_feature, pan_feature)
    pairs = [remembered[corner] for corner in corners]
    return torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])


def words(fused: Tensor, batch: Batch, temperature: float = 0.1, *, guard: bool = False) -> Tensor:
    """L_words: how far un-adapted CLIP is from calling native crops by the wanted words.

    Mean of softplus((cos(F, T_unwanted) - cos(F, T_wanted)) / temperature). Crops are shown in true
    colour, and as one band in grey. Stems and adapters are left aside: they would learn to mean
    anything by the words. Antonyms are CLIP-IQA's idea (Wang et al. 2023). Single bands, native
    crops and the use beside L_spec are ours: alone, the words are content with PAN in every band.

    Args:
        fused: ``(B, C, H, W)``, carries the gradient.
        batch: brings the guide, whose supervisor holds the pairs of words and each band's stretch.
        guard: let the gradient move details only.
        temperature: divides the cosines. CLIP's margin between sharp and blurred ground is about
            0.4.
    """
    supervisor = batch.need("guide").supervisor
    image = details_only(fused, batch.sensor) if guard else fused
    pairs = supervisor.prompts.antonyms
    texts = supervisor.clip.encode_text([text for pair in pairs for text in pair])
    unwanted_minus_wanted = texts[1::2] - texts[0::2]
    tiles = supervisor.tiles(image)[batch.crops] * supervisor.band_gain
    grey = tiles[:, [batch.grey_band]].expand(-1, 3, -1, -1)
    views = torch.cat([tiles[:, list(supervisor.rgb)], grey])
    margins = supervisor.clip.encode_image(views) @ unwanted_minus_wanted.T / temperature
    of_colour, of_grey = margins.chunk(2)
    return F.softplus(torch.cat([of_colour, of_grey[:, :GREY_PAIRS]], 1)).mean()


def details_only(fused: Tensor, sensor: Sensor) -> Tensor:
    """The same image, but its gradient moves only what MS's MTF filter removes.

    The colours are left to L_spec.
    """
    coarse = degrade.mtf_filter(fused, sensor.mtf_ms, sensor.ratio)
    return fused - coarse + coarse.detach()
