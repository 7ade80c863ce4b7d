"""Benchmark files of the published layouts, made here, and what happens to damaged ones."""

import h5py
import numpy as np
import pytest
import torch
from scipy import io

from clippan_lite import data
from clippan_lite.config import TrainConfig
from clippan_lite.data import geotiff, readers
from clippan_lite.data.synthetic import make_scene
from clippan_lite.training import train


@pytest.fixture(scope="module")
def scene():
    return make_scene(seed=2, size=256, sensor="WV3")


def h5(path, scene, count=3, keys=("ms", "pan", "gt", "lms")):
    images = {"ms": scene.ms, "pan": scene.pan, "gt": scene.truth, "lms": scene.truth}
    with h5py.File(path, "w") as file:
        for key in keys:
            file[key] = np.stack([images[key].numpy() / (i + 1) for i in range(count)])
    return path


def test_pancollection_reduced_full_and_lazy(scene, tmp_path, monkeypatch):
    reduced = readers.read_h5(h5(tmp_path / "test_wv3.h5", scene), "WV3")
    assert len(reduced) == 3 and [len(reduced[1:]), len(reduced[::2])] == [2, 2]
    pair = reduced[1:][0]
    torch.testing.assert_close(pair.ms, scene.ms / 2)
    torch.testing.assert_close(pair.truth, scene.truth / 2)
    assert (pair.name, pair.convention, pair.sensor.name) == ("test_wv3_1", "benchmark", "WV3")
    full = readers.read_h5(h5(tmp_path / "full.h5", scene, keys=("ms", "pan")), "WV3")
    assert full[-1].truth is None and len(list(full)) == 3
    with pytest.raises(IndexError):
        full[3]
    read = []
    get = h5py.Dataset.__getitem__
    monkeypatch.setattr(
        h5py.Dataset, "__getitem__", lambda self, key: read.append(key) or get(self, key)
    )
    _ = reduced[2]
    assert read == [2, 2, 2]  # one sample of ms, pan and gt, never an array as a whole


def test_splits_by_scene_read_nothing_and_share_nothing(scene, tmp_path):
    samples = readers.read_h5(h5(tmp_path / "a.h5", scene, count=9), "WV3")
    (tmp_path / "a.h5").rename(tmp_path / "b.h5")
    train_on, judged_on = data.split_scenes(samples, held_out=0.3, gap=1)
    assert (len(train_on), len(judged_on)) == (5, 3)
    (tmp_path / "b.h5").rename(tmp_path / "a.h5")
    assert [pair.name for pair in judged_on] == ["a_6", "a_7", "a_8"] and train_on[-1].name == "a_4"
    for wrong in ({"held_out": 1.0}, {"held_out": 0.5, "gap": 5}, {"gap": -1}):
        with pytest.raises(ValueError, match=r"held_out between 0 and 1|cannot be split"):
            data.split_scenes(samples, **wrong)


def test_a_network_trains_on_samples(scene, tmp_path):
    samples = readers.read_h5(h5(tmp_path / "a.h5", scene), "WV3")
    config = TrainConfig(steps=2, batch=2, patch=64).changed(direction=0.0, qnr=0.0)
    _, history = train(samples[:2], config, progress=False)
    assert len(history) == 2


def test_matlab_files_together_and_apart(scene, tmp_path):
    bands_last = {"imgMS": np.moveaxis(scene.ms.numpy(), 0, 2).astype(np.uint16)}
    pan = {"imgPAN": scene.pan[0].numpy().astype(np.uint16)}
    for folder, content in (("MS_256", bands_last), ("PAN_1024", pan)):
        (tmp_path / "nbu" / folder).mkdir(parents=True)
        for number in (1, 2, 10):
            io.savemat(tmp_path / "nbu" / folder / f"{number}.mat", content)
    (tmp_path / "nbu" / "PAN_1024" / "2.mat").unlink()
    samples = readers.read_nbu(tmp_path, "WV3")
    assert [pair.name for pair in samples] == ["1", "10"]
    assert torch.equal(samples[0].ms, scene.ms) and torch.equal(samples[0].pan, scene.pan)
    io.savemat(tmp_path / "both.mat", {"I_MS": bands_last["imgMS"], "I_PAN": pan["imgPAN"]})
    assert torch.equal(readers.read_mat(tmp_path / "both.mat", None, "WV3").pan, scene.pan)
    with h5py.File(
        tmp_path / "v73.mat", "w"
    ) as file:  # MATLAB writes (h, w, C) with its first axis last
        file["imgMS"], file["imgPAN"] = bands_last["imgMS"].T, pan["imgPAN"].T
    newer = readers.read_mat(tmp_path / "v73.mat", None, "WV3")
    assert torch.equal(newer.ms, scene.ms) and torch.equal(newer.pan, scene.pan)
    with pytest.raises(ValueError, match="has no PAN: expected one of pan, imgPAN"):
        readers.read_mat(tmp_path / "nbu" / "MS_256" / "1.mat", None, "WV3")
    with pytest.raises(ValueError, match=r"holds no MS_256/\*\.mat"):
        readers.read_nbu(tmp_path / "none", "WV3")


def test_npz_with_truth(scene, tmp_path):
    np.savez(tmp_path / "a.npz", ms=scene.ms, pan=scene.pan, truth=scene.truth)
    pair = readers.read_npz(tmp_path / "a.npz", "WV3")
    assert torch.equal(pair.truth, scene.truth) and pair.name == "a"


