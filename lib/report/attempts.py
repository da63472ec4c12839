"""Attempts: how often each stage was tried, from the ledger of a run or from its notebooks."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from lib.record import whole
from lib.waiting import STEP

ENDED_WELL = ("ok", "skipped")
TURNS = ("run-started", "run-resumed", "run-ended", "run-abandoned")


@dataclass
class Attempt:
    """An attempt at a stage: its cause, times, steps and cells."""

    stage: str
    number: int = 1
    cause: str = ""
    started: datetime | None = None
    heard: datetime | None = None  # time of its last line in the ledger
    seconds: float = 0.0
    error: str = ""
    steps: list[dict] = field(default_factory=list)
    cells: dict[str, dict] = field(default_factory=dict)  # by cell id: cause, seconds
    waits: list[dict] = field(default_factory=list)  # at, waiting, seconds
    notebook: Path | None = None

    @cached_property
    def book(self) -> dict:
        """Return the executed notebook, {} if it is missing or unreadable."""
        book = read_json(self.notebook, []) if self.notebook else {}
        return book if isinstance(book.get("cells"), list) else {}

    @cached_property
    def tables(self) -> list:
        """Return the tables of the executed notebook, in order; `attrs` has their `heading`."""
        from lib.record import reading  # late, as it imports pandas

        return list(reading.tables(self.book).values()) if self.book else []


def read(folder: Path, events: Iterable[dict], alive: bool) -> list[Attempt]:
    """Return the attempts in the ledger, or those in the notebooks where it is missing.

    `alive` says that the run still has a driver or kernel.
    """
    recorded = _from_ledger(events, alive)
    found = recorded or _from_notebooks(folder)
    last = {a.stage: a for a in found}
    for attempt in found:
        attempt.notebook = _notebook(folder, attempt, last[attempt.stage])
        if not recorded or attempt.cause not in ENDED_WELL:
            _complete(attempt)
    return found


def _from_ledger(events: Iterable[dict], alive: bool) -> list[Attempt]:
    """Return the attempts in the ledger, in order."""
    found: dict[tuple[str, int], Attempt] = {}
    for event in events:
        if not event.get("stage") or event.get("event") in TURNS:
            continue
        whose = str(event["stage"]), int(event.get("attempt") or 1)
        _update(found.setdefault(whose, Attempt(*whose)), event)
    attempts = list(found.values())
    for attempt in attempts:
        if not attempt.cause:
            attempt.cause = "running" if alive and attempt is attempts[-1] else "abandoned"
            if attempt.started and attempt.heard:
                attempt.seconds = (attempt.heard - attempt.started).total_seconds()
    return attempts


def _update(attempt: Attempt, event: dict) -> None:
    """Update an attempt with an event; ignore events of other kinds."""
    attempt.heard = when(event) or attempt.heard
    cause, seconds = str(event.get("cause") or ""), float(event.get("seconds") or 0)
    match event.get("event"):
        case "stage-started":
            attempt.started = when(event)
        case "stage-ended":
            attempt.cause, attempt.seconds = cause, seconds
            attempt.error = str(event.get("error") or "")
            attempt.steps = [s for s in event.get("steps") or [] if isinstance(s, dict)]
        case "cell-started" | "cell-ended":
            cell = {"cause": cause or "running", "seconds": seconds}
            attempt.cells[str(event.get("cell"))] = cell
        case "wait":
            attempt.waits.append(event)


def _from_notebooks(folder: Path) -> list[Attempt]:
    """Return the attempts from the notebooks, for a folder without a ledger."""
    found = []
    for path in sorted(folder.glob("[0-9][0-9]-*.ipynb")):
        if re.search(r"\.attempt\d+$", path.stem):
            continue
        metadata = read_json(path, []).get("metadata", {})
        run = metadata.get("papermill", {})
        cause = metadata.get("runbook", {}).get("outcome") or "unknown"
        attempt = Attempt(path.stem, cause=cause, seconds=float(run.get("duration") or 0))
        attempt.started = when({"at": run.get("start_time")})
        found.append(attempt)
    return found


def _notebook(folder: Path, attempt: Attempt, last: Attempt) -> Path | None:
    name = attempt.stage if attempt is last else f"{attempt.stage}.attempt{attempt.number}"
    path = folder / f"{name}.ipynb"
    return path if path.exists() else None


def _complete(attempt: Attempt) -> None:
    """Take the steps and the error of an interrupted attempt from its notebook."""
    outputs = _outputs(attempt.book)
    errors = [f"{o['ename']}: {o['evalue']}" for o in outputs if o.get("output_type") == "error"]
    attempt.steps = attempt.steps or steps(attempt.book)
    attempt.error = attempt.error or next(iter(errors), "")


def steps(notebook: dict) -> list[dict]:
    """Return the steps in an executed notebook, in order; those told at once one by one."""
    told = [output.get("data", {}).get(STEP) for output in _outputs(notebook)]
    found = [dict(step) for step in told if isinstance(step, dict)]
    names = [step.pop("each", None) or [step.get("what")] for step in found]
    return [s | {"what": name} for s, each in zip(found, names, strict=True) for name in each]


def _outputs(notebook: dict) -> list[dict]:
    return [o for cell in notebook.get("cells", []) for o in cell.get("outputs", [])]


def when(row: dict) -> datetime | None:
    """Return the time of a line, None if it has none."""
    return moment(row.get("at"))


def moment(text: object) -> datetime | None:
    """Return the time that a text names, None if it names none; without a zone it is in UTC."""
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def read_json(path: Path, unread: list[str]) -> dict:
    """Return the object in a file, {} without one; what cannot be read is added to `unread`."""
    held = whole.read(path)
    if held is None:
        unread.append(path.name)
    return held or {}
