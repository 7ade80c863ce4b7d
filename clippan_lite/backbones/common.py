"""What every fusion network shares: the interpolated MS, checks of its input, a zero start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from clippan_lite.physics.resample import interpolate

if TYPE_CHECKING:
    from clippan_lite.physics.sensors import Sensor


class Batch(Protocol):
    """The part of :class:`clippan_lite.losses.Batch` that networks look at."""

    ms: torch.Tensor
    pan: torch.Tensor
    sensor: Sensor
    classical: torch.Tensor | None


class Fusion(nn.Module):
    """Base of the fusion networks. A subclass defines ``residual(exp, pan)``.

    ``forward(ms, pan)`` takes MS ``(B, C, h, w)`` and PAN ``(B, 1, h * ratio, w * ratio)``, both
    scaled alike to about [0, 1], and returns HRMS ``(B, C, h * ratio, w * ratio)``.

    Args:
        bands, ratio, convention: as in :func:`clippan_lite.backbones.create`. Every network takes
            these first; its own docstring names only what it takes besides.

    Attributes:
        reach: how far away, in PAN pixels, an output pixel looks at most, back-projection left
            out. Tiles overlap by it.
        grid: side in PAN pixels of attention windows and the like, which begin at its multiples,
            and so do tiles.
        rounds: of back-projection onto MS as the last layer. 0 leaves it out.
        methods: classical methods whose results the network mends. Empty for a network that begins
            at EXP.
        options: what it was made with, set by :func:`clippan_lite.backbones.create`.
        takes_any: whether one set of weights serves any number of bands, ratio and convention.
    """

    reach: int = 32
    grid: int = 1
    rounds: int = 0
    methods: tuple[str, ...] = ()
    takes_any: bool = False

    def __init__(self, bands: int, ratio: int, convention: str):
        super().__init__()
        self.bands, self.ratio, self.convention = bands, ratio, convention
        self.options: dict[str, Any] = {}

    def interpolate(self, ms: torch.Tensor) -> torch.Tensor:
        """EXP of a patch: interpolated MS whose borders are replicated, not wrapped around."""
        with torch.autocast(ms.device.type, enabled=False):  # bfloat16 would round EXP to 8 bits
            return interpolate(ms, self.ratio, self.convention)

    def forward(
        self,
        ms: torch.Tensor,
        pan: torch.Tensor,
        sensor: Sensor | None = None,
        classical: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Fuse one batch.

        Args:
            ms: ``(B, C, h, w)``, scaled to about [0, 1].
            pan: ``(B, 1, h * ratio, w * ratio)``, scaled alike.
            sensor: gives the MTF gains that back-projection needs.
            classical: results of ``methods``, one after the other along the bands,
                scaled alike.

        Raises:
            ValueError: shapes that do not fit, or a missing sensor or classical result.
        """
        expected = (ms.shape[0], 1, ms.shape[-2] * self.ratio, ms.shape[-1] * self.ratio)
        if ms.ndim != 4 or ms.shape[1] != self.bands or tuple(pan.shape) != expected:
            raise ValueError(
                f"expected MS (B, {self.bands}, h, w) and PAN (B, 1, {self.ratio}h, "
                f"{self.ratio}w), found MS {tuple(ms.shape)} and PAN {tuple(pan.shape)}"
            )
        lacks_sensor = sensor is None and (self.rounds > 0 or bool(self.methods))
        if lacks_sensor or (self.methods and classical is None):
            raise ValueError(
                f"{type(self).__name__} needs a sensor, and results of {self.methods or 'none'}: "
                "call network(ms, pan, sensor, classical), or fuse(pair, network)"
            )
        fused = self.sharpen(ms, pan, sensor, classical)
        if not self.rounds or sensor is None:
            return fused
        from clippan_lite.physics.back_projection import back_project  # few networks need it

        with torch.autocast(ms.device.type, enabled=False):
            return back_project(fused.float(), ms, sensor, self.convention, self.rounds)

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """What `forward` takes of a batch: MS and PAN, and more where this network needs more."""
        if self.rounds or self.methods:
            return batch.ms, batch.pan, batch.sensor, batch.classical
        return batch.ms, batch.pan

    def sharpen(
        self,
        ms: torch.Tensor,
        pan: torch.Tensor,
        sensor: Sensor | None = None,
        classical: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Fuse one batch without the last layer. Arguments and result are those of `forward`."""
        exp = self.interpolate(ms)
        residual = self.residual(exp, pan)
        if residual.shape != exp.shape:
            raise ValueError(
                f"{type(self).__name__}.residual returns {tuple(residual.shape)}, expected EXP's "
                f"{tuple(exp.shape)}: keep the size (padding), return all bands"
            )
        return exp + residual

    def residual(self, exp: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """What the network adds to EXP ``(B, C, H, W)``, from it and PAN ``(B, 1, H, W)``."""
        raise NotImplementedError


class Block(nn.Sequential):
    """Residual block of two convolutions of 3 x 3 pixels."""

    def __init__(self, width: int):
        super().__init__(conv(width, width), nn.ReLU(inplace=True), conv(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, width, H, W)``, shape unchanged."""
        return torch.relu_(x + super().forward(x))


def conv(inputs: int, outputs: int, size: int = 3) -> nn.Conv2d:
    """Convolution that keeps the size. Borders are replicated: zeros would look like shadow."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, padding_mode="replicate")


def silence(layer: nn.Conv2d) -> nn.Conv2d:
    """Set a last layer to zero, so that the untrained network returns EXP."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def pad_to_grid(x: torch.Tensor, grid: int) -> torch.Tensor:
    """Replicate the lower and right border until both sides are multiples of ``grid``."""
    height, width = x.shape[-2:]
    return nn.functional.pad(x, (0, -width % grid, 0, -height % grid), mode="replicate")


def box_mean(x: torch.Tensor, size: int) -> torch.Tensor:
    """Mean over ``size`` x ``size`` pixels (odd), borders replicated.

    It rounds otherwise than :func:`clippan_lite.physics.windows.box_mean`, which metrics use; saved
    networks were trained with this one.
    """
    x = nn.functional.pad(x, (size // 2,) * 4, mode="replicate")
    rows = nn.functional.avg_pool2d(x, (size, 1), stride=1)
    return nn.functional.avg_pool2d(rows, (1, size), stride=1)
