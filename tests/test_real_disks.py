"""Installing on real block devices, locally and over a real sshd: nothing here is a stand-in.

But for the installers, which cannot download here, and lsblk's TYPE: a loop device is never
written on, so that the one on trial has to be called a disk.
"""

import bz2
import contextlib
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from workstations import (
    LSBLK,
    MIB,
    OF_2014,
    OF_2019,
    OF_TODAY,
    SUDO,
    Loop,
    bytes_read,
    call,
    demand,
    make_image,
    program,
    runs,
    served,
    until,
)

from lib import config
from lib.cluster import removal
from lib.errors import CheckFailed, ShellFailed
from lib.install import disks, guard, installers, inventory, readback, running
from lib.install.images import Image
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
GENERATIONS = {"coreos-install": ("btrfs", "beta"), "flatcar-install": ("ext4", "stable")}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    demand(*PROGRAMS)
    folder = tmp_path_factory.mktemp("images")
    return {name: make_image(folder, fs) for name, (fs, _) in GENERATIONS.items()}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A workstation on this machine."""
    demand(*PROGRAMS)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUNBOOK_RUN", str(tmp_path / "runs/first"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}:/usr/sbin:/sbin")
    scripts = {"sudo": SUDO, "lsblk": LSBLK}
    for name, text in (scripts | {"coreos-install": OF_2014, "flatcar-install": OF_TODAY}).items():
        program(tmp_path, name, text)
    for name in ("wget", "gpg", "bunzip2", "btrfstune", "gawk", "lvm", "udevadm"):
        program(tmp_path, name, "exit 0")  # what the installers of here do without
    return tmp_path


@pytest.fixture
def there(home):
    return connect_shell(None, "")


@pytest.fixture
def plug(home):
    """Attach disks as a hypervisor would: loop devices, taken off at the end."""
    loops = []

    def attach(name="disk", size=SIZE):
        loops.append(Loop(home / f"{name}.img", size))
        (home / "loops").write_text("\n".join(loop.path for loop in loops))
        return loops[-1]

    yield attach
    for loop in loops:
        loop.detach()


@pytest.fixture
def disk(there, plug):
    """The volume's disk: the inventory was noted before it came."""
    plug("other")  # blank, of the same size, and somebody else's
    before = {"before": inventory.read(there), "volumes": ["80000"]}
    notes.update(there, "w", attach={"volume": VOLUME["id"]} | before)
    write_text(there, "w/cloud-config.yml", CONFIG)
    return plug()


def image_of(home: Path, images: dict, installer: str) -> dict:
    """Put the image where the installer takes it from; return the stage's parameters."""
    (home / "image").unlink(missing_ok=True)
    (home / "image").symlink_to(images[installer])
    channel = GENERATIONS[installer][1]
    return {"installer": installer, "channel": channel}


def order(params) -> Order:
    image = {k: v for k, v in params.items() if k != "format"}
    form = config.Form(image["installer"], "", params.get("format", "cloud-config"))
    return Order("w", Image(**image), form, VOLUME)


def planned(there, params):
    return installers.plan_install(there, order(params))


def apply(there, params, on_line=lambda line: None, mode="apply", plan=None):
    """Apply a plan, by default a new one."""
    plan = planned(there, params) if plan is None else plan
    installers.apply_install(there, order(params), plan, mode, on_line)


def verify(there, params):
    installers.verify(there, order(params), "apply")


def journalled(there) -> list[Entry]:
    """Return what the journal of this run holds of the workstation."""
    return Journal(run_folder(), files.workstation(there)).every()


def data_of(path: str, size: int = SIZE) -> bytes:
    return Path(path).read_bytes()[:size]


