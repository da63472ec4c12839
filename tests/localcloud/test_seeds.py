"""Seeds: what a new cloud holds, several zones and networks in it, and the faults of a file."""

import json
import os
import re
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from lib.cloud import Cloud
from lib.errors import ProfileError
from lib.localcloud.__main__ import main
from lib.localcloud.state import seeds
from lib.profiles import local
from lib.record.journal import ROOT

LARGE = """\
limits: {vm: 1000, ip: 1000, volume: 1000, cpu: 4000, memory: 4000000, primarystorage: -1}
capacity: {hosts: 40}
configuration: {default.page.size: 50, vm.userdata.max.length: 10, custom.diskoffering.size.max: 7}
zones: [{name: east}, {name: west}, {name: plain, type: Basic}]
networks:
  - {name: default-guest, zone: east, cidr: 10.1.0.0/22, first: 10.1.0.250}
  - {name: second, zone: east, cidr: 10.2.0.0/16}
  - {name: far, zone: west, cidr: 192.168.7.0/24, last: 192.168.7.12}
  - {name: shared, zone: plain, cidr: 10.4.0.0/24}
"""


@pytest.fixture
def large(cloud_of, seed):
    return cloud_of(seed=seed(LARGE))


def deployed(cloud, zone: str, number: int, network: str = "") -> dict:
    """Deploy a machine in a zone, by default in the only network there."""
    given = cloud.machine_params(name=f"m-{number}", zone=zone)
    if network:
        given["networkids"] = cloud.id_of("listNetworks", network)
    return cloud.done("deployVirtualMachine", **given)


@pytest.mark.parametrize("dialect", ["4.22", "2.2"])
def test_the_default_seeds_have_no_faults(dialect):
    assert seeds.read(seeds.FOLDER / f"{dialect}.yaml") == seeds.default(dialect)


MACHINE = "{name: m, network: default-guest, address: 10.1.0.10, offering: Small Instance, "
MACHINE += "template: Debian 12"


