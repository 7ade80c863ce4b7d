"""Included scenes: two real places, and a synthetic one whose truth is known."""

from __future__ import annotations

from pathlib import Path

from clippan_lite.data import geotiff, registration, synthetic
from clippan_lite.data.pair import Pair
from clippan_lite.runtime.settings import in_kind

FOLDER = Path(__file__).with_name("examples")  # sources and licences: CREDITS.md in it
REAL = ("landsat7", "rotterdam")


def example(name: str = "landsat7", register: bool = False) -> Pair:
    """An included scene.

    Args:
        name: ``"landsat7"``: mountains, a town and lakes; 6 bands, ratio 2, 8 bit, convention
            ``"geo"``. ``"rotterdam"``: a ship in port by WorldView-2; 4 bands, ratio 4, 11 bit; MS
            lies 1.4 PAN pixels off PAN, as it was delivered. ``"synthetic"``: 512 x 512 PAN pixels
            of WorldView-2 with the true HRMS; 8 bands, ratio 4, 11 bit.
        register: shift PAN onto MS.

    Returns:
        The pair, DN. Only the synthetic one has ``truth``.

    Raises:
        ValueError: an unknown name.
    """
    if name == "synthetic":
        return synthetic.make_scene(0, 512, "WV2")
    if name not in REAL:
        raise ValueError(f"unknown example {name!r}: expected {', '.join(REAL)} or synthetic")
    pair = geotiff.read_scene(FOLDER / name)
    if not in_kind("register", register, bool):
        return pair
    shift = registration.estimate(pair)
    print(f"Registration: PAN {shift.done} onto MS")
    return registration.correct(pair, shift)
