"""What both training stages share: the device, the sum of named terms, the progress bar."""

from __future__ import annotations

import torch
from tqdm.auto import tqdm


def pick_device(wanted: str = "auto") -> str:
    """``"auto"`` takes the GPU when there is one; what was taken, and why, is printed."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
        why = "a GPU is there" if wanted == "cuda" else f"no GPU found, {torch.get_num_threads()} CPU threads"
        print(f"device: {wanted} ({why})")
    elif wanted != "cpu" and not wanted.startswith("cuda"):
        raise ValueError(f"device {wanted!r} is unknown; expected 'auto', 'cpu' or 'cuda'")
    elif wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {wanted!r} was asked for, but no GPU is found; use device='cpu' or 'auto'")
    return wanted


def weighted_sum(terms: dict[str, torch.Tensor], weights: dict[str, float], step: int) -> torch.Tensor:
    """Weighted sum of named terms; a term that is not a number is named."""
    for name, value in terms.items():
        if not torch.isfinite(value):
            raise FloatingPointError(
                f"loss term {name!r} became {value.item()} at step {step}; lower the learning rate"
            )
    return sum(weights[name] * value for name, value in terms.items())


def progress_bar(steps: int, what: str, shown: bool, done: int = 0) -> tqdm:
    """Progress bar drawn at most once a second.

    In a notebook each drawing is three messages, and clients that read a cell's messages only when it has ended (nbval)
    lose those beyond a queue of about two thousand, the one that says "idle" among them.
    """
    left = range(done, steps)
    return tqdm(left, desc=what, unit="step", mininterval=1.0, disable=not shown, initial=done, total=steps)
