"""Grids of measurements: each point of a study is measured once and kept, and a table comes of them.

The code of a measurement is `study.measure`, or the notebook ``notebooks/studies/point.py`` that calls it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clippan_lite.config import digest
from clippan_lite.experiments import sweep_tables
from clippan_lite.experiments.sweep_points import Study, label, one_line, read, shown
from clippan_lite.experiments.sweep_tables import effects, load, summary
from clippan_lite.runtime import devices, files, notebooks, workers

__all__ = ["Study", "effects", "load", "read", "run", "summary"]

# One point at a time in each process: random numbers and JUPYTER_PATH are the whole process's, and workers of a
# scheduler may have several threads.
_TURN = threading.Lock()


@dataclass(frozen=True)
class _Job:
    """What all points of a run share, wherever they are measured."""

    folder: Path
    measure: Callable | None  # instead of the notebook
    notebook: Any
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
    measure: Callable[[Any], dict[str, float | str]] | None = None,
    notebook: Path | None = None,
) -> Path:
    """Measure the points that are not there yet, and write the table of all that are.

    A finished point is ``points/KEY.json``; the key is a hash of its parameters, of the code, of the scene's content
    and of the versions of torch and open_clip. A point that fails is listed, and is tried again by the next call.

    Args:
        study: from `read`.
        out: folder, new or of the same study; None takes ``runs/sweep-NAME-FORM`` in the current one.
        workers: processes; several share the threads of this one.
        scheduler: address of a running dask scheduler, whose workers see the same files.
        direct: call ``measure`` in the processes, without a kernel and an executed notebook for each point.
        device: of all points, "auto", "cpu" or "cuda"; None takes the study's, else "auto".
        minutes: after so many no point begins; those that run are finished.
        measure: point to row, by default `study.measure`; for ``direct`` alone.
        notebook: percent source of the point, by default ``studies/point.py``; no part of the key.

    Returns:
        Path of ``table.csv``, beside ``table.json``.

    Raises:
        ValueError: unusable arguments, or a folder that holds something else; nothing has been written then.
        FileNotFoundError: a scene or the notebook is missing.
        OSError: the scheduler does not answer, or the table cannot be written.
    """
    from clippan_lite.experiments.study import measure as ours

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
    folder = out / "points"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"{out} cannot be made ({error.strerror}): choose another --out"
        ) from error
    until = time.time() + 60 * minutes if minutes else float("inf")
    job = _Job(folder, (measure or ours) if direct else None, source, code, Path.cwd(), until)
    lock = FileLock(out / ".lock")  # the system frees it when the process dies, however it dies
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"another sweep is running in {out}: wait for it, or choose another --out"
        ) from None
    failures: dict[str, str] = {}
    try:
        sweep_tables.write(
            out, study, keys, failures, code, data
        )  # what is there already, and the mark of the folder
        _measure_all(job, study, keys, failures, workers, scheduler)
    finally:
        try:
            facts = sweep_tables.write(out, study, keys, failures, code, data)
        finally:
            for (arm, parameters), key in zip(study.points, keys, strict=True):
                if key in failures:
                    print(
                        f"failed: {label(study, arm, parameters)}: {failures[key]}", file=sys.stderr
                    )
            lock.release()
        count = facts["points"]
        told = f"{count['finished']} of {len(keys)} points finished, {count['failed']} failed, {count['missing']} missing"
        print(f"{told}: {out / 'table.csv'}")
    return out / "table.csv"


def _on_device(study: Study, device: str | None) -> Study:
    """The study with a device for every point, "auto" resolved: where a point was measured is part of it."""
    if any("device" in place for place in (study.axes, *study.arms.values())):
        if device:
            raise ValueError(
                f"the study sets the device itself, found {device!r} too: leave it out"
            )
        return study
    chosen = {"device": devices.pick(device or study.fixed.get("device", "auto"))}
    points = [(arm, parameters | chosen) for arm, parameters in study.points]
    return replace(study, fixed=study.fixed | chosen, points=points)


def _source(path: Path | None) -> Any:
    """The notebook of a point, which must take all its parameters."""
    from clippan_lite.experiments import study

    path = path or notebooks.notebooks_folder() / "studies" / "point.py"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there: expected the notebook of a point; --direct does without"
        )
    notebook = notebooks.read_source(path)
    declared = notebooks.declared(notebook, path.name)
    missing = [
        name for name in (*(f.name for f in fields(study.Point)), "out") if name not in declared
    ]
    if missing:
        raise ValueError(
            f"{path.name} declares no parameter {', '.join(missing)}: add it to its parameters cell"
        )
    return notebook


def _keys(study: Study) -> tuple[list[str], str, dict[str, str]]:
    """Key of each point, hash of the code, and hash of the data by scene."""
    from clippan_lite.experiments import study as measurement

    code, found, keys = measurement.source_hash(), devices.versions(), []
    data: dict[tuple[str, ...], str] = {}
    versions = {name: found.get(name) for name in ("torch", "open_clip_torch")}
    for _, parameters in study.points:
        point = measurement.Point(**parameters)
        what = (point.scene, point.test_scene, point.clip, point.clip_pretrained)
        if what not in data:  # reading all of a scene takes a while
            data[what] = measurement.data_hash(point)
        keys.append(digest(asdict(point), code, data[what], versions))
    found = {what: [name for name in what if name not in ("", "bundled")] for what in data}
    return keys, code, {" + ".join(map(shown, names)): data[what] for what, names in found.items()}


def _check_folder(out: Path, study: Study) -> None:
    """Refuse a folder that holds something else."""
    if out.is_file():
        raise ValueError(f"{out} is a file, expected a folder: choose another --out")
    if not out.is_dir() or {path.name for path in out.iterdir()} <= {"points", ".lock"}:
        return
    try:
        facts = json.loads((out / "table.json").read_text(encoding="utf-8"))
        found = (str(facts["study"]), str(facts["form"]), str(facts["title"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{out} holds something else than a sweep: choose another --out") from None
    if found != (study.name, study.form, study.title):
        expected = ", ".join((study.name, study.form, study.title))
        raise ValueError(
            f"{out} holds {', '.join(found)}; expected {expected}: choose another --out"
        )


def _measure_all(
    job: _Job,
    study: Study,
    keys: list[str],
    failures: dict[str, str],
    count: int,
    scheduler: str | None,
) -> None:
    """Measure what is missing; what fails is put into ``failures``."""
    import torch
    from tqdm import tqdm

    todo = [
        (key, parameters)
        for (_, parameters), key in zip(study.points, keys, strict=True)
        if sweep_tables.kept(job.folder, key) is None
    ]
    print(f"{len(keys)} points, {len(keys) - len(todo)} finished before")
    if not todo:
        return
    count = min(count, len(todo))
    threads = 0 if scheduler else max(1, torch.get_num_threads() // count)
    rare = 0.5 if sys.stderr.isatty() else 60.0  # a log keeps every drawing
    with (
        workers.processes(count, scheduler, threads) as go,
        tqdm(total=len(todo), unit="point", desc=study.name, mininterval=rare) as bar,
    ):
        lost = "its worker was killed: had it too little memory? take fewer --workers"
        for key, error in go(_measured, job, todo, lambda place: (place[0], lost)):
            if error:
                failures[key] = error
                bar.set_postfix(failed=len(failures), refresh=False)
                with contextlib.suppress(
                    OSError
                ):  # a full disk; the failure is listed all the same
                    files.write_json(job.folder / f"{key}.failed.json", {"error": error})
            bar.update(bool(error) or (job.folder / f"{key}.json").is_file())


def _measured(job: _Job, place: tuple[str, dict[str, Any]]) -> tuple[str, str | None]:
    """Measure one point and keep it: its key, and what went wrong."""
    import torch

    from clippan_lite.experiments import study

    key, parameters = place
    with _TURN:
        if time.time() > job.until:
            return key, None
        try:
            now = study.source_hash
            if (
                job.measure is None
            ):  # a kernel loads the code anew for every point, so what is kept of it does not count
                now = getattr(now, "__wrapped__", now)
            if now() != job.code:
                raise RuntimeError("the code is not that with which the sweep began: run it again")
            point = study.Point(**parameters)
            row = job.measure(point) if job.measure else _by_notebook(job, key, parameters)
            row = {
                name: value if isinstance(value, str) else float(value)
                for name, value in row.items()
            }
            device = (
                f"CPU with {torch.get_num_threads()} threads"
                if point.device == "cpu"
                else devices.describe()
            )
            kept = {"parameters": parameters, "row": row, "device": device}
            files.write_json(job.folder / f"{key}.json", kept)
            (job.folder / f"{key}.failed.json").unlink(missing_ok=True)
        except Exception as error:  # whatever one point does, the others go on
            plain = isinstance(error, ValueError | FileNotFoundError | notebooks.NotebookFailed)
            return key, one_line(error) if plain else f"{type(error).__name__}: {one_line(error)}"
    return key, None


def _by_notebook(job: _Job, key: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The row that the notebook writes; its executed copy stays beside the point."""
    import torch

    with tempfile.TemporaryDirectory() as scratch, notebooks.python_kernel(torch.get_num_threads()):
        row = Path(scratch) / "row.json"
        given = parameters | {"out": str(row)}
        notebooks.execute(
            job.notebook, job.folder / f"{key}.ipynb", given, "the notebook", cwd=job.cwd
        )
        if not row.is_file():
            raise RuntimeError("the notebook wrote no row to the file that its parameter out names")
        return json.loads(row.read_text(encoding="utf-8"))["row"]
