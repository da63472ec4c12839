"""Resources: what a run created, changed and removed, and every one it saw, in its last state.

All comes from the tables of its notebooks: those Before show all resources, those under After what
changed since.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from lib.record import reading
from lib.report.console import one_line
from lib.report.past import Past

# The column by which a table of CloudStack's resources is known, and the kind of its rows.
KINDS = {
    "serviceofferingname": "machine",
    "volumename": "snapshot",
    "vmdisplayname": "volume",
    "isready": "template",
}
ORDER = ("machine", "template", "snapshot", "volume")
CREATED = {"deployVirtualMachine": "machine", "createVolume": "volume"}  # what is named as asked
COLUMNS = ["stage", "change", "name", "id", "details"]  # of a table of changes
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


def tables(past: Past) -> list[pd.DataFrame]:
    """Return the tables Before of all attempts, and the changes since, in order of time.

    Changes are what a stage shows under After; where After is a whole table again, or the attempt
    stopped before it, they are the difference from Before to the next table of its kind. `attrs`
    of a table has its `stage`, `cell` and `heading`.
    """
    attempts = [a for a in past.attempts if a.book]
    before: dict[tuple, pd.DataFrame] = {}
    found = []
    for attempt in sorted(attempts, key=lambda a: a.started.timestamp() if a.started else 0):
        for frame in [f for f in attempt.tables if f.attrs["heading"] in ("Before", "After")]:
            frame.attrs["stage"] = attempt.stage
            earlier = before.pop(_place(frame), None)
            if earlier is not None and not _is_difference(frame):
                changes = reading.difference(earlier, frame)
                changes.attrs = frame.attrs | {"heading": "After"}
                found.append(changes)
            if _is_difference(frame) or frame.attrs["heading"] == "Before":
                found.append(frame)
            if frame.attrs["heading"] == "Before":
                before[_place(frame)] = frame
    return found


def changed(past: Past) -> pd.DataFrame:
    """Return the changes in the tables of a run, by stage."""
    found = [pd.DataFrame(columns=COLUMNS, dtype="str")]
    for frame in filter(_is_difference, tables(past)):
        found.append(frame[frame["change"] != "none"].assign(stage=frame.attrs["stage"])[COLUMNS])
    return pd.concat(found).astype("str").sort_values("stage", kind="stable", ignore_index=True)


def _is_difference(frame: pd.DataFrame) -> bool:
    """Return whether a table has changes instead of resources."""
    return list(frame.columns) == reading.CHANGES


def _place(frame: pd.DataFrame) -> tuple[str, str]:
    """Return the stage and the cell under Before that a table belongs to."""
    return frame.attrs["stage"], frame.attrs["cell"].replace("after", "before")


def read(past: Past) -> list[Resource]:
    """Return the resources with an id in the tables of a run, by kind.

    What the run created is listed even where a table shows its first rows only.
    """
    found: dict[str, Resource] = {}
    columns: dict[tuple[str, str], tuple[str, ...]] = {}  # of the table Before, by its place
    listed: dict[str, tuple[str, ...]] = {}  # the columns under which a resource was seen
    for frame in tables(past):
        if _is_difference(frame):
            known = columns.get(_place(frame), ())
            for row in frame[frame["id"] != ""].itertuples(index=False):
                found[row.id], listed[row.id] = _changed(found.get(row.id), row, known), known
        elif "id" in frame.columns:
            names = columns[_place(frame)] = tuple(map(str, frame.columns))
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
