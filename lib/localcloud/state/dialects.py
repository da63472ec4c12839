"""Dialects: how CloudStack 4.22 and 2.2 differ, in fields, texts and forms.

Only here is a version asked for. What a command or an object has in one dialect only is marked in
its own table (`api.txt`, `fields.txt`), and the resources of a new cloud are those of its seed.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

from .refusals import DIRECT, UNVERIFIED, ApiError, broken, full, invalid

GIB = 2**30
# The quotas of 2.2, and names of quotas on later servers.
COUNTED = {"vm": "virtual machines", "volume": "volumes", "snapshot": "snapshots",
           "template": "templates"}  # fmt: skip
RESOURCE = {"vm": "user_vm", "ip": "public_ip", "primarystorage": "primary_storage",
            "secondarystorage": "secondary_storage"}  # fmt: skip


@dataclass(frozen=True)
class Dialect:
    """The behaviour of CloudStack 4.22, and of another version where it differs."""

    name: str = "4.22"
    version: str = "4.22.0.0"
    mark: str = "+"  # of fields of this dialect only
    # the wire
    numeric_ids: bool = False
    hides_texts: bool = True  # of exceptions, from users
    expires_checked: bool = True
    unlimited_pagesize: bool = True
    time_zone: timezone = UTC
    content_type: str = "{};charset=utf-8"
    sends_date: bool = False
    longest_body: int = 404  # what a form of more than 1 MiB is answered with
    stable_pages: bool = False  # pages of a list sorted by time fit together
    has_logins: bool = True
    has_projects: bool = True
    limits_listed: int | None = None
    # jobs
    custom_job_ids: bool = True
    checks_in_jobs: bool = True  # what async commands refuse, but for async-create ones
    job_details: bool = True  # accountid, cmd, created and so on; and three events a job
    no_instance: str | None = None  # of a job about nothing
    lists_finished_jobs: bool = False
    class_prefix: str = "org.apache.cloudstack.api.command.user.{area}."
    # rules
    names_are_patterns: bool = False
    hypervisor: str = "KVM"
    image_format: str = "QCOW2"
    disk_prefix: str = "vd"
    max_data_disks: int = 32
    one_volume_source: bool = False  # offering or snapshot, not both
    zone_always: bool = False  # createVolume needs the zone with a snapshot, too
    no_zone: str = "Unable to find zone by id null"
    roots_detach: bool = True
    snapshot_state_of_volume: str | None = "Snapshotting"
    snapshot_state_in_job: str | None = "Allocated"  # None: that of the snapshot
    deletable_snapshots: tuple[str, ...] = ("BackedUp", "Allocated", "Error", "CreatedOnPrimary")
    undeletable: str = "Can't delete snapshot {id} due to it is in {state} Status"
    template_name_length: int = 255
    template_names_unique: bool = False
    template_guarded: bool = True  # not deleted while machines use it
    host_names_unique: bool = True
    host_name: str = "VM-{}"  # of a machine without a name of its own
    addresses_first: bool = False  # else a machine whose address is not free stays in Error
    expunges_errors: bool = False  # a machine in Error, as soon as it is destroyed
    starts_running: bool = False  # startVirtualMachine of one that runs succeeds
    all_recover: bool = False
    reboot_refusal: int = 431
    has_firewall: bool = True
    userdata_get: int = 4096  # base64 characters, fewer than that
    userdata_post: int = 1048576
    userdata_decoded: int | None = None
    userdata_too_long: str = "User data is too long for an http {method} request"
    # fields of objects
    snapshot_type: str | None = None  # newer servers tell it in the job's result only
    no_details: dict | None = field(default_factory=dict)
    data_extractable: bool = True
    roots_attached: bool = False  # root volumes tell since when
    nic_type: str | None = None  # None: that of the network
    first_ids: dict[str, int] = field(default_factory=dict)

    def stamp(self, at: float) -> str:
        """Return a moment as the server prints it, in its own time zone."""
        return datetime.fromtimestamp(at, self.time_zone).strftime("%Y-%m-%dT%H:%M:%S%z")

    # The form of answers, from parts that are JSON already.

    def answer(self, key: str, body: str) -> str:
        """Return an answer: a body under its only key."""
        return f'{{"{key}":{body}}}'

    def object(self, kind: str, text: str) -> str:
        """Return the body of an answer of one object."""
        return f'{{"{kind}":{text}}}'

    def listing(self, kind: str, rows: list[str], total: int) -> str:
        """Return the body of a list: rows of a page, the count of all; no array without rows."""
        if not rows:
            return f'{{"count":{total}}}' if total else "{}"
        return f'{{"count":{total},"{kind}":[{",".join(rows)}]}}'

    def success(self, key: str) -> str:
        """Return an answer with `success` only."""
        return self.answer(key, '{"success":true}')

    def error(self, key: str, error: ApiError, escaped: bool) -> str | dict:
        """Return an error, as text or as a value to be written as JSON."""
        fields = {"uuidList": [], "errorcode": error.code, "cserrorcode": error.cause}
        fields["errortext"] = error.text
        return {key: {k: v for k, v in fields.items() if v is not None}}

    def created(self, id: object, job: object) -> dict:
        """Return the body of the answer of an async-create command."""
        return {"id": id, "jobid": job}

    # Refusals.

    def no_command(self) -> ApiError:
        """Return the refusal of a command that does not exist."""
        return ApiError(401, UNVERIFIED, None, key="errorresponse")

    def forbidden(self, command: str, user: object) -> ApiError:
        """Return the refusal of a command that the user's role lacks."""
        text = f"The API [{command}] does not exist or is not available for the account for user id"
        return ApiError(432, f"{text} [{user}].", DIRECT)

    def unknown_job(self, id: object) -> ApiError:
        """Return the refusal of the id of a job that is unknown or forgotten."""
        return ApiError(
            431,
            "Unable to execute API command queryasyncjobresult due to invalid value. Invalid "
            f"parameter jobid value={id} due to incorrect long value format, or entity does not "
            "exist or due to incorrect parameter annotation for the field in api cmd class.",
            DIRECT,
        )

    def bad_host_name(self, command: str, rule: str) -> ApiError:
        """Return the refusal of a host name."""
        text = f"Unable to execute API command {command.lower()} due to invalid value. Invalid "
        return ApiError(431, f"{text}value provided for API arg: name - it can {rule}", DIRECT)

    def no_tagged_host(self, machine: dict) -> ApiError:
        """Return the refusal for want of a host with the offering's tag."""
        return broken("No suitable host found.")

    def no_room(self, machine: dict) -> ApiError:
        """Return the refusal for want of a host with enough capacity."""
        stopped = self.machine_text(machine | {"state": "Stopped"})
        return full(f"No destination found for a deployment for {stopped}")

    def quota(self, account: str, what: str, limit: float, taken: float, more: float) -> ApiError:
        """Return the refusal of an amount beyond a quota; storage in GiB."""
        scale = _bytes if what.endswith("storage") else str
        return ApiError(
            535,
            f"Maximum amount of resources of Type = '{RESOURCE.get(what, what)}', tag = 'null' for "
            f"Account Name = {account} in Domain Id = 2 is exceeded: Account Resource Limit = "
            f"{scale(limit)}, Current Account Resource Amount = {scale(taken)}, Current Account "
            f"Resource Reservation = {scale(0)}, Requested Resource Amount = {scale(more)}.",
            DIRECT,
        )

    def has_quota(self, what: str) -> bool:
        """Return whether there is such a quota."""
        return True

    def default_first(self, networks: list[dict]) -> list[dict]:
        """Return the networks of a deployment, the default one first: here that is their order."""
        return networks

    # Resources as messages name them (the toString of their classes).

    def machine_text(self, machine: dict) -> str:
        """Return a machine in a message (VMInstanceVO)."""
        facts = {"id": machine["n"], "instanceName": f"i-2-{machine['n']}-VM"}
        facts |= {"state": machine["state"], "type": "User", "uuid": machine["id"]}
        return f"VM instance {json.dumps(facts, separators=(',', ':'))}"

    def volume_text(self, volume: dict, machine: dict) -> str:
        """Return a volume of a machine, or of none, in a message (VolumeVO)."""
        facts = {"id": volume["n"], "instanceId": machine.get("n"), "name": volume["name"]}
        facts |= {"uuid": volume["id"], "volumeType": volume["type"]}
        return f"Volume: Volume {json.dumps(facts, separators=(',', ':'))}"

    # The virtual hardware, in which the workstation recognizes its disks.

    def firmware(self, machine: str) -> tuple[str, str]:
        """Return vendor and id of a machine as its firmware shows them: KVM's has the cloud's."""
        return "Apache Software Foundation", machine

    def hardware(self, number: int, volume: str) -> dict:
        """Return the identity of a disk: on KVM a serial from the volume's id."""
        return {"serial": volume.replace("-", "")[:20], "hctl": None, "model": None}


