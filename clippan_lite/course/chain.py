"""The notebooks as one pipeline: run in order through papermill, with one set of parameters.

What is run is the percent ``.py`` source of each notebook, never the committed ``.ipynb``, so a
stale product cannot be run by mistake.
"""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from tqdm import tqdm

from clippan_lite.physics import sensors
from clippan_lite.runtime import console, devices, facts, files, locks, notebooks

# A parameter may be any literal, and JSON may hold any value, hence Any here and below.
Values = dict[str, Any]


def run_chain(
    out: str | os.PathLike[str] | None,
    parameters: Values,
    resume: bool = False,
    folder: Path | None = None,
) -> Path:
    """Run all notebooks in order, then build the report page.

    Args:
        out: run folder, empty or not there yet; None chooses ``runs/<scene>-<time>`` in the current
            folder.
        parameters: values by name; each notebook gets those that it declares. ``pan``, ``ms`` and
            ``sensor`` together name a real pair, which is checked before anything is written.
        resume: go on in a folder that holds a run with the same parameters. Finished notebooks are
            skipped as long as neither they nor one before them has changed.
        folder: where the notebooks' sources are, by default `notebooks.notebooks_folder`.

    Returns:
        The run folder.

    Raises:
        ValueError: unusable pair, parameters or run folder; nothing has been written then.
        FileNotFoundError: a file of the pair or the notebooks are missing.
        NotebookFailed: a notebook raised; ``run.json`` and its executed copy are there.
    """
    print("Checking the parameters and the pair ...", flush=True)
    folder = folder or notebooks.notebooks_folder()
    chapters = {
        path.stem: notebooks.read_source(path) for path in sorted(folder.glob(notebooks.PATTERN))
    }
    if not chapters:
        raise FileNotFoundError(
            f"{folder} holds no notebooks named like 01_name.py: give another folder"
        )
    given = _given(chapters, parameters)
    scene = _check(_merged(given))
    if out is None:
        if resume:
            raise ValueError("which run is to be resumed? give its folder with --out")
        out = Path("runs") / f"{scene}-{time.strftime('%Y%m%d-%H%M%S')}"
    run_dir = Path(out).expanduser().resolve()
    record = _open_record(run_dir, given, resume)
    with locks.only_one(run_dir, "chain", "choose another --out"):
        (run_dir / "notebooks").mkdir(exist_ok=True)
        print(f"Run folder: {run_dir}")
        console.tell_if_busy()
        _run_all(run_dir, chapters, record)
    from clippan_lite.course import report

    print(f"Report: {report.build(run_dir)}")
    return run_dir


def _given(chapters: dict[str, NotebookNode], parameters: Values) -> dict[str, Values]:
    """What each notebook is given, in the types of its defaults and with absolute paths."""
    declared = {name: notebooks.declared(notebook, name) for name, notebook in chapters.items()}
    if "run_dir" in parameters:
        raise ValueError("parameter run_dir is set by the chain: use --out")
    names = sorted(set(_merged(declared)) - {"run_dir"})
    for name in sorted(set(parameters) - set(names)):
        raise ValueError(f"unknown parameter {name}: known are {', '.join(names)}")
    given = {}
    for notebook, defaults in declared.items():
        if "run_dir" not in defaults:
            raise ValueError(
                f"{notebook} declares no parameter run_dir: add it to its parameters cell"
            )
        given[notebook] = {
            name: _absolute(name, notebooks.coerce(name, value, defaults[name]))
            for name, value in parameters.items()
            if name in defaults
        }
    return given


def _absolute(name: str, value: Any) -> Any:
    """A parameter's value; a path in it becomes absolute, because kernels run in another folder."""
    if name in ("sensor", "unseen_sensor"):
        return sensors.resolve(value)
    # clip_pretrained may be a tag, and scene a name.
    if name in ("pan", "ms", "scene", "clip_pretrained"):
        path = Path(value).expanduser()
        if path.is_file() or (value and (path / "scene.json").is_file()):
            return str(path.resolve())
    return value


def _merged(values: dict[str, Values]) -> Values:
    """The parameters of all notebooks; where they share one, it has the same value."""
    return {name: value for notebook in values.values() for name, value in notebook.items()}


def _check(given: Values) -> str:
    """Refuse now what a notebook would refuse after minutes.

    Returns:
        The scene's name; a given pair is read for it.
    """
    from clippan_lite import backbones
    from clippan_lite.data import geotiff
    from clippan_lite.experiments import run
    from clippan_lite.physics import sensors

    is_pair = given.get("pan") or given.get("ms")
    missing = [name for name in ("pan", "ms", "sensor") if not given.get(name)]
    if is_pair and missing:
        raise ValueError(f"a pair needs PAN, MS and the sensor: give {', '.join(missing)} too")
    experiment = run.check_chapter(given, thorough=True)
    if not is_pair:
        return "synthetic"
    backbones.check_ratio(sensors.get(experiment.sensor).ratio)
    pair = geotiff.read_pair(
        experiment.pan,
        experiment.ms,
        experiment.sensor,
        convention=experiment.convention,
        register=experiment.register,
    )
    return re.sub(r"[^\w.-]+", "_", pair.name)


