"""Stand-ins for coreos-install (June 2014) and flatcar-install (today).

Order of checks, texts and exit codes are those of the originals. Like these, they do not check
whether the disk is in use or has data. The download is simulated but takes time; the partition
table, the user data and a note on the image are really written.
"""

from __future__ import annotations

import getopt
import os
import re
import signal
import sys
import time
from typing import NamedTuple

from . import devices, images, releases
from .devices import Failed, Node
from .releases import COREOS, FLATCAR, OEMS, Release

DOWNLOAD, WRITE = 150.0, 40.0  # seconds at scale 1
IMAGE_KIB = 167 * 1024
STEPS = 20  # progress lines of a download


class Order(NamedTuple):
    """An install; `shown` is the image in the Success line, `scale` the length of a second."""

    kind: Release
    disk: Node
    channel: str
    version: str
    shown: str
    oem: str
    url: str
    scale: float
    cloud_config: bytes | None
    ignition: bytes | None
    is_file: bool

    @property
    def image(self) -> str:
        """The image's file name."""
        return self.url.rpartition("/")[2]


def coreos_install(home: str, args: list[str]) -> int:
    """Write CoreOS to a disk as the script of June 2014 does; return 0."""
    given = _options(COREOS, args)
    if "h" in given:
        return _usage(COREOS)
    order = _order(home, COREOS, given)
    _demand_image(order, given)
    say(f"Downloading and verifying {order.image}...")
    _download(order)
    say(f"Writing {order.image} to {order.disk['path']}...")
    _write_table(order, "\nbunzip2: No space left on device")
    _fill(order)
    say(f"  /tmp/coreos-install.{os.getpid():010d}/{order.image}: done", err=True)
    _configure(order)
    return _success(order)


