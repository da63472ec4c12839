"""The image to install and its source, as flags of the installer.

An image is plain data: installer, channel, version and oem; `url` of a mirror, or `file` on the
workstation with its `image_sha256`; `board`; and `config`, the file that goes onto the disk. The
installer decides where a value is "".
"""

import re
import shlex

from lib.errors import CheckFailed, ParamsError
from lib.workstation.shell import Shell, run

CHANNELS = {
    "coreos-install": ("stable", "beta", "alpha"),
    "flatcar-install": ("stable", "beta", "alpha", "lts"),
}
NEEDS_GB = {"coreos-install": 5, "flatcar-install": 8}  # for an image of today's size
SOURCE = ("url", "file", "image_sha256", "board")
FLAGS = {"url": "-b", "file": "-f", "board": "-B"}  # the installer of 2014 has none of them
IGNITION = "-i"
NAMES = {"version": "image_version", "url": "image_url", "file": "image_file"}
MIRROR = re.compile(r"https?://[\w.-]+(:\d+)?(/[\w.~+-]+)*/?", re.ASCII)
# OpenSSL, where installed, is several times faster. An unreadable file has no checksum.
SUM = "{{ openssl dgst -sha256 -r {file} || sha256sum {file}; }} 2>/dev/null | cut -c1-64"
WRONG_IMAGE = 77  # exit code of WHILE_WRITTEN for an image with another checksum
# The identity changes when the file does.
WHILE_WRITTEN = """\
identity() {{ stat -L -c '%d %i %s %z' {file}; }}
was=$(identity)
{then} &
found=$({sum})
wait $!; rc=$?
[ "$(identity)" = "$was" ] || found='changed while it was read'
[ "$found" != {expected} ] || exit $rc
partx -d {at} 2>/dev/null; wipefs -a {at}
echo "sha256 of {file}: ${{found:-unreadable}}" >&2; exit {wrong}
"""
FOUND = re.compile(r"^sha256 of .*: (.*)$", re.MULTILINE)


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
    """Return the image of these parameters. Raises ParamsError for an invalid value."""
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
    """Raise ParamsError for values that exclude or require each other."""
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
    """Return the installer's command, without flags for values that are "" or "current".

    A `config_path` that ends in .ign is an Ignition config.
    """
    words = [image["installer"], "-d", device]
    if not image["file"]:  # a local file has its own channel, version and OEM
        words += ["-C", image["channel"]]
        words += ["-V", image["version"]] if image["version"] != "current" else []
        words += ["-o", image["oem"]] if image["oem"] else []
    for name, flag in FLAGS.items():
        words += [flag, image[name]] if image[name] else []
    flag = IGNITION if config_path.endswith(".ign") else "-c"
    return shlex.join([*words, *([flag, config_path] if config_path else [])])


def demand_file(shell: Shell, image: dict) -> None:
    """Raise CheckFailed unless a local image has its expected checksum."""
    if not image["file"]:
        return
    script = SUM.format(file=shlex.quote(image["file"]))
    found = run(shell, f"sh -c {shlex.quote(script)}", sudo=True, within=3600).out.strip()
    if found != image["image_sha256"]:
        raise wrong_image(image, found or "unreadable", "Nothing was written.")
    print(f"✓ {image['file']} has the expected sha256")


def wrong_image(image: dict, found: str, after: str) -> CheckFailed:
    """Return the error for a local image with another checksum than expected."""
    step = f"Download it again, or correct image_sha256. {after}"
    return CheckFailed(f"sha256 of {image['file']}", image["image_sha256"], found, step)


def verified(image: dict, device: str, then: str) -> str:
    """Return a command for root that runs `then` and verifies the local image meanwhile.

    No installer verifies a local file. If the checksum is not the expected one, the command wipes
    the disk, as installers do after a bad download, prints the checksum FOUND, and ends with
    WRONG_IMAGE.
    """
    if not image["file"]:
        return then
    file = shlex.quote(image["file"])
    words = {"file": file, "at": shlex.quote(device), "then": then, "sum": SUM.format(file=file)}
    words |= {"expected": image["image_sha256"], "wrong": WRONG_IMAGE}
    return f"sh -c {shlex.quote(WHILE_WRITTEN.format(**words))}"


def demand_flags(shell: Shell, image: dict, ignition: bool, size: int | None = None) -> list[str]:
    """Return the flags that root's installer accepts, according to its usage text.

    Raises CheckFailed if the installer is absent or lacks a flag that the image needs, or if a
    local image is unreadable or has more than `size` bytes, the volume's size.
    """
    name, file = image["installer"], shlex.quote(image["file"])
    needed = {flag: NAMES.get(n, n) for n, flag in FLAGS.items() if image[n]}
    needed |= {IGNITION: "config_format ignition"} if ignition else {}
    script = f"command -v {name} >/dev/null || exit 127; {name} -h 2>&1"
    script += f"; [ -r {file} ] && stat -L -c 'readable %s' {file}; true"
    seen = run(shell, f"sh -c {shlex.quote(script)}", sudo=True, ok=(0, 127))
    if seen.rc:
        step = "Install it in /usr/local/bin there and make it executable."
        raise CheckFailed(f"{name} is not on root's PATH on the workstation", next_step=step)
    has = re.findall(r"^\s+(-\w)\b", seen.out, re.MULTILINE)
    lacks = [f"{flag} (for {why})" for flag, why in needed.items() if flag not in has]
    if lacks:
        step = "Nothing was sent. Use a later installer, or leave these parameters empty."
        what = f"{name} on the workstation does not accept {', '.join(lacks)}"
        flags = " ".join(has) or "no flags at all"
        raise CheckFailed(f"{what}; its -h lists {flags}", next_step=step)
    if image["file"]:
        _demand_fits(image, re.findall(r"^readable (\d+)$", seen.out, re.MULTILINE), size)
    return has


def _demand_fits(image: dict, found: list[str], size: int | None) -> None:
    """Raise CheckFailed unless the local image exists and fits on the volume."""
    what = "image_file on the workstation"
    if not found:
        step = "Nothing was sent. Copy it there; a path without / at its start begins at $HOME."
        raise CheckFailed(what, image["file"], "no such file", step)
    if size and int(found[-1]) > size:
        step = "Nothing was sent. Run 90-remove-cluster, and start again with a larger volume_size."
        raise CheckFailed(what, f"{size} bytes or less", f"{found[-1]} bytes", step)
