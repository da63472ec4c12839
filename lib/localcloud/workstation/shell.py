"""The workstation: a shell in which the programs for disks act on the local cloud's volumes.

`prepare` creates its folder, and `write_devices` sets its disks. The programs are the files in
`scripts`; several of them start a stand-in in Python (`stand_ins`).
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import devices, stand_ins

if TYPE_CHECKING:  # shells of machines start without installed packages, which it needs
    from ..state.dialects import Dialect

SCRIPTS = Path(__file__).with_name("scripts")
ROOT = Path(__file__).resolve().parents[3]  # of the package
OWN = ("sudo", "udevadm", "cat", "ls", "flock", "tee", "modprobe")
NEEDED = ("gpg", "bunzip2", "btrfstune", "gawk", "lvm")  # by real installers
# The programs of the workstation, each with its script.
PROGRAMS = {name: name for name in OWN} | dict.fromkeys(NEEDED, "needed")
PROGRAMS |= dict.fromkeys(stand_ins.MODULES, "program")
PROGRAMS |= dict.fromkeys(stand_ins.READERS, "reader")


def prepare(folder: os.PathLike) -> None:
    """Create the workstation's folder in an instance's; existing programs stay."""
    home = os.path.join(folder, "workstation")
    for name in ("bin", "home", "dmi"):
        os.makedirs(os.path.join(home, name), exist_ok=True)
    for name in ("shell", "stand-in"):
        write_script(SCRIPTS / name, os.path.join(home, name))
    for name, script in PROGRAMS.items():
        path = os.path.join(home, "bin", name)
        if not os.path.exists(path):
            write_script(SCRIPTS / script, path)


def write_script(script: Path, path: str) -> None:
    """Write a script as a program, with this Python and the path of its packages filled in."""
    text = script.read_text("utf-8").replace("@PYTHON@", shlex.quote(sys.executable))
    write_program(path, text.replace("@ROOT@", shlex.quote(str(ROOT))))


def write_program(path: str, text: str) -> None:
    """Write an executable file as a whole, as it may be starting at this moment."""
    part = f"{path}.{os.getpid()}"
    with open(part, "w") as file:
        file.write(text)
    os.chmod(part, 0o755)
    os.replace(part, path)


def set_identity(folder: os.PathLike, dialect: Dialect, machine: str) -> None:
    """Set the identity of the workstation that its firmware shows."""
    names = ("sys_vendor", "product_uuid")
    for name, text in zip(names, dialect.firmware(machine), strict=True):
        write_program(os.path.join(folder, "workstation", "dmi", name), f"{text}\n")


def set_time_scale(folder: os.PathLike, scale: float) -> None:
    """Set the length of the installers' simulated second."""
    write_program(os.path.join(folder, "workstation", "time-scale"), f"{scale}\n")


def write_devices(folder: os.PathLike, dialect: Dialect, disks: list[dict]) -> None:
    """Set the attached disks: dicts of deviceid, id, size, file, mountpoint.

    One without a file is the workstation's own, mounted for ever. A disk keeps its name; a new one
    gets the first free letter, in the order of deviceid.
    """
    home = os.path.join(folder, "workstation")
    before = {row["id"]: row["name"] for row in devices.read(home, "devices.json")}
    kept = {d["id"]: before[d["id"]] for d in disks if d["id"] in before}
    letters = (dialect.disk_prefix + letter for letter in "abcdefghijklmnopqrstuvwxyz")
    free = (name for name in letters if name not in kept.values())
    rows = [
        {k: disk[k] for k in ("id", "size", "file", "mountpoint")}
        | {"name": kept.get(disk["id"]) or next(free)}
        | dialect.hardware(disk["deviceid"], disk["id"])
        for disk in sorted(disks, key=lambda disk: disk["deviceid"])
    ]
    devices.save(home, "devices.json", sorted(rows, key=lambda row: row["name"]))
