"""The language loss reaches the network, and Stage I's losses contrast what they should."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clippan_lite import adaptation, backbones, losses, metrics, prompts, training
from clippan_lite.adapter import Supervisor
from clippan_lite.config import AdaptConfig, TrainConfig
from clippan_lite.data import Patches
from clippan_lite.physics import degrade
from clippan_lite.physics.sensors import get


@pytest.fixture
def supervisor(random_clip, small_pair):
    torch.manual_seed(1)
    supervisor = Supervisor(
        random_clip, prompts.get("wald"), small_pair.bands, small_pair.sensor.rgb
    )
    supervisor.calibrate(small_pair)
    return supervisor


def batch_of(pair, size=64, count=2, seed=0):
    return Patches(pair, size).sample(count, torch.Generator().manual_seed(seed))


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def language_loss(supervisor, fused, batch):
    fixed = {
        "ms": supervisor.encode("ms", batch["exp"]),
        "pan": supervisor.encode("pan", batch["pan"]),
    }
    return losses.direction(
        {"hrms": supervisor.encode("hrms", fused), **fixed}, supervisor.encode_texts()
    )


def test_l_d_has_a_gradient_at_the_fused_image(supervisor, small_pair):
    batch = batch_of(small_pair)
    fused = (batch["exp"] + 0.02 * torch.randn_like(batch["exp"])).requires_grad_()
    language_loss(supervisor, fused, batch).backward()
    assert fused.grad.abs().amax(dim=(2, 3)).min() > 0, "a band without gradient"
    assert torch.isfinite(fused.grad).all()


@pytest.mark.parametrize("name", backbones.REGISTRY)
def test_l_d_reaches_every_fusion_parameter(name, supervisor, small_pair):
    torch.manual_seed(0)
    network = backbones.create(name, small_pair.bands)
    for (
        parameter
    ) in network.parameters():  # away from the zero start, which blocks the layers before the last
        torch.nn.init.normal_(parameter, std=0.05)
    batch = batch_of(small_pair)
    language_loss(supervisor, network(batch["ms"], batch["pan"]), batch).backward()
    without = [
        n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0
    ]
    assert without == []


def test_stage_two_direction_term_is_the_language_loss(supervisor, small_pair):
    batch = batch_of(small_pair)
    fused = batch["exp"].clone().requires_grad_()
    weights = {"spec": 0, "spat": 0, "qnr": 0, "ship": 0, "direction": 1}
    texts = supervisor.encode_texts()
    terms = losses.stage_two(fused, batch, small_pair.sensor, None, weights, supervisor, texts)
    assert list(terms) == ["direction"]
    terms["direction"].backward()
    assert fused.grad.abs().max() > 0
    # Written out again from the equation, in NumPy.
    f = {k: supervisor.encode(k, supervisor.tiles(v)).detach().numpy() for k, v in
         (("ms", batch["exp"]), ("pan", batch["pan"]), ("hrms", fused.detach()))}  # fmt: skip
    t = {k: v.detach().numpy() for k, v in texts.items()}
    cosines = []
    for kind in ("ms", "pan"):
        for row in range(len(f["hrms"])):
            a, b = f["hrms"][row] - f[kind][row], t["hrms"][0] - t[kind][0]
            cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert terms["direction"].item() == pytest.approx(1 - np.mean(cosines), abs=1e-5)


def test_direction_is_0_along_the_text_and_2_against_it():
    texts = {k: unit(1, 16, seed=i) for i, k in enumerate(losses.KINDS)}
    toward = {"ms": texts["ms"], "pan": texts["pan"], "hrms": texts["hrms"]}
    assert losses.direction(toward, texts).item() == pytest.approx(0, abs=1e-6)
    away = {k: -v for k, v in toward.items()}
    assert losses.direction(away, texts).item() == pytest.approx(2, abs=1e-6)


def test_frozen_clip_is_bitwise_unchanged_after_both_stages(random_clip, small_pair):
    before = {name: value.clone() for name, value in random_clip.model.state_dict().items()}
    supervisor, _ = adaptation.adapt(
        small_pair, random_clip, prompts.get("wald"), AdaptConfig(steps=2, batch=2), progress=False
    )
    training.train(small_pair, TrainConfig(steps=2, batch=1, patch=64), supervisor, progress=False)
    after = random_clip.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in random_clip.model.parameters())


def test_stage_one_trains_stems_and_adapters_only(supervisor, small_pair):
    batch = Patches(small_pair, 64, extra={"hrms": small_pair.truth}).sample(
        3, torch.Generator().manual_seed(0)
    )
    views = {"ms": batch["exp"], "pan": batch["pan"], "hrms": batch["hrms"]}
    images = {kind: supervisor.encode(kind, view) for kind, view in views.items()}
    terms = losses.stage_one(supervisor, images, supervisor.encode_texts(), 0.07)
    sum(terms.values()).backward()
    assert [
        n for n, p in supervisor.named_parameters() if p.grad is None or not p.grad.abs().max() > 0
    ] == []
    names = {n.split(".")[0] for n, _ in supervisor.named_parameters()}
    assert names == {"stems", "image_adapters", "text_adapters", "image_fusion", "text_fusion"}


def test_drift_is_measured_from_clips_own_sentences_and_reaches_the_text_adapters(supervisor):
    texts = supervisor.encode_texts()
    loss = losses.drift(supervisor, texts)
    raw = supervisor.clip.encode_text([supervisor.prompts.ms, supervisor.prompts.pan]).numpy()
    adapted = torch.cat([texts["ms"], texts["pan"]]).detach().numpy()
    assert loss.item() == pytest.approx(1 - (raw * adapted).sum(1).mean(), abs=1e-6) and loss > 0.01
    loss.backward()
    assert all(p.grad.abs().max() > 0 for p in supervisor.text_adapters.parameters())
    assert losses.drift(supervisor, {k: supervisor.clip.encode_text([getattr(supervisor.prompts, k)]) for k in
                                     ("ms", "pan")}).item() == pytest.approx(0, abs=1e-6)  # fmt: skip


def test_stage_one_direction_term_reaches_stems_and_adapters(supervisor, small_pair):
    batch = batch_of(small_pair, count=3)
    views = {
        "ms": batch["exp"],
        "pan": batch["pan"],
        "hrms": batch["exp"] + 0.05 * torch.rand_like(batch["exp"]),
    }
    images = {kind: supervisor.encode(kind, view) for kind, view in views.items()}
    losses.stage_one(supervisor, images, supervisor.encode_texts(), 0.07)["direction"].backward()
    for part in ("stems", "image_adapters", "text_adapters"):
        assert (
            max(
                p.grad.abs().max()
                for p in getattr(supervisor, part).parameters()
                if p.grad is not None
            )
            > 0
        ), part


def test_token_directions_reach_the_fused_image_everywhere(supervisor, small_pair):
    batch = batch_of(small_pair, count=1)
    fused = (batch["exp"] + 0.02 * torch.rand_like(batch["exp"])).requires_grad_()
    weights = {"spec": 0, "spat": 0, "qnr": 0, "ship": 0, "direction": 1}
    texts = supervisor.encode_texts()
    losses.stage_two(
        fused, batch, small_pair.sensor, None, weights, supervisor, texts, tokens=True
    )["direction"].backward()
    per_patch = F.max_pool2d(fused.grad.abs().amax(1, keepdim=True), 8)
    assert per_patch.min() > 0


def test_inter_mcl_depends_on_the_image_and_is_not_ln_batch():
    texts = {k: unit(1, 32, seed=i) for i, k in enumerate(losses.KINDS)}
    count = 4
    right = {k: texts[k].expand(count, -1) for k in losses.KINDS}
    swapped = {"ms": right["pan"], "pan": right["hrms"], "hrms": right["ms"]}
    random = {k: unit(count, 32, seed=10 + i) for i, k in enumerate(losses.KINDS)}
    values = [losses.inter_mcl(images, texts).item() for images in (right, random, swapped)]
    assert values[0] < values[1] < values[2]
    assert values[0] == pytest.approx(0, abs=0.01), "floor subtracted"
    assert all(abs(value - math.log(count)) > 0.05 for value in values[:1] + values[2:])


def test_inter_mcl_equals_a_loop():
    images = {k: unit(3, 8, seed=i) for i, k in enumerate(losses.KINDS)}
    texts = {k: unit(1, 8, seed=9 + i) for i, k in enumerate(losses.KINDS)}
    f, t = (
        np.concatenate([images[k].numpy() for k in losses.KINDS]),
        np.concatenate([texts[k].numpy() for k in losses.KINDS]),
    )
    logits = f @ t.T / 0.07
    to_text = np.mean([-logits[i, i // 3] + np.log(np.exp(logits[i]).sum()) for i in range(9)])
    to_image = np.mean(
        [-logits[i, i // 3] + np.log(np.exp(logits[:, i // 3]).sum()) for i in range(9)]
    ) - np.log(3)
    assert losses.inter_mcl(images, texts).item() == pytest.approx(
        (to_text + to_image) / 2, rel=1e-5
    )


def test_intra_mcl_is_lower_for_matched_triplets_and_has_floor_zero():
    place = unit(5, 32, seed=0)
    matched = {
        k: F.normalize(place + 0.1 * unit(5, 32, seed=i + 1), dim=-1)
        for i, k in enumerate(losses.KINDS)
    }
    shuffled = {**matched, "pan": matched["pan"].roll(1, 0), "hrms": matched["hrms"].roll(2, 0)}
    assert losses.intra_mcl(matched) < losses.intra_mcl(shuffled) - 1
    same = dict.fromkeys(losses.KINDS, torch.eye(32)[:5])
    assert losses.intra_mcl(same).item() == pytest.approx(0, abs=1e-4)


def test_intra_mcl_equals_a_loop():
    images = {k: unit(3, 8, seed=i) for i, k in enumerate(losses.KINDS)}
    f = np.concatenate([images[k].numpy() for k in losses.KINDS])
    s = np.exp(f @ f.T / 0.07)
    total = []
    for i in range(9):
        others = sum(s[i, j] for j in range(9) if j != i)
        total += [-np.log(s[i, j] / others) for j in range(9) if j != i and j % 3 == i % 3]
    assert losses.intra_mcl(images).item() == pytest.approx(np.mean(total) - np.log(2), rel=1e-5)


def test_fusion_adapters_reach_signed_features(random_clip, supervisor):
    target = random_clip.encode_text(["an image"])
    assert (target < 0).any()
    out = supervisor.text_fusion(target, target)
    assert (out < 0).any()


def test_every_stage_two_term_reaches_the_image(small_pair):
    batch = batch_of(small_pair, 128)
    batch["teacher"] = batch["exp"] + 0.01
    to_pan = training.fit_to_pan(small_pair)
    for name in ("spec", "spat", "rho", "ds", "qnr", "ship"):
        fused = (batch["exp"] + 0.01 * torch.randn_like(batch["exp"])).requires_grad_()
        weights = dict.fromkeys(("spec", "spat", "qnr", "ship", "direction"), 0.0) | {name: 1.0}
        terms = losses.stage_two(fused, batch, small_pair.sensor, to_pan, weights)
        assert list(terms) == [name]
        terms[name].backward()
        assert torch.isfinite(fused.grad).all()
        assert fused.grad.abs().max() > 0


def test_spectral_loss_is_small_for_truth_and_larger_for_wrong_colours(small_pair):
    scale = small_pair.scale
    truth, ms = small_pair.truth[None] / scale, small_pair.ms[None] / scale
    right = losses.spectral(truth, ms, small_pair.sensor)
    assert right < 0.02
    assert losses.spectral(truth.roll(1, 1), ms, small_pair.sensor) > 5 * right


def test_band_to_pan_recovers_known_weights():
    ms = torch.rand(4, 20, 20, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([0.1, 0.4, 0.3, 0.2])
    pan = (weights[:, None, None] * ms).sum(0, keepdim=True) + 0.05
    layer = losses.band_to_pan(ms, pan)
    torch.testing.assert_close(layer.weight.flatten(), weights, atol=1e-5, rtol=0)
    assert layer.bias.item() == pytest.approx(0.05, abs=1e-5)


@pytest.mark.parametrize("scale", [1.0, 255.0, 2047.0])
def test_ssim_in_the_losses_tells_noise_at_any_scale(scale):
    g = torch.Generator().manual_seed(0)
    a, b = (torch.rand(1, 2, 48, 48, generator=g) * scale for _ in range(2))
    one_minus_ssim = losses.mse_ssim(a, b) - F.mse_loss(a, b)
    assert one_minus_ssim > 0.9, "unrelated noise must not look alike"


def test_sensor_of_other_band_count_is_refused(supervisor):
    with pytest.raises(ValueError, match="stem takes 8 bands, found 4"):
        supervisor.encode("ms", torch.rand(1, len(get("IKONOS").bands), 64, 64))


def test_remembered_features_change_nothing_but_are_encoded_once(
    supervisor, small_pair, monkeypatch
):
    patches, generator = Patches(small_pair, 128, stride=64), torch.Generator().manual_seed(0)
    texts, seen = supervisor.encode_texts(), []
    encode = type(supervisor).encode

    def watched(self, kind, images, tokens=False):
        seen.append((kind, len(images)))
        return encode(self, kind, images, tokens)

    monkeypatch.setattr(type(supervisor), "encode", watched)
    for tokens in (False, True):
        known = {}
        for step in range(4):
            batch = patches.sample(3, generator)
            images = (batch["exp"] + 0.01, batch["exp"], batch["pan"])
            look = {"tokens": tokens, "crops": slice(step % 2, None, 2)}
            torch.testing.assert_close(
                losses.language(
                    supervisor, *images, texts, **look, places=batch["place"], known=known
                ),
                losses.language(supervisor, *images, texts, **look),
                atol=1e-5,
                rtol=0,
            )
        assert all(r % 64 == c % 64 == 0 for r, c in known)
    seen.clear()
    losses.language(supervisor, *images, texts, **look, places=batch["place"], known=known)
    assert seen == [("hrms", 6)]


def test_crops_lie_where_their_corners_say(supervisor, small_pair):
    batch = Patches(small_pair, 128).sample(2, torch.Generator().manual_seed(0))
    corners = supervisor.tile_corners(batch["place"], (128, 128))
    pan = small_pair.pan / small_pair.scale
    for (r, c), tile in zip(corners.tolist(), supervisor.tiles(batch["pan"]), strict=True):
        assert torch.equal(tile, pan[:, r : r + 64, c : c + 64])


@pytest.mark.parametrize("convention", ["benchmark", "geo"])
def test_l_qnr_is_one_minus_the_metric_of_each_image(convention):
    g = torch.Generator().manual_seed(0)
    ms, pan = torch.rand(3, 4, 24, 24, generator=g), torch.rand(3, 1, 96, 96, generator=g)
    exp = degrade.upsample(ms, 4, convention)
    fused = exp + 0.3 * pan * torch.rand(3, 4, 1, 1, generator=g)
    each = [
        metrics.qnr(f, m, p, 4, convention=convention)
        for f, m, p in zip(fused, ms, pan, strict=True)
    ]
    assert max(each) - min(each) > 0.01
    found = losses.quality(fused, exp, pan, 4, convention)
    assert found.item() == pytest.approx(1 - float(torch.stack(each).mean()), abs=1e-5)
    d_s = [metrics.d_s(f, m, p, 4, convention) for f, m, p in zip(fused, ms, pan, strict=True)]
    found = losses.relation_to_pan(fused, exp, pan, 4, convention)
    assert found.item() == pytest.approx(float(torch.stack(d_s).mean()), abs=1e-5)
    # Below the floor nothing is asked of the image, above it as much as before.
    fused, middle = fused.requires_grad_(), float(torch.stack(d_s).median())
    floored = losses.relation_to_pan(fused, exp, pan, 4, convention, middle)
    assert floored.item() == pytest.approx(
        float((torch.stack(d_s) - middle).clamp_min(0).mean()), abs=1e-5
    )
    losses.relation_to_pan(fused, exp, pan, 4, convention, float(max(d_s)) + 0.01).backward()
    assert fused.grad.abs().max() == 0


def test_l_rho_is_d_rho_inside(small_pair):
    pan = small_pair.pan[None] / small_pair.scale
    for fused in (
        small_pair.truth[None] / small_pair.scale,
        degrade.upsample(small_pair.ms, 4)[None] / small_pair.scale,
    ):
        metric = float(metrics.d_rho(fused, pan, 4))
        assert losses.correlation(fused, pan, 4).item() == pytest.approx(
            metric, abs=0.05
        )  # it has borders, and no floor


def test_l_rho_asks_for_the_shape_of_details_and_not_for_their_size():
    g = torch.Generator().manual_seed(0)
    pan = torch.rand(1, 1, 64, 64, generator=g)
    assert losses.correlation(0.3 * pan + 5, pan, 4).item() == pytest.approx(0, abs=1e-3)
    assert losses.correlation(-pan, pan, 4).item() == pytest.approx(2, abs=1e-3)
    flat = torch.ones(1, 2, 64, 64, requires_grad=True)
    loss = losses.correlation(flat, pan, 4)
    loss.backward()
    assert (
        loss.item() == pytest.approx(1)
        and torch.isfinite(flat.grad).all()
        and flat.grad.abs().max() > 0
    )


def test_l_rho_reaches_every_band_and_parameter(small_pair):
    torch.manual_seed(0)
    network, batch = backbones.create("fusionnet", small_pair.bands), batch_of(small_pair)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    fused = network(batch["ms"], batch["pan"])
    fused.retain_grad()
    losses.correlation(fused, batch["pan"], 4).backward()
    assert fused.grad.abs().amax(dim=(2, 3)).min() > 0
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_l_words_equals_a_loop_over_crops_and_pairs(supervisor, small_pair):
    batch = batch_of(small_pair, 64, 2)
    clip, total = supervisor.clip, []
    for image in batch["exp"]:
        view = image * supervisor.band_gain[0]
        for shown, pairs in ((view[list(supervisor.rgb)], 4), (view[[5]].repeat(3, 1, 1), 3)):
            feature = clip.encode_image(shown[None])[0]
            for wanted, unwanted in prompts.ANTONYMS[:pairs]:
                good, bad = (
                    float(feature @ clip.encode_text([text])[0]) for text in (wanted, unwanted)
                )
                total.append(math.log1p(math.exp((bad - good) / 0.1)))
    assert float(losses.words(supervisor, batch["exp"], band=5)) == pytest.approx(
        np.mean(total), rel=1e-4
    )


def test_l_words_reaches_the_network_and_neither_stems_nor_adapters(supervisor, small_pair):
    batch = batch_of(small_pair)
    network = backbones.create("fusionnet", small_pair.bands)
    fused = network(batch["ms"], batch["pan"])
    losses.words(supervisor, fused, band=7).backward()
    reached = (
        network.tail.weight.grad.flatten(1).abs().amax(1) > 0
    )  # the first layer that a zero start lets learn
    assert set(reached.nonzero().flatten().tolist()) == {
        *small_pair.sensor.rgb,
        7,
    }  # what was shown
    assert all(parameter.grad is None for parameter in supervisor.parameters())
    assert all(parameter.grad is None for parameter in supervisor.clip.model.parameters())


def test_l_words_with_the_pairs_turned_over_asks_for_the_opposite(supervisor, small_pair):
    fused = batch_of(small_pair)["exp"].requires_grad_()
    right, wrong = (
        torch.autograd.grad(
            losses.words(supervisor.worded(prompts.get(name)), fused, temperature=10.0), fused
        )[0]
        for name in ("wald", "wrong")
    )
    assert float(F.cosine_similarity(right.flatten(), wrong.flatten(), 0)) < -0.99


def test_the_guard_leaves_what_the_mtf_lets_through_without_gradient(small_pair):
    fused = torch.rand(
        1, small_pair.bands, 96, 96, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    guarded = losses.details_only(fused, small_pair.sensor)
    assert torch.allclose(guarded, fused, atol=1e-6)
    rows = torch.arange(96.0)[:, None]
    moved = {}
    for name, cycles in (("coarse", 1 / 48), ("fine", 1 / 4)):
        wave = torch.cos(2 * math.pi * cycles * rows).expand(fused.shape)
        (gradient,) = torch.autograd.grad((guarded * wave).sum(), fused, retain_graph=True)
        moved[name] = float(
            (gradient * wave)[..., 24:-24, 24:-24].mean()
            / wave[..., 24:-24, 24:-24].square().mean()
        )
    assert abs(moved["coarse"]) < 0.05 and moved["fine"] > 0.95


def test_training_with_words_and_a_guard_is_logged_and_changes_the_network(
    random_clip, small_pair, supervisor
):
    config = TrainConfig(steps=2, batch=2, patch=64, direction=0.0, words=0.3, guard=True)
    with pytest.raises(ValueError, match=r"config.words > 0 needs a supervisor"):
        training.train(small_pair, config, progress=False)
    network, history = training.train(small_pair, config, supervisor, progress=False)
    assert {"words", "grad words"} <= set(history[0]) and history[0]["grad words"] > 0
    plain, _ = training.train(
        small_pair, TrainConfig(steps=2, batch=2, patch=64, direction=0.0), progress=False
    )
    assert not torch.equal(network.tail.weight, plain.tail.weight)


@pytest.mark.parametrize("stem", ["rgb", "pca"])
def test_fixed_stems_stay_as_they_are_made(stem, random_clip, small_pair):
    config = AdaptConfig(steps=2, batch=4, stem=stem)
    guide, _ = adaptation.adapt(
        small_pair, random_clip, prompts.get("wald"), config, progress=False
    )
    shown = guide.stems["ms"](small_pair.ms[None] / small_pair.scale * guide.band_gain)[0]
    if stem == "rgb":
        stretched = small_pair.ms / small_pair.scale * guide.band_gain[0]
        assert torch.allclose(shown, stretched[list(small_pair.sensor.rgb)], atol=1e-6)
    else:
        channels = shown.flatten(1).double()
        assert torch.allclose(
            channels.mean(1), torch.full((3,), 0.5, dtype=torch.float64), atol=1e-3
        )
        assert torch.allclose(
            torch.cov(channels), 0.04 * torch.eye(3, dtype=torch.float64), atol=1e-3
        )  # uncorrelated
    assert torch.equal(guide.stems["hrms"].choice.weight, guide.stems["ms"].choice.weight)
