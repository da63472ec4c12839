"""The work of a run: what its stages planned, beside what was done."""

from dataclasses import dataclass, replace

from lib.record import plans
from lib.record.texts import translated
from lib.report.past import Past
from lib.report.words import joined

LEFT = "not done"
NOT_PLANNED = "not planned"
MANY = 50  # steps of a run, from which on those that failed come first
SIGNS = {"make": "+", "change": "~", "remove": "-"}


@dataclass(frozen=True)
class Work:
    """A step: what it is, why it was planned, how it ended, and its error.

    `sign` is that of its planned effect, `more` are its size, offering and place.
    """

    stage: str
    command: str
    what: str
    why: str = ""
    sign: str = ""
    more: str = ""
    outcome: str = LEFT
    text: str = ""


@dataclass(frozen=True)
class Plan:
    """What all stages planned: a sentence ("" without a record), what exists, what is open.

    `there` are names and states of what existed already, `later` is what a stage has yet to make.
    """

    sentence: str
    there: list[str]
    later: list[str]


def plan(past: Past) -> Plan:
    """Return what the stages of a run planned."""
    found = list(plans.read(past.folder).values())
    there = [joined(row.get("name"), row.get("state")) for one in found for row in one.there]
    pairs = [pair for one in found for step in one.steps for pair in step.later.values()]
    later = [translated("{}, from {}", what, stage) for what, stage in pairs]
    sentence = f"{plans.sentence(found)}." if found else ""
    return Plan(sentence, list(dict.fromkeys(there)), list(dict.fromkeys(later)))


def read(past: Past) -> list[Work]:
    """Return the steps by stage, planned and others; of a repeated one the last outcome counts.

    Among many steps of a stage those that failed come first.
    """
    found: dict[tuple[str, str, str], Work] = {}
    for stage, planned in plans.read(past.folder).items():
        for s in planned.steps:
            more, sign = joined(s.size, s.offering, s.where), SIGNS.get(s.effect, "")
            found[stage, s.command, s.what] = Work(stage, s.command, s.what, s.why, sign, more)
    known = {stage for stage, _, _ in found}
    covered = {(stage, what) for stage, _, what in found}  # such as the start of a new machine
    texts = {(e.stage, e.command, e.what): e.text for e in past.journal if e.state == "failed"}
    for attempt in sorted(past.attempts, key=lambda a: a.started.timestamp() if a.started else 0):
        for step in attempt.steps:
            key = attempt.stage, str(step.get("command", "")), str(step.get("what", ""))
            odd = key[0] in known and (key[0], key[2]) not in covered
            one = found.get(key, Work(*key, why=NOT_PLANNED if odd else ""))
            outcome = str(step.get("outcome", ""))
            text = "" if outcome == "done" else texts.get(key, "")
            found[key] = replace(one, outcome=outcome, text=text)
    if len(found) <= MANY:
        return sorted(found.values(), key=lambda one: one.stage)
    return sorted(found.values(), key=lambda one: (one.stage, one.outcome == "done", one.text))


def sentence(found: list[Work]) -> str:
    """Return a sentence on how many steps were done, failed, and were left."""
    outcomes = [one.outcome for one in found]
    counts = {kind: outcomes.count(kind) for kind in ("done", LEFT)}
    counts["failed"] = len(found) - sum(counts.values())
    return ", ".join(f"{n} {kind}" for kind, n in counts.items() if n or kind == "done") + "."
