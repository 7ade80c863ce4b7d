"""The notebooks as one pipeline: run in order through papermill with one set of parameters, into a run folder.

What is run is the percent ``.py`` source of each notebook, never the committed ``.ipynb``, so a stale product
cannot be run by mistake.
"""

from __future__ import annotations

import json
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clippan_lite.physics import sensors
from clippan_lite.runtime import devices, files, notebooks
from clippan_lite.runtime.notebooks import NotebookFailed as NotebookFailed

# Parameters that the chain itself sets or reads; a notebook that needs them declares them under these names.
RUN_DIR, PAN, MS, SENSOR, CONVENTION, REGISTER = (
    "run_dir",
    "pan",
    "ms",
    "sensor",
    "convention",
    "register",
)
UNSEEN_SENSOR = "unseen_sensor"
CLIP_FILE = "clip_pretrained"


def run_chain(
    out: str | os.PathLike[str] | None,
    parameters: dict[str, Any],
    resume: bool = False,
    folder: Path | None = None,
) -> Path:
    """Run all notebooks in order, then build the report page.

    Args:
        out: run folder, empty or not there yet; None chooses ``runs/<scene>-<time>`` in the current folder.
        parameters: values by name; each notebook gets those that it declares. ``pan``, ``ms`` and ``sensor``
            together name a real pair, which is checked before anything is written.
        resume: go on in a folder that holds a run with the same parameters; finished notebooks are skipped as long
            as neither they nor one before them has changed.
        folder: where the notebooks' sources are, by default `notebooks.notebooks_folder`.

    Returns:
        The run folder.

    Raises:
        ValueError: unusable pair, parameters or run folder; nothing has been written then.
        FileNotFoundError: a file of the pair or the notebooks are missing.
        NotebookFailed: a notebook raised; ``run.json`` and its executed copy are there.
    """
    print(
        "Checking the parameters and the pair ...", flush=True
    )  # importing torch alone takes seconds
    folder = folder or notebooks.notebooks_folder()
    chapters = {
        path.stem: notebooks.read_source(path) for path in sorted(folder.glob(notebooks.PATTERN))
    }
    if not chapters:
        raise FileNotFoundError(
            f"{folder} holds no notebooks named like 01_name.py: give another folder"
        )
    given = _shares(chapters, parameters)
    scene = _check_pair(parameters, any(share.get(REGISTER) for share in given.values()))
    _check_settings(given)
    if out is None:
        if resume:
            raise ValueError("which run is to be resumed? give its folder with --out")
        out = Path("runs") / f"{scene}-{time.strftime('%Y%m%d-%H%M%S')}"
    run_dir = Path(out).expanduser().resolve()
    record = _open_record(run_dir, given, resume)
    try:
        (run_dir / "notebooks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"{run_dir} cannot be made ({error.strerror}): choose another --out"
        ) from error
    lock = FileLock(run_dir / ".lock")  # the system frees it when the process dies, however it dies
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"another chain is running in {run_dir}: wait for it, or choose another --out"
        ) from None
    print(f"Run folder: {run_dir}")
    try:
        _run_all(run_dir, chapters, given, record)
        record["status"] = "finished"
    except BaseException as error:
        record["status"] = "failed" if isinstance(error, Exception) else "interrupted"
        raise
    finally:
        files.write_json(run_dir / "run.json", record)
        lock.release()
    from clippan_lite.course import report

    print(f"Report: {report.build(run_dir)}")
    return run_dir


