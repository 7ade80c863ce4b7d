"""Synthetic overhead scenes with full-resolution truth: a landscape of materials, seen by a sensor.

Two steps, so that one landscape can be looked at by several sensors:

1. :func:`make_landscape` draws land use (fields, forest, houses, industry, water, roads, bare soil) on PAN's grid and
   says for each pixel which two materials it mixes, in what proportion and how brightly it is lit.
2. :func:`observe` integrates the materials' reflectance over the sensor's bands, and :func:`make_scene` adds the MTF,
   noise and quantisation, and returns PAN, MS **and** the full-resolution truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from rasterio import Affine
from rasterio.crs import CRS
from scipy import ndimage
from scipy.spatial import cKDTree

from clippan_lite.data import Pair
from clippan_lite.data.materials import MATERIALS, reflectance
from clippan_lite.physics import degrade, sensors

LANDUSE = ("field", "forest", "houses", "industry", "water", "road", "soil")
_M = {name: i for i, name in enumerate(MATERIALS)}
_L = {name: i for i, name in enumerate(LANDUSE)}
_SUN = (-0.7, -0.7)  # direction shadows fall, in (row, column)


@dataclass
class Landscape:
    """What is on the ground, ``(H, W)`` arrays on PAN's grid.

    ``first`` and ``second`` index :data:`MATERIALS`, ``mix`` in [0, 1] is the share of ``second``, ``light`` multiplies
    the reflectance (1 is full sun on flat ground, shadows about 0.35), ``landuse`` indexes :data:`LANDUSE`.
    """

    first: np.ndarray
    second: np.ndarray
    mix: np.ndarray
    light: np.ndarray
    landuse: np.ndarray


def noise_field(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Smooth random field of unit variance and zero mean, ``(size, size)``, features about ``scale`` pixels wide."""
    coarse = max(4, int(np.ceil(size / scale)) + 3)
    grid = rng.standard_normal((coarse, coarse)).astype(np.float32)
    # Cubic zoom of a coarse grid: its cost does not grow with scale, unlike a Gaussian filter of that width.
    offset = rng.uniform(0, 1, 2)
    step = (coarse - 3.0) / size
    rows, cols = (
        np.arange(size) * step + 1 + offset[0] * 0.5,
        np.arange(size) * step + 1 + offset[1] * 0.5,
    )
    field = ndimage.map_coordinates(
        grid, np.meshgrid(rows, cols, indexing="ij"), order=3, mode="nearest"
    )
    return ((field - field.mean()) / (field.std() + 1e-6)).astype(np.float32)


