"""A thousand machines: stage 50 and its plan, against `cs` with 50 threads and its 2 s polls.

On a virtual clock, at a cloud that works on 50 jobs at a time, each of which takes between 0.7 and
1.3 of what it takes on a real one. For an ordinary account ours deploys machines stopped and starts
them, so that one that finds no host keeps its name: that is two changes a machine, and the bound on
requests is what is reached, where 2 are wanted. For one that may expunge, and with `cs`, it is one.
Where a discovery service brings the members together, the others wait for their boot, which counts
in the time of ours alone: an account that deploys stopped uses that time, the other is measured
with static discovery. Memory and report are those of the command `runbook run`, at a cloud in a
process of its own.
"""

import contextlib
import io
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import yaml
from benchmarks import procedure
from benchmarks.report import Line
from benchmarks.virtual import Clock, Shared, cs_client, requests_by_kind
from harness import BIN, INSTANT, ROOT, Place

from lib.chain import stages
from lib.localcloud.state import faults
from lib.localcloud.state import jobs as durations
from lib.localcloud.state.cloud import Cloud
from lib.localcloud.wire.server import Server

AT_ONCE = 50  # jobs that the cloud works on, and threads of `cs`
OWN = "own time of the cloud"
STATIC = {"discovery": "static"}  # members have fixed addresses, and nobody waits for their boot
BEFORE = ("10", "11", "20", "30", "40", "41", "42")  # stages that 50 builds on
# Run from a small process, as a child begins with the peak of the process it is forked from.
LARGEST = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""
SEED = {
    "limits": {"vm": -1, "volume": -1, "snapshot": -1, "cpu": -1, "memory": -1,
               "primarystorage": -1, "secondarystorage": -1},
    "capacity": {"hosts": 1000, "jobs": AT_ONCE},
    "networks": [{"name": "default-guest", "zone": "local-1", "cidr": "10.0.0.0/14"}],
    "workstation": {"address": "10.0.0.10"},
}  # fmt: skip


@dataclass(frozen=True)
class Taken:
    """What making the machines took: seconds, those that the cloud's own work takes, requests."""

    seconds: float
    own: float
    requests: int


def measure(machines: int = 1000) -> list[Line]:
    """Make the machines both ways, for two kinds of accounts, and plan again."""
    with tempfile.TemporaryDirectory() as folder:
        ours, planned, seconds = by_stage(Path(folder) / "ours", machines)
        once, _, _ = by_stage(Path(folder) / "once", machines, STATIC, may_expunge=1)
        other = by_cs(Path(folder) / "cs", machines)
        memory, report = by_command(Path(folder) / "command", machines)
    return [
        Line(f"{machines} machines, and the {OWN}", "s", ours.seconds, ours.own, 1.1),
        Line("  static, by an account that may expunge", "s", once.seconds, once.own, 1.1),
        Line("  cs, 50 threads and 2 s polls", "s", other.seconds, other.own),
        Line("requests a machine, and the 2 wanted", "", ours.requests / machines, 2, 1.35),
        Line("  by an account that may expunge", "", once.requests / machines, 2, 1),
        Line("  requests, and with cs", "", ours.requests, other.requests, 0.5),
        Line("plan of it unchanged: requests, and 20", "", planned, 20, 1),
        Line("  real seconds of the stage, and 2", "s", seconds, 2, 1),
        Line("memory of the largest process, and 200 MB", "MB", memory, 200, 1),
        Line("report, and 300 KB", "KB", report, 300, 1),
    ]


@contextlib.contextmanager
def cloud_of(folder: Path, clock: Clock, **options: int) -> Iterator[tuple[Server, list[float]]]:
    """Have a cloud for many machines, and the seconds that each of its jobs takes."""
    seed, taken = folder.with_suffix(".yaml"), []
    seed.write_text(yaml.safe_dump(SEED))
    plain = durations.duration

    def spread(cloud: Cloud, command: str, work: durations.Work) -> float:
        about = work.row["name"] if work.row else ""
        part = zlib.crc32(f"{command} {about}".encode()) % 601 / 1000
        taken.append(plain(cloud, command, work) * (0.7 + part))
        return taken[-1]

    spreading = patch.object(durations, "duration", spread)
    with spreading, Server(folder, time_scale=1, clock=clock, seed=seed, **options) as server:
        server.cloud.faults = faults.Faults(calls=[])  # which keeps all of them
        yield server, taken


