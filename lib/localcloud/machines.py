"""Commands for virtual machines."""

import json
import re
import secrets
from functools import partial
from typing import Any

from . import guests, login, members
from .cloud import GIB, Cloud, Listing, check_quota, fitting, size_of
from .jobs import Work
from .keys import encrypted, named_key, stored_userdata
from .plugs import tell, unplug
from .refusals import DENIED, ApiError, broken, full, hidden, invalid, param
from .registry import command, phase
from .seeds import nic, second_nic
from .state import Row
from .views import show
from .volumes import drop

HOST_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
NAME_RULE = (
    "contain ASCII letters 'a' through 'z', the digits '0' through '9', and the hyphen ('-'), must "
    "be between 1 and 63 characters long, and can't start or end with \"-\" and can't start with "
    "digit"
)
MOST = 2**31 - 1  # of CPUs, MHz or MiB
HIDDEN = ("Destroyed", "Expunging")  # from users, as allow.user.view.destroyed.vm is false


@command("""listVirtualMachines list virtualmachine
    Lists machines; destroyed ones are not shown to users.
    id uuid the machine
    ids uuids@4.4 (4.20) several machines
    name string its host name
    state string its state
    zoneid uuid its zone
    networkid uuid the network it is in
    groupid uuid its group
    templateid uuid (4.20) the template it was made from
    serviceofferingid uuid@4.4 (4.20) its service offering
    keypair string (4.20) the SSH key it was given
    userdata boolean@4.18.0.0 (4.20) answer with the user data too
    tags map (4.20) tags it must carry, one of them at least
""")
def list_machines(
    cloud: Cloud,
    networkid: Any = None,
    keypair: str = "",
    keyword: str = "",
    userdata: bool = False,
    **filters: Any,
) -> Listing:
    """Answer with the account's machines that fit; `keyword` looks at both names and the state."""
    rows = [
        row
        for row in fitting(cloud, "virtualmachine", **filters)
        if row["state"] not in HIDDEN
        and networkid in (None, *(card["networkid"] for card in row["nics"]))
        and keypair in ("", *row.get("keypairs", []))
        and any(keyword.lower() in row[k].lower() for k in ("name", "displayname", "state"))
    ]
    return Listing("virtualmachine", rows, _userdata if userdata else None)


def _userdata(row: Row) -> dict:
    return {"userdata": row.get("data")}


@command("""deployVirtualMachine async-create virtualmachine
    Makes a machine from a template and starts it.
    zoneid uuid* the zone
    serviceofferingid uuid* the service offering
    templateid uuid*2.2 the template
    name string its host name
    displayname string its name in lists
    group string the group it belongs to
    networkids uuids its networks, the default one first
    ipaddress string its address
    iptonetworklist map iptonetworklist[0].networkid and .ip
    diskofferingid uuid a data volume to go with it
    size long size of that volume in GB
    rootdisksize long@4.4 (4.20) size of the root disk in GB, if more than the template's
    keypair string an SSH key
    keypairs strings@4.17 (4.20) several SSH keys
    userdata string<1048576 data for the machine, in base64
    userdataid uuid@4.18 (4.20) stored user data
    startvm boolean (4.20) false to leave it stopped
    hypervisor string its hypervisor, which counts only if the template does not say it
    dynamicscalingenabled boolean (4.20) whether it may be scaled while it runs, if all else allows
    details map@4.3 (4.20) pairs that describe it; the size for an offering of custom size
""")
def deploy(
    cloud: Cloud,
    templateid: Any = None,
    name: str = "",
    userdata: str | None = None,
    userdataid: Any = None,
    **more: Any,
) -> Work:
    """Make the rows of machine and root disk, after all that can be refused at once."""
    _check_form(cloud, name)
    template = _template(cloud, templateid)
    network = _network(cloud, **more)
    _check_name(cloud, name, network)
    data, userdataid = stored_userdata(cloud, userdata, userdataid)
    row = _new_machine(cloud, name, **more)
    row |= {"templateid": template["id"], "data": data, "userdataid": userdataid}
    size = max(template["size"], more.get("rootdisksize", 0) * GIB)
    _check_quotas(cloud, row, size / GIB, more.get("diskofferingid"), more.get("size"))
    cloud.state.save("virtualmachine", row)
    _connect(cloud, row, network, **more)
    guests.add_root(cloud, row, template, size)
    return Work(row, row)


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
    """Return the row of a new machine, which is not in the cloud yet."""
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
        **_extras(cloud, **more),
    )
    own = f"i-2-{row['id']}-VM" if cloud.dialect.numeric_ids else f"VM-{row['id']}"
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


