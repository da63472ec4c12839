"""The ledger: `events.jsonl`, a line for each beginning and end in a run, never edited.

A line is written before the run goes on, so the ledger is right even where the chain itself died:
a run without an end whose ledger no process has locked is abandoned.
"""

import fcntl
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from socket import gethostname
from typing import BinaryIO

import psutil

from lib.errors import AtWork
from lib.record import jsonl, locks
from lib.record.events import Event
from lib.record.faults import BadInput
from lib.record.journal import now
from lib.waiting import WAIT

FILE = "events.jsonl"
BEGINNINGS = ("run-started", "run-resumed")
ENDS = ("run-ended", "run-abandoned")
TAKEN = 0.5  # seconds; `is_locked` takes the lock for a moment
LINGERING = 10.0  # seconds that a kernel may live on after its driver on a busy machine


class Ledger:
    """Appends to the ledger of a run folder, and locks it against other drivers.

    It stays locked while any process lives that inherited `lock`, such as a kernel of the run.
    Raises AtWork when another process has it locked for longer than `patience`, in seconds.
    """

    def __init__(self, folder: Path, patience: float = TAKEN):
        self._attempt = 0
        self._waits: dict[str, tuple[str, float]] = {}
        self.lines: list[dict] = []  # of this driver
        self._file = jsonl.open_file(folder / FILE)
        if not _lock(self._file, fcntl.LOCK_EX, max(patience, TAKEN)):
            os.close(self._file)
            raise at_work(folder)

    @property
    def lock(self) -> int:
        """Return the descriptor of the open file."""
        return self._file

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def write(self, event: str, **facts: object) -> None:
        """Append a line; values that are None or "" are left out."""
        line = {"at": now(), "event": event, **facts}
        row = {key: value for key, value in line.items() if value not in (None, "")}
        self.lines.append(row)
        jsonl.append(self._file, row)
        if event.startswith(("run-", "stage-")):
            os.fsync(self._file)

    def __call__(self, event: Event) -> None:
        """Append an event of the run if the ledger records its kind."""
        data = event.data
        self._attempt = data.get("attempt", self._attempt)
        whose = {"stage": event.stage, "attempt": self._attempt}
        match event.kind:
            case "run":
                self._run(data)
            case "approved":
                self.write("approved", **data)
            case "taken":
                self.write("lock-taken", **data)
            case "stage":
                self.write("stage-started", **whose)
            case "cell":
                self.write("cell-started", **whose, cell=data["cell"], index=data["index"])
            case "cell-end":
                self._cell_end(whose, data)
            case "message":
                self._message(whose, data["message"]["content"])
            case "end":
                self._stage_end(whose, data["result"])
            case "done":
                facts = {"cause": data["cause"], "seconds": round(data["seconds"], 3)}
                self.write("run-ended", **facts, error=data.get("error"))

    def stage(self, name: str) -> list[dict]:
        """Return this driver's lines on the last attempt at a stage."""
        return [ln for ln in self.lines if _whose(ln) == (name, self._attempt)]

    def _run(self, data: dict) -> None:
        kind = "run-resumed" if data["resumed"] else "run-started"
        facts = {key: data.get(key) for key in ("notebooks", "cell_timeout", "scratch", "reason")}
        self.write(kind, pid=os.getpid(), host=gethostname(), stages=data["stages"], **facts)

    def _cell_end(self, whose: dict, data: dict) -> None:
        for shown in list(self._waits):  # waits that the cell did not end itself
            self._wait(whose, shown, "")
        self.write("cell-ended", **whose, **data | {"seconds": round(data["seconds"], 3)})

    def _stage_end(self, whose: dict, result) -> None:
        facts = {"cause": result.outcome, "seconds": round(result.seconds, 3)}
        self.write("stage-ended", **whose, **facts, error=result.error, steps=result.steps)

    def _message(self, whose: dict, content: dict) -> None:
        facts = (content.get("data") or {}).get(WAIT)
        if isinstance(facts, dict):
            shown = (content.get("transient") or {}).get("display_id", "")
            self._wait(whose, shown, str(facts.get("waiting") or ""))

    def _wait(self, whose: dict, shown: str, what: str) -> None:
        """Append a line when a wait begins, and one with its seconds when it ends."""
        before, since = self._waits.pop(shown, ("", 0.0))
        if what:
            self._waits[shown] = what, since if what == before else time.monotonic()
        if before and what != before:
            spent = round(time.monotonic() - since, 3)
            self.write("wait", **whose, waiting=before, seconds=spent)
        if what and what != before:
            self.write("wait", **whose, waiting=what)


