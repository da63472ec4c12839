"""The workstation's shell, and the stand-ins for the programs that act on disks."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from lib.localcloud.state.dialects import DIALECTS
from lib.localcloud.workstation import images
from lib.localcloud.workstation import shell as workstation

GIB = 2**30
OURS = "6f1ed002-ab55-4c1a-9d0c-2b9f6c1e7a44"
COLUMNS = "NAME,PATH,SIZE,SERIAL,WWN,MODEL,HCTL,TYPE,MOUNTPOINTS,FSTYPE,PTTYPE,PARTTYPE,PARTLABEL"
COLUMNS += ",LABEL,RO,PKNAME,MAJ:MIN"


class Station:
    """A workstation in a folder of its own, with one volume of ours to attach."""

    def __init__(self, folder: Path, dialect: str):
        self.folder, self.dialect = folder, dialect
        self.disk = folder / "disks" / "ours.raw"
        workstation.prepare(folder)
        images.create_blank(self.disk, 40 * GIB)
        self.own = [{"deviceid": 0, "size": 80 * GIB, "id": "r", "file": None, "mountpoint": "/"}]
        if dialect == "2.2":
            data = {"deviceid": 1, "size": 100 * GIB, "id": "d", "mountpoint": "/data"}
            self.own.append(data | {"file": None})
        self.own.append(self.blank("theirs", len(self.own), 40 * GIB))

    def blank(self, name: str, device: int, size: int) -> dict:
        file = self.folder / "disks" / f"{name}.raw"
        images.create_blank(file, size)
        where = {"file": str(file), "mountpoint": None}
        return {"deviceid": device, "size": size, "id": name} | where

    def show(self, *disks: dict) -> None:
        workstation.write_devices(self.folder, DIALECTS[self.dialect], [*self.own, *disks])

    def attach(self, *more: dict) -> None:
        ours = {"deviceid": 4, "file": str(self.disk), "size": 40 * GIB, "id": OURS}
        self.show(ours | {"mountpoint": None}, *more)

    def run(self, command: str) -> subprocess.CompletedProcess:
        shell = ["/bin/sh", self.folder / "workstation" / "shell", "-c", command]
        return subprocess.run(shell, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def out(self, command: str) -> str:
        done = self.run(command)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def blocks(self, what: str = "") -> list[dict]:
        return json.loads(self.out(f"lsblk -J -b -o {COLUMNS} {what}"))["blockdevices"]


@pytest.fixture
def kvm(tmp_path) -> Station:
    station = Station(tmp_path / "4.22", "4.22")
    station.attach()
    return station


@pytest.fixture
def installed(kvm) -> Station:
    images.write_image(kvm.disk, images.COREOS_2014)
    files = {"var/lib/coreos-install/user_data": b"#cloud-config\n"}
    modes = {"var/lib/coreos-install/user_data": 0o600}
    images.put_tree(kvm.disk, 9, files, kind="btrfs", label="ROOT", modes=modes)
    return kvm


def test_the_shell_is_a_shell_in_its_home(kvm):
    home = kvm.folder / "workstation" / "home"
    assert kvm.out("pwd; echo $HOME; echo 'a b'").split("\n") == [str(home), str(home), "a b", ""]
    assert kvm.run("exit 7").returncode == 7


def test_on_kvm_the_new_disk_is_vdc_and_has_a_serial(kvm):
    root, foreign, ours = kvm.blocks()
    assert [d["name"] for d in (root, foreign, ours)] == ["vda", "vdb", "vdc"]
    assert root["children"][0]["mountpoints"] == ["/"]
    assert (foreign["size"], ours["size"]) == (40 * GIB, 40 * GIB)
    assert ours["serial"] == OURS.replace("-", "")[:20] != foreign["serial"]
    assert (ours["hctl"], ours["pttype"], ours["mountpoints"]) == (None, None, [None])
    assert "children" not in ours


def test_on_vmware_the_new_disk_is_sdd_and_has_none(tmp_path):
    station = Station(tmp_path, "2.2")
    station.attach()
    root, data, foreign, ours = station.blocks()
    assert [d["name"] for d in (root, data, foreign, ours)] == ["sda", "sdb", "sdc", "sdd"]
    assert [d["size"] // GIB for d in (root, data, foreign, ours)] == [80, 100, 40, 40]
    assert data["children"][0]["mountpoints"] == ["/data"]
    assert data["pttype"] == "gpt"
    assert (ours["serial"], ours["model"], ours["hctl"]) == (None, "Virtual disk", "2:0:3:0")


def test_a_disk_keeps_its_name_when_another_one_leaves(kvm):
    second = kvm.blank("second", 2, GIB)
    kvm.attach(second)
    assert kvm.out("lsblk -dno NAME").split() == ["vda", "vdb", "vdc", "vdd"]
    kvm.show(second)
    assert kvm.out("lsblk -dno NAME").split() == ["vda", "vdb", "vdd"]
    kvm.attach(second)
    assert kvm.out("lsblk -dnbo SIZE /dev/vdd /dev/vdc").split() == [str(GIB), str(40 * GIB)]


def test_stand_ins_that_were_replaced_stay(kvm):
    mine = kvm.folder / "workstation" / "bin" / "coreos-install"
    mine.write_text("#!/bin/sh\necho mine\n")
    workstation.prepare(kvm.folder)
    assert kvm.out("coreos-install") == "mine\n"
    assert len(kvm.blocks()) == 3


def test_lsblk_shows_partitions_below_their_disk(installed):
    (disk,) = installed.blocks("/dev/vdc")
    assert disk["pttype"] == "gpt"
    labels = [p["partlabel"] for p in disk["children"]]
    assert labels == ["EFI-SYSTEM", "BOOT-B", "USR-A", "USR-B", "OEM", "OEM-CONFIG", "ROOT"]
    root = disk["children"][-1]
    assert (root["name"], root["fstype"], root["label"]) == ("vdc9", "btrfs", "ROOT")
    assert (root["pkname"], root["maj:min"], root["ro"]) == ("vdc", "254:41", False)


def test_lsblk_prints_a_table_too(installed):
    assert installed.out("lsblk -o NAME,SIZE,PARTLABEL /dev/vdc").splitlines() == [
        "NAME   SIZE PARTLABEL",
        "vdc     40G",
        "|-vdc1 128M EFI-SYSTEM",
        "|-vdc2  64M BOOT-B",
        "|-vdc3   1G USR-A",
        "|-vdc4   1G USR-B",
        "|-vdc6 128M OEM",
        "|-vdc7  64M OEM-CONFIG",
        "`-vdc9   2G ROOT",
    ]
    assert installed.out("lsblk -dno TYPE /dev/vdc9") == "part\n"
    assert installed.out("lsblk -rbno NAME,SIZE /dev/vdc9") == f"vdc9 {2 * GIB}\n"


@pytest.mark.parametrize(
    ("command", "rc", "said"),
    [
        ("lsblk /dev/vdx", 32, "lsblk: /dev/vdx: not a block device"),
        ("lsblk /dev/vdc /dev/vdx >/dev/null", 64, "lsblk: /dev/vdx: not a block device"),
        ("lsblk -o NAME,FOO", 1, "lsblk: unknown column: FOO"),
        ("lsblk -Q", 1, "lsblk: invalid option -- 'Q'"),
        ("blkid -p /dev/vdc", 2, ""),
        ("wipefs -n /dev/vdc", 0, ""),
        ("wipefs -a /dev/vda", 1, "wipefs: error: /dev/vda: probing initialization failed: Device"),
        ("blockdev --flushbufs /dev/vdx", 1, "blockdev: cannot open /dev/vdx: No such file"),
        ("blockdev --flushbufs /dev/vdc", 0, ""),
        ("blockdev --rereadpt /dev/vdc", 1, "blockdev: Unknown command: --rereadpt"),
        ("blkid /dev/vdc", 4, "blkid: this workstation has -p and -o export only"),
        ("mount /dev/vdx .", 32, "special device /dev/vdx does not exist."),
        ("mount /dev/vdc nowhere", 32, "mount point does not exist."),
        ("mount /dev/vdc .", 32, "wrong fs type, bad option, bad superblock on /dev/vdc"),
        ("umount .", 32, "umount: .: not mounted."),
        ("umount nowhere", 32, "umount: nowhere: no mount point specified."),
        ("head -c 1 /dev/vda", 1, "head: cannot open '/dev/vda': Permission denied"),
        ("tail -c 1 /dev/vdx", 1, "tail: cannot open '/dev/vdx': No such file or directory"),
        ("sudo no-such-program", 1, "sudo: no-such-program: command not found"),
        ("sudo -n sh -c 'exit 9'", 9, ""),
        ("sudo A=b true", 0, ""),
        ("udevadm settle", 0, ""),
        ("udevadm monitor", 1, "udevadm: only settle and trigger are there"),
    ],
)
def test_programs_end_and_complain_as_the_real_ones(kvm, command, rc, said):
    done = kvm.run(command)
    assert (done.returncode, done.stdout) == (rc, "")
    assert said in done.stderr
    assert bool(said) == bool(done.stderr)


def test_blkid_prints_the_signatures_of_disk_and_partition(installed):
    assert installed.out("blkid -p -o export /dev/vdc").splitlines() == [
        "DEVNAME=/dev/vdc",
        "PTUUID=00000000-0000-0000-0000-000000000001",
        "PTTYPE=gpt",
    ]
    assert 'LABEL="ROOT" UUID=' in installed.out("sudo blkid -p /dev/vdc9")


def test_wipefs_lists_and_erases(installed):
    head, *rows = (line.split()[:3] for line in installed.out("wipefs -n /dev/vdc").splitlines())
    assert head == ["DEVICE", "OFFSET", "TYPE"]
    assert [row[1:] for row in rows] == [["0x200", "gpt"], ["0x1fe", "PMBR"]]
    assert "(gpt)" in installed.out("sudo wipefs -n -a /dev/vdc")
    assert installed.blocks("/dev/vdc")[0]["pttype"] == "gpt"
    assert "(gpt)" in installed.out("sudo wipefs -a /dev/vdc")
    assert installed.run("blkid -p /dev/vdc").returncode == 2
    assert "children" not in installed.blocks("/dev/vdc")[0]


def test_the_ends_of_a_disk_can_be_read(kvm):
    count = "tr -d '\\000' | head -c 1 | wc -c"
    ends = f"sudo head -c 1048576 -- /dev/vdc | {count}; sudo tail -c 1048576 /dev/vdc | {count}"
    assert kvm.out(ends).split() == ["0", "0"]
    kvm.out("printf x | dd of=/dev/vdc bs=1 seek=42949672959 status=none")
    assert kvm.out(ends).split() == ["0", "1"]
    assert kvm.disk.stat().st_size == 40 * GIB


def test_head_reads_other_files_as_ever(kvm):
    assert kvm.out("printf 'a\\nb\\n' > f; head -n 1 f; tail -n 1 f; printf xyz | head -c 1") == (
        "a\nb\nx"
    )


def test_a_mounted_partition_shows_its_files_and_umount_takes_them_away(installed, tmp_path):
    at = tmp_path / "mnt"
    at.mkdir()
    installed.out(f"sudo mount -o ro,subvol=root /dev/vdc9 {at}")
    user_data = at / "var/lib/coreos-install/user_data"
    assert installed.out(f"sudo cat {user_data}") == "#cloud-config\n"
    assert user_data.stat().st_mode & 0o777 == 0o600
    assert installed.blocks("/dev/vdc9")[0]["mountpoints"] == [str(at)]
    assert installed.run("wipefs -n -a /dev/vdc").returncode == 1
    installed.out(f"sudo umount {at}")
    assert os.listdir(at) == []
    assert installed.blocks("/dev/vdc9")[0]["mountpoints"] == [None]


def test_without_its_subvolume_the_tree_is_one_folder_further_down(installed, tmp_path):
    (tmp_path / "mnt").mkdir()
    installed.out(f"mount -o ro /dev/vdc9 {tmp_path / 'mnt'}")
    assert os.listdir(tmp_path / "mnt") == ["root"]
    installed.out("umount /dev/vdc9")


def test_changes_on_a_writable_mount_reach_the_disk(installed, tmp_path):
    at = tmp_path / "mnt"
    at.mkdir()
    installed.out(f"sudo mount -o subvol=root /dev/vdc9 {at}; mkdir {at}/etc; echo A=1 >{at}/etc/e")
    installed.out(f"sudo umount {at}")
    assert images.tree(installed.disk, 9)["etc/e"] == b"A=1\n"
    modes = {name: mode for name, mode, _ in images.entries(installed.disk, 9)}
    assert modes["var/lib/coreos-install/user_data"] == 0o600


def test_a_folder_with_files_in_it_is_no_mount_point(installed, tmp_path):
    (tmp_path / "mine").write_text("precious")
    done = installed.run(f"mount -o subvol=root /dev/vdc9 {tmp_path}")
    assert done.returncode == 32
    assert "not empty" in done.stderr
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_volume_detached_while_mounted_can_still_be_unmounted(installed, tmp_path):
    at = tmp_path / "mnt"
    at.mkdir()
    installed.out(f"mount -o subvol=root /dev/vdc9 {at}")
    installed.show()
    installed.out(f"umount {at}")
    assert os.listdir(at) == []
