"""Machines boot: they read their disk and user data, and register with the discovery service."""

import gzip
import json
import subprocess
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lib.localcloud.guests import boot, discovery, members
from lib.localcloud.state.dialects import DIALECTS
from lib.localcloud.workstation import images
from lib.localcloud.workstation import shell as workstation

GIB = 2**30
BASE = "http://127.0.0.1:1"
SEED = """\
#cloud-config

coreos:
  etcd:
      discovery: {url}
      addr: $private_ipv4:4001
      peer-addr: $private_ipv4:7001
  units:
    - name: etcd.service
      command: start
    - name: fleet.service
      command: start

ssh_authorized_keys:
  - ssh-rsa AAAAB3xxx
"""
ARGUMENTS = (
    "--discovery={url} --discovery-fallback={fallback} "
    "--initial-advertise-peer-urls=http://${{IP}}:2380"
)


class World:
    """A discovery service, and a workstation that makes disks to boot from."""

    def __init__(self, folder: Path):
        self.folder, self.rows, self.asked = folder, {}, []
        workstation.prepare(folder)
        workstation.set_time_scale(folder, 0)

    def fetch(self, method: str, url: str, form: dict | None) -> tuple[int, str]:
        self.asked.append(method)
        path = urlsplit(url).path
        status, _, body = discovery.handle(self.rows, method, path, {}, form or {}, BASE)
        return status, body

    def token(self, size: int = 3) -> str:
        return discovery.handle(self.rows, "GET", "/new", {"size": str(size)}, {}, BASE)[2]

    def install(self, command: str, config: bytes | str) -> Path:
        """Return a disk after `command`, in which FILE is the file with the config."""
        disk = self.folder / "disks" / f"{uuid.uuid4()}.raw"
        images.create_blank(disk, 10 * GIB)
        ours = {"deviceid": 2, "file": str(disk), "size": 10 * GIB, "id": "1", "mountpoint": None}
        workstation.write_devices(self.folder, DIALECTS["4.22"], [ours])
        file = self.folder / "config"
        file.write_bytes(config if isinstance(config, bytes) else config.encode())
        shell = ["/bin/sh", str(self.folder / "workstation" / "shell"), "-c"]
        device = json.loads((self.folder / "workstation" / "devices.json").read_text())[-1]["name"]
        command = command.replace("FILE", str(file)) + f" -d /dev/{device}"
        subprocess.run([*shell, command], check=True, capture_output=True)
        return disk

    def boot(self, disk: Path | None, number: int = 1, **more) -> str:
        """Boot machine number so-and-so from the disk, and return its journal."""
        named = {"id": str(uuid.UUID(int=number)), "hostname": f"node-{number}"}
        named |= {"address": f"10.1.0.{number}", "fetch": self.fetch} | more
        userdata = named.pop("userdata", None)
        return "\n".join(boot.boot(disk, members.Machine(**named), userdata))

    def listed(self, url: str) -> dict[str, str]:
        node = json.loads(self.fetch("GET", url, None)[1])["node"]
        return {n["key"].rpartition("/")[2]: n["value"] for n in node.get("nodes", [])}


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def coreos(world: World, config: bytes | str, *, oem: str = "cloudstack") -> Path:
    option = f"-o {oem}" if oem else ""
    return world.install(f"coreos-install {option} -c FILE", config)


def flatcar(world: World, config: bytes | str, *, how: str = "-o cloudstack -c FILE") -> Path:
    return world.install(f"flatcar-install {how}", config)


def ignition(url: str, fallback: str = "exit") -> str:
    text = "[Unit]\nRequires=ip.service\n[Service]\nEnvironmentFile=/run/ip\n"
    text += "ExecStart=/usr/lib/flatcar/etcd-wrapper $ETCD_OPTS "
    text += ARGUMENTS.format(url=url, fallback=fallback)
    own = "[Service]\nExecStart=/bin/sh -c 'ip route get 1 | sed \"s/src /IP=/\" >/run/ip'"
    unit = {"name": "etcd-member.service", "enabled": True}
    unit["dropins"] = [{"name": "20-etcd.conf", "contents": text}]
    units = [{"name": "ip.service", "contents": own}, unit]
    return json.dumps({"ignition": {"version": "3.3.0"}, "systemd": {"units": units}})


