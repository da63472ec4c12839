"""Discovery services that marked tests run: an etcd's keys, and Debian's etcd-discovery."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests


def until(there: Callable[[], object], what: str, tries: int = 400):
    """Return what `there()` returns once it is something; the machines' processes take a while."""
    for _ in range(tries):
        if found := there():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(url: str) -> bool:
    """Tell whether something answers well at a URL."""
    try:
        return requests.get(url, timeout=2).status_code == 200
    except requests.ConnectionError:
        return False


@contextlib.contextmanager
def serving(kind: str, folder: Path) -> Iterator[str]:
    """Run a service, "etcd" or "etcd-discovery", and say its base URL."""
    client, peer, port = (free_port() for _ in range(3))
    at, other, own = (f"http://127.0.0.1:{n}" for n in (client, peer, port))
    flags = {"data-dir": folder / "registry", "name": "one", "initial-cluster": f"one={other}"}
    flags |= {"listen-client-urls": at, "advertise-client-urls": at}
    flags |= {"listen-peer-urls": other, "initial-advertise-peer-urls": other}
    commands = [(at, ["etcd", "--enable-v2", *(f"--{k}={v}" for k, v in flags.items())])]
    if kind == "etcd-discovery":
        words = ["--addr", f":{port}", "--host", own, "--etcd", at]
        commands.append((own, ["discovery.etcd.io", *words]))
    missing = [c[0] for _, c in commands if not shutil.which(c[0])]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    running = []
    try:
        with open(folder / "service.log", "wb") as said:
            for url, command in commands:
                running.append(subprocess.Popen(command, stdout=said, stderr=said))
                until(lambda url=url: answers(f"{url}/health"), url)
        yield own if kind == "etcd-discovery" else f"{at}/v2/keys/discovery"
    finally:
        for process in reversed(running):
            process.kill()
            process.wait()
