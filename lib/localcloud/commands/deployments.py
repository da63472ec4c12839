"""Deployments of machines: checks of the call, the job, and its failures."""

import json
import re
import secrets
from typing import Any

from ..guests import guests, hosts
from ..guests.guests import set_state
from ..state.cloud import GIB, Cloud, check_quota, find_copy, fitting, size_of
from ..state.jobs import ALLOCATED, Work
from ..state.refusals import DENIED, ApiError, broken, hidden, invalid
from ..state.registry import command, phase
from ..state.rows import Row
from ..state.views import show
from . import affinity, security
from .cards import card, free_address, storage_card
from .keys import encrypted, named_key, stored_userdata
from .volumes import drop

HOST_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
NAME_RULE = (
    "contain ASCII letters 'a' through 'z', the digits '0' through '9', and the hyphen ('-'), must "
    "be between 1 and 63 characters long, and can't start or end with \"-\" and can't start with "
    "digit"
)
MOST = 2**31 - 1  # of CPUs, MHz or MiB


@command("deployVirtualMachine")
def deploy(
    cloud: Cloud,
    templateid: Any = None,
    name: str = "",
    userdata: str | None = None,
    userdataid: Any = None,
    **more: Any,
) -> Work:
    """Check the call, then create the rows of the machine and its root disk."""
    check_form(cloud, name)
    template = _template(cloud, templateid, more["zoneid"])
    networks = _networks(cloud, **more)
    for network in networks:
        check_name(cloud, name, network)
    data, userdataid = stored_userdata(cloud, userdata, userdataid)
    row = _new_machine(cloud, name, **more)
    row |= {"templateid": template["id"], "data": data, "userdataid": userdataid}
    row["affinitygroupids"] = affinity.chosen(cloud, **more)
    row["securitygroupids"] = security.chosen(cloud, cloud.find("zone", row["zoneid"]), **more)
    size = max(template["size"], more.get("rootdisksize", 0) * GIB)
    _check_quotas(cloud, row, size / GIB, more.get("diskofferingid"), more.get("size"))
    cloud.state.save("virtualmachine", row)
    _connect(cloud, row, networks, **more)
    guests.add_root(cloud, row, template, size)
    return Work(row, row, seconds=None if row["state"] == "Starting" else ALLOCATED)


def _check_quotas(cloud: Cloud, row: Row, gib: float, offering: Any, size: int | None) -> None:
    own = size_of(cloud, row)
    data = [cloud.find("diskoffering", offering)] if offering is not None else []
    gib += sum(one["disksize"] or size or 1 for one in data)
    check_quota(cloud, "vm")
    check_quota(cloud, "cpu", own["cpunumber"])
    check_quota(cloud, "memory", own["memory"])
    check_quota(cloud, "volume", 1 + len(data))
    check_quota(cloud, "primarystorage", gib)


def _new_machine(
    cloud: Cloud,
    name: str,
    zoneid: Any,
    serviceofferingid: Any,
    displayname: str = "",
    startvm: bool = True,
    **more: Any,
) -> Row:
    """Return the row of a new machine without adding it to the cloud."""
    offering = cloud.find("serviceoffering", serviceofferingid)
    check_custom(offering, more.get("details"))
    row = cloud.state.new(
        "virtualmachine",
        state="Starting" if startvm else "Stopped",
        zoneid=cloud.find("zone", zoneid)["id"],
        serviceofferingid=offering["id"],
        nics=[],
        at=cloud.clock(),
        **cloud.ownership(),
        **extras(cloud, **more),
    )
    own = cloud.dialect.host_name.format(row["id"])
    row |= {"name": name or own, "displayname": displayname or name or own}
    return row


def check_custom(offering: Row, details: list | None) -> None:
    """Refuse an offering of custom size without a size (`validateCustomParameters`)."""
    given = {k.lower(): v for pairs in details or [] for k, v in pairs.items()}
    if offering["cpunumber"]:
        return
    if not given:
        raise invalid(
            "Need to specify custom parameter values cpu, cpu speed and memory when using custom "
            "offering"
        )
    limits = {"cpunumber": ("cpu cores", 1), "cpuspeed": ("cpu speed", 1), "memory": ("memory", 32)}
    for key, (what, least) in limits.items():
        value = given.get(key, "")
        if not (value.isdecimal() and least <= int(value) <= MOST):
            raise invalid(f"Invalid {what} value, specify a value between {least} and {MOST}")


def _template(cloud: Cloud, id: Any, zone: Any) -> Row:
    if id is None:
        raise broken("Please provide only one of template ID, volume ID or snapshot ID")
    template = cloud.state.get("template", id)
    if template is None:
        raise invalid(f"Unable to use template {id}")
    there = find_copy(template, zone)
    if there is None or not there["isready"]:
        raise invalid(f"The template {id} is not available for use")
    return template


def _networks(
    cloud: Cloud,
    zoneid: Any,
    networkids: list | None = None,
    iptonetworklist: list | None = None,
    **_: Any,
) -> list[Row]:
    """Return the networks of a call, the default one first, or the only one in the zone."""
    zone = cloud.find("zone", zoneid)
    if networkids and iptonetworklist:
        raise invalid("NetworkIds can't be specified along with ipToNetworkMap parameter")
    if networkids and zone["networktype"] == "Basic":
        raise invalid("Can't specify network Ids in Basic zone")
    named = networkids or [row.get("networkid") for row in iptonetworklist or []]
    if not named:
        return [_only_network(cloud, zone)]
    return cloud.dialect.default_first([_usable(cloud, zone, id) for id in dict.fromkeys(named)])


