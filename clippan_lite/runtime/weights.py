"""Files of weights of our own: safetensors.

They hold all else that belongs to the weights in their header, so that both are
replaced in one step and cannot fall apart.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from clippan_lite.runtime.files import replacing

if TYPE_CHECKING:
    from clippan_lite.runtime.facts import Facts

KEY = "clippan_lite"  # in the header of files of our own


def save(path: Path, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and facts into one safetensors file, as a whole or not at all.

    Raises:
        ValueError: the path is a folder, or a weight is not finite.
        OSError: the file could not be written, because the disk is full or for another reason.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give a file in it, such as network.safetensors")
    for name in _not_finite(tensors):
        raise ValueError(f"{name} holds NaN or infinity: {path} is not written")
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {KEY: json.dumps(facts)}  # one entry, because the library shuffles several
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as part:
            part.touch()
            mode = part.stat().st_mode  # the library would let nobody else read the file
            save_file(plain, part, header)
            part.chmod(mode)
    except SafetensorError as error:
        before = "the one before it is kept" if path.is_file() else "none is kept"
        raise OSError(f"{path} could not be written ({error}); {before}: make room") from error


def load(path: Path, what: str) -> tuple[dict[str, torch.Tensor], Facts]:
    """Read what :func:`save` wrote.

    Args:
        path: the file.
        what: it should be, for messages.

    Raises:
        ValueError: it is no safetensors file, was not written by `save`, or a weight is not finite.
    """
    from clippan_lite.runtime.facts import parse

    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} holds no {what}, or is damaged ({error})") from error
    where = f"{path} holds no {what} of this version"
    facts = parse(header.get(KEY, ""), where)
    for name in _not_finite(tensors):
        raise ValueError(f"{path} holds NaN or infinity in {name}, expected finite weights")
    return tensors, facts


def _not_finite(tensors: dict[str, torch.Tensor]) -> list[str]:
    """Names of tensors that hold NaN or infinity."""
    return [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not tensor.float().isfinite().all()
    ]
