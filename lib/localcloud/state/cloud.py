"""The cloud: shared by all commands, with lookups of its resources."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, NamedTuple

from .dialects import GIB, Dialect
from .faults import Faults
from .refusals import invalid
from .rows import Row, State

SPEED = 2000  # MHz of an offering's CPUs

# The name of a kind of row in messages.
NAMES = {"virtualmachine": "virtual machine", "diskoffering": "disk offering", "ostype": "OS type"}


class Listing(NamedTuple):
    """The answer of a list command: rows of a kind, and further fields."""

    kind: str
    rows: list[Row]
    extra: Callable[[Row], dict] | None = None


class Subnet:
    """The addresses of a network: its gateway, and the first and last of machines."""

    def __init__(self, cidr: str | IPv4Network, first: str | None = None, last: str | None = None):
        self.inside = IPv4Network(cidr)
        self.gateway, self.startip, self.endip = (str(self.inside[n]) for n in (1, 2, -2))
        self.first = IPv4Address(first) if first else self.inside[11]
        self.last = IPv4Address(last) if last else self.inside[-2]

    def free(self, taken: set[str]) -> Iterator[str]:
        """Yield the addresses that machines can have, without those taken."""
        numbers = range(int(self.first), int(self.last) + 1)
        return (a for a in map(str, map(IPv4Address, numbers)) if a not in taken)


@dataclass
class Cloud:
    """A running cloud; `lock` guards it."""

    state: State
    dialect: Dialect
    folder: Path
    clock: Callable[[], float] = time.time
    base_url: str = ""
    faults: Faults = field(default_factory=Faults)
    lock: threading.RLock = field(default_factory=threading.RLock)
    timers: list[tuple[float, int, str]] = field(default_factory=list)
    method: str = "GET"  # of the request at hand
    sessions: dict[str, str] = field(default_factory=dict)  # the key of each that is logged in
    project: Any = None  # of the call at hand, by its id
    texts: dict = field(default_factory=dict)  # rows as JSON, of the state's version `texts_of`
    texts_of: int = -1
    walks: dict[str, int] = field(default_factory=dict)  # how often first pages were asked for
    throttle: tuple[float, int] = (0.0, 0)  # start of the interval, calls made in it
    pending: dict[Any, Any] = field(default_factory=dict)  # jobs by what they are about
    at_work: list[float] = field(default_factory=list)  # when the jobs at work end, a heap
    processes: dict[Any, subprocess.Popen] = field(default_factory=dict)  # by id of their machine

    def __post_init__(self):
        self.changed = threading.Condition(self.lock)  # something was put into the registry

    def find(self, kind: str, id: Any) -> Row:
        """Return the row with that id; refuse an unknown id (431)."""
        row = self.state.get(kind, id)
        if row is None:
            raise invalid(f"Unable to find {NAMES.get(kind, kind)} by id {id}")
        return row

    def rows(self, kind: str) -> list[Row]:
        """Return all rows of a kind, oldest first."""
        return list(self.state.table(kind).values())

    def one(self, kind: str) -> Row:
        """Return the only or first row of a kind."""
        return next(iter(self.state.table(kind).values()))

    def account(self) -> Row:
        """Return the account that all calls come from."""
        return self.one("account")

    def stamp(self, at: float | None) -> str | None:
        """Return a moment as this server prints it, None for none."""
        return None if at is None else self.dialect.stamp(at)

    def owner(self, project: Any = None) -> dict:
        """Return the fields of the owner of a row: the account or a project."""
        me = self.account()
        whose = {"account": me["name"]}
        if project is not None:
            whose = {"projectid": project, "project": self.find("project", project)["name"]}
        return whose | {k: me[k] for k in ("domainid", "domain", "domainpath")}

    def ownership(self) -> dict:
        """Return the fields that make a new row belong to the project of the current call."""
        return {} if self.project is None else {"projectid": self.project}

    def mine(self, kind: str) -> list[Row]:
        """Return the rows of a kind that belong to the project of the current call."""
        return [r for r in self.rows(kind) if r.get("projectid") == self.project]

    def setting(self, name: str) -> Row:
        """Return one of the settings that `configureSimulator` changes."""
        return self.state.setting(name, DEFAULTS[name])

    def lacks(self, command: str) -> bool:
        """Return whether the account's role lacks a command."""
        return command in self.setting("role")["refuse"].split(",")

    @property
    def runs_etcd(self) -> bool:
        """Whether machines run real etcd processes."""
        return bool(self.setting("etcd")["real"])

    def subnet(self, network: Row) -> "Subnet":
        """Return the addresses of a network.

        Machines with real processes are on loopback, in a network that no other server here uses.
        """
        if self.runs_etcd:
            port = int(self.base_url.rpartition(":")[2])
            return Subnet(IPv4Network(f"127.{port >> 8}.{port & 255}.0/24"))
        return Subnet(*(network.get(key) for key in ("cidr", "first", "last")))

    def disk(self, row: Row) -> Path:
        """Return the file with the data of a volume, snapshot or template."""
        return self.folder / "disks" / f"{row['id']}.raw"

    def note(self, type_: str, text: str, level: str = "INFO", **more: Any) -> Row:
        """Add an event, which the account can list."""
        row = {"type": type_, "description": text, "level": level} | more
        return self.state.add("event", at=self.clock(), **row)


# The limits of the account, in the order of their numbers (Resource.ResourceType).
LIMITS = ("vm", "ip", "volume", "snapshot", "template", "project", "network", "vpc", "cpu",
          "memory", "primarystorage", "secondarystorage", "backup", "backupstorage", "bucket",
          "objectstorage", "gpu")  # fmt: skip
