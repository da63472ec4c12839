"""Abandoned runs: their driver died without a word, and the next command closes their record."""

import tempfile
from collections import Counter
from pathlib import Path

import nbformat

from lib.chain import closing, ledger, manifest, seal, statuses
from lib.chain.engine import write
from lib.chain.ledger import Ledger
from lib.chain.redact import Known, Redactor

CLOSED = ("run-ended", "run-abandoned")


def find(runs: Path) -> list[Path]:
    """Return the folders of runs that ended without a word and were not found so before.

    Where the driver is dead, a kernel that lives on for a moment is waited for.
    """
    found = [path.parent for path in sorted(runs.glob(f"*/{ledger.FILE}")) if _open(path.parent)]
    return [f for f in found if not ledger.held(f, 0 if ledger.is_led(f) else ledger.LINGERING)]


def unsealed(runs: Path) -> list[Path]:
    """Return the folders of runs that came to their end, but whose driver died before the seal.

    One that has lost its seal is none of them: the log of seals tells of it.
    """
    noted = seal.counted(runs)
    paths = [path.parent for path in sorted(runs.glob(f"*/{ledger.FILE}"))]
    return [f for f in paths if _lacks_seal(f, noted) and not ledger.held(f)]


def _lacks_seal(folder: Path, noted: Counter) -> bool:
    lines = ledger.read(folder)
    ends = sum(line["event"] in CLOSED for line in lines)
    seals = max(noted[folder.name], len(manifest.every(folder)))
    return bool(lines) and lines[-1]["event"] in CLOSED and ends > seals


def seal_late(folder: Path) -> str:
    """Seal a run that came to its end; return how it had ended."""
    lines = ledger.read(folder)
    cause = ledger.ended(lines) or "abandoned"
    with _known(ledger.beginning(folder, lines)) as known:
        redactor = Redactor(known)
        with Ledger(folder, redactor.text):
            closing.end(folder, redactor, outcome=cause)
    return cause


def _open(folder: Path) -> bool:
    lines = ledger.read(folder)
    return bool(lines) and lines[-1]["event"] not in CLOSED


def close(folder: Path) -> str:
    """Close the record of an abandoned run; return the stage in which its driver died, or "".

    Its last notebook's statuses are set to what the ledger tells: the cell that ran was killed.
    """
    lines = ledger.read(folder)
    begun = [ln for ln in lines if ln["event"] in ("stage-started", "stage-ended")]
    last = begun[-1] if begun and begun[-1]["event"] == "stage-started" else {}
    stage = last.get("stage", "")
    with _known(ledger.beginning(folder, lines)) as known:
        redactor = Redactor(known)
        with Ledger(folder, redactor.text) as book:
            if stage:
                _close_notebook(folder / f"{stage}.ipynb", last, lines, redactor)
            book.write("run-abandoned", stage=stage)
        closing.end(folder, redactor, outcome="abandoned")
    return stage


def _close_notebook(path: Path, begun: dict, lines: list[dict], redactor: Redactor) -> None:
    if not path.exists():
        return
    notebook = nbformat.read(path, as_version=4)
    attempt = begun["attempt"]
    own = [ln for ln in lines if (ln.get("stage"), ln.get("attempt")) == (path.stem, attempt)]
    statuses.rewrite(notebook, own, "killed")
    notebook.metadata["runbook"] = {"stage": path.stem, "attempt": attempt, "outcome": "killed"}
    write(redactor.notebook(notebook), path, lasting=True)


def _known(began: dict) -> Known:
    """Return the secrets that the dead driver knew; they were left where only we can read them."""
    left = Path(began.get("scratch", ""))
    ours = left.name.startswith("runbook-") and left.parent == Path(tempfile.gettempdir())
    return Known(left / "secrets") if ours and (left / "secrets").exists() else Known.create()
