"""What one stage has asked, and the next one of its run need not ask within seconds."""

import json

import pytest
from benchmarks.virtual import Clock, our_client

from lib.localcloud.wire.server import Server
from lib.record import asked


@pytest.fixture
def stage(tmp_path):
    """A function that gives the client of the next stage."""
    clock = Clock()
    with Server(tmp_path / "c", time_scale=1, clock=clock) as server:

        def begin():
            cloud = our_client(server, clock)
            cloud.folder, cloud.server = tmp_path, server
            cloud.lists.take_up(cloud.gate.name)
            return cloud

        yield begin


def look(cloud) -> list[str]:
    """Ask what stages ask, leave it, and return the commands that were sent."""
    before = len(cloud.server.cloud.faults.calls)
    assert [z["name"] for z in cloud.zones] == ["local-1"] and cloud.has_tags
    assert cloud.list("listVirtualMachines")[0]["displayname"] == "my-workstation"
    cloud.list("listVirtualMachines", userdata=True)
    cloud.lists.leave()
    return [c.command for c in list(cloud.server.cloud.faults.calls)[before:]]


USERDATA, ZONES = ["listVirtualMachines"], ["listZones", "listCapabilities"]


def test_the_next_stage_asks_what_has_not_been_asked_within_seconds(stage):
    assert look(stage()) == [*ZONES, *USERDATA * 2]
    cloud = stage()
    assert look(cloud) == USERDATA, "user data may hold secrets, so they are not left"
    with pytest.raises(Exception, match="an answer has no `nothing`"):
        cloud.list("listVirtualMachines")[0]["nothing"]
    cloud.sleep(1)
    cloud.lists.leave()
    assert look(stage()) == USERDATA * 2, "others may have changed something meanwhile"


def test_nothing_is_left_of_before_a_change(stage, tmp_path):
    cloud = stage()
    look(cloud)
    offering = cloud.one("listDiskOfferings", "Small")["id"]
    cloud.call("createVolume", name="v", diskofferingid=offering, zoneid=cloud.zone_id("local-1"))
    assert not (tmp_path / asked.FILE).exists()
    assert look(stage()) == [*ZONES, *USERDATA * 2]


DAMAGE = [
    "",
    "no json",
    "[]",
    '{"cloud": 1}',
    '{"cloud": "C", "lists": [1]}',
    '{"cloud": "C", "lists": {"[]": [0]}}',
    '{"cloud": "C", "lists": {"[]": ["x", [1]]}}',
    '{"cloud": "C", "lists": {"[]": [0, []]}}',
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_none(stage, tmp_path, damage):
    cloud = stage()
    (tmp_path / asked.FILE).write_text(damage.replace('"C"', json.dumps(cloud.gate.name)))
    assert look(stage()) == [*ZONES, *USERDATA * 2]


def test_what_is_of_another_cloud_is_left_out(stage, tmp_path):
    cloud = stage()
    look(cloud)
    path = tmp_path / asked.FILE
    path.write_text(path.read_text().replace(cloud.gate.name, "other"))
    assert look(stage()) == [*ZONES, *USERDATA * 2]
