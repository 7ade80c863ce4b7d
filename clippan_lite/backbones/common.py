"""What every fusion network shares: the interpolated MS, input checks and a zero start."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from clippan_lite.physics import degrade

_PAD = 8  # MS pixels: as far as interp23's weights matter; it wraps around without this


class Fusion(nn.Module):
    """Base of the fusion networks: subclasses define ``residual(exp, pan)``, ``reach`` and, with windows, ``grid``.

    ``forward(ms, pan)`` takes MS ``(B, C, h, w)`` and PAN ``(B, 1, h * ratio, w * ratio)``, both scaled alike to about
    [0, 1], and returns HRMS ``(B, C, h * ratio, w * ratio)``.
    """

    reach = 32  # PAN pixels from which an output pixel draws, at most; tiles overlap by it
    grid = (
        1  # tiles of an image begin at multiples of it: the side of attention windows and the like
    )

    def __init__(self, bands: int, ratio: int, convention: str):
        super().__init__()
        self.bands, self.ratio, self.convention = bands, ratio, convention

    def interpolate(self, ms: torch.Tensor) -> torch.Tensor:
        """EXP of a patch: interpolated MS whose borders are replicated, not wrapped around."""
        pad, r = _PAD, self.ratio
        padded = F.pad(ms, (pad,) * 4, mode="replicate")
        with torch.autocast(ms.device.type, enabled=False):  # bfloat16 would round EXP to 8 bits
            return degrade.upsample(padded, r, self.convention)[
                ..., pad * r : -pad * r, pad * r : -pad * r
            ]

    def forward(self, ms: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """Fuse one batch."""
        expected = (ms.shape[0], 1, ms.shape[-2] * self.ratio, ms.shape[-1] * self.ratio)
        if ms.ndim != 4 or ms.shape[1] != self.bands or tuple(pan.shape) != expected:
            raise ValueError(
                f"expected MS (B, {self.bands}, h, w) and PAN (B, 1, {self.ratio}h, {self.ratio}w), "
                f"found MS {tuple(ms.shape)} and PAN {tuple(pan.shape)}"
            )
        exp = self.interpolate(ms)
        residual = self.residual(exp, pan)
        if residual.shape != exp.shape:
            found = f"{tuple(residual.shape)}, expected EXP's {tuple(exp.shape)}"
            raise ValueError(
                f"{type(self).__name__}.residual returns {found}: keep the size (padding), return all bands"
            )
        return exp + residual

    def residual(self, exp: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """What the network adds to EXP ``(B, C, H, W)``."""
        raise NotImplementedError


def conv(inputs: int, outputs: int, size: int = 3) -> nn.Conv2d:
    """Convolution that keeps the size; borders replicated, since zeros would look like deep shadow."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, padding_mode="replicate")


def silence(layer: nn.Conv2d) -> nn.Conv2d:
    """Set a last layer to zero, so that the untrained network returns EXP."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def box_mean(x: torch.Tensor, size: int) -> torch.Tensor:
    """Mean over ``size`` x ``size`` pixels (odd), borders replicated."""
    x = F.pad(x, (size // 2,) * 4, mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(x, (size, 1), stride=1), (1, size), stride=1)
