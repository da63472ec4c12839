"""Deploying: a machine for which there is no host, whatever the account may do."""

import json

import pytest
from harness import FLATCAR, changes, fault, machines, play
from stages import DEPLOY

from lib.cluster import capacity
from lib.errors import CheckFailed, JobFailed, Refused
from lib.machines import plan_destroy

ROOM = "memory:7200;hosts:1"  # for the workstation and three small machines
FALLBACK = {"fallback_offerings": ["Small Instance"]}
ACCOUNTS = {"ordinary": {}, "may expunge": {"may_expunge": 1}}


@pytest.fixture
def cloud(request, built, tmp_path):
    """A client of a cloud with Flatcar's template, by default of an ordinary account."""
    with built(**FLATCAR).running(tmp_path / "cloud", **getattr(request, "param", {})) as one:
        yield one


def offerings(cloud) -> list[tuple]:
    """Return state and offering of each machine of the cluster."""
    return [(m["state"], m["serviceofferingname"]) for _, m in sorted(machines(cloud).items())]


def leave_stopped(cloud, **params) -> dict[str, dict]:
    """Have a run end between deploying the machines and starting them."""
    fault(cloud, "startVirtualMachine", "fault:refuse;code:431;text:no")
    with pytest.raises(Refused):
        play(cloud, DEPLOY, **FLATCAR, **params)
    assert {m["state"] for m in machines(cloud).values()} == {"Stopped"}
    return machines(cloud)


@pytest.mark.parametrize("cloud", ACCOUNTS.values(), ids=ACCOUNTS, indirect=True)
@pytest.mark.parametrize("trouble", ["Tagged Instance", "Medium Instance"])
def test_the_next_offering_is_tried_where_no_host_takes_a_machine(cloud, trouble, capsys):
    cloud.call("configureSimulator", name="capacity", value=ROOM)
    play(cloud, DEPLOY, **FLATCAR, **FALLBACK, service_offering=trouble)
    assert offerings(cloud) == [("Running", "Small Instance")] * 3
    anew = 3 if cloud.may_expunge else 0  # else they stay Stopped, with their names and addresses
    assert changes(cloud).count("destroyVirtualMachine") == anew
    assert changes(cloud).count("deployVirtualMachine") == 3 + anew
    output = capsys.readouterr().out
    assert ("gpu" in output) == (trouble == "Tagged Instance")
    assert play(cloud, DEPLOY, **FLATCAR, **FALLBACK, service_offering=trouble)["plan"] == []


def test_every_fallback_is_tried_once_and_the_machines_stay_for_the_next_run(cloud):
    cloud.call("configureSimulator", name="capacity", value="memory:0")
    twice = {"fallback_offerings": ["Medium Instance", "Small Instance", "Small Instance"]}
    with pytest.raises(JobFailed, match=r"533.*also with Small Instance\)"):
        play(cloud, DEPLOY, **FLATCAR, **twice)
    assert offerings(cloud) == [("Stopped", "Small Instance")] * 3
    cloud.call("configureSimulator", name="capacity", value="memory:99999")
    before = machines(cloud)
    play(cloud, DEPLOY, **FLATCAR, **twice)
    assert offerings(cloud) == [("Running", "Small Instance")] * 3
    assert {n: m["id"] for n, m in machines(cloud).items()} == {
        n: m["id"] for n, m in before.items()
    }


def test_a_run_that_ended_before_the_start_is_continued_with_the_same_machines(cloud):
    before = leave_stopped(cloud)
    plan = play(cloud, DEPLOY, **FLATCAR, mode="plan")["plan"]
    assert [s.command for s in plan] == ["startVirtualMachine"] * 3
    play(cloud, DEPLOY, **FLATCAR)
    assert {m["id"] for m in machines(cloud).values()} == {m["id"] for m in before.values()}


@pytest.mark.parametrize("cloud", ACCOUNTS.values(), ids=ACCOUNTS, indirect=True)
def test_the_rest_is_deployed_while_the_members_boot_or_started_at_once_after_them(cloud):
    play(cloud, DEPLOY, **FLATCAR | {"cluster_size": 5, "etcd_members": 3})
    sent = [c.removesuffix("VirtualMachine") for c in changes(cloud) if "Machine" in c]
    stopped = [*["deploy"] * 3, *["start"] * 3, *["deploy"] * 2, *["start"] * 2]
    assert sent == (["deploy"] * 5 if cloud.may_expunge else stopped)
    assert {s for s, _ in offerings(cloud)} == {"Running"} and len(offerings(cloud)) == 5


def test_what_was_not_sent_beside_a_start_that_failed_is_deployed_after_it(cloud):
    more = FLATCAR | FALLBACK | {"cluster_size": 7, "etcd_members": 3, "at_once": 2}
    fault(cloud, "startVirtualMachine", "fault:refuse;code:533;text:no host")
    play(cloud, DEPLOY, **more)
    assert {s for s, _ in offerings(cloud)} == {"Running"} and len(offerings(cloud)) == 7


