"""Training ground of the bundled CLIP: crops of procedural pictures whose content is known.

Three kinds of ground, all painted with the materials of :mod:`clippan_lite.data.materials` and seen by sensor models:
landscapes at half a metre (:func:`clippan_lite.data.synthetic.make_landscape`), regions at 10 to 30 metres
(:func:`make_region`), and piles of random shapes (:func:`make_shapes`), which mean nothing but have the edges and
textures of every size that real pictures have and parcels of one colour lack.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from clippan_lite.data import synthetic
from clippan_lite.data.materials import MATERIALS
from clippan_lite.data.synthetic import LANDUSE, Landscape, noise_field
from clippan_lite.physics import sensors
from clippan_lite.pretraining.captions import VALUES

SIZE = 64  # side of a crop, the bundled CLIP's input
SENSORS = ("WV2", "WV3", "QB", "IKONOS", "GE1", "GF2")
#: Which surface of the captions each material is; those left out have no name of their own.
SURFACES = {
    "grass": "grass", "crop": "crop", "stubble": "stubble", "forest": "trees", "soil": "soil", "dark soil": "soil",
    "sand": "sand", "water": "water", "algae": "water", "asphalt": "asphalt", "concrete": "concrete",
    "red roof": "roofs", "grey roof": "roofs", "metal roof": "roofs", "blue roof": "roofs",
}  # fmt: skip
_SURFACE = np.array(
    [VALUES["surface"].index(SURFACES[m]) if m in SURFACES else 99 for m in MATERIALS]
)
_M = {name: i for i, name in enumerate(MATERIALS)}
_L = {name: i for i, name in enumerate(LANDUSE)}
_CONTENT = [VALUES["content"].index(use) for use in LANDUSE]
#: First landscape of the pools: far from the seeds of scenes that users, notebooks and tests make.
FIRST_SEED = 10**9


def _fractal(rng: np.random.Generator, size: int, coarsest: float, fall: float = 0.7) -> np.ndarray:
    """Unit-variance noise with features of all sizes from ``coarsest`` pixels down to 2."""
    field, scale, weight = np.zeros((size, size), np.float32), coarsest, 1.0
    while scale >= 2:
        field += weight * noise_field(rng, size, scale)
        scale, weight = scale / 2, weight * fall
    return (field - field.mean()) / (field.std() + 1e-6)


def make_region(seed: int, size: int = 512) -> Landscape:
    """Ground as seen with pixels of 10 to 30 m: small fields, shaded hills, towns as speckle, rivers, thin roads.

    Args:
        seed: same seed, same region.
        size: side in pixels.
    """
    rng = np.random.default_rng([seed, 2])
    blank = np.zeros((size, size), np.float32)
    land = Landscape(
        blank.astype(np.int16),
        blank.astype(np.int16),
        blank.copy(),
        blank + 1,
        blank.astype(np.int16),
    )
    parcel, _, count = synthetic.parcels(rng, size, cell=rng.uniform(70, 150))
    share = [1.5, 1.0, 0.8, 0.4, 0.6, 0.8]  # of a Dirichlet draw: some regions hold almost one use
    uses = rng.choice(
        ["field", "forest", "houses", "industry", "water", "soil"], count, p=rng.dirichlet(share)
    )
    kind = np.array([_L[use] for use in uses], np.int16)[parcel]
    land.landuse[:] = kind
    fields, _, fields_count = synthetic.parcels(rng, size, cell=rng.uniform(6, 22))
    bare = 0.85 if rng.random() < 0.35 else 0.35  # dry country, or after the harvest
    plants = np.where(
        rng.random(fields_count) < bare,
        rng.choice(["stubble", "soil", "soil", "dark soil", "sand"], fields_count),
        rng.choice(["crop", "crop", "grass"], fields_count),
    )
    crops = np.array([_M[m] for m in plants])
    texture = {scale: noise_field(rng, size, scale) for scale in (2.2, 5, 20)}
    hills = _fractal(rng, size, rng.uniform(30, 120))
    slope = np.gradient(hills, axis=0) + np.gradient(hills, axis=1)
    slope /= slope.std() + 1e-6

    def paint(
        use: str, first: str | np.ndarray, second: str, mix: np.ndarray, light: np.ndarray
    ) -> None:
        where = kind == _L[use]
        land.first[where] = first[where] if isinstance(first, np.ndarray) else _M[first]
        land.second[where], land.mix[where], land.light[where] = (
            _M[second],
            np.clip(mix, 0, 1)[where],
            light[where],
        )

    share = rng.uniform(0, 0.5, fields_count)[fields]
    bright = rng.uniform(0.85, 1.15, fields_count)[fields]
    paint(
        "field", crops[fields], str(rng.choice(["grass", "soil"])), share + 0.1 * texture[5], bright
    )
    relief = rng.uniform(0, 0.5)
    paint(
        "forest",
        "forest",
        "grass",
        0.15 + 0.15 * texture[20],
        1 + relief * slope + 0.08 * texture[2.2],
    )
    speckle = rng.random((size, size)).astype(np.float32)
    towns = ["grey roof", "red roof", "concrete", "metal roof"]
    green = str(rng.choice(["grass", "forest", "soil"]))
    paint(
        "houses",
        str(rng.choice(towns[:3])),
        green,
        0.9 * speckle + 0.15 * texture[5],
        0.7 + 0.6 * speckle[::-1],
    )
    big = np.clip(0.5 + 0.6 * noise_field(rng, size, 3), 0, 1)
    paint("industry", str(rng.choice(towns[2:])), "asphalt", big, 0.8 + 0.4 * speckle.T)
    paint("water", "water", "algae", 0.3 + 0.2 * noise_field(rng, size, 60), blank + 1)
    ground = str(rng.choice(["soil", "sand", "dark soil"]))
    paint("soil", ground, "sand", 0.4 + 0.3 * texture[20], 1 + relief * slope + 0.1 * texture[5])
    if rng.random() < 0.7:
        synthetic.paint_band(land, rng, rng.uniform(1.5, 8), "river")
    for _ in range(int(rng.integers(1, 4))):
        synthetic.paint_band(land, rng, rng.uniform(0.4, 1.0), "road")
    land.light *= (
        1 + 0.03 * texture[2.2] + 0.03 * rng.standard_normal((size, size)).astype(np.float32)
    )
    land.light[:] = np.clip(land.light, 0.25, 2.0)
    return land


def make_shapes(seed: int, size: int = 512) -> Landscape:
    """Rectangles, discs and stripes of random materials over one another, sizes by a power law; content unknown."""
    rng = np.random.default_rng([seed, 3])
    blank = np.zeros((size, size), np.float32)
    land = Landscape(
        blank.astype(np.int16),
        blank.astype(np.int16),
        blank.copy(),
        blank + 1,
        blank.astype(np.int16),
    )
    land.first[:], land.second[:] = rng.integers(len(MATERIALS), size=2)
    smallest = rng.uniform(1.0, 4.0)
    for _ in range(int(rng.integers(1500, 4000))):
        half = smallest / np.sqrt(rng.uniform((smallest / 70) ** 2, 1)), rng.uniform(0.15, 1)
        box = synthetic.box_at(
            land,
            *rng.uniform(0, size, 2),
            (half[0], max(0.8, half[0] * half[1])),
            rng.uniform(0, np.pi),
        )
        if box is None:
            continue
        window, mask, ridge = box
        if rng.random() < 0.3:  # a disc
            rr, cc = np.indices(mask.shape) - np.array(mask.shape)[:, None, None] // 2
            mask = rr**2 + cc**2 <= half[0] ** 2
        land.first[window][mask], land.second[window][mask] = rng.integers(len(MATERIALS), size=2)
        land.mix[window][mask] = rng.uniform(0, 0.7)
        land.light[window][mask] = (rng.uniform(0.35, 1.5) * (1 + rng.uniform(-0.2, 0.2) * ridge))[
            mask
        ]
    land.light *= 1 + rng.uniform(0, 0.25) * _fractal(rng, size, 64, rng.uniform(0.5, 1.0))
    land.light[:] = np.clip(land.light, 0.15, 2.2)
    return land


def blur(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of ``(C, H, W)``, the border repeated."""
    radius = int(3 * sigma + 1)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).repeat(len(x), 1)
    x = F.pad(x[None], (radius,) * 4, mode="replicate")
    rows = F.conv2d(x, kernel[:, None, None], groups=x.shape[1])
    return F.conv2d(rows, kernel[:, None, :, None], groups=x.shape[1])[0]


