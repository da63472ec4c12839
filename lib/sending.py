"""Sending changes, one or several side by side, and watching their jobs to their end."""

from collections.abc import Callable, Iterator
from typing import Any

from lib import jobs
from lib.cloud import Cloud
from lib.errors import CloudError
from lib.jobs import Job
from lib.steps import Step

Show = Callable[[str, float], None]  # what is waited for, and about how many seconds
Running = tuple[Step, Job, Iterator[float]]  # and when to look at the job


def run(cloud: Cloud, command: str, *, what: str = "", within: float = 3600, **params: Any) -> dict:
    """Send one change, wait for its end, and return what it created or changed.

    Raises Refused, JobFailed, JobTimeout (after `within` seconds) or Unreachable.
    """
    steps = [Step(command, params, "", what)]
    ((_, result),) = run_all(cloud, steps, 1, within, lambda what, about: None)
    if isinstance(result, CloudError):
        raise result
    return result


def run_all(
    cloud: Cloud, steps: list[Step], at_once: int, within: float, show: Show
) -> Iterator[tuple]:
    """Send steps, at most `at_once` running, watch all in one loop; yield (step, result or error).

    After the first error no new step is sent; what runs is watched to its end.
    """
    waiting, failed = list(steps), False
    running: list[Running] = []
    while running or (waiting and not failed):
        while waiting and not failed and len(running) < at_once:
            step = waiting.pop(0)
            started = _start(cloud, step, within)
            if isinstance(started, Job):
                running.append((step, started, jobs.looks(jobs.known(cloud, started))))
            else:
                failed = isinstance(started, CloudError)
                yield step, started
        for step, result in _look_at_due(cloud, running, within, show):
            failed = failed or isinstance(result, CloudError)
            yield step, result


def _start(cloud: Cloud, step: Step, within: float) -> Job | dict | CloudError:
    started = cloud.clock()
    try:
        answer = cloud.change(
            step.command, step.params, what=step.what, within=within, expect=step.expect
        )
    except CloudError as error:
        return error
    if "jobid" not in answer:
        return jobs.unwrapped(answer)
    return Job(str(answer["jobid"]), step.command, step.what, started, step.expect)


def _look_at_due(cloud: Cloud, running: list[Running], within: float, show: Show) -> list[tuple]:
    """Sleep until the next look is due, take it, and return the steps that ended."""
    ended: list[tuple] = []
    for entry in [e for e in running if not e[1].due]:
        entry[1].due = entry[1].started + next(entry[2])
    if not running:
        return ended
    step, job, times = min(running, key=lambda e: e[1].due)
    show(_summary(running), jobs.known(cloud, running[0][1]))
    cloud.sleep(max(0, min(job.due, job.started + within) - cloud.clock()))
    result = _outcome(cloud, job, within)
    if result is None:
        job.due = job.started + next(times)
    else:
        running.remove((step, job, times))
        ended.append((step, result))
    return ended


def _outcome(cloud: Cloud, job: Job, within: float) -> dict | CloudError | None:
    try:
        result = jobs.look(cloud, job)
    except CloudError as error:
        return error
    if result is None and cloud.clock() - job.started >= within:
        return jobs.late(cloud, job)
    return result


def _summary(running: list[Running]) -> str:
    first = running[0][1]
    more = f" and {len(running) - 1} more" if len(running) > 1 else ""
    return f"{first.command} {first.resource}{more}"
