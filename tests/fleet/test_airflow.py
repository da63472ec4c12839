"""Fleets on a real Airflow: its API server, scheduler and DAG processor, on SQLite."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from harness import Place, changes

from lib.report import past

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".airflow/bin"
ENDED = ("success", "failed")
DAGS = """# An Airflow DAG
import sys
from datetime import timedelta

sys.path.insert(0, {project!r})
from lib.fleet import Fleet, cluster_dag, drift_dag, fleet_dag

how = {{"runs": {runs!r}, "retry_delay": timedelta(seconds=1)}}
fleet_dag("fleet", {clusters!r}, Fleet(stages=("20", "43", "50"), **how))
drift_dag("drift", {clusters!r}, Fleet(**how))
cluster_dag("keys", {keys!r}, Fleet(stages=("10",), connection="cloudstack", **how))
"""
KEYS = """profile: local
mode: apply
cluster_name: keys
volume_name: keys-disk
"""
FILE = """profile: local
mode: apply
cluster_name: {0}
template_name: {0}-tpl
work_dir: {0}
template_from: url
template_url: https://stable.release.flatcar-linux.net/amd64-usr/4459.2.0/flatcar_production_cloudstack_image.img
template_format: RAW
installer: flatcar-install
channel: stable
config_delivery: userdata
cluster_size: 2
"""


class Airflow:
    """An Airflow of its own in a folder."""

    def __init__(self, folder: Path, place: Place, connection: dict):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.home, self.place = folder / "airflow", place
        (folder / "dags").mkdir()
        settings = {
            "CORE__DAGS_FOLDER": folder / "dags",
            "CORE__LOAD_EXAMPLES": False,
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": 3,
            "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
            "API__PORT": port,
            "API__HOST": "127.0.0.1",
            "API__WORKERS": 1,
            "API_AUTH__JWT_SECRET": os.urandom(32).hex(),
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.2,
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": 10,
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 2,
            "DAG_PROCESSOR__REFRESH_INTERVAL": 1,
        }
        self.env = place.env | {f"AIRFLOW__{k}": str(v) for k, v in settings.items()}
        self.env |= {"AIRFLOW_HOME": str(self.home), "PATH": f"{BIN}:{os.environ['PATH']}"}
        self.env |= {"AIRFLOW_CONN_CLOUDSTACK": json.dumps(connection)}
        self.started: list[subprocess.Popen] = []

    def airflow(self, *words: str) -> None:
        """Run one of Airflow's commands to its end."""
        subprocess.run([BIN / "airflow", *words], env=self.env, check=True, capture_output=True)

    def __enter__(self) -> "Airflow":
        self.airflow("db", "migrate")
        for name in ("api-server", "scheduler", "dag-processor"):
            with open(self.home / f"{name}.log", "w") as log:
                options = {"stdout": log, "stderr": log, "start_new_session": True}
                self.started.append(
                    subprocess.Popen([BIN / "airflow", name], env=self.env, **options)
                )
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def ask(self, question: str) -> list[tuple]:
        """Ask Airflow's database."""
        with contextlib.closing(sqlite3.connect(self.home / "airflow.db", timeout=20)) as base:
            return base.execute(question).fetchall()

    def trigger(self, dag: str) -> None:
        """Start a DAG once Airflow knows it."""
        until(lambda: (dag,) in self.ask("select dag_id from dag"))
        self.airflow("dags", "trigger", dag)

    def ended(self, dag: str) -> tuple[str, dict[tuple[str, int], tuple[str, int]]]:
        """Wait for the end of the newest run; return its state, and each task's, with its tries."""
        newest = f"from dag_run where dag_id = '{dag}' order by id desc limit 1"
        until(lambda: self.ask(f"select state {newest}")[0][0] in ENDED)
        [(state, run)] = self.ask(f"select state, run_id {newest}")
        tasks = self.ask(
            "select task_id, map_index, state, try_number from task_instance "
            f"where dag_id = '{dag}' and run_id = '{run}'"
        )
        return state, {(t.rpartition(".")[2], n): (s, tries) for t, n, s, tries in tasks}


