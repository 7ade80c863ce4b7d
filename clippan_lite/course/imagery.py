"""Images as pictures: a shared stretch, panels side by side, and previews of a training network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from clippan_lite import fusion
from clippan_lite.backbones import Fusion
from clippan_lite.course import figures
from clippan_lite.data import Pair
from clippan_lite.data.pair import crop
from clippan_lite.physics import degrade
from clippan_lite.runtime import files

Limits = tuple[np.ndarray, np.ndarray]
SWIPE_HEIGHT = 480  # pixels of a laptop's screen that a swipe may be enlarged to
HEADROOM = 0.06  # of the range, on both sides of the display limits


def limits(image: torch.Tensor, bands: Sequence[int], valid: torch.Tensor | None = None) -> Limits:
    """Display limits per band; give all panels to compare the same ones.

    Fewer than 1 % of the pixels lie beyond them in any band shown. There is some room on both
    sides, because a fused image reaches further than the MS image whose limits it is shown with.

    Args:
        image: ``(C, H, W)``.
        bands: the bands shown as red, green, blue, or one band.
        valid: ``(H, W)`` bool, pixels that count.
    """
    shown = image[list(bands)]
    values = (shown.flatten(1) if valid is None else shown[:, valid]).double().numpy()
    percent = 0.45 / len(values)  # of each band, on each side
    low = np.percentile(values, percent, axis=1, method="lower")
    high = np.percentile(values, 100 - percent, axis=1, method="higher")
    room = HEADROOM * (high - low)
    return low - room, high + room


def picture(image: torch.Tensor, bands: Sequence[int], bounds: Limits) -> np.ndarray:
    """``(C, H, W)`` -> ``(H, W, 3)`` in [0, 1]; a mild gamma lifts the shadows."""
    low, high = (np.asarray(bound).reshape(-1, 1, 1) for bound in bounds)
    values = image[list(bands)].double().numpy()
    stretched = np.clip((values - low) / np.maximum(high - low, 1e-9), 0, 1) ** 0.8
    if len(stretched) == 1:
        stretched = np.repeat(stretched, 3, 0)
    return np.moveaxis(stretched, 0, -1)


def panels(
    pictures: dict[str, np.ndarray],
    columns: int = 4,
    zoom: tuple[int, int, int] | None = None,
    side: float = 2.9,
) -> Figure:
    """Pictures side by side under their titles; ``zoom`` adds a row with a window of each.

    Args:
        pictures: title -> ``(H, W, 3)`` in [0, 1].
        columns: pictures per row.
        zoom: (row, column, side) of the window, in pixels of the first picture. It is at the same
            place in pictures on a coarser grid.
        side: inches per panel.
    """
    columns = min(columns, len(pictures))
    height, width = next(iter(pictures.values())).shape[:2]
    # Windows are square.
    heights = [height / width, 1.0] if zoom else [height / width]
    heights *= math.ceil(len(pictures) / columns)
    figure, axes = plt.subplots(
        len(heights),
        columns,
        figsize=(side * columns, side * (sum(heights) + 0.1 * len(heights))),
        squeeze=False,
        height_ratios=heights,
        layout="compressed",
    )
    for axis in axes.flat:
        axis.axis("off")
    for index, (title, image) in enumerate(pictures.items()):
        line, column = divmod(index, columns)
        axis = axes[2 * line if zoom else line, column]
        axis.imshow(image)
        axis.set_title(title)
        if zoom:
            top, left, size = (value * image.shape[0] / height for value in zoom)
            frame = Rectangle(
                (left, top), size, size, fill=False, edgecolor="#E69F00", linewidth=1.5
            )
            axis.add_patch(frame)
            rows, cols = (slice(round(start), round(start + size)) for start in (top, left))
            axes[2 * line + 1, column].imshow(image[rows, cols])
    return figure


def composite(left: np.ndarray, right: np.ndarray, share: float) -> np.ndarray:
    """Two pictures of one place in one, with a line at the border between them.

    Args:
        left: ``(H, W, 3)`` in [0, 1].
        right: the same size.
        share: of the width that shows the left picture, in [0, 1].

    Raises:
        ValueError: pictures of different sizes.
    """
    if left.shape != right.shape:
        raise ValueError(
            f"a swipe needs pictures of one size, found {left.shape} and {right.shape}: "
            "give two pictures of the same window"
        )
    border = round(share * left.shape[1])
    both = np.concatenate([left[:, :border], right[:, border:]], 1)
    both[:, max(border - 1, 0) : border + 1] = np.array([230, 159, 0]) / 255
    return both


def swipe(pictures: dict[str, np.ndarray], caption: str = "", width: int = 640) -> None:
    """Show two of several pictures of one place, with a border between them that can be dragged.

    It needs no kernel: the border follows the mouse, a finger or the arrow keys in any browser that
    runs a notebook's scripts. Other viewers show the first two pictures side by side.

    Args:
        pictures: title -> ``(H, W, 3)`` in [0, 1], all of one size; the first two are shown first.
        caption: one sentence, also the alternative text of the still picture.
        width: widest on the screen. A pixel of the pictures becomes one of the screen, or a whole
            number of them where there is room.

    Raises:
        ValueError: fewer than two pictures, or of different sizes.
    """
    names = list(pictures)
    caption = caption or f"{' and '.join(names[:2])} of one place, beside a border that moves."
    page = swipe_page(pictures, caption, width)
    still = composite(pictures[names[0]], pictures[names[1]], 0.5)
    figures.publish(page, as_image(still), caption)


def swipe_page(
    pictures: dict[str, np.ndarray], caption: str, width: int = 640, most: int = 50_000
) -> str:
    """What :func:`swipe` shows, as HTML with its script, for a page of one's own.

    Args:
        pictures: as there, as are the next two.
        caption: below the pictures.
        width: widest on the screen.
        most: bytes per picture.

    Raises:
        ValueError: as there.
    """
    if len(pictures) < 2:
        raise ValueError(f"a swipe needs two pictures, found {len(pictures)}: give another one")
    first = next(iter(pictures.values()))
    for other in pictures.values():
        composite(first, other, 0.5)  # refuses other sizes
    times = max(1, min(width // first.shape[1], SWIPE_HEIGHT // first.shape[0]))
    uris = {
        title: figures.data_uri(figures.encoded(as_image(view), "webp", most))
        for title, view in pictures.items()
    }
    template = figures.templates().get_template("swipe.html.j2")
    return template.render(pictures=uris, caption=caption, width=times * first.shape[1])


def as_image(view: np.ndarray) -> PIL.Image.Image:
    """A picture ``(H, W, 3)`` in [0, 1] as an image file's content."""
    return PIL.Image.fromarray((view * 255).round().astype(np.uint8))


