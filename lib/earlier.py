"""Earlier runs: what the journals beside ours tell of this cloud. They are only read here."""

import time
from math import inf
from pathlib import Path

from lib.api.client import Client
from lib.record.journal import Entry, Journal, in_another_process

LATELY = 86400  # seconds for which a cloud remembers a job, `job.expire.minutes`


def left_open(cloud: Client) -> list[tuple[str, Entry]]:
    """Return the open changes of the last day at this cloud, as `beside` does."""
    return beside(cloud.folder, cloud.profile.endpoint)


def beside(folder: Path, endpoint: str) -> list[tuple[str, Entry]]:
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


def _journals(folder: Path, endpoint: str, since: float = 0) -> list[Journal]:
    paths = sorted(folder.parent.glob("*/journal.jsonl"))
    late = [path for path in paths if path.stat().st_mtime > since]
    return [Journal(path.parent, endpoint) for path in late]
