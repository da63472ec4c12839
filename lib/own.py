"""Own things: how the runbook marks what it made, and finds it again by name and mark."""

from lib import earlier, effects
from lib.cloud import Cloud
from lib.errors import CheckFailed
from lib.steps import Step, tag_params

RUNBOOK = "coreos-cluster"
NEUTRAL = {"config": "neutral"}  # tag on a template without a token
BAD = ("Error", "Destroyed", "Destroying", "Expunging", "Expunged")


def marks(cluster: str, revision: str) -> dict[str, str]:
    """Return the tags that everything made for this cluster carries, where the server has tags."""
    return {"runbook": RUNBOOK, "cluster": cluster, "revision": revision}


def is_marked(cloud: Cloud, row: dict, owner: dict) -> bool:
    """Tell whether a row of our name is ours: by its tags, or by the name where there are none."""
    if not cloud.has_tags:
        return True
    tags = {t["key"]: t.get("value", "") for t in row.get("tags") or []}
    return all(tags.get(k) == owner[k] for k in ("runbook", "cluster"))


def ours(cloud: Cloud, rows: list[dict], owner: dict) -> list[dict]:
    """Return those rows of our names that are ours: marked, or not yet but in a journal as made.

    So what a run left that ended between making and marking is not taken for somebody else's.
    """
    marked = [r for r in rows if is_marked(cloud, r, owner)]
    bare = [r for r in rows if "runbook" not in {t["key"] for t in r.get("tags") or []}]
    made = earlier.made(cloud) if any(r not in marked for r in bare) else set()
    return [r for r in rows if r in marked or (r in bare and str(r["id"]) in made)]


def is_ours(cloud: Cloud, row: dict, owner: dict) -> bool:
    """Tell whether one row is ours."""
    return bool(ours(cloud, [row], owner))


def is_neutral(template: dict) -> bool:
    """Tell whether a template holds no token, by its tags: any cluster may be made of it."""
    tags = {t["key"]: t.get("value", "") for t in template.get("tags") or []}
    return (NEUTRAL | {"runbook": RUNBOOK}).items() <= tags.items()


def plan_marks(cloud: Cloud, row: dict, resource: str, owner: dict) -> list[Step]:
    """Return the step that puts those of our tags on something of ours that it lacks."""
    if is_marked(cloud, row, owner):
        return []
    there = {t["key"] for t in row.get("tags") or []}
    lacking = {k: v for k, v in owner.items() if k not in there}
    params = tag_params([row["id"]], resource, lacking)
    return [Step("createTags", params, "made, but not yet marked as ours", row["name"])]


def volume(cloud: Cloud, zone: str, name: str, owner: dict) -> dict | None:
    """Return our volume of that name in the zone, None if there is none.

    One of our name without our tags is ours only if a journal tells so, or while `Allocated`, as
    nothing can be on it. Raises CheckFailed for a stranger of that name, and for two volumes of it.
    """
    rows = cloud.named("listVolumes", name, zoneid=cloud.zone_id(zone))
    _demand_one(rows, f"volumes named {name}", "Rename the others.")
    if rows and rows[0]["state"] != "Allocated" and not is_ours(cloud, rows[0], owner):
        raise CheckFailed(
            f"the volume {name} (id {rows[0]['id']})",
            "one with this cluster's tags",
            f"one without them that is {rows[0]['state']}",
            "It is somebody else's: choose another volume_name.",
        )
    return rows[0] if rows else None


def snapshots(cloud: Cloud, volume_name: str, source: dict | None) -> list[dict]:
    """Return the snapshots made by hand or API of our volume, the newest last.

    A snapshot has no name of ours on 2.2, so it is known by its volume, and by that volume's name
    once the volume is gone.
    """
    filters = {"volumeid": source["id"]} if source else {}
    rows = cloud.list("listSnapshots", **filters)
    mine = [r for r in rows if effects.is_manual(r) and _of(r, source, volume_name)]
    return sorted(_with_tags(cloud, mine), key=lambda r: r.get("created", ""))


def _with_tags(cloud: Cloud, rows: list[dict]) -> list[dict]:
    """Return snapshots with all their tags: listSnapshots shows one of each at most, from 4.19 on.

    `SnapshotJoinDaoImpl` groups the rows, of which there is one a tag, by the snapshot's id.
    """
    if not cloud.has_tags:
        return rows
    found = {r["id"]: effects.tags(cloud, "Snapshot", r["id"]) for r in rows}
    return [r if found[r["id"]] is None else r | {"tags": found[r["id"]]} for r in rows]


def _of(row: dict, source: dict | None, volume_name: str) -> bool:
    if source:
        return str(row.get("volumeid")) == str(source["id"])
    return row.get("volumename") == volume_name


def snapshot(cloud: Cloud, volume_name: str, source: dict | None, owner: dict) -> dict | None:
    """Return our newest snapshot that is usable or on its way, None if there is none.

    Without the volume only our tags, or a journal, tell that a snapshot is ours.
    """
    good = [r for r in snapshots(cloud, volume_name, source) if r["state"] not in BAD]
    mine = good if source else ours(cloud, good, owner)
    return mine[-1] if mine else None


def template(cloud: Cloud, zone: str, name: str, owner: dict) -> dict | None:
    """Return our template of that name in the zone, ready or on its way, None if there is none.

    A neutral one is for every cluster of the runbook. Raises CheckFailed for two of that name, and
    for a stranger's.
    """
    zone_id = cloud.zone_id(zone)
    rows = cloud.named("listTemplates", name, templatefilter="self", zoneid=zone_id)
    rows = [r for r in rows if str(r.get("zoneid", zone_id)) == str(zone_id)]
    _demand_one(rows, f"templates named {name}", "Rename the others.")
    if rows and not is_neutral(rows[0]) and not is_ours(cloud, rows[0], owner):
        raise CheckFailed(
            f"the template {name} (id {rows[0]['id']})",
            "one with this cluster's tags, or one that a journal in this folder of runs tells of",
            "another's",
            "Choose another template_name.",
        )
    return rows[0] if rows else None


def machines(cloud: Cloud, zone: str, names: list[str]) -> dict[str, dict]:
    """Return the machines of these names in the zone by name, those being destroyed left out.

    Raises CheckFailed when a name is borne by two.
    """
    if not names:
        return {}
    stem = names[0].rpartition("-")[0]  # what all names have in common narrows the list
    rows = cloud.list("listVirtualMachines", zoneid=cloud.zone_id(zone), keyword=stem)
    alive = [r for r in rows if r["state"] not in BAD or r["state"] == "Error"]
    for name in names:
        same = [r for r in alive if r["name"] == name]
        _demand_one(same, f"machines named {name}", "Rename one.")
    return {r["name"]: r for r in alive if r["name"] in names}


def _demand_one(rows: list[dict], what: str, next_step: str) -> None:
    if len(rows) > 1:
        ids = ", ".join(str(r["id"]) for r in rows)
        raise CheckFailed(what, "one at most", f"{len(rows)} ({ids})", next_step)
