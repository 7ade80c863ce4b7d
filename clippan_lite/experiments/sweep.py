"""A sweep: every point of a study is measured once and kept, and a table comes of them.

The code of a measurement is `measurement.measure`, or the notebook ``notebooks/studies/point.py``
that calls it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from clippan_lite import checkpoints
from clippan_lite.config import digest
from clippan_lite.experiments import measurement, provenance, tables
from clippan_lite.experiments.experiment import Experiment
from clippan_lite.experiments.study import Flat, Study, label, one_line, shown
from clippan_lite.runtime import devices, facts, files, locks, notebooks
from clippan_lite.runtime.workers import processes

Measure = Callable[[Experiment], Mapping[str, Any]]  # figures, and perhaps texts
# One point at a time in each process: random numbers and JUPYTER_PATH are the whole process's, and
# workers of a scheduler may have several threads.
_TURN = threading.Lock()


@dataclass(frozen=True)
class _Job:
    """What all points of a sweep share, wherever they are measured."""

    folder: Path
    measure: Measure | None  # instead of the notebook
    notebook: Any  # nbformat has no types
    code: str
    cwd: Path
    until: float  # no point begins later; seconds since 1970


def run(
    study: Study,
    out: str | os.PathLike[str] | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    direct: bool = False,
    device: str | None = None,
    minutes: float | None = None,
    measure: Measure | None = None,
    notebook: Path | None = None,
) -> Path:
    """Measure the points that are not there yet, and write the table of all that are.

    A finished point is ``points/KEY.json``. The key is a hash of its settings, of the code, of what
    the scene's files hold, and of the versions of torch and open_clip. A point that fails is
    listed, and the next call tries it again.

    Args:
        study: from `study.read`.
        out: folder, new or of the same study; None takes ``runs/sweep-NAME-FORM`` in the current
            one.
        workers: processes; several share the threads of this one.
        scheduler: address of a running dask scheduler, whose workers see the same files.
        direct: call ``measure`` in the processes, without a kernel and an executed notebook for
            each point.
        device: of all points, "auto", "cpu" or "cuda"; None takes the study's, else "auto".
        minutes: after so many no point begins; those that run are finished.
        measure: experiment to row, by default `measurement.measure`; for ``direct`` alone.
        notebook: percent source of the point, by default ``studies/point.py``; no part of the key.

    Returns:
        Path of ``table.csv``, beside ``table.json``.

    Raises:
        ValueError: unusable arguments, or a folder that holds something else; nothing has been
            written then.
        FileNotFoundError: a scene or the notebook is missing.
        OSError: the scheduler does not answer, or the table cannot be written.
    """
    if workers < 1:
        raise ValueError(f"expected 1 worker or more, found {workers}")
    if scheduler and workers > 1:
        raise ValueError(
            f"{workers} workers and a scheduler are both given: a scheduler has its own workers"
        )
    if minutes is not None and not minutes > 0:
        raise ValueError(f"expected more than 0 minutes, found {minutes}")
    study = _on_device(study, device)
    keys, code, data = _keys(study)
    source = None if direct else _source(notebook)
    out = Path(out or Path("runs") / f"sweep-{study.name}-{study.form}").expanduser().resolve()
    _check_folder(out, study)
    until = time.time() + 60 * minutes if minutes else float("inf")
    measure = (measure or measurement.measure) if direct else None
    job = _Job(out / "points", measure, source, code, Path.cwd(), until)
    failures: dict[str, str] = {}
    write = functools.partial(tables.write, out, study, keys, failures, code, data)
    with locks.only_one(out, "sweep", "choose another --out"):
        job.folder.mkdir(exist_ok=True)
        files.remove_unfinished(job.folder)
        write()  # what is there already, and the mark of the folder
        try:
            _measure_all(job, study, keys, failures, workers, scheduler)
        finally:
            _tell(study, keys, failures)
            count = write()["points"]
            print(
                f"{count['finished']} of {len(keys)} points finished, {count['failed']} "
                f"failed, {count['missing']} missing: {out / 'table.csv'}"
            )
    return out / "table.csv"


def _tell(study: Study, keys: list[str], failures: Mapping[str, str]) -> None:
    """Print what failed."""
    for (arm, settings), key in zip(study.points, keys, strict=True):
        if key in failures:
            print(f"failed: {label(study, arm, settings)}: {failures[key]}", file=sys.stderr)


def _on_device(study: Study, device: str | None) -> Study:
    """The study with a device for every point: where a point was measured is part of it."""
    if any("device" in settings for settings in (study.axes, *study.arms.values())):
        if device:
            raise ValueError(
                f"the study sets the device itself, found {device!r} too: leave it out"
            )
        return study
    chosen = {"device": devices.pick(device or study.fixed.get("device", "auto"))}
    points = [(arm, settings | chosen) for arm, settings in study.points]
    return replace(study, fixed=study.fixed | chosen, points=points)


def _source(path: Path | None) -> Any:
    """The notebook of a point, which must take its settings and where to write."""
    path = path or notebooks.notebooks_folder() / "studies" / "point.py"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there: expected the notebook of a point; --direct does without"
        )
    notebook = notebooks.read_source(path)
    missing = {"settings", "out"} - notebooks.declared(notebook, path.name).keys()
    if missing:
        raise ValueError(
            f"{path.name} declares no parameter {', '.join(sorted(missing))}: add it to its "
            "parameters cell"
        )
    return notebook


def _keys(study: Study) -> tuple[list[str], str, dict[str, str]]:
    """Key of each point, hash of the code, and hash of the data by scene."""
    code, found, keys = provenance.source_hash(), devices.versions(), []
    versions = {name: found.get(name) for name in ("torch", "open_clip_torch")}
    data: dict[str, str] = {}
    for _, settings in study.points:
        experiment = Experiment.of(settings)
        named = [experiment.scene, experiment.test_scene, experiment.pan, experiment.ms]
        named += [experiment.clip.replace("bundled", ""), experiment.clip_pretrained]
        name = " + ".join(shown(each) for each in named if each)
        if name not in data:  # reading all of a scene takes a while
            data[name] = measurement.data_hash(experiment)
        own = checkpoints.own_code(experiment.train)
        keys.append(digest(experiment.flat(), code, own, data[name], versions))
    return keys, code, data


def _check_folder(out: Path, study: Study) -> None:
    """Refuse a folder that holds something else."""
    if out.is_file():
        raise ValueError(f"{out} is a file, expected a folder: choose another --out")
    if not out.is_dir() or all(p.name == "points" or p.name[0] == "." for p in out.iterdir()):
        return  # a sweep that was killed before its table was written leaves no more
    try:
        table = facts.read(out / "table.json")
        found = [table.text(name) for name in ("study", "form", "title")]
    except (OSError, ValueError):
        raise ValueError(f"{out} holds something else than a sweep: choose another --out") from None
    expected = [study.name, study.form, study.title]
    if found != expected:
        raise ValueError(
            f"{out} holds {', '.join(found)}; expected {', '.join(expected)}: choose another --out"
        )


def _measure_all(
    job: _Job,
    study: Study,
    keys: list[str],
    failures: dict[str, str],
    workers: int,
    scheduler: str | None,
) -> None:
    """Measure what is missing; what fails is put into ``failures``."""
    points = dict(zip(keys, (settings for _, settings in study.points), strict=True))
    todo = [(key, points[key]) for key in keys if tables.kept(job.folder, key) is None]
    print(f"{len(keys)} points, {len(keys) - len(todo)} finished before")
    if not todo:
        return
    workers = min(workers, len(todo))
    threads = 0 if scheduler else max(1, torch.get_num_threads() // workers)
    pause = 0.5 if sys.stderr.isatty() else 60.0  # a log keeps every drawing
    lost = "its worker was killed: had it too little memory? take fewer --workers"
    with (
        processes(workers, scheduler, threads) as run_all,
        tqdm(total=len(todo), unit="point", desc=study.name, mininterval=pause) as bar,
    ):
        for key, error in run_all(_measured, job, todo, lambda place: (place[0], lost)):
            if error:
                failures[key] = error
                bar.set_postfix(failed=len(failures), refresh=False)
                with contextlib.suppress(
                    OSError
                ):  # a full disk; the failure is listed all the same
                    files.write_json(job.folder / f"{key}.failed.json", {"error": error})
            bar.update(bool(error) or (job.folder / f"{key}.json").is_file())


def _measured(job: _Job, place: tuple[str, Flat]) -> tuple[str, str | None]:
    """Measure one point and keep it: its key, and what went wrong."""
    key, settings = place
    with _TURN:
        if time.time() > job.until:
            return key, None
        try:
            _measure_one(job, key, settings)
        except (ValueError, FileNotFoundError, notebooks.NotebookFailed) as error:
            return key, one_line(error)
        except Exception as error:  # whatever one point does, the others go on
            return key, f"{type(error).__name__}: {one_line(error)}"
    return key, None


def _measure_one(job: _Job, key: str, settings: Flat) -> None:
    now = provenance.source_hash
    if job.measure is None:  # a kernel loads the code anew, so a hash in memory does not count
        now = getattr(now, "__wrapped__", now)
    if now() != job.code:
        raise RuntimeError("the code is not that with which the sweep began: run it again")
    experiment = Experiment.of(settings)
    found = job.measure(experiment) if job.measure else _by_notebook(job, key, settings)
    row = {n: value if isinstance(value, str) else float(value) for n, value in found.items()}
    device = devices.cpu() if experiment.device == "cpu" else devices.describe()
    files.write_json(
        job.folder / f"{key}.json", {"settings": settings, "row": row, "device": device}
    )
    (job.folder / f"{key}.failed.json").unlink(missing_ok=True)


def _by_notebook(job: _Job, key: str, settings: Flat) -> Mapping[str, Any]:
    """The row that the notebook writes; its executed copy stays beside the point."""
    with tempfile.TemporaryDirectory() as scratch, notebooks.python_kernel(torch.get_num_threads()):
        row, copy = Path(scratch) / "row.json", job.folder / f"{key}.ipynb"
        given = {"settings": settings, "out": str(row)}
        notebooks.execute(job.notebook, copy, given, "the notebook", cwd=job.cwd)
        if not row.is_file():
            raise RuntimeError("the notebook wrote no row to the file that its parameter out names")
        return facts.read(row).table("row").values
