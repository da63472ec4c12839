"""Members: real etcd processes, one a machine, that end with the machine and with the server.

A machine has one address on the loopback network, which replaces all addresses that etcd is
configured to listen on. Its data stay in the machine's folder.
"""

import re
import shutil
import subprocess
from pathlib import Path

from ..state.cloud import Cloud
from ..state.rows import Row
from .settings import Settings

GUARD = Path(__file__).with_name("scripts") / "run-etcd"
LISTENS = {
    "listen-client-urls": "http://localhost:2379",
    "listen-peer-urls": "http://localhost:2380",
}
ADVERTISED = {
    "advertise-client-urls": LISTENS["listen-client-urls"],
    "initial-advertise-peer-urls": LISTENS["listen-peer-urls"],
}
EVERY = re.compile(r"//(?:0\.0\.0\.0|\[::1?\]|127\.0\.0\.1|localhost)(?=[:/]|$)")
OWN_PLACES = ("data-dir", "wal-dir")


def folder(cloud: Cloud, machine: Row) -> Path:
    """Return the folder for the files of a machine's processes."""
    return cloud.folder / "machines" / str(machine["id"])


def run(cloud: Cloud, machine: Row, address: str, given: Settings) -> str:
    """Start a machine's etcd as its unit would, and return a line on it."""
    place = folder(cloud, machine)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (place / "etcd/proxy").is_dir() and "rm -rf /var/lib/etcd/member" in given.before:
        shutil.rmtree(place / "etcd/member", ignore_errors=True)
    words = flags(given, address) | {"data-dir": str(place / "etcd")}
    own = {"ETCD_NAME": str(machine["id"]).replace("-", "")} | given.variables
    environment = {k: v for k, v in own.items() if _flag(k) not in (*words, *OWN_PLACES)}
    with open(place / "etcd.log", "ab") as log:
        cloud.processes[machine["id"]] = subprocess.Popen(
            ["/bin/sh", GUARD, *(f"--{k}={v}" for k, v in words.items())],
            stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin"} | environment,
        )  # fmt: skip
    return f"started at {address}"


def _flag(variable: str) -> str:
    return variable.removeprefix("ETCD_").lower().replace("_", "-")


def flags(given: Settings, address: str) -> dict[str, str]:
    """Return etcd's flags for these settings; it listens on the machine's address only.

    >>> flags(Settings({"ETCD_LISTEN_PEER_URLS": "http://[::]:1"}, []), "127.1.1.11")[
    ...     "listen-peer-urls"]
    'http://127.1.1.11:1'
    """
    found = {k: v for k, v in given.flags().items() if k not in OWN_PLACES}
    for name, default in (LISTENS | ADVERTISED).items():
        found.setdefault(name, given.get(name) or default)
    for name in LISTENS:
        urls = (EVERY.sub(f"//{address}", url) for url in found[name].split(","))
        found[name] = ",".join(dict.fromkeys(urls))
    return found


def end(cloud: Cloud, machine: Row) -> None:
    """End the processes of a machine, and wait until they are gone."""
    guard = cloud.processes.pop(machine["id"], None)
    if guard:
        guard.stdin.close()
        guard.wait()


def end_all(cloud: Cloud) -> None:
    """End the processes of all machines."""
    for guard in cloud.processes.values():
        guard.stdin.close()
    for guard in cloud.processes.values():
        guard.wait()
    cloud.processes.clear()


def forget(cloud: Cloud, machine: Row) -> None:
    """Delete the files of a machine's processes."""
    shutil.rmtree(folder(cloud, machine), ignore_errors=True)
