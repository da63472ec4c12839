"""The installers of CoreOS and Flatcar: run on the volume's disk, and what they wrote is proved."""

import hashlib
import re
import shlex
from collections.abc import Callable

from lib import cloudconfig, delivery, disks, facts, notes
from lib.cloudconfig import CLOUD_CONFIG
from lib.errors import CheckFailed, ParamsError, ShellFailed
from lib.plan import Pending, Step, check_mode
from lib.progress import tell
from lib.shell import Shell, run, stream

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
ROOT, OEM = ("ROOT", 9), ("OEM", 6)  # label and number of a partition, in every image of both


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
    within: float = 3600.0,
) -> str:
    """Run the installer's command, passing on each line, and return its Success line.

    Raises ShellFailed unless it ends with 0 and names exactly this device as installed; the error
    says what state the disk is in.
    """
    try:
        done = stream(shell, command, on_line, sudo=True, within=within)
    except ShellFailed as failed:
        state = _state(failed.said, device)
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
    folder = shlex.quote(run(shell, "mktemp -d").out.strip())
    try:
        run(shell, f"mount -o {options} {shlex.quote(part['path'])} {folder}", sudo=True)
        return run(shell, f"cat {folder}/{file}", sudo=True).out
    finally:
        # rmdir refuses while something is mounted there, so its exit code tells of both.
        run(shell, f"umount {folder}; rmdir {folder}", sudo=True)


def _partition(shell: Shell, device: str, label: str, number: int) -> dict:
    run(shell, "if command -v udevadm >/dev/null; then udevadm settle; fi")
    rows = [r for r in disks.inventory(shell) if r["path"] == device]
    parts = [p for r in rows for p in r["children"]]
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
    params["device"] = _device(shell, noted, volume)
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


def _device(shell: Shell, noted: dict, volume: dict | None) -> str | Pending:
    if not _attached(volume):
        return Pending("the disk of the volume", "11-attach-volume")
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
    """Do one step, looking at the disks again just before it writes; return the Success line."""
    p = step.params
    missing = [v for v in p.values() if isinstance(v, Pending)]
    if missing:
        raise CheckFailed(missing[0].what, "there", "absent", f"Run {missing[0].stage} first.")
    text = _text(shell, work_dir, p["config"])
    if p["config"]:
        cloudconfig.demand_present(text, cloudconfig.path(work_dir, p["config"]))
    noted = notes.read(shell, work_dir)
    row = disks.target_row(shell, noted, volume_id=p["volume"], size=p["size"])
    if (row["path"], sha256(text)) != (p["device"], p["sha256"]):
        changed = f"{row['path']}, cloud-config {sha256(text)[:8]}"
        planned = f"{p['device']}, cloud-config {p['sha256'][:8]}"
        raise CheckFailed("disk and cloud-config", planned, changed, "Plan again.")
    place = {"volume": p["volume"], "device": row["path"], "disk": disks.identity(row)}
    notes.update(shell, work_dir, installing=place, installed=None)
    command = _command(row["path"], p, work_dir)
    success = install(shell, step.command, row["path"], command, on_line, within=within)
    verify_disk(shell, row["path"], step.command, text, p["config"])
    image = {"installer": step.command, "channel": p["channel"], "installed": success}
    facts.note(
        **image, installer_sha256=_checksum(shell, step.command), cloud_config_sha256=p["sha256"]
    )
    notes.update(shell, work_dir, installing=None, installed=p | place | {"success": success})
    return success


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