@pytest.mark.parametrize("installer", GENERATIONS)
def test_an_install_is_planned_done_proved_and_then_not_planned_again(
    there, home, images, disk, installer, monkeypatch
):
    params, seen, shown = image_of(home, images, installer), [], []
    monkeypatch.setattr(running.Waiting, "show", lambda *_, so_far: shown.append(so_far))
    plan = planned(there, params)
    assert plan[0].params["device"] == disk.path
    apply(there, params, seen.append, plan=plan)
    assert seen[-1].startswith("Success! ") and seen[-1].endswith(disk.path)
    if installer == "coreos-install":  # which ends only when all is on the disk
        assert shown[-1] == "0.1 of about 5 GB written"
    assert notes.read(there, "w")["installed"]["image_checksum"].startswith("unknown")
    assert planned(there, params) == []
    done = notes.read(there, "w")["installed"]
    assert done["resolved"] == ("367.1.0" if installer == "coreos-install" else "4459.2.0")
    verify(there, params)
    (entry,) = journalled(there)
    told, line = entry.params, f"{installer} -d {disk.path} -C {params['channel']}"
    assert (entry.state, entry.text) == ("done", seen[-1])
    assert entry.what == f"disk, {disk.path} of this machine"
    assert (told["volume"], told["device"]) == (VOLUME["id"], disk.path)
    assert told["sha256"] == installers.sha256(CONFIG) and told["runs"].startswith(line)
    assert not (home / notes.job("w")).exists() and guard.users(there, disk.path) == []
    assert call("findmnt", "-rn", "-o", "SOURCE").count(disk.path) == 0
    assert data_of(home / "other.img").count(0) == SIZE


WAITS = "echo run >>$HOME/calls; echo it waits; while [ ! -e $HOME/go ]; do sleep 0.05; done"


def interrupted(there, home, params):
    """Begin an install, and be interrupted while the installer is at work."""

    def stop(line):
        raise KeyboardInterrupt

    (home / "meanwhile").write_text(WAITS)
    with pytest.raises(KeyboardInterrupt):
        apply(there, params, stop)


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_a_new_run_waits_for_the_running_installer_and_installs_again(
    there, home, images, disk, monkeypatch, ends
):
    params, seen = image_of(home, images, "coreos-install"), []
    if ends == "badly":
        (home / "fails-late").touch()
    interrupted(there, home, params)
    assert [e.state for e in journalled(there)] == ["intent"]
    monkeypatch.setenv("RUNBOOK_RUN", str(home / "runs/second"))
    params |= {"channel": "alpha"}
    plan = planned(there, params)
    assert plan[0].params["device"] == disk.path

    def see(line):
        seen.append(line)
        if line == "it waits":
            (home / "go").touch()
        if "it has ended" in line:
            (home / "fails-late").unlink(missing_ok=True)

    apply(there, params, see, plan=plan)
    assert "still runs" in seen[0] and seen[1] == "it waits" and seen[-1].startswith("Success!")
    assert (home / "calls").read_text() == "run\nrun\n"
    assert planned(there, params) == []
    other, own = journalled(there)
    assert (own.state, own.text) == ("done", seen[-1])
    assert (other.state, other.run) == ("looked-after", "first")
    assert "lost: its outcome is unknown; it was started again" in other.text


@pytest.mark.parametrize(
    "file, damage", [("rc", ""), ("rc", "\0\0"), ("rc", "null"), ("writing", "[]"), ("lock", "\0")]
)
def test_damaged_files_of_an_installer_are_no_hindrance(there, home, images, disk, file, damage):
    """As after a power cut, or on a full disk."""
    params = image_of(home, images, "coreos-install")
    (home / "fails-late").touch()
    with pytest.raises(ShellFailed, match="half written"):
        apply(there, params)
    (home / "w/install" / file).write_text(damage)
    (home / "fails-late").unlink()
    apply(there, params)
    assert planned(there, params) == []


def test_nothing_that_the_installer_started_outlives_it(there, home, images, disk):
    """The blocked writer to a FIFO, and the agent in its own session, hold the disk and the log."""
    params = image_of(home, images, "flatcar-install")
    params |= local_file(home, images["flatcar-install"], packed=False)
    apply(there, params)
    assert guard.users(there, disk.path) == [] and not marked(home)
    disks.demand_idle(there, "w", VOLUME, "apply")


