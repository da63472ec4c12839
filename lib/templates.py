"""Templates: ours is the one of our name; it is usable once `isready` is true."""

from lib import find, jobs
from lib.checks import check
from lib.errors import CheckFailed
from lib.ours import NEUTRAL, Ours, is_neutral
from lib.steps import Id, Pending, Step

SECONDS_PER_GIB = 3.0


def plan_create(ours: Ours, *, os_type: str, config_delivery: str = "disk") -> list[Step]:
    """Return the step that makes the template of the snapshot, none if it is there.

    One without a token is tagged as neutral, where there are tags: for others than this cluster.
    2.2 demands a display text and a name of at most 32 characters, so both are always kept to.
    """
    template, name = ours.template(), ours.template_name
    more = NEUTRAL if config_delivery == "userdata" else {}
    if template and is_neutral(template):
        return []
    if template:
        return ours.plan_tags(template, "Template", **more)
    demand_name(name)
    volume = ours.volume()
    kind = ours.cloud.one("listOsTypes", os_type, by="description")
    params = {
        "name": name,
        "displaytext": name,
        "snapshotid": _source(ours.snapshot(volume), ours.volume_name),
        "ostypeid": Id.of(kind, "description"),
    }
    expect = volume["size"] / 2**30 * SECONDS_PER_GIB if volume else 0
    why = f"there is no template {name} in {ours.zone}"
    return [Step("createTemplate", params, why, name, ours.tags | more, "Template", expect)]


def demand_name(name: str) -> None:
    """Raise CheckFailed for a name that CloudStack 2.2 refuses."""
    if not 0 < len(name) <= 32:
        raise CheckFailed("template_name", "1 to 32 characters", f"{len(name)}")


def _source(snapshot: dict | None, volume_name: str) -> object:
    if snapshot and snapshot["state"] == "BackedUp":
        return Id.of(snapshot)
    return Pending(f"backed-up snapshot of {volume_name}", "41-create-snapshot")


def wait_ready(ours: Ours, *, within: float) -> bool:
    """Wait until our template is ready; False where there is none.

    `within` in seconds; raises JobTimeout.
    """
    what = f"template {ours.template_name}"
    row = jobs.ready(ours.cloud, ours.template, lambda row: row["isready"] is True, what, within)
    return row is not None


def verify(ours: Ours, *, size: int, mode: str) -> None:
    """Check our template: ready in this zone, of `size` GB. In plan mode there may be none yet."""
    template = ours.template()
    if mode == "plan" and not template:
        return print(f"there is no template {ours.template_name} yet")
    found = template or {}
    check("template is ready", found.get("isready", False))
    place = {"id": found.get("zoneid"), "name": found.get("zonename")}
    check("template is in the zone", bool(find.fitting([place], ours.zone)))
    check("GB of the template", found.get("size", 0) / 2**30, float(size))


def plan_removal(ours: Ours) -> list[Step]:
    """Return the step that deletes our template, none if it is gone or not ours alone.

    It is forced, as CloudStack refuses it while a machine of the template is destroyed but not
    expunged, which may be a day or two (TemplateManagerImpl). So whoever applies it must look for
    other machines of the template before. 2.2 does not look for them and has no `forced`.
    """
    template = ours.template()
    if not template or not ours.own([template]):
        return []
    params: dict = {"id": Id.of(template), "zoneid": ours.zone_id}
    params |= {"forced": True} if ours.cloud.has_tags else {}
    return [Step("deleteTemplate", params, "made by this runbook", ours.template_name)]
