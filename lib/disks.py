"""The workstation's disks: which one is ours is determined, never guessed.

A disk row is what lsblk says of it, plus `boot`, the id of the boot in which it was seen.
"""

import hashlib
import json
import re
import shlex
import time
from collections.abc import Iterator

import pandas as pd

from lib import hosts, notes, tables
from lib.errors import CheckFailed
from lib.plan import Pending, Step, check_mode
from lib.shell import Shell, run

MIB = 2**20
COLUMNS = "NAME,PATH,SIZE,SERIAL,WWN,MODEL,HCTL,TYPE,MOUNTPOINTS,FSTYPE,PTTYPE,PARTTYPE,PARTLABEL,"
COLUMNS += "LABEL,RO,PKNAME,MAJ:MIN"
OLDER = COLUMNS.replace("PATH,", "").replace("MOUNTPOINTS", "MOUNTPOINT")  # util-linux before 2.37
SAME = ("name", "size", "serial", "wwn", "hctl", "maj:min")  # what a disk keeps while attached
# Serials that hypervisors give by themselves: VMware with disk.EnableUUID, plain QEMU.
NOT_CLOUDSTACKS = re.compile(r"6000c29|QM\d|drive-")
OUR_PARTITIONS = {"EFI-SYSTEM", "BIOS-BOOT", "BOOT-B", "USR-A", "USR-B", "ROOT-C", "OEM"}
OUR_PARTITIONS |= {"OEM-CONFIG", "ROOT"}
NEXT = (
    "Nothing was written. If the disk has not appeared, have the workstation look for it "
    "(`echo '- - -' | sudo tee /sys/class/scsi_host/host*/scan`). Otherwise detach the volume and "
    "run 11-attach-volume, which notes the disks before it attaches."
)

# Where a hot-added disk does not show by itself; a host that cannot be asked is no failure.
RESCAN = "sh -c 'for s in /sys/class/scsi_host/host*/scan; do echo \"- - -\" | tee $s; done'"
CANNOT_TELL = "· whether it is the machine that the cloud means cannot be told on it"
CHANGED = 76  # exit code of the guard

Condition = tuple[str, object, object, bool]  # what, wanted, found, met


def inventory(shell: Shell) -> list[dict]:
    """Return all block devices of the workstation, each with its partitions under `children`."""
    boot = "cat /proc/sys/kernel/random/boot_id"
    seen = run(shell, f"{boot} && {{ lsblk -J -b -o {COLUMNS} || lsblk -J -b -o {OLDER}; }}")
    boot, _, listed = seen.out.partition("\n")
    return [{"boot": boot} | _row(r) for r in json.loads(listed)["blockdevices"]]


def _row(raw: dict) -> dict:
    """Return one row with the types of today's lsblk; older ones say everything as text."""
    mounts = raw.get("mountpoints") or [raw.get("mountpoint")]
    row = {k: v.strip() if isinstance(v, str) else v for k, v in raw.items()}
    row |= {"path": raw.get("path") or f"/dev/{raw['name']}", "size": int(raw["size"] or 0)}
    row |= {"mountpoints": [m for m in mounts if m]}
    row |= {"ro": str(raw.get("ro")).lower() not in ("false", "0")}
    return row | {"children": [_row(c) for c in raw.get("children") or []]}


def expected_serial(volume_id: str) -> str:
    """Return the serial that KVM gives the volume's disk, "" where ids are not UUIDs.

    >>> expected_serial("5f0c2d4e-9b31-4c6a-8e77-0d1f2a3b4c5d"), expected_serial("80921")
    ('5f0c2d4e9b314c6a8e77', '')
    """
    plain = str(volume_id).replace("-", "").lower()
    return plain[:20] if re.fullmatch(r"[0-9a-f]{32}", plain) else ""


