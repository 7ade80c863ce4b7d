import csv
import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from clippan_lite import cli
from clippan_lite.experiments import (
    measurement,
    provenance,
    scenes,
    study,
    sweep,
    tables,
)
from clippan_lite.metrics import evaluation
from clippan_lite.runtime import files, notebooks, workers

STUDY = """
title = "Losses"
question = "Is it the language?"

[fixed]
size = 256
spec = 1

[quick.grid]
scene = ["synthetic:1", "synthetic:2"]
seed = [0, 1, 2]

[full.fixed]
steps = 7

[full.grid]
seed = [0]

[arms.plain]
direction = 0.0

[arms."with L_d"]
direction = 1.0
against = "plain"
"""
HEADER = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

"""


@pytest.fixture
def toml(tmp_path):
    path = tmp_path / "losses.toml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Points that were measured; nothing is trained. Runs begin in an empty folder."""
    monkeypatch.setattr(provenance, "source_hash", lambda: "code")
    monkeypatch.setattr(measurement, "data_hash", lambda point: f"data of {point.scene}")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return []


def measuring(calls):
    def measure(point):
        calls.append(point)
        l_d = point.train.weight("direction")
        row = {
            "PSNR": 30 + point.train.seed / 3 + l_d,
            "ERGAS": 3 - l_d / 7,
            "minutes": 0.25,
        }
        return row | ({"type accuracy": 0.5} if l_d else {})

    return measure


def run(path, calls, out=None, full=False, **options):
    options = {"direct": True, "device": "cpu", "measure": measuring(calls), **options}
    return sweep.run(study.read(path, full), out, **options)


def counts(table):
    return tuple(
        tables.load(table)[1]["points"][name] for name in ("finished", "failed", "missing")
    )


def test_grid_and_arms_expand(toml):
    quick, full = study.read(toml), study.read(toml, full=True)
    assert (quick.name, quick.form, quick.title, full.form) == ("losses", "quick", "Losses", "full")
    assert (
        quick.axes == {"scene": ["synthetic:1", "synthetic:2"], "seed": [0, 1, 2]}
        and len(quick.points) == 12
    )
    assert quick.fixed == {"size": 256, "spec": 1.0} and isinstance(quick.fixed["spec"], float)
    assert quick.against == {"with L_d": "plain"}
    assert quick.points[:3] == [
        ("plain", {"size": 256, "spec": 1.0, "scene": "synthetic:1", "seed": 0, "direction": 0.0}),
        (
            "with L_d",
            {"size": 256, "spec": 1.0, "scene": "synthetic:1", "seed": 0, "direction": 1.0},
        ),
        ("plain", {"size": 256, "spec": 1.0, "scene": "synthetic:1", "seed": 1, "direction": 0.0}),
    ]
    assert [p["steps"] for _, p in full.points] == [7, 7]