def enlarged(x: torch.Tensor, factor: int, mode: str = "bicubic") -> torch.Tensor:
    """Blurred, every ``factor``-th pixel kept, brought back to size: what MS looks like on PAN's grid.

    It comes back up to (factor - 1) / 2 pixels away from where it was, as MS often lies off PAN.
    """
    small = (
        F.avg_pool2d(x[None], factor)
        if mode == "nearest"
        else blur(x, 0.5 * factor)[None, :, ::factor, ::factor]
    )
    return F.interpolate(small, x.shape[-2:], mode=mode)[0]


def fused(crop: torch.Tensor, pan: torch.Tensor, factor: int) -> torch.Tensor:
    """Coarser colours with PAN's detail in every band, by regression: how pansharpened products look."""
    low, pan_low = enlarged(crop, factor), enlarged(pan, factor)
    light = low.mean(0, keepdim=True)
    centred = light - light.mean()
    detail = (pan - pan_low) * (light.std() / (pan_low.std() + 1e-6))
    slope = ((low - low.mean((1, 2), keepdim=True)) * centred).mean((1, 2)) / (
        centred.square().mean() + 1e-8
    )
    return low + slope.clamp(0, 3)[:, None, None] * detail


class Pool:
    """Procedural ground seen by random sensors, held as reflectance, from which crops are cut.

    Of ``count`` pictures a half are landscapes, a quarter regions and a quarter shapes.
    """

    def __init__(self, seed: int, count: int, size: int = 512, progress: bool = True):
        self.images, self.bright, self.landuse, self.surface, self.kind, self.rgb = (
            [],
            [],
            [],
            [],
            [],
            [],
        )
        for index in tqdm(range(count), desc="ground", disable=not progress):
            kind = ("land", "region", "land", "shapes")[index % 4]
            make = {"land": synthetic.make_landscape, "region": make_region, "shapes": make_shapes}[
                kind
            ]
            land = make(FIRST_SEED + seed * 100_000 + index, size)
            sensor = sensors.get(SENSORS[(index // 4 + index) % len(SENSORS)])
            bands, pan = synthetic.observe(land, sensor)
            self.images.append(np.concatenate([bands, pan]).astype(np.float16))
            self.bright.append(np.percentile(self.images[-1], 99.5, axis=(1, 2)).astype(np.float32))
            self.landuse.append(land.landuse)
            self.surface.append(
                _SURFACE[np.where(land.mix < 0.5, land.first, land.second)].astype(np.int8)
            )
            self.kind.append(kind)
            self.rgb.append(sensor.rgb)

    def crop(self, rng: np.random.Generator, view: str) -> tuple[torch.Tensor, dict[str, int]]:
        """One crop ``(3, SIZE, SIZE)``, reflectance, and what is known of its ground: -1 where mixed.

        ``view`` is ``"colour"``, ``"pan"``, ``"band"`` (any single MS band) or ``"infrared"`` (NIR, red, green).
        """
        index = int(rng.integers(len(self.images)))
        image, kind = self.images[index], self.kind[index]
        size = image.shape[-1]
        side = (
            int(rng.choice([64, 64, 96, 128, 192]))
            if kind == "land"
            else int(rng.choice([64, 64, 80, 112]))
        )
        r, c = rng.integers(0, size - side + 1, 2)
        where = (slice(r, r + side), slice(c, c + side))
        has = {"content": -1, "surface": -1, "scale": -1}
        if kind == "region" or (kind == "land" and side == SIZE):  # shrunken landscapes are neither
            has["scale"] = VALUES["scale"].index("wide" if kind == "region" else "close")
        if kind != "shapes":
            uses = np.bincount(self.landuse[index][where].ravel(), minlength=len(LANDUSE)) / side**2
            road = kind == "land" and uses[_L["road"]] > 0.25
            if uses.max() >= 0.6 and not road:
                has["content"] = _CONTENT[int(uses.argmax())]
            elif road and uses.max() < 0.6:
                has["content"] = VALUES["content"].index("road")
            covers = np.bincount(self.surface[index][where].ravel(), minlength=100) / side**2
            if covers[:99].max() >= 0.6:
                has["surface"] = int(covers[:99].argmax())
            # Seen from far, mostly bare fields are bare soil: "fields" are those where something grows.
            if kind == "region" and has["content"] == VALUES["content"].index("field"):
                bare = sum(
                    covers[VALUES["surface"].index(cover)] for cover in ("soil", "stubble", "sand")
                )
                has["content"] = (
                    VALUES["content"].index("soil")
                    if bare > 0.6
                    else has["content"]
                    if bare < 0.4
                    else -1
                )
        bands = len(image) - 1
        channels = {
            "colour": list(self.rgb[index]),
            "infrared": [bands - 1, *self.rgb[index][:2]],
        }.get(view)
        if channels is None:
            channels = [bands if view == "pan" else int(rng.integers(bands))] * 3
        # Products are stretched per band or for all bands alike, or something between.
        gain = (self.bright[index][channels] / self.bright[index][channels].mean()) ** -rng.uniform(
            0, 1
        )
        crop = torch.from_numpy(image[(channels, *where)].astype(np.float32) * gain[:, None, None])
        if view in ("colour", "infrared") and rng.random() < 0.4:
            pan = torch.from_numpy(image[(slice(bands, None), *where)].astype(np.float32))
            crop = fused(crop, pan, int(rng.choice([2, 4, 4, 4])))
        if side != SIZE:  # smooth, or with some of the aliasing that MS as delivered has
            smooth = side > 112 or bool(rng.random() < 0.6)
            crop = F.interpolate(crop[None], (SIZE, SIZE), mode="bicubic", antialias=smooth)[0]
        crop = torch.rot90(crop, int(rng.integers(4)), (-2, -1))
        return (crop.flip(-1) if rng.random() < 0.5 else crop).clamp(min=1e-3), has
