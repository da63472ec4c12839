"""The rules of commands, and the texts of refusals."""

import base64
import uuid

import pytest

HIDDEN = "Internal error executing command, please contact your system administrator"
BOTH = pytest.mark.parametrize("one", ["api", "old"])


@pytest.fixture
def any_cloud(request, one):
    return request.getfixturevalue(one)


def volume_params(api, **more):
    offering = api.id_of("listDiskOfferings", "Custom Disk")
    return {"name": "x", "diskofferingid": offering, "zoneid": api.zone()} | more


# volumes


@BOTH
def test_a_new_volume_is_allocated_and_counted_in_bytes(any_cloud):
    volume = any_cloud.volume("coreos_cluster_disk", 40)
    assert (volume["state"], volume["size"]) == ("Allocated", 42949672960)
    assert not (any_cloud.server.folder / "disks" / f"{volume['id']}.raw").exists()
    assert ("tags" in volume) == (any_cloud.facts["dialect"] == "4.22")


def test_a_volume_of_a_fixed_size_and_without_a_name(api):
    small = {"diskofferingid": api.id_of("listDiskOfferings", "Small"), "zoneid": api.zone()}
    made = api.done("createVolume", **small)
    assert made["size"] == 5 * 2**30 and uuid.UUID(made["name"])


def test_a_volume_comes_back_from_a_snapshot(api):
    taken = api.snapshot()
    made = api.done("createVolume", name="copy", snapshotid=taken["id"], zoneid=api.zone())
    assert (made["state"], made["snapshotid"]) == ("Ready", taken["id"])
    assert (api.server.folder / "disks" / f"{made['id']}.raw").stat().st_size == made["size"]


def test_a_volume_is_attached_at_the_lowest_or_a_wanted_place_and_detached_by_it(api):
    volume, station = api.attached(), {"virtualmachineid": api.workstation()}
    assert (volume["state"], volume["deviceid"]) == ("Ready", 2)
    assert volume["vmdisplayname"] == "my-workstation"
    assert api.done("detachVolume", deviceid=2, **station)["id"] == volume["id"]
    assert api.done("attachVolume", id=volume["id"], deviceid=7, **station)["deviceid"] == 7
    assert api.done("detachVolume", id=volume["id"])["state"] == "Ready"


def test_an_old_machine_takes_six_data_disks(old):
    old.fault("limits", "volume:-1")
    places = [old.attached(f"v{n}")["deviceid"] for n in range(4)]
    assert places == [4, 5, 6, 7]
    extra = old.volume("one too many")["id"]
    code, text = old.failed("attachVolume", id=extra, virtualmachineid=old.workstation())
    assert (code, text) == (
        431,
        "The specified VM already has the maximum number of data disks (6) attached. "
        "Please specify another VM.",
    )


# snapshots and templates


def test_a_snapshot_is_named_after_machine_volume_and_time(api, old, cloud_of, clock):
    still = cloud_of("still", dialect="2.2", clock=clock)
    assert still.snapshot("coreos_cluster_disk")["name"] == (
        "detached_coreos_cluster_disk_20270115080000"
    )
    attached = api.attached()["id"]
    assert api.done("createSnapshot", volumeid=attached)["name"].startswith("my-workstation_disk_")
    assert api.done("createSnapshot", volumeid=attached, name="mine")["name"] == "mine"
    attached = old.attached()["id"]
    assert old.done("createSnapshot", volumeid=attached, name="mine")["name"] != "mine"


def test_one_snapshot_of_a_machine_at_a_time(cloud_of, clock):
    api = cloud_of(clock=clock)
    first, second = api.attached("a")["id"], api.attached("b")["id"]
    api.fault("time", "scale:1")
    api("createSnapshot", volumeid=first)
    assert "other active snapshot tasks" in api.refused("createSnapshot", volumeid=second)[1]


def test_a_volume_in_a_snapshot_is_left_alone(cloud_of, clock):
    api = cloud_of(clock=clock)
    volume = api.attached()["id"]
    api.done("detachVolume", id=volume)
    api.fault("time", "scale:1")
    made = api("createSnapshot", volumeid=volume)
    assert "snapshot operations in progress" in api.refused("deleteVolume", id=volume)[1]
    api("deleteSnapshot", id=made["id"])
    clock.now += 6
    assert api("listSnapshots")["snapshot"][0]["state"] == "Creating"


