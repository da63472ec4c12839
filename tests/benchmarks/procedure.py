"""The whole procedure: by hand as in 2014, with `cs` and a 10 s `waitjob`, against our chain.

Jobs take as long as on a real cloud, on a virtual clock; what the chain itself takes (kernels,
papermill, the disk's stand-ins) is measured in real seconds, on a cloud whose jobs take no time,
and added. The installer's own time is left out on both sides. Of Flatcar the chain makes the
machines side by side; of CoreOS of 2014 one after the other, as is done by hand.
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import nbformat
import yaml
from benchmarks.report import Line
from benchmarks.virtual import Clock, cs_client, our_client, requests_by_kind

from lib.chain import stages
from lib.cloud import Cloud
from lib.localcloud.wire.server import Server
from lib.localcloud.workstation import shell

ROOT = Path(__file__).resolve().parents[2]
FLATCAR = {"installer": "flatcar-install", "channel": "stable"}
KINDS = {"looks": "looks at jobs", "changes": "changes", "questions": "questions"}


@dataclass(frozen=True)
class Side:
    """What one way of doing it took: virtual and real seconds, and requests by kind."""

    waited: float
    worked: float
    requests: Counter


def measure() -> list[Line]:
    """Do the procedure both ways and compare wall time and requests."""
    with tempfile.TemporaryDirectory() as folder:
        hand = by_hand(Path(folder) / "hand")
        chain = by_chain(Path(folder) / "chain", **FLATCAR)
        singly = by_chain(Path(folder) / "singly").waited
    return lines(Side(chain.waited, chain_overhead(), chain.requests), hand, singly)


def lines(chain: Side, hand: Side, singly: float) -> list[Line]:
    """Return the comparison; the other is `cs` by hand. `singly` was waited with 2014's."""
    total = (chain.waited + chain.worked, hand.waited + hand.worked)
    kinds = [Line(f"  {v}", "", chain.requests[k], hand.requests[k]) for k, v in KINDS.items()]
    return [
        Line("wall time of Flatcar, against cs and a 10 s waitjob", "s", *total, most=1),
        Line("  waiting for the cloud (virtual)", "s", chain.waited, hand.waited),
        Line("  the chain itself, the client itself (real)", "s", chain.worked, hand.worked),
        Line("wall time of 2014, machine by machine", "s", singly + chain.worked, total[1]),
        Line("  waiting for the cloud (virtual)", "s", singly, hand.waited, most=1),
        Line("API requests, and the 200 wanted", "", chain.requests.total(), 200, 1),
        Line("  and by hand", "", chain.requests.total(), hand.requests.total()),
        *kinds,
    ]


def by_hand(folder: Path) -> Side:
    """Type the commands of 2014, each as soon as the one before has ended."""
    clock, started = Clock(), time.monotonic()
    with Server(folder, time_scale=1, clock=clock) as server:
        hand, began = Hand(server, clock.sleep), clock()
        volume = _disk(hand)
        _cluster(hand, _template(hand, _snapshot(hand, volume)))
        _demand_cluster(server)
        worked = time.monotonic() - started
        return Side(clock() - began, worked, requests_by_kind(server))


class Hand:
    """An operator with `cs`; ids that the post of 2014 types are known without asking."""

    def __init__(self, server: Server, sleep: Callable[[float], None]):
        self.api, self.sleep = cs_client(server), sleep
        self.zone = server.cloud.one("zone")["id"]
        offerings = server.cloud.rows("serviceoffering")
        self.offering = next(o["id"] for o in offerings if o["name"] == "Medium Instance")

    def find(self, command: str, kind: str, field: str, value: str) -> str:
        """Return the id of the first row with that value, as `jq` does."""
        rows = getattr(self.api, command)()[kind]
        return next(r["id"] for r in rows if r.get(field) == value)

    def waitjob(self, command: str, **params) -> dict:
        """Send a change and look every 10 s until its job has ended; return what it made."""
        job = getattr(self.api, command)(**params)["jobid"]
        while (seen := self.api.queryAsyncJobResult(jobid=job))["jobstatus"] == 0:
            self.sleep(10)
        if seen["jobstatus"] != 1:
            raise RuntimeError(f"{command}: {seen}")
        return next(iter(seen["jobresult"].values()))


