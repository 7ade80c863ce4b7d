"""Plots of numbers: curves, bars, coloured tables, spectra, feature spaces. Imports matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy import ndimage

from clippan_lite.course.figures import COLOURS
from clippan_lite.data import registration
from clippan_lite.metrics import evaluation


def _axes(
    count: int,
    size: tuple[float, float],
    columns: int = 4,
    share_x: bool = False,
    share_y: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` plots of ``size`` inches; notebooks would shrink longer rows."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(size[0] * columns, size[1] * rows),
        sharex=share_x,
        sharey=share_y,
        layout="constrained",
        squeeze=False,
    )
    for axis in axes.flat[count:]:
        axis.axis("off")
    return figure, list(axes.flat[:count])


def curves(
    histories: dict[str, list[dict[str, float]]],
    terms: Sequence[str],
    smooth: int = 5,
    across: str = "step",
) -> Figure:
    """One plot per term, one line per history, running mean over ``smooth`` steps.

    Args:
        histories: title -> rows of a training's history.
        terms: names of what is plotted; with their units they are the labels of the y axes.
        smooth: steps in a mean.
        across: label of the x axes.
    """
    size = (2.9, 2.7) if len(terms) > 1 else (5.8, 3.2)
    figure, axes = _axes(len(terms), size, columns=3 if len(terms) > 4 else 4)
    for axis, term in zip(axes, terms, strict=True):
        for i, (name, history) in enumerate(histories.items()):
            values = [row[term] for row in history if term in row]
            if values:
                width = min(smooth, len(values))
                # The origin makes each mean one of a step and those before it.
                mean = ndimage.uniform_filter1d(
                    np.array(values), width, mode="nearest", origin=(width - 1) // 2
                )
                axis.plot(mean, ("-", "--")[i % 2], label=name, color=COLOURS[i % len(COLOURS)])
        axis.set(ylabel=term, xlabel=across)
    _legend(figure, axes[0])
    return figure


def _legend(figure: Figure, axis: Axes) -> None:
    """The legend of one of the plots above all of them, where it hides nothing."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)))


def bars(
    values: dict[str, float],
    errors: dict[str, float] | None = None,
    label: str = "",
    better: str = "",
    sign: str = "",
) -> Figure:
    """Horizontal bars with their values beside them.

    Args:
        values: title -> length of its bar.
        errors: title -> half width of its error bar, 0 where not given.
        label: what the axis shows, with its unit.
        better: which way is better, in words.
        sign: ``"+"`` for differences, whose signs are always written.
    """
    figure, (axis,) = _axes(1, (7.5, 0.42 * len(values) + 0.9))
    names = list(reversed(values))
    lengths = [values[name] for name in names]
    spread = [errors.get(name, 0.0) for name in names] if errors else None
    drawn = axis.barh(names, lengths, xerr=spread, color=COLOURS[0], height=0.65)
    texts = [f"{round(length, 3) + 0.0:{sign}.3f}" for length in lengths]  # + 0.0: no "-0.000"
    axis.bar_label(drawn, texts, padding=3, fontsize=10)
    if sign:
        axis.axvline(0, color="black", linewidth=1)
    axis.set_xlabel(f"{label} ({better})" if better else label)
    axis.grid(axis="y", visible=False)
    axis.margins(x=0.16)  # room for the numbers
    return figure


