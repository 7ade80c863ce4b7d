"""Files of weights: safetensors, or tensors alone in a .pt; no code is run.

Files of our own hold all else that belongs to the weights in their header, so that both are
replaced in one step and cannot fall apart.
"""

from __future__ import annotations

import hashlib
import json
import textwrap
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from clippan_lite.runtime import facts as facts_of
from clippan_lite.runtime.files import replacing

KEY = "clippan_lite"  # in the header of files of our own


def save(path: Path, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and facts into one safetensors file, as a whole or not at all.

    Raises:
        ValueError: the path is a folder.
        OSError: the file could not be written, because the disk is full or for another reason.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give a file in it, such as network.safetensors")
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {KEY: json.dumps(facts)}  # one entry, because the library shuffles several
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(path) as part:
            save_file(plain, part, header)
    except SafetensorError as error:
        before = "the one before it is kept" if path.is_file() else "none is kept"
        raise OSError(f"{path} could not be written ({error}); {before}: make room") from error


def load(path: Path, what: str) -> tuple[dict[str, torch.Tensor], facts_of.Facts]:
    """Read what :func:`save` wrote.

    Args:
        path: the file.
        what: it should be, for messages.

    Raises:
        ValueError: it is no safetensors file, was not written by `save`, or a weight is not finite.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} holds no {what}, or is damaged ({error})") from error
    where = f"{path} holds no {what} of this version"
    facts = facts_of.parse(header.get(KEY, ""), where)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise ValueError(f"{path} holds NaN or infinity in {name}, expected finite weights")
    return tensors, facts


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Copy the weights of a file into a model; what does not fit is a ValueError of one line."""
    try:
        model.load_state_dict(read_weights(path))
    except RuntimeError as error:
        lines = str(error).splitlines()
        first = textwrap.shorten(lines[min(1, len(lines) - 1)].strip(), 120, placeholder=" ...")
        raise ValueError(
            f"{path.name} holds weights of another architecture than expected ({first}); "
            "name theirs with clip"
        ) from error


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a file by name, without a wrapping ``state_dict`` or ``module``; runs no code."""
    from safetensors.torch import load_file

    try:
        with warnings.catch_warnings(action="ignore"):  # of TorchScript, which is refused
            content: object = (
                load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(path, map_location="cpu", weights_only=True)
            )
    except Exception as error:  # torch's own text is long, and advises to run the file's code
        raise ValueError(
            f"{path.name} is no intact weights file ({type(error).__name__}): expected "
            "safetensors, or a .pt with the tensors of a state_dict alone (OpenAI's own .pt is a "
            "program: use its tag); get it again"
        ) from error
    if isinstance(content, dict):
        content = content.get("state_dict", content)
    if not isinstance(content, dict):
        raise ValueError(
            f"{path.name}: expected the tensors of a state_dict, found a {type(content).__name__}"
        )
    tensors = {str(k): value for k, value in content.items() if isinstance(value, torch.Tensor)}
    for prefix in ("state_dict.", "module."):
        consume_prefix_in_state_dict_if_present(tensors, prefix)
    return tensors


def short_hash(path: Path) -> str:
    """Kind and first digits of a file's hash."""
    return "sha256 " + hashlib.sha256(path.read_bytes()).hexdigest()[:8]
