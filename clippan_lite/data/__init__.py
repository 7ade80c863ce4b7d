"""Pairs of PAN and MS images: what a pair is, where it comes from, and whether its files fit.

Begin with :class:`Pair` (``pair``) and :func:`clippan_lite.data.geotiff.read_pair`. This wing may
import ``physics`` and ``runtime``. Only ``pair`` and ``patches`` are loaded here, because the
readers need rasterio or h5py.
"""

from clippan_lite.data.pair import (
    Pair,
    choose_bands,
    largest_valid,
    reduced,
    split_scenes,
    with_bands,
    without_holes,
)
from clippan_lite.data.patches import Patches, valid_corners
