"""Machines of several kinds in a cluster: control and workers, each with its size and text."""

import re

import pytest
from harness import USERDATA, changes, client, machines, play, play_to, running, user_data
from stages import CHECK, DEPLOY, RECONFIGURE, REMOVE, SHRINK, VERIFY, WRITE

from lib.config import discovery
from lib.errors import CheckFailed, ParamsError
from lib.ours import Ours

DELIVERED = {"config_delivery": "userdata"}
STAGES = (WRITE, DEPLOY, VERIFY)
ROLES = [
    {"name": "control", "count": 3},
    {"name": "worker", "count": 2, "service_offering": "Small Instance", "metadata": "disk=ssd"},
]
NAMES = [*(f"mine-control-{n}" for n in (1, 2, 3)), "mine-worker-1", "mine-worker-2"]
MINE = {"cluster_name": "mine", "work_dir": "mine", "volume_name": "mine", "roles": ROLES}


@pytest.fixture
def cloud(built, tmp_path):
    """A client of a cloud with a neutral template of Flatcar."""
    with built(**USERDATA).running(tmp_path / "cloud") as one:
        yield one


def text(cloud, role: str = "") -> str:
    name = f"user-data.{role}.yml" if role else "user-data.yml"
    return (cloud.server.folder / "workstation/home/mine" / name).read_text()


def signs(cloud, **more) -> set[str]:
    return {r.ok for r in play(cloud, STAGES[2], "verify", **MINE | more, mode="plan")["found"]}


@pytest.mark.parametrize("may_register", [0, 1])
def test_machines_are_deployed_verified_changed_and_removed_by_role(
    cloud, tmp_path, keys, may_register
):
    cloud.call("configureSimulator", name="expunge", value=f"allowed:{may_register}")
    own = tmp_path / "worker.yml"
    own.write_text("#cloud-config\nwrite_files:\n  - path: /etc/me\n    content: I am ${role}\n")
    workers = ROLES[1] | {"config_file": str(own)}
    how = USERDATA | MINE | {"discovery": "static", "roles": [ROLES[0], workers]}
    play(cloud, CHECK, "check-workstation", **how)
    for stage in STAGES:
        play(cloud, stage, **how)
    there = machines(cloud)
    assert sorted(there) == NAMES
    sizes = {n: m["serviceofferingname"] for n, m in there.items()}
    assert {s for n, s in sizes.items() if "worker" in n} == {"Small Instance"}
    tags = {n: {t["key"]: t["value"] for t in m["tags"]}["role"] for n, m in there.items()}
    assert tags == {n: n.split("-")[1] for n in NAMES}
    assert "CLUSTER_METADATA=role=worker,disk=ssd" in text(cloud, "worker")
    assert "I am worker" in text(cloud, "worker") and "I am" not in text(cloud, "control")
    found = play(cloud, STAGES[2], **how)["found"]
    assert [r.found for r in found if r.what == "role"] == [tags[n] for n in NAMES]
    seen = changes(cloud)
    for stage in STAGES:
        play(cloud, stage, **how)
    assert changes(cloud) == seen
    own.write_text(own.read_text().replace("I am", "Here is"))
    play(cloud, RECONFIGURE, **how, role="worker")
    booted = [e.what for e in cloud.journal.every() if e.command == "rebootVirtualMachine"]
    assert booted == ["mine-worker-1", "mine-worker-2"]
    assert "Here is worker" in text(cloud, "worker")
    play(cloud, RECONFIGURE, **how, **keys)
    booted = [e.what for e in cloud.journal.every() if e.command == "rebootVirtualMachine"][2:]
    assert booted == NAMES  # stand-ins, which have formed no cluster
    assert "-" in signs(cloud, **how) and "✗" not in signs(cloud, **how)
    with pytest.raises(CheckFailed, match="members of etcd in the role control"):
        play(cloud, REMOVE, **how, role="control")
    assert play(cloud, SHRINK, **how | {"roles": []}, mode="plan")["plan"] == []
    fewer = how | {"roles": [ROLES[0], workers | {"count": 1}]}
    play(cloud, SHRINK, **fewer)
    assert sorted(machines(cloud)) == NAMES[:4]
    play(cloud, REMOVE, **fewer, role="worker")
    assert sorted(machines(cloud)) == NAMES[:3] and text(cloud)
    play(cloud, REMOVE, **how)
    assert machines(cloud) == {}
    assert not (cloud.server.folder / "workstation/home/mine").exists()


