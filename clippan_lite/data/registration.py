"""How far MS lies off PAN, and PAN resampled so that both fit the pair's convention.

Signs, everywhere: ``down`` and ``right`` say where MS's content lies compared to PAN's, in PAN
pixels. MS is first put on PAN's grid as the pair's convention says; what PAN then shows in row
``y``, MS shows in row ``y + down``. For even ratios, images made for ``"geo"`` and read as
``"benchmark"`` give ``+0.5, +0.5``, the reverse ``-0.5, -0.5``.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from rasterio import Affine
from scipy import ndimage
from torch.nn import functional as F

from clippan_lite.data import places
from clippan_lite.data.pair import Pair, crop, without_holes
from clippan_lite.physics import degrade

SEARCH = 6  # PAN pixels searched each way
LEAST_CORRELATION = 0.5  # independent noise stays below 0.45, real pairs above 0.75
LEAST_PIXELS = 100  # MS pixels without nodata that the regression needs
SMALLEST_FRACTION = 0.05  # PAN pixels: `estimate` cannot tell less from 0
SIDE = 96  # MS pixels: larger images are judged by 3 windows of this side in each direction
NEAR = range(-4, 5)  # whole PAN pixels around the best one that the fraction is found from
FINE = torch.arange(-75, 76, dtype=torch.float64) / 50  # fractions tried around it, PAN pixels
HALF = 16  # taps of the interpolator on each side of its centre
KAISER = 5.0  # beta of the interpolator's window
# PAN pixels that are worth a correction: 0.2 changed ERGAS by 0.2 % (IKONOS), 0.8 by 2 % (WV2),
# 2 by half (GF2).
WORTHWHILE = 0.3
DIFFERENT = 0.25  # correlation that images of different places stay below
# MS pixels that this takes: with fewer, chance correlates, too (32 x 32: up to 0.41, true pairs
# from 0.58).
MANY = 64 * 64
UNEVEN = 1.0  # PAN pixels: no single shift mends corners that differ by more


@dataclass(frozen=True)
class Shift:
    """Where MS's content lies compared to PAN's, with the signs of the module's description.

    Attributes:
        down: PAN pixels towards larger rows.
        right: PAN pixels towards larger columns.
        correlation: multiple correlation of PAN's gradients with those of all MS bands at that
            shift, [0, 1].
        reliable: False where the images do not tell: flat, tiny, mostly nodata, unlike each other,
            or shifted further than was searched. ``down`` and ``right`` are 0 then.
        spread: largest difference between the image's four corners, PAN pixels; 0 where they do
            not tell.
    """

    down: float
    right: float
    correlation: float
    reliable: bool = True
    spread: float = 0.0

    def __str__(self) -> str:
        vertical = "down" if self.down >= 0 else "up"
        horizontal = "right" if self.right >= 0 else "left"
        return f"{abs(self.down):.2f} {vertical}, {abs(self.right):.2f} {horizontal}"


def report_shift(pair: Pair, advise: bool = True) -> Shift:
    """Estimate how far MS lies off PAN, and print it as `alignment` words it.

    It informs only: open sea does not correlate either.
    """
    shift = estimate(pair)
    print(alignment(pair, shift, advise))
    return shift


def alignment(pair: Pair, shift: Shift, advise: bool = True) -> str:
    """One line that says how far MS lies off PAN and, with ``advise``, what to do about it."""
    correlation = f"multiple correlation {shift.correlation:.2f}"
    if 0 < shift.correlation < DIFFERENT:
        return (
            f"Registration: PAN and MS hardly agree ({correlation}), as in open sea or haze: DO "
            "THEY SHOW ONE PLACE?"
        )
    if not shift.reliable:
        return (
            f"Registration: these images do not tell it within {SEARCH} PAN pixels ({correlation})"
        )
    line = (
        f"Registration: MS lies {shift} of PAN (PAN pixels; {pair.convention} convention), "
        f"{correlation}"
    )
    if any(pair.pan_shift):
        line += f", after PAN was shifted {Shift(*pair.pan_shift, 1.0)}"
    if shift.spread > UNEVEN:
        return (
            f"{line}; corners of the image differ by {shift.spread:.1f}: no single shift mends that"
        )
    if not advise or max(abs(shift.down), abs(shift.right)) <= WORTHWHILE:
        return line
    register = "register (--register, in notebooks -p register true)"
    other, half = ("geo", 0.5) if pair.convention == "benchmark" else ("benchmark", -0.5)
    if pair.ratio % 2 == 0 and max(abs(shift.down - half), abs(shift.right - half)) <= WORTHWHILE:
        return f"{line}; convention {other} fits, or {register}"
    return f"{line}; {register} shifts PAN onto MS"


def check(shift: Shift, name: str) -> None:
    """Refuse a shift that the images do not tell (ValueError)."""
    if not shift.reliable:
        raise ValueError(
            f"{name}: PAN and MS do not tell their shift (multiple correlation "
            f"{shift.correlation:.2f}, expected {LEAST_CORRELATION} or more within {SEARCH} PAN "
            "pixels): leave register off, or give a better pair"
        )


def estimate(pair: Pair, search: int = SEARCH) -> Shift:
    """Where MS's content lies compared to PAN's, relative to what the pair's convention says.

    PAN is blurred with the mean MTF of the MS bands and sampled on MS's grid at whole-pixel
    offsets. The gradients of these samples are regressed on the gradients of all MS bands; bands
    that PAN does not see get weights near 0. Around the largest multiple correlation, samples at
    fractions come from polynomials through those at whole pixels.

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
    sizes = pair.ms.shape[1:]
    if not shift.reliable or min(sizes) < SIDE:
        return shift
    ends = [(slice(0, min(SIDE, n // 2)), slice(n - min(SIDE, n // 2), n)) for n in sizes]
    corners = [_estimate(crop(pair, rows, cols), search) for rows, cols in itertools.product(*ends)]
    found = torch.tensor([(corner.down, corner.right) for corner in corners if corner.reliable])
    spread = float((found.amax(0) - found.amin(0)).max()) if len(found) else 0.0
    return replace(shift, spread=spread)


def _estimate(pair: Pair, search: int) -> Shift:
    """One shift for the whole image; beyond 288 MS pixels nine windows stand for it."""
    phase = _phase(pair.ratio, pair.convention)
    step = max(1, pair.ratio // 2)  # the blur makes peaks wider than that
    whole = range(math.floor(phase) - search, math.ceil(phase) + search + step, step)
    reach = max(-whole[0], whole[-1]) + NEAR[-1]
    parts = itertools.product(*map(_parts, pair.ms.shape[1:]))
    windows = [_Gradients(crop(pair, rows, cols), reach) for rows, cols in parts]
    bands = torch.cat([window.ms for window in windows], 1)
    if bands.shape[1] < 2 * LEAST_PIXELS:
        return Shift(0.0, 0.0, 0.0, reliable=False)
    inverse = torch.linalg.pinv(bands @ bands.T, rtol=1e-10, hermitian=True)

    def pan_at(down: Iterable[int], right: Iterable[int]) -> torch.Tensor:
        return torch.cat([window.pan(down, right) for window in windows], 1)

    def r2(cross: torch.Tensor, energy: torch.Tensor) -> torch.Tensor:
        """Squared multiple correlation: ``(C, K)`` products with the bands, ``(K,)`` energies."""
        return torch.where(energy > 0, (cross * (inverse @ cross)).sum(0) / energy, 0)

    scores = []
    for y in whole:
        pan = pan_at([y], whole)
        scores.append(r2(bands @ pan.T, pan.square().sum(1)))
    i, j = divmod(int(torch.stack(scores).argmax()), len(whole))
    pan = pan_at([whole[i] + k for k in NEAR], [whole[j] + k for k in NEAR])
    lagrange = torch.stack([_lagrange(n) for n in NEAR])
    weights = torch.einsum("uf,vg->uvfg", lagrange, lagrange).reshape(len(pan), -1)
    fine = r2((bands @ pan.T) @ weights, (weights * ((pan @ pan.T) @ weights)).sum(0))
    u, v = divmod(int(fine.argmax()), len(FINE))
    down, right = phase - whole[i] - float(FINE[u]), phase - whole[j] - float(FINE[v])
    correlation = float(fine.max().clamp(0, 1).sqrt())
    inside = all(0 < k < len(FINE) - 1 for k in (u, v)) and max(abs(down), abs(right)) <= search
    if inside and correlation >= LEAST_CORRELATION:
        return Shift(down, right, correlation)
    return Shift(0.0, 0.0, correlation, reliable=False)


def _parts(size: int) -> list[slice]:
    """A whole side of MS, or three parts of a long one."""
    if size <= 3 * SIDE:
        return [slice(0, size)]
    return [slice(start, start + SIDE) for start in (0, (size - SIDE) // 2, size - SIDE)]


def _lagrange(n: int) -> torch.Tensor:
    """The polynomial through `NEAR` that is 1 at ``n`` and 0 at the others, at `FINE`."""
    return functools.reduce(torch.mul, [(FINE - k) / (n - k) for k in NEAR if k != n])


class _Gradients:
    """Differences of a pair's pixels to those below and to the right, at MS pixels ``ratio * i``.

    Attributes:
        ms: those of MS, ``(C, 2 N)``.
    """

    def __init__(self, pair: Pair, reach: int):
        r = self.ratio = pair.ratio
        pair = without_holes(pair)
        ms = pair.ms.double()
        gain = sum(pair.sensor.mtf_ms) / len(pair.sensor.mtf_ms)
        pan = degrade.mtf_filter(pair.pan, gain, r)[0].double()
        m = -(-reach // r)  # MS pixels at each border whose PAN samples can lie outside
        self.rows, self.cols = (slice(m, max(m, size - m - 1)) for size in ms.shape[1:])
        keep = torch.ones(ms.shape[1:], dtype=torch.bool)
        mask = pair.with_all_bands
        if mask is not None:
            near = m + 3  # MS pixels: the blur and the gradient spread holes by 3
            holes = F.max_pool2d((~mask)[None].float(), r)
            keep = F.max_pool2d(holes, 2 * near + 1, stride=1, padding=near)[0] == 0
        self.keep = keep[self.rows, self.cols]
        steps = [ms[:, 1:, :-1] - ms[:, :-1, :-1], ms[:, :-1, 1:] - ms[:, :-1, :-1]]
        self.ms = torch.stack(steps, 1)[..., self.rows, self.cols][..., self.keep].flatten(1)
        self.pan_steps = torch.stack([pan[r:, :-r] - pan[:-r, :-r], pan[:-r, r:] - pan[:-r, :-r]])

    def pan(self, down: Iterable[int], right: Iterable[int]) -> torch.Tensor:
        """Those of blurred PAN, ``(len(down) * len(right), 2 N)``, that many pixels further on."""
        r, samples = self.ratio, []
        for y, x in itertools.product(down, right):
            rows = slice(self.rows.start * r + y, self.rows.stop * r + y, r)
            cols = slice(self.cols.start * r + x, self.cols.stop * r + x, r)
            samples.append(self.pan_steps[:, rows, cols][:, self.keep].flatten())
        return torch.stack(samples)


def correct(pair: Pair, shift: Shift) -> Pair:
    """Shift PAN so that PAN and MS fit the pair's convention.

    Whole pixels are moved without loss. A fraction passes a windowed sinc of 33 taps, right to 1 %
    up to 0.91 of PAN's Nyquist frequency. Fractions below 0.05 PAN pixel are left out: `estimate`
    cannot tell them from 0.

    Args:
        pair: images in DN.
        shift: from `estimate`.

    Returns:
        A pair with PAN shifted down and right by ``shift``; ``pan_shift`` and the name
        ``..._registered`` say so. Where PAN would come from outside, ``valid`` is False and PAN
        repeats the image's edge, so that methods find no dark frame. Where it would be nodata, PAN
        is 0. ``georef["transform"]`` becomes MS's, on PAN's grid: the content has moved to MS's
        place, so fused images lie where MS says. ``truth`` belongs to MS and stays.

    Raises:
        ValueError: the shift is not reliable.
    """
    check(shift, pair.name)
    # PAN is moved, not MS: MS is undersampled, so interpolation would blur and alias it, and every
    # consistency measure compares fused images with its DN. PAN holds little near its Nyquist
    # frequency and moves almost unharmed.
    moves = [
        s if abs(s - round(s)) >= SMALLEST_FRACTION else float(round(s))
        for s in (shift.down, shift.right)
    ]
    pan, valid = pair.pan, pair.valid_pixels
    if not valid.all():  # filled from their neighbours, or holes would ring
        nearest = ndimage.distance_transform_edt(
            ~valid.numpy(), return_distances=False, return_indices=True
        )
        pan = pan[:, *torch.from_numpy(nearest)]
    measured, inside = valid, []
    for axis, move in enumerate(moves):
        pan = _move(pan, move, axis + 1)
        before, after = math.floor(move), math.ceil(move)  # each value lies between two pixels
        measured = _move_whole(measured, before, axis) & _move_whole(measured, after, axis)
        size = valid.shape[axis]
        inside.append(slice(max(0, after), max(0, size + min(0, before))))
    measured = measured & valid
    valid = torch.zeros_like(measured)
    valid[*inside] = measured[*inside]
    return replace(
        pair,
        pan=pan.clamp(min(0.0, float(pair.pan.min())), pair.peak) * measured,
        valid=None if valid.all() else valid,
        name=f"{pair.name}_registered",
        georef=moved_georef(pair.georef, pair.ratio, pair.convention, moves),
        pan_shift=(pair.pan_shift[0] + moves[0], pair.pan_shift[1] + moves[1]),
    )


def _move_whole(image: torch.Tensor, pixels: int, axis: int) -> torch.Tensor:
    """Shift by whole pixels towards larger indices, edges repeated."""
    index = torch.arange(image.shape[axis]) - pixels
    return image.index_select(axis, index.clamp(0, len(index) - 1))


def _move(image: torch.Tensor, pixels: float, axis: int) -> torch.Tensor:
    """Shift ``(1, H, W)`` towards larger indices, edges repeated."""
    fraction = pixels - round(pixels)
    image = _move_whole(image, round(pixels), axis)
    if not fraction:
        return image
    t = torch.arange(-HALF, HALF + 1, dtype=torch.float64) + fraction
    kernel = torch.sinc(t) * torch.special.i0(KAISER * (1 - (t / (HALF + 1)).square()).sqrt())
    kernel = (kernel / kernel.sum()).to(image)[None, None]
    lines = image.movedim(axis, -1).movedim(0, 1)  # (lines, 1, size)
    lines = F.conv1d(F.pad(lines, (HALF, HALF), mode="replicate"), kernel)
    return lines.movedim(1, 0).movedim(-1, axis)


def moved_georef(
    georef: dict[str, Any], ratio: int, convention: str, moves: Sequence[float]
) -> dict[str, Any]:
    """The georeference of a pair whose PAN has moved down and right: results lie where MS does."""
    return georef | ms_place(georef, ratio, convention) | places.moved(georef, moves[0], moves[1])


def ms_place(georef: dict[str, Any], ratio: int, convention: str) -> dict[str, Affine]:
    """PAN's transform from MS's, so that MS pixels lie on PAN's grid where the convention says."""
    transform, ms = georef.get("transform"), georef.get("ms_transform")
    if transform is None:
        return {}
    place, size = (transform, 1) if ms is None else (ms, ratio)
    half = (_phase(ratio, convention) - (ratio - 1) / 2) / size
    return {"transform": place @ Affine.translation(-half, -half) @ Affine.scale(1 / size)}


def _phase(ratio: int, convention: str) -> float:
    """PAN index of the first MS pixel, by the convention."""
    return ratio // 2 if convention == "benchmark" else (ratio - 1) / 2
