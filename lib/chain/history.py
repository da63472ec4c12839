"""History: how long each command's jobs took in earlier runs, so that a wait has an estimate.

The figures are of runs with the same profile, and of the latest of them; a job's time is that
between the cloud's acceptance and its end, as the journals tell it. Where its step had an
expectation, which goes by the size of the disk, the figure is a multiple of that: so a disk of
80 GB is expected to take twice as long as those of 40 GB did.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from statistics import median

from lib.record import whole
from lib.report import past

FILE = "history.json"
LAST = 5  # runs that count for a command
LOOKED_AT = 50  # runs that are opened at most
Figures = tuple[float, float]  # seconds, and how many times the expected ones (0: none were)


def write(folder: Path) -> Path:
    """Write into a run's folder what earlier runs beside it took; its kernels read it there."""
    profile = past.params(folder).get("profile")
    others = [f for f in past.folders(folder.parent) if f != folder]
    found = expected(others, profile)
    return whole.write(folder / FILE, json.dumps(found, indent=1) + "\n")


def expected(folders: Iterable[Path], profile: object) -> dict[str, dict]:
    """Return for each command the median of its jobs' seconds, and of how many runs that is.

    `times` is the median of how many times as long they took as their steps expected, if they did.
    """
    taken: dict[str, list[Figures]] = {}
    same = (f for f in folders if profile and past.params(f).get("profile") == profile)
    for folder in islice(same, LOOKED_AT):
        for command, figures in _known(folder).items():
            if len(taken.setdefault(command, [])) < LAST:
                taken[command].append(figures)
    return {c: _told(figures) for c, figures in sorted(taken.items())}


def _known(folder: Path) -> dict[str, Figures]:
    """Return what a run took; nothing where its record is damaged."""
    try:
        return _medians(folder)
    except (OSError, ValueError, TypeError, OverflowError):
        return {}


def _told(figures: list[Figures]) -> dict:
    told = {"seconds": round(median(s for s, _ in figures), 1), "runs": len(figures)}
    times = [t for _, t in figures if t]
    return told | ({"times": round(median(times), 3)} if times else {})


def _medians(folder: Path) -> dict[str, Figures]:
    found: dict[str, list[Figures]] = {}
    journal, events = (past.lines(folder / f"{n}.jsonl", []) for n in ("journal", "events"))
    resumed = [past.when(e) for e in events if e.get("event") == "run-resumed"]
    for command, seconds, expect in durations(journal, resumed):
        found.setdefault(command, []).append((seconds, seconds / expect if expect else 0.0))
    return {c: tuple(map(median, zip(*rows, strict=True))) for c, rows in found.items()}


def durations(
    journal: Iterable[dict], resumed: Sequence[datetime | None] = ()
) -> list[tuple[str, float, float]]:
    """Return command, seconds, and expected seconds (0 if none were) of each job that ended well.

    It must have been seen from its acceptance on: one that ended before the run was resumed, and
    so unseen, tells nothing.
    """
    named, begun, found = {}, {}, []
    for line in journal:
        number, at = line.get("n"), past.when(line)
        if line.get("state") == "intent":
            named[number] = str(line.get("command")), float(line.get("expect") or 0)
        elif line.get("state") == "accepted" and line.get("job") and at:
            begun[number] = at
        elif line.get("state") == "done" and number in begun and at:
            taken = (at - begun[number]).total_seconds()
            if not any(r and begun[number] < r < at for r in resumed):
                command, expect = named.get(number, ("", 0.0))
                found.append((command, taken, expect))
    return found
