"""Starts one server in the background per folder and dialect, finds it again, and ends it.

A running server has its facts in `server.json` and a lock on `serving`, which the system releases
however the server ends.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 20  # seconds for a server to come up or to end
STATE = ("state.sqlite", "state.sqlite-wal", "state.sqlite-shm", "server.json", "server.log")


class Trouble(Exception):
    """The server cannot be started or ended; the text says why and what to do."""


def base(given: str | None) -> Path:
    """Return the folder that holds an instance for each dialect."""
    return Path(given or os.environ.get("RUNBOOK_LOCALCLOUD") or ROOT / ".localcloud").absolute()


def running(folder: Path) -> dict | None:
    """Return the content of `server.json` if its server is up, None otherwise."""
    if not is_locked(folder / "serving"):
        return None
    found = read(folder)
    return found if found and found["pid"] == _holder(folder) else None


def _holder(folder: Path) -> int:
    """Return the process that serves, as it wrote beside its lock; 0 where that is not to be read.

    It does not depend on `server.json`, which may be damaged while the server runs.
    """
    text = (folder / "serving").read_text("utf-8", "replace").strip()
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,8}", text) else 0


def read(folder: Path) -> dict | None:
    """Return what stands in `server.json`, None if there is none or it is damaged."""
    try:
        found = json.loads((folder / "server.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(found, dict) and all(type(found.get(n)) is int for n in ("pid", "port"))
    return found if whole and isinstance(found.get("endpoint"), str) else None


def is_locked(path: Path) -> bool:
    """Return whether another process holds the lock on a file."""
    if not path.exists():
        return False
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared with others that look
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Lock a file during the block; Trouble if another process has it and `wait` is off."""
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Trouble(f"A server for {path.parent} runs already: look at `status`.") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def demand_etcd(kind: str | None) -> None:
    """Raise Trouble if real etcd processes are requested and etcd is not installed."""
    if kind == "real" and not shutil.which("etcd"):
        raise Trouble("etcd=real needs the program etcd on the PATH (Debian: etcd-server).")


def start(folder: Path, dialect: str, options: list[str]) -> dict:
    """Return the running server's facts, starting it if need be; of two at once one starts it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(folder / "starting"):
        found = running(folder)
        if not found and is_locked(folder / "serving") and not _settles(folder):
            raise Trouble(
                f"A server runs for {folder}, but its server.json is damaged or gone. End it with "
                "`runbook local-cloud stop`, which keeps what it holds, and start it again."
            )
        return found or running(folder) or _spawn(folder, dialect, options)


def _settles(folder: Path) -> bool:
    """Tell whether a server that is just starting, or ending, gets to the end of that."""
    until = time.monotonic() + PATIENCE / 4
    while time.monotonic() < until:
        if running(folder) or not is_locked(folder / "serving"):
            return True
        time.sleep(0.05)
    return False


def _spawn(folder: Path, dialect: str, options: list[str]) -> dict:
    command = [sys.executable, "-m", __package__, "serve", "--dialect", dialect]
    command += ["--dir", str(folder.parent), *options]
    with open(folder / "server.log", "ab") as log:
        child = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and child.poll() is None:
        found = read(folder)
        if found and found["pid"] == child.pid:
            # It goes on by itself; nobody waits for it here.
            child.returncode = 0
            return found
        time.sleep(0.01)
    last = (folder / "server.log").read_text().strip().rpartition("\n")[2]
    raise Trouble(f"The local cloud did not start: {last} (all it said: {folder / 'server.log'})")


def publish(folder: Path, facts: dict) -> None:
    """Write `server.json` as a whole, readable for its owner only."""
    path = folder / f"server.json.{os.getpid()}"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(facts, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path, folder / "server.json")


def port_of_last_run(folder: Path) -> int:
    """Return the port of the last run, 0 without one; URLs on disks may contain it."""
    return (read(folder) or {}).get("port", 0)


def stop(folder: Path) -> bool:
    """End the server and wait until it has; say whether there was one."""
    if not is_locked(folder / "serving"):
        return False
    pid = _holder(folder)
    if not pid:
        raise Trouble(f"A server runs for {folder}, but its process is not known: end it by hand.")
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + PATIENCE
    while is_locked(folder / "serving"):
        if time.monotonic() > until:
            raise Trouble(f"The server (pid {pid}) does not end; try `kill -9`.")
        time.sleep(0.01)
    return True


def reset(folder: Path) -> None:
    """End the server and delete its state, its disks and the workstation."""
    stop(folder)
    for name in STATE:
        (folder / name).unlink(missing_ok=True)
    for name in ("disks", "workstation", "machines"):
        if (folder / name).exists():
            shutil.rmtree(folder / name)


def serve(folder: Path, dialect: str, port: int | None, idle: float, options: dict) -> None:
    """Serve in the foreground until SIGTERM, SIGINT, or `idle` minutes without a request."""
    from .wire.server import Server  # all of the server, which `start` has no need of

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(folder / "serving", wait=False):
        make = partial(Server, folder, dialect=dialect, **options)
        server = _on_port(make, folder, port)
        facts = server.connection | {"pid": os.getpid(), "port": server.listener.server_port}
        publish(folder, facts)
        _until_asked_to_end(server, idle * 60)


def _on_port(make: Callable, folder: Path, port: int | None):
    from .state.rows import OtherFormat
    from .state.seeds import BadSeed, OtherSeed

    wanted = port if port is not None else port_of_last_run(folder)
    try:
        return make(port=wanted)
    except (OtherFormat, BadSeed, OtherSeed) as error:
        raise Trouble(str(error)) from None
    except OSError:
        if port is not None:
            raise Trouble(f"Port {port} is taken: give another --port, or none.") from None
        return make()


def _until_asked_to_end(server, seconds: float) -> None:
    def end(*_: object) -> None:
        raise KeyboardInterrupt

    def idle(since: float) -> None:
        if since > seconds:
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    server.listener.on_idle = idle
    try:
        server.serve()
    except KeyboardInterrupt:
        server.stop()
