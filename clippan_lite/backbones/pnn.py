"""PNN: three plain convolutions, the first network of the field, in its later residual form."""

import torch
from torch import nn

from clippan_lite.backbones.common import Fusion, conv, silence


class PNN(Fusion):
    """Masi et al., "Pansharpening by Convolutional Neural Networks" (Remote Sensing 2016).

    It learns a residual, as in Scarpa et al. 2018. Differs from both in being narrower (32 and 16
    channels instead of 64 and 32, or 48 and 32), in having no spectral index among its inputs, in
    replicated borders and in the zero start.

    Args:
        width: channels of the first layer; the second has half.
    """

    def __init__(self, bands: int, ratio: int, convention: str, width: int = 32):
        super().__init__(bands, ratio, convention)
        self.body = nn.Sequential(
            conv(bands + 1, width, 9),
            nn.ReLU(),
            conv(width, width // 2, 5),
            nn.ReLU(),
            silence(conv(width // 2, bands, 5)),
        )

    def residual(self, exp: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """Details to inject, ``(B, C, H, W)``."""
        return self.body(torch.cat([exp, pan], 1))
