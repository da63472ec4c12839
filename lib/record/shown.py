"""Tables as notebooks show them: headings that people know, text to the left, times as here.

A table of many rows sorts by the column that is clicked, in a notebook that is trusted.
"""

from datetime import datetime
from html import escape
from typing import NamedTuple

import pandas as pd

from lib.record import reading
from lib.record.headings import HEADINGS, local

# Behind a cell that begins with a sign, so that a table of answers reads as a map, in any theme.
TINTS = {
    "✓": "rgba(46,158,91,.2)",
    "✗": "rgba(217,54,62,.3)",
    "…": "rgba(208,138,0,.25)",
    "-": "rgba(128,128,128,.15)",
    "new": "rgba(46,158,91,.2)",
    "gone": "rgba(217,54,62,.3)",
}
LONG = 48  # characters that a cell may have before it may break
MANY = 20  # rows from which on a table sorts
SORT = (
    "const h=event.target.closest('th');if(!h)return;"
    "const d=h.dataset.d=h.dataset.d==1?-1:1,k=r=>r.cells[h.cellIndex].textContent;"
    "const b=this.tBodies[0];"
    "[...b.rows].sort((p,q)=>d*(k(p)-k(q)||k(p).localeCompare(k(q)))).forEach(r=>b.append(r))"
)


class Shown(NamedTuple):
    """A thing to show in a notebook, for people and as plain text."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def row(*cells: str) -> str:
    """Return a row of a table with cells of HTML, their text to the left."""
    return f"<tr>{''.join(f'<td style=text-align:left>{cell}</td>' for cell in cells)}</tr>"


def rect(place: tuple[float, float, float, float], colour: str, title: str) -> str:
    """Return a rectangle of SVG at (x, y, width, height), with a text on hover."""
    x, y, width, height = (f"{pixels:.4g}" for pixels in place)
    at = f'x="{x}" y="{y}" width="{width}" height="{height}"'
    return f'<rect {at} fill="{colour}"><title>{escape(title)}</title></rect>'


def html(frame: pd.DataFrame) -> str:
    """Return a table as HTML: the rows that `display.max_rows` allows, without a mere count."""
    counted = frame.index.name is None and frame.index.inferred_type == "integer"
    shown = frame if counted or frame.empty else frame.reset_index()
    rows = shown.head(pd.get_option("display.max_rows"))
    right = [pd.api.types.is_numeric_dtype(kind) for kind in shown.dtypes]
    right = [r and kind != "bool" for r, kind in zip(right, shown.dtypes, strict=True)]
    many = len(rows) > MANY
    heads = "".join(_head(str(name), r, many) for name, r in zip(shown, right, strict=True))
    body = "".join(
        f"<tr>{''.join(map(_cell, row, right))}</tr>"
        for row in rows.itertuples(index=False, name=None)
    )
    left = len(shown) - len(rows)
    note = f"<p>{left} more rows are not shown.</p>" if left else ""
    note = note or ("" if len(shown) else "<p>no rows</p>")
    sort = f' onclick="{escape(SORT)}"' if many else ""
    return f"<table{sort}><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>{note}"


def _head(name: str, right: bool, many: bool) -> str:
    word = HEADINGS.get(name, name)
    title = "; ".join(filter(None, [name if word != name else "", "click to sort" * many]))
    style = f"text-align:{'right' if right else 'left'}" + ";cursor:pointer" * many
    return f'<th style="{style}" title="{escape(title)}">{escape(word)}</th>'


def _cell(value: object, right: bool) -> str:
    raw, text = reading.text(value), local(value)
    title = f' title="{escape(raw)}"' if isinstance(value, datetime) and raw else ""
    style = f"text-align:{'right' if right else 'left'};"
    style += "white-space:nowrap" if len(text) <= LONG else "min-width:24em;overflow-wrap:anywhere"
    tint = TINTS.get(text.partition(" ")[0])
    style += f";background:{tint}" if tint else ""
    return f'<td style="{style}"{title}>{escape(text)}</td>'
