"""Files that could harm: too large, pointing elsewhere, or left behind by a killed call."""

import contextlib
import dataclasses
import json
import os
import resource

import h5py
import numpy as np
import pytest
import rasterio
import torch
from filelock import FileLock, Timeout
from scipy import io

from clippan_lite import backbones, checkpoints, cli
from clippan_lite.config import TrainConfig
from clippan_lite.course import chain
from clippan_lite.data import geotiff, grids, readers, sources
from clippan_lite.data.synthetic import make_scene
from clippan_lite.metrics import evaluation
from clippan_lite.runtime import facts, files, locks, weights, workers


@pytest.fixture
def scene(tmp_path):
    """PAN and MS of a small scene in a folder of their own."""
    return geotiff.write_pair(tmp_path / "scene", make_scene(seed=2, size=256, sensor="WV2"))


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("CLIPPAN_SOURCES", raising=False)
    monkeypatch.delenv("CLIPPAN_LARGEST_GIB", raising=False)
    sources._check_mosaic.cache_clear()


# ---------------------------------------------------------------- too large


def zeros_in_h5(path, shape=(1, 8, 16384, 16384)):
    """A file of some kB that declares images of gigabytes."""
    with h5py.File(path, "w") as file:
        file.create_dataset("ms", shape, "f8", chunks=(1, 1, 256, 256), compression="gzip")
        file.create_dataset("pan", (1, 1, 64, 64), "f8")
    return path


def test_an_h5_file_that_declares_gigabytes_is_refused_before_it_is_read(tmp_path):
    path = zeros_in_h5(tmp_path / "a.h5")
    assert path.stat().st_size < 1e5
    message = "an image of ms would take 16 GiB, expected at most 1"
    with pytest.raises(ValueError, match=message):
        readers.read_h5(path, "WV3")
    path.rename(tmp_path / "a.mat")
    with pytest.raises(ValueError, match=message):
        readers.read_mat(tmp_path / "a.mat", None, "WV3")


def test_an_npz_that_declares_more_than_it_holds_is_refused(tmp_path):
    import zipfile

    for shape, message in (
        ("(8, 20000, 20000)", "ms.npy would take 23.8 GiB"),
        ("(8, 512, 512)", "declares .* pixels, there are fewer"),
    ):
        header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
        header = header.ljust(117) + "\n"
        array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("ms.npy", array)
            archive.writestr("pan.npy", array)
        with pytest.raises(ValueError, match=message):
            readers.read_npz(tmp_path / "a.npz", "WV3")


def test_a_matlab_file_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPPAN_LARGEST_GIB", "0.01")
    path = tmp_path / "a.mat"
    io.savemat(path, {"ms": np.zeros((8, 512, 512)), "pan": np.zeros((9, 9))}, do_compression=True)
    assert path.stat().st_size < 1e5
    with pytest.raises(ValueError, match=r"what it holds would take .* GiB, expected at most 0.01"):
        readers.read_mat(path, None, "WV3")
    monkeypatch.setenv("CLIPPAN_LARGEST_GIB", "many")
    with pytest.raises(ValueError, match="CLIPPAN_LARGEST_GIB must be a number, found 'many'"):
        readers.read_mat(path, None, "WV3")


def test_a_geotiff_that_declares_gigabytes_is_refused(tmp_path):
    for name, side, count in (("pan", 40000, 1), ("ms", 10000, 8)):
        profile = {"driver": "GTiff", "width": side, "height": side, "count": count}
        more = {"dtype": "uint16", "sparse_ok": True, "tiled": True}
        with rasterio.open(tmp_path / f"{name}.tif", "w", **profile, **more):
            pass
    with pytest.raises(ValueError, match=r"pan\.tif would take 5.96 GiB, expected at most 1"):
        geotiff.read_pair(tmp_path / "pan.tif", tmp_path / "ms.tif", "WV2")


