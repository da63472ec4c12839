"""Converts the parameters of a request to the values of a command, or refuses them."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from ..state.dialects import Dialect
from ..state.refusals import ApiError, invalid, param
from ..state.registry import Command, Param, params_of
from ..state.rows import State
from . import unbuilt

# CloudStack refuses control characters other than line ends in any value.
UNPRINTABLE = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]")
MAP_FORM = (
    "if specifying an object array, please use parameter[index].field=XXX, "
    "e.g. userGroupList[0].group=httpGroup"
)
MAP = re.compile(r"(\w+)\[(\d+)\]\.(\w+)")
DATES = ("%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d")

# The kind of row an id parameter names, where its own name does not say so.
KINDS = {"groupid": "instancegroup", "associatednetworkid": "network"}
KINDS |= {"sourcezoneid": "zone", "destzoneid": "zone", "ipaddressid": "publicipaddress"}


def read(state: State, dialect: Dialect, command: Command, given: dict[str, str]) -> dict:
    """Return the values a command takes from the parameters given.

    Parameters unknown to CloudStack are ignored. Raises ApiError with CloudStack's text (430, 431),
    or with ours for a parameter that only CloudStack has.
    """
    texts = fold({_lower(name): value for name, value in given.items()})
    unbuilt.check(dialect.name, command, texts)
    reader = Reader(state, dialect, command)
    rows = params_of(command, dialect.name)
    found = {p.name: reader.value(p, texts.get(p.name)) for p in rows}
    return {p.name: found[p.name] for p in rows if p.use != "~" and found[p.name] is not None}


def _lower(name: str) -> str:
    """Return a parameter's name in lower case; the field of a map keeps its own."""
    head, dot, field = name.partition(".")
    return head.lower() + dot + field


def check_characters(given: dict[str, str]) -> None:
    """Refuse values that hold control characters."""
    for name, value in given.items():
        if UNPRINTABLE.search(value):
            text = "Received value containing illegal ASCII non-printable characters for parameter"
            raise ApiError(431, f"{text} {name}", 9999)


def fold(given: dict[str, str]) -> dict[str, Any]:
    """Gather `name[0].field=value` parameters into lists of dicts under their name.

    >>> fold({"tags[0].key": "a", "tags[0].value": "b"})
    {'tags': [{'key': 'a', 'value': 'b'}]}
    """
    if not any("[" in name for name in given):
        return given
    plain: dict[str, Any] = {}
    maps: dict[str, dict[int, dict[str, str]]] = {}
    for name, value in given.items():
        found = MAP.fullmatch(name)
        if found:
            maps.setdefault(found[1], {}).setdefault(int(found[2]), {})[found[3]] = value
        elif "[" in name:
            raise ApiError(430, f"Unable to decode parameter {name}; {MAP_FORM}", 9999)
        else:
            plain[name] = value
    return plain | {name: [rows[i] for i in sorted(rows)] for name, rows in maps.items()}


def kind_of(command: Command, name: str) -> str:
    """Return the kind of row that an id parameter of a command names."""
    one = name.removesuffix("s")
    own = one in ("id", f"{command.subject.lower()}id")
    return command.subject if own else KINDS.get(one, one.removesuffix("id"))


class Reader:
    """Reads the parameters of one call."""

    def __init__(self, state: State, dialect: Dialect, command: Command):
        self.state, self.dialect, self.command = state, dialect, command

    def value(self, p: Param, text: Any) -> Any:
        """Return one parameter's value, None if it is not given."""
        needed = p.needed(self.dialect.name)
        if text is None:
            if needed:
                raise self.refusal(f"missing parameter {p.name}")
            return None
        if text == "" and needed:
            raise self.refusal(f"invalid value. Invalid value provided for API arg: {p.name}")
        if isinstance(text, list) != (p.type == "map"):
            raise self.refusal(f"invalid value {text} for parameter {p.name}")
        if p.type == "string" and len(text) > p.length:
            raise invalid(f"Value greater than max allowed length {p.length} for param: {p.name}")
        return READ[p.type](self, p, text)

    def refusal(self, why: str) -> ApiError:
        """Return the refusal of a parameter of this call."""
        return param(self.command.name, why)

    def number(self, p: Param, text: str) -> int | None:
        """Return a whole number, None for an empty text."""
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise self.refusal(f"invalid value {text} for parameter {p.name}") from None

    def ident(self, p: Param, text: str) -> Any:
        """Return an id; on 4.22 it must exist or have existed, or be an internal number."""
        kind = kind_of(self.command, p.name)
        if not text or text == "-1" or self.dialect.numeric_ids:
            return self.number(p, text)
        if text.isdecimal() and not p.since:
            row = self.state.by_number(kind, int(text))
            return row["id"] if row else text
        if self.state.get(kind, text) or self.state.was_removed(kind, text):
            return text
        raise self.refusal(
            f"invalid value. Invalid parameter {p.name} value={text} due to incorrect long value "
            "format, or entity does not exist or due to incorrect parameter annotation for the "
            "field in api cmd class."
        )

    def idents(self, p: Param, text: str) -> list:
        """Return several ids."""
        return [self.ident(p, one) for one in words(text)]

    def date(self, p: Param, text: str) -> float:
        """Return a time as seconds since 1970."""
        for form in DATES:
            try:
                at = datetime.strptime(text, form)
            except ValueError:
                continue
            return (at if at.tzinfo else at.replace(tzinfo=self.dialect.time_zone)).timestamp()
        raise self.refusal(f"invalid value {text} for parameter {p.name}")


def words(text: str) -> list[str]:
    """Return the items of a list parameter; empty ones are passed over."""
    return [word.strip() for word in text.split(",") if word.strip()]


READ: dict[str, Callable[[Reader, Param, Any], Any]] = {
    "string": lambda _, p, text: text,
    "boolean": lambda _, p, text: text.lower() == "true",
    "integer": Reader.number,
    "long": Reader.number,
    "uuid": Reader.ident,
    "uuids": Reader.idents,
    "strings": lambda _, p, text: words(text),
    "date": Reader.date,
    "map": lambda _, p, rows: rows,
}
