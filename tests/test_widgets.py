import base64
import io
import re
import time

import PIL.Image
import pytest
import torch

from clippan_lite import adaptation, classical, clip, prompts, training
from clippan_lite.config import AdaptConfig, TrainConfig
from clippan_lite.course import widgets


def pictures_of(screen):
    """The pictures in a widget, which have alternative texts."""
    found = re.findall(
        r'<img alt="([^"]+)" [^>]*src="data:image/\w+;base64,([^"]+)">', screen.value
    )
    assert found and all(len(told) > 10 for told, _ in found)
    return [PIL.Image.open(io.BytesIO(base64.b64decode(content))) for _, content in found]


def rows_of(table):
    """Cells of a table's rows, by the first one."""
    rows = [
        re.findall(r"<td[^>]*>(.*?)</td>", row)
        for row in re.findall(r"<tr>(.*?)</tr>", table.value)
    ]
    return {row[0]: row[1:] for row in rows if row}


@pytest.mark.slow
def test_the_playground_measures_what_its_sliders_do(small_pair):
    box = widgets.playground(small_pair, small_pair.truth)
    left, table = box.children[0].children
    blur, noise, haze, shift, reset, screen = left.children
    assert {(row[0] == row[1], row[2]) for row in rows_of(table).values()} == {(True, "")}
    assert rows_of(table)["PSNR ↑"][0] == "inf"  # the truth against itself
    blur.value += blur.step
    assert rows_of(table)["PSNR ↑"][1:] != ["inf", ""]  # the smallest step shows
    blur.value = 0
    before = screen.value
    for slider, value in ((blur, 1.0), (noise, 0.1), (haze, 0.2), (shift, 1)):
        begun = time.process_time()
        slider.value = value
        assert time.process_time() - begun < 2  # 0.2 on an idle machine
        assert screen.value != before and rows_of(table)["ERGAS ↓"][2] == "worse"
        assert float(rows_of(table)["ERGAS ↓"][1]) > 0
        reset.click()
        assert screen.value == before and rows_of(table)["ERGAS ↓"][2] == ""
    assert slider.value == 0


@pytest.fixture(scope="module")
def supervisor(small_pair):
    made, _ = adaptation.adapt(
        small_pair, clip.load_clip(), prompts.get("wald"), AdaptConfig(steps=2), progress=False
    )
    return made


def test_a_typed_sentence_changes_what_the_supervisor_says(small_pair, supervisor):
    box = widgets.sentences(
        small_pair,
        supervisor,
        {"truth": small_pair.truth, "EXP": classical.fuse("EXP", small_pair)},
    )
    (known, reset), text, hint, told, table = box.children[0].children, *box.children[1:]
    assert "press Enter" in hint.value
    wald = rows_of(table)
    assert list(wald) == ["truth", "EXP", "(MS)", "(PAN)"]
    begun = time.process_time()
    text.value = "a blurred image with wrong colours"
    assert time.process_time() - begun < 2
    assert rows_of(table) != wald and (known.value, told.value) == ("your own", "")
    text.value = "a blurred xyzzy <b>image"
    assert "does not know: xyzzy" in told.value.replace("b, ", "") and rows_of(table) != wald
    text.value = "xyzzy"
    assert "No answer" in told.value and table.value == ""  # nothing old under a new sentence
    known.value = "nonsense"
    assert text.value == "a road beside a river" and "xyzzy" not in told.value
    nonsense = rows_of(table)
    reset.click()
    assert (known.value, told.value) == ("wald", "") and rows_of(table) == wald != nonsense
    text.value = " "
    assert "The field is empty" in told.value and table.value == ""
    reset.click()
    assert text.value == prompts.get("wald").hrms and rows_of(table) == wald
    text.value = prompts.get("khan").hrms
    assert known.value == "khan"
    with pytest.raises(ValueError, match="a fused image or more, found none"):
        widgets.sentences(small_pair, supervisor, {})


