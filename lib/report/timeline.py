"""The timeline: when each stage ran, its calls and its waits, drawn by hand as SVG.

Each row is a drawing of its own that stretches with the page; all share one axis. Pauses between
attempts, as before a resume, are cut to a fixed small width.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from lib.report.page import Html, el, join, rows
from lib.report.past import Attempt, Past, ms, when

WIDE = 1000  # units of the drawing across all of the time
PAUSE = 0.04  # of the whole width, for each pause that is cut


@dataclass(frozen=True)
class Span:
    """Something that took time: from, to (seconds since the epoch), and what to call it."""

    start: float
    end: float
    name: str


@dataclass
class Row:
    """One attempt at a stage with its calls and waits."""

    attempt: Attempt
    whole: Span
    calls: list[Span] = field(default_factory=list)
    waits: list[Span] = field(default_factory=list)


def read(past: Past) -> list[Row]:
    """Return a row for each attempt with a known beginning, in the order of time."""
    attempts = [a for a in [*past.earlier, *past.stages] if a.started]
    made = [Row(a, _whole(a)) for a in sorted(attempts, key=lambda a: a.started)]
    calls = _calls(past.api)
    jobs = _jobs(past.journal)
    for row in made:
        row.calls = _within(calls, row.whole)
        row.waits = _within(jobs, row.whole)
        row.waits += [w for w in _told(row.attempt) if not any(_overlap(w, j) for j in row.waits)]
    return made


def _overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def _whole(attempt: Attempt) -> Span:
    start = attempt.started.timestamp()
    return Span(start, start + attempt.seconds, attempt.stage)


def _calls(api: Iterable[dict]) -> list[Span]:
    """Return the requests, each from its sending to its answer."""
    known = [(when(line), line) for line in api]
    return [
        Span(at.timestamp(), at.timestamp() + ms(line) / 1000, str(line.get("command")))
        for at, line in known
        if at
    ]


def _jobs(journal: Iterable[dict]) -> list[Span]:
    """Return the jobs, from the moment one was accepted to the word of its end, if one came."""
    open_, named, found = {}, {}, []
    for line in journal:
        number, state, at = line.get("n"), line.get("state"), when(line)
        if state == "intent":
            named[number] = f"{line.get('command', '')} {line.get('what') or ''}".strip()
        elif state == "accepted" and line.get("job") and at:
            open_[number] = at.timestamp()
        elif number in open_ and at:
            found.append(Span(open_.pop(number), at.timestamp(), named.get(number, "job")))
    endless = (
        Span(since, inf, f"{named.get(n, 'job')}, end unknown") for n, since in open_.items()
    )
    return [*found, *endless]


def _told(attempt: Attempt) -> list[Span]:
    """Return the waits that the ledger tells of; some are for other things than a job's end."""
    ended = [(when(w), float(w.get("seconds") or 0), w) for w in attempt.waits]
    return [
        Span(at.timestamp() - took, at.timestamp(), str(wait.get("waiting") or "wait"))
        for at, took, wait in ended
        if at and took
    ]


def _within(spans: Sequence[Span], whole: Span) -> list[Span]:
    """Return the spans that began within the whole, cut off where it ended."""
    inside = (s for s in spans if whole.start <= s.start <= whole.end)
    return [Span(s.start, min(s.end, max(whole.end, s.start)), s.name) for s in inside]


def axis(wholes: Sequence[Span]) -> tuple[Callable[[float], float], list[float]]:
    """Return how a moment becomes a place on the axis, and the places where a pause was cut."""
    busy = sum(w.end - w.start for w in wholes) or 1.0
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


def draw(past: Past, link: Callable[[Attempt], Html | str]) -> Html | None:
    """Return the timeline with its table, None where no time is known."""
    found = read(past)
    if not found:
        return None
    place, cuts = axis([row.whole for row in found])
    head = ["stage", "within the run", "began", "took, s", "calls", "calls, s", "waits, s"]
    body = [_line(row, place, cuts, link) for row in found]
    return join(
        el("p", el("small", _key(cuts))),
        rows(head, body, class_="time", right=head[3:]),
    )


