"""Installs CoreOS or Flatcar on the volume's disk, and verifies the result."""

import re
from collections.abc import Callable
from dataclasses import replace

from lib import config as configs
from lib import plan as plans
from lib.errors import CheckFailed, OutOfSight, ShellFailed
from lib.install import detached, disks, fetched, guard, images, inventory, noted, readback, tools
from lib.install.guard import Place
from lib.install.noted import Install
from lib.install.order import Order
from lib.install.running import install
from lib.record import facts
from lib.steps import Id, Pending, Step
from lib.workstation import identity, notes
from lib.workstation.files import journalled, settle_volume, sha256, workstation
from lib.workstation.shell import Shell

OTHER_INSTALL = (
    "Set the parameters to these values to go on with this disk. To install something else, choose "
    "another volume_name: 10-create-volume creates a new volume, and this one stays."
)
SIGNED = re.compile(r"using \w+ key (?:ID )?([0-9A-F]{8,40})")


def plan_install(shell: Shell, order: Order) -> list[Step]:
    """Return the steps that fetch the installer and run it, none if the notes say it is done.

    Raises CheckFailed when the disk cannot be identified, or the workstation lacks an installer
    with all flags needed.
    """
    values, text = notes.read(shell, order.work_dir), order.text(shell)
    new = order.install(text)
    done = noted.install(values, "installed", new.volume)
    if order.used or (done and done.order() == new.order()):
        return []
    if done and not order.is_attached:
        raise _other_install(order, new, done)
    fetches = fetched.plan_fetch(shell, order.image, order.work_dir)
    demand_installer(shell, order, there=not fetches)
    params = {"volume": Id.of(order.volume), "size": order.size} if order.volume else {}
    params |= {k: v for k, v in new.order().items() if v and k != "installer"}
    if order.config and not text:
        params["sha256"] = Pending(order.config, "20-write-cloud-config")
    params["device"] = _device(shell, values, order)
    return [*fetches, Step(order.image.installer, params, _why(order, bool(done)), order.name)]


def _why(order: Order, done: bool) -> str:
    """Return the reason for the install, the checks made, and a warning for a small volume."""
    image, needs = order.image, images.NEEDS_GB[order.image.installer]
    why = "it has another image or configuration" if done else "nothing is installed on it"
    if order.is_attached:
        why += f"; checked: signatures, {guard.checked_parts(order.size)}"
    if 0 < order.size < needs * 10**9 and not (image.file or image.url):
        has = order.size / 10**9
        why += f"; the image may not fit: it needs {needs} GB, the volume has {has:.1f}"
    return why


def _other_install(order: Order, new: Install, done: Install) -> CheckFailed:
    """Return the error for a disk that is detached already and has another install."""
    ours, theirs = new.order(), done.order()
    differ = [k for k in ours if ours[k] != theirs[k]]
    expected, found = (
        ", ".join(f"{k} {str(v[k] or '(none)')[:12]}" for k in differ) for v in (ours, theirs)
    )
    return CheckFailed(f"the install on {order.name}", expected, found, OTHER_INSTALL)


def _device(shell: Shell, values: dict, order: Order) -> str | Pending:
    if not order.is_attached:
        return Pending("the disk of the volume", "11-attach-volume")
    volume = order.volume
    identity.demand_same(shell, volume["virtualmachineid"], volume.get("hypervisor", ""))
    started = noted.install(values, "installing", volume["id"])
    if started and detached.is_running(shell, notes.job(order.work_dir)):  # its disk is in use
        return started.device
    return _target(shell, values, volume)["path"]


def _target(shell: Shell, values: dict, volume: dict) -> dict:
    """Return the row of the disk to write on; an earlier install on it must be ours."""
    row = disks.target(shell, values, volume)
    done = noted.install(values, "installed", volume["id"])
    if done and done.config and row["children"]:
        _demand_ours(shell, row["path"], done)
    return row


def _demand_ours(shell: Shell, device: str, done: Install) -> None:
    """Raise CheckFailed unless the disk has the configuration in the notes."""
    try:
        parts = readback.partitions(shell, device)
        text = readback.config_text(shell, parts, done.image.installer, done.config)
        found = sha256(text)
    except (ShellFailed, CheckFailed) as failed:
        found = f"unreadable: {failed}"
    if found != done.sha256:
        what = f"sha256 of the configuration on {device}"
        raise CheckFailed(what, f"{done.sha256}, that of our install", found, disks.WIPE)


def demand_installer(shell: Shell, order: Order, *, there: bool = True) -> str:
    """Return which installer it is, or, where it is not `there` yet, where it will come from.

    Raises CheckFailed unless it fits, root has all tools needed, and the install is safe for LVM.
    """
    installer, is_ignition = order.image.installer, order.config.endswith(".ign")
    takes = [images.FLAGS["file"]]  # until it is there
    if there:
        at = order.size, order.work_dir
        takes = images.demand_flags(shell, order.image, is_ignition, *at)
        which = fetched.demand_as_wanted(shell, order.image, order.work_dir)
    else:
        which = fetched.demand_there(shell, order.image)
    btrfs = is_ignition  # that goes onto OEM, which is a btrfs of Flatcar
    if installer == "coreos-install":  # that of 2014, without -f, mounts ROOT with `subvol=root`
        btrfs = bool(order.config) and images.FLAGS["file"] not in takes
    rows = inventory.read(shell) if installer == "flatcar-install" else []
    lvm = [r for r in inventory.tree(rows) if r["type"] == "lvm" and not inventory.used(r)]
    if lvm:
        idle = ", ".join(sorted(r["name"] for r in lvm))
        what = f"{installer} would deactivate LVM volumes that are active but not mounted: {idle}"
        raise CheckFailed(what, next_step="Use a workstation without such volumes.")
    tools.demand(shell, order.program, downloads=not order.image.file, btrfs=btrfs)
    return which


