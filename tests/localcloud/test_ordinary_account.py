"""Limits of an account with CloudStack's default role and settings."""

import pytest

from .test_api_rules import encoded, tags

NOT_AVAILABLE = "The API [{0}] does not exist or is not available for the account for user id"


def test_a_destroyed_machine_holds_name_and_template_until_it_is_expunged(cloud_of, clock):
    api = cloud_of(clock=clock, time_scale=0.001, expunge_delay=60_000)
    created = ready(api, clock)
    node = finished(api, clock, "deployVirtualMachine", **api.machine_params(name="node") | created)
    finished(api, clock, "destroyVirtualMachine", id=node["virtualmachine"]["id"])
    finished(api, clock, "destroyVirtualMachine", id=node["virtualmachine"]["id"])
    assert api("listVirtualMachines", name="node") == {}
    again = api.machine_params(name="node") | created
    assert "hostName node already exists" in api.refused("deployVirtualMachine", **again)[1]
    failed = finished(api, clock, "deleteTemplate", id=created["templateid"])
    assert failed["errorcode"] == 431
    assert '"state":"Destroyed"' in failed["errortext"]
    clock.now += 61
    assert finished(api, clock, "deleteTemplate", id=created["templateid"]) == {"success": True}
    again.pop("templateid")
    again |= {"templateid": api.machine_params()["templateid"]}
    finished(api, clock, "deployVirtualMachine", **again)


def ready(api, clock):
    """Make a template from a volume that was attached once."""
    volume = api("createVolume", **api.volume_params())["id"]
    clock.now += 1
    for command, more in [("attachVolume", {"virtualmachineid": api.workstation()}),
                          ("detachVolume", {})]:  # fmt: skip
        finished(api, clock, command, id=volume, **more)
    kind = api.id_of("listOsTypes", "Other (64-bit)", by="description")
    given = {"name": "t", "ostypeid": kind, "volumeid": volume}
    return {"templateid": finished(api, clock, "createTemplate", **given)["template"]["id"]}


def finished(api, clock, command, seconds=1, **params):
    """Send an asynchronous command and return its job's result when its time is over."""
    job = api(command, **params)["jobid"]
    clock.now += seconds
    return api("queryAsyncJobResult", jobid=job)["jobresult"]


def test_expunging_needs_a_permission_that_can_be_given(api):
    node = api.machine("node")["id"]
    assert api("listCapabilities")["capability"]["allowuserexpungerecovervm"] is False
    api.failed("destroyVirtualMachine", id=node, expunge="true")
    assert api("listVirtualMachines", id=node)["virtualmachine"][0]["state"] == "Running"
    api.fault("expunge", "allowed:1")
    assert api("listCapabilities")["capability"]["allowuserexpungerecovervm"] is True
    api.done("destroyVirtualMachine", id=node, expunge="true")
    assert api.machine("node")["state"] == "Running"


def test_a_role_may_lack_single_commands(cloud_of):
    api = cloud_of(refuse="listHypervisors,listEvents")
    for name in ("listHypervisors", "listEvents"):
        code, text = api.refused(name)
        assert code == 432
        assert text.startswith(NOT_AVAILABLE.format(name))
    assert "listEvents" not in {row["name"] for row in api("listApis")["api"]}
    api.fault("role", "refuse:")
    assert api("listHypervisors")["count"] == 1


def test_a_snapshots_row_shows_one_of_its_tags(api):
    created = api.snapshot()["id"]
    given = tags(a="1", b="2", c="3")
    api.done("createTags", resourceids=created, resourcetype="Snapshot", **given)
    shown = [api("listSnapshots")["snapshot"][0]["tags"] for _ in range(3)]
    assert len(shown[0]) == 1
    assert shown[0] == shown[1] == shown[2]
    for key in "abc":
        [found] = api("listSnapshots", **{"tags[0].key": key})["snapshot"]
        assert found["tags"] == shown[0]
    copies = api("listSnapshots", showunique="false")["snapshot"]
    assert {c["id"] for c in copies} == {created}
    assert {c["datastoretype"] for c in copies} == {"Primary", "Image"}
    assert all(len(c["tags"]) == 3 for c in copies)
    assert api("listTags", resourcetype="Snapshot")["count"] == 3


