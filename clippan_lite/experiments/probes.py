"""Instruments that ask what an adapted CLIP knows, and whether its language reaches the fused image.

The usual figures (type accuracy, same-place retrieval, cosine of IFA to HRMS) are reached by a CLIP with random
weights too, so :func:`controls` always measures that one and an un-adapted one beside it. Text sensitivity is asked
twice: of the gradient (:func:`gradient_change`) and of the result (:func:`sentences_compared`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from clippan_lite import adaptation, data, fuse, losses, training
from clippan_lite import clip as clips
from clippan_lite.adapter import Supervisor
from clippan_lite.config import AdaptConfig, TrainConfig
from clippan_lite.data import Pair
from clippan_lite.experiments import statistics
from clippan_lite.metrics import evaluation
from clippan_lite.prompts import PromptSet

Views = dict[str, torch.Tensor]
#: Pairs of sentences that ask what a CLIP sees: without the fault, and with it.
CONTRASTS = {
    "blurred": ("a sharp image", "a blurred image"),
    "oversharpened": ("a sharp image", "an oversharpened image"),
    "noisy": ("a clean image", "a noisy image"),
    "hazy": ("a clear image", "a hazy image"),
    "grey": ("an image in colour", "an image in grey"),
    "false colours": ("an image in natural colours", "an image with false colours"),
}


def judged(pair: Pair) -> Pair:
    """The pair itself where its truth is known, else the pair one scale down, where the original MS is the truth."""
    return pair if pair.truth is not None else data.reduced(pair)


def held_out_views(
    pair: Pair,
    size: int,
    hrms: torch.Tensor | None = None,
    count: int = 48,
    seed: int = 1,
    device: str = "cpu",
) -> Views:
    """MS (interpolated), PAN and HRMS crops of ground that :func:`clippan_lite.adaptation.adapt` did not train on.

    Args:
        pair: the scene.
        size: side of a crop in PAN pixels: CLIP's input size, as in Stage I, whose split depends on it.
        hrms: image ``(C, H, W)`` in DN; None takes the pair's truth.
        count: crops, all of different places (which overlap in a small scene).
        seed: of their places.
        device: where they are made.

    Returns:
        kind -> ``(count, C or 1, size, size)``, scaled as in :class:`clippan_lite.data.Patches`.

    Raises:
        ValueError: no ``hrms`` and no truth, or the scene is too small for a held-out crop of that size.
    """
    if hrms is None and pair.truth is None:
        raise ValueError(
            f"{pair.name} has no truth: pass hrms, such as classical.fuse('BDSD', pair), or judged(pair)"
        )
    patches = data.Patches(
        pair, size, "held-out", {"hrms": pair.truth if hrms is None else hrms}, device
    )
    if patches.size < size:
        raise ValueError(
            f"{pair.name}, {pair.pan.shape[-2]} x {pair.pan.shape[-1]} PAN pixels, gives held-out crops of "
            f"{patches.size}, expected {size}: use a scene at least {2 * size + 32} wide, or a CLIP of smaller input"
        )
    batch = patches.sample(count, torch.Generator().manual_seed(seed), distinct=True)
    return {"ms": batch["exp"], "pan": batch["pan"], "hrms": batch["hrms"]}


@torch.no_grad()
def figures(supervisor: Supervisor, views: Views) -> dict[str, float]:
    """What a supervisor gets right on held-out crops.

    Returns:
        dict: ``type accuracy`` (chance 1/3), ``same place`` (share of HRMS crops whose nearest PAN crop is their own;
        chance 1 / crops; neighbours that overlap make it harder), ``cos(IFA, HRMS)`` (means nothing before Stage I)
        and ``direction cosine`` (1 - L_d of the HRMS crops), both in [-1, 1].
    """
    images = {kind: supervisor.encode(kind, view) for kind, view in views.items()}
    texts = supervisor.encode_texts()
    anchors = torch.cat([texts[kind] for kind in losses.KINDS])
    hits = [
        ((images[kind] @ anchors.T).argmax(1) == i).float().mean()
        for i, kind in enumerate(losses.KINDS)
    ]
    nearest = (images["hrms"] @ images["pan"].T).argmax(1)
    joined = supervisor.image_fusion(images["ms"], images["pan"])
    return {
        "type accuracy": float(torch.stack(hits).mean()),
        "same place": float(
            (nearest == torch.arange(len(nearest), device=nearest.device)).float().mean()
        ),
        "cos(IFA, HRMS)": float((joined * images["hrms"]).sum(-1).mean()),
        "direction cosine": 1 - float(losses.direction(images, texts)),
    }


def unadapted(pair: Pair, clip: clips.Clip, prompts: PromptSet, device: str = "cpu") -> Supervisor:
    """The supervisor before Stage I: red, green and blue into CLIP, CLIP's own features out, adapters left aside."""
    torch.manual_seed(0)  # of the stems' branch, which begins near 0
    supervisor = Supervisor(
        clip, prompts, pair.bands, pair.sensor.rgb, image_share=0.0, text_share=0.0
    )
    supervisor.calibrate(pair)
    return supervisor.to(device).eval().requires_grad_(False)


