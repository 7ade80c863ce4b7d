"""PanMamba: selective state-space scans over the pixels, in plain PyTorch."""

import torch
from torch import nn

from clippan_lite.backbones.common import Fusion, conv, pad_to_grid, silence


def scan(decay: torch.Tensor, drive: torch.Tensor) -> torch.Tensor:
    """``h[t] = exp(-decay[t]) * h[t - 1] + drive[t]`` along the last axis, ``h[-1] = 0``.

    In closed form: with L the running sum of ``decay``, h = exp(-L) * running sum of
    (exp(L) * drive). Float32 holds exp(L) up to L = 88, so callers keep decay times length below.
    """
    total = decay.cumsum(-1)
    return torch.exp(-total) * (torch.exp(total) * drive).cumsum(-1)


class SelectiveScan(nn.Module):
    """One Mamba block on images: the features at a pixel decide what it keeps and what it lets in.

    Half of the channels are scanned forwards, half backwards, along rows (axis -1) or columns
    (axis -2) that are cut into segments, so that tiles of an image agree with the whole.
    """

    def __init__(self, width: int, states: int, segment: int, axis: int):
        super().__init__()
        self.segment, self.axis = segment, axis
        self.enter, self.leave = conv(width, 2 * width, 1), conv(width, width, 1)
        self.local = nn.Conv2d(width, width, 3, padding=1, groups=width, padding_mode="replicate")
        self.rate = conv(width, width, 1)
        self.let_in, self.let_out = conv(width, states, 1), conv(width, states, 1)
        self.slowness = nn.Parameter(torch.linspace(2, -2, states))
        self.skip = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor, guide: torch.Tensor | None = None) -> torch.Tensor:
        """``(B, D, H, W)``. A ``guide`` of that shape decides what is let in, kept and shown."""
        inner, gate = self.enter(x).chunk(2, 1)
        inner = nn.functional.silu(self.local(inner))
        guide = inner if guide is None else guide
        # 80 over a segment's length keeps exp() in range.
        rate = 80 / self.segment * torch.sigmoid(self.rate(guide))
        let_in, let_out = self.let_in(guide), self.let_out(guide)
        decay = rate[:, :, None] * torch.sigmoid(self.slowness)[None, None, :, None, None]
        drive = (rate * inner)[:, :, None] * let_in[:, None]
        # In float32, because bfloat16 is too coarse to sum in.
        states = self._scanned(decay.float(), drive.float()).to(drive.dtype)
        shown = (states * let_out[:, None]).sum(2) + self.skip[:, None, None] * inner
        return x + self.leave(shown * nn.functional.silu(gate))

    def _scanned(self, decay: torch.Tensor, drive: torch.Tensor) -> torch.Tensor:
        """Both ``(B, D, states, H, W)``; H and W are multiples of the segment."""
        decay, drive = (
            x.movedim(self.axis, -1).unflatten(-1, (-1, self.segment)) for x in (decay, drive)
        )
        half = drive.shape[1] // 2
        ahead = scan(decay[:, :half], drive[:, :half])
        back = scan(decay[:, half:].flip(-1), drive[:, half:].flip(-1)).flip(-1)
        return torch.cat([ahead, back], 1).flatten(-2).movedim(-1, self.axis)


class PanMamba(Fusion):
    """After He et al., "Pan-Mamba: Effective pan-sharpening with State Space Model" (2024).

    Features of MS and PAN are scanned on their own with half of their channels swapped, then MS's
    features guided by PAN's. Differs from it in scans inside segments of rows and columns, in a
    closed form instead of a fused kernel, in width and depth, in replicated borders and in the zero
    start.

    Args:
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
        self.swapped_ms = SelectiveScan(width, states, segment, axis=-1)
        self.swapped_pan = SelectiveScan(width, states, segment, axis=-1)
        self.cross = nn.ModuleList(SelectiveScan(width, states, segment, axis) for axis in (-2, -1))
        self.smooth = nn.Sequential(conv(width, width), nn.ReLU(), conv(width, width))
        self.tail = silence(conv(width, bands))

    def residual(self, exp: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """Details to inject, ``(B, C, H, W)``."""
        ms = self.head_ms(pad_to_grid(exp, self.grid))
        detail = self.head_pan(pad_to_grid(pan, self.grid))
        (ms_kept, ms_given), (kept, given) = ms.chunk(2, 1), detail.chunk(2, 1)
        ms = self.swapped_ms(torch.cat([ms_kept, given], 1))
        detail = self.swapped_pan(torch.cat([kept, ms_given], 1))
        for cross in self.cross:
            ms = cross(ms, detail)
        return self.tail(ms + self.smooth(ms))[..., : pan.shape[-2], : pan.shape[-1]]
