"""Machines boot: they read their disk and user data, and register with the discovery service."""

import gzip
import json
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lib.localcloud.guests import boot, discovery, members
from lib.localcloud.workstation import images

from .stations import GIB, Station

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
        self.rows, self.station = {}, Station(folder)

    def fetch(self, method: str, url: str, form: dict | None) -> tuple[int, str]:
        path = urlsplit(url).path
        status, _, body = discovery.handle(self.rows, method, path, {}, form or {}, BASE)
        return status, body

    def token(self, size: int = 3) -> str:
        return discovery.handle(self.rows, "GET", "/new", {"size": str(size)}, {}, BASE)[2]

    def install(self, command: str, config: bytes | str) -> Path:
        """Return a disk after `command`, in which FILE is the file with the config."""
        row = self.station.blank(str(uuid.uuid4()), 4, 10 * GIB)
        self.station.show(row)
        file = self.station.home / "config"
        file.write_bytes(config if isinstance(config, bytes) else config.encode())
        device = self.station.blocks()[-1]["path"]
        done = self.station.run(f"{command.replace('FILE', str(file))} -d {device}")
        assert done.returncode == 0, done.stderr
        return Path(row["file"])

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


def test_machines_of_one_template_find_each_other_by_the_token_in_it(world):
    url = world.token()
    disk = coreos(world, SEED.format(url=url))
    journals = [world.boot(disk, n) for n in (1, 2, 3)]
    by_id = {f"{n:032x}": f"http://10.1.0.{n}:7001" for n in (1, 2, 3)}
    assert world.listed(url) == by_id
    assert "leads a new cluster" in journals[0] and "joined 2 others" in journals[2]
    assert url.rpartition("/")[2] not in "".join(journals)
    node = json.loads(world.fetch("GET", url, None)[1])["node"]["nodes"][0]
    assert 604790 < node["ttl"] <= 604800  # a week
    world.boot(disk, 1)
    assert world.listed(url) == by_id
    world.boot(disk, 4)  # of another cluster with the same token
    assert len(world.listed(url)) == 4


def test_a_machine_that_is_alone_at_its_second_boot_finds_nobody(world):
    disk = coreos(world, SEED.format(url=world.token()))
    world.boot(disk)
    assert "no reachable peers" in world.boot(disk)


def test_an_address_written_into_etc_environment_by_hand_helps_a_plain_image(world):
    url = world.token()
    disk = coreos(world, SEED.format(url=url), oem="")
    files = images.tree(disk, 9) | {"etc/environment": b"COREOS_PRIVATE_IPV4=10.1.0.174\n"}
    images.put_tree(disk, 9, files, kind="btrfs", label="ROOT")
    world.boot(disk)
    assert list(world.listed(url).values()) == ["http://10.1.0.174:7001"]


def test_a_machine_with_a_numeric_id_or_a_name_of_its_own_registers_too(world):
    url = world.token()
    world.boot(coreos(world, SEED.format(url=url)), id="53553")
    named = SEED.format(url=url).replace("peer-addr", "name: one\n      peer-addr")
    world.boot(coreos(world, named), 2)
    first, second = world.listed(url)
    assert (len(first), second) == (32, "one")


