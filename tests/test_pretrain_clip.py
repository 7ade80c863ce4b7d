"""The bundled CLIP's training: pictures have the attributes they claim, captions are true, the loss contrasts both."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clippan_lite import captions, clip, pretrain_clip, pretrain_data


@pytest.fixture(scope="module")
def pool():
    return pretrain_data.Pool(1, 4, size=256, progress=False)


def at(slot, attributes):
    return attributes[captions.SLOTS.index(slot)]


def value(slot, name):
    return captions.VALUES[slot].index(name)


def test_pretraining_runs_saves_and_loads(tmp_path, monkeypatch):
    model, config, provenance = pretrain_clip.train(steps=2, batch=8, grounds=4)
    pretrain_clip.save(model, config, provenance, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundled_clip.json", "bundled_clip.safetensors"]
    assert json.loads((tmp_path / "bundled_clip.json").read_text())["provenance"]["images"] == 16
    assert (tmp_path / "bundled_clip.safetensors").stat().st_size < 4e6
    monkeypatch.setattr(clip, "BUNDLED", tmp_path / "bundled_clip.safetensors")
    assert clip.load_clip().dim == 128
    shutil.rmtree(tmp_path)


def test_same_seed_same_pictures_and_captions(pool):
    one, two = (pretrain_data.make_batch(pool, np.random.default_rng(5), 16) for _ in range(2))
    assert torch.equal(one[0], two[0]) and one[1] == two[1]


def test_captions_are_true_of_their_images(pool):
    rng = np.random.default_rng(0)
    images, texts, truth, attributes = pretrain_data.make_batch(pool, rng, 96, 64)
    assert images.shape == (96, 3, 64, 64) and images.min() >= 0 and images.max() <= 1
    assert len(texts) == 64 and truth.shape == (96, 64) and attributes.shape == (96, len(captions.SLOTS))
    assert truth.diagonal().all() and 0.02 < truth.float().mean() < 0.6
    assert {word for text in texts for word in clip.split_words(text)} <= set(captions.vocabulary())


def test_attributes_can_be_seen_in_the_pictures(pool):
    """Grey pictures have equal channels, blurred ones less fine detail than sharp ones, noisy ones more."""
    rng = np.random.default_rng(1)
    drawn = [pretrain_data.draw(pool, rng) for _ in range(400)]
    detail = {name: [] for name in ("sharp", "blurred", "noisy")}
    for image, has in drawn:
        grey = bool((image[0] - image[1]).abs().max() < 1e-5)
        # A false colour that clips to black or white can look grey too, a grey picture never looks coloured.
        assert grey or at("colour", has) != value("colour", "grey")
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
        _, has = pretrain_data.draw(pool, rng)
        kind = at("type", has)
        if kind >= 0:
            found.add(captions.VALUES["type"][kind])
            assert not any(at(slot, has) > 0 for slot in ("noise", "haze", "aligned", "blocks"))
            assert (at("colour", has) == value("colour", "grey")) == (kind == value("type", "pan"))
    assert found == {"ms", "pan", "hrms"}


def test_at_least_800_words_are_known_and_all_of_them_can_be_said():
    words = captions.vocabulary()
    assert len(words) == len(set(words)) >= 800
    rng, said = np.random.default_rng(0), set()
    for _ in range(60_000):
        attributes = np.array([rng.integers(-1, len(captions.VALUES[slot])) for slot in captions.SLOTS])
        text, stated = captions.caption(attributes, rng)
        assert ((stated == -1) | (stated == attributes)).all(), text
        said.update(clip.split_words(text))
    assert said <= set(words)
    assert len(said) > 0.97 * len(words)  # the rarest fillers need more than this many captions


def test_slot_texts_name_each_value_once():
    texts = pretrain_clip.slot_texts(np.random.default_rng(0))
    assert len(texts) == sum(len(captions.VALUES[slot]) for slot in pretrain_clip.NAMED)
    assert all(len(clip.split_words(text)) >= 1 for text in texts)


def test_contrast_is_0_for_perfect_and_ln_n_for_blind_features():
    truth = torch.eye(4, dtype=torch.bool)
    perfect, blind = torch.eye(4), F.normalize(torch.ones(4, 4), dim=-1)
    assert pretrain_clip.contrast(perfect, perfect, truth, torch.tensor(100.0)) == pytest.approx(0, abs=1e-5)
    assert pretrain_clip.contrast(blind, blind, truth, torch.tensor(100.0)) == pytest.approx(2 * math.log(4), abs=1e-4)
    # Two images that share a caption: neither is the other's negative.
    shared = torch.tensor([[1, 0], [1, 0], [0, 1]], dtype=torch.bool)
    images, texts = torch.eye(2)[[0, 0, 1]], torch.eye(2)
    assert pretrain_clip.contrast(images, texts, shared, torch.tensor(100.0)) == pytest.approx(0, abs=1e-5)
    # An image without a true caption does not count and does not make a NaN.
    none = torch.tensor([[1, 0], [0, 1], [0, 0]], dtype=torch.bool)
    assert pretrain_clip.contrast(images, texts, none, torch.tensor(1.0)).isfinite()


def test_slot_contrast_has_gradients_at_images_and_texts_and_prefers_the_truth():
    generator = torch.Generator().manual_seed(0)
    texts = F.normalize(
        torch.randn(len(pretrain_clip.slot_texts(np.random.default_rng(0))), 32, generator=generator), dim=-1
    )
    attributes = torch.full((6, len(captions.SLOTS)), -1)
    column = captions.SLOTS.index("sharp")
    attributes[:, column] = torch.tensor([0, 1, 2, 0, 1, 2])
    first = sum(len(captions.VALUES[s]) for s in pretrain_clip.NAMED[: pretrain_clip.NAMED.index("sharp")])
    right = texts[first + attributes[:, column]].clone().requires_grad_()
    wrong = texts[first + (attributes[:, column] + 1) % 3]
    texts.requires_grad_()
    scale = torch.tensor(10.0)
    loss = pretrain_clip.slot_contrast(right, texts, attributes, scale)
    assert loss < pretrain_clip.slot_contrast(wrong, texts, attributes, scale)
    loss.backward()
    assert right.grad.abs().max() > 0 and texts.grad[first : first + 3].abs().max() > 0
    assert texts.grad[:first].abs().max() == 0
