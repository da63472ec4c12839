"""Plans: lists of steps that can be shown, compared, and applied side by side."""

import os
import re
from collections.abc import Callable

import pandas as pd

from lib import changes, sending, tables, underway
from lib.cloud import Cloud
from lib.errors import CheckFailed, CloudError, ParamsError
from lib.record import plans
from lib.steps import Id, Pending, Step, tag_params
from lib.waiting import Waiting, tell

MODES = ("plan", "apply")
MANY = 40  # steps that are told one by one at most
# What a text of CloudStack names of one machine: its row, its id, its name at the hypervisor.
OF_ONE = re.compile(r"\{[^{}]*\}|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\bi-\d+-\d+-\w+")


def check_mode(mode: str) -> None:
    """Raise ParamsError unless `mode` is "plan" or "apply"."""
    if mode not in MODES:
        raise ParamsError("mode", '"plan" or "apply"', mode)


def show(plan: list[Step], *there: dict | None) -> pd.DataFrame:
    """Return the plan as a table: a row a step, a column a parameter; "none" where it is empty.

    An id stands behind the name that it is of. Parameters that repeat `what` are left out. `there`
    are the rows of what the stage is about and exists already. Both go into the run's record:
    raises CheckFailed for a step that is not in the approved plan, if the run carries out one.
    """
    exist = [_named(row) for row in there if row]
    plans.add([_planned(s) for s in plan if not _follows(s)], exist)
    for line in _listed(exist):
        print("There already:", line)
    rows = [{"command": s.command, "what": s.what, "why": s.why} | _shown(s) for s in plan]
    nothing = {"command": "none", "what": "", "why": "nothing to do"}
    return pd.DataFrame(rows or [nothing]).fillna("")


def _listed(rows: list[dict[str, str]]) -> list[str]:
    """Return a line for each row, or where there are MANY for each state."""
    if len(rows) <= MANY:
        return [", ".join(filter(None, row.values())) for row in rows]
    states: dict[str, list[str]] = {}
    for row in rows:
        states.setdefault(row["state"], []).append(row["name"])
    return [f"{some(names)}, {state}" for state, names in states.items()]


def _named(row: dict) -> dict[str, str]:
    """Return name, state and id of a row of the cloud; a template is ready or not."""
    ready = {True: "ready", False: "not ready"}.get(row.get("isready", ""), "")
    state = str(row.get("state") or ready)
    return {"name": str(row.get("name", "")), "state": state, "id": str(row.get("id", ""))}


def _follows(step: Step) -> bool:
    """Tell whether a step completes another one of its stage, as the start of a new machine."""
    stage = os.environ.get("RUNBOOK_STAGE")
    return any(isinstance(v, Pending) and v.stage == stage for v in step.params.values())


def _planned(step: Step) -> plans.Planned:
    """Return a step for the record. A size in bytes, as of a volume's row, is one in GB there."""
    params, shown = step.params, _shown(step)
    later = {k: [v.what, v.stage] for k, v in params.items() if isinstance(v, Pending)}
    size = params.get("size") or 0 if "text" not in params else 0
    names = {k: v.name for k, v in params.items() if isinstance(v, Id)}
    return plans.Planned(
        step.effect,
        step.command,
        step.what,
        step.why,
        f"{size if size < 2**20 else size / 2**30:g} GB" if size else "",
        next((n for k, n in names.items() if k.endswith("offeringid")), ""),
        next((names[k] for k in ("zoneid", "virtualmachineid") if k in names), ""),
        {k: v for k, v in shown.items() if params[k] not in (None, "")},
        later,
    )


def _shown(step: Step) -> dict[str, str]:
    return {k: tables.text(v) for k, v in step.params.items() if v != step.what}


def due(plan: list[Step], mode: str) -> list[Step]:
    """Return the steps to apply now, none in plan mode; print that where there are none.

    Raises ParamsError for another mode than "plan" and "apply", and CheckFailed when a step needs
    what an earlier stage has yet to create.
    """
    check_mode(mode)
    if not plan:
        print("Nothing to do.")
    elif mode == "plan":
        print(f"Plan mode: {len(plan)} {'step' if len(plan) == 1 else 'steps'}, none applied.")
    else:
        _demand_complete(plan)
        return plan
    return []


def perform(plan: list[Step], mode: str, action: Callable[[Step], str]) -> None:
    """Apply steps that are no requests, one after the other, as `apply` does.

    The action does one step and returns what to print of it.
    """
    for step in due(plan, mode):
        tell("done", step.command, step.what, action(step))


