"""Chapters run by nbval with their defaults, and print what they printed before."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clippan_lite.runtime import notebooks

REPO = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((REPO / "notebooks").glob(notebooks.PATTERN))
# Left to the chain and to the build, which take them with few and with all steps.
LONG = ("03", "04", "05", "07", "08")
SKIPPED = {".git", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis"}

pytestmark = pytest.mark.slow


def environment(home):
    path = os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "CLIPPAN_HOME": str(home), "PYTHONPATH": path}


def files_of(folder):
    skipped = {*SKIPPED, ".ipynb_checkpoints"}
    return {p for p in folder.rglob("*") if p.is_file() and not skipped & set(p.parts)}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where the chapters leave what the next ones take, so nothing is trained twice."""
    return tmp_path_factory.mktemp("home")


@pytest.mark.parametrize(
    "path", [path for path in CHAPTERS if path.stem[:2] not in LONG], ids=lambda p: p.stem
)
def test_a_chapter_runs_and_prints_what_it_printed_before(path, home):
    before = files_of(REPO / "notebooks")
    nbval = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=900"]
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *nbval]
    command.append(str(path.with_suffix(".ipynb")))
    done = subprocess.run(command, cwd=REPO, env=environment(home), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert files_of(REPO / "notebooks") == before  # notebooks never write into the repository
