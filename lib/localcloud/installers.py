"""Stand-ins for coreos-install (June 2014) and flatcar-install (today).

Options, order of checks, texts and exit codes are theirs, and so is what they do not do: neither
looks whether the disk is in use or holds data. The download is simulated, but takes time; the
partition table, the user data and a note of what the image is are really written.
"""

from __future__ import annotations

import getopt
import json
import os
import re
import signal
import sys
import time
from typing import NamedTuple

from . import devices, disks
from .devices import Failed, Node

DOWNLOAD, WRITE = 150.0, 40.0  # seconds at scale 1
IMAGE_KIB = 167 * 1024
STEPS = 20  # progress lines of a download
SMALLEST = 10_000_000_000  # bytes a disk must have more than for flatcar-install -s
SIGNED = 'gpg: Good signature from "CoreOS Buildbot (Offical Builds) <buildbot@coreos.com>"'
OEMS = {"", "cloudstack", "openstack", "vmware", "vmware_raw", "ec2", "gce", "azure", "vagrant"}


class Generation(NamedTuple):
    """In what the images of two times differ: file systems, layout, names, current versions."""

    ident: str
    brand: str
    layout: tuple
    root_fs: str
    oem_fs: str
    usr_fs: str
    url: str
    current: dict[str, str]


COREOS = Generation(
    "coreos",
    "CoreOS",
    disks.COREOS_2014,
    "btrfs",
    "ext4",
    "ext2",
    "http://{channel}.release.core-os.net/amd64-usr/{version}/coreos_production_{oem}image.bin.bz2",
    {"alpha": "379.3.0", "beta": "367.1.0", "stable": "367.1.0"},
)
FLATCAR = Generation(
    "flatcar",
    "Flatcar Container Linux",
    disks.FLATCAR,
    "ext4",
    "btrfs",
    "btrfs",
    "https://{channel}.release.flatcar-linux.net/{board}/{version}/"
    "flatcar_production_{oem}image.bin.bz2",
    {"alpha": "4628.0.0", "beta": "4547.1.0", "stable": "4459.2.0", "lts": "4081.3.6"},
)


class Order(NamedTuple):
    """What is to be installed where; `shown` is the version in the Success line."""

    disk: Node
    channel: str
    version: str
    shown: str
    oem: str
    url: str
    cloud_config: bytes | None
    ignition: bytes | None = None

    @property
    def image(self) -> str:
        """The image's file name."""
        return self.url.rpartition("/")[2]


def coreos_install(home: str, args: list[str]) -> int:
    """Write CoreOS to a disk as the script of June 2014 does; return 0."""
    given = _options("coreos-install", args, "d:V:C:o:c:t:vh")
    if "h" in given:
        return _usage("coreos-install", "-d DEVICE [-V VERSION] [-C CHANNEL] [-o OEM] [-c CLOUD]")
    order = _order(home, "coreos-install", COREOS, given, "beta")
    scale = _time_scale(home)
    say(f"Downloading and verifying {order.image}...")
    _download(order, scale)
    say(
        'gpg: Good signature from "CoreOS Buildbot (Offical Builds) <buildbot@coreos.com>"',
        err=True,
    )
    say(f"Writing {order.image} to {order.disk['path']}...")
    _write_table(order, COREOS, "\nbunzip2: No space left on device")
    time.sleep(WRITE * scale)
    _fill(order, COREOS)
    say(f"  /tmp/coreos-install.{os.getpid():010d}/{order.image}: done", err=True)
    _reread(order.disk)
    _configure(order, COREOS)
    return _success(order, COREOS)


