"""The installers, with small shell scripts as programs of the workstation."""

import json
import os

import pytest
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
from lib.workstation.shell import connect_shell, write_text

SIZE = 40 * 2**30
VOLUME = {
    "id": "5f0c2d4e-9b31-4c6a-8e77-0d1f2a3b4c5d",
    "name": "disk",
    "size": SIZE,
    "virtualmachineid": "m",
    "hypervisor": "KVM",
}
CONFIG = "#cloud-config\n\nhostname: a\n"
IMAGE = {
    "installer": "coreos-install",
    "channel": "beta",
    "version": "current",
    "oem": "cloudstack",
}
TAKES = 'case $1 in -h) for o in d V C o c t v h; do echo "    -$o X  It."; done; exit;; esac'
PROGRAMS = dict.fromkeys(("wget", "gpg", "bunzip2"), "exit 0") | {
    "sudo": 'shift; exec "$@"',
    "modprobe": "exit 0",
    "readlink": 'echo "$2"',
    "lsblk": 'case "$*" in *-J*) ;; *) cat "$HOME/same"; exit;; esac\n'
    'if [ -e "$HOME/user_data" ]; then cat "$HOME/after"; else cat "$HOME/before"; fi',
    "blkid": '[ -e "$HOME/user_data" ] || exit 2; echo PTTYPE=gpt',
    "wipefs": "exit 0",
    "blockdev": 'echo "$*" >>"$HOME/flushed"',
    "mount": """\
echo "$*" >>"$HOME/mounts"
[ -e "$HOME/user_data" ] || exit 32
mkdir -p "$4/var/lib/coreos-install"; cp "$HOME/user_data" "$4/var/lib/coreos-install/" """,
    "umount": 'echo "umount $1" >>"$HOME/mounts"; rm -rf "$1"/*',
    "coreos-install": f"{TAKES}\n"
    """\
echo "$*" >>"$HOME/calls"
while [ $# -gt 0 ]; do case "$1" in -d) d=$2;; -c) c=$2;; esac; shift; done
echo "Downloading and verifying coreos_production_image.bin.bz2..."
echo "gpg: Signature made today using RSA key ID 74E7E361" >&2
echo "Writing coreos_production_image.bin.bz2 to $d..."
cp "$c" "$HOME/user_data"
echo "Success! CoreOS beta current (cloudstack) is installed on $d" """,
}


def rows(device, children):
    """The volume's disk is a file: its name leads from /dev to it."""
    row = {"name": f"..{device}", "size": SIZE, "type": "disk", "ro": False, "rm": False}
    row |= {"serial": "5f0c2d4e9b314c6a8e77"}
    return json.dumps({"blockdevices": [row | {"children": children}]})


def parts(device, layout=None):
    kinds = {"size": 1, "type": "part", "ro": False}
    layout = layout or [(label, n) for label, n in readback.LAYOUT.items()]
    return [
        kinds | {"name": f"..{device}{n}", "partlabel": label}
        | {"fstype": "btrfs" if label == "ROOT" else "ext4"}
        for label, n in layout
    ]  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The workstation's home, with programs, a blank disk and a cloud-config."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    (tmp_path / "tmp").mkdir()
    for name, text in PROGRAMS.items():
        program(tmp_path, name, text)
    device = tmp_path / "vdc"
    with device.open("wb") as f:
        f.truncate(SIZE)
    (tmp_path / "same").write_text(f"{SIZE}  5f0c2d4e9b314c6a8e77\n")
    (tmp_path / "before").write_text(rows(str(device), []))
    (tmp_path / "after").write_text(rows(str(device), parts(device)))
    return tmp_path


@pytest.fixture
def there(home):
    shell = connect_shell(None, "")
    write_text(shell, "w/cloud-config.yml", CONFIG)
    return shell


def order(volume=VOLUME, used=False, format="cloud-config", delivery="disk", **more):
    image = Image(**IMAGE | more)
    images.demand_valid(image)
    form = config.Form(image.installer, image.oem, format, delivery)
    return Order("w", image, form, volume, used)


def plan(there, **more):
    return plan_install(there, order(**more))


def apply(there, steps, mode="apply", **more):
    apply_install(there, order(**more), steps, mode)


def calls(home):
    return (home / "calls").read_text().splitlines() if (home / "calls").exists() else []


def line(config="", **more):
    return images.command(Image(**IMAGE | more), "/dev/sdd", config)


def test_the_command_is_the_one_of_2014():
    assert line("c.yml", oem="") == "coreos-install -d /dev/sdd -C beta -c c.yml"


