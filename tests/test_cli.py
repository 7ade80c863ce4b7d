import os
import subprocess
import sys
from pathlib import Path

import pytest

from clippan_lite import cli
from clippan_lite.course import chain
from clippan_lite.physics import sensors
from clippan_lite.runtime import notebooks

REPO = Path(__file__).resolve().parent.parent


def refused(capsys, *arguments):
    """Exit code and the one line on stderr."""
    code = cli.main(arguments)
    error = capsys.readouterr().err
    assert (
        error.count("\n") == 1 and error.startswith("clippan-lite: ") and "Traceback" not in error
    )
    return code, error


def test_half_a_pair_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "give ms, sensor too" in refused(capsys, "chain", "--pan", "p.tif")[1]
    only_ms = refused(capsys, "chain", "--ms", "m.tif", "--sensor", "WV2")
    assert only_ms[0] == 2 and "a pair needs PAN, MS and the sensor: give pan too" in only_ms[1]
    assert "give sensor too" in refused(capsys, "chain", "--pan", "p.tif", "--ms", "m.tif")[1]
    assert list(tmp_path.iterdir()) == []


def test_a_parameter_is_given_once(capsys):
    assert "given twice" in refused(capsys, "chain", "-p", "steps", "1", "-p", "steps", "2")[1]
    assert "given twice" in refused(capsys, "chain", "--sensor", "WV2", "-p", "sensor", "WV3")[1]


def test_chain_passes_everything_on(monkeypatch):
    seen = {}

    def run_chain(out, parameters, resume):
        seen.update(out=out, parameters=parameters, resume=resume)

    monkeypatch.setattr(chain, "run_chain", run_chain)
    arguments = [
        "chain",
        "--pan",
        "p.tif",
        "--ms",
        "m.tif",
        "--sensor",
        "WV2",
        "--out",
        "o",
        "--resume",
        "-p",
        "steps",
        "3",
        "-p",
        "label",
        "x",
    ]
    assert cli.main(arguments) == 0
    expected = {"pan": "p.tif", "ms": "m.tif", "sensor": "WV2", "steps": "3", "label": "x"}
    assert seen == {"out": "o", "parameters": expected, "resume": True}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("a\nb"), 2),
        (FileNotFoundError("no file"), 2),
        (notebooks.NotebookFailed("02 failed"), 1),
    ],
)
def test_errors_are_one_line_with_an_exit_code(capsys, monkeypatch, error, code):
    def run_chain(*_, **__):
        raise error

    monkeypatch.setattr(chain, "run_chain", run_chain)
    assert refused(capsys, "chain")[0] == code


