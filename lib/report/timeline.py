"""The timeline: each stage, its calls and its waits, on an axis of 1000 units.

All rows share the axis. Pauses between attempts, as before a resume, are cut to a small width.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from lib.report.attempts import Attempt, moment, when
from lib.report.past import OPEN, Past, ms

WIDE = 1000  # units of the drawing across all of the time
PAUSE = 40  # units of each cut pause
THIN = 1.5  # units; the minimum width of a bar


@dataclass(frozen=True)
class Span:
    """A span of time: its start and end (seconds since the epoch) and its name."""

    start: float
    end: float
    name: str


@dataclass(frozen=True)
class Bar:
    """A bar: its position, width and title."""

    x: float
    width: float
    title: str


@dataclass(frozen=True)
class Row:
    """An attempt: its bar, the bars of its calls and waits, and their totals."""

    attempt: Attempt
    whole: list[Bar]
    calls: list[Bar]
    waits: list[Bar]
    calls_count: int
    calls_seconds: float
    waits_seconds: float  # jobs side by side count once


@dataclass(frozen=True)
class Axis:
    """The axis: the position of a time, the seconds of a unit, and the cut pauses."""

    place: Callable[[float], float]
    second: float
    cuts: list[float]


def draw(past: Past) -> tuple[list[Row], list[float]]:
    """Return a row for each attempt with a known start, and the positions of cut pauses."""
    attempts = [a for a in past.attempts if a.started]
    attempts.sort(key=lambda a: a.started)
    wholes = [_span(a.started.timestamp(), a.seconds, a.stage) for a in attempts]
    if not wholes:
        return [], []
    drawn, calls, jobs = axis(wholes), _calls(past.api), _jobs(past)
    pairs = zip(attempts, wholes, strict=True)
    return [_row(a, whole, calls, jobs, drawn) for a, whole in pairs], drawn.cuts


def _row(attempt: Attempt, whole: Span, calls: list[Span], jobs: list[Span], drawn: Axis) -> Row:
    calls, jobs = _within(calls, whole), _within(jobs, whole)
    waits = jobs + [w for w in _waits(attempt) if not any(_overlap(w, job) for job in jobs)]
    bars = [_bars(spans, drawn) for spans in ([whole], calls, waits)]
    return Row(attempt, *bars, len(calls), sum(c.end - c.start for c in calls), seconds(waits))


def _overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def _span(start: float, took: float, name: object) -> Span:
    return Span(start, start + took, str(name))


def _calls(api: Iterable[dict]) -> list[Span]:
    """Return the spans of the requests, each until its answer."""
    timed = [(when(line), line) for line in api]
    return [_span(at.timestamp(), ms(line) / 1000, line.get("command")) for at, line in timed if at]


def _jobs(past: Past) -> list[Span]:
    """Return the spans of the jobs, each from its acceptance to its end, if known."""
    found = []
    for entry in past.journal:
        accepted, ended = moment(entry.accepted), moment(entry.at)
        if accepted and ended and entry.job:
            name = f"{entry.command} {entry.what}".strip()
            known = entry.state not in OPEN
            end, more = (ended.timestamp(), "") if known else (inf, ", end unknown")
            found.append(Span(accepted.timestamp(), end, name + more))
    return found


def _waits(attempt: Attempt) -> list[Span]:
    """Return the spans of the waits in the ledger, not only those for jobs."""
    ended = [(when(w), float(w.get("seconds") or 0), w.get("waiting")) for w in attempt.waits]
    known = [(at.timestamp(), took, name) for at, took, name in ended if at and took]
    return [_span(end - took, took, name or "wait") for end, took, name in known]


def _within(spans: Iterable[Span], whole: Span) -> list[Span]:
    """Return the spans that start within the whole, cut at its end."""
    inside = (s for s in spans if whole.start <= s.start <= whole.end)
    return [Span(s.start, min(s.end, whole.end), s.name) for s in inside]


def axis(wholes: Sequence[Span]) -> Axis:
    """Return the axis for all attempts."""
    busy = seconds(wholes) or 1.0
    parts = [(g[0].start, max(s.end for s in g)) for g in groups(wholes, busy / 10)]
    second = (sum(end - start for start, end in parts) or 1.0) / (WIDE - PAUSE * (len(parts) - 1))
    moments, places = [], [-PAUSE]
    for start, end in parts:
        moments += [start, end]
        places += [places[-1] + PAUSE, places[-1] + PAUSE + (end - start) / second]
    cuts = [place - PAUSE / 2 for place in places[3::2]]
    return Axis(lambda moment: float(np.interp(moment, moments, places[1:])), second, cuts)


def groups(spans: Iterable[Span], apart: float = 0.0) -> list[list[Span]]:
    """Group the spans that overlap or are at most `apart` seconds from each other."""
    found: list[list[Span]] = []
    end = -inf
    for s in sorted(spans, key=lambda s: s.start):
        if s.start > end + apart:
            found.append([])
        found[-1].append(s)
        end = max(end, s.end)
    return found


def seconds(spans: Iterable[Span]) -> float:
    """Return the seconds that the spans cover."""
    return sum(max(s.end for s in group) - group[0].start for group in groups(spans))


def _bars(spans: Iterable[Span], drawn: Axis) -> list[Bar]:
    """Return the bars of the spans; bars that would touch are merged."""
    return [_bar(group, drawn.place) for group in groups(spans, THIN * drawn.second)]


def _bar(group: list[Span], place: Callable[[float], float]) -> Bar:
    names = Counter(s.name for s in group)
    common = (f"{n} × {name}" if n > 1 else name for name, n in names.most_common(4))  # noqa: RUF001
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    title = f"{', '.join(common)}{more}: {seconds(group):.2f} s"
    left, right = place(group[0].start), place(max(s.end for s in group))
    return Bar(left, max(right - left, THIN), title)
