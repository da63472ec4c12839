"""Checks the tools that the installers need on the workstation before anything is written."""

import re
import shlex
from pathlib import PurePosixPath

from lib.errors import CheckFailed
from lib.install.scripts import script
from lib.workstation.shell import Shell, run

# Program: its package on Debian, and where packages are RPMs.
BOTH = {
    "wget": ("wget", "wget"),
    "gpg": ("gnupg", "gnupg2"),
    "bunzip2": ("bzip2", "bzip2"),
    **dict.fromkeys(("lsblk", "blockdev", "blkid", "wipefs"), ("util-linux", "util-linux")),
    **dict.fromkeys(("flock", "setsid"), ("util-linux", "util-linux")),
    "mount": ("mount", "util-linux"),
}
NEEDS = {
    "coreos-install": BOTH,
    "flatcar-install": BOTH
    | {
        "btrfstune": ("btrfs-progs", "btrfs-progs"),
        "gawk": ("gawk", "gawk"),
        "lvm": ("lvm2", "lvm2"),
        "udevadm": ("udev", "systemd-udev"),
    },
}
SPACE = 300  # MB for downloads; the image of 2014 has 167 MB, later ones are streamed
# Kernels of Red Hat cannot mount btrfs, and no package changes that.
BTRFS = "grep -qw btrfs /proc/filesystems || modprobe -n -q btrfs || echo cannot mount btrfs"
INSTEAD = (
    "Nothing was written. Use flatcar-install, or CoreOS's last coreos-install with image_file."
)


def demand(shell: Shell, program: str, *, downloads: bool = True, btrfs: bool = False) -> None:
    """Raise CheckFailed unless root has the programs, and space where the installer `downloads`.

    `program` is its name or path. With `btrfs`, the kernel must also be able to mount btrfs.
    """
    installer = PurePosixPath(program).name
    needs = NEEDS[installer]
    look = f"for p in {' '.join(needs)}; do command -v $p >/dev/null || echo no $p; done\n"
    look += f"{BTRFS}\n" if btrfs else ""
    if downloads and installer == "coreos-install":
        look += f"at=$(command -v {shlex.quote(program)})\n{script('versions')}"
    look += 'df -Pk "${TMPDIR:-/tmp}" | tail -n 1; command -v dpkg || command -v rpm'
    output = run(shell, f"sh -c {shlex.quote(look)}", sudo=True, ok=(0, 1, 127)).out
    missing = re.findall("^no (.+)$", output, re.MULTILINE)
    kind = int(output.rstrip().endswith("/rpm"))
    if missing:
        packages = " ".join(sorted({needs[p][kind] for p in missing}))
        step = f"Install these packages on the workstation: {packages}."
        lacks = f"The workstation lacks programs for {installer}: {', '.join(missing)}"
        raise CheckFailed(lacks, next_step=step)
    if "cannot mount btrfs" in output:
        step = (
            f"{installer} would fail once the image is written: use a workstation whose kernel can."
        )
        raise CheckFailed("The kernel of the workstation cannot mount btrfs", next_step=step)
    _demand_versions(output)
    free = re.search(r" (\d+) +\d+% ", output)
    if downloads and (not free or int(free[1]) < SPACE * 1000):
        found = f"{int(free[1]) // 1000} MB" if free else "unknown to df"
        step = "Free some space there. Where sudo drops TMPDIR, the folder is /tmp."
        raise CheckFailed("space in TMPDIR", f"{SPACE} MB or more", found, step)


def _demand_versions(output: str) -> None:
    """Raise CheckFailed for a coreos-install that cannot work with this bash or gpg."""
    for pattern, program, limit, year in (
        (r"^traps with bash (\d+)\.(\d+)", "bash", (5, 2), 2019),
        (r"^verifies with gpg \(GnuPG\) (\d+)\.(\d+)", "gpg", (2, 1), 2014),
    ):
        found = re.search(pattern, output, re.MULTILINE)
        if found and (int(found[1]), int(found[2])) >= limit:
            older = f"older than {limit[0]}.{limit[1]}, for a coreos-install of {year} to download"
            version = f"{found[1]}.{found[2]}"
            raise CheckFailed(f"{program} of the workstation", older, version, INSTEAD)
