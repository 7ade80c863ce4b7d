"""The registry of losses, terms of one's own, and how the terms' gradients are put together."""

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from clippan_lite import batches, losses, training
from clippan_lite.config import AdaptConfig, TrainConfig, recipe
from clippan_lite.data import Patches
from clippan_lite.experiments import Experiment
from clippan_lite.physics import degrade

README = Path(__file__).resolve().parent.parent / "clippan_lite" / "README.md"


def test_terms_are_built_with_the_settings_they_declare(registry):
    registry["mine"] = losses.Term(lambda fused, batch, *, ds_floor: fused.sum() * ds_floor)
    config = TrainConfig(ds_floor=0.25, guard=True)
    terms = registry.build(config, ["mine", "spec"])
    assert list(terms) == ["spec", "mine"], "in the registry's order"
    assert terms["mine"].function(torch.ones(4), None) == 1
    words = registry.build(config, ["words"])["words"]
    assert words.function.keywords == {"guard": True} and words.needs == "supervisor"


def test_a_term_that_asks_for_an_unknown_setting_is_refused(registry):
    registry["mine"] = losses.Term(lambda fused, batch, *, strength=1: fused.sum() * strength)
    message = "the loss term 'mine' takes 'strength' by keyword, which is no setting of TrainConfig"
    with pytest.raises(ValueError, match=message):
        registry.build(TrainConfig(), ["mine"])


def test_gradients_are_those_of_the_weighted_sum(small_pair):
    """All terms with weights of their own, against one backward pass."""
    weights = {"spec": 2.0, "spat": 0.5, "qnr": 0.1, "ship": 3.0}
    teacher = degrade.upsample(small_pair.ms, 4) * 1.1
    crops = Patches(small_pair, 64, extra={"teacher": teacher}).sample(
        2, torch.Generator().manual_seed(0)
    )
    images = {name: crops[name] for name in ("ms", "pan", "exp", "teacher")}
    to_pan = batches.fit_to_pan(small_pair)
    batch = losses.Batch(**images, sensor=small_pair.sensor, to_pan=to_pan)
    start = 0.9 * batch.exp + 0.1 * batch.pan
    terms = losses.TERMS.build(TrainConfig(), weights)

    image = start.clone().requires_grad_()
    values = {name: term.function(image, batch) for name, term in terms.items()}
    sum(weights[name] * value for name, value in values.items()).backward()
    whole = [image.grad, *(p.grad for p in to_pan.parameters())]
    to_pan.zero_grad()

    image = start.clone().requires_grad_()
    row, at_images = losses.backward(terms, weights, {"full": image}, {"full": batch})
    parts = [at_images["full"], *(p.grad for p in to_pan.parameters())]
    for once, one_by_one in zip(whole, parts, strict=True):
        torch.testing.assert_close(one_by_one, once)
    loss = sum(weights[name] * value.item() for name, value in values.items())
    assert row["loss"].item() == pytest.approx(loss, rel=1e-5)
    for name, value in values.items():
        assert row[name] == value.detach() and row[f"grad {name}"] > 0
    assert list(row) == ["loss", *terms, *(f"grad {name}" for name in terms)]
    assert not any(value.requires_grad for value in row.values()), "the row holds no graph"


def test_a_term_with_weight_0_is_measured_and_does_not_pull(small_pair, batch_of):
    batch = batch_of(small_pair)
    image = (batch.exp + 0.1 * batch.pan).requires_grad_()
    terms = losses.TERMS.build(TrainConfig(), ["spec", "rho"])
    found = []
    for names in (["spec", "rho"], ["spec"]):
        chosen = {name: terms[name] for name in names}
        weights = {"spec": 1.0, "rho": 0.0}
        found.append(losses.backward(chosen, weights, {"full": image}, {"full": batch}))
    (both, pull_of_both), (alone, pull_alone) = found
    assert torch.equal(pull_of_both["full"], pull_alone["full"])
    assert both["loss"] == alone["loss"] and both["grad rho"] > 0


@pytest.mark.parametrize("idle", ["pan.mean()", "to_pan.weight.sum()"])
def test_a_term_that_does_not_depend_on_the_image_is_named(
    idle, small_pair, registry, own_settings
):
    of_batch = {
        "pan.mean()": lambda batch: batch.pan.mean(),
        "to_pan.weight.sum()": lambda batch: batch.to_pan.weight.sum(),
    }
    losses.register("idle")(lambda fused, batch: of_batch[idle](batch))
    config = recipe("quick", idle=0.1, **own_settings)
    with pytest.raises(ValueError, match="loss term 'idle' does not depend on the fused image"):
        training.train(small_pair, config, progress=False)