# A unit finds the address of the machine, as our own texts have it for a plain image.
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
OWN_UNIT = """\
#cloud-config
coreos:
  units:
    - name: address.service
      command: start
      content: |
        [Service]
        Type=oneshot
        ExecStart=/bin/sh -c 'echo "ETCD_INITIAL_ADVERTISE_PEER_URLS=http://$${IP}:2380" >/run/e'
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
FIND = {"name": "30-own.conf", "program": "/opt/bin/own", "line": "EnvironmentFile=/run/own.env"}
SET = "Environment=ETCD_ADDR=10.1.0.1:4001 ETCD_PEER_ADDR=10.1.0.1:7001"
DROP_IN = "\n      drop-ins: [{name: 30-x.conf, content: 'Environment=ETCD_ADDR=10.1.0.1:4001'}]"
EMPTY, OEM, PLAIN = (
    "#cloud-config\n",
    "coreos-install -o cloudstack -c FILE",
    "coreos-install -c FILE",
)
TODAY = "flatcar-install -o cloudstack -c FILE"
ADDRESS, SCHEME = "http://10.1.0.1:7001", "parse :4001: missing protocol scheme"
MEMBER = f"{1:032x}=http://10.1.0.1:2380"
FIRST = 'first line must be "#cloud-config"'


def found(**changes: str) -> str:
    """Return the config whose unit finds the address, with changes; the URL is yet to come."""
    return EMPTY + SCRIPT.format(url="{url}", **FIND | changes)


@pytest.mark.parametrize(
    ("install", "config", "userdata", "listed", "message"),
    [
        (PLAIN, SEED, None, [], SCHEME),
        (OEM, EMPTY, SEED, [ADDRESS], "leads a new cluster"),
        (PLAIN, EMPTY, SEED, [], ""),
        (OEM, SEED.replace("command: start", "enable: false"), None, [], ""),
        (OEM, SEED.replace("discovery: {url}", "name: y"), None, [], "started alone"),
        (TODAY, SEED, None, [], "Failed to start etcd.service: Unit etcd.service not found."),
        (PLAIN, SEED.replace("- name: etcd.service", f"- name: etcd.service{DROP_IN}"), None, [],
         SCHEME),  # 2014's CoreOS knows no drop-ins of units
        (PLAIN, found(), None, [ADDRESS], ""),
        (PLAIN, found(name="10-own.conf"), None, [ADDRESS], ""),  # it wins over any drop-in
        (PLAIN, found(name="10-own.conf", line=SET), None, [], SCHEME),  # 20-cloudinit.conf wins
        (PLAIN, found(name="30-own.conf", line=SET), None, [ADDRESS], ""),
        (PLAIN, found(name="x/30-own.conf"), None, [], SCHEME),
        (PLAIN, found(program="/opt/bin/other"), None, [], "Failed to load environment files"),
        (PLAIN, found(line="EnvironmentFile=/run/other.env"), None, [], "Failed to load environm"),
        (TODAY, OWN_UNIT, None, [MEMBER], ""),
        (OEM, "\n#cloud-config\n", None, [], FIRST),
        (OEM, "# cloud-config\n", None, [], FIRST),
        (OEM, "\ufeff#cloud-config\n", None, [], FIRST),
        (OEM, "#cloud-config\na: [\n", None, [], "yaml: "),
        (OEM, "#!/bin/sh\n", None, [], "a script"),
        (OEM, "#cloud-config\n- a\n", None, [], ""),
        (OEM, "", None, [], ""),
        (OEM, "#cloud-config  \ncoreos: 1\nunknown: 2\n", None, [], ""),
        (TODAY, gzip.compress(EMPTY.encode(), mtime=0), None, [], ""),
        (TODAY, gzip.compress(EMPTY.encode(), mtime=0)[:-9], None, [], "gzip"),
        (OEM, gzip.compress(EMPTY.encode(), mtime=0), None, [], FIRST),
    ],
)  # fmt: skip
def test_a_machine_registers_as_configured(world, install, config, userdata, listed, message):
    url = world.token()
    config = config if isinstance(config, bytes) else config.replace("{url}", url)
    more = {"userdata": userdata.format(url=url).encode()} if userdata else {}
    journal = world.boot(world.install(install, config), **more)
    assert list(world.listed(url).values()) == listed
    assert message in journal and (message or listed or "etcd" not in journal)


def test_user_data_override_the_configuration_on_the_disk_unless_both_are_ignition(world):
    baked, own = world.token(), world.token()
    disk = coreos(world, SEED.format(url=baked))
    world.boot(disk, userdata=SEED.format(url=own).encode())
    assert (len(world.listed(baked)), len(world.listed(own))) == (0, 1)
    world.boot(flatcar(world, EMPTY), 2, userdata=ignition(own).encode())
    full = flatcar(world, ignition(baked), how="-o cloudstack -i FILE")
    world.boot(full, 3, userdata=ignition(own).encode())
    assert (len(world.listed(baked)), len(world.listed(own))) == (1, 2)


def test_a_discovery_service_that_is_down_is_reported(world):
    def down(*_):
        raise ConnectionRefusedError(111, "Connection refused")

    disk = coreos(world, SEED.format(url=world.token()))
    assert "does not answer (ConnectionRefusedError)" in world.boot(disk, fetch=down)
    for answer in ((200, "<p>"), (200, "[]"), (0, "no route")):
        assert "does not answer" in world.boot(disk, fetch=lambda *_, message=answer: message)
    member = flatcar(world, ignition(world.token()), how="-i FILE")
    assert "bad discovery endpoint" in world.boot(member, fetch=lambda *_: (503, "<p>"))
    unknown = flatcar(world, ignition(f"{BASE}/{'0' * 32}"), how="-i FILE")
    assert "discovery: size key not found" in world.boot(unknown)


def test_a_disk_without_coreos_does_not_boot(world, tmp_path):
    images.create_blank(tmp_path / "blank", GIB)
    for disk in (None, tmp_path / "blank"):
        assert world.boot(disk) == "no bootable CoreOS on this disk"


@pytest.mark.parametrize("how", ["-o cloudstack -i FILE", "-i FILE", "-o cloudstack -c FILE"])
def test_flatcar_machines_join_by_their_ignition_config_until_the_cluster_is_full(world, how):
    url = world.token()
    disk = flatcar(world, ignition(url), how=how)
    first, *_ = journals = [world.boot(disk, number) for number in (1, 2, 3, 4)]
    assert sorted(world.listed(url).values()) == [
        f"{n:032x}=http://10.1.0.{n}:2380" for n in (1, 2, 3)
    ]
    assert "1 of 3 known" in first and "3 of 3 known" in world.boot(disk, 1)
    assert "failed to join discovery cluster (discovery: cluster is full)" in journals[3]
    proxy = flatcar(world, ignition(url, "proxy"), how="-i FILE")
    assert "falling back to proxy" in world.boot(proxy, 5)
