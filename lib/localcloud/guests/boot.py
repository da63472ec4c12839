"""The boot of a machine from a CoreOS disk, as far as the network shows it.

It reads the notes of the image, the configuration on the disk and, where the image supports it, the
user data. Then its etcd registers with the discovery service, or a real etcd starts with the same
settings. Programs in the configuration are not run: a shell variable in an address stands for the
machine's own address, which such programs would find.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import yaml

from ..workstation import images
from ..workstation.images import Path
from . import settings

Fetch = Callable[[str, str, dict | None], tuple[int, str | bytes]]
Run = Callable[[list[str], dict[str, str]], str]  # arguments and variables -> line of the journal
Put = Callable[[str, str], None]  # path and text of a file below /run
BAD_ENDPOINT = "discovery: bad discovery endpoint"
TTL = 604800  # seconds that a registration of etcd 0.4 lives
STARTS = {"start", "restart", "reload-or-restart"}
# The units of an image; another one starts only if the configuration has its text.
SHIPPED = {"coreos": {"etcd.service", "fleet.service"}, "flatcar": {"etcd-member.service"}}
MEMBERS = {"etcd2.service": "etcd2", "etcd-member.service": ""}  # unit, section of cloud-config


class Machine(NamedTuple):
    """The machine that boots; `ident` is coreos or flatcar."""

    ident: str
    version: str
    oem: str
    id: str
    address: str
    fetch: Fetch
    run: Run | None


class Config(NamedTuple):
    """The merged configurations of a machine; later ones win."""

    sections: dict[str, dict]
    units: dict[str, dict]  # name -> started (bool), text, own (its text is given, not only more)
    files: dict[str, str]


class BadConfig(Exception):
    """A configuration is not applied; the text is the line of the machine's journal."""


def boot(
    disk: Path | None,
    *,
    machine: str,
    hostname: str,
    address: str,
    userdata: bytes | None,
    fetch: Fetch,
    run: Run | None = None,
    put: Put = lambda path, text: None,
) -> list[str]:
    """Boot, register with the discovery service, and return the lines of the journal.

    `fetch(method, url, form)` returns status and body; without an answer it raises OSError, or
    the status is 0. Another boot registers the same name again. No line has a token.
    `run(arguments, variables)` starts a real etcd; without it a stand-in is used.
    `put(path, text)` writes the files that coreos-cloudinit creates below /run for etcd.
    """
    if disk is None or not (about := _os_release(disk)):
        return ["no bootable CoreOS on this disk"]
    oem = _variables(images.tree(disk, 6).get("oem-release", b"")).get("ID", "")
    ident = machine.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{32}", ident):
        ident = hashlib.md5(machine.encode(), usedforsecurity=False).hexdigest()
    self = Machine(about["ID"], about["VERSION"], oem, ident, address, fetch, run)
    lines = [f"{hostname}: {about['NAME']} {self.version}{oem and f' ({oem})'} at {address}"]
    config = Config({}, {}, {})
    for source, text in _sources(disk, self, userdata):
        try:
            _apply(config, text, self, _addresses(disk, self))
        except BadConfig as error:
            lines.append(f"coreos-cloudinit: {source}: {error}")
    _put_drop_ins(config, put)
    return lines + _start(config, self)


def _put_drop_ins(config: Config, put: Put) -> None:
    """Write the drop-ins that coreos-cloudinit creates from the sections for etcd."""
    for name in config.sections.keys() & {"etcd", "etcd2"}:
        pairs = config.sections[name].items()
        lines = [f'Environment="ETCD_{k.upper()}={"" if v is None else v}"' for k, v in pairs]
        path = f"systemd/system/{name}.service.d/{settings.CLOUDINIT}"
        put(path, "\n".join(["[Service]", *lines, ""]))


def _os_release(disk: Path) -> dict[str, str]:
    numbers = {p.number for p in images.read_partitions(disk)}
    if not {3, 6, 9} <= numbers:
        return {}
    return _variables(images.tree(disk, 3).get("lib/os-release", b""))


def _variables(text: bytes) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.decode(errors="replace").splitlines())
    return {name: value.strip('"') for name, mark, value in pairs if mark}


def _sources(disk: Path, self: Machine, userdata: bytes | None) -> Iterator[tuple[str, bytes]]:
    """Yield the configurations that this image reads, in the order in which they apply.

    Only the image for CloudStack reads the user data, unless there is an Ignition file on the disk.
    """
    local = images.tree(disk, 9).get(f"var/lib/{self.ident}-install/user_data")
    baked = images.tree(disk, 6).get("config.ign") if self.ident == "flatcar" else None
    if baked is not None:
        yield "config.ign", baked
    if local is not None:
        yield "user_data", local
    ignition = userdata is not None and userdata.lstrip().startswith(b"{")
    if userdata is not None and self.oem == "cloudstack" and not (ignition and baked is not None):
        yield "/latest/user-data", userdata


