"""CLIPs by name. Files are made here, and a local server stands for the hub."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading

import pytest
import torch
from safetensors.torch import save_file

from clippan_lite import clip
from clippan_lite.runtime import clip_catalogue

VISION = {"image_size": 64, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
CONFIG = {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": TEXT}


@pytest.fixture(scope="module")
def architecture(tmp_path_factory):
    import open_clip

    folder = tmp_path_factory.mktemp("configs")
    (folder / "test-catalogue.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder)
    return "test-catalogue"


@pytest.fixture(scope="module")
def weights(architecture):
    torch.manual_seed(0)
    model = clip.load_clip(architecture, random_weights=True).model
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture
def entry(architecture, monkeypatch):
    """An entry of the catalogue, to be changed by the test."""
    made = {"architecture": architecture, "hub": "someone/some-clip", "file": "ckpt/some.pt"}
    monkeypatch.setattr(clip_catalogue, "entries", lambda: {"some-clip": made})
    return made


def fetched_as(monkeypatch, path):
    """The hub's download gives this file, and the call is written down."""
    import huggingface_hub

    calls = []

    def download(hub, file, revision=None):
        calls.append((hub, file, revision))
        if path is None:
            raise OSError("no network\nsecond line")
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return calls


@pytest.mark.parametrize("wrap", ["plain", "state_dict"])
def test_a_name_fetches_its_file_and_loads_it(tmp_path, monkeypatch, entry, weights, wrap):
    renamed = {f"module.{name}": value for name, value in weights.items()}
    torch.save(weights if wrap == "plain" else {"state_dict": renamed}, tmp_path / "some.pt")
    calls = fetched_as(monkeypatch, tmp_path / "some.pt")
    entry["sha256"] = hashlib.sha256((tmp_path / "some.pt").read_bytes()).hexdigest()
    loaded = clip.load_clip("some-clip")
    assert calls == [("someone/some-clip", "ckpt/some.pt", None)]
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    entry["sha256"] = "0" * 64
    with pytest.raises(OSError, match=r"some\.pt has the sha256 .*, expected 000000000000: delete"):
        clip.load_clip("some-clip")


def test_a_file_of_ones_own_and_random_weights_fetch_nothing(tmp_path, monkeypatch, entry, weights):
    calls = fetched_as(monkeypatch, None)
    save_file(weights, tmp_path / "mine.safetensors")
    clip.load_clip("some-clip", tmp_path / "mine.safetensors")
    clip.load_clip("some-clip", random_weights=True)
    assert calls == []


def test_without_a_network_the_way_by_hand_is_told_in_one_line(monkeypatch, entry):
    fetched_as(monkeypatch, None)
    with pytest.raises(FileNotFoundError, match="no network") as caught:
        clip.load_clip("some-clip")
    told = str(caught.value)
    assert "https://huggingface.co/someone/some-clip" in told and "clip_pretrained = <file>" in told
    assert "\n" not in told
    del entry["file"]
    entry["by_hand"] = "unpack epoch_20.pt"
    with pytest.raises(FileNotFoundError, match="cannot be fetched: unpack epoch_20"):
        clip.load_clip("some-clip")


def test_a_clip_of_many_bands_is_refused():
    for name in ("llama3-ms-clip", "dofa-clip"):
        with pytest.raises(ValueError, match="expected a CLIP of three channels"):
            clip.load_clip(name)


def test_every_entry_is_complete_and_of_an_architecture_that_is_known():
    import open_clip

    for name, entry in clip_catalogue.entries().items():
        assert {"architecture", "licence", "paper"} <= set(entry), name
        assert "file" in entry or "by_hand" in entry or entry.get("bands", 3) != 3, name
        assert "file" not in entry or "hub" in entry, name
        if entry.get("bands", 3) == 3:
            assert entry["architecture"] in open_clip.list_models(), name


def local_dir(folder, weights):
    """A folder as open_clip keeps its models."""
    channels = {"mean": [0.5] * 3, "std": [0.25] * 3}
    config = {"model_cfg": CONFIG, "preprocess_cfg": channels}
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


def test_a_folder_of_open_clip_loads(tmp_path, weights):
    folder = local_dir(tmp_path / "model", weights)
    loaded = clip.load_clip(f"local-dir:{folder}")
    assert all(torch.equal(v, weights[k]) for k, v in loaded.model.state_dict().items())
    assert (loaded.dim, loaded.input_size, float(loaded.std[0, 0])) == (32, 64, 0.25)
    fresh = clip.load_clip(f"local-dir:{folder}", random_weights=True)
    assert not torch.equal(fresh.model.visual.proj, loaded.model.visual.proj)
    with pytest.raises(ValueError, match="brings its own weights"):
        clip.load_clip(f"local-dir:{folder}", "openai")
    with pytest.raises(RuntimeError, match="could not be loaded"):
        clip.load_clip(f"local-dir:{tmp_path / 'nothing'}")


class Hub(http.server.SimpleHTTPRequestHandler):
    """What huggingface_hub asks of a server: files below /NAME/resolve/REVISION/, with headers."""

    def translate_path(self, path):
        return str(self.folder / path.split("/resolve/")[-1].partition("/")[2])

    def end_headers(self):
        tag = hashlib.sha256(self.path.encode()).hexdigest()  # the cache keeps files by it
        self.send_header("ETag", f'"{tag}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        super().end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_a_model_of_the_hub_is_fetched_from_a_server(tmp_path, weights):
    folder = local_dir(tmp_path / "served", weights)
    handler = type("Served", (Hub,), {"folder": folder})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
    }
    code = (
        "from clippan_lite import clip\n"
        "loaded = clip.load_clip('hf-hub:someone/some-clip')\n"
        "print(float(loaded.model.visual.proj.sum()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | settings, capture_output=True, text=True
    )
    server.shutdown()
    assert done.returncode == 0, done.stderr[-2000:]
    found = float(done.stdout.splitlines()[-1])
    assert found == pytest.approx(float(weights["visual.proj"].sum()), abs=1e-5)
