"""Quality indices of non-overlapping blocks, and box windows, that metrics and losses share.

Images are ``(B, C, H, W)`` in any unit; results do not change with the unit. All that UQI and Q2n need of a block are
the means and the covariance matrix of its bands, so these are computed once, by one matrix product per block. Blocks
that are flat in both images have a defined index (1 if equal) and finite gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

Tensor = torch.Tensor
# Blocks with a variance below this part of their squared mean are flat: interpolating a saturated area in float32
# leaves ripples of 1e-7 of the mean, and a ratio of two ripples would be noise.
FLAT = 1e-13


def root(x: Tensor) -> Tensor:
    """Square root with gradient 0 at 0."""
    zero = x <= 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, x).sqrt())


def split(x: Tensor, n: int) -> Tensor:
    """``(B, blocks, C, n * n)`` of the non-overlapping n x n blocks from the top left."""
    b, c, h, w = x.shape
    i, j = h // n, w // n
    if n < 2 or i == 0 or j == 0:
        raise ValueError(
            f"block: expected 2 or more and at most the image size {h} x {w}, found {n}"
        )
    x = x[..., : i * n, : j * n].reshape(b, c, i, n, j, n)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(b, i * j, c, n * n)


def moments(images: Sequence[Tensor], n: int) -> tuple[Tensor, Tensor]:
    """Means and covariances (N - 1) of all bands of some images ``(B, C, H, W)`` in every n x n block.

    Returns:
        ``(B, blocks, K)`` and ``(B, blocks, K, K)``, K the bands of all images together, in their order.
    """
    h, w = images[0].shape[-2:]
    if h < 2 * n or images[0].shape[0] * n * w < 2**12:  # small: at once
        return _moments(images, n)
    # A row of blocks at a time stays in the caches: three times as fast.
    rows = [_moments([x[..., i : i + n, :] for x in images], n) for i in range(0, h // n * n, n)]
    return torch.cat([mean for mean, _ in rows], 1), torch.cat([cov for _, cov in rows], 1)


def _moments(images: Sequence[Tensor], n: int) -> tuple[Tensor, Tensor]:
    x = split(torch.cat(tuple(images), 1) if len(images) > 1 else images[0], n)
    mean = x.mean(-1, keepdim=True)
    x = x - mean
    return mean[..., 0], x @ x.mT / (n * n - 1)


def valid_blocks(
    mask: Tensor | None, size: tuple[int, int], n: int, step: int = 1
) -> Tensor | None:
    """Which blocks of n x n pixels, each pixel covering step x step of the mask, are wholly valid."""
    if mask is None:
        return None
    check_mask(mask, (size[0] * step, size[1] * step))
    valid = split(mask[None, None], n * step)[0, :, 0].all(-1)
    if not valid.any():
        raise ValueError(
            f"mask: expected at least one valid block of {n * step} x {n * step} PAN pixels, found none: "
            "take the largest part without nodata (data.largest_valid), or single metrics"
        )
    return valid


def check_mask(mask: Tensor, size: tuple[int, int]) -> None:
    """Refuse anything but a bool mask of that size.

    Raises:
        ValueError: one line with what was expected and what was found.
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or tuple(mask.shape) != tuple(size):
        found = (
            f"{tuple(mask.shape)} {mask.dtype}" if isinstance(mask, Tensor) else type(mask).__name__
        )
        raise ValueError(f"mask: expected a bool tensor {tuple(size)} on PAN's grid, found {found}")


def mean_blocks(q: Tensor, keep: Tensor | None) -> Tensor:
    """Mean over axis 1, the blocks (those in ``keep``)."""
    return q.mean(1) if keep is None else q[:, keep.to(q.device)].mean(1)


def share(top: Tensor, bottom: Tensor, scale: Tensor) -> Tensor:
    """``top / bottom``, or 1 where bottom vanishes against scale."""
    zero = bottom <= FLAT * scale
    return torch.where(zero, 1.0, top / torch.where(zero, 1.0, bottom))


def index(cov: Tensor, var: Tensor, product: Tensor, power: Tensor) -> Tensor:
    """UQI from a covariance, the sum of variances, the product of means and the sum of squared means."""
    return share(2 * cov, var, power) * share(2 * product, power, torch.zeros_like(power))


