"""Seeds: what a new cloud holds, read from YAML files, with every fault of them."""

import difflib
import hashlib
import ipaddress
import json
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml

from .cloud import LIMITS
from .dialects import DIALECTS

FOLDER = Path(__file__).resolve().parents[1] / "seeds"
Seed = dict[str, Any]
MOST = 2**31 - 1
LARGEST = 10_000_000  # bytes
# PyYAML fails at some values, such as `2026-99-99` or `!!int ""`, with errors of Python.
NO_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


class BadSeed(Exception):
    """A seed cannot be used; the text names each fault and what was expected."""


class OtherSeed(Exception):
    """A cloud was made from another seed."""


def other(folder: object, seed: object) -> str:
    """Return the text for a folder that holds a cloud from another seed."""
    return (
        f"{folder} holds a cloud made from another seed than {seed}. `reset` deletes it, and all "
        "clusters in it; with RUNBOOK_LOCALCLOUD=FOLDER the new one has a folder of its own."
    )


def digest(seed: Seed) -> str:
    """Return the checksum of a seed's content."""
    return hashlib.sha256(json.dumps(seed, sort_keys=True).encode()).hexdigest()


def _number(least: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= MOST


def _parses(parse: Callable[[str], object]) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        try:
            parse(value)
        except ValueError:
            return False
        return isinstance(value, str)

    return check


# What a security group lets in: protocol, first and last port (ICMP's type, code), CIDR or group.
RULE = re.compile(r"(\w+) (-?\d+)-(-?\d+) (\S.*)")

# Kinds of values: what is expected, and how it is checked.
KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text", lambda value: isinstance(value, str) and bool(value.strip())),
    "count": ("a whole number, 1 or more", _number(1)),
    "size": ("a whole number, 0 or more", _number(0)),
    "limit": ("a whole number, or -1 for no limit", _number(-1)),
    "flag": ("true or false", lambda value: isinstance(value, bool)),
    "address": ("an address such as 10.1.0.11", _parses(ipaddress.IPv4Address)),
    "cidr": ("a network such as 10.1.0.0/24", _parses(ipaddress.IPv4Network)),
    "source": ("a CIDR", _parses(partial(ipaddress.ip_network, strict=False))),
    "machinestate": ("Running or Stopped", lambda value: value in ("Running", "Stopped")),
    "zonetype": ("Advanced or Basic", lambda value: value in ("Advanced", "Basic")),
    "rules": (
        'a list of texts such as "tcp 22-22 0.0.0.0/0" or "all 0-0 GROUP"',
        lambda value: isinstance(value, list) and all(RULE.fullmatch(str(v)) for v in value),
    ),
}
# The keys of each section, `key:kind`, `!` after those that must be there. A kind that is a section
# is the name of one of its rows.
LISTS = {
    "zones": "name:text! type:zonetype id:count",
    "networks": "name:text! zone:zones! cidr:cidr! first:address last:address "
    "default:flag id:count",
    "service_offerings": "name:text! cpus:count memory:count tags:text id:count",
    "disk_offerings": "name:text! size:count id:count",
    "os_categories": "name:text! id:count",
    "os_types": "name:text! category:os_categories! id:count",
    "templates": "name:text! displaytext:text size:count! os_type:os_types! id:count",
    "disks": "name:text! size:count! mount:text id:count",
    "machines": "name:text! state:machinestate network:networks! zone:zones address:address! "
    "offering:service_offerings! template:templates! id:count",
    "volumes": "name:text! size:count! zone:zones! machine:machines root:flag id:count",
    "security_groups": "name:text! rules:rules",
}
MAY_BE_EMPTY = ("machines", "volumes", "security_groups")
TABLES = {
    "workstation": "name:text network:networks zone:zones address:address "
    "offering:service_offerings "
    "template:templates id:count",
    "limits": " ".join(f"{name}:limit" for name in LIMITS),
    "capacity": "hosts:size cpus:size memory:size jobs:count",
    "configuration": "default.page.size:count vm.userdata.max.length:count "
    "custom.diskoffering.size.min:count custom.diskoffering.size.max:count expunge.delay:size "
    "allow.user.expunge.recover.vm:flag",
}
SECTIONS = ("dialect", *(name for name in LISTS if name != "disks"), *TABLES)


