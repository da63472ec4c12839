"""Which disk is the volume's: the conditions that it meets and no other disk does.

A disk is a row of `inventory.read`. A volume is its row from the cloud, with `others` and
`hypervisor` added by `volumes.found`.
"""

import re

from lib.errors import CheckFailed
from lib.install.guard import Condition
from lib.install.inventory import identity, tree, used
from lib.install.noted import Attach

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


def expected_serial(volume_id: str) -> str:
    """Return the serial that KVM gives the volume's disk, "" where ids are not UUIDs.

    >>> expected_serial("5f0c2d4e-9b31-4c6a-8e77-0d1f2a3b4c5d"), expected_serial("80921")
    ('5f0c2d4e9b314c6a8e77', '')
    """
    plain = str(volume_id).replace("-", "").lower()
    return plain[:20] if re.fullmatch(r"[0-9a-f]{32}", plain) else ""


def serial_of(row: dict) -> str:
    """Return the serial of a disk in the form of `expected_serial`."""
    return PREFIX.sub("", (row.get("serial") or "").lower())


def is_disk(row: dict) -> bool:
    """Return whether a row may be a volume: a whole disk, of a kind that hypervisors attach."""
    return row.get("type") == "disk" and not NOT_PLUGGED.match(row["name"])


def find_target(volume: dict, attach: Attach, rows: list[dict], ours: list | None = None) -> dict:
    """Return the one row that is the volume and may be written on.

    CloudStack's serial identifies it, and is required where the hypervisor sets serials. Otherwise
    it is the only new disk since the note `attach`, if the cloud attached no other volume since. It
    must be blank, but the disk of identity `ours`, on which the notes have an install of ours, may
    have CoreOS's partitions. Raises CheckFailed with a table of conditions.
    """
    serial, before = expected_serial(volume["id"]), [identity(r) for r in attach.before]
    disks = [r for r in rows if is_disk(r)]
    new = [r for r in rows if before and identity(r) not in before]
    named = [r for r in disks if serial and serial_of(r) == serial]
    own = [r for r in disks if ours and (identity(r) == ours or r in named)]
    # Names may have moved where another disk changed or is gone.
    now = [] if named else [identity(d) for d in disks]
    lost = [r["name"] for r in attach.before if now and is_disk(r) and identity(r) not in now]

    def conditions_of(row: dict) -> list[Condition]:
        if row in named:
            identified = [("serial", serial, serial, True)]
        else:
            identified = _unnamed(row, row in new, volume, attach, disks)
        return [*identified, *fitness(row, volume["size"], row in own), _alone(row, rows)]

    judged = [(r, conditions_of(r)) for r in rows]
    fit = [r for r, conditions in judged if all(met for *_, met in conditions)]
    new_disks = [r for r in disks if r in new]
    if len(fit) == 1 and not lost and (fit == named or len(new_disks) == 1):
        return fit[0]
    likely = [(r, c) for r, c in judged if r in new or r in named] or judged
    changed = "".join(f"; {name} is not as it was" for name in lost)
    found = f"{len(fit)} of {len(disks)} disks ({len(new_disks)} new{changed})"
    raise CheckFailed("the disk to write on", "exactly one", found, f"\n{table(likely)}\n{NEXT}")


def _unnamed(
    row: dict, is_new: bool, volume: dict, attach: Attach, disks: list[dict]
) -> list[Condition]:
    """Return the conditions that identify a disk without the volume's serial."""
    serial, seen = expected_serial(volume["id"]), serial_of(row)
    foreign = bool(serial and seen) and not NOT_CLOUDSTACKS.match(seen)
    sets_serials = volume.get("hypervisor") == "KVM" or any(
        CLOUDSTACKS.fullmatch(serial_of(d)) for d in disks
    )
    decides = foreign or (bool(serial) and sets_serials)
    known = ("yes" if is_new else "no") if attach.before else "the disks before it were not noted"
    # Device names may change at a boot; a SCSI address stays.
    boot = attach.before[0].get("boot") if attach.before else row.get("boot")
    same_boot = boot == row.get("boot") or bool(row.get("hctl"))
    others = _attached_since(attach, volume)
    return [
        ("serial", serial or "any", seen or "none", not decides),
        ("new since the attach", "yes", known, is_new),
        ("same boot", "yes", "yes" if same_boot else "no", same_boot),
        ("other volumes attached since", "none", others, others == "none"),
    ]


def _attached_since(attach: Attach, volume: dict) -> str:
    """Return the other volumes that the cloud has attached to the machine since the note."""
    if attach.volumes is None or "others" not in volume:
        return "unknown"
    return ", ".join(sorted({*volume["others"]} - {*attach.volumes})) or "none"


def fitness(row: dict, size: int, own: bool) -> list[Condition]:
    """Return the conditions on a disk that is written on."""
    parts = [p.get("partlabel") or p["name"] for p in row["children"]]
    own_parts = own and all(
        p["type"] == "part" and not p["children"] and p.get("partlabel") in OUR_PARTITIONS
        for p in row["children"]
    )
    users = used(row)
    return [
        ("type", "disk", f"{row.get('type')} {row['name']}", is_disk(row)),
        ("bytes", size, row["size"], row["size"] == size),
        ("partitions, holders", "none", " ".join(parts) or "none", not parts or own_parts),
        ("file system", "none", row.get("fstype") or "none", not row.get("fstype")),
        ("mounts, swap, users", "none", " ".join(users) or "none", not users),
        ("read-only", "no", "yes" if row["ro"] else "no", not row["ro"]),
        ("removable", "no", "yes" if row["rm"] else "no", not row["rm"]),
    ]


def _alone(row: dict, rows: list[dict]) -> Condition:
    """Return the condition that no other device has a name that begins with this disk's."""
    own = [r["path"] for r in tree([row])]
    longer = [r["path"] for r in tree(rows) if r["path"].startswith(row["path"])]
    others = [path for path in longer if path not in own]
    return "longer names of others", "none", " ".join(others) or "none", not others


def table(rows: list[tuple[dict, list[Condition]]]) -> str:
    """Return the table of conditions; a cross marks those not met."""
    lines = [("", "disk", "condition", "expected", "found")]
    for row, conditions in rows:
        lines += [("✓" if met else "✗", row["path"], *map(str, c)) for *c, met in conditions]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(x.ljust(w) for x, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )
