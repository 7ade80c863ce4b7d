"""One measurement: an experiment as a plain function, and what it depends on."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from clippan_lite import classical, fusion
from clippan_lite import clip as clips
from clippan_lite.experiments import probes, scenes
from clippan_lite.experiments.experiment import Experiment
from clippan_lite.experiments.run import Run
from clippan_lite.metrics import evaluation
from clippan_lite.runtime import devices, files


def measure(experiment: Experiment) -> dict[str, float]:
    """Fuse as the experiment says, and judge the result.

    A scene whose truth is known is fused at its own scale, and judged with and without truth. A
    real scene is fused twice: at full resolution, judged without truth, and one scale down (Wald's
    protocol), where MS is the truth.

    Args:
        experiment: what to do.

    Returns:
        Metrics by name: with truth ``PSNR``, ``ERGAS``, ``SAM``, ``Q2n``; without it ``D_lambda``,
        ``D_s``, ``QNR``, ``D_lambda_K``, ``HQNR``, ``D_rho``; of Stage I, where there is one, on
        held-out crops of the scene judged with truth ``type accuracy`` and ``direction cosine``;
        and ``minutes``.

    Raises:
        ValueError, FileNotFoundError: settings or a scene that cannot be used, in one line.
    """
    begun = time.perf_counter()
    experiment.check()
    experiment = replace(experiment, device=devices.pick(experiment.device))
    judged_scene = experiment.test_scene or experiment.scene
    known = not experiment.pan and scenes.has_truth(judged_scene)
    at_truth = "full" if known else "reduced"
    scales = {"full": ["full"], "truth": [at_truth], "both": [at_truth, "full"]}
    row: dict[str, float] = {}
    for scale in dict.fromkeys(scales[experiment.scale]):
        run = Run(experiment, scale=scale)
        pair = run.load(judged_scene, scale)
        if experiment.method:
            fused = classical.fuse(experiment.method, pair)
        else:
            fused = fusion.fuse(pair, run.network())
        if pair.truth is not None:
            row |= evaluation.against_truth(fused, pair)
        if scale == "full":
            row |= evaluation.at_full_resolution(fused, pair)
        guided = not experiment.method and experiment.train.needs("supervisor")
        if guided and run.pair.truth is not None:
            views = probes.held_out_views(run.pair, run.clip.input_size, device=run.device)
            figures = probes.figures(run.supervisor, views)
            row |= {name: figures[name] for name in ("type accuracy", "direction cosine")}
    return {**row, "minutes": (time.perf_counter() - begun) / 60}


def data_hash(experiment: Experiment) -> str:
    """Hash of what all scenes hold, and of a CLIP's weights that are not ours.

    A synthetic scene stands for itself: its generator makes it anew.
    """
    found = []
    for scene in filter(None, (experiment.scene, experiment.test_scene)):
        paths = scenes.files_of(scene)
        found.append(scenes.content_hash(paths) if paths else scene)
    if experiment.pan:
        found[0] = scenes.content_hash([Path(experiment.pan), Path(experiment.ms)])
    if experiment.clip != "bundled" or experiment.clip_pretrained:
        found.append(clips.weights_stamp(experiment.clip, experiment.clip_pretrained))
    return "+".join(found)


def write_row(
    path: str | os.PathLike[str], settings: Mapping[str, object], row: Mapping[str, float]
) -> None:
    """Keep a row and the flat settings that made it as JSON."""
    files.write_json(Path(path), {"settings": dict(settings), "row": dict(row)})
