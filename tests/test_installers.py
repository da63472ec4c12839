"""The installers, with small shell scripts as programs of the workstation."""

import os
import shutil

import pytest
from machines import SIZE, Machine, disk, part
from workstations import program

from lib import config
from lib.errors import CheckFailed, ParamsError, ShellFailed
from lib.install import guard, images, installers, readback, running
from lib.install.guard import Place
from lib.install.images import Image
from lib.install.installers import apply_install, plan_install
from lib.install.order import Order
from lib.install.readback import partitions
from lib.steps import Pending
from lib.workstation import notes
from lib.workstation.shell import write_text

SERIAL = "5f0c2d4e9b314c6a8e77"
VOLUME = {"id": "5f0c2d4e-9b31-4c6a-8e77-0d1f2a3b4c5d", "name": "disk", "size": SIZE}
VOLUME |= {"virtualmachineid": "m", "hypervisor": "KVM"}
DETACHED = {k: v for k, v in VOLUME.items() if k != "virtualmachineid"}
CONFIG = "#cloud-config\n\nhostname: a\n"
IMAGE = {"installer": "coreos-install", "channel": "beta", "oem": "cloudstack"}
FLATCAR = {"installer": "flatcar-install"}
WHOLE = list(readback.LAYOUT.items())
FILE = {"file": "x.bin", "image_sha256": "0" * 64}
URL = "https://mirror.example"


def usage(more: str = "") -> str:
    """Return the part of an installer that lists its flags."""
    options = f"d V C o c t v h {more}"
    return f'case $1 in -h) for o in {options}; do echo "    -$o X  It."; done; exit;; esac\n'


INSTALLER = """\
echo "$*" >>calls
while [ $# -gt 0 ]; do case "$1" in -d) d=$2;; -c) c=$2;; esac; shift; done
echo "Downloading and verifying coreos_production_image.bin.bz2..."
echo "gpg: Signature made today using RSA key ID 74E7E361" >&2
echo "Writing coreos_production_image.bin.bz2 to $d..."
cp "$c" user_data; {written}
echo "Success! CoreOS beta current (cloudstack) is installed on $d" """
PROGRAMS = dict.fromkeys(("wget", "gpg", "bunzip2", "modprobe"), "exit 0") | {
    "blockdev": "echo $* >>flushed",
    "mount": """\
echo "$*" >>mounts
[ -e user_data ] || exit 32
mkdir -p "$4/var/lib/coreos-install"; cp user_data "$4/var/lib/coreos-install/" """,
    "umount": 'echo "umount $1" >>mounts; rm -rf "$1"/*',
}
DEVICE = "/dev/sdd"
BLANK = disk("sdd", SIZE, serial=SERIAL)


