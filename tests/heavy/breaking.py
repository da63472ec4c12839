"""How a run is broken: what happens to its change number k, and to whom."""

import random
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lib.api.transport import QUESTION
from lib.changes import ASYNC
from lib.localcloud.state import jobs as cloud_jobs
from lib.localcloud.state.faults import Fault, Faults
from lib.localcloud.wire.server import Server
from lib.record import jsonl

RUNNING = 0.8  # seconds that a job goes on which somebody is to be killed during
LATE = 1.5  # and one whose end is not waited for
TIMES_OUT = "job times out"
FULL = "disk full"
FILLER = "filler"  # what fills it
POWER = "power cut, "
# What the power cut leaves of the lines that were not synced.
TAILS = ("last line cut", "lines lost", "lines of zeros")
# Which function of the stage the kernel is killed at, before or after it.
TOKEN_KINDS = {
    "killed before writing the token": ("write_text", "before"),
    "killed after writing the token": ("write_text", "after"),
}
# What happens to request k: the fault at the server, whom SIGKILL strikes, and how many seconds the
# job of k takes.
KINDS = {
    "dropped before it ran": ("drop-before", "", 0),
    "dropped after it ran": ("drop-after", "", 0),
    "driver killed": ("slow", "driver", RUNNING),
    "kernel killed": ("slow", "kernel", RUNNING),
    "kernel killed, k not received": ("drop-before", "kernel", 0),
    "job fails": ("fail-job", "", 0),
    TIMES_OUT: ("", "", LATE),
    "job forgotten": ("lose-job", "", 0),
    "kernel killed, then run anew": ("slow", "kernel", RUNNING),
    "kernel killed, then removed": ("slow", "kernel", RUNNING),
    **{f"{POWER}{tail}": ("slow", "both", RUNNING) for tail in TAILS},
    FULL: ("", "", 0),
}


@dataclass(frozen=True)
class Point:
    """Where a run is broken, and how: the change number `k` of a stage."""

    variant: str
    stage: str
    k: int
    command: str
    kind: str

    def __str__(self) -> str:
        return f"{self.variant} {self.stage} {self.command}#{self.k + 1} {self.kind}"


class Breaker(Faults):
    """Takes the place of a server's faults: strikes the k-th change, and counts all.

    `disk` holds the run folder, and is filled when it is to be full. The answer to a victim is held
    back for `hold` seconds.
    """

    def __init__(self, server: Server, disk: Path, k: int = -1, kind: str = "", hold: float = 5):
        super().__init__()
        self.server, self.disk, self.k, self.kind, self.hold = server, disk, k, kind, hold
        self.fault, self.victim, self.seconds = KINDS.get(kind, ("", "", 0))
        self.changed: list[str] = []
        self.struck = threading.Event()

    def take(self, command: str) -> Fault | None:
        """Return the fault of this call."""
        if QUESTION.match(command):
            return None
        self.changed.append(command)
        if len(self.changed) != self.k + 1:
            return None
        if self.seconds:
            dialect = self.server.cloud.dialect.name
            self._set_scale(self.seconds / duration(command, dialect))
        if self.kind == FULL:
            fill(self.disk)
        self.struck.set()
        return Fault(command, self.fault, code=530, seconds=self.hold) if self.fault else None

    def kills(self) -> bool:
        """Tell whether it is time to kill: where the answer comes, once the run has noted it."""
        struck = bool(self.victim) and self.struck.is_set()
        return struck and bool(self.hold or unsynced(self.disk / "journal.jsonl"))

    def record(self, command: str, params: dict, changed: bool, status: int) -> None:
        """Note a call; the jobs after the one that was slowed down end at once again."""
        self._set_scale(0)
        super().record(command, params, changed, status)

    def _set_scale(self, scale: float) -> None:
        self.server.cloud.setting("time")["scale"] = scale


def held_back(kind: str, chance: random.Random) -> float:
    """Return the seconds for which the answer is held back from whom SIGKILL strikes."""
    moments = {"driver": chance.uniform(0, 0.15), "both": chance.choice((0, 5))}
    return moments.get(KINDS.get(kind, ("", "", 0))[1], 5)


def duration(command: str, dialect: str) -> float:
    """Return how many seconds a job of the procedure takes at scale 1.

    But for 2.2 machines are deployed stopped, and started for the first time.
    """
    first = {"deployVirtualMachine": cloud_jobs.ALLOCATED}
    first["startVirtualMachine"] = cloud_jobs.FIRST_START
    if dialect != "2.2" and command in first:
        return first[command]
    per_gib = cloud_jobs.SECONDS_PER_GIB.get(command)
    return per_gib * 40 if per_gib else cloud_jobs.SECONDS.get(command, cloud_jobs.OTHERS)


def fits(command: str, kind: str) -> bool:
    """Tell whether a command has that trouble: some have no job, and tags no patience."""
    return "job" not in kind or (command in ASYNC and (command, kind) != ("createTags", TIMES_OUT))


def fill(disk: Path) -> None:
    """Fill a small disk to its last byte."""
    with suppress(OSError), open(disk / FILLER, "ab", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


def unsynced(path: Path) -> bytes:
    """Return what a power cut may take of a file of lines: a journal is synced with each intent."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    states = [(jsonl.parsed(line) or {}).get("state") for line in lines]
    last = max((n for n, state in enumerate(states, 1) if state == "intent"), default=0)
    return b"".join(lines[last if path.name == "journal.jsonl" else 0 :])


def cut_power(folder: Path, tail: str, chance: random.Random) -> None:
    """Leave of the lines of a run what a power cut may leave: one of TAILS."""
    for path in folder.glob("*.jsonl"):
        data, lost = path.read_bytes(), unsynced(path)
        kept = data[: len(data) - len(lost)]
        if tail == "last line cut" and lost:
            line = lost.splitlines(keepends=True)[-1]
            kept = data[: len(data) - chance.randint(1, len(line))]
        path.write_bytes(kept + (bytes(len(lost)) if "zeros" in tail else b""))
