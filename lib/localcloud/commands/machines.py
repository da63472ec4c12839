"""Commands for virtual machines."""

from functools import partial
from typing import Any

from ..guests import etcd, guests, hosts
from ..guests.guests import set_state
from ..state.cloud import Cloud, Listing, check_quota, fitting, size_of
from ..state.jobs import FIRST_START, Work
from ..state.refusals import ApiError, broken, invalid
from ..state.registry import command, phase
from ..state.rows import Row
from ..state.views import default_nic, show
from ..workstation.plugs import unplug, update_workstation
from .deployments import check_custom, check_form, check_name, extras
from .firewalls import revoke
from .keys import stored_userdata
from .volumes import drop

HIDDEN = ("Destroyed", "Expunging")  # from users, as allow.user.view.destroyed.vm is false


@command("listVirtualMachines")
def list_machines(
    cloud: Cloud,
    networkid: Any = None,
    keypair: str = "",
    keyword: str = "",
    userdata: bool = False,
    **filters: Any,
) -> Listing:
    """Answer with the account's matching machines; `keyword` is part of a name or the state."""
    groups = {k: filters.pop(k, None) for k in ("affinitygroupid", "securitygroupid")}
    rows = [
        row
        for row in fitting(cloud, "virtualmachine", **filters)
        if row["state"] not in HIDDEN
        and all(id in (None, *row.get(f"{kind}s", [])) for kind, id in groups.items())
        and networkid in (None, *(card["networkid"] for card in row["nics"]))
        and keypair in ("", *row.get("keypairs", []))
        and any(keyword.lower() in row[k].lower() for k in ("name", "displayname", "state"))
    ]
    return Listing("virtualmachine", rows, _userdata if userdata else None)


def _userdata(row: Row) -> dict:
    return {"userdata": row.get("data")}


@command("startVirtualMachine")
def start(cloud: Cloud, id: Any, **_: Any) -> Work:
    """Queue the start of a machine; the first one copies its root disk."""
    row, root = cloud.find("virtualmachine", id), guests.root_of(cloud, {"id": id})
    new = root is not None and root["state"] == "Allocated"
    return Work(row, row, seconds=FIRST_START if new else None)


def _when(cloud: Cloud, job: Row, state: str, then: str) -> None:
    row = cloud.state.get("virtualmachine", job["instance"])
    if row and row["state"] == state:
        set_state(cloud, row, then)


@phase("startVirtualMachine", "finish")
def started(cloud: Cloud, job: Row, id: Any) -> dict:
    """Find room for the machine and boot it."""
    row = cloud.find("virtualmachine", id)
    if row["state"] == "Running" and cloud.dialect.starts_running:
        return row
    if row["state"] == "Running":
        raise invalid(f"The virtual machine {row['id']} ({row['name']}) is already running")
    if row["state"] != "Starting":
        raise invalid(f"The VM {row['name']} cannot be started in state {row['state']}")
    row["host"] = hosts.find(cloud, row)
    guests.fill_root(cloud, row)
    guests.boot(cloud, row, job)
    return row


@phase("stopVirtualMachine", "finish")
def stopped(cloud: Cloud, job: Row, **_: Any) -> dict:
    """Set the machine to Stopped."""
    _when(cloud, job, "Stopping", "Stopped")
    row = cloud.find("virtualmachine", job["instance"])
    return row


# The states of a machine during a job, and after its failure.
for _verb, _before, _meanwhile in (
    ("start", "Stopped", "Starting"),
    ("stop", "Running", "Stopping"),
):
    phase(f"{_verb}VirtualMachine", "begin")(partial(_when, state=_before, then=_meanwhile))
    phase(f"{_verb}VirtualMachine", "failed")(partial(_when, state=_meanwhile, then=_before))


@phase("rebootVirtualMachine", "finish")
def rebooted(cloud: Cloud, job: Row, **_: Any) -> dict:
    """Boot it again."""
    row = cloud.find("virtualmachine", job["instance"])
    if row["state"] != "Running":
        text = f"The VM {row['id']} ({row['name']}) is not running, unable to reboot it"
        raise ApiError(cloud.dialect.reboot_refusal, text)
    guests.boot(cloud, row, job)
    return row


