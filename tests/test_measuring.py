"""Figures of a fused image on disk."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest
import rasterio
import torch

import clippan_lite as cl
from clippan_lite import classical, cli
from clippan_lite.data import fused_checks, geotiff, synthetic
from clippan_lite.large_scenes import measuring
from clippan_lite.metrics import evaluation


@pytest.fixture
def files(small_pair, tmp_path):
    """PAN, MS, a fused image and the truth as GeoTIFFs."""
    fused = classical.fuse("GSA", small_pair)
    images = {"pan": small_pair.pan, "ms": small_pair.ms, "fused": fused, "truth": small_pair.truth}
    for name, image in images.items():
        transform = small_pair.georef["transform"]
        step = small_pair.pan.shape[-1] // image.shape[-1]
        profile = {
            "driver": "GTiff",
            "count": len(image),
            "height": image.shape[1],
            "width": image.shape[2],
            "dtype": "float32" if name in ("fused", "truth") else "uint16",
            "crs": small_pair.georef["crs"],
            "transform": transform * rasterio.Affine.scale(step),
        }
        with rasterio.open(tmp_path / f"{name}.tif", "w", **profile) as file:
            file.write(image.numpy().astype(profile["dtype"]))
    return tmp_path


def options(files):
    return ["--pan", str(files / "pan.tif"), "--ms", str(files / "ms.tif"), "--sensor", "WV2"]


@pytest.mark.slow
def test_figures_are_those_in_memory(files, small_pair):
    rows = measuring.measure(
        files / "fused.tif", files / "pan.tif", files / "ms.tif", "WV2", files / "truth.tif"
    )
    assert list(rows)[:2] == ["fused.tif", "EXP"]
    expected = evaluation.evaluate(classical.fuse("GSA", small_pair), small_pair)
    assert rows["fused.tif"] == pytest.approx(expected, rel=1e-3)
    assert rows["BDSD-PC + 3 rounds"]["Q2n"] > rows["BDSD-PC"]["Q2n"]


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_the_command_writes_each_form(files, capsys, form):
    assert cli.main(["measure", str(files / "fused.tif"), *options(files), "--format", form]) == 0
    text = capsys.readouterr().out
    body = text[text.index("{") :] if form == "json" else text
    if form == "json":
        assert json.loads(body)["fused.tif"]["HQNR"] > 0
    elif form == "csv":
        lines = text[text.index("image,") :]
        assert next(csv.DictReader(io.StringIO(lines)))["image"] == "fused.tif"
    else:
        assert "HQNR" in text and "BDSD-PC + 3 rounds" in text


def test_an_image_of_another_grid_is_refused(files, capsys):
    code = cli.main(["measure", str(files / "ms.tif"), *options(files)])
    assert code == 2
    assert "expected 8 bands of 256 x 256 pixels" in capsys.readouterr().err


@pytest.mark.slow
def test_fuse_without_a_method_takes_the_network_on_board(files, small_pair, capsys):
    paths = [str(files / name) for name in ("pan.tif", "ms.tif", "out.tif")]
    assert cli.main(["fuse", *paths, "--sensor", "WV2"]) == 0
    assert "method: the included network" in capsys.readouterr().out
    with rasterio.open(files / "out.tif") as file:
        written = torch.from_numpy(file.read().astype("float32"))
        assert file.tags()["METHOD"] == "Bandwise"
    inner = (slice(None), slice(64, -64), slice(64, -64))
    # MS and PAN were rounded when they were written.
    assert (written - cl.fuse(small_pair))[inner].abs().mean() < 2


def test_rounds_follow_a_method(files, small_pair):
    paths = [str(files / name) for name in ("pan.tif", "ms.tif", "out.tif")]
    command = ["fuse", *paths, "--sensor", "WV2", "--method", "gsa", "--rounds", "3"]
    assert cli.main(command) == 0
    with rasterio.open(files / "out.tif") as file:
        written = torch.from_numpy(file.read().astype("float32"))
    expected = classical.fuse("GSA", small_pair, rounds=3)
    inner = (slice(None), slice(64, -64), slice(64, -64))
    assert (written - expected)[inner].abs().mean() < 2


def test_rounds_without_a_method_are_refused(files, capsys):
    paths = [str(files / name) for name in ("pan.tif", "ms.tif", "out.tif")]
    assert cli.main(["fuse", *paths, "--sensor", "WV2", "--rounds", "3"]) == 2
    assert "3 rounds of back-projection without a method" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("convention", ["benchmark", "geo"])
def test_windows_give_the_figures_of_the_whole(tmp_path, monkeypatch, convention):
    pair = synthetic.make_scene(5, 576, "IKONOS", convention)
    folder = geotiff.write_pair(tmp_path / "scene", pair)
    fused = tmp_path / "fused.tif"
    geotiff.write_fused(fused, classical.fuse("BDSD-PC", pair, rounds=1), pair)
    arguments = (fused, folder / "pan.tif", folder / "ms.tif", "IKONOS", folder / "truth.tif")
    whole = measuring.measure(*arguments, convention)
    monkeypatch.setattr(measuring, "LARGE", 256)
    monkeypatch.setattr(measuring, "SIDE", 128)
    parts = measuring.measure(*arguments, convention)
    assert list(parts) == list(whole)
    for row in whole:
        assert list(parts[row]) == list(whole[row])
        for figure in ("PSNR", "ERGAS", "SAM", "Q2n"):  # fused.tif is rounded, rows are not
            assert parts[row][figure] == pytest.approx(whole[row][figure], rel=4e-2), row
        for (
            figure
        ) in evaluation.FULL:  # at the scene's edge, "benchmark" interpolation wraps around
            assert parts[row][figure] == pytest.approx(whole[row][figure], abs=1e-2), (row, figure)
    exact = ("PSNR", "ERGAS", "SAM", "Q2n") if convention == "benchmark" else tuple(whole[row])
    for figure in exact:
        assert parts["fused.tif"][figure] == pytest.approx(whole["fused.tif"][figure], rel=1e-5)


@pytest.mark.slow
def test_windows_beside_nodata_count_valid_blocks_only(tmp_path, monkeypatch):
    pair = synthetic.make_scene(5, 576, "IKONOS")
    pair.valid = torch.ones(576, 576, dtype=torch.bool)
    pair.valid[:, :200] = False
    pair.ms[:, :, :50] = pair.pan[:, :, :200] = 0
    folder = geotiff.write_pair(tmp_path / "scene", dataclasses.replace(pair, truth=None))
    fused = tmp_path / "fused.tif"
    geotiff.write_fused(fused, classical.fuse("GSA", pair), pair)
    arguments = (fused, folder / "pan.tif", folder / "ms.tif", "IKONOS")
    whole = measuring.measure(*arguments, beside=False)["fused.tif"]
    monkeypatch.setattr(measuring, "LARGE", 256)
    monkeypatch.setattr(measuring, "SIDE", 128)
    parts = measuring.measure(*arguments, beside=False)["fused.tif"]
    assert parts == pytest.approx(whole, abs=1e-2)


def test_nodata_of_the_measured_file_does_not_count(files, small_pair):
    arguments = (files / "pan.tif", files / "ms.tif", "WV2")
    with rasterio.open(files / "fused.tif") as file:
        profile, image = file.profile, file.read()
    image[:, :40] = -9999
    with rasterio.open(files / "holes.tif", "w", **{**profile, "nodata": -9999}) as file:
        file.write(image)
    holes = measuring.measure(files / "holes.tif", *arguments, beside=False)["holes.tif"]
    whole = measuring.measure(files / "fused.tif", *arguments, beside=False)["fused.tif"]
    assert holes == pytest.approx(whole, abs=0.08) and holes != whole


def test_another_crs_is_refused_and_a_name_like_a_row_is_kept(files, tmp_path):
    arguments = (files / "pan.tif", files / "ms.tif", "WV2")
    with rasterio.open(files / "fused.tif") as file:
        profile, image = file.profile, file.read()
    with rasterio.open(files / "crs.tif", "w", **{**profile, "crs": "EPSG:32634"}) as file:
        file.write(image)
    with pytest.raises(ValueError, match="has the CRS EPSG:32634, PAN has EPSG:32631"):
        measuring.measure(files / "crs.tif", *arguments)
    (files / "fused.tif").rename(files / "EXP")
    rows = measuring.measure(files / "EXP", *arguments)
    assert list(rows)[:2] == ["EXP (file)", "EXP"] and rows["EXP (file)"] != rows["EXP"]


def test_ranges_that_do_not_fit_and_an_assumed_mtf_are_said(small_pair, tmp_path, capsys):
    dark = dataclasses.replace(small_pair, pan=(small_pair.pan / 8).floor())
    folder = geotiff.write_pair(tmp_path / "dark", dark)
    cl.read_pair(folder / "pan.tif", folder / "ms.tif", "WV2")
    assert "are not the same digital numbers" in capsys.readouterr().out
    scene = geotiff.write_pair(tmp_path / "vhr", synthetic.make_scene(0, 256, "VHR4"))
    cl.read_pair(scene / "pan.tif", scene / "ms.tif", "VHR4")
    out = capsys.readouterr().out
    assert "VHR4 has no published MTF" in out and "same digital numbers" not in out


def rewritten(files, name, change, bands=None):
    """fused.tif under another name, its pixels changed, and perhaps its bands named."""
    with rasterio.open(files / "fused.tif") as file:
        profile, image = file.profile, file.read()
    with rasterio.open(files / name, "w", **profile) as file:
        file.write(change(image))
        if bands:
            file.descriptions = bands
    return files / name


def test_bands_of_the_measured_image_are_taken_by_their_names(files, small_pair):
    arguments = (files / "pan.tif", files / "ms.tif", "WV2")
    names = tuple(reversed(small_pair.sensor.bands))
    turned = rewritten(files, "turned.tif", lambda image: image[::-1], names)
    found = measuring.measure(turned, *arguments, beside=False)["turned.tif"]
    plain = measuring.measure(files / "fused.tif", *arguments, beside=False)["fused.tif"]
    assert found == plain
    odd = rewritten(files, "odd.tif", lambda image: image, ("red",) * 8)
    with pytest.raises(ValueError, match=r"odd.tif's bands are called red, .* put them in the"):
        measuring.measure(odd, *arguments)


def test_an_image_without_names_has_the_order_of_the_file_of_ms(files, small_pair, capsys):
    with rasterio.open(files / "ms.tif") as file:
        profile, image = file.profile, file.read()
    with rasterio.open(files / "swapped.tif", "w", **profile) as file:
        file.write(image[::-1])
    swapped = rewritten(files, "as_ms.tif", lambda image: image[::-1])
    options = {"beside": False, "bands": "8,7,6,5,4,3,2,1"}
    pair = (files / "pan.tif", files / "swapped.tif", "WV2")
    found = measuring.measure(swapped, *pair, **options)["as_ms.tif"]
    plain = measuring.measure(
        files / "fused.tif", files / "pan.tif", files / "ms.tif", "WV2", beside=False
    )
    assert found == pytest.approx(plain["fused.tif"], rel=1e-6)
    assert "are taken in the order of MS's file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda image: image * 2, "are on average 2 to 2 times as bright as MS's"),
        (lambda image: image[[2, 1, 0, *range(3, 8)]], "better in the order 3,2,1,4,5,6,7,8"),
        (lambda image: np.roll(image, 2, axis=1), "lies 2.00 down"),
        (lambda image: image * (np.arange(256) > 30), "pixels where MS is not dark"),
        (lambda image: image[::-1], "better in the order 8,7,6,5,4,3,2,1"),
        (lambda image: image + 150, "times as bright as MS's"),
        (lambda image: image, None),
    ],
)
@pytest.mark.parametrize("large", [False, True])
def test_what_may_be_wrong_with_the_measured_image_is_said(
    files, capsys, monkeypatch, change, note, large
):
    if large:
        monkeypatch.setattr(measuring, "LARGE", 128)
    odd = rewritten(files, "odd.tif", change)
    pair = (files / "pan.tif", files / "ms.tif", "WV2", files / "truth.tif")
    measuring.measure(odd, *pair, beside=False)
    printed = capsys.readouterr().out
    told = [line for line in printed.splitlines() if "odd.tif" in line or "truth.tif" in line]
    assert len(told) == (note is not None), printed
    assert note is None or note in told[0]


def test_tags_of_the_measured_image_are_compared_with_what_is_given(files, small_pair, capsys):
    """`fuse` writes sensor, convention and checksums of its inputs."""
    paths = (files / "pan.tif", files / "ms.tif", files / "own.tif")
    cl.fuse_scene(*paths, "WV2", method="GSA", progress=False)
    measuring.measure(files / "own.tif", *paths[:2], "WV2", beside=False)
    assert "own.tif" not in capsys.readouterr().out
    measuring.measure(files / "own.tif", *paths[:2], "WV3", convention="geo", beside=False)
    printed = capsys.readouterr().out
    assert "was fused with --convention benchmark, and is measured with geo" in printed
    assert "was fused with --sensor WV2, and is measured with WV3" in printed
    with rasterio.open(files / "ms.tif", "r+") as file:
        file.write(file.read() + 1)
    measuring.measure(files / "own.tif", *paths[:2], "WV2", beside=False)
    assert "was fused from files with other pixels than these" in capsys.readouterr().out


def test_what_does_not_count_is_told(files, capsys):
    def hole(image):
        return np.where(np.arange(256) < 64, np.nan, image).astype("float32")

    holed = rewritten(files, "holed.tif", hole)
    measuring.measure(holed, files / "pan.tif", files / "ms.tif", "WV2", beside=False)
    assert "holds no data at 16384 pixels (25.0%)" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["EXP", "GSA", "BDSD", "MTF-GLP-HPM", "PCA"])
@pytest.mark.parametrize("register", [False, True])
def test_results_of_a_real_pair_give_no_false_alarm(method, register):
    """Dark water, clipped at 0, and MS that lies 1.4 pixels off PAN."""
    pair = cl.example("rotterdam", register)
    assert fused_checks.notes(method, classical.fuse(method, pair).round(), pair) == []
