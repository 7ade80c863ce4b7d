"""Damaged and hostile files: each is refused in one line, or read; never a traceback.

Here a few inputs for each kind of file. ``CLIPPAN_FUZZ=long pytest -s tests/test_fuzz.py`` tries
600 of each, and prints how they ended. See tests/README.md.
"""

import collections
import contextlib
import copy
import io as streams
import json
import os
import resource
import shutil
import sys

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from scipy import io

from clippan_lite import adapter, backbones, checkpoints
from clippan_lite.config import AdaptConfig, TrainConfig
from clippan_lite.course import chain, report
from clippan_lite.data import geotiff, readers, sources
from clippan_lite.data.synthetic import make_scene
from clippan_lite.experiments import kept_training, study, tables
from clippan_lite.experiments.experiment import Experiment
from clippan_lite.physics import sensors
from clippan_lite.runtime.state import TrainingState
from data_download import fetch
from data_download import scenes as remote

LONG = os.environ.get("CLIPPAN_FUZZ") == "long"
fuzz = settings(
    max_examples=600 if LONG else 12,
    deadline=30_000,  # milliseconds for one input
    derandomize=not LONG,  # the same few each time that the tests run
    database=None,
    phases=[Phase.explicit, Phase.generate] if not LONG else list(Phase),
    suppress_health_check=list(HealthCheck),
)
ENDS: dict[str, collections.Counter] = {}  # kind of file -> how many inputs ended how
MOST_MEMORY = 2 << 30  # bytes of this process

AWKWARD = st.sampled_from(
    [
        None, True, -1, 0, 1, 2**31, 2**70, -(2**70), 0.5, 1e400, -1e400, float("nan"), "", "x",
        "../../x", "\u0000", "\ud800", "9" * 5000, "x" * 100_000, [], {}, [[]], [None], [1e400],
        {"a": 1}, {"": {}}, [0] * 1000, json.loads("[" * 200 + "]" * 200),
    ]
)  # fmt: skip
VALUES = AWKWARD | st.integers() | st.floats() | st.text(max_size=8)
CHANGES = st.lists(
    st.tuples(st.sampled_from(["replace", "remove", "add"]), st.integers(0, 10**6), VALUES),
    min_size=1,
    max_size=3,
)
SPOTS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6)
DAMAGE = (
    st.sampled_from([(1.0, [])])
    | st.tuples(st.just(1.0), SPOTS)
    | st.tuples(
        st.floats(0, 1),
        SPOTS,  # cut somewhere, and some bytes changed
    )
)


@pytest.fixture(scope="module", autouse=True)
def printed():
    """How the inputs of each kind ended, and the most memory that this process took.

    Other tests may have taken more before.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    yield
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for kind, ends in ENDS.items():
        print(f"{kind}: {sum(ends.values())} inputs, {dict(ends)}", file=sys.stderr)
    print(f"most memory: {most / 2**30:.2f} GiB", file=sys.stderr)
    assert most < max(MOST_MEMORY, before + MOST_MEMORY / 2)


@contextlib.contextmanager
def refused_or_read(kind, *errors):
    """Count how an input ends; anything but an error of one line is raised."""
    ends = ENDS.setdefault(kind, collections.Counter())
    try:
        with contextlib.redirect_stdout(streams.StringIO()):
            yield
        ends["read"] += 1
    except (ValueError, OSError, *errors) as error:
        assert "\n" not in str(error), error
        ends["refused"] += 1


def places(tree):
    """Each table and list within a tree, with each of its keys."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    for key in keys:
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from places(tree[key])


def changed(tree, changes):
    """A copy of a tree of facts with some of them replaced, removed or added."""
    tree = copy.deepcopy(tree)
    for how, place, value in changes:
        found = list(places(tree))
        if not found:
            return tree
        table, key = found[place % len(found)]
        if how == "remove":
            del table[key]
        elif how == "add" and isinstance(table, dict):
            table[f"{key} more"] = copy.deepcopy(value)
        else:
            table[key] = copy.deepcopy(value)
    return tree


def damaged(content, damage):
    """Bytes cut somewhere, with some of them changed."""
    cut, spots = damage
    content = bytearray(content[: max(1, int(len(content) * cut))] or b"?")
    for place, value in spots:
        content[int(place * (len(content) - 1))] = value
    return bytes(content)


