"""The losses of Stage II that need no CLIP (METHOD: arXiv 2511.10896).

Every term takes the fused image ``(B, C, H, W)``, scaled to about [0, 1], and a :class:`Batch` of
the same ground. It returns a scalar with gradients to the image.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from clippan_lite.losses.terms import Batch, Tensor
from clippan_lite.metrics import blocks
from clippan_lite.physics import degrade
from clippan_lite.physics.imresize import imresize
from clippan_lite.physics.windows import box_mean


def mse_ssim(x: Tensor, target: Tensor) -> Tensor:
    """MSE + (1 - SSIM) of images scaled to about [0, 1], SSIM with data range 1.

    A range taken from the batch would make an image's loss depend on what else is in it. Single
    precision is enough as long as torch's matrix products keep it (no TF32, torch's default).

    Raises:
        ValueError: images of different shapes.
    """
    if x.shape != target.shape:
        raise ValueError(
            f"expected images of one shape, found {tuple(x.shape)}, {tuple(target.shape)}"
        )
    return F.mse_loss(x, target) + 1 - blocks.ssim_map(x, target, 1.0).mean()


def spectral(fused: Tensor, batch: Batch) -> Tensor:
    """L_spec: MSE + (1 - SSIM) between the MTF-degraded, decimated output and MS.

    A frame of 2 MS pixels is left out where the patch allows, because the filter looks beyond the
    patch there.
    """
    sensor, ms = batch.sensor, batch.ms
    low = degrade.degrade(fused, sensor.mtf_ms, sensor.ratio, batch.convention)
    edge = 2 if min(ms.shape[-2:]) >= 16 else 0
    inner = (..., slice(edge, ms.shape[-2] - edge), slice(edge, ms.shape[-1] - edge))
    return mse_ssim(low[inner], ms[inner])


def spatial(fused: Tensor, batch: Batch) -> Tensor:
    """L_spat: MSE + (1 - SSIM) between phi(output) and PAN, phi a learned mixture of the bands."""
    return mse_ssim(batch.need("to_pan")(fused), batch.pan)


def correlation(fused: Tensor, batch: Batch) -> Tensor:
    """L_rho: 1 - mean correlation of bands with PAN in windows of about ``ratio``, in [0, 2].

    This is what D_rho measures, made smooth on flat ground. Only the shape of the details counts.
    Their size and the level are left to L_spec.

    Source:
        Scarpa and Ciotola 2022.
    """
    size = 2 * math.ceil(batch.sensor.ratio / 2)
    a, b = fused - box_mean(fused, size), batch.pan - box_mean(batch.pan, size)
    # Standard deviations of a thousandth count as flat: below it lie quantisation and noise.
    covariance = box_mean(a * b, size)
    spread = (box_mean(a * a, size) + 1e-6) * (box_mean(b * b, size) + 1e-6)
    rho = covariance / spread.sqrt()
    edge = (..., slice(size, -size), slice(size, -size))  # there, windows reach beyond the patch
    return 1 - rho[edge].mean()


def quality(fused: Tensor, batch: Batch) -> Tensor:
    """L_QNR = 1 - (1 - D_lambda)(1 - D_s), mean over the batch; H and W at least 32.

    The metric is :func:`clippan_lite.metrics.qnr`.

    Raises:
        ValueError: one band, which has no relations.
    """
    d_lambda, d_s = _distortions(fused, batch)
    return 1 - ((1 - d_lambda) * (1 - d_s)).mean()


def relation_to_pan(fused: Tensor, batch: Batch, *, ds_floor: float = 0.0) -> Tensor:
    """L_Ds: D_s of each image as far as it exceeds a floor, mean over the batch.

    The half of L_QNR that asks nothing of the relations between bands, where L_QNR buys its score
    with colour. The truth's own D_s is not 0. A D_s below that is bought with truth.
    """
    return F.relu(_distortions(fused, batch)[1] - ds_floor).mean()


def _distortions(fused: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """D_lambda and D_s of each image ``(B,)``: the metrics' definitions in single precision."""
    blocks.check_bands(batch.exp)
    ratio = batch.sensor.ratio
    low_pan = imresize(batch.pan, 1 / ratio)
    low_pan = degrade.upsample(low_pan, ratio, batch.convention)
    # One pass for the fused image with PAN and for EXP with low PAN. PAN is the first band, so its
    # relations come before those between the other bands.
    pans, images = torch.cat([batch.pan, low_pan]), torch.cat([fused, batch.exp])
    relations = blocks.between_bands(*blocks.moments([pans, images], 32)).mean(1)
    change = torch.sub(*relations.chunk(2)).abs()
    bands = fused.shape[1]
    return change[:, bands:].mean(-1), change[:, :bands].mean(-1)


def against_truth(fused: Tensor, batch: Batch) -> Tensor:
    """MSE + (1 - SSIM) to the truth: a synthetic scene's, or MS itself one scale down."""
    return mse_ssim(fused, batch.need("truth"))


def pseudo(fused: Tensor, batch: Batch) -> Tensor:
    """L_ship: L1 to the output of a teacher trained at reduced resolution."""
    return F.l1_loss(fused, batch.need("teacher"))


def band_to_pan(ms: Tensor, pan_low: Tensor) -> nn.Conv2d:
    """Phi: a 1x1 convolution C -> 1 that starts at the least-squares fit of degraded PAN by MS.

    Args:
        ms: ``(C, h, w)``, or any ``(C, n, m)`` selection of pixels.
        pan_low: PAN on MS's grid ``(1, h, w)``, the same pixels, scaled alike.
    """
    bands = ms.shape[0]
    columns = torch.cat([ms.flatten(1), torch.ones(1, ms[0].numel())]).double().cpu()
    right = pan_low.flatten().double().cpu()[:, None]
    weights = torch.linalg.lstsq(columns.T, right).solution[:, 0].float()
    layer = nn.Conv2d(bands, 1, 1)
    assert layer.bias is not None  # for the type checker: a Conv2d has one by default
    with torch.no_grad():
        layer.weight.copy_(weights[:bands].view(1, bands, 1, 1))
        layer.bias.copy_(weights[bands:])
    return layer