@pytest.mark.parametrize(
    ("offering", "settings", "refusal"),
    [
        ("Small Instance", "memory:0", (533, "No destination found for a deployment for VM inst")),
        ("Tagged Instance", "memory:99999", (530, "No suitable host found.")),
    ],
)
def test_a_stopped_machine_without_a_host_gets_another_offering(api, offering, settings, refusal):
    params = api.machine_params(offering, name="node", startvm="false", ipaddress="10.1.0.99")
    node = api.done("deployVirtualMachine", **params)
    assert (node["state"], node["nic"][0]["ipaddress"]) == ("Stopped", "10.1.0.99")
    assert api("listVolumes", virtualmachineid=node["id"])["volume"][0]["state"] == "Allocated"
    api.fault("capacity", settings)
    code, text = api.failed("startVirtualMachine", id=node["id"])
    assert (code, text[: len(refusal[1])]) == refusal
    assert api("listVirtualMachines", id=node["id"])["virtualmachine"][0]["state"] == "Stopped"
    change = {"id": node["id"]}
    change |= {"serviceofferingid": api.id_of("listServiceOfferings", "Medium Instance")}
    api("changeServiceForVirtualMachine", **change)
    api.fault("capacity", "memory:99999")
    found = api.done("startVirtualMachine", id=node["id"])
    assert (found["state"], found["serviceofferingname"]) == ("Running", "Medium Instance")
    assert found["nic"][0]["ipaddress"] == "10.1.0.99"


def test_an_inline_text_leaves_the_id_of_stored_user_data(api):
    created = api("registerUserData", name="cfg", userdata=encoded("x"))["userdata"]["id"]
    node = api.machine("node", userdataid=created)["id"]
    found = api("updateVirtualMachine", id=node, userdata=encoded("y"))["virtualmachine"]
    assert found["userdataid"] == created
    shown = api("listVirtualMachines", id=node, userdata="true")["virtualmachine"][0]
    assert shown["userdata"] == encoded("y")


def test_a_page_of_events_begins_with_its_oldest(api):
    for name in ("a", "b", "c"):
        api.volume(name)
    page = api("listEvents", type="VOLUME.CREATE", page=1, pagesize=6)["event"]
    lines = [(e["resourcename"], e["state"]) for e in page]
    assert lines == [(n, s) for n in "bc" for s in ("Scheduled", "Started", "Completed")]
    assert page[2]["parentid"] == page[0]["id"]


def test_a_snapshot_is_not_deleted_beside_its_volume(cloud_of, clock):
    api = cloud_of(clock=clock, time_scale=0)
    taken = api.snapshot()
    api.fault("time", "scale:1")
    job = api("deleteSnapshot", id=taken["id"])["jobid"]
    api("deleteVolume", id=taken["volumeid"])
    clock.now += 6
    result = api("queryAsyncJobResult", jobid=job)["jobresult"]
    assert result == {"errorcode": 530, "errortext": "Failed to delete snapshot chain."}
    assert finished(api, clock, "deleteSnapshot", seconds=6, id=taken["id"]) == {"success": True}


def test_a_server_may_hide_its_version(api):
    api.fault("capabilities", "version:0")
    assert "cloudstackversion" not in api("listCapabilities")["capability"]


def test_an_offering_of_custom_size_takes_the_size(cloud_of):
    api = cloud_of(custom_offering=1)
    listed = api("listServiceOfferings", name="Custom Instance")["serviceoffering"][0]
    assert listed["iscustomized"] is True
    assert not {"cpunumber", "cpuspeed", "memory"} & set(listed)
    params = api.machine_params("Custom Instance", name="node")
    size = {"details[0].cpuNumber": 2, "details[0].cpuSpeed": 1000, "details[0].memory": 2048}
    node = api.done("deployVirtualMachine", **params, **size)
    assert (node["cpunumber"], node["cpuspeed"], node["memory"]) == (2, 1000, 2048)
    assert api("listAccounts")["account"][0]["memorytotal"] == 4096 + 2048


def test_each_kind_of_resource_has_its_limit(api):
    before = api("listAccounts")["account"][0]
    small = {"vm": (1, "user_vm"), "cpu": (2, "cpu"), "memory": (5000, "memory")}
    small |= {"volume": (2, "volume"), "primarystorage": (125, "primary_storage")}
    for name, (limit, kind) in small.items():
        api.fault("limits", f"{name}:{limit}")
        code, text = api.refused("deployVirtualMachine", **api.machine_params(name="node"))
        assert code == 535
        assert f"resources of Type = '{kind}', tag = 'null' for Account Name = runbook" in text
        api.fault("limits", f"{name}:{before[f'{name}limit']}")
    assert api("listVirtualMachines", name="node") == {}
    taken = api.snapshot()["id"]
    api.fault("limits", "secondarystorage:1")
    kind = api.id_of("listOsTypes", "Other (64-bit)", by="description")
    created = api.refused("createTemplate", name="t", ostypeid=kind, snapshotid=taken)
    assert created[0] == 535
    assert "Account Resource Limit = (1.0000 GB) 1073741824" in created[1]


