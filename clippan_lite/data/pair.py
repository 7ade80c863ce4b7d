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
        pan_shift: PAN pixels (down, right) that PAN was shifted by to fit MS, see
            :mod:`clippan_lite.data.registration`.
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
        pan = self.pan[0] if self.valid is None else self.pan[0][self.valid]
        if not pan.numel():
            raise ValueError(
                f"{self.name} holds nodata only: expected some pixels where PAN and MS are valid"
            )
        if not (torch.isfinite(pan).all() and torch.isfinite(self.ms).all()):
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
        georef={},
    )


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
    ms, pan = degrade.wald(pair.ms, pair.pan, pair.sensor, pair.convention)
    height, width = pan.shape[-2:]
    valid = None
    if pair.mask is not None:
        # Nodata spreads as far as the filter reaches: a pixel one scale down is valid only where
        # everything around it is.
        holes = (~pair.mask)[None, None].float()
        reach = 2 * pair.ratio
        holes = F.max_pool2d(holes, 2 * reach + 1, stride=1, padding=reach)
        valid = F.max_pool2d(holes, pair.ratio)[0, 0, :height, :width] == 0
    return replace(
        pair,
        ms=ms,
        pan=pan,
        truth=pair.ms[:, :height, :width],
        valid=valid,
        name=f"{pair.name}_reduced",
        georef={},
    )
