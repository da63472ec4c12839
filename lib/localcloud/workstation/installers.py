"""Stand-ins for coreos-install (June 2014) and flatcar-install (today).

Options, order of checks, texts and exit codes are those of the originals. Like these, they do not
check whether the disk is in use or has data. The download is simulated but takes time; the
partition table, the user data and a note on the image are really written.
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

from . import devices, images
from .devices import Failed, Node

DOWNLOAD, WRITE = 150.0, 40.0  # seconds at scale 1
IMAGE_KIB = 167 * 1024
STEPS = 20  # progress lines of a download
SMALLEST = 10_000_000_000  # bytes a disk must have more than for flatcar-install -s
SIGNED = """\
gpg: Signature made {at} using RSA key ID 74E7E361
gpg: Good signature from "CoreOS Buildbot (Offical Builds) <buildbot@coreos.com>\""""
SIGNED_TODAY = """\
gpg: Signature made {at}
gpg:                using RSA key 52F145DFD00BBDCD928CBB5A32DA80F91EF52974
gpg: Good signature from "Flatcar Buildbot (Official Builds) <buildbot@flatcar-linux.org>\""""
USAGE_2014 = """\
Usage: coreos-install [-V version] [-d /dev/device]
Options:
    -d DEVICE   Install CoreOS to the given device.
    -V VERSION  Version to install (e.g. current) [default: current]
    -C CHANNEL  Release channel to use (e.g. beta) [default: beta]
    -o OEM      OEM type to install (e.g. openstack) [default: (none)]
    -c CLOUD    Insert a cloud-init config to be executed on boot.
    -t TMPDIR   Temporary location with enough space to download images.
    -v          Super verbose, for debugging.
    -h          This ;-)"""
USAGE_TODAY = """\
Usage: flatcar-install {-d <device>|-s} [options]
Options:
    -d DEVICE   Install Flatcar Container Linux to the given device.
    -s          Install to the smallest unmounted disk (larger than 10 GB).
    -V VERSION  Version to install [default: current].
    -B BOARD    Board to use [default: amd64-usr].
    -C CHANNEL  Release channel to use [default: stable].
    -I|e <M,..> Used with -s: major device numbers to in-/exclude.
    -o OEM      OEM type to install [default: (none)].
    -c CLOUD    Insert a cloud-init config to be executed on boot.
    -i IGNITION Insert an Ignition config to be executed on boot.
    -b BASEURL  URL to the image mirror (overrides BOARD and CHANNEL).
    -k KEYFILE  Override default GPG key for verifying image signature.
    -f IMAGE    Install unverified local image file to disk instead of fetching.
    -n          Copy generated network units to the root partition.
    -u          Create UEFI boot entry
    -y          Dry-run.  Run some checks and print option settings.
    -v          Super verbose, for debugging.
    -h          This ;-)."""
NO_DEVICE = {
    "coreos-install": "No target block device provided, -d is required.",
    "flatcar-install": "No target block device provided, either -d or -s is required. "
    "Or use -D to download image.",
}
OEMS = {"", "cloudstack", "openstack", "vmware", "vmware_raw", "ec2", "gce", "azure", "vagrant"}


class Generation(NamedTuple):
    """The differences between the images: file systems, layout, names, current versions."""

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
    images.COREOS_2014,
    "btrfs",
    "ext4",
    "ext2",
    "http://{channel}.release.core-os.net/amd64-usr/{version}/coreos_production_{oem}image.bin.bz2",
    {"alpha": "379.3.0", "beta": "367.1.0", "stable": "367.1.0"},
)
FLATCAR = Generation(
    "flatcar",
    "Flatcar Container Linux",
    images.FLATCAR,
    "ext4",
    "btrfs",
    "btrfs",
    "https://{channel}.release.flatcar-linux.net/{board}/{version}/"
    "flatcar_production_{oem}image.bin.bz2",
    {"alpha": "4628.0.0", "beta": "4547.1.0", "stable": "4459.2.0", "lts": "4081.3.6"},
)


class Order(NamedTuple):
    """An install; `shown` is the image in the Success line."""

    disk: Node
    channel: str
    version: str
    shown: str
    oem: str
    url: str
    cloud_config: bytes | None
    ignition: bytes | None = None
    is_file: bool = False

    @property
    def image(self) -> str:
        """The image's file name."""
        return self.url.rpartition("/")[2]


