"""The tag of a run at work, which other machines are told of."""

import json
from dataclasses import replace

import pytest
from harness import changes, fault, play, running
from stages import ATTACH, CHECK, CREATE

from lib import sending, underway
from lib.chain.run import Work
from lib.chain.values import Value
from lib.commands import orders

OTHER = "20260304-050607-web by ann at far-host since 2026-03-04T05:06:07.000+00:00"


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    """A cloud with this run at work on the cluster `coreos-cluster`."""
    with running(tmp_path / "cloud") as cloud:
        cloud = replace(cloud, cluster="coreos-cluster")
        monkeypatch.setenv("RUNBOOK_RUN", str(cloud.folder))
        yield cloud


def marks(cloud):
    """Return the tags of runs at the cloud: what bears them, and the names of the runs."""
    rows = cloud.list("listTags", key="runbook-run-coreos-cluster")
    return [(r["resourcetype"], r["value"].split(" by ")[0]) for r in rows]


def leave(cloud, text=OTHER):
    """Create the volume, and tag it as a run of another machine does that was cut off."""
    play(cloud, CREATE)
    underway.end(cloud)
    (volume,) = cloud.list("listVolumes", name="coreos_cluster_disk")
    tag = {"key": "runbook-run-coreos-cluster", "value": text}
    sending.run(cloud, "createTags", resourceids=[volume["id"]], resourcetype="Volume", tags=[tag])


def sent(cloud):
    return [c for c in changes(cloud) if c.endswith("Tags")]


def test_the_tag_comes_with_the_first_resource_and_goes_with_the_run(cloud):
    play(cloud, CREATE)
    assert marks(cloud) == [("Volume", "run")] and sent(cloud) == ["createTags"]
    play(cloud, ATTACH)
    assert sent(cloud) == ["createTags"]
    assert underway.end(cloud) == "" and marks(cloud) == []
    assert sent(cloud) == ["createTags", "deleteTags"]
    assert underway.end(cloud) == "" and len(sent(cloud)) == 2


def test_a_run_that_changes_what_exists_tags_that_and_replaces_what_was_left(cloud, capsys):
    leave(cloud)
    play(cloud, ATTACH, mode="plan")
    assert marks(cloud) == [("Volume", "20260304-050607-web")]  # looking changes nothing
    play(cloud, ATTACH)
    assert "! 20260304-050607-web by ann at far-host began at 2026-03-04" in capsys.readouterr().out
    assert marks(cloud) == [("Volume", "run")]


@pytest.mark.parametrize("text", ["nonsense", OTHER.replace("2026-03-04T", "today "), "x" * 200])
def test_a_tag_that_no_run_wrote_is_passed_over(cloud, text):
    leave(cloud, text)
    assert [row.found for row in underway.rows(cloud)] == ["none"]


def test_00_has_a_row_on_each_other_run_and_goes_on(cloud):
    play(cloud, CREATE)
    assert [(r.ok, r.found) for r in underway.rows(cloud)] == [("✓", "none")]  # the own one
    leave(cloud)
    rows = {r.what: r for r in play(cloud, CHECK)["rows"]}
    assert rows["other runs"].ok == "-"
    assert rows["other runs"].found.startswith("20260304-050607-web by ann at far-host began at")
    lines = (cloud.folder / "facts.jsonl").read_text().splitlines()
    assert any("far-host" in str(json.loads(line).get("underway")) for line in lines)


def test_a_tag_that_cannot_be_set_stops_nothing(cloud, capsys):
    play(cloud, CREATE)
    underway.end(cloud)
    fault(cloud, "createTags", "fault:refuse;code:431;text:not now")
    play(cloud, ATTACH)
    assert (
        "! Other machines do not see that this run is at work: createTags"
        in capsys.readouterr().out
    )
    assert "attachVolume" in changes(cloud)


def test_a_tag_whose_bearer_is_gone_is_no_fault(cloud):
    play(cloud, CREATE)
    (volume,) = cloud.list("listVolumes", name="coreos_cluster_disk")
    cloud.call("deleteVolume", id=volume["id"])
    assert underway.end(cloud) == "" and not underway.is_marked(cloud.folder)


def test_without_tags_or_outside_of_a_run_nothing_is_sent(tmp_path, monkeypatch):
    with running(tmp_path / "old", dialect="2.2") as old:
        monkeypatch.setenv("RUNBOOK_RUN", str(old.folder))
        assert [r.ok for r in underway.rows(replace(old, cluster="web"))] == ["-"]
        assert underway.of_new(replace(old, cluster="web"), "Volume", ["1"]) == {}
    with running(tmp_path / "new") as new:
        monkeypatch.delenv("RUNBOOK_RUN")
        assert underway.of_new(replace(new, cluster="web"), "Volume", ["1"]) == {}


def test_a_cloud_that_is_gone_at_the_end_of_a_run_is_no_failure_of_that(cloud, capsys):
    play(cloud, CREATE)
    given = {"profile": Value("none-such", "x"), "project": Value("", "x")}
    work = Work(cloud.folder, [], {}, given)
    orders.take_tag_off(work)
    assert "The tag of this run is still at the cloud." in capsys.readouterr().out
    fault(cloud, "deleteTags", "fault:drop-before", count=9)
    assert "its tag is still there" in underway.end(cloud) and underway.is_marked(cloud.folder)
