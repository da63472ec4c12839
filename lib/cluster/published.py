"""A public address for SSH to the first machine, where it is asked for.

It is an address of the cluster's own, with port 22 forwarded and, where there is a firewall, open
for the `public_from` only. It is ours by its tags; before 3.0 by the journal alone, as a rule that
somebody made for our machine on an address of theirs does not make that ours.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lib import plan as plans
from lib.checks import Tick, asked, later, tick
from lib.cluster.login import DEFAULT_USER
from lib.cluster.registry import DEPLOY
from lib.earlier import created_by_runs
from lib.errors import CheckFailed, ParamsError
from lib.machines import nic_of
from lib.ours import Ours, tags_in
from lib.record import facts
from lib.steps import Id, Pending, Step

KINDS = ("", "ssh")
PORT = 22
STAGE = "50-deploy-cluster"
EVERYONE = "0.0.0.0/0"
NO_FORWARDING = "Leave public empty, or choose a network with port forwarding."


@dataclass(frozen=True)
class Public:
    """What of the cluster is public: "" nothing, "ssh" SSH to the first machine.

    `sources` are CIDRs that it is open for, [] for everyone. Raises ParamsError for others.
    """

    what: str = ""
    sources: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.what not in KINDS:
            raise ParamsError("public", '"ssh", or "" for nothing', self.what)
        for source in self.sources:
            if not _is_cidr(source):
                raise ParamsError("public_from", "networks such as 198.51.100.0/24", source)

    @property
    def cidrs(self) -> list[str]:
        """The networks that it is open for."""
        return list(self.sources) or [EVERYONE]


def _is_cidr(text: str) -> bool:
    try:
        return "/" in text and bool(ipaddress.IPv4Network(text))
    except ValueError:
        return False


def plan(ours: Ours, public: Public) -> list[Step]:
    """Return the steps to SSH from outside, or those that end it where it is not asked for.

    Each needs the one before: apply them with `apply`. Raises CheckFailed where the network of the
    first machine has no port forwarding.
    """
    if not public.what:
        return plan_removal(ours)
    name, there = ours.names[0], ours.machines()
    machine, own = there.get(name), next(iter(addresses(ours, wanted=True)), None)
    place = ours.in_zone(ours.zone_of(name))
    network = _network_of(place, machine)
    steps = [] if own else [_take(place, name, network)]
    ident = Id.of(own, "ipaddress") if own else Pending(f"public address for {name}", STAGE)
    return steps + _forward(ours, name, machine, ident, public) + _let_in(ours, name, ident, public)


def _take(ours: Ours, name: str, network: str | Pending) -> Step:
    where = {"networkid": network} if ours.cloud.has_firewall else {"zoneid": ours.zone_id}
    why = "public: ssh, and the cluster has no address of its own"
    return Step(
        "associateIpAddress", where, why, f"for {name}", ours.tags_of(name), "PublicIpAddress"
    )


def _network_of(ours: Ours, machine: dict | None) -> str | Pending:
    """Return the id of the network of a machine; CheckFailed if it forwards no ports."""
    nic = nic_of(machine or {})
    if not nic:
        return Pending(f"machine {ours.names[0]}, deployed", STAGE)
    row = ours.cloud.one("listNetworks", f"id:{nic['networkid']}", zoneid=ours.zone_id)
    demand_forwarding([row])
    return str(nic["networkid"])


def demand_forwarding(networks: list[dict]) -> None:
    """Raise CheckFailed unless one of the networks can forward ports, as far as their rows tell."""
    described = [n for n in networks if "service" in n]
    can = [n for n in described if any(s["name"] == "PortForwarding" for s in n["service"])]
    if described and not can:
        names = ", ".join(n["name"] for n in described)
        raise CheckFailed("public", "a network with port forwarding", names, NO_FORWARDING)


def _forward(
    ours: Ours, name: str, machine: dict | None, address: Id | Pending, public: Public
) -> list[Step]:
    rules = _rules(ours, "listPortForwardingRules", address)
    rules = [r for r in rules if str(r["publicport"]) == str(PORT)]
    fit = [r for r in rules if machine and str(r["virtualmachineid"]) == str(machine["id"])]
    if not ours.cloud.has_firewall:  # the rule itself says for whom it is open
        fit = [r for r in fit if _cidrs(r) == set(public.sources)]
    if fit:
        return []
    ends = [
        Step(
            "deletePortForwardingRule",
            {"id": Id.of(r, "ipaddress")},
            "to another machine, or for others",
            name,
        )
        for r in rules
    ]
    target = Id.of(machine) if machine else Pending(f"machine {name}, deployed", STAGE)
    params = {"ipaddressid": address, "protocol": "TCP", "publicport": PORT, "privateport": PORT}
    params["virtualmachineid"] = target
    if ours.cloud.has_firewall:
        params["openfirewall"] = False
    elif public.sources:
        params["cidrlist"] = ",".join(public.sources)
    why = f"SSH to {name} from outside"
    return [*ends, Step("createPortForwardingRule", params, why, f"to {name}")]


def _cidrs(rule: dict) -> set[str]:
    return set(filter(None, str(rule.get("cidrlist") or "").split(",")))


def _let_in(ours: Ours, name: str, address: Id | Pending, public: Public) -> list[Step]:
    """Return the steps to the firewall rules, for these networks and no others."""
    if not ours.cloud.has_firewall:
        return []
    there = {
        str(r.get("cidrlist", "")): r
        for r in _rules(ours, "listFirewallRules", address)
        if str(r.get("startport")) == str(PORT)
    }
    wanted = ",".join(public.cidrs)
    ends = [
        Step("deleteFirewallRule", {"id": Id.of(r, "cidrlist")}, f"open for {cidrs}", f"for {name}")
        for cidrs, r in there.items()
        if set(cidrs.split(",")) != set(public.cidrs)
    ]
    if len(there) > len(ends):
        return ends
    params = {"ipaddressid": address, "protocol": "TCP", "startport": PORT, "endport": PORT}
    params["cidrlist"] = wanted
    return [*ends, Step("createFirewallRule", params, f"open for {wanted}", f"for {name}")]


def _rules(ours: Ours, listing: str, address: Id | Pending) -> list[dict]:
    if isinstance(address, Pending):
        return []
    return ours.cloud.list(listing, ipaddressid=address)


def addresses(ours: Ours, wanted: bool = False) -> list[dict]:
    """Return the public addresses of the cluster; none where the account may not list them.

    Where one is `wanted` Refused is raised then, as each run would take another.
    """
    listing = "listPublicIpAddresses"
    rows = (ours.cloud.list if wanted else ours.cloud.list_if_allowed)(listing) or []
    rows = [r for r in rows if str(r.get("issourcenat")).lower() != "true"]
    if ours.cloud.has_tags:
        here = {str(place.zone_id) for place in ours.everywhere}
        return [r for r in ours.own(rows) if str(r["zoneid"]) in here or "home" in tags_in(r)]
    created = created_by_runs(ours.cloud) if rows else set()
    return [r for r in rows if str(r["id"]) in created]


def apply(ours: Ours, public: Public, steps: list[Step], mode: str, *, within: float) -> None:
    """Apply the steps one after the other, each with the id of what the last one made."""
    if mode == "plan":
        return
    for _ in steps:
        plans.apply(ours.cloud, plan(ours, public)[:1], mode, within=within)


def ticks(ours: Ours, public: Public) -> list[Tick]:
    """Return a row on whether the first machine is reached from outside, if it is to be."""
    if not public.what:
        return []
    return asked("public", _ticks, ours, public)


def _ticks(ours: Ours, public: Public) -> list[Tick]:
    name, steps = ours.names[0], plan(ours, public)
    if steps:
        found = f"not yet: {', '.join(s.command for s in steps)}"
        return [later("public", "SSH from outside", found, DEPLOY, name)]
    return [tick("public", "SSH from outside", "as requested", True, of=name)]


def tell(ours: Ours, public: Public, user: str) -> None:
    """Say how to log in to the first machine from outside, and put that into the run's record."""
    for row in addresses(ours) if public.what else []:
        login = f"ssh {user or DEFAULT_USER}@{row['ipaddress']}"
        facts.add(outside={"name": ours.names[0], "address": row["ipaddress"], "login": login})
        print(f"from outside: {login} reaches {ours.names[0]}")


