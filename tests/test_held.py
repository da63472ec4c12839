"""What destroyed machines hold until they are expunged: told before the work, and no trap."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from harness import OLD, USERDATA, changes, fault, inventory, machines, play, play_to, running

from lib.cluster import removal
from lib.config import Bootstrap, addresses
from lib.errors import CheckFailed, JobFailed, Refused
from lib.report.known_errors import explain
from lib.resources import held

STAGE, REMOVAL = "50-deploy-cluster", "90-remove-cluster"
STATIC = USERDATA | {"discovery": "static"}
NAMES = [f"coreos-cluster-{n}" for n in (1, 2, 3)]
NEXT = "first_number=4"
ALL = ["template", "snapshot", "volume"]


@pytest.fixture
def cloud(built, tmp_path):
    """A client of a local cloud with Flatcar's template, whose account is an ordinary one."""
    with built(**STATIC).running(tmp_path / "cloud") as one:
        yield one


def members(cloud) -> dict[str, str]:
    return {name: row["state"] for name, row in machines(cloud).items()}


def dashes(cloud, **params) -> list[dict]:
    rows = play(cloud, "00-check-access", "check-table", **params)["rows"]
    return [r for r in rows if r.ok == "-" and r.what.startswith("the name")]


def test_a_removal_without_the_permission_to_expunge_ends_well_and_reports_what_is_held(
    cloud, capsys
):
    assert held.destroyed(cloud) == {}
    play(cloud, STAGE, **STATIC)
    for mode in ("plan", "apply"):
        capsys.readouterr()
        play(cloud, REMOVAL, mode=mode)
        said = capsys.readouterr().out
        assert f"it holds their names: {', '.join(NAMES)}." in said and NEXT in said
    assert inventory(cloud)["listTemplates"] == [] and members(cloud) == {}
    assert "coreos_cluster_disk" not in inventory(cloud)["listVolumes"]
    done = changes(cloud)
    play(cloud, REMOVAL)
    assert changes(cloud) == done and NEXT in capsys.readouterr().out


def test_what_is_held_is_reported_before_the_work_and_the_next_numbers_are_built_at_once(
    cloud, capsys
):
    play(cloud, STAGE, **STATIC)
    play(cloud, REMOVAL, keep=ALL)
    until = (datetime.now() + timedelta(days=2)).strftime("%Y-%m-%d")
    found = dashes(cloud)
    assert [r.what for r in found] == [f"the names {NAMES[0]} to {NAMES[-1]} (3)"]
    assert all(until in r.found and NEXT in r.next for r in found)
    play(cloud, "20-write-cloud-config", **STATIC)
    capsys.readouterr()
    play(cloud, STAGE, **STATIC, mode="plan")
    assert f"to {NAMES[-1]} (3): held until it is expunged" in capsys.readouterr().out
    with pytest.raises(
        Refused, match=f"already exists in the network domain.*{until}.*{NEXT}"
    ) as e:
        play(cloud, STAGE, **STATIC)
    assert "first_number" in explain("failed", f"Refused: {e.value}").do
    assert members(cloud) == {}
    further = STATIC | {"first_number": 4}
    assert dashes(cloud, **further) == []
    play(cloud, STAGE, **further)
    assert set(members(cloud)) == {f"coreos-cluster-{n}" for n in (4, 5, 6)}
    rows = play(cloud, "60-verify-cluster", **further)["found"]
    assert "✗" not in {r.ok for r in rows}
    play(cloud, REMOVAL)
    assert members(cloud) == {}


def test_a_name_that_no_journal_knows_of_is_explained_by_the_refusal(cloud):
    play(cloud, STAGE, **STATIC)
    play(cloud, REMOVAL, keep=ALL)
    play(cloud, "20-write-cloud-config", **STATIC)
    cloud.folder = cloud.folder.parent / "elsewhere" / "run"
    del cloud.journal
    assert held.destroyed(cloud) == {}
    with pytest.raises(Refused, match=rf"already exists.*does not see.*{NEXT}"):
        play(cloud, STAGE, **STATIC)


