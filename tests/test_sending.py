"""Many changes: how many run at once, how their jobs are polled, and what happens to failures."""

from collections import Counter
from dataclasses import replace

import pytest
from benchmarks.virtual import Clock, our_client
from harness import changes, fault

from lib.api.pace import Gate, Pace
from lib.errors import CloudError, Refused
from lib.localcloud.state.cloud import Listing
from lib.localcloud.state.registry import COMMANDS
from lib.localcloud.wire.server import Server
from lib.plan import apply, attempt
from lib.report import attempts
from lib.steps import Id, Step

WORKSTATION = "my-workstation"
NO_ROOM = "Too many concurrent requests"


@pytest.fixture(params=["4.22"])
def cloud(request, tmp_path):
    """A client of a cloud whose jobs take as long as real ones, both on a virtual clock."""
    clock = Clock()
    with Server(tmp_path / "c", dialect=request.param, time_scale=1, clock=clock) as server:
        for what in ("vm", "volume", "cpu", "memory", "primarystorage"):
            server.cloud.setting("limits")[what] = -1
        found = our_client(server, clock)
        found.folder, found.server = tmp_path / "run", server
        yield found


def volumes(cloud, count: int) -> list[Step]:
    offering = cloud.one("listDiskOfferings", "Custom Disk")["id"]
    params = {"diskofferingid": offering, "size": 1, "zoneid": cloud.zone_id("local-1")}
    names = [f"v{n}" for n in range(1, count + 1)]
    return [Step("createVolume", params | {"name": n}, f"{n} is wanted", n) for n in names]


def machines(cloud, count: int) -> list[Step]:
    params = {
        "zoneid": cloud.zone_id("local-1"),
        "templateid": cloud.one("listTemplates", "Debian 12", templatefilter="executable")["id"],
        "serviceofferingid": cloud.one("listServiceOfferings", "Small Instance")["id"],
        "startvm": False,
    }
    names = [f"m{n}" for n in range(1, count + 1)]
    return [Step("deployVirtualMachine", params | {"name": n}, "wanted", n) for n in names]


def asked(cloud) -> Counter:
    return Counter(call.command for call in cloud.server.cloud.faults.calls)


def test_the_jobs_of_many_machines_are_polled_by_lists(cloud):
    apply(cloud, machines(cloud, 40), "apply")
    there = [m for m in cloud.list("listVirtualMachines") if m["name"] != WORKSTATION]
    starts = [Step("startVirtualMachine", {"id": Id.of(m)}, "stopped", m["name"]) for m in there]
    apply(cloud, starts, "apply")
    assert {m["state"] for m in cloud.list("listVirtualMachines")} == {"Running"}
    seen = asked(cloud)
    assert seen["queryAsyncJobResult"] <= 4 and seen["listAsyncJobs"] < 80
    assert [e.state for e in cloud.journal.every()] == ["done"] * 80


def test_the_last_job_of_several_is_polled_every_2_s_like_a_single_one(cloud):
    (long,) = machines(cloud, 1)
    long = replace(long, params=long.params | {"startvm": True})
    attempt(cloud, [*volumes(cloud, 1), long], "apply")
    seen = asked(cloud)
    assert seen["listAsyncJobs"] + seen["queryAsyncJobResult"] < 45 / 2 + 10


@pytest.mark.parametrize("cloud", ["4.22", "2.2"], indirect=True)
def test_each_job_is_polled_where_they_cannot_be_listed(cloud):
    old = not cloud.has_tags
    fault(cloud, "listAsyncJobs", "fault:refuse;code:432;text:not for this account", count=99)
    apply(cloud, volumes(cloud, 12), "apply")
    assert asked(cloud)["listAsyncJobs"] == (0 if old else 1)
    assert sum(v["name"].startswith("v") for v in cloud.list("listVolumes")) == 12


