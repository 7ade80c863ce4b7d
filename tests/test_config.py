"""Settings: declared once, checked when they are made, refused in one line."""

import dataclasses
import json
import math
import pickle

import numpy
import pytest

from clippan_lite import backbones, losses
from clippan_lite.config import AdaptConfig, TrainConfig, adapt_recipe, digest, recipe

CLASSES = (AdaptConfig, TrainConfig)
RULES = [
    pytest.param(kind, rule, id=f"{kind.__name__}.{rule.name}")
    for kind in CLASSES
    for rule in dataclasses.fields(kind)
    if "meaning" in rule.metadata
]
#: Values of another type than each kind of setting.
WRONG = {
    bool: (1, 0.0, "yes", None),
    int: (2.5, "3", True, None, math.nan),
    float: ("0.1", True, None, [0.1]),
    str: (1, True, None),
}


def refused(kind, values, *parts):
    """Making these settings fails in one line that says all of these parts."""
    with pytest.raises(ValueError) as error:
        kind(**values)
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


@pytest.mark.parametrize("kind", CLASSES)
def test_every_field_is_a_setting_with_a_meaning(kind):
    declared = [rule for rule in dataclasses.fields(kind) if "meaning" in rule.metadata]
    others = {rule.name for rule in dataclasses.fields(kind)} - {rule.name for rule in declared}
    assert others <= {"weights", "options"}
    for rule in declared:
        meaning = rule.metadata["meaning"]
        assert len(meaning) > 10 and "\n" not in meaning, rule.name


@pytest.mark.parametrize(("kind", "rule"), RULES)
def test_another_type_is_refused(kind, rule):
    for value in WRONG[type(rule.default)]:
        refused(kind, {rule.name: value}, f"{rule.name} must be ", f"found {value!r}")


@pytest.mark.parametrize(("kind", "rule"), RULES)
def test_numbers_out_of_bounds_are_refused_and_the_bounds_are_not(kind, rule):
    least, most = rule.metadata["least"], rule.metadata["most"]
    if type(rule.default) not in (int, float):
        assert least == -math.inf and most == math.inf
        return
    assert least > -math.inf, "every number has a smallest value"
    assert getattr(kind(**{rule.name: type(rule.default)(least)}), rule.name) == least
    smaller = least - (1 if isinstance(rule.default, int) else 1e-3)
    refused(kind, {rule.name: smaller}, f"{rule.name} must be at least {least:g}", repr(smaller))
    if most < math.inf:
        kind(**{rule.name: most})
        refused(kind, {rule.name: most + 1}, f"and at most {most:g}, found {most + 1!r}")


@pytest.mark.parametrize(("kind", "rule"), RULES)
def test_numbers_that_are_not_finite_are_refused(kind, rule):
    if isinstance(rule.default, float):
        for value in (math.nan, math.inf, -math.inf):
            refused(kind, {rule.name: value}, f"{rule.name} must be at least", f"found {value!r}")


@pytest.mark.parametrize(("kind", "rule"), RULES)
def test_a_text_that_is_no_choice_is_refused(kind, rule):
    choices = rule.metadata["choices"]
    for choice in choices:
        kind(**{rule.name: choice})
    if choices:
        assert rule.default in choices
        known = f"{rule.name} must be one of {', '.join(choices)}, found 'other'"
        refused(kind, {rule.name: "other"}, known)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_weights_out_of_bounds_are_refused(kind, weight):
    values = {"weights": {"direction": weight}}
    refused(kind, values, "the weight direction must be at least 0", f"found {weight!r}")


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("weight", ["0.1", None, True])
def test_weights_of_another_type_are_refused(kind, weight):
    values = {"weights": {"direction": weight}}
    refused(kind, values, f"the weight direction must be a number, found {weight!r}")


@pytest.mark.parametrize("kind", CLASSES)
def test_a_weight_of_an_unknown_term_is_refused(kind):
    message = refused(kind, {"weights": {"spek": 1.0}}, "unknown loss term 'spek'")
    assert message.endswith(", ".join(kind.terms))


