"""What can be wrong with a PAN / MS pair of files, each check one line: expected, found, and what to do."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch

from clippan_lite.data import Pair
from clippan_lite.data.registration import SEARCH, Shift, estimate
from clippan_lite.physics import sensors

SMALLEST_CROP = 64  # pixels: CLIP's crops, which must fit into PAN after Wald's protocol has divided it by the ratio
TELLING = 0.3  # PAN pixels: correcting 0.2 changed ERGAS by 0.2 % (IKONOS), 0.8 by 2 % (WV2), 2 by half (GF2)
DIFFERENT = 0.25  # multiple correlation of gradients; images of different places stay below it
MANY = (
    64 * 64
)  # MS pixels: with fewer, chance correlates too (32 x 32: up to .41, true pairs from .58)
UNEVEN = 1.0  # PAN pixels: corners that differ by more are not mended by one shift


def bands(pan: rasterio.DatasetReader, ms: rasterio.DatasetReader, sensor: sensors.Sensor) -> None:
    """PAN has one band, MS as many as the sensor.

    Raises:
        ValueError: if not.
    """
    if pan.count != 1:
        swapped = "; PAN and MS seem to be swapped" if ms.count == 1 else ""
        raise ValueError(
            f"PAN: {pan.name} has {pan.count} bands, expected 1: give the panchromatic file{swapped}"
        )
    if ms.count != len(sensor.bands):
        fitting = [s.name for s in sensors.SENSORS.values() if len(s.bands) == ms.count]
        mend = (
            f"choose a sensor with {ms.count} ({', '.join(fitting)})"
            if fitting
            else "extract the sensor's bands"
        )
        bands = f"{len(sensor.bands)} ({', '.join(sensor.bands)})"
        raise ValueError(f"MS: {ms.name} has {ms.count} bands, {sensor.name} has {bands}: {mend}")


@dataclass(frozen=True)
class Area:
    """What PAN and MS have in common: where it begins in each file, (row, column), and its size in MS pixels."""

    pan: tuple[int, int]
    ms: tuple[int, int]
    size: tuple[int, int]
    apart: tuple[float, float]  # PAN pixels that MS's first pixel starts right of and below PAN's


def common(
    pan: rasterio.DatasetReader,
    ms: rasterio.DatasetReader,
    sensor: sensors.Sensor,
    apart: tuple[float, float] | None,
) -> Area:
    """The area that both files cover, in whole MS pixels; of files without georeference, all of both.

    Args:
        pan: the open files.
        ms: MS.
        sensor: gives the ratio.
        apart: from :func:`grids`.

    Raises:
        ValueError: sizes that do not fit, no common area, or one too small for the reduced-resolution test.
    """
    r, here = sensor.ratio, (0, 0)
    fits = pan.shape == (ms.height * r, ms.width * r)
    if fits and (apart is None or max(map(abs, apart)) <= r):
        area = Area(here, here, ms.shape, apart or (0.0, 0.0))
    elif apart is None:
        found = (pan.height / ms.height, pan.width / ms.width)
        fitting = [s.name for s in sensors.SENSORS.values() if found == (s.ratio, s.ratio)]
        mend = (
            f"choose a sensor with that ratio ({', '.join(fitting)})"
            if fitting
            else "crop both to the same area"
        )
        raise ValueError(
            f"PAN is {pan.height} x {pan.width} and MS {ms.height} x {ms.width} pixels, a ratio of {found[0]:.4g} x "
            f"{found[1]:.4g}, but {sensor.name} has {r}: {mend}"
        )
    else:
        starts = [_first_common(first, r) for first in (apart[1], apart[0])]  # row, column
        (top, row, down), (left, col, right) = starts
        size = [
            max(0, min((there - at) // r, coarse - index))
            for there, at, coarse, index in zip(
                pan.shape, (top, left), ms.shape, (row, col), strict=True
            )
        ]
        area = Area((top, left), (row, col), tuple(size), (right, down))
    height, width = (n * r for n in area.size)
    if min(height, width) < SMALLEST_CROP * r:
        only = (
            "PAN is"
            if area.pan == area.ms == here
            else f"MS starts {apart[0]:.1f} right of and {apart[1]:.1f} below PAN; in common are"
        )
        raise ValueError(
            f"{only} {height} x {width} pixels, expected at least {SMALLEST_CROP * r} each way, so that "
            f"{SMALLEST_CROP} remain in the {r} times reduced test: give files of one place and a larger area"
        )
    return area


def _first_common(first: float, ratio: int) -> tuple[int, int, float]:
    """PAN and MS index where both begin when MS starts ``first`` PAN pixels behind PAN, and what is left between."""
    index = max(0, math.ceil((-first - 0.5) / ratio))
    start = max(0, round(first + ratio * index))
    return start, index, first + ratio * index - start


def grids(
    pan: rasterio.DatasetReader, ms: rasterio.DatasetReader, sensor: sensors.Sensor
) -> tuple[str, tuple[float, float] | None]:
    """Both files lie on north-up grids of one CRS, with pixel sizes in the sensor's ratio.

    Returns:
        Their CRS, and how far right of and below PAN's MS's first pixel starts, PAN pixels; None without georeference.

    Raises:
        ValueError: if not.
    """
    has = [source.crs is not None or not source.transform.is_identity for source in (pan, ms)]
    if not any(has):
        return "no georeference", None
    if not all(has):
        raise ValueError(
            f"only {'PAN' if has[0] else 'MS'} has a georeference: give it to both files or to neither"
        )
    if pan.crs != ms.crs:
        raise ValueError(
            f"PAN is in {pan.crs}, MS in {ms.crs}: reproject neither, take both from one product or grid"
        )
    p, m = pan.transform, ms.transform
    for what, t in (("PAN", p), ("MS", m)):
        if not all(map(math.isfinite, t)) or 0 in (t.a, t.e):
            raise ValueError(
                f"{what} has an impossible geotransform ({t.a:.6g} by {t.e:.6g} per pixel): mend the file"
            )
        if max(abs(t.b), abs(t.d)) > 1e-6 * max(abs(t.a), abs(t.e)):
            raise ValueError(
                f"{what} has a rotated grid ({t.b:.3g}, {t.d:.3g}): gdalwarp both to a north-up grid"
            )
    found = (m.a / p.a, m.e / p.e)
    if any(abs(r / sensor.ratio - 1) > 1e-3 for r in found):
        raise ValueError(
            f"MS pixels are {found[0]:.4g} x {found[1]:.4g} PAN pixels large, expected {sensor.ratio} for "
            f"{sensor.name}: check the geotransforms (PAN {p.a:.6g}, MS {m.a:.6g} per pixel) or choose another sensor"
        )
    return str(pan.crs or "no CRS"), ((m.c - p.c) / p.a, (m.f - p.f) / p.e)


def dtypes(
    pan: rasterio.DatasetReader, ms: rasterio.DatasetReader, sensor: sensors.Sensor
) -> tuple[sensors.Sensor, str | None]:
    """Both files hold digital numbers of one kind.

    Returns:
        The sensor with the bit depth of the files, and a line to print if that is not the sensor's own.

    Raises:
        ValueError: complex numbers, or only one file is uint8.
    """
    kinds = {"PAN": pan.dtypes[0], "MS": ms.dtypes[0]}
    for what, dtype in kinds.items():
        if "complex" in dtype:
            raise ValueError(
                f"{what} holds {dtype} numbers, expected digital numbers such as uint16: convert it"
            )
    if (kinds["PAN"] == "uint8") != (kinds["MS"] == "uint8"):
        raise ValueError(
            f"PAN is {kinds['PAN']} and MS {kinds['MS']}: give both in the same digital numbers"
        )
    if kinds["MS"] == "uint8" and sensor.bits > 8:
        note = f"The files are uint8, {sensor.name} gives {sensor.bits} bit: using it with 8 bits."
        return sensors.with_bits(sensor, 8), note
    return sensor, None


class Values:
    """What :func:`values` looks at, of a pair or of one window; ``a + b`` is what it is of both."""

    def __init__(self, pair: Pair, pan_ok: torch.Tensor, ms_ok: torch.Tensor):
        self.valid = int(pair.valid.sum())
        self.bad, self.low, self.high = {}, {}, {}
        seen = pair.valid[
            :: pair.ratio, :: pair.ratio
        ]  # places where both images are 0 are nodata already
        self.dark = {
            "PAN": int(((pair.pan[0] == 0) & pair.valid).sum()),
            "MS": int(((pair.ms == 0).all(0) & seen).sum()),
        }
        for what, image, ok in (("PAN", pair.pan, pan_ok), ("MS", pair.ms, ms_ok)):
            pixels = image.flatten(1) if ok.all() else image[:, ok]
            finite = torch.isfinite(pixels)
            self.bad[what] = 0 if finite.all() else int((~finite).any(0).sum())
            if self.bad[what] or not pixels.numel():
                pixels = torch.cat(
                    [pixels, pixels.new_full((len(pixels), 1), torch.nan)], 1
                ).numpy()
                finite = np.isfinite(pixels)
                self.low[what] = pixels.min(1, initial=np.inf, where=finite)
                self.high[what] = pixels.max(1, initial=-np.inf, where=finite)
            else:
                self.low[what], self.high[what] = (
                    extreme.numpy() for extreme in pixels.aminmax(dim=1)
                )

    def __add__(self, other: Values) -> Values:
        both = copy.copy(self)
        both.valid = self.valid + other.valid
        both.dark = {what: self.dark[what] + other.dark[what] for what in self.dark}
        both.bad = {what: self.bad[what] + other.bad[what] for what in self.bad}
        both.low = {what: np.minimum(self.low[what], other.low[what]) for what in self.low}
        both.high = {what: np.maximum(self.high[what], other.high[what]) for what in self.high}
        return both


def values(seen: Values, sensor: sensors.Sensor, paths: tuple[Path, Path]) -> None:
    """Finite digital numbers within the sensor's bit depth, and something to see in them.

    Args:
        seen: of the whole pair.
        sensor: gives the bit depth.
        paths: of PAN and MS, for the message.

    Raises:
        ValueError: if not.
    """
    if not seen.valid:
        raise ValueError(
            f"{paths[0]} and {paths[1]} have no pixel in common that is not nodata: give another area"
        )
    for what, pixels in (("PAN", seen.valid), ("MS", seen.valid // sensor.ratio**2)):
        if seen.dark[what] > max(100, pixels // 1000):  # single ones may be shadow
            other = "MS" if what == "PAN" else "PAN"
            line = f"Note: {what} is 0 at {seen.dark[what]} pixels where {other} is not; if these are holes, declare 0 as"
            print(f"{line} its nodata (gdal_edit -a_nodata 0), or they are taken for data.")
    peak = 2**sensor.bits - 1
    for what in ("PAN", "MS"):
        if seen.bad[what]:
            raise ValueError(
                f"{what} has {seen.bad[what]} NaN or infinite pixels that are not nodata: mark or fill them"
            )
        low, high = float(seen.low[what].min()), float(seen.high[what].max())
        if low < 0 or high > peak:
            raise ValueError(
                f"{what} has values from {low:.6g} to {high:.6g}, {sensor.name} gives 0 to {peak} ({sensor.bits} bit): "
                "give unscaled digital numbers, set the nodata value of the file, or, if its numbers have more bits, "
                "describe the sensor with them (clippan-lite sensors --show NAME prints one to copy)"
            )
        if (seen.low[what] == seen.high[what]).all():
            raise ValueError(
                f"{what} holds one value only ({high:.6g}): nothing can be fused, give another file"
            )
        if high <= 1:
            raise ValueError(
                f"{what} has values up to {high:.4g} only: give digital numbers (0 to {peak}), not 0 to 1"
            )


def shift_of(pair: Pair, advise: bool = True) -> Shift:
    """How far MS lies off PAN; printed, with what to do about it unless ``advise`` is off.

    Raises:
        ValueError: PAN and MS show different places: their gradients have nothing in common.
    """
    shift = estimate(pair)
    if pair.ms[0].numel() >= MANY and 0 < shift.correlation < DIFFERENT:
        raise ValueError(
            f"PAN and MS of {pair.name} do not show the same place within {SEARCH} PAN pixels (multiple correlation "
            f"{shift.correlation:.2f}, real pairs have .75 and more): give files of one place"
        )
    print(alignment(pair, shift, advise))
    return shift


def alignment(pair: Pair, shift: Shift, advise: bool = True) -> str:
    """One line that says how far MS lies off PAN, and what to do about it unless ``advise`` is off."""
    correlation = f"multiple correlation {shift.correlation:.2f}".replace(" 0.", " .")
    if 0 < shift.correlation < DIFFERENT:
        return f"Registration: PAN and MS hardly agree ({correlation}): DO THEY SHOW ONE PLACE?"
    if not shift.reliable:
        return (
            f"Registration: these images do not tell it within {SEARCH} PAN pixels ({correlation})"
        )
    line = f"Registration: MS lies {shift} of PAN (PAN pixels; {pair.convention} convention), {correlation}"
    if any(pair.pan_shift):
        line += f", after PAN was shifted {Shift(*pair.pan_shift, 1.0)}"
    if shift.spread > UNEVEN:
        return (
            f"{line}; corners of the image differ by {shift.spread:.1f}: no single shift mends that"
        )
    if not advise or max(abs(shift.down), abs(shift.right)) <= TELLING:
        return line
    other, half = ("geo", 0.5) if pair.convention == "benchmark" else ("benchmark", -0.5)
    if pair.ratio % 2 == 0 and max(abs(shift.down - half), abs(shift.right - half)) <= TELLING:
        return f"{line}; convention {other} fits, or register (--register, in notebooks -p register true)"
    return f"{line}; register (--register, in notebooks -p register true) shifts PAN onto MS"
