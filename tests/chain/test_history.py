import json
import time
from types import SimpleNamespace

import folders
from folders import at, stage, write_lines
from harness import client, volume_params

from lib import jobs
from lib import waiting as progress
from lib.chain import history
from lib.chain.terminal import Waiting
from lib.localcloud.wire.server import Server
from lib.plan import apply
from lib.report import past
from lib.steps import Step


def recorded(runs, name, seconds, **params):
    """Write a run with one job of this duration."""
    folder = folders.run(runs, name, stage("10-make", 0, 4), **params)
    write_lines(folder / "journal.jsonl", folders.journal(1, seconds, "createSnapshot"))
    return folder


def known(folder, command, estimate=0.0):
    """Return how many seconds a job should take in a run, at a cloud in real time."""
    cloud = SimpleNamespace(folder=folder, profile=SimpleNamespace(time_scale=1))
    return jobs.known(cloud, jobs.Job("1", command, expect=estimate))


def test_the_median_of_the_last_five_runs_is_expected(tmp_path):
    for day, seconds in enumerate([900, 10, 20, 30, 40, 500], 1):
        recorded(tmp_path, f"2026030{day}-000000-web", seconds)
    found = history.expected(past.folders(tmp_path), "prod")
    assert found == {"createSnapshot": {"seconds": 30.0, "runs": 5}}


def test_runs_without_the_duration_of_a_job_do_not_count(tmp_path):
    recorded(tmp_path, "20260301-000000-web", 10, profile="other")
    folder = recorded(tmp_path, "20260302-000000-web", 5000)  # it ended before a resume
    write_lines(folder / "events.jsonl", [{"at": at(4000), "event": "run-resumed", "pid": 1}])
    assert history.expected(past.folders(tmp_path), "prod") == {}
    done = folders.journal(1)
    assert history.durations(done) == [("createVolume", 2.0, 0.0)]
    assert history.durations(done[:2]) == []
    assert history.durations([*done[:2], done[2] | {"state": "failed"}]) == []


def test_a_new_run_gets_the_figures_of_earlier_runs(tmp_path):
    recorded(tmp_path, "20260301-000000-web", 10)
    folder = recorded(tmp_path, "20260302-000000-web", 99)
    path = history.write(folder)
    assert json.loads(path.read_text()) == {"createSnapshot": {"seconds": 10.0, "runs": 1}}
    assert known(folder, "createSnapshot", 570) == 10
    assert known(folder, "createVolume", 7) == 7
    assert known(tmp_path, "createSnapshot", 570) == 570


def test_a_disk_of_twice_the_size_is_expected_to_take_twice_as_long(tmp_path):
    folder = recorded(tmp_path, "20260301-000000-web", 855)
    lines = folders.journal(1, 855, "createSnapshot")
    write_lines(folder / "journal.jsonl", [lines[0] | {"expect": 570}, *lines[1:]])
    later = recorded(tmp_path, "20260302-000000-web", 99)
    history.write(later)
    assert known(later, "createSnapshot", 1140) == 2 * 855
    assert known(later, "createSnapshot") == 855


def test_expected_seconds_are_in_the_journal(tmp_path, monkeypatch):
    with Server(tmp_path / "cloud", time_scale=0.001) as server:
        cloud = client(server, sleep=time.sleep)
        apply(cloud, [Step("createVolume", volume_params(cloud), "", "v", expect=60)], "apply")
        journal = past.lines(cloud.journal.path, [])
    ((command, seconds, expect),) = history.durations(journal)
    assert (command, expect) == ("createVolume", 0.06) and seconds > 0


def test_the_terminal_shows_elapsed_and_expected_time():
    waiting = Waiting()
    facts = {"waiting": "createSnapshot disk", "seconds": 190, "about": 570}
    content = {"data": {progress.WAIT: facts}, "transient": {"display_id": "1"}}
    waiting.hear({"msg_type": "display_data", "content": content})
    assert str(waiting) == "3m10s of about 9m30s: createSnapshot disk"
