"""The installers of CoreOS and Flatcar: run on the volume's disk, and what they wrote is proved."""

import hashlib
import re
import shlex
from collections.abc import Callable

from lib import cloudconfig, delivery, detached, disks, facts, hosts, notes, preflight
from lib.cloudconfig import CLOUD_CONFIG
from lib.errors import CheckFailed, ParamsError, ShellFailed
from lib.plan import Pending, Step, check_mode
from lib.progress import tell
from lib.shell import Shell, run

CHANNELS = {
    "coreos-install": ("stable", "beta", "alpha"),
    "flatcar-install": ("stable", "beta", "alpha", "lts"),
}
PRODUCTS = {
    "coreos-install": r"CoreOS(?: Container Linux)?",
    "flatcar-install": "Flatcar Container Linux",
}
USER_DATA = {
    "coreos-install": "var/lib/coreos-install/user_data",
    "flatcar-install": "var/lib/flatcar-install/user_data",
}
ROOT, OEM, USR = (
    ("ROOT", 9),
    ("OEM", 6),
    ("USR-A", 3),
)  # label and number of a partition, in every image of both


def command_line(
    installer: str, device: str, *, channel: str, version: str, oem: str, config_path: str
) -> str:
    """Return the installer's command; `version` "current" and `oem` "" leave their flags off.

    So does `config_path` ""; one that ends in .ign is an Ignition config.

    Raises ParamsError for an installer, channel, version or OEM that cannot be.
    """
    if installer not in CHANNELS:
        raise ParamsError("installer", " or ".join(CHANNELS), installer)
    if channel not in CHANNELS[installer]:
        raise ParamsError("channel", " or ".join(CHANNELS[installer]), channel)
    if not re.fullmatch(r"current(-\d+)?|\d+\.\d+\.\d+(\+[\w.-]+)?", version):
        raise ParamsError("image_version", '"current" or a version such as 367.1.0', version)
    if not re.fullmatch(r"\w*", oem, re.ASCII):
        raise ParamsError("oem", '"" or a name such as cloudstack', oem)
    words = [installer, "-d", device, "-C", channel]
    words += ["-V", version] if version != "current" else []
    words += ["-o", oem] if oem else []
    flag = "-i" if config_path.endswith(".ign") else "-c"
    return shlex.join([*words, *([flag, config_path] if config_path else [])])


def install(
    shell: Shell,
    installer: str,
    device: str,
    command: str,
    on_line: Callable[[str], None] = print,
    *,
    folder: str,
    guard: str = "true",
    joins: bool = False,
    within: float = 3600.0,
) -> str:
    """Run the installer's command, passing on each line, and return its Success line.

    It goes on by itself in the `folder` if the connection breaks; with `joins` one that runs there
    already, or has ended well, is taken up. `guard` must succeed just before it. Raises ShellFailed
    unless it ends with 0 and names exactly this device as installed; the error says what state
    the disk is in.
    """
    try:
        if not joins:
            detached.start(shell, folder, f"{guard} && exec {command}", within=within)
        done = detached.follow(shell, folder, on_line, within=within)
    except detached.OutOfSight:
        raise
    except ShellFailed as failed:
        if shell.remote and failed.rc == 255:  # whether it was started is not known
            raise
        state = f"{failed.next_step} {_state(failed.said, device)}".strip()
        raise ShellFailed(command, failed.rc, failed.said, state) from None
    success = rf"Success! {PRODUCTS[installer]} .* is installed on {re.escape(device)}"
    found = [line for line in done.out.splitlines() if re.fullmatch(success, line.strip())]
    if len(found) == 1:
        return found[0].strip()
    missing = f"No line says that it is installed on {device}. "
    raise ShellFailed(command, 0, done.out, missing + _state(done.out, device))


def _state(said: str, device: str) -> str:
    """Say what a failed installer left; both announce the writing before they begin it."""
    if re.search(r"\bwriting\b", said, re.IGNORECASE):
        return f"{device} is wiped or half written: no snapshot of it. Run this stage again."
    return f"{device} is untouched: it failed before it wrote. Run this stage again when mended."


