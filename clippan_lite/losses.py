"""The losses of both stages, each a function; a stage's sum comes as named terms (METHOD: arXiv 2511.10896)."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from clippan_lite import blocks, degrade, metrics
from clippan_lite.prompts import OF_BANDS
from clippan_lite.sensors import Sensor

KINDS = ("ms", "pan", "hrms")


# ---------------------------------------------------------------- Stage I


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
        raise ValueError(f"IntraMCL contrasts places: expected at least 2 in a batch, found {count}")
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


def direction(images: dict[str, torch.Tensor], texts: dict[str, torch.Tensor]) -> torch.Tensor:
    """L_d = 1 - 1/2 (cos(F_out - F_MS, T_wald - T_MS) + cos(F_out - F_PAN, T_wald - T_PAN)), in [0, 2].

    The displacement of the image feature caused by fusion must point where the text displacement points.

    Args:
        images: ``"hrms"`` (the output, carries the gradient), ``"ms"``, ``"pan"``: unit features ``(B, d)``.
        texts: the same kinds, ``(1, d)``.
    """
    cosines = [
        F.cosine_similarity(images["hrms"] - images[kind], texts["hrms"] - texts[kind], dim=-1, eps=1e-6)
        for kind in ("ms", "pan")
    ]
    return 1 - (cosines[0] + cosines[1]).mean() / 2


def drift(supervisor: nn.Module, texts: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean of 1 - cos between the adapted MS and PAN sentences and CLIP's own features of them, in [0, 2]."""
    raw = supervisor.clip.encode_text([supervisor.prompts.ms, supervisor.prompts.pan])
    return 1 - (torch.cat([texts["ms"], texts["pan"]]) * raw).sum(-1).mean()


def stage_one(
    supervisor: nn.Module, images: dict[str, torch.Tensor], texts: dict[str, torch.Tensor], temperature: float
) -> dict[str, torch.Tensor]:
    """All Stage-I terms by name, unweighted: ``inter``, ``intra``, ``fusion``, ``direction``, ``drift``."""
    return {
        "inter": inter_mcl(images, texts, temperature),
        "intra": intra_mcl(images, temperature),
        "fusion": fusion_aware(supervisor, images, texts),
        "direction": direction(images, texts),
        "drift": drift(supervisor, texts),
    }


# ---------------------------------------------------------------- Stage II


