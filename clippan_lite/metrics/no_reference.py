"""Metrics that need no reference: what the fused image should share with MS and with PAN."""

from collections.abc import Callable

import torch

from clippan_lite.metrics import blocks, inputs
from clippan_lite.metrics.reference import q2n
from clippan_lite.physics.degrade import degrade, mtf_filter
from clippan_lite.physics.imresize import imresize
from clippan_lite.physics.resample import (
    CONVENTIONS,
    check_choice,
    check_image,
    check_whole,
    upsample,
)
from clippan_lite.physics.sensors import Sensor, check_sensor

Tensor = torch.Tensor
FLAVOURS = ("toolbox", "paper")
VARIANTS = ("decimated", "undecimated")


def d_lambda(
    fused: Tensor,
    ms: Tensor,
    ratio: int,
    convention: str = "benchmark",
    block: int = 32,
    mask: Tensor | None = None,
    flavour: str = "toolbox",
) -> Tensor:
    """Spectral distortion of QNR: how the relations between bands change, 0 (best) to 2.

    Args:
        fused: ``(..., C, H, W)``, 2 bands or more.
        ms: ``(..., C, H / ratio, W / ratio)``.
        ratio: PAN pixels per MS pixel.
        convention: ``"benchmark"`` or ``"geo"``.
        block: block size, PAN pixels.
        mask: valid pixels, see the package's description.
        flavour: ``"toolbox"`` compares with the interpolated MS, which makes plain interpolation 0
            by definition; ``"paper"`` with MS itself, in blocks of ``block / ratio`` MS pixels.

    Raises:
        ValueError: shapes or ratio that do not fit, values that are not finite, one band, no block
            left, unknown flavour, or (paper) a block that is no multiple of the ratio.

    Source:
        Alparone et al. 2008, p = 1; the flavours are those of the DLPan toolbox's code and of the
        paper.
    """
    fused, ms = inputs.fused_and_ms(fused, ms, ratio, mask)
    blocks.check_bands(ms)
    keep = blocks.valid_blocks(mask, fused.shape[-2:], block)
    n = low_block(flavour, block, ratio)
    low = upsample(ms, ratio, convention) if flavour == "toolbox" else ms
    return _distortion(blocks.between_bands, ([fused], block), ([low], n), keep)


def d_s(
    fused: Tensor,
    ms: Tensor,
    pan: Tensor,
    ratio: int,
    convention: str = "benchmark",
    block: int = 32,
    mask: Tensor | None = None,
    flavour: str = "toolbox",
) -> Tensor:
    """Spatial distortion of QNR and HQNR: how the relations to PAN change, 0 (best) to 2.

    The relation of MS to the reduced PAN is what the relation of the fused image to PAN should be.

    Args:
        fused: ``(..., C, H, W)``.
        ms: ``(..., C, H / ratio, W / ratio)``.
        pan: ``(..., 1, H, W)``.
        ratio: PAN pixels per MS pixel.
        convention: ``"benchmark"`` or ``"geo"``.
        block: block size, PAN pixels.
        mask: valid pixels, see the package's description.
        flavour: ``"toolbox"`` interpolates MS and the reduced PAN, ``"paper"`` takes both on MS's
            grid.

    Raises:
        ValueError: shapes or ratio that do not fit, values that are not finite, no block left,
            unknown flavour, or (paper) a block that is no multiple of the ratio.

    Source:
        Alparone et al. 2008, q = 1; PAN is reduced by bicubic with antialiasing (DLPan toolbox).
    """
    inputs.check_sizes(fused, ms, ratio, pan)
    fused, ms = inputs.fused_and_ms(fused, ms, ratio, mask)
    pan = inputs.load("pan", pan, mask=mask)
    keep = blocks.valid_blocks(mask, fused.shape[-2:], block)
    n = low_block(flavour, block, ratio)
    low = [ms, imresize(pan, 1 / ratio)]
    low = [upsample(x, ratio, convention) for x in low] if flavour == "toolbox" else low
    return _distortion(blocks.with_last, ([fused, pan], block), (low, n), keep)


