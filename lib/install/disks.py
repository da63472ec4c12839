"""The volume's disk on the workstation: noted before and after its attach, checked, released.

`evidence` says what a disk and a volume are.
"""

import shlex
import time
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd

from lib import tables
from lib.errors import CheckFailed
from lib.install import detached, evidence, guard, inventory, noted
from lib.install.evidence import expected_serial, is_disk, serial_of
from lib.install.inventory import identity, tree, used
from lib.install.noted import Attach
from lib.plan import check_mode
from lib.steps import Pending, Step
from lib.waiting import until
from lib.workstation import identity as machines
from lib.workstation import notes
from lib.workstation.shell import Shell, run

WIPE = "Nothing was written. Check its contents; wipe it by hand if it may be overwritten."
RELEASE = "End these programs or unmount it on the workstation, then run this stage again."
# For a hot-added disk that does not appear by itself; a host without a scan file is no failure.
RESCAN = "sh -c 'for s in /sys/class/scsi_host/host*/scan; do echo \"- - -\" | tee $s; done'"
NO_EVIDENCE = "· the workstation does not show which virtual machine of the cloud it is"
UNKNOWN = "· its disk cannot be identified any more, so its use is not checked"
TIME = SimpleNamespace(clock=time.monotonic, sleep=time.sleep)


def target(shell: Shell, values: dict, volume: dict, rows: list[dict] | None = None) -> dict:
    """Read the disks now, and return the row of the volume, with its `look` for the guard.

    `values` are the notes, `rows` is a current inventory. Raises CheckFailed with a table unless
    exactly one disk is the volume's and is blank, or has only the install in these notes.
    """
    ours = _ours(shell, values, volume["id"])
    attach = noted.attach(values, volume["id"]) or Attach(volume["id"])
    rows = [
        r | {"children": inventory.labelled(shell, r["children"])} if identity(r) == ours else r
        for r in rows or inventory.read(shell)
    ]
    row = evidence.find_target(volume, attach, rows, ours)
    own = bool(ours) and (identity(row) == ours or serial_of(row) == expected_serial(volume["id"]))
    look = guard.look(shell, row["path"], row["size"])
    conditions = guard.conditions(look, row["path"], row["size"], own)
    if not all(met for *_, met in conditions):
        conditions = evidence.fitness(row, volume["size"], own) + conditions
        what = f"{row['path']} of volume {volume['id']} is not blank or is in use"
        raise CheckFailed(what, next_step=f"\n{evidence.table([(row, conditions)])}\n{WIPE}")
    return row | {"look": look}


def _ours(shell: Shell, values: dict, volume_id: str) -> list | None:
    """Return the identity of the disk that an install of ours wrote on, None if none did."""
    if done := noted.install(values, "installed", volume_id):
        return done.disk
    started = noted.install(values, "installing", volume_id)
    return started.disk if started and passed_guard(shell, started.mark) else None


def passed_guard(shell: Shell, mark: str) -> bool:
    """Return whether an installer passed its guard, so that it may have written."""
    return run(shell, f"[ -e {shlex.quote(mark)} ]", ok=(0, 1)).rc == 0


def note_before(
    shell: Shell, work_dir: str, plan: list[Step], mode: str, volumes: list[dict]
) -> None:
    """Note the disks before `plan` attaches a volume; do nothing if it attaches none.

    A disk that is present before the attach is never taken for the volume's. `volumes` are all that
    the cloud lists; those attached to the machine are noted too.
    """
    check_mode(mode)
    steps = [s.params for s in plan if not isinstance(s.params["id"], Pending)]
    for step in steps if mode == "apply" else []:
        machine = str(step["virtualmachineid"])
        attached = [str(v["id"]) for v in volumes if str(v.get("virtualmachineid")) == machine]
        attach = Attach(str(step["id"]), inventory.read(shell), attached)
        noted.update(shell, work_dir, attach=attach)


