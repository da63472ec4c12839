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


@BOTH
@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, "This disk offering requires a custom size specified"),
        (0, "Disk size must be larger than 0"),
        (2000, "Volume size: 2000 GB is out of allowed range. Min: 1. Max: 1024"),
    ],
)
def test_a_custom_size_has_limits(any_cloud, size, text):
    more = {} if size is None else {"size": size}
    assert any_cloud.refused("createVolume", **volume_params(any_cloud, **more)) == (431, text)


def test_a_volume_needs_an_offering_that_fits(api):
    zone, small = api.zone(), api.id_of("listDiskOfferings", "Small")
    refused = api.refused("createVolume", name="x", diskofferingid=small, size=9, zoneid=zone)
    assert refused == (431, "This disk offering does not allow custom size")
    refused = api.refused("createVolume", name="x", zoneid=zone)
    assert refused[1].startswith("At least one of disk Offering ID or snapshot ID must be passed")
    assert api.done("createVolume", diskofferingid=small, zoneid=zone)["size"] == 5 * 2**30


def test_names_are_required_on_an_old_server_only(api, old):
    assert "missing parameter name" in old.refused("createVolume", zoneid=1)[1]
    assert uuid.UUID(api.volume("")["name"])


def test_a_volume_comes_back_from_a_snapshot(api):
    taken = api.snapshot()
    made = api.done("createVolume", name="copy", snapshotid=taken["id"], zoneid=api.zone())
    assert (made["state"], made["snapshotid"]) == ("Ready", taken["id"])
    assert (api.server.folder / "disks" / f"{made['id']}.raw").stat().st_size == made["size"]


def test_attaching_makes_the_volume_ready(api):
    volume = api.attached()
    assert (volume["state"], volume["deviceid"]) == ("Ready", 2)
    assert volume["vmdisplayname"] == "my-workstation"


def test_place_3_is_the_cdrom_and_a_place_is_for_one(api):
    machine, volume = api.workstation(), api.volume()
    for place, text in [
        (3, "deviceId should be 0,1,2,4-33"),
        (99, "deviceId should be 0,1,2,4-33"),
        (1, f"deviceId 1 is used by vm {machine}"),
    ]:
        where = {"virtualmachineid": machine, "deviceid": place}
        assert api.failed("attachVolume", id=volume["id"], **where) == (530, text)
    attached = api.done("attachVolume", id=volume["id"], virtualmachineid=machine, deviceid=7)
    assert attached["deviceid"] == 7


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


def test_detaching_twice_fails(api):
    volume = api.attached()["id"]
    assert api.done("detachVolume", id=volume)["state"] == "Ready"
    assert api.failed("detachVolume", id=volume) == (
        431,
        "The specified volume is not attached to a VM.",
    )


def test_device_id_and_machine_identify_the_volume_to_detach(api):
    volume, machine = api.attached(), api.workstation()
    where = {"deviceid": volume["deviceid"], "virtualmachineid": machine}
    assert api.done("detachVolume", **where)["id"] == volume["id"]
    refused = api.failed("detachVolume", id=volume["id"], **where)
    assert refused[1].startswith("Please provide either a volume id, or a tuple(device id")


def test_a_root_disk_stays_with_a_running_machine(api):
    root = api("listVolumes", type="ROOT")["volume"][0]["id"]
    assert api.failed("detachVolume", id=root)[0] == 431


def test_attached_volumes_are_not_deleted(api):
    volume = api.attached()["id"]
    assert api.refused("deleteVolume", id=volume) == (
        431,
        "Please specify a volume that is not attached to any VM.",
    )


# snapshots and templates


def test_a_volume_that_was_never_attached_has_no_snapshot(api, old):
    volume = old.volume()["id"]
    assert old.refused("createSnapshot", volumeid=volume) == (
        431,
        "VolumeId: 80921 is not in Ready state but Allocated. Cannot take snapshot.",
    )
    volume = api.volume()["id"]
    named = f'{{"id":3,"instanceId":null,"name":"disk","uuid":"{volume}","volumeType":"DATADISK"}}'
    assert api.refused("createSnapshot", volumeid=volume) == (
        431,
        f"Volume: Volume {named} is not in Ready state but Allocated. Cannot take snapshot.",
    )


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


def test_an_old_template_has_a_short_name_of_its_own(api, old):
    for one in (api, old):
        one.template("tpl")
    assert api.template("tpl")["name"] == "tpl"
    kind = old.id_of("listOsTypes", "Other Linux (64-bit)", by="description")
    snapshot = old("listSnapshots")["snapshot"][0]["id"]
    params = {"displaytext": "x", "ostypeid": kind, "snapshotid": snapshot}
    assert old.refused("createTemplate", name="tpl", **params) == (
        431,
        "Failed to create private template tpl, a template with that name already exists.",
    )
    assert old.refused("createTemplate", name="x" * 33, **params)[0] == 431
    assert (
        "missing parameter displaytext"
        in old.refused("createTemplate", name="y", ostypeid=kind, snapshotid=snapshot)[1]
    )


