"""Names and addresses that destroyed machines hold until they are expunged: reported beforehand."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from harness import URL, USERDATA, changes, client, fault, inventory, machines, play, play_to
from stages import CHECK, DEPLOY, REMOVE, VERIFY, WRITE

from lib.cluster import removal
from lib.config import Bootstrap, addresses
from lib.errors import CheckFailed, JobFailed, Refused
from lib.report.known_errors import explain
from lib.resources import held

STATIC = USERDATA | {"discovery": "static"}
NAMES = [f"coreos-cluster-{n}" for n in (1, 2, 3)]
FIRST, SECOND, THIRD = NAMES
NEXT = "first_number=4"
FURTHER = STATIC | {"first_number": 4}
ALL = ["template", "snapshot", "volume"]
BROKEN = "fault:fail-job;code:530;text:broken"


@pytest.fixture
def cloud(built, tmp_path):
    """A client of a local cloud with Flatcar's template, whose account is an ordinary one."""
    with built(**STATIC).running(tmp_path / "cloud") as one:
        yield one


def states(cloud) -> dict[str, str]:
    return {name: row["state"] for name, row in machines(cloud).items()}


def warnings(cloud, **params) -> list:
    """Return the rows of 00 that warn of names which are held."""
    rows = play(cloud, CHECK, "check-table", **params)["rows"]
    return [r for r in rows if r.ok == "-" and r.what.startswith("the name")]


def test_a_removal_without_the_permission_to_expunge_ends_well_and_reports_held_names(
    cloud, capsys
):
    assert held.destroyed(cloud) == {}
    play(cloud, DEPLOY, **STATIC)
    for mode in ("plan", "apply"):
        capsys.readouterr()
        play(cloud, REMOVE, mode=mode)
        output = capsys.readouterr().out
        assert f"it holds their names: {', '.join(NAMES)}." in output and NEXT in output
    assert inventory(cloud)["listTemplates"] == [] and states(cloud) == {}
    assert "coreos_cluster_disk" not in inventory(cloud)["listVolumes"]
    done = changes(cloud)
    play(cloud, REMOVE)
    assert changes(cloud) == done and NEXT in capsys.readouterr().out


def test_held_names_are_reported_before_the_work_and_the_next_numbers_can_be_deployed(
    cloud, capsys
):
    play(cloud, DEPLOY, **STATIC)
    play(cloud, REMOVE, keep=ALL)
    until = (datetime.now() + timedelta(days=2)).strftime("%Y-%m-%d")
    found = warnings(cloud)
    assert [r.what for r in found] == [f"the names {FIRST} to {THIRD} (3)"]
    assert all(until in r.found and NEXT in r.next for r in found)
    play(cloud, WRITE, **STATIC)
    capsys.readouterr()
    play(cloud, DEPLOY, **STATIC, mode="plan")
    assert f"to {THIRD} (3): held until it is expunged" in capsys.readouterr().out
    refusal = f"already exists in the network domain.*{until}.*{NEXT}"
    with pytest.raises(Refused, match=refusal) as error:
        play(cloud, DEPLOY, **STATIC)
    assert "first_number" in explain("failed", f"Refused: {error.value}").do
    assert states(cloud) == {}
    assert warnings(cloud, **FURTHER) == []
    play(cloud, DEPLOY, **FURTHER)
    assert set(states(cloud)) == {f"coreos-cluster-{n}" for n in (4, 5, 6)}
    rows = play(cloud, VERIFY, **FURTHER)["found"]
    assert "✗" not in {r.ok for r in rows}
    play(cloud, REMOVE)
    assert states(cloud) == {}


def test_the_refusal_explains_a_name_that_no_journal_knows(cloud):
    play(cloud, DEPLOY, **STATIC)
    play(cloud, REMOVE, keep=ALL)
    play(cloud, WRITE, **STATIC)
    cloud.folder = cloud.folder.parent / "elsewhere" / "run"
    del cloud.journal
    assert held.destroyed(cloud) == {}
    with pytest.raises(Refused, match=rf"already exists.*does not see.*{NEXT}"):
        play(cloud, DEPLOY, **STATIC)


EXPUNGED = {  # options of the server, and the number of warnings
    "by the cloud": ({"expunge_delay": 0}, 1),
    "by the account": ({"may_expunge": 1}, 0),
}


