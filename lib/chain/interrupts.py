"""Interrupts: Ctrl-C, SIGTERM and a closed terminal reach the running cell first.

So its clean-up code runs, and the record is sealed. Under `nohup` a closed terminal is ignored.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

GRACE = 5.0  # seconds for an interrupted cell to end before its kernel is killed
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """The signal that stops the run, if any, and the kernel to interrupt."""

    def __init__(self, notify: Callable[[], None] = lambda: None):
        self.signal = 0
        self._notify = notify
        self._group = 0
        self._timer: threading.Timer | None = None

    def check(self) -> None:
        """Raise KeyboardInterrupt when a signal has come."""
        if self.signal:
            raise KeyboardInterrupt

    @contextmanager
    def reaching(self, group: int) -> Iterator[None]:
        """Pass signals to this process group, a kernel and its children, during the block."""
        self._group = group
        try:
            yield
        finally:
            self._group = 0
            if self._timer:
                self._timer.cancel()

    def on_signal(self, number: int, _frame: object) -> None:
        """Interrupt the kernel; kill it after GRACE, or at once at the second signal."""
        again, self.signal = bool(self.signal), number
        self._notify()
        if again:
            self._send(signal.SIGKILL)
        elif self._group:
            self._timer = threading.Timer(GRACE, self._send, [signal.SIGKILL])
            self._timer.daemon = True
            self._timer.start()
            self._send(signal.SIGINT)

    def _send(self, number: int) -> None:
        if self._group:
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.killpg(self._group, number)


@contextmanager
def trapped(notify: Callable[[], None] = lambda: None) -> Iterator[Stop]:
    """Send SIGNALS that are not ignored to a `Stop` during the block; `notify` must not block."""
    stop = Stop(notify)
    handled = [n for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
    before = {n: signal.signal(n, stop.on_signal) for n in handled}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
