"""Notebooks without running them: their products are up to date, clean and complete."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from clippan_lite.runtime import notebooks

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
CHAPTERS = sorted(FOLDER.glob(notebooks.PATTERN))
ALL = [*CHAPTERS, *sorted((FOLDER / "solutions").glob("*.py"))]
COURSE = [
    "00_start_here",
    "01_data_preparation",
    "02_clip_adaptation",
    "03_full_resolution_training",
    "04_evaluation",
    "05_failure_analysis",
    "06_your_own_scene",
    "07_how_a_study_works",
    "08_is_it_the_language",
]
HEADINGS = ("What you will learn", "Prerequisites", "Questions", "Summary")
ABSOLUTE = re.compile(r"(?<![\w.~/:])/(?:home|root|tmp|work|Users)/|[A-Z]:\\\\?Users")
LARGEST = 800_000  # bytes: code-hosting sites stop showing larger notebooks well
every = pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)


def product(path):
    assert path.with_suffix(".ipynb").is_file(), f"run: python notebooks/build.py {path.stem}"
    return nbformat.read(path.with_suffix(".ipynb"), as_version=4)


def texts(notebook):
    """Sources and textual outputs; pictures may hold any letters by chance."""
    for cell in notebook.cells:
        yield cell.source
        for output in cell.get("outputs", []):
            yield output.get("text", "")
            for kind, value in output.get("data", {}).items():
                if kind.startswith("text/"):
                    yield value if isinstance(value, str) else "".join(value)


def test_the_course_is_complete():
    assert set(COURSE) <= {path.stem for path in CHAPTERS}


@every
def test_product_is_built_from_this_source(path):
    source, built = notebooks.read_source(path), product(path)
    digest = notebooks.source_hash(source)
    assert built.metadata.get("clippan", {}).get("source_sha256") == digest, (
        f"python notebooks/build.py {path.stem}"
    )
    assert notebooks.source_hash(built) == digest
    assert len(built.cells) == len(source.cells)
    for one, other in zip(source.cells, built.cells, strict=True):
        assert one.cell_type == other.cell_type and one.source.strip() == other.source.strip()
        assert one.metadata.get("tags", []) == other.metadata.get("tags", [])


@every
def test_product_ran_once_from_top_to_bottom(path):
    code = [cell for cell in product(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]


@every
def test_product_is_clean(path):
    built = product(path)
    assert "widgets" not in built.metadata
    assert path.with_suffix(".ipynb").stat().st_size <= LARGEST
    for index, cell in enumerate(built.cells):
        assert "execution" not in cell.metadata
        for output in cell.get("outputs", []):
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
            told = output.get("data", {}).get("text/plain", "")
            assert not re.search(r"\d%\||\b[VH]Box\(", told), (
                "what a progress bar or a widget leaves for terminals"
            )
            assert "image/svg+xml" not in output.get("data", {}), (
                f"cell {index}: nbval compares SVG letter by letter"
            )
    for text in texts(built):
        assert not ABSOLUTE.search(text), text[:200]


@every
def test_source_names_its_kernel(path):
    assert notebooks.read_source(path).metadata.get("kernelspec", {}).get("name") == "python3"


@chapter
def test_chapter_has_the_expected_headings(path):
    headings = [
        line.lstrip("#").strip()
        for cell in notebooks.read_source(path).cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("#")
    ]
    for expected in HEADINGS:
        assert any(expected.lower() in heading.lower() for heading in headings), expected


def markdown(path):
    """All text of a chapter."""
    return "\n\n".join(
        cell.source for cell in notebooks.read_source(path).cells if cell.cell_type == "markdown"
    )


def section(text, heading):
    """What stands between a heading and the next one of its level."""
    return re.search(rf"(?ms)^## {heading}\n(.*?)(?=^## |\Z)", text).group(1)


@chapter
def test_goals_are_headings_in_their_order(path):
    text = markdown(path)
    goals = [
        re.search(r"\*([^*]+)\*", line).group(1)
        for line in re.findall(r"(?m)^\d+\. .*$", section(text, "What you will learn"))
    ]
    headings = [
        heading.removesuffix(", in figures") for heading in re.findall(r"(?m)^## (.*)$", text)
    ]
    assert len(goals) >= 3
    assert goals == [heading for heading in headings if heading in goals]


@chapter
def test_chapter_tells_time_hardware_and_what_comes_next(path):
    text = markdown(path)
    needed = section(text, "Prerequisites")
    assert (
        re.search(r"minutes of reading, .*(second|minute).* of computing", needed)
        and "full mode" in needed
    )
    assert "laptop" in needed
    assert re.search(r"\*\*Next:\*\*\s+\S", section(text, "Summary"))


@chapter
def test_chapter_has_exercises_with_results_and_five_questions(path):
    text = markdown(path)
    exercises = re.findall(r"(?s)\*\*Exercise \d\.\*\*.*?(?=\*\*Exercise|\n## |\Z)", text)
    assert len(exercises) >= 2 and all("*Expected:*" in exercise for exercise in exercises)
    assert len(re.findall(r"(?m)^\d\. .*\?$", section(text, "Questions"))) == 5


@chapter
def test_what_follows_a_figure_says_what_it_shows_with_a_number_and_what_it_does_not(path):
    cells, waiting = notebooks.read_source(path).cells, False
    for cell in cells:
        if cell.cell_type == "code":
            waiting = waiting or "figures.show(" in cell.source
        elif waiting:
            waiting = False
            said, _, unsaid = re.sub(r"\s+", " ", cell.source).partition(
                "**What it does not show:**"
            )
            assert "**What you see.**" in said and unsaid.strip(), cell.source[:80]
            assert re.search(r"\d|\b(two|three|four|half)\b", said), cell.source[:80]
    assert not waiting


@every
def test_pictures_have_alternative_texts(path):
    for cell in product(path).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for kind in {"image/png", "image/jpeg"} & set(data):
                # JupyterLab prefers the HTML, whose picture has a text; it shows none of metadata.
                assert "<img " in data.get("text/html", ""), "figures.show"
                assert len(output.metadata[kind]["alt"]) > 20
            page = data.get("text/html", "")
            # The pictures of a swipe have short titles, and one caption below them all.
            is_swipe = "data-swipe" in page
            if is_swipe:
                assert len(re.search(r"<figcaption>([^<]*)", page).group(1)) > 20
            for image in re.findall(r"<img [^>]*", page):
                text = re.search(r'alt="([^"]*)"', image).group(1)
                assert len(text) > (0 if is_swipe else 20)


@chapter
def test_parameters_are_commented_literals(path):
    notebook = notebooks.read_source(path)
    assert "run_dir" in notebooks.declared(notebook, path.stem)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    for line in cell.source.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            assert "#" in line, f"no comment: {line}"


def test_shared_parameters_have_one_default():
    """`-p name value` means the same in every notebook, so its default must too."""
    defaults = {}
    for path in CHAPTERS:
        for name, value in notebooks.declared(notebooks.read_source(path), path.stem).items():
            assert defaults.setdefault(name, value) == value, f"{path.stem}: {name}"
    if CHAPTERS:
        assert {"pan", "ms", "sensor", "convention"} <= set(defaults)


def exercises(path):
    cells = notebooks.read_source(path).cells
    return {
        t: c.source for c in cells for t in c.metadata.get("tags", []) if t.startswith("exercise-")
    }


def stub(solution):
    """What a learner gets: the lines between the solution's two marks give way to a comment."""
    marked = r"(?ms)^( *)# begin solution\n.*?^ *# end solution$"
    return re.sub(marked, r"\1# your code", solution)


