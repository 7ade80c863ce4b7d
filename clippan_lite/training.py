"""The two training stages as plain functions: adapt() around a frozen CLIP, train() a fusion network without truth."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn
from tqdm.auto import tqdm

from clippan_lite import backbones, classical, data, degrade, losses
from clippan_lite.adapter import Supervisor
from clippan_lite.clip import Clip
from clippan_lite.config import EXAMPLES, AdaptConfig, TrainConfig
from clippan_lite.data import Pair, Patches
from clippan_lite.files import replacing, write_json
from clippan_lite.prompts import PromptSet

History = list[dict[str, float]]


def pick_device(wanted: str = "auto") -> str:
    """``"auto"`` takes the GPU when there is one; what was taken, and why, is printed."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
        why = "a GPU is there" if wanted == "cuda" else f"no GPU found, {torch.get_num_threads()} CPU threads"
        print(f"device: {wanted} ({why})")
    elif wanted != "cpu" and not wanted.startswith("cuda"):
        raise ValueError(f"device {wanted!r} is unknown; expected 'auto', 'cpu' or 'cuda'")
    elif wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {wanted!r} was asked for, but no GPU is found; use device='cpu' or 'auto'")
    return wanted


def _weighted(terms: dict[str, torch.Tensor], weights: dict[str, float], step: int) -> torch.Tensor:
    """Weighted sum of named terms; a term that is not a number is named."""
    for name, value in terms.items():
        if not torch.isfinite(value):
            raise FloatingPointError(
                f"loss term {name!r} became {value.item()} at step {step}; lower the learning rate"
            )
    return sum(weights[name] * value for name, value in terms.items())


