"""The notebooks run: each alone (nbval), and all in a chain with other parameters (papermill)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio

from clippan_lite.runtime import notebooks

REPO = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((REPO / "notebooks").glob(notebooks.PATTERN))
FULL = {"D_lambda", "D_s", "QNR", "D_lambda_K", "HQNR"}
REDUCED = {"PSNR", "ERGAS", "SAM", "Q2n"}
METHODS = {"EXP", "GSA", "BDSD", "network without L_d", "network with L_d"}

pytestmark = pytest.mark.slow
assert CHAPTERS, "the notebooks are missing"


def environment(home):
    path = os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "CLIPPAN_HOME": str(home), "PYTHONPATH": path}


def files_of(folder):
    skipped = {
        ".git",
        "__pycache__",
        ".pytest_cache",
        ".ruff_cache",
        ".hypothesis",
        ".ipynb_checkpoints",
    }
    return {p for p in folder.rglob("*") if p.is_file() and not skipped & set(p.parts)}


def test_each_notebook_runs_and_prints_what_it_printed_before(tmp_path):
    before = files_of(REPO / "notebooks")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval-lax",
        "--nbval-current-env",
        "--nbval-cell-timeout=900",
    ]
    # 05 and 07 run in both chains below, and solutions when they are built; stamps are tested.
    chosen = [path for path in CHAPTERS if path.stem[:2] not in ("05", "07")]
    command += ["-p", "no:cacheprovider", *(str(path.with_suffix(".ipynb")) for path in chosen)]
    done = subprocess.run(
        command, cwd=REPO, env=environment(tmp_path), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert files_of(REPO / "notebooks") == before  # notebooks never write into the repository


def small_parameters():
    """Other values than the defaults: a tenth of the training, other seeds, sensor, backbone."""
    found = {}
    for path in CHAPTERS:
        for name, default in notebooks.declared(notebooks.read_source(path), path.stem).items():
            if type(default) is int and any(
                part in name for part in ("steps", "epochs", "iterations")
            ):
                found[name] = max(2, default // 10)
    assert found, "no notebook declares a number of steps"
    return {
        **found,
        "scene": "synthetic:5",
        "seeds": "3,4",
        "sensor": "IKONOS",
        "recipe": "scratch",
        "backbone": "pnn",
    }


@pytest.fixture(scope="module")
def chain_run(tmp_path_factory):
    """A whole chain through the command line, in a folder that is not the repository."""
    folder = tmp_path_factory.mktemp("chain")
    parameters = small_parameters()
    command = [sys.executable, "-m", "clippan_lite", "chain", "--out", "run"]
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
    assert {k: v for share in record["parameters"].values() for k, v in share.items()} == parameters
    assert set(record["notebooks"]) == {path.stem for path in CHAPTERS}
    assert all(entry["status"] == "finished" for entry in record["notebooks"].values())


def test_chain_writes_the_fused_image_on_pans_grid(chain_run):
    run_dir, _ = chain_run
    (scene,) = {path.parent for path in run_dir.glob("scene*/scene.json")}
    with (
        rasterio.open(scene / "pan.tif") as pan,
        rasterio.open(scene / "ms.tif") as ms,
        rasterio.open(run_dir / "fused.tif") as fused,
    ):
        assert (fused.shape, fused.transform, fused.crs) == (pan.shape, pan.transform, pan.crs)
        assert (fused.count, fused.dtypes, fused.descriptions) == (
            ms.count,
            ms.dtypes,
            ms.descriptions,
        )
        image = fused.read()
    assert all(band.min() < band.max() for band in image)


def test_chain_writes_all_results(chain_run):
    run_dir, _ = chain_run
    results = json.loads((run_dir / "results.json").read_text())
    assert {
        "scene",
        "sensor",
        "convention",
        "ratio",
        "bands",
        "methods",
        "l_d_effect",
        "provenance",
    } <= set(results)
    assert set(results["methods"]) >= METHODS
    for name in METHODS:
        values = results["methods"][name]
        assert set(values["full"]) >= FULL and set(values["reduced"]) >= REDUCED, name
        assert all(
            isinstance(v, float | int) and v == v
            for v in [*values["full"].values(), *values["reduced"].values()]
        )
        if name.startswith("network"):
            assert (
                values["seeds"]
                and set(values["full_std"]) >= FULL
                and set(values["reduced_std"]) >= REDUCED
            )
    for key, metrics in (("full", FULL), ("reduced", REDUCED)):
        assert set(results["l_d_effect"][key]) >= metrics
        assert all(
            {"difference", "t95", "n"} <= set(v) for v in results["l_d_effect"][key].values()
        )
    assert len(results["failures"]) >= 3 and all(
        f["case"] and f["what"] for f in results["failures"]
    )


def test_chain_writes_a_complete_report(chain_run):
    run_dir, _ = chain_run
    html = (run_dir / "report.html").read_text(encoding="utf-8")
    assert 'class="missing"' not in html and html.count("<img ") >= 3
    captions = json.loads((run_dir / "figures" / "captions.json").read_text())
    pictures = {
        p.name for p in (run_dir / "figures").iterdir() if p.suffix in (".png", ".jpg", ".jpeg")
    }
    assert pictures == set(captions) and all(captions.values())


@pytest.mark.real
def test_chain_runs_on_a_real_pair(real_data, tmp_path):
    """GaoFen-2, the smallest real pair: the fused image is on PAN's grid, no truth is made up."""
    scene = real_data / "gf2_train_0"
    command = [sys.executable, "-m", "clippan_lite", "chain", "--out", "run", "--sensor", "GF2"]
    command += ["--pan", str(scene / "pan.tif"), "--ms", str(scene / "ms.tif")]
    command += ["-p", "steps", "4", "-p", "adapt_steps", "3", "-p", "seeds", "0,1"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path / "home"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    with rasterio.open(scene / "pan.tif") as pan, rasterio.open(scene / "ms.tif") as ms:
        grid, bands = (pan.shape, pan.transform, pan.crs), (ms.count, ms.dtypes)
    with rasterio.open(tmp_path / "run" / "fused.tif") as fused:
        assert (fused.shape, fused.transform, fused.crs) == grid and (
            fused.count,
            fused.dtypes,
        ) == bands
    methods = json.loads((tmp_path / "run" / "results.json").read_text())["methods"]
    assert set(methods) >= METHODS and not any("truth" in row for row in methods.values())
    # Figures of the classical rows measured with other people's code, see the reference tables of
    # the test data.
    assert methods["EXP"]["full"]["HQNR"] == pytest.approx(0.8332, abs=1e-3)
    assert methods["EXP"]["reduced"]["ERGAS"] == pytest.approx(3.612, abs=5e-3)
    assert methods["GSA"]["reduced"]["ERGAS"] == pytest.approx(2.507, rel=0.02)