@pytest.mark.parametrize("kind", CLASSES)
def test_an_unknown_setting_is_refused_with_the_known_ones(kind):
    with pytest.raises(ValueError) as error:
        kind().changed(spatial=1.0)
    known = ", ".join(kind.names())
    assert str(error.value) == f"unknown setting 'spatial': expected one of {known}"
    assert {"steps", "seed", "direction"} <= set(kind.names())
    assert "weights" not in kind.names()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"stride": 0}, "stride must be at least 1, found 0"),
        ({"crops_in_turn": 0}, "crops_in_turn must be at least 1, found 0"),
        ({"batch": 0}, "batch must be at least 1, found 0"),
        ({"steps": -1}, "steps must be at least 0, found -1"),
        ({"spec": -0.5}, "the weight spec must be at least 0, found -0.5"),
    ],
)
def test_stage_two_settings_that_cannot_be_are_one_line(setting, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig().changed(**setting)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"steps": -5}, "steps must be at least 0, found -5"),
        ({"steps": 2.5}, r"steps must be a whole number, found 2\.5"),
        ({"batch": 1}, "batch must be at least 2, found 1"),
        ({"temperature": 0.0}, r"temperature must be at least 0\.001, found 0\.0"),
        ({"direction": -1.0}, "direction must be at least 0"),
        ({"image_share": 5.0}, r"image_share must be at least 0 and at most 1, found 5\.0"),
        ({"stem": "grey"}, "stem must be one of learned, rgb, pca, found 'grey'"),
    ],
)
def test_stage_one_settings_that_cannot_be_are_one_line(setting, message):
    with pytest.raises(ValueError, match=message):
        AdaptConfig().changed(**setting)


def test_settings_are_changed_without_touching_the_first_ones():
    before = TrainConfig()
    after = before.changed(steps=3, rho=0.5, direction=0.0)
    assert (after.steps, after.weight("rho"), after.weight("spec")) == (3, 0.5, 1.0)
    assert after.active() == ["spec", "spat", "rho", "qnr"], "in the registry's order"
    assert before == TrainConfig() and before.weight("rho") == 0.0
    assert before.changed(weights={"rho": 1.0}).weights == {"rho": 1.0}
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.steps = 3


def test_digest_sees_every_field():
    assert digest(AdaptConfig()) != digest(AdaptConfig(temperature=0.08))
    assert digest(TrainConfig()) == digest(TrainConfig())
    assert digest(TrainConfig()) != digest(TrainConfig().changed(qnr=0.04))


def test_recipes_by_name_and_their_mistakes():
    best = recipe("best", seed=3, steps=5)
    assert (best.seed, best.steps, best.weight("spat")) == (3, 5, 0.0) and best.weight(
        "reduced"
    ) > 0
    paper = recipe("paper")
    assert (paper.steps, paper.batch, paper.lr) == (1000, 32, 3e-3)  # METHOD: the paper's settings
    names = ("spec", "spat", "qnr", "ship", "direction")
    assert {paper.weight(name) for name in names} == {1.0} and paper.weight("rho") == 0
    with pytest.raises(
        ValueError,
        match="unknown recipe 'fast': expected one of scratch, course, quick, paper, best",
    ):
        recipe("fast")
    with pytest.raises(
        ValueError, match="unknown setting 'spatial': expected one of backbone, start"
    ):
        recipe("best", spatial=1.0)


def test_recipes_of_stage_one():
    paper = adapt_recipe("paper", steps=40)
    assert (paper.examples, paper.weight("direction"), paper.steps) == ("BDSD", 0.0, 40)
    assert adapt_recipe("ours") == AdaptConfig()
    with pytest.raises(ValueError, match="unknown recipe 'best': expected one of ours, paper"):
        adapt_recipe("best")


def test_both_stages_know_the_terms_of_their_registries():
    assert AdaptConfig.terms is losses.ADAPT_TERMS and TrainConfig.terms is losses.TERMS


