"""Changes: sent once, and found again when their answer, or their end, was not seen.

The journal says what was sent. A job is looked up by the id that we chose for it, where the server
takes one; otherwise by the effect: a new resource by its name, a snapshot by its volume, the rest
by the state of what was changed. A change is sent again, under a new id, only when neither was
found for as long as it could be on its way. An idempotent change is sent again at once.
"""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import chain, count

from lib import earlier, effects, jobs
from lib.api.client import Client
from lib.errors import JobFailed, JobTimeout, NotOne, ProfileError, Refused, Unreachable
from lib.jobs import Job
from lib.record import locks
from lib.record.journal import INTERACTIVE, Entry, hold, in_another_process, recordable
from lib.steps import Step
from lib.waiting import until

SENDS = 3
INTERNAL_ERROR = 530  # ApiErrorCode.INTERNAL_ERROR
LOOKS = (0.25, 0.5, 1, 2, 4)  # seconds between looks; the last one again and again
ASYNC = {
    f"{verb}{thing}"
    for thing, verbs in {
        "Volume": ("create", "attach", "detach"),
        "Snapshot": ("create", "delete"),
        "Template": ("create", "copy", "delete"),
        "VirtualMachine": ("deploy", "destroy", "start", "stop", "reboot"),
        "Tags": ("create", "delete"),
        "AffinityGroup": ("create", "delete"),
        "IpAddress": ("associate", "disassociate"),
        "PortForwardingRule": ("create", "delete"),
        "FirewallRule": ("create", "delete"),
    }.items()
    for verb in verbs
}


def send(
    cloud: Client, command: str, params: dict, what: str, within: float, expect: float = 0
) -> dict:
    """Send a change and return its answer, or what is known of it if the answer is lost.

    What was sent before and has not ended is joined instead. Raises Refused, NotOne when it
    cannot be told which of several resources the change made, Unreachable, and CheckFailed by hand
    while a run is at work on the cluster.
    """
    locks.hold_by_hand()
    for entry in _same(cloud, command, params):
        found = _recovered(cloud, entry, within)
        if found is not None:
            return found
    terms = {"within": within, "expect": expect * cloud.profile.time_scale}
    chooses_id = command in ASYNC and cloud.can_choose_job_ids
    for _ in range(SENDS):
        job_id = str(uuid.uuid4()) if chooses_id else None
        entry = cloud.journal.intend(command, what, params, job_id, **terms)
        try:
            return _sent(cloud, entry, params)
        except Unreachable as error:
            known = _leaves_trace(entry) or command in effects.REPEATABLE
            if not (error.may_have_changed and known):
                raise
            lost, found = error, _recovered(cloud, entry, within)
        if found is not None:
            return found
    raise lost


def _same(cloud: Client, command: str, params: dict) -> list[Entry]:
    """Return the unfinished entries of an equal change, if it leaves a trace."""
    recorded = json.loads(json.dumps(recordable(params), default=str))
    found = (e for e in cloud.journal.unfinished() if _leaves_trace(e))
    return [e for e in found if (e.command, e.params) == (command, recorded)]


def _leaves_trace(entry: Entry) -> bool:
    """Tell whether the cloud shows afterwards that a change was made."""
    by_job = entry.command in effects.BY_JOB and bool(entry.customjobid)
    return entry.command in effects.RULES or by_job


def _sent(cloud: Client, entry: Entry, params: dict) -> dict:
    """Send it, and write down what comes back."""
    own = {"customjobid": entry.customjobid} if entry.customjobid else {}
    try:
        answer = cloud.ask(entry.command, **params, **own)
    except Unreachable as error:
        if not error.may_have_changed:
            cloud.journal.ended(entry, "not-sent", error.cause)
        elif not _leaves_trace(entry):
            now = effects.state_now(cloud, entry)
            cloud.journal.ended(entry, "lost", f"{error.cause}.{now}")
            error.args = (f"{error}{now}",)
        raise
    except Refused as no:
        return _refused(cloud, entry, no)
    except ProfileError as error:
        cloud.journal.ended(entry, "not-sent", str(error))
        raise
    if "jobid" in answer:  # another id than ours: the server did not take it, which does no harm
        cloud.journal.accepted(entry, answer["jobid"], answer.get("id"))
    else:
        cloud.journal.ended(entry, "done", resource=jobs.unwrapped(answer).get("id"))
    return answer


def _refused(cloud: Client, entry: Entry, no: Refused) -> dict:
    """Record a refusal and raise it; after a 530 return what was done in spite of it.

    CloudStack answers 530 to whatever goes wrong inside, also when the work is done or half done:
    it leaves a machine in Error when the requested address is taken.
    """
    row = None
    if no.code == INTERNAL_ERROR:
        with suppress(NotOne):  # nobody knows which of them it created; the next plan shows all
            row = effects.find(cloud, entry)
    if row is None:
        cloud.journal.ended(entry, "refused", f"{no.code}: {no.text}")
        raise no
    if row.get("state") == "Error":
        cloud.journal.ended(entry, "failed", f"{no.code}: {no.text}", row["id"])
        no.args = (f"{no} It left {row.get('name', entry.what)} (id {row['id']}) in Error.",)
        raise no
    cloud.journal.ended(entry, "adopted", f"found in spite of {no.code}: {no.text}", row.get("id"))
    return {"adopted": _completed(cloud, entry, entry.within)}


