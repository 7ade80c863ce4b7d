import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import ndimage

from clippan_lite import captions, clip, pretrain_clip, prompts, scenes, sensors

IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def bundled():
    return clip.load_clip()


def test_bundled_clip_loads_trained_weights_and_says_so(capsys):
    loaded = clip.load_clip("bundled")
    line = capsys.readouterr().out
    assert line.startswith("CLIP: bundled (sha256 ") and "input 64 px" in line
    state = load_file(clip.BUNDLED)
    assert all(value.dtype == torch.float16 for value in state.values())
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, state[name].float())
    assert clip.BUNDLED.stat().st_size < 4e6


def test_bundled_clip_tells_sharp_from_blurred_and_colour_from_grey(bundled):
    """On landscapes it was not trained on; chance is a half (and a random-weight CLIP stays near it)."""
    sensor = sensors.get("WV2")
    bands, _ = scenes.observe(scenes.make_landscape(987_654, 512), sensor)
    image = bands[list(sensor.rgb)] / np.percentile(bands[list(sensor.rgb)], 99.5, axis=(1, 2), keepdims=True)
    image = np.clip(image, 0, 1) ** 0.8 * 0.9
    crops = np.stack([image[:, r : r + 64, c : c + 64] for r in range(0, 512, 64) for c in range(0, 512, 64)])

    def accuracy(good, bad, texts):
        anchors = bundled.encode_text(texts)
        with torch.no_grad():
            answers = [bundled.encode_image(torch.from_numpy(x).float()) @ anchors.T for x in (good, bad)]
        return float(((answers[0].argmax(1) == 0).float().mean() + (answers[1].argmax(1) == 1).float().mean()) / 2)

    blurred = ndimage.gaussian_filter(crops, (0, 0, 2.0, 2.0))
    grey = np.repeat(crops.mean(1, keepdims=True), 3, axis=1)
    assert accuracy(crops, blurred, ["a sharp image", "a blurred image"]) > 0.8
    assert accuracy(crops, grey, ["an image in colour", "an image in grey"]) > 0.9


def test_features_are_unit_length_and_differentiable(bundled):
    images = IMAGES.clone().requires_grad_()
    features = bundled.encode_image(images)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(3))
    features[:, 0].sum().backward()
    assert images.grad.abs().max() > 0
    assert not any(p.requires_grad for p in bundled.model.parameters())


def test_every_prompt_word_is_known(bundled, recwarn):
    for prompt in prompts.PROMPTS.values():
        bundled.encode_text([prompt.ms, prompt.pan, prompt.hrms])
    assert not recwarn.list


def test_unknown_words_are_named(bundled):
    with pytest.warns(UserWarning, match="does not know: hedgehog"):
        bundled.encode_text(["a multispectral hedgehog"])


def test_empty_and_overlong_prompts_are_refused(bundled):
    with pytest.raises(ValueError, match="is empty to the bundled CLIP"):
        bundled.encode_text(["..."])
    with pytest.raises(ValueError, match="at most 38 words, found 50"):
        bundled.encode_text([" ".join(["sharp"] * 50)])


def test_prompt_lookup():
    assert prompts.get("wald").hrms.startswith("High-quality reference image adhering to Wald")
    own = prompts.get("a sharp image in colour")
    assert own.hrms == "a sharp image in colour" and own.ms == "a multispectral image"
    with pytest.raises(ValueError, match="unknown prompt 'waldd'"):
        prompts.get("waldd")


def test_missing_bundled_weights_raise_with_the_mending_command(tmp_path, monkeypatch):
    monkeypatch.setattr(clip, "BUNDLED", tmp_path / "bundled_clip.safetensors")
    with pytest.raises(FileNotFoundError, match=r"run: python -m clippan_lite\.pretrain_clip"):
        clip.load_clip("bundled")


def test_corrupt_and_foreign_weights_are_one_line(tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(clip.BUNDLED.read_bytes()[:1000])
    with pytest.raises(ValueError, match="no intact safetensors file"):
        clip.load_clip("bundled", broken)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, foreign)
    with pytest.raises(ValueError, match="another architecture") as error:
        clip.load_clip("bundled", foreign)
    assert "\n" not in str(error.value)


