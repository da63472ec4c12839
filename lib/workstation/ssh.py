"""OpenSSH, with its config, agent, jump hosts and known_hosts; all commands share a connection."""

import os
import re
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lib.errors import ParamsError

TARGET = re.compile(
    r"(?:(?P<user>[A-Za-z_][\w.-]*)@)?(?P<host>[A-Za-z0-9][\w.-]*)(?::(?P<port>\d{1,5}))?",
    re.ASCII,
)
OPTIONS = ("BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=10", "LogLevel=ERROR")
OPTIONS += ("ServerAliveInterval=5", "ServerAliveCountMax=3")
PERSIST = 120  # seconds that the shared connection stays open after the last command
AGAIN = 30  # seconds for a second login that diagnoses the first
LONGEST = 50  # characters of a folder whose sockets have a valid path

KEY_REFUSED = "Host key verification failed"
UNHEARD = "kex_exchange_identification"  # hides the reason of a jump host on a shared connection
HINTS = {
    "Permission denied (": "Its sshd accepted none of your keys: load the key into ssh-agent, or "
    "set it for this host in ~/.ssh/config.",
    "": "The workstation was not reached, or the connection broke: check workstation_ssh.",
}


def argv(target: str) -> tuple[str, ...]:
    """Return the command that reaches `user@host[:port]`, or a host of ~/.ssh/config.

    Raises ParamsError for any other text, which ssh could take for an option.
    """
    found = TARGET.fullmatch(target)
    if not found or not 0 < int(found["port"] or 22) < 65536:
        raise ParamsError("workstation_ssh", '"" or user@host[:port]', target)
    who = f"{found['user']}@{found['host']}" if found["user"] else found["host"]
    port = ("-p", found["port"]) if found["port"] else ()
    options = (*OPTIONS, *_shared(_folder()))
    return ("ssh", *(x for o in options for x in ("-o", o)), *port, "--", who, "exec /bin/sh")


def _shared(folder: Path | None) -> tuple[str, ...]:
    if folder is None:
        return ()
    path = str(folder).replace("%", "%%")
    return ("ControlMaster=auto", f'ControlPath="{path}/%C"', f"ControlPersist={PERSIST}")


def _folder() -> Path | None:
    """Return the folder of the shared connections; None if no private folder is possible.

    Without it each command opens a connection of its own.
    """
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    folder = Path(base if len(base) < LONGEST - 20 else "/tmp") / f"runbook-ssh-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        seen = folder.lstat()
    except OSError:
        return None
    private = stat.S_ISDIR(seen.st_mode) and not stat.S_IMODE(seen.st_mode) & 0o077
    return folder if private and seen.st_uid == os.getuid() else None


def advice(prefix: Sequence[str], output: str) -> str:
    """Return what to do about the output of an ssh that ended with 255."""
    if UNHEARD in output:
        output += _again(prefix)
    if KEY_REFUSED in output:
        return _about_key(prefix, "HAS CHANGED" in output)
    return next(text for words, text in HINTS.items() if words in output)


def _about_key(prefix: Sequence[str], changed: bool) -> str:
    """Return the refused host key, and how to compare and accept it."""
    login = shlex.join(_login(prefix))
    seen = " ".join(_offered(prefix)) or "not shown by ssh"
    known = "Its host key HAS CHANGED" if changed else "Its host key is not known here"
    forget = "first remove the old one with ssh-keygen -R, then " if changed else ""
    return (
        f"{known}. The key it offers: {seen}. Compare this with what `for k in "
        "/etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $k; done` prints on the machine's own "
        f"console. If it is there, {forget}accept it by logging in once by hand: {login}"
    )


def _login(prefix: Sequence[str]) -> list[str]:
    """Return the command with which an operator logs in."""
    at = prefix.index("--")
    port = prefix[at - 2 : at] if prefix[at - 2] == "-p" else ()
    return ["ssh", *port, prefix[at + 1]]


def _offered(prefix: Sequence[str]) -> list[str]:
    """Return the type and fingerprint of the refused key, from a second refused login."""
    output = _again(prefix, "-v", "-o", "LogLevel=DEBUG1")
    found = re.findall(r"Server host key: (\S+) (SHA256:\S+)", output)
    return list(found[-1]) if found else []


def _again(prefix: Sequence[str], *options: str) -> str:
    """Log in again on a separate connection and return ssh's messages, "" after a time-out."""
    alone = [x for o in ("ControlPath=none", "ControlPersist=no") for x in ("-o", o)]
    command = [*prefix[:1], *options, *alone, *prefix[1:]]
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": AGAIN}
    try:
        return subprocess.run(command, check=False, **options).stderr
    except subprocess.TimeoutExpired:
        return ""
