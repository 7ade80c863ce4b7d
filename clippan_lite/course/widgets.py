"""Controls for notebooks. A still picture stands below each, for readers without a kernel."""

from __future__ import annotations

import html
import io
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import ipywidgets
import numpy as np
import torch
from IPython.display import display
from matplotlib.figure import Figure

from clippan_lite import checkpoints, losses, prompts, training
from clippan_lite.adapter import Supervisor
from clippan_lite.config import TrainConfig, digest
from clippan_lite.course import figures, imagery
from clippan_lite.data import Pair
from clippan_lite.experiments import probes
from clippan_lite.metrics import evaluation, faults

OWN = "your own"  # in the list of known sentences, for one that is none of them
PREVIEW = 640  # width on the screen, pixels
REDRAW = 0.5  # seconds between two pictures of a training


swipe, composite = imagery.swipe, imagery.composite  # they need no kernel


class Controls(ipywidgets.VBox):
    """Widgets with a still picture below, which is all that readers without a kernel can see.

    Args:
        children: the widgets.
        still: returns the picture as HTML, when the widgets are displayed.
    """

    def __init__(self, children: Sequence[ipywidgets.Widget], still: Callable[[], str]):
        super().__init__(children)
        self._still = still

    def _ipython_display_(self) -> None:
        named = {"text/plain": "(controls: they appear when this cell is run)"}
        display(self._repr_mimebundle_() | named, raw=True)
        told = "Still picture of these controls, which need a running kernel"
        page = f"<details><summary>{told}</summary>{self._still()}</details>"
        display({"text/html": page, "text/plain": told}, raw=True)


def playground(pair: Pair, image: torch.Tensor, side: int = 192) -> Controls:
    """Blur, noise, haze and displacement under sliders, and what every metric says of them.

    Args:
        pair: the scene; where it has its truth, metrics against it are shown too.
        image: a fused image of it ``(C, H, W)`` in DN, or the truth.
        side: of the window shown, the one with the most detail, PAN pixels.
    """
    part, area = imagery.detailed_part(pair, side)
    clean = image[:, *area]
    before = evaluation.evaluate(clean, part)
    rgb = pair.sensor.rgb
    limits = imagery.limits(pair.ms, rgb)
    sliders = {
        "blur": ipywidgets.FloatSlider(0, max=2.5, step=0.25, description="blur, pixels"),
        "noise": ipywidgets.FloatSlider(0, max=0.4, step=0.02, description="noise"),
        "haze": ipywidgets.FloatSlider(0, max=0.6, step=0.05, description="haze"),
        "shift": ipywidgets.IntSlider(0, max=4, description="shift, pixels"),
    }
    reset = ipywidgets.Button(description="reset", icon="undo")
    screen, table = ipywidgets.HTML(), ipywidgets.HTML()

    def draw(*_: object) -> None:
        degrees = {name: slider.value for name, slider in sliders.items()}
        faulty = faults.graded(clean, **degrees)
        text = "the window with the faults that the sliders put into it"
        screen.value = _picture(imagery.picture(faulty, rgb, limits), text, 384)
        rows = [
            (
                evaluation.arrow(name),
                f"{before[name]:.4g}",
                f"{value:.4g}",
                _compared(name, before[name], value),
            )
            for name, value in evaluation.evaluate(faulty, part).items()
        ]
        table.value = _table(["metric", "as it was", "now", ""], rows)

    def clear(_: object) -> None:
        for slider in sliders.values():
            slider.value = 0

    _draw_at_changes(draw, *sliders.values())
    reset.on_click(clear)
    left = ipywidgets.VBox([*sliders.values(), reset, screen])
    return Controls([ipywidgets.HBox([left, table])], lambda: screen.value + table.value)


def _compared(name: str, before: float, now: float) -> str:
    # Equality comes first, because an infinite PSNR minus itself is no number.
    if now == before or abs(now - before) < 1e-6:
        return ""
    return evaluation.change_in_words(name, now - before)


