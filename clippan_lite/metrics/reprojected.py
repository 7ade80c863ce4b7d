"""Consistency with MS where PAN and MS are not perfectly aligned: the fused image is sampled where MS really lies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from clippan_lite.metrics import blocks, inputs
from clippan_lite.metrics.reference import consistency
from clippan_lite.physics.degrade import check_image, degrade_at, mtf_filter
from clippan_lite.physics.sensors import Sensor, check_sensor

Tensor = torch.Tensor


def reprojected(
    fused: Tensor, ms: Tensor, pan: Tensor, sensor: Sensor, mask: Tensor | None = None
) -> dict[str, Tensor]:
    """The registration-aware family: every fused band is blurred and decimated at the phase where PAN fits MS best.

    The plain D_lambda_K punishes a sharp image for a misregistration that was in the pair already. Here the phase of
    each band is found on PAN and MS (see `phases`), so no resampling convention enters.

    Args:
        fused: ``(C, H, W)``.
        ms: ``(C, H / ratio, W / ratio)``.
        pan: ``(1, H, W)``.
        sensor: gives ratio and MTF gains.
        mask: valid pixels, see the package's description.

    Returns:
        D_lambda_align (1 - Q2n), R_Q, R_SAM (degrees) and R_ERGAS, scalars against MS on its own grid.

    Raises:
        ValueError: shapes that do not fit each other or the sensor, values that are not finite, no block left.

    Source:
        Scarpa and Ciotola 2022, "Full-resolution quality assessment for pansharpening".
    """
    check_sensor(sensor)
    check_image("ms", ms, len(sensor.bands))
    r = sensor.ratio
    inputs.check_sizes(fused, ms, r, pan)
    if fused.dim() != 3:
        raise ValueError(f"fused: expected one image (C, H, W), found {tuple(fused.shape)}")
    ms = inputs.load("ms", ms, mask=inputs.at_ms(mask, fused, r))
    h, w = ms.shape[2:]
    found = phases(ms, inputs.load("pan", pan, mask=mask), sensor.mtf_ms, r)
    bands = [
        degrade_at(inputs.load("fused", fused[b : b + 1], mask=mask), sensor.mtf_ms[b], r, phase)
        for b, phase in enumerate(found)
    ]
    low = torch.cat(bands, 1)
    valid = None
    if mask is not None:
        valid = blocks.split(mask[None, None], r)[0, :, 0].all(-1).view(h, w)
    table = consistency(low, ms, r, mask=valid)
    return {
        "D_lambda_align": 1 - table["Q2n"],
        **{f"R_{name}": table[name] for name in ("Q", "SAM", "ERGAS")},
    }


def phases(ms: Tensor, pan: Tensor, gains: Sequence[float], ratio: int) -> list[tuple[int, int]]:
    """Row and column of PAN's pixels under the MS samples of each band, relative to ``ratio * i``.

    The pixel ``ratio // 2`` is the toolbox's; up to ``ratio`` pixels around it the one is found whose PAN samples have
    the largest mean local correlation with the band, by climbing from there to ever better neighbours.

    Args:
        ms: ``(1, C, h, w)``.
        pan: ``(1, 1, h * ratio, w * ratio)``.
        gains: MTF gains of the bands; PAN is blurred with their mean, which does not move the optimum.
        ratio: PAN pixels per MS pixel.
    """
    seen = mtf_filter(pan, sum(gains) / len(gains), ratio)
    half = math.ceil(ratio / 2)
    known: dict[tuple[int, int], list[float]] = {}

    def fit(phase: tuple[int, int]) -> list[float]:
        if phase not in known:
            samples = seen
            for dim, p in zip((2, 3), phase, strict=True):  # replicated beyond the border
                n = seen.shape[dim]
                at = (torch.arange(0, n, ratio, device=seen.device) + p).clamp(0, n - 1)
                samples = samples.index_select(dim, at)
            known[phase] = blocks.local_correlation(ms, samples, half).mean((0, 2, 3)).tolist()
        return known[phase]

    best = []
    for band in range(ms.shape[1]):
        here = (ratio // 2, ratio // 2)
        while True:
            near = [(here[0] + i, here[1] + j) for i in (0, -1, 1) for j in (0, -1, 1)]
            near = [p for p in near if max(abs(p[0] - ratio // 2), abs(p[1] - ratio // 2)) <= ratio]
            top = max(near, key=lambda phase: fit(phase)[band])
            if top == here:
                break
            here = top
        best.append(here)
    return best
