"""State after a restart, and servers in the background."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from errno import EADDRINUSE
from pathlib import Path

import pytest
from harness import until

from lib.localcloud import background
from lib.localcloud.__main__ import main
from lib.localcloud.state.cloud import OPTIONS
from lib.localcloud.state.rows import FORMAT, OtherFormat
from lib.localcloud.wire.server import Server

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("dialect", ["4.22", "2.2"])
def test_a_restarted_cloud_keeps_its_state(cloud_of, clock, dialect):
    first = cloud_of(clock=clock, dialect=dialect, time_scale=1)
    params = first.volume_params("x")
    created = first("createVolume", **params)
    first.server.stop()
    clock.now += 5
    again = cloud_of(clock=clock, dialect=dialect)
    assert again.facts["secretkey"] == first.facts["secretkey"]
    assert again("queryAsyncJobResult", jobid=created["jobid"])["jobstatus"] == 1
    assert again("listVolumes", name="x")["volume"][0]["id"] == created["id"]
    assert again("createVolume", **params)["id"] not in (created["id"], None)


def test_a_discovery_token_outlives_a_restart(cloud_of):
    from urllib.request import urlopen

    first = cloud_of()
    with urlopen(first.facts["endpoint"].replace("/client/api", "/new?size=3")) as answer:
        token = answer.read().decode().rpartition("/")[2]
    first.server.stop()
    again = cloud_of()
    with urlopen(f"{again.facts['discovery']}/{token}/_config/size") as answer:
        assert json.loads(answer.read())["node"]["value"] == "3"


def test_a_server_that_ended_lets_its_clients_know(cloud_of):
    import http.client

    api = cloud_of()
    line = http.client.HTTPConnection("127.0.0.1", api.server.listener.server_port)
    line.request("GET", "/health")
    line.getresponse().read()
    api.server.stop()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        line.request("GET", "/health")
        line.getresponse()
    line.close()


# in the background


@pytest.fixture
def run(tmp_path):
    """Run the command line as a process in a folder of its own, ending what it starts."""

    def run(*args, check=True):
        done = subprocess.run(
            [sys.executable, "-m", "lib.localcloud", *args, "--dir", str(tmp_path)],
            cwd=ROOT, capture_output=True, text=True, check=check,
        )  # fmt: skip
        return done.stdout

    yield run
    for dialect in ("4.22", "2.2"):
        if (tmp_path / dialect).exists():
            background.stop(tmp_path / dialect)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie of ours would answer too: it has ended all the same.
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]


def test_of_two_starts_at_once_one_starts_the_server(run):
    with ThreadPoolExecutor() as pool:
        texts = list(pool.map(lambda _: run("start", "--json"), range(3)))
    facts = [json.loads(text) for text in texts]
    assert len({f["pid"] for f in facts}) == len({f["endpoint"] for f in facts}) == 1
    assert set(facts[0]) == {
        "endpoint", "apikey", "secretkey", "dialect", "time_scale", "discovery", "shell", "dir",
        "pid", "etcd", "machine_shell", "username", "password", "domain", "seed", *OPTIONS,
    }  # fmt: skip
    assert facts[0]["time_scale"] == 0.005


def test_a_server_starts_stops_and_starts_at_the_same_port(run, tmp_path):
    first = json.loads(run("start", "--json"))
    more = ["--expunge-delay", "60", "--may-expunge", "true", "--refuse", "listEvents,listHosts"]
    more += ["--project", "web", "--second-nic", "true", "--dialect", "4.20"]
    again = json.loads(run("start", "--json", "--time-scale", "0.5", *more))
    changed = {"time_scale": 0.5, "expunge_delay": 60, "may_expunge": 1}
    changed |= {"refuse": "listEvents,listHosts", "project": "web", "second_nic": 1}
    assert again == first | changed
    assert json.loads(run("status", "--json")) == again
    assert first["secretkey"] not in run("status")
    kept = tmp_path / "4.22" / "server.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert run("stop") == "stopped\n"
    until(lambda: not alive(first["pid"]))
    third = json.loads(run("start", "--json"))
    assert third["endpoint"] == first["endpoint"]
    assert (third["secretkey"], third["time_scale"]) == (first["secretkey"], 0.5)
    run("reset")
    assert not (tmp_path / "4.22" / "state.sqlite").exists()
    assert json.loads(run("start", "--json"))["secretkey"] != first["secretkey"]


def test_both_dialects_run_side_by_side(run):
    new, old = (json.loads(run("start", "--json", "--dialect", d)) for d in ("4.22", "2.2"))
    assert (new["dialect"], old["dialect"]) == ("4.22", "2.2")
    assert new["endpoint"] != old["endpoint"]
    assert json.loads(run("status", "--json"))["dialect"] == "4.22"
    run("stop")
    assert json.loads(run("status", "--json"))["dialect"] == "2.2"  # the one that runs


def test_options_that_a_running_cloud_ignores_or_changes_are_reported(tmp_path, capsys):
    start = ["start", "--dir", str(tmp_path)]
    try:
        assert main(start) == 0 and capsys.readouterr().err == ""
        assert main([*start, "--port", "1", "--time-scale", "0.5"]) == 0
        output = capsys.readouterr().err
        assert "--port 1 is ignored" in output and "time_scale changes from 0.005 to 0.5." in output
    finally:
        main(["stop", "--dir", str(tmp_path)])


def test_an_idle_server_ends_by_itself(run):
    pid = json.loads(run("start", "--json", "--idle", "0.005"))["pid"]
    until(lambda: not alive(pid))
    assert json.loads(run("status", "--json", check=False))["running"] is False


def test_a_port_in_use_is_reported(run, tmp_path, capsys):
    facts = json.loads(run("start", "--json"))
    port = facts["endpoint"].split(":")[2].split("/")[0]
    assert main(["serve", "--dialect", "2.2", "--dir", str(tmp_path), "--port", port]) == 1
    assert f"Port {port} is taken" in capsys.readouterr().err
    assert main(["serve", "--dir", str(tmp_path)]) == 1
    assert "runs already" in capsys.readouterr().err


def test_an_old_cloud_has_no_projects(tmp_path, capsys):
    given = ["--dialect", "2.2", "--project", "web", "--dir", str(tmp_path)]
    assert main(["start", *given]) == 1
    assert "CloudStack 2.2 has no projects" in capsys.readouterr().err


def test_stopping_nothing_is_no_fault(tmp_path, capsys):
    assert main(["stop", "--dir", str(tmp_path)]) == 0
    assert main(["status", "--dir", str(tmp_path)]) == 1
    assert "does not run" in capsys.readouterr().out


DAMAGES = {
    '{"id": "format", "value": 1}': f"wanted format {FORMAT}, found 1. `reset` deletes it.",
    '{"id": "format", "va': "is damaged (",
    "[]": "is damaged (",
    "null": "is damaged (",
    "not a database": "is damaged (file is not a database). `reset` deletes it.",
}


def test_a_state_that_cannot_be_read_is_reported_and_reset_helps(run, tmp_path, capsys):
    run("start")
    run("stop")
    path = tmp_path / "4.22" / "state.sqlite"
    for body, text in DAMAGES.items():
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("UPDATE rows SET body = ? WHERE id = 'format'", [body])
        if body == "not a database":
            path.write_text(body * 100)
        with pytest.raises(OtherFormat) as raised:
            Server(path.parent, time_scale=0)
        assert text in str(raised.value) and open_below(path.parent) == []
    assert main(["start", "--dir", str(tmp_path)]) == 1
    assert f"{path} {text}" in capsys.readouterr().err
    run("reset")
    run("start")


def test_a_server_that_cannot_start_leaves_nothing_open(tmp_path):
    with Server(tmp_path / "a", time_scale=0) as first:
        with pytest.raises(OSError) as raised:
            Server(tmp_path / "b", port=first.listener.server_port)
        assert raised.value.errno == EADDRINUSE and open_below(tmp_path / "b") == []


def open_below(folder: Path) -> list[str]:
    """Return the files of a folder that this process has open."""
    found = (os.readlink(f) for f in Path("/proc/self/fd").iterdir() if f.is_symlink())
    return [path for path in found if path.startswith(f"{folder}/")]
