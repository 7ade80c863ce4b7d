"""One experiment: a scene, the settings of both stages, and how the result is judged.

Notebooks, studies and the command line write it as flat names. They are explained at
:meth:`Experiment.of`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch

from clippan_lite import backbones, checkpoints, classical, config, data, prompts
from clippan_lite import clip as clips
from clippan_lite.classical import examples
from clippan_lite.config import AdaptConfig, StageSettings, TrainConfig
from clippan_lite.experiments import scenes
from clippan_lite.metrics import faults
from clippan_lite.physics import degrade, sensors
from clippan_lite.runtime import devices, settings
from clippan_lite.runtime.settings import Settings, setting

TYPE_NAMES = {**settings.TYPE_NAMES, dict: "a table"}
STAGE_ONE = "adapt_"  # begins the flat names of Stage I
#: Flat names of what comes in, and of what CLIP is.
INPUT = ("scene", "size", "sensor", "bands", "pan", "ms", "convention", "register", "fault")
CLIP = ("clip", "clip_pretrained", "clip_random")
#: What is read only where a term needs a supervisor, beside Stage I and the terms' own settings.
LANGUAGE = (*CLIP, "prompt", "swap", "crops_in_turn")


@dataclass(frozen=True)
class Experiment(Settings):
    """A scene, how it is fused, and how the result is judged.

    Attributes:
        adapt: Stage I.
        train: Stage II.
    """

    scene: str = setting(
        "synthetic:0", "synthetic:SEED, landsat7, rotterdam, or a scene folder; FOLDER@SENSOR"
    )
    size: int = setting(512, "side of a synthetic scene in PAN pixels", least=1)
    sensor: str = setting(
        "WV2",
        "sensor name: bands, ratio, bit depth and MTF (clippan-lite sensors lists them)",
    )
    bands: str = setting("", 'names of the bands to use, such as "B,G,R,NIR"; "" takes all')
    pan: str = setting("", 'path of a PAN GeoTIFF, instead of the scene; "" takes the scene')
    ms: str = setting("", "path of the MS GeoTIFF of the same place")
    convention: str = setting(
        "benchmark",
        'where MS samples sit on PAN\'s grid: "benchmark" (phase ratio/2) or "geo" (centre-true)',
        choices=degrade.CONVENTIONS,
    )
    register: bool = setting(
        False, "shift PAN onto MS by the estimated fraction before anything else"
    )
    fault: str = setting("", 'put into the input, such as "noise:0.1"; several with + between')
    scale: str = setting(
        "both",
        'judge at "full" resolution, against the "truth" (real scenes: one scale down), or "both"',
        choices=("both", "full", "truth"),
    )
    method: str = setting("", 'a classical method instead of a network, such as "EXP"')
    test_scene: str = setting("", "judge the network on another scene than it was trained on")
    clip: str = setting(
        "bundled", '"bundled", or an open_clip architecture such as "ViT-B-32-quickgelu"'
    )
    clip_pretrained: str = setting(
        "", 'open_clip tag such as "openai", or a local weights file; "" for "bundled"'
    )
    clip_random: bool = setting(False, "control: a CLIP with random weights")
    prompt: str = setting(
        "wald",
        "a prompt set (wald, khan, notes, quality, content, wrong, nonsense) or your own sentence",
    )
    swap: str = setting("", 'sentences that Stage II asks for instead; "" those of Stage I')
    device: str = setting("auto", '"auto", "cpu" or "cuda"')
    adapt: AdaptConfig = field(default_factory=AdaptConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    @classmethod
    def of(cls, values: Mapping[str, object], strict: bool = True) -> Self:
        """Build an experiment from flat names.

        * The experiment's own fields go by their names.
        * ``recipe`` names settings of Stage II, ``adapt_recipe`` settings of Stage I. The other
          names change single settings of them.
        * Fields and loss terms of :class:`TrainConfig` go by their names: ``steps``, ``qnr``.
        * Those of :class:`AdaptConfig` begin with ``adapt_``: ``adapt_steps``, ``adapt_intra``.
          Unless it is named, ``adapt_seed`` is ``seed``: one seed repeats the whole experiment.

        Args:
            values: value by flat name. Whole numbers are taken for fractions.
            strict: refuse unknown names. False leaves them aside.

        Raises:
            ValueError: an unknown name, another type, or a value out of its bounds; one line.
        """
        flat = typed(values, strict)
        own = {name: flat.pop(name) for name in _own_names() if name in flat}
        two = {name: v for name, v in flat.items() if not name.startswith(STAGE_ONE)}
        one = {n.removeprefix(STAGE_ONE): v for n, v in flat.items() if n not in two}
        one.setdefault("seed", two.get("seed", 0))
        train = config.recipe(two.pop("recipe", "quick"), **two)
        try:
            adapt = config.adapt_recipe(one.pop("recipe", "ours"), **one)
        except ValueError as error:
            raise ValueError(f"Stage I: {error}") from None
        return cls(**own, adapt=adapt, train=train)

    def flat(self) -> dict[str, Any]:
        """Every setting by its flat name. Values are texts, numbers and truth values."""
        stage_one = _values(self.adapt)
        return {
            **{name: getattr(self, name) for name in _own_names()},
            **_values(self.train),
            **{STAGE_ONE + name: value for name, value in stage_one.items()},
        }

    def effective(self) -> dict[str, Any]:
        """The flat settings that are read. Two experiments that agree in them differ in nothing.

        A classical method reads no setting of a network. A setting that only terms without a weight
        take is not read. Training without a term that needs a supervisor reads nothing of CLIP, and
        an un-adapted CLIP nothing of Stage I.
        """
        stage_one = {STAGE_ONE + name for name in AdaptConfig.names()}
        unread = self.train.idle() | {STAGE_ONE + name for name in self.adapt.idle()}
        if self.method or not self.train.needs("supervisor"):
            unread |= {*LANGUAGE, *stage_one}
        elif self.adapt.steps == 0:
            unread |= stage_one - {"adapt_steps", "adapt_seed"}  # the seed of random weights
        if self.method:
            unread |= set(TrainConfig.names())
        return {name: value for name, value in self.flat().items() if name not in unread}

    def check(self, thorough: bool = False) -> None:
        """Refuse what would fail later, before minutes are spent.

        Args:
            thorough: look for the scenes, try the device and load a CLIP that is not ours, too.

        Raises:
            ValueError, FileNotFoundError, RuntimeError: one line with what was expected and what
                was found.
        """
        if bool(self.pan) != bool(self.ms):
            raise ValueError("expected both pan and ms (or neither, for a scene); found one")
        for scene in (self.scene, self.test_scene):
            self._check_scene(scene)
            if thorough and scene and not self.pan:
                scenes.files_of(scene)
        prompts.get(self.prompt)
        if self.swap:
            prompts.get(self.swap)
        if self.method and self.method not in classical.METHODS:
            known = ", ".join(classical.METHODS)
            raise ValueError(f"unknown method {self.method!r}: expected one of {known}")
        examples.check_examples(self.adapt.examples)
        faults.parse(self.fault)
        devices.check(self.device)
        self._check_network()
        if thorough:
            device = devices.pick(self.device)
            if self.clip != "bundled" or self.clip_pretrained:
                clips.load_clip(self.clip, self.clip_pretrained or None, device)

    def _check_network(self) -> None:
        """Refuse a backbone, its options or weights to begin with that are not there."""
        backbones.check(self.train.backbone)
        if self.train.start not in ("", "bundled") and not self.method:
            checkpoints.find_network(self.train.start)
        if self.train.options:
            sensor = sensors.get(self.sensor)
            with torch.random.fork_rng(devices=[]):  # making a network draws its weights
                checkpoints.create(self.train, len(sensor.bands), sensor.ratio, self.convention)

    def _check_scene(self, scene: str) -> None:
        """Refuse a synthetic scene that cannot be made, or cannot be judged by Wald's protocol."""
        sensor = sensors.get(self.sensor)
        synthetic = scene.startswith(scenes.SYNTHETIC)
        if self.bands and (self.pan or synthetic):  # a scene folder may name another sensor
            data.choose_bands(sensor, self.bands.split(","))
        if self.pan or not synthetic:
            return
        if not re.fullmatch(r"synthetic:\d+", scene):
            raise ValueError(f"expected a synthetic scene as synthetic:SEED, found {scene!r}")
        # One scale down, 1 / ratio of it is left, and the included CLIP looks at 64 pixels.
        step, least = 32 * sensor.ratio, (32 if self.method else 64) * sensor.ratio
        if self.size < least or self.size % step:
            raise ValueError(
                f"size must be a multiple of {step} and at least {least} PAN pixels for "
                f"{sensor.name}, found {self.size}"
            )


