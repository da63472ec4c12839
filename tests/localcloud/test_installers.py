"""The installers' stand-ins: checks, texts, exit codes, and the resulting disk."""

import itertools
import re
import subprocess
import time
from pathlib import Path

import pytest

from lib.localcloud.state.dialects import DIALECTS
from lib.localcloud.workstation import images, shell

GIB = 2**30
CONFIG = b"#cloud-config\nhostname: x\n"
DOWNLOADS = "http://beta.release.core-os.net/amd64-usr"


class Station:
    """A workstation whose /dev/vdc is `disk`; its installers take no time."""

    def __init__(self, folder: Path, size: int = 10 * GIB):
        self.folder, self.disk = folder, folder / "disks" / "ours.raw"
        shell.prepare(folder)
        images.create_blank(self.disk, size)
        images.create_blank(folder / "disks" / "b.raw", GIB)
        own = {"deviceid": 0, "file": None, "size": 80 * GIB, "id": "r", "mountpoint": "/"}
        other = {"deviceid": 1, "file": str(folder / "disks/b.raw"), "size": GIB, "id": "b"}
        ours = {"deviceid": 2, "file": str(self.disk), "size": size, "id": "1", "mountpoint": None}
        shell.write_devices(folder, DIALECTS["4.22"], [own, other | {"mountpoint": None}, ours])
        (folder / "workstation" / "home" / "c.yml").write_bytes(CONFIG)
        self.scale(0)

    def scale(self, scale: float) -> None:
        shell.set_time_scale(self.folder, scale)

    def argv(self, command: str) -> list[str]:
        return ["/bin/sh", str(self.folder / "workstation" / "shell"), "-c", command]

    def run(self, command: str) -> subprocess.CompletedProcess:
        return subprocess.run(self.argv(command), capture_output=True, text=True)


@pytest.fixture
def station(tmp_path) -> Station:
    return Station(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("-c c.yml", "No target block device provided, -d is required."),
        ("-d /dev/vdc1", "Target block device (/dev/vdc1) is not a full disk."),
        ("-d /dev/vda1", "Target block device (/dev/vda1) is not a full disk."),
        ("-d /dev/vda", "Target block device (/dev/vda) is not writable (are you root?)"),
        ("-d /dev/vdc -c nope -C x", "Cloud config file (nope) does not exist."),
        ("-d /dev/vdc -i c.yml", "illegal option -- i"),
        ("-d", "option requires an argument -- d"),
        (
            "-d /dev/vdc -V 1.2 -o cloudstack",
            f"Image URL unavailable: {DOWNLOADS}/1.2/coreos_production_cloudstack_image.bin.bz2",
        ),
        (
            "-d /dev/vdc -o nosuch",
            f"Image URL unavailable: {DOWNLOADS}/current/coreos_production_nosuch_image.bin.bz2",
        ),
    ],
)
def test_coreos_install_refuses_in_its_own_words_and_writes_nothing(station, arguments, said):
    done = station.run(f"sudo coreos-install {arguments}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"coreos-install: {said}\n"
    assert images.read_partitions(station.disk) == []


def test_coreos_install_prints_the_lines_of_the_original(station):
    done = station.run("sudo coreos-install -d /dev/vdc -C beta -c ./c.yml")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "Downloading and verifying coreos_production_image.bin.bz2...",
        "Writing coreos_production_image.bin.bz2 to /dev/vdc...",
        "Installing cloud-config...",
        "Success! CoreOS beta current is installed on /dev/vdc",
    ]
    assert f"--  {DOWNLOADS}/current/coreos_production_image.bin.bz2" in done.stderr


def test_coreos_install_leaves_partitions_and_the_config_in_root(station):
    station.run("coreos-install -d /dev/vdc -c c.yml -o cloudstack -V 410.0.0")
    assert [p.number for p in images.read_partitions(station.disk)] == [1, 2, 3, 4, 6, 7, 9]
    assert list(images.entries(station.disk, 9)) == [
        ("var/lib/coreos-install", 0o700, None),
        ("var/lib/coreos-install/user_data", 0o600, CONFIG),
    ]
    assert b"VERSION=410.0.0" in images.tree(station.disk, 3)["lib/os-release"]
    assert b"ID=cloudstack" in images.tree(station.disk, 6)["oem-release"]


def test_the_success_line_names_the_oem(station):
    done = station.run("coreos-install -d /dev/vdc -C stable -o cloudstack")
    assert done.stdout.endswith(
        "Success! CoreOS stable current (cloudstack) is installed on /dev/vdc\n"
    )
    assert images.tree(station.disk, 9) == {}


def test_installing_again_leaves_nothing_of_the_first_time(station):
    station.run("coreos-install -d /dev/vdc -c c.yml -o cloudstack")
    station.run("coreos-install -d /dev/vdc")
    assert images.tree(station.disk, 9) == images.tree(station.disk, 6) == {}


def test_a_mounted_disk_is_overwritten_before_coreos_install_fails(station, tmp_path):
    at = tmp_path / "mnt"
    at.mkdir()
    station.run(f"coreos-install -d /dev/vdc -c c.yml; mount -o ro /dev/vdc9 {at}")
    done = station.run("coreos-install -d /dev/vdc -c c.yml")
    assert done.returncode == 1
    assert done.stderr.endswith("BLKRRPART: Device or resource busy\n")
    assert "Success" not in done.stdout
    assert images.tree(station.disk, 9) == {}