def installed_config(shell: Shell, device: str, installer: str, name: str = "") -> str:
    """Return the configuration that the installer put on the disk, mounted for it read-only.

    `name` is the file that it was given.
    """
    is_ignition = name.endswith(".ign")
    part = _partition(shell, device, *(OEM if is_ignition else ROOT))
    file = "config.ign" if is_ignition else USER_DATA[installer]
    is_old_root = part.get("fstype") == "btrfs" and not is_ignition
    options = "ro,subvol=root" if is_old_root else "ro"
    return _read(shell, part["path"], options, file)


def _read(shell: Shell, path: str, options: str, file: str) -> str:
    """Return what a file holds on a partition that is mounted for it."""
    folder = shlex.quote(run(shell, "mktemp -d").out.strip())
    try:
        run(shell, f"mount -o {options} {shlex.quote(path)} {folder}", sudo=True)
        return run(shell, f"cat {folder}/{file}", sudo=True).out
    finally:
        # rmdir refuses while something is mounted there, so its exit code tells of both.
        run(shell, f"umount {folder}; rmdir {folder}", sudo=True)


def resolved(shell: Shell, device: str, success: str) -> str:
    """Return the version that is installed, "" if neither the Success line nor the disk tells it.

    The installer of 2014 says "current", which tells nobody later what that was.
    """
    said = re.search(r"\b\d+\.\d+\.\d+(\+[\w.-]+)?\b", success.partition(" is installed on ")[0])
    if said:
        return said[0]
    try:
        about = _read(shell, _partition(shell, device, *USR)["path"], "ro", "lib/os-release")
    except (ShellFailed, CheckFailed):  # its file system may be newer than this kernel
        return ""
    found = re.search(r'^VERSION="?([^"\n]+)', about, re.MULTILINE)
    return found[1] if found else ""


def _partition(shell: Shell, device: str, label: str, number: int) -> dict:
    run(shell, "if command -v udevadm >/dev/null; then udevadm settle; fi")
    rows = [r for r in disks.inventory(shell) if r["path"] == device]
    parts = disks.probed(shell, [p for r in rows for p in r["children"]])
    found = [p for p in parts if label in (p.get("partlabel"), p.get("label"))]
    if len(found) == 1 and re.search(rf"\D{number}$", found[0]["path"]):
        return found[0]
    listed = ", ".join(f"{p['path']} {p.get('partlabel') or ''}".strip() for p in parts) or "none"
    raise CheckFailed(f"partitions of {device}", f"one {label}, number {number}", listed)


def verify_disk(
    shell: Shell, device: str, installer: str, expected_text: str, name: str = CLOUD_CONFIG
) -> None:
    """Raise CheckFailed with the difference unless the disk carries exactly this configuration.

    It was given to the installer as the file `name`; "" is for none, of which nothing can differ.
    """
    if not name:
        return
    found = installed_config(shell, device, installer, name)
    if found != expected_text:
        shown = cloudconfig.difference(expected_text, found)
        raise CheckFailed(
            f"the configuration on {device}",
            f"that of {name}",
            "another",
            f"\n{shown}\nRun this stage again; make no snapshot of it.",
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
) -> list[Step]:
    """Return the step that installs on the volume's disk, none if the notes tell it is done.

    `volume` is its row from the cloud; `made` says that something made from it is there already.
    Raises CheckFailed when the disk cannot be told or the workstation lacks the installer.
    """
    image = {"installer": installer, "channel": channel, "version": version, "oem": oem}
    image["config"] = config = delivery.disk_file(config_format, config_delivery)
    _command("/dev/null", image, "")  # refuses impossible parameters before anything is asked
    noted, text = notes.read(shell, work_dir), _text(shell, work_dir, config)
    params = {"volume": str((volume or {}).get("id", "")), "sha256": sha256(text), **image}
    done = disks.about(noted, ("installed",), params["volume"])
    if made or (done and params == {k: done.get(k) for k in params}):
        return []
    if done and not _attached(volume):
        raise _differs(volume, params, done)
    _demand_installer(shell, installer)
    params["device"] = _device(shell, noted, work_dir, volume)
    if config and not text:
        params["sha256"] = Pending(config, "20-write-cloud-config")
    why = "it carries another image or cloud-config" if done else "nothing is installed on it"
    return [Step(installer, params | {"size": (volume or {}).get("size")}, why, _name(volume))]


