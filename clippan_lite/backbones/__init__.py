"""Fusion networks behind one signature, ``forward(ms, pan) -> hrms``, and the registry that makes them by name.

All learn a residual on the interpolated MS and start with it at zero, so an untrained network returns EXP.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from clippan_lite.backbones.arbrpn import ArbRPN
from clippan_lite.backbones.common import Fusion, conv, silence
from clippan_lite.backbones.fusionnet import FusionNet
from clippan_lite.backbones.lambdapnn import LambdaPNN
from clippan_lite.backbones.lformer import LFormer
from clippan_lite.backbones.panmamba import PanMamba
from clippan_lite.backbones.pannet import PanNet
from clippan_lite.backbones.pnn import PNN

__all__ = ["REGISTRY", "Fusion", "check", "conv", "cost", "create", "register", "silence"]

REGISTRY: dict[str, type[Fusion]] = {
    "fusionnet": FusionNet, "pnn": PNN, "pannet": PanNet, "lambdapnn": LambdaPNN, "arbrpn": ArbRPN, "lformer": LFormer,
    "panmamba": PanMamba,
}  # fmt: skip


def register(name: str) -> Callable[[type[Fusion]], type[Fusion]]:
    """Class decorator: ``create(name, ...)`` and every place that takes a backbone's name know the class from then on.

    The class is a :class:`Fusion` with ``__init__(self, bands, ratio, convention, **options)`` and
    ``residual(self, exp, pan)``; its last layer starts at zero (``silence``), so that untrained it returns EXP.
    ``reach`` says from how many PAN pixels away an output pixel draws (32 unless set), ``grid`` at which multiples
    attention windows and the like begin (1): images are fused in tiles, and where these are wrong, seams show.

    Raises:
        ValueError: the name is taken, or the class is no :class:`Fusion`.
    """

    def add(network: type[Fusion]) -> type[Fusion]:
        if not (isinstance(network, type) and issubclass(network, Fusion)):
            raise ValueError(
                f"backbone {name!r}: expected a subclass of backbones.Fusion, found {network!r}"
            )
        there = REGISTRY.get(name, network)
        if (there.__module__, there.__qualname__) != (network.__module__, network.__qualname__):
            raise ValueError(f"backbone {name!r} is there already: choose another name")
        REGISTRY[name] = network  # again, when a notebook's cell is run again
        return network

    return add


@torch.no_grad()
def cost(network: Fusion, size: int = 64) -> dict[str, float]:
    """``parameters`` and ``MAC per PAN pixel`` (convolutions and matrix products; scans and attention weights not)."""
    device, low = next(network.parameters()).device, size // network.ratio
    ms, pan = (
        torch.rand(1, network.bands, low, low, device=device),
        torch.rand(1, 1, size, size, device=device),
    )
    with FlopCounterMode(display=False) as counter:
        network(ms, pan)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"parameters": parameters, "MAC per PAN pixel": counter.get_total_flops() / 2 / size**2}


def check(name: str) -> None:
    """Refuse a name that is not in the registry, with a ValueError that lists those that are."""
    if name not in REGISTRY:
        raise ValueError(f"unknown backbone {name!r}: expected one of {', '.join(REGISTRY)}")


def create(
    name: str, bands: int, ratio: int = 4, convention: str = "benchmark", **options: object
) -> nn.Module:
    """Make a fusion network.

    Args:
        name: a key of :data:`REGISTRY`.
        bands: MS bands.
        ratio: PAN pixels per MS pixel, a power of two.
        convention: resampling convention of the data, see :mod:`clippan_lite.physics.degrade`.
        options: keyword arguments of the network's class, such as ``width``.

    Returns:
        nn.Module: ``forward(ms (B, C, h, w), pan (B, 1, h * ratio, w * ratio)) -> (B, C, h * ratio, w * ratio)``.

    Raises:
        ValueError: unknown name, or a ratio that is no power of two.
    """
    check(name)
    if bands < 1 or ratio not in (2, 4, 8):
        raise ValueError(
            f"expected bands >= 1 and ratio 2, 4 or 8, found bands {bands}, ratio {ratio}"
        )
    return REGISTRY[name](bands, ratio, convention, **options)
