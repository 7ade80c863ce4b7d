"""What each step of Stage II looks at: crops of a scene with all that the losses need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from clippan_lite import backbones, losses
from clippan_lite.config import TrainConfig
from clippan_lite.data import Pair, Patches, reduced, without_holes
from clippan_lite.losses import Batch, Guide
from clippan_lite.physics import degrade

if TYPE_CHECKING:
    from clippan_lite.adapter import Supervisor
    from clippan_lite.backbones import Fusion
    from clippan_lite.clip import Clip

SSIM_WINDOW = 11  # MS pixels
LEAST_REDUCED = 16  # PAN pixels: smallest patch one scale down


class Scene:
    """Patches and constants of one scene, on the device."""

    def __init__(
        self,
        pair: Pair,
        config: TrainConfig,
        scales: Sequence[str],
        teacher: Fusion | None,
        device: str | torch.device,
    ):
        self.pair = pair
        extra = classical_results(pair, config.backbone)
        if config.needs("teacher") and teacher is not None:
            from clippan_lite import fusion

            extra["teacher"] = fusion.fuse(pair, teacher)
        if config.needs("truth") and pair.truth is not None:
            extra["truth"] = pair.truth
        self.patches = {
            "full": Patches(pair, config.patch, "all", extra, device, stride=config.stride)
        }
        size, least = self.patches["full"].size, SSIM_WINDOW * pair.ratio
        if size < least:
            raise ValueError(
                f"patches of {size} PAN pixels at ratio {pair.ratio}: expected at least {least}, "
                "SSIM's window on MS's grid; take a larger patch, or a scene (data.largest_valid) "
                "with more room between nodata"
            )
        if "reduced" in scales:
            self.patches["reduced"] = self._one_scale_down(config, device)
        self.to_pan = fit_to_pan(pair).to(device)
        self.guide: Guide | None = None
        self.turns = 1  # steps in which L_d sees all crops once

    def _one_scale_down(self, config: TrainConfig, device: str | torch.device) -> Patches:
        small, ratio = reduced(self.pair), self.pair.ratio
        size = config.patch // 2 // ratio * ratio
        assert small.truth is not None  # the original MS
        extra = {"truth": small.truth, **classical_results(small, config.backbone)}
        try:
            return Patches(small, size, "all", extra, device, least=LEAST_REDUCED)
        except ValueError as error:
            raise ValueError(f"one scale down, {error}; or set the weight reduced to 0") from error

    def follow(self, supervisor: Supervisor, config: TrainConfig, images: int) -> None:
        """Let an adapted CLIP guide the training; ``images`` is the batch of this process."""
        patches = self.patches["full"]
        check_native(patches, supervisor.clip)
        per_side = patches.size // min(supervisor.clip.input_size, patches.size)
        self.turns = min(config.crops_in_turn, per_side**2 * images)  # a crop in every step
        with torch.no_grad():
            # Where places hardly return, remembered features would only fill the memory.
            self.guide = Guide.of(supervisor, remember=config.stride > 1)

    def batch(self, crops: dict[str, torch.Tensor], step: int) -> Batch:
        """Crops of this scene as the losses take them."""
        return Batch(
            ms=crops["ms"],
            pan=crops["pan"],
            exp=crops["exp"],
            classical=crops.get("classical"),
            sensor=self.pair.sensor,
            convention=self.pair.convention,
            truth=crops.get("truth"),
            teacher=crops.get("teacher"),
            to_pan=self.to_pan,
            guide=self.guide,
            places=crops["place"],
            crops=slice(step % self.turns, None, self.turns),
            grey_band=step % self.pair.bands,
        )


class Batches:
    """Random batches of one scene or several; the same seed draws the same ones.

    Args:
        pairs: the scenes.
        config: patch, batch, seed and the terms with a weight.
        supervisor: the adapted CLIP, for the terms that need one.
        teacher: network whose results a term such as L_ship imitates.
        device: where crops are made.
        part: this process's part of every batch.

    Raises:
        ValueError: a scene without a valid patch, or too small for a term.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        config: TrainConfig,
        supervisor: Supervisor | None = None,
        teacher: Fusion | None = None,
        device: str | torch.device = "cpu",
        part: slice = slice(None),
    ):
        self.count, self.part = config.batch, part
        self.generator = torch.Generator().manual_seed(config.seed)
        terms = [term for name, term in losses.TERMS.items() if config.weight(name)]
        self.scales = [
            scale for scale in ("full", "reduced") if any(t.scale == scale for t in terms)
        ]
        self.scenes = [Scene(pair, config, self.scales, teacher, device) for pair in pairs]
        self.is_guided = config.needs("supervisor")
        if supervisor is not None and self.is_guided:
            supervisor.to(device)
            for scene in self.scenes:
                scene.follow(supervisor, config, len(range(self.count)[part]))

    def draw(self, step: int) -> dict[str, Batch]:
        """The batch of a step at full resolution, one scale down, or both."""
        scene = self.scenes[0]
        if len(self.scenes) > 1:  # a lone scene needs no draw, and keeps its patches
            scene = self.scenes[
                int(torch.randint(len(self.scenes), (1,), generator=self.generator))
            ]
        batches = {}
        for scale in self.scales:
            crops = scene.patches[scale].sample(self.count, self.generator)
            own = {name: image[self.part] for name, image in crops.items()}
            batches[scale] = scene.batch(own, step)
        return batches

    def parameters(self) -> list[nn.Parameter]:
        """What is trained beside the network: phi of each scene."""
        return [parameter for scene in self.scenes for parameter in scene.to_pan.parameters()]

    def content(self) -> list[torch.Tensor | None]:
        """All images, and features of sentences, that decide what a training becomes."""
        tensors: list[torch.Tensor | None] = []
        for scene in self.scenes:
            tensors += [scene.pair.ms, scene.pair.pan, scene.pair.mask]
        for scene in self.scenes:
            images = scene.patches["full"].images
            tensors += [images[name] for name in ("teacher", "truth") if name in images]
        guide = self.scenes[0].guide
        return tensors if guide is None else [*tensors, *guide.texts.values()]


def check_native(patches: Patches, clip: Clip) -> None:
    """Refuse crops smaller than the input of CLIP (ValueError).

    Enlarged ones would show it a softness that is not in the scene.
    """
    if patches.size < clip.input_size:
        height, width = patches.pair.pan.shape[-2:]
        raise ValueError(
            f"{patches.pair.name}, {height} x {width} PAN pixels, gives crops of {patches.size} "
            f"here, but {clip.label} looks at {clip.input_size} native pixels: use larger patches, "
            f"a scene at least {2 * clip.input_size + 32} wide (for a held-out part) with room "
            "between nodata, or a CLIP with a smaller input"
        )


def classical_results(pair: Pair, backbone: str) -> dict[str, torch.Tensor]:
    """The classical results that a backbone mends, in DN; nothing for one that begins at EXP."""
    if not backbones.find(backbone).methods:
        return {}
    from clippan_lite import classical  # few trainings need them

    return {"classical": classical.results(backbones.find(backbone).methods, pair)}


def fit_to_pan(pair: Pair) -> nn.Conv2d:
    """Phi of L_spat, fitted where both images are valid: MS explains degraded PAN."""
    low = degrade.degrade(
        without_holes(pair).pan, [pair.sensor.mtf_pan], pair.ratio, pair.convention
    )
    ms = pair.ms
    if pair.valid is not None:
        keep = pair.valid[:: pair.ratio, :: pair.ratio]
        ms, low = ms[:, keep][:, None], low[:, keep][:, None]
    return losses.band_to_pan(ms / pair.scale, low / pair.scale)
