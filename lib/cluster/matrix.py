"""The matrix of machines and questions: what each machine answers to what is asked of it."""

import pandas as pd

from lib.checks import LATER, Tick, ticks

NOT_YET = "not there yet"


def shown(found: list[Tick]) -> pd.DataFrame:
    """Return a table with a row a machine or stranger, and a column a question.

    A cell is empty where the question does not arise. Behind all signs but ✓ stands what was found.
    """
    cells: dict[str, dict[str, str]] = {}
    for one in found:
        cells.setdefault(one.of, {})[one.what] = _cell(one)
    columns = ["machine", *dict.fromkeys(t.what for t in found)]
    rows = [{"machine": of} | answers for of, answers in cells.items()]
    return pd.DataFrame(rows, columns=columns).fillna("")


def _cell(one: Tick) -> str:
    if one.ok == "✓":
        return one.ok
    return f"{one.ok} {NOT_YET if one.ok == LATER else one.found}"


def reasons(found: list[Tick]) -> pd.DataFrame:
    """Return the table of what is not ✓, with its next step, machines that share it in a row."""
    shared: dict[tuple, list[str]] = {}
    for one in found:
        if one.ok != "✓":
            key = (one.ok, one.what, one.wanted, one.found, one.next)
            shared.setdefault(key, []).append(one.of)
    return ticks([Tick(*key, ", ".join(names)) for key, names in shared.items()])
