"""The code of functions and classes as a text."""

import functools

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
