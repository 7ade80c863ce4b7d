"""Benchmark files as pairs: PanCollection's h5, MATLAB files as of NBU, and .npz. GeoTIFFs are read by `raster`.

All hold digital numbers. What does not fit is told in one line, and nothing is read that was not asked for: a sample of
a 6 GB file costs the memory of that sample.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import torch

from clippan_lite.data import Pair, pair_checks
from clippan_lite.physics import sensors
from clippan_lite.physics.degrade import CONVENTIONS, check_choice

#: Names under which the images are found, the first that is there.
NAMES = {
    "ms": ("ms", "imgMS", "I_MS_LR", "I_MS"),
    "pan": ("pan", "imgPAN", "I_PAN"),
    "truth": ("gt", "truth", "I_GT"),
}


def pair_of(
    ms: np.ndarray,
    pan: np.ndarray,
    sensor: str,
    name: str,
    truth: np.ndarray | None = None,
    convention: str = "benchmark",
) -> Pair:
    """Arrays as a checked pair.

    Args:
        ms: ``(C, h, w)`` or ``(h, w, C)``, DN.
        pan: ``(H, W)``, or with an axis of length 1 before or behind, DN.
        sensor: name in the sensor table, or a sensor file.
        name: short name of the scene.
        truth: full-resolution MS, axes as ``ms``, DN.
        convention: ``"benchmark"`` (all published benchmark files) or ``"geo"``.

    Raises:
        ValueError: shapes that do not fit each other or the sensor, or values that are no digital numbers of it.
    """
    known = sensors.get(sensor)
    check_choice("convention", convention, CONVENTIONS)
    bands, r = len(known.bands), known.ratio
    ms, pan = _first_axis(ms, bands, f"MS of {name}"), _first_axis(pan, 1, f"PAN of {name}")
    h, w = ms.shape[1:]
    if pan.shape[1:] != (h * r, w * r):
        raise ValueError(
            f"{name}: PAN is {pan.shape[1]} x {pan.shape[2]} and MS {h} x {w} pixels, {known.name} has a ratio of {r}: "
            "choose another sensor, or crop both to the same area"
        )
    if truth is not None:
        truth = _first_axis(truth, bands, f"truth of {name}")
        if truth.shape[1:] != pan.shape[1:]:
            raise ValueError(
                f"{name}: the truth is {truth.shape[1:]} pixels, expected PAN's {pan.shape[1:]}"
            )
    dtype = str(ms.dtype) if ms.dtype.kind in "iu" and ms.dtype.itemsize <= 2 else "float32"
    if (ms.dtype == np.uint8) != (pan.dtype == np.uint8):
        raise ValueError(
            f"{name}: PAN is {pan.dtype} and MS {ms.dtype}: give both in the same digital numbers"
        )
    if ms.dtype == np.uint8 and known.bits > 8:
        known = sensors.with_bits(known, 8)
    pair = Pair(
        ms=_tensor(ms), pan=_tensor(pan), sensor=known, name=name, convention=convention, dtype=dtype,
        truth=None if truth is None else _tensor(truth), valid=torch.ones(pan.shape[1:], dtype=torch.bool),
    )  # fmt: skip
    pair_checks.values(
        pair_checks.Values.of(pair, pair.valid_pixels, torch.ones(ms.shape[1:], dtype=torch.bool)),
        known,
    )
    pair.valid = None
    return pair


def read_mat(
    path: str | os.PathLike[str], pan_path: str | os.PathLike[str] | None, sensor: str
) -> Pair:
    """One pair from MATLAB files: both images in one, or MS and PAN apart, as in NBU's folders.

    Args:
        path: file with MS, under a name of :data:`NAMES`; and PAN, where there is no other file for it.
        pan_path: file with PAN, or None.
        sensor: name in the sensor table, or a sensor file.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: no MATLAB file, an image missing, or what `pair_of` refuses.
    """
    path = Path(path)
    with _told(path, "a MATLAB file"):
        images = _mat(path)
    if pan_path is not None:
        with _told(Path(pan_path), "a MATLAB file"):
            pan = {
                name: image for name, image in _mat(Path(pan_path)).items() if name in NAMES["pan"]
            }
        images = {name: image for name, image in images.items() if name not in NAMES["pan"]} | pan
    return _pair(images, path, sensor, path.stem)


def read_nbu(folder: str | os.PathLike[str], sensor: str) -> Samples:
    """The pairs of an unpacked NBU archive, ``MS_256/1.mat`` and ``PAN_1024/1.mat`` ..., read when asked for.

    Raises:
        ValueError: there are no such files.
    """
    ms = {(p.parent.parent, p.stem): p for p in Path(folder).rglob("MS_256/*.mat")}
    pan = {(p.parent.parent, p.stem): p for p in Path(folder).rglob("PAN_1024/*.mat")}
    both = sorted(ms.keys() & pan.keys(), key=lambda place: (place[0], len(place[1]), place[1]))
    if not both:
        raise ValueError(
            f"{folder} holds no MS_256/*.mat with PAN_1024/*.mat of the same names: give NBU's folder"
        )
    alone = len(ms.keys() ^ pan.keys())
    if alone:
        print(f"{folder}: {alone} files without their partner in MS_256 or PAN_1024 are left out")
    return Samples(len(both), lambda i: read_mat(ms[both[i]], pan[both[i]], sensor))


def read_npz(path: str | os.PathLike[str], sensor: str) -> Pair:
    """One pair from an ``.npz`` with ``ms``, ``pan`` and, where known, ``truth``.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is no .npz, an image is missing, or what `pair_of` refuses.
    """
    path = Path(path)
    with _told(path, "an .npz file"), contextlib.ExitStack() as stack:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError(
                "it holds one array without names: np.savez(path, ms=..., pan=...) writes both"
            )
        stack.enter_context(file)
        wanted = [name for names in NAMES.values() for name in names if name in file.files]
        images, others = {name: file[name] for name in wanted}, file.files
    return _pair(images, path, sensor, path.stem, others)


def read_h5(path: str | os.PathLike[str], sensor: str) -> Samples:
    """The samples of a PanCollection file: ``ms`` and ``pan``, NCHW, and in reduced and training files ``gt``.

    ``lms``, MS interpolated, is not read: networks here interpolate themselves.

    Args:
        path: the file.
        sensor: name in the sensor table, or a sensor file.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is no h5 file or a truncated one, or its arrays do not fit together.
    """
    import h5py

    path = Path(path)
    with _told(path, "an h5 file"), h5py.File(path) as file:
        shapes = {
            key: file[key].shape
            for key in ("ms", "pan", "gt")
            if isinstance(file.get(key), h5py.Dataset)
        }
        found = ", ".join(file)
    if not {"ms", "pan"} <= shapes.keys():
        raise ValueError(
            f"{path} holds {found or 'nothing'}: expected the arrays ms and pan, as PanCollection's"
        )
    if len({shape[:1] for shape in shapes.values()}) > 1 or any(
        len(shape) != 4 for shape in shapes.values()
    ):
        raise ValueError(f"{path} holds {shapes}: expected as many samples of each, (N, C, H, W)")

    if not shapes["ms"][0]:
        raise ValueError(f"{path} holds no samples: its arrays are {shapes}")

    def sample(i: int) -> Pair:
        with _told(path, "an h5 file"), h5py.File(path) as file:
            images = {key: file[key][i] for key in shapes}
        return _pair(images, path, sensor, f"{path.stem}_{i}")

    return Samples(shapes["ms"][0], sample)


class Samples(Sequence[Pair]):
    """Pairs that are read when they are asked for; a slice of them reads nothing."""

    def __init__(self, count: int, read: Callable[[int], Pair]):
        self._indices, self._read = range(count), read

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Samples: ...
    def __getitem__(self, index: int | slice) -> Pair | Samples:
        try:
            chosen = self._indices[index]
        except IndexError:
            raise IndexError(
                f"there are {len(self)} samples, 0 to {len(self) - 1}; asked for {index}"
            ) from None
        if isinstance(chosen, int):
            return self._read(chosen)
        part = Samples(0, self._read)
        part._indices = chosen
        return part


def _mat(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a MATLAB file; those of version 7.3 are h5 files, with their axes the other way round."""
    import h5py
    from scipy import io

    if not h5py.is_hdf5(path):
        return {
            k: v
            for k, v in io.loadmat(path).items()
            if isinstance(v, np.ndarray) and v.dtype.kind in "iuf"
        }
    with h5py.File(path) as file:
        return {
            name: file[name][()].T for names in NAMES.values() for name in names if name in file
        }


