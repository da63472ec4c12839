"""Opens and closes the record of a run: provenance, report, seal and index."""

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lib.errors import AtWork
from lib.record import ledger, locks, whole
from lib.record.faults import BadInput
from lib.record.search import Search


@dataclass(frozen=True)
class Sealed:
    """The result of sealing: places of secrets in the record, and why signing failed."""

    leaks: list[str] = field(default_factory=list)
    unsigned: str = ""


def new_folder(runs: Path, cluster: str) -> Path:
    """Create and return the folder of a new run: `<time>-<cluster>`, with a number if it exists."""
    safe = re.sub(r"[^\w.-]+", "-", cluster).strip(".-")[:60] or "run"
    base = f"{datetime.now():%Y%m%d-%H%M%S}-{safe}"
    whole.folder(runs)
    number = 1
    while True:
        folder = runs.resolve() / (base if number == 1 else f"{base}-{number}")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
        else:
            return folder


def named_folder(runs: Path, name: str) -> Path:
    """Create and return the folder of a new run whose name is given.

    Raises AtWork where another run has just begun in it, `BadInput` where it is something else.
    """
    folder = runs.resolve() / name
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if (folder / ledger.FILE).exists():
            text = f"{folder}: another run has just begun there"
            raise AtWork(text, next_step=locks.WAIT) from None
        fault = f"{folder}: is no record of a run, as it has no {ledger.FILE}"
        raise BadInput([f"{fault}: move it away, or give another --run"]) from None
    return folder


def begin(folder: Path, notebooks: Sequence[Path], reason: str = "") -> None:
    """Write the history and the provenance of a run before it starts."""
    from lib.chain import history
    from lib.record import asked, provenance

    asked.forget(folder)  # a driver that was killed left it, maybe before a reboot
    history.write(folder)
    provenance.begin(folder, notebooks=notebooks, reason=reason, command=sys.argv)


def _clear(folder: Path) -> None:
    """Remove what processes that were killed had begun to write."""
    for unfinished in folder.glob(".*.part"):
        unfinished.unlink(missing_ok=True)


def leaks(folder: Path, secrets: Iterable[str]) -> list[str]:
    """Return the places of known secrets in the record; there should be none."""
    _clear(folder)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    search = Search(secrets)
    return [place for path in files for place in search.places(path)]


def end(
    folder: Path,
    secrets: Iterable[str],
    *,
    outcome: str,
    exit_code: int | None = None,
    key: Path | None = None,
) -> Sealed:
    """Write the report, the provenance and the manifest; update the index of all runs.

    With `key` (an SSH key) the manifest is signed.
    """
    from lib.chain import seal
    from lib.record import asked, provenance
    from lib.report import index, report

    asked.forget(folder)
    _clear(folder)
    try:
        report.write(folder, key=key)
    finally:  # a record is sealed even where its report failed
        provenance.finish(folder, outcome=outcome, exit_code=exit_code)
        try:
            sealed = Sealed(seal.seal(folder, secrets, key))
        except BadInput as bad:
            sealed = Sealed(unsigned="; ".join(bad.faults))
        index.write(folder.parent)
    return sealed
