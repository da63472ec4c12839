"""The console, and the cleaning of texts before they are printed.

Texts come from notebooks and through them from a cloud: they are never taken as markup, and their
control characters never reach the terminal.
"""

import codecs
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lib.errors import plain
from lib.record.texts import translated

SIMPLE = {"✓": "+", "✗": "x", "…": "...", "·": ".", "–": "-", "×": "x", "→": "->"}  # noqa: RUF001
WHOLE = ("run",)  # columns of ids, which are copied
WIDE = 140  # columns where there is no terminal, as in a log


def set_up() -> None:
    """Let standard output and error show whatever their encoding lacks in another way.

    Marks become ASCII characters, all else escapes: no run ends because a terminal is not UTF-8.
    """
    codecs.register_error("runbook.simple", _simple)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what stands in for a stream may have none
            stream.reconfigure(errors="runbook.simple")


def _simple(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for characters that cannot be encoded, as codecs.register_error has it."""
    lost = error.object[error.start : error.end]
    shown = (SIMPLE.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lost)
    return "".join(shown), error.end


def console() -> Console:
    """Return the console of standard output, without escape codes if it is not a terminal."""
    if sys.stdout.isatty():
        return Console()
    return Console(force_terminal=False, width=WIDE)


def invoked(at: Path | None = None) -> list[str]:
    """Return the words by which this command was called, to be typed again.

    With `at`, a folder, they are those that work there.
    """
    called = Path(sys.argv[0])
    if called.parts[-2:] == ("lib", "__main__.py"):
        return ["python", "-m", "lib"]
    on_path = shutil.which("runbook")
    if called.name != "runbook" or (on_path and called.exists() and called.samefile(on_path)):
        return ["runbook"]
    if at and called.absolute().is_relative_to(at):
        return [str(called.absolute().relative_to(at))]
    return [str(called.absolute() if at else called)]


def one_line(text: object) -> str:
    """Return a text as `plain` does, on one line."""
    if isinstance(text, str) and text.isprintable() and "  " not in text:
        return text.strip(" ")
    return re.sub("[ \n]+", " ", plain(text)).strip(" ")


def grid(
    head: Iterable[str],
    rows: Iterable[Iterable[Text]],
    right: Collection[str] = (),
    title: str = "",
) -> Table:
    """Return a table that folds long cells; `right` names columns of numbers."""
    table = Table(title=title or None, title_justify="left")
    for name in head:
        justify = "right" if name in right else "left"
        table.add_column(translated(name), overflow="fold", justify=justify, no_wrap=name in WHOLE)
    for row in rows:
        table.add_row(*row)
    return table


def long_grid(
    head: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()
) -> str:
    """Return a table of many rows as lines, in a fraction of the time; no cell is folded."""
    names = list(map(translated, head))
    columns = list(zip(names, *rows, strict=True))
    widths = [max(len(c) if c.isascii() else cell_len(c) for c in column) for column in columns]
    pads = [str.rjust if name in right else str.ljust for name in head]

    def line(row: Sequence[str]) -> str:
        cells = zip(pads, row, widths, strict=True)
        wide = [pad(c, w - (0 if c.isascii() else cell_len(c) - len(c))) for pad, c, w in cells]
        return "  ".join(wide).rstrip()

    return "\n".join(map(line, [names, *rows]))
