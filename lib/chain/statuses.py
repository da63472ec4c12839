"""Sets the statuses in an executed notebook from the ledger."""

from collections.abc import Iterable, Mapping

import nbformat

# papermill's words, for tools that read them; a cell that did not run is never completed.
_WORDS = {"ok": "completed", "skipped": "pending", "not-run": "pending"}


def rewrite(notebook: nbformat.NotebookNode, lines: Iterable[Mapping], cause: str) -> None:
    """Set the status fields of a notebook from the ledger's lines on the attempt.

    papermill's fields get papermill's words; `runbook` beside them has the cause.
    """
    seen = _causes(lines, "not-run" if cause == "ok" else cause)
    notebook.metadata.papermill["exception"] = None if cause == "ok" else True
    last = max(seen, default=-1) if cause != "ok" else len(notebook.cells)
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            _rewrite_cell(cell, seen.get(index, "not-run"))
        else:
            cell.metadata.papermill["status"] = "completed" if index < last else "pending"


def _causes(lines: Iterable[Mapping], unended: str) -> dict[int, str]:
    """Return the cause of each cell that started; `unended` for one without an end."""
    seen: dict[int, str] = {}
    for line in lines:
        if line["event"] in ("cell-started", "cell-ended"):
            seen[line["index"]] = line.get("cause", unended)
    return seen


def _rewrite_cell(cell: nbformat.NotebookNode, cause: str) -> None:
    ran = cause not in ("skipped", "not-run")
    status = _WORDS.get(cause, "failed")
    cell.metadata.papermill |= {"status": status, "exception": status == "failed" if ran else None}
    cell.metadata["runbook"] = {"cause": cause}
