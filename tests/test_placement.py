"""Networks, affinity groups and security groups of the machines: chosen, checked and removed."""

import pytest
from harness import URL, changes, machines, play, play_to, running
from stages import CHECK, DEPLOY, REMOVE, VERIFY

from lib.cluster import admission, placement
from lib.cluster.placement import Placement
from lib.errors import CheckFailed, NotOne
from lib.ours import Ours

ANTI = "host anti-affinity"
SEED = """\
zones: [{name: local-1}, {name: plain, type: Basic}]
networks:
  - {name: default-guest, zone: local-1, cidr: 10.1.0.0/24}
  - {name: storage, zone: local-1, cidr: 10.2.0.0/24, default: false}
  - {name: second, zone: local-1, cidr: 10.3.0.0/24}
  - {name: shared, zone: plain, cidr: 10.4.0.0/24}
"""
TWO = {"network": "default-guest", "more_networks": ["storage"]}


@pytest.fixture
def cloud_of(seed, tmp_path):
    """Return a function that runs a cloud of a dialect with two zones and four networks."""

    def start(dialect: str):
        path = seed(f'dialect: "{dialect}"\n{SEED}')
        return running(tmp_path / "cloud", dialect=dialect, seed=path)

    return start


@pytest.fixture
def cloud(cloud_of):
    """A client of such a cloud of today's dialect."""
    with cloud_of("4.22") as one:
        yield one


def test_machines_are_put_into_their_networks_and_an_affinity_group_and_60_checks_both(cloud_of):
    with cloud_of("4.22") as cloud:
        more = URL | TWO | {"affinity": ANTI}
        rows = play(cloud, CHECK, **more)["rows"]
        found = {r.what: r.found for r in rows}
        assert found["affinity"] == "the group has yet to be created"
        assert found["more_networks"] == "default-guest, storage"
        play_to(cloud, DEPLOY, **more)
        for machine in machines(cloud).values():
            assert [g["name"] for g in machine["affinitygroup"]] == ["runbook-coreos-cluster"]
            nics = {n["networkname"]: n["isdefault"] for n in machine["nic"]}
            assert nics == {"default-guest": True, "storage": False}
        found = play(cloud, VERIFY, **more)["found"]
        what = ("offering", "networks", "affinity")
        assert {(r.what, r.ok) for r in found if r.what in what} == {(w, "✓") for w in what}
        assert play(cloud, DEPLOY, mode="plan", **more)["plan"] == []
        other = {"more_networks": ["storage", "second"], "service_offering": "Large Instance"}
        with pytest.raises(CheckFailed, match=r"(?s)Large Instance, found Medium.*not in second"):
            play(cloud, VERIFY, mode="plan", **more | other)
        with pytest.raises(CheckFailed, match=r"type of affinity group .*found host anti"):
            play(cloud, DEPLOY, mode="plan", **more | {"affinity": "host affinity"})
        lone = {"affinity": ANTI, "cluster_size": 5, "mode": "apply"}
        with pytest.raises(Exception, match=r"Please check the affinity groups"):  # 4 hosts
            play(cloud, DEPLOY, **more | lone | {"discovery": "static"})
        play(cloud, REMOVE, **more)
        assert cloud.list("listAffinityGroups") == []
        assert changes(cloud)[-2:] == ["deleteAffinityGroup", "deleteTemplate"]


def test_what_2_2_or_the_zone_cannot_do_is_refused_before_anything_changes(cloud_of):
    with cloud_of("2.2") as cloud:
        for more, text in (
            ({"affinity": ANTI}, r"2\.2|affinity groups, which came with CloudStack 4"),
            ({"network": "storage", "more_networks": ["second"]}, "make it `network`"),
            ({"security_groups": ["default"]}, "zone without security groups"),
        ):
            for stage in (CHECK, DEPLOY):
                with pytest.raises(CheckFailed, match=text):
                    play(cloud, stage, mode="plan", **URL | more)
        assert changes(cloud) == []
        play_to(cloud, VERIFY, **URL | TWO)
        for machine in machines(cloud).values():
            assert [n["isdefault"] for n in machine["nic"]] == [True, False]
        play(cloud, REMOVE, **URL | TWO)