@pytest.fixture
def own_settings():
    return {"steps": 3, "batch": 2, "patch": 64, "direction": 0.0}


def test_a_loss_of_ones_own_trains_as_the_readme_promises(small_pair, registry, own_settings):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    (cell,) = [block for block in blocks if '@losses.register("' in block]
    cell = re.sub(r'register\("\w+"\)', 'register("of_my_own")', cell)
    exec(cell.split("network, history")[0], {"torch": torch})  # as a notebook's cell does
    assert list(registry)[-1] == "of_my_own"
    network, history = training.train(
        small_pair, recipe("quick", of_my_own=0.1, **own_settings), progress=False
    )
    assert len(history) == 3
    assert all(row["of_my_own"] > 0 and row["grad of_my_own"] > 0 for row in history)
    expected = sum(
        TrainConfig().weight(name) * history[0][name] for name in ("spec", "spat", "qnr")
    )
    assert history[0]["loss"] == pytest.approx(expected + 0.1 * history[0]["of_my_own"], rel=1e-5)
    plain, _ = training.train(small_pair, recipe("quick", **own_settings), progress=False)
    assert not torch.equal(network.tail.weight, plain.tail.weight)
    del registry["of_my_own"]
    with pytest.raises(ValueError, match="unknown setting 'of_my_own'"):
        recipe("quick", of_my_own=0.1)


def test_a_loss_of_ones_own_takes_a_setting_by_its_name(small_pair, registry, own_settings):
    seen = []

    @losses.register("of_my_own")
    def of_my_own(fused, batch, *, ds_floor):
        seen.append(ds_floor)
        return (fused.mean(1, keepdim=True) - batch.pan).diff(dim=-1).abs().mean()

    config = recipe("quick", of_my_own=0.1, ds_floor=0.02, **own_settings)
    training.train(small_pair, config, progress=False)
    assert seen == [0.02] * 3


def test_registered_terms_are_gone_after_their_test():
    assert not {"of_my_own", "idle", "mine"} & set(losses.TERMS)


def test_an_unknown_term_is_one_line_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown loss term 'spek': expected one of spec, spat"):
        losses.TERMS.check("spek")


def test_weighted_sum_counts_a_name_without_weight_as_0():
    terms = {"a": torch.tensor(2.0), "b": torch.tensor(3.0), "c": torch.tensor(5.0)}
    assert losses.weighted_sum(terms, {"a": 0.5, "b": 2.0}) == 7
    assert losses.weighted_sum({}, {}) == 0


def test_balanced_weights_push_in_proportion(small_pair):
    history = [{"grad spec": 2.0, "grad spat": 8.0}, {"grad spec": 4.0, "grad spat": 4.0}]
    now = losses.balanced({"spec": 1.0, "spat": 0.5, "qnr": 0.0}, history)
    assert now["spec"] * 6 == pytest.approx(2 * now["spat"] * 12) and now["qnr"] == 0.0
    assert losses.balanced({"spec": 1.0, "spat": 0.5}, []) == {"spec": 1.0, "spat": 0.5}
    quick = TrainConfig(steps=12, batch=2, patch=64).changed(direction=0.0, qnr=0.0)
    _, plain = training.train(small_pair, quick, progress=False)
    _, scaled = training.train(small_pair, quick.changed(balance=True), progress=False)
    assert plain[1]["loss"] != scaled[1]["loss"] and plain[0]["loss"] == scaled[0]["loss"]


def test_balanced_weights_do_not_depend_on_the_order_in_which_they_are_named():
    history = [{"grad spec": 2.0, "grad spat": 8.0}]
    one = losses.balanced({"spec": 1.0, "spat": 0.5}, history)
    assert losses.balanced({"spat": 0.5, "spec": 1.0}, history) == one == {"spec": 1, "spat": 0.125}


def test_the_guide_remembers_only_if_asked(supervisor):
    assert losses.Guide.of(supervisor).remembered is None
    assert losses.Guide.of(supervisor, remember=True).remembered == {}


def test_a_batch_names_the_part_that_is_missing():
    batch = SimpleNamespace(truth=None, ms=1)
    assert losses.Batch.need(batch, "ms") == 1
    with pytest.raises(ValueError, match=r"this loss needs batch\.truth, found none"):
        losses.Batch.need(batch, "truth")


# ---------------------------------------------------------------- registration


