"""The report: a whole run on one page, which needs nothing besides itself to be read or printed."""

import shlex
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from lib.chain import whole
from lib.chain.faults import BadInput
from lib.progress import span
from lib.report import cells, page, resources, timeline
from lib.report.cells import Limits
from lib.report.known_errors import explain
from lib.report.page import Html, el, join, rows
from lib.report.past import ENDED_WELL, Attempt, Past, ms, read
from lib.report.resources import Shown
from lib.report.words import clock, mark, tone

FILE = "report.html"
SEAL = "MANIFEST.sha256"
MOST = 150_000  # bytes
# Tried in turn until the page is small enough; each time less of the long outputs is shown.
LIMITS = (
    Limits(200, 6000),
    Limits(60, 2500),
    Limits(25, 1200, 160),
    Limits(10, 500, 100, code=False),
    Limits(3, 120, 60, code=False),
)
PROJECT = Path(__file__).resolve().parent.parent.parent
REMOVAL = "90"
MOST_CHANGES = 200


def write(folder: Path, to: Path | None = None) -> Path:
    """Write the report of a run from what is in its folder, and return its path."""
    return whole.write(to or folder / FILE, html(read(folder)))


def write_unsealed(folder: Path, to: Path | None = None) -> Path:
    """Write the report as `write` does; raise `BadInput` where that would change a sealed run."""
    if to is None and (folder / SEAL).exists():
        raise BadInput([f"{folder} is sealed and has its {FILE}: write another with --to FILE"])
    return write(folder, to)


def html(past: Past) -> str:
    """Return the report's page, with as much of the outputs as there is room for."""
    around = _above(past), _below(past)
    for limits in LIMITS:
        text = page.page(f"Run {past.folder.name}", around[0], _stages(past, limits), around[1])
        if len(text.encode()) <= MOST:
            break
    return text


def _above(past: Past) -> Html:
    shown = resources.tables(past)
    what_failed, made = _failure(past, shown), _resources(past, shown)
    strip = el("ul", *(el("li", _chip(a)) for a in past.stages), class_="strip")
    return join(_head(past), strip, what_failed, _timeline(past), made)


def _below(past: Past) -> Html:
    return join(_parameters(past), _requests(past), _circumstances(past))


# ── the outcome ──────────────────────────────────────────────────────────────────────────────────


def _head(past: Past) -> Html:
    who = " at ".join(filter(None, [past.facts.get("user"), past.facts.get("host")]))
    cloud = past.facts["told"].get("endpoint") or past.params.get("profile", "")
    mode = f"mode {past.params['mode']}" if "mode" in past.params else ""
    told = " · ".join(map(str, filter(None, [clock(past.started), mode, cloud, who])))
    reason = past.facts.get("reason")
    return el(
        "header",
        el("h1", f"Run {past.folder.name}"),
        el("p", _mark(past.cause), f" {sentence(past)}", class_="lead"),
        el("p", told, class_="dim"),
        reason and el("p", "Reason: ", str(reason)),
        el("div", _next(past), class_=f"box {tone(past.cause)}"),
    )


def _mark(cause: str) -> Html:
    return el("span", mark(cause), class_=tone(cause))


def sentence(past: Past) -> str:
    """Say in one sentence how the run ended."""
    whole, well = len(past.stages), sum(a.cause in ENDED_WELL for a in past.stages)
    if past.cause == "running":
        return f"The run is still going on; {well} of {whole} stages have ended well so far."
    if past.cause == "ok" and well == whole:
        all_ = f"All {whole} stages" if whole > 1 else f"The stage {past.stages[0].stage}"
        again = {0: "", 1: ", resumed once"}.get(past.resumed, f", resumed {past.resumed} times")
        return f"{all_} ended well in {span(past.seconds)}{again}{_made(past)}."
    at = past.stopped
    if at is None:
        why = f"failed: {past.error}" if past.error else f"was {past.cause}"
        return f"The run {why}; {well} of {whole} stages ended well."
    how = {"kernel-died": "lost its kernel", "timed-out": "ran out of time", "failed": "failed",
           "interrupted": "was interrupted", "killed": "was killed"}  # fmt: skip
    said = how.get(at.cause, f"was {at.cause}" if at.cause == "abandoned" else at.cause)
    left = sum(a.cause == "not-run" for a in past.stages)
    rest = f" and {left} {'was' if left == 1 else 'were'} not run" if left else ""
    return (
        f"{at.stage} {said} after {span(past.seconds)}; {well} of {whole} stages ended well{rest}."
    )


