"""Admission: whether security groups let the machines reach each other, and us log in.

A group without rules lets nothing in, and each account's own, which machines without
`security_groups` are in, has none to begin with. Those of VMware are in no group
(`SecurityGroupManagerImpl`).
"""

import ipaddress
from collections.abc import Sequence

from lib.api import find
from lib.checks import Tick, asked, not_allowed, tick
from lib.cluster import etcd, membership
from lib.ours import Ours

DEFAULT = "default"  # the group of each account
SSH = 22
VMWARE = "VMware"
TCP = ("tcp", "all", "6")
OPEN = (
    "Let them in with authorizeSecurityGroupIngress (protocol=tcp, startport, endport, and as "
    "source usersecuritygrouplist[0].group and .account, or a cidrlist)"
)
NEVER = f"{OPEN}: without it no etcd reaches another, and the cluster never forms."
NO_LOGIN = f"{OPEN}: without it nobody logs in, also not 60, 70 and 80 with machine_user."


def rows(ours: Ours, groups: Sequence[str], installer: str) -> list[Tick]:
    """Return rows on what the named groups let in, of zones that have such; [] are the default one.

    That no group lets etcd's ports in is wrong, where there is more than one member and none may be
    of VMware. That none lets SSH in is a warning.
    """
    return asked("security groups", _rows, ours, groups, installer)


def _rows(ours: Ours, groups: Sequence[str], installer: str) -> list[Tick]:
    cloud, zones = ours.cloud, {str(place.zone_id) for place in ours.places}
    if not any(z.get("securitygroupsenabled") for z in cloud.zones if str(z["id"]) in zones):
        return []
    kinds = {r["name"] for r in cloud.list_if_allowed("listHypervisors") or []}
    there = cloud.list_if_allowed("listSecurityGroups")
    if there is None:
        denied = not_allowed("listSecurityGroups")
        return [tick("security groups", "etcd's ports open", denied, None)]
    found = [g for name in groups or [DEFAULT] for g in find.fitting(there, name)]
    if kinds == {VMWARE} or not found:  # a name that is none is another row's
        return []
    names = ", ".join(g["name"] for g in found)
    lets = [r for g in found for r in g.get("ingressrule") or [] if _is_for_us(ours, r, found)]
    ports = [etcd.PORT, membership.PEER_PORT]
    if installer == "coreos-install":
        ports = [etcd.OLD_PORT, membership.OLD_PEER_PORT]
    shut = [p for p in ports if not _lets(lets, p)]
    sure = len(ours.members) > 1 and bool(kinds) and VMWARE not in kinds
    ticks = [tick(f"security groups {names}", f"etcd's ports {ports[0]} and {ports[1]} open",
                  f"shut: {', '.join(map(str, shut))}" if shut else "open",
                  (False if sure else None) if shut else True, NEVER)]  # fmt: skip
    is_open = any(_lets(g.get("ingressrule") or [], SSH) for g in found)
    if not is_open:
        ticks.append(tick(f"security groups {names}", "port 22 open", "shut", None, NO_LOGIN))
    return ticks


def _lets(rules: list[dict], port: int) -> bool:
    for rule in rules:
        start, end = int(rule.get("startport") or 0), int(rule.get("endport") or 0)
        protocol = str(rule.get("protocol", "")).lower()
        if protocol in TCP and (protocol != "tcp" or start <= port <= end):
            return True
    return False


def _is_for_us(ours: Ours, rule: dict, groups: list[dict]) -> bool:
    """Tell whether a rule may let our machines in: from a group of theirs, or networks they are in.

    A network without a CIDR may be any.
    """
    if not rule.get("cidr"):
        ours_too = [(g["name"], g.get("account")) for g in groups]
        return (rule.get("securitygroupname"), rule.get("account")) in ours_too
    source = ipaddress.ip_network(rule["cidr"], strict=False)
    there = [n for p in ours.places for n in ours.cloud.list("listNetworks", zoneid=p.zone_id)]
    known = [ipaddress.ip_network(n["cidr"], strict=False) for n in there if n.get("cidr")]
    return len(known) < len(there) or not known or any(source.overlaps(n) for n in known)
