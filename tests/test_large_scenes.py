"""Whole scenes in windows: the same as in one piece, whatever the files hold, even after a kill."""

import dataclasses
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import rasterio
import torch

from clippan_lite import backbones, classical, fusion
from clippan_lite.data import geotiff, grids
from clippan_lite.data.synthetic import make_scene
from clippan_lite.large_scenes import fusing, mosaic, survey, windows

SENSOR = "WV2"


@pytest.fixture(scope="module")
def pair():
    return make_scene(seed=3, size=640, sensor=SENSOR)


@pytest.fixture(scope="module")
def scene(pair, tmp_path_factory):
    return geotiff.write_pair(tmp_path_factory.mktemp("scene"), pair)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = backbones.create("fusionnet", 8)
    for parameter in made.parameters():  # far from EXP, and looking as far as it can
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return made.eval()


def fused(scene, out, **options):
    fusing.fuse_scene(scene / "pan.tif", scene / "ms.tif", out, SENSOR, progress=False, **options)
    with rasterio.open(out) as file:
        return (
            torch.from_numpy(file.read().astype(np.float32)),
            file.profile,
            file.tags(),
            file.descriptions,
        )


def apart(parts, whole, border=32):
    """Largest difference without the border: there the toolbox's interpolation wraps around."""
    return (parts - whole)[:, border:-border, border:-border].abs().max()


