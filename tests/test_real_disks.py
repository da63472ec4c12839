"""Installing on real block devices, locally and over a real sshd: nothing here is a stand-in.

But for the installers, which cannot download here, and lsblk's TYPE: a loop device is never
written on, so that the one on trial has to be called a disk.
"""

import bz2
import contextlib
import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest
from harness import until
from workstations import (
    LSBLK,
    MIB,
    OF_2014,
    OF_2019,
    OF_TODAY,
    SYSTEM,
    Loop,
    at_home,
    bytes_read,
    call,
    demand,
    make_image,
    program,
    runs,
    served,
)

from lib import config
from lib.errors import CheckFailed, ShellFailed
from lib.install import detached, disks, guard, installers, inventory, noted, running
from lib.install.images import Image
from lib.install.noted import Attach
from lib.install.order import Order
from lib.record.journal import Entry, Journal, run_folder
from lib.workstation import files, notes
from lib.workstation.shell import connect_shell, write_text

pytestmark = pytest.mark.system
SIZE = 96 * MIB
CONFIG = "#cloud-config\n\nhostname: a\n"
VOLUME = {"id": "80921", "name": "disk", "size": SIZE, "virtualmachineid": "53553"}
VOLUME |= {"others": ["80000"], "hypervisor": "VMware"}
PROGRAMS = ("losetup", "partx", "sgdisk", "mkfs.ext4", "mkfs.btrfs", "blkid", "wipefs", "flock")
COREOS, FLATCAR = "coreos-install", "flatcar-install"
GENERATIONS = {COREOS: ("btrfs", "beta"), FLATCAR: ("ext4", "stable")}
WAITS = "echo run >>$HOME/calls; echo it waits; while [ ! -e $HOME/go ]; do sleep 0.05; done"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    demand(*PROGRAMS)
    folder = tmp_path_factory.mktemp("images")
    return {name: make_image(folder, fs) for name, (fs, _) in GENERATIONS.items()}


class Workstation:
    """This machine, with a disk of the volume that came after the inventory was noted."""

    def __init__(self, home: Path, images: dict, patch: pytest.MonkeyPatch):
        self.home, self.images, self.loops = home, images, []
        scripts = {"lsblk": LSBLK, COREOS: OF_2014, FLATCAR: OF_TODAY}
        for name in ("wget", "gpg", "bunzip2", "btrfstune", "gawk", "lvm", "udevadm"):
            scripts[name] = "exit 0"  # what these installers do without
        self.shell = at_home(home, patch, scripts, f"{os.environ['PATH']}:{SYSTEM}")
        patch.setenv("RUNBOOK_RUN", str(home / "runs/first"))
        self.plug("other")  # blank, of the same size, and somebody else's
        attach = Attach(VOLUME["id"], inventory.read(self.shell), ["80000"])
        noted.update(self.shell, "w", attach=attach)
        write_text(self.shell, "w/cloud-config.yml", CONFIG)
        self.disk = self.plug("disk")
        self.device = self.disk.path

    def plug(self, name: str) -> Loop:
        """Attach a disk as a hypervisor would."""
        self.loops.append(Loop(self.home / f"{name}.img", SIZE))
        (self.home / "loops").write_text("\n".join(loop.path for loop in self.loops))
        return self.loops[-1]

    def order(self, installer: str = FLATCAR, source: str = "", **image) -> Order:
        """Return an order; the image comes from where the installer takes it."""
        (self.home / "image").unlink(missing_ok=True)
        (self.home / "image").symlink_to(self.images[source or installer])
        form = config.Form(installer, "", image.pop("format", "cloud-config"))
        image = {"installer": installer, "channel": GENERATIONS[installer][1]} | image
        return Order("w", Image(**image), form, VOLUME)

    def local_file(self, packed: bool = False, **image) -> Order:
        """Return an order for an image on the workstation."""
        data = self.images[FLATCAR].read_bytes()
        file = self.home / ("my.bin.bz2" if packed else "my.bin")
        file.write_bytes(bz2.compress(data, 1) if packed else data)
        known = hashlib.sha256(file.read_bytes()).hexdigest()
        return self.order(file=file.name, image_sha256=known, **image)

    def plan(self, order: Order) -> list:
        return installers.plan_install(self.shell, order)

    def apply(self, order: Order, on_line=lambda line: None, plan=None, mode="apply") -> None:
        """Apply a plan, by default a new one."""
        plan = self.plan(order) if plan is None else plan
        installers.apply_install(self.shell, order, plan, mode, on_line)

    def journal(self) -> list[Entry]:
        """Return what the journal of this run holds of the workstation."""
        return Journal(run_folder(), files.workstation(self.shell)).every()

    def data(self, name: str = "disk") -> bytes:
        return (self.home / f"{name}.img").read_bytes()[:SIZE]

    def is_zero(self, name: str = "disk") -> bool:
        return self.data(name).count(0) == SIZE

    def change_config(self, text: str, options: str = "rw") -> None:
        """Put another configuration on the disk's ROOT."""
        (self.home / "mnt").mkdir(exist_ok=True)
        call("mount", "-o", options, self.disk.part(9), str(self.home / "mnt"))
        (path,) = (self.home / "mnt/var/lib").glob("*-install/user_data")
        path.write_text(text)
        call("umount", str(self.home / "mnt"))

    def marked(self) -> list[str]:
        """Return the processes that an installer has started."""
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                mark = f"RUNBOOK_INSTALL={self.home}/w/install".encode()
                if mark in environ.read_bytes().split(b"\0"):
                    found.append(environ.parent.name)
        return found


