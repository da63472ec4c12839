"""Checks of the workstation before an installer runs."""

import shutil

import pytest
from workstations import at_home

from lib.errors import CheckFailed
from lib.install import tools

COREOS, FLATCAR = (dict.fromkeys(tools.NEEDS[n]) for n in ("coreos-install", "flatcar-install"))
OF_2014 = r"""if ! gpg --batch --trusted-key "$GPG_LONG_ID" \
    --verify "$SIG_NAME"; then"""
OF_2019 = """trap "(echo done >fifo) &" RETURN
gpg --batch --trusted-key "${GPG_LONG_ID}" --verify "${WORKDIR}/${SIG_NAME}" -; then"""


@pytest.fixture
def have(tmp_path, monkeypatch):
    """Returns the shell of a machine that has these programs and nothing else."""

    def shell(programs, real=(), free=300_000):
        texts = dict.fromkeys(programs, "exit 0") | {n: t for n, t in dict(programs).items() if t}
        df = f"echo Filesystem; echo '//server/my share 100 50 {free} 1% /my tmp'"
        created = at_home(tmp_path, monkeypatch, texts | {"df": df}, path="")
        for name in ("sh", "id", "timeout", "tail", *real):
            (tmp_path / "bin" / name).unlink(missing_ok=True)
            (tmp_path / "bin" / name).symlink_to(shutil.which(name, path="/usr/bin:/bin"))
        return created

    return shell


def test_a_machine_that_has_all_passes(have):
    tools.demand(have(FLATCAR), "flatcar-install")


@pytest.mark.parametrize(
    "installer, lacks, rpm, listed",
    [
        ("flatcar-install", {"btrfstune", "gpg", "lvm"}, {}, ": gpg, btrfstune, lvm.*: "
         r"btrfs-progs gnupg lvm2\."),
        ("coreos-install", {"gpg"}, {"rpm": None}, r": gnupg2\."),
    ],
)  # fmt: skip
def test_missing_programs_are_listed_with_their_packages(have, installer, lacks, rpm, listed):
    programs = {n: None for n in tools.NEEDS[installer] if n not in lacks}
    with pytest.raises(CheckFailed, match=listed):
        tools.demand(have(programs | rpm), installer)


def test_too_little_space_for_the_download_is_named(have):
    shell = have(COREOS, free=299_000)
    tools.demand(shell, "coreos-install", downloads=False)
    with pytest.raises(CheckFailed, match="wanted 300 MB or more, found 299 MB"):
        tools.demand(shell, "coreos-install")


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
def test_an_installer_of_coreos_that_cannot_download_is_refused(have, script, bash, gpg, refused):
    programs = COREOS | {"coreos-install": script, "bash": f"echo traps with bash {bash}"}
    programs |= {"gpg": f"echo 'gpg (GnuPG) {gpg}'; echo 'libgcrypt 1.10'"}
    shell = have(programs, real=("grep", "head"))
    tools.demand(shell, "coreos-install", downloads=False)
    if not refused:
        return tools.demand(shell, "coreos-install")
    with pytest.raises(CheckFailed, match=refused):
        tools.demand(shell, "coreos-install")


@pytest.mark.parametrize("listed, module, passes", [(0, 1, True), (1, 0, True), (1, 1, False)])
def test_a_kernel_mounts_btrfs_by_itself_or_with_a_module(have, listed, module, passes):
    shell = have(COREOS | {"grep": f"exit {listed}", "modprobe": f"exit {module}"})
    tools.demand(shell, "coreos-install")
    if passes:
        return tools.demand(shell, "coreos-install", btrfs=True)
    with pytest.raises(CheckFailed, match="workstation cannot mount btrfs"):
        tools.demand(shell, "coreos-install", btrfs=True)
