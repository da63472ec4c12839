"""Earlier runs: what the journals beside ours tell of this cloud. They are only read here."""

import time
from math import inf
from pathlib import Path

from lib import effects
from lib.api.client import Client
from lib.errors import NotOne
from lib.record.journal import OPEN, Entry, Journal, in_another_process

LATELY = 86400  # seconds for which a cloud remembers a job, `job.expire.minutes`


def left_open(folder: Path, endpoint: str) -> list[tuple[str, Entry]]:
    """Return the changes of the last day whose end nobody saw, each with the name of its run.

    Those are left out whose process still runs, and those that a later run has looked after.
    """
    books = _journals(folder, endpoint, time.time() - LATELY)
    seen = {(e.run, e.of) for b in books for e in b.every() if e.state == "looked-after"}
    left = [(b.folder.name, e) for b in books if b.folder != folder for e in b.unfinished()]
    return [(run, e) for run, e in left if (run, e.n) not in seen and not in_another_process(e)]


def every(cloud: Client, lately: float = inf) -> list[Entry]:
    """Return the entries of this run's journal and of those beside it, for this cloud.

    Only of those that were written to `lately`, in seconds.
    """
    found = _journals(cloud.folder, cloud.profile.endpoint, time.time() - lately)
    books = [cloud.books.setdefault(b.folder, b) for b in found]  # of which only more is read
    return [e for b in books for e in b.every()]


def created_by_runs(cloud: Client) -> set[str]:
    """Return the ids of what this run and those beside it created here, by their journals."""
    entries = [e for e in every(cloud) if e.command in effects.MADE]
    return {str(e.resource or _by_age(cloud, e)) for e in entries}


def _by_age(cloud: Client, entry: Entry) -> str | None:
    """Return the id of what a change with a lost answer created, None if that is not certain."""
    if entry.state not in (*OPEN, "lost"):
        return None
    try:
        row = effects.find(cloud, entry)
    except NotOne:
        return None
    return row["id"] if row and effects.made_at_once(row, entry.sent) else None


def _journals(folder: Path, endpoint: str, since: float) -> list[Journal]:
    paths = sorted(folder.parent.glob("*/journal.jsonl"))
    late = [path for path in paths if path.stat().st_mtime > since]
    return [Journal(path.parent, endpoint) for path in late]
