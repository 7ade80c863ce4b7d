"""One window of a scene: reading it with a margin, moving PAN, fusing it into a file.

Classical methods ask for `moments`, the means and covariances of a whole image. A window answers
with those of the whole scene, which the survey gathered.
"""

from __future__ import annotations

import contextvars
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rasterio.windows import Window
from tqdm import tqdm

from clippan_lite import backbones, classical
from clippan_lite.classical.common import INSTEAD
from clippan_lite.data import Pair, geotiff, grids, registration
from clippan_lite.data.pair import crop
from clippan_lite.fusion import before_projection, fuse

#: PAN pixels: windows begin at multiples of it, so that holes up to it are filled alike.
GRID = 64
Tensor = torch.Tensor
Core = tuple[slice, slice]  # rows and columns
Moments = tuple[Tensor, Tensor]  # means and covariances
BAR = (
    "{desc}: {percentage:3.0f} %|{bar}| {n:.1f}/{total:.1f} MPix "
    "[{elapsed}<{remaining}, {rate_noinv_fmt}]"
)


@dataclass(frozen=True)
class Job:
    """All that a process needs to work on windows of a scene."""

    grid: grids.Grid
    folder: Path  # where finished windows go
    network: backbones.Fusion | None
    methods: tuple[str, ...]  # classical: one that fuses, or those whose results the network mends
    device: str
    side: int  # of a window, PAN pixels
    margin: int  # around a window, PAN pixels
    shift: registration.Shift | None  # by which PAN is moved
    dtype: str  # of the result
    scale: float = 1.0  # DN that the network sees as 1
    nodata: float | None = None
    checksums: tuple[int, int] = (0, 0)  # of the pixels of PAN and MS, see survey
    key: str = ""  # hash of all that decides the windows
    moments: tuple[Moments, ...] = ()  # of the whole scene: answers to what the methods ask
    rounds: int = 0  # of back-projection after a classical method
    along: float = 0.0  # share of the network's back-projection that follows PAN

    @property
    def places(self) -> list[Window]:
        """All windows, in PAN pixels. Those at the right and lower border may be smaller."""
        height, width, side = self.grid.height, self.grid.width, self.side
        corners = itertools.product(range(0, height, side), range(0, width, side))
        return [
            Window(left, top, min(side, width - left), min(side, height - top))
            for top, left in corners
        ]

    def part(self, place: Window) -> Path:
        """File of a finished window. The key keeps two jobs at once from mixing."""
        return self.folder / f"{self.key}_{place.row_off}_{place.col_off}.tif"


def with_bar(results: Iterable, places: list[Window], what: str, shown: bool) -> Iterable:
    """Pass results on and show the progress in MPix of PAN."""
    total = sum(place.width * place.height for place in places) / 1e6
    return tqdm(
        results,
        what,
        len(places),
        unit="MPix",
        unit_scale=total / max(len(places), 1),
        mininterval=1.0,
        disable=not shown,
        bar_format=BAR,
    )


def read(job: Job, place: Window, margin: int) -> tuple[Pair, Core, tuple[Tensor, Tensor]]:
    """Read a window with a margin, as far as the scene reaches.

    Returns:
        The pair; where in it the window lies; pixels that are not nodata, in PAN and in MS.
    """
    outer = Window(
        place.col_off - margin,
        place.row_off - margin,
        place.width + 2 * margin,
        place.height + 2 * margin,
    ).intersection(Window(0, 0, job.grid.width, job.grid.height))
    core = Window(
        place.col_off - outer.col_off, place.row_off - outer.row_off, place.width, place.height
    )
    pair, pan_ok, ms_ok = grids.read_window(job.grid, *outer.toranges())
    return pair, core.toslices(), (pan_ok, ms_ok)


def moved(job: Job, place: Window, pair: Pair, core: Core) -> Pair:
    """A window whose PAN is moved onto MS; ``core`` says where in it the window lies."""
    if job.shift is None:
        return pair
    origin = place.row_off - core[0].start, place.col_off - core[1].start
    return registration.correct(pair, job.shift, origin)


def ready(job: Job, place: Window) -> tuple[Pair, Core]:
    """A window with its margin as methods take it, and where in it the window lies."""
    pair, core, _ = read(job, place, job.margin)
    return moved(job, place, pair, core), core


def fuse_classical(methods: Sequence[str], pair: Pair, answer: Callable[..., Moments]) -> Tensor:
    """Results of classical methods; ``answer`` stands in for the `moments` that they ask for."""
    context = contextvars.copy_context()
    context.run(INSTEAD.set, answer)
    return context.run(classical.results, methods, pair)


def classical_of(job: Job, pair: Pair) -> Tensor:
    """Classical results in a window, by the statistics of the whole scene."""
    answers = iter(job.moments)
    return fuse_classical(job.methods, pair, lambda *_, **__: next(answers))


def with_share(job: Job) -> Job:
    """The job with the share of back-projection that follows PAN, chosen in the scene's middle.

    The same middle decides when a scene is fused in one piece.
    """
    if job.network is None or not job.network.rounds:
        return job
    ratio, sides = job.grid.sensor.ratio, (job.grid.height, job.grid.width)
    middle = [classical.middle_of(side // ratio) for side in sides]
    place = Window.from_slices(*(slice(m.start * ratio, m.stop * ratio) for m in middle))
    pair, core = ready(job, place)
    if not pair.valid_pixels[core].any():
        return job
    results = classical_of(job, pair) if job.methods else None
    fused = before_projection(pair, job.network.to(job.device), scale=job.scale, results=results)
    parts = [slice(part.start // ratio, part.stop // ratio) for part in core]
    share = classical.share_along_pan(fused[:, *core], crop(pair, *parts), job.network.rounds)
    return replace(job, along=share)


def fuse_window(job: Job, place: Window) -> None:
    """Fuse one window and keep it as a file.

    Raises:
        ValueError: the fused window has NaN or infinite pixels.
        OSError: the file could not be written.
    """
    pair, core = ready(job, place)
    valid = pair.valid_pixels[core]
    if pair.valid_results is not None:
        valid = pair.valid_results[..., *core]
    if not valid.any():
        fused = torch.zeros(pair.bands, *valid.shape[-2:])
    elif job.network is None:
        fused = classical.projected(classical_of(job, pair), pair, job.rounds)[:, *core]
    else:
        results = classical_of(job, pair) if job.methods else None
        network = job.network.to(job.device)
        fused = fuse(pair, network, scale=job.scale, area=core, results=results, along=job.along)
    if not torch.isfinite(fused).all():
        raise ValueError(
            f"the window at row {place.row_off}, column {place.col_off} has NaN or infinite "
            "pixels: nothing is written, check the network"
        )
    geotiff.write_image(job.part(place), fused, job.dtype, job.nodata, valid, compress=False)
