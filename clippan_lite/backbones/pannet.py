"""PanNet: a residual network that sees high frequencies only, whatever a sensor's brightness."""

import torch
from torch import nn

from clippan_lite.backbones.common import Block, Fusion, box_mean, conv, silence


class PanNet(Fusion):
    """Yang et al., "PanNet: A Deep Network Architecture for Pan-Sharpening" (ICCV 2017).

    PAN and MS enter as high-pass images, and the interpolated MS is added at the end, as in the
    paper. Differs from it in taking the high-pass of the interpolated MS instead of a learned
    upsampling, in having no batch normalisation, in being lighter (24 channels instead of 32, three
    residual blocks instead of four), in replicated borders and in the zero start.

    Args:
        width: channels inside.
        blocks: residual blocks.
        window: side in pixels of the mean that is taken off (odd).
    """

    def __init__(
        self,
        bands: int,
        ratio: int,
        convention: str,
        width: int = 24,
        blocks: int = 3,
        window: int = 5,
    ):
        super().__init__(bands, ratio, convention)
        self.window, self.reach = window, window // 2 + 2 * blocks + 2
        self.head = conv(bands + 1, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.tail = silence(conv(width, bands))

    def residual(self, exp: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """Details to inject, ``(B, C, H, W)``."""
        both = torch.cat([exp, pan], 1)
        high_pass = both - box_mean(both, self.window)
        return self.tail(self.blocks(torch.relu(self.head(high_pass))))
