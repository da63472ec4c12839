"""The cluster `mine`, whose machines run Debian's etcd, for marked tests."""

import shutil

import pytest
from harness import USERDATA, machines, play, until
from stages import DEPLOY, VERIFY, WRITE

from lib.localcloud.guests import etcd

SYSTEM = [
    pytest.mark.system,
    pytest.mark.skipif(not shutil.which("etcd"), reason="needs Debian's etcd-server"),
]
MINE = USERDATA | {"cluster_name": "mine", "work_dir": "mine"}
NAMES = ["mine-1", "mine-2", "mine-3"]


def form(cloud, **more) -> None:
    """Write the configuration, deploy the machines and wait for the cluster."""
    for stage in (WRITE, DEPLOY, VERIFY):
        play(cloud, stage, **MINE, **more)


def wrong(cloud, **more) -> dict:
    """Return the rows of what 60 finds wrong, by title, without waiting."""
    rows = play(cloud, VERIFY, "verify", **MINE | more, mode="plan")["found"]
    return {r.title: r for r in rows if r.ok == "✗"}


def address(cloud, name: str) -> str:
    """Return the address of a machine."""
    return machines(cloud)[name]["nic"][0]["ipaddress"]


def kill_etcd(cloud, name: str) -> None:
    """End the etcd of a machine, which runs on."""
    etcd.end(cloud.server.cloud, machines(cloud)[name])


def silence(cloud, name: str) -> None:
    """End the etcd of a machine, and wait until 60 finds this and nothing else wrong."""
    kill_etcd(cloud, name)
    until(lambda: list(wrong(cloud)) == [f"etcd of {name}"], "a leader without it")