@pytest.mark.slow
def test_the_dashboard_stops_and_goes_on_to_the_same_network(small_pair, tmp_path, monkeypatch):
    monkeypatch.setattr(widgets, "REDRAW", 0.0)
    config = TrainConfig(steps=8, batch=2, patch=64).changed(direction=0.0)
    box = widgets.dashboard(small_pair, config, None, folder=tmp_path, side=64)
    begin, halt, reset, bar, told = box.children[0].children
    curves, screen = box.children[1:]
    assert told.value == "not started" and "before the first step" in screen.value
    stopper = lambda change: change["new"] == 3 and halt.click()  # noqa: E731
    bar.observe(stopper, "value")
    begin.click()
    box.thread.join(60)
    assert told.value == "stopped after step 3 of 8: start goes on"
    assert (begin.disabled, halt.disabled, box.network) == (False, True, None)
    again = widgets.dashboard(small_pair, config, None, folder=tmp_path, side=64)
    begin, halt, reset, bar, told = again.children[0].children
    curves, screen = again.children[1:]
    assert told.value == "stopped before: start goes on"
    bar.observe(lambda change: change["new"] == 5 and halt.click(), "value")
    begin.click()
    again.thread.join(60)
    assert told.value == "stopped after step 5 of 8: start goes on"  # counted from 0, not from 3
    begin.click()
    again.thread.join(60)
    assert told.value == "done: 8 steps; start begins anew" and bar.value == 8
    assert all(picture.size[0] > 100 for part in (curves, screen) for picture in pictures_of(part))
    assert all(f">{title}</b>" in screen.value for title in ("PAN", "EXP", "after step 8"))
    straight, _ = training.train(small_pair, config, progress=False)
    same = zip(again.network.parameters(), straight.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    assert not begin.disabled
    reset.click()
    assert bar.value == 0 and curves.value == "" and told.value == "not started"


def test_the_dashboard_trains_with_language_and_with_another_weight_after_a_stop(
    small_pair, supervisor, tmp_path, monkeypatch
):
    monkeypatch.setattr(widgets, "REDRAW", 0.0)
    config = TrainConfig(steps=2, batch=1, patch=64).changed(direction=0.0)
    box = widgets.dashboard(small_pair, config, supervisor, folder=tmp_path, side=64)
    begin, halt, reset, bar, told = box.children[0].children
    weight, curves, _ = box.children[1:]
    assert weight.value == TrainConfig().weight("direction") > 0
    bar.observe(lambda change: change["new"] == 1 and halt.click(), "value")
    begin.click()
    box.thread.join(60)
    assert told.value.startswith("stopped after step 1") and "direction" in curves.value
    weight.value = 0.1
    assert told.value == "not started" and curves.value == ""
    begin.click()
    box.thread.join(60)
    assert told.value.startswith("stopped after step 1")
    assert len(list(tmp_path.glob("dashboard-*.safetensors"))) == 2
    reset.click()
    assert weight.value == TrainConfig().weight("direction") and told.value == "not started"


def test_a_dashboard_that_fails_says_so(small_pair, tmp_path):
    config = TrainConfig(steps=8).changed(direction=1.0)
    box = widgets.dashboard(small_pair, config, folder=tmp_path)
    begin, *_, told = box.children[0].children
    begin.click()
    box.thread.join(60)
    assert told.value.startswith("failed: the term direction needs a supervisor")


def test_readers_without_a_kernel_see_a_still_picture(small_pair, monkeypatch):
    shown = []
    monkeypatch.setattr(widgets, "display", lambda bundle, raw: shown.append(bundle))
    widgets.playground(small_pair, small_pair.truth)._ipython_display_()
    controls, still = shown
    assert "application/vnd.jupyter.widget-view+json" in controls
    assert controls["text/plain"] == "(controls: they appear when this cell is run)"
    assert "<img alt=" in still["text/html"] and "ERGAS ↓" in still["text/html"]
