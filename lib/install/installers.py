"""Runs the installer of CoreOS or Flatcar on the volume's disk, and verifies the result."""

import re
import shlex
from collections.abc import Callable

from lib import config as configs
from lib.config import CLOUD_CONFIG, difference
from lib.errors import CheckFailed, OutOfSight, ShellFailed
from lib.install import detached, disks, guard, images, tools
from lib.plan import check_mode
from lib.record import facts
from lib.steps import Pending, Step
from lib.waiting import tell
from lib.workstation import identity, notes
from lib.workstation.files import journalled, settle_volume, sha256, workstation
from lib.workstation.shell import Shell, run

PRODUCTS = {
    "coreos-install": r"CoreOS(?: Container Linux)?",
    "flatcar-install": "Flatcar Container Linux",
}
USER_DATA = {
    "coreos-install": "var/lib/coreos-install/user_data",
    "flatcar-install": "var/lib/flatcar-install/user_data",
}
# Label and number of the partitions that every image of both systems has.
LAYOUT = {"EFI-SYSTEM": 1, "USR-A": 3, "OEM": 6, "ROOT": 9}
# Without noload, even a read-only mount replays a journal.
READ_ONLY = {"ext3": "ro,noload", "ext4": "ro,noload"}
STATES = {
    "untouched": "{} is untouched. Fix the cause, then run this stage again.",
    "blank": "{} is blank. Fix the cause, then run this stage again.",
    "half written": "{} is half written: make no snapshot of it. Run this stage again.",
    "wiped": "{} is wiped, with remains of an image: make no snapshot of it. Run this stage again.",
}
TOO_SMALL = (
    "{} is smaller than the image: make no snapshot of it. Run 90-remove-cluster, and start again "
    "with a volume_size of {} GB or more."
)
FULL = re.compile(r"No space left on device|write error: .*space")
NOT_JOURNALLED = ("disk", "look", "mark")  # fields of a note
NOT_OURS = (
    "Nothing was written. Find its user, then run this stage again: it reads the disks again."
)
FETCHED = re.compile(r"Downloading the signature for (\S+)\.\.\.")
SIGNED = re.compile(r"using \w+ key (?:ID )?([0-9A-F]{8,40})")


def install(
    shell: Shell,
    image: dict,
    place: dict,
    command: str,
    on_line: Callable[[str], None] = print,
    *,
    folder: str,
    within: float = 3600.0,
) -> str:
    """Run the installer's command, passing on each line, and return its Success line.

    `place` has the device, its `size`, and its `look` when it was checked. The command runs on in
    the `folder` if the connection breaks. Raises ShellFailed unless it ends with 0 and reports
    exactly this device as installed, and CheckFailed if the local image has another checksum; the
    error names the state of the disk.
    """
    device = place["device"]
    try:
        guarded = guard.guard(place, images.verified(image, device, command))
        detached.start(shell, folder, guarded, within=within)
        done = detached.follow(shell, folder, on_line, within=within)
    except OutOfSight:
        raise
    except ShellFailed as failed:
        raise _failure(shell, image, place, command, folder, failed) from None
    success = rf"Success! {PRODUCTS[image['installer']]} .* is installed on {re.escape(device)}"
    found = [line for line in done.out.splitlines() if re.fullmatch(success, line.strip())]
    if len(found) == 1:
        return found[0].strip()
    missing = f"No line of its output reports an install on {device}. "
    raise ShellFailed(command, 0, done.out, missing + _state(shell, place, folder))


def _failure(
    shell: Shell, image: dict, place: dict, command: str, folder: str, failed: ShellFailed
) -> CheckFailed | ShellFailed:
    """Return the error for a failed installer, with the state of the disk."""
    if failed.rc == guard.CHANGED and not disks.passed_guard(shell, place):
        detached.forget(shell, folder)
        what = f"{place['device']} is in use, or has changed since it was checked"
        return CheckFailed(what, next_step=f"{NOT_OURS}\n{failed.said.strip()}")
    found = images.FOUND.findall(failed.said)
    if found and failed.rc == images.WRONG_IMAGE:
        return images.wrong_image(image, found[-1], _state(shell, place, folder, "blank"))
    state = _state(shell, place, folder)
    if FULL.search(failed.said) and "no snapshot" in state:
        state = TOO_SMALL.format(place["device"], images.NEEDS_GB[image["installer"]])
    return ShellFailed(command, failed.rc, failed.said, f"{failed.next_step} {state}".strip())


