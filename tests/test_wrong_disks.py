"""Inventories that could lead to a write on the wrong disk: none may.

Each is a machine before and after the attach, and sometimes in the moment between check and write.
It goes the whole way: inventory, notes, target, close look, guard.
"""

import shlex

import pytest
from machines import BEFORE, DATA, FOREIGN, OURS, ROOT, SIZE, Machine, disk, part

from lib.errors import CheckFailed, ShellFailed
from lib.install import disks, guard
from lib.install.guard import Place
from lib.install.inventory import identity
from lib.steps import Step
from lib.workstation import notes
from lib.workstation.shell import run

UUID = "5f0c2d4e-9b31-4c6a-8e77-0d1f2a3b4c5d"  # of a volume on KVM, where the serial identifies it
SERIAL = "5f0c2d4e9b314c6a8e77"
NUMBER = "80921"  # of one on VMware in 2014, where nothing does so
OTHERS = "8d8d4497afcc45d0839c"

SECOND = disk("sde", SIZE, hctl="2:0:4:0")
KVM = [disk("vda", 80 * 2**30, children=[part("vda1", mountpoints=["/"])])]
MINE = disk("vdb", SIZE, serial=SERIAL)
COREOS = [
    part(f"sdd{n}", partlabel=label, fstype=fs, pttype="gpt")
    for n, label, fs in ((1, "EFI-SYSTEM", "vfat"), (3, "USR-A", "ext2"), (6, "OEM", "ext4"))
] + [part("sdd9", partlabel="ROOT", fstype="btrfs", pttype="gpt")]
AGAIN = OURS | {"pttype": "gpt", "wipefs": "gpt", "children": COREOS}
LVM = disk("vg-x", SIZE, type="lvm")
INSTALLED = {"installed": identity(AGAIN)}


def seed(*came, before=BEFORE, **more):
    """Return a case on the machine of 2014, to which these disks came."""
    return {"before": before, "after": [*before, *came], "volume": NUMBER} | more


def ours(**differs):
    """Return the case in which our disk came alone, but is like this."""
    return seed(OURS | differs)


def kvm(*came, before=KVM, **more):
    """Return a case on a machine where disks show the serials of their volumes."""
    return {"before": before, "after": [*KVM, *came], "volume": UUID} | more


def over(*children, **more):
    """Return the case in which our earlier install holds these partitions."""
    return seed(AGAIN | {"children": list(children)}, noted=INSTALLED, **more)


def late(changed, **more):
    """Return the case in which our disk is like this when it is to be written on."""
    return seed(OURS, late=[*BEFORE, *changed], **more)


def silent(**differs):
    """Return the case in which our disk is like this, and lsblk knows nothing from udev."""
    return seed(OURS | differs, udev=False)


# What is to be written on, by case.
WRITTEN = {
    "the seed's two blanks of one size": ("/dev/sdd", seed(OURS)),
    "a serial, and nothing was noted": ("/dev/vdb", kvm(MINE, before=None)),
    "a serial in upper case": ("/dev/vdb", kvm(MINE | {"serial": SERIAL.upper()})),
    "a serial with blanks": ("/dev/vdb", kvm(MINE | {"serial": f"  {SERIAL} "})),
    "a serial in udev's long form": (
        "/dev/sdd", kvm(OURS | {"serial": f"0QEMU_QEMU_HARDDISK_{SERIAL}"}),
    ),
    "an empty serial": ("/dev/vdb", kvm(MINE | {"serial": "  "})),
    "a serial of VMware's own": (
        "/dev/sdd", kvm(OURS | {"serial": "6000C29a8b2f0d4e7c31a5b6d7e8f901"}),
    ),
    "a serial of QEMU's own": ("/dev/sdd", kvm(OURS | {"serial": "QM00003"})),
    "on KVM, by its serial": ("/dev/vdb", kvm(MINE, by="KVM")),
    "by its serial, another volume was attached": ("/dev/vdb", kvm(MINE, others=["root", "8"])),
    "another disk has a serial, but not CloudStack's": (
        "/dev/vdb", kvm(MINE | {"serial": None}, before=[KVM[0] | {"serial": "WD-WX31A"}]) | {
            "after": [KVM[0] | {"serial": "WD-WX31A"}, MINE | {"serial": None}],
        },
    ),
    "only a WWN": ("/dev/sdd", ours(wwn="0x6000c29a8b2f0d4e")),
    "two came, one has our serial": ("/dev/vdb", kvm(MINE, disk("vdc", SIZE, serial=OTHERS))),
    "rebooted, letters moved, our serial": (
        "/dev/vda",
        kvm(boot="b2") | {
            "after": [
                disk("vda", SIZE, serial=SERIAL),
                disk("vdb", 80 * 2**30, children=[part("vdb1", mountpoints=["/"])]),
            ]
        },
    ),
    "rebooted, the address stayed": ("/dev/sdd", seed(OURS, boot="b2")),
    "on Xen": ("/dev/xvde", seed(disk("xvde", SIZE))),
    "on NVMe": ("/dev/nvme1n1", seed(disk("nvme1n1", SIZE))),
    "a loop device came too": ("/dev/sdd", seed(disk("loop3", SIZE, type="loop"), OURS)),
    "an nbd came too": ("/dev/sdd", seed(disk("nbd0", SIZE), OURS)),
    "a zram came and went": (
        "/dev/sdd", seed(OURS, before=[*BEFORE]) | {"before": [*BEFORE, disk("zram0", 2**30)]},
    ),
    "a DVD was put in": ("/dev/sdd", seed(disk("sr0", SIZE, type="rom", rm=True), OURS)),
    "our earlier install": ("/dev/sdd", over(*COREOS)),
    "our earlier install, nothing from udev": ("/dev/sdd", over(*COREOS, udev=False)),
    "our install that broke off": (
        "/dev/sdd", seed(OURS | {"ends": ("head", "tail")}, noted={"installing": identity(OURS)}),
    ),
    "our install that was wiped since": ("/dev/sdd", seed(OURS, noted=INSTALLED)),
    **{
        f"the seed's two blanks, {name}": ("/dev/sdd", seed(OURS, **shape))
        for name, shape in (
            ("lsblk 2.29", {"lsblk": "2.29"}),
            ("nothing from udev", {"udev": False}),
        )
    },
}  # fmt: skip

