"""Benchmark files as pairs: PanCollection's h5, MATLAB files like NBU's, and .npz.

All hold digital numbers; `geotiff` reads GeoTIFFs. Only what is asked for is read: a sample of a
6 GB file costs the memory of that sample. Sizes are checked before memory is taken, and bytes of
other files are never read, though h5 could point to them.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
import torch

from clippan_lite.data import pair_checks, sources
from clippan_lite.data.pair import Pair
from clippan_lite.physics import sensors
from clippan_lite.physics.resample import CONVENTIONS, check_choice

if TYPE_CHECKING:
    import h5py

#: Names that the images go by; the first one that a file holds counts.
NAMES = {
    "ms": ("ms", "imgMS", "I_MS_LR", "I_MS"),
    "pan": ("pan", "imgPAN", "I_PAN"),
    "truth": ("gt", "truth", "I_GT"),
}
_COMPRESSED = 15  # how MATLAB numbers a part that zlib compressed
_ALL_NAMES = {name for names in NAMES.values() for name in names}
Images = Mapping[str, np.ndarray | None]  # None: an array that is not needed and was not read


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
        ValueError: shapes that do not fit each other or the sensor, or values that are no digital
            numbers of it.
    """
    check_choice("convention", convention, CONVENTIONS)
    camera = sensors.get(sensor)
    bands = len(camera.bands)
    dtype = ms.dtype.name  # "uint16" for either order of bytes
    try:
        camera = pair_checks.numbers(pan.dtype.name, dtype, camera)
        pair = Pair(
            ms=_bands_first(ms, bands, "MS"),
            pan=_bands_first(pan, 1, "PAN"),
            sensor=camera,
            name=name,
            convention=convention,
            truth=None if truth is None else _bands_first(truth, bands, "the truth"),
            dtype=dtype if dtype in ("uint8", "int8", "uint16", "int16") else "float32",
        )
        pair_checks.sizes(pair.pan.shape[1:], pair.ms.shape[1:], camera)
        if pair.truth is not None:
            pair_checks.truth("the truth", pair)
        everywhere = torch.tensor(True)
        pair_checks.values(pair_checks.Values.of(pair, everywhere, everywhere), camera)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return pair


def _bands_first(image: np.ndarray, bands: int, what: str) -> torch.Tensor:
    """Float32 ``(bands, H, W)`` from ``(bands, H, W)``, ``(H, W, bands)`` or ``(H, W)``."""
    shape = image.shape
    if image.ndim == 2 and bands == 1:
        image = image[None]
    if image.ndim == 3 and image.shape[0] != bands and image.shape[2] == bands:
        image = np.moveaxis(image, 2, 0)
    if image.ndim == 4:
        raise ValueError(
            f"{what} has shape {shape}, several samples: write each into a file of its own"
        )
    if image.ndim != 3 or image.shape[0] != bands or not image.size:
        raise ValueError(
            f"{what} has shape {shape}, expected {bands} bands: choose the sensor it is from"
        )
    return torch.from_numpy(np.ascontiguousarray(image, np.float32))


def read_mat(
    path: str | os.PathLike[str], pan_path: str | os.PathLike[str] | None, sensor: str
) -> Pair:
    """One pair from MATLAB files: both images in one, or MS and PAN apart, as in NBU's folders.

    Args:
        path: file with MS, under a name of :data:`NAMES`; and PAN, where it has no other file.
        pan_path: file with PAN, or None.
        sensor: name in the sensor table, or a sensor file.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: no MATLAB file, an image missing, or what `pair_of` refuses.
    """
    path = Path(path)
    images = _arrays_of_mat(path)
    of_pan = images if pan_path is None else _arrays_of_mat(Path(pan_path))
    return _pair(images, of_pan, path, sensor, path.stem)


def _arrays_of_mat(path: Path) -> Images:
    """Arrays of a MATLAB file; version 7.3 writes h5 files with their axes in reverse."""
    import h5py
    from scipy import io

    with _reading(path, "a MATLAB file"):
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                wanted = _ALL_NAMES & {*file}
                return {n: _dataset(file, n)[()].T if n in wanted else None for n in file}
        if io.matlab.matfile_version(path)[0] == 1:
            _check_unpacked(path)
        arrays: dict[str, np.ndarray | None] = dict.fromkeys(name for name, *_ in io.whosmat(path))
        found = io.loadmat(path, variable_names=sorted(_ALL_NAMES & arrays.keys()))
        return arrays | {name: found[name] for name in _ALL_NAMES & found.keys()}


def _check_unpacked(path: Path) -> None:
    """Refuse a MATLAB file of version 5 whose compressed parts are too large (ValueError)."""
    size = 0
    with path.open("rb") as file:
        order = "<" if file.read(128)[126:] == b"IM" else ">"
        while len(head := file.read(8)) == 8:
            kind, length = struct.unpack(f"{order}II", head)
            if kind != _COMPRESSED:
                file.seek(length, os.SEEK_CUR)
                continue
            unpack = zlib.decompressobj()
            packed = file.read(length)
            while packed and not unpack.eof:
                size += len(unpack.decompress(packed, 1 << 20))
                sources.check_size(size, "what it holds")
                packed = unpack.unconsumed_tail


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """An array of an h5 file, of which nothing is read yet.

    Raises:
        ValueError: it lies in another file, or is too large.
    """
    import h5py

    link = file.get(name, getlink=True)
    array = file[name] if isinstance(link, h5py.HardLink) else None
    outside = isinstance(array, h5py.Dataset) and (array.external or array.is_virtual)
    if array is None or outside:
        raise sources.Refused(
            f"{name} lies in another file, expected it in this one: copy it there"
        )
    if not isinstance(array, h5py.Dataset):
        raise ValueError(f"{name} is a group, expected an array")
    # One sample is read at a time, in whole chunks.
    sample = math.prod(array.shape[1:] if array.ndim == 4 else array.shape)
    pixels = max(sample, math.prod(array.chunks or ()))
    sources.check_size(pixels * array.dtype.itemsize, f"an image of {name}")
    return array


