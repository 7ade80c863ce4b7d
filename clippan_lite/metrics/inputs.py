"""Checks that all metrics share; images come out as ``(B, C, H, W)`` in float64."""

from __future__ import annotations

import math

import torch

from clippan_lite.degrade import check_image

Tensor = torch.Tensor


def load(name: str, x: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """One image; ``shape`` is what is expected of its last axes."""
    check_image(name, x)
    if shape is not None and tuple(x.shape[-len(shape) :]) != shape:
        raise ValueError(f"{name}: expected (..., {', '.join(map(str, shape))}), found {tuple(x.shape)}")
    # The sum of an image is NaN or infinite if a pixel is, and costs a fifth of looking at each.
    if not math.isfinite(x.detach().sum()) and not torch.isfinite(x).all():
        raise ValueError(f"{name}: expected finite values, found {int((~torch.isfinite(x)).sum())} NaN or infinite")
    return (x if x.dim() == 4 else x.unsqueeze(0)).double()


def two(x: Tensor, ref: Tensor) -> tuple[Tensor, Tensor]:
    """An image and its reference."""
    if isinstance(ref, Tensor) and isinstance(x, Tensor) and x.shape != ref.shape:
        raise ValueError(f"x: expected the shape of ref {tuple(ref.shape)}, found {tuple(x.shape)}")
    return load("x", x), load("ref", ref)


def check_sizes(fused: Tensor, ms: Tensor, ratio: int, pan: Tensor | None = None) -> None:
    """Refuse images that do not belong together.

    Raises:
        ValueError: one line with what was expected and what was found.
    """
    check_image("ms", ms)
    check_image("fused", fused)
    if not isinstance(ratio, int) or ratio < 2:
        raise ValueError(f"ratio: expected a whole number of 2 or more, found {ratio!r}")
    c, h, w = ms.shape[-3:]
    given = [("fused", fused, (c, h * ratio, w * ratio))]
    if pan is not None:
        check_image("pan", pan)
        given.append(("pan", pan, (1, h * ratio, w * ratio)))
    for name, image, shape in given:
        if tuple(image.shape[-3:]) != shape:
            raise ValueError(f"{name}: expected (..., {', '.join(map(str, shape))}), found {tuple(image.shape)}")
        if image.shape[:-3].numel() != ms.shape[:-3].numel():
            raise ValueError(f"{name}: expected as many images as in ms {tuple(ms.shape)}, found {tuple(image.shape)}")


def images(fused: Tensor, ms: Tensor, ratio: int, pan: Tensor | None = None) -> tuple[Tensor, ...]:
    """Fused image, MS and PAN (if given) that belong together."""
    check_sizes(fused, ms, ratio, pan)
    out = (load("fused", fused), load("ms", ms))
    return out if pan is None else (*out, load("pan", pan))
