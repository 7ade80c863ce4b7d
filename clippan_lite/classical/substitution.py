"""Component substitution: an intensity made of the bands gives way to PAN.

All but Brovey add ``gain_b * (P - I)`` to each interpolated band, where ``I`` is a weighted sum of the bands and ``P``
is PAN matched to it; they differ in weights and gains.
"""

from __future__ import annotations

import torch

from clippan_lite.classical.common import (
    FLAT,
    LOWPASS,
    column,
    finish,
    matching,
    modulation,
    moments,
    prepare,
    quotient,
    solve,
    valid_ms,
)
from clippan_lite.physics.degrade import degrade, upsample
from clippan_lite.physics.sensors import Sensor

Tensor = torch.Tensor


def brovey(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """Brovey transform: every band times PAN / intensity, PAN matched to the mean and spread of the band average.

    Args, Returns and Raises as in `exp`.

    Source:
        Gillespie et al. 1987.
    """
    ms, pan, valid = prepare(ms, pan, sensor, convention, mask)
    up = upsample(ms, sensor.ratio, convention)
    intensity = up.mean(0, keepdim=True)
    gain, offset, mean = matching(intensity, pan, pan, valid)
    return finish(up * modulation(gain * pan + offset, intensity, mean), ms, sensor, valid)


def _substitute(
    up: Tensor,
    pan: Tensor,
    mean: Tensor,
    weights: Tensor,
    gains: Tensor,
    scale: Tensor | float = 1.0,
) -> Tensor:
    """``up + gains * (scale * (pan - its mean) - (weights . up - its mean))``; mean is that of up's bands, then PAN."""
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


def gihs(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """Generalised intensity-hue-saturation: the band average is the intensity, the same detail goes to every band.

    PAN is matched to the intensity's mean and deviation.

    Args, Returns and Raises as in `exp`.

    Source:
        Tu et al. 2001.
    """
    ms, pan, valid = prepare(ms, pan, sensor, convention, mask)
    up = upsample(ms, sensor.ratio, convention)
    mean, cov = moments(up, pan, valid=valid)
    weights = torch.full_like(mean[:-1], 1 / len(up))
    fused = _substitute(
        up, pan, mean, weights, torch.ones_like(weights), _scale(mean, cov, weights)
    )
    return finish(fused, ms, sensor, valid)


def pca(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """Principal components: PAN replaces the first one, matched to its mean and deviation.

    The component's sign is free; the one that correlates with PAN is taken.

    Args, Returns and Raises as in `exp`.

    Source:
        Chavez and Kwarteng 1989.
    """
    ms, pan, valid = prepare(ms, pan, sensor, convention, mask)
    up = upsample(ms, sensor.ratio, convention)
    mean, cov = moments(up, pan, valid=valid)
    first = torch.linalg.eigh(cov[:-1, :-1])[1][:, -1]
    first = torch.where(first @ cov[:-1, -1] < 0, -first, first)
    return finish(
        _substitute(up, pan, mean, first, first, _scale(mean, cov, first)), ms, sensor, valid
    )


def gs(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """Gram-Schmidt, mode 1: the band average is the intensity, gains are cov(I, band) / var(I).

    PAN is matched to the intensity's mean and deviation.

    Args, Returns and Raises as in `exp`.

    Source:
        Laben and Brower 2000; the closed form of Aiazzi et al. 2007.
    """
    ms, pan, valid = prepare(ms, pan, sensor, convention, mask)
    up = upsample(ms, sensor.ratio, convention)
    mean, cov = moments(up, pan, valid=valid)
    weights = torch.full_like(mean[:-1], 1 / len(up))
    fused = _substitute(
        up, pan, mean, weights, _gains(mean, cov, weights), _scale(mean, cov, weights)
    )
    return finish(fused, ms, sensor, valid)


def gsa(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """Adaptive Gram-Schmidt: intensity weights by regressing the reduced PAN on MS, gains cov(I, band) / var(I).

    Args, Returns and Raises as in `exp`; a mask must leave 2 (C + 1) MS pixels for the regression.

    Source:
        Aiazzi et al. 2007.
    """
    ms, pan, valid = prepare(ms, pan, sensor, convention, mask)
    small = degrade(pan, LOWPASS, sensor.ratio, convention, "exact")
    # Four standard deviations of the low-pass are 2 MS pixels.
    cov = moments(ms, small, valid=valid_ms(valid, sensor.ratio, 2, len(ms) + 1))[1]
    weights = solve(cov[:-1, :-1], cov[:-1, -1])
    up = upsample(ms, sensor.ratio, convention)
    mean, cov = moments(up, pan, valid=valid)
    return finish(
        _substitute(up, pan, mean, weights, _gains(mean, cov, weights)), ms, sensor, valid
    )
