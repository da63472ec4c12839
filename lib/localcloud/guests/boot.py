"""The boot of a machine from a CoreOS disk, as far as the network shows it.

It reads the notes of the image, the configuration on the disk and, where the image supports it, the
user data. Then its etcd registers with the discovery service, or a real etcd starts with the same
settings. Programs in the configuration are not run (see `settings`).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import yaml

from ..state.seeds import NO_YAML
from ..workstation import images
from ..workstation.images import Path
from . import members, settings
from .members import Machine

STARTS = {"start", "restart", "reload-or-restart"}
# The units of an image; another one starts only if the configuration has its text.
SHIPPED = {"coreos": {"etcd.service", "fleet.service"}, "flatcar": {"etcd-member.service"}}
ETCDS = {"etcd.service": members.start_etcd, "etcd-member.service": members.start_member}
CLOUDINIT = "systemd/system/etcd.service.d/20-cloudinit.conf"  # below /run


class Image(NamedTuple):
    """The image on a disk; `ident` is coreos or flatcar."""

    ident: str
    name: str
    version: str
    oem: str


class Config(NamedTuple):
    """The merged configurations of a machine; later ones win. Drop-ins of units are files."""

    sections: dict[str, dict]
    units: dict[str, settings.Unit]
    files: dict[str, str]


class BadConfig(Exception):
    """A configuration is not applied; the text is the line of the machine's journal."""


def boot(disk: Path | None, machine: Machine, userdata: bytes | None) -> list[str]:
    """Boot, register with the discovery service, and return the lines of the journal.

    Another boot registers the same name again. No line has a token.
    """
    image = _image(disk) if disk else None
    if disk is None or image is None:
        return ["no bootable CoreOS on this disk"]
    oem = image.oem and f" ({image.oem})"
    lines = [f"{machine.hostname}: {image.name} {image.version}{oem} at {machine.address}"]
    config = Config({}, {}, {})
    for source, text in _sources(disk, image, userdata):
        try:
            _apply(config, text, image, _addresses(disk, image, machine.address))
        except BadConfig as error:
            lines.append(f"coreos-cloudinit: {source}: {error}")
    _write_section(config, machine)
    here = machine._replace(id=_machine_id(machine.id))
    started = [name for name, unit in config.units.items() if unit.started]
    return lines + [line for name in started for line in _start(config, name, image, here)]


def _machine_id(id: str) -> str:
    """Return what /etc/machine-id holds."""
    plain = id.replace("-", "").lower()
    is_uuid = re.fullmatch(r"[0-9a-f]{32}", plain)
    return plain if is_uuid else hashlib.md5(id.encode(), usedforsecurity=False).hexdigest()


def _write_section(config: Config, machine: Machine) -> None:
    """Write the drop-in that coreos-cloudinit creates from the section for etcd."""
    if "etcd" in config.sections:
        pairs = config.sections["etcd"].items()
        lines = [f'Environment="ETCD_{k.upper()}={"" if v is None else v}"' for k, v in pairs]
        config.files[f"/run/{CLOUDINIT}"] = text = "\n".join(["[Service]", *lines, ""])
        machine.put(CLOUDINIT, text)


def _image(disk: Path) -> Image | None:
    numbers = {p.number for p in images.read_partitions(disk)}
    if not {3, 6, 9} <= numbers:
        return None
    about = _variables(images.tree(disk, 3).get("lib/os-release", b""))
    oem = _variables(images.tree(disk, 6).get("oem-release", b"")).get("ID", "")
    return Image(about["ID"], about["NAME"], about["VERSION"], oem) if about else None


def _variables(text: bytes) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.decode(errors="replace").splitlines())
    return {name: value.strip('"') for name, mark, value in pairs if mark}


def _sources(disk: Path, image: Image, userdata: bytes | None) -> Iterator[tuple[str, bytes]]:
    """Yield the configurations that this image reads, in the order in which they apply.

    Only the image for CloudStack reads the user data, unless there is an Ignition file on the disk.
    """
    local = images.tree(disk, 9).get(f"var/lib/{image.ident}-install/user_data")
    baked = images.tree(disk, 6).get("config.ign") if image.ident == "flatcar" else None
    if baked is not None:
        yield "config.ign", baked
    if local is not None:
        yield "user_data", local
    ignition = userdata is not None and userdata.lstrip().startswith(b"{")
    if userdata is not None and image.oem == "cloudstack" and not (ignition and baked is not None):
        yield "/latest/user-data", userdata


