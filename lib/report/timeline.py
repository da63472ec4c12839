"""The timeline: when each stage ran, its calls and its waits, as places on an axis of 1000 units.

All rows share the axis. Pauses between attempts, as before a resume, are cut to a small width.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from lib.report.past import Attempt, Past, ms, when
from lib.report.resources import OPEN, sent

WIDE = 1000  # units of the drawing across all of the time
PAUSE = 40  # units of each pause that is cut
THIN = 1.5  # units; what is shorter is drawn as wide as this


@dataclass(frozen=True)
class Span:
    """Something that took time: from, to (seconds since the epoch), and what to call it."""

    start: float
    end: float
    name: str


@dataclass(frozen=True)
class Bar:
    """Where a bar begins, how wide it is, and what it stands for."""

    x: float
    width: float
    title: str


@dataclass(frozen=True)
class Row:
    """One attempt: its bar, those of its calls and waits, and what these add up to."""

    attempt: Attempt
    whole: list[Bar]
    calls: list[Bar]
    waits: list[Bar]
    calls_count: int
    calls_seconds: float
    waits_seconds: float  # jobs side by side count once


@dataclass(frozen=True)
class Axis:
    """Which place a moment has, how many seconds a unit is, and where pauses were cut."""

    place: Callable[[float], float]
    second: float
    cuts: list[float]


def draw(past: Past) -> tuple[list[Row], list[float]]:
    """Return a row for each attempt whose beginning is known, and the places of cut pauses."""
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
    """Return the requests, each from its sending to its answer."""
    timed = [(when(line), line) for line in api]
    return [_span(at.timestamp(), ms(line) / 1000, line.get("command")) for at, line in timed if at]


def _jobs(past: Past) -> list[Span]:
    """Return the jobs, each from its acceptance to its end, if the journal has one."""
    found = []
    for entry in sent(past):
        accepted, ended = entry.get("accepted"), when(entry)
        if accepted and ended and entry.get("job"):
            name = f"{entry.get('command', '')} {entry.get('what') or ''}".strip()
            known = entry["state"] not in OPEN
            end, more = (ended.timestamp(), "") if known else (inf, ", end unknown")
            found.append(Span(accepted.timestamp(), end, name + more))
    return found


def _waits(attempt: Attempt) -> list[Span]:
    """Return the waits in the ledger; some are for other things than the end of a job."""
    ended = [(when(w), float(w.get("seconds") or 0), w.get("waiting")) for w in attempt.waits]
    known = [(at.timestamp(), took, name) for at, took, name in ended if at and took]
    return [_span(end - took, took, name or "wait") for end, took, name in known]


def _within(spans: Iterable[Span], whole: Span) -> list[Span]:
    """Return the spans that began within the whole, cut off where it ended."""
    inside = (s for s in spans if whole.start <= s.start <= whole.end)
    return [Span(s.start, min(s.end, whole.end), s.name) for s in inside]


def axis(wholes: Sequence[Span]) -> Axis:
    """Return the axis on which all of the wholes find a place."""
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
    """Return the spans in groups of those that overlap or are at most some seconds `apart`."""
    found: list[list[Span]] = []
    end = -inf
    for s in sorted(spans, key=lambda s: s.start):
        if s.start > end + apart:
            found.append([])
        found[-1].append(s)
        end = max(end, s.end)
    return found


def seconds(spans: Iterable[Span]) -> float:
    """Return how long the spans took together; the same time counts once."""
    return sum(max(s.end for s in group) - group[0].start for group in groups(spans))


def _bars(spans: Iterable[Span], drawn: Axis) -> list[Bar]:
    """Return the bars of spans; those that would touch become one, as many calls are short."""
    return [_bar(group, drawn.place) for group in groups(spans, THIN * drawn.second)]


def _bar(group: list[Span], place: Callable[[float], float]) -> Bar:
    names = Counter(s.name for s in group)
    common = (f"{n} × {name}" if n > 1 else name for name, n in names.most_common(4))  # noqa: RUF001
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    title = f"{', '.join(common)}{more}: {seconds(group):.2f} s"
    left, right = place(group[0].start), place(max(s.end for s in group))
    return Bar(left, max(right - left, THIN), title)
