"""One style and palette for every figure, and showing and keeping a figure. Imports matplotlib."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path

import jinja2
import PIL.Image  # matplotlib brings it
from cycler import cycler
from IPython.display import display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from clippan_lite.runtime import files

#: Okabe and Ito's palette: colour-blind readers and grey prints tell these apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DPI = 150
STYLE = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "axes.prop_cycle": cycler(color=COLOURS),
    "legend.frameon": False,
    "image.interpolation": "antialiased",  # sharp pixels when enlarged, no moiré when reduced
}
#: A notebook shows an inch of a figure this wide, so that text has one size in all of them.
PIXELS_PER_INCH = 100
#: Largest file of a picture: in the run folder, on a notebook's page, and as the stand-in for
#: viewers that take pictures out of HTML.
KEPT, SHOWN, STAND_IN = 250_000, 70_000, 22_000
STAND_IN_WIDTH = 640  # pixels


def use_style() -> None:
    """Switch the style on, for this process."""
    plt.style.use(STYLE)


def show(figure: Figure, run: Path, name: str, caption: str, photo: bool = False) -> None:
    """Keep a figure in the run folder with its caption, display it in a notebook, and close it.

    Args:
        figure: from :mod:`clippan_lite.course.plotting` or :mod:`clippan_lite.course.imagery`.
        run: run folder; the file goes to ``figures/``.
        name: file name without suffix.
        caption: one sentence, also the alternative text.
        photo: True for pictures (JPEG), False for plots (PNG).
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    width = round(figure.get_figwidth() * PIXELS_PER_INCH)
    plt.close(figure)
    image = PIL.Image.open(drawn).convert("RGB")
    kind, suffix = ("jpeg", "jpg") if photo else ("png", "png")
    folder = Path(run) / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    with files.replacing(folder / f"{name}.{suffix}") as part:
        part.write_bytes(encoded(image, kind, KEPT if photo else None))
    path = folder / "captions.json"
    captions = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    files.write_json(path, {**captions, f"{name}.{suffix}": caption})
    tag = image_tag(encoded(image, "webp", SHOWN if photo else None), caption, width)
    below = f"<figcaption>{html.escape(caption)}</figcaption>"
    publish(f"<figure style='margin: 0'>{tag}{below}</figure>", image, caption)


def publish(page: str, image: PIL.Image.Image, caption: str) -> None:
    """Display HTML in a notebook, with a small still picture for viewers that take HTML apart.

    The picture alone does not do, because JupyterLab shows it without its alternative text.

    Args:
        page: HTML.
        image: the still picture, RGB.
        caption: its alternative text; terminals print it.
    """
    small = image.copy()
    small.thumbnail((STAND_IN_WIDTH, image.height), PIL.Image.Resampling.LANCZOS)
    still = base64.b64encode(encoded(small, "jpeg", STAND_IN)).decode()
    bundle = {"text/html": page, "image/jpeg": still, "text/plain": caption}
    display(bundle, metadata={"image/jpeg": {"alt": caption}}, raw=True)


def encoded(image: PIL.Image.Image, kind: str, most: int | None) -> bytes:
    """An image as a file's content.

    Args:
        image: RGB.
        kind: ``"png"``, ``"jpeg"`` or ``"webp"``.
        most: bytes that a photograph may have; its quality is the best that fits, but never less
            than 10 of 100. None for plots, which are kept without loss in 256 colours.
    """
    if most is None:
        buffer = io.BytesIO()
        few = image.quantize(256, dither=PIL.Image.Dither.NONE)
        few.save(buffer, kind, optimize=True, lossless=True)
        return buffer.getvalue()
    for quality in range(90, 0, -10):
        buffer = io.BytesIO()
        image.save(buffer, kind, quality=quality)
        if buffer.tell() <= most:
            break
    return buffer.getvalue()


def image_tag(content: bytes, text: str, width: int) -> str:
    """An encoded picture as HTML.

    Args:
        content: a PNG, JPEG or WebP file's content.
        text: alternative text.
        width: on the screen, pixels, if there is room.
    """
    return (
        f'<img alt="{html.escape(text)}" style="width: {width}px; max-width: 100%" '
        f'src="{data_uri(content)}">'
    )


def templates() -> jinja2.Environment:
    """The pages' templates, which lie beside this file."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # everything but the template itself comes from outside
        trim_blocks=True,
        lstrip_blocks=True,
    )


def data_uri(content: bytes) -> str:
    """An encoded picture as text that can stand in a page."""
    kind = PIL.Image.open(io.BytesIO(content)).get_format_mimetype()
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
