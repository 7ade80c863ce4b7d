"""Optical sensors: bands, wavelengths, resolution ratio, bit depth and MTF gains.

The table is the file ``sensors.toml`` beside this module; its head explains the format. A file of
your own in that format works wherever a sensor's name does.
"""

import json
import os
import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any  # what a file holds, before it is checked

SOURCES = ("mtf", "bands", "bits")  # groups of figures that each name where they come from
REQUIRED = ("bands", "pan_nm", "ratio", "bits", "mtf_ms", "mtf_pan", "rgb", "source")
_NAME = re.compile(r"[A-Za-z0-9_-]+")  # it becomes part of file names
_FILE = re.compile(r"(?P<path>.+\.toml)(?::(?P<name>[^:/\\]+))?", re.IGNORECASE)


@dataclass(frozen=True)
class Sensor:
    """What a pansharpening method needs to know about a satellite camera.

    Attributes:
        name: short name, a key of `SENSORS` or of a file of your own.
        bands: names of the MS bands, in file order.
        wavelengths_nm: centre wavelength of each band, nm.
        widths_nm: full width at half maximum of each band, nm.
        pan_nm: lower and upper edge of the panchromatic band at half maximum, nm.
        ratio: PAN pixels per MS pixel in each direction, 2 or more.
        bits: radiometric depth; DN run from 0 to 2^bits - 1.
        mtf_ms: MTF gain of each MS band at the Nyquist frequency of the MS grid, in (0, 1).
        mtf_pan: MTF gain of PAN at the Nyquist frequency of the reduced grid, in (0, 1).
        rgb: indices of the bands shown as red, green and blue.
        sources: where the figures come from, by the groups `SOURCES`; assumptions begin with that
            word.
        aliases: other names.
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
    sources: dict[str, str] = field(hash=False)
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        counts = tuple(map(len, (self.bands, self.wavelengths_nm, self.widths_nm, self.mtf_ms)))
        gains, n = (*self.mtf_ms, self.mtf_pan), len(self.bands)
        rules = (
            (
                n > 0 and len(set(counts)) == 1,
                "as many wavelengths, widths and MTF gains as bands",
                counts,
            ),
            (all(0 < g < 1 for g in gains), "MTF gains between 0 and 1", gains),
            (self.ratio >= 2, "ratio >= 2", self.ratio),
            (1 <= self.bits <= 32, "bits from 1 to 32", self.bits),
            (
                len(self.rgb) == 3 and all(0 <= i < n for i in self.rgb),
                f"three band indices below {n} in rgb",
                self.rgb,
            ),
            (set(self.sources) == set(SOURCES), f"sources for {SOURCES}", tuple(self.sources)),
        )
        for good, expected, found in rules:
            if not good:
                raise ValueError(f"sensor {self.name}: expected {expected}, found {found}")

    @property
    def source(self) -> str:
        """Where the figures come from, and which of them are assumptions, in one line."""
        return "; ".join(f"{group}: {text}" for group, text in self.sources.items())

    @property
    def assumed(self) -> tuple[str, ...]:
        """Groups of figures that are assumptions, of `SOURCES`."""
        return tuple(
            group for group, text in self.sources.items() if text.lower().startswith("assumption")
        )


def from_table(name: str, table: dict[str, Any], where: str) -> Sensor:
    """Check one entry of a sensor file and make the sensor of it.

    Args:
        name: of the sensor: letters, digits, ``_`` and ``-``.
        table: the entry, as ``sensors.toml`` describes it; wavelengths in nm.
        where: file that the entry is from, for messages.

    Returns:
        The sensor; wavelengths are kept to 1e-6 nm.

    Raises:
        ValueError: one line with the file, the key, what was expected, what was found and what to
            do.
    """

    def need(good: bool, key: str, expected: str, found: object) -> None:
        if not good:
            raise ValueError(
                f"{where}: [{name}] {key}: expected {expected}, found {found!r}: mend that line"
            )

    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{where}: expected a name of letters, digits, _ and -, found [{name}]: rename that "
            "table"
        )
    if not isinstance(table, dict):
        raise ValueError(
            f"{where}: expected tables such as [MYCAM], found {name!r} outside: put [MYCAM] above "
            "it"
        )
    known = (*REQUIRED, "aliases")
    unknown = [key for key in table if key not in known]
    if unknown:
        raise ValueError(
            f"{where}: [{name}] has an unknown key {unknown[0]!r}: known are {', '.join(known)}"
        )
    missing = [key for key in REQUIRED if key not in table]
    if missing:
        raise ValueError(
            f"{where}: [{name}] lacks {missing[0]}: add it; "
            "clippan-lite sensors --show VHR4 prints a whole one"
        )
    bands, rgb, source = table["bands"], table["rgb"], table["source"]
    gains, pan_gain, aliases = table["mtf_ms"], table["mtf_pan"], table.get("aliases", [])
    is_table = isinstance(bands, dict) and bool(bands)
    need(is_table, "bands", "lines such as bands.B = [450, 520]", bands)
    edges = {f"bands.{band}": pair for band, pair in bands.items()} | {"pan_nm": table["pan_nm"]}
    for key, pair in edges.items():
        good = _numbers(pair, 2) and 200 <= pair[0] < pair[1] <= 20000
        need(good, key, "a lower and an upper edge in nm, 200 to 20000, such as [450, 520]", pair)
    for key, least in (("ratio", 2), ("bits", 1)):
        good = type(table[key]) is int and least <= table[key] <= 32
        need(good, key, f"a whole number from {least} to 32", table[key])
    count = len(bands)
    need(_numbers(gains, count), "mtf_ms", f"{count} numbers, one per band", gains)
    need(_numbers([pan_gain], 1), "mtf_pan", "a number", pan_gain)
    need(all(0 < g < 1 for g in gains), "mtf_ms", "MTF gains between 0 and 1", gains)
    need(0 < pan_gain < 1, "mtf_pan", "MTF gains between 0 and 1", pan_gain)
    good = _texts(rgb) and len(rgb) == 3 and set(rgb) <= set(bands)
    need(good, "rgb", f"three of the bands {', '.join(bands)}", rgb)
    need(_texts(aliases), "aliases", "a list of names", aliases)
    good = isinstance(source, dict) and set(source) == set(SOURCES) and _texts([*source.values()])
    expected = 'source.mtf, source.bands and source.bits, each a text (or "assumption")'
    need(good, "source", expected, source)
    names = tuple(bands)
    return Sensor(
        name=name,
        bands=names,
        # Rounded, or edges would change in their last digit each time that a sensor is written and
        # read.
        wavelengths_nm=tuple(round((low + high) / 2, 6) for low, high in bands.values()),
        widths_nm=tuple(round(float(high - low), 6) for low, high in bands.values()),
        pan_nm=(float(edges["pan_nm"][0]), float(edges["pan_nm"][1])),
        ratio=table["ratio"],
        bits=table["bits"],
        mtf_ms=tuple(float(g) for g in gains),
        mtf_pan=float(pan_gain),
        rgb=(names.index(rgb[0]), names.index(rgb[1]), names.index(rgb[2])),
        sources={group: source[group] for group in SOURCES},
        aliases=tuple(aliases),
    )


def to_table(sensor: Sensor) -> dict[str, Any]:
    """A sensor as an entry of a sensor file, for JSON or TOML: the inverse of `from_table`."""
    centres = zip(sensor.bands, sensor.wavelengths_nm, sensor.widths_nm, strict=True)
    return {
        "aliases": list(sensor.aliases),
        "bands": {band: [round(c - w / 2, 6), round(c + w / 2, 6)] for band, c, w in centres},
        "pan_nm": list(sensor.pan_nm),
        "ratio": sensor.ratio,
        "bits": sensor.bits,
        "mtf_ms": list(sensor.mtf_ms),
        "mtf_pan": sensor.mtf_pan,
        "rgb": [sensor.bands[i] for i in sensor.rgb],
        "source": dict(sensor.sources),
    }


def to_toml(sensor: Sensor) -> str:
    """A sensor as the text of a file that `load` reads."""
    lines = [f"[{sensor.name}]"]
    for key, value in to_table(sensor).items():
        entries = (
            {f"{key}.{_toml(k)}": v for k, v in value.items()}
            if isinstance(value, dict)
            else {key: value}
        )
        lines += [
            f"{name} = {json.dumps(entry, ensure_ascii=False)}" for name, entry in entries.items()
        ]
    return "\n".join(lines) + "\n"


def _toml(key: str) -> str:
    return key if _NAME.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _numbers(values: object, count: int) -> bool:
    if not isinstance(values, list) or len(values) != count:
        return False
    return all(type(v) in (int, float) for v in values)


def _texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(v, str) and v.strip() for v in values)


def _key(name: str) -> str:
    return "".join(c for c in name.upper() if c.isalnum())


def _read(path: Path) -> dict[str, Sensor]:
    """All sensors of a file, checked."""
    if not path.is_file():
        raise ValueError(
            f"sensor file {path} is not a file: give the path of a TOML file with a table per "
            "sensor"
        )
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} cannot be read as TOML, expected UTF-8 text: {error}: mend the file"
        ) from None
    if not tables:
        raise ValueError(f"{path} holds no sensor, expected a table such as [MYCAM]: add one")
    return {name: from_table(name, table, str(path)) for name, table in tables.items()}


def _by_key(found: dict[str, Sensor], where: str) -> dict[str, Sensor]:
    """Sensor by the key of its name and of each alias.

    Raises:
        ValueError: two sensors share a name.
    """
    keys: dict[str, Sensor] = {}
    for sensor in found.values():
        for alias in (sensor.name, *sensor.aliases):
            other = keys.setdefault(_key(alias), sensor)
            if other is not sensor:
                raise ValueError(
                    f"{where}: [{other.name}] and [{sensor.name}] are both called {alias!r}, "
                    "expected different names: rename one"
                )
    return keys


SENSORS: dict[str, Sensor] = _read(Path(__file__).with_name("sensors.toml"))
# The keys hold only letters and digits, so "WorldView-2", "worldview 2" and "WV-2" are one.
_KEYS = _by_key(SENSORS, "sensors.toml")


def load(path: str | os.PathLike[str]) -> dict[str, Sensor]:
    """Read a sensor file of your own.

    Args:
        path: a TOML file as ``clippan-lite sensors --show WV2`` prints it, with one or more
            entries.

    Returns:
        Sensor by name, in the file's order.

    Raises:
        ValueError: one line: no file, no TOML, an entry that cannot be used, or the name of a
            built-in sensor, under which results with other figures would be mistaken for that
            sensor's.
    """
    named = _FILE.fullmatch(str(path))
    if named is not None and named["name"]:
        sensor = get(str(path))
        return {sensor.name: sensor}
    path = Path(path).expanduser()
    found = _read(path)
    _by_key(found, str(path))
    taken = [name for name in found if _key(name) in _KEYS]
    if taken:
        raise ValueError(
            f"{path}: [{taken[0]}] is a built-in sensor's name, expected one of your own: rename "
            f"it, as in [MY_{taken[0]}]"
        )
    return found


def resolve(name: str) -> str:
    """The same name of a sensor; a file's path becomes absolute, so that it holds in any folder."""
    match = _FILE.fullmatch(name)
    if not match:
        return name
    path = str(Path(match["path"]).expanduser().resolve())
    return f"{path}:{match['name']}" if match["name"] else path


