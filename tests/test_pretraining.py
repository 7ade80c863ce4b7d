"""The included CLIP's training: pictures have the attributes they claim, captions are true."""

import itertools
import json
import math
import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clippan_lite import clip
from clippan_lite.data import synthetic
from clippan_lite.physics import sensors
from clippan_lite.pretraining import captions, crops, ground
from clippan_lite.pretraining import clip as pretrain_clip
from clippan_lite.runtime.state import TrainingState
from clippan_lite.runtime.words import split_words


@pytest.fixture(scope="module")
def pool():
    return ground.Pool(1, 4, size=256, progress=False)


def at(slot, attributes):
    return attributes[captions.SLOTS.index(slot)]


def value(slot, name):
    return captions.VALUES[slot].index(name)


@pytest.mark.slow
def test_pretraining_runs_saves_and_loads(tmp_path, monkeypatch):
    model, config, provenance = pretrain_clip.train(steps=2, batch=8, grounds=4)
    pretrain_clip.save(model, config, provenance, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "bundled_clip.json",
        "bundled_clip.safetensors",
    ]
    assert json.loads((tmp_path / "bundled_clip.json").read_text())["provenance"]["images"] == 16
    assert (tmp_path / "bundled_clip.safetensors").stat().st_size < 4e6
    monkeypatch.setattr(clip, "BUNDLED", tmp_path / "bundled_clip.safetensors")
    assert clip.load_clip().dim == 128
    shutil.rmtree(tmp_path)


def test_same_seed_same_pictures_and_captions(pool):
    one, two = (crops.make_batch(pool, np.random.default_rng(5), 16) for _ in range(2))
    assert torch.equal(one[0], two[0]) and one[1] == two[1]


def test_captions_are_true_of_their_images(pool):
    rng = np.random.default_rng(0)
    images, texts, truth, attributes = crops.make_batch(pool, rng, 96, 64)
    assert images.shape == (96, 3, 64, 64) and images.min() >= 0 and images.max() <= 1
    assert (
        len(texts) == 64
        and truth.shape == (96, 64)
        and attributes.shape == (96, len(captions.SLOTS))
    )
    assert (truth.diagonal() == 1).all() and 0.02 < (truth == 1).float().mean() < 0.6
    assert (truth == 0).any(1).all() and (truth == -1).any(), (
        "some pairs are false, some cannot be told"
    )
    assert {word for text in texts for word in split_words(text)} <= set(captions.vocabulary())


def test_truth_of_captions_by_hand(monkeypatch, pool):
    """A caption is true, false, or open where the image is between its words (never of types)."""
    slots = captions.SLOTS

    def has(**known):
        return np.array([captions.VALUES[s].index(known[s]) if s in known else -1 for s in slots])

    images = [
        has(sharp="sharp", noise="clean", type="hrms"),
        has(sharp="blurred", noise="noisy"),
        has(noise="clean"),
    ]
    says = [has(sharp="sharp"), has(type="hrms"), has(noise="noisy")]
    monkeypatch.setattr(
        crops, "draw", lambda pool, rng: (torch.zeros(3, 64, 64), images[next(order)])
    )
    monkeypatch.setattr(crops, "caption", lambda attributes, rng: ("", says[next(texts)]))
    order, texts = iter(range(3)), iter(range(3))
    truth = crops.make_batch(pool, np.random.default_rng(0), 3)[2]
    assert truth.tolist() == [[1, 1, 0], [0, 0, 1], [-1, 0, 0]]


def test_attributes_can_be_seen_in_the_pictures(pool):
    """Grey pictures have equal channels, blurred ones less fine detail, noisy ones more."""
    rng = np.random.default_rng(1)
    drawn = [crops.draw(pool, rng) for _ in range(400)]
    detail = {name: [] for name in ("sharp", "blurred", "noisy")}
    for image, has in drawn:
        grey = bool((image[0] - image[1]).abs().max() < 1e-5)
        # A false colour that clips to black or white can look grey, too. A grey picture never
        # looks coloured.
        assert grey or at("chroma", has) == value("chroma", "coloured")
        fine = float(image.diff(dim=-1).abs().mean() / (image.std() + 0.02))
        if at("noise", has) == 1 and at("sharp", has) == 1:
            detail["noisy"].append(fine)
        elif at("noise", has) == 0 and at("sharp", has) in (0, 1):
            detail[captions.VALUES["sharp"][at("sharp", has)]].append(fine)
    assert np.median(detail["blurred"]) < 0.7 * np.median(detail["sharp"])
    assert np.median(detail["noisy"]) > 1.5 * np.median(detail["blurred"])