def broken(scene, **changes):
    arrays = {
        "ms": scene.ms.numpy(),
        "pan": scene.pan.numpy(),
        "truth": scene.truth.numpy(),
    } | changes
    return {name: array for name, array in arrays.items() if array is not None}


@pytest.mark.parametrize(
    ("changes", "sensor", "message"),
    [
        ({}, "QB", r"has shape \(8, 64, 64\), expected 4 bands: choose the sensor"),
        (
            {"pan": np.ones((1, 128, 128))},
            "WV3",
            "PAN is 128 x 128 and MS 64 x 64 pixels, a ratio of 2 x 2, but WV3 has 4",
        ),
        ({"truth": np.ones((8, 64, 64))}, "WV3", "the truth is"),
        (
            {"ms": np.full((8, 64, 64), 4000.0)},
            "WV3",
            "MS has values from 4000 to 4000, WV3 gives 0 to 2047",
        ),
        ({"ms": np.full((8, 64, 64), np.nan)}, "WV3", "MS has 4096 NaN"),
        (
            {"pan": np.random.default_rng(0).random((1, 256, 256))},
            "WV3",
            "values up to .* only: give digital numbers",
        ),
        ({"pan": np.zeros((1, 0, 0))}, "WV3", "expected 1 bands"),
        ({"pan": np.array([["a"] * 256] * 256)}, "WV3", "PAN holds str32, expected digital num"),
        ({"pan": None}, "WV3", "has no PAN"),
        ({}, "WV9", "WV9"),
    ],
)
def test_what_does_not_fit_is_one_line(scene, tmp_path, changes, sensor, message):
    np.savez(tmp_path / "a.npz", **broken(scene, **changes))
    with pytest.raises(ValueError, match=message) as told:
        readers.read_npz(tmp_path / "a.npz", sensor)
    assert "\n" not in str(told.value)


def test_messages_name_what_is_wrong(scene, tmp_path):
    np.savez(tmp_path / "other.npz", a=scene.ms.numpy(), b=scene.pan.numpy())
    np.savez(tmp_path / "many.npz", ms=np.stack([scene.ms.numpy()] * 2), pan=scene.pan.numpy())
    np.save(tmp_path / "one.npy", scene.ms.numpy())
    for name, message in (
        ("other.npz", "has no MS: expected one of .*, found a, b"),
        ("many.npz", r"has shape \(2, 8, 64, 64\), several samples"),
        ("one.npy", "it holds one array without names"),
    ):
        with pytest.raises(ValueError, match=message):
            readers.read_npz(tmp_path / name, "WV3")
    with pytest.raises(FileNotFoundError, match="is a folder: give the path of an h5 file"):
        readers.read_h5(tmp_path, "WV3")
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file.create_group("ms")
        file["pan"] = scene.pan.numpy()
    with pytest.raises(ValueError, match="ms is a group, expected an array"):
        readers.read_h5(tmp_path / "group.h5", "WV3")


def test_h5_that_does_not_fit(scene, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        readers.read_h5(tmp_path / "none.h5", "WV3")
    with pytest.raises(ValueError, match="holds gt: expected the arrays ms and pan"):
        readers.read_h5(h5(tmp_path / "gt.h5", scene, keys=("gt",)), "WV3")
    with h5py.File(tmp_path / "uneven.h5", "w") as file:
        file["ms"], file["pan"] = np.zeros((2, 8, 16, 16)), np.zeros((3, 1, 64, 64))
    with pytest.raises(ValueError, match="expected as many samples of each"):
        readers.read_h5(tmp_path / "uneven.h5", "WV3")


def test_eight_bit_arrays_are_eight_bit_data(scene):
    ms, pan = ((image / 8).numpy().astype(np.uint8) for image in (scene.ms, scene.pan))
    pair = readers.pair_of(ms, pan, "WV3", "small numbers")
    assert (pair.sensor.bits, pair.dtype, pair.peak) == (8, "uint8", 255)
    assert readers.pair_of(scene.ms.numpy(), scene.pan.numpy(), "WV3", "floats").dtype == "float32"
    with pytest.raises(ValueError, match="PAN is float32 and MS uint8"):
        readers.pair_of(ms, scene.pan.numpy(), "WV3", "mixed")


def test_big_endian_arrays_are_written_like_others(scene, tmp_path):
    ms, pan = (image.numpy().astype(">u2") for image in (scene.ms, scene.pan))
    pair = readers.pair_of(ms, pan, "WV3", "other order of bytes")
    assert pair.dtype == "uint16" and torch.equal(pair.ms, scene.ms)
    again = geotiff.read_scene(geotiff.write_pair(tmp_path, pair))
    assert torch.equal(again.pan, scene.pan)


def test_folders_of_two_sensors_are_not_mixed(scene, tmp_path):
    for sensor, factor in (("IKONOS", 1), ("QB", 2)):
        for folder, key, image in (
            ("MS_256", "imgMS", scene.ms),
            ("PAN_1024", "imgPAN", scene.pan[0]),
        ):
            (tmp_path / sensor / folder).mkdir(parents=True)
            io.savemat(
                tmp_path / sensor / folder / "1.mat",
                {key: (image / factor).numpy().astype(np.uint16)},
            )
    (tmp_path / "IKONOS" / "PAN_1024" / "1.mat").unlink()
    (pair,) = readers.read_nbu(tmp_path, "WV3")
    assert pair.ms.max() == (scene.ms / 2).floor().max()
