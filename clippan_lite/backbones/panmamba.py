"""PanMamba: selective state-space scans over the pixels, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from clippan_lite.backbones.common import Fusion, conv, silence


def scan(decay: torch.Tensor, drive: torch.Tensor) -> torch.Tensor:
    """``h[t] = exp(-decay[t]) * h[t - 1] + drive[t]`` along the last axis, ``h[-1] = 0``.

    In closed form: with L the running sum of ``decay``, h = exp(-L) * running sum of (exp(L) * drive). Float32 holds
    exp(L) up to L = 88; callers bound decay times length by that.
    """
    total = decay.cumsum(-1)
    return torch.exp(-total) * (torch.exp(total) * drive).cumsum(-1)


class SelectiveScan(nn.Module):
    """One Mamba block on images: what is kept and what is let in at a pixel depends on the features there.

    Half of the channels are scanned forwards, half backwards, along rows or columns cut into segments, so that tiles
    of an image agree with the whole.
    """

    def __init__(self, width: int, states: int, segment: int, along: str):
        super().__init__()
        self.states, self.segment, self.along = states, segment, along
        self.enter, self.leave = conv(width, 2 * width, 1), conv(width, width, 1)
        self.local = nn.Conv2d(width, width, 3, padding=1, groups=width, padding_mode="replicate")
        self.rate = conv(width, width, 1)
        self.let_in, self.let_out = conv(width, states, 1), conv(width, states, 1)
        self.slowness = nn.Parameter(torch.linspace(2, -2, states))
        self.skip = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor, guide: torch.Tensor | None = None) -> torch.Tensor:
        """``(B, D, H, W)``; with a ``guide`` of that shape, it says what is let in, kept and shown."""
        inner, gate = self.enter(x).chunk(2, 1)
        inner = F.silu(self.local(inner))
        guide = inner if guide is None else guide
        # 80 over a segment's length keeps exp() in range.
        rate = 80 / self.segment * torch.sigmoid(self.rate(guide))
        let_in, let_out = self.let_in(guide), self.let_out(guide)
        decay = rate[:, :, None] * torch.sigmoid(self.slowness)[None, None, :, None, None]
        drive = (rate * inner)[:, :, None] * let_in[:, None]
        states = self._scanned(decay.float(), drive.float()).to(
            drive.dtype
        )  # bfloat16 would not do for sums
        shown = (states * let_out[:, None]).sum(2) + self.skip[:, None, None] * inner
        return x + self.leave(shown * F.silu(gate))

    def _scanned(self, decay: torch.Tensor, drive: torch.Tensor) -> torch.Tensor:
        """Both ``(B, D, states, H, W)``; H and W are multiples of the segment."""
        if self.along == "columns":
            decay, drive = decay.mT, drive.mT
        cut = (*drive.shape[:-1], -1, self.segment)
        half = drive.shape[1] // 2
        decay, drive = decay.reshape(cut), drive.reshape(cut)
        ahead = scan(decay[:, :half], drive[:, :half])
        back = scan(decay[:, half:].flip(-1), drive[:, half:].flip(-1)).flip(-1)
        states = torch.cat([ahead, back], 1).flatten(-2)
        return states.mT if self.along == "columns" else states


class PanMamba(Fusion):
    """After He et al., "Pan-Mamba: Effective pan-sharpening with State Space Model" (2024).

    Features of MS and PAN are scanned on their own with half of their channels swapped, then MS's features guided by
    PAN's. Differs from it in scans inside segments of rows and columns, in a closed form instead of a fused kernel, in
    width and depth, in replicated borders and in the zero start.

    Args:
        bands, ratio, convention: as in :func:`clippan_lite.backbones.create`.
        width: channels inside, even.
        states: numbers remembered per channel.
        segment: pixels of a row or column that are scanned together.
    """

    def __init__(
        self,
        bands: int,
        ratio: int,
        convention: str,
        width: int = 16,
        states: int = 2,
        segment: int = 32,
    ):
        super().__init__(bands, ratio, convention)
        self.grid, self.reach = segment, 2 * segment + 8
        self.head_ms, self.head_pan = conv(bands, width), conv(1, width)
        self.swapped_ms = SelectiveScan(width, states, segment, "rows")
        self.swapped_pan = SelectiveScan(width, states, segment, "rows")
        self.cross = nn.ModuleList(
            SelectiveScan(width, states, segment, along) for along in ("columns", "rows")
        )
        self.smooth = nn.Sequential(conv(width, width), nn.ReLU(), conv(width, width))
        self.tail = silence(conv(width, bands))

    def residual(self, exp: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """Details to inject, ``(B, C, H, W)``."""
        height, width = pan.shape[-2:]
        pad = (0, -width % self.grid, 0, -height % self.grid)
        exp, pan = F.pad(exp, pad, mode="replicate"), F.pad(pan, pad, mode="replicate")
        ms, detail = self.head_ms(exp), self.head_pan(pan)
        half = ms.shape[1] // 2
        ms, detail = (
            self.swapped_ms(torch.cat([ms[:, :half], detail[:, half:]], 1)),
            self.swapped_pan(torch.cat([detail[:, :half], ms[:, half:]], 1)),
        )
        for cross in self.cross:
            ms = cross(ms, detail)
        return self.tail(ms + self.smooth(ms))[..., :height, :width]