def _key(cuts: list[float]) -> Html:
    cut = cuts and " A dashed line stands for a pause between attempts, cut short here."
    return join(
        el("span", class_="key a"), "API calls (upper lane)",
        el("span", class_="key w"), "waits for jobs (lower lane)",
        el("span", class_="key s"), "the stage as a whole.", cut or "",
    )  # fmt: skip


def _line(
    row: Row, place: Callable[[float], float], cuts: list[float], link: Callable[[Attempt], Html]
) -> list[object]:
    began = row.attempt.started.astimezone()
    return [
        link(row.attempt), _drawing(row, place, cuts),
        f"{began:%H:%M:%S}", f"{row.attempt.seconds:.1f}",
        str(len(row.calls)) if row.calls else "", _sum(row.calls), _sum(union(row.waits)),
    ]  # fmt: skip


def _sum(spans: Iterable[Span]) -> str:
    total = sum(s.end - s.start for s in spans)
    return f"{total:.1f}" if total else ""


def union(spans: Iterable[Span]) -> list[Span]:
    """Return spans that do not overlap and cover the same time: jobs run side by side."""
    made: list[Span] = []
    for s in sorted(spans, key=lambda s: s.start):
        if made and s.start <= made[-1].end:
            made[-1] = Span(made[-1].start, max(made[-1].end, s.end), f"{made[-1].name}, {s.name}")
        else:
            made.append(s)
    return made


def _drawing(row: Row, place: Callable[[float], float], cuts: list[float]) -> Html:
    stage = f"{row.attempt.stage}: {row.attempt.seconds:.1f} s"
    lines = (
        el("line", x1=_at(x), x2=_at(x), y1=0, y2=22, class_="cut", stroke_dasharray="3 3")
        for x in cuts
    )
    return el(
        "svg",
        el("title", stage),
        _bar(place(row.whole.start), place(row.whole.end), 1, 20, "span", stage),
        *(_bar(*spot, 2, 8, "api", name) for *spot, name in _spots(row.calls, place)),
        *(_bar(*spot, 12, 8, "wait", name) for *spot, name in _spots(row.waits, place)),
        *lines,
        viewBox=f"0 0 {WIDE} 22", preserveAspectRatio="none", role="img", aria_label=stage,
    )  # fmt: skip


def _spots(spans: Sequence[Span], place: Callable[[float], float]) -> list[tuple]:
    """Return where to draw spans; those that would touch become one, as many calls are short."""
    made: list[list] = []
    for s in sorted(spans, key=lambda s: s.start):
        left, right = place(s.start), max(place(s.end), place(s.start) + 1.5)
        if made and left <= made[-1][1] + 1:
            made[-1][1] = max(made[-1][1], right)
            made[-1][2].append(s)
        else:
            made.append([left, right, [s]])
    return [(left, right, _called(group)) for left, right, group in made]


def _called(group: list[Span]) -> str:
    names = Counter(s.name for s in group).most_common(4)
    said = ", ".join(f"{count} × {name}" if count > 1 else name for name, count in names)  # noqa: RUF001
    more = len({s.name for s in group}) - len(names)
    took = sum(s.end - s.start for s in union(group))
    return f"{said}{f' and {more} more' if more else ''}: {took:.2f} s"


def _bar(left: float, right: float, top: int, tall: int, kind: str, title: str) -> Html:
    wide = _at(max(right - left, 1.5))
    inner = el("title", title)
    return Html(
        f'<rect x="{_at(left)}" y="{top}" width="{wide}" height="{tall}" class="{kind}">'
        f"{inner}</rect>"
    )


def _at(x: float) -> str:
    return f"{x:.1f}".removesuffix(".0")
