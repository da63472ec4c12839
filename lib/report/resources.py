"""Resources: what a run created, changed and removed, from the tables of its notebooks."""

import json

import pandas as pd

from lib.record import reading
from lib.record.journal import Entry
from lib.report.past import Past

COLUMNS = ["stage", "change", "name", "id", "details"]
OPEN = ("intent", "accepted", "lost")  # states of the journal without a known outcome


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
            earlier = before.pop(place(frame), None)
            if earlier is not None and not is_difference(frame):
                changes = reading.difference(earlier, frame)
                changes.attrs = frame.attrs | {"heading": "After"}
                found.append(changes)
            if is_difference(frame) or frame.attrs["heading"] == "Before":
                found.append(frame)
            if frame.attrs["heading"] == "Before":
                before[place(frame)] = frame
    return found


def changed(shown: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the changes in tables as `tables` returns them, by stage."""
    found = [pd.DataFrame(columns=COLUMNS, dtype="str")]
    for frame in filter(is_difference, shown):
        found.append(frame[frame["change"] != "none"].assign(stage=frame.attrs["stage"])[COLUMNS])
    return pd.concat(found).astype("str").sort_values("stage", kind="stable", ignore_index=True)


def is_difference(frame: pd.DataFrame) -> bool:
    """Return whether a table has changes instead of resources."""
    return list(frame.columns) == reading.CHANGES


def place(frame: pd.DataFrame) -> tuple[str, str]:
    """Return the stage and the cell under Before that a table belongs to."""
    return frame.attrs["stage"], frame.attrs["cell"].replace("after", "before")


def unsettled(past: Past) -> list[Entry]:
    """Return the changes without a known outcome.

    A later success of the same change settles a lost one.
    """
    done = {_same(e): e.n for e in past.journal if e.state in ("done", "adopted")}
    return [e for e in past.journal if e.state in OPEN and not done.get(_same(e), 0) > e.n]


def _same(entry: Entry) -> tuple[str, str]:
    return entry.command, json.dumps(entry.params, sort_keys=True)