def test_interrupted(capsys, monkeypatch):
    def run_chain(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(chain, "run_chain", run_chain)
    assert refused(capsys, "chain")[0] == 130


def test_bugs_are_not_hidden(monkeypatch):
    def run_chain(*_, **__):
        raise TypeError("a bug")

    monkeypatch.setattr(chain, "run_chain", run_chain)
    with pytest.raises(TypeError):
        cli.main(["chain"])


def test_sensors_prints_the_table(capsys):
    assert cli.main(["sensors"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(sensors.SENSORS) and all(
        name in "\n".join(lines) for name in sensors.SENSORS
    )


def test_sensors_of_a_file_and_one_entry(capsys, tmp_path):
    assert cli.main(["sensors", "--show", "worldview-2"]) == 0
    shown = capsys.readouterr().out
    assert shown == sensors.to_toml(sensors.get("WV2")) and "DLPan" in shown
    path = tmp_path / "mine.toml"
    path.write_text(shown.replace("[WV2]", "[MINE]"))
    assert cli.main(["sensors", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("MINE ")
    assert cli.main(["sensors", "--show", str(path)]) == 0
    assert capsys.readouterr().out == path.read_text()
    assert "--show and a file" in refused(capsys, "sensors", str(path), "--show", "WV2")[1]
    assert refused(capsys, "sensors", "none.toml") == (
        2,
        "clippan-lite: sensor file none.toml is not a file: give the path of a TOML file with a "
        "table per sensor\n",
    )


def test_help_is_fast_and_imports_nothing_heavy():
    code = (
        "import sys\nfrom clippan_lite.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'rasterio', 'papermill', 'numpy') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]" and "chain" in done.stdout


@pytest.mark.slow
def test_module_runs_as_a_program(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [sys.executable, "-m", "clippan_lite", "chain", "--pan", "x"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """PAN and MS of a small synthetic scene, and where."""
    from clippan_lite.data import geotiff, synthetic

    folder = geotiff.write_pair(
        tmp_path_factory.mktemp("scene"), synthetic.make_scene(2, 256, "WV2")
    )
    return [str(folder / "pan.tif"), str(folder / "ms.tif")]


@pytest.mark.slow
def test_train_and_fuse_a_pair(capsys, files, tmp_path):
    run, out = tmp_path / "run", tmp_path / "fused.tif"
    assert (
        cli.main(["train", *files, str(run), "--sensor", "WV2", "--steps", "3", "--device", "cpu"])
        == 0
    )
    assert sorted(p.name for p in run.iterdir()) == [
        ".lock",
        "history.csv",
        "network.safetensors",
    ]
    assert (
        cli.main(
            [
                "fuse",
                *files,
                str(out),
                "--sensor",
                "WV2",
                "--checkpoint",
                str(run),
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    before = (run / "network.safetensors").read_bytes()
    train = ["train", *files, str(run), "--sensor", "WV2", "--device", "cpu", "--steps"]
    assert cli.main([*train, "3"]) == 0
    assert "trained before, with the same settings" in capsys.readouterr().out
    code, error = refused(capsys, *train, "4")
    assert code == 2 and "was trained with other settings (steps): give the same, or" in error
    assert (run / "network.safetensors").read_bytes() == before
    import rasterio

    with rasterio.open(out) as file:
        assert (file.count, file.shape) == (8, (256, 256)) and file.tags()[
            "CHECKPOINT"
        ] == "network.safetensors"
    assert (
        cli.main(["fuse", *files, str(tmp_path / "gsa.tif"), "--sensor", "WV2", "--method", "gsa"])
        == 0
    )


@pytest.mark.slow
def test_fuse_adapts_to_the_scene_and_goes_on_after_a_stop(capsys, files, tmp_path, monkeypatch):
    from clippan_lite import config

    short = config.recipe("best", steps=3, patch=64)
    monkeypatch.setitem(config.RECIPES, "best", short)
    out, instant = tmp_path / "fused.tif", tmp_path / "instant.tif"
    fuse = ["fuse", *files, str(out), "--sensor", "WV2", "--device", "cpu"]
    code, error = refused(capsys, *fuse, "--adapt", "--window", "8")
    assert code == 2 and "expected a window of 64" in error and not list(tmp_path.iterdir())

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:  # after the training, before the result
        patched.setattr("clippan_lite.large_scenes.windows.fuse", killed)
        assert cli.main([*fuse, "--adapt"]) == 130
    assert not out.exists() and (tmp_path / "fused.tif.adapted" / "network.safetensors").is_file()
    capsys.readouterr()
    assert cli.main([*fuse, "--adapt", "--dtype", "float32"]) == 0
    assert "trained before, with the same settings" in capsys.readouterr().out
    fuse[3] = str(instant)
    assert cli.main(fuse) == 0
    assert "the included network, which mends BDSD-PC" in capsys.readouterr().out
    import rasterio

    with rasterio.open(out) as adapted, rasterio.open(instant) as plain:
        assert (adapted.dtypes[0], plain.dtypes[0]) == ("float32", "uint16")
        assert 0.5 < abs(adapted.read() - plain.read().astype("float32")).max() < 1000


def test_the_papers_recipe_adapts_clip_as_the_paper_does(files, tmp_path, monkeypatch):
    from clippan_lite import adaptation
    from clippan_lite.config import adapt_recipe

    def adapt(pair, clip, config, device):
        assert config == adapt_recipe("paper")
        raise ValueError("seen")

    monkeypatch.setattr(adaptation, "adapt", adapt)
    options = ["--sensor", "WV2", "--device", "cpu", "--recipe", "paper"]
    assert cli.main(["train", *files, str(tmp_path / "run"), *options]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--recipe", "fast"], "unknown recipe 'fast'"),
        (
            ["train", "--start", "nowhere"],
            "nowhere does not exist: train first",
        ),
        (["fuse", "--method", "best"], "unknown method 'best'"),
        (
            ["fuse", "--checkpoint", "nowhere"],
            "nowhere does not exist: train first",
        ),
        (
            ["fuse", "--method", "gsa", "--scheduler", "tcp://127.0.0.1:9"],
            "no dask scheduler answers at tcp://127.0.0.1:9",
        ),
    ],
)
@pytest.mark.slow
def test_train_and_fuse_refuse_in_one_line(
    capsys, files, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.setattr("clippan_lite.runtime.workers.PATIENCE", 1)
    command, *options = arguments
    code = cli.main(
        [command, *files, str(tmp_path / "o.tif"), "--sensor", "WV2", "--device", "cpu", *options]
    )
    error = capsys.readouterr().err
    assert code == 2 and message in error and error.strip().count("\n") == 0
    assert not list(tmp_path.glob("o.tif/[!.]*"))


def test_a_damaged_checkpoint_is_one_line(capsys, files, tmp_path):
    (tmp_path / "network.safetensors").write_bytes(b"not weights")
    options = ["--sensor", "WV2", "--checkpoint", str(tmp_path)]
    assert "or is damaged" in refused(capsys, "fuse", *files, str(tmp_path / "o.tif"), *options)[1]


def test_no_command_prints_all_of_them(capsys):
    assert cli.main([]) == 2
    assert "fuse two GeoTIFFs" in capsys.readouterr().out


def test_a_note_is_printed_once(capsys, monkeypatch):
    def command(_):
        for line in ("Note: MS is odd", "read", "Note: MS is odd", "read", "Note: PAN is odd"):
            print(line)
        for line in ("Registration: 0.1", "Registration: 0.2", "Registration: 0.1"):
            print(line)
        return 0

    monkeypatch.setattr(cli, "_check", command)
    assert cli.main(["check"]) == 0
    assert capsys.readouterr().out == (
        "Note: MS is odd\nread\nread\nNote: PAN is odd\nRegistration: 0.1\nRegistration: 0.2\n"
    )