def test_a_study_needs_neither_arms_nor_grid(tmp_path):
    path = tmp_path / "one.toml"
    path.write_text('title = "a"\nquestion = "b"\n[quick]\n[full.grid]\nseed = [0, 1]\n')
    assert study.read(path).points == [("", {})]
    assert study.read(path, full=True).points == [("", {"seed": 0}), ("", {"seed": 1})]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Losses"', "title = 3", r"title is 3, expected a text"),
        ('title = "Losses"', "title = ", r"no TOML: .*line 2"),
        (
            "[fixed]",
            "[fixd]",
            r"the file has an unknown key 'fixd': expected title, question, fixed, quick, full, ",
        ),
        ("[full.fixed]", "[full.fxed]", r"\[full\] has an unknown key 'fxed'"),
        ("spec = 1", "spac = 1", r"\[fixed\]: unknown setting 'spac': expected one of scene, size"),
        ("size = 256", "size = 'big'", r"\[fixed\]: size must be a whole number, found 'big'"),
        (
            "seed = [0, 1, 2]",
            "seed = [0, 1.5]",
            r"\[quick.grid\]: seed must be a whole number, found 1.5",
        ),
        (
            "seed = [0, 1, 2]",
            "seed = []",
            r"seed in \[quick.grid\] is \[\], expected a list of one value or more",
        ),
        ("seed = [0, 1, 2]", "seed = 2", r"seed in \[quick.grid\] is 2, expected a list"),
        ("seed = [0, 1, 2]", "seed = [0, 1, 0]", r"seed in \[quick.grid\] holds a value twice"),
        (
            "seed = [0, 1, 2]",
            "size = [64, 128]",
            r"size is fixed and in \[quick.grid\]: expected in one",
        ),
        (
            "seed = [0, 1, 2]",
            "direction = [0.0]",
            r"direction is in \[arms.'plain'\] and in \[quick.grid\]",
        ),
        ('"synthetic:1", "synthetic:2"', '"/a/town", "/b/town"', r"two folders of one name"),
        (
            'against = "plain"',
            'against = "non"',
            r"'with L_d'\] is 'non', expected another arm: plain, with L_d",
        ),
        ('against = "plain"', 'against = "with L_d"', r"expected another arm"),
        (
            "direction = 1.0",
            "direction = 0.0",
            r"arms 'plain' and 'with L_d' are the same point in quick form",
        ),
        (
            "direction = 1.0",
            "direction = 0.0\nds_floor = 0.1",
            r"are the same point in quick form: expected a difference",
        ),
        ("direction = 1.0", "direction = -1", r"the weight direction must be at least 0, found -1"),
        ("direction = 1.0", 'device = "foo"', r"device 'foo' is unknown"),
        ("direction = 1.0", 'bands = "B,X,Y"', r"bands B,X,Y: expected three or more different"),
        ("direction = 1.0", "options = { foo = 1 }", r"backbone fusionnet has no option .foo."),
        (
            "direction = 1.0",
            "direction = 0.0\nguard = true",
            r"are the same point in quick form: expected a difference",
        ),
        (
            "direction = 1.0",
            "prompt = ['a']",
            r"\[arms.'with L_d'\]: prompt must be a text, found \['a'\]",
        ),
        ("direction = 1.0", "method = 'magic'", r"unknown method 'magic'"),
        (
            "[arms.plain]\ndirection = 0.0",
            "[arms]\nplain = 1",
            r"arms.plain is 1, expected a table: \[arms.plain\]",
        ),
    ],
)
def test_bad_studies_are_refused_in_one_line(tmp_path, old, new, message):
    assert old in STUDY
    path = tmp_path / "losses.toml"
    path.write_text(STUDY.replace(old, new))
    with pytest.raises(ValueError, match=message) as caught:
        study.read(path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("losses.toml: ")


def test_a_study_may_have_one_form(tmp_path):
    path, full = tmp_path / "mine.toml", "[full.fixed]\nsteps = 7\n\n[full.grid]\nseed = [0]"
    path.write_text(STUDY.replace(full, ""))
    assert study.read(path).form == "quick"
    with pytest.raises(ValueError, match=r"\[full\] is missing: add it, or .*leave out --full"):
        study.read(path, full=True)


def test_the_table_is_in_the_order_of_the_study(toml, calls):
    table = run(toml, calls)
    assert table == Path("runs/sweep-losses-quick/table.csv").resolve() and len(calls) == 12
    with table.open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["arm", "scene", "seed", "PSNR", "ERGAS", "type accuracy", "minutes"]
    assert rows[0] == ["plain", "synthetic:1", "0", "30", "3", "", "0.25"]
    assert rows[3] == ["with L_d", "synthetic:1", "1", "31.3333", "2.85714", "0.5", "0.25"]
    rows, facts = tables.load(table)
    assert rows[3] == {
        "arm": "with L_d", "scene": "synthetic:1", "seed": 1, "PSNR": 31.3333, "ERGAS": 2.85714,
        "type accuracy": 0.5, "minutes": 0.25,
    }  # fmt: skip
    assert "type accuracy" not in rows[0]
    assert (
        facts["fixed"] == {"size": 256, "spec": 1.0, "device": "cpu"} and facts["form"] == "quick"
    )
    assert facts["arms"] == {"plain": {"direction": 0.0}, "with L_d": {"direction": 1.0}}
    assert facts["points"] == {"finished": 12, "failed": 0, "missing": 0}
    made = facts["provenance"]
    assert made["code"] == "code" and made["data"] == {
        s: f"data of {s}" for s in ("synthetic:1", "synthetic:2")
    }
    assert (
        "torch" in made["versions"]
        and made["device"].startswith("CPU with")
        and made["minutes"] == 3.0
    )


def test_tables_hold_no_folders_of_this_machine(tmp_path, calls, monkeypatch):
    monkeypatch.setattr(measurement, "data_hash", lambda point: "data")
    path = tmp_path / "own.toml"
    scene = tmp_path / "town"
    path.write_text(
        f'title="a"\nquestion="b"\n[fixed]\ntest_scene="{scene}"\n[quick.grid]\n'
        f'scene=["{scene}", "x"]\n[full]'
    )
    table = run(path, calls)
    assert str(tmp_path) not in table.read_text() + (table.parent / "table.json").read_text()
    rows, facts = tables.load(table)
    assert [row["scene"] for row in rows] == ["town", "x"] and "town + town" in facts["provenance"][
        "data"
    ]


def test_the_same_command_goes_on(toml, calls, capsys):
    table = run(toml, calls, "out")
    first = table.read_text()
    removed = sorted((table.parent / "points").glob("*.json"))[:2]
    for path in removed:
        path.unlink()
    again = []
    run(toml, again, "out")
    assert len(again) == 2 and table.read_text() == first
    assert "12 points, 10 finished before" in capsys.readouterr().out
    other = []
    toml.write_text(STUDY.replace("seed = [0, 1, 2]", "seed = [2, 3]"))  # seed 2 is there
    run(toml, other, "out")
    assert {point.train.seed for point in other} == {3} and counts(table) == (8, 0, 0)


def test_changed_code_or_data_makes_new_points(toml, calls, monkeypatch):
    table = run(toml, calls, "out")
    monkeypatch.setattr(
        measurement,
        "data_hash",
        lambda point: "new" if point.scene == "synthetic:1" else "data of synthetic:2",
    )
    run(toml, data := [], "out")
    assert len(data) == 6 and {point.scene for point in data} == {"synthetic:1"}
    monkeypatch.setattr(provenance, "source_hash", lambda: "other code")
    run(toml, code := [], "out")
    assert len(code) == 12 and tables.load(table)[1]["provenance"]["code"] == "other code"


def test_code_that_changes_during_a_sweep_is_noticed(toml, calls, monkeypatch, capsys):
    hashes = iter(["code", "code", *["other code"] * 11])
    monkeypatch.setattr(provenance, "source_hash", lambda: next(hashes))
    assert counts(run(toml, calls)) == (1, 11, 0) and len(calls) == 1
    assert "the code is not that with which the sweep began" in capsys.readouterr().err


def test_a_failure_is_isolated_and_tried_again(toml, calls, capsys):
    def sometimes(point):
        if point.train.seed == 1 and point.train.weight("direction"):
            raise RuntimeError("the loss\nis not a number")
        return measuring(calls)(point)

    table = run(toml, calls, "out", measure=sometimes)
    assert counts(table) == (10, 2, 0) and len(tables.load(table)[0]) == 10
    error = capsys.readouterr().err
    line = "failed: with L_d, scene synthetic:1, seed 1: RuntimeError: the loss is not a number\n"
    assert line in error and error.count("failed: ") == 2
    kept = [
        json.loads(path.read_text()) for path in (table.parent / "points").glob("*.failed.json")
    ]
    assert kept == [{"error": "RuntimeError: the loss is not a number"}] * 2
    run(toml, again := [], "out")
    assert (
        len(again) == 2
        and counts(table) == (12, 0, 0)
        and not list(table.parent.glob("points/*.failed.json"))
    )


def test_a_full_disk_fails_the_point_alone(toml, calls, monkeypatch, capsys):
    write = files.write_json
    full = []

    def write_json(path, content):
        if path.parent.name == "points" and (full or len(list(path.parent.iterdir())) == 4):
            full.append(path)
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(files, "write_json", write_json)
    table = run(toml, calls)
    assert counts(table) == (4, 8, 0) and "No space left on device" in capsys.readouterr().err


def test_an_interrupted_sweep_leaves_a_table(toml, calls):
    def interrupted(point):
        if len(calls) == 5:
            raise KeyboardInterrupt
        return measuring(calls)(point)

    with pytest.raises(KeyboardInterrupt):
        run(toml, calls, "out", measure=interrupted)
    assert counts("out") == (5, 0, 7) and len(tables.load("out")[0]) == 5
    run(toml, again := [], "out")
    assert len(again) == 7 and counts("out") == (12, 0, 0)


def test_no_point_begins_after_the_time_is_out(toml, calls):
    def slow(point):
        time.sleep(0.1)
        return measuring(calls)(point)

    table = run(toml, calls, minutes=0.15 / 60, measure=slow)
    assert counts(table) == (2, 0, 10)


def test_a_folder_with_something_else_is_refused(toml, calls, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds something else than a sweep"):
        run(toml, calls, tmp_path / "other")
    run(toml, calls, tmp_path / "quick")
    with pytest.raises(ValueError, match=r"holds losses, quick, .*; expected losses, full, "):
        run(toml, calls, tmp_path / "quick", full=True)
    namesake = tmp_path / "elsewhere" / toml.name
    namesake.parent.mkdir()
    namesake.write_text(re.sub('title = ".*"', 'title = "Another"', STUDY))
    with pytest.raises(ValueError, match="; expected losses, quick, Another: choose another --out"):
        run(namesake, calls, tmp_path / "quick")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file, expected a folder"):
        run(toml, calls, tmp_path / "file")
    with pytest.raises(ValueError, match=r"cannot be made \(Not a directory\)"):
        run(toml, calls, tmp_path / "file" / "below")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"workers": 0}, ValueError, "expected 1 worker or more, found 0"),
        ({"workers": 2, "scheduler": "tcp://x:1"}, ValueError, "a scheduler has its own workers"),
        ({"minutes": 0}, ValueError, "expected more than 0 minutes, found 0"),
        ({"device": "abacus"}, ValueError, "device 'abacus' is unknown"),
        (
            {"direct": False, "notebook": Path("none.py")},
            FileNotFoundError,
            "none.py is not there: expected the notebook",
        ),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(toml, calls, options, error, message):
    with pytest.raises(error, match=message):
        run(toml, calls, "out", **options)
    assert not Path("out").exists() and not calls