# ---------------------------------------------------------------- images


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with one small file of each kind."""
    folder, small = tmp_path_factory.mktemp("whole"), make_scene(seed=2, size=64, sensor="WV3")
    images = {"ms": small.ms.numpy(), "pan": small.pan.numpy()}
    with h5py.File(folder / "a.h5", "w") as file:
        for name, image in images.items():
            file[name] = image[None]
    np.savez_compressed(folder / "a.npz", **images)
    io.savemat(folder / "a.mat", images, do_compression=True)
    geotiff.write_pair(folder / "scene", make_scene(seed=2, size=256, sensor="WV2"))
    shutil.copytree(folder / "scene", folder / "copy")
    return folder  # not the bytes, which hypothesis would print


def read(kind, path):
    if kind == "h5":
        samples = readers.read_h5(path, "WV3")
        return [samples[0]] if len(samples) else []
    if kind == "npz":
        return [readers.read_npz(path, "WV3")]
    return [readers.read_mat(path, None, "WV3")]


@pytest.mark.parametrize("kind", ["h5", "npz", "mat"])
def test_benchmark_files(whole, kind):
    @fuzz
    @given(damage=DAMAGE)
    def check(damage):
        path = whole / f"damaged.{kind}"
        path.write_bytes(damaged((whole / f"a.{kind}").read_bytes(), damage))
        with refused_or_read(kind):
            assert all(pair.ms.shape[0] == 8 for pair in read(kind, path))

    check()


SHAPES = st.lists(st.sampled_from([0, 1, 3, 8, 16, 64, 256, 70_000, 2**33]), max_size=5)
TYPES = st.sampled_from(["u1", "<u2", ">u2", "f8", "c16", "S9", "b1"])


@fuzz
@given(shapes=st.tuples(SHAPES, SHAPES), kind=TYPES)
def test_h5_files_that_declare_any_shape(whole, shapes, kind):
    path = whole / "declared.h5"
    with h5py.File(path, "w") as file:
        for name, shape in zip(("ms", "pan"), shapes, strict=True):
            with contextlib.suppress(ValueError, OSError, RuntimeError):  # h5py cannot declare it
                file.create_dataset(name, shape, kind)
    with refused_or_read("h5, any shape"):
        read("h5", path)


@fuzz
@given(which=st.sampled_from(["pan.tif", "ms.tif", "truth.tif"]), damage=DAMAGE)
def test_geotiffs(whole, which, damage):
    content = (whole / "scene" / which).read_bytes()
    (whole / "copy" / which).write_bytes(damaged(content, damage))
    with refused_or_read("GeoTIFF"):
        pair = geotiff.read_scene(whole / "copy")
        assert pair.pan.shape[1] == 4 * pair.ms.shape[1]
        assert pair.truth is None or bool(pair.truth.isfinite().all())
    shutil.copy(whole / "scene" / which, whole / "copy" / which)


SOURCES = st.sampled_from(
    ["pan.tif", "../copy/pan.tif", "/etc/passwd", "/vsimem/x", "/vsicurl/http://127.0.0.1:9/x.tif",
     "a.vrt", "", "\u0000", "x" * 5000, "NETCDF:x:y", "<VRTDataset/>"]
)  # fmt: skip


@fuzz
@given(name=SOURCES, relative=st.sampled_from("012"), damage=DAMAGE)
def test_virtual_rasters(whole, name, relative, damage):
    text = (
        '<VRTDataset rasterXSize="256" rasterYSize="256"><SRS>EPSG:32631</SRS>'
        "<GeoTransform>500000, 0.5, 0, 128, 0, -0.5</GeoTransform>"
        '<VRTRasterBand dataType="UInt16" band="1">'
        f'<SimpleSource><SourceFilename relativeToVRT="{relative}">{name}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    (whole / "scene" / "a.vrt").write_bytes(damaged(text.encode("utf-8"), damage))
    sources._check_mosaic.cache_clear()
    with refused_or_read("VRT"):
        geotiff.read_pair(whole / "scene" / "a.vrt", whole / "scene" / "ms.tif", "WV2")


@fuzz
@given(changes=CHANGES)
def test_scene_facts(whole, changes):
    told = json.loads((whole / "scene" / "scene.json").read_text())
    (whole / "copy" / "scene.json").write_text(json.dumps(changed(told, changes)))
    with refused_or_read("scene.json"):
        pair = geotiff.read_scene(whole / "copy")
        assert 1 <= pair.sensor.bits <= 32 and isinstance(pair.name, str)
        assert all(abs(pixels) < 1e300 for pixels in pair.pan_shift)
    shutil.copy(whole / "scene" / "scene.json", whole / "copy" / "scene.json")


# ---------------------------------------------------------------- checkpoints


def header_changed(path, target, changes):
    with safe_open(path, "pt") as file:
        told = json.loads(file.metadata()["clippan_lite"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, target, {"clippan_lite": json.dumps(changed(told, changes))})


@fuzz
@given(changes=CHANGES)
def test_networks(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("n")
    network = backbones.create("fusionnet", 4)
    checkpoints.save_network(folder / "n.safetensors", network, TrainConfig(), {"seed": [0]})
    header_changed(folder / "n.safetensors", folder / "c.safetensors", changes)
    with refused_or_read("network, facts"):
        again = checkpoints.load_network(folder / "c.safetensors")
        assert again.bands == 4 and again.ratio in (2, 4, 8)
    with refused_or_read("network, facts"):
        kept_training._was_made_from(folder / "c.safetensors", {"seed": [0]})
    shutil.rmtree(folder)


@fuzz
@given(damage=DAMAGE)
def test_bytes_of_networks(tmp_path_factory, damage):
    folder = tmp_path_factory.mktemp("n")
    path = folder / "n.safetensors"
    checkpoints.save_network(path, backbones.create("fusionnet", 4), TrainConfig())
    path.write_bytes(damaged(path.read_bytes(), damage))
    with refused_or_read("network, bytes"):
        network = checkpoints.load_network(path)
        assert all(value.isfinite().all() for value in network.state_dict().values())
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def kept_supervisor(random_clip, adapted, tmp_path_factory):
    path = tmp_path_factory.mktemp("supervisor") / "s.safetensors"
    adapter.save_supervisor(path, adapted, AdaptConfig(), "WV2")
    return random_clip, path


@fuzz
@given(changes=CHANGES)
def test_supervisors(kept_supervisor, changes):
    clip, path = kept_supervisor
    header_changed(path, path.with_name("c.safetensors"), changes)
    with refused_or_read("supervisor"):
        loaded = adapter.load_supervisor(path.with_name("c.safetensors"), clip)
        assert isinstance(loaded.prompts.hrms, str) and 0 <= loaded.rgb[0] < loaded.bands


def state_of(path):
    torch.manual_seed(0)
    layer = torch.nn.Linear(2, 3)
    parameters = list(layer.parameters())
    optimiser = torch.optim.Adam(parameters)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, 20)
    return TrainingState(
        path, {"seed": 0}, parameters, optimiser, schedule, torch.Generator()
    ), layer


@pytest.mark.parametrize("kind", ["facts", "bytes", "tensors"])
def test_states(tmp_path, kind):
    path = tmp_path / "state.safetensors"
    state, layer = state_of(path)
    layer(torch.ones(1, 2)).sum().backward()
    state.optimiser.step()
    state.keep(1, [{"step": 0, "loss": 1.5}])
    content = path.read_bytes()

    @fuzz
    @given(changes=CHANGES, damage=DAMAGE, which=st.integers(0, 100), odd=st.integers(0, 4))
    def check(changes, damage, which, odd):
        path.write_bytes(content)
        if kind == "facts":
            header_changed(path, path, changes)
        elif kind == "bytes":
            path.write_bytes(damaged(content, damage))
        else:
            with safe_open(path, "pt") as file:
                told = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            name = sorted(tensors)[which % len(tensors)]
            one = tensors.pop(name)
            odds = [
                None,
                one.reshape(-1)[:0],
                one.double(),
                torch.full_like(one, 255),
                one.new_zeros(9),
            ]
            if odds[odd] is not None:
                tensors[name] = odds[odd].contiguous()
            save_file(tensors, path, told)
        with refused_or_read(f"state, {kind}"):
            step, history = state_of(path)[0].restore()
            assert step == len(history) <= 1
            assert all(np.isfinite(list(row.values())).all() for row in history)

    check()


# ---------------------------------------------------------------- settings


NAMES = st.sampled_from([*TrainConfig.names(), *AdaptConfig.names(), "weights", "magic"])


@fuzz
@given(given=st.dictionaries(NAMES, VALUES, max_size=4))
def test_settings(given):
    for kind in (TrainConfig, AdaptConfig):
        with refused_or_read("settings"):
            made = kind().changed(**given)
            assert 0 <= made.seed <= 2**32 - 1 and made.lr > 0


@fuzz
@given(given=st.dictionaries(st.sampled_from(list(Experiment().flat())), VALUES, max_size=4))
def test_experiments(given):
    with refused_or_read("experiment"):
        Experiment.of(given).check()


def toml(value):
    """A value as TOML; what TOML cannot hold becomes a text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, float):
        return repr(value)
    return str(value) if isinstance(value, int) else json.dumps(str(value))