def test_no_job_is_lost_when_lists_fail_now_and_then(cloud):
    fault(cloud, "listAsyncJobs", "fault:html;code:503", count=7)
    apply(cloud, volumes(cloud, 12), "apply")
    states = [e.state for e in cloud.journal.every() if e.command == "createVolume"]
    assert states == ["done"] * 12


def test_a_list_that_lacks_running_jobs_is_not_used_again(cloud, monkeypatch):
    none = lambda *_, **__: Listing("asyncjobs", [])  # noqa: E731
    monkeypatch.setattr(COMMANDS["listAsyncJobs"], "run", none)
    apply(cloud, volumes(cloud, 12), "apply")
    assert asked(cloud)["listAsyncJobs"] == 1
    states = [e.state for e in cloud.journal.every() if e.command == "createVolume"]
    assert states == ["done"] * 12


def test_a_second_run_does_only_the_failed_ones_of_many(cloud, capsys):
    fault(cloud, "createVolume", "fault:fail-job;code:530;text:no storage;skip:70", count=2)
    fault(cloud, "createVolume", "fault:refuse;code:431;text:bad disk;skip:30")
    steps = volumes(cloud, 100)
    with pytest.raises(CloudError, match=r"(?s)3 of 100 steps failed.*431 bad disk: v31") as e:
        apply(cloud, steps, "apply")
    assert "530 no storage: v71, v72" in str(e.value)
    output = capsys.readouterr().out
    assert output.count("failed:") == 3 and "v1, v2, v3 … v100 (97)" in output
    there = {v["name"] for v in cloud.list("listVolumes")}
    left = [s for s in steps if s.what not in there]
    assert attempt(cloud, left, "apply") == {} and len(left) == 3


def test_the_record_has_each_of_many_steps_that_are_told_at_once(cloud, monkeypatch):
    said = []
    monkeypatch.setattr("lib.waiting._say", said.append)
    fault(cloud, "createVolume", "fault:fail-job;code:530;text:no storage;skip:70", count=5)
    failed = attempt(cloud, steps := volumes(cloud, 100), "apply")
    assert len(said) == 3 and len(failed) == 5
    found = attempts.steps({"cells": [{"outputs": [{"data": data} for data in said]}]})
    ends = {(s["command"], s["what"]): s["outcome"] for s in found}
    names = [s.what for s in steps]
    assert ends == {("createVolume", n): "failed" if n in failed else "done" for n in names}


def test_failures_for_one_reason_are_grouped_though_each_text_names_its_machine(cloud, capsys):
    """The text is that of `startVirtualMachine` in 4.22 where no host has room."""
    for n in range(5):
        ident = f"3125d2c6-13a9-4c38-9c3e-{n:012}"
        row = f'{{"id":{n},"instanceName":"i-2-{n}-VM","uuid":"{ident}"}}'
        text = f"No destination for VM instance {row}, {ident}, i-2-{n}-VM"
        fault(cloud, "createVolume", f"fault:fail-job;code:533;text:{text};skip:{40 + n}")
    with pytest.raises(CloudError, match="5 of 100 steps failed") as e:
        apply(cloud, volumes(cloud, 100), "apply")
    [group] = str(e.value).split("\n")[2:]
    assert (
        group.startswith("  533 No destination for VM instance …, …, …: v")
        and group.count(" v") == 5
    )
    first, rest = [ln for ln in capsys.readouterr().out.splitlines() if ln.startswith("✗ failed:")]
    assert "i-2-0-VM" in first and rest.endswith("(533 No destination for VM instance …, …, …)")


@pytest.mark.parametrize(
    ("text", "count", "sent"),
    [("code:535;text:the limit", 1, 8), ("code:431;text:bad", 99, 10)],
)
def test_a_change_that_fails_for_all_is_not_sent_for_all(cloud, text, count, sent):
    fault(cloud, "createVolume", f"fault:refuse;{text};skip:7", count=count)
    assert attempt(cloud, volumes(cloud, 40), "apply")
    assert asked(cloud)["createVolume"] == sent


