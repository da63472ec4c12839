"""Traces: how to see in the cloud's lists that a change was made, and that it is complete."""

from collections.abc import Callable
from datetime import datetime, timedelta

from lib.client import Client
from lib.errors import NotOne, Refused
from lib.find import KINDS
from lib.record.journal import Entry

UNKNOWN = 431  # ApiErrorCode.PARAM_ERROR: among others an id that means nothing (any more)
GONE = ("Destroyed", "Destroying", "Destroy", "Expunging", "Expunged", "Hidden")
SKEW = timedelta(minutes=10)  # a clock further off than this gets no request signed
DONE = {
    "createVolume": ("Allocated", "Ready"),
    "createSnapshot": ("BackedUp",),
    "deployVirtualMachine": ("Running",),
}
# What no list shows afterwards, but the job does, where it bears an id that we chose: where to look
# up the state meanwhile.
BY_JOB = {"rebootVirtualMachine": "listVirtualMachines"}
# What is as done once when it is done twice. It may be sent again without having been found.
REPEATABLE = ("updateVirtualMachine",)
MORE = {"listTemplates": {"templatefilter": "self"}}


def find(cloud: Client, entry: Entry) -> dict | None:
    """Return the row that shows that the change of a journal's entry was made, None if none does.

    Raises NotOne when several rows may be what it made.
    """
    rule = RULES.get(entry.command)
    seen_from = cloud.within(entry.params.get("projectid", ""))
    return rule(seen_from, entry.params, entry) if rule else None


def state_now(cloud: Client, entry: Entry) -> str:
    """Say what state that is in to which a change was made that leaves no trace, "" if unknown."""
    listing = BY_JOB.get(entry.command)
    row = _row(cloud, listing, entry.params["id"]) if listing else None
    return f" {row['name']} is {row['state']} now." if row else ""


def complete(entry: Entry, row: dict) -> bool:
    """Tell whether what the change of a journal's entry made has come to its final state."""
    command = entry.command
    if command == "createTemplate":
        return row.get("isready") is True
    if entry.params.get("startvm") is False:
        return row.get("state") in ("Stopped", "Running")
    return command not in DONE or row.get("state") in DONE[command]


def _made(listing: str, key: str, **filters: str) -> Callable:
    """Return the rule for what is made: known by `key`, listed by these of its parameters."""

    def rule(cloud: Client, params: dict, entry: Entry) -> dict | None:
        asked = {k: params.get(v) for k, v in filters.items()} | MORE.get(listing, {})
        rows = {str(r["id"]): r for r in cloud.list(listing, **asked)}.values()
        fit = [r for r in rows if str(r.get(key)) == str(params[key])]
        return _one(listing, key, params[key], [r for r in fit if _since(r, entry.sent)])

    return rule


def _since(row: dict, sent: str) -> bool:
    """Tell whether a row is alive and may have been made by what was sent then."""
    if row.get("state") in GONE or not is_manual(row):
        return False
    # What failed earlier may still be listed; what failed now is only told from it by its time.
    skew = timedelta(seconds=1) if row.get("state") == "Error" else SKEW
    created = datetime.fromisoformat(row.get("created") or sent)
    return created >= datetime.fromisoformat(sent) - skew


def is_manual(row: dict) -> bool:
    """Tell whether a row is no snapshot that the cloud took by schedule.

    2.2 tells it in `snapshottype` as well, CloudStack of today in `intervaltype` only.
    """
    return all(row.get(k, "MANUAL") == "MANUAL" for k in ("intervaltype", "snapshottype"))


def made_at_once(row: dict, sent: str) -> bool:
    """Tell whether a row was made when that was sent, and not later."""
    created = datetime.fromisoformat(row.get("created") or sent)
    return created <= datetime.fromisoformat(sent) + SKEW


def _one(listing: str, key: str, value: str, rows: list[dict]) -> dict | None:
    good = [r for r in rows if r.get("state") != "Error"] or rows[-1:]
    if len(good) > 1:
        lines = [f"{r['name']} (id {r['id']}, made {r.get('created', 'unknown')})" for r in good]
        raise NotOne(KINDS.get(listing, listing), f"{key} {value!r}", lines)
    return good[0] if good else None


def _row(cloud: Client, listing: str, wanted: object) -> dict | None:
    """Return the row of that id, None if there is none."""
    try:
        rows = cloud.list(listing, id=wanted, **MORE.get(listing, {}))
    except Refused as no:
        if no.code != UNKNOWN:
            raise
        return None
    return next((r for r in rows if str(r["id"]) == str(wanted)), None)


def _became(listing: str, as_wanted: Callable[[dict, dict], bool]) -> Callable:
    """Return the rule for what is done to a resource: seen by what has become of it."""

    def rule(cloud: Client, params: dict, entry: Entry) -> dict | None:
        row = _row(cloud, listing, params["id"])
        return row if row and as_wanted(row, params) else None

    return rule


def _gone(listing: str) -> Callable:
    def rule(cloud: Client, params: dict, entry: Entry) -> dict | None:
        row = _row(cloud, listing, params["id"])
        return row or {"id": params["id"]} if not row or row.get("state") in GONE else None

    return rule


def tags(cloud: Client, resource: str, resource_id: object) -> list[dict] | None:
    """Return all tags of a resource of that type, None where the account may not list them."""
    return cloud.list_if_allowed("listTags", resourcetype=resource, resourceid=resource_id)


def _tagged(cloud: Client, params: dict, entry: Entry) -> dict | None:
    wanted = {(t["key"], t["value"]) for t in params["tags"]}
    for resource_id in params["resourceids"]:
        rows = tags(cloud, params["resourcetype"], resource_id) or []
        if not wanted <= {(t["key"], t.get("value")) for t in rows}:
            return None
    return {"success": True}


def _at(row: dict, params: dict) -> bool:
    return str(row.get("virtualmachineid")) == str(params["virtualmachineid"])


def _has_offering(row: dict, params: dict) -> bool:
    return str(row.get("serviceofferingid")) == str(params["serviceofferingid"])


MADE = {
    "createVolume": _made("listVolumes", "name", name="name", zoneid="zoneid"),
    "createSnapshot": _made("listSnapshots", "volumeid", volumeid="volumeid"),
    "createTemplate": _made("listTemplates", "name", name="name"),
    "registerTemplate": _made("listTemplates", "name", name="name"),
    "deployVirtualMachine": _made("listVirtualMachines", "name", name="name", zoneid="zoneid"),
    "registerUserData": _made("listUserData", "name", name="name"),
}
EFFECTS = {
    "attachVolume": _became("listVolumes", _at),
    "detachVolume": _became("listVolumes", lambda row, params: not row.get("virtualmachineid")),
    "startVirtualMachine": _became(
        "listVirtualMachines", lambda r, params: r["state"] == "Running"
    ),
    "changeServiceForVirtualMachine": _became("listVirtualMachines", _has_offering),
    "stopVirtualMachine": _became("listVirtualMachines", lambda r, params: r["state"] == "Stopped"),
    "deleteVolume": _gone("listVolumes"),
    "deleteSnapshot": _gone("listSnapshots"),
    "deleteTemplate": _gone("listTemplates"),
    "deleteUserData": _gone("listUserData"),
    "destroyVirtualMachine": _gone("listVirtualMachines"),
    "createTags": _tagged,
}
RULES = MADE | EFFECTS
