"""Waiting: one line that says what is waited for, and a line for each step that ended.

In a kernel both are display messages that carry data beside their text, so that the chain can
follow a stage; elsewhere they are printed.
"""

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from typing import Any, Protocol, TypeVar

WAIT = "application/vnd.runbook.wait+json"
STEP = "application/vnd.runbook.step+json"
LONG = 10  # seconds of a wait from which on it says what to do after a reload
RELOADED = (
    "After a reload of the page this line stands still, and the work goes on: run the cell again "
    "to join it, or <code>runbook watch</code> in a terminal."
)
Found = TypeVar("Found")


class Clock(Protocol):
    """The time in seconds, and how to let it pass."""

    @property
    def clock(self) -> Callable[[], float]: ...

    @property
    def sleep(self) -> Callable[[float], None]: ...


def _kernel() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return bool(shell) and hasattr(shell, "kernel")


def span(seconds: float) -> str:
    """Say a duration as people do.

    >>> span(4.21), span(59.97), span(190), span(7300)
    ('4.2 s', '1m00s', '3m10s', '2h01m')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"


def spell(seconds: float, about: float) -> str:
    """Say how long something has taken, and about how long it takes, if that is known.

    >>> spell(190, 570), spell(4.2, 0)
    ('3m10s of about 9m30s', '4.2 s')
    """
    return f"{span(seconds)} of about {span(about)}" if about else span(seconds)


def tell(outcome: str, command: str, what: str, why: str, each: Sequence[str] = ()) -> None:
    """Print that a step ended: outcome "done" or "failed", the command, on what, and why.

    For many that are told at once `each` are their names, which the record has one by one.
    """
    text = f"{'✓' if outcome == 'done' else '✗'} {outcome}: {command} {what} ({why})"
    step = {"outcome": outcome, "command": command, "what": what}
    _say({"text/plain": text, STEP: step | ({"each": [*each]} if each else {})})


def _say(data: dict) -> None:
    if not _kernel():
        return print(data["text/plain"])
    from IPython.display import display

    display(data, raw=True)


def show_table(rows: Any) -> None:
    """Show a table while a cell works."""
    if not _kernel():
        return print(rows.to_string())
    from IPython.display import display

    display(rows)


def present(html: str, text: str) -> None:
    """Show a picture while a cell works; without a kernel print it as text."""
    _say({"text/plain": text, "text/html": html})


class Waiting:
    """A bar that says what is waited for and how long; how long it was stays in the record."""

    def __init__(self) -> None:
        self.started, self.last = time.monotonic(), 0.0
        self.shown: Any = None  # the display in the kernel
        self.what, self.since = "", self.started

    def __enter__(self) -> "Waiting":
        return self

    def show(self, what: str, about: float = 0.0, so_far: str = "") -> None:
        """Say what is waited for now, at most five times a second.

        `about` is how many seconds it is known to take from when it is first named, 0 if unknown.
        `so_far` says how much of it is done, such as "1.5 of 8 GB".
        """
        now, named = time.monotonic(), re.sub(r" and \d+ more$", "", what)
        if named != self.what:
            self.what, self.since = named, now
        if not _kernel() or now - self.last < 0.2:
            return
        self.last = now
        seconds = round(now - self.since, 1)
        text = f"{what}, {so_far}" if so_far else what
        facts = {"waiting": text, "seconds": seconds} | (
            {"about": round(about, 1)} if about else {}
        )
        self._display(f"… {text}: {spell(seconds, about)}", facts, _bar(text, seconds, about))

    def __exit__(self, *_: object) -> None:
        if self.shown:
            seconds = round(time.monotonic() - self.started, 1)
            self._display(f"waited {span(seconds)}", {"waiting": "", "seconds": seconds})

    def _display(self, text: str, facts: dict, html: str = "") -> None:
        from IPython.display import display

        data = {"text/plain": text, WAIT: facts} | ({"text/html": html} if html else {})
        if self.shown:
            self.shown.update(data, raw=True)
        else:
            self.shown = display(data, raw=True, display_id=True)


def _bar(what: str, seconds: float, about: float) -> str:
    """Return a wait as HTML: a bar that fills where the time is known, and else only moves."""
    value = f' value="{min(seconds / about, 1):.3f}"' if about else ""
    word = f"<br><small>{RELOADED}</small>" if seconds >= LONG else ""
    return f"<progress{value}></progress> {escape(what)}: {spell(seconds, about)}{word}"


def until(
    clock: Clock,
    look: Callable[[], Found | None],
    what: str,
    within: float,
    times: Iterable[float] | None = None,
) -> Found | None:
    """Look until something is found and return it; None if nothing is within so many seconds.

    `what` is shown meanwhile, unless it is "". `times` are the seconds after the start at which to
    look: by default at once, ever less often, and then every 2 s. False counts as nothing.
    """
    started = clock.clock()
    with Waiting() as line:
        for at in steadily() if times is None else times:
            clock.sleep(max(0, started + min(at, within) - clock.clock()))
            found = look()
            if found is not None and found is not False:
                return found
            if clock.clock() - started >= within:
                break
            if what:
                line.show(what)
    return None


def steadily(longest: float = 2.0) -> Iterator[float]:
    """Yield the seconds after a start at which to look: at once, then ever less often."""
    now = 0.0
    while True:
        yield now
        now += min(max(now / 2, longest / 10), longest)
