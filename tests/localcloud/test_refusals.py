"""What commands refuse, at once or as a job, with code and text.

A line of the table: the dialects, whether the call is `refused` or its job `fails`, the command and
its parameters, and after the bar the code and a pattern of the text. `$x` is the id of what `World`
has under that name.
"""

import base64
import shlex
from fnmatch import fnmatchcase

import pytest

from lib.localcloud.wire.server import Server

from .conftest import Api

KEY = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAABwCqqqqqqqs= me@here"
OTHER = "00000000-0000-4000-8000-000000000000"

TABLE = """
both refused createVolume name=x zoneid=$zone diskofferingid=$custom | 431 This disk offering requires a custom size specified
both refused createVolume name=x zoneid=$zone diskofferingid=$custom size=0 | 431 Disk size must be larger than 0
both refused createVolume name=x zoneid=$zone diskofferingid=$custom size=2000 | 431 Volume size: 2000 GB is out of allowed range. Min: 1. Max: 1024
both refused createVolume name=x zoneid=$zone diskofferingid=$small size=9 | 431 This disk offering does not allow custom size
both refused createVolume name=x zoneid=$zone | 431 At least one of disk Offering ID or snapshot ID must be passed whilst creating volume
4.22 refused createVolume name=x diskofferingid=$small | 431 Unable to find zone by id null
2.2 refused createVolume name=x diskofferingid=$small | 431 Missing parameter, zoneid must be specified.
2.2 refused createVolume name=x zoneid=$zone diskofferingid=$small snapshotid=$snap | 431 Either disk Offering ID or snapshot ID must be passed, not both
2.2 refused createVolume zoneid=$zone | 431 Unable to execute API command createvolume due to missing parameter name
4.22 refused createVolume name=x snapshotid=$snap size=1 | 431 Invalid size for volume creation: 1GB, snapshot size is: 2GB
4.22 refused createVolume name=x snapshotid=$snap virtualmachineid=$gone | 431 Please specify a VM that is either running or stopped.
4.22 refused createVolume name=x size=big | 431 * due to invalid value big for parameter size
4.22 fails attachVolume id=$vol virtualmachineid=$station deviceid=3 | 530 deviceId should be 0,1,2,4-33
4.22 fails attachVolume id=$vol virtualmachineid=$station deviceid=99 | 530 deviceId should be 0,1,2,4-33
4.22 fails attachVolume id=$vol virtualmachineid=$station deviceid=1 | 530 deviceId 1 is used by vm $station
both fails attachVolume id=$att virtualmachineid=$station | 431 Please specify a volume that is not attached to any VM.
both fails detachVolume id=$det | 431 The specified volume is not attached to a VM.
4.22 fails detachVolume id=$att deviceid=2 virtualmachineid=$station | 431 Please provide either a volume id, or a tuple(device id, instance id)
both fails detachVolume id=$root | 431 Please specify a data volume, or a root volume of a stopped VM.
both refused deleteVolume id=$att | 431 Please specify a volume that is not attached to any VM.
both refused deleteVolume | 431 Unable to execute API command deletevolume due to missing parameter id
4.22 refused deleteVolume id= | 431 * due to invalid value. Invalid value provided for API arg: id
4.22 refused deleteVolume id=nonsense | 431 * due to invalid value. Invalid parameter id value=nonsense due to *
4.22 fails destroyVolume id=$att | 431 Please specify a volume that is not attached to any VM.
4.22 refused recoverVolume id=$det | 431 Please specify a volume in Destroy state: $det.
4.22 fails resizeVolume id=$det size=1 | 432 Going from existing size of 2147483648 to size of 1073741824 would shrink *
4.22 fails resizeVolume id=$det size=1025 | 432 Requested size out of range
4.22 fails resizeVolume id=$det | 432 The new disk offering requires that a size be specified.
4.22 fails resizeVolume id=$det diskofferingid=$small size=9 | 432 You cannot pass in a custom disk size to a non-custom disk offering.
4.22 fails resizeVolume id=$fixed size=9 | 432 To change a volume's size without providing a new disk offering*
4.22 refused createSnapshot volumeid=$vol | 431 Volume: Volume {"id":*,"instanceId":null,"name":"vol","uuid":"$vol","volumeType":"DATADISK"} is not in Ready state but Allocated. Cannot take snapshot.
2.2 refused createSnapshot volumeid=$vol | 431 VolumeId: $vol is not in Ready state but Allocated. Cannot take snapshot.
2.2 refused createTemplate name=tpl displaytext=x ostypeid=$os snapshotid=$snap | 431 Failed to create private template tpl, a template with that name already exists.
2.2 refused createTemplate name=123456789012345678901234567890123 displaytext=x ostypeid=$os snapshotid=$snap | 431 Template name cannot be longer than 32 characters
2.2 refused createTemplate name=x ostypeid=$os snapshotid=$snap | 431 * due to missing parameter displaytext
both refused createTemplate name=x displaytext=x ostypeid=$os | 431 Unable to find snapshot by id=null
both refused createTemplate name=x displaytext=x ostypeid=$os snapshotid=$snap volumeid=$det | 431 * please specify only one of volume ID (*
4.22 refused createTemplate name=x ostypeid=$os volumeid=$att | 530 Internal error executing command, please contact your system administrator
2.2 refused createTemplate name=x displaytext=x ostypeid=$os volumeid=$att | 530 Unable to create private template for volume: att; volume is attached to a non-stopped VM*
4.22 refused listTemplates templatefilter=all | 431 Filter all can be specified by admin only
both refused listTemplates | 431 * due to missing parameter templatefilter
4.22 fails deleteTemplate id=$tpl | 431 Unable to delete template: Template {"format":"QCOW2",*"state":"Running","type":"User"*
both refused updateTemplate id=$stock name=mine | 531 Acct runbook does not have permission to operate with resource $stock
both refused deployVirtualMachine | 431 Unable to execute API command deployvirtualmachine due to missing parameter *
4.22 refused deployVirtualMachine $machine templateid= name=new | 530 Internal error executing command, please contact your system administrator
4.22 refused deployVirtualMachine $machine name=NODE | 431 The vm with hostName NODE already exists in the network domain: cs2local.internal; network=default-guest
4.22 refused deployVirtualMachine $machine name=1st | 431 * due to invalid value. Invalid value provided for API arg: name - it can contain ASCII letters *
4.22 refused deployVirtualMachine $machine name=-x | 431 *Invalid value provided for API arg: name*
4.22 refused deployVirtualMachine $machine name=x- | 431 *Invalid value provided for API arg: name*
4.22 refused deployVirtualMachine $machine name=a_b | 431 *Invalid value provided for API arg: name*
4.22 refused deployVirtualMachine $machine name=x234567890123456789012345678901234567890123456789012345678901234 | 431 *Invalid value provided for API arg: name*
4.22 refused deployVirtualMachine $machine name=new ipaddress=999.1.1.1 | 431 Invalid specified IPv4 address 999.1.1.1
4.22 refused deployVirtualMachine $machine name=new keypair=nosuch | 431 *
both refused deployVirtualMachine $machine name=new userdata='not base64!' | 431 User data is not base64 encoded.
4.22 refused deployVirtualMachine $machine name=new userdata=éAAA | 431 User data is not base64 encoded.
4.22 refused deployVirtualMachine $machine name=new userdata=$long | 431 User data has exceeded configurable max length : 32768
2.2 refused deployVirtualMachine $machine name=new userdata=$longer | 431 User data is too long
4.22 refused deployVirtualMachine $machine name=new userdata=eA== userdataid=$ud | 431 Both userdata and userdata ID inputs are not allowed, please provide only one
4.22 refused deployVirtualMachine $big name=new | 431 Need to specify custom parameter values cpu, cpu speed and memory when using custom offering
4.22 refused deployVirtualMachine $big name=new details[0].cpuNumber=0 details[0].cpuSpeed=1000 details[0].memory=2048 | 431 Invalid cpu cores value, specify a value between 1*
4.22 refused deployVirtualMachine $big name=new details[0].cpuNumber=2 details[0].cpuSpeed=1000 details[0].memory=16 | 431 Invalid memory value, specify a value between 32 and *
4.22 fails rebootVirtualMachine id=$halt | 431 The VM $halt (halt) is not running, unable to reboot it
2.2 fails rebootVirtualMachine id=$halt | 530 The VM $halt (halt) is not running, unable to reboot it
4.22 fails startVirtualMachine id=$node | 431 The virtual machine $node (node) is already running
4.22 fails destroyVirtualMachine id=$halt | 431 Instance [[]id = $halt, name = halt] has delete protection enabled and cannot be deleted.
4.22 fails destroyVirtualMachine id=$node expunge=true | 530 Account does not have permission for expunging.
4.22 fails expungeVirtualMachine id=$gone | 530 Parameter expunge can be passed by Admin only
4.22 refused recoverVirtualMachine id=$gone | 531 Recovering a vm can only be done by an Admin. * allow.user.expunge.recover.vm key is set.
2.2 refused recoverVirtualMachine id=$node | 431 Vm with id $node is not in the right state
both refused changeServiceForVirtualMachine id=$node serviceofferingid=$medium | 431 Unable to upgrade virtual machine *; make sure the virtual machine is stopped
both refused changeServiceForVirtualMachine id=$halt serviceofferingid=$little | 431 Not upgrading vm * since it already has the requested service offering (Small Instance)
4.22 fails scaleVirtualMachine id=$halt serviceofferingid=$little | 431 Not upgrading vm VM instance {"id":* since it already has the requested service offering *
4.22 fails scaleVirtualMachine id=$node serviceofferingid=$medium | 530 Unable to scale * as it is not configured to be dynamically scalable
4.22 fails resetSSHKeyForVirtualMachine id=$node keypair=mine | 431 * should be stopped to do SSH Key reset
4.22 fails resetSSHKeyForVirtualMachine id=$halt | 431 'keypair' or 'keypairs' must be specified
4.22 fails resetSSHKeyForVirtualMachine id=$halt keypair=no | 431 Not all specified keypairs exist
both refused getVMPassword id=$node | 431 No password for VM with id '$node' found.*
4.22 refused resetUserDataForVirtualMachine id=$node userdata=eA== | 432 The API [[]resetUserDataForVirtualMachine] does not exist or is not available for the account for user id *
4.22 refused registerUserData name=cfg userdata=eQ== | 431 A userdata with name cfg already exists for this account.
4.22 refused registerUserData name=new userdata=eA== | 431 Userdata cfg with same content already exists for this account.
4.22 refused deleteUserData id=$ud | 530 Internal error executing command, please contact your system administrator
both refused createSSHKeyPair name=mine | 431 A key pair with name 'mine' already exists.
both refused registerSSHKeyPair name=x publickey='ssh-rsa junk' | 431 Public key is invalid
both refused registerSSHKeyPair name=x publickey=$key | 431 A key pair with name 'x' already exists for this public key.
4.22 fails createTags resourceids=$vol,$att resourcetype=Volume tags[0].key=new tags[0].value=1 tags[1].key=k tags[1].value=2 | 530 tag k already on Volume with id $att
4.22 fails createTags resourceids=$vol resourcetype=Volume tags[0].key=k tags[0].value= | 530 Command failed due to Internal Server Error
4.22 fails createTags resourceids=$vol resourcetype=Disk tags[0].key=k tags[0].value=v | 431 Invalid resource type Disk
4.22 fails deleteTags resourceids=$vol resourcetype=Volume tags[0].key=k | 530 Failed to delete tags
4.22 refused createTags resourceids=$vol resourcetype=Volume tags[a].key=k | 430 Unable to decode parameter tags[[]a].key; *
2.2 refused createTags resourceids=1 resourcetype=Volume | 432 The given command does not exist
4.22 refused listVolumes page=1 | 431 "pagesize" parameter is required when "page" is specified
4.22 refused listVolumes pagesize=5 | 431 "page" parameter is required when "pagesize" is specified
both refused listVolumes page=1 pagesize=501 | 431 Page size can't exceed max allowed page size value: 500
4.22 refused listVolumes page=1 pagesize=-1 | 431 Can't specify page parameter when pagesize is -1 (Unlimited)
4.22 refused listVolumes name='a\tb' | 431 *illegal ASCII non-printable characters for parameter name
both refused listVolumes account=stranger | 431 Unable to find account stranger in domain *
4.22 refused listVolumes projectid=$other | 431 * Invalid parameter projectid value=$other due to *
4.22 refused listApis name=noSuch | 530 Api Discovery plugin was unable to find an api by that name or process any apis
4.22 refused getApiLimit | 432 This api is only available when api.throttling.enabled = true.
4.22 refused listCapacity | 432 The API [[]listCapacity] does not exist or is not available *
4.22 refused queryAsyncJobResult jobid=$other | 431 * Invalid parameter jobid value=$other due to *
both refused queryAsyncJobResult jobid=123 | 431 Unable to find a job by id 123
"""  # noqa: E501


