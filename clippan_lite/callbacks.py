"""What a training does beside its steps."""

from __future__ import annotations

from tqdm.auto import tqdm


def progress_bar(steps: int, what: str, shown: bool, done: int = 0) -> tqdm:
    """Progress bar drawn at most once a second.

    In a notebook each drawing is three messages, and clients that read a cell's messages only when it has ended (nbval)
    lose those beyond a queue of about two thousand, the one that says "idle" among them.
    """
    left = range(done, steps)
    return tqdm(
        left, desc=what, unit="step", mininterval=1.0, disable=not shown, initial=done, total=steps
    )
