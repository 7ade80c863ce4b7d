"""One measurement: what it returns, what it refuses, and that the notebook is the same point."""

import numpy as np
import pytest
import torch

from clippan_lite import classical
from clippan_lite.data import geotiff, synthetic
from clippan_lite.experiments import Experiment, Run, measurement, scenes, study, tables
from clippan_lite.metrics import evaluation
from clippan_lite.runtime import notebooks

STUDIES = sorted((notebooks.notebooks_folder() / "studies").glob("*.toml"))
POINT = notebooks.notebooks_folder() / "studies" / "point.py"
TRUTH, FULL = set(evaluation.REDUCED), set(evaluation.FULL)
SMALL = {"scene": "synthetic:1", "size": 256, "device": "cpu"}


def measure(**settings):
    return measurement.measure(Experiment.of({**SMALL, **settings}))


def test_a_classical_method_is_judged_as_everywhere():
    row = measure(scene="synthetic:3", method="GSA")
    pair = synthetic.make_scene(3, 256, "WV2")
    fused = classical.fuse("GSA", pair)
    expected = evaluation.against_truth(fused, pair) | evaluation.at_full_resolution(fused, pair)
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert set(row) == {*TRUTH, *FULL, "minutes"}


@pytest.mark.slow
def test_a_network_with_language_has_figures_of_stage_one_and_the_same_twice():
    few = {"steps": 2, "adapt_steps": 2, "batch": 2}
    first, second = measure(**few), measure(**few, scale="truth")
    assert set(first) == {*TRUTH, *FULL, "type accuracy", "direction cosine", "minutes"}
    assert first["PSNR"] == pytest.approx(second["PSNR"], abs=1e-4)
    assert measure(**few, seed=1)["PSNR"] != pytest.approx(first["PSNR"], abs=1e-4)


@pytest.mark.slow
def test_every_language_setting_changes_the_result():
    settings = [
        {},
        {"swap": "wrong"},
        {"clip_random": True},
        {"adapt_steps": 0},
        {"tokens": True},
        {"guard": True},
        {"direction": 0.0},
        {"direction": 0.0, "words": 0.3},
        {"adapt_stem": "pca"},
        {"adapt_text_share": 0.0},
    ]
    base = {"steps": 3, "adapt_steps": 2, "batch": 2, "direction": 1.0}
    found = [measure(**{**base, **changed})["PSNR"] for changed in settings]
    assert len({round(value, 5) for value in found}) == len(settings), found


@pytest.mark.real
@pytest.mark.slow
def test_a_real_scene_gives_the_published_figures_of_exp(real_data):
    row = measure(scene="ikonos_town", method="EXP")
    # Measured with other people's code, see the reference tables of the test data.
    assert row["HQNR"] == pytest.approx(0.8353, abs=1e-3)
    assert row["ERGAS"] == pytest.approx(4.315, abs=5e-3)


@pytest.mark.real
@pytest.mark.slow
def test_bands_are_mapped_by_name_for_another_sensor(real_data):
    few = {"bands": "B,G,R,NIR", "scale": "truth", "steps": 2, "direction": 0.0}
    row = measure(**few, scene="wv2_urban", test_scene="ikonos_town")
    assert set(row) == {*TRUTH, "minutes"} and 20 < row["PSNR"] < 40
    pair = Run(Experiment.of({"scene": "wv2_urban", "bands": "R,NIR,B"})).pair
    whole = Run(Experiment.of({"scene": "wv2_urban"})).pair
    assert torch.equal(pair.ms, whole.ms[[4, 6, 1]])
    assert pair.sensor.rgb[0] == 0 and pair.sensor.rgb[2] == 2  # red and blue, where they were put


@pytest.mark.parametrize("bands", ["B,G,UV", "B,B,G"])
def test_bands_that_are_not_there_are_refused(bands):
    with pytest.raises(ValueError, match="expected three or more different ones of"):
        measure(bands=bands, method="EXP")


def test_a_scene_that_is_not_there_says_where_it_was_looked_for():
    with pytest.raises(FileNotFoundError, match="CLIPPAN_TEST_DATA"):
        measure(scene="atlantis")


