"""Fields: what an answer holds of each kind of object, per dialect, and what is the same in all.

A word is a field: `[+|-]name[:type][=value]`. `+` marks one that only 4.20 has, `-` one that only
2.2 has; without a type it is a string; with a value it has that one in every object.
"""

from functools import cache
from typing import Any, NamedTuple

OWNER = "account domainid domain +domainpath"

TABLE = {
    "": "success:boolean displaytext",
    "zone": """id name description displaytext networktype=Advanced
        securitygroupsenabled:boolean=false allocationstate=Enabled zonetoken
        dhcpprovider=VirtualRouter +localstorageenabled:boolean=false +type=Core""",
    "diskoffering": """id name displaytext disksize:long created:date iscustomized:boolean
        +storagetype=shared +provisioningtype=thin +displayoffering:boolean=true +state=Active""",
    "serviceoffering": """id name displaytext cpunumber:integer cpuspeed:integer=2000
        memory:integer created:date storagetype=shared offerha:boolean=false
        limitcpuuse:boolean=false hosttags issystem:boolean=false defaultuse:boolean=false
        +iscustomized:boolean=false +isvolatile:boolean=false +provisioningtype=thin
        +state=Active""",
    "ostype": "id oscategoryid description +oscategoryname +name +isuserdefined:boolean=false",
    "network": f"""id name displaytext traffictype=Guest gateway netmask=255.255.255.0
        -startip -endip +cidr zoneid +zonename networkofferingid
        networkofferingname=DefaultIsolatedNetworkOfferingWithSourceNatService
        issystem:boolean=false -isshared:boolean=false isdefault:boolean=true state=Implemented
        related type=Isolated +acltype=Account networkdomain=cs2local.internal
        +canusefordeploy:boolean=true {OWNER} +tags:set""",
    "hypervisor": "name",
    "resourcelimit": f"{OWNER} resourcetype +resourcetypename max:long",
    "account": """id name accounttype:integer=0 state=enabled domainid domain
        vmlimit vmtotal:long vmavailable volumelimit volumetotal:long volumeavailable
        snapshotlimit snapshottotal:long snapshotavailable
        templatelimit templatetotal:long templateavailable vmrunning:integer vmstopped:integer""",
    "event": """id username type level description account domainid domain created:date
        state=Completed parentid""",
    "volume": f"""id name zoneid zonename type deviceid:long virtualmachineid vmname vmdisplayname
        vmstate size:long created:date state {OWNER} storagetype=shared diskofferingid
        diskofferingname diskofferingdisplaytext serviceofferingid serviceofferingname
        serviceofferingdisplaytext snapshotid attached:date destroyed:boolean=false
        isextractable:boolean=false -hypervisor -storage=none +templateid +templatename
        +provisioningtype=thin +tags:set""",
    "snapshot": f"""id name {OWNER} snapshottype intervaltype=MANUAL volumeid volumename
        volumetype +volumestate created:date state +zoneid +zonename +physicalsize:long
        +virtualsize:long +locationtype +datastoretype +datastorestate
        +revertable:boolean=false +tags:set""",
    "template": f"""id name displaytext ispublic:boolean created:date isready:boolean
        passwordenabled:boolean format bootable:boolean=true isfeatured:boolean
        crossZones:boolean=false ostypeid ostypename {OWNER} zoneid zonename status size:long
        templatetype=USER hypervisor isextractable:boolean=false +physicalsize:long
        +sshkeyenabled:boolean=false +requireshvm:boolean=true details:map +tags:set""",
    "virtualmachine": f"""id name displayname {OWNER} +userid +username created:date state
        haenable:boolean=false groupid group zoneid zonename templateid templatename
        templatedisplaytext passwordenabled:boolean serviceofferingid serviceofferingname
        cpunumber:integer cpuspeed:integer=2000 memory:integer guestosid rootdeviceid:long=0
        rootdevicetype=ROOT securitygroup:set password nic:set hypervisor +details:map +ostypeid
        +osdisplayname +keypairs +affinitygroup:set +userdata +userdataid
        +deleteprotection:boolean +isdynamicallyscalable:boolean=false +tags:set""",
    "tag": f"key value resourcetype resourceid {OWNER}",
    "sshkeypair": "+id name fingerprint +account +domainid +domain",
    "keypair": "+id name fingerprint privatekey +account +domainid +domain",
    "userdata": "id name accountid account domainid domain userdata params",
    "asyncjobs": """jobid +accountid +account +domainid +domainpath +userid +cmd jobstatus:integer
        jobprocstatus:integer=0 jobresultcode:integer jobresulttype jobresult:object
        +jobinstancetype +jobinstanceid +created:date +completed:date""",
    "capability": """securitygroupsenabled:boolean=false cloudstackversion
        userpublictemplateenabled:boolean=true supportELB=false +customdiskofferingminsize:long=1
        +customdiskofferingmaxsize:long=1024 +kvmsnapshotenabled:boolean=true
        +apilimitinterval:integer +apilimitmax:integer +allowuserviewdestroyedvm:boolean=false
        +allowuserexpungerecovervm:boolean +allowuserexpungerecovervolume:boolean=true
        +dynamicrolesenabled:boolean=true""",
    "api": "name description isasync:boolean related params:set response:set",
    "apilimit": "accountid account apiIssued:integer apiAllowed:integer expireAfter:long",
    "simulatorcall": "command params:map changed:boolean status:integer",
}


class Field(NamedTuple):
    """One field of an answer; `value` is what it always is, if it is."""

    name: str
    type: str
    value: Any


@cache
def fields_of(kind: str, dialect: str) -> tuple[Field, ...]:
    """Return the fields of a kind of object in a dialect."""
    other = {"4.20": "-", "2.2": "+"}[dialect]
    return tuple(_field(w.lstrip("+-")) for w in TABLE[kind].split() if not w.startswith(other))


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
    """Return what a dialect shows of an object; empty fields are left out."""
    view = constants_of(kind, dialect) | view
    return {n: view[n] for n in names_of(kind, dialect) if view.get(n) is not None}
