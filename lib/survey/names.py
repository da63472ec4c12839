"""Names: whether CloudStack allows those of the cluster, and whether they are free or ours."""

from lib import templates, volumes
from lib.checks import Tick, asked
from lib.errors import CheckFailed
from lib.ours import Ours


def with_machines(ours: Ours, size: int, first: int) -> Ours:
    """Return the cluster with its machines, or with none where `rows` refuses their names."""
    try:
        return ours.with_machines(size, first)
    except CheckFailed:
        return ours


def rows(ours: Ours, size: int, first: int) -> list[Tick]:
    """Return a row for the template, and one for the `size` machines from the number `first` on."""
    return [
        *asked(f"template_name {ours.template_name}", _template, ours),
        *asked(f"cluster_name {ours.cluster_name}", _machines, ours, size, first),
    ]


def volume(ours: Ours, size: int, offering: str) -> list[Tick]:
    """Return a row on whether the volume is as the parameters say, or can be made; `size` in GB."""
    return asked(f"volume_name {ours.volume_name}", _volume, ours, size, offering)


def image(ours: Ours, values: dict, os_type: str) -> list[Tick]:
    """Return a row on the image that the template is registered from, none without one.

    `values` are those of a `templates.Image`.
    """
    if ours.template_from != "url":
        return []
    return asked("template_url", _image, ours, values, os_type)


def _image(ours: Ours, values: dict, os_type: str) -> str:
    steps = templates.plan_register(ours, values, os_type=os_type)
    found = next((s.params for s in steps if s.command == "registerTemplate"), None)
    return f"{found['format']} for {found['hypervisor']}" if found else "the template is there"


def _volume(ours: Ours, size: int, offering: str) -> str:
    if not ours.needs_disk:
        return f'not needed: template_from is "{ours.template_from}"'
    steps = volumes.plan_create(ours, size=size, offering=offering)
    if any(step.command == "createVolume" for step in steps):
        return "free"
    return "there, and ours" if ours.volume() else "not needed: it has served"


def _template(ours: Ours) -> str:
    if ours.template_from == "existing":
        return f"there, id {(ours.template() or {})['id']}"
    templates.demand_name(ours.template_name)
    return "there, and ours" if ours.template() else "free"


def _machines(ours: Ours, size: int, first: int) -> str:
    ours = ours.with_machines(size, first)
    return f"{len(ours.machines())} of {size} machines are there"