@pytest.mark.parametrize("options, count", EXPUNGED.values(), ids=EXPUNGED)
def test_a_cluster_can_be_deployed_again_once_its_machines_are_expunged(
    built, tmp_path, options, count
):
    with built(**STATIC).running(tmp_path / "cloud", **options) as cloud:
        for _ in range(2):
            play(cloud, WRITE, **STATIC)
            play(cloud, DEPLOY, **STATIC)
            play(cloud, REMOVE, keep=ALL)
        assert len(warnings(cloud)) == count


def test_nothing_is_held_on_22(old_cloud, capsys):
    for _ in range(2):
        play_to(old_cloud, DEPLOY, **URL)
        play(old_cloud, REMOVE, **URL)
    assert warnings(old_cloud, **URL) == []
    assert "first_number" not in capsys.readouterr().out


def test_addresses_of_destroyed_machines_are_not_chosen_again(cloud):
    play(cloud, DEPLOY, **STATIC)
    assert held.addresses(cloud) == set()
    play(cloud, REMOVE)
    assert len(held.addresses(cloud)) == 3
    chosen = addresses.settle(cloud, Bootstrap("core", 3, "static"), "local-1", "", [])
    assert not held.addresses(cloud) & set(chosen.addresses)


def test_addresses_that_a_kept_template_fixes_are_reported_if_they_may_be_held(server, capsys):
    params = STATIC | {"config_delivery": "disk"}
    cloud = client(server)
    play_to(cloud, DEPLOY, **params)
    play(cloud, REMOVE, keep=["template"])
    left = inventory(cloud)
    assert left["listTemplates"] == ["coreos-cluster-tpl"] and left["listSnapshots"] == []
    assert "coreos_cluster_disk" not in left["listVolumes"]
    assert "may still be held" not in capsys.readouterr().out
    play(cloud, DEPLOY, **params, first_number=4, mode="plan")
    assert "! 10.1.0.252, 10.1.0.253, 10.1.0.254 may still be held" in capsys.readouterr().out
    in_error = r"It left coreos-cluster-4 \(id .*\) in Error.*where 10\.1\.0\.252 is taken.*=5`"
    with pytest.raises(Refused, match=f"530.*{in_error}"):
        play(cloud, DEPLOY, **params, first_number=4)
    assert states(cloud) == {}


def test_a_machine_in_error_is_destroyed_its_name_reported_and_the_others_started(cloud):
    fault(cloud, "deployVirtualMachine", BROKEN)
    report = rf"broken.*holds its name.*once it is expunged. {SECOND}, {THIRD} can stay"
    with pytest.raises(JobFailed, match=report) as error:
        play(cloud, DEPLOY, **STATIC)
    assert states(cloud) == {SECOND: "Running", THIRD: "Running"} and ".. " not in str(error.value)
    play(cloud, REMOVE, keep=ALL)
    for stage in (WRITE, DEPLOY):
        play(cloud, stage, **FURTHER)
    assert set(states(cloud).values()) == {"Running"}


def test_running_machines_stay_although_the_name_of_another_is_held(cloud, capsys):
    play(cloud, DEPLOY, **STATIC)
    cloud.change("destroyVirtualMachine", {"id": machines(cloud)[SECOND]["id"]}, what=SECOND)
    play(cloud, DEPLOY, **STATIC, mode="plan")
    with pytest.raises(Refused, match=f"expunged. {FIRST}, {THIRD} can stay"):
        play(cloud, DEPLOY, **STATIC)
    assert "can stay" in capsys.readouterr().out and "Running" in states(cloud).values()


@pytest.mark.parametrize("may_expunge", [0, 1])
def test_a_machine_in_error_that_no_run_deployed_is_reported_before_it_is_destroyed(
    built, tmp_path, capsys, may_expunge
):
    with built(**STATIC).running(tmp_path / "cloud", may_expunge=may_expunge) as cloud:
        plan = play(cloud, DEPLOY, **STATIC, mode="plan")["plan"]
        fault(cloud, "deployVirtualMachine", BROKEN)
        params = next(s.params for s in plan if s.what == FIRST)
        cloud.call("deployVirtualMachine", **params | {"userdataid": None})
        cloud.list("listAsyncJobs")
        assert states(cloud) == {FIRST: "Error"}
        capsys.readouterr()
        play(cloud, DEPLOY, **STATIC, mode="plan")
        is_reported = "in Error, and held once that is destroyed" in capsys.readouterr().out
        assert is_reported != may_expunge
        if may_expunge:
            play(cloud, DEPLOY, **STATIC)
            assert set(states(cloud).values()) == {"Running"}
            return
        with pytest.raises(Refused, match=rf"already exists.*{NEXT}"):
            play(cloud, DEPLOY, **STATIC)
        assert states(cloud) == {}


