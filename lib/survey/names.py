"""Names: whether CloudStack allows those of the cluster, and whether they are free or ours."""

from collections.abc import Sequence

from lib.checks import Tick, asked, tick
from lib.errors import CheckFailed, ParamsError
from lib.machines import MOST_MEMBERS
from lib.ours import Ours
from lib.resources import templates, volumes

TOO_MANY = "Each write waits for most of them: set etcd_members to 3 or 5, the others join as none."
EVEN = "It outlives no more failures than {} would."


def with_machines(
    ours: Ours, size: int, first: int, etcd_members: int, roles: Sequence[dict] = ()
) -> Ours:
    """Return the cluster with its machines, or with none where `rows` refuses their names."""
    try:
        return ours.with_machines(size, first, etcd_members, roles)
    except (CheckFailed, ParamsError):
        return ours


def rows(
    ours: Ours, size: int, first: int, etcd_members: int, roles: Sequence[dict] = ()
) -> list[Tick]:
    """Return a row for the template, one for the machines from the number `first` on.

    And one for the etcd members among them: a dash warns of an even number, and of too many.
    """
    found = [
        *asked(f"template_name {ours.template_name}", _template, ours),
        *asked(f"cluster_name {ours.cluster_name}", _machines, ours, size, first, roles),
    ]
    if found[-1].ok == "✗":
        return found
    return found + asked("etcd_members", _members, ours, size, first, etcd_members, roles)


def _members(
    ours: Ours, size: int, first: int, etcd_members: int, roles: Sequence[dict]
) -> str | list[Tick]:
    ours = ours.with_machines(size, first, etcd_members, roles)
    count = len(ours.members)
    text = f"{count} of {len(ours.names)} machines"
    if count > MOST_MEMBERS:
        return [tick("etcd_members", f"{MOST_MEMBERS} at most", text, None, TOO_MANY)]
    if count % 2 == 0:
        return [tick("etcd_members", "an odd number", text, None, EVEN.format(count - 1))]
    return text


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


def _machines(ours: Ours, size: int, first: int, roles: Sequence[dict]) -> str:
    ours = ours.with_machines(size, first, roles=roles)
    return f"{len(ours.machines())} of {len(ours.names)} machines are there"
