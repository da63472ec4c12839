"""Disks of the workstation: the inventory, the checks, and the table of a refusal.

Which one may be written on is for test_wrong_disks.py.
"""

import os

import pytest
from machines import BEFORE, DATA, OURS, SIZE, Machine, disk, part
from workstations import at_home, program

from lib.errors import CheckFailed
from lib.install import disks, guard, inventory
from lib.install.evidence import find_target
from lib.install.guard import MIB, Place
from lib.install.inventory import identity
from lib.install.noted import Attach
from lib.steps import Step
from lib.workstation import notes
from lib.workstation.shell import Shell, connect_shell

VOLUME = {"id": "5f0c2d4e-9b31-4c6a-8e77-0d1f2a3b4c5d", "name": "disk", "size": SIZE}
VOLUME |= {"others": ["root"]}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    machine = Machine(tmp_path, monkeypatch)
    machine.show(BEFORE)
    return machine


@pytest.fixture
def shell(machine):
    return machine.shell


def test_the_inventory_has_types_and_boot(shell):
    rows = inventory.read(shell)
    assert [r["name"] for r in rows] == ["sda", "sdb", "sdc"] and rows[0]["boot"] == "b1"
    assert rows[0]["children"][0]["uses"] == ["/"]


def test_the_inventory_has_users_that_lsblk_lacks(shell, machine):
    uses = ("/sys/class/block/sdc/holders/dm-0", "/sys/fs/btrfs/u/devices/sdb")
    machine.show(BEFORE, swaps=("", "/dev/sdb1 partition 1 0 -2"), uses=uses)
    assert [inventory.used(r) for r in inventory.read(shell)] == [
        ["/"], ["a mounted btrfs", "/data", "[SWAP]"], ["dm-0"],
    ]  # fmt: skip


def test_an_lsblk_that_prints_only_text_gives_the_same_rows(shell, machine):
    rows = [DATA | {"ro": True}, disk("vg-x", SIZE, type="lvm", kname="dm-0")]
    machine.show(rows)
    today = inventory.read(shell)
    machine.show(rows, lsblk="2.29")
    assert inventory.read(shell) == today
    assert [(r["path"], r["size"], r["ro"], r["rm"]) for r in today] == [
        ("/dev/sdb", DATA["size"], True, False), ("/dev/mapper/vg-x", SIZE, False, False),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "{", "[]", '{"blockdevices": null}', '{"blockdevices": [1]}'])
def test_an_lsblk_that_prints_something_else_is_named(shell, machine, text):
    (machine.home / "m/tree").write_text(text)
    with pytest.raises(CheckFailed, match=r"lsblk of the workstation prints no JSON.*2\.27"):
        inventory.read(shell)
    program(machine.home, "lsblk", "echo \"lsblk: invalid option -- 'J'\" >&2; exit 1")
    with pytest.raises(CheckFailed, match=r"prints no JSON: .*invalid option -- 'J'"):
        inventory.read(shell)


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
    shell, noting = counting(machine), {"read": 1, "write": 1}
    attach(shell)
    assert trips(machine) == 1 + sum(noting.values())
    machine.show([*BEFORE, OURS])
    disks.note_device(shell, "w", VOLUME, "", "apply")
    # The inventory, which machine it is, and the disk looked at closely; the notes read twice.
    assert trips(machine) == 1 + 1 + 1 + sum(noting.values()) + 1
    assert inventory.read(shell) and trips(machine) == 1


def test_the_refusal_is_a_table_of_conditions():
    def seen(row):
        return row | {"uses": [], "boot": "b"}

    with pytest.raises(CheckFailed) as failed:
        rows = [seen(OURS | {"size": SIZE + 512, "fstype": "xfs"}), seen(disk("loop0", SIZE))]
        attach = Attach(VOLUME["id"], [seen(disk("sdc", SIZE))], [])
        find_target(VOLUME, attach, [seen(disk("sdc", SIZE)), *rows])
    lines = [line.split() for line in str(failed.value).splitlines()]
    assert ["✗", "/dev/sdd", "bytes", str(SIZE), str(SIZE + 512)] in lines
    assert ["✗", "/dev/sdd", "file", "system", "none", "xfs"] in lines
    assert "/dev/sdc" not in str(failed.value) and "11-attach-volume" in str(failed.value)