def apply(
    cloud: Cloud, plan: list[Step], mode: str, *, at_once: int = 0, within: float = 3600
) -> None:
    """Make the changes side by side, printing each outcome at once; in plan mode make none.

    When a step fails, those that run come to their end and no other starts, unless it is one of
    many; then the first error is raised, which names all. `within` is how many seconds one job may
    take. Steps must not depend on each other; `at_once=1` makes them one after the other, and 0 as
    many at once as the cloud bears.
    """
    if failed := attempt(cloud, plan, mode, at_once=at_once, within=within):
        raise first(failed, len(plan))


def first(failed: dict[str, CloudError], count: int) -> CloudError:
    """Return the first error of so many steps; its text groups what failed by the reasons."""
    error = next(iter(failed.values()))
    if len(failed) > 1:
        reasons: dict[str, list[str]] = {}
        for what, one in failed.items():
            reasons.setdefault(_reason(what, one), []).append(what)
        lines = [f"  {reason}: {some(names)}" for reason, names in reasons.items()]
        again = "What ended well stays; run this stage again, which does what is left."
        text = f"{len(failed)} of {count} steps failed. {again}"
        error.args = ("\n".join([f"{error}", text, *lines]),)
    return error


def _reason(what: str, error: CloudError) -> str:
    """Return the code and the text of an error, without what is of this step alone."""
    text = OF_ONE.sub("…", getattr(error, "text", "") or str(error))
    text = re.sub(rf"(?<![\w-]){re.escape(what)}(?![\w-])", "…", text)
    return f"{getattr(error, 'code', '')} {text}".strip()


def some(names: list[str]) -> str:
    """Return names as a text, of more than ten the first and the last ones.

    >>> some([f"m-{n}" for n in range(1, 1001)])
    'm-1, m-2, m-3 … m-1000 (1000)'
    """
    if len(names) <= 10:
        return ", ".join(names)
    return f"{', '.join(names[:3])} … {names[-1]} ({len(names)})"


def attempt(
    cloud: Cloud, plan: list[Step], mode: str, *, at_once: int = 0, within: float = 3600
) -> dict[str, CloudError]:
    """Do as `apply` does, but return the errors by the step's `what` instead of raising one.

    Of more than MANY steps those that end well, or fail for a known reason, are told in the end.
    """
    plan, failed, created = due(plan, mode), {}, []
    later: dict[tuple[str, str, str], list[str]] = {}  # names by outcome, command and reason
    try:
        with Waiting() as waiting:
            for step, result, was_so in sending.run_all(cloud, plan, at_once, within, waiting.show):
                if isinstance(result, CloudError) and not was_so:
                    failed[step.what] = result
                    alike = "failed", step.command, _reason(step.what, result)
                    is_new, why = alike not in later, str(result)
                else:
                    why = "it was so already" if was_so else step.why
                    is_new, alike = False, ("done", step.command, why.replace(step.what, "…"))
                    created += [(step, str(result["id"]))] if step.tags and not was_so else []
                names = later.setdefault(alike, [])
                if len(plan) <= MANY or is_new:
                    tell(alike[0], step.command, step.what, why)
                else:
                    names.append(step.what)
    finally:  # also where it is interrupted
        for (outcome, command, why), names in later.items():
            if names:
                tell(outcome, command, some(names), why, names)
    if created and cloud.has_tags:
        _tag(cloud, created)
    return failed


def _tag(cloud: Cloud, created: list[tuple[Step, str]]) -> None:
    """Tag what the steps created: one call for many of a kind, as they share their tags.

    The server bounds no number of ids and tags all or none (TaggedResourceManagerImpl), but its
    forms (1 MiB, ServerDaemon) and the parameters of a job (a TEXT of 64 KiB, the column
    async_job.job_cmd_info).
    """
    kinds: dict[tuple, list[tuple[str, str]]] = {}
    for step, resource_id in created:
        kind = step.resource, tuple(step.tags.items())
        kinds.setdefault(kind, []).append((resource_id, step.what))
    for (resource, tags), rows in kinds.items():
        for part in (rows[n : n + 500] for n in range(0, len(rows), 500)):
            ids = [resource_id for resource_id, _ in part]
            more = underway.of_new(cloud, resource, ids)
            params = tag_params(ids, resource, dict(tags) | more)
            step = Step("createTags", params, "just made", some([what for _, what in part]))
            try:
                sending.run(cloud, step.command, what=step.what, **params)
            except CloudError as error:
                if not changes.is_so_already(cloud, step, error):
                    raise


def _demand_complete(plan: list[Step]) -> None:
    for step in plan:
        for value in step.params.values():
            if isinstance(value, Pending):
                raise CheckFailed(
                    value.what, "there", "absent", f"Run {value.stage} first. Nothing was sent."
                )
