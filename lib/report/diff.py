"""The differences between two runs: parameters, outcomes, resources, durations, versions."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from lib.report import resources
from lib.report.past import Past, read
from lib.waiting import span

# Ids, stamps in names, and times: new in every run, so not a difference.
_ALWAYS_NEW_TEXT = re.compile(
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|\b[0-9a-f]{20}\b|\d{14}"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?: UTC)?"
)
_ALWAYS_NEW = {"run", "command", "pid", "started", "ended", "outcome", "exit_code", "masked",
            "changed", "earlier", "machines", "cloud_config_sha256"}  # fmt: skip
_HASHES = (
    "notebooks",
    "lib",
)  # only the names of these files are compared for people, not the hashes
NOTABLE = 1.2  # times as long, and more than half a second
Rows = list[tuple[str, str, str]]  # what, its value in one run, and in the other


def compare(one: Path, other: Path) -> dict[str, Rows]:
    """Return the differences between two run folders, by the titles of their tables."""
    a, b = read(one), read(other)
    return {
        "parameters": _pairs(_texts(a.params), _texts(b.params)),
        "outcome of the stages": _pairs(_outcomes(a), _outcomes(b)),
        "resources": _pairs(_changes(a), _changes(b)),
        "durations": _durations(_seconds(a), _seconds(b)),
        "versions and circumstances": _circumstances(a.facts, b.facts),
    }


def _pairs(a: Mapping[str, str], b: Mapping[str, str]) -> Rows:
    names = dict.fromkeys([*a, *b])
    return [(n, a.get(n, "–"), b.get(n, "–")) for n in names if a.get(n) != b.get(n)]  # noqa: RUF001


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {k: repr(v) if v == "" or isinstance(v, list) else str(v) for k, v in values.items()}


def _outcomes(run: Past) -> dict[str, str]:
    return {a.stage: a.cause for a in run.stages}


def _changes(run: Past) -> dict[str, str]:
    """Return the resources the run made, changed and removed, without ids and times."""
    found: dict[str, str] = {}
    for row in resources.changed(run).to_dict("records"):
        name = f"{row['stage']}: {row['change']} {_ALWAYS_NEW_TEXT.sub('…', row['name'])}"
        while name in found:
            name += " (again)"
        found[name] = _ALWAYS_NEW_TEXT.sub("…", row["details"])
    return found


def _seconds(run: Past) -> dict[str, float]:
    taken = {s.stage: s.seconds for s in run.stages} | {"the run": run.seconds}
    return {name: seconds for name, seconds in taken.items() if seconds}


def _durations(a: Mapping[str, float], b: Mapping[str, float]) -> Rows:
    """Return the durations, of stages and the run, that are notably longer in one run."""
    both = [(name, a[name], b[name]) for name in a if name in b]
    return [
        (name, span(x), f"{span(y)} ({y / x:.2f} times A)")
        for name, x, y in both
        if abs(x - y) > 0.5 and max(x, y) > NOTABLE * min(x, y)
    ]


def _circumstances(a: Mapping[str, dict], b: Mapping[str, dict]) -> Rows:
    """Return the differences in `run.json`, with the names of files instead of hashes."""
    rows = _pairs(dict(_lines(a)), dict(_lines(b)))
    for kind in _HASHES:
        names = sorted(name for name, _, _ in _pairs(a.get(kind) or {}, b.get(kind) or {}))
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        if names:
            rows.append((f"{kind}: {len(names)} other files", "", ", ".join(names[:10]) + more))
    return rows


def _lines(facts: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested facts as lines, without times and hashes."""
    for name, value in facts.items():
        if isinstance(value, dict) and name not in _HASHES:
            yield from _lines(value, f"{prefix}{name} ")
        elif name not in (*_ALWAYS_NEW, *_HASHES):
            yield f"{prefix}{name}", str(value)


def show(one: Path, other: Path) -> None:
    """Print the differences between two runs on the terminal."""
    from rich.text import Text

    from lib.report.console import console, grid, one_line

    tables, out = compare(one, other), console()
    for folder in (one, other):
        if unread := read(folder).unread:
            out.print(Text(one_line(f"{folder.name}: could not be read: {'; '.join(unread)}")))
    out.print(Text(f"A: {one.name}\nB: {other.name}"))
    for title, rows in tables.items():
        texts = [[Text(one_line(value)) for value in row] for row in rows]
        if texts:
            out.print(grid(("what", "A", "B"), texts, title=title))
    same = [title for title, rows in tables.items() if not rows]
    if same:
        out.print(Text(f"No difference in: {', '.join(same)}."))
