"""Interactive pictures for notebooks. Each stands beside a static figure, for readers without a kernel."""

from __future__ import annotations

import io

import ipywidgets
import numpy as np
import PIL.Image


def composite(left: np.ndarray, right: np.ndarray, share: float) -> np.ndarray:
    """Two pictures ``(H, W, 3)`` in [0, 1] of one place, the left one up to ``share`` of the width; uint8."""
    if left.shape != right.shape:
        raise ValueError(f"a swipe needs pictures of one size, found {left.shape} and {right.shape}")
    border = round(share * left.shape[1])
    both = np.concatenate([left[:, :border], right[:, border:]], 1)
    both = (both * 255).round().astype(np.uint8)
    both[:, max(border - 1, 0) : border + 1] = (230, 159, 0)
    return both


def swipe(pictures: dict[str, np.ndarray], width: int = 640) -> ipywidgets.VBox:
    """Two of several pictures of one place under a slider that moves the border between them.

    Args:
        pictures: title -> ``(H, W, 3)`` in [0, 1], all of one size; the first two are shown first.
        width: on the screen, pixels.

    Raises:
        ValueError: fewer than two pictures, or of different sizes.
    """
    if len(pictures) < 2:
        raise ValueError(f"a swipe needs two pictures, found {len(pictures)}")
    names = list(pictures)
    left = ipywidgets.Dropdown(options=names, value=names[0], description="left")
    right = ipywidgets.Dropdown(options=names, value=names[1], description="right")
    slider = ipywidgets.IntSlider(50, 0, 100, description="border %", layout={"width": f"{width}px"})
    screen = ipywidgets.Image(format="jpeg", layout={"width": f"{width}px"})

    def draw(*_: object) -> None:
        buffer = io.BytesIO()
        image = composite(pictures[left.value], pictures[right.value], slider.value / 100)
        PIL.Image.fromarray(image).save(buffer, "jpeg", quality=88)
        screen.value = buffer.getvalue()

    for control in (left, right, slider):
        control.observe(draw, "value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([left, right]), slider, screen])