def test_version_oem_and_board_have_flags_where_they_are_chosen():
    chosen = {"installer": "flatcar-install", "channel": "lts", "version": "4081.3.6"}
    assert line("a b.yml", **chosen, board="arm64-usr") == (
        "flatcar-install -d /dev/sdd -C lts -V 4081.3.6 -o cloudstack -B arm64-usr -c 'a b.yml'"
    )


def test_a_mirror_or_a_file_takes_the_place_of_the_download():
    url = "http://mirror.example:8080/flatcar/amd64-usr"
    assert line(url=url) == f"coreos-install -d /dev/sdd -C beta -o cloudstack -b {url}"
    file = {"file": "my images/x.bin", "image_sha256": "0" * 64}
    assert line("c.ign", **file) == "coreos-install -d /dev/sdd -f 'my images/x.bin' -i c.ign"


@pytest.mark.parametrize(
    "wrong",
    [
        {"installer": "rm"},
        {"channel": "nightly"},
        {"channel": "lts"},
        {"version": "latest"},
        {"version": "1; reboot"},
        {"oem": "-x"},
        {"url": "ftp://mirror.example"},
        {"url": "https://user:secret@mirror.example"},
        {"url": "https://mirror.example/x y"},
        {"file": "-f", "image_sha256": "0" * 64},
        {"image_sha256": "0" * 63},
        {"board": "amd64; reboot"},
    ],
)
def test_impossible_parameters_are_refused_before_any_command(there, wrong):
    name = next(iter(wrong))
    with pytest.raises(ParamsError, match=f"^{images.NAMES.get(name, name)}: wanted"):
        plan(there, **wrong)


FILE = {"file": "x.bin", "image_sha256": "0" * 64}


@pytest.mark.parametrize(
    "together, name",
    [
        ({"file": "x.bin"}, "image_sha256"),
        ({"image_sha256": "0" * 64}, "image_sha256"),
        (FILE | {"url": "https://mirror.example"}, "image_url"),
        (FILE | {"version": "367.1.0"}, "image_version"),
        (FILE | {"board": "amd64-usr"}, "board"),
        ({"url": "https://mirror.example", "board": "amd64-usr"}, "board"),
    ],
)
def test_parameters_that_cannot_be_together_are_refused(there, together, name):
    with pytest.raises(ParamsError, match=f"^{name}: wanted"):
        plan(there, **together)


def test_flags_that_the_usage_text_lacks_are_refused(there, home):
    with pytest.raises(CheckFailed, match=r"accept -b \(for image_url\); its -h lists -d -V"):
        plan(there, url="https://mirror.example")
    program(home, "coreos-install", f"{TAKES.replace('t v h', 't v h b B')}")
    assert plan(there, url="https://mirror.example")[0].params["url"] == "https://mirror.example"
    assert plan(there, board="arm64-usr")[0].params["board"] == "arm64-usr"


def install(there, home, on_line=print, **more):
    device = f"/dev/..{home}/vdc"
    place = Place(device, SIZE, guard.look(there, device, SIZE), "w/install/writing")
    return running.install(there, order(), place, on_line, **more)


SAY = "echo Success! CoreOS beta current is installed on $2"
WRITE = "printf data | dd of=$2 conv=notrunc status=none"
FAILING = {
    "exit 0 without a word": ("exit 0", "untouched"),
    "exit 0 without the success line": (f"{WRITE}; touch user_data", "half written"),
    "success on another device": (f"{WRITE}; {SAY}x", "wiped"),
    "success of something else": (f"{WRITE}; {SAY.replace('CoreOS', 'GRUB')}", "wiped"),
    "exit 1 before it wrote": ("echo Image URL unavailable; exit 1", "untouched"),
    "exit 1 after it said to write, but did not": ("echo Writing to $2...; exit 1", "untouched"),
    "exit 1 after it wrote without a word": (f"{WRITE}; exit 1", "wiped"),
    "success line, then exit 1": (f"{WRITE}; touch user_data; {SAY}; exit 1", "half written"),
    "it is killed": (f"{WRITE}; kill -9 $$", "wiped"),
    "the disk cannot be looked at any more": (
        "rm $HOME/bin/wipefs; printf 'exit 1' >$HOME/bin/sudo; exit 1", "cannot be read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("text, state", FAILING.values(), ids=FAILING)
def test_anything_but_exit_0_and_the_success_line_is_a_failure(there, home, text, state):
    program(home, "coreos-install", text)
    with pytest.raises(ShellFailed, match=state) as failed:
        install(there, home)
    assert f"{home}/vdc" in str(failed.value) or state == "cannot be read"


def test_an_installer_that_hangs_is_ended_and_the_disk_is_looked_at(there, home):
    program(home, "coreos-install", f"{WRITE}; exec sleep 60")
    with pytest.raises(ShellFailed, match=r"did not end in time[^$]*wiped") as failed:
        install(there, home, within=2)
    assert failed.value.rc is None


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("mount", "echo mount: wrong fs type >&2; exit 32", "wrong fs type"),
        ("mount", "true", "No such file"),
        ("umount", "echo umount: target is busy >&2; exit 32", "target is busy"),
    ],
)
def test_a_mount_or_umount_that_fails_is_an_error_and_leaves_no_folder(
    there, home, name, text, said
):
    (home / "user_data").write_text(CONFIG)
    program(home, name, text)
    with pytest.raises(ShellFailed, match=said):
        readback.config_text(
            there, partitions(there, f"/dev/..{home}/vdc"), "coreos-install", "c.yml"
        )
    assert name == "umount" or list((home / "tmp").iterdir()) == []


