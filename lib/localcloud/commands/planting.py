"""Planting: the resources of a new cloud, as its seed names them."""

import secrets
from typing import Any

from ..state.cloud import CONFIGURATION, GIB, Cloud
from ..state.rows import Row
from ..state.seeds import RULE, Seed
from ..workstation import images
from . import publicip
from .cards import card
from .security import DEFAULT

SHARED = {
    "type": "Shared",
    "acltype": "Domain",
    "networkofferingname": "DefaultSharedNetworkOfferingWithSGService",
    "services": ["Dhcp", "Dns", "UserData", "SecurityGroup"],
}


def plant(cloud: Cloud, seed: Seed) -> None:
    """Fill an empty cloud; do nothing if it has resources already."""
    if cloud.state.table("account"):
        return
    _account(cloud)
    _settings(cloud, seed)
    for row in seed["zones"]:
        basic = row.get("type") == "Basic"
        kind = {"networktype": row.get("type", "Advanced"), "securitygroupsenabled": basic}
        _add(cloud, "zone", row, **kind, token=cloud.state.add("zonetoken")["id"])
    _networks(cloud, seed)
    for row in seed["service_offerings"]:
        size = {"cpunumber": row.get("cpus"), "memory": row.get("memory")}
        size |= {"hosttags": row.get("tags"), "disk": cloud.state.add("computedisk")["id"]}
        _add(cloud, "serviceoffering", row, **size)
    for row in seed["disk_offerings"]:
        _add(cloud, "diskoffering", row, disksize=row.get("size", 0))
    for row in seed["os_categories"]:
        _add(cloud, "oscategory", row)
    for row in seed["os_types"]:
        kind = {"oscategoryname": row["category"]}
        _add(cloud, "ostype", row, **kind, oscategoryid=_id(cloud, "oscategory", row["category"]))
    for row in seed["templates"]:
        _template(cloud, row)
    default = {"description": "Default Security Group", "at": cloud.clock()}
    cloud.state.add("securitygroup", name=DEFAULT, **default)
    _security_groups(cloud, seed)
    _workstation(cloud, seed["workstation"])
    _others(cloud, seed)


def _add(cloud: Cloud, kind: str, row: dict, **more: Any) -> Row:
    """Add a row of the seed; its id counts where ids are numbers."""
    given = {}
    if cloud.dialect.numeric_ids:
        given["id"] = row.get("id") or max(cloud.state.table(kind), default=0) + 1
    return cloud.state.add(kind, **given, name=row["name"], at=cloud.clock(), **more)


def _id(cloud: Cloud, kind: str, name: str) -> Any:
    return next(row["id"] for row in cloud.rows(kind) if row["name"] == name)


def _settings(cloud: Cloud, seed: Seed) -> None:
    for name in ("limits", "capacity"):
        cloud.state.change("setting", cloud.setting(name), **seed[name])
    for key, value in seed["configuration"].items():
        name, field = CONFIGURATION[key]
        cloud.state.change("setting", cloud.setting(name), **{field: int(value)})


def _networks(cloud: Cloud, seed: Seed) -> None:
    own = {"name": "DefaultIsolatedNetworkOfferingWithSourceNatService", "id": 8}
    offering = _add(cloud, "networkoffering", own)
    for row in seed["networks"]:
        zone = cloud.find("zone", _id(cloud, "zone", row["zone"]))
        place = {k: row.get(k) for k in ("cidr", "first", "last")}
        place |= {"isdefault": row.get("default", True)}
        place |= SHARED if zone["networktype"] == "Basic" else {}
        place |= {"zoneid": zone["id"], "networkofferingid": offering["id"]}
        place["physical"] = cloud.state.add("physicalnetwork")["id"]
        network = _add(cloud, "network", row, **place)
        if not network.get("type"):
            publicip.add(cloud, network, issourcenat=True)


def _security_groups(cloud: Cloud, seed: Seed) -> None:
    for row in seed["security_groups"]:
        if row["name"] != DEFAULT:
            cloud.state.add("securitygroup", name=row["name"], at=cloud.clock())
    for row in seed["security_groups"]:
        for text in row.get("rules", []):
            protocol, first, last, source = RULE.fullmatch(text).groups()
            known = [g for g in cloud.rows("securitygroup") if g["name"] == source]
            cloud.state.add(
                "securitygrouprule",
                securitygroupid=_id(cloud, "securitygroup", row["name"]),
                protocol=protocol,
                ports=[int(first), int(last)],
                allowed=known[0]["id"] if known else None,
                cidr=None if known else source,
            )


