"""The chain's steps as load-or-make functions, so that every notebook also runs alone.

A product's file name carries a digest of everything that went into it: a changed parameter makes a new product instead
of silently reusing an old one. Each function prints whether it loaded or made.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import torch

from clippan_lite import __version__, adaptation, backbones, checkpoints, data, prompts, training
from clippan_lite import clip as clips
from clippan_lite.adapter import Supervisor
from clippan_lite.config import AdaptConfig, TrainConfig, digest, recipe
from clippan_lite.data import Pair, geotiff, registration, synthetic
from clippan_lite.physics import degrade, sensors
from clippan_lite.runtime import devices, files


@dataclass(frozen=True)
class Setup:
    """The parameters that the notebooks share; see the parameter cells for what they mean."""

    run_dir: str = ""
    pan: str = ""
    ms: str = ""
    sensor: str = "WV2"
    convention: str = "benchmark"
    register: bool = False
    scene_size: int = 512
    scene_seed: int = 0
    clip: str = "bundled"
    clip_pretrained: str = ""
    prompt: str = "wald"
    adapt_steps: int = 40
    adapt_direction: float = 10.0
    adapt_examples: str = "mixed"
    backbone: str = "fusionnet"
    recipe: str = "course"
    train_steps: int = 0
    l_d_weight: float = 0.03
    qnr_weight: float = -1.0
    seeds: str = "0,1,2"
    control_seeds: str = "0"
    device: str = "auto"
    unseen_sensor: str = "auto"

    @property
    def run(self) -> Path:
        """Run folder: ``run_dir``, else ``quick`` in the package's home, shared by notebooks that run alone."""
        folder = Path(self.run_dir) if self.run_dir else files.home() / "quick"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def seed_list(self) -> list[int]:
        """Seeds of Stage II."""
        return _seeds("seeds", self.seeds)

    @property
    def control_seed_list(self) -> list[int]:
        """Seeds of Stage I in notebook 02's table of controls."""
        return _seeds("control_seeds", self.control_seeds)

    def check(self, load_clip: bool = False) -> None:
        """Refuse values that would fail later, before minutes are spent; ``load_clip`` tries that too.

        Raises:
            ValueError, FileNotFoundError, RuntimeError: one line with what was expected and what was found.
        """
        sensor = sensors.get(self.sensor)
        degrade.check_choice("convention", self.convention, degrade.CONVENTIONS)
        if not isinstance(self.register, bool):
            raise ValueError(f"register must be true or false, found {self.register!r}")
        prompts.get(self.prompt)
        backbones.check(self.backbone)
        for name, least in (("adapt_steps", 1), ("train_steps", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, found {getattr(self, name)}")
        adaptation.check_examples(self.adapt_examples)
        for name in ("adapt_direction", "l_d_weight", "qnr_weight"):
            lowest = -1 if name == "qnr_weight" else 0  # -1: the recipe's
            if not lowest <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be {lowest} or more, found {getattr(self, name)}")
        self.train_config(with_l_d=False, seed=0)  # refuses an unknown recipe
        if self.unseen_sensor != "auto":
            other = sensors.get(self.unseen_sensor)
            if (len(other.bands), other.ratio) != (len(sensor.bands), sensor.ratio):
                raise ValueError(
                    f"unseen_sensor {other.name} has {len(other.bands)} bands, ratio {other.ratio}; the network takes "
                    f"{len(sensor.bands)} bands, ratio {sensor.ratio}: choose another, or auto"
                )
        _ = self.seed_list, self.control_seed_list  # raise for seeds that cannot be used
        if self.scene_seed < 0:
            raise ValueError(f"scene_seed must be 0 or more, found {self.scene_seed}")
        least = (
            64 * sensor.ratio
        )  # Wald's protocol leaves 1 / ratio of it, and CLIP's crops are 64 pixels
        if not self.pan and (self.scene_size < least or self.scene_size % (32 * sensor.ratio)):
            raise ValueError(
                f"scene_size must be a multiple of {32 * sensor.ratio} and at least {least} PAN pixels for "
                f"{sensor.name}, found {self.scene_size}"
            )
        device = self.on
        if load_clip and (self.clip != "bundled" or self.clip_pretrained):
            clips.load_clip(self.clip, self.clip_pretrained or None, device)

    @cached_property
    def on(self) -> str:
        """The device, picked once and said out loud."""
        return devices.pick(self.device)

    @property
    def adapt_config(self) -> AdaptConfig:
        """Stage I's settings."""
        return AdaptConfig(
            steps=self.adapt_steps, direction=self.adapt_direction, examples=self.adapt_examples
        )

    def train_config(self, with_l_d: bool, seed: int) -> TrainConfig:
        """Stage II's settings."""
        changes: dict[str, object] = {"backbone": self.backbone, "seed": seed}
        changes["direction"] = self.l_d_weight if with_l_d else 0.0
        if self.train_steps:
            changes["steps"] = self.train_steps
        if self.qnr_weight >= 0:
            changes["qnr"] = self.qnr_weight
        return recipe(self.recipe, **changes)

    def scene_key(self) -> tuple:
        """What decides the scene."""
        stamps = [
            (p, Path(p).stat().st_mtime_ns, Path(p).stat().st_size)
            for p in (self.pan, self.ms)
            if p
        ]
        synthetic = () if stamps else (self.scene_size, self.scene_seed)
        sensor = sensors.get(
            self.sensor
        )  # its figures count, not the name of the file that they are from
        return (
            __version__,
            stamps,
            synthetic,
            sensor.name,
            sensors.to_table(sensor),
            self.convention,
            self.register,
        )

    @property
    def scene_folder(self) -> Path:
        """Where the synthetic scene is kept."""
        return self.run / f"scene-{digest(self.scene_key())}"

    def supervisor_key(self) -> tuple:
        """What decides the supervisor."""
        p = prompts.get(self.prompt)
        weights = clips.weights_stamp(self.clip, self.clip_pretrained)
        return (
            self.scene_key(),
            self.clip,
            self.clip_pretrained,
            weights,
            (p.ms, p.pan, p.hrms),
            self.adapt_config,
        )


def _seeds(name: str, text: str) -> list[int]:
    """Whole numbers with commas between; the same seed twice would look like an effect without any spread."""
    try:
        seeds = [int(part) for part in str(text).split(",")]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise ValueError(f"{name} must be different whole numbers, such as 0,1,2; found {text!r}")
    return seeds


#: Names of the shared parameters.
PARAMETERS = tuple(f.name for f in fields(Setup))


def get_pair(setup: Setup) -> Pair:
    """The scene: read from the GeoTIFF pair, or the synthetic one, made once and kept as GeoTIFFs."""
    if bool(setup.pan) != bool(setup.ms):
        raise ValueError(
            "expected both pan and ms (or neither, for the synthetic scene); found one of them"
        )
    if setup.pan:
        return geotiff.read_pair(
            setup.pan, setup.ms, setup.sensor, convention=setup.convention, register=setup.register
        )
    folder = setup.scene_folder
    if (folder / "scene.json").is_file():
        print(f"scene: loaded the synthetic one from {folder.name}")
        return geotiff.read_scene(folder)
    pair = synthetic.make_scene(setup.scene_seed, setup.scene_size, setup.sensor, setup.convention)
    if setup.register:
        pair = registration.correct(pair, registration.estimate(pair))
    geotiff.write_pair(folder, pair, source="clippan_lite.data.synthetic", licence="MIT")
    print(f"scene: made {pair.name}, kept in {folder.name}")
    return geotiff.read_scene(folder)


def scene_files(setup: Setup) -> tuple[Path, Path]:
    """PAN's and MS's GeoTIFFs: the given ones, or the synthetic scene's, which :func:`get_pair` keeps."""
    if setup.pan:
        return Path(setup.pan), Path(setup.ms)
    return setup.scene_folder / "pan.tif", setup.scene_folder / "ms.tif"


def get_clip(setup: Setup) -> clips.Clip:
    """The frozen CLIP that the parameters name."""
    return clips.load_clip(setup.clip, setup.clip_pretrained or None, setup.on)


def supervisor_path(setup: Setup) -> Path:
    """Where the supervisor's weights are kept."""
    return setup.run / "adapter" / f"supervisor-{digest(setup.supervisor_key())}.safetensors"


def get_supervisor(setup: Setup, pair: Pair, clip: clips.Clip) -> Supervisor:
    """The adapted CLIP: loaded, or adapted now."""
    path = supervisor_path(setup)
    if path.is_file() and path.with_suffix(".json").is_file():
        print(f"supervisor: loaded {path.name}")
        return checkpoints.load_supervisor(path, clip).to(setup.on)
    print(
        f"supervisor: none kept for these settings, adapting CLIP now ({setup.adapt_steps} steps)"
    )
    supervisor, history = adaptation.adapt(
        pair, clip, prompts.get(setup.prompt), setup.adapt_config, setup.on
    )
    keep_supervisor(setup, supervisor, history)
    return supervisor


def keep_supervisor(setup: Setup, supervisor: Supervisor, history: checkpoints.History) -> Path:
    """Save a supervisor and its history where :func:`get_supervisor` looks for it."""
    path = supervisor_path(setup)
    checkpoints.write_history(path.with_suffix(".csv"), history)
    checkpoints.save_supervisor(
        path, supervisor, setup.adapt_config, sensors.get(setup.sensor).name
    )
    return path


def network_path(setup: Setup, with_l_d: bool, seed: int, scale: str) -> Path:
    """Where a fusion network is kept; ``scale`` is ``"full"`` or ``"reduced"``."""
    guide = setup.supervisor_key() if with_l_d else setup.scene_key()
    key = digest(guide, setup.train_config(with_l_d, seed), scale)
    return (
        setup.run
        / "fusion"
        / f"{scale}-{'with' if with_l_d else 'without'}-l_d-seed{seed}-{key}.safetensors"
    )


def get_network(
    setup: Setup,
    pair: Pair,
    supervisor: Supervisor | None,
    with_l_d: bool,
    seed: int,
    scale: str = "full",
) -> torch.nn.Module:
    """One fusion network trained without truth: loaded, or trained now.

    Args:
        setup: the parameters.
        pair: the full-resolution pair; for ``scale="reduced"`` it is degraded here, by Wald's protocol.
        supervisor: the adapted CLIP, used when ``with_l_d``.
        with_l_d: train with the language loss.
        seed: of weights and patches.
        scale: ``"full"``, or ``"reduced"`` to train one scale down, where the original MS can judge the result.
    """
    path = network_path(setup, with_l_d, seed, scale)
    if path.is_file() and path.with_suffix(".json").is_file():
        print(f"network: loaded {path.name}")
        return checkpoints.load_network(path).to(setup.on)
    config = setup.train_config(with_l_d, seed)
    scene = pair if scale == "full" else data.reduced(pair)
    network, history = training.train(
        scene, config, supervisor if with_l_d else None, device=setup.on
    )
    keep_network(setup, network, history, with_l_d, seed, scale)
    return network


def keep_network(
    setup: Setup,
    network: torch.nn.Module,
    history: checkpoints.History,
    with_l_d: bool,
    seed: int,
    scale: str = "full",
) -> Path:
    """Save a network and its history where :func:`get_network` looks for it."""
    path = network_path(setup, with_l_d, seed, scale)
    checkpoints.write_history(path.with_suffix(".csv"), history)
    checkpoints.save_network(path, network, setup.train_config(with_l_d, seed))
    return path
