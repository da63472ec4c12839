"""The journal records each change before it is sent, and then its outcome.

`journal.jsonl` of the run folder holds a JSON object a line: an `intent`, then `accepted` (a job
runs), then `done`, `failed`, `refused`, `adopted` (the answer was lost, but the resource exists),
`not-sent` (the change was not made) or `lost` (the outcome is unknown). It survives a crash of its
process, and the next process settles the open entries. Open entries of an abandoned run are settled
as `looked-after` in the journal of the next run.
"""

import fcntl
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path

from lib.errors import CheckFailed
from lib.record import jsonl, whole

ROOT = Path(__file__).resolve().parents[2]
INTERACTIVE = "interactive"  # the folder of runs without the chain, shared by all notebooks
OPEN = ("intent", "accepted")
# Parameters that are never recorded: secrets, texts that may hold secrets, and signatures.
HIDDEN = ("apikey", "signature", "signatureversion", "expires", "userdata", "password")


def run_folder() -> Path:
    """Return the run folder: $RUNBOOK_RUN, which the chain sets, or `runs/interactive`."""
    return Path(os.environ.get("RUNBOOK_RUN") or ROOT / "runs" / INTERACTIVE)


def recordable(params: dict) -> dict:
    """Return the parameters that may be recorded."""
    return {k: v for k, v in params.items() if k.lower() not in HIDDEN and v is not None}


def now() -> str:
    """Return the current time in the format of the records: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass
class Entry:
    """A change in its latest state: what was asked for, when, and what is known of its outcome.

    Times are ISO 8601. `within` and `expect` are seconds; `run` and `of` name the entry of another
    run that was looked after.
    """

    n: int = 0
    state: str = ""
    command: str = ""
    what: str = ""
    endpoint: str = ""
    at: str = ""  # of its last line
    sent: str = ""
    accepted: str = ""
    params: dict = field(default_factory=dict)
    customjobid: str = ""  # the job's id that we chose, "" where the server chooses
    job: str = ""
    resource: str = ""
    text: str = ""
    stage: str = ""
    process: str = ""
    within: float = 3600.0
    expect: float = 0.0
    run: str = ""
    of: int = 0

    def take(self, line: dict) -> None:
        """Update the entry with a line; fields of another type are not a journal's and ignored."""
        for known in fields(self):
            value, kind = line.get(known.name), type(getattr(self, known.name))
            if isinstance(value, (int, float) if kind is float else kind):
                setattr(self, known.name, value)
        if self.state in TIMES:
            setattr(self, TIMES[self.state], self.at)


TIMES = {"intent": "sent", "accepted": "accepted"}  # fields that keep the time of a state


def folded(lines: Iterable[dict], entries: dict[int, Entry] | None = None) -> dict[int, Entry]:
    """Return the entries of a journal's lines by number, added to those known already.

    Lines that are none of a change are left out: a crash cut them off, so nothing was sent.
    """
    found = {} if entries is None else entries
    for line in lines:
        number, whole = line.get("n"), isinstance(line.get("state"), str)
        if type(number) is not int or not whole:
            continue
        if number in found or isinstance(line.get("command"), str):
            found.setdefault(number, Entry()).take(line)
    return found


