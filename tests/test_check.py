import importlib.metadata
import json
import os

import pytest
import torch
from safetensors.torch import save_file

from clippan_lite import cli
from clippan_lite.course import check
from clippan_lite.runtime import notebooks


def problems(findings):
    """The problems among what a part of the check finds."""
    return [finding for finding in findings if isinstance(finding, check.Problem)]


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
    assert problems(check._weights()) == [
        "included CLIP: bundled_clip.safetensors is missing: "
        "run: python -m clippan_lite.pretraining.clip"
    ]


def test_damaged_and_sound_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(check, "WEIGHTS", tmp_path)
    (tmp_path / "bundled_clip.json").write_text("{}")
    path = tmp_path / "bundled_clip.safetensors"
    path.write_bytes(b"not weights at all")
    assert "cannot be read" in problems(check._weights())[0]
    save_file({"a": torch.zeros(2), "b": torch.ones(1)}, path)
    findings = list(check._weights())
    assert problems(findings) == [] and "2 tensors" in findings[0]
    (tmp_path / "bundled_clip.json").write_text(json.dumps({"sha256": "0" * 64}))
    assert "its card says 000000000000" in problems(check._weights())[0]


def test_missing_package(monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "papermill":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert problems(check._packages()) == [
        'papermill is not installed: pip install "clippan-lite[notebooks]"'
    ]


def test_torchvision_of_another_index(monkeypatch):
    def load_library(_):
        raise OSError("operator torchvision::nms does not exist\nmore")

    monkeypatch.setattr(torch.ops, "load_library", load_library)
    problem = problems(check._torch())[0]
    assert (
        "torchvision::nms does not exist)" in problem
        and "same index" in problem
        and "\n" not in problem
    )


def test_no_notebooks(monkeypatch):
    def notebooks_folder():
        raise FileNotFoundError("no notebooks: do this")

    monkeypatch.setattr(notebooks, "notebooks_folder", notebooks_folder)
    findings = list(check._notebooks())
    assert findings == problems(findings) == ["no notebooks: do this"]


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="the administrator may write everywhere"
)
def test_folder_without_permission(monkeypatch, tmp_path):
    tmp_path.chmod(0o500)
    monkeypatch.setenv("CLIPPAN_HOME", str(tmp_path / "home"))
    assert any(
        "cannot be written: set CLIPPAN_HOME" in problem for problem in problems(check._folders())
    )


def test_full_disk(monkeypatch):
    monkeypatch.setattr(check, "ENOUGH_DISK", 1e30)
    assert any("make room" in problem for problem in problems(check._folders()))


@pytest.mark.parametrize(("mends", "code"), [([], 0), (["x is missing: do y"], 1)])
def test_command(monkeypatch, capsys, mends, code):
    monkeypatch.setattr(check, "report", lambda: (["line"], mends))
    assert cli.main(["check"]) == code
    out = capsys.readouterr().out
    assert ("Everything is ready." in out) == (not mends) and (
        "problem: x is missing" in out
    ) == bool(mends)
