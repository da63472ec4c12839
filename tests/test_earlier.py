"""What a run left that was given up: the next one finds it by the journal, and nobody else's."""

import json
import os
import subprocess
import time
from datetime import datetime, timedelta

import psutil
import pytest
from harness import changes, client, nap, settled, volume_params

from lib import Ours, earlier, sending
from lib import changes as reconcile
from lib.cluster import removal
from lib.earlier import created_by_runs
from lib.errors import CheckFailed
from lib.record import jsonl
from lib.record.journal import now
from lib.resources import templates

ZONE, NAME = "local-1", "coreos_cluster"


def anew(cloud, name="run-2", sleep=None):
    """Return a client as that of a new run, beside the first."""
    one = client(cloud.server, sleep)
    one.folder = cloud.folder.with_name(name)
    return one


def left_open(cloud) -> list:
    return earlier.left_open(cloud.folder, cloud.profile.endpoint)


def cluster(cloud) -> Ours:
    return Ours(cloud, ZONE, "coreos-cluster", "1", "v", NAME)


def written_by(cloud, pid: int) -> None:
    """Make the journal that of another process."""
    text = cloud.journal.path.read_text()
    began = psutil.Process(pid).create_time() if psutil.pid_exists(pid) else 1
    own_process = json.loads(text.splitlines()[0])["process"]
    cloud.journal.path.write_text(text.replace(own_process, f"{pid}/{began:.2f}"))


def template(cloud) -> str:
    """Make the template without its tags, as a run does that ends before it marks it."""
    disk = sending.run(cloud, "createVolume", **volume_params(cloud))["id"]
    where = cloud.list("listVirtualMachines")[0]["id"]
    sending.run(cloud, "attachVolume", id=disk, virtualmachineid=where)
    sending.run(cloud, "detachVolume", id=disk)
    shot = sending.run(cloud, "createSnapshot", volumeid=disk)["id"]
    kind = cloud.list("listOsTypes")[0]["id"]
    params = {"name": NAME, "displaytext": NAME, "snapshotid": shot, "ostypeid": kind}
    return sending.run(cloud, "createTemplate", **params)["id"]


def test_a_template_without_tags_is_ours_if_a_run_beside_made_it(cloud):
    created = template(cloud)
    later = anew(cloud)
    assert cluster(later).template()["id"] == created
    (step,) = templates.plan_create(cluster(later), os_type="")
    assert (step.command, step.params["resourceids"]) == ("createTags", [created])


def test_a_template_without_tags_that_no_journal_knows_is_a_strangers(cloud):
    template(cloud)
    cloud.journal.path.unlink()
    with pytest.raises(CheckFailed, match="a journal in this folder of runs"):
        cluster(anew(cloud)).template()


def test_one_whose_answer_was_lost_is_reported_by_when_it_was_sent(cloud):
    params = volume_params(cloud)
    created = cloud.ask("createVolume", **params)["id"]
    entry = cloud.journal.intend("createVolume", "v", params, None)
    assert created_by_runs(anew(cloud)) == {created}
    before = datetime.fromisoformat(entry.sent) - timedelta(hours=2)
    text = cloud.journal.path.read_text().replace(entry.at, before.isoformat())
    cloud.journal.path.write_text(text)
    assert created not in created_by_runs(anew(cloud))


def test_a_job_of_a_run_that_was_given_up_is_waited_for_and_reported_once(cloud, capsys):
    cloud.call("configureSimulator", name="time", value="scale:0.1")
    cloud.call("createVolume", **volume_params(cloud))
    written_by(cloud, 999999999)
    written = cloud.journal.path.read_bytes()
    later = settled(anew(cloud, sleep=nap))  # as the job takes some of this machine's time
    output = capsys.readouterr().out
    assert output == "createVolume , left open by run: its job has succeeded\n"
    assert later.list("listVolumes")[-1]["state"] == "Allocated"
    answer = json.loads(later.journal.path.read_text())
    assert (answer["state"], answer["run"], answer["of"]) == ("looked-after", "run", 2)
    reconcile.settle(anew(cloud, "run-3"))
    assert capsys.readouterr().out == "" and changes(cloud).count("createVolume") == 1
    assert cloud.journal.path.read_bytes() == written


def test_an_outcome_that_leaves_no_trace_is_reported_as_unknown(cloud, capsys):
    machine = cloud.list("listVirtualMachines")[0]["id"]
    cloud.journal.intend("rebootVirtualMachine", "w", {"id": machine}, None)
    reconcile.settle(anew(cloud))
    assert "left open by run: nobody can tell how it ended. my-w" in capsys.readouterr().out
    assert left_open(anew(cloud)) == []


def test_a_run_that_goes_on_is_left_alone(cloud, capsys):
    cloud.call("createVolume", **volume_params(cloud))
    with subprocess.Popen(["sleep", "60"]) as process:
        written_by(cloud, process.pid)
        assert left_open(anew(cloud)) == []
        process.kill()
        process.wait()
    assert [(run, e.command) for run, e in left_open(anew(cloud))] == [("run", "createVolume")]


def test_what_was_left_open_days_ago_is_not_asked_for(cloud):
    cloud.call("createVolume", **volume_params(cloud))
    old = time.time() - 2 * earlier.LATELY
    os.utime(cloud.journal.path, (old, old))
    assert left_open(anew(cloud)) == []


def test_the_journals_are_asked_once_for_all_that_is_not_marked(cloud):
    cloud.journal.intend("createVolume", "v", volume_params(cloud), None)
    later = anew(cloud)
    rows = [{"id": n} for n in range(3)]
    assert cluster(later).own(rows) == []
    asked = [c["command"] for c in later.list("listSimulatorCalls")]
    assert asked.count("listVolumes") == 1


def test_a_journal_is_not_read_again_but_for_what_was_added(cloud, monkeypatch):
    first = sending.run(cloud, "createVolume", **volume_params(cloud))["id"]
    later, read, parsed = anew(cloud), [], jsonl.parsed
    monkeypatch.setattr(jsonl, "parsed", lambda raw: read.append(raw) or parsed(raw))
    assert created_by_runs(later) == created_by_runs(later) == {first}
    assert len(read) == len(set(read)) > 0
    del read[:]
    with cloud.journal.path.open("ab") as file:
        line = {"at": now(), "n": 9, "state": "done", "resource": "second"}
        line |= {"command": "createVolume", "what": "w", "endpoint": cloud.journal.endpoint}
        file.write(json.dumps(line).encode() + b"\n")
    assert created_by_runs(later) == {first, "second"} and len(read) == 1


def test_a_machine_that_was_not_marked_yet_is_removed_with_the_rest(cloud):
    size = cloud.list("listServiceOfferings")[0]["id"]
    params = {"zoneid": cloud.list("listZones")[0]["id"], "templateid": template(cloud)}
    params |= {"serviceofferingid": size, "name": "coreos-cluster-1"}
    sending.run(cloud, "deployVirtualMachine", **params)
    later = anew(cloud)
    steps = removal.plan_machines(cluster(later))
    assert [s.what for s in steps] == ["coreos-cluster-1"]
    cloud.journal.path.unlink()
    assert not removal.plan_machines(cluster(later))
