"""The workstation's shell, and the stand-ins for the programs that act on disks."""

import os
import subprocess
import sys

import pytest

from lib.localcloud.guests import login
from lib.localcloud.workstation import images, shell, stand_ins
from lib.localcloud.workstation.releases import COREOS

from .stations import GIB, VOLUME, Station


@pytest.fixture
def kvm(tmp_path) -> Station:
    return Station(tmp_path / "4.22")


@pytest.fixture
def installed(kvm) -> Station:
    images.write_image(kvm.disk, COREOS.layout)
    files = {"var/lib/coreos-install/user_data": b"#cloud-config\n"}
    modes = {"var/lib/coreos-install/user_data": 0o600}
    images.put_tree(kvm.disk, 9, files, kind="btrfs", label="ROOT", modes=modes)
    return kvm


@pytest.fixture
def at(tmp_path):
    """A folder to mount on."""
    (tmp_path / "mnt").mkdir()
    return tmp_path / "mnt"


def test_the_shell_is_a_shell_in_its_home_whose_stand_ins_can_be_replaced(kvm):
    there = str(kvm.home)
    assert kvm.out("pwd; echo $HOME; echo 'a b'").split("\n") == [there, there, "a b", ""]
    assert kvm.run("exit 7").returncode == 7
    text = "printf 'a\\nb\\n' > f; head -n 1 f; tail -n 1 f; printf xyz | head -c 1"
    assert kvm.out(text) == "a\nb\nx"
    (kvm.folder / "workstation/bin/coreos-install").write_text("#!/bin/sh\necho mine\n")
    shell.prepare(kvm.folder)
    assert kvm.out("coreos-install") == "mine\n"
    (kvm.folder / "workstation/bin/wipefs").unlink()
    done = kvm.run("wipefs -a /dev/vdc")
    assert done.returncode == 126 and "the stand-in wipefs is missing" in done.stderr


def test_on_kvm_the_new_disk_is_vdc_and_has_a_serial(kvm):
    root, theirs, ours = kvm.blocks()
    assert [d["name"] for d in (root, theirs, ours)] == ["vda", "vdb", "vdc"]
    assert root["children"][0]["mountpoints"] == ["/"]
    assert (theirs["size"], ours["size"]) == (40 * GIB, 40 * GIB)
    assert ours["serial"] == VOLUME.replace("-", "")[:20] != theirs["serial"]
    assert (ours["hctl"], ours["pttype"], ours["mountpoints"]) == (None, None, [None])
    assert "children" not in ours


