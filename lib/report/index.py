"""The index: all runs of a folder, the newest first, as a page beside them and on the terminal.

What was read of runs that are over is kept in a file beside them. It counts for a run only while
the files that it was read from are as they were; without it, or where it is damaged, all are read.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lib.record import manifest, whole
from lib.record.faults import BadInput
from lib.record.texts import translated
from lib.report import past
from lib.report.attempts import ENDED_WELL
from lib.report.words import REHEARSAL, clock, cloud_of, colour, mark
from lib.waiting import span

FILE = "index.html"
KEPT = ".runs.json"  # what was read of runs that are over
READ = ("events.jsonl", "params.yaml", "run.json", "facts.jsonl", manifest.FILE)
OPEN = ("running", "abandoned", "damaged")  # outcomes that may change without a change of a file
ROW = ("of", "words", "unread")
NEWEST = 1000  # runs on the page
LISTED = 100  # runs on a terminal, unless another number is asked for
HEAD = ("outcome", "run", "cluster", "stage reached", "changes", "took", "mode", "cloud", "reason")
HEAD += ("began",)
FILTERS = ("outcome", "cluster", "mode", "cloud")  # columns of few values
# Columns that a narrow terminal leaves out, in this order; the name of a run has its start time.
SPARED = ("began", "took", "changes", "cluster", "stage reached", "reason", "mode", "cloud")
NUMBERS = ("changes", "took")
REASON = 30  # characters of a reason that are worth a line of their own
REPORT = "report.html"
WELL = ("ok", "running")


@dataclass(frozen=True)
class Line:
    """One run: its folder, its outcome, and its texts by HEAD."""

    folder: Path
    outcome: str
    words: dict[str, str]
    unread: tuple[str, ...] = ()  # files of its record that cannot be read

    @property
    def reported(self) -> bool:
        """Return whether the run has a report."""
        return (self.folder / REPORT).exists()


def lines(runs: Path) -> list[Line]:
    """Return a line for each run of the folder, the newest first."""
    known, now = kept(runs), {}
    found = []
    for folder in past.folders(runs):
        row, of = known.get(folder.name, {}), state(folder)
        line = _kept_line(folder, row) if row.get("of") == of else _safe_line(folder)
        found.append(line)
        if line.outcome not in OPEN:
            now[folder.name] = {"of": of, "words": [*line.words.values()]}
            now[folder.name] |= {"outcome": line.outcome, "unread": [*line.unread]}
    if now != known and os.access(runs, os.W_OK):
        with suppress(OSError):  # as on a full disk: it only spares reading them again
            whole.write(runs / KEPT, json.dumps({"head": HEAD, "runs": now}), lasting=False)
    return found


def kept(runs: Path) -> dict[str, dict]:
    """Return what was kept of the runs that are over, by name; {} where that is no use."""
    held = whole.read(runs / KEPT) or {}
    rows = held.get("runs") if held.get("head") == [*HEAD] else None
    rows = rows if isinstance(rows, dict) else {}
    return {name: row for name, row in rows.items() if _is_row(row)}


def _is_row(row: object) -> bool:
    if not isinstance(row, dict) or not all(isinstance(row.get(k), list) for k in ROW):
        return False
    texts = [row.get("outcome"), *row["words"], *row["unread"]]
    return len(row["words"]) == len(HEAD) and all(isinstance(text, str) for text in texts)


def state(folder: Path) -> list[list[int]]:
    """Return what changes with each change of the files that a line is read from."""
    return [_state(f"{folder}/{name}") for name in READ]


def _state(path: str) -> list[int]:
    try:
        seen = os.lstat(path)
    except FileNotFoundError:
        return []
    return [seen.st_mtime_ns, seen.st_size]


def is_closed(folder: Path, row: dict) -> bool:
    """Tell by what was kept of a run whether it is over and sealed since; its ledger is not read.

    A run that was resumed has a ledger that is younger than its seal.
    """
    of = state(folder)
    ledger, seal = of[0], of[READ.index(manifest.FILE)]
    return row.get("of") == of and bool(ledger and seal) and ledger[0] <= seal[0]


def _kept_line(folder: Path, row: dict) -> Line:
    words = dict(zip(HEAD, row["words"], strict=True))
    return Line(folder, row["outcome"], words, tuple(row["unread"]))


def _safe_line(folder: Path) -> Line:
    """Return the line of a run, also of one whose record is damaged."""
    try:
        return _line(past.read(folder, files=("events",)))
    except (OSError, BadInput):
        words = [f"{mark('damaged')} damaged", folder.name, *[""] * (len(HEAD) - 2)]
        return Line(folder, "damaged", dict(zip(HEAD, words, strict=True)))


def _line(run: past.Past) -> Line:
    ran = [a for a in run.stages if a.cause != "not-run"]
    at = run.stopped or (ran[-1] if ran else None)
    well = sum(a.cause in ENDED_WELL for a in run.stages)
    cluster, mode = (str(run.params.get(name, "")) for name in ("cluster_name", "mode"))
    reached = f"{at.stage if at else ''}, {well} of {len(run.stages)} ok"
    changes = str(sum(s.get("outcome") == "done" for s in run.steps))
    words = [f"{mark(run.cause)} {run.cause}", run.folder.name, cluster, reached, changes]
    reason = str(run.facts.get("reason") or "")
    words += [
        span(run.seconds),
        mode,
        cloud_of(run.params),
        reason,
        clock(run.started, seconds=False),
    ]
    return Line(run.folder, run.cause, dict(zip(HEAD, words, strict=True)), tuple(run.unread))


def write(runs: Path) -> Path:
    """Write the page of the runs beside their folders, and return its path.

    Of runs that end at once the last to write has read the end of the others.
    """
    with whole.alone(runs):
        found = lines(runs)
        return whole.write(runs / FILE, html(found[:NEWEST], len(found[NEWEST:])))


def html(found: list[Line], older: int = 0) -> str:
    """Return the page of the runs; so many `older` ones are left out."""
    from lib.report import page  # only now: the terminal needs neither pandas nor templates

    values = {"head": HEAD, "numbers": NUMBERS, "abandoned": _abandoned(found), "older": older}
    return page.render(
        "index.html.j2", lines=found, report=REPORT, filters=_filters(found), **values
    )


def _filters(found: list[Line]) -> dict[str, list[str]]:
    """Return the columns by which the page can be filtered, each with its values."""
    values = {name: sorted({ln.words[name] for ln in found}) for name in FILTERS}
    return {name: texts for name, texts in values.items() if len(texts) > 1}


def _abandoned(found: list[Line]) -> str:
    """Return a sentence on the abandoned runs and how to continue them, "" without any."""
    names = [line.folder.name for line in found if line.outcome == "abandoned"]
    if not names:
        return ""
    one = f"The run {names[0]} was" if len(names) == 1 else f"The runs {', '.join(names)} were"
    return f"{one} abandoned: the driver died before the end. Continue with `runbook resume RUN`."


@dataclass(frozen=True)
class Choice:
    """Which runs to list; `real` and `failed` leave out rehearsals and runs that ended well."""

    cluster: str = ""
    mode: str = ""
    real: bool = False
    failed: bool = False
    most: int | None = None  # the newest ones

    def of(self, found: list[Line]) -> list[Line]:
        """Return the chosen ones of the lines, which are the newest first."""
        return list(filter(self._fits, found))[: self.most]

    def _fits(self, line: Line) -> bool:
        named = self.cluster in ("", line.words["cluster"]) and self.mode in (
            "",
            line.words["mode"],
        )
        real = not self.real or line.words["cloud"] != REHEARSAL
        return named and real and not (self.failed and line.outcome in WELL)


def _fitting(found: list[Line], width: int) -> list[str]:
    """Return the columns for which a terminal has room: names of runs are never folded."""
    head = list(HEAD)
    for name in SPARED:
        if sum(_width(found, column) for column in head) < width:
            break
        head.remove(name)
    return head


def _width(found: list[Line], name: str) -> int:
    """Return the characters of a column with its borders; a long reason is folded."""
    from rich.cells import cell_len

    longest = max(cell_len(line.words[name]) for line in found)
    longest = min(longest, REASON) if name == "reason" else longest
    return 3 + max(cell_len(translated(name)), longest)


def show(runs: Path, choice: Choice, *, as_json: bool = False) -> None:
    """Print the runs on the terminal. Raises `BadInput` if there is no such folder."""
    from rich.text import Text

    from lib.report.console import console, grid, long_grid, one_line

    past.demand_folder(runs)
    found = choice.of(lines(runs))
    if as_json:
        rows = [ln.words | {"outcome": ln.outcome, "folder": str(ln.folder)} for ln in found]
        return print(json.dumps(rows, indent=1))
    if not found:
        return print(f"There are no {'such ' if choice != Choice() else ''}runs in {runs}.")
    older = len(found[LISTED:]) if choice.most is None else 0
    found = found[: len(found) - older]
    out = console()
    head = _fitting(found, out.width)
    texts = [[one_line(line.words[name]) for name in head] for line in found]
    if len(found) > LISTED:
        print(long_grid(head, texts, NUMBERS))
    else:
        rows = [list(map(Text, row)) for row in texts]
        for line, row in zip(found, rows, strict=True):
            row[0].stylize(colour(line.outcome))
        out.print(grid(head, rows, right=NUMBERS))
    for line in found:
        if line.unread:
            print(one_line(f"{line.folder.name}: could not be read: {'; '.join(line.unread)}"))
    if note := _abandoned(found):
        print(note)
    if older:
        print(f"{older} older ones are not shown: `-n {len(found) + older}` shows all.")