# What a seed sets of CloudStack's configuration, and the settings that hold it.
CONFIGURATION = {
    "default.page.size": ("pages", "size"),
    "vm.userdata.max.length": ("userdata", "longest"),
    "custom.diskoffering.size.min": ("disks", "smallest"),
    "custom.diskoffering.size.max": ("disks", "largest"),
    "expunge.delay": ("expunge", "delay"),
    "allow.user.expunge.recover.vm": ("expunge", "allowed"),
}
DEFAULTS: dict[str, Row] = {
    "time": {"scale": 0.005},
    "capabilities": {"version": 1},  # 0: the server does not tell its version
    "nics": {"second": 0},  # 1: new machines have a second one, which is listed first
    "offerings": {"custom": 0},  # 1: one of custom size is listed; libcloud cannot read such
    "throttle": {"max": 0, "interval": 1},  # calls per so many seconds; 0 is off
    "downloads": {"error": ""},  # with which downloads of templates end
    "etcd": {"real": 0},  # 1: machines run real etcd processes, on loopback addresses
    "project": {"name": ""},  # there is one of that name, and the workstation is in it
    "role": {"refuse": ""},  # commands that the account's role lacks, with commas between
    # Those of the seed.
    **{name: {} for name in ("limits", "capacity", *(s for s, _ in CONFIGURATION.values()))},
}
# The options of a new or running cloud: the setting that each changes.
OPTIONS = {
    "time_scale": ("time", "scale"),
    "real_etcd": ("etcd", "real"),
    "expunge_delay": ("expunge", "delay"),
    "may_expunge": ("expunge", "allowed"),
    "refuse": ("role", "refuse"),
    "custom_offering": ("offerings", "custom"),
    "second_nic": ("nics", "second"),
    "project": ("project", "name"),
}


def copies_of(row: Row) -> list[Row]:
    """Return a template as it is in each of its zones."""
    return [row, *(row | copy for copy in row.get("copies", []))]


def find_copy(row: Row, zone: Any) -> Row | None:
    """Return a template as it is in a zone, None if it is not there."""
    return next((copy for copy in copies_of(row) if copy["zoneid"] == zone), None)


def owner_of(row: Row) -> Row:
    """Return the fields that make another row belong to the project of this one, if any."""
    return {k: row[k] for k in ("projectid",) if k in row}


def fitting(cloud: Cloud, kind: str, *, ids: list | None = None, **filters: Any) -> list[Row]:
    """Return the rows of a kind that match all filters; a filter of None matches any row.

    `id`, `name`, `keyword` and `tags` count as parameters of CloudStack do, others are fields.
    """
    named = {key: filters.pop(key, None) for key in ("id", "name", "keyword", "tags")}
    id, name, keyword, tags = named.values()
    wanted = [id] if id is not None else ids
    if wanted is None:
        rows = cloud.rows(kind)
    else:
        rows = [row for row in map(cloud.state.table(kind).get, wanted) if row]
    if name is not None:
        rows = [row for row in rows if same_name(cloud, row.get("name") or "", name)]
    if keyword is not None:
        rows = [row for row in rows if keyword.lower() in (row.get("name") or "").lower()]
    if tags is not None:
        rows = [row for row in rows if any(has_tag(row, tag) for tag in tags)]
    for key, value in filters.items():
        rows = [row for row in rows if value is None or row.get(key) == value]
    return rows


def same_name(cloud: Cloud, name: str, wanted: str) -> bool:
    """Compare names as the database does, without case; 2.2 also matches a part of a name."""
    name, wanted = name.lower(), wanted.lower()
    return wanted in name if cloud.dialect.names_are_patterns else wanted == name


def has_tag(row: Row, wanted: dict) -> bool:
    """Return whether a row carries a tag; one without value fits whatever the value is."""
    return any(
        t["key"] == wanted.get("key") and wanted.get("value") in (None, t["value"])
        for t in row.get("tags", [])
    )


def size_of(cloud: Cloud, machine: Row) -> Row:
    """Return a machine's offering with cpunumber, cpuspeed and memory as the machine has them."""
    offering = cloud.find("serviceoffering", machine["serviceofferingid"])
    given = {k.lower(): v for k, v in machine.get("details", {}).items()}
    own = {k: int(given.get(k, 0)) for k in ("cpunumber", "cpuspeed", "memory")}
    return offering | ({"cpuspeed": SPEED} if offering["cpunumber"] else own)


GONE = ("Destroyed", "Expunging", "Error", "Destroy")


def used(cloud: Cloud, what: str) -> float:
    """Return the used part of a quota; storage in GiB."""
    kind = "virtualmachine" if what == "vm" else what
    if what in ("cpu", "memory"):
        field = {"cpu": "cpunumber"}.get(what, what)
        return sum(size_of(cloud, m)[field] for m in _counted(cloud, "virtualmachine"))
    if what == "primarystorage":
        return sum(v["size"] for v in _counted(cloud, "volume")) / GIB
    if what == "secondarystorage":
        stored = [*_counted(cloud, "snapshot"), *_counted(cloud, "template")]
        return sum(row["size"] * len(copies_of(row)) for row in stored) / GIB
    return len(_counted(cloud, {"ip": "publicipaddress"}.get(kind, kind)))


def _counted(cloud: Cloud, kind: str) -> list[Row]:
    rows = cloud.mine(kind)
    return [r for r in rows if r.get("state") not in GONE and r.get("own", True)]


def check_quota(cloud: Cloud, what: str, more: float = 1) -> None:
    """Refuse an amount beyond the account's quota; storage in GiB."""
    limit, taken = cloud.setting("limits")[what], used(cloud, what)
    if 0 <= limit < taken + more and cloud.dialect.has_quota(what):
        raise cloud.dialect.quota(cloud.account()["name"], what, limit, taken, more)
