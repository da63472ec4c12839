"""Disks of the workstation: what is seen of them, and how a refusal tells it.

Which one may be written on is for test_wrong_disks.py.
"""

import subprocess

import pytest
from machines import Machine, disk, part
from workstations import SUDO, program

from lib import disks, notes
from lib.disks import MIB, find_target, identity
from lib.errors import CheckFailed, ShellFailed
from lib.plan import Step
from lib.shell import Shell, connect_shell

SIZE = 40 * 2**30
VOLUME = {"id": "5f0c2d4e-9b31-4c6a-8e77-0d1f2a3b4c5d", "name": "disk", "size": SIZE}
ROOT = disk("sda", 80 * 2**30, pttype="gpt", children=[part("sda1", mountpoints=["/"])])
DATA = disk("sdb", 100 * 2**30, pttype="gpt", children=[part("sdb1", mountpoints=["/data"])])
BEFORE = [ROOT, DATA, disk("sdc", SIZE, hctl="2:0:2:0")]
OURS = disk("sdd", SIZE, hctl="2:0:3:0")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    made = Machine(tmp_path)
    made.show(BEFORE)
    return made


@pytest.fixture
def there(machine):
    return connect_shell(None, "")


def test_the_inventory_tells_types_and_boot(there):
    rows = disks.inventory(there)
    assert [r["name"] for r in rows] == ["sda", "sdb", "sdc"] and rows[0]["boot"] == "b1"
    assert rows[0]["children"][0]["mountpoints"] == ["/"]


def test_the_inventory_tells_what_lsblk_does_not(there, machine):
    uses = ("/sys/class/block/sdc/holders/dm-0", "/sys/fs/btrfs/u/devices/sdb")
    machine.show(BEFORE, swaps=("/dev/sdb1 partition 1 0 -2",), uses=uses)
    assert [disks.used(r) for r in disks.inventory(there)] == [
        ["/"], ["a mounted btrfs", "/data", "[SWAP]"], ["dm-0"],
    ]  # fmt: skip


@pytest.mark.parametrize("version", ["2.34", "2.29"])
def test_an_older_lsblk_is_asked_for_what_it_knows(there, machine, version):
    machine.show([DATA | {"ro": True}], lsblk=version)
    row = disks.inventory(there)[0]
    assert (row["path"], row["size"], row["ro"], row["rm"]) == (
        "/dev/sdb", DATA["size"], True, False,
    )  # fmt: skip
    assert row["children"][0]["mountpoints"] == ["/data"]


def test_an_lsblk_that_fails_is_an_error(there, machine):
    program(machine.home, "lsblk", "echo lsblk: no >&2; exit 1")
    with pytest.raises(ShellFailed, match="lsblk: no"):
        disks.inventory(there)


def test_an_lsblk_that_knows_no_json_is_named_with_its_version(there, machine):
    old = 'case "$*" in --version) echo lsblk from util-linux 2.23.2 ;; *)'
    says = "echo \"lsblk: invalid option -- 'J'\" >&2; exit 1 ;; esac"
    program(machine.home, "lsblk", f"{old} {says}")
    with pytest.raises(CheckFailed, match=r"2\.27 or newer, found .*2\.23\.2\."):
        disks.inventory(there)


def counting(machine) -> Shell:
    """Return a shell that logs each use of it."""
    program(machine.home, "counted", 'echo run >>"$HOME/runs"; exec /bin/sh "$@"')
    return Shell((f"{machine.home}/bin/counted",), "counted")


def trips(machine) -> int:
    runs = machine.home / "runs"
    count = len(runs.read_text().split()) if runs.exists() else 0
    runs.unlink(missing_ok=True)
    return count


