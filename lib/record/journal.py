"""The journal: what is about to be changed, written down before it is sent, and what became of it.

One JSON object a line, in `journal.jsonl` of the run folder; an `intent`, then what is learned of
it: `accepted` (a job runs), then `done`, `failed`, `refused`, `adopted` (the answer was lost, the
resource is there), `not-sent` (the change was not made) or `lost` (nobody can tell). It outlives
the process that writes it, however that ends: the next one takes up what was left open. What a run
that was given up had left open is `looked-after` in the journal of the next one.
"""

import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lib.errors import CheckFailed
from lib.record.lines import append

ROOT = Path(__file__).resolve().parents[2]
INTERACTIVE = "interactive"  # the folder of runs without the chain, shared by all notebooks
OPEN = ("intent", "accepted")
# What is secret, what may hold secrets, and what only signs a request: never written down.
HIDDEN = ("apikey", "signature", "signatureversion", "expires", "userdata", "password")


def run_folder() -> Path:
    """Return the run folder: $RUNBOOK_RUN, which the chain sets, or `runs/interactive`."""
    return Path(os.environ.get("RUNBOOK_RUN") or ROOT / "runs" / INTERACTIVE)


def shown(params: dict) -> dict:
    """Return the parameters that may be written down."""
    return {k: v for k, v in params.items() if k.lower() not in HIDDEN and v is not None}


def now() -> str:
    """Return this moment as the records hold it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass
class Journal:
    """The journal of a run folder, for the changes at one cloud: its `endpoint`.

    Several processes may write to one; what others wrote is read before each use.
    """

    folder: Path
    endpoint: str
    entries: dict[int, dict] = field(default_factory=dict)
    read: int = 0  # bytes of the file so far

    @property
    def path(self) -> Path:
        """The file of the journal."""
        return self.folder / "journal.jsonl"

    def intend(
        self, command: str, what: str, params: dict, customjobid: str | None, **terms: float
    ) -> dict:
        """Write down a change before it is sent, safe on the disk, and return its entry.

        `terms` are seconds: `within` which it must end, and that it is expected to take.
        """
        line = {"command": command, "what": what, "params": shown(params)}
        line |= {"customjobid": customjobid, "stage": os.environ.get("RUNBOOK_STAGE", "")}
        line |= {"endpoint": self.endpoint, "process": _this_process()}
        line |= {name: round(seconds, 3) for name, seconds in terms.items() if seconds}
        return self._append({"n": None, "state": "intent"} | line, sync=True)

    def accepted(self, entry: dict, job: str, resource: object = None) -> None:
        """Write down that a job was started for it."""
        known = {"job": str(job), "resource": resource and str(resource)}
        self._append({"n": entry["n"], "state": "accepted"} | known)

    def ended(self, entry: dict, state: str, text: str = "", resource: object = None) -> None:
        """Write down how it ended; what has ended already keeps its end."""
        if entry["state"] in OPEN:
            more = {"resource": str(resource)} if resource is not None else {}
            self._append({"n": entry["n"], "state": state, "text": text} | more)

    def job_ended(self, job: str, state: str, text: str = "", resource: object = None) -> None:
        """Write down how a job ended, if it is one of this journal's."""
        for entry in self.unfinished():
            if entry.get("job") == job:
                self.ended(entry, state, text, resource)

    def looked_after(self, run: str, entry: dict, text: str) -> None:
        """Write down what became of a change that another run had left open."""
        line = {"command": entry["command"], "what": entry["what"], "endpoint": self.endpoint}
        line |= {"run": run, "of": entry["n"], "text": f"left open by {run}: {text}"}
        line |= {"stage": os.environ.get("RUNBOOK_STAGE", "")}
        self._append({"n": None, "state": "looked-after"} | line)

    def every(self) -> list[dict]:
        """Return all entries for this cloud as they are now."""
        self._catch_up()
        return [e for e in self.entries.values() if e["endpoint"] == self.endpoint]

    def unfinished(self) -> list[dict]:
        """Return what was sent to this cloud, or was about to be, and has no outcome yet."""
        return [e for e in self.every() if e["state"] in OPEN]

    def _append(self, line: dict, sync: bool = False) -> dict:
        """Write one line, numbering it if need be, and return the entry as it is now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # let go of as the file is closed
            self._catch_up()
            line["n"] = line["n"] or max(self.entries, default=0) + 1
            torn = self.read != file.seek(0, os.SEEK_END)  # a line cut off by a crash
            text = json.dumps({"at": now()} | line, default=str, ensure_ascii=False)
            append(file.fileno(), b"\n" * torn + text.encode() + b"\n")
            if sync:
                os.fsync(file.fileno())
        self._catch_up()
        return self.entries[line["n"]]

    def _catch_up(self) -> None:
        """Read the whole lines that were added to the file since the last look."""
        if not self.path.exists():
            return
        with open(self.path, "rb") as file:
            file.seek(self.read)
            for raw in file:
                if not raw.endswith(b"\n"):
                    return
                self.read += len(raw)
                self._take(raw)

    def _take(self, raw: bytes) -> None:
        try:
            line = json.loads(raw)
            number, state, at = line["n"], line["state"], line["at"]
            first = {"sent": at} if state == "intent" else {}
            known = self.entries.get(number, {})
            if type(number) is not int or not {"command", "what", "endpoint"} <= {*known, *line}:
                return  # it tells of no change
        except (ValueError, TypeError, KeyError, RecursionError):
            return  # cut off by a crash before it was whole: it was not safe, so nothing was sent
        self.entries.setdefault(number, {}).update(first | line)


_held: dict[Path, int] = {}  # run folders that this process holds, by a lock on them


def hold(folder: Path, sleep: Callable[[float], None]) -> None:
    """Let no other process work in a run folder while this one lives.

    Waits some seconds for an earlier one: the kernel of a driver that was killed ends by itself,
    but not at once. Raises CheckFailed if it lives on.
    """
    if folder in _held:
        return
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    for pause in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 1, 2, 3, None):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _held[folder] = handle
            return
        except BlockingIOError:
            if pause is not None:
                sleep(pause)
    os.close(handle)
    found = "a process of an earlier attempt, which still runs"
    raise CheckFailed(f"who works in {folder}", "nobody else", found, "Let it end, or end it.")


def elsewhere(entry: dict) -> bool:
    """Tell whether the process that wrote an intent is another one that still runs."""
    import psutil  # comes with ipykernel

    try:
        pid, started = entry["process"].split("/")
        process = psutil.Process(int(pid))
        # The start tells a process from a later one of its number; a clock set anew moves it.
        same = abs(process.create_time() - float(started)) < 2
        return same and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, KeyError, AttributeError, ValueError, OverflowError):
        return False  # it has ended, or the line does not tell which it was


def _this_process() -> str:
    import psutil

    process = psutil.Process()
    return f"{process.pid}/{process.create_time():.2f}"
