"""The check that the workstation is the machine to which the volume is attached."""

import uuid

import pytest
from harness import client, play_to, profile_of
from workstations import SUDO, program

from lib import Ours, volumes
from lib.errors import CheckFailed
from lib.workstation import identity
from lib.workstation.identity import demand_same
from lib.workstation.shell import connect_shell

ID = "f73873a6-49cd-4c0f-8b01-4cbc06d205de"
OTHER = "6000c29a-8b2f-4d4e-8c31-a5b6d7e8f901"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine whose files say what the test puts in them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    program(tmp_path, "sudo", SUDO)
    program(tmp_path, "cat", 'exec /bin/cat "$HOME/${1##*/}"')

    def says(**files):
        for name, text in files.items():
            (tmp_path / name.replace("instance", ".instance-id")).write_text(f"{text}\n")
        return connect_shell(None, "")

    return says


def test_the_dmi_uuid_is_the_machines_id_on_kvm(machine):
    shell = machine(sys_vendor=identity.KVM, product_uuid=ID.upper())
    assert demand_same(shell, ID) == "product_uuid"


def test_a_firmware_that_swaps_bytes_is_understood(machine):
    swapped = uuid.UUID(bytes_le=uuid.UUID(ID).bytes)
    assert demand_same(machine(product_uuid=swapped), ID) == "product_uuid"


def test_cloud_inits_instance_id_identifies_the_machine(machine):
    assert demand_same(machine(product_uuid=OTHER, instance=ID), ID) == "instance-id"


@pytest.mark.parametrize(
    "files, hypervisor",
    [
        ({"sys_vendor": identity.KVM, "product_uuid": OTHER}, ""),
        ({"product_uuid": OTHER}, "KVM"),
        ({"product_uuid": OTHER, "instance": OTHER}, "VMware"),
    ],
)
def test_another_machine_is_refused(machine, files, hypervisor):
    with pytest.raises(CheckFailed, match=r"Nothing was written\. Set workstation_ssh"):
        demand_same(machine(**files), ID, hypervisor)


@pytest.mark.parametrize(
    "files",
    [{}, {"product_uuid": OTHER, "sys_vendor": "VMware, Inc."}, {"instance": "i-2-5-VM"}],
)
def test_missing_evidence_is_not_an_error(machine, files):
    assert demand_same(machine(**files), ID) == ""


def test_a_numeric_id_is_never_contradicted(machine):
    assert demand_same(machine(sys_vendor=identity.KVM, product_uuid=OTHER), "53553") == ""


def test_the_local_clouds_workstation_has_its_machine_id(server):
    cloud, shell = client(server), connect_shell(profile_of(server).shell, "")
    row = cloud.one("listVirtualMachines", "my-workstation", by="displayname")
    assert demand_same(shell, row["id"], row["hypervisor"]) == "product_uuid"
    with pytest.raises(CheckFailed, match=row["id"]):
        demand_same(shell, OTHER)


def test_the_workstation_of_2_2_cannot_say_who_it_is(old_server):
    cloud, shell = client(old_server), connect_shell(profile_of(old_server).shell, "")
    row = cloud.one("listVirtualMachines", "my-workstation", by="displayname")
    assert demand_same(shell, row["id"]) == ""


def test_a_volume_has_the_other_volumes_of_its_machine_and_its_hypervisor(server):
    cloud = client(server)
    play_to(cloud, "11-attach-volume")
    volume = volumes.found(Ours(cloud, "local-1", "coreos-cluster", "1", "coreos_cluster_disk"))
    rows = [r for r in cloud.list("listVolumes") if r.get("vmname") == volume["vmname"]]
    assert volume["hypervisor"] == "KVM" and len(rows) > 1
    assert {*volume["others"], volume["id"]} == {r["id"] for r in rows}
