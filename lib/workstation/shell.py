"""The workstation's shell: one command at a time, here, over ssh, or in the local cloud."""

import getpass
import os
import re
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from lib.errors import OutOfSight, ParamsError, ShellFailed
from lib.record import masks
from lib.workstation import ssh

# What a .bashrc prints comes before this mark, and is dropped: what follows is parsed.
FRAME = "--- output of the runbook's command ---"
NOT_RUN = "The login ended well without running the command: see what its shell is set to there."
# Every command starts in the home folder and speaks English, as its words are read here.
PROLOGUE = f'echo "{FRAME}"; export LC_ALL=C; cd "$HOME" || exit 1; '
# Where sudo wants a password, it comes in the first line of stdin, and goes to sudo by a program
# that prints a variable: so it is in no command line, no file, and not in what runs as root.
PASSWORD = "RUNBOOK_SUDO_PASSWORD"
TAKE_PASSWORD = """\
IFS= read -r SUDO_ANSWER; SUDO_ASKPASS=$(command -v printenv); export SUDO_ANSWER SUDO_ASKPASS
"""
# A sudo that is there is used by root too: the local cloud's reaches its disks. `timeout` runs as
# root as well, as nobody else may end what root started, and ends it on another machine too.
BECOME_ROOT = """\
how=-n; [ -z "${{SUDO_ANSWER+set}}" ] || how='-A -p SUDO_ANSWER'
if command -v sudo >/dev/null; then SUDO="sudo $how timeout -k 5 {seconds:g}"
elif [ "$(id -u)" = 0 ]; then SUDO='timeout -k 5 {seconds:g}'
else echo 'there is no sudo, and this user is not root' >&2; exit 126; fi
"""
TIMED_OUT = (124, 137)
GRACE = 7.0  # seconds that `timeout` is given to end a command by itself
NO_SUDO = re.compile(
    r"sudo: (a password|a terminal|no password was|\d+ incorrect|.*sudoers)"
    r"|not allowed to (exec|run)|no sudo"
)
SUDO_HINT = (
    "This works on disks, so `sudo` must work for your user on the workstation: without a password "
    f"(NOPASSWD in sudoers), or with the one in the environment variable {PASSWORD}, set where "
    "runbook or JupyterLab is started. In a notebook `from lib.workstation import shell; "
    "shell.ask_password()` asks for it. It is handed to sudo, and never recorded."
)
NODE_HINT = "`sudo` must work there without a password (NOPASSWD in sudoers): none is handed over."


@dataclass(frozen=True)
class Shell:
    """How to reach a POSIX shell: an argv prefix that takes `-c COMMAND`, and what to call it.

    The password for sudo is handed over to the workstation alone, which `takes_password`.
    """

    argv: tuple[str, ...]
    name: str
    remote: bool = False
    takes_password: bool = False

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Result:
    """How a command ended: its exit code and what it wrote."""

    rc: int
    out: str
    err: str


def connect_shell(prefix: Sequence[str] | None, workstation_ssh: str) -> Shell:
    """Return the shell of the workstation; nothing is sent yet.

    A `prefix` wins; then `user@host[:port]`, or a host of ~/.ssh/config, is reached with OpenSSH;
    "" is this machine.
    """
    if prefix:
        return Shell(tuple(prefix), "the local cloud's workstation", takes_password=True)
    if not workstation_ssh:
        return Shell(("/bin/sh",), "this machine", takes_password=True)
    return Shell(ssh.argv(workstation_ssh), workstation_ssh, remote=True, takes_password=True)


def ask_password() -> None:
    """Ask for the password that sudo wants on the workstation; this process alone keeps it."""
    os.environ[PASSWORD] = getpass.getpass("sudo's password on the workstation: ")
    password()


def password() -> str:
    """Return the password for sudo, "" if there is none; from now on it is masked.

    Raises ParamsError for one that cannot be handed over in a line.
    """
    found = os.environ.get(PASSWORD, "")
    if "\n" in found:
        raise ParamsError(PASSWORD, "one line", "more of them")
    return masks.know(found)


def run(
    shell: Shell,
    command: str,
    *,
    stdin: bytes | None = None,
    sudo: bool = False,
    within: float = 60.0,
    ok: tuple[int, ...] = (0,),
) -> Result:
    """Run a command and return how it ended.

    With `sudo` its first program runs as root, and `$SUDO` stands for the same before others.
    Raises ShellFailed for an exit code not in `ok`; OutOfSight if the connection broke, and with
    rc None after `within` seconds.
    """
    script, given = PROLOGUE + command, ""
    if sudo:
        script = f"{PROLOGUE}{BECOME_ROOT.format(seconds=within)}$SUDO {command}"
        given = password() if shell.takes_password else ""
    if given:
        script, stdin = TAKE_PASSWORD + script, f"{given}\n".encode() + (stdin or b"")
    source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
    with _started(shell, script, stdin=source, stderr=subprocess.PIPE) as process:
        try:
            out, err = process.communicate(stdin, within + GRACE * sudo)
        except BaseException as stopped:
            _end(process)
            if isinstance(stopped, subprocess.TimeoutExpired):
                raise OutOfSight(command, None, "") from None
            raise
    before, frame, said = out.decode(errors="replace").partition(f"{FRAME}\n")
    if not frame and process.returncode == 0:
        raise ShellFailed(command, 0, before, NOT_RUN)
    said = said if frame else before
    result = Result(process.returncode, said, err.decode(errors="replace"))
    return _demand(shell, command, result, ok, sudo)


