"""Statuses: what an executed notebook says of its own cells, set to what the ledger tells."""

from collections.abc import Iterable, Mapping

import nbformat

# In papermill's own words, for tools that read those: a cell that did not run is never completed.
_WORDS = {"ok": "completed", "skipped": "pending", "not-run": "pending"}


def rewrite(notebook: nbformat.NotebookNode, lines: Iterable[Mapping], cause: str) -> None:
    """Set a notebook's own status fields to what the ledger tells of the attempt.

    papermill's fields keep papermill's words; the cause is beside them in `runbook`.
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
    """Return the cause of each cell that began; `unended` for one whose end nobody saw."""
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
