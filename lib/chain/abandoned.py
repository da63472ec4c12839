"""Abandoned runs: their driver died before the end, and the next command closes their record."""

import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import nbformat
import psutil

from lib.chain import closing, seal, statuses
from lib.chain.engine import write
from lib.chain.run import SCRATCH
from lib.record import ledger, manifest, plans, whole
from lib.record.ledger import ENDS, Ledger
from lib.report import index

AN_HOUR = 3600  # seconds; no file is written for as long
_KERNELS = re.compile(r"\d+(\.json|-\d+)")  # connection files and sockets
_OWN_NAME = re.compile(r"[0-9]{8}-[0-9]{6}-")  # as closing.new_folder gives it


def find(runs: Path) -> list[Path]:
    """Return the folders of runs that lack an end or its seal.

    Waits for the kernels of a dead driver, which live a moment longer.
    """
    paths = [path.parent for path in sorted(runs.glob(f"*/{ledger.FILE}")) if manifest.plain(path)]
    known = index.kept(runs)
    paths = [path for path in paths if not index.is_closed(path, known.get(path.name, {}))]
    for folder in paths:
        if os.path.lexists(folder / seal.PENDING):
            with whole.alone(runs):  # another process may just be sealing it; else a crash left it
                seal.complete(folder)
    sealed = seal.counted(runs)
    found = [folder for folder in paths if _lacks(folder, sealed) and _begun(folder)]
    return [f for f in found if not ledger.is_locked(f, ledger.patience(f))]


def sweep(runs: Path) -> None:
    """Remove folders of drivers that died before the run began, and sockets of dead drivers.

    Such a folder records no change. Connection files hold keys, so they are removed with the
    processes that need them.
    """
    found = [path for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*") if _left(path)]
    words = " ".join(w for p in psutil.process_iter(["cmdline"]) for w in p.info["cmdline"] or [])
    for scratch in found:
        if f"{scratch}/" not in words:  # a kernel has its connection file among its arguments
            shutil.rmtree(scratch, ignore_errors=True)
    if not runs.is_dir():
        return
    with whole.alone(runs):
        for folder in [path for path in runs.iterdir() if _never_began(path)]:
            shutil.rmtree(folder)
        for unfinished in runs.glob(".*.part"):  # of a process that was killed
            if time.time() - unfinished.stat().st_mtime > AN_HOUR:
                unfinished.unlink()


def _left(scratch: Path) -> bool:
    """Return whether a folder has only what kernels need, and its driver is gone.

    Older versions did not name the process: such a folder is old enough to have kernels, if any.
    """
    named = re.fullmatch(rf"{SCRATCH}(?:([1-9][0-9]{{0,8}})-)?[a-z0-9_]{{8}}", scratch.name)
    try:
        status = scratch.lstat()
        names = [path.name for path in scratch.iterdir()]
        if not named or status.st_uid != os.getuid() or not all(map(_KERNELS.fullmatch, names)):
            return False
        if not named[1]:
            return time.time() - status.st_mtime > ledger.LINGERING
        return psutil.Process(int(named[1])).create_time() > status.st_ctime + 2  # another process
    except OSError:
        return False
    except psutil.NoSuchProcess:
        return True


def _never_began(folder: Path) -> bool:
    """Return whether a folder has only files that are written before a run's first line."""
    if folder.is_symlink() or not folder.is_dir() or not _OWN_NAME.match(folder.name):
        return False
    names = {path.name for path in folder.iterdir()}
    begun = names - {ledger.FILE, "params.yaml", plans.APPROVED, "run.json", "history.json"}
    if any(not name.endswith(".part") for name in begun) or ledger.FILE not in names:
        return not names
    book = folder / ledger.FILE
    return manifest.plain(book) and not book.stat().st_size and not ledger.is_locked(folder)


def _begun(folder: Path) -> bool:
    """Return whether the ledger has the beginning of the run, without which it cannot be closed."""
    return any(line["event"] in ledger.BEGINNINGS for line in ledger.read(folder))


def _lacks(folder: Path, sealed: Counter[str]) -> bool:
    """Return whether a run has no end, or more ends than seals; a lost seal does not count."""
    lines = ledger.read(folder)
    if not lines or lines[-1]["event"] not in ENDS:
        return bool(lines)
    ends = sum(line["event"] in ENDS for line in lines)
    return ends > max(sealed[folder.name], len(manifest.every(folder)))


def close(folder: Path, secrets: Iterable[str] = ()) -> tuple[str, str] | None:
    """Close and seal the record of a run from `find`, and look for the secrets in it.

    Returns the outcome and "", or, if the driver died, "" and the stage in which it died, if in
    one. The statuses in that stage's notebook are then set from the ledger: the running cell was
    killed. Returns None where another process closed it, or went on with it, meanwhile. Raises
    AtWork where another process is at work in the folder.
    """
    with Ledger(folder) as book:
        if not _lacks(folder, seal.counted(folder.parent)):
            return None
        lines = ledger.read(folder)
        ended = (ledger.outcome(lines) or "abandoned") if lines[-1]["event"] in ENDS else ""
        begun = [ln for ln in lines if ln["event"] in ("stage-started", "stage-ended")]
        last = begun[-1] if not ended and begun and begun[-1]["event"] == "stage-started" else {}
        stage = last.get("stage", "")
        _clear(Path(str(ledger.beginning(folder, lines).get("scratch", ""))))
        if stage:
            _close_notebook(folder / f"{stage}.ipynb", last, lines)
        if not ended:
            book.write("run-abandoned", stage=stage)
        closing.end(folder, secrets, outcome=ended or "abandoned")
    return ended, stage


def _close_notebook(path: Path, begun: dict, lines: list[dict]) -> None:
    if not (whole.read(path) or {}).get("cells"):
        return  # there is none, or it is damaged: it stays as it is
    notebook = nbformat.read(path, as_version=4)
    attempt = begun["attempt"]
    own = [ln for ln in lines if (ln.get("stage"), ln.get("attempt")) == (path.stem, attempt)]
    statuses.rewrite(notebook, own, "killed")
    notebook.metadata["runbook"] = {"stage": path.stem, "attempt": attempt, "outcome": "killed"}
    write(notebook, path)


def _clear(scratch: Path) -> None:
    """Remove the kernels' sockets that a dead driver left."""
    if scratch.name.startswith(SCRATCH) and scratch.parent == Path(tempfile.gettempdir()):
        shutil.rmtree(scratch, ignore_errors=True)
