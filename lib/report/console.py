"""The console: where text goes, and how text of others is made harmless before it goes there.

Texts come from notebooks and through them from a cloud, so none is taken as markup and no control
character of theirs reaches the terminal.
"""

import re
import sys
from collections.abc import Collection, Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 140  # columns where there is no terminal, as in a log
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.?)")


def console() -> Console:
    """Return the console of standard output; if that is no terminal it writes no escape codes."""
    if sys.stdout.isatty():
        return Console()
    return Console(force_terminal=False, width=WIDE)


def plain(text: object) -> str:
    r"""Return a text without escape codes and control characters, except for line ends.

    >>> plain("a\x1b[31mred\x07")
    'ared'
    """
    bare = _ESCAPES.sub("", str(text)).replace("\t", " ")
    return "".join(c for c in bare if c == "\n" or c.isprintable())


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
