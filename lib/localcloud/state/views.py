"""Views: rows as fields of an answer, with constants and related rows."""

from collections.abc import Callable
from typing import Any

from .cloud import SPEED, Cloud, size_of
from .fields import chosen
from .rows import Row

VLAN = "vlan://144"
SERVICES: dict[str, dict[str, str]] = {  # of the network, with what they say of themselves
    "Dhcp": {"DhcpAccrossMultipleSubnets": "true"},
    "Dns": {"AllowDnsSuffixModification": "true"},
    "UserData": {},
    "SourceNat": {"SupportedSourceNatTypes": "peraccount", "RedundantRouter": "false"},
    "StaticNat": {"ElasticIp": "false", "AssociatePublicIP": "true"},
    "PortForwarding": {"SupportedProtocols": "tcp,udp"},
    "Firewall": {"SupportedProtocols": "tcp,udp,icmp", "MultipleIps": "true"},
    "Lb": {"SupportedLbAlgorithms": "roundrobin,leastconn,source", "LbSchemes": "Public"},
    "Vpn": {"SupportedVpnTypes": "pptp,l2tp,ipsec", "VpnTypes": "remoteaccessvpn"},
}
More = Callable[[Cloud, Row], dict]
MORE: dict[str, More] = {}
NETWORK_OFFERING = "Offering for Isolated networks with Source Nat service enabled"


def more(kind: str) -> Callable[[More], More]:
    """Register a function that adds fields from other rows to a kind of row."""

    def register(function: More) -> More:
        MORE[kind] = function
        return function

    return register


def show(cloud: Cloud, kind: str, row: Row, **extra: Any) -> dict:
    """Return a row in the dialect; its own fields override those from other rows."""
    owner = cloud.owner(row.get("projectid"))
    view = {**owner, "displaytext": row.get("name"), **row}
    view["created"] = cloud.stamp(row.get("at"))
    if "zoneid" in row:
        view["zonename"] = cloud.find("zone", row["zoneid"])["name"]
    view["tags"] = [tag | tag_owner(owner) for tag in row.get("tags", [])]
    if row.get("id") in cloud.pending:
        view |= {"jobid": cloud.pending[row["id"]], "jobstatus": 0}
    if kind in MORE:
        view |= MORE[kind](cloud, row)
    return chosen(kind, cloud.dialect.name, view | extra)


def tag_owner(owner: dict) -> dict:
    """Return the owner of a tag, as in the row of the tagged resource."""
    return {k: v for k, v in owner.items() if k != "domainpath"}


@more("project")
def _project(cloud: Cloud, row: Row) -> dict:
    return {"owner": [{"account": cloud.account()["name"]}]}


@more("zone")
def _zone(cloud: Cloud, row: Row) -> dict:
    return {"zonetoken": row.get("token"), "asnrange": ""}


@more("serviceoffering")
def _service_offering(cloud: Cloud, row: Row) -> dict:
    custom = row["cpunumber"] is None
    own = {"iscustomized": custom, "cpuspeed": None if custom else SPEED}
    disk = {"name": row["name"], "displaytext": row["name"], "id": row.get("disk")}
    return own | {f"diskoffering{k}": v for k, v in disk.items()}


@more("diskoffering")
def _disk_offering(cloud: Cloud, row: Row) -> dict:
    return {"iscustomized": row["disksize"] == 0}


@more("ostype")
def _os_type(cloud: Cloud, row: Row) -> dict:
    return {"description": row["name"]}


@more("networkoffering")
def _network_offering(cloud: Cloud, row: Row) -> dict:
    return {"displaytext": NETWORK_OFFERING}


@more("network")
def _network(cloud: Cloud, row: Row) -> dict:
    net = cloud.subnet(row)
    return {
        "gateway": net.gateway,
        "startip": net.startip,
        "endip": net.endip,
        "netmask": str(net.inside.netmask),
        "related": row["id"],
        "cidr": str(net.inside),
        "dns1": net.gateway,
        "networkofferingdisplaytext": NETWORK_OFFERING,
        "physicalnetworkid": row.get("physical"),
        "service": [
            _service(name, **SERVICES.get(name, {})) for name in row.get("services", SERVICES)
        ],
    }


