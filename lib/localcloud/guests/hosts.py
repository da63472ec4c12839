"""Hosts: which one of a zone takes a machine, by its size and its affinity groups.

The groups count as `HostAntiAffinityProcessor` and `HostAffinityProcessor` apply them. Those that
are not strict are wishes only, and change nothing here.
"""

from ..state.cloud import Cloud, size_of
from ..state.rows import Row

TYPES = ("host anti-affinity", "host affinity", "non-strict host anti-affinity",
         "non-strict host affinity")  # fmt: skip
UP = ("Running", "Stopping")
RELEASED = 3600  # seconds that a stopped machine keeps its host (capacity.skipcounting.hours)
FOLLOW = (
    ", Please check the affinity groups provided, there may not be sufficient capacity to follow "
    "them"
)


def find(cloud: Cloud, machine: Row) -> int:
    """Return the number of a host of the zone with room for a machine.

    Refuses one for which no host has the capacity (533), or the tag of its offering (530).
    """
    wanted, there = size_of(cloud, machine), cloud.setting("capacity")
    if wanted["hosttags"]:
        raise cloud.dialect.no_tagged_host(machine)
    taken = dict.fromkeys(_allowed(cloud, machine, int(there["hosts"])), (0, 0))
    for other in cloud.rows("virtualmachine"):
        if other["state"] in UP and _beside(other, machine) and other.get("host") in taken:
            size, (cpus, memory) = size_of(cloud, other), taken[other["host"]]
            taken[other["host"]] = cpus + size["cpunumber"], memory + size["memory"]
    for host, (cpus, memory) in taken.items():
        fits = cpus + wanted["cpunumber"] <= there["cpus"]
        if fits and memory + wanted["memory"] <= there["memory"]:
            return host
    refusal = cloud.dialect.no_room(machine)
    refusal.text += FOLLOW if machine.get("affinitygroupids") else ""
    raise refusal


def _beside(other: Row, machine: Row) -> bool:
    return other["zoneid"] == machine["zoneid"] and other["id"] != machine["id"]


def _allowed(cloud: Cloud, machine: Row, hosts: int) -> list[int]:
    """Return the hosts that the machine's template and groups allow."""
    template = cloud.state.get("template", machine["templateid"]) or {}
    if template.get("hypervisor", cloud.dialect.hypervisor) != cloud.dialect.hypervisor:
        return []
    allowed = list(range(hosts))
    for id in machine.get("affinitygroupids", []):
        kind = cloud.find("affinitygroup", id)["type"]
        mates = [m for m in cloud.rows("virtualmachine")
                 if id in m.get("affinitygroupids", []) and _beside(m, machine)]  # fmt: skip
        occupied = {m.get("host") for m in mates if m["state"] in UP or _was_up(cloud, m)}
        if kind == "host anti-affinity":
            allowed = [host for host in allowed if host not in occupied]
        if kind == "host affinity" and occupied:
            allowed = [host for host in allowed if host in occupied]
    return allowed


def _was_up(cloud: Cloud, machine: Row) -> bool:
    """Return whether a machine stopped so lately that it keeps its host."""
    kept = (
        machine["changed"] + RELEASED * cloud.setting("time")["scale"] if "host" in machine else 0
    )
    return machine["state"] == "Stopped" and cloud.clock() < kept