def get(name: str) -> Sensor:
    """Sensor by name, whatever its case and punctuation, or by alias, such as "WorldView-2".

    Args:
        name: a key of `SENSORS`, an alias, or a file of your own: ``"mycam.toml"`` when it holds
            one sensor, ``"mycam.toml:NAME"`` when it holds several.

    Returns:
        The sensor.

    Raises:
        ValueError: unknown name, with the known ones in the message, or an unusable file, see
            `load`.
    """
    match = _FILE.fullmatch(str(name))
    if match is None:
        sensor = _KEYS.get(_key(str(name)))
        if sensor is None:
            raise ValueError(
                f"unknown sensor {name!r}: known are {', '.join(SENSORS)}; take VHR4 for an "
                "unknown four-band camera or describe yours in a TOML file (clippan-lite sensors "
                "--show VHR4 prints one to copy) and give its path"
            )
        return sensor
    found = load(match["path"])
    if match["name"] is None and len(found) > 1:
        choices = " or ".join(f"{name}:{each}" for each in found)
        raise ValueError(f"{name} holds {len(found)} sensors, expected one: give {choices}")
    sensor = _by_key(found, name).get(_key(match["name"] or next(iter(found))))
    if sensor is None:
        raise ValueError(
            f"{match['path']} holds no sensor {match['name']!r}: known are {', '.join(found)}"
        )
    return sensor


def check_sensor(sensor: object) -> None:
    """Refuse names where the sensor itself is needed.

    Raises:
        ValueError: one line with what to write instead.
    """
    if not isinstance(sensor, Sensor):
        raise ValueError(
            f"sensor: expected a sensors.Sensor, found {sensor!r}: take sensors.get({sensor!r})"
        )


def is_built_in(sensor: Sensor) -> bool:
    """Whether the table holds this sensor, up to its bit depth."""
    known = SENSORS.get(sensor.name)
    return known is not None and replace(known, bits=sensor.bits) == sensor


def with_bits(sensor: Sensor, bits: int) -> Sensor:
    """The same sensor with another radiometric depth, e.g. for 8-bit products.

    Args:
        sensor: sensor to copy.
        bits: new depth, 1 to 32.

    Returns:
        A new sensor; the given one is left as it is.

    Raises:
        ValueError: fewer or more bits.
    """
    return replace(sensor, bits=int(bits))
