"""The workstation: a shell in which the programs for disks act on the local cloud's volumes.

`prepare` creates its folder, `write_devices` sets the attached disks, and every stand-in starts in
`main`.
"""

from __future__ import annotations

import importlib
import os
import shlex
import sys

from . import devices, images

GIB = 2**30
ROOT_SIZE, DATA_SIZE, FOREIGN_SIZE = 80 * GIB, 100 * GIB, 40 * GIB
FOREIGN_ID = "5f0c2d4e-9b31-4c6a-8e77-0d1f2a3b4c5d"
ROOT_ID = "1d9a6f42-7be0-4f55-a1c8-93e04b7d2c16"

# The letters, and the initial disks: name, bytes, mount point.
BASE = {
    "4.22": ("vd", (("vda", ROOT_SIZE, "/"),)),
    "2.2": ("sd", (("sda", ROOT_SIZE, "/"), ("sdb", DATA_SIZE, "/data"))),
}

READERS = ("head", "tail", "cmp", "dd", "perl")
# Which module stands in for a program.
STAND_INS = {
    **dict.fromkeys(("lsblk", "blkid", "wipefs", "blockdev"), "programs"),
    **dict.fromkeys(READERS, "programs"),
    **dict.fromkeys(("mount", "umount", "findmnt"), "mounts"),
    **dict.fromkeys(("coreos-install", "flatcar-install"), "installers"),
}

SHELL = """\
#!/bin/sh
# A shell on the workstation: its programs for disks act on the local cloud's volumes.
PATH={bin}:$PATH
HOME={home}
export PATH HOME
# Without its stand-in, a name would mean the real program and the real disks of this machine.
for program in {programs}; do
    [ -x {bin}/$program ] && continue
    echo "the stand-in $program is missing or not executable: runbook local-cloud reset" >&2
    exit 126
done
cd "$HOME" || exit 1
exec /bin/sh "$@"
"""
STAND_IN = """\
#!/bin/sh
# Runs the stand-in named first. Written anew at each start of the server.
LOCALCLOUD_WORKSTATION=${{0%/*}}
export LOCALCLOUD_WORKSTATION
exec {python} -E -S -c 'import sys
sys.path.append(sys.argv.pop(1))
from lib.localcloud.workstation.shell import main
sys.exit(main(sys.argv[1:]))' {root} "$@"
"""
PROGRAM = '#!/bin/sh\nexec /bin/sh "${0%/*}/../stand-in" "${0##*/}" "$@"\n'
READER = """\
#!/bin/sh
# The real program, unless it is to read or write one of the workstation's disks.
case "$*" in
    */dev/[sv]d*) exec /bin/sh "${0%/*}/../stand-in" "${0##*/}" "$@" ;;
esac
command -p "${0##*/}" "$@"
"""
CAT = """\
#!/bin/sh
# The real program, but what tells one machine from another is the workstation's own.
case "$*" in
    /sys/class/dmi/id/* | */*instance-id) set -- "${0%/*}/../dmi/${1##*/}" ;;
    /proc/swaps) set -- /dev/null ;;
esac
command -p cat "$@"
"""
LS = """\
#!/bin/sh
# The real program, but what the kernel of this machine has in use is not the workstation's.
case "$*" in
    */sys/*) exit 0 ;;
esac
command -p ls "$@"
"""
FLOCK = """\
#!/bin/sh
# The real program; but the workstation's disks need no holding, as their names never change.
case "$2" in
    /dev/[sv]d*) shift 2; exec "$@" ;;
esac
command -p flock "$@"
"""
WGET = """\
#!/bin/sh
# There is no network behind the workstation: what installers download is simulated.
echo "wget: unable to resolve host address" >&2
exit 4
"""
NEEDED = ("gpg", "bunzip2", "btrfstune", "gawk", "lvm")
UNUSED = """\
#!/bin/sh
# Real installers need this; their stand-ins do without. It is the real one where there is one.
command -p "${0##*/}" "$@"
"""
MODPROBE = """\
#!/bin/sh
# Its kernel has what installers mount, whatever that of this machine has.
exit 0
"""
TEE = """\
#!/bin/sh
# The real program; but there is no bus of disks to look over, as they appear at once.
case "$*" in
    */sys/class/scsi_host/*) command -p cat >/dev/null; exit 0 ;;
esac
command -p tee "$@"
"""
SUDO = """\
#!/bin/sh
# Whoever uses the workstation may do everything on its disks: no question, no change of user.
while :; do
    case "$1" in
        -u | -g) shift 2 ;;
        --) shift; break ;;
        -v | -k) exit 0 ;;
        -*) shift ;;
        *=*) export "$1"; shift ;;
        *) break ;;
    esac
done
[ $# -gt 0 ] || { echo "usage: sudo [-n] command" >&2; exit 1; }
command -v -- "$1" >/dev/null || { echo "sudo: $1: command not found" >&2; exit 1; }
exec "$@"
"""
UDEVADM = """\
#!/bin/sh
# Devices appear at once here, so there is never anything to wait for.
case "$1" in
    settle | trigger) exit 0 ;;
esac
echo "udevadm: only settle and trigger are there" >&2
exit 1
"""


