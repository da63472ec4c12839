"""Abandoned runs: their driver died without a word, and the next command closes their record."""

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import nbformat
import psutil

from lib.chain import closing, seal, statuses
from lib.chain.engine import write
from lib.chain.run import SCRATCH
from lib.record import ledger, manifest
from lib.record.ledger import ENDS, Ledger

_OWN_NAME = re.compile(r"[0-9]{8}-[0-9]{6}-")  # as run.new_folder gives it


def find(runs: Path) -> list[Path]:
    """Return the folders of runs that lack an end, or the seal that follows it.

    Where the driver is dead, a kernel that lives on for a moment is waited for.
    """
    paths = [path.parent for path in sorted(runs.glob(f"*/{ledger.FILE}")) if manifest.plain(path)]
    for folder in paths:
        seal.complete(folder)
    noted = seal.counted(runs)
    found = [folder for folder in paths if _lacks(folder, noted) and _begun(folder)]
    return [f for f in found if not ledger.held(f, 0 if ledger.is_led(f) else ledger.LINGERING)]


def sweep(runs: Path) -> None:
    """Remove what drivers left that died before a run began, and the kernels' sockets of dead ones.

    Such a folder tells of nothing: nothing was started. Connection files hold keys, so they do not
    outlive the processes that need them.
    """
    for scratch in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*-*"):
        pid = re.fullmatch(rf"{SCRATCH}([1-9][0-9]{{0,8}})-.+", scratch.name)
        if pid and scratch.stat().st_uid == os.getuid() and not psutil.pid_exists(int(pid[1])):
            shutil.rmtree(scratch, ignore_errors=True)
    if not runs.is_dir():
        return
    with seal.alone(runs):
        for folder in [path for path in runs.iterdir() if _never_began(path)]:
            shutil.rmtree(folder)


def _never_began(folder: Path) -> bool:
    """Tell whether a folder holds nothing but what is written before a run's first line."""
    if folder.is_symlink() or not folder.is_dir() or not _OWN_NAME.match(folder.name):
        return False
    names = {path.name for path in folder.iterdir()}
    begun = names - {ledger.FILE, "params.yaml", "run.json", "history.json"}
    if any(not name.endswith(".part") for name in begun) or ledger.FILE not in names:
        return not names
    book = folder / ledger.FILE
    return manifest.plain(book) and not book.stat().st_size and not ledger.held(folder)


def _begun(folder: Path) -> bool:
    """Tell whether a ledger tells how the run began; without that nobody can close it."""
    return any(line["event"] in ledger.BEGINNINGS for line in ledger.read(folder))


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
        _clear(Path(str(ledger.beginning(folder, lines).get("scratch", ""))))
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