def _addresses(disk: Path, self: Machine) -> dict[str, str]:
    """Return the values of $private_ipv4 and $public_ipv4, none on a plain image.

    There only /etc/environment counts, which an operator may have written.
    """
    known = _variables(images.tree(disk, 9).get("etc/environment", b""))
    own = self.address if self.oem == "cloudstack" else ""
    return {n: known.get(f"COREOS_{n.upper()}") or own for n in ("private_ipv4", "public_ipv4")}


def _apply(config: Config, raw: bytes, self: Machine, addresses: dict[str, str]) -> None:
    """Merge a configuration into the others; BadConfig if the machine would refuse it."""
    if raw.startswith(b"\x1f\x8b") and self.ident == "flatcar":
        raw = _unpacked(raw)
    text = raw.decode("utf-8", errors="replace")
    first = text.split("\n", 1)[0].rstrip()
    if text.lstrip().startswith("{"):
        _apply_ignition(config, text, self)
    elif first == "#cloud-config":
        _apply_cloud_config(config, _substituted(text, self, addresses), self)
    elif first.startswith("#!"):
        raise BadConfig("a script; this stand-in runs none")
    elif text:
        raise BadConfig('first line must be "#cloud-config" or begin with "#!"; nothing applied')


def _unpacked(raw: bytes) -> bytes:
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise BadConfig(f"gzip: {error}") from None


def _substituted(text: str, self: Machine, addresses: dict[str, str]) -> str:
    for name, value in addresses.items():
        # A backslash keeps the name as it is, but not yet in 2014.
        before = r"(?<!\\)" if self.ident == "flatcar" else ""
        text = re.sub(rf"{before}\${name}", value, text)
        text = text.replace(f"\\${name}", f"${name}")
    return text


def _apply_cloud_config(config: Config, text: str, self: Machine) -> None:
    try:
        data = _plain_keys(yaml.safe_load(text))
    except (yaml.YAMLError, ValueError) as error:
        raise BadConfig(f"yaml: {str(error).splitlines()[0]}; nothing applied") from None
    data = data if isinstance(data, dict) else {}
    coreos = _dict(data.get("coreos"))
    config.sections.update({k: v for k, v in coreos.items() if isinstance(v, dict)})
    for file in _dicts(data.get("write_files")):
        config.files[str(file.get("path"))] = str(file.get("content", ""))
    for unit in _dicts(coreos.get("units")):
        started = unit.get("command") in STARTS or unit.get("enable") is True
        drop_ins = _dicts(unit.get("drop_ins")) if self.ident == "flatcar" else []  # none in 2014
        more = [str(d.get("content", "")) for d in drop_ins]
        _add_unit(config, unit, started, unit.get("content"), more)


def _plain_keys(value: object) -> object:
    """Return keys with `_` for `-`, which coreos-cloudinit treats alike."""
    if isinstance(value, dict):
        return {str(k).replace("-", "_"): _plain_keys(v) for k, v in value.items()}
    return [_plain_keys(v) for v in value] if isinstance(value, list) else value


