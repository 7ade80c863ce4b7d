"""What a fusion network costs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from clippan_lite.backbones.common import Fusion


@torch.no_grad()
def cost(network: Fusion, size: int = 64) -> dict[str, float]:
    """Size of a network, and its work on an image of ``size`` x ``size`` PAN pixels.

    Returns:
        ``parameters`` and ``MAC per PAN pixel``. The latter counts convolutions and matrix
        products; it leaves out scans, the weighting by attention and back-projection.
    """
    device, low = next(network.parameters()).device, size // network.ratio
    ms = torch.rand(1, network.bands, low, low, device=device)
    pan = torch.rand(1, 1, size, size, device=device)
    bands = network.bands
    sensor: Any = SimpleNamespace(mtf_ms=(0.3,) * bands, ratio=network.ratio)  # stands for any
    classical = torch.rand(1, len(network.methods) * bands, size, size, device=device)
    with FlopCounterMode(display=False) as counter:
        network.sharpen(ms, pan, sensor, classical)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"parameters": parameters, "MAC per PAN pixel": counter.get_total_flops() / 2 / size**2}
