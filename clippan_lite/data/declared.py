"""What files say of their bands, and which of them are the sensor's.

A band is recognised by its description, a wavelength in its tags, or its colour interpretation, in
that order. Where that tells of each band which one it is, MS's bands are put into the sensor's
order. Where it contradicts the sensor and no order mends that, the files are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rasterio import DatasetReader
from rasterio.enums import ColorInterp, PhotometricInterp

from clippan_lite.data import pair_checks
from clippan_lite.physics.sensors import Sensor

#: Kinds of bands, and up to which centre wavelength in nm a band is of that kind.
KINDS = {
    "coastal": 450, "blue": 515, "green": 585, "yellow": 625, "red": 695, "rededge": 755,
    "nir": 1100, "swir": 3000,
}  # fmt: skip
#: What descriptions call them. The first that fits counts, so red edge comes before red.
WORDS = {
    "pan": r"\bpan(chromatic|chro)?\b",
    "swir": r"\bswir|short ?wave",
    "nir": r"\bnir|infra ?red",
    "coastal": r"coastal|aerosol|deep ?blue",
    "rededge": r"red ?edge",
    "yellow": r"\byellow\b",
    "green": r"\bgreen\b",
    "blue": r"\bblue\b",
    "red": r"\bred\b",
}
#: What descriptions of one letter mean, as in BAND_N. "B2" means nothing: operators count bands so.
LETTERS = {
    "c": "coastal", "b": "blue", "g": "green", "y": "yellow", "r": "red", "re": "rededge",
    "n": "nir", "n1": "nir", "n2": "nir",
}  # fmt: skip
#: Tags that hold a centre wavelength, without case.
WAVELENGTHS = (
    "wavelength", "wavelength_nm", "wavelength_um", "center_wavelength", "centre_wavelength",
    "central_wavelength", "central_wavelength_nm", "central_wavelength_um",
)  # fmt: skip
Claim = frozenset[int] | None  # bands of the sensor that a file's band may be; None says nothing


def bands_of_ms(ms: DatasetReader, sensor: Sensor, given: str | None = None) -> tuple[int, ...]:
    """Numbers of MS's bands, from 1, in the sensor's order. What is not as usual is printed.

    Args:
        ms: the open file.
        sensor: whose bands are looked for.
        given: what the user says: numbers of the file's bands in the sensor's order, ``"3,2,1,4"``,
            or the sensor's names in the file's order, ``"R,G,B,NIR"``, ``-`` for a band to leave
            out.

    Raises:
        ValueError: another number of bands, or bands that contradict the sensor.
    """
    if given is not None:
        by_user = _given(ms, sensor, given)
        for index, number in enumerate(by_user):
            claim = _claim(ms, number, sensor)
            if claim is not None and index not in claim:
                print(
                    f"Note: --bands takes band {number}, which MS calls {_said(ms, number)}, as "
                    f"{sensor.bands[index]}"
                )
        return by_user
    numbers = _without_alpha(ms, len(sensor.bands))
    advice = (
        "say which is which, as in --bands 3,2,1,4 (the file's bands in the sensor's order), or "
        "choose another sensor"
    )
    chosen = _told(ms, sensor, numbers, "MS", advice)
    if chosen is None:
        pair_checks.bands(1, len(numbers), sensor)
        chosen = tuple(numbers)
        if not any(ms.descriptions) and len(numbers) > 1:
            print(
                f"Note: MS does not name its bands: they are taken as {', '.join(sensor.bands)} "
                "(--bands says otherwise)"
            )
    if chosen == tuple(ms.indexes):
        _tell_of_colours(ms, sensor)
    return chosen


def bands_of_fused(
    image: DatasetReader, name: str, sensor: Sensor, of_ms: Sequence[int]
) -> tuple[int, ...]:
    """Numbers of a fused image's bands, from 1, in the sensor's order.

    Where the file says nothing of its bands, they lie as MS's do in MS's file.

    Args:
        image: the open file, with as many bands as the sensor.
        name: of the image, for messages.
        sensor: whose bands they are.
        of_ms: numbers of MS's bands in the sensor's order.

    Raises:
        ValueError: bands that contradict the sensor.
    """
    advice = "put them in the sensor's order (gdal_translate -b), or name them so"
    chosen = _told(image, sensor, image.indexes, name, advice)
    if chosen is not None:
        return chosen
    places = sorted(of_ms)
    chosen = tuple(places.index(number) + 1 for number in of_ms)
    if chosen != tuple(image.indexes):
        print(f"Note: {name} does not name its bands: they are taken in the order of MS's file")
    return chosen


def _told(
    source: DatasetReader, sensor: Sensor, numbers: Sequence[int], what: str, advice: str
) -> tuple[int, ...] | None:
    """Bands in the sensor's order, as the file tells it; None where it does not."""
    claims = [_claim(source, number, sensor) for number in numbers]
    order = _matched(claims, len(sensor.bands))
    if order is not None:
        chosen = tuple(numbers[i] for i in order)
        if chosen != tuple(source.indexes):
            pairs = zip(sensor.bands, chosen, strict=True)
            which = ", ".join(f"{band} is band {number}" for band, number in pairs)
            print(f"{what}'s bands are taken by what the file says of them: {which}")
        return chosen
    if len(numbers) == len(sensor.bands) and any(
        claim is not None and i not in claim for i, claim in enumerate(claims)
    ):
        found = ", ".join(_said(source, number) for number in numbers)
        raise ValueError(
            f"{what}'s bands are called {found}; {sensor.name} has {', '.join(sensor.bands)}: "
            f"{advice}"
        )
    return None


