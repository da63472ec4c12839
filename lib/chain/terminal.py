"""The terminal: a live line for the running stage, and how to go on when the run ends.

Every text of a notebook or a cloud passes `plain` or `one_line` and is never taken as markup.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lib.chain import summary
from lib.chain.results import Result, Run, alike
from lib.chain.summary import changed, near, sentence
from lib.record import plans
from lib.record.events import Event
from lib.record.journal import Entry
from lib.record.texts import translated
from lib.report.console import one_line, plain
from lib.report.known_errors import another, corrected
from lib.report.words import colour, mark
from lib.waiting import WAIT, span

REPORT = "report.html"
MINUTE = 60.0  # seconds between two lines on a wait


@dataclass(frozen=True)
class Estimated:
    """A wait: for what, since when, and its expected seconds."""

    what: str
    since: float
    about: float

    def __str__(self) -> str:
        # The times come first: a long line is cut off at its end.
        return f"{span(time.monotonic() - self.since)} of about {span(self.about)}: {self.what}"


def _wait(facts: dict) -> str | Estimated:
    """Return the wait in a message, with its estimate if it has one."""
    what = str(facts.get("waiting") or "")
    try:
        seconds, about = float(facts.get("seconds") or 0), float(facts.get("about") or 0)
    except (TypeError, ValueError):
        return what
    return Estimated(what, time.monotonic() - seconds, about) if what and about else what


class Waiting:
    """The wait or the last line of the running stage, from its cells and messages."""

    def __init__(self) -> None:
        self.heading, self.printed, self.named = "", "", {}

    def cell(self, heading: str) -> None:
        """Reset at the start of a cell under this heading."""
        self.heading, self.printed, self.named = heading, "", {}

    def hear(self, message: dict) -> None:
        """Take the wait, or the last printed line, from a message."""
        content = message["content"]
        wait = (content.get("data") or {}).get(WAIT)
        if isinstance(wait, dict):
            shown = (content.get("transient") or {}).get("display_id", "")
            self.named[shown] = _wait(wait)
        elif message["msg_type"] == "stream" and content.get("name") == "stdout":
            lines = [line for line in plain(content["text"]).splitlines() if line.strip()]
            self.printed = lines[-1] if lines else self.printed

    def __str__(self) -> str:
        named = ", ".join(str(name) for name in self.named.values() if name)
        return one_line(named or self.printed or self.heading)


class Terminal:
    """Shows the events and the outcome of a run on a console; a context manager."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic):
        self.console, self.clock = console, clock
        self.printed = 0.0  # when the last line of a wait was, where there is no live line
        self.waiting, self.started, self.stage, self.width = Waiting(), 0.0, "", 0
        self.live: Live | None = None
        self.planning: Path | None = None  # the folder of a run in plan mode
        self.folder, self.others = Path(), set[str]()  # that of the run; other runs, as told

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # the terminal is gone
            self._stop_live()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if event.kind == "run":
            self.width = max(map(len, event.data["stages"]))
            self.folder = event.data["folder"]
            self.planning = event.data["folder"] if event.data.get("is_plan") else None
            self._say(summary.head(event.data))
        elif event.kind == "taken":
            self._say(event.data["text"])
        elif event.kind == "stage":
            self._begin(event.stage)
        elif event.kind == "cell":
            self.waiting.cell(event.data["heading"])
        elif event.kind == "message":
            self.waiting.hear(event.data["message"])
            self._tell_wait()
        elif event.kind == "interrupt":
            self.waiting.named = {
                "": translated("interrupted, waiting for the cell to end; a second Ctrl-C kills it")
            }
        elif event.kind == "end":
            self._end(event.data["result"])

    def _begin(self, stage: str) -> None:
        self.stage, self.started = stage, self.clock()
        self.waiting.cell(translated("starting the kernel"))
        self.printed = self.started
        if not self.console.is_terminal:
            self._say(f"{_time()} … {stage}")
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self.live = Live(
                console=self.console, get_renderable=self.line, transient=True, refresh_per_second=8
            )
            self.live.start()

    def line(self) -> Table:
        """Return the current line of the running stage."""
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        grid.add_column(no_wrap=True, justify="right")
        elapsed = f"{self.clock() - self.started:.1f} s"
        grid.add_row(Text(f"… {self.stage:{self.width}}"), Text(str(self.waiting)), elapsed)
        return grid

    def _tell_wait(self) -> None:
        """Print what is waited for, once a minute, where no live line shows it."""
        if not self.console.is_terminal and self.clock() - self.printed >= MINUTE:
            self.printed = self.clock()
            self._say(f"{_time()} … {self.stage:{self.width}}  {self.waiting}")

    def _end(self, result: Result) -> None:
        self._stop_live()
        how = f"{mark(result.outcome)} {result.stage:{self.width}}  {result.outcome:11}"
        line = f"{how} {result.seconds:7.1f} s  {self._done(result)}"
        line = line if self.console.is_terminal else f"{_time()} {line}"
        text = Text(line, style=colour(result.outcome))
        self.console.print(text, soft_wrap=True)
        for other in summary.others(self.folder):
            if other not in self.others:
                self.others.add(other)
                self._say(other)

    def _done(self, result: Result) -> str:
        """Return what a stage has changed, in plan mode what it would change, or why it failed."""
        if not self.planning:
            return changed(result.steps)
        plan = plans.read(self.planning).get(result.stage)
        return summary.plan_in_words(plan) if plan else one_line(result.error.partition("\n")[0])

    def _stop_live(self) -> None:
        if self.live:
            self.live.stop()
            self.live = None

    def sum_up(self, run: Run, way_on: Callable[[str], str] | None, after: str = "") -> None:
        """Print the machines of the run, its failures, its report and how to continue.

        `way_on` returns the command that continues the run, or with an option (as `-p size=VALUE`)
        the one that starts a new run, None where there is no way on from this run; `after` says
        what can be done after a run that ended well.
        A plan that needs another value is not continued: it would meet the same one again.
        """
        if not self.planning:
            for line in summary.machines(run.folder):
                self._say(line)
        self._explain_all([r for r in run.results if r.outcome not in ("ok", "not-run")])
        for entry in _left_open(run):
            self._say(translated("Outcome unknown: {} {}", entry.command, entry.what))
        for leak in run.leaks:
            self._say(
                translated("The record contains a secret: {}. Do not share it; change it.", leak)
            )
        if run.unsigned:
            self._say(run.unsigned)
        option = next(filter(None, (corrected(result.error) for result in run.results)), "")
        if way_on and option:
            text = "Resuming would keep the value. A new run does only what is left: {}"
            self._say(translated(text, way_on(option)))
        elif way_on and run.cause != "ok":
            if option := another("\n".join(result.error for result in run.results)):
                self._say(translated("With another value: {}", way_on(option)))
            text = "To continue: {}  (it checks the cloud and does only what is left)"
            if not (option and self.planning):
                self._say(translated(text, way_on("")))
        self._say(translated("Report: {}", near(run.folder / REPORT)))
        if after and run.cause == "ok" and not self.planning:
            self._say(after)
        if run.cause == "ok" and not self.planning and not any(r.steps for r in run.results):
            self._say(translated("Nothing was left to do: no stage changed anything."))
        self._say(sentence(run))

    def show_plan(self, run: Run) -> None:
        """Print what a run in plan mode would do; a failed one may have found nothing to do."""
        planned = plans.read(run.folder)
        if run.cause != "ok" and not any(plan.steps for plan in planned.values()):
            return self._say(translated("There is no plan: what failed has to be mended first."))
        for text in summary.plan_lines(planned):
            self.console.print(text, soft_wrap=True)

    def _explain_all(self, bad: Sequence[Result]) -> None:
        """Explain each failure; where stages failed alike, the first and the names of the rest."""
        for first, *others in alike(bad):
            self._explain(first)
            if others:
                self._say(translated("The same in {}.", ", ".join(r.stage for r in others)))

    def _explain(self, result: Result) -> None:
        place = translated(' under "{}"', result.section) if result.section else ""
        self._say(f"{result.stage} {result.outcome}{place}: {result.error}".rstrip(": "))
        self._say(translated("Its notebook: {}", near(result.record)))

    def _say(self, text: str) -> None:
        self.console.print(Text(plain(text)), soft_wrap=True)


def _time() -> str:
    return f"{datetime.now():%H:%M:%S}"


def _left_open(run: Run) -> list[Entry]:
    """Return the changes of a stopped run whose outcome is unknown."""
    if run.cause == "ok" or not run.folder.is_dir():
        return []
    from lib.report import past

    return past.read(run.folder, ["journal"]).unsettled
