"""Sending changes, one or several side by side, and watching their jobs to their end."""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lib import changes, effects, jobs
from lib.cloud import Cloud
from lib.errors import CloudError, JobFailed, Refused, Unreachable
from lib.jobs import Job
from lib.steps import Step

Show = Callable[[str, float, str], None]  # what is waited for, about how long, how far it is
Ended = tuple[Step, dict | CloudError]
# Refusals that the next step would get as well: keys, roles, limits of the account.
OF_ALL = (401, 429, 432, 531, 532, 534, 535)
FEW = 20  # steps of which none may fail; of more one in so many, and the others go on
LACKING = 2  # jobs that a list may lack although they run
PUT_BACK = 5  # times that a step which the cloud has no room for is sent again


@dataclass
class Batch:
    """The jobs under way, by id with their steps, since when, and when to list those that run.

    `shortest` are the seconds of the shortest job of a command that has ended.
    """

    running: dict[str, tuple[Step, Job]] = field(default_factory=dict)
    began: float = 0
    due: float = 0
    shortest: dict[str, float] = field(default_factory=dict)

    def add(self, step: Step, job: Job) -> None:
        """Take up a job that the cloud accepted."""
        self.began = self.began or job.started
        self.due = self.due or job.due
        self.running[job.id] = step, job

    def listed(self, at: float, expect: float) -> None:
        """Set when to list again: a job is seen to have ended within a quarter of its time."""
        commands = {job.command for _, job in self.running.values()}
        known = min((self.shortest[c] for c in commands if c in self.shortest), default=0)
        tick = min(max(known / 4, 0.05), max(jobs.LONGEST, known / jobs.LATE))
        self.due = at + (tick if known else jobs.pause(at - self.began, expect))

    def end(self, job: Job, at: float) -> None:
        """Take a job out that has ended."""
        del self.running[job.id]
        self.shortest[job.command] = min(self.shortest.get(job.command, at), at - job.started)


def run(cloud: Cloud, command: str, *, what: str = "", within: float = 3600, **params: Any) -> dict:
    """Send one change, wait for its end, and return what it created or changed.

    Raises Refused, JobFailed, JobTimeout (after `within` seconds) or Unreachable.
    """
    steps = [Step(command, params, "", what)]
    ((_, result, _),) = run_all(cloud, steps, 1, within, lambda what, about, so_far: None)
    if isinstance(result, CloudError):
        raise result
    return result


def run_all(
    cloud: Cloud, steps: list[Step], at_once: int, within: float, show: Show
) -> Iterator[tuple]:
    """Send steps, at most `at_once` under way, and watch all in one loop; 0: as the cloud bears.

    Yields each step with its result or error, and whether it failed only because it had been done.
    After an error that the others would meet too, and after too many, no new step is sent; what
    runs is watched to its end.
    """
    waiting, put_back = deque(steps), Counter[int]()
    batch, errors, stopped = Batch(), 0, False
    running = batch.running
    while running or (waiting and not stopped):
        ended: list[Ended] = []
        while waiting and not stopped and not ended and len(running) < _most(cloud, at_once):
            step = waiting.popleft()
            started = _start(cloud, step, within)
            if isinstance(started, Job):
                batch.add(step, started)
            elif _has_no_room(started) and put_back[id(step)] < PUT_BACK:
                put_back[id(step)] += 1
                waiting.appendleft(step)
                cloud.pace.halve()
                cloud.sleep(jobs.LONGEST)
            else:
                ended.append((step, started))
        if not ended and running:
            done = len(steps) - len(waiting) - len(running)
            show(*_summary(cloud, batch, at_once, done, len(steps)))
            ended = _look_at_due(cloud, batch, within)
        for step, result in ended:
            was_so = changes.is_so_already(cloud, step, result)
            if isinstance(result, CloudError) and not was_so:
                errors += 1
                stopped = stopped or _stops(result) or errors * FEW > len(steps)
            yield step, result, was_so


def _most(cloud: Cloud, at_once: int) -> int:
    return at_once or cloud.pace.most


def _has_no_room(result: object) -> bool:
    """Tell whether a change was refused because too many are under way."""
    busy = isinstance(result, Refused) and result.code == changes.INTERNAL_ERROR
    return busy and "too many" in str(getattr(result, "text", "")).lower()