def band_of_pan(pan: DatasetReader, sensor: Sensor, ms: DatasetReader) -> tuple[int]:
    """PAN's only band that is no transparency.

    Raises:
        ValueError: several bands; the message says so where PAN and MS seem to be swapped.
    """
    numbers = _without_alpha(pan, 1)
    if len(numbers) != 1:
        pair_checks.bands(len(numbers), ms.count, sensor)
    kind = _kind(pan.descriptions[numbers[0] - 1] or "")
    if kind not in (None, "pan"):
        print(f"Note: PAN's band is called {_said(pan, numbers[0])}: is it the panchromatic one?")
    return (numbers[0],)


def outside_pan(sensor: Sensor) -> list[str]:
    """Bands whose light PAN does not see at all, such as coastal blue or short-wave infrared."""
    low, high = sensor.pan_nm
    edges = zip(sensor.bands, sensor.wavelengths_nm, sensor.widths_nm, strict=True)
    return [band for band, at, wide in edges if at + wide / 2 <= low or at - wide / 2 >= high]


def _given(ms: DatasetReader, sensor: Sensor, given: str) -> tuple[int, ...]:
    """The order that the user says."""
    words, names = [word.strip() for word in given.split(",")], list(sensor.bands)
    if all(word.isdigit() for word in words):
        numbers = [int(word) for word in words]
        good = len(numbers) == len(names) and set(numbers) <= set(ms.indexes)
    else:
        by_name = {word.upper(): number for number, word in enumerate(words, 1)}
        numbers = [by_name.get(name.upper(), 0) for name in names]
        good = len(words) == ms.count and 0 not in numbers
    if not good or len(set(numbers)) < len(numbers):
        raise ValueError(
            f"--bands {given}: expected {len(names)} different numbers from 1 to {ms.count}, the "
            f"file's bands in the order {','.join(names)}, or {ms.count} names, one for each of "
            "the file's bands (- leaves one out): give one of the two"
        )
    return tuple(numbers)


def _without_alpha(source: DatasetReader, expected: int) -> list[int]:
    """Bands that hold light. Transparency counts as such only where the sensor has no band for it.

    GDAL takes the fourth of four 8-bit bands for transparency, whatever it holds.

    Raises:
        ValueError: a band in the place of one of the sensor's is on or off only.
    """
    alpha = [n for n in source.indexes if source.colorinterp[n - 1] is ColorInterp.alpha]
    if not alpha or source.count > expected:
        return [n for n in source.indexes if n not in alpha]
    number, side = alpha[0], min(64, *source.shape)
    levels = set(source.read(number, out_shape=(side, side)).ravel().tolist())
    called = (source.descriptions[number - 1] or "").lower()
    if "alpha" in called or (levels <= {0, max(levels)} and max(levels) in (1, 255, 65535)):
        raise ValueError(
            f"{source.name}: band {number} is transparency (alpha), so {expected - 1} bands remain "
            f"and {expected} are expected: choose a sensor with {expected - 1}, or another file"
        )
    print(f"Note: GDAL takes band {number} for transparency (alpha); here it is a band of its own")
    return list(source.indexes)


