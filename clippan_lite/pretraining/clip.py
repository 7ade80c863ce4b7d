"""Train the small CLIP that ships with the package, from scratch, on procedural scenes with captions.

Run ``python -m clippan_lite.pretraining.clip``; it writes ``bundled_clip.safetensors`` (fp16) and ``bundled_clip.json``
(architecture, vocabulary, provenance) into ``clippan_lite/weights``.

Every training image has known attributes (:data:`clippan_lite.pretraining.captions.SLOTS`), and every caption states some of them.
So it is known which captions of a batch are true of which images, false, or neither for sure, and the contrast uses all
true pairs as positives instead of the diagonal: "a sharp image" is then no negative of another sharp image.

Three terms: whole captions (:func:`contrast`), the values of one attribute against each other (:func:`slot_contrast`),
and the same against *anchors*, one free vector per value, for images and for texts. With 1400 words, images and texts
wait for each other: the anchors, thrown away afterwards, let both learn from the first step on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from clippan_lite import checkpoints, clip
from clippan_lite.pretraining.captions import SLOTS, VALUES, WORDS, caption, vocabulary
from clippan_lite.pretraining.crops import Batches, draw
from clippan_lite.pretraining.ground import SIZE, Pool
from clippan_lite.runtime import files

ARCHITECTURE = {
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
#: Share of patches that training leaves out of each image: all faults show everywhere, and it halves a step's time.
PATCH_DROPOUT = 0.5
ANCHOR_SCALE = 20.0


def contrast(
    image: torch.Tensor, text: torch.Tensor, truth: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Multi-positive InfoNCE both ways, floor 0.

    Args:
        image: unit features ``(N, d)``; an image of which no caption is true has no target and does not count.
        text: unit features ``(M, d)``.
        truth: ``(N, M)``: 1 true, 0 false, -1 cannot be told; the last are neither positives nor negatives.
        scale: multiplies the cosines.
    """
    logits = (scale * image @ text.T).masked_fill(truth < 0, -1e4)
    truth = truth == 1

    def one_way(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        count = truth.sum(1)
        target = truth.float() / count.clamp(min=1)[:, None]
        floor = -count.clamp(min=1).log()
        loss = -(target * logits.log_softmax(1)).sum(1) + floor
        return loss[count > 0].mean()

    return one_way(logits, truth) + one_way(logits.T, truth.T)


#: Slots whose values are told apart by name; amounts ("slightly", "strongly") are left to whole captions.
NAMED = [slot for slot in SLOTS if not slot.endswith("_amount")]


def slot_attributes() -> torch.Tensor:
    """What each of :func:`slot_texts` says, ``(texts, len(SLOTS))``: a row has one value of one slot, -1 elsewhere."""
    said = [(SLOTS.index(slot), value) for slot in NAMED for value in range(len(VALUES[slot]))]
    rows = torch.full((len(said), len(SLOTS)), -1)
    for row, (column, value) in zip(rows, said, strict=True):
        row[column] = value
    return rows


def slot_texts(rng: np.random.Generator) -> list[str]:
    """One caption for each value of each named slot that says nothing else, in the order of NAMED and VALUES."""
    return [caption(only, rng)[0] for only in slot_attributes().numpy()]


def slot_contrast(
    image: torch.Tensor, text: torch.Tensor, attributes: torch.Tensor, scale: torch.Tensor | float
) -> torch.Tensor:
    """Mean over slots of the cross-entropy of features against the captions of that slot's values.

    It sets the threshold between two words ("sharp", "blurred"), which the contrast over whole captions leaves open.
    Values count alike whatever their frequency.

    Args:
        image: unit features ``(N, d)``.
        text: unit features of :func:`slot_texts`, or anchors in that order.
        attributes: ``(N, len(SLOTS))``, -1 where unknown.
        scale: multiplies the cosines.
    """
    terms, start = [], 0
    for slot in NAMED:
        count, has = len(VALUES[slot]), attributes[:, SLOTS.index(slot)]
        known = has >= 0
        if known.any():
            weight = 1 / has[known].bincount(minlength=count).clamp(min=1)
            logits = scale * image[known] @ text[start : start + count].T
            terms.append(F.cross_entropy(logits, has[known], weight=weight.float()))
        start += count
    return torch.stack(terms).mean()


def held_out_figures(model, tokenizer, seed: int, count: int = 1024) -> dict[str, float]:
    """Zero-shot accuracy on held-out landscapes, per slot: the fixed wording of each value against the others'."""
    pool, rng = Pool(seed + 7919, 12, progress=False), np.random.default_rng(seed + 1)
    images, has = [], []
    for _ in range(count):
        image, attributes = draw(pool, rng)
        images.append(image)
        has.append(attributes)
    images, has = torch.stack(images), torch.tensor(np.array(has))
    mean, std = (torch.tensor(ARCHITECTURE[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    figures = {}
    with torch.no_grad():
        features = F.normalize(model.encode_image((images - mean) / std), dim=-1)
        for i, slot in enumerate(SLOTS):
            frame = "a {} image" if slot == "type" else "an image, {}"
            texts = [frame.format(wordings[0]) for wordings in WORDS[slot].values()]
            answers = (
                features @ F.normalize(model.encode_text(tokenizer(texts)), dim=-1).T
            ).argmax(1)
            known = has[:, i] >= 0
            # Mean of the per-value accuracies: chance is 1 / number of values whatever their frequency.
            hits = [(answers[has[:, i] == v] == v).float().mean() for v in has[known, i].unique()]
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
):
    """Train from scratch, or go on from a checkpoint of the same settings.

    Args:
        steps: optimiser steps, at least 1.
        batch: images per step, at least 4.
        seed: of weights, ground and captions.
        grounds: procedural pictures that crops are cut from, at least 4.
        lr: AdamW's peak learning rate.
        checkpoint: file to keep the state in; None keeps none.
        every: steps between two states kept; one is kept at an interruption, too.

    Returns:
        model in evaluation mode, config (architecture and words), provenance (settings and figures).

    Raises:
        ValueError: a count is too small, or the checkpoint is of other settings.
    """
    for name, found, least in (("steps", steps, 1), ("batch", batch, 4), ("grounds", grounds, 4)):
        if found < least:
            raise ValueError(f"{name} must be at least {least}, found {found}")
    torch.manual_seed(seed)
    config = {**ARCHITECTURE, "words": vocabulary()}
    vision = {**ARCHITECTURE["vision_cfg"], "patch_dropout": PATCH_DROPOUT}
    model, tokenizer = clip.build_bundled({**config, "vision_cfg": vision})
    model.train()
    mean, std = (torch.tensor(config[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    said = slot_attributes()
    anchors = torch.nn.Parameter(0.1 * torch.randn(len(said), config["embed_dim"]))
    parameters = [*model.parameters(), anchors]
    optimiser = torch.optim.AdamW(parameters, lr, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, max(steps, 20), pct_start=0.1)
    settings = {"steps": steps, "batch": batch, "seed": seed, "grounds": grounds, "lr": lr}
    done, before = checkpoints.restore_state(checkpoint, settings, parameters, optimiser, schedule)
    pool = Pool(seed, grounds)
    batches = Batches(pool, seed, batch, batch // 2, done)
    batches = iter(
        torch.utils.data.DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4)
    )
    start, losses = time.time() - 60 * before.get("minutes", 0.0), []
    bar = tqdm(
        range(done, steps), desc="CLIP", unit="step", mininterval=1.0, initial=done, total=steps
    )
    with checkpoints.interruptible() as stopped:
        for step in bar:
            torch.manual_seed(seed * 1_000_003 + step)  # patch dropout, the same after a restart
            if step >= 0.85 * steps:  # the last steps see whole images, as users will
                model.visual.patch_dropout.prob = 0.0
            images, texts, truth, attributes = next(batches)
            image = F.normalize(model.encode_image((images - mean) / std), dim=-1)
            single = slot_texts(np.random.default_rng([seed, step, 1]))
            text = F.normalize(model.encode_text(tokenizer([*texts, *single])), dim=-1)
            scale = model.logit_scale.exp().clamp(max=50)
            whole, single, free = (
                text[: len(texts)],
                text[len(texts) :],
                F.normalize(anchors, dim=-1),
            )
            terms = {
                "captions": contrast(image, whole, truth, scale),
                "slots": 2 * slot_contrast(image, single, attributes, scale),
                "images": 2 * slot_contrast(image, free, attributes, ANCHOR_SCALE),
                "texts": slot_contrast(single, free, said, ANCHOR_SCALE),
            }
            loss = sum(terms.values())
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
            losses.append([term.item() for term in terms.values()])
            recent = dict(zip(terms, np.mean(losses[-20:], 0).round(3).tolist(), strict=True))
            bar.set_postfix(recent, refresh=False)
            stop = stopped()
            if checkpoint and step + 1 < steps and ((step + 1) % every == 0 or stop):
                minutes = (time.time() - start) / 60
                checkpoints.keep_state(
                    checkpoint, settings, step + 1, parameters, optimiser, minutes=minutes
                )
            if stop:
                raise KeyboardInterrupt(f"stopped after step {step + 1} of {steps}")
    model.eval()
    provenance = {
        **settings, "images": steps * batch, "minutes": round((time.time() - start) / 60, 1),
        "torch": torch.__version__, "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"), "losses_last_20": recent,
        "zero_shot_held_out_procedural": held_out_figures(model, tokenizer, seed),
    }  # fmt: skip
    return model, config, provenance


def save(model: torch.nn.Module, config: dict, provenance: dict, folder: Path) -> None:
    """Write fp16 weights and the JSON beside them, each under a temporary name first."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / clip.BUNDLED.name
    with files.replacing(weights) as part:
        save_file({k: v.half().contiguous() for k, v in model.state_dict().items()}, part)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    files.write_json(
        weights.with_suffix(".json"), {**config, "provenance": provenance, "sha256": digest}
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the bundled CLIP on procedural scenes.")
    parser.add_argument("--steps", type=int, default=2100)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--grounds", type=int, default=160, help="procedural pictures that crops are cut from"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("bundled_clip"),
        help="folder for the weights [bundled_clip]",
    )
    args = parser.parse_args()
    checkpoint = (
        args.out / "pretrain_checkpoint.safetensors"
    )  # after an interruption, the same command goes on
    try:
        model, config, provenance = train(
            args.steps, args.batch, args.seed, args.grounds, checkpoint=checkpoint
        )
    except KeyboardInterrupt as stop:
        raise SystemExit(f"{stop or 'stopped'}; the same command goes on from there") from None
    except ValueError as error:
        parser.error(str(error))
    save(model, config, provenance, args.out)
    checkpoint.unlink(missing_ok=True)
    print(json.dumps(provenance, indent=1))
    print(f'load_clip("bundled", pretrained="{args.out / clip.BUNDLED.name}") loads it')


if __name__ == "__main__":
    main()
