"""Runs commands on the workstation: on this machine, over ssh, or in the local cloud."""

import getpass
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from lib.errors import OutOfSight, ParamsError, ShellFailed
from lib.record import masks
from lib.workstation import ssh

# The output of a .bashrc comes before this mark and is dropped.
FRAME = "--- output of the runbook's command ---"
NOT_RUN = "The login succeeded but did not run the command: check the user's login shell there."
# Every command starts in the home folder, and in English, as its output is parsed here.
PROLOGUE = f'echo "{FRAME}"; export LC_ALL=C; cd "$HOME" || exit 1; '
# If sudo needs a password, the first line of stdin holds it, and sudo gets it from a program that
# prints a variable: so it is in no command line, no file, and not in the environment of root.
PASSWORD = "RUNBOOK_SUDO_PASSWORD"
TAKE_PASSWORD = """\
IFS= read -r SUDO_ANSWER; SUDO_ASKPASS=$(command -v printenv); export SUDO_ANSWER SUDO_ASKPASS
"""
# Root uses sudo too where it exists: the local cloud's sudo reaches its disks. `timeout` runs as
# root because no other user may end a process of root, and it works on a remote machine too.
BECOME_ROOT = """\
how=-n; [ -z "${{SUDO_ANSWER+set}}" ] || how='-A -p SUDO_ANSWER'
if command -v sudo >/dev/null; then SUDO="sudo $how timeout -k 5 {seconds:g}"
elif [ "$(id -u)" = 0 ]; then SUDO='timeout -k 5 {seconds:g}'
else echo 'there is no sudo, and this user is not root' >&2; exit 126; fi
"""
TIMED_OUT = (124, 137)
GRACE = 7.0  # seconds that `timeout` has to end a command by itself
NO_SUDO = re.compile(
    r"sudo: (a password|a terminal|no password was|\d+ incorrect|.*sudoers)"
    r"|not allowed to (exec|run)|no sudo"
)
SUDO_HINT = (
    "This step needs `sudo` for your user on the workstation: without a password (NOPASSWD in "
    f"sudoers), or with the password in the environment variable {PASSWORD} of the process that "
    "starts runbook or JupyterLab. A notebook asks for it with `from lib.workstation import shell; "
    "shell.ask_password()`. It is passed to sudo and never recorded."
)
NODE_HINT = "`sudo` must work there without a password (NOPASSWD in sudoers): none is passed on."


@dataclass(frozen=True)
class Shell:
    """A way to reach a POSIX shell: an argv prefix that takes `-c COMMAND`, and a name.

    Only a shell that `takes_password`, the workstation's, is given the password for sudo.
    """

    argv: tuple[str, ...]
    name: str
    remote: bool = False
    takes_password: bool = False

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Result:
    """The exit code and the output of a command."""

    rc: int
    out: str
    err: str


def connect_shell(prefix: Sequence[str] | None, workstation_ssh: str) -> Shell:
    """Return the shell of the workstation; nothing is sent yet.

    A `prefix` wins. Otherwise `workstation_ssh` is `user@host[:port]` or a host of ~/.ssh/config,
    reached with OpenSSH, or "" for this machine.
    """
    if prefix:
        return Shell(tuple(prefix), "the local cloud's workstation", takes_password=True)
    if not workstation_ssh:
        return Shell(("/bin/sh",), "this machine", takes_password=True)
    return Shell(ssh.argv(workstation_ssh), workstation_ssh, remote=True, takes_password=True)


def ask_password() -> None:
    """Ask for sudo's password on the workstation, and keep it in this process only."""
    os.environ[PASSWORD] = getpass.getpass("sudo's password on the workstation: ")
    password()


def password() -> str:
    """Return the password for sudo, "" if there is none, and mask it from now on.

    Raises ParamsError for a password of more than one line.
    """
    found = os.environ.get(PASSWORD, "")
    if "\n" in found:
        raise ParamsError(PASSWORD, "a password of one line")
    return masks.add(found)


def run(
    shell: Shell,
    command: str,
    *,
    stdin: bytes | None = None,
    sudo: bool = False,
    within: float = 60.0,
    ok: tuple[int, ...] = (0,),
) -> Result:
    """Run a command and return its exit code and output.

    With `sudo` the first program of the command runs as root; `$SUDO` does the same for others.
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
    before, frame, output = out.decode(errors="replace").partition(f"{FRAME}\n")
    if not frame and process.returncode == 0:
        raise ShellFailed(command, 0, before, NOT_RUN)
    output = output if frame else before
    result = Result(process.returncode, output, err.decode(errors="replace"))
    return _demand(shell, command, result, ok, sudo)


def _started(
    shell: Shell, script: str, stdin: int = subprocess.DEVNULL, **how: object
) -> subprocess.Popen:
    argv = [*shell.argv, "-c", shlex.quote(script) if shell.remote else script]
    own = {k: v for k, v in os.environ.items() if k != PASSWORD}
    # A session of its own, so that the command and its children can be ended together.
    how |= {"stdin": stdin, "stdout": subprocess.PIPE, "env": own}
    return subprocess.Popen(argv, start_new_session=True, **how)


def _end(process: subprocess.Popen) -> None:
    """End the command and its process group."""
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
    output = result.err + result.out
    if shell.remote and result.rc == 255:
        raise OutOfSight(command, 255, output, ssh.advice(shell.argv, output))
    if sudo and result.rc in TIMED_OUT:
        raise OutOfSight(command, None, output)
    hint = SUDO_HINT if shell.takes_password else NODE_HINT
    raise ShellFailed(command, result.rc, output, hint if sudo and NO_SUDO.search(output) else "")


def find_text(shell: Shell, path: str) -> str | None:
    """Return the text of a file, None if there is none; the path is relative to $HOME."""
    where = shlex.quote(path)
    done = run(shell, f"if [ -e {where} ]; then cat -- {where}; else exit 44; fi", ok=(0, 44))
    return None if done.rc == 44 else done.out


def read_text(shell: Shell, path: str) -> str:
    """Return the text of a file, relative to $HOME. Raises ShellFailed if it is absent."""
    return run(shell, f"cat -- {shlex.quote(path)}").out


def write_text(shell: Shell, path: str, text: str) -> None:
    """Write a private file, relative to $HOME, as a whole; create its folder if needed."""
    data = text.encode()
    where, folder = shlex.quote(path), shlex.quote(str(PurePosixPath(path).parent))
    # The count detects a text that a broken connection cut off. The text is synced before it is
    # renamed: a power cut leaves the old file or the new one.
    command = f"""umask 077; mkdir -p -- {folder} || exit 1
new=$(mktemp -- {folder}/.new.XXXXXX) && trap 'rm -f -- "$new"' EXIT || exit 1
cat >"$new" && [ "$(wc -c <"$new")" -eq {len(data)} ] && sync -- "$new" || exit 1
chmod 600 -- "$new" && mv -f -- "$new" {where} && sync -- {folder}"""
    run(shell, command, stdin=data)
