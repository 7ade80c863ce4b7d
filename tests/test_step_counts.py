"""What a step of training costs the host: operations and waits, which seconds cannot hold."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from clippan_lite import adaptation, checkpoints, training
from clippan_lite.config import AdaptConfig, recipe
from clippan_lite.data import synthetic
from clippan_lite.runtime import memory

VIEWS = {"_unsafe_view", "detach", "empty", "alias", "lift_fresh"}  # compute nothing
WAITS = {"_local_scalar_dense", "nonzero", "is_nonzero"}  # for a number from the device


class Counted(TorchDispatchMode):
    """Counts operations that compute something, and those that wait for a result."""

    operations, waits = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.operations += not function.is_view and name not in VIEWS
        self.waits += name in WAITS
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
    ("name", "most", "before"),
    [("quick", 800, 1474), ("best", 560, 1613), ("paper", 810, 1482), ("scratch", 800, 1474)],
)
def test_operations_of_a_step(name, most, before, pair, supervisor):
    """At most these; ``before`` is what each step took until 2026-11-28."""
    config = recipe(name, batch=2)
    operations, waits = counts(config, pair, supervisor)
    print(f"{name}: {operations} operations ({operations / before:.2f} of {before}), {waits} waits")
    assert operations <= most
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


def test_memory_is_kept_in_a_training_and_given_back(monkeypatch):
    calls = []

    class Library:
        def mallopt(self, *values):
            calls.append(values)

        def malloc_trim(self, padding):
            calls.append("trim")

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: Library())
    with pytest.raises(ZeroDivisionError), memory.kept():
        assert calls == list(memory.KEEP)
        with memory.kept():  # as when a callback fuses
            pass
        assert calls == 2 * list(memory.KEEP), "the inner one leaves it as it is"
        1 / 0  # noqa: B018
    assert calls == [*memory.KEEP, *memory.KEEP, *memory.USUAL, "trim"]


def test_another_c_library_changes_nothing(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    with memory.kept():
        pass
