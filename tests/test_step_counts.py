"""What a step of training costs the host: operations and waits, which seconds cannot hold."""

import traceback
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from clippan_lite import adaptation, checkpoints, training
from clippan_lite.config import AdaptConfig, recipe
from clippan_lite.data import synthetic
from clippan_lite.runtime import memory

VIEWS = {"_unsafe_view", "detach", "empty", "alias", "lift_fresh"}  # compute nothing
WAITS = {"_local_scalar_dense", "nonzero", "is_nonzero"}  # for a number from the device


def in_optimiser():
    """Whether torch's optimiser calls. It counts its steps on the CPU, and waits for nothing."""
    return any("optim" in Path(frame.filename).parts for frame in traceback.extract_stack())


class Counted(TorchDispatchMode):
    """Counts operations that compute something, and those that wait for a result."""

    operations, waits = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.operations += not function.is_view and name not in VIEWS
        self.waits += name in WAITS and not in_optimiser()
        return function(*args, **(kwargs or {}))


def counts(config, pair, supervisor):
    """Operations and waits of the third step."""
    teacher = None
    if config.needs("teacher"):
        teacher = checkpoints.start(config, pair.bands, pair.ratio, pair.convention).eval()
    marks = []
    with Counted() as counted:
        training.train(
            pair,
            config.changed(steps=3),
            supervisor if config.needs("supervisor") else None,
            teacher,
            progress=False,
            callbacks=[lambda *_: marks.append((counted.operations, counted.waits))],
        )
    return [last - before for before, last in zip(*marks[-2:], strict=True)]


@pytest.fixture(scope="module")
def pair():
    return synthetic.make_scene(0, 256)


@pytest.fixture(scope="module")
def supervisor(pair):
    return adaptation.adapt(pair, config=AdaptConfig(steps=1, batch=2), progress=False)[0]


@pytest.mark.parametrize(
    ("name", "share", "before"),
    [("quick", 0.56, 1474), ("best", 0.37, 1613), ("paper", 0.56, 1482), ("scratch", 0.56, 1474)],
)
def test_operations_of_a_step(name, share, before, pair, supervisor):
    """At most this share of what a step took before filters were matrices."""
    config = recipe(name, batch=2)
    operations, waits = counts(config, pair, supervisor)
    print(f"{name}: {operations} operations ({operations / before:.2f} of {before}), {waits} waits")
    assert operations <= share * before
    # CLIP refuses pixels far from [0, 1] where it encodes MS and PAN. The row of the history is
    # read through tolist, which is not seen here.
    assert waits <= (1 if config.needs("supervisor") else 0)


def test_the_rows_of_a_history_cost_one_transfer(pair, monkeypatch):
    reads, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(
        torch.Tensor, "tolist", lambda t: (reads.append(tuple(t.shape)), tolist(t))[1]
    )
    training.train(pair, recipe("quick", direction=0.0, steps=3, stride=1), progress=False)
    rows = [shape for shape in reads if len(shape) == 1]
    assert len(rows) == 3, "one row a step; places of crops are on the CPU, and have two axes"


class Library:
    """A C library that notes what is asked of it, and refuses pages of more than ``largest``."""

    def __init__(self, largest=2**40):
        self.calls, self.largest = [], largest

    def mallopt(self, option, value):
        self.calls.append((option, value))
        return int(option != memory.OWN_PAGES or value <= self.largest)

    def malloc_trim(self, padding):
        self.calls.append("trim")


@pytest.fixture
def library(monkeypatch):
    library = Library()
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: library)
    for name in memory.SET_BY_USER:
        monkeypatch.delenv(name, raising=False)
    return library


def test_memory_is_kept_in_a_training_and_given_back(library):
    keep = [(memory.OWN_PAGES, 2**30), (memory.TRIM, 2**31 - 1)]
    with pytest.raises(ZeroDivisionError), memory.kept():
        assert library.calls == keep
        with memory.kept():  # as when a callback fuses
            pass
        assert library.calls == 2 * keep, "the inner one leaves it as it is"
        1 / 0  # noqa: B018
    back = [(memory.OWN_PAGES, 2**25), (memory.TRIM, 2**26), "trim"]
    assert library.calls == 2 * keep + back


def test_an_older_library_gets_what_it_takes(library):
    library.largest = 2**25
    with memory.kept():
        assert library.calls[1] == (memory.OWN_PAGES, 2**25)


def test_the_users_settings_and_other_libraries_stay(library, monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    with memory.kept():
        assert library.calls == []
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    with memory.kept():
        assert library.calls == []
