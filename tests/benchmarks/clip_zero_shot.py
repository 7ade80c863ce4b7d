"""Zero-shot figures of the included CLIP on native 64-pixel crops of real scenes, beside a
random-weight CLIP.

Run: CLIPPAN_TEST_DATA=<folder> python tests/benchmarks/clip_zero_shot.py [--weights FILE] [--json
FILE] Every crop is judged untouched and degraded by a known amount; chance is 0.5 throughout. Crops
are of MS as delivered and of GSA's result. Faults are made with SciPy, not with the code that CLIP
was trained on.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from clippan_lite import classical, clip
from clippan_lite.data import geotiff
from clippan_lite.experiments.probes import CONTRASTS

SCENES = {
    "wv2_urban": "WV2",
    "ikonos_town": "IKONOS",
    "vhr_housing": "VHR4",
    "landsat7_01": "LANDSAT7",
}
TEXTS = {
    "sharp / blurred": CONTRASTS["blurred"],
    "colour / grey": CONTRASTS["grey"],
    "clear / hazy": CONTRASTS["hazy"],
    "clean / noisy": CONTRASTS["noisy"],
    "sharp / oversharpened": CONTRASTS["oversharpened"],
    "natural / false colours": CONTRASTS["false colours"],
}
WANTED = dict(zip(TEXTS, (0.97, 0.98, 0.92, 0.88, 0.88, 0.85), strict=True))
CONTENT = {
    "water": "water",
    "forest": "forest",
    "field": "fields",
    "bare soil": "bare soil",
}  # class -> word


def spoil(crops: np.ndarray, what: str, rng: np.random.Generator) -> np.ndarray:
    """The known degradation of crops ``(N, 3, 64, 64)`` in [0, 1]."""
    if what == "sharp / blurred":
        return ndimage.gaussian_filter(crops, (0, 0, 1.8, 1.8))
    if what == "colour / grey":
        return np.repeat(crops.mean(1, keepdims=True), 3, 1)
    if what == "clean / noisy":
        return crops + 0.07 * rng.standard_normal(crops.shape)
    if what == "clear / hazy":
        return crops * 0.55 + 0.45 * np.array([0.72, 0.77, 0.82])[:, None, None]
    if what == "sharp / oversharpened":
        return crops + 2 * (crops - ndimage.gaussian_filter(crops, (0, 0, 1.2, 1.2)))
    return crops * rng.permuted(np.tile([0.6, 1.0, 1.5], (len(crops), 1)), axis=1)[:, :, None, None]


def auc(negative: np.ndarray, positive: np.ndarray) -> float:
    """Share of (untouched, degraded) pairs that the score puts in the right order."""
    return float((positive[:, None] > negative[None]).mean())


def scores(model: clip.Clip, crops: np.ndarray, texts: tuple[str, str]) -> np.ndarray:
    """Cosine with the second text minus cosine with the first."""
    with torch.no_grad():
        images = model.encode_image(torch.from_numpy(crops.clip(0, 1).astype(np.float32)))
        return (images @ model.encode_text(list(texts)).T).diff(dim=1)[:, 0].numpy()


def crops_of(image: np.ndarray, rng: np.random.Generator, count: int = 200) -> np.ndarray:
    """Native crops, each band stretched to its 99.5th percentile."""
    image = (image / np.percentile(image, 99.5, axis=(1, 2), keepdims=True)).clip(0, 1)
    corners = [rng.integers(0, np.array(image.shape[-2:]) - 63) for _ in range(count)]
    return np.stack([image[:, r : r + 64, c : c + 64] for r, c in corners])


def content_on_landsat(models: dict[str, clip.Clip], folder: Path) -> dict[str, dict]:
    """Top-1 accuracy on Landsat-7 MS crops that the rules below label: mean, and per class."""
    crops, labels = [], []
    for path in sorted(folder.glob("landsat7_*")):
        pair = geotiff.read_pair(path / "pan.tif", path / "ms.tif", "LANDSAT7")
        red, green, blue, nir = pair.ms[:4].numpy()
        ndvi, ndwi, bright = (
            (nir - red) / (nir + red),
            (green - nir) / (green + nir),
            (red + green + blue) / 3,
        )
        dark = bright < np.median(bright[ndvi > 0.1]) if (ndvi > 0.1).any() else bright < 0
        rules = {
            "water": (ndwi > 0.3) & (nir < 30),
            "forest": (ndvi > 0.15) & dark & (ndimage.uniform_filter(bright, 9) < 50),
            "field": (ndvi > 0.2) & (bright > 50),
            "bare soil": (ndvi < 0.0) & (nir > 35) & (bright > 55),
        }
        image = (
            pair.ms[:3].numpy() / np.percentile(pair.ms[:3], 99.5, axis=(1, 2), keepdims=True)
        ).clip(0, 1)
        for r in range(0, image.shape[1] - 63, 32):
            for c in range(0, image.shape[2] - 63, 32):
                share = [rule[r : r + 64, c : c + 64].mean() for rule in rules.values()]
                if max(share) > 0.6:
                    crops.append(image[:, r : r + 64, c : c + 64])
                    labels.append(int(np.argmax(share)))
    crops, labels, result = torch.from_numpy(np.stack(crops)).float(), np.array(labels), {}
    for name, model in models.items():
        with torch.no_grad():
            texts = model.encode_text([f"an image of {word}" for word in CONTENT.values()])
            answers = (model.encode_image(crops) @ texts.T).argmax(1).numpy()
        each = {
            c: float((answers[labels == i] == i).mean())
            for i, c in enumerate(CONTENT)
            if (labels == i).any()
        }
        mean = float(np.mean(list(each.values())))
        result[name] = {
            "top1": float((answers == labels).mean()),
            "mean over classes": mean,
            **each,
        }
    result["crops per class"] = {c: int((labels == i).sum()) for i, c in enumerate(CONTENT)}
    return result


def quality_on(scene: str, folder: Path, models: dict[str, clip.Clip]) -> list[dict]:
    """Accuracy and area under the curve per fault and model, on crops of MS and of GSA's result."""
    pair, rows = (
        geotiff.read_pair(folder / scene / "pan.tif", folder / scene / "ms.tif", SCENES[scene]),
        [],
    )
    rgb = list(pair.sensor.rgb)
    for source, image in {"MS": pair.ms[rgb], "GSA": classical.fuse("GSA", pair)[rgb]}.items():
        rng = np.random.default_rng(0)
        crops = crops_of(image.numpy(), rng)
        for what, texts in TEXTS.items():
            bad = spoil(crops, what, rng)
            for name, model in models.items():
                low, high = scores(model, crops, texts), scores(model, bad, texts)
                right = (float((low < 0).mean()), float((high > 0).mean()))
                figure = {
                    "accuracy": sum(right) / 2,
                    "untouched": right[0],
                    "degraded": right[1],
                    "auc": auc(low, high),
                }
                rows.append(
                    {"scene": scene, "source": source, "what": what, "model": name, **figure}
                )
    return rows


