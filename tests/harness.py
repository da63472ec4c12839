"""Words that tests share: a client of a server in this process, its changes, its faults."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from stages import CHECK, TEMPLATE

from lib import changes as reconcile
from lib.cloud import Cloud
from lib.localcloud.wire.server import Server
from lib.localcloud.workstation.images import copy_sparse
from lib.profiles import Profile


def profile_of(server, **changes) -> Profile:
    """Return the profile of a server in this process."""
    facts = server.connection
    values = {
        "name": "local",
        "endpoint": facts["endpoint"],
        "key": facts["apikey"],
        "secret": facts["secretkey"],
        "discovery": facts["discovery"],
        "shell": tuple(facts["shell"]),
        "machine_shell": tuple(facts["machine_shell"]),
        "time_scale": facts["time_scale"],
    }
    return Profile(**values | changes)


class Clock:
    """A clock of this machine that is put forward by what would be slept."""

    def __init__(self):
        self.skipped = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.skipped

    def sleep(self, seconds: float) -> None:
        self.skipped += seconds


def nap(seconds: float) -> None:
    """Sleep for a moment instead."""
    time.sleep(min(seconds, 0.05))


def client(server, sleep: Callable | None = None, **changes) -> Cloud:
    """Return a client of a server in this process that does not wait between looks.

    Only for real etcds it waits, a little. Its records go into `run` beside the server's folder.
    `server` of it is the server, and `fits` the parameters that its dialect needs.
    """
    folder, facts, clock = server.folder.parent / "run", server.connection, Clock()
    if sleep is None:
        sleep = nap if facts["etcd"] == "real" else clock.sleep
    cloud = Cloud(profile_of(server, **changes), sleep=sleep, clock=clock, folder=folder)
    cloud.server = server
    cloud.fits = OLD if facts["dialect"] == "2.2" else {}
    return cloud


@contextmanager
def running(folder: Path, **options) -> Iterator[Cloud]:
    """Have a local cloud in a folder, which ends its jobs at once, and give its client."""
    with Server(folder, time_scale=0, **options) as server:
        yield client(server)


def changes(cloud) -> list[str]:
    """Return the commands so far that may have changed something, simulator's own left out."""
    calls = cloud.list("listSimulatorCalls")
    own = ("configureSimulator",)
    return [c["command"] for c in calls if c["changed"] and c["command"] not in own]


def fault(cloud, command: str, value: str, count: int = 1) -> None:
    """Plan a fault for the next calls of a command."""
    cloud.call("configureSimulator", name=command, value=value, count=count)


BIN = Path(sys.executable).parent
INSTANT = ["-p", "profile=local?time_scale=0"]


