"""History: how long each command's jobs took in earlier runs, so that a wait has an estimate.

The figures are of runs with the same profile, and of the latest of them; a job's time is that
between the cloud's acceptance and its end, as the journals tell it.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from statistics import median

from lib.chain import page, past

FILE = "history.json"
LAST = 5  # runs that count for a command
LOOKED_AT = 50  # runs that are opened at most


def write(folder: Path) -> Path:
    """Write into a run's folder what earlier runs beside it took; its kernels read it there."""
    profile = past.params(folder).get("profile")
    others = [f for f in past.folders(folder.parent) if f != folder]
    found = expected(others, profile)
    return page.write(folder / FILE, json.dumps(found, indent=1) + "\n")


def expected(folders: Iterable[Path], profile: object) -> dict[str, dict]:
    """Return for each command the median of its jobs' seconds, and of how many runs that is."""
    taken: dict[str, list[float]] = {}
    same = (f for f in folders if profile and past.params(f).get("profile") == profile)
    for folder in islice(same, LOOKED_AT):
        for command, seconds in _medians(folder).items():
            if len(taken.setdefault(command, [])) < LAST:
                taken[command].append(seconds)
    return {c: {"seconds": round(median(s), 1), "runs": len(s)} for c, s in sorted(taken.items())}


def _medians(folder: Path) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    journal, events = (past.lines(folder / f"{n}.jsonl", []) for n in ("journal", "events"))
    resumed = [past.when(e) for e in events if e.get("event") == "run-resumed"]
    for command, seconds in durations(journal, resumed):
        found.setdefault(command, []).append(seconds)
    return {command: median(seconds) for command, seconds in found.items()}


def durations(
    journal: Iterable[dict], resumed: Sequence[datetime | None] = ()
) -> list[tuple[str, float]]:
    """Return command and seconds of each job that was seen from its acceptance to its good end.

    One that ended unseen, before the run was resumed, tells nothing.
    """
    named, begun, found = {}, {}, []
    for line in journal:
        number, at = line.get("n"), past.when(line)
        if line.get("state") == "intent":
            named[number] = str(line.get("command"))
        elif line.get("state") == "accepted" and line.get("job") and at:
            begun[number] = at
        elif line.get("state") == "done" and number in begun and at:
            taken = (at - begun[number]).total_seconds()
            if not any(r and begun[number] < r < at for r in resumed):
                found.append((named.get(number, ""), taken))
    return found
