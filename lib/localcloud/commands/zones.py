"""Commands for zones, offerings, OS types, networks and hypervisors."""

from typing import Any

from ..state.cloud import Cloud, Listing, fitting
from ..state.registry import command
from ..state.views import show


@command("""listZones list zone
    Lists zones: the data centres that machines and volumes live in.
    id uuid the zone
    ids uuids (4.22) several zones
    available boolean false: only zones in which the account has a router of its own
    name string (4.22) the zone's name
    networktype string (4.22) Basic or Advanced
    tags map (4.22) tags it must carry, one of them at least
""")
def list_zones(
    cloud: Cloud, networktype: str = "", available: bool = True, **filters: Any
) -> Listing:
    """Answer with the matching zones; there are no routers here."""
    rows = fitting(cloud, "zone", **filters) if available else []
    return Listing("zone", [r for r in rows if networktype in ("", r["networktype"])])


@command("""listDiskOfferings list diskoffering
    Lists disk offerings: the sizes in which data volumes can be had; 0 is any.
    id uuid the disk offering
    name string its name
""")
def list_disk_offerings(cloud: Cloud, **filters: Any) -> Listing:
    """Answer with the matching disk offerings."""
    return Listing("diskoffering", fitting(cloud, "diskoffering", **filters))


@command("""listServiceOfferings list serviceoffering
    Lists service offerings: how many CPUs and how much memory (MB) a machine can have.
    id uuid the service offering
    name string its name
    issystem boolean those of the cloud's own machines, which users do not see
""")
def list_service_offerings(cloud: Cloud, issystem: bool = False, **filters: Any) -> Listing:
    """Answer with the matching service offerings."""
    rows = [] if issystem else fitting(cloud, "serviceoffering", **filters)
    custom = cloud.setting("offerings")["custom"]
    return Listing("serviceoffering", [r for r in rows if r["cpunumber"] or custom])


@command("""listOsTypes list ostype
    Lists the OS types a template can say it holds.
    id uuid the OS type
    oscategoryid uuid its category
    description string@3.0.1 (4.22) part of its description
""")
def list_os_types(cloud: Cloud, description: str = "", **filters: Any) -> Listing:
    """Answer with the OS types that match."""
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
    canusefordeploy boolean (4.22) networks in which machines can be deployed
    tags map (4.22) tags it must carry, one of them at least
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
    """Answer with the account's networks that match."""
    fit = traffictype.lower() == "guest" and not issystem and isdefault and canusefordeploy
    rows = fitting(cloud, "network", **filters) if fit else []
    kinds = (type.lower(), "") if type else ("isolated", "shared")
    return Listing("network", [r for r in rows if r.get("type", "Isolated").lower() in kinds])


@command("""listHypervisors list hypervisor
    Lists the hypervisors that machines run on.
    zoneid uuid the zone
""")
def list_hypervisors(cloud: Cloud, zoneid: Any = None, keyword: str = "") -> Listing:
    """Answer with the only hypervisor of the cloud."""
    return Listing("hypervisor", [{"name": cloud.dialect.hypervisor}])


@command("""listOsCategories list oscategory
    Lists the categories of OS types.
    id uuid the category
    name string (4.22) its name
""")
def list_os_categories(cloud: Cloud, **filters: Any) -> Listing:
    """Answer with the matching categories."""
    return Listing("oscategory", fitting(cloud, "oscategory", **filters))


@command("""listNetworkOfferings list networkoffering
    Lists network offerings: the kinds of network that there are.
    id uuid the network offering
    name string its name
    displaytext string its text
    traffictype string Guest and so on
    guestiptype string (4.22) Isolated or Shared
    isdefault boolean those that are there from the start
    specifyvlan boolean those that need a VLAN
    availability string Required, Optional or Unavailable
    state string (4.22) Enabled or Disabled
    forvpc boolean (4.22) those for networks of VPCs
    zoneid uuid the zone
""")
def list_network_offerings(
    cloud: Cloud, zoneid: Any = None, id: Any = None, **texts: Any
) -> Listing:
    """Answer with the offering of the only network, if it matches."""
    keyword = texts.pop("keyword", "").lower()
    rows = [
        row
        for row in fitting(cloud, "networkoffering", id=id)
        for view in [show(cloud, "networkoffering", row)]
        if keyword in view["name"].lower()
        and all(str(view[k]).lower() == str(v).lower() for k, v in texts.items())
    ]
    return Listing("networkoffering", rows)
