"""Commands for zones, offerings, OS types, networks and hypervisors."""

from typing import Any

from ..state.cloud import Cloud, Listing, fitting
from ..state.registry import command


@command("listServiceOfferings")
def list_service_offerings(cloud: Cloud, **filters: Any) -> Listing:
    """Answer with the matching service offerings."""
    rows = fitting(cloud, "serviceoffering", **filters)
    custom = cloud.setting("offerings")["custom"]
    return Listing("serviceoffering", [r for r in rows if r["cpunumber"] or custom])


@command("listOsTypes")
def list_os_types(cloud: Cloud, description: str = "", **filters: Any) -> Listing:
    """Answer with the OS types that match."""
    rows = fitting(cloud, "ostype", **filters)
    return Listing("ostype", [r for r in rows if description.lower() in r["name"].lower()])


@command("listHypervisors")
def list_hypervisors(cloud: Cloud, keyword: str = "") -> Listing:
    """Answer with the only hypervisor of the cloud."""
    return Listing("hypervisor", [{"name": cloud.dialect.hypervisor}])
