"""Training ground of the included CLIP: crops of procedural pictures whose content is known.

There are three kinds of ground. All are painted with the materials of
:mod:`clippan_lite.data.materials` and seen by sensor models: landscapes at half a metre
(:func:`clippan_lite.data.synthetic.make_landscape`), regions at 10 to 30 metres
(:func:`make_region`), and piles of random shapes (:func:`make_shapes`). The shapes mean nothing,
but they have edges and textures of every size, as real pictures do and parcels of one colour do
not.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from clippan_lite.data import synthetic
from clippan_lite.data.materials import MATERIALS
from clippan_lite.data.synthetic import LANDUSE, Landscape, noise_field
from clippan_lite.physics import sensors
from clippan_lite.pretraining.captions import VALUES

SIZE = 64  # side of a crop, the included CLIP's input
SENSORS = ("WV2", "WV3", "QB", "IKONOS", "GE1", "GF2")
#: Which surface of the captions each material is; the others have no name there.
SURFACES = {
    "grass": "grass", "crop": "crop", "stubble": "stubble", "forest": "trees", "soil": "soil",
    "dark soil": "soil", "sand": "sand", "water": "water", "algae": "water", "asphalt": "asphalt",
    "concrete": "concrete", "red roof": "roofs", "grey roof": "roofs", "metal roof": "roofs",
    "blue roof": "roofs",
}  # fmt: skip
_NAMES = (*VALUES["surface"], "")
_SURFACE = np.array([_NAMES.index(SURFACES.get(material, "")) for material in MATERIALS], np.int8)
_BARE = [_NAMES.index(surface) for surface in ("soil", "stubble", "sand")]
_M = {name: i for i, name in enumerate(MATERIALS)}
_L = {name: i for i, name in enumerate(LANDUSE)}
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
    """Draw ground as pixels of 10 to 30 m show it.

    It has small fields, shaded hills, towns as speckle, rivers and thin roads.

    Args:
        seed: same seed, same region.
        size: side in pixels.
    """
    rng = np.random.default_rng([seed, 2])
    land = Landscape.blank(size)
    parcel, _, count = synthetic.parcels(rng, size, cell=rng.uniform(70, 150))
    weights = [1.5, 1.0, 0.8, 0.4, 0.6, 0.8]  # of a Dirichlet draw: some regions hold one use only
    kinds = ["field", "forest", "houses", "industry", "water", "soil"]
    uses = rng.choice(kinds, count, p=rng.dirichlet(weights))
    land.landuse[:] = np.array([_L[use] for use in uses])[parcel]
    where = {use: land.landuse == _L[use] for use in kinds}
    fields, _, fields_count = synthetic.parcels(rng, size, cell=rng.uniform(6, 22))
    bare = 0.85 if rng.random() < 0.35 else 0.35  # dry country, or after the harvest
    plants = np.where(
        rng.random(fields_count) < bare,
        rng.choice(["stubble", "soil", "soil", "dark soil", "sand"], fields_count),
        rng.choice(["crop", "crop", "grass"], fields_count),
    )
    crops = np.array([_M[m] for m in plants])
    fine, middle, coarse = (noise_field(rng, size, scale) for scale in (2.2, 5, 20))
    hills = _fractal(rng, size, rng.uniform(30, 120))
    slope = np.gradient(hills, axis=0) + np.gradient(hills, axis=1)
    slope /= slope.std() + 1e-6

    share = rng.uniform(0, 0.5, fields_count)[fields]
    bright = rng.uniform(0.85, 1.15, fields_count)[fields]
    verge = rng.choice(["grass", "soil"])
    land.paint(where["field"], "crop", verge, share + 0.1 * middle, bright)
    np.copyto(land.first, crops[fields], where=where["field"])
    relief = rng.uniform(0, 0.5)
    hillside = 1 + relief * slope
    land.paint(where["forest"], "forest", "grass", 0.15 + 0.15 * coarse, hillside + 0.08 * fine)
    speckle = rng.random((size, size)).astype(np.float32)
    towns = ["grey roof", "red roof", "concrete", "metal roof"]
    green, roof = rng.choice(["grass", "forest", "soil"]), rng.choice(towns[:3])
    lit = 0.7 + 0.6 * speckle[::-1]
    land.paint(where["houses"], roof, green, 0.9 * speckle + 0.15 * middle, lit)
    yards = 0.5 + 0.6 * noise_field(rng, size, 3)
    land.paint(where["industry"], rng.choice(towns[2:]), "asphalt", yards, 0.8 + 0.4 * speckle.T)
    land.paint(where["water"], "water", "algae", 0.3 + 0.2 * noise_field(rng, size, 60))
    ground = rng.choice(["soil", "sand", "dark soil"])
    land.paint(where["soil"], ground, "sand", 0.4 + 0.3 * coarse, hillside + 0.1 * middle)
    np.clip(land.mix, 0, 1, out=land.mix)
    if rng.random() < 0.7:
        synthetic.paint_band(land, rng, rng.uniform(1.5, 8), "river")
    for _ in range(int(rng.integers(1, 4))):
        synthetic.paint_band(land, rng, rng.uniform(0.4, 1.0), "road")
    grain = 0.03 * rng.standard_normal((size, size)).astype(np.float32)
    land.light *= 1 + 0.03 * fine + grain
    np.clip(land.light, 0.25, 2.0, out=land.light)
    return land


def make_shapes(seed: int, size: int = 512) -> Landscape:
    """Draw rectangles and discs of random materials over one another; content unknown.

    Their sizes follow a power law.
    """
    rng = np.random.default_rng([seed, 3])
    land = Landscape.blank(size)
    land.first[:], land.second[:] = rng.integers(len(MATERIALS), size=2)
    smallest = rng.uniform(1.0, 4.0)
    for _ in range(int(rng.integers(1500, 4000))):
        length = smallest / np.sqrt(rng.uniform((smallest / 70) ** 2, 1))
        half = (length, max(0.8, length * rng.uniform(0.15, 1)))
        row, col = rng.uniform(0, size, 2)
        box = synthetic.box_at(land, row, col, half, rng.uniform(0, np.pi))
        if box is None:
            continue
        window, mask, ridge = box
        if rng.random() < 0.3:  # a disc
            down, right = np.indices(mask.shape) - np.array(mask.shape)[:, None, None] // 2
            mask = down**2 + right**2 <= length**2
        first, second = rng.integers(len(MATERIALS), size=2)
        mix = rng.uniform(0, 0.7)
        light = rng.uniform(0.35, 1.5) * (1 + rng.uniform(-0.2, 0.2) * ridge)
        land[window].paint(mask, MATERIALS[first], MATERIALS[second], mix, light)
    land.light *= 1 + rng.uniform(0, 0.25) * _fractal(rng, size, 64, rng.uniform(0.5, 1.0))
    np.clip(land.light, 0.15, 2.2, out=land.light)
    return land


def blur(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of ``(C, H, W)``, the border repeated."""
    radius = int(3 * sigma + 1)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).repeat(len(x), 1)
    x = F.pad(x[None], (radius,) * 4, mode="replicate")
    rows = F.conv2d(x, kernel[:, None, None], groups=x.shape[1])
    return F.conv2d(rows, kernel[:, None, :, None], groups=x.shape[1])[0]


