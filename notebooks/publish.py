"""Make a static site or a workshop kit of the executed chapters.

    python notebooks/publish.py FOLDER           the site
    python notebooks/publish.py --kit kit.zip    what the participants of a workshop need

The site is plain HTML with the repository's layout, so that links between pages stay as they are.
It needs no server and no network: formulas are MathML, pictures lie inside the pages, and the
search looks through an index beside them. Diagrams are pictures, too, if the package mermaidx is
installed. Otherwise a script from the web draws them, and without a network their text is shown.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import functools
import html
import inspect
import io
import json
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import jinja2
import mistune
import nbformat
from bs4 import BeautifulSoup
from latex2mathml.converter import convert as mathml
from nbconvert import HTMLExporter
from nbconvert.filters import Highlight2HTML
from PIL import Image
from pygments.formatters import HtmlFormatter

import clippan_lite
from clippan_lite.runtime import files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "Front page",
    "notebooks/README.md": "About the chapters",
    "notebooks/GLOSSARY.md": "Glossary",
    "notebooks/studies/README.md": "Studies and claims",
    "notebooks/LOG.md": "Log of experiments",
    "clippan_lite/README.md": "The library",
    "data_download/README.md": "Images to download",
    "tests/README.md": "Tests",
}
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))
API = "clippan_lite/api.html"
THUMBNAIL = 360  # pixels across
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(?:#[^)]*)?\)")  # to a file, in Markdown
SECTION = re.compile(r"<h[23] id=\"([^\"]+)\">(.*?)</h[23]>", re.DOTALL)
Page = dict[str, str]  # source, path, title, body
KIT = """Chapters of the course, with the expected pictures; cells that say "# your code" are yours.

Once, with a network, in this folder (Python 3.11 or newer):

    pip install "./{wheel}[notebooks]"

From then on no network is needed: a small CLIP, images and a trained network are in the package.

    clippan-lite check      is everything there? A problem comes with what to do about it.
    jupyter lab             then open 00_start_here.ipynb

handout.html is the course without its code, to read or to print.
"""


def main() -> int:
    """Make what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="of the site: made, or filled anew")
    parser.add_argument("--kit", metavar="ZIP", type=Path, help="pack a workshop kit")
    arguments = parser.parse_args()
    if not arguments.folder and not arguments.kit:
        parser.error("give a folder for the site, or --kit kit.zip")
    if arguments.folder:
        count = make_site(arguments.folder)
        print(f"{count} pages: open {arguments.folder / 'index.html'}")
        if find_spec("mermaidx") is None:
            print("Diagrams need a script from the web: pip install mermaidx makes them pictures")
    if arguments.kit:
        pack(arguments.kit)
    return 0


def make_site(folder: Path) -> int:
    """Write all pages and what they link to; returns the number of pages."""
    cards = [card(path) for path in CHAPTERS]
    pages = [page_of(ROOT / path) for path in PAGES]
    pages += [chapter_page(path) for path in (*CHAPTERS, *SOLUTIONS)]
    pages += [api_page(), handout_page(), answers_page()]
    pages.append({"source": "", "path": "index.html", "title": "clippan-lite", "body": ""})
    known = {page["source"]: page["path"] for page in pages if page["source"]}
    menu = [{"path": known[c["source"]], "title": c["title"]} for c in cards]
    following = dict(zip((entry["path"] for entry in menu), menu[1:], strict=False))
    menu += [{"path": known[path], "title": title} for path, title in PAGES.items()]
    menu.append({"path": API, "title": "Public functions"})
    for page in pages:
        path = page["path"]
        text = template().render(
            page,
            body=relinked(page, known, folder),
            up="../" * path.count("/"),
            menu=menu,
            cards=cards if path == "index.html" else [],
            following=following.get(path),
        )
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    light, dark = (
        HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("default", "monokai")
    )
    colours = f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
    (folder / "code.css").write_text(colours, encoding="utf-8")
    searched = [page for page in pages if page["path"] not in ("handout.html", "answers.html")]
    searched.sort(key=lambda page: "LOG" in page["path"])  # what explains comes before the log
    index = [entry for page in searched for entry in entries(page)]
    (folder / "search.js").write_text(f"const INDEX = {json.dumps(index)};\n", encoding="utf-8")
    return len(pages)


