"""Commands for security groups, which only machines in basic zones can be in.

Rules and texts are those of `SecurityGroupManagerImpl` and `BaseDeployVMCmd`. What a group lets in
is kept (`securityrules`), but holds nothing back: nothing here is sent to machines.
"""

from typing import Any

from ..state.cloud import Cloud, Listing, fitting
from ..state.refusals import ApiError, invalid
from ..state.registry import command
from ..state.rows import Row
from ..state.views import members_of
from .affinity import named

DEFAULT = "default"  # which each account has


@command("listSecurityGroups")
def list_groups(
    cloud: Cloud, securitygroupname: str | None = None, virtualmachineid: Any = None, **more: Any
) -> Listing:
    """Answer with the matching groups."""
    rows = fitting(cloud, "securitygroup", name=securitygroupname, **more)
    if virtualmachineid is not None:
        inside = cloud.find("virtualmachine", virtualmachineid).get("securitygroupids", [])
        rows = [row for row in rows if row["id"] in inside]
    return Listing("securitygroup", rows)


@command("createSecurityGroup")
def create_group(cloud: Cloud, name: str, description: str = "") -> dict:
    """Create the group."""
    if any(row["name"] == name for row in cloud.mine("securitygroup")):
        raise invalid(f"Unable to create security group, a group with name {name} already exists.")
    own = {"name": name, "description": description or None} | cloud.ownership()
    return cloud.state.add("securitygroup", at=cloud.clock(), **own)


@command("deleteSecurityGroup")
def delete_group(cloud: Cloud, id: Any = None, name: str | None = None) -> bool:
    """Delete the group, unless it is in use (536)."""
    if id is not None and name is not None:
        raise invalid("name parameter is mutually exclusive with id parameter")
    if id is None and name is None:
        raise invalid("Either id or name parameter is required by deleteSecurityGroup command")
    found = [g for g in cloud.mine("securitygroup") if g["id"] == id or g["name"] == name]
    if not found:
        raise invalid(f"Unable to find security group by {'name' if name else 'id'} {name or id}")
    if found[0]["name"] == DEFAULT:
        raise invalid("The network group default is reserved")
    if any(r.get("allowed") == found[0]["id"] for r in cloud.rows("securitygrouprule")):
        text = "Cannot delete group when there are security rules that allow this group"
        raise ApiError(536, text, 4390)
    if members_of(cloud, found[0]):
        raise ApiError(536, "Cannot delete group when it's in use by virtual machines", 4390)
    for rule in fitting(cloud, "securitygrouprule", securitygroupid=found[0]["id"]):
        cloud.state.remove("securitygrouprule", rule)
    cloud.state.remove("securitygroup", found[0])
    return True


def chosen(
    cloud: Cloud,
    zone: Row,
    securitygroupids: list | None = None,
    securitygroupnames: list | None = None,
    **_: Any,
) -> list[Any]:
    """Return the ids of the groups of a deployment in a zone; the default one if none is named."""
    ids = named(cloud, "securitygroup", securitygroupids, securitygroupnames)
    if not zone["securitygroupsenabled"] and ids:
        raise invalid(
            "Can't create vm with security groups; security group feature is not enabled per zone"
        )
    if not zone["securitygroupsenabled"]:
        return []
    ids = ids or named(cloud, "securitygroup", None, [DEFAULT])
    return [cloud.find("securitygroup", id)["id"] for id in ids]