def test_the_table_includes_the_look_at_the_disk(shell, machine):
    attach(shell)
    machine.show([*BEFORE, OURS | {"holds": 'TYPE="xfs"', "busy": True}])
    with pytest.raises(CheckFailed, match="is not blank or is in use") as failed:
        target(shell)
    lines = [" ".join(line.split()) for line in str(failed.value).splitlines()]
    assert '✗ /dev/sdd signatures none /dev/sdd: TYPE="xfs"' in lines
    assert "✗ /dev/sdd opens exclusively yes no" in lines
    assert "✗ /dev/sdd first MiB all zero something else" in lines
    assert "✓ /dev/sdd last MiB all zero all zero" in lines


@pytest.fixture
def image(tmp_path, monkeypatch):
    """A disk that is a file, read by the real head and tail."""
    at_home(tmp_path, monkeypatch, {"blkid": "exit 2", "wipefs": "exit 0"})
    file = tmp_path / "image"
    file.write_bytes(bytes(3 * MIB))
    return file


def unmet(shell, image, size=3 * MIB) -> list[str]:
    found = guard.conditions(guard.look(shell, str(image), size), str(image), size, own=False)
    return [what for what, *_, met in found if not met]


def put(image, at: int, data: bytes) -> None:
    with image.open("r+b") as file:
        file.seek(at)
        file.write(data)


PLACES = "192 places of 16 KiB"
BYTES = {  # of 3 MiB
    0: ["first MiB", PLACES],
    MIB - 1: ["first MiB", PLACES],
    3 * MIB // 2: [PLACES],
    3 * MIB - 1: ["last MiB", PLACES],
}


@pytest.mark.parametrize("has_perl", [True, False])
def test_one_byte_or_an_unreadable_place_is_not_blank(image, tmp_path, has_perl):
    shell = connect_shell(None, "")
    if not has_perl:
        program(tmp_path, "perl", "exit 127")
    for at, which in BYTES.items():
        assert unmet(shell, image) == []
        put(image, at, b"x")
        assert unmet(shell, image) == which
        put(image, at, b"\0")
    assert {"first MiB", "last MiB", PLACES} < {*unmet(shell, f"{image}-absent")}
    program(tmp_path, "blkid", "exit 4")
    assert unmet(shell, image) == ["signatures"]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_the_places_that_are_read_reach_over_the_whole_disk(image, share):
    shell, size = connect_shell(None, ""), 2**30 + 512
    os.truncate(image, size)
    put(image, int(size * share), b"x" * 3 * MIB)  # more than the distance of two places
    assert unmet(shell, image, size) == ["400 places of 16 KiB"]


def test_the_state_after_a_failed_install_is_read_from_the_disk(image, tmp_path):
    shell = connect_shell(None, "")
    before = guard.look(shell, str(image), 3 * MIB)

    def state(earlier=before):
        return guard.state(shell, Place(str(image), 3 * MIB, earlier, "mark"))[0]

    assert state() == "untouched" and state("> blkid 2") == "blank"
    put(image, 0, b"remains")
    assert state() == "wiped"
    program(tmp_path, "blkid", 'echo "PTTYPE=gpt"')
    assert state() == "half written"
    earlier = guard.look(shell, str(image), 3 * MIB)
    assert state(earlier) == "untouched"
    program(tmp_path, "wipefs", 'case "$*" in *-a*) exit 1;; esac')  # something opened it
    assert state(earlier) == "untouched"


def attach(shell, mode="apply"):
    params = {"id": VOLUME["id"], "virtualmachineid": "m"}
    listed = [{"id": "root", "virtualmachineid": "m"}, {"id": "elsewhere"}]
    disks.note_before(shell, "w", [Step("attachVolume", params, "")], mode, listed)


def target(shell):
    return disks.target(shell, notes.read(shell, "w"), VOLUME)


