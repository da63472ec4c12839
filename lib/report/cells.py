"""Cells: what an executed notebook shows, as HTML: prose, tables and texts, the code folded."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import mistune
import pandas as pd

from lib import records
from lib.progress import STEP, WAIT
from lib.report.page import Html, el, join, rows

ID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


@dataclass(frozen=True)
class Limits:
    """How much of one output is shown: rows of a table, characters of a text and of a cell."""

    rows: int
    text: int
    cell: int = 300
    code: bool = True


def prose(text: str) -> Html:
    """Return Markdown as HTML; HTML in it is text, and links and images are named, not made."""
    return Html(_MARKDOWN(text))


class _Prose(mistune.HTMLRenderer):
    """Markdown without anything that leads out of the page, its headings below the page's own."""

    def heading(self, text: str, level: int, **_: object) -> str:
        return f"<h{min(level + 1, 6)}>{text}</h{min(level + 1, 6)}>\n"

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return text

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return text


_MARKDOWN = mistune.create_markdown(renderer=_Prose(escape=True), plugins=["table"])


def stage_title(notebook: dict) -> str:
    """Return the notebook's first heading."""
    first = notebook["cells"][0] if notebook.get("cells") else {}
    lines = "".join(first.get("source", "")).splitlines()
    return lines[0].lstrip("# ") if lines and lines[0].startswith("#") else ""


def body(notebook: dict, causes: dict[str, dict], limits: Limits, whole: str) -> Html:
    """Return all cells of an executed notebook as HTML.

    `causes` tells by cell id how a cell ended, `whole` names the file that holds all of it.
    """
    return join(*(_cell(cell, causes, limits, whole) for cell in notebook.get("cells", [])))


def _cell(cell: dict, causes: dict[str, dict], limits: Limits, whole: str) -> Html | None:
    source = "".join(cell.get("source", ""))
    if cell["cell_type"] == "markdown":
        return prose(re.sub(r"\A# .*", "", source))
    if cell["cell_type"] != "code":
        return None
    metadata = cell.get("metadata", {})
    told = metadata.get("runbook", {}) | causes.get(cell.get("id", ""), {})
    tags = metadata.get("tags", [])
    shown = [_output(o, limits, whole) for o in _merged(cell.get("outputs", []))]
    if limits.code and "parameters" not in tags:
        summary = el("summary", "code", _fate(cell, told))
        shown.insert(0, el("details", summary, el("pre", source)))
    return join(*shown)


def _fate(cell: dict, told: dict) -> Html | str:
    """Say how a cell ended where that is worth a word: badly, not at all, or after a while."""
    cause = told.get("cause", "")
    ran = cell.get("execution_count") is not None or cell.get("outputs")
    if cause in ("", "not-run") and not ran:
        return el("span", " · not run", class_="warn")
    if cause not in ("", "ok"):
        return el("b", f" · {cause}", class_="bad")
    seconds = told.get("seconds", 0)
    return f" · {seconds:.1f} s" if seconds >= 0.5 else ""


def _merged(outputs: list[dict]) -> list[dict]:
    """Join what was printed in several pieces."""
    made: list[dict] = []
    for output in outputs:
        last = made[-1] if made else {}
        if output["output_type"] == "stream" == last.get("output_type"):
            made[-1] = last | {"text": _text(last["text"]) + _text(output["text"])}
        else:
            made.append(output)
    return made


def _text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "".join(value)


def _output(output: dict, limits: Limits, whole: str) -> Html | None:
    data = output.get("data", {})
    if records.is_table(output):
        return _table(output, limits, whole)
    if output["output_type"] == "stream":
        return _printed(_text(output["text"]), limits, whole)
    if output["output_type"] == "error":
        return _error(output, limits, whole)
    said = _text(data.get("text/plain", ""))
    if WAIT in data:
        return el("p", el("small", said))
    if STEP in data:
        kind = "ok" if data[STEP].get("outcome") == "done" else "bad"
        return el("p", el("span", said[:1], class_=kind), trimmed(said[1:], limits.text, whole))
    if any(kind.startswith("image/") for kind in data):
        return el("p", el("small", f"(an image; it is in {whole})"))
    return _printed(said, limits, whole)


def _printed(text: str, limits: Limits, whole: str) -> Html | None:
    drawn = (_redrawn(text) if "\r" in text else text).strip("\n")
    return el("pre", trimmed(drawn, limits.text, whole)) if drawn.strip() else None


def _redrawn(text: str) -> str:
    """Return a text as a terminal shows it: of a line that was drawn anew, its last state."""
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return "\n".join(lines)


def _error(output: dict, limits: Limits, whole: str) -> Html:
    said = f"{output.get('ename', '')}: {output.get('evalue', '')}"
    trace = "\n".join(output.get("traceback", []))
    folded = limits.code and el(
        "details", el("summary", "traceback"), el("pre", trimmed(trace, limits.text * 2, whole))
    )
    return el("div", el("pre", trimmed(said, limits.text * 2, whole), class_="bad"), folded)


def trimmed(text: str, most: int, whole: str) -> str:
    """Cut the middle out of a long text, saying how much and where the whole is.

    >>> trimmed("ten\\nlines", 100, "a.ipynb")
    'ten\\nlines'
    """
    if len(text) <= most:
        return text
    head, tail = text[: most * 2 // 3], text[-(most // 3) :]
    head = head.rpartition("\n")[0] or head
    tail = tail.partition("\n")[2] or tail
    left = len(text) - len(head) - len(tail)
    return f"{head}\n… {left} characters left out here; all of it is in {whole} …\n{tail}"


def frame(table: pd.DataFrame, limits: Limits, whole: str) -> Html:
    """Return a table as HTML."""
    numbers = [str(c) for c in table.columns if pd.api.types.is_numeric_dtype(table[c])]
    values = table.head(limits.rows).itertuples(index=False, name=None)
    count = table.attrs.get("rows", len(table))
    return _grid([str(c) for c in table.columns], numbers, values, count, limits, whole)


def _table(output: dict, limits: Limits, whole: str) -> Html:
    """Return the table of an output as HTML, straight from its data, as there are many."""
    held = output["data"][records.MIME]
    fields = [f for f in held["schema"]["fields"] if f["name"] != "index"]
    names = [str(f["name"]) for f in fields]
    numbers = [str(f["name"]) for f in fields if f["type"] in ("integer", "number")]
    values = (
        [_timed(row.get(f["name"]), f["type"]) for f in fields]
        for row in held["data"][: limits.rows]
    )
    return _grid(names, numbers, values, records.length(output), limits, whole)


def _timed(value: object, kind: str) -> object:
    try:
        return datetime.fromisoformat(value) if kind == "datetime" and value else value
    except ValueError:  # it was masked
        return value


def _grid(
    head: list[str],
    numbers: list[str],
    values: Iterable[Iterable],
    count: int,
    limits: Limits,
    whole: str,
) -> Html:
    """Return a table of values; of a long one the first rows, with a word that says so."""
    body = [[_value(v, limits) for v in row] for row in values]
    less = f"{len(body)} of {count} rows; the notebook is {whole}" if count > len(body) else ""
    said = less if body else "no rows"
    return join(rows(head, body, right=numbers), said and el("p", el("small", said)))


def _value(value: object, limits: Limits) -> Html | str:
    said = records.text(value)
    if ID.fullmatch(said):
        return el("span", said, class_="id")
    if isinstance(value, datetime):
        return el("span", said, class_="w")
    if said in ("✓", "✗"):
        return el("span", said, class_="ok" if said == "✓" else "bad")
    return said if len(said) <= limits.cell else f"{said[: limits.cell]}…"