@pytest.fixture
def ws(tmp_path, images, monkeypatch):
    created = Workstation(tmp_path, images, monkeypatch)
    yield created
    for loop in created.loops:
        loop.detach()


@pytest.mark.parametrize("installer", GENERATIONS)
def test_an_install_is_planned_done_proved_and_then_not_planned_again(ws, installer, monkeypatch):
    seen, shown, order = [], [], ws.order(installer)
    monkeypatch.setattr(running.Waiting, "show", lambda *words: shown.append(words[-1]))
    plan = ws.plan(order)
    assert plan[0].params["device"] == ws.device
    ws.apply(order, seen.append, plan)
    assert seen[-1].startswith("Success! ") and seen[-1].endswith(ws.device)
    if installer == COREOS:  # which ends only when all is on the disk
        assert shown[-1] == "0.1 of about 5 GB written"
    done = notes.read(ws.shell, "w")["installed"]
    assert (done["success"], done["image_checksum"]) == (seen[-1], "unknown: a download")
    assert done["resolved"] == ("367.1.0" if installer == COREOS else "4459.2.0")
    (entry,) = ws.journal()
    assert (entry.state, entry.text) == ("done", seen[-1])
    assert entry.what == f"disk, {ws.device} of this machine"
    assert (entry.params["volume"], entry.params["device"]) == (VOLUME["id"], ws.device)
    assert entry.params["sha256"] == files.sha256(CONFIG)
    assert entry.params["runs"].startswith(f"{installer} -d {ws.device} -C ")
    assert not (ws.home / notes.job("w")).exists() and guard.users(ws.shell, ws.device) == []
    assert call("findmnt", "-rn", "-o", "SOURCE").count(ws.device) == 0 and ws.is_zero("other")
    assert ws.plan(order) == [] and len(ws.plan(ws.order(installer, channel="alpha"))) == 1
    # Reading back writes nothing, reads less than the disk, and finds one changed byte.
    call("blockdev", "--flushbufs", ws.device)
    before, read = ws.data(), bytes_read(ws.disk)
    installers.verify(ws.shell, order, "apply")
    assert 0 < bytes_read(ws.disk) - read < SIZE
    call("blockdev", "--flushbufs", ws.device)
    assert ws.data() == before
    ws.change_config(CONFIG.replace("a\n", "b\n"), "subvol=root" if installer == COREOS else "rw")
    with pytest.raises(CheckFailed, match=r"-hostname: a\n\+hostname: b"):
        installers.verify(ws.shell, order, "apply")
    with pytest.raises(CheckFailed, match="that of our install"):  # so it may be somebody's
        ws.plan(ws.order(installer, channel="alpha"))


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_a_new_run_waits_for_the_running_installer_and_installs_again(ws, monkeypatch, ends):
    seen, order = [], ws.order(COREOS, channel="alpha")
    (ws.home / "meanwhile").write_text(WAITS)
    if ends == "badly":
        (ws.home / "fails-late").touch()

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ws.apply(ws.order(COREOS), stop)
    assert [e.state for e in ws.journal()] == ["intent"]
    monkeypatch.setenv("RUNBOOK_RUN", str(ws.home / "runs/second"))
    plan = ws.plan(order)
    assert plan[0].params["device"] == ws.device

    def see(line):
        seen.append(line)
        if line == "it waits":
            (ws.home / "go").touch()
        if "it has ended" in line:
            (ws.home / "fails-late").unlink(missing_ok=True)

    ws.apply(order, see, plan)
    assert "still runs" in seen[0] and seen[1] == "it waits" and seen[-1].startswith("Success!")
    assert (ws.home / "calls").read_text() == "run\nrun\n" and ws.plan(order) == []
    other, own = ws.journal()
    assert (own.state, own.text) == ("done", seen[-1])
    assert (other.state, other.run) == ("looked-after", "first")
    assert "lost: its outcome is unknown; it was started again" in other.text


