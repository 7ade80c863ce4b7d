"""Bandwise: one small network for all bands, which mends the mean of classical results."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import nn

from clippan_lite.backbones.common import Fusion, conv, silence
from clippan_lite.physics.degrade import degrade
from clippan_lite.physics.resample import interpolate
from clippan_lite.physics.windows import box_mean

if TYPE_CHECKING:
    from clippan_lite.physics.sensors import Sensor

TILE = 200  # PAN pixels
INPUTS = 8  # images that the network sees of each band
ROOM = 2  # how far MTF-GLP-HPM may leave the others, in units of how far they lie apart
TURNS = tuple(itertools.product(range(4), (False, True)))  # quarter turns, mirrored or not


class Bandwise(Fusion):
    """Residual network applied to each band alone, then back-projection onto MS.

    It begins with several classical results, and adds to their mean. Every band passes through the
    same weights, so one network takes any number of bands. No layer has a bias, so an image that is
    twice as bright gives a result that is twice as bright, whatever the sensor. The last layer is
    back-projection (:func:`clippan_lite.physics.back_projection.back_project`), and training goes
    through it. So the network shapes only what MS cannot see.

    Args:
        width: channels inside.
        blocks: residual blocks.
        eightfold: fuse with the mean over eight turned and mirrored copies, which is nearer to the
            truth and takes eight times as long. Training sees one.
    """

    methods = ("BDSD-PC", "MTF-GLP-HPM", "MTF-GLP-FS")
    rounds = 2
    takes_any = True

    def __init__(
        self,
        bands: int,
        ratio: int,
        convention: str,
        width: int = 12,
        blocks: int = 2,
        eightfold: bool = False,
    ):
        super().__init__(bands, ratio, convention)
        self.turns = TURNS if eightfold else TURNS[:1]
        self.reach = 2 * blocks + 2
        self.head = _unbiased(INPUTS, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(_unbiased(width, width), nn.ReLU(inplace=True), _unbiased(width, width))
            for _ in range(blocks)
        )
        self.tail = silence(_unbiased(width, 1))

    def sharpen(
        self,
        ms: torch.Tensor,
        pan: torch.Tensor,
        sensor: Sensor | None = None,
        classical: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mend the mean of the classical results, band by band."""
        assert sensor is not None and classical is not None  # forward has looked
        mean, seen = self.see(ms, pan, sensor, classical)
        if torch.is_grad_enabled():
            return mean + self._mend(seen.flatten(0, 1)).view_as(mean)
        for band in range(mean.shape[1]):
            self._mend_in_tiles(mean[:, band], seen[:, band])
        return mean

    def _mend_in_tiles(self, band: torch.Tensor, seen: torch.Tensor) -> None:
        """Mend a band ``(B, H, W)`` in place, tile by tile: small images stay in the caches."""
        height, width = band.shape[-2:]
        for top, left in itertools.product(range(0, height, TILE), range(0, width, TILE)):
            up, before = max(top - self.reach, 0), max(left - self.reach, 0)
            tile = seen[..., up : top + TILE + self.reach, before : left + TILE + self.reach]
            mended = self._mend_in_turns(tile)[:, 0]
            target = band[..., top : top + TILE, left : left + TILE]
            target += mended[..., top - up :, left - before :][
                ..., : target.shape[-2], : target.shape[-1]
            ]

    def see(
        self, ms: torch.Tensor, pan: torch.Tensor, sensor: Sensor, classical: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean of the classical results, and the details that the network sees of each band.

        Returns:
            ``(B, C, H, W)`` and ``(B, C, 8, H, W)``.
        """
        bands, ratio = ms.shape[1], self.ratio
        exp = interpolate(ms, ratio, self.convention)
        bdsd, hpm, fs = classical.unflatten(1, (len(self.methods), bands)).unbind(1)
        results = torch.stack([bdsd, _within(hpm, (bdsd, fs, exp)), fs], 1)
        mean = results.mean(1)
        gains = sorted(set(sensor.mtf_ms))  # bands of one gain see PAN alike
        low_pan = degrade(pan.expand(-1, len(gains), -1, -1), gains, ratio, self.convention)
        missing = ms - degrade(mean, sensor.mtf_ms, ratio, self.convention)
        coarse = interpolate(torch.cat([low_pan, missing], 1), ratio, self.convention)
        low_pan, missing = coarse.split([len(gains), bands], 1)
        low_pan = low_pan[:, [gains.index(gain) for gain in sensor.mtf_ms]]
        injected = mean - exp
        seen = [
            injected,
            *(results - mean[:, None]).unbind(1),
            pan - low_pan,
            missing,
            exp - box_mean(exp, 2 * ratio + 1),
            injected.mean(1, keepdim=True).expand_as(injected),
        ]
        return mean, torch.stack(seen, 2)

    def _mend_in_turns(self, seen: torch.Tensor) -> torch.Tensor:
        """Mean of what :meth:`_mend` makes of turned and mirrored copies, turned back."""
        total = seen.new_zeros(())
        for quarters, mirrored in self.turns:
            turned = torch.rot90(seen.flip(-1) if mirrored else seen, quarters, (-2, -1))
            mended = self._mend(turned.contiguous(memory_format=torch.channels_last))
            back = torch.rot90(mended, -quarters, (-2, -1))
            total = total + (back.flip(-1) if mirrored else back)
        return total / len(self.turns)

    def _mend(self, seen: torch.Tensor) -> torch.Tensor:
        """What to add to a band: ``(N, 8, H, W)`` -> ``(N, 1, H, W)``."""
        hidden = torch.relu_(self.head(seen))
        for block in self.blocks:
            hidden = torch.relu_(hidden + block(hidden))
        return self.tail(hidden)


def _within(hpm: torch.Tensor, others: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """MTF-GLP-HPM, kept near the other results.

    It divides by the low frequencies of PAN. Where those are almost 0, on dark water, its result
    can be anything.
    """
    least, most = torch.stack(others).aminmax(dim=0)
    room = ROOM * (most - least)
    return hpm.clamp(least - room, most + room)


def _unbiased(inputs: int, outputs: int) -> nn.Conv2d:
    """Convolution of 3 x 3 pixels without bias."""
    layer = conv(inputs, outputs)
    layer.register_parameter("bias", None)
    return layer
