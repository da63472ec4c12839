"""Stand-ins for lsblk, blkid, wipefs, blockdev, and programs that read or write disks as files.

Formats, texts and exit codes are util-linux 2.38's.
"""

from __future__ import annotations

import fnmatch
import getopt
import json
import os
import shutil
import sys

from . import devices, images
from .devices import Failed, Node

DEFAULT = "NAME,MAJ:MIN,RM,SIZE,RO,TYPE,MOUNTPOINTS"
RIGHT_ALIGNED = {"size", "rm", "ro"}
MORE_COLUMNS = {"kname", "mountpoint", "path", "start"}
LSBLK_LONG = {"json": "J", "bytes": "b", "nodeps": "d", "noheadings": "n", "paths": "p"}
LSBLK_LONG |= {"raw": "r", "list": "l", "all": "a", "output=": "o"}
BLKID_LONG = {"probe": "p", "output=": "o", "match-tag=": "s", "match-token=": "t"}
WIPEFS_LONG = {"no-act": "n", "all": "a", "json": "J", "force": "f", "backup": "b"}


def options(
    program: str, args: list[str], short: str, long: dict[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the options given, by their letters, and the other arguments."""
    try:
        found, rest = getopt.gnu_getopt(args, short, list(long))
    except getopt.GetoptError as error:
        what = "unrecognized option '--" if len(error.opt) > 1 else "invalid option -- '"
        hint = f"Try '{program} --help' for more information."
        raise Failed(1, f"{program}: {what}{error.opt}'\n{hint}") from None
    letters = {f"--{name.rstrip('=')}": letter for name, letter in long.items()}
    return {letters.get(key, key[1:]): value for key, value in found}, rest


def lsblk(home: str, args: list[str]) -> int:
    """List disks as a tree, as JSON, raw or as a plain list."""
    given, wanted = options("lsblk", args, "Jbdnprlao:", LSBLK_LONG)
    columns = _columns(given.get("o", DEFAULT))
    chosen, missing = _chosen(home, wanted)
    if "d" in given:
        chosen = [n | {"children": []} for n in chosen]
    if chosen or not wanted:
        _print_blocks(chosen, columns, given)
    for path in missing:
        print(f"lsblk: {path}: not a block device", file=sys.stderr)
    return 0 if not missing else 64 if chosen else 32


def _columns(text: str) -> list[str]:
    if text.startswith("+"):
        text = f"{DEFAULT},{text[1:]}"
    columns = [c.lower() for c in text.split(",")]
    for column in columns:
        if column not in MORE_COLUMNS | set(devices.EMPTY) | set(DEFAULT.lower().split(",")):
            raise Failed(1, f"lsblk: unknown column: {column.upper()}")
    return columns


def _chosen(home: str, paths: list[str]) -> tuple[list[Node], list[str]]:
    """Return the requested nodes (all disks by default), and the paths of unknown ones."""
    if not paths:
        return devices.inventory(home), []
    known = {n["path"]: n for n in devices.nodes(home)}
    return [known[p] for p in paths if p in known], [p for p in paths if p not in known]


def _print_blocks(nodes: list[Node], columns: list[str], given: dict) -> None:
    if "J" in given:
        rows = [_json_row(n, columns, given) for n in nodes]
        print(json.dumps({"blockdevices": rows}, indent=3))
        return
    rows = [row for n in nodes for row in _tree(n, columns, given)]
    if "n" not in given:
        rows.insert(0, [c.upper() for c in columns])
    _print_table(rows, columns, raw="r" in given)


def _json_row(node: Node, columns: list[str], given: dict) -> dict:
    row = {c: _cell(node, c, given) for c in columns}
    if node["children"]:
        row["children"] = [_json_row(child, columns, given) for child in node["children"]]
    return row


def _cell(node: Node, column: str, given: dict) -> object:
    if column == "size":
        return node["size"] if "b" in given else human(node["size"])
    if column == "kname" or (column == "name" and "p" not in given):
        return node["name"]
    return node["path"] if column == "name" else node[column]


def human(size: int) -> str:
    """Write bytes as lsblk does: 40G, 4.4G, 64M."""
    for letter in "BKMGTP":
        if size < 1024 or letter == "P":
            return f"{size:.1f}".removesuffix(".0") + letter
        size = size / 1024
    raise AssertionError("unreachable")


def _tree(node: Node, columns: list[str], given: dict) -> list[list[str]]:
    rows = [_plain(node, columns, given, "")]
    for i, child in enumerate(node["children"]):
        branch = "`-" if i == len(node["children"]) - 1 else "|-"
        rows.append(_plain(child, columns, given, "" if {"l", "r"} & set(given) else branch))
    return rows


def _plain(node: Node, columns: list[str], given: dict, branch: str) -> list[str]:
    return [branch * (c == "name") + _text(_cell(node, c, given)) for c in columns]


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
    """Print the signatures of the devices; return 2 without any."""
    given, wanted = options("blkid", args, "po:s:t:c:", BLKID_LONG)
    known = {n["path"]: n for n in devices.nodes(home)}
    paths = [p for w in wanted or ["/dev/*"] for p in sorted(fnmatch.filter(known, w)) or [w]]
    found = []
    for path in paths:
        if path not in known and "p" in given:
            raise Failed(2, f"blkid: error: {path}: No such file or directory")
        tags = _tags(known[path], low_level="p" in given) if path in known else {}
        if tags and _matches(tags, given.get("t")):
            found.append(_tag_lines(path, tags, given))
    print("\n".join(line for line in found if line), end="\n" if any(found) else "")
    return 0 if found else 2


def _matches(tags: dict[str, str], token: str | None) -> bool:
    name, _, value = (token or "").partition("=")
    return not token or tags.get(name) == value.strip('"')


def _tags(node: Node, *, low_level: bool) -> dict[str, str]:
    tags = {"LABEL": node["label"], "UUID": node["uuid"], "TYPE": node["fstype"]}
    if node["type"] == "disk":
        tags |= {"PTUUID": node["ptuuid"], "PTTYPE": node["pttype"]}
    elif low_level:
        tags |= {"PART_ENTRY_SCHEME": "gpt", "PART_ENTRY_NAME": node["partlabel"]}
        tags |= {"PART_ENTRY_UUID": node["partuuid"], "PART_ENTRY_TYPE": node["parttype"]}
        tags |= {"PART_ENTRY_NUMBER": str(node["number"])}
    else:
        tags |= {"PARTLABEL": node["partlabel"], "PARTUUID": node["partuuid"]}
    return {name: value for name, value in tags.items() if value}


def _tag_lines(path: str, tags: dict[str, str], given: dict) -> str:
    form, only = given.get("o"), given.get("s")
    tags = {name: value for name, value in tags.items() if only in (None, name)}
    if form == "device":
        return path
    if form == "value":
        return "\n".join(tags.values())
    if form == "export":
        return "\n".join(f"{k}={v}" for k, v in [("DEVNAME", path), *tags.items()])
    return f"{path}: " + " ".join(f'{k}="{v}"' for k, v in tags.items()) if tags else ""


def wipefs(home: str, args: list[str]) -> int:
    """List the signatures on devices, or erase them with --all."""
    given, wanted = options("wipefs", args, "naJfb", WIPEFS_LONG)
    for path in wanted:
        node = devices.find(home, path)
        if not node:
            raise _not_probed(path, "No such file or directory")
        if "a" in given:
            _erase(node, pretend="n" in given)
        else:
            _list_signatures(node, as_json="J" in given)
    return 0


def _not_probed(path: str, why: str) -> Failed:
    return Failed(1, f"wipefs: error: {path}: probing initialization failed: {why}")


def _erase(node: Node, *, pretend: bool) -> None:
    if devices.in_use(node) or not node["file"] or node["type"] != "disk":
        raise _not_probed(node["path"], "Device or resource busy")
    for offset, kind in _signatures(node):
        print(f"{node['path']}: erased at offset {offset:#010x} ({kind})")
    if not pretend:
        images.wipe(node["file"])


def _signatures(node: Node) -> list[tuple[int, str]]:
    if node["type"] == "disk" and node["pttype"] == "gpt":
        return [(0x200, "gpt"), (0x1FE, "PMBR")]
    if node["type"] == "disk" and node["pttype"]:
        return [(0x1FE, node["pttype"])]
    return [(0, node["fstype"])] if node["fstype"] else []


def _list_signatures(node: Node, *, as_json: bool) -> None:
    found = _signatures(node)
    if as_json:
        about = {"uuid": node["uuid"], "label": node["label"]}
        rows = [{"device": node["name"], "offset": hex(o), "type": t} | about for o, t in found]
        print(json.dumps({"signatures": rows}, indent=3))
    elif found:
        rows = [
            [node["name"], hex(o), t, node["uuid"] or "", node["label"] or ""] for o, t in found
        ]
        _print_table([["DEVICE", "OFFSET", "TYPE", "UUID", "LABEL"], *rows], [""] * 5, raw=False)


def blockdev(home: str, args: list[str]) -> int:
    """Answer --getsize64, --getsz, --getss and --getro; re-read a partition table; flush."""
    wishes = [a for a in args if a.startswith("--")]
    for path in [a for a in args if not a.startswith("-")]:
        node = devices.find(home, path)
        if not node:
            raise Failed(1, f"blockdev: cannot open {path}: No such file or directory")
        for wish in wishes:
            _blockdev_one(wish, node)
    return 0


def _blockdev_one(wish: str, node: Node) -> None:
    answers = {"--getsize64": node["size"], "--getsz": node["size"] // 512, "--getss": 512}
    answers |= {"--getro": int(node["ro"])}
    if wish in answers:
        print(answers[wish])
    elif wish == "--rereadpt":
        if devices.in_use(node):
            raise Failed(1, "blockdev: ioctl error on BLKRRPART: Device or resource busy")
    elif wish != "--flushbufs":
        raise Failed(1, f"blockdev: Unknown command: {wish}")


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
PROGRAMS |= {name: _on_files(name) for name in ("head", "tail", "cmp", "dd", "perl")}
