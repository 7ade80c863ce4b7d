"""What an adapted CLIP knows, and whether its language reaches the fused image.

A CLIP with random weights reaches the usual figures (type accuracy, same place, cosine of IFA to
HRMS) too. So :func:`controls` always measures that one and an un-adapted one beside it. Text
sensitivity is asked twice: of the gradient (:func:`gradient_change`) and of the result
(:func:`sentences_compared`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import torch
from torch.nn import functional as F

from clippan_lite import adaptation, data, fusion, losses, training
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
    """The pair itself where its truth is known, else one scale down, where MS is the truth."""
    return pair if pair.truth is not None else data.reduced(pair)


def held_out_views(
    pair: Pair,
    size: int,
    hrms: torch.Tensor | None = None,
    count: int = 48,
    seed: int = 1,
    device: str | torch.device = "cpu",
) -> Views:
    """MS (interpolated), PAN and HRMS crops of ground that Stage I did not train on.

    Args:
        pair: the scene.
        size: side of a crop in PAN pixels: CLIP's input size, as in Stage I, whose split depends
            on it.
        hrms: image ``(C, H, W)`` in DN; None takes the pair's truth.
        count: crops, all of different places (which overlap in a small scene).
        seed: of their places.
        device: where they are made.

    Returns:
        kind -> ``(count, C or 1, size, size)``, scaled as in :class:`clippan_lite.data.Patches`.

    Raises:
        ValueError: no ``hrms`` and no truth, or the scene is too small for a held-out crop.
    """
    hrms = pair.truth if hrms is None else hrms
    if hrms is None:
        raise ValueError(
            f"{pair.name} has no truth: pass hrms, such as classical.fuse('BDSD', pair), or take "
            "judged(pair)"
        )
    patches = data.Patches(pair, size, "held-out", {"hrms": hrms}, device)
    if patches.size < size:
        height, width = pair.pan.shape[-2:]
        raise ValueError(
            f"{pair.name}, {height} x {width} PAN pixels, gives held-out crops of {patches.size}, "
            f"expected {size}: use a scene at least {2 * size + 32} wide, or a CLIP of smaller "
            "input"
        )
    batch = patches.sample(count, torch.Generator().manual_seed(seed), distinct=True)
    return {"ms": batch["exp"], "pan": batch["pan"], "hrms": batch["hrms"]}


@torch.no_grad()
def figures(supervisor: Supervisor, views: Views) -> dict[str, float]:
    """What a supervisor gets right on held-out crops.

    Returns:
        ``type accuracy`` (chance 1/3), ``same place`` (share of HRMS crops whose nearest PAN crop
        is their own; chance 1 / crops; neighbours that overlap make it harder), ``cos(IFA, HRMS)``
        (means nothing before Stage I) and ``direction cosine`` (1 - L_d of the HRMS crops), both in
        [-1, 1].
    """
    images = supervisor.encode_all(views)
    guide = losses.Guide.of(supervisor)
    anchors = torch.cat([guide.texts[kind] for kind in losses.KINDS])
    nearest_type = [(images[kind] @ anchors.T).argmax(1) for kind in losses.KINDS]
    hits = [(found == i).float().mean() for i, found in enumerate(nearest_type)]
    nearest = (images["hrms"] @ images["pan"].T).argmax(1)
    own = torch.arange(len(nearest), device=nearest.device)
    joined = supervisor.image_fusion(images["ms"], images["pan"])
    return {
        "type accuracy": float(torch.stack(hits).mean()),
        "same place": float((nearest == own).float().mean()),
        "cos(IFA, HRMS)": float((joined * images["hrms"]).sum(-1).mean()),
        "direction cosine": 1 - float(losses.direction_of_features(images, guide)),
    }


def unadapted(pair: Pair, clip: clips.Clip, prompts: PromptSet, device: str = "cpu") -> Supervisor:
    """The supervisor before Stage I.

    Red, green and blue go into CLIP, CLIP's own features come out. Adapters are left aside.
    """
    torch.manual_seed(0)  # of the stems' branch, which begins near 0
    no_adapters = AdaptConfig(image_share=0.0, text_share=0.0)
    supervisor = adaptation.make_supervisor(pair, clip, prompts, no_adapters)
    return supervisor.to(device).eval().requires_grad_(False)


@torch.no_grad()
def word_answers(supervisor: Supervisor, views: Views) -> dict[str, float]:
    """Share of HRMS crops that CLIP calls by the second of two sentences, in [0, 1], by fault.

    The sentences are :data:`CONTRASTS`.
    """
    images = supervisor.encode("hrms", views["hrms"])
    answers = {}
    for name, sentences in CONTRASTS.items():
        texts = supervisor.clip.encode_text(list(sentences))
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
    ready: Mapping[int, Supervisor] | None = None,
    progress: bool = False,
) -> dict[str, list[dict[str, float]]]:
    """:func:`figures` of the adapted CLIP and of its two controls.

    The controls are the same CLIP un-adapted, and random weights adapted alike.

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
    config, ready = config or AdaptConfig(), ready or {}
    views = views or held_out_views(pair, clip.input_size, device=device)
    before = figures(unadapted(pair, clip, prompts, device), views)
    adapted, blind = [], []
    for seed in seeds:
        seeded = config.changed(seed=seed)
        torch.manual_seed(seed)
        knows_nothing = clips.load_clip(clip.name, None, device, random_weights=True)
        model = ready.get(seed)
        if model is None:
            model, _ = adaptation.adapt(pair, clip, prompts, seeded, device, progress)
        adapted.append(figures(model, views))
        model, _ = adaptation.adapt(pair, knows_nothing, prompts, seeded, device, progress)
        blind.append(figures(model, views))
    # No seed is in the un-adapted CLIP: its row is the same for each.
    return {
        "adapted": adapted,
        "un-adapted": [before] * len(seeds),
        "random weights, adapted": blind,
    }


