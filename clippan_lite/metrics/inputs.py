"""Checks that all metrics share; images come out as ``(B, C, H, W)`` in float64."""

import torch

from clippan_lite.physics.resample import check_finite, check_image, check_mask, check_whole
from clippan_lite.physics.sensors import Sensor, check_sensor
from clippan_lite.physics.windows import any_valid, fill

Tensor = torch.Tensor


def load(
    name: str, x: Tensor, shape: tuple[int, ...] | None = None, mask: Tensor | None = None
) -> Tensor:
    """One image, filled from nearby where the mask is False; ``shape``: of its last axes.

    Filters look beyond the blocks that count: a black hole would darken what lies beside it.
    """
    check_image(name, x)
    if shape is not None:
        _check_shape(name, x, shape)
    if mask is not None:
        mask = mask.to(x.device)
        x = fill(x, mask) if mask.any() else torch.zeros_like(x)
    check_finite(name, x)
    return (x if x.dim() == 4 else x.unsqueeze(0)).double()


def _check_shape(name: str, x: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(x.shape[-len(shape) :]) != shape:
        raise ValueError(
            f"{name}: expected (..., {', '.join(map(str, shape))}), found {tuple(x.shape)}"
        )


def two(x: Tensor, ref: Tensor, least: int = 1, metric: str = "") -> tuple[Tensor, Tensor]:
    """An image and its reference, at least as large as the metric needs them."""
    check_image("x", x)
    check_image("ref", ref)
    if x.shape != ref.shape:
        raise ValueError(f"x: expected the shape of ref {tuple(ref.shape)}, found {tuple(x.shape)}")
    if min(x.shape[-2:]) < least:
        raise ValueError(
            f"x: expected at least {least} x {least} pixels for {metric}, found {tuple(x.shape)}"
        )
    return load("x", x), load("ref", ref)


def check_sizes(fused: Tensor, ms: Tensor, ratio: int, pan: Tensor | None = None) -> None:
    """Refuse images that do not belong together.

    Raises:
        ValueError: one line with what was expected and what was found.
    """
    check_image("ms", ms)
    check_whole("ratio", ratio)
    bands, h, w = ms.shape[-3:]
    for name, image, channels in (("fused", fused, bands), ("pan", pan, 1)):
        if image is None:
            continue
        check_image(name, image)
        _check_shape(name, image, (channels, h * ratio, w * ratio))
        if image.shape[:-3].numel() != ms.shape[:-3].numel():
            raise ValueError(
                f"{name}: expected as many images as in ms {tuple(ms.shape)}, "
                f"found {tuple(image.shape)}"
            )


def check_scene(
    fused: Tensor, ms: Tensor, pan: Tensor, sensor: Sensor, mask: Tensor | None
) -> None:
    """Refuse anything but one fused image with the MS and PAN of that sensor.

    Raises:
        ValueError: one line with what was expected and what was found.
    """
    check_sensor(sensor)
    check_image("ms", ms, len(sensor.bands), batch=False)
    check_sizes(fused, ms, sensor.ratio, pan)
    check_image("fused", fused, batch=False)
    check_mask(mask, fused.shape[-2:])


def fused_and_ms(
    fused: Tensor, ms: Tensor, ratio: int, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Fused image and MS that belong together, filled where the mask is False."""
    check_sizes(fused, ms, ratio)
    check_mask(mask, fused.shape[-2:])
    return load("fused", fused, mask=mask), load("ms", ms, mask=on_ms(mask, ratio))


def fused_and_pan(fused: Tensor, pan: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Fused image and PAN that belong together, filled where the mask is False."""
    check_image("fused", fused)
    check_mask(mask, fused.shape[-2:])
    size = (1, *fused.shape[-2:])
    return load("fused", fused, mask=mask), load("pan", pan, size, mask)


def on_ms(mask: Tensor | None, ratio: int) -> Tensor | None:
    """MS pixels with any valid PAN pixel, ``(h, w)`` bool; None for all."""
    return None if mask is None else any_valid(mask, ratio)


def check_unit(name: str, image: Tensor, ms: Tensor) -> None:
    """Refuse an image that cannot be in MS's unit, as [0, 1] beside DN.

    Raises:
        ValueError: means that differ by more than 50 times.
    """
    a, b = float(image.detach().abs().mean()), float(ms.detach().abs().mean())
    if a > 0 and b > 0 and not 1 / 50 < a / b < 50:
        raise ValueError(
            f"{name}: expected the unit of ms (mean {b:.4g}), found a mean of {a:.4g}: "
            "give both in DN"
        )