def _service(name: str, **capabilities: str) -> dict:
    can = [{"name": k, "value": v, "canchooseservicecapability": False}
           for k, v in capabilities.items()]  # fmt: skip
    return {"name": name, "provider": [{"name": "VirtualRouter"}], "capability": can}


@more("event")
def _event(cloud: Cloud, row: Row) -> dict:
    return {"username": cloud.account()["name"]}


@more("snapshot")
def _snapshot(cloud: Cloud, row: Row) -> dict:
    volume = cloud.state.get("volume", row["volumeid"])  # which it may outlive
    size = row["size"]
    return {
        "volumestate": volume["state"] if volume else "Expunged",
        "physicalsize": size,
        "virtualsize": size,
        "snapshottype": cloud.dialect.snapshot_type,
    }


@more("template")
def _template(cloud: Cloud, row: Row) -> dict:
    size = row["size"] if row["isready"] else None
    state, percent, status = _download(cloud, row)
    download = {"downloadState": state, "datastore": "secondary-1", "downloadPercent": str(percent)}
    return {
        "format": row.get("format") or cloud.dialect.image_format,
        "hypervisor": row.get("hypervisor") or cloud.dialect.hypervisor,
        "ostypename": cloud.find("ostype", row["ostypeid"])["name"],
        "status": status if row["own"] else None,
        "size": size,
        "physicalsize": size,
        "templatetype": "USER" if row["own"] else "SYSTEM",
        "details": row.get("details") or cloud.dialect.no_details,
        "downloaddetails": [download] if state else [],
    }


def _download(cloud: Cloud, row: Row) -> tuple[str, int, str]:
    """Return state, percent and status of a template's data (`TemplateJoinDaoImpl`)."""
    if row.get("directdownload"):
        return "BYPASSED", 100, "Bypassed Secondary Storage"
    if row["isready"]:
        return "DOWNLOADED", 100, "Download Complete"
    if row.get("error"):
        return "DOWNLOAD_ERROR", 0, row["error"]
    if "until" not in row:  # it is made from a snapshot or a volume
        return "", 0, "Processing"
    whole = max(row["until"] - row["at"], 0.001)
    percent = min(int(100 * (cloud.clock() - row["at"]) / whole), 100)
    status = "Installing Template" if percent == 100 else f"{percent}% Downloaded"
    return "DOWNLOAD_IN_PROGRESS", percent, status


@more("publicipaddress")
def _public_address(cloud: Cloud, row: Row) -> dict:
    network = cloud.find("network", row["associatednetworkid"])
    return {"allocated": cloud.stamp(row["at"]), "associatednetworkname": network["name"]}


@more("affinitygroup")
def _affinity_group(cloud: Cloud, row: Row) -> dict:
    return {"virtualmachineIds": members_of(cloud, row)}


def members_of(cloud: Cloud, group: Row) -> list:
    """Return the ids of the machines in a group."""
    return [
        m["id"]
        for m in cloud.rows("virtualmachine")
        if group["id"] in (*m.get("affinitygroupids", []), *m.get("securitygroupids", []))
    ]


def _groups(cloud: Cloud, machine: Row, kind: str) -> list[dict]:
    """Return the groups of a machine as its own row shows them."""
    found = (cloud.find(kind, id) for id in machine.get(f"{kind}ids", []))
    inside = dict.fromkeys(
        ("virtualmachineIds", "virtualmachineids", "virtualmachinecount", "tags")
    )
    return [show(cloud, kind, group, **inside) for group in found]


@more("volume")
def _volume(cloud: Cloud, row: Row) -> dict:
    kind = "serviceoffering" if row["type"] == "ROOT" else "diskoffering"
    offering = cloud.state.get(kind, row.get(f"{kind}id")) or {}
    machine = cloud.state.get("virtualmachine", row.get("virtualmachineid")) or {}
    tells_since = row["type"] != "ROOT" or cloud.dialect.roots_attached
    counted = ("diskkbsread", "diskkbswrite", "diskioread", "diskiowrite")
    return (_of_template(cloud, machine) if row["type"] == "ROOT" else {}) | {
        **(dict.fromkeys(counted, 0) if machine else {}),
        "vmtype": "User" if machine else None,
        "isextractable": row["type"] != "ROOT" and cloud.dialect.data_extractable,
        f"{kind}name": offering.get("name"),
        f"{kind}displaytext": offering.get("name"),
        "vmname": machine.get("name"),
        "vmdisplayname": machine.get("displayname"),
        "vmstate": machine.get("state"),
        "attached": cloud.stamp(row.get("attached")) if tells_since else None,
        "hypervisor": cloud.dialect.hypervisor if row["state"] != "Allocated" else "None",
    }


