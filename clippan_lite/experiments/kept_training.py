"""Training on a pair of files: kept in a folder, resumed, and not done twice."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clippan_lite import adaptation, adapter, backbones, checkpoints, training
from clippan_lite.adapter import Supervisor
from clippan_lite.backbones import Fusion
from clippan_lite.callbacks import History
from clippan_lite.clip import load_clip
from clippan_lite.config import AdaptConfig, TrainConfig, digest
from clippan_lite.data import Pair, geotiff
from clippan_lite.physics import sensors
from clippan_lite.runtime import files, locks
from clippan_lite.runtime.console import tell_if_busy
from clippan_lite.runtime.state import differing

EVERY = 25  # steps between two states kept


def train_on_files(
    pan: str | Path,
    ms: str | Path,
    sensor: str,
    out: str | Path,
    config: TrainConfig,
    adapt: AdaptConfig | None = None,
    convention: str = "benchmark",
    register: bool = False,
    device: str = "cpu",
    bands: str | None = None,
) -> Path:
    """Train a fusion network on a pair of GeoTIFFs, without truth, and keep it in a folder.

    A stopped training goes on from its last state. A finished one with the same settings, on the
    same pixels, is found and not repeated. A scene of more than 3072 PAN pixels each way is
    represented by parts of it.

    Args:
        pan: panchromatic GeoTIFF, DN.
        ms: multispectral GeoTIFF, DN.
        sensor: name in the sensor table, or a sensor file.
        out: folder for the network, its history, and the state of an unfinished training.
        config: settings of Stage II.
        adapt: settings of Stage I, for terms that need the adapted CLIP; None takes our own.
        convention: ``"benchmark"`` or ``"geo"``.
        register: shift PAN onto MS first.
        device: ``"cpu"`` or a CUDA device.
        bands: which of MS's bands are the sensor's, as in `geotiff.read_pair`.

    Returns:
        The network's file, ``out/network.safetensors``.

    Raises:
        ValueError: files that do not fit together, a folder that cannot be, settings that cannot
            be, a folder that holds another network, or one in which another call trains.
        FileNotFoundError: a file is missing.
        KeyboardInterrupt: stopped, after the state was kept.
        OSError: the disk is full; the state is kept.
    """
    folder = Path(out)
    if next(path for path in (folder, *folder.resolve().parents) if path.exists()).is_file():
        raise ValueError(f"{folder} is a file, or lies in one: give a folder")
    backbones.check_ratio(sensors.get(sensor).ratio)
    pairs = geotiff.read_parts(
        pan, ms, sensor, convention=convention, register=register, bands=bands
    )
    tell_if_busy()
    with locks.only_one(folder, "training", "choose another folder"):
        return _trained(pairs, folder, config, adapt, device)


def _trained(
    pairs: list[Pair], folder: Path, config: TrainConfig, adapt: AdaptConfig | None, device: str
) -> Path:
    """The network of a folder, trained where it is not there."""
    path, state = folder / "network.safetensors", folder / "state.safetensors"
    images = checkpoints.fingerprint(image for pair in pairs for image in (pair.ms, pair.pan))
    camera = {"sensor": sensors.to_table(pairs[0].sensor), "convention": pairs[0].convention}
    made_from = {"config": asdict(config), **camera, "images": images}
    if _was_made_from(path, made_from):
        print(f"trained before, with the same settings: {path}")
        state.unlink(missing_ok=True)  # of a call that was killed after its network was there
        return path
    supervisor = None
    if config.needs("supervisor"):
        supervisor = _kept_supervisor(pairs, images, adapt or AdaptConfig(), folder, device)

    def save(network: Fusion, history: History) -> None:
        files.write_csv(folder / "history.csv", history)
        checkpoints.save_network(path, network, config, made_from)

    training.train(
        pairs, config, supervisor, device=device, checkpoint=state, every=EVERY, save=save
    )
    print(f"trained: {path}")
    return path


def _kept_supervisor(
    pairs: list[Pair], images: str, config: AdaptConfig, folder: Path, device: str
) -> Supervisor:
    """The adapted CLIP of a training, kept so that an interrupted one goes on with the same.

    On a GPU, adapting again would not give the same.
    """
    model = load_clip(device=device)
    path = folder / f"supervisor-{digest(images, asdict(config))}.safetensors"

    def make() -> Supervisor:
        return adaptation.adapt(pairs[0], model, config=config, device=device)[0]

    def save(path: Path, supervisor: Supervisor) -> None:
        adapter.save_supervisor(path, supervisor, config, pairs[0].sensor.name)

    def load(path: Path) -> Supervisor:
        return adapter.load_supervisor(path, model)

    return files.load_or_make(path, "supervisor", load, make, save).to(device)


def _was_made_from(path: Path, made_from: dict[str, Any]) -> bool:
    """Whether a network is there, and was made from the same.

    Raises:
        ValueError: there is one that was made from something else.
    """
    if not path.is_file():
        return False
    found = checkpoints.load_facts(path)[1].table("made_from", {}).values
    other = differing(found, json.loads(json.dumps(made_from)))
    if other:
        raise ValueError(
            f"{path} was trained with other settings ({', '.join(other)}): give the same, or "
            "another folder; or remove it, if it is no longer needed"
        )
    return True