class World:
    """A cloud of a dialect with something in each state; `ids` by name."""

    def __init__(self, api: Api):
        self.api = api
        api("registerSSHKeyPair", name="mine", publickey=KEY)
        ids = {"zone": api.zone(), "station": api.workstation(), "other": OTHER, "key": KEY}
        for name, offering in (("custom", "Custom Disk"), ("small", "Small")):
            ids[name] = api.id_of("listDiskOfferings", offering)
        for name, offering in (("little", "Small Instance"), ("medium", "Medium Instance")):
            ids[name] = api.id_of("listServiceOfferings", offering)
        ids["os"] = api.id_of("listOsTypes", "Other Linux (64-bit)", by="description")
        ids["stock"] = api.id_of("listTemplates", "Debian 12", templatefilter="featured")
        ids["root"] = api("listVolumes", type="ROOT")["volume"][0]["id"]
        ids |= {"long": _base64(30000), "longer": _base64(2049)}
        ids["vol"] = api.volume("vol")["id"]
        ids["fixed"] = api.done("createVolume", name="fixed", zoneid=ids["zone"],
                                diskofferingid=ids["small"])["id"]  # fmt: skip
        ids["att"], ids["det"] = api.attached("att")["id"], api.attached("det", 2)["id"]
        api.done("detachVolume", id=ids["det"])
        ids["snap"] = api.done("createSnapshot", volumeid=ids["det"])["id"]
        given = {"name": "tpl", "displaytext": "tpl", "ostypeid": ids["os"]}
        ids["tpl"] = api.done("createTemplate", **given, snapshotid=ids["snap"])["id"]
        more = {"templateid": ids["tpl"]}
        if api.facts["dialect"] == "4.22":
            made = api("registerUserData", name="cfg", userdata="eA==")["userdata"]["id"]
            ids["ud"] = more["userdataid"] = made
            tags = {"tags[0].key": "k", "tags[0].value": "v"}
            api.done("createTags", resourceids=ids["att"], resourcetype="Volume", **tags)
        ids["node"] = api.machine("node", **more)["id"]
        for name in ("halt", "gone"):
            ids[name] = api.machine(name)["id"]
        api.done("stopVirtualMachine", id=ids["halt"])
        api.done("destroyVirtualMachine", id=ids["gone"])
        if api.facts["dialect"] == "4.22":
            api("updateVirtualMachine", id=ids["halt"], deleteprotection="true")
        self.ids = ids

    def read(self, text: str) -> str:
        """Return a text with ids in place of names."""
        for name in sorted(self.ids, key=len, reverse=True):
            text = text.replace(f"${name}", str(self.ids[name]))
        return text

    def params(self, words: list[str]) -> dict[str, str]:
        """Return the parameters of a line; `$machine` are those of a deployment."""
        found: dict[str, str] = {}
        sizes = {"$machine": "Small Instance", "$big": "Custom Instance"}
        for word in words:
            if word in sizes:
                found |= {k: str(v) for k, v in self.api.machine_params(sizes[word]).items()}
            else:
                name, _, value = word.partition("=")
                found[name] = self.read(value).replace("\\t", "\t")
        return {k: v for k, v in found.items() if (k, v) != ("templateid", "")}


