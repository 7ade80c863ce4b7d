"""Training pictures of the included CLIP: crops of known ground with known faults and captions."""

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from clippan_lite.pretraining.captions import SLOTS, VALUES, caption
from clippan_lite.pretraining.ground import SIZE, Pool, blur, enlarged

Batch = tuple[torch.Tensor, list[str], torch.Tensor, torch.Tensor]  # see make_batch
#: Slot -> the value that an image has, "" where none fits.
Attributes = dict[str, str]
FAULTS = {"noisy", "hazy", "fringed", "blocky", "false"}  # besides those of sharpness
#: Type of an image without those faults by view and sharpness; others have none.
TYPES = {
    ("colour", "sharp"): "hrms",
    ("colour", "blurred"): "ms",
    ("infrared", "sharp"): "hrms",
    ("infrared", "blurred"): "ms",
    ("pan", "sharp"): "pan",
}


def _display(crop: torch.Tensor, rng: np.random.Generator, grey: bool) -> torch.Tensor:
    """Reflectance as products show it.

    Path radiance is more or less removed; then come a stretch, per band or jointly, and a gamma.
    """
    paths = [-0.03, 0.0, 0.0, 0.04, 0.08, 0.13, 0.18, 0.22]
    path = float(rng.choice(paths)) * rng.uniform(0.5, 1.2)
    # At-sensor products keep the light of a clear sky, up to half of the range in blue; that is no
    # haze. Clear air scatters blue two to three times as much as red, haze hardly more.
    red = rng.uniform(0.3, 0.8 if path < 0.08 else 0.6)
    colour = torch.ones(3) if grey else torch.tensor([red, (1 + red) / 2, 1.0])
    light = path * colour[:, None, None]
    crop = crop + light
    white = torch.tensor(rng.uniform(0.28, 0.6))  # reflectance that is shown as 1
    if rng.random() < 0.35:  # stretched to the crop's own range
        bright = float(crop.flatten().kthvalue(int(0.98 * crop.numel())).values)
        white = torch.tensor(bright * rng.uniform(0.95, 1.3))
    elif rng.random() < 0.5:  # each band to its own brightest, the sky's light included
        white = (white + light).clamp(min=0.05)
    crop = (crop / white.clamp(min=0.04)).clamp(min=0) ** rng.uniform(0.55, 1.15)
    if not grey:
        mean = crop.mean(0, keepdim=True)
        crop = mean + (crop - mean) * rng.uniform(0.7, 1.4)  # saturation
        crop = crop * torch.from_numpy(rng.uniform(0.87, 1.15, (3, 1, 1)).astype(np.float32))
    return crop


def _grade(
    value: float, low: float, high: float, below: str = "slight", above: str = "strong"
) -> str:
    """The word for a value up to ``low``, or for one above ``high``; neither between."""
    return (below, "", above)[np.digitize(value, (low, high), right=True)]


# Each fault below takes a crop and its attributes, notes there what it did and returns the crop.


def _detail(crop: torch.Tensor, has: Attributes, rng: np.random.Generator) -> torch.Tensor:
    """Sharp, blurred or oversharpened, with a gap between: "sharp" holds soft products, too."""
    # The sensor's own softness, MTF gain 0.5 to 0.01 at Nyquist, and that of a fusion's grid.
    soft = rng.uniform(0.35, 1.3) if rng.random() < 0.75 else 0.0
    if soft:
        crop = blur(crop, soft)
    if rng.random() < 0.4:  # products are often sharpened a little
        crop = crop + rng.uniform(0.1, 1.0) * (crop - blur(crop, rng.uniform(0.5, 1.2)))
    has["sharp"], roll = "" if soft > 1.05 else "sharp", rng.random()
    if roll < 0.10:
        factor = int(rng.choice([3, 4, 4, 5]))
        has.update(sharp="blurred", blur_amount=_grade(factor, 0, 4))
        crop = enlarged(crop, factor)
    elif roll < 0.34:
        sigma = rng.uniform(1.2, 3.2)
        has.update(sharp="blurred", blur_amount=_grade(sigma, 1.5, 2.2))
        crop = blur(crop, sigma)
    elif roll < 0.50:
        share = rng.uniform(1.5, 4.0)
        has.update(sharp="over", halo_amount=_grade(share, 2.0, 3.0))
        crop = crop + share * (crop - blur(crop, rng.uniform(0.8, 2.0)))
    return crop


