"""A run: stages executed in order into a folder of their own, up to the first that fails."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.engines import papermill_engines

from lib.chain import engine
from lib.chain.engine import Event, Task, Tell
from lib.chain.interrupts import Stop, trapped
from lib.chain.params import Parameter
from lib.chain.stages import Stage
from lib.chain.values import Value, as_yaml

STEP = "application/vnd.runbook.step+json"
KERNEL, LANGUAGE = "python3", "python"
_ENDINGS = (CellExecutionError, CellTimeoutError, DeadKernelError, KeyboardInterrupt)


@dataclass(frozen=True)
class Result:
    """How a stage ended: ok, failed, kernel-died, timed-out, interrupted or not-run."""

    stage: str
    outcome: str
    seconds: float = 0.0
    steps: list[dict] = field(default_factory=list)  # what it changed: outcome, command, what
    record: Path | None = None
    section: str = ""  # the heading under which it stopped
    error: str = ""


@dataclass(frozen=True)
class Run:
    """What became of a run: its folder, a result for every stage, and the signal that ended it."""

    folder: Path
    results: list[Result]
    signal: int = 0

    @property
    def exit_code(self) -> int:
        """Return 0 when all is well, 1 when a stage failed, 128 + the signal if one came."""
        if self.signal:
            return 128 + self.signal
        return 0 if all(result.outcome == "ok" for result in self.results) else 1


def run(
    stages: Sequence[Stage],
    table: Mapping[str, Parameter],
    values: Mapping[str, Value],
    *,
    runs: Path,
    tell: Tell,
    cell_timeout: int | None = None,
) -> Run:
    """Run the stages in order, one executed notebook each; those after a failed one are not run."""
    folder = new_folder(
        runs, str(values["cluster_name"].value) if "cluster_name" in values else "run"
    )
    (folder / "params.yaml").write_text(as_yaml(values), encoding="utf-8")
    tell(Event("run", data={"folder": folder, "stages": [stage.name for stage in stages]}))
    with trapped(lambda: tell(Event("interrupt"))) as stop:
        tasks = [
            Task(s.name, folder / f"{s.name}.ipynb", s.path.parent, tell, stop, cell_timeout)
            for s in stages
        ]
        results = list(_results(stages, tasks, table, values))
    tell(Event("done", data={"results": results}))
    return Run(folder, results, stop.signal)


def new_folder(runs: Path, name: str) -> Path:
    """Make and return the folder of a new run: `<time>-<name>`, numbered if that is taken."""
    safe = re.sub(r"[^\w.-]+", "-", name).strip(".-")[:60] or "run"
    base = f"{datetime.now():%Y%m%d-%H%M%S}-{safe}"
    runs.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = runs.resolve() / (base if number == 1 else f"{base}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def _results(
    stages: Sequence[Stage],
    tasks: Sequence[Task],
    table: Mapping[str, Parameter],
    values: Mapping[str, Value],
) -> Iterator[Result]:
    halted = False
    for stage, task in zip(stages, tasks, strict=True):
        if halted or task.stop.signal:
            yield Result(stage.name, "not-run")
            continue
        own = {p.name: values[p.name].value for p in table.values() if stage.name in p.notebooks}
        result = execute(stage, own, task)
        halted = result.outcome != "ok"
        yield result


def execute(stage: Stage, parameters: dict, task: Task) -> Result:
    """Run one stage and return how it ended, told by what was raised."""
    task.tell(Event("stage", stage.name))
    started, raised = time.monotonic(), None
    notebook = _prepared(stage, parameters, task.record)
    try:
        papermill_engines.execute_notebook_with_engine(engine.NAME, notebook, KERNEL, task=task)
    except _ENDINGS as error:
        raised = error
    outcome = _outcome(raised, task.stop)
    notebook.metadata["runbook"] = {"stage": stage.name, "outcome": outcome}
    engine.write(notebook, task.record)
    result = Result(
        stage.name,
        outcome,
        time.monotonic() - started,
        steps(notebook),
        task.record,
        _section(notebook) if raised else "",
        _text(raised, task.stop) if raised else "",
    )
    task.tell(Event("end", stage.name, {"result": result}))
    return result


def _prepared(stage: Stage, parameters: dict, record: Path) -> nbformat.NotebookNode:
    """Return the notebook of a stage with the parameters injected."""
    # papermill formats paths, so a brace in a folder's name must be doubled.
    path = str(stage.path).replace("{", "{{").replace("}", "}}")
    options = {"kernel_name": KERNEL, "language": LANGUAGE, "engine_name": engine.NAME}
    notebook = papermill.execute_notebook(path, None, parameters, prepare_only=True, **options)
    notebook.metadata.papermill["output_path"] = str(record)
    return notebook


def _outcome(raised: BaseException | None, stop: Stop) -> str:
    if raised is None:
        return "ok"
    if stop.signal:
        return "interrupted"
    if isinstance(raised, DeadKernelError):
        return "kernel-died"
    if isinstance(raised, CellTimeoutError) or getattr(raised, "ename", "") == engine.TIMED_OUT:
        return "timed-out"
    return "failed"


def _text(raised: BaseException, stop: Stop) -> str:
    """Return the error's own text, without a traceback."""
    if isinstance(raised, DeadKernelError) and stop.signal:
        return "the cell did not end when told to, so its kernel was killed"
    if isinstance(raised, CellTimeoutError):
        return "the cell did not end in time, nor when it was interrupted"
    if not isinstance(raised, CellExecutionError):
        return f"{raised} (a crash, a kill, or no memory left)" if str(raised) else ""
    text = f"{raised.ename}: {raised.evalue}" if raised.evalue else raised.ename
    hint = "; a cell that ends the kernel early has not done its work"
    return text + hint if raised.ename == "SystemExit" else text


def _section(notebook: nbformat.NotebookNode) -> str:
    """Return the heading of the cell that failed, "" if none did."""
    pairs = zip(notebook.cells, engine.headings(notebook), strict=True)
    failed = (heading for cell, heading in pairs if cell.metadata.papermill["status"] == "failed")
    return next(failed, "")


def steps(notebook: nbformat.NotebookNode) -> list[dict]:
    """Return what the cells of an executed notebook say they changed, in order."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    told = [output.get("data", {}).get(STEP) for output in outputs]
    return [dict(step) for step in told if isinstance(step, dict)]