class Place:
    """A local cloud and a folder for runs, used by commands as an operator types them."""

    def __init__(self, folder: Path, dialect: str = "4.22"):
        self.runs, self.dialect = folder / "runs", dialect
        self.env = os.environ | {"RUNBOOK_LOCALCLOUD": str(folder / "cloud"), "COLUMNS": "200"}

    def start(self, *words: str) -> subprocess.Popen:
        """Start a command and return its process."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([BIN / "runbook", *words], cwd=ROOT, env=self.env, **pipes)

    def runbook(self, *words: str) -> subprocess.CompletedProcess:
        """Run a command to its end."""
        with self.start(*words) as process:
            output = process.communicate(timeout=240)
        return subprocess.CompletedProcess(words, process.returncode, *output)

    def run(self, *words: str) -> subprocess.CompletedProcess:
        """Run stages with params/local.yaml."""
        return self.runbook("run", "params/local.yaml", *INSTANT, "--runs", str(self.runs), *words)

    @property
    def facts(self) -> dict:
        """How to reach the cloud."""
        asked = ["local-cloud", "status", "--json", "--dialect", self.dialect]
        return json.loads(self.runbook(*asked).stdout)

    def cloud(self) -> Cloud:
        """Return a client of the cloud, whose records go elsewhere than into the runs."""
        facts = self.facts
        profile = Profile("local", facts["endpoint"], facts["apikey"], facts["secretkey"])
        return Cloud(profile, folder=self.runs.with_name("viewer"))

    def changes(self) -> list[str]:
        """Return the commands so far that may have changed something."""
        return changes(self.cloud())


ROOT = Path(__file__).resolve().parent.parent
RUN = yaml.safe_load((ROOT / "params/local.yaml").read_text()) | {"profile": "local"}
STAGES = [p.stem for p in sorted((ROOT / "notebooks").glob("[0-6]*.ipynb"))]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
OLD = {"service_offering": "M4 ( 2CPU / 4GB )"}  # the offering of the server of 2.2
FLATCAR = {"installer": "flatcar-install", "channel": "stable"}
USERDATA = FLATCAR | {"config_delivery": "userdata"}
RELEASES = "https://stable.release.flatcar-linux.net/amd64-usr"
IMAGE = f"{RELEASES}/4459.2.0/flatcar_production_cloudstack_image.img"
URL = USERDATA | {"template_from": "url", "template_url": IMAGE, "template_format": "RAW"}


def play(cloud, stage: str, stop_at: str = "", **params) -> dict:
    """Run the code of a notebook in this process against a cloud, and return its variables.

    Parameters are those of params/local.yaml but for what the cloud's dialect needs and for the
    given ones. The whole chain with its kernels is tried once elsewhere; this is the same code
    without the wait for kernels. With `stop_at` it ends before the cell of that id.
    """
    notebook = json.loads((ROOT / f"notebooks/{stage}.ipynb").read_text("utf-8"))
    cells = [(c["id"], "".join(c["source"])) for c in notebook["cells"] if c["cell_type"] == "code"]
    names = {"display": print}
    exec(cells[0][1], names)
    given = RUN | getattr(cloud, "fits", {}) | params
    names |= {k: v for k, v in given.items() if k in names}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNBOOK_RUN", str(cloud.folder))
        patch.setenv("RUNBOOK_STAGE", stage)
        patch.setattr("lib.cloud.connect", lambda *_, **__: settled(cloud))
        for name, source in takewhile(lambda cell: cell[0] != stop_at, cells[1:]):
            exec(compile(source, f"{stage}:{name}", "exec"), names)
    return names


def play_to(cloud, last: str, after: str = CHECK, **params) -> None:
    """Run the stages after one, by default all that change something, to `last`, applying them."""
    for stage in STAGES[STAGES.index(after) + 1 : STAGES.index(last) + 1]:
        play(cloud, stage, **params)


def settled(cloud: Cloud) -> Cloud:
    """Return a cloud as `connect` does: what an earlier attempt left open is looked after."""
    reconcile.settle(cloud)
    return cloud


class Built(NamedTuple):
    """A local cloud at rest on which stages were played, to be copied for each test."""

    folder: Path
    options: dict

    def copy(self, folder: Path) -> None:
        """Copy its folder, leaving the holes of its disks as they are."""
        shutil.copytree(self.folder, folder, copy_function=_copy)

    @contextmanager
    def running(self, folder: Path, **options) -> Iterator[Cloud]:
        """Have a copy of it; on the same port, as its disks hold URLs with it."""
        self.copy(folder)
        with running(folder, **self.options, **options) as cloud:
            yield cloud


def build(folder: Path, last: str = TEMPLATE, dialect="4.22", **params) -> Built:
    """Play the stages up to `last` on a new local cloud, by itself to the template."""
    with running(folder, dialect=dialect) as cloud:
        return build_to(cloud, last, **params)


def build_to(cloud, last: str, **params) -> Built:
    """Play the stages up to `last` on a local cloud that still runs."""
    play_to(cloud, last, **params)
    server = cloud.server
    options = {"dialect": server.cloud.dialect.name, "port": server.listener.server_port}
    return Built(server.folder, options)


def _copy(source: str, target: str) -> None:
    copy_sparse(Path(source), Path(target))
    shutil.copymode(source, target)


def until(there: Callable[[], object], what: str = "what is waited for", tries: int = 1500):
    """Return what `there()` returns once it is something; processes take a while."""
    for _ in range(tries):
        if found := there():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come")


def volume_params(cloud, name: str = "v", size: int = 1) -> dict:
    """Return the parameters of a new volume of custom size."""
    offering = next(o["id"] for o in cloud.list("listDiskOfferings") if o["name"] == "Custom Disk")
    where = {"zoneid": cloud.zones[0]["id"], "diskofferingid": offering}
    return {"name": name, "size": size} | where


def machines(cloud) -> dict[str, dict]:
    """Return the machines but the workstation by name."""
    rows = cloud.list("listVirtualMachines")
    return {m["name"]: m for m in rows if m["name"] != "my-workstation"}


def hurry(cloud, seconds: int = 60) -> None:
    """Let so much time pass at each look at the clock, so that every wait ends soon."""
    cloud.clock = iter(range(0, 10**6, seconds)).__next__


def user_data(cloud) -> dict[str, str]:
    """Return the user data of each machine that has some, by name."""
    rows = cloud.list("listVirtualMachines", userdata=True)
    return {r["name"]: b64decode(r["userdata"]).decode() for r in rows if "userdata" in r}


def home(cloud, work_dir: str = "coreos-cluster") -> Path:
    """Return a folder in the home on the workstation."""
    return cloud.server.folder / "workstation/home" / work_dir


def inventory(cloud) -> dict[str, list[str]]:
    """Return the names of all that the account has, by list command."""
    lists = {"listVolumes": {}, "listSnapshots": {}, "listVirtualMachines": {}}
    lists["listTemplates"] = {"templatefilter": "self"}
    return {c: sorted(r["name"] for r in cloud.list(c, **f)) for c, f in lists.items()}


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """Mount a file system of so many KiB at a folder; skip the test where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={kib}k", "tmpfs"]
    done = subprocess.run(["mount", *options, folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def mountable() -> bool:
    """Tell whether `small_disk` is allowed here."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder), 64):
                return True
        except pytest.skip.Exception:
            return False
