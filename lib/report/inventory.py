"""The inventory: every resource that the tables of a run show, in its last state.

The tables Before show all resources, those under After show what changed since.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from lib.record import reading
from lib.report.console import one_line
from lib.report.past import Past
from lib.report.resources import is_difference, place

# The column by which a table of CloudStack's resources is known, and the kind of its rows.
KINDS = {
    "serviceofferingname": "machine",
    "volumename": "snapshot",
    "vmdisplayname": "volume",
    "isready": "template",
}
ORDER = ("machine", "template", "snapshot", "volume")
CREATED = {"deployVirtualMachine": "machine", "createVolume": "volume"}  # what is named as asked
CHANGES = {"new": "created", "changed": "changed", "gone": "removed"}


@dataclass(frozen=True)
class Resource:
    """A resource as a run last saw it.

    `change` is created, changed or removed, "" where the run left it alone; `fields` are the other
    columns of its table.
    """

    kind: str
    name: str
    id: str
    change: str = ""
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Return the first address of a machine, "" without one."""
        return self.fields.get("nic", "").partition(",")[0]

    @property
    def state(self) -> str:
        """Return its state in the cloud's words, "" if no table shows it."""
        return self.fields.get("state") or self.fields.get("status", "")


def read(past: Past, shown: Iterable[pd.DataFrame]) -> list[Resource]:
    """Return the resources with an id in tables as `resources.tables` returns them, by kind.

    What the run created is listed even where a table shows its first rows only.
    """
    found: dict[str, Resource] = {}
    columns: dict[tuple[str, str], tuple[str, ...]] = {}  # of the table Before, by its place
    listed: dict[str, tuple[str, ...]] = {}  # the columns under which a resource was seen
    for frame in shown:
        if is_difference(frame):
            known = columns.get(place(frame), ())
            for row in frame[frame["id"] != ""].itertuples(index=False):
                found[row.id], listed[row.id] = _changed(found.get(row.id), row, known), known
        elif "id" in frame.columns:
            names = columns[place(frame)] = tuple(map(str, frame.columns))
            rows = _rows(frame, found)
            if len(frame) == frame.attrs.get("rows", len(frame)):  # else it shows the first only
                found = {i: r for i, r in found.items() if i in rows or listed[i] != names}
            found |= rows
            listed |= dict.fromkeys(rows, names)
    for entry in past.journal:
        if entry.command in CREATED and entry.resource and entry.state in ("done", "adopted"):
            created = Resource(CREATED[entry.command], entry.what, entry.resource, "created")
            found.setdefault(entry.resource, created)
    return sorted(found.values(), key=_rank)


def of_cluster(past: Past, found: Iterable[Resource]) -> list[Resource]:
    """Return the resources that exist and belong to the run's cluster, by name or as created."""
    names = {str(past.params.get(f"{kind}_name") or "") for kind in ("volume", "template")}
    roles = [r for r in past.params.get("roles") or [] if isinstance(r, dict) and r.get("name")]
    kinds = "|".join(re.escape(f"{r['name']}-") for r in roles)
    cluster = re.escape(str(past.params.get("cluster_name") or ""))
    machine = re.compile(rf"{cluster}-({kinds})?\d+")

    def own(one: Resource) -> bool:
        machines = one.kind == "machine" and bool(machine.fullmatch(one.name))
        disks = one.fields.get("volumename", one.name if one.kind != "machine" else "")
        return one.change == "created" or machines or disks in names - {""}

    return [one for one in found if one.change != "removed" and own(one)]


def _rows(frame: pd.DataFrame, before: Mapping[str, Resource]) -> dict[str, Resource]:
    """Return the resources in a whole table by id, each with the change known so far."""
    found = {}
    for row in frame.to_dict("records"):
        texts = {str(k): one_line(reading.text(value)) for k, value in row.items()}
        name, kind = texts.pop("name", ""), texts.pop("kind", "") or _kind(texts)
        one = before.get(texts["id"], Resource(kind, name, texts["id"]))
        fields = one.fields | {k: v for k, v in texts.items() if k != "id"}
        named = {"kind": kind or one.kind, "name": name or one.name}
        found[one.id] = replace(one, **named, fields=fields)
    return found


def _changed(before: Resource | None, row: Any, columns: Sequence[str]) -> Resource:
    """Return a resource after the change in a row of a difference."""
    names = "|".join(map(re.escape, columns)) or r"\w+"
    if row.change == "changed":
        pairs = re.findall(rf"(?:^|; )({names}): .*? → (.*?)(?=; (?:{names}): |\Z)", row.details)
    else:
        pairs = re.findall(rf"(?:^|, )({names}) (.*?)(?=, (?:{names}) |\Z)", row.details)
    fields = {k: "" if v == "none" else v for k, v in pairs}
    one = before or Resource(
        fields.pop("kind", "") or _kind(columns), one_line(row.name), one_line(row.id)
    )
    created = one.change == "created" and row.change == "changed"
    change = "created" if created else CHANGES.get(row.change, "")
    return replace(one, change=change, fields=one.fields | fields)


def _kind(columns: Iterable[str]) -> str:
    return next((kind for column, kind in KINDS.items() if column in columns), "")


def _rank(one: Resource) -> tuple:
    """Return a key that sorts by kind, and puts web-2 before web-10."""
    parts = re.split(r"(\d+)", one.name)
    name = [(int(part), "") if part.isdigit() else (0, part) for part in parts]
    return ORDER.index(one.kind) if one.kind in ORDER else len(ORDER), one.kind, name
