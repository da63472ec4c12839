"""The crash matrix: the whole procedure, broken at each change in each way, and then continued.

    python tests/crash_matrix.py [--all | --sample N] [--seed S] [--variant V] [--kind TEXT]

For every state-changing request k of an undisturbed run, and each kind of trouble, the run is
broken at k and started again with the same run folder until it is through. What there is then must
be what the undisturbed run left: the same resources, tags, disk contents and notes, nothing twice,
nothing left over, one discovery token in use, no change left open in the journal; and after the
removal what is left after an undisturbed removal. Destroyed machines are expunged soon: what a
failed deployment leaves would hold its name for a day otherwise. A lost answer must not stop a run,
but for that to a reboot on 2.2, of which nobody can tell; after other trouble one more run must do.
Instead of being continued a run may also be given up: a new one, with a folder of its own beside
that of the first, must come to the same end, and so must a removal. The machines are given another
configuration, too.

A stage runs in a process of its own, the kernel (fresh clients, the notebooks' code, no papermill),
below another one, the driver. *Kernel killed* is SIGKILL to the first. *Driver killed* is SIGKILL
to the second; the kernel then lives on until it sees that its parent is gone, as ipykernel does,
though it looks every 50 ms instead of every second. Both are struck while the server holds back its
answer to k, and the job of k goes on until after the next run has begun. Each run starts from a
copy of the cloud, the workstation and the run folder as they were before the stage of k. When it is
continued, all stages run again from the first; after a kill from that of k, so as to find its job
still running.

That a discovery token is asked for, at another service, is a change like the others, and has kinds
of its own besides: the kernel is killed before it writes the token into the file, and once it has.
A token whose answer was lost stays behind at the service; nobody knows it, and nobody uses it.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from harness import OLD, STAGES, client, play

from lib import earlier
from lib.changes import ASYNC
from lib.client import QUESTION
from lib.config import config
from lib.effects import GONE
from lib.localcloud.state import jobs as cloud_jobs
from lib.localcloud.state.faults import Fault, Faults
from lib.localcloud.wire.server import Server
from lib.localcloud.workstation.images import copy_sparse

# The dialects, and how the configuration comes to the machines: the parameters of each.
VARIANTS = {"4.22": {}, "2.2": OLD, "4.22 userdata": {"config_delivery": "userdata"}}
CHANGE = "70-reconfigure-cluster"  # which gives the machines another key
REMOVAL = "90-remove-cluster"
OTHER_KEY = "other.pub"
RUNNING = 0.8  # seconds that a job goes on which somebody is to be killed during
LATE = 1.5  # and one whose end is not waited for
PATIENCE = 1.0  # seconds: less than that, and twice is more
TIMES_OUT = "job times out"
ATTEMPTS = 4
TOKEN_STAGE = "20-write-cloud-config"
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
    """Takes the place of a server's faults: strikes the k-th change, and counts all."""

    def __init__(self, server: Server, k: int = -1, kind: str = "", hold: float = 0):
        super().__init__()
        self.server, self.k, self.hold = server, k, hold
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
            self._set_scale(self.seconds / duration(command))
        self.struck.set()
        return Fault(command, self.fault, code=530, seconds=self.hold) if self.fault else None

    def record(self, command: str, params: dict, changed: bool, status: int) -> None:
        """Note a call; the jobs after the one that was slowed down end at once again."""
        self._set_scale(0)
        super().record(command, params, changed, status)

    def _set_scale(self, scale: float) -> None:
        self.server.cloud.setting("time")["scale"] = scale


def duration(command: str) -> float:
    """Return how many seconds a job of the procedure takes at scale 1."""
    per_gib = cloud_jobs.SECONDS_PER_GIB.get(command)
    return per_gib * 40 if per_gib else cloud_jobs.SECONDS.get(command, cloud_jobs.OTHERS)


