"""Registered user data: kept at the cloud under a name, where it can do that (since 4.18).

Machines are given them by their id. User data bear no tags, so their names tell whose they are:
`runbook-CLUSTER` for all machines of a cluster, `runbook-CLUSTER_ROLE` for those of a role, and
`runbook-CLUSTER_N` or `runbook-CLUSTER_ROLE-N` for its machine N. A cluster's name has no `_`, so
no two clusters share a name.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from lib.cloud import Cloud
from lib.config.userdata import UserData, encoded, exactly
from lib.errors import CheckFailed
from lib.steps import Pending, Step

PREFIX = "runbook-"
CHECKSUM = r"(_[0-9a-f]{8})?"
STAGE = "50-deploy-cluster"


def plan_register(
    cloud: Cloud, cluster: str, wanted: dict[str, UserData], *, anew: bool = False
) -> tuple[list[Step], dict[str, object]]:
    """Return the steps that register user data, and their ids, or what stands for them, by name.

    `wanted` is the name of the cluster or of a machine -> data. Data that are registered already
    are taken whatever their name, as the cloud takes none twice. Where the name stands for other
    data, `anew` adds a checksum to it; otherwise that raises CheckFailed.
    """
    rows = cloud.list("listUserData")
    by_name = {r["name"]: r for r in rows}
    by_data = {r["userdata"]: r for r in rows if "userdata" in r}
    steps, ids = [], {}
    for name, data in wanted.items():
        full = _free_name(by_name, _name(cluster, name), data, anew or data in by_data)
        found = by_data.get(data)
        if not found and by_name.get(full, {}).get("userdata", data) == data:
            found = by_name.get(full)
        ids[name] = found["id"] if found else Pending(_called(full), STAGE)
        if not found:
            why = "these user data are not registered"
            steps.append(Step("registerUserData", {"name": full, "userdata": data}, why, full))
    return steps, ids


def _name(cluster: str, name: str) -> str:
    """Return the name for user data of a cluster, of a role in it, or of one of its machines.

    >>> _name("core", "core"), _name("core", "core-1"), _name("core-1", "core-1")
    ('runbook-core', 'runbook-core_1', 'runbook-core-1')
    >>> _name("core", "core-worker")
    'runbook-core_worker'
    """
    own = "" if name == cluster else f"_{name.removeprefix(f'{cluster}-')}"
    return f"{PREFIX}{cluster}{own}"


def _free_name(there: dict[str, dict], name: str, data: UserData, anew: bool) -> str:
    """Return the name for user data, with a checksum where it stands for others."""
    if there.get(name, {}).get("userdata", data) == data:
        return name
    if anew:
        return f"{name}_{_checksum(data)}"
    next_step = (
        "Choose another cluster_name. If no machine of that cluster is left, 90-remove-cluster "
        "deletes them."
    )
    raise CheckFailed(f"other user data are registered as {name}.", next_step=next_step)


def _checksum(data: str) -> str:
    return hashlib.sha256(data.encode()).hexdigest()[:8]


def filled(steps: list[Step], fill: Callable[[str], str]) -> list[Step]:
    """Return the steps with each text as `fill` returns it, and names by the new checksums."""
    names = {}
    for step in steps:
        if step.command == "registerUserData":
            was, now = (f"_{_checksum(d)}" for d in (step.params["userdata"], _data(step, fill)))
            names[step.what] = re.sub(f"{was}$", now, step.what)
    return [_filled(s, fill, names) for s in steps]


def _filled(step: Step, fill: Callable[[str], str], names: dict[str, str]) -> Step:
    params = dict(step.params)
    if "text" in params:
        params["text"] = exactly(fill(base64.b64decode(params["text"]).decode()))
    if "userdata" in params:
        params["userdata"] = _data(step, fill)
    if "name" in params:
        params["name"] = names[step.what]
    if isinstance(params.get("userdataid"), Pending):
        called = {_called(was): _called(now) for was, now in names.items()}
        params["userdataid"] = Pending(called[params["userdataid"].what], STAGE)
    return replace(step, what=names.get(step.what, step.what), params=params)


def _data(step: Step, fill: Callable[[str], str]) -> UserData:
    text = base64.b64decode(step.params["userdata"]).decode()
    return encoded(fill(text).rstrip("\n") + "\n")


def _called(name: str) -> str:
    return f"user data {name}, registered"


def settled(cloud: Cloud, steps: list[Step]) -> list[Step]:
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


def rows_of(cloud: Cloud, cluster: str) -> list[dict]:
    """Return what is registered for a cluster as a whole, or for its machines.

    Whoever may not list them has registered none.
    """
    if not cloud.can_keep_user_data:
        return []
    rows = cloud.list_if_allowed("listUserData", keyword=PREFIX + cluster) or []
    return [r for r in rows if _is_of(r, cluster)]


def _is_of(row: dict, cluster: str) -> bool:
    """Tell whether user data are a cluster's, by their name.

    Once those of machine 1 of the cluster `a` were called as those of a cluster `a-1`: they are the
    machine's where they set its host name.
    """
    stem = re.escape(PREFIX + cluster)
    if re.fullmatch(stem + r"_[a-z0-9-]{1,40}" + CHECKSUM, row["name"]):
        return True
    older = re.fullmatch(stem + r"(-\d+)?" + CHECKSUM, row["name"])
    if not older:
        return False
    name = f"{cluster}{older[1] or ''}"
    return _names_host(row.get("userdata", ""), name) == bool(older[1])


def _names_host(data: str, name: str) -> bool:
    text = base64.b64decode(data).decode(errors="replace")
    return f"\nhostname: {name}\n" in text or f'"data:,{name}%0A"' in text


def plan_stale(cloud: Cloud, cluster: str, wanted: Iterable[UserData]) -> list[Step]:
    """Return the steps that delete what is registered for a cluster beside the wanted data."""
    stale = [r for r in rows_of(cloud, cluster) if r.get("userdata") not in wanted]
    why = "no machine has them any more"
    return [Step("deleteUserData", {"id": r["id"]}, why, r["name"]) for r in stale]


def plan_removal(cloud: Cloud, *, cluster: str) -> list[Step]:
    """Return the steps that delete what is registered for a cluster; its machines go before."""
    why = "made by this runbook"
    rows = rows_of(cloud, cluster)
    return [Step("deleteUserData", {"id": r["id"]}, why, r["name"]) for r in rows]
