"""Settings of a unit, from the places that systemd reads, in its order of precedence.

Programs are not run. An environment file exists if it was written, or if a running unit or its
program names it; the text of that unit or program then stands for the content of the file.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

CLOUDINIT = "20-cloudinit.conf"  # the drop-in that coreos-cloudinit makes of a section
VARIABLE = re.compile(r"\$+\{?(\w+)\}?|%+s")  # as a shell, systemd or printf write one
ASSIGNED = re.compile(r"(?:\b|\\n)([A-Z][A-Z0-9_]*)=([^\s\"'\\]*)")


class Settings(NamedTuple):
    """The sources of a unit's settings, in the order in which systemd reads them."""

    before: str  # drop-ins whose names sort before coreos-cloudinit's
    section: dict[str, str]
    own: str  # the unit with its other drop-ins
    files: str  # its environment files

    def get(self, key: str, address: str) -> str | None:
        """Return a setting: an argument, else the last variable; environment files win.

        A variable of a program in an address or a name counts as the machine's own `address`.
        """
        flag, name = f"--{key.replace('_', '-')}[= ]", rf"(?:\b|\\n)ETCD_{key.upper()}="
        values = [_last(flag, self.own), _last(name, self.files), _last(name, self.own)]
        values += [self.section.get(key), _last(name, self.before)]
        value = next((v for v in values if v), None)
        if value and ("addr" in key or "urls" in key or key == "name"):
            return VARIABLE.sub(lambda m: "" if m[0].endswith("_ipv4") else address, value)
        return value

    def variables(self, address: str) -> dict[str, str]:
        """Return the variables of the unit; environment files win.

        The machine's own `address` stands for values that programs, not run here, would find.
        """
        found = {f"ETCD_{k.upper()}": v for k, v in self.section.items()}
        for line in re.findall(r"(?m)^Environment=(.*)$", f"{self.before}\n{self.own}"):
            pairs = (word.partition("=") for word in shlex.split(line))
            found |= {name: value for name, sign, value in pairs if sign}
        for name, value in ASSIGNED.findall(self.files):
            found[name] = VARIABLE.sub(address, value) if value.strip("/|#,") else address
        return found

    def arguments(self, address: str, machine: str) -> list[str]:
        """Return the arguments of the unit's program, expanded like systemd; %m is `machine`."""
        joined = re.sub(r"\\\n\s*", " ", f"{self.before}\n{self.own}")
        lines = re.findall(r"(?m)^ExecStart=(.*)$", joined)
        _, *words = shlex.split(lines[-1] if lines else "") or ["", "$ETCD_OPTS"]
        known = {"m": machine, "%": "%"}
        words = [re.sub("%(.)", lambda m: known.get(m[1], m[0]), word) for word in words]
        told = self.variables(address)
        return [part for word in words for part in _expanded(word, told)]


def _expanded(word: str, told: dict[str, str]) -> list[str]:
    """Expand a word: `$X` becomes the words of its value, `${X}` stays one word."""
    if alone := re.fullmatch(r"\$(\w+)", word):
        return told.get(alone[1], "").split()
    return [re.sub(r"\$\{(\w+)\}", lambda m: told.get(m[1], ""), word)]


def _last(name: str, text: str) -> str | None:
    found = re.findall(rf"{name}[\"']?([^\s\"'\\]+)", text)
    return found[-1] if found else None


def read(name: str, units: dict[str, dict], files: dict[str, str], section: dict) -> Settings:
    """Return the settings of a unit. FileNotFoundError without a required environment file."""
    drop_ins = sorted(_drop_ins(name, files))
    before = "\n".join(text for file, text in drop_ins if file < CLOUDINIT)
    own = "\n".join([units[name]["text"], *(t for file, t in drop_ins if file >= CLOUDINIT)])
    others = {n: u for n, u in units.items() if n != name and u["own"]}
    running = [u["text"] for n, u in others.items() if u["started"] or _wants(own + before, n)]
    made = []
    for optional, path in re.findall(r"(?m)^EnvironmentFile=(-?)(/\S+)", f"{before}\n{own}"):
        found = [files[path]] if path in files else list(_makers(path, running, files))
        if not found and not optional:
            raise FileNotFoundError(path)
        made += found
    values = {k: str(v) for k, v in section.items() if v is not None}
    return Settings(before, values, own, "\n".join(made))


def _drop_ins(name: str, files: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield name and text of the drop-ins that were written as files."""
    folder = re.compile(rf"/(?:etc|run)/systemd/system/{re.escape(name)}\.d/([^/]+\.conf)")
    for path, text in files.items():
        if found := folder.fullmatch(path):
            yield found[1], text


def _wants(text: str, other: str) -> bool:
    """Return whether a unit has another one started before it."""
    lines = re.findall(r"(?m)^(?:Requires|Wants|BindsTo)=(.*)$", text)
    return any(other in line.split() for line in lines)


def _makers(path: str, running: list[str], files: dict[str, str]) -> Iterator[str]:
    """Yield the texts of running units, and of their programs, that name a file."""
    for unit in running:
        started = re.findall(r"(?m)^ExecStart\w*=(.*)$", unit)
        programs = [t for p, t in files.items() if any(p in line.split() for line in started)]
        yield from (text for text in (unit, *programs) if path in text)
