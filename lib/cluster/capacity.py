"""Capacity: whether a failure means that no host has room, and what an account can see of that."""

import pandas as pd

from lib.checks import Tick, not_allowed, tick, ticks
from lib.cloud import Cloud
from lib.errors import CloudError
from lib.waiting import show_table

NO_CAPACITY = 533  # ApiErrorCode.INSUFFICIENT_CAPACITY_ERROR
INTERNAL_ERROR = 530  # ApiErrorCode.INTERNAL_ERROR
NO_HOST = "No suitable host found"


def is_full(error: CloudError) -> bool:
    """Tell whether no host could take a machine.

    That is 533, or 530 where no host has the offering's tag (both seen on CloudStack 4.22).
    """
    code, text = getattr(error, "code", None), getattr(error, "text", "")
    return code == NO_CAPACITY or (code == INTERNAL_ERROR and NO_HOST in text)


def show_explained(cloud: Cloud, zone: str, machine: dict) -> None:
    """Show the table of `explain` for a machine, or for the parameters of one."""
    print("No host has room for a machine. What this account can see of the causes:")
    show_table(explain(cloud, zone, machine["templateid"], machine["serviceofferingid"]))


def explain(cloud: Cloud, zone: str, template_id: str, offering_id: str) -> pd.DataFrame:
    """Return a table of what an account can ask about a 533; what it may not ask has a dash."""
    place = cloud.one("listZones", zone, available=True)
    listed = cloud.list("listTemplates", templatefilter="executable", id=template_id)
    template = _row(listed, template_id)
    offering = _row(cloud.list("listServiceOfferings", id=offering_id), offering_id)
    state, ready = place.get("allocationstate", "Enabled"), template.get("isready")
    tags = offering.get("hosttags") or "none"
    size = f"{offering.get('cpunumber')} CPU, {offering.get('memory')} MB"
    advice = "Wait for it, or run 42-create-template again."
    rows = [
        tick("zone", "Enabled", state, state == "Enabled", "The provider has closed the zone."),
        tick("template ready here", True, ready, ready is True, advice),
        _hypervisor(cloud, place["id"], template.get("hypervisor", "?")),
    ]
    advice = "Only hosts with that tag can take it: try an offering without."
    rows.append(tick("host tags of the offering", "none", tags, tags == "none", advice))
    advice = "An account cannot see this: try a smaller offering, or try later."
    rows.append(tick("size of the offering", "free on one host", size, False, advice))
    return ticks(rows + _error_events(cloud))


def _hypervisor(cloud: Cloud, zone_id: str, kind: str) -> Tick:
    """Return the row on the template's hypervisor, a dash where the zone's may not be asked for."""
    what, rows = (
        "hypervisor of the template",
        cloud.list_if_allowed("listHypervisors", zoneid=zone_id),
    )
    if rows is None:
        return tick(what, not_allowed("listHypervisors"), kind, None)
    kinds = [r["name"] for r in rows]
    advice = "No cluster of that hypervisor here: make the template in this zone."
    return tick(what, " or ".join(kinds), kind, kind in kinds, advice)


def _row(rows: list[dict], wanted_id: str) -> dict:
    return next((r for r in rows if str(r["id"]) == str(wanted_id)), {})


def _error_events(cloud: Cloud) -> list[Tick]:
    """Return the newest errors among the events of deployments and starts, three at most."""
    kinds = ("VM.CREATE", "VM.START") if cloud.can_deploy_stopped else ("VM.CREATE",)
    found = [cloud.list_if_allowed("listEvents", type=kind) for kind in kinds]
    if None in found:
        return [tick("events", "no error", not_allowed("listEvents"), None)]
    rows = [e for rows in found for e in rows or [] if e.get("level") == "ERROR"]
    newest = sorted(rows, key=lambda e: e.get("created", ""))[-3:]
    return [
        tick(f"event {e.get('created', '')}", "no error", e.get("description"), False)
        for e in newest
    ]
