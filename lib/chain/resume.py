"""Resuming: a run that did not end well is taken up in its folder, all its stages in order.

What is done already costs a look; a stage that did not end starts from its top in a new kernel.
"""

from collections.abc import Sequence
from pathlib import Path

from lib.chain import params, stages, values
from lib.chain.run import Work
from lib.chain.stages import Stage
from lib.record import ledger
from lib.record.faults import BadInput
from lib.report import past


def folder_of(run: str, runs: Path) -> Path:
    """Return the folder of a run, given by its path or by its name below `runs`."""
    folder = past.named(run, runs)
    if not (folder / ledger.FILE).is_file():
        raise BadInput([f"{folder}: there is no ledger ({ledger.FILE}) in it to go on from"])
    return folder


def work(
    folder: Path,
    *,
    notebooks: Path | None = None,
    cell_timeout: int | None = None,
    reason: str = "",
    **more: object,
) -> Work | None:
    """Return what is to be done in a run's folder, None when the run ended well.

    Stages, and what is not given, are those of the run, parameters those in the folder; notebooks
    are taken as they are now. `more` is what else `Work` takes. Raises `BadInput` when the run
    still goes on or cannot be repeated.
    """
    lines = ledger.read(folder)
    began = ledger.beginning(folder, lines)
    if ledger.held(folder, 0 if ledger.is_led(folder) else ledger.LINGERING):
        raise BadInput([ledger.going_on(folder)])
    if ledger.ended(lines) == "ok":
        return None
    where = notebooks or Path(began["notebooks"])
    table = params.gather(where)
    merged = values.load(table, [folder / "params.yaml"])
    chosen = _named(began["stages"], where)
    more["cell_timeout"] = cell_timeout or began.get("cell_timeout")
    more["reason"] = reason or began.get("reason", "")
    return Work(folder, chosen, table, merged, resumed=True, **more)


def _named(names: Sequence[str], notebooks: Path) -> list[Stage]:
    found = {stage.name: stage for stage in stages.find(notebooks)}
    missing = [name for name in names if name not in found]
    if missing:
        raise BadInput([f"{notebooks}: {name}.ipynb of the run is not there" for name in missing])
    return [found[name] for name in names]
