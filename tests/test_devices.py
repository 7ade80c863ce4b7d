import pytest
import torch

from clippan_lite.runtime import devices


def test_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no GPU is found"):
        devices.pick("cuda")
    assert devices.pick("auto") == "cpu"
