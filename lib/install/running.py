"""One run of an installer, and the state in which it leaves the disk."""

import re
import shlex
import time
from collections.abc import Callable
from pathlib import PurePath

from lib.errors import CheckFailed, OutOfSight, ShellFailed
from lib.install import detached, disks, guard, images
from lib.install.guard import Place
from lib.install.images import Image
from lib.install.order import Order
from lib.waiting import Waiting
from lib.workstation import notes
from lib.workstation.shell import Result, Shell, run

PRODUCTS = {
    "coreos-install": r"CoreOS(?: Container Linux)?",
    "flatcar-install": "Flatcar Container Linux",
}
STATES = {
    "untouched": "{} is untouched. Fix the cause, then run this stage again.",
    "blank": "{} is blank. Fix the cause, then run this stage again.",
    "half written": "{} is half written: make no snapshot of it. Run this stage again.",
    "wiped": "{} is wiped, with remains of an image: make no snapshot of it. Run this stage again.",
}
TOO_SMALL = (
    "{} is smaller than the image: make no snapshot of it. Choose another volume_name, and a "
    "volume_size of {} GB or more for it: 10-create-volume creates a new volume."
)
# The place of the sectors written in /sys/block/*/stat, and the bytes of one (block/stat.rst).
SECTORS_WRITTEN, SECTOR = 6, 512
LEAST = 0.02  # the share of an image from which on the time that it takes is estimated
DOTS = re.compile(r"\s*\d+K[ .]+ (\d+)%")  # a line of wget, which prints thousands of them
FULL = re.compile(r"No space left on device|write error: .*space")
NOT_OURS = (
    "Nothing was written. Find its user, then run this stage again: it reads the disks again."
)


def progress(
    shell: Shell, image: Image, device: str
) -> tuple[str, Callable[[str], tuple[float, str]]]:
    """Return a command, and a function from its output to the share that is written, and words.

    The output is the kernel's statistics of the disk, and the size of a local image that is not
    packed. Without statistics the share is 0 and the words are "".
    """
    is_raw = bool(image.file) and not image.file.endswith((".bz2", ".gz", ".xz"))
    size = f"stat -L -c %s -- {shlex.quote(image.file)}" if is_raw else "true"
    name = shlex.quote(PurePath(device).name)
    probe = f"cat /sys/class/block/{name}/stat 2>/dev/null; {size}"
    before = run(shell, probe, ok=(0, 1)).out.split()

    def so_far(stat: str) -> tuple[float, str]:
        now = stat.split()
        if min(len(now), len(before)) <= SECTORS_WRITTEN + 1:
            return 0, ""
        written = (int(now[SECTORS_WRITTEN]) - int(before[SECTORS_WRITTEN])) * SECTOR / 1e9
        total = int(now[-1]) / 1e9 if is_raw else images.NEEDS_GB[image.installer]
        about = "" if is_raw else "about "
        return written / total, f"{written:.1f} of {about}{total:.3g} GB written"

    return probe, so_far


def install(
    shell: Shell,
    order: Order,
    place: Place,
    on_line: Callable[[str], None] = print,
    within: float = 3600.0,
) -> str:
    """Run the installer, passing on each line, and return its Success line.

    It runs on if the connection breaks. Raises ShellFailed unless it ends with 0 and reports
    exactly this device as installed, and CheckFailed if the local image has another checksum; the
    error names the state of the disk.
    """
    image, device = order.image, place.device
    command = images.command(image, device, order.config_path, order.work_dir)
    try:
        guarded = guard.guard(place, images.verified(image, device, command))
        done = _run(shell, order, place, guarded, on_line, within)
    except OutOfSight:
        raise
    except ShellFailed as failed:
        raise _failure(shell, order, place, command, failed) from None
    success = rf"Success! {PRODUCTS[image.installer]} .* is installed on {re.escape(device)}"
    found = [line for line in done.out.splitlines() if re.fullmatch(success, line.strip())]
    if len(found) == 1:
        return found[0].strip()
    missing = f"No line of its output reports an install on {device}. "
    raise ShellFailed(command, 0, done.out, missing + _state(shell, order, place))


def _run(
    shell: Shell,
    order: Order,
    place: Place,
    command: str,
    on_line: Callable[[str], None],
    within: float,
) -> Result:
    """Run the command to its end, and show in the waiting line how far it is."""
    folder, downloaded = notes.job(order.work_dir), ""
    probe, so_far = progress(shell, order.image, place.device)
    detached.start(shell, folder, command, within=within)
    started = time.monotonic()
    with Waiting() as line:

        def pass_on(text: str) -> None:
            nonlocal downloaded
            if found := DOTS.match(text):
                downloaded = f"{found[1]} % downloaded"
            else:
                on_line(text)

        def show(stat: str) -> None:
            share, words = so_far(stat)
            about = (time.monotonic() - started) / share if share > LEAST else 0
            words = ", ".join(filter(None, (downloaded, words)))
            line.show(f"{order.image.installer} on {place.device}", about, words)

        return detached.follow(shell, folder, pass_on, within, probe, show)


def _failure(
    shell: Shell, order: Order, place: Place, command: str, failed: ShellFailed
) -> CheckFailed | ShellFailed:
    """Return the error for a failed installer, with the state of the disk."""
    if failed.rc == guard.CHANGED and not disks.passed_guard(shell, place.mark):
        detached.forget(shell, notes.job(order.work_dir))
        what = f"{place.device} is in use, or has changed since it was checked"
        return CheckFailed(what, next_step=f"{NOT_OURS}\n{failed.output.strip()}")
    found = images.FOUND.findall(failed.output)
    if found and failed.rc == images.WRONG_IMAGE:
        return images.wrong_image(order.image, found[-1], _state(shell, order, place, "blank"))
    state = _state(shell, order, place)
    if FULL.search(failed.output) and "no snapshot" in state:
        state = TOO_SMALL.format(place.device, images.NEEDS_GB[order.image.installer])
    return ShellFailed(command, failed.rc, failed.output, f"{failed.next_step} {state}".strip())


def _state(shell: Shell, order: Order, place: Place, as_before: str = "untouched") -> str:
    """Return the words for the state of the disk; `as_before` is the state of an unchanged one.

    If the disk is blank, the trace of our install is deleted: later contents are not ours.
    """
    try:
        left, is_blank = guard.state(shell, place)
    except ShellFailed as failed:
        return f"The disk cannot be read ({failed.output.strip()}): make no snapshot of it."
    if is_blank:
        detached.forget(shell, notes.job(order.work_dir))
    return STATES[as_before if left == "untouched" else left].format(place.device)
