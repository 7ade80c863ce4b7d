"""Known faults of an image or a pair.

Put into a perfect image, they show what a metric punishes; put into a pair, what a method bears.
Images are ``(C, H, W)`` in DN and keep their shape.
"""

import re
from collections.abc import Callable
from dataclasses import replace

import torch
from scipy import ndimage

from clippan_lite.data import Pair
from clippan_lite.physics.degrade import degrade, mtf_filter

Tensor = torch.Tensor


def blurred(image: Tensor) -> Tensor:
    """Gaussian blur, standard deviation 1 PAN pixel."""
    return mtf_filter(image, 0.3, 2, "exact")


def oversharpened(image: Tensor) -> Tensor:
    """Detail finer than the blur doubled."""
    return 2 * image - blurred(image)


def displaced(image: Tensor, pixels: int = 1) -> Tensor:
    """Everything that many PAN pixels further down and right, the border repeated."""
    rows, cols = (torch.arange(-pixels, n - pixels).clamp(0, n - 1) for n in image.shape[-2:])
    return image[:, rows][:, :, cols]


def band_displaced(image: Tensor) -> Tensor:
    """Only the last band displaced."""
    return torch.cat([image[:-1], displaced(image[-1:])])


def noisy(image: Tensor, share: float = 0.1, generator: torch.Generator | None = None) -> Tensor:
    """White noise, a share of each band's standard deviation, not below 0.

    Without a generator the noise is the same at every call.
    """
    generator = generator or torch.Generator().manual_seed(0)
    noise = torch.randn(image.shape, generator=generator, dtype=image.dtype)
    return (image + share * image.std((1, 2), keepdim=True) * noise).clamp(min=0)


def tilted(image: Tensor) -> Tensor:
    """Spectrum tilted: the first band 10 % darker, the last 10 % brighter, the others between."""
    return image * torch.linspace(0.9, 1.1, len(image), dtype=image.dtype)[:, None, None]


def greyed(image: Tensor) -> Tensor:
    """A third of the way to an image that is the same in all bands, except for their means."""
    level = image.mean((1, 2), keepdim=True)
    return image + (image.mean(0, keepdim=True) * level / level.mean() - image) / 3


def hazy(image: Tensor, haze: float = 0.2) -> Tensor:
    """Contrast lost by the share ``haze`` in [0, 1]; half as much of each band's mean is added."""
    level = image.mean((1, 2), keepdim=True)
    return level * (1 + haze / 2) + (1 - haze) * (image - level)


def topped(image: Tensor, share: float) -> Tensor:
    """The brightest share of each band's pixels, in (0, 1), lowered to the darkest of them."""
    return torch.minimum(image, image.flatten(1).quantile(1 - share, dim=1)[:, None, None])


#: Faults of an image by name, see `spoil`.
FAULTS: dict[str, Callable[[Tensor], Tensor]] = {
    "blurred": blurred,
    "oversharpened": oversharpened,
    "displaced": displaced,
    "one band displaced": band_displaced,
    "noisy": noisy,
    "tilted spectrum": tilted,
    "greyed": greyed,
    "hazy": hazy,
}

#: Faults of a pair by name, and the largest degree of each, see `spoiled`.
LARGEST = {"noise": 1.0, "haze": 1.0, "shift": 16.0, "saturated": 0.5}


def spoil(name: str, image: Tensor) -> Tensor:
    """Put the fault of that name into an image.

    Args:
        name: a key of `FAULTS`.
        image: ``(C, H, W)``, DN.

    Returns:
        ``(C, H, W)``, DN, not below 0.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in FAULTS:
        raise ValueError(f"unknown fault {name!r}: expected one of {', '.join(FAULTS)}")
    return FAULTS[name](image).clamp(min=0)


def graded(
    image: Tensor,
    blur: float = 0.0,
    haze: float = 0.0,
    saturated: float = 0.0,
    noise: float = 0.0,
    shift: int = 0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Faults by degree, one after the other in the order of the arguments.

    Args:
        image: ``(C, H, W)``, DN.
        blur: standard deviation of a Gaussian, PAN pixels.
        haze: contrast lost, [0, 1]; half as much of the mean is added.
        saturated: share of each band's pixels at the top, which is lowered to them, [0, 1].
        noise: standard deviation, as a share of each band's own.
        shift: PAN pixels down and right, the border repeated.
        generator: of the noise; without one it is the same at every call.

    Returns:
        ``(C, H, W)``, DN.
    """
    if blur:
        smooth = ndimage.gaussian_filter(image.numpy(), (0, blur, blur), mode="nearest")
        image = torch.from_numpy(smooth)
    if haze:
        image = hazy(image, haze)
    if saturated:
        image = topped(image, saturated)
    if noise:
        image = noisy(image, noise, generator)
    return displaced(image, shift)


