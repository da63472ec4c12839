"""Commands that outlive the connection: they run on by themselves, and are followed.

What a command is, says and ends with is kept in files of a folder on the workstation. The lock
there is held by the shell that runs it, so whether it still runs is not guessed by a number; sudo
closes it, so of a command whose shell alone was killed nothing is known.
"""

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass

from lib.errors import CheckFailed, OutOfSight, ShellFailed
from lib.shell import BECOME_ROOT, GRACE, TIMED_OUT, Result, Shell, handed_over, run, stream

BUSY, ABSENT = 75, 44  # exit codes of the scripts below
START = """\
umask 077; mkdir -p -- {folder} && exec 9>{folder}/lock || exit 1
flock -n 9 || exit {busy}
rm -f -- {folder}/rc && printf %s {command} >{folder}/command && : >{folder}/log || exit 1
setsid sh -c {script} </dev/null >{folder}/log 2>&1 &
"""
# The exit code is there before the lock is let go.
SCRIPT = """\
{become_root}$SUDO sh -c {command}
echo $? >{folder}/rc.new; mv -f {folder}/rc.new {folder}/rc
"""
LOOK = """\
[ -e {folder}/command ] || exit {absent}
if flock -n {folder}/lock true; then echo ended; else echo running; fi
if [ -e {folder}/rc ]; then cat {folder}/rc; else echo; fi
cat {folder}/command
"""
# What the command writes from a byte on, until it ends; then what may have come meanwhile.
# The shell must not become `tail`: it takes away the one that waits, which `tail` looks for.
FOLLOW = """\
flock -s {folder}/lock true &
tail -c +{start} -s 0.1 -f --pid=$! {folder}/log; exit $?
"""
REST = "tail -c +{start} {folder}/log"
KILLED = {
    None: "It left no exit code: it was killed, or the workstation went down.",
    137: "It was killed: memory was short, or it did not end in time.",
}
RECONNECT = 120.0  # seconds that a lost connection is tried again


@dataclass(frozen=True)
class Job:
    """A command that was started: its text, whether it still runs, and how it ended.

    `rc` is None while it runs, and if it was ended from outside.
    """

    command: str
    running: bool
    rc: int | None


def look(shell: Shell, folder: str) -> Job | None:
    """Return the command last started in the folder, None if there is none."""
    script = LOOK.format(folder=shlex.quote(folder), absent=ABSENT)
    seen = run(shell, script, ok=(0, ABSENT))
    if seen.rc == ABSENT:
        return None
    state, code, command = seen.out.split("\n", 2)
    rc = int(code) if code else None
    return Job(command, state == "running" and rc is None, rc)


def start(shell: Shell, folder: str, command: str, *, within: float = 3600.0) -> None:
    """Start a command as root; it goes on though we go, `within` seconds at most.

    The folder starts at $HOME, and so does the command. Raises CheckFailed if one runs there.
    """
    at = shlex.quote(folder)
    become_root = BECOME_ROOT.format(seconds=within)
    script = SCRIPT.format(become_root=become_root, command=shlex.quote(command), folder=at)
    words = {"command": shlex.quote(command), "script": shlex.quote(script)}
    text, stdin = handed_over(shell, START.format(folder=at, busy=BUSY, **words))
    done = run(shell, text, stdin=stdin, ok=(0, BUSY))
    if done.rc == BUSY:
        wait = "Wait for its end, then run this stage again."
        raise CheckFailed(f"what runs in {folder}", "nothing", "another command", wait)


def follow(
    shell: Shell, folder: str, on_line: Callable[[str], None], *, within: float = 3600.0
) -> Result:
    """Pass on each line that the command writes, until it ends; return how it ended.

    A lost connection is made again, and what was missed is passed on. Raises ShellFailed for an
    exit code other than 0, with rc None if the workstation ended it after the seconds given at its
    start; and OutOfSight if the connection stays away, or after `within` seconds.
    """
    seen = Seen(time.monotonic() + within + 2 * GRACE)
    while True:
        try:
            _follow_on(shell, folder, on_line, seen)
            return _ended(shell, folder)
        except TimeoutError:
            raise _out_of_sight(folder, "It takes too long.") from None
        except OutOfSight as lost:
            if not shell.remote or time.monotonic() > seen.deadline:
                raise _out_of_sight(folder, lost.said) from None
        except BaseException as stopped:
            stopped.add_note(f"{folder}: the command runs on; run this stage again to follow it.")
            raise
        on_line("… the connection was lost; the command runs on there; connecting again")
        _reconnect(shell, folder)


@dataclass
class Seen:
    """How much of the log was passed on, and when to stop."""

    deadline: float
    bytes: int = 0

    def add(self, count: int) -> None:
        """Count bytes that came."""
        self.bytes += count


def _follow_on(shell: Shell, folder: str, on_line: Callable[[str], None], seen: Seen) -> None:
    for script in (FOLLOW, REST):
        command = script.format(folder=shlex.quote(folder), start=seen.bytes + 1)
        left = max(1.0, seen.deadline - time.monotonic())
        try:
            stream(shell, command, on_line, within=left, on_bytes=seen.add)
        except OutOfSight as lost:
            if lost.rc is None:
                raise TimeoutError from None
            raise


def _reconnect(shell: Shell, folder: str) -> None:
    """Wait until the workstation answers; raise ShellFailed when it does not in time."""
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
    return OutOfSight(folder, None, said, again + "when the workstation answers; it is followed.")


def _ended(shell: Shell, folder: str) -> Result:
    job = look(shell, folder)
    said = log(shell, folder)
    if job and job.rc == 0:
        return Result(0, said, "")
    command, rc = (job.command, job.rc) if job else (folder, None)
    raise ShellFailed(command, None if rc == TIMED_OUT[0] else rc, said, KILLED.get(rc, ""))


def log(shell: Shell, folder: str) -> str:
    """Return what the command has written, of redrawn lines the last state."""
    text = run(shell, f"cat -- {shlex.quote(folder)}/log").out.replace("\r\n", "\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def disown(shell: Shell, folder: str) -> None:
    """Delete how the last command ended, so that it is not taken up again."""
    run(shell, f"rm -f -- {shlex.quote(folder)}/rc")


def forget(shell: Shell, folder: str) -> None:
    """Delete what is kept of a command that has ended."""
    run(shell, f"rm -rf -- {shlex.quote(folder)}")
