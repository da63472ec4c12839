"""Affinity groups decide on hosts, security groups are for basic zones."""

import pytest

ANTI = "host anti-affinity"
PLAIN = """\
zones: [{name: local-1}, {name: plain, type: Basic}]
networks:
  - {name: default-guest, zone: local-1, cidr: 10.1.0.0/24}
  - {name: shared, zone: plain, cidr: 10.4.0.0/24}
"""


@pytest.fixture
def basic(cloud_of, seed):
    """A cloud with a basic zone, too, whose parameters for a machine there are `there`."""
    cloud = cloud_of(seed=seed(PLAIN))
    cloud.there = lambda name, **more: cloud.machine_params(name=name, zone="plain") | more
    return cloud


def group(api, name: str, kind: str = ANTI) -> str:
    return api.done("createAffinityGroup", name=name, type=kind)["id"]


def test_an_affinity_group_is_made_listed_and_deleted(api):
    assert api("listAffinityGroupTypes")["affinityGroupType"][0] == {"type": ANTI}
    created = api.done("createAffinityGroup", name="g", type=ANTI, description="apart")
    shown = [created[key] for key in ("type", "description", "account")]
    assert shown == [ANTI, "apart", "runbook"]
    node = api.machine("m", affinitygroupnames="g")
    assert [g["name"] for g in node["affinitygroup"]] == ["g"]
    [row] = api("listAffinityGroups", virtualmachineid=node["id"])["affinitygroup"]
    assert row["virtualmachineIds"] == [node["id"]]
    assert api("listVirtualMachines", affinitygroupid=created["id"])["count"] == 1
    assert api.done("deleteAffinityGroup", name="g") is True
    assert api("listVirtualMachines", id=node["id"])["virtualmachine"][0]["affinitygroup"] == []


def test_machines_that_are_to_be_apart_end_where_the_hosts_do(api):
    api.fault("capacity", "hosts:3")
    created, start = group(api, "g"), {"startvm": "false"}
    nodes = [api.machine(f"m-{n}", affinitygroupids=created) for n in range(3)]
    assert api.machine("free")["state"] == "Running"
    params = api.machine_params(name="m-3", affinitygroupids=created)
    code, text = api.failed("deployVirtualMachine", **params)
    assert code == 533 and text.startswith("No destination found for a deployment for VM instance ")
    assert text.endswith("}, Please check the affinity groups provided, there may not be "
                         "sufficient capacity to follow them")  # fmt: skip
    waiting = api.machine("m-4", affinitygroupids=created, **start)
    assert api.failed("startVirtualMachine", id=waiting["id"])[0] == 533
    api.done("stopVirtualMachine", id=nodes[0]["id"])
    assert api.done("startVirtualMachine", id=waiting["id"])["state"] == "Running"
    assert api.failed("updateVMAffinityGroup", id=waiting["id"], affinitygroupnames="g")[
        1
    ].endswith(
        "make sure the virtual machine is stopped and not in an error state before updating."
    )
    assert api.done("updateVMAffinityGroup", id=nodes[0]["id"])["affinitygroup"] == []
    assert api.done("startVirtualMachine", id=nodes[0]["id"])["state"] == "Running"


def test_a_machine_that_stopped_keeps_its_host_for_an_hour(cloud_of, clock):
    cloud = cloud_of(clock=clock, time_scale=1)
    cloud.fault("capacity", "hosts:1")

    def done(command: str, **params: object) -> dict:
        job = cloud(command, **params)["jobid"]
        clock.now += 600
        return cloud("queryAsyncJobResult", jobid=job)

    done("createAffinityGroup", name="g", type=ANTI)
    given = {n: cloud.machine_params(name=n, affinitygroupnames="g") for n in ("a", "b", "c")}
    first = done("deployVirtualMachine", **given["a"])["jobresult"]["virtualmachine"]["id"]
    done("stopVirtualMachine", id=first)
    assert done("deployVirtualMachine", **given["b"])["jobresultcode"] == 533
    clock.now += 3600
    assert done("deployVirtualMachine", **given["c"])["jobstatus"] == 1