def mse_ssim(x: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """MSE + (1 - SSIM) of images scaled to about [0, 1], SSIM with data range 1.

    A range taken from the batch would make an image's loss depend on what else is in it.
    """
    return F.mse_loss(x, reference) + 1 - metrics.ssim(x, reference, 1.0).to(x.dtype)


def spectral(fused: torch.Tensor, ms: torch.Tensor, sensor: Sensor, convention: str = "benchmark") -> torch.Tensor:
    """L_spec: MSE + (1 - SSIM) between the MTF-degraded, decimated output and MS.

    A frame of 2 MS pixels is left out where the patch allows: there the filter looks beyond the patch.
    """
    low = degrade.degrade(fused, sensor.mtf_ms, sensor.ratio, convention)
    edge = 2 if min(ms.shape[-2:]) >= 16 else 0
    inner = (..., slice(edge, ms.shape[-2] - edge), slice(edge, ms.shape[-1] - edge))
    return mse_ssim(low[inner], ms[inner])


def spatial(fused: torch.Tensor, pan: torch.Tensor, to_pan: nn.Module) -> torch.Tensor:
    """L_spat: MSE + (1 - SSIM) between phi(output) and PAN, phi a learned 1x1 combination of the bands."""
    return mse_ssim(to_pan(fused), pan)


def correlation(fused: torch.Tensor, pan: torch.Tensor, ratio: int) -> torch.Tensor:
    """L_rho: 1 - mean correlation of each band with PAN in windows of about ``ratio`` pixels, in [0, 2].

    What D_rho measures (Scarpa and Ciotola 2022), made smooth on flat ground. Only the shape of the details counts,
    neither their size nor the level, which are left to L_spec.

    Args:
        fused: ``(B, C, H, W)``, scaled to about [0, 1].
        pan: ``(B, 1, H, W)``, scaled alike.
        ratio: PAN pixels per MS pixel.
    """
    half = math.ceil(ratio / 2)
    size, pad = 2 * half, (half - 1, half, half - 1, half)

    def box(x: torch.Tensor) -> torch.Tensor:
        return blocks.window_sum(F.pad(x, pad, mode="replicate"), size) / size**2

    a, b = fused - box(fused), pan - box(pan)
    # Standard deviations of a thousandth count as flat: below it lie quantisation and noise.
    rho = box(a * b) / ((box(a * a) + 1e-6) * (box(b * b) + 1e-6)).sqrt()
    edge = (..., slice(size, -size), slice(size, -size))  # windows of windows reach beyond the patch there
    return 1 - rho[edge].mean()


def band_to_pan(ms: torch.Tensor, pan_low: torch.Tensor) -> nn.Conv2d:
    """Phi: a 1x1 convolution C -> 1 that starts at the least-squares fit of degraded PAN by MS.

    Args:
        ms: ``(C, h, w)``, or any ``(C, n, m)`` selection of pixels.
        pan_low: PAN on MS's grid ``(1, h, w)``, the same pixels, scaled alike.
    """
    c = ms.shape[0]
    columns = torch.cat([ms.flatten(1), torch.ones(1, ms[0].numel())]).double().cpu()
    weights = torch.linalg.lstsq(columns.T, pan_low.flatten().double().cpu()[:, None]).solution[:, 0]
    layer = nn.Conv2d(c, 1, 1)
    with torch.no_grad():
        layer.weight.copy_(weights[:c].float().view(1, c, 1, 1))
        layer.bias.copy_(weights[c:].float())
    return layer


def _distortions(
    fused: torch.Tensor, exp: torch.Tensor, pan: torch.Tensor, ratio: int, convention: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """D_lambda and D_s of each image ``(B,)``: the metrics' definitions in single precision, all moments at once."""
    metrics.no_reference.check_bands(exp)
    relations = []
    low_pan = degrade.upsample(degrade.imresize(pan, 1 / ratio), ratio, convention)
    for image, sharpness in ((fused, pan), (exp, low_pan)):
        mean, cov = blocks.moments([image, sharpness], 32)
        bands = (mean[..., :-1], cov[..., :-1, :-1])
        relations.append([blocks.between_bands(*bands).mean(1), blocks.with_last(mean, cov).mean(1)])
    d_lambda, d_s = ((a - b).abs().mean(-1) for a, b in zip(*relations, strict=True))
    return d_lambda, d_s


def quality(fused: torch.Tensor, exp: torch.Tensor, pan: torch.Tensor, ratio: int, convention: str) -> torch.Tensor:
    """L_QNR = 1 - (1 - D_lambda)(1 - D_s), mean over the images of a batch; see :func:`clippan_lite.metrics.qnr`.

    Args:
        fused: ``(B, C, H, W)``, H and W at least 32.
        exp: interpolated MS of the same shape.
        pan: ``(B, 1, H, W)``.
        ratio: PAN pixels per MS pixel.
        convention: resampling convention of the data.

    Raises:
        ValueError: one band, which has no relations.
    """
    d_lambda, d_s = _distortions(fused, exp, pan, ratio, convention)
    return 1 - ((1 - d_lambda) * (1 - d_s)).mean()


def relation_to_pan(
    fused: torch.Tensor, exp: torch.Tensor, pan: torch.Tensor, ratio: int, convention: str, floor: float = 0.0
) -> torch.Tensor:
    """L_Ds: D_s of each image as far as it is above ``floor``, mean over the batch; else as :func:`quality`.

    The half of L_QNR that asks nothing of the relations between bands, where L_QNR buys its score with colour. The
    truth's own D_s is not 0: what is pushed below it is bought with truth.
    """
    return F.relu(_distortions(fused, exp, pan, ratio, convention)[1] - floor).mean()


def pseudo(fused: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """L_ship: L1 to the output of a teacher trained at reduced resolution."""
    return F.l1_loss(fused, teacher)


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
            pairs = [supervisor.encode(kind, x[new], tokens).chunk(len(new)) for kind, x in (("ms", ms), ("pan", pan))]
        known |= zip((corners[i] for i in new), zip(*pairs, strict=True), strict=True)
    ms, pan = (torch.cat(part) for part in zip(*(known[corner] for corner in corners), strict=True))
    return direction({"hrms": supervisor.encode("hrms", fused, tokens), "ms": ms, "pan": pan}, texts)


def words(
    supervisor: nn.Module, fused: torch.Tensor, crops: slice = slice(None), band: int = 0, temperature: float = 0.1
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


def stage_two(
    fused: torch.Tensor,
    batch: dict[str, torch.Tensor],
    sensor: Sensor,
    to_pan: nn.Module,
    weights: dict[str, float],
    supervisor: nn.Module | None = None,
    texts: dict[str, torch.Tensor] | None = None,
    convention: str = "benchmark",
    ds_floor: float = 0.0,
    guard: bool = False,
    band: int = 0,
    **language_options: object,
) -> dict[str, torch.Tensor]:
    """Stage-II terms by name, unweighted, those whose weight is above 0.

    Args:
        fused: the network's output ``(B, C, H, W)``.
        batch: ``ms``, ``pan``, ``exp``, and ``teacher`` and ``truth`` for their terms, as cut by
            :class:`clippan_lite.data.Patches`.
        sensor: MTF gains and ratio.
        to_pan: phi of :func:`spatial`.
        weights: ``spec``, ``spat``, ``rho``, ``ds``, ``qnr``, ``truth``, ``ship``, ``direction``, ``words``; a name
            left out counts as 0.
        supervisor: the adapted CLIP, for ``direction`` and ``words``.
        texts: its sentences' features; they do not change while the network trains.
        convention: resampling convention of the data.
        ds_floor: as in :func:`relation_to_pan`.
        guard: language moves details only, see :func:`details_only`.
        band: as in :func:`words`.
        language_options: more arguments of :func:`language`.

    Returns:
        dict: named scalars. The feature of the output carries the gradient; those of MS and PAN are constants.
    """
    terms = {}
    if weights.get("spec"):
        terms["spec"] = spectral(fused, batch["ms"], sensor, convention)
    if weights.get("spat"):
        terms["spat"] = spatial(fused, batch["pan"], to_pan)
    if weights.get("rho"):
        terms["rho"] = correlation(fused, batch["pan"], sensor.ratio)
    if weights.get("ds"):
        terms["ds"] = relation_to_pan(fused, batch["exp"], batch["pan"], sensor.ratio, convention, ds_floor)
    if weights.get("qnr"):
        terms["qnr"] = quality(fused, batch["exp"], batch["pan"], sensor.ratio, convention)
    if weights.get("truth"):
        terms["truth"] = mse_ssim(fused, batch["truth"])
    if weights.get("ship"):
        terms["ship"] = pseudo(fused, batch["teacher"])
    if weights.get("direction") or weights.get("words"):
        seen = details_only(fused, sensor) if guard else fused
    if weights.get("direction"):
        terms["direction"] = language(supervisor, seen, batch["exp"], batch["pan"], texts, **language_options)
    if weights.get("words"):
        terms["words"] = words(supervisor, seen, language_options.get("crops", slice(None)), band)
    return terms