def test_snapshots_outlive_their_volume(api):
    taken = api.snapshot()
    api("deleteVolume", id=taken["volumeid"])
    assert api("listSnapshots")["snapshot"][0]["volumename"] == "disk"
    assert api.done("deleteSnapshot", id=taken["id"]) is True
    code, text = api.failed("deleteSnapshot", id=taken["id"])
    assert code == 431
    assert text.startswith('Snapshot [Snapshot {"id":')
    assert text.endswith("] is already destroyed")


@BOTH
def test_a_template_is_ready_when_its_job_is_over(any_cloud):
    made = any_cloud.template()
    assert (made["isready"], made["status"], made["size"]) == (True, "Download Complete", 2**30)
    mine = any_cloud("listTemplates", templatefilter="self")["template"]
    assert [t["id"] for t in mine] == [made["id"]]


def test_two_templates_may_have_one_name(api):
    assert api.template("tpl")["id"] != api.template("tpl")["id"]


def test_a_template_comes_from_a_detached_volume_too(api):
    volume = api.attached()["id"]
    kind = api.id_of("listOsTypes", "Other (64-bit)", by="description")
    params = {"name": "t", "ostypeid": kind, "volumeid": volume}
    api.done("detachVolume", id=volume)
    assert api.done("createTemplate", **params)["isready"]


def test_template_filters_show_whose_they_are(api):
    made = api.template()["name"]
    for name, expected in [
        ("featured", {"Debian 12"}),
        ("self", {made}),
        ("executable", {"Debian 12", made}),
        ("community", set()),
    ]:
        found = api("listTemplates", templatefilter=name).get("template", [])
        assert {t["name"] for t in found} == expected


def test_a_template_in_use_is_deleted_by_force_or_on_an_old_server(api, old):
    for one in (api, old):
        made = one.template()["id"]
        one.machine("node", templateid=made)
    mine = api.id_of("listTemplates", "tpl", templatefilter="self")
    assert api.done("deleteTemplate", id=mine, forced="true") is True
    assert old.done("deleteTemplate", id=8599) is True
    assert old("listVirtualMachines", name="node")["virtualmachine"][0]["templateid"] == 8599


# machines


@BOTH
def test_machines_run_at_addresses_of_their_own(any_cloud):
    made = [any_cloud.machine(f"node-{n}", group="cluster") for n in (1, 2, 3)]
    assert {m["state"] for m in made} == {"Running"}
    assert len({m["nic"][0]["ipaddress"] for m in made}) == 3
    assert len({m["groupid"] for m in made}) == 1
    roots = any_cloud("listVolumes", virtualmachineid=made[0]["id"])["volume"]
    assert [(v["type"], v["state"], v["deviceid"]) for v in roots] == [("ROOT", "Ready", 0)]


def test_two_machines_have_one_host_name_on_an_old_server(old):
    assert [old.machine("node")["state"] for _ in range(2)] == ["Running"] * 2


@BOTH
def test_a_full_cloud_leaves_the_machine_in_error(any_cloud):
    any_cloud.fault("capacity", "cpus:0")
    params = any_cloud.machine_params(name="node")
    code, text = any_cloud.failed("deployVirtualMachine", **params)
    assert code == 533
    old = "Unable to create a deployment for VM[User|node]"
    assert text.startswith((old, "No destination found for a deployment for VM instance {"))
    [found] = any_cloud("listVirtualMachines", state="Error")["virtualmachine"]
    assert found["name"] == "node"
    assert any_cloud("listVolumes", virtualmachineid=found["id"]) == {}
    [event] = any_cloud("listEvents", level="ERROR", type="VM.CREATE")["event"]
    assert "node" in event["description"] or event["resourcename"] == "node"
    any_cloud.done("destroyVirtualMachine", id=found["id"])
    any_cloud.fault("capacity", "cpus:26")
    assert any_cloud.machine("other")["state"] == "Running"