def qnr(
    fused: Tensor,
    ms: Tensor,
    pan: Tensor,
    ratio: int,
    convention: str = "benchmark",
    block: int = 32,
    mask: Tensor | None = None,
    flavour: str = "toolbox",
) -> Tensor:
    """Quality without reference, ``(1 - D_lambda)(1 - D_s)``, 1 at best.

    Arguments and Raises are those of `d_lambda` and `d_s`.

    Source:
        Alparone et al. 2008. It favours plain interpolation: never read it alone.
    """
    lam = d_lambda(fused, ms, ratio, convention, block, mask, flavour)
    return (1 - lam) * (1 - d_s(fused, ms, pan, ratio, convention, block, mask, flavour))


def _distortion(
    relations: Callable[[Tensor, Tensor], Tensor],
    fused: tuple[list[Tensor], int],
    low: tuple[list[Tensor], int],
    keep: Tensor | None,
) -> Tensor:
    """Mean absolute change of the mean relations between bands.

    Each list of images comes with its block size.
    """
    a, b = (blocks.mean_blocks(relations(*blocks.moments(x, n)), keep) for x, n in (fused, low))
    return (a - b).abs().mean()


def low_block(flavour: str, block: int, ratio: int) -> int:
    """Block size for MS: the fused image's (toolbox), or the same ground on MS's grid (paper).

    Raises:
        ValueError: unknown flavour, or a block that MS pixels do not fill.
    """
    check_choice("flavour", flavour, FLAVOURS)
    if flavour == "toolbox":
        return block
    if block % ratio or block < 2 * ratio:
        raise ValueError(
            f"block: expected a multiple of {ratio} and at least {2 * ratio}, found {block}"
        )
    return block // ratio


def d_lambda_khan(
    fused: Tensor,
    ms: Tensor,
    sensor: Sensor,
    variant: str = "decimated",
    convention: str = "benchmark",
    block: int = 32,
    mask: Tensor | None = None,
) -> Tensor:
    """Spectral distortion ``1 - Q2n`` of the fused image seen through the MS camera, 0 (best) to 1.

    Args:
        fused: ``(..., C, H, W)``.
        ms: ``(..., C, H / ratio, W / ratio)``.
        sensor: gives ratio and MTF gains.
        variant: ``"decimated"`` compares with MS on its own grid (MS smaller than a block is
            mirrored to one), ``"undecimated"`` with the interpolated MS on PAN's grid. The two
            differ by a factor of about 2.
        convention: ``"benchmark"`` or ``"geo"``.
        block: block size in pixels of the grid of comparison.
        mask: valid pixels, see the package's description.

    Raises:
        ValueError: shapes that do not fit each other or the sensor, unknown variant, no block left.

    Source:
        Khan et al. 2009; Vivone et al. 2021.
    """
    check_choice("variant", variant, VARIANTS)
    check_choice("convention", convention, CONVENTIONS)
    check_sensor(sensor)
    check_image("ms", ms, len(sensor.bands))
    r = sensor.ratio
    fused, ms = inputs.fused_and_ms(fused, ms, r, mask)
    if variant == "decimated":
        return 1 - q2n_on_ms_grid(degrade(fused, sensor.mtf_ms, r, convention), ms, r, block, mask)
    keep = blocks.valid_blocks(mask, fused.shape[-2:], block)
    return 1 - blocks.q2n(
        mtf_filter(fused, sensor.mtf_ms, r), upsample(ms, r, convention), block, keep
    )


def q2n_on_ms_grid(
    low: Tensor, ms: Tensor, ratio: int, block: int = 32, mask: Tensor | None = None
) -> Tensor:
    """Q2n of two images on MS's grid, over one mirrored block where MS is smaller than a block."""
    if blocks.too_small(ms.shape[-2:], block, mask):
        return q2n(low, ms, block)
    return blocks.q2n(low, ms, block, blocks.valid_blocks(mask, ms.shape[-2:], block, ratio))


