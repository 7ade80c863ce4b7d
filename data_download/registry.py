"""What can be downloaded, as data.

None of the imagery is part of the package, and each entry has its own licence. The addresses come
from public code and documentation. They may have moved; a failed download says so. A checksum is
given only where its publisher or a public loader states it for the file itself.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class _Common:
    """What every kind of entry tells.

    Attributes:
        sensor: name in the sensor table of clippan_lite.
        content: what the data set holds.
        licence: terms of use. "not stated" means: ask before you publish anything made from it.
        citation: how to cite it.
    """

    sensor: str
    content: str
    licence: str
    citation: str


@dataclass(frozen=True)
class Entry(_Common):
    """One downloadable file.

    Attributes:
        url: https address.
        checksum: MD5 or SHA-256 of the file in hex digits, if its publisher states one.
        unpack: the archive is unpacked after the download.
    """

    url: str
    checksum: str | None = None
    unpack: bool = False

    @property
    def filename(self) -> str:
        """Last part of the address."""
        return self.url.split("?")[0].rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Chips(_Common):
    """PAN and MS chips of one city, found by listing a bucket. One chip becomes a scene folder.

    Attributes:
        bucket: https address that answers S3's ListObjectsV2.
        pan: prefix of the PAN chips' keys. A number and ``.tif`` follow it.
        ms: prefix of the MS chips' keys.
        bits: bit depth of the numbers.
    """

    bucket: str
    pan: str
    ms: str
    bits: int = 11


@dataclass(frozen=True)
class Window(_Common):
    """A window of images that lie on a server as tiled GeoTIFFs, read over HTTP range requests.

    Attributes:
        pan: https address of PAN.
        ms: https addresses of MS: one file with all bands, or one per band.
        bits: bit depth of the numbers.
        row, col, size: default window, PAN pixels.
    """

    pan: str
    ms: tuple[str, ...]
    bits: int
    row: int
    col: int
    size: int = 1024


@dataclass(frozen=True)
class Synthetic(_Common):
    """A scene that clippan_lite makes, with its full-resolution truth; no network is needed."""

    size: int
    seed: int


_SPACENET = "https://spacenet-dataset.s3.amazonaws.com/spacenet"
_SPACENET_TERMS = "CC BY-SA 4.0"
_SPACENET_CITATION = (
    "Van Etten, Lindenbaum, Bacastow: SpaceNet, a remote sensing dataset and challenge series, 2018"
)
_PANCOLLECTION = "https://huggingface.co/datasets/elsting/PanCollection/resolve/main/test_data"
_PANCOLLECTION_TERMS = "not stated; commercial imagery for research use, do not redistribute"
_PANCOLLECTION_CITATION = "Deng et al.: Machine learning in pansharpening, IEEE GRSM 10(3), 2022"
_NBU = "https://huggingface.co/datasets/deepinv/images/resolve/main"
_NBU_TERMS = "not stated; research use only, do not redistribute"
_NBU_CITATION = (
    "Meng et al.: A large-scale benchmark data set for evaluating pansharpening, "
    "IEEE GRSM 9(1), 2021"
)


def _synthetic(sensor: str, bands: int) -> Synthetic:
    content = f"{bands}-band synthetic scene with truth; made here, no network"
    return Synthetic(sensor, content, "MIT", "clippan-lite", size=512, seed=0)


def _spacenet(path: str, content: str, md5: str, sensor: str = "WV3") -> Entry:
    return Entry(
        sensor,
        content,
        _SPACENET_TERMS,
        _SPACENET_CITATION,
        f"{_SPACENET}/{path}",
        md5,
        unpack=True,
    )


def _pancollection(name: str, sensor: str, content: str) -> Entry:
    return Entry(
        sensor, content, _PANCOLLECTION_TERMS, _PANCOLLECTION_CITATION, f"{_PANCOLLECTION}/{name}"
    )


def _nbu(name: str, sensor: str, pairs: int) -> Entry:
    content = f"{pairs} urban pairs, MS 256 x 256 and PAN 1024 x 1024, MATLAB files"
    return Entry(
        sensor, content, _NBU_TERMS, _NBU_CITATION, f"{_NBU}/{name}.zip?download=true", unpack=True
    )


_REDUCED = "20 reduced-resolution patches with reference, h5"
_FULL = "20 full-resolution patches, h5"
_BUCKET = "https://spacenet-dataset.s3.amazonaws.com"
_CHIP = "one chip, PAN 1300 x 1300 and 8-band MS 325 x 325, 5 MB; --chip N chooses"
_CHOOSE = "--row --col --size choose"
_MAXAR = "https://maxar-opendata.s3.amazonaws.com/events"
_MAXAR_TERMS = "CC BY-NC 4.0"
_MAXAR_CITATION = "Maxar (Vantor) Open Data Program, analysis-ready surface reflectance"
_LANDSAT = "https://storage.googleapis.com/gcp-public-data-landsat/LC08/01"


def _chips(challenge: str, city: str, unit: str) -> Chips:
    pan, ms = (
        f"spacenet/{challenge}/train/{city}/{kind}/{challenge}_train_{city}_{kind}_{unit}"
        for kind in ("PAN", "MS")
    )
    return Chips("WV3", _CHIP, _SPACENET_TERMS, _SPACENET_CITATION, _BUCKET, pan, ms)


def _maxar(path: str) -> Window:
    return Window(
        sensor="WV3",
        content=f"a window of an orthorectified scene, reflectance times 10000, 3 MB; {_CHOOSE}",
        licence=_MAXAR_TERMS,
        citation=_MAXAR_CITATION,
        pan=f"{_MAXAR}/{path}-pan.tif",
        ms=(f"{_MAXAR}/{path}-ms.tif",),
        bits=14,
        row=4096,
        col=4096,
    )


def _landsat(scene: str) -> Window:
    _, _, place, *_ = scene.split("_")
    base = f"{_LANDSAT}/{place[:3]}/{place[3:]}/{scene}/{scene}"
    return Window(
        sensor="LANDSAT8",
        content=f"a window of a Level-1 scene, PAN 15 m and three bands 30 m; {_CHOOSE}",
        licence="public domain",
        citation="Landsat-8 image courtesy of the U.S. Geological Survey",
        pan=f"{base}_B8.TIF",
        ms=tuple(f"{base}_B{band}.TIF" for band in (2, 3, 4)),
        bits=16,
        row=6000,
        col=6000,
    )


ENTRIES: dict[str, Entry | Chips | Window | Synthetic] = {
    "synthetic-wv2": _synthetic("WV2", 8),
    "synthetic-ikonos": _synthetic("IKONOS", 4),
    "spacenet3-paris-chip": _chips("SN3_roads", "AOI_3_Paris", "img"),
    "spacenet3-vegas-chip": _chips("SN3_roads", "AOI_2_Vegas", "img"),
    "spacenet5-moscow-chip": _chips("SN5_roads", "AOI_7_Moscow", "chip"),
    "maxar-kenya-2023": _maxar(
        "Kenya-Flooding-May24/ard/37/211111023311/2023-11-30/104001008E063C00"
    ),
    "maxar-losangeles-2025": _maxar(
        "WildFires-LosAngeles-Jan-2025/ard/11/031311103120/2025-01-08/10400100A24E1900"
    ),
    "landsat8-greenland-2015": _landsat("LC08_L1TP_023001_20150708_20170407_01_T1"),
    "spacenet3-paris": _spacenet(
        "SN3_roads/tarballs/SN3_roads_train_AOI_3_Paris.tar.gz",
        "chips PAN 1300 x 1300 and 8-band MS 325 x 325, several GB",
        "c13baf88ee10fe47870c303223cabf82",
    ),
    "spacenet3-khartoum": _spacenet(
        "SN3_roads/tarballs/SN3_roads_train_AOI_5_Khartoum.tar.gz",
        "chips PAN 1300 x 1300 and 8-band MS 325 x 325, several GB",
        "46f327b550076f87babb5f7b43f27c68",
    ),
    "spacenet5-moscow": _spacenet(
        "SN5_roads/tarballs/SN5_roads_train_AOI_7_Moscow.tar.gz",
        "chips PAN 1300 x 1300 and 8-band MS 325 x 325, several GB",
        "03082d01081a6d8df2bc5a9645148d2a",
    ),
    "spacenet4-atlanta": _spacenet(
        "SN4_buildings/tarballs/Atlanta_nadir7_catid_1030010003D22F00.tar.gz",
        "chips PAN 900 x 900 and 8-band MS 225 x 225, 7 degrees off nadir, several GB",
        "d41ab6ec087b07e1e046c55d1fa5754b",
        "WV2",
    ),
    "pancollection-wv3-reduced": _pancollection(
        "test_wv3_multiExm1.h5", "WV3", f"{_REDUCED}, 184 MB"
    ),
    "pancollection-wv3-full": _pancollection(
        "test_wv3_OrigScale_multiExm1.h5", "WV3", f"{_FULL}, 398 MB"
    ),
    "pancollection-wv2-reduced": _pancollection(
        "test_wv2_multiExm1.h5", "WV2", f"{_REDUCED}, 184 MB"
    ),
    "pancollection-qb-reduced": _pancollection("test_qb_multiExm1.h5", "QB", f"{_REDUCED}, 97 MB"),
    "pancollection-qb-full": _pancollection(
        "test_qb_OrigScale_multiExm1.h5", "QB", f"{_FULL}, 220 MB"
    ),
    "pancollection-gf2-reduced": _pancollection(
        "test_gf2_multiExm1.h5", "GF2", f"{_REDUCED}, 97 MB"
    ),
    "pancollection-gf2-full": _pancollection(
        "test_gf2_OrigScale_multiExm1.h5", "GF2", f"{_FULL}, 220 MB"
    ),
    "nbu-gaofen1": _nbu("nbu_gaofen-1", "GF1", 5),
    "nbu-ikonos": _nbu("nbu_ikonos", "IKONOS", 60),
    "nbu-quickbird": _nbu("nbu_quickbird", "QB", 150),
    "nbu-worldview3": _nbu("nbu_worldview-3", "WV3", 55),
}


def find(*words: str) -> dict[str, Entry | Chips | Window | Synthetic]:
    """Entries whose name, sensor, content or licence mention all words, in upper or lower case."""

    def mentions(name: str, entry: _Common) -> bool:
        parts = (name, type(entry).__name__, entry.sensor, entry.content, entry.licence)
        text = " ".join(parts).lower()
        return all(word.lower() in text for word in words)

    return {name: entry for name, entry in ENTRIES.items() if mentions(name, entry)}