def effects(cells: Sequence[dict], label: str, better: str, by: str = "scene") -> Figure:
    """Differences with 95 % intervals: a row per arm, a colour per scene.

    A marker is filled where its interval leaves out 0. An arm's title says how many seeds it had,
    and what it is compared with. If that is the same for all arms, the axis label says it once.

    Args:
        cells: from :func:`clippan_lite.experiments.tables.effects`, of one metric, with ``t95``.
        label: what the axis shows, with its unit.
        better: which way is better, in words.
        by: the axis of the study that colours tell apart.
    """
    rows = list(dict.fromkeys((cell["arm"], cell["against"]) for cell in cells))
    groups = list(dict.fromkeys(cell.get(by, "") for cell in cells))
    others = {other for _, other in rows}
    lines_per_row = max(len(groups), 2) + 1
    figure, (axis,) = _axes(1, (7.5, 0.16 * len(rows) * lines_per_row + 1.1))
    titles = []
    for row, (arm, other) in enumerate(rows):
        in_row = [cell for cell in cells if (cell["arm"], cell["against"]) == (arm, other)]
        counts = sorted({cell["n"] for cell in in_row})
        compared = "" if len(others) == 1 else f"against {other}, "
        titles.append(f"{arm}\n{compared}n = {', '.join(map(str, counts))}")
        for cell in in_row:
            group = groups.index(cell.get(by, ""))
            height = 0.5 - row - (group + 1) / (len(groups) + 1)
            colour = COLOURS[group % len(COLOURS)]
            face = colour if cell["clear"] else "white"
            if cell["t95"]:
                axis.plot(cell["t95"], [height, height], color=colour, linewidth=2)
            axis.plot(
                cell["difference"], height, "osD^v"[group % 5], color=colour, markerfacecolor=face
            )
    for group, name in enumerate(groups):  # for the legend
        colour, marker = COLOURS[group % len(COLOURS)], "osD^v"[group % 5]
        axis.plot([], [], marker=marker, color=colour, linewidth=2, label=name)
    axis.set_yticks([-row for row in range(len(rows))], titles, fontsize=9.5)
    axis.axvline(0, color="black", linewidth=1)
    compared = f" against {others.pop()}" if len(others) == 1 else ""
    axis.set(ylim=(-len(rows) + 0.5, 0.5), xlabel=f"{label}{compared} ({better})")
    axis.grid(axis="y", visible=False)
    _legend(figure, axis)
    return figure


def heat(
    rows: dict[str, dict[str, float]],
    anchor: str,
    digits: dict[str, int] | None = None,
    arrows: bool = True,
) -> Figure:
    """A table of figures, coloured where worse (red) or better (blue) than in the anchor row.

    Figures of which neither end is best (D_rho) stay white.

    Args:
        rows: row title -> name -> figure, the same names in every row.
        anchor: title of the row that the others are compared with.
        digits: decimals by name, 3 where not given.
        arrows: whether names get an arrow to where better values lie.
    """
    names, titles = list(rows[anchor]), list(rows)
    values = np.array([[row[name] for name in names] for row in rows.values()])
    worse = np.array([-evaluation.side(name) for name in names])
    largest = np.nanmax(np.where(np.isfinite(values), values, np.nan), 0)
    finite = np.where(np.isfinite(values), values, largest)
    loss = (finite - finite[titles.index(anchor)]) * worse
    colour = loss / np.maximum(np.abs(loss).max(0), 1e-12)
    figure, (axis,) = _axes(1, (0.82 * len(names) + 2.2, 0.36 * len(rows) + 1.3))
    # Limits beyond -1 and 1 keep the colours pale enough to read black figures on.
    axis.imshow(colour, cmap="RdBu_r", vmin=-1.6, vmax=1.6, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        decimals = (digits or {}).get(names[j], 3)
        text = f"{value:.{decimals}f}" if np.isfinite(value) else "∞"
        axis.text(j, i, text, ha="center", va="center", fontsize=9.5)
    heads = [evaluation.arrow(name) if arrows else name for name in names]
    axis.set_xticks(range(len(names)), heads, rotation=35, ha="left")
    axis.xaxis.tick_top()
    axis.set_yticks(range(len(rows)), titles)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)
    return figure


