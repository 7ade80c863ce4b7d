"""How far MS lies off PAN, and PAN resampled so that both fit the pair's convention.

Signs, everywhere: ``down`` and ``right`` say where MS's content lies compared to PAN's, in PAN pixels. What PAN shows
in row ``y``, MS shows in row ``y + down`` of PAN's grid, once it is put there as the pair's convention says. For even
ratios, images made for ``"geo"`` and read as ``"benchmark"`` give ``+0.5, +0.5``, the reverse ``-0.5, -0.5``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from rasterio import Affine
from scipy import ndimage
from torch.nn import functional as F

from clippan_lite.data import Pair
from clippan_lite.physics import degrade

SEARCH = 6  # PAN pixels searched each way
LEAST_CORRELATION = 0.5  # independent noise stays below 0.45, real pairs above 0.75
LEAST_PIXELS = 100  # MS pixels without nodata that the regression needs
SMALLEST_FRACTION = 0.05  # PAN pixels: less than `estimate` can tell from 0
SIDE = 96  # MS pixels: images of more than 3 of these are looked at through 3 windows of this side in each direction
NEAR = range(-4, 5)  # whole PAN pixels around the best one that the fraction is found from
FINE = torch.arange(-75, 76, dtype=torch.float64) / 50  # fractions tried around it, PAN pixels
HALF, KAISER = (
    16,
    5.0,
)  # taps of the interpolator on each side of its centre, and beta of its window


@dataclass(frozen=True)
class Shift:
    """Where MS's content lies compared to PAN's, with the signs of the module's description.

    Attributes:
        down: PAN pixels towards larger rows.
        right: PAN pixels towards larger columns.
        correlation: multiple correlation of PAN's gradients with those of all MS bands there, [0, 1].
        reliable: False where the images do not tell: flat, tiny, mostly nodata, unlike each other, or shifted further
            than was searched. ``down`` and ``right`` are 0 then.
        spread: largest difference between the image's four corners, PAN pixels; 0 where they do not tell.
    """

    down: float
    right: float
    correlation: float
    reliable: bool = True
    spread: float = 0.0

    def __str__(self) -> str:
        vertical, horizontal = (
            "down" if self.down >= 0 else "up",
            "right" if self.right >= 0 else "left",
        )
        return f"{abs(self.down):.2f} {vertical}, {abs(self.right):.2f} {horizontal}"


def estimate(pair: Pair, search: int = SEARCH) -> Shift:
    """Where MS's content lies compared to PAN's, relative to what the pair's convention says.

    PAN is blurred with the mean MTF of the MS bands and sampled on MS's grid at whole-pixel offsets. The gradients of
    these samples are regressed on the gradients of all MS bands; bands that PAN does not see get weights near 0. Around
    the largest multiple correlation, samples at fractions come from polynomials through those at whole pixels.

    Args:
        pair: images in DN; nodata (``pair.mask``) is left out.
        search: PAN pixels searched each way, 1 or more.

    Returns:
        The shift, right to about 0.1 PAN pixel where it is ``reliable``.

    Raises:
        ValueError: search below 1.
    """
    if search < 1:
        raise ValueError(f"search: expected 1 PAN pixel or more, found {search!r}")
    shift = _estimate(pair, search)
    h, w = pair.ms.shape[1:]
    if not shift.reliable or min(h, w) < SIDE:
        return shift
    ends = [(slice(0, min(SIDE, n // 2)), slice(n - min(SIDE, n // 2), n)) for n in (h, w)]
    corners = [_estimate(_crop(pair, rows, cols), search) for rows in ends[0] for cols in ends[1]]
    told = torch.tensor([(c.down, c.right) for c in corners if c.reliable])
    return replace(shift, spread=float((told.amax(0) - told.amin(0)).max()) if len(told) else 0.0)


def _crop(pair: Pair, rows: slice, cols: slice) -> Pair:
    """Part of a pair, in MS pixels."""
    part = tuple(slice(s.start * pair.ratio, s.stop * pair.ratio) for s in (rows, cols))
    valid = None if pair.valid is None else pair.valid[part]
    return replace(pair, ms=pair.ms[:, rows, cols], pan=pair.pan[:, *part], valid=valid, truth=None)


def _estimate(pair: Pair, search: int) -> Shift:
    """One shift for the whole image, which is judged by nine windows beyond 288 MS pixels each way."""
    phase = _phase(pair.ratio, pair.convention)
    step = max(1, pair.ratio // 2)  # the blur makes peaks wider than that
    whole = range(math.floor(phase) - search, math.ceil(phase) + search + step, step)
    reach = max(-whole[0], whole[-1]) + NEAR[-1]
    parts = itertools.product(*map(_parts, pair.ms.shape[1:]))
    windows = [_Window(_crop(pair, rows, cols), reach) for rows, cols in parts]
    bands = torch.cat([w.bands for w in windows], 1)
    if bands.shape[1] < 2 * LEAST_PIXELS:
        return Shift(0.0, 0.0, 0.0, reliable=False)
    inverse = torch.linalg.pinv(bands @ bands.T, rtol=1e-10, hermitian=True)

    def r2(cross: torch.Tensor, energy: torch.Tensor) -> torch.Tensor:
        """Squared multiple correlation from ``(C, K)`` products with the bands and ``(K,)`` sums of squares."""
        return torch.where(energy > 0, (cross * (inverse @ cross)).sum(0) / energy, 0)

    scores = []
    for y in whole:
        pan = torch.cat([w.pan([y], whole) for w in windows], 1)
        scores.append(r2(bands @ pan.T, pan.square().sum(1)))
    i, j = divmod(int(torch.stack(scores).argmax()), len(whole))
    pan = torch.cat(
        [w.pan([whole[i] + k for k in NEAR], [whole[j] + k for k in NEAR]) for w in windows], 1
    )
    lagrange = [math.prod((FINE - k) / (n - k) for k in NEAR if k != n) for n in NEAR]
    weights = torch.einsum("uf,vg->uvfg", torch.stack(lagrange), torch.stack(lagrange)).reshape(
        len(pan), -1
    )
    fine = r2((bands @ pan.T) @ weights, (weights * ((pan @ pan.T) @ weights)).sum(0))
    u, v = divmod(int(fine.argmax()), len(FINE))
    down, right = phase - whole[i] - float(FINE[u]), phase - whole[j] - float(FINE[v])
    correlation = float(fine.max().clamp(0, 1).sqrt())
    inside = all(0 < k < len(FINE) - 1 for k in (u, v)) and max(abs(down), abs(right)) <= search
    told = inside and correlation >= LEAST_CORRELATION
    return Shift(down, right, correlation) if told else Shift(0.0, 0.0, correlation, reliable=False)


def _parts(size: int) -> list[slice]:
    """A whole side of MS, or three parts of a long one."""
    if size <= 3 * SIDE:
        return [slice(0, size)]
    return [slice(start, start + SIDE) for start in (0, (size - SIDE) // 2, size - SIDE)]


class _Window:
    """Gradients of a pair; ``bands`` holds ``(C, 2 N)`` differences of MS to the pixels below and to the right."""

    def __init__(self, pair: Pair, reach: int):
        r = self.ratio = pair.ratio
        ms = pair.ms.double()
        gain = sum(pair.sensor.mtf_ms) / len(pair.sensor.mtf_ms)
        pan = degrade.mtf_filter(pair.pan, gain, r)[0].double()
        self.steps = (pan[r:, :-r] - pan[:-r, :-r], pan[:-r, r:] - pan[:-r, :-r])
        m = -(-reach // r)  # MS pixels at each border whose PAN samples can lie outside
        h, w = ms.shape[1:]
        self.inner = (slice(m, max(m, h - m - 1)), slice(m, max(m, w - m - 1)))
        keep = torch.ones(h, w, dtype=torch.bool)
        if pair.mask is not None:
            near = m + 3  # MS pixels: the blur and the gradient spread holes by 3
            holes = F.max_pool2d((~pair.mask)[None].float(), r)
            keep = F.max_pool2d(holes, 2 * near + 1, stride=1, padding=near)[0] == 0
        self.keep = keep[self.inner]
        steps = (ms[:, 1:, :-1] - ms[:, :-1, :-1], ms[:, :-1, 1:] - ms[:, :-1, :-1])
        self.bands = torch.cat([step[:, *self.inner][:, self.keep] for step in steps], 1)

    def pan(self, down: Iterable[int], right: Iterable[int]) -> torch.Tensor:
        """Differences of blurred PAN, ``(len(down) * len(right), 2 N)``, at whole offsets from ``ratio * i``."""
        r, (rows, cols) = self.ratio, self.inner

        def at(step: torch.Tensor, y: int, x: int) -> torch.Tensor:
            step = step[
                rows.start * r + y : rows.stop * r + y : r,
                cols.start * r + x : cols.stop * r + x : r,
            ]
            return step[self.keep]

        return torch.stack(
            [torch.cat([at(step, y, x) for step in self.steps]) for y in down for x in right]
        )


def correct(pair: Pair, shift: Shift) -> Pair:
    """Shift PAN so that PAN and MS fit the pair's convention.

    Whole pixels are moved without loss; a fraction passes a windowed sinc of 33 taps, right to 1 % up to 0.91 of PAN's
    Nyquist frequency. Fractions below 0.05 PAN pixel are left out: `estimate` cannot tell them from 0.

    Args:
        pair: images in DN.
        shift: from `estimate`.

    Returns:
        A pair with PAN shifted down and right by ``shift``, told by ``pan_shift`` and by a name ``..._registered``.
        Where PAN would come from outside, ``valid`` is False and PAN repeats the image's edge, so that methods find no
        dark frame; where it would be nodata, PAN is 0. ``georef["transform"]`` becomes MS's, on PAN's grid: the content
        has moved to MS's place, so fused images lie where MS says. ``truth`` belongs to MS and stays.

    Raises:
        ValueError: the shift is not reliable.
    """
    check(shift, pair.name)
    # PAN is moved, not MS: MS is undersampled, so that interpolation would blur and alias it, and every consistency
    # measure holds fused images to its DN. PAN holds little near its Nyquist frequency and moves almost unharmed.
    moves = [
        s if abs(s - round(s)) >= SMALLEST_FRACTION else float(round(s))
        for s in (shift.down, shift.right)
    ]
    valid = torch.ones(pair.pan.shape[1:], dtype=torch.bool) if pair.valid is None else pair.valid
    pan, measured, inside = pair.pan, valid, torch.ones_like(valid)
    if not valid.all():  # or holes would ring
        nearest = ndimage.distance_transform_edt(
            ~valid.numpy(), return_distances=False, return_indices=True
        )
        pan = pan[:, *torch.from_numpy(nearest)]
    for axis, move in enumerate(moves):
        whole, fraction = round(move), move - round(move)
        pan = _move(pan, whole, fraction, axis + 1)
        ends = (
            whole,
            whole + (fraction > 0) - (fraction < 0),
        )  # the two pixels that the value lies between
        for end in ends:
            index = torch.arange(valid.shape[axis]) - end
            inside = inside & ((index >= 0) & (index < len(index))).reshape(
                (-1, 1) if axis == 0 else (1, -1)
            )
        measured = _whole(measured, ends[0], axis) & _whole(measured, ends[1], axis)
    measured = measured & valid
    valid = measured & inside
    return replace(
        pair,
        pan=pan.clamp(0, pair.peak) * measured,
        valid=None if valid.all() else valid,
        name=f"{pair.name}_registered",
        georef=pair.georef | ms_place(pair.georef, pair.ratio, pair.convention),
        pan_shift=(pair.pan_shift[0] + moves[0], pair.pan_shift[1] + moves[1]),
    )


def check(shift: Shift, name: str) -> None:
    """Refuse a shift that the images do not tell (ValueError)."""
    if not shift.reliable:
        raise ValueError(
            f"{name}: PAN and MS do not tell their shift (multiple correlation {shift.correlation:.2f}, expected "
            f"{LEAST_CORRELATION} or more within {SEARCH} PAN pixels): leave register off, or give a better pair"
        )


def _whole(image: torch.Tensor, whole: int, axis: int) -> torch.Tensor:
    """Shift by whole pixels towards larger indices, edges repeated."""
    index = torch.arange(image.shape[axis]) - whole
    return image.index_select(axis, index.clamp(0, len(index) - 1))


def _move(image: torch.Tensor, whole: int, fraction: float, axis: int) -> torch.Tensor:
    """Shift ``(1, H, W)`` towards larger indices, edges repeated."""
    image = _whole(image, whole, axis)
    if not fraction:
        return image
    t = torch.arange(-HALF, HALF + 1, dtype=torch.float64) + fraction
    kernel = torch.sinc(t) * torch.special.i0(KAISER * (1 - (t / (HALF + 1)).square()).sqrt())
    lines = image.movedim(axis, -1).movedim(0, 1)  # (lines, 1, size)
    lines = F.conv1d(
        F.pad(lines, (HALF, HALF), mode="replicate"), (kernel / kernel.sum()).to(image)[None, None]
    )
    return lines.movedim(1, 0).movedim(-1, axis)


def ms_place(georef: dict[str, Any], ratio: int, convention: str) -> dict[str, Affine]:
    """PAN's transform from MS's, so that MS pixels lie on PAN's grid where the convention says."""
    transform, ms = georef.get("transform"), georef.get("ms_transform")
    if transform is None:
        return {}
    place, size = (transform, 1) if ms is None else (ms, ratio)
    a, b, c, d, e, f = tuple(place)[:6]
    half = (_phase(ratio, convention) - (ratio - 1) / 2) / size
    return {
        "transform": Affine(
            a / size, b / size, c - half * (a + b), d / size, e / size, f - half * (d + e)
        )
    }


def _phase(ratio: int, convention: str) -> float:
    """PAN index of the first MS pixel, by the convention."""
    return ratio // 2 if convention == "benchmark" else (ratio - 1) / 2
