"""Public addresses, and what they let in."""

import pytest

SSH = {"protocol": "TCP", "publicport": 22, "privateport": 22}


@pytest.fixture
def taken(either):
    """A cloud of each dialect with a machine, and a public address for its network."""
    either.node = either.machine("m")
    zone = either("listZones")["zone"][0]["id"]
    either.address = either.done("associateIpAddress", zoneid=zone)
    either.rule = SSH | {"ipaddressid": either.address["id"]}
    either.rule["virtualmachineid"] = either.node["id"]
    return either


def count(cloud, command: str, **filters) -> int:
    return cloud(command, **filters).get("count", 0)


def test_an_address_forwards_a_port_until_it_is_given_back(taken):
    assert count(taken, "listPublicIpAddresses") == 2
    created = taken.done("createPortForwardingRule", **taken.rule)
    wanted = {"publicport": "22", "virtualmachinename": "m", "state": "Active"}
    assert {k: created[k] for k in wanted} == wanted
    assert created["ipaddress"] == taken.address["ipaddress"]
    code, text = taken.refused("createPortForwardingRule", **taken.rule)
    assert code == 537 and text.startswith("The range specified, 22-22, conflicts with rule ")
    assert taken.done("deletePortForwardingRule", id=created["id"]) is True
    taken.done("createPortForwardingRule", **taken.rule | {"publicport": 2222})
    assert taken.done("disassociateIpAddress", id=taken.address["id"]) is True
    assert count(taken, "listPortForwardingRules") == 0
    assert count(taken, "listPublicIpAddresses") == 1


def test_the_address_by_which_a_network_goes_out_stays(api):
    [row] = api("listPublicIpAddresses")["publicipaddress"]
    assert row["issourcenat"] is True
    text = "ip address is used for source nat purposes and can not be disassociated."
    assert api.failed("disassociateIpAddress", id=row["id"]) == (530, text)


def test_newer_servers_have_a_firewall(api):
    node, network = api.machine("m"), api.id_of("listNetworks", "default-guest")
    own = {"ipaddressid": api.done("associateIpAddress", networkid=network)["id"]}
    rule = SSH | own | {"virtualmachineid": node["id"]}
    api.done("createPortForwardingRule", **rule, openfirewall="false", cidrlist="1.2.3.0/24")
    assert count(api, "listFirewallRules") == 0
    given = own | {"protocol": "TCP", "startport": 22, "endport": 22}
    wrong = api.refused("createFirewallRule", **given, cidrlist="1.2.3.4")
    assert wrong == (431, "Source CIDRs formatting error 1.2.3.4")
    created = api.done("createFirewallRule", **given, cidrlist="1.2.3.0/24,1.2.4.0/24")
    wider = given | {"startport": 20, "endport": 30, "cidrlist": "1.2.4.0/24"}
    code, text = api.refused("createFirewallRule", **wider)
    assert code == 537 and text.startswith("The range specified, 20-30, conflicts with rule ")
    assert text.endswith("which has 22-22")
    everything = own | {"protocol": "UDP"}
    api.done("createFirewallRule", **everything)
    assert api.refused("createFirewallRule", **everything) == (
        537, "There is already a firewall rule specified with protocol = udp and no ports"
    )  # fmt: skip
    assert (created["cidrlist"], created["startport"]) == ("1.2.3.0/24,1.2.4.0/24", 22)
    assert api.refused("createFirewallRule", **given, cidrlist="1.2.3.0/24")[0] == 537
    assert api.done("deleteFirewallRule", id=created["id"]) is True
    api.done("createPortForwardingRule", **rule | {"publicport": 2222})
    rows = api("listFirewallRules")["firewallrule"]
    assert [(r["protocol"], r["cidrlist"]) for r in rows] == [
        ("udp", "0.0.0.0/0"), ("tcp", "0.0.0.0/0")
    ]  # fmt: skip


def test_addresses_are_counted_and_limited(api):
    network = api.id_of("listNetworks", "default-guest")
    api.fault("limits", "ip:2")
    api.done("associateIpAddress", networkid=network)
    assert api("listAccounts")["account"][0]["iptotal"] == 2
    code, text = api.refused("associateIpAddress", networkid=network)
    assert code == 535 and "Type = 'public_ip'" in text


def test_a_machine_that_is_expunged_takes_its_rules_along(api):
    api.fault("expunge", "allowed:1")
    node, network = api.machine("m"), api.id_of("listNetworks", "default-guest")
    own = {"ipaddressid": api.done("associateIpAddress", networkid=network)["id"]}
    api.done("createPortForwardingRule", **SSH, **own, virtualmachineid=node["id"])
    api.done("destroyVirtualMachine", id=node["id"], expunge="true")
    assert count(api, "listPortForwardingRules") == 0