def enlarged(x: torch.Tensor, factor: int) -> torch.Tensor:
    """Shrink ``(C, H, W)`` and bring it back to size: what MS looks like on PAN's grid.

    It comes back up to (factor - 1) / 2 pixels away from where it was, as MS often lies off PAN.
    """
    small = blur(x, 0.5 * factor)[None, :, ::factor, ::factor]
    return F.interpolate(small, x.shape[-2:], mode="bicubic")[0]


def fused(crop: torch.Tensor, pan: torch.Tensor, factor: int) -> torch.Tensor:
    """Coarser colours with PAN's detail in every band, by regression: as products look."""
    low, pan_low = enlarged(crop, factor), enlarged(pan, factor)
    light = low.mean(0, keepdim=True)
    centred = light - light.mean()
    detail = (pan - pan_low) * (light.std() / (pan_low.std() + 1e-6))
    covariance = ((low - low.mean((1, 2), keepdim=True)) * centred).mean((1, 2))
    slope = covariance / (centred.square().mean() + 1e-8)
    return low + slope.clamp(0, 3)[:, None, None] * detail


@dataclass
class Picture:
    """Ground seen by a sensor.

    Attributes:
        kind: ``"land"``, ``"region"`` or ``"shapes"``.
        image: reflectance ``(C + 1, H, W)``, PAN last.
        bright: 99.5th percentile of each of its bands.
        rgb: bands shown as red, green and blue.
        landuse, surface: ``(H, W)``, indices into LANDUSE and into the surfaces of the captions.
    """

    kind: str
    image: np.ndarray
    bright: np.ndarray
    rgb: tuple[int, int, int]
    landuse: np.ndarray
    surface: np.ndarray

    def known(self, window: tuple[slice, slice]) -> dict[str, str]:
        """Content, surface and scale of a window; ``""`` where no name fits."""
        if self.kind == "shapes":
            return {}
        landuse, surface = self.landuse[window], self.surface[window]
        content, region = _main(landuse, LANDUSE), self.kind == "region"
        if not region and (landuse == _L["road"]).mean() > 0.25:
            content = "" if content else "road"
        if region and content == "field":
            # Seen from far, bare fields are bare soil: "fields" are those where something grows.
            bare = np.isin(surface, _BARE).mean()
            if bare >= 0.4:
                content = "soil" if bare > 0.6 else ""
        scale = "wide" if region else "close"
        if not region and landuse.shape[0] > SIZE:  # a shrunken landscape is neither
            scale = ""
        return {"content": content, "surface": _main(surface, _NAMES), "scale": scale}


