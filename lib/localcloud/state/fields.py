"""Fields: the fields of each kind of object in answers, per dialect, and constant values.

A word is a field: `[+|-]name[:type][=value]`. `+` marks a field of 4.22 only, `-` one of 2.2
only. The default type is string. A value is the same in every object.
"""

from functools import cache
from typing import Any, NamedTuple

from .dialects import DIALECTS

OWNER = "account +projectid +project domainid domain +domainpath"
USER_ROLE = "roletype=User rolename=User"

# An account's row has limit, total and available of each.
RESOURCES = """vm +ip volume snapshot +backup +backupstorage template +project +network +vpc +cpu
    +memory +gpu +primarystorage +secondarystorage +bucket +objectstorage"""
AMOUNTS = " ".join(f"{r}limit {r}total:long {r}available" for r in RESOURCES.split())

TABLE = {
    "": "success:boolean displaytext +jobid +jobstatus:integer",
    "zone": """id name -description -displaytext networktype
        securitygroupsenabled:boolean +gputotal:long=0 +gpuused:long=0
        allocationstate=Enabled zonetoken dhcpprovider=VirtualRouter
        +localstorageenabled:boolean=false +tags:set +allowuserspecifyvrmtu:boolean=false
        +routerprivateinterfacemaxmtu:integer=1500 +routerpublicinterfacemaxmtu:integer=1500
        +type=Core +isnsxenabled:boolean=false +ismultiarch:boolean=false +asnrange
        +routedmodeenabled:boolean=true +hasannotations:boolean=false""",
    "diskoffering": """id name +state=Active displaytext disksize:long created:date
        iscustomized:boolean +storagetype=shared +provisioningtype=thin
        +displayoffering:boolean=true +disksizestrictness:boolean=false +encrypt:boolean=false
        +hasannotations:boolean=false""",
    "serviceoffering": """id name +state=Active displaytext cpunumber:integer cpuspeed:integer
        memory:integer created:date storagetype=shared +provisioningtype=thin
        offerha:boolean=false limitcpuuse:boolean=false +isvolatile:boolean=false hosttags
        issystem:boolean=false defaultuse:boolean=false +iscustomized:boolean
        +rootdisksize:long=0 +dynamicscalingenabled:boolean=true
        +diskofferingstrictness:boolean=false +diskofferingid +diskofferingname
        +diskofferingdisplaytext +encryptroot:boolean=false +hasannotations:boolean=false""",
    "ostype": """id oscategoryid +oscategoryname +name description +isuserdefined:boolean=false
        +fordisplay:boolean=true""",
    "network": f"""id name displaytext +broadcastdomaintype=Vlan traffictype=Guest gateway
        netmask -startip -endip +cidr zoneid +zonename networkofferingid
        networkofferingname=DefaultIsolatedNetworkOfferingWithSourceNatService
        +networkofferingdisplaytext +networkofferingconservemode:boolean=true
        +networkofferingavailability=Required issystem:boolean=false -isshared:boolean=false
        -isdefault:boolean=true state=Implemented related +dns1 type=Isolated +acltype=Account
        {OWNER} +service:list networkdomain=cs2local.internal +physicalnetworkid
        +restartrequired:boolean=false +specifyvlan:boolean=false +specifyipranges:boolean=false
        +canusefordeploy:boolean=true +ispersistent:boolean=false +tags:set
        +strechedl2subnet:boolean=false +redundantrouter:boolean=false
        +supportsvmautoscaling:boolean=true +created:date +receivedbytes:long=0
        +sentbytes:long=0 +egressdefaultpolicy:boolean=false +publicmtu:integer=1500
        +privatemtu:integer=1500 +hasannotations:boolean=false""",
    "networkoffering": """id name=DefaultIsolatedNetworkOfferingWithSourceNatService
        displaytext created:date
        traffictype=Guest isdefault:boolean=true specifyvlan:boolean=false availability=Required
        +guestiptype=Isolated +conservemode:boolean=true +specifyipranges:boolean=false
        +state=Enabled +forvpc:boolean=false +ispersistent:boolean=false
        +supportsstrechedl2subnet:boolean=false""",
    "affinitygroup": f"id name description {OWNER} type virtualmachineIds:set",
    "affinityGroupType": "type",
    "securitygroup": f"""id name description {OWNER} ingressrule:set +egressrule:set +tags:set
        +virtualmachinecount:integer +virtualmachineids:set""",
    "oscategory": "id name",
    "hypervisor": "name",
    "user": f"""id username firstname lastname email created:date state account accounttype:integer
        usersource roleid {USER_ROLE} domainid domain apikey accountid
        iscallerchilddomain:boolean=false isdefault:boolean=false is2faenabled:boolean=false
        is2famandated:boolean=false""",
    "domain": "id name level:integer haschild:boolean=false path state=Active",
    "nic": """id networkid +networkname netmask gateway ipaddress +isolationuri +broadcasturi
        traffictype type isdefault:boolean +macaddress +extradhcpoption:list +secondaryip:list
        +deviceid +virtualmachineid""",
    "instancegroup": "id name created:date account domainid domain",
    "virtualmachineuserdata": "virtualmachineid userdata",
    "password": "encryptedpassword",
    "project": """id name displaytext domainid domain state=Active created:date owner:list""",
    "resourcelimit": f"{OWNER} resourcetype +resourcetypename max:long",
    "account": f"""id name accounttype:integer=0 +roleid +roletype=User +rolename=User domainid
        domain +domainpath {AMOUNTS} vmstopped:integer vmrunning:integer state=enabled
        +created:date +user:list +isdefault:boolean=false +groups:list""",
    "event": f"""id username type level description {OWNER} +resourceid +resourcetype
        +resourcename created:date state=Completed parentid""",
    "volume": f"""id name zoneid zonename type deviceid:long virtualmachineid +templateid
        +templatename +templatedisplaytext vmname vmdisplayname vmstate +vmtype
        +provisioningtype=thin size:long created:date state {OWNER} -storagetype=shared
        +diskkbsread:long +diskkbswrite:long +diskioread:long +diskiowrite:long diskofferingid
        diskofferingname diskofferingdisplaytext -hypervisor -storage=none snapshotid
        attached:date destroyed:boolean=false serviceofferingid serviceofferingname
        serviceofferingdisplaytext isextractable:boolean=false +quiescevm:boolean=false
        +supportsstoragesnapshot:boolean=false +deleteprotection:boolean=false +tags:set
        +hasannotations:boolean=false +jobid +jobstatus:integer""",
    "snapshot": f"""id {OWNER} snapshottype volumeid volumename volumetype +volumestate
        created:date name intervaltype=MANUAL +locationtype state +physicalsize:long +zoneid
        +zonename +revertable:boolean=false +virtualsize:long +datastoretype +datastorestate
        +tags:set +hasannotations:boolean=false""",
    "template": f"""id name displaytext ispublic:boolean created:date isready:boolean
        passwordenabled:boolean format -bootable:boolean=true isfeatured:boolean
        crossZones:boolean=false ostypeid ostypename {OWNER} zoneid zonename status size:long
        +physicalsize:long templatetype=USER hypervisor isextractable:boolean=false details:map
        +downloaddetails:list +arch=x86_64 +bits:integer=0 +sshkeyenabled:boolean=false
        +isdynamicallyscalable:boolean=false +directdownload:boolean=false +checksum
        +deployasis:boolean=false +forcks:boolean=false +requireshvm:boolean=true +tags:set
        +hasannotations:boolean=false""",
    "virtualmachine": f"""id name displayname {OWNER} +userid +username created:date
        +lastupdated:date state haenable:boolean=false groupid group zoneid zonename
        +hostcontrolstate templateid templatename +templatetype +templateformat
        templatedisplaytext passwordenabled:boolean serviceofferingid serviceofferingname
        cpunumber:integer cpuspeed:integer memory:integer guestosid rootdeviceid:long
        rootdevicetype securitygroup:set password nic:set hypervisor +ipaddress +details:map
        +readonlydetails +keypairs +affinitygroup:set +isdynamicallyscalable:boolean=false
        +deleteprotection:boolean +ostypeid +osdisplayname +bootmode +boottype +pooltype
        +receivedbytes:long=0 +sentbytes:long=0 +userdata +userdataid +userdataname +tags:set
        +hasannotations:boolean=false +jobid +jobstatus:integer""",
    "tag": f"key value resourcetype resourceid {OWNER}",
    "sshkeypair": """+id name fingerprint +account +projectid +project +domainid +domain
        +hasannotations:boolean=false""",
    "keypair": "+id name fingerprint privatekey +account +domainid +domain",
    "userdata": f"id name {OWNER} userdata params +hasannotations:boolean=false",
    "asyncjobs": """+accountid +account +domainid +domainpath +userid +cmd jobprocstatus:integer=0
        jobresultcode:integer jobresulttype jobresult:object +jobinstancetype +jobinstanceid
        +managementserverid +managementservername +created:date +completed:date jobid
        jobstatus:integer""",
    "capability": """securitygroupsenabled:boolean +dynamicrolesenabled:boolean=true
        cloudstackversion userpublictemplateenabled:boolean=true supportELB=false
        +projectinviterequired:boolean=false +allowusercreateprojects:boolean=true
        +customdiskofferingminsize:long +customdiskofferingmaxsize:long
        +regionsecondaryenabled:boolean=false +kvmsnapshotenabled:boolean=true
        +apilimitinterval:integer +apilimitmax:integer +allowuserviewdestroyedvm:boolean=false
        +allowuserexpungerecovervm:boolean +allowuserexpungerecovervolume:boolean=true
        +allowuserviewalldomainaccounts:boolean=false +allowuserforcestopvm:boolean=true
        +kubernetesserviceenabled:boolean=false
        +kubernetesclusterexperimentalfeaturesenabled:boolean=false
        +customhypervisordisplayname=Custom +defaultuipagesize:long=20
        +instancesstatsretentiontime:integer=720 +instancesstatsuseronly:boolean=false
        +instancesdisksstatsretentionenabled:boolean=false
        +instancesdisksstatsretentiontime:integer=720 +sharedfsvmmincpucount:integer=2
        +sharedfsvmminramsize:integer=1024 +instanceleaseenabled:boolean=false
        +dynamicscalingenabled:boolean=true +additionalconfigenabled:boolean=false""",
    "api": "name description since isasync:boolean related params:set response:set",
    "apilimit": "accountid account apiIssued:integer apiAllowed:integer expireAfter:long",
    "simulatorcall": "command params:map changed:boolean status:integer",
}
# Resources that this cloud does not have.
EMPTY = """publicipaddress portforwardingrule ipforwardingrule iso vmSnapshot vpc
    snapshotpolicy"""