def test_on_vmware_the_new_disk_is_sdd_and_has_none(tmp_path):
    root, data, theirs, ours = Station(tmp_path, "2.2").blocks()
    assert [d["name"] for d in (root, data, theirs, ours)] == ["sda", "sdb", "sdc", "sdd"]
    assert [d["size"] // GIB for d in (root, data, theirs, ours)] == [80, 100, 40, 40]
    assert (data["children"][0]["mountpoints"], data["pttype"]) == (["/data"], "gpt")
    assert (ours["serial"], ours["model"], ours["hctl"]) == (None, "Virtual disk", "2:0:3:0")


def test_a_disk_keeps_its_name_when_another_one_leaves(kvm):
    second = kvm.blank("second", 2, GIB)
    for disks, names in [([kvm.row, second], "vda vdb vdc vdd"), ([second], "vda vdb vdd"),
                         ([kvm.row, second], "vda vdb vdc vdd")]:  # fmt: skip
        kvm.show(*disks)
        assert kvm.out("lsblk -dno NAME").split() == names.split()
    assert kvm.out("lsblk -dnbo SIZE /dev/vdd /dev/vdc").split() == [str(GIB), str(40 * GIB)]


def test_lsblk_shows_partitions_below_their_disk(installed):
    (disk,) = installed.blocks("/dev/vdc")
    root = disk["children"][-1]
    assert (root["name"], root["fstype"], root["label"]) == ("vdc9", "btrfs", "ROOT")
    assert (root["pkname"], root["maj:min"], root["ro"]) == ("vdc", "254:41", False)
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
    assert installed.out("lsblk -rbno NAME,SIZE,TYPE /dev/vdc9") == f"vdc9 {2 * GIB} part\n"


def test_programs_end_and_complain_as_the_real_ones(kvm):
    for command, rc, text in [
        ("lsblk /dev/vdx", 32, "lsblk: /dev/vdx: not a block device"),
        ("lsblk /dev/vdc /dev/vdx >/dev/null", 64, "lsblk: /dev/vdx: not a block device"),
        ("lsblk -o NAME,FOO", 1, "lsblk: unknown column: FOO"),
        ("lsblk -Q", 1, "lsblk: invalid option -- 'Q'"),
        ("lsblk --json", 1, "lsblk: unrecognized option '--json'"),
        ("blkid -p /dev/vdc", 2, ""),
        ("blkid /dev/vdc", 4, "blkid: this workstation has -p and -o export only"),
        ("wipefs -n /dev/vdc", 0, ""),
        ("wipefs -a /dev/vda", 1, "wipefs: error: /dev/vda: probing initialization failed: Device"),
        ("blockdev --flushbufs /dev/vdx", 1, "blockdev: cannot open /dev/vdx: No such file"),
        ("blockdev --flushbufs /dev/vdc", 0, ""),
        ("blockdev --rereadpt /dev/vdc", 1, "blockdev: Unknown command: --rereadpt"),
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
    ]:
        done = kvm.run(command)
        assert (done.returncode, done.stdout) == (rc, ""), command
        assert text in done.stderr and bool(text) == bool(done.stderr), command


def test_signatures_are_listed_and_erased(installed):
    assert installed.out("blkid -p -o export /dev/vdc").splitlines() == [
        "DEVNAME=/dev/vdc",
        "PTUUID=00000000-0000-0000-0000-000000000001",
        "PTTYPE=gpt",
    ]
    assert 'LABEL="ROOT" UUID=' in installed.out("sudo blkid -p /dev/vdc9")
    head, *rows = (line.split()[:3] for line in installed.out("wipefs -n /dev/vdc").splitlines())
    assert head == ["DEVICE", "OFFSET", "TYPE"]
    assert [row[1:] for row in rows] == [["0x200", "gpt"], ["0x1fe", "PMBR"]]
    assert "(gpt)" in installed.out("sudo wipefs -n -a /dev/vdc")
    assert installed.blocks("/dev/vdc")[0]["pttype"] == "gpt"
    assert "(gpt)" in installed.out("sudo wipefs -a /dev/vdc")
    assert installed.run("blkid -p /dev/vdc").returncode == 2
    assert "children" not in installed.blocks("/dev/vdc")[0]


def test_the_ends_of_a_disk_can_be_read_and_written(kvm):
    count = "tr -d '\\000' | head -c 1 | wc -c"
    ends = f"sudo head -c 1048576 -- /dev/vdc | {count}; sudo tail -c 1048576 /dev/vdc | {count}"
    assert kvm.out(ends).split() == ["0", "0"]
    kvm.out("printf x | dd of=/dev/vdc bs=1 seek=42949672959 status=none")
    assert kvm.out(ends).split() == ["0", "1"]
    assert kvm.disk.stat().st_size == 40 * GIB


def test_a_mounted_partition_shows_its_files_and_umount_takes_them_away(installed, at):
    installed.out(f"sudo mount -o ro,subvol=root /dev/vdc9 {at}")
    user_data = at / "var/lib/coreos-install/user_data"
    assert installed.out(f"sudo cat {user_data}") == "#cloud-config\n"
    assert user_data.stat().st_mode & 0o777 == 0o600
    assert installed.blocks("/dev/vdc9")[0]["mountpoints"] == [str(at)]
    assert installed.run("wipefs -n -a /dev/vdc").returncode == 1
    installed.out(f"sudo umount {at}")
    assert os.listdir(at) == []
    assert installed.blocks("/dev/vdc9")[0]["mountpoints"] == [None]
    installed.out(f"mount -o ro /dev/vdc9 {at}")  # without its subvolume, a folder further down
    assert os.listdir(at) == ["root"]
    installed.show()  # the volume is detached
    installed.out(f"umount {at}")
    assert os.listdir(at) == []


def test_changes_on_a_writable_mount_reach_the_disk(installed, at):
    installed.out(f"sudo mount -o subvol=root /dev/vdc9 {at}; mkdir {at}/etc; echo A=1 >{at}/etc/e")
    installed.out(f"sudo umount {at}")
    assert images.tree(installed.disk, 9)["etc/e"] == b"A=1\n"
    modes = {name: mode for name, mode, _ in images.entries(installed.disk, 9)}
    assert modes["var/lib/coreos-install/user_data"] == 0o600


def test_a_folder_with_files_in_it_is_no_mount_point(installed, at):
    (at / "mine").write_text("precious")
    done = installed.run(f"mount -o subvol=root /dev/vdc9 {at}")
    assert done.returncode == 32 and "not empty" in done.stderr
    assert (at / "mine").read_text() == "precious"


def test_stand_ins_and_logins_need_the_standard_library_only():
    names = ["lib.localcloud.guests.login"]
    names += [f"lib.localcloud.workstation.{name}" for name in {*stand_ins.MODULES.values()}]
    text = f"import sys; sys.path.append({str(shell.ROOT)!r}); import {', '.join(names)}"
    subprocess.run([sys.executable, "-E", "-S", "-c", text], check=True)


def test_the_shell_of_a_machine_without_a_command_says_what_it_needs(tmp_path, capsys):
    assert login.main([str(tmp_path), "machine"]) == 2
    assert "add -c COMMAND" in capsys.readouterr().err
