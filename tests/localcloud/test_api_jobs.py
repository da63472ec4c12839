"""Jobs: their durations, answers and results."""

import json

import pytest

from lib.localcloud.state import jobs

UUID = "12345678-1234-4123-8123-123456789abc"


@pytest.fixture
def slow(cloud_of, clock):
    """A cloud in which jobs take as long as on a real one."""
    return cloud_of(clock=clock, time_scale=1)


def status(api, job):
    return api("queryAsyncJobResult", jobid=job)["jobstatus"]


def test_a_job_waits_until_the_server_has_a_thread_for_it(slow, clock):
    slow("configureSimulator", name="capacity", value="jobs:2")
    ids = [slow("createVolume", **slow.volume_params(name=n))["jobid"] for n in "abcde"]
    for _ in range(2):
        clock.now += 2.01
        done = [status(slow, job) for job in ids]
    assert done == [1, 1, 1, 1, 0]


def test_a_machine_is_deployed_stopped_at_once_and_copied_when_it_first_starts(slow, clock):
    where = {"zoneid": slow.zone(), "startvm": "false", "name": "m"}
    where["templateid"] = slow.id_of("listTemplates", "Debian 12", templatefilter="executable")
    where["serviceofferingid"] = slow.id_of("listServiceOfferings", "Small Instance")
    created = slow("deployVirtualMachine", **where)
    for command, seconds in (("", jobs.ALLOCATED), ("start", jobs.FIRST_START),
                             ("stop", 15), ("start", 15)):  # fmt: skip
        job = (
            slow(f"{command}VirtualMachine", id=created["id"])["jobid"]
            if command
            else created["jobid"]
        )
        clock.now += seconds - 0.1
        assert status(slow, job) == 0
        clock.now += 0.2
        assert status(slow, job) == 1


def test_a_job_runs_until_its_time_is_over(slow, clock):
    job = slow("createVolume", **slow.volume_params())["jobid"]
    for given, count in [({}, 1), ({"keyword": "CreateVolumeCmd"}, 1), ({"keyword": "DeployVM"}, 0),
                         ({"startdate": "2100-01-01"}, 0)]:  # fmt: skip
        assert slow("listAsyncJobs", **given).get("count", 0) == count
    clock.now += 1.9
    assert status(slow, job) == 0
    clock.now += 0.2
    assert status(slow, job) == 1
    assert slow("listAsyncJobs") == {}
    clock.now += 3600 * 23
    assert status(slow, job) == 1
    clock.now += 3600 * 2
    assert slow.refused("queryAsyncJobResult", jobid=job)[0] == 431  # it is forgotten
    slow.fault("time", "scale:0.01")
    job = slow("createVolume", **slow.volume_params())["jobid"]
    clock.now += 0.021
    assert status(slow, job) == 1


def test_a_snapshot_takes_long_and_is_backed_up_later_still(slow, clock):
    volume = slow("createVolume", **slow.volume_params(size=40))["id"]
    clock.now += 2
    slow("attachVolume", id=volume, virtualmachineid=slow.workstation())
    clock.now += 10
    created = slow("createSnapshot", volumeid=volume)
    assert slow("listVolumes", id=volume)["volume"][0]["state"] == "Snapshotting"
    clock.now += 569
    assert status(slow, created["jobid"]) == 0
    clock.now += 2
    job = slow("queryAsyncJobResult", jobid=created["jobid"])
    assert job["jobresult"]["snapshot"]["state"] == "Allocated"
    assert slow("listSnapshots")["snapshot"][0]["state"] == "CreatedOnPrimary"
    kind = slow.id_of("listOsTypes", "Other (64-bit)", by="description")
    _code, text = slow.refused("createTemplate", name="t", ostypeid=kind, snapshotid=created["id"])
    assert "is not in BackedUp state yet and can't be used for template creation" in text
    clock.now += 30
    assert slow("listSnapshots")["snapshot"][0]["state"] == "BackedUp"
    assert slow("queryAsyncJobResult", jobid=created["jobid"]) == job