@pytest.mark.parametrize(
    ("options", "dashed"), [({"expunge_delay": 0}, 1), ({"may_expunge": 1}, 0)],
    ids=["expunged by the cloud", "expunged by the account"],
)  # fmt: skip
def test_a_cluster_can_be_built_again_once_its_machines_are_expunged(
    built, tmp_path, options, dashed
):
    with built(**STATIC).running(tmp_path / "cloud", **options) as cloud:
        for _ in range(2):
            play(cloud, "20-write-cloud-config", **STATIC)
            play(cloud, STAGE, **STATIC)
            play(cloud, REMOVAL, keep=ALL)
        assert len(dashes(cloud)) == dashed


def test_nothing_is_held_on_22(tmp_path, capsys):
    with running(tmp_path / "cloud", dialect="2.2") as cloud:
        for _ in range(2):
            play_to(cloud, STAGE, **OLD)
            play(cloud, REMOVAL, **OLD)
        assert dashes(cloud, **OLD) == []
    assert "first_number" not in capsys.readouterr().out


def test_addresses_of_destroyed_machines_are_not_chosen_again(cloud):
    play(cloud, STAGE, **STATIC)
    first = held.addresses(cloud)
    assert first == set()
    play(cloud, REMOVAL)
    assert len(held.addresses(cloud)) == 3
    chosen = addresses.settle(cloud, Bootstrap("core", 3, "static"), "local-1", "", [])
    assert not held.addresses(cloud) & set(chosen.addresses)


def test_addresses_that_a_kept_template_fixes_are_reported_when_they_may_be_held(tmp_path, capsys):
    params = STATIC | {"config_delivery": "disk"}
    with running(tmp_path / "cloud") as cloud:
        play_to(cloud, STAGE, **params)
        play(cloud, REMOVAL, keep=["template"])
        left = inventory(cloud)
        assert left["listTemplates"] == ["coreos-cluster-tpl"] and left["listSnapshots"] == []
        assert "coreos_cluster_disk" not in left["listVolumes"]
        assert "may still be held" not in capsys.readouterr().out
        play(cloud, STAGE, **params, first_number=4, mode="plan")
        assert "! 10.1.0.252, 10.1.0.253, 10.1.0.254 may still be held" in capsys.readouterr().out
        left = (
            r"530.*It left coreos-cluster-4 \(id .*\) in Error.*where 10\.1\.0\.252 is taken.*=5`"
        )
        with pytest.raises(Refused, match=left):
            play(cloud, STAGE, **params, first_number=4)
        assert members(cloud) == {}


def test_a_machine_in_error_is_destroyed_its_name_reported_and_the_others_are_started(cloud):
    fault(cloud, "deployVirtualMachine", "fault:fail-job;code:530;text:broken")
    told = rf"broken.*holds its name.*once it is expunged. {NAMES[1]}, {NAMES[2]} can stay"
    with pytest.raises(JobFailed, match=told) as error:
        play(cloud, STAGE, **STATIC)
    assert members(cloud) == dict.fromkeys(NAMES[1:], "Running") and ".. " not in str(error.value)
    play(cloud, REMOVAL)
    play_to(cloud, STAGE, **STATIC, first_number=4)
    assert set(members(cloud).values()) == {"Running"}


def test_what_runs_is_not_given_up_for_a_name_that_is_held(cloud, capsys):
    play(cloud, STAGE, **STATIC)
    cloud.change("destroyVirtualMachine", {"id": machines(cloud)[NAMES[1]]["id"]}, what=NAMES[1])
    play(cloud, STAGE, **STATIC, mode="plan")
    with pytest.raises(Refused, match=f"expunged. {NAMES[0]}, {NAMES[2]} can stay"):
        play(cloud, STAGE, **STATIC)
    assert "can stay" in capsys.readouterr().out and "Running" in members(cloud).values()


