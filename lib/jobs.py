"""Jobs: watching asynchronous jobs to their end.

Only the outer `jobstatus` counts: 0 runs, 1 succeeded, all else failed (3 is CANCELLED in
`JobInfo.Status`). A job's result is a picture of the moment it ended and may be stale: states
that matter are listed again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from lib.api import answers
from lib.api.client import Client
from lib.api.transport import BUSY
from lib.errors import Incomplete, JobFailed, JobTimeout, Refused, TooManyRows, Unreachable
from lib.record import whole
from lib.waiting import steadily, until

LONGEST = 2.0  # seconds between two looks at a young job that may end any moment
LATE = 40  # a part of its age, that a job is seen to have ended late at most
EARLIEST, DUE = 0.95, 1.005  # of the time that a job should take: before, and by when it ends


@dataclass
class Job:
    """A job that the cloud accepted: its id, command, what it works on, and when it was sent.

    `due` is when to look at it next; `machine` is the id of the machine that it is about, if any.
    """

    id: str
    command: str = "job"
    resource: str = ""
    started: float = 0
    expect: float = 0
    due: float = 0
    machine: str = ""


def looks(expect: float = 0) -> Iterator[float]:
    """Yield the seconds after the start at which to look at a job.

    Short at first, unless it is known to be long; where it may end, every 2 s or a LATE part of its
    age apart. Before EARLIEST of `expect` it should not be done, so looks are sparse there: a
    quarter of the time gone by apart, which is also the most that a cloud faster than expected can
    be noticed late.
    """
    now = 0.05 if expect < LATE / 2 * LONGEST else LONGEST
    while True:
        yield now
        now += pause(now, expect)


def pause(age: float, expect: float = 0) -> float:
    """Return how many seconds may pass until a job of that age is looked at again."""
    if age < LONGEST:
        return min(max(age * 3, 0.05), LONGEST - age)
    sparse, due = min(age / 4, expect * EARLIEST - age), expect * DUE - age
    usual = max(LONGEST, age / LATE, sparse - sparse % LONGEST)
    return due if usual / 4 < due < usual else usual


def wait(cloud: Client, job: Job, within: float) -> dict:
    """Return the result of a job, watching it for at most `within` seconds from its start.

    A job that still runs then was not cancelled: wait again. Raises JobFailed, JobTimeout.
    """
    left = job.started + within - cloud.clock()
    result = until(cloud, partial(look, cloud, job), "", left, looks(known(cloud, job)))
    if result is None:
        raise late(cloud, job)
    return result


def pending(cloud: Client) -> set[str] | None:
    """Return the ids of all the account's jobs that run; None where a list does not tell.

    A job that is not among them is asked for: it may be that the list lacks it.
    """
    if not cloud.lists_pending_jobs:
        return None
    try:
        rows = cloud.list_if_allowed("listAsyncJobs")
    except (Incomplete, Refused, TooManyRows, Unreachable):
        return None
    if rows is None:
        cloud.lists_pending_jobs = False
        return None
    return {str(row["jobid"]) for row in rows if row.get("jobstatus", 0) == 0}


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
        created = unwrapped(result)
        cloud.journal.job_ended(job.id, "done", resource=created.get("id"))
        return created
    code = answers.code(result.get("errorcode"), answers.code(seen.get("jobresultcode"), 0))
    text = str(result.get("errortext") or "") or f"the cloud gave no reason (jobstatus {status})"
    cloud.journal.job_ended(job.id, "failed", f"{code}: {text}")
    raise JobFailed(job.command, job.id, code, text, job.resource)


def ready(
    cloud: Client,
    read: Callable[[], dict | None],
    is_ready: Callable[[dict], bool],
    what: str,
    within: float,
    after: float = 0,
) -> dict | None:
    """Read a row until it is ready and return it; return None once there is no row.

    `after` are the seconds that went before, of which half a LATE part is no delay. Raises
    JobTimeout after `within` seconds.
    """

    rows: list[dict | None] = []

    def is_settled() -> bool:
        rows[:] = [read()]
        return rows[0] is None or is_ready(rows[0])

    times = steadily(max(LONGEST, after / LATE / 2))
    if until(cloud, is_settled, f"{what} to be ready", within, times) is None:
        state = rows[0] and rows[0].get("state", "not ready")
        raise JobTimeout(f"waiting for {what}", "ended", within, f"{state}")
    return rows[0]


def known(cloud: Client, job: Job) -> float:
    """Return how many seconds the job should take, by earlier runs or else by its step.

    The chain leaves the figures of a command in `history.json` of the run folder: `times`, by which
    the estimate of a step (which goes by the size) was wrong, and `seconds`.
    """
    estimate, figures = job.expect * cloud.profile.time_scale, _history(cloud.folder)
    of = {k: v for k, v in figures.get(job.command, {}).items() if isinstance(v, int | float)}
    return estimate * of["times"] if estimate and "times" in of else of.get("seconds", estimate)


@cache
def _history(folder: Path) -> dict[str, dict]:
    """Return the figures that a run was given, {} where they are damaged: they only estimate."""
    known = whole.read(folder / "history.json") or {}
    return {command: of for command, of in known.items() if isinstance(of, dict)}


def unwrapped(answer: dict) -> dict:
    """Return the one object in an answer (`{"volume": {...}}`), or the answer itself.

    registerTemplate answers with a list of one.
    """
    lists = [v for v in answer.values() if isinstance(v, list)]
    objects = [v for v in answer.values() if isinstance(v, dict)]
    objects += [v[0] for v in lists if len(v) == 1 and isinstance(v[0], dict)]
    return objects[0] if len(objects) == 1 else answer


def late(cloud: Client, job: Job) -> JobTimeout:
    """Return the error of a job that takes too long."""
    return JobTimeout(job.command, job.id, cloud.clock() - job.started, job.resource)


def awaited(cloud: Client, is_so: Callable[[], bool], what: str, within: float) -> bool:
    """Wait until it is so, some seconds and ten minutes at most; tell whether it is."""
    limit = min(within, 600 * max(cloud.profile.time_scale, 0.1))
    return until(cloud, is_so, what, limit) is not None