def test_a_template_comes_from_a_detached_volume_too(api):
    volume = api.attached()["id"]
    kind = api.id_of("listOsTypes", "Other (64-bit)", by="description")
    params = {"name": "t", "ostypeid": kind, "volumeid": volume}
    assert api.refused("createTemplate", **params) == (530, HIDDEN)
    api.done("detachVolume", id=volume)
    assert api.done("createTemplate", **params)["isready"]


def test_a_template_comes_from_one_source(api):
    volume = api.attached()["id"]
    api.done("detachVolume", id=volume)
    taken = api.done("createSnapshot", volumeid=volume)["id"]
    kind = api.id_of("listOsTypes", "Other (64-bit)", by="description")
    params = {"name": "t", "ostypeid": kind}
    none = (431, "Unable to find snapshot by id=null")
    assert api.refused("createTemplate", **params) == none
    code, text = api.refused("createTemplate", **params, volumeid=volume, snapshotid=taken)
    assert code == 431 and "specify only one of volume ID (" in text


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
    assert api.refused("listTemplates", templatefilter="all")[0] == 431
    assert "missing parameter templatefilter" in api.refused("listTemplates")[1]


def test_only_a_new_server_refuses_to_delete_a_template_in_use(api, old):
    for one in (api, old):
        made = one.template()["id"]
        one.machine("node", templateid=made)
    mine = api.id_of("listTemplates", "tpl", templatefilter="self")
    code, text = api.failed("deleteTemplate", id=mine)
    assert code == 431
    assert text.startswith('Unable to delete template: Template {"format":"QCOW2",')
    assert '"state":"Running","type":"User"' in text
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


def test_a_host_name_is_for_one_machine_unless_the_server_is_old(api, old):
    for one in (api, old):
        one.machine("node")
    code, text = api.refused("deployVirtualMachine", **api.machine_params(name="NODE"))
    assert code == 431
    assert text.startswith("The vm with hostName NODE already exists in the network domain")
    assert old.machine("node")["state"] == "Running"


@pytest.mark.parametrize("name", ["1st", "-x", "x-", "a_b", "x" * 64])
def test_host_names_have_a_form(api, name):
    code, text = api.refused("deployVirtualMachine", **api.machine_params(name=name))
    assert code == 431
    assert "invalid value. Invalid value provided for API arg: name - it can contain ASCII" in text


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


def test_an_offering_that_no_host_carries_is_refused_from_the_start(api):
    params = api.machine_params("Tagged Instance", name="node")
    assert api.failed("deployVirtualMachine", **params) == (530, "No suitable host found.")


def test_there_is_room_for_twelve_machines_of_medium_size(api):
    api.fault("limits", "memory:-1")
    api.fault("capacity", "hosts:1")
    for n in range(12):
        api.machine(f"node-{n}", offering="Medium Instance")
    params = api.machine_params("Medium Instance", name="node-13")
    assert api.failed("deployVirtualMachine", **params)[0] == 533


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


def test_destroying_keeps_data_volumes_and_hides_the_machine(cloud_of):
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
    assert api.machine("node")["state"] == "Running"


def test_expunging_ends_a_machine_at_once(cloud_of):
    api = cloud_of(may_expunge=1)
    node = api.machine("node")["id"]
    assert "Please destroy" in api.failed("expungeVirtualMachine", id=node)[1]
    assert api.done("destroyVirtualMachine", id=node, expunge="true")["state"] == "Expunging"
    assert api("listVolumes", type="ROOT")["count"] == 1
    assert api.failed("destroyVirtualMachine", id=node)[0] == 431


def test_destroyed_machines_are_expunged_after_a_day(cloud_of, clock):
    api = cloud_of(clock=clock)
    node = api.machine("node")["id"]
    api.done("destroyVirtualMachine", id=node)
    clock.now += 86401
    assert api.machine("node")["id"] != node


@BOTH
def test_stopping_twice_is_no_fault_but_rebooting_a_stopped_machine_is(any_cloud):
    node = any_cloud.machine("node")["id"]
    for _ in range(2):
        assert any_cloud.done("stopVirtualMachine", id=node)["state"] == "Stopped"
    code, text = any_cloud.failed("rebootVirtualMachine", id=node)
    assert code == (431 if any_cloud.facts["dialect"] == "4.22" else 530)
    assert text == f"The VM {node} (node) is not running, unable to reboot it"
    assert any_cloud.done("startVirtualMachine", id=node)["state"] == "Running"
    assert any_cloud.done("rebootVirtualMachine", id=node)["state"] == "Running"


