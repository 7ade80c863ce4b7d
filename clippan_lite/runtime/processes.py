"""The processes that share the batches of one training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from accelerate import Accelerator


class Processes:
    """The processes that share a training's batches: one alone, or those of an accelerator.

    Args:
        batch: patches per step of all processes together.
        accelerator: of Hugging Face accelerate.

    Raises:
        ValueError: mixed precision fp16, or a batch that the processes cannot share evenly.
    """

    def __init__(self, batch: int, accelerator: Accelerator | None = None):
        self.accelerator = accelerator
        self.count = accelerator.num_processes if accelerator else 1
        self.is_main = accelerator is None or accelerator.is_main_process
        if accelerator is not None and accelerator.mixed_precision == "fp16":
            raise ValueError(
                "mixed precision fp16 is not supported, because gradients at the image are too "
                "small for it; use bf16 or no"
            )
        if batch % self.count:
            raise ValueError(f"{self.count} processes cannot share a batch of {batch} evenly")
        self.part = slice(accelerator.process_index if accelerator else 0, None, self.count)

    def wrap(self, network: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        """The network with the accelerator's precision."""
        if self.accelerator is None:
            return network
        accelerator = self.accelerator

        def forward(*inputs: object) -> torch.Tensor:
            with accelerator.autocast():
                return network(*inputs)

        return forward

    def average_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Replace the gradients of this process by their mean over all."""
        if self.accelerator is None or self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                mean = self.accelerator.reduce(parameter.grad.contiguous(), "mean")
                parameter.grad.copy_(mean)  # in the memory order of the parameter

    def average_row(self, row: dict[str, float]) -> dict[str, float]:
        """A row for the whole batch: means over the processes, and norms of the joint gradient."""
        if self.accelerator is None or self.count == 1:
            return row
        values = torch.tensor(list(row.values()), dtype=torch.float64)
        values = values.to(self.accelerator.device)
        norms = torch.tensor([name.startswith("grad ") for name in row], device=values.device)
        total = self.accelerator.reduce(torch.where(norms, values.square(), values), "sum")
        mean = torch.where(norms, total.clamp(min=0).sqrt(), total) / self.count
        return {**dict(zip(row, mean.tolist(), strict=True)), "step": row["step"]}

    def any(self, stop: bool) -> bool:
        """Whether one of the processes wants to stop: then all stop."""
        if self.accelerator is None or self.count == 1:
            return stop
        wish = torch.tensor(float(stop), device=self.accelerator.device)
        return bool(self.accelerator.reduce(wish, "sum") > 0)
