"""Interactive pictures for notebooks. Each stands beside a static figure, for readers without a kernel."""

from __future__ import annotations

import base64
import html
import io
import threading
import time
from pathlib import Path

import ipywidgets
import numpy as np
import PIL.Image
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clippan_lite import data, losses, prompts, training
from clippan_lite.adapter import Supervisor
from clippan_lite.config import TrainConfig
from clippan_lite.course import plotting
from clippan_lite.data import Pair
from clippan_lite.experiments import probes
from clippan_lite.metrics import evaluation, faults

REDRAW = 0.5  # seconds between two pictures of a training


def composite(left: np.ndarray, right: np.ndarray, share: float) -> np.ndarray:
    """Two pictures ``(H, W, 3)`` in [0, 1] of one place, the left one up to ``share`` of the width; uint8."""
    if left.shape != right.shape:
        raise ValueError(
            f"a swipe needs pictures of one size, found {left.shape} and {right.shape}"
        )
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
    slider = ipywidgets.IntSlider(
        50, 0, 100, description="border %", layout={"width": f"{width}px"}
    )
    screen = ipywidgets.HTML()

    def draw(*_: object) -> None:
        told = f"{left.value} left and {right.value} right of a border at {slider.value} %"
        screen.value = _picture(
            composite(pictures[left.value], pictures[right.value], slider.value / 100), told, width
        )

    for control in (left, right, slider):
        control.observe(draw, "value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([left, right]), slider, screen])


def playground(pair: Pair, image: torch.Tensor, side: int = 192) -> ipywidgets.HBox:
    """Blur, noise, haze and displacement under sliders; what every metric says of them, at once.

    Args:
        pair: the scene; where it knows its truth, metrics against it are shown too.
        image: a fused image of it ``(C, H, W)`` in DN, or the truth.
        side: of the window that is looked at, the one with the most detail, PAN pixels.
    """
    r = pair.ratio
    row, column, side = (
        v // r * r for v in plotting.busiest(pair.pan, min(side, *pair.pan.shape[1:]))
    )
    fine = (slice(None), slice(row, row + side), slice(column, column + side))
    coarse = (slice(None), *(slice(s.start // r, s.stop // r) for s in fine[1:]))
    truth = None if pair.truth is None else pair.truth[fine]
    window = data.replace(pair, ms=pair.ms[coarse], pan=pair.pan[fine], truth=truth, valid=None)
    clean, bounds = image[fine], plotting.limits(pair.ms, pair.sensor.rgb)
    sliders = {
        "blur": ipywidgets.FloatSlider(0, min=0, max=2.5, step=0.25, description="blur, pixels"),
        "noise": ipywidgets.FloatSlider(0, min=0, max=0.4, step=0.02, description="noise"),
        "haze": ipywidgets.FloatSlider(0, min=0, max=0.6, step=0.05, description="haze"),
        "shift": ipywidgets.IntSlider(0, min=0, max=4, description="shift, pixels"),
    }
    screen, table = ipywidgets.HTML(), ipywidgets.HTML()

    def figures(shown: torch.Tensor) -> dict[str, float]:
        against = {} if truth is None else evaluation.against_truth(shown, window)
        return evaluation.at_full_resolution(shown, window) | against

    before = figures(clean)

    def draw(*_: object) -> None:
        shown = faults.graded(clean, **{name: slider.value for name, slider in sliders.items()})
        told = "the window with the faults that the sliders put into it"
        screen.value = _picture(plotting.picture(shown, pair.sensor.rgb, bounds), told, 384)
        lines = ["<tr><th>metric</th><th>as it was</th><th>now</th><th></th></tr>"]
        for name, now in figures(shown).items():
            change = (now - before[name]) * (1 if name in evaluation.LARGER_IS_BETTER else -1)
            same = (
                now == before[name] or abs(change) < 1e-6
            )  # an infinite PSNR minus itself is no number
            told = "" if same else "better" if change > 0 else "worse"
            lines.append(
                f"<tr><td>{name}</td><td>{before[name]:.4g}</td><td>{now:.4g}</td><td>{told}</td></tr>"
            )
        table.value = f"<table>{''.join(lines)}</table>"

    for slider in sliders.values():
        slider.observe(draw, "value")
    draw()
    return ipywidgets.HBox([ipywidgets.VBox([*sliders.values(), screen]), table])


def sentences(
    pair: Pair, supervisor: Supervisor, candidates: dict[str, torch.Tensor]
) -> ipywidgets.VBox:
    """Type a sentence: how like it each image type is, and L_d of some fused images under it.

    Args:
        pair: the scene; crops of ground that Stage I did not see are asked.
        supervisor: adapted CLIP.
        candidates: title -> fused image ``(C, H, W)`` in DN; one of them stands for HRMS in the similarities.

    Raises:
        ValueError: no candidate.
    """
    if not candidates:
        raise ValueError("a playground of sentences needs a fused image or more, found none")
    size, features = supervisor.clip.input_size, {}
    with torch.no_grad():
        for name, image in candidates.items():
            views = probes.held_out_views(pair, size, image)
            features[name] = {kind: supervisor.encode(kind, view) for kind, view in views.items()}
    known = ipywidgets.Dropdown(options=list(prompts.PROMPTS), value="wald", description="known")
    text = ipywidgets.Text(
        prompts.get("wald").hrms,
        description="sentence",
        continuous_update=False,
        layout={"width": "640px"},
    )
    table = ipywidgets.HTML()

    def draw(*_: object) -> None:
        prompt = prompts.PROMPTS[known.value]
        prompt = data.replace(prompt, hrms=text.value.strip() or prompt.hrms)
        with torch.no_grad():
            texts = supervisor.worded(prompt).encode_texts()
            lines = [
                "<tr><th>fused image</th><th>cos(image, sentence)</th><th>L<sub>d</sub></th></tr>"
            ]
            for name, images in features.items():
                likeness, loss = (
                    float((images["hrms"] @ texts["hrms"].T).mean()),
                    losses.direction(images, texts),
                )
                lines.append(
                    f"<tr><td>{html.escape(name)}</td><td>{likeness:.3f}</td><td>{float(loss):.3f}</td></tr>"
                )
            for kind in ("ms", "pan"):
                likeness = float((next(iter(features.values()))[kind] @ texts["hrms"].T).mean())
                lines.append(f"<tr><td>({kind.upper()})</td><td>{likeness:.3f}</td><td></td></tr>")
        table.value = f"<table>{''.join(lines)}</table>"

    def choose(*_: object) -> None:
        same = text.value == prompts.PROMPTS[known.value].hrms
        text.value = prompts.PROMPTS[known.value].hrms
        if same:  # other sentences of MS and PAN may have come
            draw()

    known.observe(choose, "value")
    text.observe(draw, "value")
    draw()
    return ipywidgets.VBox([known, text, table])


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
        Buttons, progress, curves and preview; its attribute ``network`` is the trained network when it is done.
    """
    begin = ipywidgets.Button(description="start", icon="play")
    halt = ipywidgets.Button(description="stop", icon="pause", disabled=True)
    bar = ipywidgets.IntProgress(0, 0, config.steps, layout={"width": "300px"})
    told = ipywidgets.Label("not started")
    curves, look = ipywidgets.HTML(), ipywidgets.HTML()
    box = ipywidgets.VBox([ipywidgets.HBox([begin, halt, bar, told]), curves, look])
    box.network, wanted = None, threading.Event()
    show, rows, drawn = plotting.preview(pair, side), [], [0.0]

    def step_done(step: int, network: torch.nn.Module, row: dict[str, float]) -> bool:
        rows[step:] = [row]
        if time.monotonic() - drawn[0] > REDRAW or step + 1 == config.steps:
            drawn[0] = time.monotonic()
            bar.value, told.value = (
                step + 1,
                f"step {step + 1} of {config.steps}, loss {row['loss']:.4f}",
            )
            curves.value = _curves(rows)
            look.value = _picture(
                show(network), f"PAN, EXP and the network's result after step {step + 1}", 640
            )
        return wanted.is_set()

    def run() -> None:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            state = Path(folder) / "dashboard.safetensors"
            box.network, _ = training.train(
                pair, config, supervisor, progress=False, on_step=step_done, checkpoint=state
            )
            told.value = f"done: {config.steps} steps"
        except KeyboardInterrupt:
            told.value = f"stopped after step {len(rows)} of {config.steps}: start goes on"
        except Exception as error:  # a thread's error would be seen nowhere
            told.value = f"failed: {error}"
        begin.disabled, halt.disabled = box.network is not None, True

    def start(_: object) -> None:
        begin.disabled, halt.disabled = True, False
        told.value = "preparing"
        wanted.clear()
        box.thread = threading.Thread(target=run, daemon=True)
        box.thread.start()

    begin.on_click(start)
    halt.on_click(lambda _: wanted.set())
    return box


def _picture(image: np.ndarray, told: str, width: int) -> str:
    """A picture ``(H, W, 3)``, uint8 or in [0, 1], as HTML with an alternative text, which ipywidgets' Image lacks."""
    if image.dtype != np.uint8:
        image = (image * 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, "jpeg", quality=88)
    return _tag(buffer, "jpeg", told, width)


def _curves(rows: list[dict[str, float]]) -> str:
    """One small plot per term, as HTML; without pyplot, which is not made for threads."""
    names = [name for name in rows[0] if not name.startswith("grad ")]
    figure = Figure(figsize=(1.8 * len(names), 1.6), layout="constrained", dpi=90)
    FigureCanvasAgg(figure)
    for axis, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        axis.plot([row[name] for row in rows], color="#0072B2", linewidth=1)
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    last = ", ".join(f"{name} {rows[-1][name]:.3g}" for name in names)
    return _tag(buffer, "png", f"terms of the loss by step, at the end {last}", 640)


def _tag(buffer: io.BytesIO, kind: str, told: str, width: int) -> str:
    content = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<img alt="{html.escape(told)}" width="{width}" src="data:image/{kind};base64,{content}">'
    )
