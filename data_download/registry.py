"""What can be downloaded, as data. Nothing here is part of the package; each entry has its own licence.

Addresses were collected from public code and documentation and may have moved; a failed download says so.
A checksum is given only where its publisher or a public loader states it for the file itself.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One downloadable file.

    Attributes:
        url: https address.
        sensor: name in the sensor table of clippan_lite, or what the data set says.
        content: what the file holds.
        licence: under which terms it may be used; "not stated" means ask before publishing anything made from it.
        citation: how to cite it.
        md5: of the file, if known.
        unpack: the archive is unpacked after the download.
    """

    url: str
    sensor: str
    content: str
    licence: str
    citation: str
    md5: str | None = None
    unpack: bool = False

    @property
    def filename(self) -> str:
        """Last part of the address."""
        return self.url.split("?")[0].rsplit("/", 1)[-1]


_SPACENET = "https://spacenet-dataset.s3.amazonaws.com/spacenet"
_SPACENET_TERMS = "CC BY-SA 4.0"
_SPACENET_CITATION = "Van Etten, Lindenbaum, Bacastow: SpaceNet, a remote sensing dataset and challenge series, 2018"
_PANCOLLECTION = "https://huggingface.co/datasets/elsting/PanCollection/resolve/main/test_data"
_PANCOLLECTION_TERMS = "not stated; commercial imagery for research use, do not redistribute"
_PANCOLLECTION_CITATION = "Deng et al.: Machine learning in pansharpening, IEEE GRSM 10(3), 2022"
_NBU = "https://huggingface.co/datasets/deepinv/images/resolve/main"
_NBU_TERMS = "not stated; research use only, do not redistribute"
_NBU_CITATION = "Meng et al.: A large-scale benchmark data set for evaluating pansharpening, IEEE GRSM 9(1), 2021"


def _spacenet(path: str, content: str, md5: str) -> Entry:
    return Entry(f"{_SPACENET}/{path}", "WV3", content, _SPACENET_TERMS, _SPACENET_CITATION, md5, unpack=True)


def _pancollection(name: str, sensor: str, content: str) -> Entry:
    return Entry(f"{_PANCOLLECTION}/{name}", sensor, content, _PANCOLLECTION_TERMS, _PANCOLLECTION_CITATION)


def _nbu(name: str, sensor: str, pairs: int) -> Entry:
    content = f"{pairs} urban pairs, MS 256 x 256 and PAN 1024 x 1024, MATLAB files"
    return Entry(f"{_NBU}/{name}.zip?download=true", sensor, content, _NBU_TERMS, _NBU_CITATION, unpack=True)


_REDUCED = "20 reduced-resolution patches with reference, h5"
_FULL = "20 full-resolution patches, h5"
ENTRIES: dict[str, Entry] = {
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
    "pancollection-wv3-reduced": _pancollection("test_wv3_multiExm1.h5", "WV3", f"{_REDUCED}, 184 MB"),
    "pancollection-wv3-full": _pancollection("test_wv3_OrigScale_multiExm1.h5", "WV3", f"{_FULL}, 398 MB"),
    "pancollection-wv2-reduced": _pancollection("test_wv2_multiExm1.h5", "WV2", f"{_REDUCED}, 184 MB"),
    "pancollection-qb-reduced": _pancollection("test_qb_multiExm1.h5", "QB", f"{_REDUCED}, 97 MB"),
    "pancollection-qb-full": _pancollection("test_qb_OrigScale_multiExm1.h5", "QB", f"{_FULL}, 220 MB"),
    "pancollection-gf2-reduced": _pancollection("test_gf2_multiExm1.h5", "GF2", f"{_REDUCED}, 97 MB"),
    "pancollection-gf2-full": _pancollection("test_gf2_OrigScale_multiExm1.h5", "GF2", f"{_FULL}, 220 MB"),
    "nbu-gaofen1": _nbu("nbu_gaofen-1", "GaoFen-1", 5),
    "nbu-ikonos": _nbu("nbu_ikonos", "IKONOS", 60),
    "nbu-quickbird": _nbu("nbu_quickbird", "QB", 150),
    "nbu-worldview3": _nbu("nbu_worldview-3", "WV3", 55),
}
