"""A cluster over several zones: the template is copied, the machines are spread, 90 removes all."""

import pytest
from harness import URL, changes, inventory, machines, play, play_to, running
from stages import CHECK, DEPLOY, REGISTER, REMOVE, TEMPLATE, VERIFY

from lib.cluster import placement
from lib.cluster.placement import Placement
from lib.errors import CheckFailed, NotOne
from lib.ours import Ours

SEED = """\
zones: [{name: local-1}, {name: west}, {name: north}]
networks:
  - {name: default-guest, zone: local-1, cidr: 10.1.0.0/24}
  - {name: in-west, zone: west, cidr: 10.2.0.0/24}
  - {name: in-north, zone: north, cidr: 10.3.0.0/24}
"""
BACKEND = "  - {name: backend, zone: west, cidr: 10.9.0.0/24, default: false}\n"
OVER = {"zones": ["local-1", "west", "north"], "cluster_size": 4}


@pytest.fixture(params=["4.22", "2.2"])
def cloud(request, seed, tmp_path):
    """A cloud of each dialect with three zones."""
    with running(tmp_path / "cloud", dialect=request.param, seed=seed(SEED)) as one:
        yield one


def places(cloud) -> dict[str, str]:
    return {name[-1]: row["zonename"] for name, row in machines(cloud).items()}


def copies(cloud) -> list[str]:
    rows = cloud.list("listTemplates", templatefilter="self")
    return sorted(r["zonename"] for r in rows if r["isready"])


def test_a_template_of_a_disk_is_copied_and_the_machines_are_spread(cloud):
    rows = play(cloud, CHECK, **OVER)["rows"]
    assert [r.found for r in rows if r.what == "zones"] == [
        "local-1: coreos-cluster-1, coreos-cluster-4; west: coreos-cluster-2; "
        "north: coreos-cluster-3"
    ]
    assert [r.what for r in rows if r.what.startswith("zones ")] == ["zones west", "zones north"]
    plan = play(cloud, TEMPLATE, mode="plan", **OVER)
    assert [s.command for s in plan["copying"]] == ["copyTemplate"] * 2
    play_to(cloud, VERIFY, **OVER)
    assert places(cloud) == {"1": "local-1", "2": "west", "3": "north", "4": "local-1"}
    assert copies(cloud) == ["local-1", "north", "west"]
    seen = changes(cloud)
    play_to(cloud, VERIFY, **OVER)
    assert changes(cloud) == seen, "a second run changed something"
    play(cloud, REMOVE, **OVER)
    left = inventory(cloud)
    assert left.pop("listVirtualMachines")[-1:] == ["my-workstation"]
    assert (left["listTemplates"], left["listSnapshots"]) == ([], [])


def test_a_registered_template_is_copied_also_when_a_zone_is_added_later(cloud):
    more = URL | OVER
    play_to(cloud, REGISTER, **more | {"zones": []})
    with pytest.raises(CheckFailed, match=r"ready in west.*Run 43-register-template"):
        play(cloud, DEPLOY, **more | {"discovery": "local"})
    play_to(cloud, DEPLOY, **more)
    assert changes(cloud).count("copyTemplate") == 2 and len(places(cloud)) == 4
    ours = Ours(cloud, "local-1", "coreos-cluster").over(["local-1", "west"])
    with pytest.raises(CheckFailed, match=r"zone of machine .*-3: wanted .*found north"):
        placement.demand_possible(ours, Placement(), ["coreos-cluster-3"], [])
    if cloud.has_tags:  # a tag that is gone is a change to make, which drift names
        lacking = {"resourceids": [machines(cloud)["coreos-cluster-2"]["id"]]}
        tags = [{"key": "home"}, {"key": "revision"}]
        cloud.call("deleteTags", resourcetype="UserVm", tags=tags, **lacking)
        plan = play(cloud, DEPLOY, mode="plan", **more)["plan"]
        assert [(s.what, s.why) for s in plan] == [("coreos-cluster-2", "it lacks revision, home")]
    play(cloud, REMOVE, **more)
    assert copies(cloud) == []


def test_machines_in_zones_that_are_no_longer_named_are_reported_and_removed(cloud):
    more = URL | OVER | {"cluster_size": 3}
    play_to(cloud, DEPLOY, **more)
    fewer = more | {"zones": ["local-1", "west"], "cluster_size": 2}
    if not cloud.has_tags:  # without tags these may be another cluster's
        assert "coreos-cluster-3 in north" in report_of_others(cloud, fewer, "nothing touches them")
        with pytest.raises(CheckFailed, match=r"other machines of the template.*coreos-cluster-3"):
            play(cloud, REMOVE, **fewer)
        return
    ids = machines(cloud)
    stranger = {k: ids["coreos-cluster-2"][k] for k in ("serviceofferingid", "templateid")}
    other = Ours(cloud, "north", "coreos-cluster").zone_id
    eighth = cloud.call("deployVirtualMachine", name="coreos-cluster-8", zoneid=other, **stranger)
    tags = [{"key": k, "value": v} for k, v in Ours(cloud, "north", "coreos-cluster").tags.items()]
    cloud.call("createTags", resourcetype="UserVm", resourceids=[eighth["id"]], tags=tags)
    report_of_others(cloud, fewer, "`zones` named theirs before")
    report_of_others(cloud, fewer, "of another of its name")
    with pytest.raises(CheckFailed, match=r"state of coreos-cluster-3: .* 90-remove-cluster"):
        play(cloud, VERIFY, **fewer)
    with pytest.raises(CheckFailed, match=r"zone of machine .*-3: local-1 or west, found"):
        play(cloud, CHECK, **fewer | {"cluster_size": 3})
    with pytest.raises(CheckFailed, match=r"zone of machine .*-2: local-1, found west"):
        play(cloud, CHECK, **fewer | {"zones": []})
    play(cloud, REMOVE, **fewer | {"zones": [], "keep": ["template"]})
    assert places(cloud) == {"8": "north"}, "of a cluster of that name at home in north"
    cloud.call("destroyVirtualMachine", id=eighth["id"])
    play(cloud, REMOVE, **fewer | {"zones": []})
    assert copies(cloud) == []