def test_an_account_shows_all_its_limits(api):
    row = api("listAccounts")["account"][0]
    assert (row["vmlimit"], row["cpulimit"], row["memorylimit"]) == ("20", "40", "40960")
    assert (row["primarystoragetotal"], row["secondarystoragetotal"]) == (120, 0.0)
    assert (row["cputotal"], row["iptotal"], row["cpuavailable"]) == (2, 1, "38")
    limits = {r["resourcetypename"]: r for r in api("listResourceLimits")["resourcelimit"]}
    assert len(limits) == 17
    assert limits["secondary_storage"]["resourcetype"] == "11"
    assert limits["secondary_storage"]["max"] == 400


def test_a_second_network_card_is_listed_first(cloud_of):
    api = cloud_of(second_nic=1)
    first, second = api.machine("node")["nic"]
    assert (first["isdefault"], second["isdefault"]) == (False, True)
    row = api("listVirtualMachines", name="node")["virtualmachine"][0]
    assert row["ipaddress"] == second["ipaddress"] != first["ipaddress"]
    assert api.machine("other")["nic"][1]["networkid"] == second["networkid"]


def test_a_pending_job_stands_in_the_rows_it_is_about(cloud_of, clock):
    api = cloud_of(clock=clock, time_scale=1)
    job = api("stopVirtualMachine", id=api.workstation())["jobid"]
    row = api("listVirtualMachines")["virtualmachine"][0]
    assert (row["jobid"], row["jobstatus"]) == (job, 0)
    clock.now += 16
    result = api("queryAsyncJobResult", jobid=job)["jobresult"]["virtualmachine"]
    assert (result["jobid"], result["jobstatus"]) == (job, 0)
    assert "jobid" not in api("listVirtualMachines")["virtualmachine"][0]


def test_resources_of_a_project_are_listed_with_its_id_only(cloud_of):
    api = cloud_of(project="web")
    [project] = api("listProjects")["project"]
    assert (project["name"], project["state"]) == ("web", "Active")
    inside = {"projectid": project["id"]}
    assert api("listVirtualMachines") == {}
    [station] = api("listVirtualMachines", **inside)["virtualmachine"]
    assert (station["project"], station["projectid"]) == ("web", project["id"])
    assert "account" not in station
    given = api.volume_params()
    mine = api.done("createVolume", **given)
    theirs = api.done("createVolume", **given, **inside)
    assert [v["id"] for v in api("listVolumes", name="disk")["volume"]] == [mine["id"]]
    assert [v["id"] for v in api("listVolumes", name="disk", **inside)["volume"]] == [theirs["id"]]
    assert api("listVolumes", id=theirs["id"]) == {}
    assert api("listVolumes", name="disk", projectid=-1)["count"] == 1
    code, text = api.failed("attachVolume", id=mine["id"], virtualmachineid=station["id"])
    message = "Entity disk and entity my-workstation belong to different accounts"
    assert (code, text) == (530, message)
    api.done("attachVolume", id=theirs["id"], virtualmachineid=station["id"])
    api.done("detachVolume", id=theirs["id"])
    taken = api.done("createSnapshot", volumeid=theirs["id"])
    assert api("listSnapshots") == {}
    api.done("createTags", resourceids=taken["id"], resourcetype="Snapshot", **tags(a="b"))
    assert api("listTags") == {}
    assert api("listTags", **inside)["tag"][0]["project"] == "web"
    assert api("listSnapshots", **inside)["snapshot"][0]["tags"][0]["project"] == "web"


def test_a_machine_of_a_project_is_in_a_network_of_the_project(cloud_of):
    api = cloud_of(project="web")
    inside = {"projectid": api("listProjects")["project"][0]["id"]}
    own = api("listNetworks")["network"][0]["id"]
    network = api("listNetworks", **inside)["network"][0]
    assert network["name"] == "web-net"
    denied = api.refused("deployVirtualMachine", **api.machine_params(networkids=own, **inside))
    assert denied == (531, f"Unable to use network with id= {own}, permission denied")
    node = api.machine("node", **inside)
    assert (node["nic"][0]["networkid"], node["project"]) == (network["id"], "web")
    assert api.machine("node")["account"] == "runbook"
    roots = api("listVolumes", type="ROOT", **inside)["volume"]
    assert {v["vmname"] for v in roots} == {"node", "my-workstation"}
    assert api("listEvents", type="VM.CREATE", **inside)["count"] == 3


def test_a_project_can_be_added_to_a_cloud(api):
    api.fault("project", "name:late")
    inside = {"projectid": api("listProjects")["project"][0]["id"]}
    assert api("listVirtualMachines", **inside)["count"] == 1
