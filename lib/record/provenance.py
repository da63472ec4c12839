"""Provenance: `run.json` says who ran what, with which code, on which machine, and how it ended.

begin() writes the facts of the start, finish() adds the end and the facts of the kernels:
run, reason, command, user, sudo_user, host, pid, python, platform, started, ended, outcome,
exit_code, code (commit, dirty, changed), packages, notebooks and lib (sha256 by file), observed
(by the kernels: endpoint, account, key_fingerprint, server_version, installer, …; a list where
values differ), earlier (the same of the run's former drivers, oldest first).
"""

import json
import os
import platform
import pwd
import re
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from lib.record import jsonl, whole
from lib.record.journal import ROOT, now
from lib.record.manifest import digest

FILE = "run.json"
FACTS = "facts.jsonl"
LIB = ROOT / "lib"


def begin(
    folder: Path, *, notebooks: Sequence[Path], reason: str = "", command: Sequence[str] = ()
) -> None:
    """Write the facts of the start; those of former starts move to `earlier`."""
    before = _read(folder)
    earlier = [*before.pop("earlier", []), *([before] if before else [])]
    facts = {
        "run": folder.name,
        "reason": reason,
        "command": list(command),
        "user": user(),
        "sudo_user": _sudo_user(),
        "host": platform.node(),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "started": now(),
        "code": code(ROOT),
        "packages": packages(ROOT / "requirements.txt"),
        "notebooks": {path.name: digest(path) for path in notebooks},
        "lib": {str(p.relative_to(ROOT)): digest(p) for p in _sources()},
    }
    _write(folder, facts | {"earlier": earlier})


def finish(folder: Path, *, outcome: str, exit_code: int | None = None) -> None:
    """Add the end and the facts of the kernels."""
    facts = _read(folder)
    end = {"ended": now(), "outcome": outcome, "exit_code": exit_code}
    _write(folder, facts | end | {"observed": merged_facts(folder / FACTS)})


def code(root: Path) -> dict:
    """Return the commit and the files that differ from it (20 at most); {} outside of git."""
    command = ["git", "-C", str(root), "status", "--porcelain=v2", "--branch"]
    command.append("--untracked-files=all")
    quiet = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=quiet)
    except FileNotFoundError:
        return {}
    if done.returncode:
        return {}
    lines = done.stdout.splitlines()
    commit = next((ln.split()[-1] for ln in lines if ln.startswith("# branch.oid")), "")
    changed = [_path(line) for line in lines if not line.startswith("#")]
    return {"commit": commit, "dirty": bool(changed), "changed": changed[:20]}


def _path(line: str) -> str:
    """Return the path in a line of `git status --porcelain=v2`, after the fields of its kind."""
    fields = {"1": 8, "2": 9, "u": 10, "?": 1}[line[0]]
    return line.split(" ", fields)[fields].split("\t")[0]


def packages(requirements: Path) -> dict[str, str]:
    """Return the installed versions of the packages that a requirements file names."""
    lines = requirements.read_text("utf-8").splitlines() if requirements.exists() else []
    names = [m[0] for m in (re.match(r"[A-Za-z][\w.-]*", line) for line in lines) if m]
    return {name: _version(name) for name in names}


def merged_facts(path: Path) -> dict:
    """Return the facts of the kernels by name; differing values become a list, in order."""
    found: dict[str, list] = {}
    for line in jsonl.read(path)[0]:
        for name, value in line.items():
            if name not in ("at", "stage") and value not in found.setdefault(name, []):
                found[name].append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def user() -> str:
    """Return the user's name from the system, not from the environment."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _sudo_user() -> str:
    """Return the user whose sudo began this process, "" without one that the system knows."""
    try:
        return pwd.getpwnam(os.environ.get("SUDO_USER", "")).pw_name
    except (KeyError, ValueError):
        return ""


def _sources() -> list[Path]:
    """Return the files of this package: code and templates."""
    files = (p for p in LIB.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return sorted(files)


def _read(folder: Path) -> dict:
    """Return the facts so far; a damaged file is moved aside, and named as such."""
    found = whole.read(folder / FILE)
    if found is None:
        return {"damaged": whole.aside(folder / FILE).name}
    return found


def _write(folder: Path, facts: dict) -> None:
    whole.write(folder / FILE, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