def test_nothing_that_the_installer_started_outlives_it(ws):
    """The blocked writer to a FIFO, and the agent in its own session, hold the disk and the log."""
    ws.apply(ws.local_file())
    assert guard.users(ws.shell, ws.device) == [] and not ws.marked()
    with open(ws.device, "rb") as held:  # stage 40 ends what is ours, and names the others
        mark = os.environ | {"RUNBOOK_INSTALL": f"{ws.home}/w/install"}
        ours = subprocess.Popen(["sleep", "600"], stdin=held, env=mark)
        others = subprocess.Popen(["sleep", "600"], stdin=held)
    try:
        named = rf"in use: sleep \(process {others.pid}\)\. End these"
        with pytest.raises(CheckFailed, match=named):
            disks.demand_idle(ws.shell, "w", VOLUME, "apply")
        assert not runs(ours.pid) and runs(others.pid)
    finally:
        others.kill()
        others.wait(), ours.wait()
    disks.demand_idle(ws.shell, "w", VOLUME, "apply")


def test_over_ssh_it_is_the_same_though_the_connection_breaks_in_the_middle(
    ws, tmp_path_factory, monkeypatch
):
    demand("sshd", "ssh", "ssh-keygen")
    (ws.home / "meanwhile").write_text(WAITS)
    seen, order = [], ws.order(COREOS)
    with served(ws.home, tmp_path_factory.mktemp("client"), monkeypatch) as sshd:

        def cut(line):
            seen.append(line)
            if line == "it waits":
                sshd.drop()
                sshd.start()
                (ws.home / "go").touch()

        ws.shell = connect_shell(None, sshd.target)
        ws.apply(order, cut)
        assert ws.plan(order) == []
    assert (ws.home / "calls").read_text() == "run\n"
    assert (ws.home / "sshd.log").read_text().count("Accepted publickey") == 2
    assert seen[0] == "it waits" and seen[-1].startswith("Success!")
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    "installer, flag, state",
    [
        (COREOS, "bad-signature", "untouched"),
        (COREOS, "fails-late", "half written"),
        (FLATCAR, "no-image", "untouched"),
        (FLATCAR, "bad-signature", "wiped"),
        (FLATCAR, "fails-late", "wiped"),
    ],
)
def test_a_failure_names_the_state_of_the_disk_and_a_new_run_repairs_it(ws, installer, flag, state):
    (ws.home / flag).touch()
    with pytest.raises(ShellFailed, match=state):
        ws.apply(ws.order(installer))
    assert ws.is_zero() == (state == "untouched")
    (entry,) = ws.journal()
    assert entry.state == "failed" and state in entry.text
    (ws.home / flag).unlink()
    if state == "half written":  # and a power cut, or a full disk, damages the installer's files
        for name, damage in {"rc": "\0\0", "writing": "[]", "lock": "\0"}.items():
            (ws.home / "w/install" / name).write_text(damage)
    ws.apply(ws.order(installer))
    assert ws.plan(ws.order(installer)) == []


