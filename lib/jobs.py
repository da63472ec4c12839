"""Jobs: sending changes, and watching asynchronous jobs to their end.

Only the outer `jobstatus` counts: 0 runs, 1 succeeded, all else failed (3 is CANCELLED in
`JobInfo.Status`). A job's result is a picture of the moment it ended and may be stale: states
that matter are listed again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lib.errors import CloudError, JobFailed, JobTimeout, Refused, Unreachable
from lib.waiting import Waiting, expected

LONGEST = 2.0  # seconds between two looks at a job that may end any moment
BUSY = (500, 502, 503, 504, 530)  # a cloud that may answer when it is asked again


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


def run(
    cloud, command: str, *, what: str = "", within: float = 3600, expect: float = 0, **params
) -> dict:
    """Send one change, wait for its end, and return what it made or changed.

    Raises Refused, JobFailed, JobTimeout (after `within` seconds) or Unreachable.
    """
    started = cloud.clock()
    answer = cloud.change(command, params, what=what, within=within, expect=expect)
    if "jobid" not in answer:
        return unwrapped(answer)
    terms = {"within": within, "expect": expect, "since": started}
    return wait(cloud, answer["jobid"], command=command, **terms)


def wait(
    cloud,
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
    for at in looks(_known(cloud, job)):
        cloud.sleep(max(0, min(started + at, started + within) - cloud.clock()))
        result = look(cloud, job)
        if result is not None:
            return result
        _demand_time(cloud, job, within)
    raise AssertionError("looks() has no end")


def look(cloud, job: Job) -> dict | None:
    """Look once: the unwrapped result of a job that succeeded, None while it runs.

    A bad answer counts as "still running", since the deadline bounds it. The end of the job goes
    into the journal. Raises JobFailed.
    """
    try:
        seen = cloud.call("queryAsyncJobResult", jobid=job.id)
    except Unreachable:
        return None
    except Refused as no:
        if no.code in BUSY:
            return None
        text = f"the cloud does not tell how the job ended: {no.text}"
        cloud.journal.job_ended(job.id, "lost", text)
        raise JobFailed(job.command, job.id, no.code, text, job.resource) from no
    status, result = seen.get("jobstatus"), seen.get("jobresult") or {}
    if status in (0, None):
        return None
    if status == 1:
        made = unwrapped(result)
        cloud.journal.job_ended(job.id, "done", resource=made.get("id"))
        return made
    code = result.get("errorcode") or seen.get("jobresultcode") or 0
    text = result.get("errortext") or f"the cloud gave no reason (jobstatus {status})"
    cloud.journal.job_ended(job.id, "failed", f"{code}: {text}")
    raise JobFailed(job.command, job.id, code, text, job.resource)


def settled(
    cloud, read: Callable[[], dict | None], field: str, wanted: object, what: str, within: float
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


def _known(cloud, job: Job) -> float:
    """Return how many seconds the job should take, as earlier runs tell or else its step."""
    return expected(job.command, job.expect * cloud.profile.time_scale)


def unwrapped(answer: dict) -> dict:
    """Return the one object in an answer (`{"volume": {...}}`), or the answer itself."""
    objects = [v for v in answer.values() if isinstance(v, dict)]
    return objects[0] if len(objects) == 1 else answer


def _demand_time(cloud, job: Job, within: float) -> None:
    gone = cloud.clock() - job.started
    if gone >= within:
        raise JobTimeout(job.command, job.id, gone, job.resource)


def run_all(
    cloud, steps: list, at_once: int, within: float, said: Callable[[str, float], None]
) -> Iterator[tuple]:
    """Send steps, at most `at_once` running, watch all in one loop; yield (step, result or error).

    After the first error no new step is sent; what runs is watched to its end.
    """
    waiting, running, failed = list(steps), [], False
    while running or (waiting and not failed):
        while waiting and not failed and len(running) < at_once:
            step = waiting.pop(0)
            started = _start(cloud, step, within)
            if isinstance(started, Job):
                running.append((step, started, looks(_known(cloud, started))))
            else:
                failed = isinstance(started, CloudError)
                yield step, started
        for step, result in _look_at_due(cloud, running, within, said):
            failed = failed or isinstance(result, CloudError)
            yield step, result


def _start(cloud, step, within: float) -> Job | dict | CloudError:
    started = cloud.clock()
    try:
        terms = {"what": step.what, "within": within, "expect": step.expect}
        answer = cloud.change(step.command, step.params, **terms)
    except CloudError as error:
        return error
    if "jobid" not in answer:
        return unwrapped(answer)
    return Job(str(answer["jobid"]), step.command, step.what, started, step.expect)


def _look_at_due(cloud, running: list, within: float, said: Callable[..., None]) -> list[tuple]:
    """Sleep until the next look is due, take it, and return the steps that ended."""
    ended = []
    for entry in [e for e in running if not e[1].due]:
        entry[1].due = entry[1].started + next(entry[2])
    if not running:
        return ended
    step, job, times = min(running, key=lambda e: e[1].due)
    said(_summary(running), _known(cloud, running[0][1]))
    cloud.sleep(max(0, min(job.due, job.started + within) - cloud.clock()))
    result = _outcome(cloud, job, within)
    if result is None:
        job.due = job.started + next(times)
    else:
        running.remove((step, job, times))
        ended.append((step, result))
    return ended


def _outcome(cloud, job: Job, within: float) -> dict | CloudError | None:
    try:
        result = look(cloud, job)
        if result is None:
            _demand_time(cloud, job, within)
        return result
    except CloudError as error:
        return error


def _summary(running: list) -> str:
    first = running[0][1]
    more = f" and {len(running) - 1} more" if len(running) > 1 else ""
    return f"{first.command} {first.resource}{more}"