def test_machines_that_are_to_be_together_share_a_host(api):
    api.fault("capacity", "hosts:2;cpus:6")
    created = group(api, "g", "host affinity")
    api.machine("one", affinitygroupids=created, offering="Medium Instance")
    api.machine("two", affinitygroupids=created, offering="Medium Instance")
    assert api.failed("deployVirtualMachine", **api.machine_params(
        "Medium Instance", name="three", affinitygroupids=created))[0] == 533  # fmt: skip
    preferred = group(api, "h", "non-strict host affinity")
    assert api.machine("four", affinitygroupids=preferred)["state"] == "Running"


def test_a_basic_zone_has_security_groups_and_no_choice_of_networks(basic):
    [zone] = basic("listZones", name="plain")["zone"]
    assert (zone["networktype"], zone["securitygroupsenabled"]) == ("Basic", True)
    created = basic("createSecurityGroup", name="web")["securitygroup"]["id"]
    assert basic.done("deployVirtualMachine", **basic.there("a"))["securitygroup"][0]["name"] == (
        "default"
    )
    node = basic.done("deployVirtualMachine", **basic.there("b", securitygroupids=created))
    assert [g["name"] for g in node["securitygroup"]] == ["web"]
    assert node["nic"][0]["type"] == "Shared" and node["nic"][0]["ipaddress"] == "10.4.0.12"
    [row] = basic("listSecurityGroups", virtualmachineid=node["id"])["securitygroup"]
    assert (row["id"], row["virtualmachineids"]) == (created, [node["id"]])
    assert basic("listVirtualMachines", securitygroupid=created)["count"] == 1
    network = basic.id_of("listNetworks", "shared")
    inside = basic.machine_params(name="c", securitygroupids=created)
    both = {"securitygroupids": created, "securitygroupnames": "web"}
    for given, text in (
        (basic.there("c", networkids=network), "Can't specify network Ids in Basic zone"),
        (basic.there("c", **both), "securitygroupids parameter is mutually exclusive with secur"),
        (basic.there("c", securitygroupnames="x"), "Unable to find group by name x"),
        (inside, "Can't create vm with security groups; security group feature is not enabled pe"),
    ):
        code, message = basic.refused("deployVirtualMachine", **given)
        assert code == 431 and message.startswith(text)


def test_a_security_group_in_use_or_reserved_is_not_deleted(basic):
    created = basic("createSecurityGroup", name="web")["securitygroup"]["id"]
    node = basic.done("deployVirtualMachine", **basic.there("a", securitygroupids=created))
    for given, answer in (
        ({"id": created}, (536, "Cannot delete group when it's in use by virtual machines")),
        ({"name": "default"}, (431, "The network group default is reserved")),
    ):
        assert basic.refused("deleteSecurityGroup", **given) == answer
    text = basic.refused("createSecurityGroup", name="web")[1]
    assert text == "Unable to create security group, a group with name web already exists."
    basic.fault("expunge", "allowed:1")
    basic.done("destroyVirtualMachine", id=node["id"], expunge="true")
    assert basic("deleteSecurityGroup", name="web") == {"success": True}


ALLOW, REVOKE = "authorizeSecurityGroupIngress", "revokeSecurityGroupIngress"
SSH = {"protocol": "TCP", "startport": 22, "endport": 22, "cidrlist": "192.0.2.0/24"}
PEERS = {"usersecuritygrouplist[0].group": "default", "usersecuritygrouplist[0].account": "runbook"}


@pytest.mark.parametrize("dialect", ["4.22", "2.2"])
def test_a_security_group_lets_in_what_its_rules_say(cloud_of, seed, dialect):
    cloud = cloud_of(dialect=dialect, seed=seed(f'dialect: "{dialect}"\n{PLAIN}'))
    to = {"securitygroupname": "default"}

    def rules() -> list[dict]:
        return cloud("listSecurityGroups", **to)["securitygroup"][0].get("ingressrule", [])

    assert rules() == []
    created = cloud.done(ALLOW, **to, **SSH)["ingressrule"]
    assert cloud.done(ALLOW, **to, **PEERS)["ingressrule"][0]["securitygroupname"] == "default"
    cloud.done(ALLOW, **to, protocol="icmp", icmptype=-1, icmpcode=-1, cidrlist="0.0.0.0/0")
    shown = [{k: v for k, v in r.items() if k not in ("ruleid", "account")} for r in rules()]
    assert shown == [
        {"protocol": "tcp", "startport": 22, "endport": 22, "cidr": "192.0.2.0/24"},
        {"protocol": "all", "startport": 0, "endport": 0, "securitygroupname": "default"},
        {"protocol": "icmp", "icmptype": -1, "icmpcode": -1, "cidr": "0.0.0.0/0"},
    ]
    same = cloud.failed(ALLOW, **to, **SSH)
    assert same == (530, "Failed to authorize security group ingress rule(s)")
    cloud.done(REVOKE, id=created[0]["ruleid"])
    assert [r["protocol"] for r in rules()] == ["all", "icmp"]