def _pair(
    images: dict[str, np.ndarray], path: Path, sensor: str, name: str, there: Sequence[str] = ()
) -> Pair:
    found = {
        what: next((images[n] for n in names if n in images), None) for what, names in NAMES.items()
    }
    for what in ("ms", "pan"):
        if found[what] is None:
            have = ", ".join(there or images) or "none"
            raise ValueError(
                f"{path} has no {what.upper()}: expected one of {', '.join(NAMES[what])}, found {have}"
            )
    return pair_of(found["ms"], found["pan"], sensor, name, found["truth"])


def _first_axis(image: np.ndarray, bands: int, what: str) -> np.ndarray:
    """``(bands, H, W)`` from that, from ``(H, W, bands)`` or, for one band, from ``(H, W)``."""
    if image.dtype.kind not in "iuf":
        raise ValueError(f"{what} holds {image.dtype}, expected numbers")
    if image.ndim == 2 and bands == 1:
        image = image[None]
    if image.ndim == 3 and image.shape[0] != bands and image.shape[2] == bands:
        image = np.moveaxis(image, 2, 0)
    if image.ndim == 4:
        raise ValueError(
            f"{what} has shape {image.shape}, several samples: write each into a file of its own"
        )
    if image.ndim != 3 or image.shape[0] != bands or 0 in image.shape:
        raise ValueError(
            f"{what} has shape {image.shape}, expected {bands} bands: choose the sensor it is from"
        )
    return image


def _tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image, np.float32))


@contextlib.contextmanager
def _told(path: Path, what: str) -> Iterator[None]:
    """Errors of the libraries that read files as one line of our own."""
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {found}: give the path of {what}")
    try:
        yield
    except Exception as error:  # damaged bytes make these libraries raise almost anything
        told = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} cannot be read as {what} ({told}): is it whole?") from None