def flatcar_install(home: str, args: list[str]) -> int:
    """Write Flatcar to a disk as today's script does; a failure after the start leaves it wiped."""
    given = _options("flatcar-install", args, "d:V:B:C:I:e:o:c:i:b:k:f:t:nsDuyvh")
    if "h" in given:
        return _usage(
            "flatcar-install", "-d DEVICE|-s [-V VERSION] [-C CHANNEL] [-o OEM] [-c|-i FILE]"
        )
    if {"D", "f"} & set(given):
        raise Failed(1, "flatcar-install: -D and -f are not there on this workstation: no download")
    if "s" in given and "d" not in given:
        given["d"] = _smallest(home)
    order = _order(home, "flatcar-install", FLATCAR, given, "stable")
    if "y" in given:
        return _dry_run(order)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _write_flatcar(order, _time_scale(home))
    except BaseException as error:
        rc = error.rc if isinstance(error, Failed) else 143
        say(f'Error: return code {rc} from write_to_disk "{order.disk["path"]}"', err=True)
        disks.wipe(order.disk["file"])
        raise
    return _success(order, FLATCAR)


def _write_flatcar(order: Order, scale: float) -> None:
    if order.cloud_config is not None:
        say("coreos-cloudinit not found. Could not validate config. Continuing...", err=True)
    say(f"Downloading the signature for {order.url}...")
    say(f"Downloading, writing and verifying {order.image}...")
    _write_table(order, FLATCAR, "\nwrite_to_disk: Failed writing image to disk")
    _download(order, scale)
    time.sleep(WRITE * scale)
    _fill(order, FLATCAR)
    _reread(order.disk)
    _configure(order, FLATCAR)


def say(line: str, *, err: bool = False) -> None:
    """Print a line at once, for whoever watches."""
    print(line, file=sys.stderr if err else sys.stdout, flush=True)


def _options(program: str, args: list[str], short: str) -> dict[str, str]:
    """Return the options by letter, refusing others in bash's words."""
    try:
        found, _ = getopt.getopt(args, short)
    except getopt.GetoptError as error:
        what = "option requires an argument" if "requires" in error.msg else "illegal option"
        raise Failed(1, f"{program}: {what} -- {error.opt}") from None
    return {key[1:]: value for key, value in found}


def _usage(program: str, options: str) -> int:
    say(f"Usage: {program} {options}\nInstalls an image onto a whole disk.")
    return 0


def _order(
    home: str, program: str, generation: Generation, given: dict[str, str], channel: str
) -> Order:
    """Check what is asked for, in the script's order; raises Failed with its words."""

    def refuse(text: str) -> Failed:
        return Failed(1, f"{program}: {text}")

    disk = _disk(home, given.get("d"), refuse)
    for letter, kind in (("c", "Cloud config"), ("i", "Ignition config")):
        if letter in given and not os.path.isfile(given[letter]):
            raise refuse(f"{kind} file ({given[letter]}) does not exist.")
    channel, oem = given.get("C", channel), given.get("o", "")
    wanted = given.get("V", "current")
    url = _url(generation, given, channel, wanted, oem)
    version = generation.current.get(channel) if wanted == "current" else wanted
    known = "b" in given or channel in generation.current
    if generation is FLATCAR and wanted == "current" and not known:
        raise refuse(f"version.txt unavailable: {os.path.dirname(url)}/version.txt")
    if not known or oem not in OEMS or not re.fullmatch(r"\d+\.\d+\.\d+", version or "0.0.0"):
        raise refuse(f"Image URL unavailable: {url}")
    version = version or generation.current["stable"]
    shown = wanted if generation is COREOS else version
    return Order(disk, channel, version, shown, oem, url, _read(given, "c"), _read(given, "i"))


def _disk(home: str, path: str | None, refuse) -> Node:
    if not path:
        raise refuse("No target block device provided, -d is required.")
    node = devices.find(home, path)
    if not node or node["type"] != "disk":
        raise refuse(f"Target block device ({path}) is not a full disk.")
    if not node["file"]:  # the disk this workstation runs from: there is nothing to write to
        raise refuse(f"Target block device ({path}) is not writable (are you root?)")
    return node


def _url(generation: Generation, given: dict, channel: str, version: str, oem: str) -> str:
    if generation is FLATCAR and version == "current":
        version = generation.current.get(channel, version)
    named = {"channel": channel, "version": version, "oem": f"{oem}_" if oem else ""}
    url = generation.url.format(board=given.get("B", "amd64-usr"), **named)
    if "b" in given:  # a base replaces all up to the version
        url = "/".join([given["b"].rstrip("/"), *url.split("/")[-2:]])
    return url


