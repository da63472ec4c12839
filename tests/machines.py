"""Machines for tests, with stand-ins for lsblk, blkid, wipefs and similar programs.

A disk is a row in the types of today's lsblk. `holds`, `ends` and `busy` are what is read from the
disk itself; unless given they follow from the row, so that lsblk may know less.
"""

import json
from pathlib import Path

import pytest
from workstations import at_home

from lib.install import guard

PROGRAMS = {
    "flock": 'case "$2" in /dev/*) shift 2; exec "$@" ;; esac; exec /usr/bin/flock "$@"',
    "perl": "for last; do :; done\n"
    '[ ! -e "m/places/${last##*/}" ] || exec echo data; exec /usr/bin/head -c 65536 /dev/zero',
    "find": 'while [ "$1" != -lname ]; do shift; done; cat "m/users/${2##*/}" 2>/dev/null',
    "lsblk": """\
for last; do :; done
case "$*" in
    *-J*)
        for c in $(cat m/unknown); do
            case "$4," in *$c,*) echo "lsblk: unknown column: $c" >&2; exit 1; esac
        done
        cat m/tree ;;
    *) [ -e "m/one/${last##*/}" ] || { echo "lsblk: $last: not a block device" >&2; exit 32; }
        cat "m/one/${last##*/}" ;;
esac""",
    "blkid": """\
for last; do :; done
case "$*" in
    *export*) cat "m/export/${last##*/}" 2>/dev/null || exit 2 ;;
    *) [ -e "m/blkid/${last##*/}" ] || exit 2
        cat "m/blkid/${last##*/}"; exit $(cat "m/rc/${last##*/}") ;;
esac""",
    "wipefs": """\
case "$*" in
    *-a*) [ ! -e "m/busy/${3##*/}" ] ;;
    *) cat "m/wipefs/${2##*/}" 2>/dev/null || true ;;
esac""",
    "readlink": 'cat "m/link/${2##*/}" 2>/dev/null || echo "$2"',
    "head": 'case "$3" in /dev/*) ;; *) exec /usr/bin/head "$@" ;; esac\n'
    '[ ! -e "m/head/${3##*/}" ] || exec echo data; exec /usr/bin/head -c "$2" /dev/zero',
    "tail": 'case "$3" in /dev/*) ;; *) exec /usr/bin/tail "$@" ;; esac\n'
    '[ ! -e "m/tail/${3##*/}" ] || exec echo data; exec /usr/bin/head -c "$2" /dev/zero',
    "cat": """\
case "$1" in
    /proc/swaps) set -- m/swaps ;;
    /proc/sys/kernel/random/boot_id) set -- m/boot ;;
esac
exec /bin/cat "$@" """,
    "ls": 'case "$*" in */sys/*) exec cat m/uses ;; esac; exec /bin/ls "$@"',
    "an-installer": 'echo "$1" >>written',
}
KINDS = ("serial", "wwn", "hctl", "fstype", "pttype", "partlabel", "label")
FOLDERS = ("one", "export", "blkid", "rc", "wipefs", "busy", "link", "head", "tail", "places")
FOLDERS += ("users",)
SILENT = dict.fromkeys(("fstype", "pttype", "partlabel", "label"))  # without udev
# Columns that an lsblk does not have; before 2.33 it prints only text.
UNKNOWN = {"2.38": [], "2.29": ["MOUNTPOINTS", ",PATH", ",PTTYPE"]}


def disk(name: str, size: int, **more) -> dict:
    """Return a row of lsblk, in the types of today's version."""
    number = (ord(name[2]) - ord("a")) * 16
    row = {"name": name, "path": f"/dev/{name}", "size": size, "type": "disk", "ro": False}
    row |= {"mountpoints": [], "maj:min": f"8:{number}", "children": [], "rm": False}
    return dict.fromkeys(KINDS) | row | more


def part(name: str, size: int = 2**30, **more) -> dict:
    """Return a row of a partition."""
    return disk(name, size, type="part", **more)


SIZE = 40 * 2**30
ROOT = disk("sda", 80 * 2**30, pttype="gpt", children=[part("sda1", mountpoints=["/"])])
DATA = disk("sdb", 100 * 2**30, pttype="gpt", children=[part("sdb1", mountpoints=["/data"])])
FOREIGN = disk("sdc", SIZE, hctl="2:0:2:0")  # blank, of the same size as ours, but somebody else's
BEFORE = [ROOT, DATA, FOREIGN]  # the volume is attached
OURS = disk("sdd", SIZE, hctl="2:0:3:0")