REFUSED = {
    # Which one it is, is not certain.
    "nothing came": seed(),
    "no disk at all": seed() | {"after": []},
    "two blanks of the size came": seed(OURS, SECOND),
    "one of another size came too": seed(OURS, disk("sde", 2**30)),
    "nothing was noted": seed(OURS) | {"before": None},
    "nothing was noted, and there is one candidate": seed() | {"before": None},
    "an empty inventory was noted": seed(OURS) | {"before": []},
    "what was noted is about another volume": seed(OURS, of="80922"),
    "a sector too large": ours(size=SIZE + 512),
    "a sector too small": ours(size=SIZE - 512),
    "a sector of 4096 too large": ours(size=SIZE + 4096),
    "GB in place of GiB": ours(size=40 * 10**9),
    "size 0, as without a medium": ours(size=0),
    "no size": ours(size=None),
    "serial of another volume": kvm(MINE | {"serial": OTHERS}),
    "serial of a real disk": kvm(MINE | {"serial": "WD-WX31A"}),
    "no serial, though the cloud says KVM": kvm(MINE | {"serial": None}, by="KVM"),
    "no serial, though another disk of the machine has CloudStack's": kvm(
        MINE | {"serial": None}, before=[KVM[0] | {"serial": OTHERS}]
    ) | {"after": [KVM[0] | {"serial": OTHERS}, MINE | {"serial": None}]},
    "the cloud attached another volume, and ours never shows": seed(OURS, others=["root", "8"]),
    "nobody knows what else the cloud attached": seed(OURS, others=None),
    "serial cut off": kvm(MINE | {"serial": SERIAL[:16]}),
    "serial with more to it": kvm(MINE | {"serial": f"{SERIAL}0d1f"}),
    "serial behind another prefix": kvm(MINE | {"serial": f"ATA_{SERIAL}"}),
    "our serial in use, a blank came": kvm(
        MINE | {"mountpoints": ["/x"]}, disk("vdc", SIZE), before=[*KVM, MINE]
    ),
    "our serial, another size": kvm(MINE | {"size": 2**30}),
    "our serial twice": kvm(MINE, disk("vdc", SIZE, serial=SERIAL)),
    "our serial twice, by multipath": kvm(
        *(disk(n, SIZE, serial=SERIAL, children=[disk("mpa", SIZE, type="mpath")])
          for n in ("sdx", "sdy"))
    ),
    "rebooted, letters moved, no serial": seed(OURS) | {
        "boot": "b2", "after": [ROOT, DATA, OURS | {"name": "sdc", "path": "/dev/sdc"}, FOREIGN | {
            "name": "sdd", "path": "/dev/sdd"}],
    },
    "rebooted, no address, no serial": seed(
        disk("sdd", SIZE), before=[ROOT, disk("sdc", SIZE)], boot="b2"
    ),
    "rebooted, two came": seed(OURS, SECOND, boot="b2"),
    "names changed places": seed() | {
        "after": [ROOT, DATA, disk("sdc", SIZE, hctl="2:0:3:0"), disk("sdd", SIZE, hctl="2:0:2:0")],
    },
    "another disk was swapped meanwhile": seed() | {
        "after": [ROOT, DATA, FOREIGN | {"size": 2**30}, OURS],
    },
    "another disk went meanwhile": seed() | {"after": [ROOT, DATA, OURS]},
    "the same address and name, as before": seed(before=[*BEFORE, OURS]),
    "the same address, another size before": seed() | {
        "before": [*BEFORE, OURS | {"size": 2**30}], "after": [*BEFORE, OURS],
    },
    # The installer looks for its partitions as DEVICE*, and would find another disk's.
    "another disk's name begins with ours": seed(OURS, before=[*BEFORE, disk("sdda", SIZE)]),
    "another disk's name begins with ours, on NVMe": seed(
        disk("nvme1n1", SIZE), before=[*BEFORE, disk("nvme1n10", SIZE)]
    ),
    # It is no disk that a hypervisor plugged in.
    "a DVD of the size": seed(disk("sr0", SIZE, type="rom", rm=True)),
    "a loop device of the size": seed(disk("loop0", SIZE, type="loop")),
    "a partition of the size": seed(disk("sdd1", SIZE, type="part")),
    "a multipath device of the size": seed(disk("mpa", SIZE, type="mpath")),
    "a logical volume of the size": seed(LVM),
    "an array of the size": seed(disk("md0", SIZE, type="raid1")),
    "an nbd of the size": seed(disk("nbd0", SIZE)),
    "a zram of the size": seed(disk("zram0", SIZE)),
    "a RAM disk of the size": seed(disk("ram0", SIZE)),
    "an SD card of the size": seed(disk("mmcblk0", SIZE)),
    "an rbd of the size": seed(disk("rbd0", SIZE)),
    "a drbd of the size": seed(disk("drbd0", SIZE)),
    "a USB stick of the size": ours(rm=True),
    # It is in use.
    "swap": ours(mountpoints=["[SWAP]"]),
    "swap only in /proc/swaps": seed(OURS, swaps=("/dev/sdd partition 1 0 -2",)),
    "swap on a partition only in /proc/swaps": seed(
        OURS | {"children": [part("sdd1")]}, swaps=("/dev/sdd1 partition 1 0 -2",)
    ),
    "mounted without partitions": ours(mountpoints=["/mnt"]),
    "mounted by label": ours(children=[part("sdd1", label="x", mountpoints=["/x"])]),
    "the root file system on it": ours(children=[part("sdd1", mountpoints=["/"])]),
    "the root file system on LVM on it": ours(
        children=[part("sdd1", children=[disk("vg-r", SIZE, type="lvm", mountpoints=["/"])])]
    ),
    "mounted in another namespace": silent(busy=True),
    "a holder only in /sys": seed(OURS, uses=("/sys/class/block/sdd/holders/dm-3",)),
    "the second disk of a mounted btrfs": seed(OURS, uses=("/sys/fs/btrfs/u/devices/sdd",)),
    "LVM on the whole disk": ours(children=[LVM]),
    "md on the whole disk": ours(children=[disk("md0", SIZE, type="raid1")]),
    "opened by somebody for himself": ours(busy=True),
    "opened by somebody, but not for himself": ours(user=1),
    "read-only": ours(ro=True),
    "read-only, lsblk 2.29": seed(OURS | {"ro": True}, lsblk="2.29"),
    "its name is a link": ours(link="/dev/sdb"),
    # It has foreign data.
    **{
        f"{kind}, {how}": seed(OURS | {"fstype": kind}, udev=how == "known to blkid only")
        for kind in ("ext4", "LVM2_member")
        for how in ("known to udev", "known to blkid only")
    },
    "zfs at its end, known to wipefs only": silent(wipefs="zfs_member"),
    "a partition table": ours(pttype="dos"),
    "partitions, nothing from udev": silent(children=[part("sdd1")]),
    "two signatures that exclude each other": silent(holds="ambivalent result", rc=8),
    "it cannot be read": silent(holds="error: Input/output error", rc=2),
    "data in its first MiB only": ours(ends=("head",)),
    "data in its last MiB only": ours(ends=("tail",)),
    "data in its middle only": ours(ends=("places",)),
    # It carries CoreOS, but not ours, or not only.
    "somebody's CoreOS": seed(AGAIN),
    "like ours, begun but not written by us": seed(
        AGAIN, noted={"installing": identity(OURS)}, wrote=False
    ),
    "our CoreOS of another volume": seed(AGAIN, noted=INSTALLED, of="80922"),
    "CoreOS noted of another disk": seed(AGAIN, noted={"installed": identity(FOREIGN)}),
    "our install is mounted": over(*COREOS[:-1], COREOS[-1] | {"mountpoints": ["/coremnt"]}),
    "our install, and a partition of others": over(*COREOS, part("sdd10", partlabel="home")),
    "our install, and LVM on its ROOT": over(COREOS[-1] | {"children": [LVM]}),
    "our install was formatted": seed(OURS | {"fstype": "xfs"}, noted=INSTALLED),
    "our install was formatted, nothing from udev": seed(
        OURS | {"fstype": "xfs"}, noted=INSTALLED, udev=False
    ),
    "our install, and somebody's signature": over(*COREOS) | {
        "after": [*BEFORE, AGAIN | {"wipefs": "LVM2_member"}],
    },
    "our install, opened by somebody": seed(AGAIN | {"busy": True}, noted=INSTALLED),
    # It changed between check and write.
    "renamed: another disk has the name": late([OURS | {"hctl": "2:0:7:0"}]),
    "renamed: the names changed places": late(
        [FOREIGN | {"name": "sdd", "path": "/dev/sdd", "hctl": "2:0:2:0"}]
    ),
    "renamed: a disk of another serial": late([OURS | {"serial": OTHERS}]),
    "renamed: a disk of another WWN": late([OURS | {"wwn": "0x5000"}]),
    "renamed: a disk of another number": late([OURS | {"maj:min": "8:64"}]),
    "replaced by one a sector larger": late([OURS | {"size": SIZE + 512}]),
    "gone in the last moment": late([]),
    "mounted in the last moment": late([OURS | {"mountpoints": ["/x"]}]),
    "formatted in the last moment": late([OURS | {"fstype": "ext4"}]),
    "partitioned in the last moment": late([OURS | {"pttype": "gpt"}]),
    "written at its end in the last moment": late([OURS | {"ends": ("tail",)}]),
    "written in its middle in the last moment": late([OURS | {"ends": ("places",)}]),
    "opened plainly in the last moment": late([OURS | {"user": 1}]),
    "opened in the last moment": late([OURS | {"busy": True}]),
    "read-only in the last moment": late([OURS | {"ro": True}]),
    "a link in the last moment": late([OURS | {"link": "/dev/sdb"}]),
}  # fmt: skip
CASES = {name: (None, case) for name, case in REFUSED.items()} | WRITTEN