def test_the_inventory_before_and_after_costs_one_round_trip_each(machine, monkeypatch):
    shell, plan = counting(machine), [Step("attachVolume", {"id": VOLUME["id"]}, "")]
    noting = {"read": 1, "write": 1}
    disks.note_before(shell, "w", plan, "apply")
    assert trips(machine) == 1 + sum(noting.values())
    machine.show([*BEFORE, OURS])
    disks.note_device(shell, "w", VOLUME, "", "apply")
    # The inventory, which machine it is, and the disk looked at closely; the notes read twice.
    assert trips(machine) == 1 + 1 + 1 + sum(noting.values()) + 1
    assert disks.inventory(shell) and trips(machine) == 1


def test_the_refusal_is_a_table_of_conditions():
    def seen(row):
        return row | {"uses": [], "boot": "b"}

    with pytest.raises(CheckFailed) as failed:
        rows = [seen(OURS | {"size": SIZE + 512, "fstype": "xfs"}), seen(disk("loop0", SIZE))]
        find_target([seen(disk("sdc", SIZE))], [seen(disk("sdc", SIZE)), *rows], size=SIZE)
    lines = [line.split() for line in str(failed.value).splitlines()]
    assert ["✗", "/dev/sdd", "bytes", str(SIZE), str(SIZE + 512)] in lines
    assert ["✗", "/dev/sdd", "contents", "none", "xfs"] in lines
    assert "/dev/sdc" not in str(failed.value) and "11-attach-volume" in str(failed.value)


def test_what_is_read_from_the_disk_stands_in_the_table_too(there, machine):
    attach(there)
    machine.show([*BEFORE, OURS | {"holds": 'TYPE="xfs"', "busy": True}])
    with pytest.raises(CheckFailed, match="wanted blank") as failed:
        target(there)
    lines = [" ".join(line.split()) for line in str(failed.value).splitlines()]
    assert '✗ /dev/sdd signatures none /dev/sdd: TYPE="xfs"' in lines
    assert "✗ /dev/sdd opens for us alone yes no" in lines
    assert "✗ /dev/sdd first MiB all zero something else" in lines
    assert "✓ /dev/sdd last MiB all zero all zero" in lines