def sentences(pair: Pair, supervisor: Supervisor, candidates: dict[str, torch.Tensor]) -> Controls:
    """Type a sentence: how like it each image type is, and L_d of some fused images under it.

    Args:
        pair: the scene; crops of ground that Stage I did not see are asked.
        supervisor: adapted CLIP.
        candidates: title -> fused image ``(C, H, W)`` in DN.

    Raises:
        ValueError: no candidate.
    """
    if not candidates:
        raise ValueError("a playground of sentences needs a fused image or more, found none")
    features = {}
    with torch.no_grad():
        for name, image in candidates.items():
            views = probes.held_out_views(pair, supervisor.clip.input_size, image)
            features[name] = supervisor.encode_all(views)
    known = ipywidgets.Dropdown(options=[*prompts.PROMPTS, OWN], value="wald", description="known")
    sentence = ipywidgets.Text(
        prompts.get("wald").hrms,
        description="sentence",
        continuous_update=False,
        layout={"width": "640px"},
    )
    reset = ipywidgets.Button(description="reset", icon="undo")
    hint = ipywidgets.Label("Type a sentence and press Enter.")
    told, table = ipywidgets.HTML(), ipywidgets.HTML()
    around = prompts.get("wald")  # its sentences of MS and PAN stay when another one is typed

    def draw(*_: object) -> None:
        typed = sentence.value.strip()
        if not typed:
            table.value, told.value = "", "The field is empty. Type a sentence, or press reset."
            return
        known.value = next((n for n, p in prompts.PROMPTS.items() if p.hrms == typed), OWN)
        try:
            with warnings.catch_warnings(record=True) as found, torch.no_grad():
                warnings.simplefilter("always")
                guide = losses.Guide.of(supervisor.with_prompts(replace(around, hrms=typed)))
        except ValueError as error:
            table.value, told.value = "", html.escape(f"No answer: {error}")
            return
        told.value = html.escape(" ".join(str(warning.message) for warning in found))
        rows = []
        for name, images in features.items():
            l_d = losses.direction_of_features(images, guide)
            rows.append((name, _likeness(images["hrms"], guide), f"{l_d:.3f}"))
        any_candidate = next(iter(features.values()))
        rows += [
            (f"({kind.upper()})", _likeness(any_candidate[kind], guide), "")
            for kind in ("ms", "pan")
        ]
        table.value = _table(["fused image", "cos(image, sentence) ↑", "L_d ↓"], rows)

    def choose(*_: object) -> None:
        nonlocal around
        if known.value == OWN:
            return
        chosen = prompts.get(known.value)
        if chosen != around or sentence.value != chosen.hrms:
            around = chosen
            sentence.value = chosen.hrms
            draw()  # even if the sentence stays: those of MS and PAN may be others

    def begin_anew(_: object) -> None:
        known.value = "wald"
        choose()  # even if it was chosen: the field may be empty

    known.observe(choose, "value")
    _draw_at_changes(draw, sentence)
    reset.on_click(begin_anew)
    rows = [ipywidgets.HBox([known, reset]), sentence, hint, told, table]
    return Controls(rows, lambda: f"<p>{html.escape(sentence.value)}</p>{table.value}")


def _likeness(images: torch.Tensor, guide: losses.Guide) -> str:
    """Mean cosine between image features and the sentence of the fused image."""
    return f"{(images @ guide.texts['hrms'].T).mean():.3f}"


def dashboard(
    pair: Pair,
    config: TrainConfig,
    supervisor: Supervisor | None = None,
    folder: str | Path = ".",
    side: int = 192,
) -> Controls:
    """A training with its curves and a preview, which can be stopped and goes on where it was.

    Args:
        pair: as in :func:`clippan_lite.training.train`, as are the next two.
        config: settings.
        supervisor: adapted CLIP, for L_d, whose weight gets a slider. It begins at the weight of
            ``config``, or at that of the default recipe where ``config`` has none.
        folder: where states are kept, ``dashboard-<settings>.safetensors``.
        side: of the preview's window, PAN pixels.

    Returns:
        Buttons, progress, curves and preview; its attribute ``network`` is the trained network
        when it is done.
    """
    preview = imagery.preview(pair, side)
    start = ipywidgets.Button(description="start", icon="play")
    stop = ipywidgets.Button(description="stop", icon="pause", disabled=True)
    reset = ipywidgets.Button(description="reset", icon="undo")
    bar = ipywidgets.IntProgress(0, 0, config.steps, layout={"width": "200px"})
    message = ipywidgets.Label("not started")
    begun = config.weight("direction") or TrainConfig().weight("direction")
    weight = ipywidgets.FloatSlider(
        begun,
        max=0.3,
        step=0.01,
        description="weight of L_d",
        style={"description_width": "initial"},
    )
    curves, screen = ipywidgets.HTML(), ipywidgets.HTML()
    controls = [ipywidgets.HBox([start, stop, reset, bar, message])]
    if supervisor is not None:
        controls.append(weight)
    box = Controls([*controls, curves, screen], lambda: curves.value + screen.value)
    box.network = None
    histories: dict[str, dict[int, dict[str, float]]] = {}  # by settings, then by step
    stopping = threading.Event()
    last_drawn = 0.0

    def settings() -> TrainConfig:
        return config if supervisor is None else config.changed(direction=weight.value)

    def state() -> Path:
        return Path(folder) / f"dashboard-{digest(asdict(settings()))}.safetensors"

    def history() -> dict[int, dict[str, float]]:
        return histories.setdefault(state().name, {})

    def show(step: int, network: torch.nn.Module) -> None:
        last = f"after step {step}" if step else "before the first step"
        text = f"PAN, EXP and the network's result {last}"
        screen.value = _titled(["PAN", "EXP", last], _picture(preview(network), text, PREVIEW))
        bar.value, curves.value = step, _curves(history())

    def after_step(step: int, network: torch.nn.Module, row: dict[str, float]) -> bool:
        nonlocal last_drawn
        rows = history()
        rows[step] = row
        is_last = step + 1 == config.steps or stopping.is_set()
        if time.monotonic() - last_drawn > REDRAW or is_last:
            last_drawn = time.monotonic()
            message.value = f"step {step + 1} of {config.steps}, loss {row['loss']:.4f}"
            show(step + 1, network)
        return stopping.is_set()

    def run() -> None:
        try:
            state().parent.mkdir(parents=True, exist_ok=True)
            box.network, _ = training.train(
                pair,
                settings(),
                supervisor,
                progress=False,
                callbacks=[after_step],
                checkpoint=state(),
            )
            message.value = f"done: {config.steps} steps; start begins anew"
        except KeyboardInterrupt:
            message.value = f"stopped after step {bar.value} of {config.steps}: start goes on"
        except Exception as error:  # nobody sees what a thread raises
            message.value = f"failed: {error}"
        hold(running=False)

    def hold(running: bool) -> None:
        stop.disabled = not running
        for control in (start, reset, weight):
            control.disabled = running

    def begin(_: object) -> None:
        hold(running=True)
        message.value = "preparing"
        if not state().exists():
            history().clear()
        stopping.clear()
        box.thread = threading.Thread(target=run, daemon=True)
        box.thread.start()

    def forget() -> None:
        state().unlink(missing_ok=True)
        history().clear()

    def begin_anew(_: object) -> None:
        forget()
        weight.value = begun
        forget()  # the state at that weight, too
        look_back()

    def look_back(_: object = None) -> None:
        message.value = "stopped before: start goes on" if state().exists() else "not started"
        show(0, checkpoints.start(config, pair.bands, pair.ratio, pair.convention).eval())
        bar.value = max(history(), default=-1) + 1

    start.on_click(begin)
    stop.on_click(lambda _: stopping.set())
    reset.on_click(begin_anew)
    weight.observe(look_back, "value")
    look_back()
    return box


