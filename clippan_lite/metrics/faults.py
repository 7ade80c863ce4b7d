"""Known faults put into a perfect image: what metrics are tried on.

Every function takes ``(C, H, W)`` in DN and returns the same shape; `spoil` applies one of `FAULTS` by name.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from scipy import ndimage

from clippan_lite.physics.degrade import mtf_filter

Tensor = torch.Tensor


def blurred(image: Tensor) -> Tensor:
    """Gaussian blur, standard deviation 1 PAN pixel."""
    return mtf_filter(image, 0.3, 2, "exact")


def oversharpened(image: Tensor) -> Tensor:
    """Detail finer than the blur's doubled."""
    return 2 * image - blurred(image)


def displaced(image: Tensor) -> Tensor:
    """Everything one PAN pixel down and right of where PAN has it, the border repeated."""
    return moved(image, 1)


def band_displaced(image: Tensor) -> Tensor:
    """The last band alone displaced."""
    return torch.cat([image[:-1], displaced(image[-1:])])


def noisy(image: Tensor) -> Tensor:
    """White noise, a tenth of each band's standard deviation, the same at every call."""
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0), dtype=image.dtype)
    return image + 0.1 * image.std((1, 2), keepdim=True) * noise


def tilted(image: Tensor) -> Tensor:
    """Spectrum tilted: the first band 10 % darker, the last 10 % brighter, the others between."""
    return image * torch.linspace(0.9, 1.1, len(image), dtype=image.dtype)[:, None, None]


def greyed(image: Tensor) -> Tensor:
    """A third of the way from the image to one that is the same in all bands but for their means."""
    level = image.mean((1, 2), keepdim=True)
    return image + (image.mean(0, keepdim=True) * level / level.mean() - image) / 3


def hazy(image: Tensor) -> Tensor:
    """Contrast a fifth lower about the mean, and a tenth of the mean brighter."""
    level = image.mean((1, 2), keepdim=True)
    return level * 1.1 + 0.8 * (image - level)


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


def faded(image: Tensor, haze: float) -> Tensor:
    """Contrast lost by the share ``haze`` in [0, 1]; half as much of each band's mean is added."""
    level = image.mean((1, 2), keepdim=True)
    return level * (1 + haze / 2) + (1 - haze) * (image - level)


def moved(image: Tensor, pixels: int) -> Tensor:
    """The image ``pixels`` further down and right, the border repeated."""
    rows, cols = (torch.arange(-pixels, n - pixels).clamp(0, n - 1) for n in image.shape[-2:])
    return image[:, rows][:, :, cols]


def graded(
    image: Tensor, blur: float = 0.0, noise: float = 0.0, haze: float = 0.0, shift: int = 0
) -> Tensor:
    """Faults by degree, one after the other: blur, haze, noise, displacement.

    Args:
        image: ``(C, H, W)``, DN.
        blur: standard deviation of a Gaussian, PAN pixels.
        noise: standard deviation, as a share of each band's own.
        haze: contrast lost, [0, 1]; half as much of the mean is added.
        shift: PAN pixels down and right, the border repeated.

    Returns:
        ``(C, H, W)``, DN, not below 0.
    """
    if blur:
        image = torch.from_numpy(
            ndimage.gaussian_filter(image.numpy(), (0, blur, blur), mode="nearest")
        )
    if haze:
        image = faded(image, haze)
    if noise:
        grain = torch.randn(
            image.shape, generator=torch.Generator().manual_seed(0), dtype=image.dtype
        )
        image = image + noise * image.std((1, 2), keepdim=True) * grain
    return moved(image, shift).clamp(min=0)


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
