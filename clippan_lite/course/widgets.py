"""Interactive pictures for notebooks. A static figure stands beside each, if no kernel runs."""

from __future__ import annotations

import html
import io
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import ipywidgets
import numpy as np
import PIL.Image
import torch
from matplotlib.figure import Figure

from clippan_lite import losses, prompts, training
from clippan_lite.adapter import Supervisor
from clippan_lite.config import TrainConfig
from clippan_lite.course import figures, imagery
from clippan_lite.data import Pair
from clippan_lite.experiments import probes
from clippan_lite.metrics import evaluation, faults

REDRAW = 0.5  # seconds between two pictures of a training


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


def swipe(pictures: dict[str, np.ndarray], width: int = 640) -> ipywidgets.VBox:
    """Two of several pictures of one place under a slider that moves the border between them.

    Args:
        pictures: title -> ``(H, W, 3)`` in [0, 1], all of one size; the first two are shown first.
        width: on the screen, pixels.

    Raises:
        ValueError: fewer than two pictures, or of different sizes.
    """
    names = list(pictures)
    if len(names) < 2:
        raise ValueError(f"a swipe needs two pictures, found {len(names)}: give another one")
    left = ipywidgets.Dropdown(options=names, value=names[0], description="left")
    right = ipywidgets.Dropdown(options=names, value=names[1], description="right")
    slider = ipywidgets.IntSlider(50, description="border %", layout={"width": f"{width}px"})
    screen = ipywidgets.HTML()

    def draw(*_: object) -> None:
        image = composite(pictures[left.value], pictures[right.value], slider.value / 100)
        text = f"{left.value} left and {right.value} right of a border at {slider.value} %"
        screen.value = _picture(image, text, width)

    _draw_at_changes(draw, left, right, slider)
    return ipywidgets.VBox([ipywidgets.HBox([left, right]), slider, screen])


def playground(pair: Pair, image: torch.Tensor, side: int = 192) -> ipywidgets.HBox:
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
    screen, table = ipywidgets.HTML(), ipywidgets.HTML()

    def draw(*_: object) -> None:
        degrees = {name: slider.value for name, slider in sliders.items()}
        faulty = faults.graded(clean, **degrees)
        text = "the window with the faults that the sliders put into it"
        screen.value = _picture(imagery.picture(faulty, rgb, limits), text, 384)
        rows = [
            (name, f"{before[name]:.4g}", f"{value:.4g}", _compared(name, before[name], value))
            for name, value in evaluation.evaluate(faulty, part).items()
        ]
        table.value = _table(["metric", "as it was", "now", ""], rows)

    _draw_at_changes(draw, *sliders.values())
    return ipywidgets.HBox([ipywidgets.VBox([*sliders.values(), screen]), table])


def _compared(name: str, before: float, now: float) -> str:
    # Equality comes first, because an infinite PSNR minus itself is no number.
    if now == before or abs(now - before) < 1e-6:
        return ""
    return "better" if (now > before) == (name in evaluation.LARGER_IS_BETTER) else "worse"


def sentences(
    pair: Pair, supervisor: Supervisor, candidates: dict[str, torch.Tensor]
) -> ipywidgets.VBox:
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
            features[name] = {kind: supervisor.encode(kind, view) for kind, view in views.items()}
    prompt_set = ipywidgets.Dropdown(
        options=list(prompts.PROMPTS), value="wald", description="known"
    )
    sentence = ipywidgets.Text(
        prompts.get("wald").hrms,
        description="sentence",
        continuous_update=False,
        layout={"width": "640px"},
    )
    table = ipywidgets.HTML()

    def draw(*_: object) -> None:
        prompt = prompts.get(prompt_set.value)
        prompt = replace(prompt, hrms=sentence.value.strip() or prompt.hrms)
        with torch.no_grad():
            guide = losses.Guide.of(supervisor.with_prompts(prompt))
            rows = []
            for name, images in features.items():
                l_d = losses.direction_of_features(images, guide)
                rows.append((name, _likeness(images["hrms"], guide), f"{l_d:.3f}"))
        any_candidate = next(iter(features.values()))
        rows += [
            (f"({kind.upper()})", _likeness(any_candidate[kind], guide), "")
            for kind in ("ms", "pan")
        ]
        table.value = _table(["fused image", "cos(image, sentence)", "L_d"], rows)

    def choose(*_: object) -> None:
        sentence.value = prompts.get(prompt_set.value).hrms
        draw()  # even if the sentence stays: those of MS and PAN may be others

    prompt_set.observe(choose, "value")
    _draw_at_changes(draw, sentence)
    return ipywidgets.VBox([prompt_set, sentence, table])