def _bar(steps: int, what: str, shown: bool) -> tqdm:
    """Progress bar drawn at most once a second.

    In a notebook each drawing is three messages, and clients that read a cell's messages only when it has ended (nbval)
    lose those beyond a queue of about two thousand, the one that says "idle" among them.
    """
    return tqdm(range(steps), desc=what, unit="step", mininterval=1.0, disable=not shown)


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
        ValueError: the scene is too small for one crop, or unknown ``config.examples``.
        FloatingPointError: a named loss term is not finite.
    """
    config = config or AdaptConfig()
    check_examples(config.examples)
    # One scale down, filters reach over `ratio` times as much ground.
    pair, gap = (data.reduced(pair), 56) if config.examples == "reduced" else (pair, 32)
    torch.manual_seed(config.seed)
    supervisor = Supervisor(clip, prompts, pair.bands, pair.sensor.rgb, config.image_share, config.text_share)
    supervisor.calibrate(pair)
    supervisor.to(device)
    patches = Patches(pair, clip.input_size, split, hrms_examples(pair, config.examples), device, gap)
    generator = torch.Generator().manual_seed(config.seed)
    weights = {name: getattr(config, name) for name in ("inter", "intra", "fusion", "direction", "drift")}
    optimiser = torch.optim.Adam(supervisor.parameters(), config.lr)
    history: History = []
    bar = _bar(config.steps, "Stage I", progress)
    for step in bar:
        views = stage_one_views(patches.sample(config.batch, generator), generator)
        images = {kind: supervisor.encode(kind, view) for kind, view in views.items()}
        terms = losses.stage_one(supervisor, images, supervisor.encode_texts(), config.temperature)
        loss = _weighted(terms, weights, step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append({"step": step, "loss": loss.item(), **{name: value.item() for name, value in terms.items()}})
        bar.set_postfix({name: f"{value.item():.2f}" for name, value in terms.items()}, refresh=False)
    return supervisor.eval().requires_grad_(False), history


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
            raise ValueError(f"examples='reduced' needs a pair with truth, found {pair.name}; pass data.reduced(pair)")
        return {"hrms": pair.truth}
    methods = EXAMPLES if examples == "mixed" else (examples,)
    return {f"hrms {method}": classical.fuse(method, pair) for method in methods}


def stage_one_views(batch: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
    """MS (interpolated), PAN and HRMS crops of a batch of patches, HRMS from a random example per crop."""
    choices = torch.stack([image for name, image in batch.items() if name.startswith("hrms")])
    picks = torch.randint(len(choices), (choices.shape[1],), generator=generator).to(choices.device)
    hrms = choices[picks, torch.arange(choices.shape[1], device=choices.device)]
    return {"ms": batch["exp"], "pan": batch["pan"], "hrms": hrms}


def train(
    pair: Pair,
    config: TrainConfig | None = None,
    supervisor: Supervisor | None = None,
    teacher: nn.Module | None = None,
    device: str = "cpu",
    progress: bool = True,
    on_step: Callable[[int, nn.Module], None] | None = None,
) -> tuple[nn.Module, History]:
    """Stage II: train a fusion network on the pair itself, without truth.

    Args:
        pair: the scene to be fused; its ``truth``, where known, is not looked at.
        config: backbone, steps, patch and the weights of the named terms.
        supervisor: from :func:`adapt`, needed when ``config.direction`` is above 0.
        teacher: fusion network trained at reduced resolution, needed when ``config.ship`` is above 0.
        device: ``"cpu"`` or a CUDA device.
        progress: show a progress bar with the terms.
        on_step: called with (step, network) after each step, for previews.

    Returns:
        The network in evaluation mode, on ``device``, and one row of unweighted terms per step.

    Raises:
        ValueError: supervisor or teacher missing, or a scene without a valid patch.
        FloatingPointError: a named loss term is not finite.
    """
    config = config or TrainConfig()
    if config.direction and supervisor is None:
        raise ValueError("config.direction > 0 needs a supervisor from adapt(); pass one, or set direction=0")
    if config.ship and teacher is None:
        raise ValueError("config.ship > 0 needs a teacher network; pass one, or set ship=0")
    torch.manual_seed(config.seed)
    network = backbones.create(config.backbone, pair.bands, pair.ratio, pair.convention, **config.options)
    network.to(device, memory_format=torch.channels_last)  # a sixth faster on CPU, as measured on 128-pixel patches
    extra = {"teacher": fuse(teacher, pair)} if config.ship else {}
    patches = Patches(pair, config.patch, "all", extra, device)
    generator = torch.Generator().manual_seed(config.seed)
    to_pan = fit_to_pan(pair).to(device)
    texts = None
    if config.direction:
        with torch.no_grad():
            texts = supervisor.encode_texts()
    weights = {name: getattr(config, name) for name in ("spec", "spat", "qnr", "ship", "direction")}
    optimiser = torch.optim.Adam([*network.parameters(), *to_pan.parameters()], config.lr)
    # At least 20: the schedule divides by its warm-up steps minus 1.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, max(config.steps, 20), pct_start=0.1)
    history: History = []
    bar = _bar(config.steps, f"Stage II {config.backbone}", progress)
    for step in bar:
        batch = patches.sample(config.batch, generator)
        fused = network(batch["ms"], batch["pan"])
        terms = losses.stage_two(
            fused, batch, pair.sensor, to_pan, weights, supervisor, texts, pair.convention, config.tokens
        )
        loss = _weighted(terms, weights, step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        history.append({"step": step, "loss": loss.item(), **{name: value.item() for name, value in terms.items()}})
        bar.set_postfix({name: f"{value.item():.3f}" for name, value in terms.items()}, refresh=False)
        if on_step:
            on_step(step, network)
    return network.eval(), history


def fit_to_pan(pair: Pair) -> nn.Conv2d:
    """Phi of L_spat, fitted where both images are known: PAN degraded to MS's grid, explained by MS."""
    low = degrade.degrade(pair.pan, [pair.sensor.mtf_pan], pair.ratio, pair.convention)
    ms = pair.ms
    if pair.valid is not None:
        keep = pair.valid[:: pair.ratio, :: pair.ratio]
        ms, low = ms[:, keep][:, None], low[:, keep][:, None]
    return losses.band_to_pan(ms / pair.scale, low / pair.scale)


