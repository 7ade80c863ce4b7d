"""Synthetic overhead scenes with full-resolution truth: a landscape of materials, seen by a sensor.

There are two steps, so that several sensors can look at one landscape:

1. :func:`make_landscape` draws land use (fields, forest, houses, industry, water, roads, bare soil)
   on PAN's grid. Each pixel mixes two materials, in some proportion and under some light.
2. :func:`observe` integrates the materials' reflectance over the sensor's bands. :func:`make_scene`
   adds the MTF, noise and quantisation, and returns PAN, MS **and** the full-resolution truth.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from rasterio import Affine
from rasterio.crs import CRS
from scipy import ndimage
from scipy.spatial import cKDTree

from clippan_lite.data.materials import MATERIALS, reflectance
from clippan_lite.data.pair import Pair
from clippan_lite.physics import degrade, sensors

LANDUSE = ("field", "forest", "houses", "industry", "water", "road", "soil")
_M = {name: i for i, name in enumerate(MATERIALS)}
_L = {name: i for i, name in enumerate(LANDUSE)}
_SUN = (-0.7, -0.7)  # direction that shadows point away from, (row, column)
_PAINTS = ["red car", "metal roof", "blue roof"]  # of cars
_ROOFS = {
    "houses": ["red roof", "red roof", "grey roof", "dark soil", "metal roof"],
    "industry": ["metal roof", "grey roof", "blue roof", "concrete", "metal roof"],
}


@dataclass
class Landscape:
    """What is on the ground, ``(H, W)`` arrays on PAN's grid.

    ``first`` and ``second`` index :data:`MATERIALS`, and ``mix`` in [0, 1] is the share of
    ``second``. ``light`` multiplies the reflectance: 1 is full sun on flat ground, shadows have
    about 0.35. ``landuse`` indexes :data:`LANDUSE`. ``land[window]`` is a part of the same arrays.
    """

    first: np.ndarray
    second: np.ndarray
    mix: np.ndarray
    light: np.ndarray
    landuse: np.ndarray

    @classmethod
    def blank(cls, size: int) -> Landscape:
        """A square of ``size`` pixels, evenly lit, where everything else is 0."""
        index, number = np.zeros((size, size), np.int16), np.zeros((size, size), np.float32)
        return cls(index, index.copy(), number, number + 1, index.copy())

    def __getitem__(self, window: tuple[slice, slice]) -> Landscape:
        maps = (self.first, self.second, self.mix, self.light, self.landuse)
        return Landscape(*(values[window] for values in maps))

    def paint(
        self,
        where: np.ndarray,
        first: str,
        second: str,
        mix: float | np.ndarray,
        light: float | np.ndarray | None = None,
    ) -> None:
        """Put two materials at the pixels ``where`` ``(H, W)`` bool.

        ``mix`` and ``light`` are one number or ``(H, W)``; without ``light`` it stays as it is.
        """
        self.first[where], self.second[where] = _M[first], _M[second]
        self.mix[where] = np.broadcast_to(mix, where.shape)[where]
        if light is not None:
            self.light[where] = np.broadcast_to(light, where.shape)[where]


def noise_field(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Smooth random field ``(size, size)``, features about ``scale`` pixels wide.

    It has zero mean and unit variance.
    """
    coarse = max(4, int(np.ceil(size / scale)) + 3)
    grid = rng.standard_normal((coarse, coarse)).astype(np.float32)
    # Cubic zoom of a coarse grid: its cost does not grow with scale, as a Gaussian filter's would.
    step = (coarse - 3.0) / size
    axes = [np.arange(size) * step + 1 + offset * 0.5 for offset in rng.uniform(0, 1, 2)]
    places = np.meshgrid(*axes, indexing="ij")
    field = ndimage.map_coordinates(grid, places, order=3, mode="nearest")
    return ((field - field.mean()) / (field.std() + 1e-6)).astype(np.float32)


