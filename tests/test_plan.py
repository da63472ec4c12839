"""Plans are data; applying one makes the changes side by side and says every outcome."""

from dataclasses import replace

import pytest
from harness import RUN, STAGES, changes, client, fault, play, volume_params
from stages import DEPLOY, REMOVE

from lib import Ours, plan
from lib.errors import CheckFailed, JobFailed, JobTimeout, ParamsError, Refused
from lib.plan import apply, attempt, show
from lib.record import plans
from lib.steps import Id, Pending, Step

TAGS = Ours(None, "local-1", "c").tags


def volume(cloud, name: str, **more) -> Step:
    params = volume_params(cloud, name) | more
    return Step("createVolume", params, "it is wanted", name, TAGS, "Volume")


def names(cloud) -> list[str]:
    return [v["name"] for v in cloud.list("listVolumes", type="DATADISK")]


def test_nothing_is_sent_in_plan_mode_and_in_a_mode_that_is_neither(cloud):
    apply(cloud, [volume(cloud, "a")], "plan")
    with pytest.raises(ParamsError, match='mode: wanted "plan" or "apply"'):
        apply(cloud, [volume(cloud, "a")], "appply")
    assert changes(cloud) == []


def test_tags_that_are_on_already_are_done(cloud):
    step = volume(cloud, "a")
    apply(cloud, [step], "apply")
    (row,) = [v for v in cloud.list("listVolumes") if v["name"] == "a"]
    plan._tag(cloud, [(step, row["id"])])
    with pytest.raises(JobFailed, match="already on"):
        plan._tag(cloud, [(replace(step, tags=TAGS | {"cluster": "other"}), row["id"])])


def test_what_is_made_carries_our_tags(cloud, capsys):
    apply(cloud, [volume(cloud, "a")], "apply")
    row = cloud.list("listVolumes", name="a")[0]
    assert Ours(cloud, "local-1", "c").has_tags(row)
    assert "done: createVolume a" in capsys.readouterr().out


def test_independent_steps_all_run(cloud):
    apply(cloud, [volume(cloud, n) for n in "abcdef"], "apply", at_once=2)
    assert set("abcdef") <= set(names(cloud))


def test_a_step_that_waits_for_an_earlier_stage_stops_all_before_anything_is_sent(cloud):
    waiting = Step("attachVolume", {"id": Pending("volume v", "10-create-volume")}, "", "v")
    with pytest.raises(CheckFailed, match=r"volume v: wanted there.*Run 10-create-volume first"):
        apply(cloud, [volume(cloud, "a"), waiting], "apply")
    assert changes(cloud) == []


def test_after_a_failure_nothing_new_is_started_and_what_runs_comes_to_its_end(cloud, capsys):
    fault(cloud, "createVolume", "fault:fail-job;code:530;text:no storage")
    with pytest.raises(JobFailed, match=r"createVolume of a .*530.*no storage.*\[job "):
        apply(cloud, [volume(cloud, n) for n in "abcd"], "apply", at_once=2)
    output = capsys.readouterr().out
    assert "failed: createVolume a" in output and "done: createVolume b" in output
    assert "createVolume c" not in output and "createVolume d" not in output


def test_a_refused_step_is_an_error_with_the_clouds_own_words(cloud):
    with pytest.raises(Refused, match="Disk size must be larger than 0"):
        apply(cloud, [volume(cloud, "a", size=0)], "apply")


def test_attempt_gives_the_errors_by_what_they_are_about(cloud):
    fault(cloud, "createVolume", "fault:fail-job;code:533;text:full")
    failed = attempt(cloud, [volume(cloud, "a")], "apply")
    assert {n: e.code for n, e in failed.items()} == {"a": 533}


def test_what_had_been_done_already_keeps_no_other_step_from_its_start(cloud, capsys):
    gone = cloud.call("createVolume", **volume(cloud, "a").params)["id"]
    cloud.call("deleteVolume", id=gone)
    steps = [Step("deleteVolume", {"id": gone}, "ours", "a"), volume(cloud, "b")]
    assert attempt(cloud, steps, "apply", at_once=1) == {}
    assert names(cloud).count("b") == 1 and "it was so already" in capsys.readouterr().out


