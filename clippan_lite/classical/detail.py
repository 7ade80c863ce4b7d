"""Band-dependent spatial detail: what MS loses in its own blur is predicted.

The prediction is a weighted sum of the blurred bands and the reduced PAN. The weights, one set for
the whole image, are found on the MS grid and used on PAN's.
"""

import torch
from scipy.optimize import nnls

from clippan_lite.classical.common import LOWPASS, column, enlarge, method, moments, solve, valid_ms
from clippan_lite.physics.degrade import degrade, mtf_filter
from clippan_lite.physics.sensors import Sensor

Tensor = torch.Tensor


def _inject(up: Tensor, pan: Tensor, weights: Tensor) -> Tensor:
    """Add to each band, in place, the weighted sum, ``(C + 1, C)``, of the bands and PAN."""
    weights = weights.T.float()
    rows = max(1, 2**17 // up.shape[2])  # strips stay in the caches
    for top in range(0, up.shape[1], rows):
        part = up[:, top : top + rows]
        part += torch.tensordot(weights, torch.cat([part, pan[:, top : top + rows]]), 1)
    return up


@method
def bdsd(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """Band-dependent spatial detail by plain least squares.

    All bands are blurred by the mean of their MTF gains: between bands blurred unequally the
    weights would make up for the blur instead of the detail.

    A mask must leave 2 (C + 1) MS pixels for the regression.

    Source:
        Garzelli et al. 2008, one block.
    """
    r, n = sensor.ratio, len(ms)
    low = mtf_filter(ms, sum(sensor.mtf_ms) / n, r)
    small = degrade(pan, LOWPASS, r, convention)
    # Four standard deviations of the blur are 2 * ratio pixels.
    mean, cov = moments(low, small, ms - low, valid=valid_ms(mask, r, 2 * r, n + 1))
    second = cov + mean[:, None] * mean
    weights = solve(second[: n + 1, : n + 1], second[: n + 1, n + 1 :])
    return _inject(enlarge(ms, r, convention), pan, weights)


def _signed(cov: Tensor, right: Tensor) -> Tensor:
    """Least squares from moments, ``cov @ weights = right``, with signs that are given.

    Weights of MS are 0 or less, that of PAN, the last, 0 or more.
    """
    sign = torch.full_like(cov[0], -1.0)
    sign[-1] = 1.0
    unit = sign / cov.diagonal().sqrt().clamp_min(1e-12)
    values, vectors = torch.linalg.eigh(unit[:, None] * cov * unit)
    root = values.clamp_min(0).sqrt()
    # |factor x - target|^2 is the sum of squares up to a constant. Copies of a band have no share
    # in the target.
    factor = root[:, None] * vectors.T
    inverse = torch.where(values > 1e-13 * values[-1], 1 / root, 0.0)
    target = inverse[:, None] * (vectors.T @ (unit[:, None] * right))
    weights = [
        nnls(factor.cpu().numpy(), column, maxiter=100 * len(unit))[0]
        for column in target.T.cpu().numpy()
    ]
    return torch.stack([torch.from_numpy(w) for w in weights], 1).to(unit) * unit[:, None]


@method
def bdsd_pc(
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
) -> Tensor:
    """Band-dependent spatial detail with constraints: bands take detail away, PAN brings it.

    Weights of bands are <= 0, that of PAN >= 0, and the mean of the detail is 0. PAN is reduced by
    a low-pass of gain 0.30, or twice its own MTF gain if that is less, each band blurred by its own
    gain.

    A mask must leave 2 (C + 1) MS pixels for the regression.

    Source:
        Vivone 2019.
    """
    r, n = sensor.ratio, len(ms)
    low = mtf_filter(ms, sensor.mtf_ms, r)
    small = degrade(pan, min(LOWPASS, 2 * sensor.mtf_pan), r, convention)
    cov = moments(low, small, ms - low, valid=valid_ms(mask, r, 2 * r, n + 1))[1]
    weights = _signed(cov[: n + 1, : n + 1], cov[: n + 1, n + 1 :])
    up = enlarge(ms, r, convention)
    mean = moments(up, pan, valid=mask)[0]
    return _inject(up, pan, weights) - column(mean @ weights)