@pytest.mark.parametrize("dialect", ["4.22", "2.2"])
def test_fleet_of_2014_learns_the_role(dialect, tmp_path):
    params = DELIVERED | MINE | {"roles": [ROLES[0], {"name": "worker", "count": 1}]}
    with running(tmp_path / "cloud", dialect=dialect) as cloud:
        play_to(cloud, VERIFY, **params)
        names = {m["name"] for m in cloud.list("listVirtualMachines")}
        assert {*NAMES[:4]} < names
        assert re.search(r"fleet:\n    metadata: \"?role=worker\"?\n", text(cloud, "worker"))
        with pytest.raises(CheckFailed, match="etcd of 2014, of any role"):
            play(cloud, REMOVE, **params, role="worker")
        play(cloud, REMOVE, **params)
        assert not names & set(NAMES) & {m["name"] for m in cloud.list("listVirtualMachines")}


def test_all_roles_move_to_a_new_token(cloud):
    how = USERDATA | MINE | {"discovery": "local"}
    for stage in STAGES[:2]:
        play(cloud, stage, **how)
    first = discovery.url_in(text(cloud))
    with pytest.raises(ParamsError, match=r"role: wanted .* with move_discovery"):
        play(cloud, RECONFIGURE, **how, move_discovery="now", role="worker")
    play(cloud, RECONFIGURE, **how, move_discovery="now")
    second = discovery.url_in(text(cloud))
    assert second != first
    assert {discovery.url_in(text(cloud, r)) for r in ("control", "worker")} == {second}
    given = user_data(cloud).values()
    assert {discovery.url_in(one) for one in given} == {second}


def test_a_cluster_without_roles_can_get_some(cloud):
    how = USERDATA | MINE | {"discovery": "local", "roles": [], "etcd_members": 3}
    for stage in STAGES[:2]:
        play(cloud, stage, **how)
    how["roles"] = [{"count": 3}, ROLES[1]]
    for stage in STAGES[:2]:
        play(cloud, stage, **how)
    assert sorted(machines(cloud)) == ["mine-1", "mine-2", "mine-3", *NAMES[3:]]


@pytest.mark.parametrize(
    "roles, message",
    [
        ([{"name": "worker"}], "a count for each role"),
        ([{"name": "Worker", "count": 1}], "a name of a letter"),
        ([{"name": "rack-2", "count": 1}], "digits alone between hyphens"),
        ([{"name": "a", "count": 1}, {"name": "a", "count": 1}], "a twice"),
        ([{"name": "a", "count": 0}], "a count of 1 to 10,000"),
        ([{"name": "a", "count": -1}], "a count of 1"),
        ([{"name": "a", "count": 1, "size": 2}], "the keys name, count"),
        ([{"name": "a", "count": 1, "metadata": "ssd"}], "metadata such as"),
        ([{"count": 1, "metadata": "a=b"}], "for roles with a name"),
        ([{"name": "a", "count": 3}], 'set config_delivery "userdata"'),
    ],
)
def test_invalid_roles_are_refused_before_anything_is_written(server, roles, message):
    how = {} if "userdata" in message else DELIVERED
    with pytest.raises(ParamsError, match=message):
        play(client(server), STAGES[0], **how, roles=roles)
    rows = play(client(server), CHECK, "check-template", **how, roles=roles)["rows"]
    assert any(r.ok == "✗" and message.split()[-1] in str(r) for r in rows)


def test_the_members_are_machines_of_the_first_role(server):
    cloud, roles = client(server), [{"name": "a", "count": 3}, {"name": "b", "count": 9}]
    ours = Ours(cloud, "local-1", "mine").with_machines(1, roles=roles)
    assert ours.members == ["mine-a-1", "mine-a-2", "mine-a-3"] and len(ours.names) == 12
    with pytest.raises(ParamsError, match="etcd_members: wanted 1 to 3"):
        Ours(cloud, "local-1", "mine").with_machines(1, 1, 4, roles)
    with pytest.raises(ParamsError, match="role: wanted a, b, found 'c'"):
        ours.names_of("c")


MINE_TAGS = [{"key": "runbook", "value": "coreos-cluster"}, {"key": "cluster", "value": "mine"}]


@pytest.mark.parametrize(
    "name, tagged, ours",
    [
        ("mine-3", False, True),
        ("mine-b-3", False, False),  # of a cluster that is called mine-b
        ("mine-b-3", True, True),  # of a role that the parameters do not name any more
        ("mine-worker-3", False, True),
        ("mine-worker-3-12345678", True, False),
        ("mine-b", True, False),
    ],
)
def test_what_bears_a_name_of_the_cluster(server, name, tagged, ours):
    mine = Ours(client(server), "local-1", "mine").with_roles([{"name": "worker", "count": 1}])
    row = {"name": name, "tags": MINE_TAGS if tagged else []}
    assert mine.of_ours([row]) == [row] * ours