def until(is_so, within: float = 400) -> None:
    """Wait until something is so; fail after so many seconds."""
    end = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < end, "it did not become so in time"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A local cloud that tasks start by their profile, and that is stopped in the end."""
    found = Place(tmp_path_factory.mktemp("fleet"))
    yield found
    found.runbook("local-cloud", "stop")


@pytest.fixture(scope="module")
def fleet(place, tmp_path_factory):
    """An Airflow with the DAG of a fleet of three clusters, one of them with a faulty file."""
    if not BIN.exists():
        pytest.skip("no .airflow: python3 tests/fleet/airflow_environment.py makes it")
    folder = tmp_path_factory.mktemp("home")
    clusters = folder / "clusters"
    clusters.mkdir()
    for name in ("a", "b"):
        (clusters / f"{name}.yaml").write_text(FILE.format(name))
    (clusters / "faulty.yaml").write_text("cluster_name: faulty\ncluster_sise: 3\n")
    (folder / "keys.yaml").write_text(KEYS)
    place.runbook("local-cloud", "start", "--time-scale", "0.05")
    facts = place.facts
    connection = {"conn_type": "http", "host": facts["endpoint"]}
    connection |= {"login": facts["apikey"], "password": facts["secretkey"]}
    values = {"project": str(ROOT), "runs": str(place.runs), "clusters": str(clusters)}
    with Airflow(folder, place, connection) as running:
        text = DAGS.format(**values, keys=str(folder / "keys.yaml"))
        (folder / "dags/fleet.py").write_text(text)
        yield running


def record(place: Place, cluster: str) -> Path:
    """Return the newest record of a cluster."""
    return max(place.runs.glob(f"*-{cluster}"))


def kill_task(place: Place) -> None:
    """Kill the worker's task of cluster b once its stage 50 has sent a change."""

    def sent() -> bool:
        journals = place.runs.glob("*-b/journal.jsonl")
        return any("deployVirtualMachine" in journal.read_text() for journal in journals)

    until(sent)
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "50" in words and any(w.endswith("/b.yaml") for w in words):
            process.parent().kill()
            return
    raise AssertionError("there is no process of stage 50 of b")


@pytest.mark.system
def test_a_fleet_is_built_though_a_file_is_faulty_and_a_worker_is_killed(fleet, place):
    fleet.trigger("fleet")
    kill_task(place)
    state, tasks = fleet.ended("fleet")
    assert state == "failed", "as the faulty file fails its cluster"
    assert {tasks["stage_50", n][0] for n in (0, 1)} == {"success"}
    assert tasks["stage_50", 1][1] == 2, "the task of b that was killed was tried again"
    assert tasks["stage_20", 2] == ("failed", 1), "a fault of a file is not tried again"
    assert tasks["report", -1][0] == "success"
    machines = place.cloud().list("listVirtualMachines")
    of_fleet = sorted((m["name"], m["state"]) for m in machines if m["name"][:2] in ("a-", "b-"))
    assert of_fleet == [(n, "Running") for n in ("a-1", "a-2", "b-1", "b-2")]
    assert [a.cause for a in past.read(record(place, "b")).stages] == ["ok"] * 3
    page = (place.runs / "fleet.html").read_text()
    assert "3 clusters, the newest run of 2 of them ended well" in page

    before = place.changes()
    fleet.trigger("fleet")
    _, tasks = fleet.ended("fleet")
    assert {tasks["stage_50", n] for n in (0, 1)} == {("success", 1)}
    assert place.changes() == before, "a second run changes nothing"
    assert place.runbook("verify", "--runs", str(place.runs)).returncode == 0

    (stopped,) = place.cloud().named("listVirtualMachines", "b-2")
    place.cloud().call("stopVirtualMachine", id=stopped["id"])
    before = place.changes()
    fleet.trigger("drift")
    _, tasks = fleet.ended("drift")
    states = [tasks["drift", n] for n in range(3)]
    assert states == [("success", 1), ("failed", 1), ("failed", 1)], "b differs, and is not retried"
    assert place.changes() == before, "a look at the drift changes nothing"


@pytest.mark.system
def test_the_keys_of_a_connection_reach_the_run_and_no_file(fleet, place):
    fleet.trigger("keys")
    state, _ = fleet.ended("keys")
    assert state == "success"
    assert "createVolume" in changes(place.cloud())
    facts = place.facts
    secrets = [facts["apikey"].encode(), facts["secretkey"].encode()]
    folders = (fleet.home, place.runs)
    files = [p for folder in folders for p in folder.rglob("*") if p.is_file()]
    assert len(files) > 20
    assert [p for p in files if any(s in p.read_bytes() for s in secrets)] == []