def _claim(ms: DatasetReader, number: int, sensor: Sensor) -> Claim:
    """Which of the sensor's bands a band says that it is."""
    called = ms.descriptions[number - 1] or ""
    names = [_plain(name) for name in sensor.bands]
    if _plain(called) in names:
        return frozenset([names.index(_plain(called))])
    at = _wavelength(ms, number, called)
    if at is not None:
        return _near(at, sensor)
    kind = _kind(called)
    # GDAL makes colours up for 8 bits, but not for JPEG's own colour model.
    if kind is None and (ms.dtypes[number - 1] != "uint8" or _is_ycbcr(ms)):
        colour = ms.colorinterp[number - 1].name
        kind = colour if colour in KINDS or colour == "pan" else None
    if kind is None:
        return None
    fitting = [i for i, nm in enumerate(sensor.wavelengths_nm) if _kind_at(nm) == kind]
    which = re.search(r"(?:nir|infra ?red|\bn|swir|edge|\bre) ?(\d)\b", _words(called))
    if len(fitting) > 1 and which and 1 <= int(which[1]) <= len(fitting):
        return frozenset([fitting[int(which[1]) - 1]])
    return frozenset(fitting)


def _is_ycbcr(source: DatasetReader) -> bool:
    """Whether an image is kept as brightness and two colours, which only true colours are."""
    return source.photometric is PhotometricInterp.ycbcr


def _wavelength(ms: DatasetReader, number: int, called: str) -> float | None:
    """Centre wavelength in nm that a band's tags or description tell."""
    tags = {**ms.tags(number), **ms.tags(number, ns="IMAGERY")}
    tags = {key.lower(): value for key, value in tags.items()}
    unit = tags.get("wavelength_units", "")
    texts = [f"{tags[key]} {unit} {key}" for key in WAVELENGTHS if key in tags]
    in_words = re.search(r"\d+(\.\d+)? ?(nm|nano|um|µm|micro)", called.lower())
    if in_words:
        texts.append(in_words[0])
    for text in texts:
        value = re.search(r"\d+(\.\d+)?", text)
        if value:
            micro = re.search(r"um\b|µm|micro", text.lower()) or float(value[0]) < 30
            return float(value[0]) * (1000 if micro else 1)
    return None


def _near(at: float, sensor: Sensor) -> frozenset[int]:
    """The sensor's band of a wavelength; none where all are too far off."""
    off = [abs(at - centre) for centre in sensor.wavelengths_nm]
    best = off.index(min(off))
    return frozenset([best] if off[best] <= 0.75 * sensor.widths_nm[best] else [])


def _matched(claims: Sequence[Claim], count: int) -> list[int] | None:
    """For each of the sensor's bands the one that claims it; None where they do not tell."""
    order: list[int] = []
    for band in range(count):
        free = [i for i, claim in enumerate(claims) if claim and band in claim and i not in order]
        if not free:
            return None
        order.append(min(free, key=lambda i: len(claims[i] or ())))
    return order


def _kind(called: str) -> str | None:
    """Kind of band that a description means."""
    words = _words(called)
    letter = LETTERS.get(words.removeprefix("band ").replace(" ", ""))
    return letter or next((k for k, word in WORDS.items() if re.search(word, words)), None)


def _kind_at(nm: float) -> str | None:
    """Kind of band at a centre wavelength."""
    return next((kind for kind, top in KINDS.items() if nm < top), None)


def _words(called: str) -> str:
    """A description in lower case, its words with single spaces between."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", called)
    return " ".join(re.findall(r"[a-z0-9]+", apart.lower()))


def _plain(name: str) -> str:
    """A name without case and punctuation."""
    return "".join(filter(str.isalnum, name.upper()))


def _said(source: DatasetReader, number: int) -> str:
    """What a file calls a band."""
    return source.descriptions[number - 1] or source.colorinterp[number - 1].name


def _tell_of_colours(ms: DatasetReader, sensor: Sensor) -> None:
    """Print colours of an 8-bit file that are not the sensor's order."""
    colours = [colour.name for colour in ms.colorinterp]
    if "red" not in colours or ms.dtypes[0] != "uint8" or any(ms.descriptions):
        return
    kinds = [_kind_at(nm) for nm in sensor.wavelengths_nm]
    if any(c in KINDS and c != kind for c, kind in zip(colours, kinds, strict=False)):
        print(
            f"Note: MS marks its bands as {', '.join(colours)}, which many programs do with any "
            f"8-bit file; they are taken as {', '.join(sensor.bands)} (--bands says otherwise)"
        )
