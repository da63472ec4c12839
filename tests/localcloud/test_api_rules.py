"""The rules of commands, and the texts of refusals."""

import base64
import uuid

HIDDEN = "Internal error executing command, please contact your system administrator"

# volumes


def test_a_volume_of_a_fixed_size_and_without_a_name(api):
    small = {"diskofferingid": api.id_of("listDiskOfferings", "Small"), "zoneid": api.zone()}
    created = api.done("createVolume", **small)
    assert created["size"] == 5 * 2**30 and uuid.UUID(created["name"])


def test_a_volume_comes_back_from_a_snapshot(api):
    taken = api.snapshot()
    created = api.done("createVolume", name="copy", snapshotid=taken["id"], zoneid=api.zone())
    assert (created["state"], created["snapshotid"]) == ("Ready", taken["id"])
    assert (api.server.folder / "disks" / f"{created['id']}.raw").stat().st_size == created["size"]


def test_a_volume_is_attached_at_the_lowest_or_a_given_place_and_detached_by_it(api):
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
    message = "The specified VM already has the maximum number of data disks (6) attached. "
    assert (code, text) == (431, f"{message}Please specify another VM.")


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
    created = api("createSnapshot", volumeid=volume)
    assert "snapshot operations in progress" in api.refused("deleteVolume", id=volume)[1]
    api("deleteSnapshot", id=created["id"])
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


def test_a_template_is_ready_when_its_job_is_over(either):
    created = either.template()
    assert (created["isready"], created["status"], created["size"]) == (
        True,
        "Download Complete",
        2**30,
    )
    mine = either("listTemplates", templatefilter="self")["template"]
    assert [t["id"] for t in mine] == [created["id"]]


def test_two_templates_may_have_one_name(api):
    assert api.template("tpl")["id"] != api.template("tpl")["id"]


def test_template_filters_show_whose_they_are(api):
    created = api.template()["name"]
    shown = {"featured": {"Debian 12"}, "self": {created}, "executable": {"Debian 12", created}}
    for name, expected in (shown | {"community": set()}).items():
        found = api("listTemplates", templatefilter=name).get("template", [])
        assert {t["name"] for t in found} == expected


def test_a_template_in_use_is_deleted_by_force_or_on_an_old_server(api, old):
    for one in (api, old):
        created = one.template()["id"]
        one.machine("node", templateid=created)
    mine = api.id_of("listTemplates", "tpl", templatefilter="self")
    assert api.done("deleteTemplate", id=mine, forced="true") is True
    assert old.done("deleteTemplate", id=8599) is True
    assert old("listVirtualMachines", name="node")["virtualmachine"][0]["templateid"] == 8599


# machines


def test_two_machines_have_one_host_name_on_an_old_server(old):
    assert [old.machine("node")["state"] for _ in range(2)] == ["Running"] * 2


def test_a_full_cloud_leaves_the_machine_in_error(either):
    either.fault("capacity", "cpus:0")
    params = either.machine_params(name="node")
    code, text = either.failed("deployVirtualMachine", **params)
    assert code == 533
    old = "Unable to create a deployment for VM[User|node]"
    assert text.startswith((old, "No destination found for a deployment for VM instance {"))
    [found] = either("listVirtualMachines", state="Error")["virtualmachine"]
    assert found["name"] == "node"
    assert either("listVolumes", virtualmachineid=found["id"]) == {}
    [event] = either("listEvents", level="ERROR", type="VM.CREATE")["event"]
    assert "node" in event["description"] or event["resourcename"] == "node"
    either.done("destroyVirtualMachine", id=found["id"])
    either.fault("capacity", "cpus:26")
    assert either.machine("other")["state"] == "Running"


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
    code, text = api.refused("createVolume", **api.volume_params())
    assert code == 535
    assert text == (
        "Maximum amount of resources of Type = 'volume', tag = 'null' for Account Name = runbook "
        "in Domain Id = 2 is exceeded: Account Resource Limit = 4, Current Account Resource "
        "Amount = 4, Current Account Resource Reservation = 0, Requested Resource Amount = 1."
    )
    message = "Maximum number of volumes for account: runbook has been exceeded."
    assert old.refused("createVolume", **old.volume_params()) == (534, message)
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
    again = api.machine_params(name="node")
    assert "already exists" in api.refused("deployVirtualMachine", **again)[1]
    assert api.done("expungeVirtualMachine", id=node) is True
    node = api.machine("node")["id"]
    assert "Please destroy" in api.failed("expungeVirtualMachine", id=node)[1]
    assert api.done("destroyVirtualMachine", id=node, expunge="true")["state"] == "Expunging"
    assert api("listVolumes", type="ROOT")["count"] == 1
    assert api.failed("destroyVirtualMachine", id=node)[0] == 431


def test_a_password_is_shown_once_if_the_template_has_them(api):
    created = api.template("with-password", passwordenabled="true")
    node = api.machine("node", templateid=created["id"])
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


def test_the_private_half_of_a_key_is_shown_once(api):
    created = api("createSSHKeyPair", name="new")["keypair"]
    assert created["privatekey"].startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert "privatekey" not in api("listSSHKeyPairs")["sshkeypair"][0]
    assert api.machine("node", keypair="new")["keypairs"] == "new"


def tags(**pairs):
    rows = enumerate(pairs.items())
    return {
        f"tags[{i}].{k}": v for i, kv in rows for k, v in zip(("key", "value"), kv, strict=True)
    }


def test_tags_are_put_on_all_or_nothing(api):
    first, second = api.volume("a")["id"], api.volume("b")["id"]
    api.done("createTags", resourceids=first, resourcetype="volume", **tags(k="v"))
    both = {"resourceids": f"{first},{second}", "resourcetype": "Volume"}
    assert api.failed("createTags", **both, **tags(new="1", k="2"))[0] == 530
    assert [t["key"] for t in api("listTags")["tag"]] == ["k"]
    assert api.done("deleteTags", resourceids=first, resourcetype="Volume", **tags(k="v")) is True
    assert api("listTags", resourcetype="Volume") == {}
