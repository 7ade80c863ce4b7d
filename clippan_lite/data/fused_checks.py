"""What may be wrong with a fused image that another program made, told before it is measured.

Its figures would be wrong without a word.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from scipy.optimize import linear_sum_assignment

from clippan_lite.data import registration
from clippan_lite.data.pair import Pair, crop, enlarged, without_holes
from clippan_lite.data.parts import middle_of
from clippan_lite.physics.degrade import degrade
from clippan_lite.physics.windows import all_valid

OTHER_LEVEL = 1.1  # a band's mean by MS's, or the inverse, from which on it is told
ASTRAY = 0.5  # PAN pixels that an image lies beside all places between PAN and MS
LIT = 0.25  # share of a band's mean from which on MS does not count as dark
BETTER = 0.5  # share of the difference from MS that another order of the bands leaves
FEWEST = 100  # MS pixels that tell anything
SIDE = 256  # MS pixels: side of the middle that is looked at


def tell(name: str, image: torch.Tensor, pair: Pair) -> None:
    """Print what `notes` finds."""
    for note in notes(name, image, pair):
        print(note)


def notes(name: str, image: torch.Tensor, pair: Pair) -> list[str]:
    """What an image has that a fused one should not have, a line each.

    Args:
        name: of the image.
        image: ``(C, H, W)``, DN; 0 where the pair is nodata.
        pair: what it was fused from.

    Returns:
        Lines about undeclared holes, other units, another order of bands, another place.
    """
    found = []
    dark = _dark_where_ms_is_not(image, pair)
    count = int(dark.sum())
    if count > max(100, int(pair.valid_pixels.sum()) // 1000):
        found.append(
            f"Note: {name} is 0 in some band at {count} pixels where MS is not dark; if these are "
            "holes, declare 0 as its nodata (gdal_edit -a_nodata 0), or they are measured as data"
        )
    rows, cols = (middle_of(side, SIDE) for side in pair.ms.shape[1:])
    part = without_holes(crop(pair, rows, cols))
    area = [slice(m.start * pair.ratio, m.stop * pair.ratio) for m in (rows, cols)]
    low = degrade(image[:, *area], pair.sensor.mtf_ms, pair.ratio, pair.convention)
    lit = part.valid_pixels & ~dark[*area]
    inside = all_valid(lit, pair.ratio)
    of_image, of_ms = (x[:, inside].double() for x in (low, part.ms))
    if of_ms.shape[1] < FEWEST or not of_ms.sum() or not of_image.sum():
        return found
    level = float(of_image.mean() / of_ms.mean())  # the same whatever the order of the bands
    apart = (of_image[:, None] - level * of_ms[None]).abs().mean(-1)
    own, fitting = (torch.as_tensor(index) for index in linear_sum_assignment(apart.T.numpy()))
    odd = own != fitting
    if apart.T[own, fitting][odd].sum() < BETTER * apart.diagonal()[odd].sum():
        order = ",".join(str(number + 1) for number in fitting.tolist())
        found.append(
            f"Note: the bands of {name} fit {', '.join(pair.sensor.bands)} better in the order "
            f"{order}: put them in that order (gdal_translate -b), or name them"
        )
        of_image = of_image[fitting]
    levels = of_image.mean(1) / of_ms.mean(1)
    if not (levels.min() > 1 / OTHER_LEVEL and levels.max() < OTHER_LEVEL):
        found.append(
            f"Note: the bands of {name} are on average {levels.min():.2g} to {levels.max():.2g} "
            "times as bright as MS's: if the unit is another one, figures mean nothing"
        )
    shift, of_pair = map(registration.estimate, (replace(part, ms=low, valid=lit), part))
    if shift.reliable and of_pair.reliable and _beside(shift, of_pair) > ASTRAY:
        found.append(
            f"Note: {name} lies {shift} of PAN, and MS {of_pair} (PAN pixels): a fused image lies "
            "between the two; figures take it as it lies"
        )
    return found


def _beside(shift: registration.Shift, of_pair: registration.Shift) -> float:
    """How far a shift lies from all those between PAN and MS, PAN pixels."""
    at, end = (torch.tensor([s.down, s.right]) for s in (shift, of_pair))
    along = float((at @ end) / (end @ end).clamp_min(1e-9))
    return float((at - min(max(along, 0.0), 1.0) * end).norm())


def _dark_where_ms_is_not(image: torch.Tensor, pair: Pair) -> torch.Tensor:
    """Pixels of MS that a band of an image is all 0 in, though MS is not dark: ``(H, W)`` bool.

    Results are 0 in shadow and beside edges, too, where a method went below 0.
    """
    dark = torch.zeros(pair.ms.shape[1:], dtype=torch.bool)
    for band, of_ms in zip(image, pair.ms, strict=True):
        dark |= all_valid(band == 0, pair.ratio) & (of_ms > LIT * of_ms.mean())
    if pair.band_holes is not None:
        dark &= ~pair.band_holes.any(0)
    return enlarged(dark[None], pair.ratio)[0] & pair.valid_pixels
