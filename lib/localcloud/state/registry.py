"""The registry: all commands and their parameters, for listApis and for checks.

A command is registered with one text block: a head, a description, and then a parameter a line:

    name[@since][(dialect)] kind [kind of answer]
        description
        name type[*|*2.2][<length][@since] [(dialect)] description

`*` marks a required parameter, `*2.2` one that only 2.2 requires; a dialect in parentheses
is the only one with it. Kinds: list, sync, async, async-create. Types: string,
uuid, uuids, strings, long, integer, boolean, date, map.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

HEAD = re.compile(r"(\w+)(?:@([\d.]+))?(?:\((2\.2|4\.22)\))? ([a-z-]+)(?: (\w+))?")
LINE = re.compile(
    r"(\w+) ([a-z]+)(\*(?:2\.2)?)?(?:<(\d+))?(?:@([\d.]+))?(?: \((2\.2|4\.22)\))? (\S.*)"
)
PAGING = (
    "keyword string part of a name",
    "page integer number of the page, from 1",
    "pagesize integer rows a page",
)


class Param(NamedTuple):
    """A parameter; `required` is "", "*" or "*2.2", `only` its only dialect."""

    name: str
    type: str
    required: str
    length: int
    since: str
    only: str
    description: str

    def needed(self, dialect: str) -> bool:
        """Return whether a call must have it."""
        return self.required in ("*", f"*{dialect}")


@dataclass
class Command:
    """An API command: `run` answers the call, `phases` are the phases of its job."""

    name: str
    kind: str  # list, sync, async, async-create
    answers: str  # the key of its object, or what kind of job instance it has
    area: str
    description: str
    params: dict[str, Param]
    only: str
    since: str
    run: Callable[..., Any]
    phases: dict[str, Callable[..., Any]] = field(default_factory=dict)
    filters: set[str] = field(default_factory=set)  # parameters that `run` does not see

    @property
    def subject(self) -> str:
        """Return the kind of row that the command's `id` names."""
        if self.answers == "password":
            return "virtualmachine"
        return self.answers or SUBJECTS.get(self.area, self.area)

    @property
    def changes(self) -> bool:
        """Return whether it changes anything."""
        return not re.match(r"(get|list|query)", self.name)


# The kind of row that the commands of a module are about, where they do not answer with it.
SUBJECTS = {"machine": "virtualmachine", "key": "userdata", "affinity": "affinitygroup",
            "security": "securitygroup", "publicip": "publicipaddress"}  # fmt: skip
COMMANDS: dict[str, Command] = {}
PHASES: dict[str, dict[str, Callable[..., Any]]] = {}


def command(block: str) -> Callable[[Callable], Callable]:
    """Register a function for the command in the block."""
    head, description, *lines = (line.strip() for line in block.strip().splitlines())
    found = HEAD.fullmatch(head)
    if not found:
        raise ValueError(f"not the head of a command: {head!r}")
    name, since, only, kind, answers = found.groups("")
    rows = [_param(line) for line in (*lines, *(PAGING if kind == "list" else ()))]
    params = {row.name: row for row in rows}

    def register(run: Callable) -> Callable:
        area = run.__module__.rpartition(".")[2].removesuffix("s")
        phases = PHASES.setdefault(name, {})
        head = (name, kind, answers, area, description)
        COMMANDS[name] = Command(*head, params, only, since, run, phases)
        return run

    return register


def add_params(command: str, lines: list[str], *, filters: bool = False) -> None:
    """Give a registered command more parameters, a line each.

    `filters` are compared with the rows of the answer, after the command ran.
    """
    one = COMMANDS[command]
    for row in map(_param, lines):
        if row.name in one.params:
            raise ValueError(f"{command} has {row.name} already")
        one.params[row.name] = row
        if filters:
            one.filters.add(row.name)


def phase(name: str, moment: str) -> Callable[[Callable], Callable]:
    """Register a phase of a command's job: "begin", "finish", "after" or "failed"."""

    def register(function: Callable) -> Callable:
        PHASES.setdefault(name, {})[moment] = function
        return function

    return register


def _param(line: str) -> Param:
    found = LINE.fullmatch(line)
    if not found:
        raise ValueError(f"not a parameter line: {line!r}")
    name, type_, required, length, since, only, description = found.groups("")
    return Param(name, type_, required, int(length or 255), since, only, description)


@cache
def known(dialect: str) -> dict[str, Command]:
    """Return the commands of a dialect by name; all must be registered by then."""
    return {n: c for n, c in COMMANDS.items() if c.only in ("", dialect)}


def params_of(one: Command, dialect: str) -> list[Param]:
    """Return the parameters a command has in a dialect."""
    return [p for p in one.params.values() if p.only in ("", dialect)]