def plan_removal(ours: Ours) -> list[Step]:
    """Return the steps that give the public addresses back, with their rules."""
    why = "made by this runbook"
    return [
        Step("disassociateIpAddress", {"id": Id.of(r, "ipaddress")}, why, r["ipaddress"])
        for r in addresses(ours)
    ]


def needed(ours: Ours, what: str) -> int:
    """Return how many public addresses have yet to be taken."""
    return 1 if what and not addresses(ours) else 0


def rows(ours: Ours, what: str, sources: Sequence[str], networks: Mapping[str, str]) -> list[Tick]:
    """Return a row on whether the first machine can be reached from outside, if it is to be.

    `networks` are the default ones of each zone.
    """
    return asked("public", _possible, ours, what, sources, networks) if what or sources else []


def _possible(ours: Ours, what: str, sources: Sequence[str], networks: Mapping[str, str]) -> str:
    public = Public(what, sources)
    addresses(ours, wanted=bool(what))
    place = ours.in_zone(ours.zone_of(ours.names[0])) if ours.names else ours
    found = ours.cloud.list("listNetworks", zoneid=place.zone_id)
    network = networks.get(place.zone, "")
    demand_forwarding([n for n in found if network in ("", n["name"], f"id:{n['id']}")])
    return f"port {PORT} of an address of its own, for {', '.join(public.cidrs)}"