def note_device(
    shell: Shell, work_dir: str, volume: dict | None, installed: str, mode: str, within: float = 30
) -> None:
    """Print and note the device of the attached volume, which has `within` seconds to appear.

    Does nothing in plan mode, without a volume, and for the `installed` one. Raises CheckFailed
    when the device cannot be identified.
    """
    check_mode(mode)
    if mode == "plan" or not volume or str(volume["id"]) == installed:
        return
    values = notes.read(shell, work_dir)
    attach = noted.attach(values, volume["id"]) or Attach(str(volume["id"]))
    rows = _wait_for_disk(shell, attach, within)
    machine = volume.get("virtualmachineid", "")
    proof = machines.demand_same(shell, machine, volume.get("hypervisor", ""))
    row = target(shell, values, volume, rows)
    attach = replace(attach, disk=identity(row), name=volume["name"])
    noted.update(shell, work_dir, attach=attach)
    print(f"✓ {volume['name']} is {row['path']} on {shell.name}: {_grounds(row, volume['id'])}")
    print(f"✓ it is machine {machine} by its {proof}" if proof else NO_EVIDENCE)


def _grounds(row: dict, volume_id: str) -> str:
    """Return the evidence for a disk, and its contents."""
    is_named = bool(serial_of(row)) and serial_of(row) == expected_serial(volume_id)
    grounds = f"serial {serial_of(row)}" if is_named else "the only new one"
    contents = "has our earlier install" if row["children"] else "blank"
    checked = guard.checked_parts(row["size"])
    return f"{grounds}, {row['size']} bytes; {contents} and not in use (checked: {checked})"


def _wait_for_disk(shell: Shell, attach: Attach, within: float) -> list[dict]:
    """Wait for a disk that is not in the note; return the inventory, also when time is up."""
    started, known = time.monotonic(), [identity(r) for r in attach.before]

    def look() -> list[dict] | None:
        rows = inventory.read(shell)
        if any(is_disk(r) and identity(r) not in known for r in rows):
            return rows
        if time.monotonic() - started > within / 3:
            run(shell, RESCAN, sudo=True, ok=(0, 1))
        return None

    return until(TIME, look, "the disk to appear", within) or inventory.read(shell)


def demand_idle(shell: Shell, work_dir: str, volume: dict | None, mode: str) -> None:
    """Raise CheckFailed if the installed volume is still in use on the workstation.

    In apply mode, processes left by our installer are ended first, and the disk's buffers are
    flushed.
    """
    check_mode(mode)
    done = noted.install(notes.read(shell, work_dir), "installed", (volume or {}).get("id", ""))
    row = _find(inventory.read(shell), done.volume, done.disk) if done else None
    if not row:
        attached = done and volume and volume.get("virtualmachineid")
        return print(UNKNOWN if attached else "No installed disk of ours is attached to a machine.")
    if mode == "apply":
        detached.end(shell, notes.job(work_dir))
    users = used(row) or guard.users(shell, row["path"])
    if users:
        what = f"{row['path']} of {volume['name']} is in use: {', '.join(users)}"
        raise CheckFailed(what, next_step=RELEASE)
    if mode == "apply":
        flush(shell, row["path"])
    print(f"✓ {row['path']} is not mounted, and no program has it open")


def _find(rows: list[dict], volume_id: str, disk: list | None) -> dict | None:
    """Return the disk with the volume's serial, or else the one of this identity."""
    serial = expected_serial(volume_id)
    named = [r for r in rows if serial and serial_of(r) == serial]
    return next((r for r in [*named, *rows] if r in named or identity(r) == disk), None)


def flush(shell: Shell, device: str) -> None:
    """Write the disk's buffers to it."""
    run(shell, f"blockdev --flushbufs {shlex.quote(device)}", sudo=True, within=600)


def table(shell: Shell, work_dir: str) -> pd.DataFrame:
    """Return a table of the workstation's disks and partitions; `volume` marks the disk of ours."""
    rows, values = inventory.read(shell), notes.find(shell, work_dir) or {}
    attach = noted.attach(values, (values.get("attach") or {}).get("volume", ""))
    disk = _find(rows, attach.volume, attach.disk) if attach and attach.disk else None
    marked = [r | {"volume": attach.name if r is disk else ""} for r in tree(rows)]
    return tables.table(marked, "path volume size type serial hctl fstype partlabel uses")
