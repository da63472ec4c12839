"""The installers, against programs of the workstation that are small shell scripts."""

import hashlib
import json
import time

import pytest

from lib import installers, notes
from lib.errors import CheckFailed, ParamsError, ShellFailed
from lib.installers import apply_install, command_line, install, installed_config, plan_install
from lib.plan import Pending
from lib.shell import connect_shell, write_text

SIZE = 40 * 2**30
VOLUME = {
    "id": "5f0c2d4e-9b31-4c6a-8e77-0d1f2a3b4c5d",
    "name": "disk",
    "size": SIZE,
    "virtualmachineid": "m",
}
CONFIG = "#cloud-config\n\nhostname: a\n"
IMAGE = {
    "installer": "coreos-install",
    "channel": "beta",
    "version": "current",
    "oem": "cloudstack",
}
FLAGS = {k: IMAGE[k] for k in ("channel", "version", "oem")}
PROGRAMS = dict.fromkeys(("wget", "gpg", "bunzip2"), "exit 0") | {
    "sudo": 'shift; exec "$@"',
    "lsblk": 'case "$*" in *SIZE,SERIAL,WWN,HCTL*) cat "$HOME/same"; exit;; esac\n'
    'if [ -e "$HOME/user_data" ]; then cat "$HOME/after"; else cat "$HOME/before"; fi',
    "blkid": '[ -e "$HOME/user_data" ] || exit 2; echo PTTYPE=gpt',
    "wipefs": "exit 0",
    "mount": """\
echo "$*" >>"$HOME/mounts"
[ -e "$HOME/user_data" ] || exit 32
mkdir -p "$4/var/lib/coreos-install"; cp "$HOME/user_data" "$4/var/lib/coreos-install/" """,
    "umount": 'echo "umount $1" >>"$HOME/mounts"; rm -rf "$1"/*',
    "coreos-install": """\
echo "$*" >>"$HOME/calls"
while [ $# -gt 0 ]; do case "$1" in -d) d=$2;; -c) c=$2;; esac; shift; done
echo "Downloading and verifying coreos_production_image.bin.bz2..."
echo "Writing coreos_production_image.bin.bz2 to $d..."
cp "$c" "$HOME/user_data"
echo "Success! CoreOS beta current (cloudstack) is installed on $d" """,
}


