"""Filters: parameters of lists that select rows by a field of the answer."""

from typing import Any

from ..state.cloud import Cloud, Listing, fitting
from ..state.registry import Command
from ..state.views import show


def listed(cloud: Cloud, command: Command, values: dict[str, Any]) -> Listing:
    """Return the rows of a list: those that its function or the fields of a row select.

    Filters marked with ? are left out of the values; texts are compared without case.
    """
    marked = [p for p in command.params.values() if p.use == "?" and p.name in values]
    wanted = {p.name: (p.value, str(values.pop(p.name)).lower()) for p in marked}
    kind = command.answers
    found = command.run(cloud, **values) if command.run else None
    found = found or Listing(kind, fitting(cloud, kind, **values))
    if not wanted:
        return found
    return found._replace(rows=[r for r in found.rows if _fits(cloud, found.kind, r, wanted)])


def _fits(cloud: Cloud, kind: str, row: dict, wanted: dict[str, tuple[str, str]]) -> bool:
    view = show(cloud, kind, row)
    return all(str(view.get(n, held or None)).lower() == v for n, (held, v) in wanted.items())
