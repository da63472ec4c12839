"""Commands for public addresses: taken for a network, listed, and given back.

Rules and texts are those of `AssociateIPAddrCmd` (a job on 2.2, too, as jclouds knew it),
`NetworkServiceImpl.releaseIpAddress` and `IpAddressManagerImpl` (2.2: `NetworkManagerImpl`, of the
same texts). A network goes out by an address of its own, which is listed, too.
"""

from ipaddress import IPv4Network
from typing import Any

from ..state.cloud import Cloud, check_quota, fitting, owner_of
from ..state.jobs import Work
from ..state.refusals import broken, full, invalid
from ..state.registry import command, phase
from ..state.rows import Row
from ..state.views import show

POOL = IPv4Network("203.0.113.0/24")  # TEST-NET-3 (RFC 5737)


@command("associateIpAddress")
def associate(cloud: Cloud, zoneid: Any = None, networkid: Any = None) -> Work:
    """Take the first address that is free."""
    check_quota(cloud, "ip")
    return Work(add(cloud, _network(cloud, zoneid, networkid)))


def _network(cloud: Cloud, zoneid: Any, networkid: Any) -> Row:
    if networkid is not None:
        return cloud.find("network", networkid)
    if zoneid is None:
        raise invalid(
            "Unable to figure out zone to assign IP to. Please specify either zoneId, or networkId,"
            " or vpcId in the call"
        )
    zone, me = cloud.find("zone", zoneid), cloud.account()
    rows = [n for n in cloud.mine("network") if n["zoneid"] == zone["id"] and not n.get("type")]
    if not rows:
        raise invalid(
            f"Account name={me['name']} domain={me['domain']} doesn't have virtual networks in "
            f"zone={zone['name']}"
        )
    if len(rows) > 1:
        raise invalid("Account has more than one isolated network in the zone")
    return rows[0]


def add(cloud: Cloud, network: Row, **more: Any) -> Row:
    """Add the row of the first free address for a network (533 if there is none)."""
    taken = {row["ipaddress"] for row in cloud.rows("publicipaddress")}
    address = next((a for a in map(str, POOL.hosts()) if a not in taken), None)
    if address is None:
        raise full("Insufficient address capacity")
    place = {"zoneid": network["zoneid"], "associatednetworkid": network["id"]}
    own = place | owner_of(network) | {"issourcenat": False} | more
    return cloud.state.add("publicipaddress", ipaddress=address, at=cloud.clock(), **own)


@phase("associateIpAddress", "finish")
def associated(cloud: Cloud, job: Row, **_: Any) -> dict:
    """Answer with the address."""
    row = cloud.find("publicipaddress", job["instance"])
    return {"ipaddress": show(cloud, "publicipaddress", row)}


@command("disassociateIpAddress")
def disassociate(cloud: Cloud, id: Any) -> Work:
    """Queue it, unless a network goes out by the address."""
    row = cloud.find("publicipaddress", id)
    if row.get("issourcenat"):
        raise broken("ip address is used for source nat purposes and can not be disassociated.")
    return Work(row)


@phase("disassociateIpAddress", "finish")
def disassociated(cloud: Cloud, job: Row, id: Any) -> None:
    """Remove the address and its rules."""
    row = cloud.find("publicipaddress", id)
    for kind in ("portforwardingrule", "firewallrule"):
        for rule in fitting(cloud, kind, ipaddressid=row["id"]):
            cloud.state.remove(kind, rule)
    cloud.state.remove("publicipaddress", row)
