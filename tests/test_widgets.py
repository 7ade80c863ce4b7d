import base64
import io
import re
import time

import numpy as np
import PIL.Image
import pytest
import torch

from clippan_lite import adaptation, classical, prompts, training
from clippan_lite.config import AdaptConfig, TrainConfig
from clippan_lite.course import widgets


@pytest.fixture
def pictures():
    white = np.ones((600, 600, 3))
    return {"red": white * (1, 0, 0), "green": white * (0, 1, 0), "white": white}


def picture_of(screen):
    """The picture in a widget, which has an alternative text."""
    told, content = re.fullmatch(
        r'<img alt="([^"]+)" width="\d+" src="data:image/\w+;base64,([^"]+)">', screen.value
    ).groups()
    assert len(told) > 10
    return PIL.Image.open(io.BytesIO(base64.b64decode(content)))


def shown(box):
    return np.array(picture_of(box.children[2]))


def test_the_slider_moves_the_border_at_once(pictures):
    box = widgets.swipe(pictures)
    (left, right), slider = box.children[0].children, box.children[1]
    begun = time.monotonic()
    slider.value = 25
    assert time.monotonic() - begun < 2
    image = shown(box)
    assert (image[300, 100] > (200, -1, -1)).all() and (image[300, 300] > (-1, 200, -1)).all()
    right.value = "white"
    assert (shown(box)[300, 300] > 240).all()
    left.value = "green"
    assert shown(box)[300, 100][1] > 200


def test_what_cannot_be_swiped_is_refused(pictures):
    with pytest.raises(ValueError, match="needs two pictures, found 1"):
        widgets.swipe({"red": pictures["red"]})
    with pytest.raises(ValueError, match="pictures of one size"):
        widgets.swipe({"red": pictures["red"], "small": np.ones((5, 5, 3))})


def rows_of(table):
    """Cells of a table's rows, by the first one."""
    rows = [
        re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table.value)
    ]
    return {row[0]: row[1:] for row in rows if row}


def test_the_playground_measures_what_its_sliders_do(small_pair):
    box = widgets.playground(small_pair, small_pair.truth)
    (blur, noise, haze, shift, screen), table = box.children[0].children, box.children[1]
    assert {(row[0] == row[1], row[2]) for row in rows_of(table).values()} == {(True, "")}
    assert rows_of(table)["PSNR"][0] == "inf"  # the truth against itself
    blur.value += blur.step
    assert rows_of(table)["PSNR"][1:] != ["inf", ""]  # the smallest step shows
    blur.value = 0
    before = screen.value
    for slider, value in ((blur, 1.0), (noise, 0.1), (haze, 0.2), (shift, 1)):
        begun = time.monotonic()
        slider.value = value
        assert time.monotonic() - begun < 2  # 0.2 on an idle machine
        assert screen.value != before and rows_of(table)["ERGAS"][2] == "worse"
        assert float(rows_of(table)["ERGAS"][1]) > 0
        slider.value = 0
        assert screen.value == before and rows_of(table)["ERGAS"][2] == ""


def test_a_typed_sentence_changes_what_the_supervisor_says(small_pair):
    from clippan_lite import clip

    supervisor, _ = adaptation.adapt(
        small_pair, clip.load_clip(), prompts.get("wald"), AdaptConfig(steps=2), progress=False
    )
    box = widgets.sentences(
        small_pair,
        supervisor,
        {"truth": small_pair.truth, "EXP": classical.fuse("EXP", small_pair)},
    )
    known, text, table = box.children
    wald = rows_of(table)
    assert list(wald) == ["truth", "EXP", "(MS)", "(PAN)"]
    begun = time.monotonic()
    text.value = "a blurred image with false colours"
    assert time.monotonic() - begun < 2
    assert rows_of(table) != wald
    known.value = "nonsense"
    assert text.value == "a road beside a river"
    known.value = "wald"
    assert rows_of(table) == wald
    with pytest.raises(ValueError, match="a fused image or more, found none"):
        widgets.sentences(small_pair, supervisor, {})


def test_the_dashboard_stops_and_goes_on_to_the_same_network(small_pair, tmp_path, monkeypatch):
    monkeypatch.setattr(widgets, "REDRAW", 0.0)
    config = TrainConfig(steps=8, batch=2, patch=64).changed(direction=0.0)
    box = widgets.dashboard(small_pair, config, folder=tmp_path, side=64)
    begin, halt, bar, told = box.children[0].children
    bar.observe(lambda change: change["new"] == 3 and halt.click(), "value")
    begin.click()
    box.thread.join(60)
    assert told.value == "stopped after step 3 of 8: start goes on"
    assert (begin.disabled, halt.disabled, box.network) == (False, True, None)
    begin.click()
    box.thread.join(60)
    assert told.value == "done: 8 steps" and bar.value == 8 and begin.disabled
    assert all(picture_of(screen).size[0] > 100 for screen in box.children[1:])
    straight, _ = training.train(small_pair, config, progress=False)
    same = zip(box.network.parameters(), straight.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)


def test_a_dashboard_that_fails_says_so(small_pair, tmp_path):
    box = widgets.dashboard(
        small_pair, TrainConfig(steps=8).changed(direction=1.0), folder=tmp_path
    )
    box.children[0].children[0].click()
    box.thread.join(60)
    assert (
        box.children[0]
        .children[3]
        .value.startswith("failed: the term direction needs a supervisor")
    )
