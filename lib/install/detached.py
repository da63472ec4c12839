"""Commands that survive a lost connection: they run on, and their output is followed.

A supervisor runs as root in a session of its own. It locks a folder on the workstation while it
runs one command, which inherits none of its descriptors. A variable in the environment marks all
processes of the command, so that the supervisor can kill the remaining ones, and those of its
process group, and wait until they are gone, before it writes the exit code and releases the lock.
"""

import io
import shlex
import time
from collections.abc import Callable, Iterator

from lib.errors import CheckFailed, OutOfSight, ShellFailed
from lib.install.scripts import script
from lib.workstation.shell import GRACE, TIMED_OUT, Result, Shell, run

BUSY = 75  # exit code of `start.sh`
KILLED = {
    None: "It left no exit code: it was killed, the workstation went down, or its disk is full.",
    137: "It was killed: memory was short, or it did not end in time.",
}
LOST = "… the connection was lost; the command runs on; reconnecting"
RECONNECT = 120.0  # seconds of attempts to restore a lost connection


def _script(name: str, folder: str, **words: object) -> str:
    at = shlex.quote(folder)
    return script(name, folder=at, left=script("left", folder=at), end=script("end"), **words)


def _as_root(shell: Shell, name: str, folder: str) -> Result:
    return run(shell, f"sh -c {shlex.quote(_script(name, folder))}", sudo=True)


def start(shell: Shell, folder: str, command: str, *, within: float = 3600.0) -> None:
    """Start a command as root that runs on without us, for at most `within` seconds.

    The folder is relative to $HOME, and the command starts there. Processes that an earlier command
    left are killed first. Raises CheckFailed while that command itself runs.
    """
    words = {"seconds": f"{within:g}", "command": shlex.quote(command)}
    supervise = shlex.quote(_script("supervise", folder, **words))
    text = shlex.quote(_script("start", folder, busy=BUSY, supervise=supervise))
    run(shell, f"umask 077; mkdir -p -- {shlex.quote(folder)}")
    if run(shell, f"sh -c {text}", sudo=True, ok=(0, BUSY)).rc == BUSY:
        wait = "Wait until it ends, then run this stage again."
        raise CheckFailed(f"Another command still runs in {folder}", next_step=wait)


def is_running(shell: Shell, folder: str) -> bool:
    """Return whether the last command of the folder, or a process of it, still runs."""
    if run(shell, f"[ -e {shlex.quote(folder)}/lock ]", ok=(0, 1)).rc:
        return False
    return _as_root(shell, "idle", folder).out.strip() != "idle"


def end(shell: Shell, folder: str) -> None:
    """Kill the processes that the last command of the folder left, and wait for their end."""
    _as_root(shell, "kill", folder)


def follow(
    shell: Shell,
    folder: str,
    on_line: Callable[[str], None],
    within: float = 3600.0,
    probe: str = "",
    on_probe: Callable[[str], None] = lambda shown: None,
) -> Result:
    """Call `on_line` with each line of the command until it ends; return its result.

    A carriage return ends a line too. Every two seconds or more often, `on_probe` is called with
    the output of the command `probe`, in one line. A lost connection is restored. Raises
    ShellFailed for an exit code other than 0, with rc None if the command exceeded its time; and
    OutOfSight if the connection cannot be restored, or after `within` seconds.
    """
    try:
        for shown, lines in _looks(shell, folder, within, probe):
            on_probe(shown)
            for line in lines:
                on_line(line)
    except OutOfSight:
        raise
    except BaseException as stopped:
        stopped.add_note(f"{folder}: the command runs on; the next run of this stage waits for it.")
        raise
    end(shell, folder)
    # The exit code is missing or damaged if the supervisor was killed, or the machine went down.
    code = run(shell, f"cat -- {shlex.quote(folder)}/rc || true").out.strip()
    rc, output = int(code) if code.isdecimal() else None, log(shell, folder)
    if rc == 0:
        return Result(0, output, "")
    raise ShellFailed(folder, None if rc == TIMED_OUT[0] else rc, output, KILLED.get(rc, ""))


def _looks(shell: Shell, folder: str, within: float, probe: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the output of the probe and the lines that are new, until the command has ended."""
    started = heard = time.monotonic()
    first, size, over, lost = 1, "0", "", False
    while not over:
        look = _script("follow", folder, size=size, first=first, probe=probe)
        try:
            head, shown, text = run(shell, look).out.split("\n", 2)
        except OutOfSight as broken:
            if not shell.remote or time.monotonic() - heard > RECONNECT:
                raise _out_of_sight(folder, broken.output) from None
            yield "", [] if lost else [LOST]
            lost = True
            time.sleep(0.5)
            continue
        heard, lost = time.monotonic(), False
        over, _, size = head.partition(" ")
        *lines, rest = text.split("\n")
        first += len(lines)
        lines += [rest] if over and rest else []
        yield shown, [part for line in lines for part in line.removesuffix("\r").split("\r")]
        if not over and heard - started > within + 2 * GRACE:
            raise _out_of_sight(folder, "It takes too long.")


def _out_of_sight(folder: str, reason: str) -> OutOfSight:
    again = f"The command in {folder} probably still runs. Run this stage again when the "
    return OutOfSight(folder, None, reason, again + "workstation answers: it waits for its end.")


def log(shell: Shell, folder: str) -> str:
    """Return the output of the command; each carriage return ends a line too."""
    text = run(shell, f"cat -- {shlex.quote(folder)}/log").out
    return io.StringIO(text, newline=None).getvalue()


def forget(shell: Shell, folder: str) -> None:
    """Delete the log and exit code of a command that has ended."""
    run(shell, f"rm -rf -- {shlex.quote(folder)}")
