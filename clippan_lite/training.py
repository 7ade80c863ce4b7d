"""The two training stages as plain functions: adapt() around a frozen CLIP, train() a fusion network without truth."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from tqdm.auto import tqdm

from clippan_lite import backbones, classical, data, degrade, losses
from clippan_lite.adapter import Supervisor
from clippan_lite.checkpoints import History, fingerprint, interruptible, keep_state, restore_state
from clippan_lite.clip import Clip
from clippan_lite.config import EXAMPLES, AdaptConfig, TrainConfig
from clippan_lite.data import Pair, Patches
from clippan_lite.prompts import PromptSet

if TYPE_CHECKING:
    from accelerate import Accelerator


TERMS = ("spec", "spat", "rho", "ds", "qnr", "ship", "direction")  # of Stage II, as in TrainConfig


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


def _bar(steps: int, what: str, shown: bool, done: int = 0) -> tqdm:
    """Progress bar drawn at most once a second.

    In a notebook each drawing is three messages, and clients that read a cell's messages only when it has ended (nbval)
    lose those beyond a queue of about two thousand, the one that says "idle" among them.
    """
    left = range(done, steps)
    return tqdm(left, desc=what, unit="step", mininterval=1.0, disable=not shown, initial=done, total=steps)


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
    _check_adapt(config)
    check_examples(config.examples)
    # One scale down, filters reach over `ratio` times as much ground.
    pair, gap = (data.reduced(pair), 56) if config.examples == "reduced" else (pair, 32)
    torch.manual_seed(config.seed)
    supervisor = Supervisor(clip, prompts, pair.bands, pair.sensor.rgb, config.image_share, config.text_share)
    supervisor.calibrate(pair)
    supervisor.to(device)
    patches = Patches(pair, clip.input_size, split, hrms_examples(pair, config.examples), device, gap)
    check_native(patches, clip)
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


def _check_adapt(config: AdaptConfig) -> None:
    """Refuse settings of Stage I that cannot be, in one line."""
    ranges = {"steps": (0, math.inf), "batch": (2, math.inf), "lr": (1e-12, math.inf), "temperature": (1e-3, math.inf)}
    ranges |= dict.fromkeys(("inter", "intra", "fusion", "direction", "drift"), (0, math.inf))
    ranges |= dict.fromkeys(("image_share", "text_share"), (0, 1))
    for name, (least, most) in ranges.items():
        found = getattr(config, name)
        if not least <= found <= most or found == math.inf or (name in ("steps", "batch") and found != int(found)):
            upper = f" and at most {most}" if most < math.inf else ""
            raise ValueError(f"AdaptConfig: {name} must be at least {least:g}{upper}, found {found}")


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
    checkpoint: Path | None = None,
    every: int = 100,
    accelerator: Accelerator | None = None,
) -> tuple[nn.Module, History]:
    """Stage II: train a fusion network on the pair itself, without truth.

    Args:
        pair: the scene to be fused; its ``truth``, where known, is not looked at.
        config: backbone, steps, patch and the weights of the named terms.
        supervisor: from :func:`adapt`, needed when ``config.direction`` is above 0.
        teacher: fusion network trained at reduced resolution, needed when ``config.ship`` is above 0.
        device: ``"cpu"`` or a CUDA device; an accelerator brings its own.
        progress: show a progress bar with the terms.
        on_step: called with (step, network) after each step, for previews.
        checkpoint: file to keep the state in; where it is there, training goes on from it, to the same weights (with
            L_d up to the rounding of features that are encoded anew). Removed at the end. None keeps nothing.
        every: steps between two states kept; one is kept at an interruption (Ctrl-C, a notebook's stop button), too.
        accelerator: of Hugging Face accelerate, for bfloat16 in the network and for several processes, which share each
            batch: ``accelerate launch``, ``torchrun`` or ``notebook_launcher`` starts them. A lone process needs none.

    Returns:
        The network in evaluation mode, on ``device``, and one row per step: the loss, the unweighted terms, and under
        ``"grad <term>"`` the L2 norm of each term's gradient at the fused image.

    Raises:
        ValueError: supervisor or teacher missing, settings that cannot be, a scene without a valid patch, a batch the
            processes cannot share, or a checkpoint of another training.
        FloatingPointError: a named loss term, its gradient or the output is not finite.
        KeyboardInterrupt: interrupted between two steps, after the state was kept.
        OSError: the state could not be written; the one before it is kept.
    """
    config = config or TrainConfig()
    _check_settings(config, supervisor, teacher, every)
    checkpoint = Path(checkpoint) if checkpoint else None
    device = accelerator.device if accelerator else device
    share = _share(config.batch, accelerator)
    torch.manual_seed(config.seed)
    network = backbones.create(config.backbone, pair.bands, pair.ratio, pair.convention, **config.options)
    network.to(device, memory_format=torch.channels_last)  # a sixth faster on CPU, as measured on 128-pixel patches
    extra = {"teacher": fuse(teacher, pair)} if config.ship else {}
    patches = Patches(pair, config.patch, "all", extra, device, stride=config.stride)
    if patches.size < 11 * pair.ratio:
        raise ValueError(
            f"patches of {patches.size} PAN pixels at ratio {pair.ratio}: expected at least {11 * pair.ratio}, SSIM's "
            "window on MS's grid; take a larger patch, or a scene (data.largest_valid) with more room between nodata"
        )
    turns = min(config.crops_in_turn, len(range(config.batch)[share]))  # so that there is a crop in every step
    # CLIP's features of MS and PAN by place, filled as they are met; where places hardly return, they are not kept.
    known = {} if config.stride > 1 else None
    generator = torch.Generator().manual_seed(config.seed)
    to_pan = fit_to_pan(pair).to(device)
    texts = None
    if config.direction:
        check_native(patches, supervisor.clip)
        with torch.no_grad():
            texts = supervisor.to(device).encode_texts()
    weights = {name: getattr(config, name) for name in TERMS}
    parameters = [*network.parameters(), *to_pan.parameters()]
    optimiser = torch.optim.Adam(parameters, config.lr)
    # At least 20: the schedule divides by its warm-up steps minus 1.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, max(config.steps, 20), pct_start=0.1)
    settings = {"config": asdict(config), "sensor": asdict(pair.sensor), "convention": pair.convention}
    if checkpoint:
        settings["data"] = fingerprint(_decisive(pair, supervisor, texts, extra))
    done, kept = restore_state(checkpoint, settings, parameters, optimiser, schedule, generator)
    history: History = kept.get("history", [])
    main = accelerator is None or accelerator.is_main_process
    bar = _bar(config.steps, f"Stage II {config.backbone}", progress and main, done)
    with interruptible() as stopped:
        for step in bar:
            batch = {name: image[share] for name, image in patches.sample(config.batch, generator).items()}
            with accelerator.autocast() if accelerator else contextlib.nullcontext():
                fused = network(batch["ms"], batch["pan"])
            image = fused.detach().float().requires_grad_()  # where the terms meet: their gradients are seen here
            if not torch.isfinite(image).all():
                raise FloatingPointError(f"the network's output is not finite at step {step}; lower the learning rate")
            crops = slice(step % turns, None, turns)
            look = {"tokens": config.tokens, "crops": crops, "places": batch["place"], "known": known}
            terms = losses.stage_two(
                image, batch, pair.sensor, to_pan, weights, supervisor, texts, pair.convention, **look
            )
            optimiser.zero_grad()
            row = _backward(terms, weights, image, to_pan, step)
            fused.backward(image.grad.to(fused.dtype))
            _average(parameters, accelerator)
            optimiser.step()
            schedule.step()
            if on_step:
                on_step(step, network)
            row = _averaged({**row, "stopped": stopped()}, accelerator)  # one process stopped, all stop
            stop = row.pop("stopped") > 0
            history.append({"step": step, **row})
            bar.set_postfix({name: f"{history[-1][name]:.3f}" for name in terms}, refresh=False)
            if checkpoint and main and ((step + 1) % every == 0 or stop):
                keep_state(checkpoint, settings, step + 1, parameters, optimiser, generator, history=history)
            if stop:
                raise KeyboardInterrupt(f"stopped after step {step + 1} of {config.steps}")
    if checkpoint and main:
        checkpoint.unlink(missing_ok=True)
    return network.eval(), history


def _backward(
    terms: dict[str, torch.Tensor], weights: dict[str, float], image: torch.Tensor, to_pan: nn.Module, step: int
) -> dict[str, float]:
    """Put the weighted gradients into ``image`` and ``to_pan``; loss, terms and their gradient norms as a row."""
    loss = _weighted(terms, weights, step)
    leaves, norms = [image, *to_pan.parameters()], {}
    for name, term in terms.items():  # one after the other: as dear as all at once, for they meet in the image only
        gradients = torch.autograd.grad(term, leaves, allow_unused=True)
        norms[f"grad {name}"] = gradients[0].norm().item()
        if not math.isfinite(norms[f"grad {name}"]):
            raise FloatingPointError(f"the gradient of loss term {name!r} is not finite at step {step}")
        for leaf, gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                leaf.grad = weights[name] * gradient if leaf.grad is None else leaf.grad + weights[name] * gradient
    return {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}, **norms}


def _check_settings(config: TrainConfig, supervisor: Supervisor | None, teacher: nn.Module | None, every: int) -> None:
    """Refuse what would fail later, in one line."""
    if config.direction and supervisor is None:
        raise ValueError("config.direction > 0 needs a supervisor from adapt(); pass one, or set direction=0")
    if config.ship and teacher is None:
        raise ValueError("config.ship > 0 needs a teacher network; pass one, or set ship=0")
    if not any(getattr(config, name) for name in TERMS):
        raise ValueError(f"all weights are 0: nothing to train on; set one of {', '.join(TERMS)}")
    counts = {name: getattr(config, name) for name in ("batch", "stride", "crops_in_turn")} | {"every": every}
    for name, found in counts.items():
        if found < 1:
            raise ValueError(f"{name} must be at least 1, found {found}")


def _share(batch: int, accelerator: Accelerator | None) -> slice:
    """This process's part of every batch."""
    if accelerator is None:
        return slice(None)
    if accelerator.mixed_precision == "fp16":
        raise ValueError("mixed precision fp16 is not supported: gradients at the image are too small; use bf16 or no")
    if batch % accelerator.num_processes:
        raise ValueError(f"{accelerator.num_processes} processes cannot share a batch of {batch} evenly")
    return slice(accelerator.process_index, None, accelerator.num_processes)


def _average(parameters: list[nn.Parameter], accelerator: Accelerator | None) -> None:
    """Gradients of this process replaced by their mean over all."""
    if accelerator and accelerator.num_processes > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = accelerator.reduce(parameter.grad.contiguous(), "mean")


def _averaged(row: dict[str, float], accelerator: Accelerator | None) -> dict[str, float]:
    """A row of the history for the whole batch: means over the processes, and norms of the joint gradient."""
    if accelerator is None or accelerator.num_processes == 1:
        return row
    values = torch.tensor([float(v) for v in row.values()], dtype=torch.float64, device=accelerator.device)
    norms = torch.tensor([name.startswith("grad ") for name in row], device=values.device)
    total = accelerator.reduce(torch.where(norms, values.square(), values), "sum")
    mean = torch.where(norms, total.clamp(min=0).sqrt(), total) / accelerator.num_processes
    return dict(zip(row, mean.tolist(), strict=True))


def _decisive(
    pair: Pair, supervisor: Supervisor | None, texts: dict[str, torch.Tensor] | None, extra: dict[str, torch.Tensor]
) -> list[torch.Tensor | None]:
    """All tensors besides the settings that decide what a training becomes."""
    state = supervisor.state_dict().values() if texts else ()
    return [pair.ms, pair.pan, pair.mask, *extra.values(), *state, *(texts or {}).values()]


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
    (height, width), r, scale = pair.pan.shape[-2:], pair.ratio, pair.scale
    # MS interpolation reaches 6 MS pixels beyond the convolutions' reach, but for weights of less than a thousandth.
    step = math.lcm(r, network.grid)
    halo, tile = -(-(network.reach + 6 * r) // step) * step, -(-tile // step) * step
    out = torch.empty(pair.bands, height, width)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            r0, r1, c0, c1 = top - halo, top + tile + halo, left - halo, left + tile + halo
            r0, r1, c0, c1 = max(r0, 0), min(r1, height), max(c0, 0), min(c1, width)
            ms = pair.ms[None, :, r0 // r : r1 // r, c0 // r : c1 // r].to(device) / scale
            pan = pair.pan[None, :, r0:r1, c0:c1].to(device) / scale
            part = network(ms, pan)[0].cpu()
            bottom, right = min(top + tile, height), min(left + tile, width)
            out[:, top:bottom, left:right] = part[:, top - r0 : bottom - r0, left - c0 : right - c0]
    out = (out * scale).clamp(0, pair.peak)
    return out if pair.valid is None else out * pair.valid
