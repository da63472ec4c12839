"""Stand-ins for mount and umount: a mounted tree is a copy in the mount point's folder."""

from __future__ import annotations

import os
import shutil

from . import devices, images
from .devices import Failed, Node
from .programs import options


def mount(home: str, args: list[str]) -> int:
    """Put the file tree of a partition into a folder: `mount [-o OPTIONS] DEVICE FOLDER`."""
    given, rest = options("mount", args, "o:")
    if len(rest) != 2:
        raise Failed(1, "mount: bad usage\nTry 'mount --help' for more information.")
    chosen = [c for c in given.get("o", "").split(",") if c]
    _mount(home, rest[0], os.path.realpath(rest[1]), chosen)
    return 0


def _mount(home: str, source: str, target: str, chosen: list[str]) -> None:
    if not os.path.isdir(target):
        raise Failed(32, f"mount: {target}: mount point does not exist.")
    node = devices.find(home, source)
    if not node:
        raise Failed(32, f"mount: {target}: special device {source} does not exist.")
    subvolume = _subvolume(node, target, chosen)
    with devices.changing_mounts(home) as table:
        if any(m["target"] == target for m in table):
            raise Failed(32, f"mount: {target}: {node['path']} already mounted on {target}.")
        if os.listdir(target):  # umount empties the folder, so it must not have other files
            raise Failed(
                32, f"mount: {target}: not empty. This workstation mounts on empty folders."
            )
        unpack(node["file"], node["number"], os.path.join(target, *subvolume))
        mode = "ro" if "ro" in chosen else "rw"
        rest = [c for c in chosen if c not in ("ro", "rw", "defaults")]
        row = {"source": node["path"], "target": target, "options": ",".join([mode, *rest])}
        table.append(row | {"fstype": node["fstype"], "below": subvolume})


def _subvolume(node: Node, target: str, chosen: list[str]) -> list[str]:
    """Return the folder below the mount point that the tree belongs in.

    A btrfs image of CoreOS has all files in the subvolume `root`, a folder if mounted without it.
    """
    wanted = next((c for c in chosen if c.startswith("subvol=")), None)
    has_one = (node["fstype"], node["label"]) == ("btrfs", "ROOT")
    if not _mountable(node) or (wanted and (not has_one or wanted.strip("/") != "subvol=root")):
        raise Failed(
            32,
            f"mount: {target}: wrong fs type, bad option, bad superblock on {node['path']}, "
            "missing codepage or helper program, or other error.",
        )
    return ["root"] if has_one and not wanted else []


def _mountable(node: Node) -> bool:
    return bool(node["file"]) and node["type"] == "part" and node["label"] is not None


def unpack(path: str, number: int, folder: str) -> None:
    """Write the tree of a partition into a folder, with its permissions."""
    os.makedirs(folder, exist_ok=True)
    for name, mode, data in images.entries(path, number):
        place = os.path.join(folder, name)
        os.makedirs(place if data is None else os.path.dirname(place), exist_ok=True)
        if data is not None:
            with open(place, "wb") as file:
                file.write(data)
        os.chmod(place, mode)


def pack(folder: str) -> tuple[dict[str, bytes], dict[str, int]]:
    """Return files and permissions of a folder, as `disks.put_tree` takes them."""
    files, modes = {}, {}
    for here, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(here, name)
            modes[os.path.relpath(path, folder)] = os.stat(path).st_mode & 0o7777
            if name in names:
                with open(path, "rb") as file:
                    files[os.path.relpath(path, folder)] = file.read()
    return files, modes


def umount(home: str, args: list[str]) -> int:
    """Remove a mounted tree, and write it back to the partition unless it was read-only."""
    _, rest = options("umount", args, "")
    for what in rest:
        path = what if what.startswith("/dev/") else os.path.realpath(what)
        with devices.changing_mounts(home) as table:
            row = next((m for m in reversed(table) if path in (m["source"], m["target"])), None)
            if not row:
                known = os.path.exists(path) or devices.find(home, path)
                why = "not mounted" if known else "no mount point specified"
                raise Failed(32, f"umount: {what}: {why}.")
            _write_back(home, row)
            _empty(row["target"])
            table.remove(row)
    return 0


def _write_back(home: str, row: dict) -> None:
    node = devices.find(home, row["source"])
    if row["options"].startswith("ro") or not node or not _mountable(node):
        return
    files, modes = pack(os.path.join(row["target"], *row["below"]))
    kind, label = node["fstype"], node["label"]
    images.put_tree(node["file"], node["number"], files, kind=kind, label=label, modes=modes)


def _empty(folder: str) -> None:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


PROGRAMS = {"mount": mount, "umount": umount}