def test_three_machines_from_the_seeds_config_find_each_other(world):
    url = world.token()
    disk = coreos(world, SEED.format(url=url))
    journals = [world.boot(disk, n) for n in (1, 2, 3)]
    assert world.listed(url) == {
        f"{n:032x}": f"http://10.1.0.{n}:7001" for n in (1, 2, 3)
    }  # by machine id
    assert "leads a new cluster" in journals[0]
    assert "joined 2 others" in journals[2]


def test_a_registration_of_etcd_0_4_lives_for_a_week(world):
    url = world.token()
    world.boot(coreos(world, SEED.format(url=url)))
    (node,) = json.loads(world.fetch("GET", url, None)[1])["node"]["nodes"]
    assert 604790 < node["ttl"] <= 604800


def test_no_line_of_the_journal_holds_the_token(world):
    url = world.token()
    text = world.boot(coreos(world, SEED.format(url=url)))
    assert url.rpartition("/")[2] not in text


def test_a_plain_image_knows_no_address_and_registers_nothing(world):
    url = world.token()
    text = world.boot(coreos(world, SEED.format(url=url), oem=""))
    assert (
        "failed sanitizing configuration: Advertised URL: parse :4001: missing protocol scheme"
    ) in text
    assert world.listed(url) == {}


def test_an_address_written_into_etc_environment_by_hand_helps_a_plain_image(world):
    url = world.token()
    disk = coreos(world, SEED.format(url=url), oem="")
    files = images.tree(disk, 9) | {"etc/environment": b"COREOS_PRIVATE_IPV4=10.1.0.174\n"}
    images.put_tree(disk, 9, files, kind="btrfs", label="ROOT")
    world.boot(disk)
    assert list(world.listed(url).values()) == ["http://10.1.0.174:7001"]


def test_a_machine_that_boots_again_is_listed_once(world):
    url = world.token()
    disk = coreos(world, SEED.format(url=url))
    world.boot(disk)
    assert "no reachable peers" in world.boot(disk)
    assert len(world.listed(url)) == 1


def test_two_clusters_from_one_template_with_a_baked_token_collide(world):
    url = world.token()
    disk = coreos(world, SEED.format(url=url))
    for number in range(1, 7):
        world.boot(disk, number)
    assert len(world.listed(url)) == 6


def test_user_data_count_only_where_the_image_reads_them(world):
    reading, plain = world.token(), world.token()
    for oem, url in (("cloudstack", reading), ("", plain)):
        disk = coreos(world, b"#cloud-config\n", oem=oem)
        world.boot(disk, userdata=SEED.format(url=url).encode())
    assert (len(world.listed(reading)), len(world.listed(plain))) == (1, 0)


def test_user_data_override_the_configuration_on_the_disk(world):
    baked, own = world.token(), world.token()
    disk = coreos(world, SEED.format(url=baked))
    world.boot(disk, userdata=SEED.format(url=own).encode())
    assert (len(world.listed(baked)), len(world.listed(own))) == (0, 1)


def test_a_machine_with_a_numeric_id_or_a_name_of_its_own_registers_too(world):
    url = world.token()
    disk = coreos(world, SEED.format(url=url))
    world.boot(disk, id="53553")
    named = SEED.format(url=url).replace("peer-addr", "name: one\n      peer-addr")
    world.boot(coreos(world, named), 2)
    first, second = world.listed(url)
    assert (len(first), second) == (32, "one")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n#cloud-config\n", 'first line must be "#cloud-config"'),
        ("# cloud-config\n", 'first line must be "#cloud-config"'),
        ("\ufeff#cloud-config\n", 'first line must be "#cloud-config"'),
        ("#cloud-config\na: [\n", "yaml: "),
        ("#!/bin/sh\n", "a script"),
        ("#cloud-config\n- a\n", ""),
        ("", ""),
        ("#cloud-config  \ncoreos: 1\nunknown: 2\n", ""),
    ],
)
def test_a_config_that_is_wrong_is_not_applied(world, text, said):
    journal = world.boot(coreos(world, text)).split("\n")
    assert len(journal) == (2 if said else 1)
    assert said in journal[-1]
    assert world.asked == []


