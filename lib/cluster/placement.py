"""Placement: the networks and groups that the machines of a cluster are put into.

An affinity group bears no tags, so its name tells whose it is: `runbook-CLUSTER`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lib.checks import Tick, asked, tick
from lib.cluster.left import elsewhere, is_left
from lib.errors import CheckFailed
from lib.machines import BAD
from lib.ours import Ours
from lib.steps import Id, Pending, Step

PREFIX = "runbook-"
STAGE = "50-deploy-cluster"
NO_GROUPS = "This server has no affinity groups, which came with CloudStack 4.2: leave it empty."
BASIC = "A basic zone has one network, and takes no choice: leave it empty."
BY_ITSELF = "{} is this server's default network, wherever it stands: make it `network`."
MOVED = "Name it in fallback_offerings, or give it back its own while it is stopped."
NOT_IN = "Put it there with {}; or correct the parameter."
ONE_NETWORK = (
    "a discovery service, for machines in several zones",
    "static",
    "Fixed addresses are all of one network: set discovery, or leave zones empty.",
)
LEFT = "`zones` named theirs before: name it again, or 90-remove-cluster removes them, too."
NAMESAKES = (
    "They bear this cluster's name, or its tags, but nothing shows that they are of this one and "
    "not of another of its name: nothing touches them. Name their zone if they are."
)
HOW = {
    "nic": "addNicToVirtualMachine",
    "affinitygroup": "updateVMAffinityGroup while it is stopped",
    "securitygroup": "updateVirtualMachine while it is stopped",
}


@dataclass(frozen=True)
class Placement:
    """What machines are put into; what is empty is the cloud's choice.

    `network` is the default one of a machine, `more_networks` follow it; in a zone of `networks`
    its names, between commas, stand for both. `affinity` is a type of listAffinityGroupTypes: the
    cluster has a group of that type to itself.
    """

    network: str = ""
    more_networks: Sequence[str] = ()
    affinity: str = ""
    security_groups: Sequence[str] = ()
    networks: Mapping[str, str] = field(default_factory=dict)

    def networks_in(self, zone: str) -> list[str]:
        """Return the names of all networks in a zone, the default one first."""
        if zone in self.networks:
            return list(filter(None, map(str.strip, self.networks[zone].split(","))))
        return [*([self.network] if self.network else []), *self.more_networks]

    def defaults(self, zones: Iterable[str]) -> dict[str, str]:
        """Return the name of the default network in each zone, "" for the server's choice."""
        return {zone: next(iter(self.networks_in(zone)), "") for zone in zones}


def params(ours: Ours, place: Placement) -> dict:
    """Return the parameters of deployVirtualMachine that put a machine in its place.

    Raises CheckFailed for what this server or this zone cannot do, and NotOne.
    """
    networks, groups = _networks(ours, place), _security_groups(ours, place)
    found = {"networkids": list(map(Id.of, networks))} if networks else {}
    found |= {"securitygroupids": list(map(Id.of, groups))} if groups else {}
    if place.affinity:
        group = _group(ours, place)
        found["affinitygroupids"] = [Id.of(group)] if group else Pending(_called(ours), STAGE)
    return found


def _networks(ours: Ours, place: Placement) -> list[dict]:
    names, zone = place.networks_in(ours.zone), _zone(ours)
    if names and zone.get("networktype") == "Basic":
        raise CheckFailed("network", f'"" in {ours.zone}', ", ".join(names), BASIC)
    if place.more_networks and not (place.network or place.networks.get(ours.zone)):
        raise CheckFailed("network", "the default one of more_networks", "none", "Set network.")
    if len(set(names)) < len(names):
        raise CheckFailed("more_networks", "networks that differ", ", ".join(names))
    rows = [ours.cloud.one("listNetworks", name, zoneid=ours.zone_id) for name in names]
    # 2.2 tells in a network's row whether it is the default one, and does not go by the order.
    if len(rows) > 1 and (wrong := [r for r in rows[1:] if r.get("isdefault")]):
        raise CheckFailed("more_networks", "none that is the default", wrong[0]["name"],
                          BY_ITSELF.format(wrong[0]["name"]))  # fmt: skip
    return rows


