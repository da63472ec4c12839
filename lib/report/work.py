"""The work of a run: what its stages planned, beside what was done."""

from dataclasses import dataclass, replace

from lib.report.past import Past

LEFT = "not done"
MANY = 50  # steps of a run, from which on those that failed come first


@dataclass(frozen=True)
class Work:
    """A step: what it is, why it was planned ("" if unknown), how it ended, and its error."""

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
    many = len(found) > MANY
    return sorted(found.values(), key=lambda w: (w.stage, many and w.outcome == "done", w.text))


def sentence(past: Past, found: list[Work]) -> str:
    """Return a sentence on the work: how much was planned and how much was done."""
    planned = len([one for one in found if one.why])
    steps = f"{planned} step{'s' * (planned != 1)}"
    if past.params.get("mode") == "plan":
        return f"Planned: {steps}. The run only looked." if planned else "Nothing is left to do."
    done = len([one for one in found if one.outcome == "done"])
    failed = len([one for one in found if one.outcome not in ("done", LEFT)])
    counts = [f"{steps} planned"] * bool(planned) + [f"{done} done"]
    return ", ".join(counts + [f"{failed} failed"] * bool(failed)) + "."