@dataclass
class Bench:
    """A folder in which runs of one variant are broken, and what an undisturbed run left."""

    base: Path
    variant: str
    port: int = 0
    record: str = "run"  # the run folder in use
    points: list[tuple[str, int, str]] = field(default_factory=list)
    wanted: dict[str, dict] = field(default_factory=dict)  # after the stage

    @property
    def work(self) -> Path:
        """The folder of the run at hand; always the same, as scripts in it hold its path."""
        return self.base / "work"

    def serve(self) -> Server:
        """Return a server of the run at hand, on the port of the first one."""
        dialect = self.variant.split()[0]
        options = {"dialect": dialect, "time_scale": 0, "expunge_delay": 0}
        server = Server(self.work / "cloud", port=self.port, **options)
        self.port = server.listener.server_port
        return server

    def prepare(self) -> "Bench":
        """Run everything undisturbed, keeping a copy from before each stage that changes."""
        self.base.mkdir(parents=True, exist_ok=True)
        (self.base / OTHER_KEY).write_text(f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}\n")
        for stage in [*STAGES, CHANGE, REMOVAL]:
            if self.work.exists():
                copy(self.work, self.base / stage)
            with self.serve() as server:
                breaker = server.cloud.faults = Breaker(server)
                error = run(self, server, [stage])
                assert not error, error
                self.points += [(stage, k, c) for k, c in enumerate(breaker.changed)]
                self.wanted[stage] = what_there_is(self, server)
        return self

    def params(self, stages: list[str]) -> dict:
        """Return the parameters that differ from those of params/local.yaml for stages."""
        change = {"machine_user": "core", "ssh_key_file": str(self.base / OTHER_KEY)}
        return VARIANTS[self.variant] | (change if stages == [CHANGE] else {})

    def all_points(self) -> list[Point]:
        """Return every change and kind of trouble that fits it."""
        pairs = [(where, kind) for where in self.points for kind in KINDS]
        found = [Point(self.variant, *w, k) for w, k in pairs if fits(w[2], k)]
        return found + [Point(self.variant, TOKEN_STAGE, 0, "new token", k) for k in TOKEN_KINDS]


def fits(command: str, kind: str) -> bool:
    """Tell whether a command has that trouble: some have no job, and tags no patience."""
    return "job" not in kind or (command in ASYNC and (command, kind) != ("createTags", TIMES_OUT))


def copy(source: Path, target: Path) -> None:
    """Copy a folder, holes of sparse files included, in the place of another."""

    def one(a: str, b: str) -> None:
        if os.path.getsize(a) > 2**20:
            copy_sparse(Path(a), Path(b))
        else:
            shutil.copy2(a, b)
        shutil.copymode(a, b)

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=one, symlinks=True)


def survive(bench: Bench, point: Point, chance: random.Random) -> tuple[str, int]:
    """Break a run at the point and continue it; return what is wrong ("" if nothing), and runs."""
    copy(bench.base / point.stage, bench.work)
    bench.record = "run"
    with bench.serve() as server:
        hold = chance.uniform(0, 0.15) if "driver" in point.kind else 5
        server.cloud.faults = Breaker(server, point.k, point.kind, hold)
        last = [] if point.stage in STAGES else [point.stage]
        stages = last or STAGES[STAGES.index(point.stage) :]
        params = {"patience": PATIENCE / 60} if point.kind == TIMES_OUT else {}
        trap = TOKEN_KINDS.get(point.kind)
        error, runs = run(bench, server, stages, trap, **params), 1
        if not server.cloud.faults.struck.is_set() and not trap:
            return f"request {point.k + 1} of {point.stage} never came: {error}", runs
        if point.kind == TIMES_OUT and "JobTimeout" not in error:
            return f"it should have timed out: {error}", runs
        again = stages if "killed" in point.kind else last or STAGES
        if "then" in point.kind:
            bench.record, last = "run-2", [REMOVAL] if "removed" in point.kind else last
            again = last or STAGES
        said = ""
        while error and runs < ATTEMPTS:
            said, error, runs = error, run(bench, server, again), runs + 1
        untold = (point.variant, point.command) == ("2.2", "rebootVirtualMachine")
        if not error and runs > (1 if "dropped" in point.kind and not untold else 2):
            return f"it came through, but only after more runs than should do: {said}", runs
        return error or wrong(bench, server, again[-1]), runs


