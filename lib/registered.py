"""Registered user data: kept at the cloud under a name, where it can do that (since 4.18).

Machines are given them by their id. User data bear no tags, so their names tell whose they are.
"""

import re
from dataclasses import replace

from lib.errors import CheckFailed
from lib.plan import Pending, Step
from lib.userdata import UserData

PREFIX = "runbook-"
STAGE = "50-deploy-cluster"


def plan_register(cloud, wanted: dict[str, UserData]) -> tuple[list[Step], dict[str, object]]:
    """Return the steps that register user data, and their ids, or what stands for them, by name.

    `wanted` is name -> data. Raises CheckFailed where the name stands for other data.
    """
    there = {r["name"]: r for r in cloud.list("listUserData")}
    steps, ids = [], {}
    for name, data in wanted.items():
        full = PREFIX + name
        found = there.get(full)
        if found and found.get("userdata", data) != data:
            next_step = "They are of an earlier cluster: run 90-remove-cluster first."
            raise CheckFailed(f"the user data {full}", "those of this cluster", "others", next_step)
        ids[name] = found["id"] if found else Pending(_called(full), STAGE)
        if not found:
            why = f"no user data are registered as {full}"
            steps.append(Step("registerUserData", {"name": full, "userdata": data}, why, full))
    return steps, ids


def _called(name: str) -> str:
    return f"user data {name}, registered"


def settled(cloud, steps: list[Step]) -> list[Step]:
    """Return the steps with the ids of what was registered meanwhile."""
    if not any(isinstance(s.params.get("userdataid"), Pending) for s in steps):
        return steps
    ids = {_called(r["name"]): r["id"] for r in cloud.list("listUserData")}
    return [_with_id(s, ids) for s in steps]


def _with_id(step: Step, ids: dict[str, object]) -> Step:
    wanted = step.params.get("userdataid")
    if not isinstance(wanted, Pending) or wanted.what not in ids:
        return step
    return replace(step, params=step.params | {"userdataid": ids[wanted.what]})


def rows_of(cloud, cluster: str) -> list[dict]:
    """Return what is registered for a cluster as a whole, or for its machines."""
    if cloud.version < (4, 18):
        return []
    ours = re.compile(re.escape(PREFIX + cluster) + r"(-\d+)?")
    return [r for r in cloud.list("listUserData") if ours.fullmatch(r["name"])]


def plan_stale(cloud, cluster: str, wanted: dict[str, UserData]) -> list[Step]:
    """Return the steps that delete what is registered for a cluster, but is not as wanted."""
    meant = {PREFIX + name: data for name, data in wanted.items()}
    stale = [r for r in rows_of(cloud, cluster) if r.get("userdata") != meant.get(r["name"])]
    why = "no machine has them any more"
    return [Step("deleteUserData", {"id": r["id"]}, why, r["name"]) for r in stale]


def plan_removal(cloud, *, cluster: str) -> list[Step]:
    """Return the steps that delete what is registered for a cluster; its machines go before."""
    why = "made by this runbook"
    rows = rows_of(cloud, cluster)
    return [Step("deleteUserData", {"id": r["id"]}, why, r["name"]) for r in rows]
