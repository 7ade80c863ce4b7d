"""Zero-shot figures of the bundled CLIP on native 64-pixel crops of real scenes, beside a random-weight CLIP.

Run: CLIPPAN_TEST_DATA=<folder> python tests/benchmarks/clip_zero_shot.py
Half of the crops are degraded by known amounts, the other half is left alone; chance is 0.5 throughout.
"""

import os
from pathlib import Path

import numpy as np
import torch

from clippan_lite import classical, clip, pretrain_clip, raster

SCENES = {"wv2_urban": "WV2", "ikonos_town": "IKONOS", "vhr_housing": "VHR4", "landsat7_01": "LANDSAT7"}
TEXTS = {
    "sharp / blurred": ("a sharp image", "a blurred image"),
    "colour / grey": ("an image in colour", "an image in grey"),
    "clean / noisy": ("a clean image", "a noisy image"),
    "clear / hazy": ("a clear image", "a hazy image"),
    "sharp / oversharpened": ("a sharp image", "an oversharpened image"),
    "natural / false colours": ("an image in natural colours", "an image with false colours"),
}


def spoil(crops: torch.Tensor, what: str, rng: np.random.Generator) -> torch.Tensor:
    """The known degradation of each row."""
    if what == "sharp / blurred":
        return torch.stack([pretrain_clip._blur(crop, 1.8) for crop in crops])
    if what == "colour / grey":
        return crops.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    if what == "clean / noisy":
        return crops + 0.07 * torch.from_numpy(rng.standard_normal(tuple(crops.shape)).astype(np.float32))
    if what == "clear / hazy":
        return crops * 0.55 + 0.45 * torch.tensor([0.72, 0.77, 0.82])[:, None, None]
    if what == "sharp / oversharpened":
        return torch.stack([crop + 2 * (crop - pretrain_clip._blur(crop, 1.2)) for crop in crops])
    gains = torch.from_numpy(rng.permuted(np.tile([0.6, 1.0, 1.5], (len(crops), 1)), axis=1).astype(np.float32))
    return crops * gains[:, :, None, None]


def auc(negative: torch.Tensor, positive: torch.Tensor) -> float:
    """Share of (untouched, degraded) pairs that the score puts in the right order."""
    return float((positive[:, None] > negative[None]).float().mean())


def main() -> None:
    """Print one table per model."""
    folder = Path(os.environ["CLIPPAN_TEST_DATA"])
    models = [clip.load_clip(), clip.load_clip(random_weights=True)]
    for name, sensor in SCENES.items():
        pair = raster.read_pair(folder / name / "pan.tif", folder / name / "ms.tif", sensor)
        image = (
            classical.fuse("GSA", pair)[list(pair.sensor.rgb)] if pair.ratio == 4 else pair.ms[list(pair.sensor.rgb)]
        )
        bright = torch.from_numpy(np.percentile(image.flatten(1).numpy(), 99.5, axis=1)).float()[:, None, None]
        image, rng = (image / bright).clamp(0, 1), np.random.default_rng(0)
        corners = [rng.integers(0, np.array(image.shape[-2:]) - 64) for _ in range(200)]
        crops = torch.stack([image[:, r : r + 64, c : c + 64] for r, c in corners])
        for what, texts in TEXTS.items():
            bad = spoil(crops, what, rng).clamp(0, 1)
            row = f"{name:>12}  {what:<24}"
            for model in models:
                with torch.no_grad():
                    text = model.encode_text(list(texts))
                    good_score, bad_score = ((model.encode_image(x) @ text.T).diff(dim=1)[:, 0] for x in (crops, bad))
                accuracy = ((good_score < 0).float().mean() + (bad_score > 0).float().mean()) / 2
                row += f"  accuracy {accuracy:.2f} AUC {auc(good_score, bad_score):.2f} |"
            print(row)


if __name__ == "__main__":
    main()
