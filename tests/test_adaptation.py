"""Stage I: what it shows, what it learns, and what it refuses."""

import dataclasses

import pytest
import torch

from clippan_lite import adaptation, adapter, data
from clippan_lite.classical import examples
from clippan_lite.config import AdaptConfig, TrainConfig
from clippan_lite.data.synthetic import make_scene
from clippan_lite.experiments import probes


def test_mixed_examples_show_three_methods_and_reduced_ones_true_ms(small_pair):
    mixed = examples.hrms_examples(small_pair)
    assert [name.split(" ", 1)[1] for name in mixed] == ["BDSD", "GSA", "MTF-GLP-HPM"]
    patches = data.Patches(small_pair, 64, extra=mixed)
    generator = torch.Generator().manual_seed(0)
    batch = patches.sample(24, generator)
    views = adaptation.stage_one_views(batch, generator)
    shown = set()
    for i in range(24):
        shown |= {name for name in mixed if torch.equal(views["hrms"][i], batch[name][i])}
    assert shown == set(mixed)
    reduced = data.reduced(dataclasses.replace(small_pair, truth=None))
    assert torch.equal(examples.hrms_examples(reduced, "reduced")["hrms"], small_pair.ms)


def test_examples_that_cannot_be_are_refused(small_pair, random_clip):
    with pytest.raises(ValueError, match="needs a pair with truth"):
        examples.hrms_examples(dataclasses.replace(small_pair, truth=None), "reduced")
    message = "unknown HRMS examples 'EXP': expected one of mixed, reduced, Brovey"
    with pytest.raises(ValueError, match=message):
        examples.hrms_examples(small_pair, "EXP")
    with pytest.raises(ValueError, match=message):
        adaptation.adapt(small_pair, random_clip, None, AdaptConfig(examples="EXP"))


def test_stage_one_runs_one_scale_down_on_true_ms(random_clip):
    config = AdaptConfig(steps=2, batch=2, examples="reduced")
    pair = make_scene(seed=4, size=512, sensor="WV2")
    supervisor, history = adaptation.adapt(pair, random_clip, None, config, progress=False)
    assert len(history) == 2 and not supervisor.training


@pytest.mark.slow
def test_adapt_lowers_its_losses_and_survives_saving(random_clip, small_pair, tmp_path):
    config = AdaptConfig(steps=15, batch=4)
    supervisor, history = adaptation.adapt(small_pair, random_clip, None, config, progress=False)
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert set(history[0]) == {"step", "loss", "inter", "intra", "fusion", "direction", "drift"}
    assert [row["step"] for row in history] == list(range(15))
    path = tmp_path / "s.safetensors"
    adapter.save_supervisor(path, supervisor, config, "WV2")
    again = adapter.load_supervisor(path, random_clip)
    view = torch.rand(2, 8, 64, 64)
    assert torch.equal(supervisor.encode("hrms", view), again.encode("hrms", view))
    assert again.prompts == supervisor.prompts


def test_a_term_of_stage_one_that_is_not_a_number_is_named(random_clip, small_pair):
    config = AdaptConfig(steps=5, batch=2, lr=1e30)
    with pytest.raises(FloatingPointError, match=r"loss term '\w+' became .* at step"):
        adaptation.adapt(small_pair, random_clip, None, config, progress=False)


def test_crops_are_never_smaller_than_what_clip_looks_at(random_clip):
    small = make_scene(0, 128)
    cut = {"ms": small.ms[:, :, :14], "pan": small.pan[:, :, :56], "truth": None}
    message = r"gives crops of 56 here, but .* looks at 64 native pixels"
    with pytest.raises(ValueError, match=message):
        adaptation.adapt(
            dataclasses.replace(small, **cut),
            random_clip,
            config=AdaptConfig(steps=1),
            progress=False,
            split="all",
        )
    message = "gives held-out crops of 32, expected 224: use a scene at least 480 wide"
    with pytest.raises(ValueError, match=message):
        probes.held_out_views(make_scene(0, 256), 224)


@pytest.mark.parametrize("stem", ["rgb", "pca"])
def test_fixed_stems_stay_as_they_are_made(stem, random_clip, small_pair):
    config = AdaptConfig(steps=2, batch=4, stem=stem)
    guide, _ = adaptation.adapt(small_pair, random_clip, None, config, progress=False)
    shown = guide.stems["ms"](small_pair.ms[None] / small_pair.scale * guide.band_gain)[0]
    if stem == "rgb":
        stretched = small_pair.ms / small_pair.scale * guide.band_gain[0]
        assert torch.allclose(shown, stretched[list(small_pair.sensor.rgb)], atol=1e-6)
    else:
        channels = shown.flatten(1).double()
        middle = torch.full((3,), 0.5, dtype=torch.float64)
        uncorrelated = 0.04 * torch.eye(3, dtype=torch.float64)
        assert torch.allclose(channels.mean(1), middle, atol=1e-3)
        assert torch.allclose(torch.cov(channels), uncorrelated, atol=1e-3)
    assert torch.equal(guide.stems["hrms"].choice.weight, guide.stems["ms"].choice.weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pair": "pan.tif"}, r"expected the scene of type Pair, found 'pan\.tif'"),
        ({"config": TrainConfig()}, "expected config of type AdaptConfig, found TrainConfig"),
        ({"clip": "bundled"}, "expected clip of type Clip, found 'bundled'"),
        ({"prompts": "wald"}, "expected prompts of type PromptSet, found 'wald'"),
        ({"config": AdaptConfig({})}, "all weights are 0: nothing to train on; set one of inter"),
        ({"split": "half"}, "unknown split 'half': expected one of all, train, held-out"),
        ({"device": "gpu"}, "device 'gpu' is unknown"),
    ],
)
def test_arguments_that_cannot_be_are_one_line(arguments, message, random_clip, small_pair):
    with pytest.raises(ValueError, match=message):
        given = {"pair": small_pair, "clip": random_clip, "progress": False, **arguments}
        adaptation.adapt(**given)
