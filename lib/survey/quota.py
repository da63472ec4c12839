"""Quota: what a run still needs against what the account, or the project, has left."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lib import machines
from lib.api import find
from lib.checks import Tick, not_allowed, tick
from lib.cloud import Cloud
from lib.ours import Ours
from lib.record.shown import Shown, row
from lib.resources import copies
from lib.survey import offerings
from lib.survey.offerings import Custom

GIB = 2**30
OF_DISKS = ("volume", "primarystorage")
KEPT = "The disks of what was destroyed count until the cloud expunges it."
# What an account's row calls it (`vmlimit`, `vmtotal`) -> Resource.ResourceType, and our word.
KINDS = {
    "vm": (0, "machines"),
    "volume": (2, "volumes"),
    "snapshot": (3, "snapshots"),
    "template": (4, "templates"),
    "ip": (1, "public addresses"),
    "cpu": (8, "CPUs"),
    "memory": (9, "MiB of memory"),
    "primarystorage": (10, "GiB of primary storage"),
    "secondarystorage": (11, "GiB of secondary storage"),
}


@dataclass(frozen=True)
class Level(Tick):
    """The row of a kind with a limit: how much is used, how much more is needed, of how much."""

    words: str = ""
    used: float = 0
    need: float = 0
    most: float = 0


def picture(found: list[Tick]) -> Shown:
    """Return a bar for each kind that has a limit: what is used, what the run needs, what is free.

    >>> picture([Level("✓", "", "", "", words="machines", used=1, need=2, most=4)])
    Used after the run: machines 75 %
    """
    levels = [row for row in found if isinstance(row, Level) and row.most]
    lines = [f"{one.words} {(one.used + one.need) / one.most:.0%}" for one in levels]
    lines = [line.replace("%", " %") for line in lines]
    html = "".join(row(one.words, _bar(one), _in_words(one)) for one in levels)
    return Shown(f"<table>{html}</table>", f"Used after the run: {', '.join(lines) or 'not known'}")


def _in_words(one: Level) -> str:
    return f"{_number(one.used)} used, {_number(one.need)} more needed, of {_number(one.most)}"


def _shares(one: Level) -> tuple[float, float]:
    """Return the shares of the limit that are used and needed; together they are one at most."""
    used = min(one.used / one.most, 1)
    return used, min(one.need / one.most, 1 - used)


def _bar(one: Level) -> str:
    colour = "#2e7bd6" if one.ok == "✓" else "#d9363e"
    parts = zip(_shares(one), ("rgba(128,128,128,.6)", colour), strict=True)
    inner = "".join(f'<div style="width:{p:.1%};background:{c}"></div>' for p, c in parts)
    style = "display:flex;width:240px;height:10px;background:rgba(128,128,128,.2)"
    return f'<div style="{style}">{inner}</div>'


def rows(
    ours: Ours,
    *,
    offering: str,
    custom: Custom,
    networks: Mapping[str, str],
    volume_size: int,
    addresses: int = 0,
) -> list[Tick]:
    """Return a row for each kind of quota: what the run still needs, and what is left.

    `networks` are the default ones of each zone; `volume_size` in GB; `addresses` are public ones
    beside those that networks go out by. What this account may not ask has a dash.
    """
    cloud, there = ours.cloud, ours.machines()
    missing = [n for n in ours.names if n not in there]
    root = volume_size if ours.needs_disk else _size(ours)
    needs: dict[str, float] = {}
    for one, count in Counter(_offering(ours, n, offering) for n in missing).items():
        for kind, more in _machines(cloud, count, one, custom, root).items():
            needs[kind] = needs.get(kind, 0) + more
    places = ours.places if missing else []
    needs["ip"] = addresses + sum(_addresses(place, networks[place.zone]) for place in places)
    for kind, more in _of_template(ours, volume_size).items():
        needs[kind] = needs.get(kind, 0) + more
    account = cloud.project_row or next(iter(cloud.list_if_allowed("listAccounts") or []), {})
    limits = {str(r["resourcetype"]): r["max"] for r in _limits(cloud)}
    if not account and not limits:
        denied = not_allowed("listAccounts")
        return [tick("what is left of the account's limits", "enough", denied, None)]
    return [_left(cloud, kind, needs.get(kind, 0), account, limits) for kind in KINDS]


def _offering(ours: Ours, machine: str, otherwise: str) -> str:
    role = ours.role_of(machine)
    return role.service_offering if role and role.service_offering else otherwise


def _machines(
    cloud: Cloud, missing: int, offering: str, custom: Custom, template_size: float
) -> dict[str, float]:
    """Return what the missing machines need: a root disk is as large as the template's."""
    row = cloud.one("listServiceOfferings", offering)
    cpus, memory = offerings.size(row, custom)
    root = row.get("rootdisksize") or template_size
    each = {"vm": 1, "volume": 1, "cpu": cpus, "memory": memory, "primarystorage": root}
    return {kind: missing * number for kind, number in each.items()}


