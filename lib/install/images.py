"""The image to install and its source, as flags of the installer."""

import re
import shlex
from dataclasses import dataclass

from lib.errors import CheckFailed, ParamsError
from lib.install.scripts import script
from lib.workstation.shell import Shell, run

CHANNELS = {
    "coreos-install": ("stable", "beta", "alpha"),
    "flatcar-install": ("stable", "beta", "alpha", "lts"),
}
MAKERS = {  # the base of a download's URL, and what its name begins with
    "coreos-install": ("http://{channel}.release.core-os.net/{board}", "coreos"),
    "flatcar-install": ("https://{channel}.release.flatcar-linux.net/{board}", "flatcar"),
}
NEEDS_GB = {"coreos-install": 5, "flatcar-install": 8}  # for an image of today's size
FLAGS = {"url": "-b", "file": "-f", "board": "-B"}  # the installer of 2014 has none of them
IGNITION = "-i"
NAMES = {"version": "image_version", "url": "image_url", "file": "image_file"}
MIRROR = re.compile(r"https?://[\w.-]+(:\d+)?(/[\w.~+-]+)*/?", re.ASCII)
FORMS = {
    "version": (r"current(-\d+)?|\d+\.\d+\.\d+(\+[\w.-]+)?", '"current", or such as 367.1.0'),
    "oem": (r"\w*", '"" or a name such as cloudstack'),
    "url": (rf"({MIRROR.pattern})?", '"" or http[s]://host/folder, without a password'),
    "file": (r"([^-\s][^\n]*)?", '"" or the path of a file on the workstation'),
    "image_sha256": (r"([0-9a-f]{64})?", '"" or 64 hex digits'),
    "board": (r"(\w+-usr)?", '"" or such as amd64-usr'),
    "installer_url": (rf"({MIRROR.pattern})?", '"" or http[s]://host/…, without a password'),
    "installer_sha256": (r"([0-9a-f]{64})?", '"" or 64 hex digits'),
}
# OpenSSL, where installed, is several times faster. An unreadable file has no checksum.
SUM = "{{ openssl dgst -sha256 -r {file} || sha256sum {file}; }} 2>/dev/null | cut -c1-64"
WRONG_IMAGE = 77  # exit code of `while-written.sh` for an image with another checksum
FOUND = re.compile(r"^sha256 of .*: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Image:
    """An image of CoreOS or Flatcar, and its source.

    The source is the vendor, a mirror (`url`), or a `file` on the workstation with its checksum.
    The installer decides where a value is "". It is on root's PATH, or fetched from a URL.
    """

    installer: str
    channel: str
    version: str = "current"
    oem: str = ""
    url: str = ""
    file: str = ""
    image_sha256: str = ""
    board: str = ""
    installer_url: str = ""
    installer_sha256: str = ""


def program(image: Image, work_dir: str) -> str:
    """Return the installer's program: its name, or its path where it is fetched."""
    return f"{work_dir}/{image.installer}" if image.installer_url else image.installer


def demand_valid(image: Image) -> None:
    """Raise ParamsError for a value that is invalid, or that excludes or requires another."""
    _demand_one_of("installer", image.installer, tuple(CHANNELS))
    _demand_one_of("channel", image.channel, CHANNELS[image.installer])
    for name, (pattern, expected) in FORMS.items():
        if not re.fullmatch(pattern, getattr(image, name), re.ASCII):
            raise ParamsError(NAMES.get(name, name), expected, getattr(image, name))
    needs_sum = "the file's sha256: the installer does not verify a local file"
    no_sum = '"" without image_file: the installer checks the signature of its download'
    no_board = '"" beside image_file or image_url, which have a board of their own'
    for name, wrong, expected in (
        ("image_sha256", image.file and not image.image_sha256, needs_sum),
        ("image_sha256", image.image_sha256 and not image.file, no_sum),
        ("url", image.file and image.url, '"" beside image_file'),
        ("version", image.file and image.version != "current", '"current" beside image_file'),
        ("board", image.board and (image.file or image.url), no_board),
    ):
        if wrong:
            raise ParamsError(NAMES.get(name, name), expected, getattr(image, name))


def _demand_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ParamsError(name, " or ".join(known), value)


def command(image: Image, device: str, config_path: str = "", work_dir: str = "") -> str:
    """Return the installer's command, without flags for values that are "" or "current".

    A `config_path` that ends in .ign is an Ignition config.
    """
    words = [program(image, work_dir), "-d", device]
    if not image.file:  # a local file has its own channel, version and OEM
        words += ["-C", image.channel]
        words += ["-V", image.version] if image.version != "current" else []
        words += ["-o", image.oem] if image.oem else []
    for name, flag in FLAGS.items():
        words += [flag, getattr(image, name)] if getattr(image, name) else []
    flag = IGNITION if config_path.endswith(".ign") else "-c"
    return shlex.join([*words, *([flag, config_path] if config_path else [])])


def demand_file(shell: Shell, image: Image) -> None:
    """Raise CheckFailed unless a local image has its expected checksum."""
    if not image.file:
        return
    script = SUM.format(file=shlex.quote(image.file))
    found = run(shell, f"sh -c {shlex.quote(script)}", sudo=True, within=3600).out.strip()
    if found != image.image_sha256:
        raise wrong_image(image, found or "unreadable", "Nothing was written.")
    print(f"✓ {image.file} has the expected sha256")


def demand_source(shell: Shell, image: Image) -> str:
    """Return where the image comes from. Raises CheckFailed where it is not there to be had.

    A local file is read as a whole, for its checksum; of a download only the address is asked for,
    by root, as the installer will.
    """
    if image.file:
        demand_file(shell, image)
        return f"{image.file} has the expected sha256"
    step = "Set image_url to a mirror, or give image_file. Is a firewall or proxy in the way?"
    demand_url(shell, address(image), step, sudo=True)
    return address(image)


def demand_url(shell: Shell, url: str, next_step: str, *, sudo: bool) -> None:
    """Raise CheckFailed unless the workstation finds something at the URL."""
    command = f"wget --spider --no-verbose --tries=1 --timeout=20 {shlex.quote(url)}"
    done = run(shell, command, sudo=sudo, ok=tuple(range(126)), within=60)
    if done.rc:
        output = " ".join((done.err + done.out).split())[-200:] or f"wget ended with {done.rc}"
        raise CheckFailed(url, "there", output, next_step)


def address(image: Image) -> str:
    """Return the URL of a download, as the installers make it.

    >>> address(Image("flatcar-install", "lts"))
    'https://lts.release.flatcar-linux.net/amd64-usr/current/flatcar_production_image.bin.bz2'
    """
    base, brand = MAKERS[image.installer]
    base = base.format(channel=image.channel, board=image.board or "amd64-usr")
    file = f"{brand}_production_{image.oem}{image.oem and '_'}image.bin.bz2"
    return f"{(image.url or base).rstrip('/')}/{image.version}/{file}"


def wrong_image(image: Image, found: str, after: str) -> CheckFailed:
    """Return the error for a local image with another checksum than expected."""
    step = f"Download it again, or correct image_sha256. {after}"
    return CheckFailed(f"sha256 of {image.file}", image.image_sha256, found, step)


def verified(image: Image, device: str, then: str) -> str:
    """Return a command for root that runs `then` and verifies the local image meanwhile.

    No installer verifies a local file. If the checksum is not the expected one, the command wipes
    the disk, as installers do after a bad download, prints the checksum FOUND, and ends with
    WRONG_IMAGE.
    """
    if not image.file:
        return then
    file = shlex.quote(image.file)
    words = {"file": file, "at": shlex.quote(device), "then": then, "sum": SUM.format(file=file)}
    words |= {"expected": image.image_sha256, "wrong": WRONG_IMAGE}
    return f"sh -c {shlex.quote(script('while-written', **words))}"


def demand_flags(
    shell: Shell, image: Image, ignition: bool, size: int = 0, work_dir: str = ""
) -> list[str]:
    """Return the flags that the installer accepts, according to its usage text.

    Raises CheckFailed if the installer is absent or lacks a flag that the image needs, or if a
    local image is unreadable or has more than `size` bytes, the volume's size (0 if unknown).
    """
    name, file = shlex.quote(program(image, work_dir)), shlex.quote(image.file)
    needed = {flag: NAMES.get(n, n) for n, flag in FLAGS.items() if getattr(image, n)}
    needed |= {IGNITION: "config_format ignition"} if ignition else {}
    script = f"command -v {name} >/dev/null || exit 127; {name} -h 2>&1"
    script += f"; [ -r {file} ] && stat -L -c 'readable %s' {file}; true"
    seen = run(shell, f"sh -c {shlex.quote(script)}", sudo=True, ok=(0, 127))
    if seen.rc:
        step = "Install it in /usr/local/bin there and make it executable."
        step += " Or set installer_url: 30-install-coreos fetches it then."
        raise CheckFailed(f"{name} is not on root's PATH on the workstation", next_step=step)
    has = re.findall(r"^\s+(-\w)\b", seen.out, re.MULTILINE)
    lacks = [f"{flag} (for {why})" for flag, why in needed.items() if flag not in has]
    if lacks:
        step = "Nothing was sent. Use a later installer, or leave these parameters empty."
        what = f"{image.installer} on the workstation does not accept {', '.join(lacks)}"
        flags = " ".join(has) or "no flags at all"
        raise CheckFailed(f"{what}; its -h lists {flags}", next_step=step)
    if image.file:
        _demand_fits(image, re.findall(r"^readable (\d+)$", seen.out, re.MULTILINE), size)
    return has


def _demand_fits(image: Image, found: list[str], size: int) -> None:
    """Raise CheckFailed unless the local image exists and fits on the volume."""
    if not found:
        step = "Nothing was sent. Copy it there; a path without / at its start begins at $HOME."
        raise CheckFailed(f"{image.file} is no readable file on the workstation", next_step=step)
    if size and int(found[-1]) > size:
        what, step = f"size of {image.file}", "Nothing was sent. Choose another volume_name, and a "
        step += "larger volume_size for it: 10-create-volume creates a new volume."
        raise CheckFailed(what, f"{size} bytes or less", f"{found[-1]} bytes", step)
