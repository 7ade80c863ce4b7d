"""Classical pansharpening: interpolation, substitution of components, multiresolution, detail.

Every method has the signature ``(ms, pan, sensor, convention="benchmark", mask=None) -> fused``: ms
``(C, h, w)`` and pan ``(1, h * ratio, w * ratio)`` in DN, any floating dtype and device; fused
``(C, h * ratio, w * ratio)`` float32 in DN, clipped to what the sensor can give (or to the range of
ms, should that be wider). Shapes that do not fit each other or the sensor raise a one-line
ValueError, and so do an unknown convention and valid pixels that are NaN or infinite.

``sensor`` gives ratio, bits and MTF gains. ``convention`` is ``"benchmark"`` or ``"geo"``, see
`clippan_lite.physics.degrade`. ``mask`` is ``(h * ratio, w * ratio)`` bool, True where valid; None
means that all pixels are. Means, deviations and regressions take valid pixels only, so a mask that
leaves too few raises a ValueError. Filters see values continued from around the holes, and fused is
0 there. What lies under the mask changes nothing.

This wing may import ``data``, ``metrics``, ``physics`` and ``runtime``.
"""

from collections.abc import Sequence
from contextvars import copy_context

import torch

from clippan_lite.classical.common import WRAPS, Method, finish
from clippan_lite.classical.consistent import middle_of, project, share_along_pan
from clippan_lite.classical.detail import bdsd, bdsd_pc
from clippan_lite.classical.multiresolution import (
    exp,
    hpf,
    mtf_glp,
    mtf_glp_cbd,
    mtf_glp_fs,
    mtf_glp_hpm,
    sfim,
)
from clippan_lite.classical.substitution import brovey, gihs, gs, gsa, pca
from clippan_lite.data import Pair, hide_holes, without_holes

METHODS: dict[str, Method] = {
    "EXP": exp,
    "Brovey": brovey,
    "GIHS": gihs,
    "PCA": pca,
    "GS": gs,
    "GSA": gsa,
    "HPF": hpf,
    "SFIM": sfim,
    "MTF-GLP": mtf_glp,
    "MTF-GLP-HPM": mtf_glp_hpm,
    "MTF-GLP-FS": mtf_glp_fs,
    "MTF-GLP-CBD": mtf_glp_cbd,
    "BDSD": bdsd,
    "BDSD-PC": bdsd_pc,
}

__all__ = [
    "METHODS",
    "bdsd",
    "bdsd_pc",
    "brovey",
    "exp",
    "find",
    "fuse",
    "gihs",
    "gs",
    "gsa",
    "hpf",
    "middle_of",
    "mtf_glp",
    "mtf_glp_cbd",
    "mtf_glp_fs",
    "mtf_glp_hpm",
    "pca",
    "project",
    "projected",
    "results",
    "sfim",
    "share_along_pan",
]


def find(name: str) -> Method:
    """The method of that name, whatever its case; ``_`` and ``-`` are one.

    Raises:
        ValueError: unknown name (the message lists the known ones).
    """
    wanted = str(name).lower().replace("_", "-")
    for known, method in METHODS.items():
        if known.lower() == wanted:
            return method
    raise ValueError(f"unknown method {name!r}: expected one of {', '.join(METHODS)}")


def results(names: Sequence[str], pair: Pair) -> torch.Tensor:
    """Results of several methods, one after the other along the bands: ``(N * C, H, W)``, DN.

    They repeat the image's border. `fuse` wraps around it in the convention ``"benchmark"``, as the
    toolboxes do.
    """
    context = copy_context()
    context.run(WRAPS.set, False)
    return torch.cat([context.run(_fused, name, pair) for name in names])


def fuse(name: str, pair: Pair, rounds: int = 0, along: float = 0.0) -> torch.Tensor:
    """Fuse a pair by the method of that name, in the pair's convention and without its nodata.

    Args:
        name: as in `find`.
        pair: images in DN.
        rounds: of back-projection onto MS afterwards, see `project`. One never harmed here,
            whatever the camera, and two never harmed BDSD-PC (notebook 05). More gain more where
            the sensor's MTF is right, and lose where it is not.
        along: share of back-projection that follows PAN.

    Returns:
        ``(C, H, W)`` float32, DN; 0 where the pair holds nodata.

    Raises:
        ValueError: unknown name, or what the method itself refuses.
    """
    return hide_holes(projected(_fused(name, pair), pair, rounds, along), pair)


def _fused(name: str, pair: Pair) -> torch.Tensor:
    """What a method makes of a pair; a band that alone is nodata keeps what was filled in."""
    return find(name)(pair.ms, pair.pan, pair.sensor, pair.convention, pair.mask)


def projected(fused: torch.Tensor, pair: Pair, rounds: int, along: float = 0.0) -> torch.Tensor:
    """Any fused image after `project`, clipped to what the sensor can give, 0 at nodata."""
    if not rounds:
        return fused
    ms = without_holes(pair).ms
    return finish(project(fused, pair, rounds, along), ms, pair.sensor, pair.mask)