def remark(n: int, command: str) -> str:
    """Return a journal's line on how a change of another run ended."""
    entry = {"n": n, "state": "looked-after", "command": command, "what": "m-1", "run": "r"}
    entry |= {"of": 1, "at": datetime.now(UTC).isoformat(), "endpoint": "here", "text": "ended"}
    return f"{json.dumps(entry)}\n"


def line(n: int, command: str, state: str = "done", ago: float = 1, **params: object) -> str:
    """Return a journal's lines on a change of machine m-1, so many hours ago."""
    at = (datetime.now(UTC) - timedelta(hours=ago)).isoformat(timespec="milliseconds")
    entry = {"at": at, "n": n, "state": "intent", "command": command, "what": "m-1"}
    entry |= {"params": params, "customjobid": None, "endpoint": "here", "process": "1/1"}
    return f"{json.dumps(entry)}\n{json.dumps({'at': at, 'n': n, 'state': state, 'text': ''})}\n"


GONE, CAME = "destroyVirtualMachine", "deployVirtualMachine"


@pytest.mark.parametrize(
    ("lines", "is_held"),
    [
        ([line(1, GONE)], True),
        ([line(1, GONE, "adopted")], True),
        ([line(1, GONE, expunge=True)], False),
        ([line(1, GONE, "refused")], False),
        ([line(1, GONE, "accepted"), remark(2, GONE)], True),
        ([line(1, GONE), remark(2, CAME)], True),
        ([line(1, GONE, "failed")], False),
        ([line(1, GONE, ago=47)], True),
        ([line(1, GONE, ago=49)], False),
        ([line(1, CAME, ago=3), line(2, GONE, ago=2)], True),
        ([line(1, GONE, ago=3), line(2, CAME, ago=2)], False),
        ([line(1, GONE, ago=3), line(2, CAME, "refused", ago=2)], True),
    ],
)
def test_a_name_is_held_from_its_destruction_until_the_default_delay_has_passed(
    server, lines, is_held
):
    cloud = client(server)
    folder = cloud.folder.with_name("earlier")
    folder.mkdir(parents=True)
    text = "".join(lines).replace('"here"', json.dumps(cloud.profile.endpoint))
    (folder / "journal.jsonl").write_text(text)
    assert ("m-1" in held.destroyed(cloud)) == is_held
    assert held.addresses(cloud) == set()


@pytest.mark.parametrize(
    ("taken", "number"), [([], 1), ([1], 2), ([2], 3), ([1, 2, 3], 4), ([4], 1), ([1, 4], 5)]
)
def test_the_next_numbers_are_free_of_every_held_name(taken, number):
    advice = held._command(NAMES, [f"coreos-cluster-{n}" for n in taken])
    assert re.search(r"first_number=(\d+)", advice)[1] == str(number)


def test_the_template_is_kept_while_a_machine_of_it_appears(cloud):
    found = play(cloud, REMOVE, mode="plan")
    plan = play(cloud, DEPLOY, **STATIC, mode="plan")["plan"]
    other = plan[0].params | {"name": "somebody", "displayname": "somebody"}
    cloud.call("deployVirtualMachine", **other)
    with pytest.raises(CheckFailed, match=r"other machines of the template: .* somebody"):
        removal.apply_then(found["ours"], found["then"], "apply", within=9)
    assert inventory(cloud)["listTemplates"] == ["coreos-cluster-tpl"]


def test_resources_that_depend_on_each_other_are_deleted_one_after_the_other(cloud):
    play(cloud, REMOVE)
    lines = map(json.loads, cloud.journal.path.read_text().splitlines())
    named = {e.n: e.command for e in cloud.journal.every()}
    order = [(named.get(x["n"], ""), x["state"]) for x in lines]
    deletes = ("deleteTemplate", "deleteSnapshot", "deleteVolume")
    ended = [(c, s) for c, s in order if c in deletes and s in ("intent", "done")]
    assert ended == [(c, s) for c in deletes for s in ("intent", "done")]
