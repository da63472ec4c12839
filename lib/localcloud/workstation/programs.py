"""Stand-ins for lsblk, blkid, wipefs, blockdev, and programs that read or write disks as files.

Formats, texts and exit codes are util-linux 2.38's; options are those that somebody uses.
"""

from __future__ import annotations

import getopt
import json
import os
import shutil
import sys

from . import devices, images
from .devices import Failed, Node
from .stand_ins import READERS

DEFAULT = "name,maj:min,rm,size,ro,type,mountpoints"
RIGHT_ALIGNED = {"size", "rm", "ro"}
COLUMNS = {"kname", "mountpoint", "path", *devices.EMPTY, *DEFAULT.split(",")}


def options(program: str, args: list[str], short: str) -> tuple[dict[str, str], list[str]]:
    """Return the options given, by their letters, and the other arguments."""
    try:
        found, rest = getopt.gnu_getopt(args, short)
    except getopt.GetoptError as error:
        what = "unrecognized option '--" if len(error.opt) > 1 else "invalid option -- '"
        hint = f"Try '{program} --help' for more information."
        raise Failed(1, f"{program}: {what}{error.opt}'\n{hint}") from None
    return {key[1:]: value for key, value in found}, rest


def lsblk(home: str, args: list[str]) -> int:
    """List disks as a tree, raw, or as JSON."""
    given, paths = options("lsblk", args, "Jbdnro:")
    columns = given.get("o", DEFAULT).lower().split(",")
    for column in columns:
        if column not in COLUMNS:
            raise Failed(1, f"lsblk: unknown column: {column.upper()}")
    known = {n["path"]: n for n in devices.nodes(home)}
    chosen = [known[p] for p in paths if p in known] if paths else devices.inventory(home)
    if "d" in given:
        chosen = [n | {"children": []} for n in chosen]
    if chosen and "J" in given:
        rows = [_json_row(n, columns, given) for n in chosen]
        print(json.dumps({"blockdevices": rows}, indent=3))
    elif chosen:
        heads = [] if "n" in given else [[c.upper() for c in columns]]
        lines = [row for n in chosen for row in _tree(n, columns, given)]
        _print_table(heads + lines, columns, raw="r" in given)
    missing = [p for p in paths if p not in known]
    for path in missing:
        print(f"lsblk: {path}: not a block device", file=sys.stderr)
    return 0 if not missing else 64 if chosen else 32


def _json_row(node: Node, columns: list[str], given: dict) -> dict:
    row = {c: _cell(node, c, given) for c in columns}
    if node["children"]:
        row["children"] = [_json_row(child, columns, given) for child in node["children"]]
    return row


def _cell(node: Node, column: str, given: dict) -> object:
    if column == "size":
        return node["size"] if "b" in given else human(node["size"])
    return node["name" if column == "kname" else column]


def human(size: int) -> str:
    """Write bytes as lsblk does: 40G, 4.4G, 64M."""
    for letter in "BKMGTP":
        if size < 1024 or letter == "P":
            return f"{size:.1f}".removesuffix(".0") + letter
        size = size / 1024
    raise AssertionError("unreachable")


def _tree(node: Node, columns: list[str], given: dict) -> list[list[str]]:
    """Return the lines of a disk and its partitions, which hang on branches unless raw."""
    nodes = [node, *node["children"]]
    branches = ["", *["|-"] * (len(nodes) - 2), "`-"] if "r" not in given else [""] * len(nodes)
    return [
        [branch * (c == "name") + _text(_cell(one, c, given)) for c in columns]
        for one, branch in zip(nodes, branches, strict=False)
    ]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, list):
        return ",".join(v for v in value if v)
    return "" if value is None else str(value)


def _print_table(rows: list[list[str]], columns: list[str], raw: bool) -> None:
    widths = [0 if raw else max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            text.rjust(width) if name in RIGHT_ALIGNED else text.ljust(width)
            for text, width, name in zip(row, widths, columns, strict=True)
        ]
        print(" ".join(cells).rstrip())


