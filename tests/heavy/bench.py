"""A bench: a folder in which runs of one variant are broken, and what an undisturbed run left."""

import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from harness import OLD, STAGES, client, mountable
from heavy.breaking import FULL, KINDS, TOKEN_KINDS, Breaker, Point, fits
from heavy.processes import run

from lib import earlier
from lib.effects import GONE
from lib.localcloud.wire.server import Server
from lib.localcloud.workstation.images import copy_sparse

# The dialects, and how the configuration comes to the machines: the parameters of each.
VARIANTS = {"4.22": {}, "2.2": OLD, "4.22 userdata": {"config_delivery": "userdata"}}
CHANGE = "70-reconfigure-cluster"  # which gives the machines another key
REMOVAL = "90-remove-cluster"
OTHER_KEY = "other.pub"
TOKEN_STAGE = "20-write-cloud-config"


@dataclass
class Bench:
    """A folder in which runs of one variant are broken, and what an undisturbed run left."""

    base: Path
    variant: str
    port: int = 0
    record: str = "run"  # the run folder in use
    points: list[tuple[str, int, str]] = field(default_factory=list)
    expected: dict[str, dict] = field(default_factory=dict)  # after the stage

    @property
    def work(self) -> Path:
        """The folder of the run at hand; always the same, as scripts in it hold its path."""
        return self.base / "work"

    @property
    def folder(self) -> Path:
        """The run folder in use."""
        return self.work / self.record

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
                breaker = server.cloud.faults = Breaker(server, self.folder)
                error = run(self, server, [stage])
                assert not error, error
                self.points += [(stage, k, c) for k, c in enumerate(breaker.changed)]
                self.expected[stage] = what_there_is(self, server)
        return self

    def params(self, stages: list[str]) -> dict:
        """Return the parameters that differ from those of params/local.yaml for stages."""
        change = {"machine_user": "core", "ssh_key_file": str(self.base / OTHER_KEY)}
        return VARIANTS[self.variant] | (change if stages == [CHANGE] else {})

    def all_points(self) -> list[Point]:
        """Return every change and kind of trouble that fits it."""
        kinds = [kind for kind in KINDS if kind != FULL or mountable()]
        pairs = [(where, kind) for where in self.points for kind in kinds]
        found = [Point(self.variant, *w, k) for w, k in pairs if fits(w[2], k)]
        return found + [Point(self.variant, TOKEN_STAGE, 0, "new token", k) for k in TOKEN_KINDS]


def copy(source: Path, target: Path) -> None:
    """Copy a folder, holes of sparse files included, in the place of another."""

    def one(a: str, b: str) -> None:
        if os.path.getsize(a) > 2**20:
            copy_sparse(Path(a), Path(b))
        else:
            shutil.copy2(a, b)
        shutil.copymode(a, b)

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=one, symlinks=True, dirs_exist_ok=True)


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
        "snapshots' tags": tags_of_snapshots(viewer),
        "members": sorted(n for t in known.values() if (n := sum(k[0] != "_" for k in t["nodes"]))),
        "files": sorted(re.sub(r"\.\d{8}T\d{6}Z$", ".old", p.name) for p in home.glob("*")),
        "notes": sorted(json.loads((home / "notes.json").read_text())) if home.exists() else [],
        "left open": [e.command for e in left_open(bench, server)],
    }  # fmt: skip


def tags_of_snapshots(viewer) -> list[str]:
    """Return the tags of all snapshots, of which their own list shows one at random."""
    rows = viewer.list("listTags", resourcetype="Snapshot") if viewer.has_tags else []
    return sorted(f"{row['key']}={row.get('value')}" for row in rows)


def left_open(bench: Bench, server: Server) -> list[dict]:
    """Return the changes whose end neither the run at hand nor one before it has seen."""
    cloud = client(server)
    cloud.folder = bench.folder
    others = earlier.left_open(cloud.folder, cloud.profile.endpoint)
    return cloud.journal.unfinished() + [e for _, e in others]


def alive(viewer, row: dict) -> bool:
    """Tell whether a row is there for good: 2.2 cannot delete a snapshot that failed."""
    stuck = not viewer.has_tags and "snapshottype" in row and row["state"] == "Error"
    return row.get("state") not in GONE and not stuck


def seen(row: dict) -> str:
    """Say what of a row must be the same in every run."""
    kept = ("state", "size", "type", "vmdisplayname", "deviceid", "templatename", "isready")
    kept += ("serviceofferingname", "diskofferingname", "volumename", "displayname")
    own = [] if "volumename" in row else row.get("tags") or []
    tags = sorted(f"{t['key']}={t.get('value')}" for t in own)
    name = re.sub(r"_\d{14}$|^ROOT-.*", "", row["name"])
    return str([name, *(f"{k}={row[k]}" for k in kept if k in row), *tags])