def shown(case: dict) -> dict:
    return {k: case[k] for k in ("lsblk", "udev", "swaps", "uses") if k in case}


def target_of(machine: Machine, case: dict) -> None:
    """Go the way of the stages, to the installer that writes; raise where it is refused."""
    shell, volume = machine.shell, case["volume"]
    if case["before"] is not None:
        machine.show(case["before"] or [disk("loop9", 1, type="loop")], **shown(case))
        params = {"id": case.get("of", volume), "virtualmachineid": "m"}
        listed = [{"id": "root", "virtualmachineid": "m"}, {"id": "foreign"}]
        disks.note_before(shell, "w", [Step("attachVolume", params, "")], "apply", listed)
        if not case["before"]:
            notes.update(shell, "w", attach={"volume": volume, "before": []})
    for kind, known in case.get("noted", {}).items():
        note = {"volume": case.get("of", volume), "disk": known, "mark": "wrote"}
        notes.update(shell, "w", **{kind: note})
    if case.get("wrote", True):
        (machine.home / "wrote").touch()
    machine.show(case["after"], boot=case.get("boot", "b1"), **shown(case))
    row_of_volume = {"id": volume, "size": SIZE, "hypervisor": case.get("by", "")}
    if case.get("others", True):
        row_of_volume["others"] = case.get("others", ["root"])
    row = disks.target(shell, notes.read(shell, "w"), row_of_volume)
    if "late" in case:
        machine.show(case["late"], **shown(case))
    place = Place(row["path"], SIZE, row["look"], "wrote")
    guarded = guard.guard(place, f"an-installer {place.device}")
    run(shell, f"sh -c {shlex.quote(guarded)}", sudo=True)


@pytest.mark.parametrize("name", CASES)
def test_only_the_disk_that_is_certain_is_written_on(name, tmp_path, monkeypatch):
    expected, case = CASES[name]
    machine = Machine(tmp_path, monkeypatch)
    try:
        target_of(machine, case)
        refusal = None
    except (CheckFailed, ShellFailed) as error:
        refusal = str(error)
    written = machine.written()
    assert written == ([expected] if expected else []), refusal
    if not expected:
        assert refusal and ("Nothing was written" in refusal or "late" in case)