def uqi(mean: Tensor, cov: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Universal quality index of bands i against bands j: ``(B, blocks, len(i))``."""
    var = cov.diagonal(dim1=-2, dim2=-1)
    mi, mj = mean[..., i], mean[..., j]
    return index(cov[..., i, j], var[..., i] + var[..., j], mi * mj, mi.square() + mj.square())


def between_bands(mean: Tensor, cov: Tensor) -> Tensor:
    """UQI of every two bands i < j: ``(B, blocks, pairs)``."""
    i, j = torch.triu_indices(mean.shape[-1], mean.shape[-1], 1, device=mean.device)
    return uqi(mean, cov, i, j)


def with_last(mean: Tensor, cov: Tensor) -> Tensor:
    """UQI of every band with the last one, which is PAN: ``(B, blocks, C - 1)``."""
    last = mean.shape[-1] - 1
    return uqi(
        mean,
        cov,
        torch.arange(last, device=mean.device),
        torch.full((last,), last, device=mean.device),
    )


@lru_cache(maxsize=8)
def hypercomplex(n: int) -> tuple[tuple[int, ...], ...]:
    """Signs s[i][j] of ``e_i e_j = s e_(i xor j)`` in the Cayley-Dickson algebra of n = 2^k units."""
    if n == 1:
        return ((1,),)
    half = n // 2
    small = np.array(hypercomplex(half))
    conj = np.where(np.arange(half) == 0, 1, -1)
    s = np.empty((n, n), dtype=int)
    # (a, b)(c, d) = (a c - d* b, a* d* + c b*), the variant of the toolbox
    s[:half, :half] = small
    s[half:, half:] = -(small * conj[:, None]).T
    s[:half, half:] = small * conj[:, None] * conj[None, :]
    s[half:, :half] = (small * conj[None, :]).T
    return tuple(map(tuple, s.tolist()))


def q2n_of(mean: Tensor, cov: Tensor) -> Tensor:
    """Q2n ``(B, blocks)`` from the moments of the reference's bands followed by the image's."""
    bands = mean.shape[-1] // 2
    units = 1 << (bands - 1).bit_length()
    ref_mean, x_mean = mean[..., :bands], mean[..., bands:]
    var = cov.diagonal(dim1=-2, dim2=-1)
    # Both images are normalised by the reference's means and deviations; what is flat, by its mean.
    flat = var[..., :bands] <= FLAT * ref_mean.square()
    level = torch.where(ref_mean == 0, 1.0, ref_mean.abs())
    std = torch.where(flat, level, torch.where(flat, 1.0, var[..., :bands]).sqrt())
    spread = (var / torch.cat([std, std], -1).square()).sum(-1)
    cross = cov[..., :bands, bands:] / (std[..., :, None] * std[..., None, :])
    sign = torch.tensor(hypercomplex(units), dtype=cov.dtype, device=cov.device)[
        :bands, :bands
    ].clone()
    sign[:, 1:] *= -1  # the fused image enters conjugated
    to = torch.arange(bands, device=cov.device)
    unit = F.one_hot(to[:, None] ^ to[None, :], units).to(cov) * sign[..., None]
    parts = torch.einsum("bkij,iju->bku", cross, unit)
    # The normalised means are 1 for the reference. Bands padded to a power of two are 1 in both images: they add to
    # the means and to nothing else.
    power_ref = torch.full_like(spread, float(units))
    power = ((x_mean - ref_mean) / std + 1).square().sum(-1) + units - bands
    total = power_ref + power
    return (
        share(2 * root(parts.square().sum(-1)), spread, total)
        * 2
        * root(power_ref)
        * root(power)
        / total
    )


def q2n(x: Tensor, ref: Tensor, n: int, keep: Tensor | None = None) -> Tensor:
    """Mean Q2n of two images ``(B, C, H, W)`` over their whole n x n blocks (those in ``keep``), a scalar."""
    return mean_blocks(q2n_of(*moments([ref, x], n)), keep).mean()


def window_sum(x: Tensor, n: int) -> Tensor:
    """Sums over all n x n windows of ``(..., H, W)``: ``(..., H - n + 1, W - n + 1)``, in about 4 log2(n) additions."""
    for dim in (-2, -1):
        outputs = x.shape[dim] - n + 1
        done, size, rest, total = 0, 1, n, None
        while (
            rest
        ):  # windows of 1, 2, 4, ... pixels; those in the binary form of n are strung together
            if rest & 1:
                piece = x.narrow(dim, done, outputs)
                total = piece if total is None else total + piece
                done += size
            rest >>= 1
            if rest:
                length = x.shape[dim] - size
                x = x.narrow(dim, 0, length) + x.narrow(dim, size, length)
                size *= 2
        x = total
    return x


def local_correlation(x: Tensor, y: Tensor, half: int) -> Tensor:
    """Correlation of local deviations in windows of ``2 * half`` pixels, zeros outside; 0 where either is flat.

    Args:
        x: ``(B, C, H, W)``.
        y: ``(B, 1, H, W)``.
        half: windows reach from ``i - half + 1`` to ``i + half``; the means that deviations refer to do so, too.
    """
    n, pad = 2 * half, (half - 1, half, half - 1, half)

    def box(z: Tensor) -> Tensor:
        return window_sum(F.pad(z, pad), n) / (n * n)

    def deviations(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = box(z)
        d = z - mean
        var = box(d.square())
        return d, var, var <= FLAT * mean.square()

    dy, vy, flat_y = deviations(y)
    rho = []
    for part in x.split(1, 1):  # band by band: each stays in the caches
        dx, vx, flat = deviations(part)
        flat = flat | flat_y
        rho.append(torch.where(flat, 0.0, box(dx * dy) / torch.where(flat, 1.0, vx * vy).sqrt()))
    return torch.cat(rho, 1)