def coreos_install(home: str, args: list[str]) -> int:
    """Write CoreOS to a disk as the script of June 2014 does; return 0."""
    given = _options("coreos-install", args, "d:V:C:o:c:t:vh")
    if "h" in given:
        return _usage(USAGE_2014)
    order = _order(home, "coreos-install", COREOS, given, "beta")
    scale = _time_scale(home)
    say(f"Downloading and verifying {order.image}...")
    _download(order, scale)
    say(SIGNED.format(at=time.strftime("%c")), err=True)
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
        return _usage(USAGE_TODAY)
    if "D" in given:
        raise Failed(1, "flatcar-install: -D is not there on this workstation: no download")
    if "s" in given and "d" not in given:
        given["d"] = _smallest(home)
    order = _order(home, "flatcar-install", FLATCAR, given, "stable")
    if order.cloud_config is not None:
        say("coreos-cloudinit not found. Could not validate config. Continuing...", err=True)
    if "y" in given:
        return _dry_run(order)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _demand_image(order, FLATCAR, "flatcar-install", given)
        _write_flatcar(order, _time_scale(home))
    except (Failed, SystemExit) as error:
        if isinstance(error, Failed):
            say(str(error), err=True)
        rc = error.rc if isinstance(error, Failed) else error.code
        say(f"Error: return code {rc} from exit {rc}", err=True)
        sys.exit(rc)
    return _success(order, FLATCAR)


def _write_flatcar(order: Order, scale: float) -> None:
    """Write during the download; wipe the disk if it fails."""
    if order.is_file:
        say(f"Writing {order.url}...")
    else:
        say(f"Downloading the signature for {order.url}...")
        say(f"Downloading, writing and verifying {order.image}...")
    try:
        _write_table(order, FLATCAR, "\nwrite_to_disk: Failed writing image to disk")
        if not order.is_file:
            _download(order, scale)
            say(SIGNED_TODAY.format(at=time.strftime("%c")), err=True)
        time.sleep(WRITE * scale)
        _fill(order, FLATCAR)
        _reread(order.disk)
        _configure(order, FLATCAR)
    except BaseException:
        images.wipe(order.disk["file"])
        raise


def say(line: str, *, err: bool = False) -> None:
    """Print a line and flush it."""
    print(line, file=sys.stderr if err else sys.stdout, flush=True)


def _options(program: str, args: list[str], short: str) -> dict[str, str]:
    """Return the options by letter, refusing others in bash's words."""
    try:
        found, _ = getopt.getopt(args, short)
    except getopt.GetoptError as error:
        what = "option requires an argument" if "requires" in error.msg else "illegal option"
        raise Failed(1, f"{program}: {what} -- {error.opt}") from None
    return {key[1:]: value for key, value in found}


def _usage(text: str) -> int:
    say(text)
    return 0


def _order(
    home: str, program: str, generation: Generation, given: dict[str, str], channel: str
) -> Order:
    """Check the options in the script's order; raise Failed with its words."""
    disk = _disk(home, program, given.get("d"))
    for letter, kind in (("c", "Cloud config"), ("i", "Ignition config")):
        if letter in given and not os.path.isfile(given[letter]):
            raise Failed(1, f"{program}: {kind} file ({given[letter]}) does not exist.")
    channel, oem = given.get("C", channel), given.get("o", "")
    wanted = given.get("V", "current")
    url = given.get("f") or _url(generation, given, channel, wanted, oem)
    version = generation.current.get(channel) if wanted == "current" else wanted
    version = version or generation.current["stable"]
    shown = f"{channel} {wanted if generation is COREOS else version}" + (
        f" ({oem})" if oem else ""
    )
    shown = f"(from {url})" if "f" in given else shown
    texts = (_read(given, "c"), _read(given, "i"))
    order = Order(disk, channel, version, shown, oem, url, *texts, "f" in given)
    if generation is COREOS:
        _demand_image(order, generation, program, given)
    return order


def _demand_image(order: Order, generation: Generation, program: str, given: dict) -> None:
    """Raise Failed unless the image exists: a local file, or a known download."""
    if order.is_file:
        if not os.path.isfile(order.url):
            raise Failed(1, f"{program}: Could not read image file: {order.url}")
        return
    known = "b" in given or order.channel in generation.current
    if generation is FLATCAR and given.get("V", "current") == "current":
        if not known:
            text = f"{program}: version.txt unavailable: {os.path.dirname(order.url)}/version.txt"
            raise Failed(1, text)
        say(f"Current version of {generation.brand} {order.channel} is {order.version}")
    if not known or order.oem not in OEMS or not re.fullmatch(r"\d+\.\d+\.\d+", order.version):
        raise Failed(1, f"{program}: Image URL unavailable: {order.url}")


