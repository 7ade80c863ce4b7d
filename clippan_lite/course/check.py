"""What `clippan-lite check` says: versions, device, weights, folders, and how to mend problems."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from clippan_lite.runtime import facts, files, notebooks
from clippan_lite.runtime.package import FOLDER, VERSION

#: extra of the package -> distributions that it needs
NEEDED = {
    "": (
        "torch",
        "torchvision",
        "open_clip_torch",
        "numpy",
        "scipy",
        "rasterio",
        "safetensors",
        "tqdm",
        "accelerate",
        "h5py",
        "filelock",
    ),
    "[notebooks]": (
        "matplotlib",
        "jupyterlab",
        "ipywidgets",
        "ipykernel",
        "jupytext",
        "jinja2",
        "papermill",
        "nbval",
    ),
}
WEIGHTS = FOLDER / "weights"
MAKE_WEIGHTS = "run: python -m clippan_lite.pretraining.clip"
# Bytes. A run folder of the quick preset takes tens of MB, checkpoints and downloads more.
ENOUGH_DISK = 2e9


class Problem(str):
    """A finding that keeps something from working; one line that ends with what to do."""


def report() -> tuple[list[str], list[str]]:
    """Look at everything a run needs.

    Returns:
        Lines to print, and the problems found, each one line with its mend. No problem means ready.
    """
    parts = (_packages(), _torch(), _weights(), _notebooks(), _folders())
    lines = [f"clippan-lite {VERSION}, Python {sys.version.split()[0]}"]
    lines += itertools.chain(*parts)
    problems: list[str] = [line for line in lines if isinstance(line, Problem)]
    return [line for line in lines if not isinstance(line, Problem)], problems


def _packages() -> Iterator[str]:
    for extra, names in NEEDED.items():
        found = []
        for name in names:
            try:
                found.append(f"{name} {importlib.metadata.version(name)}")
            except importlib.metadata.PackageNotFoundError:
                yield Problem(f'{name} is not installed: pip install "clippan-lite{extra}"')
        if found:
            yield ", ".join(found)


def _torch() -> Iterator[str]:
    try:
        import torch

        from clippan_lite.runtime import devices
    except Exception as error:
        yield Problem(f"torch cannot be imported ({_first_line(error)}): install it again")
        return
    yield f"device: {devices.describe()}"
    try:
        # A compiled operator. It fails when torch and torchvision come from different indexes. Its
        # library alone loads in no time, all of torchvision in seconds.
        found = importlib.util.find_spec("torchvision")
        folder = Path(found.origin or "").parent if found else Path()
        libraries = [file for file in folder.glob("_C*") if file.suffix in (".so", ".pyd")]
        for file in libraries:
            torch.ops.load_library(file)
        if not libraries:
            importlib.import_module("torchvision.ops")
        torch.ops.torchvision.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
        built, own = torch.ops.torchvision._cuda_version(), torch.version.cuda
        if own and built > 0 and built // 1000 != int(own.split(".")[0]):
            raise RuntimeError(f"built for CUDA {own} and {built // 1000}")
    except Exception as error:
        yield Problem(
            f"torch and torchvision do not fit together ({_first_line(error)}): "
            "install both anew, in one command and from the same index: "
            "pip install --force-reinstall torch torchvision"
        )


def _weights() -> Iterator[str]:
    """The included CLIP is there, readable, and the file that its card describes."""
    path, card = WEIGHTS / "bundled_clip.safetensors", WEIGHTS / "bundled_clip.json"
    missing = [file.name for file in (path, card) if not file.is_file()]
    if missing:
        yield Problem(f"included CLIP: {missing[0]} is missing: {MAKE_WEIGHTS}")
        return
    try:
        from safetensors import safe_open

        expected = facts.read(card).text("sha256", "") or None
        with safe_open(path, framework="numpy") as tensors:
            count = len(tensors.keys())
    except Exception as error:
        yield Problem(f"included CLIP cannot be read ({_first_line(error)}): {MAKE_WEIGHTS}")
        return
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    size = path.stat().st_size / 1e6
    yield f"included CLIP: {size:.1f} MB, {count} tensors, SHA-256 {found[:12]}"
    if expected not in (None, found):
        yield Problem(
            f"included CLIP has SHA-256 {found[:12]}, its card says {expected[:12]}: {MAKE_WEIGHTS}"
        )


def _notebooks() -> Iterator[str]:
    try:
        folder = notebooks.notebooks_folder()
    except FileNotFoundError as error:
        yield Problem(str(error))
        return
    names = [path.stem for path in sorted(folder.glob(notebooks.PATTERN))]
    yield f"notebooks: {', '.join(names)} in {folder}"


def _folders() -> Iterator[str]:
    """Where files go can be written, and has room."""
    for use, folder, mend in (
        ("kept files (CLIPPAN_HOME)", files.home(), "set CLIPPAN_HOME to another folder"),
        ("this folder", Path.cwd(), "change to another folder"),
    ):
        existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        free = shutil.disk_usage(existing).free
        yield f"{use}: {folder}, {free / 1e9:.1f} GB free"
        try:
            # Permission bits alone say little on network drives.
            tempfile.TemporaryFile(dir=existing).close()
        except OSError:
            yield Problem(f"{folder} cannot be written: {mend}")
        if free < ENOUGH_DISK:
            yield Problem(
                f"{folder} has {free / 1e9:.1f} GB free, expected {ENOUGH_DISK / 1e9:.0f}: "
                "make room"
            )
    scenes = os.environ.get("CLIPPAN_TEST_DATA") or "not set, tests on real image pairs are skipped"
    yield f"CLIPPAN_TEST_DATA: {scenes}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
