"""Component substitution: an intensity made of the bands gives way to PAN.

All but Brovey add ``gain_b * (P - I)`` to each interpolated band, where ``I`` is a weighted sum of
the bands and ``P`` is PAN matched to it; they differ in weights and gains.
"""

import torch

from clippan_lite.classical.common import (
    FLAT,
    LOWPASS,
    column,
    enlarge,
    matching,
    method,
    modulation,
    moments,
    quotient,
    solve,
    valid_ms,
)
from clippan_lite.physics.degrade import degrade
from clippan_lite.physics.sensors import Sensor

Tensor = torch.Tensor


@method
def brovey(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """Brovey transform: every band times PAN / intensity, the average of the bands.

    PAN is matched to the intensity's mean and deviation.

    Source:
        Gillespie et al. 1987.
    """
    up = enlarge(ms, sensor.ratio, convention)
    intensity = up.mean(0, keepdim=True)
    gain, offset, mean = matching(intensity, pan, pan, mask)
    return up * modulation(gain * pan + offset, intensity, mean)


def _substitute(
    up: Tensor,
    pan: Tensor,
    mean: Tensor,
    weights: Tensor,
    gains: Tensor,
    scale: Tensor | float = 1.0,
) -> Tensor:
    """``up + gains * (scale * (pan - its mean) - (weights . up - its mean))``.

    ``mean`` holds the means of up's bands, then PAN's.
    """
    detail = scale * pan[0] - torch.tensordot(weights.float(), up, 1)
    return torch.addcmul(
        up, column(gains), detail - (scale * mean[-1] - weights @ mean[:-1]).float()
    )


def _scale(mean: Tensor, cov: Tensor, weights: Tensor) -> Tensor:
    """Factor that gives PAN, the last in mean and cov, the deviation of the intensity."""
    variance = (weights @ cov[:-1, :-1] @ weights).clamp_min(0)
    return quotient(variance, cov[-1, -1], (FLAT * mean[-1]) ** 2).sqrt()


def _gains(mean: Tensor, cov: Tensor, weights: Tensor) -> Tensor:
    """cov(I, band) / var(I)."""
    with_bands = cov[:-1, :-1] @ weights
    return quotient(with_bands, weights @ with_bands, (FLAT * weights @ mean[:-1]) ** 2)


@method
def gihs(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """Generalised intensity-hue-saturation: every band gets the same detail.

    The intensity is the average of the bands. PAN is matched to the intensity's mean and deviation.

    Source:
        Tu et al. 2001.
    """
    up = enlarge(ms, sensor.ratio, convention)
    mean, cov = moments(up, pan, valid=mask)
    weights = torch.full_like(mean[:-1], 1 / len(up))
    gains = torch.ones_like(weights)
    return _substitute(up, pan, mean, weights, gains, _scale(mean, cov, weights))


@method
def pca(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """Principal components: PAN replaces the first one, matched to its mean and deviation.

    The component's sign is free; the one that correlates with PAN is taken.

    Source:
        Chavez and Kwarteng 1989.
    """
    up = enlarge(ms, sensor.ratio, convention)
    mean, cov = moments(up, pan, valid=mask)
    first = torch.linalg.eigh(cov[:-1, :-1])[1][:, -1]
    first = torch.where(first @ cov[:-1, -1] < 0, -first, first)
    return _substitute(up, pan, mean, first, first, _scale(mean, cov, first))


@method
def gs(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """Gram-Schmidt, mode 1: the band average is the intensity, gains are cov(I, band) / var(I).

    PAN is matched to the intensity's mean and deviation.

    Source:
        Laben and Brower 2000; the closed form of Aiazzi et al. 2007.
    """
    up = enlarge(ms, sensor.ratio, convention)
    mean, cov = moments(up, pan, valid=mask)
    weights = torch.full_like(mean[:-1], 1 / len(up))
    gains = _gains(mean, cov, weights)
    return _substitute(up, pan, mean, weights, gains, _scale(mean, cov, weights))


@method
def gsa(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """Adaptive Gram-Schmidt: regressing the reduced PAN on MS gives the intensity's weights.

    Gains are cov(I, band) / var(I).

    A mask must leave 2 (C + 1) MS pixels for the regression.

    Source:
        Aiazzi et al. 2007.
    """
    small = degrade(pan, LOWPASS, sensor.ratio, convention, "exact")
    # Four standard deviations of the low-pass are 2 MS pixels.
    cov = moments(ms, small, valid=valid_ms(mask, sensor.ratio, 2, len(ms) + 1))[1]
    weights = solve(cov[:-1, :-1], cov[:-1, -1])
    up = enlarge(ms, sensor.ratio, convention)
    mean, cov = moments(up, pan, valid=mask)
    return _substitute(up, pan, mean, weights, _gains(mean, cov, weights))