def test_type_is_claimed_only_of_flawless_pictures(pool):
    rng, found = np.random.default_rng(2), set()
    for _ in range(300):
        _, has = crops.draw(pool, rng)
        kind = at("type", has)
        if kind >= 0:
            found.add(captions.VALUES["type"][kind])
            assert not any(at(slot, has) > 0 for slot in ("noise", "haze", "aligned", "blocks"))
            assert (at("chroma", has) == value("chroma", "grey")) == (kind == value("type", "pan"))
    assert found == {"ms", "pan", "hrms"}


def test_shipped_weights_are_of_this_code_and_know_800_words():
    config = json.loads(clip.BUNDLED.with_suffix(".json").read_text())
    assert config["words"] == captions.vocabulary() and len(set(config["words"])) >= 800
    assert {k: config[k] for k in pretrain_clip.ARCHITECTURE} == pretrain_clip.ARCHITECTURE


def test_training_ground_is_no_scene_that_users_make():
    """The pools' landscapes have seeds of their own: the embedded scene is unseen ground."""
    assert ground.FIRST_SEED > 10_000_000
    own = ground.Pool(0, 4, size=128, progress=False).pictures[0].image
    bands, _ = synthetic.observe(synthetic.make_landscape(0, 128), sensors.get("WV2"))
    assert np.abs(own[:8].astype(float) - bands).mean() > 0.01


def test_regions_hold_roads_thinner_than_their_middle_line():
    """So the shipped weights saw them: the line lies beside the road, too."""
    land = synthetic.Landscape.blank(128)
    synthetic.paint_band(land, np.random.default_rng(0), 0.4, "road")
    road = land.landuse == synthetic.LANDUSE.index("road")
    line = land.mix == np.float32(0.9)
    assert road.any() and (line & ~road).any() and line[road].all()


@pytest.mark.slow
def test_training_can_be_stopped_and_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    settings = {"steps": 4, "batch": 8, "grounds": 4}
    monkeypatch.setattr(pretrain_clip, "held_out_figures", lambda *_: {})
    whole = pretrain_clip.train(**settings)[0]
    state = tmp_path / "state.safetensors"
    kept = TrainingState.keep

    def stop(state, step, history):
        kept(state, step, history)
        if step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingState, "keep", stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain_clip.train(**settings, checkpoint=state, every=1)
    resumed = pretrain_clip.train(**settings, checkpoint=state, every=1)[0]
    assert state.exists()  # until the weights are written
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=1e-6, msg=name)
    with pytest.raises(ValueError, match="is of other settings"):
        pretrain_clip.train(**{**settings, "batch": 16}, checkpoint=state)
    with pytest.raises(ValueError, match="steps must be at least 1, found 0"):
        pretrain_clip.train(steps=0)


def test_captions_say_what_they_state():
    """A wording of every stated value (or of its amount, or a protocol) stands in the text."""
    rng, amounts = np.random.default_rng(3), []
    for slot in captions.SLOTS:
        if slot.endswith("_amount"):
            amounts += itertools.chain(*captions.WORDS[slot].values())
    for _ in range(3000):
        attributes = np.array(
            [rng.integers(-1, len(captions.VALUES[slot])) for slot in captions.SLOTS]
        )
        text, stated = captions.caption(attributes, rng)
        for slot, found in zip(captions.SLOTS, stated, strict=True):
            if found < 0:
                continue
            wordings = [*list(captions.WORDS[slot].values())[found]]
            if slot in ("sharp", "noise", "haze", "colour", "aligned"):
                wordings += amounts
            wordings += captions.PROTOCOL if slot == "type" else []
            bare = text.replace(" an ", " a ").removeprefix("an ")
            assert any(w in text or w.replace(" an ", " a ") in bare for w in wordings), (
                slot,
                text,
            )


