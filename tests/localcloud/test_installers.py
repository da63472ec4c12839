"""The installers' stand-ins: checks, texts, exit codes, and the resulting disk."""

import re
import subprocess

import pytest

from lib.localcloud.workstation import images, shell

from .stations import GIB, Station

CONFIG = b"#cloud-config\nhostname: x\n"
OLD = "http://beta.release.core-os.net/amd64-usr"
NEW = "https://nosuch.release.flatcar-linux.net/amd64-usr"
ENDED = "Error: return code 1 from exit 1\n"


@pytest.fixture
def station(tmp_path) -> Station:
    return equipped(Station(tmp_path, size=10 * GIB))


def equipped(station: Station) -> Station:
    """Give a workstation a cloud-config."""
    (station.home / "c.yml").write_bytes(CONFIG)
    return station


# An installer's arguments, what it says, and what stands below that.
REFUSED = [
    ("coreos", "-c c.yml", "No target block device provided, -d is required.", ""),
    ("coreos", "-d /dev/vdc1", "Target block device (/dev/vdc1) is not a full disk.", ""),
    ("coreos", "-d /dev/vda1", "Target block device (/dev/vda1) is not a full disk.", ""),
    ("coreos", "-d /dev/vda", "Target block device (/dev/vda) is not writable (are you root?)", ""),
    ("coreos", "-d /dev/vdc -c nope -C x", "Cloud config file (nope) does not exist.", ""),
    ("coreos", "-d /dev/vdc -i c.yml", "illegal option -- i", ""),
    ("coreos", "-d", "option requires an argument -- d", ""),
    ("coreos", "-d /dev/vdc -V 1.2 -o cloudstack",
     f"Image URL unavailable: {OLD}/1.2/coreos_production_cloudstack_image.bin.bz2", ""),
    ("coreos", "-d /dev/vdc -o nosuch",
     f"Image URL unavailable: {OLD}/current/coreos_production_nosuch_image.bin.bz2", ""),
    ("flatcar", "", "No target block device provided, either -d or -s is required. "
     "Or use -D to download image.", ""),
    ("flatcar", "-d /dev/vdc1", "Target block device (/dev/vdc1) is not a full disk.", ""),
    ("flatcar", "-d /dev/vdc -i nope", "Ignition config file (nope) does not exist.", ""),
    ("flatcar", "-s -y", "the local cloud's stand-in does without the option -- s", ""),
    ("flatcar", "-d /dev/vdc -C nosuch", f"version.txt unavailable: {NEW}/current/version.txt",
     ENDED),
    ("flatcar", "-d /dev/vdc -b http://mirror/x/ -V 1.2",
     "Image URL unavailable: http://mirror/x/1.2/flatcar_production_image.bin.bz2", ENDED),
    ("flatcar", "-d /dev/vdc -f nope.bin", "Could not read image file: nope.bin", ENDED),
]  # fmt: skip


def test_they_refuse_in_their_own_words_and_write_nothing(station):
    for name, arguments, text, below in REFUSED:
        done = station.run(f"sudo {name}-install {arguments}")
        own = f"{name}-install: {text}\n{below}"
        assert (done.returncode, done.stdout, done.stderr) == (1, "", own)
    assert images.read_partitions(station.disk) == []


def test_usage_lists_the_flags_of_each_original(station):
    flags = {
        name: re.findall(r"^ +(-\w)", station.run(f"{name}-install -h").stdout, re.MULTILINE)
        for name in ("coreos", "flatcar")
    }
    assert flags["coreos"] == ["-d", "-V", "-C", "-o", "-c", "-t", "-v", "-h"]
    assert {"-b", "-B", "-f", "-i", "-k", "-y"} <= set(flags["flatcar"])


def test_coreos_install_prints_the_lines_of_the_original(station):
    done = station.run("sudo coreos-install -d /dev/vdc -C beta -c ./c.yml")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "Downloading and verifying coreos_production_image.bin.bz2...",
        "Writing coreos_production_image.bin.bz2 to /dev/vdc...",
        "Installing cloud-config...",
        "Success! CoreOS beta current is installed on /dev/vdc",
    ]
    assert f"--  {OLD}/current/coreos_production_image.bin.bz2" in done.stderr


