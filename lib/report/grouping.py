"""Grouping: of many rows that are alike, the first ones and the last one."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TypeVar

NAMED = 8  # texts that a sentence lists
MOST = 6  # rows that are alike and shown one by one
Row = TypeVar("Row")


def first_and_last(
    rows: Iterable[Row], alike: Callable[[Row], object], most: int = MOST
) -> list[tuple[Row, int | None]]:
    """Return the rows, each with None; of a long group of successive ones a part, with a gap.

    Rows are alike if `alike` returns the same for them; those for which it is "" or None never
    are. A gap is a row with the number of rows that it stands for.

    >>> [more or row for row, more in first_and_last([1, 3, 5, 7, 9, 2], lambda n: n % 2, most=3)]
    [1, 3, 2, 9, 2]
    """
    found: list[tuple[Row, int | None]] = []
    for kind, group in groupby(rows, alike):
        same = list(group)
        if kind in ("", None) or len(same) <= most:
            found += [(row, None) for row in same]
        else:
            found += [(row, None) for row in same[: most - 1]]
            found += [(same[most - 1], len(same) - most), (same[-1], None)]
    return found


def few(texts: Sequence[str]) -> list[str]:
    """Return the first texts for a sentence, and how many more there are.

    >>> few(["a", "b"]), few("abcdefghij")[-2:]
    (['a', 'b'], ['h', '2 more'])
    """
    more = len(texts) - NAMED
    return [*texts[:NAMED], *([f"{more} more"] if more > 0 else [])]