def _dict(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _apply_ignition(config: Config, text: str, self: Machine) -> None:
    """Take units and their drop-ins from an Ignition config."""
    if self.ident != "flatcar":
        raise BadConfig("Detected an Ignition config. Exiting...")
    try:
        data = json.loads(text)
    except ValueError as error:
        raise BadConfig(f"Ignition: {error}") from None
    for unit in _dicts(_dict(data.get("systemd")).get("units")):
        started = unit.get("enabled") is True or unit.get("enable") is True
        more = [str(d.get("contents", "")) for d in _dicts(unit.get("dropins"))]
        _add_unit(config, unit, started, unit.get("contents"), more)


def _add_unit(config: Config, unit: dict, started: bool, own: str | None, more: list[str]) -> None:
    text = "\n".join([own or "", *more])
    config.units[str(unit.get("name"))] = {"started": started, "text": text, "own": bool(own)}


def _start(config: Config, self: Machine) -> list[str]:
    """Start the units, and return the lines on them."""
    lines = []
    for name, unit in config.units.items():
        if not unit["started"]:
            continue
        if name not in SHIPPED[self.ident] and not unit["own"]:
            lines.append(f"Failed to start {name}: Unit {name} not found.")
        elif name == "etcd.service":
            lines += _started(_start_etcd, config, name, "etcd", self)
        elif name in MEMBERS:
            start = _run_member if self.run else _start_member
            lines += _started(start, config, name, MEMBERS[name], self)
    return lines


def _started(start: Callable, config: Config, name: str, section: str, self: Machine) -> list[str]:
    given = config.sections.get(section, {})
    try:
        told = settings.read(name, config.units, config.files, given)
    except FileNotFoundError as error:
        return [f"{name}: Failed to load environment files: {error}: No such file or directory"]
    try:
        return start(told, self)
    except (OSError, ValueError, KeyError) as error:  # no answer, or not one of etcd's
        return [f"{name}: the discovery service does not answer ({type(error).__name__})"]


def _run_member(told: settings.Settings, self: Machine) -> list[str]:
    """Run a real etcd."""
    said = self.run(told.arguments(self.address, self.id), told.variables(self.address))
    return [f"etcd: {said}"]


def _start_etcd(told: settings.Settings, self: Machine) -> list[str]:
    """Act as etcd 0.4: register the name, then start the cluster or join the others."""
    setting = partial(told.get, address=self.address)
    addr = setting("addr") or "127.0.0.1:4001"
    peer = setting("peer_addr") or "127.0.0.1:7001"
    for value in (addr, peer):
        if value.startswith(":"):
            why = f"Advertised URL: parse {value}: missing protocol scheme"
            return [f"etcd: failed sanitizing configuration: {why}"]
    base, name = setting("discovery"), setting("name") or self.id
    if not base:
        return ["etcd: started alone: no discovery"]
    others = _listed(base, self).keys() - {name}
    form = {"value": f"http://{peer}", "ttl": str(TTL)}
    status, _ = _ask(self, "PUT", f"{base}/{name}", form)
    if status not in (200, 201):
        return [f"etcd: discovery refused the registration (HTTP {status})"]
    state = {"value": "started", "prevExist": "false"}
    first = _ask(self, "PUT", f"{base}/_state", state)[0] == 201
    if not first and not others:
        why = "Discovery found an initialized cluster but no reachable peers are registered."
        return [f"etcd: {why}"]
    return [f"etcd: {'leads a new cluster' if first else f'joined {len(others)} others'} as {name}"]


def _ask(self: Machine, method: str, url: str, form: dict | None) -> tuple[int, str | bytes]:
    """Return status and body of an answer; ConnectionError if there was none (status 0)."""
    status, body = self.fetch(method, url, form)
    if status == 0:
        raise ConnectionError("no answer")
    return status, body


def _listed(base: str, self: Machine) -> dict[str, int]:
    """Return the registered names with the index at which each was created."""
    status, body = _ask(self, "GET", base, None)
    nodes = _node(body).get("nodes", []) if status == 200 else []
    return {n["key"].rpartition("/")[2]: n["createdIndex"] for n in nodes}


def _node(body: str | bytes) -> dict:
    node = _dict(json.loads(body)).get("node")
    if not isinstance(node, dict):
        raise ValueError("not an answer of etcd's")
    return node


def _start_member(told: settings.Settings, self: Machine) -> list[str]:
    """Act as etcd 2 or 3: create the member id, unless the cluster is full."""
    setting = partial(told.get, address=self.address)
    base, known = setting("discovery"), setting("initial_cluster")
    if not base:
        return _join_fixed(known, setting) if known else ["etcd: started alone: no discovery"]
    status, body = _ask(self, "GET", f"{base}/_config/size", None)
    if status != 200:
        return [f"etcd: {'discovery: size key not found' if status == 404 else BAD_ENDPOINT}"]
    size = int(_node(body)["value"])
    urls = setting("initial_advertise_peer_urls") or "http://localhost:2380"
    name = (setting("name") or self.id).replace("%m", self.id)
    member = hashlib.sha1(f"{urls}etcd-cluster".encode(), usedforsecurity=False).hexdigest()[:16]
    member = member.lstrip("0")
    before = _listed(base, self)
    if member not in before:
        if len(before) >= size:
            return _full(setting("discovery_fallback"))
        form = {"value": f"{name}={urls}", "prevExist": "false"}
        _ask(self, "PUT", f"{base}/{member}", form)
    listed = _listed(base, self)
    if member not in sorted(listed, key=listed.__getitem__)[:size]:
        return _full(setting("discovery_fallback"))
    return [f"etcd: member {member}, {len(listed)} of {size} known"]


def _join_fixed(known: str, setting: Callable[[str], str | None]) -> list[str]:
    """Act as a member of a static cluster; refuse a name that is not in its list."""
    members = dict(member.partition("=")[::2] for member in known.split(","))
    name, urls = setting("name") or "default", setting("initial_advertise_peer_urls")
    if name not in members:
        return [f'etcd: couldn\'t find local name "{name}" in the initial cluster configuration']
    if members[name] != urls:
        return [f"etcd: --initial-cluster has {members[name]} but missing from {urls}"]
    return [f"etcd: member {name} of {len(members)} that know each other"]


def _full(fallback: str | None) -> list[str]:
    """Return the line of a surplus member: it becomes a proxy, or exits if so configured."""
    if fallback == "exit":
        return ["etcd: failed to join discovery cluster (discovery: cluster is full)"]
    return ["etcd: discovery: cluster is full", "etcd: falling back to proxy"]