@torch.no_grad()
def word_answers(supervisor: Supervisor, views: Views) -> dict[str, float]:
    """Share of HRMS crops that CLIP calls by the second of two sentences (:data:`CONTRASTS`), in [0, 1], by fault."""
    images = supervisor.encode("hrms", views["hrms"])
    answers = {}
    for name, pair_of_texts in CONTRASTS.items():
        texts = supervisor.clip.encode_text(list(pair_of_texts))
        answers[name] = float(((images @ texts.T).diff(dim=1) > 0).float().mean())
    return answers


def controls(
    pair: Pair,
    clip: clips.Clip,
    prompts: PromptSet,
    config: AdaptConfig | None = None,
    seeds: Sequence[int] = (0,),
    views: Views | None = None,
    device: str = "cpu",
    ready: dict[int, Supervisor] | None = None,
    progress: bool = False,
) -> dict[str, list[dict[str, float]]]:
    """:func:`figures` of the adapted CLIP, of the same CLIP un-adapted, and of random weights adapted alike.

    Args:
        pair: the scene.
        clip: frozen CLIP.
        prompts: the three sentences.
        config: Stage I's settings.
        seeds: of Stage I, one row of figures each.
        views: from :func:`held_out_views`; None takes the truth of ``pair``.
        device: the one that CLIP is on.
        ready: seed -> supervisor already adapted with these settings and that seed.
        progress: show Stage I's bars.

    Returns:
        name -> one table per seed.
    """
    config = config or AdaptConfig()
    views = views or held_out_views(pair, clip.input_size, device=device)
    before = figures(
        unadapted(pair, clip, prompts, device), views
    )  # no seed in it: the same row for each
    rows: dict[str, list[dict[str, float]]] = {
        "adapted": [], "un-adapted": [before] * len(seeds), "random weights, adapted": []
    }  # fmt: skip
    for seed in seeds:
        seeded = replace(config, seed=seed)
        torch.manual_seed(seed)
        knows_nothing = clips.load_clip(clip.name, None, device, random_weights=True)
        models = {
            "adapted": (ready or {}).get(seed) or adaptation.adapt(pair, clip, prompts, seeded, device, progress)[0],
            "random weights, adapted": adaptation.adapt(pair, knows_nothing, prompts, seeded, device, progress)[0],
        }  # fmt: skip
        for name, model in models.items():
            rows[name].append(figures(model, views))
    return rows


def direction_gradient(supervisor: Supervisor, views: Views, tokens: bool = False) -> torch.Tensor:
    """Gradient of L_d at the fused image, ``(B, C, s, s)``: what the sentence asks the network to change."""
    fused = views["hrms"].clone().requires_grad_()
    loss = losses.language(
        supervisor, fused, views["ms"], views["pan"], supervisor.encode_texts(), tokens
    )
    return torch.autograd.grad(loss, fused)[0]


def gradient_change(
    one: Supervisor, other: Supervisor, views: Views, tokens: bool = False
) -> dict[str, float]:
    """How far L_d's gradient at the fused image differs between two supervisors (two sentences).

    Returns:
        dict: ``cosine`` of the two gradients (1: the same pull, 0: unrelated, -1: opposite), mean over crops, and
        ``norm ratio``, the second's length by the first's.
    """
    first, second = (direction_gradient(s, views, tokens).flatten(1) for s in (one, other))
    cosine = torch.nn.functional.cosine_similarity(first, second, dim=1).mean()
    return {
        "cosine": float(cosine),
        "norm ratio": float(second.norm(dim=1).mean() / first.norm(dim=1).mean()),
    }


def sentences_compared(
    pair: Pair,
    supervisors: dict[str, Supervisor | None],
    config: TrainConfig,
    seeds: Sequence[int] = (0, 1, 2),
    device: str = "cpu",
    progress: bool = False,
) -> dict[str, dict]:
    """Networks trained on a pair with truth under different supervisors, everything else alike, seed by seed.

    Args:
        pair: a pair with truth (which training does not look at), see :func:`judged`.
        supervisors: name -> supervisor, None for training without L_d; the first is compared with the others.
        config: Stage II's settings.
        seeds: of Stage II.
        device: where to compute.
        progress: show bars.

    Returns:
        name -> ``{"tables": [one per seed], "effect": paired difference first minus this one with its 95 % interval
        (over Stage II's seeds only: each supervisor is one run of Stage I),
        "change": root mean square difference of the two fused images as a share of that between seeds}``; the last two
        are None for the first name, and "change" for a single seed.

    Raises:
        ValueError: the pair has no truth, or L_d has no weight.
    """
    if pair.truth is None:
        raise ValueError(f"{pair.name} has no truth: pass probes.judged(pair)")
    if not seeds:
        raise ValueError("expected at least one seed, found none")
    if not supervisors or config.direction <= 0:
        raise ValueError(
            f"expected supervisors and config.direction above 0, found {config.direction}: no L_d, no effect"
        )
    tables, fused = {}, {}
    for name, supervisor in supervisors.items():
        weight = 0.0 if supervisor is None else config.direction
        settings = [replace(config, seed=seed, direction=weight) for seed in seeds]
        fused[name] = [
            fuse.fuse_pair(
                training.train(pair, s, supervisor, device=device, progress=progress)[0], pair
            )
            for s in settings
        ]
        tables[name] = [evaluation.against_truth(image, pair) for image in fused[name]]
    first = next(iter(supervisors))

    def rms(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a - b).pow(2).mean().sqrt())

    pairs = [(i, j) for i in range(len(seeds)) for j in range(i)]
    between_seeds = (
        np.mean([rms(fused[first][i], fused[first][j]) for i, j in pairs]) if pairs else None
    )
    result = {}
    for name in supervisors:
        compared = name != first
        moved = np.mean([rms(a, b) for a, b in zip(fused[first], fused[name], strict=True)])
        result[name] = {
            "tables": tables[name],
            "effect": statistics.paired_effect(tables[first], tables[name]) if compared else None,
            "change": float(moved / between_seeds) if compared and between_seeds else None,
        }
    return result


@torch.no_grad()
def feature_map(supervisor: Supervisor, views: Views) -> list[torch.Tensor]:
    """Crops ``(3 * B, 2)`` and sentences ``(3, 2)`` on two principal axes, in the order of ``losses.KINDS``."""
    features = torch.cat([supervisor.encode(kind, views[kind]) for kind in losses.KINDS]).cpu()
    texts = supervisor.encode_texts()
    texts = torch.cat([texts[kind] for kind in losses.KINDS]).cpu()
    flat = _principal(features)
    return [flat(features), flat(texts)]


def _principal(points: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Projection onto the two principal axes of some points ``(n, d)``, whose signs do not depend on the machine."""
    centre = points.mean(0)
    axes = torch.linalg.svd(points - centre, full_matrices=False)[2][:2]
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    return lambda x: ((x - centre) @ axes.T).cpu()


@torch.no_grad()
def displacements(
    supervisor: Supervisor, pair: Pair, images: dict[str, torch.Tensor]
) -> dict[str, dict]:
    """Where fused images lie from MS and PAN in CLIP's feature space: the vectors that L_d turns.

    Args:
        supervisor: adapted CLIP.
        pair: the scene.
        images: title -> fused image ``(C, H, W)`` in DN, such as a network's at several steps.

    Returns:
        title -> ``"crops"``: kind -> ``(n, 2)``, ``"texts"``: kind -> ``(2,)``, on two principal axes of all titles'
        crops; and ``"cosine"``: 1 - L_d, of all axes.
    """
    size, texts = supervisor.clip.input_size, supervisor.encode_texts()
    device = next(iter(texts.values())).device
    features = {}
    for title, image in images.items():
        views = held_out_views(pair, size, image, device=device)
        features[title] = {kind: supervisor.encode(kind, view) for kind, view in views.items()}
    flat = _principal(
        torch.cat([feature for kinds in features.values() for feature in kinds.values()])
    )
    return {
        title: {
            "crops": {kind: flat(x) for kind, x in kinds.items()},
            "texts": {kind: flat(x)[0] for kind, x in texts.items()},
            "cosine": 1 - float(losses.direction(kinds, texts)),
        }
        for title, kinds in features.items()
    }
