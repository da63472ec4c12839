"""Network cards of machines, and their addresses."""

from ..state.cloud import Cloud
from ..state.refusals import full, invalid
from ..state.rows import Row


def free_address(cloud: Cloud, network: Row, wanted: str | None = None) -> str:
    """Return a free address of a network: the wanted one, or the first (533 if there is none)."""
    taken = {
        card["address"]
        for machine in cloud.rows("virtualmachine")
        for card in machine["nics"]
        if cloud.runs_etcd or card["networkid"] == network["id"]
    }
    free = cloud.subnet(network).free(taken)
    if wanted and wanted not in free:
        raise invalid(f"The specified IP address {wanted} is not free in network {network['name']}")
    found = wanted or next(free, None)
    if not found:
        raise full(f"Unable to acquire Guest IP address for network {network['name']}")
    return found


def card(cloud: Cloud, network: Row, address: str) -> Row:
    """Return a network card as a machine's row keeps it."""
    own = cloud.state.add("nic", networkid=network["id"], address=address)
    return {"id": own["id"], "n": own["n"], "networkid": network["id"], "address": address}


def storage_card(cloud: Cloud, zone: object) -> Row:
    """Return a network card in the zone's network for storage, which is made with its first."""
    shared = [n for n in cloud.rows("network") if n["name"] == "storage" and n["zoneid"] == zone]
    network = shared[0] if shared else cloud.state.add(
        "network",
        name="storage",
        type="Shared",
        cidr="10.9.0.0/16",
        zoneid=zone,
        networkofferingid=cloud.one("network")["networkofferingid"],
        at=cloud.clock(),
    )  # fmt: skip
    return card(cloud, network, free_address(cloud, network)) | {"isdefault": False}
