import importlib.metadata
import json
import os

import pytest
import torch
from safetensors.torch import save_file

from clippan_lite import cli
from clippan_lite.course import check
from clippan_lite.runtime import notebooks


def test_names_versions_device_and_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPPAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CLIPPAN_TEST_DATA", "somewhere")
    lines, _ = check.report()
    text = "\n".join(lines)
    for part in (
        "Python 3.",
        "rasterio ",
        "device: ",
        str(tmp_path / "home"),
        "GB free",
        "CLIPPAN_TEST_DATA: somewhere",
    ):
        assert part in text
    assert not (tmp_path / "home").exists()  # looking changes nothing


def test_missing_weights_are_a_problem_with_the_mend(monkeypatch, tmp_path):
    monkeypatch.setattr(check, "WEIGHTS", tmp_path)
    assert check._weights()[1] == [
        "bundled CLIP: bundled_clip.safetensors is missing: run: python -m clippan_lite.pretraining.clip"
    ]


def test_damaged_and_sound_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(check, "WEIGHTS", tmp_path)
    (tmp_path / "bundled_clip.json").write_text("{}")
    path = tmp_path / "bundled_clip.safetensors"
    path.write_bytes(b"not weights at all")
    assert "cannot be read" in check._weights()[1][0]
    save_file({"a": torch.zeros(2), "b": torch.ones(1)}, path)
    lines, problems = check._weights()
    assert problems == [] and "2 tensors" in lines[0]
    (tmp_path / "bundled_clip.json").write_text(json.dumps({"sha256": "0" * 64}))
    assert "its card says 000000000000" in check._weights()[1][0]


def test_missing_package(monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "papermill":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert check._packages()[1] == [
        'papermill is not installed: pip install "clippan-lite[notebooks]"'
    ]


def test_torchvision_of_another_index(monkeypatch):
    def import_module(_):
        raise RuntimeError("operator torchvision::nms does not exist\nmore")

    monkeypatch.setattr(check.importlib, "import_module", import_module)
    problem = check._torch()[1][0]
    assert (
        "torchvision::nms does not exist)" in problem
        and "same index" in problem
        and "\n" not in problem
    )


def test_no_notebooks(monkeypatch):
    def notebooks_folder():
        raise FileNotFoundError("no notebooks: do this")

    monkeypatch.setattr(notebooks, "notebooks_folder", notebooks_folder)
    assert check._notebooks() == ([], ["no notebooks: do this"])


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="the administrator may write everywhere"
)
def test_folder_without_permission(monkeypatch, tmp_path):
    tmp_path.chmod(0o500)
    monkeypatch.setenv("CLIPPAN_HOME", str(tmp_path / "home"))
    assert any("cannot be written: set CLIPPAN_HOME" in problem for problem in check._folders()[1])


def test_full_disk(monkeypatch):
    monkeypatch.setattr(check, "ENOUGH_DISK", 1e30)
    assert any("make room" in problem for problem in check._folders()[1])


@pytest.mark.parametrize(("problems", "code"), [([], 0), (["x is missing: do y"], 1)])
def test_command(monkeypatch, capsys, problems, code):
    monkeypatch.setattr(check, "report", lambda: (["line"], problems))
    assert cli.main(["check"]) == code
    out = capsys.readouterr().out
    assert ("Everything is ready." in out) == (not problems) and (
        "problem: x is missing" in out
    ) == bool(problems)