def _zone(ours: Ours) -> dict:
    return next(z for z in ours.cloud.zones if str(z["id"]) == str(ours.zone_id))


def _security_groups(ours: Ours, place: Placement) -> list[dict]:
    if not place.security_groups:
        return []
    if not _zone(ours).get("securitygroupsenabled"):
        next_step = "Leave it empty: other zones have firewall rules of their networks instead."
        wanted = "[] in a zone without security groups"
        raise CheckFailed("security_groups", wanted, ", ".join(place.security_groups), next_step)
    return [ours.cloud.one("listSecurityGroups", name) for name in place.security_groups]


def _name(ours: Ours) -> str:
    return f"{PREFIX}{ours.cluster_name}"


def _called(ours: Ours) -> str:
    return f"affinity group {_name(ours)}, created"


def _group(ours: Ours, place: Placement) -> dict | None:
    """Return the cluster's affinity group, None if there is none yet."""
    cloud = ours.cloud
    if not cloud.has_affinity_groups:
        raise CheckFailed("affinity", '"" on this server', place.affinity, NO_GROUPS)
    types = [r["type"] for r in cloud.list_if_allowed("listAffinityGroupTypes") or []]
    if types and place.affinity not in types:
        raise CheckFailed("affinity", f'{", ".join(types)}, or ""', place.affinity)
    found = next(iter(groups(ours)), None)
    if found and found["type"] != place.affinity:
        next_step = "90-remove-cluster deletes it with the cluster; or set affinity to its type."
        what = f"the type of affinity group {found['name']}"
        raise CheckFailed(what, place.affinity, found["type"], next_step)
    return found


def groups(ours: Ours) -> list[dict]:
    """Return the cluster's affinity group, none where the account may not list such."""
    if not ours.cloud.has_affinity_groups:
        return []
    rows = ours.cloud.list_if_allowed("listAffinityGroups", name=_name(ours)) or []
    return [r for r in rows if r["name"] == _name(ours)]


def demand_possible(
    ours: Ours, place: Placement, missing: Sequence[str], fixed: Sequence[str]
) -> None:
    """Raise CheckFailed where machines in several zones cannot be deployed.

    That is with `fixed` addresses, which are all of one network, where one that is `missing` is
    there in another zone than those of the parameters, and for `networks` of such zones.
    """
    if strange := [zone for zone in place.networks if zone not in ours.zones]:
        wanted = (
            f"zones of `zones`: {', '.join(ours.zones)}" if ours.zones else "{} without `zones`"
        )
        raise CheckFailed(
            "networks", wanted, ", ".join(strange), "Set `network`, or name the zone."
        )
    if fixed and len(ours.places) > 1:
        raise CheckFailed("discovery", *ONE_NETWORK)
    for row in _elsewhere(ours) if missing else []:
        if row["name"] in missing and (ours.zones or is_left(ours, row)):
            what, next_step = f"the zone of machine {row['name']}", "Name its zone, or destroy it."
            wanted = " or ".join(place.zone for place in ours.places)
            raise CheckFailed(what, wanted, row.get("zonename"), next_step)


def _elsewhere(ours: Ours) -> list[dict]:
    return [row for row in elsewhere(ours) if row["state"] not in BAD]


def zones(ours: Ours, place: Placement, discovery: str) -> list[Tick]:
    """Return a row on which machine goes where, and one on those that are in other zones."""
    fixed = ["its addresses"] if discovery == "static" else []
    return asked("zones", _zones, ours, place, fixed)


def _zones(ours: Ours, place: Placement, fixed: list[str]) -> list[Tick]:
    others = _elsewhere(ours)
    wanted = ours.zones or others or place.networks
    found = asked("zones", _spread, ours, place, fixed) if wanted else []
    for is_ours, next_step in ((True, LEFT), (False, NAMESAKES)):
        rows = [row for row in others if is_left(ours, row) is is_ours]
        names = ", ".join(f"{row['name']} in {row['zonename']}" for row in rows)
        found += [tick("machines in other zones", "none", names, None, next_step)] if rows else []
    return found


def _spread(ours: Ours, place: Placement, fixed: list[str]) -> str:
    there = ours.machines()
    demand_possible(ours, place, [n for n in ours.names if n not in there], fixed)
    inside: dict[str, list[str]] = {}
    for name in ours.names:
        inside.setdefault(ours.zone_of(name), []).append(name)
    return "; ".join(f"{zone}: {', '.join(names)}" for zone, names in inside.items())


