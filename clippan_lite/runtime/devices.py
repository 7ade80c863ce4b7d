"""The device to compute on, and the versions that decide about results."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys

import clippan_lite

PACKAGES = (
    "torch",
    "torchvision",
    "open_clip_torch",
    "numpy",
    "scipy",
    "rasterio",
    "papermill",
    "jupytext",
)


def pick(wanted: str = "auto") -> str:
    """``"auto"`` takes the GPU when there is one; what was taken, and why, is printed."""
    import torch

    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
        why = (
            "a GPU is there"
            if wanted == "cuda"
            else f"no GPU found, {torch.get_num_threads()} CPU threads"
        )
        print(f"device: {wanted} ({why})")
    elif wanted != "cpu" and not wanted.startswith("cuda"):
        raise ValueError(f"device {wanted!r} is unknown; expected 'auto', 'cpu' or 'cuda'")
    elif wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device {wanted!r} was asked for, but no GPU is found; use device='cpu' or 'auto'"
        )
    return wanted


def versions() -> dict[str, str]:
    """Versions of this package, Python and the packages that decide about results."""
    found = {"clippan-lite": clippan_lite.__version__, "Python": sys.version.split()[0]}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def describe() -> str:
    """The accelerator's name, or the number of CPU threads."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f"CPU with {torch.get_num_threads()} threads"