@functools.cache
def template() -> jinja2.Template:
    """The frame of every page."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    return jinja2.Environment(loader=loader, autoescape=True).get_template("site.html.j2")


class Renderer(mistune.HTMLRenderer):
    """Markdown as GitHub shows it, formulas as MathML."""

    def __init__(self) -> None:
        super().__init__(escape=False)

    def heading(self, text: str, level: int, **_: object) -> str:
        """A heading with the anchor that GitHub gives it."""
        return f'<h{level} id="{anchor(text)}">{text}</h{level}>\n'

    def inline_math(self, text: str) -> str:
        """A formula in a line."""
        return mathml(html.unescape(text))

    def block_math(self, text: str) -> str:
        """A formula of its own."""
        return mathml(html.unescape(text), display="block")

    def block_code(self, code: str, info: str | None = None) -> str:
        """Code in colours, or a diagram."""
        if info == "mermaid":
            return diagram(code)
        if not info:
            return f"<pre><code>{html.escape(code)}</code></pre>\n"
        return Highlight2HTML(pygments_lexer=info)(code)

    def table(self, text: str) -> str:
        """A table that scrolls by itself where the screen is narrow."""
        return f'<div class="scroll"><table>{text}</table></div>\n'


to_html = mistune.create_markdown(
    renderer=Renderer(), plugins=["math", "table", "strikethrough", "url"]
)


def diagram(code: str) -> str:
    """A Mermaid diagram as a picture, or as text for the script where mermaidx is missing."""
    if find_spec("mermaidx") is None:
        return f'<pre class="mermaid">{html.escape(code)}</pre>\n'
    import mermaidx

    own_name = f"diagram-{zlib.crc32(code.encode()):x}"  # the styles in a picture are for its name
    picture = mermaidx.render(code).svg().replace("my-svg", own_name)
    return f'<div class="scroll diagram">{picture}</div>\n'


def anchor(heading: str) -> str:
    """GitHub's anchor of a heading."""
    text = BeautifulSoup(heading, "html.parser").get_text().lower()
    return re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")


def page_of(path: Path) -> Page:
    """A page of Markdown."""
    source = str(path.relative_to(ROOT))
    text = re.sub(r'<a id="[^"]+"></a>\n', "", path.read_text(encoding="utf-8"))  # for JupyterLab
    body = str(to_html(text))
    target = str(path.relative_to(ROOT).with_suffix(".html"))
    return {"source": source, "path": target, "title": PAGES[source], "body": body}


