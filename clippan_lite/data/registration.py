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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
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
WINDOWS = 5  # of an image each way, whose shifts tell how it is turned or stretched
ALIKE = 0.3  # PAN pixels: windows further from the fit do not belong to it
SHARE = 0.2  # or, if that is more, this share of how much the fit differs over the image
ENOUGH = 0.8  # share of the windows that must belong
FEWEST = 6  # windows for the six numbers of the fit
NO_SLOPES = (0.0, 0.0, 0.0, 0.0)


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
        spread: largest difference between parts of the image, PAN pixels; 0 where they do not tell.
        slopes: how ``down`` grows with each PAN row and column, then ``right``. Not all 0 where the
            images are turned or stretched against each other.
        middle: PAN row and column where ``down`` and ``right`` hold; without slopes they hold
            everywhere.
    """

    down: float
    right: float
    correlation: float
    reliable: bool = True
    spread: float = 0.0
    slopes: tuple[float, float, float, float] = NO_SLOPES
    middle: tuple[float, float] = (0.0, 0.0)

    def __str__(self) -> str:
        vertical = "down" if self.down >= 0 else "up"
        horizontal = "right" if self.right >= 0 else "left"
        text = f"{abs(self.down):.2f} {vertical}, {abs(self.right):.2f} {horizontal}"
        return f"{text} in the middle" if any(self.slopes) else text

    @property
    def done(self) -> str:
        """What happens to PAN, in words."""
        return f"{'warped' if any(self.slopes) else 'shifted'} {self}"


def report_shift(
    pairs: Mapping[tuple[int, int], Pair], size: Sequence[int], advise: bool = True
) -> Shift:
    """Estimate how far MS lies off PAN, and print it as `alignment` words it.

    It informs only: open sea does not correlate either.

    Args:
        pairs: parts of a scene, by the PAN row and column that they begin at, or the whole.
        size: rows and columns of the scene, PAN pixels.
        advise: say what to do about it.
    """
    shift = of_scene(pairs, size)
    print(alignment(next(iter(pairs.values())), shift, advise))
    return shift


def of_scene(pairs: Mapping[tuple[int, int], Pair], size: Sequence[int]) -> Shift:
    """The shift of a scene: its most detailed part's, or a warp where parts differ.

    Arguments are those of `report_shift`.
    """

    def detail(at: tuple[int, int]) -> float:
        return float(pairs[at].pan[0][pairs[at].valid_pixels].std())

    best = max(pairs, key=detail)
    shift = estimate(pairs[best])
    if len(pairs) == 1:
        row, column = shift.middle
        return replace(shift, middle=(row + best[0], column + best[1]))
    found = []
    for (row, column), pair in pairs.items():
        height, width = pair.pan.shape[1:]
        middle = row + (height - 1) / 2, column + (width - 1) / 2
        found.append((middle, _estimate(pair, SEARCH)))
    spread = _spread(found)
    if spread <= UNEVEN:
        return replace(shift, slopes=NO_SLOPES)
    return fit(found, size) or replace(shift, slopes=NO_SLOPES, spread=spread)


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
    register = "register (--register, register=True, in notebooks -p register true)"
    if any(shift.slopes):
        line += f"; parts of the image differ by {shift.spread:.1f}: it is turned or stretched"
        return f"{line}; {register} warps PAN onto MS" if advise else line
    if shift.spread > UNEVEN:
        return (
            f"{line}; parts of the image differ by {shift.spread:.1f}: no shift or affine warp "
            "mends that"
        )
    if not advise or max(abs(shift.down), abs(shift.right)) <= WORTHWHILE:
        return line
    other, half = ("geo", 0.5) if pair.convention == "benchmark" else ("benchmark", -0.5)
    transforms = pair.georef.get("transform"), pair.georef.get("ms_transform")
    # Where MS starts by the files counts in geo; benchmark leaves it aside.
    known = other == "geo" and None not in transforms
    start = places.apart(*transforms) if known else (0.0, 0.0)
    left = [found - half + s for found, s in zip((shift.down, shift.right), start, strict=True)]
    if pair.ratio % 2 == 0 and max(map(abs, left)) <= WORTHWHILE:
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
    spread = _spread(_windows(pair, ends, search))
    if spread <= UNEVEN:
        return replace(shift, spread=spread)
    return _warp(pair, search) or replace(shift, spread=spread)


def _warp(pair: Pair, search: int) -> Shift | None:
    """The affine warp of a pair, or None where its windows tell none.

    A window sees only the mean of its own warp, so what is left is looked for in the warped pair.
    """
    warp = fit(in_windows(pair, search), pair.pan.shape[1:])
    if warp is None:
        return None
    for _ in range(2):
        left = fit(in_windows(correct(pair, warp), search), pair.pan.shape[1:])
        if left is not None:
            warp = _both(warp, left)
    return warp


def _both(first: Shift, then: Shift) -> Shift:
    """One warp for two, about the same middle."""
    one, two = (np.eye(2) + np.reshape(shift.slopes, (2, 2)) for shift in (first, then))
    down, right = np.add(two @ (first.down, first.right), (then.down, then.right))
    slopes = tuple((two @ one - np.eye(2)).flatten().tolist())
    both = replace(first, down=float(down), right=float(right), slopes=slopes)
    return replace(both, spread=_reach(both)[1], correlation=then.correlation)


def _reach(shift: Shift) -> tuple[float, float]:
    """The largest move of a corner, and the largest difference between two."""
    slopes, (row, column) = np.reshape(shift.slopes, (2, 2)), shift.middle
    corners = np.array(list(itertools.product((-row, row), (-column, column))))
    moves = corners @ slopes.T + (shift.down, shift.right)
    return float(np.abs(moves).max()), float(np.ptp(moves, axis=0).max())


Found = list[tuple[tuple[float, float], Shift]]  # PAN row and column of a part's middle, its shift


def fit(found: Found, size: Sequence[int]) -> Shift | None:
    """The affine warp that the shifts of an image's parts tell, or None where they tell none.

    The shifts are fitted by least squares, in which parts that do not agree with the others lose
    weight step by step.

    Args:
        found: parts and their shifts; only reliable ones count.
        size: rows and columns of the whole image, PAN pixels.
    """
    found = [(place, shift) for place, shift in found if shift.reliable]
    if len(found) < FEWEST:
        return None
    middle = (size[0] - 1) / 2, (size[1] - 1) / 2
    places = torch.tensor([place for place, _ in found], dtype=torch.float64)
    shifts = torch.tensor([(shift.down, shift.right) for _, shift in found], dtype=torch.float64)
    ones = torch.ones(len(found), 1, dtype=torch.float64)
    terms = torch.cat([ones, places - torch.tensor(middle, dtype=torch.float64)], 1)
    weights = torch.ones(len(found), 1, dtype=torch.float64)
    for _ in range(20):
        numbers = torch.linalg.lstsq(terms * weights, shifts * weights).solution
        off = (shifts - terms @ numbers).norm(dim=1, keepdim=True)
        weights = (1 + (off / ALIKE).square()).rsqrt()
    (down, right), *slopes = numbers.tolist()
    warp = Shift(
        down,
        right,
        correlation=float(np.median([shift.correlation for _, shift in found])),
        slopes=(slopes[0][0], slopes[1][0], slopes[0][1], slopes[1][1]),
        middle=middle,
    )
    furthest, spread = _reach(warp)
    belongs = off[:, 0] <= max(ALIKE, SHARE * spread)
    known = torch.linalg.matrix_rank(terms[belongs]) == 3  # parts in one line tell no warp
    if belongs.double().mean() < ENOUGH or not known or furthest > SEARCH + 1:
        return None
    return replace(warp, spread=spread)


def in_windows(pair: Pair, search: int = SEARCH) -> Found:
    """The shifts of windows that cover an image, five each way; they may overlap.

    Args:
        pair: images in DN.
        search: as in `estimate`.

    Returns:
        The PAN row and column of each window's middle, and its shift, which may be unreliable.
    """
    spans = [_spans(size, min(SIDE, size // 2)) for size in pair.ms.shape[1:]]
    return _windows(pair, spans, search)


def _windows(pair: Pair, spans: Sequence[Sequence[slice]], search: int) -> Found:
    """The shifts of windows, given by their rows and columns on MS."""
    found = []
    for rows, cols in itertools.product(*spans):
        middles = [(span.start + span.stop) / 2 * pair.ratio - 0.5 for span in (rows, cols)]
        found.append(((middles[0], middles[1]), _estimate(crop(pair, rows, cols), search)))
    return found


def _spread(found: Found) -> float:
    """Largest difference between reliable shifts."""
    shifts = torch.tensor([(shift.down, shift.right) for _, shift in found if shift.reliable])
    return float((shifts.amax(0) - shifts.amin(0)).max()) if len(shifts) else 0.0


def _spans(size: int, side: int) -> list[slice]:
    """Windows evenly spread over a side."""
    starts = torch.linspace(0, size - side, WINDOWS).int().tolist()
    return [slice(start, start + side) for start in starts]


def _estimate(pair: Pair, search: int) -> Shift:
    """One shift for the whole image; beyond 288 MS pixels nine windows stand for it."""
    phase = _phase(pair.ratio, pair.convention)
    step = max(1, pair.ratio // 2)  # the blur makes peaks wider than that
    whole = range(math.floor(phase) - search, math.ceil(phase) + search + step, step)
    reach = max(-whole[0], whole[-1]) + NEAR[-1]
    parts = itertools.product(*map(_parts, pair.ms.shape[1:]))
    windows = [_Gradients(crop(pair, rows, cols), reach) for rows, cols in parts]
    if sum(window.ms.shape[1] for window in windows) < 2 * LEAST_PIXELS:
        return Shift(0.0, 0.0, 0.0, reliable=False)
    gram = torch.stack([window.ms @ window.ms.T for window in windows]).sum(0)
    inverse = torch.linalg.pinv(gram, rtol=1e-10, hermitian=True)

    def products(down: Iterable[int], right: Iterable[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Of PAN's gradients at K shifts: with the bands' ``(C, K)``, and with each other."""
        both = []
        for window in windows:
            pan = window.pan(down, right)
            both.append(torch.cat([window.ms @ pan.T, pan @ pan.T]))
        cross, own = torch.stack(both).sum(0).tensor_split([len(gram)])
        return cross, own

    def r2(cross: torch.Tensor, energy: torch.Tensor) -> torch.Tensor:
        """Squared multiple correlation: ``(C, K)`` products with the bands, ``(K,)`` energies."""
        return torch.where(energy > 0, (cross * (inverse @ cross)).sum(0) / energy, 0)

    scores = []
    for y in whole:
        cross, own = products([y], whole)
        scores.append(r2(cross, own.diagonal()))
    i, j = divmod(int(torch.stack(scores).argmax()), len(whole))
    cross, own = products([whole[i] + k for k in NEAR], [whole[j] + k for k in NEAR])
    lagrange = torch.stack([_lagrange(n) for n in NEAR])
    weights = torch.einsum("uf,vg->uvfg", lagrange, lagrange).reshape(len(own), -1)
    fine = r2(cross @ weights, (weights * (own @ weights)).sum(0))
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
        keep = keep[self.rows, self.cols]
        self.keep = slice(None) if keep.all() else keep.flatten()
        steps = [ms[:, 1:, :-1] - ms[:, :-1, :-1], ms[:, :-1, 1:] - ms[:, :-1, :-1]]
        inner = torch.stack(steps, 1)[..., self.rows, self.cols]
        self.ms = inner.flatten(2)[..., self.keep].flatten(1)
        pan_steps = torch.stack([pan[r:, :-r] - pan[:-r, :-r], pan[:-r, r:] - pan[:-r, :-r]])
        # Every r-th pixel from each of the first r: what MS's pixels see at one shift lies together
        self.phases = [[pan_steps[:, y::r, x::r].contiguous() for x in range(r)] for y in range(r)]

    def pan(self, down: Iterable[int], right: Iterable[int]) -> torch.Tensor:
        """Those of blurred PAN, ``(len(down) * len(right), 2 N)``, that many pixels further on."""
        samples = []
        for y, x in itertools.product(down, right):
            top, phase_y = divmod(y, self.ratio)
            left, phase_x = divmod(x, self.ratio)
            rows = slice(self.rows.start + top, self.rows.stop + top)
            cols = slice(self.cols.start + left, self.cols.stop + left)
            seen = self.phases[phase_y][phase_x][:, rows, cols].flatten(1)
            samples.append(seen[:, self.keep].flatten())
        return torch.stack(samples)