def _state(shell: Shell, place: dict, folder: str, as_before: str = "untouched") -> str:
    """Return the words for the state of the disk; `as_before` is the state of an unchanged one.

    If the disk is blank, the trace of our install is deleted: later contents are not ours.
    """
    try:
        left, is_blank = guard.state(shell, place["device"], place["size"], place["look"])
    except ShellFailed as failed:
        return f"The disk cannot be read ({failed.said.strip()}): make no snapshot of it."
    if is_blank:
        detached.forget(shell, folder)
    return STATES[as_before if left == "untouched" else left].format(place["device"])


def partitions(shell: Shell, device: str) -> dict[str, dict]:
    """Return the partitions of an install by their labels.

    Raises CheckFailed if one is missing, exists twice, or has another number.
    """
    run(shell, "if command -v udevadm >/dev/null; then udevadm settle; fi")
    rows = [r for r in disks.inventory(shell) if r["path"] == device]
    parts = disks.probed(shell, [p for r in rows for p in r["children"]])
    found = {k: [p for p in parts if k in (p.get("partlabel"), p.get("label"))] for k in LAYOUT}
    if all(
        len(found[k]) == 1 and re.search(rf"\D{n}$", found[k][0]["path"]) for k, n in LAYOUT.items()
    ):
        return {k: p for k, (p,) in found.items()}
    expected = ", ".join(f"one {k}, number {n}" for k, n in LAYOUT.items())
    listed = ", ".join(f"{p['path']} {p.get('partlabel') or ''}".strip() for p in parts) or "none"
    raise CheckFailed(f"partitions of {device}", expected, listed, "Make no snapshot of it.")


def installed_config(shell: Shell, parts: dict, installer: str, name: str = "") -> str:
    """Return the configuration on the disk, from a read-only mount.

    `name` is the file that the installer was given.
    """
    is_ignition = name.endswith(".ign")
    part = parts["OEM" if is_ignition else "ROOT"]
    is_old_root = part.get("fstype") == "btrfs" and not is_ignition
    file = "config.ign" if is_ignition else USER_DATA[installer]
    return _read(shell, part, file, "ro,subvol=root" if is_old_root else "")


def _read(shell: Shell, part: dict, file: str, options: str = "") -> str:
    """Mount a partition, and return the text of a file on it."""
    options = options or READ_ONLY.get(part.get("fstype") or "", "ro")
    folder = shlex.quote(run(shell, "mktemp -d").out.strip())
    try:
        run(shell, f"mount -o {options} {shlex.quote(part['path'])} {folder}", sudo=True)
        return run(shell, f"cat {folder}/{file}", sudo=True).out
    finally:
        # rmdir fails while the folder is a mount point, so its exit code covers both.
        run(shell, f"umount {folder}; rmdir {folder}", sudo=True)


def resolved(shell: Shell, parts: dict, success: str) -> str:
    """Return the installed version, "" if neither the Success line nor the disk has it.

    The installer of 2014 prints "current" instead of a version.
    """
    printed = re.search(r"\b\d+\.\d+\.\d+(\+[\w.-]+)?\b", _version_place(success))
    if printed:
        return printed[0]
    try:
        release = _read(shell, parts["USR-A"], "lib/os-release")
    except OutOfSight:
        raise
    except ShellFailed:  # its file system may be newer than this kernel
        return ""
    found = re.search(r'^VERSION="?([^"\n]+)', release, re.MULTILINE)
    return found[1] if found else ""


def _version_place(success: str) -> str:
    """Return the part of the Success line that may have a version, without a file's name."""
    return success.partition(" is installed on ")[0].partition(" (from ")[0]


def verify_disk(
    shell: Shell, parts: dict, installer: str, expected_text: str, name: str = CLOUD_CONFIG
) -> None:
    """Raise CheckFailed with a diff unless the disk has exactly this configuration.

    `name` is the file that the installer was given, "" if it was given none.
    """
    if not name:
        return
    found = installed_config(shell, parts, installer, name)
    if found != expected_text:
        diff = difference(expected_text, found)
        raise CheckFailed(
            f"The configuration on {parts['ROOT']['path']} differs from {name}",
            next_step=f"\n{diff}\nRun this stage again; make no snapshot of it.",
        )