def chapter_page(path: Path) -> Page:
    """An executed notebook, with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    where = path.relative_to(ROOT)
    return {
        "source": str(where),
        "path": str(where.with_suffix(".html")),
        "title": title_of(notebook),
        "body": body_of(notebook),
    }


def body_of(notebook: nbformat.NotebookNode, code: bool = True) -> str:
    """The cells of a notebook as HTML, with or without its code."""
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_input=not code,
    )
    exporter.register_filter("markdown2html", to_html)
    exporter.register_filter("highlight_code", Highlight2HTML(pygments_lexer="python"))
    return str(exporter.from_notebook_node(notebook)[0])


def handout_page() -> Page:
    """All chapters without their code, to print."""
    bodies = []
    for path in CHAPTERS:
        notebook = nbformat.read(path, as_version=4)
        bodies.append(f'<section class="chapter">{body_of(notebook, code=False)}</section>')
    body = re.sub(r' id="[^"]*"', "", "\n".join(bodies))  # chapters share names of headings
    return {
        "source": "notebooks/handout",
        "path": "handout.html",
        "title": "Hand-out",
        "body": body,
    }


def answers_page() -> Page:
    """The answers to all questions of the chapters, for the lecturer."""
    parts = ["# Answers"]
    for chapter, path in zip(CHAPTERS, SOLUTIONS, strict=True):
        title = title_of(nbformat.read(chapter, as_version=4))
        cells = nbformat.read(path, as_version=4).cells
        texts = [cell.source for cell in cells if "## Answers\n" in cell.source]
        parts += [f"## {title}", texts[0].partition("## Answers\n")[2]]
    body = str(to_html("\n\n".join(parts)))
    source = "notebooks/solutions/answers"
    return {"source": source, "path": "answers.html", "title": "Answers", "body": body}


def title_of(notebook: nbformat.NotebookNode) -> str:
    """The first heading."""
    texts = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return next(re.findall(r"^# (.+)", text, re.MULTILINE)[0] for text in texts if "# " in text)


def card(path: Path) -> dict[str, str]:
    """A chapter on the first page: its title, its question and its first picture."""
    notebook = nbformat.read(path, as_version=4)
    pictures = [
        output["data"]["image/jpeg"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/jpeg" in output.get("data", {})
    ]
    image = Image.open(io.BytesIO(base64.b64decode(pictures[0])))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    made = io.BytesIO()
    image.save(made, "JPEG", quality=80)
    where = path.relative_to(ROOT)
    return {
        "source": str(where),
        "path": str(where.with_suffix(".html")),
        "title": title_of(notebook),
        "picture": base64.b64encode(made.getvalue()).decode(),
    }


def api_page() -> Page:
    """Signatures and docstrings of the names that ``import clippan_lite as cl`` gives."""
    from pdoc import docstrings

    parts = ["# Public functions", "", "`import clippan_lite as cl` gives these names."]
    for name in sorted(clippan_lite._HOMES):
        member = getattr(clippan_lite, name)
        text = docstrings.convert(inspect.getdoc(member) or "", "google", None)
        text = re.sub(r":(?:func|class|mod|data|meth):`~?([^`]+)`", r"`\1`", text)
        text = re.sub(r"^#+ (.*)", r"**\1**", text, flags=re.MULTILINE)
        parts += ["", f"## {name}", "", f"```python\n{signature_of(name, member)}\n```", "", text]
        parts += settings_of(member)
    body = str(to_html("\n".join(parts)))
    return {"source": API, "path": API, "title": "Public functions", "body": body}


def signature_of(name: str, member: object) -> str:
    """How a function is called, one argument a line; of settings, the names only."""
    if dataclasses.is_dataclass(member) and settings_of(member):
        return f"cl.{name}(...)"
    signature = inspect.signature(member)  # type: ignore[arg-type]
    arguments = [f"    {argument}," for argument in signature.parameters.values()]
    returned = signature.return_annotation
    arrow = "" if returned is inspect.Signature.empty else f" -> {returned}"
    inner = "\n".join(["", *arguments, ""]) if arguments else ""
    return f"cl.{name}({inner}){arrow}".replace("'", "")


def settings_of(member: object) -> list[str]:
    """A table of settings that say what they mean, if there are any."""
    fields = dataclasses.fields(member) if dataclasses.is_dataclass(member) else ()
    said = [rule for rule in fields if "meaning" in rule.metadata]
    rows = [f"| `{r.name}` | `{r.default!r}` | {r.metadata['meaning']} |" for r in said]
    return ["", "| setting | default | meaning |", "|---|---|---|", *rows] if rows else []


def relinked(page: Page, known: dict[str, str], folder: Path) -> str:
    """The body with links to rendered pages; other files of ours are copied beside them."""
    here, start = (ROOT / page["source"]).parent, (folder / page["path"]).parent
    soup = BeautifulSoup(page["body"], "html.parser")
    for tag in soup.find_all(["a", "img"]):
        name = "href" if tag.name == "a" else "src"
        url = urlsplit(tag.get(name, ""))
        if url.scheme or url.netloc or not url.path:
            continue
        file = (here / url.path).resolve()
        where = str(file.relative_to(ROOT))
        if where in known or file.is_file():
            target = os.path.relpath(folder / known.get(where, where), start)
            tag[name] = f"{target}#{url.fragment}" if url.fragment else target
        if file.is_file() and where not in known:
            (folder / where).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / where)
        elif file.is_dir():
            tag.unwrap()  # a folder of code: the site has no page of it
    return str(soup)


def entries(page: Page) -> list[dict[str, str]]:
    """What the search knows of a page: one entry for each section."""
    soup = BeautifulSoup(page["body"], "html.parser")
    for tag in soup.select(".highlight, script, style, math"):
        tag.decompose()
    starts = [("", page["title"]), *SECTION.findall(str(soup))]
    texts = SECTION.sub("\0", str(soup)).split("\0")
    found = []
    for (at, heading), text in zip(starts, texts, strict=True):
        plain = BeautifulSoup(text, "html.parser").get_text(" ")
        title = BeautifulSoup(heading, "html.parser").get_text()
        found.append(
            {
                "page": page["title"],
                "title": title,
                "url": page["path"] + (f"#{at}" if at else ""),
                "text": " ".join(plain.split())[:4000],
            }
        )
    return found


def pack(target: Path) -> None:
    """Write chapters without solutions, glossary, hand-out and package into one archive."""
    shared = {path.name for path in CHAPTERS} | {"GLOSSARY.md"}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        wheel = build_wheel(folder)
        make_handout(folder / "handout.html")
        for path in CHAPTERS:
            notebook = nbformat.read(path, as_version=4)
            for cell in notebook.cells:
                if cell.cell_type == "markdown":
                    cell.source = within(cell.source, shared)
            nbformat.write(notebook, folder / path.name)
        glossary = (ROOT / "notebooks" / "GLOSSARY.md").read_text(encoding="utf-8")
        (folder / "GLOSSARY.md").write_text(within(glossary, shared), encoding="utf-8")
        (folder / "README.txt").write_text(KIT.format(wheel=wheel), encoding="utf-8")
        with (
            files.replacing(target) as part,
            zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for path in sorted(folder.iterdir()):
                # Its fixed date makes equal kits equal files.
                entry = zipfile.ZipInfo(f"{target.stem}/{path.name}")
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    print(f"{target}: {len(CHAPTERS)} chapters and {wheel}, {target.stat().st_size / 1e6:.1f} MB")


def build_wheel(folder: Path) -> str:
    """Build the package's wheel into a folder; returns its name."""
    from hatchling.builders.wheel import WheelBuilder

    return Path(next(WheelBuilder(str(ROOT)).build(directory=str(folder)))).name


def make_handout(path: Path) -> None:
    """The hand-out as one file that needs no other."""
    soup = BeautifulSoup(template().render(handout_page()), "html.parser")
    for tag in soup.select("header, nav, script, link"):
        tag.decompose()
    for tag in soup.find_all("a"):
        if not urlsplit(tag.get("href", "")).scheme:
            tag.unwrap()
    path.write_text(str(soup), encoding="utf-8")


def within(text: str, names: set[str]) -> str:
    """Markdown whose links to files that are not among the names are plain text."""
    return LINK.sub(lambda link: link[0] if link[2] in names else link[1], text)


if __name__ == "__main__":
    raise SystemExit(main())