def _base64(length: int) -> str:
    return base64.b64encode(b"x" * length).decode()


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """A world for each dialect."""
    found = {}
    for dialect in ("4.22", "2.2"):
        folder = tmp_path_factory.mktemp("cloud")
        server = Server(folder, dialect=dialect, time_scale=0, custom_offering=1).start()
        found[dialect] = World(Api(server))
    yield found
    for world in found.values():
        world.api.server.stop()


def cases():
    for line in TABLE.strip().splitlines():
        call, _, answer = line.partition(" | ")
        who, how, command, *words = shlex.split(call)
        for dialect in ("4.22", "2.2") if who == "both" else (who,):
            yield pytest.param(dialect, how, command, words, answer, id=f"{dialect} {call[:90]}")


@pytest.mark.parametrize(("dialect", "how", "command", "words", "answer"), list(cases()))
def test_it_is_refused_in_the_servers_words(worlds, dialect, how, command, words, answer):
    world = worlds[dialect]
    # The dialect of 2.2 refuses at once what later ones refuse in the job.
    send = world.api.failed if how == "fails" else world.api.refused
    code, text = send(command, **world.params(words))
    wanted, _, pattern = answer.partition(" ")
    assert code == int(wanted) and fnmatchcase(text, world.read(pattern)), (code, text)