def write_toml(path, tree):
    lines = [f"{json.dumps(name)} = {toml(value)}" for name, value in tree.items()]
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")


@fuzz
@given(changes=CHANGES, damage=DAMAGE)
def test_sensor_files(tmp_path_factory, changes, damage):
    folder = tmp_path_factory.mktemp("s")
    path = folder / "mycam.toml"
    write_toml(path, changed({"MYCAM": sensors.to_table(sensors.get("WV2"))}, changes))
    for content in (path.read_bytes(), damaged(path.read_bytes(), damage)):
        path.write_bytes(content)
        with refused_or_read("sensor file"):
            for sensor in sensors.load(path).values():
                assert 2 <= sensor.ratio <= 32 and 1 <= sensor.bits <= 32
                assert all(0 < gain < 1 for gain in sensor.mtf_ms)
                assert sensors.from_table("A", sensors.to_table(sensor), "again").rgb == sensor.rgb
    shutil.rmtree(folder)


STUDY = {
    "title": "t",
    "question": "q",
    "fixed": {"steps": 3, "size": 256},
    "quick": {"grid": {"seed": [0]}},
    "full": {"grid": {"seed": [0, 1]}},
    "arms": {"a": {"spat": 0.1}, "b": {"spat": 0.2, "against": "a"}},
}