def marked(home: Path) -> list[str]:
    """Return the processes that an installer has started."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"RUNBOOK_INSTALL={home}/w/install".encode() in environ.read_bytes().split(b"\0"):
                found.append(environ.parent.name)
    return found


def test_remaining_writers_are_ended_before_a_killed_script_fails(there, home, images, disk):
    params = image_of(home, images, "flatcar-install")
    (home / "slow").touch()
    (home / "meanwhile").write_text("echo $$ >$HOME/pid")

    def kill(line):
        if line.startswith("Downloading, writing"):
            until(lambda: data_of(home / "disk.img").count(0) < SIZE or len(marked(home)) > 3)
            os.kill(int((home / "pid").read_text()), 9)

    with pytest.raises(ShellFailed, match="ended with 137"):
        apply(there, params, kill)
    assert marked(home) == [] and guard.users(there, disk.path) == []
    (home / "slow").unlink()
    apply(there, params)
    assert planned(there, params) == []


def test_before_40_our_installers_processes_are_ended_and_other_users_are_named(
    there, home, images, disk
):
    apply(there, image_of(home, images, "flatcar-install"))
    with open(disk.path, "rb") as held:
        mark = os.environ | {"RUNBOOK_INSTALL": f"{home}/w/install"}
        ours = subprocess.Popen(["sleep", "600"], stdin=held, env=mark)
        others = subprocess.Popen(["sleep", "600"], stdin=held)
    try:
        with pytest.raises(
            CheckFailed, match=rf"in use: sleep \(process {others.pid}\)\. End these"
        ):
            disks.demand_idle(there, "w", VOLUME, "apply")
        assert not runs(ours.pid) and runs(others.pid)
    finally:
        others.kill()
        others.wait(), ours.wait()
    disks.demand_idle(there, "w", VOLUME, "apply")


def test_notes_that_are_damaged_are_named_with_a_way_on(there, home, images, disk):
    params = image_of(home, images, "flatcar-install")
    for text in ("", "\0\0", "null", "[]", '{"installing": []}', '{"attach": {"vol'):
        (home / "w/notes.json").write_text(text)
        with pytest.raises(CheckFailed, match=r"Rename it there .* choose another volume_name"):
            planned(there, params)
        removal.demand_idle(there, "w")
    removal.clear_notes(there, "w", [], "apply")
    assert not (home / "w").exists()


def test_over_ssh_it_is_the_same_though_the_connection_breaks_in_the_middle(
    home, images, disk, tmp_path_factory, monkeypatch
):
    demand("sshd", "ssh", "ssh-keygen")
    params, seen = image_of(home, images, "coreos-install"), []
    (home / "meanwhile").write_text(WAITS)
    with served(home, tmp_path_factory.mktemp("client"), monkeypatch) as sshd:

        def cut(line):
            seen.append(line)
            if line == "it waits":
                sshd.drop()
                sshd.start()
                (home / "go").touch()

        there = connect_shell(None, sshd.target)
        apply(there, params, cut)
        assert planned(there, params) == []
    assert (home / "calls").read_text() == "run\n"
    assert (home / "sshd.log").read_text().count("Accepted publickey") == 2
    assert seen[0] == "it waits" and seen[-1].startswith("Success!")
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("installer", GENERATIONS)
def test_a_config_changed_on_the_disk_by_one_byte_is_found(there, home, images, disk, installer):
    params = image_of(home, images, installer)
    apply(there, params)
    options = ["-o", "subvol=root"] if installer == "coreos-install" else []
    (home / "mnt").mkdir()
    call("mount", *options, disk.part(9), str(home / "mnt"))
    (home / "mnt" / readback.USER_DATA[installer]).write_text(CONFIG.replace("a\n", "b\n"))
    call("umount", str(home / "mnt"))
    with pytest.raises(CheckFailed, match=r"-hostname: a\n\+hostname: b"):
        verify(there, params)


def test_reading_back_writes_nothing_and_reads_less_than_the_disk_once(there, home, images, disk):
    params = image_of(home, images, "flatcar-install")
    apply(there, params)
    call("blockdev", "--flushbufs", disk.path)
    before, read = data_of(home / "disk.img"), bytes_read(disk)
    verify(there, params)
    assert 0 < bytes_read(disk) - read < SIZE
    call("blockdev", "--flushbufs", disk.path)
    assert data_of(home / "disk.img") == before


@pytest.mark.parametrize(
    "installer, flag, state",
    [
        ("coreos-install", "no-image", "untouched"),
        ("coreos-install", "bad-signature", "untouched"),
        ("coreos-install", "fails-late", "half written"),
        ("flatcar-install", "no-image", "untouched"),
        ("flatcar-install", "bad-signature", "wiped"),
        ("flatcar-install", "fails-late", "wiped"),
    ],
)
def test_a_failure_names_the_state_of_the_disk_and_a_new_run_repairs_it(
    there, home, images, disk, installer, flag, state
):
    (home / flag).touch()
    params = image_of(home, images, installer)
    with pytest.raises(ShellFailed, match=state):
        apply(there, params)
    assert (data_of(home / "disk.img").count(0) == SIZE) == (state == "untouched")
    (entry,) = journalled(there)
    assert entry.state == "failed" and state in entry.text
    (home / flag).unlink()
    apply(there, params)
    assert planned(there, params) == []


REFUSED = {
    "mounted without a table": "mkfs.ext4 -q {d}; mkdir m; mount {d} m",
    "a file system": "mkfs.ext4 -q {d}",
    "btrfs": "mkfs.btrfs -q --mixed {d}",
    "swap signature": "mkswap {d}",
    "an empty partition table": "sgdisk -o {d}",
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


@pytest.mark.parametrize("prepare", REFUSED.values(), ids=REFUSED)
def test_a_disk_that_is_not_blank_and_idle_is_refused_and_stays_as_it_was(
    there, home, images, disk, prepare
):
    subprocess.run(
        ["sh", "-ec", prepare.format(d=disk.path)], check=True, capture_output=True, cwd=home
    )
    call("blockdev", "--flushbufs", disk.path)
    before = data_of(home / "disk.img")
    try:
        with pytest.raises(CheckFailed):
            planned(there, image_of(home, images, "flatcar-install"))
    finally:
        undo = f"umount m; swapoff {disk.path}; kill $(cat pid); losetup -d $(cat loop)"
        subprocess.run(["sh", "-c", undo], check=False, capture_output=True, cwd=home)
    if "mount" not in prepare:
        call("blockdev", "--flushbufs", disk.path)
        assert data_of(home / "disk.img") == before


def test_a_disk_that_is_mounted_in_another_namespace_is_refused(there, home, images, disk):
    call("mkfs.ext4", "-q", disk.path)
    (home / "m").mkdir()
    script = f"mount {disk.path} {home}/m && echo mounted && exec sleep 60"
    with subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"mounted\n"
            row = next(r for r in inventory.read(there) if r["path"] == disk.path)
            assert inventory.used(row) == []
            with pytest.raises(CheckFailed, match=r"✗ +\S+ +opens exclusively +yes +no"):
                planned(there, image_of(home, images, "flatcar-install"))
        finally:
            other.kill()


def guarded(there, home, images, disk, meanwhile):
    """Change the disk between the last look and the write; return the text of the refusal.

    What is there now is not taken for ours by the next run.
    """
    params = image_of(home, images, "flatcar-install")
    plan, real = planned(there, params), installers.detached.start

    def late(*args, **more):
        meanwhile()
        real(*args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installers.detached, "start", late)
        with pytest.raises(CheckFailed, match="Nothing was written") as failed:
            apply(there, params, plan=plan)
    with pytest.raises(CheckFailed):
        planned(there, params)
    return str(failed.value)


def test_a_disk_that_something_opened_since_the_check_is_not_written_on(there, home, images, disk):
    held = []
    meanwhile = lambda: held.append(os.open(disk.path, os.O_RDWR | os.O_EXCL))  # noqa: E731
    assert "in use" in guarded(there, home, images, disk, meanwhile)
    os.close(held[0])
    assert data_of(home / "disk.img").count(0) == SIZE


@pytest.mark.parametrize(
    "come",
    [["sgdisk", "-o"], ["sgdisk", "-n1:2048:+1M", "-c", "1:ROOT"], ["dd", "if=/dev/urandom"]],
)
def test_foreign_data_written_since_the_check_are_not_taken_for_ours(
    there, home, images, disk, come
):
    more = ["count=1", f"of={disk.path}"] if come[0] == "dd" else [disk.path]
    assert "has changed" in guarded(there, home, images, disk, lambda: call(*come, *more))
    before = data_of(home / "disk.img")
    with pytest.raises(CheckFailed):
        apply(there, image_of(home, images, "coreos-install"))
    assert data_of(home / "disk.img") == before


def test_a_name_that_means_another_disk_since_the_check_is_not_written_on(
    there, home, images, disk, plug
):
    def swap():
        call("losetup", "-d", disk.path)
        smaller = home / "smaller.img"
        with smaller.open("ab") as f:
            f.truncate(SIZE - 512)
        call("losetup", disk.path, str(smaller))

    assert "has changed" in guarded(there, home, images, disk, swap)
    assert (home / "smaller.img").read_bytes().count(0) == SIZE - 512


def test_the_name_cannot_be_dealt_to_another_disk_while_the_image_comes(there, home, images, disk):
    """The installer of 2014 downloads for minutes, then writes to a name checked before."""
    (home / "others.img").write_bytes(bytes(SIZE))
    swap = f"losetup -d {disk.path}; losetup {disk.path} $HOME/others.img && echo dealt anew"
    (home / "meanwhile").write_text(swap)
    seen = []
    with pytest.raises((ShellFailed, CheckFailed)):  # the disk is gone once the installer has ended
        apply(there, image_of(home, images, "coreos-install"), seen.append)
    assert any("Device or resource busy" in line for line in seen) and "dealt anew" not in seen
    assert (home / "others.img").read_bytes().count(0) == SIZE
    assert data_of(home / "disk.img").count(0) < SIZE
    call("losetup", disk.path, str(home / "disk.img"))


def test_the_second_disk_of_a_mounted_btrfs_is_known_to_be_in_use(there, home, disk, plug):
    other = plug("third")
    call("mkfs.btrfs", "-q", "--mixed", "-d", "single", "-m", "single", other.path, disk.path)
    (home / "m").mkdir()
    call("mount", other.path, str(home / "m"))
    try:
        row = next(r for r in inventory.read(there) if r["path"] == disk.path)
        assert inventory.used(row) == ["a mounted btrfs"]
    finally:
        call("umount", str(home / "m"))


def test_our_install_whose_config_somebody_changed_is_not_ours_to_overwrite(
    there, home, images, disk
):
    params = image_of(home, images, "flatcar-install")
    apply(there, params)
    assert len(planned(there, params | {"channel": "beta"})) == 1
    (home / "mnt").mkdir()
    call("mount", disk.part(9), str(home / "mnt"))
    (home / "mnt" / readback.USER_DATA["flatcar-install"]).write_text("#cloud-config\n")
    call("umount", str(home / "mnt"))
    with pytest.raises(CheckFailed, match="that of our install"):
        planned(there, params | {"channel": "beta"})


def local_file(home: Path, image: Path, packed: bool, right: bool = True) -> dict:
    """Put an image on the workstation; return the parameters that name it."""
    file = home / ("my.bin.bz2" if packed else "my.bin")
    file.write_bytes(bz2.compress(image.read_bytes(), 1)) if packed else shutil.copy(image, file)
    known = hashlib.sha256(file.read_bytes() if right else b"").hexdigest()
    return {"file": file.name, "image_sha256": known}


@pytest.mark.parametrize("packed", [False, True])
def test_a_local_image_is_verified_written_and_recorded(there, home, images, disk, packed):
    program(home, "openssl", "exit 127") if packed else None  # then sha256sum does
    params, seen = image_of(home, images, "flatcar-install"), []
    params |= local_file(home, images["flatcar-install"], packed)
    (home / "image").unlink()  # nothing can be downloaded
    apply(there, params, seen.append)
    assert seen[0] == f"Writing {params['file']}..."
    done = notes.read(there, "w")["installed"]
    assert done["image_checksum"] == f"sha256 {params['image_sha256']}"
    assert done["signed_by"].startswith("nobody") and done["resolved"] == "367.1.0"
    assert planned(there, params) == []


def test_a_local_image_that_is_another_is_refused_in_plan_mode(there, home, images, disk, capsys):
    params = image_of(home, images, "flatcar-install")
    with pytest.raises(CheckFailed, match=r"absent\.bin is no readable file"):
        planned(there, params | {"file": "absent.bin", "image_sha256": "0" * 64})
    for right in (True, False):
        file = local_file(home, images["flatcar-install"], packed=False, right=right)
        if right:
            apply(there, params | file, mode="plan")
    assert "✓ my.bin has the expected sha256\n" in capsys.readouterr().out
    with pytest.raises(CheckFailed, match=r"sha256 of my\.bin: wanted e3b0.*Nothing was written"):
        apply(there, params | file, mode="plan")
    assert data_of(home / "disk.img").count(0) == SIZE


CHANGES = 'printf x | dd of="$HOME/my.bin" bs=1 seek=70000000 conv=notrunc status=none'


@pytest.mark.parametrize(
    "right, meanwhile, found",
    [
        (False, "", "[0-9a-f]{64}"),
        (True, f"{CHANGES}; sleep 0.01", "(changed while it was read|[0-9a-f]{64})"),
        (True, "rm $HOME/my.bin", "[^.]*"),
    ],
    ids=["another", "changed meanwhile", "gone meanwhile"],
)
def test_a_local_image_that_turns_out_to_be_another_is_wiped_and_a_right_one_installed(
    there, home, images, disk, right, meanwhile, found
):
    params, image = image_of(home, images, "flatcar-install"), images["flatcar-install"]
    (home / "meanwhile").write_text(meanwhile)
    other = params | local_file(home, image, packed=False, right=right)
    plan = planned(there, other)
    state = "is blank" if "rm" in meanwhile else "is wiped, with remains"
    with pytest.raises(CheckFailed, match=rf"(?s)my\.bin: wanted .*, found {found}\. .* {state}"):
        apply(there, other, plan=plan)
    assert not any(r["children"] for r in inventory.read(there))
    assert "installed" not in notes.read(there, "w")
    (home / "meanwhile").unlink()
    params |= local_file(home, image, packed=False)
    apply(there, params)
    assert planned(there, params) == []


def of_2019(home: Path) -> None:
    """Have CoreOS's last installer, and a bash with which it can download."""
    program(home, "coreos-install", OF_2019)
    program(home, "bash", "echo traps with bash 5.1")


def test_coreoss_last_installer_prints_the_version(there, home, images, disk):
    of_2019(home)
    params = image_of(home, images, "flatcar-install") | {"installer": "coreos-install"}
    params |= {"url": "https://mirror.example/coreos", "channel": "stable"}
    apply(there, params)
    done = notes.read(there, "w")["installed"]
    assert done["resolved"] == "2512.3.0" and done["signed_by"].startswith("key 52F145DF")
    assert done["url"] == "https://mirror.example/coreos"


def test_an_ignition_config_is_put_on_the_oem_partition_and_read_back(there, home, images, disk):
    write_text(there, "w/config.ign", '{"ignition":{"version":"3.3.0"}}\n')
    params = image_of(home, images, "flatcar-install") | {"format": "ignition"}
    apply(there, params)
    verify(there, params)
    write_text(there, "w/config.ign", '{"ignition":{"version":"3.4.0"}}\n')
    with pytest.raises(CheckFailed, match=r"3\.4\.0"):
        verify(there, params)
