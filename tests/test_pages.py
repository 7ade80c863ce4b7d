"""The pages beside the code: links lead somewhere, examples are code, and sizes stay small."""

import re
from pathlib import Path

import pytest

import clippan_lite
from clippan_lite.runtime import package

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [
        ROOT / "README.md",
        *ROOT.glob("*/README.md"),
        ROOT / "notebooks" / "studies" / "README.md",
        *(ROOT / "clippan_lite").glob("**/*.md"),
    ]
)
MEGABYTE = 2**20


def anchors(text):
    """The anchors that a page's headings make."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_on_the_pages_is_python(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        compile(block, str(page), "exec")


def test_the_front_page_is_read_in_a_minute():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    for page in ("clippan_lite", "notebooks", "notebooks/studies", "data_download", "tests"):
        assert f"]({page}/README.md)" in text
    for word in ("jupyter lab ", "clippan-lite fuse", "clippan-lite sweep"):
        assert word in text


def test_names_on_the_pages_exist():
    for page in PAGES:
        for name in re.findall(r"\bcl\.(\w+)", page.read_text(encoding="utf-8")):
            assert hasattr(clippan_lite, name), f"{page}: cl.{name}"


def test_sizes():
    files = [f for f in package.FOLDER.rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    assert sum(f.stat().st_size for f in files) < 12 * MEGABYTE
    examples = [f for f in files if "examples" in f.parts]
    assert 0 < sum(f.stat().st_size for f in examples) < 2 * MEGABYTE
    for chapter in (ROOT / "notebooks").glob("*.ipynb"):
        assert chapter.stat().st_size < 800_000, chapter.name