def busiest(
    image: torch.Tensor, side: int, colours: torch.Tensor | None = None
) -> tuple[int, int, int]:
    """(row, column, side) of the window with most edges, most colours and no blown-out places.

    Args:
        image: PAN, ``(1, H, W)``.
        side: of the window, pixels.
        colours: MS of the same place, ``(C, h, w)``, also on a coarser grid; None: edges alone.
    """
    side = min(side, *image.shape[-2:])
    step = max(1, side // 4)
    image = image.float()
    # Without count_include_pad the zeros around the image would make its border the busiest place.
    smooth = nn.functional.avg_pool2d(image[None], 3, 1, 1, count_include_pad=False)[0]
    detail = (image - smooth).abs()
    usual, bright = np.percentile(detail.numpy(), 90), np.percentile(image.numpy(), 99)
    # A few hard edges shall not outweigh a window full of soft ones.
    edges = detail.clamp(max=float(usual))
    blown = (image >= float(bright)).float()
    found = nn.functional.avg_pool2d(torch.stack([edges[0], blown[0]])[None], side, step)[0]
    score = found[0] * (1 - found[1]) ** 8
    if colours is not None:
        score = score * _colourfulness(colours, image.shape[-2:], side, step)
    row, column = divmod(int(score.argmax()), score.shape[1])
    return row * step, column * step, side


def _colourfulness(
    colours: torch.Tensor, size: Sequence[int], side: int, step: int
) -> torch.Tensor:
    """How far the mix of bands varies within each window; brightness does not count."""
    shares = colours.float() / colours.float().mean((1, 2), keepdim=True).clamp(min=1e-9)
    mix = shares / shares.sum(0, keepdim=True).clamp(min=1e-9)
    fine = nn.functional.interpolate(mix[None], tuple(size), mode="nearest")
    mean = nn.functional.avg_pool2d(fine, side, step)
    square = nn.functional.avg_pool2d(fine**2, side, step)
    return (square - mean**2).clamp(min=0).sum(1)[0].sqrt()


def detailed_part(pair: Pair, side: int) -> tuple[Pair, tuple[slice, slice]]:
    """The part of a pair with the most detail, all of it taken as valid.

    Args:
        pair: the scene.
        side: of the part, PAN pixels; it is rounded down to whole MS pixels.

    Returns:
        The part, and its rows and columns in PAN's grid.
    """
    ratio = pair.ratio
    row, column, side = (value // ratio for value in busiest(pair.pan, side, pair.ms))
    part = crop(pair, slice(row, row + side), slice(column, column + side))
    rows = slice(row * ratio, (row + side) * ratio)
    columns = slice(column * ratio, (column + side) * ratio)
    return replace(part, valid=None), (rows, columns)


def preview(pair: Pair, side: int = 256) -> Callable[[nn.Module], np.ndarray]:
    """What a network makes of a window of a pair: PAN, EXP and its result side by side.

    Args:
        pair: the scene; the window of it with the most detail is fused.
        side: of the window, PAN pixels.

    Returns:
        A function: network -> ``(side, 3 * side, 3)`` in [0, 1].
    """
    part, _ = detailed_part(pair, side)
    exp = degrade.upsample(part.ms, part.ratio, part.convention)
    rgb = pair.sensor.rgb
    bounds = limits(exp, rgb)
    pan = picture(part.pan, [0], limits(part.pan, [0]))

    def draw(network: nn.Module) -> np.ndarray:
        assert isinstance(network, Fusion)
        training = network.training
        fused = fusion.fuse(part, network.eval(), scale=pair.scale)
        network.train(training)
        return np.hstack([pan, picture(exp, rgb, bounds), picture(fused, rgb, bounds)])

    return draw


def previews(
    pair: Pair, folder: str | Path, every: int = 50, side: int = 256
) -> Callable[..., None]:
    """Keep pictures of a network while it trains.

    Pass the result among the ``callbacks`` of :func:`clippan_lite.training.train`.

    Args:
        pair: the scene, as in :func:`preview`.
        folder: where ``step00050.png`` ... go.
        every: steps between two pictures.
        side: of the window, PAN pixels.
    """
    folder = Path(folder)
    draw = preview(pair, side)

    def keep(step: int, network: nn.Module, *_: object) -> None:
        if (step + 1) % every:
            return
        folder.mkdir(parents=True, exist_ok=True)
        with files.replacing(folder / f"step{step + 1:05d}.png") as part:
            as_image(draw(network)).save(part, "png")

    return keep
