"""A PAN / MS pair in memory, and the pairs that can be made from it: a part, or one scale down."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from clippan_lite.physics import degrade
from clippan_lite.physics.windows import any_valid, fill

if TYPE_CHECKING:
    from pathlib import Path

    from clippan_lite.physics.sensors import Sensor


@dataclass
class Pair:
    """One PAN / MS pair in digital numbers (DN), with what is known about it.

    Attributes:
        ms: multispectral image, ``(C, h, w)`` float32, DN.
        pan: panchromatic image, ``(1, h * ratio, w * ratio)`` float32, DN.
        sensor: bands, ratio, bit depth and MTF gains.
        name: short name used in file names and titles.
        convention: where MS samples sit on PAN's grid, ``"benchmark"`` (phase ratio/2) or
            ``"geo"`` (centre-true).
        valid: ``(H, W)`` bool on PAN's grid, False where either image is nodata. None means all
            valid.
        truth: full-resolution MS ``(C, H, W)`` in DN where it is known (synthetic scenes), else
            None.
        dtype: numpy name of the data type on disk; results are written in it.
        georef: rasterio ``crs`` and ``transform`` of PAN, and ``nodata`` of MS; empty when unknown.
            ``rpcs``, ``gcps`` and ``tags`` where PAN's file has them.
        pan_shift: PAN pixels (down, right) that PAN was shifted by to fit MS, see
            :mod:`clippan_lite.data.registration`.
        band_holes: ``(C, h, w)`` bool on MS's grid, True where a band is nodata and others are not.
            ``ms`` holds values from nearby there, and results are 0 in that band. None means that
            no band has such pixels.
        files: that it was read from; results are not written over them.
    """

    ms: torch.Tensor
    pan: torch.Tensor
    sensor: Sensor
    name: str = "pair"
    convention: str = "benchmark"
    valid: torch.Tensor | None = None
    truth: torch.Tensor | None = None
    dtype: str = "uint16"
    georef: dict[str, Any] = field(default_factory=dict)  # as rasterio takes them
    pan_shift: tuple[float, float] = (0.0, 0.0)
    band_holes: torch.Tensor | None = None
    files: tuple[Path, ...] = ()

    @property
    def mask(self) -> torch.Tensor | None:
        """``valid``, or None when all pixels are valid."""
        return None if self.valid is None or bool(self.valid.all()) else self.valid

    @property
    def valid_pixels(self) -> torch.Tensor:
        """``valid``, or all True when it is None: ``(H, W)`` bool."""
        everywhere = torch.ones(self.pan.shape[1:], dtype=torch.bool)
        return everywhere if self.valid is None else self.valid

    @property
    def with_all_bands(self) -> torch.Tensor | None:
        """``mask`` without pixels where a band is nodata: what figures and training look at."""
        if self.band_holes is None or not self.band_holes.any():
            return self.mask
        return self.valid_pixels & ~enlarged(self.band_holes.any(0, keepdim=True), self.ratio)[0]

    @property
    def valid_results(self) -> torch.Tensor | None:
        """Where results hold data: ``valid``, or one of its kind for each band, ``(C, H, W)``."""
        if self.band_holes is None or not self.band_holes.any():
            return self.valid
        return self.valid_pixels & ~enlarged(self.band_holes, self.ratio)

    @property
    def least(self) -> float:
        """Smallest DN that results take: 0, or MS's smallest value where that is negative."""
        valid = True if self.mask is None else any_valid(self.mask, self.ratio)
        return float(self.ms.where(torch.as_tensor(valid), 0.0).min().clamp(max=0))

    @property
    def ratio(self) -> int:
        """PAN pixels per MS pixel, the same in both directions."""
        return self.sensor.ratio

    @property
    def bands(self) -> int:
        """Number of MS bands."""
        return self.ms.shape[0]

    @property
    def peak(self) -> float:
        """Largest DN the sensor can give, 2^bits - 1."""
        return float(2**self.sensor.bits - 1)

    @property
    def scale(self) -> float:
        """DN that networks see as 1: the 99.9th percentile of valid PAN.

        It comes from the image and not from the sensor: 16-bit products often fill a tenth of
        their range, and SSIM's constants would then be larger than the signal.
        """
        pan, ms = self.pan[0], self.ms
        if self.mask is not None:
            pan, ms = pan[self.mask], ms[:, any_valid(self.mask, self.ratio)]
        if not pan.numel():
            raise ValueError(
                f"{self.name} holds nodata only: expected some pixels where PAN and MS are valid"
            )
        if not (torch.isfinite(pan).all() and torch.isfinite(ms).all()):
            raise ValueError(f"{self.name} holds NaN or infinite pixels: mark them as nodata first")
        return float(np.percentile(pan.numpy(), 99.9)) or 1.0


def crop(pair: Pair, rows: slice, cols: slice) -> Pair:
    """A part of a pair, given in MS pixels, as a pair without georeference."""
    r = pair.ratio
    fine = tuple(slice(part.start * r, part.stop * r) for part in (rows, cols))
    return replace(
        pair,
        ms=pair.ms[:, rows, cols],
        pan=pair.pan[:, *fine],
        valid=None if pair.valid is None else pair.valid[fine],
        truth=None if pair.truth is None else pair.truth[:, *fine],
        band_holes=None if pair.band_holes is None else pair.band_holes[:, rows, cols],
        georef={},
    )


def hide_holes(fused: torch.Tensor, pair: Pair) -> torch.Tensor:
    """Set a result ``(C, H, W)`` on the pair's grid to 0, in place, where the pair is nodata."""
    valid = pair.valid_results
    return fused if valid is None else fused.masked_fill_(~valid.to(fused.device), 0.0)


def enlarged(image: torch.Tensor, ratio: int) -> torch.Tensor:
    """``(C, h, w)`` on PAN's grid, each pixel repeated."""
    return image.repeat_interleave(ratio, 1).repeat_interleave(ratio, 2)


def without_holes(pair: Pair) -> Pair:
    """The pair with nodata replaced by values from nearby, so that no filter sees a black hole."""
    if pair.mask is None or not pair.mask.any():
        return pair
    ms = fill(pair.ms, any_valid(pair.mask, pair.ratio))
    return replace(pair, ms=ms, pan=fill(pair.pan, pair.mask))


def reduced(pair: Pair) -> Pair:
    """The pair one scale down, by Wald's protocol.

    MS and PAN are degraded by the ratio, and the original MS becomes the truth.
    """
    filled = without_holes(pair)
    ms, pan = degrade.wald(filled.ms, filled.pan, pair.sensor, pair.convention)
    height, width = pan.shape[-2:]
    valid, mask = None, pair.with_all_bands
    if mask is not None:
        # Nodata spreads as far as the filter reaches: a pixel one scale down is valid only where
        # everything around it is.
        holes = (~mask)[None, None].float()
        reach = 2 * pair.ratio
        holes = F.max_pool2d(holes, 2 * reach + 1, stride=1, padding=reach)
        valid = F.max_pool2d(holes, pair.ratio)[0, 0, :height, :width] == 0
    return replace(
        pair,
        ms=ms,
        pan=pan,
        truth=pair.ms[:, :height, :width],
        valid=valid,
        band_holes=None,
        name=f"{pair.name}_reduced",
        georef={},
    )
