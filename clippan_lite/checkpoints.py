"""What a training made, in files: safetensors and JSON."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from clippan_lite import backbones
from clippan_lite.callbacks import History
from clippan_lite.config import AdaptConfig, TrainConfig, digest
from clippan_lite.runtime.files import replacing, write_json
from clippan_lite.runtime.state import differing

if TYPE_CHECKING:
    from clippan_lite.adapter import Supervisor
    from clippan_lite.clip import Clip

BUNDLED = Path(__file__).with_name("weights") / "fusion"  # <backbone>.safetensors and .json


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


def save_network(
    path: str | Path,
    network: backbones.Fusion,
    config: TrainConfig,
    made_from: dict[str, Any] | None = None,
) -> None:
    """Write a fusion network as safetensors, and a JSON beside it.

    Args:
        path: the ``.safetensors``.
        network: what is written.
        config: its backbone and options make the network again.
        made_from: what else decided it, for :func:`was_made_from`.

    Raises:
        ValueError: the path is a folder.
    """
    facts = {
        "made_from": made_from or {},
        "config": asdict(config),
        "bands": network.bands,
        "ratio": network.ratio,
        "convention": network.convention,
    }
    _save(Path(path), network, facts)


def was_made_from(path: Path, made_from: dict[str, Any]) -> bool:
    """Whether a network is there that :func:`save_network` was told the same of.

    Raises:
        ValueError: there is one that was made from something else.
    """
    if not path.is_file():
        return False
    found = _load(path)[1].get("made_from", {})
    other = differing(found, json.loads(json.dumps(made_from)))
    if other:
        raise ValueError(
            f"{path} was trained with other settings ({', '.join(other)}): give the same, or "
            "another folder; or remove it, if it is no longer needed"
        )
    return True


def load_network(path: str | Path) -> backbones.Fusion:
    """Load what :func:`save_network` wrote, in evaluation mode on the CPU.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: they are damaged, or do not fit each other.
    """
    path = Path(path)
    weights, config, shape = _load_network(path)
    network = create(config, *shape)
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


def create(config: TrainConfig, bands: int, ratio: int, convention: str) -> backbones.Fusion:
    """An untrained network (ValueError: its backbone does not take these options)."""
    try:
        return backbones.create(config.backbone, bands, ratio, convention, **config.options)
    except TypeError as error:
        raise ValueError(
            f"backbone {config.backbone} cannot be made with options {config.options}: {error}"
        ) from error


def start(config: TrainConfig, bands: int, ratio: int, convention: str) -> backbones.Fusion:
    """The network that a training begins with: untrained, our bundled one, or one from a file.

    The bundled one is of the backbone ``bandwise`` and takes any number of bands.

    Raises:
        ValueError: the file is of another backbone, other bands or another ratio, or there are no
            bundled weights of the backbone with its options.
        FileNotFoundError: there is no such file.
    """
    network = create(config, bands, ratio, convention)
    if not config.start:
        return network
    path = BUNDLED / f"{config.backbone}.safetensors"
    if config.start != "bundled":
        path = find_network(config.start)
    elif config.options or not path.is_file():
        raise ValueError(
            f"no bundled weights of {config.backbone} with options {config.options}: take bandwise "
            "without options, a recipe that starts untrained (scratch, quick), or start=''"
        )
    weights, other, shape = _load_network(path)
    same_shape = network.takes_any or shape[:2] == (bands, ratio)
    if not same_shape or (other.backbone, other.options) != (config.backbone, config.options):
        raise ValueError(
            f"{path.name} holds {other.backbone} for {shape[0]} bands, ratio {shape[1]}, options "
            f"{other.options}; wanted {config.backbone} for {bands}, {ratio}, {config.options}: "
            "start from another file, or from ''"
        )
    _fill(network, weights, path)
    return network


def bundled(bands: int, ratio: int, convention: str = "benchmark") -> backbones.Fusion:
    """The fusion network on board, trained where the truth is known; see its model card."""
    config = TrainConfig(backbone="bandwise", start="bundled")
    return start(config, bands, ratio, convention).to(memory_format=torch.channels_last).eval()


def _save(path: Path, module: nn.Module, facts: dict[str, Any]) -> None:
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give a file in it, such as network.safetensors")
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


def own_code(config: TrainConfig) -> dict[str, str]:
    """Hash of the code of each term with a weight, and of the backbone, that is not the package's.

    Names and weights do not tell when such code was changed.
    """
    from clippan_lite.runtime import source  # here, because few trainings need it

    parts: dict[str, Any] = {name: config.terms[name].code for name in config.active()}
    parts[config.backbone] = backbones.REGISTRY[config.backbone]
    own = {name: part for name, part in parts.items() if not isinstance(part, str)}
    return {f"code of {name}": digest(source.of(part)) for name, part in own.items()}


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
