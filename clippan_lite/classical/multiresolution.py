"""Multiresolution analysis: PAN's detail goes into the interpolated MS.

The detail is PAN less its low-pass, and is added or multiplied. The methods differ in the low-pass
(a box, or each band's MTF with decimation) and in the gain of the detail.
"""

import torch

from clippan_lite.classical.common import (
    FLAT,
    blurred,
    column,
    enlarge,
    low_pass,
    matching,
    method,
    modulation,
    moments,
    quotient,
    valid_ms,
)
from clippan_lite.physics.degrade import degrade
from clippan_lite.physics.sensors import Sensor
from clippan_lite.physics.windows import box_mean

Tensor = torch.Tensor

# Of MTF-GLP-CBD: side of the local window in MS pixels, and the correlation below which PAN's
# detail is left out.
WINDOW = 7
CORRELATION = 0.3


@method
def exp(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """Plain interpolation of MS; PAN gives the size only.

    Source:
        Aiazzi et al. 2002 (interp23) or Keys 1981 (bicubic).
    """
    return enlarge(ms, sensor.ratio, convention)


@method
def hpf(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """High-pass filtering: PAN less its box mean is added, PAN matched to every band.

    The box has (2 ratio + 1)^2 pixels.

    Source:
        Chavez and Bowell 1988; the window, twice the ratio, after Chavez et al. 1991.
    """
    up = enlarge(ms, sensor.ratio, convention)
    gain, _, _ = matching(up, pan, blurred(pan, sensor.ratio), mask)
    return torch.addcmul(up, gain, pan - box_mean(pan, 2 * sensor.ratio + 1))


@method
def sfim(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """Smoothing-filter-based intensity modulation: every band times PAN / its box mean.

    The box has (2 ratio + 1)^2 pixels.

    Source:
        Liu 2000.
    """
    up = enlarge(ms, sensor.ratio, convention)
    level = column(moments(pan, valid=mask)[0])
    return up * modulation(pan, box_mean(pan, 2 * sensor.ratio + 1), level)


@method
def mtf_glp(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """MTF-matched generalised Laplacian pyramid: matched PAN less its low-pass is added.

    Source:
        Aiazzi et al. 2002 and 2006.
    """
    up = enlarge(ms, sensor.ratio, convention)
    gain, _, _ = matching(up, pan, blurred(pan, sensor.ratio), mask)
    detail = pan - low_pass(pan, sensor.mtf_ms, sensor.ratio, convention)
    return torch.addcmul(up, gain, detail)


@method
def mtf_glp_hpm(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """MTF-matched pyramid with high-pass modulation: every band times PAN / low-pass PAN.

    PAN is matched to each band first.

    Source:
        Aiazzi et al. 2006; Vivone et al. 2014.
    """
    up = enlarge(ms, sensor.ratio, convention)
    gain, offset, mean = matching(up, pan, blurred(pan, sensor.ratio), mask)
    low = gain * low_pass(pan, sensor.mtf_ms, sensor.ratio, convention) + offset
    return up * modulation(gain * pan + offset, low, mean)


@method
def mtf_glp_fs(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """MTF-matched pyramid, gains by regression at full scale.

    The gain of a band is cov(band, PAN) / cov(low-pass PAN, PAN).

    Source:
        Vivone, Restaino and Chanussot 2018.
    """
    up = enlarge(ms, sensor.ratio, convention)
    low = low_pass(pan, sensor.mtf_ms, sensor.ratio, convention)
    n = len(up)
    mean, cov = moments(up, low, pan, valid=mask)
    gains = quotient(cov[-1, :n], cov[-1, n : 2 * n], (FLAT * mean[-1]) ** 2)
    return torch.addcmul(up, column(gains), pan - low)


def _context(ms: Tensor, small: Tensor, usable: Tensor | None) -> Tensor:
    """Local gains ``(C, h, w)`` of PAN's detail on the MS grid; 0 where MS does not follow PAN."""
    x, p = ms.double(), small.double()
    usable = torch.ones_like(p[0], dtype=torch.bool) if usable is None else usable
    share = box_mean(usable[None].double(), WINDOW).clamp_min(1e-9)

    def local(z: Tensor) -> Tensor:
        return box_mean(torch.where(usable, z, 0.0), WINDOW) / share

    mean_x, mean_p = local(x), local(p)
    var_x, var_p = local(x * x) - mean_x**2, local(p * p) - mean_p**2
    cov = local(x * p) - mean_x * mean_p
    gain = quotient(cov, var_p, FLAT**2 * mean_p**2)
    return torch.where(cov > CORRELATION * (var_x * var_p).clamp_min(0).sqrt(), gain, 0.0).float()


@method
def mtf_glp_cbd(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """MTF-matched pyramid with a context-based decision: gains are local.

    The gain is cov / var of a band and PAN on the MS grid in windows of 7 x 7, interpolated to
    PAN's grid; it is 0 where their correlation is below 0.3.

    Source:
        Aiazzi et al. 2002 and 2006.
    """
    r = sensor.ratio
    small = degrade(pan.expand(len(ms), -1, -1), sensor.mtf_ms, r, convention)
    gains = _context(ms, small, valid_ms(mask, r, 2, WINDOW))
    gains = enlarge(gains, r, convention).clamp_min(0)
    detail = pan - enlarge(small, r, convention)
    return torch.addcmul(enlarge(ms, r, convention), gains, detail)
