"""Filters: parameters of lists that select rows by a field of the answer."""

from typing import Any

from ..state.cloud import Cloud, Listing
from ..state.registry import Command, add_params
from ..state.views import show

# The filters of each command, each named as the field of the answer that it is compared with.
FILTERS = {
    "listVirtualMachines": """
        hypervisor string the hypervisor it runs on
        forvirtualnetwork boolean whether it is in a network of the account's own; all are
        userid uuid (4.22) the user who made it
        haenable boolean (4.22) whether it is restarted elsewhere when its host fails
        userdataid uuid (4.22) the stored user data it was given
        isvnf boolean (4.22) whether it is a network appliance
        leased boolean (4.22) whether it ends by itself at a set time
        gpuenabled boolean (4.22) whether it has a GPU""",
    "listVolumes": "serviceofferingid uuid (4.22) the service offering of a root volume",
    "listTemplates": """
        isready boolean (4.22) whether machines can be made from it
        templatetype string (4.22) USER, or a kind that only the cloud itself makes
        isvnf boolean (4.22) whether it is for network appliances
        forcks boolean (4.22) whether it is for Kubernetes clusters""",
    "listNetworks": """
        name string (4.22) its name
        acltype string (4.22) Account or Domain
        networkofferingid uuid (4.22) its network offering
        restartrequired boolean (4.22) whether it must be restarted
        specifyipranges boolean (4.22) whether it has address ranges of its own
        forvpc boolean (4.22) whether it is part of a VPC
        isshared boolean (2.2) whether several accounts use it""",
    "listDiskOfferings": """
        encrypt boolean (4.22) whether its volumes are encrypted
        storagetype string (4.22) shared or local
        state string (4.22) Active or Inactive""",
    "listServiceOfferings": """
        encryptroot boolean (4.22) whether root volumes are encrypted
        storagetype string (4.22) shared or local
        gpuenabled boolean (4.22) whether it comes with a GPU
        state string (4.22) Active or Inactive""",
    "listResourceLimits": "resourcetypename string (4.22) the name of the resource type",
    "listSSHKeyPairs": "id uuid (4.22) the SSH key",
    "listAccounts": """
        accounttype long 0 is an ordinary account
        state string enabled, disabled or locked""",
}
# Values that all rows here have, without a field for them.
UNSHOWN = {
    "encrypt": False,
    "encryptroot": False,
    "forcks": False,
    "forvirtualnetwork": True,
    "forvpc": False,
    "gpuenabled": False,
    "isvnf": False,
    "leased": False,
    "restartrequired": False,
    "specifyipranges": False,
}
# Filters that all rows pass: each zone has all offerings, and there are no icons.
PASSED = (
    ("zoneid uuid (4.22) the zone", "listDiskOfferings listServiceOfferings"),
    ("showicon boolean (4.22) answer with icons too; there are none",
     "listZones listVirtualMachines listTemplates listNetworks listAccounts"),
)  # fmt: skip
COUNT_ONLY = "retrieveonlyresourcecount"


def register() -> None:
    """Give the commands these parameters."""
    for command, lines in FILTERS.items():
        found = [line.strip() for line in lines.strip().splitlines()]
        add_params(command, found, filters=True)
    for line, commands in PASSED:
        for command in commands.split():
            add_params(command, [line], filters=True)
    for command in ("listVirtualMachines", "listVolumes", "listNetworks", "listPublicIpAddresses"):
        line = f"{COUNT_ONLY} boolean (4.22) answer with the number of rows only"
        add_params(command, [line])


def wanted(command: Command, values: dict) -> dict[str, Any]:
    """Take the filters of this module out of the values of a call."""
    found = {name: values.pop(name) for name in command.filters if name in values}
    passed = {line.split()[0] for line, _ in PASSED}
    return {name: value for name, value in found.items() if name not in passed}


def fit(cloud: Cloud, found: Listing, filters: dict[str, Any]) -> Listing:
    """Return the rows that match the filters; texts are compared without case."""
    if not filters:
        return found
    return found._replace(rows=[r for r in found.rows if _fits(cloud, found.kind, r, filters)])


def _fits(cloud: Cloud, kind: str, row: dict, filters: dict[str, Any]) -> bool:
    view = UNSHOWN | show(cloud, kind, row)
    return all(_same(view.get(name), value) for name, value in filters.items())


def _same(shown: Any, value: Any) -> bool:
    return str(shown).lower() == str(value).lower()