def plan_install(
    shell: Shell,
    *,
    work_dir: str,
    volume: dict | None,
    installer: str,
    channel: str,
    version: str,
    oem: str,
    made: bool = False,
    config_format: str = "cloud-config",
    config_delivery: str = "disk",
    **source: str,
) -> list[Step]:
    """Return the step that installs on the volume's disk, none if the notes say it is done.

    `volume` is its row from the cloud; `made` is true once a snapshot or template of it exists;
    `source` is the image's source, see `images.describe`. Raises CheckFailed when the disk cannot
    be identified, or the workstation lacks an installer with all flags needed.
    """
    image = images.describe(installer, channel=channel, version=version, oem=oem, **source)
    form = configs.Form(installer, oem, config_format, config_delivery)
    image["config"] = config = form.disk_file
    noted, text = notes.read(shell, work_dir), _text(shell, work_dir, config)
    params = {"volume": str((volume or {}).get("id", "")), "sha256": sha256(text), **image}
    done = disks.note_on(noted, ("installed",), params["volume"])
    if made or (done and params == {k: done.get(k, "") for k in params}):
        return []
    if done and not _attached(volume):
        raise _differs(volume, params, done)
    _demand_installer(shell, image, config, (volume or {}).get("size"))
    params["device"] = _device(shell, noted, work_dir, volume)
    if config and not text:
        params["sha256"] = Pending(config, "20-write-cloud-config")
    why = _why(volume, image, bool(done))
    shown = {k: v for k, v in params.items() if v or k not in images.SOURCE}
    return [Step(installer, shown | {"size": (volume or {}).get("size")}, why, _name(volume))]


def _why(volume: dict | None, image: dict, done: bool) -> str:
    """Return the reason for the install, the checks made, and a warning for a small volume."""
    size, needs = (volume or {}).get("size", 0), images.NEEDS_GB[image["installer"]]
    why = "it has another image or cloud-config" if done else "nothing is installed on it"
    if _attached(volume):
        why += f"; checked: signatures, {guard.checked_parts(size)}"
    if 0 < size < needs * 10**9 and not (image["file"] or image["url"]):
        why += f"; the image may not fit: it needs {needs} GB, the volume has {size / 10**9:.1f}"
    return why


def _text(shell: Shell, work_dir: str, config: str) -> str:
    return configs.read(shell, work_dir, config).text if config else ""


def _attached(volume: dict | None) -> bool:
    return bool(volume and volume.get("virtualmachineid"))


def _differs(volume: dict, params: dict, done: dict) -> CheckFailed:
    """Return the error for a disk that is detached already and has another install."""
    expected, found = (
        ", ".join(
            f"{k} {str(v.get(k) or '(none)')[:12]}" for k in params if params[k] != done.get(k, "")
        )
        for v in (params, done)
    )
    next_step = "Set the parameters to those values, or run 90-remove-cluster and start again."
    return CheckFailed(f"the install on {volume['name']}", expected, found, next_step)


def _name(volume: dict | None) -> str:
    return volume["name"] if volume else "the volume"


def _device(shell: Shell, noted: dict, work_dir: str, volume: dict | None) -> str | Pending:
    if not _attached(volume):
        return Pending("the disk of the volume", "11-attach-volume")
    identity.demand_same(shell, volume["virtualmachineid"], volume.get("hypervisor", ""))
    began = disks.note_on(noted, ("installing",), volume["id"])
    if began and detached.is_running(shell, notes.job(work_dir)):  # its disk is in use
        return began["device"]
    return _target(shell, noted, volume)["path"]


def _target(shell: Shell, noted: dict, volume: dict) -> dict:
    """Return the row of the disk to write on; an earlier install on it must be ours."""
    row = disks.target(shell, noted, volume)
    done = disks.note_on(noted, ("installed",), volume["id"])
    if done and done.get("config") and row["children"]:
        _demand_ours(shell, row["path"], done)
    return row


def _demand_ours(shell: Shell, device: str, done: dict) -> None:
    """Raise CheckFailed unless the disk has the configuration in the notes."""
    try:
        parts = partitions(shell, device)
        found = sha256(installed_config(shell, parts, done["installer"], done["config"]))
    except (ShellFailed, CheckFailed) as failed:
        found = f"unreadable: {failed}"
    if found != done["sha256"]:
        what = f"sha256 of the configuration on {device}"
        raise CheckFailed(what, f"{done['sha256']}, that of our install", found, disks.WIPE)


