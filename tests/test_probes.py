"""Probes: figures written out again, controls that differ, a sentence that reaches the result."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clippan_lite import adaptation, classical, prompts, training
from clippan_lite.clip import load_clip
from clippan_lite.config import AdaptConfig, recipe
from clippan_lite.experiments import probes


@pytest.fixture(scope="module")
def bundled():
    return load_clip()


@pytest.fixture(scope="module")
def adapted(bundled, small_pair):
    return adaptation.adapt(
        small_pair, bundled, prompts.get("wald"), AdaptConfig(steps=8, batch=4), progress=False
    )[0]


@pytest.fixture(scope="module")
def views(small_pair):
    return probes.held_out_views(small_pair, 64, count=8)


def test_held_out_views_show_the_truth_unseen_by_stage_one(small_pair, views):
    assert {k: tuple(v.shape) for k, v in views.items()} == {
        "ms": (8, 8, 64, 64), "pan": (8, 1, 64, 64), "hrms": (8, 8, 64, 64)
    }  # fmt: skip
    truth = small_pair.truth / small_pair.scale
    right = truth[
        :, :, -64:
    ]  # the held-out part begins behind three quarters and a gap, or is one crop wide
    found = [
        any(torch.equal(crop, right[:, r : r + 64, :64]) for r in range(0, truth.shape[1] - 63, 4))
        for crop in views["hrms"]
    ]
    assert all(found)


def test_figures_are_what_they_say(adapted, views):
    row = probes.figures(adapted, views)
    with torch.no_grad():
        f = {k: adapted.encode(k, v).numpy() for k, v in views.items()}
        t = {k: v.numpy()[0] for k, v in adapted.encode_texts().items()}
        joined = adapted.image_fusion(*(torch.from_numpy(f[k]) for k in ("ms", "pan"))).numpy()
    right = [
        np.argmax([f[kind][i] @ t[other] for other in ("ms", "pan", "hrms")]) == j
        for j, kind in enumerate(("ms", "pan", "hrms")) for i in range(8)
    ]  # fmt: skip
    assert row["type accuracy"] == pytest.approx(np.mean(right))
    nearest = [
        int(np.argmax([f["hrms"][i] @ f["pan"][j] for j in range(8)])) == i for i in range(8)
    ]
    assert row["same place"] == pytest.approx(np.mean(nearest))
    assert row["cos(IFA, HRMS)"] == pytest.approx(np.mean((joined * f["hrms"]).sum(1)), abs=1e-5)

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    wanted = [
        cosine(f["hrms"][i] - f[k][i], t["hrms"] - t[k]) for i in range(8) for k in ("ms", "pan")
    ]
    assert row["direction cosine"] == pytest.approx(np.mean(wanted), abs=1e-5)


@pytest.mark.slow
def test_controls_tell_an_unadapted_random_clip_from_a_trained_one(small_pair, bundled, views):
    rows = probes.controls(
        small_pair,
        bundled,
        prompts.get("wald"),
        AdaptConfig(steps=2, batch=2),
        seeds=(0, 1),
        views=views,
    )
    assert list(rows) == ["adapted", "un-adapted", "random weights, adapted"]
    assert all(len(tables) == 2 for tables in rows.values())
    assert rows["un-adapted"][0] != rows["random weights, adapted"][0]
    assert rows["un-adapted"][0]["type accuracy"] == rows["un-adapted"][1]["type accuracy"], (
        "no seed in it"
    )
    plain = probes.unadapted(small_pair, bundled, prompts.get("wald"))
    torch.testing.assert_close(
        plain.encode_texts()["pan"], bundled.encode_text(["a panchromatic image"])
    )
    grey = views["pan"] * plain.pan_gain
    torch.testing.assert_close(
        plain.encode("pan", views["pan"]), bundled.encode_image(grey.expand(-1, 3, -1, -1))
    )
    torch.manual_seed(0)
    nothing = load_clip(random_weights=True)
    blind = adaptation.adapt(
        small_pair, nothing, prompts.get("wald"), AdaptConfig(steps=0), progress=False
    )[0]
    assert (
        rows["un-adapted"][0]["direction cosine"]
        > probes.figures(blind, views)["direction cosine"] + 0.2
    )


def test_the_gradient_of_l_d_changes_with_the_sentence_and_not_without(adapted, views):
    same = probes.gradient_change(adapted, adapted.with_prompts(prompts.get("wald")), views)
    assert same["cosine"] == pytest.approx(1, abs=1e-4) and same["norm ratio"] == pytest.approx(
        1, abs=1e-4
    )
    other = probes.gradient_change(adapted, adapted.with_prompts(prompts.get("wrong")), views)
    assert other["cosine"] < 0.95
    whole, tokens = (probes.direction_gradient(adapted, views, tokens=t) for t in (False, True))
    assert tokens.shape == views["hrms"].shape and tokens.abs().amax(dim=(2, 3)).min() > 0
    assert not torch.allclose(whole, tokens, rtol=0.1)


def test_worded_shares_the_weights_and_leaves_the_original_alone(adapted):
    other = adapted.with_prompts(prompts.get("nonsense"))
    assert other.stems["ms"] is adapted.stems["ms"] and adapted.prompts == prompts.get("wald")
    assert not torch.allclose(other.encode_texts()["hrms"], adapted.encode_texts()["hrms"])


@pytest.mark.slow
def test_sentences_compared_pairs_by_seed(small_pair, adapted):
    config = recipe("quick", steps=3, batch=1, patch=64, direction=0.3, qnr=0.0)
    supervisors = {
        "wald": adapted,
        "again": adapted,
        "wrong": adapted.with_prompts(prompts.get("wrong")),
        "none": None,
    }
    result = probes.sentences_compared(small_pair, supervisors, config, seeds=(0, 1))
    assert list(result) == list(supervisors) and result["wald"]["effect"] is None
    assert result["again"]["change"] == 0 and result["again"]["tables"] == result["wald"]["tables"]
    assert result["wrong"]["change"] > 0 and result["none"]["change"] > 0
    pairs = zip(result["wald"]["tables"], result["wrong"]["tables"], strict=True)
    by_hand = np.mean([a["PSNR"] - b["PSNR"] for a, b in pairs])
    assert result["wrong"]["effect"]["PSNR"]["difference"] == pytest.approx(by_hand)


def test_a_pair_without_truth_is_refused_with_the_mend(small_pair, adapted):
    blind = replace(small_pair, truth=None)
    with pytest.raises(ValueError, match="has no truth"):
        probes.held_out_views(blind, 64)
    with pytest.raises(ValueError, match="judged"):
        probes.sentences_compared(blind, {"a": adapted}, recipe("quick"))
    with pytest.raises(ValueError, match="direction above 0, found 0"):
        probes.sentences_compared(small_pair, {"a": adapted}, recipe("quick", direction=0.0))
    assert probes.judged(small_pair) is small_pair
    assert probes.judged(blind).truth.shape == small_pair.ms.shape


def test_feature_map_keeps_distances_of_a_plane(adapted, views):
    crops, texts = probes.feature_map(adapted, views)
    assert crops.shape == (24, 2) and texts.shape == (3, 2)
    assert crops.mean(0).abs().max() < 1e-4
    assert crops[:, 0].var() >= crops[:, 1].var()


def test_frozen_text_adapters_leave_the_sentences_as_clip_has_them(small_pair, bundled):
    config = AdaptConfig(steps=2, batch=2, text_share=0.0)
    supervisor, history = adaptation.adapt(
        small_pair, bundled, prompts.get("wald"), config, progress=False
    )
    raw = bundled.encode_text([supervisor.prompts.ms])
    torch.testing.assert_close(supervisor.encode_texts()["ms"], raw)
    assert history[-1]["drift"] == pytest.approx(0, abs=1e-5)


def test_l_d_on_tokens_is_the_mean_over_patches_of_their_own_directions(small_pair, adapted, views):
    config = recipe("quick", steps=1, batch=1, patch=64, direction=0.1, qnr=0.0, tokens=True)
    _, local = training.train(small_pair, config, adapted, progress=False)
    _, whole = training.train(small_pair, config.changed(tokens=False), adapted, progress=False)
    assert local[0]["direction"] != whole[0]["direction"]
    with torch.no_grad():
        f = {k: adapted.encode(k, v, tokens=True) for k, v in views.items()}
        raw = adapted.clip.encode_tokens(adapted.stems["hrms"](views["hrms"] * adapted.band_gain))
    assert f["hrms"].shape == (8 * 64, 128)
    torch.testing.assert_close(f["hrms"].view(8, 64, 128), raw)


@pytest.mark.slow
def test_displacements_end_where_the_images_lie(small_pair, random_clip):
    supervisor = probes.unadapted(small_pair, random_clip, prompts.get("wald"))
    images = {"EXP": classical.fuse("EXP", small_pair), "truth": small_pair.truth}
    found = probes.displacements(supervisor, small_pair, images)
    assert list(found) == ["EXP", "truth"]
    for title, image in images.items():
        views = probes.held_out_views(small_pair, random_clip.input_size, image)
        assert found[title]["cosine"] == pytest.approx(
            probes.figures(supervisor, views)["direction cosine"]
        )
        count = len(views["ms"])
        assert {k: tuple(v.shape) for k, v in found[title]["crops"].items()} == dict.fromkeys(
            views, (count, 2)
        )
    assert torch.equal(found["EXP"]["crops"]["pan"], found["truth"]["crops"]["pan"])
    assert not torch.allclose(found["EXP"]["crops"]["hrms"], found["truth"]["crops"]["hrms"])