def test_the_seed_in_the_readme_is_one_and_allows_a_thousand_machines(seed):
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    [text] = re.findall(r"```yaml\n(limits:.*?)```", readme, re.S)
    read = seeds.read(seed(text))
    hosts, medium = read["capacity"], read["service_offerings"][1]
    assert read["limits"]["vm"] == 1000 and read["limits"]["cpu"] >= 1000 * medium["cpus"]
    assert hosts["hosts"] * hosts["memory"] // medium["memory"] >= 1000
    [network] = read["networks"]
    assert IPv4Network(network["cidr"]).num_addresses > 1000


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[", "expected a seed in YAML: "),
        ("zones: 2026-99-99", "expected a seed in YAML: "),
        ("zones: !!timestamp x", "expected a seed in YAML: "),
        ("3", "expected a table with some of dialect, zones"),
        ("zone: []", "zone: there is no such key: did you mean zones?"),
        ("dialect: 4.3", "dialect: expected 4.22 or 2.2, found 4.3"),
        ("zones: []", "zones: expected a list of one or more, found []"),
        ("zones: [a]", "zones[0]: expected a table, found 'a'"),
        ("zones: [{name: x, type: basic}]", "zones[0].type: expected Advanced or Basic"),
        ("zones: [{name: x}, {name: x}]", "zones: expected names that differ, found 'x' more"),
        ("zones: [{name: x}]", "networks[0].zone: expected one of x, found 'local-1'"),
        ("zones: [{name: local-1}, {name: x}]", "networks: expected a network of zone x, found 0"),
        ("networks: [{name: n, zone: local-1}]", "networks[0].cidr: expected a network such as"),
        ("networks: [{name: default-guest, zone: local-1, cidr: 10.1.0.0/33}]", "cidr: expected a"),
        ("networks: [{name: default-guest, zone: local-1, cidr: 10.1.0.0/28, first: 10.1.0.99}]",
         "networks[0]: expected first and last in 10.1.0.0/28, in this order"),
        ("networks: [{name: default-guest, zone: local-1, cidr: 10.1.0.8/29}]",
         "networks[0].cidr: expected 16 addresses or more"),
        ("networks: [{name: default-guest, zone: local-1, cidr: 10.9.0.0/24}]",
         "workstation.address: expected one in 10.9.0.0/24"),
        ("service_offerings: [{name: Medium Instance, cpus: 2}]", "expected both cpus and memory"),
        ("disk_offerings: [{name: x, size: 1.5}]", "disk_offerings[0].size: expected a whole"),
        ("os_types: [{name: x, category: y}]", "os_types[0].category: expected one of CentOS, "),
        (f"machines: [{MACHINE}, state: Error}}]", "machines[0].state: expected Running or Stop"),
        (f"machines: [{MACHINE}, network: x}}]", "machines[0].network: expected one of defa"),
        (f"machines: [{MACHINE}, zone: x}}]", "machines[0].zone: expected one of local-1"),
        ("networks: [{name: n, zone: local-1, cidr: 10.1.0.0/24},"
         " {name: n, zone: local-1, cidr: 10.2.0.0/24}]", "networks: expected names that differ"),
        ("security_groups: [{name: web, rules: [ssh]}]", "security_groups[0].rules: expected a"),
        ("security_groups: [{name: web, rules: [tcp 22-22 any]}]",
         "security_groups web: expected a CIDR or one of default, web, found any"),
        (f"machines: [{MACHINE}}}]", "machines[0].address: expected one that no other"),
        ("volumes: [{name: v, size: 1, zone: local-1, machine: m}]", "volumes[0].machine: exp"),
        ("limits: {vms: 3}", "limits.vms: there is no such key: did you mean vm"),
        ("limits: {vm: many}", "limits.vm: expected a whole number, or -1 for no limit, found 'm"),
        ("limits: 3", "limits: expected a table, found 3"),
        ("workstation: {offering: Big}", "workstation.offering: expected one of Small Instance, "),
        ("workstation: {disks: [{name: a, size: 1}]}", "disks[0]: expected the root disk, with m"),
        ("configuration: {expunge.delay: soon}", "configuration.expunge.delay: expected a whole"),
        ("configuration: {custom.diskoffering.size.min: 9999}", "expected custom.diskoffering.siz"),
    ],
)  # fmt: skip
def test_every_fault_of_a_seed_is_named_with_what_was_expected(seed, capsys, text, fault, tmp_path):
    assert main(["start", "--seed", str(seed(text)), "--dir", str(tmp_path / "cloud")]) == 1
    output = capsys.readouterr().err
    assert re.match(rf"{tmp_path}/seed.yaml: .*{re.escape(fault)}", output, re.S), output
    assert not (tmp_path / "cloud").exists()


def test_all_faults_come_at_once_and_a_file_that_is_not_there_is_one(seed, tmp_path):
    with pytest.raises(seeds.BadSeed) as found:
        seeds.read(seed("limits: {vms: 1}\ncapacity: {host: 1}\nzone: 1"))
    assert len(str(found.value).splitlines()) == 3
    with pytest.raises(seeds.BadSeed, match="No such file"):
        seeds.read(tmp_path / "nowhere.yaml")
    with pytest.raises(seeds.BadSeed, match="10,000,000 bytes at most"):
        seeds.read(Path("/dev/zero"))
    with pytest.raises(seeds.BadSeed, match="expected a seed in YAML"):
        seeds.read(seed("zones: " + "[" * 10_000))


def test_more_than_twenty_machines_have_room_and_addresses_beyond_one_byte(large):
    large.fault("nics", "second:1")
    found = [deployed(large, "east", n, "default-guest")["nic"][1] for n in range(30)]
    assert [card["ipaddress"] for card in found[4:8]] == [
        "10.1.0.254", "10.1.0.255", "10.1.1.0", "10.1.1.1"]  # fmt: skip
    assert {(c["netmask"], c["gateway"]) for c in found} == {("255.255.252.0", "10.1.0.1")}
    [row] = large("listNetworks", name="default-guest")["network"]
    assert row["cidr"] == "10.1.0.0/22"
    [me] = large("listAccounts")["account"]
    assert (me["vmlimit"], me["vmavailable"]) == ("1000", "969")
    assert me["primarystoragelimit"] == "Unlimited"


