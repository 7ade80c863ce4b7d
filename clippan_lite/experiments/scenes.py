"""Scenes by name: where their files are, and what they hold."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from clippan_lite.data import Pair, example, geotiff, largest_valid, registration, synthetic
from clippan_lite.runtime import files

SYNTHETIC = "synthetic:"  # a seed follows


def seed_of(scene: str) -> int:
    """Seed of a synthetic scene; 0 for another one."""
    return int(scene.partition(SYNTHETIC)[2] or 0)


def folder_of(scene: str) -> Path:
    """The folder of a scene that is not synthetic.

    Args:
        scene: the folder or its name, or an included scene. ``@SENSOR`` may follow, for a
            `scene.json` that names none.

    Raises:
        FileNotFoundError: there is none; the message says where it was looked for.
    """
    name = scene.partition("@")[0]
    places = [Path(name).expanduser(), files.home() / "data" / name]
    if name in example.REAL:
        places.append(example.FOLDER / name)
    if os.environ.get("CLIPPAN_TEST_DATA"):
        places.insert(1, Path(os.environ["CLIPPAN_TEST_DATA"]) / name)
    for place in places:
        if (place / "scene.json").is_file():
            return place
    raise FileNotFoundError(
        f"scene {name!r} is not there: expected synthetic:SEED, {' or '.join(example.REAL)}, a "
        "folder with scene.json, or the name of one below CLIPPAN_TEST_DATA or CLIPPAN_HOME/data "
        "(python -m data_download get NAME)"
    )


def files_of(scene: str) -> list[Path]:
    """The files of a scene; none of a synthetic one."""
    if scene.startswith(SYNTHETIC):
        return []
    folder = folder_of(scene)
    found = [folder / name for name in ("scene.json", "pan.tif", "ms.tif", "truth.tif")]
    return found if found[-1].is_file() else found[:-1]


def has_truth(scene: str) -> bool:
    """Whether the true HRMS is known at the scene's own scale."""
    return scene.startswith(SYNTHETIC) or files_of(scene)[-1].name == "truth.tif"


def content_hash(paths: list[Path]) -> str:
    """Short hash of what files hold."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def read(scene: str, size: int, sensor: str, convention: str, register: bool) -> Pair:
    """A scene folder, or a synthetic scene.

    Args:
        scene: ``"synthetic:SEED"``, or as in :func:`folder_of`.
        size: side of a synthetic scene, PAN pixels.
        sensor: of a synthetic scene.
        convention: of a synthetic scene.
        register: shift PAN onto MS.

    Returns:
        The pair. Of a scene folder the largest part without nodata.
    """
    if scene.startswith(SYNTHETIC):
        pair = synthetic.make_scene(seed_of(scene), size, sensor, convention)
    else:
        folder, its_sensor = folder_of(scene), scene.partition("@")[2]
        images = (folder / "pan.tif", folder / "ms.tif")
        found = geotiff.read_pair(*images, its_sensor) if its_sensor else geotiff.read_scene(folder)
        pair = largest_valid(found)
        if convention not in ("benchmark", pair.convention):
            print(
                f"Note: {pair.name} has the convention {pair.convention}; the parameter convention "
                "is for synthetic scenes and for files of your own"
            )
    return registration.correct(pair, registration.estimate(pair)) if register else pair
