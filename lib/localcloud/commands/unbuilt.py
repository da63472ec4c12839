"""Unbuilt: parameters of CloudStack that this cloud does not implement.

A call with one of them is refused: otherwise a filter would match all rows, and a setting would be
lost silently. Parameters unknown to CloudStack are ignored, as it does.
"""

from functools import cache

from ..state.refusals import DIRECT, ApiError
from ..state.registry import Command

# A command (or several) and its parameters, as the source of each version has them.
MODERN = """
listZones: showcapacities storageaccessgroup
listDiskOfferings: volumeid storageid virtualmachineid
listServiceOfferings: virtualmachineid systemvmtype cpunumber memory cpuspeed templateid
    vgpuprofileid
listOsTypes: fordisplay
listVirtualMachines: details isoid vpcid backupofferingid displayvm
    autoscalevmgroupid accumulate arch extensionid hostid podid clusterid storageid
listVolumes: hostid podid clusterid storageid displayvolume listsystemvms isencrypted
listSnapshots: locationtype
listTemplates: showremoved parenttemplateid details arch oscategoryid extensionid
listNetworks: physicalnetworkid supportedservices vpcid displaynetwork associatednetworkid
    networkfilter
listResourceLimits: id tag
listAsyncJobs: managementserverid
createVolume: miniops maxiops displayvolume customid
createSnapshot: policyid quiescevm zoneids storageids usestoragereplication
deleteSnapshot: zoneid
createTemplate: bits virtualmachineid url templatetag arch
deleteTemplate: issystem
deployVirtualMachine: volumeid snapshotid password boottype bootmode bootintosetup datadisksdetails
    userdatadetails hostid podid clusterid ip6address macaddress keyboard displayvm
    deploymentplanner dhcpoptionsnetworklist datadiskofferinglist extraconfig copyimagetags
    properties nicnetworklist
    overridediskofferingid iothreadsenabled iodriverpolicy nicmultiqueuenumber
    nicpackedvirtqueuesenabled leaseduration leaseexpiryaction externaldetails customid
updateVirtualMachine: ostypeid userdatadetails displayvm instancename isdynamicallyscalable
    securitygroupids securitygroupnames cleanupdetails dhcpoptionsnetworklist extraconfig
    leaseduration leaseexpiryaction customid
rebootVirtualMachine: bootintosetup
startVirtualMachine: podid clusterid hostid considerlasthost deploymentplanner bootintosetup
createTags: customer
listTags: customer
listEvents: state entrytime resourceid archived resourcetype duration startid
listAccounts: iscleanuprequired details roleid apikeyaccess tag
resizeVolume: miniops maxiops
updateVolume: path chaininfo storageid state displayvolume customid
scaleVirtualMachine changeServiceForVirtualMachine: miniops maxiops automigrate shrinkok
updateTemplate: bootable format sortkey isrouting arch templatetype templatetag forcks
registerTemplate: bits templatetag isrouting deployasis forcks templatetype arch extensionid
    externaldetails
listNics listSnapshotPolicies: fordisplay
listUsers: apikeyaccess
listDomains: tag
listOsCategories: featured isiso isvnf arch showicon zoneid
listNetworkOfferings: tags istagged supportedservices sourcenatsupported specifyipranges networkid
    routingmode
listPublicIpAddresses: vlanid physicalnetworkid fordisplay
listPortForwardingRules listVPCs: fordisplay
listInstanceGroups: showicon
"""
OLD = """
listResourceLimits: id
listServiceOfferings: virtualmachineid systemvmtype
listVirtualMachines: hostid podid storageid
listVolumes: hostid podid details
createSnapshot: policyid
createTemplate: bits virtualmachineid url templatetag
registerTemplate: bits
deployVirtualMachine: hostid keyboard
updateVirtualMachine: ostypeid
listEvents: duration entrytime
listAccounts: iscleanuprequired isrecursive
updateTemplate: bootable format
listPublicIpAddresses: vlanid
"""


@cache
def parameters(dialect: str) -> dict[str, frozenset[str]]:
    """Return the names of a dialect's unbuilt parameters by command."""
    found: dict[str, frozenset[str]] = {}
    for line in (OLD if dialect == "2.2" else MODERN).strip().replace("\n    ", " ").splitlines():
        commands, _, names = line.partition(": ")
        found |= {command: frozenset(names.split()) for command in commands.split()}
    return found


def check(dialect: str, command: Command, given: dict) -> None:
    """Refuse a call (431) with a parameter of CloudStack that is not implemented here."""
    for name in parameters(dialect).get(command.name, frozenset()).intersection(given):
        raise ApiError(
            431,
            f"The local cloud has no parameter {name} of {command.name}, which CloudStack knows: "
            "leave it out here.",
            DIRECT,
        )
