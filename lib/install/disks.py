"""The workstation's disks: which one is ours is determined, never guessed.

A disk row is what lsblk says of it, plus `boot`, the id of the boot in which it was seen. A volume
is its row from the cloud, with `others` and `hypervisor` as `volumes.ours` adds them.
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
OLDEST = OLDER.replace("PATH,", "").replace("PTTYPE,", "")  # before 2.33; 2.27 is the first of all
SAME = ("name", "size", "serial", "wwn", "hctl", "maj:min")  # what a disk keeps while attached
# What lsblk calls a disk too, though no hypervisor plugs it in.
NOT_PLUGGED = re.compile(r"(nbd|zram|ram|fd|sr|mmcblk|mtdblock|md|dm-|rbd|drbd|bcache|zd)\d")
# What udev's long form of a serial begins with.
PREFIX = re.compile(r"0?(qemu_)?qemu_harddisk_")
# Serials that hypervisors give by themselves: VMware with disk.EnableUUID, plain QEMU.
NOT_CLOUDSTACKS = re.compile(r"6000c29|qm\d|drive-")
# The start of a random UUID, which CloudStack gives its volumes on KVM (`diskUuidToSerial`).
CLOUDSTACKS = re.compile(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{3}")
OUR_PARTITIONS = {"EFI-SYSTEM", "BIOS-BOOT", "BOOT-B", "USR-A", "USR-B", "ROOT-C", "OEM"}
OUR_PARTITIONS |= {"OEM-CONFIG", "ROOT"}
NEXT = (
    "Nothing was written. If the disk has not appeared, have the workstation look for it "
    "(`echo '- - -' | sudo tee /sys/class/scsi_host/host*/scan`). On KVM a disk shows its volume's "
    "serial; where it does not, stop and start the workstation. Otherwise detach what else was "
    "attached, and the volume, and run 11-attach-volume, which notes the disks before it attaches."
)
WIPE = "Nothing was written. See what it holds; to use it all the same, wipe it by hand."
LET_GO = "End it on the workstation, or umount it there, then run this stage again."

# All in one go, as each look costs a round trip. lsblk names one disk of a mounted btrfs of many.
LOOK = f"""\
cat /proc/sys/kernel/random/boot_id &&
{{ lsblk -J -b -o {COLUMNS} || lsblk -J -b -o {OLDER} || lsblk -J -b -o {OLDEST}; }} &&
echo IN USE && cat /proc/swaps &&
{{ ls -d /sys/class/block/*/holders/* /sys/fs/btrfs/*/devices/* 2>/dev/null; true; }}"""
# Where a hot-added disk does not show by itself; a host that cannot be asked is no failure.
RESCAN = "sh -c 'for s in /sys/class/scsi_host/host*/scan; do echo \"- - -\" | tee $s; done'"
CANNOT_TELL = "· whether it is the machine that the cloud means cannot be told on it"
UNKNOWN = "· which disk it is cannot be told here any more, so nobody looked whether it is in use"
NO_JSON = re.compile(r"(invalid|unrecognized) option.*J")
BYTES = re.compile(r"((?:\\x[0-9a-fA-F]{2})+)|\\.")  # in what lsblk of util-linux 2.27 prints
TOO_OLD = "Nothing was written. Use a workstation with a newer system, as of 2016 or later."


def inventory(shell: Shell) -> list[dict]:
    """Return all block devices of the workstation, each with its partitions under `children`.

    `uses` of a row tells what has it: swap, a mapping or array, a mounted btrfs. Raises CheckFailed
    for an lsblk that is too old to tell them as data.
    """
    try:
        seen = run(shell, LOOK)
    except ShellFailed as failed:
        if not NO_JSON.search(failed.said):
            raise
        found = run(shell, "lsblk --version").out.strip()
        wanted = "util-linux 2.27 or newer"
        raise CheckFailed("lsblk of the workstation", wanted, found, TOO_OLD) from None
    boot, _, told = seen.out.partition("\n")
    listed, _, used_by = told.partition("IN USE\n")
    uses = _uses(used_by.splitlines())
    try:
        rows = json.loads(BYTES.sub(_text, listed))["blockdevices"]
        return [{"boot": boot} | _row(r, uses) for r in rows]
    except (ValueError, LookupError, TypeError, AttributeError) as fault:
        found = f"{listed[:200]!r} ({fault!r})"
        raise CheckFailed("lsblk of the workstation", "disks as JSON", found, TOO_OLD) from None


def _text(found: re.Match) -> str:
    r"""Return bytes that lsblk of util-linux 2.27 and 2.28 writes as \x##, which JSON has not."""
    if not found[1]:
        return found[0]
    text = bytes.fromhex(found[1].replace(r"\x", "")).decode(errors="replace")
    return json.dumps(text)[1:-1]


def _uses(lines: list[str]) -> dict[str, list[str]]:
    """Return by name what has a device, from /proc/swaps and paths of /sys.

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
    """Return one row with the types of today's lsblk; older ones say everything as text."""
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
    """Return the one row of `after` that is the volume, fit to be written on.

    It is known by CloudStack's serial, which is demanded where the hypervisor gives serials. Else
    it is known by being the only new one since the note `attach`, if the cloud has attached nothing
    else since. It must look blank; but the disk of identity `ours`, of which an install was noted,
    may hold CoreOS's partitions. Raises CheckFailed with a table of conditions.
    """
    before, serial = attach.get("before") or [], expected_serial(volume["id"])
    disks = [r for r in after if _is_disk(r)]
    new = [r for r in after if before and identity(r) not in map(identity, before)]
    named = [r for r in disks if serial and _serial(r) == serial]
    own = [r for r in disks if ours and (identity(r) == ours or r in named)]

    def judged(row: dict) -> list[Condition]:
        known = _identified(row, volume, attach, disks, named)
        return [*known, *_fitness(row, volume["size"], row in own), _alone(row, after)]

    rows = [(r, judged(r)) for r in after]
    lost = [] if named else _lost(before, disks)
    fit = [r for r, conditions in rows if all(met for *_, met in conditions)]
    new_disks = [r for r in disks if r in new]
    if len(fit) == 1 and not lost and (fit == named or len(new_disks) == 1):
        return fit[0]
    likely = [(r, c) for r, c in rows if r in new or r in named] or rows
    found = f"{len(fit)} of {len(disks)} disks ({len(new_disks)} new{''.join(lost)})"
    shown = f"\n{_shown(likely)}\n{NEXT}"
    raise CheckFailed("the disk to write on", "exactly one", found, next_step=shown)


def _is_disk(row: dict) -> bool:
    """Tell whether it may be a volume: a whole disk, of a kind that hypervisors plug in."""
    return row.get("type") == "disk" and not NOT_PLUGGED.match(row["name"])


def identity(row: dict) -> list:
    """Return what tells a disk from others for as long as it is attached."""
    return [row.get(k) for k in SAME]


def _serial(row: dict) -> str:
    return PREFIX.sub("", (row.get("serial") or "").lower())


def _lost(before: list[dict], disks: list[dict]) -> list[str]:
    """Say which disks of before are not there as they were: names may have moved."""
    now = [identity(d) for d in disks]
    gone = [r for r in before if _is_disk(r) and identity(r) not in now]
    return [f"; {r['name']} is not as it was" for r in gone]


def _identified(
    row: dict, volume: dict, attach: dict, disks: list[dict], named: list[dict]
) -> list[Condition]:
    """Return the conditions by which a disk is known to be the volume's."""
    before, serial = attach.get("before") or [], expected_serial(volume["id"])
    is_named, seen = row in named, _serial(row)
    foreign = bool(serial and seen) and not NOT_CLOUDSTACKS.match(seen)
    told = named or foreign or (serial and _gives_serials(volume, disks))
    is_new = "yes" if identity(row) not in map(identity, before) else "no"
    is_new = is_new if before else "the disks before it were not noted"
    # Letters may be dealt anew at a boot; a SCSI address stays.
    same_boot = not before or before[0].get("boot") == row.get("boot") or bool(row.get("hctl"))
    others = _attached_since(attach, volume)
    wanted = "any" if is_named else "yes"
    return [
        ("serial", serial or "any", seen or "none", is_named or not told),
        ("new since the attach", wanted, is_new, is_named or is_new == "yes"),
        ("same boot", wanted, "yes" if same_boot else "no", is_named or same_boot),
        ("other volumes attached since", "none", others, is_named or others == "none"),
    ]


def _gives_serials(volume: dict, disks: list[dict]) -> bool:
    """Tell whether disks of this machine show the start of their volume's UUID as their serial."""
    return volume.get("hypervisor") == "KVM" or any(
        CLOUDSTACKS.fullmatch(_serial(d)) for d in disks
    )


def _attached_since(attach: dict, volume: dict) -> str:
    """Say which other volumes the cloud has attached to the machine since the note."""
    if "volumes" not in attach or "others" not in volume:
        return "not known"
    return ", ".join(sorted({*volume["others"]} - {*attach["volumes"]})) or "none"


def _fitness(row: dict, size: int, own: bool) -> list[Condition]:
    """Return the conditions by which a disk may be written on."""
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
    """Return the condition that an installer which looks for DEVICE* finds only this disk's."""
    own = [r["path"] for r in tree([row])]
    longer = [r["path"] for r in tree(rows) if r["path"].startswith(row["path"])]
    others = [path for path in longer if path not in own]
    return "longer names of others", "none", " ".join(others) or "none", not others


def _is_our_partition(row: dict) -> bool:
    plain = row.get("type") == "part" and not row["children"]
    return plain and row.get("partlabel") in OUR_PARTITIONS


def tree(rows: list[dict]) -> Iterator[dict]:
    """Yield the rows with all that is below them."""
    for row in rows:
        yield row
        yield from tree(row["children"])


def used(row: dict) -> list[str]:
    """Return where the disk and all below it are mounted, and what else has them."""
    return [m for r in tree([row]) for m in dict.fromkeys([*r["mountpoints"], *r["uses"]])]


def _shown(rows: list[tuple[dict, list[Condition]]]) -> str:
    """Return the table of conditions; a cross marks the ones that are not met."""
    lines = [("", "disk", "condition", "wanted", "found")]
    for row, conditions in rows:
        lines += [("✓" if met else "✗", row["path"], *map(str, c)) for *c, met in conditions]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(x.ljust(w) for x, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


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


def target(shell: Shell, noted: dict, volume: dict, rows: list[dict] | None = None) -> dict:
    """Look at the disks now, and return the row of the volume, with its `look` for the guard.

    `noted` is what `notes.read` returns, `rows` an inventory of just now. Raises CheckFailed with
    a table unless exactly one disk is known to be the volume's and is blank, or holds nothing but
    an install that these notes tell of.
    """
    ours = _ours(shell, noted, volume["id"])
    attach, serial = about(noted, ("attach",), volume["id"]), expected_serial(volume["id"])
    rows = [_labelled(shell, r) if identity(r) == ours else r for r in rows or inventory(shell)]
    row = find_target(attach, rows, volume, ours)
    own = bool(ours) and (identity(row) == ours or _serial(row) == serial)
    look = guard.look(shell, row["path"], row["size"])
    conditions = guard.conditions(look, row["path"], row["size"], own)
    if not all(met for *_, met in conditions):
        shown = f"\n{_shown([(row, _fitness(row, volume['size'], own) + conditions)])}\n{WIPE}"
        raise CheckFailed(f"{row['path']} of volume {volume['id']}", "blank", "another", shown)
    return row | {"look": look}


def _ours(shell: Shell, noted: dict, volume_id: str) -> list | None:
    """Return the identity of the disk that we wrote on, None if an install did not come so far."""
    if done := about(noted, ("installed",), volume_id):
        return done.get("disk")
    began = about(noted, ("installing",), volume_id)
    return began["disk"] if began and was_let_at(shell, began) else None


def was_let_at(shell: Shell, noted: dict) -> bool:
    """Tell whether an installer passed the `guard` of this note, so that the disk may be ours."""
    mark = shlex.quote(noted.get("mark", ""))
    return run(shell, f"[ -e {mark} ]", ok=(0, 1)).rc == 0


def about(noted: dict, kinds: tuple[str, ...], volume_id: str) -> dict:
    """Return the first of these notes that is about the volume, {} if there is none."""
    found = (noted.get(k) or {} for k in kinds)
    return next((n for n in found if str(n.get("volume")) == str(volume_id)), {})


def note_before(
    shell: Shell, work_dir: str, plan: list[Step], mode: str, volumes: list[dict]
) -> None:
    """Note the disks there are, before `plan` attaches a volume; nothing if it will not.

    Must come before the attach: a disk that is there by then is never taken for the volume's.
    `volumes` are all that the cloud lists; those of the machine are noted, too.
    """
    check_mode(mode)
    steps = [s.params for s in plan if not isinstance(s.params["id"], Pending)]
    for step in steps if mode == "apply" else []:
        machine = str(step["virtualmachineid"])
        there = [str(v["id"]) for v in volumes if str(v.get("virtualmachineid")) == machine]
        before = {"volume": str(step["id"]), "before": inventory(shell), "volumes": there}
        notes.update(shell, work_dir, attach=before)


def note_device(
    shell: Shell, work_dir: str, volume: dict | None, installed: str, mode: str, within: float = 30
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
    rows = _when_there(shell, attach.get("before") or [], within)
    machine = volume.get("virtualmachineid", "")
    known = hosts.demand_same(shell, machine, volume.get("hypervisor", ""))
    row = target(shell, noted, volume, rows)
    device = row["path"]
    notes.update(shell, work_dir, attach=attach | {"device": device})
    print(f"✓ {volume['name']} is {device} on {shell.name}: {_grounds(row, volume['id'])}")
    print(f"✓ it is machine {machine} by its {known}" if known else CANNOT_TELL)


def _grounds(row: dict, volume_id: str) -> str:
    """Say by what the disk is known, and what it holds."""
    is_named = bool(_serial(row)) and _serial(row) == expected_serial(volume_id)
    known = f"serial {_serial(row)}" if is_named else "the only new one"
    holds = "our earlier install" if row["children"] else "nothing"
    looked = guard.looked_at(row["size"])
    return f"{known}, {row['size']} bytes; {holds} on it and not in use, by {looked}"


def _when_there(shell: Shell, before: list[dict], within: float) -> list[dict]:
    """Return the inventory with the disk that came since `before`; without it, when time is up."""
    began, known = time.monotonic(), [identity(r) for r in before]
    while True:
        rows, waited = inventory(shell), time.monotonic() - began
        if waited >= within or any(_is_disk(r) and identity(r) not in known for r in rows):
            return rows
        if waited > within / 3:
            run(shell, RESCAN, sudo=True, ok=(0, 1))
        time.sleep(0.5)


def demand_idle(shell: Shell, work_dir: str, volume: dict | None, mode: str) -> None:
    """Raise CheckFailed if something on the workstation still has the installed volume.

    In apply mode what an installer of ours has left running is ended first, and the disk's buffers
    are flushed, so that what was written is on the disk.
    """
    check_mode(mode)
    noted = about(notes.read(shell, work_dir), ("installed",), (volume or {}).get("id", ""))
    serial = expected_serial(str(noted.get("volume", "")))
    rows = inventory(shell) if noted else []
    named = [r for r in rows if serial and _serial(r) == serial]
    row = next((r for r in [*named, *rows] if r in named or identity(r) == noted["disk"]), None)
    if not row:
        there = bool(noted) and bool(volume.get("virtualmachineid"))
        return print(UNKNOWN if there else "No installed disk of ours is attached to a machine.")
    if mode == "apply":
        detached.end(shell, notes.job(work_dir))
    found = used(row) or guard.users(shell, row["path"])
    if found:
        what = f"who has {row['path']} of {volume['name']}"
        raise CheckFailed(what, "nobody", ", ".join(found), LET_GO)
    if mode == "apply":
        flush(shell, row["path"])
    print(f"✓ {row['path']} is not mounted, and nothing has it open")


def flush(shell: Shell, device: str) -> None:
    """Have all that was written to the disk be on it."""
    run(shell, f"blockdev --flushbufs {shlex.quote(device)}", sudo=True, within=600)


def table(shell: Shell) -> pd.DataFrame:
    """Return a table of the workstation's disks and partitions."""
    rows = tree(inventory(shell))
    return tables.table(rows, "path size type serial hctl fstype pttype partlabel mountpoints")
