"""Checks of the workstation before an installer runs."""

import shutil

import pytest
from workstations import SUDO, program

from lib.errors import CheckFailed
from lib.install import tools
from lib.workstation.shell import connect_shell

DF = "echo Filesystem; echo '//server/my share 100 50 {free} 1% /my tmp'"


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
    have(home, *tools.NEEDS["flatcar-install"])
    tools.demand(connect_shell(None, ""), "flatcar-install")


def test_missing_programs_are_listed_with_debians_packages(home):
    have(home, *set(tools.NEEDS["flatcar-install"]) - {"btrfstune", "gpg", "lvm"})
    with pytest.raises(CheckFailed, match=r": gpg, btrfstune, lvm.*: btrfs-progs gnupg lvm2\."):
        tools.demand(connect_shell(None, ""), "flatcar-install")


def test_where_packages_are_rpms_they_are_named_so(home):
    have(home, "rpm", *set(tools.NEEDS["coreos-install"]) - {"gpg"})
    with pytest.raises(CheckFailed, match=r": gnupg2\."):
        tools.demand(connect_shell(None, ""), "coreos-install")


def test_too_little_space_for_the_download_is_named(home):
    have(home, *tools.NEEDS["coreos-install"])
    program(home, "df", DF.format(free=299_000))
    tools.demand(connect_shell(None, ""), "coreos-install", downloads=False)
    with pytest.raises(CheckFailed, match="wanted 300 MB or more, found 299 MB"):
        tools.demand(connect_shell(None, ""), "coreos-install")


OF_2014 = r"""if ! gpg --batch --trusted-key "$GPG_LONG_ID" \
    --verify "$SIG_NAME"; then"""
OF_2019 = """trap "(echo done >fifo) &" RETURN
gpg --batch --trusted-key "${GPG_LONG_ID}" --verify "${WORKDIR}/${SIG_NAME}" -; then"""


@pytest.mark.parametrize(
    "script, bash, gpg, refused",
    [
        (OF_2014, "5.2", "2.2.40", r"gpg .*older than 2\.1.*found 2\.2\. .*flatcar-install"),
        (OF_2014, "5.2", "2.1.0", "gpg"),
        (OF_2014, "5.2", "2.0.22", ""),
        (OF_2014, "5.2", "1.4.16", ""),
        (OF_2019, "5.2", "2.2.40", r"bash .*older than 5\.2.*found 5\.2\. .*image_file"),
        (OF_2019, "5.10", "2.2.40", "bash"),
        (OF_2019, "5.1", "2.2.40", ""),
        (OF_2019, "4.4", "2.2.40", ""),
    ],
)
def test_an_installer_of_coreos_that_cannot_download_there_is_refused(
    home, script, bash, gpg, refused
):
    have(home, *tools.NEEDS["coreos-install"])
    for name in ("grep", "head"):
        (home / "bin" / name).symlink_to(shutil.which(name, path="/usr/bin:/bin"))
    program(home, "coreos-install", script)
    program(home, "bash", f"echo traps with bash {bash}")
    program(home, "gpg", f"echo 'gpg (GnuPG) {gpg}'; echo 'libgcrypt 1.10'")
    shell = connect_shell(None, "")
    tools.demand(shell, "coreos-install", downloads=False)
    if not refused:
        return tools.demand(shell, "coreos-install")
    with pytest.raises(CheckFailed, match=refused):
        tools.demand(shell, "coreos-install")


@pytest.mark.parametrize("listed, module, passes", [(0, 1, True), (1, 0, True), (1, 1, False)])
def test_a_kernel_mounts_btrfs_by_itself_or_with_a_module(home, listed, module, passes):
    have(home, *tools.NEEDS["coreos-install"])
    program(home, "grep", f"exit {listed}")
    program(home, "modprobe", f"exit {module}")
    shell = connect_shell(None, "")
    tools.demand(shell, "coreos-install")
    if passes:
        tools.demand(shell, "coreos-install", btrfs=True)
        return
    with pytest.raises(CheckFailed, match="workstation cannot mount btrfs"):
        tools.demand(shell, "coreos-install", btrfs=True)