def test_a_machine_in_error_from_outside_is_reported_before_it_is_destroyed(
    built, tmp_path, capsys
):
    for account, told in (({}, True), ({"may_expunge": 1}, False)):
        with built(**STATIC).running(tmp_path / str(told) / "cloud", **account) as cloud:
            made = play(cloud, STAGE, **STATIC, mode="plan")["plan"]
            fault(cloud, "deployVirtualMachine", "fault:fail-job;code:530;text:broken")
            params = next(s.params for s in made if s.what == NAMES[0])
            cloud.call("deployVirtualMachine", **params | {"userdataid": None})
            cloud.list("listAsyncJobs")
            assert members(cloud) == {NAMES[0]: "Error"}
            capsys.readouterr()
            play(cloud, STAGE, **STATIC, mode="plan")
            said = capsys.readouterr().out
            assert ("in Error, and held once that is destroyed" in said) == told
            if told:
                with pytest.raises(Refused, match=rf"already exists.*{NEXT}"):
                    play(cloud, STAGE, **STATIC)
                assert members(cloud) == {}
            else:
                play(cloud, STAGE, **STATIC)
                assert set(members(cloud).values()) == {"Running"}


def remark(n: int, command: str) -> str:
    """Return the line of a journal that says what became of a change of another run."""
    entry = {"n": n, "state": "looked-after", "command": command, "what": "m-1", "run": "r"}
    entry |= {"of": 1, "at": datetime.now(UTC).isoformat(), "endpoint": "here", "text": "ended"}
    return f"{json.dumps(entry)}\n"


def line(n: int, command: str, state: str = "done", ago: float = 1, **params: object) -> str:
    """Return a line of a journal on machine m-1, of so many hours ago."""
    at = (datetime.now(UTC) - timedelta(hours=ago)).isoformat(timespec="milliseconds")
    entry = {"at": at, "n": n, "state": "intent", "command": command, "what": "m-1"}
    entry |= {"params": params, "customjobid": None, "endpoint": "here", "process": "1/1"}
    return f"{json.dumps(entry)}\n{json.dumps({'at': at, 'n': n, 'state': state, 'text': ''})}\n"


DESTROY, DEPLOY = "destroyVirtualMachine", "deployVirtualMachine"


@pytest.mark.parametrize(
    ("lines", "is_held"),
    [
        ([line(1, DESTROY)], True),
        ([line(1, DESTROY, "adopted")], True),
        ([line(1, DESTROY, expunge=True)], False),
        ([line(1, DESTROY, "refused")], False),
        ([line(1, DESTROY, "accepted"), remark(2, DESTROY)], True),
        ([line(1, DESTROY), remark(2, DEPLOY)], True),
        ([line(1, DESTROY, "failed")], False),
        ([line(1, DESTROY, ago=47)], True),
        ([line(1, DESTROY, ago=49)], False),
        ([line(1, DEPLOY, ago=3), line(2, DESTROY, ago=2)], True),
        ([line(1, DESTROY, ago=3), line(2, DEPLOY, ago=2)], False),
        ([line(1, DESTROY, ago=3), line(2, DEPLOY, "refused", ago=2)], True),
    ],
)
def test_a_name_is_held_from_its_destruction_on_until_the_defaults_have_passed(
    cloud, lines, is_held
):
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
    said = held._command(NAMES, [f"coreos-cluster-{n}" for n in taken])
    assert re.search(r"first_number=(\d+)", said)[1] == str(number)


def test_the_template_is_not_deleted_under_a_machine_that_came_meanwhile(cloud):
    found = play(cloud, REMOVAL, mode="plan")
    plan = play(cloud, STAGE, **STATIC, mode="plan")["plan"]
    other = plan[0].params | {"name": "somebody", "displayname": "somebody"}
    cloud.call("deployVirtualMachine", **other)
    with pytest.raises(CheckFailed, match=r"other machines of the template: .* somebody"):
        removal.apply_then(found["ours"], found["then"], "apply", within=9)
    assert inventory(cloud)["listTemplates"] == ["coreos-cluster-tpl"]


def test_what_depends_on_each_other_is_deleted_one_after_the_other(cloud):
    play(cloud, REMOVAL)
    lines = map(json.loads, cloud.journal.path.read_text().splitlines())
    named = {e.n: e.command for e in cloud.journal.every()}
    order = [(named.get(x["n"], ""), x["state"]) for x in lines]
    deletes = ("deleteTemplate", "deleteSnapshot", "deleteVolume")
    ended = [(c, s) for c, s in order if c in deletes and s in ("intent", "done")]
    assert ended == [(c, s) for c in deletes for s in ("intent", "done")]
