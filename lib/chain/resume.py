"""Resumes a run that did not succeed, in its folder, with all its stages in order.

Finished stages only check the cloud; a stage that did not end starts again in a new kernel. A
scheduler may also have a run go on with one stage after another.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lib.chain import params, stages, values
from lib.chain.params import Parameter
from lib.chain.run import Work
from lib.chain.stages import Stage
from lib.chain.values import Value
from lib.record import ledger
from lib.record.faults import BadInput
from lib.report import past

NAME = re.compile(r"\d{8}-\d{6}-[\w.-]{1,80}")
EXAMPLE = "20260304-050607-web"
WITHOUT = (
    "it cannot be resumed as it is: restore that file, or start a new run with the same parameters "
    "(`runbook run FILE`); it does only what is left"
)


def folder_of(run: str, runs: Path) -> Path:
    """Return the folder of a run from its path or its name below `runs`."""
    folder = past.named(run, runs)
    if not (folder / ledger.FILE).is_file():
        missing = f"{folder}: there is no ledger ({ledger.FILE}) in it to continue from"
        raise BadInput([missing, f"{folder}: {WITHOUT}"])
    return folder


def work(
    folder: Path,
    *,
    notebooks: Path | None = None,
    cell_timeout: int | None = None,
    reason: str = "",
    **more: object,
) -> Work | None:
    """Return the work left in a run's folder, None when the run succeeded.

    The stages and all options that are not given come from the run, the parameters from its folder;
    the notebooks may have changed. `more` are further fields of `Work`. Raises AtWork when the
    run has not ended, and `BadInput` when it cannot be repeated.
    """
    lines = ledger.read(folder)
    try:
        began = ledger.beginning(folder, lines)
    except BadInput as bad:
        raise BadInput([*bad.faults, f"{folder}: {WITHOUT}"]) from None
    if ledger.is_locked(folder, ledger.patience(folder)):
        raise ledger.at_work(folder)
    if ledger.outcome(lines) == "ok":
        return None
    chosen, table, merged = repeated(folder, began, notebooks)
    more["cell_timeout"] = cell_timeout or began.get("cell_timeout")
    more["reason"] = reason or began.get("reason", "")
    return Work(folder, chosen, table, merged, resumed=True, **more)


def further(name: str, work: Work) -> Work | None:
    """Return the work to go on with in the run of that name, None when there is no such run yet.

    `work` has the folder of runs for its own. Raises `BadInput` when the name does not sort with
    those of other runs, or a parameter differs from the run's, and AtWork while another process is
    at work there.
    """
    if not NAME.fullmatch(name):
        raise BadInput([f"--run {name}: expected YYYYMMDD-HHMMSS-name, such as {EXAMPLE}"])
    folder = work.folder.resolve() / name
    if not (folder / ledger.FILE).is_file():
        return None
    if ledger.is_locked(folder, ledger.LINGERING):
        raise ledger.at_work(folder)
    kept = _values(folder, work.table)
    faults = [
        f"{n}: {folder} was begun with {kept[n].value!r}, now it is {held.value!r}. Leave it as it "
        "was, or give another --run"
        for n, held in work.values.items()
        if held.value != kept[n].value
    ]
    if faults:
        raise BadInput(faults)
    return replace(work, folder=folder, resumed=True)


def repeated(
    folder: Path, began: Mapping, notebooks: Path | None = None
) -> tuple[list[Stage], dict[str, Parameter], dict[str, Value]]:
    """Return the stages, the parameters and their values that a run had; `began` is its first line.

    Raises `BadInput` when they cannot be read any more.
    """
    names, book = began.get("stages"), began.get("notebooks")
    if not isinstance(names, list) or not isinstance(book, str):
        lacks = f"{folder}: its ledger ({ledger.FILE}) does not name the stages and their folder"
        raise BadInput([lacks, f"{folder}: {WITHOUT}"])
    where = notebooks or Path(book)
    table = params.gather(where)
    return _named(names, where), table, _values(folder, table)


def _values(folder: Path, table: Mapping[str, Parameter]) -> dict[str, Value]:
    try:
        return values.again(table, folder / "params.yaml")
    except BadInput as bad:
        raise BadInput([*bad.faults, f"{folder}: {WITHOUT}"]) from None


def _named(names: Sequence[str], notebooks: Path) -> list[Stage]:
    found = {stage.name: stage for stage in stages.find(notebooks)}
    missing = [name for name in names if name not in found]
    if missing:
        raise BadInput([f"{notebooks}: {name}.ipynb of the run is not there" for name in missing])
    return [found[name] for name in names]