def test_a_scene_whose_sensor_no_file_names_is_read_with_the_one_given(tmp_path):
    pair = synthetic.make_scene(0, 256, "WV2")
    folder = geotiff.write_pair(tmp_path / "mine", pair)
    (folder / "scene.json").write_text('{"sensor": "some camera"}', encoding="utf-8")
    with pytest.raises(ValueError, match="some camera"):
        measure(scene=str(folder), scale="full", method="EXP")
    row = measure(scene=f"{folder}@WV2", scale="full", method="EXP")
    assert row["D_lambda"] == pytest.approx(0, abs=1e-6) and 0 < row["D_s"] < 1
    files = [scenes.files_of(scene) for scene in (f"{folder}@WV2", str(folder))]
    assert scenes.content_hash(files[0]) == scenes.content_hash(files[1])


def test_a_pair_of_geotiffs_is_judged_one_scale_down(tmp_path):
    folder = geotiff.write_pair(tmp_path / "mine", synthetic.make_scene(0, 256, "WV2"))
    pair = {"pan": str(folder / "pan.tif"), "ms": str(folder / "ms.tif")}
    row = measure(**pair, method="EXP")
    assert set(row) == {*TRUTH, *FULL, "minutes"}
    assert row["ERGAS"] != pytest.approx(measure(scene="synthetic:0", method="EXP")["ERGAS"])
    first = measurement.data_hash(Experiment.of(pair))
    assert first != measurement.data_hash(Experiment.of({**pair, "pan": pair["ms"]}))


def test_data_of_a_point_are_its_scenes_and_a_clip_that_is_not_ours(tmp_path):
    assert measurement.data_hash(Experiment.of({"test_scene": "synthetic:2"})) == (
        "synthetic:0+synthetic:2"
    )
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"1")
    one = measurement.data_hash(Experiment.of({"clip_pretrained": str(weights)}))
    weights.write_bytes(b"22")
    assert one != measurement.data_hash(Experiment.of({"clip_pretrained": str(weights)}))


def test_the_notebook_of_a_point_takes_settings_and_where_to_write():
    declared = notebooks.declared(notebooks.read_source(POINT), "point")
    assert declared == {"settings": {}, "out": ""}


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_studies_can_be_read_in_both_forms(path):
    quick, full = study.read(path, full=False), study.read(path, full=True)
    assert 0 < len(quick.points) <= 40 and len(quick.points) < len(full.points)
    assert quick.against == full.against and quick.against
    for _, settings in quick.points:  # no data needed
        assert settings["scene"].startswith("synthetic:")


BEST = """
title = "best"
question = "Which of its settings count?"
[fixed]
recipe = "best"
steps = 1
batch = 1
size = 256
scale = "truth"
[quick.grid]
seed = [0]
lr = [1e-3, 3e-3]
[full]
[arms.best]
[arms."with ds"]
ds = 0.3
against = "best"
[arms."fewer patches"]
stride = 32
against = "best"
[arms.untrained]
start = ""
against = "best"
[arms.balance]
balance = true
against = "best"
[arms."with L_d"]
direction = 0.03
adapt_recipe = "paper"
adapt_steps = 1
against = "best"
"""


@pytest.mark.slow
def test_the_recipe_best_can_be_ablated(tmp_path):
    (tmp_path / "best.toml").write_text(BEST)
    read = study.read(tmp_path / "best.toml")
    experiments = [Experiment.of(settings) for _, settings in read.points]
    assert len({str(each.flat()) for each in experiments}) == 2 * 6
    train = {arm: each.train for (arm, _), each in zip(read.points, experiments, strict=True)}
    assert train["with ds"].weight("ds") == 0.3 > train["best"].weight("ds") == 0
    assert train["untrained"].start == "" and train["best"].start == "bundled"
    assert train["balance"].balance and train["best"].lr == 3e-3
    rows = {}
    for (arm, settings), experiment in zip(read.points, experiments, strict=True):
        if settings["lr"] == 3e-3 and arm in ("best", "untrained"):
            rows[arm] = measurement.measure(experiment)["PSNR"]
    assert rows["best"] > rows["untrained"]


@pytest.mark.slow
@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_two_arms_of_every_study_run(path):
    """A difference of each study, in fewer steps: what a reader would start runs."""
    quick = study.read(path, full=False)
    arm, other = next(iter(quick.against.items()))
    rows = []
    for name, settings in quick.points[: len(quick.arms)]:
        if name in (arm, other):
            few = {"steps": 2, "adapt_steps": min(2, settings.get("adapt_steps", 2)), "size": 256}
            row = measure(**{**settings, **few, "device": "cpu"})
            rows.append({"arm": name, **{axis: settings[axis] for axis in quick.axes}, **row})
    effects = tables.effects(rows, {"axes": quick.axes, "against": {arm: other}})
    assert any(cell["metric"] == "PSNR" and np.isfinite(cell["difference"]) for cell in effects)
