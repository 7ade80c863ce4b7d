"""Progress, stopping, rows of the history and processes."""

import signal
import time
from types import SimpleNamespace

import pytest
import torch

from clippan_lite import training
from clippan_lite.callbacks import Steps, read_row, stop_signal
from clippan_lite.config import TrainConfig
from clippan_lite.runtime.processes import Processes


def test_progress_is_drawn_at_most_once_a_second(small_pair, capsys):
    """A notebook's cell that sends more messages than its clients keep lets nbval wait forever."""
    begun = time.monotonic()
    config = TrainConfig(steps=40, batch=1, patch=64).changed(direction=0.0, qnr=0.0)
    training.train(small_pair, config, label="3 of 6")
    seconds = time.monotonic() - begun
    told = capsys.readouterr().err
    assert 1 <= told.count("\r") <= seconds + 3
    assert "3 of 6: " in told


def test_callbacks_get_each_step_with_the_network_and_its_row():
    seen = []
    steps = Steps(5, "test", False, 2, [lambda *got: seen.append(got), lambda step, *_: step == 3])
    finished = {step: steps.finish(step, {"loss": 1.0}, None) for step in steps}
    assert seen == [(step, None, {"loss": 1.0}) for step in (2, 3, 4)]
    assert finished == {2: False, 3: True, 4: False}


def test_the_bar_shows_the_terms_and_neither_loss_nor_gradients(capsys):
    steps = Steps(1, "test", True)
    for step in steps:
        steps.finish(step, {"step": 0, "loss": 3.0, "spec": 0.25, "grad spec": 2.0}, None)
    shown = capsys.readouterr().err
    assert "spec=0.250" in shown and "loss" not in shown and "grad" not in shown


def test_a_second_press_stops_at_once():
    steps = Steps(3, "test", False)
    with pytest.raises(KeyboardInterrupt):
        for _ in steps:
            signal.raise_signal(signal.SIGINT)
            assert steps.stopped
            signal.raise_signal(signal.SIGINT)


def test_the_handler_of_before_is_put_back():
    before, calls = signal.getsignal(signal.SIGINT), []
    with stop_signal(lambda: calls.append(1)):
        signal.raise_signal(signal.SIGINT)
    assert calls == [1] and signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("spec", "loss term 'spec' became nan at step 4; lower the learning rate"),
        ("grad spec", "the gradient of loss term 'spec' became nan at step 4; lower"),
    ],
)
def test_a_row_with_a_number_that_is_not_finite_is_refused(name, message):
    values = {"a": torch.tensor(1.0), name: torch.tensor(float("nan"))}
    with pytest.raises(FloatingPointError, match=message):
        read_row(4, values)
    values[name] = torch.tensor(0.5)
    assert read_row(4, values) == {"step": 4, "a": 1.0, name: 0.5}


def processes_of(count, index=0, **more):
    """Processes that all hold the same values, so that a sum is a multiple."""
    accelerator = SimpleNamespace(
        num_processes=count,
        process_index=index,
        is_main_process=index == 0,
        mixed_precision="no",
        device="cpu",
        reduce=lambda tensor, how: tensor * count if how == "sum" else tensor,
        **more,
    )
    return Processes(4, accelerator)


def test_a_row_is_that_of_the_whole_batch():
    row = {"step": 7, "loss": 0.5, "spec": 0.25, "grad spec": 2.0}
    assert Processes(4).average_row(row) is row
    both = processes_of(2).average_row(row)
    # Two halves whose gradients are perpendicular: the joint gradient is shorter than each.
    assert both == {**row, "grad spec": pytest.approx(2**0.5)}
    assert isinstance(both["step"], int) and list(both) == list(row)


def test_each_process_has_a_part_of_the_batch_and_one_writes():
    assert Processes(4).part == slice(0, None, 1) and Processes(4).is_main
    second = processes_of(2, 1)
    assert list(range(4))[second.part] == [1, 3] and not second.is_main
    with pytest.raises(ValueError, match="3 processes cannot share a batch of 4 evenly"):
        processes_of(3)


def test_one_process_that_stops_stops_all():
    assert processes_of(2).any(True) is True and processes_of(2).any(False) is False
    assert Processes(4).any(True) is True


def test_the_part_that_spoilt_the_sum_is_named():
    spoilt = torch.tensor(float("inf"))
    values = {"loss": spoilt, "spec": torch.tensor(0.1), "rho": spoilt, "grad spec": spoilt}
    with pytest.raises(FloatingPointError, match="loss term 'rho' became inf"):
        read_row(0, values)
    assert list(read_row(0, dict.fromkeys(values, torch.ones(())))) == ["step", *values]
