"""The timeline of a rolling change: when each machine was due, changed, and back, as a picture."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape

from lib.record.shown import Shown, rect, row
from lib.waiting import span

WIDTH, HEIGHT = 420, 16  # pixels of the whole change, and of a machine
# What a machine waited for, or did, up to each of its moments.
PHASES = {
    "quorum": ("waits for the quorum", "#8c8c8c"),
    "given": ("gets its text and reboots", "#2e7bd6"),
    "back": ("comes back into the cluster", "#2e9e5b"),
    "failed": ("fails", "#d9363e"),
}


@dataclass
class Turn:
    """The turn of a machine: its name, when it began, and moments by PHASES, in seconds."""

    name: str
    began: float
    moments: dict[str, float]

    @property
    def parts(self) -> list[tuple[str, float, float]]:
        """The phases that it went through: each with its begin and its end."""
        starts = [self.began, *self.moments.values()]
        return [
            (phase, start, end)
            for (phase, end), start in zip(self.moments.items(), starts, strict=False)
        ]


@contextmanager
def turn(turns: list[Turn], name: str, clock: Callable[[], float]) -> Iterator[Callable]:
    """Add the turn of a machine, and yield what is called with each phase as that ends."""
    one = Turn(name, clock(), {})
    turns.append(one)
    try:
        yield lambda phase: one.moments.setdefault(phase, clock())
    except BaseException:
        one.moments["failed"] = clock()
        raise


def picture(turns: list[Turn]) -> Shown:
    """Return a row for each machine in the order of their turns, with a key."""
    if not turns:
        return Shown("", "no machine had its turn")
    first = turns[0].began
    whole = max(max([t.began, *t.moments.values()]) for t in turns) - first
    rows = [_row(t, first, whole or 1) for t in turns]
    key = " ".join(f'<span style="color:{c}">■</span> {words}' for words, c in PHASES.values())
    html = f"<table>{''.join(rows)}</table><p>{key}; {span(whole)} in all</p>"
    return Shown(html, "\n".join(f"{t.name}: {_in_words(t)}" for t in turns))


def _in_words(turn: Turn) -> str:
    """Say how long each phase of a turn took.

    >>> _in_words(Turn("web-1", 5, {"quorum": 5.2, "given": 10, "failed": 12}))
    'waits for the quorum 0.2 s, gets its text and reboots 4.8 s, fails 2.0 s'
    """
    return ", ".join(f"{PHASES[phase][0]} {span(end - start)}" for phase, start, end in turn.parts)


def _row(turn: Turn, first: float, whole: float) -> str:
    bars = "".join(_bar(part, first, WIDTH / whole) for part in turn.parts)
    return row(escape(turn.name), f'<svg width="{WIDTH}" height="{HEIGHT}">{bars}</svg>')


def _bar(part: tuple[str, float, float], first: float, scale: float) -> str:
    phase, start, end = part
    words, colour = PHASES[phase]
    place = (start - first) * scale, 0, max((end - start) * scale, 1), HEIGHT
    return rect(place, colour, f"{words}: {span(end - start)}")
