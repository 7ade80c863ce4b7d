"""The device to compute on, and the versions that decide about results."""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
import sys

import torch

from clippan_lite.runtime.package import VERSION

PACKAGES = (
    "torch", "torchvision", "open_clip_torch", "numpy", "scipy", "rasterio", "papermill",
    "jupytext",
)  # fmt: skip


def check(wanted: str) -> None:
    """Refuse an unknown device (ValueError)."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", wanted):
        raise ValueError(f"device {wanted!r} is unknown; expected 'auto', 'cpu' or 'cuda'")


def pick(wanted: str = "auto") -> str:
    """Check that the wanted device can be used.

    ``"auto"`` takes the GPU when there is one. It prints what it takes, and why.

    Raises:
        ValueError: an unknown device, or CUDA without a GPU.
    """
    check(wanted)
    found = torch.cuda.is_available()
    if wanted == "auto":
        wanted = "cuda" if found else "cpu"
        print(f"device: {wanted} ({'a GPU is there' if found else f'no GPU found, {cpu()}'})")
    if wanted != "cpu" and not found:
        raise ValueError(
            f"device {wanted!r} was asked for, but no GPU is found; use device='cpu' or 'auto'"
        )
    return wanted


def versions() -> dict[str, str]:
    """Versions of this package, Python and the packages that decide about results."""
    found = {"clippan-lite": VERSION, "Python": sys.version.split()[0]}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def describe() -> str:
    """The GPU's name, or the number of CPU threads."""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else cpu()


def cpu() -> str:
    """How many threads compute on the CPU, in words."""
    threads = torch.get_num_threads()
    return f"CPU with {threads} thread{'s' if threads > 1 else ''}"