def _lock(file: int | BinaryIO, how: int, patience: float) -> bool:
    """Lock an open ledger; return whether that worked within `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(file, how | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(0.05)


def _whose(line: dict) -> tuple:
    return line.get("stage"), line.get("attempt")


def read(folder: Path) -> list[dict]:
    """Return the complete lines of a run's ledger, [] if it has none."""
    return [line for line in jsonl.read(folder / FILE)[0] if isinstance(line.get("event"), str)]


def is_locked(folder: Path, patience: float = 0.0) -> bool:
    """Return whether a run's driver or kernel still lives after up to `patience` seconds.

    The system drops the lock with the processes; a kernel ends a second after its driver.
    """
    if not (folder / FILE).is_file():
        return False
    with open(folder / FILE, "rb") as file:
        return not _lock(file, fcntl.LOCK_SH, patience)


def _began(lines: Sequence[dict]) -> dict:
    """Return the first line of the last driver, {} if there is none."""
    return next((line for line in reversed(lines) if line["event"] in BEGINNINGS), {})


def beginning(folder: Path, lines: Sequence[dict]) -> dict:
    """Return the first line of the last driver; raise `BadInput` if there is none."""
    if found := _began(lines):
        return found
    raise BadInput([f"{folder}: its ledger ({FILE}) has no line on the beginning of the run"])


def at_work(folder: Path) -> AtWork:
    """Return the error of a run that has not ended, with the process at work in it."""
    who = _holder(folder) or driver(folder)
    text = f"{folder}: its driver (process {who}) or a kernel of it still runs"
    return AtWork(text, next_step=locks.WAIT)


def _holder(folder: Path) -> str:
    """Return the process that locked the ledger, "" where proc(5) does not list it."""
    inode = (folder / FILE).stat().st_ino
    with suppress(OSError):
        locks = map(str.split, Path("/proc/locks").read_text().splitlines())
        return next((w[4] for w in locks if w[1] == "FLOCK" and w[5].endswith(f":{inode}")), "")
    return ""


def driver(folder: Path) -> int | str:
    """Return the process id of the last driver, "unknown" where the ledger has none."""
    return _began(read(folder)).get("pid", "unknown")


def driver_lives(folder: Path) -> bool:
    """Return whether the last driver lives; one on another machine is taken to live."""
    began = _began(read(folder))
    if began.get("host") != gethostname():
        return bool(began)
    pid = began.get("pid")
    if type(pid) is not int or pid < 1:
        return False
    try:
        line_written = datetime.fromisoformat(str(began.get("at"))).timestamp()
        # A later process with the same pid has begun after that.
        return psutil.Process(pid).create_time() < line_written + 1
    except (psutil.NoSuchProcess, OverflowError, ValueError):
        return False


def outcome(lines: Iterable[dict]) -> str:
    """Return the cause with which the last driver ended, "" when it has not ended."""
    last = ""
    for line in lines:
        if line["event"] in BEGINNINGS:
            last = ""
        elif line["event"] == "run-ended":
            last = str(line.get("cause") or "unknown")
    return last


def state(folder: Path) -> str:
    """Return the outcome of a run, or running, or abandoned (its driver died)."""
    return outcome(read(folder)) or ("running" if is_locked(folder) else "abandoned")


def patience(folder: Path) -> float:
    """Return how many seconds to wait for the lock: none for a living driver, else its kernels."""
    return 0.0 if driver_lives(folder) else LINGERING


def attempts(lines: Iterable[dict]) -> dict[str, int]:
    """Return the number of attempts at each stage."""
    counts: dict[str, int] = {}
    for line in lines:
        if line["event"] == "stage-started":
            counts[line["stage"]] = counts.get(line["stage"], 0) + 1
    return counts
