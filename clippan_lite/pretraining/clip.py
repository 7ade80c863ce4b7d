"""Train the small CLIP that ships with the package, from scratch, on procedural scenes.

``python -m clippan_lite.pretraining.clip`` writes ``bundled_clip.safetensors`` (fp16) and
``bundled_clip.json`` (architecture, vocabulary, provenance) into a folder.

Every training image has known attributes (:data:`clippan_lite.pretraining.captions.SLOTS`), and
every caption states some of them. So it is known which captions of a batch are true of which
images, false, or neither for sure, and the contrast uses all true pairs as positives instead of the
diagonal: "a sharp image" is then no negative of another sharp image.

There are three terms: whole captions (:func:`contrast`), the values of one attribute against each
other (:func:`slot_contrast`), and the same against *anchors*, one free vector per value, for images
and for texts. With 1400 words, images and texts wait for each other. The anchors let both learn
from the first step on, and are thrown away afterwards.
"""

import argparse
import hashlib
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from clippan_lite import callbacks, clip
from clippan_lite.pretraining.captions import SLOTS, VALUES, WORDS, caption, vocabulary
from clippan_lite.pretraining.crops import Batches, draw
from clippan_lite.pretraining.ground import SIZE, Pool
from clippan_lite.runtime import files
from clippan_lite.runtime.state import TrainingState

Config = dict[str, Any]  # content of a JSON file, thus of any type
ARCHITECTURE: Config = {
    "embed_dim": 128,
    "vision_cfg": {
        "layers": 4,
        "width": 128,
        "head_width": 32,
        "patch_size": 8,
        "image_size": SIZE,
        "pool_type": "avg",
    },
    "text_cfg": {"context_length": 40, "width": 128, "heads": 4, "layers": 2},
    "mean": [0.40, 0.40, 0.40],
    "std": [0.25, 0.25, 0.25],
}
#: Share of patches that training leaves out of each image. All faults show everywhere, and it
#: halves a step's time.
PATCH_DROPOUT = 0.5
ANCHOR_SCALE = 20.0
#: Slots whose values are told apart by name; amounts ("slightly", "strongly") are left to whole
#: captions.
NAMED = [slot for slot in SLOTS if not slot.endswith("_amount")]