def find_target(
    before: list[dict] | None,
    after: list[dict],
    *,
    size: int,
    serial: str = "",
    ours: list | None = None,
) -> dict:
    """Return the one row of `after` that is the volume of `size` bytes, fit to be written on.

    It is known by CloudStack's `serial`; a disk without one is known by being the only new one
    since `before`. It must look blank; but the disk of identity `ours`, of which an install was
    noted, may hold CoreOS's partitions. Raises CheckFailed with a table of conditions.
    """
    disks = [r for r in after if r.get("type") == "disk"]
    new = [r for r in disks if before and identity(r) not in map(identity, before)]
    named = [r for r in disks if serial and _serial(r) == serial]
    own = [r for r in disks if ours and (identity(r) == ours or r in named)]
    rows = [(r, _whose(r, before, new, named, serial) + _fitness(r, size, r in own)) for r in disks]
    lost = [] if named else _lost(before or [], disks)
    fit = [r for r, conditions in rows if all(met for *_, met in conditions)]
    if len(fit) == 1 and not lost and (fit == named or len(new) == 1):
        return fit[0]
    likely = [(r, c) for r, c in rows if r in new or r in named] or rows
    found = f"{len(fit)} of {len(disks)} disks ({len(new)} new{''.join(lost)})"
    shown = f"\n{_shown(likely)}\n{NEXT}"
    raise CheckFailed("the disk to write on", "exactly one", found, next_step=shown)


def identity(row: dict) -> list:
    """Return what tells a disk from others for as long as it is attached."""
    return [row.get(k) for k in SAME]


def _serial(row: dict) -> str:
    return (row.get("serial") or "").lower()


def _lost(before: list[dict], disks: list[dict]) -> list[str]:
    """Say which disks of before are not there as they were: names may have moved."""
    now = [identity(d) for d in disks]
    gone = [r for r in before if r.get("type") == "disk" and identity(r) not in now]
    return [f"; {r['name']} is not as it was" for r in gone]


def _whose(
    row: dict, before: list[dict] | None, new: list[dict], named: list[dict], serial: str
) -> list[Condition]:
    """Return the conditions by which a disk is known to be the volume's."""
    is_named, is_new = row in named, "yes" if row in new else "no"
    seen = is_new if before else "the disks before it were not noted"
    foreign = bool(serial and _serial(row)) and not NOT_CLOUDSTACKS.match(row["serial"])
    # Letters may be dealt anew at a boot; a SCSI address stays.
    same_boot = not before or before[0].get("boot") == row.get("boot") or bool(row.get("hctl"))
    return [
        ("serial", serial or "any", _serial(row) or "none", is_named or not (named or foreign)),
        ("new since the attach", "yes", seen, is_named or row in new),
        ("same boot", "yes", "yes" if same_boot else "no", is_named or same_boot),
    ]


def _fitness(row: dict, size: int, own: bool) -> list[Condition]:
    """Return the conditions by which a disk may be written on."""
    parts = [p.get("partlabel") or p["name"] for p in row["children"]]
    types = [row[k] for k in ("fstype", "pttype") if row.get(k)]
    mounts = used(row)
    own_parts = own and all(_is_our_partition(p) for p in row["children"])
    return [
        ("bytes", size, row["size"], row["size"] == size),
        ("partitions, holders", "none", " ".join(parts) or "none", not parts or own_parts),
        ("contents", "none", " ".join(types) or "none", not types or (own and types == ["gpt"])),
        ("mounts, swap", "none", " ".join(mounts) or "none", not mounts),
        ("read-only", "no", "yes" if row["ro"] else "no", not row["ro"]),
    ]


def _is_our_partition(row: dict) -> bool:
    plain = row.get("type") == "part" and not row["children"]
    return plain and row.get("partlabel") in OUR_PARTITIONS


def tree(rows: list[dict]) -> Iterator[dict]:
    """Yield the rows with all that is below them."""
    for row in rows:
        yield row
        yield from tree(row["children"])