def own_loss(fused, batch):
    return (fused - batch.exp).abs().mean()


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("spec", own_loss, "loss 'spec' exists already"),
        ("my loss", own_loss, "loss 'my loss': expected letters, digits and _"),
        ("class", own_loss, "loss 'class': expected letters, digits and _"),
        ("steps", own_loss, "loss 'steps': a setting or a column has this name"),
        ("loss", own_loss, "loss 'loss': a setting or a column has this name"),
        ("gradient", own_loss, "loss 'gradient': a setting or a column has this name"),
        ("adapt_mine", own_loss, "loss 'adapt_mine': a setting or a column has this name"),
        ("of_my_own", 3, "loss 'of_my_own' must be a function, found 3"),
        ("of_my_own", "stage_two:spectral", "loss 'of_my_own' must be a function"),
    ],
)
def test_registration_refuses_what_would_go_wrong_later(registry, name, function, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        losses.register(name)(function)
    assert set(registry) == set(TrainConfig.terms) and "of_my_own" not in registry


def test_registration_without_parentheses_is_refused(registry):
    with pytest.raises(ValueError, match=r'expected @losses\.register\("name"\) with a name'):

        @losses.register
        def of_my_own(fused, batch):
            return fused.mean()


def test_every_name_of_a_setting_is_reserved():
    names = {"loss", "step", "name", "self", "recipe", "weights", "options"}
    for kind in (Experiment, TrainConfig, AdaptConfig):
        names |= set(kind.names()) - set(losses.TERMS) - set(losses.ADAPT_TERMS)
    assert names == losses.RESERVED


def test_a_cell_that_runs_again_replaces_its_term_and_another_one_does_not(registry):
    cell = """
@losses.register("of_my_own")
def mine(fused, batch):
    return fused.mean() * {}
"""
    for factor in (1, 2):
        exec(cell.format(factor), {"losses": losses, "__name__": "__main__"})
    assert registry["of_my_own"].function(torch.ones(2), None) == 2
    with pytest.raises(ValueError, match="loss 'of_my_own' exists already"):
        losses.register("of_my_own")(own_loss)


@pytest.mark.parametrize(
    "declared", [{"needs": "magic"}, {"scale": "half"}, {"scale": "reduced", "needs": "supervisor"}]
)
def test_a_need_or_a_scale_that_is_unknown_is_refused(declared, registry):
    with pytest.raises(ValueError, match="expected a scale of"):
        losses.register("of_my_own", **declared)(own_loss)
    with pytest.raises(ValueError, match="leave needs out, one scale down the truth is always"):
        losses.register("of_my_own", scale="reduced", needs="truth")(own_loss)


@pytest.mark.parametrize("need", ["truth", "teacher", "supervisor"])
def test_a_loss_of_ones_own_gets_what_it_needs(
    need, small_pair, adapted, registry, own_settings, capsys
):
    part = {"supervisor": "guide"}.get(need, need)

    def asking(fused, batch):
        given = batch.need(part)
        if need == "supervisor":
            return given.supervisor.tiles(fused).mean()
        return (fused - given).abs().mean()

    losses.register("of_my_own")(asking)
    config = recipe("quick", of_my_own=0.1, **own_settings)
    message = f"loss term 'of_my_own': this loss needs batch.{part}, found none: declare the term"
    with pytest.raises(ValueError, match=f'{message} with needs="{need}"'):
        training.train(small_pair, config, adapted, progress=False)
    losses.register("of_my_own", needs=need)(asking)
    _, history = training.train(small_pair, config, adapted, progress=False)
    assert history[-1]["grad of_my_own"] > 0
    assert ("teacher for L_ship" in capsys.readouterr().out) is (need == "teacher")
    without = dataclasses.replace(small_pair, truth=None)
    if need != "teacher":
        with pytest.raises(ValueError, match=f"the term of_my_own needs a .*{need}"):
            training.train(without, config, progress=False)


def test_a_loss_of_ones_own_looks_one_scale_down(small_pair, registry, own_settings):
    shapes = set()

    @losses.register("of_my_own", scale="reduced")
    def of_my_own(fused, batch):
        shapes.add(tuple(fused.shape))
        return (fused - batch.truth).abs().mean()

    without = dataclasses.replace(small_pair, truth=None)
    training.train(without, recipe("quick", of_my_own=1.0, **own_settings), progress=False)
    assert shapes == {(2, 8, 32, 32)}


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda fused, batch: (fused - batch.exp).abs(), r"found shape \(2, 8, 64, 64\)"),
        (lambda fused, batch: 0.5, r"found 0\.5"),
        (lambda fused, batch: None, "found None"),
        (lambda fused, batch: (fused > 0).sum(), "found shape"),
    ],
)
def test_a_loss_that_returns_no_scalar_is_named(
    function, found, small_pair, registry, own_settings
):
    losses.register("of_my_own")(function)
    config = recipe("quick", of_my_own=1.0, **own_settings)
    message = f"the loss term 'of_my_own' must return a scalar, such as a mean; {found}"
    with pytest.raises(ValueError, match=message):
        training.train(small_pair, config, progress=False)
