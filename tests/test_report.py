import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import rasterio

from clippan_lite import classical
from clippan_lite.course import report
from clippan_lite.data import geotiff, pair

VOID = {"meta", "link", "img", "br", "hr"}


class Checker(HTMLParser):
    """Balanced tags, no resource from outside, alternative text everywhere."""

    def __init__(self):
        super().__init__()
        self.open, self.images, self.references = [], [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.references += [attrs[k] for k in ("src", "href") if k in attrs]
        if tag == "img":
            self.images.append(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


def values(shift=0.0):
    full = {
        "D_lambda": 0.0 + shift,
        "D_s": 0.1 + shift,
        "QNR": 0.9 - shift,
        "HQNR": 0.8 + shift,
        "D_rho": 0.5 - shift,
    }
    return {
        "full": full,
        "reduced": {"PSNR": 30 + shift, "ERGAS": 3.0 - shift, "SAM": 4.0, "Q2n": 0.8 + shift},
    }


@pytest.fixture
def run_dir(tmp_path):
    network = values(0.02)
    for key in ("full", "reduced"):
        network[f"{key}_std"] = dict.fromkeys(network[key], 0.0012)
    network["seeds"] = [0, 1, 2]
    results = {
        "scene": "<b>town</b>",
        "sensor": "WV2",
        "convention": "benchmark",
        "ratio": 4,
        "bands": ["B", "G"],
        "methods": {"GSA": values(0.01), "EXP": values(), "network with L_d": network},
        "l_d_effect": {
            "full": {
                "HQNR": {"difference": 0.01, "t95": [-0.01, 0.03], "n": 5},
                "D_s": {"difference": -0.02, "t95": [-0.03, -0.01], "n": 5},
                "QNR": {"difference": -0.02, "t95": [-0.03, -0.01], "n": 5},
                "D_lambda": {"difference": -0.02, "t95": [-0.03, -0.01], "n": 3},
                "D_rho": {"difference": 0.1, "t95": None, "n": 1},
            }
        },
        "failures": [
            {"case": "wrong prompt", "what": "colours <drift>", "figure": "fail.png", "loss": 1.5}
        ],
        "provenance": {"clip": "bundled (abc)", "nested": {"hash": "123"}},
    }
    notebooks = {
        "01_data": {"seconds": 30.0, "status": "finished"},
        "02_x": {"seconds": 60.0, "status": "finished"},
    }
    run = {
        "device": "CPU with 2 threads",
        "status": "finished",
        "notebooks": notebooks,
        "versions": {"torch": "2"},
    }
    run["parameters"] = {"01_data": {"size": 64}}
    (tmp_path / "figures").mkdir()
    with rasterio.open(
        tmp_path / "figures" / "a.png", "w", driver="PNG", width=2, height=2, count=1, dtype="uint8"
    ) as image:
        image.write(np.zeros((1, 2, 2), "uint8"))
    (tmp_path / "figures" / "fail.png").write_bytes((tmp_path / "figures" / "a.png").read_bytes())
    (tmp_path / "figures" / "captions.json").write_text(
        json.dumps({"a.png": 'loss "fell"', "gone.png": "x"})
    )
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "run.json").write_text(json.dumps(run))
    (tmp_path / "fused.tif").touch()
    return tmp_path


def checked(run_dir):
    html = report.build(run_dir).read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    assert all(reference.startswith("data:") for reference in checker.references)
    assert all(image["alt"] for image in checker.images)
    assert "@import" not in html and "url(" not in html
    return html, checker


def row(html, heading, first):
    section = html.split(f"<h2>{heading}", 1)[1].split("<h2>", 1)[0]
    line = next(
        line for line in section.splitlines() if line.startswith(f'<tr><th scope="row">{first}')
    )
    return re.findall(r"<(?:td|th)[^>]*>.*?</(?:td|th)>", line)


@pytest.mark.slow
def test_summary_and_escaping(run_dir):
    html, _ = checked(run_dir)
    assert (
        "<b>town</b>" not in html and "&lt;b&gt;town&lt;/b&gt;" in html and "&lt;drift&gt;" in html
    )
    for text in ("WV2", "CPU with 2 threads", "1.5", "bundled (abc)", "nested.hash", "size"):
        assert text in html


@pytest.mark.slow
def test_tables_mark_the_best_and_name_exp(run_dir):
    html, _ = checked(run_dir)
    section = html.split("<h2>Full resolution, without", 1)[1].split("<h2>", 1)[0]
    rows = re.findall(r'<tr><th scope="row">([^<]*)', section)
    assert rows[0] == "EXP" and "by construction" in section
    assert "D_lambda ↓" in section and "QNR ↑" in section
    assert "D_rho ↓" not in section and "D_rho ↑" not in section
    for name in ("EXP", "GSA", "network with L_d"):  # neither end of D_rho is best
        assert 'class="best"' not in row(html, "Full resolution, without", name)[5]
    cells = row(html, "Full resolution, without", "EXP")
    assert (
        'class="best"' in cells[1] and 'class="best"' in cells[3] and 'class="best"' not in cells[4]
    )
    cells = row(html, "Full resolution, without", "network with L_d")
    assert "(3 seeds)" in cells[0] and "0.8200 ± 0.0012" in cells[4] and 'class="best"' in cells[4]
    cells = row(html, "Reduced resolution", "GSA")
    assert "30.01" in cells[1] and 'class="best"' in cells[3]  # SAM: a tie, all are marked
    assert "known truth" not in html


@pytest.mark.slow
def test_truth_table_appears_where_known(run_dir):
    results = json.loads((run_dir / "results.json").read_text())
    results["methods"]["EXP"]["truth"] = {"PSNR": 25.0, "SAM": float("nan")}
    (run_dir / "results.json").write_text(json.dumps(results))
    html, _ = checked(run_dir)
    assert row(html, "Full resolution, against", "EXP")[2] == "<td>–</td>"


@pytest.mark.slow
def test_effect_reads_intervals_honestly(run_dir):
    html, _ = checked(run_dir)
    heading = "What the language loss"
    assert "interval holds 0: no effect is shown" in row(html, heading, "HQNR")[-1]
    assert (
        "+0.0100" in row(html, heading, "HQNR")[1]
        and "-0.0100 to +0.0300" in row(html, heading, "HQNR")[2]
    )
    assert "better with L_d" in row(html, heading, "D_s")[-1]
    assert "worse with L_d" in row(html, heading, "QNR")[-1]
    assert "fewer than 5 seeds: no verdict" in row(html, heading, "D_lambda")[-1]
    assert "too few seeds" in row(html, heading, "D_rho")[-1]


@pytest.mark.slow
def test_pictures_and_failures(run_dir):
    html, checker = checked(run_dir)
    assert [image["alt"] for image in checker.images] == ['loss "fell"', "wrong prompt"]
    assert "Missing: the comparison of the fused image with others" in html  # fused.tif is empty
    assert "Missing: gone.png" in html
    assert html.index("Where it fails") < html.index('alt="wrong prompt"')


def with_scene(run_dir, pair):
    """The run folder with a scene, and a fused image of it."""
    geotiff.write_pair(run_dir / "scene-1", pair, source="synthetic")
    geotiff.write_fused(run_dir / "fused.tif", classical.fuse("GSA", pair), pair)


@pytest.mark.slow
def test_the_page_begins_with_the_result_beside_others(run_dir, small_pair):
    with_scene(run_dir, small_pair)
    html, checker = checked(run_dir)
    compared = [image["alt"] for image in checker.images][:5]
    assert compared == ["EXP", "fused.tif", "GSA", "truth", "PAN"]
    assert "GSA has the lowest ERGAS" in html  # the only classical method in the results
    assert html.index("data-swipe") < html.index("<h2>")
    assert 0 < html.index("<h2>Full resolution") < html.index("<h2>Pictures")
    assert "<li><b>HQNR</b>: as QNR" in html


@pytest.mark.slow
def test_a_fused_image_of_another_scene_is_not_compared(run_dir, small_pair):
    with_scene(run_dir, small_pair)
    smaller = pair.crop(small_pair, slice(0, 8), slice(0, 8))
    geotiff.write_fused(run_dir / "fused.tif", classical.fuse("EXP", smaller), smaller)
    html, checker = checked(run_dir)
    assert "fused.tif is not of the run" in html and len(checker.images) == 2


@pytest.mark.slow
def test_a_given_pair_is_read_where_it_lies(run_dir, small_pair, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("pair")
    geotiff.write_pair(elsewhere, small_pair, source="synthetic")
    geotiff.write_fused(run_dir / "fused.tif", classical.fuse("GSA", small_pair), small_pair)
    run = json.loads((run_dir / "run.json").read_text())
    paths = {name: str(elsewhere / f"{name}.tif") for name in ("pan", "ms")}
    run["parameters"] = {
        "01_data": {**paths, "sensor": small_pair.sensor.name, "fault": "haze:0.2"}
    }
    (run_dir / "run.json").write_text(json.dumps(run))
    _, checker = checked(run_dir)
    assert [image["alt"] for image in checker.images][:4] == ["EXP", "fused.tif", "GSA", "PAN"]
    (elsewhere / "ms.tif").unlink()
    html, _ = checked(run_dir)
    assert "Missing: the comparison of the fused image" in html and "ms.tif" in html


@pytest.mark.slow
def test_names_and_prompts_are_escaped(run_dir):
    evil = "<script>alert(1)</script>"
    results = json.loads((run_dir / "results.json").read_text())
    results["provenance"]["prompt"] = evil
    results["methods"][evil] = results["methods"]["GSA"]
    (run_dir / "results.json").write_text(json.dumps(results))
    (run_dir / "figures" / "a.png").rename(run_dir / "figures" / "<i>x&y.png")
    (run_dir / "figures" / "b.jpg").write_bytes(b"no picture")
    html, checker = checked(run_dir)
    assert evil not in html and html.count("&lt;script&gt;alert(1)") >= 2
    assert "<i>" not in html and "<i>x&y" in [image["alt"] for image in checker.images]
    assert "b.jpg" not in html


def test_the_best_classical_method_is_found_by_its_name():
    methods = {
        "EXP": {"reduced": {"ERGAS": 1.0}},
        "BDSD-PC + 3 rounds": {"reduced": {"ERGAS": 2.0}},
        "GSA": {"reduced": {"ERGAS": 3.0}},
        "BDSD": {"reduced": {"ERGAS": float("nan")}},
        "network + 3 rounds": {"reduced": {"ERGAS": 0.5}},
        "Brovey": {"full": {}},
    }
    assert report.best_classical(methods) == ("BDSD-PC", 3)
    assert report.best_classical({}) is None


@pytest.mark.slow
def test_missing_parts_are_named(tmp_path):
    html, _ = checked(tmp_path)
    for part in (
        "fused image",
        "this table",
        "with and without L_d",
        "all pictures",
        "failure analysis",
        "versions",
    ):
        assert f"Missing: {part}" in html or f"{part}" in html.split("Missing:", 1)[1]
    with pytest.raises(FileNotFoundError, match="no run folder"):
        report.build(tmp_path / "nowhere")


@pytest.mark.slow
def test_damaged_files_are_treated_as_missing(run_dir):
    (run_dir / "results.json").write_text("{")
    (run_dir / "figures" / "captions.json").write_text("[]")
    html, _ = checked(run_dir)
    assert "Missing: this table" in html and "a.png" not in html.split("Missing: this table")[0]