def _demand_installer(shell: Shell, image: dict, config: str, size: int | None) -> None:
    """Raise CheckFailed unless root has all tools needed, and the install is safe for LVM."""
    installer = image["installer"]
    takes = images.demand_flags(shell, image, config.endswith(".ign"), size)
    rows = disks.inventory(shell) if installer == "flatcar-install" else []
    idle = sorted(r["name"] for r in disks.tree(rows) if r["type"] == "lvm" and not disks.used(r))
    if idle:
        raise CheckFailed(
            f"{installer} would deactivate LVM volumes that are active but not mounted: "
            + ", ".join(idle),
            next_step="Use a workstation without such volumes.",
        )
    btrfs = _mounts_btrfs(installer, config, takes)
    tools.demand(shell, installer, downloads=not image["file"], btrfs=btrfs)


def _mounts_btrfs(installer: str, config: str, takes: list[str]) -> bool:
    """Return whether the configuration goes onto a btrfs: OEM of Flatcar, or ROOT of 2014.

    The installer of 2014, the one without -f, mounts ROOT with `subvol=root`.
    """
    if installer == "coreos-install":
        return bool(config) and images.FLAGS["file"] not in takes
    return config.endswith(".ign")


def apply_install(
    shell: Shell,
    plan: list[Step],
    mode: str,
    *,
    work_dir: str,
    volume: dict | None,
    on_line: Callable[[str], None] = print,
    within: float = 3600.0,
) -> None:
    """Install as planned, read the configuration back, and note the install.

    Plan mode writes nothing but verifies a local image, which apply mode verifies while it writes.
    `volume` is that of the plan.
    """
    check_mode(mode)
    if mode == "plan":
        for step in plan:
            images.demand_file(shell, _image(step))
    if mode == "plan" or not plan:
        print("Plan mode: nothing was written." if plan else "Nothing to do.")
        return
    for step in plan:
        success = _install_step(shell, step, work_dir, volume, on_line, within)
        tell("done", step.command, step.what, success)


def _install_step(
    shell: Shell,
    step: Step,
    work_dir: str,
    volume: dict,
    on_line: Callable[[str], None],
    within: float,
) -> str:
    """Apply a step once no earlier installer runs any more; return the Success line."""
    p = step.params
    missing = [v for v in p.values() if isinstance(v, Pending)]
    if missing:
        raise CheckFailed(
            f"{missing[0].what} is missing", next_step=f"Run {missing[0].stage} first."
        )
    text = _text(shell, work_dir, p["config"])
    if p["config"]:
        configs.demand_present(configs.Written(f"{work_dir}/{p['config']}", text))
    _wait_for_earlier(shell, work_dir, on_line, within)
    place = _look_again(shell, notes.read(shell, work_dir), p, volume, text)
    place |= {"mark": f"{notes.job(work_dir)}/writing"}
    notes.update(shell, work_dir, installing=place, installed=None)
    image = _image(step)
    config = f"{work_dir}/{image['config']}" if image["config"] else ""
    command = images.command(image, place["device"], config)
    what = f"{step.what}, {place['device']} of {shell.name}"
    params = {k: v for k, v in place.items() if k not in NOT_JOURNALLED} | {"runs": command}
    options = {"folder": notes.job(work_dir), "within": within}
    with journalled(workstation(shell), step.command, what, params) as ended:
        ended["text"] = success = install(shell, image, place, command, on_line, **options)
        _verify_result(shell, image, work_dir, place, success, text)
    return success


def _wait_for_earlier(
    shell: Shell, work_dir: str, on_line: Callable[[str], None], within: float
) -> None:
    """Follow an earlier installer that still runs until it ends.

    Its outcome does not matter, as its output was not fully seen: the disk is written again from
    its beginning.
    """
    folder = notes.job(work_dir)
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


def _image(step: Step) -> dict:
    """Return the image of a step, which leaves out empty values of its source."""
    return dict.fromkeys(images.SOURCE, "") | {"installer": step.command} | step.params


