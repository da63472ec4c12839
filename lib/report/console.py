"""The console: where text goes, and how text of others is made harmless before it goes there.

Texts come from notebooks and through them from a cloud, so none is taken as markup and no control
character of theirs reaches the terminal.
"""

import sys
from collections.abc import Collection, Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lib.errors import plain

WIDE = 140  # columns where there is no terminal, as in a log


def console() -> Console:
    """Return the console of standard output; if that is no terminal it writes no escape codes."""
    if sys.stdout.isatty():
        return Console()
    return Console(force_terminal=False, width=WIDE)


def one_line(text: object) -> str:
    """Return a text as `plain` does, on one line."""
    return " ".join(plain(text).split())


def grid(
    head: Iterable[str],
    rows: Iterable[Iterable[Text]],
    right: Collection[str] = (),
    title: str = "",
) -> Table:
    """Return a table that folds long cells; `right` names columns of numbers."""
    table = Table(title=title or None, title_justify="left")
    for name in head:
        table.add_column(name, overflow="fold", justify="right" if name in right else "left")
    for row in rows:
        table.add_row(*row)
    return table
