"""Pairs of PAN and MS images: what a pair is, where it comes from, and whether its files fit.

Begin with :class:`Pair` (``pair``) and :func:`clippan_lite.data.geotiff.read_pair`. This wing may
import ``physics`` and ``runtime``. Only ``pair`` and ``patches`` are loaded here. The readers need
rasterio or h5py, and ``parts`` is loaded when one of its names is used.
"""

from typing import TYPE_CHECKING

from clippan_lite.data.pair import Pair, hide_holes, reduced, without_holes
from clippan_lite.data.patches import Patches, valid_corners
from clippan_lite.runtime import lazy

if TYPE_CHECKING:
    from clippan_lite.data.parts import choose_bands, largest_valid, split_scenes, with_bands

__all__ = [
    "Pair",
    "Patches",
    "choose_bands",
    "hide_holes",
    "largest_valid",
    "reduced",
    "split_scenes",
    "valid_corners",
    "with_bands",
    "without_holes",
]

_PARTS = ("choose_bands", "largest_valid", "split_scenes", "with_bands")

__getattr__, __dir__ = lazy.attach(__name__, dict.fromkeys(_PARTS, "clippan_lite.data.parts"))
