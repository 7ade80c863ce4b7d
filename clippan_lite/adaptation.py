"""Stage I as a plain function: adapt() trains stems and adapters around a frozen CLIP."""

from __future__ import annotations

import math

import torch

from clippan_lite import classical, data, losses
from clippan_lite.adapter import Supervisor
from clippan_lite.callbacks import progress_bar
from clippan_lite.checkpoints import History
from clippan_lite.clip import Clip
from clippan_lite.config import EXAMPLES, AdaptConfig
from clippan_lite.data import Pair, Patches
from clippan_lite.losses import weighted_sum
from clippan_lite.prompts import PromptSet


def adapt(
    pair: Pair,
    clip: Clip,
    prompts: PromptSet,
    config: AdaptConfig | None = None,
    device: str = "cpu",
    progress: bool = True,
    split: str = "train",
) -> tuple[Supervisor, History]:
    """Stage I: train stems and adapters on one scene, CLIP frozen.

    HRMS examples are results of classical methods, or, one scale down, true MS (``config.examples``): the supervisor
    learns their look. ``AdaptConfig(examples="BDSD", direction=0, intra=1)`` is the paper's setup.

    Args:
        pair: the scene; its crops are as large as CLIP's input, at native resolution.
        clip: from :func:`clippan_lite.clip.load_clip`.
        prompts: the three sentences.
        config: steps, batch, weights.
        device: ``"cpu"`` or a CUDA device, the one CLIP is on.
        progress: show a progress bar.
        split: part of the scene to train on, see :class:`clippan_lite.data.Patches`.

    Returns:
        The supervisor, in evaluation mode and frozen, and one row of unweighted terms per step (floors subtracted).

    Raises:
        ValueError: the scene is too small for one native crop, or settings that cannot be.
        FloatingPointError: a named loss term is not finite.
    """
    config = config or AdaptConfig()
    check_settings(config)
    check_examples(config.examples)
    # One scale down, filters reach over `ratio` times as much ground.
    pair, gap = (data.reduced(pair), 56) if config.examples == "reduced" else (pair, 32)
    torch.manual_seed(config.seed)
    supervisor = Supervisor(
        clip, prompts, pair.bands, pair.sensor.rgb, config.image_share, config.text_share
    )
    supervisor.calibrate(pair)
    if config.stem != "learned":
        supervisor.fix_stems(
            principal_bands(pair, supervisor.band_gain[0]) if config.stem == "pca" else None
        )
    supervisor.to(device)
    patches = Patches(
        pair, clip.input_size, split, hrms_examples(pair, config.examples), device, gap
    )
    check_native(patches, clip)
    generator = torch.Generator().manual_seed(config.seed)
    weights = {
        name: getattr(config, name) for name in ("inter", "intra", "fusion", "direction", "drift")
    }
    optimiser = torch.optim.Adam(supervisor.parameters(), config.lr)
    history: History = []
    bar = progress_bar(config.steps, "Stage I", progress)
    for step in bar:
        views = stage_one_views(patches.sample(config.batch, generator), generator)
        images = {kind: supervisor.encode(kind, view) for kind, view in views.items()}
        terms = losses.stage_one(supervisor, images, supervisor.encode_texts(), config.temperature)
        loss = weighted_sum(terms, weights, step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(
            {
                "step": step,
                "loss": loss.item(),
                **{name: value.item() for name, value in terms.items()},
            }
        )
        bar.set_postfix(
            {name: f"{value.item():.2f}" for name, value in terms.items()}, refresh=False
        )
    return supervisor.eval().requires_grad_(False), history


def principal_bands(pair: Pair, gain: torch.Tensor) -> torch.Tensor:
    """A fixed stem: MS's three principal axes over the stretched bands, one fifth of a deviation from 0.5.

    Args:
        pair: the scene, three bands or more.
        gain: stretch of each band ``(C, 1, 1)``, as in :class:`clippan_lite.adapter.Supervisor`.

    Returns:
        ``(3, C + 1)``: weights of the bands and an offset, by which each channel has mean 0.5 and deviation 0.2.
    """
    keep = slice(None) if pair.valid is None else pair.valid[:: pair.ratio, :: pair.ratio].flatten()
    bands = (pair.ms / pair.scale * gain.cpu()).flatten(1)[:, keep].double()
    mean = bands.mean(1, keepdim=True)
    axes, spread, _ = torch.linalg.svd(bands - mean, full_matrices=False)
    axes = axes[:, :3] * axes[:, :3].sum(0).sign()  # brighter ground stays brighter
    weights = 0.2 * axes.T / (spread[:3, None] / bands.shape[1] ** 0.5)
    return torch.cat([weights, 0.5 - weights @ mean], 1).float()


def check_settings(config: AdaptConfig) -> None:
    """Refuse settings of Stage I that cannot be, in one line."""
    if config.stem not in ("learned", "rgb", "pca"):
        raise ValueError(f"AdaptConfig: stem must be learned, rgb or pca, found {config.stem!r}")
    ranges = {
        "steps": (0, math.inf),
        "batch": (2, math.inf),
        "lr": (1e-12, math.inf),
        "temperature": (1e-3, math.inf),
    }
    ranges |= dict.fromkeys(("inter", "intra", "fusion", "direction", "drift"), (0, math.inf))
    ranges |= dict.fromkeys(("image_share", "text_share"), (0, 1))
    for name, (least, most) in ranges.items():
        found = getattr(config, name)
        if (
            not least <= found <= most
            or found == math.inf
            or (name in ("steps", "batch") and found != int(found))
        ):
            upper = f" and at most {most}" if most < math.inf else ""
            raise ValueError(
                f"AdaptConfig: {name} must be at least {least:g}{upper}, found {found}"
            )


def check_native(patches: Patches, clip: Clip) -> None:
    """Refuse crops smaller than CLIP's input: enlarged ones would show it a softness that is not in the scene."""
    if patches.size < clip.input_size:
        height, width = patches.pair.pan.shape[-2:]
        raise ValueError(
            f"{patches.pair.name}, {height} x {width} PAN pixels, gives crops of {patches.size} here, but {clip.label} "
            f"looks at {clip.input_size} native pixels: use larger patches, a scene at least {2 * clip.input_size + 32}"
            " wide (for a held-out part) with room between nodata, or a CLIP with a smaller input"
        )


def check_examples(examples: str) -> None:
    """Refuse a name that :func:`hrms_examples` does not know (ValueError with the known ones)."""
    known = ("mixed", "reduced", *(name for name in classical.METHODS if name != "EXP"))
    if examples not in known:
        raise ValueError(f"unknown HRMS examples {examples!r}: expected one of {', '.join(known)}")


def hrms_examples(pair: Pair, examples: str = "mixed") -> dict[str, torch.Tensor]:
    """Images ``(C, H, W)`` in DN that Stage I takes for HRMS, under names that begin with "hrms".

    Args:
        pair: the scene.
        examples: ``"mixed"`` (:data:`clippan_lite.config.EXAMPLES`), one classical method, or ``"reduced"``: the truth
            of a pair made by :func:`clippan_lite.data.reduced`.

    Raises:
        ValueError: unknown method, or no truth for ``"reduced"``.
    """
    check_examples(examples)
    if examples == "reduced":
        if pair.truth is None:
            raise ValueError(
                f"examples='reduced' needs a pair with truth, found {pair.name}; pass data.reduced(pair)"
            )
        return {"hrms": pair.truth}
    methods = EXAMPLES if examples == "mixed" else (examples,)
    return {f"hrms {method}": classical.fuse(method, pair) for method in methods}


def stage_one_views(
    batch: dict[str, torch.Tensor], generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """MS (interpolated), PAN and HRMS crops of a batch of patches, HRMS from a random example per crop."""
    choices = torch.stack([image for name, image in batch.items() if name.startswith("hrms")])
    picks = torch.randint(len(choices), (choices.shape[1],), generator=generator).to(choices.device)
    hrms = choices[picks, torch.arange(choices.shape[1], device=choices.device)]
    return {"ms": batch["exp"], "pan": batch["pan"], "hrms": hrms}
