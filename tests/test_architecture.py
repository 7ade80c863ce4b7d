"""The house: which wing may import which, and what stays out of the method."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
PACKAGE = REPO / "clippan_lite"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "_notebooks" not in path.parts)
#: From the ground up. A wing may import those on its own level and below, but no circle may arise.
FLOORS = [
    {"runtime", "physics"},
    {"data"},
    {"metrics", "backbones"},
    {"classical"},
    {"losses"},
    {"method"},
    {"large_scenes", "experiments"},
    {"pretraining", "course"},
    {"doors"},
]
DOORS = {"__init__", "__main__", "cli"}  # they lead to everything
METHOD = {
    "adaptation", "adapter", "batches", "callbacks", "checkpoints", "clip", "config", "fusion",
    "prompts", "training",
}  # fmt: skip
NUMERICS = {"torch", "numpy", "scipy"}
HEAVY = ["rasterio", "h5py", "distributed", "dask", "matplotlib", "open_clip", "jupytext"]


def room_of(path):
    """The wing of a file; "method" and "doors" are the root's two parts."""
    if path.parent == PACKAGE:
        return "doors" if path.stem in DOORS else "method"
    return path.relative_to(PACKAGE).parts[0]


def imports(node, skip_types=True):
    """Full names of what is imported below a syntax node, but not under ``if TYPE_CHECKING``."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and skip_types:
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for inner in ast.iter_child_nodes(node):
        yield from imports(inner, skip_types)


def imports_when_loaded(tree):
    """As `imports`, but only what runs when the module loads: not what stands in functions."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from imports_when_loaded(node)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(node)


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def rooms_named(names):
    """Rooms of our package among full names of imports."""
    for name in names:
        parts = name.split(".")
        if parts[0] != "clippan_lite" or len(parts) < 2:
            continue
        file, folder = PACKAGE / f"{parts[1]}.py", PACKAGE / parts[1]
        if file.is_file() or folder.is_dir():
            yield room_of(file if file.is_file() else folder / "__init__.py")


def run(code):
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return done.stdout.strip()


def test_the_rule_finds_imports():
    tree = ast.parse(
        "import a.b\nfrom clippan_lite.course import widgets\ndef f():\n    import c\n"
    )
    assert "c" in set(imports(tree)) and "c" not in set(imports_when_loaded(tree))
    assert {"a.b", "clippan_lite.course.widgets"} <= set(imports(tree))
    assert list(rooms_named(imports(tree)))[-1] == "course"
    only_types = ast.parse("if TYPE_CHECKING:\n    import d\n")
    assert "d" not in set(imports(only_types))


def test_every_room_has_a_floor_and_says_what_belongs_there():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"_notebooks"}
    assert folders == set().union(*FLOORS) - {"method", "doors"}
    for folder in folders:
        text = ast.get_docstring(parse(PACKAGE / folder / "__init__.py"))
        assert text and "import" in text, f"{folder}/__init__.py: say what it holds and may import"


def test_the_root_is_the_method():
    root = {path.stem for path in PACKAGE.glob("*.py")}
    assert root == METHOD | DOORS
    assert len(root - {"__init__", "__main__"}) <= 12
    assert sum(len(path.read_text().splitlines()) for path in PACKAGE.glob("*.py")) <= 2500


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_import_runs_upwards(path):
    floor = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
    room = room_of(path)
    for other in rooms_named(imports(parse(path))):
        assert other == room or floor[other] < floor[room], f"{path.name} imports {other}"


@pytest.mark.parametrize("room", sorted(set().union(*FLOORS)))
def test_no_circle_within_a_room(room):
    """Modules of one room import each other in one direction, lazy imports included."""
    paths = {path.stem: path for path in MODULES if room_of(path) == room}
    edges = {}
    for name, path in paths.items():
        base = "clippan_lite" if path.parent == PACKAGE else f"clippan_lite.{room}"
        found = {full.removeprefix(f"{base}.") for full in imports(parse(path))}
        edges[name] = (found & set(paths)) - {name, "__init__"}
    done = set()
    while len(done) < len(edges):
        ready = {name for name, needs in edges.items() if name not in done and needs <= done}
        assert ready, f"a circle among {sorted(set(edges) - done)}"
        done |= ready


def test_the_ground_imports_only_numerics():
    for room in ("physics", "metrics", "classical"):
        for path in (PACKAGE / room).glob("*.py"):
            outside = {name.split(".")[0] for name in imports(parse(path))} - {"clippan_lite"}
            assert outside <= NUMERICS | sys.stdlib_module_names, path.name


def test_open_clip_is_imported_in_functions_and_only_for_clips():
    for path in MODULES:
        tree = parse(path)
        assert "open_clip" not in {name.split(".")[0] for name in imports_when_loaded(tree)}
        if path.name != "clip.py":
            assert "open_clip" not in {name.split(".")[0] for name in imports(tree)}, path


def test_importing_the_package_loads_nothing_heavy():
    heavy = [*HEAVY, "torch", "numpy"]
    code = f"import clippan_lite, sys; print([m for m in {heavy} if m in sys.modules])"
    assert run(code) == "[]"


def test_the_method_stays_light():
    """``import clippan_lite.training`` reaches the method, and nothing heavy."""
    code = (
        "import sys, clippan_lite.training\n"
        "ours = [m.__file__ for n, m in sys.modules.items() if n.startswith('clippan_lite')]\n"
        "print(sum(len(open(f, encoding='utf-8').read().splitlines()) for f in ours))\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    lines, heavy = run(code).splitlines()
    assert heavy == "[]" and int(lines) <= 3500


@pytest.mark.slow
def test_only_pictures_and_notebooks_load_what_they_need():
    code = (
        "import sys, pkgutil, importlib, clippan_lite\n"
        "for m in pkgutil.walk_packages(clippan_lite.__path__, 'clippan_lite.'):\n"
        "    if not ('.course' in m.name or '_notebooks' in m.name or '__main__' in m.name):\n"
        "        importlib.import_module(m.name)\n"
        "print([m for m in ('open_clip', 'matplotlib', 'distributed') if m in sys.modules])"
    )
    assert run(code) == "[]"
