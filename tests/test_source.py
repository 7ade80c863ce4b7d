"""The code of functions and classes as a text."""

import functools
import importlib
import linecache
import shutil
import sys

import torch

from clippan_lite.runtime import source


def defined(text):
    """What a cell without a file defines as ``thing``."""
    scope = {"torch": torch, "__name__": "__main__"}
    exec(text, scope)
    return scope["thing"]


def test_the_source_is_taken_where_there_is_one():
    assert source.of(defined) == source.of(defined) and "scope" in source.of(defined)
    assert source.of(test_the_source_is_taken_where_there_is_one) != source.of(defined)


def test_without_a_source_the_bytecode_tells_changes():
    texts = [
        "def thing(x): return x + 1",
        "def thing(x): return x + 2",
        "def thing(x): return x - 1",
        "def thing(x): return (lambda y: y + 1)(x)",
        "def thing(x): return (lambda y: y + 2)(x)",
        "class thing:\n    reach = 1\n    def f(self): return 1",
        "class thing:\n    reach = 2\n    def f(self): return 1",
        "class thing:\n    reach = 1\n    def f(self): return 2",
    ]
    found = [source.of(defined(text)) for text in texts]
    assert len(set(found)) == len(texts)
    assert found == [source.of(defined(text)) for text in texts], "the same when it runs again"
    assert not any("0x" in text for text in found), "no addresses, which change"


def test_objects_stand_for_their_class_and_partial_functions_for_their_parts():
    assert source.of(torch.nn.Conv2d(1, 1, 1)) == source.of(torch.nn.Conv2d)
    one, two = (functools.partial(defined, text=value) for value in "ab")
    assert source.of(one) != source.of(two)
    assert "0x" not in source.of(torch.mean)


def test_helpers_and_constants_of_own_code_count(tmp_path, monkeypatch):
    """A loss in a file, that reads a constant of it, a function and a module beside it."""
    texts = {
        "my_helper": "def double(x):\n    return SCALE * x\n\nSCALE = 2\n",
        "my_module": "def half(x):\n    return x / 2\n",
        "my_loss": "import my_module\nfrom my_helper import double\nimport torch\n\nGAIN = 1.0\n\n"
        "def edges(fused, batch):\n    return GAIN * double(my_module.half(torch.relu(fused)))\n",
    }
    monkeypatch.syspath_prepend(str(tmp_path))

    def read(**changes):
        for name, text in {**texts, **changes}.items():
            (tmp_path / f"{name}.py").write_text(text)
            sys.modules.pop(name, None)
        linecache.clearcache()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        return source.with_what_it_reads(importlib.import_module("my_loss").edges)

    found = {
        "as it is": read(),
        "a constant": read(my_loss=texts["my_loss"].replace("1.0", "3.0")),
        "a helper": read(my_helper=texts["my_helper"].replace("SCALE * x", "x")),
        "a helper's constant": read(my_helper=texts["my_helper"].replace("= 2", "= 3")),
        "a module": read(my_module=texts["my_module"].replace("/ 2", "/ 4")),
    }
    assert len(set(found.values())) == len(found)
    assert found["as it is"] == read() and "relu" in found["as it is"]
    assert len(found["as it is"]) < 500, "torch is not in it"


def test_what_cells_define_for_own_code_counts():
    text = "GAIN = {}\ndef helper(x): return x + {}\ndef thing(x): return GAIN * helper(x)"
    found = [source.with_what_it_reads(defined(text.format(*v))) for v in ((1, 1), (2, 1), (1, 2))]
    assert len(set(found)) == 3
