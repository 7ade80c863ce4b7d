"""Sums and means over sliding windows; which windows are free of nodata, and what fills nodata.

Images are ``(..., H, W)`` tensors of any floating dtype and device, in any unit; results keep both.
"""

import torch
import torch.nn.functional as F


def window_sum(x: torch.Tensor, size: int) -> torch.Tensor:
    """Sums over all ``size`` x ``size`` windows inside the image.

    Args:
        x: ``(..., H, W)``.
        size: side of the windows, pixels, 1 to H and W.

    Returns:
        ``(..., H - size + 1, W - size + 1)``, in about ``4 log2(size)`` additions.
    """
    return _run_sum(_run_sum(x, size, -2), size, -1)


def _run_sum(x: torch.Tensor, size: int, dim: int) -> torch.Tensor:
    """Sums of ``size`` neighbours along one axis: two runs of half the size, and an odd pixel."""
    if size == 1:
        return x
    half, outputs = size // 2, x.shape[dim] - size + 1
    run = _run_sum(x, half, dim)
    total = run.narrow(dim, 0, outputs) + run.narrow(dim, half, outputs)
    return total + x.narrow(dim, size - 1, outputs) if size % 2 else total


def box_mean(x: torch.Tensor, size: int, border: str = "replicate") -> torch.Tensor:
    """Mean over the window around every pixel.

    Args:
        x: ``(C, H, W)`` or ``(B, C, H, W)``.
        size: side of the windows, pixels. An even window reaches one pixel further down and right
            than up and left.
        border: what lies outside the image, ``"replicate"`` or ``"constant"`` for zeros.

    Returns:
        As x, shape unchanged.
    """
    before, after = (size - 1) // 2, size // 2
    return window_sum(F.pad(x, (before, after, before, after), mode=border), size) / size**2


def all_valid(mask: torch.Tensor, side: int, reach: int = 0) -> torch.Tensor:
    """Which blocks of pixels hold no nodata.

    Args:
        mask: ``(H, W)`` bool, True where valid.
        side: of the blocks, pixels, from the top left; what does not fill a block is left out.
        reach: how many neighbouring blocks in each direction must hold no nodata either.

    Returns:
        ``(H // side, W // side)`` bool.
    """
    holes = F.max_pool2d((~mask)[None].float(), side)
    return F.max_pool2d(holes, 2 * reach + 1, stride=1, padding=reach)[0] == 0


def any_valid(mask: torch.Tensor, side: int) -> torch.Tensor:
    """Which blocks of pixels hold a valid one: ``(H // side, W // side)`` bool."""
    return F.max_pool2d(mask[None].float(), side)[0] > 0


def fill(x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Replace what is not valid by the mean of valid pixels nearby.

    These are the ones in the smallest block of 2^k x 2^k pixels that has some. A constant would put
    a step of its own at the edge of every hole.

    Args:
        x: ``(C, H, W)`` or ``(B, C, H, W)``; anything, NaN too, where not valid.
        valid: ``(H, W)`` bool with at least one True.

    Returns:
        As x, and equal to it where valid.
    """
    if valid.all():
        return x
    x = torch.where(valid, x, 0.0)
    count = F.avg_pool2d(valid[None].to(x), 2, ceil_mode=True)
    coarse = fill(F.avg_pool2d(x, 2, ceil_mode=True) / count.clamp_min(1e-3), count[0] > 0)
    coarse = coarse.repeat_interleave(2, -2).repeat_interleave(2, -1)
    return torch.where(valid, x, coarse[..., : x.shape[-2], : x.shape[-1]])
