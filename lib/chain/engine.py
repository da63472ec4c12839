"""The engine: papermill's own, with events, whole files and right statuses.

papermill marks cells that never ran as completed when a kernel dies, a time limit is hit or Ctrl-C
is pressed. Here the end of each cell is an event with its cause, and the exception that ended the
notebook is raised.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import nbformat
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from traitlets import Any, Instance

from lib.chain import results
from lib.chain.interrupts import Stop
from lib.chain.kernels import Kernels, Place
from lib.record import whole
from lib.record.cells import headings
from lib.record.events import Event, Listener
from lib.record.ledger import Ledger

NAME = "runbook"
SAVE_EVERY = 2  # seconds, within a cell
MERGED = 64 * 1024  # characters of an output to which a stream appends; longer ones copy too much
GRACE = 4  # seconds that an interrupted cell has to end
SKIP = "skip-execution"  # the tag of a cell that does not run

# papermill and nbclient raise the errors that they log; log lines would only disturb the terminal.
logging.getLogger("papermill").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Session:
    """Shared by all stages of a run: listener, ledger, secrets, kernels and signals."""

    tell: Listener
    ledger: Ledger
    secrets: set[str]  # grows with the secrets of the kernels
    kernels: Kernels
    stop: Stop
    cell_timeout: int | None = None  # seconds


@dataclass(frozen=True)
class Task:
    """Input of the engine for a stage besides its notebook."""

    place: Place  # the kernel starts in its folder, as in JupyterLab
    record: Path
    session: Session
    next: Place | None = None  # of the stage after this one

    def tell(self, kind: str, **data: object) -> None:
        """Pass an event of this stage to the listener."""
        self.session.tell(Event(kind, self.place.stage, data))


def write(notebook: nbformat.NotebookNode, path: Path, *, lasting: bool = True) -> None:
    """Write a notebook as a whole or not at all; `lasting` waits until it is on the disk."""
    whole.write(path, nbformat.writes(notebook) + "\n", lasting=lasting)


class Record(NotebookExecutionManager):
    """The executed notebook of a stage as it grows."""

    def __init__(self, notebook: nbformat.NotebookNode, task: Task):
        super().__init__(notebook, task.record, progress_bar=False, autosave_cell_every=SAVE_EVERY)

    def save(self, **_: object) -> None:
        """Write the notebook as it is now."""
        write(self.nb, self.output_path, lasting=False)
        self.last_save_time = self.now()

    def cell_start(self, cell: nbformat.NotebookNode, *_: object, **__: object) -> None:
        """Set the start time of a cell, without a save: the ledger has its start."""
        began = {"start_time": self.now().isoformat(), "status": self.RUNNING, "exception": False}
        cell.metadata.papermill |= began

    def notebook_complete(self, **_: object) -> None:
        """Set the end time, without a save: the statuses come from the ledger later."""
        self.end_time = self.now()
        metadata = self.nb.metadata.papermill
        metadata["end_time"] = self.end_time.isoformat()
        metadata["duration"] = (self.end_time - self.start_time).total_seconds()


class Client(PapermillNotebookClient):
    """Runs the cells of a stage up to the first that fails, with events for each."""

    task = Instance(Task)
    iopub_timeout = Any(None)  # all output is awaited, however long it takes

    @contextmanager
    def setup_kernel(self, **_: object) -> Iterator[None]:
        """Use a kernel of the session for the block."""
        with self.task.session.kernels.kernel(self.task.place) as (self.km, self.kc):
            yield

    def papermill_execute_cells(self) -> None:
        """Run the code cells in order; raise the exception of the first that fails."""
        with self.task.session.stop.reaching(self.km.provisioner.pgid):
            if self.task.next:
                self.task.session.kernels.warm(self.task.next)
            for index, heading in enumerate(headings(self.nb.cells)):
                if self.nb.cells[index].cell_type == "code":
                    self.task.session.stop.check()
                    self._run(index, heading)

    def _run(self, index: int, heading: str) -> None:
        """Run one cell, with events for its start and its end."""
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
        return {"cause": results.cause_of(raised, stop), "error": results.error_of(raised, stop)}

    def process_message(self, msg: dict, *args: object, **kwargs: object) -> object:
        """Pass a message of the kernel to the listener and into the record.

        It is masked already; the last message of a cell has the kernel's secrets.
        """
        self.task.session.secrets.update(msg["metadata"].pop("secrets", []))
        self.task.tell("message", message=msg)
        return super().process_message(msg, *args, **kwargs)

    def output(self, outs: list, msg: dict, *args: object) -> object:
        """Append a text to the output before it if both are of one stream; else add an output."""
        hooked = self.output_hook_stack[msg["parent_header"].get("msg_id")]
        plain = msg["msg_type"] == "stream" and not hooked and not self.clear_before_next_output
        if plain and outs:
            last, content = outs[-1], msg["content"]
            if last.get("name") == content["name"] and len(last["text"]) < MERGED:
                last["text"] += content["text"]
                return last
        return super().output(outs, msg, *args)

    async def _async_handle_timeout(self, *args: object) -> dict:
        """Interrupt a cell past its time; from now on its output is awaited for GRACE seconds."""
        self.iopub_timeout = GRACE
        reply = await super()._async_handle_timeout(*args)
        return reply | {"header": {"date": datetime.now(UTC)}}


class Engine(NBClientEngine):
    """papermill's engine with our record and our client."""

    @classmethod
    def execute_notebook(
        cls, nb: nbformat.NotebookNode, kernel_name: str, *, task: Task, **client: object
    ) -> nbformat.NotebookNode:
        """Execute a prepared notebook; further options go to the notebook client.

        Raises the exception that ended the notebook. The notebook has all messages in any case; the
        caller sets the statuses from the ledger and writes it.
        """
        record = Record(nb, task)
        record.notebook_start()
        try:
            Client(record, **_client_options(task, kernel_name) | client).execute()
        finally:
            record.notebook_complete()
        return record.nb


def _client_options(task: Task, kernel_name: str) -> dict:
    """Return the options of a client, and the error for a cell past its time."""
    late = f"it had not ended after {task.session.cell_timeout} s and was interrupted"
    return {
        "task": task,
        "kernel_name": kernel_name,
        "log": logging.getLogger("papermill"),
        "timeout": task.session.cell_timeout,
        "interrupt_on_timeout": True,
        "error_on_timeout": {"ename": results.TIMED_OUT, "evalue": late, "traceback": []},
    }


papermill_engines.register(NAME, Engine)