def reached(row: dict) -> bool:
    """Whether a row reaches the wanted accuracy, or area under the curve (false colours)."""
    return row["auc" if "false" in row["what"] else "accuracy"] >= WANTED[row["what"]]


def main() -> None:
    """Print one table per scene; `*` marks what is below the wanted figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--weights", default=None, help="weights of the bundled architecture, else the shipped ones"
    )
    parser.add_argument("--json", type=Path, help="write all figures here too")
    args = parser.parse_args()
    folder = Path(os.environ["CLIPPAN_TEST_DATA"])
    torch.manual_seed(0)
    models = {
        "trained": clip.load_clip("bundled", args.weights),
        "random": clip.load_clip(random_weights=True),
    }
    rows = [row for scene in SCENES for row in quality_on(scene, folder, models)]
    for row in rows:
        where = f"{row['scene']:>12} {row['source']:>4}  {row['what']:<24} {row['model']:>8}"
        mark = "" if reached(row) or row["model"] == "random" else "*"
        each = f"(untouched {row['untouched']:.2f}, degraded {row['degraded']:.2f})"
        print(f"{where}  accuracy {row['accuracy']:.3f} {each} AUC {row['auc']:.3f} {mark}")
    content = content_on_landsat(models, folder)
    for name, row in content.items():
        print(f"content, Landsat-7, {name}:", {k: round(v, 2) for k, v in row.items()})
    if args.json:
        args.json.write_text(json.dumps({"quality": rows, "content": content}, indent=1))


if __name__ == "__main__":
    main()
