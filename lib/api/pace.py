"""Pace: how many changes are under way at once, and when a throttled cloud may be asked again."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path

from lib.record import locks

FIRST, MOST = 8, 50  # changes under way: to begin with, and ever
SLOW, TIMES = 1.0, 4  # an answer is slow after so many seconds, and so many times the quickest one


@dataclass
class Pace:
    """How many changes may be under way: `fixed`, or for 0 as many as the cloud bears.

    They are doubled when as many answers came quickly, and halved when the cloud refuses one for
    want of room or answers more slowly.
    """

    fixed: int = 0
    found: int = FIRST
    good: int = 0  # quick answers since it was halved
    quickest: float = inf
    usual: float = 0.0  # seconds of an answer, the last ones counting most

    @property
    def most(self) -> int:
        """How many changes may be under way now."""
        return self.fixed or self.found

    def answered(self, seconds: float) -> None:
        """Learn from how long an answer to a change took."""
        self.quickest = min(self.quickest, seconds)
        self.usual += (seconds - self.usual) / 4
        if self.usual > max(SLOW, TIMES * self.quickest):
            self.halve()
            return
        self.good += 1
        if self.good >= self.found:
            self.found = min(MOST, self.found * 2)

    def halve(self) -> None:
        """Learn that the cloud has more to do than it bears."""
        self.found, self.good, self.usual = max(1, self.found // 2), 0, 0.0


@dataclass
class Gate:
    """The moment from which on a throttled cloud takes requests, for all processes of this user.

    CloudStack counts the requests of an account in an interval, and refuses more (429) with the
    time that is left of it. `clock` counts alike in all processes of this machine.
    """

    endpoint: str
    key: str
    clock: Callable[[], float]

    @property
    def path(self) -> Path:
        """The file with the moment."""
        name = hashlib.sha256(f"{self.endpoint} {self.key}".encode()).hexdigest()[:16]
        return locks.folder() / f"throttled-{name}"

    def close(self, seconds: float) -> None:
        """Let nobody ask for so many seconds."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.write_text(repr(self.clock() + seconds), "ascii")

    def left(self, most: float) -> float:
        """Return the seconds until it opens, 0 if it is open; more than `most` are of old times."""
        try:
            left = float(self.path.read_text("ascii")) - self.clock()
        except (FileNotFoundError, ValueError):
            return 0.0
        return left if 0 < left <= most else 0.0
