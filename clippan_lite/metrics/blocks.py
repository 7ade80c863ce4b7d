"""Quality indices of blocks that do not overlap, and SSIM; metrics and losses share them.

Images are ``(B, C, H, W)`` in any unit; results do not change with the unit. UQI and Q2n need of a
block only the means and the covariance matrix of its bands, so these are computed once, by one
matrix product per block. Blocks that are flat in both images have a defined index (1 if equal) and
finite gradients.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from clippan_lite.physics import matrices
from clippan_lite.physics.resample import check_mask, filter_last
from clippan_lite.physics.windows import box_mean

Tensor = torch.Tensor
# Blocks with a variance below this part of their squared mean are flat: interpolating a saturated
# area in float32 leaves ripples of 1e-7 of the mean, and a ratio of two ripples would be noise.
FLAT = 1e-13
NO_BLOCK = (
    "expected at least one valid block of {n} x {n} PAN pixels, found none: take the largest part "
    "without nodata (data.largest_valid), or single metrics"
)


def root(x: Tensor) -> Tensor:
    """Square root with gradient 0 at 0."""
    zero = x <= 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, x).sqrt())


def split(x: Tensor, n: int) -> Tensor:
    """Cut ``(B, C, H, W)`` into n x n blocks from the top left: ``(B, blocks, C, n * n)``.

    Raises:
        ValueError: n below 2 or larger than the image.
    """
    b, c, h, w = x.shape
    i, j = h // n, w // n
    if n < 2 or i == 0 or j == 0:
        raise ValueError(
            f"block: expected 2 or more and at most the image size {h} x {w}, found {n}"
        )
    x = x[..., : i * n, : j * n].reshape(b, c, i, n, j, n)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(b, i * j, c, n * n)


def moments(images: Sequence[Tensor], n: int) -> tuple[Tensor, Tensor]:
    """Means and covariances (N - 1) of all bands of images ``(B, C, H, W)`` in each n x n block.

    Returns:
        ``(B, blocks, K)`` and ``(B, blocks, K, K)``, K the bands of all images together, in order.
    """
    batch, _, h, w = images[0].shape
    # Of a large image one row of blocks at a time stays in the caches: three times as fast.
    rows = n if batch * n * w >= 2**12 else max(n, h)
    means, covariances = [], []
    for top in range(0, max(1, h // n * n), rows):
        strip = torch.cat([x[..., top : top + rows, :] for x in images], 1)
        x = split(strip, n)
        mean = x.mean(-1, keepdim=True)
        x = x - mean
        means.append(mean[..., 0])
        covariances.append(x @ x.mT / (n * n - 1))
    return torch.cat(means, 1), torch.cat(covariances, 1)


def valid_blocks(mask: Tensor | None, size: Sequence[int], n: int, step: int = 1) -> Tensor | None:
    """Which blocks of n x n pixels, each pixel covering step x step of the mask, are wholly valid.

    Raises:
        ValueError: a mask that does not fit, or no such block.
    """
    if mask is None:
        return None
    check_mask(mask, (size[0] * step, size[1] * step))
    valid = split(mask[None, None], n * step)[0, :, 0].all(-1)
    if not valid.any():
        raise ValueError(f"mask: {NO_BLOCK.format(n=n * step)}")
    return valid


def too_small(size: Sequence[int], n: int, mask: Tensor | None) -> bool:
    """Whether an image without nodata is smaller than a block, so that it has to do as a whole."""
    return min(size) < n and (mask is None or bool(mask.all()))


def check_bands(ms: Tensor) -> None:
    """Refuse single bands, which have no relations.

    Raises:
        ValueError: one band.
    """
    if ms.shape[-3] < 2:
        raise ValueError(f"ms: expected 2 bands or more for D_lambda, found {tuple(ms.shape)}")


def mean_blocks(values: Tensor, keep: Tensor | None) -> Tensor:
    """Mean over axis 1, the blocks (those in ``keep``)."""
    return values.mean(1) if keep is None else values[:, keep.to(values.device)].mean(1)


def quotient(top: Tensor, bottom: Tensor, scale: Tensor) -> Tensor:
    """``top / bottom``, or 1 where bottom vanishes against scale."""
    zero = bottom <= FLAT * scale
    return torch.where(zero, 1.0, top / torch.where(zero, 1.0, bottom))


def uqi_of(cov: Tensor, variances: Tensor, product: Tensor, power: Tensor) -> Tensor:
    """UQI from a covariance, the sum of variances, and the product and power of the means."""
    contrast = quotient(2 * cov, variances, power)
    return contrast * quotient(2 * product, power, torch.zeros_like(power))


def uqi(mean: Tensor, cov: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Universal quality index of bands i against bands j: ``(B, blocks, len(i))``."""
    var = cov.diagonal(dim1=-2, dim2=-1)
    mi, mj = mean[..., i], mean[..., j]
    return uqi_of(cov[..., i, j], var[..., i] + var[..., j], mi * mj, mi.square() + mj.square())


def between_bands(mean: Tensor, cov: Tensor) -> Tensor:
    """UQI of every two bands i < j: ``(B, blocks, pairs)``."""
    i, j = torch.triu_indices(mean.shape[-1], mean.shape[-1], 1, device=mean.device)
    return uqi(mean, cov, i, j)


