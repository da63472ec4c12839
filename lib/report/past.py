"""Past runs: the folder of a run, read back as plain data.

Any file may be missing or cut short, as a run may end anywhere; `unread` lists the files that
cannot be read.
"""

import json
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

from lib.record import jsonl, whole
from lib.record.faults import BadInput
from lib.record.journal import Entry, folded
from lib.record.provenance import FACTS, merged_facts
from lib.record.secrets import secret_name
from lib.report import attempts
from lib.report.attempts import ENDED_WELL, TURNS, Attempt, read_json, when

FILES = ("events", "journal", "api")
LATEST = "latest"  # stands for the newest run
OPEN = ("intent", "accepted", "lost")  # states of the journal without a known outcome
NUMBER = (int, float)
TYPES = {  # of the fields of a line that readers rely on; a field may be null
    "at": str, "event": str, "stages": list, "stage": str, "attempt": int, "cell": str,
    "cause": str, "seconds": NUMBER, "steps": list, "waiting": str, "error": str, "command": str,
    "params": dict, "status": int, "code": int, "ms": NUMBER, "bytes": int,
}  # fmt: skip
FACT_TYPES = {  # of run.json
    "command": list, "stages": list, "code": dict, "packages": dict, "notebooks": dict,
    "lib": dict, "earlier": list, "observed": dict,
}  # fmt: skip
_ORIGIN = re.compile(r"^([A-Za-z_]\w*):.*?  # (.+)$", re.M)


@dataclass
class Past:
    """A run from its folder; `stages` has the last attempt at each, `earlier` the others."""

    folder: Path
    cause: str
    stages: list[Attempt]
    earlier: list[Attempt]
    events: list[dict]
    journal: list[Entry]
    api: list[dict]
    params: dict[str, object]
    origins: dict[str, str]
    facts: dict
    unread: list[str]

    @property
    def attempts(self) -> list[Attempt]:
        """Return all attempts, the repeated ones first."""
        return [*self.earlier, *self.stages]

    @property
    def started(self) -> datetime | None:
        """Return the start of the run, None if it is unknown."""
        attempts = [a.started for a in self.attempts if a.started]
        lines = [when(e) for e in self.events if e.get("event") == "run-started"]
        return min(filter(None, [*lines[:1], *attempts]), default=None)

    @property
    def ended(self) -> datetime | None:
        """Return the end of the run, or of its last line where it was cut off; None if unknown."""
        return (
            None
            if self.cause == "running"
            else next(filter(None, map(when, self.events[::-1])), None)
        )

    @property
    def seconds(self) -> float:
        """Return the seconds of all attempts together, without pauses between them."""
        return sum(a.seconds for a in self.attempts)

    @property
    def stopped(self) -> Attempt | None:
        """Return the attempt at which the run stopped, None if it did not."""
        bad = (a for a in self.stages if a.cause not in (*ENDED_WELL, "not-run", "running"))
        return next(bad, None)

    @property
    def resumed(self) -> int:
        """Return how often the run was resumed."""
        return sum(e.get("event") == "run-resumed" for e in self.events)

    @property
    def error(self) -> str:
        """Return the error of the run as a whole, "" without one besides those of its stages."""
        return str(_turn(self.events).get("error") or "")

    @property
    def unsettled(self) -> list[Entry]:
        """Return the changes without a known outcome; a later success of the same settles one."""
        done = {_same(e): e.n for e in self.journal if e.state in ("done", "adopted")}
        return [e for e in self.journal if e.state in OPEN and not done.get(_same(e), 0) > e.n]

    @property
    def steps(self) -> list[dict]:
        """Return the steps of all attempts, in order."""
        return [s for a in self.attempts for s in a.steps]


def read(folder: Path, files: Collection[str] = FILES) -> Past:
    """Read the folder of a run, and of its logs only `files`.

    Raises BadInput where there is no such folder, or its record holds what no run writes.
    """
    demand_run(folder)
    try:
        return _read(folder, files)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise BadInput(
            [f"{folder}: its record is damaged and cannot be read ({error!r:.200})"]
        ) from error


def _read(folder: Path, files: Collection[str]) -> Past:
    unread: list[str] = []
    events, journal, api = (
        lines(folder / f"{n}.jsonl", unread) if n in files else [] for n in FILES
    )
    facts, bad = _typed(read_json(folder / "run.json", unread), FACT_TYPES)
    unread += [f"run.json: {name}" for name in bad]
    facts["observed"] = merged_facts(folder / FACTS) | (facts.get("observed") or {})
    alive = _alive(folder, events)
    found = attempts.read(folder, events, alive)
    last = {a.stage: a for a in found}
    named = {s: Attempt(s, cause="not-run") for s in _named(events, facts)}
    stages = sorted((named | last).values(), key=lambda a: a.stage)
    earlier = [a for a in found if a is not last[a.stage]]
    given, origins = _params(folder / "params.yaml", unread)
    cause = _cause(events, stages, alive)
    changes = list(folded(journal).values())
    return Past(folder, cause, stages, earlier, events, changes, api, given, origins, facts, unread)


