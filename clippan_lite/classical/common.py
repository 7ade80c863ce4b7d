"""What the methods share: checks of input, statistics over valid pixels, PAN as MS would see it."""

import functools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Protocol, Self

import torch

from clippan_lite.physics.degrade import degrade, mtf_filter
from clippan_lite.physics.resample import (
    CONVENTIONS,
    check_choice,
    check_finite,
    check_image,
    check_mask,
    interpolate,
    upsample,
)
from clippan_lite.physics.sensors import Sensor, check_sensor
from clippan_lite.physics.windows import all_valid, any_valid, fill

Tensor = torch.Tensor

# Gain of the low-pass that takes PAN to the resolution of MS where statistics ask for it: the
# toolboxes' default, not PAN's own MTF. With the latter PAN keeps less detail than MS, and
# regressing one on the other biases the weights.
LOWPASS = 0.30

# Deviation in units of the mean that float32 filters leave of a flat image.
FLAT = 1e-6


class Method(Protocol):
    """A classical method, see the package's description; ``__name__`` and docstring are its own."""

    def __call__(
        self,
        ms: Tensor,
        pan: Tensor,
        sensor: Sensor,
        convention: str = "benchmark",
        mask: Tensor | None = None,
    ) -> Tensor:
        """Fuse MS ``(C, h, w)`` and PAN ``(1, H, W)`` in DN: ``(C, H, W)`` float32, DN."""


def method(fuse: Method) -> Method:
    """Give a method checked images without nodata, and its result the range of the sensor.

    The method gets ms and pan in float32, and the mask on their device, or None when all pixels are
    valid. What it returns is clipped, and 0 where the mask is False.
    """

    @functools.wraps(fuse)
    def checked(
        ms: Tensor,
        pan: Tensor,
        sensor: Sensor,
        convention: str = "benchmark",
        mask: Tensor | None = None,
    ) -> Tensor:
        ms, pan, mask = prepare(ms, pan, sensor, convention, mask)
        return finish(fuse(ms, pan, sensor, convention, mask), ms, sensor, mask)

    return checked


