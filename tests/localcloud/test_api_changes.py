"""Existing machines, volumes and templates change as on a real cloud."""

import base64
import os

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import load_pem_private_key

GIB = 2**30


def disk(cloud, volume):
    return cloud.server.folder / "disks" / f"{volume['id']}.raw"


def offering(cloud, name):
    return cloud.id_of("listServiceOfferings", name)


def fixed(cloud, name="Small"):
    return cloud.id_of("listDiskOfferings", name)


def stopped(cloud, name="m", **more):
    return cloud.machine(name, startvm="false", **more)


@pytest.mark.parametrize("place", ["never attached", "detached", "attached"])
def test_a_volume_is_resized(api, place):
    volume = api.volume(size=1) if place == "never attached" else api.attached(size=1)
    if place == "detached":
        api.done("detachVolume", id=volume["id"])
    medium = {"diskofferingid": fixed(api, "Medium")}
    for given, after in [({"size": 3}, 3), ({"size": 2, "shrinkok": "true"}, 2), (medium, 20)]:
        assert api.done("resizeVolume", id=volume["id"], **given)["size"] == after * GIB
        assert place == "never attached" or os.stat(disk(api, volume)).st_size == after * GIB
    api.failed("resizeVolume", id=volume["id"], diskofferingid=fixed(api))  # which is smaller
    assert api("listVolumes", id=volume["id"])["volume"][0]["size"] == 20 * GIB
    assert place == "never attached" or os.stat(disk(api, volume)).st_size == 20 * GIB


def test_a_volume_of_fixed_size_gets_an_offering_of_custom_size(api):
    created = api.done("createVolume", name="v", diskofferingid=fixed(api), zoneid=api.zone())
    custom = fixed(api, "Custom Disk")
    assert (
        api.done("resizeVolume", id=created["id"], diskofferingid=custom, size=9)["size"] == 9 * GIB
    )


def test_a_volume_is_renamed_and_protected(api):
    volume = api.volume()["id"]
    row = api.done("updateVolume", id=volume, name="other", deleteprotection="true")
    assert (row["name"], row["deleteprotection"]) == ("other", True)
    for send, command in ((api.refused, "deleteVolume"), (api.failed, "destroyVolume")):
        code, text = send(command, id=volume)
        assert code == 431 and "has delete protection enabled" in text
    api.done("updateVolume", id=volume, deleteprotection="false")
    api("deleteVolume", id=volume)


def test_a_destroyed_volume_is_recovered_until_it_is_expunged(api):
    volume = api.attached()["id"]
    api.done("detachVolume", id=volume)
    assert api.done("destroyVolume", id=volume)["state"] == "Destroy"
    assert api("listVolumes", id=volume)["volume"][0]["state"] == "Destroy"
    assert api("recoverVolume", id=volume)["volume"]["state"] == "Ready"
    api.done("destroyVolume", id=volume, expunge="true")
    assert "volume" not in api("listVolumes", id=volume)


def test_the_root_volume_of_a_destroyed_machine_is_recovered_without_it(api):
    machine = api.machine("a")
    [root] = api("listVolumes", virtualmachineid=machine["id"])["volume"]
    api.done("destroyVirtualMachine", id=machine["id"])
    found = api("recoverVolume", id=root["id"])["volume"]
    assert found["state"] == "Ready" and "virtualmachineid" not in found


def test_a_volume_from_a_snapshot_has_the_snapshots_offering_or_the_one_given(api):
    created = api.done("createVolume", name="v", diskofferingid=fixed(api), zoneid=api.zone())
    api.done("attachVolume", id=created["id"], virtualmachineid=api.workstation())
    taken = api.done("createSnapshot", volumeid=created["id"])["id"]
    assert api.done("createVolume", name="a", snapshotid=taken)["diskofferingname"] == "Small"
    chosen = {"snapshotid": taken, "diskofferingid": fixed(api, "Custom Disk")}
    row = api.done("createVolume", name="b", size=7, **chosen)
    assert (row["diskofferingname"], row["size"]) == ("Custom Disk", 7 * GIB)
    assert os.stat(disk(api, row)).st_size == 7 * GIB


def test_a_volume_from_a_snapshot_is_attached_to_the_machine_that_is_named(api):
    taken, machine = api.snapshot()["id"], api.machine("m")["id"]
    row = api.done("createVolume", name="v", snapshotid=taken, virtualmachineid=machine)
    assert (row["virtualmachineid"], row["vmname"], row["deviceid"]) == (machine, "m", 1)


def test_the_offering_of_a_stopped_machine_is_changed(either):
    machine = either.machine("m")["id"]
    wanted = {"id": machine, "serviceofferingid": offering(either, "Medium Instance")}
    either.done("stopVirtualMachine", id=machine)
    row = either("changeServiceForVirtualMachine", **wanted)["virtualmachine"]
    assert row["serviceofferingname"] == "Medium Instance"