INGRESS = {
    "At least one cidr or at least one security group": {},
    "Invalid cidr 10.0.0.1": {"cidrlist": "10.0.0.1"},
    "Invalid protocol number: 256": {"protocol": 256, "cidrlist": "0.0.0.0/0"},
    "Invalid protocol ssh": {"protocol": "ssh", "cidrlist": "0.0.0.0/0"},
    "Invalid port range specified, startPort = 22, endPort = null": SSH | {"endport": None},
    "Invalid port range 23:22": SSH | {"startport": 23},
    "Invalid port numbers 22:70000": SSH | {"endport": 70000},
    "Cannot specify startPort or endPort without": SSH | {"protocol": "all"},
    "Invalid ICMP type/code specified, icmpType = null": SSH | {"protocol": "icmp"},
    "Nonexistent account: x when trying to authorize": PEERS | {
        "usersecuritygrouplist[0].account": "x"},
    "Nonexistent group y for account runbook/": PEERS | {"usersecuritygrouplist[0].group": "y"},
}  # fmt: skip


def test_rules_that_cannot_be_are_refused(basic):
    for text, given in INGRESS.items():
        sent = {k: v for k, v in given.items() if v is not None}
        code, message = basic.failed(ALLOW, securitygroupname="default", **sent)
        assert code == 431 and message.startswith(text)
    created = basic("createSecurityGroup", name="web")["securitygroup"]["id"]
    for given, text in (
        ({}, "Either securityGroupId or securityGroupName is required"),
        ({"securitygroupid": created, "securitygroupname": "web"}, "securityGroupId and security"),
        ({"securitygroupname": "x"}, "Unable to find security group x for account id="),
    ):
        code, message = basic.failed(ALLOW, **SSH, **given)
        assert code == 431 and message.startswith(text)
    web = {"usersecuritygrouplist[0].group": "web", "usersecuritygrouplist[0].account": "runbook"}
    basic.done(ALLOW, securitygroupname="default", **web)
    assert basic.refused("deleteSecurityGroup", id=created) == (
        536, "Cannot delete group when there are security rules that allow this group"
    )  # fmt: skip


NETS = """\
networks:
  - {name: default-guest, zone: local-1, cidr: 10.1.0.0/24}
  - {name: storage, zone: local-1, cidr: 10.2.0.0/24, default: false}
  - {name: second, zone: local-1, cidr: 10.3.0.0/24}
"""
CHOSEN = {  # dialect, networks: which card is the default one, or the refusal
    "the first": ("4.22", "storage default-guest", [True, False]),
    "the default one": ("2.2", "storage default-guest", [True, False]),
    "none of them": ("2.2", "storage", "At least 1 default network has to be specified for the vm"),
    "both of them": ("2.2", "default-guest second", "Only 1 default network per vm is supported"),
}


@pytest.mark.parametrize(("dialect", "names", "answer"), CHOSEN.values(), ids=CHOSEN)
def test_one_of_several_networks_is_the_default_one(cloud_of, seed, dialect, names, answer):
    cloud = cloud_of(seed=seed(NETS), dialect=dialect)
    ids = [str(cloud.id_of("listNetworks", name)) for name in names.split()]
    given = cloud.machine_params(name="m", networkids=",".join(ids), ipaddress="10.1.0.77")
    if isinstance(answer, str):
        assert cloud.refused("deployVirtualMachine", **given) == (431, answer)
        return
    if dialect == "4.22":
        given["ipaddress"] = "10.2.0.77"
    nics = cloud.done("deployVirtualMachine", **given)["nic"]
    assert [n["isdefault"] for n in nics] == answer
    assert nics[0]["ipaddress"] == given["ipaddress"]
    wanted = ids if dialect == "4.22" else ids[::-1]
    assert [str(n["networkid"]) for n in nics] == wanted
