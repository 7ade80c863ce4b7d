"""Training pictures of the bundled CLIP: crops of known ground, with known faults and the captions they call for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional as F

from clippan_lite.pretraining.captions import SLOTS, VALUES, caption
from clippan_lite.pretraining.ground import SIZE, Pool, blur, enlarged


def _random_field(rng: np.random.Generator) -> torch.Tensor:
    """Smooth field in about [0.4, 1.6], ``(1, SIZE, SIZE)``, for haze that is not even."""
    coarse = torch.from_numpy(rng.uniform(0.5, 1.5, (1, 1, 4, 4)).astype(np.float32))
    return F.interpolate(coarse, (SIZE, SIZE), mode="bicubic")[0]


def _shifted(x: torch.Tensor, dy: float, dx: float) -> torch.Tensor:
    """One band ``(H, W)`` moved by a fraction of a pixel, the border repeated."""
    move = torch.tensor([[[1, 0, 2 * dx / SIZE], [0, 1, 2 * dy / SIZE]]], dtype=torch.float32)
    grid = F.affine_grid(move, (1, 1, SIZE, SIZE), False)
    return F.grid_sample(x[None, None], grid, padding_mode="border", align_corners=False)[0, 0]


def _display(crop: torch.Tensor, rng: np.random.Generator, grey: bool) -> torch.Tensor:
    """Reflectance as products show it: path radiance more or less removed, stretched per band or jointly, gamma."""
    path = float(rng.choice([-0.03, 0.0, 0.0, 0.04, 0.08, 0.13, 0.18, 0.22])) * rng.uniform(
        0.5, 1.2
    )
    # At-sensor products keep the light of a clear sky, up to half of the range in blue; that is no haze. Clear air
    # scatters blue two to three times as much as red, haze hardly more.
    red = rng.uniform(0.3, 0.8 if path < 0.08 else 0.6)
    light = path * (
        torch.ones(3, 1, 1) if grey else torch.tensor([red, (1 + red) / 2, 1.0])[:, None, None]
    )
    crop = crop + light
    level = float(rng.uniform(0.28, 0.6))  # reflectance that is shown as 1
    if rng.random() < 0.35:  # stretched to the crop's own range
        level = float(crop.flatten().kthvalue(int(0.98 * crop.numel())).values) * rng.uniform(
            0.95, 1.3
        )
    elif rng.random() < 0.5:  # each band to its own brightest, the sky's light included
        level = (level + light).clamp(min=0.05)
    crop = (crop / torch.as_tensor(level).clamp(min=0.04)).clamp(min=0) ** rng.uniform(0.55, 1.15)
    if not grey:
        mean = crop.mean(0, keepdim=True)
        crop = mean + (crop - mean) * rng.uniform(0.7, 1.4)  # saturation
        crop = crop * torch.from_numpy(rng.uniform(0.87, 1.15, (3, 1, 1)).astype(np.float32))
    return crop


def _amount(value: float, low: float, high: float) -> int:
    """0 for slight, 1 for strong, -1 between."""
    return 0 if value < low else 1 if value > high else -1


# Each fault below takes a crop and its attributes, writes what it did into the attributes and returns the crop.


def _detail(crop: torch.Tensor, has: dict[str, int], rng: np.random.Generator) -> torch.Tensor:
    """Sharp, blurred or oversharpened, with a gap between them: "sharp" holds soft and mildly sharpened products."""
    soft = rng.uniform(0.35, 1.3) if rng.random() < 0.75 else 0.0
    if (
        soft
    ):  # the sensor's own softness, MTF gain .5 to .01 at Nyquist, and that of a fusion's grid
        crop = blur(crop, soft)
    if rng.random() < 0.4:  # products are often sharpened a little
        crop = crop + rng.uniform(0.1, 1.0) * (crop - blur(crop, rng.uniform(0.5, 1.2)))
    has["sharp"], roll = -1 if soft > 1.05 else 0, rng.random()
    if roll < 0.10:
        factor = int(rng.choice([3, 4, 4, 5]))
        has["sharp"], has["blur_amount"] = 1, _amount(factor, 0, 4)
        crop = enlarged(crop, factor)
    elif roll < 0.34:
        sigma = rng.uniform(1.2, 3.2)
        has["sharp"], has["blur_amount"] = 1, _amount(sigma, 1.5, 2.2)
        crop = blur(crop, sigma)
    elif roll < 0.50:
        share = rng.uniform(1.5, 4.0)
        has["sharp"], has["halo_amount"] = 2, _amount(share, 2.0, 3.0)
        crop = crop + share * (crop - blur(crop, rng.uniform(0.8, 2.0)))
    return crop


def _misregistered(
    crop: torch.Tensor, has: dict[str, int], rng: np.random.Generator
) -> torch.Tensor:
    """One or two channels moved by 1.5 to 4.5 pixels."""
    length = rng.uniform(1.5, 4.5)
    has["aligned"], has["shift_amount"] = 1, _amount(length, 2.2, 3.2)
    crop = crop.clone()
    for channel in rng.permutation(3)[: rng.integers(1, 3)]:
        angle = rng.uniform(0, 2 * np.pi)
        crop[channel] = _shifted(crop[channel], length * np.sin(angle), length * np.cos(angle))
    return crop


def _miscoloured(crop: torch.Tensor, has: dict[str, int], rng: np.random.Generator) -> torch.Tensor:
    """Bands with wrong gains, or taken for one another."""
    has["colour"] = VALUES["colour"].index("false")
    if rng.random() < 0.2:
        crop = crop[[[1, 0, 2], [2, 1, 0], [0, 2, 1], [1, 2, 0]][rng.integers(4)]]
        return (
            crop * torch.tensor([1.25, 1.0, 0.8])[:, None, None]
        )  # so that grey ground shows it too
    gains = np.ones(3)
    while gains.max() / gains.min() < 1.5:
        gains = rng.uniform(0.4, 1.7, 3)
    has["colour_amount"] = _amount(gains.max() / gains.min(), 1.9, 2.5)
    return crop * torch.tensor(gains, dtype=torch.float32)[:, None, None]


def _veiled(
    crop: torch.Tensor, has: dict[str, int], rng: np.random.Generator, grey: bool
) -> torch.Tensor:
    """Haze: a bright, slightly blue veil, even or not."""
    share = rng.uniform(0.32, 0.70)
    has["haze"], has["haze_amount"] = 1, _amount(share, 0.40, 0.54)
    veil = torch.from_numpy(np.sort(rng.uniform(0.66, 0.95, 3))[:, None, None].astype(np.float32))
    share = (share * _random_field(rng)).clamp(0.1, 0.85) if rng.random() < 0.4 else share
    return crop * (1 - share) + share * (veil.mean() if grey else veil)


def _grained(
    crop: torch.Tensor, has: dict[str, int], rng: np.random.Generator, grey: bool
) -> torch.Tensor:
    """Noise: hardly any, or with a standard deviation of .04 to .14; the same or another in each channel."""
    planes = 1 if grey or rng.random() < 0.25 else 3
    grain = torch.from_numpy(rng.standard_normal((planes, SIZE, SIZE)).astype(np.float32))
    if rng.random() < 0.2:  # resampled noise is soft
        grain = blur(grain, 0.6)
        grain = grain / grain.std()
    has["noise"] = int(rng.random() < 0.22)
    if not has["noise"]:
        levels = rng.uniform(40, 255)  # eight bits, of which a dull scene fills a part
        crop = (crop * levels).round() / levels if rng.random() < 0.3 else crop
        return crop + grain * rng.uniform(
            0, 0.03 if planes == 1 else 0.02
        )  # PAN's noise is in all bands of a fusion
    sigma = rng.uniform(0.04, 0.14)
    has["noise_amount"] = _amount(sigma, 0.055, 0.09)
    if rng.random() < 0.3:  # photon noise grows with the signal
        grain = grain * crop.mean(0, keepdim=True).clamp(0.1, 1).sqrt() / 0.6
    return crop + grain * sigma


def degrade_crop(
    crop: torch.Tensor, rng: np.random.Generator, view: str
) -> tuple[torch.Tensor, dict[str, int]]:
    """Show a crop as a product would, put known faults into it, and say which.

    Args:
        crop: reflectance ``(3, SIZE, SIZE)`` from :meth:`Pool.crop`.
        rng: decides which faults, and how much of them.
        view: as in :meth:`Pool.crop`.

    Returns:
        ``(3, SIZE, SIZE)`` in [0, 1], and slot -> index into VALUES, -1 where neither word fits. Between "sharp" and
        "blurred", "clean" and "noisy" and so on lies a range that is not made: the words mean something everywhere
        and not at one threshold.
    """
    grey = view in ("pan", "band")
    has = dict.fromkeys(SLOTS, -1) | {"haze": 0, "blocks": 0}
    has["chroma"] = VALUES["chroma"].index("grey" if grey else "coloured")
    crop = _detail(_display(crop, rng, grey), has, rng)
    if not grey:
        has["aligned"], has["colour"] = (
            0,
            VALUES["colour"].index("natural" if view == "colour" else "infrared"),
        )
        crop = _misregistered(crop, has, rng) if rng.random() < 0.14 else crop
        crop = _miscoloured(crop, has, rng) if view == "colour" and rng.random() < 0.2 else crop
    if rng.random() < 0.16:
        crop = _veiled(crop, has, rng, grey)
    if rng.random() < 0.1:
        has["blocks"], has["sharp"], has["blur_amount"], has["halo_amount"] = 1, -1, -1, -1
        crop = enlarged(crop, int(rng.choice([3, 4, 5, 8])), "nearest")
    crop = _grained(crop, has, rng, grey).clamp(0, 1)
    flawless = not any(has[slot] > 0 for slot in ("noise", "haze", "aligned", "blocks"))
    distorted = has["colour"] == VALUES["colour"].index("false")
    has["verdict"] = (
        1 if not flawless or distorted or has["sharp"] > 0 else has["sharp"]
    )  # -1: neither word fits
    if flawless and not distorted and has["sharp"] in (0, 1):
        kind = "hrms" if has["sharp"] == 0 else "ms"
        if view == "pan" and has["sharp"] == 0:
            has["type"] = VALUES["type"].index("pan")
        elif not grey:
            has["type"] = VALUES["type"].index(kind)
    return crop, has | _look(crop, grey)


def _look(crop: torch.Tensor, grey: bool) -> dict[str, int]:
    """Dominant colour and brightness of what is shown, -1 where there is none."""
    red, green, blue = (float(v) for v in crop.mean((1, 2)))
    top, low = max(red, green, blue), min(red, green, blue)
    tone = ""
    if not grey and top - low < 0.04 * top:
        tone = "grey_tone"
    elif top - low > 0.18 * top:
        tone = (
            "green"
            if top == green
            else "blue"
            if top == blue
            else "red"
            if green < 0.7 * red
            else "brown"
        )
    mean = (red + green + blue) / 3
    return {
        "tone": VALUES["tone"].index(tone) if tone else -1,
        "light": 0 if mean < 0.22 else 1 if mean > 0.6 else -1,
    }


def draw(pool: Pool, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
    """One degraded crop ``(3, SIZE, SIZE)`` in [0, 1] and its attributes, an index into VALUES per slot or -1."""
    view = str(rng.choice(["colour", "pan", "band", "infrared"], p=[0.66, 0.16, 0.06, 0.12]))
    crop, ground = pool.crop(rng, view)
    image, has = degrade_crop(crop, rng, view)
    has |= ground
    return image, np.array([has[slot] for slot in SLOTS])


def make_batch(
    pool: Pool, rng: np.random.Generator, size: int, texts_count: int | None = None
) -> tuple[torch.Tensor, list[str], torch.Tensor, torch.Tensor]:
    """Images ``(N, 3, S, S)``, M captions, truth ``(N, M)`` and attributes ``(N, slots)``.

    Truth is 1 where caption j is true of image i, 0 where it is false, and -1 where it cannot be told: it states
    something that the image neither clearly is nor clearly is not, such as "slightly blurred" of a medium blur. Only of
    types it is always known: an image with a fault is no MS, PAN or HRMS.

    The captions are those of the first M images: a text costs as much to encode as a third of an image.
    """
    drawn = [draw(pool, rng) for _ in range(size)]
    said = [caption(has, rng) for _, has in drawn[:texts_count]]
    attributes = torch.tensor(np.array([has for _, has in drawn]))
    stated = torch.tensor(np.array([says for _, says in said]))
    agrees = (stated[None] < 0) | (stated[None] == attributes[:, None])
    open_slots = torch.tensor([slot != "type" for slot in SLOTS])
    refuted = (~agrees & ((attributes[:, None] >= 0) | ~open_slots)).any(-1)
    truth = torch.where(agrees.all(-1), 1, torch.where(refuted, 0, -1))
    return torch.stack([image for image, _ in drawn]), [text for text, _ in said], truth, attributes


class Batches(torch.utils.data.IterableDataset):
    """Endless training batches, made in one worker process beside the training.

    Batch ``i`` depends on the seed and ``i`` alone, so that a training can go on where it was stopped.
    """

    def __init__(self, pool: Pool, seed: int, size: int, texts: int, first: int = 0):
        self.pool, self.seed, self.size, self.texts, self.first = pool, seed, size, texts, first

    def __iter__(self) -> Iterator[tuple[torch.Tensor, list[str], torch.Tensor, torch.Tensor]]:
        for index in itertools.count(self.first):
            yield make_batch(
                self.pool, np.random.default_rng([self.seed, index]), self.size, self.texts
            )