def stream(
    shell: Shell, command: str, on_line: Callable[[str], None], *, within: float = 3600.0
) -> None:
    """Run a command, passing on each whole line of its stdout and stderr as it comes.

    A line that redraws itself with carriage returns is passed on as a line for each state. Raises
    ShellFailed for an exit code other than 0; OutOfSight if the connection broke, and with rc None
    after `within` seconds; then all that it started is ended.
    """
    late, lines = threading.Event(), []
    script = f"{PROLOGUE}exec 2>&1; {command}"
    # What ssh itself says, and a login before the command, may come at any time: it is kept apart.
    with (
        tempfile.TemporaryFile("w+", errors="replace") as err,
        _started(shell, script, stderr=err, text=True, errors="replace") as process,
    ):
        timer = threading.Timer(within, lambda: (late.set(), _end(process)))
        timer.start()
        try:
            _pass_on(process.stdout, lines, on_line)
            process.wait(10)
        except BaseException:
            _end(process)
            raise
        finally:
            timer.cancel()
        err.seek(0)
        result = Result(process.returncode, "\n".join(lines), err.read())
    if late.is_set():
        raise OutOfSight(command, None, result.out)
    _demand(shell, command, result)


def _pass_on(output: Iterable[str], lines: list[str], on_line: Callable[[str], None]) -> None:
    """Pass on and keep the lines after the frame; a line cut off at the end is only kept."""
    framed = False
    for line in output:
        lines.append(line.removesuffix("\n"))
        if framed and line.endswith("\n"):
            on_line(lines[-1])
        if not framed and line.endswith(f"{FRAME}\n"):
            framed = True
            lines.clear()


def _started(
    shell: Shell, script: str, stdin: int = subprocess.DEVNULL, **how: object
) -> subprocess.Popen:
    argv = [*shell.argv, "-c", shlex.quote(script) if shell.remote else script]
    own = {k: v for k, v in os.environ.items() if k != PASSWORD}
    # A session of its own, so that all it started can be ended together.
    how |= {"stdin": stdin, "stdout": subprocess.PIPE, "env": own}
    return subprocess.Popen(argv, start_new_session=True, **how)


def _end(process: subprocess.Popen) -> None:
    """End the command with all of its process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(2)
        except subprocess.TimeoutExpired:
            continue
        except (ProcessLookupError, PermissionError):  # gone, or root's: `timeout` ends that
            return


def _demand(
    shell: Shell, command: str, result: Result, ok: tuple[int, ...] = (0,), sudo: bool = False
) -> Result:
    """Return the result if its exit code is among `ok`, else raise ShellFailed with advice."""
    if result.rc in ok:
        return result
    said = result.err + result.out
    if shell.remote and result.rc == 255:
        raise OutOfSight(command, 255, said, ssh.advice(shell.argv, said))
    if sudo and result.rc in TIMED_OUT:
        raise OutOfSight(command, None, said)
    hint = SUDO_HINT if shell.takes_password else NODE_HINT
    raise ShellFailed(command, result.rc, said, hint if sudo and NO_SUDO.search(said) else "")


def find_text(shell: Shell, path: str) -> str | None:
    """Return what a file holds, None if there is no such file; the path starts at $HOME."""
    where = shlex.quote(path)
    done = run(shell, f"if [ -e {where} ]; then cat -- {where}; else exit 44; fi", ok=(0, 44))
    return None if done.rc == 44 else done.out


def read_text(shell: Shell, path: str) -> str:
    """Return what a file holds; the path starts at $HOME. Raises ShellFailed if it is absent."""
    return run(shell, f"cat -- {shlex.quote(path)}").out


def write_text(shell: Shell, path: str, text: str) -> None:
    """Write a file in one step, for us alone; make its folder if need be. It starts at $HOME."""
    data = text.encode()
    where, folder = shlex.quote(path), shlex.quote(str(PurePosixPath(path).parent))
    # The count tells a whole text from the first part of one, sent before a connection broke. It
    # is on the disk before it gets its name: a power cut leaves the old file or the new one.
    command = f"""umask 077; mkdir -p -- {folder} || exit 1
new=$(mktemp -- {folder}/.new.XXXXXX) && trap 'rm -f -- "$new"' EXIT || exit 1
cat >"$new" && [ "$(wc -c <"$new")" -eq {len(data)} ] && sync -- "$new" || exit 1
chmod 600 -- "$new" && mv -f -- "$new" {where} && sync -- {folder}"""
    run(shell, command, stdin=data)