@command("destroyVirtualMachine")
def destroy(cloud: Cloud, id: Any, expunge: bool = False, volumeids: list | None = None) -> Work:
    """Queue the destruction of a machine."""
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
    """Detach the data volumes and destroy the machine; its row stays for `expunge.delay`.

    To expunge it at once needs the permission, and the command in the account's role
    (`UserVmManagerImpl.checkExpungeVmPermission`).
    """
    row = cloud.find("virtualmachine", id)
    if expunge and (
        not cloud.setting("expunge")["allowed"] or cloud.lacks("expungeVirtualMachine")
    ):
        raise broken("Account does not have permission for expunging.")
    for volume in fitting(cloud, "volume", virtualmachineid=id, type="DATADISK"):
        unplug(cloud, volume)
        if volume["id"] in (volumeids or []):
            drop(cloud, volume)
    if expunge or (row["state"] == "Error" and cloud.dialect.expunges_errors):
        set_state(cloud, row, "Expunging")
    elif row["state"] not in HIDDEN:
        set_state(cloud, row, "Destroyed")
        for root in fitting(cloud, "volume", virtualmachineid=id):
            cloud.state.change("volume", root, state="Destroy")
        guests.expunge_later(cloud, row)
    result = {"virtualmachine": show(cloud, "virtualmachine", row)}
    if row["state"] == "Expunging":
        expunge_now(cloud, row["id"])
    return result


@command("expungeVirtualMachine")
def expunge(cloud: Cloud, id: Any) -> Work:
    """Queue the removal."""
    row = cloud.find("virtualmachine", id)
    if not cloud.setting("expunge")["allowed"]:
        raise broken("Parameter expunge can be passed by Admin only")
    if row["state"] not in (*HIDDEN, "Error"):
        raise invalid(f"Please destroy vm with specified vmId before expunge: {row['name']}")
    return Work(row, row)


@phase("expungeVirtualMachine", "finish")
def expunged(cloud: Cloud, job: Row, id: Any) -> None:
    """Remove the machine."""
    expunge_now(cloud, id)


@phase("expungeVirtualMachine", "expunge")
def expunge_due(cloud: Cloud, id: Any) -> None:
    """Remove a machine whose `expunge.delay` is over, unless it was recovered."""
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
    revoke(cloud, row)
    etcd.end(cloud, row)
    etcd.forget(cloud, row)
    cloud.state.remove("virtualmachine", row)
    update_workstation(cloud, row)


@command("updateVirtualMachine")
def update(
    cloud: Cloud,
    id: Any,
    userdata: str | None = None,
    userdataid: Any = None,
    name: str = "",
    **more: Any,
) -> dict:
    """Change the machine's row; the machine reads new user data at its next boot."""
    row = cloud.find("virtualmachine", id)
    if row["state"] in ("Error", "Expunging"):
        raise invalid(f"Vm with id {id} is not in the right state")
    if name and name != row["name"]:
        check_form(cloud, name)
        check_name(cloud, name, cloud.find("network", default_nic(row)["networkid"]))
        row["name"] = name
    if userdata or userdataid is not None:
        row["data"], stored = stored_userdata(cloud, userdata, userdataid)
        row["userdataid"] = stored or row.get("userdataid")  # which inline text keeps
    row |= {k: more[k] for k in ("displayname", "deleteprotection", "haenable") if k in more}
    row |= extras(cloud, **more)
    return cloud.state.save("virtualmachine", row)


@command("changeServiceForVirtualMachine")
def change_service(
    cloud: Cloud, id: Any, serviceofferingid: Any, details: list | None = None
) -> dict:
    """Change the offering; a lack of capacity shows only when the machine starts."""
    row = cloud.find("virtualmachine", id)
    text = cloud.dialect.machine_text(row)
    if row["state"] != "Stopped":
        raise invalid(
            f"Unable to upgrade virtual machine {text} in state {row['state']}; "
            "make sure the virtual machine is stopped"
        )
    new = cloud.find("serviceoffering", serviceofferingid)
    check_custom(new, details)
    if new["id"] == row["serviceofferingid"]:
        raise invalid(
            f"Not upgrading vm {text} since it already has the requested service offering "
            f"({new['name']})"
        )
    before, after = size_of(cloud, row), row | {"serviceofferingid": new["id"]}
    after["details"] = row.get("details", {}) | extras(cloud, details=details).get("details", {})
    for what, field in (("cpu", "cpunumber"), ("memory", "memory")):
        more = size_of(cloud, after)[field] - before[field]
        if more > 0:
            check_quota(cloud, what, more)
    for root in fitting(cloud, "volume", virtualmachineid=id, type="ROOT"):
        cloud.state.change("volume", root, serviceofferingid=new["id"])
    return cloud.state.change("virtualmachine", row, **after)
