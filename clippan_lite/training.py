"""Stage II as a plain function: train() trains a fusion network without truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from clippan_lite import backbones, checkpoints, losses
from clippan_lite.batches import Batches
from clippan_lite.callbacks import Callback, History, Steps, read_row
from clippan_lite.config import TrainConfig, digest, recipe
from clippan_lite.data import Pair
from clippan_lite.physics import matrices
from clippan_lite.runtime import files, memory
from clippan_lite.runtime.devices import pick
from clippan_lite.runtime.processes import Processes
from clippan_lite.runtime.settings import expect
from clippan_lite.runtime.state import TrainingState

if TYPE_CHECKING:
    from accelerate import Accelerator

    from clippan_lite.adapter import Supervisor


@memory.kept()
def train(
    pair: Pair | Sequence[Pair],
    config: TrainConfig | None = None,
    supervisor: Supervisor | None = None,
    teacher: backbones.Fusion | None = None,
    device: str | torch.device = "cpu",
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | Path | None = None,
    every: int = 100,
    accelerator: Accelerator | None = None,
    compiled: bool = False,
    save: Callable[[backbones.Fusion, History], object] | None = None,
    label: str = "",
) -> tuple[backbones.Fusion, History]:
    """Stage II: train a fusion network on the scene to be fused, or on several, without truth.

    Args:
        pair: one scene, or several with the same bands, ratio and convention. Each step draws one
            of them. Their ``truth`` is used only if a term with a weight needs it. All are held in
            memory, with EXP: of a large benchmark file, give a slice.
        config: backbone, what it starts from, steps, patch and the weights of the named terms;
            by default the recipe "quick".
        supervisor: from :func:`clippan_lite.adaptation.adapt`, for terms that need one, such as
            ``direction`` and ``words``.
        teacher: fusion network trained at reduced resolution, for terms that need one, such as
            ``ship``. None takes the weights that the training begins with. Where it begins
            untrained, a teacher is made first, by :func:`teach`, which doubles the time.
        device: ``"auto"``, ``"cpu"`` or a CUDA device; an accelerator brings its own.
        progress: show a progress bar with the terms.
        callbacks: called with (step, network, row) after each step; True stops, as Ctrl-C does.
        checkpoint: file to keep the state in. Where it exists, training goes on from it, to the
            same weights (with L_d up to the rounding of features that are encoded anew). It is
            removed at the end. None keeps nothing.
        every: steps between two states kept. One is kept at an interruption, too.
        accelerator: of Hugging Face accelerate, for bfloat16 in the network, and for several
            processes that share each batch (``accelerate launch``, ``torchrun``). A lone process
            needs none.
        compiled: let torch.compile translate the network first (a minute, which pays on a GPU).
        save: called with what is returned before the checkpoint is removed, so that whatever stops
            the process, one of the two is there.
        label: name of the progress bar; "" names the backbone.

    Returns:
        The network in evaluation mode, on ``device``, and one row per step: the loss, the
        unweighted terms, and under ``"grad <term>"`` the L2 norm of each term's gradient at the
        fused image.

    Raises:
        ValueError: an argument of another type, what a term needs is missing, scenes do not fit
            together or have no valid patch, processes cannot share the batch, or the checkpoint is
            of another training.
        FloatingPointError: a named loss term or its gradient is not finite.
        KeyboardInterrupt: interrupted between two steps, after the state was kept.
        OSError: the state could not be written; the one before it is kept.
    """
    config = config or recipe("quick")
    pairs = list(pair) if isinstance(pair, Iterable) else [pair]
    check_training(config, pairs, supervisor, teacher)
    processes = Processes(config.batch, accelerator)
    device = accelerator.device if accelerator else pick(str(device))
    if config.needs("teacher") and teacher is None:
        options = {"device": device, "progress": progress, "every": every, "compiled": compiled}
        teacher = _make_teacher(pairs, config, checkpoint, accelerator, **options)

    torch.manual_seed(config.seed)
    network = checkpoints.start(config, pairs[0].bands, pairs[0].ratio, pairs[0].convention)
    network.to(device).to(memory_format=torch.channels_last)  # a sixth faster on a CPU
    forward = processes.wrap(torch.compile(network) if compiled else network)
    batches = Batches(pairs, config, supervisor, teacher, device, processes.part)
    terms = losses.TERMS.build(config, config.active())
    parameters = [*network.parameters(), *batches.parameters()]
    optimiser, schedule = _adam_with_one_cosine(parameters, config)
    identity = _identity(config, pairs, batches, supervisor, network) if checkpoint else {}
    resumable = (parameters, optimiser, schedule, batches.generator)
    state = TrainingState(checkpoint, identity, *resumable, every, processes.is_main)
    done, history = state.restore()
    shown = (label or f"Stage II {config.backbone}", progress and processes.is_main)
    steps = Steps(config.steps, *shown, done, callbacks)

    for step in steps:
        by_scale = batches.draw(step)
        weights = losses.balanced(config.weights, history) if config.balance else config.weights
        optimiser.zero_grad()
        with matrices.small_images():
            fused = {scale: forward(*network.inputs(crops)) for scale, crops in by_scale.items()}
            # The terms meet at the fused images. Gradients are taken there, then passed on once.
            images = {scale: image.detach().float() for scale, image in fused.items()}
            values, gradients = losses.backward(terms, weights, images, by_scale)
        history.append(processes.average_row(read_row(step, values)))
        at_outputs = [gradients[scale].to(image.dtype) for scale, image in fused.items()]
        torch.autograd.backward(list(fused.values()), at_outputs)
        processes.average_gradients(parameters)
        optimiser.step()
        schedule.step()
        state.finish(step, history, processes.any(steps.finish(step, history[-1], network)))
    state.remove_after(save, network.eval(), history)
    return network, history


def teach(pair: Pair | Sequence[Pair], config: TrainConfig, **options: Any) -> backbones.Fusion:
    """Teacher of L_ship: the same training with one term, ``reduced``, where MS is the truth.

    Args:
        pair: as in :func:`train`.
        config: all settings but the weights count, ``start`` too.
        options: more arguments of :func:`train`, such as ``device``.
    """
    plain = config.changed(weights={"reduced": 1.0}, guard=False, tokens=False)
    return train(pair, plain, **options)[0]


def _make_teacher(
    pairs: list[Pair],
    config: TrainConfig,
    checkpoint: str | Path | None,
    accelerator: Accelerator | None,
    **options: Any,  # more arguments of train(), of several types
) -> backbones.Fusion:
    """The teacher of a training that was given none.

    A training that begins with trained weights learns from those. Another one makes a teacher, kept
    beside the training's state.
    """
    if config.start:
        first = pairs[0]
        begun = checkpoints.start(config, first.bands, first.ratio, first.convention)
        return begun.to(options["device"]).eval()
    path = None
    if checkpoint:
        images = [image for pair in pairs for image in (pair.ms, pair.pan, pair.mask)]
        key = digest(asdict(config), checkpoints.fingerprint(images))
        beside = Path(checkpoint)
        path = beside.with_name(f"{beside.stem}-teacher-{key}.safetensors")

    def make() -> backbones.Fusion:
        state = path.with_suffix(".state") if path else None
        save = (lambda made, _: checkpoints.save_network(path, made, config)) if path else None
        return teach(pairs, config, checkpoint=state, accelerator=accelerator, save=save, **options)

    why = f"none given ({config.steps} steps, one scale down)"
    made = files.load_or_make(path, "teacher for L_ship", checkpoints.load_network, make, why=why)
    return made.to(options["device"])


def _adam_with_one_cosine(
    parameters: list[torch.nn.Parameter], config: TrainConfig
) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.OneCycleLR]:
    """Adam with a short warm-up and one cosine down to 0."""
    optimiser = torch.optim.Adam(parameters, config.lr, foreach=True)  # few operations
    steps = max(config.steps, 20)  # the schedule divides by its warm-up steps minus 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, steps, pct_start=0.1)
    return optimiser, schedule


def _identity(
    config: TrainConfig,
    pairs: list[Pair],
    batches: Batches,
    supervisor: Supervisor | None,
    network: backbones.Fusion,
) -> dict[str, Any]:
    """All that decides the result of a training, by which its state is recognised."""
    tensors = batches.content()
    if supervisor is not None and batches.is_guided:
        tensors += supervisor.state_dict().values()
    if config.start:
        tensors += network.parameters()
    identity = {
        "config": asdict(config),
        "scenes": [[asdict(pair.sensor), pair.convention] for pair in pairs],
        "data": checkpoints.fingerprint(tensors),
        "code": checkpoints.own_code(config),
    }
    if config.weight("words") and supervisor is not None:
        identity["antonyms"] = [list(pair) for pair in supervisor.prompts.antonyms]
    return identity


def check_training(
    config: TrainConfig,
    pairs: list[Pair],
    supervisor: Supervisor | None,
    teacher: backbones.Fusion | None = None,
) -> None:
    """Refuse what would fail later, in one line (ValueError), and say which settings do nothing."""
    expect("config", config, TrainConfig, 'such as cl.recipe("quick")')
    if not pairs:
        raise ValueError("no scene to train on: pass a pair, or several")
    for pair in pairs:
        expect("a scene", pair, Pair, "read_pair reads files")
    if supervisor is not None:
        from clippan_lite.adapter import Supervisor  # loaded already, if there is one

        hint = "adapt returns (supervisor, history), so write supervisor, _ = cl.adapt(pair)"
        expect("the supervisor", supervisor, Supervisor, hint)
    expect("the teacher", teacher, backbones.Fusion, "training.teach makes one", optional=True)
    kinds = {(pair.bands, pair.ratio, pair.convention): pair.name for pair in pairs}
    if len(kinds) > 1:
        kinds_found = [
            f"{name} has {b} bands, ratio {r}, {c!r}" for (b, r, c), name in kinds.items()
        ]
        raise ValueError(f"one network cannot take these scenes together: {'; '.join(kinds_found)}")
    config.check_active()
    relations = [name for name in ("qnr", "ds") if config.weight(name) and pairs[0].bands == 1]
    if relations:
        raise ValueError(f"the term {relations[0]} compares bands, found one: set {relations[0]}=0")
    without_truth = [pair.name for pair in pairs if pair.truth is None]
    for name in config.active():
        need = losses.TERMS[name].needs
        if need == "supervisor" and supervisor is None:
            raise ValueError(
                f"the term {name} needs a supervisor from adapt(); pass one, or set {name}=0"
            )
        if need == "truth" and without_truth:
            raise ValueError(
                f"the term {name} needs a scene with truth, found {without_truth[0]}: set it to 0"
            )
    for name in sorted(config.idle()):
        if getattr(config, name) != getattr(TrainConfig, name):
            print(f"{name} does nothing: no term with a weight takes it")
