"""Pages: single files without scripts or external links, from the templates beside this module.

Texts come from notebooks and through them from a cloud: only the templates' own text is markup.
"""

import re
import shlex
from functools import cache
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from lib.record.headings import HEADINGS, local
from lib.record.texts import language, translated
from lib.report.console import plain
from lib.report.grouping import few
from lib.report.words import clock, mark, tone
from lib.waiting import span

HASH = re.compile(r"[0-9a-f]{64}")
ID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


def render(template: str, **values: object) -> str:
    """Fill in a template and return the page."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clock": clock, "mark": mark, "tone": tone, "span": span}
    environment.filters |= {
        "quote": shlex.quote,
        "text": local,
        "heading": lambda name: HEADINGS.get(name, name),
        "kind": kind,
        "numbers": numbers,
    }
    environment.globals |= {"t": translated, "language": language}
    environment.filters |= {"trimmed": trimmed, "css": css, "few": few}
    return environment


def _printable(value: object) -> object:
    """Return a value for a template: "" for None, and no control characters."""
    return value if isinstance(value, Markup) else plain("" if value is None else value)


def kind(value: object) -> str:
    """Return the CSS class of a value in a table, "" without one."""
    if isinstance(value, pd.Timestamp):
        return "w"
    named = {"✓": "ok", "✗": "bad"}.get(value, "") if isinstance(value, str) else ""
    if named or ID.fullmatch(str(value)):
        return named or "id"
    return "hash" if HASH.fullmatch(str(value)) else ""


def css(text: str) -> Markup:
    """Return a text for a string in a style sheet, every sign in it escaped."""
    escaped = (c if c.isalnum() or c in " -_." else f"\\{ord(c):x} " for c in plain(text))
    return Markup("".join(escaped))


def numbers(table: pd.DataFrame) -> list[str]:
    """Return the columns of numbers, which are aligned to the right."""
    return list(table.select_dtypes("number").columns)


def trimmed(text: str, most: int, file: str) -> str:
    """Replace the middle of a long text by its length and the file with the full text.

    >>> trimmed("ten\\nlines", 100, "a.ipynb")
    'ten\\nlines'
    """
    if len(text) <= most:
        return text
    head, tail = text[: most * 2 // 3], text[-(most // 3) :]
    head = head.rpartition("\n")[0] or head
    tail = tail.partition("\n")[2] or tail
    left = len(text) - len(head) - len(tail)
    return f"{head}\n… {left} characters left out; {file} has the full text …\n{tail}"
