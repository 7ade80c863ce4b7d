import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import ndimage

from clippan_lite import clip, prompts
from clippan_lite.data import synthetic
from clippan_lite.physics import sensors
from clippan_lite.runtime import words

IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
#: Real open_clip architectures, but quick to make.
TINY = {
    "test-vit": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "test-rn": {"image_size": 96, "layers": [1, 1, 1, 1], "width": 16},
    "test-timm": {
        "image_size": 64,
        "timm_model_name": "test_vit",
        "timm_pool": "",
        "timm_proj": "linear",
    },
}


@pytest.fixture(scope="module", autouse=True)
def tiny_architectures(tmp_path_factory):
    import open_clip

    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    folder = tmp_path_factory.mktemp("configs")
    for name, vision in TINY.items():
        (folder / f"{name}.json").write_text(
            json.dumps({"embed_dim": 32, "vision_cfg": vision, "text_cfg": text})
        )
    open_clip.add_model_config(folder)


def tiny(name="test-vit"):
    torch.manual_seed(0)
    return clip.load_clip(name, random_weights=True)


@pytest.fixture(scope="module")
def vit_b_32():
    """A ViT-B-32 with fresh weights, and these in half precision."""
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32", pretrained=None)
    return model, {name: value.half().contiguous() for name, value in model.state_dict().items()}


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


@pytest.mark.slow
def test_bundled_clip_tells_sharp_from_blurred_and_colour_from_grey(bundled):
    """On landscapes it was not trained on. Chance is a half; random weights stay near it."""
    sensor = sensors.get("WV2")
    bands, _ = synthetic.observe(synthetic.make_landscape(987_654, 512), sensor)
    image = bands[list(sensor.rgb)] / np.percentile(
        bands[list(sensor.rgb)], 99.5, axis=(1, 2), keepdims=True
    )
    image = np.clip(image, 0, 1) ** 0.8 * 0.9
    crops = np.stack(
        [image[:, r : r + 64, c : c + 64] for r in range(0, 512, 64) for c in range(0, 512, 64)]
    )

    def accuracy(good, bad, texts):
        anchors = bundled.encode_text(texts)
        with torch.no_grad():
            answers = [
                bundled.encode_image(torch.from_numpy(x).float()) @ anchors.T for x in (good, bad)
            ]
        return float(
            (
                (answers[0].argmax(1) == 0).float().mean()
                + (answers[1].argmax(1) == 1).float().mean()
            )
            / 2
        )

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


@pytest.mark.parametrize(("name", "side"), [("bundled", 8), ("test-vit", 4), ("test-rn", 3)])
def test_tokens_are_unit_length_and_each_sees_its_own_place_most(bundled, name, side):
    loaded = bundled if name == "bundled" else tiny(name)
    images = torch.rand(
        1, 3, loaded.input_size, loaded.input_size, generator=torch.Generator().manual_seed(1)
    )
    images.requires_grad_()
    tokens = loaded.encode_tokens(images)
    assert tokens.shape == (1, side * side, loaded.dim)
    torch.testing.assert_close(tokens.norm(dim=-1), torch.ones(1, side * side))
    for place in range(side * side):
        direction = torch.randn(loaded.dim, generator=torch.Generator().manual_seed(place))
        (slope,) = torch.autograd.grad(
            (tokens[0, place] * direction).sum(), images, retain_graph=True
        )
        assert slope.abs().max() > 0
        energy = torch.nn.functional.adaptive_avg_pool2d(slope.square().sum(1), side).flatten()
        assert energy[place] > energy.median()
    assert loaded.encode_image(images).shape == (
        1,
        loaded.dim,
    )  # the switch for tokens is off again


def test_tokens_change_where_the_image_does(bundled):
    """Flat images with texture in one half; attention carries a little of it into the other."""
    flat = torch.full((1, 3, 64, 64), 0.4)
    half = flat.clone()
    half[..., 32:] += 0.3 * (IMAGES[:1, :1, :, 32:] - 0.5)
    with torch.no_grad():
        before, *after = bundled.encode_tokens(torch.cat([flat, half, half.flip(-1)])).view(
            3, 8, 8, -1
        )
    right, left = ((x - before).norm(dim=-1) for x in after)
    assert right[:, 4:].mean() > 1.1 * right[:, :4].mean()
    assert left[:, :4].mean() > 1.1 * left[:, 4:].mean()


