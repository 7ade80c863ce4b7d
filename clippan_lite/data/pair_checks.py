"""What can be wrong with the images of a PAN / MS pair, whatever kind of file they come from.

Each check raises one line: what was expected, what was found and what to do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from clippan_lite.data.pair import Pair
from clippan_lite.physics import sensors


def bands(pan: int, ms: int, sensor: sensors.Sensor) -> None:
    """Check the number of bands of both images.

    Raises:
        ValueError: PAN has not one band, or MS not as many as the sensor.
    """
    if pan != 1:
        swapped = "; PAN and MS seem to be swapped" if ms == 1 else ""
        raise ValueError(f"PAN has {pan} bands, expected 1: give the panchromatic image{swapped}")
    if ms != len(sensor.bands):
        fitting = [s.name for s in sensors.SENSORS.values() if len(s.bands) == ms]
        advice = "extract the sensor's bands"
        if fitting:
            advice = f"choose a sensor with {ms} ({', '.join(fitting)})"
        raise ValueError(
            f"MS has {ms} bands, {sensor.name} has {len(sensor.bands)} "
            f"({', '.join(sensor.bands)}): {advice}"
        )


def sizes(pan: Sequence[int], ms: Sequence[int], sensor: sensors.Sensor) -> None:
    """Check that PAN is larger than MS by the sensor's ratio; both as (height, width).

    Raises:
        ValueError: another ratio.
    """
    found = (pan[0] / ms[0], pan[1] / ms[1])
    if found != (sensor.ratio, sensor.ratio):
        fitting = [s.name for s in sensors.SENSORS.values() if found == (s.ratio, s.ratio)]
        advice = "crop both to the same area"
        if fitting:
            advice = f"choose a sensor with that ratio ({', '.join(fitting)})"
        raise ValueError(
            f"PAN is {pan[0]} x {pan[1]} and MS {ms[0]} x {ms[1]} pixels, a ratio of "
            f"{found[0]:.4g} x {found[1]:.4g}, but {sensor.name} has {sensor.ratio}: {advice}"
        )


def full_size(what: str, image: torch.Tensor, pair: Pair) -> None:
    """Check that an image has MS's bands on PAN's grid.

    Raises:
        ValueError: another shape.
    """
    expected = (pair.bands, *pair.pan.shape[-2:])
    if tuple(image.shape) != expected:
        raise ValueError(
            f"{what} is {tuple(image.shape)}, expected {expected} (bands, PAN height, PAN width): "
            "make it anew from this pair"
        )


def truth(what: str, pair: Pair) -> None:
    """Check a pair's truth: MS's bands on PAN's grid, in finite numbers.

    Raises:
        ValueError: another shape, or pixels that are NaN or infinite.
    """
    assert pair.truth is not None
    full_size(what, pair.truth, pair)
    bad = int((~torch.isfinite(pair.truth)).any(0).sum())
    if bad:
        raise ValueError(
            f"{what} has {bad} NaN or infinite pixels, expected digital numbers: get it again"
        )


def not_flat(pair: Pair) -> None:
    """Refuse a pair in which PAN or MS holds one value only (ValueError)."""
    for what, image in (("PAN", pair.pan), ("MS", pair.ms)):
        if (image == image.flatten(1)[:, :1, None]).all():
            raise ValueError(
                f"{pair.name}: {what} holds one value only ({float(image.max()):.6g}): nothing can "
                "be fused, give another pair"
            )


def numbers(pan: str, ms: str, sensor: sensors.Sensor) -> sensors.Sensor:
    """Check the data types of both images, given by name.

    Returns:
        The sensor, with 8 bits where both images are uint8.

    Raises:
        ValueError: a type that cannot be digital numbers, or only one image is uint8.
    """
    for what, dtype in (("PAN", pan), ("MS", ms)):
        if not dtype.startswith(("int", "uint", "float")):
            raise ValueError(
                f"{what} holds {dtype}, expected digital numbers such as uint16: convert it"
            )
    if (pan == "uint8") != (ms == "uint8"):
        raise ValueError(f"PAN is {pan} and MS {ms}: give both in the same digital numbers")
    return sensors.with_bits(sensor, 8) if ms == "uint8" and sensor.bits > 8 else sensor


#: Share of the largest value that measured values lie below 0 at most: reflectance of dark water,
#: not a fill value.
DARKEST = 0.125


@dataclass(frozen=True)
class ImageValues:
    """What `values` needs to know about one image, or about one window of it."""

    low: torch.Tensor  # (C,) smallest and largest value of each band, nodata left out
    high: torch.Tensor
    bad: int  # pixels that are NaN or infinite without being nodata
    dark: int  # pixels of 0 where the other image is not 0
    negative: int = 0  # pixels with a value below 0

    @classmethod
    def of(cls, image: torch.Tensor, has_data: torch.Tensor, valid: torch.Tensor) -> ImageValues:
        """Of ``(C, H, W)``, where it has data ``(H, W)``, and where both images are valid."""
        good = torch.isfinite(image) & has_data
        return cls(
            low=image.where(good, math.inf).flatten(1).amin(1),
            high=image.where(good, -math.inf).flatten(1).amax(1),
            bad=int((has_data & ~good.all(0)).sum()),
            dark=int(((image == 0).all(0) & valid).sum()),
            negative=int(((image < 0) & has_data).any(0).sum()),
        )

    def __add__(self, other: ImageValues) -> ImageValues:
        return ImageValues(
            torch.minimum(self.low, other.low),
            torch.maximum(self.high, other.high),
            self.bad + other.bad,
            self.dark + other.dark,
            self.negative + other.negative,
        )


@dataclass(frozen=True)
class Values:
    """What `values` needs to know about a pair, or about one window of it; ``a + b`` joins two."""

    valid: int  # pixels on PAN's grid
    pan: ImageValues
    ms: ImageValues
    in_some_bands: int = 0  # pixels of MS that are nodata in some bands only

    @classmethod
    def of(cls, pair: Pair, pan_has_data: torch.Tensor, ms_has_data: torch.Tensor) -> Values:
        """Of a pair, and where PAN ``(H, W)`` and MS ``(h, w)`` are not nodata, bool."""
        valid = pair.valid_pixels
        coarse = valid[:: pair.ratio, :: pair.ratio]
        return cls(
            int(valid.sum()),
            ImageValues.of(pair.pan, pan_has_data, valid),
            ImageValues.of(pair.ms, ms_has_data, coarse),
            0 if pair.band_holes is None else int(pair.band_holes.any(0).sum()),
        )

    def __add__(self, other: Values) -> Values:
        return Values(
            self.valid + other.valid,
            self.pan + other.pan,
            self.ms + other.ms,
            self.in_some_bands + other.in_some_bands,
        )


def values(found: Values, sensor: sensors.Sensor) -> None:
    """Check that a pair holds finite digital numbers that the sensor can give, and not only one.

    Pixels of 0 in one image only are printed: they may be undeclared nodata.

    Raises:
        ValueError: only nodata, NaN or infinite pixels, values out of range, or a constant image.
    """
    if not found.valid:
        raise ValueError(
            "PAN and MS have no pixel in common that is not nodata: give files of another area"
        )
    peak = 2**sensor.bits - 1
    pan_high, ms_high = float(found.pan.high.max()), float(found.ms.high.max())
    if 0 < 4 * pan_high < ms_high or 0 < 4 * ms_high < pan_high:
        print(
            f"Note: PAN reaches {pan_high:.6g} and MS {ms_high:.6g}; if these are not the same "
            "digital numbers, D_s, HQNR and networks go wrong: scale one to the other first"
        )
    if found.in_some_bands:
        print(
            f"Note: {found.in_some_bands} pixels of MS are nodata in some bands only: their other "
            "bands are fused, and those alone become nodata (if they are measured values, remove "
            "the nodata value of the file)"
        )
    images = (("PAN", "MS", found.pan, 1), ("MS", "PAN", found.ms, sensor.ratio**2))
    for what, other, image, per_pixel in images:
        if image.dark > max(100, found.valid // per_pixel // 1000):  # single ones may be shadow
            print(
                f"Note: {what} is 0 at {image.dark} pixels where {other} is not; if these are "
                "holes, declare 0 as its nodata (gdal_edit -a_nodata 0), or they are taken for data"
            )
        if image.bad:
            raise ValueError(
                f"{what} has {image.bad} NaN or infinite pixels, not nodata: mark or fill them"
            )
        low, high = float(image.low.min()), float(image.high.max())
        if low < -DARKEST * high:
            raise ValueError(
                f"{what} has values down to {low:.6g} at {image.negative} pixels, and up to "
                f"{high:.6g}: if {low:.6g} marks holes, declare it (gdal_edit -a_nodata "
                f"{low:.6g}); expected are negative values of up to {DARKEST:.0%} of the largest"
            )
        if low < 0:
            print(f"Note: {what} is negative at {image.negative} pixels, down to {low:.6g}: kept")
        if high > peak:
            raise ValueError(
                f"{what} has values from {low:.6g} to {high:.6g}, {sensor.name} gives 0 to {peak} "
                f"({sensor.bits} bit): give unscaled digital numbers, set the nodata value of the "
                "file, or, if its numbers have more bits, describe the sensor with them "
                "(clippan-lite sensors --show NAME prints one to copy)"
            )
        if (image.low == image.high).all():
            raise ValueError(
                f"{what} holds one value only ({high:.6g}): nothing can be fused, give another file"
            )
        if high <= 1:
            raise ValueError(
                f"{what} has values up to {high:.4g} only: give digital numbers (0 to {peak}), "
                "not 0 to 1"
            )