def _template(cloud: Cloud, id: Any) -> Row:
    if id is None:
        raise broken("Please provide only one of template ID, volume ID or snapshot ID")
    template = cloud.state.get("template", id)
    if template is None:
        raise invalid(f"Unable to use template {id}")
    if not template["isready"]:
        raise invalid(f"The template {id} is not available for use")
    return template


def _network(
    cloud: Cloud, networkids: list | None = None, iptonetworklist: list | None = None, **_: Any
) -> Row:
    if networkids and iptonetworklist:
        raise invalid("NetworkIds can't be specified along with ipToNetworkMap parameter")
    named = networkids or [row.get("networkid") for row in iptonetworklist or []]
    if not named:
        return _only_network(cloud)
    network = cloud.find("network", named[0])
    if network.get("type") != "Shared" and network.get("projectid") != cloud.project:
        # NetworkModelImpl.checkNetworkPermissions
        text = f"Unable to use network with id= {network['id']}, permission denied"
        raise ApiError(531, text, DENIED)
    return network


def _only_network(cloud: Cloud) -> Row:
    mine = [n for n in cloud.mine("network") if n.get("type", "Isolated") == "Isolated"]
    if len(mine) > 1:
        me = cloud.account()
        facts = {"accountName": me["name"], "id": 2, "uuid": me["id"]}
        account = f"Account [{json.dumps(facts, separators=(',', ':'))}]"
        raise invalid(
            f"More than 1 default Isolated networks are found for account {account}; please "
            "specify networkIds"
        )
    return mine[0] if mine else cloud.one("network")


def _connect(
    cloud: Cloud,
    row: Row,
    network: Row,
    ipaddress: str | None = None,
    iptonetworklist: list | None = None,
    **_: Any,
) -> None:
    """Give a machine its network cards; an address that is not free leaves it in Error.

    Newer servers make the machine before they look for the address (`createVirtualMachine`).
    """
    wanted = ipaddress or (iptonetworklist or [{}])[0].get("ip")
    if wanted and not _is_address(wanted):
        cloud.state.remove("virtualmachine", row, trace=False)
        raise invalid(f"Invalid specified IPv4 address {wanted}")
    try:
        cards = [nic(cloud, network, _address(cloud, network, wanted))]
    except ApiError as error:
        if cloud.dialect.numeric_ids:
            cloud.state.remove("virtualmachine", row, trace=False)
            raise
        cloud.state.change("virtualmachine", row, state="Error", changed=cloud.clock())
        raise hidden(error.text, 0) from None
    if cloud.setting("nics")["second"]:
        cards.insert(0, second_nic(cloud, len(cloud.rows("virtualmachine"))))
    row["nics"] = cards


def _is_address(text: str) -> bool:
    return bool(re.fullmatch(r"(\d{1,3}\.){3}\d{1,3}", text)) and all(
        int(n) < 256 for n in text.split(".")
    )


def _address(cloud: Cloud, network: Row, wanted: str | None) -> str:
    taken = {n["address"] for m in cloud.rows("virtualmachine") for n in m["nics"]}
    free = [f"{members.network(cloud)}.{i}" for i in range(11, 255)]
    free = [a for a in free if a not in taken]
    if wanted and wanted not in free:
        raise invalid(f"The specified IP address {wanted} is not free in network {network['name']}")
    if not free:
        raise full(f"Unable to acquire Guest IP address for network {network['name']}")
    return wanted or free[0]


def _check_form(cloud: Cloud, name: str) -> None:
    if not name or HOST_NAME.fullmatch(name):
        return
    if cloud.dialect.numeric_ids:
        raise invalid(f"Invalid name. Vm name can {NAME_RULE}")
    why = f"invalid value. Invalid value provided for API arg: name - it can {NAME_RULE}"
    raise param("deployVirtualMachine", why)


def _check_name(cloud: Cloud, name: str, network: Row) -> None:
    """Refuse a name that a machine of the network has, be it Destroyed."""
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


def _extras(
    cloud: Cloud,
    group: str = "",
    keypair: str = "",
    keypairs: list | None = None,
    details: list | None = None,
    **_: Any,
) -> Row:
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
    """Find room for the machine, copy its root disk and boot it."""
    row = cloud.find("virtualmachine", job["instance"])
    starts = row["state"] == "Starting"
    if starts:
        guests.check_room(cloud, row)
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
    """Leave the machine in Error, without disks: that is how it ends on a real cloud."""
    row = cloud.state.get("virtualmachine", job["instance"])
    if row:
        _set(cloud, row, "Error")
        for volume in fitting(cloud, "volume", virtualmachineid=row["id"]):
            drop(cloud, volume)


def _set(cloud: Cloud, row: Row, state: str) -> Row:
    if state not in guests.RUNS:
        members.end(cloud, row)
        login.keep_out(cloud.folder, row["id"])
        row["stopped"] = True
    row |= {"state": state, "changed": cloud.clock()}
    return cloud.state.save("virtualmachine", row)