def test_a_scene_that_is_missing_is_told_first(toml, calls, monkeypatch):
    monkeypatch.setattr(measurement, "data_hash", lambda point: scenes.folder_of("no_such_town"))
    with pytest.raises(FileNotFoundError, match="scene 'no_such_town' is not there"):
        run(toml, calls, "out")
    assert not Path("out").exists()


def test_a_device_is_given_in_one_place(toml, calls):
    toml.write_text(
        STUDY.replace("seed = [0]", 'device = ["cpu"]').replace(
            "seed = [0, 1, 2]", 'device = ["cpu"]'
        )
    )
    with pytest.raises(ValueError, match="sets the device itself"):
        run(toml, calls)
    run(toml, calls, device=None)
    assert {point.device for point in calls} == {"cpu"}


def rows_of(changes, metric="ERGAS", scene="a"):
    """Rows of two arms whose differences over the seeds are given."""
    rows = []
    for seed, change in enumerate(changes):
        rows.append(
            {"arm": "plain", "scene": scene, "seed": seed, metric: 5.0 + seed, "minutes": 1.0}
        )
        rows.append(
            {
                "arm": "with",
                "scene": scene,
                "seed": seed,
                metric: 5.0 + seed + change,
                "minutes": 9.0,
            }
        )
    return rows


