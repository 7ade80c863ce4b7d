"""An experiment with its products: each is made when it is asked for, and kept.

Begin with :func:`begin`, the set-up of every chapter.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from clippan_lite import adaptation, adapter, checkpoints, data, prompts, training
from clippan_lite.adapter import Supervisor
from clippan_lite.backbones import Fusion
from clippan_lite.callbacks import Callback, History
from clippan_lite.clip import Clip, load_clip, weights_stamp
from clippan_lite.config import TrainConfig, digest, recipe
from clippan_lite.data import Pair, geotiff
from clippan_lite.experiments import probes, provenance, scenes
from clippan_lite.experiments.experiment import CLIP, INPUT, STAGE_ONE, Experiment, chosen
from clippan_lite.metrics import faults
from clippan_lite.physics import sensors
from clippan_lite.runtime import devices, files

T = TypeVar("T")
_MEMORY: dict[str, Any] = {}  # products of all runs without a folder; they are of many kinds
_MOST_IN_MEMORY = 24  # the oldest is forgotten


class Run:
    """An experiment with a folder where its products are kept.

    A product's file name carries a digest of everything that went into it, so that a changed
    setting, or changed code, makes a new product. Without a folder, products stay in memory for
    later runs.

    Args:
        experiment: what is done.
        folder: the folder, or None.
        scale: ``"full"``, or ``"reduced"`` for everything one scale down (Wald's protocol).
        seeds: of Stage II, for chapters that train several networks.
        control_seeds: of Stage I, for chapters that adapt CLIP several times.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Path | None = None,
        scale: str = "full",
        seeds: Sequence[int] = (0,),
        control_seeds: Sequence[int] = (0,),
    ):
        self.experiment, self.folder, self.scale = experiment, folder, scale
        self.seeds, self.control_seeds = seeds, control_seeds
        self._memory = {} if folder else _MEMORY

    @cached_property
    def device(self) -> str:
        """The device, picked once and said out loud."""
        return devices.pick(self.experiment.device)

    @cached_property
    def pair(self) -> Pair:
        """The scene that CLIP is adapted on, and networks are trained on."""
        return self.load(self.experiment.scene, self.scale)

    def load(self, scene: str, scale: str) -> Pair:
        """A scene, full or one scale down, with the experiment's bands and faults."""
        asked = self.experiment
        if asked.pan and scene == asked.scene:
            make = partial(geotiff.read_pair, asked.pan, asked.ms, asked.sensor)
            make = partial(make, convention=asked.convention, register=asked.register)
            pair = self._remembered(f"{asked.pan} {asked.ms}", make)
        else:
            path, make = self._scene_path(scene), partial(self._make_scene, scene)
            pair = self._kept("scene", path, lambda path: geotiff.read_scene(path.parent), make)
        if asked.bands:
            pair = data.with_bands(pair, asked.bands.split(","))
        if scale == "reduced":
            pair = data.reduced(pair)
        return faults.spoiled(pair, **faults.parse(asked.fault))

    def _make_scene(self, scene: str) -> Pair:
        asked = self.experiment
        how = (asked.size, asked.sensor, asked.convention, asked.register)
        pair = scenes.read(scene, *how)
        if self.folder is None:
            return pair
        folder = self._scene_path(scene).parent
        geotiff.write_pair(folder, pair, source=scene)
        return geotiff.read_scene(folder)  # rounded, as it will be read later

    def _scene_path(self, scene: str) -> Path:
        key = self._digest(replace(self.experiment, scene=scene, bands="", fault=""), INPUT)
        return self._in_folder(f"scene-{key}/scene.json")

    @property
    def files(self) -> tuple[Path, Path]:
        """PAN's and MS's GeoTIFFs: those given, or those of the kept scene."""
        if self.experiment.pan:
            return Path(self.experiment.pan), Path(self.experiment.ms)
        folder = self._scene_path(self.experiment.scene).parent
        return folder / "pan.tif", folder / "ms.tif"

    @cached_property
    def clip(self) -> Clip:
        """The frozen CLIP."""
        asked = self.experiment
        names = [*CLIP, "adapt_seed"] if asked.clip_random else CLIP
        return self._remembered(f"CLIP {self._digest(asked, names)}", self._load_clip)

    def _load_clip(self) -> Clip:
        asked = self.experiment
        torch.manual_seed(asked.adapt.seed)  # of random weights
        pretrained = None if asked.clip_random else asked.clip_pretrained or None
        return load_clip(asked.clip, pretrained, self.device, asked.clip_random)

    @cached_property
    def supervisor(self) -> Supervisor:
        """The adapted CLIP. Where ``swap`` names other sentences, Stage II will ask for those."""
        asked, path = self.experiment, self.supervisor_path
        if asked.adapt.steps == 0:
            sentences = prompts.get(asked.prompt)
            supervisor = probes.unadapted(self.pair, self.clip, sentences, self.device)
        else:
            load = partial(adapter.load_supervisor, clip=self.clip)
            supervisor = self._kept("supervisor", path, load, lambda: self.adapt()[0])
        if asked.swap:  # the sentences of MS and PAN stay Stage I's
            other = prompts.get(asked.swap)
            swapped = replace(supervisor.prompts, hrms=other.hrms, antonyms=other.antonyms)
            supervisor = supervisor.with_prompts(swapped)
        return supervisor.to(self.device)

    @property
    def supervisor_path(self) -> Path:
        """Where the adapted CLIP is kept."""
        stage_one = [name for name in self.experiment.flat() if name.startswith(STAGE_ONE)]
        key = self._digest(self.experiment, [*INPUT, *CLIP, "prompt", *stage_one], self.scale)
        return self._in_folder(f"adapter/supervisor-{key}.safetensors")

    def adapt(self) -> tuple[Supervisor, History]:
        """Stage I, now. The supervisor is kept for :attr:`supervisor`."""
        sentences, config = prompts.get(self.experiment.prompt), self.experiment.adapt
        shown = self.folder is not None
        made = adaptation.adapt(self.pair, self.clip, sentences, config, self.device, shown)
        if self.folder:
            path, sensor = self.supervisor_path, self.pair.sensor.name
            files.write_csv(path.with_suffix(".csv"), made[1])
            adapter.save_supervisor(path, made[0], config, sensor)
        return made

    def config(self, with_l_d: bool = True, seed: int | None = None) -> TrainConfig:
        """Stage II's settings, with or without L_d, and perhaps with another seed."""
        changes: dict[str, float] = {} if with_l_d else {"direction": 0.0}
        changes |= {} if seed is None else {"seed": seed}
        return self.experiment.train.changed(**changes)

    def from_nothing(self, with_l_d: bool = True, seed: int | None = None) -> TrainConfig:
        """The same settings for a network that begins untrained.

        Where the experiment's begins with trained weights, recipe "scratch" stands in, with the
        experiment's weights of L_QNR and L_d, and twice its steps: there is more to learn.
        """
        asked = self.config(with_l_d, seed)
        if not asked.start:
            return asked
        weights = {name: asked.weight(name) for name in ("qnr", "direction")}
        return recipe("scratch", steps=2 * asked.steps, seed=asked.seed, **weights)

    def network(
        self, config: TrainConfig | None = None, scale: str | None = None, label: str = ""
    ) -> Fusion:
        """A fusion network trained on the scene, without truth; arguments as of :meth:`train`."""
        path = self.network_path(config, scale)
        what = f"network {label}{self._title(config, scale)}"
        train = partial(self.train, config, scale, label=label)
        network = self._kept(what, path, checkpoints.load_network, lambda: train()[0])
        return network.to(self.device)

    def network_path(self, config: TrainConfig | None = None, scale: str | None = None) -> Path:
        """Where a fusion network is kept."""
        config = config or self.experiment.train
        experiment = replace(self.experiment, method="", train=config)
        read = experiment.effective().keys() - {"scale", "test_scene", "device"}
        key = self._digest(experiment, sorted(read), self.scale, checkpoints.own_code(config))
        guided = "with" if config.weight("direction") else "without"
        name = f"{scale or self.scale}-{guided}-l_d-seed{config.seed}-{key}"
        return self._in_folder(f"fusion/{name}.safetensors")

    def train(
        self,
        config: TrainConfig | None = None,
        scale: str | None = None,
        callbacks: Sequence[Callback] = (),
        label: str = "",
    ) -> tuple[Fusion, History]:
        """Stage II, now. The network is kept for :meth:`network`.

        Args:
            config: from :meth:`config`; None takes the experiment's.
            scale: ``"full"`` or ``"reduced"``; None takes the run's.
            callbacks: called after each step.
            label: stands before the progress bar's name, such as "3 of 6, ".
        """
        config = config or self.experiment.train
        pair = self.load(self.experiment.scene, scale or self.scale)
        supervisor = self.supervisor if config.needs("supervisor") else None
        teacher = None
        if config.needs("teacher") and not config.start:  # the same one for all weights
            plain = {"weights": {"reduced": 1.0}, "guard": False, "tokens": False}
            teacher = self.network(config.changed(**plain), scale)
        shown = self.folder is not None
        label += self._title(config, scale)
        made = training.train(
            pair, config, supervisor, teacher, self.device, shown, callbacks, label=label
        )
        if self.folder:
            path = self.network_path(config, scale)
            files.write_csv(path.with_suffix(".csv"), made[1])
            checkpoints.save_network(path, made[0], config)
        return made

    def _title(self, config: TrainConfig | None, scale: str | None) -> str:
        """What tells one training of a chapter from the others, in words."""
        config = config or self.experiment.train
        guided = "with" if config.weight("direction") else "without"
        place = "one scale down" if (scale or self.scale) == "reduced" else "full resolution"
        return f"{config.backbone} {guided} L_d, seed {config.seed}, {place}"

    def _in_folder(self, name: str) -> Path:
        return (self.folder or Path()) / name

    def _digest(self, asked: Experiment, names: Sequence[str], *more: object) -> str:
        """Digest of some flat settings: of what files and names stand for, not where they are."""
        flat, sensor = asked.flat(), sensors.get(asked.sensor)
        paths = [Path(asked.pan), Path(asked.ms)] if asked.pan else scenes.files_of(asked.scene)
        flat["scene"] = [asked.scene, *((p.stat().st_mtime_ns, p.stat().st_size) for p in paths)]
        flat["sensor"] = [sensor.name, sensors.to_table(sensor)]
        flat["clip"] = [asked.clip, weights_stamp(asked.clip, asked.clip_pretrained)]
        for name in ("prompt", "swap"):
            flat[name] = asdict(prompts.get(flat[name])) if flat[name] else ""
        return digest(provenance.source_hash(), {name: flat[name] for name in names}, more)

    def _kept(self, what: str, path: Path, load: Callable[[Path], T], make: Callable[[], T]) -> T:
        """A product from memory or its file, or made now; ``make`` saves what it makes.

        A network is saved with its history, a scene as GeoTIFFs.
        """
        if self.folder:
            make = partial(files.load_or_make, path, what, load, make)
        return self._remembered(str(path), make)

    def _remembered(self, name: str, make: Callable[[], T]) -> T:
        key = f"{name} on {self.device}"
        if key not in self._memory:
            self._memory[key] = make()
            if len(self._memory) > _MOST_IN_MEMORY:
                del self._memory[next(iter(self._memory))]
        return self._memory[key]


