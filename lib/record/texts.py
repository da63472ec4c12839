"""The texts of reports and of the terminal in the language of the locale: English or Japanese.

`japanese.yaml` beside this module holds every text once, by its English form. Notebooks, errors and
whatever a cloud answers stay as they are.
"""

import os
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("japanese.yaml")


def language() -> str:
    """Return "ja" or "en", as LC_ALL, LC_MESSAGES or LANG has it, in this order."""
    named = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return "ja" if next(filter(None, named), "").lower().startswith("ja") else "en"


def translated(english: str, *values: object) -> str:
    """Return a text in the language of the locale, each `{}` in it replaced by its value.

    >>> translated("Report: {}", "runs/1/report.html").endswith("runs/1/report.html")
    True
    """
    text = table().get(english, english) if language() == "ja" else english
    return text.format(*values) if values else text


@cache
def table() -> dict[str, str]:
    """Return the Japanese texts by their English form."""
    import yaml  # only now: a kernel and an English terminal do without

    return yaml.safe_load(FILE.read_text("utf-8"))
