"""Holes never reach a filter as zeros, and a band that alone is nodata is masked alone."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
import rasterio
import torch

from clippan_lite import backbones, classical, fusion, metrics
from clippan_lite.data import Patches, geotiff, grids, reduced, registration
from clippan_lite.data.synthetic import make_scene
from clippan_lite.large_scenes import fusing, measuring, mosaic, survey, windows
from clippan_lite.metrics import evaluation
from clippan_lite.physics.back_projection import back_project
from clippan_lite.runtime import locks

HOW = {"convention": "geo", "progress": False}


@pytest.fixture(scope="module")
def pair():
    return make_scene(seed=3, size=320, sensor="GE1", convention="geo")


@pytest.fixture(scope="module")
def holed(pair):
    """The pair with a collar: 100 PAN columns that are nodata, 0 in both images."""
    valid = torch.ones(320, 320, dtype=torch.bool)
    valid[:, :100] = False
    ms = pair.ms.clone()
    ms[:, :, :25] = 0
    return dataclasses.replace(pair, pan=pair.pan * valid, ms=ms, valid=valid)


def scene_of(pair, folder):
    return geotiff.write_pair(folder, dataclasses.replace(pair, truth=None))


def fused(scene, out, ms="ms.tif", **options):
    fusing.fuse_scene(scene / "pan.tif", scene / ms, out, "GE1", **{**HOW, **options})
    with rasterio.open(out) as file:
        return file.read().astype(float), file.tags()


def test_crops_beside_a_hole_see_no_dark(pair, holed):
    exp = Patches(pair, 64).images["exp"] * pair.scale
    beside = Patches(holed, 64).images["exp"] * holed.scale
    column = slice(100, 104)
    assert (beside - exp)[..., column].abs().mean() < 0.1 * exp[..., column].mean()
    assert beside[..., 40:].min() > 0.5 * exp.min()


def test_one_scale_down_a_hole_leaves_no_dark(pair, holed):
    whole, small = reduced(pair), reduced(holed)
    column = slice(7, 8)  # the reduced MS pixel beside the collar
    off = (small.ms - whole.ms)[..., column].abs().mean() / whole.ms[..., column].mean()
    assert off < 0.15
    assert not small.valid[:, :25].any() and small.valid[:, 34:].all()


def test_figures_do_not_see_what_lies_under_the_mask(pair, holed):
    """Figures beside a hole are nearly those of the same blocks without one."""
    image = classical.fuse("GSA", pair)
    whole = dataclasses.replace(pair, valid=holed.valid, truth=None)
    expected = evaluation.evaluate(image, whole)
    found = evaluation.evaluate(image * holed.valid, dataclasses.replace(holed, truth=None))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=0.01), name
    nan = torch.where(holed.valid, image, torch.nan)
    again = metrics.full(nan, holed.ms, holed.pan, pair.sensor, "geo", holed.valid)
    assert again["D_lambda_K"] == pytest.approx(found["D_lambda_K"], abs=1e-9)


def test_a_shift_is_found_beside_a_hole(pair, holed):
    there, here = registration.estimate(pair), registration.estimate(holed)
    assert here.down == pytest.approx(there.down, abs=0.05)
    assert here.right == pytest.approx(there.right, abs=0.05)


def test_nan_under_the_mask_harms_nothing(pair, holed):
    nan = dataclasses.replace(holed, ms=holed.ms.clone(), pan=holed.pan.clone())
    nan.ms[:, :, :25], nan.pan[:, :, :100] = torch.nan, torch.nan
    network = backbones.create("fusionnet", 4, 4, "geo")
    assert torch.equal(fusion.fuse(nan, network), fusion.fuse(holed, network))
    assert torch.equal(classical.fuse("GSA", nan, 1), classical.fuse("GSA", holed, 1))


@pytest.mark.parametrize("which", ["ms", "fused"])
def test_back_projection_does_not_spread_nan(pair, which):
    images = {"fused": pair.truth.clone(), "ms": pair.ms.clone()}
    images[which][1, 5, 5] = torch.nan
    with pytest.raises(ValueError, match=f"{which}: expected finite values, found 1 NaN.*in valid"):
        back_project(**images, sensor=pair.sensor, convention="geo")
    valid = torch.ones(320, 320, dtype=torch.bool)
    valid[4:24, 4:24] = False
    out = back_project(**images, sensor=pair.sensor, convention="geo", valid=valid)
    assert torch.isfinite(out).all()


@pytest.fixture(scope="module")
def lake(pair):
    """NIR is 0 in a lake, where 0 is nodata: MS rows and columns 4 to 24."""
    ms = pair.ms.round()
    ms[3, 4:24, 4:24] = 0
    return dataclasses.replace(pair, ms=ms, truth=None, georef={**pair.georef, "nodata": 0})


def written_lake(lake, folder, dtype="uint16", nodata=0.0):
    """Its files; `write_pair` would not let a measured 0 become nodata."""
    folder.mkdir()
    for name, image, size in (("pan", lake.pan, 0.5), ("ms", lake.ms, 2.0)):
        _, height, width = image.shape
        image = torch.where(image == 0, nodata, image)
        grid = rasterio.Affine(size, 0, 500000, 0, -size, 4000000)
        profile = {"height": height, "width": width, "count": len(image), "transform": grid}
        where = folder / f"{name}.tif"
        with rasterio.open(
            where, "w", "GTiff", dtype=dtype, nodata=nodata, crs="EPSG:32631", **profile
        ) as file:
            file.write(image.numpy().round().astype(dtype))
    return folder


KINDS = [("uint16", 0), ("float32", -9999.0), ("float32", np.nan)]


@pytest.mark.parametrize(("dtype", "nodata"), KINDS)
def test_one_band_that_is_nodata_keeps_the_others(lake, tmp_path, capsys, dtype, nodata):
    scene = written_lake(lake, tmp_path / "scene", dtype, nodata)
    read = geotiff.read_pair(scene / "pan.tif", scene / "ms.tif", "GE1", convention="geo")
    assert "400 pixels of MS are nodata in some bands only" in capsys.readouterr().out
    assert read.valid is None and int(read.band_holes.sum()) == 400
    assert torch.equal(read.ms[:3], lake.ms[:3]) and read.ms[3].min() > 0
    image, _ = fused(scene, tmp_path / "f.tif", method="GSA", window=128)
    with rasterio.open(tmp_path / "f.tif") as file:
        masks = file.read_masks() > 0
    water = (slice(16, 96), slice(16, 96))
    assert masks[:3].all() and not masks[3][water].any() and masks[3].sum() == 320**2 - 80**2
    whole = classical.fuse("GSA", read)
    assert (whole[3][water] == 0).all()
    assert np.abs(np.nan_to_num(image[:3]) - whole[:3].numpy())[:, 32:-32, 32:-32].max() <= 1.5
    path = geotiff.write_fused(tmp_path / "whole.tif", whole, read)
    with rasterio.open(path) as file:
        assert np.array_equal(file.read_masks() > 0, masks)


def test_a_band_alone_is_left_out_of_figures_and_crops(lake, tmp_path):
    scene = written_lake(lake, tmp_path / "scene")
    read = geotiff.read_pair(scene / "pan.tif", scene / "ms.tif", "GE1", convention="geo")
    water = torch.zeros(320, 320, dtype=torch.bool)
    water[16:96, 16:96] = True
    assert torch.equal(read.with_all_bands, ~water)
    for row, col in Patches(read, 64).corners.tolist():
        assert not water[row : row + 64, col : col + 64].any()
    image = classical.fuse("EXP", read)
    other = torch.where(water, 5.0, image)
    for name, value in evaluation.evaluate(image, read).items():
        assert evaluation.evaluate(other, read)[name] == pytest.approx(value, abs=0.02), name
    path = geotiff.write_fused(tmp_path / "f.tif", image, read)
    rows = measuring.measure(
        path, scene / "pan.tif", scene / "ms.tif", "GE1", convention="geo", beside=False
    )
    expected = evaluation.evaluate(image.round(), read)
    assert rows["f.tif"]["HQNR"] == pytest.approx(expected["HQNR"], abs=0.005)


def test_a_dark_ms_pixel_that_pan_cuts_belongs_to_the_hole(pair, tmp_path):
    """A collar of 0 that nobody declares begins inside an MS pixel."""
    pan, ms = pair.pan.round().clone(), pair.ms.round().clone()
    pan[:, :, :98], ms[:, :, :25] = 0, 0
    dark = dataclasses.replace(pair, pan=pan, ms=ms)
    scene = scene_of(dark, tmp_path / "scene")
    read = geotiff.read_pair(scene / "pan.tif", scene / "ms.tif", "GE1", convention="geo")
    assert not read.valid[:, :100].any() and read.valid[:, 100:].all()


def test_a_mask_beside_the_file_counts(pair, tmp_path):
    scene = scene_of(pair, tmp_path / "scene")
    mask = np.full((80, 80), 255, "uint8")
    mask[:10] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(scene / "ms.tif", "r+") as file:
        file.write_mask(mask)
    assert (scene / "ms.tif.msk").is_file()
    read = geotiff.read_pair(scene / "pan.tif", scene / "ms.tif", "GE1", convention="geo")
    assert not read.valid[:40].any() and read.valid[40:].all() and read.band_holes is None


def test_negative_values_live(pair, tmp_path, capsys):
    ms = pair.ms.round()
    ms[:, 30:36, 30:36] = -7
    dark = dataclasses.replace(pair, ms=ms, dtype="int16", truth=None)
    scene = scene_of(dark, tmp_path / "scene")
    image, _ = fused(scene, tmp_path / "f.tif", method="EXP")
    assert "MS is negative at 36 pixels, down to -7: kept" in capsys.readouterr().out
    assert image.min() == -7 and (image[:, 128:136, 128:136] < 0).all()
    network = backbones.create("fusionnet", 4, 4, "geo")
    assert fusion.fuse(dark, network).min() == -7
    shift = registration.Shift(0.0, 0.5, 1.0)
    below = dataclasses.replace(dark, pan=pair.pan - pair.pan.min() - 5)
    assert registration.correct(below, shift).pan.min() < 0


def test_an_undeclared_fill_value_is_refused(pair, tmp_path):
    ms = pair.ms.round()
    ms[:, 30:36, 30:36] = -9999
    dark = dataclasses.replace(pair, ms=ms, dtype="int16", truth=None)
    scene = scene_of(dark, tmp_path / "scene")
    with pytest.raises(
        ValueError, match=r"MS has values down to -9999 .*gdal_edit -a_nodata -9999"
    ):
        fused(scene, tmp_path / "f.tif", method="EXP")


def test_sidecars_of_a_replaced_product_go_with_it(pair, tmp_path):
    scene, out = scene_of(pair, tmp_path / "scene"), tmp_path / "f.tif"
    read = geotiff.read_pair(scene / "pan.tif", scene / "ms.tif", "GE1", convention="geo")
    for write in (
        lambda: fused(scene, out, method="EXP"),
        lambda: geotiff.write_fused(out, classical.fuse("EXP", read), read),
    ):
        write()
        for ending in (".aux.xml", ".msk", ".ovr"):
            (tmp_path / f"f.tif{ending}").write_text("<PAMDataset/>")
        write()
        assert sorted(path.name for path in tmp_path.glob("f.tif*")) == ["f.tif"]


def interrupted(scene, out, monkeypatch, ms):
    """A call that stops after its first window."""
    with monkeypatch.context() as patch:
        keep, seen = windows.fuse_window, []

        def one(job, place):
            if seen:
                raise KeyboardInterrupt
            seen.append(place)
            keep(job, place)

        patch.setattr(windows, "fuse_window", one)
        with pytest.raises(KeyboardInterrupt):
            fused(scene, out, ms, method="EXP", window=192)


@pytest.mark.parametrize("through", ["file", "vrt"])
def test_a_changed_input_of_the_same_size_and_time_is_seen(
    pair, tmp_path, monkeypatch, capsys, through
):
    scene, out = scene_of(pair, tmp_path / "scene"), tmp_path / "f.tif"
    changed = scene_of(dataclasses.replace(pair, ms=pair.ms + 200), tmp_path / "new")
    for folder in (scene, changed):  # uncompressed, so that sizes are equal
        with rasterio.open(folder / "ms.tif") as file:
            image, profile = file.read(), {**file.profile, "compress": None}
        with rasterio.open(folder / "ms.tif", "w", **profile) as file:
            file.write(image)
    source, ms = scene / "ms.tif", "ms.tif"
    if through == "vrt":
        from rasterio import shutil as raster

        ms = "mosaic.vrt"
        raster.copy(source, scene / ms, driver="VRT")
    interrupted(scene, out, monkeypatch, ms)
    stamp = source.stat()
    shutil.copy(changed / "ms.tif", source)
    os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert source.stat().st_size == stamp.st_size
    image, _ = fused(scene, out, ms, method="EXP", window=192)
    assert "windows of other files or settings: they are thrown away" in capsys.readouterr().out
    off = image - classical.fuse("EXP", pair).numpy() - 200
    assert np.abs(off)[:, 32:-32, 32:-32].max() <= 2


def test_checksums_do_not_depend_on_the_windows(pair, tmp_path):
    scene = scene_of(pair, tmp_path / "scene")
    grid = grids.inspect(scene / "pan.tif", scene / "ms.tif", pair.sensor, "geo")
    found = []
    for side in (128, 192, 320):
        job = windows.Job(grid, scene, None, ("EXP",), "cpu", side, 0, None, "uint16")
        first, *others = (survey.survey_window(job, place) for place in job.places)
        found.append(sum(others, first).checksums)
    assert found[0] == found[1] == found[2] and all(found[0])


def test_a_dry_run_writes_nothing(pair, tmp_path, capsys):
    scene = scene_of(pair, tmp_path / "scene")
    files = (scene / "pan.tif", scene / "ms.tif", tmp_path / "f.tif", "GE1")
    fusing.fuse_scene(*files, method="GSA", window=128, dry_run=True, **HOW)
    told = capsys.readouterr().out
    assert "windows: 9 of 128 PAN pixels" in told and "method: GSA" in told
    assert f"would write: {tmp_path / 'f.tif'}, uint16, 1 MB" in told
    assert [path.name for path in tmp_path.iterdir()] == ["scene"]


def test_a_lock_is_free_after_use(tmp_path):
    path = tmp_path / "f.tif"
    with locks.held(path):
        message = f"is being written by process {os.getpid()} on"
        with pytest.raises(ValueError, match=message), locks.held(path):
            pass
    with locks.held(path):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ratio", [3, 6])
def test_odd_ratios_are_fused_by_classical_methods(tmp_path, ratio, capsys):
    from clippan_lite import cli
    from clippan_lite.physics import sensors

    text = sensors.to_toml(sensors.get("VHR4")).replace("ratio = 4", f"ratio = {ratio}")
    text = text.replace("[VHR4]", "[MINE]")
    lines = [line for line in text.splitlines() if not line.startswith("aliases")]
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    camera = sensors.get(str(tmp_path / "mine.toml"))
    pair = make_scene(seed=4, size=64 * ratio, sensor=camera, convention="geo")
    scene = geotiff.write_pair(tmp_path / "scene", pair)
    files = [str(scene / "pan.tif"), str(scene / "ms.tif")]
    how = ["--sensor", str(tmp_path / "mine.toml"), "--convention", "geo"]
    out = str(tmp_path / "f.tif")
    assert cli.main(["fuse", *files, out, *how, "--method", "gsa", "--rounds", "1"]) == 0
    with rasterio.open(out) as file:
        image = torch.from_numpy(file.read().astype("float32"))
    apart = [(x - pair.truth).square().mean() for x in (image, classical.fuse("EXP", pair))]
    assert apart[0] < apart[1]
    capsys.readouterr()
    for call in (["train", *files, str(tmp_path / "net")], ["fuse", *files, out, "--adapt"]):
        assert cli.main([*call, *how]) == 2
        told = capsys.readouterr().err
        assert f"found ratio {ratio}: fuse by a classical method" in told
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.tif", "mine.toml", "scene"]


def test_the_folder_of_windows_goes_when_all_is_done(pair, tmp_path):
    scene = scene_of(pair, tmp_path / "scene")
    _, tags = fused(scene, tmp_path / "f.tif", method="EXP")
    assert tags["SENSOR"] == "GE1" and len(tags["INPUTS"].split()) == 6
    assert not (tmp_path / "f.tif.parts").exists() and mosaic.NOTE == "windows.txt"
