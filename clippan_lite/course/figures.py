"""One style and palette for every figure, and showing and keeping a figure. Imports matplotlib."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path

import PIL.Image  # matplotlib brings it
from cycler import cycler
from IPython.display import display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from clippan_lite.runtime import files

#: Okabe and Ito's palette: colour-blind readers and grey prints tell these apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
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
    "image.interpolation": "nearest",
}


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
        photo: True for pictures (JPEG, a quarter of the size), False for plots (PNG).
    """
    drawn, encoded = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    plt.close(figure)
    image = PIL.Image.open(drawn).convert("RGB")
    if photo:
        kind, suffix = "jpeg", "jpg"
        image.save(encoded, kind, quality=80)
    else:
        kind = suffix = "png"
        # 256 colours are plenty for a plot and halve the file.
        plot = image.quantize(256, dither=PIL.Image.Dither.NONE)
        plot.save(encoded, kind, optimize=True)
    folder = Path(run) / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    with files.replacing(folder / f"{name}.{suffix}") as part:
        part.write_bytes(encoded.getvalue())
    path = folder / "captions.json"
    captions = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    files.write_json(path, {**captions, f"{name}.{suffix}": caption})
    # HTML, because JupyterLab shows an image output without its alternative text. A terminal prints
    # the text form.
    tag = image_tag(encoded.getvalue(), kind, caption)
    below = f"<figcaption>{html.escape(caption)}</figcaption>"
    page = f"<figure style='margin: 0'>{tag}{below}</figure>"
    display({"text/html": page, "text/plain": caption}, raw=True)


def image_tag(content: bytes, kind: str, text: str, width: int | None = None) -> str:
    """An encoded picture as HTML.

    Args:
        content: the file's content.
        kind: ``"png"`` or ``"jpeg"``.
        text: alternative text.
        width: on the screen, pixels; None shows the picture as wide as it is, if there is room.
    """
    size = 'style="max-width: 100%"' if width is None else f'width="{width}"'
    data = base64.b64encode(content).decode()
    return f'<img alt="{html.escape(text)}" {size} src="data:image/{kind};base64,{data}">'