def against_truth(
    rows: dict[str, dict[str, float]],
    names: Sequence[str],
    truth: dict[str, float],
    label: str,
    marked: dict[str, str],
) -> Figure:
    """One plot per metric: each method's figure beside its figure against the truth.

    Args:
        rows: method -> metric -> figure.
        names: the metrics to plot.
        truth: method -> its figure against the truth, on every vertical axis.
        label: name of that figure.
        marked: method -> its group's name in the legend; each group has a colour of its own.
    """
    figure, axes = _axes(len(names), (2.7, 2.55), share_y=True)
    for axis, name in zip(axes, names, strict=True):
        for i, group in enumerate([None, *dict.fromkeys(marked.values())]):
            methods = [method for method in rows if marked.get(method) == group]
            axis.scatter(
                [rows[method][name] for method in methods],
                [truth[method] for method in methods],
                s=70 if group else 26,
                color=COLOURS[i],
                marker="o*^sD"[i % 5],
                edgecolor="black" if group else "face",
                label=group or "others",
                zorder=3 if group else 1,
            )
        axis.set(xlabel=name, ylabel=label)
        axis.locator_params(nbins=4)
    _legend(figure, axes[0])
    return figure


def power_spectrum(image: torch.Tensor) -> np.ndarray:
    """How much of an image ``(H, W)`` each frequency holds.

    Returns:
        Power, ``(H, W)``, from -0.5 to 0.5 cycles per pixel with zero in the middle.
    """
    values = image.double().numpy()
    height, width = values.shape
    # Without a window the image's borders would draw a cross.
    window = np.hanning(height + 1)[:-1, None] * np.hanning(width + 1)[:-1]
    return np.abs(np.fft.fftshift(np.fft.fft2((values - values.mean()) * window))) ** 2


def spectra(images: dict[str, torch.Tensor], inner: float, decades: float = 8) -> Figure:
    """Images in the frequency plane: power at each frequency by colour, as a share of the largest.

    Args:
        images: title -> ``(H, W)``.
        inner: half side of the square drawn, cycles per pixel: a coarser grid's Nyquist frequency.
        decades: of power that the colours span.
    """
    figure, axes = _axes(len(images), (3.2, 2.9), columns=len(images))
    side, extent, ticks = 2 * inner, (-0.5, 0.5, 0.5, -0.5), (-0.5, 0, 0.5)
    for axis, (title, image) in zip(axes, images.items(), strict=True):
        power = power_spectrum(image)
        shown = np.log10(np.maximum(power / power.max(), 10.0**-decades))
        drawn = axis.imshow(shown, cmap="cividis", vmin=-decades, vmax=0, extent=extent)
        axis.add_patch(
            Rectangle((-inner, -inner), side, side, fill=False, edgecolor="white", linewidth=1.5)
        )
        axis.set(title=title, xticks=ticks, yticks=ticks)
        axis.set(xlabel="cycles per pixel, across", ylabel="cycles per pixel, down")
        axis.grid(visible=False)
    figure.colorbar(drawn, ax=axes, label="share of the largest, log10", shrink=0.9)
    return figure


def scatter_types(maps: dict[str, list[torch.Tensor]], kinds: Sequence[str]) -> Figure:
    """Features of image types on two axes, and their sentences with arrows to the last one.

    Args:
        maps: title -> [image features ``(len(kinds) * n, 2)`` in the order of kinds, text
            ``(len(kinds), 2)``].
        kinds: names of the types; arrows lead from each sentence to the last kind's.
    """
    figure, axes = _axes(len(maps), (4.6, 3.9), columns=len(maps))
    for axis, (title, (features, texts)) in zip(axes, maps.items(), strict=True):
        for i, dots in enumerate(features.chunk(len(kinds))):
            colour, marker = COLOURS[i], "os^"[i % 3]
            axis.scatter(
                dots[:, 0],
                dots[:, 1],
                s=14,
                alpha=0.55,
                color=colour,
                marker=marker,
                label=kinds[i].upper(),
            )
            axis.scatter(
                texts[i, 0],
                texts[i, 1],
                s=190,
                color=colour,
                marker="*",
                edgecolor="black",
                zorder=3,
            )
        for i, text in enumerate(texts[:-1]):
            _arrow(axis, text, texts[-1], COLOURS[i])
        axis.set(title=title, xlabel="1st axis, no unit", ylabel="2nd axis, no unit")
    _legend(figure, axes[0])
    return figure


