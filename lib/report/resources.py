"""Resources: what a run made, changed and removed, and what is there now, as its tables tell."""

import json
from dataclasses import dataclass

import pandas as pd

from lib import records
from lib.report.past import Attempt, Past, when

COLUMNS = ["stage", "change", "name", "id", "details"]
SEEN = ("Before", "After")
OPEN = ("intent", "accepted", "lost")  # states of the journal after which nobody knows the end


@dataclass(frozen=True)
class Seen:
    """A table as it was last seen: in which stage, under which heading, and the rows of ours."""

    stage: str
    heading: str
    rows: pd.DataFrame


Shown = list[tuple[Attempt, list[pd.DataFrame]]]


def tables(past: Past) -> Shown:
    """Return the tables Before and After of each attempt, in the order of time."""
    attempts = [a for a in [*past.earlier, *past.stages] if a.book]
    attempts.sort(key=lambda a: a.started.timestamp() if a.started else 0)
    return [(a, list(records.tables(a.book, SEEN).values())) for a in attempts]


def changed(shown: Shown) -> pd.DataFrame:
    """Return the differences between the tables Before and After of all stages, in order.

    Where an attempt stopped before its After, the Before of the next one stands for it: what it
    had begun is there when the next one looks.
    """
    stages: dict[str, list[pd.DataFrame]] = {}
    for attempt, frames in shown:
        stages.setdefault(attempt.stage, []).extend(frames)
    found = [_difference(stage, frames) for stage, frames in stages.items()]
    return pd.concat([pd.DataFrame(columns=COLUMNS, dtype="str"), *found], ignore_index=True)


def standing(past: Past, shown: Shown) -> list[Seen]:
    """Return what is there now as far as the run saw it: the last table of each kind.

    Of an account's many rows only those are returned which the parameters name or the run touched.
    """
    last: dict[tuple, Seen] = {}
    for attempt, frames in shown:
        for frame in frames:
            last.pop(tuple(frame.columns), None)
            last[tuple(frame.columns)] = Seen(attempt.stage, frame.attrs["heading"], frame)
    names = {str(v) for k, v in past.params.items() if k.endswith("_name") and v}
    touched = set(changed(shown)["id"]) - {""}
    kept = (Seen(s.stage, s.heading, _ours(s.rows, names, touched)) for s in last.values())
    return [s for s in kept if len(s.rows)]


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


def _difference(stage: str, frames: list[pd.DataFrame]) -> pd.DataFrame:
    open_: dict[tuple, pd.DataFrame] = {}  # tables Before whose counterpart has not come yet
    made = []
    for frame in frames:
        before = open_.pop(tuple(frame.columns), None)
        if before is not None:
            made.append(records.difference(before, frame))
        if frame.attrs["heading"] == "Before":
            open_[tuple(frame.columns)] = frame
    whole = pd.concat(made, ignore_index=True) if made else pd.DataFrame(columns=COLUMNS[1:])
    whole.insert(0, "stage", stage)
    return whole.astype("str")


def _ours(frame: pd.DataFrame, names: set[str], touched: set[str]) -> pd.DataFrame:
    """Return the rows that hold a name of the run, or the id of something that it touched."""

    def mine(row: tuple) -> bool:
        texts = [records.text(value) for value in row]
        return bool(touched & set(texts)) or any(n in t for n in names for t in texts)

    return frame[[mine(row) for row in frame.itertuples(index=False, name=None)]]
