"""The index: all runs of a folder, the newest first, as a page beside them and on the terminal."""

from dataclasses import dataclass
from pathlib import Path

from lib.chain import whole
from lib.progress import span
from lib.report import page, past
from lib.report.page import el, rows
from lib.report.words import clock, colour, mark, tone

FILE = "index.html"
HEAD = ["outcome", "run", "cluster", "stage reached", "changes", "took", "mode", "began"]
REPORT = "report.html"


@dataclass(frozen=True)
class Line:
    """One run: its folder, its outcome, and its texts in the order of HEAD."""

    folder: Path
    outcome: str
    words: list[str]


def lines(runs: Path) -> list[Line]:
    """Return a line for each run of the folder, the newest first."""
    return [_line(past.read(folder, files=("events",))) for folder in past.folders(runs)]


def _line(run: past.Past) -> Line:
    ran = [a for a in run.stages if a.cause != "not-run"]
    at = run.stopped or (ran[-1] if ran else None)
    well = sum(a.cause in past.ENDED_WELL for a in run.stages)
    cluster, mode = (str(run.params.get(name, "")) for name in ("cluster_name", "mode"))
    reached = f"{at.stage if at else ''}, {well} of {len(run.stages)} ok"
    changes = str(sum(s.get("outcome") == "done" for s in run.steps))
    words = [f"{mark(run.cause)} {run.cause}", run.folder.name, cluster, reached, changes]
    words += [span(run.seconds), mode, clock(run.started, seconds=False)]
    return Line(run.folder, run.cause, words)


def write(runs: Path) -> Path:
    """Write the page of all runs beside their folders, and return its path."""
    return whole.write(runs / FILE, html(lines(runs)))


def html(found: list[Line]) -> str:
    """Return the page of the runs."""
    well = sum(line.outcome == "ok" for line in found)
    return page.page(
        "Runs",
        el("h1", "Runs"),
        el("p", f"{len(found)} runs, {well} of them ended well.", class_="lead"),
        _abandoned(found) and el("p", _abandoned(found), class_="box warn"),
        rows(HEAD, [_cells(line) for line in found], class_="list", right=("changes", "took")),
    )


def _cells(line: Line) -> list[object]:
    outcome, name, *rest = line.words
    there = (line.folder / REPORT).exists()
    where = f"{line.folder.name}/{REPORT}" if there else f"{line.folder.name}/"
    link = page.join(el("a", name, href=where), not there and el("small", " (no report)"))
    return [el("span", outcome, class_=tone(line.outcome)), link, *rest]


def _abandoned(found: list[Line]) -> str:
    """Say which runs nobody leads any more and how to go on with them, "" if there are none."""
    names = [line.folder.name for line in found if line.outcome == "abandoned"]
    if not names:
        return ""
    one = f"The run {names[0]} was" if len(names) == 1 else f"The runs {', '.join(names)} were"
    return f"{one} abandoned: what led it ended without a word. `runbook resume RUN` goes on."


def show(runs: Path) -> None:
    """Print the runs on the terminal."""
    from rich.text import Text

    from lib.report.console import console, grid, one_line

    found = lines(runs)
    if not found:
        return print(f"There are no runs in {runs}.")
    texts = [[Text(one_line(word)) for word in line.words[:-1]] for line in found]
    for line, row in zip(found, texts, strict=True):
        row[0].stylize(colour(line.outcome))
    console().print(grid(HEAD[:-1], texts, right=["took"]))
    if said := _abandoned(found):
        print(said)
