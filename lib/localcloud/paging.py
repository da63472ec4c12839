"""Paging: which rows a page holds where a list is sorted by what many rows share.

CloudStack sorts volumes, snapshots and events by when they were made, in whole seconds, the newest
first, and takes each page with an OFFSET of its own. Rows of one second come in any order, and in
another one for each page: some stand on two pages and others on none, while the count is right.
Within a page it looks the rows up again, by id, so that a page begins with its oldest.
"""

from .cloud import Cloud, Listing
from .state import Row

BY_TIME = ("volume", "snapshot", "event")
ASTRAY = 3  # rows at most that go astray at the border of two pages


def ordered(cloud: Cloud, found: Listing, keep: slice, page: int | None) -> Listing:
    """Return a list with its rows as the database orders them for one page.

    So that a rehearsal does the same each time, rows go astray in every other walk through the
    pages, beginning with the first.
    """
    if cloud.dialect.stable_pages or found.kind not in BY_TIME:
        return found
    if page == 1 and len(found.rows) > (keep.stop or 0):
        cloud.walks[found.kind] = cloud.walks.get(found.kind, 0) + 1
    rows = found.rows[::-1]
    start = keep.start or 0
    if 0 < start < len(rows) and cloud.walks.get(found.kind, 0) % 2:
        _stray(rows, start)
    rows[keep] = sorted(rows[keep], key=lambda row: row["n"])
    return found._replace(rows=rows)


def _stray(rows: list[Row], start: int) -> None:
    """Have rows of the second before a page come again on it, and others of that second nowhere."""
    low = high = start
    while low > 0 and int(rows[low - 1]["at"]) == int(rows[start]["at"]):
        low -= 1
    while high < len(rows) and int(rows[high]["at"]) == int(rows[start]["at"]):
        high += 1
    astray = min(ASTRAY, start - low, high - start)
    if astray:
        rows[low:high] = rows[high - astray : high] + rows[low : high - astray]
