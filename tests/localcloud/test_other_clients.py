"""Other clients work with the local cloud unchanged: `cs` and apache-libcloud."""

from urllib.parse import urlsplit

import pytest
from cs import CloudStack, CloudStackApiException
from libcloud.common.types import InvalidCredsError, ProviderError
from libcloud.compute.drivers.cloudstack import CloudStackNodeDriver
from libcloud.compute.types import NodeState


def cs_client(cloud, **more):
    facts = cloud.facts
    return CloudStack(
        endpoint=facts["endpoint"], key=facts["apikey"], secret=facts["secretkey"],
        **({"fetch_result": True, "poll_interval": 0.01} | more),
    )  # fmt: skip


def named(rows, name):
    [found] = [r for r in rows if r["name"] == name]
    return found["id"]


@pytest.mark.parametrize("method", ["get", "post"])
def test_cs_handles_volumes(either, method):
    cs = cs_client(either, method=method)
    zone = named(cs.listZones(fetch_list=True), "local-1")
    offering = named(cs.listDiskOfferings(fetch_list=True), "Custom Disk")
    created = cs.createVolume(name="a b*c", diskofferingid=offering, size=40, zoneid=zone)["volume"]
    machine = cs.listVirtualMachines(name="my-workstation")["virtualmachine"][0]["id"]
    attached = cs.attachVolume(id=created["id"], virtualmachineid=machine)["volume"]
    assert attached["state"] == "Ready"
    assert cs.detachVolume(id=created["id"])["volume"]["id"] == created["id"]
    cs.deleteVolume(id=created["id"])
    assert "a b*c" not in [v["name"] for v in cs.listVolumes(fetch_list=True)]


def test_cs_makes_a_cluster(either):
    cs = cs_client(either, method="post")
    template = either.template()["id"]
    params = either.machine_params("Medium Instance", templateid=template)
    created = [cs.deployVirtualMachine(name=f"node-{n}", **params) for n in (1, 2, 3)]
    addresses = {m["virtualmachine"]["nic"][0]["ipaddress"] for m in created}
    assert len(addresses) == 3
    ids = [m["virtualmachine"]["id"] for m in created]
    assert {cs.destroyVirtualMachine(id=i)["virtualmachine"]["id"] for i in ids} == set(ids)


def test_cs_understands_refusals_and_failed_jobs(either):
    cs = cs_client(either)
    with pytest.raises(CloudStackApiException, match="Unable to find volume"):
        cs.deleteVolume(id=10**6)
    either.fault("capacity", "cpus:0")
    with pytest.raises(CloudStackApiException) as caught:
        cs.deployVirtualMachine(name="n", **either.machine_params())
    assert caught.value.error["errorcode"] == 533
    stranger = CloudStack(either.facts["endpoint"], either.facts["apikey"], "wrong")
    with pytest.raises(CloudStackApiException) as caught:
        stranger.listZones()
    assert caught.value.error["errorcode"] == 401


def test_cs_tags_and_keys(api):
    cs = cs_client(api)
    volume = api.volume()["id"]
    cs.createTags(resourceids=[volume], resourcetype="Volume", tags=[{"key": "a", "value": "b c"}])
    assert cs.listTags(resourceid=volume)["tag"][0]["value"] == "b c"
    assert cs.listVolumes(tags=[{"key": "a", "value": "b c"}])["count"] == 1
    assert "PRIVATE KEY" in cs.createSSHKeyPair(name="k")["keypair"]["privatekey"]
    assert cs.listSSHKeyPairs()["sshkeypair"][0]["name"] == "k"


def test_cs_changes_existing_resources(api):
    cs = cs_client(api)
    volume = api.volume()["id"]
    assert cs.resizeVolume(id=volume, size=3)["volume"]["size"] == 3 * 2**30
    assert cs.updateVolume(id=volume, name="b")["volume"]["name"] == "b"
    assert cs.destroyVolume(id=volume)["volume"]["state"] == "Destroy"
    assert cs.recoverVolume(id=volume)["volume"]["state"] == "Allocated"
    machine = cs.deployVirtualMachine(**api.machine_params(name="m", startvm=False))
    size = api.id_of("listServiceOfferings", "Medium Instance")
    given = {"id": machine["virtualmachine"]["id"], "serviceofferingid": size}
    assert cs.scaleVirtualMachine(**given)["virtualmachine"]["cpunumber"] == 2
    assert cs.listNics(virtualmachineid=given["id"])["count"] == 1
    with pytest.raises(CloudStackApiException, match="no parameter podid of deployVirtualMachine"):
        cs.deployVirtualMachine(**api.machine_params(podid=1))


