"""The workstation's disks: the volume's one is identified by evidence, never guessed.

A disk row has the columns of lsblk, plus `boot`, the id of the current boot. A volume is its row
from the cloud, with `others` and `hypervisor` added by `volumes.ours`.
"""

import json
import re
import shlex
import time
from collections.abc import Iterator

import pandas as pd

from lib import tables
from lib.errors import CheckFailed, ShellFailed
from lib.install import detached, guard
from lib.install.guard import Condition
from lib.plan import check_mode
from lib.steps import Pending, Step
from lib.workstation import identity as hosts
from lib.workstation import notes
from lib.workstation.shell import Shell, run

COLUMNS = "NAME,KNAME,PATH,SIZE,SERIAL,WWN,MODEL,HCTL,TYPE,MOUNTPOINTS,FSTYPE,PTTYPE,PARTTYPE,"
COLUMNS += "PARTLABEL,LABEL,RO,RM,PKNAME,MAJ:MIN"
OLDER = COLUMNS.replace("MOUNTPOINTS", "MOUNTPOINT")  # util-linux before 2.37
OLDEST = OLDER.replace("PATH,", "").replace("PTTYPE,", "")  # before 2.33; 2.27 is the first with -J
SAME = ("name", "size", "serial", "wwn", "hctl", "maj:min")  # constant while the disk is attached
# Devices of type disk that no hypervisor attaches.
NOT_PLUGGED = re.compile(r"(nbd|zram|ram|fd|sr|mmcblk|mtdblock|md|dm-|rbd|drbd|bcache|zd)\d")
# The prefix of udev's long form of a serial.
PREFIX = re.compile(r"0?(qemu_)?qemu_harddisk_")
# Serials of hypervisors without CloudStack: VMware with disk.EnableUUID, plain QEMU.
NOT_CLOUDSTACKS = re.compile(r"6000c29|qm\d|drive-")
# The start of a random UUID, which CloudStack gives its volumes on KVM (`diskUuidToSerial`).
CLOUDSTACKS = re.compile(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{3}")
OUR_PARTITIONS = {"EFI-SYSTEM", "BIOS-BOOT", "BOOT-B", "USR-A", "USR-B", "ROOT-C", "OEM"}
OUR_PARTITIONS |= {"OEM-CONFIG", "ROOT"}
NEXT = (
    "Nothing was written. If the disk has not appeared, have the workstation scan for it "
    "(`echo '- - -' | sudo tee /sys/class/scsi_host/host*/scan`). On KVM a disk shows its volume's "
    "serial; if it does not, stop and start the workstation. Otherwise detach the volume and all "
    "others attached since, and run 11-attach-volume, which notes the disks before it attaches."
)
WIPE = "Nothing was written. Check its contents; wipe it by hand if it may be overwritten."
RELEASE = "End these programs or unmount it on the workstation, then run this stage again."

# One command, as each costs a round trip. Of a btrfs of many disks, lsblk shows one as mounted.
LOOK = f"""\
cat /proc/sys/kernel/random/boot_id &&
{{ lsblk -J -b -o {COLUMNS} || lsblk -J -b -o {OLDER} || lsblk -J -b -o {OLDEST}; }} &&
echo IN USE && cat /proc/swaps &&
{{ ls -d /sys/class/block/*/holders/* /sys/fs/btrfs/*/devices/* 2>/dev/null; true; }}"""
# For a hot-added disk that does not appear by itself; a host without a scan file is no failure.
RESCAN = "sh -c 'for s in /sys/class/scsi_host/host*/scan; do echo \"- - -\" | tee $s; done'"
NO_EVIDENCE = "· the workstation does not show which virtual machine of the cloud it is"
UNKNOWN = "· its disk cannot be identified any more, so its use is not checked"
NO_JSON = re.compile(r"(invalid|unrecognized) option.*J")
BYTES = re.compile(r"((?:\\x[0-9a-fA-F]{2})+)|\\.")  # in the output of lsblk of util-linux 2.27
TOO_OLD = "Nothing was written. Use a workstation with a newer system, as of 2016 or later."


def inventory(shell: Shell) -> list[dict]:
    """Return all block devices of the workstation, each with its partitions under `children`.

    `uses` of a row lists its users: swap, a mapping or array, a mounted btrfs. Raises CheckFailed
    for an lsblk that is too old to print JSON.
    """
    try:
        seen = run(shell, LOOK)
    except ShellFailed as failed:
        if not NO_JSON.search(failed.said):
            raise
        found = run(shell, "lsblk --version").out.strip()
        wanted = "util-linux 2.27 or newer"
        raise CheckFailed("lsblk of the workstation", wanted, found, TOO_OLD) from None
    boot, _, rest = seen.out.partition("\n")
    listed, _, used_by = rest.partition("IN USE\n")
    uses = _uses(used_by.splitlines())
    try:
        rows = json.loads(BYTES.sub(_text, listed))["blockdevices"]
        return [{"boot": boot} | _row(r, uses) for r in rows]
    except (ValueError, LookupError, TypeError, AttributeError) as fault:
        found = f"{listed[:200]!r} ({fault!r})"
        raise CheckFailed("lsblk of the workstation", "disks as JSON", found, TOO_OLD) from None


def _text(found: re.Match) -> str:
    r"""Return the text of bytes that util-linux 2.27 and 2.28 write as \x##, invalid in JSON."""
    if not found[1]:
        return found[0]
    text = bytes.fromhex(found[1].replace(r"\x", "")).decode(errors="replace")
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


def _row(raw: dict, uses: dict) -> dict:
    """Return one row with the types of today's lsblk; older ones print only text."""
    mounts = raw.get("mountpoints") or [raw.get("mountpoint")]
    row = {k: v.strip() if isinstance(v, str) else v for k, v in raw.items()}
    row |= {"path": raw.get("path") or f"/dev/{raw['name']}", "size": int(raw["size"] or 0)}
    row |= {
        "mountpoints": [m for m in mounts if m],
        "uses": uses.get(raw.get("kname") or raw["name"], []),
    }
    row |= {k: str(raw.get(k)).lower() not in ("false", "0") for k in ("ro", "rm")}
    return row | {"children": [_row(c, uses) for c in raw.get("children") or []]}


def expected_serial(volume_id: str) -> str:
    """Return the serial that KVM gives the volume's disk, "" where ids are not UUIDs.

    >>> expected_serial("5f0c2d4e-9b31-4c6a-8e77-0d1f2a3b4c5d"), expected_serial("80921")
    ('5f0c2d4e9b314c6a8e77', '')
    """
    plain = str(volume_id).replace("-", "").lower()
    return plain[:20] if re.fullmatch(r"[0-9a-f]{32}", plain) else ""


def find_target(attach: dict, after: list[dict], volume: dict, ours: list | None = None) -> dict:
    """Return the one row of `after` that is the volume and may be written on.

    CloudStack's serial identifies it, and is required where the hypervisor sets serials. Otherwise
    it is the only new disk since the note `attach`, if the cloud attached no other volume since. It
    must be blank, but the disk of identity `ours`, on which the notes have an install of ours, may
    have CoreOS's partitions. Raises CheckFailed with a table of conditions.
    """
    before, serial = attach.get("before") or [], expected_serial(volume["id"])
    disks = [r for r in after if _is_disk(r)]
    new = [r for r in after if before and identity(r) not in map(identity, before)]
    named = [r for r in disks if serial and _serial(r) == serial]
    own = [r for r in disks if ours and (identity(r) == ours or r in named)]

    def conditions_of(row: dict) -> list[Condition]:
        identified = _identified(row, volume, attach, disks, named)
        return [*identified, *_fitness(row, volume["size"], row in own), _alone(row, after)]

    rows = [(r, conditions_of(r)) for r in after]
    lost = [] if named else _lost(before, disks)
    fit = [r for r, conditions in rows if all(met for *_, met in conditions)]
    new_disks = [r for r in disks if r in new]
    if len(fit) == 1 and not lost and (fit == named or len(new_disks) == 1):
        return fit[0]
    likely = [(r, c) for r, c in rows if r in new or r in named] or rows
    found = f"{len(fit)} of {len(disks)} disks ({len(new_disks)} new{''.join(lost)})"
    raise CheckFailed("the disk to write on", "exactly one", found, f"\n{_table(likely)}\n{NEXT}")


def _is_disk(row: dict) -> bool:
    """Return whether a row may be a volume: a whole disk, of a kind that hypervisors attach."""
    return row.get("type") == "disk" and not NOT_PLUGGED.match(row["name"])


def identity(row: dict) -> list:
    """Return the fields that identify a disk while it is attached."""
    return [row.get(k) for k in SAME]


def _serial(row: dict) -> str:
    return PREFIX.sub("", (row.get("serial") or "").lower())


def _lost(before: list[dict], disks: list[dict]) -> list[str]:
    """Return a text for each disk of `before` that changed or is gone: names may have moved."""
    now = [identity(d) for d in disks]
    gone = [r for r in before if _is_disk(r) and identity(r) not in now]
    return [f"; {r['name']} is not as it was" for r in gone]


def _identified(
    row: dict, volume: dict, attach: dict, disks: list[dict], named: list[dict]
) -> list[Condition]:
    """Return the conditions that identify the volume's disk."""
    before, serial = attach.get("before") or [], expected_serial(volume["id"])
    is_named, seen = row in named, _serial(row)
    foreign = bool(serial and seen) and not NOT_CLOUDSTACKS.match(seen)
    decides = named or foreign or (serial and _sets_serials(volume, disks))
    is_new = "yes" if identity(row) not in map(identity, before) else "no"
    is_new = is_new if before else "the disks before it were not noted"
    # Device names may change at a boot; a SCSI address stays.
    same_boot = not before or before[0].get("boot") == row.get("boot") or bool(row.get("hctl"))
    others = _attached_since(attach, volume)
    wanted = "any" if is_named else "yes"
    return [
        ("serial", serial or "any", seen or "none", is_named or not decides),
        ("new since the attach", wanted, is_new, is_named or is_new == "yes"),
        ("same boot", wanted, "yes" if same_boot else "no", is_named or same_boot),
        ("other volumes attached since", "none", others, is_named or others == "none"),
    ]


def _sets_serials(volume: dict, disks: list[dict]) -> bool:
    """Return whether this hypervisor sets a disk's serial to the start of the volume's UUID."""
    return volume.get("hypervisor") == "KVM" or any(
        CLOUDSTACKS.fullmatch(_serial(d)) for d in disks
    )


def _attached_since(attach: dict, volume: dict) -> str:
    """Return the other volumes that the cloud has attached to the machine since the note."""
    if "volumes" not in attach or "others" not in volume:
        return "unknown"
    return ", ".join(sorted({*volume["others"]} - {*attach["volumes"]})) or "none"


def _fitness(row: dict, size: int, own: bool) -> list[Condition]:
    """Return the conditions on a disk that is written on."""
    parts = [p.get("partlabel") or p["name"] for p in row["children"]]
    types = [row[k] for k in ("fstype", "pttype") if row.get(k)]
    mounts = used(row)
    own_parts = own and all(_is_our_partition(p) for p in row["children"])
    return [
        ("type", "disk", f"{row.get('type')} {row['name']}", _is_disk(row)),
        ("bytes", size, row["size"], row["size"] == size),
        ("partitions, holders", "none", " ".join(parts) or "none", not parts or own_parts),
        ("contents", "none", " ".join(types) or "none", not types or (own and types == ["gpt"])),
        ("mounts, swap, users", "none", " ".join(mounts) or "none", not mounts),
        ("read-only", "no", "yes" if row["ro"] else "no", not row["ro"]),
        ("removable", "no", "yes" if row["rm"] else "no", not row["rm"]),
    ]


def _alone(row: dict, rows: list[dict]) -> Condition:
    """Return the condition that no other device has a name that begins with this disk's."""
    own = [r["path"] for r in tree([row])]
    longer = [r["path"] for r in tree(rows) if r["path"].startswith(row["path"])]
    others = [path for path in longer if path not in own]
    return "longer names of others", "none", " ".join(others) or "none", not others


def _is_our_partition(row: dict) -> bool:
    plain = row.get("type") == "part" and not row["children"]
    return plain and row.get("partlabel") in OUR_PARTITIONS


def tree(rows: list[dict]) -> Iterator[dict]:
    """Yield the rows and all rows below them."""
    for row in rows:
        yield row
        yield from tree(row["children"])


def used(row: dict) -> list[str]:
    """Return the mount points and other users of the disk and all rows below it."""
    return [m for r in tree([row]) for m in dict.fromkeys([*r["mountpoints"], *r["uses"]])]


def _table(rows: list[tuple[dict, list[Condition]]]) -> str:
    """Return the table of conditions; a cross marks those not met."""
    lines = [("", "disk", "condition", "expected", "found")]
    for row, conditions in rows:
        lines += [("✓" if met else "✗", row["path"], *map(str, c)) for *c, met in conditions]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(x.ljust(w) for x, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def probed(shell: Shell, parts: list[dict]) -> list[dict]:
    """Return the partitions with labels and file systems, read by blkid where udev lacks them."""
    if not parts or any(p.get("partlabel") or p.get("label") for p in parts):
        return parts
    script = "; ".join(f"echo; $SUDO blkid -p -o export {shlex.quote(p['path'])}" for p in parts)
    blocks = run(shell, f"true; {script}", sudo=True, ok=(0, 2)).out.split("\n\n")
    tags = [dict(x.split("=", 1) for x in b.split("\n") if "=" in x) for b in blocks]
    found = {t.get("DEVNAME"): t for t in tags}
    return [p | _tagged(found.get(p["path"], {})) for p in parts]


def _labelled(shell: Shell, row: dict) -> dict:
    return row | {"children": probed(shell, row["children"])}


def _tagged(tags: dict) -> dict:
    names = {"partlabel": "PART_ENTRY_NAME", "label": "LABEL", "fstype": "TYPE"}
    return {k: tags.get(name) for k, name in names.items()}


def target(shell: Shell, noted: dict, volume: dict, rows: list[dict] | None = None) -> dict:
    """Read the disks now, and return the row of the volume, with its `look` for the guard.

    `noted` comes from `notes.read`, `rows` is a current inventory. Raises CheckFailed with a table
    unless exactly one disk is the volume's and is blank, or has only the install in these notes.
    """
    ours = _ours(shell, noted, volume["id"])
    attach, serial = note_on(noted, ("attach",), volume["id"]), expected_serial(volume["id"])
    rows = [_labelled(shell, r) if identity(r) == ours else r for r in rows or inventory(shell)]
    row = find_target(attach, rows, volume, ours)
    own = bool(ours) and (identity(row) == ours or _serial(row) == serial)
    look = guard.look(shell, row["path"], row["size"])
    conditions = guard.conditions(look, row["path"], row["size"], own)
    if not all(met for *_, met in conditions):
        table = _table([(row, _fitness(row, volume["size"], own) + conditions)])
        what = f"{row['path']} of volume {volume['id']} is not blank or is in use"
        raise CheckFailed(what, next_step=f"\n{table}\n{WIPE}")
    return row | {"look": look}


def _ours(shell: Shell, noted: dict, volume_id: str) -> list | None:
    """Return the identity of the disk that an install of ours wrote on, None if none did."""
    if done := note_on(noted, ("installed",), volume_id):
        return done.get("disk")
    began = note_on(noted, ("installing",), volume_id)
    return began["disk"] if began and passed_guard(shell, began) else None


def passed_guard(shell: Shell, noted: dict) -> bool:
    """Return whether an installer passed the `guard` of this note, so that it may have written."""
    mark = shlex.quote(noted.get("mark", ""))
    return run(shell, f"[ -e {mark} ]", ok=(0, 1)).rc == 0


def note_on(noted: dict, kinds: tuple[str, ...], volume_id: str) -> dict:
    """Return the first note of these kinds on the volume, {} if there is none."""
    found = (noted.get(k) or {} for k in kinds)
    return next((n for n in found if str(n.get("volume")) == str(volume_id)), {})


def note_before(
    shell: Shell, work_dir: str, plan: list[Step], mode: str, volumes: list[dict]
) -> None:
    """Note the disks before `plan` attaches a volume; do nothing if it attaches none.

    A disk that is present before the attach is never taken for the volume's. `volumes` are all that
    the cloud lists; those attached to the machine are noted too.
    """
    check_mode(mode)
    steps = [s.params for s in plan if not isinstance(s.params["id"], Pending)]
    for step in steps if mode == "apply" else []:
        machine = str(step["virtualmachineid"])
        attached = [str(v["id"]) for v in volumes if str(v.get("virtualmachineid")) == machine]
        before = {"volume": str(step["id"]), "before": inventory(shell), "volumes": attached}
        notes.update(shell, work_dir, attach=before)


def note_device(
    shell: Shell, work_dir: str, volume: dict | None, installed: str, mode: str, within: float = 30
) -> None:
    """Print and note the device of the attached volume, which has `within` seconds to appear.

    Does nothing in plan mode, without a volume, and for the `installed` one. Raises CheckFailed
    when the device cannot be identified.
    """
    check_mode(mode)
    if mode == "plan" or not volume or str(volume["id"]) == installed:
        return
    noted = notes.read(shell, work_dir)
    attach = note_on(noted, ("attach",), volume["id"]) or {"volume": str(volume["id"])}
    rows = _wait_for_disk(shell, attach.get("before") or [], within)
    machine = volume.get("virtualmachineid", "")
    evidence = hosts.demand_same(shell, machine, volume.get("hypervisor", ""))
    row = target(shell, noted, volume, rows)
    device = row["path"]
    notes.update(shell, work_dir, attach=attach | {"device": device})
    print(f"✓ {volume['name']} is {device} on {shell.name}: {_grounds(row, volume['id'])}")
    print(f"✓ it is machine {machine} by its {evidence}" if evidence else NO_EVIDENCE)


def _grounds(row: dict, volume_id: str) -> str:
    """Return the evidence for a disk, and its contents."""
    is_named = bool(_serial(row)) and _serial(row) == expected_serial(volume_id)
    evidence = f"serial {_serial(row)}" if is_named else "the only new one"
    contents = "has our earlier install" if row["children"] else "blank"
    checked = guard.checked_parts(row["size"])
    return f"{evidence}, {row['size']} bytes; {contents} and not in use (checked: {checked})"


def _wait_for_disk(shell: Shell, before: list[dict], within: float) -> list[dict]:
    """Wait for a disk that is not in `before`; return the inventory, also when time is up."""
    began, known = time.monotonic(), [identity(r) for r in before]
    while True:
        rows, waited = inventory(shell), time.monotonic() - began
        if waited >= within or any(_is_disk(r) and identity(r) not in known for r in rows):
            return rows
        if waited > within / 3:
            run(shell, RESCAN, sudo=True, ok=(0, 1))
        time.sleep(0.5)


def demand_idle(shell: Shell, work_dir: str, volume: dict | None, mode: str) -> None:
    """Raise CheckFailed if the installed volume is still in use on the workstation.

    In apply mode, processes left by our installer are ended first, and the disk's buffers are
    flushed.
    """
    check_mode(mode)
    noted = note_on(notes.read(shell, work_dir), ("installed",), (volume or {}).get("id", ""))
    serial = expected_serial(str(noted.get("volume", "")))
    rows = inventory(shell) if noted else []
    named = [r for r in rows if serial and _serial(r) == serial]
    row = next((r for r in [*named, *rows] if r in named or identity(r) == noted["disk"]), None)
    if not row:
        attached = bool(noted) and bool(volume.get("virtualmachineid"))
        return print(UNKNOWN if attached else "No installed disk of ours is attached to a machine.")
    if mode == "apply":
        detached.end(shell, notes.job(work_dir))
    users = used(row) or guard.users(shell, row["path"])
    if users:
        what = f"{row['path']} of {volume['name']} is in use: {', '.join(users)}"
        raise CheckFailed(what, next_step=RELEASE)
    if mode == "apply":
        flush(shell, row["path"])
    print(f"✓ {row['path']} is not mounted, and no program has it open")


def flush(shell: Shell, device: str) -> None:
    """Write the disk's buffers to it."""
    run(shell, f"blockdev --flushbufs {shlex.quote(device)}", sudo=True, within=600)


def table(shell: Shell) -> pd.DataFrame:
    """Return a table of the workstation's disks and partitions."""
    rows = tree(inventory(shell))
    return tables.table(rows, "path size type serial hctl fstype pttype partlabel mountpoints")
