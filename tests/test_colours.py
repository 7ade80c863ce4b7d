"""Text can be read: plots and the report page have WCAG's contrast of 4.5:1 or more (level AA)."""

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from clippan_lite.course import figures, imagery, plotting, report
from clippan_lite.data import registration

LEAST = 4.5


def contrast(one, other):
    """WCAG 2's contrast of two colours, 1 to 21."""
    lights = []
    for colour in (one, other):
        values = np.array(to_rgb(colour))
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        lights.append(float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05)
    return max(lights) / min(lights)


def test_contrast_is_wcags():
    assert contrast("white", "black") == pytest.approx(21)
    assert contrast("#767676", "white") == pytest.approx(
        4.54, abs=0.01
    )  # the lightest grey that passes


@pytest.fixture
def style():
    with mpl.rc_context():
        figures.use_style()
        yield
    plt.close("all")


def drawn_texts(figure):
    """Texts that a figure draws, with what lies behind them."""
    figure.canvas.draw()
    for text in figure.findobj(mpl.text.Text):
        if text.get_text().strip() and text.get_visible():
            yield text, text.axes.get_facecolor() if text.axes else figure.get_facecolor()


def test_texts_of_plots_can_be_read(style, small_pair):
    rows = [{"step": step, "a": float(step)} for step in range(4)]
    drawn = [
        plotting.curves({"one": rows}, ["a"] * 5),
        plotting.bars({"up": 1.0, "down": -1.0}, label="x", better="y", sign="+"),
        plotting.spectra({"PAN": small_pair.pan[0]}, 0.125),
        plotting.shifts([((9.0, 9.0), registration.Shift(0.5, -1.0, 0.9))], np.ones((20, 20, 3))),
        imagery.panels(
            {"PAN": imagery.picture(small_pair.pan, [0], imagery.limits(small_pair.pan, [0]))}
        ),
        plotting.against_truth(
            {m: {"D": 0.1} for m in "abc"}, ["D"], dict.fromkeys("abc", 1.0), "E", {"a": "marked"}
        ),
    ]
    for figure in drawn:
        texts = list(drawn_texts(figure))
        assert texts
        for text, behind in texts:
            assert contrast(text.get_color(), behind) >= LEAST, text.get_text()


def test_figures_on_coloured_cells_can_be_read(style):
    figure = plotting.heat(
        {"truth": {"QNR": 0.9}, "worse": {"QNR": 0.1}, "better": {"QNR": 1.7}}, "truth"
    )
    (axis,) = figure.axes
    (image,) = axis.images
    assert sorted(image.get_array().ravel()) == pytest.approx(
        [-1, 0, 1]
    )  # both ends of the colours
    for text in axis.texts:
        column, row = (int(v) for v in text.get_position())
        behind = image.cmap(image.norm(image.get_array()[row, column]))
        assert contrast(text.get_color(), behind) >= LEAST, text.get_text()


def test_texts_of_the_report_can_be_read():
    template = Path(report.__file__).with_name("report.html.j2").read_text(encoding="utf-8")
    style = re.search(r"(?s)<style>(.*)</style>", template).group(1)
    rules = dict(re.findall(r"([^{}\n]+) \{([^}]*)\}", style))
    page = re.search(r"color: (#\w+); background: (#\w+)", rules["body"])
    ink, paper = page.groups()
    pairs = {"body": (ink, paper)}
    for name, rule in rules.items():
        own = dict(re.findall(r"(?:^|[;\s])(color|background): (#\w+)", rule))
        if own:
            pairs[name] = (own.get("color", ink), own.get("background", paper))
    assert {"small", ".missing", "td.best", "figcaption"} <= set(pairs)
    for name, (one, other) in pairs.items():
        assert contrast(one, other) >= LEAST, name
    assert contrast(pairs["small"][0], pairs["td.best"][1]) >= LEAST  # one may stand in the other