FACTS = {"axes": {"scene": ["a", "b"], "seed": [0, 1, 2, 3]}, "against": {"with": "plain"}}


def test_effects_against_a_hand_computed_example():
    changes = [-0.5, -0.1, -0.2, -0.4]
    (found,) = tables.effects(rows_of(changes), FACTS)
    assert {k: found[k] for k in ("arm", "against", "scene", "metric", "n")} == {
        "arm": "with", "against": "plain", "scene": "a", "metric": "ERGAS", "n": 4
    }  # fmt: skip
    assert found["difference"] == pytest.approx(-0.3) and found["better"] is True
    # mean -0.3, deviation sqrt(0.1 / 3), Student's 97.5 % point with 3 degrees of freedom from a
    # table
    half = 3.182446 * (0.1 / 3) ** 0.5 / 2
    assert found["t95"] == pytest.approx([-0.3 - half, -0.3 + half], abs=1e-6)
    assert found["t95"] == pytest.approx([-0.59052, -0.00948], abs=1e-4)
    # all 4^4 resamples in turn instead of a random choice of them
    means = np.sort([np.mean([changes[i] for i in index]) for index in np.ndindex(4, 4, 4, 4)])
    assert found["bootstrap95"] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.026)
    assert found["clear"] is True
    assert tables.effects(rows_of(changes), FACTS) == [found]