def chosen(values: Mapping[str, object]) -> dict[str, object]:
    """A chapter's parameters without those that leave a setting of a stage to its recipe.

    -1 or "" does so. For ``start`` "" means untrained weights.
    """
    own = {*_own_names(), "start"}
    left = [
        name
        for name, value in values.items()
        if name not in own and isinstance(value, int | float | str) and value in (-1, "")
    ]
    return {name: value for name, value in values.items() if name not in left}


def typed(values: Mapping[str, object], strict: bool = True) -> dict[str, Any]:
    """Flat settings in the types of their defaults.

    Raises:
        ValueError: an unknown name, unless ``strict`` is False, or another type.
    """
    defaults = {**Experiment().flat(), "recipe": "", "adapt_recipe": ""}
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name not in defaults:
            if strict:
                known = ", ".join(defaults)
                raise ValueError(f"unknown setting {name!r}: expected one of {known}")
            continue
        kind = type(defaults[name])
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise ValueError(f"{name} must be {TYPE_NAMES[kind]}, found {value!r}")
        found[name] = value
    return found


def _own_names() -> list[str]:
    return [name for name in Experiment.names() if name not in ("adapt", "train")]


def _values(settings: StageSettings) -> dict[str, Any]:
    """Fields and weights of a stage by name."""
    own = {name: getattr(settings, name) for name in settings.names() if name not in settings.terms}
    if "options" in own:
        own["options"] = dict(own["options"])  # an ordinary table
    return own | {term: settings.weight(term) for term in settings.terms}
