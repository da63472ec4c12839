"""Jobs take time, and their effects happen at their end.

Nothing runs in the background: each request calls `advance`, which does all due work in order.
Durations are those of a real cloud, in seconds, times the configured scale.
"""

import heapq
import itertools
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from . import events
from .cloud import Cloud, owner_of
from .faults import Fault
from .refusals import ApiError, broken, invalid
from .registry import COMMANDS, Command
from .rows import Row
from .views import show

PENDING, SUCCEEDED, FAILED = 0, 1, 2
KEPT = 24 * 3600  # seconds that a finished job can be asked for

FIRST_START = 45  # of a machine: its root disk is copied from the template
ALLOCATED = 2  # a deployment with `startvm=false`, which only writes rows
SECONDS = {
    "createVolume": 2,
    "attachVolume": 10,
    "detachVolume": 8,
    "deployVirtualMachine": FIRST_START,
    "destroyVirtualMachine": 12,
    "startVirtualMachine": 15,
    "stopVirtualMachine": 15,
    "rebootVirtualMachine": 15,
    "createTags": 1,
    "deleteTags": 1,
}
OTHERS = 5
SECONDS_PER_GIB = {"createSnapshot": 14.25, "createTemplate": 3, "copyTemplate": 3}
AFTER = 0.05  # of its duration, until the work after a job is done
INSTANCES = {"volume": "Volume", "snapshot": "Snapshot", "template": "Template",
             "virtualmachine": "VirtualMachine", "affinitygroup": "AffinityGroup",
             "securitygroup": "SecurityGroup", "securitygrouprule": "SecurityGroup",
             "publicipaddress": "IpAddress", "portforwardingrule": "FirewallRule",
             "firewallrule": "FirewallRule"}  # fmt: skip
# Work that no job does, and the command with its phase.
WITHOUT_JOB = {"expunge": "expungeVirtualMachine", "download": "registerTemplate"}
UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
INTERNAL = "Internal error executing command, please contact your system administrator"

_order = itertools.count()


class Work(NamedTuple):
    """The work of a job: its row, the machine whose jobs it waits for, its data in GiB.

    It takes `seconds` where that is not what its command takes. A job with an `error` fails.
    """

    row: Row | None = None
    machine: Row | None = None
    gib: float = 0
    error: ApiError | None = None
    seconds: float | None = None


def queued(cloud: Cloud, command: Command, id: Any = None, **_: Any) -> Work:
    """Return the work of a job for the row that `id` names, after the jobs of its machine."""
    if "id" not in command.params:
        return Work()
    if id is None:
        raise invalid(f"Invalid {command.subject} id was provided")
    row = cloud.find(command.subject, id)
    at = {"virtualmachine": row["id"], "volume": row.get("virtualmachineid")}
    return Work(row, cloud.state.get("virtualmachine", at.get(command.subject)))


def submit(
    cloud: Cloud,
    command: Command,
    params: dict,
    work: Work,
    custom: str | None,
    fault: Fault | None,
) -> Row:
    """Queue a job and return its row; jobs on one machine wait for each other."""
    now = cloud.clock()
    starts = max(now, work.machine.get("busy_until", now)) if work.machine else now
    starts = max(starts, _room(cloud))
    ends = starts + duration(cloud, command.name, work)
    heapq.heappush(cloud.at_work, ends)
    job = cloud.state.add(
        "job",
        **({"id": custom, "n": 0} if custom else {}),
        **_described(cloud, command, params, work),
        **_fate(fault, work.error),
        params=params,
        at=now,
        starts=starts,
        ends=ends,
        status=PENDING,
        code=0,
    )
    if job["instance"] is not None:
        cloud.pending[job["instance"]] = job["id"]
    if not fault or fault.kind != "hang-job":
        _set_timers(cloud, command, job, work)
    if cloud.dialect.job_details:
        job["event"] = events.begun(cloud, command, job)
    return job


def _room(cloud: Cloud) -> float:
    """Return from when on one more job is worked on; until then the others leave no thread.

    A server has so many threads for the jobs of its API (`AsyncJobManagerImpl.configure`: half of
    db.cloud.maxActive, which is 250).
    """
    while cloud.at_work and cloud.at_work[0] <= cloud.clock():
        heapq.heappop(cloud.at_work)
    full = len(cloud.at_work) >= cloud.setting("capacity").get("jobs", 125)
    return heapq.heappop(cloud.at_work) if full else 0


def _set_timers(cloud: Cloud, command: Command, job: Row, work: Work) -> None:
    if work.machine:
        cloud.state.change("virtualmachine", work.machine, busy_until=job["ends"])
    for moment, at in (("begin", job["starts"]), ("finish", job["ends"])):
        if moment == "finish" or moment in command.phases:
            schedule(cloud, at, moment, job["id"])


def _described(cloud: Cloud, command: Command, params: dict, work: Work) -> Row:
    subject = INSTANCES.get(command.subject)
    about = work.row or (cloud.state.get(command.subject, params.get("id")) if subject else None)
    id = about["id"] if about else params.get("id")
    nothing = cloud.dialect.no_instance
    return owner_of(about or {}) | {
        "command": command.name,
        "instance": id,
        "instancetype": nothing if id is None else subject or nothing,
        "about": (about or {}).get("name", ""),
    }


def _fate(fault: Fault | None, error: ApiError | None) -> Row:
    """Return how a job is planned to end: as a fault says, or with the refusal of its call."""
    failure = _failure(error) if error else None
    if fault and fault.kind == "fail-job":
        failure = {"code": fault.code or 530, "text": fault.text or INTERNAL}
        failure["result"] = fault.result
    return {"lost": bool(fault and fault.kind == "lose-job"), "fault": failure}