WHOLE = list(readback.LAYOUT.items())
LAYOUTS = {
    "none": [("data", 1)],
    "no ROOT": WHOLE[:-1],
    "two ROOTs": [*WHOLE, ("ROOT", 19)],
    "two OEMs": [*WHOLE, ("OEM", 16)],
    "no USR-A": [WHOLE[0], *WHOLE[2:]],
    "no EFI-SYSTEM": WHOLE[1:],
    "ROOT is another one": [*WHOLE[:-1], ("ROOT", 8)],
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_layout_that_is_not_that_of_an_image_is_no_install(there, home, layout):
    device = home / "vdc"
    (home / "after").write_text(rows(str(device), parts(device, layout)))
    with pytest.raises(CheckFailed, match=r"one OEM, number 6, one ROOT, number 9.*no snapshot"):
        apply(there, plan(there))
    assert not (home / "mounts").exists() and notes.installed_volume(there, "w") == ""


def test_a_config_that_differs_is_shown_without_its_token(there, home):
    token = "217d781a5ad5c7c4660bfbbc239bd0c0"
    (home / "user_data").write_text(f"{CONFIG}discovery: https://discovery.etcd.io/{token}\n")
    with pytest.raises(
        CheckFailed, match=r"\+discovery: https://discovery.etcd.io/217d…"
    ) as failed:
        found = partitions(there, f"/dev/..{home}/vdc")
        readback.demand_config(there, found, "coreos-install", "c.yml", CONFIG)
    assert token not in str(failed.value)


def test_it_is_planned_again_for_another_image_or_config(there):
    apply(there, plan(there))
    assert plan(there, channel="stable")[0].why.startswith("it has another image")
    write_text(there, "w/cloud-config.yml", CONFIG + "manage_etc_hosts: localhost\n")
    assert len(plan(there)) == 1
    assert len(plan(there, volume=VOLUME | {"id": "80921"}, used=True)) == 0


def test_a_detached_disk_that_carries_something_else_is_not_reinstalled(there):
    apply(there, plan(there))
    detached = {k: v for k, v in VOLUME.items() if k != "virtualmachineid"}
    assert plan(there, volume=detached) == []
    with pytest.raises(CheckFailed, match="wanted channel stable, found channel beta"):
        plan(there, volume=detached, channel="stable")
    installers.verify(there, order(volume=detached), "apply")


def test_an_install_without_its_success_line_is_repeated_by_the_next_run(there, home):
    text = PROGRAMS["coreos-install"]
    program(home, "coreos-install", text.replace("Success!", "Done!"))
    with pytest.raises(ShellFailed, match=r"No line of its output .* half written"):
        apply(there, plan(there))
    program(home, "coreos-install", text)
    apply(there, plan(there))
    assert plan(there) == [] and len(calls(home)) == 2


def test_the_plan_names_the_checks_and_warns_of_a_small_volume(there, home):
    checked = "checked: signatures, its first and last MiB, 400 places of 16 KiB, and its users"
    assert plan(there)[0].why == f"nothing is installed on it; {checked}"
    small = 4 * 10**9
    (home / "before").write_text(rows(str(home / "vdc"), []).replace(str(SIZE), str(small)))
    (home / "vdc").unlink()
    with (home / "vdc").open("wb") as f:
        f.truncate(small)
    why = plan(there, volume=VOLUME | {"size": small})[0].why
    assert why.endswith("the image may not fit: it needs 5 GB, the volume has 4.0")


@pytest.mark.parametrize(
    "write, advice", [(True, "volume_size of 5 GB or more"), (False, "is blank")]
)
def test_an_image_too_large_for_the_disk_differs_from_a_failed_download(there, home, write, advice):
    full = "echo bunzip2: No space left on device >&2; exit 1"
    program(home, "coreos-install", f"{TAKES}\n{WRITE if write else ''}\n{full}")
    with pytest.raises(ShellFailed, match=advice if write else "is untouched"):
        apply(there, plan(there))


def test_a_folder_with_a_blank_in_its_name_is_no_hindrance(there, home, tmp_path, monkeypatch):
    """As where the installer, the temporary folder or the home is in one."""
    (tmp_path / "a b/tmp d").mkdir(parents=True)
    (home / "bin/coreos-install").rename(tmp_path / "a b/coreos-install")
    monkeypatch.setenv("PATH", f"{tmp_path}/a b:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", f"{tmp_path}/a b/tmp d")
    for name in ("before", "after", "same", "vdc"):
        os.link(home / name, tmp_path / "a b" / name)
    monkeypatch.setenv("HOME", f"{tmp_path}/a b")
    write_text(there, "w/cloud-config.yml", CONFIG)
    apply(there, plan(there))
    assert plan(there) == []


def test_messages_of_sudo_are_not_part_of_the_look(there, home):
    says = 'echo "sudo: unable to resolve host ws: Name or service not known" >&2; '
    program(home, "sudo", says + PROGRAMS["sudo"])
    apply(there, plan(there))
    assert plan(there) == []


def test_a_config_missing_on_the_disk_is_not_noted_as_installed(there, home):
    text = PROGRAMS["coreos-install"].replace('cp "$c"', "cp /dev/null")
    program(home, "coreos-install", text)
    with pytest.raises(CheckFailed, match="-hostname: a"):
        apply(there, plan(there))
    assert len(plan(there)) == 1


def test_a_disk_that_changed_since_the_plan_is_not_written_on(there, home):
    steps = plan(there)
    with (home / "vdc").open("r+b") as f:
        f.write(b"data")
    with pytest.raises(CheckFailed, match=r"first MiB +all zero +something else"):
        apply(there, steps)
    assert calls(home) == []


def test_a_config_that_changed_since_the_plan_is_not_installed(there, home):
    steps = plan(there)
    write_text(there, "w/cloud-config.yml", CONFIG + "# more\n")
    with pytest.raises(CheckFailed, match="Run the Plan cells again"):
        apply(there, steps)
    assert calls(home) == []


def test_results_of_earlier_stages_are_pending_until_they_exist(home):
    shell = connect_shell(None, "")
    steps = plan(shell, volume=None)
    waits = [v.stage for v in steps[0].params.values() if isinstance(v, Pending)]
    assert waits == ["20-write-cloud-config", "11-attach-volume"]
    with pytest.raises(CheckFailed, match="Run 20-write-cloud-config first"):
        apply(shell, steps)


def test_an_installer_that_is_missing_is_named(there, home):
    (home / "bin/coreos-install").unlink()
    with pytest.raises(CheckFailed, match=r"coreos-install is not on root.*usr/local/bin"):
        plan(there)


@pytest.mark.parametrize(
    "takes, more, asked",
    [
        ("t v h", {}, True),
        ("t v h f", {}, False),
        ("t v h i", {"installer": "flatcar-install"}, False),
        ("t v h i", {"installer": "flatcar-install", "format": "ignition"}, True),
        (
            "t v h i",
            {
                "installer": "flatcar-install",
                "delivery": "userdata",
                "format": "ignition",
            },
            False,
        ),
    ],
)
def test_a_kernel_with_btrfs_is_required_only_for_a_config_on_btrfs(
    there, home, takes, more, asked
):
    program(home, more.get("installer", "coreos-install"), TAKES.replace("t v h", takes))
    for name in ("btrfstune", "gawk", "lvm", "udevadm"):
        program(home, name, "exit 0")
    program(home, "grep", "exit 1")
    program(home, "modprobe", "exit 1")
    if not asked:
        assert len(plan(there, **more)) == 1
        return
    with pytest.raises(CheckFailed, match="kernel of the workstation cannot mount btrfs"):
        plan(there, **more)


def test_a_local_image_larger_than_the_volume_is_refused(there, home):
    program(home, "coreos-install", TAKES.replace("t v h", "t v h f"))
    with (home / "x.bin").open("wb") as file:
        file.truncate(SIZE)
        image = {"file": "x.bin", "image_sha256": "0" * 64}
        assert len(plan(there, **image)) == 1
        file.truncate(SIZE + 1)
    with pytest.raises(CheckFailed, match=rf"wanted {SIZE} bytes or less, found {SIZE + 1} bytes"):
        plan(there, **image)
    assert len(plan(there, **image, volume=None)) == 1, "of which the size is not known yet"
    assert calls(home) == []


def test_flatcars_installer_is_refused_where_lvm_is_idle(there, home):
    program(home, "flatcar-install", "exit 1")
    held = {"name": "vg-data", "size": 1, "type": "lvm", "ro": False}
    (home / "before").write_text(rows(str(home / "vdc"), [held]))
    with pytest.raises(CheckFailed, match=r"deactivate LVM volumes .*vg-data"):
        plan(there, installer="flatcar-install")