TABLE |= dict.fromkeys(EMPTY.split(), "id name")


class Field(NamedTuple):
    """A field of an answer; `value` is its constant value, if any."""

    name: str
    type: str
    value: Any


@cache
def fields_of(kind: str, dialect: str) -> tuple[Field, ...]:
    """Return the fields of a kind of object in a dialect."""
    own = DIALECTS[dialect].mark
    words = [w for w in TABLE[kind].split() if w[0] not in "+-" or w[0] == own]
    return tuple(_field(w.lstrip("+-")) for w in words)


def _field(word: str) -> Field:
    head, _, value = word.partition("=")
    name, _, type_ = head.partition(":")
    read = {"boolean": lambda v: v == "true", "integer": int, "long": int}.get(type_, str)
    return Field(name, type_ or "string", read(value) if value else None)


@cache
def constants_of(kind: str, dialect: str) -> dict[str, Any]:
    """Return the fields that are the same in all objects of a kind."""
    return {f.name: f.value for f in fields_of(kind, dialect) if f.value is not None}


@cache
def names_of(kind: str, dialect: str) -> tuple[str, ...]:
    """Return the names of the fields of a kind of object."""
    return tuple(f.name for f in fields_of(kind, dialect))


def chosen(kind: str, dialect: str, view: dict) -> dict:
    """Return the fields of an object in a dialect, without empty ones."""
    view = constants_of(kind, dialect) | view
    return {n: view[n] for n in names_of(kind, dialect) if view.get(n) is not None}
