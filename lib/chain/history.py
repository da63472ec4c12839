"""History: the time that each command's jobs took in earlier runs, as an estimate for waits.

The figures come from the latest runs with the same profile. A job's time is the time from its
acceptance to its end in the journal. If its step had an expected time, which depends on the size of
the disk, the figure is a multiple of that: a disk of 80 GB takes twice as long as one of 40 GB.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from statistics import median

from lib.record import whole
from lib.record.journal import folded
from lib.report import attempts, past

FILE = "history.json"
LAST = 5  # runs that count for a command
LOOKED_AT = 50  # runs that are opened at most
Figures = tuple[float, float]  # seconds, and their ratio to the expected seconds (0 without any)


def write(folder: Path) -> Path:
    """Write the figures of earlier runs into a run's folder, for its kernels."""
    profile = past.params(folder).get("profile")
    others = [f for f in past.folders(folder.parent) if f != folder]
    found = expected(others, profile)
    return whole.write(folder / FILE, json.dumps(found, indent=1) + "\n")


def expected(folders: Iterable[Path], profile: object) -> dict[str, dict]:
    """Return for each command the median seconds of its jobs, and the number of runs.

    `times` is the median ratio to the expected seconds of their steps, where they had any.
    """
    taken: dict[str, list[Figures]] = {}
    same = (f for f in islice(folders, 10 * LOOKED_AT) if profile and _profile(f) == profile)
    for folder in islice(same, LOOKED_AT):
        for command, known in figures(folder).items():
            if len(taken.setdefault(command, [])) < LAST:
                taken[command].append(known)
    return {c: _summary(known) for c, known in sorted(taken.items())}


def _profile(folder: Path) -> object:
    return past.params(folder).get("profile")


def figures(folder: Path) -> dict[str, Figures]:
    """Return the figures of a run by command, none where its record is damaged."""
    try:
        return _medians(folder)
    except (ValueError, TypeError, OverflowError):
        return {}


def _summary(figures: list[Figures]) -> dict:
    found = {"seconds": round(median(s for s, _ in figures), 1), "runs": len(figures)}
    times = [t for _, t in figures if t]
    return found | ({"times": round(median(times), 3)} if times else {})


def _medians(folder: Path) -> dict[str, Figures]:
    found: dict[str, list[Figures]] = {}
    journal, events = (past.lines(folder / f"{n}.jsonl", []) for n in ("journal", "events"))
    resumed = [attempts.when(e) for e in events if e.get("event") == "run-resumed"]
    for command, seconds, expect in durations(journal, resumed):
        found.setdefault(command, []).append((seconds, seconds / expect if expect else 0.0))
    return {c: tuple(map(median, zip(*rows, strict=True))) for c, rows in found.items()}


def durations(
    journal: Iterable[dict], resumed: Sequence[datetime | None] = ()
) -> list[tuple[str, float, float]]:
    """Return command, seconds, and expected seconds (0 without any) of each successful job.

    A job during which the run was resumed does not count, as its end was not observed.
    """
    found = []
    for entry in folded(journal).values():
        begun, ended = attempts.moment(entry.accepted), attempts.moment(entry.at)
        known = entry.state == "done" and entry.job and begun and ended
        if known and not any(r and begun < r < ended for r in resumed):
            found.append((entry.command, (ended - begun).total_seconds(), entry.expect))
    return found
