"""Events of jobs and commands, as the account can list them, and the names of commands in them."""

import re
from typing import Any

from .cloud import Cloud, owner_of
from .registry import COMMANDS, Command
from .rows import Row

GERUNDS = {"stop": "stopping"}
# Java packages of the commands whose module has another name.
AREAS = {"machine": "vm", "deployment": "vm", "instance": "vm", "storage": "volume",
         "download": "template", "affinity": "affinitygroup",
         "security": "securitygroup", "securityrule": "securitygroup",
         "publicip": "address"}  # fmt: skip
VERB = re.compile(r"([a-z]+)(\w+)")


def begun(cloud: Cloud, command: Command, job: Row) -> Any:
    """Add the two events of a job's start, and return the id of the first."""
    kind, what = _event(command, job)
    first = "starting Vm" + what[12:] if command.name == "deployVirtualMachine" else what
    about = _resource(job)
    id = cloud.note(kind, first, state="Scheduled", **about)["id"]
    cloud.note(kind, what[0].upper() + what[1:], state="Started", parentid=id, **about)
    return id


def _event(command: Command, job: Row) -> tuple[str, str]:
    """Return the type of a job's events, such as VM.CREATE, and their text."""
    verb, what = VERB.fullmatch(command.name).groups()
    noun = what.replace("VirtualMachine", "Vm")
    doing = GERUNDS.get(verb) or verb.removesuffix("e") + "ing"
    named = f". {noun} Id: {job['instance']}" if job["instance"] is not None else ""
    return f"{noun}.{verb.replace('deploy', 'create')}".upper(), f"{doing} {noun}{named}"


def ended(cloud: Cloud, job: Row, error: str = "") -> None:
    """Add the event of a job's end; newer servers do not say in it why a job failed."""
    command = COMMANDS[job["command"]]
    if not cloud.dialect.job_details:
        note(cloud, command, job["about"], error, job["id"])
        return
    kind, what = _event(command, job)
    text = f"Error while {what}" if error else f"Successfully completed {what}"
    cloud.note(kind, text, "ERROR" if error else "INFO", parentid=job["event"], **_resource(job))


def _resource(job: Row) -> Row:
    """Return the words for a job's resource in an event."""
    own = owner_of(job) | {"resourceid": job["instance"], "resourcetype": job["instancetype"]}
    return own | {"resourcename": job["about"]}


def note(cloud: Cloud, command: Command, about: str, error: str = "", parent: Any = None) -> None:
    """Add the only event of a command without a job, and of any command on 2.2."""
    verb, what = VERB.fullmatch(command.name).groups()
    kind = f"{what.replace('VirtualMachine', 'VM')}.{verb.replace('deploy', 'create')}".upper()
    text = f"Error while running {command.name} {about}: {error}" if error else (
        f"Successfully completed {command.name} {about}"
    )  # fmt: skip
    cloud.note(kind, text.strip(), "ERROR" if error else "INFO", parentid=parent)


def class_name(cloud: Cloud, command: Command) -> str:
    """Return the Java class that stands for a command in lists of jobs."""
    name = command.name.replace("VirtualMachine", "VM")
    area = AREAS.get(command.area, command.area)
    return f"{cloud.dialect.class_prefix.format(area=area)}{name[0].upper()}{name[1:]}Cmd"