def _made(past: Past) -> str:
    if past.params.get("mode") == "plan":
        return "; nothing was changed, as the run only looked"
    done = sum(s.get("outcome") == "done" for s in past.steps)
    if not done:
        return " and found nothing left to do"
    return f", with {done} change{'s' * (done > 1)}"


def _next(past: Past) -> Html:
    """Say what to do next."""
    if past.cause == "running":
        return el("p", "Wait for its end; this page tells how far it was when it was written.")
    if past.cause != "ok" or past.stopped:
        return _mend(past)
    removal = past.stages and all(a.stage >= "70" for a in past.stages)
    if past.params.get("mode") == "plan":
        words = "Read the tables under Plan below. To make these changes:"
        option = "--stages " + ",".join(a.stage[:2] for a in past.stages) if removal else ""
        return join(el("p", words), _command(past, option, "--mode apply"))
    if removal:
        return el("p", "Nothing is left to do.")
    return join(
        el("p", "Nothing is left to do. To see what undoing it all would remove:"),
        _command(past, f"--stages {REMOVAL}", "--mode plan"),
    )


def _mend(past: Past) -> Html:
    """Say what the stop means, what to do about it, and whether trying again is safe."""
    at = past.stopped
    known = explain(at.cause if at else past.cause, at.error if at else past.error)
    return join(
        el("p", known.means),
        el("p", el("b", "What to do: "), known.do),
        el("p", el("b", "Is trying again safe? "), known.again),
        el("pre", f"runbook resume {shlex.quote(_near(past.folder))}", class_="cmd"),
    )


def _command(past: Past, *options: str) -> Html:
    words = ["runbook", "run", f"{_near(past.folder)}/params.yaml", *filter(None, options)]
    return el("pre", " ".join([*words[:2], shlex.quote(words[2]), *words[3:]]), class_="cmd")


def _near(folder: Path) -> str:
    """Return a folder as it is typed in the project's folder."""
    whole = folder.resolve()
    return str(whole.relative_to(PROJECT) if whole.is_relative_to(PROJECT) else whole)


def _chip(attempt: Attempt) -> Html:
    word = attempt.cause.replace("-", " ") if attempt.cause != "ok" else span(attempt.seconds)
    number, _, name = attempt.stage.partition("-")
    said = (
        f"{mark(attempt.cause)} {number} ",
        el("b", name.replace("-", " ")),
        el("br"),
        el("small", word),
    )
    return el("a", *said, href=f"#{attempt.stage}", class_=tone(attempt.cause))


# ── what failed ──────────────────────────────────────────────────────────────────────────────────


def _failure(past: Past, shown: Shown) -> Html | None:
    """Return what an operator needs at a failure, None when nothing failed."""
    at = past.stopped
    if at is None:
        return None
    link = el("a", "its cells are below", href=f"#{at.stage}")
    return el(
        "section",
        el("h2", "What failed"),
        el("p", f"{at.stage}, {at.cause}", _under(at), " (", link, ")."),
        at.error and el("pre", cells.trimmed(at.error, 3000, f"{at.stage}.ipynb")),
        _open(past),
        el("h3", "What exists now"),
        _standing(past, shown),
        el("h3", "To remove it all instead"),
        el("p", "The first command only shows what would go; the second removes it."),
        _command(past, f"--stages {REMOVAL}", "--mode plan"),
        _command(past, f"--stages {REMOVAL}", "--mode apply"),
    )


def _under(attempt: Attempt) -> str:
    """Say under which heading of its notebook an attempt stopped, "" if nothing tells."""
    heading = ""
    for cell in attempt.book.get("cells", []):
        lines = "".join(cell["source"]).splitlines()
        if cell["cell_type"] == "markdown":
            heading = next((ln.lstrip("# ") for ln in lines if ln.startswith("#")), heading)
        told = cell.get("metadata", {}).get("runbook", {}).get("cause", "")
        told = attempt.cells.get(cell.get("id", ""), {}).get("cause", told)
        raised = any(o["output_type"] == "error" for o in cell.get("outputs", []))
        if raised or told not in ("", "ok", "skipped", "not-run"):
            return f" under “{heading}”" if heading else ""
    return ""


