"""Owners: the parameters that name the owner of resources.

There is one account here. Its own name and domain change nothing; others are refused, as an
ordinary account cannot see or create resources of other accounts (`AccountManagerImpl`).
"""

from ..state.cloud import Cloud
from ..state.refusals import invalid
from ..state.registry import Command, add_params

# Which commands have them: the parameters, the dialects, the commands.
OWNED = (
    ("account domainid listall isrecursive", "4.22", """
        listVirtualMachines listVolumes listSnapshots listTemplates listNetworks
        listResourceLimits listAsyncJobs listSSHKeyPairs listUserData listTags listEvents
        listPublicIpAddresses listPortForwardingRules listIpForwardingRules listUsers
        listDiskOfferings listServiceOfferings listIsos listAffinityGroups listSecurityGroups
        listInstanceGroups listVMSnapshot listVPCs listFirewallRules"""),
    ("domainid listall isrecursive", "4.22", "listAccounts"),
    ("listall", "4.22", "listDomains"),
    ("domainid", "4.22", "listZones listNetworkOfferings"),
    ("account domainid", "4.22", """
        createVolume createSnapshot createTemplate deployVirtualMachine createSSHKeyPair
        registerSSHKeyPair deleteSSHKeyPair registerUserData deleteUserData
        resetSSHKeyForVirtualMachine registerTemplate createAffinityGroup deleteAffinityGroup
        createSecurityGroup deleteSecurityGroup associateIpAddress"""),
    ("account domainid isrecursive", "2.2", "listVirtualMachines listVolumes listSnapshots"),
    ("account domainid", "2.2", """
        listTemplates listNetworks listResourceLimits listAsyncJobs createVolume createSnapshot
        deployVirtualMachine createSSHKeyPair registerSSHKeyPair deleteSSHKeyPair listEvents
        listPublicIpAddresses listPortForwardingRules listIpForwardingRules listIsos
        listSecurityGroups listInstanceGroups"""),
    ("domainid", "2.2", "listZones listDiskOfferings listServiceOfferings listAccounts"),
)  # fmt: skip
LINES = {
    "account": "account string the account; there is only the caller's own",
    "domainid": "domainid uuid the domain; there is only the caller's own",
    "listall": "listall boolean also what the account may see of others, which is nothing here",
    "isrecursive": "isrecursive boolean also what is in the domains below; there are none",
}


def register() -> None:
    """Give the commands these parameters."""
    found: dict[tuple[str, str], list[str]] = {}
    for names, dialect, commands in OWNED:
        for key in ((c, n) for c in commands.split() for n in names.split()):
            found.setdefault(key, []).append(dialect)
    for (command, name), dialects in found.items():
        head, type_, text = LINES[name].split(" ", 2)
        only = f"({dialects[0]}) " if len(dialects) == 1 else ""
        add_params(command, [f"{head} {type_} {only}{text}"])


def check(cloud: Cloud, command: Command, values: dict) -> None:
    """Remove the owner from the values of a call; refuse any owner but the caller."""
    me = cloud.account()
    account = values.pop("account", me["name"])
    domain = values.pop("domainid", me["domainid"])
    for name in ("listall", "isrecursive"):
        values.pop(name, None)
    if account.lower() != me["name"].lower() or domain != me["domainid"]:
        raise invalid(f"Unable to find account {account} in domain {domain}")
