"""One measurement of a study: what it returns, what it refuses, and that the notebook is the same point."""

import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clippan_lite import classical
from clippan_lite.data import geotiff, synthetic
from clippan_lite.experiments import study, sweep
from clippan_lite.metrics import evaluation
from clippan_lite.runtime import notebooks

STUDIES = sorted((notebooks.notebooks_folder() / "studies").glob("*.toml"))
POINT = notebooks.notebooks_folder() / "studies" / "point.py"
TRUTH, FULL = set(evaluation.REDUCED), set(evaluation.FULL)


def test_a_classical_method_is_judged_as_everywhere():
    row = study.measure(study.Point(scene="synthetic:3", size=256, method="GSA"))
    pair = synthetic.make_scene(3, 256, "WV2")
    fused = classical.fuse("GSA", pair)
    expected = evaluation.against_truth(fused, pair) | evaluation.at_full_resolution(fused, pair)
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert set(row) == {*TRUTH, *FULL, "minutes"}


def test_a_network_with_language_has_figures_of_stage_one_and_the_same_twice():
    point = study.Point(steps=2, adapt_steps=2, batch=2)
    first, second = study.measure(point), study.measure(replace(point, scale="truth"))
    assert set(first) == {*TRUTH, *FULL, "type accuracy", "direction cosine", "minutes"}
    assert first["PSNR"] == pytest.approx(second["PSNR"], abs=1e-4)
    assert study.measure(replace(point, seed=1))["PSNR"] != pytest.approx(first["PSNR"], abs=1e-4)


def test_every_language_setting_changes_the_result():
    point = study.Point(steps=3, adapt_steps=2, batch=2, direction=1.0)
    settings = [
        {},
        {"swap": "wrong"},
        {"clip_random": True},
        {"adapt_steps": 0},
        {"tokens": True},
        {"guard": True},
    ]
    settings += [
        {"direction": 0.0},
        {"direction": 0.0, "words": 0.3},
        {"stem": "pca"},
        {"text_share": 0.0},
    ]
    found = [study.measure(replace(point, **changed))["PSNR"] for changed in settings]
    assert len({round(value, 5) for value in found}) == len(settings), found


@pytest.mark.real
def test_a_real_scene_gives_the_published_figures_of_exp(real_data):
    row = study.measure(study.Point(scene="ikonos_town", method="EXP"))
    # Measured with other people's code, see the reference tables of the test data.
    assert row["HQNR"] == pytest.approx(0.8353, abs=1e-3) and row["ERGAS"] == pytest.approx(
        4.315, abs=5e-3
    )