@pytest.fixture
def driver(api):
    """The CloudStack driver of libcloud, looking at jobs without waiting."""
    return driver_of(api)


def driver_of(api, secret=None):
    place = urlsplit(api.facts["endpoint"])
    created = CloudStackNodeDriver(
        api.facts["apikey"], secret or api.facts["secretkey"], secure=False,
        host=place.hostname, port=place.port, path=place.path,
    )  # fmt: skip
    created.connection.poll_interval = 0.01
    return created


def test_libcloud_handles_volumes(driver):
    node = driver.list_nodes()[0]
    volume = driver.create_volume(7, "libcloud disk")
    assert driver.attach_volume(node, volume)
    assert [v.name for v in driver.list_volumes(node)][-1] == "libcloud disk"
    assert driver.detach_volume(volume)
    taken = driver.create_volume_snapshot(volume)
    assert [s.id for s in driver.list_snapshots()] == [taken.id]
    kinds = driver.ex_list_os_types()
    kind = next(k for k in kinds if k["description"] == "Other Linux (64-bit)")
    image = driver.ex_create_snapshot_template(taken, "made-by-libcloud", kind["id"])
    assert image.name == "made-by-libcloud"
    assert driver.destroy_volume_snapshot(taken)
    assert driver.destroy_volume(volume)
    assert "libcloud disk" not in [v.name for v in driver.list_volumes()]


def test_libcloud_makes_a_cluster(driver):
    size = next(s for s in driver.list_sizes() if s.name == "Medium Instance")
    image = driver.list_images()[0]
    for n in (1, 2, 3):
        created = driver.create_node(f"node-{n}", size, image, ex_start_vm=True, ex_userdata="x")
        assert created.state == NodeState.RUNNING
    nodes = {n.name: n for n in driver.list_nodes()}
    assert len({ip for n in nodes.values() for ip in n.private_ips}) == len(nodes) == 4
    assert driver.reboot_node(nodes["node-1"])
    assert driver.ex_stop(nodes["node-1"]) == "Stopped"
    assert driver.ex_start(nodes["node-1"]) == "Running"
    assert driver.destroy_node(nodes["node-1"])
    assert "node-1" not in [n.name for n in driver.list_nodes()]


def test_libcloud_tags_and_keys(driver):
    volume = driver.create_volume(1, "tagged")
    assert driver.ex_create_tags([volume.id], "Volume", {"run": "1"})
    assert next(v for v in driver.list_volumes() if v.name == "tagged").extra["tags"] == {
        "run": "1"
    }
    assert driver.ex_delete_tags([volume.id], "Volume", ["run"])
    created = driver.create_key_pair("k")
    assert created.private_key.startswith("-----BEGIN RSA")
    assert [k.name for k in driver.list_key_pairs()] == ["k"]
    driver.delete_key_pair(created)  # says False for every server since 4.12: it expects a word
    assert driver.list_key_pairs() == []
    assert driver.ex_limits()["max_volumes"] == 20


def test_libcloud_lists_zones_networks_and_what_belongs_to_them(driver):
    assert [z.name for z in driver.list_locations()] == ["local-1"]
    assert [n.name for n in driver.ex_list_networks()] == ["default-guest"]
    assert driver.ex_list_disk_offerings()[0].name == "Custom Disk"
    node = driver.list_nodes()[0]
    [nic] = driver.ex_list_nics(node)
    assert nic.ip_address == node.private_ips[0]
    assert [ip.address for ip in driver.ex_list_public_ips()] == ["203.0.113.1"]
    for empty in ("affinity_groups", "vpcs"):
        assert getattr(driver, f"ex_list_{empty}")() == []
    assert [group["name"] for group in driver.ex_list_security_groups()] == ["default"]


def test_libcloud_understands_refusals(driver, api):
    with pytest.raises(ProviderError, match="not attached to any VM"):
        driver.destroy_volume(driver.list_volumes()[0])
    with pytest.raises(InvalidCredsError):
        driver_of(api, secret="wrong").list_locations()