def _shares(chapters: dict[str, Any], parameters: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What each notebook is given, in the types of its defaults."""
    known = {name: notebooks.declared(notebook, name) for name, notebook in chapters.items()}
    names = sorted(set().union(*known.values()) - {RUN_DIR})
    if RUN_DIR in parameters:
        raise ValueError(f"parameter {RUN_DIR} is set by the chain: use --out")
    for unknown in sorted(set(parameters) - set(names)):
        raise ValueError(f"unknown parameter {unknown}: known are {', '.join(names)}")
    shares = {}
    for notebook, defaults in known.items():
        if RUN_DIR not in defaults:
            raise ValueError(
                f"{notebook} declares no parameter {RUN_DIR}: add it to its parameters cell"
            )
        shares[notebook] = {
            k: notebooks.coerce(k, v, defaults[k]) for k, v in parameters.items() if k in defaults
        }
    for path in (PAN, MS, CLIP_FILE):  # the kernels run in another folder
        for share in shares.values():
            # clip_pretrained may be a tag instead of a file
            if share.get(path) and (path != CLIP_FILE or Path(share[path]).expanduser().is_file()):
                share[path] = str(Path(share[path]).expanduser().resolve())
    for share in shares.values():
        share.update(
            {
                name: sensors.resolve(share[name])
                for name in (SENSOR, UNSEEN_SENSOR)
                if share.get(name)
            }
        )
    return shares


def _check_pair(parameters: dict[str, Any], register: bool) -> str:
    """Name of the scene. A given pair is read once, and names are looked up, so that bad input ends here."""
    from clippan_lite.data import geotiff
    from clippan_lite.physics import degrade

    convention = parameters.get(CONVENTION) or degrade.CONVENTIONS[0]
    if convention not in degrade.CONVENTIONS:
        raise ValueError(
            f"convention {convention!r} is unknown: choose one of {', '.join(degrade.CONVENTIONS)}"
        )
    if parameters.get(SENSOR):
        sensors.get(parameters[SENSOR])
    if not any(parameters.get(name) for name in (PAN, MS)):
        return "synthetic"
    missing = [name for name in (PAN, MS, SENSOR) if not parameters.get(name)]
    if missing:
        raise ValueError(f"a pair needs PAN, MS and the sensor: give {', '.join(missing)} too")
    paths = [Path(parameters[name]).expanduser() for name in (PAN, MS)]
    pair = geotiff.read_pair(*paths, parameters[SENSOR], convention=convention, register=register)
    return re.sub(r"[^\w.-]+", "_", pair.name)


def _check_settings(given: dict[str, dict[str, Any]]) -> None:
    """Refuse now what a notebook would refuse after minutes."""
    from clippan_lite.experiments import steps

    merged = {name: value for share in given.values() for name, value in share.items()}
    steps.Setup(
        **{name: value for name, value in merged.items() if name in steps.PARAMETERS}
    ).check(load_clip=True)


def _open_record(run_dir: Path, given: dict[str, dict[str, Any]], resume: bool) -> dict[str, Any]:
    """A fresh record, or that of the run to resume."""
    path = run_dir / "run.json"
    if run_dir.is_file():
        raise ValueError(f"{run_dir} is a file, expected a folder: choose another --out")
    occupied = run_dir.is_dir() and any(run_dir.iterdir())
    if occupied and not resume:
        raise ValueError(f"{run_dir} holds another run: choose another --out or pass --resume")
    fresh = {
        "versions": devices.versions(),
        "device": devices.describe(),
        "started": _now(),
        "status": "running",
        "notebooks": {},
    }
    fresh["parameters"] = given
    fresh["sensors"] = _own_sensors(given)
    if not occupied:
        if resume:
            print(f"Nothing to resume in {run_dir}: starting from the first notebook.")
        return fresh
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
        before, done = old["parameters"], old["notebooks"]
    except (OSError, ValueError, KeyError):
        raise ValueError(
            f"{run_dir} holds no run that can be resumed (run.json): choose another --out"
        ) from None
    if before != given:
        changed = sorted(
            {
                k
                for n in given
                for k in given[n] | before.get(n, {})
                if _differs(k, n, given, before)
            }
        )
        names = ", ".join(changed) or "the set of notebooks"
        raise ValueError(
            f"{run_dir} was run with other parameters ({names}): give the same, or choose another --out"
        )
    if old.get("sensors", {}) != fresh["sensors"]:
        names = ", ".join(fresh["sensors"])
        raise ValueError(
            f"{names} has changed since the run in {run_dir}: change it back, or choose another --out"
        )
    return fresh | {"started": old.get("started", fresh["started"]), "notebooks": done}


def _own_sensors(given: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the sensor files that are named hold: paths alone would not tell that a file has changed."""
    names = {
        share[name]
        for share in given.values()
        for name in (SENSOR, UNSEEN_SENSOR)
        if share.get(name)
    }
    own = {name: sensors.get(name) for name in sorted(names - {"auto"})}
    return {
        name: sensors.to_table(sensor)
        for name, sensor in own.items()
        if not sensors.is_built_in(sensor)
    }


def _differs(key: str, notebook: str, given: dict[str, dict], before: dict[str, dict]) -> bool:
    missing = object()
    return given[notebook].get(key, missing) != before.get(notebook, {}).get(key, missing)


def _run_all(
    run_dir: Path, chapters: dict[str, Any], given: dict[str, dict], record: dict[str, Any]
) -> None:
    """Run what is not finished, keeping ``run.json`` up to date."""
    from tqdm import tqdm

    # A bar without a terminal would fill logs; the lines per notebook are printed in any case.
    with (
        tqdm(chapters.items(), unit="notebook", disable=None, leave=False) as bar,
        notebooks.python_kernel(),
    ):
        stale = False  # a notebook that runs anew makes the products of all later ones stale
        for name, notebook in bar:
            bar.set_description(name)
            digest = notebooks.source_hash(notebook)
            target = run_dir / "notebooks" / f"{name}.ipynb"
            entry = record["notebooks"].get(name, {})
            finished = entry.get("status") == "finished" and entry.get("source_sha256") == digest
            if finished and not stale and target.is_file():
                tqdm.write(f"{name}: finished before, {entry['seconds']:.0f} s")
                continue
            stale = True
            entry = {"status": "running", "seconds": 0.0, "source_sha256": digest}
            record["notebooks"][name] = entry
            files.write_json(run_dir / "run.json", record)
            start = time.monotonic()
            try:
                notebooks.execute(
                    notebook, target, given[name] | {RUN_DIR: str(run_dir)}, name, progress=True
                )
                entry["status"] = "finished"
            except BaseException as error:
                entry["status"] = "failed" if isinstance(error, Exception) else "interrupted"
                raise
            finally:
                entry["seconds"] = round(time.monotonic() - start, 1)
            files.write_json(run_dir / "run.json", record)
            tqdm.write(f"{name}: {entry['seconds']:.0f} s")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
