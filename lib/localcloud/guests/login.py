"""Logins to a machine: a shell whose /etc, /home, /oem, /run and /var are the machine's.

There is no real machine: this computer's commands run with rewritten paths, and changes in these
folders are written back to the virtual disk.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ..workstation import images, mounts, shell

ROOT = 9  # the partition
INSIDE = re.compile(r"(?<![\w./}-])/(?=(etc|home|oem|run|var)/)")
OEM = 6  # these files are shown, but not written back
AWAY = 255  # exit code of ssh without a connection
SCRIPTS = Path(__file__).with_name("scripts")


def prepare(folder: os.PathLike) -> None:
    """Write the shell of the machines and its stand-in programs."""
    home = os.path.join(folder, "machines")
    os.makedirs(os.path.join(home, "bin"), exist_ok=True, mode=0o700)
    shell.write_script(SCRIPTS / "shell", os.path.join(home, "shell"))
    shell.write_script(SCRIPTS / "systemctl", os.path.join(home, "bin/systemctl"))
    shell.write_script(shell.SCRIPTS / "sudo", os.path.join(home, "bin/sudo"))


def open_shell(folder: os.PathLike, machine: object, disk: os.PathLike | None) -> None:
    """Open a machine's shell, with this disk of the folder."""
    place = os.path.join(folder, "machines", str(machine))
    os.makedirs(place, exist_ok=True, mode=0o700)
    shutil.rmtree(os.path.join(place, "run"), ignore_errors=True)
    with open(os.path.join(place, "disk.json"), "w") as file:
        json.dump(os.path.relpath(disk, folder) if disk else None, file)


def put(folder: os.PathLike, machine: object, path: str, text: str) -> None:
    """Write a file below a machine's /run."""
    place = os.path.join(folder, "machines", str(machine), "run", path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "w") as file:
        file.write(text)


def close_shell(folder: os.PathLike, machine: object) -> None:
    """Close a machine's shell."""
    path = os.path.join(folder, "machines", str(machine), "disk.json")
    if os.path.exists(path):
        os.unlink(path)


def main(argv: list[str]) -> int:
    """Run `-c COMMAND` on a machine; return its exit code."""
    if len(argv) != 4:
        print("A machine of the local cloud runs single commands: add -c COMMAND.", file=sys.stderr)
        return 2
    home, machine, _, command = argv
    path = os.path.join(home, machine, "disk.json")
    if not os.path.exists(path):
        print(f"ssh: connect to host {machine} port 22: No route to host", file=sys.stderr)
        return AWAY
    with open(path) as file:
        disk = json.load(file)
    disk = disk and os.path.join(home, "..", disk)
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(os.path.join(folder, "home/core"))
        if disk:
            mounts.unpack(disk, ROOT, folder)
        before = mounts.pack(folder)
        if disk:
            mounts.unpack(disk, OEM, os.path.join(folder, "oem"))
        own = os.path.join(home, machine)
        command = INSIDE.sub(lambda m: f"{own if m[1] == 'run' else folder}/", command)
        done = subprocess.run(["/bin/sh", "-c", command], env=_environment(home, folder))
        shutil.rmtree(os.path.join(folder, "oem"), ignore_errors=True)
        if disk and mounts.pack(folder) != before:
            _write_back(disk, folder)
    return done.returncode


def _environment(home: str, folder: str) -> dict[str, str]:
    path = f"{home}/bin:{os.environ.get('PATH', '/usr/bin:/bin')}"
    return os.environ | {"PATH": path, "HOME": os.path.join(folder, "home/core")}


def _write_back(disk: str, folder: str) -> None:
    where = images.partition(disk, ROOT)
    old, (files, modes) = images.filesystem(disk, where), mounts.pack(folder)
    images.put_tree(disk, ROOT, files, kind=old.type, label=old.label, modes=modes)