def apply_install(
    shell: Shell,
    order: Order,
    plan: list[Step],
    mode: str,
    on_line: Callable[[str], None] = print,
    within: float = 3600.0,
) -> None:
    """Install as planned, read the configuration back, and note the install.

    Plan mode writes nothing but verifies a local image, which apply mode verifies while it writes.
    """
    plans.check_mode(mode)
    if mode == "plan" and plan:
        images.demand_file(shell, order.image)
    plans.perform(plan, mode, lambda step: _install_step(shell, order, step, on_line, within))


def _install_step(
    shell: Shell, order: Order, step: Step, on_line: Callable[[str], None], within: float
) -> str:
    """Apply a step once no earlier installer runs any more; return the words for its success."""
    if step.command == "fetch":
        ended = fetched.fetch(shell, order.image, order.work_dir)
        demand_installer(shell, order)
        return ended
    text = order.text(shell)
    if order.config:
        configs.demand_present(configs.Written(order.config_path, text))
    _wait_for_earlier(shell, order, on_line, within)
    row = _look_again(shell, order, step, text)
    place = Place(row["path"], row["size"], row["look"], f"{notes.job(order.work_dir)}/writing")
    disk = {"device": place.device, "size": place.size, "disk": inventory.identity(row)}
    new = order.install(text, **disk, mark=place.mark)
    noted.update(shell, order.work_dir, installing=new, installed=None)
    what = f"{step.what}, {new.device} of {shell.name}"
    params = {k: v for k, v in new.note().items() if v and k not in ("disk", "mark")}
    params["runs"] = images.command(order.image, new.device, order.config_path, order.work_dir)
    with journalled(workstation(shell), step.command, what, params) as ended:
        ended["text"] = success = install(shell, order, place, on_line, within)
        _finish(shell, order, replace(new, mark="", success=success), text)
    return success


def _wait_for_earlier(
    shell: Shell, order: Order, on_line: Callable[[str], None], within: float
) -> None:
    """Follow an earlier installer that still runs until it ends.

    Its outcome does not matter, as its output was not fully seen: the disk is written again from
    its beginning.
    """
    folder = notes.job(order.work_dir)
    if not detached.is_running(shell, folder):
        return
    on_line("… an earlier installer still runs; waiting for its end")
    try:
        detached.follow(shell, folder, on_line, within=within)
    except OutOfSight:
        raise
    except ShellFailed as failed:
        on_line(f"… it ended with {failed.rc}")
    on_line("… it has ended; the disk is written from its beginning")


def _look_again(shell: Shell, order: Order, step: Step, text: str) -> dict:
    """Read the disks again right before writing, and return the row of the disk."""
    row, p = _target(shell, notes.read(shell, order.work_dir), order.volume), step.params
    if (row["path"], sha256(text)) != (p["device"], p["sha256"]):
        changed = f"{row['path']}, configuration {sha256(text)[:8]}"
        planned = f"{p['device']}, configuration {p['sha256'][:8]}"
        raise CheckFailed("disk and configuration", planned, changed, "Run the Plan cells again.")
    return row


def _finish(shell: Shell, order: Order, new: Install, text: str) -> None:
    """Verify the disk, flush it, and note the install as done."""
    image, folder = order.image, notes.job(order.work_dir)
    parts = readback.partitions(shell, new.device)
    readback.demand_config(shell, parts, image.installer, order.config, text)
    disks.flush(shell, new.device)
    signed = SIGNED.findall(detached.log(shell, folder))
    signed_by, checksum = f"key {signed[0]}" if signed else "unknown", "unknown: a download"
    if image.file:
        signed_by, checksum = "nobody: a local file", f"sha256 {image.image_sha256}"
    done = replace(new, image_checksum=checksum, signed_by=signed_by)
    done = replace(done, resolved=readback.version(shell, parts, new.success))
    facts.add(
        installer=image.installer,
        channel=image.channel,
        version=done.resolved,
        installed=done.success,
        # The installer verifies its download, so it is recorded which one it is.
        installer_sha256=fetched.seen(shell, image, order.work_dir)[0],
        installer_url=image.installer_url,
        cloud_config_sha256=done.sha256,
        image_checksum=checksum,
        signed_by=signed_by,
    )
    noted.update(shell, order.work_dir, installing=None, installed=done)
    detached.forget(shell, folder)


def verify(shell: Shell, order: Order, mode: str) -> None:
    """Read the configuration back from the installed disk while it is attached."""
    plans.check_mode(mode)
    values, volume = notes.read(shell, order.work_dir), order.volume
    done = noted.install(values, "installed", volume["id"]) if volume else None
    if done and mode == "apply":
        settle_volume(workstation(shell), done.volume, done.success)
    if mode == "plan" or order.used or not done or not order.is_attached:
        return print("Nothing to read back: no installed disk is attached, or its snapshot exists.")
    device = disks.target(shell, values, volume)["path"]
    parts, name = readback.partitions(shell, device), done.config
    text = configs.read(shell, order.work_dir, name).text if name else ""
    readback.demand_config(shell, parts, done.image.installer, name, text)
    print(
        f"✓ {device} " + (f"has {name}, byte for byte" if name else "has no configuration of ours")
    )
    print("✓ its partitions:", ", ".join(f"{label} {p['path']}" for label, p in parts.items()))
    print(f"· version: {done.resolved or 'unknown'}")
    print(f"· checksum of the image: {done.image_checksum}\n· signed by: {done.signed_by}")
