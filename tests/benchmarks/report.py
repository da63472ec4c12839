"""The report: lines that set a figure of ours beside another's, and the bound on their ratio."""

from collections.abc import Iterable
from dataclasses import dataclass

EXACT = 1e-6  # two figures of a virtual clock that differ by less are the same
COLUMNS = "{:<54} {:>9} {:>9} {:<12} {:>6}  {:<9} {}"
HEAD = COLUMNS.format("", "ours", "other", "", "ratio", "wanted", "holds")


@dataclass(frozen=True)
class Line:
    """One comparison: what was measured in which unit, of ours and of another.

    `most` is how large our figure may be as a multiple of the other, None where nothing is wanted.
    """

    what: str
    unit: str
    ours: float
    other: float
    most: float | None = None

    @property
    def ratio(self) -> float:
        """Ours as a multiple of the other."""
        return self.ours / self.other if self.other else float("inf")

    @property
    def holds(self) -> bool | None:
        """Whether the bound is kept, None where there is none."""
        return None if self.most is None else self.ours <= self.most * self.other + EXACT


def shown(line: Line) -> str:
    """Return a line as a row of the printed table.

    >>> shown(Line("requests", "", 50, 100, 0.5)).split()
    ['requests', '50', '100', '0.50', '<=', '0.5', 'yes']
    """
    wanted = "" if line.most is None else f"<= {line.most:g}"
    holds = {None: "", True: "yes", False: "NO"}[line.holds]
    figures = (_figure(line.ours), _figure(line.other), line.unit, f"{line.ratio:.2f}")
    return COLUMNS.format(line.what, *figures, wanted, holds).rstrip()


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 or value == int(value) else f"{value:.2f}"


def broken(lines: Iterable[Line]) -> list[Line]:
    """Return the lines whose bound does not hold."""
    return [line for line in lines if line.holds is False]


def verdict(lines: Iterable[Line]) -> str:
    """Return a sentence on the bounds.

    >>> verdict([Line("a", "s", 1, 2, 1), Line("b", "s", 1, 2)])
    'Bounds that hold: 1 of 1.'
    """
    kept = [line.holds for line in lines if line.most is not None]
    return f"Bounds that hold: {sum(kept)} of {len(kept)}."
