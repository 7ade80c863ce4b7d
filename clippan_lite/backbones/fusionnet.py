"""FusionNet: a residual network on the difference between PAN and the interpolated MS."""

import torch
from torch import nn

from clippan_lite.backbones.common import Block, Fusion, conv, silence


class FusionNet(Fusion):
    """Residual blocks that see PAN minus EXP.

    After Deng et al., "Detail Injection-Based Deep Convolutional Neural Networks for Pansharpening"
    (TGRS 2021): PAN is repeated over the bands, so details enter and the spectrum stays outside.
    Differs from it in being lighter (24 channels instead of 32, two residual blocks instead of
    four), in replicated borders and in the zero start.

    Args:
        width: channels inside.
        blocks: residual blocks.
    """

    def __init__(self, bands: int, ratio: int, convention: str, width: int = 24, blocks: int = 2):
        super().__init__(bands, ratio, convention)
        self.reach = 2 * blocks + 2
        self.head = conv(bands, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.tail = silence(conv(width, bands))

    def residual(self, exp: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """Details to inject, ``(B, C, H, W)``."""
        return self.tail(self.blocks(torch.relu_(self.head(pan - exp))))
