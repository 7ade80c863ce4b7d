"""ArbRPN: reads the bands as a sequence, so that the same weights serve any number of bands."""

import torch
from torch import nn

from clippan_lite.backbones.common import Block, Fusion, conv, silence


class Cell(nn.Module):
    """One step of the recurrence: updates the memory with one band and PAN."""

    def __init__(self, width: int):
        super().__init__()
        self.merge = conv(width + 2, width)
        self.refine = Block(width)

    def forward(self, band: torch.Tensor, pan: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """``band`` and ``pan`` are ``(B, 1, H, W)``, both memories ``(B, width, H, W)``."""
        return self.refine(torch.relu(self.merge(torch.cat([band, pan, memory], 1))))


class ArbRPN(Fusion):
    """Bidirectional recurrence over the bands; no weight depends on their number.

    After Chen et al., "ArbRPN: A Bidirectional Recurrent Pansharpening Network for Multispectral
    Images With Arbitrary Numbers of Bands" (TGRS 2022). Differs from it in one pass over the bands
    instead of several with increasing depth, in width, in replicated borders and in the zero start.
    Its cost grows with the number of bands.

    Args:
        width: channels of each direction's memory.
    """

    def __init__(self, bands: int, ratio: int, convention: str, width: int = 12):
        super().__init__(bands, ratio, convention)
        self.reach = 3 * bands + 8  # a cell's three convolutions follow one another along the bands
        self.width = width
        self.forwards, self.backwards = Cell(width), Cell(width)
        self.tail = silence(conv(2 * width, 1))

    def residual(self, exp: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """Details to inject, ``(B, C, H, W)``."""
        bands = exp.split(1, 1)
        ahead = self._read(self.forwards, bands, pan)
        back = self._read(self.backwards, bands[::-1], pan)[::-1]
        pairs = zip(ahead, back, strict=True)
        return torch.cat([self.tail(torch.cat(pair, 1)) for pair in pairs], 1)

    def _read(
        self, cell: Cell, bands: tuple[torch.Tensor, ...], pan: torch.Tensor
    ) -> list[torch.Tensor]:
        """The memory after each band, in the order of reading."""
        memories = [pan.new_zeros(pan.shape[0], self.width, *pan.shape[-2:])]
        for band in bands:
            memories.append(cell(band, pan, memories[-1]))
        return memories[1:]