def _text(shell: Shell, work_dir: str, config: str) -> str:
    return cloudconfig.current(shell, work_dir, config) if config else ""


def _attached(volume: dict | None) -> bool:
    return bool(volume and volume.get("virtualmachineid"))


def _differs(volume: dict, params: dict, done: dict) -> CheckFailed:
    """Return the error for a disk that is detached already and carries something else."""
    wanted, found = (
        ", ".join(f"{k} {str(v.get(k))[:12]}" for k in params if params[k] != done.get(k))
        for v in (params, done)
    )
    next_step = "Set the parameters to what it carries, or run 90-remove-cluster and begin anew."
    return CheckFailed(f"what {volume['name']} carries", wanted, found, next_step)


def _name(volume: dict | None) -> str:
    return volume["name"] if volume else "the volume"


def sha256(text: str) -> str:
    """Return the SHA-256 of a text as hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def _command(device: str, image: dict, work_dir: str) -> str:
    flags = {k: image[k] for k in ("channel", "version", "oem")}
    config = cloudconfig.path(work_dir, image["config"]) if image["config"] else ""
    return command_line(image["installer"], device, config_path=config, **flags)


def _device(shell: Shell, noted: dict, work_dir: str, volume: dict | None) -> str | Pending:
    if not _attached(volume):
        return Pending("the disk of the volume", "11-attach-volume")
    began, running = at_work(shell, noted, work_dir, str(volume["id"]))
    if running:  # its disk is in use, as it must be
        return began["device"]
    hosts.demand_same(shell, volume["virtualmachineid"], volume.get("hypervisor", ""))
    return disks.target(shell, noted, volume_id=volume["id"], size=volume["size"])


def _demand_installer(shell: Shell, installer: str) -> None:
    """Raise CheckFailed unless root finds the installer, and it can do no harm to LVM."""
    if run(shell, f"sh -c 'command -v {installer}'", sudo=True, ok=(0, 1, 127)).rc:
        raise CheckFailed(
            f"{installer} on the workstation",
            "on root's PATH",
            "absent",
            "Put it in /usr/local/bin there and make it executable.",
        )
    rows = disks.inventory(shell) if installer == "flatcar-install" else []
    idle = sorted(r["name"] for r in disks.tree(rows) if r["type"] == "lvm" and not disks.used(r))
    if idle:
        raise CheckFailed(
            "LVM volumes of the workstation",
            "none that are active but not mounted",
            ", ".join(idle),
            f"{installer} would deactivate them: use a workstation without them.",
        )
    preflight.demand(shell, installer)


def apply_install(
    shell: Shell,
    plan: list[Step],
    mode: str,
    *,
    work_dir: str,
    on_line: Callable[[str], None] = print,
    within: float = 3600.0,
) -> None:
    """Install as planned, read the cloud-config back, and note it; in plan mode do nothing."""
    check_mode(mode)
    if mode == "plan" or not plan:
        print("Plan mode: nothing was written." if plan else "Nothing to do.")
        return
    for step in plan:
        success = _install_step(shell, step, work_dir, on_line, within)
        tell("done", step.command, step.what, success)


def _install_step(
    shell: Shell, step: Step, work_dir: str, on_line: Callable[[str], None], within: float
) -> str:
    """Do one step, or take up the installer that is at it; return the Success line."""
    p = step.params
    missing = [v for v in p.values() if isinstance(v, Pending)]
    if missing:
        raise CheckFailed(missing[0].what, "there", "absent", f"Run {missing[0].stage} first.")
    text = _text(shell, work_dir, p["config"])
    if p["config"]:
        cloudconfig.demand_present(text, cloudconfig.path(work_dir, p["config"]))
    noted = notes.read(shell, work_dir)
    began, running = at_work(shell, noted, work_dir, p["volume"])
    joins = _is_same(began, p, running)
    place = began if running else _look_again(shell, noted, p, text)
    if not joins:
        notes.update(shell, work_dir, installing=place, installed=None)
    command, device = _command(place["device"], p, work_dir), place["device"]
    options = {"folder": notes.job(work_dir), "guard": disks.guard(place), "joins": joins}
    success = install(shell, step.command, device, command, on_line, **options, within=within)
    _prove(shell, step, work_dir, place, success, text)
    return success


def at_work(shell: Shell, noted: dict, work_dir: str, volume_id: str) -> tuple[dict, bool]:
    """Return the note of the installer that runs, or ended well unseen, and whether it runs."""
    began = disks.about(noted, ("installing",), volume_id)
    job = detached.look(shell, notes.job(work_dir)) if began else None
    if job and (job.running or job.rc == 0):
        return began, job.running
    return {}, False


def _is_same(began: dict, p: dict, running: bool) -> bool:
    """Tell whether what was begun is what is wanted; another one that still runs is an error."""
    other = [k for k in p if began and began.get(k) != p[k]]
    if running and other:
        raise CheckFailed(
            "the installer that runs on the workstation",
            ", ".join(f"{k} {p[k]}" for k in other),
            ", ".join(f"{k} {began.get(k)}" for k in other),
            "Wait for its end, then run this stage again.",
        )
    return bool(began) and not other


def _look_again(shell: Shell, noted: dict, p: dict, text: str) -> dict:
    """Look at the disks just before they are written on; return what is to be noted of it."""
    row = disks.target_row(shell, noted, volume_id=p["volume"], size=p["size"])
    if (row["path"], sha256(text)) != (p["device"], p["sha256"]):
        changed = f"{row['path']}, cloud-config {sha256(text)[:8]}"
        planned = f"{p['device']}, cloud-config {p['sha256'][:8]}"
        raise CheckFailed("disk and cloud-config", planned, changed, "Plan again.")
    return p | {"device": row["path"], "disk": disks.identity(row)}


def _prove(shell: Shell, step: Step, work_dir: str, place: dict, success: str, text: str) -> None:
    """Compare what the disk carries, and note the install as done."""
    p, device = step.params, place["device"]
    try:
        verify_disk(shell, device, step.command, text, p["config"])
    except CheckFailed:
        detached.forget(shell, notes.job(work_dir))  # so that it is not taken up again
        raise
    version = resolved(shell, device, success)
    image = {"installer": step.command, "channel": p["channel"], "version": version}
    image |= {"installed": success, "installer_sha256": _checksum(shell, step.command)}
    facts.note(**image, cloud_config_sha256=p["sha256"])
    done = p | place | {"success": success, "resolved": version}
    notes.update(shell, work_dir, installing=None, installed=done)
    detached.forget(shell, notes.job(work_dir))


def _checksum(shell: Shell, installer: str) -> str:
    """Return the sha256 of the installer itself, which checks the signature of its image."""
    return run(shell, f"sh -c 'sha256sum $(command -v {installer})'", sudo=True).out[:64]


def verify(shell: Shell, *, work_dir: str, volume: dict | None, made: bool, mode: str) -> None:
    """Read the cloud-config back from the installed disk, while it is still attached."""
    check_mode(mode)
    noted = notes.read(shell, work_dir)
    done = disks.about(noted, ("installed",), (volume or {}).get("id", ""))
    if mode == "plan" or made or not done or not volume.get("virtualmachineid"):
        return print("Nothing to read back: no installed disk is attached, or it has served.")
    device = disks.target(shell, noted, volume_id=volume["id"], size=volume["size"])
    config = done.get("config", CLOUD_CONFIG)
    verify_disk(shell, device, done["installer"], _text(shell, work_dir, config), config)
    what = f"carries {config}, byte for byte" if config else "was given no configuration"
    print(f"✓ {device} {what}")
