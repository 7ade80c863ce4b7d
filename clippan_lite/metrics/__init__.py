"""Image quality with and without a reference, as the MATLAB toolboxes of the field define it.

Every function takes ``(C, H, W)`` or ``(B, C, H, W)`` tensors on any device, computes in float64
and returns a scalar float64 tensor, the mean over the batch. Results do not change when all images
are multiplied by one factor (for PSNR the peak too), so DN and [0, 1] both serve. All are
differentiable, with finite gradients also for equal images and flat blocks. Wrong shapes, ratios or
non-finite values raise a one-line ValueError with what was expected and found.

`reduced` and `full` return whole tables of one image ``(C, H, W)`` by name. `full` works in tiles,
so that scenes of any size fit into memory.

``convention`` says where MS pixels sit on PAN's grid, see `clippan_lite.physics.degrade`. ``mask``
is ``(H, W)`` bool on PAN's grid. Blocks that touch a False pixel are dropped. What lies there, NaN
too, cannot change a figure: interpolation and filters see values continued from around the hole.
What does not fill a block is cropped at the bottom and right.

This wing may import ``data``, ``physics`` and ``runtime``. A public name loads its module only when
it is used.
"""

from typing import TYPE_CHECKING

from clippan_lite.runtime import lazy

if TYPE_CHECKING:
    from clippan_lite.metrics.aligned import reprojected
    from clippan_lite.metrics.no_reference import (
        d_lambda,
        d_lambda_khan,
        d_rho,
        d_s,
        d_s_regression,
        hqnr,
        qnr,
    )
    from clippan_lite.metrics.reference import ergas, psnr, q, q2n, sam, scc, ssim
    from clippan_lite.metrics.tables import full, reduced

__all__ = [
    "d_lambda",
    "d_lambda_khan",
    "d_rho",
    "d_s",
    "d_s_regression",
    "ergas",
    "full",
    "hqnr",
    "psnr",
    "q",
    "q2n",
    "qnr",
    "reduced",
    "reprojected",
    "sam",
    "scc",
    "ssim",
]

_NO_REFERENCE = ("d_lambda", "d_lambda_khan", "d_rho", "d_s", "d_s_regression", "hqnr", "qnr")
_REFERENCE = ("ergas", "psnr", "q", "q2n", "sam", "scc", "ssim")

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "reprojected": "clippan_lite.metrics.aligned",
        **dict.fromkeys(_NO_REFERENCE, "clippan_lite.metrics.no_reference"),
        **dict.fromkeys(_REFERENCE, "clippan_lite.metrics.reference"),
        **dict.fromkeys(("full", "reduced"), "clippan_lite.metrics.tables"),
    },
)
