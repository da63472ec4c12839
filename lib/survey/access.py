"""Access: who we are, what the cloud is, and whether it has what a run needs."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from lib.api import find
from lib.checks import Tick, not_allowed, tick
from lib.cloud import Cloud
from lib.errors import NotOne
from lib.ours import Ours
from lib.record import facts
from lib.survey import offerings
from lib.survey.offerings import Custom

CUSTOM = "Set cpu_number, cpu_speed (MHz) and memory (MiB): the offering leaves them to be chosen."


def whoami(cloud: Cloud) -> list[Tick]:
    """Return rows on the account, its project, the server's version and the dialect it speaks."""
    version = ".".join(map(str, cloud.version)) or "a version that it hides"
    dialect = "tags, 4.x answers" if cloud.has_tags else "2.2: no tags, numeric ids"
    known = not cloud.version or cloud.version >= (2, 2)
    rows = [_account(cloud), tick("server", "2.2 or newer", f"{version} ({dialect})", known)]
    if project := cloud.project_row:
        rows.append(tick("project", cloud.project, f"id {project['id']}", True))
    return rows


def _account(cloud: Cloud) -> Tick:
    accounts = cloud.list_if_allowed("listAccounts")
    if not accounts:
        return tick("account", "any", not_allowed("listAccounts"), None)
    found = f"{accounts[0]['name']} of {accounts[0].get('domain', '?')}"
    facts.add(account=found)
    return tick("account", "any", found, True)


def place(cloud: Cloud, zone: str, workstation: str, networks: Mapping[str, str]) -> list[Tick]:
    """Return a row for each zone, for the workstation in the first, and for each network.

    `networks` are the default ones of the zones that machines are in, "" where the server chooses.
    """
    zones = find.fitting(cloud.zones, zone)
    here = {"zoneid": zones[0]["id"]} if zones else {}
    rows = [
        _tick(cloud, "listZones", zone, "zone"),
        _tick(cloud, "listVirtualMachines", workstation, "workstation", by="displayname", **here),
    ]
    named = [name for name in networks if name != zone]
    rows += [_tick(cloud, "listZones", name, "zones") for name in named]
    return rows + [
        _tick(cloud, "listNetworks", network, "network", zoneid=found[0]["id"])
        for name, network in networks.items()
        if network and (found := find.fitting(cloud.zones, name))
    ]


def disk_offering(ours: Ours, name: str) -> list[Tick]:
    """Return a row for the offering of the disk, where one is needed."""
    return (
        [_tick(ours.cloud, "listDiskOfferings", name, "disk_offering")] if ours.needs_disk else []
    )


def os_type(ours: Ours, description: str) -> list[Tick]:
    """Return a row for the OS type of the template, where one is to be made."""
    row = _tick(ours.cloud, "listOsTypes", description, "os_type", by="description")
    return [row] if ours.template_from != "existing" else []


def service_offerings(cloud: Cloud, names: list[str], custom: Custom) -> list[Tick]:
    """Return a row for each service offering; `custom` is for those that leave the size open."""
    return [_offering(cloud, name, custom) for name in names]


def _offering(cloud: Cloud, name: str, custom: Custom) -> Tick:
    row = _tick(cloud, "listServiceOfferings", name, "service_offering")
    if row.ok == "✗":
        return row
    found = cloud.one("listServiceOfferings", name)
    if wrong := offerings.faults(found, custom):
        return tick(row.what, "a size", "; ".join(wrong), False, CUSTOM)
    return row


def _tick(
    cloud: Cloud, command: str, name: str, parameter: str, by: str = "name", **filters: Any
) -> Tick:
    what = f"{parameter} {name}"
    try:
        of_zones = command == "listZones"
        pick = partial(find.pick, cloud.zones, command) if of_zones else partial(cloud.one, command)
        row = pick(name, by=by, **filters)
    except NotOne as fault:
        there = "; ".join(fault.candidates) or "none at all"
        next_step = f"Set {parameter}. {fault.next_step}".strip()
        found = f"{fault.found or 'none'} of that name; there are: {there}"
        return tick(what, "exactly one", found, False, next_step)
    return tick(what, "exactly one", f"id {row['id']}", True)
