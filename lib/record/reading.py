"""Loads the tables of executed notebooks with their types, and compares two tables.

A notebook of this project holds each table's data beside its HTML, in the Data Resource form of
pandas. Reading it needs neither a cloud nor the notebook's code.
"""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pandas as pd

from lib.record.cells import headings

CHANGES = ["change", "name", "id", "details"]  # the columns of a difference
MIME = "application/vnd.dataresource+json"
_SHAPE = re.compile(r"\[(\d+) rows x \d+ columns\]\s*\Z")


def tables(notebook: Path | str | dict) -> dict[str, pd.DataFrame]:
    """Return the tables of an executed notebook (its path or its content) by the id of their cell.

    The second table of a cell is `<id>.2`. `attrs` of a table has `cell` and `heading`, and `rows`,
    the full number of rows, where pandas cut it short. Times are timezone-aware, ids are text.
    """
    if not isinstance(notebook, dict):
        notebook = json.loads(Path(notebook).read_text("utf-8"))
    found: dict[str, pd.DataFrame] = {}
    for number, (cell, heading, output) in enumerate(outputs(notebook)):
        if not is_table(output):
            continue
        name = cell.get("id") or f"cell-{number}"
        taken = sum(key.partition(".")[0] == name for key in found)
        frame = table(output)
        frame.attrs |= {"cell": name, "heading": heading}
        found[f"{name}.{taken + 1}" if taken else name] = frame
    return found


def outputs(notebook: dict) -> Iterator[tuple[dict, str, dict]]:
    """Yield each cell, its heading, and one of its outputs."""
    cells = notebook["cells"]
    for cell, heading in zip(cells, headings(cells), strict=True):
        for output in cell.get("outputs", []):
            yield cell, heading, output


def is_table(output: dict) -> bool:
    """Return whether an output holds the data of a table."""
    held = output.get("data", {}).get(MIME)
    return isinstance(held, dict) and {"schema", "data"} <= held.keys()


def table(output: dict) -> pd.DataFrame:
    """Return the table in an output."""
    held = output["data"][MIME]
    fields, keys = held["schema"]["fields"], held["schema"].get("primaryKey", [])
    frame = pd.DataFrame(
        {f["name"]: _column(f, [row.get(f["name"]) for row in held["data"]]) for f in fields}
    )
    if keys == ["index"]:
        frame = frame.set_index("index").rename_axis(None)
        if list(frame.index) == list(range(len(frame))):
            frame = frame.reset_index(drop=True)
    elif keys:
        frame = frame.set_index(keys)
    count = length(output)
    frame.attrs = {"rows": count} if count > len(frame) else {}
    return frame


def length(output: dict) -> int:
    """Return the full number of rows; the output may hold only the first of them."""
    cut = _SHAPE.search("".join(output["data"].get("text/plain", "")))
    return max(int(cut[1]) if cut else 0, len(output["data"][MIME]["data"]))


def _column(field: dict, values: list) -> pd.Series:
    """Return a column with the type of its field; missing values are NA.

    Where the record masks a value, the column stays untyped.
    """
    try:
        return _typed(field, values)
    except (TypeError, ValueError):
        return pd.Series(values, dtype="object")


def _typed(field: dict, values: list) -> pd.Series:
    plain, kind = pd.Series(values, dtype="object"), field["type"]
    if kind == "datetime":
        times = pd.to_datetime(plain, utc=True)
        zone = field.get("tz")
        return times.dt.tz_convert(zone) if zone else times.dt.tz_localize(None)
    if kind == "duration":
        return pd.to_timedelta(plain)
    if kind == "string":
        return plain.astype("str")
    if kind == "any" and "constraints" in field:
        order = bool(field.get("ordered"))
        return pd.Series(pd.Categorical(values, field["constraints"]["enum"], ordered=order))
    whole = plain.notna().all()
    types = {"integer": "int64", "number": "float64", "boolean": "bool"}
    nullable = {"integer": "Int64", "number": "float64", "boolean": "boolean"}
    named = field.get("extDtype") if kind in types else None
    return plain.astype(named or (types if whole else nullable).get(kind, "object"))


def difference(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return the new, changed and gone rows between two tables of the same columns.

    Rows are the same resource if their `id` is equal, or their first column where there is no id.
    The columns are CHANGES; details has the fields of a new row, or `field: was → is`.
    """
    was, now = _rows(before), _rows(after)
    rows = [_change("new", now[k], _fields(now[k])) for k in now if k not in was]
    rows += [
        _change("changed", now[k], _changed_fields(was[k], now[k]))
        for k in now
        if k in was and was[k] != now[k]
    ]
    rows += [_change("gone", was[k], _fields(was[k])) for k in was if k not in now]
    return pd.DataFrame(rows, columns=CHANGES, dtype="str")


def _rows(frame: pd.DataFrame) -> dict[tuple, dict[str, str]]:
    """Return the rows as texts by their key, and a number where keys are equal."""
    key = "id" if "id" in frame.columns else next(iter(frame.columns), "")
    found: dict[tuple, dict[str, str]] = {}
    for row in frame.to_dict("records"):
        texts = {str(column): text(value) for column, value in row.items()}
        number = 0
        while (texts[key], number) in found:
            number += 1
        found[texts[key], number] = texts
    return found


def text(value: object) -> str:
    """Return a cell's value as a person would write it, "" for a missing one.

    >>> text(40.0), text(pd.Timestamp("2026-01-02T03:04:05Z")), text(None)
    ('40', '2026-01-02 03:04:05 UTC', '')
    """
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} {value.tzname() or ''}".strip()
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _change(change: str, row: dict[str, str], details: str) -> dict[str, str]:
    name = row[_name_column(row)] if row else ""
    return {"change": change, "name": name, "id": row.get("id", ""), "details": details}


def _name_column(row: dict[str, str]) -> str:
    """Return the column that names a row: `name`, or the first one."""
    return "name" if row.get("name") else next(iter(row))


def _fields(row: dict[str, str]) -> str:
    hidden = ("id", _name_column(row))
    return ", ".join(f"{k} {v}" for k, v in row.items() if v and k not in hidden)


def _changed_fields(was: dict[str, str], now: dict[str, str]) -> str:
    return "; ".join(
        f"{k}: {was.get(k) or 'none'} → {now[k] or 'none'}" for k in now if was.get(k) != now[k]
    )