@fuzz
@given(changes=CHANGES, damage=DAMAGE)
def test_study_files(tmp_path_factory, changes, damage):
    folder = tmp_path_factory.mktemp("s")
    path = folder / "mine.toml"
    write_toml(path, changed(STUDY, changes))
    for content in (path.read_bytes(), damaged(path.read_bytes(), damage)):
        path.write_bytes(content)
        with refused_or_read("study file"):
            assert study.read(path).points
    shutil.rmtree(folder)


# ---------------------------------------------------------------- what earlier calls wrote


RECORD = {
    "versions": {}, "device": "CPU", "started": "2025", "status": "running", "sensors": {},
    "notebooks": {"01": {"status": "finished", "seconds": 1.0, "source_sha256": "0"}},
    "parameters": {"01": {"steps": 3}},
}  # fmt: skip


@fuzz
@given(changes=CHANGES)
def test_records_of_chains(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("run")
    (folder / "run.json").write_text(json.dumps(changed(RECORD, changes)))
    with refused_or_read("run.json"):
        record = chain._open_record(folder, {"01": {"steps": 3}}, True)
        entries = record["notebooks"].values()
        assert all(f"{entry['seconds']:.0f}" and isinstance(entry, dict) for entry in entries)
    shutil.rmtree(folder)


@fuzz
@given(changes=CHANGES, damage=DAMAGE)
def test_tables_of_sweeps(tmp_path_factory, changes, damage):
    folder = tmp_path_factory.mktemp("sweep")
    told = {"study": "s", "form": "quick", "title": "t", "axes": {"seed": [0, 1]}}
    told |= {"arms": {"a": {}, "b": {}}, "against": {"b": "a"}, "points": {"finished": 4}}
    (folder / "table.json").write_text(json.dumps(changed(told, changes)))
    rows = "arm,seed,PSNR,minutes\na,0,30,1\na,1,31,1\nb,0,32,1\nb,1,33,1\n"
    (folder / "table.csv").write_bytes(damaged(rows.encode(), damage))
    with refused_or_read("table of a sweep"):
        tables.summary(tables.effects(*tables.load(folder)))
    point = {"settings": {}, "row": {"PSNR": 30.0, "minutes": 1.0}, "device": "CPU"}
    (folder / "key.json").write_text(json.dumps(changed(point, changes)))
    with refused_or_read("point of a sweep"):
        found = tables.kept(folder, "key")
        assert found is None or sum([found["row"].get("minutes", 0.0)]) is not None
    shutil.rmtree(folder)


@fuzz
@given(changes=CHANGES)
def test_results_of_reports(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("report")
    (folder / "results.json").write_text(json.dumps(changed({"a": {"b": [1]}}, changes)))
    with refused_or_read("results.json"):
        assert isinstance(report._load(folder / "results.json"), dict)
    shutil.rmtree(folder)


# ---------------------------------------------------------------- downloads


PAGE = (
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Contents><Key>a/b1.tif</Key>'
    "<Size>1</Size></Contents></ListBucketResult>"
)


@fuzz
@given(damage=DAMAGE)
def test_listings(damage):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fetch, "read", lambda *_: damaged(PAGE.encode(), damage))
        with refused_or_read("listing"):
            assert all(isinstance(key, str) for key in remote.keys("https://x.example", "a/"))


@fuzz
@given(changes=CHANGES, damage=DAMAGE)
def test_notes_of_downloads(tmp_path_factory, changes, damage):
    note = tmp_path_factory.mktemp("note") / ".x.json"
    told = json.dumps(changed({"url": "https://x", "stamp": '"1"'}, changes)).encode()
    note.write_bytes(damaged(told, damage))
    with refused_or_read("note"):
        stamp = fetch._stamp_of(note, "https://x")
        assert stamp is None or "\n" not in stamp


@fuzz
@given(changes=CHANGES)
def test_scenes_of_downloads(whole, changes):
    told = json.loads((whole / "scene" / "scene.json").read_text())
    (whole / "copy" / "scene.json").write_text(json.dumps(changed(told, changes)))
    with refused_or_read("downloaded scene"):
        assert remote.is_whole(whole / "copy") in (True, False)
    shutil.copy(whole / "scene" / "scene.json", whole / "copy" / "scene.json")