def _queued(cloud: Cloud, id: Any, **_: Any) -> Work:
    """Queue what is to be done with a machine."""
    row = cloud.find("virtualmachine", id)
    return Work(row, row)


command("""startVirtualMachine async virtualmachine
    Starts a machine that is stopped.
    id uuid* the machine
""")(_queued)


def _when(cloud: Cloud, job: Row, state: str, then: str) -> None:
    row = cloud.state.get("virtualmachine", job["instance"])
    if row and row["state"] == state:
        _set(cloud, row, then)


@phase("startVirtualMachine", "finish")
def started(cloud: Cloud, job: Row, id: Any) -> dict:
    """Find room for the machine and boot it."""
    row = cloud.find("virtualmachine", id)
    if row["state"] == "Running" and cloud.dialect.numeric_ids:
        return {"virtualmachine": show(cloud, "virtualmachine", row)}
    if row["state"] == "Running":
        raise invalid(f"The virtual machine {row['id']} ({row['name']}) is already running")
    if row["state"] != "Starting":
        raise invalid(f"The VM {row['name']} cannot be started in state {row['state']}")
    guests.check_room(cloud, row)
    guests.fill_root(cloud, row)
    guests.boot(cloud, row, job)
    return {"virtualmachine": show(cloud, "virtualmachine", row)}


command("""stopVirtualMachine async virtualmachine
    Stops a machine; one that is stopped stays so.
    id uuid* the machine
    forced boolean without asking its system
""")(_queued)


@phase("stopVirtualMachine", "finish")
def stopped(cloud: Cloud, job: Row, **_: Any) -> dict:
    """Show that it has stopped."""
    _when(cloud, job, "Stopping", "Stopped")
    row = cloud.find("virtualmachine", job["instance"])
    return {"virtualmachine": show(cloud, "virtualmachine", row)}


# What a machine is shown as meanwhile, and again when it comes to nothing.
for _verb, _before, _meanwhile in (
    ("start", "Stopped", "Starting"),
    ("stop", "Running", "Stopping"),
):
    phase(f"{_verb}VirtualMachine", "begin")(partial(_when, state=_before, then=_meanwhile))
    phase(f"{_verb}VirtualMachine", "failed")(partial(_when, state=_meanwhile, then=_before))


command("""rebootVirtualMachine async virtualmachine
    Reboots a machine that runs.
    id uuid* the machine
    forced boolean@4.16.0 (4.20) without asking its system
""")(_queued)


@phase("rebootVirtualMachine", "finish")
def rebooted(cloud: Cloud, job: Row, **_: Any) -> dict:
    """Boot it again."""
    row = cloud.find("virtualmachine", job["instance"])
    if row["state"] != "Running":
        text = f"The VM {row['name']} is not running, unable to reboot it"
        raise ApiError(cloud.dialect.reboot_refusal, text)
    guests.boot(cloud, row, job)
    return {"virtualmachine": show(cloud, "virtualmachine", row)}


@command("""destroyVirtualMachine async virtualmachine
    Destroys a machine; its data volumes are kept.
    id uuid* the machine
    expunge boolean@4.2.1 (4.20) at once and for ever
    volumeids uuids@4.12.0 (4.20) data volumes to delete with it
""")
def destroy(cloud: Cloud, id: Any, expunge: bool = False, volumeids: list | None = None) -> Work:
    """Queue the end of a machine."""
    row = cloud.find("virtualmachine", id)
    if row.get("deleteprotection"):
        raise invalid(
            f"Instance [id = {id}, name = {row['name']}] has delete protection enabled and cannot "
            "be deleted."
        )
    return Work(row, row)


@phase("destroyVirtualMachine", "finish")
def destroyed(
    cloud: Cloud, job: Row, id: Any, expunge: bool = False, volumeids: list | None = None
) -> dict:
    """Detach the data volumes and end the machine; it stays until `expunge.delay` has passed.

    To expunge it at once needs the permission (`UserVmManagerImpl.destroyVm`).
    """
    row = cloud.find("virtualmachine", id)
    if expunge and not cloud.setting("expunge")["allowed"]:
        raise broken("Account does not have permission for expunging.")
    for volume in fitting(cloud, "volume", virtualmachineid=id, type="DATADISK"):
        unplug(cloud, volume)
        if volume["id"] in (volumeids or []):
            drop(cloud, volume)
    if expunge or (row["state"] == "Error" and cloud.dialect.expunges_errors):
        _set(cloud, row, "Expunging")
    elif row["state"] not in HIDDEN:
        _set(cloud, row, "Destroyed")
        for root in fitting(cloud, "volume", virtualmachineid=id):
            cloud.state.change("volume", root, state="Destroy")
        guests.expunge_later(cloud, row)
    result = {"virtualmachine": show(cloud, "virtualmachine", row)}
    if row["state"] == "Expunging":
        expunge_now(cloud, row["id"])
    return result