class Machine:
    """A workstation with the disks of the last `show`."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch, programs: dict | None = None):
        self.home = home
        self.shell = at_home(home, patch, PROGRAMS | (programs or {}), "/usr/bin:/bin")
        patch.setattr(guard, "PLACES", 4)

    def show(
        self,
        rows: list[dict],
        *,
        boot: str = "b1",
        lsblk: str = "2.38",
        udev: bool = True,
        swaps: tuple = (),
        uses: tuple = (),
    ) -> None:
        """Have these disks, and an lsblk of that version, which may know nothing from udev."""
        self.rows = rows
        for folder in FOLDERS:
            (self.home / "m" / folder).mkdir(parents=True, exist_ok=True)
            for file in (self.home / "m" / folder).iterdir():
                file.unlink()
        shown = [_shaped(row, lsblk, udev) for row in rows]
        self._put("tree", json.dumps({"blockdevices": shown}, indent=3) + "\n")
        self._put("unknown", " ".join(UNKNOWN[lsblk]))
        self._put("boot", f"{boot}\n")
        self._put("swaps", "Filename Type Size Used Priority\n" + "".join(f"{s}\n" for s in swaps))
        self._put("uses", "".join(f"{u}\n" for u in uses))
        for row in rows:
            self._put_disk(row)

    def later(self, rows: list[dict]) -> str:
        """Return a command, at home, after which the machine has these disks."""
        now = self.rows
        self.show(rows)
        (self.home / "m").rename(self.home / "later")
        self.show(now)
        return "rm -rf m; cp -r later m"

    def _put_disk(self, row: dict) -> None:
        name = row["name"]
        facts = [str(row.get(k)) for k in ("size", "serial", "wwn", "hctl", "ro", "maj:min")]
        self._put(f"one/{name}", " ".join(facts) + "\n")
        holds = row.get("holds", _signatures(row))
        if holds:
            self._put(f"blkid/{name}", f"{row['path']}: {holds}\n")
            self._put(f"rc/{name}", str(row.get("rc", 0)))
        if row.get("wipefs"):
            self._put(f"wipefs/{name}", f"DEVICE OFFSET TYPE\n{name} 0x0 {row['wipefs']}\n")
        for which, is_so in (
            ("busy", row.get("busy", _in_use(row))),
            ("head", "head" in row.get("ends", ("head",) if holds else ())),
            ("tail", "tail" in row.get("ends", ())),
            ("places", "places" in row.get("ends", ())),
        ):
            if is_so:
                self._put(f"{which}/{name}", "")
        if row.get("user"):
            self._put(f"users/{name}", f"/proc/{row['user']}/fd/3\n")
        if row.get("link"):
            self._put(f"link/{name}", f"{row['link']}\n")
        for p in row["children"]:
            tags = {"DEVNAME": p["path"], "PART_ENTRY_NAME": p["partlabel"], "TYPE": p["fstype"]}
            lines = "".join(f"{k}={v}\n" for k, v in tags.items() if v)
            self._put(f"export/{p['name']}", lines)

    def _put(self, name: str, text: str) -> None:
        (self.home / "m" / name).write_text(text)

    def written(self) -> list[str]:
        """Return the disks that were written on."""
        file = self.home / "written"
        return file.read_text().split() if file.exists() else []


def _signatures(row: dict) -> str:
    """Return the signatures that blkid finds on the disk itself."""
    found = {"TYPE": row["fstype"], "PTTYPE": row["pttype"]}
    return " ".join(f'{k}="{v}"' for k, v in found.items() if v)


def _in_use(row: dict) -> bool:
    """Return whether an exclusive open of the disk fails."""
    below = row["children"]
    return bool(row["mountpoints"]) or any(c["type"] != "part" or _in_use(c) for c in below)


def _shaped(row: dict, lsblk: str, udev: bool) -> dict:
    """Return the row as that lsblk prints it."""
    raw = {
        k: v for k, v in row.items() if k in (*KINDS, "name", "kname", "size", "type", "maj:min")
    }
    raw |= {"ro": row["ro"], "rm": row["rm"]} | ({} if udev else SILENT)
    if row["children"]:
        raw["children"] = [_shaped(c, lsblk, udev) for c in row["children"]]
    raw["mountpoint"] = (row["mountpoints"] or [None])[0]
    if lsblk == "2.29":
        raw |= {"size": str(row["size"]), "ro": str(int(row["ro"])), "rm": str(int(row["rm"]))}
    return raw