def _usable(cloud: Cloud, zone: Row, id: Any) -> Row:
    """Return a network of that id, unless another project or zone has it."""
    network = cloud.find("network", id)
    if network.get("type") != "Shared" and network.get("projectid") != cloud.project:
        # NetworkModelImpl.checkNetworkPermissions
        text = f"Unable to use network with id= {network['id']}, permission denied"
        raise ApiError(531, text, DENIED)
    if network["zoneid"] != zone["id"]:  # UserVmManagerImpl.createVirtualMachine
        raise invalid(f"Network id={network['n']} doesn't belong to zone {zone['n']}")
    return network


def _only_network(cloud: Cloud, zone: Row) -> Row:
    there = [n for n in cloud.rows("network") if n["zoneid"] == zone["id"]]
    if zone["networktype"] == "Basic":
        return there[0]
    mine = [n for n in there if n.get("projectid") == cloud.project and not n.get("type")]
    if len(mine) > 1:
        me = cloud.account()
        facts = {"accountName": me["name"], "id": 2, "uuid": me["id"]}
        account = f"Account [{json.dumps(facts, separators=(',', ':'))}]"
        raise invalid(
            f"More than 1 default Isolated networks are found for account {account}; please "
            "specify networkIds"
        )
    return mine[0] if mine else there[0]


def _connect(
    cloud: Cloud,
    row: Row,
    networks: list[Row],
    ipaddress: str | None = None,
    iptonetworklist: list | None = None,
    **_: Any,
) -> None:
    """Give a machine its network cards; an address that is not free leaves it in Error.

    Newer servers make the machine before they look for the address (`createVirtualMachine`).
    """
    asked = {one.get("networkid"): one.get("ip") for one in iptonetworklist or []}
    wanted = [asked.get(network["id"]) for network in networks]
    wanted[0] = ipaddress or wanted[0]
    if bad := [ip for ip in wanted if ip and not _is_address(ip)]:
        cloud.state.remove("virtualmachine", row, trace=False)
        raise invalid(f"Invalid specified IPv4 address {bad[0]}")
    try:
        free = [free_address(cloud, n, ip) for n, ip in zip(networks, wanted, strict=True)]
        cards = [
            card(cloud, network, address) | ({} if network is networks[0] else {"isdefault": False})
            for network, address in zip(networks, free, strict=True)
        ]
    except ApiError as error:
        if cloud.dialect.addresses_first:
            cloud.state.remove("virtualmachine", row, trace=False)
            raise
        cloud.state.change("virtualmachine", row, state="Error", changed=cloud.clock())
        raise hidden(error.text, 0) from None
    if cloud.setting("nics")["second"]:
        cards.insert(0, storage_card(cloud, row["zoneid"]))
    row["nics"] = cards


def _is_address(text: str) -> bool:
    return bool(re.fullmatch(r"(\d{1,3}\.){3}\d{1,3}", text)) and all(
        int(n) < 256 for n in text.split(".")
    )


def check_form(cloud: Cloud, name: str) -> None:
    """Refuse a name that is not a host name."""
    if not name or HOST_NAME.fullmatch(name):
        return
    raise cloud.dialect.bad_host_name("deployVirtualMachine", NAME_RULE)


def check_name(cloud: Cloud, name: str, network: Row) -> None:
    """Refuse the name of another machine of the network, Destroyed ones included."""
    if not name or not cloud.dialect.host_names_unique:
        return
    inside = [
        m
        for m in cloud.rows("virtualmachine")
        if any(card["networkid"] == network["id"] for card in m["nics"])
    ]
    if any(m["name"].lower() == name.lower() for m in inside):
        raise invalid(
            f"The vm with hostName {name} already exists in the network domain: "
            f"cs2local.internal; network={network['name']}"
        )


def extras(
    cloud: Cloud,
    group: str = "",
    keypair: str = "",
    keypairs: list | None = None,
    details: list | None = None,
    **_: Any,
) -> Row:
    """Return a call's group, keys and details as fields of a machine's row."""
    names = [*([keypair] if keypair else []), *(keypairs or [])]
    for one in names:
        named_key(cloud, one)
    found: Row = {"keypairs": names} if names else {}
    if details:
        found["details"] = {k: v for pairs in details for k, v in pairs.items()}
    return found | (_in_group(cloud, group) if group else {})


def _in_group(cloud: Cloud, name: str) -> Row:
    same = [g for g in cloud.mine("instancegroup") if g["name"] == name]
    own = {"name": name, "at": cloud.clock()} | cloud.ownership()
    group = same[0] if same else cloud.state.add("instancegroup", **own)
    return {"group": name, "groupid": group["id"]}


@phase("deployVirtualMachine", "finish")
def deployed(cloud: Cloud, job: Row, **params: Any) -> dict:
    """Find a host for the machine, copy its root disk and boot it."""
    row = cloud.find("virtualmachine", job["instance"])
    starts = row["state"] == "Starting"
    if starts:
        row["host"] = hosts.find(cloud, row)
        guests.fill_root(cloud, row)
    if params.get("diskofferingid") is not None:
        guests.add_data(cloud, row, params["diskofferingid"], params.get("size"))
    if starts:
        guests.boot(cloud, row, job)
    template = cloud.state.get("template", row["templateid"])
    secret = secrets.token_urlsafe(6) if template and template["passwordenabled"] else None
    if secret:
        cloud.state.change("virtualmachine", row, encryptedpassword=encrypted(cloud, row, secret))
    return {"virtualmachine": show(cloud, "virtualmachine", row, password=secret)}


@phase("deployVirtualMachine", "failed")
def not_deployed(cloud: Cloud, job: Row) -> None:
    """Leave the machine in Error and without disks, as a real cloud does."""
    row = cloud.state.get("virtualmachine", job["instance"])
    if row:
        set_state(cloud, row, "Error")
        for volume in fitting(cloud, "volume", virtualmachineid=row["id"]):
            drop(cloud, volume)
