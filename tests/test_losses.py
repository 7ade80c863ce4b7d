"""The terms of both stages: what each measures, and that it reaches what it should train."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clippan_lite import backbones, batches, losses, metrics, prompts
from clippan_lite.config import AdaptConfig
from clippan_lite.data import Patches
from clippan_lite.losses import Batch, Guide
from clippan_lite.physics import degrade
from clippan_lite.physics.sensors import get


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def by_kind(*features):
    return dict(zip(losses.KINDS, features, strict=True))


def guide_of(texts):
    """Sentences without a CLIP."""
    return Guide(None, texts)


def features_of(supervisor, batch, hrms):
    views = {"ms": batch.exp, "pan": batch.pan, "hrms": hrms}
    return {kind: supervisor.encode(kind, view) for kind, view in views.items()}


def language_loss(supervisor, fused, batch):
    return losses.direction_of_features(features_of(supervisor, batch, fused), Guide.of(supervisor))


def noisy(image, size):
    return (image + size * torch.randn_like(image)).requires_grad_()


def without_gradient(parameters):
    """Names of parameters that no gradient has reached."""
    reached = {n for n, p in parameters if p.grad is not None and p.grad.abs().max() > 0}
    return [name for name, _ in parameters if name not in reached]


# ---------------------------------------------------------------- Stage I


def test_stage_one_trains_stems_and_adapters_only(supervisor, small_pair, batch_of):
    batch = batch_of(small_pair, 64, 3, extra={"truth": small_pair.truth})
    features = features_of(supervisor, batch, batch.truth)
    terms = losses.ADAPT_TERMS.build(AdaptConfig(), losses.ADAPT_TERMS)
    assert list(terms) == ["inter", "intra", "fusion", "direction", "drift"]
    guide = Guide.of(supervisor)
    sum(term.function(features, guide) for term in terms.values()).backward()
    assert without_gradient(list(supervisor.named_parameters())) == []
    names = {n.split(".")[0] for n, _ in supervisor.named_parameters()}
    assert names == {"stems", "image_adapters", "text_adapters", "image_fusion", "text_fusion"}


def test_drift_is_measured_from_clips_own_sentences_and_reaches_the_text_adapters(supervisor):
    guide = Guide.of(supervisor)
    loss = losses.drift({}, guide)
    raw = supervisor.clip.encode_text([supervisor.prompts.ms, supervisor.prompts.pan]).numpy()
    adapted = torch.cat([guide.texts["ms"], guide.texts["pan"]]).detach().numpy()
    assert loss.item() == pytest.approx(1 - (raw * adapted).sum(1).mean(), abs=1e-6)
    assert loss > 0.01
    loss.backward()
    assert all(p.grad.abs().max() > 0 for p in supervisor.text_adapters.parameters())
    sentences = {"ms": supervisor.prompts.ms, "pan": supervisor.prompts.pan}
    own = {kind: supervisor.clip.encode_text([text]) for kind, text in sentences.items()}
    assert losses.drift({}, Guide(supervisor, own)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("part", ["stems", "image_adapters", "text_adapters"])
def test_stage_one_direction_term_reaches_stems_and_adapters(
    part, supervisor, small_pair, batch_of
):
    batch = batch_of(small_pair, count=3)
    features = features_of(supervisor, batch, batch.exp + 0.05 * torch.rand_like(batch.exp))
    term = losses.ADAPT_TERMS.build(AdaptConfig(), ["direction"])["direction"]
    term.function(features, Guide.of(supervisor)).backward()
    parameters = getattr(supervisor, part).parameters()
    assert max(p.grad.abs().max() for p in parameters if p.grad is not None) > 0


def test_direction_is_0_along_the_text_and_2_against_it():
    texts = by_kind(*(unit(1, 16, seed=i) for i in range(3)))
    assert losses.direction_of_features(texts, guide_of(texts)).item() == pytest.approx(0, abs=1e-6)
    away = {kind: -text for kind, text in texts.items()}
    assert losses.direction_of_features(away, guide_of(texts)).item() == pytest.approx(2, abs=1e-6)


def test_inter_mcl_depends_on_the_image_and_is_not_ln_batch():
    texts = by_kind(*(unit(1, 32, seed=i) for i in range(3)))
    count = 4
    right = {kind: text.expand(count, -1) for kind, text in texts.items()}
    swapped = {"ms": right["pan"], "pan": right["hrms"], "hrms": right["ms"]}
    random = by_kind(*(unit(count, 32, seed=10 + i) for i in range(3)))
    guide = guide_of(texts)
    values = [losses.inter_mcl(images, guide).item() for images in (right, random, swapped)]
    assert values[0] < values[1] < values[2]
    assert values[0] == pytest.approx(0, abs=0.01), "floor subtracted"
    assert all(abs(value - math.log(count)) > 0.05 for value in values[:1] + values[2:])


def test_inter_mcl_equals_a_loop():
    images = by_kind(*(unit(3, 8, seed=i) for i in range(3)))
    texts = by_kind(*(unit(1, 8, seed=9 + i) for i in range(3)))
    f = np.concatenate([images[kind].numpy() for kind in losses.KINDS])
    t = np.concatenate([texts[kind].numpy() for kind in losses.KINDS])
    logits = f @ t.T / 0.07
    own = [logits[i, i // 3] for i in range(9)]
    to_text = np.mean([np.log(np.exp(logits[i]).sum()) - own[i] for i in range(9)])
    to_image = np.mean([np.log(np.exp(logits[:, i // 3]).sum()) - own[i] for i in range(9)])
    expected = (to_text + to_image - np.log(3)) / 2
    assert losses.inter_mcl(images, guide_of(texts)).item() == pytest.approx(expected, rel=1e-5)


def test_intra_mcl_is_lower_for_matched_triplets_and_has_floor_zero():
    place, guide = unit(5, 32, seed=0), guide_of({})
    near = (F.normalize(place + 0.1 * unit(5, 32, seed=i + 1), dim=-1) for i in range(3))
    matched = by_kind(*near)
    shuffled = {**matched, "pan": matched["pan"].roll(1, 0), "hrms": matched["hrms"].roll(2, 0)}
    assert losses.intra_mcl(matched, guide) < losses.intra_mcl(shuffled, guide) - 1
    same = dict.fromkeys(losses.KINDS, torch.eye(32)[:5])
    assert losses.intra_mcl(same, guide).item() == pytest.approx(0, abs=1e-4)


def test_intra_mcl_equals_a_loop():
    images = by_kind(*(unit(3, 8, seed=i) for i in range(3)))
    f = np.concatenate([images[kind].numpy() for kind in losses.KINDS])
    s = np.exp(f @ f.T / 0.07)
    total = []
    for i in range(9):
        others = sum(s[i, j] for j in range(9) if j != i)
        total += [-np.log(s[i, j] / others) for j in range(9) if j != i and j % 3 == i % 3]
    found = losses.intra_mcl(images, guide_of({})).item()
    assert found == pytest.approx(np.mean(total) - np.log(2), rel=1e-5)


def test_intra_mcl_needs_two_places():
    with pytest.raises(ValueError, match="expected at least 2 in a batch, found 1"):
        losses.intra_mcl(dict.fromkeys(losses.KINDS, unit(1, 8)), guide_of({}))


def test_both_contrasts_are_divided_by_the_temperature_of_the_settings():
    features = by_kind(*(unit(3, 8, seed=i) for i in range(3)))
    guide = guide_of(by_kind(*(unit(1, 8, seed=9 + i) for i in range(3))))
    terms = losses.ADAPT_TERMS.build(AdaptConfig(temperature=0.5), ("inter", "intra"))
    for name, function in (("inter", losses.inter_mcl), ("intra", losses.intra_mcl)):
        expected = function(features, guide, temperature=0.5)
        assert terms[name].function(features, guide) == expected != function(features, guide)


def test_fusion_adapters_reach_signed_features(random_clip, supervisor):
    target = random_clip.encode_text(["an image"])
    assert (target < 0).any()
    out = supervisor.text_fusion(target, target)
    assert (out < 0).any()


# ---------------------------------------------------------------- Stage II, language


def test_l_d_has_a_gradient_at_the_fused_image(supervisor, small_pair, batch_of):
    batch = batch_of(small_pair)
    fused = noisy(batch.exp, 0.02)
    language_loss(supervisor, fused, batch).backward()
    assert fused.grad.abs().amax(dim=(2, 3)).min() > 0, "a band without gradient"
    assert torch.isfinite(fused.grad).all()


@pytest.mark.parametrize("name", backbones.REGISTRY)
def test_l_d_reaches_every_fusion_parameter(name, supervisor, small_pair, batch_of):
    torch.manual_seed(0)
    network = backbones.create(name, small_pair.bands)
    # Away from the zero start, which blocks the layers before the last.
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    batch = batch_of(small_pair, extra=batches.classical_results(small_pair, name))
    language_loss(supervisor, network(*network.inputs(batch)), batch).backward()
    assert without_gradient(list(network.named_parameters())) == []


def test_stage_two_direction_term_is_the_language_loss(supervisor, small_pair, batch_of):
    guide = Guide.of(supervisor)
    batch = batch_of(small_pair, guide=guide)
    fused = batch.exp.clone().requires_grad_()
    loss = losses.direction_in_crops(fused, batch)
    loss.backward()
    assert fused.grad.abs().max() > 0
    # Written out again from the equation, in NumPy.
    views = {"ms": batch.exp, "pan": batch.pan, "hrms": fused.detach()}
    f = {k: supervisor.encode(k, supervisor.tiles(v)).detach().numpy() for k, v in views.items()}
    t = {k: v.detach().numpy() for k, v in guide.texts.items()}
    cosines = []
    for kind in ("ms", "pan"):
        for row in range(len(f["hrms"])):
            a, b = f["hrms"][row] - f[kind][row], t["hrms"][0] - t[kind][0]
            cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert loss.item() == pytest.approx(1 - np.mean(cosines), abs=1e-5)


def test_token_directions_reach_the_fused_image_everywhere(supervisor, small_pair, batch_of):
    batch = batch_of(small_pair, count=1, guide=Guide.of(supervisor))
    fused = (batch.exp + 0.02 * torch.rand_like(batch.exp)).requires_grad_()
    losses.direction_in_crops(fused, batch, tokens=True).backward()
    per_patch = F.max_pool2d(fused.grad.abs().amax(1, keepdim=True), 8)
    assert per_patch.min() > 0


def test_sensor_of_other_band_count_is_refused(supervisor):
    with pytest.raises(ValueError, match="stem takes 8 bands, found 4"):
        supervisor.encode("ms", torch.rand(1, len(get("IKONOS").bands), 64, 64))


@pytest.mark.parametrize("tokens", [False, True])
def test_kinds_encoded_together_are_as_encoded_alone(tokens, supervisor):
    views = {"ms": torch.rand(2, 8, 64, 64), "pan": torch.rand(3, 1, 64, 64)}
    views["hrms"] = torch.rand(1, 8, 64, 64, requires_grad=True)
    together = supervisor.encode_all(views, tokens)
    for kind, images in views.items():
        alone = supervisor.encode(kind, images, tokens)
        torch.testing.assert_close(together[kind], alone, atol=1e-6, rtol=0)
    assert len(together["ms"]) * 3 == len(together["pan"]) * 2
    together["hrms"][0, 0].backward()
    assert views["hrms"].grad.abs().sum() > 0


@pytest.mark.parametrize("tokens", [False, True])
def test_remembered_features_change_nothing_but_are_encoded_once(
    tokens, supervisor, small_pair, monkeypatch
):
    patches, generator = Patches(small_pair, 128, stride=64), torch.Generator().manual_seed(0)
    forgetful, remembering = Guide.of(supervisor), Guide.of(supervisor, remember=True)
    encoded = []
    encode_all = type(supervisor).encode_all

    def watched(self, views, tokens=False):
        encoded.extend((kind, len(images)) for kind, images in views.items())
        return encode_all(self, views, tokens)

    monkeypatch.setattr(type(supervisor), "encode_all", watched)
    for step in range(4):
        crops = patches.sample(3, generator)
        images = {name: crops[name] for name in ("ms", "pan", "exp")}
        batch = Batch(
            **images,
            sensor=small_pair.sensor,
            guide=remembering,
            places=crops["place"],
            crops=slice(step % 2, None, 2),
        )
        fused = batch.exp + 0.01
        once = losses.direction_in_crops(fused, batch, tokens=tokens)
        anew = losses.direction_in_crops(fused, replace(batch, guide=forgetful), tokens=tokens)
        torch.testing.assert_close(once, anew, atol=1e-5, rtol=0)
    assert all(r % 64 == c % 64 == 0 for r, c in remembering.remembered)
    encoded.clear()
    losses.direction_in_crops(fused, batch, tokens=tokens)
    assert encoded == [("hrms", 6)]


def test_crops_lie_where_their_corners_say(supervisor, small_pair, batch_of):
    batch = batch_of(small_pair, 128)
    corners = supervisor.tile_corners(batch.places, (128, 128))
    pan = small_pair.pan / small_pair.scale
    for (r, c), tile in zip(corners.tolist(), supervisor.tiles(batch.pan), strict=True):
        assert torch.equal(tile, pan[:, r : r + 64, c : c + 64])


def test_l_words_equals_a_loop_over_crops_and_pairs(supervisor, small_pair, batch_of):
    batch = batch_of(small_pair, 64, 2, guide=Guide.of(supervisor), grey_band=5)
    clip, total = supervisor.clip, []
    for image in batch.exp:
        stretched = image * supervisor.band_gain[0]
        colour, grey = stretched[list(supervisor.rgb)], stretched[[5]].repeat(3, 1, 1)
        for shown, pairs in ((colour, 4), (grey, 3)):
            feature = clip.encode_image(shown[None])[0]
            for texts in prompts.ANTONYMS[:pairs]:
                wanted, unwanted = (float(feature @ clip.encode_text([text])[0]) for text in texts)
                total.append(math.log1p(math.exp((unwanted - wanted) / 0.1)))
    found = float(losses.words(batch.exp, batch))
    assert found == pytest.approx(np.mean(total), rel=1e-4)


def test_l_words_reaches_the_network_and_neither_stems_nor_adapters(
    supervisor, small_pair, batch_of
):
    batch = batch_of(small_pair, guide=Guide.of(supervisor), grey_band=7)
    network = backbones.create("fusionnet", small_pair.bands)
    losses.words(network(batch.ms, batch.pan), batch).backward()
    # The first layer that a zero start lets learn moves the bands that were shown.
    reached = network.tail.weight.grad.flatten(1).abs().amax(1) > 0
    assert set(reached.nonzero().flatten().tolist()) == {*small_pair.sensor.rgb, 7}
    assert all(parameter.grad is None for parameter in supervisor.parameters())
    assert all(parameter.grad is None for parameter in supervisor.clip.model.parameters())


def test_l_words_with_the_pairs_turned_over_asks_for_the_opposite(supervisor, small_pair, batch_of):
    batch, gradients = batch_of(small_pair), []
    fused = batch.exp.requires_grad_()
    for name in ("wald", "wrong"):
        guide = Guide.of(supervisor.with_prompts(prompts.get(name)))
        loss = losses.words(fused, replace(batch, guide=guide), temperature=10.0)
        gradients += torch.autograd.grad(loss, fused)
    right, wrong = (gradient.flatten() for gradient in gradients)
    assert float(F.cosine_similarity(right, wrong, 0)) < -0.99


def test_the_guard_leaves_what_the_mtf_lets_through_without_gradient(small_pair):
    generator = torch.Generator().manual_seed(0)
    fused = torch.rand(1, small_pair.bands, 96, 96, generator=generator).requires_grad_()
    guarded = losses.details_only(fused, small_pair.sensor)
    assert torch.allclose(guarded, fused, atol=1e-6)
    rows, inner = torch.arange(96.0)[:, None], (..., slice(24, -24), slice(24, -24))
    moved = {}
    for name, cycles in (("coarse", 1 / 48), ("fine", 1 / 4)):
        wave = torch.cos(2 * math.pi * cycles * rows).expand(fused.shape)
        (gradient,) = torch.autograd.grad((guarded * wave).sum(), fused, retain_graph=True)
        moved[name] = float((gradient * wave)[inner].mean() / wave[inner].square().mean())
    assert abs(moved["coarse"]) < 0.05 and moved["fine"] > 0.95


@pytest.mark.parametrize("function", [losses.direction_in_crops, losses.words])
def test_the_guard_keeps_a_terms_value_and_changes_its_gradient(
    function, supervisor, small_pair, batch_of
):
    batch = batch_of(small_pair, guide=Guide.of(supervisor))
    fused, found = noisy(batch.exp, 0.02), []
    for guard in (False, True):
        loss = function(fused, batch, guard=guard)
        found.append((loss.item(), torch.autograd.grad(loss, fused)[0]))
    (plain, free), (guarded, held) = found
    assert guarded == pytest.approx(plain, abs=1e-5)
    low = [degrade.mtf_filter(g, small_pair.sensor.mtf_ms, 4).norm() for g in (free, held)]
    assert held.norm() > 0 and low[1] < 0.5 * low[0]


# ---------------------------------------------------------------- Stage II, without language


def test_every_stage_two_term_reaches_the_image(small_pair, batch_of):
    batch = batch_of(small_pair, 128, to_pan=batches.fit_to_pan(small_pair))
    batch = replace(batch, teacher=batch.exp + 0.01, truth=batch.exp - 0.01)
    plain = [name for name, term in losses.TERMS.items() if term.needs != "supervisor"]
    assert {"spec", "spat", "rho", "ds", "qnr", "ship", "truth", "reduced"} <= set(plain)
    for name in plain:
        fused = noisy(batch.exp, 0.01)
        losses.TERMS[name].function(fused, batch).backward()
        assert torch.isfinite(fused.grad).all()
        assert fused.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("name", "part"),
    [("spat", "to_pan"), ("truth", "truth"), ("ship", "teacher"), ("words", "guide")],
)
def test_a_term_without_what_it_needs_says_so(name, part, small_pair, batch_of):
    batch = batch_of(small_pair)
    with pytest.raises(ValueError, match=f"this loss needs batch.{part}, found none"):
        losses.TERMS[name].function(batch.exp, batch)


def test_spectral_loss_is_small_for_truth_and_larger_for_wrong_colours(small_pair):
    scale = small_pair.scale
    truth, ms = small_pair.truth[None] / scale, small_pair.ms[None] / scale
    batch = Batch(ms, small_pair.pan[None] / scale, truth, small_pair.sensor)
    right = losses.spectral(truth, batch)
    assert right < 0.02
    assert losses.spectral(truth.roll(1, 1), batch) > 5 * right


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


def test_images_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expected images of one shape, found \(1, 2, 48, 48\)"):
        losses.mse_ssim(torch.zeros(1, 2, 48, 48), torch.zeros(1, 1, 48, 48))


@pytest.mark.parametrize("convention", ["benchmark", "geo"])
def test_l_qnr_is_one_minus_the_metric_of_each_image(convention):
    g = torch.Generator().manual_seed(0)
    ms, pan = torch.rand(3, 4, 24, 24, generator=g), torch.rand(3, 1, 96, 96, generator=g)
    exp = degrade.upsample(ms, 4, convention)
    fused = exp + 0.3 * pan * torch.rand(3, 4, 1, 1, generator=g)
    batch = Batch(ms, pan, exp, get("IKONOS"), convention)
    images = list(zip(fused, ms, pan, strict=True))
    each = [metrics.qnr(f, m, p, 4, convention=convention) for f, m, p in images]
    assert max(each) - min(each) > 0.01
    expected = 1 - float(torch.stack(each).mean())
    assert losses.quality(fused, batch).item() == pytest.approx(expected, abs=1e-5)
    d_s = torch.stack([metrics.d_s(f, m, p, 4, convention) for f, m, p in images])
    found = losses.relation_to_pan(fused, batch)
    assert found.item() == pytest.approx(float(d_s.mean()), abs=1e-5)
    # Below the floor nothing is asked of the image, above it as much as before.
    fused, middle = fused.requires_grad_(), float(d_s.median())
    floored = losses.relation_to_pan(fused, batch, ds_floor=middle)
    expected = float((d_s - middle).clamp_min(0).mean())
    assert floored.item() == pytest.approx(expected, abs=1e-5)
    losses.relation_to_pan(fused, batch, ds_floor=float(max(d_s)) + 0.01).backward()
    assert fused.grad.abs().max() == 0


def test_l_qnr_of_a_single_band_is_refused():
    one, sensor = torch.rand(1, 1, 64, 64), get("IKONOS")
    with pytest.raises(ValueError, match="expected 2 bands or more for D_lambda"):
        losses.quality(one, Batch(one[..., ::4, ::4], one, one, sensor))


def test_l_rho_is_d_rho_inside(small_pair):
    scale = small_pair.scale
    ms, pan = small_pair.ms[None] / scale, small_pair.pan[None] / scale
    exp = degrade.upsample(ms, 4)
    batch = Batch(ms, pan, exp, small_pair.sensor)
    for fused in (small_pair.truth[None] / scale, exp):
        metric = float(metrics.d_rho(fused, pan, 4))  # it has borders, and no floor
        assert losses.correlation(fused, batch).item() == pytest.approx(metric, abs=0.05)


def test_l_rho_asks_for_the_shape_of_details_and_not_for_their_size():
    pan = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    batch = Batch(pan[..., ::4, ::4], pan, pan, get("IKONOS"))
    assert losses.correlation(0.3 * pan + 5, batch).item() == pytest.approx(0, abs=1e-3)
    assert losses.correlation(-pan, batch).item() == pytest.approx(2, abs=1e-3)
    flat = torch.ones(1, 2, 64, 64, requires_grad=True)
    loss = losses.correlation(flat, batch)
    loss.backward()
    assert loss.item() == pytest.approx(1)
    assert torch.isfinite(flat.grad).all() and flat.grad.abs().max() > 0


def test_l_rho_reaches_every_band_and_parameter(small_pair, batch_of):
    torch.manual_seed(0)
    network, batch = backbones.create("fusionnet", small_pair.bands), batch_of(small_pair)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    fused = network(batch.ms, batch.pan)
    fused.retain_grad()
    losses.correlation(fused, batch).backward()
    assert fused.grad.abs().amax(dim=(2, 3)).min() > 0
    assert without_gradient(list(network.named_parameters())) == []


# ---------------------------------------------------------------- at the truth

#: Terms that can be asked what they say of a synthetic scene's truth.
TRUE_LOSSES = ("spec", "spat", "rho", "ds", "qnr", "truth", "direction", "words")


@pytest.fixture(scope="module")
def at_truth_and_exp(small_pair):
    """Term -> (value, size of the gradient) at a synthetic scene's truth, and the same at EXP."""
    from clippan_lite import adaptation
    from clippan_lite.clip import load_clip

    config = AdaptConfig(steps=10, batch=4)
    supervisor, _ = adaptation.adapt(small_pair, load_clip(), None, config, progress=False)
    images = (small_pair.ms, small_pair.pan, small_pair.truth)
    ms, pan, truth = (image[None] / small_pair.scale for image in images)
    exp = degrade.upsample(ms, small_pair.ratio, small_pair.convention)
    batch = Batch(
        ms,
        pan,
        exp,
        small_pair.sensor,
        small_pair.convention,
        truth=truth,
        to_pan=batches.fit_to_pan(small_pair),
        guide=Guide.of(supervisor),
    )
    table = {}
    for name in TRUE_LOSSES:
        row = []
        for image in (truth, exp):
            leaf = image.clone().requires_grad_()
            value = losses.TERMS[name].function(leaf, batch)
            (gradient,) = torch.autograd.grad(value, leaf)
            row.append((value.item(), gradient.norm().item()))
        table[name] = row
    return table


@pytest.mark.parametrize("name", TRUE_LOSSES)
def test_how_far_a_term_leaves_a_perfect_image_alone(name, at_truth_and_exp, record_property):
    """Shows, with -s, what each term says of the truth: a perfect one would say 0 and pull at 0."""
    (value, pull), (value_exp, pull_exp) = at_truth_and_exp[name]
    ratio = pull / pull_exp
    print(
        f"\n{name:10} at the truth {value:7.4f}, at EXP {value_exp:7.4f}; "
        f"gradient {pull:8.5f}, at EXP {pull_exp:8.5f}, ratio {ratio:6.3f}"
    )
    record_property("value at truth, at EXP", (value, value_exp))
    record_property("gradient at truth relative to EXP", ratio)
    assert all(math.isfinite(number) for number in (value, value_exp, pull, pull_exp))
    assert value >= 0 and value_exp >= 0 and pull_exp > 0


@pytest.mark.parametrize("name", ["spec", "truth"])
def test_what_asks_for_the_scene_itself_is_smaller_at_the_truth_than_at_exp(name, at_truth_and_exp):
    (value, pull), (value_exp, pull_exp) = at_truth_and_exp[name]
    assert value < value_exp and pull < pull_exp
