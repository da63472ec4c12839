"""The registry: all commands and their parameters, for listApis and for checks.

They stand in `api.txt`, which explains their form. A command has a function where it does more
than all of its kind do.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

HEAD = re.compile(r"(\w+)(?:@([\d.]+))?(?:\((2\.2|4\.22)\))? ([a-z-]+)(?: (\w+))?")
LINE = re.compile(
    r"([?~]?)(\w+)(?:=(\w+))? ([a-z]+)(\*(?:2\.2)?)?(?:<(\d+))?(?:@([\d.]+))?"
    r"(?: \((2\.2|4\.22)\))? (\S.*)"
)
SHARED = re.compile(r"(\w+)(?:\((2\.2|4\.22)\))?")
PAGING = ("keyword", "page", "pagesize")


class Param(NamedTuple):
    """A parameter; `required` is "", "*" or "*2.2", `only` its only dialect.

    `use` is "?" if it selects rows by a field, "~" if it changes nothing.
    """

    use: str
    name: str
    value: str  # of all rows, where no field shows it
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
    description: str
    params: dict[str, Param]
    only: str
    since: str
    area: str = ""  # the module of its functions
    run: Callable[..., Any] | None = None
    phases: dict[str, Callable[..., Any]] = field(default_factory=dict)

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
            "security": "securitygroup", "securityrule": "securitygrouprule",
            "publicip": "publicipaddress"}  # fmt: skip


def _read() -> dict[str, Command]:
    text = Path(__file__).with_name("api.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    blocks = re.split(r"\n(?=\S)", "\n".join(lines))
    shared = _command(blocks[0], {}).params
    return {one.name: one for one in (_command(block, shared) for block in blocks[1:])}


def _command(block: str, shared: dict[str, Param]) -> Command:
    head, description, *lines = (line.strip() for line in block.splitlines())
    name, since, only, kind, answers = _parsed(HEAD, head)
    words = [w for line in lines if line[0] == "+" for w in line[1:].split()]
    words += PAGING if kind == "list" else ()
    rows = [_param(line) for line in lines if line[0] != "+"]
    rows += [shared[n]._replace(only=d) for n, d in (_parsed(SHARED, word) for word in words)]
    params = {row.name: row for row in rows}
    if len(params) < len(rows):
        raise ValueError(f"api.txt: {name} has a parameter twice")
    return Command(name, kind, answers, description, params, only, since)


def _param(line: str) -> Param:
    use, name, value, type_, required, length, *rest = _parsed(LINE, line)
    return Param(use, name, value, type_, required, int(length or 255), *rest)


def _parsed(form: re.Pattern[str], text: str) -> tuple[str, ...]:
    found = form.fullmatch(text)
    if not found:
        raise ValueError(f"api.txt: expected {form.pattern}, found {text!r}")
    return found.groups("")


COMMANDS = _read()


def command(name: str) -> Callable[[Callable], Callable]:
    """Register the function that answers a command."""

    def register(run: Callable) -> Callable:
        COMMANDS[name].run = run
        return _of_area(COMMANDS[name], run)

    return register


def phase(name: str, moment: str) -> Callable[[Callable], Callable]:
    """Register a phase of a command's job: "begin", "finish", "after" or "failed"."""

    def register(function: Callable) -> Callable:
        COMMANDS[name].phases[moment] = function
        return _of_area(COMMANDS[name], function)

    return register


def _of_area(one: Command, function: Callable) -> Callable:
    if not isinstance(function, partial):
        one.area = function.__module__.rpartition(".")[2].removesuffix("s")
    return function


@cache
def known(dialect: str) -> dict[str, Command]:
    """Return the commands of a dialect by name."""
    return {n: c for n, c in COMMANDS.items() if c.only in ("", dialect)}


def params_of(one: Command, dialect: str) -> list[Param]:
    """Return the parameters a command has in a dialect."""
    return [p for p in one.params.values() if p.only in ("", dialect)]