def parcels(rng: np.random.Generator, size: int, cell: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Voronoi parcels with warped borders: index map, distance to the border, count."""
    rows, cols = np.mgrid[0:size, 0:size].astype(np.float32)
    rows = rows + noise_field(rng, size, cell * 1.5) * cell * 0.10
    cols = cols + noise_field(rng, size, cell * 1.5) * cell * 0.10
    count = max(6, int((size / cell) ** 2) + 4)
    seeds = rng.uniform(-0.15 * size, 1.15 * size, (count, 2))
    places = np.stack([rows, cols], -1).reshape(-1, 2)
    distance, index = cKDTree(seeds).query(places, k=2, workers=-1)
    border = (distance[:, 1] - distance[:, 0]).reshape(size, size).astype(np.float32)
    return index[:, 0].reshape(size, size), border, count


def _turned(rows: np.ndarray, cols: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across a direction."""
    cos, sin = np.cos(angle), np.sin(angle)
    return rows * cos + cols * sin, -rows * sin + cols * cos


def box_at(
    land: Landscape, row: float, col: float, half: tuple[float, float], angle: float
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray] | None:
    """Window, mask and ridge coordinate in [-1, 1] of a rotated rectangle; None off the map."""
    size = land.first.shape[0]
    reach = int(np.hypot(*half)) + 2
    top, left = int(row) - reach, int(col) - reach
    bottom, right = int(row) + reach + 1, int(col) + reach + 1
    if min(top, left) < 0 or max(bottom, right) > size:
        return None
    window = (slice(top, bottom), slice(left, right))
    rows, cols = np.mgrid[window]
    u, v = _turned(rows - row, cols - col, angle)
    return window, (np.abs(u) <= half[0]) & (np.abs(v) <= half[1]), u / half[0]


def _building(
    land: Landscape,
    rng: np.random.Generator,
    place: tuple[float, float],
    half: tuple[float, float],
    angle: float,
    roof: str,
    gable: bool = False,
) -> None:
    """Paint one building, or car, with its shadow."""
    row, col = place
    height = rng.uniform(2, 4) if gable else rng.uniform(2, 6)
    shadow = box_at(land, row - _SUN[0] * height, col - _SUN[1] * height, half, angle)
    body = box_at(land, row, col, half, angle)
    if body is None or shadow is None:
        return
    window, mask, _ = shadow
    land.light[window][mask] *= 0.4
    window, mask, ridge = body
    # A gable roof has a sunlit and a shaded side: the sharpest line of a town seen from above.
    side = np.where(ridge * np.cos(angle) > 0, 0.78, 1.12) if gable else 1.0
    mix = rng.uniform(0, 0.35)
    land[window].paint(mask, roof, "grey roof", mix, side * rng.uniform(0.85, 1.1))


def _each(
    index_map: np.ndarray, where: np.ndarray
) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """Of every parcel: the window that holds it, and which pixels of the window belong to it."""
    # Windows, or the cost would grow with the square of the area.
    windows = ndimage.find_objects(np.where(where, index_map + 1, 0))
    for index, window in enumerate(windows):
        if window is not None:
            yield window, where[window] & (index_map[window] == index)


def _trees(
    land: Landscape,
    rng: np.random.Generator,
    places: np.ndarray,
    count: int,
    radius: tuple[float, float],
) -> None:
    """Scatter round crowns, lit from one side, with shadows, on some of the places ``(N, 2)``."""
    for row, col in places[rng.integers(0, len(places), count)] if len(places) else ():
        r = rng.uniform(*radius)
        shadow = _disc(land, row - _SUN[0] * r, col - _SUN[1] * r, r)
        if shadow is not None:
            part, disc, _ = shadow
            part.light[disc] *= 0.55
        crown = _disc(land, row, col, r)
        if crown is not None:
            part, disc, sunward = crown
            part.paint(disc, "forest", "grass", rng.uniform(0, 0.5), 1.0 + 0.4 * sunward / r)


def _disc(
    land: Landscape, row: float, col: float, r: float
) -> tuple[Landscape, np.ndarray, np.ndarray] | None:
    """The part of a map around a disc, its mask, and pixels towards the sun; None off the map."""
    box = box_at(land, row, col, (r, r), 0.0)
    if box is None:
        return None
    rows, cols = np.mgrid[box[0]]
    down, right = rows - row, cols - col
    return land[box[0]], down**2 + right**2 <= r * r, down * _SUN[0] + right * _SUN[1]


def _paint_fields(
    land: Landscape, rng: np.random.Generator, where: np.ndarray, parcel: np.ndarray
) -> None:
    """Crops, stubble, grass and soil, one mixture a parcel, with tillage rows."""
    patchy = noise_field(rng, len(where), 30)
    for window, here in _each(parcel, where):
        first, second = rng.choice(["crop", "grass", "stubble", "soil", "crop", "dark soil"], 2)
        angle, period = rng.uniform(0, np.pi), rng.uniform(3, 9)
        rows, cols = np.mgrid[window]
        along, _ = _turned(rows, cols, angle)
        stripes = np.sin(along * 2 * np.pi / period)
        mix = np.clip(rng.uniform(0, 0.5) + 0.12 * patchy[window] + 0.10 * stripes, 0, 1)
        land[window].paint(here, first, second, mix, 1 + 0.05 * stripes * rng.uniform(0, 1.2))


def _paint_town(
    land: Landscape, rng: np.random.Generator, where: np.ndarray, parcel: np.ndarray, kind: str
) -> None:
    """Houses with gardens, or industry with big flat roofs and car parks, along a street grid.

    The street grid is turned in each parcel.
    """
    houses = kind == "houses"
    ground = ("grass", "soil") if houses else ("concrete", "asphalt")
    land.paint(where, *ground, np.clip(0.35 + 0.25 * noise_field(rng, len(where), 10), 0, 1))
    pitch = rng.uniform(30, 38) if houses else rng.uniform(60, 85)
    # Of buildings: where they stand between two streets, and half their sides in units.
    sides = (0.32, 0.78) if houses else (0.57,)
    unit, widths, lengths = (
        (1, (3.0, 4.6), (3.2, 5.5)) if houses else (pitch, (0.2, 0.36), (0.2, 0.38))
    )
    for window, here in _each(parcel, where):
        angle = rng.uniform(0, np.pi / 2)
        rows, cols = np.mgrid[window]
        u, v = _turned(rows, cols, angle)
        street = here & ((u % pitch < 5) | (v % (pitch * 3) < 5))
        part = land[window]
        part.paint(street, "asphalt", "concrete", 0.15)
        part.landuse[street] = _L["road"]
        corner = (window[0].start, window[1].start)
        lot = here & ~street
        blocks = np.arange(np.floor(u[here].min() / pitch), np.ceil(u[here].max() / pitch) + 1)
        step = rng.uniform(11, 15) if houses else pitch
        middles = np.arange(v[here].min(), v[here].max(), step)
        for block, middle, side in itertools.product(blocks, middles, sides):
            along = (block + side) * pitch + rng.uniform(-1, 1)
            across = middle + rng.uniform(-1.5, 1.5)
            row = along * np.cos(angle) - across * np.sin(angle)
            col = along * np.sin(angle) + across * np.cos(angle)
            r, c = int(row) - corner[0], int(col) - corner[1]
            inside = min(row, col, r, c) >= 0 and r < lot.shape[0] and c < lot.shape[1]
            if not (inside and lot[r, c]) or rng.random() < 0.12:
                continue
            half = (rng.uniform(*widths) * unit, rng.uniform(*lengths) * unit)
            _building(land, rng, (row, col), half, angle, rng.choice(_ROOFS[kind]), gable=houses)
        if houses:
            free = np.argwhere(here & (part.first == _M["grass"])) + corner
            _trees(land, rng, free, len(free) // 260, (1.2, 3.0))
        paved = np.isin(part.first, [_M["asphalt"], _M["concrete"]])
        lanes = np.argwhere(here & paved) + corner
        for place in lanes[rng.integers(0, len(lanes), len(lanes) // 180)] if len(lanes) else ():
            _building(land, rng, place, (1.0, 2.0), angle, rng.choice(_PAINTS))


def _paint_forest(land: Landscape, rng: np.random.Generator, where: np.ndarray) -> None:
    """Closed canopy: crowns lit from one side are the slope of a bumpy surface."""
    size = len(where)
    bumps = noise_field(rng, size, 4) + 0.6 * noise_field(rng, size, 7)
    slope = np.gradient(bumps, axis=0) * _SUN[0] + np.gradient(bumps, axis=1) * _SUN[1]
    mix = np.clip(0.2 + 0.2 * noise_field(rng, size, 12), 0, 1)
    land.paint(where, "forest", "grass", mix, np.clip(1.0 + 0.55 * slope, 0.35, 1.8))


def paint_band(land: Landscape, rng: np.random.Generator, width: float, kind: str) -> None:
    """A road or a river: a winding band across the map."""
    size = land.first.shape[0]
    rows, cols = np.mgrid[0:size, 0:size].astype(np.float32)
    angle, offset = rng.uniform(0, np.pi), rng.uniform(0.25, 0.75) * size
    along, _ = _turned(rows, cols, angle)
    _, across = _turned(rows - size / 2, cols - size / 2, angle)
    across = across - (offset - size / 2)
    bend = 0.04 if kind == "road" else 0.10
    waves = along * 2 * np.pi / (size * rng.uniform(0.7, 1.5)) + rng.uniform(0, 6)
    distance = np.abs(across + bend * size * np.sin(waves))
    band = distance < width
    if kind == "road":
        land.paint(band, "asphalt", "concrete", 0.2, 1.0)
        land.mix[distance < 0.6] = 0.9  # the middle line; beside a road thinner than it, too
        land.landuse[band] = _L["road"]
    else:
        land.paint(distance < width * 1.25, "sand", "grass", 0.4)
        land.paint(band, "water", "algae", 0.3, 1.0)
        land.landuse[band] = _L["water"]


def make_landscape(seed: int, size: int = 512) -> Landscape:
    """Draw a landscape.

    Args:
        seed: same seed, same landscape, on one version of NumPy and SciPy.
        size: side of the square map in PAN pixels, at least 64.

    Returns:
        Landscape: material and light maps, ``(size, size)``.
    """
    if size < 64:
        raise ValueError(f"size must be at least 64 PAN pixels, found {size}; pass a larger size")
    rng = np.random.default_rng(seed)
    land = Landscape.blank(size)
    parcel, border, count = parcels(rng, size, cell=rng.uniform(110, 170))
    share = rng.dirichlet([3, 2, 3.2, 1.6, 0.9, 0.9])
    uses = rng.choice(["field", "forest", "houses", "industry", "water", "soil"], count, p=share)
    kind = np.array([_L[use] for use in uses], np.int16)[parcel]
    land.landuse[:] = kind
    small, _, _ = parcels(rng, size, cell=70)
    _paint_fields(land, rng, kind == _L["field"], small)
    _paint_forest(land, rng, kind == _L["forest"])
    for use in ("houses", "industry"):
        _paint_town(land, rng, kind == _L[use], parcel, use)
    mix = np.clip(0.3 + 0.3 * noise_field(rng, size, 60), 0, 1)
    land.paint(kind == _L["water"], "water", "algae", mix)
    mix = np.clip(0.4 + 0.35 * noise_field(rng, size, 18), 0, 1)
    light = 1 + 0.12 * noise_field(rng, size, 6)
    land.paint(kind == _L["soil"], "soil", "sand", mix, light)
    land.paint((border < 3.5) & (kind != _L["water"]), "forest", "grass", 0.5)  # hedges
    if rng.random() < 0.6:
        paint_band(land, rng, rng.uniform(5, 14), "river")
    for _ in range(1 + int(rng.random() < 0.5)):
        paint_band(land, rng, rng.uniform(3.5, 6), "road")
    open_ground = np.argwhere(np.isin(land.landuse, [_L["field"], _L["soil"]]))
    _trees(land, rng, open_ground, len(open_ground) // 5000, (2.0, 4.5))
    # Relief and grain: nothing on the ground is perfectly even, and water is the most even.
    grain = 0.05 * rng.standard_normal((size, size)).astype(np.float32)
    grain = grain + 0.05 * noise_field(rng, size, 3)
    calm = np.where(land.first == _M["water"], 0.25, 1.0)
    land.light *= 1 + calm * (grain + 0.04 * noise_field(rng, size, 90))
    land.light[:] = np.clip(land.light, 0.2, 2.0)
    return land


def observe(land: Landscape, sensor: sensors.Sensor) -> tuple[np.ndarray, np.ndarray]:
    """At-sensor reflectance before MTF and noise.

    Returns:
        ``(C, H, W)`` bands and ``(1, H, W)`` panchromatic image, float32, about [0, 0.6]. Both
        carry the path radiance of a clear sky, larger at short wavelengths.
    """
    low, high = sensor.pan_nm
    centres = _centres(sensor)
    table = reflectance(centres, np.append(sensor.widths_nm, (high - low) * 0.9))
    image = table[land.first] * (1 - land.mix[..., None]) + table[land.second] * land.mix[..., None]
    image = image * land.light[..., None]
    path = 0.06 * (centres / 450.0) ** -3
    image = np.moveaxis(image + path, -1, 0).astype(np.float32)
    # The detector's footprint: no aliased single-pixel edges.
    image = ndimage.gaussian_filter(image, (0, 0.45, 0.45))
    return image[:-1], image[-1:]


def _centres(sensor: sensors.Sensor) -> np.ndarray:
    """Centre wavelengths of the bands and, last, of PAN, nm."""
    return np.append(sensor.wavelengths_nm, sum(sensor.pan_nm) / 2)


def traffic(land: Landscape, seed: int, count: int, step: float) -> Landscape:
    """A copy of a landscape with cars on its roads, each ``step`` PAN pixels further along.

    Args:
        land: the landscape; where it has no road, cars drive on asphalt and concrete.
        seed: of places, directions and colours; the same in two calls means the same cars.
        count: cars.
        step: how far they have driven, PAN pixels.
    """
    busy = copy.deepcopy(land)
    places = np.argwhere(land.landuse == _L["road"])
    if not len(places):
        places = np.argwhere(np.isin(land.first, [_M["asphalt"], _M["concrete"]]))
    for i in range(count if len(places) else 0):
        # Random numbers of its own: a car that leaves the map must not change the others.
        rng = np.random.default_rng([seed, 2, i])
        place = places[rng.integers(len(places))]
        near = places[np.abs(places - place).max(1) <= 12] - place
        along = np.linalg.eigh(near.T @ near)[1][:, -1]  # the road here (row, column), either way
        along = along * rng.choice([-1, 1])
        paint = rng.choice(_PAINTS)
        angle = np.arctan2(-along[0], along[1])  # `box_at` is longest along (-sin, cos)
        _building(busy, rng, place + step * along, (1.5, 3.5), angle, paint)
    return busy


def make_scene(
    seed: int = 0,
    size: int = 512,
    sensor: str | sensors.Sensor = "WV2",
    convention: str = "benchmark",
    snr: float = 120,
    haze: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
    cars: int = 0,
    speed: float = 8.0,
    saturated: float = 0.0,
) -> Pair:
    """Make a synthetic PAN / MS pair with its full-resolution truth.

    Args:
        seed: of landscape and noise.
        size: PAN pixels each way, a multiple of the sensor's ratio.
        sensor: sensor or its name (:mod:`clippan_lite.physics.sensors`).
        convention: ``"benchmark"`` or ``"geo"``, see :mod:`clippan_lite.physics.degrade`.
        snr: mean signal divided by the standard deviation of the noise in MS; PAN has the same.
        haze: share of the ground's light that the air replaces by its own, bluish light, in [0, 1).
        shift: PAN pixels (down, right) that MS lies off PAN, as in
            :mod:`clippan_lite.data.registration`; up to 16.
        cars: moving cars; PAN sees them earlier than MS does.
        speed: PAN pixels that they drive between the two.
        saturated: share of PAN that is as bright as the sensor can tell, in [0, 0.5].

    Returns:
        Pair: DN; ``truth`` is the noise-free MS on PAN's grid, unquantised, where and when MS sees
        it, under the same haze and as bright.

    Raises:
        ValueError: a size that is no multiple of the ratio, or an argument out of its range.
    """
    sensor = sensors.get(sensor) if isinstance(sensor, str) else sensor
    for name, whole in (("seed", seed), ("size", size), ("cars", cars)):
        if not isinstance(whole, int | np.integer) or whole < 0:
            raise ValueError(f"{name} must be a whole number, 0 or more, found {whole!r}")
    if size % sensor.ratio or not size:
        raise ValueError(f"size must be a multiple of the ratio {sensor.ratio}, found {size}")
    limits = (
        ("haze", haze, 0.99),
        ("saturated", saturated, 0.5),
        ("cars", cars, size * size),
        ("speed", speed, size),
    )
    for name, value, most in limits:
        if not 0 <= value <= most:
            raise ValueError(f"{name} must be 0 to {most}, found {value}")
    if len(shift) != 2 or max(map(abs, shift)) > 16 or snr <= 0:
        raise ValueError(
            "expected a shift (down, right) of at most 16 PAN pixels and an snr above 0, "
            f"found {shift} and {snr}"
        )
    land = make_landscape(seed, size)
    bands, pan = observe(land, sensor)
    if cars:
        pan = observe(traffic(land, seed, cars, 0.0), sensor)[1]
        bands = observe(traffic(land, seed, cars, speed), sensor)[0]
    if haze:
        air = 0.35 * (_centres(sensor) / 450.0) ** -1.3
        air = air[:, None, None].astype(np.float32)
        bands = bands * (1 - haze) + haze * air[:-1]
        pan = pan * (1 - haze) + haze * air[-1:]
    if any(shift):
        pan = ndimage.shift(pan, (0, -shift[0], -shift[1]), order=3, mode="nearest")
    peak = 2**sensor.bits - 1
    gain = 0.85 * peak / 0.62  # reflectance 0.62 (bright roof in sun) fills 85 % of the range
    if saturated:
        gain = peak / float(np.quantile(pan, 1 - saturated))
    truth = torch.from_numpy(bands * gain)
    rng = np.random.default_rng([seed, 1])
    ms = degrade.degrade(truth[None], sensor.mtf_ms, sensor.ratio, convention)[0]

    def digitise(image: torch.Tensor) -> torch.Tensor:
        noise = torch.from_numpy(rng.standard_normal(tuple(image.shape)).astype(np.float32))
        return (image + noise * image.mean() / snr).round().clamp(0, peak)

    return Pair(
        ms=digitise(ms),
        pan=digitise(torch.from_numpy(pan * gain)),
        sensor=sensor,
        name=f"synthetic_{sensor.name.lower()}_{seed}",
        convention=convention,
        truth=truth.clamp(0, peak),
        dtype="uint8" if sensor.bits <= 8 else "uint16",
        # An invented place, so that results open in a GIS: half-metre pixels at the origin of UTM
        # zone 31 N.
        georef={
            "crs": CRS.from_epsg(32631),
            "transform": Affine(0.5, 0, 500_000, 0, -0.5, size * 0.5),
            "nodata": None,
        },
    )