def correct(pair: Pair, shift: Shift, origin: tuple[int, int] = (0, 0)) -> Pair:
    """Shift or warp PAN so that PAN and MS fit the pair's convention.

    Whole pixels are moved without loss. A fraction passes a windowed sinc of 33 taps, right to 1 %
    up to 0.91 of PAN's Nyquist frequency. Fractions below 0.05 PAN pixel are left out: `estimate`
    cannot tell them from 0. A shift with slopes is an affine warp, which is made in one step by
    splines of degree 5.

    Args:
        pair: images in DN.
        shift: from `estimate`.
        origin: PAN row and column at which the pair begins, where it is a part of the image that
            the shift was estimated for.

    Returns:
        A pair with PAN shifted down and right by ``shift``; ``pan_shift`` (of the middle) and the
        name ``..._registered`` say so. Where PAN would come from outside, ``valid`` is False and
        PAN repeats the image's edge, so that methods find no dark frame. Where it would be nodata,
        PAN is 0. ``georef["transform"]`` becomes MS's, on PAN's grid: the content has moved to MS's
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
    if any(shift.slopes):
        pan, measured, valid = _warped(pan, valid, shift, origin)
    else:
        pan, measured, valid = _shifted(pan, valid, moves)
    return replace(
        pair,
        pan=pan.clamp(min(0.0, float(pair.pan.min())), pair.peak) * measured,
        valid=None if valid.all() else valid,
        name=f"{pair.name}_registered",
        georef=moved_georef(pair.georef, pair.ratio, pair.convention, moves),
        pan_shift=(pair.pan_shift[0] + moves[0], pair.pan_shift[1] + moves[1]),
    )


def _shifted(
    pan: torch.Tensor, valid: torch.Tensor, moves: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """PAN moved by as many pixels; what of it was measured; and what of that lies inside."""
    measured, inside = valid, []
    for axis, move in enumerate(moves):
        pan = _move(pan, move, axis + 1)
        before, after = math.floor(move), math.ceil(move)  # each value lies between two pixels
        measured = _move_whole(measured, before, axis) & _move_whole(measured, after, axis)
        size = valid.shape[axis]
        inside.append(slice(max(0, after), max(0, size + min(0, before))))
    measured = measured & valid
    left = torch.zeros_like(measured)
    left[*inside] = measured[*inside]
    return pan, measured, left


def _warped(
    pan: torch.Tensor, valid: torch.Tensor, shift: Shift, origin: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """PAN warped, as `_shifted`. Where a pixel goes is affine, so where it comes from is, too."""
    middle = np.subtract(shift.middle, origin)
    back = np.linalg.inv(np.eye(2) + np.reshape(shift.slopes, (2, 2)))
    start = middle - back @ np.add(middle, (shift.down, shift.right))
    image = pan[0].double().numpy()
    warped = ndimage.affine_transform(image, back, start, order=5, mode="nearest")
    holes = (~valid).numpy().astype(np.float32)

    def free(mode: str) -> torch.Tensor:
        found = ndimage.affine_transform(holes, back, start, order=1, mode=mode, cval=1.0)
        return torch.from_numpy(found < 1e-6) & valid

    return torch.from_numpy(warped)[None].to(pan), free("nearest"), free("constant")


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
