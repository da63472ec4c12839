"""The workstation's block devices, as lsblk lists them, and their users."""

import json
import re
import shlex
from collections.abc import Iterator

from lib.errors import CheckFailed
from lib.workstation.shell import Shell, run

# What every lsblk with -J has. Older ones lack the paths, and print only text.
COLUMNS = "NAME,KNAME,SIZE,SERIAL,WWN,HCTL,TYPE,MOUNTPOINT,FSTYPE,PARTLABEL,LABEL,RO,RM,MAJ:MIN"
SAME = ("name", "size", "serial", "wwn", "hctl", "maj:min")  # constant while the disk is attached
# One command, as each costs a round trip. Of a btrfs of many disks, lsblk shows one as mounted.
LOOK = f"""\
cat /proc/sys/kernel/random/boot_id && lsblk -J -b -o {COLUMNS} && echo IN USE && cat /proc/swaps &&
{{ ls -d /sys/class/block/*/holders/* /sys/fs/btrfs/*/devices/* 2>/dev/null; true; }}"""
# How lsblk of util-linux 2.27 and 2.28 writes a byte of a label, which is no JSON (util-linux#330).
BYTES = re.compile(r"(\\x[0-9a-fA-F]{2})+")
TOO_OLD = (
    "Nothing was written. Use a workstation with util-linux 2.27 or newer, as systems since 2016 "
    "have it."
)


def read(shell: Shell) -> list[dict]:
    """Return all block devices of the workstation, each with those on it under `children`.

    `uses` of a row lists its users: a mount point, swap, a mapping or array, a mounted btrfs;
    `boot` is the id of the current boot. Raises CheckFailed for an lsblk without JSON.
    """
    seen = run(shell, LOOK, ok=(0, 1))
    boot, _, rest = seen.out.partition("\n")
    listed, _, used_by = rest.partition("IN USE\n")
    uses = _uses(used_by.splitlines())
    try:
        return [{"boot": boot} | _row(r, uses) for r in _parsed(listed)["blockdevices"]]
    except (ValueError, LookupError, TypeError, AttributeError):
        what = f"lsblk of the workstation prints no JSON: {(seen.err or listed)[:200]!r}"
        raise CheckFailed(what, next_step=TOO_OLD) from None


def _parsed(listed: str) -> dict:
    r"""Return the object in the text, with the bytes that old versions write as `\x##`.

    >>> _parsed('{"label": "caf\\xc3\\xa9"}')
    {'label': 'café'}
    """
    try:
        return json.loads(listed)
    except ValueError:
        return json.loads(BYTES.sub(_decoded, listed))


def _decoded(found: re.Match) -> str:
    text = bytes.fromhex(found[0].replace("\\x", "")).decode("utf-8", "replace")
    return json.dumps(text)[1:-1]


def _uses(lines: list[str]) -> dict[str, list[str]]:
    """Return the users of each device by its name, from /proc/swaps and paths of /sys.

    >>> _uses(["/dev/sdb2 partition 1 0 -2", "/sys/class/block/sdc/holders/dm-0"])
    {'sdb2': ['[SWAP]'], 'sdc': ['dm-0']}
    """
    found: dict[str, list[str]] = {}
    for line in filter(str.strip, lines):
        *_, parent, kind, name = ["", "", *line.split()[0].split("/")]
        if kind == "holders":
            found.setdefault(parent, []).append(name)
        elif kind == "devices":
            found.setdefault(name, []).append("a mounted btrfs")
        elif line.startswith("/dev/"):
            found.setdefault(line.split()[0].removeprefix("/dev/"), []).append("[SWAP]")
    return found


def _row(raw: dict, uses: dict[str, list[str]]) -> dict:
    row = {k: v.strip() if isinstance(v, str) else v for k, v in raw.items()}
    name, kname = row["name"], row.get("kname") or row["name"]
    row["path"] = f"/dev/{name}" if name == kname else f"/dev/mapper/{name}"
    row["size"] = int(row["size"] or 0)
    row["uses"] = list(dict.fromkeys(filter(None, [row.get("mountpoint"), *uses.get(kname, [])])))
    row |= {k: str(raw.get(k)).lower() not in ("false", "0") for k in ("ro", "rm")}
    return row | {"children": [_row(c, uses) for c in raw.get("children") or []]}


def tree(rows: list[dict]) -> Iterator[dict]:
    """Yield the rows and all rows below them."""
    for row in rows:
        yield row
        yield from tree(row["children"])


def used(row: dict) -> list[str]:
    """Return the users of the disk and of all rows below it."""
    return [user for r in tree([row]) for user in r["uses"]]


def identity(row: dict) -> list:
    """Return the fields that identify a disk while it is attached."""
    return [row.get(k) for k in SAME]


def labelled(shell: Shell, parts: list[dict]) -> list[dict]:
    """Return the partitions with labels and file systems, read by blkid where udev lacks them."""
    if not parts or any(p.get("partlabel") or p.get("label") for p in parts):
        return parts
    script = "; ".join(f"echo; $SUDO blkid -p -o export {shlex.quote(p['path'])}" for p in parts)
    blocks = run(shell, f"true; {script}", sudo=True, ok=(0, 2)).out.split("\n\n")
    tags = [dict(x.split("=", 1) for x in b.split("\n") if "=" in x) for b in blocks]
    found = {t.get("DEVNAME"): t for t in tags}
    names = {"partlabel": "PART_ENTRY_NAME", "label": "LABEL", "fstype": "TYPE"}
    return [p | {k: found.get(p["path"], {}).get(n) for k, n in names.items()} for p in parts]