@pytest.mark.parametrize("cloud", [ACCOUNTS["may expunge"]], indirect=True)
def test_what_a_deployment_left_in_error_is_expunged_and_its_name_free(cloud):
    fault(cloud, "deployVirtualMachine", "fault:fail-job;code:530;text:storage is away")
    with pytest.raises(JobFailed, match="storage is away"):
        play(cloud, DEPLOY, **FLATCAR)
    assert offerings(cloud) == [("Running", "Medium Instance")] * 2
    play(cloud, DEPLOY, **FLATCAR)
    assert offerings(cloud) == [("Running", "Medium Instance")] * 3


def test_a_role_without_the_command_may_not_expunge(built, tmp_path):
    options = {"may_expunge": 1, "refuse": "expungeVirtualMachine"}
    with built(**FLATCAR).running(tmp_path / "cloud", **options) as cloud:
        play(cloud, DEPLOY, **FLATCAR)
        assert not cloud.may_expunge
        assert changes(cloud).count("startVirtualMachine") == 3
        assert "expunge" not in plan_destroy(cloud, machines(cloud)["coreos-cluster-1"], "").params


def test_a_stopped_machine_of_another_offering_is_given_the_one_that_is_asked_for(cloud):
    leave_stopped(cloud)
    other = {"service_offering": "Small Instance", "mode": "plan"}
    plan = play(cloud, DEPLOY, **FLATCAR, **other)["plan"]
    commands = ["changeServiceForVirtualMachine"] * 3 + ["startVirtualMachine"] * 3
    assert [s.command for s in plan] == commands
    assert plan[0].why == "it is stopped and has Medium Instance, not Small Instance"
    play(cloud, DEPLOY, **FLATCAR, **other | {"mode": "apply"})
    assert offerings(cloud) == [("Running", "Small Instance")] * 3


def test_a_stopped_machine_keeps_a_fallback_offering_that_it_has(cloud):
    leave_stopped(cloud, service_offering="Small Instance")
    play(cloud, DEPLOY, **FLATCAR, **FALLBACK)
    assert offerings(cloud) == [("Running", "Small Instance")] * 3


def test_machines_of_flatcar_are_started_at_once(cloud):
    play(cloud, DEPLOY, **FLATCAR)
    lines = map(json.loads, cloud.journal.path.read_text().splitlines())
    known = {e.n for e in cloud.journal.every() if e.command == "startVirtualMachine"}
    states = [x["state"] for x in lines if x["n"] in known]
    assert states == ["intent", "accepted"] * 3 + ["done"] * 3


@pytest.mark.parametrize("kind", ["drop-before", "drop-after"])
@pytest.mark.parametrize(
    "command", ["deployVirtualMachine", "startVirtualMachine", "changeServiceForVirtualMachine"]
)
def test_each_of_the_steps_is_made_once_whatever_becomes_of_its_answer(
    built, tmp_path, command, kind
):
    with built(**FLATCAR).running(tmp_path / "cloud") as cloud:
        fault(cloud, command, f"fault:{kind}")
        play(cloud, DEPLOY, **FLATCAR, **FALLBACK, service_offering="Tagged Instance")
        assert offerings(cloud) == [("Running", "Small Instance")] * 3


def test_what_the_account_may_not_ask_has_a_dash_and_the_fallback_is_tried(built, tmp_path, capsys):
    with built(**FLATCAR).running(tmp_path / "cloud", refuse="listHypervisors,listEvents") as cloud:
        play(cloud, DEPLOY, **FLATCAR, **FALLBACK, service_offering="Tagged Instance")
        assert offerings(cloud) == [("Running", "Small Instance")] * 3
    output = capsys.readouterr().out
    for command in ("listHypervisors", "listEvents"):
        assert f"not known: this account may not call {command}" in output


def test_on_22_a_machine_without_a_host_is_destroyed_and_deployed_again(built, tmp_path):
    with built(dialect="2.2").running(tmp_path / "cloud") as cloud:
        cloud.call("configureSimulator", name="capacity", value=ROOM)
        play(cloud, DEPLOY, fallback_offerings=["Small Instance"])
        assert {s for s, _ in offerings(cloud)} == {"Running"}
        assert "changeServiceForVirtualMachine" not in changes(cloud)


def test_a_machine_that_is_removed_between_two_offerings_is_named(cloud, monkeypatch):
    cloud.call("configureSimulator", name="capacity", value="memory:0")

    def explained(*_) -> None:
        one = machines(cloud)["coreos-cluster-1"]
        cloud.change("destroyVirtualMachine", {"id": one["id"]}, what=one["name"])

    monkeypatch.setattr(capacity, "show_explained", explained)
    with pytest.raises(CheckFailed, match=r"coreos-cluster-1: wanted Stopped, found gone.*again"):
        play(cloud, DEPLOY, **FLATCAR, **FALLBACK)