def _open(past: Past) -> Html | None:
    entries = resources.unsettled(past)
    if not entries:
        return None
    return join(
        el("h3", "Begun without a known end"),
        el("p", "These may have been done, or may still be going on, at the cloud or on "
           "the machine that is named. Resuming looks for each of them first."),
        _sent([{"text": _params(e)} | e for e in entries]),
    )  # fmt: skip


def _standing(past: Past, shown: Shown) -> Html:
    found = resources.standing(past, shown)
    if not found:
        return el("p", "No table of this run shows anything that the parameters name.")
    made = []
    for seen in found:
        made.append(el("p", el("small", f"as {seen.stage} saw it under {seen.heading}")))
        made.append(cells.frame(_id_first(seen.rows), LIMITS[1], f"{seen.stage}.ipynb"))
    words = "What carries a name from the parameters, or was touched by this run, as last seen. "
    later = [s for s in past.stopped.steps if s.get("outcome") == "done"]
    if later:
        ids = {(e.get("command"), e.get("what")): e.get("resource") for e in resources.sent(past)}
        done = ", ".join(_done(s, ids) for s in later)
        words += f"Before it stopped, {past.stopped.stage} had done: {done}."
    return join(el("p", words), *made)


def _done(step: dict, ids: dict[tuple, str | None]) -> str:
    known = ids.get((step.get("command"), step.get("what")))
    return f"{step.get('command')} {step.get('what')}" + (f" (id {known})" if known else "")


# ── what happened ────────────────────────────────────────────────────────────────────────────────


def _timeline(past: Past) -> Html | None:
    drawn = timeline.draw(past, _named)
    return drawn and el("section", el("h2", "Timeline"), drawn)


def _named(attempt: Attempt) -> Html:
    more = f" (attempt {attempt.number})" if attempt.number > 1 else ""
    return join(_mark(attempt.cause), f" {attempt.stage}{more}")


def _resources(past: Past, shown: Shown) -> Html:
    found = resources.changed(shown)
    table = (
        _differences(found)
        if len(found)
        else el("p", "The tables Before and After show no difference.")
    )
    steps = [
        [a.stage, s.get("outcome", ""), s.get("command", ""), s.get("what", "")]
        for a in [*past.earlier, *past.stages]
        for s in a.steps
    ]
    sent = resources.sent(past)
    return el(
        "section",
        el("h2", "Resources made, changed and removed"),
        el("p", "The difference between the tables Before and After of each stage."),
        table,
        steps and join(el("h3", "Steps"), rows(["stage", "outcome", "command", "what"], steps)),
        sent and el("details", el("summary", f"the journal: {len(sent)} changes"), _sent(sent)),
    )


def _differences(found: pd.DataFrame) -> Html:
    """Return the differences as a table, each stage named once, an id below its name."""
    body, before = [], ""
    for row in found.head(MOST_CHANGES).to_dict("records"):
        named = join(row["name"], row["id"] and join(el("br"), _short(row["id"])))
        stage = row["stage"] if row["stage"] != before else ""
        body.append([stage, row["change"], named, row["details"][:400]])
        before = row["stage"]
    left = len(found) - len(body)
    more = left > 0 and el("p", el("small", f"{left} more; the notebooks hold them"))
    return join(rows(["stage", "change", "name and id", "details"], body, class_="diff"), more)


def _id_first(table: pd.DataFrame) -> pd.DataFrame:
    """Put the id behind the first column, where no narrow page cuts it off."""
    names = [n for n in table.columns if n != "id"]
    return table[[*names[:1], *(["id"] if "id" in table else []), *names[1:]]]


def _sent(entries: Iterable[dict]) -> Html:
    head = ["stage", "command", "what", "state", "resource, job", "text"]
    body = [
        [_short(e.get(n)) for n in head[:4]]
        + [
            join(_short(e.get("resource")), el("br"), _short(e.get("job") or e.get("customjobid"))),
            _short(e.get("text")),
        ]
        for e in entries
    ]
    return rows(head, body)


def _params(entry: dict) -> str:
    return ", ".join(f"{k} {v}" for k, v in (entry.get("params") or {}).items())


def _short(value: object) -> Html | str:
    said = "" if value is None else str(value)
    return el("span", said[:300], class_="id") if cells.ID.fullmatch(said) else said[:300]


def _stages(past: Past, limits: Limits) -> Html:
    shown = [_stage(past, attempt, limits) for attempt in past.stages]
    return el("section", el("h2", "The stages"), *shown)