@pytest.mark.slow
def test_windows_give_the_whole(pair, scene, network, tmp_path):
    parts, profile, tags, names = fused(scene, tmp_path / "f.tif", network=network, window=256)
    whole = fusion.fuse(pair, network)
    assert (
        whole - fusion.fuse(pair, backbones.create("fusionnet", 8))
    ).abs().mean() > 20  # not just EXP
    assert (parts - whole).abs().max() <= 1.0
    assert (profile["dtype"], profile["count"], profile["interleave"]) == ("uint16", 8, "pixel")
    assert profile["transform"] == pair.georef["transform"] and profile["crs"] == pair.georef["crs"]
    assert (tags["METHOD"], tags["SENSOR"]) == ("FusionNet", "WV2") and names == pair.sensor.bands
    assert [f.name for f in tmp_path.iterdir()] == ["f.tif"]
    with rasterio.open(tmp_path / "f.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and file.overviews(1)


@pytest.mark.parametrize("method", classical.METHODS)
@pytest.mark.slow
def test_windows_give_the_whole_for_every_classical_method(method, pair, scene, tmp_path):
    parts, *_ = fused(scene, tmp_path / "f.tif", method=method, window=256)
    whole = classical.results([method], pair)
    if method == "MTF-GLP-HPM":
        # At dark pixels it divides by almost nothing, and feels the statistics' fourth digit.
        alone, *_ = fused(scene, tmp_path / "g.tif", method=method, window=640)
        assert (parts - alone).abs().max() <= 1.0
        assert ((parts - whole).abs() > 1.5).double().mean() < 1e-3
    else:
        assert (parts - whole).abs().max() <= 1.5  # one digital number, and half by rounding


@pytest.mark.parametrize("convention", ["benchmark", "geo"])
def test_the_network_on_board_gives_the_same_in_memory_and_on_disk(convention, tmp_path):
    """At the scene's border, too: there the toolbox's interpolation would wrap around."""
    pair = make_scene(seed=23, size=256, sensor="IKONOS")
    pair = dataclasses.replace(pair, convention=convention)
    scene = geotiff.write_pair(tmp_path / "scene", pair)
    options = {"dtype": "float32", "progress": False, "convention": convention}
    images = (scene / "pan.tif", scene / "ms.tif", tmp_path / "f.tif")
    fusing.fuse_scene(*images, "IKONOS", **options)
    with rasterio.open(tmp_path / "f.tif") as file:
        on_disk = torch.from_numpy(file.read())
    # The statistics are summed in another order.
    assert (on_disk - fusion.fuse(pair)).abs().max() < 1e-2


@pytest.mark.slow
def test_holes_stay_holes_and_change_nothing_elsewhere(pair, network, tmp_path):
    valid = torch.ones(640, 640, dtype=torch.bool)
    valid[200:330, 240:300] = False
    valid[:, 600:] = False
    holed = dataclasses.replace(
        pair, valid=valid, pan=pair.pan * valid, ms=pair.ms * valid[::4, ::4], truth=None
    )
    scene = geotiff.write_pair(tmp_path / "scene", holed)
    holed = geotiff.read_pair(scene / "pan.tif", scene / "ms.tif", SENSOR)
    wholes = (
        ({"network": network}, fusion.fuse(holed, network)),
        ({"method": "GSA"}, classical.fuse("GSA", holed)),
        ({"method": "MTF-GLP-CBD"}, classical.fuse("MTF-GLP-CBD", holed)),
    )
    for options, whole in wholes:
        parts, profile, *_ = fused(scene, tmp_path / "f.tif", window=192, **options)
        assert profile["nodata"] == 0
        assert torch.equal((parts != 0).any(0), holed.valid)
        assert apart(parts, whole) <= 1.5, options


@pytest.mark.slow
def test_a_registered_scene_is_the_registered_pair(pair, network, tmp_path):
    moved = dataclasses.replace(pair, pan=torch.roll(pair.pan, (2, -1), (1, 2)), truth=None)
    scene = geotiff.write_pair(tmp_path / "scene", moved)
    whole = geotiff.read_pair(scene / "pan.tif", scene / "ms.tif", SENSOR, register=True)
    parts, profile, *_ = fused(
        scene, tmp_path / "f.tif", network=network, window=256, register=True
    )
    # The look is at the whole of this small scene, so both estimate the same shift.
    assert profile["transform"] == whole.georef["transform"] != pair.georef["transform"]
    assert profile["nodata"] == 0 and torch.equal((parts != 0).any(0), whole.valid)
    assert apart(parts, fusion.fuse(whole, network)) <= 2.0  # PAN moved in pieces: rounding


@pytest.mark.slow
def test_windows_lie_where_the_geotransforms_say(pair, tmp_path):
    scene = geotiff.write_pair(
        tmp_path / "scene", dataclasses.replace(pair, convention="geo", truth=None)
    )
    with rasterio.open(
        scene / "pan.tif", "r+"
    ) as file:  # as Landsat's: PAN's corner half a PAN pixel inside MS's
        a, b, c, d, e, f = tuple(file.transform)[:6]
        file.transform = rasterio.Affine(a, b, c + a / 2, d, e, f + e / 2)
    whole = geotiff.read_scene(scene)
    assert whole.pan_shift == (0.5, 0.5)
    parts, profile, *_ = fused(
        scene, tmp_path / "f.tif", method="GSA", window=256, convention="geo"
    )
    assert profile["transform"] == whole.georef["transform"] == pair.georef["transform"]
    assert profile["nodata"] == 0 and torch.equal((parts != 0).any(0), whole.valid)
    assert apart(parts, classical.fuse("GSA", whole)) <= 1.5


KILLED = """
import os, signal, sys
from clippan_lite.large_scenes import fusing, windows

done, whole = [], windows.fuse_window

def stop(job, place):
    if len(done) == 2:
        (job.folder / ".half.part.tif").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(whole(job, place))

windows.fuse_window = stop
scene, out = sys.argv[1:]
files = (scene + "/pan.tif", scene + "/ms.tif")
fusing.fuse_scene(*files, out, "WV2", method="GSA", window=256, progress=False)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_and_gives_the_same(scene, tmp_path, monkeypatch, capsys):
    out = tmp_path / "f.tif"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(scene), str(out)], timeout=120, check=False
    )
    assert done.returncode == -9 and not out.exists()
    assert len(list((tmp_path / "f.tif.parts").glob("*_*_*.tif"))) == 2
    made = []
    keep = windows.fuse_window
    monkeypatch.setattr(
        windows, "fuse_window", lambda job, place: made.append(place) or keep(job, place)
    )
    parts, *_ = fused(scene, out, method="GSA", window=256)
    assert len(made) == 7 and "2 of 9 windows are there, going on" in capsys.readouterr().out
    assert not (tmp_path / "f.tif.parts").exists()
    monkeypatch.undo()
    whole, *_ = fused(scene, tmp_path / "g.tif", method="GSA", window=256)
    assert torch.equal(parts, whole)


@pytest.mark.slow
def test_windows_of_other_settings_are_thrown_away(scene, network, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "f.tif.parts"
    monkeypatch.setattr(mosaic, "join", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        fused(scene, tmp_path / "f.tif", network=network, window=320)
    assert len(list(folder.glob("*_*_*.tif"))) == 4
    monkeypatch.undo()
    fused(scene, tmp_path / "f.tif", method="EXP", window=320)
    assert "other files or settings: they are thrown away" in capsys.readouterr().out
    assert not folder.exists()


@pytest.mark.slow
def test_workers_give_the_same(scene, network, tmp_path):
    pytest.importorskip("distributed")
    alone, *_ = fused(scene, tmp_path / "f.tif", network=network, window=320)
    before = dict(os.environ)
    both, *_ = fused(scene, tmp_path / "g.tif", network=network, window=320, workers=2)
    assert dict(os.environ) == before
    assert (alone - both).abs().max() <= 1.0  # another number of threads may round otherwise


def test_the_percentile_is_that_of_all_pixels(pair, scene, network):
    grid = grids.inspect(scene / "pan.tif", scene / "ms.tif", pair.sensor)
    job = windows.Job(grid, scene, network, (), "cpu", 192, 64, None, "uint16")
    first, *others = (survey.survey_window(job, place) for place in job.places)
    found = sum(others, first)
    for share in (0.5, 0.999, 0.9):
        assert found.percentile(share) == pytest.approx(
            np.percentile(pair.pan.numpy(), 100 * share), abs=1e-6
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "GSA", "network": backbones.create("pnn", 8)},
            "expected a network or a method, found both",
        ),
        ({"rounds": 3}, "3 rounds of back-projection without a method: give one"),
        ({"rounds": -1, "method": "GSA"}, "rounds of back-projection: expected a whole number"),
        ({"rounds": 200, "method": "GSA"}, "expected at most 20, found 200"),
        ({"method": "GSA", "window": 8}, "expected a window of 64 PAN pixels or more"),
        ({"method": "GSA", "workers": 0}, "1 worker or more"),
        ({"method": "best"}, "unknown method 'best': expected one of EXP, Brovey"),
        ({"method": ""}, "unknown method '': expected one of EXP, Brovey"),
        ({"dtype": "uint8"}, "dtype uint8 cannot hold 11 bit, up to 2047"),
        ({"dtype": "half"}, "dtype: expected one of uint8, .*, found 'half'"),
        ({"network": backbones.create("pnn", 4)}, "the network takes 4 bands"),
        (
            {"method": "GSA", "convention": "half"},
            "convention: expected 'benchmark' or 'geo', found 'half'",
        ),
    ],
)
def test_what_cannot_be_is_one_line(scene, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        fused(scene, tmp_path / "f.tif", **options)
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_leave_nothing_behind(pair, scene, tmp_path):
    def broken(name):
        folder = tmp_path / name
        shutil.copytree(scene, folder)
        return folder

    truncated = broken("truncated")
    whole = (truncated / "ms.tif").read_bytes()
    (truncated / "ms.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"truncated or damaged|not a raster"):
        fused(truncated, tmp_path / "f.tif", method="GSA")
    bright = broken("bright")
    geotiff.write_pair(bright, dataclasses.replace(pair, ms=pair.ms * 20, truth=None))
    with pytest.raises(ValueError, match=r"MS has values from .* WV2 gives 0 to 2047"):
        fused(bright, tmp_path / "f.tif", method="GSA")
    with pytest.raises(ValueError, match="is one of the files to be fused"):
        fused(scene, scene / "pan.tif", method="GSA")
    (tmp_path / "a.tif").mkdir()
    with pytest.raises(ValueError, match=r"a\.tif cannot be written: it is a folder"):
        fused(scene, tmp_path / "a.tif", method="GSA")
    (tmp_path / "b.tif.parts").mkdir()
    (tmp_path / "b.tif.parts" / "mine.txt").write_text("dear diary")
    with pytest.raises(ValueError, match=r"b\.tif\.parts is not a folder of windows"):
        fused(scene, tmp_path / "b.tif", method="EXP")
    assert (tmp_path / "b.tif.parts" / "mine.txt").read_text() == "dear diary"
    with pytest.raises(ValueError, match=r"must end in \.tif"):
        fused(scene, tmp_path / "f.png", method="GSA")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        fused(tmp_path, tmp_path / "f.tif", method="GSA")
    assert not list(tmp_path.glob("f.tif*"))


def test_infinite_pixels_are_told_before_anything_is_computed(pair, tmp_path):
    ms = pair.ms.clone()
    ms[:, 10:12, 10:12] = float("inf")
    scene = geotiff.write_pair(
        tmp_path / "scene", dataclasses.replace(pair, ms=ms, dtype="float32", truth=None)
    )
    with pytest.raises(ValueError, match="MS has 4 NaN or infinite pixels"):
        fused(scene, tmp_path / "f.tif", method="GSA", window=192)


def test_nodata_that_leaves_nothing_for_a_regression_is_refused(pair, tmp_path):
    valid = torch.zeros(640, 640, dtype=torch.bool)
    valid[::8, ::8] = True  # no MS pixel is whole
    holed = dataclasses.replace(pair, valid=valid, pan=pair.pan * valid, truth=None)
    scene = geotiff.write_pair(tmp_path / "scene", holed)
    with pytest.raises(ValueError, match="nodata leaves 0 pixels for GSA, expected 18"):
        fused(scene, tmp_path / "f.tif", method="GSA", window=192)


@pytest.mark.slow
def test_files_of_other_extents_are_fused_where_they_meet(pair, tmp_path):
    """PAN is a row and a column short, as Landsat's are, and MS begins further left.

    Scale and offset are kept.
    """
    scene = geotiff.write_pair(tmp_path / "scene", dataclasses.replace(pair, truth=None))
    with rasterio.open(scene / "pan.tif") as file:
        pan, profile = file.read()[:, 37:-1, 100:-1], file.profile
    profile |= {"height": pan.shape[1], "width": pan.shape[2]}
    profile["transform"] = profile["transform"] @ rasterio.Affine.translation(100, 37)
    with rasterio.open(scene / "pan.tif", "w", **profile) as file:
        file.write(pan)
    with rasterio.open(scene / "ms.tif", "r+") as file:
        file.scales, file.offsets = [0.5] * 8, [-1.0] * 8
    parts, profile, *_ = fused(scene, tmp_path / "f.tif", method="GSA", window=192)
    inner = (slice(None), slice(40, 636), slice(100, 636))  # whole MS pixels that both cover
    cut = dataclasses.replace(pair, ms=pair.ms[:, 10:159, 25:159], pan=pair.pan[inner], truth=None)
    assert parts.shape[1:] == (596, 536)
    assert tuple(profile["transform"] * (0, 0)) == tuple(pair.georef["transform"] * (100, 40))
    assert apart(parts, classical.fuse("GSA", cut)) <= 1.5
    with rasterio.open(tmp_path / "f.tif") as file:
        assert set(file.scales) == {0.5} and set(file.offsets) == {-1.0}
    whole = geotiff.read_pair(scene / "pan.tif", scene / "ms.tif", SENSOR)
    assert torch.equal(whole.ms, cut.ms) and torch.equal(whole.pan, cut.pan)


@pytest.mark.slow
def test_two_jobs_for_one_product_do_not_mix(scene, network, tmp_path, monkeypatch):
    """A second call that comes while the first one works is refused, and says who works."""
    seen, keep = [], windows.fuse_window

    def between(job, place):
        seen.append(place)
        if len(seen) == 2:
            message = f"is being written by process {os.getpid()} on .* since .*: wait until it is"
            with pytest.raises(ValueError, match=message):
                fused(scene, tmp_path / "f.tif", method="EXP", window=320)
        return keep(job, place)

    monkeypatch.setattr(windows, "fuse_window", between)
    parts, *_ = fused(scene, tmp_path / "f.tif", network=network, window=320)
    assert [file.name for file in tmp_path.iterdir()] == ["f.tif"]
    assert (parts - fusion.fuse(geotiff.read_scene(scene), network)).abs().max() <= 1.0


@pytest.mark.slow
def test_a_full_disk_at_the_end_is_one_line_and_the_same_call_goes_on(scene, tmp_path, monkeypatch):
    (tmp_path / "f.tif.parts").mkdir()
    (tmp_path / "f.tif.parts" / "windows.txt").touch()
    (tmp_path / "f.tif.parts" / "scene.vrt.ovr").write_bytes(b"II*\0half")  # of a killed call
    copy = mosaic.rasterio.shutil.copy
    monkeypatch.setattr(
        mosaic.rasterio.shutil, "copy", lambda *_, **__: (_ for _ in ()).throw(SystemError("full"))
    )
    with pytest.raises(OSError, match=r"could not be written \(full\); the windows are kept"):
        fused(scene, tmp_path / "f.tif", method="EXP", window=320)
    monkeypatch.setattr(mosaic.rasterio.shutil, "copy", copy)
    parts, *_ = fused(scene, tmp_path / "f.tif", method="EXP", window=320)
    alone, *_ = fused(scene, tmp_path / "g.tif", method="EXP", window=320)
    assert torch.equal(parts, alone)


@pytest.mark.slow
def test_float_data_keeps_its_type(pair, tmp_path):
    scene = geotiff.write_pair(
        tmp_path / "scene", dataclasses.replace(pair, dtype="float32", truth=None)
    )
    parts, profile, *_ = fused(scene, tmp_path / "f.tif", method="GSA", window=320)
    assert profile["dtype"] == "float32"
    assert apart(parts, classical.fuse("GSA", pair)) <= 0.5
    assert parts.min() >= 0 and not parts.eq(parts.round()).all()


@pytest.mark.slow
def test_float32_keeps_the_fractions_that_rounding_costs(pair, scene, tmp_path):
    options = {"method": "GSA", "rounds": 3, "window": 320}
    exact, profile, *_ = fused(scene, tmp_path / "f.tif", dtype="float32", **options)
    whole, rounded_profile, *_ = fused(scene, tmp_path / "r.tif", **options)
    assert (profile["dtype"], rounded_profile["dtype"]) == ("float32", "uint16")
    assert torch.equal(exact.round(), whole) and not torch.equal(exact, whole)
