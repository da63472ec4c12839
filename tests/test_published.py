"""SSH to the first machine from outside: published, restricted, ended and removed."""

import pytest
from harness import URL, changes, fault, play, play_to, running
from stages import CHECK, DEPLOY, REMOVE, VERIFY
from test_placement import SEED

from lib.chain import summary
from lib.cluster import published
from lib.cluster.published import Public
from lib.errors import CheckFailed, ParamsError, Refused, Unreachable
from lib.ours import Ours
from lib.record import jsonl

FORWARD, OPEN = "listPortForwardingRules", "listFirewallRules"


MORE = URL | {"public": "ssh"}


@pytest.fixture
def cloud(each_cloud):
    return each_cloud


def own(cloud) -> list[dict]:
    rows = cloud.list("listPublicIpAddresses")
    assert sum(r["issourcenat"] for r in rows) == 1, "the address of the source NAT stays"
    return [r for r in rows if not r["issourcenat"]]


def test_a_port_of_an_own_address_is_forwarded_as_long_as_the_parameters_ask_for_it(cloud, capsys):
    modern = cloud.has_firewall
    rows = play(cloud, CHECK, **MORE)["rows"]
    assert [r.found for r in rows if r.what == "public"] == [
        "port 22 of an address of its own, for 0.0.0.0/0"
    ]
    assert [r.wanted for r in rows if r.what == "public addresses still allowed"] == ["1 or more"]
    play_to(cloud, DEPLOY, **MORE | {"public": ""})
    assert own(cloud) == []
    seen = len(changes(cloud))
    plan = play(cloud, DEPLOY, mode="plan", **MORE)["outside"]
    firewall = ["createFirewallRule"] * modern
    assert [s.command for s in plan] == [
        "associateIpAddress", "createPortForwardingRule", *firewall
    ]  # fmt: skip
    assert len(changes(cloud)) == seen
    play(cloud, DEPLOY, **MORE)
    (address,) = own(cloud)
    line = f"ssh core@{address['ipaddress']} reaches coreos-cluster-1"
    assert line in capsys.readouterr().out
    found = play(cloud, VERIFY, **MORE)["found"]
    assert [(t.of, t.ok) for t in found if t.what == "public"] == [("coreos-cluster-1", "✓")]
    assert line in capsys.readouterr().out
    facts = [row for row in jsonl.read(cloud.folder / "facts.jsonl")[0] if "outside" in row]
    assert facts[-1]["outside"]["address"] == address["ipaddress"]
    assert "(from outside)" in summary.machines(cloud.folder)[-1]
    (rule,) = cloud.list(FORWARD)
    assert (rule["publicport"], rule["privateport"], rule["protocol"]) == ("22", "22", "tcp")
    assert rule["virtualmachinename"] == "coreos-cluster-1"
    if modern:
        assert [r["cidrlist"] for r in cloud.list(OPEN)] == ["0.0.0.0/0"]
        play(cloud, DEPLOY, **MORE | {"public_from": ["198.51.100.0/24", "192.0.2.0/24"]})
        assert [r["cidrlist"] for r in cloud.list(OPEN)] == ["198.51.100.0/24,192.0.2.0/24"]
    narrowed = MORE | {"public_from": ["192.0.2.0/24"]}
    play(cloud, DEPLOY, **narrowed)
    (rule,) = cloud.list(OPEN if modern else FORWARD)
    assert rule["cidrlist"] == "192.0.2.0/24"
    assert play(cloud, DEPLOY, mode="plan", **narrowed)["outside"] == []
    assert play(cloud, DEPLOY, mode="plan", **MORE | {"public": ""})["outside"] != []
    wider = MORE | {"public_from": ["203.0.113.0/24"]}
    found = play(cloud, VERIFY, mode="plan", **wider)["found"]
    assert [t.ok for t in found if t.what == "public"] == ["…"]
    play(cloud, REMOVE, **MORE)
    assert own(cloud) == cloud.list(FORWARD) == []
    assert changes(cloud).count("disassociateIpAddress") == 1


def test_an_address_of_others_is_neither_used_nor_released(cloud):
    play_to(cloud, DEPLOY, **MORE | {"public": ""})
    ours = Ours(cloud, "local-1", "coreos-cluster").with_machines(3)
    first = ours.machines()["coreos-cluster-1"]
    zone = {"zoneid": ours.zone_id}
    theirs = cloud.ask("associateIpAddress", **zone)["id"]
    given = {"protocol": "TCP", "publicport": 22, "privateport": 22, "ipaddressid": theirs}
    cloud.ask("createPortForwardingRule", **given, virtualmachineid=first["id"])
    assert published.plan_removal(ours) == []
    play(cloud, DEPLOY, **MORE)
    assert len(own(cloud)) == 2
    play(cloud, REMOVE, **MORE)
    assert [str(r["id"]) for r in own(cloud)] == [str(theirs)]


def test_no_second_address_is_acquired_after_a_lost_answer(cloud):
    play_to(cloud, DEPLOY, **MORE | {"public": ""})
    fault(cloud, "associateIpAddress", "fault:drop-after")
    try:
        play(cloud, DEPLOY, **MORE)
    except Unreachable:
        play(cloud, DEPLOY, **MORE)
    assert len(own(cloud)) == 1 and len(cloud.list(FORWARD)) == 1
    play(cloud, REMOVE, **MORE)
    assert own(cloud) == []


def test_the_rule_moves_to_the_new_first_machine(cloud):
    play_to(cloud, DEPLOY, **MORE)
    ours = Ours(cloud, "local-1", "coreos-cluster").with_machines(2, 2)
    plan = published.plan(ours, Public("ssh"))
    assert [s.command for s in plan] == ["deletePortForwardingRule", "createPortForwardingRule"]
    published.apply(ours, Public("ssh"), plan, "apply", within=60)
    assert [r["virtualmachinename"] for r in cloud.list(FORWARD)] == ["coreos-cluster-2"]


def test_no_address_is_acquired_where_they_cannot_be_listed(tmp_path):
    with running(tmp_path / "cloud", refuse="listPublicIpAddresses") as cloud:
        ours = Ours(cloud, "local-1", "c").with_machines(1)
        (row,) = published.rows(ours, "ssh", [], {})
        assert row.ok == "✗"
        with pytest.raises(Refused, match="listPublicIpAddresses was refused"):
            published.plan(ours, Public("ssh"))
        assert published.plan(ours, Public()) == []


@pytest.mark.parametrize(
    "given, name",
    [
        ({"what": "http"}, "public"),
        ({"what": "ssh", "sources": ["198.51.100.7"]}, "public_from"),
        ({"what": "ssh", "sources": ["198.51.100.7/24"]}, "public_from"),
        ({"sources": ["everyone"]}, "public_from"),
    ],
)
def test_invalid_values_are_refused(given, name):
    with pytest.raises(ParamsError, match=f"^{name}: wanted"):
        Public(**given)


def test_00_names_a_network_without_port_forwarding(seed, tmp_path):
    with running(tmp_path / "cloud", seed=seed(SEED)) as cloud:
        ours = Ours(cloud, "plain", "c").with_machines(1)
        (row,) = published.rows(ours, "ssh", [], {})
        assert row.ok == "✗" and "a network with port forwarding" in str(row)
        (network,) = cloud.list("listNetworks", zoneid=ours.zone_id)
        with pytest.raises(CheckFailed, match="Leave public empty"):
            published.demand_forwarding([network])