def displacements(found: dict[str, dict]) -> Figure:
    """Crops of MS, PAN and fused images in feature space, arrows from MS and PAN to the fused.

    Dashed arrows of the same length lead where the sentences' difference points.

    Args:
        found: from :func:`clippan_lite.experiments.probes.displacements`, one panel each.
    """
    figure, axes = _axes(len(found), (3.2, 3.1), columns=3, share_x=True, share_y=True)
    for axis, (name, panel) in zip(axes, found.items(), strict=True):
        crops, texts = panel["crops"], panel["texts"]
        for i, (kind, dots) in enumerate(crops.items()):
            label = "fused" if kind == "hrms" else kind.upper()
            axis.scatter(
                dots[:, 0],
                dots[:, 1],
                s=10,
                alpha=0.45,
                color=COLOURS[i],
                marker="os^"[i],
                label=label,
            )
            if kind != "hrms":
                start, end = dots.mean(0), crops["hrms"].mean(0)
                wish = torch.nn.functional.normalize(texts["hrms"] - texts[kind], dim=0)
                _arrow(axis, start, end, COLOURS[i])
                _arrow(axis, start, start + wish * (end - start).norm(), COLOURS[i], "--")
        title = f"{name}: cosine {panel['cosine']:.2f}"
        axis.set(title=title, xlabel="1st axis, no unit", ylabel="2nd axis, no unit")
        axis.tick_params(labelbottom=True, labelleft=True)
    _legend(figure, axes[0])
    return figure


def shifts(found: registration.Found, pan: np.ndarray) -> Figure:
    """Where MS's content lies compared to PAN's, an arrow for each window, over PAN.

    An arrow begins where PAN shows something, and points to where MS shows it, much enlarged. Its
    colour is the multiple correlation: how far PAN and MS agree there. Crosses mark windows that do
    not tell their shift.

    Args:
        found: from :func:`clippan_lite.data.registration.in_windows`.
        pan: a picture of PAN, ``(H, W, 3)`` in [0, 1].
    """
    height, width = pan.shape[:2]
    figure, (axis,) = _axes(1, (6.6, 6.0 * height / width + 0.5))
    axis.imshow(0.35 + 0.65 * pan, cmap="gray", vmin=0, vmax=1)
    told = [(place, shift) for place, shift in found if shift.reliable]
    for (row, column), shift in found:
        if not shift.reliable:
            axis.plot(column, row, "x", color="black", markersize=8)
    if told:
        rows, columns = zip(*(place for place, _ in told), strict=True)
        down, right = (np.array([getattr(s, way) for _, s in told]) for way in ("down", "right"))
        longest = max(float(np.hypot(down, right).max()), 0.25)
        arrows = axis.quiver(
            columns,
            rows,
            right,
            down,
            [shift.correlation for _, shift in told],
            angles="xy",
            scale_units="width",
            scale=12 * longest,
            width=0.006,
            cmap="viridis",
            clim=(registration.LEAST_CORRELATION, 1),
        )
        axis.quiverkey(arrows, 0.7, 1.04, 1, "1 PAN pixel", labelpos="E", color="black")
        figure.colorbar(arrows, ax=axis, label="multiple correlation", shrink=0.8)
    axis.set(xlabel="PAN column", ylabel="PAN row")
    axis.grid(visible=False)
    return figure


def _arrow(
    axis: Axes, start: torch.Tensor, end: torch.Tensor, colour: str, style: str = "-"
) -> None:
    arrow = {"arrowstyle": "->", "color": colour, "linewidth": 1.8, "linestyle": style}
    axis.annotate("", (end[0], end[1]), (start[0], start[1]), arrowprops=arrow)
