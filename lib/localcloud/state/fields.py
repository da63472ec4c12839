"""Fields: the fields of each kind of object in answers, per dialect, and constant values.

They stand in `fields.txt`, which explains their form.
"""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from .dialects import DIALECTS

# An account's row has limit, total and available of each.
RESOURCES = """vm +ip volume snapshot +backup +backupstorage template +project +network +vpc +cpu
    +memory +gpu +primarystorage +secondarystorage +bucket +objectstorage"""
AMOUNTS = " ".join(f"{r}limit {r}total:long {r}available" for r in RESOURCES.split())
# Resources that this cloud does not have.
EMPTY = """ipforwardingrule iso vmSnapshot vpc
    snapshotpolicy"""


@cache
def table() -> dict[str, str]:
    """Return the words of each kind of object; "" is the kind of an answer with `success`."""
    text = Path(__file__).with_name("fields.txt").read_text("utf-8").replace("\n    ", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = dict(line.split(": ", 1) for line in lines) | {"amounts": AMOUNTS}
    for kind, words in found.items():
        for name in ("owner", "role", "amounts"):
            words = words.replace(f"@{name}", found[name])
        found[kind] = words
    return found | {"": found["success"]} | dict.fromkeys(EMPTY.split(), "id name")


class Field(NamedTuple):
    """A field of an answer; `value` is its constant value, if any."""

    name: str
    type: str
    value: Any


@cache
def fields_of(kind: str, dialect: str) -> tuple[Field, ...]:
    """Return the fields of a kind of object in a dialect."""
    own = DIALECTS[dialect].mark
    words = [w for w in table()[kind].split() if w[0] not in "+-" or w[0] == own]
    return tuple(_field(w.lstrip("+-")) for w in words)


def _field(word: str) -> Field:
    head, _, value = word.partition("=")
    name, _, type_ = head.partition(":")
    read = {"boolean": lambda v: v == "true", "integer": int, "long": int}.get(type_, str)
    return Field(name, type_ or "string", read(value) if value else None)


@cache
def constants_of(kind: str, dialect: str) -> dict[str, Any]:
    """Return the fields that are the same in all objects of a kind."""
    return {f.name: f.value for f in fields_of(kind, dialect) if f.value is not None}


@cache
def names_of(kind: str, dialect: str) -> tuple[str, ...]:
    """Return the names of the fields of a kind of object."""
    return tuple(f.name for f in fields_of(kind, dialect))


def chosen(kind: str, dialect: str, view: dict) -> dict:
    """Return the fields of an object in a dialect, without empty ones."""
    view = constants_of(kind, dialect) | view
    return {n: view[n] for n in names_of(kind, dialect) if view.get(n) is not None}
