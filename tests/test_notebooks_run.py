"""All chapters run in a chain on a real place."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
from rasterio.windows import Window

from clippan_lite.data import example
from clippan_lite.runtime import notebooks

REPO = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((REPO / "notebooks").glob(notebooks.PATTERN))
PLACE = Path(example.__file__).parent / "examples" / "landsat7"
FULL = {"D_lambda", "D_s", "QNR", "D_lambda_K", "HQNR"}
REDUCED = {"PSNR", "ERGAS", "SAM", "Q2n"}
METHODS = {"EXP", "GSA", "BDSD", "network without L_d", "network with L_d"}

pytestmark = pytest.mark.slow
assert CHAPTERS, "the notebooks are missing"


def environment(home):
    path = os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "CLIPPAN_HOME": str(home), "PYTHONPATH": path}


def check_results(results, scales):
    """All rows have all figures, networks their spread, and L_d's effect its interval."""
    expected = ("scene", "sensor", "convention", "ratio", "bands", "l_d_effect", "provenance")
    assert set(expected) <= set(results)
    assert set(results["methods"]) >= METHODS
    for name in METHODS:
        row = results["methods"][name]
        for scale, figures in scales.items():
            assert set(row[scale]) >= figures, name
            assert all(isinstance(v, float | int) and v == v for v in row[scale].values())
        if name.startswith("network"):
            assert row["seeds"] and set(row["full_std"]) >= FULL
    for scale, figures in scales.items():
        effect = results["l_d_effect"][scale]
        assert set(effect) >= figures
        assert all({"difference", "t95", "n"} <= set(value) for value in effect.values())
    assert len(results["failures"]) >= 3
    assert all(failure["case"] and failure["what"] for failure in results["failures"])


def small_parameters():
    """Other values than the defaults: a tenth of the training, other seeds, recipe, backbone."""
    found = {}
    for path in CHAPTERS:
        for name, default in notebooks.declared(notebooks.read_source(path), path.stem).items():
            counts = any(part in name for part in ("steps", "epochs", "iterations"))
            if type(default) is int and counts:
                found[name] = max(2, default // 10)
    assert found, "no notebook declares a number of steps"
    return found | {"seeds": "3,4", "recipe": "scratch", "backbone": "pnn"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The middle of an included real place: small files of one's own."""
    folder = tmp_path_factory.mktemp("place")
    for name, side in (("pan", 256), ("ms", 128)):
        with rasterio.open(PLACE / f"{name}.tif") as file:
            window = Window(side // 2, side // 2, side, side)
            pixels, names = file.read(window=window), file.descriptions
            profile = {**file.profile, "width": side, "height": side}
            profile["transform"] = file.window_transform(window)
        with rasterio.open(folder / f"{name}.tif", "w", **profile) as file:
            file.write(pixels)
            file.descriptions = names
    return folder


@pytest.fixture(scope="module")
def chain_run(place, tmp_path_factory):
    """A whole chain through the command line, in a folder that is not the repository."""
    folder = tmp_path_factory.mktemp("chain")
    parameters = small_parameters()
    command = [sys.executable, "-m", "clippan_lite", "chain", "--out", "run"]
    command += ["--pan", str(place / "pan.tif"), "--ms", str(place / "ms.tif")]
    command += ["--sensor", "LANDSAT7"]
    for name, value in parameters.items():
        command += ["-p", name, str(value)]
    done = subprocess.run(
        command, cwd=folder, env=environment(folder / "home"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "run", parameters


def test_chain_records_parameters_and_times(chain_run):
    run_dir, parameters = chain_run
    record = json.loads((run_dir / "run.json").read_text())
    assert record["status"] == "finished"
    found = {key: value for share in record["parameters"].values() for key, value in share.items()}
    assert parameters.items() <= found.items() and found["sensor"] == "LANDSAT7"
    assert set(record["notebooks"]) == {path.stem for path in CHAPTERS}
    assert all(entry["status"] == "finished" for entry in record["notebooks"].values())


def test_chain_writes_the_fused_image_on_pans_grid(chain_run, place):
    run_dir, _ = chain_run
    with rasterio.open(place / "pan.tif") as pan, rasterio.open(place / "ms.tif") as ms:
        grid, bands = (pan.shape, pan.transform, pan.crs), (ms.count, ms.dtypes, ms.descriptions)
    with rasterio.open(run_dir / "fused.tif") as fused:
        assert (fused.shape, fused.transform, fused.crs) == grid
        assert (fused.count, fused.dtypes, fused.descriptions) == bands
        image = fused.read()
    assert all(band.min() < band.max() for band in image)


def test_chain_writes_all_results_and_makes_up_no_truth(chain_run):
    run_dir, _ = chain_run
    results = json.loads((run_dir / "results.json").read_text())
    check_results(results, {"full": FULL, "reduced": REDUCED})
    assert not any("truth" in row for row in results["methods"].values())


def test_chain_writes_a_complete_report(chain_run):
    run_dir, _ = chain_run
    html = (run_dir / "report.html").read_text(encoding="utf-8")
    assert 'class="missing"' not in html and html.count("<img ") >= 3
    captions = json.loads((run_dir / "figures" / "captions.json").read_text())
    suffixes = (".png", ".jpg", ".jpeg")
    pictures = {p.name for p in (run_dir / "figures").iterdir() if p.suffix in suffixes}
    assert pictures == set(captions) and all(captions.values())