def test_there_is_room_for_twelve_machines_of_medium_size(api):
    api.fault("limits", "memory:-1")
    api.fault("capacity", "hosts:1")
    for n in range(12):
        api.machine(f"node-{n}", offering="Medium Instance")
    params = api.machine_params("Medium Instance", name="node-13")
    assert api.failed("deployVirtualMachine", **params)[0] == 533
    params = api.machine_params("Tagged Instance", name="node")
    assert api.failed("deployVirtualMachine", **params) == (530, "No suitable host found.")


def test_quotas_end_in_535_or_534(api, old):
    for one in (api, old):
        one.fault("limits", "volume:4;snapshot:0;vm:1")
        one.volume()
        while one("listVolumes")["count"] < 4:
            one.volume()
    code, text = api.refused("createVolume", **volume_params(api, size=1))
    assert code == 535
    assert text == (
        "Maximum amount of resources of Type = 'volume', tag = 'null' for Account Name = runbook "
        "in Domain Id = 2 is exceeded: Account Resource Limit = 4, Current Account Resource "
        "Amount = 4, Current Account Resource Reservation = 0, Requested Resource Amount = 1."
    )
    assert old.refused("createVolume", **volume_params(old, size=1)) == (
        534,
        "Maximum number of volumes for account: runbook has been exceeded.",
    )
    assert api.refused("deployVirtualMachine", **api.machine_params(name="n"))[0] == 535
    limits = api("listResourceLimits")["resourcelimit"]
    assert {r["resourcetypename"]: r["max"] for r in limits}["volume"] == 4
    assert api("listAccounts")["account"][0]["volumeavailable"] == "0"


def test_destroying_keeps_data_volumes_and_hides_the_machine_until_it_is_expunged(cloud_of):
    api = cloud_of(may_expunge=1)
    node = api.machine("node")["id"]
    volume = api.volume()["id"]
    api.done("attachVolume", id=volume, virtualmachineid=node)
    assert api.done("destroyVirtualMachine", id=node)["state"] == "Destroyed"
    assert api("listVirtualMachines", id=node) == {}
    assert "virtualmachineid" not in api("listVolumes", id=volume)["volume"][0]
    assert (
        "already exists"
        in api.refused("deployVirtualMachine", **api.machine_params(name="node"))[1]
    )
    assert api.done("expungeVirtualMachine", id=node) is True
    node = api.machine("node")["id"]
    assert "Please destroy" in api.failed("expungeVirtualMachine", id=node)[1]
    assert api.done("destroyVirtualMachine", id=node, expunge="true")["state"] == "Expunging"
    assert api("listVolumes", type="ROOT")["count"] == 1
    assert api.failed("destroyVirtualMachine", id=node)[0] == 431


@BOTH
def test_machines_are_stopped_started_and_rebooted(any_cloud):
    node = any_cloud.machine("node")["id"]
    for _ in range(2):
        assert any_cloud.done("stopVirtualMachine", id=node)["state"] == "Stopped"
    assert any_cloud.done("startVirtualMachine", id=node)["state"] == "Running"
    assert any_cloud.done("rebootVirtualMachine", id=node)["state"] == "Running"


def test_a_password_is_shown_once_if_the_template_has_them(api):
    made = api.template("with-password", passwordenabled="true")
    node = api.machine("node", templateid=made["id"])
    assert node["password"]
    assert "password" not in api("listVirtualMachines", name="node")["virtualmachine"][0]
    assert "password" not in api.machine("other")


def test_addresses_can_be_chosen_once(api):
    wanted = "10.1.0.77"
    assert api.machine("a", ipaddress=wanted)["nic"][0]["ipaddress"] == wanted
    for address in (wanted, "172.31.99.9"):
        params = api.machine_params(name="b", ipaddress=address)
        assert api.refused("deployVirtualMachine", **params) == (530, HIDDEN)
    left = api("listVirtualMachines", name="b")["virtualmachine"]
    assert [(m["state"], m["nic"]) for m in left] == [("Error", [])] * 2
    params = api.machine_params(name="b", ipaddress="999.1.1.1")
    api.refused("deployVirtualMachine", **params)
    assert api("listVirtualMachines", name="b")["count"] == 2
    network = api("listNetworks")["network"][0]["id"]
    mapped = {"iptonetworklist[0].networkid": network, "iptonetworklist[0].ip": "10.1.0.78"}
    assert api.machine("b", **mapped)["nic"][0]["ipaddress"] == "10.1.0.78"


