"""Fusion networks behind one signature, ``forward(ms, pan) -> hrms``, and the registry that makes them by name.

All learn a residual on the interpolated MS and start with it at zero, so an untrained network returns EXP.
"""

from __future__ import annotations

from torch import nn

from clippan_lite.backbones.fusionnet import FusionNet
from clippan_lite.backbones.pnn import PNN

REGISTRY: dict[str, type[nn.Module]] = {"fusionnet": FusionNet, "pnn": PNN}


def check(name: str) -> None:
    """Refuse a name that is not in the registry, with a ValueError that lists those that are."""
    if name not in REGISTRY:
        raise ValueError(f"unknown backbone {name!r}: expected one of {', '.join(REGISTRY)}")


def create(name: str, bands: int, ratio: int = 4, convention: str = "benchmark", **options: object) -> nn.Module:
    """Make a fusion network.

    Args:
        name: a key of :data:`REGISTRY`.
        bands: MS bands.
        ratio: PAN pixels per MS pixel, a power of two.
        convention: resampling convention of the data, see :mod:`clippan_lite.degrade`.
        options: keyword arguments of the network's class, such as ``width``.

    Returns:
        nn.Module: ``forward(ms (B, C, h, w), pan (B, 1, h * ratio, w * ratio)) -> (B, C, h * ratio, w * ratio)``.

    Raises:
        ValueError: unknown name, or a ratio that is no power of two.
    """
    check(name)
    if bands < 1 or ratio not in (2, 4, 8):
        raise ValueError(f"expected bands >= 1 and ratio 2, 4 or 8, found bands {bands}, ratio {ratio}")
    return REGISTRY[name](bands, ratio, convention, **options)
