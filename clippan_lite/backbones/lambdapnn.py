"""Lambda-PNN: a small residual network whose blocks weigh channels and places by attention."""

import torch
from torch import nn

from clippan_lite.backbones.common import Fusion, box_mean, conv, silence


class Attention(nn.Module):
    """Weights in [0, 1] from the neighbourhood, first per channel, then per place, as in CBAM.

    Channels are weighed by local means instead of the image's: an image that is fused in tiles has
    no mean of its own.
    """

    def __init__(self, width: int, window: int):
        super().__init__()
        self.window = window
        self.channels = nn.Sequential(
            conv(width, width // 4, 1), nn.ReLU(), conv(width // 4, width, 1)
        )
        self.places = conv(2, 1, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Weighed features, shape unchanged."""
        x = x * torch.sigmoid(self.channels(box_mean(x, self.window)))
        summary = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.places(summary))


class LambdaPNN(Fusion):
    """Residual blocks with channel and spatial attention.

    After Ciotola et al., "Unsupervised Deep Learning-Based Pansharpening With Jointly Enhanced
    Spectral and Spatial Fidelity" (TGRS 2023). Differs from it in attention from means over a
    neighbourhood (no maxima over the image), in width, in replicated borders and in the zero start.
    That paper's losses are no part of it.

    Args:
        width: channels inside, a multiple of 4.
        blocks: residual attention blocks.
        window: side in pixels of the neighbourhood (odd).
    """

    def __init__(
        self,
        bands: int,
        ratio: int,
        convention: str,
        width: int = 24,
        blocks: int = 2,
        window: int = 17,
    ):
        super().__init__(bands, ratio, convention)
        self.reach = 4 + blocks * (window // 2 + 5)
        self.head = conv(bands + 1, width, 5)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                conv(width, width), nn.ReLU(), conv(width, width), Attention(width, window)
            )
            for _ in range(blocks)
        )
        self.tail = silence(conv(width, bands, 5))

    def residual(self, exp: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """Details to inject, ``(B, C, H, W)``."""
        x = torch.relu(self.head(torch.cat([exp, pan], 1)))
        for block in self.blocks:
            x = x + block(x)
        return self.tail(x)