def test_a_disk_that_does_not_show_is_looked_for_on_the_scsi_buses(shell, machine, capsys):
    attach(shell)
    appear = machine.later([*BEFORE, OURS])
    program(machine.home, "tee", f'case "$1" in /sys/*) cat >scan; {appear} ;; esac')
    disks.note_device(shell, "w", VOLUME, "", "apply", within=1.5)
    assert (machine.home / "scan").read_text() == "- - -\n"
    assert notes.read(shell, "w")["attach"]["disk"] == identity(OURS)
    out = capsys.readouterr().out
    assert f"disk is /dev/sdd on this machine: the only new one, {SIZE} bytes; blank and" in out
    assert "checked: its first and last MiB, 4 places of 16 KiB, and its users" in out


def test_plan_mode_notes_nothing_and_a_disk_that_does_not_come_is_an_error(shell):
    attach(shell, mode="plan")
    assert notes.read(shell, "w") == {}
    attach(shell)
    with pytest.raises(CheckFailed, match="0 of 3 disks"):
        disks.note_device(shell, "w", VOLUME, "", "apply", within=0)


def test_an_installed_disk_that_something_still_has_is_not_detached(shell, machine, capsys):
    notes.update(shell, "w", installed={"volume": VOLUME["id"], "disk": identity(OURS)})
    program(machine.home, "blockdev", 'echo "$*" >flushed')
    machine.show([*BEFORE, OURS | {"children": [part("sdd9", mountpoints=["/mnt"])]}])
    with pytest.raises(CheckFailed, match=r"is in use: /mnt\. End these programs or unmount"):
        disks.demand_idle(shell, "w", VOLUME, "apply")
    machine.show([*BEFORE, OURS | {"user": 1}])
    with pytest.raises(CheckFailed, match=r"/dev/sdd .*is in use: \S+ \(process 1\)\."):
        disks.demand_idle(shell, "w", VOLUME, "apply")
    machine.show([*BEFORE, OURS])
    disks.demand_idle(shell, "w", VOLUME, "plan")
    assert not (machine.home / "flushed").exists()
    disks.demand_idle(shell, "w", VOLUME, "apply")
    assert (machine.home / "flushed").read_text() == "--flushbufs /dev/sdd\n"
    assert "/dev/sdd is not mounted, and no program has it open" in capsys.readouterr().out
    attached, serial = VOLUME | {"virtualmachineid": "m"}, VOLUME["id"].replace("-", "")[:20]
    renamed = disk("sde", SIZE, serial=serial, children=[part("sde9", mountpoints=["/mnt"])])
    machine.show([*BEFORE, renamed])
    with pytest.raises(CheckFailed, match=r"/dev/sde of .*in use: /mnt\."):
        disks.demand_idle(shell, "w", attached, "apply")
    machine.show(BEFORE)
    disks.demand_idle(shell, "w", attached, "apply")
    assert "its disk cannot be identified any more" in capsys.readouterr().out


@pytest.mark.parametrize("volume", [None, VOLUME | {"id": "80921"}])
def test_without_an_attached_disk_of_ours_there_is_no_wait(shell, volume, capsys):
    disks.demand_idle(shell, "w", volume, "apply")
    assert "No installed disk" in capsys.readouterr().out


def test_the_table_names_our_volume_beside_its_disk_wherever_it_has_gone(shell, machine):
    attach(shell)
    machine.show([*BEFORE, OURS])
    assert list(disks.table(shell, "w")["volume"]) == [""] * 6
    disks.note_device(shell, "w", VOLUME, "", "apply")
    seen = disks.table(shell, "w")
    assert dict(zip(seen["path"], seen["volume"], strict=True)) == {
        **dict.fromkeys(("/dev/sda", "/dev/sda1", "/dev/sdb", "/dev/sdb1", "/dev/sdc"), ""),
        "/dev/sdd": "disk",
    }
    ours = disk("sde", SIZE, serial=VOLUME["id"].replace("-", "")[:20])
    machine.show([*BEFORE, disk("sdd", SIZE), ours])
    seen = disks.table(shell, "w")
    assert list(seen[seen["volume"] == "disk"]["path"]) == ["/dev/sde"]
    machine.show([*BEFORE, disk("sdd", SIZE)])
    assert "disk" not in list(disks.table(shell, "w")["volume"])
