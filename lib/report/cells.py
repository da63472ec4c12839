"""Splits an executed notebook into blocks for the report's template."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from math import inf

import mistune
import pandas as pd
from markupsafe import Markup

from lib.errors import TRACE
from lib.record import reading
from lib.report.attempts import Attempt
from lib.report.console import plain
from lib.report.grouping import first_and_last
from lib.waiting import STEP, WAIT

BESIDE = 4  # lines of output that always stand beside the code, however short it is
_PARAMETERS = {"parameters", "injected-parameters"}  # tags; the report lists all values once
_UNFILLED = re.compile(r"^\*Operation note:\* who, why, ticket\.$", re.M)


@dataclass(frozen=True)
class Piece:
    """An output to draw: a table, text, error, step or note, with a short note on it."""

    kind: str
    content: object
    note: str = ""
    tone: str = ""


@dataclass
class Block:
    """What stands under a heading of a notebook: prose, the code of its cells, and outputs.

    `ended` says how the code ended, "" for well, and `seconds` how long it took.
    """

    heading: str
    prose: Markup
    code: str = ""
    ended: str = ""
    seconds: float = 0.0
    outputs: list[Piece] = field(default_factory=list)

    @property
    def short(self) -> list[Piece]:
        """Return the first outputs, of short lines, where they have room beside the code."""
        first = list(takewhile(lambda piece: _lines(piece) < inf, self.outputs))
        room = self.code.count("\n") - len(self.prose.striptags()) // 62
        return first if sum(map(_lines, first)) <= max(room, BESIDE) else []

    @property
    def long(self) -> list[Piece]:
        """Return the other outputs."""
        return self.outputs[len(self.short) :]


class _Prose(mistune.HTMLRenderer):
    """Markdown without links and images, its headings below the page's own."""

    def heading(self, text: str, level: int, **_: object) -> str:
        return f"<h{min(level + 2, 6)}>{text}</h{min(level + 2, 6)}>\n"

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return text

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return text


_MARKDOWN = mistune.create_markdown(renderer=_Prose(escape=True), plugins=["table"])


def title(notebook: dict) -> str:
    """Return the notebook's first heading, "" if it does not begin with one."""
    first = "".join(notebook["cells"][0].get("source", "")) if notebook.get("cells") else ""
    return first.splitlines()[0].lstrip("# ") if first.startswith("#") else ""


def blocks(attempt: Attempt) -> list[Block]:
    """Return the blocks of an attempt's notebook, without parameter cells and empty ones."""
    tables, found = iter(attempt.tables), [Block("", Markup())]
    for cell in attempt.book.get("cells", []):
        source, metadata = "".join(cell.get("source", "")), cell.get("metadata", {})
        if cell["cell_type"] == "markdown":
            found.append(_prose(plain(source)))
        if cell["cell_type"] != "code":
            continue
        outputs = _pieces(cell.get("outputs", []), tables)
        code = "" if _PARAMETERS & {*metadata.get("tags", [])} else source
        ended = metadata.get("runbook", {}) | attempt.cells.get(cell.get("id", ""), {})
        cause, seconds = _end(cell, ended) if code else ("", 0.0)
        if found[-1].code and code and (found[-1].ended or cause):  # what failed stands by itself
            found.append(Block("", Markup()))
        last = found[-1]
        last.code = "\n\n".join(filter(None, [last.code, plain(code)]))
        last.ended, last.seconds = last.ended or cause, last.seconds + seconds
        last.outputs += outputs
    return [b for b in found if b.prose or b.code or b.outputs]


def _prose(source: str) -> Block:
    """Return a block with the prose of a cell; a heading that begins it is taken apart."""
    heading = re.match(r"#+ *(.*)\n*", source)
    text = source[heading.end() :] if heading else source
    named = heading[1] if heading and heading[0].startswith("##") else ""
    return Block(named, Markup(_MARKDOWN(_UNFILLED.sub("", text)).strip()))


def _end(cell: dict, ended: dict) -> tuple[str, float]:
    """Return how a cell ended, "" for well, and its seconds."""
    cause, seconds = ended.get("cause", ""), float(ended.get("seconds") or 0)
    ran = cell.get("execution_count") is not None or cell.get("outputs")
    if cause in ("", "not-run") and not ran:
        return "not run", 0.0
    return ("" if cause == "ok" else cause), seconds


def _pieces(outputs: list[dict], tables: Iterator[pd.DataFrame]) -> list[Piece]:
    """Return the outputs of a cell; waits that ended are left out, as the timeline has them."""
    found = [
        table(next(tables)) if reading.is_table(output) else _output(output)
        for output in _merged(outputs)
    ]
    shown = [piece for piece in found if piece.kind != "waited"]
    rows = first_and_last(shown, lambda p: p.note if p.kind == "step" else None)
    return [p if more is None else Piece("note", f"… {more} more …") for p, more in rows]


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
        done = data[STEP].get("outcome") == "done"
        return Piece(
            "step", text, data[STEP].get("command", "") if done else "", "ok" if done else "bad"
        )
    if WAIT in data:
        return Piece("note" if data[WAIT].get("waiting") else "waited", text)
    if any(kind.startswith("image/") for kind in data):
        return Piece("note", "(an image; the notebook holds it)")
    return Piece("text", _redrawn(text).strip("\n"))


def _redrawn(text: str) -> str:
    """Return a text as a terminal shows it: a carriage return replaces the line before it."""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def table(frame: pd.DataFrame) -> Piece:
    """Return a table to draw, with a named index as columns."""
    return Piece("table", frame.reset_index() if any(frame.index.names) else frame)


def _lines(piece: Piece) -> float:
    """Return about how many lines an output takes beside the code, inf where it needs more room."""
    lines = sum(1 + len(line) // 52 for line in str(piece.content).splitlines())
    return lines if piece.kind in ("step", "note") or (piece.kind == "text" and lines <= 4) else inf
