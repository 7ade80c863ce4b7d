"""The losses of Stage II, each a function (METHOD: arXiv 2511.10896)."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from clippan_lite import metrics
from clippan_lite.losses.language import details_only, language, words
from clippan_lite.metrics import blocks
from clippan_lite.physics import degrade
from clippan_lite.physics.sensors import Sensor


def mse_ssim(x: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """MSE + (1 - SSIM) of images scaled to about [0, 1], SSIM with data range 1.

    A range taken from the batch would make an image's loss depend on what else is in it.
    """
    return F.mse_loss(x, reference) + 1 - metrics.ssim(x, reference, 1.0).to(x.dtype)


def spectral(
    fused: torch.Tensor, ms: torch.Tensor, sensor: Sensor, convention: str = "benchmark"
) -> torch.Tensor:
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
    edge = (
        ...,
        slice(size, -size),
        slice(size, -size),
    )  # windows of windows reach beyond the patch there
    return 1 - rho[edge].mean()


def band_to_pan(ms: torch.Tensor, pan_low: torch.Tensor) -> nn.Conv2d:
    """Phi: a 1x1 convolution C -> 1 that starts at the least-squares fit of degraded PAN by MS.

    Args:
        ms: ``(C, h, w)``, or any ``(C, n, m)`` selection of pixels.
        pan_low: PAN on MS's grid ``(1, h, w)``, the same pixels, scaled alike.
    """
    c = ms.shape[0]
    columns = torch.cat([ms.flatten(1), torch.ones(1, ms[0].numel())]).double().cpu()
    weights = torch.linalg.lstsq(columns.T, pan_low.flatten().double().cpu()[:, None]).solution[
        :, 0
    ]
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
        relations.append(
            [blocks.between_bands(*bands).mean(1), blocks.with_last(mean, cov).mean(1)]
        )
    d_lambda, d_s = ((a - b).abs().mean(-1) for a, b in zip(*relations, strict=True))
    return d_lambda, d_s


def quality(
    fused: torch.Tensor, exp: torch.Tensor, pan: torch.Tensor, ratio: int, convention: str
) -> torch.Tensor:
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
    fused: torch.Tensor,
    exp: torch.Tensor,
    pan: torch.Tensor,
    ratio: int,
    convention: str,
    floor: float = 0.0,
) -> torch.Tensor:
    """L_Ds: D_s of each image as far as it is above ``floor``, mean over the batch; else as :func:`quality`.

    The half of L_QNR that asks nothing of the relations between bands, where L_QNR buys its score with colour. The
    truth's own D_s is not 0: what is pushed below it is bought with truth.
    """
    return F.relu(_distortions(fused, exp, pan, ratio, convention)[1] - floor).mean()


def pseudo(fused: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """L_ship: L1 to the output of a teacher trained at reduced resolution."""
    return F.l1_loss(fused, teacher)


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
        terms["ds"] = relation_to_pan(
            fused, batch["exp"], batch["pan"], sensor.ratio, convention, ds_floor
        )
    if weights.get("qnr"):
        terms["qnr"] = quality(fused, batch["exp"], batch["pan"], sensor.ratio, convention)
    if weights.get("truth"):
        terms["truth"] = mse_ssim(fused, batch["truth"])
    if weights.get("ship"):
        terms["ship"] = pseudo(fused, batch["teacher"])
    if weights.get("direction") or weights.get("words"):
        seen = details_only(fused, sensor) if guard else fused
    if weights.get("direction"):
        terms["direction"] = language(
            supervisor, seen, batch["exp"], batch["pan"], texts, **language_options
        )
    if weights.get("words"):
        terms["words"] = words(supervisor, seen, language_options.get("crops", slice(None)), band)
    return terms
