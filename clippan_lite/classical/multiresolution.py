"""Multiresolution analysis: PAN's detail, PAN less its low-pass, is added to or multiplied into the interpolated MS.

The methods differ in the low-pass (a box, or each band's MTF with decimation) and in the gain of the detail.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from clippan_lite.classical.common import (
    FLAT,
    blurred,
    column,
    finish,
    low_pass,
    matching,
    modulation,
    moments,
    prepare,
    quotient,
    valid_ms,
)
from clippan_lite.physics.degrade import degrade, upsample
from clippan_lite.physics.sensors import Sensor

Tensor = torch.Tensor

# Of MTF-GLP-CBD: side of the local window in MS pixels, and the correlation below which PAN's detail is left out.
WINDOW = 7
CORRELATION = 0.3


def exp(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """Plain interpolation of MS; PAN gives the size only.

    Args:
        ms: ``(C, h, w)``, DN.
        pan: ``(1, H, W)``, DN.
        sensor: gives ratio, bits and MTF gains.
        convention: ``"benchmark"`` or ``"geo"``.
        mask: ``(H, W)`` bool on PAN's grid, True where valid; None for all. What lies under it changes nothing.

    Returns:
        ``(C, H, W)`` float32, DN; 0 where the mask is False.

    Raises:
        ValueError: shapes that do not fit each other or the sensor, unknown convention, a mask that does not fit or
            leaves too little, valid pixels that are NaN or infinite.

    Source:
        Aiazzi et al. 2002 (interp23) or Keys 1981 (bicubic).
    """
    ms, _, valid = prepare(ms, pan, sensor, convention, mask)
    return finish(upsample(ms, sensor.ratio, convention), ms, sensor, valid)


def _box(x: Tensor, size: int) -> Tensor:
    """Mean over windows of ``size`` x ``size`` pixels (odd), borders replicated."""
    side = size // 2
    x = F.pad(x[None], (side, side, side, side), mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(x, (1, size), 1), (size, 1), 1)[0]


def hpf(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """High-pass filtering: PAN less its box mean of (2 ratio + 1)^2 pixels is added, PAN matched to every band.

    Args, Returns and Raises as in `exp`.

    Source:
        Chavez and Bowell 1988; the window, twice the ratio, after Chavez et al. 1991.
    """
    ms, pan, valid = prepare(ms, pan, sensor, convention, mask)
    up = upsample(ms, sensor.ratio, convention)
    gain, _, _ = matching(up, pan, blurred(pan, sensor.ratio), valid)
    return finish(torch.addcmul(up, gain, pan - _box(pan, 2 * sensor.ratio + 1)), ms, sensor, valid)


def sfim(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """Smoothing-filter-based intensity modulation: every band times PAN / its box mean of (2 ratio + 1)^2 pixels.

    Args, Returns and Raises as in `exp`.

    Source:
        Liu 2000.
    """
    ms, pan, valid = prepare(ms, pan, sensor, convention, mask)
    up = upsample(ms, sensor.ratio, convention)
    level = column(moments(pan, valid=valid)[0])
    return finish(up * modulation(pan, _box(pan, 2 * sensor.ratio + 1), level), ms, sensor, valid)


def mtf_glp(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """MTF-matched generalised Laplacian pyramid: PAN matched to every band, less its low-pass, is added.

    Args, Returns and Raises as in `exp`.

    Source:
        Aiazzi et al. 2002 and 2006.
    """
    ms, pan, valid = prepare(ms, pan, sensor, convention, mask)
    up = upsample(ms, sensor.ratio, convention)
    gain, _, _ = matching(up, pan, blurred(pan, sensor.ratio), valid)
    detail = pan - low_pass(pan, sensor.mtf_ms, sensor.ratio, convention)
    return finish(torch.addcmul(up, gain, detail), ms, sensor, valid)


def mtf_glp_hpm(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """MTF-matched pyramid with high-pass modulation: every band times PAN / low-pass PAN, PAN matched to the band.

    Args, Returns and Raises as in `exp`.

    Source:
        Aiazzi et al. 2006; Vivone et al. 2014.
    """
    ms, pan, valid = prepare(ms, pan, sensor, convention, mask)
    up = upsample(ms, sensor.ratio, convention)
    gain, offset, mean = matching(up, pan, blurred(pan, sensor.ratio), valid)
    low = gain * low_pass(pan, sensor.mtf_ms, sensor.ratio, convention) + offset
    return finish(up * modulation(gain * pan + offset, low, mean), ms, sensor, valid)


def mtf_glp_fs(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """MTF-matched pyramid, gains by regression at full scale: cov(band, PAN) / cov(low-pass PAN, PAN).

    Args, Returns and Raises as in `exp`.

    Source:
        Vivone, Restaino and Chanussot 2018.
    """
    ms, pan, valid = prepare(ms, pan, sensor, convention, mask)
    up = upsample(ms, sensor.ratio, convention)
    low = low_pass(pan, sensor.mtf_ms, sensor.ratio, convention)
    n = len(up)
    mean, cov = moments(up, low, pan, valid=valid)
    gains = quotient(cov[-1, :n], cov[-1, n : 2 * n], (FLAT * mean[-1]) ** 2)
    return finish(torch.addcmul(up, column(gains), pan - low), ms, sensor, valid)


def _context(ms: Tensor, small: Tensor, usable: Tensor | None) -> Tensor:
    """Local gains ``(C, h, w)`` of PAN's detail from windows on the MS grid; 0 where MS does not follow PAN."""
    x, p = ms.double(), small.double()
    count = None if usable is None else _box(usable[None].double(), WINDOW).clamp_min(1e-9)

    def local(z: Tensor) -> Tensor:
        return (
            _box(z, WINDOW) if usable is None else _box(torch.where(usable, z, 0.0), WINDOW) / count
        )

    mean_x, mean_p = local(x), local(p)
    var_x, var_p = local(x * x) - mean_x**2, local(p * p) - mean_p**2
    cov = local(x * p) - mean_x * mean_p
    gain = quotient(cov, var_p, FLAT**2 * mean_p**2)
    return torch.where(cov > CORRELATION * (var_x * var_p).clamp_min(0).sqrt(), gain, 0.0).float()


def mtf_glp_cbd(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """MTF-matched pyramid with a context-based decision: local gains, none where MS and PAN do not correlate.

    The gain is cov / var of a band and PAN on the MS grid in windows of 7 x 7, interpolated to PAN's grid; it is 0
    where their correlation is below 0.3.

    Args, Returns and Raises as in `exp`.

    Source:
        Aiazzi et al. 2002 and 2006.
    """
    ms, pan, valid = prepare(ms, pan, sensor, convention, mask)
    r = sensor.ratio
    small = degrade(pan.expand(len(ms), -1, -1), sensor.mtf_ms, r, convention)
    gains = _context(ms, small, valid_ms(valid, r, 2, WINDOW))
    gains = upsample(gains, r, convention).clamp_min(0)
    detail = pan - upsample(small, r, convention)
    return finish(torch.addcmul(upsample(ms, r, convention), gains, detail), ms, sensor, valid)
