"""Train the small CLIP that ships with the package, from scratch, on procedural scenes with captions.

Run ``python -m clippan_lite.pretrain_clip``; it writes ``bundled_clip.safetensors`` (fp16) and ``bundled_clip.json``
(architecture, vocabulary, provenance) into ``clippan_lite/weights``.

Every training image has known attributes (content, sharpness, noise, haze, colour, registration, blocks, type), and
every caption states some of them. So it is known which captions of a batch are true of which images, and the contrast
uses all true pairs as positives instead of the diagonal: "a sharp image" is then no negative of another sharp image.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from clippan_lite import clip, files, scenes, sensors
from clippan_lite.captions import SLOTS, WORDS, caption, vocabulary

ARCHITECTURE = {
    "embed_dim": 128,
    "vision_cfg": {"layers": 4, "width": 128, "head_width": 32, "patch_size": 8, "image_size": 64},
    "text_cfg": {"context_length": 40, "width": 128, "heads": 4, "layers": 2},
    "mean": [0.33, 0.33, 0.33],
    "std": [0.22, 0.22, 0.22],
}
SIZE = ARCHITECTURE["vision_cfg"]["image_size"]


class Pool:
    """Landscapes seen by random sensors, held as reflectance, from which crops are cut."""

    def __init__(self, seed: int, scenes_count: int, size: int = 512, progress: bool = True):
        names = ["WV2", "WV3", "QB", "IKONOS", "GE1", "GF2"]
        self.images, self.landuse, self.rgb = [], [], []
        for index in tqdm(range(scenes_count), desc="landscapes", disable=not progress):
            land = scenes.make_landscape(seed * 100_000 + index, size)
            sensor = sensors.get(names[index % len(names)])
            bands, pan = scenes.observe(land, sensor)
            bright = np.percentile(bands, 99.5, axis=(1, 2), keepdims=True)
            self.images.append(np.concatenate([bands / bright, pan / np.percentile(pan, 99.5)]).astype(np.float16))
            self.landuse.append(land.landuse)
            self.rgb.append(sensor.rgb)

    def crop(self, rng: np.random.Generator, grey: bool) -> tuple[torch.Tensor, int, bool]:
        """One crop ``(3, SIZE, SIZE)`` in about [0, 1], its content (-1: mixed), and whether red shows infrared."""
        index = int(rng.integers(len(self.images)))
        image, size = self.images[index], self.landuse[index].shape[0]
        side = int(rng.choice([64, 64, 64, 96, 128, 192]))
        r, c = rng.integers(0, size - side + 1, 2)
        where = (slice(r, r + side), slice(c, c + side))
        counts = np.bincount(self.landuse[index][where].ravel(), minlength=len(scenes.LANDUSE)) / side**2
        content = int(counts.argmax()) if counts.max() >= 0.6 else -1
        if counts[scenes.LANDUSE.index("road")] > 0.25:
            content = scenes.LANDUSE.index("road")
        bands, infrared = len(image) - 1, not grey and rng.random() < 0.25
        if grey:
            channels = [bands] * 3 if rng.random() < 0.7 else [int(rng.integers(bands))] * 3
        else:
            channels = list(self.rgb[index])
            if infrared:  # stems may well look at near infrared
                channels = [bands - 1, *channels[:2]]
        crop = torch.from_numpy(image[(channels, *where)].astype(np.float32))
        if side != SIZE:
            crop = F.interpolate(crop[None], (SIZE, SIZE), mode="bicubic", antialias=True)[0]
        crop = torch.rot90(crop, int(rng.integers(4)), (-2, -1))
        crop = crop.flip(-1) if rng.random() < 0.5 else crop
        return crop, content, infrared


def _blur(x: torch.Tensor, sigma: float) -> torch.Tensor:
    radius = int(3 * sigma + 1)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).repeat(3, 1)
    x = F.pad(x[None], (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(x, kernel[:, None, None], groups=3), kernel[:, None, :, None], groups=3)[0]


def degrade_crop(
    crop: torch.Tensor, rng: np.random.Generator, grey: bool, infrared: bool
) -> tuple[torch.Tensor, np.ndarray]:
    """Apply known degradations to a crop and return it with its attribute vector (content left at -1).

    A crop that shows infrared as red is neither "in natural colours" nor called distorted.
    """
    has = dict.fromkeys(SLOTS, 0)
    has["content"] = -1
    crop = (crop.clamp(min=0) ** rng.uniform(0.6, 1.1)) * rng.uniform(0.6, 1.25)
    roll = rng.random()
    if roll < 0.36:
        has["sharp"], sigma = 1, rng.uniform(1.2, 3.0)
        crop = _blur(crop, sigma)
    elif roll < 0.50:
        has["sharp"], sigma = 2, rng.uniform(0.8, 1.6)
        crop = crop + rng.uniform(1.2, 3.0) * (crop - _blur(crop, sigma))
    if not grey and rng.random() < 0.15:
        has["aligned"] = 1
        for channel in rng.permutation(3)[: rng.integers(1, 3)]:
            angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(2, 4.5)
            shift = (round(length * np.sin(angle)), round(length * np.cos(angle)))
            crop[channel] = torch.roll(crop[channel], shift, (0, 1))
    if grey:
        has["colour"], has["aligned"] = 2, -1
    elif rng.random() < 0.2:
        has["colour"] = 1
        gains = rng.uniform(0.45, 1.7, 3)
        while gains.max() / gains.min() < 1.5:
            gains = rng.uniform(0.45, 1.7, 3)
        crop = crop * torch.tensor(gains, dtype=torch.float32)[:, None, None]
    else:
        crop = crop * torch.tensor(rng.uniform(0.9, 1.1, 3), dtype=torch.float32)[:, None, None]
    if rng.random() < 0.15:
        has["haze"], share = 1, rng.uniform(0.3, 0.65)
        crop = crop * (1 - share) + share * torch.tensor([0.72, 0.77, 0.82])[:, None, None] * rng.uniform(0.75, 1.1)
        crop = crop.mean(0, keepdim=True).expand(3, -1, -1).clone() if grey else crop
    if rng.random() < 0.12:
        has["blocks"], factor = 1, int(rng.choice([3, 4, 5]))
        crop = F.interpolate(F.avg_pool2d(crop[None], factor), (SIZE, SIZE), mode="nearest")[0]
        has["sharp"] = -1
    if rng.random() < 0.2:
        has["noise"] = 1
        noise = torch.from_numpy(rng.standard_normal((1 if grey else 3, SIZE, SIZE)).astype(np.float32))
        crop = crop + noise * rng.uniform(0.03, 0.13)
    else:
        crop = crop + 0.006 * torch.from_numpy(rng.standard_normal((1 if grey else 3, SIZE, SIZE)).astype(np.float32))
    if infrared and has["colour"] == 0:
        has["colour"] = -1
    flawless = not any(has[slot] > 0 for slot in ("noise", "haze", "aligned", "blocks"))
    has["type"] = -1
    if grey and has["sharp"] == 0 and flawless:
        has["type"] = 1
    elif not grey and has["colour"] == 0 and flawless and has["sharp"] in (0, 1):
        has["type"] = 2 if has["sharp"] == 0 else 0
    return crop.clamp(0, 1), np.array([has[slot] for slot in SLOTS])


def draw(pool: Pool, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
    """One degraded crop ``(3, SIZE, SIZE)`` and all its attributes."""
    grey = rng.random() < 0.22
    crop, content, infrared = pool.crop(rng, grey)
    image, has = degrade_crop(crop, rng, grey, infrared)
    has[SLOTS.index("content")] = content
    return image, has


def make_batch(pool: Pool, rng: np.random.Generator, size: int) -> tuple[torch.Tensor, list[str], torch.Tensor]:
    """Images ``(N, 3, S, S)``, captions, and truth ``(N, N)``: True where caption j is true of image i."""
    images, texts, attributes, stated = [], [], [], []
    for _ in range(size):
        image, has = draw(pool, rng)
        text, says = caption(has, rng)
        images.append(image)
        texts.append(text)
        attributes.append(has)
        stated.append(says)
    attributes, stated = torch.tensor(np.array(attributes)), torch.tensor(np.array(stated))
    truth = ((stated[None] < 0) | (stated[None] == attributes[:, None])).all(-1)
    return torch.stack(images), texts, truth


class Batches(torch.utils.data.IterableDataset):
    """Endless training batches, made in one worker process beside the training (same seed, same batches)."""

    def __init__(self, pool: Pool, seed: int, size: int):
        self.pool, self.seed, self.size = pool, seed, size

    def __iter__(self) -> Iterator[tuple[torch.Tensor, list[str], torch.Tensor]]:
        rng = np.random.default_rng(self.seed)
        while True:
            yield make_batch(self.pool, rng, self.size)


def contrast(image: torch.Tensor, text: torch.Tensor, truth: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Multi-positive InfoNCE both ways, on unit features ``(N, d)``."""
    logits = scale * image @ text.T
    weight = truth.float()

    def one_way(logits: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        target = weight / weight.sum(1, keepdim=True)
        return -(target * logits.log_softmax(1)).sum(1).mean() + (target * (target + 1e-9).log()).sum(1).mean()

    return one_way(logits, weight) + one_way(logits.T, weight.T)


def held_out_figures(model, tokenizer, seed: int, count: int = 512) -> dict[str, float]:
    """Zero-shot accuracy on held-out landscapes, per slot: the fixed wording of each value against the others'."""
    pool, rng = Pool(seed + 7919, 6, progress=False), np.random.default_rng(seed + 1)
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
            texts = [f"an image, {wordings[0]}" for wordings in WORDS[slot].values()]
            if slot == "type":
                texts = [f"a {wordings[0]} image" for wordings in WORDS[slot].values()]
            answers = (features @ F.normalize(model.encode_text(tokenizer(texts)), dim=-1).T).argmax(1)
            known = has[:, i] >= 0
            # Mean of the per-value accuracies: chance is 1 / number of values whatever their frequency.
            hits = [(answers[has[:, i] == v] == v).float().mean() for v in has[known, i].unique()]
            figures[slot] = round(float(torch.stack(hits).mean()), 3)
    return figures


def train(steps: int = 600, batch: int = 256, seed: int = 0, scenes_count: int = 90, lr: float = 1.5e-3):
    """Train and return model, config and provenance figures."""
    torch.manual_seed(seed)
    config = {**ARCHITECTURE, "words": vocabulary()}
    model, tokenizer = clip.build_bundled(config)
    model.train()
    mean, std = (torch.tensor(config[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    pool = Pool(seed, scenes_count)
    optimiser = torch.optim.AdamW(model.parameters(), lr, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, max(steps, 20), pct_start=0.1)
    start, losses = time.time(), []
    bar = tqdm(range(steps), desc="CLIP", unit="step")
    batches = iter(torch.utils.data.DataLoader(Batches(pool, seed, batch), batch_size=None, num_workers=1))
    for _ in bar:
        images, texts, truth = next(batches)
        image = F.normalize(model.encode_image((images - mean) / std), dim=-1)
        text = F.normalize(model.encode_text(tokenizer(texts)), dim=-1)
        loss = contrast(image, text, truth, model.logit_scale.exp().clamp(max=50))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        bar.set_postfix(loss=f"{np.mean(losses[-20:]):.3f}", images=len(losses) * batch)
    model.eval()
    provenance = {
        "steps": steps, "batch": batch, "images": steps * batch, "seed": seed, "landscapes": scenes_count, "lr": lr,
        "minutes": round((time.time() - start) / 60, 1), "torch": torch.__version__,
        "threads": torch.get_num_threads(), "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "loss_last_20": round(float(np.mean(losses[-20:])), 4),
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
    files.write_json(weights.with_suffix(".json"), {**config, "provenance": provenance, "sha256": digest})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the bundled CLIP on procedural scenes.")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--landscapes", type=int, default=90)
    parser.add_argument("--out", type=Path, default=clip.WEIGHTS, help="folder for the weights")
    args = parser.parse_args()
    model, config, provenance = train(args.steps, args.batch, args.seed, args.landscapes)
    save(model, config, provenance, args.out)
    print(json.dumps(provenance, indent=1))


if __name__ == "__main__":
    main()
