"""Approving: a run in plan mode whose plan another run is to carry out."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lib.chain import resume, verify
from lib.chain.params import Parameter
from lib.chain.stages import Stage, choose, find
from lib.chain.summary import near
from lib.chain.values import Value
from lib.record import ledger
from lib.record.faults import BadInput
from lib.report.console import invoked


def planned(
    run: str, runs: Path
) -> tuple[Path, list[Stage], dict[str, Parameter], dict[str, Value]]:
    """Return the folder of a run in plan mode, and its stages, parameters and values.

    Raises `BadInput` for a run that was none, did not end well, or is not as it was sealed.
    """
    folder = resume.folder_of(run, runs)
    lines = ledger.read(folder)
    stages, table, values = resume.repeated(folder, ledger.beginning(folder, lines))
    anew = f"Make a new plan: {_to_plan(folder, stages)}"
    if "mode" not in values or values["mode"].value != "plan":
        raise BadInput([f"{folder}: this run was no plan, but changed what was left to do. {anew}"])
    if (ended := ledger.state(folder)) != "ok":
        raise BadInput([f"{folder}: this plan is not complete, its run ended as {ended}. {anew}"])
    if found := verify.verify(folder):
        faults = [f"{folder}: its record was changed: {finding}" for finding in found]
        raise BadInput([*faults, anew])
    origin = replace(values["mode"], origin=f"plan {folder.name}")
    return folder, stages, table, values | {"mode": origin}


def _to_plan(folder: Path, chosen: Sequence[Stage]) -> str:
    """Return the command that plans once more what a run was about."""
    words = [*invoked(), "plan", near(folder / "params.yaml")]
    if list(chosen) != choose(find(chosen[0].path.parent)):
        words += ["--stages", ",".join(f"{stage.number:02}" for stage in chosen)]
    return shlex.join(words)