def _recovered(cloud: Client, entry: Entry, within: float) -> dict | None:
    """Return what replaces a lost answer; None if the change was not made, or is idempotent.

    That is a job to be watched, or the resource that the change created or changed, once complete.
    """
    if not _leaves_trace(entry):
        cloud.sleep(LOOKS[0])
        return None
    found = find_out(cloud, entry)
    if found is None or "jobid" in found:
        return found
    return {"adopted": _completed(cloud, entry, within)}


def find_out(cloud: Client, entry: Entry) -> dict | None:
    """Return what `look_for` does, and record it."""
    found = look_for(cloud, entry)
    if found is None:
        state = "not-sent" if entry.state == "intent" else "lost"
        cloud.journal.ended(entry, state, "neither its job nor its effect can be found")
    elif "jobid" not in found:
        cloud.journal.ended(entry, "adopted", "found by what it brought about", found.get("id"))
    elif entry.state == "intent":
        cloud.journal.accepted(entry, found["jobid"])
    return found


def look_for(cloud: Client, entry: Entry) -> dict | None:
    """Return `{"jobid": …}`, or the row that shows the change; None if it was not made.

    Raises NotOne when several rows may be what it created.
    """
    seen = 0
    for pause in pauses(cloud):
        cloud.sleep(pause)
        if job := _known_job(cloud, entry):
            return {"jobid": job}
        row = effects.find(cloud, entry)
        seen += row is not None
        # A row is there a moment before its job: look twice where a job can be asked for.
        if row and seen > bool(entry.customjobid):
            return row
    return None


def pauses(cloud: Client) -> Iterator[float]:
    """Yield pauses between looks at something that may still be on its way, three at least."""
    left = cloud.grace * max(cloud.profile.time_scale, 0.02)
    yield 0
    for n in count(1):
        pause = min(LOOKS[min(n, len(LOOKS)) - 1], max(left, 0))
        left -= pause
        yield pause
        if left <= 0 and n >= 2:
            return


def _known_job(cloud: Client, entry: Entry) -> str | None:
    """Return the id of the entry's job if the cloud knows it."""
    job = entry.job or entry.customjobid
    if not job:
        return None
    try:
        cloud.ask("queryAsyncJobResult", jobid=job)
    except Refused as no:
        if no.code == effects.UNKNOWN:
            return None
        raise
    return job


def _completed(cloud: Client, entry: Entry, within: float) -> dict:
    """Watch what was adopted until it is complete, and return it. Raises JobFailed, JobTimeout."""
    command, what = entry.command, entry.what

    def look() -> dict | None:
        row = effects.find(cloud, entry)
        if row is None or row.get("state") == "Error":
            text = f"it ended as {row['state'] if row else 'nothing'}"
            raise JobFailed(command, "unknown", 0, text, what)
        return row if effects.complete(entry, row) else None

    row = until(cloud, look, f"{command} {what}", within, chain([0], jobs.looks()))
    if row is None:
        raise JobTimeout(command, "unknown", within, what)
    return row


def is_so_already(cloud: Client, step: Step, result: object) -> bool:
    """Tell whether a step failed only because it had been done before.

    An earlier attempt may have succeeded meanwhile: on servers without our own job ids, a job that
    outlasts the search looks like no job.
    """
    if not isinstance(result, Refused | JobFailed) or step.command not in effects.EFFECTS:
        return False
    return effects.EFFECTS[step.command](cloud, step.params, Entry()) is not None


def settle(cloud: Client) -> None:
    """Find out how the changes ended that an earlier attempt left open, and print each.

    That is an attempt at this run, or a run beside it that was abandoned. Nothing is sent again. A
    job that still runs is waited for, as long as when it was sent: raises JobTimeout. Raises
    CheckFailed while the process of this run's earlier attempt still runs.
    """
    shared = cloud.folder.name == INTERACTIVE
    if not shared:
        hold(cloud.folder, cloud.sleep)
    for entry in cloud.journal.unfinished():
        if shared and in_another_process(entry):
            continue  # another notebook at its own work
        outcome = _became(cloud, entry, find_out)
        if not _leaves_trace(entry):
            cloud.journal.ended(entry, "lost", outcome)
        at = datetime.fromisoformat(entry.sent).astimezone()
        print(f"{entry.command} {entry.what}, left open at {at:%H:%M:%S}: {outcome}")
    for run, entry in earlier.left_open(cloud.folder, cloud.profile.endpoint):
        outcome = _became(cloud, entry, look_for)
        cloud.journal.looked_after(run, entry, outcome)
        print(f"{entry.command} {entry.what}, left open by {run}: {outcome}")


def _became(cloud: Client, entry: Entry, look: Callable[..., dict | None]) -> str:
    """Say how a change ended, as `look` finds it; wait for its end while it still runs."""
    if not _leaves_trace(entry):
        return f"nobody can tell how it ended.{effects.state_now(cloud, entry)}"
    found = look(cloud, entry)
    if found is None:
        return "it was not made"
    within = entry.within
    try:
        if "jobid" not in found:
            return f"it was made (id {_completed(cloud, entry, within).get('id', 'none')})"
        job = Job(found["jobid"], entry.command, entry.what, cloud.clock())
        jobs.wait(cloud, job, within)
    except JobFailed as error:
        return f"its job failed ({error.code}): {error.text}"
    return "its job has succeeded"