@torch.no_grad()
def fuse(network: nn.Module, pair: Pair, tile: int = 512) -> torch.Tensor:
    """Fuse a pair tile by tile.

    Args:
        network: from :func:`train`.
        pair: any pair with the network's bands, ratio and convention.
        tile: side of a tile in PAN pixels; tiles overlap by the network's reach.

    Returns:
        ``(C, H, W)`` float32 in DN on the CPU, clipped to [0, 2^bits - 1]; 0 where the pair is nodata.
    """
    device = next(network.parameters()).device
    if (network.bands, network.ratio, network.convention) != (pair.bands, pair.ratio, pair.convention):
        raise ValueError(
            f"the network takes {network.bands} bands, ratio {network.ratio}, {network.convention!r}; "
            f"{pair.name} has {pair.bands}, {pair.ratio}, {pair.convention!r}"
        )
    (height, width), r = pair.pan.shape[-2:], pair.ratio
    # MS interpolation reaches 6 MS pixels beyond the convolutions' reach.
    step = math.lcm(r, network.grid)
    halo, tile = -(-(network.reach + 6 * r) // step) * step, -(-tile // step) * step
    out = torch.empty(pair.bands, height, width)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            r0, r1, c0, c1 = top - halo, top + tile + halo, left - halo, left + tile + halo
            r0, r1, c0, c1 = max(r0, 0), min(r1, height), max(c0, 0), min(c1, width)
            ms = pair.ms[None, :, r0 // r : r1 // r, c0 // r : c1 // r].to(device) / pair.scale
            pan = pair.pan[None, :, r0:r1, c0:c1].to(device) / pair.scale
            part = network(ms, pan)[0].cpu()
            bottom, right = min(top + tile, height), min(left + tile, width)
            out[:, top:bottom, left:right] = part[:, top - r0 : bottom - r0, left - c0 : right - c0]
    out = (out * pair.scale).clamp(0, pair.peak)
    return out if pair.valid is None else out * pair.valid


# ---------------------------------------------------------------- checkpoints and histories


def save_supervisor(path: Path, supervisor: Supervisor, config: AdaptConfig, sensor: str) -> None:
    """Write stems and adapters as safetensors, and a JSON beside them with all that is needed to load them."""
    facts = {
        "config": asdict(config), "sensor": sensor, "bands": supervisor.bands, "rgb": supervisor.rgb,
        "clip": supervisor.clip.label, "prompts": asdict(supervisor.prompts),
    }  # fmt: skip
    _save(Path(path), supervisor, facts)


def load_supervisor(path: Path, clip: Clip) -> Supervisor:
    """Load what :func:`save_supervisor` wrote, around the same CLIP it was adapted with.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: it was adapted around another CLIP.
    """
    state, facts = _load(Path(path))
    if facts["clip"] != clip.label:
        raise ValueError(f"{Path(path).name} was adapted around {facts['clip']}, found {clip.label}; load that CLIP")
    config = AdaptConfig(**facts["config"])
    shares = (config.image_share, config.text_share)
    supervisor = Supervisor(clip, PromptSet(**facts["prompts"]), facts["bands"], tuple(facts["rgb"]), *shares)
    supervisor.load_state_dict(state)
    return supervisor.eval().requires_grad_(False)


def save_network(path: Path, network: nn.Module, config: TrainConfig) -> None:
    """Write a fusion network as safetensors, and a JSON beside it."""
    facts = {
        "config": asdict(config), "bands": network.bands, "ratio": network.ratio, "convention": network.convention,
    }  # fmt: skip
    _save(Path(path), network, facts)


def load_network(path: Path) -> nn.Module:
    """Load what :func:`save_network` wrote, in evaluation mode on the CPU."""
    state, facts = _load(Path(path))
    config = TrainConfig(**facts["config"])
    network = backbones.create(config.backbone, facts["bands"], facts["ratio"], facts["convention"], **config.options)
    network.load_state_dict(state)
    return network.to(memory_format=torch.channels_last).eval()  # as trained: another layout rounds otherwise


def _save(path: Path, module: nn.Module, facts: dict) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path.with_suffix(".json"), facts)
    with replacing(path) as part:
        save_file({name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}, part)


def _load(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    from safetensors.torch import load_file

    for file in (path, path.with_suffix(".json")):
        if not file.is_file():
            raise FileNotFoundError(f"checkpoint {file} does not exist; train first")
    return load_file(path), json.loads(path.with_suffix(".json").read_text())


def write_history(path: Path, history: History) -> None:
    """Write one row per step as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, open(part, "w", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]) if history else ["step"])
        writer.writeheader()
        writer.writerows(history)