def with_last(mean: Tensor, cov: Tensor) -> Tensor:
    """UQI of every band with the last one, which is PAN: ``(B, blocks, C - 1)``."""
    bands = torch.arange(mean.shape[-1] - 1, device=mean.device)
    return uqi(mean, cov, bands, torch.full_like(bands, len(bands)))


@lru_cache(maxsize=8)
def hypercomplex(n: int) -> tuple[tuple[int, ...], ...]:
    """Signs s of ``e_i e_j = s e_(i xor j)`` in the Cayley-Dickson algebra of n = 2^k units."""
    if n == 1:
        return ((1,),)
    half = n // 2
    small = np.array(hypercomplex(half))
    conj = np.where(np.arange(half) == 0, 1, -1)
    # (a, b)(c, d) = (a c - d* b, a* d* + c b*), the variant of the toolbox
    left = np.concatenate([small, (small * conj).T])
    right = np.concatenate([small * np.outer(conj, conj), -(small * conj[:, None]).T])
    return tuple(map(tuple, np.concatenate([left, right], 1).tolist()))


def q2n_of(mean: Tensor, cov: Tensor) -> Tensor:
    """Q2n ``(B, blocks)`` from the moments of the reference's bands followed by the image's."""
    bands = mean.shape[-1] // 2
    units = 1 << (bands - 1).bit_length()
    ref_mean, x_mean = mean[..., :bands], mean[..., bands:]
    var = cov.diagonal(dim1=-2, dim2=-1)
    # The reference's means and deviations normalise both images; where it is flat, its mean does.
    flat = var[..., :bands] <= FLAT * ref_mean.square()
    level = torch.where(ref_mean == 0, 1.0, ref_mean.abs())
    std = torch.where(flat, level, torch.where(flat, 1.0, var[..., :bands]).sqrt())
    spread = (var / torch.cat([std, std], -1).square()).sum(-1)
    cross = cov[..., :bands, bands:] / (std[..., :, None] * std[..., None, :])
    sign = torch.tensor(hypercomplex(units), dtype=cov.dtype, device=cov.device)[:bands, :bands]
    sign[:, 1:] *= -1  # the fused image enters conjugated
    to = torch.arange(bands, device=cov.device)
    unit = F.one_hot(to[:, None] ^ to[None, :], units).to(cov) * sign[..., None]
    parts = torch.einsum("bkij,iju->bku", cross, unit)
    # The normalised means are 1 for the reference. Bands padded to a power of two are 1 in both
    # images: they add to the means and to nothing else.
    power_ref = torch.full_like(spread, float(units))
    power = ((x_mean - ref_mean) / std + 1).square().sum(-1) + units - bands
    total = power_ref + power
    contrast = quotient(2 * root(parts.square().sum(-1)), spread, total)
    return contrast * 2 * root(power_ref) * root(power) / total


def q2n(x: Tensor, ref: Tensor, n: int, keep: Tensor | None = None) -> Tensor:
    """Mean Q2n of two images ``(B, C, H, W)`` over n x n blocks (those in ``keep``), a scalar."""
    return mean_blocks(q2n_of(*moments([ref, x], n)), keep).mean()


def local_correlation(x: Tensor, y: Tensor, ratio: int) -> Tensor:
    """Correlation of deviations from the local mean with those of y; 0 where either is flat.

    Windows are ``2 * ceil(ratio / 2)`` pixels wide, for the means, too; outside the image lie
    zeros.

    Args:
        x: ``(B, C, H, W)``.
        y: ``(B, 1, H, W)``.
        ratio: PAN pixels per MS pixel.
    """
    size = 2 * math.ceil(ratio / 2)

    def deviations(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = box_mean(z, size, "constant")
        d = z - mean
        var = box_mean(d.square(), size, "constant")
        return d, var, var <= FLAT * mean.square()

    dy, vy, flat_y = deviations(y)
    rho = []
    for band in x.split(1, 1):  # one by one: each stays in the caches
        dx, vx, flat = deviations(band)
        flat = flat | flat_y
        cov = box_mean(dx * dy, size, "constant")
        rho.append(torch.where(flat, 0.0, cov / torch.where(flat, 1.0, vx * vy).sqrt()))
    return torch.cat(rho, 1)


def _ssim_window(z: Tensor) -> Tensor:
    """Means over the last axis, weighted by SSIM's Gaussian of 11 pixels."""
    t = torch.arange(-5, 6, dtype=z.dtype, device=z.device)
    k = torch.exp(-0.5 * (t / 1.5) ** 2)
    return filter_last(z, (k / k.sum())[None])


def ssim_map(x: Tensor, ref: Tensor, data_range: float) -> Tensor:
    """SSIM of every whole 11 x 11 window of ``(B, C, H, W)``: ``(B, C, H - 10, W - 10)``."""
    level = ref.mean((-2, -1), keepdim=True)  # without it, single precision would lose variances
    a, b = x - level, ref - level
    kinds = (a, b, a * a, b * b, a * b)
    if matrices.serve(x):  # all five at once
        ma, mb, aa, bb, ab = matrices.both_axes(torch.stack(kinds), _ssim_window, (), ())
    else:
        ma, mb, aa, bb, ab = (_ssim_window(_ssim_window(z).mT).mT for z in kinds)
    vx, vy, cov = aa - ma * ma, bb - mb * mb, ab - ma * mb
    mx, my = ma + level, mb + level
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    return (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