def test_units_that_are_not_started_or_not_there_register_nothing(world):
    url = world.token()
    idle = SEED.format(url=url).replace("command: start", "enable: false")
    assert "etcd" not in world.boot(coreos(world, idle))
    said = world.boot(flatcar(world, SEED.format(url=url)))
    assert "Failed to start etcd.service: Unit etcd.service not found." in said
    assert world.listed(url) == {}


def test_without_discovery_etcd_starts_alone(world):
    alone = SEED.format(url="x").replace("discovery: x", "name: y")
    assert "started alone" in world.boot(coreos(world, alone))


def test_a_discovery_service_that_is_down_is_reported(world):
    def down(*_):
        raise ConnectionRefusedError(111, "Connection refused")

    disk = coreos(world, SEED.format(url=world.token()))
    assert "does not answer (ConnectionRefusedError)" in world.boot(disk, fetch=down)
    assert "does not answer (JSONDecodeError)" in world.boot(disk, fetch=lambda *_: (200, "<p>"))
    assert "does not answer" in world.boot(disk, fetch=lambda *_: (200, "[]"))
    assert "does not answer" in world.boot(disk, fetch=lambda *_: (0, "no route"))
    member = flatcar(world, ignition(world.token()), how="-i FILE")
    assert "bad discovery endpoint" in world.boot(member, fetch=lambda *_: (503, "<p>"))


def test_a_disk_without_coreos_does_not_boot(world, tmp_path):
    images.create_blank(tmp_path / "blank", GIB)
    for disk in (None, tmp_path / "blank"):
        assert world.boot(disk) == "no bootable CoreOS on this disk"


@pytest.mark.parametrize("how", ["-o cloudstack -i FILE", "-i FILE", "-o cloudstack -c FILE"])
def test_flatcar_machines_join_by_their_ignition_config(world, how):
    url = world.token()
    disk = flatcar(world, ignition(url), how=how)
    for number in (1, 2, 3):
        world.boot(disk, number)
    assert sorted(world.listed(url).values()) == [
        f"{n:032x}=http://10.1.0.{n}:2380" for n in (1, 2, 3)
    ]


def test_flatcar_reads_ignition_from_user_data_unless_one_is_on_the_disk(world):
    baked, own = world.token(), world.token()
    empty = flatcar(world, "#cloud-config\n")
    world.boot(empty, userdata=ignition(own).encode())
    full = flatcar(world, ignition(baked), how="-o cloudstack -i FILE")
    world.boot(full, 2, userdata=ignition(own).encode())
    assert (len(world.listed(baked)), len(world.listed(own))) == (1, 1)


def test_a_full_cluster_accepts_no_more_members(world):
    url = world.token(size=2)
    disk = flatcar(world, ignition(url), how="-i FILE")
    first, _, third = (world.boot(disk, n) for n in (1, 2, 3))
    assert "1 of 2 known" in first
    assert "failed to join discovery cluster (discovery: cluster is full)" in third
    proxy = world.boot(flatcar(world, ignition(url, "proxy"), how="-i FILE"), 4)
    assert "falling back to proxy" in proxy
    assert len(world.listed(url)) == 2
    assert "2 of 2 known" in world.boot(disk, 1)


def test_an_unknown_token_has_no_size(world):
    text = world.boot(flatcar(world, ignition(f"{BASE}/{'0' * 32}"), how="-i FILE"))
    assert "discovery: size key not found" in text


