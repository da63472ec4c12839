"""Jobs: watching asynchronous jobs to their end.

Only the outer `jobstatus` counts: 0 runs, 1 succeeded, all else failed (3 is CANCELLED in
`JobInfo.Status`). A job's result is a picture of the moment it ended and may be stale: states
that matter are listed again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lib import answers
from lib.client import BUSY, Client
from lib.errors import JobFailed, JobTimeout, Refused, Unreachable
from lib.waiting import Waiting, expected

LONGEST = 2.0  # seconds between two looks at a job that may end any moment


@dataclass
class Job:
    """A job that the cloud accepted: its id, command, what it works on, and when it was sent."""

    id: str
    command: str
    resource: str
    started: float
    expect: float = 0
    due: float = 0


def looks(expect: float = 0) -> Iterator[float]:
    """Yield the seconds after the start at which to look at a job.

    Short at first; where the job may end, all of 2, 4, 6 ... s are among them, so its end is seen
    no later than by looking every 2 s. Before two thirds of `expect` it should not be done, so
    looks are sparse there: an eighth of the time gone by apart, which is also the most that a
    cloud faster than expected can be noticed late.
    """
    now, earliest = 0.05, expect * 2 / 3
    while True:
        yield now
        if now < LONGEST:
            now = min(now * 2, LONGEST)
        else:
            sparse = min(now / 8, earliest - now)
            now += max(LONGEST, sparse - sparse % LONGEST)


def wait(
    cloud: Client,
    job_id: str,
    *,
    command: str = "job",
    resource: str = "",
    within: float = 3600,
    expect: float = 0,
    since: float | None = None,
) -> dict:
    """Return the result of a job, watching it for at most `within` seconds.

    A job that is still running then was not cancelled: waiting again is safe.
    Raises JobFailed, JobTimeout.
    """
    started = cloud.clock() if since is None else since
    job = Job(str(job_id), command, resource, started, expect)
    for at in looks(known(cloud, job)):
        cloud.sleep(max(0, min(started + at, started + within) - cloud.clock()))
        result = look(cloud, job)
        if result is not None:
            return result
        demand_time(cloud, job, within)
    raise AssertionError("looks() has no end")


def look(cloud: Client, job: Job) -> dict | None:
    """Look once: the unwrapped result of a job that succeeded, None while it runs.

    A bad answer counts as "still running", since the deadline bounds it. The end of the job goes
    into the journal. Raises JobFailed.
    """
    try:
        seen = cloud.ask("queryAsyncJobResult", jobid=job.id)
    except Unreachable:
        return None
    except Refused as no:
        if no.code in BUSY:
            return None
        text = f"the cloud does not tell how the job ended: {no.text}"
        cloud.journal.job_ended(job.id, "lost", text)
        raise JobFailed(job.command, job.id, no.code, text, job.resource) from no
    status, result = seen.get("jobstatus"), seen.get("jobresult") or {}
    if isinstance(result, str):  # as its `jobresulttype` may be
        result = {"errortext": result[: answers.LONGEST_TEXT]}
    if status in (0, None):
        return None
    if status == 1:
        made = unwrapped(result)
        cloud.journal.job_ended(job.id, "done", resource=made.get("id"))
        return made
    code = answers.code(result.get("errorcode"), answers.code(seen.get("jobresultcode"), 0))
    text = str(result.get("errortext") or "") or f"the cloud gave no reason (jobstatus {status})"
    cloud.journal.job_ended(job.id, "failed", f"{code}: {text}")
    raise JobFailed(job.command, job.id, code, text, job.resource)


def settled(
    cloud: Client,
    read: Callable[[], dict | None],
    field: str,
    wanted: object,
    what: str,
    within: float,
) -> object:
    """Read a row until its field is as wanted and return that; return "" when there is no row.

    Looks short at first, then every 2 s, for at most `within` seconds. Raises JobTimeout.
    """
    started = cloud.clock()
    with Waiting() as waiting:
        while row := read():
            if row.get(field) == wanted:
                return wanted
            gone = cloud.clock() - started
            if gone > within:
                raise JobTimeout(f"waiting for {what}", "ended", gone, f"{row.get(field)}")
            waiting.show(f"{what} to be {field} {wanted}")
            cloud.sleep(min(max(gone / 2, 0.05), 2))
    return ""


def known(cloud: Client, job: Job) -> float:
    """Return how many seconds the job should take, as earlier runs tell or else its step."""
    return expected(job.command, job.expect * cloud.profile.time_scale)


def unwrapped(answer: dict) -> dict:
    """Return the one object in an answer (`{"volume": {...}}`), or the answer itself."""
    objects = [v for v in answer.values() if isinstance(v, dict)]
    return objects[0] if len(objects) == 1 else answer


def demand_time(cloud: Client, job: Job, within: float) -> None:
    gone = cloud.clock() - job.started
    if gone >= within:
        raise JobTimeout(job.command, job.id, gone, job.resource)


def awaited(cloud: Client, is_so: Callable[[], bool], what: str, within: float) -> bool:
    """Tell whether it became so within some seconds, ten minutes at most."""
    started = cloud.clock()
    limit = min(within, 600 * max(cloud.profile.time_scale, 0.1))
    with Waiting() as waiting:
        while not is_so():
            gone = cloud.clock() - started
            if gone > limit:
                return False
            waiting.show(what)
            cloud.sleep(min(max(gone / 2, 0.1), 2))
    return True