def _open_record(run_dir: Path, given: dict[str, Values], resume: bool) -> Values:
    """A fresh record, or that of the run to resume."""
    if run_dir.is_file():
        raise ValueError(f"{run_dir} is a file, expected a folder: choose another --out")
    # A chain that was killed before its record was written has left no more than these.
    hidden = run_dir.glob(".*")
    begun = {run_dir / "notebooks", *hidden}
    occupied = run_dir.is_dir() and any(path not in begun for path in run_dir.iterdir())
    if occupied and not resume:
        raise ValueError(f"{run_dir} holds another run: choose another --out or pass --resume")
    record = {
        "versions": devices.versions(),
        "device": devices.describe(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "status": "running",
        "notebooks": {},
        "parameters": given,
        "sensors": _own_sensors(_merged(given)),
    }
    if not occupied:
        if resume:
            print(f"Nothing to resume in {run_dir}: starting from the first notebook.")
        return record
    try:
        earlier = facts.read(run_dir / "run.json")
        before = {name: table.values for name, table in earlier.tables("parameters")}
        started = earlier.text("started", record["started"])
        finished = {name: _entry(table) for name, table in earlier.tables("notebooks")}
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{run_dir} holds no run that can be resumed ({error}): choose another --out"
        ) from None
    if before != given:
        new, old = _merged(given), _merged(before)
        changed = sorted(name for name in new | old if new.get(name) != old.get(name))
        raise ValueError(
            f"{run_dir} was run with other parameters "
            f"({', '.join(changed) or 'the set of notebooks'}): "
            "give the same, or choose another --out"
        )
    if earlier.table("sensors", {}).values != record["sensors"]:
        raise ValueError(
            f"{', '.join(record['sensors'])} has changed since the run in {run_dir}: "
            "change it back, or choose another --out"
        )
    return record | {"started": started, "notebooks": finished}


def _entry(table: facts.Facts) -> Values:
    """What the record says about a notebook."""
    told: Values = {name: table.text(name) for name in ("status", "source_sha256")}
    return told | {"seconds": table.number("seconds")}


def _own_sensors(given: Values) -> dict[str, Values]:
    """What the given sensor files hold, because a path does not tell that its file has changed."""
    names = {given[name] for name in ("sensor", "unseen_sensor") if given.get(name)}
    own = {name: sensors.get(name) for name in sorted(names - {"auto"})}
    return {
        name: sensors.to_table(sensor)
        for name, sensor in own.items()
        if not sensors.is_built_in(sensor)
    }


def _run_all(run_dir: Path, chapters: dict[str, NotebookNode], record: Values) -> None:
    """Run what is not finished, keeping ``run.json`` up to date."""
    path = run_dir / "run.json"
    stale = False  # a notebook that runs anew makes the products of all later ones stale
    # A bar without a terminal would fill logs; a line per notebook is printed in any case.
    with (
        tqdm(chapters.items(), unit="notebook", disable=None, leave=False) as bar,
        notebooks.python_kernel(),
    ):
        for name, notebook in bar:
            bar.set_description(name)
            digest = notebooks.source_hash(notebook)
            target = run_dir / "notebooks" / f"{name}.ipynb"
            entry = record["notebooks"].get(name, {})
            finished = entry.get("status") == "finished" and target.is_file()
            if finished and entry.get("source_sha256") == digest and not stale:
                tqdm.write(f"{name}: finished before, {entry['seconds']:.0f} s")
                continue
            stale = True
            entry = {"status": "running", "seconds": 0.0, "source_sha256": digest}
            record["notebooks"][name] = entry
            files.write_json(path, record)
            start = time.monotonic()
            parameters = record["parameters"][name] | {"run_dir": str(run_dir)}
            try:
                notebooks.execute(notebook, target, parameters, name, progress=True)
                entry["status"] = "finished"
            except BaseException as error:
                entry["status"] = "failed" if isinstance(error, Exception) else "interrupted"
                record["status"] = entry["status"]
                raise
            finally:
                entry["seconds"] = round(time.monotonic() - start, 1)
                files.write_json(path, record)
            tqdm.write(f"{name}: {entry['seconds']:.0f} s")
    record["status"] = "finished"
    files.write_json(path, record)