REFUSED = {
    "mounted without a table": "mkfs.ext4 -q {d}; mkdir m; mount {d} m",
    "btrfs": "mkfs.btrfs -q --mixed {d}",
    "a partition table": "sgdisk -n 1:0:0 {d}; partx -a {d}",
    "a mounted partition": "sgdisk -n 1:0:0 {d}; partx -a {d}; mkfs.ext4 -q {d}p1; mkdir m; "
    "mount {d}p1 m",
    "data in its first MiB only": "printf x | dd of={d} bs=1 seek=1000000 conv=notrunc",
    "data in its last MiB only": "printf x | dd of={d} bs=1 seek=100663295 conv=notrunc",
    "data in its middle only": "dd if=/dev/urandom of={d} bs=1M seek=48 count=1 conv=notrunc",
    "open in a program": "sleep 600 <{d} >&- 2>&- & echo $! >pid",
    "a loop device on it": "losetup -f --show {d} >loop",
    "read-only": "blockdev --setro {d}",
    "swap in use": "mkswap {d}; swapon {d}",
}
UNDO = (
    "umount m; swapoff {d}; kill $(cat pid); losetup -d $(cat loop); ! grep -q '^{d} ' /proc/swaps"
)


@pytest.mark.parametrize("prepare", REFUSED.values(), ids=REFUSED)
def test_a_disk_that_is_not_blank_and_idle_is_refused_and_stays_as_it_was(ws, prepare):
    def shell(text: str) -> int:
        text = text.format(d=ws.device)
        return subprocess.run(["sh", "-c", text], capture_output=True, cwd=ws.home).returncode

    assert shell(f"set -e; {prepare}") == 0
    call("blockdev", "--flushbufs", ws.device)
    before = ws.data()
    try:
        with pytest.raises(CheckFailed):
            ws.plan(ws.order())
    finally:
        until(lambda: shell(UNDO) == 0)  # swapoff fails while memory is short
    if not re.search("mount|swapon", prepare):  # what the kernel uses, it may write on
        call("blockdev", "--flushbufs", ws.device)
        assert ws.data() == before


def test_a_disk_that_is_mounted_in_another_namespace_is_refused(ws):
    call("mkfs.ext4", "-q", ws.device)
    (ws.home / "m").mkdir()
    script = f"mount {ws.device} {ws.home}/m && echo mounted && exec sleep 60"
    with subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"mounted\n"
            row = next(r for r in inventory.read(ws.shell) if r["path"] == ws.device)
            assert inventory.used(row) == []
            with pytest.raises(CheckFailed, match=r"✗ +\S+ +opens exclusively +yes +no"):
                ws.plan(ws.order())
        finally:
            other.kill()


def deal(ws) -> None:
    """Give the name of the disk to a smaller one."""
    call("losetup", "-d", ws.device)
    (ws.home / "smaller.img").write_bytes(bytes(SIZE - 512))
    call("losetup", ws.device, str(ws.home / "smaller.img"))


