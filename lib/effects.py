"""Effects: how the cloud's lists show that a change was made, and that it is complete."""

from collections.abc import Callable
from datetime import datetime, timedelta

from lib.api.client import Client
from lib.api.find import KINDS
from lib.errors import NotOne, Refused
from lib.record.journal import Entry

UNKNOWN = 431  # ApiErrorCode.PARAM_ERROR: among others an id that means nothing (any more)
GONE = ("Destroyed", "Destroying", "Destroy", "Expunging", "Expunged", "Hidden")
SKEW = timedelta(minutes=10)  # a clock further off than this gets no request signed
DONE = {
    "createVolume": ("Allocated", "Ready"),
    "createSnapshot": ("BackedUp",),
    "deployVirtualMachine": ("Running",),
    "startVirtualMachine": ("Running",),
    "stopVirtualMachine": ("Stopped",),
}
# Of these a machine's row shows the end and whether it was a success, by its job and its state; a
# destroyed one is hidden before its job has expunged it.
IN_ROWS = ("deployVirtualMachine", "startVirtualMachine", "stopVirtualMachine")
# No list shows these afterwards, but their job does where it has an id that we chose; and the list
# that shows the state meanwhile.
BY_JOB = {"rebootVirtualMachine": "listVirtualMachines"}
# Idempotent changes: they may be sent again without having been found.
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
    """Say in which state the resource of a change without a trace is, "" if unknown."""
    listing = BY_JOB.get(entry.command)
    row = _row(cloud, listing, entry.params["id"]) if listing else None
    return f" {row['name']} is {row['state']} now." if row else ""


def complete(entry: Entry, row: dict) -> bool:
    """Tell whether what a journal's entry created or changed is in its final state."""
    command = entry.command
    if command in ("createTemplate", "copyTemplate"):
        return row.get("isready") is True
    if entry.params.get("startvm") is False:
        return row.get("state") in ("Stopped", "Running")
    return command not in DONE or row.get("state") in DONE[command]


def succeeded(command: str, params: dict, row: dict | None) -> bool:
    """Tell whether a machine's row, None where it is not listed, shows that a job succeeded.

    That may be asked of a job that has ended, by a list that names the machine's id.
    """
    if command == "destroyVirtualMachine":
        return row is None or row.get("state") in GONE
    return (
        row is not None and command in DONE and complete(Entry(command=command, params=params), row)
    )


def _created(listing: str, key: str, **filters: str) -> Callable:
    """Return the rule for a command that creates: rows known by `key`, listed by parameters."""

    def rule(cloud: Client, params: dict, entry: Entry) -> dict | None:
        asked = {k: params.get(v) for k, v in filters.items()} | MORE.get(listing, {})
        rows = {str(r["id"]): r for r in cloud.list(listing, **asked)}.values()
        fit = [r for r in rows if str(r.get(key)) == str(params[key])]
        return _one(listing, key, params[key], [r for r in fit if _since(r, entry.sent)])

    return rule


def _since(row: dict, sent: str) -> bool:
    """Tell whether a row is alive and may have been created by what was sent then."""
    if row.get("state") in GONE or not is_manual(row):
        return False
    # What failed earlier may still be listed; only the time tells it from what failed now.
    skew = timedelta(seconds=1) if row.get("state") == "Error" else SKEW
    created = datetime.fromisoformat(row.get("created") or sent)
    return created >= datetime.fromisoformat(sent) - skew


def is_manual(row: dict) -> bool:
    """Tell whether a row is no snapshot that the cloud took by schedule.

    2.2 has it in `snapshottype` as well, CloudStack of today in `intervaltype` only.
    """
    return all(row.get(k, "MANUAL") == "MANUAL" for k in ("intervaltype", "snapshottype"))


def made_at_once(row: dict, sent: str) -> bool:
    """Tell whether a row was created when that was sent, and not later."""
    created = datetime.fromisoformat(row.get("created") or sent)
    return created <= datetime.fromisoformat(sent) + SKEW


def _one(listing: str, key: str, value: str, rows: list[dict]) -> dict | None:
    good = [r for r in rows if r.get("state") != "Error"] or rows[-1:]
    if len(good) > 1:
        lines = [f"{r['name']} (id {r['id']}, made {r.get('created', 'unknown')})" for r in good]
        raise NotOne(KINDS.get(listing, listing), f"{key} {value!r}", lines)
    return good[0] if good else None


def _row(cloud: Client, listing: str, ident: object) -> dict | None:
    """Return the row of an id, None if there is none."""
    try:
        rows = cloud.list(listing, id=ident, **MORE.get(listing, {}))
    except Refused as no:
        if no.code != UNKNOWN:
            raise
        return None
    return next((r for r in rows if str(r["id"]) == str(ident)), None)