@chapter
def test_exercises_are_their_solutions_without_the_answer(path):
    asked, solved = exercises(path), exercises(FOLDER / "solutions" / f"{path.stem}_solutions.py")
    assert len(asked) >= 2
    assert asked == {tag: stub(cell) for tag, cell in solved.items()}
    for cell in asked.values():
        assert "# your code" in cell and not re.search(r"\bsolution\b", cell)


MOST_NUMBERS = 5  # in a paragraph; more belong into a table
SAID_NOT_COUNTED = (
    r"(?ms)^```.*?^```",  # code, diagrams
    r"(?m)^\|.*$",  # tables
    r"(?m)^#+ .*$",  # headings
    r"(?s)\$\$.*?\$\$",  # formulas
    r"\$[^$\n]+\$",
    r"`[^`]*`",
    r"\[[^\]]*\]\([^)]*\)",  # links
    r"(?m)^ *\d+\. ",  # numbers of list items
    r"\*\*Exercise \d+\.\*\* \*[^*]*\*",  # an exercise's number and minutes
    r"\b(?:[Cc]hapters?|[Ee]xercises?) \d+(?:(?:, | to | and )\d+)*",
)
NUMBER = re.compile(r"(?<![\w.])(?<![A-Za-z]-)(?<!/)\d[\d,.]*")  # but not those in names: Landsat-7


def paragraphs(text):
    """Paragraphs and list items of prose, without what may hold any numbers."""
    for pattern in SAID_NOT_COUNTED:
        text = re.sub(pattern, " ", text)
    for block in re.split(r"\n\s*\n", text):
        yield from re.split(r"\n(?=[*-] )", block)


def numbers(paragraph):
    return NUMBER.findall(paragraph)


