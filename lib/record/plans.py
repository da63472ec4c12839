"""The plans of a run's stages, as data: what would be made, changed and removed, and what is there.

`plan.jsonl` of the run folder holds a line for each plan that a stage shows. `approved.jsonl`
beside it is the `plan.jsonl` of another run, which this one carries out: no stage may plan more.
"""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from lib.errors import CheckFailed
from lib.record import jsonl, masks, whole
from lib.record.journal import now, run_folder, this_process
from lib.record.texts import translated

FILE = "plan.jsonl"
APPROVED = "approved.jsonl"
EFFECTS = ("make", "change", "remove")


@dataclass(frozen=True)
class Planned:
    """One step of a plan, in words: no value here is sent to a cloud.

    `effect` is one of EFFECTS. `details` are the parameters as they are shown; `later` are those
    that cannot be known yet: what, and the stage it comes from.
    """

    effect: str
    command: str
    what: str
    why: str = ""
    size: str = ""
    offering: str = ""
    where: str = ""
    details: dict[str, str] = field(default_factory=dict)
    later: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        more = ", ".join(filter(None, (self.size, self.offering, self.where)))
        return f"{self.effect} {self.what} ({self.command}{more and ', '}{more})"


@dataclass
class Plan:
    """The plan of a stage, and what it found there already: rows of name, state and id."""

    stage: str
    steps: list[Planned] = field(default_factory=list)
    there: list[dict] = field(default_factory=list)


def add(steps: list[Planned], there: Iterable[dict] = ()) -> None:
    """Append the plan of this stage to the run's record; do nothing outside of a run.

    Raises CheckFailed for a step that is not in the plan that the run carries out.
    """
    if not os.environ.get("RUNBOOK_RUN"):
        return
    stage = os.environ.get("RUNBOOK_STAGE", "")
    line = {"at": now(), "stage": stage, "process": this_process()}
    line |= {"steps": [asdict(s) for s in steps], "there": list(there)}
    with jsonl.opened(run_folder() / FILE) as file:
        jsonl.append(file, masks.masked(line))  # type: ignore[arg-type]
    if (run_folder() / APPROVED).exists():
        approved = read(run_folder() / APPROVED).get(stage, Plan(stage))
        if new := _beyond(approved.steps, steps):
            raise CheckFailed(
                "What this stage would do now is not in the approved plan:\n"
                + "\n".join(f"  {text}" for text in new),
                next_step="This stage changed nothing. Make a new plan and have it approved.",
            )


def read(path: Path) -> dict[str, Plan]:
    """Return the plans in a file or in a run's folder by stage, each of its last attempt."""
    found: dict[str, tuple[object, Plan]] = {}
    for line in jsonl.read(path / FILE if path.is_dir() else path)[0]:
        stage, process = str(line.get("stage") or ""), line.get("process")
        if stage not in found or found[stage][0] != process:
            found[stage] = process, Plan(stage)
        found[stage][1].steps.extend(map(_planned, _dicts(line.get("steps"))))
        found[stage][1].there.extend(_dicts(line.get("there")))
    return {stage: plan for stage, (_, plan) in found.items()}


def _planned(row: dict) -> Planned:
    """Return a step from its line; a field of another type than a record's is left out."""
    kinds = {f.name: dict if f.name in ("details", "later") else str for f in fields(Planned)}
    held = {n: row[n] for n, kind in kinds.items() if isinstance(row.get(n), kind)}
    return Planned(**{"effect": "change", "command": "?", "what": "?"} | held)


def _dicts(rows: object) -> list[dict]:
    return [r for r in rows if isinstance(r, dict)] if isinstance(rows, list) else []


def count(plans: Iterable[Plan]) -> dict[str, int]:
    """Return how many steps make, change and remove something."""
    seen = Counter(s.effect for p in plans for s in p.steps)
    return {effect: seen[effect] for effect in EFFECTS}


def sentence(plans: Iterable[Plan]) -> str:
    """Return the counts in words.

    >>> sentence([Plan("10", [Planned("make", "createVolume", "disk")])])
    'Plan: 1 to make, 0 to change, 0 to remove'
    """
    return translated("Plan: {} to make, {} to change, {} to remove", *count(plans).values())


def copy_approved(plan: Path, folder: Path) -> None:
    """Have the run in `folder` carry out the plan of the run in the folder `plan`."""
    text = (plan / FILE).read_bytes() if (plan / FILE).exists() else b""
    whole.write(folder / APPROVED, text.decode("utf-8", "replace"))


def difference(approved: dict[str, Plan], current: dict[str, Plan]) -> list[str]:
    """Return a line for each step that only one of two plans has, or that differs in both."""
    found = []
    for stage in sorted(approved.keys() | current.keys()):
        old, new = (plans.get(stage, Plan(stage)).steps for plans in (approved, current))
        found += [f"{stage}: no longer planned: {text}" for text in _beyond(new, old, is_old=True)]
        found += [f"{stage}: new: {text}" for text in _beyond(old, new)]
    return found


def _beyond(approved: list[Planned], steps: list[Planned], is_old: bool = False) -> list[str]:
    """Return the steps that are not among the approved ones, each with what differs."""
    left: dict[tuple, list[Planned]] = {}
    for one in approved:
        left.setdefault(_key(one), []).append(one)
    found = []
    for step in steps:
        same = left.get(_key(step), [])
        fitting = next((o for o in same if not _differs(o, step)), None)
        if fitting:
            same.remove(fitting)
        elif not same:
            found.append(str(step))
        elif not is_old:
            found.append(f"{step}: {_differs(same[0], step)}")
    return found


def _key(step: Planned) -> tuple[str, str, str]:
    return step.effect, step.command, step.what


def _differs(approved: Planned, step: Planned) -> str:
    """Say in which known details a step differs from the approved one, "" if in none.

    What was not known when the plan was made may be anything now.
    """
    known = {k: v for k, v in approved.details.items() if v and k not in approved.later}
    pairs = [(k, v, step.details.get(k, "nothing")) for k, v in known.items()]
    return ", ".join(f"{k} was {old}, is {new}" for k, old, new in pairs if new != old)
