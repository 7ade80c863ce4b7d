"""One experiment: its flat names, what it refuses, and which of its settings count."""

import re

import pytest

from clippan_lite.config import ADAPT_RECIPES, RECIPES, AdaptConfig, TrainConfig
from clippan_lite.experiments import Experiment
from clippan_lite.experiments.run import check_chapter


def test_the_defaults_are_those_of_the_stages():
    assert Experiment.of({}) == Experiment()
    assert Experiment().train == TrainConfig() and Experiment().adapt == AdaptConfig()


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("adapt_recipe", ADAPT_RECIPES)
def test_flat_names_give_the_same_experiment_again(recipe, adapt_recipe):
    experiment = Experiment.of({"recipe": recipe, "adapt_recipe": adapt_recipe, "fault": "haze:.1"})
    assert experiment.train == RECIPES[recipe] and experiment.adapt == ADAPT_RECIPES[adapt_recipe]
    flat = experiment.flat()
    assert Experiment.of(flat).flat() == flat
    assert {"scene", "steps", "qnr", "direction", "adapt_steps", "adapt_direction"} <= flat.keys()


def test_every_setting_of_a_recipe_can_be_changed():
    changes = {"ds": 0.0, "reduced": 1, "start": "", "lr": 1e-3, "balance": True}
    train = Experiment.of({"recipe": "best", **changes}).train
    assert (train.weight("ds"), train.weight("reduced"), train.start) == (0.0, 1.0, "")
    assert (train.lr, train.balance, train.steps) == (1e-3, True, RECIPES["best"].steps)
    adapt = Experiment.of({"adapt_recipe": "paper", "adapt_drift": 2, "adapt_stem": "pca"}).adapt
    assert (adapt.weight("drift"), adapt.stem, adapt.examples) == (2.0, "pca", "BDSD")


def test_minus_one_and_no_text_leave_a_setting_to_the_recipe():
    """In chapters. A study says what it means."""
    left = {"recipe": "best", "steps": -1, "qnr": -1.0, "backbone": "", "adapt_steps": -1}
    assert check_chapter({**left, "adapt_recipe": ""}) == Experiment.of({"recipe": "best"})
    assert check_chapter({"recipe": "best", "start": ""}).train.start == ""
    for name in ("steps", "qnr", "adapt_steps", "stride", "crops_in_turn"):
        with pytest.raises(ValueError, match="must be at least"):
            Experiment.of({name: -1})


def test_one_seed_repeats_the_whole_experiment_unless_stage_one_has_its_own():
    both = Experiment.of({"seed": 3})
    assert (both.train.seed, both.adapt.seed) == (3, 3)
    assert Experiment.of({"seed": 3, "adapt_seed": 0}).adapt.seed == 0


