"""Pace: how many changes are under way at once, and when a throttled cloud may be asked again."""

import fcntl
import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path

from lib.record import locks

QUEUE = 100  # turns that processes may be ahead
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
    """When a throttled cloud takes the next request, for all processes of this user.

    CloudStack counts the requests of an account in an interval, and refuses more (429) with the
    time that is left of it (ApiRateLimitServiceImpl). A file has the moment of the next request,
    and how many seconds requests come apart. `clock` counts alike in all processes of this machine.
    """

    endpoint: str
    key: str
    clock: Callable[[], float]

    @property
    def name(self) -> str:
        """A name for the account at this cloud."""
        return hashlib.sha256(f"{self.endpoint} {self.key}".encode()).hexdigest()[:16]

    @property
    def path(self) -> Path:
        """The file."""
        return locks.folder() / f"throttled-{self.name}"

    def close(self, seconds: float) -> None:
        """Let nobody ask for so many seconds."""
        with self._held() as held:
            held[0] = self.clock() + max(seconds, self._ahead(held, 0.0))

    def set_apart(self, seconds: float, issued: int = 0) -> None:
        """Let requests come so many seconds apart, 0 for at any time; so many came at once."""
        if seconds or self.path.exists():
            with self._held() as held:
                held[:] = max(held[0], self.clock() + issued * seconds), seconds

    def turn(self, most: float) -> float:
        """Take the next turn; return the seconds until then: `most`, and a queue, at most."""
        if not self.path.exists():
            return 0.0
        with self._held() as held:
            ahead = self._ahead(held, most)
            held[0] = self.clock() + ahead + held[1]
        return ahead

    def _ahead(self, held: list[float], most: float) -> float:
        """Return the seconds until the next turn; what is too far is of before a reboot."""
        ahead = held[0] - self.clock()
        return ahead if 0 < ahead <= most + QUEUE * held[1] else 0.0

    @contextmanager
    def _held(self) -> Iterator[list[float]]:
        """Hold the file's two numbers, to be changed; where it is damaged they are 0."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.touch(mode=0o600)
        with open(self.path, "r+", encoding="utf-8", errors="replace") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
            file.seek(0)
            found = re.fullmatch(r"([\d.e+-]+) ([\d.e+-]+)", file.read(100))
            try:
                held = [float(found[1]), float(found[2])] if found else [0.0, 0.0]
            except ValueError:
                held = [0.0, 0.0]
            yield held
            file.seek(0)
            file.write(f"{held[0]!r} {held[1]!r}")
            file.truncate()
