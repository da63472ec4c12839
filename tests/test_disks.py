"""Which disk is ours is determined, never guessed: no inventory may lead to a wrong write."""

import json
import subprocess

import pytest

from lib import disks, notes
from lib.disks import MIB, find_target, identity
from lib.errors import CheckFailed, ShellFailed
from lib.plan import Step
from lib.shell import connect_shell

SIZE = 40 * 2**30
VOLUME = "5f0c2d4e-9b31-4c6a-8e77-0d1f2a3b4c5d"
SERIAL = "5f0c2d4e9b314c6a8e77"


def disk(name, size=SIZE, **more):
    """A row of lsblk, in the types of today's version."""
    number = (ord(name[2]) - ord("a")) * 16
    kinds = dict.fromkeys(("serial", "wwn", "model", "hctl", "fstype", "pttype", "partlabel"))
    row = {"name": name, "path": f"/dev/{name}", "size": size, "type": "disk", "ro": False}
    row |= {"mountpoints": [], "maj:min": f"8:{number}", "children": [], "boot": "b1"}
    return kinds | row | more


def part(name, size=2**30, **more):
    return disk(name, size, type="part", pttype="gpt", **more)


ROOT = disk("sda", 80 * 2**30, pttype="gpt", children=[part("sda1", mountpoints=["/"])])
DATA = disk("sdb", 100 * 2**30, pttype="gpt", children=[part("sdb1", mountpoints=["/data"])])
FOREIGN = disk("sdc", hctl="2:0:2:0")  # blank, of the same size, and somebody else's
BEFORE = [ROOT, DATA, FOREIGN]
OURS = disk("sdd", hctl="2:0:3:0")
COREOS = [
    part(f"sdd{n}", partlabel=label, fstype=fs)
    for n, label, fs in ((1, "EFI-SYSTEM", "vfat"), (3, "USR-A", "ext2"), (6, "OEM", "ext4"))
] + [part("sdd9", partlabel="ROOT", fstype="btrfs")]


def test_the_one_new_blank_disk_of_the_exact_size_is_ours():
    assert find_target(BEFORE, [*BEFORE, OURS], size=SIZE) == OURS


def test_a_disk_with_the_volumes_serial_is_ours_even_if_nothing_was_noted():
    mine = OURS | {"serial": SERIAL}
    assert find_target(None, [*BEFORE, mine], size=SIZE, serial=SERIAL) == mine


def test_a_serial_of_the_hypervisors_own_says_nothing():
    mine = OURS | {"serial": "6000c29a8b2f0d4e7c31a5b6d7e8f901"}
    assert find_target(BEFORE, [*BEFORE, mine], size=SIZE, serial=SERIAL) == mine


def test_a_serial_tells_ours_though_names_were_dealt_anew():
    mine = disk("sdc", serial=SERIAL, boot="b2")
    moved = disk("sdd", boot="b2")
    assert find_target(BEFORE, [ROOT, DATA, mine, moved], size=SIZE, serial=SERIAL) == mine


def test_a_scsi_address_tells_ours_after_a_reboot():
    now = [r | {"boot": "b2"} for r in [*BEFORE, OURS]]
    assert find_target(BEFORE, now, size=SIZE)["name"] == "sdd"


def test_our_own_earlier_install_may_be_written_over():
    mine = OURS | {"pttype": "gpt", "children": COREOS}
    assert find_target(BEFORE, [*BEFORE, mine], size=SIZE, ours=identity(mine)) == mine