def direction_gradient(supervisor: Supervisor, views: Views, tokens: bool = False) -> torch.Tensor:
    """Gradient of L_d at the fused image, ``(B, C, s, s)``: what the sentence asks to change."""
    fused = views["hrms"].clone().requires_grad_()
    images = {**views, "hrms": fused}
    features = supervisor.encode_all(images, tokens)
    loss = losses.direction_of_features(features, losses.Guide.of(supervisor))
    return torch.autograd.grad(loss, fused)[0]


def gradient_change(
    one: Supervisor, other: Supervisor, views: Views, tokens: bool = False
) -> dict[str, float]:
    """How far L_d's gradient at the fused image differs between two supervisors (two sentences).

    Returns:
        ``cosine`` of the two gradients (1: the same pull, 0: unrelated, -1: opposite), mean over
        crops, and ``norm ratio``, the second's length by the first's.
    """
    first, second = (direction_gradient(s, views, tokens).flatten(1) for s in (one, other))
    return {
        "cosine": float(F.cosine_similarity(first, second, dim=1).mean()),
        "norm ratio": float(second.norm(dim=1).mean() / first.norm(dim=1).mean()),
    }


def sentences_compared(
    pair: Pair,
    supervisors: Mapping[str, Supervisor | None],
    config: TrainConfig,
    seeds: Sequence[int] = (0, 1, 2),
    device: str = "cpu",
    progress: bool = False,
) -> dict[str, dict]:
    """Networks trained on a pair with truth under different supervisors, seed by seed.

    Everything but the supervisor is alike.

    Args:
        pair: a pair with truth (which training does not look at), see :func:`judged`.
        supervisors: name -> supervisor, None for training without L_d. The first is compared with
            the others.
        config: Stage II's settings.
        seeds: of Stage II.
        device: where to compute.
        progress: show bars.

    Returns:
        name -> ``{"tables": one per seed, "effect": paired, first minus this one, "change": root
        mean square difference of the two fused images as a share of that between seeds}``. The
        interval of ``effect`` is over Stage II's seeds only, because each supervisor is one run of
        Stage I. The first name has None for the last two, and a single seed for ``change``.

    Raises:
        ValueError: the pair has no truth, or L_d has no weight.
    """
    if pair.truth is None:
        raise ValueError(f"{pair.name} has no truth: pass probes.judged(pair)")
    if not seeds:
        raise ValueError("expected at least one seed, found none")
    weight = config.weight("direction")
    if not supervisors or not weight:
        raise ValueError(
            f"expected supervisors and the weight direction above 0, found {weight}: no L_d, no "
            "effect"
        )
    fused: dict[str, list[torch.Tensor]] = {name: [] for name in supervisors}
    for name, supervisor in supervisors.items():
        for seed in seeds:
            settings = config.changed(seed=seed, direction=weight if supervisor else 0.0)
            network, _ = training.train(
                pair, settings, supervisor, device=device, progress=progress
            )
            fused[name].append(fusion.fuse(pair, network))
    tables = {
        name: [evaluation.against_truth(image, pair) for image in images]
        for name, images in fused.items()
    }
    first, *others = supervisors
    between_seeds = _mean_rms(combinations(fused[first], 2))
    result: dict[str, dict] = {first: {"tables": tables[first], "effect": None, "change": None}}
    for name in others:
        change = _mean_rms(zip(fused[first], fused[name], strict=True))
        result[name] = {
            "tables": tables[name],
            "effect": statistics.paired_effects(tables[first], tables[name]),
            "change": change / between_seeds if between_seeds else None,
        }
    return result