@pytest.mark.slow
def test_every_word_can_be_said():
    words, rng, said = captions.vocabulary(), np.random.default_rng(0), set()
    for _ in range(60_000):
        attributes = np.array([rng.integers(len(captions.VALUES[slot])) for slot in captions.SLOTS])
        attributes[
            rng.random(len(attributes)) < 0.85
        ] = -1  # few known slots: those seldom stated are stated too
        said.update(split_words(captions.caption(attributes, rng)[0]))
    assert said <= set(words)
    assert len(said) > 0.97 * len(words)  # the rarest fillers need more than this many captions


def test_slot_texts_name_each_value_once():
    texts = pretrain_clip.slot_texts(np.random.default_rng(0))
    assert len(texts) == sum(len(captions.VALUES[slot]) for slot in pretrain_clip.NAMED)
    assert all(len(split_words(text)) >= 1 for text in texts)


def test_contrast_is_0_for_perfect_and_ln_n_for_blind_features():
    truth = torch.eye(4, dtype=torch.int64)
    perfect, blind = torch.eye(4), F.normalize(torch.ones(4, 4), dim=-1)
    assert pretrain_clip.contrast(perfect, perfect, truth, torch.tensor(100.0)) == pytest.approx(
        0, abs=1e-5
    )
    assert pretrain_clip.contrast(blind, blind, truth, torch.tensor(100.0)) == pytest.approx(
        2 * math.log(4), abs=1e-4
    )
    # Two images that share a caption: neither is the other's negative.
    shared = torch.tensor([[1, 0], [1, 0], [0, 1]])
    images, texts = torch.eye(2)[[0, 0, 1]], torch.eye(2)
    assert pretrain_clip.contrast(images, texts, shared, torch.tensor(100.0)) == pytest.approx(
        0, abs=1e-5
    )
    # An image without a true caption does not count and does not make a NaN.
    none = torch.tensor([[1, 0], [0, 1], [0, 0]])
    assert pretrain_clip.contrast(images, texts, none, torch.tensor(1.0)).isfinite()
    # What cannot be told is no negative: the same wrong answer costs nothing there.
    wrong, false, unsure = (
        torch.eye(2)[[0, 0]],
        torch.tensor([[1, 0], [0, 1]]),
        torch.tensor([[1, -1], [-1, 1]]),
    )
    assert pretrain_clip.contrast(wrong, texts, false, torch.tensor(9.0)) > 1
    assert pretrain_clip.contrast(wrong, texts, unsure, torch.tensor(9.0)) == pytest.approx(
        0, abs=1e-5
    )


def test_slot_contrast_has_gradients_at_images_and_texts_and_prefers_the_truth():
    generator = torch.Generator().manual_seed(0)
    texts = F.normalize(
        torch.randn(
            len(pretrain_clip.slot_texts(np.random.default_rng(0))), 32, generator=generator
        ),
        dim=-1,
    )
    attributes = torch.full((6, len(captions.SLOTS)), -1)
    column = captions.SLOTS.index("sharp")
    attributes[:, column] = torch.tensor([0, 1, 2, 0, 1, 2])
    first = sum(
        len(captions.VALUES[s]) for s in pretrain_clip.NAMED[: pretrain_clip.NAMED.index("sharp")]
    )
    right = texts[first + attributes[:, column]].clone().requires_grad_()
    wrong = texts[first + (attributes[:, column] + 1) % 3]
    texts.requires_grad_()
    scale = torch.tensor(10.0)
    loss = pretrain_clip.slot_contrast(right, texts, attributes, scale)
    assert loss < pretrain_clip.slot_contrast(wrong, texts, attributes, scale)
    loss.backward()
    assert right.grad.abs().max() > 0 and texts.grad[first : first + 3].abs().max() > 0
    assert texts.grad[:first].abs().max() == 0