@pytest.fixture
def image(tmp_path, monkeypatch):
    """A disk that is a file, read by the real head and tail."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    for name, text in {"sudo": SUDO, "blkid": "exit 2", "wipefs": "exit 0"}.items():
        program(tmp_path, name, text)
    file = tmp_path / "image"
    with file.open("wb") as f:
        f.truncate(3 * MIB)
    return file


def unmet(image) -> list[str]:
    return [what for what, *_ in disks.blank(connect_shell(None, ""), str(image))]


def test_a_disk_of_zeros_is_blank(image):
    assert unmet(image) == []


@pytest.mark.parametrize(
    "at, which", [(0, "first MiB"), (MIB - 1, "first MiB"), (3 * MIB - 1, "last MiB")]
)
def test_one_byte_at_either_end_is_not_blank(image, at, which):
    with image.open("r+b") as f:
        f.seek(at)
        f.write(b"x")
    assert unmet(image) == [which]


def test_what_cannot_be_read_is_not_blank(image, tmp_path):
    assert {"first MiB", "last MiB"} < {*unmet(f"{image}-absent")}
    program(tmp_path, "blkid", "exit 4")
    assert unmet(image) == ["signatures"]


def test_what_a_failed_installer_left_is_seen_by_looking(image, tmp_path):
    there, look = connect_shell(None, ""), disks.look_closely(connect_shell(None, ""), str(image))
    assert disks.state(there, str(image), look) == "untouched"
    image.write_bytes(b"remains" + bytes(3 * MIB - 7))
    assert disks.state(there, str(image), look) == "wiped"
    program(tmp_path, "blkid", 'echo "PTTYPE=gpt"')
    assert disks.state(there, str(image), look) == "half written"
    earlier = disks.look_closely(there, str(image))
    assert disks.state(there, str(image), earlier) == "untouched"
    program(tmp_path, "wipefs", 'case "$*" in *-a*) exit 1;; esac')  # something opened it
    assert disks.state(there, str(image), earlier) == "untouched"


def attach(there, mode="apply"):
    disks.note_before(there, "w", [Step("attachVolume", {"id": VOLUME["id"]}, "")], mode)


def target(there):
    return disks.target(there, notes.read(there, "w"), volume_id=VOLUME["id"], size=SIZE)


def test_plan_mode_notes_nothing(there):
    attach(there, mode="plan")
    assert notes.read(there, "w") == {}


def later(machine, rows) -> str:
    """Prepare what will be seen; return the shell command that has it seen."""
    machine.show(rows)
    subprocess.run(["mv", "m", "later"], cwd=machine.home, check=True)
    machine.show(BEFORE)
    return f"cd {machine.home} && mv m was && mv later m"


def test_a_disk_that_takes_its_time_is_waited_for(there, machine, capsys):
    attach(there)
    appear = later(machine, [*BEFORE, OURS])
    with subprocess.Popen(["/bin/sh", "-c", f"sleep 0.3; {appear}"]):
        disks.note_device(there, "w", VOLUME, "", "apply", within=5)
    assert notes.read(there, "w")["attach"]["device"] == "/dev/sdd"
    said = capsys.readouterr().out
    assert (
        f"disk is /dev/sdd on this machine: the only new one, {SIZE} bytes, nothing on it" in said
    )


def test_a_disk_that_does_not_show_is_looked_for_on_the_scsi_buses(there, machine):
    attach(there)
    appear = later(machine, [*BEFORE, OURS])
    program(
        machine.home,
        "tee",
        f'case "$1" in /sys/*) cat >scan; [ -e was ] || {{ {appear}; }} ;; esac',
    )
    disks.note_device(there, "w", VOLUME, "", "apply", within=1.5)
    assert (machine.home / "scan").read_text() == "- - -\n"
    assert notes.read(there, "w")["attach"]["device"] == "/dev/sdd"


def test_a_disk_that_does_not_come_is_an_error(there):
    attach(there)
    with pytest.raises(CheckFailed, match="0 of 3 disks"):
        disks.note_device(there, "w", VOLUME, "", "apply", within=0)


def test_an_installed_disk_that_something_still_has_is_not_detached(there, machine, capsys):
    notes.update(there, "w", installed={"volume": VOLUME["id"], "disk": identity(OURS)})
    program(machine.home, "blockdev", 'echo "$*" >flushed')
    machine.show([*BEFORE, OURS | {"children": [part("sdd9", mountpoints=["/mnt"])]}])
    with pytest.raises(CheckFailed, match=r"found /mnt\. umount it there"):
        disks.demand_idle(there, "w", VOLUME, "apply")
    machine.show([*BEFORE, OURS])
    disks.demand_idle(there, "w", VOLUME, "plan")
    assert not (machine.home / "flushed").exists()
    disks.demand_idle(there, "w", VOLUME, "apply")
    assert (machine.home / "flushed").read_text() == "--flushbufs /dev/sdd\n"
    assert "nothing has /dev/sdd" in capsys.readouterr().out
    attached, serial = VOLUME | {"virtualmachineid": "m"}, VOLUME["id"].replace("-", "")[:20]
    renamed = disk("sde", SIZE, serial=serial, children=[part("sde9", mountpoints=["/mnt"])])
    machine.show([*BEFORE, renamed])
    with pytest.raises(CheckFailed, match=r"/dev/sde of .*found /mnt\."):
        disks.demand_idle(there, "w", attached, "apply")
    machine.show(BEFORE)
    disks.demand_idle(there, "w", attached, "apply")
    assert "which disk it is cannot be told here any more" in capsys.readouterr().out


@pytest.mark.parametrize("volume", [None, VOLUME | {"id": "80921"}])
def test_where_no_disk_of_ours_is_attached_there_is_nothing_to_wait_for(there, volume, capsys):
    disks.demand_idle(there, "w", volume, "apply")
    assert "No installed disk" in capsys.readouterr().out


def test_the_table_shows_disks_and_partitions(there):
    assert list(disks.table(there)["path"]) == [
        "/dev/sda", "/dev/sda1", "/dev/sdb", "/dev/sdb1", "/dev/sdc",
    ]  # fmt: skip
