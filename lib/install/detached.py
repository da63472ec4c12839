"""Commands that outlive the connection: they go on by themselves, and are followed.

A supervisor runs as root in a session of its own. It holds the lock of a folder on the workstation
while it runs one command, which inherits none of its descriptors. All that the command starts is
known by a variable in its environment, so that what outlives the command is killed, and seen to be
gone, before the exit code is written and the lock is let go.
"""

import io
import itertools
import shlex
import time
from collections.abc import Callable

from lib.errors import CheckFailed, OutOfSight, ShellFailed
from lib.workstation.shell import GRACE, TIMED_OUT, Result, Shell, run, stream

BUSY = 75  # exit code of START
# `left` lists the processes of the command, wherever they went, also those that became daemons.
LEFT = """\
mark="RUNBOOK_INSTALL=$(pwd -P)/"{folder}
left() {{ grep -Flzsx "$mark" /proc/[0-9]*/environ | cut -d/ -f3; }}
"""
END = """\
while found=$(left); [ -n "$found" ]; do kill -9 $found 2>/dev/null; sleep 0.05; done
"""
# The wait is for a follower, which takes the lock for a moment. A lost terminal ends nothing.
START = """\
umask 022; exec 9>>{folder}/lock; flock -w 3 9 || exit {busy}
{left}{end}rm -f -- {folder}/rc; : >{folder}/log || exit 1
trap '' HUP
setsid sh -c {supervise} </dev/null >>{folder}/log 2>&1 &
"""
SUPERVISE = """\
{left}env "$mark" timeout -k 5 {seconds:g} sh -c {command} 9>&-
echo $? >{folder}/rc.new
{end}sync -- {folder}/rc.new && mv -f -- {folder}/rc.new {folder}/rc && sync -- {folder}
"""
# The shell must not become `tail`: it takes away the one that waits, which `tail` looks for.
FOLLOW = "flock -s {folder}/lock true & tail -n +1 -s 0.1 -f --pid=$! {folder}/log; exit $?"
KILLED = {
    None: "It left no exit code: it was killed, the workstation went down, or its disk is full.",
    137: "It was killed: memory was short, or it did not end in time.",
}
RECONNECT = 120.0  # seconds that a lost connection is tried again


def _script(text: str, folder: str, **words: object) -> str:
    at = shlex.quote(folder)
    return text.format(folder=at, left=LEFT.format(folder=at), end=END, **words)


def _as_root(shell: Shell, text: str, folder: str, **more: object) -> Result:
    return run(shell, f"sh -c {shlex.quote(_script(text, folder))}", sudo=True, **more)


def start(shell: Shell, folder: str, command: str, *, within: float = 3600.0) -> None:
    """Start a command as root; it goes on though we go, `within` seconds at most.

    The folder starts at $HOME, and so does the command. What an earlier command left running is
    ended first. Raises CheckFailed while that command itself runs.
    """
    words = {"seconds": within, "command": shlex.quote(command)}
    supervise = shlex.quote(_script(SUPERVISE, folder, **words))
    script = shlex.quote(_script(START, folder, busy=BUSY, supervise=supervise))
    run(shell, f"umask 077; mkdir -p -- {shlex.quote(folder)}")
    if run(shell, f"sh -c {script}", sudo=True, ok=(0, BUSY)).rc == BUSY:
        wait = "Wait for its end, then run this stage again."
        raise CheckFailed(f"what runs in {folder}", "nothing", "another command", wait)


def is_running(shell: Shell, folder: str) -> bool:
    """Tell whether the command last started in the folder runs, or anything that it started."""
    if run(shell, f"[ -e {shlex.quote(folder)}/lock ]", ok=(0, 1)).rc:
        return False
    look = '{left}[ -z "$(left)" ] && flock -n -s {folder}/lock true && echo idle; true'
    return _as_root(shell, look, folder).out.strip() != "idle"


def end(shell: Shell, folder: str) -> None:
    """Kill what the command last started in the folder left running, and see it gone."""
    _as_root(shell, "{left}{end}", folder)


def follow(
    shell: Shell, folder: str, on_line: Callable[[str], None], *, within: float = 3600.0
) -> Result:
    """Pass on each line that the command writes, until it ends; return how it ended.

    A lost connection is made again, and what was missed is passed on. Raises ShellFailed for an
    exit code other than 0, with rc None if the workstation ended it after the seconds given at its
    start; and OutOfSight if the connection stays away, or after `within` seconds.
    """
    deadline = time.monotonic() + within + 2 * GRACE
    passed = [0]  # lines; the log is read from its start again when the connection is back

    def pass_on(line: str, number: int) -> None:
        if number > passed[0]:
            passed[0] = number
            on_line(line)

    while not _followed(shell, folder, pass_on, deadline):
        on_line("… the connection was lost; the command runs on there; connecting again")
        _reconnect(shell, folder)
    rc, said = _ended(shell, folder)
    for number, line in enumerate(io.StringIO(said), 1):
        pass_on(line.removesuffix("\n"), number)
    if rc == 0:
        return Result(0, said, "")
    raise ShellFailed(folder, None if rc == TIMED_OUT[0] else rc, said, KILLED.get(rc, ""))


def _followed(
    shell: Shell, folder: str, pass_on: Callable[[str, int], None], deadline: float
) -> bool:
    """Pass on lines with their numbers until the command ends; False if the connection broke."""
    numbers, left = itertools.count(1), max(1.0, deadline - time.monotonic())
    try:
        script = _script(FOLLOW, folder)
        stream(shell, script, lambda line: pass_on(line, next(numbers)), within=left)
        return True
    except OutOfSight as lost:
        if lost.rc is not None and shell.remote and time.monotonic() < deadline:
            return False
        said = "It takes too long." if lost.rc is None else lost.said
        raise _out_of_sight(folder, said) from None
    except BaseException as stopped:
        stopped.add_note(f"{folder}: the command runs on; the next run waits for its end.")
        raise


def _reconnect(shell: Shell, folder: str) -> None:
    """Wait until the workstation answers; raise OutOfSight when it does not in time."""
    deadline, pause = time.monotonic() + RECONNECT, 0.5
    while True:
        try:
            run(shell, "true")
            return
        except ShellFailed as failed:
            if time.monotonic() > deadline:
                raise _out_of_sight(folder, failed.said) from None
        time.sleep(pause)
        pause = min(2 * pause, 10.0)


def _out_of_sight(folder: str, said: str) -> OutOfSight:
    again = f"What runs in {folder} runs on by itself, as far as is known: run this stage again "
    return OutOfSight(folder, None, said, again + "when the workstation answers; it waits for it.")


def _ended(shell: Shell, folder: str) -> tuple[int | None, str]:
    """Return the exit code, None where none was left, and the output, once nothing runs any more.

    The exit code is missing or damaged where the supervisor was killed, or the machine went down.
    """
    end(shell, folder)
    code = run(shell, f"cat -- {shlex.quote(folder)}/rc || true").out.strip()
    return int(code) if code.isdecimal() else None, log(shell, folder)


def log(shell: Shell, folder: str) -> str:
    """Return what the command has written, each state of a redrawn line as a line."""
    text = run(shell, f"cat -- {shlex.quote(folder)}/log").out
    return io.StringIO(text, newline=None).getvalue()


def forget(shell: Shell, folder: str) -> None:
    """Delete what is kept of a command that has ended."""
    run(shell, f"rm -rf -- {shlex.quote(folder)}")
