"""LFormer: attention is computed once, then evolved by one-dimensional convolutions."""

import torch
from torch import nn

from clippan_lite.backbones.common import Fusion, conv, pad_to_grid, silence


class LFormer(Fusion):
    """After Hou et al., "Linearly-evolved Transformer for Pan-sharpening" (ACM MM 2024).

    Queries come from PAN's features, keys and values from those of both images. The attention
    between the pixels of a window is found once; a small 1-D convolution then changes it from layer
    to layer. Differs from the paper in attention inside windows at one scale, in where queries and
    keys come from, in width and depth, in replicated borders and in the zero start.

    Args:
        width: channels inside, a multiple of ``heads``.
        layers: layers that use the evolving attention.
        heads: attention heads.
        window: side in pixels of a window; windows start at multiples of it.
    """

    def __init__(
        self,
        bands: int,
        ratio: int,
        convention: str,
        width: int = 24,
        layers: int = 3,
        heads: int = 2,
        window: int = 8,
    ):
        super().__init__(bands, ratio, convention)
        self.grid, self.heads, self.reach = window, heads, layers * (window + 1) + 2
        self.head_pan, self.head = conv(1, width), conv(bands + 1, width)
        self.query, self.key = conv(width, width, 1), conv(width, width, 1)
        self.value = nn.ModuleList(conv(width, width, 1) for _ in range(layers))
        self.join = nn.ModuleList(conv(width, width, 1) for _ in range(layers))
        self.local = nn.ModuleList(
            nn.Sequential(conv(width, width), nn.GELU(), conv(width, width)) for _ in range(layers)
        )
        self.evolve = nn.ModuleList(
            nn.Conv1d(heads, heads, 3, padding=1) for _ in range(layers - 1)
        )
        self.tail = silence(conv(width, bands))

    def _windows(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, D, H, W)`` as ``(windows, heads, pixels, D / heads)``."""
        s = self.grid
        x = x.unflatten(3, (-1, s)).unflatten(2, (-1, s)).unflatten(1, (self.heads, -1))
        return x.permute(0, 3, 5, 1, 4, 6, 2).flatten(0, 2).flatten(2, 3)

    def _image(self, x: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Back from :meth:`_windows`."""
        s, (b, _, h, w) = self.grid, shape
        x = x.reshape(b, h // s, w // s, self.heads, s, s, -1)
        return x.permute(0, 3, 6, 1, 4, 2, 5).reshape(shape)

    def residual(self, exp: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """Details to inject, ``(B, C, H, W)``."""
        both = pad_to_grid(torch.cat([exp, pan], 1), self.grid)
        x = torch.relu(self.head(both))
        query = self._windows(self.query(torch.relu(self.head_pan(both[:, -1:]))))
        key = self._windows(self.key(x))
        attention = (query @ key.mT / key.shape[-1] ** 0.5).softmax(-1)
        layers = zip(self.value, self.join, self.local, strict=True)
        for layer, (value, join, local) in enumerate(layers):
            if layer:
                rows = attention.transpose(1, 2)  # (windows, pixels, heads, pixels)
                change = self.evolve[layer - 1](rows.flatten(0, 1)).view(rows.shape)
                attention = attention + change.transpose(1, 2)
            x = x + join(self._image(attention @ self._windows(value(x)), x.shape))
            x = x + local(x)
        return self.tail(x)[..., : pan.shape[-2], : pan.shape[-1]]