AGAIN = OURS | {"pttype": "gpt", "children": COREOS}
LVM = [disk("vg-x", type="lvm")]
# Each is an inventory in which nothing may be written: (before, after, what more is known).
REFUSED = {
    "nothing new": (BEFORE, BEFORE, {}),
    "no disk at all": (BEFORE, [], {}),
    "two new blanks of the size": (BEFORE, [*BEFORE, OURS, disk("sde", hctl="2:0:4:0")], {}),
    "two new, one of another size": (BEFORE, [*BEFORE, OURS, disk("sde", 2**30)], {}),
    "nothing was noted": (None, [*BEFORE, OURS], {}),
    "nothing was noted, one candidate": (None, [ROOT, DATA, FOREIGN], {}),
    "noted an empty inventory": ([], [ROOT, OURS], {}),
    "a sector too large": (BEFORE, [*BEFORE, OURS | {"size": SIZE + 512}], {}),
    "a sector too small": (BEFORE, [*BEFORE, OURS | {"size": SIZE - 512}], {}),
    "serial of another volume": (
        BEFORE, [*BEFORE, OURS | {"serial": "8d8d4497afcc45d0839c"}], {"serial": SERIAL},
    ),
    "serial of a real disk": (
        BEFORE, [*BEFORE, OURS | {"serial": "WD-WX31A"}], {"serial": SERIAL},
    ),
    "our serial on a disk in use, a blank beside it": (
        BEFORE, [*BEFORE, OURS, disk("sde", serial=SERIAL, mountpoints=["/x"])], {"serial": SERIAL},
    ),
    "our serial on a disk of before, in use, a new blank beside it": (
        [*BEFORE, disk("sde", serial=SERIAL, mountpoints=["/x"])],
        [*BEFORE, disk("sde", serial=SERIAL, mountpoints=["/x"]), OURS],
        {"serial": SERIAL},
    ),
    "our serial, another size": (
        BEFORE, [*BEFORE, OURS | {"serial": SERIAL, "size": 2**30}], {"serial": SERIAL},
    ),
    "our serial twice": (
        None, [ROOT, disk("sdc", serial=SERIAL), disk("sdd", serial=SERIAL)], {"serial": SERIAL},
    ),
    "swap": (BEFORE, [*BEFORE, OURS | {"mountpoints": ["[SWAP]"]}], {}),
    "swap signature": (BEFORE, [*BEFORE, OURS | {"fstype": "swap"}], {}),
    "mounted without partitions": (BEFORE, [*BEFORE, OURS | {"mountpoints": ["/mnt"]}], {}),
    "a file system": (BEFORE, [*BEFORE, OURS | {"fstype": "ext4"}], {}),
    "a partition table": (BEFORE, [*BEFORE, OURS | {"pttype": "dos"}], {}),
    "partitions, nothing from udev": (BEFORE, [*BEFORE, OURS | {"children": [part("sdd1")]}], {}),
    "LVM on the whole disk": (BEFORE, [*BEFORE, OURS | {"children": LVM}], {}),
    "LVM member": (BEFORE, [*BEFORE, OURS | {"fstype": "LVM2_member"}], {}),
    "md on the whole disk": (
        BEFORE, [*BEFORE, OURS | {"children": [disk("md0", type="raid1")]}], {},
    ),
    "multipath": (BEFORE, [*BEFORE, OURS | {"children": [disk("mpa", type="mpath")]}], {}),
    "read-only": (BEFORE, [*BEFORE, OURS | {"ro": True}], {}),
    "a CD-ROM": (BEFORE, [*BEFORE, disk("sr0", type="rom")], {}),
    "a loop device": (BEFORE, [*BEFORE, disk("loop0", type="loop")], {}),
    "a partition of the size": (BEFORE, [*BEFORE, disk("sdd1", type="part")], {}),
    "names changed places": (
        BEFORE, [ROOT, DATA, disk("sdc", hctl="2:0:3:0"), disk("sdd", hctl="2:0:2:0")], {},
    ),
    "crypt on the whole disk": (
        BEFORE, [*BEFORE, OURS | {"children": [disk("luks-x", type="crypt")]}], {},
    ),
    "bcache on the whole disk": (
        BEFORE, [*BEFORE, OURS | {"children": [disk("bcache0")]}], {},
    ),
    "md member": (BEFORE, [*BEFORE, OURS | {"fstype": "linux_raid_member"}], {}),
    "zfs member": (BEFORE, [*BEFORE, OURS | {"fstype": "zfs_member"}], {}),
    "a partition mounted by label": (
        BEFORE, [*BEFORE, OURS | {"children": [part("sdd1", label="x", mountpoints=["/x"])]}], {},
    ),
    "the root file system on it": (
        BEFORE, [*BEFORE, OURS | {"children": [part("sdd1", mountpoints=["/"])]}], {},
    ),
    "a zram disk": (BEFORE, [*BEFORE, disk("zram0", mountpoints=["[SWAP]"])], {}),
    "our size in the noted inventory, replaced": (
        [*BEFORE, disk("sdd", 2**30, hctl="2:0:3:0")], [*BEFORE, OURS], {},
    ),
    "size 0, no medium": (BEFORE, [*BEFORE, OURS | {"size": 0}], {}),
    "rebooted, two new": (
        BEFORE,
        [r | {"boot": "b2"} for r in [*BEFORE, OURS, disk("sde", hctl="2:0:4:0")]], {},
    ),
    "rebooted, no address": (
        [ROOT, disk("sdc")], [r | {"boot": "b2"} for r in (ROOT, disk("sdc"), disk("sdd"))], {},
    ),
    "another disk was swapped meanwhile": (
        BEFORE, [ROOT, DATA, FOREIGN | {"size": 2**30}, OURS], {},
    ),
    "another disk went meanwhile": (BEFORE, [ROOT, DATA, OURS], {}),
    "CoreOS that is not noted": (BEFORE, [*BEFORE, AGAIN], {}),
    "CoreOS noted of another disk": (BEFORE, [*BEFORE, AGAIN], {"ours": identity(FOREIGN)}),
    "our install is mounted": (
        BEFORE,
        [*BEFORE, AGAIN | {"children": [*COREOS[:-1], COREOS[-1] | {"mountpoints": ["/coremnt"]}]}],
        {"ours": identity(AGAIN)},
    ),
    "our install, with a partition of others": (
        BEFORE, [*BEFORE, AGAIN | {"children": [*COREOS, part("sdd10", partlabel="home")]}],
        {"ours": identity(AGAIN)},
    ),
    "our install, LVM on its ROOT": (
        BEFORE, [*BEFORE, AGAIN | {"children": [COREOS[-1] | {"children": LVM}]}],
        {"ours": identity(AGAIN)},
    ),
    "our install was formatted": (
        BEFORE, [*BEFORE, OURS | {"fstype": "xfs"}], {"ours": identity(OURS)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("before, after, known", REFUSED.values(), ids=REFUSED)
def test_nothing_is_written_where_the_disk_is_not_certain(before, after, known):
    with pytest.raises(CheckFailed, match="the disk to write on"):
        find_target(before, after, size=SIZE, **known)


def test_the_refusal_is_a_table_of_conditions():
    with pytest.raises(CheckFailed) as failed:
        find_target(BEFORE, [*BEFORE, OURS | {"size": SIZE + 512, "fstype": "xfs"}], size=SIZE)
    lines = str(failed.value).splitlines()
    assert any(
        line.split() == ["✗", "/dev/sdd", "bytes", str(SIZE), str(SIZE + 512)] for line in lines
    )
    assert any(line.split() == ["✗", "/dev/sdd", "contents", "none", "xfs"] for line in lines)
    assert "/dev/sda" not in str(failed.value) and "11-attach-volume" in lines[-1]


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A workstation whose lsblk, blkid and wipefs say what the test puts in their files."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    (tmp_path / "bin").mkdir()
    for name, text in PROGRAMS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    show(tmp_path, [*BEFORE, OURS])
    return connect_shell(None, "")


PROGRAMS = {
    "sudo": 'shift; exec "$@"',
    "lsblk": 'cat "$HOME/lsblk.json"',
    "blkid": '[ -e "$HOME/blkid" ] || exit 2; cat "$HOME/blkid"',
    "wipefs": "exit 0",
}


def show(home, rows):
    raw = [{k: v for k, v in r.items() if k != "boot"} for r in rows]
    (home / "lsblk.json").write_text(json.dumps({"blockdevices": raw}))


def test_the_inventory_tells_types_and_boot(there):
    rows = disks.inventory(there)
    assert [r["name"] for r in rows] == ["sda", "sdb", "sdc", "sdd"]
    assert rows[0]["children"][0]["mountpoints"] == ["/"] and len(rows[0]["boot"]) == 36


def test_an_older_lsblk_is_asked_for_what_it_knows(there, tmp_path):
    old = {"name": "sdd", "size": str(SIZE), "ro": "0", "type": "disk", "mountpoint": "/x"}
    (tmp_path / "lsblk.json").write_text(json.dumps({"blockdevices": [old]}))
    refuse = 'case "$*" in *PATH*|*MOUNTPOINTS*) echo unknown column >&2; exit 1;; esac\n'
    (tmp_path / "bin/lsblk").write_text(f"#!/bin/sh\n{refuse}{PROGRAMS['lsblk']}\n")
    row = disks.inventory(there)[0]
    assert (row["path"], row["size"], row["ro"]) == ("/dev/sdd", SIZE, False)
    assert row["mountpoints"] == ["/x"] and row["children"] == []


def test_an_lsblk_that_fails_is_an_error(there, tmp_path):
    (tmp_path / "bin/lsblk").write_text("#!/bin/sh\necho lsblk: no >&2; exit 1\n")
    with pytest.raises(ShellFailed, match="lsblk: no"):
        disks.inventory(there)


@pytest.fixture
def image(tmp_path):
    file = tmp_path / "image"
    with file.open("wb") as f:
        f.truncate(3 * MIB)
    return file


def test_a_disk_of_zeros_is_blank(there, image):
    assert disks.blank(there, str(image)) == []


@pytest.mark.parametrize(
    "at, reason", [(0, "first MiB"), (MIB - 1, "first MiB"), (3 * MIB - 1, "last MiB")]
)
def test_one_byte_at_either_end_is_not_blank(there, image, at, reason):
    with image.open("r+b") as f:
        f.seek(at)
        f.write(b"x")
    assert [reason in r for r in disks.blank(there, str(image))] == [True]


def test_what_blkid_sees_is_a_reason(there, image, tmp_path):
    (tmp_path / "blkid").write_text('/dev/sdd: TYPE="xfs"\n')
    assert disks.blank(there, str(image)) == ['it shows /dev/sdd: TYPE="xfs"']


def test_what_cannot_be_read_is_not_blank(there, image, tmp_path):
    assert len(disks.blank(there, f"{image}-absent")) == 2
    (tmp_path / "bin/blkid").write_text("#!/bin/sh\nexit 4\n")
    assert disks.blank(there, str(image)) == ["blkid and wipefs cannot read it"]


def attach(there, mode="apply"):
    plan = [Step("attachVolume", {"id": VOLUME}, "")]
    disks.note_before(there, "w", plan, mode)


def row_of(image, **more):
    return OURS | {"path": str(image), "name": "sdd", **more}


def test_the_target_is_looked_for_with_what_was_noted(there, tmp_path, image):
    show(tmp_path, BEFORE)
    attach(there)
    show(tmp_path, [*BEFORE, row_of(image)])
    noted = notes.read(there, "w")
    assert disks.target(there, noted, volume_id=VOLUME, size=SIZE) == str(image)
    with pytest.raises(CheckFailed, match="not noted"):  # those notes are of another volume
        disks.target(there, noted, volume_id="80921", size=SIZE)


def test_a_target_that_lsblk_calls_empty_is_read_all_the_same(there, tmp_path, image):
    show(tmp_path, BEFORE)
    attach(there)
    show(tmp_path, [*BEFORE, row_of(image)])
    image.write_bytes(b"somebody's data" + bytes(3 * MIB))
    with pytest.raises(CheckFailed, match="wanted blank, found its first MiB is not all zero"):
        disks.target(there, notes.read(there, "w"), volume_id=VOLUME, size=SIZE)


def test_an_install_that_broke_off_may_be_written_over(there, tmp_path, image):
    show(tmp_path, BEFORE)
    attach(there)
    show(tmp_path, [*BEFORE, row_of(image)])
    began = {"volume": VOLUME, "disk": identity(row_of(image))}
    notes.update(there, "w", installing=began)
    image.write_bytes(b"half an image" + bytes(3 * MIB))
    (tmp_path / "blkid").write_text('/dev/sdd: PTTYPE="gpt"\n')
    noted = notes.read(there, "w")
    assert disks.target(there, noted, volume_id=VOLUME, size=SIZE) == str(image)
    (tmp_path / "blkid").write_text('/dev/sdd: LABEL="x" TYPE="xfs"\n')
    with pytest.raises(CheckFailed, match="xfs"):
        disks.target(there, noted, volume_id=VOLUME, size=SIZE)


def test_plan_mode_notes_nothing(there):
    attach(there, mode="plan")
    assert notes.read(there, "w") == {}


def test_a_disk_that_takes_its_time_is_waited_for(there, tmp_path, image, capsys):
    show(tmp_path, BEFORE)
    attach(there)
    late = json.dumps({"blockdevices": [*BEFORE, row_of(image)]})
    (tmp_path / "late.json").write_text(late)
    move = f"sleep 0.3; mv {tmp_path}/late.json {tmp_path}/lsblk.json"
    with subprocess.Popen(["/bin/sh", "-c", move]):
        volume = {"id": VOLUME, "name": "disk", "size": SIZE}
        disks.note_device(there, "w", volume, "", "apply", within=5)
    assert notes.read(there, "w")["attach"]["device"] == str(image)
    assert f"disk is {image}" in capsys.readouterr().out


def test_a_disk_that_does_not_show_is_looked_for_on_the_scsi_buses(there, tmp_path, image):
    show(tmp_path, BEFORE)
    attach(there)
    (tmp_path / "late.json").write_text(json.dumps({"blockdevices": [*BEFORE, row_of(image)]}))
    tee = 'case "$1" in /sys/class/scsi_host/*) cat >scan; mv late.json lsblk.json ;; esac'
    (tmp_path / "bin/tee").write_text(f"#!/bin/sh\n{tee}\n")
    (tmp_path / "bin/tee").chmod(0o755)
    disks.note_device(
        there, "w", {"id": VOLUME, "name": "d", "size": SIZE}, "", "apply", within=1.5
    )
    assert (tmp_path / "scan").read_text() == "- - -\n"
    assert notes.read(there, "w")["attach"]["device"] == str(image)


def test_a_disk_that_does_not_come_is_an_error(there, tmp_path):
    show(tmp_path, BEFORE)
    attach(there)
    with pytest.raises(CheckFailed, match="0 of 3 disks"):
        disks.note_device(
            there, "w", {"id": VOLUME, "name": "d", "size": SIZE}, "", "apply", within=0
        )


def test_the_table_shows_disks_and_partitions(there):
    assert list(disks.table(there)["path"]) == [
        "/dev/sda", "/dev/sda1", "/dev/sdb", "/dev/sdb1", "/dev/sdc", "/dev/sdd",
    ]  # fmt: skip
