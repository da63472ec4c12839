"""Paging: every row of a list command, although its pages may repeat some rows and lose others.

CloudStack takes its pages by OFFSET from rows whose sort key, `created`, is not unique: a row may
stand on two pages and another one on none. The server's count shows when that has happened.
"""

import json
import re
from collections.abc import Callable

from lib.errors import Incomplete, Refused, TooManyRows, Unreachable

ALL = -1  # as `pagesize`: every row in one answer, from 3.0 on


def every(
    ask: Callable[..., dict], command: str, params: dict, size: int, most: float = 100_000
) -> list[dict]:
    """Return every row once, asking anew in other ways until there are as many as are counted.

    Raises Incomplete when there never are, TooManyRows when there are more than `most`.
    """
    seen: dict[str, dict] = {}
    for pages in (size, ALL, size, max(size * 3 // 4, 1), max(size // 2, 1)):
        try:
            count, repeated = _pass(ask, command, params, pages, seen, most)
        except (Refused, Unreachable):
            if pages != ALL:
                raise
            continue
        # 2.2 and 3.0 count the rows of a page only: a row that came twice is the one sign there.
        if len(seen) == count or (len(seen) > count and not repeated):
            break
    if len(seen) < count:
        raise Incomplete(command, len(seen), count)
    return list(seen.values())


def _pass(
    ask: Callable[..., dict], command: str, params: dict, size: int, seen: dict[str, dict],
    most: float,
) -> tuple[int, bool]:  # fmt: skip
    """Add the rows of all pages to `seen`; return the count, and whether a row came twice."""
    page, count, repeated = 1, 0, False
    found: set[str] = set()
    while True:
        try:
            answer = ask(command, **params, **_one_page(page, size))
        except Refused as no:
            size = _smaller_page(no, size)
            continue
        rows = rows_of(answer)
        named = _named(rows)
        repeated = repeated or not found.isdisjoint(named)
        fresh = named.keys() - found
        found |= fresh
        seen |= named
        if len(seen) > most:
            raise TooManyRows(command, most)
        count = max(count, answer.get("count", 0))
        if size == ALL or not fresh or (len(rows) < size and len(found) >= count):
            return count, repeated
        page += 1


def _one_page(page: int, size: int) -> dict[str, int]:
    return {"pagesize": ALL} if size == ALL else {"page": page, "pagesize": size}


def rows_of(answer: dict) -> list[dict]:
    """Return the rows in the answer of a list command."""
    return next((v for v in answer.values() if isinstance(v, list)), [])


def _named(rows: list[dict]) -> dict[str, dict]:
    """Return the rows of one answer by their identity; within it no row comes twice."""
    named: dict[str, dict] = {}
    for row in rows:
        key = _identity(row)
        while key in named:
            key += "'"
        named[key] = row
    return named


def _identity(row: dict) -> str:
    """Return what tells a row from others: a template has the same id in every zone."""
    return str(row.get("id") or json.dumps(row, sort_keys=True)) + str(row.get("zoneid", ""))


def _smaller_page(no: Refused, size: int) -> int:
    allowed = re.search(r"max allowed page size value: (\d{1,9})\b", no.text)
    if not allowed or int(allowed[1]) >= size:
        raise no
    return int(allowed[1])
