"""Reconciling: whatever becomes of an answer, a change is made once, and the journal says how."""

import json

import pytest
from harness import changes, client, fault, nap, settled, volume_params

from lib import Ours, effects, ours, sending
from lib import changes as reconcile
from lib.errors import JobFailed, JobTimeout, NotOne, Refused, Unreachable
from lib.localcloud.state import views
from lib.record.journal import Entry

LOST = ["drop-before", "drop-after", "malformed", "html;code:503"]
TAGS = Ours(None, "local-1", "c").tags


@pytest.fixture
def cloud(each_cloud):
    return each_cloud


def again(cloud):
    """Return a client as a new process would have, in the same run folder."""
    return client(cloud.server)


def workstation(cloud) -> str:
    return cloud.list("listVirtualMachines")[0]["id"]


def named(cloud, name="v") -> list[dict]:
    return [v for v in cloud.list("listVolumes") if v["name"] == name]


def use(cloud, disk: str, kind: str) -> None:
    """Attach, detach and delete a volume, with a fault each time."""
    where = {"virtualmachineid": workstation(cloud)}
    for command, params in (("attachVolume", where), ("detachVolume", {}), ("deleteVolume", {})):
        fault(cloud, command, f"fault:{kind}")
        sending.run(cloud, command, id=disk, **params)


def ends(cloud) -> list[str]:
    lines = [json.loads(line) for line in cloud.journal.path.read_text().splitlines()]
    own = {t["n"] for t in lines if t.get("command") == "configureSimulator"}
    return list({t["n"]: t["state"] for t in lines if t["n"] not in own}.values())


@pytest.mark.parametrize("kind", LOST)
def test_a_volume_is_made_once_whatever_becomes_of_the_answer(cloud, kind):
    fault(cloud, "createVolume", f"fault:{kind}")
    created = sending.run(cloud, "createVolume", **volume_params(cloud))
    assert [v["id"] for v in named(cloud)] == [created["id"]]
    ran = ["done"] if cloud.has_tags else ["adopted"]  # its job is known by the id we gave it
    assert ends(cloud) == (ran if kind in ("drop-after", "malformed") else ["not-sent", "done"])
    ids = [e.customjobid for e in cloud.journal.every() if e.command == "createVolume"]
    assert len(set(ids)) == (len(ids) if cloud.has_tags else 1)


@pytest.mark.parametrize("kind", LOST)
def test_what_is_done_to_a_volume_is_done_once(cloud, kind):
    disk = sending.run(cloud, "createVolume", **volume_params(cloud))["id"]
    use(cloud, disk, kind)
    assert named(cloud) == []
    assert not set(ends(cloud)) - {"done", "adopted", "not-sent"}


@pytest.mark.parametrize("kind", LOST)
def test_a_snapshot_is_taken_once(cloud, kind):
    disk = sending.run(cloud, "createVolume", **volume_params(cloud))["id"]
    sending.run(cloud, "attachVolume", id=disk, virtualmachineid=workstation(cloud))
    sending.run(cloud, "detachVolume", id=disk)
    fault(cloud, "createSnapshot", f"fault:{kind}")
    sending.run(cloud, "createSnapshot", volumeid=disk)
    assert len(cloud.list("listSnapshots")) == 1


def test_a_job_id_of_our_own_is_sent_only_where_the_server_takes_it(cloud):
    sending.run(cloud, "createVolume", **volume_params(cloud))
    sent = [c for c in cloud.list("listSimulatorCalls") if c["command"] == "createVolume"]
    assert [bool(c["params"].get("customjobid")) for c in sent] == [cloud.has_tags]


def test_an_answer_that_never_comes_is_an_error_after_three_tries(cloud):
    fault(cloud, "createVolume", "fault:drop-before", count=9)
    with pytest.raises(Unreachable):
        cloud.call("createVolume", **volume_params(cloud))
    assert ends(cloud) == ["not-sent"] * 3


def test_two_volumes_that_may_be_it_are_shown_and_no_third_is_made(cloud):
    for _ in range(2):
        cloud.ask("createVolume", **volume_params(cloud))
    fault(cloud, "createVolume", "fault:drop-before")
    with pytest.raises(NotOne, match="wanted exactly one volume with name 'v'"):
        cloud.call("createVolume", **volume_params(cloud))
    assert len(named(cloud)) == 2


class Shots(list):
    """Stands in for a cloud with these snapshots."""

    def list(self, command: str, **filters: str) -> list[dict]:
        return [{"id": n, "name": "s", "volumeid": 7} | row for n, row in enumerate(self)]

    def within(self, project_id: str) -> "Shots":
        return self


SENT = Entry(command="createSnapshot", params={"volumeid": 7}, sent="2026-11-23T20:00:00+00:00")


@pytest.mark.parametrize(
    ("state", "created", "taken"),
    [
        ("BackedUp", "2026-11-24T05:00:01+0900", True),
        ("Creating", "2026-11-24T04:57:00+0900", True),  # the server's clock is behind ours
        ("BackedUp", "2026-11-24T04:00:00+0900", False),  # an hour old
        ("Error", "2026-11-24T05:00:00+0900", True),
        ("Error", "2026-11-24T04:57:00+0900", False),  # that of an earlier attempt
        ("Destroyed", "2026-11-24T05:00:01+0900", False),
    ],
)
def test_a_snapshot_is_reported_by_its_volume_and_when_it_was_taken(state, created, taken):
    found = effects.find(Shots([{"state": state, "created": created}]), SENT)
    assert (found is not None) == taken


def test_one_that_failed_earlier_does_not_stand_beside_the_one_that_was_taken():
    rows = [{"state": "Error", "created": SENT.sent}, {"state": "BackedUp"}]
    assert effects.find(Shots(rows), SENT)["id"] == 1


