"""Watching from outside what a run or a notebook does at the cloud, by its journal."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from rich.live import Live

from lib.chain.summary import near
from lib.record import ledger
from lib.record.journal import INTERACTIVE, OPEN, Entry, in_another_process
from lib.report import attempts, past
from lib.report.console import console, one_line
from lib.waiting import span, spell

MARKS = {"done": "✓", "adopted": "✓", "failed": "✗", "refused": "✗"}
EVERY = 1.0  # seconds between two looks
LEFT = "{} {}: nobody watches it any more. Run its stage again."


def chosen(run: str | None, runs: Path) -> Path | None:
    """Return the folder to watch: that of a run, or the newest in which something goes on.

    Raises BadInput for a run, or a folder of runs, that is not there.
    """
    if run and run != INTERACTIVE:
        return past.named(run, runs)
    past.demand_folder(runs)
    folders = [] if run else past.folders(runs)
    return next((f for f in [*folders, runs / INTERACTIVE] if _goes_on(f)), None)


def follow(folder: Path, sleep: Callable[[float], object] = time.sleep) -> None:
    """Print each change as it begins and ends, and what runs meanwhile, until all has ended."""
    journal = past.read(folder, ["journal"]).journal
    known = {e.n: e.state for e in journal if e.state not in OPEN}
    out = console()
    with Live(console=out, auto_refresh=False, transient=True) as live:
        out.print(f"Watching {near(folder)}", markup=False)
        while True:
            going = _goes_on(folder)  # before the look, so that no last line is missed
            found = past.read(folder, ["events", "journal"])
            for line in _news(found.journal, known):
                out.print(one_line(line), markup=False)
            if not going:
                break
            live.update("\n".join(map(one_line, _now(found))), refresh=True)
            sleep(EVERY)
    for entry in _running(found.journal):
        print(one_line(LEFT.format(entry.command, entry.what)))
    if found.events:
        print(f"The run has ended: {found.cause}.")


def _goes_on(folder: Path) -> bool:
    """Return whether a run has its driver, or a process that made a change by hand still lives."""
    if (folder / "events.jsonl").exists():
        return ledger.is_locked(folder)
    journal = past.read(folder, ["journal"]).journal if folder.is_dir() else []
    return any(in_another_process(e) for e in _running(journal))


def _running(journal: list[Entry]) -> list[Entry]:
    return [e for e in journal if e.state in OPEN]


def _news(journal: list[Entry], known: dict[int, str]) -> Iterator[str]:
    """Yield a line for each change that began or ended since it was known."""
    for entry in journal:
        before, known[entry.n] = known.get(entry.n), entry.state
        is_open = entry.state in OPEN
        if before == entry.state or (before in OPEN and is_open):
            continue
        what = f"{entry.command} {entry.what}"
        if is_open:
            yield f"… {what}: began {_local(entry.sent)}"
        else:
            took = span(_seconds(entry.sent, attempts.moment(entry.at)))
            yield f"{MARKS.get(entry.state, '-')} {what}: {entry.state} after {took} {entry.text}"


def _now(found: past.Past) -> list[str]:
    stages = [f"{a.stage} goes on" for a in found.stages if a.cause == "running"]
    now = datetime.now(UTC)
    return stages + [
        f"… {e.command} {e.what}: {spell(_seconds(e.sent, now), e.expect)}"
        for e in _running(found.journal)
    ]


def _seconds(sent: str, until: datetime | None) -> float:
    began = attempts.moment(sent)
    return (until - began).total_seconds() if began and until else 0.0


def _local(text: str) -> str:
    moment = attempts.moment(text)
    return f"{moment.astimezone():%H:%M:%S %Z}" if moment else "at an unknown time"
