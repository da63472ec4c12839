"""The engine: what a stage costs beside its own work, against papermill's command line and call.

The same notebooks run three ways; a stage's own work is what its second cell sleeps. Imports, the
start of kernels and of programs, saving and (ours) the ledger are all overhead. What a
run of ours does once in the end, report and seal, has a line of its own.
"""

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import nbformat
from benchmarks.report import Line
from nbformat import v4
from traitlets.config import Config

from lib.chain import run, stages
from lib.record.events import Event

WORK = 1.0  # seconds of own work in a stage
MODULES = ("pandas", "requests", "yaml")
CELLS = (
    f"import {', '.join(MODULES)}",
    "import time; time.sleep({work})",
    "print('said'); pandas.DataFrame([[1, 'a'], [2, 'b']], columns=['n', 'name'])",
    "from IPython.display import display\n"
    "shown = display('before', display_id='d')\nshown.update('after')",
    "sorted(name for name in globals() if not name.startswith('_'))",
)
Cell = tuple


def measure(count: int = 6) -> list[Line]:
    """Run the notebooks all three ways and compare; raise if a cell's result differs."""
    with tempfile.TemporaryDirectory() as folder:
        books = notebooks(Path(folder) / "notebooks", count)
        mine, typed, called = (w(books, Path(folder) / w.__name__) for w in (ours, command, call))
    demand_same(mine.cells, typed.cells)
    demand_same(mine.cells, called.cells)
    later = median(mine.beside[1:])
    return [
        Line("beside its work, a stage after the first, and 0.3 s", "s", later, 0.3, 1),
        Line("  and with the papermill command", "s", later, median(typed.beside), 1 / 8),
        Line("  and with papermill.execute_notebook", "s", later, median(called.beside)),
        Line("the first, and with the papermill command", "s", mine.beside[0], typed.beside[0]),
        Line("the run's report and seal, and its stages", "s", mine.closing, sum(mine.beside)),
        Line("all of the run, and with the papermill command", "s", whole(mine), whole(typed)),
        Line("cells whose results are the same", "", len(mine.cells), len(typed.cells)),
    ]


@dataclass(frozen=True)
class Way:
    """What one way of running the notebooks took: seconds a stage, and what became of the cells."""

    beside: list[float]  # its own work
    cells: list[Cell]
    closing: float = 0.0  # seconds after the last stage


def whole(way: Way) -> float:
    """Return the seconds that the whole run took beside the stages' own work."""
    return sum(way.beside) + way.closing


def notebooks(folder: Path, count: int, work: float = WORK) -> list[Path]:
    """Write the notebooks and return their paths."""
    folder.mkdir()
    paths = [folder / f"{n:02}-stage.ipynb" for n in range(10, 10 + count)]
    for path in paths:
        code = [v4.new_code_cell(cell.replace("{work}", str(work))) for cell in CELLS]
        nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell("# Stage"), *code]), path)
    return paths


def ours(books: list[Path], folder: Path, work: float = WORK) -> Way:
    """Run the stages as `runbook run` does; a stage lasts until the next begins."""
    marks = [time.monotonic()]

    def tell(event: Event) -> None:
        if event.kind in ("stage", "done"):
            marks.append(time.monotonic())

    chosen = stages.find(books[0].parent)
    ended = run.run(chosen, {}, {}, runs=folder, tell=tell, preload=MODULES)
    closing = time.monotonic() - marks[-1]
    del marks[1]  # the first stage begins with the run
    beside = [end - start - work for start, end in itertools.pairwise(marks)]
    return Way(beside, results([ended.folder / path.name for path in books]), closing)


def command(books: list[Path], folder: Path, work: float = WORK) -> Way:
    """Run each with the papermill command."""
    words = [str(Path(sys.executable).with_name("papermill")), "-k", "python3"]

    def one(book: Path, created: Path) -> None:
        subprocess.run([*words, str(book), str(created)], check=True, capture_output=True)

    return _each(one, books, folder, work)


def call(books: list[Path], folder: Path, work: float = WORK) -> Way:
    """Run each with papermill's function, in this process, which has imported it."""
    import papermill

    # It costs no time that could be measured, and keeps each kernel's warning off the terminal.
    quiet = Config({"KernelManager": {"transport_encryption": "auto"}})

    def one(book: Path, created: Path) -> None:
        options = {"kernel_name": "python3", "progress_bar": False, "config": quiet}
        papermill.execute_notebook(book, created, **options)

    return _each(one, books, folder, work)


def _each(one: Callable[[Path, Path], None], books: list[Path], folder: Path, work: float) -> Way:
    folder.mkdir()
    beside = []
    for book in books:
        began = time.monotonic()
        one(book, folder / book.name)
        beside.append(time.monotonic() - began - work)
    return Way(beside, results([folder / book.name for book in books]))


def results(paths: list[Path]) -> list[Cell]:
    """Return what became of each cell, without the times."""
    cells = [cell for path in paths for cell in nbformat.read(path, as_version=4).cells]
    return [
        (c.source, c.get("execution_count"), c.get("outputs"), c.metadata.papermill["status"])
        for c in cells
    ]


def demand_same(mine: list[Cell], others: list[Cell]) -> None:
    """Raise RuntimeError at the first cell with another result: faster but other is worthless."""
    for one, other in zip(mine, others, strict=True):
        if one != other:
            raise RuntimeError(f"results differ:\n  ours:  {one}\n  other: {other}")