def _bytes(gib: float) -> str:
    return f"({gib:.4f} GB) {round(gib * GIB)}"


@dataclass(frozen=True)
class Old(Dialect):
    """CloudStack 2.2 as IDCF Cloud ran it in 2014: VMware, numbers that went on from that summer.

    Its JSON has blanks around braces, and quotes in error texts are not escaped.
    """

    name: str = "2.2"
    version: str = "2.2.14"
    mark: str = "-"
    numeric_ids: bool = True
    hides_texts: bool = False
    expires_checked: bool = False
    unlimited_pagesize: bool = False
    time_zone: timezone = timezone(timedelta(hours=9))
    content_type: str = "{}; charset=UTF-8"
    sends_date: bool = True
    longest_body: int = 413
    stable_pages: bool = True
    has_logins: bool = False
    has_projects: bool = False
    limits_listed: int | None = 5
    custom_job_ids: bool = False
    checks_in_jobs: bool = False
    job_details: bool = False
    no_instance: str | None = "None"
    lists_finished_jobs: bool = True
    class_prefix: str = "com.cloud.api.commands."
    names_are_patterns: bool = True
    hypervisor: str = "VMware"
    image_format: str = "OVA"
    disk_prefix: str = "sd"
    max_data_disks: int = 6
    one_volume_source: bool = True
    zone_always: bool = True
    no_zone: str = "Missing parameter, zoneid must be specified."
    roots_detach: bool = False
    snapshot_state_of_volume: str | None = None
    snapshot_state_in_job: str | None = None
    deletable_snapshots: tuple[str, ...] = ("BackedUp",)
    undeletable: str = "Can't delete snapshotshot {id} due to it is not in BackedUp Status"
    template_name_length: int = 32
    template_names_unique: bool = True
    template_guarded: bool = False
    host_names_unique: bool = False
    host_name: str = "i-2-{}-VM"
    addresses_first: bool = True
    expunges_errors: bool = True
    starts_running: bool = True
    all_recover: bool = True
    reboot_refusal: int = 530
    has_firewall: bool = False
    userdata_post: int = 4096
    userdata_decoded: int | None = 2048
    userdata_too_long: str = "User data is too long"
    snapshot_type: str | None = "MANUAL"
    no_details: dict | None = None
    data_extractable: bool = False
    roots_attached: bool = True
    nic_type: str | None = "Virtual"
    first_ids: dict[str, int] = field(
        default_factory=lambda: {
            "volume": 80921,
            "virtualmachine": 53554,
            "snapshot": 157309,
            "template": 8599,
            "job": 1131657,
        }
    )

    def answer(self, key: str, body: str) -> str:
        return f'{{ "{key}" : {body} }}'

    def object(self, kind: str, text: str) -> str:
        return f'{{ "{kind}" : {text} }}'

    def listing(self, kind: str, rows: list[str], total: int) -> str:
        if not rows:
            return "{ }"
        return f'{{ "count":{len(rows)} ,"{kind}" : [  {", ".join(rows)} ] }}'

    def success(self, key: str) -> str:
        return f'{{ "{key}" : {{ "success" : "true"}}  }}'

    def error(self, key: str, error: ApiError, escaped: bool) -> str | dict:
        said = json.dumps(error.text, ensure_ascii=False) if escaped else f'"{error.text}"'
        body = f'{{"errorcode" : {error.code}, "errortext" : {said}}}'
        return f'{{ "{key}" : {body}  }}'

    def created(self, id: object, job: object) -> dict:
        return {"jobid": job, "id": id}

    def no_command(self) -> ApiError:
        return ApiError(432, "The given command does not exist", None)

    def forbidden(self, command: str, user: object) -> ApiError:
        return self.no_command()

    def unknown_job(self, id: object) -> ApiError:
        return invalid(f"Unable to find a job by id {id}")

    def bad_host_name(self, command: str, rule: str) -> ApiError:
        return invalid(f"Invalid name. Vm name can {rule}")

    def no_tagged_host(self, machine: dict) -> ApiError:
        return self.no_room(machine)

    def no_room(self, machine: dict) -> ApiError:
        return full(f"Unable to create a deployment for {self.machine_text(machine)}")

    def quota(self, account: str, what: str, limit: float, taken: float, more: float) -> ApiError:
        text = f"Maximum number of {COUNTED[what]} for account: {account} has been exceeded."
        return ApiError(534, text, DIRECT)

    def has_quota(self, what: str) -> bool:
        return what in COUNTED

    def default_first(self, networks: list[dict]) -> list[dict]:
        default = [n for n in networks if n.get("isdefault", True)]
        if not default:
            raise invalid("At least 1 default network has to be specified for the vm")
        if len(default) > 1:
            raise invalid("Only 1 default network per vm is supported")
        return default + [n for n in networks if n not in default]

    def machine_text(self, machine: dict) -> str:
        return f"VM[User|{machine['name']}]"

    def volume_text(self, volume: dict, machine: dict) -> str:
        return f"VolumeId: {volume['id']}"

    def firmware(self, machine: str) -> tuple[str, str]:
        return "VMware, Inc.", "420b6f1e-5d3c-8a47-91e2-c07d54f3b6a8"

    def hardware(self, number: int, volume: str) -> dict:
        # Device 3 is the CD-ROM, which is not on the SCSI bus, so what follows moves up.
        place = number - 1 if number > 3 else number
        return {"serial": None, "hctl": f"2:0:{place}:0", "model": "Virtual disk"}


ALIASES = {"4.20": "4.22"}  # what it was called before it was measured
DIALECTS = {d.name: d for d in (Dialect(), Old())}


def named(name: str) -> str:
    """Return the name of a dialect from its name or an alias."""
    return ALIASES.get(name, name)