def _draw_at_changes(draw: Callable[..., None], *controls: ipywidgets.Widget) -> None:
    """Draw now, and again whenever a control gets another value."""
    for control in controls:
        control.observe(draw, "value")
    draw()


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as HTML, in the colours of the notebook's theme."""
    cells = "padding: 0.15em 0.8em; border-bottom: 1px solid #8886; text-align: "
    lines = []
    for tag, row in [("th", titles), *(("td", row) for row in rows)]:
        places = ["left", *["right"] * (len(row) - 1)]
        line = (
            f'<{tag} style="{cells}{place}">{html.escape(cell)}</{tag}>'
            for place, cell in zip(places, row, strict=True)
        )
        lines.append("".join(line))
    body = "</tr><tr>".join(lines)
    return f'<table style="border-collapse: collapse"><tr>{body}</tr></table>'


def _titled(titles: Sequence[str], picture: str) -> str:
    """Titles in columns of equal width above a picture, as HTML."""
    columns = "".join(f'<b style="flex: 1; text-align: center">{title}</b>' for title in titles)
    row = f'<div style="display: flex; width: {PREVIEW}px; max-width: 100%">{columns}</div>'
    return row + picture


def _picture(image: np.ndarray, text: str, width: int) -> str:
    """A picture ``(H, W, 3)`` in [0, 1] as HTML, because ipywidgets' Image has no such text."""
    content = figures.encoded(imagery.as_image(image), "jpeg", 100_000)
    return figures.image_tag(content, text, width)


def _curves(history: dict[int, dict[str, float]]) -> str:
    """One small plot per term as HTML, without pyplot, which is not made for threads."""
    if not history:
        return ""
    steps, rows = list(history), list(history.values())
    names = [name for name in rows[0] if name != "step" and not name.startswith("grad ")]
    lines = math.ceil(len(names) / 3)
    figure = Figure(figsize=(6.4, 1.5 * lines), layout="constrained", dpi=100)
    axes = figure.subplots(lines, 3, squeeze=False).flat
    for axis in axes[len(names) :]:
        axis.axis("off")
    for axis, name in zip(axes, names, strict=False):
        axis.plot([step + 1 for step in steps], [row[name] for row in rows], ".-", linewidth=1)
        axis.set_xlabel("step", fontsize=8)
        axis.set_ylabel(name, fontsize=9)
        axis.tick_params(labelsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi="figure")
    last = ", ".join(f"{name} {rows[-1][name]:.3g}" for name in names)
    text = f"terms of the loss by step, at the end {last}"
    return figures.image_tag(buffer.getvalue(), text, 640)