def _stage(past: Past, attempt: Attempt, limits: Limits) -> Html:
    title = cells.stage_title(attempt.book) or attempt.stage.replace("-", " ")
    spent = f" · {attempt.cause}" + (f" · {span(attempt.seconds)}" if attempt.seconds else "")
    file = f"{attempt.stage}.ipynb"
    if attempt.book:
        inner = cells.body(attempt.book, attempt.cells, limits, file)
    elif attempt.cause == "not-run":
        inner = el("p", "This stage was not run.", class_="dim")
    else:
        inner = el("p", f"Its notebook {file} is not in the folder.", class_="warn")
    return el(
        "details",
        el("summary", _mark(attempt.cause), f" {title}", el("small", spent)),
        el("div", _files(past, attempt, bool(attempt.book)), inner),
        class_="stage", id_=attempt.stage, open_=True,
    )  # fmt: skip


def _files(past: Past, attempt: Attempt, there: bool) -> Html | None:
    """Return links to the notebooks of a stage: this one and those of earlier attempts."""
    before = [a for a in past.earlier if a.stage == attempt.stage]
    made = [el("a", f"{attempt.stage}.ipynb", href=f"{attempt.stage}.ipynb")] if there else []
    for a in before:
        name = f"{a.stage}.attempt{a.number}.ipynb"
        said = f"attempt {a.number}: {a.cause}"
        made.append(join(" · ", el("a", said, href=name) if a.notebook else said))
    return el("p", el("small", *made)) if made else None


# ── what it ran with ─────────────────────────────────────────────────────────────────────────────


def _parameters(past: Past) -> Html | None:
    if not past.params:
        return None
    body = [[k, _value(v), past.origins.get(k, "")] for k, v in past.params.items()]
    return el("section", el("h2", "Parameters"), rows(["name", "value", "from"], body))


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _requests(past: Past) -> Html | None:
    """Return how often each command was asked for, and how long that took."""
    if not past.api:
        return None
    by: dict[str, list[dict]] = {}
    for line in past.api:
        by.setdefault(str(line.get("command")), []).append(line)
    told = sorted(by.items(), key=lambda item: -sum(map(ms, item[1])))
    body = [
        [name, str(len(of)), f"{sum(map(ms, of)):.0f}", f"{max(map(ms, of)):.0f}", _bad(of)]
        for name, of in told
    ]
    whole = f"{len(past.api)} requests, {sum(map(ms, past.api)) / 1000:.1f} s in all."
    head = ["command", "count", "total, ms", "slowest, ms", "not answered well"]
    table = rows(head, body, right=head[1:4])
    return el("section", el("h2", "API requests"), el("p", whole), table)


def _bad(of: list[dict]) -> str:
    codes = [line.get("code") or line.get("status") or "no answer" for line in of]
    bad = sorted({str(c) for c in codes if str(c) not in ("0", "200")})
    count = sum(str(c) not in ("0", "200") for c in codes)
    return f"{count} ({', '.join(bad)})" if count else ""


def _circumstances(past: Past) -> Html | None:
    """Return what `run.json` tells, and what of the folder could not be read."""
    told = [[k, cells.trimmed(str(v), 300, "run.json")] for k, v in _flat(past.facts)]
    unread = past.unread and el(
        "p", "Could not be read: ", "; ".join(past.unread), ".", class_="warn"
    )
    if not (told or unread):
        return None
    return el("section", el("h2", "Circumstances"), unread, told and rows(["", ""], told))


def _flat(facts: dict, prefix: str = "") -> list[tuple[str, object]]:
    """Return nested facts as lines, the long ones in short."""
    made: list[tuple[str, object]] = []
    for name, value in facts.items():
        if name in ("notebooks", "lib"):
            made.append((name, f"{len(value)} files, their hashes in run.json"))
        elif name == "command":
            made.append((name, shlex.join(map(str, value))))
        elif name == "packages":
            made.append((name, ", ".join(f"{k} {v}" for k, v in value.items())))
        elif name == "earlier":
            made += [(name, f"{len(value)} earlier starts, in run.json")] if value else []
        elif isinstance(value, list):
            made += [(f"{prefix}{name}", ", ".join(map(str, value)))] if value else []
        elif isinstance(value, dict):
            made += _flat(value, f"{prefix}{name} ")
        elif value not in (None, ""):
            made.append((f"{prefix}{name}", value))
    return made