def test_unknown_names_are_refused_or_left_aside():
    with pytest.raises(ValueError, match="unknown setting 'inter': expected one of scene, size,"):
        Experiment.of({"inter": 1.0})
    assert Experiment.of({"inter": 1.0, "size": 256}, strict=False) == Experiment(size=256)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scale": "half"}, "scale must be one of both, full, truth, found 'half'"),
        ({"method": "magic"}, "unknown method 'magic'"),
        ({"backbone": "magic"}, "magic"),
        ({"backbone": "resnet"}, "unknown backbone 'resnet'"),
        (
            {"recipe": "fast"},
            "unknown recipe 'fast': expected one of scratch, course, quick, paper, best",
        ),
        ({"adapt_recipe": "magic"}, "Stage I: unknown recipe 'magic': expected one of ours"),
        ({"prompt": "magic"}, "unknown prompt 'magic'"),
        ({"swap": "magic"}, "unknown prompt 'magic'"),
        ({"fault": "rain:1"}, "fault 'rain:1': expected noise:0 to noise:1"),
        ({"fault": "haze:2"}, "fault 'haze:2'"),
        ({"fault": "noise:-1"}, "fault 'noise:-1'"),
        ({"fault": "shift:1.5"}, "a shift of whole PAN pixels"),
        ({"fault": "noise:.1+noise:.2"}, "expected each fault once"),
        ({"scene": "synthetic:x"}, "expected a synthetic scene as synthetic:SEED"),
        ({"scene": "synthetic:-1"}, "expected a synthetic scene as synthetic:SEED"),
        ({"test_scene": "synthetic:x"}, "expected a synthetic scene as synthetic:SEED"),
        ({"words": -0.5}, "the weight words must be at least 0, found -0.5"),
        ({"direction": float("inf")}, "the weight direction must be at least 0"),
        ({"qnr": float("nan")}, "the weight qnr must be at least 0"),
        ({"spec": float("nan")}, "the weight spec must be at least 0"),
        ({"steps": -7}, "steps must be at least 0"),
        ({"adapt_steps": -5}, "Stage I: steps must be at least 0, found -5"),
        ({"adapt_direction": -2.0}, "Stage I: the weight direction must be at least 0"),
        ({"adapt_stem": "magic"}, "Stage I: stem must be one of learned, rgb, pca"),
        ({"adapt_examples": "bdsd"}, "unknown HRMS examples 'bdsd': expected one of mixed,"),
        ({"words": "0.03"}, "words must be a number, found '0.03'"),
        ({"fault": None}, "fault must be a text, found None"),
        ({"steps": 1.5}, "steps must be a whole number, found 1.5"),
        ({"guard": 1}, "guard must be true or false, found 1"),
        ({"register": "yes"}, "register must be true or false, found 'yes'"),
        ({"options": 1}, "options must be a table, found 1"),
        ({"sensor": "WV9"}, "WV9"),
        ({"convention": "foo"}, "convention must be one of benchmark, geo, found 'foo'"),
        ({"pan": "pan.tif"}, "expected both pan and ms"),
        ({"size": 130}, "multiple of 128 and at least 256"),
        ({"size": 128}, "at least 256"),
        ({"clip": "nosuch"}, "unknown CLIP 'nosuch'"),
        ({"device": "gpu"}, "device 'gpu'"),
        ({"scene": "nowhere"}, "scene 'nowhere' is not there"),
        ({"bands": "B,G"}, "bands B,G: expected three or more different ones of"),
        ({"start": "nofile"}, "nofile does not exist: train first"),
        ({"options": {"foo": 1}}, "backbone fusionnet has no option 'foo'"),
        # what chapters alone have, or need
        ({"steps": 0}, "steps must be at least 1 in a chapter, found 0"),
        ({"adapt_steps": 0}, "adapt_steps must be at least 1 in a chapter, found 0"),
        ({"seeds": "a,b"}, "found 'a,b'"),
        ({"seeds": ""}, "found ''"),
        ({"seeds": "1,1"}, "must be different whole numbers"),
        ({"control_seeds": "-1"}, "control_seeds must be different whole numbers"),
        ({"unseen_sensor": "IKONOS"}, "has 4 bands, ratio 4; the network takes 8 bands"),
    ],
)
def test_values_that_would_fail_later_are_refused_in_one_line(changed, message):
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)) as error:
        check_chapter(changed, thorough=True)
    assert "\n" not in str(error.value)


def test_other_sensors_and_prompts_of_ones_own_pass():
    check_chapter({})
    check_chapter({"sensor": "LANDSAT8", "size": 128, "seeds": "3", "prompt": "a sharp image"})
    Experiment.of({"size": 128, "method": "EXP"}).check()


def test_settings_that_nothing_reads_do_not_count():
    def effective(*changes):
        merged = {}
        for each in changes:
            merged |= each
        return Experiment.of(merged).effective()

    silent, language = {"direction": 0.0}, {"direction": 0.1}
    for changed in ({"guard": True}, {"prompt": "khan"}, {"adapt_steps": 3}, {"adapt_stem": "rgb"}):
        assert effective(silent, changed) == effective(silent)
        assert effective(language, changed) != effective(language)
    assert effective({"ds_floor": 0.1}) == effective({}) != effective({"ds": 0.3})
    assert effective({"ds": 0.3, "ds_floor": 0.1}) != effective({"ds": 0.3})
    raw = {**language, "adapt_steps": 0}
    assert effective(raw, {"adapt_stem": "pca"}) == effective(raw)
    assert effective(raw, {"swap": "khan"}) != effective(raw)
    exp = {"method": "EXP"}
    assert effective(exp, {"backbone": "pnn", "spec": 2.0, "prompt": "khan"}) == effective(exp)
    assert effective(exp, {"fault": "haze:0.1"}) != effective(exp)
