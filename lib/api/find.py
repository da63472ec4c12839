"""Finding exactly one row by name or id, or an error that lists what exists.

Wherever a parameter takes a name it takes `id:…` as well, as names need not be unique.
"""

from difflib import get_close_matches

from lib.errors import NotOne, plain

KINDS = {
    "listZones": "zone",
    "listDiskOfferings": "disk offering",
    "listServiceOfferings": "service offering",
    "listOsTypes": "OS type",
    "listNetworks": "network",
    "listSecurityGroups": "security group",
    "listProjects": "project",
    "listVirtualMachines": "machine",
    "listVolumes": "volume",
    "listTemplates": "template",
}
IN_PROJECTS = ("listNetworks", "listVirtualMachines", "listVolumes", "listTemplates",
               "listSecurityGroups")  # fmt: skip
BY_ID = "id:"
CHOOSE = "Choose one by its id, such as {}."
ELSEWHERE = "What belongs to a project is seen only with its name in the parameter `project`."


def is_id(name: str) -> bool:
    """Tell whether a parameter gives an id instead of a name."""
    return name.startswith(BY_ID)


def fitting(rows: list[dict], name: str, by: str = "name") -> list[dict]:
    """Return the rows with that name, or with that id."""
    if is_id(name):
        return [r for r in rows if str(r["id"]) == name[len(BY_ID) :]]
    return [r for r in rows if r.get(by) == name]


def pick(rows: list[dict], command: str, name: str, by: str = "name", elsewhere: str = "") -> dict:
    """Return the one row, of those that `command` listed, with that name or id; raise NotOne.

    `elsewhere` is what the error says where there is none.
    """
    found = fitting(rows, name, by)
    if len(found) == 1:
        return found[0]
    shown = found or _nearest(rows, name, by)
    lines = [f"{_readable(r.get(by))} ({_known(r)})" for r in shown]
    next_step = CHOOSE.format(f"{BY_ID}{found[0]['id']}") if found else elsewhere
    raise NotOne(KINDS.get(command, command), f"{by} {name!r}", lines, next_step, len(found))


def _readable(name: object) -> str:
    """Return a name as it is typed; one with a tab or the like in quotes, with its escapes."""
    return str(name) if plain(name) == str(name) else repr(name)


def _known(row: dict) -> str:
    """Return the id of a row, and its state where it has one.

    >>> _known({"id": 7}), _known({"id": 7, "state": "Running"})
    ('id 7', 'id 7, Running')
    """
    return f"id {row['id']}" + (f", {row['state']}" if row.get("state") else "")


def _nearest(rows: list[dict], name: str, by: str) -> list[dict]:
    close = get_close_matches(name, [str(r.get(by)) for r in rows], n=20, cutoff=0)
    order = {found: place for place, found in enumerate(close)}
    return sorted(rows, key=lambda r: order.get(str(r.get(by)), len(order)))[:20]
