"""The static site and the workshop kit: complete, linked, and usable without a network."""

import importlib.util
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
pytestmark = pytest.mark.slow


def publish(*arguments):
    command = [sys.executable, str(ROOT / "notebooks" / "publish.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = publish(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {p: BeautifulSoup(p.read_text("utf-8"), "html.parser") for p in site.rglob("*.html")}


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit")
    done = publish("--kit", folder / "kit.zip")
    assert done.returncode == 0, done.stderr[-3000:]
    with zipfile.ZipFile(folder / "kit.zip") as archive:
        archive.extractall(folder)
    return folder / "kit"


def test_every_chapter_solution_and_page_is_there(site):
    for path in CHAPTERS:
        assert (site / "notebooks" / f"{path.stem}.html").is_file()
        assert (site / "notebooks" / "solutions" / f"{path.stem}_solutions.html").is_file()
    for name in ("index", "README", "notebooks/GLOSSARY", "notebooks/studies/README"):
        assert (site / f"{name}.html").is_file()


def test_every_link_leads_somewhere(pages):
    anchors = {p: {tag["id"] for tag in soup.find_all(id=True)} for p, soup in pages.items()}
    broken = []
    for page, soup in pages.items():
        for tag in soup.find_all(["a", "img", "link", "script"]):
            url = urlsplit(tag.get("href") or tag.get("src") or "")
            if url.scheme or url.netloc or not (url.path or url.fragment):
                continue
            target = (page.parent / url.path).resolve() if url.path else page
            found = target.is_file() and (not url.fragment or url.fragment in anchors[target])
            if not found:
                broken.append(f"{page.name}: {url.geturl()}")
    assert not broken, broken


def test_nothing_but_the_script_of_diagrams_comes_from_the_web(pages):
    for page, soup in pages.items():
        for tag in soup.find_all(["img", "script", "link", "iframe"]):
            url = urlsplit(tag.get("src") or tag.get("href") or "")
            assert url.scheme in ("", "data"), page
        scripts = "".join(tag.get_text() for tag in soup.find_all("script"))
        assert len(re.findall("https://", scripts)) <= 1, page


def test_formulas_are_drawn_without_a_script(site, pages):
    soup = pages[site / "notebooks" / "04_evaluation.html"]
    assert len(soup.find_all("math")) > 20
    for tag in soup(["pre", "code", "script", "annotation"]):
        tag.decompose()
    assert re.findall(r"\$[^$\n]{1,60}\$|\\\\(frac|mathrm|lambda)", soup.get_text()) == []


def test_the_search_knows_every_page_and_the_functions(site, pages):
    text = (site / "search.js").read_text("utf-8")
    index = json.loads(text.removeprefix("const INDEX = ").rstrip().removesuffix(";"))
    urls = {entry["url"].partition("#")[0] for entry in index}
    for path in pages:
        where = str(path.relative_to(site))
        assert where in urls or where in ("handout.html", "answers.html")
    found = [entry["url"] for entry in index if entry["title"] == "fuse"]
    assert found == ["clippan_lite/api.html#fuse"]


def test_the_functions_have_signatures_and_settings_their_meaning(site, pages):
    text = pages[site / "clippan_lite" / "api.html"].get_text()
    assert "cl.fuse(\n    pair: Pair,\n" in text
    assert "Adam's peak learning rate" in text


def test_the_handout_has_no_code_and_the_answers_are_complete(site, pages):
    handout = pages[site / "handout.html"]
    assert len(handout.find_all("img")) > 30
    assert "experiments.begin" not in handout.get_text() and "import torch" not in str(handout)
    assert len(handout.select("section.chapter")) == len(CHAPTERS)
    answers = pages[site / "answers.html"]
    assert [len(items.find_all("li")) for items in answers.main.find_all("ol")] == [5] * 9


def test_the_kit_has_chapters_and_no_solutions_and_its_links_work(kit):
    names = {path.name for path in kit.iterdir()}
    assert {path.name for path in CHAPTERS} | {"GLOSSARY.md", "README.txt", "handout.html"} < names
    for path in kit.glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        linked = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
        assert set(linked) <= names, path.name
        assert "begin solution" not in "".join(cell.source for cell in cells)
    text = (kit / "04_evaluation.ipynb").read_text("utf-8")
    assert "# your code" in text and '"image/' in text


def test_the_kits_package_runs_by_itself_without_a_network(kit, tmp_path):
    """The wheel that its README names, unpacked, where nothing else of ours is found."""
    (wheel,) = kit.glob("*.whl")
    assert f'"./{wheel.name}[notebooks]"' in (kit / "README.txt").read_text()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    code = (
        "import clippan_lite as cl; assert 'installed' in cl.__file__, cl.__file__\n"
        "pair = cl.example('landsat7'); print(tuple(cl.fuse(pair).shape))"
    )
    proxy = "http://127.0.0.1:9"  # nobody listens there
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=kit,
        env={"PYTHONPATH": str(tmp_path / "installed"), "PATH": "", "https_proxy": proxy},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"\(6, \d+, \d+\)", done.stdout)


def test_two_kits_are_the_same_file(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert publish("--kit", tmp_path / name / "kit.zip").returncode == 0
    one, two = ((tmp_path / name / "kit.zip").read_bytes() for name in ("one", "two"))
    assert one == two


def test_nothing_to_do_is_said(tmp_path):
    done = publish()
    assert done.returncode == 2 and "give a folder for the site, or --kit kit.zip" in done.stderr


@pytest.mark.parametrize("drawn", [False, True])
def test_diagrams_are_pictures_where_their_package_is(drawn, monkeypatch):
    spec = importlib.util.spec_from_file_location("publish", ROOT / "notebooks" / "publish.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    picture = SimpleNamespace(svg=lambda: '<svg id="my-svg"><style>#my-svg{}</style></svg>')
    monkeypatch.setitem(sys.modules, "mermaidx", SimpleNamespace(render=lambda code: picture))
    monkeypatch.setattr(module, "find_spec", lambda name: drawn or None)
    first, second = (str(module.to_html(f"```mermaid\n{code}\n```")) for code in ("A --> B", "C"))
    if drawn:
        assert "<svg" in first and "my-svg" not in first and first != second  # a name of its own
    else:
        assert '<pre class="mermaid">A --&gt; B' in first
