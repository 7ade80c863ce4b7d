import json
import sys
from pathlib import Path

import nbformat
import pytest

from clippan_lite.course import chain
from clippan_lite.data import geotiff
from clippan_lite.physics import sensors
from clippan_lite.runtime import notebooks

HEADER = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

"""
FIRST = """# %% tags=["parameters"]
run_dir = ""  # run folder
steps = 10  # training steps
rate = 0.1  # learning rate
label = "a"  # text
quick = True  # fewer steps
bands = [1, 2]  # a list
pan = ""  # PAN
ms = ""  # MS
sensor = ""  # sensor
convention = "benchmark"  # convention

# %%
import json, os, sys
from pathlib import Path
count = Path(run_dir) / "count.txt"
count.write_text(count.read_text() + "1" if count.exists() else "1")
values = dict(steps=steps, rate=rate, label=label, quick=quick, bands=bands, pan=pan)
values |= dict(cwd=os.getcwd(), python=sys.executable)
(Path(run_dir) / "first.json").write_text(json.dumps(values))
"""
SECOND = """# %% tags=["parameters"]
run_dir = ""  # run folder
steps = 10  # training steps

# %%
from pathlib import Path
assert (Path(run_dir) / "first.json").exists()
(Path(run_dir) / "second.txt").write_text(str(steps))
"""
FAILING = SECOND + "\n# %%\nraise RuntimeError('the loss is NaN\\nsecond line')\n"


@pytest.fixture
def folder(tmp_path):
    """Two notebooks, and things that are none."""
    place = tmp_path / "sources"
    place.mkdir()
    (place / "01_first.py").write_text(HEADER + FIRST)
    (place / "02_second.py").write_text(HEADER + SECOND)
    (place / "build.py").write_text("raise SystemExit")
    return place


def run(folder, out, parameters=None, **options):
    return chain.run_chain(out, parameters or {}, folder=folder, **options)


@pytest.mark.slow
def test_runs_in_order_with_parameters(folder, tmp_path, capsys):
    out = run(
        folder,
        tmp_path / "a {curly} run",
        {"steps": "3", "rate": 1, "label": "5", "quick": "false"},
    )
    values = json.loads((out / "first.json").read_text())
    assert (values["steps"], values["rate"], values["label"], values["quick"]) == (
        3,
        1.0,
        "5",
        False,
    )
    assert isinstance(values["rate"], float) and values["bands"] == [1, 2]
    assert Path(values["python"]) == Path(sys.executable)
    assert Path(values["cwd"]).is_relative_to(out) and (out / "second.txt").read_text() == "3"
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "finished" and record["parameters"]["02_second"] == {"steps": 3}
    assert {n: e["status"] for n, e in record["notebooks"].items()} == {
        "01_first": "finished",
        "02_second": "finished",
    }
    assert (
        all(e["seconds"] > 0 for e in record["notebooks"].values())
        and "torch" in record["versions"]
    )
    assert sorted(p.name for p in (out / "notebooks").iterdir()) == [
        "01_first.ipynb",
        "02_second.ipynb",
    ]
    executed = nbformat.read(out / "notebooks" / "02_second.ipynb", as_version=4)
    assert [c.execution_count for c in executed.cells if c.cell_type == "code"] == [1, 2, 3]
    assert (out / "report.html").is_file()
    assert "01_first:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        (
            {"stepz": 3},
            "unknown parameter stepz: known are "
            "bands, convention, label, ms, pan, quick, rate, sensor, steps$",
        ),
        ({"run_dir": "x"}, "use --out"),
        ({"steps": 2.5}, "steps is 2.5, expected int: give a value like 10"),
        ({"steps": "many"}, "steps is 'many', expected int"),
        ({"steps": True}, "steps is True, expected int"),
        ({"quick": 1}, "quick is 1, expected bool"),
        ({"label": 5}, "label is 5, expected str"),
        ({"rate": "nan"}, "rate is 'nan', expected float"),
        ({"rate": float("inf")}, "rate is inf, expected a finite number"),
        ({"bands": "3"}, "bands is 3, expected list"),
        ({"sensor": "KODAK"}, "unknown sensor 'KODAK'"),
        ({"convention": "none"}, "convention must be one of .*, found 'none'"),
        ({"pan": "p.tif"}, "give ms, sensor too"),
        ({"pan": "p.tif", "ms": "m.tif", "sensor": "KODAK"}, "unknown sensor"),
    ],
)
def test_wrong_parameters_leave_nothing_behind(folder, tmp_path, parameters, match):
    with pytest.raises(ValueError, match=match) as caught:
        run(folder, tmp_path / "out", parameters)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_missing_pair_leaves_nothing_behind(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        run(folder, tmp_path / "out", {"pan": "p.tif", "ms": "m.tif", "sensor": "WV2"})
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_default_folder_names_scene_and_time(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = run(folder, None)
    assert out.parent == tmp_path / "runs" and out.name.startswith("synthetic-2")
    with pytest.raises(ValueError, match="--out"):
        run(folder, None, resume=True)


def test_occupied_folders_are_refused(folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.docx").write_text("precious")
    with pytest.raises(
        ValueError, match=r"holds another run: choose another --out or pass --resume"
    ):
        run(folder, out)
    with pytest.raises(ValueError, match="no run that can be resumed"):
        run(folder, out, resume=True)
    assert [p.name for p in out.iterdir()] == ["thesis.docx"]
    with pytest.raises(ValueError, match="is a file"):
        run(folder, out / "thesis.docx")


@pytest.mark.slow
def test_resume(folder, tmp_path):
    out = tmp_path / "out"
    (folder / "02_second.py").write_text(HEADER + FAILING)
    with pytest.raises(
        notebooks.NotebookFailed,
        match=r"^02_second failed: RuntimeError: the loss is NaN \(see .*ipynb\)$",
    ):
        run(folder, out, {"steps": 4})
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "failed" and record["notebooks"]["02_second"]["status"] == "failed"
    assert (out / "notebooks" / "02_second.ipynb").is_file()
    (folder / "02_second.py").write_text(HEADER + SECOND)
    with pytest.raises(ValueError, match=r"other parameters \(steps\)"):
        run(folder, out, {"steps": 5}, resume=True)
    run(folder, out, {"steps": 4}, resume=True)
    assert (out / "count.txt").read_text() == "1"  # the first notebook was not run again
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
    (folder / "01_first.py").write_text(HEADER + FIRST + "# changed\n")
    (out / "second.txt").unlink()
    run(folder, out, {"steps": 4}, resume=True)
    assert (out / "count.txt").read_text() == "11" and (
        out / "second.txt"
    ).exists()  # what follows runs again too


@pytest.mark.slow
def test_a_sensor_file_is_found_from_any_folder_and_may_not_change(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = sensors.to_toml(sensors.get("WV2")).replace("[WV2]", "[MINE]")
    (tmp_path / "mine.toml").write_text(text)
    out = run(folder, tmp_path / "out", {"sensor": "mine.toml"})
    record = json.loads((out / "run.json").read_text())
    assert record["parameters"]["01_first"]["sensor"] == str(tmp_path / "mine.toml")
    run(folder, out, {"sensor": "mine.toml"}, resume=True)
    assert (out / "count.txt").read_text() == "1"
    (tmp_path / "mine.toml").write_text(text.replace("0.11", "0.12"))
    with pytest.raises(ValueError, match=r"mine\.toml has changed since the run"):
        run(folder, out, {"sensor": "mine.toml"}, resume=True)


def test_register_reaches_the_pair_and_the_notebooks(folder, tmp_path, monkeypatch):
    seen = {}

    def read_pair(*_, register, **__):
        seen["register"] = register
        raise ValueError("enough")

    monkeypatch.setattr(geotiff, "read_pair", read_pair)
    (folder / "01_first.py").write_text(HEADER + FIRST.replace("quick = True", "register = False"))
    parameters = {"pan": "p.tif", "ms": "m.tif", "sensor": "WV2"}
    for text, value in (("true", True), ("True", True), ("false", False)):
        with pytest.raises(ValueError, match="enough"):
            run(folder, tmp_path / "out", parameters | {"register": text})
        assert seen["register"] is value
    with pytest.raises(ValueError, match="register is 'yes', expected bool"):
        run(folder, tmp_path / "out", parameters | {"register": "yes"})


@pytest.mark.slow
def test_resume_without_a_run_starts_one(folder, tmp_path, capsys):
    assert (run(folder, tmp_path / "new", resume=True) / "second.txt").exists()
    assert "Nothing to resume" in capsys.readouterr().out


@pytest.mark.slow
def test_an_unreadable_pair_found_by_a_notebook_is_told_as_such(folder, tmp_path):
    code = (
        FIRST
        + "\n# %%\ndef read_pair():\n    raise ValueError('PAN is odd: turn it')\nread_pair()\n"
    )
    (folder / "01_first.py").write_text(HEADER + code)
    with pytest.raises(notebooks.NotebookFailed, match=r"^PAN is odd: turn it$"):
        run(folder, tmp_path / "out")


@pytest.mark.slow
def test_a_dead_kernel_is_reported(folder, tmp_path):
    (folder / "01_first.py").write_text(HEADER + FIRST + "\n# %%\nos._exit(1)\n")
    with pytest.raises(
        notebooks.NotebookFailed,
        match=r"^01_first failed: DeadKernelError: .*see .*01_first\.ipynb",
    ):
        run(folder, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "failed"


def test_notebooks_must_declare_literals_and_run_dir(folder, tmp_path):
    for text, match in (
        ("# %%\nx = 1\n", "has 0 cells tagged"),
        ('# %% tags=["parameters"]\nrun_dir = str(1)\n', "line 1 of its parameters cell is not"),
        ('# %% tags=["parameters"]\nsteps = 1\n', "declares no parameter run_dir"),
    ):
        (folder / "02_second.py").write_text(HEADER + text)
        with pytest.raises(ValueError, match=match):
            run(folder, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no notebooks"):
        run(tmp_path, tmp_path / "out")


def test_source_hash_sees_cells_and_tags_only(folder):
    notebook = notebooks.read_source(folder / "01_first.py")
    before = notebooks.source_hash(notebook)
    for cell in notebook.cells:
        cell["id"] = "other"
    notebook.metadata["anything"] = 1
    assert notebooks.source_hash(notebook) == before
    notebook.cells[0].metadata["tags"] = []
    assert notebooks.source_hash(notebook) != before