def _main(index: np.ndarray, names: tuple[str, ...]) -> str:
    """The name that covers 60 % of an index map or more, ``""`` if none does."""
    shares = np.bincount(index.ravel()) / index.size
    return names[shares.argmax()] if shares.max() >= 0.6 else ""


#: Kinds of pictures in turn, and who draws them.
MAKERS: tuple[tuple[str, Callable[[int, int], Landscape]], ...] = (
    ("land", synthetic.make_landscape),
    ("region", make_region),
    ("land", synthetic.make_landscape),
    ("shapes", make_shapes),
)


class Pool:
    """Procedural ground seen by random sensors, from which crops are cut.

    Of ``count`` pictures a half are landscapes, a quarter regions and a quarter shapes.
    """

    def __init__(self, seed: int, count: int, size: int = 512, progress: bool = True):
        self.pictures: list[Picture] = []
        for index in tqdm(range(count), desc="ground", disable=not progress):
            kind, make = MAKERS[index % 4]
            land = make(FIRST_SEED + seed * 100_000 + index, size)
            sensor = sensors.get(SENSORS[(index // 4 + index) % len(SENSORS)])
            image = np.concatenate(synthetic.observe(land, sensor)).astype(np.float16)
            bright = np.percentile(image, 99.5, axis=(1, 2)).astype(np.float32)
            surface = _SURFACE[np.where(land.mix < 0.5, land.first, land.second)]
            self.pictures.append(Picture(kind, image, bright, sensor.rgb, land.landuse, surface))

    def crop(self, rng: np.random.Generator, view: str) -> tuple[torch.Tensor, dict[str, str]]:
        """One crop ``(3, SIZE, SIZE)``, reflectance, and what is known of its ground, by slot.

        ``view`` is ``"colour"``, ``"pan"``, ``"band"`` (any single MS band) or ``"infrared"`` (NIR,
        red, green).
        """
        picture = self.pictures[int(rng.integers(len(self.pictures)))]
        image, rgb = picture.image, picture.rgb
        sides = [64, 64, 96, 128, 192] if picture.kind == "land" else [64, 64, 80, 112]
        side = int(rng.choice(sides))
        row, col = rng.integers(0, image.shape[-1] - side + 1, 2)
        window = (slice(row, row + side), slice(col, col + side))
        bands = len(image) - 1
        single = int(rng.integers(bands)) if view == "band" else bands
        channels = {"colour": list(rgb), "infrared": [bands - 1, *rgb[:2]]}.get(view, [single] * 3)
        # Products are stretched per band or for all bands alike, or something between.
        bright = picture.bright[channels]
        gain = (bright / bright.mean()) ** -rng.uniform(0, 1)
        crop = torch.from_numpy(image[(channels, *window)].astype(np.float32) * gain[:, None, None])
        if view in ("colour", "infrared") and rng.random() < 0.4:
            pan = torch.from_numpy(image[(slice(bands, None), *window)].astype(np.float32))
            crop = fused(crop, pan, int(rng.choice([2, 4, 4, 4])))
        if side != SIZE:  # smooth, or with some of the aliasing that MS as delivered has
            smooth = side > 112 or bool(rng.random() < 0.6)
            crop = F.interpolate(crop[None], (SIZE, SIZE), mode="bicubic", antialias=smooth)[0]
        crop = torch.rot90(crop, int(rng.integers(4)), (-2, -1))
        crop = crop.flip(-1) if rng.random() < 0.5 else crop
        return crop.clamp(min=1e-3), picture.known(window)
