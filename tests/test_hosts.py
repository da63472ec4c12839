"""The check that the workstation is the machine to which the volume is attached."""

import uuid

import pytest
from harness import client, play_to, profile_of
from workstations import at_home

from lib import Ours
from lib.errors import CheckFailed
from lib.resources import volumes
from lib.workstation.identity import KVM, demand_same
from lib.workstation.shell import connect_shell

ID = "f73873a6-49cd-4c0f-8b01-4cbc06d205de"
OTHER = "6000c29a-8b2f-4d4e-8c31-a5b6d7e8f901"
SWAPPED = uuid.UUID(bytes_le=uuid.UUID(ID).bytes)
NUMBER = "53553"
REFUSED = "another machine"
CASES = {  # the files of the machine, the id and the hypervisor at the cloud, the evidence
    "KVM's DMI UUID": ({"sys_vendor": KVM, "product_uuid": ID.upper()}, ID, "", "product_uuid"),
    "a firmware that swaps bytes": ({"product_uuid": SWAPPED}, ID, "", "product_uuid"),
    "cloud-init's": ({"product_uuid": OTHER, ".instance-id": ID}, ID, "", "instance-id"),
    "another UUID by KVM": ({"sys_vendor": KVM, "product_uuid": OTHER}, ID, "", REFUSED),
    "another UUID on KVM": ({"product_uuid": OTHER}, ID, "KVM", REFUSED),
    "another instance": ({"product_uuid": OTHER, ".instance-id": OTHER}, ID, "VMware", REFUSED),
    "nothing": ({}, ID, "", ""),
    "VMware's UUID": ({"product_uuid": OTHER, "sys_vendor": "VMware, Inc."}, ID, "", ""),
    "an instance without UUID": ({".instance-id": "i-2-5-VM"}, ID, "", ""),
    "a numeric id": ({"sys_vendor": KVM, "product_uuid": OTHER}, NUMBER, "", ""),
}


@pytest.mark.parametrize("files, ident, hypervisor, evidence", CASES.values(), ids=CASES)
def test_only_evidence_of_another_machine_is_refused(
    tmp_path, monkeypatch, files, ident, hypervisor, evidence
):
    shell = at_home(tmp_path, monkeypatch, {"cat": 'exec /bin/cat "$HOME/${1##*/}"'})
    for name, text in files.items():
        (tmp_path / name).write_text(f"{text}\n")
    if evidence != REFUSED:
        assert demand_same(shell, ident, hypervisor) == evidence
        return
    with pytest.raises(CheckFailed, match=r"Nothing was written\. Set workstation_ssh"):
        demand_same(shell, ident, hypervisor)


@pytest.mark.parametrize("which, evidence", [("server", "product_uuid"), ("old_server", "")])
def test_the_local_clouds_workstation_shows_what_its_hypervisor_would(which, evidence, request):
    server = request.getfixturevalue(which)
    cloud, shell = client(server), connect_shell(profile_of(server).shell, "")
    row = cloud.one("listVirtualMachines", "my-workstation", by="displayname")
    assert demand_same(shell, row["id"], row["hypervisor"]) == evidence
    if evidence:
        with pytest.raises(CheckFailed, match=row["id"]):
            demand_same(shell, OTHER)


def test_a_volume_has_the_other_volumes_of_its_machine_and_its_hypervisor(cloud):
    play_to(cloud, "11-attach-volume")
    volume = volumes.found(Ours(cloud, "local-1", "coreos-cluster", "1", "coreos_cluster_disk"))
    rows = [r for r in cloud.list("listVolumes") if r.get("vmname") == volume["vmname"]]
    assert volume["hypervisor"] == "KVM" and len(rows) > 1
    assert {*volume["others"], volume["id"]} == {r["id"] for r in rows}
