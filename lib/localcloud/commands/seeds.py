"""Seeds: the resources of a new cloud."""

import secrets

from ..state.cloud import GIB, Cloud
from ..state.rows import Row
from ..workstation import images

OFFERINGS = (  # id on 2.2, name, CPUs, MiB, host tags
    (18, "Small Instance", 1, 1024, None),
    (20, "Medium Instance", 2, 4096, None),
    (22, "Large Instance", 4, 8192, None),
    (24, "Tagged Instance", 2, 4096, "gpu"),
)
CUSTOM_OFFERING = (26, "Custom Instance", None, None, None)  # its size is given with each machine
OFFERING_OF_2014 = (21, "M4 ( 2CPU / 4GB )", 2, 4096, None)
DISKS = ((10, "Custom Disk", 0), (11, "Small", 5), (12, "Medium", 20), (13, "Large", 100))
OS_TYPES = (  # id on 2.2, category's id and name, description
    (12, 1, "CentOS", "CentOS 5.5 (64-bit)"),
    (143, 1, "CentOS", "CentOS 6.4 (64-bit)"),
    (15, 2, "Debian", "Debian GNU/Linux 6(64-bit)"),
    (132, 2, "Debian", "Debian GNU/Linux 12 (64-bit)"),
    (98, 7, "Other", "Other Linux (32-bit)"),
    (99, 7, "Other", "Other Linux (64-bit)"),
    (60, 7, "Other", "Other (32-bit)"),
    (103, 7, "Other", "Other (64-bit)"),
    (125, 10, "Ubuntu", "Ubuntu 12.04 (64-bit)"),
    (240, 10, "Ubuntu", "Ubuntu 22.04 LTS"),
)
WORKSTATION = "my-workstation"


def plant(cloud: Cloud) -> None:
    """Fill an empty cloud; do nothing if it has resources already."""
    if cloud.state.table("account"):
        return
    _account(cloud)
    # Higher than the default: the workstation's disks alone are 120 GiB.
    limits = cloud.setting("limits")
    cloud.state.change("setting", limits, primarystorage=1000)
    zone = _add(cloud, "zone", 1, name="local-1", token=cloud.state.add("zonetoken")["id"])
    offering = _add(cloud, "networkoffering", 8)["id"]
    own = {"zoneid": zone["id"], "networkofferingid": offering}
    own["physical"] = cloud.state.add("physicalnetwork")["id"]
    _add(cloud, "network", 204, name="default-guest", **own)
    more = OFFERING_OF_2014 if cloud.dialect.numeric_ids else CUSTOM_OFFERING
    for id, name, cpus, memory, tags in (*OFFERINGS, more):
        size = {"cpunumber": cpus, "memory": memory, "disk": cloud.state.add("computedisk")["id"]}
        _add(cloud, "serviceoffering", id, name=name, hosttags=tags, **size)
    for id, name, size in DISKS:
        _add(cloud, "diskoffering", id, name=name, disksize=size)
    _os_types(cloud)
    _workstation(cloud, _debian(cloud))


def _add(cloud: Cloud, kind: str, number: int, **row: object) -> Row:
    """Add a row whose id is `number` where ids are numbers."""
    given = {"id": number} if cloud.dialect.numeric_ids else {}
    return cloud.state.add(kind, **given, at=cloud.clock(), **row)


def _os_types(cloud: Cloud) -> None:
    kinds = {number: kind for _, number, kind, _ in OS_TYPES}
    made = {n: _add(cloud, "oscategory", n, name=kind) for n, kind in kinds.items()}
    for id, n, kind, name in OS_TYPES:
        _add(cloud, "ostype", id, oscategoryid=made[n]["id"], oscategoryname=kind, name=name)


def _account(cloud: Cloud) -> None:
    one = _add(cloud, "account", 2, name="runbook", domain="local", domainpath="ROOT/local")
    one |= {"apikey": secrets.token_urlsafe(64), "secretkey": secrets.token_urlsafe(64)}
    one |= {"domainid": 3, "userid": 2} if cloud.dialect.numeric_ids else _uuids(cloud)
    cloud.state.save("account", one)


def _uuids(cloud: Cloud) -> Row:
    made = {name: cloud.state.add(name) for name in ("domain", "user", "role", "server")}
    return {f"{name}id": row["id"] for name, row in made.items()}


def _debian(cloud: Cloud) -> Row:
    ostype = next(r for r in cloud.rows("ostype") if "Debian GNU/Linux 12" in r["name"])
    return _add(
        cloud,
        "template",
        4201,
        name="Debian 12",
        displaytext="Debian 12, minimal",
        size=8 * GIB,
        ostypeid=ostype["id"],
        zoneid=cloud.one("zone")["id"],
        isready=True,
        isfeatured=True,
        ispublic=True,
        passwordenabled=False,
        own=False,
        account="system",
        domain="ROOT",
    )


def _workstation(cloud: Cloud, template: Row) -> None:
    machine = _add(
        cloud,
        "virtualmachine",
        53553,
        name=WORKSTATION,
        displayname=WORKSTATION,
        state="Running",
        zoneid=cloud.one("zone")["id"],
        templateid=template["id"],
        serviceofferingid=cloud.rows("serviceoffering")[1]["id"],
        workstation=True,
        changed=cloud.clock(),
        ran=True,
        nics=[nic(cloud, cloud.one("network"), "10.1.0.10")],
    )
    _disk(cloud, machine, 80100, "ROOT-53553", 80, 0, mountpoint="/")
    if cloud.dialect.numeric_ids:
        _disk(cloud, machine, 80101, "data", 100, 1, mountpoint="/data")
    # A foreign blank disk of the size that a beginner chooses: the installer must not take it.
    number = 2 if cloud.dialect.numeric_ids else 1
    foreign = _disk(cloud, machine, 80102, "scratch", 40, number)
    images.create_blank(cloud.disk(foreign), foreign["size"])


def second_nic(cloud: Cloud, number: int) -> Row:
    """Return a network card in a network for storage, which is made with its first card."""
    networks = [n for n in cloud.rows("network") if n.get("type") == "Shared"]
    network = networks[0] if networks else cloud.state.add(
        "network",
        name="storage",
        type="Shared",
        zoneid=cloud.one("zone")["id"],
        networkofferingid=cloud.one("network")["networkofferingid"],
        at=cloud.clock(),
    )  # fmt: skip
    return nic(cloud, network, f"10.9.0.{number + 1}") | {"isdefault": False}


def nic(cloud: Cloud, network: Row, address: str) -> Row:
    """Return a network card as a machine's row keeps it."""
    own = cloud.state.add("nic", networkid=network["id"], address=address)
    return {"id": own["id"], "n": own["n"], "networkid": network["id"], "address": address}


def _disk(
    cloud: Cloud, machine: Row, id: int, name: str, gib: int, device: int, **more: object
) -> Row:
    offering = {"serviceofferingid": machine["serviceofferingid"]} if device == 0 else {
        "diskofferingid": cloud.one("diskoffering")["id"]
    }  # fmt: skip
    return _add(
        cloud,
        "volume",
        id,
        name=name,
        type="DATADISK" if device else "ROOT",
        state="Ready",
        size=gib * GIB,
        zoneid=machine["zoneid"],
        virtualmachineid=machine["id"],
        deviceid=device,
        attached=cloud.clock(),
        **offering,
        **more,
    )
