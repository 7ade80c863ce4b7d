"""Random crops of a pair, cut alike from everything that shows the same ground."""

from __future__ import annotations

import math

import numpy as np
import torch

from clippan_lite.data.pair import Pair
from clippan_lite.physics import degrade


def valid_corners(pair: Pair, size: int, area: tuple[slice, slice], stride: int = 1) -> np.ndarray:
    """Top left corners ``(N, 2)`` of crops of ``size`` PAN pixels inside an area that hold no nodata.

    Whole MS pixels, and no nearer to each other than ``stride``; at the far edges of the area nearer, so that all of
    it is covered.
    """
    step, axes = math.lcm(stride, pair.ratio), []
    for part in area:
        last = (part.stop - size) // pair.ratio * pair.ratio
        axes.append(np.unique([*range(part.start, last, step), last]))
    rows, cols = axes
    corners = np.stack(np.meshgrid(rows, cols, indexing="ij"), -1).reshape(-1, 2)
    if pair.mask is None:
        return corners
    bad = np.pad(
        (~pair.mask.numpy()).cumsum(0).cumsum(1), ((1, 0), (1, 0))
    )  # summed-area table of nodata
    r, c = corners.T
    return corners[bad[r + size, c + size] - bad[r, c + size] - bad[r + size, c] + bad[r, c] == 0]


class Patches:
    """Random crops of a pair, scaled to about [0, 1], with everything that belongs to the same ground.

    Args:
        pair: the scene.
        size: side of a crop in PAN pixels; cut down to the scene (multiple of the ratio) when that is smaller, and
            halved, with a printed line, when every crop would hold nodata.
        split: ``"all"``, or ``"train"`` (left) and ``"held-out"`` (right, behind a gap), so that what is measured was
            not trained on. The held-out block is a quarter of the width, gap included, or one crop where that is wider
            and leaves one crop to train on. Splits are those of one ``size``: another size has another border.
        extra: other images ``(C, H, W)`` in DN on PAN's grid to cut alike, such as ``{"hrms": bdsd_result}``.
        device: where the images are held and the crops made.
        gap: columns left out between the two parts; 32 is as far as the MTF filter reaches.
        stride: PAN pixels between the corners of crops; 1 takes every whole MS pixel.
        least: smallest crop that will do.

    Raises:
        ValueError: no crop without nodata fits the split.
    """

    def __init__(
        self,
        pair: Pair,
        size: int,
        split: str = "all",
        extra: dict[str, torch.Tensor] | None = None,
        device: str = "cpu",
        gap: int = 32,
        stride: int = 1,
        least: int = 32,
    ):
        ratio, (height, width) = pair.ratio, pair.pan.shape[-2:]
        held = int(width * 0.75) + 32
        if width - held < size <= width - size - gap:
            held = width - size
        first, last = {"all": (0, width), "train": (0, held - gap), "held-out": (held, width)}[
            split
        ]
        self.size = min(size, height // ratio * ratio, (last - first) // ratio * ratio)
        if self.size < least:
            raise ValueError(
                f"{pair.name} is {height} x {width} PAN pixels, too small for a {split} part of {least} x {least}: "
                "use a larger scene"
            )
        self.pair, self.ratio = pair, ratio
        exp = degrade.upsample(pair.ms, ratio, pair.convention)
        images = {"ms": pair.ms, "pan": pair.pan, "exp": exp, **(extra or {})}
        scale = pair.scale
        self.images = {name: (image / scale).to(device) for name, image in images.items()}
        area = (slice(0, height), slice(-(-first // ratio) * ratio, last))
        corners = valid_corners(pair, self.size, area, stride)
        if not len(corners):  # a footprint may hold crops, but none that begins on the lattice
            corners = valid_corners(pair, self.size, area)
        while not len(corners) and self.size // 2 >= least:
            self.size = self.size // 2 // ratio * ratio
            corners = valid_corners(pair, self.size, area)
            print(
                f"{pair.name}: nodata everywhere near, patches cut down to {self.size} PAN pixels"
            )
        if not len(corners):
            raise ValueError(
                f"no {self.size}-pixel crop of {pair.name} ({split}) is free of nodata; use a larger scene"
            )
        self.corners = torch.from_numpy(corners)

    def sample(
        self, count: int, generator: torch.Generator, distinct: bool = False
    ) -> dict[str, torch.Tensor]:
        """Cut ``count`` crops at random: name -> ``(count, C, size, size)``, MS on its own grid.

        ``place`` is their top left corners ``(count, 2)`` in PAN pixels. ``distinct`` takes no place twice (fewer crops
        where the scene has fewer places).
        """
        if distinct:
            indices = torch.randperm(len(self.corners), generator=generator)[:count]
        else:
            indices = torch.randint(len(self.corners), (count,), generator=generator)
        picks = self.corners[indices].tolist()
        batch = {"place": self.corners[indices]}
        for name, image in self.images.items():
            step, side = (self.ratio, self.size // self.ratio) if name == "ms" else (1, self.size)
            crops = [(r // step, c // step) for r, c in picks]
            batch[name] = torch.stack([image[:, r : r + side, c : c + side] for r, c in crops])
        return batch
