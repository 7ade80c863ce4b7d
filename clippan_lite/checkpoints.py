"""What a training made, and the state from which a stopped one goes on: safetensors and JSON, no pickles."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from clippan_lite import backbones
from clippan_lite.adapter import Supervisor
from clippan_lite.clip import Clip
from clippan_lite.config import AdaptConfig, TrainConfig
from clippan_lite.prompts import PromptSet
from clippan_lite.runtime.files import replacing, write_json

History = list[dict[str, float]]
BUNDLED = Path(__file__).with_name("weights") / "fusion"  # <backbone>_<bands>.safetensors and .json


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
        raise ValueError(
            f"{Path(path).name} was adapted around {facts['clip']}, found {clip.label}; load that CLIP"
        )
    config = AdaptConfig(**facts["config"])
    shares = (config.image_share, config.text_share)
    supervisor = Supervisor(
        clip, PromptSet(**facts["prompts"]), facts["bands"], tuple(facts["rgb"]), *shares
    )
    supervisor.load_state_dict(state)
    return supervisor.eval().requires_grad_(False)


def save_network(path: str | Path, network: nn.Module, config: TrainConfig) -> None:
    """Write a fusion network as safetensors, and a JSON beside it."""
    facts = {
        "config": asdict(config), "bands": network.bands, "ratio": network.ratio, "convention": network.convention,
    }  # fmt: skip
    _save(Path(path), network, facts)


def load_network(path: Path) -> nn.Module:
    """Load what :func:`save_network` wrote, in evaluation mode on the CPU."""
    state, config, facts = _load_network(Path(path))
    network = backbones.create(
        config.backbone, facts["bands"], facts["ratio"], facts["convention"], **config.options
    )
    _fill(network, state, Path(path))
    return network.to(
        memory_format=torch.channels_last
    ).eval()  # as trained: another layout rounds otherwise


def find_network(path: str | Path) -> Path:
    """A fusion network's file: the path itself, or the one in a run folder (with L_d and the lowest seed, if several).

    Raises:
        FileNotFoundError: there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    seeds = {
        f: int(f.name.split("seed")[1].split("-")[0])
        for f in path.glob("fusion/full-*-l_d-seed*.safetensors")
    }
    found = [
        *path.glob("network.safetensors"),
        *sorted(seeds, key=lambda f: ("without" in f.name, seeds[f])),
    ]
    if not found:
        raise FileNotFoundError(
            f"{path} is neither a network's .safetensors nor a run folder with one: train first"
        )
    return found[0]


def start(config: TrainConfig, bands: int, ratio: int, convention: str) -> nn.Module:
    """The network that a training begins with: untrained, our bundled one, or one of a file (``config.start``).

    The bundled ones take 4 or 8 bands at ratio 4; for other data, said in a printed line, training begins at EXP.

    Raises:
        ValueError: the file is of another backbone, other bands or another ratio.
        FileNotFoundError: there is no such file.
    """
    fresh = backbones.create(config.backbone, bands, ratio, convention, **config.options)
    if config.start == "bundled":
        path = BUNDLED / f"{config.backbone}_{bands}.safetensors"
        if ratio != 4 or config.options or not path.is_file():
            print(
                f"start: no bundled weights of {config.backbone} for {bands} bands, ratio {ratio}: begins at EXP"
            )
            return fresh
    elif config.start:
        path = find_network(config.start)
    else:
        return fresh
    state, other, facts = _load_network(path)
    then = (other.backbone, facts["bands"], facts["ratio"], other.options)
    if then != (config.backbone, bands, ratio, config.options):
        raise ValueError(
            f"{path.name} holds {then[0]} for {then[1]} bands, ratio {then[2]}, options {then[3]}; wanted "
            f"{config.backbone} for {bands}, {ratio}, {config.options}: start from another file, or from ''"
        )
    _fill(fresh, state, path)
    return fresh


def _save(path: Path, module: nn.Module, facts: dict) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path.with_suffix(".json"), facts)
    with replacing(path) as part:
        save_file(
            {
                name: value.detach().cpu().contiguous()
                for name, value in module.state_dict().items()
            },
            part,
        )


def _load(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for file in (path, path.with_suffix(".json")):
        if not file.is_file():
            raise FileNotFoundError(f"checkpoint {file} does not exist; train first")
    try:
        return load_file(path), json.loads(path.with_suffix(".json").read_text())
    except (SafetensorError, ValueError) as error:
        raise ValueError(
            f"checkpoint {path}, or the .json beside it, is damaged ({error}): train again"
        ) from error


def _load_network(path: Path) -> tuple[dict[str, torch.Tensor], TrainConfig, dict]:
    """Weights, settings and ``bands, ratio, convention`` of a fusion network's file."""
    state, facts = _load(path)
    try:
        return (
            state,
            TrainConfig(**facts["config"]),
            {name: facts[name] for name in ("bands", "ratio", "convention")},
        )
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path.name} holds no fusion network of this version ({error}): train again"
        ) from error