def test_flatcars_cloud_config_may_find_the_address_with_a_unit_of_its_own(world):
    url = world.token()
    config = f"""\
#cloud-config
coreos:
  units:
    - name: address.service
      command: start
      content: |
        [Service]
        Type=oneshot
        ExecStart=/bin/sh -c 'echo "ETCD_INITIAL_ADVERTISE_PEER_URLS=http://$$(ip):2380" >/run/e'
    - name: etcd-member.service
      command: start
      drop-ins:
        - name: 20.conf
          content: |
            [Service]
            EnvironmentFile=/run/e
            Environment=ETCD_DISCOVERY={url}
            Environment="ETCD_NAME=%m"
"""
    world.boot(flatcar(world, config.replace("$$(ip)", "$${IP}")))
    assert list(world.listed(url).values()) == [f"{1:032x}=http://10.1.0.1:2380"]


def test_flatcar_reads_a_packed_cloud_config_and_2014s_coreos_does_not(world):
    packed = gzip.compress(b"#cloud-config\n")
    assert "first line" not in world.boot(flatcar(world, packed))
    assert "gzip" in world.boot(flatcar(world, packed[:-9]))
    assert "first line" in world.boot(coreos(world, packed))


SCRIPT = """\
write_files:
  - path: /opt/bin/own
    content: |
      #!/bin/sh
      ip=$(ip -4 route get 192.0.2.1 | grep -o 'src [0-9.]*')
      printf 'ETCD_ADDR=%s:4001\\nETCD_PEER_ADDR=%s:7001\\n' $ip $ip >/run/own.env
  - path: /etc/systemd/system/etcd.service.d/{name}
    content: |
      [Unit]
      Requires=own.service
      [Service]
      {line}
coreos:
  etcd:
    discovery: {url}
    addr: $private_ipv4:4001
    peer-addr: $private_ipv4:7001
  units:
    - name: own.service
      content: |
        [Service]
        Type=oneshot
        ExecStart=/bin/sh {program}
    - name: etcd.service
      command: start
"""
READ = {"name": "30-own.conf", "program": "/opt/bin/own", "line": "EnvironmentFile=/run/own.env"}


def plain(world: World, **changes) -> tuple[str, dict[str, str]]:
    """Return the journal of a machine of a plain image with such a config, and who registered."""
    url = world.token()
    config = "#cloud-config\n" + SCRIPT.format(url=url, **READ | changes)
    return world.boot(coreos(world, config, oem="")), world.listed(url)


def test_a_unit_that_finds_the_address_helps_a_plain_image(world):
    assert list(plain(world)[1].values()) == ["http://10.1.0.1:7001"]


def test_an_environment_file_wins_over_cloudinits_drop_in_whatever_its_name(world):
    assert list(plain(world, name="10-own.conf")[1].values()) == ["http://10.1.0.1:7001"]


@pytest.mark.parametrize(("name", "listed"), [("10-own.conf", 0), ("30-own.conf", 1)])
def test_variables_of_a_drop_in_win_only_if_it_comes_after_cloudinits(world, name, listed):
    line = "Environment=ETCD_ADDR=10.1.0.1:4001 ETCD_PEER_ADDR=10.1.0.1:7001"
    assert len(plain(world, name=name, line=line)[1]) == listed


@pytest.mark.parametrize(
    "wrong", [{"program": "/opt/bin/other"}, {"line": "EnvironmentFile=/run/other.env"}]
)
def test_an_environment_file_that_nothing_makes_keeps_etcd_from_starting(world, wrong):
    said, listed = plain(world, **wrong)
    assert "Failed to load environment files" in said and listed == {}


def test_a_drop_in_anywhere_else_is_not_read(world):
    said, listed = plain(world, name="x/30-own.conf")
    assert "missing protocol scheme" in said and listed == {}


def test_2014s_coreos_knows_no_drop_ins_of_units(world):
    url = world.token()
    drop_in = (
        "\n      drop-ins: [{name: 30-x.conf, content: 'Environment=ETCD_ADDR=10.1.0.1:4001'}]"
    )
    config = SEED.format(url=url).replace("- name: etcd.service", "- name: etcd.service" + drop_in)
    said = world.boot(coreos(world, config, oem=""))
    assert "missing protocol scheme" in said and world.listed(url) == {}
