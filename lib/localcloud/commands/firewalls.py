"""Commands for what a public address lets in: port forwarding and firewall rules.

Rules and texts are those of `FirewallManagerImpl` (`detectRulesConflict`, `validateFirewallRule`),
`RulesManagerImpl`, `CreatePortForwardingRuleCmd` and `CreateFirewallRuleCmd`. What a port conflicts
with is named by its number, as all servers did to 4.19; newer ones may write the rule in full. 2.2
has no firewall rules: there a forwarded port is open, but for `cidrlist` (its API reference), which
newer servers take for VPCs only. No packet is sent here, so a rule changes nothing but the lists.
"""

import ipaddress
from typing import Any

from ..state.cloud import Cloud, fitting
from ..state.jobs import Work
from ..state.refusals import ApiError, invalid
from ..state.registry import command, phase
from ..state.rows import Row
from ..state.views import more

EVERYONE = "0.0.0.0/0"
CONFLICT = 537


@command("createPortForwardingRule")
def create_forwarding(
    cloud: Cloud,
    ipaddressid: Any,
    virtualmachineid: Any,
    openfirewall: bool = True,
    cidrlist: list | None = None,
    **given: Any,
) -> Work:
    """Create the rule, and where that is left open a firewall rule for everyone."""
    address = cloud.find("publicipaddress", ipaddressid)
    machine = cloud.find("virtualmachine", virtualmachineid)
    if machine["state"] in ("Destroyed", "Expunging"):
        raise invalid(f"Invalid user vm: {machine['n']}")
    if _card(machine, address) is None:
        raise invalid("Vm doesn't belong to network associated with ipAddress")
    port, protocol = given["publicport"], _protocol(cloud, address, given["protocol"])
    if protocol == "icmp":
        raise invalid("Protocol icmp is currently supported only for rules with purpose Firewall")
    _check_free(fitting(cloud, "portforwardingrule", ipaddressid=address["id"]), protocol, port)
    own = _of(address) | {"protocol": protocol, "virtualmachineid": machine["id"]}
    own |= {"publicport": port, "privateport": given["privateport"], "cidrlist": cidrlist}
    if openfirewall and cloud.dialect.has_firewall:
        _open(cloud, address, protocol, port, port, [EVERYONE])
    return Work(cloud.state.add("portforwardingrule", **own))


def _card(machine: Row, address: Row) -> Row | None:
    cards = (c for c in machine["nics"] if c["networkid"] == address["associatednetworkid"])
    return next(cards, None)


def _protocol(cloud: Cloud, address: Row, given: str) -> str:
    if given.lower() not in ("tcp", "udp", "icmp"):
        zone = cloud.find("zone", address["zoneid"])
        raise invalid(f"Protocol {given} is not supported in zone {zone['n']}")
    return given.lower()


def _of(address: Row) -> Row:
    return {"ipaddressid": address["id"], "networkid": address["associatednetworkid"]}


def _check_free(rules: list[Row], protocol: str, port: int) -> None:
    """Refuse a port that another rule forwards (`detectRulesConflict`)."""
    for rule in rules:
        if (rule["protocol"], rule["publicport"]) == (protocol, port):
            text = f"The range specified, {port}-{port}, conflicts with rule {rule['n']} which has"
            raise ApiError(CONFLICT, f"{text} {port}-{port}")


@command("createFirewallRule")
def create_firewall(
    cloud: Cloud,
    ipaddressid: Any,
    protocol: str,
    startport: int | None = None,
    endport: int | None = None,
    cidrlist: list | None = None,
) -> Work:
    """Create the rule, unless one for the same ports and sources is there."""
    address = cloud.find("publicipaddress", ipaddressid)
    for cidr in cidrlist or []:
        if not is_cidr(cidr):
            raise ApiError(431, f"Source CIDRs formatting error {cidr}")
    ports = startport, endport or startport
    return Work(
        _open(cloud, address, _protocol(cloud, address, protocol), *ports, cidrlist or [EVERYONE])
    )


def is_cidr(text: str) -> bool:
    """Tell whether a text is a network with its prefix."""
    try:
        return "/" in text and bool(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return False


def _open(
    cloud: Cloud, address: Row, protocol: str, start: int | None, end: int | None, cidrs: list
) -> Row:
    own = _of(address) | {"protocol": protocol, "startport": start, "endport": end}
    alike = {"ipaddressid": address["id"], "protocol": protocol}
    for rule in fitting(cloud, "firewallrule", **alike):
        first, last = rule["startport"], rule["endport"]
        if not set(rule["cidrlist"]) & set(cidrs) or (start is None) is not (first is None):
            continue
        if start is None or end is None:
            text = f"There is already a firewall rule specified with protocol = {protocol}"
            raise ApiError(CONFLICT, f"{text} and no ports")
        if first <= end and start <= last:
            text = f"The range specified, {start}-{end}, conflicts with rule {rule['n']} which has"
            raise ApiError(CONFLICT, f"{text} {first}-{last}")
    return cloud.state.add("firewallrule", **own, cidrlist=cidrs)


@phase("deleteFirewallRule", "finish")
@phase("deletePortForwardingRule", "finish")
def deleted(cloud: Cloud, job: Row, id: Any) -> None:
    """Delete the rule."""
    for kind in ("firewallrule", "portforwardingrule"):
        if rule := cloud.state.get(kind, id):
            cloud.state.remove(kind, rule)


def revoke(cloud: Cloud, machine: Row) -> None:
    """Delete the rules of a machine that is expunged (`revokeRulesForVm`)."""
    for rule in fitting(cloud, "portforwardingrule", virtualmachineid=machine["id"]):
        cloud.state.remove("portforwardingrule", rule)


@more("firewallrule")
@more("portforwardingrule")
def _rule(cloud: Cloud, row: Row) -> dict:
    machine = cloud.state.get("virtualmachine", row.get("virtualmachineid")) or {}
    address = cloud.find("publicipaddress", row["ipaddressid"])
    card = _card(machine, address) if machine else None
    ports = {k: str(row[k]) for k in ("publicport", "privateport") if k in row}
    return {
        **ports,
        **{k.replace("port", "endport"): v for k, v in ports.items()},
        "ipaddress": address["ipaddress"],
        "virtualmachinename": machine.get("name"),
        "virtualmachinedisplayname": machine.get("displayname"),
        "vmguestip": card["address"] if card else None,
        "cidrlist": ",".join(row.get("cidrlist") or []),
    }
