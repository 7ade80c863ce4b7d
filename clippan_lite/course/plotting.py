"""One plot style for every notebook: image panels with a shared stretch, curves, bars. Imports matplotlib."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import PIL.Image  # matplotlib brings it
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from clippan_lite import fuse
from clippan_lite.data import Pair
from clippan_lite.physics import degrade
from clippan_lite.runtime.files import replacing, write_json

#: Okabe and Ito's palette, told apart by colour-blind readers and in grey print.
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
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "legend.frameon": False,
    "image.interpolation": "nearest",
}


def use_style() -> None:
    """Switch the style on, for this process."""
    plt.rcParams.update(STYLE)


def limits(
    image: torch.Tensor, bands: Sequence[int], valid: torch.Tensor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Display limits per band, 1st and 99th percentile; pass them to every panel that is to be compared.

    Args:
        image: ``(C, H, W)``.
        bands: the bands shown as red, green, blue, or one band.
        valid: ``(H, W)`` bool, pixels that count.
    """
    values = image[list(bands)].flatten(1) if valid is None else image[list(bands)][:, valid]
    return tuple(np.percentile(values.double().numpy(), q, axis=1) for q in (1, 99))


def picture(
    image: torch.Tensor, bands: Sequence[int], bounds: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """``(C, H, W)`` -> ``(H, W, 3)`` in [0, 1] for imshow; a mild gamma lifts the shadows."""
    low, high = (np.asarray(bound).reshape(-1, 1, 1) for bound in bounds)
    shown = (
        np.clip((image[list(bands)].double().numpy() - low) / np.maximum(high - low, 1e-9), 0, 1)
        ** 0.8
    )
    return np.moveaxis(np.repeat(shown, 3, 0) if len(shown) == 1 else shown, 0, -1)


def panels(
    pictures: dict[str, np.ndarray],
    columns: int = 4,
    zoom: tuple[int, int, int] | None = None,
    side: float = 2.9,
) -> Figure:
    """Pictures side by side under their titles; with ``zoom`` a second row shows a window of each.

    Args:
        pictures: title -> ``(H, W, 3)`` in [0, 1].
        columns: pictures per row.
        zoom: (row, column, side) of the window, in pixels of the first picture; pictures on a coarser grid follow it.
        side: inches per panel.
    """
    titles = list(pictures)
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns) * (2 if zoom else 1)
    height, width = next(iter(pictures.values())).shape[:2]
    heights = (
        [height / width, 1.0] * (rows // 2) if zoom else [height / width] * rows
    )  # windows are square
    figure, axes = plt.subplots(
        rows, columns, figsize=(side * columns, side * (sum(heights) + 0.1 * rows)), squeeze=False,
        height_ratios=heights, layout="compressed",
    )  # fmt: skip
    for axis in axes.flat:
        axis.axis("off")
    for i, title in enumerate(titles):
        image = pictures[title]
        row, column = (i // columns) * (2 if zoom else 1), i % columns
        axes[row, column].imshow(image)
        axes[row, column].set_title(title)
        if zoom:
            scale = image.shape[0] / height
            r, c, s = (v * scale for v in zoom)
            axes[row, column].add_patch(
                Rectangle((c, r), s, s, fill=False, edgecolor="#E69F00", linewidth=1.5)
            )
            axes[row + 1, column].imshow(image[round(r) : round(r + s), round(c) : round(c + s)])
    return figure


def busiest(image: torch.Tensor, side: int) -> tuple[int, int, int]:
    """(row, column, side) of the window of a ``(1, H, W)`` image with the most detail: where to zoom."""
    side = min(side, *image.shape[-2:])
    # Without count_include_pad the zeros around the image would make its border the busiest place.
    detail = (
        torch.nn.functional.avg_pool2d(image[None].float(), 3, 1, 1, count_include_pad=False)[0]
        - image
    )
    energy = torch.nn.functional.avg_pool2d(detail[None] ** 2, side, max(1, side // 4))[0, 0]
    index = int(energy.argmax())
    return (
        index // energy.shape[1] * max(1, side // 4),
        index % energy.shape[1] * max(1, side // 4),
        side,
    )


def _grid(
    count: int, columns: int, size: tuple[float, float], **options: object
) -> tuple[Figure, list]:
    """A figure with ``count`` plots of ``size`` inches in rows of at most ``columns``: wider ones would be shrunk."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(size[0] * columns, size[1] * rows),
        layout="constrained",
        squeeze=False,
        **options,
    )
    for axis in axes.flat[count:]:
        axis.axis("off")
    return figure, list(axes.flat[:count])


def curves(
    histories: dict[str, list[dict[str, float]]], terms: Sequence[str], smooth: int = 5
) -> Figure:
    """One small plot per term, one line per history, running mean over ``smooth`` steps."""
    figure, axes = _grid(len(terms), 3 if len(terms) > 4 else 4, (2.9, 2.7))
    for axis, term in zip(axes, terms, strict=True):
        for i, (name, history) in enumerate(histories.items()):
            values = np.array([row[term] for row in history if term in row])
            if len(values):
                width = min(smooth, len(values))
                mean = np.convolve(
                    np.pad(values, (width - 1, 0), mode="edge"), np.ones(width) / width, "valid"
                )
                axis.plot(
                    mean,
                    label=name,
                    color=COLOURS[i % len(COLOURS)],
                    linestyle="-" if i % 2 == 0 else "--",
                )
        axis.set_title(term)
        axis.set_xlabel("step")
    axes[0].legend(fontsize=9)
    return figure


def bars(
    values: dict[str, float],
    errors: dict[str, float] | None = None,
    label: str = "",
    better: str = "",
    sign: str = "",
) -> Figure:
    """Horizontal bars with their values written beside them; ``sign="+"`` for differences, signs always shown."""
    figure, axis = plt.subplots(figsize=(7.5, 0.42 * len(values) + 0.9), layout="constrained")
    names = list(values)[::-1]
    spread = [(errors or {}).get(name, 0.0) for name in names]
    axis.barh(
        names,
        [values[n] for n in names],
        xerr=spread if any(spread) else None,
        color=COLOURS[0],
        height=0.65,
    )
    for i, name in enumerate(names):
        side = {"ha": "left"} if values[name] >= 0 else {"ha": "right"}
        at = values[name] + (spread[i] if values[name] >= 0 else -spread[i])
        axis.annotate(
            f" {round(values[name], 3) + 0.0:{sign}.3f} ", (at, i), va="center", fontsize=10, **side
        )
    if sign:
        axis.axvline(0, color="black", linewidth=1)
    axis.set_xlabel(f"{label} ({better})" if better else label)
    axis.grid(axis="y", visible=False)
    axis.margins(x=0.12)
    return figure


def effects(cells: Sequence[dict], label: str, better: str, by: str = "scene") -> Figure:
    """Differences with 95 % intervals, a row per arm with its n and a colour per scene; filled where clear of 0.

    What all arms are compared with is said once, in the axis label.

    Args:
        cells: from :func:`clippan_lite.experiments.sweep.effects`, of one metric, with ``t95``.
        label: what the axis shows, with its unit.
        better: which way is better, in words.
        by: the axis that colours tell apart.
    """
    rows = list(dict.fromkeys((cell["arm"], cell["against"]) for cell in cells))
    groups = list(dict.fromkeys(cell.get(by, "") for cell in cells))
    figure, axis = plt.subplots(
        figsize=(7.5, 0.16 * len(rows) * (max(len(groups), 2) + 1) + 1.1), layout="constrained"
    )
    for cell in cells:
        row, group = rows.index((cell["arm"], cell["against"])), groups.index(cell.get(by, ""))
        y, colour = -row + 0.5 - (group + 1) / (len(groups) + 1), COLOURS[group % len(COLOURS)]
        axis.plot(cell["t95"], [y, y], color=colour, linewidth=2)
        face = colour if cell["clear"] else "white"
        axis.plot(
            cell["difference"],
            y,
            "osD^v"[group % 5],
            color=colour,
            markerfacecolor=face,
            markersize=6,
        )
    for group, name in enumerate(groups):
        colour = COLOURS[group % len(COLOURS)]
        axis.plot([], [], marker="osD^v"[group % 5], color=colour, linewidth=2, label=name)
    others = sorted({other for _, other in rows})
    titles = []
    for arm, other in rows:
        counts = sorted(
            {cell["n"] for cell in cells if (cell["arm"], cell["against"]) == (arm, other)}
        )
        n = f"n = {', '.join(map(str, counts))}"
        titles.append(f"{arm}\n{n}" if len(others) == 1 else f"{arm}\nagainst {other}, {n}")
    axis.set_yticks([-row for row in range(len(rows))], titles, fontsize=9.5)
    axis.axvline(0, color="black", linewidth=1)
    axis.set_ylim(-len(rows) + 0.5, 0.5)
    against = f" against {others[0]}" if len(others) == 1 else ""
    axis.set_xlabel(f"{label}{against} ({better})")
    axis.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=len(groups), fontsize=9.5)
    return figure


def heat(
    rows: dict[str, dict[str, float]],
    larger_is_better: Container[str],
    anchor: str,
    digits: dict[str, int] | None = None,
) -> Figure:
    """A table of figures, each coloured by whether it is worse (red) or better (blue) than the anchor row's.

    Args:
        rows: row title -> name -> figure, the same names in every row.
        larger_is_better: names whose figures are better when larger.
        anchor: title of the row that the others are compared with.
        digits: decimals by name, 3 where not given.
    """
    names = list(rows[anchor])
    values = np.array([[row[name] for name in names] for row in rows.values()])
    finite = np.where(
        np.isfinite(values), values, np.nanmax(np.where(np.isfinite(values), values, np.nan), 0)
    )
    loss = (finite - finite[list(rows).index(anchor)]) * [
        -1 if name in larger_is_better else 1 for name in names
    ]
    colour = loss / np.maximum(np.abs(loss).max(0), 1e-12)
    figure, axis = plt.subplots(
        figsize=(0.82 * len(names) + 2.2, 0.36 * len(rows) + 1.3), layout="constrained"
    )
    axis.imshow(
        colour, cmap="RdBu_r", vmin=-1.6, vmax=1.6, aspect="auto"
    )  # pale enough to read black figures on
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            text = f"{value:.{(digits or {}).get(names[j], 3)}f}" if np.isfinite(value) else "∞"
            axis.text(j, i, text, ha="center", va="center", fontsize=9.5)
    arrows = ["↑" if name in larger_is_better else "↓" for name in names]
    axis.set_xticks(
        range(len(names)),
        [f"{n} {a}" for n, a in zip(names, arrows, strict=True)],
        rotation=35,
        ha="left",
    )
    axis.xaxis.tick_top()
    axis.set_yticks(range(len(rows)), list(rows))
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)
    return figure


def against(
    rows: dict[str, dict[str, float]],
    names: Sequence[str],
    truth: dict[str, float],
    label: str,
    marked: dict[str, str],
) -> Figure:
    """One small plot per metric: each method's figure beside its figure against the truth.

    Args:
        rows: method -> metric -> figure.
        names: the metrics to plot.
        truth: method -> its figure against the truth, on every vertical axis.
        label: name of that figure.
        marked: methods to mark with their own colour and name -> the group's name in the legend.
    """
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(2.7 * columns, 2.4 * lines + 0.3),
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    groups = list(dict.fromkeys(marked.values()))
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    for axis, name in zip(axes.flat, names, strict=False):
        others = [m for m in rows if m not in marked]
        axis.scatter(
            [rows[m][name] for m in others],
            [truth[m] for m in others],
            s=26,
            color=COLOURS[0],
            label="others",
        )
        for i, group in enumerate(groups):
            of_group = [m for m in rows if marked.get(m) == group]
            x, y = [rows[m][name] for m in of_group], [truth[m] for m in of_group]
            axis.scatter(
                x,
                y,
                s=70,
                color=COLOURS[i + 1],
                marker="*^sD"[i % 4],
                edgecolor="black",
                label=group,
                zorder=3,
            )
        axis.set_title(name)
        axis.locator_params(nbins=4)
    for line in axes[:, 0]:
        line.set_ylabel(label)
    axes[0, 0].legend(fontsize=8.5)
    return figure


def power(image: torch.Tensor) -> np.ndarray:
    """How much of an image ``(H, W)`` each frequency holds: power, zero in the middle, cycles per pixel -0.5 to 0.5."""
    image = image.double().numpy()
    frame = (
        np.hanning(image.shape[0] + 1)[:-1, None] * np.hanning(image.shape[1] + 1)[:-1]
    )  # else borders draw a cross
    return np.abs(np.fft.fftshift(np.fft.fft2((image - image.mean()) * frame))) ** 2


def spectra(images: dict[str, torch.Tensor], inner: float, decades: float = 8) -> Figure:
    """Images in the frequency plane: power at each frequency by colour, as a share of the largest.

    Args:
        images: title -> ``(H, W)``.
        inner: half side of the square drawn, cycles per pixel: the Nyquist frequency of a coarser grid.
        decades: of power that the colours span.
    """
    figure, axes = plt.subplots(
        1, len(images), figsize=(3.2 * len(images), 2.9), layout="constrained", squeeze=False
    )
    for axis, (title, image) in zip(axes[0], images.items(), strict=True):
        found = power(image)
        shown = np.log10(np.maximum(found / found.max(), 10.0**-decades))
        drawn = axis.imshow(
            shown, cmap="cividis", vmin=-decades, vmax=0, extent=(-0.5, 0.5, 0.5, -0.5)
        )
        axis.add_patch(
            Rectangle(
                (-inner, -inner), 2 * inner, 2 * inner, fill=False, edgecolor="white", linewidth=1.5
            )
        )
        axis.set_title(title)
        axis.set(xlabel="cycles per pixel, across", xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
        axis.grid(visible=False)
    axes[0, 0].set_ylabel("cycles per pixel, down")
    figure.colorbar(drawn, ax=axes, label="share of the largest, log10", shrink=0.9)
    return figure


def scatter_types(maps: dict[str, list[torch.Tensor]], kinds: Sequence[str]) -> Figure:
    """Features of image types on two axes, and their sentences with arrows to the last one.

    Args:
        maps: title -> [image features ``(len(kinds) * n, 2)`` in the order of kinds, text ``(len(kinds), 2)``].
        kinds: names of the types; arrows lead from each sentence to the last kind's.
    """
    figure, axes = plt.subplots(
        1, len(maps), figsize=(4.6 * len(maps), 3.9), layout="constrained", squeeze=False
    )
    for axis, (title, (features, texts)) in zip(axes[0], maps.items(), strict=True):
        for i, (kind, dots) in enumerate(zip(kinds, features.chunk(len(kinds)), strict=True)):
            colour, marker = COLOURS[i], "os^"[i % 3]
            axis.scatter(*dots.T, s=14, alpha=0.55, color=colour, marker=marker, label=kind.upper())
            axis.scatter(*texts[i], s=190, color=colour, marker="*", edgecolor="black", zorder=3)
            if i < len(kinds) - 1:
                axis.annotate(
                    "",
                    texts[-1],
                    texts[i],
                    arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1.6},
                )
        axis.set_title(title)
        axis.set(xlabel="1st axis", ylabel="2nd axis")
    axes[0, 0].legend(fontsize=9)
    return figure


def displacements(found: dict[str, dict]) -> Figure:
    """Crops of MS, PAN and fused images in feature space; arrows lead from the former to the latter.

    Dashed arrows of the same length lead where the sentences' difference points.

    Args:
        found: from :func:`clippan_lite.experiments.probes.displacements`, one panel each.
    """
    figure, axes = _grid(len(found), 3, (3.2, 3.1), sharex=True, sharey=True)
    for axis, (title, one) in zip(axes, found.items(), strict=True):
        means = {kind: dots.mean(0) for kind, dots in one["crops"].items()}
        for i, (kind, dots) in enumerate(one["crops"].items()):
            label = "fused" if kind == "hrms" else kind.upper()
            axis.scatter(*dots.T, s=10, alpha=0.45, color=COLOURS[i], marker="os^"[i], label=label)
            if kind == "hrms":
                continue
            step, wish = means["hrms"] - means[kind], one["texts"]["hrms"] - one["texts"][kind]
            wish = wish / wish.norm().clamp(min=1e-9) * step.norm()
            for vector, style in ((step, "-"), (wish, "--")):
                arrow = {
                    "arrowstyle": "->",
                    "color": COLOURS[i],
                    "linewidth": 1.8,
                    "linestyle": style,
                }
                axis.annotate(
                    "", (means[kind] + vector).tolist(), means[kind].tolist(), arrowprops=arrow
                )
        axis.set_title(f"{title}: cosine {one['cosine']:.2f}")
        axis.set(xlabel="1st axis", ylabel="2nd axis")
        axis.tick_params(labelbottom=True, labelleft=True)
    axes[0].legend(fontsize=9)
    return figure


def preview(pair: Pair, side: int = 256) -> Callable[[torch.nn.Module], np.ndarray]:
    """What a network makes of a pair, seen through a window: PAN, EXP and its result side by side.

    Args:
        pair: the scene; the window of it with the most detail is fused.
        side: of the window, PAN pixels.

    Returns:
        A function: network -> ``(side, 3 * side, 3)`` in [0, 1].
    """
    r = pair.ratio
    row, column, side = busiest(pair.pan, side)
    row, column, side = (v // r * r for v in (row, column, side))
    pan = pair.pan[:, row : row + side, column : column + side]
    ms = pair.ms[:, row // r : (row + side) // r, column // r : (column + side) // r]
    window = replace(pair, ms=ms, pan=pan, valid=None, truth=None)
    exp = degrade.upsample(ms, r, pair.convention)
    bounds, grey = limits(exp, pair.sensor.rgb), limits(pan, [0])

    def look(network: torch.nn.Module) -> np.ndarray:
        training = network.training
        fused = fuse.fuse_pair(network.eval(), window, scale=pair.scale)
        network.train(training)
        return np.hstack(
            [
                picture(pan, [0], grey),
                *(picture(image, pair.sensor.rgb, bounds) for image in (exp, fused)),
            ]
        )

    return look


def previews(pair: Pair, folder: Path, every: int = 50, side: int = 256) -> Callable[..., None]:
    """Pictures of a network while it trains: pass the result as ``on_step`` of :func:`clippan_lite.training.train`.

    Args:
        pair: the scene, as in :func:`preview`.
        folder: where ``step00050.png`` ... go.
        every: steps between two pictures.
        side: of the window, PAN pixels.
    """
    folder, look = Path(folder), preview(pair, side)

    def draw(step: int, network: torch.nn.Module, *_: object) -> None:
        if (step + 1) % every:
            return
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / f"step{step + 1:05d}.png") as part:
            PIL.Image.fromarray((look(network) * 255).astype(np.uint8)).save(part, "png")

    return draw


def show(figure: Figure, run: Path, name: str, caption: str, photo: bool = False) -> None:
    """Keep a figure in the run folder with its caption, display it in a notebook, and close it.

    Args:
        figure: any of the figures above.
        run: run folder; the file goes to ``figures/``.
        name: file name without suffix.
        caption: one sentence, also the alternative text.
        photo: True for pictures (JPEG, a quarter of the size), False for plots (PNG).
    """
    folder = Path(run) / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    kind = "jpg" if photo else "png"
    buffer = io.BytesIO()
    if photo:
        figure.savefig(buffer, format=kind, pil_kwargs={"quality": 80})
    else:  # 256 colours are plenty for a plot and halve the file
        whole = io.BytesIO()
        figure.savefig(whole, format=kind)
        PIL.Image.open(whole).convert("RGB").quantize(256, dither=PIL.Image.Dither.NONE).save(
            buffer, kind, optimize=True
        )
    plt.close(figure)
    with replacing(folder / f"{name}.{kind}") as part:
        part.write_bytes(buffer.getvalue())
    captions = folder / "captions.json"
    known = json.loads(captions.read_text()) if captions.exists() else {}
    write_json(captions, {**known, f"{name}.{kind}": caption})
    from IPython.display import display

    # As HTML: JupyterLab shows an image output without its alternative text. The text form is what a terminal prints.
    display(
        {"text/html": figure_html(buffer.getvalue(), caption, photo), "text/plain": caption},
        raw=True,
    )


def figure_html(content: bytes, caption: str, photo: bool = False) -> str:
    """An encoded picture (JPEG for a photo, else PNG) as HTML, with its caption below and as alternative text."""
    text, data = html.escape(caption), base64.b64encode(content).decode()
    image = f'<img alt="{text}" style="max-width: 100%" src="data:image/{"jpeg" if photo else "png"};base64,{data}">'
    return f"<figure style='margin: 0'>{image}<figcaption>{text}</figcaption></figure>"
