"""What a training made, and the state from which a stopped one goes on: safetensors and JSON."""

from __future__ import annotations

import csv
import hashlib
import json
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from clippan_lite import backbones
from clippan_lite.callbacks import History
from clippan_lite.config import AdaptConfig, TrainConfig
from clippan_lite.runtime.files import replacing, write_json

if TYPE_CHECKING:
    from clippan_lite.adapter import Supervisor
    from clippan_lite.clip import Clip

BUNDLED = Path(__file__).with_name("weights") / "fusion"  # <backbone>_<bands>.safetensors and .json


def save_supervisor(path: Path, supervisor: Supervisor, config: AdaptConfig, sensor: str) -> None:
    """Write stems and adapters as safetensors, and a JSON with all that loading needs."""
    facts = {
        "config": asdict(config),
        "sensor": sensor,
        "bands": supervisor.bands,
        "rgb": supervisor.rgb,
        "clip": supervisor.clip.label,
        "prompts": asdict(supervisor.prompts),
    }
    _save(path, supervisor, facts)


def load_supervisor(path: Path, clip: Clip) -> Supervisor:
    """Load what :func:`save_supervisor` wrote, around the same CLIP that it was adapted with.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: it was adapted around another CLIP.
    """
    from clippan_lite.adapter import Supervisor
    from clippan_lite.prompts import PromptSet

    weights, facts = _load(path)
    if facts["clip"] != clip.label:
        raise ValueError(
            f"{path.name} was adapted around {facts['clip']}, found {clip.label}; load that CLIP"
        )
    config = AdaptConfig(**facts["config"])
    antonyms = tuple(tuple(words) for words in facts["prompts"]["antonyms"])  # JSON made lists
    prompts = PromptSet(**{**facts["prompts"], "antonyms": antonyms})
    rgb = tuple(facts["rgb"])
    shares = (config.image_share, config.text_share)
    supervisor = Supervisor(clip, prompts, facts["bands"], rgb, *shares)
    supervisor.load_state_dict(weights)
    return supervisor.eval().requires_grad_(False)


def save_network(path: str | Path, network: backbones.Fusion, config: TrainConfig) -> None:
    """Write a fusion network as safetensors, and a JSON beside it."""
    facts = {
        "config": asdict(config),
        "bands": network.bands,
        "ratio": network.ratio,
        "convention": network.convention,
    }
    _save(Path(path), network, facts)


def load_network(path: str | Path) -> backbones.Fusion:
    """Load what :func:`save_network` wrote, in evaluation mode on the CPU.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: they are damaged, or do not fit each other.
    """
    path = Path(path)
    weights, config, shape = _load_network(path)
    network = backbones.create(config.backbone, *shape, **config.options)
    _fill(network, weights, path)
    return network.to(memory_format=torch.channels_last).eval()  # another layout rounds otherwise


def find_network(path: str | Path) -> Path:
    """A fusion network's file: the path itself, or the one in a run folder.

    Of several in a run folder, one trained with L_d comes first, and the lowest seed.

    Raises:
        FileNotFoundError: there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    if (path / "network.safetensors").is_file():
        return path / "network.safetensors"

    def rank(file: Path) -> tuple[bool, int]:
        seed = file.name.split("seed")[1].split("-")[0]
        return "without" in file.name, int(seed)

    files = sorted(path.glob("fusion/full-*-l_d-seed*.safetensors"), key=rank)
    if not files:
        raise FileNotFoundError(
            f"{path} is neither a network's .safetensors nor a run folder with one: train first"
        )
    return files[0]


def start(config: TrainConfig, bands: int, ratio: int, convention: str) -> backbones.Fusion:
    """The network that a training begins with: untrained, our bundled one, or one from a file.

    The bundled ones take 4 or 8 bands at ratio 4. For other data the training begins at EXP, and a
    printed line says so.

    Raises:
        ValueError: the file is of another backbone, other bands or another ratio.
        FileNotFoundError: there is no such file.
    """
    network = backbones.create(config.backbone, bands, ratio, convention, **config.options)
    if not config.start:
        return network
    path = BUNDLED / f"{config.backbone}_{bands}.safetensors"
    if config.start != "bundled":
        path = find_network(config.start)
    elif ratio != 4 or config.options or not path.is_file():
        print(
            f"start: no bundled weights of {config.backbone} for {bands} bands, ratio {ratio}: "
            "begins at EXP"
        )
        return network
    weights, other, shape = _load_network(path)
    if (other.backbone, *shape[:2], other.options) != (
        config.backbone,
        bands,
        ratio,
        config.options,
    ):
        raise ValueError(
            f"{path.name} holds {other.backbone} for {shape[0]} bands, ratio {shape[1]}, options "
            f"{other.options}; wanted {config.backbone} for {bands}, {ratio}, {config.options}: "
            "start from another file, or from ''"
        )
    _fill(network, weights, path)
    return network


def _save(path: Path, module: nn.Module, facts: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path.with_suffix(".json"), facts)
    state = module.state_dict().items()
    with replacing(path) as part:
        save_file({name: value.detach().cpu().contiguous() for name, value in state}, part)


def _load(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    for file in (path, path.with_suffix(".json")):
        if not file.is_file():
            raise FileNotFoundError(f"checkpoint {file} does not exist; train first")
    try:
        return load_file(path), json.loads(path.with_suffix(".json").read_text())
    except (SafetensorError, ValueError) as error:
        raise ValueError(
            f"checkpoint {path}, or the .json beside it, is damaged ({error}): train again"
        ) from error


def _load_network(
    path: Path,
) -> tuple[dict[str, torch.Tensor], TrainConfig, tuple[int, int, str]]:
    """Weights, settings and (bands, ratio, convention) of a fusion network's file."""
    weights, facts = _load(path)
    try:
        shape = (facts["bands"], facts["ratio"], facts["convention"])
        settings = facts["config"]
        # A loss of one's own may not be registered where the network is used.
        known = {name: w for name, w in settings["weights"].items() if name in TrainConfig.terms}
        return weights, TrainConfig(**{**settings, "weights": known}), shape
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path.name} holds no fusion network of this version ({error}): train again"
        ) from error


