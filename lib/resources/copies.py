"""Copies of the template in the other zones of the machines."""

from lib import plan as plans
from lib.ours import Ours
from lib.resources import templates
from lib.steps import Id, Pending, Step


def plan(ours: Ours, made_from: str) -> list[Step]:
    """Return the steps that copy the template to the other zones of the machines.

    There are none unless `template_from` is `made_from`, and for what others made.
    """
    if ours.template_from != made_from or made_from == "existing":
        return []
    stage = "42-create-template" if ours.needs_disk else "43-register-template"
    source, name = ours.template(), ours.template_name
    ready = source and source.get("isready")
    ident = Id.of(source) if source and ready else Pending(f"template {name}, ready", stage)
    places = [p for p in ours.everywhere if p.zone_id != ours.zone_id and not p.template()]
    return [
        Step(
            "copyTemplate",
            {"id": ident, "sourcezoneid": ours.zone_id, "destzoneid": place.zone_id},
            f"machines are deployed in {place.zone}, too",
            f"{name} to {place.zone}",
        )
        for place in places
    ]


def apply(ours: Ours, steps: list[Step], mode: str, *, within: float) -> None:
    """Copy the template to the other zones once it is ready in its own; `within` in seconds."""
    if not steps or mode == "plan":
        return
    templates.wait_ready(ours.in_zone(ours.zone), within=within)
    left = plan(ours, ours.template_from)
    plans.apply(ours.cloud, left, mode, at_once=1, within=within)
