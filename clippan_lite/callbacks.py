"""What a training does beside its steps: progress, stopping, the history.

A callback of your own is a function ``(step, network, row)``. It is called after each step with the
row of the history. If it returns True, the training stops as after Ctrl-C.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import nn
from tqdm import tqdm

Row = dict[str, float]
History = list[Row]  # one row per step
Callback = Callable[[int, nn.Module, Row], object]


class Steps:
    """The steps of a training that are left, with a progress bar.

    Ctrl-C, or a notebook's stop button, only sets ``stopped``, so that no step is left half done. A
    second press stops at once.

    Args:
        total: steps in all.
        title: of the bar.
        shown: whether there is a bar.
        done: steps done before.
        callbacks: called after each step.
    """

    def __init__(
        self,
        total: int,
        title: str,
        shown: bool,
        done: int = 0,
        callbacks: Sequence[Callback] = (),
    ):
        self.stopped, self.callbacks = False, callbacks
        # Each drawing in a notebook is three messages. Clients that read a cell's messages only
        # when it has ended (nbval) lose those beyond two thousand, the one that says "idle" among
        # them.
        self._bar = tqdm(
            range(done, total),
            title,
            total,
            unit="step",
            mininterval=1.0,
            disable=not shown,
            initial=done,
        )

    def __iter__(self) -> Iterator[int]:
        """The number of each step, from 0."""
        with stop_signal(self._stop), self._bar:
            yield from self._bar

    def _stop(self) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True

    def finish(self, step: int, row: Row, network: nn.Module) -> bool:
        """Show the terms of a row behind the bar, and call the callbacks.

        Returns:
            Whether Ctrl-C or a callback stops the training here.
        """
        terms = [name for name in row if name not in ("step", "loss") and " " not in name]
        self._bar.set_postfix({name: f"{row[name]:.3f}" for name in terms}, refresh=False)
        wishes = [callback(step, network, row) for callback in self.callbacks]
        return self.stopped or any(wish is True for wish in wishes)


@contextlib.contextmanager
def stop_signal(call: Callable[[], None]) -> Iterator[None]:
    """Call a function at Ctrl-C instead of raising KeyboardInterrupt (in the main thread)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: call())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def read_row(step: int, values: Mapping[str, torch.Tensor]) -> Row:
    """Named scalars as a row of the history, in one transfer from the device.

    Raises:
        FloatingPointError: one of them is not finite. The message names the first.
    """
    numbers = torch.stack(list(values.values())).tolist()
    row = dict(zip(values, numbers, strict=True))
    check_row(step, row)
    return {"step": step, **row}


def check_row(step: int, row: Mapping[str, float]) -> None:
    """Refuse a row with a number that is not finite (FloatingPointError)."""
    parts = {name: value for name, value in row.items() if name != "loss"}
    for name, value in {**parts, **row}.items():  # the sum comes last: a part of it says more
        if not math.isfinite(value):
            what = f"loss term {name!r}"
            if name.startswith("grad "):
                what = f"the gradient of loss term {name.removeprefix('grad ')!r}"
            mend = "lower the learning rate" if step else "look at this loss and at the data"
            raise FloatingPointError(f"{what} became {value} at step {step}; {mend}")
