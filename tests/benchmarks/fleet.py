"""A fleet: clusters through Airflow, against `runbook run` for one after the other.

Each cluster runs the stages STAGES at a local cloud whose jobs take no time, so what is compared is
the work of chain and scheduler. Airflow works on three tasks at a time, a process each.
"""

import json
import tempfile
import time
from datetime import datetime
from pathlib import Path
from statistics import mean, median

from benchmarks import procedure
from benchmarks.report import Line
from fleet.test_airflow import BIN, ROOT, Airflow
from harness import Place

STAGES = ("00", "10")
DAG = """# An Airflow DAG
import sys

sys.path.insert(0, {root!r})
from lib.fleet import Fleet, fleet_dag

fleet_dag("fleet", {clusters!r}, Fleet(stages={stages!r}, runs={runs!r}))
"""
IMAGE = "https://stable.release.flatcar-linux.net/amd64-usr/4459.2.0/"
TEN = procedure.FLATCAR | {
    "template_from": "url",
    "template_url": f"{IMAGE}flatcar_production_cloudstack_image.img",
    "template_format": "RAW",
    "config_delivery": "userdata",
    "service_offering": "Small Instance",
    "cluster_size": 10,
    "etcd_members": 3,
}
FILE = "mode: apply\ncluster_name: {0}\nvolume_name: {0}-disk\n"


def measure(clusters: int = 20) -> list[Line]:
    """Build the clusters both ways; raise unless each of them is built."""
    with tempfile.TemporaryDirectory() as folder:
        one = procedure.by_chain(Path(folder) / "one", **TEN)
        singly = one_by_one(Path(folder) / "singly", clusters)
        fleet, waits, tasks, own = through_airflow(Path(folder) / "fleet", clusters)
    return [
        Line(f"{clusters} clusters through Airflow, and one by one", "s", fleet, singly),
        Line("  a task, and its command's own time", "s", mean(tasks), mean(own)),
        Line("  a task's wait for a worker, and a task", "s", median(waits), mean(tasks)),
        Line("a cluster of 10 machines (virtual), and 300 s", "s", one.waited, 300, 1),
        Line("  requests a second of 8, and a throttled cloud's", "", *_rate(one, 8), 1),
    ]


def _rate(one: procedure.Side, pool: int) -> tuple[float, float]:
    """Return the requests a second of so many clusters, and those that CloudStack takes.

    Where it throttles, these are 25 of an account (`api.throttling.max`, a second's interval).
    """
    return pool * one.requests.total() / one.waited, 25


def _place(folder: Path, clusters: int) -> tuple[Place, list[Path]]:
    """Have a local cloud, and the parameter files of the clusters."""
    (folder / "clusters").mkdir(parents=True)
    place = Place(folder)
    files = [folder / "clusters" / f"c{n}.yaml" for n in range(1, clusters + 1)]
    for file in files:
        file.write_text("profile: local?time_scale=0\n" + FILE.format(file.stem))
    place.runbook("local-cloud", "start", "--time-scale", "0")
    for what in ("volume", "primarystorage"):
        place.cloud().call("configureSimulator", name="limits", value=f"{what}:-1")
    return place, files


def _demand(place: Place, clusters: int) -> None:
    rows = place.cloud().list("listVolumes", type="DATADISK")
    found = {r["name"] for r in rows if r["name"].endswith("-disk") and r["name"][0] == "c"}
    if len(found) != clusters:
        raise RuntimeError(f"{len(found)} of {clusters} clusters have their disk")


def one_by_one(folder: Path, clusters: int) -> float:
    """Run `runbook run` for each; return the seconds."""
    place, files = _place(folder, clusters)
    try:
        began = time.monotonic()
        for file in files:
            words = ["run", str(file), "--stages", ",".join(STAGES), "--runs", str(place.runs)]
            done = place.runbook(*words)
            if done.returncode:
                raise RuntimeError(done.stdout + done.stderr)
        seconds = time.monotonic() - began
        _demand(place, clusters)
        return seconds
    finally:
        place.runbook("local-cloud", "stop")


def through_airflow(
    folder: Path, clusters: int
) -> tuple[float, list[float], list[float], list[float]]:
    """Run the DAG; return its seconds, and of tasks the waits, the seconds and those of commands.

    A command's own time is that of its stage and of the record, by its ledger.
    """
    if not BIN.exists():
        raise RuntimeError("no .airflow: python3 tests/fleet/airflow_environment.py makes it")
    place, files = _place(folder, clusters)
    try:
        airflow = Airflow(folder, place, {"conn_type": "http", "host": "none"})
        airflow.env |= {"AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "300"}
        with airflow as running:
            values = {"root": str(ROOT), "clusters": str(files[0].parent), "stages": STAGES}
            text = DAG.format(**values, runs=str(place.runs))
            (folder / "dags/fleet.py").write_text(text)
            running.trigger("fleet")
            state, _ = running.ended("fleet")
            if state != "success":
                raise RuntimeError(f"the fleet's run ended as {state}")
            rows = running.ask(
                "select queued_dttm, start_date, end_date from task_instance "
                "where task_id like '%stage_%'"
            )
            [(began, ended)] = running.ask("select start_date, end_date from dag_run")
        _demand(place, clusters)
        tasks = [_span(start, end) for _, start, end in rows]
        waits = [_span(queued, start) for queued, start, _ in rows]
        return _span(began, ended), waits, tasks, _own(place.runs)
    finally:
        place.runbook("local-cloud", "stop")


def _span(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _own(runs: Path) -> list[float]:
    """Return the seconds of each command in the records, from its beginning to its end."""
    found = []
    for path in runs.glob("*/events.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        marks = [ln for ln in lines if ln["event"] in ("run-started", "run-resumed", "run-ended")]
        found += [_span(a["at"], b["at"]) for a, b in zip(marks[::2], marks[1::2], strict=True)]
    return found
