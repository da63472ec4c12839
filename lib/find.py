"""Finding things by name: exactly one, or a clear word on what there is."""

from difflib import get_close_matches

from lib.errors import NotOne

KINDS = {
    "listZones": "zone",
    "listDiskOfferings": "disk offering",
    "listServiceOfferings": "service offering",
    "listOsTypes": "OS type",
    "listNetworks": "network",
    "listVirtualMachines": "machine",
    "listVolumes": "volume",
    "listTemplates": "template",
}


def named(cloud, command: str, name: str, **filters) -> list[dict]:
    """Return the rows whose name is exactly that; a filter matches otherwise."""
    return [r for r in cloud.list(command, **filters) if r.get("name") == name]


def one(cloud, command: str, name: str, *, by: str = "name", **filters) -> dict:
    """Return the one row whose field `by` is exactly `name`.

    Raises NotOne, which lists the namesakes, or the names there are, the nearest first.
    """
    return pick(cloud.list(command, **filters), command, name, by)


def pick(rows: list[dict], command: str, name: str, by: str = "name") -> dict:
    """Return the one row, of those that `command` listed, with that name; raise NotOne."""
    found = [r for r in rows if r.get(by) == name]
    if len(found) == 1:
        return found[0]
    shown = found or _nearest(rows, name, by)
    lines = [f"{r.get(by)} (id {r['id']}, {r.get('state', 'no state')})" for r in shown]
    raise NotOne(KINDS.get(command, command), f"{by} {name!r}", lines)


def _nearest(rows: list[dict], name: str, by: str) -> list[dict]:
    close = get_close_matches(name, [str(r.get(by)) for r in rows], n=20, cutoff=0)
    order = {found: place for place, found in enumerate(close)}
    return sorted(rows, key=lambda r: order.get(str(r.get(by)), len(order)))[:20]


def zone_id(cloud, zone: str) -> str:
    """Return the id of the zone of that name."""
    return pick(cloud.zones, "listZones", zone)["id"]


def network_ids(cloud, network: str, zone: str) -> list[str]:
    """Return the id of the named network in a list; for "" none, so that the server chooses."""
    return [one(cloud, "listNetworks", network, zoneid=zone)["id"]] if network else []
