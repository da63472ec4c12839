"""A run: stages executed in order into a folder of their own, up to the first that fails."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat
import papermill
from papermill.engines import papermill_engines

from lib.chain import closing, engine, statuses
from lib.chain.engine import Session, Task
from lib.chain.interrupts import trapped
from lib.chain.kernels import NAME, Kernels, Place
from lib.chain.params import Parameter
from lib.chain.results import ENDINGS, Result, Run, cause_of, error_of
from lib.chain.stages import Stage
from lib.chain.values import Value, as_yaml
from lib.errors import AtWork
from lib.record import ledger, locks, manifest, plans, whole
from lib.record.cells import headings
from lib.record.events import Event, Listener
from lib.record.faults import NO_ROOM, BadInput, RecordCut, no_room
from lib.record.ledger import Ledger
from lib.report.attempts import steps

LANGUAGE = "python"
NOWHERE = ("Unreachable", "ProfileError")  # errors that every stage would meet
SCRATCH = "runbook-"  # prefix of the folder of the kernels' sockets; our pid follows


@dataclass(frozen=True)
class Approval:
    """Who approved a run, and the folder of the run in plan mode whose plan it carries out.

    Without a folder it was approved unseen: the run does what there is to do.
    """

    plan: Path | None
    by: str


@dataclass(frozen=True)
class Work:
    """The input of a run, and its folder."""

    folder: Path
    stages: Sequence[Stage]
    table: Mapping[str, Parameter]
    values: Mapping[str, Value]
    cell_timeout: int | None = None  # seconds
    preload: Sequence[str] = ()  # modules that a kernel imports before it is needed
    reason: str = ""
    key: Path | None = None  # to sign the record with
    secrets: Sequence[str] = ()  # known before any kernel starts
    resumed: bool = False
    approval: Approval | None = None
    claim: locks.Claim | None = None  # what it changes, so that no other process does
    force: str = ""  # the reason for which it takes the place of another that is at work
    at_end: Callable[["Work"], object] = bool  # is called with this before the record is sealed

    @property
    def is_plan(self) -> bool:
        """Return whether the run only looks."""
        return _value(self, "mode") == "plan"


def run(
    stages: Sequence[Stage],
    table: Mapping[str, Parameter],
    values: Mapping[str, Value],
    *,
    runs: Path,
    tell: Listener,
    name: str = "",
    **more: object,
) -> Run:
    """Run the stages in a new folder below `runs`; `more` are further fields of `Work`.

    `name` is the name of the folder, "" for one of the time and the cluster. Raises `BadInput`
    where the disk has no space for a record, and AtWork as `perform` does: no folder is left then.
    """
    cluster = str(values["cluster_name"].value) if "cluster_name" in values else "run"
    whole.folder(runs)
    folder = None
    try:
        # Nobody takes what is half made for the remains of a dead driver.
        with whole.alone(runs), ExitStack() as held:
            folder = closing.named_folder(runs, name) if name else closing.new_folder(runs, cluster)
            book = held.enter_context(Ledger(folder))
            whole.write(folder / "params.yaml", as_yaml(values))
            if (approval := more.get("approval")) and approval.plan:
                plans.copy_approved(approval.plan, folder)
            held.pop_all()  # `perform` closes the ledger
        return perform(Work(folder, stages, table, values, **more), tell, book)
    except AtWork:
        with whole.alone(runs):
            if folder and not ledger.is_locked(folder) and not ledger.read(folder):
                shutil.rmtree(folder, ignore_errors=True)  # nothing was started: no record is left
        raise
    except (OSError, RecordCut) as error:
        cause = error.__cause__ if isinstance(error, RecordCut) else error
        if not folder or cause.errno not in NO_ROOM or ledger.read(folder):
            raise
        shutil.rmtree(folder)
        raise BadInput([f"the record cannot be written: {no_room(runs, cause)}"]) from None


def perform(work: Work, tell: Listener, book: Ledger | None = None) -> Run:
    """Run the stages in order up to the first that fails; each leaves an executed notebook.

    `book` is the ledger of a new run; it is closed in the end.
    Raises AtWork when another process is at work in the folder or on the cluster, and `RecordCut`
    when the disk has no space for the record any more.
    """
    try:
        with book or Ledger(work.folder, ledger.patience(work.folder)) as held:
            return _performed(work, tell, held)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise RecordCut(work.folder, error) from error


def _performed(work: Work, tell: Listener, book: Ledger) -> Run:
    with ExitStack() as held:
        prefix = f"{SCRATCH}{os.getpid()}-"
        scratch = Path(held.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
        listener = _both(book, tell)
        taken: list[str] = []
        if work.claim and not work.is_plan:
            force = bool(work.force)
            taken = held.enter_context(locks.held(work.claim, work.folder.name, force=force))
        stop = held.enter_context(trapped(lambda: tell(Event("interrupt"))))
        env = {"RUNBOOK_RUN": str(work.folder)}
        kernels = held.enter_context(Kernels(scratch, env, work.preload, book.lock))
        session = Session(listener, book, set(work.secrets), kernels, stop, work.cell_timeout)
        return _recorded(work, session, scratch, taken)


def _both(book: Ledger, tell: Listener) -> Listener:
    """Return a listener that passes each event to the ledger first, and then to `tell`.

    If the terminal is gone or its pipe is closed, the run goes on without it.
    """
    lost: list[OSError] = []

    def listener(event: Event) -> None:
        book(event)
        try:
            if not lost:
                tell(event)
        except OSError as error:
            lost.append(error)

    return listener


def _recorded(work: Work, session: Session, scratch: Path, taken: Sequence[str]) -> Run:
    """Run the stages between the first and the last line of the ledger, and seal the record."""
    began, secrets = time.monotonic(), session.secrets
    closing.begin(work.folder, [stage.path for stage in work.stages], work.reason)
    session.tell(Event("run", data=_facts(work, scratch)))
    for text in taken:
        session.tell(Event("taken", data={"text": text, "reason": work.force}))
    if approval := work.approval:
        session.tell(Event("approved", data=_approved(approval)))
    ended, error = Run(work.folder, []), "the chain itself failed"
    try:
        results = list(_results(work, session))
        session.kernels.close()
        work.at_end(work)
        ended = Run(work.folder, results, session.stop.signal, closing.leaks(work.folder, secrets))
        error = f"a secret stands in {ended.leaks[0]}" if ended.leaks else ""
    finally:
        cause = "failed" if error else ended.cause
        facts = {"cause": cause, "error": error, "seconds": time.monotonic() - began}
        session.tell(Event("done", data=facts | {"results": ended.results}))
        code = ended.exit_code or int(bool(error))
        sealed = closing.end(work.folder, secrets, outcome=cause, exit_code=code, key=work.key)
    leaks = list(dict.fromkeys([*ended.leaks, *sealed.leaks]))
    return replace(ended, leaks=leaks, unsigned=sealed.unsigned)


def _facts(work: Work, scratch: Path) -> dict:
    """Return the facts for the first line of the ledger, enough to resume the run."""
    return {
        "folder": work.folder,
        "stages": [stage.name for stage in work.stages],
        "notebooks": str(work.stages[0].path.parent),
        "cell_timeout": work.cell_timeout,
        "reason": work.reason,
        "scratch": str(scratch),
        "resumed": work.resumed,
        "is_plan": work.is_plan,
        "profile": _value(work, "profile"),
        "cluster": _value(work, "cluster_name"),
    }


def _value(work: Work, name: str) -> str:
    return str(work.values[name].value) if name in work.values else ""


def _approved(approval: Approval) -> dict[str, str]:
    """Return the facts for the ledger's line on the approval; the hash tells which plan it was."""
    plan = approval.plan
    of = {"plan": plan.name, "sha256": manifest.digest(plan / plans.FILE)} if plan else {}
    return {"by": approval.by} | of