def begin(values: Mapping[str, object]) -> Run:
    """The set-up of a chapter: ``run = experiments.begin(globals())``.

    Args:
        values: the chapter's parameters by name, see :meth:`Experiment.of`, with the chapters' own
            ``run_dir``, ``seeds``, ``control_seeds`` and ``unseen_sensor``. Other variables are
            left aside. -1 or "" leaves a setting of a stage to its recipe.

    Returns:
        The experiment in the folder ``run_dir``, by default ``quick`` in the package's home. The
        device has been picked and printed.

    Raises:
        Refused: a value that would fail later, or a name that papermill set and the chapter does
            not have.
    """
    cells = values.get("In")  # of the notebook, as IPython keeps them
    try:
        _check_names(cells if isinstance(cells, list) else [])
        experiment = check_chapter(values)
    except ValueError as error:
        raise Refused(str(error)) from None
    folder = Path(str(values.get("run_dir") or files.home() / "quick"))
    folder.mkdir(parents=True, exist_ok=True)
    seeds = [numbers(name, values.get(name, "0")) for name in ("seeds", "control_seeds")]
    run = Run(experiment, folder, "full", *seeds)
    _ = run.device
    return run


class Refused(ValueError):
    """A chapter's parameter that is not accepted; notebooks show it without a traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [f"Refused: {self}"]


def _check_names(cells: Sequence[str]) -> None:
    """Refuse names that papermill adds after the cell of parameters; it only warns of them."""
    for declared, added in itertools.pairwise(cells):
        known = _assigned(declared) if added.startswith("# Parameters") else set()
        if "run_dir" in known:
            unknown = ", ".join(sorted(_assigned(added) - known))
            if unknown:
                raise ValueError(
                    f"unknown parameter {unknown}: expected {', '.join(sorted(known))}"
                )


def _assigned(cell: str) -> set[str]:
    """The names that a cell gives values to."""
    targets = [line.targets[0] for line in ast.parse(cell).body if isinstance(line, ast.Assign)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def check_chapter(values: Mapping[str, object], thorough: bool = False) -> Experiment:
    """The experiment of a chapter's parameters, checked with the chapters' own ones.

    Args:
        values: as for :func:`begin`.
        thorough: see :meth:`Experiment.check`.

    Raises:
        ValueError, FileNotFoundError, RuntimeError: a value that would fail later; one line.
    """
    experiment = Experiment.of(chosen(values), strict=False)
    experiment.check(thorough)
    for name, steps in (("steps", experiment.train.steps), ("adapt_steps", experiment.adapt.steps)):
        if steps < 1:
            raise ValueError(f"{name} must be at least 1 in a chapter, found {steps}")
    for name in ("seeds", "control_seeds"):
        numbers(name, values.get(name, "0"))
    sensor, other = sensors.get(experiment.sensor), values.get("unseen_sensor", "auto")
    unseen = sensor if other == "auto" else sensors.get(str(other))
    if (len(unseen.bands), unseen.ratio) != (len(sensor.bands), sensor.ratio):
        raise ValueError(
            f"unseen_sensor {unseen.name} has {len(unseen.bands)} bands, ratio {unseen.ratio}; the "
            f"network takes {len(sensor.bands)} bands, ratio {sensor.ratio}: choose another one"
        )
    return experiment


def numbers(name: str, text: object) -> list[int]:
    """Whole numbers with commas between.

    The same seed twice would look like an effect without any spread.

    Raises:
        ValueError: no or negative numbers, or one twice.
    """
    try:
        found = [int(part) for part in str(text).split(",")]
    except ValueError:
        found = []
    if not found or len(set(found)) != len(found) or min(found) < 0:
        raise ValueError(f"{name} must be different whole numbers, such as 0,1,2; found {text!r}")
    return found