def test_a_lost_job_that_failed_is_a_failure(cloud):
    fault(cloud, "createVolume", "fault:fail-job;code:530;text:no storage")
    with pytest.raises(JobFailed, match="no storage"):
        sending.run(cloud, "createVolume", **volume_params(cloud))
    assert ends(cloud) == ["failed"]


def test_what_an_internal_error_answers_is_done_if_it_was(cloud):
    fault(cloud, "createVolume", "fault:refuse-after;code:530")
    disk = sending.run(cloud, "createVolume", **volume_params(cloud))["id"]
    assert [v["id"] for v in named(cloud)] == [disk]
    use(cloud, disk, "refuse-after;code:530")
    assert named(cloud) == [] and ends(cloud) == ["adopted"] * 4


def test_a_refusal_is_recorded_also_as_an_internal_error_that_changed_nothing(cloud):
    fault(cloud, "createVolume", "fault:refuse;code:530")
    with pytest.raises(Refused, match="530"):
        sending.run(cloud, "createVolume", **volume_params(cloud))
    with pytest.raises(Refused):
        cloud.call("deleteVolume", id=volume_params(cloud)["zoneid"])
    assert ends(cloud) == ["refused"] * 2


def test_what_an_internal_error_leaves_in_error_is_named_and_known_as_made(cloud, monkeypatch):
    fault(cloud, "createVolume", "fault:refuse-after;code:530")
    shown = views.show

    def broken(there, kind: str, row: dict, **more) -> dict:
        return shown(there, kind, row, **more) | ({"state": "Error"} if kind == "volume" else {})

    monkeypatch.setattr("lib.localcloud.wire.envelope.show", broken)
    with pytest.raises(Refused, match=r"530.*It left v \(id .*\) in Error"):
        sending.run(cloud, "createVolume", **volume_params(cloud))
    assert ends(cloud) == ["failed"]
    assert str(named(cloud)[0]["id"]) in ours.created_by_runs(cloud)


def test_a_job_left_running_is_joined_and_not_repeated(cloud, capsys):
    wanted = volume_params(cloud)
    cloud.call("configureSimulator", name="time", value="scale:0.2")
    cloud.call("createVolume", **wanted)
    later = settled(client(cloud.server, nap))  # as the job takes a second of this machine's time
    assert "createVolume" in capsys.readouterr().out
    assert ends(later) == ["done"] and later.journal.unfinished() == []
    assert changes(later).count("createVolume") == 1


def test_sending_a_change_again_while_it_is_open_joins_it(cloud):
    wanted = volume_params(cloud)
    cloud.call("createVolume", **wanted)
    sending.run(again(cloud), "createVolume", **wanted)
    assert len(named(cloud)) == 1 and changes(cloud).count("createVolume") == 1


def test_a_job_that_goes_on_for_ever_can_be_joined_but_not_passed_over(cloud):
    now = [0.0]
    fault(cloud, "createVolume", "fault:hang-job")
    cloud.change("createVolume", volume_params(cloud), within=60)
    later = again(cloud)
    later.clock, later.sleep = (lambda: now[0]), (lambda s: now.__setitem__(0, now[0] + s))
    with pytest.raises(JobTimeout, match="wait, then run this stage again"):
        reconcile.settle(later)
    assert 60 <= now[0] < 70  # as long as the step that was left open would have waited
    assert len(later.journal.unfinished()) == 1


@pytest.mark.parametrize("kind", LOST)
def test_a_machine_is_rebooted_once_where_its_job_can_be_asked_for(cloud, kind):
    fault(cloud, "rebootVirtualMachine", f"fault:{kind}")
    if not cloud.has_tags:
        with pytest.raises(Unreachable, match="workstation is Running now"):
            sending.run(cloud, "rebootVirtualMachine", id=workstation(cloud))
        assert ends(cloud) == ["lost"]
        return
    sending.run(cloud, "rebootVirtualMachine", id=workstation(cloud))
    ran = kind in ("drop-after", "malformed")
    assert ends(cloud) == (["done"] if ran else ["not-sent", "done"])
    assert changes(cloud).count("rebootVirtualMachine") == 1


@pytest.mark.parametrize("kind", ["drop-before", "drop-after", "malformed"])
def test_an_update_whose_answer_is_lost_is_sent_again(cloud, kind):
    fault(cloud, "updateVirtualMachine", f"fault:{kind}")
    cloud.call("updateVirtualMachine", id=workstation(cloud), displayname="renamed")
    assert cloud.list("listVirtualMachines")[0]["displayname"] == "renamed"
    assert ends(cloud) == ["lost", "done"]


def test_an_outcome_that_leaves_no_trace_is_reported_as_unknown(cloud, capsys):
    params = {"id": workstation(cloud)}
    cloud.journal.intend("rebootVirtualMachine", "w", params, None)
    reconcile.settle(again(cloud))
    assert ends(cloud) == ["lost"]
    assert "nobody can tell how it ended. my-workstation is" in capsys.readouterr().out


def test_an_intent_that_was_never_sent_is_closed(cloud, capsys):
    cloud.journal.intend("createVolume", "v", volume_params(cloud), None)
    reconcile.settle(again(cloud))
    assert ends(cloud) == ["not-sent"] and "it was not made" in capsys.readouterr().out


def test_settling_sends_no_change(cloud):
    wanted = volume_params(cloud)
    sending.run(cloud, "createVolume", **wanted)
    cloud.journal.intend("createVolume", "v", wanted, None)
    seen = changes(cloud)
    reconcile.settle(again(cloud))
    assert changes(cloud) == seen and ends(cloud)[-1] == "adopted"
