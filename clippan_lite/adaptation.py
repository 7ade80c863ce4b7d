"""Stage I as a plain function: adapt() trains stems and adapters around a frozen CLIP."""

from __future__ import annotations

import torch

from clippan_lite import losses
from clippan_lite.adapter import Supervisor
from clippan_lite.batches import check_native
from clippan_lite.callbacks import History, Steps, read_row
from clippan_lite.classical.examples import check_examples, hrms_examples
from clippan_lite.clip import Clip, load_clip
from clippan_lite.config import AdaptConfig
from clippan_lite.data import Pair, Patches, reduced
from clippan_lite.prompts import PromptSet, get
from clippan_lite.runtime import devices
from clippan_lite.runtime.settings import expect

#: PAN pixels that filters reach: the gap between the part trained on and the part held out. One
#: scale down, filters work on images that were filtered before, so they reach farther.
REACH, REACH_REDUCED = 32, 56


def adapt(
    pair: Pair,
    clip: Clip | None = None,
    prompts: PromptSet | None = None,
    config: AdaptConfig | None = None,
    device: str = "cpu",
    progress: bool = True,
    split: str = "train",
) -> tuple[Supervisor, History]:
    """Stage I: train stems and adapters on one scene, CLIP frozen.

    HRMS examples are results of classical methods, or, one scale down, true MS
    (``config.examples``). The supervisor learns their look. ``adapt_recipe("paper")`` is the
    paper's set-up.

    Args:
        pair: the scene. Its crops are as large as CLIP's input, at native resolution.
        clip: from :func:`clippan_lite.clip.load_clip`; by default the bundled one.
        prompts: the three sentences; by default Wald's.
        config: steps, batch, weights.
        device: ``"auto"``, ``"cpu"`` or a CUDA device, the one CLIP is on.
        progress: show a progress bar.
        split: part of the scene to train on, see :class:`clippan_lite.data.Patches`.

    Returns:
        The supervisor, in evaluation mode and frozen, and one row of unweighted terms per step,
        with their floors subtracted.

    Raises:
        ValueError: an argument of another type, all weights are 0, or the scene is too small for
            one native crop or has too few bands for the stem.
        FloatingPointError: a named loss term is not finite.
    """
    config, prompts = config or AdaptConfig(), prompts or get("wald")
    device = devices.pick(device)
    check_adapting(pair, clip, prompts, config)
    clip = clip or load_clip(device=device)
    gap = REACH
    if config.examples == "reduced":
        pair, gap = reduced(pair), REACH_REDUCED
    torch.manual_seed(config.seed)
    supervisor = make_supervisor(pair, clip, prompts, config).to(device)
    examples = hrms_examples(pair, config.examples)
    patches = Patches(pair, clip.input_size, split, examples, device, gap)
    check_native(patches, clip)
    generator = torch.Generator().manual_seed(config.seed)
    terms = losses.ADAPT_TERMS.build(config, config.terms)
    optimiser = torch.optim.Adam(supervisor.parameters(), config.lr)
    history: History = []
    steps = Steps(config.steps, "Stage I", progress)

    for step in steps:
        views = stage_one_views(patches.sample(config.batch, generator), generator)
        features = supervisor.encode_all(views)
        guide = losses.Guide.of(supervisor)
        values = {name: term.function(features, guide) for name, term in terms.items()}
        loss = losses.weighted_sum(values, config.weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(read_row(step, {"loss": loss, **values}))
        if steps.finish(step, history[-1], supervisor):
            raise KeyboardInterrupt(f"stopped after step {step + 1} of {config.steps}")
    return supervisor.eval().requires_grad_(False), history


def check_adapting(pair: Pair, clip: Clip | None, prompts: PromptSet, config: AdaptConfig) -> None:
    """Refuse what would fail later, in one line (ValueError)."""
    expect("the scene", pair, Pair, "read_pair reads files")
    expect("clip", clip, Clip, "load_clip loads one", optional=True)
    expect("prompts", prompts, PromptSet, 'such as prompts.get("wald")')
    expect("config", config, AdaptConfig, 'such as cl.adapt_recipe("ours")')
    config.check_active()
    check_examples(config.examples)


def make_supervisor(pair: Pair, clip: Clip, prompts: PromptSet, config: AdaptConfig) -> Supervisor:
    """A fresh supervisor for a scene, with its display stretch and, if so set, fixed stems."""
    shares = (config.image_share, config.text_share)
    supervisor = Supervisor(clip, prompts, pair.bands, pair.sensor.rgb, *shares)
    supervisor.calibrate(pair)
    if config.stem == "rgb":
        supervisor.fix_stems()
    if config.stem == "pca":
        supervisor.fix_stems(principal_bands(pair, supervisor.band_gain[0]))
    return supervisor


def principal_bands(pair: Pair, gain: torch.Tensor) -> torch.Tensor:
    """A fixed stem: MS's three principal axes over the stretched bands.

    Args:
        pair: the scene, three bands or more.
        gain: stretch of each band ``(C, 1, 1)``, as in :class:`clippan_lite.adapter.Supervisor`.

    Returns:
        ``(3, C + 1)``: weights of the bands and an offset, by which each channel has mean 0.5 and
        standard deviation 0.2.
    """
    keep: slice | torch.Tensor = slice(None)
    if pair.valid is not None:
        keep = pair.valid[:: pair.ratio, :: pair.ratio].flatten()
    bands = (pair.ms / pair.scale * gain.cpu()).flatten(1)[:, keep].double()
    mean = bands.mean(1, keepdim=True)
    axes, spread, _ = torch.linalg.svd(bands - mean, full_matrices=False)
    axes = axes[:, :3] * axes[:, :3].sum(0).sign()  # brighter ground stays brighter
    weights = 0.2 * axes.T / (spread[:3, None] / bands.shape[1] ** 0.5)
    return torch.cat([weights, 0.5 - weights @ mean], 1).float()


def stage_one_views(
    batch: dict[str, torch.Tensor], generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """MS (interpolated), PAN and HRMS crops of a batch of patches.

    HRMS comes from a random example for each crop.
    """
    examples = torch.stack([image for name, image in batch.items() if name.startswith("hrms")])
    count = examples.shape[1]
    picks = torch.randint(len(examples), (count,), generator=generator).to(examples.device)
    hrms = examples[picks, torch.arange(count, device=examples.device)]
    return {"ms": batch["exp"], "pan": batch["pan"], "hrms": hrms}