def plan_group(ours: Ours, place: Placement) -> list[Step]:
    """Return the step that creates the cluster's affinity group, none if it is there."""
    if not place.affinity or _group(ours, place):
        return []
    name = _name(ours)
    params = {"name": name, "type": place.affinity, "description": f"cluster {ours.cluster_name}"}
    return [Step("createAffinityGroup", params, f"{place.affinity} of the machines", name)]


def settled(ours: Ours, steps: list[Step]) -> list[Step]:
    """Return the steps with the id of the affinity group that was created meanwhile."""
    waits = [isinstance(s.params.get("affinitygroupids"), Pending) for s in steps]
    ids = list(map(Id.of, groups(ours))) if any(waits) else []
    change = {"affinitygroupids": ids}
    return [replace(s, params=s.params | change) if ids and w else s
            for s, w in zip(steps, waits, strict=True)]  # fmt: skip


def plan_removal(ours: Ours) -> list[Step]:
    """Return the step that deletes the cluster's affinity group; its machines go before."""
    why = "made by this runbook"
    return [Step("deleteAffinityGroup", {"id": Id.of(g)}, why, g["name"]) for g in groups(ours)]


def rows(ours: Ours, place: Placement) -> list[Tick]:
    """Return a row for each kind of place that the parameters name."""
    questions: dict[str, tuple[bool, Callable]] = {
        "more_networks": (bool(place.network or place.more_networks or place.networks), _networks),
        "affinity": (bool(place.affinity), _group),
        "security_groups": (bool(place.security_groups), _security_groups),
    }
    asks = [(what, look) for what, (wanted, look) in questions.items() if wanted]
    return [row for what, look in asks for row in asked(what, _names_found, ours, place, look)]


def _names_found(ours: Ours, place: Placement, look: Callable) -> str:
    """Return the names of what `look` finds in each zone."""
    found = [look(where, place) for where in ours.places]
    rows = [row for one in found for row in (one if isinstance(one, list) else [one]) if row]
    names = ", ".join(dict.fromkeys(r["name"] for r in rows))
    return names or "the group has yet to be created"


def ticks(
    ours: Ours, place: Placement, offerings: Sequence[str], there: dict[str, dict]
) -> list[Tick]:
    """Return for each machine whether it has one of the offerings, and is in its place."""
    found = [_offering(n, m, _of_role(ours, n, offerings)) for n, m in there.items()]
    own = groups(ours) or [{"id": "", "name": _name(ours)}]
    for where in ours.places:
        wanted = {
            "networks": (_networks(where, place), "nic", "networkid"),
            "affinity": (own if place.affinity else [], "affinitygroup", "id"),
            "security groups": (_security_groups(where, place), "securitygroup", "id"),
        }
        inside = {n: m for n, m in there.items() if ours.zone_of(n) == where.zone}
        found += [
            _inside(name, machine, what, *expected)
            for what, expected in wanted.items()
            if expected[0]
            for name, machine in inside.items()
        ]
    return found


def _inside(
    name: str, machine: dict, what: str, expected: list[dict], field: str, key: str
) -> Tick:
    ids = {str(r[key]) for r in machine.get(field) or []}
    lacks = [r["name"] for r in expected if str(r["id"]) not in ids]
    found = f"not in {', '.join(lacks)}" if lacks else "as requested"
    names = ", ".join(r["name"] for r in expected)
    return tick(what, names, found, not lacks, NOT_IN.format(HOW[field]), name)


def _of_role(ours: Ours, machine: str, offerings: Sequence[str]) -> Sequence[str]:
    """Return the offerings of a machine: the first one is that of its role, if it has one."""
    role = ours.role_of(machine)
    own = role.service_offering if role else ""
    return [own, *offerings[1:]] if own and offerings else offerings


def _offering(name: str, machine: dict, offerings: Sequence[str]) -> Tick:
    has = machine.get("serviceofferingname", "another")
    ok = not {has, f"id:{machine['serviceofferingid']}"}.isdisjoint(offerings)
    return tick("offering", " or ".join(offerings), has, ok, MOVED, name)
