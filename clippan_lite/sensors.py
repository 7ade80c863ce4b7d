"""Optical sensors: bands, wavelengths, resolution ratio, bit depth and MTF gains."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Sensor:
    """What a pansharpening method needs to know about a satellite camera.

    Attributes:
        name: short name, a key of `SENSORS`.
        bands: names of the MS bands, in file order.
        wavelengths_nm: centre wavelength of each band, nm.
        widths_nm: full width at half maximum of each band, nm.
        pan_nm: lower and upper edge of the panchromatic band at half maximum, nm.
        ratio: PAN pixels per MS pixel in each direction, 2 or more.
        bits: radiometric depth; DN run from 0 to 2^bits - 1.
        mtf_ms: MTF gain of each MS band at the Nyquist frequency of the MS grid, in (0, 1).
        mtf_pan: MTF gain of PAN at the Nyquist frequency of the reduced grid, in (0, 1).
        rgb: indices of the bands shown as red, green and blue.
        source: where the figures come from, and which of them are assumptions.
    """

    name: str
    bands: tuple[str, ...]
    wavelengths_nm: tuple[float, ...]
    widths_nm: tuple[float, ...]
    pan_nm: tuple[float, float]
    ratio: int
    bits: int
    mtf_ms: tuple[float, ...]
    mtf_pan: float
    rgb: tuple[int, int, int]
    source: str

    def __post_init__(self) -> None:
        n = len(self.bands)
        found = (n, len(self.wavelengths_nm), len(self.widths_nm), len(self.mtf_ms))
        if n == 0 or len(set(found)) != 1:
            raise ValueError(
                f"sensor {self.name}: expected as many wavelengths, widths and MTF gains as bands, found {found}"
            )
        if not all(0 < g < 1 for g in (*self.mtf_ms, self.mtf_pan)):
            raise ValueError(
                f"sensor {self.name}: expected MTF gains between 0 and 1, found {(*self.mtf_ms, self.mtf_pan)}"
            )
        if self.ratio < 2 or self.bits < 1:
            raise ValueError(
                f"sensor {self.name}: expected ratio >= 2 and bits >= 1, found {self.ratio} and {self.bits}"
            )
        if len(self.rgb) != 3 or not all(0 <= i < n for i in self.rgb):
            raise ValueError(f"sensor {self.name}: expected three band indices below {n} in rgb, found {self.rgb}")


def _sensor(
    name: str,
    edges: dict[str, tuple[float, float]],
    pan_nm: tuple[float, float],
    bits: int,
    mtf: tuple[float, ...],
    mtf_pan: float,
    source: str,
    ratio: int = 4,
) -> Sensor:
    """Sensor from the lower and upper band edges in nm; a single MTF gain counts for every band."""
    bands = tuple(edges)
    return Sensor(
        name=name,
        bands=bands,
        wavelengths_nm=tuple((low + high) / 2 for low, high in edges.values()),
        widths_nm=tuple(high - low for low, high in edges.values()),
        pan_nm=pan_nm,
        ratio=ratio,
        bits=bits,
        mtf_ms=mtf if len(mtf) > 1 else mtf * len(bands),
        mtf_pan=mtf_pan,
        rgb=(bands.index("R"), bands.index("G"), bands.index("B")),
        source=source,
    )


_TOOLBOX = "MTF gains: genMTF and MTF_PAN of the DLPan toolbox (Vivone et al. 2021); band edges: operator's data sheet"
_NO_MTF = "MTF gains 0.30 (MS) and 0.15 (PAN) are an assumption, no toolbox lists this sensor; band edges: "
_GE = {"B": (450.0, 510.0), "G": (510.0, 580.0), "R": (655.0, 690.0), "NIR": (780.0, 920.0)}
_WV = {
    "Coastal": (400.0, 450.0),
    "B": (450.0, 510.0),
    "G": (510.0, 580.0),
    "Y": (585.0, 625.0),
    "R": (630.0, 690.0),
    "RE": (705.0, 745.0),
    "NIR1": (770.0, 895.0),
    "NIR2": (860.0, 1040.0),
}

SENSORS: dict[str, Sensor] = {
    s.name: s
    for s in (
        _sensor(
            "QB",
            {"B": (450.0, 520.0), "G": (520.0, 600.0), "R": (630.0, 690.0), "NIR": (760.0, 900.0)},
            (450.0, 900.0),
            11,
            (0.34, 0.32, 0.30, 0.22),
            0.15,
            _TOOLBOX,
        ),
        _sensor(
            "IKONOS",
            {"B": (445.0, 516.0), "G": (506.0, 595.0), "R": (632.0, 698.0), "NIR": (757.0, 853.0)},
            (526.0, 929.0),
            11,
            (0.26, 0.28, 0.29, 0.28),
            0.17,
            _TOOLBOX,
        ),
        _sensor("GE1", _GE, (450.0, 800.0), 11, (0.23,), 0.16, _TOOLBOX + "; 8-bit products exist, see with_bits"),
        _sensor("WV2", _WV, (450.0, 800.0), 11, (0.35,) * 7 + (0.27,), 0.11, _TOOLBOX),
        _sensor("WV3", _WV, (450.0, 800.0), 11, (0.325, 0.355, 0.36, 0.35, 0.365, 0.36, 0.335, 0.315), 0.14, _TOOLBOX),
        _sensor("WV4", _GE, (450.0, 800.0), 11, (0.23,), 0.16, _TOOLBOX),
        _sensor(
            "WV2_4",
            {b: _WV[b] for b in ("B", "G", "R", "NIR1")},
            (450.0, 800.0),
            11,
            (0.35,),
            0.11,
            _TOOLBOX + "; bands B, G, R and NIR1 of WV2",
        ),
        _sensor(
            "PLEIADES",
            {"B": (430.0, 550.0), "G": (490.0, 610.0), "R": (600.0, 720.0), "NIR": (750.0, 950.0)},
            (480.0, 830.0),
            12,
            (0.285, 0.285, 0.29, 0.285),
            0.155,
            "MTF gains: PHR1B in Vivone's reduced-resolution toolbox; band edges: operator's user guide",
        ),
        _sensor(
            "GF2",
            {"B": (450.0, 520.0), "G": (520.0, 590.0), "R": (630.0, 690.0), "NIR": (770.0, 890.0)},
            (450.0, 900.0),
            10,
            (0.30,),
            0.15,
            _NO_MTF + "operator's data sheet",
        ),
        _sensor(
            "LANDSAT7",
            {
                "R": (630.0, 690.0),
                "G": (520.0, 600.0),
                "B": (450.0, 520.0),
                "NIR": (770.0, 900.0),
                "SWIR1": (1550.0, 1750.0),
                "SWIR2": (2090.0, 2350.0),
            },
            (520.0, 900.0),
            8,
            (0.30,),
            0.15,
            _NO_MTF + "USGS, ETM+; PAN sees neither blue nor SWIR",
            ratio=2,
        ),
        _sensor(
            "LANDSAT8",
            {"B": (452.0, 512.0), "G": (533.0, 590.0), "R": (636.0, 673.0)},
            (503.0, 676.0),
            16,
            (0.30,),
            0.15,
            _NO_MTF + "USGS, OLI; only the bands that PAN covers",
            ratio=2,
        ),
        _sensor(
            "VHR4",
            {"B": (450.0, 520.0), "G": (520.0, 600.0), "R": (630.0, 690.0), "NIR": (770.0, 895.0)},
            (450.0, 850.0),
            11,
            (0.30,),
            0.15,
            "generic 0.5 m camera: every figure is an assumption; MTF gains: the toolbox's default for unknown sensors",
        ),
    )
}

# Looked up after dropping everything but letters and digits, so "WorldView-2", "worldview 2" and "WV-2" are one.
_ALIASES = {
    "QUICKBIRD": "QB",
    "QUICKBIRD2": "QB",
    "IK": "IKONOS",
    "IKONOS2": "IKONOS",
    "GEOEYE1": "GE1",
    "GEOEYE": "GE1",
    "WORLDVIEW2": "WV2",
    "WORLDVIEW3": "WV3",
    "WORLDVIEW4": "WV4",
    "WV24BANDS": "WV2_4",
    "WORLDVIEW24BANDS": "WV2_4",
    "WORLDVIEW24": "WV2_4",
    "PHR": "PLEIADES",
    "PHR1A": "PLEIADES",
    "PHR1B": "PLEIADES",
    "GAOFEN2": "GF2",
    "L7": "LANDSAT7",
    "ETM": "LANDSAT7",
    "LE07": "LANDSAT7",
    "L8": "LANDSAT8",
    "OLI": "LANDSAT8",
    "LC08": "LANDSAT8",
    "GENERIC": "VHR4",
    "UNKNOWN": "VHR4",
}


def _key(name: str) -> str:
    return "".join(c for c in name.upper() if c.isalnum())


_LOOKUP = {_key(name): name for name in SENSORS} | _ALIASES


def get(name: str) -> Sensor:
    """Sensor by name, whatever its case and punctuation; common aliases such as "WorldView-2" are known.

    Args:
        name: a key of `SENSORS` or an alias.

    Returns:
        The sensor.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    found = _LOOKUP.get(_key(name)) if isinstance(name, str) else None
    if found is None:
        raise ValueError(
            f"unknown sensor {name!r}: known are {', '.join(SENSORS)}; "
            "take VHR4 for an unknown four-band camera or build a sensors.Sensor with your own figures"
        )
    return SENSORS[found]


def with_bits(sensor: Sensor, bits: int) -> Sensor:
    """The same sensor with another radiometric depth, e.g. for 8-bit products.

    Args:
        sensor: sensor to copy.
        bits: new depth, 1 or more.

    Returns:
        A new sensor; the given one is left as it is.

    Raises:
        ValueError: fewer than 1 bit.
    """
    return replace(sensor, bits=int(bits))