def prepare(
    ms: Tensor, pan: Tensor, sensor: Sensor, convention: str, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Check a pair and replace its nodata, so that no filter sees the values under the mask.

    MS pixels without any valid PAN pixel count as nodata; those with some are kept, but see
    `valid_ms`.

    Args, Raises: as the package's description says.

    Returns:
        ms and pan in float32, and the mask on their device; None when all pixels are valid.
    """
    check_sensor(sensor)
    check_image("ms", ms, len(sensor.bands))
    check_image("pan", pan, 1)
    check_choice("convention", convention, CONVENTIONS)
    r = sensor.ratio
    if ms.dim() != 3 or tuple(pan.shape) != (1, ms.shape[1] * r, ms.shape[2] * r):
        raise ValueError(
            f"pan: expected ms (C, h, w) and pan (1, {r} h, {r} w), found {tuple(ms.shape)}, "
            f"{tuple(pan.shape)}"
        )
    check_mask(mask, pan.shape[1:])
    ms, pan = ms.float(), pan.float()
    if mask is not None and mask.all():
        mask = None
    if mask is not None:
        if not mask.any():
            raise ValueError(
                f"mask: expected valid pixels (True), found none in {tuple(mask.shape)}"
            )
        mask = mask.to(ms.device)
        ms, pan = fill(ms, any_valid(mask, r)), fill(pan, mask)
    check_finite("ms", ms)
    check_finite("pan", pan)
    return ms, pan, mask


def finish(fused: Tensor, ms: Tensor, sensor: Sensor, valid: Tensor | None) -> Tensor:
    """Clip, in place, to what the sensor can give, and put 0 where no data is.

    Should the range of ms be wider, it is clipped to that.
    """
    low, high = min(0.0, float(ms.min())), max(2.0**sensor.bits - 1, float(ms.max()))
    fused = fused.float().clip_(low, high)
    return fused if valid is None else fused.mul_(valid)


def valid_ms(valid: Tensor | None, ratio: int, reach: int, unknowns: int) -> Tensor | None:
    """MS pixels that a regression may use.

    All their PAN pixels are valid, and so are those of the MS pixels within the reach.

    Args:
        valid: ``(H, W)`` bool on PAN's grid, or None for all.
        ratio: PAN pixels per MS pixel.
        reach: MS pixels in each direction that a filter looks at; halved while it leaves few
            pixels, less than 20 for each unknown.
        unknowns: of the regression; twice as many pixels must be there.

    Returns:
        ``(H / ratio, W / ratio)`` bool, or None for all.

    Raises:
        ValueError: too few pixels even without any distance to nodata.
    """
    if valid is None:
        return None
    while True:
        usable = all_valid(valid, ratio, reach)
        count = int(usable.sum())
        if reach == 0 or count >= 20 * unknowns:
            break
        reach //= 2
    if count < 2 * unknowns and INSTEAD.get() is None:  # other windows of a scene may have more
        raise ValueError(
            f"mask: expected {2 * unknowns} MS pixels whose PAN pixels are all valid, found {count}"
        )
    return usable


class Sums:
    """Sums that give means and covariances; those of two windows add up to those of both."""

    def __init__(self, shift: Tensor):
        self.shift, self.count = shift, 0  # near their mean, squares lose no digits
        self.total, self.squares = torch.zeros_like(shift), shift.new_zeros(len(shift), len(shift))

    def add(self, part: Tensor) -> None:
        """Take pixels ``(bands, N)`` in."""
        part = part.double() - self.shift
        self.count += part.shape[1]
        self.total += part.sum(1, keepdim=True)
        self.squares += part @ part.T

    def __add__(self, other: Self) -> Self:
        both, move = type(self)(self.shift), other.shift - self.shift
        both.count = self.count + other.count
        both.total = self.total + other.total + other.count * move
        cross = other.total @ move.T
        both.squares = (
            self.squares + other.squares + cross + cross.T + other.count * (move @ move.T)
        )
        return both

    def moments(self) -> tuple[Tensor, Tensor]:
        """Means and covariances."""
        mean = self.total / max(self.count, 1)
        return (mean + self.shift)[:, 0], self.squares / max(self.count, 1) - mean @ mean.T


def sums(*images: Tensor, valid: Tensor | None = None) -> Sums:
    """Sums over all bands of some images of one size, see `moments`."""
    height, width = images[0].shape[1:]
    rows = max(1, 2**17 // width)  # strips keep the float64 copies small
    found = Sums(torch.cat([image.mean((1, 2)) for image in images]).double()[:, None])
    for top in range(0, height, rows):
        part = torch.cat([image[:, top : top + rows] for image in images])
        found.add(part.flatten(1) if valid is None else part[:, valid[top : top + rows]])
    return found


#: Stands in for `moments` while `clippan_lite.large_scenes` fuses a scene in windows.
INSTEAD: ContextVar[Callable[..., tuple[Tensor, Tensor]] | None] = ContextVar(
    "INSTEAD", default=None
)


def moments(*images: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Means and covariances of all bands of some images of one size, in float64.

    Args:
        images: ``(C_i, H, W)``.
        valid: ``(H, W)`` bool, True where a pixel counts; None for all.

    Returns:
        Means ``(sum C_i,)`` and covariances (divided by the number of pixels)
        ``(sum C_i, sum C_i)``.
    """
    instead = INSTEAD.get()
    return instead(*images, valid=valid) if instead else sums(*images, valid=valid).moments()


def solve(gram: Tensor, right: Tensor) -> Tensor:
    """Weights of least squares from ``gram @ weights = right``.

    Where bands are copies of each other, many weights fit; the shortest are taken.
    """
    return torch.linalg.pinv(gram, hermitian=True, rtol=1e-13) @ right


def quotient(a: Tensor, b: Tensor, floor: Tensor) -> Tensor:
    """``a / b``, and 0 where b is not above the floor: a flat image has no detail to be scaled."""
    return torch.where(b > floor, a / b, 0.0)


def column(values: Tensor) -> Tensor:
    """One number per band, ready to multiply ``(C, H, W)`` in float32."""
    return values.float()[:, None, None]


def matching(
    up: Tensor, pan: Tensor, spread: Tensor, valid: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gains and offsets that give PAN each band's mean, and ``spread`` each band's deviation.

    Args:
        up: bands to be matched, ``(C, H, W)``.
        pan: ``(1, H, W)``.
        spread: ``(1, H, W)``, PAN or PAN at the resolution of MS.
        valid: pixels that count, ``(H, W)`` bool or None.

    Returns:
        Gains, offsets and the bands' means, ``(C, 1, 1)`` each.
    """
    n = len(up)
    mean, cov = moments(up, pan, spread, valid=valid)
    deviation = cov.diagonal().clamp_min(0).sqrt()
    gain = quotient(deviation[:n], deviation[n + 1], FLAT * mean[n + 1].abs())
    return column(gain), column(mean[:n] - gain * mean[n]), column(mean[:n])


def blurred(pan: Tensor, ratio: int) -> Tensor:
    """PAN at the resolution of MS on its own grid, as statistics use it."""
    return mtf_filter(pan, LOWPASS, ratio, "exact")


#: Whether EXP wraps around the image, as the toolboxes' interp23 does, or repeats its border.
WRAPS: ContextVar[bool] = ContextVar("WRAPS", default=True)


def enlarge(ms: Tensor, ratio: int, convention: str) -> Tensor:
    """EXP as the methods see it: `upsample`, or `interpolate` where the border is repeated."""
    return (upsample if WRAPS.get() else interpolate)(ms, ratio, convention)


def low_pass(pan: Tensor, gains: Sequence[float], ratio: int, convention: str) -> Tensor:
    """PAN as each band's camera would see it: blurred by its MTF, decimated and interpolated.

    Args:
        pan: ``(1, H, W)``.
        gains: MTF gain of each of C bands.
        ratio: PAN pixels per MS pixel.
        convention: ``"benchmark"`` or ``"geo"``.

    Returns:
        ``(C, H, W)``; bands of one gain are one computation.
    """
    unique = sorted(set(gains))
    wide = pan.expand(len(unique), -1, -1)
    low = enlarge(degrade(wide, unique, ratio, convention), ratio, convention)
    return (
        low.expand(len(gains), -1, -1)
        if len(unique) == 1
        else low[[unique.index(g) for g in gains]]
    )


def modulation(high: Tensor, low: Tensor, mean: Tensor) -> Tensor:
    """``high / low``, and 1 where low is below a thousandth of its mean, and so has no light."""
    return torch.where(low > 1e-3 * mean.abs(), high / low, 1.0)
