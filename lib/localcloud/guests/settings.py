"""Settings of a unit's etcd: the variables and arguments that systemd gives its program.

Programs are not run. An environment file exists if it was written, or if a running unit or its
program names it; the text of that unit or program then stands for the content of the file, and a
variable in it for the machine's own address, which such programs find.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

DROP_IN = re.compile(r"/(?:etc|run)/systemd/system/([^/]+)\.d/([^/]+\.conf)")
VARIABLE = re.compile(r"\$+\{?\w+\}?|%+s")  # as a shell or printf write one
ASSIGNED = re.compile(r"(?:\b|\\n)([A-Z][A-Z0-9_]*)=([^\s\"'\\]*)")


class Unit(NamedTuple):
    """A unit of a configuration; the text is empty for one that the image has."""

    started: bool
    text: str


class Settings(NamedTuple):
    """The variables and arguments of a program, and the lines of what runs before it."""

    variables: dict[str, str]
    arguments: list[str]
    before: str = ""

    def get(self, key: str) -> str | None:
        """Return a setting of etcd: an argument, else a variable; None for an empty one."""
        name = key.upper().replace("-", "_")
        return self.flags().get(key) or self.variables.get(f"ETCD_{name}") or None

    def flags(self) -> dict[str, str]:
        """Return the arguments by name; one without a value is "true".

        >>> Settings({}, ["--name=a", "-x", "--data-dir", "b"]).flags()
        {'name': 'a', 'x': 'true', 'data-dir': 'b'}
        """
        found, rest = {}, list(self.arguments)
        while rest:
            name, sign, value = rest.pop(0).lstrip("-").partition("=")
            follows = not sign and rest and not rest[0].startswith("-")
            found[name] = value if sign else rest.pop(0) if follows else "true"
        return found


def read(
    name: str, units: dict[str, Unit], files: dict[str, str], machine: tuple[str, str]
) -> Settings:
    """Return the settings of a unit on a machine of that id and address.

    Raises FileNotFoundError without a required environment file.
    """
    id, address = machine
    text = "\n".join([units[name].text, *_drop_ins(name, files)])
    variables = {}
    for line in re.findall(r"(?m)^Environment=(.*)$", text):
        pairs = (_specified(word, id).partition("=") for word in _words(line))
        variables |= {key: value for key, sign, value in pairs if sign}
    for optional, path in re.findall(r"(?m)^EnvironmentFile=(-?)(/\S+)", text):
        found = [files[path]] if path in files else [*_makers(path, name, text, units, files)]
        if not found and not optional:
            raise FileNotFoundError(path)
        for key, value in ASSIGNED.findall("\n".join(found)):
            # What a stream editor puts there is an address, too.
            variables[key] = VARIABLE.sub(address, value) if value.strip("/|#,") else address
    lines = re.findall(r"(?m)^ExecStart=(.*)$", re.sub(r"\\\n\s*", " ", text))
    _, *words = _words(lines[-1] if lines else "") or ["", "$ETCD_OPTS"]
    before = "\n".join(re.findall(r"(?m)^ExecStartPre=(.*)$", text))
    arguments = [p for w in words for p in _expanded(_specified(w, id), variables)]
    return Settings(variables, arguments, before)


def _drop_ins(name: str, files: dict[str, str]) -> list[str]:
    """Return the texts of a unit's drop-ins, in the order of their names; those in /etc win."""
    found = {}
    for path in sorted(files, reverse=True):
        match = DROP_IN.fullmatch(path)
        if match and match[1] == name:
            found[match[2]] = files[path]
    return [found[file] for file in sorted(found)]


def _words(line: str) -> list[str]:
    """Return the words of a line, none if its quotes do not match: systemd ignores such a line."""
    try:
        return shlex.split(line)
    except ValueError:
        return []


def _specified(word: str, id: str) -> str:
    """Fill in systemd's %m, the machine's id."""
    return re.sub("%(.)", lambda m: {"m": id, "%": "%"}.get(m[1], m[0]), word)


def _expanded(word: str, variables: dict[str, str]) -> list[str]:
    """Expand a word: `$X` becomes the words of its value, `${X}` stays one word."""
    if alone := re.fullmatch(r"\$(\w+)", word):
        return variables.get(alone[1], "").split()
    return [re.sub(r"\$\{(\w+)\}", lambda m: variables.get(m[1], ""), word)]


def _makers(
    path: str, name: str, text: str, units: dict[str, Unit], files: dict[str, str]
) -> Iterator[str]:
    """Yield the texts that name a file, of units that run before this one and their programs."""
    wanted = " ".join(re.findall(r"(?m)^(?:Requires|Wants|BindsTo)=(.*)$", text)).split()
    for other, unit in units.items():
        if other != name and (unit.started or other in wanted):
            words = " ".join(re.findall(r"(?m)^ExecStart\w*=(.*)$", unit.text)).split()
            texts = (unit.text, *(files[word] for word in words if word in files))
            yield from (one for one in texts if path in one)