def _became(listing: str, is_done: Callable[[dict, dict], bool]) -> Callable:
    """Return the rule for a command that changes a resource: `is_done` judges its row."""

    def rule(cloud: Client, params: dict, entry: Entry) -> dict | None:
        row = _row(cloud, listing, params["id"])
        return row if row and is_done(row, params) else None

    return rule


def _gone(listing: str) -> Callable:
    def rule(cloud: Client, params: dict, entry: Entry) -> dict | None:
        row = _row(cloud, listing, params["id"])
        return row or {"id": params["id"]} if not row or row.get("state") in GONE else None

    return rule


def tags(cloud: Client, resource: str, resource_id: object) -> list[dict] | None:
    """Return all tags of a resource of that type, None where the account may not list them."""
    return cloud.list_if_allowed("listTags", resourcetype=resource, resourceid=resource_id)


def _associated(cloud: Client, params: dict, entry: Entry) -> dict | None:
    rows = [r | {"created": r.get("allocated")} for r in cloud.list("listPublicIpAddresses")]
    new = [r for r in rows if not r.get("issourcenat") and _since(r, entry.sent)]
    where = {"networkid": "associatednetworkid", "zoneid": "zoneid"}
    fit = [r for r in new if all(str(r.get(f)) == str(params.get(p, r.get(f)))
                                 for p, f in where.items())]  # fmt: skip
    named = [r | {"name": r["ipaddress"]} for r in fit]
    return _one("listPublicIpAddresses", "allocated", entry.sent, named)


def _let_in(listing: str, port: str) -> Callable:
    """Return the rule for a command that lets requests to a port of a public address in."""

    def rule(cloud: Client, params: dict, entry: Entry) -> dict | None:
        rows = cloud.list(listing, ipaddressid=params["ipaddressid"])
        return next((r for r in rows if str(r.get(port)) == str(params[port])), None)

    return rule


def _copied(cloud: Client, params: dict, entry: Entry) -> dict | None:
    place = {"zoneid": params["destzoneid"], **MORE["listTemplates"]}
    rows = cloud.list("listTemplates", id=params["id"], **place)
    return next((r for r in rows if str(r.get("zoneid")) == str(params["destzoneid"])), None)


def _tagged(cloud: Client, params: dict, entry: Entry) -> dict | None:
    wanted = {(t["key"], t["value"]) for t in params["tags"]}
    for resource_id in params["resourceids"]:
        rows = tags(cloud, params["resourcetype"], resource_id) or []
        if not wanted <= {(t["key"], t.get("value")) for t in rows}:
            return None
    return {"success": True}


def _has(key: str) -> Callable[[dict, dict], bool]:
    return lambda row, params: str(row.get(key)) == str(params[key])


def _is(command: str) -> Callable[[dict, dict], bool]:
    return lambda row, _: row["state"] in DONE[command]


MADE = {
    "createVolume": _created("listVolumes", "name", name="name", zoneid="zoneid"),
    "createSnapshot": _created("listSnapshots", "volumeid", volumeid="volumeid"),
    "createTemplate": _created("listTemplates", "name", name="name"),
    "registerTemplate": _created("listTemplates", "name", name="name"),
    "deployVirtualMachine": _created("listVirtualMachines", "name", name="name", zoneid="zoneid"),
    "createAffinityGroup": _created("listAffinityGroups", "name", name="name"),
    "associateIpAddress": _associated,
    "registerUserData": _created("listUserData", "name", name="name"),
}
EFFECTS = {
    "attachVolume": _became("listVolumes", _has("virtualmachineid")),
    "detachVolume": _became("listVolumes", lambda row, _: not row.get("virtualmachineid")),
    "startVirtualMachine": _became("listVirtualMachines", _is("startVirtualMachine")),
    "changeServiceForVirtualMachine": _became("listVirtualMachines", _has("serviceofferingid")),
    "stopVirtualMachine": _became("listVirtualMachines", _is("stopVirtualMachine")),
    "deleteVolume": _gone("listVolumes"),
    "deleteSnapshot": _gone("listSnapshots"),
    "deleteTemplate": _gone("listTemplates"),
    "copyTemplate": _copied,
    "createPortForwardingRule": _let_in("listPortForwardingRules", "publicport"),
    "createFirewallRule": _let_in("listFirewallRules", "startport"),
    "deletePortForwardingRule": _gone("listPortForwardingRules"),
    "deleteFirewallRule": _gone("listFirewallRules"),
    "disassociateIpAddress": _gone("listPublicIpAddresses"),
    "deleteAffinityGroup": _gone("listAffinityGroups"),
    "deleteUserData": _gone("listUserData"),
    "destroyVirtualMachine": _gone("listVirtualMachines"),
    "createTags": _tagged,
}
RULES = MADE | EFFECTS
