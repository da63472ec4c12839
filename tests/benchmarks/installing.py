"""Installing from a local image on a loop device, and reading the config back, against bare `dd`.

The installer is the tests' own, which follows today's contract; what is measured is what comes on
top of its writing: the guard, running detached, following, mounting and comparing.
"""

import os
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from unittest.mock import patch

from benchmarks.report import Line
from workstations import LSBLK, MIB, OF_TODAY, SUDO, Loop, make_image, program

from lib import cloudconfig, detached, disks, installers
from lib.shell import connect_shell, write_text

SIZE = 4480 * MIB  # what the image of 2014 has
CONFIG = "#cloud-config\n\nhostname: a\n"
AT_LEAST = 0.9  # of dd's speed


def measure(size: int = SIZE, times: int = 2) -> list[Line]:
    """Return the seconds of both, in turns; nothing where loop devices cannot be had."""
    if os.getuid():
        print("  needs root: left out")
        return []
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        home = Path(folder)
        path = f"{home}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"
        with patch.dict(os.environ, HOME=folder, PATH=path):
            return [_compare(home, size, times)]


def _compare(home: Path, size: int, times: int) -> Line:
    for name, text in {"sudo": SUDO, "lsblk": LSBLK, "flatcar-install": OF_TODAY}.items():
        program(home, name, text)
    image = make_image(home, "ext4")
    _fill(image, size)
    (home / "image").symlink_to(image)
    loop = Loop(home / "disk.img", size)
    (home / "loops").write_text(loop.path)
    try:
        pairs = [(_dd(image, loop), _install(loop)) for _ in range(times + 1)][1:]
    finally:
        loop.detach()
    bare, ours = (median(column) for column in zip(*pairs, strict=True))
    return Line("install and read back a local image", "s", ours, bare, 1 / AT_LEAST)


def _fill(image: Path, size: int) -> None:
    """Make the image as large as the disk, with bytes that no file system can leave out."""
    with image.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        block = os.urandom(MIB)
        while file.tell() < size:
            file.write(block)


def _dd(image: Path, loop: Loop) -> float:
    began = time.perf_counter()
    command = ["dd", f"if={image}", f"of={loop.path}", "bs=1M", "conv=notrunc,fsync"]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def _install(loop: Loop) -> float:
    """Install and read back as the stage does; return the seconds."""
    shell = connect_shell(None, "")
    write_text(shell, "w/cloud-config.yml", CONFIG)
    (row,) = disks.inventory(shell)
    guard = disks.guard({"device": loop.path, "disk": disks.identity(row)})
    config = cloudconfig.path("w", "cloud-config.yml")
    command = installers.command_line(
        "flatcar-install", loop.path, channel="stable", version="current", oem="",
        config_path=config,
    )  # fmt: skip
    options = {"folder": "w/install", "guard": guard}
    began = time.perf_counter()
    installers.install(shell, "flatcar-install", loop.path, command, lambda line: None, **options)
    installers.verify_disk(shell, loop.path, "flatcar-install", CONFIG)
    seconds = time.perf_counter() - began
    detached.forget(shell, "w/install")
    subprocess.run(["partx", "-d", loop.path], check=False, capture_output=True)
    return seconds
