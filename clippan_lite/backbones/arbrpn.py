"""ArbRPN: the bands as a sequence, read forwards and backwards; either way the same weights serve any number."""

from __future__ import annotations

import torch
from torch import nn

from clippan_lite.backbones.common import Fusion, conv, silence


class Cell(nn.Module):
    """One step of the recurrence: a band, PAN and what was seen so far become what has been seen."""

    def __init__(self, width: int):
        super().__init__()
        self.merge = conv(width + 2, width)
        self.refine = nn.Sequential(conv(width, width), nn.ReLU(), conv(width, width))

    def forward(self, band: torch.Tensor, pan: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """``band`` and ``pan`` are ``(B, 1, H, W)``, ``seen`` and the result ``(B, width, H, W)``."""
        x = torch.relu(self.merge(torch.cat([band, pan, seen], 1)))
        return torch.relu(x + self.refine(x))


class ArbRPN(Fusion):
    """Bidirectional recurrence over the bands; no weight depends on their number.

    After Chen et al., "ArbRPN: A Bidirectional Recurrent Pansharpening Network for Multispectral Images With Arbitrary
    Numbers of Bands" (TGRS 2022). Differs from it in one pass over the bands instead of several with increasing depth,
    in width, in replicated borders and in the zero start. Cost grows with the number of bands.

    Args:
        bands, ratio, convention: as in :func:`clippan_lite.backbones.create`.
        width: channels of each direction's memory.
    """

    def __init__(self, bands: int, ratio: int, convention: str, width: int = 12):
        super().__init__(bands, ratio, convention)
        self.width = width
        self.forwards, self.backwards = Cell(width), Cell(width)
        self.tail = silence(conv(2 * width, 1))

    @property
    def reach(self) -> int:
        """Three pixels per band, since a cell's convolutions follow one another along the bands."""
        return 3 * self.bands + 8

    def residual(self, exp: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """Details to inject, ``(B, C, H, W)``."""
        bands = exp.split(1, 1)
        start = exp.new_zeros(exp.shape[0], self.width, *exp.shape[-2:])
        seen = {True: [], False: []}
        for ahead, cell in ((True, self.forwards), (False, self.backwards)):
            state = start
            for band in bands if ahead else bands[::-1]:
                state = cell(band, pan, state)
                seen[ahead].append(state)
        pairs = zip(seen[True], seen[False][::-1], strict=True)
        return torch.cat([self.tail(torch.cat(pair, 1)) for pair in pairs], 1)
