"""OpenSSH: its config, agent, jump hosts and known_hosts count; one connection serves all."""

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
KEPT = 120  # seconds that the shared connection outlives the last command
AGAIN = 30  # seconds for a login that only shows what is wrong
LONGEST = 50  # characters of a folder in which the name of a socket still fits

KEY_REFUSED = "Host key verification failed"
UNHEARD = "kex_exchange_identification"  # where the connection is shared, a jump host is not heard
HINTS = {
    "Permission denied (": "Its sshd accepted no key of yours: load the key into ssh-agent, or "
    "name it for this host in ~/.ssh/config.",
    "": "The workstation was not reached, or the connection broke: check workstation_ssh.",
}


def argv(target: str) -> tuple[str, ...]:
    """Return the command that reaches `user@host[:port]`, or a host of ~/.ssh/config.

    Raises ParamsError for anything that ssh would take for something else.
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
    return ("ControlMaster=auto", f'ControlPath="{path}/%C"', f"ControlPersist={KEPT}")


def _folder() -> Path | None:
    """Return the folder of the shared connections; None if there can be none for us alone.

    Without it all works the same, with a connection for each command.
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


def advice(prefix: Sequence[str], said: str) -> str:
    """Say what to do about what ssh said when it ended with 255."""
    if UNHEARD in said:
        said += _again(prefix)
    if KEY_REFUSED in said:
        return _about_key(prefix, "HAS CHANGED" in said)
    return next(text for words, text in HINTS.items() if words in said)


def _about_key(prefix: Sequence[str], changed: bool) -> str:
    """Show the host key that was refused, and how it is compared and accepted."""
    login = shlex.join(_login(prefix))
    seen = " ".join(_offered(prefix)) or "not shown by ssh"
    known = "Its host key HAS CHANGED" if changed else "Its host key is not known here"
    forget = "first take the old one away with ssh-keygen -R, then " if changed else ""
    return (
        f"{known}. The key it offers: {seen}. Compare this with what `for k in "
        "/etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $k; done` prints on the machine's own "
        f"console. If it is there, {forget}accept it by logging in once by hand: {login}"
    )


def _login(prefix: Sequence[str]) -> list[str]:
    """Return what an operator types to log in: the host, and its port if one was given."""
    at = prefix.index("--")
    port = prefix[at - 2 : at] if prefix[at - 2] == "-p" else ()
    return ["ssh", *port, prefix[at + 1]]


def _offered(prefix: Sequence[str]) -> list[str]:
    """Return type and fingerprint of the key that is refused, by being refused once more."""
    said = _again(prefix, "-v", "-o", "LogLevel=DEBUG1")
    found = re.findall(r"Server host key: (\S+) (SHA256:\S+)", said)
    return list(found[-1]) if found else []


def _again(prefix: Sequence[str], *options: str) -> str:
    """Log in once more, with a connection of its own, to do nothing; return what ssh says.

    That is "" if it does not end in time.
    """
    alone = [x for o in ("ControlPath=none", "ControlPersist=no") for x in ("-o", o)]
    command = [*prefix[:1], *options, *alone, *prefix[1:]]
    told = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": AGAIN}
    try:
        return subprocess.run(command, check=False, **told).stderr
    except subprocess.TimeoutExpired:
        return ""