def parse(text: str) -> dict[str, float]:
    """Degrees of a pair's faults by name, from text such as ``"noise:0.1+shift:2"``.

    Raises:
        ValueError: an unknown name, a degree out of its range, or a fault named twice.
    """
    degrees: dict[str, float] = {}
    for part in filter(None, text.split("+")):
        name, _, number = part.partition(":")
        readable = name in LARGEST and re.fullmatch(r"\d*\.?\d+", number)
        if not readable or float(number) > LARGEST[name]:
            ranges = ", ".join(f"{name}:0 to {name}:{most:g}" for name, most in LARGEST.items())
            raise ValueError(f"fault {part!r}: expected {ranges}")
        degree = float(number)
        if name in degrees or (name == "shift" and not degree.is_integer()):
            raise ValueError(
                f"fault {text!r}: expected each fault once, and a shift of whole PAN pixels"
            )
        degrees[name] = degree
    return degrees


def spoiled(
    pair: Pair, noise: float = 0.0, haze: float = 0.0, shift: float = 0.0, saturated: float = 0.0
) -> Pair:
    """Put faults into what a method is given, PAN and MS; the truth stays.

    Args:
        pair: images in DN.
        noise: white noise, a share of each band's standard deviation.
        haze: share of contrast lost; half as much of the mean is added.
        shift: whole PAN pixels that PAN alone is moved down and right, the border repeated.
        saturated: share of PAN's and each band's pixels at the top, which is lowered to them.

    Returns:
        A new pair.
    """
    generator = torch.Generator().manual_seed(0)
    ms = graded(pair.ms, 0.0, haze, saturated, noise, 0, generator)
    pan = graded(pair.pan, 0.0, haze, saturated, noise, int(shift), generator)
    if noise:
        ms, pan = ms.clamp(max=pair.peak), pan.clamp(max=pair.peak)
    return replace(pair, ms=ms, pan=pan)


#: Cameras that are not what processing believes: name -> arguments of `by_another_camera`.
CAMERAS: dict[str, dict[str, float]] = {
    "as believed": {},
    **{f"MTF gains x {gain}": {"gain": gain} for gain in (0.6, 0.8, 1.2, 1.4)},
    "box x optics": {"motion": 1},
    "box x optics x motion": {"motion": 3},
    **{f"noise {100 * noise:g} %": {"noise": noise} for noise in (0.002, 0.005, 0.01, 0.02)},
    **{f"PAN {shift:g} px off": {"shift": shift} for shift in (0.25, 0.5, 1.0, 2.0)},
}


def by_another_camera(
    pair: Pair, gain: float = 1.0, motion: int = 0, noise: float = 0.0, shift: float = 0.0
) -> Pair:
    """The same ground as a camera would see it that is not what processing believes.

    MS is made anew from the truth. The sensor that is written beside it stays the assumed one.

    Args:
        pair: with truth, DN.
        gain: MTF gains at Nyquist are so many times the assumed ones.
        motion: above 0, the point spread function is not Gaussian. It is a detector's box as wide
            as an MS pixel, optics (a Gaussian of 1 PAN pixel), and so many PAN pixels of motion
            along the columns. ``gain`` does not count then.
        noise: standard deviation of white noise in MS, as a share of each band's mean.
        shift: PAN pixels that PAN alone is moved down and right, fractions too.

    Returns:
        A new pair with the same truth, without nodata.

    Raises:
        ValueError: a pair without truth.
    """
    if pair.truth is None:
        raise ValueError(f"{pair.name}: expected a pair with truth, found none: take data.reduced")
    sharp, gains = pair.truth, [min(gain * g, 0.95) for g in pair.sensor.mtf_ms]
    if motion:
        box = torch.ones(pair.ratio + 1)
        box[[0, -1]] = 0.5  # centred on a pixel, and still `ratio` wide
        images = ndimage.gaussian_filter(sharp.numpy(), (0, 1, 1), mode="nearest")
        for axis in (1, 2):
            images = ndimage.convolve1d(images, (box / box.sum()).numpy(), axis, mode="nearest")
        images = ndimage.uniform_filter1d(images, motion, 1, mode="nearest")
        sharp, gains = torch.from_numpy(images), [0.95] * pair.bands  # as good as no further blur
    ms = degrade(sharp, gains, pair.ratio, pair.convention)
    generator = torch.Generator().manual_seed(0)
    ms = ms + noise * ms.mean((1, 2), keepdim=True) * torch.randn(ms.shape, generator=generator)
    pan = ndimage.shift(pair.pan.numpy(), (0, shift, shift), order=3, mode="nearest")
    return replace(pair, ms=ms, pan=torch.from_numpy(pan), valid=None)
