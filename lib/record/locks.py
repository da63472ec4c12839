"""Locks: one process at a time changes a cluster.

A holder is a file in the user's state folder that names the run, the process, user, host and start.
The chain holds its lock for a run. A notebook by hand announces its cluster in `connect`, and holds
the lock from its first change to the end of the cell. The lock of a process that is gone is taken
over; whether a process of another host is gone cannot be told.
"""

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from socket import gethostname

from lib.errors import AtWork, plain
from lib.record import whole
from lib.record.journal import lives, now, this_process
from lib.record.provenance import user

BY_HAND = "a notebook by hand"
WAIT = "Wait until that has ended, or end it, then try again."
FORCE = (
    " If it does nothing any more: `--force REASON` takes its place, and the reason is recorded."
)


@dataclass(frozen=True)
class Claim:
    """What a process is about to change: a cluster, and its volume if that is known."""

    endpoint: str
    project: str
    cluster: str
    volume: str = ""

    def meets(self, other: "Claim") -> bool:
        """Tell whether both are about the same cluster or the same volume."""
        at, there = (self.endpoint, self.project), (other.endpoint, other.project)
        same_volume = bool(self.volume) and self.volume == other.volume
        return at == there and (self.cluster == other.cluster or same_volume)


@dataclass(frozen=True)
class Holder:
    """Who holds a lock; `process` is its pid and start time."""

    claim: Claim
    run: str
    process: str
    user: str
    host: str
    since: str

    def __str__(self) -> str:
        began = datetime.fromisoformat(self.since).astimezone()
        pid = self.process.partition("/")[0]
        who = f"process {pid} of {self.user} on {self.host}"
        return plain(f"{self.run} ({who}, since {began:%F %T})")

    @property
    def is_gone(self) -> bool:
        """Tell whether its process has ended, which is not known of another host."""
        return self.host == gethostname() and not lives(self.process)


def folder() -> Path:
    """Return the folder of the locks of this user."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "coreos-cluster-runbook" / "locks"


def holders(claim: Claim) -> list[Holder]:
    """Return the other processes with a lock that meets the claim, also those that are gone."""
    return [h for _, h in _others(claim)]


def demand_free(claim: Claim) -> None:
    """Raise AtWork while another process changes the cluster."""
    for holder in holders(claim):
        if not holder.is_gone:
            raise AtWork(f"{holder} is at work on cluster {holder.claim.cluster}", next_step=WAIT)


@contextmanager
def held(claim: Claim, run: str, *, force: bool = False) -> Iterator[list[str]]:
    """Hold the lock for the block; yield what to say of those whose place was taken.

    Raises AtWork while another process holds it, unless by `force`.
    """
    path, words = _take(claim, run, force)
    try:
        yield words
    finally:
        path.unlink(missing_ok=True)


def _take(claim: Claim, run: str, force: bool) -> tuple[Path, list[str]]:
    place, words = folder(), []
    whole.folder(place)
    own = Holder(claim, run, this_process(), user(), gethostname(), now())
    with open(place / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
        if not force:
            demand_free(claim)
        for path, other in _others(claim):
            how = "by force" if not other.is_gone else "as its process is gone"
            words.append(f"The lock of {other} is taken over, {how}.")
            path.unlink(missing_ok=True)
        path = place / f"{own.process.replace('/', '-')}.json"
        whole.write(path, json.dumps(asdict(own)))
    return path, words


def _others(claim: Claim) -> list[tuple[Path, Holder]]:
    """Return the locks of other processes that meet the claim; a damaged file is none."""
    found = []
    for path in sorted(folder().glob("*.json")):
        held_by = _read(path)
        if held_by and held_by.claim.meets(claim) and held_by.process != this_process():
            found.append((path, held_by))
    return found


def _read(path: Path) -> Holder | None:
    try:
        row = json.loads(path.read_text("utf-8"))
        claim = Claim(**row["claim"])
        holder = Holder(**row | {"claim": claim})
        datetime.fromisoformat(holder.since)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    texts = [*vars(claim).values(), holder.run, holder.process, holder.user, holder.host]
    return holder if all(isinstance(text, str) for text in texts) else None


_announced: list[Claim] = []  # of this process, by hand
_holding: list[Path] = []


def announce(claim: Claim) -> None:
    """Say, by hand, which cluster this process is about; print who is at work on it.

    Within a run the chain holds the lock.
    """
    if os.environ.get("RUNBOOK_RUN"):
        return
    _announced[:] = [claim]
    for holder in holders(claim):
        if not holder.is_gone:
            print(f"! {holder} is at work on this cluster: here you can look, and change nothing.")


def hold_by_hand() -> None:
    """Hold the lock of the announced cluster to the end of the cell, or else of the process.

    Raises AtWork while another process holds it.
    """
    if not _announced or _holding:
        return
    path, words = _take(_announced[0], BY_HAND, force=False)
    _holding.append(path)
    for text in words:
        print(text)
    ipython = sys.modules.get("IPython")
    if shell := ipython and ipython.get_ipython():
        shell.events.register("post_run_cell", _let_go)


def _let_go(*_: object) -> None:
    sys.modules["IPython"].get_ipython().events.unregister("post_run_cell", _let_go)
    while _holding:
        _holding.pop().unlink(missing_ok=True)
