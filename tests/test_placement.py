"""Networks and groups of the machines: asked for, refused, looked at again, and removed."""

import pytest
from harness import OLD, URL, changes, machines, play, play_to, running

from lib.cluster import admission, placement
from lib.cluster.placement import Placement
from lib.errors import CheckFailed, NotOne
from lib.ours import Ours

ZERO, FIFTY = "00-check-access", "50-deploy-cluster"
SIXTY, NINETY = "60-verify-cluster", "90-remove-cluster"
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
    """Have a cloud of a dialect with two zones and four networks."""

    def start(dialect: str):
        held = seed(f'dialect: "{dialect}"\n{SEED}')
        return running(tmp_path / "cloud", dialect=dialect, seed=held)

    return start


def test_machines_are_in_a_group_of_their_own_and_60_misses_those_that_are_not(cloud_of):
    with cloud_of("4.22") as cloud:
        more = URL | TWO | {"affinity": ANTI}
        rows = play(cloud, ZERO, **more)["rows"]
        told = {r.what: r.found for r in rows if r.what in ("affinity", "more_networks")}
        assert told == {
            "affinity": "the group has yet to be created",
            "more_networks": "default-guest, storage",
        }
        play_to(cloud, FIFTY, **more)
        for machine in machines(cloud).values():
            assert [g["name"] for g in machine["affinitygroup"]] == ["runbook-coreos-cluster"]
            nics = {n["networkname"]: n["isdefault"] for n in machine["nic"]}
            assert nics == {"default-guest": True, "storage": False}
        found = play(cloud, SIXTY, **more)["found"]
        what = ("offering", "networks", "affinity")
        assert {(r.what, r.ok) for r in found if r.what in what} == {(w, "✓") for w in what}
        assert play(cloud, FIFTY, mode="plan", **more)["plan"] == []
        other = more | {
            "more_networks": ["storage", "second"],
            "service_offering": "Large Instance",
        }
        with pytest.raises(CheckFailed, match=r"(?s)Large Instance, found Medium.*not in second"):
            play(cloud, SIXTY, mode="plan", **other)
        with pytest.raises(CheckFailed, match=r"type of affinity group .*found host anti"):
            play(cloud, FIFTY, mode="plan", **more | {"affinity": "host affinity"})
        lone = {"affinity": ANTI, "cluster_size": 5, "mode": "apply"}
        with pytest.raises(Exception, match=r"Please check the affinity groups"):  # 4 hosts
            play(cloud, FIFTY, **more | lone | {"discovery": "static"})
        play(cloud, NINETY, **more)
        assert cloud.list("listAffinityGroups") == []
        assert changes(cloud)[-2:] == ["deleteAffinityGroup", "deleteTemplate"]


def test_what_2_2_or_the_zone_cannot_do_is_refused_before_anything_is_made(cloud_of):
    with cloud_of("2.2") as cloud:
        wrong = {
            "affinity": ({"affinity": ANTI}, r"2\.2|affinity groups, which came with CloudStack 4"),
            "order": (
                TWO | {"network": "storage", "more_networks": ["second"]},
                "make it `network`",
            ),
            "groups": ({"security_groups": ["default"]}, "zone without security groups"),
        }
        for more, text in wrong.values():
            for stage in (ZERO, FIFTY):
                with pytest.raises(CheckFailed, match=text):
                    play(cloud, stage, mode="plan", **URL | OLD | more)
        assert changes(cloud) == []
        play_to(cloud, SIXTY, **URL | OLD | TWO)
        for machine in machines(cloud).values():
            assert [n["isdefault"] for n in machine["nic"]] == [True, False]
        play(cloud, NINETY, **URL | OLD | TWO)


@pytest.mark.parametrize("dialect", ["4.22", "2.2"])
def test_a_machine_that_was_moved_to_another_offering_is_named(cloud_of, dialect):
    with cloud_of(dialect) as cloud:
        more = URL | (OLD if dialect == "2.2" else {}) | {"network": "default-guest"}
        play_to(cloud, FIFTY, **more)
        ident = machines(cloud)["coreos-cluster-2"]["id"]
        large = cloud.one("listServiceOfferings", "Large Instance")["id"]
        for command, given in (
            ("stopVirtualMachine", {}),
            ("changeServiceForVirtualMachine", {"serviceofferingid": large}),
            ("startVirtualMachine", {}),
        ):
            cloud.call(command, id=ident, **given)
        with pytest.raises(CheckFailed, match=r"offering of coreos-cluster-2: .*found Large Insta"):
            play(cloud, SIXTY, mode="plan", **more)
        play(cloud, SIXTY, **more | {"fallback_offerings": ["Large Instance"]})


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
def test_a_place_that_cannot_be_is_refused(cloud_of, given, error, text):
    with cloud_of("4.22") as cloud:
        with pytest.raises(error, match=text):
            placement.params(Ours(cloud, "local-1", "c"), Placement(**given))
        assert any(
            r.ok == "✗" for r in placement.rows(Ours(cloud, "local-1", "c"), Placement(**given))
        )


ETCD = {"protocol": "tcp", "startport": 2379, "endport": 2380}
OWN = [{"group": "web", "account": "runbook"}]
RULES = {  # of the group `web`: signs of etcd's ports and of SSH for three machines
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
def test_00_tells_what_security_groups_let_in(cloud_of, rules, signs):
    with cloud_of("4.22") as cloud:
        cloud.call("createSecurityGroup", name="web")
        for rule in rules:
            cloud.call("authorizeSecurityGroupIngress", securitygroupname="web", **rule)
        ours = Ours(cloud, "plain", "c").with_machines(3)
        found = admission.rows(ours, ["web"], "flatcar-install")
        assert "".join(r.ok for r in found) == signs
        of_2014 = admission.rows(ours, ["web"], "coreos-install")
        assert (of_2014[0].ok == "✓") is (
            "4001" in str(rules) or (signs == "✓" and len(rules) == 1)
        )
        assert admission.rows(Ours(cloud, "local-1", "c").with_machines(3), [], "x") == []
        (alone, *_) = admission.rows(ours.with_machines(1), [], "flatcar-install")
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