def contrast(
    image: torch.Tensor, text: torch.Tensor, truth: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Multi-positive InfoNCE both ways, floor 0.

    Args:
        image: unit features ``(N, d)``. An image of which no caption is true does not count.
        text: unit features ``(M, d)``.
        truth: ``(N, M)``: 1 true, 0 false, -1 cannot be told, neither positive nor negative.
        scale: multiplies the cosines.
    """
    logits = (scale * image @ text.T).masked_fill(truth < 0, -1e4)
    return _one_way(logits, truth == 1) + _one_way(logits.T, truth.T == 1)


def _one_way(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of rows against their true columns, all alike, less its smallest value."""
    count = truth.sum(1)
    target = truth.float() / count.clamp(min=1)[:, None]
    floor = -count.clamp(min=1).log()
    loss = -(target * logits.log_softmax(1)).sum(1) + floor
    return loss[count > 0].mean()


def slot_attributes() -> torch.Tensor:
    """What each of :func:`slot_texts` says, ``(texts, len(SLOTS))``.

    A row has one value of one slot, and -1 elsewhere.
    """
    stated = [(SLOTS.index(slot), value) for slot in NAMED for value in range(len(VALUES[slot]))]
    columns, values = torch.tensor(stated).T
    rows = torch.full((len(stated), len(SLOTS)), -1)
    rows[torch.arange(len(rows)), columns] = values
    return rows


def slot_texts(rng: np.random.Generator) -> list[str]:
    """One caption per value of each named slot that says nothing else, as NAMED and VALUES."""
    return [caption(only, rng)[0] for only in slot_attributes().numpy()]


def slot_contrast(
    image: torch.Tensor, text: torch.Tensor, attributes: torch.Tensor, scale: torch.Tensor | float
) -> torch.Tensor:
    """Mean over slots of the cross-entropy of features against the captions of the slot's values.

    It sets the threshold between two words ("sharp", "blurred"), which the contrast over whole
    captions leaves open. Values count alike whatever their frequency.

    Args:
        image: unit features ``(N, d)``.
        text: unit features of :func:`slot_texts`, or anchors in that order.
        attributes: ``(N, len(SLOTS))``, -1 where unknown.
        scale: multiplies the cosines.
    """
    terms = []
    for slot, values in zip(NAMED, text.split([len(VALUES[s]) for s in NAMED]), strict=True):
        has = attributes[:, SLOTS.index(slot)]
        known = has >= 0
        if known.any():
            weight = 1 / has[known].bincount(minlength=len(values)).clamp(min=1)
            logits = scale * image[known] @ values.T
            terms.append(F.cross_entropy(logits, has[known], weight=weight.float()))
    return torch.stack(terms).mean()


@torch.no_grad()
def held_out_figures(student: clip.Clip, seed: int, count: int = 1024) -> dict[str, float]:
    """Zero-shot accuracy on held-out ground, per slot: each value's plainest wording to choose.

    It is the mean of the per-value accuracies, so chance is 1 / number of values whatever their
    frequency.
    """
    pool, rng = Pool(seed + 7919, 12, progress=False), np.random.default_rng(seed + 1)
    images, attributes = zip(*(draw(pool, rng) for _ in range(count)), strict=True)
    features, figures = student.encode_image(torch.stack(images)), {}
    for slot, has in zip(SLOTS, torch.tensor(np.array(attributes)).T, strict=True):
        frame = "a {} image" if slot == "type" else "an image, {}"
        texts = [frame.format(wordings[0]) for wordings in WORDS[slot].values()]
        answers = (features @ student.encode_text(texts).T).argmax(1)
        values = has[has >= 0].unique()
        hits = [(answers[has == value] == value).float().mean() for value in values]
        figures[slot] = round(float(torch.stack(hits).mean()), 3)
    return figures


def train(
    steps: int = 2100,
    batch: int = 256,
    seed: int = 0,
    grounds: int = 160,
    lr: float = 1.5e-3,
    checkpoint: Path | None = None,
    every: int = 100,
) -> tuple[torch.nn.Module, Config, Config]:
    """Train from scratch, or go on from a checkpoint of the same settings.

    Args:
        steps: optimiser steps, at least 1.
        batch: images per step, at least 4.
        seed: of weights, ground and captions.
        grounds: procedural pictures that crops are cut from, at least 4.
        lr: AdamW's peak learning rate.
        checkpoint: file to keep the state in; None keeps none.
        every: steps between two states kept. One is kept at an interruption, too.

    Returns:
        model in evaluation mode, config (architecture and words), provenance (settings and
        figures).

    Raises:
        ValueError: a count is too small, or the checkpoint is of other settings.
        KeyboardInterrupt: interrupted between two steps, after the state was kept.
    """
    for name, found, least in (("steps", steps, 1), ("batch", batch, 4), ("grounds", grounds, 4)):
        if found < least:
            raise ValueError(f"{name} must be at least {least}, found {found}")
    torch.manual_seed(seed)
    config = {**ARCHITECTURE, "words": vocabulary()}
    vision = {**ARCHITECTURE["vision_cfg"], "patch_dropout": PATCH_DROPOUT}
    model, tokenizer = clip.build_bundled({**config, "vision_cfg": vision})
    student = clip.assembled(model.train(), tokenizer, config, "bundled", "in training")
    single = slot_attributes()
    anchors = torch.nn.Parameter(0.1 * torch.randn(len(single), config["embed_dim"]))
    parameters = [*model.parameters(), anchors]
    optimiser = torch.optim.AdamW(parameters, lr, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, max(steps, 20), pct_start=0.1)
    settings = {"steps": steps, "batch": batch, "seed": seed, "grounds": grounds, "lr": lr}
    state = TrainingState(checkpoint, settings, parameters, optimiser, schedule, every=every)
    done, history = state.restore()
    made = Batches(Pool(seed, grounds), seed, batch, batch // 2)
    # One worker process makes the batches beside the training.
    loader = DataLoader(
        made, batch_size=None, sampler=range(done, steps), num_workers=1, prefetch_factor=4
    )
    batches = iter(loader)
    progress = callbacks.Steps(steps, "CLIP", True, done)
    begun = time.monotonic()
    for step in progress:
        torch.manual_seed(seed * 1_000_003 + step)  # patch dropout, the same after a restart
        if step >= 0.85 * steps:  # the last steps see whole images, as users will
            model.visual.patch_dropout.prob = 0.0
        images, captions, truth, attributes = next(batches)
        image = student.encode_image(images)
        texts = [*captions, *slot_texts(np.random.default_rng([seed, step, 1]))]
        text = F.normalize(model.encode_text(tokenizer(texts)), dim=-1)
        whole, named = text.split([len(captions), len(single)])
        free, scale = F.normalize(anchors, dim=-1), model.logit_scale.exp().clamp(max=50)
        terms = {
            "captions": contrast(image, whole, truth, scale),
            "slots": 2 * slot_contrast(image, named, attributes, scale),
            "images": 2 * slot_contrast(image, free, attributes, ANCHOR_SCALE),
            "texts": slot_contrast(named, free, single, ANCHOR_SCALE),
        }
        optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        row = callbacks.read_row(step, terms)
        begun, seconds = time.monotonic(), time.monotonic() - begun
        history.append({**row, "seconds taken": seconds})
        state.finish(step, history, progress.finish(step, row, model))
    model.eval()
    minutes = sum(row["seconds taken"] for row in history) / 60
    recent = {name: float(np.mean([row[name] for row in history[-20:]])) for name in terms}
    provenance = {
        **settings,
        "images": steps * batch,
        "minutes": round(minutes, 1),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "losses_last_20": {name: round(value, 3) for name, value in recent.items()},
        "zero_shot_held_out_procedural": held_out_figures(student, seed),
    }
    return model, config, provenance


def save(model: torch.nn.Module, config: Config, provenance: Config, folder: Path) -> None:
    """Write fp16 weights and the JSON beside them."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / clip.BUNDLED.name
    with files.replacing(weights) as part:
        save_file({k: v.half().contiguous() for k, v in model.state_dict().items()}, part)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    facts = {**config, "provenance": provenance, "sha256": digest}
    files.write_json(weights.with_suffix(".json"), facts)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the included CLIP on procedural scenes.")
    parser.add_argument("--steps", type=int, default=2100)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--grounds", type=int, default=160, help="procedural pictures that crops are cut from"
    )
    parser.add_argument("--out", type=Path, default=Path("bundled_clip"), help="weights folder")
    settings = vars(parser.parse_args())
    out: Path = settings.pop("out")
    checkpoint = out / "pretrain_checkpoint.safetensors"
    try:
        model, config, provenance = train(**settings, checkpoint=checkpoint)
    except KeyboardInterrupt as stop:
        raise SystemExit(str(stop) or "stopped: the same command goes on") from None
    except ValueError as error:
        parser.error(str(error))
    save(model, config, provenance, out)
    checkpoint.unlink(missing_ok=True)
    print(json.dumps(provenance, indent=1))
    print(f'load_clip("bundled", pretrained="{out / clip.BUNDLED.name}") loads it')


if __name__ == "__main__":
    main()
