"""Every notebook keeps to the page: headings, short cells, typed parameters, no outputs."""

import ast
import re
from pathlib import Path
from statistics import median

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STAGES = [p for p in PATHS if p.stem[0].isdigit()]
HEADINGS = ["Parameters", "Connect", "Before", "Check", "Plan", "Apply", "Verify", "After"]
BANNED = (ast.FunctionDef, ast.ClassDef, ast.Try, ast.For, ast.While, ast.AsyncFunctionDef)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code(path: Path) -> list[nbformat.NotebookNode]:
    return [c for c in read(path).cells if c.cell_type == "code"]


def headings(path: Path) -> list[str]:
    words = [c.source for c in read(path).cells if c.cell_type == "markdown"]
    return [m[1] for w in words if (m := re.match(r"## (.+)", w))]


@pytest.fixture(params=PATHS, ids=lambda p: p.stem)
def path(request) -> Path:
    return request.param


@pytest.mark.parametrize("stage", STAGES, ids=lambda p: p.stem)
def test_a_stage_has_the_headings_in_their_order(stage):
    found = headings(stage)
    changes = any(re.search(r"\bapply|deploy\(", c.source) for c in code(stage)[1:])
    assert found == [h for h in HEADINGS if h in found]
    assert {"Parameters", "Connect", "Before", "Check"} <= set(found)
    assert found == HEADINGS or not changes


@pytest.mark.parametrize("stage", STAGES, ids=lambda p: p.stem)
def test_the_title_names_the_stage_and_its_undo(stage):
    title = read(stage).cells[0].source
    assert title.startswith(f"# {stage.stem[:2]} ")
    assert "Undo:" in title and "Operation note" in title
    assert len(title.split("\n\n")) == 4  # all else stands beside the cell that it is about


def test_a_notebook_is_valid_and_has_no_outputs(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.nbformat_minor >= 5
    assert all(c.outputs == [] and c.execution_count is None for c in code(path))


def test_cells_are_short_and_hold_no_machinery(path):
    for cell in code(path)[1:]:
        assert len(cell.source.splitlines()) <= 10, cell.id
        nodes = list(ast.walk(ast.parse(cell.source)))  # a shell escape or magic does not parse
        assert not [n for n in nodes if isinstance(n, BANNED)], cell.id


def test_half_of_the_code_cells_have_three_lines_or_less(path):
    assert median(len(c.source.splitlines()) for c in code(path)[1:]) <= 3


def test_a_sentence_stands_in_one_notebook_only():
    """What all stages share stands in 00; the cells below say what is special to their stage."""
    places: dict[str, list[str]] = {}
    for notebook in PATHS:
        cells = [c.source for c in read(notebook).cells if c.cell_type == "markdown"]
        lines = [x for c in cells for x in c.splitlines() if x[:1] not in ("#", "*")]
        prose = " ".join(x for x in lines if "Undo:" not in x)
        for sentence in re.split(r"(?<=[.:?]) ", prose):
            places.setdefault(sentence.strip(), []).append(notebook.stem)
    assert {s: p for s, p in places.items() if s and len(p) > 1} == {}


@pytest.mark.parametrize("stage", STAGES, ids=lambda p: p.stem)
def test_after_is_the_difference_from_before(stage):
    """Of 20 both are the text, in full; of a stage that changes nothing there is no After."""
    shown = [c.source for c in code(stage) if c.id.partition("-")[0] == "after"]
    assert all("changes(" in s for s in shown) or stage.stem.startswith("20")


def test_the_explanation_of_the_headings_names_them_all():
    assert re.findall(r"^- \*(\w+)\*", read(PATHS[0]).cells[1].source, re.M) == HEADINGS


def test_parameters_are_typed_literals_with_a_meaning(path):
    cell = code(path)[0]
    assert cell.metadata.tags == ["parameters"]
    types = r"(str|int|float|bool|list|dict|list\[dict\])"
    for line in cell.source.splitlines():
        assert re.fullmatch(rf"\w+: {types} = .+  # .+", line), line


def test_a_stage_that_changes_things_only_looks_by_default(path):
    modes = [x for x in code(path)[0].source.splitlines() if x.startswith("mode")]
    assert all('= "plan"' in m for m in modes)


def stage_table() -> str:
    rows = []
    for stage in PATHS:
        title, what = read(stage).cells[0].source.split("\n\n")[:2]
        rows.append(f"| [{title.removeprefix('# ')}](notebooks/{stage.name}) | {what} |")
    return "\n".join(["| notebook | what it does |", "| --- | --- |", *rows])


def test_the_readme_shows_the_notebooks_own_titles():
    readme = (ROOT / "README.md").read_text()
    shown = re.search(r"<!-- stages: .*? -->\n(.*?)\n<!-- end of stages -->", readme, re.S)[1]
    assert shown == stage_table(), f"README's table of stages should be:\n{stage_table()}"