def test_tokens_pass_the_last_norm_and_projection_that_pooling_does(monkeypatch):
    """Pool one place instead of the class token: the image's feature is that place's token."""
    loaded = tiny()
    visual = loaded.model.visual
    with torch.no_grad():
        tokens = loaded.encode_tokens(IMAGES)
        for place in (0, 7):
            monkeypatch.setattr(
                visual, "_global_pool", lambda x, at=place + 1: (x[:, at], x[:, 1:])
            )
            torch.testing.assert_close(tokens[:, place], loaded.encode_image(IMAGES))


def test_images_of_other_sizes_and_shapes_are_handled_alike(bundled):
    large = torch.nn.functional.interpolate(IMAGES, 96)
    assert bundled.encode_tokens(large).shape == (3, 64, 128) and bundled.encode_image(
        large
    ).shape == (3, 128)
    for encode in (bundled.encode_image, bundled.encode_tokens):
        with pytest.raises(
            ValueError, match=r"expected images \(B, 3, S, S\), found \(3, 64, 64\)"
        ):
            encode(IMAGES[0])


def test_tokens_of_an_unsupported_visual_encoder_are_refused():
    loaded = tiny("test-timm")
    with pytest.raises(
        ValueError, match=r"as in ViT-B-32\) or ResNet \(as in RN50\), found TimmModel"
    ) as error:
        loaded.encode_tokens(IMAGES)
    assert "\n" not in str(error.value)


def test_every_prompt_word_is_known(bundled, recwarn):
    for prompt in prompts.PROMPTS.values():
        bundled.encode_text([prompt.ms, prompt.pan, prompt.hrms])
    assert not recwarn.list


def test_unknown_words_are_named(bundled):
    with pytest.warns(UserWarning, match="does not know: hedgehog"):
        bundled.encode_text(["a multispectral hedgehog"])


def test_empty_and_overlong_prompts_are_refused(bundled):
    with pytest.raises(ValueError, match="the included CLIP knows no word in it"):
        bundled.encode_text(["..."])
    with pytest.raises(ValueError, match="at most 38 words, found 50"):
        bundled.encode_text([" ".join(["sharp"] * 50)])


def test_open_clip_prompts_are_refused_before_they_are_cut():
    loaded = tiny()
    for blank in ("", " \n"):
        with pytest.raises(ValueError, match="is empty: expected at least one word") as error:
            loaded.encode_text(["a sharp image", blank])
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="at most 75 tokens, found 76; shorten it"):
        loaded.encode_text(["sharp " * 76])
    assert loaded.encode_text(["sharp " * 75]).shape == (1, 32)


def test_transformers_tokenizers_are_checked_too():
    """As open_clip's HFTokenizer, without ``encode``; transformers is not installed here."""

    class Inner:
        def encode(self, text, add_special_tokens=True):
            return text.split() + [0, 0] * add_special_tokens

    class Wrapper:
        context_length, tokenizer = 6, Inner()

        def __call__(self, texts):
            return torch.zeros(len(texts), 6, dtype=torch.long)

    tokenize = words.strict(Wrapper())
    assert tokenize(["one two three four"]).shape == (1, 6)
    with pytest.raises(ValueError, match="at most 4 tokens, found 5"):
        tokenize(["one two three four five"])
    with pytest.raises(ValueError, match="is empty"):
        tokenize([" "])


def test_prompt_lookup():
    assert prompts.get("wald").hrms.startswith("High-quality reference image adhering to Wald")
    own = prompts.get("a sharp image in colour")
    assert own.hrms == "a sharp image in colour" and own.ms == "a multispectral image"
    with pytest.raises(ValueError, match="unknown prompt 'waldd'"):
        prompts.get("waldd")


def test_missing_bundled_weights_raise_with_the_mending_command(tmp_path, monkeypatch):
    monkeypatch.setattr(clip, "BUNDLED", tmp_path / "bundled_clip.safetensors")
    with pytest.raises(FileNotFoundError, match=r"run: python -m clippan_lite\.pretraining\.clip"):
        clip.load_clip("bundled")