def test_each_zone_has_networks_of_its_own(large):
    assert deployed(large, "west", 1)["nic"][0]["ipaddress"] == "192.168.7.11"
    assert deployed(large, "east", 1, "second")["nic"][0]["ipaddress"] == "10.2.0.11"
    assert deployed(large, "west", 2)["zonename"] == "west"
    given = large.machine_params(name="m-3", zone="west")
    code, text = large.refused("deployVirtualMachine", **given, networkids=large.id_of(
        "listNetworks", "second"))  # fmt: skip
    assert code == 431 and re.fullmatch(r"Network id=\d+ doesn't belong to zone \d+", text)
    code, text = large.refused("deployVirtualMachine", **given)
    assert code == 530  # its two addresses are taken
    volume = large.done("createVolume", name="v", size=1, zoneid=given["zoneid"],
                        diskofferingid=large.id_of("listDiskOfferings", "Custom Disk"))  # fmt: skip
    there = {"id": volume["id"], "virtualmachineid": large.workstation()}
    assert "in the same zone as the volume" in large.failed("attachVolume", **there)[1]
    given = large.machine_params(name="n", zone="east")
    assert "More than 1 default Isolated" in large.refused("deployVirtualMachine", **given)[1]


def test_configuration_counts(large):
    assert "exceed max allowed page size value: 50" in large.refused(
        "listZones", page=1, pagesize=51)[1]  # fmt: skip
    text = large.refused("registerUserData", name="x", userdata="YWJjZGVmZ2hpams=")[1]
    assert text == "User data has exceeded configurable max length : 10"
    disk = {"diskofferingid": large.id_of("listDiskOfferings", "Custom Disk"), "size": 8}
    assert large.refused("createVolume", name="v", **disk, zoneid=large.id_of(
        "listZones", "east"))[1].endswith("Min: 1. Max: 7")  # fmt: skip
    assert large("listCapabilities")["capability"]["customdiskofferingmaxsize"] == 7


def test_a_folder_keeps_the_seed_it_was_made_from(seed, tmp_path, capsys):
    words = ["--dir", str(tmp_path / "clouds"), "--json"]
    first = seed(
        "zones: [{name: x}]\nnetworks: [{name: default-guest, zone: x, cidr: 10.1.0.0/24}]"
    )
    try:
        assert main(["start", "--seed", str(first), *words]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert main(["start", *words]) == main(["start", "--seed", str(first), *words]) == 0
        other = str(seeds.FOLDER / "4.22.yaml")
        assert main(["start", "--seed", other, *words]) == 1
        assert "another seed" in capsys.readouterr().err
        assert main(["stop", *words[:2]]) == 0
        assert main(["start", "--seed", other, *words]) == 1
        assert "`reset` deletes it, and all clusters in it" in capsys.readouterr().err
        assert main(["reset", *words[:2]]) == main(["start", "--seed", other, *words]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["seed"] != facts["seed"]
    finally:
        main(["stop", *words[:2]])


def test_a_profile_names_a_seed_from_the_projects_folder(seed, tmp_path, monkeypatch):
    monkeypatch.setenv("RUNBOOK_LOCALCLOUD", str(tmp_path / "clouds"))
    path = seed("limits: {vm: 7}")
    try:
        found = local.start("local", {"seed": os.path.relpath(path, ROOT), "time_scale": "0"})
        assert Cloud(found, folder=tmp_path / "run").list("listAccounts")[0]["vmlimit"] == "7"
        with pytest.raises(ProfileError, match=r"no\.yaml: expected a seed in YAML"):
            local.start("local", {"seed": "no.yaml"})
    finally:
        main(["stop"])


def test_a_seed_says_which_dialect_it_is_for(seed, tmp_path, capsys):
    path = str(seed('dialect: "2.2"'))
    assert main(["start", "--dialect", "4.22", "--seed", path, "--dir", str(tmp_path)]) == 1
    assert "dialect: expected 4.22, found '2.2'" in capsys.readouterr().err