def _stops(error: CloudError) -> bool:
    """Tell whether the other steps would meet an error too, or one cannot know."""
    alone = isinstance(error, Refused | JobFailed) and error.code not in OF_ALL
    return not alone


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
    of_machine = step.command.endswith("VirtualMachine")
    machine = str(answer.get("id") or step.params.get("id") or "") if of_machine else ""
    job = Job(str(answer["jobid"]), step.command, step.what, started, step.expect)
    job.due, job.machine = started + next(jobs.looks(jobs.known(cloud, job))), machine
    return job


def _look_at_due(cloud: Cloud, batch: Batch, within: float) -> list[Ended]:
    """Sleep until the next look is due, take it, and return the steps that ended.

    One list shows which of several jobs run; those that it leaves open are asked for.
    """
    every = [job for _, job in batch.running.values()]
    next_one = min(every, key=lambda job: job.due)
    by_list = len(every) > 1 and cloud.lists_pending_jobs
    due = min(batch.due if by_list else next_one.due, every[0].started + within)
    cloud.sleep(max(0, due - cloud.clock()))
    at, looked = cloud.clock(), [next_one]
    results: dict[str, Any] = {}
    seen = _seen(cloud, batch, every) if by_list else None
    if by_list:
        batch.listed(at, jobs.known(cloud, every[0]))
    if seen is None:
        expect = jobs.known(cloud, next_one)
        while next_one.due <= at:  # more than one look where the list was asked before
            next_one.due += jobs.pause(next_one.due - next_one.started, expect)
    else:
        pending, results = seen
        looked = [job for job in every if job.id not in pending and job.id not in results]
    for job in looked:
        results[job.id] = _outcome(cloud, job)
    if seen is not None and sum(results[job.id] is None for job in looked) > LACKING:
        cloud.lists_pending_jobs = False  # it lacks jobs that run: each is asked for from now on
    ended: list[Ended] = []
    for job in every:
        step, _ = batch.running[job.id]
        result = results.get(job.id)
        if result is None and at - job.started >= within:
            result = jobs.late(cloud, job)
        if result is not None:
            batch.end(job, at)
            ended.append((step, result))
    return ended


def _seen(cloud: Cloud, batch: Batch, every: list[Job]) -> tuple[set[str], dict[str, Any]] | None:
    """Return the ids of the jobs that run, and what those that succeeded changed; None if unknown.

    Machines' rows tell both: one has a `jobid` while a job runs (`user_vm_view` joins async_job
    by its status), and else its state shows how that ended. For other changes jobs are listed.
    """
    by_rows = all(job.machine and job.command in effects.IN_ROWS for job in every)
    running = set() if by_rows else jobs.pending(cloud)
    if running is None:
        return None
    of = {job.machine: job for job in every if job.machine and job.id not in running}
    if len(of) < 2:
        return running, {}
    try:
        listed = cloud.list("listVirtualMachines", ids=list(of))
    except (CloudError, Unreachable):
        return None if by_rows else (running, {})  # each is asked for
    rows, found = {str(row["id"]): row for row in listed}, {}
    for machine, job in of.items():
        row = rows.get(machine)
        if by_rows and row and row.get("jobid"):
            running.add(job.id)
        elif effects.succeeded(job.command, batch.running[job.id][0].params, row):
            found[job.id] = row or {"id": machine}
            cloud.journal.job_ended(job.id, "done", resource=machine)
    return running, found


def _outcome(cloud: Cloud, job: Job) -> dict | CloudError | None:
    try:
        return jobs.look(cloud, job)
    except CloudError as error:
        return error


def _summary(
    cloud: Cloud, batch: Batch, at_once: int, done: int, count: int
) -> tuple[str, float, str]:
    """Return what is waited for, about how many seconds that takes, and how far it is."""
    _, first = next(iter(batch.running.values()))
    more = f" and {len(batch.running) - 1} more" if len(batch.running) > 1 else ""
    far = f"{done} of {count} done, {_most(cloud, at_once)} at once" if count > FEW else ""
    return f"{first.command} {first.resource}{more}", jobs.known(cloud, first), far