def test_corrupt_and_foreign_weights_are_one_line(tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(clip.BUNDLED.read_bytes()[:1000])
    with pytest.raises(ValueError, match="no intact weights file"):
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
    with pytest.raises(
        ValueError, match="unknown tag 'openai' for test-vit: expected a local weights file"
    ):
        clip.load_clip("test-vit", "openai")
    with pytest.raises(
        FileNotFoundError, match="expected a weights file, found nothing at nowhere"
    ):
        clip.load_clip("ViT-B-32-quickgelu", "nowhere/ViT-B-32.safetensors")


def test_offline_download_failure_names_the_mend(monkeypatch):
    import open_clip

    def offline(name, pretrained=None, **more):
        raise OSError("no network")

    monkeypatch.setattr(open_clip, "create_model", offline)
    with pytest.raises(RuntimeError) as error:
        clip.load_clip("ViT-B-32-quickgelu", "openai")
    assert "clip='bundled'" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["ViT-B-32.safetensors", "RemoteCLIP-ViT-B-32.pt"])
@pytest.mark.slow
def test_local_file_of_an_open_clip_architecture_loads(tmp_path, monkeypatch, vit_b_32, name):
    """Files as a user downloads them: safetensors, or RemoteCLIP's pickled state_dict."""
    import open_clip

    model, state = vit_b_32
    path = tmp_path / name
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    for parameter in model.parameters():
        parameter.data.zero_()
    monkeypatch.setattr(open_clip, "create_model", lambda *_, **__: model)
    loaded = clip.load_clip("ViT-B-32", path)
    path.unlink()
    assert loaded.input_size == 224 and loaded.dim == 512 and name in loaded.label
    weight = "visual.transformer.resblocks.3.mlp.c_fc.weight"
    assert torch.equal(loaded.model.state_dict()[weight], state[weight].float())
    with torch.no_grad():
        assert loaded.encode_image(IMAGES[:1]).shape == (1, 512)
        assert loaded.encode_tokens(IMAGES[:1]).shape == (1, 49, 512)
        assert loaded.encode_text(["a multispectral image"]).shape == (1, 512)


