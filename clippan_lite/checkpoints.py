"""What a training made, in one safetensors file: weights, and in its header all else as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from clippan_lite import backbones
from clippan_lite.config import TrainConfig, digest
from clippan_lite.physics.resample import CONVENTIONS, check_choice
from clippan_lite.runtime import weights as weight_files
from clippan_lite.runtime.settings import expect

if TYPE_CHECKING:
    from clippan_lite.runtime.facts import Facts

BUNDLED = Path(__file__).with_name("weights") / "fusion"  # <backbone>.safetensors
MOST = 1024  # bands of a network in a file, and each of its options; one with more is damaged


def save_network(
    path: str | Path,
    network: backbones.Fusion,
    config: TrainConfig,
    made_from: dict[str, Any] | None = None,
) -> None:
    """Write a fusion network as one safetensors file, with all that loading needs in its header.

    Args:
        path: the ``.safetensors``.
        network: what is written.
        config: its backbone and options make the network again.
        made_from: what else decided it.

    Raises:
        ValueError: the settings would make another network, or the path is a folder.
        OSError: the file could not be written; one that was there is kept.
    """
    expect("the network", network, backbones.Fusion, "save_network(path, network, config)")
    expect("the settings", config, TrainConfig, "save_network(path, network, config)")
    shape = (network.bands, network.ratio, network.convention)
    with torch.device("meta"):
        again = create(config, *shape)
    alike = type(again) is type(network) and _shapes(again) == _shapes(network)
    if not alike or network.options not in ({}, again.options):  # none: made by its class
        raise ValueError(
            f"the network is a {type(network).__name__} with options {network.options}, these "
            f"settings make a {type(again).__name__} with {again.options}: save it with the "
            "settings that it was trained with"
        )
    facts = {
        "made_from": made_from or {},
        "config": asdict(config),
        **dict(zip(("bands", "ratio", "convention"), shape, strict=True)),
    }
    weight_files.save(Path(path), network.state_dict(), facts)


def load_network(path: str | Path) -> backbones.Fusion:
    """Load what :func:`save_network` wrote, in evaluation mode on the CPU.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is damaged, or its settings do not fit its weights.
    """
    path = Path(path)
    weights, config, shape = _load_network(path)
    network = create(config, *shape)
    fill(network, weights, path)
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
        found = "is neither a network's .safetensors nor a run folder with one"
        raise FileNotFoundError(
            f"{path} {found if path.exists() else 'does not exist'}: train first"
        )
    return files[0]


def create(config: TrainConfig, bands: int, ratio: int, convention: str) -> backbones.Fusion:
    """An untrained network (ValueError: its backbone does not take these options)."""
    try:
        return backbones.create(config.backbone, bands, ratio, convention, **config.options)
    except (TypeError, RuntimeError, ArithmeticError, AttributeError, LookupError) as error:
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
    ours = BUNDLED / f"{config.backbone}.safetensors"
    path = ours if config.start == "bundled" else find_network(config.start)
    if not path.is_file():
        raise ValueError(
            f"no bundled weights of {config.backbone}: take bandwise, a recipe that starts "
            "untrained (scratch, quick), or start=''"
        )
    weights, other, shape = _load_network(path)
    fits = other.backbone == config.backbone and _shapes(network) == _shapes(weights)
    if not fits or not (network.takes_any or shape[:2] == (bands, ratio)):
        raise ValueError(
            f"{path.name} holds {other.backbone} for {shape[0]} bands, ratio {shape[1]}, options "
            f"{other.options}; wanted {config.backbone} for {bands}, {ratio}, {config.options}: "
            "leave out options that change its size, start from another file, or from ''"
        )
    fill(network, weights, path)
    return network


def bundled(bands: int, ratio: int, convention: str = "benchmark") -> backbones.Fusion:
    """The included fusion network, trained where the truth is known; see its model card."""
    config = TrainConfig(backbone="bandwise", start="bundled")
    return start(config, bands, ratio, convention).to(memory_format=torch.channels_last).eval()


def load_facts(path: Path, what: str = "fusion network") -> tuple[dict[str, torch.Tensor], Facts]:
    """Weights of a file, and the facts in its header (ValueError: damaged)."""
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist; train first")
    try:
        return weight_files.load(path, what)
    except ValueError as error:
        advice = "remove it and train again"
        if path.suffix != ".safetensors":
            advice = "give a .safetensors file, as cl.save_network and clippan-lite train write it"
        raise ValueError(f"{error}: {advice}") from error


def _load_network(
    path: Path,
) -> tuple[dict[str, torch.Tensor], TrainConfig, tuple[int, int, str]]:
    """Weights, settings and (bands, ratio, convention) of a fusion network's file."""
    weights, facts = load_facts(path)
    shape = (facts.whole("bands", 1, MOST), facts.whole("ratio", 2, 8))
    convention, settings = facts.text("convention"), facts.table("config")
    # A loss of one's own may not be registered where the network is used.
    terms = settings.table("weights").values
    known = {name: weight for name, weight in terms.items() if name in TrainConfig.terms}
    options = settings.table("options", {})
    for name, value in options.values.items():
        if isinstance(value, int | float):
            options.need(abs(value) <= MOST, name, f"at most {MOST}")
    backbone = settings.text("backbone")
    if backbone not in backbones.REGISTRY:
        raise ValueError(
            f"{path.name} holds a network of the backbone {backbone!r}, which is not known here; "
            "if it is your own, fuse in Python, where @backbones.register has made it known"
        )
    try:
        check_choice("convention", convention, CONVENTIONS)
        config = TrainConfig(**{**settings.values, "weights": known})
        with torch.device("meta"):  # takes no memory, whatever the file says
            network = create(config, *shape, convention)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path.name} holds no fusion network of this version ({error}): train again"
        ) from error
    if _shapes(network) != _shapes(weights):
        raise ValueError(
            f"{path.name} holds weights that do not fit its settings: it is damaged, train again"
        )
    return weights, config, (*shape, convention)


def _shapes(part: nn.Module | dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    weights = part.state_dict() if isinstance(part, nn.Module) else part
    return {name: value.shape for name, value in weights.items()}


def fill(network: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Put a file's weights into a network (ValueError where they do not fit)."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path.name} does not fit its settings ({error}): train again") from error


def own_code(config: TrainConfig) -> dict[str, str]:
    """Hash of the code of each term with a weight, and of the backbone, that is not the package's.

    Names and weights do not tell when such code was changed.
    """
    from clippan_lite.runtime import source  # here, because few trainings need it

    parts: dict[str, Any] = {name: config.terms[name].code for name in config.active()}
    parts[config.backbone] = backbones.REGISTRY[config.backbone]
    own = {name: part for name, part in parts.items() if not isinstance(part, str)}
    return {
        f"code of {name}": digest(source.with_what_it_reads(part)) for name, part in own.items()
    }


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
