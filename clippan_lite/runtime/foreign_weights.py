"""Files of weights that others made: safetensors, or tensors alone in a .pt; no code is run."""

from __future__ import annotations

import textwrap
import warnings
from pathlib import Path

import torch
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present


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