def _same(entry: Entry) -> tuple[str, str]:
    return entry.command, json.dumps(entry.params, sort_keys=True)


def demand_run(folder: Path) -> None:
    """Raise BadInput if there is no such folder of a run."""
    if not folder.is_dir():
        text = f"{folder}: there is no such folder of a run; `runbook list` shows the runs"
        raise BadInput([text])


def demand_folder(runs: Path) -> None:
    """Raise BadInput if there is no such folder of runs."""
    if not runs.is_dir():
        raise BadInput([f"{runs}: there is no such folder of runs; --runs names another one"])


def folders(runs: Path) -> list[Path]:
    """Return the folders of runs, the newest first."""
    entries = os.scandir(runs) if runs.is_dir() else ()
    found = [(e.name[:15], t, e.name) for e in entries if e.is_dir() and (t := _begun(e.path))]
    return [runs / name for _, _, name in sorted(found, reverse=True)]


def _begun(folder: str) -> float:
    """Return when the parameters of a run were written, 0 for a folder of something else."""
    try:
        return os.stat(f"{folder}/params.yaml").st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return 0.0


def named(run: str, runs: Path) -> Path:
    """Return the folder of a run from its path or its name below `runs`; `latest` is the newest.

    Raises `BadInput` with the nearest name if there is none.
    """
    for folder in (Path(run), runs / run):
        if (folder / "params.yaml").exists():
            return folder.resolve()
    found = folders(runs)
    if run == LATEST and found:
        return found[0].resolve()
    known = [folder.name for folder in found]
    near = get_close_matches(Path(run).name, known, 1, 0.4)
    hint = f"did you mean {near[0]}?" if near else f"`runbook list --runs {runs}` lists them"
    raise BadInput([f"{run}: there is no such run; {hint}"])


def lines(path: Path, unread: list[str]) -> list[dict]:
    """Return the JSON lines of a file, none if there is no such file."""
    found, bad = jsonl.read(path)
    read = [_typed(row, TYPES) for row in found]
    torn, bad = bad, bad + sum(bool(names) for _, names in read)
    if bad:
        unread.append(f"{path.name}: {bad} of {torn + len(found)} lines")
    return [row for row, _ in read]


def _typed(row: dict, types: dict) -> tuple[dict, list[str]]:
    """Return a row without the fields that are of another type, and their names."""
    bad = [k for k, v in row.items() if not isinstance(v, (types.get(k, object), type(None)))]
    return {k: v for k, v in row.items() if k not in bad}, bad


def ms(line: dict) -> float:
    """Return the milliseconds of a request."""
    return float(line.get("ms") or 0)


def params(folder: Path) -> dict[str, object]:
    """Return the parameters of a run, {} if its folder does not have them."""
    return _params(folder / "params.yaml", [])[0]


def _params(path: Path, unread: list[str]) -> tuple[dict[str, object], dict[str, str]]:
    """Return the parameters and their origins, without those that may be secrets."""
    if not os.path.lexists(path):
        return {}, {}
    text = path.read_text("utf-8", "replace") if path.is_file() else ""
    try:
        held = whole.from_yaml(text)
    except ValueError:
        held = None
    if not isinstance(held, dict):
        unread.append(path.name)
        return {}, {}
    return {k: v for k, v in held.items() if not secret_name(str(k))}, dict(_ORIGIN.findall(text))


def _turn(events: list[dict]) -> dict:
    """Return the last event of the run as a whole, {} if there is none."""
    return next((e for e in reversed(events) if e.get("event") in TURNS), {})


def _alive(folder: Path, events: list[dict]) -> bool:
    """Return whether a run without an end still has a living driver or kernel."""
    if _turn(events).get("event") not in ("run-started", "run-resumed"):
        return False
    from lib.record import ledger  # late, as few runs need it

    return ledger.is_locked(folder)


def _named(events: list[dict], facts: dict) -> list[str]:
    """Return the names of the run's stages, as far as they are recorded.

    A driver that goes on names only those it was asked for.
    """
    lists = [e["stages"] for e in events if isinstance(e.get("stages"), list)]
    return [str(s) for names in lists or [facts.get("stages") or []] for s in names]


def _cause(events: list[dict], stages: list[Attempt], alive: bool) -> str:
    """Return the cause of the run; without an end in the ledger it is running or abandoned."""
    turn = _turn(events)
    if turn.get("event") == "run-ended":
        return str(turn.get("cause") or _worst(stages))
    if turn and not alive:
        return "abandoned"
    running = any(a.cause == "running" for a in stages)
    return "running" if running else _worst(stages)


def _worst(stages: list[Attempt]) -> str:
    bad = (a.cause for a in stages if a.cause not in (*ENDED_WELL, "not-run"))
    return next(bad, "ok" if stages else "unknown")