CHANGED = {  # between the last look and the write
    "something opens it": lambda ws: os.open(ws.device, os.O_RDWR | os.O_EXCL),
    "a partition table": lambda ws: call("sgdisk", "-o", ws.device),
    "data": lambda ws: call("dd", "if=/dev/urandom", f"of={ws.device}", "count=1"),
    "its name means another disk": deal,
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_a_disk_that_changed_since_the_check_is_neither_written_on_nor_taken_for_ours(ws, change):
    real, held, before = detached.start, [], []

    def late(*args, **more):
        held.append(change(ws))
        call("blockdev", "--flushbufs", ws.device)
        before.append(Path(ws.device).read_bytes())
        real(*args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detached, "start", late)
        with pytest.raises(CheckFailed, match=r"has changed .*Nothing was written"):
            ws.apply(ws.order())
    for order in (ws.order(), ws.order(COREOS)):
        with pytest.raises(CheckFailed):
            ws.plan(order)
    call("blockdev", "--flushbufs", ws.device)
    assert Path(ws.device).read_bytes() == before[0]
    os.close(held[0]) if isinstance(held[0], int) else None


def test_the_name_cannot_be_dealt_to_another_disk_while_the_image_comes(ws):
    """The installer of 2014 downloads for minutes, then writes to a name checked before."""
    (ws.home / "others.img").write_bytes(bytes(SIZE))
    swap = f"losetup -d {ws.device}; losetup {ws.device} $HOME/others.img && echo dealt anew"
    (ws.home / "meanwhile").write_text(swap)
    seen = []
    with pytest.raises((ShellFailed, CheckFailed)):  # the disk is gone once the installer has ended
        ws.apply(ws.order(COREOS), seen.append)
    assert any("Device or resource busy" in line for line in seen) and "dealt anew" not in seen
    assert ws.is_zero("others") and not ws.is_zero()
    call("losetup", ws.device, str(ws.home / "disk.img"))


def test_the_second_disk_of_a_mounted_btrfs_is_known_to_be_in_use(ws):
    other = ws.plug("third").path
    call("mkfs.btrfs", "-q", "--mixed", "-d", "single", "-m", "single", other, ws.device)
    (ws.home / "m").mkdir()
    call("mount", other, str(ws.home / "m"))
    try:
        row = next(r for r in inventory.read(ws.shell) if r["path"] == ws.device)
        assert inventory.used(row) == ["a mounted btrfs"]
    finally:
        call("umount", str(ws.home / "m"))


@pytest.mark.parametrize("packed", [False, True])
def test_a_local_image_is_verified_written_and_recorded(ws, packed, capsys):
    program(ws.home, "openssl", "exit 127") if packed else None  # then sha256sum does
    seen, order = [], ws.local_file(packed=packed)
    (ws.home / "image").unlink()  # nothing can be downloaded
    ws.apply(order, mode="plan")
    assert f"✓ {order.image.file} has the expected sha256\n" in capsys.readouterr().out
    assert ws.is_zero()
    ws.apply(order, seen.append)
    assert seen[0] == f"Writing {order.image.file}..."
    done = notes.read(ws.shell, "w")["installed"]
    assert done["image_checksum"] == f"sha256 {order.image.image_sha256}"
    assert done["signed_by"].startswith("nobody") and done["resolved"] == "367.1.0"
    assert ws.plan(order) == []


CHANGES = 'printf x | dd of="$HOME/my.bin" bs=1 seek=70000000 conv=notrunc status=none'
OTHER_IMAGES = {
    f"{CHANGES}; sleep 0.01": "(changed while it was read|[0-9a-f]{64})",
    "rm $HOME/my.bin": "[^.]*",
}


@pytest.mark.parametrize("meanwhile, found", OTHER_IMAGES.items(), ids=["changed", "gone"])
def test_a_local_image_that_changes_while_it_is_written_is_wiped_and_a_right_one_installed(
    ws, meanwhile, found
):
    (ws.home / "meanwhile").write_text(meanwhile)
    order = ws.local_file()
    state = "is blank" if "rm" in meanwhile else "is wiped, with remains"
    with pytest.raises(CheckFailed, match=rf"(?s)my\.bin: wanted .*, found {found}\. .* {state}"):
        ws.apply(order)
    assert not any(r["children"] for r in inventory.read(ws.shell))
    assert "installed" not in notes.read(ws.shell, "w")
    (ws.home / "meanwhile").unlink()
    (ws.home / "my.bin").unlink(missing_ok=True)
    with pytest.raises(CheckFailed, match=r"my\.bin is no readable file"):
        ws.plan(order)
    order = ws.local_file()
    ws.apply(order)
    assert ws.plan(order) == []


def test_coreoss_last_installer_prints_the_version(ws):
    program(ws.home, COREOS, OF_2019)
    program(ws.home, "bash", "echo traps with bash 5.1")  # with which it can download
    ws.apply(ws.order(COREOS, FLATCAR, url="https://mirror.example/coreos", channel="stable"))
    done = notes.read(ws.shell, "w")["installed"]
    assert done["resolved"] == "2512.3.0" and done["signed_by"].startswith("key 52F145DF")
    assert done["url"] == "https://mirror.example/coreos"


def test_an_ignition_config_is_put_on_the_oem_partition_and_read_back(ws):
    write_text(ws.shell, "w/config.ign", '{"ignition":{"version":"3.3.0"}}\n')
    order = ws.order(format="ignition")
    ws.apply(order)
    installers.verify(ws.shell, order, "apply")
    write_text(ws.shell, "w/config.ign", '{"ignition":{"version":"3.4.0"}}\n')
    with pytest.raises(CheckFailed, match=r"3\.4\.0"):
        installers.verify(ws.shell, order, "apply")
