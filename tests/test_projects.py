"""Projects: a run works in the one that is named, and nothing of it is seen from outside."""

import pytest
from harness import client, fault, inventory, play, play_to, profile_of, running, volume_params
from stages import CHECK, REMOVE, VERIFY

from lib import cloud as clouds
from lib.errors import CheckFailed, NotOne, Unreachable

NAME = "shared"


@pytest.fixture
def inside(tmp_path):
    """A client in a project, in which the workstation is; `outside` of it sees the rest."""
    with running(tmp_path / "cloud", project=NAME) as one:
        one.outside = client(one.server)
        one.project = NAME
        yield one


def test_the_whole_procedure_stays_in_its_project(inside):
    before, others = inventory(inside), inventory(inside.outside)
    play_to(inside, VERIFY)
    assert len(inventory(inside)["listVirtualMachines"]) == 4
    assert inventory(inside.outside) == others
    rows = play(inside, CHECK)["rows"]
    assert [r.what for r in rows[:3]] == ["account", "server", "project"]
    play(inside, REMOVE)
    assert inventory(inside) == before


def test_what_is_in_a_project_is_out_of_sight_without_it_and_that_is_reported(inside):
    wanted = r"(?s)workstation my-workstation.*parameter `project`"
    with pytest.raises(CheckFailed, match=wanted):
        play(inside.outside, CHECK)


@pytest.mark.parametrize("name", [NAME, "id"])
def test_connect_takes_the_name_of_a_project_or_its_id(inside, monkeypatch, tmp_path, name):
    row = inside.project_row
    given = f"id:{row['id']}" if name == "id" else name
    monkeypatch.setattr("lib.profiles.read", lambda _: profile_of(inside.server))
    cloud = clouds.connect("any", given, folder=tmp_path / "other")
    assert cloud.project_row["id"] == row["id"] and given in str(cloud)
    assert [m["projectid"] for m in cloud.list("listVirtualMachines")] == [row["id"]]


def test_a_project_that_is_missing_is_reported(inside):
    inside.project = "nobody's"
    with pytest.raises(NotOne, match=rf"(?s)one project with name.*{NAME}"):
        inside.list("listVolumes")


def test_a_server_without_projects_is_reported(old_cloud):
    old_cloud.project = NAME
    with pytest.raises(CheckFailed, match="Projects came with CloudStack 3"):
        old_cloud.list("listVolumes")


def test_a_change_left_open_in_a_project_is_looked_for_there(inside):
    play_to(inside, CHECK)
    fault(inside, "createVolume", "fault:drop-after")
    inside.grace = 0
    params = volume_params(inside)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lib.changes._recovered", lambda *_: None)
        patch.setattr("lib.changes.SENDS", 1)
        with pytest.raises(Unreachable):
            inside.call("createVolume", **params)
    (entry,) = [e for e in inside.journal.every() if e.command == "createVolume"]
    seen = inside.outside.within(entry.params["projectid"])
    assert [v["name"] for v in seen.list("listVolumes", name="v")] == ["v"]
    assert inside.outside.list("listVolumes", name="v") == []
