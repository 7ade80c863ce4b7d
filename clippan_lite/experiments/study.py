"""One measurement of a study as a plain function: a scene, how it is fused, and its figures with and without truth.

The notebook ``notebooks/studies/point.py`` shows one measurement; ``clippan-lite sweep`` makes grids of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

import torch

from clippan_lite import adaptation, backbones, classical, data, fusion, prompts, training
from clippan_lite import clip as clips
from clippan_lite.adapter import Supervisor
from clippan_lite.config import AdaptConfig, TrainConfig, recipe
from clippan_lite.data import Pair, geotiff, synthetic, with_bands
from clippan_lite.experiments import probes
from clippan_lite.metrics import evaluation
from clippan_lite.metrics.faults import parse, spoiled
from clippan_lite.runtime import devices, files


@dataclass(frozen=True)
class Point:
    """All parameters of one measurement; -1 and "" leave a setting to the recipe or the scene."""

    scene: str = "synthetic:1"  # "synthetic:SEED", a scene folder or its name below CLIPPAN_TEST_DATA; FOLDER@SENSOR
    size: int = 256  # side of a synthetic scene in PAN pixels
    sensor: str = "WV2"  # of a synthetic scene
    bands: str = (
        ""  # names of the bands to use, with commas between, such as "B,G,R,NIR"; "" takes all
    )
    register: bool = False  # shift PAN onto MS first
    scale: str = "both"  # judge at "full" resolution, against the "truth" (real scenes: one scale down), or "both"
    method: str = ""  # a classical method instead of a network, such as "EXP"
    backbone: str = "fusionnet"  # fusion network
    recipe: str = "quick"  # Stage II settings that the following ones change
    steps: int = -1  # Stage II optimiser steps
    batch: int = -1  # patches per step
    patch: int = -1  # side of a patch, PAN pixels
    spec: float = -1.0  # weight of L_spec
    spat: float = -1.0  # weight of L_spat
    rho: float = -1.0  # weight of L_rho
    qnr: float = -1.0  # weight of L_QNR
    ship: float = -1.0  # weight of L_ship
    direction: float = -1.0  # weight of L_d
    words: float = -1.0  # weight of L_words
    guard: bool = False  # language moves details only
    tokens: bool = False  # L_d on CLIP's patches
    clip: str = "bundled"  # or an open_clip architecture
    clip_pretrained: str = ""  # its tag or file
    clip_random: bool = False  # control: random weights
    prompt: str = "wald"  # sentences of Stage I
    swap: str = ""  # sentences asked in Stage II instead of those of Stage I, un-adapted to
    adapt_steps: int = 80  # Stage I optimiser steps; 0 leaves CLIP un-adapted
    inter: float = 1.0  # weight of InterMCL
    intra: float = 0.3  # weight of IntraMCL
    fusion: float = 1.0  # weight of the fusion-aware L1
    adapt_direction: float = 10.0  # weight of the direction term in Stage I; 0 is the paper's
    examples: str = "mixed"  # HRMS examples of Stage I
    text_share: float = 0.5  # of the text adapters; 0 leaves the sentences CLIP's own
    stem: str = "learned"  # or "rgb", "pca"
    fault: str = ""  # put into the input, such as "noise:0.1" or "haze:0.2+shift:2"
    test_scene: str = ""  # judge the network on another scene than it was trained on; as `scene`
    seed: int = 0  # of Stage I, Stage II and their crops
    device: str = "cpu"  # "auto", "cpu" or "cuda"


def measure(point: Point) -> dict[str, float]:
    """Fuse as the point says, and judge.

    A scene whose truth is known is fused at its own scale, and judged with and without truth. A real scene is fused
    twice: at full resolution, judged without truth, and one scale down (Wald's protocol), where MS is the truth.

    Args:
        point: the parameters.

    Returns:
        Metrics by name: with truth ``PSNR``, ``ERGAS``, ``SAM``, ``Q2n``; without it ``D_lambda``, ``D_s``, ``QNR``,
        ``D_lambda_K``, ``HQNR``, ``D_rho``; of Stage I, where there is one, on held-out crops of the scene judged with
        truth ``type accuracy``, ``direction cosine``; and ``minutes``.

    Raises:
        ValueError, FileNotFoundError: parameters or a scene that cannot be used, in one line.
    """
    begun = time.perf_counter()
    check(point)
    point = replace(
        point, device=devices.pick(point.device) if point.device == "auto" else point.device
    )
    row: dict[str, float] = {}
    wanted = ("truth", "full") if point.scale == "both" else (point.scale,)
    known = _has_truth(point.test_scene or point.scene)
    # Where the truth is known: a synthetic scene's at its own scale, a real one's one scale down.
    scales = dict.fromkeys(
        "reduced" if want == "truth" and not known else "full" for want in wanted
    )
    for scale in scales:
        pair = load(point, point.scene, scale)
        fused, judged, supervisor = _fused(point, pair, scale)
        if judged.truth is not None:
            row |= evaluation.against_truth(fused, judged)
        if scale == "full":
            row |= evaluation.at_full_resolution(fused, judged)
        if supervisor is not None and pair.truth is not None:
            views = probes.held_out_views(pair, supervisor.clip.input_size, device=point.device)
            known_by = probes.figures(supervisor, views)
            row |= {name: known_by[name] for name in ("type accuracy", "direction cosine")}
    return {**row, "minutes": (time.perf_counter() - begun) / 60}


def _has_truth(scene: str) -> bool:
    return scene.startswith("synthetic:") or (folder_of(scene) / "truth.tif").is_file()


def check(point: Point) -> None:
    """Refuse what would fail later.

    Raises:
        ValueError: one line with what was expected and what was found.
    """
    for f in fields(Point):
        value, kind = getattr(point, f.name), type(f.default)
        if isinstance(value, bool) is not (kind is bool) or not isinstance(
            value, int | float if kind is float else kind
        ):
            raise ValueError(f"{f.name} is {value!r}, expected {_KINDS[kind]}")
    if point.scale not in ("full", "truth", "both"):
        raise ValueError(f"scale must be full, truth or both, found {point.scale!r}")
    prompts.get(point.prompt)
    if point.swap:
        prompts.get(point.swap)
    if point.method:
        if point.method not in classical.METHODS:
            raise ValueError(
                f"unknown method {point.method!r}: expected one of {', '.join(classical.METHODS)}"
            )
    else:
        backbones.check(point.backbone)
    parse(point.fault)
    for name in (*STAGE_TWO, "adapt_steps"):
        value = getattr(point, name)
        if not (0 <= value < float("inf") or (value == -1 and name != "adapt_steps")):
            raise ValueError(f"{name} must be 0 or more, or -1 for the recipe's, found {value}")
    adaptation.check_settings(adapt_config(point))
    train_config(point)


_KINDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}
_STAGE_ONE = ("inter", "intra", "fusion", "adapt_direction", "examples", "text_share", "stem")
_LANGUAGE = (
    "guard",
    "tokens",
    "clip",
    "clip_pretrained",
    "clip_random",
    "prompt",
    "swap",
    "adapt_steps",
    *_STAGE_ONE,
)


def effective(point: Point) -> Point:
    """The point with what nothing reads set to its default: two that agree in it differ in nothing but names.

    A classical method reads no setting of a network, training without L_d and L_words none of CLIP, and an un-adapted
    CLIP none of Stage I.
    """
    config, idle = train_config(point), ()
    if point.method:
        idle = (*STAGE_TWO, *_LANGUAGE, "backbone", "recipe")
    elif not (config.direction or config.words):
        idle = _LANGUAGE
    elif point.adapt_steps == 0:
        idle = _STAGE_ONE
    return replace(point, **{f.name: f.default for f in fields(Point) if f.name in idle})


#: Settings of Stage II that -1 leaves to the recipe.
STAGE_TWO = ("steps", "batch", "patch", "spec", "spat", "rho", "qnr", "ship", "direction", "words")


def train_config(point: Point) -> TrainConfig:
    """Stage II's settings: the recipe's, changed where the point says so."""
    changes = {name: getattr(point, name) for name in STAGE_TWO if getattr(point, name) >= 0}
    more = {name: getattr(point, name) for name in ("guard", "tokens", "seed", "backbone")}
    return recipe(point.recipe, **changes, **more)


def adapt_config(point: Point) -> AdaptConfig:
    """Stage I's settings."""
    names = ("inter", "intra", "fusion", "examples", "text_share", "stem", "seed")
    same = {name: getattr(point, name) for name in names}
    return AdaptConfig(steps=point.adapt_steps, direction=point.adapt_direction, **same)


def folder_of(scene: str) -> Path:
    """The folder of a scene that is not synthetic; ``@SENSOR`` behind it, which `scene.json` need not name, is no part.

    Raises:
        FileNotFoundError: there is none; the message says where it was looked for.
    """
    scene = scene.partition("@")[0]
    places = [Path(scene).expanduser()]
    if os.environ.get("CLIPPAN_TEST_DATA"):
        places.append(Path(os.environ["CLIPPAN_TEST_DATA"]) / scene)
    places.append(files.home() / "data" / scene)
    for place in places:
        if (place / "scene.json").is_file():
            return place
    raise FileNotFoundError(
        f"scene {scene!r} is not there: expected synthetic:SEED, a folder with scene.json, or the name of one below "
        "CLIPPAN_TEST_DATA or CLIPPAN_HOME/data (python -m data_download get NAME)"
    )


@lru_cache(maxsize=8)
def _whole(scene: str, size: int, sensor: str, register: bool) -> Pair:
    if not scene.startswith("synthetic:"):
        folder, (_, _, named) = folder_of(scene), scene.partition("@")
        found = (
            geotiff.read_pair(folder / "pan.tif", folder / "ms.tif", named)
            if named
            else geotiff.read_scene(folder)
        )
        pair = data.largest_valid(found)
        if register:
            from clippan_lite.data import registration

            pair = registration.correct(pair, registration.estimate(pair))
        return pair
    if not re.fullmatch(r"synthetic:\d+", scene):
        raise ValueError(f"expected a synthetic scene as synthetic:SEED, found {scene!r}")
    return synthetic.make_scene(int(scene.removeprefix("synthetic:")), size, sensor)


@lru_cache(maxsize=8)
def _loaded(
    scene: str, size: int, sensor: str, register: bool, bands: str, scale: str, fault: str
) -> Pair:
    pair = _whole(scene, size, sensor, register)
    if bands:
        pair = with_bands(pair, bands.split(","))
    if scale == "reduced":
        pair = data.reduced(pair)
    return spoiled(pair, **parse(fault))


def load(point: Point, scene: str, scale: str) -> Pair:
    """A scene at full resolution, or one scale down, with the point's bands and faults; kept for the next call."""
    return _loaded(scene, point.size, point.sensor, point.register, point.bands, scale, point.fault)


@lru_cache(maxsize=4)
def _clip(name: str, pretrained: str, random: bool, seed: int, device: str) -> clips.Clip:
    torch.manual_seed(seed)  # of random weights
    return clips.load_clip(
        name, None if random else pretrained or None, device, random_weights=random
    )


@lru_cache(maxsize=16)
def _supervisor(scene: tuple, clip: tuple, prompt: str, config: AdaptConfig) -> Supervisor:
    pair, model = _loaded(*scene), _clip(*clip)
    words = prompts.get(prompt)
    if config.steps == 0:
        return probes.unadapted(pair, model, words, clip[-1])
    return adaptation.adapt(pair, model, words, config, clip[-1], progress=False)[0]


_networks: dict[tuple, torch.nn.Module] = {}  # the last ones


@lru_cache(maxsize=4)
def _teacher(scene: tuple, settings: str, device: str) -> torch.nn.Module:
    return training.teach(
        _loaded(*scene), TrainConfig(**json.loads(settings)), device=device, progress=False
    )


def _fused(point: Point, pair: Pair, scale: str) -> tuple[torch.Tensor, Pair, Supervisor | None]:
    """The fused image, the pair that it is to be judged on, and the supervisor, if there was one."""
    judged = load(point, point.test_scene, scale) if point.test_scene else pair
    if point.method:
        return classical.fuse(point.method, judged), judged, None
    config, supervisor, teacher = train_config(point), None, None
    scene = (point.scene, point.size, point.sensor, point.register, point.bands, scale, point.fault)
    if config.direction or config.words:
        seed = point.seed if point.clip_random else 0
        clip = (point.clip, point.clip_pretrained, point.clip_random, seed, point.device)
        supervisor = _supervisor(scene, clip, point.prompt, adapt_config(point))
        if point.swap:
            supervisor = supervisor.with_prompts(replace(supervisor.prompts, **_asked(point.swap)))
    if config.ship:
        plain = replace(config, **dict.fromkeys(training.TERMS, 0.0), guard=False, tokens=False)
        teacher = _teacher(scene, json.dumps(asdict(plain)), point.device)
    # Kept for the next call: another scene to judge it on, or another fault there, needs no other training.
    key = (scene, json.dumps(asdict(config)), supervisor, teacher, point.device)
    if key not in _networks:
        while len(_networks) >= 4:  # a study's arms take turns
            _networks.pop(next(iter(_networks)))
        _networks[key] = training.train(
            pair, config, supervisor, teacher, point.device, progress=False
        )[0]
    return fusion.fuse(judged, _networks[key]), judged, supervisor


def _asked(prompt: str) -> dict:
    """What Stage II asks for: the sentence of HRMS and the antonyms; those of MS and PAN stay Stage I's."""
    words = prompts.get(prompt)
    return {"hrms": words.hrms, "antonyms": words.antonyms}


def scene_hash(scene: str) -> str:
    """Hash of a scene's content, or of the name of a synthetic one, which its generator makes anew."""
    if scene.startswith("synthetic:"):
        return scene
    digest = hashlib.sha256()
    for name in ("scene.json", "pan.tif", "ms.tif", "truth.tif"):
        if name != "truth.tif" or _has_truth(scene):
            digest.update((folder_of(scene) / name).read_bytes())
    return digest.hexdigest()[:12]


def data_hash(point: Point) -> str:
    """Hash of the content of all scenes of a point, and of a CLIP's weights that are not ours."""
    found = [scene_hash(scene) for scene in (point.scene, point.test_scene) if scene]
    if point.clip != "bundled" or point.clip_pretrained:
        found.append(clips.weights_stamp(point.clip, point.clip_pretrained))
    return "+".join(found)


#: Modules that show, report or install, and decide no figure.
_ASIDE = {
    *("widgets", "plotting", "report", "html_parts", "claims"),
    *(
        "cli",
        "chain",
        "sources",
        "check",
        "sweep",
        "sweep_points",
        "sweep_tables",
        "workers",
        "steps",
    ),
}


@lru_cache(maxsize=1)
def source_hash() -> str:
    """Hash of the package's code and weights that decide figures: a change makes new points."""
    package, digest = Path(__file__).parent.parent, hashlib.sha256()
    kinds = (".py", ".toml", ".safetensors")
    for path in sorted(
        p for p in package.rglob("*") if p.suffix in kinds and "_notebooks" not in p.parts
    ):
        if path.stem not in _ASIDE and not path.stem.startswith("pretrain"):
            digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def write_row(path: str | os.PathLike[str], point: Point, row: dict[str, float]) -> None:
    """Keep a row and the parameters that made it as JSON."""
    files.write_json(Path(path), {"parameters": asdict(point), "row": json.loads(json.dumps(row))})