def test_coreos_install_leaves_partitions_and_the_config_in_root_and_nothing_of_before(station):
    station.run("coreos-install -d /dev/vdc -c c.yml -o cloudstack -V 410.0.0")
    assert [p.number for p in images.read_partitions(station.disk)] == [1, 2, 3, 4, 6, 7, 9]
    assert list(images.entries(station.disk, 9)) == [
        ("var/lib/coreos-install", 0o700, None),
        ("var/lib/coreos-install/user_data", 0o600, CONFIG),
    ]
    assert b"VERSION=410.0.0" in images.tree(station.disk, 3)["lib/os-release"]
    assert b"ID=cloudstack" in images.tree(station.disk, 6)["oem-release"]
    done = station.run("coreos-install -d /dev/vdc -C stable -o vmware")
    assert done.stdout.endswith("CoreOS stable current (vmware) is installed on /dev/vdc\n")
    assert images.tree(station.disk, 9) == {}
    assert b"ID=vmware" in images.tree(station.disk, 6)["oem-release"]


def test_a_mounted_disk_is_overwritten_before_coreos_install_fails(station, tmp_path):
    (tmp_path / "mnt").mkdir()
    station.run(f"coreos-install -d /dev/vdc -c c.yml; mount -o ro /dev/vdc9 {tmp_path / 'mnt'}")
    done = station.run("coreos-install -d /dev/vdc -c c.yml")
    assert (done.returncode, "Success" in done.stdout) == (1, False)
    assert done.stderr.endswith("BLKRRPART: Device or resource busy\n")
    assert images.tree(station.disk, 9) == {}


def test_a_disk_too_small_is_left_half_written_or_wiped(tmp_path):
    small = equipped(Station(tmp_path / "a", size=2 * GIB))
    done = small.run("coreos-install -d /dev/vdc -c c.yml")
    assert done.returncode == 1 and "bunzip2: No space left on device" in done.stderr
    assert len(images.read_partitions(small.disk)) == 7
    assert small.disk.stat().st_size == 2 * GIB
    small = Station(tmp_path / "b", size=5 * GIB)
    done = small.run("flatcar-install -d /dev/vdc")
    assert done.returncode == 1
    assert "write_to_disk: Failed writing image to disk" in done.stderr
    assert "Error: return code 1 from" in done.stderr
    assert images.table_type(small.disk) is None


def test_flatcar_install_resolves_current_and_writes_todays_layout(station):
    done = station.run("sudo flatcar-install -d /dev/vdc -o cloudstack -c c.yml")
    assert done.returncode == 0
    last = done.stdout.splitlines()[-1]
    assert last.startswith("Success! Flatcar Container Linux stable 4")
    assert last.endswith(" (cloudstack) is installed on /dev/vdc")
    assert "coreos-cloudinit not found. Could not validate config." in done.stderr
    assert images.partition(station.disk, 6).size == GIB
    assert images.tree(station.disk, 9) == {"var/lib/flatcar-install/user_data": CONFIG}
    station.run("echo '{}' > c.ign; flatcar-install -d /dev/vdc -i c.ign -o cloudstack")
    oem = images.tree(station.disk, 6)
    assert oem["config.ign"] == b"{}\n" and b"ID=cloudstack" in oem["oem-release"]


def test_flatcar_install_takes_a_local_file(station):
    done = station.run("touch my.bin; flatcar-install -d /dev/vdc -f my.bin -c c.yml")
    assert done.stdout.splitlines() == [
        "Writing my.bin...",
        "Installing cloud-config...",
        "Success! Flatcar Container Linux (from my.bin) is installed on /dev/vdc",
    ]
    assert "--  http" not in done.stderr


def test_flatcar_install_leaves_a_wiped_disk_when_it_is_ended(station):
    shell.set_time_scale(station.folder, 1)
    with subprocess.Popen(
        station.argv("exec flatcar-install -d /dev/vdc 2>&1"), stdout=subprocess.PIPE, text=True
    ) as running:
        next(line for line in running.stdout if line.startswith("--"))
        assert images.table_type(station.disk) == "gpt"
        running.terminate()
        assert "Error: return code 143 from" in running.stdout.read()
    assert images.table_type(station.disk) is None
