"""Commands for affinity groups: which machines go on one host, or on different ones.

Rules and texts are those of `AffinityGroupServiceImpl`; `guests.hosts` applies the groups.
"""

from typing import Any

from ..guests.hosts import TYPES
from ..state.cloud import Cloud, Listing, fitting
from ..state.jobs import Work
from ..state.refusals import invalid
from ..state.registry import command, phase
from ..state.rows import Row


@command("listAffinityGroups")
def list_groups(cloud: Cloud, virtualmachineid: Any = None, **filters: Any) -> Listing:
    """Answer with the matching groups."""
    rows = fitting(cloud, "affinitygroup", **filters)
    if virtualmachineid is not None:
        inside = cloud.find("virtualmachine", virtualmachineid).get("affinitygroupids", [])
        rows = [row for row in rows if row["id"] in inside]
    return Listing("affinitygroup", rows)


@command("listAffinityGroupTypes")
def list_types(cloud: Cloud, keyword: str = "") -> Listing:
    """Answer with the types that users may make groups of."""
    return Listing("affinityGroupType", [{"type": name} for name in TYPES if keyword in name])


@command("createAffinityGroup")
def create_group(cloud: Cloud, name: str, type: str, description: str = "") -> Work:
    """Create the group."""
    if type not in TYPES:
        raise invalid(f"Unable to create affinity group, invalid affinity group type{type}")
    if any(row["name"] == name for row in cloud.mine("affinitygroup")):
        raise invalid(f"Unable to create affinity group, a group with name {name} already exists.")
    own = {"name": name, "type": type, "description": description or None} | cloud.ownership()
    return Work(cloud.state.add("affinitygroup", at=cloud.clock(), **own))


@command("deleteAffinityGroup")
def delete_group(cloud: Cloud, id: Any = None, **_: Any) -> Work:
    """Queue the deleting."""
    return Work(cloud.state.get("affinitygroup", id))


@phase("deleteAffinityGroup", "finish")
def deleted(cloud: Cloud, job: Row, id: Any = None, name: str | None = None) -> None:
    """Delete the group and take its machines out of it."""
    if id is None and name is None:
        raise invalid(
            "Either the affinity group Id or group name must be specified to delete the group"
        )
    found = fitting(cloud, "affinitygroup", id=id, name=None if id is not None else name)
    if not found:
        was = cloud.state.trace_of("affinitygroup", id).get("was", id)
        raise invalid(f"Unable to find affinity group {name if id is None else was}")
    for machine in cloud.rows("virtualmachine"):
        if found[0]["id"] in machine.get("affinitygroupids", []):
            left = [i for i in machine["affinitygroupids"] if i != found[0]["id"]]
            cloud.state.change("virtualmachine", machine, affinitygroupids=left)
    cloud.state.remove("affinitygroup", found[0])


@phase("updateVMAffinityGroup", "finish")
def updated(
    cloud: Cloud,
    job: Row,
    id: Any,
    affinitygroupids: list | None = None,
    affinitygroupnames: list | None = None,
) -> dict:
    """Change the machine's groups."""
    row = cloud.find("virtualmachine", id)
    groups = chosen(cloud, affinitygroupids, affinitygroupnames)
    if row["state"] != "Stopped":
        text = cloud.dialect.machine_text(row)
        raise invalid(
            f"Unable update affinity groups of the virtual machine {text} in state {row['state']}; "
            "make sure the virtual machine is stopped and not in an error state before updating."
        )
    cloud.state.change("virtualmachine", row, affinitygroupids=groups)
    return row


def chosen(
    cloud: Cloud,
    affinitygroupids: list | None = None,
    affinitygroupnames: list | None = None,
    **_: Any,
) -> list[Any]:
    """Return the ids of the groups of a call."""
    ids = named(cloud, "affinitygroup", affinitygroupids, affinitygroupnames)
    return [cloud.find("affinitygroup", id)["id"] for id in dict.fromkeys(ids)]


def named(cloud: Cloud, kind: str, ids: list | None, names: list | None) -> list[Any]:
    """Return the ids of groups of a kind that a call has by ids or by names, but not by both."""
    if ids and names:
        raise invalid(f"{kind}ids parameter is mutually exclusive with {kind}names parameter")
    by_name = {row["name"]: row["id"] for row in cloud.mine(kind)}
    what = "affinity group" if kind == "affinitygroup" else "group"
    for name in names or []:
        if name not in by_name:
            raise invalid(f"Unable to find {what} by name {name}")
    return ids or [by_name[name] for name in names or []]