def test_effects_know_which_way_is_better_and_what_is_clear():
    (worse,) = tables.effects(rows_of([0.2, 0.3, 0.25]), FACTS)
    assert worse["better"] is False and worse["clear"] is True
    for metric in ("PSNR", "direction cosine"):
        assert tables.effects(rows_of([0.2, 0.3, 0.25], metric), FACTS)[0]["better"] is True
    # the bootstrap leaves 0 out, Student's interval does not: not clear
    (narrow,) = tables.effects(rows_of([-0.9, -0.1]), FACTS)
    assert narrow["bootstrap95"][1] < 0 < narrow["t95"][1] and narrow["clear"] is False
    (one,) = tables.effects(rows_of([-0.9]), FACTS)
    assert (
        one["n"] == 1
        and one["bootstrap95"] is None
        and one["t95"] is None
        and one["clear"] is False
    )


def test_effects_pair_what_is_there(toml):
    rows = rows_of([-0.5, -0.1, -0.2]) + rows_of([0.3, 0.4], scene="b")
    rows = [row for row in rows if (row["arm"], row["scene"], row["seed"]) != ("plain", "a", 1)]
    rows[0]["ERGAS"] = float("nan")
    by_scene = tables.effects(rows, FACTS)
    assert [(e["scene"], e["n"]) for e in by_scene] == [("a", 1), ("b", 2)]
    assert by_scene[0]["difference"] == pytest.approx(-0.2)
    (whole,) = tables.effects(rows, FACTS, by=())
    assert whole["n"] == 3 and whole["difference"] == pytest.approx((-0.2 + 0.3 + 0.4) / 3)
    assert [e["seed"] for e in tables.effects(rows, FACTS, by=("seed",))] == [0, 1, 2]
    assert tables.effects(rows, study.read(toml)) == []  # arms of another study


def test_effects_refuse_an_unknown_axis_and_tables_a_point_twice(toml, calls):
    with pytest.raises(ValueError, match="by holds 'scnee', expected settings"):
        tables.effects(rows_of([1.0, 2.0]), FACTS, by=("scnee",))
    table = run(toml, calls)
    with table.open("a") as file:
        file.write(table.read_text().splitlines()[-1] + "\n")
    with pytest.raises(ValueError, match="a point is there twice"):
        tables.load(table)


def test_effects_of_a_run(toml, calls):
    rows, facts = tables.load(run(toml, calls))
    found = tables.effects(rows, facts)
    assert found == tables.effects(rows, study.read(toml))
    assert [(e["scene"], e["metric"]) for e in found] == [
        (scene, metric) for scene in ("synthetic:1", "synthetic:2") for metric in ("PSNR", "ERGAS")
    ]
    assert all(e["better"] and e["n"] == 3 for e in found)
    assert not any(e["clear"] or e["t95"] for e in found)  # the made-up pairs show no spread


def test_recorded_tables_are_read(toml, calls, tmp_path):
    table = run(toml, calls)
    table.rename(tmp_path / "losses.csv")
    with pytest.raises(FileNotFoundError, match=r"losses\.json is not there"):
        tables.load(tmp_path / "losses.csv")
    (table.parent / "table.json").rename(tmp_path / "losses.json")
    assert len(tables.load(tmp_path / "losses.csv")[0]) == 12
    (tmp_path / "losses.json").write_text("{}")
    with pytest.raises(ValueError, match="is no table of a sweep"):
        tables.load(tmp_path / "losses.csv")
    with pytest.raises(FileNotFoundError, match=r"table\.csv is not there"):
        tables.load(tmp_path)