def _failure(error: ApiError) -> Row:
    return {"code": error.code, "text": error.text, "result": ""}


def check_custom_id(cloud: Cloud, command: str, custom: str | None) -> None:
    """Refuse a client's job id that is malformed or in use."""
    if custom and not UUID.fullmatch(custom):
        raise invalid(f"UUID: {custom} doesn't follow the UUID format")
    if custom and cloud.state.get("job", custom):
        raise broken(f"UUID: {custom} already exists so can't create/update with custom id")


def duration(cloud: Cloud, command: str, work: Work) -> float:
    """Return how long a job of this command takes here, in seconds."""
    per_gib = SECONDS_PER_GIB.get(command)
    seconds = SECONDS.get(command, OTHERS) if per_gib is None else per_gib * work.gib
    seconds = seconds if work.seconds is None else work.seconds
    return seconds * cloud.setting("time")["scale"]


def schedule(cloud: Cloud, at: float, moment: str, target: Any) -> None:
    """Schedule work: a phase of a job, or what is done without one."""
    id = f"{target}/{moment}"
    cloud.state.add("timer", id=id, n=0, at=at, moment=moment, target=target)
    heapq.heappush(cloud.timers, (at, next(_order), id))


def resume(cloud: Cloud) -> None:
    """Restore the timers of an earlier run, and forget old jobs."""
    cloud.timers = [(t["at"], next(_order), t["id"]) for t in cloud.rows("timer")]
    heapq.heapify(cloud.timers)
    for job in cloud.rows("job"):
        if job["status"] == PENDING:
            cloud.pending[job["instance"]] = job["id"]
            heapq.heappush(cloud.at_work, job["ends"])
        if job.get("completed", cloud.clock()) < cloud.clock() - KEPT:
            cloud.state.remove("job", job, trace=False)


def advance(cloud: Cloud) -> None:
    """Do all that has fallen due."""
    while cloud.timers and cloud.timers[0][0] <= cloud.clock():
        at, _, id = heapq.heappop(cloud.timers)
        timer = cloud.state.get("timer", id)
        if timer is not None and timer["at"] == at:  # else it was set anew
            cloud.state.remove("timer", timer, trace=False)
            _due(cloud, timer)


def _due(cloud: Cloud, timer: Row) -> None:
    moment, target = timer["moment"], timer["target"]
    if moment in WITHOUT_JOB:
        do = COMMANDS[WITHOUT_JOB[moment]].phases[moment]
        _raised(lambda: do(cloud, target))
    elif (job := cloud.state.get("job", target)) is not None:
        command = COMMANDS[job["command"]]
        if moment == "finish":
            _finish(cloud, job, command)
            return
        error = _raised(lambda: command.phases[moment](cloud, job))
        if error and moment == "begin":
            job["fault"] = job["fault"] or _failure(error)
            cloud.state.save("job", job)


def _raised(do: Callable[[], object]) -> ApiError | None:
    """Do something; return the refusal that it raises, or that stands for a fault of our own.

    That is a failed job, as on a real server, and stands in the server's log.
    """
    try:
        do()
    except ApiError as error:
        return error
    except Exception:
        traceback.print_exc(file=sys.stderr)
        return ApiError(530, INTERNAL)
    return None


def _finish(cloud: Cloud, job: Row, command: Command) -> None:
    def finish() -> None:
        if job["fault"]:
            raise ApiError(job["fault"]["code"], job["fault"]["text"])
        job["result"] = _result(cloud, job, command)

    error = _raised(finish)
    if error:
        _fail(cloud, job, command.phases, error)
    else:
        job["status"] = SUCCEEDED
        events.ended(cloud, job)
    if cloud.pending.get(job["instance"]) == job["id"]:
        del cloud.pending[job["instance"]]
    job["completed"] = max(job["ends"], job["at"])
    cloud.state.save("job", job)
    if job["status"] == SUCCEEDED and "after" in command.phases:
        schedule(cloud, job["ends"] + AFTER * (job["ends"] - job["starts"]), "after", job["id"])


def _result(cloud: Cloud, job: Row, command: Command) -> dict:
    """Finish a job; return its answer, which shows its row where its phase returns one."""
    if "finish" in command.phases:
        result = command.phases["finish"](cloud, job, **job["params"])
    else:
        result = cloud.find(command.subject, job["instance"])
    if result is None:
        return {"success": True}
    return {command.answers: show(cloud, command.answers, result)} if "id" in result else result


def _fail(cloud: Cloud, job: Row, phases: dict, error: ApiError) -> None:
    job |= {"status": FAILED, "code": error.code}
    job["result"] = {"errorcode": error.code, "errortext": error.text}
    if job["fault"] and job["fault"]["result"] == "none":
        job |= {"code": 0, "result": None}
    if "failed" in phases:
        _raised(lambda: phases["failed"](cloud, job))
    events.ended(cloud, job, error.text)


def find(cloud: Cloud, id: Any) -> Row:
    """Return a job; refuse an unknown or forgotten one."""
    job = cloud.state.get("job", id)
    if job is None and str(id).isdecimal():
        raise invalid(f"Unable to find a job by id {id}")
    if job is None or job["lost"] or job.get("completed", cloud.clock()) < cloud.clock() - KEPT:
        raise cloud.dialect.unknown_job(id)
    return job
