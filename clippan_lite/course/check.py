"""What `clippan-lite check` says: versions, device, weights, folders, and what is wrong with the mend."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import os
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

import clippan_lite
from clippan_lite.runtime import files, notebooks

# Distribution name: module name.
REQUIRED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "open_clip_torch": "open_clip",
    "numpy": "numpy",
    "scipy": "scipy",
    "rasterio": "rasterio",
    "safetensors": "safetensors",
    "tqdm": "tqdm",
    "accelerate": "accelerate",
    "pooch": "pooch",
    "h5py": "h5py",
    "filelock": "filelock",
}
FOR_NOTEBOOKS = {
    "matplotlib": "matplotlib",
    "jupyterlab": "jupyterlab",
    "ipywidgets": "ipywidgets",
    "ipykernel": "ipykernel",
    "jupytext": "jupytext",
    "papermill": "papermill",
    "nbval": "nbval",
}
WEIGHTS = Path(clippan_lite.__file__).parent / "weights"
MAKE_WEIGHTS = "run: python -m clippan_lite.pretraining.clip"
ENOUGH_DISK = (
    2e9  # bytes: a run folder of the quick preset takes tens of MB, checkpoints and downloads more
)


def report() -> tuple[list[str], list[str]]:
    """Look at everything a run needs.

    Returns:
        Lines to print, and the problems found, each one line with its mend; an empty list means ready.
    """
    lines, problems = (
        [f"clippan-lite {clippan_lite.__version__}, Python {sys.version.split()[0]}"],
        [],
    )
    for part in (_packages, _torch, _weights, _notebooks, _folders, _test_data):
        found, wrong = part()
        lines += found
        problems += wrong
    return lines, problems


def _packages() -> tuple[list[str], list[str]]:
    lines, problems = [], []
    for names, extra in ((REQUIRED, ""), (FOR_NOTEBOOKS, "[notebooks]")):
        have = {}
        for name in names:
            try:
                have[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                problems.append(f'{name} is not installed: pip install "clippan-lite{extra}"')
        lines.append(", ".join(f"{name} {version}" for name, version in have.items()))
    return [line for line in lines if line], problems


def _torch() -> tuple[list[str], list[str]]:
    try:
        import torch
    except Exception as error:
        return [], [f"torch cannot be imported ({_first_line(error)}): install it again"]
    if torch.cuda.is_available():
        lines = [f"device: {torch.cuda.get_device_name(0)}"]
    else:
        lines = [f"device: CPU with {torch.get_num_threads()} threads"]
    try:
        ops = importlib.import_module("torchvision.ops")
        boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        ops.nms(
            boxes, torch.ones(1), 0.5
        )  # a compiled operator: fails when the two come from different indexes
    except Exception as error:
        mend = "install both anew, in one command and from the same index: pip install --force-reinstall"
        return lines, [
            f"torch and torchvision do not fit together ({_first_line(error)}): {mend} torch torchvision"
        ]
    return lines, []


def _weights() -> tuple[list[str], list[str]]:
    """The bundled CLIP: there, readable, and the file its card describes."""
    card_path, path = WEIGHTS / "bundled_clip.json", WEIGHTS / "bundled_clip.safetensors"
    for missing in (p for p in (path, card_path) if not p.is_file()):
        return [], [f"bundled CLIP: {missing.name} is missing: {MAKE_WEIGHTS}"]
    try:
        card: dict[str, Any] = json.loads(card_path.read_text(encoding="utf-8"))
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as tensors:
            count = len(tensors.keys())
    except Exception as error:
        return [], [f"bundled CLIP cannot be read ({_first_line(error)}): {MAKE_WEIGHTS}"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    lines = [
        f"bundled CLIP: {path.stat().st_size / 1e6:.1f} MB, {count} tensors, SHA-256 {digest[:12]}"
    ]
    expected = card.get("sha256")
    if expected and expected != digest:
        return lines, [
            f"bundled CLIP has SHA-256 {digest[:12]}, its card says {expected[:12]}: {MAKE_WEIGHTS}"
        ]
    return lines, []


def _notebooks() -> tuple[list[str], list[str]]:
    try:
        folder = notebooks.notebooks_folder()
    except FileNotFoundError as error:
        return [], [str(error)]
    names = [path.stem for path in sorted(folder.glob(notebooks.PATTERN))]
    return [f"notebooks: {', '.join(names)} in {folder}"], []


def _folders() -> tuple[list[str], list[str]]:
    """Where files go can be written, and there is room."""
    lines, problems = [], []
    for what, folder in (("kept files (CLIPPAN_HOME)", files.home()), ("runs", Path.cwd())):
        existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        free = shutil.disk_usage(existing).free
        lines.append(f"{what}: {folder}, {free / 1e9:.1f} GB free")
        if not _writable(existing):
            mend = (
                "set CLIPPAN_HOME to another folder"
                if folder == files.home()
                else "change to another folder"
            )
            problems.append(f"{folder} cannot be written: {mend}")
        if free < ENOUGH_DISK:
            problems.append(
                f"{folder} has {free / 1e9:.1f} GB free, expected {ENOUGH_DISK / 1e9:.0f}: make room"
            )
    return lines, problems


def _writable(folder: Path) -> bool:
    """Try it: permission bits alone say little on network drives."""
    probe = folder / f".clippan-{uuid.uuid4().hex[:8]}"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError:
        return False
    return True


def _test_data() -> tuple[list[str], list[str]]:
    folder = os.environ.get("CLIPPAN_TEST_DATA")
    return [f"CLIPPAN_TEST_DATA: {folder or 'not set, tests on real image pairs are skipped'}"], []


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
