import io
import time

import numpy as np
import PIL.Image
import pytest

from clippan_lite import widgets


@pytest.fixture
def pictures():
    white = np.ones((600, 600, 3))
    return {"red": white * (1, 0, 0), "green": white * (0, 1, 0), "white": white}


def shown(box):
    return np.array(PIL.Image.open(io.BytesIO(box.children[2].value)))


def test_the_slider_moves_the_border_at_once(pictures):
    box = widgets.swipe(pictures)
    (left, right), slider = box.children[0].children, box.children[1]
    begun = time.monotonic()
    slider.value = 25
    assert time.monotonic() - begun < 0.5
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