def _account(cloud: Cloud) -> None:
    one = _add(cloud, "account", {"name": "runbook", "id": 2}, domain="local",
               domainpath="ROOT/local")  # fmt: skip
    one |= {"apikey": secrets.token_urlsafe(64), "secretkey": secrets.token_urlsafe(64)}
    one |= {"domainid": 3, "userid": 2} if cloud.dialect.numeric_ids else _uuids(cloud)
    cloud.state.save("account", one)


def _uuids(cloud: Cloud) -> Row:
    rows = {name: cloud.state.add(name) for name in ("domain", "user", "role", "server")}
    return {f"{name}id": row["id"] for name, row in rows.items()}


def _template(cloud: Cloud, row: dict) -> None:
    zones = [zone["id"] for zone in cloud.rows("zone")]
    _add(
        cloud,
        "template",
        row,
        displaytext=row.get("displaytext", row["name"]),
        size=row["size"] * GIB,
        ostypeid=_id(cloud, "ostype", row["os_type"]),
        zoneid=zones[0],
        copies=[{"zoneid": zone} for zone in zones[1:]],
        isready=True,
        isfeatured=True,
        ispublic=True,
        passwordenabled=False,
        own=False,
        account="system",
        domain="ROOT",
    )


def _workstation(cloud: Cloud, row: dict) -> None:
    machine = _machine(cloud, row, workstation=True, host=0)
    for number, disk in enumerate(row["disks"]):
        volume = _disk(cloud, machine, disk, number)
        if "mount" not in disk:
            images.create_blank(cloud.disk(volume), volume["size"])


def _machine(cloud: Cloud, row: dict, **more: Any) -> Row:
    zone = _id(cloud, "zone", row["zone"]) if "zone" in row else None
    named = [n for n in cloud.rows("network") if n["name"] == row["network"]]
    network = next(n for n in named if zone in (None, n["zoneid"]))
    return _add(
        cloud,
        "virtualmachine",
        row,
        displayname=row["name"],
        state=row.get("state", "Running"),
        zoneid=network["zoneid"],
        templateid=_id(cloud, "template", row["template"]),
        serviceofferingid=_id(cloud, "serviceoffering", row["offering"]),
        changed=cloud.clock(),
        ran=True,
        nics=[card(cloud, network, row["address"])],
        **more,
    )


def _others(cloud: Cloud, seed: Seed) -> None:
    """Add other machines, which are on no host that counts, and volumes of theirs or of none."""
    machines = {row["name"]: _machine(cloud, row) for row in seed["machines"]}
    used = dict.fromkeys(machines, 0)
    for row in seed["volumes"]:
        machine = machines.get(row.get("machine", ""))
        if machine:
            used[row["machine"]] += not row.get("root", False)
            volume = _disk(cloud, machine, row, 0 if row.get("root") else used[row["machine"]])
        else:
            volume = _volume(cloud, row, _id(cloud, "zone", row["zone"]))
        images.create_blank(cloud.disk(volume), volume["size"])


def _disk(cloud: Cloud, machine: Row, row: dict, device: int) -> Row:
    own = {"mountpoint": row["mount"]} if "mount" in row else {}
    own |= {"serviceofferingid": machine["serviceofferingid"]} if device == 0 else {}
    own |= {"virtualmachineid": machine["id"], "attached": cloud.clock()}
    own["deviceid"] = device + (device > 2)  # 3 is the CD-ROM
    return _volume(cloud, row, machine["zoneid"], type="DATADISK" if device else "ROOT", **own)


def _volume(cloud: Cloud, row: dict, zone: Any, type: str = "DATADISK", **more: Any) -> Row:
    kind = {} if type == "ROOT" else {"diskofferingid": cloud.one("diskoffering")["id"]}
    own = {"state": "Ready", "size": row["size"] * GIB, "zoneid": zone}
    return _add(cloud, "volume", row, type=type, **own, **kind, **more)
