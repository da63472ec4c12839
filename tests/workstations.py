"""Real things for marked tests: an OpenSSH server on a loopback port, and loop devices."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.workstation.shell import Shell, connect_shell

SSHD = "/usr/sbin/sshd"
CONFIG = """\
ListenAddress {host}:{port}
HostKey {home}/host_key
AuthorizedKeysFile {home}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
SetEnv HOME={home} PATH={home}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""
CLIENT = """\
Host *
    UserKnownHostsFile {home}/known_hosts
    GlobalKnownHostsFile /dev/null
    IdentityFile {home}/key
    IdentitiesOnly yes
Host alias
    HostName 127.0.0.1
    Port {port}
    User root
"""
SYSTEM = "/usr/bin:/bin:/usr/sbin:/sbin"
SUDO = 'shift; exec "$@"'  # the real one would take the tests' programs off the PATH


def demand(*programs: str) -> None:
    """Skip the test unless it runs as root and these programs exist."""
    if os.getuid():
        pytest.skip("needs root")
    missing = [p for p in programs if not shutil.which(p, path=f"{os.environ['PATH']}:/usr/sbin")]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def program(home: Path, name: str, text: str) -> Path:
    """Put a shell script on the workstation's PATH."""
    (home / "bin").mkdir(parents=True, exist_ok=True)
    file = home / "bin" / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def at_home(home: Path, patch: pytest.MonkeyPatch, programs: dict, path: str = SYSTEM) -> Shell:
    """Have a shell on this machine with that home, which finds these programs first."""
    patch.setenv("HOME", str(home))
    patch.setenv("PATH", f"{home}/bin:{path}")
    for name, text in ({"sudo": SUDO} | programs).items():
        program(home, name, text)
    return connect_shell(None, "")


