"""What may be wrong with a fused image that another program made, told before it is measured.

Its figures would be wrong without a word.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from scipy.optimize import linear_sum_assignment

from clippan_lite.data import registration
from clippan_lite.data.pair import Pair, crop, without_holes
from clippan_lite.physics.degrade import degrade
from clippan_lite.physics.windows import all_valid

OTHER_UNITS = 1.2  # the image's level by MS's, or the inverse, from which on it is told
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
    dark = (image == 0).all(0) & pair.valid_pixels & (pair.pan[0] > 0)
    count, valid = int(dark.sum()), int(pair.valid_pixels.sum())
    if count > max(100, valid // 1000):  # single ones may be shadow
        found.append(
            f"Note: {name} is 0 at {count} pixels where PAN is not; if these are holes, declare 0 "
            "as its nodata (gdal_edit -a_nodata 0), or they are measured as data"
        )
    rows, cols = (_middle(side) for side in pair.ms.shape[1:])
    part = without_holes(crop(pair, rows, cols))
    image = image[:, *(slice(m.start * pair.ratio, m.stop * pair.ratio) for m in (rows, cols))]
    low = degrade(image, pair.sensor.mtf_ms, pair.ratio, pair.convention)
    lit = part.valid_pixels & (image != 0).any(0)
    inside = all_valid(lit, pair.ratio)
    of_image, of_ms = (x[:, inside].double() for x in (low, part.ms))
    if of_ms.shape[1] < FEWEST or not of_ms.square().sum():
        return found
    level = float((of_image * of_ms).sum() / of_ms.square().sum())
    if not 1 / OTHER_UNITS < level < OTHER_UNITS:
        found.append(
            f"Note: {name} holds about {level:.2g} times the digital numbers of MS: most figures "
            "mean nothing until both have the same unit"
        )
    apart = (of_image[:, None] - max(level, 0.0) * of_ms[None]).abs().mean(-1)
    own, fitting = (torch.as_tensor(index) for index in linear_sum_assignment(apart.T.numpy()))
    odd = own != fitting
    if apart.T[own, fitting][odd].sum() < BETTER * apart.diagonal()[odd].sum():
        order = ",".join(str(number + 1) for number in fitting.tolist())
        found.append(
            f"Note: the bands of {name} fit {', '.join(pair.sensor.bands)} better in the order "
            f"{order}: put them in that order (gdal_translate -b), or name them"
        )
    shift = registration.estimate(replace(part, ms=low, valid=lit))
    if shift.reliable and max(abs(shift.down), abs(shift.right)) > registration.WORTHWHILE:
        found.append(f"Note: {name} lies {shift} of PAN (PAN pixels): figures take it as it lies")
    return found


def _middle(side: int) -> slice:
    """The middle of a side, MS pixels."""
    return slice(max(side // 2 - SIDE // 2, 0), min(side // 2 + SIDE // 2, side))
