"""An installed disk read back: its partitions, its configuration, and its version."""

import re
import shlex

from lib.config import difference
from lib.errors import CheckFailed, OutOfSight, ShellFailed
from lib.install import inventory
from lib.workstation.shell import Shell, run

USER_DATA = {
    "coreos-install": "var/lib/coreos-install/user_data",
    "flatcar-install": "var/lib/flatcar-install/user_data",
}
# Label and number of the partitions that every image of both systems has.
LAYOUT = {"EFI-SYSTEM": 1, "USR-A": 3, "OEM": 6, "ROOT": 9}
# Without noload, even a read-only mount replays a journal.
READ_ONLY = {"ext3": "ro,noload", "ext4": "ro,noload"}
VERSION = re.compile(r"\b\d+\.\d+\.\d+(\+[\w.-]+)?\b")


def partitions(shell: Shell, device: str) -> dict[str, dict]:
    """Return the partitions of an install by their labels.

    Raises CheckFailed if one is missing, exists twice, or has another number.
    """
    run(shell, "if command -v udevadm >/dev/null; then udevadm settle; fi")
    rows = [r for r in inventory.read(shell) if r["path"] == device]
    parts = inventory.labelled(shell, [p for r in rows for p in r["children"]])
    found = {k: [p for p in parts if k in (p.get("partlabel"), p.get("label"))] for k in LAYOUT}
    if all(
        len(found[k]) == 1 and re.search(rf"\D{n}$", found[k][0]["path"]) for k, n in LAYOUT.items()
    ):
        return {k: p for k, (p,) in found.items()}
    expected = ", ".join(f"one {k}, number {n}" for k, n in LAYOUT.items())
    listed = ", ".join(f"{p['path']} {p.get('partlabel') or ''}".strip() for p in parts) or "none"
    raise CheckFailed(f"partitions of {device}", expected, listed, "Make no snapshot of it.")


def config_text(shell: Shell, parts: dict[str, dict], installer: str, name: str) -> str:
    """Return the configuration on the disk, from a read-only mount.

    `name` is the file that the installer was given.
    """
    is_ignition = name.endswith(".ign")
    part = parts["OEM" if is_ignition else "ROOT"]
    is_old_root = part.get("fstype") == "btrfs" and not is_ignition
    file = "config.ign" if is_ignition else USER_DATA[installer]
    return _read(shell, part, file, "ro,subvol=root" if is_old_root else "")


def _read(shell: Shell, part: dict, file: str, options: str = "") -> str:
    """Mount a partition, and return the text of a file on it."""
    options = options or READ_ONLY.get(part.get("fstype") or "", "ro")
    folder = shlex.quote(run(shell, "mktemp -d").out.strip())
    try:
        run(shell, f"mount -o {options} {shlex.quote(part['path'])} {folder}", sudo=True)
        return run(shell, f"cat {folder}/{file}", sudo=True).out
    finally:
        # rmdir fails while the folder is a mount point, so its exit code covers both.
        run(shell, f"umount {folder}; rmdir {folder}", sudo=True)


def version(shell: Shell, parts: dict[str, dict], success: str) -> str:
    """Return the installed version, "" if neither the Success line nor the disk has it.

    The installer of 2014 prints "current" instead of a version; a file's name may look like one.
    """
    printed = VERSION.search(success.partition(" is installed on ")[0].partition(" (from ")[0])
    if printed:
        return printed[0]
    try:
        release = _read(shell, parts["USR-A"], "lib/os-release")
    except OutOfSight:
        raise
    except ShellFailed:  # its file system may be newer than this kernel
        return ""
    found = re.search(r'^VERSION="?([^"\n]+)', release, re.MULTILINE)
    return found[1] if found else ""


def demand_config(
    shell: Shell, parts: dict[str, dict], installer: str, name: str, expected: str
) -> None:
    """Raise CheckFailed with a diff unless the disk has exactly this configuration.

    `name` is the file that the installer was given, "" if it was given none.
    """
    found = config_text(shell, parts, installer, name) if name else expected
    if found != expected:
        step = f"\n{difference(expected, found)}\nRun this stage again; make no snapshot of it."
        what = f"The configuration on {parts['ROOT']['path']} differs from {name}"
        raise CheckFailed(what, next_step=step)
