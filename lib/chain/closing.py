"""Closing: what is done around a run so that its folder can be trusted and read by itself."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lib.chain.redact import scan
from lib.record.faults import BadInput
from lib.record.search import Search


@dataclass(frozen=True)
class Sealed:
    """What sealing found: places in which a secret stands, and why it could not be signed."""

    leaks: list[str] = field(default_factory=list)
    unsigned: str = ""


def begin(folder: Path, notebooks: Sequence[Path], reason: str = "") -> None:
    """Write down who runs what, before it runs."""
    from lib.chain import history
    from lib.record import provenance

    history.write(folder)
    provenance.begin(folder, notebooks=notebooks, reason=reason, command=sys.argv)


def leaks(folder: Path, secrets: Iterable[str]) -> list[str]:
    """Return the places in the record in which a known secret stands; [] as it should be."""
    for unfinished in folder.glob(".*.part"):  # of a driver that was killed
        unfinished.unlink()
    files = sorted(path for path in folder.iterdir() if path.is_file())
    search = Search(secrets)
    return [str(hit) for path in files for hit in scan(path, search)]


def end(
    folder: Path,
    secrets: Iterable[str],
    *,
    outcome: str,
    exit_code: int | None = None,
    key: Path | None = None,
) -> Sealed:
    """Write the report, what the kernels told, and the manifest; renew the index of all runs.

    With `key` (an SSH key) the manifest is signed.
    """
    from lib.chain import seal
    from lib.record import provenance
    from lib.report import index, report

    try:
        report.write(folder)
    finally:  # a record is sealed also when no report could be made of it
        provenance.finish(folder, outcome=outcome, exit_code=exit_code)
        try:
            sealed = Sealed([str(hit) for hit in seal.seal(folder, secrets, key)])
        except BadInput as bad:
            sealed = Sealed(unsigned="; ".join(bad.faults))
        index.write(folder.parent)
    return sealed