@command("""expungeVirtualMachine(4.20) async
    Removes a destroyed machine for ever.
    id uuid* the machine
""")
def expunge(cloud: Cloud, id: Any) -> Work:
    """Queue the removal."""
    row = cloud.find("virtualmachine", id)
    if not cloud.setting("expunge")["allowed"]:
        raise broken("Parameter expunge can be passed by Admin only")
    if row["state"] not in (*HIDDEN, "Error"):
        raise invalid(f"Please destroy vm with specified vmId before expunge: {row['name']}")
    return Work(row, row)


@phase("expungeVirtualMachine", "finish")
def expunged(cloud: Cloud, job: Row, id: Any) -> dict:
    """Remove the machine."""
    expunge_now(cloud, id)
    return {"success": True}


@phase("expungeVirtualMachine", "expunge")
def expunge_due(cloud: Cloud, id: Any) -> None:
    """Remove a machine whose time is over, unless it was recovered meanwhile."""
    row = cloud.state.get("virtualmachine", id)
    if row and row["state"] == "Destroyed" and row["expunge_at"] <= cloud.clock():
        expunge_now(cloud, id)


def expunge_now(cloud: Cloud, id: Any) -> None:
    """Remove a machine with its root disk; its name and address are free again."""
    row = cloud.state.get("virtualmachine", id)
    if row is None:
        return
    for volume in fitting(cloud, "volume", virtualmachineid=id):
        drop(cloud, volume)
    members.end(cloud, row)
    members.forget(cloud, row)
    cloud.state.remove("virtualmachine", row)
    tell(cloud, row)


@command("""updateVirtualMachine sync virtualmachine
    Changes what is said about a machine, and its user data.
    id uuid* the machine
    displayname string its name in lists
    name string@4.4 (4.20) its host name
    group string the group it belongs to
    userdata string<1048576 data for the machine, in base64
    userdataid uuid@4.18 (4.20) stored user data
    details map (4.20) pairs that replace all it had
    deleteprotection boolean@4.20.0 (4.20) keep it from being destroyed
    haenable boolean start it elsewhere when its host fails
""")
def update(
    cloud: Cloud,
    id: Any,
    userdata: str | None = None,
    userdataid: Any = None,
    name: str = "",
    **more: Any,
) -> dict:
    """Change the machine's row; running or not, it reads new user data when it looks next."""
    row = cloud.find("virtualmachine", id)
    if row["state"] in ("Error", "Expunging"):
        raise invalid(f"Vm with id {id} is not in the right state")
    if name and name != row["name"]:
        _check_form(cloud, name)
        _check_name(cloud, name, cloud.one("network"))
        row["name"] = name
    if userdata or userdataid is not None:
        row["data"], stored = stored_userdata(cloud, userdata, userdataid)
        row["userdataid"] = stored or row["userdataid"]  # which text given inline does not change
    row |= {k: more[k] for k in ("displayname", "deleteprotection", "haenable") if k in more}
    row |= _extras(cloud, **more)
    return cloud.state.save("virtualmachine", row)


@command("""changeServiceForVirtualMachine sync virtualmachine
    Gives a stopped machine another service offering.
    id uuid* the machine
    serviceofferingid uuid* the service offering
    details map (4.20) cpuNumber, cpuSpeed and memory, for an offering of custom size
""")
def change_service(
    cloud: Cloud, id: Any, serviceofferingid: Any, details: list | None = None
) -> dict:
    """Change the offering; whether a host has room for it shows when the machine starts."""
    row = cloud.find("virtualmachine", id)
    if row["state"] != "Stopped":
        raise invalid(
            f"Unable to upgrade virtual machine {guests.vm_text(row)} in state {row['state']}; "
            "make sure the virtual machine is stopped"
        )
    new = cloud.find("serviceoffering", serviceofferingid)
    check_custom(new, details)
    if new["id"] == row["serviceofferingid"]:
        raise invalid(
            f"Not upgrading vm {guests.vm_text(row)} since it already has the requested service "
            f"offering ({new['name']})"
        )
    before, after = size_of(cloud, row), row | {"serviceofferingid": new["id"]}
    after["details"] = row.get("details", {}) | _extras(cloud, details=details).get("details", {})
    for what, field in (("cpu", "cpunumber"), ("memory", "memory")):
        more = size_of(cloud, after)[field] - before[field]
        if more > 0:
            check_quota(cloud, what, more)
    for root in fitting(cloud, "volume", virtualmachineid=id, type="ROOT"):
        cloud.state.change("volume", root, serviceofferingid=new["id"])
    return cloud.state.change("virtualmachine", row, **after)
