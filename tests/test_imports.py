"""The architecture, as rules on imports."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
PACKAGE = REPO / "clippan_lite"
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "_notebooks" not in p.parts)
MAY_IMPORT_OPEN_CLIP = {"clip.py", "pretrain_clip.py"}
MAY_IMPORT_PICTURES = {"plotting", "widgets", "report"}
# The numerical core: understood, tested and reused without the rest.
CORE = ("sensors", "resample", "degrade", "blocks", "metrics", "classical")
CORE_MAY_IMPORT = {"torch", "numpy", "scipy", *sys.stdlib_module_names}


def imports(node, package="clippan_lite"):
    """Full names of what is imported anywhere below a syntax node."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import):
            yield from (alias.name for alias in inner.names)
        elif isinstance(inner, ast.ImportFrom):
            base = f"{package}.{inner.module or ''}".rstrip(".") if inner.level else inner.module
            yield base
            yield from (f"{base}.{alias.name}" for alias in inner.names)


def imports_when_loaded(tree):
    """As `imports`, but only what runs when the module is imported: not inside functions and methods."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from imports_when_loaded(node)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(node)


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def test_the_rule_finds_imports():
    tree = ast.parse(
        "import a.b\nfrom clippan_lite import widgets\ndef f():\n    import open_clip\n"
    )
    assert "open_clip" in set(imports(tree)) and "open_clip" not in set(imports_when_loaded(tree))
    inside = ast.parse("class A:\n    import c\n    def f(self):\n        import open_clip\n")
    assert set(imports_when_loaded(inside)) == {"c"}
    assert {"a.b", "clippan_lite.course.widgets"} <= set(imports(tree))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(REPO)))
def test_open_clip_is_imported_lazily_and_in_one_place(path):
    tree = parse(path)
    assert "open_clip" not in {name.split(".")[0] for name in imports_when_loaded(tree)}
    if path.name not in MAY_IMPORT_OPEN_CLIP:
        assert "open_clip" not in {name.split(".")[0] for name in imports(tree)}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(REPO)))
def test_pictures_are_for_notebooks_and_report(path):
    if path.stem in MAY_IMPORT_PICTURES:
        return
    names = set(imports(parse(path)))
    assert not {"clippan_lite.course.plotting", "clippan_lite.course.widgets"} & names
    assert not {"matplotlib", "ipywidgets"} & {name.split(".")[0] for name in names}


@pytest.mark.parametrize("module", CORE)
def test_core_imports_only_numerics_and_itself(module):
    paths = (
        [PACKAGE / f"{module}.py"]
        if (PACKAGE / f"{module}.py").is_file()
        else list((PACKAGE / module).glob("*.py"))
    )
    assert paths, f"clippan_lite has no {module}"
    own = {f"clippan_lite.{name}" for name in (*CORE, "data")}
    for path in paths:
        for name in imports(
            parse(path), f"clippan_lite.{module}" if path.parent != PACKAGE else "clippan_lite"
        ):
            if name.split(".")[0] == "clippan_lite":
                assert name == "clippan_lite" or ".".join(name.split(".")[:2]) in own, (
                    path.name,
                    name,
                )
            else:
                assert name.split(".")[0] in CORE_MAY_IMPORT, (path.name, name)


def test_importing_the_package_loads_nothing_heavy():
    code = "import clippan_lite, sys; print([m for m in ('open_clip', 'matplotlib', 'torch') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "[]"


def test_modules_that_use_clip_do_not_load_it():
    code = (
        "import sys, pkgutil, importlib, clippan_lite\n"
        "skip = ('__main__', 'plotting', 'widgets', '_notebooks')\n"
        "for m in pkgutil.iter_modules(clippan_lite.__path__):\n"
        "    m.name in skip or importlib.import_module('clippan_lite.' + m.name)\n"
        "print([m for m in ('open_clip', 'matplotlib') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "[]"