def hqnr(
    fused: Tensor,
    ms: Tensor,
    pan: Tensor,
    sensor: Sensor,
    variant: str = "decimated",
    convention: str = "benchmark",
    block: int = 32,
    mask: Tensor | None = None,
) -> Tensor:
    """Hybrid quality without reference, ``(1 - D_lambda_K)(1 - D_s)``, 1 at best.

    Arguments and Raises are those of `d_lambda_khan` and `d_s`.

    Source:
        Aiazzi et al. 2014; Vivone et al. 2021.
    """
    lam = d_lambda_khan(fused, ms, sensor, variant, convention, block, mask)
    return (1 - lam) * (1 - d_s(fused, ms, pan, sensor.ratio, convention, block, mask))


def d_rho(
    fused: Tensor, pan: Tensor, ratio: int, block: int = 32, mask: Tensor | None = None
) -> Tensor:
    """Spatial distortion ``1 - mean local correlation`` of each fused band with PAN, 0 to 2.

    0 means that detail copies PAN, which even the true image does not do: neither end is best.

    Deviations from the local mean are correlated in windows of the same size,
    ``2 * ceil(ratio / 2)`` pixels. Outside the image lie zeros, as in the reference table: a frame
    of that width follows the edge and not the content.

    Args:
        fused: ``(..., C, H, W)``.
        pan: ``(..., 1, H, W)``.
        ratio: PAN pixels per MS pixel.
        block: the image is cropped to a multiple of it, and blocks that touch the mask are dropped.
        mask: valid pixels, see the package's description.

    Raises:
        ValueError: shapes or ratio that do not fit, values that are not finite, no block left.

    Source:
        Scarpa and Ciotola 2022.
    """
    check_whole("ratio", ratio, 1)
    fused, pan = inputs.fused_and_pan(fused, pan, mask)
    rho = blocks.local_correlation(fused, pan, ratio)
    if blocks.too_small(rho.shape[-2:], block, mask):
        return 1 - rho.mean()
    keep = blocks.valid_blocks(mask, rho.shape[-2:], block)
    return 1 - blocks.mean_blocks(blocks.split(rho, block).mean(-1), keep).mean()


def d_s_regression(
    fused: Tensor, pan: Tensor, block: int = 32, mask: Tensor | None = None
) -> Tensor:
    """Spatial distortion ``1 - R^2`` of the regression of PAN on the fused bands; 0 is best.

    The regression has no constant. Component substitution makes the figure 0 by construction, as
    interpolation does with D_lambda.

    Args:
        fused: ``(..., C, H, W)``.
        pan: ``(..., 1, H, W)``.
        block: the image is cropped to a multiple of it, and blocks that touch the mask are dropped.
        mask: valid pixels, see the package's description.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, no block left.

    Source:
        Alparone et al. 2018, D_S^R.
    """
    both = torch.cat(inputs.fused_and_pan(fused, pan, mask), 1)
    if blocks.too_small(both.shape[-2:], block, mask):
        x = both.flatten(2)
    else:
        keep = blocks.valid_blocks(mask, both.shape[-2:], block)
        x = blocks.split(both, block)
        x = (x if keep is None else x[:, keep]).transpose(1, 2).flatten(2)
    return unexplained(x @ x.mT / x.shape[-1], x.mean(-1)).mean()


def unexplained(products: Tensor, levels: Tensor) -> Tensor:
    """Part of the last variable's variance that a linear combination of the others leaves.

    The combination has no constant. Of bands that are copies of each other one counts. The part is
    0 where the last variable does not vary.

    Args:
        products: mean products ``(..., K, K)`` of the variables.
        levels: their means ``(..., K)``.
    """
    size = blocks.root(products.diagonal(dim1=-2, dim2=-1))
    size = torch.where(size == 0, 1.0, size)
    products = products / (size[..., :, None] * size[..., None, :])
    levels = levels / size
    weights = (
        torch.linalg.pinv(products[..., :-1, :-1], hermitian=True, rtol=1e-12)
        @ products[..., :-1, -1:]
    )
    rest = torch.cat([-weights, torch.ones_like(weights[..., :1, :])], -2)
    cov = products - levels[..., :, None] * levels[..., None, :]
    left, whole = (rest.mT @ cov @ rest)[..., 0, 0], cov[..., -1, -1]
    flat = whole <= blocks.FLAT * levels[..., -1].square()
    return torch.where(flat, 0.0, left / torch.where(flat, 1.0, whole)).clamp(min=0)