@pytest.mark.parametrize(
    "wrap", ["plain", "module.", "state_dict.", "state_dict.module.", "checkpoint"]
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_wrapped_weights_load(tmp_path, wrap, suffix, dtype):
    saved = tiny().model.state_dict()
    prefix = wrap if wrap.endswith(".") else "module." if wrap == "checkpoint" else ""
    state = {prefix + name: value.to(dtype).contiguous() for name, value in saved.items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(
            {"epoch": 3, "name": "a run", "state_dict": state} if wrap == "checkpoint" else state,
            path,
        )
    loaded = clip.load_clip("test-vit", path).model.state_dict()
    assert all(torch.equal(value, saved[name].to(dtype).float()) for name, value in loaded.items())


def test_a_resnet_file_loads(tmp_path):
    saved = tiny("test-rn").model.state_dict()
    torch.save(saved, tmp_path / "RN.pt")
    loaded = clip.load_clip("test-rn", tmp_path / "RN.pt").model.state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in loaded.items())


class RunsCode:
    def __reduce__(self):
        return (pytest.fail, ("the file's code was run",))


def bad_files(folder):
    """Name of each kind of unusable weights file, and what is said of it."""
    good = {name: value.clone() for name, value in tiny().model.state_dict().items()}
    torch.save(good, folder / "whole.pt")
    (folder / "cut.pt").write_bytes((folder / "whole.pt").read_bytes()[:5000])
    (folder / "empty.pt").write_bytes(b"")
    (folder / "page.pt").write_bytes(b"<html>not found</html>")
    (folder / "page.safetensors").write_bytes(b"<html>not found</html>")
    torch.save({"weight": RunsCode()}, folder / "code.pt")
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(folder / "script.pt")
    torch.save([torch.zeros(2)], folder / "list.pt")
    torch.save({"epoch": 3}, folder / "no_tensors.pt")
    torch.save(tiny("test-rn").model.state_dict(), folder / "resnet.pt")
    for name, value in {"nan": float("nan"), "inf": float("inf")}.items():
        torch.save(
            good | {"visual.proj": torch.full_like(good["visual.proj"], value)},
            folder / f"{name}.pt",
        )
    intact = dict.fromkeys(
        ["cut.pt", "empty.pt", "page.pt", "page.safetensors", "code.pt"], "no intact"
    )
    return intact | {
        "script.pt": "no intact|found a RecursiveScriptModule",  # the latter with torch 2.3
        "list.pt": "expected the tensors of a state_dict, found a list",
        "no_tensors.pt": "another architecture than expected .Missing key",
        "resnet.pt": "another architecture",
        "nan.pt": r"found NaN or infinity in visual\.proj \(1 tensors",
        "inf.pt": "found NaN or infinity",
    }


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.slow
def test_unusable_weights_files_are_one_line(tmp_path):
    for name, message in bad_files(tmp_path).items():
        with pytest.raises(ValueError, match=message) as error:
            clip.load_clip("test-vit", tmp_path / name)
        assert "\n" not in str(error.value) and name in str(error.value), name
        assert len(str(error.value)) < 300


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-16", "ViT-L-14", "RN50"])
def test_tags_of_openai_get_the_quick_gelu(monkeypatch, capsys, name):
    import open_clip

    if not open_clip.is_pretrained_cfg(f"{name}-quickgelu", "openai"):
        pytest.skip("an older open_clip, which switches by itself")
    asked, model = [], tiny().model
    monkeypatch.setattr(
        open_clip, "create_model", lambda clip, **more: asked.append((clip, more)) or model
    )
    loaded = clip.load_clip(name, "openai")
    assert asked[0][0] == f"{name}-quickgelu" and asked[0][1]["pretrained"] == "openai"
    assert open_clip.get_model_config(asked[0][0])["quick_gelu"]
    assert loaded.label == f"{name}-quickgelu (openai, trained with the quick GELU)"
    assert loaded.label in capsys.readouterr().out


def test_other_tags_keep_their_architecture(monkeypatch):
    import open_clip

    asked, model = [], tiny().model
    monkeypatch.setattr(open_clip, "create_model", lambda clip, **more: asked.append(clip) or model)
    assert clip.load_clip("ViT-B-32", "laion2b_s34b_b79k").label == "ViT-B-32 (laion2b_s34b_b79k)"
    assert clip.load_clip("ViT-B-32-quickgelu", "openai").label == "ViT-B-32-quickgelu (openai)"
    assert asked == ["ViT-B-32", "ViT-B-32-quickgelu"]


def test_a_tag_for_the_bundled_clip_is_refused():
    with pytest.raises(
        ValueError, match="has no tags, found 'openai'; name the architecture with clip too"
    ):
        clip.load_clip("bundled", "openai")
    with pytest.raises(
        FileNotFoundError, match="expected a weights file, found nothing at nowhere"
    ):
        clip.load_clip("bundled", "nowhere/mine.safetensors")


def test_unknown_words_alone_are_refused(bundled):
    with pytest.raises(ValueError, match="expected an English word that it knows"):
        bundled.encode_text(["quokka wombat"])


def test_random_weights_only_when_asked_for(capsys):
    torch.manual_seed(0)
    loaded = clip.load_clip("bundled", random_weights=True)
    assert "random weights" in capsys.readouterr().out and "random" in loaded.label
    assert not torch.equal(
        loaded.model.state_dict()["text_projection"],
        load_file(clip.BUNDLED)["text_projection"].float(),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clip": None}, "unknown CLIP None: expected 'bundled' or an open_clip name such as"),
        ({"device": "gpu"}, "device 'gpu' cannot be used here"),
        ({"pretrained": "some.pt", "random_weights": True}, "exclude each other"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message):
    with pytest.raises(ValueError, match=message):
        clip.load_clip(**arguments)


def test_a_folder_is_no_weights_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a weights file, found the folder"):
        clip.load_clip("ViT-B-32", str(tmp_path))


@pytest.mark.parametrize("texts", ["a sharp image", [], [None]])
def test_texts_that_are_no_list_of_texts_are_refused(bundled, texts):
    with pytest.raises(ValueError, match="expected a list of texts, found"):
        bundled.encode_text(texts)


def test_unknown_words_alone_are_named(bundled):
    with pytest.raises(ValueError, match="knows none of the words qwertz, asdfgh"):
        bundled.encode_text(["Qwertz asdfgh"])
    assert words.split_words("Wald\u2019s caf\u00e9, Wald's") == ["wald", "caf\u00e9", "wald"]


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (torch.full((1, 3, 64, 64), float("nan")), "values up to nan"),
        (torch.full((1, 3, 64, 64), 255.0), "values up to 255"),
        (torch.zeros(0, 3, 64, 64), r"\(0, 3, 64, 64\)"),
        (np.zeros((1, 3, 64, 64)).tolist(), "found list"),
    ],
)
def test_images_that_no_clip_should_see_are_refused(bundled, images, found):
    with pytest.raises(ValueError, match=found):
        bundled.encode_image(images)


def test_double_precision_images_are_taken(bundled):
    assert bundled.encode_image(torch.rand(1, 3, 64, 64).double()).dtype == torch.float32