def program(home, name, text):
    (home / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
    (home / "bin" / name).chmod(0o755)


def rows(device, children):
    row = {"name": "vdc", "path": device, "size": SIZE, "type": "disk", "ro": False}
    row |= {"serial": "5f0c2d4e9b314c6a8e77", "pttype": "gpt" if children else None}
    return json.dumps({"blockdevices": [row | {"children": children}]})


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The workstation's home, with programs, a blank disk and a cloud-config."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    (tmp_path / "bin").mkdir()
    (tmp_path / "tmp").mkdir()
    for name, text in PROGRAMS.items():
        program(tmp_path, name, text)
    device = tmp_path / "vdc"
    with device.open("wb") as f:
        f.truncate(2 * 2**20)
    part = {"name": "vdc9", "path": f"{device}9", "size": 1, "type": "part", "ro": False}
    part |= {"partlabel": "ROOT", "fstype": "btrfs"}
    (tmp_path / "same").write_text(f"{SIZE}  5f0c2d4e9b314c6a8e77\n")
    (tmp_path / "before").write_text(rows(str(device), []))
    (tmp_path / "after").write_text(rows(str(device), [part]))
    return tmp_path


@pytest.fixture
def there(home):
    shell = connect_shell(None, "")
    write_text(shell, "w/cloud-config.yml", CONFIG)
    return shell


def plan(there, **more):
    return plan_install(there, **{"work_dir": "w", "volume": VOLUME, **IMAGE, **more})


def calls(home):
    return (home / "calls").read_text().splitlines() if (home / "calls").exists() else []


def test_the_command_is_the_one_of_2014():
    line = command_line(
        "coreos-install", "/dev/sdd", channel="beta", version="current", oem="", config_path="c.yml"
    )
    assert line == "coreos-install -d /dev/sdd -C beta -c c.yml"


def test_version_and_oem_have_flags_where_they_are_chosen():
    line = command_line(
        "flatcar-install", "/dev/vdc", channel="lts", version="4081.3.6", oem="cloudstack",
        config_path="a b.yml",
    )  # fmt: skip
    assert line == "flatcar-install -d /dev/vdc -C lts -V 4081.3.6 -o cloudstack -c 'a b.yml'"


@pytest.mark.parametrize(
    "wrong",
    [
        {"installer": "rm"},
        {"channel": "nightly"},
        {"channel": "lts"},
        {"version": "latest"},
        {"version": "1; reboot"},
        {"oem": "-x"},
    ],
)
def test_impossible_parameters_are_refused_before_anything_is_asked(there, wrong):
    (name,) = wrong
    with pytest.raises(ParamsError, match={"version": "image_version"}.get(name, name)):
        plan(there, **wrong)


def test_the_success_line_is_returned_and_each_line_is_passed_on(there, home):
    seen = []
    line = install(
        there, "coreos-install", "/dev/x", "coreos-install -d /dev/x -c w/cloud-config.yml",
        seen.append, folder="w/install",
    )  # fmt: skip
    assert line == seen[-1] == "Success! CoreOS beta current (cloudstack) is installed on /dev/x"


WRITING = "echo Writing image to /dev/x...; "
FAILING = {
    "exit 0 without a word": ("exit 0", "untouched"),
    "exit 0 without the success line": (f"{WRITING} exit 0", "wiped or half written"),
    "success on another device": (
        f"{WRITING} echo Success! CoreOS beta current is installed on /dev/xx", "half written",
    ),
    "success of something else": (
        f"{WRITING} echo 'Success! GRUB beta is installed on /dev/x'", "half written",
    ),
    "exit 1 before it wrote": ("echo Image URL unavailable; exit 1", "untouched"),
    "exit 1 after it wrote": (f"{WRITING} exit 1", "half written"),
    "success line, then exit 1": (
        f"{WRITING} echo 'Success! CoreOS beta current is installed on /dev/x'; exit 1",
        "half written",
    ),
    "streams to the disk, then fails": (
        "echo 'Downloading, writing and verifying x...'; exit 1", "half written",
    ),
}  # fmt: skip


@pytest.mark.parametrize("text, state", FAILING.values(), ids=FAILING)
def test_anything_but_exit_0_and_the_success_line_is_a_failure(there, home, text, state):
    program(home, "coreos-install", text)
    with pytest.raises(ShellFailed, match=state) as failed:
        install(there, "coreos-install", "/dev/x", "coreos-install -d /dev/x", folder="w/install")
    assert "/dev/x" in str(failed.value)


def test_an_installer_that_hangs_is_ended_and_the_disk_called_half_written(there, home):
    program(home, "coreos-install", f"{WRITING} sleep 60")
    began = time.monotonic()
    with pytest.raises(ShellFailed, match=r"did not end in time[^$]*half written") as failed:
        install(
            there, "coreos-install", "/dev/x", "coreos-install -d /dev/x", folder="w", within=0.4
        )
    assert failed.value.rc is None and time.monotonic() - began < 5


def test_the_config_is_read_from_a_read_only_mount_that_is_gone_afterwards(there, home):
    (home / "user_data").write_text(CONFIG)
    assert installed_config(there, str(home / "vdc"), "coreos-install") == CONFIG
    mount, umount = (home / "mounts").read_text().splitlines()
    assert mount.startswith(f"-o ro,subvol=root {home}/vdc9 {home}/tmp/")
    assert umount.startswith("umount ") and list((home / "tmp").iterdir()) == []


def test_a_mount_that_fails_leaves_no_folder(there, home):
    (home / "user_data").write_text(CONFIG)
    program(home, "mount", "echo mount: wrong fs type >&2; exit 32")
    with pytest.raises(ShellFailed, match="wrong fs type"):
        installed_config(there, str(home / "vdc"), "coreos-install")
    assert list((home / "tmp").iterdir()) == []


def test_a_config_that_is_not_there_leaves_nothing_mounted(there, home):
    (home / "user_data").write_text(CONFIG)
    program(home, "mount", 'echo x >"$4/mounted"')
    with pytest.raises(ShellFailed, match="No such file"):
        installed_config(there, str(home / "vdc"), "coreos-install")
    assert (home / "mounts").read_text().startswith("umount ")
    assert list((home / "tmp").iterdir()) == []


def test_a_mount_that_cannot_be_undone_is_an_error(there, home):
    (home / "user_data").write_text(CONFIG)
    program(home, "umount", "echo umount: target is busy >&2; exit 32")
    with pytest.raises(ShellFailed, match="target is busy"):
        installed_config(there, str(home / "vdc"), "coreos-install")


@pytest.mark.parametrize("labels", [[], ["USR-A"], ["ROOT", "ROOT"]])
def test_without_exactly_one_root_nothing_is_mounted(there, home, labels):
    kinds = {"size": 1, "type": "part", "ro": False}
    parts = [kinds | {"name": f"vdc{n}9", "partlabel": x} for n, x in enumerate(labels)]
    (home / "before").write_text(rows(str(home / "vdc"), parts))
    with pytest.raises(CheckFailed, match="one ROOT, number 9"):
        installed_config(there, str(home / "vdc"), "coreos-install")
    assert not (home / "mounts").exists()


def test_a_config_that_differs_is_shown_without_its_token(there, home):
    token = "217d781a5ad5c7c4660bfbbc239bd0c0"
    (home / "user_data").write_text(f"{CONFIG}discovery: https://discovery.etcd.io/{token}\n")
    with pytest.raises(
        CheckFailed, match=r"\+discovery: https://discovery.etcd.io/217d…"
    ) as failed:
        installers.verify_disk(there, str(home / "vdc"), "coreos-install", CONFIG)
    assert token not in str(failed.value)


def test_an_install_is_planned_done_noted_and_then_not_planned_again(there, home, capsys):
    steps = plan(there)
    assert steps[0].params["device"] == str(home / "vdc") and calls(home) == []
    apply_install(there, steps, "plan", work_dir="w")
    assert calls(home) == []
    apply_install(there, steps, "apply", work_dir="w")
    assert calls(home) == [f"-d {home}/vdc -C beta -o cloudstack -c w/cloud-config.yml"]
    assert plan(there) == []
    noted = notes.read(there, "w")
    assert "installing" not in noted and notes.installed_volume(there, "w") == VOLUME["id"]
    assert noted["installed"]["sha256"] == hashlib.sha256(CONFIG.encode()).hexdigest()
    assert noted["installed"]["success"].startswith("Success! CoreOS beta")
    assert "✓ done: coreos-install disk" in capsys.readouterr().out


def test_it_is_planned_again_for_another_image_or_config(there):
    apply_install(there, plan(there), "apply", work_dir="w")
    assert plan(there, channel="stable")[0].why == "it carries another image or cloud-config"
    write_text(there, "w/cloud-config.yml", CONFIG + "manage_etc_hosts: localhost\n")
    assert len(plan(there)) == 1
    assert len(plan(there, volume=VOLUME | {"id": "80921"}, made=True)) == 0


def test_a_detached_disk_that_carries_something_else_is_not_reinstalled(there):
    apply_install(there, plan(there), "apply", work_dir="w")
    detached = {k: v for k, v in VOLUME.items() if k != "virtualmachineid"}
    assert plan(there, volume=detached) == []
    with pytest.raises(CheckFailed, match="wanted channel stable, found channel beta"):
        plan(there, volume=detached, channel="stable")
    installers.verify(there, work_dir="w", volume=detached, made=False, mode="apply")


def test_an_install_that_failed_half_way_can_be_run_again(there, home):
    program(home, "coreos-install", f'{WRITING} cp "$HOME/w/cloud-config.yml" user_data; exit 1')
    with pytest.raises(ShellFailed, match="half written"):
        apply_install(there, plan(there), "apply", work_dir="w")
    assert notes.installed_volume(there, "w") == "" and "installing" in notes.read(there, "w")
    program(home, "coreos-install", PROGRAMS["coreos-install"])
    apply_install(there, plan(there), "apply", work_dir="w")
    assert plan(there) == [] and len(calls(home)) == 1


def test_a_config_that_did_not_reach_the_disk_is_not_noted_as_installed(there, home):
    text = PROGRAMS["coreos-install"].replace('cp "$c"', "cp /dev/null")
    program(home, "coreos-install", text)
    with pytest.raises(CheckFailed, match="-hostname: a"):
        apply_install(there, plan(there), "apply", work_dir="w")
    assert len(plan(there)) == 1


def test_a_disk_that_changed_since_the_plan_is_not_written_on(there, home):
    steps = plan(there)
    (home / "vdc").write_bytes(b"data" + bytes(2 * 2**20))
    with pytest.raises(CheckFailed, match="not all zero"):
        apply_install(there, steps, "apply", work_dir="w")
    assert calls(home) == []


def test_a_config_that_changed_since_the_plan_is_not_installed(there, home):
    steps = plan(there)
    write_text(there, "w/cloud-config.yml", CONFIG + "# more\n")
    with pytest.raises(CheckFailed, match="Plan again"):
        apply_install(there, steps, "apply", work_dir="w")
    assert calls(home) == []


def test_what_earlier_stages_have_not_made_yet_is_pending(home):
    shell = connect_shell(None, "")
    steps = plan(shell, volume=None)
    waits = [v.stage for v in steps[0].params.values() if isinstance(v, Pending)]
    assert waits == ["20-write-cloud-config", "11-attach-volume"]
    with pytest.raises(CheckFailed, match="Run 20-write-cloud-config first"):
        apply_install(shell, steps, "apply", work_dir="w")


def test_an_installer_that_is_not_there_is_named(there, home):
    (home / "bin/coreos-install").unlink()
    with pytest.raises(CheckFailed, match=r"coreos-install on the workstation.*usr/local/bin"):
        plan(there)


def test_flatcars_installer_is_kept_from_idle_lvm(there, home):
    program(home, "flatcar-install", "exit 1")
    held = {"name": "vg-data", "size": 1, "type": "lvm", "ro": False}
    (home / "before").write_text(rows(str(home / "vdc"), [held]))
    with pytest.raises(CheckFailed, match=r"LVM volumes of the workstation.*vg-data"):
        plan(there, installer="flatcar-install")


def test_the_disk_is_read_back_while_it_is_attached(there, home, capsys):
    where = {"work_dir": "w", "volume": VOLUME, "made": False}
    installers.verify(there, **where, mode="apply")
    assert "Nothing to read back" in capsys.readouterr().out
    apply_install(there, plan(there), "apply", work_dir="w")
    installers.verify(there, **where, mode="apply")
    assert "byte for byte" in capsys.readouterr().out