def _size(ours: Ours) -> float:
    """Return the GiB of a template that is there, 0 of one that is yet to be downloaded."""
    return ((ours.template() or {}).get("size") or 0) / GIB


def _addresses(ours: Ours, network: str) -> int:
    """Return 1 where an isolated network has yet to be set up: it takes a public address."""
    rows = ours.cloud.list("listNetworks", zoneid=ours.zone_id)
    rows = find.fitting(rows, network) if network else rows
    ready = (r for r in rows if r.get("state") != "Allocated" or r.get("type") != "Isolated")
    return 0 if any(ready) else 1


def _of_template(ours: Ours, volume_size: int) -> dict[str, float]:
    """Return what the disk, its snapshot and the template need that are not there yet."""
    others = len(copies.plan(ours, ours.template_from))
    if not ours.needs_disk:
        return {"template": others + (not ours.template())}
    volume, image = ours.volume(), ours.template()
    snapshot = image or ours.snapshot(volume)
    disks, shots, images = (0 if there else 1 for there in (volume or snapshot, snapshot, image))
    kept = (shots + images + others) * volume_size
    needs: dict[str, float] = {"volume": disks, "snapshot": shots, "template": images + others}
    return needs | {"primarystorage": disks * volume_size, "secondarystorage": kept}


def _limits(cloud: Cloud) -> list[dict]:
    return cloud.list_if_allowed("listResourceLimits") or []


def _left(cloud: Cloud, kind: str, need: float, account: dict, limits: dict[str, int]) -> Tick:
    """Return the row of one kind. Of two limits that are told the lower one counts."""
    number, words = KINDS[kind]
    limits_shown = (account.get(f"{kind}limit"), limits.get(str(number)))
    most = [float(m) for m in limits_shown if m not in (None, "Unlimited") and float(m) >= 0]
    what, wanted = f"{words} still allowed", f"{_number(need)} or more"
    if not most:
        return tick(what, wanted, "no limit", True)
    used = account.get(f"{kind}total")
    if used is None and kind not in COUNTS:
        return tick(what, wanted, not_allowed("listAccounts"), None)
    used = float(COUNTS[kind](cloud) if used is None else used)
    left = max(min(most) - used, 0)
    next_step = f"Ask the provider for more {words}, or remove some."
    next_step += f" {KEPT}" if kind in OF_DISKS else ""
    row = tick(what, wanted, _number(left), left >= need, next_step)
    return Level(**vars(row), words=words, used=used, need=need, most=min(most))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _alive(cloud: Cloud) -> list[dict]:
    return [m for m in cloud.list("listVirtualMachines") if m["state"] not in machines.BAD]


def _templates(cloud: Cloud) -> dict[str, dict]:
    """Return the account's templates by id: the list has a row for each zone."""
    return {str(t["id"]): t for t in cloud.list("listTemplates", templatefilter="self")}


def _gib(rows: list[dict]) -> float:
    return sum(r.get("size") or r.get("virtualsize") or 0 for r in rows) / GIB


# How much there is, where the account's row does not tell it.
COUNTS: dict[str, Callable[..., float]] = {
    "vm": lambda cloud: len(_alive(cloud)),
    "volume": lambda cloud: len(cloud.list("listVolumes")),
    "snapshot": lambda cloud: len(cloud.list("listSnapshots")),
    "template": lambda cloud: len(_templates(cloud)),
    "cpu": lambda cloud: sum(m.get("cpunumber", 0) for m in _alive(cloud)),
    "memory": lambda cloud: sum(m.get("memory", 0) for m in _alive(cloud)),
    "primarystorage": lambda cloud: _gib(cloud.list("listVolumes")),
    "secondarystorage": lambda cloud: _gib(
        [*_templates(cloud).values(), *cloud.list("listSnapshots")]
    ),
}