def counted(server: Server, clock: Clock, taken: list[float], do: Callable[[], object]) -> Taken:
    """Do something, and return what it took."""
    began, before = clock(), requests_by_kind(server).total()
    taken.clear()
    do()
    requests = requests_by_kind(server).total() - before
    return Taken(clock() - began, sum(taken) / AT_ONCE, requests)


def by_stage(
    folder: Path, machines: int, params: dict | None = None, **options: int
) -> tuple[Taken, int, float]:
    """Run stage 50, then its plan; return what they took, the plan in requests and real seconds."""
    clock = Clock()
    found = {stage.path.stem[:2]: stage.path for stage in stages.find(procedure.ROOT / "notebooks")}
    values = yaml.safe_load((procedure.ROOT / "params" / "local.yaml").read_text())
    values |= how(machines) | (params or {})
    here = cloud_of(folder, clock, **options)
    with here as (server, taken), procedure.connected(server, clock):
        procedure.shell.set_time_scale(folder, 0)

        def play(number: str, mode: str = "apply") -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                procedure.play(found[number], values | {"mode": mode})

        for number in BEFORE:
            play(number)
        created = counted(server, clock, taken, lambda: play("50"))
        demand_running(server, machines)
        started = time.process_time()
        planned = counted(server, clock, taken, lambda: play("50", "plan"))
        return created, planned.requests, time.process_time() - started


def how(machines: int) -> dict:
    """Return the parameters of the cluster."""
    return procedure.FLATCAR | {"cluster_size": machines, "etcd_members": 3, "volume_size": 8}


def by_command(folder: Path, machines: int) -> tuple[float, float]:
    """Run the command; return the MB of the largest process of stage 50, and the report's KB."""
    folder.mkdir()
    place, seed = Place(folder), folder / "seed.yaml"
    seed.write_text(yaml.safe_dump(SEED))
    given = [word for k, v in how(machines).items() for word in ("-p", f"{k}={v}")]
    command = ["run", "params/local.yaml", *INSTANT, *given, "--runs", str(place.runs), "--stages"]
    place.runbook("local-cloud", "start", "--seed", str(seed), "--time-scale", "0")
    try:
        for numbers in (",".join(BEFORE), "50"):
            words = [sys.executable, "-c", LARGEST, BIN / "runbook", *command, numbers]
            done = subprocess.run(words, cwd=ROOT, env=place.env, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError((done.stdout + done.stderr)[-2000:])
        report = max(place.runs.glob("*/report.html"))
        return int(done.stderr.split()[-1]) / 1024, report.stat().st_size / 1000
    finally:
        place.runbook("local-cloud", "stop")


def by_cs(folder: Path, machines: int) -> Taken:
    """Deploy the machines from 50 threads, each of which polls its job every 2 s."""
    clock = Shared(AT_ONCE)
    with cloud_of(folder, clock) as (server, taken):
        rows = server.cloud.rows
        offering = next(o for o in rows("serviceoffering") if o["name"] == "Medium Instance")
        where = {"zoneid": server.cloud.one("zone")["id"], "serviceofferingid": offering["id"]}
        where["templateid"] = server.cloud.one("template")["id"]
        left = iter([f"coreos-cluster-{n}" for n in range(1, machines + 1)])

        def work() -> None:
            api = cs_client(server, poll_interval=2, fetch_result=True)
            try:
                for name in left:
                    api.deployVirtualMachine(name=name, **where)
            finally:
                clock.leave()

        def all_threads() -> None:
            with patch("cs.client.time", clock), ThreadPoolExecutor(AT_ONCE) as pool:
                for thread in [pool.submit(work) for _ in range(AT_ONCE)]:
                    thread.result()

        created = counted(server, clock, taken, all_threads)
        demand_running(server, machines)
        return created


def demand_running(server: Server, machines: int) -> None:
    """Raise RuntimeError unless all machines run: less would be no comparison."""
    rows = server.cloud.rows("virtualmachine")
    running = sum(r["state"] == "Running" and r["name"] != "my-workstation" for r in rows)
    if running != machines:
        raise RuntimeError(f"{running} of {machines} machines run")