def test_clusters_of_one_name_and_two_homes_leave_each_other_alone(cloud):
    if not cloud.has_tags:
        return
    more = URL | OVER | {"cluster_size": 2, "zones": ["local-1", "west"]}
    play_to(cloud, DEPLOY, **more)
    other = more | {"zone": "west", "zones": [], "work_dir": "other", "keep": ["template"]}
    play(cloud, REMOVE, **other)
    assert places(cloud) == {"1": "local-1", "2": "west"}, "machines of the one at home in local-1"
    away = more | {"zones": ["west"], "cluster_size": 1, "keep": ["template"]}
    play(cloud, REMOVE, **away)
    assert places(cloud) == {}


def report_of_others(cloud, params: dict, text: str) -> str:
    rows = play(cloud, CHECK, **params)["rows"]
    rows = [r for r in rows if r.what == "machines in other zones" and text in r.next]
    assert [r.ok for r in rows] == ["-"]
    return rows[0].found


@pytest.mark.parametrize("dialect", ["4.22", "2.2"])
def test_each_zone_may_have_networks_of_other_names(seed, tmp_path, dialect):
    named = {"local-1": "default-guest", "west": "in-west, backend"}
    more = URL | OVER | {"network": "in-north", "networks": named, "cluster_size": 3}
    with running(tmp_path / "cloud", dialect=dialect, seed=seed(SEED + BACKEND)) as cloud:
        rows = play(cloud, CHECK, **more)["rows"]
        found = [r.what for r in rows if r.what.startswith("network ")]
        assert found == ["network default-guest", "network in-west", "network in-north"]
        play_to(cloud, DEPLOY, **more)
        called = {n["id"]: n["name"] for n in cloud.list("listNetworks")}
        nics = {
            k[-1]: [called[n["networkid"]] for n in m["nic"]] for k, m in machines(cloud).items()
        }
        assert nics == {"1": ["default-guest"], "2": ["in-west", "backend"], "3": ["in-north"]}
        found = play(cloud, VERIFY, **more)["found"]
        assert {t.ok for t in found if t.what == "networks"} == {"✓"}
        if not cloud.has_tags:
            return  # networks of 2.2 have no CIDR, so it cannot be said which addresses are free
        joins = play(cloud, DEPLOY, "data", mode="plan", **more | {"cluster_size": 5})["joins"]
        near = {name[-1]: address.rpartition(".")[0] for name, address in joins.new.items()}
        assert near == {"4": "10.1.0", "5": "10.2.0"}, "members that join are in their networks"


WRONG = {
    "unknown": ({"zones": ["local-1", "south"]}, "zones south: wanted exactly one"),
    "static": ({"zones": ["local-1", "west"], "discovery": "static"}, "Fixed addresses are all of"),
    "networks": (
        {"zones": ["local-1", "west"], "networks": {"north": "in-north"}},
        "networks: zones of `zones`: local-1, west, found north",
    ),
    "networks of one zone": (
        {"networks": {"local-1": "default-guest"}},
        "networks: {} without `zones`, found local-1",
    ),
    "network of a zone": (
        {"zones": ["local-1", "west"], "networks": {"west": "default-guest"}},
        "network default-guest: wanted exactly one",
    ),
    "a network": ({"zones": ["local-1", "west"], "network": "in-west"}, "network in-west: wanted"),
    "a template": (
        {"zones": ["local-1", "west"], "template_from": "existing", "template_name": "nosuch"},
        "template_name nosuch: wanted exactly one",
    ),
}


@pytest.mark.parametrize("given, text", WRONG.values(), ids=WRONG)
def test_00_refuses_invalid_zones_and_networks(seed, tmp_path, given, text):
    with running(tmp_path / "cloud", seed=seed(SEED)) as cloud:
        with pytest.raises(CheckFailed, match=text):
            play(cloud, CHECK, **URL | given)
        assert changes(cloud) == []


def test_an_unknown_zone_is_named(tmp_path):
    with running(tmp_path / "cloud") as cloud, pytest.raises(NotOne, match="zone"):
        Ours(cloud, "local-1", "c").over(["south"]).in_zones()
