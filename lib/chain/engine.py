"""The engine: papermill's own, but it tells what it hears, writes whole files and keeps the truth.

papermill calls cells that never ran completed when a kernel dies, a time limit is hit or Ctrl-C is
pressed; here each cell's end is told with its cause, and whatever ended the notebook is raised.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from traitlets import Instance

from lib.chain import causes
from lib.chain.interrupts import Stop
from lib.chain.kernels import Kernels, Place
from lib.record import whole
from lib.record.events import Event, Tell
from lib.record.ledger import Ledger

NAME = "runbook"
SAVE_EVERY = 2  # seconds, within a cell
SKIP = "skip-execution"  # the tag of a cell that is not to run

# What papermill and nbclient log is raised as well; a line on the terminal would only disturb.
logging.getLogger("papermill").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Session:
    """What all stages of a run share: who listens, which secrets are known, whose kernels."""

    tell: Tell
    ledger: Ledger
    secrets: set[str]  # grows as the kernels tell of theirs
    kernels: Kernels
    stop: Stop
    cell_timeout: int | None = None  # seconds


@dataclass(frozen=True)
class Task:
    """What the engine needs to know of a stage besides its notebook."""

    place: Place  # the kernel starts in its folder, as in JupyterLab
    record: Path
    session: Session
    next: Place | None = None  # of the stage after this one

    def tell(self, kind: str, **data: object) -> None:
        """Tell of something that happened in this stage."""
        self.session.tell(Event(kind, self.place.stage, data))


def write(notebook: nbformat.NotebookNode, path: Path, *, lasting: bool = False) -> None:
    """Write a notebook as a whole or not at all; `lasting` waits until it is on the disk."""
    whole.write(path, nbformat.writes(notebook) + "\n", lasting=lasting)


def headings(notebook: nbformat.NotebookNode) -> list[str]:
    """Return for each cell the heading that it stands under, "" before the first one."""
    found, current = [], ""
    for cell in notebook.cells:
        lines = cell.source.splitlines() if cell.cell_type == "markdown" else []
        current = next((ln.lstrip("# ") for ln in lines if ln.startswith("#")), current)
        found.append(current)
    return found


class Record(NotebookExecutionManager):
    """The executed notebook of a stage as it grows."""

    def __init__(self, notebook: nbformat.NotebookNode, task: Task):
        super().__init__(notebook, task.record, progress_bar=False, autosave_cell_every=SAVE_EVERY)

    def save(self, **_: object) -> None:
        """Write the notebook as it is now."""
        write(self.nb, self.output_path)
        self.last_save_time = self.now()

    def cell_start(self, cell: nbformat.NotebookNode, *_: object, **__: object) -> None:
        """Set when a cell began. There is nothing new to write; that it began is in the ledger."""
        began = {"start_time": self.now().isoformat(), "status": self.RUNNING, "exception": False}
        cell.metadata.papermill |= began

    def notebook_complete(self, **_: object) -> None:
        """Set when it ended. It is not written: the cells' statuses are the ledger's to tell."""
        self.end_time = self.now()
        told = self.nb.metadata.papermill
        told["end_time"] = self.end_time.isoformat()
        told["duration"] = (self.end_time - self.start_time).total_seconds()


class Client(PapermillNotebookClient):
    """Runs the cells of one stage up to the first that does not end well, telling of each."""

    task = Instance(Task)

    @contextmanager
    def setup_kernel(self, **_: object) -> Iterator[None]:
        """Take a kernel for the while."""
        with self.task.session.kernels.kernel(self.task.place) as (self.km, self.kc):
            yield

    def papermill_execute_cells(self) -> None:
        """Run the code cells in order; raise whatever ended them before the last."""
        with self.task.session.stop.reaching(self.km.provisioner.pgid):
            if self.task.next:
                self.task.session.kernels.warm(self.task.next)
            for index, heading in enumerate(headings(self.nb)):
                if self.nb.cells[index].cell_type == "code":
                    self.task.session.stop.check()
                    self._run(index, heading)

    def _run(self, index: int, heading: str) -> None:
        """Run one cell, telling when it begins and how it ended."""
        cell = self.nb.cells[index]
        named = {"index": index, "cell": cell.get("id", str(index))}
        if SKIP in cell.metadata.get("tags", []) or not cell.source.strip():
            return self.task.tell("cell-end", **named, cause="skipped", seconds=0.0)
        self.task.tell("cell", **named, heading=heading)
        began, raised = time.monotonic(), None
        self.nb_man.cell_start(cell, index)
        try:
            self.execute_cell(cell, index)
        except BaseException as error:
            self.nb_man.cell_exception(cell, cell_index=index)
            raised = error
            raise
        finally:
            self.nb_man.cell_complete(cell, cell_index=index)
            self.task.tell(
                "cell-end", **named, **self._end(raised), seconds=time.monotonic() - began
            )

    def _end(self, raised: BaseException | None) -> dict[str, str]:
        stop = self.task.session.stop
        return {"cause": causes.cause(raised, stop), "error": causes.text(raised, stop)}

    def process_message(self, msg: dict, *args: object, **kwargs: object) -> object:
        """Pass a message of the kernel on to whoever listens, and into the record.

        It is masked already; the last one of a cell tells the secrets that the kernel knows.
        """
        self.task.session.secrets.update(msg["metadata"].pop("secrets", []))
        self.task.tell("message", message=msg)
        return super().process_message(msg, *args, **kwargs)


class Engine(NBClientEngine):
    """papermill's engine with our record and our client."""

    @classmethod
    def execute_notebook(
        cls, nb: nbformat.NotebookNode, kernel_name: str, *, task: Task, **client: object
    ) -> nbformat.NotebookNode:
        """Execute a prepared notebook; further options go to the notebook client.

        Raises what ended the notebook. It holds all that was heard in any case, but is yet to be
        written with the statuses that the ledger tells.
        """
        record = Record(nb, task)
        record.notebook_start()
        try:
            Client(record, **_client_options(task, kernel_name) | client).execute()
        finally:
            record.notebook_complete()
        return record.nb


def _client_options(task: Task, kernel_name: str) -> dict:
    """Return how a client is to run: where, how long, and how a cell past its time is ended."""
    late = f"it had not ended after {task.session.cell_timeout} s and was interrupted"
    return {
        "task": task,
        "kernel_name": kernel_name,
        "log": logging.getLogger("papermill"),
        "timeout": task.session.cell_timeout,
        "interrupt_on_timeout": True,
        "error_on_timeout": {"ename": causes.TIMED_OUT, "evalue": late, "traceback": []},
    }


papermill_engines.register(NAME, Engine)
