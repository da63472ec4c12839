"""What is installed, and where the installer takes it from: the flags for it, and who takes them.

An image is plain data: installer, channel, version and oem; `url` of a mirror, or `file` on the
workstation with its `image_sha256`; `board`; and `config`, the file that goes onto the disk. What
is "" is left to the installer.
"""

import re
import shlex

from lib.errors import CheckFailed, ParamsError
from lib.shell import Shell, run

CHANNELS = {
    "coreos-install": ("stable", "beta", "alpha"),
    "flatcar-install": ("stable", "beta", "alpha", "lts"),
}
SOURCE = ("url", "file", "image_sha256", "board")
FLAGS = {"url": "-b", "file": "-f", "board": "-B"}  # the installer of 2014 has none of them
IGNITION = "-i"
NAMES = {"version": "image_version", "url": "image_url", "file": "image_file"}
MIRROR = re.compile(r"https?://[\w.-]+(:\d+)?(/[\w.~+-]+)*/?", re.ASCII)
ANOTHER = 77  # exit code of what `same_file` returns
# What changes when anything of a file does. OpenSSL where there is one: it is some times as fast.
IDENTITY = "stat -L -c '%d %i %s %z' {file}"
CHECKSUM = "{{ openssl dgst -sha256 -r {file} || sha256sum {file}; }} 2>/dev/null"


def describe(
    installer: str,
    *,
    channel: str,
    version: str,
    oem: str,
    url: str = "",
    file: str = "",
    image_sha256: str = "",
    board: str = "",
) -> dict:
    """Return the image of these parameters. Raises ParamsError for those that cannot be."""
    named = {"installer": installer, "channel": channel, "version": version, "oem": oem}
    image = named | {"url": url, "file": file, "image_sha256": image_sha256, "board": board}
    if installer not in CHANNELS:
        raise ParamsError("installer", " or ".join(CHANNELS), installer)
    if channel not in CHANNELS[installer]:
        raise ParamsError("channel", " or ".join(CHANNELS[installer]), channel)
    for name, pattern, wanted in (
        ("version", r"current(-\d+)?|\d+\.\d+\.\d+(\+[\w.-]+)?", '"current", or such as 367.1.0'),
        ("oem", r"\w*", '"" or a name such as cloudstack'),
        ("url", rf"({MIRROR.pattern})?", '"" or http[s]://host/folder, without a password'),
        ("file", r"([^-\s][^\n]*)?", '"" or the path of a file on the workstation'),
        ("image_sha256", r"([0-9a-f]{64})?", '"" or 64 hex digits'),
        ("board", r"(\w+-usr)?", '"" or such as amd64-usr'),
    ):
        if not re.fullmatch(pattern, image[name], re.ASCII):
            raise ParamsError(NAMES.get(name, name), wanted, image[name])
    _demand_together(image)
    return image


def _demand_together(image: dict) -> None:
    """Raise ParamsError for values that exclude each other, or need each other."""
    if image["file"] and not image["image_sha256"]:
        wanted = "the file's sha256: the installer does not verify a local file"
        raise ParamsError("image_sha256", wanted, "")
    if image["image_sha256"] and not image["file"]:
        wanted = '"" without image_file: the installer checks the signature of what it downloads'
        raise ParamsError("image_sha256", wanted, image["image_sha256"])
    if image["file"] and image["url"]:
        raise ParamsError("image_url", '"" beside image_file', image["url"])
    if image["file"] and image["version"] != "current":
        raise ParamsError("image_version", '"current" beside image_file', image["version"])
    if image["board"] and (image["file"] or image["url"]):
        wanted = '"" beside image_file or image_url, which have a board of their own'
        raise ParamsError("board", wanted, image["board"])


def command(image: dict, device: str, config_path: str = "") -> str:
    """Return the installer's command; what is "" or "current" leaves its flag off.

    A `config_path` that ends in .ign is an Ignition config.
    """
    words = [image["installer"], "-d", device]
    if not image["file"]:  # which has a channel, version and OEM of its own
        words += ["-C", image["channel"]]
        words += ["-V", image["version"]] if image["version"] != "current" else []
        words += ["-o", image["oem"]] if image["oem"] else []
    for name, flag in FLAGS.items():
        words += [flag, image[name]] if image[name] else []
    flag = IGNITION if config_path.endswith(".ign") else "-c"
    return shlex.join([*words, *([flag, config_path] if config_path else [])])


def demand_file(shell: Shell, image: dict) -> str:
    """Return what tells the local image from any other, once its checksum is right.

    The installer verifies only what it downloads. Raises CheckFailed unless it is right.
    """
    file = shlex.quote(image["file"])
    script = f"{IDENTITY.format(file=file)} && {CHECKSUM.format(file=file)}"
    seen = run(shell, f"sh -c {shlex.quote(script)}", sudo=True, within=3600).out.splitlines()
    found = seen[-1].split()[0] if len(seen) == 2 else "unreadable"
    if found != image["image_sha256"]:
        step = "Nothing was written. Fetch it again, or correct image_sha256."
        raise CheckFailed(f"sha256 of {image['file']}", image["image_sha256"], found, step)
    return seen[0]


def same_file(image: dict, then: str) -> str:
    """Return a command for root: `then`, if the local image is still the one that was verified."""
    if not image["file"]:
        return then
    file, wanted = shlex.quote(image["file"]), shlex.quote(image["image_is"])
    stop = f"echo {file} is not the file any more that was verified >&2; exit {ANOTHER}"
    return f"""if [ "$({IDENTITY.format(file=file)})" != {wanted} ]; then {stop}; fi
{then}"""


def demand_takers(shell: Shell, image: dict, ignition: bool) -> None:
    """Raise CheckFailed unless root has an installer that takes all that it is to be told.

    Of which generation it is, is seen by its usage text, asked for where it matters.
    """
    name, file = image["installer"], shlex.quote(image["file"])
    needed = {flag: NAMES.get(n, n) for n, flag in FLAGS.items() if image[n]}
    needed |= {IGNITION: "config_format ignition"} if ignition else {}
    script = f"command -v {name} >/dev/null || exit 127"
    script += f"; {name} -h 2>&1; if [ -r {file} ]; then echo readable; fi" if needed else ""
    seen = run(shell, f"sh -c {shlex.quote(script)}", sudo=True, ok=(0, 127))
    if seen.rc:
        step = "Put it in /usr/local/bin there and make it executable."
        raise CheckFailed(f"{name} on the workstation", "on root's PATH", "absent", step)
    has = re.findall(r"^\s+(-\w)\b", seen.out, re.MULTILINE)
    lacks = [f"{flag} (for {why})" for flag, why in needed.items() if flag not in has]
    if lacks:
        step = "Nothing was sent. Use a later installer, or leave these parameters empty."
        found = f"one that takes {' '.join(has) or 'nothing that its -h tells'}"
        wanted = f"one that takes {', '.join(lacks)}"
        raise CheckFailed(f"{name} on the workstation", wanted, found, step)
    if image["file"] and "readable" not in seen.out.splitlines():
        step = "Nothing was sent. Put it there; a path without / at its start begins at $HOME."
        raise CheckFailed("image_file on the workstation", image["file"], "no such file", step)
