"""The products of an experiment: kept apart by what made them, and loaded where they are there."""

import ast
import re
from pathlib import Path

import pytest
import torch

from clippan_lite import config, experiments, fusion, losses, training
from clippan_lite.experiments import Experiment, Run, provenance
from clippan_lite.physics import sensors
from clippan_lite.runtime import notebooks

CHAPTERS = sorted(notebooks.notebooks_folder().glob(notebooks.PATTERN))
#: Parameters of the chapters that are no settings of an experiment.
OWN = {
    "run_dir", "seeds", "control_seeds", "unseen_sensor", "search", "window", "place_steps",
    "mini_steps",
}  # fmt: skip
chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)


def run_of(folder, **settings):
    return Run(Experiment.of({"recipe": "course", **settings}), Path(folder))


def test_products_are_kept_apart_by_what_made_them(tmp_path):
    runs = [run_of(tmp_path, **changed) for changed in ({}, {"prompt": "wrong"}, {"qnr": 1.0})]
    paths = {
        run.network_path(run.config(with_l_d, seed), scale)
        for run in runs
        for with_l_d in (False, True)
        for seed in (0, 1)
        for scale in ("full", "reduced")
    }
    # The prompt does not matter to a network trained without L_d, everything else does.
    assert len(paths) == 3 * 2 * 2 * 2 - 4
    assert runs[0].supervisor_path != run_of(tmp_path, prompt="khan").supervisor_path
    assert runs[0].supervisor_path == run_of(tmp_path, swap="khan").supervisor_path
    assert runs[0].network_path() != run_of(tmp_path, swap="khan").network_path()


def test_products_depend_on_what_a_sensor_file_holds_and_not_on_its_path(tmp_path):
    def without_l_d(sensor):
        run = run_of(tmp_path, sensor=sensor)
        return run.network_path(run.config(with_l_d=False))

    text = sensors.to_toml(sensors.get("WV2")).replace("[WV2]", "[MINE]")
    paths = []
    for name, content in (("a", text), ("b", text), ("c", text.replace("0.11", "0.12"))):
        (tmp_path / f"{name}.toml").write_text(content)
        paths.append(without_l_d(sensor=f"{tmp_path}/{name}.toml"))
    assert paths[0] == paths[1] != paths[2]
    (tmp_path / "a.toml").write_text(text.replace("0.11", "0.12"))
    assert without_l_d(sensor=f"{tmp_path}/a.toml") == paths[2]
    names = [run_of(tmp_path, sensor=name) for name in ("WV2", "WorldView-2")]
    assert names[0].supervisor_path == names[1].supervisor_path


def test_changed_code_makes_new_products(tmp_path, registry, monkeypatch):
    def paths():
        run = run_of(tmp_path, of_my_own=0.1)
        return run.network_path(), run.supervisor_path

    losses.register("of_my_own")(lambda fused, batch: fused.square().mean())
    first = paths()
    assert paths() == first
    losses.register("of_my_own")(lambda fused, batch: fused.abs().mean())
    second = paths()
    assert second[0] != first[0] and second[1] == first[1], "Stage I does not look at this loss"
    monkeypatch.setattr(provenance, "source_hash", lambda: "other code")
    assert paths()[0] != second[0] and paths()[1] != second[1]


@pytest.mark.slow
def test_what_was_made_is_loaded(tmp_path, capsys):
    settings = {"size": 256, "adapt_steps": 1, "steps": 1, "device": "cpu"}
    first = run_of(tmp_path, **settings)
    network = first.network()
    text = capsys.readouterr().out
    trained = "network bandwise with L_d, seed 0, full resolution"
    for what in ("scene", "supervisor", trained):
        assert f"{what}: none kept for these settings, making it now" in text
    second = run_of(tmp_path, **settings)
    again, _, _ = second.network(), second.supervisor, second.pair
    text = capsys.readouterr().out
    assert text.count("loaded") == 3 and "making" not in text
    pair = first.pair
    assert torch.equal(pair.truth, second.pair.truth)
    assert torch.equal(fusion.fuse(pair, network), fusion.fuse(pair, again))
    assert all(path.is_file() for path in first.files)