def test_a_disk_too_small_is_left_half_written_by_coreos_install(tmp_path):
    station = Station(tmp_path, 2 * GIB)
    done = station.run("coreos-install -d /dev/vdc -c c.yml")
    assert done.returncode == 1
    assert "bunzip2: No space left on device" in done.stderr
    assert len(images.read_partitions(station.disk)) == 7
    assert station.disk.stat().st_size == 2 * GIB


def test_output_comes_while_the_installer_works(station):
    station.scale(0.004)
    with subprocess.Popen(
        station.argv("coreos-install -d /dev/vdc 2>&1"), stdout=subprocess.PIPE
    ) as running:
        seen = [time.monotonic() for _ in running.stdout]
    assert len(seen) > 20
    assert 0.5 < seen[-1] - seen[0] < 5
    assert max(b - a for a, b in itertools.pairwise(seen)) < (seen[-1] - seen[0]) / 2


def test_flatcar_install_resolves_current_and_writes_todays_layout(station):
    done = station.run("sudo flatcar-install -d /dev/vdc -o cloudstack -c c.yml")
    assert done.returncode == 0
    last = done.stdout.splitlines()[-1]
    assert last.startswith("Success! Flatcar Container Linux stable 4")
    assert last.endswith(" (cloudstack) is installed on /dev/vdc")
    assert "coreos-cloudinit not found. Could not validate config." in done.stderr
    assert images.partition(station.disk, 6).size == GIB
    assert images.tree(station.disk, 9) == {"var/lib/flatcar-install/user_data": CONFIG}


def test_flatcar_install_puts_an_ignition_config_on_the_oem_partition(station):
    station.run("echo '{}' > c.ign; flatcar-install -d /dev/vdc -i c.ign -o cloudstack")
    oem = images.tree(station.disk, 6)
    assert oem["config.ign"] == b"{}\n"
    assert b"ID=cloudstack" in oem["oem-release"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "",
            "No target block device provided, either -d or -s is required. "
            "Or use -D to download image.",
        ),
        ("-d /dev/vdc1", "Target block device (/dev/vdc1) is not a full disk."),
        ("-d /dev/vdc -i nope", "Ignition config file (nope) does not exist."),
        ("-s -y", "the local cloud's stand-in does without the option -- s"),
    ],
)
def test_flatcar_install_refuses_in_its_own_words(station, arguments, said):
    done = station.run(f"flatcar-install {arguments}")
    assert (done.returncode, done.stderr) == (1, f"flatcar-install: {said}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "-d /dev/vdc -C nosuch",
            "version.txt unavailable: "
            "https://nosuch.release.flatcar-linux.net/amd64-usr/current/version.txt",
        ),
        (
            "-d /dev/vdc -b http://mirror/x/ -V 1.2",
            "Image URL unavailable: http://mirror/x/1.2/flatcar_production_image.bin.bz2",
        ),
        ("-d /dev/vdc -f nope.bin", "Could not read image file: nope.bin"),
    ],
)
def test_flatcar_install_prints_its_exit_code_last(station, arguments, said):
    done = station.run(f"flatcar-install {arguments}")
    own = f"flatcar-install: {said}\nError: return code 1 from exit 1\n"
    assert (done.returncode, done.stderr) == (1, own)
    assert images.read_partitions(station.disk) == []


def test_flatcar_install_takes_a_local_file(station):
    done = station.run("touch my.bin; flatcar-install -d /dev/vdc -f my.bin -c c.yml")
    assert done.stdout.splitlines() == [
        "Writing my.bin...",
        "Installing cloud-config...",
        "Success! Flatcar Container Linux (from my.bin) is installed on /dev/vdc",
    ]
    assert "--  http" not in done.stderr


def test_usage_lists_the_flags_of_each_installer(station):
    flags = {
        name: re.findall(r"^ +(-\w)", station.run(f"{name} -h").stdout, re.MULTILINE)
        for name in ("coreos-install", "flatcar-install")
    }
    assert flags["coreos-install"] == ["-d", "-V", "-C", "-o", "-c", "-t", "-v", "-h"]
    assert {"-b", "-B", "-f", "-i", "-k", "-y"} <= set(flags["flatcar-install"])


def test_flatcar_install_leaves_a_wiped_disk_when_the_image_does_not_fit(tmp_path):
    station = Station(tmp_path, 5 * GIB)
    done = station.run("flatcar-install -d /dev/vdc")
    assert done.returncode == 1
    assert "write_to_disk: Failed writing image to disk" in done.stderr
    assert "Error: return code 1 from" in done.stderr
    assert images.table_type(station.disk) is None


def test_flatcar_install_leaves_a_wiped_disk_when_it_is_ended(station):
    station.scale(1)
    with subprocess.Popen(
        station.argv("exec flatcar-install -d /dev/vdc 2>&1"), stdout=subprocess.PIPE, text=True
    ) as running:
        next(line for line in running.stdout if line.startswith("--"))
        assert images.table_type(station.disk) == "gpt"
        running.terminate()
        assert "Error: return code 143 from" in running.stdout.read()
    assert images.table_type(station.disk) is None
