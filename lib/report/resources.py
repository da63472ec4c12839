"""Resources: what a run made, changed and removed, and what is there now, as its tables tell."""

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
    """Return the differences between the tables Before and After of each stage.

    Where an attempt stopped before its After, the Before of the next one stands for it: what it
    had begun is there when the next one looks.
    """
    before: dict[tuple, pd.DataFrame] = {}
    found = [pd.DataFrame(columns=COLUMNS, dtype="str")]
    for frame in shown:
        stage = frame.attrs["stage"]
        kind = (stage, *frame.columns)
        if kind in before:
            difference = reading.difference(before.pop(kind), frame)
            found.append(difference.assign(stage=stage)[COLUMNS])
        if frame.attrs["heading"] == "Before":
            before[kind] = frame
    return pd.concat(found).astype("str").sort_values("stage", kind="stable", ignore_index=True)


def standing(past: Past, shown: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return what is there now as far as the run saw it: the last table of each kind.

    Of an account's many rows only those are returned which the parameters name or the run touched.
    """
    last: dict[tuple, pd.DataFrame] = {}
    for frame in shown:
        last.pop(tuple(frame.columns), None)  # so that the last seen stands last
        last[tuple(frame.columns)] = frame
    names = {str(v) for k, v in past.params.items() if k.endswith("_name") and v}
    touched = set(changed(shown)["id"]) - {""}
    kept = [_ours(frame, names, touched) for frame in last.values()]
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