@pytest.mark.real
def test_bands_are_mapped_by_name_for_another_sensor(real_data):
    point = study.Point(
        bands="B,G,R,NIR", scale="truth", steps=2, direction=0.0, test_scene="ikonos_town"
    )
    row = study.measure(replace(point, scene="wv2_urban"))
    assert set(row) == {*TRUTH, "minutes"} and 20 < row["PSNR"] < 40
    pair = study.load(study.Point(scene="wv2_urban", bands="R,NIR,B"), "wv2_urban", "full")
    whole = study.load(study.Point(scene="wv2_urban"), "wv2_urban", "full")
    assert torch.equal(pair.ms, whole.ms[[4, 6, 1]])
    assert (
        pair.sensor.rgb[0] == 0 and pair.sensor.rgb[2] == 2
    )  # red and blue are where they were put


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"scale": "half"}, "scale must be full, truth or both, found 'half'"),
        ({"method": "magic"}, "unknown method 'magic'"),
        ({"backbone": "magic"}, "magic"),
        ({"recipe": "magic"}, "unknown recipe 'magic'"),
        ({"prompt": "magic"}, "unknown prompt 'magic'"),
        ({"fault": "rain:1"}, "fault 'rain:1': expected noise:0 to noise:1"),
        ({"fault": "haze:2"}, "fault 'haze:2'"),
        ({"fault": "noise:-1"}, "fault 'noise:-1'"),
        ({"scene": "synthetic:x"}, "expected a synthetic scene as synthetic:SEED"),
        ({"bands": "B,G,UV"}, "expected three or more different ones of"),
        ({"bands": "B,B,G"}, "expected three or more different ones of"),
        ({"fault": "shift:1.5"}, "a shift of whole PAN pixels"),
        ({"fault": "noise:.1+noise:.2"}, "expected each fault once"),
        ({"words": -0.5}, "words must be 0 or more, or -1 for the recipe's, found -0.5"),
        ({"steps": -7}, "steps must be 0 or more"),
        ({"spec": float("nan")}, "spec must be 0 or more"),
        ({"stem": "magic"}, "stem must be learned, rgb or pca"),
        ({"words": "0.03"}, "words is '0.03', expected a number"),
        ({"fault": None}, "fault is None, expected a text"),
        ({"steps": 1.5}, "steps is 1.5, expected a whole number"),
        ({"guard": 1}, "guard is 1, expected true or false"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(changed, said):
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        study.measure(replace(study.Point(steps=1, adapt_steps=1), **changed))
    assert "\n" not in str(error.value)


def test_a_scene_that_is_not_there_says_where_it_was_looked_for():
    with pytest.raises(FileNotFoundError, match="CLIPPAN_TEST_DATA"):
        study.measure(study.Point(scene="atlantis"))


def test_settings_that_nothing_reads_do_not_count():
    silent, language = study.Point(direction=0.0), study.Point(direction=0.1)
    for changed in ({"guard": True}, {"prompt": "khan"}, {"adapt_steps": 3}, {"stem": "rgb"}):
        assert study.effective(replace(silent, **changed)) == study.effective(silent)
        assert study.effective(replace(language, **changed)) != study.effective(language)
    raw = replace(language, adapt_steps=0)
    assert study.effective(replace(raw, stem="pca")) == study.effective(raw)
    assert study.effective(replace(raw, swap="khan")) != study.effective(raw)
    exp = study.Point(method="EXP")
    assert study.effective(replace(exp, backbone="pnn", spec=2.0)) == study.effective(exp)
    assert study.effective(replace(exp, fault="haze:0.1")) != study.effective(exp)


def test_a_scene_whose_sensor_no_file_names_is_read_with_the_one_given(tmp_path):
    pair = synthetic.make_scene(0, 256, "WV2")
    folder = geotiff.write_pair(tmp_path / "mine", pair)
    (folder / "scene.json").write_text('{"sensor": "some camera"}', encoding="utf-8")
    point = study.Point(scene=str(folder), scale="full", method="EXP")
    with pytest.raises(ValueError, match="some camera"):
        study.measure(point)
    row = study.measure(replace(point, scene=f"{folder}@WV2"))
    assert row["D_lambda"] == pytest.approx(0, abs=1e-6) and 0 < row["D_s"] < 1
    assert study.scene_hash(f"{folder}@WV2") == study.scene_hash(str(folder))


def test_the_notebook_of_a_point_declares_exactly_its_parameters():
    declared = notebooks.declared(notebooks.read_source(POINT), "point")
    assert declared == {**asdict(study.Point()), "out": ""}


def test_comments_of_the_notebook_are_those_of_the_dataclass():
    said = r"(?m)^ *(\w+)(?:: \w+)? = .*?  # (.*)$"
    code = Path(study.__file__).read_text(encoding="utf-8")
    of_class = dict(re.findall(said, code[code.index("class Point") : code.index("def measure")]))
    (cell,) = [
        c for c in notebooks.read_source(POINT).cells if "parameters" in c.metadata.get("tags", [])
    ]
    of_notebook = dict(re.findall(said, cell.source))
    assert {name: of_notebook[name] for name in of_class} == of_class and len(of_class) == len(
        asdict(study.Point())
    )


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_studies_can_be_read_in_both_forms(path):
    quick, full = sweep.read(path, full=False), sweep.read(path, full=True)
    assert 0 < len(quick.points) <= 40 < len(full.points)
    assert quick.against == full.against and quick.against
    assert all(
        parameters["scene"].startswith("synthetic:") for _, parameters in quick.points
    )  # no data needed


@pytest.mark.slow
@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_two_arms_of_every_study_run(path):
    """A difference of each study, in fewer steps: what a reader would start runs."""
    quick = sweep.read(path, full=False)
    arm, other = next(iter(quick.against.items()))
    rows = []
    for name, parameters in quick.points[: len(quick.arms)]:
        if name in (arm, other):
            few = {"steps": 2, "adapt_steps": min(2, parameters.get("adapt_steps", 2)), "size": 256}
            row = study.measure(study.Point(**{**parameters, **few, "device": "cpu"}))
            rows.append({"arm": name, **{axis: parameters[axis] for axis in quick.axes}, **row})
    effects = sweep.effects(rows, {"axes": quick.axes, "against": {arm: other}})
    assert any(cell["metric"] == "PSNR" and np.isfinite(cell["difference"]) for cell in effects)