@pytest.mark.parametrize("kind", CLASSES)
def test_settings_cannot_be_changed_in_place(kind):
    given = {"direction": 0.5}
    settings = kind(weights=given)
    given["direction"] = -1.0
    assert settings.weight("direction") == 0.5
    for change in (
        lambda: settings.weights.update(direction=-1.0),
        lambda: settings.weights.__setitem__("magic", 1.0),
        lambda: settings.weights.pop("direction"),
        lambda: settings.weights.clear(),
    ):
        with pytest.raises(TypeError, match="settings cannot be changed in place"):
            change()
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert json.loads(json.dumps(dataclasses.asdict(settings)))["weights"] == {"direction": 0.5}


def test_recipes_share_no_table():
    with pytest.raises(TypeError):
        recipe("quick").weights["spec"] = 0.0
    options = {"width": 8}
    config = TrainConfig(options=options)
    options["width"] = 9
    assert config.options == {"width": 8}


@pytest.mark.parametrize("table", [3, "spec", ["spec"], {1: 2.0}, None])
def test_a_table_of_another_type_is_refused(table):
    refused(TrainConfig, {"weights": table}, "weights must be a table", f"found {table!r}")
    refused(TrainConfig, {"options": table}, "options must be a table", f"found {table!r}")


def test_a_whole_table_of_weights_and_single_ones_are_merged():
    merged = recipe("quick", weights={"spec": 2.0, "qnr": 0.1}, qnr=0.5)
    assert merged.weights == {"spec": 2.0, "qnr": 0.5}


def test_numbers_of_numpy_become_those_of_python():
    config = TrainConfig(steps=numpy.int64(3), lr=numpy.float32(0.5), weights={"spec": 1})
    assert [type(value) for value in (config.steps, config.lr)] == [int, float]
    assert type(config.weight("spec")) is float
    json.dumps(dataclasses.asdict(config))
    refused(TrainConfig, {"steps": numpy.float64(3)}, "steps must be a whole number")


def test_numbers_that_are_not_finite_are_called_so():
    refused(TrainConfig, {"weights": {"qnr": math.inf}}, "at least 0 and finite, found inf")
    refused(TrainConfig, {"seed": 2**32}, "seed must be at least 0 and at most 4.29497e+09")


def test_settings_that_only_terms_without_a_weight_take_are_idle():
    assert recipe("quick", direction=0.1).idle() == {"ds_floor"}
    assert recipe("quick", direction=0.0).idle() == {"ds_floor", "guard", "tokens"}
    assert recipe("best").idle() == {"guard", "tokens", "ds_floor"}
    assert recipe("quick", direction=0.0, words=0.1).idle() == {"ds_floor", "tokens"}
    assert recipe("paper").needs("teacher") and not recipe("best").needs("supervisor")


def test_another_backbone_leaves_the_options_of_the_old_one():
    best = recipe("best")
    assert best.options == {"eightfold": True} and recipe("best", lr=1e-3).options == best.options
    other = recipe("best", backbone="pnn", start="")
    assert other.options == {} and backbones.create(other.backbone, 4, **other.options)
    assert recipe("best", backbone="fusionnet", options={"blocks": 2}).options == {"blocks": 2}


def test_options_are_added_to_those_of_a_recipe_and_checked():
    wide = recipe("best", options={"width": 8})
    assert wide.options == {"eightfold": True, "width": 8}
    assert recipe("best", options={"eightfold": False}).options == {"eightfold": False}
    known = "expected some of width, blocks, eightfold, rounds"
    with pytest.raises(ValueError, match=f"backbone bandwise has no option 'magic': {known}"):
        recipe("best", options={"magic": 1})
    with pytest.raises(ValueError, match="option eightfold must be true or false, found 'no'"):
        recipe("best", options={"eightfold": "no"})
    with pytest.raises(ValueError, match=r"option width must be a whole number, found 2\.5"):
        recipe("best", options={"width": 2.5})
