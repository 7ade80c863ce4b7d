"""Block-wise quality indices that metrics and losses share: UQI and Q2n of non-overlapping blocks, in torch.

Images are ``(B, C, H, W)``, blocks ``(B, C, blocks, pixels)``, any unit; results do not change with the unit. Blocks
that are flat in both images have a defined index (1 if equal) and finite gradients.
"""

from __future__ import annotations

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
    """``(B, C, blocks, n * n)`` of the non-overlapping n x n blocks from the top left."""
    b, c, h, w = x.shape
    i, j = h // n, w // n
    if n < 2 or i == 0 or j == 0:
        raise ValueError(f"block: expected 2 or more and at most the image size {h} x {w}, found {n}")
    x = x[..., : i * n, : j * n].reshape(b, c, i, n, j, n)
    return x.transpose(3, 4).reshape(b, c, i * j, n * n)


def valid_blocks(mask: Tensor | None, size: tuple[int, int], n: int, step: int = 1) -> Tensor | None:
    """Which blocks of n x n pixels, each pixel covering step x step of the mask, are wholly valid."""
    if mask is None:
        return None
    h, w = size[0] * step, size[1] * step
    if mask.dtype != torch.bool or tuple(mask.shape) != (h, w):
        raise ValueError(f"mask: expected bool ({h}, {w}) on PAN's grid, found {mask.dtype} {tuple(mask.shape)}")
    valid = split(mask[None, None], n * step)[0, 0].all(-1)
    if not valid.any():
        raise ValueError(f"mask: expected at least one valid block of {n * step} x {n * step} PAN pixels, found none")
    return valid


def mean_blocks(q: Tensor, keep: Tensor | None) -> Tensor:
    """Mean over the last axis, the blocks."""
    return q.mean(-1) if keep is None else q[..., keep.to(q.device)].mean(-1)


def share(top: Tensor, bottom: Tensor, scale: Tensor) -> Tensor:
    """``top / bottom``, or 1 where bottom vanishes against scale."""
    zero = bottom <= FLAT * scale
    return torch.where(zero, 1.0, top / torch.where(zero, 1.0, bottom))


def uqi(x: Tensor, y: Tensor) -> Tensor:
    """Universal quality index of blocks ``(..., pixels)``; flat against flat leaves the term of the means."""
    mx, my = x.mean(-1), y.mean(-1)
    dx, dy = x - mx[..., None], y - my[..., None]
    m = x.shape[-1] - 1
    cov, var = (dx * dy).sum(-1) / m, (dx.square().sum(-1) + dy.square().sum(-1)) / m
    power = mx.square() + my.square()
    return share(2 * cov, var, power) * share(2 * mx * my, power, torch.zeros_like(power))


def band_pairs(x: Tensor, keep: Tensor | None) -> Tensor:
    """``(B, pairs)`` mean UQI of every two bands i < j of blocks ``(B, C, blocks, pixels)``."""
    mean = x.mean(-1)
    d = (x - mean[..., None]).transpose(1, 2)  # (B, blocks, C, pixels)
    cov = d @ d.transpose(-1, -2) / (x.shape[-1] - 1)
    var = cov.diagonal(dim1=-2, dim2=-1)
    i, j = torch.triu_indices(x.shape[1], x.shape[1], 1, device=x.device)
    mi, mj = mean[:, i], mean[:, j]
    power = mi.square() + mj.square()
    q = share(2 * cov[..., i, j].transpose(1, 2), (var[..., i] + var[..., j]).transpose(1, 2), power)
    return mean_blocks(q * share(2 * mi * mj, power, torch.zeros_like(power)), keep)


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


def q2n_blocks(x: Tensor, ref: Tensor) -> Tensor:
    """Q2n of blocks ``(B, C, blocks, pixels)``: ``(B, blocks)``."""
    bands, pixels = x.shape[1], x.shape[-1]
    n = 1 << (bands - 1).bit_length()
    # Padded bands are 1 in both images after the normalisation: they add to the means and to nothing else.
    mean = ref.mean(-1, keepdim=True)
    var = (ref - mean).square().sum(-1, keepdim=True) / (pixels - 1)
    flat = var <= FLAT * mean.square()
    std = torch.where(flat, torch.where(mean == 0, 1.0, mean.abs()), torch.where(flat, 1.0, var).sqrt())
    a, b = (ref - mean) / std, (x - mean) / std
    ma, mb = a.mean(-1), b.mean(-1)
    da, db = (a - ma[..., None]).transpose(1, 2), (b - mb[..., None]).transpose(1, 2)
    var = (da.square().sum((-1, -2)) + db.square().sum((-1, -2))) / (pixels - 1)  # (B, blocks)
    cov = da @ db.transpose(-1, -2) / (pixels - 1)  # (B, blocks, C, C)
    sign = torch.tensor(hypercomplex(n), dtype=x.dtype, device=x.device)[:bands, :bands].clone()
    sign[:, 1:] *= -1  # the fused image enters conjugated
    to = torch.arange(bands, device=x.device)
    unit = F.one_hot(to[:, None] ^ to[None, :], n).to(x) * sign[..., None]
    parts = torch.einsum("bkij,iju->bku", cov, unit)
    pa = (ma + 1).square().sum(1) + n - bands
    pb = (mb + 1).square().sum(1) + n - bands
    return share(2 * root(parts.square().sum(-1)), var, pa + pb) * 2 * root(pa) * root(pb) / (pa + pb)


def q2n(x: Tensor, ref: Tensor, block: int, keep: Tensor | None = None) -> Tensor:
    """Mean Q2n of two images ``(B, C, H, W)`` over their whole n x n blocks (those in ``keep``), a scalar."""
    return mean_blocks(q2n_blocks(split(x, block), split(ref, block)), keep).mean()