def test_changes_are_sent_again_and_fewer_at_once_if_the_cloud_demands_it(cloud):
    fault(cloud, "createVolume", f"fault:refuse;code:530;text:{NO_ROOM};skip:3", count=3)
    apply(cloud, volumes(cloud, 6), "apply")
    assert cloud.pace.most == 4 and changes(cloud).count("createVolume") == 6
    fault(cloud, "createVolume", f"fault:refuse;code:530;text:{NO_ROOM}", count=99)
    with pytest.raises(Refused, match="Too many"):
        apply(cloud, [replace(volumes(cloud, 1)[0], what="other")], "apply")


def refused(cloud) -> int:
    return sum(c.status == 429 for c in cloud.server.cloud.faults.calls)


def test_requests_keep_to_the_rate_of_a_throttled_cloud(cloud):
    cloud.call("configureSimulator", name="throttle", value="max:25;interval:1")
    began = cloud.clock()
    apply(cloud, volumes(cloud, 200), "apply", at_once=50)
    taken, requests = cloud.clock() - began, asked(cloud).total()
    assert refused(cloud) == 0 and asked(cloud)["getApiLimit"] == 1
    assert requests / 25 <= taken < requests / 20
    other = our_client(cloud.server, cloud.clock)
    other.list("listZones")
    turns = [cloud.gate.turn(60), other.gate.turn(60)]
    assert turns == pytest.approx([1 / 24, 2 / 24], abs=1e-6), "whoever asks"


def test_requests_wait_as_long_as_a_throttling_cloud_demands(cloud):
    assert cloud.capabilities
    cloud.call("configureSimulator", name="throttle", value="max:25;interval:1")
    began = cloud.clock()
    apply(cloud, volumes(cloud, 200), "apply", at_once=50)
    assert 8 <= refused(cloud) <= cloud.clock() - began + 1, "one a window"


def test_an_account_that_is_not_counted_is_not_slowed_down(cloud, monkeypatch):
    cloud.call("configureSimulator", name="throttle", value="max:25;interval:1")
    answer = {"apilimit": {"apiIssued": 0, "apiAllowed": 25, "expireAfter": 1}}
    ask = cloud.ask
    monkeypatch.setattr(cloud, "ask", lambda c, **p: answer if c == "getApiLimit" else ask(c, **p))
    assert cloud.capabilities and cloud.gate.turn(60) == 0


def test_all_processes_share_the_waits_for_a_throttled_cloud(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, other = (Gate("http://c/", "key", lambda: 5.0) for _ in range(2))
    one.set_apart(0)
    assert other.turn(60) == 0 and not one.path.exists()
    one.close(0.5)
    assert other.turn(60) == one.turn(60) == 0.5
    assert other.turn(0.4) == 0 and one.path.parent.stat().st_mode & 0o77 == 0
    assert Gate("http://c/", "other", lambda: 5.0).turn(60) == 0
    one.set_apart(0.25)
    assert [one.turn(60), other.turn(60), one.turn(60)] == [0, 0.25, 0.5]
    one.set_apart(0)
    assert [one.turn(60), other.turn(60)] == [0.75, 0.75]
    for damaged in ("damaged", "", "1 2 3", "- e", "nan nan"):
        one.path.write_text(damaged)
        assert other.turn(60) == 0


@pytest.mark.parametrize(
    ("answers", "most"),
    [
        ([0.1] * 7, 8),
        ([0.1] * 8, 16),
        ([0.1] * 100, 50),
        ([0.1] * 24 + [0.1, 9.0], 16),
        ([0.1] * 16, 32),
        ([0.1] * 24 + [0.5] * 8, 50),
        ([2.0] * 8, 16),
    ],
)
def test_as_many_changes_run_at_once_as_the_cloud_bears(answers, most):
    pace = Pace()
    for seconds in answers:
        pace.answered(seconds)
    assert pace.most == most


def test_a_given_number_of_changes_at_once_stays():
    pace = Pace(3)
    pace.halve()
    assert pace.most == 3