def _of_template(cloud: Cloud, machine: Row) -> dict:
    template = cloud.state.get("template", machine.get("templateid")) or {}
    return {f"template{k}": template.get(k) for k in ("id", "name", "displaytext")}


@more("virtualmachine")
def _machine(cloud: Cloud, row: Row) -> dict:
    size = size_of(cloud, row)
    template = cloud.state.get("template", row["templateid"]) or {}
    ostype = cloud.state.get("ostype", template.get("ostypeid")) or {}
    stored = cloud.state.get("userdata", row.get("userdataid")) or {}
    return _state_of(cloud, row) | {
        "userid": cloud.account()["userid"],
        "username": cloud.account()["name"],
        "serviceofferingname": size["name"],
        **{k: size[k] for k in ("cpunumber", "cpuspeed", "memory")},
        "templatename": template.get("name"),
        "templatedisplaytext": template.get("displaytext"),
        "templatetype": "USER" if template.get("own") else "SYSTEM",
        "templateformat": cloud.dialect.image_format,
        "passwordenabled": template.get("passwordenabled", False),
        "guestosid": ostype.get("id"),
        "ostypeid": ostype.get("id"),
        "osdisplayname": ostype.get("name"),
        "hypervisor": cloud.dialect.hypervisor,
        "nic": [nic_view(cloud, card, row) for card in row["nics"]],
        "securitygroup": _groups(cloud, row, "securitygroup"),
        "affinitygroup": _groups(cloud, row, "affinitygroup"),
        "keypairs": ",".join(row.get("keypairs", [])) or None,
        "deleteprotection": row.get("deleteprotection", False),
        "readonlydetails": "dataDiskController, rootDiskController",
        "userdataname": stored.get("name"),
    }


def _state_of(cloud: Cloud, row: Row) -> dict:
    """Return the fields that depend on whether a machine runs, ran, or never ran."""
    runs, ran, root = is_up(row), row.get("ran"), row["state"] != "Error"
    details = row.get("details") or ({} if ran else {"deployvm": "true"})
    return {
        "lastupdated": cloud.stamp(row.get("changed")),
        "hostcontrolstate": "Enabled" if runs else None,
        "bootmode": "legacy" if runs and not row.get("stopped") else None,
        "boottype": "Bios" if runs and not row.get("stopped") else None,
        "pooltype": "NetworkFilesystem" if root and ran else None,
        "rootdeviceid": 0 if root else None,
        "rootdevicetype": "ROOT" if root else None,
        "ipaddress": default_nic(row)["address"] if row["nics"] else None,
        "details": details,
    }


def is_up(machine: Row) -> bool:
    """Return whether a machine is on a host."""
    return machine["state"] in ("Running", "Stopping")


def default_nic(machine: Row) -> Row:
    """Return the network card with the machine's address."""
    return next(card for card in machine["nics"] if card.get("isdefault", True))


def nic_view(cloud: Cloud, card: Row, machine: Row) -> dict:
    """Return a network card of a machine as in an answer."""
    inside = cloud.find("network", card["networkid"])
    net = cloud.subnet(inside)
    view = {"id": card["id"], "networkid": inside["id"], "netmask": str(net.inside.netmask)}
    view |= {"gateway": net.gateway, "ipaddress": card["address"], "traffictype": "Guest"}
    mac = ":".join(f"{byte:02x}" for byte in (2, 0, *card["n"].to_bytes(4, "big")))
    reserved = is_up(machine) or not machine.get("ran")
    vlan = dict.fromkeys(("isolationuri", "broadcasturi"), VLAN) if reserved else {}
    more = {"networkname": inside["name"], "macaddress": mac, "secondaryip": []}
    more |= {"extradhcpoption": [], "deviceid": str(machine["nics"].index(card))}
    more["type"] = cloud.dialect.nic_type or inside.get("type", "Isolated")
    more["isdefault"] = card.get("isdefault", True)
    return chosen("nic", cloud.dialect.name, view | vlan | more)
