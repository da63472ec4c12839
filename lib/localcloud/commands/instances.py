"""Commands for the size, keys, user data, nics and groups of machines."""

from typing import Any

from ..state.cloud import Cloud, Listing, fitting
from ..state.refusals import ApiError, broken, invalid
from ..state.registry import command, phase
from ..state.rows import Row
from ..state.views import nic_view
from .machines import change_service


@command("getVirtualMachineUserData")
def get_userdata(cloud: Cloud, virtualmachineid: Any) -> dict:
    """Answer with the user data of the machine, in base64."""
    row = cloud.find("virtualmachine", virtualmachineid)
    return {"virtualmachineid": row["id"], "userdata": row.get("data")}


@phase("scaleVirtualMachine", "finish")
def scaled(
    cloud: Cloud, job: Row, id: Any, serviceofferingid: Any, details: list | None = None
) -> dict:
    """Change the offering of a stopped machine; none here can be scaled while it runs."""
    row = cloud.find("virtualmachine", id)
    if row["state"] == "Running" and row["serviceofferingid"] != serviceofferingid:
        text = cloud.dialect.machine_text(row)
        raise broken(f"Unable to scale {text} as it is not configured to be dynamically scalable")
    if row["state"] not in ("Running", "Stopped"):
        raise ApiError(530, "Failed to scale Instance")
    row = change_service(cloud, id, serviceofferingid, details)
    return row


@command("recoverVirtualMachine")
def recover(cloud: Cloud, id: Any) -> dict:
    """Recover a destroyed machine, if the account may (531); on 2.2 it always may."""
    if not (cloud.dialect.all_recover or cloud.setting("expunge")["allowed"]):
        raise ApiError(
            531,
            "Recovering a vm can only be done by an Admin. Or when the allow.user.expunge.recover."
            "vm key is set.",
            4365,
        )
    row = cloud.find("virtualmachine", id)
    if row["state"] != "Destroyed":
        raise invalid(f"Vm with id {id} is not in the right state")
    for root in fitting(cloud, "volume", virtualmachineid=id, type="ROOT"):
        cloud.state.change("volume", root, state="Ready")
    return cloud.state.change("virtualmachine", row, state="Stopped")


@phase("resetSSHKeyForVirtualMachine", "finish")
def key_reset(
    cloud: Cloud, job: Row, id: Any, keypair: str = "", keypairs: list | None = None
) -> dict:
    """Change the keys, after what `UserVmManagerImpl.resetVMSSHKey` checks."""
    row = cloud.find("virtualmachine", id)
    if row["state"] in ("Error", "Expunging"):
        raise invalid("Vm with specified id is not in the right state")
    if row["state"] != "Stopped":
        raise invalid(f"Vm {cloud.dialect.machine_text(row)} should be stopped to do SSH Key reset")
    names = [*(keypairs or []), *([keypair] if keypair else [])]
    if not names:
        raise invalid("'keypair' or 'keypairs' must be specified")
    if not {k["name"] for k in cloud.rows("sshkeypair")} >= set(names):
        raise invalid("Not all specified keypairs exist")
    cloud.state.change("virtualmachine", row, keypairs=names)
    return row


@command("getVMPassword")
def get_password(cloud: Cloud, id: Any) -> dict:
    """Answer with the password, which only the owner of the private key can read."""
    row = cloud.find("virtualmachine", id)
    if not row.get("encryptedpassword"):
        raise invalid(f"No password for VM with id '{row['id']}' found. When the VM was created, "
                      "either no SSH key was given or its template sets no password.")  # fmt: skip
    return {"encryptedpassword": row["encryptedpassword"]}


@command("listNics")
def list_nics(cloud: Cloud, virtualmachineid: Any, nicid: Any = None, keyword: str = "") -> Listing:
    """Answer with the matching nics, as in the machine's own row."""
    row = cloud.find("virtualmachine", virtualmachineid)
    cards = [
        nic_view(cloud, card, row) | {"virtualmachineid": row["id"], "secondaryip": None}
        for card in row["nics"]
        if nicid in (None, card["id"])
    ]
    return Listing("nic", [c for c in cards if keyword in c["ipaddress"]])
