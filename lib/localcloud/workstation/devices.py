"""The workstation's disks and partitions as its kernel would show them.

An inventory is plain data: a list of disks, each a dict with lsblk's columns (in lower case) as
keys, plus `file` and `start` for the stand-ins, and its partitions under `children`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator

from . import images

Path = str | os.PathLike
Node = dict
MAJORS = {"vd": 254, "sd": 8}
EMPTY = dict.fromkeys(("serial", "wwn", "model", "hctl", "pkname", "fstype", "label", "uuid"))
EMPTY |= dict.fromkeys(("pttype", "ptuuid", "parttype", "partlabel", "partuuid"))


class Failed(Exception):
    """Ends a stand-in with an exit code and a text for stderr."""

    def __init__(self, rc: int, text: str):
        self.rc = rc
        super().__init__(text)


def inventory(home: Path) -> list[Node]:
    """Return the disks with their partitions; `home` is the workstation's folder."""
    mounted = mount_table(home)
    return [_disk(row, mounted) for row in read(home, "devices.json")]


def mount_table(home: Path) -> list[dict]:
    """Return the mounts: source, target, options, fstype, in order of mounting."""
    return read(home, "mounts.json")


@contextlib.contextmanager
def changing_mounts(home: Path) -> Iterator[list[dict]]:
    """Lock and yield the mount table; save it unless the block fails."""
    with open(os.path.join(home, "mounts.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = mount_table(home)
        yield rows
        save(home, "mounts.json", rows)


def save(home: Path, name: str, rows: list[dict]) -> None:
    """Write a table as a whole."""
    path = os.path.join(home, name)
    with open(f"{path}.{os.getpid()}", "w") as file:
        json.dump(rows, file, indent=1)
    os.replace(file.name, path)


def read(home: Path, name: str) -> list[dict]:
    """Return a table of the workstation, empty if it was never written."""
    try:
        with open(os.path.join(home, name)) as file:
            return json.load(file)
    except FileNotFoundError:
        return []


def _disk(row: dict, mounted: list[dict]) -> Node:
    file = row["file"]
    node = _node(row["name"], row["size"], "disk", mounted, file=file, start=0)
    node |= {key: row[key] for key in ("serial", "hctl", "model")}
    if not file:
        return node | {"pttype": "gpt", "children": [_own_partition(node, row["mountpoint"])]}
    node |= {"pttype": images.table_type(file), "fstype": images.signature(file)}
    children = [_partition(node, p, mounted) for p in images.read_partitions(file)]
    return node | {"ptuuid": images.disk_guid(file), "children": children}


def _node(name: str, size: int, kind: str, mounted: list, **more) -> Node:
    points = [m["target"] for m in mounted if m["source"] == f"/dev/{name}"] or [None]
    digits = name[3:]
    minor = (ord(name[2]) - ord("a")) * 16 + int(digits or 0)
    return EMPTY | {
        "name": name,
        "path": f"/dev/{name}",
        "size": size,
        "type": kind,
        "ro": False,
        "rm": False,
        "maj:min": f"{MAJORS[name[:2]]}:{minor}",
        "mountpoint": points[-1],
        "mountpoints": points,
        "children": [],
        **more,
    }


def _partition(disk: Node, p: images.Partition, mounted: list) -> Node:
    name = f"{disk['name']}{p.number}"
    node = _node(name, p.size, "part", mounted, file=disk["file"], start=p.start)
    node |= {"pkname": disk["name"], "pttype": "gpt", "parttype": p.type, "number": p.number}
    node |= {"partlabel": p.label or None, "partuuid": p.uuid}
    held = images.filesystem(disk["file"], p)
    if held:
        return node | {"fstype": held.type, "label": held.label, "uuid": held.uuid}
    return node | {"fstype": images.signature(disk["file"], p.start)}


def _own_partition(disk: Node, mountpoint: str) -> Node:
    """Return the only partition of a disk that the workstation runs from."""
    mounted = [{"source": f"{disk['path']}1", "target": mountpoint}]
    size = disk["size"] - 2 * images.MIB
    node = _node(f"{disk['name']}1", size, "part", mounted, file=None, start=0)
    return node | {"pkname": disk["name"], "pttype": "gpt", "parttype": images.LINUX,
                   "fstype": "ext4", "number": 1}  # fmt: skip


def nodes(home: Path) -> list[Node]:
    """Return all disks and partitions, each disk followed by its own."""
    return [n for disk in inventory(home) for n in (disk, *disk["children"])]


def find(home: Path, path: str) -> Node | None:
    """Return the disk or partition with that path in /dev, None if there is none."""
    return next((n for n in nodes(home) if n["path"] == path), None)


def in_use(disk: Node) -> bool:
    """Return whether the disk or a part of it is mounted."""
    return any(n["mountpoint"] for n in (disk, *disk["children"]))
