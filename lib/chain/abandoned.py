"""Abandoned runs: their driver died without a word, and the next command closes their record."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import nbformat

from lib.chain import closing, seal, statuses
from lib.chain.engine import write
from lib.chain.run import SCRATCH
from lib.record import ledger, manifest
from lib.record.ledger import ENDS, Ledger


def find(runs: Path) -> list[Path]:
    """Return the folders of runs that lack an end, or the seal that follows it.

    Where the driver is dead, a kernel that lives on for a moment is waited for.
    """
    paths = [path.parent for path in sorted(runs.glob(f"*/{ledger.FILE}")) if manifest.plain(path)]
    for folder in paths:
        seal.complete(folder)
    noted = seal.counted(runs)
    found = [folder for folder in paths if _lacks(folder, noted)]
    return [f for f in found if not ledger.held(f, 0 if ledger.is_led(f) else ledger.LINGERING)]


def _lacks(folder: Path, noted: Counter[str]) -> bool:
    """Tell whether a run has no end, or an end more than seals; one that lost a seal has not."""
    lines = ledger.read(folder)
    if not lines or lines[-1]["event"] not in ENDS:
        return bool(lines)
    ends = sum(line["event"] in ENDS for line in lines)
    return ends > max(noted[folder.name], len(manifest.every(folder)))


def close(folder: Path, secrets: Iterable[str] = ()) -> tuple[str, str]:
    """Close the record of a run that `find` found, and seal it; it should hold none of the secrets.

    Return how it had ended, and "" for the stage; or "", and the stage in which its driver died, if
    in one. Then its last notebook's statuses are set to what the ledger tells: the cell that ran
    was killed. Raises `BadInput` where another process is at work in the folder.
    """
    lines = ledger.read(folder)
    ended = (ledger.ended(lines) or "abandoned") if lines[-1]["event"] in ENDS else ""
    begun = [ln for ln in lines if ln["event"] in ("stage-started", "stage-ended")]
    last = begun[-1] if not ended and begun and begun[-1]["event"] == "stage-started" else {}
    stage = last.get("stage", "")
    with Ledger(folder) as book:
        _clear(Path(ledger.beginning(folder, lines).get("scratch", "")))
        if stage:
            _close_notebook(folder / f"{stage}.ipynb", last, lines)
        if not ended:
            book.write("run-abandoned", stage=stage)
        closing.end(folder, secrets, outcome=ended or "abandoned")
    return ended, stage


def _close_notebook(path: Path, begun: dict, lines: list[dict]) -> None:
    if not path.exists():
        return
    notebook = nbformat.read(path, as_version=4)
    attempt = begun["attempt"]
    own = [ln for ln in lines if (ln.get("stage"), ln.get("attempt")) == (path.stem, attempt)]
    statuses.rewrite(notebook, own, "killed")
    notebook.metadata["runbook"] = {"stage": path.stem, "attempt": attempt, "outcome": "killed"}
    write(notebook, path, lasting=True)


def _clear(scratch: Path) -> None:
    """Remove what a dead driver left of its kernels' sockets."""
    if scratch.name.startswith(SCRATCH) and scratch.parent == Path(tempfile.gettempdir()):
        shutil.rmtree(scratch, ignore_errors=True)