def _read(given: dict[str, str], letter: str) -> bytes | None:
    if letter not in given:
        return None
    with open(given[letter], "rb") as file:
        return file.read()


def _smallest(home: str) -> str | None:
    fit = [d for d in devices.inventory(home) if d["size"] > SMALLEST and not devices.in_use(d)]
    return min(fit, key=lambda d: d["size"])["path"] if fit else None


def _dry_run(order: Order) -> int:
    say(f"Dry run: {order.url} would be written to {order.disk['path']}")
    return 0


def _time_scale(home: str) -> float:
    """Return how long a simulated second takes: the server's scale as it is now."""
    try:
        with open(os.path.join(home, "time-scale")) as file:
            return float(file.read())
    except FileNotFoundError:
        return 0.005


def _download(order: Order, scale: float) -> None:
    """Print what wget does while the image comes, over the time that this takes."""
    say(f"--{time.strftime('%Y-%m-%d %H:%M:%S')}--  {order.url}", err=True)
    for step in range(STEPS):
        time.sleep(DOWNLOAD * scale / STEPS)
        left = DOWNLOAD * (STEPS - step - 1) / STEPS
        done, percent = IMAGE_KIB * step // STEPS, 100 * (step + 1) // STEPS
        say(f"{done:6}K {' '.join(['........'] * 6)} {percent:3}% 1.11M {left:.0f}s", err=True)


def _write_table(order: Order, generation: Generation, full: str) -> None:
    """Write what comes first in an image; Failed if the rest would not fit."""
    file, size = order.disk["file"], disks.plan_layout(generation.layout)[1]
    disks.write_image(file, generation.layout)
    if order.disk["size"] < size:
        why = "I/O or other error, bailing out.  Possible reason follows."
        raise Failed(1, f"bunzip2: {why}{full}")


def _fill(order: Order, generation: Generation) -> None:
    """Put the image's file systems in: empty, but for the notes of what it is."""
    about = f"NAME={json.dumps(generation.brand)}\nID={generation.ident}\nVERSION={order.version}\n"
    oem = {}
    if order.oem:
        oem["oem-release"] = f"ID={order.oem}\nVERSION_ID={order.version}\n".encode()
        oem["grub.cfg"] = f'set oem_id="{order.oem}"\n'.encode()
    file = order.disk["file"]
    disks.put_tree(file, 1, {}, kind="vfat", label="EFI-SYSTEM")
    disks.put_tree(
        file, 3, {"lib/os-release": about.encode()}, kind=generation.usr_fs, label="USR-A"
    )
    disks.put_tree(file, 6, oem, kind=generation.oem_fs, label="OEM")
    disks.put_tree(file, 9, {}, kind=generation.root_fs, label="ROOT")


def _reread(disk: Node) -> None:
    if devices.in_use(disk):
        raise Failed(1, "blockdev: ioctl error on BLKRRPART: Device or resource busy")


def _configure(order: Order, generation: Generation) -> None:
    """Put the configuration where a machine that boots the disk looks for it."""
    file, folder = order.disk["file"], f"var/lib/{generation.ident}-install"
    if order.cloud_config is not None:
        say("Installing cloud-config...")
        name = f"{folder}/user_data"
        modes = {folder: 0o700, name: 0o600}
        files = {name: order.cloud_config}
        disks.put_tree(file, 9, files, kind=generation.root_fs, label="ROOT", modes=modes)
    if order.ignition is not None:
        say("Installing Ignition config...")
        oem = disks.tree(file, 6) | {"config.ign": order.ignition}
        disks.put_tree(file, 6, oem, kind=generation.oem_fs, label="OEM")


def _success(order: Order, generation: Generation) -> int:
    what = f"{generation.brand} {order.channel} {order.shown}"
    oem = f" ({order.oem})" if order.oem else ""
    say(f"Success! {what}{oem} is installed on {order.disk['path']}")
    return 0


PROGRAMS = {"coreos-install": coreos_install, "flatcar-install": flatcar_install}
