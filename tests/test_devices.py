import pytest
import torch

from clippan_lite.runtime import console, devices


def test_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no GPU is found"):
        devices.pick("cuda")
    assert devices.pick("auto") == "cpu"


@pytest.mark.parametrize(("running", "said"), [(3, True), (2, True), (1, False)])
def test_a_busy_machine_is_told(tmp_path, monkeypatch, capsys, running, said):
    load = tmp_path / "loadavg"
    load.write_text(f"0.20 0.18 0.12 {running}/80 11206\n")
    monkeypatch.setattr(console, "LOAD", load)
    monkeypatch.setattr(console.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    console.tell_if_busy()
    assert ("with OMP_NUM_THREADS=1" in capsys.readouterr().out) == said
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    console.tell_if_busy()
    assert capsys.readouterr().out == ""