def parcels(rng: np.random.Generator, size: int, cell: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Voronoi parcels with warped borders: index map, distance to the border, count."""
    rows, cols = np.mgrid[0:size, 0:size].astype(np.float32)
    rows = rows + noise_field(rng, size, cell * 1.5) * cell * 0.10
    cols = cols + noise_field(rng, size, cell * 1.5) * cell * 0.10
    count = max(6, int((size / cell) ** 2) + 4)
    seeds = rng.uniform(-0.15 * size, 1.15 * size, (count, 2))
    distance, index = cKDTree(seeds).query(
        np.stack([rows, cols], -1).reshape(-1, 2), k=2, workers=-1
    )
    border = (distance[:, 1] - distance[:, 0]).reshape(size, size).astype(np.float32)
    return index[:, 0].reshape(size, size), border, count


def box_at(
    land: Landscape, row: float, col: float, half: tuple[float, float], angle: float
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray] | None:
    """Window, mask and ridge coordinate in [-1, 1] of a rotated rectangle; None when it is off the map."""
    size = land.first.shape[0]
    reach = int(np.hypot(*half)) + 2
    r0, r1, c0, c1 = int(row) - reach, int(row) + reach + 1, int(col) - reach, int(col) + reach + 1
    if r0 < 0 or c0 < 0 or r1 > size or c1 > size:
        return None
    rr, cc = np.mgrid[r0:r1, c0:c1]
    u = (rr - row) * np.cos(angle) + (cc - col) * np.sin(angle)
    v = -(rr - row) * np.sin(angle) + (cc - col) * np.cos(angle)
    mask = (np.abs(u) <= half[0]) & (np.abs(v) <= half[1])
    return (slice(r0, r1), slice(c0, c1)), mask, u / half[0]


def _building(
    land: Landscape, rng: np.random.Generator, place, half, angle, roof: str, gable: bool
) -> None:
    """Paint one building with its shadow."""
    height = rng.uniform(2, 4) if gable else rng.uniform(2, 6)
    shadow = box_at(land, place[0] - _SUN[0] * height, place[1] - _SUN[1] * height, half, angle)
    body = box_at(land, *place, half, angle)
    if body is None or shadow is None:
        return
    window, mask, _ = shadow
    land.light[window][mask] *= 0.4
    window, mask, ridge = body
    # A gable roof has a sunlit and a shaded side: the sharpest line of a town seen from above.
    side = np.where(ridge * np.cos(angle) > 0, 0.78, 1.12) if gable else 1.0
    land.first[window][mask] = _M[roof]
    land.second[window][mask] = _M["grey roof"]
    land.mix[window][mask] = rng.uniform(0, 0.35)
    land.light[window][mask] = (np.broadcast_to(side, mask.shape) * rng.uniform(0.85, 1.1))[mask]


def _each(
    index_map: np.ndarray, where: np.ndarray
) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """Of every parcel: the window that holds it, and which pixels of the window are its own."""
    windows = ndimage.find_objects(
        np.where(where, index_map + 1, 0)
    )  # or cost would grow with the square of the area
    for index, window in enumerate(windows):
        if window is not None:
            yield window, where[window] & (index_map[window] == index)


def _trees(
    land: Landscape, rng: np.random.Generator, places: np.ndarray, count: int, radius=(1.5, 4.0)
) -> None:
    """Scatter single round crowns, lit from one side, with shadows, on some of the ``places`` ``(N, 2)``."""
    if not len(places):
        return
    for row, col in places[rng.integers(0, len(places), count)]:
        r = rng.uniform(*radius)
        for dr, dc, crown in ((-_SUN[0] * r, -_SUN[1] * r, False), (0, 0, True)):
            box = box_at(land, row + dr, col + dc, (r, r), 0.0)
            if box is None:
                continue
            window = box[0]
            rr, cc = np.mgrid[window[0], window[1]]
            rr, cc = rr - (row + dr), cc - (col + dc)
            disc = rr**2 + cc**2 <= r * r
            if crown:
                land.first[window][disc] = _M["forest"]
                land.second[window][disc] = _M["grass"]
                land.mix[window][disc] = rng.uniform(0, 0.5)
                land.light[window][disc] = (1.0 + 0.4 * (rr * _SUN[0] + cc * _SUN[1]) / r)[disc]
            else:
                land.light[window][disc] *= 0.55


def _paint_fields(
    land: Landscape, rng: np.random.Generator, where: np.ndarray, parcel: np.ndarray
) -> None:
    """Crops, stubble, grass and soil, one mixture a parcel, with tillage rows."""
    size = land.first.shape[0]
    rows, cols = np.mgrid[0:size, 0:size]
    patchy = noise_field(rng, size, 30)
    for window, here in _each(parcel, where):
        first, second = rng.choice(["crop", "grass", "stubble", "soil", "crop", "dark soil"], 2)
        angle, period = rng.uniform(0, np.pi), rng.uniform(3, 9)
        along = rows[window][here] * np.cos(angle) + cols[window][here] * np.sin(angle)
        stripes = np.sin(along * 2 * np.pi / period)
        land.first[window][here], land.second[window][here] = _M[first], _M[second]
        land.mix[window][here] = np.clip(
            rng.uniform(0, 0.5) + 0.12 * patchy[window][here] + 0.10 * stripes, 0, 1
        )
        land.light[window][here] = 1 + 0.05 * stripes * rng.uniform(0, 1.2)


def _paint_town(
    land: Landscape, rng: np.random.Generator, where: np.ndarray, index_map: np.ndarray, kind: str
) -> None:
    """Houses with gardens, or industry with big flat roofs and car parks, along a street grid turned per parcel."""
    size = land.first.shape[0]
    houses = kind == "houses"
    land.first[where] = _M["grass" if houses else "concrete"]
    land.second[where] = _M["soil" if houses else "asphalt"]
    land.mix[where] = np.clip(0.35 + 0.25 * noise_field(rng, size, 10), 0, 1)[where]
    rows, cols = np.mgrid[0:size, 0:size]
    pitch = rng.uniform(30, 38) if houses else rng.uniform(60, 85)
    for window, here in _each(index_map, where):
        angle = rng.uniform(0, np.pi / 2)
        u = rows[window] * np.cos(angle) + cols[window] * np.sin(angle)
        v = -rows[window] * np.sin(angle) + cols[window] * np.cos(angle)
        street = here & ((u % pitch < 5) | (v % (pitch * 3) < 5))
        ground = land.first[window]
        ground[street], land.second[window][street], land.mix[window][street] = (
            _M["asphalt"],
            _M["concrete"],
            0.15,
        )
        land.landuse[window][street] = _L["road"]
        top, left = corner = (window[0].start, window[1].start)
        lot = here & ~street
        lots_u = np.arange(np.floor(u[here].min() / pitch), np.ceil(u[here].max() / pitch) + 1)
        step = rng.uniform(11, 15) if houses else pitch
        for iu in lots_u:
            for v_mid in np.arange(v[here].min(), v[here].max(), step):
                sides = (0.32, 0.78) if houses else (0.57,)
                for side in sides:
                    uu = (iu + side) * pitch + rng.uniform(-1, 1)
                    vv = v_mid + rng.uniform(-1.5, 1.5)
                    row, col = (
                        uu * np.cos(angle) - vv * np.sin(angle),
                        uu * np.sin(angle) + vv * np.cos(angle),
                    )
                    r, c = int(row) - top, int(col) - left
                    inside = (
                        min(row, col, r, c) >= 0 and r < len(lot) and c < lot.shape[1] and lot[r, c]
                    )
                    if not inside or rng.random() < 0.12:
                        continue
                    if houses:
                        half = (rng.uniform(3.0, 4.6), rng.uniform(3.2, 5.5))
                        roof = rng.choice(
                            ["red roof", "red roof", "grey roof", "dark soil", "metal roof"]
                        )
                    else:
                        half = (rng.uniform(0.2, 0.36) * pitch, rng.uniform(0.2, 0.38) * pitch)
                        roof = rng.choice(
                            ["metal roof", "grey roof", "blue roof", "concrete", "metal roof"]
                        )
                    _building(land, rng, (row, col), half, angle, roof, gable=houses)
        free = np.argwhere(here & (ground == _M["grass"])) + corner
        if houses:
            _trees(land, rng, free, len(free) // 260, (1.2, 3.0))
        lanes = (
            np.argwhere(here & ((ground == _M["asphalt"]) | (ground == _M["concrete"]))) + corner
        )
        for row, col in lanes[rng.integers(0, len(lanes), len(lanes) // 180)] if len(lanes) else ():
            _building(
                land,
                rng,
                (row, col),
                (1.0, 2.0),
                angle,
                rng.choice(["red car", "metal roof", "blue roof"]),
                False,
            )


def _paint_forest(land: Landscape, rng: np.random.Generator, where: np.ndarray) -> None:
    """Closed canopy: crowns lit from one side are the slope of a bumpy surface."""
    size = land.first.shape[0]
    bumps = noise_field(rng, size, 4) + 0.6 * noise_field(rng, size, 7)
    slope = np.gradient(bumps, axis=0) * _SUN[0] + np.gradient(bumps, axis=1) * _SUN[1]
    land.first[where], land.second[where] = _M["forest"], _M["grass"]
    land.mix[where] = np.clip(0.2 + 0.2 * noise_field(rng, size, 12), 0, 1)[where]
    land.light[where] = np.clip(1.0 + 0.55 * slope, 0.35, 1.8)[where]


def paint_band(land: Landscape, rng: np.random.Generator, width: float, kind: str) -> None:
    """A road or a river: a winding band across the map."""
    size = land.first.shape[0]
    rows, cols = np.mgrid[0:size, 0:size].astype(np.float32)
    angle, offset = rng.uniform(0, np.pi), rng.uniform(0.25, 0.75) * size
    along = rows * np.cos(angle) + cols * np.sin(angle)
    across = (
        -(rows - size / 2) * np.sin(angle) + (cols - size / 2) * np.cos(angle) - (offset - size / 2)
    )
    bend = 0.04 if kind == "road" else 0.10
    across = across + bend * size * np.sin(
        along * 2 * np.pi / (size * rng.uniform(0.7, 1.5)) + rng.uniform(0, 6)
    )
    band = np.abs(across) < width
    if kind == "road":
        land.first[band], land.second[band], land.mix[band] = _M["asphalt"], _M["concrete"], 0.2
        line = np.abs(across) < 0.6
        land.mix[line], land.light[band] = 0.9, 1.0
        land.landuse[band] = _L["road"]
    else:
        bank = np.abs(across) < width * 1.25
        land.first[bank], land.second[bank], land.mix[bank] = _M["sand"], _M["grass"], 0.4
        land.first[band], land.second[band] = _M["water"], _M["algae"]
        land.mix[band], land.light[band] = 0.3, 1.0
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
    blank = np.zeros((size, size), np.float32)
    land = Landscape(
        blank.astype(np.int16),
        blank.astype(np.int16),
        blank.copy(),
        blank + 1,
        blank.astype(np.int16),
    )
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
    lake = kind == _L["water"]
    land.first[lake], land.second[lake] = _M["water"], _M["algae"]
    land.mix[lake] = np.clip(0.3 + 0.3 * noise_field(rng, size, 60), 0, 1)[lake]
    bare = kind == _L["soil"]
    land.first[bare], land.second[bare] = _M["soil"], _M["sand"]
    land.mix[bare] = np.clip(0.4 + 0.35 * noise_field(rng, size, 18), 0, 1)[bare]
    land.light[bare] = (1 + 0.12 * noise_field(rng, size, 6))[bare]
    hedge = (border < 3.5) & (kind != _L["water"])
    land.first[hedge], land.second[hedge], land.mix[hedge] = _M["forest"], _M["grass"], 0.5
    if rng.random() < 0.6:
        paint_band(land, rng, rng.uniform(5, 14), "river")
    for _ in range(1 + int(rng.random() < 0.5)):
        paint_band(land, rng, rng.uniform(3.5, 6), "road")
    open_ground = np.argwhere(np.isin(land.landuse, [_L["field"], _L["soil"]]))
    _trees(land, rng, open_ground, len(open_ground) // 5000, (2.0, 4.5))
    # Relief and grain: nothing on the ground is perfectly even, water least uneven.
    grain = 0.05 * rng.standard_normal((size, size)).astype(np.float32) + 0.05 * noise_field(
        rng, size, 3
    )
    calm = np.where(land.first == _M["water"], 0.25, 1.0)
    land.light *= 1 + calm * (grain + 0.04 * noise_field(rng, size, 90))
    land.light[:] = np.clip(land.light, 0.2, 2.0)
    return land


def observe(land: Landscape, sensor: sensors.Sensor) -> tuple[np.ndarray, np.ndarray]:
    """At-sensor reflectance before MTF and noise.

    Returns:
        ``(C, H, W)`` bands and ``(1, H, W)`` panchromatic image, float32, about [0, 0.6]. Both carry the path radiance
        of a clear sky, larger at short wavelengths.
    """
    centres, widths = np.array(sensor.wavelengths_nm, float), np.array(sensor.widths_nm, float)
    low, high = sensor.pan_nm
    table = reflectance(np.append(centres, (low + high) / 2), np.append(widths, (high - low) * 0.9))
    image = table[land.first] * (1 - land.mix[..., None]) + table[land.second] * land.mix[..., None]
    image = image * land.light[..., None]
    path = 0.06 * (np.append(centres, (low + high) / 2) / 450.0) ** -3
    image = np.moveaxis(image + path, -1, 0).astype(np.float32)
    image = ndimage.gaussian_filter(
        image, (0, 0.45, 0.45)
    )  # detector footprint: no aliased single-pixel edges
    return image[:-1], image[-1:]


def traffic(land: Landscape, seed: int, count: int, step: float) -> Landscape:
    """A copy of a landscape with cars on its roads, each ``step`` PAN pixels further along its road.

    Args:
        land: the landscape; where it has no road, cars drive on asphalt and concrete.
        seed: of places, directions and colours; the same in two calls means the same cars.
        count: cars.
        step: how far they have driven, PAN pixels.
    """
    busy = replace(land, **{f.name: getattr(land, f.name).copy() for f in fields(land)})
    places = np.argwhere(land.landuse == _L["road"])
    if not len(places):
        places = np.argwhere((land.first == _M["asphalt"]) | (land.first == _M["concrete"]))
    for i in range(count if len(places) else 0):
        rng = np.random.default_rng(
            [seed, 2, i]
        )  # of its own: a car that leaves the map must not change the others
        place = places[rng.integers(len(places))]
        near = places[np.abs(places - place).max(1) <= 12] - place
        along = np.linalg.eigh(near.T @ near)[1][
            :, -1
        ]  # the road's direction here: (row, column), either way
        along, paint = (
            along * rng.choice([-1, 1]),
            rng.choice(["red car", "metal roof", "blue roof"]),
        )
        angle = np.arctan2(-along[0], along[1])  # `box_at` is longest along (-sin, cos)
        _building(busy, rng, tuple(place + step * along), (1.5, 3.5), angle, paint, False)
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
        haze: share of the ground's light that the air takes away, and gives back as its own, bluish, in [0, 1).
        shift: PAN pixels (down, right) that MS lies off PAN, as in :mod:`clippan_lite.data.registration`; up to 16.
        cars: moving cars; PAN sees them earlier than MS does.
        speed: PAN pixels that they drive between the two.
        saturated: share of PAN that is as bright as the sensor can tell, in [0, 0.5].

    Returns:
        Pair: DN; ``truth`` is the noise-free MS on PAN's grid, unquantised, where and when MS sees it, under the same
        haze and as bright.

    Raises:
        ValueError: a size that is no multiple of the ratio, or a knob out of its range.
    """
    sensor = sensors.get(sensor) if isinstance(sensor, str) else sensor
    for name, whole in (("seed", seed), ("size", size), ("cars", cars)):
        if not isinstance(whole, int | np.integer) or whole < 0:
            raise ValueError(f"{name} must be a whole number, 0 or more, found {whole!r}")
    if size % sensor.ratio or not size:
        raise ValueError(f"size must be a multiple of the ratio {sensor.ratio}, found {size}")
    if len(shift) != 2:
        raise ValueError(f"expected a shift (down, right) in PAN pixels, found {shift!r}")
    limits = (
        ("haze", haze, 0.99),
        ("saturated", saturated, 0.5),
        ("cars", cars, size * size),
        ("speed", speed, size),
    )
    for name, value, most in limits:
        if not 0 <= value <= most:
            raise ValueError(f"{name} must be 0 to {most}, found {value}")
    if max(map(abs, shift)) > 16 or snr <= 0:
        raise ValueError(
            f"expected a shift of at most 16 PAN pixels and an snr above 0, found {shift}, {snr}"
        )
    land = make_landscape(seed, size)
    bands, pan = observe(land, sensor)
    if cars:
        pan = observe(traffic(land, seed, cars, 0.0), sensor)[1]
        bands = observe(traffic(land, seed, cars, speed), sensor)[0]
    if haze:
        low, high = sensor.pan_nm
        air = 0.35 * (np.append(sensor.wavelengths_nm, (low + high) / 2) / 450.0) ** -1.3
        bands, pan = (
            image * (1 - haze) + haze * light[:, None, None].astype(np.float32)
            for image, light in ((bands, air[:-1]), (pan, air[-1:]))
        )
    if any(shift):
        pan = ndimage.shift(pan, (0, -shift[0], -shift[1]), order=3, mode="nearest")
    peak = 2**sensor.bits - 1
    gain = 0.85 * peak / 0.62  # reflectance 0.62 (bright roof in sun) fills 85 % of the range
    if saturated:
        gain = peak / float(np.quantile(pan, 1 - saturated))
    truth, pan = torch.from_numpy(bands * gain), torch.from_numpy(pan * gain)
    rng = np.random.default_rng([seed, 1])
    ms = degrade.degrade(truth[None], sensor.mtf_ms, sensor.ratio, convention)[0]

    def digitise(image: torch.Tensor) -> torch.Tensor:
        noise = torch.from_numpy(rng.standard_normal(tuple(image.shape)).astype(np.float32))
        return (image + noise * image.mean() / snr).round().clamp(0, peak)

    return Pair(
        ms=digitise(ms),
        pan=digitise(pan),
        sensor=sensor,
        name=f"synthetic_{sensor.name.lower()}_{seed}",
        convention=convention,
        truth=truth.clamp(0, peak),
        dtype="uint8" if sensor.bits <= 8 else "uint16",
        # An invented place, so that results open in a GIS: half-metre pixels at the origin of UTM zone 31 N.
        georef={
            "crs": CRS.from_epsg(32631),
            "transform": Affine(0.5, 0, 500_000, 0, -0.5, size * 0.5),
            "nodata": None,
        },
    )
