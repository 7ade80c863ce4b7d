"""FusionNet: a residual network on the difference between PAN and the interpolated MS."""

from __future__ import annotations

import torch
from torch import nn

from clippan_lite.backbones.common import Fusion, conv, silence


class FusionNet(Fusion):
    """Deng et al., "Detail Injection-Based Deep Convolutional Neural Networks for Pansharpening" (TGRS 2021).

    Input is PAN repeated over the bands minus EXP, as in the paper: details enter, the spectrum stays outside. Differs
    from it in being lighter (24 channels instead of 32, two residual blocks instead of four), in replicated borders
    and in the zero start.

    Args:
        bands, ratio, convention: as in :func:`clippan_lite.backbones.create`.
        width: channels inside.
        blocks: residual blocks of two convolutions.
    """

    def __init__(self, bands: int, ratio: int, convention: str, width: int = 24, blocks: int = 2):
        super().__init__(bands, ratio, convention)
        self.reach = 2 * blocks + 2
        self.head = conv(bands, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(conv(width, width), nn.ReLU(), conv(width, width)) for _ in range(blocks)
        )
        self.tail = silence(conv(width, bands))

    def residual(self, exp: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """Details to inject, ``(B, C, H, W)``."""
        x = torch.relu(self.head(pan - exp))
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return self.tail(x)
