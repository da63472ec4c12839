"""Templates: ours is the one of our name; it is usable once `isready` is true."""

from lib import find, jobs, own
from lib.checks import check
from lib.cloud import Cloud
from lib.errors import CheckFailed
from lib.steps import Pending, Step

SECONDS_PER_GIB = 3.0


def plan_create(
    cloud: Cloud,
    *,
    zone: str,
    name: str,
    volume_name: str,
    os_type: str,
    owner: dict,
    config_delivery: str = "disk",
) -> list[Step]:
    """Return the step that makes the template of the snapshot, none if it is there.

    One without a token is tagged as neutral, where there are tags: for others than this cluster.
    2.2 demands a display text and a name of at most 32 characters, so both are always kept to.
    """
    template = own.template(cloud, zone, name, owner)
    tags = owner | (own.NEUTRAL if config_delivery == "userdata" else {})
    if template and own.is_neutral(template):
        return []
    if template:
        return own.plan_marks(cloud, template, "Template", tags)
    if len(name) > 32:
        raise CheckFailed("template_name", "32 characters at most", f"{len(name)}")
    volume = own.volume(cloud, zone, volume_name, owner)
    snapshot = own.snapshot(cloud, volume_name, volume, owner)
    params = {
        "name": name,
        "displaytext": name,
        "snapshotid": _source(snapshot, volume_name),
        "ostypeid": cloud.one("listOsTypes", os_type, by="description")["id"],
    }
    expect = volume["size"] / 2**30 * SECONDS_PER_GIB if volume else 0
    why = f"there is no template {name} in {zone}"
    return [Step("createTemplate", params, why, name, tags, "Template", expect)]


def _source(snapshot: dict | None, volume_name: str) -> object:
    if snapshot and snapshot["state"] == "BackedUp":
        return snapshot["id"]
    return Pending(f"backed-up snapshot of {volume_name}", "41-create-snapshot")


def wait_ready(cloud: Cloud, *, zone: str, name: str, owner: dict, within: float) -> bool:
    """Watch our template until it is ready; False where there is none.

    `within` in seconds; raises JobTimeout.
    """

    def read() -> dict | None:
        return own.template(cloud, zone, name, owner)

    return bool(jobs.settled(cloud, read, "isready", True, f"template {name}", within))


def verify(cloud: Cloud, *, zone: str, name: str, size: int, owner: dict, mode: str) -> None:
    """Check our template: ready in this zone, of `size` GB. In plan mode there may be none yet."""
    template = own.template(cloud, zone, name, owner)
    if mode == "plan" and not template:
        return print(f"there is no template {name} yet")
    found = template or {}
    check("template is ready", found.get("isready", False))
    place = {"id": found.get("zoneid"), "name": found.get("zonename")}
    check("template is in the zone", bool(find.fitting([place], zone)))
    check("GB of the template", found.get("size", 0) / 2**30, float(size))


def plan_removal(cloud: Cloud, *, zone: str, name: str, owner: dict) -> list[Step]:
    """Return the step that deletes our template, none if it is gone or not ours alone.

    It is forced, as CloudStack refuses it while a machine of the template is destroyed but not
    expunged, which may be a day or two (TemplateManagerImpl). So whoever applies it must look for
    other machines of the template before. 2.2 does not look for them and has no `forced`.
    """
    template = own.template(cloud, zone, name, owner)
    if not template or not own.is_ours(cloud, template, owner):
        return []
    params = {"id": template["id"], "zoneid": cloud.zone_id(zone)}
    params |= {"forced": True} if cloud.has_tags else {}
    return [Step("deleteTemplate", params, "made by this runbook", name)]