@cache
def default(dialect: str) -> Seed:
    """Return the seed of a new cloud of that dialect."""
    newest = yaml.safe_load((FOLDER / "4.22.yaml").read_text("utf-8"))
    return _merged(newest, yaml.safe_load((FOLDER / f"{dialect}.yaml").read_text("utf-8")))


def read(path: Path, dialect: str = "") -> Seed:
    """Return the seed of a file, merged into that of its dialect, the newest if it names none.

    Raises BadSeed for a file that cannot be read, for all its faults at once, and if it is for
    another dialect than the one given.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise BadSeed(f"{path}: expected a seed of {LARGEST:,} bytes at most")
        given = yaml.safe_load(text.decode())
    except (OSError, *NO_YAML) as error:
        raise BadSeed(f"{path}: expected a seed in YAML: {error}") from None
    if not isinstance(given, dict):
        raise BadSeed(f"{path}: expected a table with some of {', '.join(SECTIONS)}")
    named = str(given.get("dialect") or dialect or "4.22")
    faults = list(_unknown("", given, SECTIONS))
    if named not in DIALECTS or (dialect and named != dialect):
        wanted = dialect or " or ".join(DIALECTS)
        faults.append(f"dialect: expected {wanted}, found {given['dialect']!r}")
        raise BadSeed(_listed(path, faults))
    seed = _merged(default(named), {k: v for k, v in given.items() if k in SECTIONS})
    faults += _faults(seed) or _misfits(seed)
    if faults:
        raise BadSeed(_listed(path, faults))
    return seed | {"dialect": named}


def _listed(path: Path, faults: list[str]) -> str:
    return "\n".join(f"{path}: {fault}" for fault in faults)


def _merged(base: Seed, given: Seed) -> Seed:
    """Return a seed with the lists and values of another, and its tables merged."""
    tables = {k: base[k] | v for k, v in given.items() if k in TABLES and isinstance(v, dict)}
    return base | given | tables


def _faults(seed: Seed) -> list[str]:
    found = [f for name in LISTS if name != "disks" for f in _rows(seed, name, seed[name], name)]
    for name, keys in TABLES.items():
        if not isinstance(seed[name], dict):
            found.append(f"{name}: expected a table, found {seed[name]!r}")
            continue
        row = {k: v for k, v in seed[name].items() if (name, k) != ("workstation", "disks")}
        found += _row(seed, name, row, keys)
    if isinstance(seed["workstation"], dict):
        disks = seed["workstation"]["disks"]
        found += _rows(seed, "disks", disks, "workstation.disks")
    return found


def _rows(seed: Seed, section: str, rows: Any, where: str) -> Iterator[str]:
    if not isinstance(rows, list) or (not rows and section not in MAY_BE_EMPTY):
        yield f"{where}: expected a list of one or more, found {rows!r}"
        return
    for number, row in enumerate(rows):
        if isinstance(row, dict):
            yield from _row(seed, f"{where}[{number}]", row, LISTS[section])
        else:
            yield f"{where}[{number}]: expected a table, found {row!r}"
    named = [row for row in rows if isinstance(row, dict) and row.get("name") is not None]
    in_zones = section == "networks"  # two zones may have networks of one name
    names = [(str(r["name"]), str(r.get("zone")) if in_zones else "") for r in named]
    for name in {n for n, zone in names if names.count((n, zone)) > 1}:
        yield f"{where}: expected names that differ, found {name!r} more than once"


def _row(seed: Seed, where: str, row: dict, keys: str) -> Iterator[str]:
    kinds = dict(word.rstrip("!").split(":") for word in keys.split())
    yield from _unknown(f"{where}.", row, kinds)
    for key in (w.split(":")[0] for w in keys.split() if w.endswith("!")):
        if key not in row:
            yield f"{where}.{key}: expected {_expected(seed, kinds[key])}, found none"
    for key in (k for k in row if k in kinds):
        if not _fits(seed, kinds[key], row[key]):
            yield f"{where}.{key}: expected {_expected(seed, kinds[key])}, found {row[key]!r}"


def _unknown(where: str, row: dict, known: Any) -> Iterator[str]:
    for key in (k for k in row if k not in known):
        near = difflib.get_close_matches(str(key), known, 1)
        better = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
        yield f"{where}{key}: there is no such key: {better}"


def _names(seed: Seed, section: str) -> list[str]:
    rows = seed[section] if isinstance(seed[section], list) else []
    return [str(row.get("name")) for row in rows if isinstance(row, dict)]


def _expected(seed: Seed, kind: str) -> str:
    return KINDS[kind][0] if kind in KINDS else f"one of {', '.join(_names(seed, kind)) or kind}"


def _fits(seed: Seed, kind: str, value: Any) -> bool:
    return KINDS[kind][1](value) if kind in KINDS else value in _names(seed, kind)


def network_of(networks: list[dict], row: dict) -> dict | None:
    """Return the network of a machine: the first one of that name, or that in its zone."""
    named = (n for n in networks if n["name"] == row["network"])
    return next((n for n in named if row.get("zone") in (None, n["zone"])), None)


def _misfits(seed: Seed) -> list[str]:
    """Return the faults of values that do not go together."""
    found = []
    for number, row in enumerate(seed["networks"]):
        inside = ipaddress.ip_network(row["cidr"])
        ends = [ipaddress.ip_address(row[k]) for k in ("first", "last") if k in row]
        if any(end not in inside for end in ends) or ends != sorted(ends):
            found.append(f"networks[{number}]: expected first and last in {inside}, in this order")
        if inside.num_addresses < 16:
            found.append(f"networks[{number}].cidr: expected 16 addresses or more, found {inside}")
    for zone in seed["zones"]:
        count = sum(n["zone"] == zone["name"] for n in seed["networks"])
        if not count or (zone.get("type") == "Basic" and count > 1):
            wanted = "one network" if zone.get("type") == "Basic" else "a network"
            found.append(f"networks: expected {wanted} of zone {zone['name']}, found {count}")
    for number, row in enumerate(seed["service_offerings"]):
        if ("cpus" in row) != ("memory" in row):
            found.append(f"service_offerings[{number}]: expected both cpus and memory, or neither")
    station, taken = seed["workstation"], set()
    numbered = ((f"machines[{n}]", row) for n, row in enumerate(seed["machines"]))
    for where, row in (("workstation", station), *numbered):
        place = network_of(seed["networks"], row)
        if place is None:
            found.append(f"{where}.zone: expected that of a network {row['network']}")
            continue
        if ipaddress.ip_address(row["address"]) not in ipaddress.ip_network(place["cidr"]):
            found.append(f"{where}.address: expected one in {place['cidr']}")
        if (place["name"], place["zone"], row["address"]) in taken:
            found.append(f"{where}.address: expected one that no other machine has")
        taken.add((place["name"], place["zone"], row["address"]))
    groups = ["default", *_names(seed, "security_groups")]
    for row in seed["security_groups"]:
        for source in (RULE.fullmatch(text)[4] for text in row.get("rules", [])):
            if source not in groups and not KINDS["source"][1](source):
                wanted = f"a CIDR or one of {', '.join(groups)}"
                found.append(f"security_groups {row['name']}: expected {wanted}, found {source}")
    if "mount" not in station["disks"][0]:
        found.append("workstation.disks[0]: expected the root disk, with mount: /")
    small, large = (f"custom.diskoffering.size.{end}" for end in ("min", "max"))
    if seed["configuration"][small] > seed["configuration"][large]:
        found.append(f"configuration: expected {small} up to {large}")
    return found
