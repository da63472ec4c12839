"""Commands that say what the cloud offers: zones, offerings, OS types, networks, hypervisors."""

from typing import Any

from .cloud import Cloud, Listing, fitting
from .registry import command


@command("""listZones list zone
    Lists zones: the data centres that machines and volumes live in.
    id uuid the zone
    available boolean false: only zones in which the account has a router of its own
    name string (4.20) the zone's name
    networktype string (4.20) Basic or Advanced
""")
def list_zones(
    cloud: Cloud, networktype: str = "Advanced", available: bool = True, **filters: Any
) -> Listing:
    """Answer with the one zone, if it fits; there are no routers here."""
    rows = fitting(cloud, "zone", **filters) if networktype == "Advanced" and available else []
    return Listing("zone", rows)


@command("""listDiskOfferings list diskoffering
    Lists disk offerings: the sizes in which data volumes can be had; 0 is any.
    id uuid the disk offering
    name string its name
""")
def list_disk_offerings(cloud: Cloud, **filters: Any) -> Listing:
    """Answer with the disk offerings that fit."""
    return Listing("diskoffering", fitting(cloud, "diskoffering", **filters))


@command("""listServiceOfferings list serviceoffering
    Lists service offerings: how many CPUs and how much memory (MB) a machine can have.
    id uuid the service offering
    name string its name
    issystem boolean those of the cloud's own machines, which users do not see
""")
def list_service_offerings(cloud: Cloud, issystem: bool = False, **filters: Any) -> Listing:
    """Answer with the service offerings that fit."""
    rows = [] if issystem else fitting(cloud, "serviceoffering", **filters)
    custom = cloud.setting("offerings")["custom"]
    return Listing("serviceoffering", [r for r in rows if r["cpunumber"] or custom])


@command("""listOsTypes list ostype
    Lists the OS types a template can say it holds.
    id uuid the OS type
    oscategoryid uuid its category
    description string@3.0.1 (4.20) part of its description
""")
def list_os_types(cloud: Cloud, description: str = "", **filters: Any) -> Listing:
    """Answer with the OS types that fit."""
    rows = fitting(cloud, "ostype", **filters)
    return Listing("ostype", [r for r in rows if description.lower() in r["name"].lower()])


@command("""listNetworks list network
    Lists the networks that machines can be put into.
    id uuid the network
    zoneid uuid its zone
    type string Isolated or Shared
    traffictype string Guest and so on
    issystem boolean networks of the cloud itself
    isdefault boolean (2.2) the account's default network
    canusefordeploy boolean (4.20) networks in which machines can be deployed
    tags map (4.20) tags it must carry, one of them at least
""")
def list_networks(
    cloud: Cloud,
    type: str = "",
    traffictype: str = "Guest",
    issystem: bool = False,
    isdefault: bool = True,
    canusefordeploy: bool = True,
    **filters: Any,
) -> Listing:
    """Answer with the account's networks that fit."""
    fit = traffictype.lower() == "guest" and not issystem and isdefault and canusefordeploy
    rows = fitting(cloud, "network", **filters) if fit else []
    kinds = (type.lower(), "") if type else ("isolated", "shared")
    return Listing("network", [r for r in rows if r.get("type", "Isolated").lower() in kinds])


@command("""listHypervisors list hypervisor
    Lists the hypervisors that machines run on.
    zoneid uuid the zone
""")
def list_hypervisors(cloud: Cloud, zoneid: Any = None, keyword: str = "") -> Listing:
    """Answer with the one hypervisor this kind of cloud has."""
    return Listing("hypervisor", [{"name": cloud.dialect.hypervisor}])


def _nothing(name: str, what: str) -> None:
    """Register a list that is always empty: machines here have no way in from outside."""
    head = f"{name} list hypervisor\n Lists {what}; there are none here."
    command(head)(lambda cloud, **_: Listing("hypervisor", []))


# libcloud asks for these whenever it lists machines.
_nothing("listPublicIpAddresses", "public addresses")
_nothing("listPortForwardingRules", "port forwarding rules")
_nothing("listIpForwardingRules", "forwarding rules of addresses")