@pytest.mark.parametrize(
    ("bands", "options", "message"),
    [
        (10_000_000, {}, "bands must be a whole number from 1 to 1024"),
        (8, {"width": 10**9}, "width must be at most 1024"),
        (8, {"width": 1024}, "do not fit its settings"),
    ],
)
def test_a_network_is_not_built_as_large_as_its_file_says(tmp_path, bands, options, message):
    path, network = tmp_path / "n.safetensors", backbones.create("fusionnet", 8)
    config = dataclasses.asdict(TrainConfig(options=options))
    header = {"config": config, "bands": bands, "ratio": 4, "convention": "benchmark"}
    weights.save(path, network.state_dict(), header)
    with pytest.raises(ValueError, match=message):
        checkpoints.load_network(path)


# ---------------------------------------------------------------- pointing elsewhere


def test_h5_files_that_point_to_other_files_are_refused(tmp_path):
    """External storage would make pixels of any file's bytes."""
    (tmp_path / "secret").write_bytes(os.urandom(8 * 16 * 16 * 8))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["ms"] = np.ones((1, 8, 16, 16))
    ways = {
        "storage": lambda file: file.create_dataset(
            "ms", (1, 8, 16, 16), "f8", external=[(str(tmp_path / "secret"), 0, 16384)]
        ),
        "link": lambda file: file.__setitem__(
            "ms", h5py.ExternalLink(str(tmp_path / "other.h5"), "ms")
        ),
        "virtual": lambda file: file.create_virtual_dataset("ms", layout),
    }
    layout = h5py.VirtualLayout((1, 8, 16, 16), "f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "ms", (1, 8, 16, 16))
    for name, point in ways.items():
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["pan"] = np.ones((1, 1, 64, 64))
            point(file)
        with pytest.raises(ValueError, match="ms lies in another file, expected it in this one"):
            readers.read_h5(tmp_path / f"{name}.h5", "WV3")


def vrt(path, source, relative=1, inner=""):
    path.write_text(
        '<VRTDataset rasterXSize="256" rasterYSize="256"><SRS>EPSG:32631</SRS>'
        "<GeoTransform>500000, 0.5, 0, 128, 0, -0.5</GeoTransform>"
        '<VRTRasterBand dataType="UInt16" band="1"'
        f'{inner}><SimpleSource><SourceFilename relativeToVRT="{relative}">{source}'
        "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return path


def test_a_mosaic_of_files_beside_it_is_read_and_named(scene, capsys):
    mosaic = vrt(scene / "mosaic.vrt", "pan.tif")
    pair = geotiff.read_pair(mosaic, scene / "ms.tif", "WV2")
    whole = geotiff.read_pair(scene / "pan.tif", scene / "ms.tif", "WV2")
    assert torch.equal(pair.pan, whole.pan)
    said = capsys.readouterr().out
    assert said.count("mosaic.vrt is a virtual raster of 1 files:") == 1 and "pan.tif" in said
    (scene / "parts").mkdir()
    os.replace(scene / "pan.tif", scene / "parts" / "pan.tif")
    vrt(scene / "parts" / "inner.vrt", "pan.tif")
    vrt(mosaic, "parts/inner.vrt")
    assert torch.equal(geotiff.read_pair(mosaic, scene / "ms.tif", "WV2").pan, whole.pan)


def test_a_raster_that_names_other_files_is_refused(scene, tmp_path, monkeypatch):
    outside = tmp_path / "outside.tif"
    outside.write_bytes((scene / "pan.tif").read_bytes())
    hidden = vrt(scene / "hidden.tif", outside, 0)
    with pytest.raises(ValueError, match="is not a raster that GDAL can read: give a GeoTIFF"):
        geotiff.read_pair(hidden, scene / "ms.tif", "WV2")
    honest = scene / "mosaic.vrt"
    for source, relative in (
        (outside, 0),
        ("../outside.tif", 1),
        ("/vsicurl/http://127.0.0.1:9/x.tif", 0),
        ("hidden.tif", 1),
        ("&lt;VRTDataset/&gt;", 1),
        ("pan.tif", "yes"),
    ):
        vrt(honest, source, relative)
        with pytest.raises(ValueError, match=r"no file in or below|no TIFF|unusual way") as told:
            geotiff.read_pair(honest, scene / "ms.tif", "WV2")
        assert "\n" not in str(told.value)
        sources._check_mosaic.cache_clear()
    vrt(honest, "pan.tif", inner=' subClass="VRTRawRasterBand"')
    with pytest.raises(ValueError, match="more than a mosaic"):
        geotiff.read_pair(honest, scene / "ms.tif", "WV2")
    monkeypatch.setenv("CLIPPAN_SOURCES", "anywhere")
    vrt(honest, outside, 0)
    assert geotiff.read_pair(honest, scene / "ms.tif", "WV2").pan.shape == (1, 256, 256)


TILE = """BEGIN_GROUP = TILE_{n}
    filename = "{name}";
    ULColOffset = {left}; ULRowOffset = 0;
    URColOffset = {right}; URRowOffset = 0;
    LRColOffset = {right}; LRRowOffset = 255;
    LLColOffset = {left}; LLRowOffset = 255;
END_GROUP = TILE_{n}
"""


def tile_map(path, names):
    """The tile map of a Maxar product of 256 PAN pixels each way, and the file that it needs."""
    side = 256 // len(names)
    tiles = [
        TILE.format(n=n + 1, name=name, left=n * side, right=(n + 1) * side - 1)
        for n, name in enumerate(names)
    ]
    path.write_text(f'bandId = "P";\nnumTiles = {len(names)};\n{"".join(tiles)}END;\n')
    facts = (
        "numRows = 256;\nnumColumns = 256;\nbitsPerPixel = 16;\n"
        "BEGIN_GROUP = MAP_PROJECTED_PRODUCT\nULX = 500000.25;\nULY = 127.75;\n"
        "colSpacing = 0.5;\nrowSpacing = 0.5;\nEND_GROUP = MAP_PROJECTED_PRODUCT\n"
    )
    path.with_suffix(".IMD").write_text(f'version = "AA";\nbandId = "P";\n{facts}END;\n')
    return path


def test_a_tile_map_is_read_as_the_mosaic_that_it_is(scene, capsys):
    whole = geotiff.read_pair(scene / "pan.tif", scene / "ms.tif", "WV2")
    with rasterio.open(scene / "pan.tif") as file:
        pixels, profile = file.read(), file.profile
    for name, left in (("a.TIF", 0), ("b.TIF", 128)):
        place = profile["transform"] @ rasterio.Affine.translation(left, 0)
        with rasterio.open(
            scene / name, "w", **profile | {"width": 128, "transform": place}
        ) as file:
            file.write(pixels[:, :, left : left + 128])
    tiled = tile_map(scene / "pan.TIL", ["a.TIF", "b.TIF"])
    pair = geotiff.read_pair(tiled, scene / "ms.tif", "WV2")
    assert torch.equal(pair.pan, whole.pan)
    assert pair.georef["transform"].almost_equals(whole.georef["transform"], 1e-6)
    assert "pan.TIL is a virtual raster of 2 files:" in capsys.readouterr().out
    assert {scene / "a.TIF", scene / "b.TIF", tiled} <= grids.files_behind(tiled)


@pytest.mark.parametrize("name", ["../outside.tif", "ms.tif/../../outside.tif", "text.TIF", "none"])
def test_a_tile_map_that_names_other_files_is_refused(scene, tmp_path, name):
    (tmp_path / "outside.tif").write_bytes((scene / "pan.tif").read_bytes())
    (scene / "text.TIF").write_text("<VRTDataset/>")
    with pytest.raises(ValueError, match=r"no file in or below its folder|is no TIFF"):
        geotiff.read_pair(tile_map(scene / "pan.TIL", [name]), scene / "ms.tif", "WV2")
    tiled = scene / "unusual.TIL"
    tiled.write_text('filename = "pan.tif"; filename = ../outside.tif;\n')
    with pytest.raises(ValueError, match="no tile map that names its files plainly"):
        geotiff.read_pair(tiled, scene / "ms.tif", "WV2")


@pytest.mark.parametrize("ending", [".img", ".jp2", ".ntf"])
def test_a_virtual_raster_under_another_name_is_refused(scene, tmp_path, ending):
    outside = tmp_path / "outside.tif"
    outside.write_bytes((scene / "pan.tif").read_bytes())
    hidden = vrt(scene / f"hidden{ending}", outside, 0)
    with pytest.raises(ValueError, match="file, expected one by its name"):
        geotiff.read_pair(vrt(scene / "a.vrt", hidden.name), scene / "ms.tif", "WV2")


def test_a_virtual_raster_of_itself_ends(scene):
    with pytest.raises(ValueError, match="lies in 4 other virtual rasters"):
        geotiff.read_pair(vrt(scene / "a.vrt", "a.vrt"), scene / "ms.tif", "WV2")


def test_masks_and_overviews_beside_a_file_are_tiffs(scene):
    vrt(scene / "pan.tif.msk", "ms.tif")
    with pytest.raises(ValueError, match=r"pan\.tif\.msk is no TIFF"):
        geotiff.read_pair(scene / "pan.tif", scene / "ms.tif", "WV2")


@pytest.mark.slow
def test_a_local_cluster_listens_on_this_computer_alone():
    pytest.importorskip("distributed")
    with workers._connect(1, None, 1) as client:
        scheduler = client.cluster.scheduler
        sockets = scheduler.http_server._sockets.values()
        places = {socket.getsockname()[0] for socket in sockets}
        assert places == {"127.0.0.1"} and scheduler.address.startswith("tcp://127.0.0.1:")


# ---------------------------------------------------------------- left behind


def test_a_full_disk_leaves_the_network_before_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "n.safetensors"
    checkpoints.save_network(path, backbones.create("fusionnet", 8), TrainConfig())
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"the disk is full: .* the one before it is kept; make room"):
        checkpoints.save_network(path, backbones.create("pnn", 4), TrainConfig(backbone="pnn"))
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["n.safetensors"]


@contextlib.contextmanager
def small_disk(size):
    """No file becomes larger than so many bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("compress", [True, False])
def test_a_geotiff_cut_by_a_full_disk_is_not_kept(tmp_path, compress):
    """GDAL closes a file without an error when the last bytes found no room."""
    image = 2000 * torch.rand(1, 256, 256, generator=torch.Generator().manual_seed(0))
    geotiff.write_image(tmp_path / "whole.tif", image, "uint16", compress=compress)
    size = (tmp_path / "whole.tif").stat().st_size
    for share in (0.001, 0.3, 0.8, 0.99, 1 - 1 / size):
        with small_disk(int(share * size)), pytest.raises(OSError, match="is the disk full"):
            geotiff.write_image(tmp_path / "a.tif", image, "uint16", compress=compress)
    assert os.listdir(tmp_path) == ["whole.tif"]


@pytest.mark.parametrize("at", ["write_csv", "save_network", "remove"])
def test_a_training_killed_at_its_end_loses_nothing(scene, tmp_path, monkeypatch, capsys, at):
    """Whatever is cut off there, the same command ends with the network of an undisturbed one."""
    from clippan_lite.runtime.state import TrainingState

    train = ["train", str(scene / "pan.tif"), str(scene / "ms.tif")]
    options = ["--sensor", "WV2", "--device", "cpu", "--steps", "3"]
    monkeypatch.setattr("clippan_lite.config.RECIPES", {"best": small()})
    monkeypatch.setattr("clippan_lite.experiments.kept_training.EVERY", 2)
    assert cli.main([*train, str(tmp_path / "whole"), *options]) == 0

    def killed(*_, **__):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        place = {"write_csv": files, "save_network": checkpoints, "remove": TrainingState}[at]
        patched.setattr(place, at, killed)
        assert cli.main([*train, str(out), *options]) == 130
    assert (out / "state.safetensors").is_file()
    (out / ".network-0a1b2c3d.part.safetensors").write_bytes(b"of a killed call")
    assert cli.main([*train, str(out), *options]) == 0
    said = capsys.readouterr().out
    assert ("going on from step 2" in said) == (at != "remove")
    assert sorted(os.listdir(out)) == [".lock", "history.csv", "network.safetensors"]
    for name in ("history.csv", "network.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def small():
    from clippan_lite.config import recipe

    return recipe("best", patch=64, batch=1, ship=0.0, qnr=0.0)


def test_a_second_training_in_a_folder_is_refused(scene, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".lock"):
        arguments = ["train", str(scene / "pan.tif"), str(scene / "ms.tif"), str(out)]
        assert cli.main([*arguments, "--sensor", "WV2", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "another training is running in" in error and error.count("\n") == 1
    assert os.listdir(out) == [".lock"]


def test_a_chain_killed_before_its_record_can_begin_anew(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(chain, "_run_all", lambda run_dir, *_: seen.append(run_dir))
    monkeypatch.setattr("clippan_lite.course.report.build", lambda folder: folder)
    (tmp_path / "run" / "notebooks").mkdir(parents=True)
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / ".run-0a1b2c3d.part.json").write_text("{")
    for resume in (False, True):
        chain.run_chain(tmp_path / "run", {}, resume)
    assert len(seen) == 2 and sorted(os.listdir(tmp_path / "run")) == [".lock", "notebooks"]


def test_what_killed_calls_left_is_removed_after_a_day(tmp_path):
    old, fresh = (tmp_path / f".a-{n}.part.json" for n in ("0a1b2c3d", "4e5f6071"))
    other = tmp_path / ".ab-0a1b2c3d.part.json"
    for path in (old, fresh, other):
        path.touch()
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))
    files.write_json(tmp_path / "a.json", {})
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([fresh.name, other.name, "a.json"])


# ---------------------------------------------------------------- facts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "expected JSON, found something else"),
        ("[]", r"expected a table, found \[\]"),
        ('{"a": ' * 40 + "1" + "}" * 40, "at most 30 tables within tables"),
        ("\x00", "expected JSON"),
    ],
)
def test_json_that_is_no_table_is_one_line(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=message) as told:
        facts.read(tmp_path / "a.json")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("value", [True, "8", 2**70, -1, 8.0, float("inf"), None, [8]])
def test_facts_have_their_types_and_bounds(value):
    found = facts.parse(json.dumps({"bits": value}), "scene.json")
    with pytest.raises(ValueError, match=r"scene\.json: bits must be a whole number from 1 to 32"):
        found.whole("bits", 1, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 2**70}, "bits must be a whole number from 1 to 32"),
        ({"bits": float("inf")}, "bits must be a whole number"),
        ({"name": 5}, "name must be a text"),
        ({"pan_shift": [float("nan"), 0]}, "pan_shift must be a list of 2"),
        ({"sensor": ["WV2"]}, "sensor must be a text"),
    ],
)
def test_a_scene_with_impossible_facts_is_refused(scene, change, message):
    told = json.loads((scene / "scene.json").read_text())
    (scene / "scene.json").write_text(json.dumps(told | change))
    with pytest.raises(ValueError, match=message):
        geotiff.read_scene(scene)


def test_pixels_without_truth_do_not_count(scene, capsys):
    with rasterio.open(scene / "truth.tif") as file:
        profile, pixels = file.profile, file.read().astype("float32")
    pixels[0, 3, 4] = np.nan
    with rasterio.open(
        scene / "truth.tif", "w", **{**profile, "dtype": "float32", "predictor": 3}
    ) as file:
        file.write(pixels)
    pair = geotiff.read_scene(scene)
    assert not pair.valid[3, 4] and int((~pair.valid).sum()) == 1
    assert "the truth is not known in 1 pixels: they do not count" in capsys.readouterr().out
    figures = evaluation.against_truth(pair.truth.where(pair.valid, 7.0), pair)
    assert figures["PSNR"] > 100 and figures["ERGAS"] == 0


def test_compressed_matlab_files_are_still_read(tmp_path):
    pair = make_scene(seed=2, size=64, sensor="WV3")
    arrays = {"ms": pair.ms.numpy(), "pan": pair.pan.numpy()}
    io.savemat(tmp_path / "a.mat", arrays, do_compression=True)
    assert torch.equal(readers.read_mat(tmp_path / "a.mat", None, "WV3").ms, pair.ms)


def test_a_folder_that_takes_no_files_is_told(tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        raise Timeout(self.lock_file)

    monkeypatch.setattr(FileLock, "acquire", refuse)
    message = r"f\.tif cannot be written: .* takes no files"
    with pytest.raises(ValueError, match=message), locks.held(tmp_path / "f.tif"):
        pass