def test_progress_bars_of_a_chapter_can_be_told_apart(tmp_path, monkeypatch, capsys):
    labels = []
    monkeypatch.setattr(
        training, "train", lambda *_, label="", **__: labels.append(label) or (None, [])
    )
    run = Run(Experiment.of({"size": 256, "direction": 0.0, "device": "cpu"}), None)
    for scale, label in (("full", "1 of 2, "), ("reduced", "")):
        run.train(run.config(seed=3), scale, label=label)
    assert labels == [
        "1 of 2, fusionnet without L_d, seed 3, full resolution",
        "fusionnet without L_d, seed 3, one scale down",
    ]


def test_a_run_without_folder_keeps_its_products_in_memory(capsys):
    settings = {"size": 256, "steps": 1, "direction": 0.0, "device": "cpu"}
    networks = [Run(Experiment.of(settings)).network() for _ in range(2)]
    assert networks[0] is networks[1] and "loaded" not in capsys.readouterr().out
    assert Run(Experiment.of({**settings, "seed": 1})).network() is not networks[0]


def test_a_chapter_begins_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLIPPAN_HOME", str(tmp_path / "home"))
    values = {"size": 256, "seeds": "2,1", "np": torch, "recipe": "course", "steps": -1}
    run = experiments.begin(values)
    assert run.folder == tmp_path / "home" / "quick" and run.folder.is_dir()
    assert run.seeds == [2, 1] and run.control_seeds == [0]
    assert run.experiment.train == config.RECIPES["course"]
    assert capsys.readouterr().out.count("device: ") == 1
    assert experiments.begin({"run_dir": str(tmp_path / "a")}).folder == tmp_path / "a"


def meaning(name):
    """What a flat setting means, where it is declared."""
    for kind, prefix in (
        (Experiment, ""),
        (config.TrainConfig, ""),
        (config.AdaptConfig, "adapt_"),
    ):
        field = kind.__dataclass_fields__.get(name.removeprefix(prefix))
        if name.startswith(prefix) and field and "meaning" in field.metadata:
            return field.metadata["meaning"]
    return None


def cells_of(path):
    """The parameters cell, and the code after it."""
    code = [cell for cell in notebooks.read_source(path).cells if cell.cell_type == "code"]
    first = next(i for i, cell in enumerate(code) if "parameters" in cell.metadata.get("tags", []))
    return code[first].source, [cell.source for cell in code[first + 1 :]]


@chapter
def test_parameters_of_a_chapter_are_settings_with_their_meaning(path):
    declared = notebooks.declared(notebooks.read_source(path), path.stem)
    known = {*Experiment().flat(), "recipe", "adapt_recipe", *OWN}
    assert set(declared) <= known
    assert experiments.run.check_chapter(declared)
    comments = dict(re.findall(r"(?m)^(\w+) = .*?  # (.*)$", cells_of(path)[0]))
    for name in declared:
        if meaning(name):
            assert comments[name].startswith(meaning(name)), name


@chapter
def test_a_chapter_does_not_overwrite_a_setting(path):
    """Its set-up cell can be run again: it reads all global variables."""
    _, code = cells_of(path)
    stored = set()
    for source in code:
        nodes = list(ast.parse(source).body)
        while nodes:
            node = nodes.pop()
            inner = (ast.FunctionDef, ast.Lambda, ast.ListComp, ast.DictComp, ast.GeneratorExp)
            if isinstance(node, inner):
                continue
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                stored.add(node.id)
            if isinstance(node, ast.alias):
                stored.add(node.asname or node.name)
            nodes += ast.iter_child_nodes(node)
    declared = notebooks.declared(notebooks.read_source(path), path.stem)
    assert not stored & {*Experiment().flat(), "recipe", "adapt_recipe", *declared}


def test_what_papermill_sets_and_the_chapter_lacks_is_refused(tmp_path):
    cells = ["", 'run_dir = ""\nbackbone = ""', '# Parameters\nbakbone = "pnn"\nrun_dir = "x"\n']
    values = {"run_dir": str(tmp_path), "In": cells}
    with pytest.raises(ValueError, match="unknown parameter bakbone: expected backbone, run_dir"):
        experiments.begin(values)
    cells[2] = cells[2].replace("bakbone", "backbone")
    assert experiments.begin(values).folder == tmp_path
    with pytest.raises(ValueError, match="found 'many'") as told:
        experiments.begin({**values, "steps": "many"})
    (line,) = told.value._render_traceback_()
    assert line.startswith("Refused: steps must be") and "\n" not in line
    with pytest.raises(ValueError, match="unknown prompt ''"):
        experiments.begin({**values, "prompt": ""})