def _addresses(disk: Path, image: Image, address: str) -> dict[str, str]:
    """Return the values of $private_ipv4 and $public_ipv4, none on a plain image.

    There only /etc/environment counts, which an operator may have written.
    """
    known = _variables(images.tree(disk, 9).get("etc/environment", b""))
    own = address if image.oem == "cloudstack" else ""
    return {n: known.get(f"COREOS_{n.upper()}") or own for n in ("private_ipv4", "public_ipv4")}


def _apply(config: Config, raw: bytes, image: Image, addresses: dict[str, str]) -> None:
    """Merge a configuration into the others; BadConfig if the machine would refuse it."""
    if raw.startswith(b"\x1f\x8b") and image.ident == "flatcar":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise BadConfig(f"gzip: {error}") from None
    text = raw.decode("utf-8", errors="replace")
    first = text.split("\n", 1)[0].rstrip()
    if text.lstrip().startswith("{"):
        _apply_ignition(config, text, image)
    elif first == "#cloud-config":
        _apply_cloud_config(config, _substituted(text, image, addresses), image)
    elif first.startswith("#!"):
        raise BadConfig("a script; this stand-in runs none")
    elif text:
        raise BadConfig('first line must be "#cloud-config" or begin with "#!"; nothing applied')


def _substituted(text: str, image: Image, addresses: dict[str, str]) -> str:
    for name, value in addresses.items():
        # A backslash keeps the name as it is, but not yet in 2014.
        before = r"(?<!\\)" if image.ident == "flatcar" else ""
        text = re.sub(rf"{before}\${name}", value, text)
        text = text.replace(f"\\${name}", f"${name}")
    return text


def _apply_cloud_config(config: Config, text: str, image: Image) -> None:
    try:
        data = _plain_keys(yaml.safe_load(text))
    except NO_YAML as error:
        raise BadConfig(f"yaml: {str(error).splitlines()[0]}; nothing applied") from None
    data = data if isinstance(data, dict) else {}
    coreos = _dict(data.get("coreos"))
    config.sections.update({k: v for k, v in coreos.items() if isinstance(v, dict)})
    for file in _dicts(data.get("write_files")):
        config.files[str(file.get("path"))] = str(file.get("content", ""))
    for unit in _dicts(coreos.get("units")):
        started = unit.get("command") in STARTS or unit.get("enable") is True
        drop_ins = unit.get("drop_ins") if image.ident == "flatcar" else []  # none in 2014
        _add_unit(config, unit, started, unit.get("content"), drop_ins)


def _plain_keys(value: object) -> object:
    """Return keys with `_` for `-`, which coreos-cloudinit treats alike."""
    if isinstance(value, dict):
        return {str(k).replace("-", "_"): _plain_keys(v) for k, v in value.items()}
    return [_plain_keys(v) for v in value] if isinstance(value, list) else value


def _dict(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _apply_ignition(config: Config, text: str, image: Image) -> None:
    """Take units and their drop-ins from an Ignition config."""
    if image.ident != "flatcar":
        raise BadConfig("Detected an Ignition config. Exiting...")
    try:
        data = json.loads(text)
    except ValueError as error:
        raise BadConfig(f"Ignition: {error}") from None
    for unit in _dicts(_dict(data.get("systemd")).get("units")):
        started = unit.get("enabled") is True or unit.get("enable") is True
        _add_unit(config, unit, started, unit.get("contents"), unit.get("dropins"))


def _add_unit(
    config: Config, unit: dict, started: bool, text: str | None, drop_ins: object
) -> None:
    name = str(unit.get("name"))
    config.units[name] = settings.Unit(started, text or "")
    for one in _dicts(drop_ins):
        content = one.get("contents", one.get("content", ""))
        config.files[f"/etc/systemd/system/{name}.d/{one.get('name')}"] = str(content)


def _start(config: Config, name: str, image: Image, machine: Machine) -> list[str]:
    """Start a unit, and return the lines on it."""
    if name not in SHIPPED[image.ident] and not config.units[name].text:
        return [f"Failed to start {name}: Unit {name} not found."]
    if name not in ETCDS:
        return []
    try:
        read = settings.read(name, config.units, config.files, (machine.id, machine.address))
        return ETCDS[name](read, machine)
    except FileNotFoundError as error:
        return [f"{name}: Failed to load environment files: {error}: No such file or directory"]
    except (OSError, ValueError, KeyError) as error:  # no answer, or not one of etcd's
        return [f"{name}: the discovery service does not answer ({type(error).__name__})"]