def blkid(home: str, args: list[str]) -> int:
    """Print the signatures of the devices, as `blkid -p` reads them; return 2 without any."""
    given, paths = options("blkid", args, "po:")
    if "p" not in given or given.get("o", "export") != "export":
        raise Failed(4, "blkid: this workstation has -p and -o export only")
    found = False
    for path in paths:
        node = devices.find(home, path)
        if not node:
            raise Failed(2, f"blkid: error: {path}: No such file or directory")
        tags = _tags(node)
        found = found or bool(tags)
        if tags and "o" in given:
            print("\n".join(f"{k}={v}" for k, v in [("DEVNAME", path), *tags.items()]))
        elif tags:
            print(f"{path}: " + " ".join(f'{k}="{v}"' for k, v in tags.items()))
    return 0 if found else 2


def _tags(node: Node) -> dict[str, str]:
    tags = {"LABEL": node["label"], "UUID": node["uuid"], "TYPE": node["fstype"]}
    if node["type"] == "disk":
        tags |= {"PTUUID": node["ptuuid"], "PTTYPE": node["pttype"]}
    else:
        tags |= {"PART_ENTRY_SCHEME": "gpt", "PART_ENTRY_NAME": node["partlabel"]}
        tags |= {"PART_ENTRY_UUID": node["partuuid"], "PART_ENTRY_TYPE": node["parttype"]}
        tags |= {"PART_ENTRY_NUMBER": str(node["number"])}
    return {name: value for name, value in tags.items() if value}


def wipefs(home: str, args: list[str]) -> int:
    """List the signatures on devices, or erase them with -a; with -n only as if."""
    given, paths = options("wipefs", args, "na")
    for path in paths:
        node = devices.find(home, path)
        if not node:
            raise _not_probed(path, "No such file or directory")
        found = _signatures(node)
        if "a" in given:
            _erase(node, found, pretend="n" in given)
        elif found:
            own = [node["uuid"] or "", node["label"] or ""]
            rows = [[node["name"], hex(offset), kind, *own] for offset, kind in found]
            heads = ["DEVICE", "OFFSET", "TYPE", "UUID", "LABEL"]
            _print_table([heads, *rows], [""] * 5, raw=False)
    return 0


def _not_probed(path: str, why: str) -> Failed:
    return Failed(1, f"wipefs: error: {path}: probing initialization failed: {why}")


def _erase(node: Node, found: list[tuple[int, str]], *, pretend: bool) -> None:
    if devices.in_use(node) or not node["file"] or node["type"] != "disk":
        raise _not_probed(node["path"], "Device or resource busy")
    for offset, kind in found:
        print(f"{node['path']}: erased at offset {offset:#010x} ({kind})")
    if not pretend:
        images.wipe(node["file"])


def _signatures(node: Node) -> list[tuple[int, str]]:
    if node["type"] == "disk" and node["pttype"] == "gpt":
        return [(0x200, "gpt"), (0x1FE, "PMBR")]
    if node["type"] == "disk" and node["pttype"]:
        return [(0x1FE, node["pttype"])]
    return [(0, node["fstype"])] if node["fstype"] else []


def blockdev(home: str, args: list[str]) -> int:
    """Flush devices, whose data are on the disk already."""
    for word in args:
        if word.startswith("-") and word != "--flushbufs":
            raise Failed(1, f"blockdev: Unknown command: {word}")
        if not word.startswith("-") and not devices.find(home, word):
            raise Failed(1, f"blockdev: cannot open {word}: No such file or directory")
    return 0


def on_files(program: str, home: str, args: list[str]) -> int:
    """Run the real program, with the files of the disks in place of their names."""
    known = {n["path"]: n for n in devices.nodes(home)}
    args = [_file_for(program, known, arg) for arg in args]
    if program == "dd":  # otherwise dd truncates the file; a disk keeps its length
        args.append("conv=notrunc")
    real = shutil.which(program, path=os.defpath)
    if not real:
        raise Failed(127, f"{program}: not found")
    os.execv(real, [program, *args])


def _file_for(program: str, known: dict[str, Node], arg: str) -> str:
    key, eq, path = arg.rpartition("=")
    if not path.startswith(("/dev/sd", "/dev/vd")):
        return arg
    node = known.get(path)
    if not node:
        raise Failed(1, f"{program}: cannot open '{path}': No such file or directory")
    if not node["file"] or node["type"] != "disk":
        raise Failed(1, f"{program}: cannot open '{path}': Permission denied")
    return f"{key}{eq}{node['file']}"


def _on_files(program: str):
    return lambda home, args: on_files(program, home, args)


PROGRAMS = {"lsblk": lsblk, "blkid": blkid, "wipefs": wipefs, "blockdev": blockdev}
PROGRAMS |= {name: _on_files(name) for name in READERS}