def flatcar_install(home: str, args: list[str]) -> int:
    """Write Flatcar to a disk as today's script does; a failure after the start leaves it wiped."""
    given = _options(FLATCAR, args)
    if "h" in given:
        return _usage(FLATCAR)
    order = _order(home, FLATCAR, given)
    if order.cloud_config is not None:
        say("coreos-cloudinit not found. Could not validate config. Continuing...", err=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _demand_image(order, given)
        _write_flatcar(order)
    except (Failed, SystemExit) as error:
        if isinstance(error, Failed):
            say(str(error), err=True)
        rc = error.rc if isinstance(error, Failed) else error.code
        say(f"Error: return code {rc} from exit {rc}", err=True)
        sys.exit(rc)
    return _success(order)


def wget(home: str, args: list[str]) -> int:
    """Find the images that the installers can download, and write an installer to a file (-O).

    There is no network behind the workstation: what installers download is simulated, and an
    installer from any URL that ends in its name is the stand-in.
    """
    url = args[-1] if args else ""
    if found := re.fullmatch(r"https?://[^/]+/(?:.+/)?((?:coreos|flatcar)-install)", url):
        if "-O" in args:
            with open(args[args.index("-O") + 1], "w") as file:
                file.write(f'#!/bin/sh\nexec /bin/sh "{home}/stand-in" {found[1]} "$@"\n')
        return 0
    place = re.fullmatch(r"https?://[^/]+/(?:.+/)?([^/]+)/([^/]+)", url)
    if "--spider" not in args or not place:
        say("wget: unable to resolve host address", err=True)
        return 4
    image = re.fullmatch(r"(coreos|flatcar)_production_(?:(\w+)_)?image\.bin\.bz2", place[2])
    version = re.fullmatch(r"current|\d+\.\d+\.\d+", place[1])
    if image and version and (image[2] or "") in OEMS:
        return 0
    say(f"{args[-1]}:\nRemote file does not exist -- broken link!!!", err=True)
    return 8


def _write_flatcar(order: Order) -> None:
    """Write during the download; wipe the disk if it fails."""
    if order.is_file:
        say(f"Writing {order.url}...")
    else:
        say(f"Downloading the signature for {order.url}...")
        say(f"Downloading, writing and verifying {order.image}...")
    try:
        _write_table(order, "\nwrite_to_disk: Failed writing image to disk")
        if not order.is_file:
            _download(order)
        _fill(order)
        _configure(order)
    except BaseException:
        images.wipe(order.disk["file"])
        raise


def say(line: str, *, err: bool = False) -> None:
    """Print a line and flush it."""
    print(line, file=sys.stderr if err else sys.stdout, flush=True)


def _options(kind: Release, args: list[str]) -> dict[str, str]:
    """Return the options by letter, refusing others in bash's words."""
    try:
        found, _ = getopt.getopt(args, kind.options)
    except getopt.GetoptError as error:
        what = "option requires an argument" if "requires" in error.msg else "illegal option"
        if error.opt in kind.unused:
            what = "the local cloud's stand-in does without the option"
        raise Failed(1, f"{kind.program}: {what} -- {error.opt}") from None
    return {key[1:]: value for key, value in found}


def _usage(kind: Release) -> int:
    with open(os.path.join(os.path.dirname(__file__), "scripts", f"{kind.program}.txt")) as file:
        say(file.read().rstrip())
    return 0


def _order(home: str, kind: Release, given: dict[str, str]) -> Order:
    """Check disk and files in the script's order; raise Failed with its words."""
    disk = _disk(home, kind, given.get("d"))
    for letter, what in (("c", "Cloud config"), ("i", "Ignition config")):
        if letter in given and not os.path.isfile(given[letter]):
            raise Failed(1, f"{kind.program}: {what} file ({given[letter]}) does not exist.")
    channel, oem, wanted = given.get("C", kind.channel), given.get("o", ""), given.get("V")
    wanted = None if wanted == "current" else wanted
    version = wanted or kind.current.get(channel, kind.current["stable"])
    # The script of 2014 leaves it to the server what is current.
    named = (
        wanted or "current" if kind is COREOS else wanted or kind.current.get(channel, "current")
    )
    shown = f"{channel} {named if kind is COREOS else version}" + (f" ({oem})" if oem else "")
    return Order(
        kind=kind,
        disk=disk,
        channel=channel,
        version=version,
        shown=f"(from {given['f']})" if "f" in given else shown,
        oem=oem,
        url=given.get("f") or _url(kind, given, channel, named),
        scale=_time_scale(home),
        cloud_config=_read(given.get("c")),
        ignition=_read(given.get("i")),
        is_file="f" in given,
    )


def _demand_image(order: Order, given: dict) -> None:
    """Raise Failed unless the image exists: a local file, or a known download."""
    program = order.kind.program
    if order.is_file:
        if not os.path.isfile(order.url):
            raise Failed(1, f"{program}: Could not read image file: {order.url}")
        return
    known = "b" in given or order.channel in order.kind.current
    if order.kind is FLATCAR and given.get("V", "current") == "current":
        if not known:
            text = f"{program}: version.txt unavailable: {os.path.dirname(order.url)}/version.txt"
            raise Failed(1, text)
        say(f"Current version of {order.kind.brand} {order.channel} is {order.version}")
    if not known or order.oem not in OEMS or not re.fullmatch(r"\d+\.\d+\.\d+", order.version):
        raise Failed(1, f"{program}: Image URL unavailable: {order.url}")


def _disk(home: str, kind: Release, path: str | None) -> Node:
    if not path:
        raise Failed(1, f"{kind.program}: {kind.no_device}")
    node = devices.find(home, path)
    if not node or node["type"] != "disk":
        raise Failed(1, f"{kind.program}: Target block device ({path}) is not a full disk.")
    if not node["file"]:  # the disk this workstation runs from: there is nothing to write to
        text = f"{kind.program}: Target block device ({path}) is not writable (are you root?)"
        raise Failed(1, text)
    return node


def _url(kind: Release, given: dict, channel: str, version: str) -> str:
    oem = f"{given['o']}_" if given.get("o") else ""
    board = given.get("B", "amd64-usr")
    url = kind.url.format(board=board, channel=channel, version=version, oem=oem)
    if "b" in given:  # a base replaces all up to the version
        url = "/".join([given["b"].rstrip("/"), *url.split("/")[-2:]])
    return url


def _read(path: str | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


def _time_scale(home: str) -> float:
    """Return the length of a simulated second: the server's current scale."""
    try:
        with open(os.path.join(home, "time-scale")) as file:
            return float(file.read())
    except FileNotFoundError:
        return 0.005


def _download(order: Order) -> None:
    """Print wget's progress over the time of the download, and what gpg says of the signature."""
    say(f"--{time.strftime('%Y-%m-%d %H:%M:%S')}--  {order.url}", err=True)
    for step in range(STEPS):
        time.sleep(DOWNLOAD * order.scale / STEPS)
        left = DOWNLOAD * (STEPS - step - 1) / STEPS
        done, percent = IMAGE_KIB * step // STEPS, 100 * (step + 1) // STEPS
        say(f"{done:6}K {' '.join(['........'] * 6)} {percent:3}% 1.11M {left:.0f}s", err=True)
    say(order.kind.signed.format(at=time.strftime("%c")), err=True)


def _write_table(order: Order, full: str) -> None:
    """Write the partition table of an image; Failed if the image does not fit."""
    layout = order.kind.layout
    images.write_image(order.disk["file"], layout)
    if order.disk["size"] < images.plan_layout(layout)[1]:
        why = "I/O or other error, bailing out.  Possible reason follows."
        raise Failed(1, f"bunzip2: {why}{full}")


def _fill(order: Order) -> None:
    """Write the image's file systems."""
    time.sleep(WRITE * order.scale)
    releases.write_files(order.disk["file"], order.kind, order.version, order.oem)


def _configure(order: Order) -> None:
    """Write the configuration to the place where a booting machine reads it."""
    if devices.in_use(order.disk):  # the kernel does not read the new table then
        raise Failed(1, "blockdev: ioctl error on BLKRRPART: Device or resource busy")
    kind, file = order.kind, order.disk["file"]
    folder = f"var/lib/{kind.ident}-install"
    if order.cloud_config is not None:
        say("Installing cloud-config...")
        name = f"{folder}/user_data"
        modes = {folder: 0o700, name: 0o600}
        files = {name: order.cloud_config}
        images.put_tree(file, 9, files, kind=kind.root_fs, label="ROOT", modes=modes)
    if order.ignition is not None:
        say("Installing Ignition config...")
        oem = images.tree(file, 6) | {"config.ign": order.ignition}
        images.put_tree(file, 6, oem, kind=kind.oem_fs, label="OEM")


def _success(order: Order) -> int:
    say(f"Success! {order.kind.brand} {order.shown} is installed on {order.disk['path']}")
    return 0


PROGRAMS = {"coreos-install": coreos_install, "flatcar-install": flatcar_install, "wget": wget}