def installed(layout=WHOLE) -> dict:
    """Return the disk with these partitions."""
    parts = [part(f"sdd{n}", partlabel=label, fstype="btrfs") for label, n in layout]
    return BLANK | {"pttype": "gpt", "wipefs": "gpt", "children": parts}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A workstation with an installer, a blank disk and a cloud-config."""
    return workstation(tmp_path, monkeypatch)


def workstation(home, monkeypatch) -> Machine:
    machine = Machine(home, monkeypatch, PROGRAMS)
    monkeypatch.setenv("TMPDIR", str(home / "tmp"))
    (home / "tmp").mkdir()
    machine.show([BLANK])
    have(machine)
    write_text(machine.shell, "w/cloud-config.yml", CONFIG)
    return machine


def have(machine, change=str, after=()) -> None:
    """Have an installer with a changed text, which leaves the disk as an image would."""
    shutil.rmtree(machine.home / "later", ignore_errors=True)
    written = machine.later([after or installed()])
    program(machine.home, "coreos-install", usage() + change(INSTALLER.format(written=written)))


@pytest.fixture
def shell(machine):
    return machine.shell


@pytest.fixture
def home(machine):
    return machine.home


def order(volume=VOLUME, used=False, format="cloud-config", delivery="disk", **more):
    image = Image(**IMAGE | more)
    return Order(
        "w", image, config.Form(image.installer, image.oem, format, delivery), volume, used
    )


def plan(shell, **more):
    return plan_install(shell, order(**more))


def apply(shell, steps=None, **more):
    apply_install(shell, order(**more), plan(shell, **more) if steps is None else steps, "apply")


def calls(home) -> int:
    return (home / "calls").read_text().count("\n") if (home / "calls").exists() else 0


LTS = FLATCAR | {"channel": "lts", "version": "4081.3.6", "board": "arm64-usr"}
LINES = [
    ({"oem": ""}, "c.yml", "coreos-install -d /dev/sdd -C beta -c c.yml"),
    (LTS, "a b.yml", "flatcar-install -d /dev/sdd -C lts -V 4081.3.6 -o cloudstack -B arm64-usr"
     " -c 'a b.yml'"),
    ({"url": URL}, "", f"coreos-install -d /dev/sdd -C beta -o cloudstack -b {URL}"),
    (FILE | {"file": "my x.bin"}, "c.ign", "coreos-install -d /dev/sdd -f 'my x.bin' -i c.ign"),
]  # fmt: skip


@pytest.mark.parametrize("image, config_path, line", LINES)
def test_the_command_has_a_flag_for_each_chosen_value(image, config_path, line):
    assert images.command(Image(**IMAGE | image), "/dev/sdd", config_path) == line


REFUSED = [
    ({"installer": "rm"}, "installer"),
    ({"channel": "nightly"}, "channel"),
    ({"channel": "lts"}, "channel"),
    ({"version": "latest"}, "image_version"),
    ({"version": "1; reboot"}, "image_version"),
    ({"oem": "-x"}, "oem"),
    ({"url": "ftp://mirror.example"}, "image_url"),
    ({"url": "https://user:secret@mirror.example"}, "image_url"),
    ({"url": f"{URL}/x y"}, "image_url"),
    ({"file": "-f", "image_sha256": "0" * 64}, "image_file"),
    ({"image_sha256": "0" * 63}, "image_sha256"),
    ({"board": "amd64; reboot"}, "board"),
    ({"file": "x.bin"}, "image_sha256"),
    ({"image_sha256": "0" * 64}, "image_sha256"),
    (FILE | {"url": URL}, "image_url"),
    (FILE | {"version": "367.1.0"}, "image_version"),
    (FILE | {"board": "amd64-usr"}, "board"),
    ({"url": URL, "board": "amd64-usr"}, "board"),
    ({"installer_url": "ftp://mirror.example/coreos-install"}, "installer_url"),
    ({"installer_url": "https://user:secret@mirror.example/coreos-install"}, "installer_url"),
    ({"installer_url": "https://mirror.example/a b"}, "installer_url"),
    ({"installer_sha256": "0" * 63}, "installer_sha256"),
]


@pytest.mark.parametrize("image, name", REFUSED)
def test_values_that_are_invalid_or_exclude_each_other_are_refused(image, name):
    with pytest.raises(ParamsError, match=f"^{name}: wanted"):
        images.demand_valid(Image(**IMAGE | image))
    with pytest.raises(ParamsError):
        order(**image)


def test_flags_that_the_usage_text_lacks_are_refused(shell, home):
    with pytest.raises(CheckFailed, match=r"accept -b \(for image_url\); its -h lists -d -V"):
        plan(shell, url=URL)
    program(home, "coreos-install", usage("b B"))
    assert plan(shell, url=URL)[0].params["url"] == URL
    assert plan(shell, board="arm64-usr")[0].params["board"] == "arm64-usr"
    (home / "bin/coreos-install").unlink()
    with pytest.raises(CheckFailed, match=r"coreos-install is not on root.*usr/local/bin"):
        plan(shell)


SAY = "echo Success! CoreOS beta current is installed on $2"
WRITE = "touch m/head/sdd"
SIGN = "echo 'sdd: PTTYPE=gpt' >m/blkid/sdd; echo 0 >m/rc/sdd"
FULL = "echo bunzip2: No space left on device >&2; exit 1"
FAILING = {
    "exit 0 without a word": ("exit 0", "untouched"),
    "exit 0 without the success line": (f"{WRITE}; {SIGN}", "half written"),
    "success on another device": (f"{WRITE}; {SAY}x", "wiped"),
    "success of something else": (f"{WRITE}; {SAY.replace('CoreOS', 'GRUB')}", "wiped"),
    "success twice": (f"{WRITE}; {SAY}; {SAY}", "wiped"),
    "exit 1 before it wrote": ("echo Image URL unavailable; exit 1", "untouched"),
    "exit 1 without the write that it announced": ("echo Writing to $2...; exit 1", "untouched"),
    "exit 1 after it wrote without a word": (f"{WRITE}; exit 1", "wiped"),
    "success line, then exit 1": (f"{WRITE}; {SIGN}; {SAY}; exit 1", "half written"),
    "it is killed": (f"{WRITE}; kill -9 $$", "wiped"),
    "it hangs": (f"{WRITE}; exec sleep 60", r"did not end in time[^$]*wiped"),
    "the disk cannot be looked at any more": (
        "printf 'exit 1' >bin/sudo; exit 1", "cannot be read",
    ),
    "the image is larger than the disk": (f"{WRITE}; {FULL}", "another volume_name, and a "
                                          "volume_size of 5 GB or more"),
    "the download does not fit into TMPDIR": (FULL, "is untouched"),
}  # fmt: skip


@pytest.mark.parametrize("text, state", FAILING.values(), ids=FAILING)
def test_anything_but_exit_0_and_the_success_line_is_a_failure(shell, home, text, state):
    program(home, "coreos-install", text)
    place = Place(DEVICE, SIZE, guard.look(shell, DEVICE, SIZE), "w/install/writing")
    with pytest.raises(ShellFailed, match=state) as failed:
        running.install(shell, order(), place, within=2 if "sleep" in text else 60)
    assert DEVICE in str(failed.value) or state == "cannot be read"


@pytest.mark.parametrize(
    "name, text, error",
    [
        ("mount", "echo mount: wrong fs type >&2; exit 32", "wrong fs type"),
        ("mount", "true", "No such file"),
        ("umount", "echo umount: target is busy >&2; exit 32", "target is busy"),
    ],
)
def test_a_mount_or_umount_that_fails_is_an_error_and_leaves_no_folder(
    machine, home, name, text, error
):
    machine.show([installed()])
    (home / "user_data").write_text(CONFIG)
    program(home, name, text)
    with pytest.raises(ShellFailed, match=error):
        found = partitions(machine.shell, DEVICE)
        readback.config_text(machine.shell, found, "coreos-install", "c.yml")
    assert name == "umount" or list((home / "tmp").iterdir()) == []


LAYOUTS = {
    "none": [("data", 1)],
    "no ROOT": WHOLE[:-1],
    "two ROOTs": [*WHOLE, ("ROOT", 19)],
    "two OEMs": [*WHOLE, ("OEM", 16)],
    "no USR-A": [WHOLE[0], *WHOLE[2:]],
    "no EFI-SYSTEM": WHOLE[1:],
    "ROOT is another one": [*WHOLE[:-1], ("ROOT", 8)],
}


def test_a_layout_that_is_not_that_of_an_image_is_no_install(machine, shell, home):
    for layout in LAYOUTS.values():
        machine.show([installed(layout)])
        with pytest.raises(CheckFailed, match=r"one OEM, number 6, one ROOT, number 9.*no snaps"):
            partitions(shell, DEVICE)
    machine.show([BLANK])
    have(machine, after=installed(WHOLE[:-1]))
    with pytest.raises(CheckFailed, match="no snapshot"):
        apply(shell)
    assert not (home / "mounts").exists() and notes.installed_volume(shell, "w") == ""


def test_a_config_that_differs_is_shown_without_its_token_and_not_noted(machine, shell):
    token = "217d781a5ad5c7c4660bfbbc239bd0c0"
    line = f"echo discovery: https://discovery.etcd.io/{token} >user_data"
    have(machine, lambda text: text.replace('cp "$c" user_data', line))
    with pytest.raises(CheckFailed, match=r"\+discovery: https://discovery.etcd.io/217d…") as no:
        apply(shell)
    assert token not in str(no.value) and "-hostname: a" in str(no.value)
    assert len(plan(shell)) == 1


def test_it_is_planned_again_for_another_image_or_config_while_attached(shell, home):
    apply(shell)
    assert plan(shell) == plan(shell, volume=DETACHED) == []
    assert plan(shell, channel="stable")[0].why.startswith("it has another image")
    with pytest.raises(CheckFailed, match=r"stable, found channel beta.*another volume_name"):
        plan(shell, volume=DETACHED, channel="stable")
    installers.verify(shell, order(volume=DETACHED), "apply")
    write_text(shell, "w/cloud-config.yml", CONFIG + "manage_etc_hosts: localhost\n")
    assert len(plan(shell)) == 1
    assert plan(shell, volume=VOLUME | {"id": "80921"}, used=True) == []
    assert calls(home) == 1


def test_the_plan_names_the_checks_and_warns_of_a_small_volume(machine, shell):
    checked = "checked: signatures, its first and last MiB, 4 places of 16 KiB, and its users"
    assert plan(shell)[0].why == f"nothing is installed on it; {checked}"
    machine.show([BLANK | {"size": 4 * 10**9}])
    why = plan(shell, volume=VOLUME | {"size": 4 * 10**9})[0].why
    assert why.endswith("the image may not fit: it needs 5 GB, the volume has 4.0")


def test_blanks_in_names_and_messages_of_sudo_are_no_hindrance(tmp_path, monkeypatch):
    """As where the programs, the temporary folder and the home are in a folder with a blank."""
    machine = workstation(tmp_path / "a b", monkeypatch)
    says = 'echo "sudo: unable to resolve host ws: Name or service not known" >&2; '
    program(machine.home, "sudo", f'{says}shift; exec "$@"')
    apply(machine.shell)
    assert plan(machine.shell) == []


def test_a_disk_or_config_that_changed_since_the_plan_is_not_written(shell, home):
    steps = plan(shell)
    write_text(shell, "w/cloud-config.yml", CONFIG + "# more\n")
    with pytest.raises(CheckFailed, match="Run the Plan cells again"):
        apply(shell, steps)
    write_text(shell, "w/cloud-config.yml", CONFIG)
    (home / "m/head/sdd").touch()
    with pytest.raises(CheckFailed, match=r"first MiB +all zero +something else"):
        apply(shell, steps)
    assert calls(home) == 0


def test_results_of_earlier_stages_are_pending_until_they_exist(shell, home):
    (home / "w/cloud-config.yml").unlink()
    steps = plan(shell, volume=None)
    waits = [v.stage for v in steps[0].params.values() if isinstance(v, Pending)]
    assert waits == ["20-write-cloud-config", "11-attach-volume"]
    with pytest.raises(CheckFailed, match="Run 20-write-cloud-config first"):
        apply(shell, steps, volume=None)


BTRFS = [  # flags of the installer, the order, whether the kernel must mount btrfs
    ("", {}, True),
    ("f", {}, False),
    ("i", FLATCAR, False),
    ("i", FLATCAR | {"format": "ignition"}, True),
    ("i", FLATCAR | {"format": "ignition", "delivery": "userdata"}, False),
]


@pytest.mark.parametrize("flags, more, needed", BTRFS)
def test_a_kernel_with_btrfs_is_required_only_for_a_config_on_btrfs(
    shell, home, flags, more, needed
):
    program(home, more.get("installer", "coreos-install"), usage(flags))
    for name in ("btrfstune", "gawk", "lvm", "udevadm"):
        program(home, name, "exit 0")
    for name in ("grep", "modprobe"):
        program(home, name, "exit 1")
    if not needed:
        assert len(plan(shell, **more)) == 1
        return
    with pytest.raises(CheckFailed, match="kernel of the workstation cannot mount btrfs"):
        plan(shell, **more)


def test_a_local_image_larger_than_the_volume_is_refused(shell, home):
    program(home, "coreos-install", usage("f"))
    (home / "x.bin").touch()
    os.truncate(home / "x.bin", SIZE)
    assert len(plan(shell, **FILE)) == 1
    os.truncate(home / "x.bin", SIZE + 1)
    with pytest.raises(CheckFailed, match=rf"wanted {SIZE} bytes or less, found {SIZE + 1} bytes"):
        plan(shell, **FILE)
    assert len(plan(shell, **FILE, volume=None)) == 1, "the size is not known yet"


def test_flatcars_installer_is_refused_where_lvm_is_idle(machine, shell, home):
    program(home, "flatcar-install", "exit 1")
    machine.show([BLANK, disk("sda", SIZE, children=[disk("vg-data", 1, type="lvm")])])
    with pytest.raises(CheckFailed, match=r"deactivate LVM volumes .*vg-data"):
        plan(shell, **FLATCAR)


def test_wgets_progress_is_shown_in_the_waiting_line_instead_of_printed(
    machine, shell, home, monkeypatch
):
    dots = r"printf '     0K ........ ........  50%% 1.11M 142s\n  8550K ........' >&2"
    wait = "while [ ! -e $HOME/go ]; do sleep 0.02; done; echo Done"
    have(machine, lambda text: f"{dots}; {wait}\n{text}")

    def show(line, what, about, so_far):
        if so_far == "50 % downloaded":
            (home / "go").touch()

    lines = []
    monkeypatch.setattr(running.Waiting, "show", show)
    apply_install(shell, order(), plan(shell), "apply", lines.append, within=20)
    assert lines[0] == "  8550K ........Done" and lines[-1].startswith("Success!")


@pytest.mark.parametrize(
    "image, stat, so_far",
    [
        ({}, "1 1 1 1 1 1 {} 1 1 1 1", (0.2, "1.0 of about 5 GB written")),
        (FILE, "1 1 1 1 1 1 {} 1 1 1 1\n{size}", (0.25, "1.0 of 4 GB written")),
        (
            FILE | {"file": "x.bin.bz2"},
            "1 1 1 1 1 1 {} 1 1 1 1",
            (0.2, "1.0 of about 5 GB written"),
        ),
        ({}, "", (0, "")),
        (FILE, "{size}", (0, "")),
    ],
)
def test_the_waiting_line_shows_how_much_is_written(shell, home, image, stat, so_far):
    stats = [stat.format(n, size=4 * 10**9) for n in (1000, 1000 + 10**9 // 512)]
    program(home, "cat", f'case "$1" in /sys/*) echo "{stats[0].partition(chr(10))[0]}" ;; esac')
    program(home, "stat", "echo 4000000000")
    probe, words = running.progress(shell, Image(**IMAGE | image), "/dev/sdd")
    share, shown = words(stats[1])
    assert (round(share, 2), shown) == so_far and probe.startswith("cat /sys/class/block/sdd/stat ")
