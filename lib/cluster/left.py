"""Machines that are left of ours: in zones that are named no more, or renamed to be removed."""

from lib import machines
from lib.machines import stem_of
from lib.ours import Ours, tags_in


def wherever(ours: Ours) -> list[dict]:
    """Return the rows of all machines in the zones of ours, and those we left in others."""
    rows = ours.cloud.list("listVirtualMachines")
    return [r for r in rows if not _is_away(ours, r) or is_left(ours, r)]


def elsewhere(ours: Ours) -> list[dict]:
    """Return the machines in zones that are not named that bear our tags, on 2.2 our names."""
    rows = [r for r in ours.cloud.list("listVirtualMachines") if _is_away(ours, r)]
    return [r for r in ours.of_ours(rows) if ours.has_tags(r)]


def is_left(ours: Ours, row: dict) -> bool:
    """Tell whether a machine is ours in a zone that `zones` named once, and does no more."""
    is_ours = ours.cloud.has_tags and ours.has_tags(row)
    return (
        is_ours
        and _is_away(ours, row)
        and tags_in(row).get("home", row.get("zonename")) == ours.home
    )


def _is_away(ours: Ours, row: dict) -> bool:
    return str(row["zoneid"]) not in {str(place.zone_id) for place in ours.places}


def leaving_name(machine: dict) -> str:
    """Return the name of a machine that is about to be destroyed, "" where it is too long."""
    name = f"{machine['name']}-{str(machine['id'])[:8]}"
    return name if machines.NAME.fullmatch(name) else ""


def leavers(ours: Ours) -> list[dict]:
    """Return the machines that were given such a name, and were not destroyed then."""
    found = [r for r in wherever(ours) if r["name"].endswith(f"-{str(r['id'])[:8]}")]
    return [r for r in found if ours.is_named(r, stem_of(r["name"]))]
