import base64
import io
import re

import numpy as np
import PIL.Image
import pytest
import torch
from matplotlib import pyplot as plt

from clippan_lite.course import figures, imagery, plotting
from clippan_lite.data import registration


@pytest.fixture
def shown(monkeypatch):
    """What figures display: (bundle, metadata)."""
    figures.use_style()
    found = []
    monkeypatch.setattr(
        figures, "display", lambda bundle, metadata, raw: found.append((bundle, metadata))
    )
    return found


def pixels(text):
    return PIL.Image.open(io.BytesIO(base64.b64decode(text)))


def test_a_figure_is_kept_and_shown_with_its_text(shown, small_pair, tmp_path):
    truth, rgb = small_pair.truth, small_pair.sensor.rgb
    picture = imagery.picture(truth, rgb, imagery.limits(truth, rgb))
    figure = imagery.panels(dict.fromkeys("abc", picture), zoom=(0, 0, 64), side=3)
    figures.show(figure, tmp_path, "truth", 'better than "any" result', photo=True)
    ((bundle, metadata),) = shown
    kept = PIL.Image.open(tmp_path / "figures" / "truth.jpg")
    assert kept.width >= 150 * 3 * 3
    text, width, content = re.search(
        r'<img alt="([^"]+)" style="width: (\d+)px; max-width: 100%" '
        r'src="data:image/webp;base64,([^"]+)">',
        bundle["text/html"],
    ).groups()
    assert text == "better than &quot;any&quot; result" and width == "900"
    assert pixels(content).size == kept.size
    assert metadata["image/jpeg"]["alt"] == 'better than "any" result'
    # Five such pictures leave room for text and plots in a chapter of 800 kB.
    assert sum(map(len, bundle.values())) < 140_000
    assert pixels(bundle["image/jpeg"]).width == figures.STAND_IN_WIDTH


def test_a_plot_is_kept_without_loss(shown, tmp_path):
    image = PIL.Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20)
    for kind in ("png", "webp"):
        content = figures.encoded(image, kind, None)
        assert np.array_equal(PIL.Image.open(io.BytesIO(content)).convert("RGB"), image)


def test_fewer_than_one_pixel_in_a_hundred_saturates():
    generator = torch.Generator().manual_seed(0)
    heavy = torch.rand(4, 96, 96, generator=generator) ** 4 * 2000  # a few very bright pixels
    shown = imagery.picture(heavy, (2, 1, 0), imagery.limits(heavy, (2, 1, 0)))
    assert ((shown <= 0) | (shown >= 1)).any(-1).mean() < 0.01
    assert np.ptp(shown) > 0.8
    valid = torch.ones(96, 96, dtype=torch.bool)
    valid[:48] = False
    heavy[:, :48] = 1e6
    low, high = imagery.limits(heavy, (2, 1, 0), valid)
    assert (high < 3000).all() and (low < high).all()


def test_a_window_shows_edges_and_colours_and_nothing_blown_out():
    """Four quarters: flat, blown-out edges, grey edges, coloured edges."""
    pan, ms = torch.full((1, 128, 128), 0.3), torch.full((3, 32, 32), 0.3)
    stripes = (torch.arange(64) // 2 % 2).float() - 0.5
    pan[:, :64, 64:] = 0.8 + 0.4 * stripes  # dark and white
    pan[:, 64:, :] = 0.4 + 0.1 * torch.cat([stripes, stripes])
    ms[0, 16:, 16:] += 0.2 * (torch.arange(16) % 2)
    assert imagery.busiest(pan, 32)[0] >= 48  # grey or coloured
    row, column, side = imagery.busiest(pan, 32, ms)
    assert row >= 56 and column >= 56 and side == 32


@pytest.fixture
def squares():
    white = np.ones((60, 60, 3))
    return {"red": white * (1, 0, 0), "<i>green": white * (0, 1, 0), "white": white}


def test_a_swipe_holds_every_picture_and_a_still_one(shown, squares):
    imagery.swipe(squares, "Three <squares>.")
    ((bundle, _),) = shown
    page = bundle["text/html"]
    titles = re.findall(r'<img alt="([^"]+)"', page)
    assert titles == ["red", "&lt;i&gt;green", "white"] and "Three &lt;squares&gt;." in page
    assert "width: 480px" in page  # eight screen pixels for each
    still = np.asarray(pixels(bundle["image/jpeg"]).convert("RGB"), dtype=int)
    assert still[30, 10].argmax() == 0 and still[30, 50].argmax() == 1


def test_a_composite_has_its_border_where_it_is_asked(squares):
    both = imagery.composite(squares["red"], squares["white"], 0.25)
    assert (both[:, :14] == (1, 0, 0)).all() and (both[:, 16:] == 1).all()


def test_what_cannot_be_swiped_is_refused(squares):
    with pytest.raises(ValueError, match="needs two pictures, found 1"):
        imagery.swipe({"red": squares["red"]})
    with pytest.raises(ValueError, match="pictures of one size"):
        imagery.swipe({"red": squares["red"], "small": np.ones((5, 5, 3))})


def test_shifts_are_drawn_to_scale_where_windows_tell_them():
    told, silent = registration.Shift(2.0, -1.0, 0.9), registration.Shift(0.0, 0.0, 0.2, False)
    found = [((10.0, 30.0), told), ((20.0, 40.0), silent)]
    axis, colours = plotting.shifts(found, np.zeros((60, 80, 3))).axes
    (arrows,) = [drawn for drawn in axis.collections if hasattr(drawn, "U")]
    assert (float(arrows.U[0]), float(arrows.V[0])) == (-1.0, 2.0)  # right, and down the image
    assert arrows.XY.tolist() == [[30.0, 10.0]] and axis.yaxis_inverted()
    (cross,) = axis.lines
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (40.0, 20.0)
    assert colours.get_ylabel() == "multiple correlation"
    plt.close("all")
    assert not plotting.shifts([((9.0, 9.0), silent)], np.zeros((20, 20, 3))).axes[0].collections
    plt.close("all")
