"""Machines: what the members of a cluster are called, where they are, and how they go."""

import re

from lib.cloud import Cloud
from lib.errors import CheckFailed
from lib.steps import Id, Step

NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")  # CloudStack's rule of host names
MOST_MEMBERS = 9  # etcd 0.4 has no more; with more, each write waits for more answers
BAD = ("Error", "Destroyed", "Destroying", "Expunging", "Expunged")


def names(cluster: str, size: int, first: int = 1) -> list[str]:
    """Return the names of the members: `cluster-1` to `cluster-N`, or from the number `first` on.

    Raises CheckFailed for names that CloudStack would refuse.
    """
    wanted = [f"{cluster}-{i}" for i in range(first, first + size)]
    bad = [n for n in wanted if not NAME.fullmatch(n)]
    if bad:
        rule = "a letter, then letters, digits and -, 63 at most"
        found = f"machines called {bad[0]}"
        raise CheckFailed("cluster_name", rule, found, "Set cluster_name.")
    return wanted


def stem_of(machine: str) -> str:
    """Return a machine's name without its number: the cluster's, with the role.

    >>> stem_of("core-worker-12")
    'core-worker'
    """
    return machine.rpartition("-")[0]


def found(rows: list[dict], names: list[str]) -> dict[str, dict]:
    """Return those of the rows with these names, in their order, those being destroyed left out.

    Raises CheckFailed when two machines bear one name.
    """
    alive = [r for r in rows if r["state"] not in BAD or r["state"] == "Error"]
    wanted = set(names)
    same: dict[str, list[dict]] = {}
    for row in (r for r in alive if r["name"] in wanted):
        same.setdefault(row["name"], []).append(row)
    for name, those in same.items():
        demand_one(those, f"machines named {name}", "Rename one.")
    return {name: same[name][0] for name in names if name in same}


def demand_one(rows: list[dict], what: str, next_step: str) -> None:
    """Raise CheckFailed when there is more than one row."""
    if len(rows) > 1:
        ids = ", ".join(str(r["id"]) for r in rows)
        raise CheckFailed(what, "one at most", f"{len(rows)} ({ids})", next_step)


def nic_of(machine: dict) -> dict:
    """Return a machine's default nic, {} if it has none.

    The order of a machine's nics promises nothing; `isdefault` marks the one that counts.
    """
    nics = machine.get("nic") or [{}]
    return next((n for n in nics if n.get("isdefault")), nics[0])


def address_of(machine: dict) -> str:
    """Return the address of a machine's default nic, "" if it has none."""
    return nic_of(machine).get("ipaddress") or ""


def addresses(machines: dict[str, dict]) -> dict[str, str]:
    """Return the address of each machine that has one, by name; a stopped one keeps its own."""
    return {n: address_of(m) for n, m in machines.items() if address_of(m)}


def plan_destroy(cloud: Cloud, machine: dict, why: str) -> Step:
    """Return the step that destroys a machine, and expunges it where the account may do that."""
    params = {"id": Id.of(machine)} | ({"expunge": True} if cloud.may_expunge else {})
    return Step("destroyVirtualMachine", params, why, machine["name"])
