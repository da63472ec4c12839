"""The engine: papermill's own, but it tells what it hears, writes whole files and keeps the truth.

papermill calls cells that never ran completed when a kernel dies, a time limit is hit or Ctrl-C is
pressed; here they stay pending, and whatever ended the notebook is raised as it is.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from traitlets import Instance
from traitlets.config import Config

from lib.chain.interrupts import Stop

NAME = "runbook"
TIMED_OUT = "CellTimedOut"
SAVE_EVERY = 2  # seconds, within a cell

# What papermill and nbclient log is raised as well; a line on the terminal would only disturb.
logging.getLogger("papermill").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Event:
    """Something that happened in a run: its kind, the stage it belongs to, and plain data.

    Kinds and data: run (folder, stages), stage, cell (index, heading), message (message),
    interrupt, end (result), done (results).
    """

    kind: str
    stage: str = ""
    data: dict = field(default_factory=dict)


Tell = Callable[[Event], None]


@dataclass(frozen=True)
class Task:
    """What the engine needs to know of a stage besides its notebook."""

    name: str
    record: Path
    folder: Path  # the kernel starts here, as in JupyterLab
    tell: Tell
    stop: Stop
    cell_timeout: int | None = None  # seconds


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook as a whole or not at all."""
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    os.replace(unfinished, path)


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

    ran_to_its_end = False

    def save(self, **_: object) -> None:
        """Write the notebook as it is now."""
        write(self.nb, self.output_path)
        self.last_save_time = self.now()

    def notebook_complete(self, **kwargs: object) -> None:
        """Close the record; cells that never ran stay pending."""
        never_ran = [c for c in self.nb.cells if c.metadata.papermill["status"] == self.PENDING]
        super().notebook_complete(**kwargs)
        if not self.ran_to_its_end:
            self.nb.metadata.papermill["exception"] = True
            for cell in never_ran:
                cell.metadata.papermill["status"] = self.PENDING
            self.save()


class Client(PapermillNotebookClient):
    """Runs the cells of one stage up to the first that does not end well, telling of each."""

    task = Instance(Task)

    def execute(self, **kwargs: object) -> nbformat.NotebookNode:
        """Run all cells in a new kernel; raise whatever ended them before the last."""
        quiet = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        return super().execute(env=quiet, **kwargs)

    def start_new_kernel_client(self, **kwargs: object) -> object:
        """Wait until the kernel answers; raise `DeadKernelError` when it never does."""
        try:
            return super().start_new_kernel_client(**kwargs)
        except RuntimeError as error:
            raise DeadKernelError(f"the kernel did not start: {error}") from error

    def papermill_execute_cells(self) -> None:
        """Run the cells in order."""
        with self.task.stop.reaching(self.km.provisioner.pgid):
            for index, heading in enumerate(headings(self.nb)):
                if self.nb.cells[index].cell_type == "code":
                    self.task.stop.check()
                    self._tell("cell", index=index, heading=heading)
                    self._execute_one(index)
        self.nb_man.ran_to_its_end = True

    def _execute_one(self, index: int) -> None:
        cell = self.nb.cells[index]
        self.nb_man.cell_start(cell, index)
        try:
            self.execute_cell(cell, index)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            self.nb_man.cell_exception(cell, cell_index=index, exception=error)
            self.nb_man.cell_complete(cell, cell_index=index)
            raise
        self.nb_man.cell_complete(cell, cell_index=index)

    def process_message(self, msg: dict, *args: object, **kwargs: object) -> object:
        """Pass a message of the kernel on to whoever listens, and into the record."""
        self._tell("message", message=msg)
        return super().process_message(msg, *args, **kwargs)

    def _tell(self, kind: str, **data: object) -> None:
        self.task.tell(Event(kind, self.task.name, data))


class Engine(NBClientEngine):
    """papermill's engine with our record and our client."""

    @classmethod
    def execute_notebook(
        cls, nb: nbformat.NotebookNode, kernel_name: str, *, task: Task, **client: object
    ) -> nbformat.NotebookNode:
        """Execute a prepared notebook; further options go to the notebook client (`km=` for one).

        Raises what ended the notebook; its record is complete and written in any case.
        """
        record = Record(nb, task.record, progress_bar=False, autosave_cell_every=SAVE_EVERY)
        record.notebook_start()
        try:
            Client(record, **_client_options(task, kernel_name) | client).execute()
        finally:
            record.notebook_complete()
        return record.nb


def _client_options(task: Task, kernel_name: str) -> dict:
    """Return how a client is to run: where, how long, and how a cell past its time is ended."""
    late = f"it had not ended after {task.cell_timeout} s and was interrupted"
    return {
        "task": task,
        "kernel_name": kernel_name,
        "log": logging.getLogger("papermill"),
        "resources": {"metadata": {"path": str(task.folder)}},
        "shutdown_kernel": "immediate",
        "timeout": task.cell_timeout,
        "interrupt_on_timeout": True,
        "error_on_timeout": {"ename": TIMED_OUT, "evalue": late, "traceback": []},
        # Without it, each kernel warns on the terminal that its sockets are not encrypted.
        "config": Config({"KernelManager": {"transport_encryption": "auto"}}),
    }


papermill_engines.register(NAME, Engine)