def used(row: dict) -> list[str]:
    """Return where the disk and all below it are mounted; swap counts."""
    return [m for r in tree([row]) for m in r["mountpoints"]]


def _shown(rows: list[tuple[dict, list[Condition]]]) -> str:
    """Return the table of conditions; a cross marks the ones that are not met."""
    lines = [("", "disk", "condition", "wanted", "found")]
    for row, conditions in rows:
        lines += [("✓" if met else "✗", row["path"], *map(str, c)) for *c, met in conditions]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(x.ljust(w) for x, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def blank(shell: Shell, device: str) -> list[str]:
    """Return the reasons why a disk is not blank, none if it is.

    What cannot be read counts as not blank: the ends are compared by their SHA-256.
    """
    at, zeros = shlex.quote(device), hashlib.sha256(bytes(MIB)).hexdigest()
    probes = f"blkid -p {at} 2>&1; echo rc $?; $SUDO wipefs -n {at} 2>&1; echo rc $?"
    probes += f"; $SUDO wipefs -n -a {at} >/dev/null 2>&1 || echo busy"
    ends = f"$SUDO head -c {MIB} {at} | sha256sum; $SUDO tail -c {MIB} {at} | sha256sum"
    *probed, head, tail = run(shell, f"{probes}; {ends}", sudo=True, within=600).out.splitlines()
    said = [line for line in probed if not line.startswith(("rc ", "busy"))]
    reasons = [f"it shows {line}" for line in said]
    reasons += ["it cannot be opened for us alone: something uses it"] if "busy" in probed else []
    reasons += [] if reasons or probed == ["rc 2", "rc 0"] else ["blkid and wipefs cannot read it"]
    reasons += [] if head.startswith(zeros) else ["its first MiB is not all zero"]
    return reasons + ([] if tail.startswith(zeros) else ["its last MiB is not all zero"])


def probed(shell: Shell, parts: list[dict]) -> list[dict]:
    """Return the partitions with their labels and file systems, read from them if need be.

    lsblk tells them only where udev does.
    """
    if not parts or any(p.get("partlabel") or p.get("label") for p in parts):
        return parts
    asked = "; ".join(f"echo; $SUDO blkid -p -o export {shlex.quote(p['path'])}" for p in parts)
    blocks = run(shell, f"true; {asked}", sudo=True, ok=(0, 2)).out.split("\n\n")
    tags = [dict(x.split("=", 1) for x in b.split("\n") if "=" in x) for b in blocks]
    found = {t.get("DEVNAME"): t for t in tags}
    return [p | _tagged(found.get(p["path"], {})) for p in parts]


def _labelled(shell: Shell, row: dict) -> dict:
    return row | {"children": probed(shell, row["children"])}


def _tagged(tags: dict) -> dict:
    names = {"partlabel": "PART_ENTRY_NAME", "label": "LABEL", "fstype": "TYPE"}
    return {k: tags.get(name) for k, name in names.items()}


def guard(noted: dict) -> str:
    """Return a command for root that fails unless the noted disk is there, the same and unused.

    It is for the last moment before writing: the name may have been dealt anew since the checks.
    `wipefs -n` writes nothing, but with -a it opens the disk as one that will: exclusively.
    """
    at, same = shlex.quote(noted["device"]), dict(zip(SAME, noted["disk"], strict=True))
    known = [same[k] for k in ("size", "serial", "wwn", "hctl") if same[k] is not None]
    wanted = shlex.quote(" ".join(" ".join(map(str, known)).split()))
    return f"""\
set -- $(lsblk -b -d -n -o SIZE,SERIAL,WWN,HCTL {at}) && if [ "$*" != {wanted} ]; then
echo {at} is not the disk that was checked: now it is "$*" >&2; exit {CHANGED}; fi &&
if [ "$(readlink -f {at})" != {at} ]; then echo {at} is another name >&2; exit {CHANGED}; fi &&
if ! wipefs -n -a {at} >/dev/null; then echo {at} is in use >&2; exit {CHANGED}; fi"""


def target(shell: Shell, noted: dict, *, volume_id: str, size: int) -> str:
    """Return the device path of `target_row`."""
    return target_row(shell, noted, volume_id=volume_id, size=size)["path"]


def target_row(shell: Shell, noted: dict, *, volume_id: str, size: int) -> dict:
    """Look at the disks now, and return the row of the volume of `size` bytes.

    `noted` is what `notes.read` returns. Raises CheckFailed unless exactly one disk is known to be
    the volume's and is blank, or holds nothing but an install that these notes tell of.
    """
    ours = about(noted, ("installed", "installing"), volume_id).get("disk")
    before = about(noted, ("attach",), volume_id).get("before")
    serial = expected_serial(volume_id)
    rows = [_labelled(shell, r) if identity(r) == ours else r for r in inventory(shell)]
    row = find_target(before, rows, size=size, serial=serial, ours=ours)
    own = ours and (identity(row) == ours or _serial(row) == serial)
    reasons = [r for r in blank(shell, row["path"]) if not own or " TYPE=" in r or "cannot" in r]
    if reasons:
        raise CheckFailed(
            f"{row['path']} of volume {volume_id}",
            "blank",
            "; ".join(reasons),
            "Nothing was written. See what it holds; to use it all the same, wipe it by hand.",
        )
    return row


def about(noted: dict, kinds: tuple[str, ...], volume_id: str) -> dict:
    """Return the first of these notes that is about the volume, {} if there is none."""
    found = (noted.get(k) or {} for k in kinds)
    return next((n for n in found if str(n.get("volume")) == str(volume_id)), {})


def note_before(shell: Shell, work_dir: str, plan: list[Step], mode: str) -> None:
    """Note the disks there are, before `plan` attaches a volume; nothing if it will not.

    Must come before the attach: a disk that is there by then is never taken for the volume's.
    """
    check_mode(mode)
    volumes = [s.params["id"] for s in plan if not isinstance(s.params["id"], Pending)]
    for volume in volumes if mode == "apply" else []:
        before = {"volume": str(volume), "before": inventory(shell)}
        notes.update(shell, work_dir, attach=before)


def note_device(
    shell: Shell,
    work_dir: str,
    volume: dict | None,
    installed: str,
    mode: str,
    *,
    within: float = 30.0,
) -> None:
    """Say and note which device the attached volume became, giving it `within` seconds to appear.

    Does nothing in plan mode, without a volume, and for the `installed` one. Raises CheckFailed
    when it cannot be told.
    """
    check_mode(mode)
    if mode == "plan" or not volume or str(volume["id"]) == installed:
        return
    noted = notes.read(shell, work_dir)
    attach = about(noted, ("attach",), volume["id"]) or {"volume": str(volume["id"])}
    deadline = time.monotonic() + within
    scan_at = time.monotonic() + within / 3
    while time.monotonic() < deadline and len(inventory(shell)) == len(attach.get("before", [])):
        if time.monotonic() > scan_at:
            run(shell, RESCAN, sudo=True, ok=(0, 1))
        time.sleep(0.5)
    machine, hypervisor = volume.get("virtualmachineid", ""), volume.get("hypervisor", "")
    known = hosts.demand_same(shell, machine, hypervisor)
    device = target(shell, noted, volume_id=volume["id"], size=volume["size"])
    notes.update(shell, work_dir, attach=attach | {"device": device})
    print(f"✓ {volume['name']} is {device} on {shell.name}")
    print(f"✓ it is machine {machine} by its {known}" if known else CANNOT_TELL)


def table(shell: Shell) -> pd.DataFrame:
    """Return a table of the workstation's disks and partitions."""
    rows = tree(inventory(shell))
    return tables.table(rows, "path size type serial hctl fstype pttype partlabel mountpoints")
