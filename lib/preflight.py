"""What the installers need on the workstation, asked for before anything is written."""

from lib.errors import CheckFailed
from lib.shell import Shell, run

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
SPACE = 300  # MB for what is downloaded; the image of 2014 has 167, later ones are not kept
# Those of Red Hat have none, so no program can be installed that would help.
BTRFS = "grep -qw btrfs /proc/filesystems || modprobe -n -q btrfs || echo cannot mount btrfs"


def demand(shell: Shell, installer: str, *, space: int = SPACE, btrfs: bool = False) -> None:
    """Raise CheckFailed unless root finds the programs, and `space` MB for a download.

    With `btrfs` also unless the kernel can mount one, or has a module for it.
    """
    needs = NEEDS[installer]
    look = f"for p in {' '.join(needs)}; do command -v $p >/dev/null || echo no $p; done"
    look += f"; {BTRFS}" if btrfs else ""
    room = 'df -Pk "${TMPDIR:-/tmp}" | tail -n 1; command -v dpkg || command -v rpm'
    said = run(shell, f"sh -c '{look}; {room}'", sudo=True, ok=(0, 1, 127)).out.splitlines()
    missing = [line.split()[1] for line in said if line.startswith("no ")]
    kind = int(said[-1].endswith("/rpm"))
    if missing:
        packages = " ".join(sorted({needs[p][kind] for p in missing}))
        step = f"Install these packages on the workstation: {packages}."
        raise CheckFailed(f"programs for {installer}", "all", f"no {', '.join(missing)}", step)
    if "cannot mount btrfs" in said:
        step = f"{installer} would fail once the image is written: use a workstation that has it."
        raise CheckFailed("kernel of the workstation", "one that mounts btrfs", "one without", step)
    free = next(int(x[3]) // 1000 for x in map(str.split, said) if len(x) > 5)
    if free < space:
        step = "Free some of it; sudo may take TMPDIR away, then it is /tmp."
        raise CheckFailed("space in TMPDIR", f"{space} MB or more", f"{free} MB", step)