def test_a_destroyed_machine_is_recovered_where_the_account_may(cloud_of, clock):
    api = cloud_of(clock=clock, may_expunge=1, expunge_delay=600)
    machine = api.machine("m")["id"]
    assert api.refused("recoverVirtualMachine", id=machine)[0] == 431
    for _ in range(2):
        api.done("destroyVirtualMachine", id=machine)
        clock.now += 500  # the end of the first time falls into the second
        row = api("recoverVirtualMachine", id=machine)["virtualmachine"]
        assert row["state"] == "Stopped"
    assert api("listVolumes", virtualmachineid=machine)["volume"][0]["state"] == "Ready"
    api.done("destroyVirtualMachine", id=machine)
    clock.now += 599
    assert api("recoverVirtualMachine", id=machine)["virtualmachine"]["id"] == machine
    api.done("destroyVirtualMachine", id=machine)
    clock.now += 2  # the time before would be over now
    assert api("listZones")["count"] == 1
    clock.now += 599
    assert api.refused("recoverVirtualMachine", id=machine)[0] == 431
    assert not [m for m in api("listVirtualMachines")["virtualmachine"] if m["id"] == machine]


def test_a_destroyed_machine_is_recovered_by_anybody_on_an_old_server(old):
    machine = old.machine("m")["id"]
    old.done("destroyVirtualMachine", id=machine)
    assert old("recoverVirtualMachine", id=machine)["virtualmachine"]["state"] == "Stopped"


def test_the_ssh_keys_of_a_stopped_machine_are_changed(api):
    for name in ("a", "b"):
        api("createSSHKeyPair", name=name)
    machine = stopped(api, keypair="a")["id"]
    row = api.done("resetSSHKeyForVirtualMachine", id=machine, keypairs="a,b")
    assert row["keypairs"] == "a,b"


def test_the_user_data_of_a_machine_is_returned(api):
    machine = api.machine("m", userdata="eA==")["id"]
    answer = api("getVirtualMachineUserData", virtualmachineid=machine)
    assert answer == {"virtualmachineuserdata": {"virtualmachineid": machine, "userdata": "eA=="}}


def test_only_the_owner_of_its_key_can_read_the_password_of_a_machine(either):
    private = either("createSSHKeyPair", name="k")["keypair"]["privatekey"]
    template = either.template(passwordenabled="true")["id"]
    machine = either.machine("m", templateid=template, keypair="k")
    answer = either("getVMPassword", id=machine["id"])["password"]["encryptedpassword"]
    key = load_pem_private_key(private.encode(), None)
    assert key.decrypt(base64.b64decode(answer), PKCS1v15()).decode() == machine["password"]


def test_a_template_of_ones_own_is_changed(either):
    template = either.template()["id"]
    kind = either.id_of("listOsTypes", "Debian GNU/Linux 12 (64-bit)", by="description")
    new = {"name": "new", "displaytext": "d", "ostypeid": kind, "passwordenabled": "true"}
    row = either("updateTemplate", id=template, **new)["template"]
    assert (row["name"], row["displaytext"], row["passwordenabled"]) == ("new", "d", True)
    assert row["ostypename"].startswith("Debian")


def test_the_details_of_a_template_are_replaced_or_taken_away(api):
    template = api.template(**{"details[0].a": "b"})["id"]
    given = {"details[0].rootDiskController": "virtio"}
    details = {"rootDiskController": "virtio"}
    assert api("updateTemplate", id=template, **given)["template"]["details"] == details
    assert api("updateTemplate", id=template, cleanupdetails="true")["template"]["details"] == {}


# A list, how it is asked, its key, and what its one row says.
NIC = {"networkname": "default-guest", "deviceid": "0"}
ISOLATED = {"name": "DefaultIsolatedNetworkOfferingWithSourceNatService", "state": "Enabled"}
LISTS = [
    ("listNics", {"virtualmachineid": "m"}, "nic", NIC),
    ("listUsers", {"username": "runbook"}, "user", {"account": "runbook", "state": "enabled"}),
    ("listDomains", {"name": "local"}, "domain", {"path": "ROOT/local", "level": 1}),
    ("listInstanceGroups", {"name": "g"}, "instancegroup", {"name": "g", "account": "runbook"}),
    ("listOsCategories", {"name": "Ubuntu"}, "oscategory", {"name": "Ubuntu"}),
    ("listNetworkOfferings", {"guestiptype": "isolated"}, "networkoffering", ISOLATED),
]


@pytest.mark.parametrize(("command", "given", "key", "expected"), LISTS)
def test_resources_that_exist_once_are_listed(api, command, given, key, expected):
    machine = api.machine("m", group="g")["id"]
    [row] = api(command, **{k: machine if v == "m" else v for k, v in given.items()})[key]
    assert {k: row[k] for k in expected} == expected


def test_lists_of_absent_resources_are_empty(either):
    both = "listPortForwardingRules listIpForwardingRules listIsos"
    new = "listAffinityGroups listVMSnapshot listVPCs listSnapshotPolicies"
    for name in f"{both} {new if either.facts['dialect'] == '4.22' else ''}".split():
        assert either(name) == {}