def test_an_empty_text_is_a_value_of_an_axis(tmp_path, calls):
    path = tmp_path / "faults.toml"
    path.write_text(
        'title="a"\nquestion="b"\n[quick.grid]\nfault=["", "noise:0.1"]\n'
        "register=[true, false]\n[full]\n"
    )
    rows, _ = tables.load(run(path, calls))
    assert [(row["fault"], row["register"]) for row in rows] == [
        ("", True), ("", False), ("noise:0.1", True), ("noise:0.1", False)
    ]  # fmt: skip


def test_command_line(toml, calls, capsys, monkeypatch):
    monkeypatch.setattr(measurement, "measure", measuring(calls))
    command = ["sweep", str(toml), "--direct", "--device", "cpu"]
    assert (
        cli.main(command) == 0
        and cli.main([*command, "--full", "--out", "full"]) == 0
        and len(calls) == 14
    )
    assert "2 of 2 points finished, 0 failed, 0 missing: " in capsys.readouterr().out
    assert cli.main([*command, "--out", "short", "--minutes", "1e-9"]) == 1 and len(calls) == 14
    assert "the same command goes on" in capsys.readouterr().err

    def failing(point):
        raise ValueError("no good")

    monkeypatch.setattr(measurement, "measure", failing)
    assert cli.main([*command, "--out", "bad"]) == 1
    assert "failed: plain, scene synthetic:1, seed 0: no good\n" in capsys.readouterr().err
    for wrong in (["none.toml"], [str(toml), "--workers", "0"], [str(toml), "--out", str(toml)]):
        assert cli.main(["sweep", *wrong, "--device", "cpu"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("clippan-lite: ") and error.count("\n") == 1
    with pytest.raises(SystemExit) as done:
        cli.main(["sweep", "--help"])
    told = capsys.readouterr().out
    assert done.value.code == 0
    assert all(
        f"--{o}" in told
        for o in ("full", "out", "workers", "scheduler", "direct", "device", "minutes")
    )


def test_two_sweeps_in_one_folder_are_refused(toml, calls):
    def nested(point):
        with pytest.raises(ValueError, match="another sweep is running"):
            run(toml, calls, "out")
        return measuring(calls)(point)

    assert counts(run(toml, calls, "out", measure=nested)) == (12, 0, 0)


def same_but_for_minutes(a, b):
    assert list(a) == list(b) and {"PSNR", "QNR"} <= a.keys()
    for name in a.keys() - {"minutes"}:
        assert a[name] == (
            pytest.approx(b[name], rel=1e-5) if isinstance(b[name], float) else b[name]
        )


def small_study(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text("""
title = "a"
question = "b"
[fixed]
size = 128
[quick.grid]
scene = ["synthetic:1", "synthetic:2"]
[full]
[arms.EXP]
method = "EXP"
[arms.GSA]
method = "GSA"
against = "EXP"
""")
    return path


@pytest.mark.slow
def test_points_run_as_notebooks(calls, tmp_path, capsys):
    notebook = tmp_path / "point {1}.py"
    notebook.write_text(
        f'{HEADER}# %% tags=["parameters"]\nsettings = {{}}\nout = ""\n\n'
        "# %%\nimport json, os\nfrom pathlib import Path\n"
        "method = settings['method']\n"
        "if method == 'GSA' and settings['scene'] == 'synthetic:2':\n"
        "    raise RuntimeError('broken')\n"
        "row = {'ERGAS': len(method) + settings['size'], "
        "'threads': int(os.environ['OMP_NUM_THREADS'])}\n"
        "Path('seen').write_text('here')\nPath(out).write_text(json.dumps({'row': row}))\n"
    )
    table = run(small_study(tmp_path), calls, direct=False, notebook=notebook)
    rows, _ = tables.load(table)
    assert counts(table) == (3, 1, 0) and [row["ERGAS"] for row in rows] == [131.0] * 3
    assert (
        rows[0]["threads"] >= 1 and Path("seen").is_file()
    )  # kernels run where the command was given
    failed = "failed: GSA, scene synthetic:2: the notebook failed: RuntimeError: broken (see "
    assert failed in capsys.readouterr().err
    points = sorted(path.name for path in (table.parent / "points").iterdir())
    assert sum(name.endswith(".ipynb") for name in points) == 4 and len(points) == 8
    notebook.write_text(notebook.read_text().replace("settings = {}", "setings = {}"))
    with pytest.raises(ValueError, match="declares no parameter settings"):
        run(small_study(tmp_path), calls, direct=False, notebook=notebook)


@pytest.mark.slow
def test_the_notebook_of_a_point_gives_the_row_of_the_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.toml").write_text(
        'title="a"\nquestion="b"\n[fixed]\nsize=128\nmethod="GSA"\n[quick]\n[full]\n'
    )
    kernel = sweep.run(study.read("one.toml"), "kernel", device="cpu")
    direct = sweep.run(study.read("one.toml"), "direct", device="cpu", direct=True)
    (a,), (b,) = tables.load(kernel)[0], tables.load(direct)[0]
    same_but_for_minutes(a, b)
    assert [p.name for p in kernel.parent.glob("points/*.json")] == [
        p.name for p in direct.parent.glob("points/*.json")
    ]


@pytest.mark.slow
def test_two_workers_give_the_same_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = small_study(tmp_path)
    one = sweep.run(study.read(path), "one", device="cpu", direct=True)
    two = sweep.run(study.read(path), "two", device="cpu", direct=True, workers=2)
    for a, b in zip(*(tables.load(table)[0] for table in (one, two)), strict=True):
        same_but_for_minutes(a, b)
    assert tables.load(two)[1]["provenance"]["device"] == "CPU with 1 thread"

    def deadly(point):
        if point.method == "GSA" and point.scene == "synthetic:1":
            time.sleep(2)  # one killed in its first moments would not be started again
            os.kill(os.getpid(), signal.SIGKILL)
        return {"ERGAS": float(os.environ["OMP_NUM_THREADS"])}

    killed = sweep.run(
        study.read(path), "killed", device="cpu", direct=True, workers=2, measure=deadly
    )
    assert counts(killed) == (3, 1, 0) and {row["ERGAS"] for row in tables.load(killed)[0]} == {1.0}
    assert "failed: GSA, scene synthetic:1: its worker was killed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_cluster_without_workers_does_not_wait_for_ever(monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "PATIENCE", 2)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        workers.processes(1, cluster.scheduler_address) as run,
        pytest.raises(OSError, match="dask has had no worker for 1 s: start some"),
    ):
        list(run(max, 1, [2], lambda place: (place, "killed")))


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent.parent / "notebooks" / "studies").glob("*.toml"))
)
def test_the_studies_on_board_can_be_read(path):
    for full in (False, True):
        read = study.read(path, full)
        assert len(read.points) > 1 and read.axes and set(read.against) < set(read.arms)


