"""Resources: what a run created, changed and removed, and what exists now, by its tables."""

import json

import pandas as pd

from lib.record import reading
from lib.report.past import Past, when

COLUMNS = ["stage", "change", "name", "id", "details"]
SEEN = ("Before", "After")
OPEN = ("intent", "accepted", "lost")  # states of the journal after which nobody knows the end


def tables(past: Past) -> list[pd.DataFrame]:
    """Return the tables Before and After of all attempts in the order of time.

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

    Where an attempt stopped before its After, the Before of the next one stands for it: what it
    had begun is there when the next one looks. Where After is the whole table again, its
    difference from Before counts.
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
    """Tell whether a table shows what changed instead of what is there."""
    return list(frame.columns) == reading.CHANGES


def _kind(frame: pd.DataFrame) -> tuple[str, str]:
    """Return the stage and the cell under Before that a table belongs to."""
    return frame.attrs["stage"], frame.attrs["cell"].replace("after", "before")


def standing(past: Past, shown: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return what exists now as far as the run saw it.

    These are the last table of each kind and what changed since, an account's other rows left
    out: those which neither the parameters name nor the run touched.
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
        last.pop(kind, None)  # so that the last seen stands last
        last[kind] = frame
    names = {str(v) for k, v in past.params.items() if k.endswith("_name") and v}
    touched = set(changed(shown)["id"]) - {""}
    kept = [_ours(frame, names, touched) for frame in [*last.values(), *since.values()]]
    return [frame for frame in kept if len(frame)]


def unsettled(past: Past) -> list[dict]:
    """Return what was sent, or was about to be, and whose end the journal does not tell.

    What was lost is settled once the very same has been done after it.
    """
    entries = sent(past)
    done = {_same(e): e["n"] for e in entries if e.get("state") in ("done", "adopted")}
    return [e for e in entries if e.get("state") in OPEN and not done.get(_same(e), 0) > e["n"]]


def _same(entry: dict) -> tuple:
    return entry.get("command"), json.dumps(entry.get("params"), sort_keys=True)


def sent(past: Past) -> list[dict]:
    """Return the changes of the journal in order, each with its last state.

    `accepted` is the moment at which the cloud accepted the job of one, if it did.
    """
    entries: dict[object, dict] = {}
    for line in past.journal:
        entry = entries.setdefault(line.get("n"), {})
        entry |= {k: v for k, v in line.items() if v is not None}
        if line.get("state") == "accepted":
            entry["accepted"] = when(line)
    return list(entries.values())


def _ours(frame: pd.DataFrame, names: set[str], touched: set[str]) -> pd.DataFrame:
    """Return the rows that hold a name of the run, or the id of something that it touched."""

    def mine(row: tuple) -> bool:
        texts = [reading.text(value) for value in row]
        return bool(touched & set(texts)) or any(n in t for n in names for t in texts)

    return frame[[mine(row) for row in frame.itertuples(index=False, name=None)]]