def read_nbu(folder: str | os.PathLike[str], sensor: str) -> Samples:
    """The pairs of an unpacked NBU archive, ``MS_256/1.mat`` and ``PAN_1024/1.mat`` ...

    They are read when asked for.

    Raises:
        ValueError: there are no such files.
    """
    ms = {(p.parent.parent, p.stem): p for p in Path(folder).rglob("MS_256/*.mat")}
    pan = {(p.parent.parent, p.stem): p for p in Path(folder).rglob("PAN_1024/*.mat")}
    both = sorted(ms.keys() & pan.keys(), key=lambda place: (place[0], len(place[1]), place[1]))
    if not both:
        raise ValueError(
            f"{folder} holds no MS_256/*.mat with PAN_1024/*.mat of the same names: "
            "give NBU's folder"
        )
    unpaired = len(ms.keys() ^ pan.keys())
    if unpaired:
        print(
            f"{folder}: {unpaired} files without their partner in MS_256 or PAN_1024 are left out"
        )
    return Samples(range(len(both)), lambda i: read_mat(ms[both[i]], pan[both[i]], sensor))


def read_npz(path: str | os.PathLike[str], sensor: str) -> Pair:
    """One pair from an ``.npz`` with ``ms``, ``pan`` and, where known, ``truth``.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is no .npz, an image is missing, or what `pair_of` refuses.
    """
    path = Path(path)
    with _reading(path, "an .npz file"):
        if not zipfile.is_zipfile(path):
            raise ValueError(
                "it holds one array without names, or something else: "
                "np.savez(path, ms=..., pan=...) writes both"
            )
        with np.load(path, allow_pickle=False) as file:
            wanted = _ALL_NAMES & {*file.files}
            _check_headers(path, {f"{name}.npy" for name in wanted} | wanted)
            images = {name: file[name] if name in wanted else None for name in file.files}
    return _pair(images, images, path, sensor, path.stem)


def _check_headers(path: Path, names: set[str]) -> None:
    """Refuse arrays that are too large, or larger than their file (ValueError)."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename not in names:
                continue
            with archive.open(member) as array:
                is_first = np.lib.format.read_magic(array) == (1, 0)
                read = np.lib.format.read_array_header_1_0
                if not is_first:
                    read = np.lib.format.read_array_header_2_0
                shape, _, dtype = read(array)
            size = math.prod(shape) * dtype.itemsize
            sources.check_size(size, member.filename)
            if min(shape, default=0) < 0 or size > member.file_size:
                raise ValueError(f"{member.filename} declares {shape} pixels, there are fewer")


def read_h5(path: str | os.PathLike[str], sensor: str) -> Samples:
    """The samples of a PanCollection file: ``ms`` and ``pan``, NCHW, and maybe ``gt``.

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
    with _reading(path, "an h5 file"), h5py.File(path) as file:
        found = ", ".join(file) or "nothing"
        shapes = {key: _dataset(file, key).shape for key in ("ms", "pan", "gt") if key in file}
    if not {"ms", "pan"} <= shapes.keys():
        raise ValueError(
            f"{path} holds {found}: expected the arrays ms and pan, like PanCollection's files"
        )
    counts = {shape[0] if len(shape) == 4 else 0 for shape in shapes.values()}
    if len(counts) > 1 or 0 in counts:
        raise ValueError(
            f"{path} holds {shapes}: expected as many samples of each, one or more, (N, C, H, W)"
        )

    def sample(i: int) -> Pair:
        with _reading(path, "an h5 file"), h5py.File(path) as file:
            images = {key: _dataset(file, key)[i] for key in shapes}
        return _pair(images, images, path, sensor, f"{path.stem}_{i}")

    return Samples(range(*counts), sample)


class Samples(Sequence[Pair]):
    """Pairs that are read when they are asked for; a slice of them reads nothing."""

    def __init__(self, indices: range, read: Callable[[int], Pair]):
        self._indices, self._read = indices, read

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Samples: ...
    def __getitem__(self, index: int | slice) -> Pair | Samples:
        if isinstance(index, slice):
            return Samples(self._indices[index], self._read)
        if not -len(self) <= index < len(self):
            raise IndexError(f"expected a sample from 0 to {len(self) - 1}, found {index}")
        return self._read(self._indices[index])


def _pair(images: Images, of_pan: Images, path: Path, sensor: str, name: str) -> Pair:
    """The pair of what files hold: MS and the truth in ``images``, PAN in ``of_pan``."""
    ms, pan, truth = _find(images, "ms"), _find(of_pan, "pan"), _find(images, "truth")
    if ms is None or pan is None:
        what, found = ("ms", images) if ms is None else ("pan", of_pan)
        raise ValueError(
            f"{path} has no {what.upper()}: expected one of {', '.join(NAMES[what])}, "
            f"found {', '.join(found) or 'none'}"
        )
    return pair_of(ms, pan, sensor, name, truth)


def _find(images: Images, what: str) -> np.ndarray | None:
    """The first array that goes by a name for it."""
    return next((images[name] for name in NAMES[what] if name in images), None)


@contextlib.contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Turn errors of the libraries that read files into one line of our own."""
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {found}: give the path of {what}")
    try:
        yield
    except sources.Refused as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # damaged bytes make these libraries raise almost anything
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} cannot be read as {what} ({reason}): is it whole?") from None