def test_a_machine_for_which_there_is_no_room_stays_stopped(api):
    node = api.done("deployVirtualMachine", **api.machine_params(name="node", startvm="false"))
    assert node["state"] == "Stopped"
    api.fault("capacity", "memory:0")
    assert api.failed("startVirtualMachine", id=node["id"])[0] == 533
    assert api("listVirtualMachines", id=node["id"])["virtualmachine"][0]["state"] == "Stopped"


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
    malformed = (431, "Invalid specified IPv4 address 999.1.1.1")
    assert api.refused("deployVirtualMachine", **params) == malformed
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
    api("updateVirtualMachine", id=node, deleteprotection="true")
    assert "delete protection" in api.failed("destroyVirtualMachine", id=node)[1]


# user data, keys, tags


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def test_user_data_is_base64_of_some_length(api, old):
    params = api.machine_params(name="n")
    for data, text in [
        ("not base64!", "User data is not base64 encoded."),
        ("\ufeffAAAA", "User data is not base64 encoded."),
        (encoded("x" * 30000), "User data has exceeded configurable max length : 32768"),
    ]:
        assert api.refused("deployVirtualMachine", **params, userdata=data) == (431, text)
    params = old.machine_params(name="n", userdata=encoded("x" * 2049))
    assert old.refused("deployVirtualMachine", **params) == (431, "User data is too long")


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
    assert api.refused("resetUserDataForVirtualMachine", **again)[0] == 432
    api("updateVirtualMachine", **again)
    shown = api("listVirtualMachines", id=node, userdata="true")["virtualmachine"][0]
    assert shown["userdata"] == encoded("two")
    workstation = api("listVirtualMachines", name="my-workstation")["virtualmachine"][0]["id"]
    assert api("updateVirtualMachine", id=workstation, userdata=encoded("x"))["virtualmachine"]


def test_stored_user_data_in_use_is_not_deleted(cloud_of):
    api = cloud_of(may_expunge=1)
    made = api("registerUserData", name="cfg", userdata=encoded("x"))["userdata"]["id"]
    assert api.refused("registerUserData", name="cfg", userdata=encoded("y"))[0] == 431
    assert api("listUserData")["userdata"][0]["name"] == "cfg"
    node = api.machine("node", userdataid=made)["id"]
    assert api.refused("deleteUserData", id=made) == (530, HIDDEN)
    api.done("destroyVirtualMachine", id=node, expunge="true")
    assert api("deleteUserData", id=made) == {"success": True}


KEY = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAABwCqqqqqqqs= me@here"


@BOTH
def test_keys_have_names_of_their_own(any_cloud):
    made = any_cloud("registerSSHKeyPair", name="mine", publickey=KEY)["keypair"]
    assert made["fingerprint"].count(":") == 15
    text = "A key pair with name 'mine' already exists."
    assert any_cloud.refused("createSSHKeyPair", name="mine") == (431, text)
    assert any_cloud.refused("registerSSHKeyPair", name="x", publickey="ssh-rsa junk") == (
        431,
        "Public key is invalid",
    )
    assert any_cloud.refused("registerSSHKeyPair", name="x", publickey=KEY)[0] == 431
    any_cloud("deleteSSHKeyPair", name="mine")
    assert any_cloud("listSSHKeyPairs") == {}


def test_the_private_half_of_a_key_is_shown_once(api):
    made = api("createSSHKeyPair", name="new")["keypair"]
    assert made["privatekey"].startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert "privatekey" not in api("listSSHKeyPairs")["sshkeypair"][0]
    assert api.machine("node", keypair="new")["keypairs"] == "new"
    assert (
        api.refused("deployVirtualMachine", **api.machine_params(name="m", keypair="old"))[0] == 431
    )


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
    assert api.failed("createTags", **both, **tags(empty=""))[0] == 530
    assert api("listVolumes", **tags(k="v"))["volume"][0]["tags"][0]["value"] == "v"
    assert api.done("deleteTags", resourceids=first, resourcetype="Volume", **tags(k="v")) is True
    assert api("listTags", resourcetype="Volume") == {}
    gone = {"resourceids": first, "resourcetype": "Volume"} | tags(k="v")
    assert api.failed("deleteTags", **gone) == (530, "Failed to delete tags")


def test_an_old_server_knows_no_tags(old):
    assert old.refused("createTags", resourceids=1, resourcetype="Volume")[0] == 432
    assert "tags" not in old.volume()