def _look_again(shell: Shell, noted: dict, p: dict, volume: dict, text: str) -> dict:
    """Read the disks again right before writing; return the note `installing`."""
    row = _target(shell, noted, volume)
    if (row["path"], sha256(text)) != (p["device"], p["sha256"]):
        changed = f"{row['path']}, cloud-config {sha256(text)[:8]}"
        planned = f"{p['device']}, cloud-config {p['sha256'][:8]}"
        raise CheckFailed("disk and cloud-config", planned, changed, "Run the Plan cells again.")
    return p | {"device": row["path"], "disk": disks.identity(row), "look": row["look"]}


def _verify_result(
    shell: Shell, image: dict, work_dir: str, place: dict, success: str, text: str
) -> None:
    """Verify the disk, flush it, and note the install as done."""
    device, folder = place["device"], notes.job(work_dir)
    parts = partitions(shell, device)
    verify_disk(shell, parts, image["installer"], text, image["config"])
    disks.flush(shell, device)
    result = {"success": success, "resolved": resolved(shell, parts, success)}
    result |= _provenance(shell, image, detached.log(shell, folder))
    facts.add(
        installer=image["installer"],
        channel=image["channel"],
        version=result["resolved"],
        installed=success,
        installer_sha256=_checksum(shell, image["installer"]),
        cloud_config_sha256=image["sha256"],
        **{k: result[k] for k in ("image_checksum", "signed_by")},
    )
    done = {k: v for k, v in place.items() if k not in ("look", "mark")} | result
    notes.update(shell, work_dir, installing=None, installed=done)
    detached.forget(shell, folder)


def _provenance(shell: Shell, image: dict, output: str) -> dict:
    """Return the image's checksum and signer, in words where they are unknown."""
    if image["file"]:
        signed = "nobody: a local file, verified by its sha256"
        return {"image_checksum": f"sha256 {image['image_sha256']}", "signed_by": signed}
    signed, fetched = SIGNED.search(output), FETCHED.search(output)
    checksum = _published(shell, fetched[1]) if fetched else ""
    checksum = (
        checksum or "unknown: the installer itself downloads the image and checks its signature"
    )
    return {"image_checksum": checksum, "signed_by": f"key {signed[1]}" if signed else "unknown"}


def _published(shell: Shell, url: str) -> str:
    """Return the checksum that is published beside an image, "" if none is."""
    fetch = f"timeout 40 wget -q -T 15 -t 2 -O - {shlex.quote(url)}.DIGESTS"
    listed = run(shell, fetch, ok=tuple(range(256))).out  # only for the record
    name = re.escape(url.rpartition("/")[2])
    found = re.search(rf"^([0-9a-f]{{128}}) +\*?{name}$", listed, re.MULTILINE)
    return f"sha512 {found[1]}, from {url}.DIGESTS" if found else ""


def _checksum(shell: Shell, installer: str) -> str:
    """Return the sha256 of the installer itself, which verifies its image."""
    return run(shell, f"sh -c 'sha256sum <\"$(command -v {installer})\"'", sudo=True).out[:64]


def verify(shell: Shell, *, work_dir: str, volume: dict | None, made: bool, mode: str) -> None:
    """Read the configuration back from the installed disk while it is attached."""
    check_mode(mode)
    noted = notes.read(shell, work_dir)
    done = disks.note_on(noted, ("installed",), (volume or {}).get("id", ""))
    if done and mode == "apply":
        settle_volume(workstation(shell), done["volume"], done["success"])
    if mode == "plan" or made or not done or not volume.get("virtualmachineid"):
        return print("Nothing to read back: no installed disk is attached, or its snapshot exists.")
    device = disks.target(shell, noted, volume)["path"]
    config = done.get("config", CLOUD_CONFIG)
    parts = partitions(shell, device)
    verify_disk(shell, parts, done["installer"], _text(shell, work_dir, config), config)
    what = f"has {config}, byte for byte" if config else "has no configuration from us"
    listed = ", ".join(f"{label} {p['path']}" for label, p in parts.items())
    print(f"✓ {device} {what}\n✓ its partitions: {listed}")
    facts = {"version": "resolved", "checksum of the image": "image_checksum"}
    facts |= {"signed by": "signed_by"}
    print("\n".join(f"· {k}: {done[v] or 'unknown'}" for k, v in facts.items() if v in done))
