"""Dialects: how CloudStack 4.22 and 2.2 differ, in fields, texts and forms.

Only here is a version asked for. What a command or an object has in one dialect only is marked in
its own table (`api.txt`, `fields.txt`), and the resources of a new cloud are those of its seed.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path

from .refusals import DIRECT, UNVERIFIED, ApiError, broken, full, invalid

GIB = 2**30
# The quotas of 2.2, and names of quotas on later servers.
COUNTED = {"vm": "virtual machines", "volume": "volumes", "snapshot": "snapshots",
           "template": "templates"}  # fmt: skip
RESOURCE = {"vm": "user_vm", "ip": "public_ip", "primarystorage": "primary_storage",
            "secondarystorage": "secondary_storage"}  # fmt: skip


@dataclass(frozen=True)
class Dialect:
    """A version of CloudStack: its column of `dialects.json`, and the forms of 4.22."""

    name: str
    version: str
    mark: str  # of fields of this dialect only
    # the wire
    numeric_ids: bool
    hides_texts: bool  # of exceptions, from users
    expires_checked: bool
    unlimited_pagesize: bool
    hours_ahead: int  # of UTC
    content_type: str
    sends_date: bool
    longest_body: int  # what a form of more than 1 MiB is answered with
    stable_pages: bool  # pages of a list sorted by time fit together
    has_logins: bool
    has_projects: bool
    limits_listed: int | None
    # jobs
    custom_job_ids: bool
    checks_in_jobs: bool  # what async commands refuse, but for async-create ones
    job_details: bool  # accountid, cmd, created and so on; and three events a job
    no_instance: str | None  # of a job about nothing
    lists_finished_jobs: bool
    class_prefix: str
    # rules
    names_are_patterns: bool
    hypervisor: str
    image_format: str
    disk_prefix: str
    max_data_disks: int
    one_volume_source: bool  # offering or snapshot, not both
    zone_always: bool  # createVolume needs the zone with a snapshot, too
    no_zone: str
    roots_detach: bool
    snapshot_state_of_volume: str | None
    snapshot_state_in_job: str | None  # None: that of the snapshot
    deletable_snapshots: list[str]
    undeletable: str
    template_name_length: int
    template_names_unique: bool
    template_guarded: bool  # not deleted while machines use it
    host_names_unique: bool
    host_name: str  # of a machine without a name of its own
    addresses_first: bool  # else a machine whose address is not free stays in Error
    expunges_errors: bool  # a machine in Error, as soon as it is destroyed
    starts_running: bool  # startVirtualMachine of one that runs succeeds
    all_recover: bool
    reboot_refusal: int
    has_firewall: bool
    userdata_get: int  # base64 characters, fewer than that
    userdata_post: int
    userdata_decoded: int | None
    userdata_too_long: str
    # fields of objects
    snapshot_type: str | None  # newer servers tell it in the job's result only
    no_details: dict | None
    data_extractable: bool
    roots_attached: bool  # root volumes tell since when
    nic_type: str | None  # None: that of the network
    first_ids: dict[str, int]

    @cached_property
    def time_zone(self) -> timezone:
        """Return the time zone of the server."""
        return timezone(timedelta(hours=self.hours_ahead))

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


class Old(Dialect):
    """CloudStack 2.2 as IDCF Cloud ran it in 2014: VMware, numbers that went on from that summer.

    Its JSON has blanks around braces, and quotes in error texts are not escaped.
    """

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
        quoted = json.dumps(error.text, ensure_ascii=False) if escaped else f'"{error.text}"'
        body = f'{{"errorcode" : {error.code}, "errortext" : {quoted}}}'
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
TABLE = json.loads(Path(__file__).with_name("dialects.json").read_text("utf-8"))
NEW, OLD = ({name: values[n] for name, values in TABLE.items()} for n in (0, 1))
DIALECTS = {d.name: d for d in (Dialect(**NEW), Old(**OLD))}


def named(name: str) -> str:
    """Return the name of a dialect from its name or an alias."""
    return ALIASES.get(name, name)
