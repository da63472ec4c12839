"""A virtual clock, and the local cloud and its clients living by it."""

import heapq
import threading
from collections import Counter

import cs
from harness import profile_of

from lib.cloud import KEPT, Cloud
from lib.localcloud.wire.server import Server


class Clock:
    """A clock that moves only by `sleep`; called, it gives its seconds."""

    def __init__(self):
        self.now = 1_000_000.0  # small enough that sums of fractions stay exact to a nanosecond

    def __call__(self) -> float:
        """Return the seconds since 1970."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    monotonic = __call__  # as in the module `time`, in whose place a clock can be put


class Shared(Clock):
    """A clock that several threads live by: it moves once all of them sleep, to the next waking."""

    def __init__(self, threads: int):
        super().__init__()
        self.awake, self.wakings, self.moved = threads, [], threading.Condition()

    def sleep(self, seconds: float) -> None:
        """Sleep until the clock has moved so far."""
        with self.moved:
            until = self.now + seconds
            heapq.heappush(self.wakings, until)
            self._one_less()
            while self.now < until:
                self.moved.wait()

    def leave(self) -> None:
        """Say that a thread lives by it no more."""
        with self.moved:
            self._one_less()

    def _one_less(self) -> None:
        self.awake -= 1
        if self.awake or not self.wakings:
            return
        self.now = self.wakings[0]
        while self.wakings and self.wakings[0] <= self.now:
            heapq.heappop(self.wakings)
            self.awake += 1
        self.moved.notify_all()


def our_client(server: Server, clock: Clock) -> Cloud:
    """Return our client. Its signatures do not expire: they would be of another time."""
    how = {"clock": clock, "sleep": clock.sleep, "keep": KEPT}
    return Cloud(profile_of(server, expires=0), **how)


def cs_client(server: Server, **settings) -> cs.CloudStack:
    """Return the client of PyPI's `cs`; its signatures do not expire either."""
    facts = server.connection
    keys = {"key": facts["apikey"], "secret": facts["secretkey"]}
    return cs.CloudStack(facts["endpoint"], **keys, expiration=-1, **settings)


def requests_by_kind(server: Server) -> Counter:
    """Count the requests so far: looks at jobs, changes, and questions."""
    calls = server.cloud.faults.calls
    return Counter(_kind(call) for call in calls)


def _kind(call) -> str:
    if call.command == "queryAsyncJobResult":
        return "looks"
    return "changes" if call.changed else "questions"
