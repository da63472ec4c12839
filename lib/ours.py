"""This cluster at this cloud: its names, its tags, and what of it exists."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os.path import commonprefix

from lib import effects, machines
from lib.api import find
from lib.cloud import Cloud
from lib.earlier import created_by_runs
from lib.errors import CheckFailed, ParamsError
from lib.machines import demand_one, stem_of
from lib.roles import Role
from lib.roles import read as read_roles
from lib.steps import Id, Step, tag_params

RUNBOOK = "coreos-cluster"
NEUTRAL = {"config": "neutral"}  # tag on a template without a token
ROLE = r"[a-z](?:[a-z0-9]|-(?!\d+-))*"  # no part of it is a number: that is a machine's
SOURCES = ("disk", "url", "existing")  # of the template


@dataclass(frozen=True)
class Ours:
    """This cluster at this cloud: what its resources are called, and which of them exist.

    Names need not be unique in CloudStack, so a name alone does not make a resource ours. One that
    bears one of our names is ours for the first of these reasons that holds:

    - **tag**: its tags `runbook` and `cluster` are ours. Before 3.0 there are no tags; there the
      name alone counts.
    - **journal**: it has no tag of the runbook, and a journal beside this run says that a run
      created it: that run ended before it could tag it.
    - **age**: its answer was lost, so the journal has no id of it, but it was created when the
      request was sent. A younger one of the name may be somebody else's.

    Two kinds need no reason: a volume that is still `Allocated`, since nothing can be on it, and a
    snapshot of a volume that is ours. A neutral template serves every cluster of the runbook, but
    only the one that created it may delete it. With `template_from = "existing"` the template is
    others' work: it is taken as it is, by its name, and never removed.
    Within a run lists count for seconds. Raises ParamsError for an unknown `template_from`.
    """

    cloud: Cloud
    zone: str
    cluster_name: str
    revision: str = "1"
    volume_name: str = ""
    template_name: str = ""
    template_from: str = "disk"
    names: list[str] = field(default_factory=list)  # of the machines
    etcd_members: int = 0  # the first machines, 0 for all
    zones: Sequence[str] = ()  # of the machines, in turn; () for `zone`
    roles: tuple[Role, ...] = ()  # of the machines; the first one has the etcd members
    home_zone: str = ""  # where it is at home, "" for `zone`

    def __post_init__(self) -> None:
        if self.template_from not in SOURCES:
            raise ParamsError("template_from", "disk, url or existing", self.template_from)

    @property
    def needs_disk(self) -> bool:
        """Whether the template is made of a disk that CoreOS is installed on."""
        return self.template_from == "disk"

    def tell_source(self) -> None:
        """Say that a stage has nothing to do, where the template is not made of a disk."""
        if not self.needs_disk:
            print(f'not needed: template_from is "{self.template_from}", so there is no disk')

    def with_machines(
        self, size: int, first: int = 1, etcd_members: int = 0, roles: Sequence[dict] = ()
    ) -> "Ours":
        """Return the same with the names of its machines, from the number `first` on.

        With `roles` their counts take the place of the `size`. The first `etcd_members` are etcd's
        members, for 0 all, or all of the first role. Raises CheckFailed for names that CloudStack
        would refuse, and ParamsError for roles and a number of members that cannot be.
        """
        kinds = read_roles(list(roles))
        sizes = [(r.stem(self.cluster_name), r.count) for r in kinds] or [(self.cluster_name, size)]
        names = [n for stem, count in sizes for n in machines.names(stem, count, first)]
        most = min(machines.MOST_MEMBERS, sizes[0][1])
        if not 0 <= etcd_members <= most:
            raise ParamsError("etcd_members", f"1 to {most}, or 0 for all machines", etcd_members)
        count = etcd_members or (sizes[0][1] if len(kinds) > 1 else 0)
        return replace(self, names=names, etcd_members=count, roles=kinds)

    def with_roles(self, roles: Sequence[dict]) -> "Ours":
        """Return the same with roles, for a stage that looks for machines whatever their number."""
        return self.with_machines(0, roles=roles) if roles else self

    def names_of(self, role: str) -> list[str]:
        """Return the names of the machines of a role, of all for "".

        Raises ParamsError where there is no such role.
        """
        known = {r.name: r.stem(self.cluster_name) for r in self.roles}
        if role and role not in known:
            raise ParamsError(
                "role", ", ".join(filter(None, known)) or '"": no roles are set', role
            )
        return [n for n in self.names if not role or stem_of(n) == known[role]]

    def role_of(self, machine: str) -> Role | None:
        """Return the role of a machine, by its name; None without roles."""
        stem = stem_of(machine)
        return next((r for r in self.roles if r.stem(self.cluster_name) == stem), None)

    def tags_of(self, machine: str) -> dict[str, str]:
        """Return the tags of one of our machines: with its role, and its home if that is away."""
        role = self.role_of(machine)
        away = {"home": self.home} if self.zone_of(machine) != self.zone else {}
        return self.tags | away | ({"role": role.name} if role and role.name else {})

    def over(self, zones: Sequence[str]) -> "Ours":
        """Return the same with its machines in these zones in turn, [] for `zone` alone."""
        return replace(self, zones=zones)

    def in_zone(self, zone: str) -> "Ours":
        """Return the same as seen from one of its zones."""
        return replace(self, zone=zone, zones=(), home_zone=self.home_zone or self.zone)

    @property
    def places(self) -> list["Ours"]:
        """The cluster in each zone that its machines are in."""
        return [self.in_zone(zone) for zone in dict.fromkeys(self.zones or [self.zone])]

    @property
    def everywhere(self) -> list["Ours"]:
        """The cluster in the zone where its template is made, and in those of its machines."""
        return [self.in_zone(zone) for zone in dict.fromkeys([self.zone, *self.zones])]

    def zone_of(self, machine: str) -> str:
        """Return the zone of a machine, by its number, so that it stays the same.

        >>> Ours(None, "a", "c").over(["a", "b"]).zone_of("c-4")
        'b'
        """
        number = int(machine.rpartition("-")[2]) - 1
        return self.zones[number % len(self.zones)] if self.zones else self.zone

    @property
    def members(self) -> list[str]:
        """The names of the machines whose etcds are members of the cluster."""
        return self.names[: self.etcd_members or None]

    @property
    def tags(self) -> dict[str, str]:
        """The tags of everything created for this cluster, where the server has tags."""
        return {"runbook": RUNBOOK, "cluster": self.cluster_name, "revision": self.revision}

    @property
    def zone_id(self) -> Id:
        """The id of the zone; raises NotOne."""
        return Id.of(find.pick(self.cloud.zones, "listZones", self.zone))

    @property
    def home(self) -> str:
        """Its zone's name, a tag of machines in others: there are clusters of one name."""
        return find.pick(self.cloud.zones, "listZones", self.home_zone or self.zone)["name"]

    def bears_name(self, machine: str) -> bool:
        """Tell whether that is the name of a machine of this cluster, whatever its number."""
        kinds = "|".join(re.escape(f"{r.name}-") for r in self.roles if r.name)
        return bool(re.fullmatch(rf"{re.escape(self.cluster_name)}-({kinds})?\d+", machine))

    def of_ours(self, rows: list[dict]) -> list[dict]:
        """Return the machines that bear our names, or our tags and the name of another role."""
        return [r for r in rows if self.is_named(r, r["name"])]

    def is_named(self, row: dict, name: str) -> bool:
        """Tell whether a row is a machine of ours, or of another role with our tags, by a name."""
        other_role = rf"{re.escape(self.cluster_name)}-{ROLE}-\d+"
        is_tagged = self.cloud.has_tags and self.has_tags(row)
        return self.bears_name(name) or (is_tagged and bool(re.fullmatch(other_role, name)))

    def has_tags(self, row: dict) -> bool:
        """Tell whether a row of our name has our tags, or the server has none."""
        tags, names = tags_in(row), ("runbook", "cluster")
        if not self.cloud.has_tags or any(tags.get(k) != self.tags[k] for k in names):
            return not self.cloud.has_tags
        return "home" not in tags or tags["home"] == self.home

    def own(self, rows: list[dict]) -> list[dict]:
        """Return those rows of our names that are ours, by tag, journal or age."""
        untagged = [r for r in rows if not self.has_tags(r) and "runbook" not in tags_in(r)]
        created = created_by_runs(self.cloud) if untagged else set()
        mine = {str(r["id"]) for r in untagged} & created
        return [r for r in rows if self.has_tags(r) or str(r["id"]) in mine]

    def plan_tags(self, row: dict, resource: str, **more: str) -> list[Step]:
        """Return the step that adds the tags that a resource of ours lacks, none if it has all."""
        # A template is not made neutral once it is ours: it may hold a token.
        wanted = self.tags | ({} if resource != "UserVm" and self.has_tags(row) else more)
        lacking = {k: v for k, v in wanted.items() if k not in tags_in(row)}
        if not lacking or not self.cloud.has_tags:
            return []
        why = f"it lacks {', '.join(lacking)}"
        return [Step("createTags", tag_params([row["id"]], resource, lacking), why, row["name"])]

    def volume(self) -> dict | None:
        """Return our volume, None if there is none.

        Raises CheckFailed for a stranger's of that name, and for two volumes of it.
        """
        rows = self.cloud.named("listVolumes", self.volume_name, zoneid=self.zone_id)
        demand_one(rows, f"volumes named {self.volume_name}", "Rename the others.")
        if rows and rows[0]["state"] != "Allocated" and not self.own(rows):
            raise CheckFailed(
                f"the volume {self.volume_name} (id {rows[0]['id']})",
                "one with this cluster's tags",
                f"one without them that is {rows[0]['state']}",
                "It is somebody else's: choose another name. Set volume_name.",
            )
        return rows[0] if rows else None

    def snapshots(self, volume: dict | None) -> list[dict]:
        """Return the snapshots made by hand or API of our volume, the newest last.

        A snapshot has no name of ours on 2.2, so it is known by its volume, and by that volume's
        name once the volume is gone.
        """
        rows = self.cloud.list("listSnapshots", **({"volumeid": volume["id"]} if volume else {}))
        mine = [r for r in rows if effects.is_manual(r) and self._is_of(r, volume)]
        return sorted(mine, key=lambda r: r.get("created", ""))

    def _is_of(self, row: dict, volume: dict | None) -> bool:
        if volume:
            return str(row.get("volumeid")) == str(volume["id"])
        return row.get("volumename") == self.volume_name

    def with_tags(self, row: dict) -> dict:
        """Return a snapshot with all its tags: listSnapshots shows one at most, from 4.19 on.

        `SnapshotJoinDaoImpl` groups the rows, of which there is one a tag, by the snapshot's id.
        """
        if not self.cloud.has_tags:
            return row
        found = effects.tags(self.cloud, "Snapshot", row["id"])
        return row if found is None else row | {"tags": found}

    def snapshot(self, volume: dict | None) -> dict | None:
        """Return the newest snapshot of our volume that is usable or in progress, None if none is.

        Once the volume is gone (None) a snapshot itself must be ours, by tag, journal or age.
        """
        good = [r for r in self.snapshots(volume) if r["state"] not in machines.BAD]
        mine = good if volume else self.own([self.with_tags(r) for r in good])
        return mine[-1] if mine else None

    def template(self) -> dict | None:
        """Return our template, or a neutral one of its name, ready or not; None if there is none.

        Raises CheckFailed for two of that name, and for a stranger's; with `template_from` =
        "existing" NotOne unless there is exactly one that this account may use.
        """
        name = self.template_name
        if self.template_from == "existing":
            usable = {"templatefilter": "executable", "zoneid": self.zone_id}
            return self.cloud.one("listTemplates", name, **usable)
        rows = self.cloud.named("listTemplates", name, templatefilter="self", zoneid=self.zone_id)
        rows = [r for r in rows if str(r.get("zoneid", self.zone_id)) == str(self.zone_id)]
        demand_one(rows, f"templates named {name}", "Rename the others.")
        if rows and not is_neutral(rows[0]) and not self.own(rows):
            raise CheckFailed(
                f"the template {name} (id {rows[0]['id']})",
                "one with this cluster's tags, or one that a journal in this folder of runs names",
                "another's",
                "Choose another template_name.",
            )
        return rows[0] if rows else None

    def machines(self) -> dict[str, dict]:
        """Return our machines by name, as `machines.found` does."""
        if not self.names:
            return {}
        stems = sorted({stem_of(n) for n in self.names})
        stem = commonprefix([stems[0], stems[-1]])  # noqa: RUF071 - these letters narrow the list
        return machines.found(self.in_zones(keyword=stem), self.names)

    def in_zones(self, **filters: str) -> list[dict]:
        """Return the rows of all machines in the zones of ours, whoever's they are."""
        lists = (
            self.cloud.list("listVirtualMachines", zoneid=place.zone_id, **filters)
            for place in self.places
        )
        return [row for rows in lists for row in rows]


def is_neutral(template: dict) -> bool:
    """Tell whether a template holds no token, by its tags: any cluster may be made of it."""
    return (NEUTRAL | {"runbook": RUNBOOK}).items() <= tags_in(template).items()


def tags_in(row: dict) -> dict[str, str]:
    """Return the tags of a row, value by key."""
    return {t["key"]: t.get("value", "") for t in row.get("tags") or []}