def _fill(network: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    try:
        network.load_state_dict(weights)
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


class TrainingState:
    """The state of a training in a file, from which a stopped one goes on to the very same weights.

    Args:
        path: file to keep the state in. None keeps nothing.
        settings: whatever decides the result. A training of other settings refuses to go on.
        parameters: the trained tensors, in a fixed order.
        optimiser: Adam or AdamW over them.
        schedule: of the learning rate.
        generator: source of the training's random draws.
        every: steps between two states kept.
        writes: whether this process writes the file; of several, one does.

    Raises:
        ValueError: the path is a folder, or ``every`` is below 1.
    """

    def __init__(
        self,
        path: str | Path | None,
        settings: dict[str, Any],
        parameters: list[nn.Parameter],
        optimiser: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        generator: torch.Generator | None = None,
        every: int = 100,
        writes: bool = True,
    ):
        if every < 1:
            raise ValueError(f"every must be at least 1, found {every}")
        self.path = Path(path) if path else None
        if self.path is not None and self.path.is_dir():
            raise ValueError(
                f"checkpoint {path} is a folder: give a file in it, such as state.safetensors"
            )
        self.parameters, self.every, self.writes = parameters, every, writes
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))
        self.optimiser, self.schedule, self.generator = optimiser, schedule, generator

    def keep(self, step: int, history: History) -> None:
        """Write the state after so many steps; the one before survives until this one is whole.

        Raises:
            OSError: the file could not be written, because the disk is full or for another reason.
        """
        if self.path is None or not self.writes:
            return
        facts = {"settings": json.dumps(self.settings, sort_keys=True), "step": str(step)}
        facts["history"] = json.dumps(history)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with replacing(self.path) as part:
                save_file(self._tensors(), part, facts)
        except (OSError, SafetensorError) as error:
            before = "the one before it is kept" if self.path.is_file() else "none is kept"
            raise OSError(
                f"the state after step {step} could not be written to {self.path} ({error}); "
                f"{before}"
            ) from error

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {}
        for i, parameter in enumerate(self.parameters):
            tensors[f"{i}.value"] = parameter.detach()
            moments = self.optimiser.state.get(parameter)
            if moments:  # none where no term of the loss reached it
                tensors[f"{i}.mean"] = moments["exp_avg"]
                tensors[f"{i}.square"] = moments["exp_avg_sq"]
                tensors[f"{i}.steps"] = moments["step"]  # fewer where only some steps reached it
        if self.generator is not None:
            tensors["generator"] = self.generator.get_state()
        return {name: value.cpu().contiguous() for name, value in tensors.items()}

    def restore(self) -> tuple[int, History]:
        """Put back what :meth:`keep` wrote.

        Returns:
            Steps done, 0 where there is no file, and the history so far.

        Raises:
            ValueError: the state is of other settings, or the file is damaged.
        """
        if self.path is None or not self.path.is_file():
            return 0, []
        try:
            with safe_open(self.path, "pt") as file:
                facts = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            settings, step = json.loads(facts["settings"]), int(facts["step"])
            history = json.loads(facts["history"])
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.path} holds no state of a training ({error}); delete it to start anew"
            ) from error
        names = sorted({*settings, *self.settings})
        other = [name for name in names if settings.get(name) != self.settings.get(name)]
        if other:
            raise ValueError(
                f"{self.path} is of other settings ({', '.join(other)}); use those, or delete "
                "the file"
            )
        self._put_back(tensors)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the schedule moves on here without the optimiser
            for _ in range(step):
                self.schedule.step()
        print(f"going on from step {step} of {self.path.name}")
        return step, history

    def _put_back(self, tensors: dict[str, torch.Tensor]) -> None:
        for i, parameter in enumerate(self.parameters):
            parameter.data.copy_(tensors[f"{i}.value"])
            if f"{i}.mean" in tensors:  # on the parameter's device and in its layout, as Adam does
                self.optimiser.state[parameter] = {
                    "step": tensors[f"{i}.steps"],
                    "exp_avg": torch.empty_like(parameter).copy_(tensors[f"{i}.mean"]),
                    "exp_avg_sq": torch.empty_like(parameter).copy_(tensors[f"{i}.square"]),
                }
        if self.generator is not None:
            self.generator.set_state(tensors["generator"])

    def finish(self, step: int, history: History, stop: bool) -> None:
        """Keep the state after a step now and then, and before a stop.

        Raises:
            KeyboardInterrupt: the training is to stop.
        """
        if stop or (step + 1) % self.every == 0:
            self.keep(step + 1, history)
        if stop:
            raise KeyboardInterrupt(f"stopped after step {step + 1}")

    def remove(self) -> None:
        """Remove the file, and those of a teacher beside it: the training is done."""
        if self.path is not None and self.writes:
            for file in (self.path, *self.path.parent.glob(f"{self.path.stem}-teacher-*")):
                file.unlink(missing_ok=True)


def fingerprint(tensors: Iterable[torch.Tensor | None]) -> str:
    """Short hash of values and shapes, by which a training recognises its own data."""
    digest = hashlib.sha256()
    for tensor in tensors:
        if tensor is None:
            digest.update(b"none")
            continue
        digest.update(repr(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