def wrong(bench: Bench, server: Server, last: str) -> str:
    """Compare what there is, and after the removal is left, with the undisturbed run."""
    removed = last == REMOVAL
    for stage in [REMOVAL] if removed else [last, REMOVAL]:
        error = "" if stage == last else run(bench, server, [stage])
        found, expected = what_there_is(bench, server), bench.wanted[stage]
        if bench.record != "run" and removed:  # goes by when the run was given up
            expected = expected | {"members": found["members"]}
        said = [f"{k}: wanted {expected[k]}, found {found[k]}" for k in found
                if found[k] != expected[k]]  # fmt: skip
        if error or said:
            return "\n".join([error, *said])
    return ""


def run(
    bench: Bench, server: Server, stages: list[str], trap: tuple | None = None, **params: object
) -> str:
    """Run stages in a kernel below a driver; return what went wrong, "" if nothing."""
    breaker, log = server.cloud.faults, bench.work / "kernel.log"
    log.write_text("")
    facts = server.connection | {"folder": str(server.folder), "trap": trap, "run": bench.record}
    params |= bench.params(stages)
    started = context().Process(target=drive, args=(facts, stages, params, str(log)))
    started.start()
    fresh = not breaker.struck.is_set()
    while started.is_alive():
        started.join(0.01 if fresh else 0.05)
        if fresh and breaker.struck.is_set() and breaker.victim:
            fresh = False
            kernel = int((bench.work / "kernel.pid").read_text())
            os.kill(kernel if breaker.victim == "kernel" else started.pid, signal.SIGKILL)
    return "" if started.exitcode == 0 else log.read_text()[-3000:] or f"{started.exitcode}"


def context():
    """Return the way to start processes: forks of a small one that has all loaded already."""
    chosen = multiprocessing.get_context("forkserver")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    chosen.set_forkserver_preload(["crash_matrix", "lib.plan", "lib.client", "lib.changes"])
    return chosen


