"""Commands for what a public address lets in: port forwarding and firewall rules.

Rules and texts are those of `RulesManagerImpl`, `FirewallManagerImpl` and
`CreateFirewallRuleCmd`. 2.2 has no firewall rules: there a forwarded port is open, but for
`cidrlist`. No packet is sent here, so a rule changes nothing but the lists.
"""

import ipaddress
from typing import Any

from ..state.cloud import Cloud, Listing, fitting
from ..state.jobs import Work
from ..state.refusals import ApiError, invalid
from ..state.registry import command, phase
from ..state.rows import Row
from ..state.views import more, show

EVERYONE = "0.0.0.0/0"
CONFLICT = 537


@command("""listPortForwardingRules list portforwardingrule
    Lists port forwarding rules.
    id uuid the rule
    ipaddressid uuid its public address
    networkid uuid (4.22) its network
    tags map (4.22) tags it must carry, one of them at least
""")
def list_forwarding(cloud: Cloud, **filters: Any) -> Listing:
    """Answer with the matching rules."""
    return Listing("portforwardingrule", fitting(cloud, "portforwardingrule", **filters))


@command("""listFirewallRules(4.22) list firewallrule
    Lists firewall rules.
    id uuid the rule
    ipaddressid uuid its public address
    networkid uuid its network
    tags map tags it must carry, one of them at least
""")
def list_firewall(cloud: Cloud, **filters: Any) -> Listing:
    """Answer with the matching rules."""
    return Listing("firewallrule", fitting(cloud, "firewallrule", **filters))


@command("""createPortForwardingRule async-create portforwardingrule
    Forwards a port of a public address to a machine.
    ipaddressid uuid* the public address
    protocol string* TCP or UDP
    publicport integer* its port
    privateport integer* the machine's port
    virtualmachineid uuid* the machine
    cidrlist strings where requests may come from; newer servers have firewall rules for that
    openfirewall boolean (4.22) false: no firewall rule is made for it
    networkid uuid (4.22) the network, for an address that has none; all have one here
""")
def create_forwarding(
    cloud: Cloud,
    ipaddressid: Any,
    virtualmachineid: Any,
    openfirewall: bool = True,
    cidrlist: list | None = None,
    **given: Any,
) -> Work:
    """Create the rule, and where that is left open a firewall rule for everyone."""
    if cidrlist and cloud.dialect.has_firewall:
        raise invalid(
            "Parameter cidrList is deprecated; if you need to open firewall rule for the specific "
            "cidr, please refer to createFirewallRule command"
        )
    address = cloud.find("publicipaddress", ipaddressid)
    machine = cloud.find("virtualmachine", virtualmachineid)
    if machine["state"] in ("Destroyed", "Expunging"):
        raise invalid(f"Invalid user vm: {machine['n']}")
    if _card(machine, address) is None:
        raise invalid("Vm doesn't belong to network associated with ipAddress")
    port, protocol = given["publicport"], _protocol(given["protocol"])
    _check_free(fitting(cloud, "portforwardingrule", ipaddressid=address["id"]), protocol, port)
    own = _of(address) | {"protocol": protocol, "virtualmachineid": machine["id"]}
    own |= {"publicport": port, "privateport": given["privateport"], "cidrlist": cidrlist}
    if openfirewall and cloud.dialect.has_firewall:
        _open(cloud, address, protocol, port, port, [EVERYONE])
    return Work(cloud.state.add("portforwardingrule", **own))


def _card(machine: Row, address: Row) -> Row | None:
    cards = (c for c in machine["nics"] if c["networkid"] == address["associatednetworkid"])
    return next(cards, None)


def _protocol(given: str) -> str:
    if given.lower() not in ("tcp", "udp", "icmp"):
        raise invalid(f"Protocol {given} is not supported in zone")
    return given.lower()


def _of(address: Row) -> Row:
    return {"ipaddressid": address["id"], "networkid": address["associatednetworkid"]}


def _check_free(rules: list[Row], protocol: str, port: int) -> None:
    """Refuse a port that another rule forwards (`detectRulesConflict`)."""
    for rule in rules:
        if (rule["protocol"], rule["publicport"]) == (protocol, port):
            text = f"The range specified, {port}-{port}, conflicts with rule {rule['n']} which has"
            raise ApiError(CONFLICT, f"{text} {port}-{port}")


@phase("createPortForwardingRule", "finish")
def forwarding(cloud: Cloud, job: Row, **_: Any) -> dict:
    """Answer with the rule."""
    rule = cloud.find("portforwardingrule", job["instance"])
    return {"portforwardingrule": show(cloud, "portforwardingrule", rule)}


@command("""createFirewallRule(4.22) async-create firewallrule
    Lets requests to ports of a public address in.
    ipaddressid uuid* the public address
    protocol string* TCP, UDP or ICMP
    startport integer the first port
    endport integer the last port
    cidrlist strings where requests may come from; from everywhere by default
""")
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
        if not _is_cidr(cidr):
            raise ApiError(431, f"Source CIDRs formatting error {cidr}")
    ports = startport, endport or startport
    return Work(_open(cloud, address, _protocol(protocol), *ports, cidrlist or [EVERYONE]))


def _is_cidr(text: str) -> bool:
    try:
        return "/" in text and bool(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return False


def _open(
    cloud: Cloud, address: Row, protocol: str, start: int | None, end: int | None, cidrs: list
) -> Row:
    own = _of(address) | {"protocol": protocol, "startport": start, "endport": end}
    for rule in fitting(cloud, "firewallrule", ipaddressid=address["id"]):
        same = all(rule[k] == v for k, v in own.items())
        if same and set(rule["cidrlist"]) & set(cidrs):
            text = f"The range specified, {start}-{end}, conflicts with rule {rule['n']} which has"
            raise ApiError(CONFLICT, f"{text} {start}-{end}")
    return cloud.state.add("firewallrule", **own, cidrlist=cidrs)


@phase("createFirewallRule", "finish")
def opened(cloud: Cloud, job: Row, **_: Any) -> dict:
    """Answer with the rule."""
    rule = cloud.find("firewallrule", job["instance"])
    return {"firewallrule": show(cloud, "firewallrule", rule)}


@command("""deleteFirewallRule(4.22) async firewallrule
    Deletes a firewall rule.
    id uuid* the rule
""")
def delete_firewall(cloud: Cloud, id: Any) -> Work:
    """Queue the deleting."""
    return Work(cloud.find("firewallrule", id))


@command("""deletePortForwardingRule async portforwardingrule
    Deletes a port forwarding rule.
    id uuid* the rule
""")
def delete_forwarding(cloud: Cloud, id: Any) -> Work:
    """Queue the deleting."""
    return Work(cloud.find("portforwardingrule", id))


@phase("deleteFirewallRule", "finish")
@phase("deletePortForwardingRule", "finish")
def deleted(cloud: Cloud, job: Row, id: Any) -> dict:
    """Delete the rule."""
    for kind in ("firewallrule", "portforwardingrule"):
        if rule := cloud.state.get(kind, id):
            cloud.state.remove(kind, rule)
    return {"success": True}


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
