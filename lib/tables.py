"""Tables: chosen, typed columns of what the cloud lists, for people and for later reading.

Bytes become GiB, CloudStack's times become timezone-aware timestamps (UTC), ids stay text.
"""

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import pandas as pd

from lib.api.client import Client
from lib.checks import not_allowed
from lib.record import shown
from lib.record.reading import CHANGES, difference
from lib.steps import Id

GIB = {"size", "physicalsize", "virtualsize"}  # bytes in every answer that has them
TIMES = {"created", "completed", "attached", "deployed", "startdate"}
NOTHING = ["none", "", "", "nothing changed"]
NUMBERS = {"cpunumber", "memory", "disksize", "deviceid", "max"}


def table(rows: Iterable[dict], columns: str) -> pd.DataFrame:
    """Return a table of the named columns, one row each, missing numbers and times as NA.

    A size column is called `size GiB`; nested lists such as nic and tags become short text. What
    carries a runbook's tag comes first. A column that looks misspelt is named on a line.
    """
    names = columns.split()
    rows = sorted(rows, key=lambda row: not any(t["key"] == "runbook" for t in _tags(row)))
    _tell_misspelt(names, {field for row in rows for field in row})
    return pd.DataFrame({_title(n): _column(n, [r.get(n) for r in rows]) for n in names})


def listed(cloud: Client, command: str, columns: str, **params: Any) -> pd.DataFrame:
    """Return the table of a list command; it is empty where this account may not call it.

    A line says so then; the other tables of a notebook are still worth showing.
    """
    rows = cloud.list_if_allowed(command, **params)
    if rows is None:
        print(not_allowed(command))
    return table(rows or [], columns)


def changes(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return what is new, changed and gone since `before`; one row says so where nothing is."""
    found = difference(before, after)
    return found if len(found) else pd.DataFrame([NOTHING], columns=CHANGES)


def _tags(row: dict) -> list[dict]:
    return row.get("tags") or []


def _tell_misspelt(names: list[str], fields: set[str]) -> None:
    """Print the nearest fields for names that no row has; rare fields are known by heading."""
    for name in names if fields else []:
        near = get_close_matches(name, fields, 3)
        if near and name not in fields and name not in shown.HEADINGS:
            print(f"No row has a column {name}. Did you mean {' or '.join(near)}?")


def _title(name: str) -> str:
    return f"{name} GiB" if name in GIB else name


def _column(name: str, values: list) -> pd.Series:
    if name in GIB:
        return pd.to_numeric(pd.Series(values, dtype="object"), errors="coerce").div(2**30).round(3)
    if name in TIMES:
        stamps = pd.Series(values, dtype="object")
        return pd.to_datetime(stamps, format="%Y-%m-%dT%H:%M:%S%z", utc=True, errors="coerce")
    if name in NUMBERS:
        return pd.Series(values, dtype="object").astype("Int64")
    return pd.Series(["" if v is None else text(v) for v in values], dtype="str")


def text(value: object) -> str:
    """Return a value of the cloud's, or for it, in short; nics by their address, ids by name."""
    if isinstance(value, list):
        return ", ".join(map(text, value))
    if isinstance(value, dict):
        if "ipaddress" in value:
            return str(value["ipaddress"])
        pairs = [(value["key"], value.get("value"))] if "key" in value else value.items()
        return ", ".join(f"{k}={v}" for k, v in pairs)
    return repr(value) if isinstance(value, Id) else f"{value}"  # `format` keeps secrets to itself


def set_up() -> None:
    """Make tables carry their data beside HTML for people (the Data Resource type of pandas)."""
    pd.set_option("display.html.table_schema", True)
    pd.set_option("display.max_colwidth", None)
    pd.set_option("display.max_rows", 200)
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell:
        shell.display_formatter.formatters["text/html"].for_type(pd.DataFrame, shown.html)
