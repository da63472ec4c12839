"""What differs between two runs: parameters, outcomes, resources, durations, versions."""

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from lib.progress import span
from lib.report import resources
from lib.report.past import Past, read

# What is new in every run and so tells nothing: ids, stamps in names, moments, addresses' ports.
_PASSING = re.compile(
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\b[0-9a-f]{20}\b|\d{14}"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?: UTC)?"
)
_MOMENTS = ("run", "command", "pid", "started", "ended", "outcome", "exit_code", "masked",
            "changed", "earlier", "cloud_config_sha256")  # fmt: skip
_HASHES = ("notebooks", "lib")
NOTABLE = 1.2  # times as long, and more than half a second


def compare(one: Path, other: Path) -> dict[str, pd.DataFrame]:
    """Return tables of what differs between two run folders by their titles; equal ones are empty.

    The columns A and B hold what the one and the other run has.
    """
    a, b = read(one), read(other)
    return {
        "parameters": _pairs(_texts(a.params), _texts(b.params)),
        "outcome of the stages": _pairs(_outcomes(a), _outcomes(b)),
        "resources": _pairs(_changes(a), _changes(b)),
        "durations": _durations(a, b),
        "versions and circumstances": _circumstances(a.facts, b.facts),
    }


def _pairs(a: Mapping[str, str], b: Mapping[str, str]) -> pd.DataFrame:
    names = list(dict.fromkeys([*a, *b]))
    found = [
        {"what": n, "A": a.get(n, "–"), "B": b.get(n, "–")}  # noqa: RUF001
        for n in names
        if a.get(n) != b.get(n)
    ]
    return pd.DataFrame(found, columns=["what", "A", "B"], dtype="str")


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {k: repr(v) if v == "" or isinstance(v, list) else str(v) for k, v in values.items()}


def _outcomes(run: Past) -> dict[str, str]:
    return {a.stage: a.cause for a in run.stages}


def _changes(run: Past) -> dict[str, str]:
    """Return what the run made, changed and removed, without what is new in every run."""
    found: dict[str, str] = {}
    for row in resources.changed(resources.tables(run)).to_dict("records"):
        name = f"{row['stage']}: {row['change']} {_lasting(row['name'])}"
        while name in found:
            name += " (again)"
        found[name] = _lasting(row["details"])
    return found


def _lasting(text: str) -> str:
    return _PASSING.sub("…", text)


def _durations(a: Past, b: Past) -> pd.DataFrame:
    """Return the stages that took notably longer in one of the runs, and the whole."""
    one, two = _seconds(a), _seconds(b)
    pairs = [(name, one[name], two[name]) for name in one if name in two]
    found = [
        {"what": name, "A": span(x), "B": span(y), "B / A": f"{y / x:.2f}"}
        for name, x, y in pairs
        if _notable(x, y)
    ]
    return pd.DataFrame(found, columns=["what", "A", "B", "B / A"], dtype="str")


def _seconds(run: Past) -> dict[str, float]:
    taken = {s.stage: s.seconds for s in run.stages} | {"the run": run.seconds}
    return {name: seconds for name, seconds in taken.items() if seconds}


def _notable(a: float, b: float) -> bool:
    return abs(a - b) > 0.5 and max(a, b) > NOTABLE * min(a, b)


def _circumstances(a: Mapping[str, object], b: Mapping[str, object]) -> pd.DataFrame:
    """Return what differs in `run.json`; of files their names, as nobody compares hashes."""
    files = [_files(name, a.get(name) or {}, b.get(name) or {}) for name in _HASHES]
    return pd.concat([_pairs(_versions(a), _versions(b)), *files], ignore_index=True)


def _files(name: str, a: Mapping[str, str], b: Mapping[str, str]) -> pd.DataFrame:
    other = [f for f in sorted(a.keys() | b.keys()) if a.get(f) != b.get(f)]
    more = f" and {len(other) - 10} more" if len(other) > 10 else ""
    said = {"what": f"{name}: {len(other)} other files", "A": "", "B": ", ".join(other[:10]) + more}
    return pd.DataFrame([said] if other else [], columns=["what", "A", "B"], dtype="str")


def _versions(facts: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Return the facts of `run.json` as lines, without the moments."""
    found: dict[str, str] = {}
    for name, value in facts.items():
        if name in _MOMENTS or name in _HASHES:
            continue
        if isinstance(value, dict):
            found |= _versions(value, f"{prefix}{name} ")
        else:
            found[f"{prefix}{name}"] = str(value)
    return found


def show(one: Path, other: Path) -> bool:
    """Print what differs between two runs on the terminal; return whether anything does."""
    from rich.text import Text

    from lib.report.console import console, grid, one_line

    tables = compare(one, other)
    out = console()
    out.print(Text(f"A: {one.name}\nB: {other.name}"))
    for title, found in tables.items():
        if not len(found):
            continue
        rows = found.itertuples(index=False, name=None)
        texts = [[Text(one_line(value)) for value in row] for row in rows]
        out.print(grid(found.columns, texts, title=title))
    same = [title for title, found in tables.items() if not len(found)]
    if same:
        out.print(Text(f"No difference in: {', '.join(same)}."))
    return len(same) < len(tables)