def _fill(network: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"{path.name} does not fit the .json beside it ({error}): take both from one run"
        ) from error


def write_history(path: Path, history: History) -> None:
    """Write one row per step as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, open(part, "w", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]) if history else ["step"])
        writer.writeheader()
        writer.writerows(history)


# ---------------------------------------------------------------- the state of a training that was stopped


def keep_state(
    path: Path,
    settings: dict,
    step: int,
    parameters: list[torch.Tensor],
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator | None = None,
    **facts: object,
) -> None:
    """Write what :func:`restore_state` needs; the state kept before survives until this one is whole.

    Args:
        path: file to (over)write.
        settings: whatever decides the result; a training of other settings refuses to go on from here.
        step: steps done.
        parameters: the trained tensors, in a fixed order.
        optimiser: Adam or AdamW over them.
        generator: source of the training's random draws.
        facts: what else to hand back, such as the history; JSON.

    Raises:
        OSError: the file could not be written, for a full disk or else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    state = {}
    for i, parameter in enumerate(parameters):
        state[f"{i}.value"] = parameter.detach()
        moments = optimiser.state.get(parameter)
        if moments:  # none where no term of the loss reached it
            state |= {f"{i}.mean": moments["exp_avg"], f"{i}.square": moments["exp_avg_sq"]}
            state[f"{i}.steps"] = moments["step"]  # fewer where only some steps reached it
    if generator is not None:
        state["generator"] = generator.get_state()
    state = {name: value.cpu().contiguous() for name, value in state.items()}
    told = {
        "settings": json.dumps(settings, sort_keys=True),
        "step": str(step),
        "facts": json.dumps(facts),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as part:
            save_file(state, part, told)
    except (OSError, SafetensorError) as error:
        before = "the one before it is kept" if path.is_file() else "none is kept"
        raise OSError(
            f"the state after step {step} could not be written to {path} ({error}); {before}"
        ) from error


def restore_state(
    path: Path | None,
    settings: dict,
    parameters: list[torch.Tensor],
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    generator: torch.Generator | None = None,
) -> tuple[int, dict]:
    """Put back what :func:`keep_state` wrote, with the same arguments.

    Returns:
        steps done (0 where there is no such file) and the facts kept beside them.

    Raises:
        ValueError: the state is of other settings, or the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if path is None or not path.is_file():
        return 0, {}
    try:
        with safe_open(path, "pt") as file:
            told, state = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        settings_then, step, facts = (
            json.loads(told["settings"]),
            int(told["step"]),
            json.loads(told["facts"]),
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} holds no state of a training ({error}); delete it to start anew"
        ) from error
    settings = json.loads(json.dumps(settings))
    if settings_then != settings:
        other = [k for k in {*settings, *settings_then} if settings.get(k) != settings_then.get(k)]
        raise ValueError(
            f"{path} is of other settings ({', '.join(sorted(other))}); use those, or delete the file"
        )
    for i, parameter in enumerate(parameters):
        parameter.data.copy_(state[f"{i}.value"])
        if f"{i}.mean" in state:  # on the parameter's device and in its layout, as Adam makes them
            mean, square = (
                torch.empty_like(parameter).copy_(state[f"{i}.{name}"])
                for name in ("mean", "square")
            )
            optimiser.state[parameter] = {
                "step": state[f"{i}.steps"],
                "exp_avg": mean,
                "exp_avg_sq": square,
            }
    if generator is not None:
        generator.set_state(state["generator"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the schedule moves on here without the optimiser
        for _ in range(step):
            schedule.step()
    print(f"going on from step {step} of {path.name}")
    return step, facts


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C, or a notebook's stop button, was pressed; pressed twice, it stops.

    A loop asks between its steps, so that what it keeps is no half-done step.
    """
    pressed: list[bool] = []

    def note(*_: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)

    main = threading.current_thread() is threading.main_thread()  # others get no signals
    before = signal.signal(signal.SIGINT, note) if main else None
    try:
        yield lambda: bool(pressed)
    finally:
        if main:
            signal.signal(signal.SIGINT, before)


def fingerprint(tensors: Iterable[torch.Tensor | None]) -> str:
    """Short hash of values and shapes, by which a training knows its own data again."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(b"none" if tensor is None else repr(tuple(tensor.shape)).encode())
        if tensor is not None:
            found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:12]
