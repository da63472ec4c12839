"""Splits an executed notebook into pieces for the report's template."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import mistune
import pandas as pd
from markupsafe import Markup

from lib.errors import TRACE
from lib.record import reading
from lib.report.attempts import Attempt
from lib.report.console import plain
from lib.waiting import STEP, WAIT


@dataclass(frozen=True)
class Piece:
    """A piece to draw: prose, code, table, text, error, step or note, with a short note on it."""

    kind: str
    content: object
    note: str = ""
    tone: str = ""


class _Prose(mistune.HTMLRenderer):
    """Markdown without links and images, its headings below the page's own."""

    def heading(self, text: str, level: int, **_: object) -> str:
        return f"<h{min(level + 1, 6)}>{text}</h{min(level + 1, 6)}>\n"

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return text

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return text


_MARKDOWN = mistune.create_markdown(renderer=_Prose(escape=True), plugins=["table"])


def title(notebook: dict) -> str:
    """Return the notebook's first heading, "" if it does not begin with one."""
    first = "".join(notebook["cells"][0].get("source", "")) if notebook.get("cells") else ""
    return first.splitlines()[0].lstrip("# ") if first.startswith("#") else ""


def pieces(attempt: Attempt) -> list[Piece]:
    """Return the pieces of all cells of an attempt's notebook."""
    tables = iter(attempt.tables)
    cells = attempt.book.get("cells", [])
    return [p for cell in cells for p in _cell(cell, attempt.cells, tables)]


def _cell(cell: dict, ends: dict[str, dict], tables: Iterator[pd.DataFrame]) -> Iterator[Piece]:
    source, metadata = "".join(cell.get("source", "")), cell.get("metadata", {})
    if cell["cell_type"] == "markdown":
        text = plain(re.sub(r"\A# .*", "", source))
        yield Piece("prose", Markup(_MARKDOWN(text)))
    if cell["cell_type"] != "code":
        return
    if "parameters" not in metadata.get("tags", []):
        ended = metadata.get("runbook", {}) | ends.get(cell.get("id", ""), {})
        yield Piece("code", source, *_end(cell, ended))
    for output in _merged(cell.get("outputs", [])):
        yield table(next(tables)) if reading.is_table(output) else _output(output)


def _end(cell: dict, ended: dict) -> tuple[str, str]:
    """Return a note on the end of a cell and its tone; "" for a quick success."""
    cause, seconds = ended.get("cause", ""), ended.get("seconds", 0)
    ran = cell.get("execution_count") is not None or cell.get("outputs")
    if cause in ("", "not-run") and not ran:
        return "not run", "warn"
    if cause not in ("", "ok"):
        return cause, "bad"
    return (f"{seconds:.1f} s", "") if seconds >= 0.5 else ("", "")


def _merged(outputs: list[dict]) -> list[dict]:
    """Join the successive stream outputs of a cell, and an error with its folded traceback."""
    merged: list[dict] = []
    for output in outputs:
        if output["output_type"] == "stream" == (merged[-1] if merged else {}).get("output_type"):
            text = "".join(merged[-1]["text"]) + "".join(output["text"])
            merged[-1] = merged[-1] | {"text": text}
        elif TRACE in output.get("data", {}) and merged:
            merged[-1] = merged[-1] | {"traceback": [plain("".join(output["data"]["text/plain"]))]}
        else:
            merged.append(output)
    return merged


def _output(output: dict) -> Piece:
    data = output.get("data", {})
    text = "".join(output.get("text") or data.get("text/plain", ""))
    if output["output_type"] == "error":
        error = f"{output.get('ename', '')}: {output.get('evalue', '')}"
        return Piece("error", error, "\n".join(output.get("traceback", [])))
    if STEP in data:
        return Piece("step", text, tone="ok" if data[STEP].get("outcome") == "done" else "bad")
    if WAIT in data:
        return Piece("note", text)
    if any(kind.startswith("image/") for kind in data):
        return Piece("note", "(an image; the notebook holds it)")
    return Piece("text", _redrawn(text).strip("\n"))


def _redrawn(text: str) -> str:
    """Return a text as a terminal shows it: a carriage return replaces the line before it."""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def table(frame: pd.DataFrame) -> Piece:
    """Return a table to draw, with a named index as columns."""
    return Piece("table", frame.reset_index() if any(frame.index.names) else frame)