def _mean_rms(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Root mean square difference, mean over pairs of images; 0 for no pairs."""
    found = [float((a - b).pow(2).mean().sqrt()) for a, b in pairs]
    return float(np.mean(found)) if found else 0.0


@torch.no_grad()
def feature_map(supervisor: Supervisor, views: Views) -> list[torch.Tensor]:
    """Crops ``(3 * B, 2)`` and sentences ``(3, 2)`` on two principal axes of the crops.

    Kinds come in the order of ``losses.KINDS``.
    """
    texts = supervisor.encode_texts()
    features = torch.cat([supervisor.encode(kind, views[kind]) for kind in losses.KINDS])
    project = _principal(features)
    return [project(features), project(torch.cat([texts[kind] for kind in losses.KINDS]))]


def _principal(points: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Projection onto two principal axes of points ``(n, d)``, with signs alike on all machines."""
    centre = points.mean(0)
    axes = torch.linalg.svd(points - centre, full_matrices=False)[2][:2]
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()

    def project(x: torch.Tensor) -> torch.Tensor:
        return ((x - centre) @ axes.T).cpu()

    return project


@torch.no_grad()
def displacements(
    supervisor: Supervisor, pair: Pair, images: Mapping[str, torch.Tensor]
) -> dict[str, dict]:
    """Where fused images lie from MS and PAN in CLIP's feature space: the vectors L_d turns.

    Args:
        supervisor: adapted CLIP.
        pair: the scene.
        images: title -> fused image ``(C, H, W)`` in DN, such as a network's at several steps.

    Returns:
        title -> ``"crops"``: kind -> ``(n, 2)``, ``"texts"``: kind -> ``(2,)``, on two principal
        axes of all titles' crops; and ``"cosine"``: 1 - L_d, of all axes.
    """
    size, guide = supervisor.clip.input_size, losses.Guide.of(supervisor)
    device = guide.texts["hrms"].device
    features = {}
    for title, image in images.items():
        views = held_out_views(pair, size, image, device=device)
        features[title] = supervisor.encode_all(views)
    project = _principal(
        torch.cat([torch.cat(list(kinds.values())) for kinds in features.values()])
    )
    texts = {kind: project(text)[0] for kind, text in guide.texts.items()}
    return {
        title: {
            "crops": {kind: project(x) for kind, x in kinds.items()},
            "texts": texts,
            "cosine": 1 - float(losses.direction_of_features(kinds, guide)),
        }
        for title, kinds in features.items()
    }
