"""Machines: what the members of a cluster are called, where they are, and how they go."""

import re

from lib import own
from lib.cloud import Cloud
from lib.errors import CheckFailed
from lib.steps import Step

NAME = re.compile(
    r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)  # what CloudStack takes as host name


def names(cluster: str, size: int, first: int = 1) -> list[str]:
    """Return the names of the members: `cluster-1` to `cluster-N`, or from the number `first` on.

    Raises CheckFailed for names that CloudStack would refuse.
    """
    wanted = [f"{cluster}-{i}" for i in range(first, first + size)]
    bad = [n for n in wanted if not NAME.fullmatch(n)]
    if bad:
        rule = "a letter, then letters, digits and -, 63 at most"
        raise CheckFailed("cluster_name", rule, f"machines called {bad[0]}")
    return wanted


def address_of(machine: dict) -> str:
    """Return the address of a machine's default nic, "" if it has none.

    The order of a machine's nics promises nothing; `isdefault` marks the one that counts.
    """
    nics = machine.get("nic") or [{}]
    nic = next((n for n in nics if n.get("isdefault")), nics[0])
    return nic.get("ipaddress") or ""


def addresses(cloud: Cloud, zone: str, wanted: list[str]) -> dict[str, str]:
    """Return the address of each machine that has one, by name; a stopped one keeps its own."""
    there = own.machines(cloud, zone, wanted).items()
    return {n: address_of(m) for n, m in there if address_of(m)}


def plan_removal(cloud: Cloud, *, zone: str, cluster: str, owner: dict) -> list[Step]:
    """Return the steps that destroy the cluster's machines, however many there are.

    On servers with tags the tags tell which; on others the names `cluster-<number>`.
    """
    rows = cloud.list("listVirtualMachines", zoneid=cloud.zone_id(zone))
    mine = [r for r in rows if re.fullmatch(re.escape(cluster) + r"-\d+", r["name"])]
    known = own.ours(cloud, mine, owner)
    mine = [r for r in mine if r in known or r["state"] == "Error"]
    gone = (
        ("Expunging", "Expunged") if cloud.may_expunge else ("Destroyed", "Expunging", "Expunged")
    )
    return [plan_destroy(cloud, m, "made by this runbook") for m in mine if m["state"] not in gone]


def plan_destroy(cloud: Cloud, machine: dict, why: str) -> Step:
    """Return the step that destroys a machine, and expunges it where the account may do that."""
    expunge = {"expunge": True} if cloud.may_expunge else {}
    params = {"id": machine["id"], **expunge}
    return Step("destroyVirtualMachine", params, why, machine["name"])
