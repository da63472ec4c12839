"""Views: rows as answers show them: what is in the row, what is always so, what belongs to it."""

from collections.abc import Callable
from typing import Any

from .cloud import Cloud
from .fields import chosen
from .members import network
from .state import Row

More = Callable[[Cloud, Row], dict]
MORE: dict[str, More] = {}


def more(kind: str) -> Callable[[More], More]:
    """Register a function that adds to a kind's rows what is looked up elsewhere."""

    def register(function: More) -> More:
        MORE[kind] = function
        return function

    return register


def show(cloud: Cloud, kind: str, row: Row, **extra: Any) -> dict:
    """Return a row as the dialect shows it; a row's own fields go before what is looked up."""
    view = {**cloud.owner(), "displaytext": row.get("name"), **row}
    view["created"] = cloud.stamp(row.get("at"))
    if "zoneid" in row:
        view["zonename"] = cloud.find("zone", row["zoneid"])["name"]
    view["tags"] = [tag | cloud.owner() for tag in row.get("tags", [])]
    if kind in MORE:
        view |= MORE[kind](cloud, row)
    return chosen(kind, cloud.dialect.name, view | extra)


@more("diskoffering")
def _disk_offering(cloud: Cloud, row: Row) -> dict:
    return {"iscustomized": row["disksize"] == 0}


@more("ostype")
def _os_type(cloud: Cloud, row: Row) -> dict:
    return {"description": row["name"]}


@more("network")
def _network(cloud: Cloud, row: Row) -> dict:
    net = network(cloud)
    ends = {"gateway": f"{net}.1", "startip": f"{net}.2", "endip": f"{net}.254"}
    return ends | {"related": row["id"], "cidr": f"{net}.0/24"}


@more("event")
def _event(cloud: Cloud, row: Row) -> dict:
    return {"username": cloud.account()["name"]}


@more("userdata")
def _userdata(cloud: Cloud, row: Row) -> dict:
    return {"accountid": cloud.account()["id"]}


@more("snapshot")
def _snapshot(cloud: Cloud, row: Row) -> dict:
    volume = cloud.state.get("volume", row["volumeid"])  # which it may outlive
    size = row["size"]
    return {
        "volumestate": volume["state"] if volume else "Expunged",
        "physicalsize": size,
        "virtualsize": size,
        # Newer servers tell it in the job's result only (SnapshotJoinDaoImpl).
        "snapshottype": "MANUAL" if cloud.dialect.numeric_ids else None,
    }


@more("template")
def _template(cloud: Cloud, row: Row) -> dict:
    size = row["size"] if row["isready"] else None
    status = "Download Complete" if row["isready"] else "Processing"
    return {
        "format": cloud.dialect.image_format,
        "hypervisor": cloud.dialect.hypervisor,
        "ostypename": cloud.find("ostype", row["ostypeid"])["name"],
        "status": status if row["own"] else None,
        "size": size,
        "physicalsize": size,
    }


@more("volume")
def _volume(cloud: Cloud, row: Row) -> dict:
    kind = "serviceoffering" if row["type"] == "ROOT" else "diskoffering"
    offering = cloud.state.get(kind, row.get(f"{kind}id")) or {}
    machine = cloud.state.get("virtualmachine", row.get("virtualmachineid")) or {}
    return {
        f"{kind}name": offering.get("name"),
        f"{kind}displaytext": offering.get("name"),
        "vmname": machine.get("name"),
        "vmdisplayname": machine.get("displayname"),
        "vmstate": machine.get("state"),
        "attached": cloud.stamp(row.get("attached")),
        "hypervisor": cloud.dialect.hypervisor if row["state"] != "Allocated" else "None",
    }


@more("virtualmachine")
def _machine(cloud: Cloud, row: Row) -> dict:
    offering = cloud.find("serviceoffering", row["serviceofferingid"])
    template = cloud.state.get("template", row["templateid"]) or {}
    ostype = cloud.state.get("ostype", template.get("ostypeid")) or {}
    return {
        "userid": cloud.account()["userid"],
        "username": cloud.account()["name"],
        "serviceofferingname": offering["name"],
        "cpunumber": offering["cpunumber"],
        "memory": offering["memory"],
        "templatename": template.get("name"),
        "templatedisplaytext": template.get("displaytext"),
        "passwordenabled": template.get("passwordenabled", False),
        "guestosid": ostype.get("id"),
        "ostypeid": ostype.get("id"),
        "osdisplayname": ostype.get("name"),
        "hypervisor": cloud.dialect.hypervisor,
        "nic": [_nic(cloud, card) for card in row["nics"]],
        "securitygroup": [],
        "affinitygroup": [],
        "keypairs": ",".join(row.get("keypairs", [])) or None,
        "deleteprotection": row.get("deleteprotection", False),
    }


def _nic(cloud: Cloud, card: Row) -> dict:
    inside = cloud.find("network", card["networkid"])
    gateway = f"{card['address'].rpartition('.')[0]}.1"
    view = {"id": card["id"], "networkid": inside["id"], "netmask": "255.255.255.0"}
    view |= {"gateway": gateway, "ipaddress": card["address"], "traffictype": "Guest"}
    if cloud.dialect.numeric_ids:
        return view | {"type": "Virtual", "isdefault": True}
    mac = ":".join(f"{byte:02x}" for byte in (2, 0, *card["n"].to_bytes(4, "big")))
    more = {"networkname": inside["name"], "macaddress": mac}
    return view | {"type": "Isolated", "isdefault": True} | more