def _likeness(images: torch.Tensor, guide: losses.Guide) -> str:
    """Mean cosine between image features and the sentence of the fused image."""
    return f"{(images @ guide.texts['hrms'].T).mean():.3f}"


def dashboard(
    pair: Pair,
    config: TrainConfig,
    supervisor: Supervisor | None = None,
    folder: str | Path = ".",
    side: int = 192,
) -> ipywidgets.VBox:
    """A training with its curves and a preview, which can be stopped and goes on where it was.

    Args:
        pair: as in :func:`clippan_lite.training.train`, as are the next two.
        config: settings.
        supervisor: adapted CLIP, for L_d.
        folder: where the state is kept, ``dashboard.safetensors``.
        side: of the preview's window, PAN pixels.

    Returns:
        Buttons, progress, curves and preview; its attribute ``network`` is the trained network
        when it is done.
    """
    state = Path(folder) / "dashboard.safetensors"
    preview = imagery.preview(pair, side)
    start = ipywidgets.Button(description="start", icon="play")
    stop = ipywidgets.Button(description="stop", icon="pause", disabled=True)
    bar = ipywidgets.IntProgress(0, 0, config.steps, layout={"width": "300px"})
    message = ipywidgets.Label("not started")
    curves, screen = ipywidgets.HTML(), ipywidgets.HTML()
    box = ipywidgets.VBox([ipywidgets.HBox([start, stop, bar, message]), curves, screen])
    box.network = None
    rows: list[dict[str, float]] = []
    stopping = threading.Event()
    last_drawn = 0.0

    def after_step(step: int, network: torch.nn.Module, row: dict[str, float]) -> bool:
        nonlocal last_drawn
        rows[step:] = [row]
        if time.monotonic() - last_drawn > REDRAW or step + 1 == config.steps:
            last_drawn = time.monotonic()
            bar.value = step + 1
            message.value = f"step {step + 1} of {config.steps}, loss {row['loss']:.4f}"
            curves.value = _curves(rows)
            text = f"PAN, EXP and the network's result after step {step + 1}"
            screen.value = _picture(preview(network), text, 640)
        return stopping.is_set()

    def run() -> None:
        try:
            state.parent.mkdir(parents=True, exist_ok=True)
            box.network, _ = training.train(
                pair,
                config,
                supervisor,
                progress=False,
                callbacks=[after_step],
                checkpoint=state,
            )
            message.value = f"done: {config.steps} steps"
        except KeyboardInterrupt:
            message.value = f"stopped after step {len(rows)} of {config.steps}: start goes on"
        except Exception as error:  # nobody sees what a thread raises
            message.value = f"failed: {error}"
        start.disabled, stop.disabled = box.network is not None, True

    def begin(_: object) -> None:
        start.disabled, stop.disabled = True, False
        message.value = "preparing"
        stopping.clear()
        box.thread = threading.Thread(target=run, daemon=True)
        box.thread.start()

    start.on_click(begin)
    stop.on_click(lambda _: stopping.set())
    return box


def _draw_at_changes(draw: Callable[..., None], *controls: ipywidgets.Widget) -> None:
    """Draw now, and again whenever a control gets another value."""
    for control in controls:
        control.observe(draw, "value")
    draw()


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as HTML."""
    lines = ["".join(f"<th>{title}</th>" for title in titles)]
    for row in rows:
        lines.append("".join(f"<td>{html.escape(cell)}</td>" for cell in row))
    return f"<table><tr>{'</tr><tr>'.join(lines)}</tr></table>"


def _picture(image: np.ndarray, text: str, width: int) -> str:
    """A picture ``(H, W, 3)`` in [0, 1] as HTML, because ipywidgets' Image has no such text."""
    buffer = io.BytesIO()
    picture = PIL.Image.fromarray((image * 255).round().astype(np.uint8))
    picture.save(buffer, "jpeg", quality=88)
    return figures.image_tag(buffer.getvalue(), text, width)


def _curves(rows: list[dict[str, float]]) -> str:
    """One small plot per term as HTML, without pyplot, which is not made for threads."""
    names = [name for name in rows[0] if not name.startswith("grad ")]
    figure = Figure(figsize=(1.8 * len(names), 1.6), layout="constrained", dpi=90)
    axes = figure.subplots(1, len(names), squeeze=False)
    for axis, name in zip(axes.flat, names, strict=True):
        axis.plot([row[name] for row in rows], color=figures.COLOURS[0], linewidth=1)
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi="figure")
    last = ", ".join(f"{name} {rows[-1][name]:.3g}" for name in names)
    text = f"terms of the loss by step, at the end {last}"
    return figures.image_tag(buffer.getvalue(), text, 640)