def _disk(home: str, program: str, path: str | None) -> Node:
    if not path:
        raise Failed(1, f"{program}: {NO_DEVICE[program]}")
    node = devices.find(home, path)
    if not node or node["type"] != "disk":
        raise Failed(1, f"{program}: Target block device ({path}) is not a full disk.")
    if not node["file"]:  # the disk this workstation runs from: there is nothing to write to
        text = f"{program}: Target block device ({path}) is not writable (are you root?)"
        raise Failed(1, text)
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
    say(f"Settings:\n    VERSION:  {order.version}\n    CHANNEL:  {order.channel}")
    say(f"    OEM:      {order.oem or '(none)'}\n    IMAGE:    {order.url}")
    return 0


def _time_scale(home: str) -> float:
    """Return the length of a simulated second: the server's current scale."""
    try:
        with open(os.path.join(home, "time-scale")) as file:
            return float(file.read())
    except FileNotFoundError:
        return 0.005


def _download(order: Order, scale: float) -> None:
    """Print wget's progress over the time of the download."""
    say(f"--{time.strftime('%Y-%m-%d %H:%M:%S')}--  {order.url}", err=True)
    for step in range(STEPS):
        time.sleep(DOWNLOAD * scale / STEPS)
        left = DOWNLOAD * (STEPS - step - 1) / STEPS
        done, percent = IMAGE_KIB * step // STEPS, 100 * (step + 1) // STEPS
        say(f"{done:6}K {' '.join(['........'] * 6)} {percent:3}% 1.11M {left:.0f}s", err=True)


def _write_table(order: Order, generation: Generation, full: str) -> None:
    """Write the partition table of an image; Failed if the image does not fit."""
    file, size = order.disk["file"], images.plan_layout(generation.layout)[1]
    images.write_image(file, generation.layout)
    if order.disk["size"] < size:
        why = "I/O or other error, bailing out.  Possible reason follows."
        raise Failed(1, f"bunzip2: {why}{full}")


def _fill(order: Order, generation: Generation) -> None:
    """Write the image's file systems, empty except for the notes on the image."""
    about = f"NAME={json.dumps(generation.brand)}\nID={generation.ident}\nVERSION={order.version}\n"
    oem = {}
    if order.oem:
        oem["oem-release"] = f"ID={order.oem}\nVERSION_ID={order.version}\n".encode()
        oem["grub.cfg"] = f'set oem_id="{order.oem}"\n'.encode()
    file = order.disk["file"]
    images.put_tree(file, 1, {}, kind="vfat", label="EFI-SYSTEM")
    images.put_tree(
        file, 3, {"lib/os-release": about.encode()}, kind=generation.usr_fs, label="USR-A"
    )
    images.put_tree(file, 6, oem, kind=generation.oem_fs, label="OEM")
    images.put_tree(file, 9, {}, kind=generation.root_fs, label="ROOT")


def _reread(disk: Node) -> None:
    if devices.in_use(disk):
        raise Failed(1, "blockdev: ioctl error on BLKRRPART: Device or resource busy")


def _configure(order: Order, generation: Generation) -> None:
    """Write the configuration to the place where a booting machine reads it."""
    file, folder = order.disk["file"], f"var/lib/{generation.ident}-install"
    if order.cloud_config is not None:
        say("Installing cloud-config...")
        name = f"{folder}/user_data"
        modes = {folder: 0o700, name: 0o600}
        files = {name: order.cloud_config}
        images.put_tree(file, 9, files, kind=generation.root_fs, label="ROOT", modes=modes)
    if order.ignition is not None:
        say("Installing Ignition config...")
        oem = images.tree(file, 6) | {"config.ign": order.ignition}
        images.put_tree(file, 6, oem, kind=generation.oem_fs, label="OEM")


def _success(order: Order, generation: Generation) -> int:
    say(f"Success! {generation.brand} {order.shown} is installed on {order.disk['path']}")
    return 0


PROGRAMS = {"coreos-install": coreos_install, "flatcar-install": flatcar_install}
