"""Paging: the rows of a page where many rows have the same sort key.

CloudStack sorts volumes, snapshots and events by their creation in whole seconds, the newest first,
and reads each page with an OFFSET. Rows of the same second have no fixed order: some appear on two
pages and others on none, while the count is right. Within a page it reads the rows again by id, so
that a page begins with its oldest.
"""

from bisect import bisect_right

from ..state.cloud import Cloud, Listing
from ..state.rows import Row

BY_TIME = ("volume", "snapshot", "event")
ASTRAY = 3  # most rows misplaced at the border of two pages


def ordered(cloud: Cloud, found: Listing, keep: slice, page: int | None) -> Listing:
    """Return a list with its rows as the database orders them for one page.

    Rehearsals must be repeatable, so rows are misplaced in every other walk through the pages,
    beginning with the first.
    """
    if cloud.dialect.stable_pages or found.kind not in BY_TIME:
        return found
    if page == 1 and len(found.rows) > (keep.stop or 0):
        cloud.walks[found.kind] = cloud.walks.get(found.kind, 0) + 1
    rows = found.rows[::-1]
    start, stop = keep.start or 0, keep.stop or len(rows)
    strays = 0 < start < len(rows) and cloud.walks.get(found.kind, 0) % 2
    page_rows = _stray(rows, start, stop) if strays else rows[keep]
    rows[keep] = sorted(page_rows, key=lambda row: row["n"])
    return found._replace(rows=rows)


def _stray(rows: list[Row], start: int, stop: int) -> list[Row]:
    """Return a page that begins with rows of the page before it, of the same second.

    As many rows at the end of that second move to the next page, or disappear.
    """
    second = int(rows[start]["at"])
    before = [r for r in rows[max(0, start - ASTRAY) : start] if int(r["at"]) == second]
    end = bisect_right(rows, -second, lo=start, key=lambda row: -int(row["at"]))
    astray = min(len(before), end - start)
    last = min(end, stop)
    return rows[start - astray : last - astray] + rows[last:stop]