def _misregistered(crop: torch.Tensor, has: Attributes, rng: np.random.Generator) -> torch.Tensor:
    """One or two channels moved by 1.5 to 4.5 pixels, the border repeated."""
    length = rng.uniform(1.5, 4.5)
    has.update(aligned="fringed", shift_amount=_grade(length, 2.2, 3.2))
    crop = crop.clone()
    for channel in rng.permutation(3)[: rng.integers(1, 3)]:
        angle = rng.uniform(0, 2 * np.pi)
        right, down = 2 * length * np.cos(angle) / SIZE, 2 * length * np.sin(angle) / SIZE
        move = torch.tensor([[[1, 0, right], [0, 1, down]]], dtype=torch.float32)
        grid = F.affine_grid(move, [1, 1, SIZE, SIZE], align_corners=False)
        band = crop[None, None, channel]
        crop[channel] = F.grid_sample(band, grid, padding_mode="border", align_corners=False)[0, 0]
    return crop


def _miscoloured(crop: torch.Tensor, has: Attributes, rng: np.random.Generator) -> torch.Tensor:
    """Bands with wrong gains, or taken for one another."""
    has["colour"] = "false"
    if rng.random() < 0.2:
        order = [[1, 0, 2], [2, 1, 0], [0, 2, 1], [1, 2, 0]][rng.integers(4)]
        # The gains show it on grey ground, too.
        return crop[order] * torch.tensor([1.25, 1.0, 0.8])[:, None, None]
    gains = np.ones(3)
    while gains.max() / gains.min() < 1.5:
        gains = rng.uniform(0.4, 1.7, 3)
    has["colour_amount"] = _grade(gains.max() / gains.min(), 1.9, 2.5)
    return crop * torch.tensor(gains, dtype=torch.float32)[:, None, None]


def _veiled(
    crop: torch.Tensor, has: Attributes, rng: np.random.Generator, grey: bool
) -> torch.Tensor:
    """Haze: a bright, slightly blue veil, even or not."""
    strength = rng.uniform(0.32, 0.70)
    has.update(haze="hazy", haze_amount=_grade(strength, 0.40, 0.54))
    veil = torch.from_numpy(np.sort(rng.uniform(0.66, 0.95, 3))[:, None, None].astype(np.float32))
    share: float | torch.Tensor = strength
    if rng.random() < 0.4:
        coarse = torch.from_numpy(rng.uniform(0.5, 1.5, (1, 1, 4, 4)).astype(np.float32))
        uneven = F.interpolate(coarse, (SIZE, SIZE), mode="bicubic")[0]
        share = (strength * uneven).clamp(0.1, 0.85)
    return crop * (1 - share) + share * (veil.mean() if grey else veil)


def _grained(
    crop: torch.Tensor, has: Attributes, rng: np.random.Generator, grey: bool
) -> torch.Tensor:
    """Noise: hardly any, or 0.04 to 0.14 of it; the same or another in each channel."""
    planes = 1 if grey or rng.random() < 0.25 else 3
    grain = torch.from_numpy(rng.standard_normal((planes, SIZE, SIZE)).astype(np.float32))
    if rng.random() < 0.2:  # resampled noise is soft
        grain = blur(grain, 0.6)
        grain = grain / grain.std()
    has["noise"] = "noisy" if rng.random() < 0.22 else "clean"
    if has["noise"] == "clean":
        levels = rng.uniform(40, 255)  # eight bits, of which a dull scene fills a part
        crop = (crop * levels).round() / levels if rng.random() < 0.3 else crop
        # PAN's noise, one plane, is in all bands of a fusion.
        return crop + grain * rng.uniform(0, 0.03 if planes == 1 else 0.02)
    sigma = rng.uniform(0.04, 0.14)
    has["noise_amount"] = _grade(sigma, 0.055, 0.09)
    if rng.random() < 0.3:  # photon noise grows with the signal
        grain = grain * crop.mean(0, keepdim=True).clamp(0.1, 1).sqrt() / 0.6
    return crop + grain * sigma


