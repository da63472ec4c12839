"""Installing a local image on a loop device, and reading the config back, against bare `dd`.

The installer is the tests' own, which follows today's contract; what is measured is what comes on
top of its writing: verifying the image, the guard, running detached, following, mounting, comparing
and flushing. Both leave all on the disk. It is measured with the image on its disk only, as one
that came some time ago, and with all of it in memory, where verifying and writing want more than
two processors have. Of each the fastest turn counts: what else the machine does only adds.
"""

import hashlib
import os
import subprocess
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from benchmarks.report import Line
from workstations import (
    LSBLK,
    MIB,
    OF_TODAY,
    SUDO,
    Loop,
    bytes_read,
    call,
    make_image,
    program,
)

from lib import config
from lib.install import detached, disks, guard, readback, running
from lib.install.guard import Place
from lib.install.images import Image
from lib.install.order import Order
from lib.workstation.shell import connect_shell, write_text

SIZE = 7997 * MIB  # what an image of Flatcar has, unpacked
CONFIG = "#cloud-config\n\nhostname: a\n"
AT_LEAST = 0.9  # of dd's speed


def measure(size: int = SIZE, times: int = 4) -> list[Line]:
    """Return the seconds of both, in turns; nothing where loop devices cannot be had."""
    if os.getuid():
        print("  needs root: left out")
        return []
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        home = Path(folder)
        path = f"{home}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"
        with patch.dict(os.environ, HOME=folder, PATH=path):
            return _compare(home, size, times)


def _compare(home: Path, size: int, times: int) -> list[Line]:
    for name, text in {"sudo": SUDO, "lsblk": LSBLK, "flatcar-install": OF_TODAY}.items():
        program(home, name, text)
    file = make_image(home, "ext4")
    _fill(file, size)
    known = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(MIB):
            known.update(piece)
    source = {"file": str(file), "image_sha256": known.hexdigest()}
    image = Image("flatcar-install", "stable", **source)
    loop = Loop(home / "disk.img", size)
    (home / "loops").write_text(loop.path)
    call("losetup", "--direct-io=on", loop.path)  # the device's speed, not that of memory
    try:
        lines = [_line(image, loop, cold, times) for cold in (True, False)]
    finally:
        loop.detach()
    return [line for pair in lines for line in pair]


def _line(image: Image, loop: Loop, cold: bool, times: int) -> list[Line]:
    """Return the line of both, the image on its disk only (`cold`) or in memory too."""
    pairs = []
    for _ in range(times + 1):
        bare = _dd(image.file, loop, cold)
        pairs.append((bare, *_install(image, loop, cold)))
    bare, ours, read = (min(column) for column in zip(*pairs[1:], strict=True))
    where = "from its disk" if cold else "from memory"
    what = f"verify, write and read back an image {where}, against dd"
    share = Line("read back to prove it, of its size", "MiB", read / MIB, loop.size / MIB, 1)
    return [Line(what, "s", ours, bare, 1 / AT_LEAST), share]


def _fill(image: Path, size: int) -> None:
    """Make the image as large as the disk, with bytes that no file system can leave out."""
    with image.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        block = os.urandom(MIB)
        while file.tell() < size:
            file.write(block)


def _begin(image: str, loop: Loop, cold: bool) -> None:
    """Have a blank disk, as a new volume is one, and the image where it is said to be."""
    call("blkdiscard", loop.path)
    if cold:
        call("sync")
        call("dd", f"of={image}", "oflag=nocache", "conv=notrunc,fdatasync", "count=0")
    else:
        call("dd", f"if={image}", "of=/dev/null", "bs=1M")


def _dd(image: str, loop: Loop, cold: bool) -> float:
    _begin(image, loop, cold)
    began = time.perf_counter()
    command = ["dd", f"if={image}", f"of={loop.path}", "bs=1M", "conv=notrunc,fsync"]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def _install(image: Image, loop: Loop, cold: bool) -> tuple[float, int]:
    """Install and read back as the stage does; return the seconds, and the bytes read back."""
    shell = connect_shell(None, "")
    _begin(image.file, loop, cold)
    write_text(shell, "w/cloud-config.yml", CONFIG)
    look = guard.look(shell, loop.path, loop.size)
    place = Place(loop.path, loop.size, look, "w/install/writing")
    order = Order("w", image, config.Form("flatcar-install", ""), {"id": "1", "size": loop.size})
    began = time.perf_counter()
    running.install(shell, order, place, lambda line: None)
    disks.flush(shell, loop.path)
    before = bytes_read(loop)
    parts = readback.partitions(shell, loop.path)
    readback.demand_config(shell, parts, "flatcar-install", "cloud-config.yml", CONFIG)
    seconds, read = time.perf_counter() - began, bytes_read(loop) - before
    detached.forget(shell, "w/install")
    subprocess.run(["partx", "-d", loop.path], check=False, capture_output=True)
    return seconds, read