@every
def test_a_paragraph_holds_few_numbers(path):
    for paragraph in paragraphs(markdown(path)):
        assert len(numbers(paragraph)) <= MOST_NUMBERS, paragraph


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("On 3 scenes it rose from 0.5 to 0.75, by 50 %.", 4),
        ("Landsat-7 and ViT-B/32 in chapters 03, 04 and 05, exercise 2", 0),
        ("16 by 16 pixels, a 64-pixel crop, -0.05", 4),
        ("# 5 heads\n| 1 | 2 |\n`x = 3` $4 + 5$ [6](a.md#7)", 0),
        ("1. one\n2. two\n```python\n9\n```", 0),
        ("**Exercise 1.** *Easy, 5 minutes.* Take 7.", 1),
    ],
)
def test_numbers_are_counted_in_prose_alone(text, count):
    assert sum(len(numbers(paragraph)) for paragraph in paragraphs(text)) == count


def anchors(page):
    """The anchors that a page's headings make on code-hosting sites."""
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(text):
    """Relative links as (path, anchor)."""
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [link.partition("#")[::2] for link in found if not link.startswith("https://")]


PAGES = [FOLDER / "GLOSSARY.md", FOLDER / "README.md", FOLDER / "LOG.md"]


@pytest.mark.parametrize("path", [*ALL, *PAGES], ids=lambda p: p.stem)
def test_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8") if path.suffix == ".md" else markdown(path)
    for name, anchor in links(text):
        target = path.parent / name if name else path
        assert target.exists(), name
        if anchor:
            assert anchor in anchors(target), f"{name}#{anchor}"


def test_every_entry_of_the_glossary_has_the_anchor_that_jupyterlab_needs():
    """JupyterLab's own anchors of headings keep their case, and links are in lower case."""
    page = FOLDER / "GLOSSARY.md"
    text = page.read_text(encoding="utf-8")
    found = re.findall(r'(?m)^<a id="(.+)"></a>\n\n### (.+)$', text)
    assert len(found) == text.count("\n### ") > 30
    for name, heading in found:
        assert name == re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@chapter
def test_chapter_links_to_the_glossary_its_solutions_and_the_library(path):
    found = [name for name, _ in links(markdown(path))]
    assert found.count("GLOSSARY.md") >= 5
    assert f"solutions/{path.stem}_solutions.ipynb" in found
    assert "../clippan_lite/README.md" in found


def exercise_texts(path):
    """The words of each exercise, by its number."""
    found = re.findall(r"(?ms)^\*\*Exercise (\d+)\.\*\*(.*?)(?=\n\n|\Z)", markdown(path))
    return {int(number): text.split() for number, text in found}


@chapter
def test_solutions_ask_what_the_chapter_asks_and_answer_every_question(path):
    solutions = FOLDER / "solutions" / f"{path.stem}_solutions.py"
    asked, cells = exercise_texts(path), exercises(path)
    assert list(asked) == list(range(1, len(asked) + 1))
    for words in asked.values():
        level = r"\*(Easy|Medium|Hard), [^*]+\.\*"
        assert re.match(level, " ".join(words)), words
    with_cell = {n: words for n, words in asked.items() if "without a cell" not in " ".join(words)}
    assert [f"exercise-{n}" for n in with_cell] == list(cells)
    assert exercise_texts(solutions) == with_cell
    answers = re.findall(r"(?m)^(\d)\. (.+)$", section(markdown(solutions), "Answers"))
    assert [number for number, _ in answers] == list("12345")
    assert all(len(answer.split()) >= 10 for _, answer in answers)


@chapter
def test_exercises_are_checked(path):
    cells = exercises(path)
    assert all("exercises.verdict" in cell for cell in cells.values())
    solutions = notebooks.read_source(FOLDER / "solutions" / f"{path.stem}_solutions.py")
    code = "\n".join(cell.source for cell in solutions.cells if cell.cell_type == "code")
    assert code.count("== exercises.RIGHT") >= len(cells)


def test_a_stub_keeps_all_but_the_answer():
    whole = "a = 1\nif a:\n    # begin solution\n    b = 2\n    c = 3\n    # end solution\nprint(a)"
    assert stub(whole) == "a = 1\nif a:\n    # your code\nprint(a)"


def test_the_page_of_chapters_has_the_table_of_parameters():
    table = notebooks.parameter_table(CHAPTERS)
    assert "| `seeds` |" in table and len(table.splitlines()) > 20
    assert table in (FOLDER / "README.md").read_text(encoding="utf-8"), (
        "python notebooks/build.py --parameters"
    )


@pytest.mark.slow
def test_the_page_of_studies_has_the_table_of_settings():
    """The script is no part of the package, so it is called."""
    command = [sys.executable, str(FOLDER / "build.py"), "--settings"]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "| `adapt_steps` |" in table and "| `qnr" not in table and len(table.splitlines()) > 40
    assert table in (FOLDER / "studies" / "README.md").read_text(encoding="utf-8"), command


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/tmp/x", True),
        ("in /home/me", True),
        ("https://a.org/home/x", False),
        ("~/work/x", False),
        ("a/tmp/b", False),
    ],
)
def test_absolute_paths_are_recognised(text, found):
    assert bool(ABSOLUTE.search(text)) == found
