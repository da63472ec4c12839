"""Resources: created, changed, removed and existing ones, from the tables of a run."""

import json

import pandas as pd

from lib.record import reading
from lib.record.journal import Entry
from lib.report.past import Past

COLUMNS = ["stage", "change", "name", "id", "details"]
SEEN = ("Before", "After")
OPEN = ("intent", "accepted", "lost")  # states of the journal without a known outcome


def tables(past: Past) -> list[pd.DataFrame]:
    """Return the tables Before and After of all attempts, in order of time.

    `attrs` of a table has its `stage` and its `heading`.
    """
    attempts = [a for a in past.attempts if a.book]
    found = []
    for attempt in sorted(attempts, key=lambda a: a.started.timestamp() if a.started else 0):
        for frame in attempt.tables:
            if frame.attrs["heading"] in SEEN:
                frame.attrs["stage"] = attempt.stage
                found.append(frame)
    return found


def changed(shown: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the changes that each stage shows under After.

    Where an attempt stopped before its After, the Before of the next attempt takes its place. Where
    After is the whole table again, its difference from Before counts.
    """
    before: dict[tuple, pd.DataFrame] = {}
    found = [pd.DataFrame(columns=COLUMNS, dtype="str")]
    for frame in shown:
        earlier = before.pop(_kind(frame), None)
        if is_difference(frame):
            found.append(frame[frame["change"] != "none"].assign(stage=frame.attrs["stage"]))
        elif earlier is not None:
            difference = reading.difference(earlier, frame)
            found.append(difference.assign(stage=frame.attrs["stage"]))
        if frame.attrs["heading"] == "Before":
            before[_kind(frame)] = frame
    found = [frame[COLUMNS] for frame in found]
    return pd.concat(found).astype("str").sort_values("stage", kind="stable", ignore_index=True)


def is_difference(frame: pd.DataFrame) -> bool:
    """Return whether a table has changes instead of resources."""
    return list(frame.columns) == reading.CHANGES


def _kind(frame: pd.DataFrame) -> tuple[str, str]:
    """Return the stage and the cell under Before that a table belongs to."""
    return frame.attrs["stage"], frame.attrs["cell"].replace("after", "before")


def standing(past: Past, shown: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return the existing resources as last seen by the run.

    These are the rows of the last table of each kind, and the changes since, that the parameters
    name or the run touched.
    """
    last: dict[tuple, pd.DataFrame] = {}
    since: dict[tuple, pd.DataFrame] = {}
    columns: dict[tuple, tuple] = {}
    for frame in shown:
        if is_difference(frame):
            since[columns.get(_kind(frame), ())] = frame[frame["change"] != "none"]
            continue
        kind = columns[_kind(frame)] = tuple(frame.columns)
        since.pop(kind, None)
        last.pop(kind, None)  # so that the last seen comes last
        last[kind] = frame
    names = {str(v) for k, v in past.params.items() if k.endswith("_name") and v}
    touched = set(changed(shown)["id"]) - {""}
    own = [_own_rows(frame, names, touched) for frame in [*last.values(), *since.values()]]
    return [frame for frame in own if len(frame)]


def unsettled(past: Past) -> list[Entry]:
    """Return the changes without a known outcome.

    A later success of the same change settles a lost one.
    """
    done = {_same(e): e.n for e in past.journal if e.state in ("done", "adopted")}
    return [e for e in past.journal if e.state in OPEN and not done.get(_same(e), 0) > e.n]


def _same(entry: Entry) -> tuple[str, str]:
    return entry.command, json.dumps(entry.params, sort_keys=True)


def _own_rows(frame: pd.DataFrame, names: set[str], touched: set[str]) -> pd.DataFrame:
    """Return the rows with a name from the parameters, or the id of a touched resource."""

    def mine(row: tuple) -> bool:
        texts = [reading.text(value) for value in row]
        return bool(touched & set(texts)) or any(n in t for n in names for t in texts)

    return frame[[mine(row) for row in frame.itertuples(index=False, name=None)]]
