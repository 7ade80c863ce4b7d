"""Stage II as a plain function: train() trains a fusion network without truth, on one scene or on several."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from clippan_lite import checkpoints, data, fuse, losses
from clippan_lite.adaptation import check_native
from clippan_lite.adapter import Supervisor
from clippan_lite.callbacks import progress_bar
from clippan_lite.checkpoints import History, fingerprint, interruptible, keep_state, restore_state
from clippan_lite.config import TrainConfig, digest
from clippan_lite.data import Pair, Patches
from clippan_lite.losses import weighted_sum
from clippan_lite.physics import degrade

if TYPE_CHECKING:
    from accelerate import Accelerator


#: Terms of Stage II, as in TrainConfig. "reduced" is measured one scale down, all others at full resolution.
TERMS = ("spec", "spat", "rho", "ds", "qnr", "reduced", "truth", "ship", "direction", "words")


@dataclass
class _Scene:
    """What a training needs of one scene, on the device."""

    pair: Pair
    patches: Patches
    low: Patches | None  # one scale down, where MS is the truth
    to_pan: nn.Conv2d  # phi of L_spat
    known: (
        dict | None
    )  # CLIP's features of MS and PAN by place, filled as they are met; None does not keep them
    turns: int = 1  # steps in which L_d sees all crops once


def _prepare(
    pair: Pair, config: TrainConfig, teacher: nn.Module | None, device: str | torch.device
) -> _Scene:
    """Patches and constants of one scene."""
    extra = {"teacher": fuse.fuse_pair(teacher, pair)} if config.ship else {}
    if config.truth:
        if pair.truth is None:
            raise ValueError(
                f"config.truth > 0 needs scenes whose truth is known, found {pair.name}; set truth=0"
            )
        extra["truth"] = pair.truth
    patches = Patches(pair, config.patch, "all", extra, device, stride=config.stride)
    if patches.size < 11 * pair.ratio:
        raise ValueError(
            f"patches of {patches.size} PAN pixels at ratio {pair.ratio}: expected at least {11 * pair.ratio}, SSIM's "
            "window on MS's grid; take a larger patch, or a scene (data.largest_valid) with more room between nodata"
        )
    low = None
    if config.reduced:
        small = data.reduced(pair)
        try:
            low = Patches(small, config.patch // 2, "all", {"truth": small.truth}, device, least=16)
        except ValueError as error:
            raise ValueError(f"one scale down, {error}; or set reduced=0") from error
    # Where places hardly return, features are not kept.
    return _Scene(
        pair, patches, low, fit_to_pan(pair).to(device), {} if config.stride > 1 else None
    )


def train(
    pair: Pair | Sequence[Pair],
    config: TrainConfig | None = None,
    supervisor: Supervisor | None = None,
    teacher: nn.Module | None = None,
    device: str = "cpu",
    progress: bool = True,
    on_step: Callable[[int, nn.Module, dict[str, float]], object] | None = None,
    checkpoint: Path | None = None,
    every: int = 100,
    accelerator: Accelerator | None = None,
    compiled: bool = False,
) -> tuple[nn.Module, History]:
    """Stage II: train a fusion network on the scene to be fused, or on several, without truth.

    Args:
        pair: one scene, or several with the same bands, ratio and convention; each step draws one of them. Their
            ``truth``, where known, is looked at only with ``config.truth`` above 0. All are held in memory, with EXP:
            of a large benchmark file, give a slice.
        config: backbone, what it starts from, steps, patch and the weights of the named terms.
        supervisor: from :func:`clippan_lite.adaptation.adapt`, needed when ``config.direction`` or ``config.words`` is
            above 0.
        teacher: fusion network trained at reduced resolution, for ``config.ship`` above 0; None makes one first, by
            :func:`teach`, which doubles the time.
        device: ``"cpu"`` or a CUDA device; an accelerator brings its own.
        progress: show a progress bar with the terms.
        on_step: called with (step, network, row of the history) after each step, for previews
            (:func:`clippan_lite.course.plotting.previews`); what returns True stops the training as Ctrl-C does.
        checkpoint: file to keep the state in; where it is there, training goes on from it, to the same weights (with
            L_d up to the rounding of features that are encoded anew). Removed at the end. None keeps nothing.
        every: steps between two states kept; one is kept at an interruption (Ctrl-C, a notebook's stop button), too.
        accelerator: of Hugging Face accelerate, for bfloat16 in the network and for several processes, which share each
            batch: ``accelerate launch``, ``torchrun`` or ``notebook_launcher`` starts them. A lone process needs none.
        compiled: let torch.compile translate the network first, a minute that pays on a GPU and in long trainings.

    Returns:
        The network in evaluation mode, on ``device``, and one row per step: the loss, the unweighted terms, and under
        ``"grad <term>"`` the L2 norm of each term's gradient at the fused image.

    Raises:
        ValueError: supervisor missing, settings that cannot be, scenes that do not fit together or are
            without a valid patch, a batch the processes cannot share, or a checkpoint of another training.
        FloatingPointError: a named loss term, its gradient or the output is not finite.
        KeyboardInterrupt: interrupted between two steps, after the state was kept.
        OSError: the state could not be written; the one before it is kept.
    """
    config = config or TrainConfig()
    pairs = [pair] if isinstance(pair, Pair) else list(pair)
    _check_settings(config, pairs, supervisor, every)
    checkpoint = Path(checkpoint) if checkpoint else None
    if checkpoint and checkpoint.is_dir():
        raise ValueError(
            f"checkpoint {checkpoint} is a folder: give a file in it, such as state.safetensors"
        )
    device = accelerator.device if accelerator else device
    if config.ship and teacher is None:
        options = {
            "progress": progress,
            "every": every,
            "accelerator": accelerator,
            "compiled": compiled,
        }
        teacher = _teacher(pairs, config, checkpoint, device=device, **options)
    share = _share(config.batch, accelerator)
    torch.manual_seed(config.seed)
    network = checkpoints.start(config, pairs[0].bands, pairs[0].ratio, pairs[0].convention)
    network.to(
        device, memory_format=torch.channels_last
    )  # a sixth faster on CPU, as measured on 128-pixel patches
    scenes = [_prepare(each, config, teacher, device) for each in pairs]
    generator = torch.Generator().manual_seed(config.seed)
    texts = None
    if config.direction or config.words:
        for scene in scenes:
            check_native(scene.patches, supervisor.clip)
            crops = (scene.patches.size // min(supervisor.clip.input_size, scene.patches.size)) ** 2
            scene.turns = min(
                config.crops_in_turn, crops * len(range(config.batch)[share])
            )  # a crop in every step
        with torch.no_grad():
            texts = supervisor.to(device).encode_texts()
    weights = {name: getattr(config, name) for name in TERMS}
    parameters = [
        *network.parameters(),
        *(p for scene in scenes for p in scene.to_pan.parameters()),
    ]
    optimiser = torch.optim.Adam(parameters, config.lr)
    # At least 20: the schedule divides by its warm-up steps minus 1.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.lr, max(config.steps, 20), pct_start=0.1
    )
    settings = {
        "config": asdict(config),
        "scenes": [[asdict(p.sensor), p.convention] for p in pairs],
    }
    if config.words:
        settings["antonyms"] = [list(pair) for pair in supervisor.prompts.antonyms]
    if checkpoint:
        settings["data"] = fingerprint(
            _decisive(scenes, supervisor, texts, network if config.start else None)
        )
    done, kept = restore_state(checkpoint, settings, parameters, optimiser, schedule, generator)
    history: History = kept.get("history", [])
    main = accelerator is None or accelerator.is_main_process
    run = torch.compile(network) if compiled else network
    at_full = any(weights[name] for name in TERMS if name != "reduced")
    bar = progress_bar(config.steps, f"Stage II {config.backbone}", progress and main, done)
    with interruptible() as stopped:
        for step in bar:
            # No draw for a lone scene: its patches stay those of earlier versions.
            scene = (
                scenes[int(torch.randint(len(scenes), (1,), generator=generator))]
                if scenes[1:]
                else scenes[0]
            )
            batch, low, fused = {}, {}, {}
            with accelerator.autocast() if accelerator else contextlib.nullcontext():
                if at_full:
                    batch = _part(scene.patches.sample(config.batch, generator), share)
                    fused["full"] = run(batch["ms"], batch["pan"])
                if config.reduced:
                    low = _part(scene.low.sample(config.batch, generator), share)
                    fused["reduced"] = run(low["ms"], low["pan"])
            # Where the terms meet; their gradients are seen here.
            images = {
                name: image.detach().float().requires_grad_() for name, image in fused.items()
            }
            if not all(torch.isfinite(image).all() for image in images.values()):
                raise FloatingPointError(
                    f"the network's output is not finite at step {step}; lower the learning rate"
                )
            terms = {}
            if at_full:
                crops = slice(step % scene.turns, None, scene.turns)
                look = {
                    "tokens": config.tokens,
                    "crops": crops,
                    "places": batch["place"],
                    "known": scene.known,
                }
                terms = losses.stage_two(
                    images["full"], batch, scene.pair.sensor, scene.to_pan, weights, supervisor, texts,
                    scene.pair.convention, config.ds_floor, config.guard, step % scene.pair.bands, **look,
                )  # fmt: skip
            if config.reduced:
                terms["reduced"] = losses.mse_ssim(images["reduced"], low["truth"])
            now = balanced(weights, history) if config.balance else weights
            optimiser.zero_grad()
            row = _backward(terms, now, images, scene.to_pan, step)
            for name, image in fused.items():
                image.backward(images[name].grad.to(image.dtype))
            _average(parameters, accelerator)
            optimiser.step()
            schedule.step()
            enough = on_step(step, network, row) is True if on_step else False
            row = _averaged(
                {**row, "stopped": stopped() or enough}, accelerator
            )  # one process stopped, all stop
            stop = row.pop("stopped") > 0
            history.append({"step": step, **row})
            bar.set_postfix({name: f"{history[-1][name]:.3f}" for name in terms}, refresh=False)
            if checkpoint and main and ((step + 1) % every == 0 or stop):
                keep_state(
                    checkpoint,
                    settings,
                    step + 1,
                    parameters,
                    optimiser,
                    generator,
                    history=history,
                )
            if stop:
                raise KeyboardInterrupt(f"stopped after step {step + 1} of {config.steps}")
    if checkpoint and main:
        for file in (checkpoint, *checkpoint.parent.glob(f"{checkpoint.stem}-teacher-*")):
            file.unlink(missing_ok=True)
    return network.eval(), history


def teach(pair: Pair | Sequence[Pair], config: TrainConfig, **options: object) -> nn.Module:
    """Teacher of L_ship: the same training with one term, ``reduced``, where MS is the truth (Wald's protocol).

    Args:
        pair: as in :func:`train`.
        config: backbone, steps, rate and seed; its weights do not count.
        options: more arguments of :func:`train`, such as ``device``.
    """
    alone = replace(config, **{**dict.fromkeys(TERMS, 0.0), "reduced": 1.0})
    return train(pair, alone, **options)[0]


def _teacher(
    pairs: list[Pair], config: TrainConfig, checkpoint: Path | None, **options: object
) -> nn.Module:
    """The teacher of a training that was given none, kept beside the training's state so that it is trained once."""
    path = None
    if checkpoint:
        key = digest(
            asdict(config), fingerprint(image for p in pairs for image in (p.ms, p.pan, p.mask))
        )
        path = checkpoint.with_name(f"{checkpoint.stem}-teacher-{key}.safetensors")
        if path.is_file() and path.with_suffix(".json").is_file():
            print(f"teacher for L_ship: loaded {path.name}")
            return checkpoints.load_network(path).to(options["device"])
    print(
        f"teacher for L_ship: none given, training one now, one scale down ({config.steps} steps)"
    )
    teacher = teach(
        pairs, config, checkpoint=path.with_suffix(".state") if path else None, **options
    )
    accelerator = options.get("accelerator")
    if path and (accelerator is None or accelerator.is_main_process):
        checkpoints.save_network(path, teacher, config)
    return teacher


def _part(batch: dict[str, torch.Tensor], share: slice) -> dict[str, torch.Tensor]:
    """A process's part of a batch."""
    return {name: image[share] for name, image in batch.items()}


def balanced(weights: dict[str, float], history: History, span: int = 20) -> dict[str, float]:
    """Weights by which each term pushes its weight times as hard as the first one: scaled by gradient norms.

    Args:
        weights: name -> weight, in the order of :data:`TERMS`.
        history: rows so far; the means over the last ``span`` of them count. None yet: the weights as they are.
        span: rows.
    """
    rows = history[-span:]
    norms = {
        name: sum(row[f"grad {name}"] for row in rows)
        for name in weights
        if rows and f"grad {name}" in rows[0]
    }
    first = next((norm for norm in norms.values() if norm > 0), 1.0)
    return {
        name: weight * (first / norms[name] if norms.get(name) else 1.0)
        for name, weight in weights.items()
    }


def _backward(
    terms: dict[str, torch.Tensor],
    weights: dict[str, float],
    images: dict[str, torch.Tensor],
    to_pan: nn.Module,
    step: int,
) -> dict[str, float]:
    """Put the weighted gradients into the images and ``to_pan``; loss, terms and their gradient norms as a row."""
    loss, norms = weighted_sum(terms, weights, step), {}
    for (
        name,
        term,
    ) in (
        terms.items()
    ):  # one after the other: as dear as all at once, for they meet in the image only
        leaves = [images["reduced" if name == "reduced" else "full"], *to_pan.parameters()]
        gradients = torch.autograd.grad(term, leaves, allow_unused=True)
        norms[f"grad {name}"] = gradients[0].norm().item()
        if not math.isfinite(norms[f"grad {name}"]):
            raise FloatingPointError(
                f"the gradient of loss term {name!r} is not finite at step {step}"
            )
        for leaf, gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                leaf.grad = (
                    weights[name] * gradient
                    if leaf.grad is None
                    else leaf.grad + weights[name] * gradient
                )
    return {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}, **norms}


def _check_settings(
    config: TrainConfig, pairs: list[Pair], supervisor: Supervisor | None, every: int
) -> None:
    """Refuse what would fail later, in one line."""
    if not pairs:
        raise ValueError("no scene to train on: pass a pair, or several")
    if not all(isinstance(pair, Pair) for pair in pairs):
        raise ValueError(
            f"expected a pair, or several, found {type(pairs[0]).__name__}: geotiff.read_pair reads files"
        )
    if config.steps < 0:
        raise ValueError(f"steps must be 0 or more, found {config.steps}")
    kinds = {(pair.bands, pair.ratio, pair.convention): pair.name for pair in pairs}
    if len(kinds) > 1:
        found = "; ".join(
            f"{name} has {b} bands, ratio {r}, {c!r}" for (b, r, c), name in kinds.items()
        )
        raise ValueError(f"one network cannot take these scenes together: {found}")
    for name in ("direction", "words"):
        if getattr(config, name) and supervisor is None:
            raise ValueError(
                f"config.{name} > 0 needs a supervisor from adapt(); pass one, or set {name}=0"
            )
    for name in TERMS:
        if not 0 <= getattr(config, name) < math.inf:
            raise ValueError(f"the weight {name} must be 0 or more, found {getattr(config, name)}")
    if not any(getattr(config, name) for name in TERMS):
        raise ValueError(f"all weights are 0: nothing to train on; set one of {', '.join(TERMS)}")
    counts = {name: getattr(config, name) for name in ("batch", "stride", "crops_in_turn")} | {
        "every": every
    }
    for name, found in counts.items():
        if found < 1:
            raise ValueError(f"{name} must be at least 1, found {found}")


def _share(batch: int, accelerator: Accelerator | None) -> slice:
    """This process's part of every batch."""
    if accelerator is None:
        return slice(None)
    if accelerator.mixed_precision == "fp16":
        raise ValueError(
            "mixed precision fp16 is not supported: gradients at the image are too small; use bf16 or no"
        )
    if batch % accelerator.num_processes:
        raise ValueError(
            f"{accelerator.num_processes} processes cannot share a batch of {batch} evenly"
        )
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
    values = torch.tensor(
        [float(v) for v in row.values()], dtype=torch.float64, device=accelerator.device
    )
    norms = torch.tensor([name.startswith("grad ") for name in row], device=values.device)
    total = accelerator.reduce(torch.where(norms, values.square(), values), "sum")
    mean = torch.where(norms, total.clamp(min=0).sqrt(), total) / accelerator.num_processes
    return dict(zip(row, mean.tolist(), strict=True))


def _decisive(
    scenes: list[_Scene],
    supervisor: Supervisor | None,
    texts: dict[str, torch.Tensor] | None,
    start: nn.Module | None,
) -> list[torch.Tensor | None]:
    """All tensors besides the settings that decide what a training becomes."""
    images = [image for s in scenes for image in (s.pair.ms, s.pair.pan, s.pair.mask)]
    images += [
        s.patches.images[name]
        for s in scenes
        for name in ("teacher", "truth")
        if name in s.patches.images
    ]
    state = supervisor.state_dict().values() if texts else ()
    return [*images, *state, *(texts or {}).values(), *(start.parameters() if start else ())]


def fit_to_pan(pair: Pair) -> nn.Conv2d:
    """Phi of L_spat, fitted where both images are known: PAN degraded to MS's grid, explained by MS."""
    low = degrade.degrade(pair.pan, [pair.sensor.mtf_pan], pair.ratio, pair.convention)
    ms = pair.ms
    if pair.valid is not None:
        keep = pair.valid[:: pair.ratio, :: pair.ratio]
        ms, low = ms[:, keep][:, None], low[:, keep][:, None]
    return losses.band_to_pan(ms / pair.scale, low / pair.scale)