def test_what_is_better_when_larger_is_known_for_every_figure():
    for name in ("PSNR", "Q2n", "QNR", "HQNR", "type accuracy", "direction cosine"):
        assert evaluation.side(name) == 1 and evaluation.arrow(name) == f"{name} ↑"
        assert evaluation.change_in_words(name, 0.1) == "better"
    for name in ("ERGAS", "SAM", "D_lambda", "D_s"):
        assert evaluation.side(name) == -1 and evaluation.arrow(name) == f"{name} ↓"
        assert evaluation.change_in_words(name, 0.1) == "worse"
    assert evaluation.side("D_rho") == 0 and evaluation.arrow("D_rho") == "D_rho"
    assert evaluation.change_in_words("D_rho", 0.1) == "larger"


def test_a_summary_says_what_changed_by_how_much_and_whether_it_is_clear():
    rows = [
        {"arm": arm, "scene": "a", "seed": seed, "PSNR": 30.0 + seed + gain, "SAM": 1.0}
        for seed in range(4)
        for arm, gain in (("base", 0.0), ("more", 0.5 + seed / 100))
    ]
    facts = {"axes": {"scene": ["a"], "seed": [0, 1, 2, 3]}, "against": {"more": "base"}}
    legend, line = tables.summary(tables.effects(rows, facts))
    assert "95 % interval" in legend
    change = "a: more against base: PSNR +0.515 [+0.494, +0.536], n = 4"
    assert line == f"{change}: fewer than 5 pairs, no verdict"
    rows += [{**row, "seed": 4, "PSNR": row["PSNR"] + 4} for row in rows[:2]]
    facts["axes"] = {"steps": [5], "seed": [0, 1, 2, 3, 4]}
    rows = [{**row, "steps": 5} for row in rows]
    line = tables.summary(tables.effects(rows, facts))[1]
    assert line.startswith("steps 5: more against base") and line.endswith(", n = 5: clear of 0")