def prepare(folder: os.PathLike, dialect: str) -> None:
    """Create the workstation's folder in an instance's; existing programs stay."""
    home = os.path.join(folder, "workstation")
    for name in ("bin", "home", "disks", "dmi"):
        os.makedirs(os.path.join(home, name), exist_ok=True)
    write_program(os.path.join(home, "shell"), _shell_text(home))
    write_program(os.path.join(home, "stand-in"), with_python(STAND_IN))
    scripts = dict.fromkeys(STAND_INS, PROGRAM) | dict.fromkeys(READERS, READER)
    scripts |= dict.fromkeys(NEEDED, UNUSED) | {
        "sudo": SUDO,
        "udevadm": UDEVADM,
        "cat": CAT,
        "ls": LS,
        "flock": FLOCK,
        "wget": WGET,
        "tee": TEE,
        "modprobe": MODPROBE,
    }
    for name, text in scripts.items():
        path = os.path.join(home, "bin", name)
        if not os.path.exists(path):
            write_program(path, text)
    if not os.path.exists(os.path.join(home, "devices.json")):
        write_devices(folder, dialect, [])


def set_identity(folder: os.PathLike, dialect: str, machine: str) -> None:
    """Set the workstation's machine id, which KVM's firmware shows and VMware's does not."""
    vendor, ident = "VMware, Inc.", "420b6f1e-5d3c-8a47-91e2-c07d54f3b6a8"
    if dialect == "4.22":
        vendor, ident = "Apache Software Foundation", machine
    for name, text in (("sys_vendor", vendor), ("product_uuid", ident)):
        write_program(os.path.join(folder, "workstation", "dmi", name), f"{text}\n")


def set_time_scale(folder: os.PathLike, scale: float) -> None:
    """Set the length of the installers' simulated second."""
    write_program(os.path.join(folder, "workstation", "time-scale"), f"{scale}\n")


def _shell_text(home: str) -> str:
    here = os.path.abspath(home)
    places = {name: shlex.quote(os.path.join(here, name)) for name in ("bin", "home")}
    return SHELL.format(programs=" ".join(("sudo", *STAND_INS)), **places)


def with_python(script: str) -> str:
    """Fill in the Python that runs a script's module, and the path of its packages."""
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
    return script.format(python=shlex.quote(sys.executable), root=shlex.quote(root))


def write_program(path: str, text: str) -> None:
    """Write an executable file as a whole, as it may be starting at this moment."""
    part = f"{path}.{os.getpid()}"
    with open(part, "w") as file:
        file.write(text)
    os.chmod(part, 0o755)
    os.replace(part, path)


def write_devices(folder: os.PathLike, dialect: str, attached: list[dict]) -> None:
    """Set the attached volumes: dicts of deviceid, file, size, id, foreign.

    A disk keeps its name; a new one gets the first free letter, in the order of deviceid. A foreign
    disk comes first; without one in the list, a blank one is added.
    """
    home = os.path.join(folder, "workstation")
    if not any(volume["foreign"] for volume in attached):
        attached = [_foreign(home, dialect), *attached]
    attached = sorted(attached, key=lambda v: (not v["foreign"], v["deviceid"]))
    prefix, base = BASE[dialect]
    rows = [_base_row(dialect, *disk) for disk in base]
    names = _names(home, [v["file"] for v in attached], prefix, len(base))
    rows += [_volume_row(dialect, names[v["file"]], v) for v in attached]
    devices.save(home, "devices.json", sorted(rows, key=lambda row: row["name"]))


def _foreign(home: str, dialect: str) -> dict:
    path = os.path.join(os.path.abspath(home), "disks", "foreign.raw")
    if not os.path.exists(path):
        images.create_blank(path, FOREIGN_SIZE)
    place = {"file": path, "size": FOREIGN_SIZE, "deviceid": len(BASE[dialect][1])}
    return place | {"id": FOREIGN_ID, "foreign": True}


def _names(home: str, files: list[str], prefix: str, taken: int) -> dict[str, str]:
    """Return the device name of each file."""
    before = {row["file"]: row["name"] for row in devices.read(home, "devices.json")}
    kept = {file: before[file] for file in files if file in before}
    letters = "abcdefghijklmnopqrstuvwxyz"[taken:]
    free = iter(n for n in (prefix + x for x in letters) if n not in kept.values())
    return {file: kept.get(file) or next(free) for file in files}


def _base_row(dialect: str, name: str, size: int, mountpoint: str) -> dict:
    part = {"name": f"{name}1", "size": size - 2 * images.MIB, "mountpoint": mountpoint}
    row = {"name": name, "size": size, "file": None, "mountpoint": None, "partitions": [part]}
    return row | _hardware(dialect, "abc".index(name[2]), ROOT_ID)


def _volume_row(dialect: str, name: str, volume: dict) -> dict:
    row = {"name": name, "size": volume["size"], "file": str(volume["file"])}
    row |= {"mountpoint": None, "partitions": None}
    return row | _hardware(dialect, volume["deviceid"], volume["id"])


def _hardware(dialect: str, number: int, ident: str) -> dict:
    """Return the identity from the virtual hardware: a serial on KVM, a SCSI address on VMware."""
    if dialect == "4.22":
        return {"serial": str(ident).replace("-", "")[:20], "hctl": None, "model": None}
    # Device 3 is the CD-ROM, which is not on the SCSI bus, so what follows moves up.
    place = number - 1 if number > 3 else number
    return {"serial": None, "hctl": f"2:0:{place}:0", "model": "Virtual disk"}


def main(argv: list[str]) -> int:
    """Be the program named first; return its exit code."""
    name, *args = argv
    if name not in STAND_INS:
        print(f"{name}: the workstation has no such stand-in", file=sys.stderr)
        return 127
    home = os.environ["LOCALCLOUD_WORKSTATION"]
    module = importlib.import_module(f".{STAND_INS[name]}", __package__)
    try:
        return module.PROGRAMS[name](home, args)
    except devices.Failed as error:
        print(error, file=sys.stderr)
        return error.rc


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
