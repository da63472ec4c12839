"""The timeline: when each stage ran, its calls and its waits, as places on an axis of 1000 units.

All rows share the axis. Pauses between attempts, as before a resume, are cut to a small width.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf

from lib.report.past import Attempt, Past, ms, when
from lib.report.resources import OPEN, sent

WIDE = 1000  # units of the drawing across all of the time
PAUSE = 0.04  # of the whole width, for each pause that is cut
THIN = 1.5  # units; what is shorter is drawn as wide as this
Place = Callable[[float], float]


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
    whole: Bar
    calls: list[Bar]
    waits: list[Bar]
    calls_count: int
    calls_seconds: float
    waits_seconds: float  # jobs side by side count once


def draw(past: Past) -> tuple[list[Row], list[float]]:
    """Return a row for each attempt whose beginning is known, and the places of cut pauses."""
    attempts = [a for a in [*past.earlier, *past.stages] if a.started]
    attempts.sort(key=lambda a: a.started)
    wholes = [_whole(a) for a in attempts]
    place, cuts = axis(wholes)
    calls, jobs = _calls(past.api), _jobs(past)
    rows = [_row(*pair, calls, jobs, place) for pair in zip(attempts, wholes, strict=True)]
    return rows, cuts


def _row(attempt: Attempt, whole: Span, calls: list[Span], jobs: list[Span], place: Place) -> Row:
    calls, waits = _within(calls, whole), _within(jobs, whole)
    waits += [w for w in _waits(attempt) if not any(_overlap(w, job) for job in waits)]
    bars = _bars(calls, place), _bars(waits, place)
    (bar,) = _bars([whole], place)
    return Row(attempt, bar, *bars, len(calls), _sum(calls), _sum(union(waits)))


def _sum(spans: Iterable[Span]) -> float:
    return sum(s.end - s.start for s in spans)


def _overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def _whole(attempt: Attempt) -> Span:
    start = attempt.started.timestamp()
    return Span(start, start + attempt.seconds, attempt.stage)


def _calls(api: Iterable[dict]) -> list[Span]:
    """Return the requests, each from its sending to its answer."""
    timed = [(when(line), line) for line in api]
    return [_span(at.timestamp(), ms(line) / 1000, line.get("command")) for at, line in timed if at]


def _span(start: float, seconds: float, name: object) -> Span:
    return Span(start, start + seconds, str(name))


def _jobs(past: Past) -> list[Span]:
    """Return the jobs, each from its acceptance to its known end, if the journal has one."""
    found = []
    for entry in sent(past):
        accepted, ended = entry.get("accepted"), when(entry)
        if accepted and entry.get("job"):
            name = f"{entry.get('command', '')} {entry.get('what') or ''}".strip()
            if entry["state"] in OPEN or not ended:
                found.append(Span(accepted.timestamp(), inf, f"{name}, end unknown"))
            else:
                found.append(Span(accepted.timestamp(), ended.timestamp(), name))
    return found


def _waits(attempt: Attempt) -> list[Span]:
    """Return the waits in the ledger; some are for other things than the end of a job."""
    ended = [(when(w), float(w.get("seconds") or 0), w) for w in attempt.waits]
    return [
        _span(at.timestamp() - took, took, wait.get("waiting") or "wait")
        for at, took, wait in ended
        if at and took
    ]


def _within(spans: Iterable[Span], whole: Span) -> list[Span]:
    """Return the spans that began within the whole, cut off where it ended."""
    inside = (s for s in spans if whole.start <= s.start <= whole.end)
    return [Span(s.start, min(s.end, max(whole.end, s.start)), s.name) for s in inside]


def axis(wholes: Sequence[Span]) -> tuple[Place, list[float]]:
    """Return how a moment becomes a place on the axis, and the places where a pause was cut."""
    busy = _sum(wholes) or 1.0
    parts: list[list[float]] = []
    for w in sorted(wholes, key=lambda w: w.start):
        if parts and w.start - parts[-1][1] < busy / 10:
            parts[-1][1] = max(parts[-1][1], w.end)
        else:
            parts.append([w.start, w.end])
    gap = PAUSE * WIDE
    unit = (WIDE - gap * (len(parts) - 1)) / (sum(b - a for a, b in parts) or 1.0)
    starts = [0.0]
    for a, b in parts[:-1]:
        starts.append(starts[-1] + (b - a) * unit + gap)

    def place(moment: float) -> float:
        index = max((i for i, p in enumerate(parts) if p[0] <= moment), default=0)
        first, last = parts[index]
        return starts[index] + (min(max(moment, first), last) - first) * unit

    return place, [start - gap / 2 for start in starts[1:]]


def union(spans: Iterable[Span]) -> list[Span]:
    """Return spans that do not overlap and cover the same time: jobs run side by side."""
    merged: list[Span] = []
    for s in sorted(spans, key=lambda s: s.start):
        if merged and s.start <= merged[-1].end:
            last = merged.pop()
            s = Span(last.start, max(last.end, s.end), last.name)
        merged.append(s)
    return merged


def _bars(spans: Iterable[Span], place: Place) -> list[Bar]:
    """Return the bars of spans; those that would touch become one, as many calls are short."""
    groups: list[tuple[float, list[Span]]] = []  # the end of each bar, and its spans
    for s in sorted(spans, key=lambda s: s.start):
        right = max(place(s.end), place(s.start) + THIN)
        if groups and place(s.start) <= groups[-1][0] + 1:
            before, group = groups.pop()
            groups.append((max(before, right), [*group, s]))
        else:
            groups.append((right, [s]))
    return [_bar(place(group[0].start), right, group) for right, group in groups]


def _bar(left: float, right: float, group: list[Span]) -> Bar:
    names = Counter(s.name for s in group)
    common = (f"{n} × {name}" if n > 1 else name for name, n in names.most_common(4))  # noqa: RUF001
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    title = f"{', '.join(common)}{more}: {_sum(union(group)):.2f} s"
    return Bar(left, right - left, title)