def runs(pid: int | str) -> bool:
    """Return whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Sshd:
    """An OpenSSH server with a key, a home and a client's config of its own."""

    def __init__(self, home: Path, host: str = "127.0.0.1", more: str = ""):
        self.home, self.host, self.process = home, host, None
        with socket.socket() as free:
            free.bind((host, 0))
            self.port = free.getsockname()[1]
        for name in ("host_key", "key"):
            make_key(home / name)
        shutil.copy(home / "key.pub", home / "authorized_keys")
        for name, text in (("sshd_config", CONFIG + more), ("ssh_config", CLIENT)):
            (home / name).write_text(text.format(home=home, host=host, port=self.port))
        program(home, "sudo", SUDO)

    @property
    def target(self) -> str:
        return f"root@127.0.0.1:{self.port}"

    def know(self) -> None:
        """Have the client know the host key."""
        kind, key = (self.home / "host_key.pub").read_text().split()[:2]
        (self.home / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        Path("/run/sshd").mkdir(exist_ok=True)
        command = [SSHD, "-D", "-e", "-f", str(self.home / "sshd_config")]
        with (self.home / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, start_new_session=True)
        for _ in range(100):
            with socket.socket() as s:
                if s.connect_ex((self.host, self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError((self.home / "sshd.log").read_text())

    def drop(self) -> None:
        """End the server and all its connections, as a cut cable would; commands live on."""
        listed = subprocess.run(
            ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        )
        rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
        mine = {self.process.pid}
        for _ in range(3):
            found = [int(pid) for pid, parent, a in rows if int(parent) in mine and "sshd" in a]
            mine |= set(found)
        for pid in mine:
            os.kill(pid, 9)
        self.process.wait()

    def stop(self) -> None:
        """End the server if it runs."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


@contextlib.contextmanager
def served(home: Path, client: Path, patch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """Run a server whose key is known; `ssh` of this process reads the tests' own config."""
    server = Sshd(home)
    program(client, "ssh", f'exec /usr/bin/ssh -F {home}/ssh_config "$@"')
    patch.setenv("PATH", f"{client}/bin:{os.environ['PATH']}")
    # Short, as the socket's name must fit; removed with all that is in it.
    runtime = Path(tempfile.mkdtemp(dir="/tmp"))
    patch.setenv("XDG_RUNTIME_DIR", str(runtime))
    server.know()
    server.start()
    try:
        yield server
    finally:
        for path in runtime.glob("*/*"):
            command = ["ssh", "-o", f"ControlPath={path}", "-O", "exit", "x"]
            subprocess.run(command, check=False, capture_output=True)
        server.stop()
        shutil.rmtree(runtime)


def make_key(path: Path, passphrase: str = "") -> None:
    """Make an ed25519 key."""
    words = ["-q", "-t", "ed25519", "-N", passphrase, "-C", "operator", "-f", str(path)]
    subprocess.run(["ssh-keygen", *words], check=True)


def fingerprint(path: Path) -> str:
    """Return the SHA256 fingerprint of a public key."""
    command = ["ssh-keygen", "-lf", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1]


class Loop:
    """A loop device on a sparse file, with its partitions; detached at the end."""

    def __init__(self, file: Path, size: int):
        with file.open("ab") as f:
            f.truncate(size)
        command = ["losetup", "-f", "--show", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"needs loop devices: {done.stderr.strip()}")
        self.path = done.stdout.strip()
        self.size = size

    def part(self, number: int) -> str:
        return f"{self.path}p{number}"

    def show(self) -> None:
        """Have the kernel know the partitions; it may have no parser of its own for GPT."""
        subprocess.run(["partx", "-d", self.path], capture_output=True, check=False)
        call("partx", "-a", self.path)

    def detach(self) -> None:
        subprocess.run(["partx", "-d", self.path], capture_output=True, check=False)
        call("blockdev", "--setrw", self.path)  # the device would keep that for its next file
        call("losetup", "-d", self.path)


def bytes_read(loop: Loop) -> int:
    """Return how many bytes were read from the device so far, of what the kernel had not kept."""
    return 512 * int(Path(f"/sys/class/block/{Path(loop.path).name}/stat").read_text().split()[2])


def call(*words: str, **more) -> str:
    """Run a program that must succeed; return its output."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, **more)
    if done.returncode:
        raise RuntimeError(f"{words}: {done.stdout}{done.stderr}")
    return done.stdout


MIB = 2**20
LAYOUT = ((1, "EFI-SYSTEM", 4), (3, "USR-A", 12), (6, "OEM", 8), (9, "ROOT", 32))
RESIZE = "3884DD41-8582-4404-B9A8-E9B84F2DF50E"  # type of a ROOT that grows at boot


def make_image(folder: Path, root_fs: str) -> Path:
    """Make a small disk image with the partitions of CoreOS, and real file systems in them."""
    raw = folder / f"{root_fs}.raw"
    loop = Loop(raw, 64 * MIB)
    try:
        options = [f"-n {n}:0:+{size}M -c {n}:{label}" for n, label, size in LAYOUT]
        call("sgdisk", *" ".join(options).split(), "-t", f"9:{RESIZE}", loop.path)
        loop.show()
        usr = folder / "usr"
        (usr / "lib").mkdir(parents=True, exist_ok=True)
        (usr / "lib/os-release").write_text("NAME=CoreOS\nVERSION=367.1.0\n")
        call("mkfs.ext2", "-q", "-L", "USR-A", "-d", str(usr), loop.part(3))
        call("mkfs.ext4", "-q", "-L", "OEM", loop.part(6))
        _make_root(folder, loop.part(9), root_fs)
    finally:
        loop.detach()
    return raw


def _make_root(folder: Path, part: str, root_fs: str) -> None:
    if root_fs == "ext4":
        call("mkfs.ext4", "-q", "-L", "ROOT", part)
        return
    call("mkfs.btrfs", "-q", "--mixed", "-L", "ROOT", part)
    (folder / "mnt").mkdir()
    call("mount", part, str(folder / "mnt"))
    call("btrfs", "subvolume", "create", str(folder / "mnt/root"))
    call("umount", str(folder / "mnt"))


# These installers are written for these tests, with the options, messages, order of steps and exit
# codes of the real ones. IMAGE is a raw image on the workstation.
USAGE = """\
usage() { echo "Usage: $0 [-V version] [-d /dev/device]"; echo "Options:"
for o in $takes; do echo "    -$o THING  Said here of -$o."; done; }
"""
CHECKS = (
    USAGE
    + """\
name=${0##*/}; device=; channel=$default; version=current; oem=; config=; ignition=; base=; file=
while getopts "$options" option; do
    case $option in
        d) device=$OPTARG ;; V) version=$OPTARG ;; C) channel=$OPTARG ;; o) oem=$OPTARG ;;
        c) config=$OPTARG ;; i) ignition=$OPTARG ;; b) base=$OPTARG ;; f) file=$OPTARG ;;
        h) usage; exit ;; t | v | B) ;; *) exit 1 ;;
    esac
done
stop() { echo "$name: $*" >&2; exit 1; }
[ -n "$device" ] || stop "No target block device provided, -d is required."
case $(/usr/bin/lsblk -d -n -o TYPE "$device" 2>/dev/null) in
    disk | loop | lvm) ;;
    *) stop "Target block device ($device) is not a full disk." ;;
