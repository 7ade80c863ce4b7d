"""Classical pansharpening: interpolation, component substitution and multiresolution analysis.

Every method has the signature ``(ms, pan, sensor, convention="benchmark") -> fused``: ms ``(C, h, w)`` and pan
``(1, h * ratio, w * ratio)`` in DN, any floating dtype and device; fused ``(C, h * ratio, w * ratio)`` float32 in DN,
clipped to what the sensor can give (or to the range of ms, should that be wider). Shapes that do not fit each other or
the sensor raise a one-line ValueError.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from clippan_lite.data import Pair
from clippan_lite.degrade import CONVENTIONS, check_choice, check_image, degrade, mtf_filter, upsample
from clippan_lite.sensors import Sensor

Tensor = torch.Tensor
# Gain of the low-pass that takes PAN to the resolution of MS: the toolboxes' default, not PAN's own MTF. With the
# latter PAN keeps less detail than MS, and regressing one on the other biases the weights.
_LOWPASS = 0.30


def _start(ms: Tensor, pan: Tensor, sensor: Sensor, convention: str) -> tuple[Tensor, Tensor, Tensor]:
    """Checked ms, pan and interpolated ms, float32."""
    check_image("ms", ms, len(sensor.bands))
    check_image("pan", pan, 1)
    check_choice("convention", convention, CONVENTIONS)
    r = sensor.ratio
    if ms.dim() != 3 or tuple(pan.shape) != (1, ms.shape[1] * r, ms.shape[2] * r):
        raise ValueError(
            f"pan: expected ms (C, h, w) and pan (1, {r} h, {r} w), found {tuple(ms.shape)}, {tuple(pan.shape)}"
        )
    ms, pan = ms.float(), pan.float()
    return ms, pan, upsample(ms, r, convention)


def _finish(fused: Tensor, ms: Tensor, sensor: Sensor) -> Tensor:
    low, high = min(0.0, float(ms.min())), max(2.0**sensor.bits - 1, float(ms.max()))
    return fused.float().clip(low, high)


def _solve(a: Tensor, b: Tensor) -> Tensor:
    """Least squares ``a @ w = b`` in float64; of several solutions the shortest (bands may be copies)."""
    a, b = a.double(), b.double()
    return torch.linalg.pinv(a.T @ a, hermitian=True, rtol=1e-13) @ (a.T @ b)


def exp(ms: Tensor, pan: Tensor, sensor: Sensor, convention: str = "benchmark") -> Tensor:
    """Plain interpolation of MS; PAN gives the size only.

    Args:
        ms: ``(C, h, w)``, DN.
        pan: ``(1, H, W)``, DN.
        sensor: gives ratio and bits.
        convention: ``"benchmark"`` or ``"geo"``.

    Returns:
        ``(C, H, W)`` float32, DN.

    Raises:
        ValueError: shapes that do not fit each other or the sensor, unknown convention.

    Source:
        Aiazzi et al. 2002 (interp23) or Keys 1981 (bicubic).
    """
    ms, _, up = _start(ms, pan, sensor, convention)
    return _finish(up, ms, sensor)


def brovey(ms: Tensor, pan: Tensor, sensor: Sensor, convention: str = "benchmark") -> Tensor:
    """Brovey transform: every band times PAN / intensity, PAN matched to the mean and spread of the band average.

    Args, Returns and Raises as in `exp`.

    Source:
        Gillespie et al. 1987.
    """
    ms, pan, up = _start(ms, pan, sensor, convention)
    intensity = up.mean(0, keepdim=True)
    matched = _match(pan, intensity, pan)
    return _finish(up * _modulation(matched, intensity), ms, sensor)


def _match(pan: Tensor, target: Tensor, spread: Tensor) -> Tensor:
    """PAN with each target band's mean, and with the gain that brings ``spread`` to the target's deviation."""
    dims = (1, 2)
    gain = target.double().std(dims) / spread.double().std(dims).clamp_min(1e-12)
    return (pan - pan.double().mean().float()) * gain.float()[:, None, None] + target.mean(dims)[:, None, None]


def _modulation(high: Tensor, low: Tensor) -> Tensor:
    """``high / low``; dark pixels (below 1/1000 of the mean) are divided by that floor instead."""
    floor = 1e-3 * low.abs().mean((1, 2), keepdim=True)
    return high / torch.maximum(low, floor).clamp_min(1e-12)


def gsa(ms: Tensor, pan: Tensor, sensor: Sensor, convention: str = "benchmark") -> Tensor:
    """Adaptive Gram-Schmidt: intensity weights by regressing the reduced PAN on MS, gains cov(I, band) / var(I).

    Args, Returns and Raises as in `exp`.

    Source:
        Aiazzi et al. 2007.
    """
    ms, pan, up = _start(ms, pan, sensor, convention)
    small = degrade(pan, _LOWPASS, sensor.ratio, convention)
    columns = torch.cat([ms, torch.ones_like(ms[:1])]).flatten(1).T
    weights = _solve(columns, small.flatten())[:-1].float()
    intensity = torch.einsum("c,chw->hw", weights, up)
    intensity = (intensity - intensity.double().mean().float()).flatten().double()
    bands = up.flatten(1).double()
    gains = (bands - bands.mean(1, keepdim=True)) @ intensity / intensity.square().sum().clamp_min(1e-12)
    detail = pan[0] - pan.double().mean().float() - intensity.float().view(up.shape[1:])
    return _finish(up + gains.float()[:, None, None] * detail, ms, sensor)


def bdsd(ms: Tensor, pan: Tensor, sensor: Sensor, convention: str = "benchmark") -> Tensor:
    """Band-dependent spatial detail; the weights, one set for the whole image, come from the pair reduced by its ratio.

    MS must have at least ratio x ratio pixels.

    Args, Returns and Raises as in `exp`.

    Source:
        Garzelli et al. 2008, one block.
    """
    ms, pan, up = _start(ms, pan, sensor, convention)
    r = sensor.ratio
    h, w = ms.shape[1] // r * r, ms.shape[2] // r * r
    target = ms[:, :h, :w]
    blurred = upsample(degrade(target, sensor.mtf_ms, r, convention), r, convention)
    small = degrade(pan, _LOWPASS, r, convention)[:, :h, :w]
    weights = _solve(torch.cat([blurred, small]).flatten(1).T, (target - blurred).flatten(1).T)
    detail = torch.einsum("ic,ihw->chw", weights.float(), torch.cat([up, pan]))
    return _finish(up + detail, ms, sensor)


def mtf_glp_hpm(ms: Tensor, pan: Tensor, sensor: Sensor, convention: str = "benchmark") -> Tensor:
    """MTF-matched Laplacian pyramid with high-pass modulation: every band times PAN / low-pass PAN.

    Args, Returns and Raises as in `exp`.

    Source:
        Aiazzi et al. 2006; Vivone et al. 2014.
    """
    ms, pan, up = _start(ms, pan, sensor, convention)
    r = sensor.ratio
    matched = _match(pan, up, mtf_filter(pan, _LOWPASS, r))
    low = upsample(degrade(matched, sensor.mtf_ms, r, convention), r, convention)
    return _finish(up * _modulation(matched, low), ms, sensor)


METHODS: dict[str, Callable[..., Tensor]] = {
    "EXP": exp,
    "Brovey": brovey,
    "GSA": gsa,
    "BDSD": bdsd,
    "MTF-GLP-HPM": mtf_glp_hpm,
}


def fuse(name: str, pair: Pair) -> Tensor:
    """Fuse a pair by the method of that name, in the pair's own convention.

    Args:
        name: a key of `METHODS`, whatever its case; ``_`` and ``-`` are one.
        pair: images in DN.

    Returns:
        ``(C, H, W)`` float32, DN.

    Raises:
        ValueError: unknown name (the message lists the known ones), or shapes that do not fit the sensor.
    """
    known = {key.lower(): method for key, method in METHODS.items()}
    method = known.get(str(name).lower().replace("_", "-"))
    if method is None:
        raise ValueError(f"unknown method {name!r}: expected one of {', '.join(METHODS)}")
    return method(pair.ms, pair.pan, pair.sensor, pair.convention)