def _results(work: Work, session: Session) -> Iterator[Result]:
    before = ledger.attempts(ledger.read(work.folder))
    places = [Place(stage.name, stage.path.parent) for stage in work.stages]
    halted = False
    for stage, place, after in zip(work.stages, places, [*places[1:], None], strict=True):
        if halted or session.stop.signal:
            yield Result(stage.name, "not-run")
            continue
        record = work.folder / f"{stage.name}.ipynb"
        attempt = before.get(stage.name, 0) + 1
        set_aside(record, attempt - 1)
        own = {n: work.values[n].value for n, p in work.table.items() if stage.name in p.notebooks}
        result = execute(stage, own, Task(place, record, session, after), attempt)
        halted = result.outcome != "ok" and not (work.is_plan and _is_of_one_stage(result))
        yield result


def _is_of_one_stage(result: Result) -> bool:
    """Return whether other stages may look all the same after this failure."""
    return result.outcome == "failed" and not result.error.startswith(NOWHERE)


def set_aside(record: Path, attempt: int) -> None:
    """Rename the notebook of an earlier attempt; the plain name is for the latest."""
    if record.exists():
        record.rename(record.with_name(f"{record.stem}.attempt{attempt}.ipynb"))


def execute(stage: Stage, parameters: dict, task: Task, attempt: int = 1) -> Result:
    """Run one stage and return its result."""
    task.tell("stage", attempt=attempt)
    started, raised = time.monotonic(), None
    notebook = _prepared(stage, parameters, task.record)
    try:
        papermill_engines.execute_notebook_with_engine(engine.NAME, notebook, NAME, task=task)
    except ENDINGS as error:
        raised = error
    stop = task.session.stop
    outcome = cause_of(raised, stop)
    statuses.rewrite(notebook, task.session.ledger.stage(stage.name), outcome)
    notebook.metadata["runbook"] = {"stage": stage.name, "attempt": attempt, "outcome": outcome}
    engine.write(notebook, task.record)
    result = Result(
        stage.name,
        outcome,
        time.monotonic() - started,
        steps(notebook),
        task.record,
        _section(notebook) if raised else "",
        error_of(raised, stop),
    )
    task.tell("end", result=result)
    return result


def _prepared(stage: Stage, parameters: dict, record: Path) -> nbformat.NotebookNode:
    """Return the notebook of a stage with the parameters injected."""
    # papermill formats paths, so a brace in a folder's name must be doubled.
    path = str(stage.path).replace("{", "{{").replace("}", "}}")
    options = {"kernel_name": NAME, "language": LANGUAGE, "engine_name": engine.NAME}
    notebook = papermill.execute_notebook(path, None, parameters, prepare_only=True, **options)
    notebook.metadata.papermill["output_path"] = str(record)
    return notebook


def _section(notebook: nbformat.NotebookNode) -> str:
    """Return the heading above the cell that failed, "" if none did."""
    pairs = zip(notebook.cells, headings(notebook.cells), strict=True)
    failed = (heading for cell, heading in pairs if cell.metadata.papermill["status"] == "failed")
    return next(failed, "")
