import json
from types import SimpleNamespace

import nbformat
import pytest

from lib import waiting
from lib.chain import closing, params, run, stages, values

STEP = (
    "from IPython.display import display\n"
    "def told(outcome, what):\n"
    f"    facts = {{'{waiting.STEP}': dict(outcome=outcome, command='createVolume', what=what)}}\n"
    "    display(facts, raw=True)\n"
)
CELL = 'cluster_name: str = "my-cluster"  # name'


def chain(notebooks, runs, *options, **more):
    """Run all notebooks of a folder, and collect the events."""
    events = []
    table = params.gather(notebooks)
    held = values.load(table, options=options)
    more |= {"runs": runs, "tell": events.append}
    ended = run.run(stages.find(notebooks), table, held, **more)
    books = {r.stage: nbformat.read(r.record, 4) for r in ended.results if r.record}
    return SimpleNamespace(run=ended, results=ended.results, events=events, books=books)


def statuses(book):
    return [c.metadata.papermill["status"] for c in book.cells if c.cell_type == "code"]


def text(book):
    return json.dumps([cell.get("outputs", []) for cell in book.cells])


@pytest.fixture(scope="module")
def failing(book, tmp_path_factory):
    """A run of three stages of which the second fails; its folder's name has braces and spaces."""
    base = tmp_path_factory.mktemp("with {braces} and spaces")
    first = "import os; print(os.getcwd(), cluster_name, size)"
    both = f"{CELL}\nsize: int = 3  # machines"
    book(
        base / "n" / "10-first.ipynb", "# 10", first, STEP, "told('done', 'disk')", parameters=both
    )
    book(base / "n" / "20-second.ipynb", "## Apply", "told = 1", "1 / 0", "2", parameters=CELL)
    book(base / "n" / "30-third.ipynb", "1 + 1")
    return chain(base / "n", base / "runs", "size=5", "cluster_name=other-one")


def test_a_run_has_a_result_for_each_stage(failing):
    ended = {r.stage: r.outcome for r in failing.results}
    assert ended == {"10-first": "ok", "20-second": "failed", "30-third": "not-run"}
    first, second, _ = failing.results
    assert failing.run.exit_code == 1 and first.seconds > 0
    assert first.steps == [{"outcome": "done", "command": "createVolume", "what": "disk"}]
    assert (second.error, second.section) == ("ZeroDivisionError: division by zero", "Apply")


def test_the_run_folder_has_the_executed_notebooks_and_the_parameters(failing):
    folder = failing.run.folder
    assert folder.name.endswith("-other-one")
    held = sorted(path.name for path in folder.iterdir())
    books, rest = ["10-first.ipynb", "20-second.ipynb", "MANIFEST.sha256"], "report.html run.json"
    assert held == [*books, "events.jsonl", "history.json", "params.yaml", *rest.split()]
    assert "size: 5  # command line\n" in (folder / "params.yaml").read_text()


def test_the_record_is_true_and_valid(failing):
    first, second = failing.books["10-first"], failing.books["20-second"]
    assert statuses(first) == ["completed"] * 5
    assert statuses(second) == ["completed", "completed", "completed", "failed", "pending"]
    assert first.metadata.runbook == {"stage": "10-first", "attempt": 1, "outcome": "ok"}
    assert second.metadata.runbook.outcome == "failed"
    assert second.metadata.papermill["exception"] is True
    assert "ZeroDivisionError" in text(second)
    nbformat.validate(first)
    nbformat.validate(second)


def test_a_notebook_gets_the_parameters_that_it_declares_and_runs_in_its_own_folder(failing):
    injected = failing.books["20-second"].cells[1].source
    assert "other-one" in injected
    assert "size" not in injected
    folder = failing.run.folder.parent.parent / "n"
    assert f"{folder} other-one 5" in text(failing.books["10-first"])


def test_events_tell_of_the_run_its_stages_cells_and_messages(failing):
    kinds = [event.kind for event in failing.events if event.stage != "10-first"]
    assert kinds[:3] == ["run", "stage", "cell"]
    assert kinds[-2:] == ["end", "done"]
    headings = [e.data["heading"] for e in failing.events if e.kind == "cell"]
    assert headings[-1] == "Apply"
    text = [e.data["message"] for e in failing.events if e.kind == "message"]
    assert "stream" in {message["msg_type"] for message in text}


def test_a_run_continues_without_its_terminal(book, notebooks, tmp_path):
    def closed(event):
        raise BrokenPipeError

    book(notebooks / "10-one.ipynb", "1")
    ended = run.run(stages.find(notebooks), {}, {}, runs=tmp_path / "runs", tell=closed)
    assert ended.exit_code == 0


def test_each_run_has_a_folder_of_its_own_whatever_its_name(tmp_path):
    names = ["demo", "demo", "demo", "..", "", "///", "a" * 300]
    folders = {closing.new_folder(tmp_path, name) for name in names}
    assert len(folders) == len(names) and {f.parent for f in folders} == {tmp_path}
