"""Files that are written as a whole or not at all, and products that are kept."""

import json

import pytest

from clippan_lite.runtime import files


def test_a_file_that_could_not_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "facts.json"
    files.write_json(path, {"sensor": "WV2"})
    with pytest.raises(TypeError):
        files.write_json(path, {"sensor": object()})
    with pytest.raises(OSError, match="disk"), files.replacing(path) as part:
        part.write_text("half")
        raise OSError("disk")
    assert json.loads(path.read_text()) == {"sensor": "WV2"}
    assert list(tmp_path.iterdir()) == [path]


def load(path):
    return path.read_text()


def save(path, text):
    path.write_text(text)


def test_a_product_is_made_once_and_loaded_afterwards(tmp_path, capsys):
    path = tmp_path / "supervisor-1.safetensors"
    assert files.load_or_make(path, "supervisor", load, lambda: "first", save) == "first"
    said = capsys.readouterr().out
    assert said == "supervisor: none kept for these settings, making it now\n"
    assert files.load_or_make(path, "supervisor", load, lambda: "second", save) == "first"
    assert capsys.readouterr().out == "supervisor: loaded supervisor-1.safetensors\n"


def test_a_product_without_a_path_is_not_kept(tmp_path):
    assert files.load_or_make(None, "teacher", load, lambda: "made", save) == "made"
    assert not list(tmp_path.iterdir())
