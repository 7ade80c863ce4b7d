"""Random crops of a pair: all images of the same ground are cut alike."""

from __future__ import annotations

import math

import numpy as np
import torch

from clippan_lite.data.pair import Pair, without_holes
from clippan_lite.physics import degrade


def valid_corners(pair: Pair, size: int, area: tuple[slice, slice], stride: int = 1) -> np.ndarray:
    """Top left corners ``(N, 2)`` of crops of ``size`` PAN pixels inside an area without nodata.

    Corners lie on whole MS pixels and at least ``stride`` apart. Those at the far edges of the area
    may lie nearer, so that all of it is covered.
    """
    step, axes = math.lcm(stride, pair.ratio), []
    for part in area:
        last = (part.stop - size) // pair.ratio * pair.ratio
        axes.append(np.unique([*range(part.start, last, step), last]))
    corners = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    mask = pair.with_all_bands
    if mask is None:
        return corners
    from scipy import ndimage  # here, so that training loads it only where there is nodata

    # Whether a crop that begins at a pixel, and not around it, holds nodata.
    holes = ndimage.maximum_filter(~mask.numpy(), size, origin=-(size // 2))
    return corners[~holes[*corners.T]]


class Patches:
    """Random crops of a pair, scaled to about [0, 1].

    Args:
        pair: the scene.
        size: side of a crop in PAN pixels, a multiple of the ratio. It is cut down to a smaller
            scene, and halved when every crop would hold nodata. A printed line says so.
        split: ``"all"``, or ``"train"`` (left) and ``"held-out"`` (right, behind a gap) to measure
            on what was not trained on. The held-out block is a quarter of the width, gap included,
            or one crop where that is wider and leaves one crop to train on. Splits belong to one
            ``size``: another size has another border.
        extra: other images ``(C, H, W)`` in DN on PAN's grid to cut alike, such as
            ``{"hrms": bdsd_result}``.
        device: where the images are kept and the crops are made.
        gap: columns left out between the two parts; 32 is as far as the MTF filter reaches.
        stride: PAN pixels between the corners of crops; 1 takes every whole MS pixel.
        least: smallest side that a crop may be cut down to.

    Raises:
        ValueError: a size or a split that cannot be, or no crop without nodata fits the split.
    """

    def __init__(
        self,
        pair: Pair,
        size: int,
        split: str = "all",
        extra: dict[str, torch.Tensor] | None = None,
        device: str | torch.device = "cpu",
        gap: int = 32,
        stride: int = 1,
        least: int = 32,
    ):
        ratio, (height, width) = pair.ratio, pair.pan.shape[-2:]
        if size < least or size % ratio:
            raise ValueError(
                f"patches of {size} PAN pixels: expected at least {least}, and a multiple of the "
                f"ratio {ratio}; take another patch"
            )
        held = int(width * 0.75) + 32
        if width - held < size <= width - size - gap:
            held = width - size
        spans = {"all": (0, width), "train": (0, held - gap), "held-out": (held, width)}
        if split not in spans:
            raise ValueError(f"unknown split {split!r}: expected one of {', '.join(spans)}")
        first, last = spans[split]
        self.size = min(size, height // ratio * ratio, (last - first) // ratio * ratio)
        if self.size < least:
            raise ValueError(
                f"{pair.name} is {height} x {width} PAN pixels, too small for a {split} part of "
                f"{least} x {least}: use a larger scene"
            )
        if self.size < size:
            print(f"{pair.name} is small: patches cut down from {size} to {self.size} PAN pixels")
        self.pair, self.ratio = pair, ratio
        filled = without_holes(pair)  # EXP of a crop looks beyond it
        exp = degrade.upsample(filled.ms, ratio, pair.convention)
        images = {"ms": filled.ms, "pan": filled.pan, "exp": exp, **(extra or {})}
        scale = pair.scale
        self.images = {name: (image / scale).to(device) for name, image in images.items()}
        area = (slice(0, height), slice(-(-first // ratio) * ratio, last))
        corners = valid_corners(pair, self.size, area, stride)
        if not len(corners):  # crops without nodata may begin off the lattice of the stride
            corners = valid_corners(pair, self.size, area)
        while not len(corners) and self.size // 2 >= least:
            self.size = self.size // 2 // ratio * ratio
            corners = valid_corners(pair, self.size, area)
            print(f"{pair.name}: nodata is never far, patches cut down to {self.size} PAN pixels")
        if not len(corners):
            raise ValueError(
                f"no {self.size}-pixel crop of {pair.name} ({split}) is free of nodata: "
                "use a larger scene"
            )
        self.corners = torch.from_numpy(corners)

    def sample(
        self, count: int, generator: torch.Generator, distinct: bool = False
    ) -> dict[str, torch.Tensor]:
        """Cut ``count`` crops at random: name -> ``(count, C, size, size)``, MS on its own grid.

        ``place`` holds their top left corners ``(count, 2)`` in PAN pixels. With ``distinct`` no
        place comes twice, and there are fewer crops where the scene has fewer places.
        """
        if distinct:
            indices = torch.randperm(len(self.corners), generator=generator)[:count]
        else:
            indices = torch.randint(len(self.corners), (count,), generator=generator)
        places = self.corners[indices]
        batch = {"place": places}
        for name, image in self.images.items():
            step = self.ratio if name == "ms" else 1
            side = self.size // step
            crops = [image[:, r : r + side, c : c + side] for r, c in (places // step).tolist()]
            batch[name] = torch.stack(crops)
        return batch
