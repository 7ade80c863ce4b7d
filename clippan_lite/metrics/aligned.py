"""Consistency with MS where PAN and MS are not perfectly aligned.

The fused image is sampled where MS really lies.
"""

from collections.abc import Sequence
from functools import cache

import torch

from clippan_lite.metrics import blocks, inputs
from clippan_lite.metrics.reference import consistency
from clippan_lite.physics.degrade import degrade, mtf_filter
from clippan_lite.physics.sensors import Sensor
from clippan_lite.physics.windows import all_valid

Tensor = torch.Tensor
Phase = tuple[int, int]  # row and column of the PAN pixel under an MS sample, from ``ratio * i``


def reprojected(
    fused: Tensor, ms: Tensor, pan: Tensor, sensor: Sensor, mask: Tensor | None = None
) -> dict[str, Tensor]:
    """The registration-aware family: figures of the bands decimated where PAN fits MS best.

    The plain D_lambda_K punishes a sharp image for a misregistration that was in the pair already.
    Here the phase of each band is found on PAN and MS (see `phases`), so no resampling convention
    enters.

    Args:
        fused: ``(C, H, W)``.
        ms: ``(C, H / ratio, W / ratio)``.
        pan: ``(1, H, W)``.
        sensor: gives ratio and MTF gains.
        mask: valid pixels, see the package's description.

    Returns:
        D_lambda_align (1 - Q2n), R_Q, R_SAM (degrees) and R_ERGAS, scalars against MS on its own
        grid.

    Raises:
        ValueError: shapes that do not fit each other or the sensor, values that are not finite, no
            block left.

    Source:
        Scarpa and Ciotola 2022, "Full-resolution quality assessment for pansharpening".
    """
    inputs.check_scene(fused, ms, pan, sensor, mask)
    r = sensor.ratio
    ms = inputs.load("ms", ms, mask=inputs.on_ms(mask, r))
    found = phases(ms, inputs.load("pan", pan, mask=mask), sensor.mtf_ms, r)
    bands = []
    for band, gain, phase in zip(fused.split(1), sensor.mtf_ms, found, strict=True):
        band = inputs.load("fused", band, mask=mask)  # in float64 one at a time: saves memory
        bands.append(degrade(band, gain, r, phase))
    valid = None if mask is None else all_valid(mask, r)
    table = consistency(torch.cat(bands, 1), ms, r, mask=valid)
    return {
        "D_lambda_align": 1 - table["Q2n"],
        **{f"R_{name}": table[name] for name in ("Q", "SAM", "ERGAS")},
    }


def phases(ms: Tensor, pan: Tensor, gains: Sequence[float], ratio: int) -> list[Phase]:
    """Where the MS samples of each band lie on PAN's grid.

    The pixel ``ratio // 2`` is the toolbox's. Of those up to ``ratio`` pixels around it, the one is
    found whose PAN samples have the largest mean local correlation with the band, by climbing from
    there to ever better neighbours.

    Args:
        ms: ``(1, C, h, w)``.
        pan: ``(1, 1, h * ratio, w * ratio)``.
        gains: MTF gains of the bands. PAN is blurred with their mean, which does not move the
            optimum.
        ratio: PAN pixels per MS pixel.
    """
    blurred = mtf_filter(pan, sum(gains) / len(gains), ratio)
    centre = ratio // 2

    @cache
    def fit(phase: Phase) -> list[float]:
        """Mean local correlation of each band with PAN's samples, replicated beyond the border."""
        rows, cols = (
            (torch.arange(0, n, ratio, device=pan.device) + p).clamp(0, n - 1)
            for n, p in zip(pan.shape[-2:], phase, strict=True)
        )
        samples = blurred[..., rows, :][..., cols]
        return blocks.local_correlation(ms, samples, ratio).mean((0, 2, 3)).tolist()

    def climb(band: int) -> Phase:
        best = (centre, centre)
        while True:
            near = [(best[0] + i, best[1] + j) for i in (0, -1, 1) for j in (0, -1, 1)]
            near = [(i, j) for i, j in near if max(abs(i - centre), abs(j - centre)) <= ratio]
            top = max(near, key=lambda phase: fit(phase)[band])
            if top == best:
                return best
            best = top

    return [climb(band) for band in range(ms.shape[1])]