def test_a_machine_may_come_with_a_data_volume(api):
    offering = api.id_of("listDiskOfferings", "Custom Disk")
    node = api.machine("node", diskofferingid=offering, size=3, rootdisksize=20)
    sizes = {
        v["type"]: v["size"] >> 30
        for v in api("listVolumes", virtualmachineid=node["id"])["volume"]
    }
    assert sizes == {"ROOT": 20, "DATADISK": 3}


def test_updates_change_names_and_texts(api):
    node = api.machine("node")["id"]
    found = api("updateVirtualMachine", id=node, displayname="Node One", group="g",
                **{"details[0].color": "red"})["virtualmachine"]  # fmt: skip
    assert (found["displayname"], found["group"], found["name"]) == ("Node One", "g", "node")
    assert found["details"] == {"color": "red"}


# user data, keys, tags


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def test_user_data_in_a_url_must_be_short(api):
    params = api.machine_params(name="n", userdata=encoded("x" * 3200))
    answer = api.raw("deployVirtualMachine", method="GET", **params)
    assert answer.error == (431, "User data is too long for an http GET request")
    assert api.done("deployVirtualMachine", **params)["state"] == "Running"


def test_user_data_is_shown_on_demand_and_changed_by_updates(api):
    node = api.machine("node", userdata=encoded("one"))["id"]
    assert "userdata" not in api("listVirtualMachines", id=node)["virtualmachine"][0]
    shown = api("listVirtualMachines", id=node, userdata="true")["virtualmachine"][0]
    assert shown["userdata"] == encoded("one")
    again = {"id": node, "userdata": encoded("two")}
    api("updateVirtualMachine", **again)
    shown = api("listVirtualMachines", id=node, userdata="true")["virtualmachine"][0]
    assert shown["userdata"] == encoded("two")
    workstation = api("listVirtualMachines", name="my-workstation")["virtualmachine"][0]["id"]
    assert api("updateVirtualMachine", id=workstation, userdata=encoded("x"))["virtualmachine"]


def test_stored_user_data_in_use_is_not_deleted(cloud_of):
    api = cloud_of(may_expunge=1)
    made = api("registerUserData", name="cfg", userdata=encoded("x"))["userdata"]["id"]
    assert api("listUserData")["userdata"][0]["name"] == "cfg"
    node = api.machine("node", userdataid=made)["id"]
    api.done("destroyVirtualMachine", id=node, expunge="true")
    assert api("deleteUserData", id=made) == {"success": True}


KEY = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAABwCqqqqqqqs= me@here"


@BOTH
def test_a_key_is_kept_until_it_is_deleted(any_cloud):
    made = any_cloud("registerSSHKeyPair", name="mine", publickey=KEY)["keypair"]
    assert made["fingerprint"].count(":") == 15
    any_cloud("deleteSSHKeyPair", name="mine")
    assert any_cloud("listSSHKeyPairs") == {}


def test_the_private_half_of_a_key_is_shown_once(api):
    made = api("createSSHKeyPair", name="new")["keypair"]
    assert made["privatekey"].startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert "privatekey" not in api("listSSHKeyPairs")["sshkeypair"][0]
    assert api.machine("node", keypair="new")["keypairs"] == "new"


def tags(**pairs):
    rows = enumerate(pairs.items())
    return {
        f"tags[{i}].{k}": v for i, kv in rows for k, v in zip(("key", "value"), kv, strict=True)
    }


def test_tags_are_put_on_all_or_nothing(api):
    first, second = api.volume("a")["id"], api.volume("b")["id"]
    assert api.done("createTags", resourceids=first, resourcetype="volume", **tags(k="v")) is True
    both = {"resourceids": f"{first},{second}", "resourcetype": "Volume"}
    code, text = api.failed("createTags", **both, **tags(new="1", k="2"))
    assert (code, text) == (530, f"tag k already on Volume with id {first}")
    assert [t["key"] for t in api("listTags")["tag"]] == ["k"]
    assert api("listVolumes", **tags(k="v"))["volume"][0]["tags"][0]["value"] == "v"
    assert api.done("deleteTags", resourceids=first, resourcetype="Volume", **tags(k="v")) is True
    assert api("listTags", resourcetype="Volume") == {}
