"""Checks that all metrics share; images come out as ``(B, C, H, W)`` in float64."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from clippan_lite.metrics import blocks
from clippan_lite.physics.degrade import check_image

Tensor = torch.Tensor


def load(
    name: str, x: Tensor, shape: tuple[int, ...] | None = None, mask: Tensor | None = None
) -> Tensor:
    """One image, black where the mask is False; ``shape`` is what is expected of its last axes."""
    check_image(name, x)
    if shape is not None and tuple(x.shape[-len(shape) :]) != shape:
        raise ValueError(
            f"{name}: expected (..., {', '.join(map(str, shape))}), found {tuple(x.shape)}"
        )
    if mask is not None:
        x = torch.where(mask.to(x.device), x, 0.0)
    # The sum of an image is NaN or infinite if a pixel is, and costs a fifth of looking at each.
    if not math.isfinite(x.detach().sum()) and not torch.isfinite(x).all():
        raise ValueError(
            f"{name}: expected finite values, found {int((~torch.isfinite(x)).sum())} NaN or infinite: mask them"
        )
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
            raise ValueError(
                f"{name}: expected (..., {', '.join(map(str, shape))}), found {tuple(image.shape)}"
            )
        if image.shape[:-3].numel() != ms.shape[:-3].numel():
            raise ValueError(
                f"{name}: expected as many images as in ms {tuple(ms.shape)}, found {tuple(image.shape)}"
            )


def images(
    fused: Tensor, ms: Tensor, ratio: int, pan: Tensor | None = None, mask: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Fused image, MS and PAN (if given) that belong together, black where the mask is False."""
    check_sizes(fused, ms, ratio, pan)
    out = (
        load("fused", fused, mask=at_pan(mask, fused)),
        load("ms", ms, mask=at_ms(mask, fused, ratio)),
    )
    return out if pan is None else (*out, load("pan", pan, mask=mask))


def at_pan(mask: Tensor | None, fused: Tensor) -> Tensor | None:
    """The mask, checked."""
    if mask is not None:
        blocks.check_mask(mask, fused.shape[-2:])
    return mask


def at_ms(mask: Tensor | None, fused: Tensor, ratio: int) -> Tensor | None:
    """MS pixels with any valid PAN pixel, ``(h, w)`` bool."""
    return None if at_pan(mask, fused) is None else F.max_pool2d(mask[None].float(), ratio)[0] > 0


def check_unit(name: str, image: Tensor, ms: Tensor) -> None:
    """Refuse an image that cannot be in MS's unit, as [0, 1] beside DN.

    Raises:
        ValueError: means that differ by more than 50 times.
    """
    a, b = float(image.detach().abs().mean()), float(ms.detach().abs().mean())
    if a > 0 and b > 0 and not 1 / 50 < a / b < 50:
        raise ValueError(
            f"{name}: expected the unit of ms (mean {b:.4g}), found a mean of {a:.4g}: give both in DN"
        )
