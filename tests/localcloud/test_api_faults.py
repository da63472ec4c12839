"""Faults on demand, and the record of calls."""

import time
from http.client import RemoteDisconnected

import pytest
import requests


def test_a_call_is_refused_as_often_as_planned_after_some_that_pass(api):
    api.fault("listZones", "fault:refuse;code:530;text:out of order: wait", count=2)
    for _ in range(2):
        assert api.refused("listZones") == (530, "out of order: wait")
    assert api("listZones")["count"] == 1
    api.fault("*", "fault:refuse;code:503;skip:2;text:later", count=9)
    assert [api.raw(f"list{what}").status for what in ("Zones", "Volumes", "Zones")] == [
        200, 200, 503]  # fmt: skip
    api("configureSimulator", name="reset")
    assert api("listZones")["count"] == 1
    assert [c["command"] for c in api.calls()] == ["listZones"]


def test_an_answer_may_be_html_slow_or_cut_short(api):
    api.fault("createVolume", "fault:html;code:503")
    answer = api.raw("createVolume", name="x")
    assert (answer.status, answer.type) == (503, "text/html")
    assert api("listVolumes", name="x") == {}
    api.fault("listZones", "fault:slow;seconds:0.05")
    began = time.monotonic()
    api("listZones")
    assert time.monotonic() - began >= 0.05
    api.fault("listZones", "fault:malformed")
    answer = api.raw("listZones")
    assert answer.status == 200
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        _ = answer.body


def test_a_job_may_fail_without_a_word_be_lost_or_hang(api):
    volume, station = api.attached()["id"], {"virtualmachineid": api.workstation()}
    api.fault("detachVolume", "fault:fail-job;result:none")
    job = api.job("detachVolume", id=volume)
    assert (job["jobstatus"], job["jobresultcode"], "jobresult" in job) == (2, 0, False)
    api.fault("detachVolume", "fault:lose-job")
    job = api("detachVolume", id=volume)["jobid"]
    assert api.refused("queryAsyncJobResult", jobid=job)[0] == 431
    assert "virtualmachineid" not in api("listVolumes", id=volume)["volume"][0]
    api.fault("attachVolume", "fault:hang-job")
    job = api.job("attachVolume", id=volume, **station)
    assert job["jobstatus"] == 0
    assert api("listAsyncJobs")["asyncjobs"][0]["jobid"] == job["jobid"]


def test_a_dropped_connection_does_not_show_whether_the_command_ran(api):
    params = api.volume_params("x")
    for fault, count in [("drop-before", 0), ("drop-after", 1)]:
        api.fault("createVolume", f"fault:{fault}")
        with pytest.raises((RemoteDisconnected, ConnectionResetError)):
            api.raw("createVolume", **params)
        assert api("listVolumes", name="x").get("count", 0) == count
    changed = [c["changed"] for c in api.calls() if c["command"] == "createVolume"]
    assert changed == [False, True]


def test_requests_to_the_discovery_service_can_be_dropped_too(api):
    key = f"{api.server.connection['discovery']}/{'0' * 32}/_config/size"
    for fault, known in [("drop-before", 404), ("drop-after", 200)]:
        api.fault("putDiscovery", f"fault:{fault}")
        with pytest.raises(requests.ConnectionError):
            requests.put(key, {"value": 3})
        assert requests.get(key).status_code == known


def test_a_failed_job_leaves_its_resource(api):
    api.fault("createSnapshot", "fault:fail-job;code:530;text:no room")
    volume = api.attached()["id"]
    assert api.failed("createSnapshot", volumeid=volume) == (530, "no room")
    assert api("listSnapshots")["snapshot"][0]["state"] == "Error"
    assert api("listVolumes", id=volume)["volume"][0]["state"] == "Ready"


def test_a_failed_template_leaves_no_trace(api):
    snapshot = api.snapshot()["id"]
    kind = api.id_of("listOsTypes", "Other (64-bit)", by="description")
    api.fault("createTemplate", "fault:fail-job")
    created = api("createTemplate", name="t", ostypeid=kind, snapshotid=snapshot)
    assert api("queryAsyncJobResult", jobid=created["jobid"])["jobstatus"] == 2
    answer = api.refused("listTemplates", templatefilter="self", id=created["id"])
    assert "invalid value. Invalid parameter id" in answer[1]


def test_calls_are_recorded_without_secrets(api):
    api("listZones", name="local-1")
    volume = api.volume()["id"]
    api.refused("deleteVolume", id=10**6)
    api("deleteVolume", id=volume)
    calls = api.calls()
    asked = {"command": "listZones", "params": {"name": "local-1"}}
    assert asked | {"changed": False, "status": 200} in calls
    changed = [c["command"] for c in calls if c["changed"]]
    assert changed == ["createVolume", "deleteVolume"]
    assert api.facts["apikey"] not in str(calls)
