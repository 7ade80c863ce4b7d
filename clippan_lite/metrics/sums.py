"""What figures add up over blocks and pixels, so that the parts of a scene can be added.

A figure of a whole scene is no mean of its parts' figures. But what the parts add up is:
``(a + b).figures(...)``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from clippan_lite.metrics import blocks, inputs
from clippan_lite.metrics.no_reference import q2n_on_ms_grid, unexplained
from clippan_lite.metrics.reference import spectral_angles
from clippan_lite.physics.degrade import degrade, mirror, mtf_filter, upsample
from clippan_lite.physics.imresize import imresize
from clippan_lite.physics.sensors import Sensor
from clippan_lite.physics.windows import all_valid, fill

Tensor = torch.Tensor
Part = tuple[slice, slice]  # rows and columns
BLOCK = 32
# Side of what is handled at once, pixels: it fits into the caches, and is large against REACH.
TILE = 512
# PAN pixels that the MTF filter (20) and the local correlation look beyond a tile.
REACH = 24
# MS pixels that interp23 (6 + 3 + ...) and bicubic interpolation look beyond a tile.
LOW_REACH = 12


@dataclass
class Sums:
    """Sums without a reference: over blocks of PAN's grid, and of MS's grid."""

    fine: dict[str, Tensor]
    count: int  # blocks of PAN's grid
    khan: Tensor  # Q2n on MS's grid
    khan_count: int

    def __add__(self, other: Sums) -> Sums:
        fine = {name: self.fine.get(name, 0) + value for name, value in other.fine.items()}
        return Sums(
            self.fine | fine,
            self.count + other.count,
            self.khan + other.khan,
            self.khan_count + other.khan_count,
        )

    def figures(self, ratio: int) -> dict[str, float]:
        """Figures of all parts together, see :func:`clippan_lite.metrics.full`.

        Args:
            ratio: PAN pixels per MS pixel.

        Raises:
            ValueError: no valid block, or images in another unit than MS.
        """
        if not self.count or not self.khan_count:
            side = BLOCK * ratio if self.count else BLOCK
            raise ValueError(f"mask: {blocks.NO_BLOCK.format(n=side)}")
        mean = {name: total / self.count for name, total in self.fine.items()}
        inputs.check_unit("fused", mean["levels"][:-1], mean["low_levels"])
        inputs.check_unit("pan", mean["levels"][-1:], mean["low_levels"])
        lam = float((mean["bands"] - mean["low_bands"]).abs().mean())
        spatial = float((mean["pan"] - mean["low_pan"]).abs().mean())
        khan = float(1 - self.khan / self.khan_count)
        khan_und = float(1 - mean["khan"])
        return {
            "D_lambda": lam,
            "D_s": spatial,
            "QNR": (1 - lam) * (1 - spatial),
            "D_lambda_K": khan,
            "HQNR": (1 - khan) * (1 - spatial),
            "D_lambda_K_und": khan_und,
            "HQNR_und": (1 - khan_und) * (1 - spatial),
            "D_rho": float(1 - mean["rho"].mean()),
            "D_s_R": float(unexplained(mean["products"], mean["levels"])),
        }


@torch.no_grad()
def of_scene(
    fused: Tensor,
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    convention: str = "benchmark",
    mask: Tensor | None = None,
    inside: Part | None = None,
) -> Sums:
    """Sums over a scene, or over a part of it.

    Args:
        fused: ``(C, H, W)``.
        ms: ``(C, H / ratio, W / ratio)``.
        pan: ``(1, H, W)``.
        sensor: gives ratio and MTF gains.
        convention: ``"benchmark"`` or ``"geo"``.
        mask: valid pixels, see the package's description.
        inside: rows and columns whose blocks count, PAN pixels, beginning at multiples of 32 times
            the ratio. Filters see what lies around them. None counts all.
    """
    r, c = sensor.ratio, fused.shape[0]
    height, width = fused.shape[1:]
    span = inside or (slice(0, height), slice(0, width))
    keep = _kept(mask, (height, width), span, BLOCK)
    if mask is not None and mask.any():  # before tiles are cut, so that all of them see the same
        fused, pan = (fill(image, mask.to(image.device)) for image in (fused, pan))
    low_pan = imresize(inputs.load("pan", pan), 1 / r)
    low = torch.cat([inputs.load("ms", ms, mask=inputs.on_ms(mask, r)), low_pan], 1)
    blurred_low = torch.zeros_like(low[:, :c])
    fine: dict[str, Tensor] = {}
    step, reach = math.lcm(BLOCK, r), -(-REACH // r) * r
    for rows, cols in itertools.product(*(_tiles(axis, step, reach) for axis in span)):
        part, around, inner = zip(rows, cols, strict=True)
        tile = torch.cat([x[:, *around].double() for x in (fused, pan)])
        tile = inputs.load("fused", tile)
        blurred = mtf_filter(tile[:, :c], sensor.mtf_ms, r)[..., *inner]
        if convention == "benchmark":
            at_ms = blurred[..., r // 2 :: r, r // 2 :: r]  # saves filtering twice
        else:
            at_ms = degrade(tile[:, :c], sensor.mtf_ms, r, convention)[..., *_divided(inner, r)]
        blurred_low[..., *_divided(part, r)] = at_ms
        kept = keep[*_divided(part, BLOCK)].flatten().to(tile.device)
        if kept.numel() == 0:
            continue  # the last rows or columns, which fill no block
        up = _enlarged(low, _divided(part, r), r, convention)
        for name, values in _of_blocks(tile, blurred, up, inner, r).items():
            fine[name] = fine.get(name, 0) + values[0][kept].sum(0)
    if inside is None and blocks.too_small(ms.shape[-2:], BLOCK, mask):
        khan, khan_count = q2n_on_ms_grid(blurred_low, low[:, :c], r, BLOCK, mask), 1
    else:
        khan, khan_count = _q2n_sum(
            blurred_low, low[:, :c], _kept(mask, fused.shape[1:], span, BLOCK * r)
        )
    return Sums(fine, int(keep.sum()), khan, khan_count)


@dataclass
class Errors:
    """Sums against a reference: over pixels, and over blocks of 32 x 32."""

    squared: Tensor  # (C,), of the errors
    reference: Tensor  # (C,)
    pixels: int
    angles: Tensor  # degrees
    coloured: int  # pixels whose spectra have an angle
    q2n: Tensor
    count: int  # blocks

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            *(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True))
        )

    def figures(self, ratio: int, peak: float) -> dict[str, float]:
        """PSNR (dB), ERGAS, SAM (degrees) and Q2n of all parts together.

        ERGAS of a black reference is NaN, and so is SAM where no pixel has an angle.

        Raises:
            ValueError: no valid block.
        """
        if not self.count:
            raise ValueError(f"mask: {blocks.NO_BLOCK.format(n=BLOCK)}")
        mse, mean = self.squared / self.pixels, self.reference / self.pixels
        lit = mean != 0
        relative = (mse[lit] / mean[lit].square()).mean().sqrt()
        return {
            "PSNR": float(10 * torch.log10(peak**2 / mse.mean())),
            "ERGAS": float(100 / ratio * relative),
            "SAM": float(self.angles / self.coloured) if self.coloured else math.nan,
            "Q2n": float(self.q2n / self.count),
        }


@torch.no_grad()
def of_errors(
    fused: Tensor, truth: Tensor, mask: Tensor | None = None, inside: Part | None = None
) -> Errors:
    """Sums against a reference over a scene, or over a part of it.

    Args:
        fused: ``(C, H, W)``.
        truth: the same shape and unit.
        mask: ``(H, W)`` bool, True where valid.
        inside: rows and columns that count, beginning at multiples of 32. None counts all that
            fills blocks of 32 x 32.
    """
    height, width = fused.shape[1:]
    whole = (slice(0, height // BLOCK * BLOCK), slice(0, width // BLOCK * BLOCK))
    part = inside or whole
    mask = None if mask is None else mask[*part]
    x, y = (
        inputs.load(n, image[:, *part], mask=mask)
        for n, image in (("fused", fused), ("truth", truth))
    )
    keep = _kept(mask, x.shape[-2:], (slice(0, x.shape[-2]), slice(0, x.shape[-1])), BLOCK)
    q2n, count = _q2n_sum(x, y, keep)
    if mask is not None:
        x, y = x[..., mask][..., None, :], y[..., mask][..., None, :]
    angles, coloured = spectral_angles(x, y)
    x, y = x.flatten(2)[0], y.flatten(2)[0]
    return Errors(
        (x - y).square().sum(1), y.sum(1), x.shape[1], angles.sum(), int(coloured.sum()), q2n, count
    )


def _kept(mask: Tensor | None, size: Sequence[int], span: Part, n: int) -> Tensor:
    """Which n x n blocks ``(H // n, W // n)`` lie in a part and are wholly valid."""
    inside = torch.zeros(size[0], size[1], dtype=torch.bool)
    inside[*span] = True
    if mask is not None:
        inside &= mask.cpu()
    return all_valid(inside, n) if min(size) >= n else torch.zeros(0, 0, dtype=torch.bool)


def _q2n_sum(x: Tensor, ref: Tensor, keep: Tensor) -> tuple[Tensor, int]:
    """Q2n summed over blocks of 32 x 32 pixels, and how many they are."""
    if not keep.any():
        return x.new_zeros(()), 0
    values = blocks.q2n_of(*blocks.moments([ref, x], BLOCK))[0]
    return values[keep.flatten().to(values.device)].sum(), int(keep.sum())


def _tiles(axis: slice, step: int, reach: int) -> list[tuple[slice, slice, slice]]:
    """Cut part of an axis into tiles that begin at multiples of the step.

    Returns:
        Each tile, the tile with what is around it, and where in the latter the tile lies.
    """
    side = max(1, TILE // step) * step
    tiles = []
    for start in range(axis.start, axis.stop, side):
        stop, first = min(start + side, axis.stop), max(0, start - reach)
        around, inner = slice(first, stop + reach), slice(start - first, stop - first)
        tiles.append((slice(start, stop), around, inner))
    return tiles


def _divided(part: Part, n: int) -> Part:
    """The same part of an image that is n times coarser."""
    rows, cols = (slice(span.start // n, span.stop // n) for span in part)
    return rows, cols


def _enlarged(low: Tensor, part: Part, ratio: int, convention: str) -> Tensor:
    """Part of ``(1, C, h, w)`` on PAN's grid, as if the whole image had been interpolated."""
    for dim, span in zip((2, 3), part, strict=True):
        n = low.shape[dim]
        index = torch.arange(span.start - LOW_REACH, span.stop + LOW_REACH, device=low.device)
        low = low.index_select(dim, index % n if convention == "benchmark" else mirror(index, n))
    inner = slice(LOW_REACH * ratio, -LOW_REACH * ratio)
    return upsample(low, ratio, convention)[..., inner, inner]


def _of_blocks(
    tile: Tensor, blurred: Tensor, up: Tensor, inner: Part, ratio: int
) -> dict[str, Tensor]:
    """Everything that `full` averages over blocks, ``(1, blocks, ...)`` by name.

    Args:
        tile: fused bands and PAN, with what is around them.
        blurred: fused bands through the MTF filter.
        up: interpolated MS bands and interpolated reduced PAN.
        inner: rows and columns of the tile itself.
        ratio: PAN pixels per MS pixel.
    """
    c = blurred.shape[1]
    mean, cov = blocks.moments([tile[..., *inner]], BLOCK)
    low_mean, low_cov = blocks.moments([up[:, :c], blurred, up[:, c:]], BLOCK)
    khan = blocks.q2n_of(low_mean[..., :-1], low_cov[..., :-1, :-1])
    ms_pan = [*range(c), 2 * c]
    low_mean, low_cov = low_mean[..., ms_pan], low_cov[..., ms_pan, :][..., ms_pan]
    rho = blocks.local_correlation(tile[:, :-1], tile[:, -1:], ratio)[..., *inner]
    n = BLOCK * BLOCK
    return {
        "bands": blocks.between_bands(mean[..., :-1], cov[..., :-1, :-1]),
        "low_bands": blocks.between_bands(low_mean[..., :-1], low_cov[..., :-1, :-1]),
        "pan": blocks.with_last(mean, cov),
        "low_pan": blocks.with_last(low_mean, low_cov),
        "khan": khan,
        "rho": blocks.split(rho, BLOCK).mean(-1),
        "levels": mean,
        "low_levels": low_mean[..., :c],
        "products": cov * ((n - 1) / n) + mean[..., :, None] * mean[..., None, :],
    }
