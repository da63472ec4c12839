"""What is asked of the workstation before an installer runs."""

import shutil

import pytest
from workstations import SUDO, program

from lib import preflight
from lib.errors import CheckFailed
from lib.shell import connect_shell

DF = "echo Filesystem; echo '/dev/x 100 50 {free} 1% /tmp'"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A machine with nothing but what these tests put there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    program(tmp_path, "sudo", SUDO)
    for name in ("sh", "id", "timeout", "tail"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name, path="/usr/bin:/bin"))
    program(tmp_path, "df", DF.format(free=300_000))
    return tmp_path


def have(home, *programs):
    for name in programs:
        program(home, name, "exit 0")


def test_a_machine_that_has_all_passes(home):
    have(home, *preflight.NEEDS["flatcar-install"])
    preflight.demand(connect_shell(None, ""), "flatcar-install")


def test_missing_programs_are_listed_with_debians_packages(home):
    have(home, *set(preflight.NEEDS["flatcar-install"]) - {"btrfstune", "gpg", "lvm"})
    with pytest.raises(CheckFailed, match=r"no gpg, btrfstune, lvm.*: btrfs-progs gnupg lvm2\."):
        preflight.demand(connect_shell(None, ""), "flatcar-install")


def test_where_packages_are_rpms_they_are_named_so(home):
    have(home, "rpm", *set(preflight.NEEDS["coreos-install"]) - {"gpg"})
    with pytest.raises(CheckFailed, match=r": gnupg2\."):
        preflight.demand(connect_shell(None, ""), "coreos-install")


def test_too_little_space_for_the_download_is_named(home):
    have(home, *preflight.NEEDS["coreos-install"])
    program(home, "df", DF.format(free=299_000))
    with pytest.raises(CheckFailed, match="wanted 300 MB or more, found 299 MB"):
        preflight.demand(connect_shell(None, ""), "coreos-install")


@pytest.mark.parametrize("listed, module, passes", [(0, 1, True), (1, 0, True), (1, 1, False)])
def test_a_kernel_mounts_btrfs_by_itself_or_with_a_module(home, listed, module, passes):
    have(home, *preflight.NEEDS["coreos-install"])
    program(home, "grep", f"exit {listed}")
    program(home, "modprobe", f"exit {module}")
    shell = connect_shell(None, "")
    preflight.demand(shell, "coreos-install")
    if passes:
        preflight.demand(shell, "coreos-install", btrfs=True)
        return
    with pytest.raises(CheckFailed, match="wanted one that mounts btrfs, found one without"):
        preflight.demand(shell, "coreos-install", btrfs=True)
