"""Interrupts: Ctrl-C, SIGTERM and a closed terminal reach the running cell first.

So its clean-up code runs, and the record is sealed. What was started with `nohup` ignores a closed
terminal, and so do we then.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

# How long the interrupted cell may take to end before its kernel is killed, in seconds.
GRACE = 5.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether the run was told to stop, by which signal, and the kernel that has to hear of it."""

    def __init__(self, heard: Callable[[], None] = lambda: None):
        self.signal = 0
        self._heard = heard
        self._group = 0
        self._timer: threading.Timer | None = None

    def check(self) -> None:
        """Raise KeyboardInterrupt when the run was told to stop."""
        if self.signal:
            raise KeyboardInterrupt

    @contextmanager
    def reaching(self, group: int) -> Iterator[None]:
        """Pass signals on to this process group, a kernel and its children, for the while."""
        self._group = group
        try:
            yield
        finally:
            self._group = 0
            if self._timer:
                self._timer.cancel()

    def on_signal(self, number: int, _frame: object) -> None:
        """Interrupt the kernel; kill it after the grace, or at once at the second signal."""
        again, self.signal = bool(self.signal), number
        self._heard()
        if again:
            self._send(signal.SIGKILL)
        elif self._group:
            self._timer = threading.Timer(GRACE, self._send, [signal.SIGKILL])
            self._timer.daemon = True
            self._timer.start()
            self._send(signal.SIGINT)

    def _send(self, number: int) -> None:
        if self._group:
            with suppress(ProcessLookupError):  # it has ended by itself meanwhile
                os.killpg(self._group, number)


@contextmanager
def trapped(heard: Callable[[], None] = lambda: None) -> Iterator[Stop]:
    """Send SIGNALS that are not ignored to a `Stop` for the while; `heard` must not block."""
    stop = Stop(heard)
    heeded = [n for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
    before = {n: signal.signal(n, stop.on_signal) for n in heeded}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
