"""The work of a run: what its stages planned, beside what was done."""

from dataclasses import dataclass, replace

from lib.report.past import Past

LEFT = "not done"
NOT_PLANNED = "not planned"
MANY = 50  # steps of a run, from which on those that failed come first


@dataclass(frozen=True)
class Work:
    """A step: what it is, why it was planned, how it ended, and its error.

    `why` is NOT_PLANNED where the stage's plan is known and lacks the step, "" where it is not.
    """

    stage: str
    command: str
    what: str
    why: str = ""
    outcome: str = LEFT
    text: str = ""


def read(past: Past) -> list[Work]:
    """Return the steps of all attempts by stage; of a repeated one the last outcome counts.

    Among many steps of a stage those that failed come first.
    """
    texts = {(e.stage, e.command, e.what): e.text for e in past.journal if e.state == "failed"}
    found: dict[tuple[str, str, str], Work] = {}
    for attempt in sorted(past.attempts, key=lambda a: a.started.timestamp() if a.started else 0):
        for frame in attempt.tables:
            if frame.attrs["heading"] == "Plan" and {"command", "what", "why"} <= {*frame.columns}:
                for row in frame[frame["command"] != "none"].itertuples(index=False):
                    one = Work(attempt.stage, str(row.command), str(row.what), str(row.why))
                    found.setdefault((one.stage, one.command, one.what), one)
        for step in attempt.steps:
            key = attempt.stage, str(step.get("command", "")), str(step.get("what", ""))
            outcome = str(step.get("outcome", ""))
            text = "" if outcome == "done" else texts.get(key, "")
            found[key] = replace(found.get(key, Work(*key)), outcome=outcome, text=text)
    known = _with_whole_plans(past)
    rows = [
        replace(w, why=NOT_PLANNED) if not w.why and w.stage in known else w for w in found.values()
    ]
    many = len(rows) > MANY
    return sorted(rows, key=lambda w: (w.stage, *((w.outcome == "done", w.text) if many else ())))


def _with_whole_plans(past: Past) -> set[str]:
    """Return the stages whose notebooks show all of their plans."""
    shown = [(a.stage, f) for a in past.attempts for f in a.tables if f.attrs["heading"] == "Plan"]
    cut = {stage for stage, frame in shown if frame.attrs.get("rows", 0) > len(frame)}
    return {stage for stage, _ in shown} - cut


def sentence(past: Past, found: list[Work]) -> str:
    """Return a sentence on the work: how much was planned and how much was done."""
    planned = len([one for one in found if one.why not in ("", NOT_PLANNED)])
    steps = f"{planned} step{'s' * (planned != 1)}"
    if past.params.get("mode") == "plan":
        return f"Planned: {steps}. The run only looked." if planned else "Nothing is left to do."
    done = len([one for one in found if one.outcome == "done"])
    failed = len([one for one in found if one.outcome not in ("done", LEFT)])
    counts = [f"{steps} planned"] * bool(planned) + [f"{done} done"]
    return ", ".join(counts + [f"{failed} failed"] * bool(failed)) + "."
