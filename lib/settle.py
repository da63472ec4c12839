"""Waiting for a state: a job's result may be stale, so states that matter are listed again."""

from collections.abc import Callable

from lib.errors import JobTimeout
from lib.progress import Waiting


def settled(
    cloud, read: Callable[[], dict | None], field: str, wanted: object, what: str, within: float
) -> object:
    """Read a row until its field is as wanted and return that; return "" when there is no row.

    Looks short at first, then every 2 s, for at most `within` seconds. Raises JobTimeout.
    """
    started = cloud.clock()
    with Waiting() as waiting:
        while row := read():
            if row.get(field) == wanted:
                return wanted
            gone = cloud.clock() - started
            if gone > within:
                raise JobTimeout(f"waiting for {what}", "ended", gone, f"{row.get(field)}")
            waiting.show(f"{what} to be {field} {wanted}")
            cloud.sleep(min(max(gone / 2, 0.05), 2))
    return ""
