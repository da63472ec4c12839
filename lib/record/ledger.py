"""The ledger: `events.jsonl`, one line for everything that began or ended in a run, never edited.

A line is on its way to the disk before what it tells of goes on, so the ledger is true also where
the chain itself died: a run without an end whose ledger nobody holds is abandoned.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from socket import gethostname

from lib.record import whole
from lib.record.events import Event
from lib.record.faults import BadInput
from lib.record.journal import now
from lib.record.lines import append
from lib.waiting import WAIT

FILE = "events.jsonl"
BEGINNINGS = ("run-started", "run-resumed")
ENDS = ("run-ended", "run-abandoned")
LINGERING = 10.0  # seconds that a kernel may live on after its driver on a busy machine


class Ledger:
    """Appends to the ledger of a run folder, and holds it: one at a time can.

    It stays held as long as a process lives that inherited `lock`, such as a kernel of the run.
    Raises `BadInput` when another process holds it.
    """

    def __init__(self, folder: Path):
        self._attempt = 0
        self._waits: dict[str, tuple[str, float]] = {}
        self.lines: list[dict] = []  # of this driver
        self._file = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        if not _locked(self._file):
            os.close(self._file)
            raise BadInput([going_on(folder)])
        self._mend()

    @property
    def lock(self) -> int:
        """Return the descriptor of the open file."""
        return self._file

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def write(self, event: str, **facts: object) -> None:
        """Append a line; None and "" are left out."""
        line = {"at": now(), "event": event, **facts}
        kept = {key: value for key, value in line.items() if value not in (None, "")}
        self.lines.append(kept)
        text = json.dumps(kept, ensure_ascii=False)
        append(self._file, text.encode("utf-8", "backslashreplace") + b"\n")
        if event.startswith(("run-", "stage-")):
            os.fsync(self._file)

    def __call__(self, event: Event) -> None:
        """Append what an event of the run tells, if it is for the ledger."""
        data = event.data
        self._attempt = data.get("attempt", self._attempt)
        whose = {"stage": event.stage, "attempt": self._attempt}
        match event.kind:
            case "run":
                self._run(data)
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
        """Return the lines so far of the last attempt at a stage."""
        return [ln for ln in self.lines if _whose(ln) == (name, self._attempt)]

    def _run(self, data: dict) -> None:
        kind = "run-resumed" if data["resumed"] else "run-started"
        facts = {key: data.get(key) for key in ("notebooks", "cell_timeout", "scratch", "reason")}
        self.write(kind, pid=os.getpid(), host=gethostname(), stages=data["stages"], **facts)

    def _cell_end(self, whose: dict, data: dict) -> None:
        for shown in list(self._waits):  # a wait that its cell did not live to end
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
        """Append a line when what is waited for changes, with the seconds when it ends."""
        before, since = self._waits.pop(shown, ("", 0.0))
        if what:
            self._waits[shown] = what, since if what == before else time.monotonic()
        if before and what != before:
            spent = round(time.monotonic() - since, 3)
            self.write("wait", **whose, waiting=before, seconds=spent)
        if what and what != before:
            self.write("wait", **whose, waiting=what)

    def _mend(self) -> None:
        """End a line that the death of its writer cut off."""
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            append(self._file, b"\n")


def _locked(file: int) -> bool:
    """Lock an open ledger for us alone; tell whether that was possible."""
    for _ in range(10):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)  # somebody may only be looking whether it is held
    return False


def _whose(line: dict) -> tuple:
    return line.get("stage"), line.get("attempt")


def read(folder: Path) -> list[dict]:
    """Return all lines of a run's ledger but those that are none of it; [] if it has none."""
    return [line for line in whole.lines(folder / FILE)[0] if isinstance(line.get("event"), str)]


def held(folder: Path, patience: float = 0.0) -> bool:
    """Tell whether a run's driver or a kernel of it lives, and after `patience` seconds still does.

    The lock goes with the processes, however they end; a kernel ends a second after its driver.
    """
    until = time.monotonic() + patience
    if not (folder / FILE).is_file():
        return False
    with open(folder / FILE, "rb") as file:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
            if time.monotonic() >= until:
                return True
            time.sleep(0.05)


def beginning(folder: Path, lines: Sequence[dict]) -> dict:
    """Return the line of the ledger with which the last driver began; raise `BadInput` if none."""
    found = [line for line in lines if line["event"] in BEGINNINGS]
    if not found:
        raise BadInput([f"{folder}: its ledger does not tell how the run began"])
    return found[-1]


def going_on(folder: Path) -> str:
    """Say that a run has not ended, and who is at work in it."""
    who = _holder(folder) or driver(folder)
    return f"{folder}: its driver (process {who}) or a kernel of it still runs"


def _holder(folder: Path) -> str:
    """Return the process that locked the ledger, "" where the system does not tell (proc(5))."""
    inode = (folder / FILE).stat().st_ino
    with suppress(OSError):
        locks = map(str.split, Path("/proc/locks").read_text().splitlines())
        return next((w[4] for w in locks if w[1] == "FLOCK" and w[5].endswith(f":{inode}")), "")
    return ""


def driver(folder: Path) -> int | str:
    """Return the process id of the last driver, "unknown" where the ledger does not tell."""
    begun = [line for line in read(folder) if line["event"] in BEGINNINGS]
    return begun[-1].get("pid", "unknown") if begun else "unknown"


def is_led(folder: Path) -> bool:
    """Tell whether the last driver lives, as far as this machine can tell."""
    began = next((ln for ln in reversed(read(folder)) if ln["event"] in BEGINNINGS), {})
    if began.get("host") != gethostname():
        return bool(began)
    pid = began.get("pid")
    if type(pid) is not int or pid < 1:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # somebody else's, but it lives
    return True


def ended(lines: Iterable[dict]) -> str:
    """Return how a run ended the last time, "" when its ledger has no end."""
    last = ""
    for line in lines:
        if line["event"] in BEGINNINGS:
            last = ""
        elif line["event"] == "run-ended":
            last = line["cause"]
    return last


def state(folder: Path) -> str:
    """Return how a run ended, or running, or abandoned (its driver died before the end)."""
    return ended(read(folder)) or ("running" if held(folder) else "abandoned")


def attempts(lines: Iterable[dict]) -> dict[str, int]:
    """Return how often each stage was started."""
    counts: dict[str, int] = {}
    for line in lines:
        if line["event"] == "stage-started":
            counts[line["stage"]] = counts.get(line["stage"], 0) + 1
    return counts
