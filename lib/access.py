"""Access: who we are, what the cloud is, and whether it has what a run needs."""

from lib import find, own
from lib.checks import tick
from lib.errors import NotOne
from lib.machines import names

LIMITS = {0: "machines", 2: "volumes", 3: "snapshots", 4: "templates"}  # Resource.ResourceType


def whoami(cloud) -> list[dict]:
    """Return rows on the account, the server's version and the dialect it speaks."""
    account = cloud.list("listAccounts")[0]
    version = ".".join(map(str, cloud.version))
    dialect = "tags, 4.x answers" if cloud.has_tags else "2.2: no tags, numeric ids"
    return [
        tick("account", "any", f"{account['name']} of {account.get('domain', '?')}", True),
        tick("server", "2.2 or newer", f"{version} ({dialect})", cloud.version >= (2, 2)),
    ]


def survey(
    cloud,
    *,
    zone: str,
    disk_offering: str,
    service_offerings: list[str],
    os_type: str,
    network: str,
    workstation: str,
) -> list[dict]:
    """Return a row with a tick for each thing that the parameters name."""
    place = _tick(cloud, "listZones", zone, "zone", available=True)
    zones = find.named(cloud, "listZones", zone, available=True)
    here = {"zoneid": zones[0]["id"]} if zones else {}
    rows = [
        place,
        _tick(cloud, "listDiskOfferings", disk_offering, "disk_offering"),
        *[_tick(cloud, "listServiceOfferings", o, "service_offering") for o in service_offerings],
        _tick(cloud, "listOsTypes", os_type, "os_type", by="description"),
        _tick(cloud, "listVirtualMachines", workstation, "workstation", by="displayname", **here),
    ]
    if network:
        rows.append(_tick(cloud, "listNetworks", network, "network", **here))
    return rows


def _tick(cloud, command: str, name: str, parameter: str, by: str = "name", **filters) -> dict:
    what = f"{parameter} {name}"
    try:
        row = find.one(cloud, command, name, by=by, **filters)
    except NotOne as fault:
        there = "; ".join(fault.candidates) or "none at all"
        return tick(what, "exactly one", f"not one; there are: {there}", False, f"Set {parameter}.")
    return tick(what, "exactly one", f"id {row['id']}", True)


def limits(
    cloud, *, zone: str, cluster: str, size: int, volume_name: str, template: str, owner: dict
) -> list[dict]:
    """Return a row for each quota: what the run still needs against what is left of it."""
    needs = _needs(cloud, zone, cluster, size, volume_name, template, owner)
    used = _used(cloud)
    most = {int(r["resourcetype"]): int(r["max"]) for r in cloud.list("listResourceLimits")}
    return [_left(kind, needs[kind], used[kind], most.get(kind, -1)) for kind in LIMITS]


def _needs(cloud, zone, cluster, size, volume_name, template, owner) -> dict[int, int]:
    there = len(own.machines(cloud, zone, names(cluster, size)))
    volume = own.volume(cloud, zone, volume_name, owner)
    made = own.template(cloud, zone, template, owner)
    snapshot = made or own.snapshot(cloud, volume_name, volume, owner)
    disks = 0 if volume or snapshot else 1
    return {0: size - there, 2: size - there + disks, 3: int(not snapshot), 4: int(not made)}


def _used(cloud) -> dict[int, int]:
    machines = [m for m in cloud.list("listVirtualMachines") if m["state"] not in own.BAD]
    return {
        0: len(machines),
        2: len(cloud.list("listVolumes")),
        3: len(cloud.list("listSnapshots")),
        4: len(cloud.list("listTemplates", templatefilter="self")),
    }


def _left(kind: int, need: int, used: int, most: int) -> dict:
    left = "no limit" if most < 0 else most - used
    ok = most < 0 or most - used >= need
    next_step = f"Ask the provider for more {LIMITS[kind]}, or remove some."
    return tick(f"{LIMITS[kind]} still allowed", f"{need} or more", left, ok, next_step)
