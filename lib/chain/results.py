"""The results of a run and of its stages."""

from dataclasses import dataclass, field
from pathlib import Path

from lib.chain import causes


@dataclass(frozen=True)
class Result:
    """The result of a stage; its outcome is a cause of the ledger, or not-run."""

    stage: str
    outcome: str
    seconds: float = 0.0
    steps: list[dict] = field(default_factory=list)  # its changes: outcome, command, what
    record: Path | None = None
    section: str = ""  # the heading above the cell that failed
    error: str = ""


@dataclass(frozen=True)
class Run:
    """The result of a run: its folder, a result for every stage, and the signal that ended it.

    `leaks` lists the places of secrets in the record, `unsigned` is the reason if signing failed.
    """

    folder: Path
    results: list[Result]
    signal: int = 0
    leaks: list[str] = field(default_factory=list)
    unsigned: str = ""

    @property
    def cause(self) -> str:
        """Return ok, or the cause of the stage that ended the run."""
        bad = (r.outcome for r in self.results if r.outcome not in ("ok", "not-run"))
        well = "failed" if self.leaks else "ok"
        return next(bad, "interrupted" if self.signal else well)

    @property
    def exit_code(self) -> int:
        """Return 128 + the signal if one came, 5 for a leak, else the code of the cause."""
        if self.signal:
            return 128 + self.signal
        code = causes.LEAKED if self.leaks else causes.EXIT_CODES[self.cause]
        return code or int(bool(self.unsigned))