esac
[ -w "$device" ] || stop "Target block device ($device) is not writable (are you root?)"
[ -z "$config" ] || [ -f "$config" ] || stop "Cloud config file ($config) does not exist."
[ -z "$ignition" ] || [ -f "$ignition" ] || stop "Ignition config file ($ignition) does not exist."
[ -e "$HOME/no-image" ] && stop "Image URL unavailable: http://example.invalid/image.bin.bz2"
# gpg --import starts an agent that stays, in a session of its own.
setsid sleep 600 </dev/null >/dev/null 2>&1 &
work=$(mktemp -d); mkfifo "$work/modified" "$work/image"; trap 'rm -rf "$work"' EXIT
# A hook for tests: what happens while the image comes.
[ -e "$HOME/meanwhile" ] && . "$HOME/meanwhile"
"""
)
CONFIGURE = """\
reread() { partx -d "$device" 2>/dev/null || true; partx -a "$device"; }
put() {
    folder=$(mktemp -d)
    mount $1 "$2" "$folder" || return 1
    mkdir -p "$folder/${4%/*}" && cp "$3" "$folder/$4"
    done=$?; chmod 600 "$folder/$4"; umount "$folder"; rmdir "$folder"
    return $done
}
put_config() {
    [ -n "$config" ] || return 0
    echo "Installing cloud-config..."
    put "$1" "$(blkid -t LABEL=ROOT -o device "$device"p*)" "$config" "var/lib/$2/user_data"
}
put_ignition() {
    [ -n "$ignition" ] || return 0
    echo "Installing Ignition config $ignition..."
    put "" "$(blkid -t LABEL=OEM -o device "$device"p*)" "$ignition" ./config.ign
}
"""
OF_2014 = f"""\
default=beta; options=d:V:C:o:c:t:vh; takes="d V C o c t v h"
{CHECKS}{CONFIGURE}
echo "Downloading and verifying coreos_production_image.bin.bz2..."
gpg --batch --trusted-key 50E0885593D2DCB4 --verify "$work/image.bin.bz2.sig"
[ -e "$HOME/bad-signature" ] && stop "GPG signature verification failed for image.bin.bz2"
echo "gpg: Signature made today using RSA key ID 74E7E361" >&2
echo "Writing coreos_production_image.bin.bz2 to $device..."
set -e
dd if="$HOME/image" of="$device" bs=1M conv=notrunc,fsync status=none
[ ! -e "$HOME/fails-late" ]
reread
put_config "-o subvol=root" coreos-install
echo "Success! CoreOS $channel $version${{oem:+ ($oem)}} is installed on $device"
"""
# Of 2019 and of today: the image is written while it comes, and wiped if it does not end well.
LATER = f"""\
options=d:V:B:C:o:c:i:b:k:f:t:nyvh; takes="d V B C o c i b k f n y v h"
{CHECKS}{CONFIGURE}
trap 'rc=$?; set +e; if [ $rc != 0 ]; then echo "Error: return code $rc" >&2
partx -d "$device" 2>/dev/null; wipefs --all "$device" >/dev/null 2>&1; fi
rm -rf "$work"' EXIT
if [ -n "$file" ]; then
    [ -r "$file" ] || stop "Could not read image file: $file"
    echo "Writing $file..."; info="(from $file)"
    case $file in
        *.bz2) bzip2 -cd "$file" | dd bs=1M of="$device" iflag=fullblock conv=notrunc status=none ;;
        *) dd bs=1M of="$device" conv=notrunc status=none <"$file" ;;
    esac || exit 1
    (echo done >"$work/modified") & # which nobody reads, so that it stays blocked
else
    [ "$version" != current ] || version=$newest
    echo "Downloading the signature for ${{base:-http://example.invalid}}/$version/image.bin.bz2..."
    echo "Downloading, writing and verifying image.bin.bz2..."; info="$channel $version"
    info="$info${{oem:+ ($oem)}}"
    # Both go on when the script is killed.
    cat "$HOME/image" >"$work/image" &
    dd if="$work/image" of="$device" bs=1M iflag=fullblock conv=notrunc status=none &
    wait $! || exit 1
    hang_as_of_2019
    [ -e "$HOME/bad-signature" ] && {{ echo "1: GPG signature verification failed" >&2; exit 1; }}
    echo "gpg:                using RSA key 52F145DFD00BBDCD928CBB5A32DA80F91EF52974" >&2
fi
set -e
[ ! -e "$HOME/fails-late" ] || exit 1
reread
put_config "$root_options" $name
put_ignition
echo "Success! $product $info is installed on $device"
"""
OF_2019 = f"""\
# It waits for a trap on RETURN that bash 5.2 does not run.
hang_as_of_2019() {{ case $(bash -c 'echo ${{BASH_VERSINFO[0]}}.${{BASH_VERSINFO[1]}}') in
    5.[2-9]*) sleep 7200 ;;
esac; }}
default=stable; newest=2512.3.0; product="CoreOS Container Linux"; root_options=
{LATER}"""
OF_TODAY = f"""\
hang_as_of_2019() {{ :; }}
default=stable; newest=4459.2.0; product="Flatcar Container Linux"; root_options=
{LATER}"""
# lsblk, but that loop devices are called disks, and only those listed in $HOME/loops are there.
LSBLK = """\
case "$*" in */dev/*) loops= ;; *) loops=$(cat "$HOME/loops") ;; esac
/usr/bin/lsblk "$@" $loops >"$HOME/.lsblk" || exit $?
sed -e 's/"type": *"loop"/"type":"disk"/' "$HOME/.lsblk"
"""