@dataclass
class Journal:
    """The journal of a run folder, for the changes at one `endpoint`: a cloud or a machine.

    Several processes may write to it; new lines of other processes are read before each use.
    """

    folder: Path
    endpoint: str
    entries: dict[int, Entry] = field(default_factory=dict)
    open: dict[int, Entry] = field(default_factory=dict)  # those of them without an outcome
    read: int = 0  # bytes of the file so far
    last: int = 0  # the highest number of an entry

    @property
    def path(self) -> Path:
        """The file of the journal."""
        return self.folder / "journal.jsonl"

    def intend(
        self, command: str, what: str, params: dict, customjobid: str | None, **terms: float
    ) -> Entry:
        """Record a change before it is sent, synced to the disk, and return its entry.

        `terms` are seconds: `within`, the limit, and `expect`, the expected time.
        """
        line = {"command": command, "what": what, "params": recordable(params)}
        line |= {"customjobid": customjobid, "stage": os.environ.get("RUNBOOK_STAGE", "")}
        line |= {"endpoint": self.endpoint, "process": this_process()}
        line |= {name: round(seconds, 3) for name, seconds in terms.items() if seconds}
        return self._append({"n": None, "state": "intent"} | line, sync=True)

    def accepted(self, entry: Entry, job: str, resource: object = None) -> None:
        """Record that the cloud started a job for a change."""
        known = {"job": str(job), "resource": resource and str(resource)}
        self._append({"n": entry.n, "state": "accepted"} | known)

    def ended(self, entry: Entry, state: str, text: str = "", resource: object = None) -> None:
        """Record the outcome of a change; an outcome that is there already stays."""
        if entry.state in OPEN:
            more = {"resource": str(resource)} if resource is not None else {}
            self._append({"n": entry.n, "state": state, "text": text} | more)

    def job_ended(self, job: str, state: str, text: str = "", resource: object = None) -> None:
        """Record the outcome of a job if the journal has it."""
        for entry in self.unfinished():
            if entry.job == job:
                self.ended(entry, state, text, resource)

    def looked_after(self, run: str, entry: Entry, text: str) -> None:
        """Record the outcome of a change that another run left open."""
        line = {"command": entry.command, "what": entry.what, "endpoint": self.endpoint}
        line |= {"run": run, "of": entry.n, "text": f"left open by {run}: {text}"}
        line |= {"stage": os.environ.get("RUNBOOK_STAGE", "")}
        self._append({"n": None, "state": "looked-after"} | line)

    def every(self) -> list[Entry]:
        """Return all entries for this endpoint, each in its latest state."""
        self._catch_up()
        return [e for e in self.entries.values() if e.endpoint == self.endpoint]

    def unfinished(self) -> list[Entry]:
        """Return the entries for this endpoint that have no outcome yet."""
        self._catch_up()
        return [e for e in self.open.values() if e.endpoint == self.endpoint]

    def _append(self, line: dict, sync: bool = False) -> Entry:
        """Append a line, numbered if it begins an entry, and return the updated entry."""
        with jsonl.opened(self.path) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
            self._catch_up()
            line["n"] = line["n"] or self.last + 1
            jsonl.append(file, {"at": now()} | line)
            if sync:
                os.fsync(file)
        self._catch_up()
        return self.entries[line["n"]]

    def _catch_up(self) -> None:
        """Read the complete lines that were appended since the last call."""
        if not self.path.is_file():
            return
        with open(self.path, "rb") as file:
            file.seek(self.read)
            for raw in file:
                if not raw.endswith(b"\n"):
                    return
                self.read += len(raw)
                self._take(jsonl.parsed(raw) or {})

    def _take(self, line: dict) -> None:
        """Add a line to the entry that it is about."""
        folded([line], self.entries)
        number = line.get("n")
        if type(number) is not int or number not in self.entries:
            return
        entry, self.last = self.entries[number], max(self.last, number)
        if entry.state in OPEN:
            self.open[number] = entry
        else:
            self.open.pop(number, None)


_held: dict[Path, int] = {}  # descriptors of the run folders that this process has locked


def hold(folder: Path, sleep: Callable[[float], None]) -> None:
    """Lock a run folder for the life of this process.

    Waits about eight seconds for another process: the kernel of a killed driver ends by itself, but
    not at once. Raises CheckFailed if the other process keeps the lock.
    """
    if folder in _held:
        return
    whole.folder(folder)
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
    next_step = "Wait until it ends, or end it, then run this stage again."
    raise CheckFailed(f"Another process still works in {folder}", next_step=next_step)


def left_running(folder: Path) -> list[Entry]:
    """Return the changes in the journal of a run folder that have no outcome yet, at any place."""
    lines, _ = jsonl.read(folder / "journal.jsonl")
    return [e for e in folded(lines).values() if e.state in OPEN]


def in_another_process(entry: Entry) -> bool:
    """Return whether another process that still runs wrote this intent."""
    return entry.process.partition("/")[0] != str(os.getpid()) and lives(entry.process)


def lives(text: str) -> bool:
    """Return whether the process that `this_process` returned still runs on this machine.

    The start time tells it from a later process with the same pid; a clock change moves it.
    """
    import psutil  # comes with ipykernel

    try:
        pid, started = text.split("/")
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(started)) < 2
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False  # it has ended, or the text does not tell which it was


def is_of_this_process(entry: Entry) -> bool:
    """Return whether this process wrote the intent."""
    return entry.process == this_process()


def this_process() -> str:
    """Return this process by its pid and start time, which tell it from a later one."""
    import psutil

    process = psutil.Process()
    return f"{process.pid}/{process.create_time():.2f}"
