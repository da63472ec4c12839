"""The report: a whole run on one self-contained page."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from lib.record import manifest, whole
from lib.record.cells import headings
from lib.record.faults import BadInput
from lib.record.journal import ROOT, Entry
from lib.record.texts import translated
from lib.report import cells, console, cover, export, page, resources, timeline, work
from lib.report.attempts import ENDED_WELL, Attempt
from lib.report.grouping import first_and_last
from lib.report.known_errors import explain
from lib.report.past import Past, ms, read
from lib.report.resources import Resource
from lib.waiting import span


@dataclass(frozen=True)
class Limits:
    """Limits of one output: rows of a table, characters of a text and of a table cell."""

    rows: int
    text: int
    cell: int = 300
    code: bool = True


FILE = "report.html"
MOST = 150_000  # bytes
# Tried in turn until the page is small enough.
LIMITS = (
    Limits(200, 6000),
    Limits(60, 2500),
    Limits(25, 1200, 160),
    Limits(10, 500, 100, code=False),
    Limits(3, 120, 60, code=False),
)
# Facts that the first page has.
COVERED = ("run", "reason", "user", "sudo_user", "host", "outcome", "observed account")
COVERED += ("observed endpoint", "observed key_fingerprint", "observed server_version")
COVERED += ("observed profile", "observed machines", "observed outside")
SHOWN = 12  # steps that are alike and shown one by one
REMOVAL = "90"
HOW = {
    "kernel-died": "lost its kernel",
    "timed-out": "ran out of time",
    "interrupted": "was interrupted",
    "killed": "was killed",
    "abandoned": "was abandoned",
}


def write(folder: Path, to: Path | None = None, key: Path | None = None) -> Path:
    """Write the report of a run from its folder, and return its path.

    `key` is the SSH key that the seal will be signed with. Where the page leaves out resources, a
    table of all is written beside it, with `.csv` as its suffix.
    """
    page_file, past = to or folder / FILE, read(folder)
    rest = page_file.with_suffix(".csv")
    seen = resources.read(past)
    if any(more for _, more in _grouped([r for r in seen if r.change])):
        whole.write(rest, export.table(seen))
    return whole.write(page_file, html(past, seen, rest=rest.name, key=str(key or "")))


def write_unsealed(folder: Path, to: Path | None = None) -> Path:
    """Write the report as `write` does; raise `BadInput` where that would change a sealed run."""
    if to is None and (folder / manifest.FILE).exists():
        raise BadInput([f"{folder} is sealed and has its {FILE}: write a new one with --to FILE"])
    return write(folder, to)


def html(past: Past, seen: list[Resource], *, rest: str, key: str = "") -> str:
    """Return the report's page, with as much of the outputs as fits into MOST bytes.

    `seen` are the resources that the run saw, and `rest` is the file with those left out.
    """
    values = _outcome(past) | _left(past, seen) | _work(past) | _circumstances(past)
    values |= {"facts": cover.facts(past, key), "rest": rest}
    values["runbook"] = shlex.join(console.invoked(ROOT))
    values["checks"] = cover.to_check(values["folder"], values["runbook"])
    values["changes"] = _grouped([r for r in seen if r.change])
    values["stages"] = [(a, cells.title(a.book), cells.blocks(a)) for a in past.stages]
    for limits in LIMITS:
        text = page.render("report.html.j2", run=past, limits=limits, **values)
        if len(text.encode()) <= MOST:
            break
    return text


def _grouped(found: list[Resource]) -> list[tuple[Resource, int | None]]:
    return first_and_last(found, lambda r: (r.kind, r.change))


# ── the outcome ──────────────────────────────────────────────────────────────────────────────────


def _outcome(past: Past) -> dict:
    """Return the outcome of the run, its meaning, and values for the commands to continue."""
    at = past.stopped
    bad = at is not None or past.cause not in ("ok", "running")
    cause, error = (at.cause, at.error) if at else (past.cause, past.error)
    removal = bool(past.stages) and all(a.stage >= "70" for a in past.stages)
    return {
        "sentence": sentence(past),
        "known": explain(cause, error) if bad else None,
        "heading": _heading(at) if at else "",
        "remove": REMOVAL,
        "removal": ",".join(a.stage[:2] for a in past.stages) if removal else "",
        "folder": _near(past.folder),
    }


def sentence(past: Past) -> str:
    """Return a sentence on how the run ended."""
    count, well = len(past.stages), sum(a.cause in ENDED_WELL for a in past.stages)
    if past.cause == "running":
        text = "The run is still going on; {} of {} stages have ended well so far."
        return translated(text, well, count)
    if past.cause == "ok" and well == count:
        which = "All {} stages ended well in {}" if count > 1 else "The stage {} ended well in {}"
        one = translated(which, count if count > 1 else past.stages[0].stage, span(past.seconds))
        again = {0: "", 1: translated(", resumed once")}
        more = again.get(past.resumed, translated(", resumed {} times", past.resumed))
        return f"{one}{more}{_changes(past)}."
    at = past.stopped
    if at is None:
        why = f"failed: {past.error}" if past.error else f"was {past.cause}"
        return translated("The run {}; {} of {} stages ended well.", why, well, count)
    left = sum(a.cause == "not-run" for a in past.stages)
    rest = " and {} was not run" if left == 1 else " and {} were not run"
    rest = translated(rest, left) if left else ""
    how = translated(HOW.get(at.cause, at.cause))
    text = "{} {} after {}; {} of {} stages ended well{}."
    return translated(text, at.stage, how, span(past.seconds), well, count, rest)


def _changes(past: Past) -> str:
    if past.params.get("mode") == "plan":
        return translated("; nothing was changed, as the run only looked")
    done = sum(s.get("outcome") == "done" for s in past.steps)
    if not done:
        return translated(" and found nothing left to do")
    return translated(", with {} changes" if done > 1 else ", with {} change", done)


def _heading(attempt: Attempt) -> str:
    """Return the heading above the cell at which an attempt stopped, "" if unknown."""
    cells = attempt.book.get("cells", [])
    for cell, heading in zip(cells, headings(cells), strict=True):
        cause = cell.get("metadata", {}).get("runbook", {}).get("cause", "")
        cause = attempt.cells.get(cell.get("id", ""), {}).get("cause", cause)
        raised = any(o["output_type"] == "error" for o in cell.get("outputs", []))
        if raised or cause not in ("", "ok", "skipped", "not-run"):
            return heading
    return ""


def _near(folder: Path) -> str:
    """Return a folder's path relative to the project's folder if it is below it."""
    full = folder.resolve()
    return str(full.relative_to(ROOT) if full.is_relative_to(ROOT) else full)


# ── resources and changes ─────────────────────────────────────────────────────────────────────────


def _left(past: Past, seen: list[Resource]) -> dict:
    """Return the open changes, resources and last steps of a stopped run."""
    if past.stopped is None:
        return {"open": [], "standing": [], "done": []}
    ids = {(e.command, e.what): e.resource for e in past.journal}
    steps = [s for s in past.stopped.steps if s.get("outcome") == "done"]
    done = [(s.get("command"), s.get("what")) for s in steps]
    named = [f"{c} {w}" + (f" (id {ids[c, w]})" if ids.get((c, w)) else "") for c, w in done]
    changed = [replace(e, text=_params(e)) for e in past.unsettled]
    return {
        "open": first_and_last(changed, lambda e: (e.stage, e.command, e.state)),
        "standing": _grouped(resources.of_cluster(past, seen)),
        "done": named,
    }


def _params(entry: Entry) -> str:
    return ", ".join(f"{k} {v}" for k, v in entry.params.items())


def _work(past: Past) -> dict:
    """Return what was planned and done, the timeline, and the requests."""
    rows, cuts = timeline.draw(past)
    found = work.read(past)
    return {
        "timeline": rows,
        "cuts": cuts,
        "work": first_and_last(found, lambda w: (w.stage, w.command, w.outcome, w.text), SHOWN),
        "plan": work.plan(past),
        "work_done": work.sentence(found),
        "sent": first_and_last(past.journal, lambda e: (e.stage, e.command, e.state), SHOWN),
        "requests": _requests(past.api),
    }


def _requests(api: list[dict]) -> pd.DataFrame:
    """Return the count and the times of each command's requests, the longest first."""
    rows = [[str(line.get("command")), ms(line), _bad(line)] for line in api]
    by = pd.DataFrame(rows, columns=["command", "ms", "bad"]).groupby("command", sort=False)
    found = by.agg(
        count=("ms", "size"), total=("ms", "sum"), slowest=("ms", "max"), bad=("bad", list)
    )
    found = found.sort_values("total", ascending=False).round(0).reset_index()
    found["bad"] = [_counted([code for code in codes if code]) for codes in found["bad"]]
    return found.set_axis(["command", "count", "total, ms", "slowest, ms", "failed"], axis=1)


