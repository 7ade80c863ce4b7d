"""Materials of the synthetic scenes and their reflectance.

We drew the spectra as smooth curves after the shape of typical library spectra: plausible, not
measured.
"""

from __future__ import annotations

import numpy as np

WAVELENGTHS_NM = (400, 450, 500, 550, 600, 660, 700, 750, 830, 950, 1600, 2200)
#: Reflectance in percent at WAVELENGTHS_NM, linear in between.
SPECTRA = {
    "grass": (3, 4, 5, 11, 7, 5, 14, 36, 44, 46, 24, 11),
    "crop": (2, 3, 4, 9, 5, 4, 12, 42, 54, 55, 26, 12),
    "stubble": (9, 11, 14, 19, 24, 27, 30, 33, 37, 40, 44, 33),
    "forest": (2, 2, 3, 5, 3, 3, 8, 26, 32, 33, 14, 6),
    "soil": (6, 8, 11, 15, 20, 23, 25, 27, 30, 33, 42, 38),
    "dark soil": (4, 5, 6, 8, 10, 11, 12, 13, 15, 17, 22, 19),
    "sand": (16, 20, 26, 32, 37, 40, 42, 43, 45, 47, 52, 49),
    "water": (6, 6, 5, 5, 3, 2, 2, 1, 1, 1, 0, 0),
    "algae": (4, 5, 6, 9, 5, 4, 5, 4, 3, 2, 0, 0),
    "asphalt": (7, 8, 9, 10, 11, 11, 12, 12, 13, 13, 15, 15),
    "concrete": (18, 21, 24, 27, 29, 30, 31, 32, 33, 34, 36, 34),
    "red roof": (5, 6, 8, 12, 23, 29, 31, 33, 35, 37, 42, 39),
    "grey roof": (12, 13, 14, 15, 16, 16, 17, 17, 18, 18, 20, 20),
    "metal roof": (32, 36, 39, 41, 42, 43, 43, 44, 44, 44, 43, 41),
    "blue roof": (15, 22, 24, 17, 12, 10, 10, 12, 15, 17, 22, 24),
    "red car": (3, 3, 4, 5, 20, 32, 34, 35, 36, 36, 30, 25),
}
MATERIALS = tuple(SPECTRA)


def reflectance(centres_nm: np.ndarray, fwhm_nm: np.ndarray) -> np.ndarray:
    """Reflectance in [0, 1] of each material in Gaussian bands, ``(len(MATERIALS), bands)``."""
    wavelengths = np.arange(400, 2300, 5.0)
    percent = [np.interp(wavelengths, WAVELENGTHS_NM, SPECTRA[name]) for name in MATERIALS]
    curves = np.stack(percent) / 100
    weights = np.exp(-4 * np.log(2) * ((wavelengths - centres_nm[:, None]) / fwhm_nm[:, None]) ** 2)
    return (curves @ (weights / weights.sum(1, keepdims=True)).T).astype(np.float32)