def _disk(hand: Hand) -> str:
    """Make the disk, attach it, detach it; what happens on it in between takes no time here."""
    offering = hand.find("listDiskOfferings", "diskoffering", "name", "Custom Disk")
    created = {"name": "coreos_cluster_disk", "diskofferingid": offering, "size": 40}
    volume = hand.waitjob("createVolume", zoneid=hand.zone, **created)["id"]
    named = ("virtualmachine", "displayname", "my-workstation")
    machine = hand.find("listVirtualMachines", *named)
    hand.waitjob("attachVolume", id=volume, virtualmachineid=machine)
    hand.waitjob("detachVolume", id=volume)
    return volume


def _snapshot(hand: Hand, volume: str) -> str:
    """Take the snapshot, and look every 10 s until a template can be made of it.

    The post does not tell how it passed from `CreatedOnPrimary`, its job's last word, to that.
    """
    snapshot = hand.waitjob("createSnapshot", volumeid=volume)["id"]
    while hand.api.listSnapshots(id=snapshot)["snapshot"][0]["state"] != "BackedUp":
        hand.sleep(10)
    return snapshot


def _template(hand: Hand, snapshot: str) -> str:
    kind = hand.find("listOsTypes", "ostype", "description", "Other Linux (64-bit)")
    names = {"name": "coreos-cluster-tpl", "displaytext": "coreos-cluster-tpl"}
    template = hand.waitjob("createTemplate", snapshotid=snapshot, ostypeid=kind, **names)["id"]
    hand.api.listTemplates(id=template, templatefilter="self")
    return template


def _cluster(hand: Hand, template: str) -> None:
    """Make three machines, one after the other."""
    where = {"zoneid": hand.zone, "serviceofferingid": hand.offering, "templateid": template}
    for n in (1, 2, 3):
        hand.waitjob("deployVirtualMachine", name=f"coreos-cluster-{n}", **where)


def _demand_cluster(server: Server) -> None:
    """Raise RuntimeError unless the machines run: a run that did less would be no comparison."""
    rows = server.cloud.rows("virtualmachine")
    running = {r["name"] for r in rows if r["state"] == "Running"}
    missing = {f"coreos-cluster-{n}" for n in (1, 2, 3)} - running
    if missing:
        raise RuntimeError(f"the procedure ended without {', '.join(sorted(missing))}")


def by_chain(folder: Path, **params: object) -> Side:
    """Execute the cells of the stages in order, in this process; real seconds are not counted."""
    clock = Clock()
    with Server(folder, time_scale=1, clock=clock) as server:
        # The installer's stand-in reads its pace from here, and does not live by our clock.
        shell.set_time_scale(folder, 0)
        values = yaml.safe_load((ROOT / "params" / "local.yaml").read_text()) | params
        began = clock()
        with connected(server, clock), contextlib.redirect_stdout(io.StringIO()):
            for stage in stages.choose(stages.find(ROOT / "notebooks")):
                play(stage.path, values | {"mode": "apply"})
        _demand_cluster(server)
        return Side(clock() - began, 0, requests_by_kind(server))


@contextlib.contextmanager
def connected(server: Server, clock: Clock) -> Iterator[None]:
    """Have `connect` give a client of this server, as a new kernel has in every stage."""
    clients: list[Cloud] = []

    def connect(*_: object, **__: object) -> Cloud:
        if clients:
            clients[-1].lists.leave()
        clients.append(our_client(server, clock))
        clients[-1].lists.take_up(clients[-1].gate.name)
        return clients[-1]

    with patch("lib.cloud.connect", connect):
        yield


def play(path: Path, values: dict) -> None:
    """Execute a notebook's code cells, with those of the values that it has as parameters."""
    space = {"__name__": "__main__"}
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, path.name, "exec"), space)
        if "parameters" in cell.metadata.get("tags", []):
            space |= {k: v for k, v in values.items() if k in space}


def chain_overhead() -> float:
    """Return the real seconds of `runbook run` on a new local cloud whose jobs take no time."""
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"RUNBOOK_LOCALCLOUD": f"{folder}/cloud"}
        words = ["run", "params/local.yaml", "-p", "profile=local?time_scale=0", "--mode", "apply"]
        started = time.monotonic()
        try:
            _runbook(*words, "--runs", f"{folder}/runs", env=env)
            return time.monotonic() - started
        finally:
            _runbook("local-cloud", "stop", env=env)


def _runbook(*words: str, env: dict) -> None:
    command = [sys.executable, "-m", "lib", *words]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"runbook {' '.join(words)}: {(done.stdout + done.stderr)[-2000:]}")
