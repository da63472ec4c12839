"""Projects hide their resources from calls that do not name them, as on a real cloud.

A call with `projectid` lists or creates resources of that project; -1 lists those of all projects.
Calls that name a resource by its id reach it either way (`AccountManagerImpl`).
"""

from ..state.cloud import Cloud, Listing, fitting
from ..state.refusals import invalid
from ..state.rows import Row
from . import publicip
from .cards import card

ANY = -1
OWNED = """virtualmachine volume snapshot template network sshkeypair userdata tag event
    instancegroup affinitygroup securitygroup publicipaddress"""


def enter(cloud: Cloud, values: dict) -> None:
    """Remove the project from the values of a call, and apply it until the call ends."""
    cloud.project = values.pop("projectid", None)


def in_sight(cloud: Cloud, found: Listing) -> Listing:
    """Return the rows that belong to the project of the call, or to none without one."""
    if found.kind not in OWNED.split() or not cloud.state.table("project"):
        return found
    return found._replace(rows=[row for row in found.rows if _seen(cloud, row)])


def _seen(cloud: Cloud, row: Row) -> bool:
    if not row.get("own", True):
        return True
    return "projectid" in row if cloud.project == ANY else row.get("projectid") == cloud.project


def found(cloud: Cloud, name: str) -> None:
    """Create a project with a network and the workstation in it, unless it exists."""
    if not name or any(row["name"] == name for row in cloud.rows("project")):
        return
    if not cloud.dialect.has_projects:
        raise invalid("project: 2.2 has no projects")
    now, machine = cloud.clock(), cloud.one("virtualmachine")
    project = cloud.state.add("project", name=name, at=now)
    inside = {"projectid": project["id"]}
    network = {k: v for k, v in cloud.one("network").items() if k not in ("id", "n")}
    network = cloud.state.add("network", **network | inside | {"name": f"{name}-net"})
    publicip.add(cloud, network, issourcenat=True)
    own = card(cloud, network, machine["nics"][0]["address"])
    cloud.state.change("virtualmachine", machine, **inside, nics=[own])
    for volume in fitting(cloud, "volume", virtualmachineid=machine["id"]):
        cloud.state.change("volume", volume, **inside)