def degrade_crop(
    crop: torch.Tensor, rng: np.random.Generator, view: str
) -> tuple[torch.Tensor, Attributes]:
    """Show a crop as a product would, put known faults into it, and say which.

    Args:
        crop: reflectance ``(3, SIZE, SIZE)`` from :meth:`Pool.crop`.
        rng: decides which faults, and how much of them.
        view: as in :meth:`Pool.crop`.

    Returns:
        ``(3, SIZE, SIZE)`` in [0, 1], and its attributes. Between "sharp" and "blurred", "clean"
        and "noisy" and so on lies a range that is not made: so the words mean something everywhere,
        and not at one threshold.
    """
    grey = view in ("pan", "band")
    has = {"haze": "clear", "blocks": "smooth", "chroma": "grey" if grey else "coloured"}
    crop = _detail(_display(crop, rng, grey), has, rng)
    if not grey:
        has.update(aligned="aligned", colour="natural" if view == "colour" else "infrared")
        crop = _misregistered(crop, has, rng) if rng.random() < 0.14 else crop
        crop = _miscoloured(crop, has, rng) if view == "colour" and rng.random() < 0.2 else crop
    if rng.random() < 0.16:
        crop = _veiled(crop, has, rng, grey)
    if rng.random() < 0.1:
        has.update(blocks="blocky", sharp="", blur_amount="", halo_amount="")
        squares = F.avg_pool2d(crop[None], int(rng.choice([3, 4, 5, 8])))
        crop = F.interpolate(squares, (SIZE, SIZE), mode="nearest")[0]
    crop = _grained(crop, has, rng, grey).clamp(0, 1)
    has["verdict"] = "poor"
    if FAULTS.isdisjoint(has.values()):
        has["verdict"] = {"sharp": "good", "": ""}.get(has["sharp"], "poor")
        has["type"] = TYPES.get((view, has["sharp"]), "")
    return crop, has | _tone_and_light(crop, grey)


def _tone_and_light(crop: torch.Tensor, grey: bool) -> Attributes:
    """Dominant colour and brightness of what is shown, as far as there are any."""
    means = dict(zip(("green", "blue", "red"), crop.mean((1, 2))[[1, 2, 0]].tolist(), strict=True))
    top, low, mean = max(means.values()), min(means.values()), sum(means.values()) / 3
    tone = ""
    if top - low > 0.18 * top:
        tone = max(means, key=means.__getitem__)
        if tone == "red" and means["green"] >= 0.7 * top:
            tone = "brown"
    elif not grey and top - low < 0.04 * top:
        tone = "grey_tone"
    return {"tone": tone, "light": _grade(mean, 0.22, 0.6, "dark", "bright")}


def draw(pool: Pool, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
    """One degraded crop ``(3, SIZE, SIZE)`` in [0, 1] and its attributes.

    These are an index into VALUES per slot, or -1.
    """
    view = str(rng.choice(["colour", "pan", "band", "infrared"], p=[0.66, 0.16, 0.06, 0.12]))
    crop, ground = pool.crop(rng, view)
    image, has = degrade_crop(crop, rng, view)
    has |= ground
    indices = [VALUES[slot].index(has[slot]) if has.get(slot) else -1 for slot in SLOTS]
    return image, np.array(indices)


def make_batch(
    pool: Pool, rng: np.random.Generator, size: int, texts_count: int | None = None
) -> Batch:
    """Images ``(N, 3, S, S)``, M captions, truth ``(N, M)`` and attributes ``(N, slots)``.

    Truth is 1 where caption j is true of image i, 0 where it is false, and -1 where it cannot be
    told: it states something that the image neither clearly is nor clearly is not, such as
    "slightly blurred" of a medium blur. Only of types it is always known: an image with a fault is
    no MS, PAN or HRMS.

    The captions are those of the first M images: a text costs as much to encode as a third of an
    image.
    """
    images, attributes = zip(*(draw(pool, rng) for _ in range(size)), strict=True)
    texts, statements = zip(*(caption(has, rng) for has in attributes[:texts_count]), strict=True)
    has, stated = torch.tensor(np.array(attributes))[:, None], torch.tensor(np.array(statements))
    agrees = (stated < 0) | (stated == has)
    never_open = torch.tensor([slot == "type" for slot in SLOTS])
    refuted = (~agrees & ((has >= 0) | never_open)).any(-1)
    truth = torch.where(agrees.all(-1), 1, torch.where(refuted, 0, -1))
    return torch.stack(images), list(texts), truth, has[:, 0]


class Batches(Dataset[Batch]):
    """Training batches by number.

    A batch depends on the seed and its number alone, so a stopped training can go on.
    """

    def __init__(self, pool: Pool, seed: int, size: int, texts_count: int):
        self.pool, self.seed, self.size, self.texts_count = pool, seed, size, texts_count

    def __getitem__(self, number: int) -> Batch:
        rng = np.random.default_rng([self.seed, number])
        return make_batch(self.pool, rng, self.size, self.texts_count)