@pytest.mark.parametrize("dialect", ["4.22", "2.2"])
def test_60_names_a_machine_whose_offering_was_changed(cloud_of, dialect):
    with cloud_of(dialect) as cloud:
        more = URL | {"network": "default-guest"}
        play_to(cloud, DEPLOY, **more)
        ident = machines(cloud)["coreos-cluster-2"]["id"]
        large = cloud.one("listServiceOfferings", "Large Instance")["id"]
        for command, given in (
            ("stopVirtualMachine", {}),
            ("changeServiceForVirtualMachine", {"serviceofferingid": large}),
            ("startVirtualMachine", {}),
        ):
            cloud.call(command, id=ident, **given)
        with pytest.raises(CheckFailed, match=r"offering of coreos-cluster-2: .*found Large Insta"):
            play(cloud, VERIFY, mode="plan", **more)
        play(cloud, VERIFY, **more | {"fallback_offerings": ["Large Instance"]})


REFUSED = {
    "no default": ({"more_networks": ["storage"]}, CheckFailed, "network: wanted the default one"),
    "twice": (
        {"network": "storage", "more_networks": ["storage"]},
        CheckFailed,
        "more_networks: wanted networks that differ",
    ),
    "unknown": ({"network": "default-guest", "more_networks": ["nosuch"]}, NotOne, "nosuch"),
    "a type": (
        {"affinity": "apart"},
        CheckFailed,
        'affinity: wanted host anti-affinity, .* or "", found apart',
    ),
    "a group": ({"security_groups": ["default"]}, CheckFailed, "security_groups: wanted"),
}


@pytest.mark.parametrize("given, error, text", REFUSED.values(), ids=REFUSED)
def test_an_invalid_placement_is_refused(cloud, given, error, text):
    ours, placed = Ours(cloud, "local-1", "c"), Placement(**given)
    with pytest.raises(error, match=text):
        placement.params(ours, placed)
    assert "✗" in {r.ok for r in placement.rows(ours, placed)}


ETCD = {"protocol": "tcp", "startport": 2379, "endport": 2380}
OWN = [{"group": "web", "account": "runbook"}]
RULES = {  # of the group `web`, and the signs for etcd's ports and SSH of three machines
    "none": ([], "✗-"),
    "all to each other": ([{"usersecuritygrouplist": OWN}], "✓"),
    "etcd to each other": ([ETCD | {"usersecuritygrouplist": OWN}], "✓-"),
    "etcd and SSH": ([ETCD | {"cidrlist": "10.4.0.0/16"},
                      {"protocol": "tcp", "startport": 22, "endport": 22,
                       "cidrlist": "192.0.2.0/24"}], "✓"),
    "etcd from elsewhere": ([ETCD | {"cidrlist": "192.0.2.0/24"}], "✗-"),
    "clients only": ([ETCD | {"endport": 2379, "cidrlist": "0.0.0.0/0"}], "✗-"),
    "another group": ([ETCD | {"usersecuritygrouplist": [OWN[0] | {"group": "default"}]}], "✗-"),
    "of 2014": ([ETCD | {"startport": 4001, "endport": 7001, "cidrlist": "0.0.0.0/0"}], "✗-"),
}  # fmt: skip


@pytest.mark.parametrize("rules, signs", RULES.values(), ids=RULES)
def test_00_shows_what_security_groups_let_in(cloud, rules, signs):
    cloud.call("createSecurityGroup", name="web")
    for rule in rules:
        cloud.call("authorizeSecurityGroupIngress", securitygroupname="web", **rule)
    ours = Ours(cloud, "plain", "c").with_machines(3)
    found = admission.rows(ours, ["web"], "flatcar-install")
    assert "".join(r.ok for r in found) == signs
    of_2014 = admission.rows(ours, ["web"], "coreos-install")
    lets_2014_in = "4001" in str(rules) or (signs == "✓" and len(rules) == 1)
    assert (of_2014[0].ok == "✓") is lets_2014_in


def test_00_has_no_rules_to_show_without_groups_and_of_one_machine_only_a_note(cloud):
    assert admission.rows(Ours(cloud, "local-1", "c").with_machines(3), [], "x") == []
    ours = Ours(cloud, "plain", "c").with_machines(1)
    (alone, *_) = admission.rows(ours, [], "flatcar-install")
    assert (alone.ok, alone.what) == ("-", "security groups default")


@pytest.mark.parametrize("dialect", ["4.22", "2.2"])
def test_a_basic_zone_takes_security_groups_and_no_network(cloud_of, dialect):
    with cloud_of(dialect) as cloud:
        ours = Ours(cloud, "plain", "c")
        with pytest.raises(CheckFailed, match=r'network: wanted "" in plain'):
            placement.params(ours, Placement("shared"))
        found = placement.params(ours, Placement(security_groups=["default"]))
        assert [i.name for i in found["securitygroupids"]] == ["default"]
        with pytest.raises(NotOne, match="security group"):
            placement.params(ours, Placement(security_groups=["web"]))
