"""The state of a training in a file, from which a stopped one goes on."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clippan_lite.runtime import weights

History = list[dict[str, float]]
MOST_STEPS = 10**8


class TrainingState:
    """The state of a training in a file, from which a stopped one goes on to the very same weights.

    Args:
        path: file to keep the state in. None keeps nothing.
        identity: whatever decides the result. A training of another identity refuses to go on.
        parameters: the trained tensors, in a fixed order.
        optimiser: Adam or AdamW over them.
        schedule: of the learning rate.
        generator: source of the training's random draws.
        every: steps between two states kept.
        writes: whether this process writes the file; of several, one does.

    Raises:
        ValueError: the path is a folder, or ``every`` is below 1.
    """

    def __init__(
        self,
        path: str | Path | None,
        identity: dict[str, Any],
        parameters: list[nn.Parameter],
        optimiser: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        generator: torch.Generator | None = None,
        every: int = 100,
        writes: bool = True,
    ):
        if every < 1:
            raise ValueError(f"every must be at least 1, found {every}")
        self.path = Path(path) if path else None
        if self.path is not None and self.path.is_dir():
            raise ValueError(
                f"checkpoint {path} is a folder: give a file in it, such as state.safetensors"
            )
        self.parameters, self.every, self.writes = parameters, every, writes
        self.identity: dict[str, Any] = json.loads(json.dumps(identity))
        self.optimiser, self.schedule, self.generator = optimiser, schedule, generator

    def keep(self, step: int, history: History) -> None:
        """Write the state after so many steps; the one before survives until this one is whole.

        Raises:
            OSError: the file could not be written, because the disk is full or for another reason.
        """
        if self.path is None or not self.writes:
            return
        told = {"identity": self.identity, "step": step, "history": history}
        try:
            weights.save(self.path, self._tensors(), told)
        except OSError as error:
            raise OSError(f"the state after step {step} is not kept: {error}") from error

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {}
        for i, parameter in enumerate(self.parameters):
            tensors[f"{i}.value"] = parameter.detach()
            moments = self.optimiser.state.get(parameter)
            if moments:  # none where no term of the loss reached it
                tensors[f"{i}.mean"] = moments["exp_avg"]
                tensors[f"{i}.square"] = moments["exp_avg_sq"]
                tensors[f"{i}.steps"] = moments["step"]  # fewer where only some steps reached it
        if self.generator is not None:
            tensors["generator"] = self.generator.get_state()
        return {name: value.cpu().contiguous() for name, value in tensors.items()}

    def restore(self) -> tuple[int, History]:
        """Put back what :meth:`keep` wrote.

        Returns:
            Steps done, 0 where there is no file, and the history so far.

        Raises:
            ValueError: the state is of another training, or the file is damaged.
        """
        if self.path is None or not self.path.is_file():
            return 0, []
        try:
            tensors, found = weights.load(self.path, "state of a training")
            step = found.whole("step", 0, MOST_STEPS)
            identity = found.table("identity").values
            history = found.rows("history", step)
        except ValueError as error:
            raise ValueError(f"{error}; delete it to start anew") from error
        if other := differing(identity, self.identity):
            raise ValueError(
                f"{self.path} is of other settings ({', '.join(other)}); use those, or delete "
                "the file"
            )
        if not self._fits(tensors):
            raise ValueError(
                f"{self.path} is of a network with other layers; use that network, or delete "
                "the file"
            )
        try:
            self._put_back(tensors)
        except RuntimeError as error:  # the generator's state is none
            raise ValueError(f"{self.path} is damaged ({error}); delete it to start anew") from None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the schedule moves on here without the optimiser
            for _ in range(step):
                self.schedule.step()
        print(f"going on from step {step} of {self.path.name}")
        return step, history

    def _fits(self, tensors: dict[str, torch.Tensor]) -> bool:
        """Whether there is a value of each parameter, and what else there is has its shape."""
        expected = {}
        for i, parameter in enumerate(self.parameters):
            expected[f"{i}.value"] = parameter.detach()
            if f"{i}.mean" in tensors:
                expected[f"{i}.mean"] = expected[f"{i}.square"] = parameter.detach()
                expected[f"{i}.steps"] = torch.tensor(0.0)
        if self.generator is not None:
            expected["generator"] = self.generator.get_state()
        kinds = [{n: (v.shape, v.dtype) for n, v in each.items()} for each in (tensors, expected)]
        return kinds[0] == kinds[1]

    def _put_back(self, tensors: dict[str, torch.Tensor]) -> None:
        for i, parameter in enumerate(self.parameters):
            parameter.data.copy_(tensors[f"{i}.value"])
            if f"{i}.mean" in tensors:  # on the parameter's device and in its layout, as Adam does
                self.optimiser.state[parameter] = {
                    "step": tensors[f"{i}.steps"],
                    "exp_avg": torch.empty_like(parameter).copy_(tensors[f"{i}.mean"]),
                    "exp_avg_sq": torch.empty_like(parameter).copy_(tensors[f"{i}.square"]),
                }
        if self.generator is not None:
            self.generator.set_state(tensors["generator"])

    def finish(self, step: int, history: History, stop: bool) -> None:
        """Keep the state after a step now and then, and before a stop.

        Raises:
            KeyboardInterrupt: the training is to stop. The message says where its state is.
        """
        if stop or (step + 1) % self.every == 0:
            self.keep(step + 1, history)
        if stop:
            where = f"the state is in {self.path}: the same call goes on from it"
            if self.path is None:
                where = "nothing is kept, because no checkpoint was given"
            raise KeyboardInterrupt(f"stopped after step {step + 1}; {where}")

    def remove_after(self, save: Callable[..., object] | None, *made: object) -> None:
        """Let ``save`` keep what was made, and then remove the state: one of the two is there."""
        if save and self.writes:
            save(*made)
        self.remove()

    def remove(self) -> None:
        """Remove the file, and those of a teacher beside it: the training is done."""
        if self.path is not None and self.writes:
            for file in (self.path, *self.path.parent.glob(f"{self.path.stem}-teacher-*")):
                file.unlink(missing_ok=True)


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of the values in which two tables differ, tables within them included."""
    names = []
    for name in sorted({*one, *other}):
        first, second = one.get(name), other.get(name)
        if isinstance(first, dict) and isinstance(second, dict):
            names += differing(first, second)
        elif first != second:
            names.append(name)
    return names