def drive(facts: dict, stages: list[str], params: dict, log: str) -> None:
    """Be the driver: start the kernel and wait for its end."""
    kernel = os.fork()
    if kernel == 0:
        os._exit(work(facts, stages, params, Path(log)))
    _, status = os.waitpid(kernel, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def work(facts: dict, stages: list[str], params: dict, log: Path) -> int:
    """Be the kernel: run the stages with fresh clients, and end when the driver is gone."""
    driver = os.getppid()
    threading.Thread(target=end_with, args=(driver,), daemon=True).start()
    log.with_name("kernel.pid").write_text(str(os.getpid()))
    with open(log, "a", buffering=1) as file, contextlib.redirect_stdout(file):
        try:
            spring(*facts["trap"] or ("", ""))
            for stage in stages:
                print("==", stage)
                server = SimpleNamespace(connection=facts, folder=Path(facts["folder"]))
                cloud = client(server, sleep=time.sleep)
                cloud.folder = cloud.folder.with_name(facts["run"])
                cloud.grace = 10  # times 0.02: the server here has done all it will
                play(cloud, stage, **params)
        except BaseException:
            traceback.print_exc(file=file)
            return 1
    return 0


def spring(name: str, moment: str) -> None:
    """Have this process killed before or after it calls a function of `lib.config.config`."""
    if not name:
        return
    real = getattr(config, name)

    def trapped(*args: object, **named: object) -> None:
        if moment == "after":
            real(*args, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(config, name, trapped)


def end_with(driver: int) -> None:
    """End this process soon after its parent has gone."""
    while os.getppid() == driver:
        time.sleep(0.05)
    os._exit(3)


def what_there_is(bench: Bench, server: Server) -> dict:
    """Return all that a run leaves, without what differs from run to run: ids, times, addresses."""
    viewer = client(server)
    viewer.folder = bench.base / "viewer"
    home = bench.work / "cloud/workstation/home/coreos-cluster"
    known = server.cloud.state.setting("discovery", {"rows": {}})["rows"]
    lists = {"listVolumes": {}, "listSnapshots": {}, "listVirtualMachines": {}}
    lists["listTemplates"] = {"templatefilter": "self"}
    lists |= {"listUserData": {}} if viewer.version >= (4, 18) else {}
    return {
        **{c: sorted(seen(r) for r in viewer.list(c, **f) if alive(viewer, r))
           for c, f in lists.items()},
        "members": sorted(n for t in known.values() if (n := sum(k[0] != "_" for k in t["nodes"]))),
        "files": sorted(re.sub(r"\.\d{8}T\d{6}Z$", ".old", p.name) for p in home.glob("*")),
        "notes": sorted(json.loads((home / "notes.json").read_text())) if home.exists() else [],
        "left open": [e.command for e in left_open(bench, server)],
    }  # fmt: skip


def left_open(bench: Bench, server: Server) -> list[dict]:
    """Return the changes whose end neither the run at hand nor one before it has seen."""
    cloud = client(server)
    cloud.folder = bench.work / bench.record
    return cloud.journal.unfinished() + [e for _, e in earlier.left_open(cloud)]


def alive(viewer, row: dict) -> bool:
    """Tell whether a row is there for good: 2.2 cannot delete a snapshot that failed."""
    stuck = not viewer.has_tags and "snapshottype" in row and row["state"] == "Error"
    return row.get("state") not in GONE and not stuck


def seen(row: dict) -> str:
    """Say what of a row must be the same in every run."""
    kept = ("state", "size", "type", "vmdisplayname", "deviceid", "templatename", "isready")
    kept += ("serviceofferingname", "diskofferingname", "volumename", "displayname")
    tags = sorted(f"{t['key']}={t.get('value')}" for t in row.get("tags") or [])
    name = re.sub(r"_\d{14}$|^ROOT-.*", "", row["name"])
    return str([name, *(f"{k}={row[k]}" for k in kept if k in row), *tags])


def try_points(points: list[Point], benches: dict[str, Bench], seed: int, say=print) -> list[tuple]:
    """Try points one after the other; return (point, what is wrong, runs) of each."""
    results, chance = [], random.Random(seed)
    for point in points:
        started = time.monotonic()
        fault, runs = survive(benches[point.variant], point, chance)
        say(f"{'ok ' if not fault else 'BAD'} {point} ({runs} runs, "
            f"{time.monotonic() - started:.1f} s)")  # fmt: skip
        if fault:
            say("    " + fault.replace("\n", "\n    "))
        results.append((point, fault, runs))
    return results


def matrix(results: list[tuple]) -> str:
    """Return the table: survived of tried, by kind and variant."""
    tried = Counter((p.kind, p.variant) for p, *_ in results)
    survived = Counter((p.kind, p.variant) for p, fault, _ in results if not fault)
    lines = [f"{'survived of tried':34}" + "".join(f"{v:>15}" for v in VARIANTS)]
    for kind in [*KINDS, *TOKEN_KINDS]:
        cells = [f"{survived[kind, v]} of {tried[kind, v]}" for v in VARIANTS]
        lines.append(f"{kind:34}" + "".join(f"{c:>15}" for c in cells))
    total = f"{sum(survived.values())} of {sum(tried.values())}"
    runs = Counter(n for *_, n in results)
    ends = ", ".join(f"{c} in {n} run{'s' * (n > 1)}" for n, c in sorted(runs.items()))
    return "\n".join([*lines, f"{total} points survived; {ends}"])


def main(argv: list[str]) -> int:
    """Try a sample or all, print the matrix, and return 1 if any point was not survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="every point")
    parser.add_argument("--sample", type=int, default=24, help="so many points, drawn by the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--variant", choices=VARIANTS)
    parser.add_argument("--kind", default="", help="only kinds whose name holds this")
    given = parser.parse_args(argv)
    variants = [given.variant] if given.variant else VARIANTS
    with tempfile.TemporaryDirectory(prefix="crash-matrix-") as base:
        benches = {v: Bench(Path(base) / v.replace(" ", "-"), v).prepare() for v in variants}
        points = [p for b in benches.values() for p in b.all_points() if given.kind in p.kind]
        chosen = points if given.all else draw(points, given.sample, given.seed)
        print(f"{len(chosen)} of {len(points)} points, seed {given.seed}")
        results = try_points(chosen, benches, given.seed)
    print(matrix(results))
    return int(any(fault for _, fault, _ in results))


def draw(points: list[Point], size: int, seed: int) -> list[Point]:
    """Return a random sample of the points, the same for the same seed."""
    return random.Random(seed).sample(points, min(size, len(points)))


if __name__ == "__main__":
    import crash_matrix  # so that processes find its functions by that name

    sys.exit(crash_matrix.main(sys.argv[1:]))