def test_html_in_the_middle_of_polling_is_passed_over(cloud):
    fault(cloud, "queryAsyncJobResult", "fault:html;code:503", count=7)
    apply(cloud, [volume(cloud, "a")], "apply")
    assert names(cloud).count("a") == 1


def test_a_job_that_never_ends_is_a_timeout_that_names_it(server):
    now = [0.0]
    cloud = client(server, sleep=lambda s: now.__setitem__(0, now[0] + s))
    cloud.clock = lambda: now[0]
    fault(cloud, "createVolume", "fault:hang-job")
    with pytest.raises(JobTimeout, match=r"createVolume of a is still running after 9\d\d? s") as e:
        apply(cloud, [volume(cloud, "a")], "apply", within=90)
    assert e.value.job and 90 <= e.value.seconds < 93


def test_a_job_the_cloud_forgot_says_so(cloud):
    fault(cloud, "createVolume", "fault:lose-job")
    with pytest.raises(JobFailed, match="does not tell how the job ended"):
        apply(cloud, [volume(cloud, "a")], "apply")


def test_a_plan_is_shown_as_a_table_and_an_empty_one_says_none(cloud):
    assert list(show([volume(cloud, "a")])["command"]) == ["createVolume"]
    assert list(show([])["command"]) == ["none"]


def test_a_plan_has_a_column_for_each_parameter_and_names_beside_ids(cloud):
    offering = Id.of(cloud.one("listDiskOfferings", "Custom Disk"))
    step = Step("createVolume", {"name": "a", "diskofferingid": offering, "size": 1}, "why", "a")
    late = Step("attachVolume", {"id": Pending("volume a", "10-create-volume")}, "why", "a")
    rows = show([step, late]).to_dict("records")
    short = offering.partition("-")[0]
    assert (rows[0]["diskofferingid"], rows[0]["size"]) == (f"Custom Disk ({short})", "1")
    assert "name" not in rows[0]  # as `what` says it
    assert (rows[1]["id"], rows[1]["size"]) == ("(volume a, from 10-create-volume)", "")


def test_the_plan_of_a_whole_run_is_recorded_as_data(cloud, built, tmp_path):
    for stage in STAGES:
        play(cloud, stage, mode="plan")
    found = plans.read(cloud.folder)
    (disk,), machines = found["10-create-volume"].steps, found[DEPLOY].steps
    assert plans.sentence(found.values()) == "Plan: 7 to make, 3 to change, 0 to remove"
    assert (disk.size, disk.offering, disk.where) == ("40 GB", "Custom Disk", "local-1")
    assert [m.offering for m in machines] == [RUN["service_offering"]] * 3
    later = {n: [s for p in plan.steps for _, s in p.later.values()] for n, plan in found.items()}
    assert later["11-attach-volume"] == ["10-create-volume"]
    assert later["40-detach-volume"] == ["30-install-coreos"]
    with built().running(tmp_path / "other/cloud") as deployed:
        play(deployed, DEPLOY)
        (deployed.folder / plans.FILE).unlink()
        play(deployed, DEPLOY, mode="plan")
        play(deployed, REMOVE, mode="plan")
    found = plans.read(deployed.folder)
    there = [(r["name"], r["state"]) for r in found[DEPLOY].there]
    assert there == [(f"coreos-cluster-{n}", "Running") for n in (1, 2, 3)]
    assert plans.sentence(found.values()) == "Plan: 0 to make, 0 to change, 6 to remove"


def test_a_step_that_is_not_in_the_approved_plan_stops_its_stage(cloud, monkeypatch, tmp_path):
    monkeypatch.setenv("RUNBOOK_RUN", str(tmp_path))
    monkeypatch.setenv("RUNBOOK_STAGE", "10-create-volume")
    show([volume(cloud, "a"), volume(cloud, "b")])
    plans.copy_approved(tmp_path, tmp_path)
    show([volume(cloud, "b")])  # what is done already is not planned again
    with pytest.raises(
        CheckFailed, match=r"(?s)not in the approved plan.*createVolume, 2 GB.*size was 1"
    ):
        show([volume(cloud, "a", size=2)])
    monkeypatch.setenv("RUNBOOK_STAGE", DEPLOY)
    with pytest.raises(CheckFailed, match="not in the approved plan"):
        show([volume(cloud, "a")])