def test_jobs_on_one_machine_wait_for_each_other(slow, clock):
    volumes = [slow("createVolume", **slow.volume_params(name=n))["id"] for n in "ab"]
    clock.now += 2
    machine = slow.workstation()
    jobs = [slow("attachVolume", id=v, virtualmachineid=machine)["jobid"] for v in volumes]
    clock.now += 11
    assert [status(slow, j) for j in jobs] == [1, 0]
    clock.now += 10
    assert [status(slow, j) for j in jobs] == [1, 1]
    places = [slow("listVolumes", id=v)["volume"][0]["deviceid"] for v in volumes]
    assert places == [2, 4]
    jobs = [slow("stopVirtualMachine", id=machine)["jobid"]]
    jobs.append(slow("updateVolume", id=volumes[0], name="c")["jobid"])
    clock.now += 16
    assert [status(slow, j) for j in jobs] == [1, 0]


def test_a_machine_shows_the_state_of_its_job(slow, clock):
    machine = slow.workstation()

    def state():
        return slow("listVirtualMachines")["virtualmachine"][0]["state"]

    slow("stopVirtualMachine", id=machine)
    slow("startVirtualMachine", id=machine)
    seen = []
    for _ in range(4):
        seen.append(state())
        clock.now += 8
    assert seen == ["Stopping", "Stopping", "Starting", "Starting"]
    assert state() == "Running"


def test_jobs_show_account_command_and_time(api, old):
    job = api.job("createVolume", **api.volume_params())
    assert job["cmd"] == "org.apache.cloudstack.api.command.user.volume.CreateVolumeCmd"
    assert job["jobinstancetype"] == "Volume"
    assert job["jobresulttype"] == "object"
    assert {"accountid", "userid", "created", "completed", "domainpath"} <= set(job)
    assert job["jobinstanceid"] == job["jobresult"]["volume"]["id"]
    older = old.job("createVolume", **old.volume_params())
    fields = "jobid jobstatus jobprocstatus jobresultcode jobresulttype jobresult"
    assert sorted(older) == sorted(fields.split())
    assert api("listAsyncJobs") == {}  # later servers forget finished jobs there
    assert [j["jobstatus"] for j in old("listAsyncJobs")["asyncjobs"]] == [1]
    failed = api.job("detachVolume", id=job["jobinstanceid"])
    text = "The specified volume is not attached to a VM."
    assert (failed["jobstatus"], failed["jobresultcode"]) == (2, 431)
    assert failed["jobresult"] == {"errorcode": 431, "errortext": text}


def test_a_client_may_choose_the_id_of_its_job_but_not_on_an_old_server(slow, old):
    assert old("createVolume", **old.volume_params(), customjobid=UUID)["jobid"] == 1131657
    created = slow("createVolume", **slow.volume_params(), customjobid=UUID)
    assert created["jobid"] == UUID
    assert status(slow, UUID) == 0
    again = slow.refused("createVolume", **slow.volume_params(), customjobid=UUID)
    assert again == (530, jobs.INTERNAL)
    code, text = slow.refused("createVolume", **slow.volume_params(), customjobid="me")
    assert (code, text) == (431, "UUID: me doesn't follow the UUID format")


def test_ids_are_the_same_in_every_rehearsal(cloud_of):
    first, second = (cloud_of(name) for name in ("one", "two"))
    assert first.volume()["id"] == second.volume()["id"]
    assert first.facts["secretkey"] != second.facts["secretkey"]


def test_a_result_shows_the_resource_at_the_end_of_the_job(api):
    volume = api.volume()
    job = api("attachVolume", id=volume["id"], virtualmachineid=api.workstation())["jobid"]
    before = json.dumps(api("queryAsyncJobResult", jobid=job))
    api.done("detachVolume", id=volume["id"])
    assert json.dumps(api("queryAsyncJobResult", jobid=job)) == before