def _bad(line: dict) -> str:
    """Return the code of a failed request, "" for a success."""
    code = str(line.get("code") or line.get("status") or "no answer")
    return "" if code in ("0", "200") else code


def _counted(codes: list[str]) -> str:
    return f"{len(codes)} ({', '.join(sorted(set(codes)))})" if codes else ""


def _circumstances(past: Past) -> dict:
    """Return the parameters of the run, those that are empty, and `run.json` in short."""
    given = {k: v for k, v in past.params.items() if v not in (None, "", [], {})}
    params = [[k, _value(v), past.origins.get(k, "")] for k, v in given.items()]
    facts = [[k, page.trimmed(str(v), 300, "run.json")] for k, v in _flat(past.facts)]
    return {
        "params": pd.DataFrame(params, columns=["name", "value", "from"]),
        "empty": [k for k in past.params if k not in given],
        "circumstances": pd.DataFrame(facts, columns=["fact", "value"]),
    }


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _flat(facts: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield nested facts as lines, shortened, and without empty ones."""
    for name, value in facts.items():
        if value in (None, "", [], {}) or f"{prefix}{name}" in COVERED:
            continue
        if name in ("notebooks", "lib"):
            yield name, f"{len(value)} files, their hashes in run.json"
        elif name == "command":
            yield name, shlex.join(map(str, value))
        elif name == "packages":
            yield name, ", ".join(f"{k} {v}" for k, v in value.items())
        elif name == "earlier":
            yield name, f"{len(value)} earlier starts, in run.json"
        elif isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", _value(value)