def test_a_study_of_ours_is_found_by_its_name():
    assert (
        study.read("A_losses").title
        == study.read(notebooks.notebooks_folder() / "studies" / "A_losses.toml").title
    )
    with pytest.raises(FileNotFoundError, match="or one of ours \\(A_losses, B_backbones"):
        study.read("Z_nothing")


def test_only_seeds_are_repetitions_and_classical_methods_have_none():
    rows = [
        {
            "arm": arm,
            "scene": "a",
            "fault": fault,
            "seed": seed,
            "PSNR": base + seed + (fault == "b"),
        }
        for fault in ("", "b")
        for seed in range(3)
        for arm, base in (("EXP", 20.0), ("GSA", 30.0), ("net", 31.0 + seed))
    ]
    facts = {
        "axes": {"scene": ["a"], "fault": ["", "b"], "seed": [0, 1, 2]},
        "against": {"GSA": "EXP", "net": "GSA"},
        "arms": {"EXP": {"method": "EXP"}, "GSA": {"method": "GSA"}, "net": {}},
    }
    found = tables.effects(rows, facts)
    assert [(cell["arm"], cell["fault"], cell["n"]) for cell in found] == [
        ("GSA", "", 1), ("GSA", "b", 1), ("net", "", 3), ("net", "b", 3),
    ]  # fmt: skip
    assert found[0]["t95"] is None and not found[0]["clear"]


def test_axes_of_fractions_and_damaged_points_do_no_harm(tmp_path):
    text = (
        'title = "t"\nquestion = "q"\n[quick.fixed]\nmethod = "EXP"\n'
        "[quick.grid]\nqnr = [0.0, 0.1234567891]\n"
        "[full.grid]\nseed = [0, 1]\n"
    )
    (tmp_path / "s.toml").write_text(text)
    calls = []

    def measure(point):
        calls.append(point)
        return {"PSNR": 30.0}

    options = {"out": tmp_path / "out", "direct": True, "measure": measure, "device": "cpu"}
    rows, _ = tables.load(sweep.run(study.read(tmp_path / "s.toml"), **options))
    assert [row["qnr"] for row in rows] == [0.0, 0.1234567891] and len(calls) == 2
    for damage, path in zip(
        ("[]", '{"row": {}}'), sorted((tmp_path / "out" / "points").glob("*.json")), strict=True
    ):
        path.write_text(damage)
    sweep.run(study.read(tmp_path / "s.toml"), **options)
    assert len(calls) == 4


def test_another_clip_file_makes_other_points(tmp_path, monkeypatch):
    monkeypatch.setattr(
        measurement, "data_hash", lambda point: f"{point.scene} {point.clip_pretrained}"
    )
    text = 'title = "t"\nquestion = "q"\n[quick.grid]\nseed = [0]\n[full.grid]\nseed = [0]\n'
    text += '[arms.a]\n[arms.b]\nclip_pretrained = "w.safetensors"\nagainst = ["a"]\n'
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ValueError, match="expected another arm"):
        study.read(tmp_path / "s.toml")
    (tmp_path / "s.toml").write_text(text.replace('["a"]', '"a"'))
    _, _, data = sweep._keys(study.read(tmp_path / "s.toml"))
    assert sorted(data.values()) == ["synthetic:0 ", "synthetic:0 w.safetensors"]
