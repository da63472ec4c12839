"""Runs the stand-ins for the programs of the workstation, each in its module's `PROGRAMS`."""

import importlib
import os
import sys

from .devices import Failed

READERS = ("head", "tail", "dd", "perl")
# Which module stands in for a program.
MODULES = {
    **dict.fromkeys(("lsblk", "blkid", "wipefs", "blockdev", *READERS), "programs"),
    **dict.fromkeys(("mount", "umount"), "mounts"),
    **dict.fromkeys(("coreos-install", "flatcar-install", "wget"), "installers"),
}


def main(argv: list[str]) -> int:
    """Be the program named first; return its exit code."""
    name, *args = argv
    if name not in MODULES:
        print(f"{name}: the workstation has no such stand-in", file=sys.stderr)
        return 127
    module = importlib.import_module(f".{MODULES[name]}", __package__)
    try:
        return module.PROGRAMS[name](os.environ["LOCALCLOUD_WORKSTATION"], args)
    except Failed as error:
        print(error, file=sys.stderr)
        return error.rc