def test_unknown_names_and_unnamed_weights_are_refused():
    with pytest.raises(ValueError, match="unknown CLIP 'ViT-Z'"):
        clip.load_clip("ViT-Z")
    with pytest.raises(ValueError, match="no weights named for ViT-B-32-quickgelu"):
        clip.load_clip("ViT-B-32-quickgelu")
    with pytest.raises(ValueError, match="unknown tag 'opnai'"):
        clip.load_clip("ViT-B-32-quickgelu", "opnai")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        clip.load_clip("ViT-B-32-quickgelu", "nowhere/ViT-B-32.safetensors")


def test_offline_download_failure_names_the_mend(monkeypatch):
    import open_clip

    def offline(name, pretrained=None, **more):
        raise OSError("no network")

    monkeypatch.setattr(open_clip, "create_model", offline)
    with pytest.raises(RuntimeError) as error:
        clip.load_clip("ViT-B-32-quickgelu", "openai")
    assert "clip='bundled'" in str(error.value) and "\n" not in str(error.value)


def test_local_file_of_an_open_clip_architecture_loads(tmp_path):
    """A file of ViT-B-32's shape, as a user downloads it, made here from fresh weights."""
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None)
    path = tmp_path / "ViT-B-32.safetensors"
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, path)
    loaded = clip.load_clip("ViT-B-32-quickgelu", path)
    assert loaded.input_size == 224 and loaded.dim == 512 and "ViT-B-32.safetensors" in loaded.label
    name = "visual.transformer.resblocks.3.mlp.c_fc.weight"
    assert torch.equal(loaded.model.state_dict()[name], model.state_dict()[name].half().float())
    with torch.no_grad():
        assert loaded.encode_image(IMAGES[:1]).shape == (1, 512)
        assert loaded.encode_text(["a multispectral image"]).shape == (1, 512)


def test_a_tag_for_the_bundled_clip_is_refused():
    with pytest.raises(ValueError, match="has no tags, found 'openai'; name the architecture with clip too"):
        clip.load_clip("bundled", "openai")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        clip.load_clip("bundled", "nowhere/mine.safetensors")


def test_unknown_words_alone_are_refused(bundled):
    with pytest.raises(ValueError, match="at least one English word it knows"):
        bundled.encode_text(["quokka wombat"])


def test_random_weights_only_when_asked_for(capsys):
    torch.manual_seed(0)
    loaded = clip.load_clip("bundled", random_weights=True)
    assert "random weights" in capsys.readouterr().out and "random" in loaded.label
    assert not torch.equal(
        loaded.model.state_dict()["text_projection"], load_file(clip.BUNDLED)["text_projection"].float()
    )


def test_pretraining_runs_saves_and_loads(tmp_path, monkeypatch):
    model, config, provenance = pretrain_clip.train(steps=2, batch=8, scenes_count=2)
    pretrain_clip.save(model, config, provenance, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundled_clip.json", "bundled_clip.safetensors"]
    assert json.loads((tmp_path / "bundled_clip.json").read_text())["provenance"]["images"] == 16
    monkeypatch.setattr(clip, "BUNDLED", tmp_path / "bundled_clip.safetensors")
    assert clip.load_clip().dim == 128
    shutil.rmtree(tmp_path)


def test_captions_are_true_of_their_images():
    pool, rng = pretrain_clip.Pool(1, 2, progress=False), np.random.default_rng(0)
    images, texts, truth = pretrain_clip.make_batch(pool, rng, 64)
    assert images.shape == (64, 3, 64, 64) and images.min() >= 0 and images.max() <= 1
    assert truth.diagonal().all() and 0.02 < truth.float().mean() < 0.6
    known = set(captions.vocabulary())
    assert {word for text in texts for word in clip.split_words(text)} <= known
    grey = [i for i, text in enumerate(texts) if "panchromatic" in text and "Khan" not in text]
    assert grey and all(torch.allclose(images[i, 0], images[i, 1]) for i in grey)
