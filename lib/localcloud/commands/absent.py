"""Lists that are always empty here, of resources that this cloud does not have."""

from ..state.cloud import Cloud, Listing
from ..state.registry import command

# The command with its dialect, the key of its rows, what it lists, and its filters.
EMPTY = """
listPublicIpAddresses | publicipaddress | public addresses
    id uuid the address
    ipaddress string the address itself
    zoneid uuid its zone
    associatednetworkid uuid (4.22) the network it is for
    networkid uuid (4.22) the network it comes from
    vpcid uuid (4.22) its VPC
    allocatedonly boolean addresses in use only
    forvirtualnetwork boolean addresses for networks of accounts
    forloadbalancing boolean addresses of load balancers
    issourcenat boolean (4.22) addresses that networks go out by
    isstaticnat boolean (4.22) addresses that stand for one machine
    state string (4.22) their state
    tags map (4.22) tags it must carry, one of them at least
listPortForwardingRules | portforwardingrule | port forwarding rules
    id uuid the rule
    ipaddressid uuid its public address
    networkid uuid (4.22) its network
    tags map (4.22) tags it must carry, one of them at least
listIpForwardingRules | ipforwardingrule | forwarding rules of whole addresses
    id uuid the rule
    ipaddressid uuid its public address
    virtualmachineid uuid the machine
listIsos | iso | ISO images
    id uuid the image
    name string its name
    isofilter string featured, self, selfexecutable, sharedexecutable, executable, community
    zoneid uuid its zone
    hypervisor string the hypervisor
    bootable boolean images that a machine can boot from
    ispublic boolean images for everyone
    isready boolean images that are ready
    showremoved boolean (4.22) removed ones too
    showunique boolean@4.13.2 (4.22) each image once, not once a zone
    showicon boolean (4.22) answer with icons too
    arch string (4.22) the kind of processor
    tags map (4.22) tags it must carry, one of them at least
listVMSnapshot@4.2.0(4.22) | vmSnapshot | snapshots of whole machines
    vmsnapshotid uuid the snapshot
    vmsnapshotids uuids@4.9 several snapshots
    virtualmachineid uuid the machine
    name string its name
    state string its state
    tags map tags it must carry, one of them at least
listVPCs(4.22) | vpc | virtual private clouds
    id uuid the VPC
    name string its name
    displaytext string its text
    zoneid uuid its zone
    cidr string its addresses
    vpcofferingid uuid its offering
    supportedservices strings services it must have
    state string its state
    restartrequired boolean those that must be restarted
    showicon boolean answer with icons too
    tags map tags it must carry, one of them at least
listSnapshotPolicies(4.22) | snapshotpolicy | schedules of snapshots
    id uuid the schedule
    volumeid uuid the volume
"""


def _register(head: str, filters: list[str]) -> None:
    name, kind, what = head.split(" | ")
    block = f"{name} list {kind}\n Lists {what}; there are none here.\n" + "\n".join(filters)

    @command(block)
    def none(cloud: Cloud, **_: object) -> Listing:
        return Listing(kind, [])


def _register_all() -> None:
    head, filters = "", []
    for line in [*EMPTY.strip().splitlines(), ""]:
        if line.startswith(" "):
            filters.append(line.strip())
            continue
        if head:
            _register(head, filters)
        head, filters = line, []


_register_all()
